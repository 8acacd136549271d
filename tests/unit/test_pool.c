/*
 * Pools: windows, callbacks, statistics, and above all the end: in whatever order it comes, nobody waits for ever.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/unit/fake_pool.h"

static muster_result *call(muster_pool *pool)
{
    muster_result *result = NULL;
    assert_int_equal(muster_apply_async(pool, "f", MUSTER_NO_ARGS, NULL, &result), 0);
    return result;
}

/* A thread that calls one waiting function, and what that gave. */
struct waiting {
    pthread_t thread;
    muster_pool *pool;
    muster_result *result;
    int status;
};

static void *wait_for_result(void *arg)
{
    struct waiting *waiting = arg;
    waiting->status = muster_get(waiting->result, MUSTER_FOREVER, NULL);
    return NULL;
}

static void *wait_for_join(void *arg)
{
    struct waiting *waiting = arg;
    waiting->status = muster_pool_join(waiting->pool, MUSTER_FOREVER);
    return NULL;
}

static void *wait_for_room(void *arg)
{
    struct waiting *waiting = arg;
    waiting->status = muster_apply_async(waiting->pool, "f", MUSTER_NO_ARGS, NULL, &waiting->result);
    return NULL;
}

static void *wait_for_status(void *arg)
{
    struct waiting *waiting = arg;
    char *json;
    waiting->status = muster_pool_status(waiting->pool, &json, MUSTER_FOREVER);
    free(json);
    return NULL;
}

static void start(struct waiting *waiting, void *(*body)(void *))
{
    assert_int_equal(pthread_create(&waiting->thread, NULL, body, waiting), 0);
}

static int finish_waiting(struct waiting *waiting)
{
    pthread_join(waiting->thread, NULL);
    return waiting->status;
}

/* Until somebody stands in the list. */
static void until_waiting(const struct waitlist *list)
{
    bool waiting = false;
    while (!waiting) {
        pthread_mutex_lock(&fake->pool->mutex);
        waiting = list->first != NULL;
        pthread_mutex_unlock(&fake->pool->mutex);
        sched_yield();
    }
}

static void a_closed_pool_takes_no_calls_and_finishes_the_old_ones(void **state)
{
    muster_result *result = call(*state);
    assert_int_equal(muster_pool_join(*state, 0), MUSTER_EINVAL);
    assert_int_equal(muster_pool_close(*state), 0);
    assert_int_equal(muster_apply_async(*state, "f", MUSTER_NO_ARGS, NULL, NULL), MUSTER_ECLOSED);
    assert_int_equal(muster_pool_join(*state, 0), MUSTER_ETIMEDOUT);
    struct waiting joining = {.pool = *state};
    start(&joining, wait_for_join);
    until_waiting(&fake->pool->changed);
    assert_false(fake->finished);
    fake_done_int(0, 5);
    assert_int_equal(finish_waiting(&joining), 0);
    assert_true(fake->finished);
    assert_false(fake->finished_now);
    assert_int_equal(muster_get(result, 0, NULL), 0);
    muster_result_free(result);
}

static void a_terminated_pool_gives_every_call_its_outcome(void **state)
{
    muster_result *result = call(*state), *other = call(*state);
    struct waiting waiting = {.result = result};
    start(&waiting, wait_for_result);
    until_waiting(&result->waiters);
    assert_int_equal(muster_pool_terminate(*state), 0);
    assert_int_equal(muster_pool_terminate(*state), 0);
    assert_int_equal(finish_waiting(&waiting), MUSTER_ECLOSED);
    assert_int_equal(muster_get(other, 0, NULL), MUSTER_ECLOSED);
    assert_true(fake->finished_now);
    assert_int_equal(muster_pool_join(*state, 0), 0);
    muster_stats stats;
    muster_pool_stats(*state, &stats);
    assert_int_equal(stats.cancelled, 2);
    assert_int_equal(stats.outstanding, 0);
    muster_result_free(result);
    muster_result_free(other);
}

static void results_outlive_their_pool(void **state)
{
    muster_result *done = call(*state), *open = call(*state);
    const muster_value *value;
    fake_done_bytes(0, MUSTER_MSGPACK, "\xa2ok", 3);
    struct waiting waiting = {.result = open};
    start(&waiting, wait_for_result);
    until_waiting(&open->waiters);
    assert_int_equal(muster_pool_free(*state), 0);
    *state = NULL;
    assert_true(fake->stopped);
    assert_int_equal(finish_waiting(&waiting), MUSTER_ECLOSED);
    assert_int_equal(muster_get(done, 0, &value), 0);
    assert_memory_equal(value->data, "ok", 2);
    assert_int_equal(muster_cancel(open), 0);
    assert_true(muster_result_fd(open) >= 0);
    assert_string_equal(muster_result_error(open, 0)->function, "f");
    muster_result_free(done);
    muster_result_free(open);
}

static int setup_window_of_two(void **state)
{
    return fake_setup_with(state, &(muster_pool_options){.window_tasks = 2});
}

static void a_full_window_makes_a_call_wait_or_fail(void **state)
{
    muster_options nonblocking = {.flags = MUSTER_NONBLOCK};
    muster_result *first = call(*state), *second = call(*state);
    assert_int_equal(muster_apply_async(*state, "f", MUSTER_NO_ARGS, &nonblocking, NULL), MUSTER_EAGAIN);
    struct waiting waiting = {.pool = *state};
    start(&waiting, wait_for_room);
    until_waiting(&fake->pool->room);
    fake_done_int(0, 1);
    assert_int_equal(finish_waiting(&waiting), 0);
    assert_int_equal(fake_submitted(), 3);
    muster_result_free(first);
    muster_result_free(second);
    muster_result_free(waiting.result);
}

static void those_who_wait_for_room_are_told_of_the_end(void **state)
{
    muster_result *first = call(*state), *second = call(*state);
    struct waiting waiting = {.pool = *state}, asking = {.pool = *state};
    start(&waiting, wait_for_room);
    start(&asking, wait_for_status);
    until_waiting(&fake->pool->room);
    muster_pool_terminate(*state);
    assert_int_equal(finish_waiting(&waiting), MUSTER_ECLOSED);
    assert_int_equal(finish_waiting(&asking), MUSTER_ECLOSED);
    assert_null(waiting.result);
    muster_result_free(first);
    muster_result_free(second);
}

static void a_nonblocking_map_needs_room_for_all_of_it(void **state)
{
    muster_value items[3] = {muster_int(1), muster_int(2), muster_int(3)};
    muster_options options = {.flags = MUSTER_NONBLOCK, .chunk_size = 1};
    muster_result *result;
    assert_int_equal(muster_map_async(*state, "f", items, 3, &options, &result), MUSTER_EAGAIN);
    assert_null(result);
    assert_int_equal(fake_submitted(), 0);
    assert_int_equal(muster_map_async(*state, "f", items, 2, &options, &result), 0);
    muster_result_free(result);
}

static void *wait_in_map(void *arg)
{
    struct waiting *waiting = arg;
    muster_value items[3] = {muster_int(1), muster_int(2), muster_int(3)};
    muster_options options = {.chunk_size = 1};
    waiting->status = muster_map_async(waiting->pool, "f", items, 3, &options, &waiting->result);
    return NULL;
}

static void a_map_that_is_cut_short_cancels_what_it_had_submitted(void **state)
{
    struct waiting waiting = {.pool = *state};
    start(&waiting, wait_in_map);
    until_waiting(&fake->pool->room);
    muster_pool_close(*state);
    assert_int_equal(finish_waiting(&waiting), MUSTER_ECLOSED);
    assert_null(waiting.result);
    assert_int_equal(fake->cancelled, 2);
    fake_fail(0, MUSTER_ECANCELED, "", "", 0);
    fake_fail(1, MUSTER_ECANCELED, "", "", 0);
    assert_int_equal(muster_pool_join(*state, 5), 0);
}

static void statistics_count_outcomes(void **state)
{
    static const int statuses[] = {MUSTER_ETASK, MUSTER_ECANCELED, MUSTER_ETIMEDOUT, MUSTER_ELOST, MUSTER_ENOFUNCTION};
    muster_stats stats;
    for (size_t i = 0; i < 7; i++)
        muster_apply_async(*state, "f", MUSTER_ARGS(muster_int(1)), NULL, NULL);
    for (size_t i = 0; i < 5; i++)
        fake_fail(i, statuses[i], "", "", 0);
    fake_done_int(5, 1);
    assert_int_equal(muster_pool_stats(*state, &stats), 0);
    assert_int_equal(stats.submitted, 7);
    assert_int_equal(stats.succeeded, 1);
    assert_int_equal(stats.failed, 2);
    assert_int_equal(stats.cancelled, 1);
    assert_int_equal(stats.timed_out, 1);
    assert_int_equal(stats.lost, 1);
    assert_int_equal(stats.outstanding, 1);
    assert_int_equal(stats.outstanding_bytes, 2);
    assert_int_equal(muster_pool_workers(*state), 2);
}

static void a_status_document_is_passed_through(void **state)
{
    struct message report = {.type = MESSAGE_REPORT};
    char *json;
    assert_int_equal(muster_pool_status(*state, &json, 0), MUSTER_ETIMEDOUT);
    assert_null(json);
    struct waiting waiting = {.pool = *state};
    start(&waiting, wait_for_status);
    pthread_mutex_lock(&fake->pool->mutex);
    while (fake->requests < 2) {
        pthread_mutex_unlock(&fake->pool->mutex);
        sched_yield();
        pthread_mutex_lock(&fake->pool->mutex);
    }
    report.report.request = fake->last_request;
    report.report.json = bytes_string("{}");
    pthread_mutex_unlock(&fake->pool->mutex);
    fake_message(&report);
    assert_int_equal(finish_waiting(&waiting), 0);
}

static void options_that_make_no_sense_are_refused(void **state)
{
    static const muster_options bad[] = {{.priority = 1001},        {.priority = -1001}, {.time_limit = -1},
                                         {.time_limit = 0.0 / 0.0}, {.grace = -1},       {.flags = 8}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(muster_apply_async(*state, "f", MUSTER_NO_ARGS, &bad[i], NULL), MUSTER_EINVAL);
    assert_int_equal(muster_apply_async(*state, "", MUSTER_NO_ARGS, NULL, NULL), MUSTER_EINVAL);
    assert_int_equal(muster_apply_async(*state, NULL, MUSTER_NO_ARGS, NULL, NULL), MUSTER_EINVAL);
    assert_int_equal(muster_apply_async(NULL, "f", MUSTER_NO_ARGS, NULL, NULL), MUSTER_EINVAL);
    assert_int_equal(muster_map_async(*state, "f", NULL, 3, NULL, NULL), MUSTER_EINVAL);
    assert_int_equal(muster_wait(NULL, 0), MUSTER_EINVAL);
    assert_int_equal(muster_pool_free(NULL), 0);
}

static void arguments_over_the_limit_are_refused(void **state)
{
    char *block = calloc(1, 1000001);
    muster_value value = muster_bytes(block, 1000001);
    assert_int_equal(muster_apply_async(*state, "f", (muster_args){&value, 1}, NULL, NULL), MUSTER_ELIMIT);
    assert_int_equal(muster_map_async(*state, "f", &value, 1, NULL, NULL), MUSTER_ELIMIT);
    value.size = 900000;
    assert_int_equal(muster_apply_async(*state, "f", (muster_args){&value, 1}, NULL, NULL), 0);
    free(block);
}

/* --- definitions -------------------------------------------------------------------------------------------------- */

static muster_definition *define(muster_pool *pool, const char *body)
{
    muster_definition *definition;
    assert_int_equal(muster_define(pool, "f", body, strlen(body), NULL, &definition), 0);
    return definition;
}

static void a_definition_is_called_by_its_handle(void **state)
{
    muster_definition *definition = define(*state, "body"), *same = define(*state, "body");
    const muster_options options = {.definition = definition}, again = {.definition = same};
    muster_result *result, *map;
    muster_value items[2] = {muster_int(1), muster_int(2)};
    assert_int_equal(muster_apply_async(*state, NULL, MUSTER_NO_ARGS, &options, &result), 0);
    assert_int_equal(muster_map_async(*state, NULL, items, 2, &again, &map), 0);
    muster_definition_free(same);
    assert_int_equal(fake->defined, 1);
    assert_int_equal(fake->last_body, 4);
    fake_fail(0, MUSTER_ETASK, "", "no", 0);
    assert_string_equal(muster_result_error(result, 0)->function, "f");
    muster_result_free(result);
    muster_result_free(map);
    muster_definition_free(definition);
}

static void a_definition_may_be_freed_after_its_pool(void **state)
{
    muster_pool *pool;
    struct fake *outer = fake;
    void *inner;
    assert_int_equal(fake_setup(&inner), 0);
    pool = inner;
    muster_definition *definition = define(pool, "body");
    muster_pool_free(pool);
    memory_free(fake);
    muster_definition_free(definition);
    muster_definition_free(NULL);
    fake = outer;
    (void)state;
}

static void a_definition_that_makes_no_sense_is_refused(void **state)
{
    muster_definition *definition = define(*state, "body"), *none;
    const char *const labels[] = {"gpu=1", NULL};
    muster_options options = {.definition = definition};
    assert_int_equal(muster_apply_async(*state, "f", MUSTER_NO_ARGS, &options, NULL), MUSTER_EINVAL);
    options.labels = labels;
    assert_int_equal(muster_apply_async(*state, NULL, MUSTER_NO_ARGS, &options, NULL), MUSTER_EINVAL);
    assert_int_equal(muster_define(*state, "", NULL, 0, NULL, &none), MUSTER_EINVAL);
    assert_int_equal(muster_define(*state, NULL, NULL, 0, NULL, &none), MUSTER_EINVAL);
    assert_int_equal(muster_define(*state, "f", NULL, 1, NULL, &none), MUSTER_EINVAL);
    assert_int_equal(muster_define(*state, "f", NULL, 0, NULL, NULL), MUSTER_EINVAL);
    assert_int_equal(muster_define(NULL, "f", NULL, 0, NULL, &none), MUSTER_EINVAL);
    assert_null(none);
    muster_definition_free(definition);
    muster_pool_close(*state);
    assert_int_equal(muster_define(*state, "f", "body", 4, NULL, &none), MUSTER_ECLOSED);
}

static void a_body_that_is_too_long_is_refused(void **state)
{
    muster_definition *definition;
    char *block = calloc(1, 1000001);
    assert_int_equal(muster_define(*state, "f", block, 1000000, NULL, &definition), MUSTER_ELIMIT);
    assert_non_null(strstr(muster_last_error(), "--payload-limit"));
    assert_int_equal(muster_define(*state, "f", block, 999000, NULL, &definition), 0);
    muster_definition_free(definition);
    free(block);
}

static void a_forked_child_must_not_use_the_pool(void **state)
{
    muster_result *result = call(*state);
    pid_t child = fork();
    if (child == 0) {
        bool refused = muster_apply_async(*state, "f", MUSTER_NO_ARGS, NULL, NULL) == MUSTER_EINVAL &&
                       strstr(muster_last_error(), "forked") && muster_wait(result, 0) == MUSTER_EINVAL &&
                       muster_pool_free(*state) == MUSTER_EINVAL;
        muster_result_free(result);
        _exit(refused ? 0 : 1);
    }
    int ended;
    assert_int_equal(waitpid(child, &ended, 0), child);
    assert_int_equal(ended, 0);
    muster_result_free(result);
}

/* --- callbacks ---------------------------------------------------------------------------------------------------- */

/* What callbacks have seen, in order. Written by the callback thread, read after the join. */
struct seen {
    muster_pool *pool;
    char log[64];
    int statuses[8], count;
};

static void see_success(muster_result *result, void *arg)
{
    struct seen *seen = arg;
    (void)result;
    strcat(seen->log, "s");
}

static void see_error(muster_result *result, void *arg)
{
    struct seen *seen = arg;
    assert_non_null(muster_result_error(result, 0));
    strcat(seen->log, "e");
}

static void see_progress(muster_result *result, size_t item, double done, double total, const char *text, void *arg)
{
    struct seen *seen = arg;
    (void)result;
    assert_int_equal(item, 0);
    assert_true(done == 1 && total == 2);
    assert_string_equal(text, "half");
    strcat(seen->log, "p");
}

static void join_pool(muster_pool *pool)
{
    muster_pool_close(pool);
    assert_int_equal(muster_pool_join(pool, 10), 0);
}

static void callbacks_come_once_and_in_the_order_of_completion(void **state)
{
    struct seen seen = {.pool = *state};
    struct message progress = {.type = MESSAGE_PROGRESS};
    muster_options options = {
        .on_success = see_success, .on_error = see_error, .on_progress = see_progress, .arg = &seen};
    for (int i = 0; i < 3; i++)
        assert_int_equal(muster_apply_async(*state, "f", MUSTER_NO_ARGS, &options, NULL), 0);
    assert_true(fake->tasks[0].flags & TASK_PROGRESS_WANTED);
    progress.progress =
        (struct message_progress){.number = fake_number(2), .done = 1, .total = 2, .text = bytes_string("half")};
    fake_message(&progress);
    fake_done_int(2, 1);
    fake_fail(0, MUSTER_ETASK, "", "", 0);
    fake_done_int(1, 1);
    join_pool(*state);
    assert_string_equal(seen.log, "pses");
}

static void try_everything(muster_result *result, void *arg)
{
    struct seen *seen = arg;
    muster_result *open;
    const muster_value *value;
    char *json;
    seen->statuses[0] = muster_get(result, MUSTER_FOREVER, &value);
    seen->statuses[1] = muster_apply_async(seen->pool, "f", MUSTER_NO_ARGS, NULL, &open);
    seen->statuses[2] = muster_wait(open, 1);
    seen->statuses[3] = muster_apply(seen->pool, "f", MUSTER_NO_ARGS, NULL, NULL);
    seen->statuses[4] = muster_pool_join(seen->pool, 1);
    seen->statuses[5] = muster_pool_status(seen->pool, &json, 1);
    seen->statuses[6] = muster_cancel(open);
    muster_result_free(open);
}

static void a_callback_may_call_muster_but_not_wait(void **state)
{
    struct seen seen = {.pool = *state};
    static const int expected[] = {0, 0, MUSTER_EINVAL, MUSTER_EINVAL, MUSTER_EINVAL, MUSTER_EINVAL, 0};
    muster_options options = {.on_success = try_everything, .arg = &seen};
    assert_int_equal(muster_apply_async(*state, "f", MUSTER_NO_ARGS, &options, NULL), 0);
    fake_done_int(0, 1);
    while (fake_submitted() < 2)
        sched_yield();
    muster_pool_close(*state);
    fake_done_int(1, 1);
    assert_int_equal(muster_pool_join(*state, 10), 0);
    for (size_t i = 0; i < 7; i++)
        assert_int_equal(seen.statuses[i], expected[i]);
    assert_int_equal(fake_submitted(), 2);
}

static void free_pool(muster_result *result, void *arg)
{
    (void)result;
    muster_pool_free(arg);
}

static void a_callback_may_free_the_pool(void **state)
{
    muster_options options = {.on_success = free_pool, .arg = *state};
    muster_result *other = call(*state);
    assert_int_equal(muster_apply_async(*state, "f", MUSTER_NO_ARGS, &options, NULL), 0);
    fake_done_int(1, 1);
    *state = NULL;
    assert_int_equal(muster_get(other, 10, NULL), MUSTER_ECLOSED);
    muster_result_free(other);
    while (!fake->stopped)
        sched_yield();
}

static void see_log(int level, const char *worker, const char *text, void *arg)
{
    struct seen *seen = arg;
    seen->count += level == 6 && strcmp(worker, "here/0") == 0 && strcmp(text, "hello") == 0;
}

static struct seen logged;

static int setup_log(void **state)
{
    return fake_setup_with(state, &(muster_pool_options){.on_log = see_log, .arg = &logged});
}

static void a_log_call_reaches_the_pools_callback(void **state)
{
    struct message log = {.type = MESSAGE_LOG};
    log.log =
        (struct message_log){.number = 1, .level = 6, .worker = bytes_string("here/0"), .text = bytes_string("hello")};
    fake_message(&log);
    join_pool(*state);
    assert_int_equal(logged.count, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fake_setup, fake_teardown)
#define TEST_WINDOW(name) cmocka_unit_test_setup_teardown(name, setup_window_of_two, fake_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_closed_pool_takes_no_calls_and_finishes_the_old_ones),
        TEST(a_terminated_pool_gives_every_call_its_outcome),
        TEST(results_outlive_their_pool),
        TEST_WINDOW(a_full_window_makes_a_call_wait_or_fail),
        TEST_WINDOW(those_who_wait_for_room_are_told_of_the_end),
        TEST_WINDOW(a_nonblocking_map_needs_room_for_all_of_it),
        TEST_WINDOW(a_map_that_is_cut_short_cancels_what_it_had_submitted),
        TEST(statistics_count_outcomes),
        TEST(a_status_document_is_passed_through),
        TEST(options_that_make_no_sense_are_refused),
        TEST(arguments_over_the_limit_are_refused),
        TEST(a_definition_is_called_by_its_handle),
        TEST(a_definition_may_be_freed_after_its_pool),
        TEST(a_definition_that_makes_no_sense_is_refused),
        TEST(a_body_that_is_too_long_is_refused),
        TEST(a_forked_child_must_not_use_the_pool),
        TEST(callbacks_come_once_and_in_the_order_of_completion),
        TEST(a_callback_may_call_muster_but_not_wait),
        TEST(a_callback_may_free_the_pool),
        cmocka_unit_test_setup_teardown(a_log_call_reaches_the_pools_callback, setup_log, fake_teardown),
    };
    alarm(50);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
