/*
 * The program muster-worker: its options, what it does on signals, and that nothing outlives it.
 */
#include "tests/e2e/pools.h"

#define WORKER MUSTER_BIN_DIR "/muster-worker"

/* A musterd, its workers, and a client. */
static pid_t musterd, workers;
static muster_pool *pool;

static void serve(const char *const *options)
{
    const char *arguments[24] = {"--load", MISBEHAVE};
    size_t count = 2;
    while (*options)
        arguments[count++] = *options++;
    arguments[count] = url_of("socket");
    musterd = start_musterd("socket");
    workers = start(WORKER, arguments);
    pool = open_pool(url_of("socket"), NULL);
}
#define SERVE(...) serve((const char *const[]){__VA_ARGS__, NULL})

static void stop_everything(void)
{
    muster_pool_free(pool);
    stop(workers, SIGTERM);
    stop(musterd, SIGTERM);
    assert_nothing_left();
}

static int64_t call_int(const char *function, muster_args args)
{
    muster_result *result = submit(pool, function, args, NULL);
    const muster_value *value;
    assert_int_equal(muster_get(result, WAIT_S, &value), 0);
    int64_t number = value->integer;
    muster_result_free(result);
    return number;
}

static bool output_has(const char *words)
{
    static char text[1 << 20];
    FILE *file = fopen(path_of("output"), "r");
    size_t length = file ? fread(text, 1, sizeof text - 1, file) : 0;
    if (file)
        fclose(file);
    text[length] = '\0';
    return strstr(text, words) != NULL;
}

/* Runs the program to its end, which must come by itself. */
static int run(const char *const *arguments)
{
    int ended;
    pid_t pid = start(WORKER, arguments);
    wait_until(waitpid(pid, &ended, WNOHANG) == pid);
    assert_true(WIFEXITED(ended));
    return WEXITSTATUS(ended);
}
#define RUN(...) run((const char *const[]){__VA_ARGS__, NULL})

/* A shell command as argument of muster.exec. */
static muster_result *submit_shell(const char *script)
{
    static char argument[1024];
    size_t length = strlen(script);
    assert_true(length < 900);
    int head = snprintf(argument, sizeof argument, "\x81\xa4%s\x93\xa2%s\xa2%s\xda", "argv", "sh", "-c");
    argument[head] = (char)(length >> 8);
    argument[head + 1] = (char)length;
    memcpy(argument + head + 2, script, length);
    return submit(pool, "muster.exec", MUSTER_ARGS(muster_msgpack(argument, (size_t)head + 2 + length)), NULL);
}

/* --- the command line --------------------------------------------------------------------------------------------- */

static void wrong_usage_ends_with_status_2_and_says_what_to_do(void **state)
{
    (void)state;
    assert_int_equal(RUN("--exec"), 2);
    assert_true(output_has("the URL of a musterd is missing"));
    assert_int_equal(RUN("ipc:///tmp/x"), 2);
    assert_true(output_has("give --load or --exec"));
    assert_int_equal(RUN("--exec", "nonsense"), 2);
    assert_int_equal(RUN("--exec", "ipc:///a", "ipc:///b"), 2);
    assert_int_equal(RUN("--exec", "-n", "0", "ipc:///a"), 2);
    assert_int_equal(RUN("--exec", "--label", "nonsense", "ipc:///a"), 2);
    assert_int_equal(RUN("--exec", "--log-level", "loud", "ipc:///a"), 2);
    assert_int_equal(RUN("--help"), 0);
    assert_int_equal(RUN("--version"), 0);
    assert_nothing_left();
}

static void a_bad_plugin_ends_it_with_status_1(void **state)
{
    (void)state;
    assert_int_equal(RUN("--load", "/nowhere.so", "ipc:///tmp/x"), 1);
    assert_true(output_has("cannot load the plugin /nowhere.so"));
    assert_int_equal(RUN("--load", TEST_PLUGIN_DIR "/crash_on_load.so", "ipc:///tmp/x"), 1);
    assert_true(output_has("cannot find the model"));
    assert_int_equal(RUN("--load", TEST_PLUGIN_DIR "/other_version.so", "ipc:///tmp/x"), 1);
    assert_true(output_has("build it again"));
    assert_nothing_left();
}

static void a_missing_or_open_authkey_file_ends_it_with_status_1(void **state)
{
    (void)state;
    assert_int_equal(RUN("--exec", "--authkey-file", "/nowhere/key", "ipc:///tmp/x"), 1);
    assert_true(output_has("/nowhere/key"));
}

static void a_wrong_authkey_ends_it_with_status_1(void **state)
{
    (void)state;
    static const char *const names[] = {"right", "wrong"};
    for (int i = 0; i < 2; i++) {
        int fd = open(path_of(names[i]), O_WRONLY | O_CREAT, 0600);
        assert_int_equal(write(fd, names[i], 5), 5);
        close(fd);
    }
    musterd = START(MUSTER_BIN_DIR "/musterd", "--listen", url_of("socket"), "--authkey-file", path_of("right"));
    wait_until(access(path_of("socket"), F_OK) == 0);
    assert_int_equal(RUN("--exec", "-n", "2", "--authkey-file", path_of("wrong"), url_of("socket")), 1);
    assert_true(output_has("authkey"));
    stop(musterd, SIGTERM);
    assert_nothing_left();
}

static void a_failing_initializer_ends_it_with_its_words(void **state)
{
    (void)state;
    musterd = start_musterd("socket");
    assert_int_equal(RUN("--load", MISBEHAVE, "--initializer", "bad_initialize", url_of("socket")), 1);
    assert_true(output_has("the licence server is down"));
    stop(musterd, SIGTERM);
    assert_nothing_left();
}

/* --- output and names --------------------------------------------------------------------------------------------- */

static void lines_are_tagged_with_host_and_slot(void **state)
{
    (void)state;
    SERVE("-n", "1", "--name", "alpha");
    muster_result_free(submit(pool, "print", MUSTER_ARGS(muster_string("hello there")), NULL));
    wait_until(output_has("[alpha/0] hello there\n"));
    stop_everything();
}

static void raw_output_is_left_alone(void **state)
{
    (void)state;
    SERVE("-n", "1", "--raw-output");
    muster_result_free(submit(pool, "print", MUSTER_ARGS(muster_string("hello there")), NULL));
    wait_until(output_has("\nhello there\n"));
    stop_everything();
}

/* What a worker prints must not matter to whether a death is noticed. */
static void nobody_reads_its_output_and_it_works_all_the_same(void **state)
{
    int ends[2];
    const muster_error *error;
    (void)state;
    musterd = start_musterd("socket");
    assert_int_equal(pipe(ends), 0);
    posix_spawn_file_actions_t actions;
    extern char **environ;
    char *arguments[] = {WORKER, "-n", "1", "--load", MISBEHAVE, (char *)url_of("socket"), NULL};
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    assert_int_equal(posix_spawn(&workers, WORKER, &actions, NULL, arguments, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    pool = open_pool(url_of("socket"), NULL);
    for (int i = 0; i < 3; i++) {
        /* more than the pipes and the printer take: the task waits to be read, until it is killed */
        muster_options options = {.time_limit = 0.5, .grace = 0.1};
        outcome(pool, "print_much", MUSTER_ARGS(muster_int(8 << 20)), &options, &error);
        assert_int_equal(outcome(pool, "abort", MUSTER_NO_ARGS, NULL, &error), MUSTER_ELOST);
    }
    assert_alive(pool);
    stop_everything();
    close(ends[0]);
    close(ends[1]);
}

static void labels_choose_workers(void **state)
{
    const muster_error *error;
    muster_options options = {.labels = (const char *const[]){"gpu=yes", NULL}};
    (void)state;
    SERVE("-n", "1", "--label", "gpu=yes", "--label", "zone=a");
    assert_int_equal(outcome(pool, "nothing", MUSTER_NO_ARGS, &options, &error), 0);
    stop_everything();
}

/* --- signals ------------------------------------------------------------------------------------------------------ */

static void sigterm_lets_running_tasks_finish(void **state)
{
    (void)state;
    int ended;
    SERVE("-n", "2");
    muster_result *result = submit(pool, "announce_and_sleep_ms", MUSTER_ARGS(muster_int(400)), NULL);
    wait_until(output_has("begun"));
    ended = stop(workers, SIGTERM);
    assert_true(WIFEXITED(ended) && WEXITSTATUS(ended) == 0);
    assert_int_equal(muster_get(result, WAIT_S, NULL), 0);
    muster_result_free(result);
    muster_pool_free(pool);
    stop(musterd, SIGTERM);
    assert_nothing_left();
}

static void a_second_signal_ends_at_once(void **state)
{
    (void)state;
    SERVE("-n", "2");
    muster_result *result = submit(pool, "ignore_signals", MUSTER_NO_ARGS, NULL);
    call_int("add", MUSTER_ARGS(muster_int(1)));
    kill(workers, SIGINT);
    wait_until(muster_pool_workers(pool) <= 1); /* the idle one has left */
    int ended = stop(workers, SIGINT);
    assert_true(WIFEXITED(ended) && WEXITSTATUS(ended) == 1);
    assert_int_equal(muster_get(result, WAIT_S, NULL), MUSTER_ELOST);
    muster_result_free(result);
    muster_pool_free(pool);
    stop(musterd, SIGTERM);
    assert_nothing_left();
}

static void a_worker_that_ignores_sigterm_drains_all_the_same(void **state)
{
    (void)state;
    const muster_error *error;
    SERVE("-n", "1");
    assert_int_equal(outcome(pool, "ignore_terminate", MUSTER_NO_ARGS, NULL, &error), 0);
    stop_everything();
}

static void without_a_musterd_it_says_so_and_ends_when_told_to(void **state)
{
    (void)state;
    workers = START(WORKER, "--load", MISBEHAVE, "-n", "2", url_of("nobody"));
    wait_until(output_has("no musterd answers at ipc://"));
    assert_true(process_count() >= 3);
    int ended = stop(workers, SIGTERM);
    assert_true(WIFEXITED(ended));
    assert_nothing_left();
}

/* --- kill -9 ------------------------------------------------------------------------------------------------------ */

static void nothing_outlives_a_killed_supervisor(void **state)
{
    (void)state;
    SERVE("-n", "3", "--exec");
    call_int("leave_child", MUSTER_NO_ARGS);
    muster_result *command = submit_shell("trap '' TERM; sleep 1000 & sleep 1000; true");
    muster_result *task = submit(pool, "ignore_signals", MUSTER_NO_ARGS, NULL);
    /* musterd with its guard, muster-worker, three workers, one child, a shell and two sleeps */
    wait_until(process_count() >= 10);
    stop(workers, SIGKILL);
    assert_int_equal(muster_get(task, WAIT_S, NULL), MUSTER_ELOST);
    assert_int_equal(muster_get(command, WAIT_S, NULL), MUSTER_ELOST);
    muster_result_free(task);
    muster_result_free(command);
    muster_pool_free(pool);
    stop(musterd, SIGTERM);
    assert_nothing_left();
}

static void stopped_workers_do_not_outlive_it_either(void **state)
{
    (void)state;
    SERVE("-n", "2");
    pid_t first = (pid_t)call_int("pid", MUSTER_NO_ARGS);
    kill(first, SIGSTOP);
    stop(workers, SIGKILL);
    muster_pool_free(pool);
    stop(musterd, SIGTERM);
    assert_nothing_left();
}

static void a_command_dies_with_its_killed_worker(void **state)
{
    (void)state;
    SERVE("-n", "1", "--exec");
    pid_t worker = (pid_t)call_int("pid", MUSTER_NO_ARGS);
    size_t before = process_count();
    muster_result *command = submit_shell("sleep 1000 & sleep 1000; true");
    wait_until(process_count() == before + 3);
    kill(worker, SIGKILL);
    assert_int_equal(muster_get(command, WAIT_S, NULL), MUSTER_ELOST);
    muster_result_free(command);
    assert_alive(pool); /* on a new worker */
    wait_until(process_count() == before);
    stop_everything();
}

static void a_cancelled_command_ends_with_all_its_children(void **state)
{
    (void)state;
    SERVE("-n", "1", "--exec");
    assert_alive(pool);
    size_t before = process_count();
    muster_result *command = submit_shell("trap '' TERM; sleep 1000 & sleep 1000; sleep 1000");
    wait_until(process_count() == before + 3);
    muster_cancel(command);
    assert_int_equal(muster_get(command, WAIT_S, NULL), MUSTER_ECANCELED);
    muster_result_free(command);
    assert_alive(pool);
    wait_until(process_count() == before);
    stop_everything();
}

static void zombies_that_come_to_it_are_collected(void **state)
{
    (void)state;
    SERVE("-n", "1", "--exec");
    /* the child outlives its parent, the shell, and comes to muster-worker */
    muster_result *command = submit_shell("(sleep 0.2 &) ; true");
    assert_int_equal(muster_get(command, WAIT_S, NULL), 0);
    muster_result_free(command);
    char path[64], line[512];
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)workers, (int)workers);
    FILE *file = fopen(path, "r");
    if (file) {
        fclose(file);
        size_t children = 99;
        double give_up = now_s() + WAIT_S;
        while (children > 1 && now_s() < give_up) { /* its worker belongs to another thread, or is the one */
            file = fopen(path, "r");
            children = 0;
            if (fgets(line, sizeof line, file))
                for (char *rest = NULL, *one = strtok_r(line, " \n", &rest); one; one = strtok_r(NULL, " \n", &rest))
                    children++;
            fclose(file);
            poll(NULL, 0, 10);
        }
        assert_true(children <= 1);
    }
    stop_everything();
}

static void workers_come_back_to_a_restarted_musterd(void **state)
{
    (void)state;
    SERVE("-n", "2");
    int64_t before = call_int("pid", MUSTER_NO_ARGS);
    muster_result *task = submit(pool, "announce_and_sleep_ms", MUSTER_ARGS(muster_int(500)), NULL);
    wait_until(output_has("begun"));
    stop(musterd, SIGKILL);
    wait_until(access(path_of("socket"), F_OK) != 0);
    musterd = start_musterd("socket");
    assert_int_equal(muster_get(task, WAIT_S, NULL), 0);
    muster_result_free(task);
    assert_alive(pool);
    assert_int_equal(kill((pid_t)before, 0), 0); /* the same process */
    stop_everything();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(wrong_usage_ends_with_status_2_and_says_what_to_do),
        E2E_TEST(a_bad_plugin_ends_it_with_status_1),
        E2E_TEST(a_missing_or_open_authkey_file_ends_it_with_status_1),
        E2E_TEST(a_wrong_authkey_ends_it_with_status_1),
        E2E_TEST(a_failing_initializer_ends_it_with_its_words),
        E2E_TEST(lines_are_tagged_with_host_and_slot),
        E2E_TEST(raw_output_is_left_alone),
        E2E_TEST(nobody_reads_its_output_and_it_works_all_the_same),
        E2E_TEST(labels_choose_workers),
        E2E_TEST(sigterm_lets_running_tasks_finish),
        E2E_TEST(a_second_signal_ends_at_once),
        E2E_TEST(a_worker_that_ignores_sigterm_drains_all_the_same),
        E2E_TEST(without_a_musterd_it_says_so_and_ends_when_told_to),
        E2E_TEST(nothing_outlives_a_killed_supervisor),
        E2E_TEST(stopped_workers_do_not_outlive_it_either),
        E2E_TEST(a_command_dies_with_its_killed_worker),
        E2E_TEST(a_cancelled_command_ends_with_all_its_children),
        E2E_TEST(zombies_that_come_to_it_are_collected),
        E2E_TEST(workers_come_back_to_a_restarted_musterd),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
