/*
 * Pools on "local:": how workers are made, what is said when they cannot be, and that nothing is left behind.
 */
#include <pthread.h>
#include <sys/file.h>

#include "tests/e2e/pools.h"

static const char *program; /* this test, to be started again as a client */

static int square(muster_task *task)
{
    int64_t x;
    int status = muster_arg_int(task, 0, &x);
    return status ? status : muster_return_int(task, x * x);
}

static int forever(muster_task *task)
{
    while (!muster_cancelled(task))
        poll(NULL, 0, 1000);
    return MUSTER_ECANCELED;
}

static void the_program_is_its_own_worker(void **state)
{
    const muster_value *value;
    (void)state;
    muster_pool *pool = open_pool("local:2", NULL);
    muster_result *result = submit(pool, "square", MUSTER_ARGS(muster_int(12)), NULL);
    assert_int_equal(muster_get(result, WAIT_S, &value), 0);
    assert_int_equal(value->integer, 144);
    muster_result_free(result);
    wait_until(muster_pool_workers(pool) == 2);
    assert_int_equal(process_count(), 2);
    assert_int_equal(muster_pool_free(pool), 0);
    assert_nothing_left();
}

static void local_without_a_number_has_workers_too(void **state)
{
    (void)state;
    muster_pool *pool = open_pool("local:", NULL);
    wait_until(muster_pool_workers(pool) >= 1);
    muster_pool_free(pool);
    assert_nothing_left();
}

static void a_plugin_that_cannot_be_used_is_named_at_the_opening(void **state)
{
    static const char *const bad[] = {"/nonexistent/plugin.so", TEST_PLUGIN_DIR "/not_a_plugin.so",
                                      TEST_PLUGIN_DIR "/other_version.so", TEST_PLUGIN_DIR "/other_magic.so",
                                      "/etc/passwd"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *const plugins[] = {bad[i], NULL};
        muster_pool *pool;
        assert_int_equal(muster_pool_open(&pool, "local:2", &(muster_pool_options){.plugins = plugins}),
                         MUSTER_EPLUGIN);
        assert_null(pool);
        assert_non_null(strstr(muster_last_error(), bad[i]));
        assert_nothing_left();
    }
}

/* Started again as "--bare": no muster_init(), no plugin. */
static int run_bare(void)
{
    muster_pool *pool;
    int status = muster_pool_open(&pool, "local:2", NULL);
    if (status == 0)
        muster_pool_free(pool);
    return status == MUSTER_EWORKERS && strstr(muster_last_error(), "muster_init") ? 0 : 1;
}

static void a_pool_without_functions_is_refused_with_the_mend(void **state)
{
    int ended;
    (void)state;
    pid_t pid = START(program, "--bare");
    assert_int_equal(waitpid(pid, &ended, 0), pid);
    assert_int_equal(ended, 0);
    assert_nothing_left();
}

static void workers_that_cannot_start_give_every_call_an_outcome(void **state)
{
    static const char *const plugins[] = {MISBEHAVE, NULL};
    const muster_pool_options options = {.plugins = plugins, .initializer = "bad_initialize", .on_output = drop_output};
    muster_pool *pool;
    (void)state;
    int status = muster_pool_open(&pool, "local:2", &options);
    if (status == 0) {
        const muster_error *error;
        assert_int_equal(outcome(pool, "add", MUSTER_NO_ARGS, NULL, &error), MUSTER_EWORKERS);
        assert_non_null(strstr(error->message, "the licence server is down"));
        assert_int_equal(muster_apply(pool, "add", MUSTER_NO_ARGS, NULL, NULL), MUSTER_EWORKERS);
        muster_pool_free(pool);
    } else {
        assert_int_equal(status, MUSTER_EWORKERS);
        assert_non_null(strstr(muster_last_error(), "the licence server is down"));
    }
    assert_nothing_left();
}

static void an_initializer_runs_before_the_first_task(void **state)
{
    static const char *const plugins[] = {MISBEHAVE, NULL};
    const muster_pool_options options = {
        .plugins = plugins, .initializer = "initialize", .initializer_args = MUSTER_ARGS(muster_int(7))};
    const muster_value *value;
    (void)state;
    muster_pool *pool = open_pool("local:1", &options);
    muster_result *result = submit(pool, "initialized_with", MUSTER_NO_ARGS, NULL);
    assert_int_equal(muster_get(result, WAIT_S, &value), 0);
    assert_int_equal(value->integer, 7);
    muster_result_free(result);
    muster_pool_free(pool);
    assert_nothing_left();
}

static void workers_are_replaced_after_max_tasks(void **state)
{
    static const char *const plugins[] = {MISBEHAVE, NULL};
    const muster_pool_options options = {.plugins = plugins, .max_tasks = 3};
    int64_t pids[12];
    size_t different = 1;
    (void)state;
    muster_pool *pool = open_pool("local:1", &options);
    for (int i = 0; i < 12; i++) {
        const muster_value *value;
        muster_result *result = submit(pool, "pid", MUSTER_NO_ARGS, NULL);
        assert_int_equal(muster_get(result, WAIT_S, &value), 0);
        pids[i] = value->integer;
        different += i > 0 && pids[i] != pids[i - 1];
        muster_result_free(result);
    }
    assert_int_equal(different, 4);
    muster_pool_free(pool);
    assert_nothing_left();
}

/* --- output, log, progress ---------------------------------------------------------------------------------------- */

struct heard {
    pthread_mutex_t mutex;
    char line[64], worker[64], log[128];
    int stream, progress;
    double done;
};

static void hear_output(int stream, const char *worker, const char *line, size_t size, void *arg)
{
    struct heard *heard = arg;
    pthread_mutex_lock(&heard->mutex);
    heard->stream = stream;
    snprintf(heard->line, sizeof heard->line, "%.*s", (int)size, line);
    snprintf(heard->worker, sizeof heard->worker, "%s", worker);
    pthread_mutex_unlock(&heard->mutex);
}

static void hear_log(int level, const char *worker, const char *text, void *arg)
{
    struct heard *heard = arg;
    pthread_mutex_lock(&heard->mutex);
    snprintf(heard->log, sizeof heard->log, "%d %s %s", level, worker, text);
    pthread_mutex_unlock(&heard->mutex);
}

static void hear_progress(muster_result *result, size_t item, double done, double total, const char *text, void *arg)
{
    struct heard *heard = arg;
    (void)result;
    heard->progress += item == 0 && total == 10 && strcmp(text, "working") == 0;
    heard->done = done;
}

static void output_log_and_progress_reach_the_caller(void **state)
{
    static const char *const plugins[] = {MISBEHAVE, NULL};
    struct heard heard = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    const muster_pool_options options = {
        .plugins = plugins, .on_output = hear_output, .on_log = hear_log, .arg = &heard};
    const muster_options with_progress = {.on_progress = hear_progress, .arg = &heard};
    (void)state;
    muster_pool *pool = open_pool("local:1", &options);
    muster_result *printed = submit(pool, "print", MUSTER_ARGS(muster_string("a line")), NULL);
    muster_result *reported = submit(pool, "report", MUSTER_NO_ARGS, &with_progress);
    assert_int_equal(muster_get(printed, WAIT_S, NULL), 0);
    assert_int_equal(muster_get(reported, WAIT_S, NULL), 0);
    muster_result_free(printed);
    muster_result_free(reported);
    muster_pool_close(pool);
    assert_int_equal(muster_pool_join(pool, WAIT_S), 0);
    muster_pool_free(pool);
    assert_string_equal(heard.line, "a line");
    assert_int_equal(heard.stream, 1);
    assert_non_null(strstr(heard.worker, "/0"));
    assert_non_null(strstr(heard.log, "said by report on"));
    assert_true(heard.progress >= 1);
    assert_nothing_left();
}

/* --- commands ----------------------------------------------------------------------------------------------------- */

static void workers_with_exec_run_commands(void **state)
{
    static const char argv[] = "\x81\xa4"
                               "argv\x92\xa4"
                               "echo\xa5hello";
    const muster_pool_options options = {.exec = true};
    const muster_value *value;
    (void)state;
    muster_pool *pool = open_pool("local:1", &options);
    muster_result *result = submit(pool, "muster.exec", MUSTER_ARGS(muster_msgpack(argv, sizeof argv - 1)), NULL);
    assert_int_equal(muster_get(result, WAIT_S, &value), 0);
    assert_int_equal(value->type, MUSTER_TYPE_MSGPACK);
    assert_non_null(memmem(value->data, value->size, "hello\n", 6));
    muster_result_free(result);
    muster_pool_free(pool);
    assert_nothing_left();
}

/* --- what is left ------------------------------------------------------------------------------------------------- */

static size_t descriptors(void)
{
    size_t count = 0;
    DIR *entries = opendir("/proc/self/fd");
    while (readdir(entries))
        count++;
    closedir(entries);
    return count;
}

static void many_pools_leave_no_descriptor_and_no_process(void **state)
{
    (void)state;
    muster_pool_free(open_pool("local:1", NULL));
    size_t before = descriptors();
    for (int i = 0; i < 10; i++) {
        muster_pool *pool = open_pool("local:2", NULL);
        if (i % 2)
            assert_int_equal(muster_apply(pool, "square", MUSTER_ARGS(muster_int(i)), NULL, NULL), 0);
        muster_pool_free(pool);
    }
    wait_until(descriptors() <= before);
    assert_nothing_left();
}

static void two_pools_do_not_mix(void **state)
{
    const muster_error *error;
    (void)state;
    muster_pool *own = open_pool("local:1", NULL), *plugin = open_local("local:1");
    assert_int_equal(outcome(own, "square", MUSTER_ARGS(muster_int(3)), NULL, &error), 0);
    assert_int_equal(outcome(own, "add", MUSTER_ARGS(muster_int(3)), NULL, &error), MUSTER_ENOFUNCTION);
    assert_alive(plugin);
    muster_pool_free(own);
    assert_alive(plugin);
    muster_pool_free(plugin);
    assert_nothing_left();
}

static void terminate_ends_running_tasks_and_workers(void **state)
{
    (void)state;
    muster_pool *pool = open_local("local:2");
    muster_result *rude = submit(pool, "ignore_signals", MUSTER_NO_ARGS, NULL);
    muster_result *other = submit(pool, "loop", MUSTER_NO_ARGS, NULL);
    wait_until(muster_pool_workers(pool) == 2);
    muster_pool_terminate(pool);
    assert_int_equal(muster_get(rude, 0, NULL), MUSTER_ECLOSED);
    assert_int_equal(muster_get(other, 0, NULL), MUSTER_ECLOSED);
    assert_int_equal(muster_pool_join(pool, WAIT_S), 0);
    assert_int_equal(process_count(), 0);
    muster_result_free(rude);
    muster_result_free(other);
    muster_pool_free(pool);
    assert_nothing_left();
}

static void *free_pool(void *pool)
{
    muster_pool_free(pool);
    return NULL;
}

static void a_pool_may_be_freed_while_others_wait(void **state)
{
    pthread_t thread;
    (void)state;
    muster_pool *pool = open_pool("local:1", NULL);
    muster_result *result = submit(pool, "forever", MUSTER_NO_ARGS, NULL);
    assert_int_equal(muster_wait(result, 0.1), MUSTER_ETIMEDOUT);
    pthread_create(&thread, NULL, free_pool, pool);
    assert_int_equal(muster_get(result, WAIT_S, NULL), MUSTER_ECLOSED);
    pthread_join(thread, NULL);
    muster_result_free(result);
    assert_nothing_left();
}

/* Started again as "--client": a pool with work, then waits to be killed. */
static int run_client(void)
{
    static char data[1 << 20];
    muster_pool *pool;
    if (muster_pool_open(&pool, "local:2", NULL) != 0)
        return 1;
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

static bool has_output(void)
{
    struct stat info;
    return stat(path_of("output"), &info) == 0 && info.st_size > 0;
}

static void a_killed_client_takes_everything_with_it(void **state)
{
    (void)state;
    pid_t client = START(program, "--client");
    wait_until(has_output());
    assert_int_equal(process_count(), 3);
    assert_true(segment_count(client) > 0);
    stop(client, SIGKILL);
    wait_until(process_count() == 0);
    wait_until(leftover_count() == 0);
    /* Nobody is left who could have removed the dead client's segments: the next pool does. */
    muster_pool_free(open_pool("local:1", NULL));
    assert_int_equal(segment_count(client), 0);
    assert_nothing_left();
}

static void what_was_killed_all_at_once_is_swept_by_the_next_pool(void **state)
{
    pid_t pids[8];
    (void)state;
    pid_t client = START(program, "--client");
    wait_until(has_output());
    size_t count = marked_processes(pids, 8);
    for (size_t i = 0; i < count; i++)
        kill(pids[i], SIGSTOP);
    for (size_t i = 0; i < count; i++)
        if (pids[i] != client)
            kill(pids[i], SIGKILL);
    stop(client, SIGKILL);
    wait_until(process_count() == 0);
    assert_int_equal(leftover_count(), 1);
    muster_pool_free(open_pool("local:1", NULL));
    assert_int_equal(segment_count(client), 0);
    assert_nothing_left();
}

int main(int argc, char **argv)
{
    static const muster_function functions[] = {{"square", square}, {"forever", forever}, {NULL, NULL}};
    program = argv[0];
    if (argc == 2 && strcmp(argv[1], "--bare") == 0)
        return run_bare();
    muster_init(argc, argv, functions);
    if (argc == 2 && strcmp(argv[1], "--client") == 0)
        return run_client();
    const struct CMUnitTest tests[] = {
        E2E_TEST(the_program_is_its_own_worker),
        E2E_TEST(local_without_a_number_has_workers_too),
        E2E_TEST(a_plugin_that_cannot_be_used_is_named_at_the_opening),
        E2E_TEST(a_pool_without_functions_is_refused_with_the_mend),
        E2E_TEST(workers_that_cannot_start_give_every_call_an_outcome),
        E2E_TEST(an_initializer_runs_before_the_first_task),
        E2E_TEST(workers_are_replaced_after_max_tasks),
        E2E_TEST(output_log_and_progress_reach_the_caller),
        E2E_TEST(workers_with_exec_run_commands),
        E2E_TEST(many_pools_leave_no_descriptor_and_no_process),
        E2E_TEST(two_pools_do_not_mix),
        E2E_TEST(terminate_ends_running_tasks_and_workers),
        E2E_TEST(a_pool_may_be_freed_while_others_wait),
        E2E_TEST(a_killed_client_takes_everything_with_it),
        E2E_TEST(what_was_killed_all_at_once_is_swept_by_the_next_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
