/*
 * What tasks do to themselves, and what is done to workers: one clear outcome for the task, and the pool goes on.
 */
#include "tests/e2e/pools.h"

/* The whole file runs each promise on a local pool. */
#define LOCAL "local:2"

static void close_and_check(muster_pool *pool)
{
    muster_pool_close(pool);
    assert_int_equal(muster_pool_join(pool, WAIT_S), 0);
    muster_pool_free(pool);
    assert_nothing_left();
}

static void an_unknown_function_is_named(void **state)
{
    const muster_error *error;
    muster_pool *pool = open_local(LOCAL);
    (void)state;
    assert_int_equal(outcome(pool, "no_such_thing", MUSTER_NO_ARGS, NULL, &error), MUSTER_ENOFUNCTION);
    assert_non_null(strstr(error->message, "no_such_thing"));
    assert_string_equal(error->function, "no_such_thing");
    assert_alive(pool);
    close_and_check(pool);
}

static void a_task_that_returns_nothing_gives_nil(void **state)
{
    const muster_value *value;
    muster_pool *pool = open_local(LOCAL);
    (void)state;
    muster_result *result = submit(pool, "nothing", MUSTER_NO_ARGS, NULL);
    assert_int_equal(muster_get(result, WAIT_S, &value), 0);
    assert_int_equal(value->type, MUSTER_TYPE_NIL);
    muster_result_free(result);
    close_and_check(pool);
}

static void an_error_of_the_task_has_its_kind_and_message(void **state)
{
    const muster_error *error;
    muster_pool *pool = open_local(LOCAL);
    (void)state;
    assert_int_equal(outcome(pool, "refuse", MUSTER_NO_ARGS, NULL, &error), MUSTER_ETASK);
    assert_string_equal(error->kind, "Refusal");
    assert_string_equal(error->message, "no, never");
    assert_non_null(strchr(error->worker, '/'));
    assert_true(error->pid > 0);
    assert_int_equal(outcome(pool, "add", MUSTER_ARGS(muster_string("x")), NULL, &error), MUSTER_ETYPE);
    assert_int_equal(outcome(pool, "identity", MUSTER_NO_ARGS, NULL, &error), MUSTER_EINVAL);
    close_and_check(pool);
}

/* A function that ends its worker, and how. */
struct death {
    const char *function;
    muster_value argument;
    int signal, exit_status;
};

static void a_worker_that_dies_loses_its_running_task_and_is_replaced(void **state)
{
    const struct death deaths[] = {
        {"segfault", muster_nil(), SIGSEGV, -1}, {"abort", muster_nil(), SIGABRT, -1},    {"exit", muster_int(3), 0, 3},
        {"exit_at_once", muster_int(0), 0, 0},   {"scribble", muster_nil(), SIGABRT, -1},
    };
    const muster_error *error;
    muster_pool *pool = open_local(LOCAL);
    (void)state;
    for (size_t i = 0; i < sizeof deaths / sizeof *deaths; i++) {
        assert_int_equal(outcome(pool, deaths[i].function, MUSTER_ARGS(deaths[i].argument), NULL, &error),
                         MUSTER_ELOST);
        assert_int_equal(error->signal, deaths[i].signal);
        assert_int_equal(error->exit_status, deaths[i].exit_status);
        assert_true(error->pid > 0);
        assert_non_null(strchr(error->worker, '/'));
        assert_true(*error->host != '\0' && *error->message != '\0');
        assert_alive(pool);
    }
    wait_until(muster_pool_workers(pool) == 2);
    close_and_check(pool);
}

static void tasks_that_only_waited_at_a_dead_worker_move(void **state)
{
    enum { COUNT = 50 };
    muster_pool *pool = open_local("local:1");
    muster_result *killed = submit(pool, "exit_at_once", MUSTER_ARGS(muster_int(1)), NULL), *others[COUNT];
    (void)state;
    for (int i = 0; i < COUNT; i++)
        others[i] = submit(pool, "add", MUSTER_ARGS(muster_int(i)), NULL);
    assert_int_equal(muster_get(killed, WAIT_S, NULL), MUSTER_ELOST);
    muster_result_free(killed);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(muster_get(others[i], WAIT_S, NULL), 0);
        muster_result_free(others[i]);
    }
    close_and_check(pool);
}

static void retries_run_a_lost_task_again(void **state)
{
    const muster_error *error;
    const muster_options twice = {.retries = 2}, once = {.retries = 1, .retry_lost_only = true};
    muster_pool *pool = open_local(LOCAL);
    (void)state;
    assert_int_equal(outcome(pool, "die_first", MUSTER_ARGS(muster_string(path_of("a"))), &twice, &error), 0);
    assert_int_equal(outcome(pool, "die_first", MUSTER_ARGS(muster_string(path_of("b"))), &once, &error), MUSTER_ELOST);
    assert_int_equal(outcome(pool, "refuse", MUSTER_NO_ARGS, &once, &error), MUSTER_ETASK);
    close_and_check(pool);
}

static void a_task_without_memory_fails_and_the_pool_goes_on(void **state)
{
#ifdef MUSTER_SANITIZED
    (void)state;
    skip(); /* the sanitizers want more address space than a limit leaves */
#else
    static const char *const plugins[] = {MISBEHAVE, NULL};
    const muster_pool_options options = {.plugins = plugins, .memory_limit = (size_t)1 << 30, .on_output = drop_output};
    const muster_error *error;
    muster_pool *pool = open_pool(LOCAL, &options);
    (void)state;
    assert_int_equal(outcome(pool, "eat_memory", MUSTER_NO_ARGS, NULL, &error), MUSTER_ETASK);
    assert_string_equal(error->kind, "MemoryError");
    wait_until(outcome(pool, "add", MUSTER_ARGS(muster_int(1)), NULL, &error) == 0);
    close_and_check(pool);
#endif
}

static void a_task_that_closes_every_descriptor_has_one_outcome(void **state)
{
    const muster_error *error;
    muster_pool *pool = open_local(LOCAL);
    (void)state;
    int status = outcome(pool, "close_everything", MUSTER_NO_ARGS, NULL, &error);
    assert_true(status == 0 || status == MUSTER_ELOST);
    assert_alive(pool);
    close_and_check(pool);
}

static void a_task_that_forks_has_one_outcome(void **state)
{
    const muster_error *error;
    muster_pool *pool = open_local(LOCAL);
    muster_stats stats;
    (void)state;
    assert_int_equal(outcome(pool, "fork_and_return", MUSTER_NO_ARGS, NULL, &error), 0);
    assert_alive(pool);
    muster_pool_stats(pool, &stats);
    assert_int_equal(stats.succeeded, 2);
    close_and_check(pool);
}

static void a_forked_child_of_a_process_with_a_pool_gets_errors(void **state)
{
    int wait_status;
    muster_pool *pool = open_local(LOCAL), *other;
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        bool right = muster_pool_close(pool) == MUSTER_EINVAL && muster_pool_free(pool) == MUSTER_EINVAL &&
                     muster_pool_open(&other, LOCAL, &(muster_pool_options){.exec = true}) == MUSTER_EINVAL &&
                     strstr(muster_last_error(), "exec") != NULL;
        _exit(right ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &wait_status, 0), child);
    assert_int_equal(wait_status, 0);
    assert_alive(pool);
    close_and_check(pool);
}

static void a_child_that_a_task_leaves_behind_goes_with_the_pool(void **state)
{
    const muster_error *error;
    muster_pool *pool = open_local(LOCAL);
    (void)state;
    assert_int_equal(outcome(pool, "leave_child", MUSTER_NO_ARGS, NULL, &error), 0);
    close_and_check(pool);
}

/* Bytes that the workers of a pool have written. */
static void count_output(int stream, const char *worker, const char *line, size_t size, void *arg)
{
    (void)stream, (void)worker, (void)line;
    __atomic_fetch_add((size_t *)arg, size, __ATOMIC_RELAXED);
}

static void a_task_may_print_megabytes(void **state)
{
    static const char *const plugins[] = {MISBEHAVE, NULL};
    static size_t printed;
    const muster_pool_options options = {.plugins = plugins, .on_output = count_output, .arg = &printed};
    const muster_error *error;
    muster_pool *pool = open_pool(LOCAL, &options);
    (void)state;
    printed = 0;
    assert_int_equal(outcome(pool, "print_much", MUSTER_ARGS(muster_int(8 << 20)), NULL, &error), 0);
    assert_int_equal(outcome(pool, "print", MUSTER_ARGS(muster_string("and a line")), NULL, &error), 0);
    close_and_check(pool);
    assert_int_equal(printed, (8 << 20) + strlen("and a line"));
}

static void a_time_limit_ends_a_task_that_ignores_signals(void **state)
{
    const muster_options options = {.time_limit = 0.2, .grace = 0.2};
    const muster_error *error;
    muster_pool *pool = open_local(LOCAL);
    (void)state;
    double start_s = now_s();
    assert_int_equal(outcome(pool, "ignore_signals", MUSTER_NO_ARGS, &options, &error), MUSTER_ETIMEDOUT);
    assert_true(now_s() - start_s >= 0.4);
    assert_int_equal(outcome(pool, "wait_for_stop", MUSTER_NO_ARGS, &options, &error), MUSTER_ETIMEDOUT);
    assert_alive(pool);
    muster_stats stats;
    muster_pool_stats(pool, &stats);
    assert_int_equal(stats.timed_out, 2);
    close_and_check(pool);
}

static void a_cancelled_task_ends_politely_or_by_force(void **state)
{
    const muster_options options = {.grace = 0.2};
    muster_pool *pool = open_local(LOCAL);
    char *json;
    (void)state;
    muster_result *polite = submit(pool, "wait_for_stop", MUSTER_NO_ARGS, &options);
    muster_result *rude = submit(pool, "ignore_signals", MUSTER_NO_ARGS, &options);
    muster_result *waiting = submit(pool, "loop", MUSTER_NO_ARGS, &options);
    assert_int_equal(muster_pool_status(pool, &json, WAIT_S), 0);
    free(json);
    muster_cancel(waiting);
    assert_int_equal(muster_get(waiting, WAIT_S, NULL), MUSTER_ECANCELED);
    muster_cancel(polite);
    muster_cancel(rude);
    muster_cancel(rude);
    assert_int_equal(muster_get(polite, WAIT_S, NULL), MUSTER_ECANCELED);
    assert_int_equal(muster_get(rude, WAIT_S, NULL), MUSTER_ECANCELED);
    muster_result_free(polite);
    muster_result_free(rude);
    muster_result_free(waiting);
    assert_alive(pool);
    close_and_check(pool);
}

static void a_result_over_the_limit_is_an_error(void **state)
{
    const muster_error *error;
    static const char *const plugins[] = {MISBEHAVE, NULL};
    const muster_pool_options options = {.plugins = plugins, .payload_limit = 64 << 20};
    muster_pool *pool = open_pool(LOCAL, &options);
    (void)state;
    assert_int_equal(outcome(pool, "large", MUSTER_ARGS(muster_int(65 << 20)), NULL, &error), MUSTER_ELIMIT);
    assert_true(*error->message != '\0');
    assert_int_equal(outcome(pool, "large", MUSTER_ARGS(muster_int(1 << 20)), NULL, &error), 0);
    assert_alive(pool);
    close_and_check(pool);
}

static void arguments_that_are_not_msgpack_are_refused(void **state)
{
    muster_pool *pool = open_local(LOCAL);
    (void)state;
    assert_int_equal(muster_apply(pool, "identity", MUSTER_ARGS(muster_msgpack("\xc1", 1)), NULL, NULL),
                     MUSTER_EENCODING);
    assert_true(*muster_last_error() != '\0');
    const muster_error *error;
    int status = outcome(pool, "identity", MUSTER_ARGS(muster_opaque(MUSTER_MSGPACK, "\x91\xc1", 2)), NULL, &error);
    assert_int_equal(status, MUSTER_EENCODING);
    assert_alive(pool);
    close_and_check(pool);
}

static void a_killed_worker_loses_only_its_running_task(void **state)
{
    enum { COUNT = 20 };
    pid_t workers[8];
    unsigned times[COUNT];
    muster_result *results[COUNT];
    muster_pool *pool = open_local(LOCAL);
    (void)state;
    wait_until(muster_pool_workers(pool) == 2);
    for (int i = 0; i < COUNT; i++)
        results[i] =
            submit(pool, "note",
                   MUSTER_ARGS(muster_string(path_of("notes")), muster_int(i), muster_int(i < 2 ? 60000 : 1)), NULL);
    wait_until(read_notes(path_of("notes"), times, COUNT) == 2);
    assert_int_equal(marked_processes(workers, 8), 2);
    kill(workers[0], SIGKILL);
    kill(workers[1], SIGKILL);
    int lost = 0;
    for (int i = 0; i < COUNT; i++) {
        int status = muster_get(results[i], WAIT_S, NULL);
        const muster_error *error = muster_result_error(results[i], 0);
        assert_true(status == 0 || status == MUSTER_ELOST);
        if (status != 0)
            assert_int_equal(error->signal, SIGKILL);
        lost += status != 0;
        muster_result_free(results[i]);
    }
    assert_int_equal(lost, 2);
    assert_int_equal(read_notes(path_of("notes"), times, COUNT), COUNT);
    close_and_check(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(an_unknown_function_is_named),
        E2E_TEST(a_task_that_returns_nothing_gives_nil),
        E2E_TEST(an_error_of_the_task_has_its_kind_and_message),
        E2E_TEST(a_worker_that_dies_loses_its_running_task_and_is_replaced),
        E2E_TEST(tasks_that_only_waited_at_a_dead_worker_move),
        E2E_TEST(retries_run_a_lost_task_again),
        E2E_TEST(a_task_without_memory_fails_and_the_pool_goes_on),
        E2E_TEST(a_task_that_closes_every_descriptor_has_one_outcome),
        E2E_TEST(a_task_that_forks_has_one_outcome),
        E2E_TEST(a_forked_child_of_a_process_with_a_pool_gets_errors),
        E2E_TEST(a_child_that_a_task_leaves_behind_goes_with_the_pool),
        E2E_TEST(a_task_may_print_megabytes),
        E2E_TEST(a_time_limit_ends_a_task_that_ignores_signals),
        E2E_TEST(a_cancelled_task_ends_politely_or_by_force),
        E2E_TEST(a_result_over_the_limit_is_an_error),
        E2E_TEST(arguments_that_are_not_msgpack_are_refused),
        E2E_TEST(a_killed_worker_loses_only_its_running_task),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
