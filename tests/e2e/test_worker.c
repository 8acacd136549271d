/*
 * Tasks that do to their worker what they should not, in a pool on this machine: each gets a clear error, nothing else
 * is lost, and the next call works.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "muster.h"

#define LONG 30.0 /* s: no wait in this file is longer */
#define PLUGIN TEST_PLUGIN_DIR "/misbehave.so"

static muster_pool *pool;

static int open_pool(unsigned workers, muster_pool_options *options)
{
    static const char *const plugins[] = {PLUGIN, NULL};
    char url[32];
    setenv("MUSTER_BIN_DIR", MUSTER_BIN_DIR, 1);
    snprintf(url, sizeof url, "local:%u", workers);
    if (!options->plugins)
        options->plugins = plugins;
    int status = muster_pool_open(&pool, url, options);
    if (status != 0)
        print_message("muster_pool_open: %s\n", muster_last_error());
    return status;
}

static int set_up(void **state)
{
    muster_pool_options options = {.payload_limit = 64 << 20};
    (void)state;
    return open_pool(1, &options);
}

static int tear_down(void **state)
{
    (void)state;
    muster_pool_free(pool);
    pool = NULL;
    return 0;
}

/* Calls and waits; the result is the caller's. */
static muster_result *call(const char *function, muster_args args, const muster_options *options)
{
    muster_result *result = NULL;
    assert_int_equal(muster_apply_async(pool, function, args, options, &result), 0);
    if (muster_wait(result, LONG) != 0)
        fail_msg("%s has no outcome after %g s", function, LONG);
    return result;
}

static int64_t call_int(const char *function, muster_args args)
{
    muster_result *result = call(function, args, NULL);
    const muster_value *value = muster_result_value(result, 0);
    if (!value)
        fail_msg("%s: %s", function, muster_result_error(result, 0)->message);
    assert_int_equal(value->type, MUSTER_TYPE_INT);
    int64_t number = value->integer;
    muster_result_free(result);
    return number;
}

static void the_pool_still_works(void)
{
    assert_int_equal(call_int("add", MUSTER_ARGS(muster_int(40), muster_int(2))), 42);
}

/* The call fails with this status; its error, valid until the next call of this function. */
static const muster_error *failure(const char *function, muster_args args, const muster_options *options, int status)
{
    static muster_result *last;
    muster_result_free(last);
    last = call(function, args, options);
    const muster_error *error = muster_result_error(last, 0);
    if (!error)
        fail_msg("%s succeeded", function);
    if (error->status != status)
        fail_msg("%s: status %d: %s", function, error->status, error->message);
    return error;
}

static bool gone(pid_t pid)
{
    const struct timespec moment = {0, 10000000};
    for (int i = 0; i < 3000; i++) {
        if (kill(pid, 0) != 0 && errno == ESRCH)
            return true;
        char path[64], state = '?';
        snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
        FILE *file = fopen(path, "r");
        if (file && fscanf(file, "%*d (%*[^)]) %c", &state) == 1 && state == 'Z') {
            fclose(file);
            return true; /* its parent has not looked yet */
        }
        if (file)
            fclose(file);
        nanosleep(&moment, NULL);
    }
    return false;
}

/* --- ends --------------------------------------------------------------------------------------------------------- */

static void a_segfault_is_reported_with_signal_worker_and_last_words(void **state)
{
    (void)state;
    int64_t worker = call_int("pid", MUSTER_NO_ARGS);
    const muster_error *error = failure("segfault", MUSTER_NO_ARGS, NULL, MUSTER_ELOST);
    assert_int_equal(error->signal, SIGSEGV);
    assert_int_equal(error->pid, worker);
    assert_non_null(strstr(error->worker, "/0"));
    assert_string_equal(error->function, "segfault");
    assert_non_null(strstr(error->message, "about to fault"));
    the_pool_still_works();
    assert_true(call_int("pid", MUSTER_NO_ARGS) != worker);
}

static void abort_is_reported_as_such(void **state)
{
    (void)state;
    assert_int_equal(failure("abort", MUSTER_NO_ARGS, NULL, MUSTER_ELOST)->signal, SIGABRT);
    the_pool_still_works();
}

static void exit_is_reported_with_its_status(void **state)
{
    (void)state;
    const muster_error *error = failure("exit", MUSTER_ARGS(muster_int(7)), NULL, MUSTER_ELOST);
    assert_int_equal(error->signal, 0);
    assert_int_equal(error->exit_status, 7);
    error = failure("exit_at_once", MUSTER_ARGS(muster_int(0)), NULL, MUSTER_ELOST);
    assert_int_equal(error->exit_status, 0);
    the_pool_still_works();
}

static void memory_that_runs_out_is_the_tasks_error(void **state)
{
    muster_pool_options options = {.memory_limit = (size_t)1 << 30};
    (void)state;
#ifdef MUSTER_SANITIZED
    skip(); /* a sanitizer's shadow needs more address space than any limit allows */
#endif
    tear_down(NULL);
    assert_int_equal(open_pool(1, &options), 0);
    muster_result *result = call("eat_memory", MUSTER_NO_ARGS, NULL);
    const muster_error *error = muster_result_error(result, 0);
    assert_non_null(error);
    assert_true(error->status == MUSTER_ETASK || error->status == MUSTER_ENOMEM || error->status == MUSTER_ELOST);
    muster_result_free(result);
    the_pool_still_works();
}

static void a_task_that_closes_everything_ends_its_worker_alone(void **state)
{
    (void)state;
    muster_result *result = call("close_everything", MUSTER_NO_ARGS, NULL);
    const muster_error *error = muster_result_error(result, 0);
    assert_true(!error || error->status == MUSTER_ELOST); /* its outcome may have been salvaged */
    muster_result_free(result);
    the_pool_still_works();
}

static void a_task_that_writes_over_everything_is_lost_once(void **state)
{
    (void)state;
    failure("scribble", MUSTER_NO_ARGS, NULL, MUSTER_ELOST);
    the_pool_still_works();
}

static void a_forked_child_does_not_become_a_second_worker(void **state)
{
    (void)state;
    int64_t worker = call_int("pid", MUSTER_NO_ARGS);
    assert_int_equal(call_int("fork_and_return", MUSTER_NO_ARGS), worker);
    assert_int_equal(call_int("pid", MUSTER_NO_ARGS), worker);
    assert_int_equal(muster_pool_workers(pool), 1);
}

static void children_that_tasks_leave_behind_end_with_the_worker(void **state)
{
    (void)state;
    pid_t first = (pid_t)call_int("leave_child", MUSTER_NO_ARGS),
          second = (pid_t)call_int("leave_child", MUSTER_NO_ARGS);
    failure("abort", MUSTER_NO_ARGS, NULL, MUSTER_ELOST);
    assert_true(gone(first));
    assert_true(gone(second));
    pid_t third = (pid_t)call_int("leave_child", MUSTER_NO_ARGS);
    tear_down(NULL);
    assert_true(gone(third));
}

static void directories_and_threads_of_a_task_do_no_harm(void **state)
{
    (void)state;
    muster_result_free(call("change_directory", MUSTER_NO_ARGS, NULL));
    muster_result_free(call("leave_thread", MUSTER_NO_ARGS, NULL));
    the_pool_still_works();
    failure("segfault", MUSTER_NO_ARGS, NULL, MUSTER_ELOST); /* the plugin is found from the new worker's directory */
    the_pool_still_works();
}

/* --- stopping ----------------------------------------------------------------------------------------------------- */

static void a_task_that_blocks_everything_is_killed_at_its_time_limit(void **state)
{
    (void)state;
    int64_t worker = call_int("pid", MUSTER_NO_ARGS);
    muster_options options = {.time_limit = 0.2, .grace = 0.1};
    failure("ignore_signals", MUSTER_NO_ARGS, &options, MUSTER_ETIMEDOUT);
    the_pool_still_works();
    assert_true(gone((pid_t)worker));
}

static void a_task_that_listens_stops_and_keeps_its_worker(void **state)
{
    (void)state;
    int64_t worker = call_int("pid", MUSTER_NO_ARGS);
    muster_options options = {.time_limit = 0.2, .grace = 20};
    failure("wait_for_stop", MUSTER_NO_ARGS, &options, MUSTER_ETIMEDOUT);
    assert_int_equal(call_int("pid", MUSTER_NO_ARGS), worker);
}

static void cancel_interrupts_a_task_that_sleeps(void **state)
{
    muster_result *running, *waiting;
    muster_options options = {.grace = 20};
    (void)state;
    int64_t worker = call_int("pid", MUSTER_NO_ARGS);
    assert_int_equal(muster_apply_async(pool, "wait_for_stop", MUSTER_NO_ARGS, &options, &running), 0);
    assert_int_equal(muster_apply_async(pool, "nothing", MUSTER_NO_ARGS, &options, &waiting), 0);
    assert_int_equal(muster_wait(running, 0.1), MUSTER_ETIMEDOUT);
    assert_int_equal(muster_cancel(waiting), 0);
    assert_int_equal(muster_wait(waiting, LONG), 0); /* at once, though its worker is busy */
    assert_int_equal(muster_cancel(running), 0);
    assert_int_equal(muster_wait(running, LONG), 0);
    assert_int_equal(muster_result_error(running, 0)->status, MUSTER_ECANCELED);
    assert_int_equal(muster_result_error(waiting, 0)->status, MUSTER_ECANCELED);
    muster_result_free(running);
    muster_result_free(waiting);
    assert_int_equal(call_int("pid", MUSTER_NO_ARGS), worker);
}

/* --- losing nothing ----------------------------------------------------------------------------------------------- */

static void killed_workers_lose_only_what_they_ran(void **state)
{
    enum { TASKS = 400 };
    muster_pool_options options = {0};
    muster_result *results[TASKS];
    int lost = 0, done = 0;
    (void)state;
    tear_down(NULL);
    assert_int_equal(open_pool(2, &options), 0);
    for (int i = 0; i < TASKS; i++)
        assert_int_equal(
            muster_apply_async(pool, i % 40 == 39 ? "abort" : "add", MUSTER_ARGS(muster_int(i)), NULL, &results[i]), 0);
    for (int i = 0; i < TASKS; i++) {
        assert_int_equal(muster_wait(results[i], LONG), 0);
        const muster_error *error = muster_result_error(results[i], 0);
        if (error) {
            assert_int_equal(error->status, MUSTER_ELOST);
            assert_int_equal(i % 40, 39);
            lost++;
        } else {
            assert_int_equal(muster_result_value(results[i], 0)->integer, i);
            done++;
        }
        muster_result_free(results[i]);
    }
    assert_int_equal(lost, TASKS / 40);
    assert_int_equal(done, TASKS - TASKS / 40);
}

static void an_idle_worker_that_is_killed_is_replaced(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++) {
        int64_t worker = call_int("pid", MUSTER_NO_ARGS);
        assert_int_equal(kill((pid_t)worker, SIGKILL), 0);
        assert_true(gone((pid_t)worker));
        the_pool_still_works();
    }
}

static void a_worker_that_is_told_to_terminate_drains(void **state)
{
    muster_result *result;
    (void)state;
    int64_t worker = call_int("pid", MUSTER_NO_ARGS);
    assert_int_equal(muster_apply_async(pool, "sleep_ms", MUSTER_ARGS(muster_int(300)), NULL, &result), 0);
    assert_int_equal(muster_wait(result, 0.1), MUSTER_ETIMEDOUT);
    assert_int_equal(kill((pid_t)worker, SIGTERM), 0);
    assert_int_equal(muster_get(result, LONG, NULL), 0); /* it finished what it ran */
    muster_result_free(result);
    the_pool_still_works();
    assert_true(gone((pid_t)worker));
}

static void a_retried_task_runs_again(void **state)
{
    muster_options options = {.retries = 2};
    (void)state;
    assert_int_equal(failure("abort", MUSTER_NO_ARGS, &options, MUSTER_ELOST)->signal, SIGABRT);
    the_pool_still_works();
}

static void workers_are_replaced_after_max_tasks(void **state)
{
    muster_pool_options options = {.max_tasks = 3};
    int64_t pids[9];
    int changes = 0;
    (void)state;
    tear_down(NULL);
    assert_int_equal(open_pool(1, &options), 0);
    for (int i = 0; i < 9; i++) {
        pids[i] = call_int("pid", MUSTER_NO_ARGS);
        changes += i > 0 && pids[i] != pids[i - 1];
    }
    assert_int_equal(changes, 2);
}

/* --- results ------------------------------------------------------------------------------------------------------ */

static void a_result_over_the_limit_says_both_sizes(void **state)
{
    (void)state;
    const muster_error *error = failure("large", MUSTER_ARGS(muster_int(80000000)), NULL, MUSTER_ELIMIT);
    assert_non_null(strstr(error->message, "80000000") ? error->message : strstr(error->message, "80000005"));
    the_pool_still_works();
}

static void large_results_arrive_whole(void **state)
{
    (void)state;
    for (int64_t size = 100000; size < 20000000; size *= 5) {
        muster_result *result = call("large", MUSTER_ARGS(muster_int(size)), NULL);
        const muster_value *value = muster_result_value(result, 0);
        assert_non_null(value);
        assert_int_equal(value->size, size);
        assert_int_equal(((const char *)value->data)[size - 1], 'L');
        muster_result_free(result);
    }
}

static void a_failed_item_of_a_map_leaves_the_others(void **state)
{
    muster_value items[101];
    muster_result *result;
    muster_options options = {.chunk_size = 10};
    (void)state;
    for (int i = 0; i < 101; i++)
        items[i] = muster_int(i);
    assert_int_equal(muster_map_async(pool, "even", items, 101, &options, &result), 0);
    assert_int_equal(muster_wait(result, LONG), 0);
    for (size_t i = 0; i < 101; i++) {
        if (i % 2 == 0) {
            assert_int_equal(muster_result_value(result, i)->integer, i);
            continue;
        }
        const muster_error *error = muster_result_error(result, i);
        assert_non_null(error);
        assert_string_equal(error->kind, "OddError");
        assert_int_equal(error->status, MUSTER_ETASK);
    }
    muster_result_free(result);
}

/* --- what tasks print and log ------------------------------------------------------------------------------------- */

static pthread_mutex_t heard_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t heard_more = PTHREAD_COND_INITIALIZER;
static size_t heard_bytes, heard_longest;
static char heard_line[64], heard_worker[300];

static void on_output(int stream, const char *worker, const char *line, size_t size, void *arg)
{
    (void)arg;
    pthread_mutex_lock(&heard_mutex);
    assert_int_equal(stream, 1);
    heard_bytes += size;
    heard_longest = size > heard_longest ? size : heard_longest;
    snprintf(heard_line, sizeof heard_line, "%.*s", (int)(size < 60 ? size : 60), line);
    snprintf(heard_worker, sizeof heard_worker, "%s", worker);
    pthread_cond_signal(&heard_more);
    pthread_mutex_unlock(&heard_mutex);
}

static void wait_for_output(size_t bytes)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)LONG;
    pthread_mutex_lock(&heard_mutex);
    while (heard_bytes < bytes)
        assert_int_equal(pthread_cond_timedwait(&heard_more, &heard_mutex, &until), 0);
    pthread_mutex_unlock(&heard_mutex);
}

static void lines_are_given_with_the_workers_name_and_bounded(void **state)
{
    muster_pool_options options = {.on_output = on_output};
    (void)state;
    tear_down(NULL);
    assert_int_equal(open_pool(1, &options), 0);
    muster_result_free(call("print", MUSTER_ARGS(muster_string("hello")), NULL));
    wait_for_output(5);
    assert_string_equal(heard_line, "hello");
    assert_non_null(strstr(heard_worker, "/0"));
    muster_result_free(call("print_much", MUSTER_ARGS(muster_int(8 << 20)), NULL));
    failure("abort", MUSTER_NO_ARGS, NULL, MUSTER_ELOST); /* what has no newline is given at the worker's end */
    wait_for_output(5 + (8 << 20));
    assert_true(heard_longest <= 64 * 1024);
    the_pool_still_works();
}

/* --- plugins and initializers ------------------------------------------------------------------------------------- */

static void expect_no_pool(muster_pool_options *options, int status, const char *words)
{
    tear_down(NULL);
    char url[] = "local:1";
    setenv("MUSTER_BIN_DIR", MUSTER_BIN_DIR, 1);
    int found = muster_pool_open(&pool, url, options);
    if (found == 0) { /* then the first call says it */
        muster_result *result = call("add", MUSTER_NO_ARGS, NULL);
        const muster_error *error = muster_result_error(result, 0);
        assert_non_null(error);
        if (!strstr(error->message, words))
            fail_msg("no \"%s\" in: %s", words, error->message);
        muster_result_free(result);
        return;
    }
    pool = NULL;
    assert_int_equal(found, status);
    if (!strstr(muster_last_error(), words))
        fail_msg("no \"%s\" in: %s", words, muster_last_error());
}

static void a_bad_plugin_is_refused_when_the_pool_opens(void **state)
{
    static const struct {
        const char *path, *words;
    } cases[] = {{"/nowhere/tasks.so", "No such file"},
                 {TEST_PLUGIN_DIR "/not_a_plugin.so", "MUSTER_PLUGIN(functions)"},
                 {TEST_PLUGIN_DIR "/other_version.so", "build it again"},
                 {TEST_PLUGIN_DIR "/bad_names.so", "reserved"},
                 {TEST_PLUGIN_DIR "/crash_on_load.so", "signal 9"},
                 {"/etc/passwd", "cannot load"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const plugins[] = {cases[i].path, NULL};
        muster_pool_options options = {.plugins = plugins};
        expect_no_pool(&options, MUSTER_EPLUGIN, cases[i].words);
    }
}

static void the_initializer_runs_once_in_each_worker(void **state)
{
    muster_pool_options options = {.initializer = "initialize", .initializer_args = MUSTER_ARGS(muster_int(5))};
    (void)state;
    tear_down(NULL);
    assert_int_equal(open_pool(1, &options), 0);
    assert_int_equal(call_int("initialized_with", MUSTER_NO_ARGS), 5);
    assert_int_equal(call_int("initialized_with", MUSTER_NO_ARGS), 5);
    failure("abort", MUSTER_NO_ARGS, NULL, MUSTER_ELOST);
    assert_int_equal(call_int("initialized_with", MUSTER_NO_ARGS), 5);
}

static void an_initializer_that_fails_ends_the_pool_with_its_words(void **state)
{
    const char *const plugins[] = {PLUGIN, NULL};
    muster_pool_options options = {.plugins = plugins, .initializer = "bad_initialize"};
    (void)state;
    expect_no_pool(&options, MUSTER_EWORKERS, "the licence server is down");
    tear_down(NULL);
    options.initializer = "no_such_function";
    expect_no_pool(&options, MUSTER_EPLUGIN, "no_such_function");
}

/* --- this program as its own worker ------------------------------------------------------------------------------- */

static int halve(muster_task *task)
{
    int64_t number;
    int status = muster_arg_int(task, 0, &number);
    return status ? status : muster_return_int(task, number / 2);
}

static void a_program_can_be_its_own_worker_and_load_plugins(void **state)
{
    (void)state;
    assert_int_equal(call_int("halve", MUSTER_ARGS(muster_int(10))), 5);
    the_pool_still_works();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
    static const muster_function functions[] = {{"halve", halve}, {NULL, NULL}};
    const struct CMUnitTest tests[] = {
        TEST(a_segfault_is_reported_with_signal_worker_and_last_words),
        TEST(abort_is_reported_as_such),
        TEST(exit_is_reported_with_its_status),
        TEST(memory_that_runs_out_is_the_tasks_error),
        TEST(a_task_that_closes_everything_ends_its_worker_alone),
        TEST(a_task_that_writes_over_everything_is_lost_once),
        TEST(a_forked_child_does_not_become_a_second_worker),
        TEST(children_that_tasks_leave_behind_end_with_the_worker),
        TEST(directories_and_threads_of_a_task_do_no_harm),
        TEST(a_task_that_blocks_everything_is_killed_at_its_time_limit),
        TEST(a_task_that_listens_stops_and_keeps_its_worker),
        TEST(cancel_interrupts_a_task_that_sleeps),
        TEST(killed_workers_lose_only_what_they_ran),
        TEST(an_idle_worker_that_is_killed_is_replaced),
        TEST(a_worker_that_is_told_to_terminate_drains),
        TEST(a_retried_task_runs_again),
        TEST(workers_are_replaced_after_max_tasks),
        TEST(a_result_over_the_limit_says_both_sizes),
        TEST(large_results_arrive_whole),
        TEST(a_failed_item_of_a_map_leaves_the_others),
        TEST(lines_are_given_with_the_workers_name_and_bounded),
        TEST(a_bad_plugin_is_refused_when_the_pool_opens),
        TEST(the_initializer_runs_once_in_each_worker),
        TEST(an_initializer_that_fails_ends_the_pool_with_its_words),
        TEST(a_program_can_be_its_own_worker_and_load_plugins),
    };
    muster_init(argc, argv, functions);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
