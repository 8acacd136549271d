/*
 * Running commands, one at a time, in the worker's main thread.
 *
 * A command costs one vfork, one exec, two pipes and a few polls; nothing else starts or ends with it. Its standard
 * input is a file in memory, so nobody has to feed a pipe while it writes. It has ended when its process has ended:
 * what a child that it left behind prints later is not waited for.
 */
#include "workers/exec.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/buffer.h"
#include "core/clock.h"
#include "core/errors.h"
#include "core/pack.h"
#include "core/unpack.h"
#include "workers/spawn.h"
#include "workers/task.h"

#define ERROR_KIND "ExecError"
#define READ_BYTES (64 * 1024)
#define PATH_DEFAULT "/usr/local/bin:/usr/bin:/bin"

extern char **environ;

/* --- what is asked for -------------------------------------------------------------------------------------------- */

/* Strings of the call, zero-terminated, in one block; `argv`, `envp` and `cwd` point into it. */
struct command {
    char **argv, **envp;
    size_t argc;
    char *cwd, *strings, *strings_end;
    char **pointers;                                      /* the block that argv and envp lie in */
    struct bytes argv_bytes, env_bytes, cwd_bytes, input; /* msgpack as it came; input: the content */
    size_t arg_count, env_count;
    bool has_cwd, has_input, clear_env, merge;
    uint64_t limits[2]; /* of stdout and stderr */
};

static bool take_map(struct bytes *input, size_t *pairs)
{
    const unsigned char *at = input->data;
    size_t head = 1;
    if (input->length == 0)
        return false;
    if ((at[0] & 0xf0) == 0x80) {
        *pairs = at[0] & 0x0f;
    } else if (at[0] == 0xde && input->length >= 3) {
        *pairs = (size_t)at[1] << 8 | at[2];
        head = 3;
    } else if (at[0] == 0xdf && input->length >= 5) {
        *pairs = (size_t)at[1] << 24 | (size_t)at[2] << 16 | (size_t)at[3] << 8 | at[4];
        head = 5;
    } else {
        return false;
    }
    unpack_skip(input, head);
    return *pairs <= input->length;
}

static bool take_bool(struct bytes *input, bool *value)
{
    unsigned char head = input->length > 0 ? *(const unsigned char *)input->data : 0;
    if (head != 0xc2 && head != 0xc3)
        return false;
    *value = head == 0xc3;
    unpack_skip(input, 1);
    return true;
}

/* A string or bytes without a zero in it. */
static bool take_string(struct bytes *input, struct bytes *value)
{
    return (unpack_text(input, value) || unpack_data(input, value)) &&
           (value->length == 0 || !memchr(value->data, '\0', value->length));
}

static bool take_field(struct command *command, struct bytes key, struct bytes *input)
{
    struct bytes value;
    if (bytes_equal(key, bytes_string("argv"))) {
        command->argv_bytes = *input;
        return unpack_array(&command->argv_bytes, &command->arg_count) && unpack_any(input, &value);
    }
    if (bytes_equal(key, bytes_string("env"))) {
        command->env_bytes = *input;
        return take_map(&command->env_bytes, &command->env_count) && unpack_any(input, &value);
    }
    if (bytes_equal(key, bytes_string("cwd")))
        return command->has_cwd = take_string(input, &command->cwd_bytes);
    if (bytes_equal(key, bytes_string("stdin")))
        return command->has_input = unpack_data(input, &command->input) || unpack_text(input, &command->input);
    if (bytes_equal(key, bytes_string("clear_env")))
        return take_bool(input, &command->clear_env);
    if (bytes_equal(key, bytes_string("merge")))
        return take_bool(input, &command->merge);
    if (bytes_equal(key, bytes_string("stdout_limit")))
        return unpack_uint(input, &command->limits[0]);
    if (bytes_equal(key, bytes_string("stderr_limit")))
        return unpack_uint(input, &command->limits[1]);
    return unpack_any(input, &value);
}

/* A value that is nil counts as absent. */
static bool skip_nil(struct bytes *input)
{
    if (input->length == 0 || *(const unsigned char *)input->data != 0xc0)
        return false;
    unpack_skip(input, 1);
    return true;
}

static int parse(struct muster_task *task, struct command *command)
{
    muster_value value;
    size_t pairs;
    struct bytes key;
    int status = muster_arg(task, 0, &value);
    if (status != 0)
        return status;
    struct bytes input = {value.data, value.size};
    if (value.type != MUSTER_TYPE_MSGPACK || !take_map(&input, &pairs))
        return muster_fail(task, ERROR_KIND, "the argument of " EXEC_NAME " is one map with \"argv\" in it");
    while (pairs-- > 0) {
        if (!unpack_text(&input, &key))
            return muster_fail(task, ERROR_KIND, "the keys of the map for " EXEC_NAME " are strings");
        if (!skip_nil(&input) && !take_field(command, key, &input))
            return muster_fail(task, ERROR_KIND,
                               "\"%.*s\" in the map for " EXEC_NAME " has the wrong type or a zero byte in it",
                               (int)(key.length < 40 ? key.length : 40), (const char *)key.data);
    }
    if (command->arg_count == 0)
        return muster_fail(task, ERROR_KIND, "the map for " EXEC_NAME " has no command in \"argv\"");
    return 0;
}

/* --- strings ------------------------------------------------------------------------------------------------------ */

static char *put(struct command *command, struct bytes text, char terminator)
{
    char *start = command->strings_end;
    if (text.length > 0)
        memcpy(start, text.data, text.length);
    start[text.length] = terminator;
    command->strings_end = start + text.length + 1;
    return start;
}

static size_t count_environ(void)
{
    size_t count = 0;
    while (environ && environ[count])
        count++;
    return count;
}

/* Replaces the entry of the same name, or adds one. */
static void set_variable(struct command *command, size_t *count, char *entry)
{
    size_t name = (size_t)(strchr(entry, '=') - entry) + 1;
    size_t i = 0;
    while (i < *count && strncmp(command->envp[i], entry, name) != 0)
        i++;
    command->envp[i] = entry;
    if (i == *count)
        ++*count;
}

static bool build_argv(struct command *command)
{
    struct bytes input = command->argv_bytes, text;
    for (size_t i = 0; i < command->arg_count; i++) {
        if (!take_string(&input, &text))
            return false;
        command->argv[command->argc++] = put(command, text, '\0');
    }
    command->argv[command->argc] = NULL;
    return true;
}

static bool build_environment(struct command *command)
{
    struct bytes input = command->env_bytes, name, value;
    size_t count = command->clear_env ? 0 : count_environ();
    if (count > 0)
        memcpy(command->envp, environ, count * sizeof *command->envp);
    for (size_t i = 0; i < command->env_count; i++) {
        if (!take_string(&input, &name) || !take_string(&input, &value) || name.length == 0 ||
            memchr(name.data, '=', name.length))
            return false;
        char *entry = put(command, name, '=');
        put(command, value, '\0');
        set_variable(command, &count, entry);
    }
    command->envp[count] = NULL;
    return true;
}

/* Copies the strings behind each other, each with its zero: they need at most the bytes of the argument list and one
 * more each. */
static int build(struct muster_task *task, struct command *command)
{
    size_t variables = command->env_count + (command->clear_env ? 0 : count_environ());
    /* One place more in front of argv, for the shell that runs a script without "#!". */
    size_t pointers = command->arg_count + 3 + variables + 1;
    size_t bytes = task->payload.length + command->arg_count + 2 * command->env_count + 2;
    command->pointers = memory_alloc(pointers * sizeof *command->pointers);
    command->strings = command->strings_end = memory_alloc(bytes);
    if (!command->pointers || !command->strings)
        return error_memory();
    command->argv = command->pointers + 1;
    command->envp = command->argv + command->arg_count + 1;
    if (!build_argv(command))
        return muster_fail(task, ERROR_KIND, "\"argv\" is an array of strings without zero bytes");
    if (!build_environment(command))
        return muster_fail(task, ERROR_KIND,
                           "\"env\" is a map of strings to strings, without zero bytes, \"=\" or an empty name");
    if (command->has_cwd)
        command->cwd = put(command, command->cwd_bytes, '\0');
    return 0;
}

static const char *variable(char *const *envp, const char *name)
{
    size_t length = strlen(name);
    for (; *envp; envp++)
        if (strncmp(*envp, name, length) == 0 && (*envp)[length] == '=')
            return *envp + length + 1;
    return NULL;
}

/* Looks the program up in the command's PATH. False with errno. */
static bool find_program(const struct command *command, char *out, size_t size)
{
    const char *name = command->argv[0], *path = variable(command->envp, "PATH");
    if (strchr(name, '/') || !*name) {
        snprintf(out, size, "%s", name);
        errno = strlen(name) >= size ? ENAMETOOLONG : ENOENT;
        return *name && strlen(name) < size;
    }
    int error = ENOENT;
    for (path = path ? path : PATH_DEFAULT;; path++) {
        size_t length = strcspn(path, ":");
        int written = snprintf(out, size, "%.*s%s%s", (int)length, path, length > 0 ? "/" : "./", name);
        struct stat info;
        if (written > 0 && (size_t)written < size && stat(out, &info) == 0 && S_ISREG(info.st_mode)) {
            if (access(out, X_OK) == 0)
                return true;
            error = errno;
        }
        path += length;
        if (!*path)
            break;
    }
    errno = error;
    return false;
}

/* --- running ------------------------------------------------------------------------------------------------------ */

struct run {
    pid_t pid;
    int pidfd;
    /* Of the command's output pipes; -1: not there. The write ends stay open here too: so a pipe does not end before
     * the command does, and its end wakes nobody. */
    int readers[2], writers[2];
    struct buffer kept[2];
    bool truncated, ended, stop_sent;
    int wait_status;
    uint64_t started_ns, run_ns;
};

/* Standard input: the bytes, in memory, or nothing. */
static int open_input(const struct command *command)
{
    if (!command->has_input || command->input.length == 0)
        return spawn_lift(open("/dev/null", O_RDONLY | O_CLOEXEC));
    int fd = spawn_lift(memfd_create("muster-stdin", MFD_CLOEXEC));
    const char *data = command->input.data;
    size_t done = 0;
    while (fd >= 0 && done < command->input.length) {
        ssize_t wrote = pwrite(fd, data + done, command->input.length - done, (off_t)done);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0) {
            close(fd);
            return -1;
        }
        done += (size_t)wrote;
    }
    return fd;
}

/* A pipe whose read end does not block. */
static int open_pipe(int *reader, int *writer)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -1;
    *reader = spawn_lift(ends[0]);
    *writer = spawn_lift(ends[1]);
    return *reader >= 0 && *writer >= 0 ? fcntl(*reader, F_SETFL, O_NONBLOCK) : -1;
}

static void close_all(const int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

/* Starts the program; a text without "#!" is given to the shell, as a shell would do. */
static int start_program(struct muster_task *task, struct command *command, struct run *run, const int fds[3])
{
    char path[4096];
    const char *what;
    if (!find_program(command, path, sizeof path))
        return muster_fail(task, ERROR_KIND, "cannot run %s: %s", command->argv[0], strerror(errno));
    struct page *page = task->host->page;
    struct spawn spawn = {.path = path,
                          .argv = command->argv,
                          .envp = command->envp,
                          .cwd = command->cwd,
                          .fds = {fds[0], fds[1], fds[2]},
                          .death_signal = SIGKILL,
                          .group = page ? &page->command_group : NULL};
    int error = spawn_start(&spawn, &run->pid, &what);
    if (error == ENOEXEC) {
        static char shell[] = "/bin/sh";
        char *name = command->argv[0];
        command->argv[-1] = shell;
        command->argv[0] = path;
        spawn.argv = command->argv - 1;
        spawn.path = shell;
        error = spawn_start(&spawn, &run->pid, &what);
        command->argv[0] = name;
    }
    if (error != 0)
        return muster_fail(task, ERROR_KIND, "cannot %s %s: %s", what,
                           command->cwd && what[0] == 'c' ? command->cwd : command->argv[0], strerror(error));
    return 0;
}

static int start(struct muster_task *task, struct command *command, struct run *run)
{
    int input = open_input(command), status = 0;
    if (input < 0 || open_pipe(&run->readers[0], &run->writers[0]) != 0 ||
        (!command->merge && open_pipe(&run->readers[1], &run->writers[1]) != 0))
        status = muster_fail(task, ERROR_KIND, "cannot make the command's input and output: %s", strerror(errno));
    if (status == 0) {
        const int fds[3] = {input, run->writers[0], run->writers[command->merge ? 0 : 1]};
        run->started_ns = clock_now_ns();
        status = start_program(task, command, run, fds);
    }
    close_all(&input, 1);
    if (status != 0)
        return status;
    run->pidfd = (int)syscall(SYS_pidfd_open, run->pid, 0u);
    if (run->pidfd < 0) {
        int error = errno;
        kill(-run->pid, SIGKILL);
        status = muster_fail(task, ERROR_KIND, "cannot watch the command: %s", strerror(error));
    }
    return status;
}

/* Reads what is there. Beyond the limit it is read and dropped, so that the command is not held up. */
static int read_output(struct run *run, int which, uint64_t limit)
{
    char bytes[READ_BYTES];
    for (;;) {
        ssize_t got = read(run->readers[which], bytes, sizeof bytes);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return 0;
        uint64_t room = limit - run->kept[which].length, kept = (uint64_t)got < room ? (uint64_t)got : room;
        run->truncated = run->truncated || kept < (uint64_t)got;
        if (buffer_append(&run->kept[which], bytes, (size_t)kept) != 0)
            return MUSTER_ENOMEM;
        if ((size_t)got < sizeof bytes)
            return 0;
    }
}

static void forward_stop(const struct muster_task *task, struct run *run)
{
    if (run->stop_sent || !muster_cancelled(task))
        return;
    run->stop_sent = true;
    kill(-run->pid, SIGTERM);
    kill(-run->pid, SIGCONT); /* a stopped process would not see it */
}

/* Until the process has ended and what it wrote is read. */
static int watch(const struct muster_task *task, const struct command *command, struct run *run)
{
    while (!run->ended) {
        struct pollfd polls[3] = {{run->pidfd, POLLIN, 0}, {run->readers[0], POLLIN, 0}, {run->readers[1], POLLIN, 0}};
        forward_stop(task, run);
        int count = poll(polls, 3, -1);
        if (count < 0 && errno != EINTR)
            return error_errno("cannot watch the command");
        if (count < 0)
            continue;
        run->ended = polls[0].revents != 0;
        for (int i = 0; i < 2; i++) {
            if (run->readers[i] < 0 || (!run->ended && polls[i + 1].revents == 0))
                continue;
            if (read_output(run, i, command->limits[i]) != 0)
                return error_memory();
        }
    }
    return 0;
}

/* Ends what still runs of it, if it must, and collects the process. */
static void finish(struct muster_task *task, struct run *run)
{
    if (run->pid > 0) {
        if (!run->ended || run->stop_sent)
            kill(-run->pid, SIGKILL);
        /* No longer: the number may soon be another process's. */
        if (task->host->page)
            atomic_store(&task->host->page->command_group, 0);
        while (waitpid(run->pid, &run->wait_status, 0) < 0 && errno == EINTR)
            continue;
        run->run_ns = clock_now_ns() - run->started_ns;
    }
    close_all(run->readers, 2);
    close_all(run->writers, 2);
    if (run->pidfd >= 0)
        close(run->pidfd);
}

/* --- the result --------------------------------------------------------------------------------------------------- */

static unsigned char *pack_nil(unsigned char *at)
{
    *at = 0xc0;
    return at + 1;
}

static unsigned char *pack_key(unsigned char *at, const char *key)
{
    return pack_text(at, bytes_string(key));
}

static int give(struct muster_task *task, const struct run *run)
{
    struct buffer out = {0};
    int ended = run->wait_status;
    if (buffer_reserve(&out, 256 + run->kept[0].length + run->kept[1].length) != 0)
        return error_memory();
    unsigned char *at = out.data;
    *at++ = 0x87; /* a map of seven */
    at = pack_key(at, "status");
    at = WIFEXITED(ended) ? pack_uint(at, (uint64_t)WEXITSTATUS(ended)) : pack_nil(at);
    at = pack_key(at, "signal");
    at = WIFSIGNALED(ended) ? pack_uint(at, (uint64_t)WTERMSIG(ended)) : pack_nil(at);
    at = pack_data(pack_key(at, "stdout"), bytes_of(&run->kept[0]));
    at = pack_data(pack_key(at, "stderr"), bytes_of(&run->kept[1]));
    at = pack_key(at, "truncated");
    *at++ = run->truncated ? 0xc3 : 0xc2;
    at = pack_uint(pack_key(at, "run_us"), run->run_ns / NS_PER_US);
    at = pack_uint(pack_key(at, "pid"), (uint64_t)run->pid);
    int status = muster_return_msgpack(task, out.data, (size_t)(at - out.data));
    buffer_free(&out);
    return status;
}

static int run_command(struct muster_task *task, struct command *command)
{
    struct run run = {.pidfd = -1, .readers = {-1, -1}, .writers = {-1, -1}};
    int status = start(task, command, &run);
    if (status == 0)
        status = watch(task, command, &run);
    finish(task, &run);
    if (status == 0 && run.stop_sent) {
        muster_fail(task, NULL, "the command %s was stopped", command->argv[0]);
        status = MUSTER_ECANCELED;
    }
    if (status == 0)
        status = give(task, &run);
    buffer_free(&run.kept[0]);
    buffer_free(&run.kept[1]);
    return status;
}

int exec_command(muster_task *task)
{
    struct command command = {.limits = {EXEC_OUTPUT_DEFAULT, EXEC_OUTPUT_DEFAULT}};
    int status = parse(task, &command);
    if (status == 0)
        status = build(task, &command);
    if (status == 0)
        status = run_command(task, &command);
    memory_free(command.pointers);
    memory_free(command.strings);
    return status;
}
