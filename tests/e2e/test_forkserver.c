/*
 * Workers of another language, forked by a fork server. This program is all of it: the client; with "--fork-server" the
 * fork server, and so the workers; with "--host" what muster-worker is to workers written in C.
 */
#include <ctype.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/syscall.h>

#include "tests/e2e/pools.h"
#include "core/errors.h"
#include "core/log.h"
#include "workers/forkserver.h"
#include "workers/host.h"
#include "workers/runtime.h"
#include "workers/task.h"

#define MEGABYTE (1 << 20)

static const char *program; /* this test, to be started again */

/* --- the language ------------------------------------------------------------------------------------------------- */

static struct {
    pid_t fork_server;
    const char *die_before, *die_after, *die_with; /* paths: the fork server kills itself if it can make the file */
    bool away;                                     /* between wait_begin and wait_end */
    int waits;
    atomic_uint_fast64_t stopped; /* ticket */
    int stops;                    /* of the running task */
    struct arguments *held;
    const unsigned char *held_data;
    size_t held_size;
} language;

static int64_t argument(muster_task *task)
{
    int64_t number = 0;
    return muster_arg_int(task, 0, &number) == 0 ? number : -1;
}

static int square(muster_task *task)
{
    return language.away ? MUSTER_EINTERNAL : muster_return_int(task, argument(task) * argument(task));
}

static int own_pid(muster_task *task)
{
    return muster_return_int(task, getpid());
}

static int parent(muster_task *task)
{
    return muster_return_int(task, getppid());
}

static int fork_server(muster_task *task)
{
    return muster_return_int(task, language.fork_server);
}

static int waits(muster_task *task)
{
    return muster_return_int(task, language.waits);
}

static int print(muster_task *task)
{
    (void)task;
    printf("a line of a forked worker\n");
    return 0;
}

static int leave(muster_task *task)
{
    _exit((int)argument(task));
}

static int forever(muster_task *task)
{
    while (!muster_cancelled(task))
        poll(NULL, 0, -1); /* interrupted */
    language.stops += language.stopped == task_ticket(task);
    return MUSTER_ECANCELED;
}

static int stops(muster_task *task)
{
    return muster_return_int(task, language.stops);
}

static int refuse(muster_task *task)
{
    return muster_fail(task, "StartError", "the licence server is down");
}

/* Holds the memory of its argument, and says whether it could write to it. */
static int hold(muster_task *task)
{
    const void *data;
    size_t size;
    int status = muster_arg_bytes(task, 0, &data, &size);
    if (status != 0)
        return status;
    arguments_release(language.held);
    language.held = task_hold_arguments(task);
    language.held_data = data;
    language.held_size = size;
    ((unsigned char *)(uintptr_t)data)[0] = 'W';
    return 0;
}

/* What is held: 'W', and then all bytes as they were. */
static int held(muster_task *task)
{
    int64_t byte = argument(task);
    if (language.held_data[0] != 'W')
        return muster_fail(task, "HoldError", "what the worker has written is gone");
    for (size_t i = 1; i < language.held_size; i++)
        if (language.held_data[i] != byte)
            return muster_fail(task, "HoldError", "byte %zu of %zu is %d", i, language.held_size,
                               language.held_data[i]);
    arguments_release(language.held);
    language.held = NULL;
    return muster_return_int(task, (int64_t)language.held_size);
}

static int bytes(muster_task *task)
{
    static char data[MEGABYTE];
    return muster_return_bytes(task, data, (size_t)argument(task));
}

static void on_wait_begin(void *arg)
{
    (void)arg;
    if (language.away)
        abort();
    language.away = true;
}

static void on_wait_end(void *arg)
{
    (void)arg;
    if (!language.away)
        abort();
    language.away = false;
    language.waits++;
}

static void on_stop(void *arg, uint64_t ticket)
{
    (void)arg;
    language.stopped = ticket;
}

static void on_end(void *arg)
{
    (void)arg;
    if (language.away)
        abort();
    printf("written at the end\n");
}

static const muster_function functions[] = {
    {"square", square}, {"pid", own_pid}, {"parent", parent}, {"fork_server", fork_server},
    {"waits", waits},   {"print", print}, {"leave", leave},   {"hold", hold},
    {"held", held},     {"bytes", bytes}, {"refuse", refuse}, {"forever", forever},
    {"stops", stops},   {NULL, NULL}};

static const struct runtime_language this_language = {.name = "test",
                                                      .functions = functions,
                                                      .wait_begin = on_wait_begin,
                                                      .wait_end = on_wait_end,
                                                      .stop = on_stop,
                                                      .end = on_end};

/* --- the fork server ---------------------------------------------------------------------------------------------- */

static bool first_time(const char *path)
{
    return path && open(path, O_CREAT | O_EXCL, 0600) >= 0;
}

static void die_once(const char *path)
{
    if (first_time(path))
        raise(SIGKILL);
}

/* A worker that is killed before it could answer, and its fork server with it. */
static void die_with_worker(const char *path)
{
    if (!first_time(path))
        return;
    if (syscall(SYS_clone, CLONE_PARENT | SIGCHLD, NULL, NULL, NULL, NULL) != 0)
        raise(SIGKILL);
    _exit(0);
}

static void before_fork(void *arg)
{
    (void)arg;
    die_once(language.die_before);
    die_with_worker(language.die_with);
}

static void after_fork(void *arg)
{
    (void)arg;
    die_once(language.die_after);
}

static int run_fork_server(int argc, char **argv)
{
    static const struct forkserver_hooks hooks = {.before = before_fork, .after = after_fork};
    language.fork_server = getpid();
    for (int i = 2; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--die-before") == 0)
            language.die_before = argv[i + 1];
        if (strcmp(argv[i], "--die-after") == 0)
            language.die_after = argv[i + 1];
        if (strcmp(argv[i], "--die-with-worker") == 0)
            language.die_with = argv[i + 1];
        if (strcmp(argv[i], "--say") == 0)
            fprintf(stderr, "%s\n", argv[i + 1]);
        if (strcmp(argv[i], "--exit") == 0)
            return atoi(argv[i + 1]);
    }
    int launch_fd = forkserver_run(atoi(getenv(FORKSERVER_VARIABLE)), &hooks);
    runtime_serve(launch_fd, &this_language);
}

static const char *const *fork_server_command(const char *option, const char *value)
{
    static const char *command[5];
    command[0] = program;
    command[1] = "--fork-server";
    command[2] = option;
    command[3] = value;
    return command;
}

/* --- pools -------------------------------------------------------------------------------------------------------- */

static muster_pool *open_forked(const char *url)
{
    const muster_pool_options options = {.fork_server = fork_server_command(NULL, NULL), .on_output = drop_output};
    return open_pool(url, &options);
}

static int64_t call(muster_pool *pool, const char *function, muster_args args)
{
    const muster_value *value;
    muster_result *result = submit(pool, function, args, NULL);
    if (muster_get(result, WAIT_S, &value) != 0)
        fail_msg("%s: %s", function, muster_last_error());
    int64_t number = value->type == MUSTER_TYPE_INT ? value->integer : 0;
    muster_result_free(result);
    return number;
}

static pid_t ask_pid(muster_pool *pool, const char *function)
{
    return (pid_t)call(pool, function, MUSTER_NO_ARGS);
}

static bool lives(pid_t pid)
{
    return kill(pid, 0) == 0;
}

static void functions_run_in_forked_workers(void **state)
{
    (void)state;
    muster_pool *pool = open_forked("local:2");
    assert_int_equal(call(pool, "square", MUSTER_ARGS(muster_int(12))), 144);
    wait_until(muster_pool_workers(pool) == 2);
    assert_int_equal(process_count(), 3);
    assert_int_equal(ask_pid(pool, "parent"), getpid());
    assert_int_not_equal(ask_pid(pool, "fork_server"), ask_pid(pool, "pid"));
    assert_int_equal(muster_pool_free(pool), 0);
    assert_nothing_left();
}

static void a_closed_pool_ends_its_fork_server_too(void **state)
{
    (void)state;
    muster_pool *pool = open_forked("local:2");
    pid_t server = ask_pid(pool, "fork_server");
    muster_pool_close(pool);
    assert_int_equal(muster_pool_join(pool, WAIT_S), 0);
    wait_until(!lives(server)); /* waited for, too */
    muster_pool_free(pool);
    assert_nothing_left();
}

static void many_workers_are_forked_one_after_the_other(void **state)
{
    (void)state;
    muster_pool *pool = open_forked("local:40");
    wait_until(muster_pool_workers(pool) == 40);
    assert_int_equal(process_count(), 41);
    muster_pool_free(pool);
    assert_nothing_left();
}

static void a_pool_may_be_freed_before_its_fork_server_has_answered(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++) {
        muster_pool_free(open_forked("local:4"));
        assert_nothing_left();
    }
}

/* --- what is said ------------------------------------------------------------------------------------------------- */

static void assert_cannot_start(const char *const *command, const char *initializer, const char *why)
{
    const muster_error *error;
    const muster_pool_options options = {.fork_server = command, .initializer = initializer, .on_output = drop_output};
    muster_pool *pool = open_pool("local:2", &options);
    assert_int_equal(outcome(pool, "square", MUSTER_ARGS(muster_int(1)), NULL, &error), MUSTER_EWORKERS);
    if (!strstr(error->message, why))
        fail_msg("\"%s\" is not in \"%s\"", why, error->message);
    muster_pool_free(pool);
    assert_nothing_left();
}

static void a_fork_server_that_cannot_start_is_told_with_its_last_words(void **state)
{
    static const char *const nowhere[] = {"/nonexistent/python", NULL};
    (void)state;
    assert_cannot_start(nowhere, NULL, "/nonexistent/python");
    assert_cannot_start(fork_server_command("--exit", "3"), NULL, "exit status 3");
    const char *const says[] = {program, "--fork-server", "--say", "no module named muster", "--exit", "3", NULL};
    assert_cannot_start(says, NULL, "no module named muster");
}

static void a_worker_that_fails_at_its_start_says_why(void **state)
{
    (void)state;
    assert_cannot_start(fork_server_command(NULL, NULL), "refuse", "the licence server is down");
    assert_cannot_start(fork_server_command(NULL, NULL), "unknown", "unknown");
}

static void an_empty_command_and_one_for_a_musterd_are_refused(void **state)
{
    static const char *const empty[] = {NULL};
    muster_pool *pool;
    (void)state;
    assert_int_equal(muster_pool_open(&pool, "local:1", &(muster_pool_options){.fork_server = empty}), MUSTER_EINVAL);
    assert_int_equal(
        muster_pool_open(&pool, url_of("s"), &(muster_pool_options){.fork_server = fork_server_command(NULL, NULL)}),
        MUSTER_EINVAL);
    assert_non_null(strstr(muster_last_error(), "fork_server"));
}

static atomic_int server_lines, worker_lines, end_lines;

static void hear(int stream, const char *worker, const char *line, size_t size, void *arg)
{
    const char *slash = strrchr(worker, '/');
    (void)arg;
    if (stream == 2 && strcmp(slash, "/forks") == 0 && size == 5 && memcmp(line, "hello", 5) == 0)
        server_lines++;
    if (stream == 1 && isdigit((unsigned char)slash[1]) && strncmp(line, "a line", 6) == 0)
        worker_lines++;
    if (stream == 1 && strncmp(line, "written at the end", 18) == 0)
        end_lines++;
}

static void output_of_fork_server_and_workers_is_heard(void **state)
{
    const muster_pool_options options = {.fork_server = fork_server_command("--say", "hello"), .on_output = hear};
    (void)state;
    muster_pool *pool = open_pool("local:1", &options);
    call(pool, "print", MUSTER_NO_ARGS);
    muster_pool_close(pool);
    muster_pool_join(pool, WAIT_S);
    muster_pool_free(pool);
    assert_int_equal(server_lines, 1);
    assert_int_equal(worker_lines, 1);
    assert_int_equal(end_lines, 1); /* by the hook */
    assert_nothing_left();
}

static bool has_output(const char *text)
{
    char content[4096];
    FILE *file = fopen(path_of("output"), "r");
    if (!file)
        return false;
    size_t length = fread(content, 1, sizeof content - 1, file);
    fclose(file);
    content[length] = '\0';
    return strstr(content, text);
}

/* Started again as "--raw". */
static int run_raw(void)
{
    const muster_pool_options options = {.fork_server = fork_server_command(NULL, NULL), .raw_output = true};
    muster_pool *pool;
    return muster_pool_open(&pool, "local:1", &options) || muster_apply(pool, "print", MUSTER_NO_ARGS, NULL, NULL) ||
           muster_pool_free(pool);
}

static void raw_output_goes_where_that_of_the_client_goes(void **state)
{
    int ended;
    (void)state;
    pid_t pid = START(program, "--raw");
    wait_until(waitpid(pid, &ended, WNOHANG) == pid);
    assert_int_equal(ended, 0);
    assert_true(has_output("a line of a forked worker\n"));
    assert_false(has_output("]"));
    assert_nothing_left();
}

/* --- deaths ------------------------------------------------------------------------------------------------------- */

static void the_end_of_a_forked_worker_is_known(void **state)
{
    const muster_error *error;
    (void)state;
    muster_pool *pool = open_forked("local:1");
    pid_t first = ask_pid(pool, "pid"), server = ask_pid(pool, "fork_server");
    assert_int_equal(outcome(pool, "leave", MUSTER_ARGS(muster_int(7)), NULL, &error), MUSTER_ELOST);
    assert_int_equal(error->exit_status, 7);
    assert_int_equal(error->pid, first);
    pid_t second = ask_pid(pool, "pid");
    assert_int_not_equal(second, first);
    muster_result *result = submit(pool, "forever", MUSTER_NO_ARGS, NULL);
    assert_int_equal(muster_wait(result, 0.05), MUSTER_ETIMEDOUT);
    kill(second, SIGKILL);
    assert_int_equal(muster_get(result, WAIT_S, NULL), MUSTER_ELOST);
    assert_int_equal(muster_result_error(result, 0)->signal, SIGKILL);
    muster_result_free(result);
    assert_int_equal(ask_pid(pool, "fork_server"), server);
    muster_pool_free(pool);
    assert_nothing_left();
}

static void a_killed_fork_server_harms_no_worker_and_is_replaced(void **state)
{
    const muster_error *error;
    (void)state;
    muster_pool *pool = open_forked("local:1");
    pid_t worker = ask_pid(pool, "pid"), server = ask_pid(pool, "fork_server");
    kill(server, SIGKILL);
    wait_until(!lives(server));
    assert_int_equal(ask_pid(pool, "pid"), worker);
    assert_int_equal(outcome(pool, "leave", MUSTER_ARGS(muster_int(0)), NULL, &error), MUSTER_ELOST);
    assert_int_not_equal(ask_pid(pool, "fork_server"), server);
    assert_int_not_equal(ask_pid(pool, "pid"), worker);
    muster_pool_free(pool);
    assert_nothing_left();
}

static void a_fork_server_that_dies_at_a_fork_is_replaced(void **state)
{
    (void)state;
    const muster_pool_options options = {.fork_server = fork_server_command("--die-before", path_of("died"))};
    muster_pool *pool = open_pool("local:2", &options);
    wait_until(muster_pool_workers(pool) == 2);
    assert_int_equal(access(path_of("died"), F_OK), 0);
    muster_pool_free(pool);
    assert_nothing_left();
}

static void a_worker_whose_fork_server_died_after_the_fork_is_not_lost(void **state)
{
    (void)state;
    const muster_pool_options options = {.fork_server = fork_server_command("--die-after", path_of("died"))};
    muster_pool *pool = open_pool("local:1", &options);
    pid_t server = ask_pid(pool, "fork_server");
    assert_int_equal(access(path_of("died"), F_OK), 0);
    wait_until(!lives(server));
    assert_int_equal(ask_pid(pool, "fork_server"), server); /* the first worker is still there */
    assert_int_equal(process_count(), 1);
    muster_pool_free(pool);
    assert_nothing_left();
}

static bool no_zombie(void)
{
    siginfo_t info = {0};
    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0;
}

static void a_worker_that_died_before_it_was_known_is_waited_for(void **state)
{
    (void)state;
    const muster_pool_options options = {.fork_server = fork_server_command("--die-with-worker", path_of("died")),
                                         .on_output = drop_output};
    muster_pool *pool = open_pool("local:1", &options);
    ask_pid(pool, "pid");
    assert_int_equal(access(path_of("died"), F_OK), 0);
    wait_until(no_zombie());
    muster_pool_free(pool);
    assert_nothing_left();
}

/* Started again as "--client": a pool with work, then waits to be killed. */
static int run_client(void)
{
    static char data[MEGABYTE];
    const muster_pool_options options = {.fork_server = fork_server_command(NULL, NULL)};
    muster_pool *pool;
    muster_result *result;
    if (muster_pool_open(&pool, "local:2", &options) != 0 ||
        muster_apply(pool, "fork_server", MUSTER_NO_ARGS, NULL, &result) != 0)
        return 1;
    printf("fork server %d\n", (int)muster_result_value(result, 0)->integer);
    muster_result_free(result);
    for (int i = 0; i < 4; i++)
        if (muster_apply_async(pool, "forever", MUSTER_ARGS(muster_bytes(data, sizeof data)), NULL, NULL) != 0)
            return 1;
    while (muster_pool_workers(pool) < 2)
        poll(NULL, 0, 2);
    puts("submitted");
    fflush(stdout);
    for (;;)
        pause();
}

static pid_t parent_of(pid_t pid)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    size_t length = file ? fread(text, 1, sizeof text - 1, file) : 0;
    if (file)
        fclose(file);
    text[length] = '\0';
    char *at = strrchr(text, ')');
    return at ? (pid_t)atoi(at + 4) : 0;
}

static void all_are_children_of_the_client(pid_t client, pid_t pids[8], size_t count)
{
    assert_int_equal(count, 4);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(parent_of(pids[i]), pids[i] == client ? getpid() : client);
}

/* What the client has printed about it. */
static pid_t fork_server_of_client(void)
{
    int pid = 0;
    FILE *file = fopen(path_of("output"), "r");
    assert_int_equal(fscanf(file, "fork server %d", &pid), 1);
    fclose(file);
    return pid;
}

enum victim { CLIENT, FORK_SERVER, WORKERS };

static void kill_in_order(const enum victim *order, size_t count, bool stop_workers)
{
    pid_t pids[8];
    pid_t client = START(program, "--client");
    wait_until(has_output("submitted"));
    size_t found = marked_processes(pids, 8);
    all_are_children_of_the_client(client, pids, found);
    pid_t server = fork_server_of_client();
    for (size_t i = 0; stop_workers && i < found; i++)
        if (pids[i] != client)
            kill(pids[i], SIGSTOP);
    for (size_t i = 0; i < count; i++) {
        if (order[i] == CLIENT)
            kill(client, SIGKILL);
        if (order[i] == FORK_SERVER)
            kill(server, SIGKILL);
        for (size_t k = 0; order[i] == WORKERS && k < found; k++)
            if (pids[k] != client && pids[k] != server)
                kill(pids[k], SIGKILL);
    }
    int ended;
    wait_until(waitpid(client, &ended, WNOHANG) == client);
    wait_until(process_count() == 0);
    muster_pool_free(open_forked("local:1")); /* sweeps what nobody was left to remove */
    assert_int_equal(segment_count(client), 0);
    assert_nothing_left();
    unlink(path_of("output"));
}

static void whoever_is_killed_in_whatever_order_nothing_is_left(void **state)
{
    (void)state;
    kill_in_order((const enum victim[]){CLIENT}, 1, false);
    kill_in_order((const enum victim[]){CLIENT}, 1, true);
    kill_in_order((const enum victim[]){FORK_SERVER, CLIENT}, 2, false);
    kill_in_order((const enum victim[]){CLIENT, FORK_SERVER}, 2, false);
    kill_in_order((const enum victim[]){WORKERS, CLIENT}, 2, false);
    kill_in_order((const enum victim[]){WORKERS, FORK_SERVER, CLIENT}, 3, false);
}

static void a_killed_client_leaves_no_directory(void **state)
{
    (void)state;
    pid_t client = START(program, "--client");
    wait_until(has_output("submitted"));
    stop(client, SIGKILL);
    wait_until(process_count() == 0);
    wait_until(leftover_count() == 0); /* before any other pool has looked */
    muster_pool_free(open_forked("local:1"));
    assert_nothing_left();
}

static size_t descriptors(void)
{
    size_t count = 0;
    DIR *entries = opendir("/proc/self/fd");
    while (readdir(entries))
        count++;
    closedir(entries);
    return count;
}

static void pools_and_deaths_leave_no_descriptor(void **state)
{
    const muster_error *error;
    (void)state;
    muster_pool_free(open_forked("local:1"));
    size_t before = descriptors();
    for (int i = 0; i < 5; i++) {
        muster_pool *pool = open_forked("local:2");
        outcome(pool, "leave", MUSTER_ARGS(muster_int(1)), NULL, &error);
        kill(ask_pid(pool, "fork_server"), SIGKILL);
        outcome(pool, "leave", MUSTER_ARGS(muster_int(1)), NULL, &error);
        ask_pid(pool, "pid");
        muster_pool_free(pool);
    }
    wait_until(descriptors() <= before);
    assert_nothing_left();
}

/* --- the language's hooks ----------------------------------------------------------------------------------------- */

static void a_running_task_is_stopped_by_the_languages_hook(void **state)
{
    (void)state;
    muster_pool *pool = open_forked("local:1");
    for (int i = 0; i < 3; i++) {
        muster_result *result = submit(pool, "forever", MUSTER_NO_ARGS, NULL);
        assert_int_equal(muster_wait(result, 0.05), MUSTER_ETIMEDOUT);
        muster_cancel(result);
        assert_int_equal(muster_get(result, WAIT_S, NULL), MUSTER_ECANCELED);
        muster_result_free(result);
    }
    assert_int_equal(call(pool, "stops", MUSTER_NO_ARGS), 3); /* the worker has lived through it */
    muster_pool_free(pool);
    assert_nothing_left();
}

static void others_may_use_the_interpreter_while_the_worker_waits(void **state)
{
    (void)state;
    muster_pool *pool = open_forked("local:1");
    int64_t before = call(pool, "waits", MUSTER_NO_ARGS);
    assert_true(before >= 1); /* it had to wait for this very call */
    for (int i = 0; i < 10; i++)
        call(pool, "square", MUSTER_ARGS(muster_int(i)));
    assert_true(call(pool, "waits", MUSTER_NO_ARGS) <= before + 11); /* once for each time that it waited */
    muster_pool_free(pool);
    assert_nothing_left();
}

/* --- memory ------------------------------------------------------------------------------------------------------- */

static void assert_held(muster_pool *pool, size_t size)
{
    static char data[MEGABYTE];
    memset(data, 'a', size);
    assert_int_equal(call(pool, "hold", MUSTER_ARGS(muster_bytes(data, size))), 0);
    memset(data, 'b', size);
    for (int i = 0; i < 6; i++) /* arguments of the same size: the pool writes over the segments that it has */
        call(pool, "pid", MUSTER_ARGS(muster_bytes(data, size)));
    assert_int_equal(call(pool, "held", MUSTER_ARGS(muster_int('a'))), size);
}

static void held_arguments_outlive_their_task(void **state)
{
    (void)state;
    muster_pool *pool = open_forked("local:1");
    assert_held(pool, MEGABYTE); /* in shared memory */
    assert_held(pool, 1000);     /* in the message */
    call(pool, "hold", MUSTER_ARGS(muster_bytes("xyz", 3)));
    call(pool, "hold", MUSTER_ARGS(muster_bytes("xyz", 3))); /* lets the first ones go */
    muster_pool_free(pool);
    assert_nothing_left();
}

static void the_memory_of_a_result_may_be_written_to(void **state)
{
    (void)state;
    muster_pool *pool = open_forked("local:1");
    for (int64_t size = 1000; size <= MEGABYTE; size += MEGABYTE - 1000) {
        const muster_value *value;
        muster_result *result = submit(pool, "bytes", MUSTER_ARGS(muster_int(size)), NULL);
        assert_int_equal(muster_get(result, WAIT_S, &value), 0);
        assert_int_equal(value->size, size);
        memset((void *)(uintptr_t)value->data, 'x', value->size);
        muster_result_free(result);
    }
    muster_pool_free(pool);
    assert_nothing_left();
}

/* --- for a musterd ------------------------------------------------------------------------------------------------ */

/* Started again as "--host URL". */
static int run_host(const char *url)
{
    log_program = "host";
    return host_run(&(struct host_config){
        .url = url, .workers = 2, .language = "test", .name = "box", .fork_server = fork_server_command(NULL, NULL)});
}

static void a_supervisor_of_another_language_serves_a_musterd(void **state)
{
    (void)state;
    pid_t musterd = start_musterd("s"), host = START(program, "--host", url_of("s"));
    muster_pool *pool = open_pool(url_of("s"), NULL);
    wait_until(muster_pool_workers(pool) == 2);
    assert_int_equal(call(pool, "square", MUSTER_ARGS(muster_int(12))), 144);
    assert_int_equal(ask_pid(pool, "parent"), host);
    kill(ask_pid(pool, "fork_server"), SIGKILL);
    kill(ask_pid(pool, "pid"), SIGKILL);
    wait_until(muster_pool_workers(pool) == 2);
    assert_int_equal(call(pool, "square", MUSTER_ARGS(muster_int(12))), 144);
    assert_int_equal(stop(host, SIGTERM), 0);
    muster_pool_free(pool);
    stop(musterd, SIGTERM);
    assert_nothing_left();
}

static void a_killed_supervisor_takes_fork_server_and_workers_with_it(void **state)
{
    (void)state;
    pid_t musterd = start_musterd("s"), host = START(program, "--host", url_of("s"));
    muster_pool *pool = open_pool(url_of("s"), NULL);
    wait_until(muster_pool_workers(pool) == 2);
    stop(host, SIGKILL);
    wait_until(process_count() <= 2); /* musterd and its guard */
    muster_pool_free(pool);
    stop(musterd, SIGTERM);
    assert_nothing_left();
}

int main(int argc, char **argv)
{
    program = "/proc/self/exe";
    if (argc > 1 && strcmp(argv[1], "--fork-server") == 0)
        return run_fork_server(argc, argv);
    if (argc == 2 && strcmp(argv[1], "--client") == 0)
        return run_client();
    if (argc == 2 && strcmp(argv[1], "--raw") == 0)
        return run_raw();
    if (argc == 3 && strcmp(argv[1], "--host") == 0)
        return run_host(argv[2]);
    const struct CMUnitTest tests[] = {
        E2E_TEST(functions_run_in_forked_workers),
        E2E_TEST(a_closed_pool_ends_its_fork_server_too),
        E2E_TEST(many_workers_are_forked_one_after_the_other),
        E2E_TEST(a_pool_may_be_freed_before_its_fork_server_has_answered),
        E2E_TEST(a_fork_server_that_cannot_start_is_told_with_its_last_words),
        E2E_TEST(a_worker_that_fails_at_its_start_says_why),
        E2E_TEST(an_empty_command_and_one_for_a_musterd_are_refused),
        E2E_TEST(output_of_fork_server_and_workers_is_heard),
        E2E_TEST(raw_output_goes_where_that_of_the_client_goes),
        E2E_TEST(the_end_of_a_forked_worker_is_known),
        E2E_TEST(a_killed_fork_server_harms_no_worker_and_is_replaced),
        E2E_TEST(a_fork_server_that_dies_at_a_fork_is_replaced),
        E2E_TEST(a_worker_whose_fork_server_died_after_the_fork_is_not_lost),
        E2E_TEST(a_worker_that_died_before_it_was_known_is_waited_for),
        E2E_TEST(whoever_is_killed_in_whatever_order_nothing_is_left),
        E2E_TEST(a_killed_client_leaves_no_directory),
        E2E_TEST(pools_and_deaths_leave_no_descriptor),
        E2E_TEST(a_running_task_is_stopped_by_the_languages_hook),
        E2E_TEST(others_may_use_the_interpreter_while_the_worker_waits),
        E2E_TEST(held_arguments_outlive_their_task),
        E2E_TEST(the_memory_of_a_result_may_be_written_to),
        E2E_TEST(a_supervisor_of_another_language_serves_a_musterd),
        E2E_TEST(a_killed_supervisor_takes_fork_server_and_workers_with_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
