/*
 * Making worker processes.
 *
 * Everything that a start needs is copied when the pool is opened, the environment too: the thread that starts workers
 * must not read what the user's threads may be changing.
 */
#include "workers/recipe.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bindings/c/value.h"
#include "core/errors.h"
#include "core/log.h"
#include "workers/forkserver.h"
#include "workers/plugin.h"
#include "workers/program.h"
#include "workers/runtime.h"
#include "workers/spawn.h"

#define TRIAL_MS 30000
#define WORDS_BYTES 512

/* A copy that lives as long as the recipe. */
struct copy {
    struct copy *next;
    char bytes[];
};

struct recipe {
    struct launch launch; /* all but slot, identity and descriptors */
    struct copy *copies;
    char program[PATH_MAX], host[200];
    const char *program_name;
    const char *const *fork_server; /* NULL: workers are started by exec */
    char **environment;
    size_t variables;
    bool raw_output, trial; /* trial: there is something to try */
};

const struct hatchling hatchling_none = {.pidfd = -1, .lifeline = -1, .outputs = {-1, -1}, .page_fd = -1};

extern char **environ;

/* --- making the recipe -------------------------------------------------------------------------------------------- */

static void *keep(struct recipe *recipe, const void *data, size_t length)
{
    struct copy *copy = memory_alloc(sizeof *copy + length + 1);
    if (!copy)
        return NULL;
    copy->next = recipe->copies;
    recipe->copies = copy;
    if (length > 0 && data)
        memcpy(copy->bytes, data, length);
    copy->bytes[length] = '\0';
    return copy->bytes;
}

static const char *keep_string(struct recipe *recipe, const char *text)
{
    return keep(recipe, text, text ? strlen(text) : 0);
}

static size_t count_strings(const char *const *list)
{
    size_t count = 0;
    while (list && list[count])
        count++;
    return count;
}

static const char *const *keep_strings(struct recipe *recipe, const char *const *list)
{
    size_t count = count_strings(list);
    const char **kept = keep(recipe, NULL, (count + 1) * sizeof *kept);
    for (size_t i = 0; kept && i < count; i++)
        if (!(kept[i] = keep_string(recipe, list[i])))
            return NULL;
    if (kept)
        kept[count] = NULL;
    return kept;
}

/* Plugins by their full path: the working directory may be another one later. */
static int keep_plugins(struct recipe *recipe, const char *const *list)
{
    size_t count = count_strings(list);
    const char **kept = keep(recipe, NULL, (count + 1) * sizeof *kept);
    char path[PATH_MAX];
    for (size_t i = 0; kept && i < count; i++) {
        if (!realpath(list[i], path))
            return error_set(MUSTER_EPLUGIN, "cannot load the plugin %s: %s", list[i], strerror(errno));
        if (!(kept[i] = keep_string(recipe, path)))
            return error_memory();
    }
    if (!kept)
        return error_memory();
    kept[count] = NULL;
    recipe->launch.plugins = kept;
    return 0;
}

static bool hidden(const char *variable)
{
    static const char *const names[] = {LAUNCH_VARIABLE "=", FORKSERVER_VARIABLE "=", "MUSTER_AUTHKEY="};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strncmp(variable, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

static int keep_environment(struct recipe *recipe)
{
    size_t count = count_strings((const char *const *)environ);
    recipe->environment = keep(recipe, NULL, (count + 1) * sizeof *recipe->environment);
    for (size_t i = 0; recipe->environment && i < count; i++) {
        char *variable = hidden(environ[i]) ? NULL : keep(recipe, environ[i], strlen(environ[i]));
        if (variable)
            recipe->environment[recipe->variables++] = variable;
    }
    return recipe->environment ? 0 : error_memory();
}

static int keep_initializer(struct recipe *recipe, const struct processes_config *config)
{
    enum muster_encoding encoding;
    size_t size;
    int status = args_measure(config->initializer_args, &encoding, &size);
    if (status != 0)
        return status;
    unsigned char *args = keep(recipe, NULL, size);
    recipe->launch.initializer = keep_string(recipe, config->initializer);
    if (!args || !recipe->launch.initializer)
        return error_memory();
    args_pack(args, config->initializer_args);
    recipe->launch.initializer_args = (struct bytes){args, size};
    recipe->launch.initializer_encoding = encoding;
    return 0;
}

static void name_host(struct recipe *recipe, const char *host)
{
    if (host)
        snprintf(recipe->host, sizeof recipe->host, "%s", host);
    else if (gethostname(recipe->host, sizeof recipe->host - 1) != 0)
        snprintf(recipe->host, sizeof recipe->host, "localhost");
}

/* What is run for a worker, or for all of them. */
static int choose_program(struct recipe *recipe, const struct processes_config *config)
{
    bool generic = config->exec || count_strings(config->plugins) > 0;
    if (!config->fork_server)
        return program_find(config->program, generic, recipe->program, sizeof recipe->program);
    if (!config->fork_server[0])
        return error_set(MUSTER_EINVAL, "the command of the fork server is empty: its first word is a program's path");
    recipe->fork_server = keep_strings(recipe, config->fork_server);
    return recipe->fork_server ? 0 : error_memory();
}

static int fill(struct recipe *recipe, const struct processes_config *config, uint64_t group)
{
    struct launch *launch = &recipe->launch;
    int status = choose_program(recipe, config);
    if (status == 0)
        status = keep_plugins(recipe, config->plugins);
    if (status == 0)
        status = keep_initializer(recipe, config);
    if (status == 0)
        status = keep_environment(recipe);
    if (status != 0)
        return status;
    name_host(recipe, config->host);
    recipe->program_name = keep_string(recipe, runtime_program_name());
    recipe->raw_output = config->raw_output;
    recipe->trial = !config->fork_server && (count_strings(config->plugins) > 0 || config->initializer);
    launch->url = keep_string(recipe, config->url);
    launch->host = recipe->host;
    launch->directory = keep_string(recipe, config->private_directory);
    launch->labels = keep_strings(recipe, config->labels);
    launch->group = group;
    launch->supervisor = (uint64_t)getpid();
    launch->exec = config->exec;
    launch->max_tasks = config->max_tasks;
    launch->memory_limit = config->memory_limit;
    launch->log_level = (uint64_t)log_threshold;
    if (config->authkey)
        launch->authkey = *config->authkey;
    return recipe->program_name && launch->url && launch->directory && launch->labels ? 0 : error_memory();
}

int recipe_make(struct recipe **recipe, const struct processes_config *config, uint64_t group)
{
    struct recipe *made = memory_zero(sizeof *made);
    if (!made)
        return error_memory();
    int status = fill(made, config, group);
    if (status != 0)
        recipe_free(made);
    else
        *recipe = made;
    return status;
}

void recipe_free(struct recipe *recipe)
{
    if (!recipe)
        return;
    while (recipe->copies) {
        struct copy *copy = recipe->copies;
        recipe->copies = copy->next;
        memory_free(copy);
    }
    explicit_bzero(&recipe->launch.authkey, sizeof recipe->launch.authkey);
    memory_free(recipe);
}

const char *recipe_host(const struct recipe *recipe)
{
    return recipe->host;
}

/* --- starting a process ------------------------------------------------------------------------------------------- */

/* Descriptors of one start that are the child's: closed here when it has them. */
struct ends {
    int launch, lifeline;
    int outputs[3]; /* its stdin, stdout and stderr; -1: it inherits ours */
};

static const struct ends no_ends = {-1, -1, {-1, -1, -1}};

static void close_one(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void close_ends(struct ends *ends)
{
    close_one(&ends->launch);
    close_one(&ends->lifeline);
    for (int i = 0; i < 3; i++)
        close_one(&ends->outputs[i]);
}

static int make_pipe(int *reader, int *writer)
{
    int pair[2];
    if (pipe2(pair, O_CLOEXEC) != 0)
        return error_errno("cannot make a pipe to a worker");
    *reader = spawn_lift(pair[0]);
    *writer = spawn_lift(pair[1]);
    return *reader >= 0 && *writer >= 0 ? 0 : error_errno("cannot make a pipe to a worker");
}

int recipe_begin(struct hatchling *hatchling)
{
    *hatchling = hatchling_none;
    hatchling->page_fd = spawn_lift(memfd_create("muster-page", MFD_CLOEXEC));
    if (hatchling->page_fd >= 0 && ftruncate(hatchling->page_fd, sizeof(struct page)) == 0) {
        void *page = mmap(NULL, sizeof(struct page), PROT_READ | PROT_WRITE, MAP_SHARED, hatchling->page_fd, 0);
        if (page != MAP_FAILED) {
            hatchling->page = page;
            page_init(page);
            return 0;
        }
    }
    int status = error_errno("cannot make the page of a worker");
    close_one(&hatchling->page_fd);
    return status;
}

void page_unmap(struct page *page)
{
    if (page)
        munmap(page, sizeof *page);
}

void recipe_forget(struct hatchling *hatchling)
{
    close_one(&hatchling->pidfd);
    close_one(&hatchling->lifeline);
    close_one(&hatchling->outputs[0]);
    close_one(&hatchling->outputs[1]);
    close_one(&hatchling->page_fd);
    hatchling->pid = 0;
}

static int make_outputs(bool captured, struct ends *ends, struct hatchling *hatchling)
{
    int status = 0;
    ends->outputs[0] = spawn_lift(open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (ends->outputs[0] < 0)
        return error_errno("cannot open /dev/null");
    for (int i = 0; captured && i < 2 && status == 0; i++) {
        status = make_pipe(&hatchling->outputs[i], &ends->outputs[i + 1]);
        if (status == 0)
            fcntl(hatchling->outputs[i], F_SETFL, O_NONBLOCK);
    }
    return status;
}

/* Lifeline and hand-over. */
static int make_ends(struct launch *launch, struct ends *ends, struct hatchling *hatchling)
{
    int status = make_pipe(&ends->lifeline, &hatchling->lifeline);
    if (status != 0)
        return status;
    launch->page_fd = (uint64_t)hatchling->page_fd;
    launch->lifeline_fd = (uint64_t)ends->lifeline;
    return launch_write(launch, &ends->launch);
}

/* Spawns with the recipe's environment and one variable more, whose value is a descriptor. */
static int spawn_with(const struct recipe *recipe, struct spawn *spawn, const char *name, int fd, pid_t *pid)
{
    char variable[64];
    const char *what;
    size_t count = recipe->variables;
    char **environment = memory_alloc((count + 2) * sizeof *environment);
    if (!environment)
        return error_memory();
    memcpy(environment, recipe->environment, count * sizeof *environment);
    snprintf(variable, sizeof variable, "%s=%d", name, fd);
    environment[count] = variable;
    environment[count + 1] = NULL;
    spawn->envp = environment;
    int error = spawn_start(spawn, pid, &what);
    memory_free(environment);
    if (error == 0)
        return 0;
    errno = error;
    return error_errno("cannot %s %s as %s", what, spawn->path, recipe->fork_server ? "fork server" : "worker");
}

static int run(const struct recipe *recipe, const struct ends *ends, struct hatchling *hatchling, unsigned slot)
{
    char name[256];
    snprintf(name, sizeof name, "[worker %s/%u]", recipe->host, slot);
    const int keep_open[] = {ends->launch, hatchling->page_fd, ends->lifeline};
    struct spawn spawn = {.path = recipe->program,
                          .argv = (char *const[]){(char *)recipe->program_name, name, NULL},
                          .fds = {ends->outputs[0], ends->outputs[1], ends->outputs[2]},
                          .keep = keep_open,
                          .keep_count = 3,
                          .death_signal = SIGCONT}; /* a stopped worker must run to see that its supervisor is gone */
    return spawn_with(recipe, &spawn, LAUNCH_VARIABLE, ends->launch, &hatchling->pid);
}

int recipe_watch(struct hatchling *hatchling)
{
    siginfo_t info;
    if (waitid(P_PID, (id_t)hatchling->pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0) {
        hatchling->pid = 0;
        return error_set(MUSTER_EWORKERS, "the fork server has forked a worker that is no child of its supervisor: it "
                                          "must fork by clone(CLONE_PARENT)");
    }
    hatchling->pidfd = (int)syscall(SYS_pidfd_open, hatchling->pid, 0u);
    if (hatchling->pidfd >= 0)
        return 0;
    int status = error_errno("cannot watch a worker");
    kill(hatchling->pid, SIGKILL);
    waitpid(hatchling->pid, NULL, 0);
    hatchling->pid = 0;
    return status;
}

static int start(const struct recipe *recipe, struct launch *launch, struct ends *ends, struct hatchling *hatchling)
{
    int status = make_ends(launch, ends, hatchling);
    if (status == 0)
        status = run(recipe, ends, hatchling, (unsigned)launch->slot);
    if (status == 0)
        status = recipe_watch(hatchling);
    close_one(&hatchling->page_fd);
    return status;
}

int recipe_start(const struct recipe *recipe, unsigned slot, uint64_t identity, struct hatchling *hatchling)
{
    struct ends ends = no_ends;
    struct launch launch = recipe->launch;
    launch.slot = slot;
    launch.identity = identity;
    int status = make_outputs(!recipe->raw_output, &ends, hatchling);
    if (status == 0)
        status = start(recipe, &launch, &ends, hatchling);
    close_ends(&ends);
    explicit_bzero(&launch.authkey, sizeof launch.authkey);
    if (status != 0)
        recipe_forget(hatchling);
    return status;
}

/* --- the fork server ---------------------------------------------------------------------------------------------- */

bool recipe_forks(const struct recipe *recipe)
{
    return recipe->fork_server;
}

int recipe_start_fork_server(const struct recipe *recipe, int *socket, struct hatchling *hatchling)
{
    struct ends ends = no_ends;
    int other = -1;
    *socket = -1;
    *hatchling = hatchling_none;
    int status = forkserver_sockets(socket, &other);
    if (status == 0)
        status = make_outputs(!recipe->raw_output, &ends, hatchling);
    if (status == 0) {
        struct spawn spawn = {.path = recipe->fork_server[0],
                              .argv = (char *const *)(uintptr_t)recipe->fork_server,
                              .fds = {ends.outputs[0], ends.outputs[1], ends.outputs[2]},
                              .keep = &other,
                              .keep_count = 1,
                              .death_signal = SIGKILL};
        status = spawn_with(recipe, &spawn, FORKSERVER_VARIABLE, other, &hatchling->pid);
    }
    if (status == 0)
        status = recipe_watch(hatchling);
    close_ends(&ends);
    close_one(&other);
    if (status != 0) {
        close_one(socket);
        recipe_forget(hatchling);
    }
    return status;
}

/* A worker that is forked inherits nothing of ours: it is given our stdout and stderr, or, where we have none, a way to
 * nowhere. */
static int share_outputs(struct ends *ends)
{
    for (int i = 1; i <= 2; i++) {
        if (ends->outputs[i] < 0)
            ends->outputs[i] = fcntl(i, F_DUPFD_CLOEXEC, 3);
        if (ends->outputs[i] < 0)
            ends->outputs[i] = spawn_lift(open("/dev/null", O_WRONLY | O_CLOEXEC));
        if (ends->outputs[i] < 0)
            return error_errno("cannot open /dev/null");
    }
    return 0;
}

int recipe_ask(const struct recipe *recipe, int socket, uint32_t number, unsigned slot, uint64_t identity,
               struct hatchling *hatchling)
{
    struct ends ends = no_ends;
    struct launch launch = recipe->launch;
    launch.slot = slot;
    launch.identity = identity;
    int status = make_outputs(!recipe->raw_output, &ends, hatchling);
    if (status == 0)
        status = share_outputs(&ends);
    if (status == 0)
        status = make_ends(&launch, &ends, hatchling);
    explicit_bzero(&launch.authkey, sizeof launch.authkey);
    if (status == 0)
        status = forkserver_ask(socket, number,
                                (const int[]){ends.launch, hatchling->page_fd, ends.lifeline, ends.outputs[0],
                                              ends.outputs[1], ends.outputs[2]});
    close_ends(&ends);
    close_one(&hatchling->page_fd);
    return status;
}

/* --- the trial ---------------------------------------------------------------------------------------------------- */

/* The last line of what the trial wrote to stderr. */
static void last_words(int fd, char out[WORDS_BYTES])
{
    off_t length = lseek(fd, 0, SEEK_END);
    ssize_t got = length > 0 ? pread(fd, out, WORDS_BYTES - 1, length < WORDS_BYTES ? 0 : length - WORDS_BYTES + 1) : 0;
    while (got > 0 && out[got - 1] == '\n')
        got--;
    out[got > 0 ? got : 0] = '\0';
    char *line = strrchr(out, '\n');
    if (line)
        memmove(out, line + 1, strlen(line));
}

static int judge(const struct page *page, int ended, const char *words)
{
    uint32_t broken = atomic_load(&page->broken);
    if (broken != 0)
        return error_set(-(int)broken, "%.*s", (int)sizeof page->reason, page->reason);
    if (WIFEXITED(ended) && WEXITSTATUS(ended) == 0)
        return 0;
    const char *between = *words ? ": " : "";
    if (WIFSIGNALED(ended))
        return error_set(MUSTER_EPLUGIN, "loading the plugins ended a worker by signal %d (%s)%s%s", WTERMSIG(ended),
                         strsignal(WTERMSIG(ended)), between, words);
    return error_set(MUSTER_EPLUGIN, "loading the plugins ended a worker with exit status %d%s%s", WEXITSTATUS(ended),
                     between, words);
}

static int await_trial(struct hatchling *hatchling, int errors)
{
    char words[WORDS_BYTES];
    struct pollfd ended = {hatchling->pidfd, POLLIN, 0};
    int count, wait_status = 0;
    while ((count = poll(&ended, 1, TRIAL_MS)) < 0 && errno == EINTR)
        continue;
    kill(-hatchling->pid, SIGKILL);
    while (waitpid(hatchling->pid, &wait_status, 0) < 0 && errno == EINTR)
        continue;
    last_words(errors, words);
    if (count == 0)
        return error_set(MUSTER_EPLUGIN, "loading the plugins did not end within %d s", TRIAL_MS / 1000);
    return judge(hatchling->page, wait_status, words);
}

int recipe_try(const struct recipe *recipe)
{
    struct ends ends = no_ends;
    struct launch launch = recipe->launch;
    struct hatchling hatchling;
    if (!recipe->trial)
        return 0;
    launch.trial = 1;
    explicit_bzero(&launch.authkey, sizeof launch.authkey);
    int status = recipe_begin(&hatchling);
    if (status == 0)
        status = make_outputs(false, &ends, &hatchling);
    if (status == 0) {
        ends.outputs[1] = spawn_lift(open("/dev/null", O_WRONLY | O_CLOEXEC));
        ends.outputs[2] = spawn_lift(memfd_create("muster-stderr", MFD_CLOEXEC));
        if (ends.outputs[1] < 0 || ends.outputs[2] < 0)
            status = error_errno("cannot catch what a worker prints");
    }
    if (status == 0)
        status = start(recipe, &launch, &ends, &hatchling);
    if (status == 0)
        status = await_trial(&hatchling, ends.outputs[2]);
    close_ends(&ends);
    recipe_forget(&hatchling);
    page_unmap(hatchling.page);
    return status;
}
