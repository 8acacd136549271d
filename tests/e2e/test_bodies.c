/*
 * Definitions with a body, and errors with a value, through real processes: whatever is killed and started again, a
 * task finds its own body.
 */
#include "pools.h"

#define BODIES TEST_PLUGIN_DIR "/bodies.so"

static muster_pool *open_bodies(void)
{
    static const char *const plugins[] = {BODIES, NULL};
    return open_pool("local:2",
                     &(muster_pool_options){.plugins = plugins, .on_output = drop_output, .payload_limit = 64 << 20});
}

static pid_t start_body_workers(const char *name)
{
    return START(MUSTER_BIN_DIR "/muster-worker", "-n", "2", url_of(name), "--load", BODIES);
}

static muster_definition *define(muster_pool *pool, const char *function, const void *body, size_t size)
{
    muster_definition *definition = NULL;
    if (muster_define(pool, function, body, size, NULL, &definition) != 0)
        fail_msg("%s: %s", function, muster_last_error());
    return definition;
}

static muster_result *call(muster_pool *pool, const muster_definition *definition, muster_args args)
{
    muster_result *result = NULL;
    if (muster_apply_async(pool, NULL, args, &(muster_options){.definition = definition}, &result) != 0)
        fail_msg("%s", muster_last_error());
    return result;
}

static void expect_body(muster_result *result, const void *body, size_t size)
{
    const muster_value *value;
    if (muster_get(result, WAIT_S, &value) != 0)
        fail_msg("%s", muster_last_error());
    assert_int_equal(value->size, size);
    assert_memory_equal(value->data, body, size);
    muster_result_free(result);
}

/* Calls of several definitions, some of them long: each finds its own body. */
static void check_calls(muster_pool *pool)
{
    static char long_body[3000000];
    memset(long_body, 'l', sizeof long_body);
    muster_definition *definitions[] = {define(pool, "interpret", "one", 3), define(pool, "interpret", "another", 7),
                                        define(pool, "interpret", long_body, sizeof long_body)};
    const void *const bodies[] = {"one", "another", long_body};
    static const size_t sizes[] = {3, 7, sizeof long_body};
    muster_result *results[24];
    for (size_t i = 0; i < 24; i++)
        results[i] = call(pool, definitions[i % 3], MUSTER_NO_ARGS);
    for (size_t i = 0; i < 24; i++)
        expect_body(results[i], bodies[i % 3], sizes[i % 3]);
    for (size_t i = 0; i < 3; i++)
        muster_definition_free(definitions[i]);
}

static void every_task_finds_its_own_body(void **state)
{
    (void)state;
    muster_pool *pool = open_bodies();
    check_calls(pool);
    muster_definition *same = define(pool, "interpret", "one", 3);
    expect_body(call(pool, same, MUSTER_NO_ARGS), "one", 3);
    muster_definition_free(same);
    expect_body(submit(pool, "interpret", MUSTER_NO_ARGS, NULL), "", 0);
    muster_pool_free(pool);
    assert_nothing_left();
}

static void a_key_stands_for_one_body_in_one_process(void **state)
{
    (void)state;
    enum { CALLS = 60, DEFINITIONS = 3 };
    muster_pool *pool = open_bodies();
    muster_definition *definitions[DEFINITIONS];
    muster_result *results[CALLS];
    int64_t places[CALLS];
    for (size_t i = 0; i < DEFINITIONS; i++)
        definitions[i] = define(pool, "where", &(char){(char)('a' + i)}, 1);
    for (size_t i = 0; i < CALLS; i++)
        results[i] = call(pool, definitions[i % DEFINITIONS], MUSTER_NO_ARGS);
    for (size_t i = 0; i < CALLS; i++) {
        const muster_value *value;
        assert_int_equal(muster_get(results[i], WAIT_S, &value), 0);
        places[i] = value->integer;
        assert_true((places[i] & 0xffffffff) != 0);
        muster_result_free(results[i]);
    }
    for (size_t i = 0; i < CALLS; i++)
        for (size_t j = 0; j < i; j++)
            if (places[i] >> 32 == places[j] >> 32) /* the same process */
                assert_int_equal(places[i] == places[j], i % DEFINITIONS == j % DEFINITIONS);
    for (size_t i = 0; i < DEFINITIONS; i++)
        muster_definition_free(definitions[i]);
    muster_pool_free(pool);
}

static void a_worker_that_was_killed_has_a_successor_with_the_body(void **state)
{
    (void)state;
    muster_pool *pool = open_bodies();
    muster_definition *good = define(pool, "interpret", "good", 4), *deadly = define(pool, "interpret", "die", 3);
    for (int round = 0; round < 3; round++) {
        muster_result *lost = call(pool, deadly, MUSTER_NO_ARGS), *results[8];
        for (size_t i = 0; i < 8; i++)
            results[i] = call(pool, good, MUSTER_NO_ARGS);
        assert_int_equal(muster_get(lost, WAIT_S, NULL), MUSTER_ELOST);
        muster_result_free(lost);
        for (size_t i = 0; i < 8; i++)
            expect_body(results[i], "good", 4);
    }
    muster_definition_free(good);
    muster_definition_free(deadly);
    muster_pool_free(pool);
    assert_nothing_left();
}

/* Workers that have something to run. */
static int running(muster_pool *pool)
{
    char *json;
    if (muster_pool_status(pool, &json, WAIT_S) != 0)
        fail_msg("%s", muster_last_error());
    const char *member = strstr(json, "\"running\":");
    int count = member ? atoi(member + strlen("\"running\":")) : -1;
    free(json);
    return count;
}

static void a_restarted_musterd_is_told_the_bodies_again(void **state)
{
    (void)state;
    pid_t musterd = start_musterd("musterd"), workers = start_body_workers("musterd");
    muster_pool *pool = open_pool(url_of("musterd"), NULL);
    muster_definition *waiting = define(pool, "interpret", "wait and see", 12);
    check_calls(pool);
    const muster_value path = muster_string(path_of("go"));
    muster_result *results[6]; /* two run, the others wait at workers or at musterd */
    for (size_t i = 0; i < 6; i++)
        results[i] = call(pool, waiting, (muster_args){&path, 1});
    wait_until(running(pool) == 2);
    stop(musterd, SIGKILL);
    musterd = start_musterd("musterd");
    muster_definition *fresh = define(pool, "interpret", "fresh", 5);
    muster_result *after = call(pool, fresh, MUSTER_NO_ARGS);
    close(open(path_of("go"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    for (size_t i = 0; i < 6; i++)
        expect_body(results[i], "wait and see", 12);
    expect_body(after, "fresh", 5);
    check_calls(pool);
    muster_definition_free(waiting);
    muster_definition_free(fresh);
    muster_pool_free(pool);
    stop(workers, SIGTERM);
    stop(musterd, SIGTERM);
    assert_nothing_left();
}

/* --- errors with a value ------------------------------------------------------------------------------------------ */

static void an_error_comes_with_its_value(void **state)
{
    (void)state;
    muster_pool *pool = open_bodies();
    muster_definition *definition = define(pool, "interpret", "fail", 4);
    static const int64_t lengths[] = {0, 5, 700000, 16 << 20};
    for (size_t i = 0; i < 4; i++) {
        muster_result *result = call(pool, definition, MUSTER_ARGS(muster_int(lengths[i])));
        assert_int_equal(muster_get(result, WAIT_S, NULL), MUSTER_ETASK);
        const muster_error *error = muster_result_error(result, 0);
        assert_string_equal(error->kind, "ValueError");
        assert_string_equal(error->message, "no such thing");
        assert_string_equal(error->traceback, "Traceback:\n  line 1");
        assert_int_equal(error->value_size, lengths[i]);
        assert_int_equal(error->encoding, lengths[i] ? MUSTER_PICKLE : MUSTER_RAW);
        assert_true(lengths[i] == 0 || memchr(error->value, 'v', error->value_size) == error->value);
        muster_result_free(result);
    }
    muster_result *result = call(pool, definition, MUSTER_ARGS(muster_int((16 << 20) + 1)));
    assert_int_equal(muster_get(result, WAIT_S, NULL), MUSTER_ETASK);
    const muster_error *error = muster_result_error(result, 0);
    assert_null(error->value);
    assert_non_null(
        strstr(error->message, "no such thing (the value of 16777217 bytes that came with the error was left"));
    muster_result_free(result);
    muster_definition_free(definition);
    muster_pool_free(pool);
}

static void failed_items_of_a_map_have_values_too(void **state)
{
    (void)state;
    muster_pool *pool = open_bodies();
    muster_definition *definition = define(pool, "interpret", "fail", 4);
    muster_value items[6];
    for (int64_t i = 0; i < 6; i++)
        items[i] = muster_int(i);
    muster_result *result;
    const muster_options options = {.definition = definition, .chunk_size = 3};
    assert_int_equal(muster_map(pool, NULL, items, 6, &options, &result), MUSTER_ETASK);
    for (size_t i = 0; i < 6; i++) {
        const muster_error *error = muster_result_error(result, i);
        assert_int_equal(error->value_size, i);
        assert_string_equal(error->traceback, "Traceback:\n  line 1");
    }
    muster_result_free(result);
    muster_definition_free(definition);
    muster_pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(every_task_finds_its_own_body),
        E2E_TEST(a_key_stands_for_one_body_in_one_process),
        E2E_TEST(a_worker_that_was_killed_has_a_successor_with_the_body),
        E2E_TEST(a_restarted_musterd_is_told_the_bodies_again),
        E2E_TEST(an_error_comes_with_its_value),
        E2E_TEST(failed_items_of_a_map_have_values_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
