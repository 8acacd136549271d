/*
 * map and starmap with real workers: order, errors of single items, and what happens to a chunk whose worker dies.
 */
#include "tests/e2e/pools.h"

static muster_result *map_ints(muster_pool *pool, const char *function, size_t count, const muster_options *options,
                               int expected)
{
    muster_value *items = malloc((count + 1) * sizeof *items);
    muster_result *result;
    for (size_t i = 0; i < count; i++)
        items[i] = muster_int((int64_t)i);
    int status = muster_map(pool, function, items, count, options, &result);
    if (status != expected)
        fail_msg("%s: %d, %s", function, status, muster_last_error());
    free(items);
    return result;
}

static void results_are_in_the_order_of_the_items(void **state)
{
    static const size_t counts[] = {0, 1, 2, 7, 1000, 100000};
    (void)state;
    muster_pool *pool = open_local("local:2");
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        muster_result *result = map_ints(pool, "identity", counts[i], NULL, 0);
        assert_int_equal(muster_result_count(result), counts[i]);
        for (size_t at = 0; at < counts[i]; at++)
            assert_int_equal(muster_result_value(result, at)->integer, at);
        muster_result_free(result);
    }
    muster_pool_free(pool);
    assert_nothing_left();
}

static void chunk_sizes_do_not_change_the_results(void **state)
{
    static const size_t chunks[] = {1, 2, 3, 1000, 5000};
    (void)state;
    muster_pool *pool = open_local("local:2");
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        muster_result *result = map_ints(pool, "even", 1000, &(muster_options){.chunk_size = chunks[i]}, MUSTER_ETASK);
        for (size_t at = 0; at < 1000; at++) {
            const muster_error *error = muster_result_error(result, at);
            assert_true((at % 2 != 0) == (error != NULL));
            if (error) {
                assert_string_equal(error->kind, "OddError");
                assert_int_equal(error->item, at);
                assert_string_equal(error->function, "even");
            } else {
                assert_int_equal(muster_result_value(result, at)->integer, at);
            }
        }
        assert_int_equal(muster_result_error(result, SIZE_MAX)->item, 1);
        muster_result_free(result);
    }
    muster_pool_free(pool);
    assert_nothing_left();
}

static void strings_and_large_items_come_back(void **state)
{
    enum { COUNT = 40, SIZE = 50000 };
    muster_value items[COUNT];
    muster_result *result;
    (void)state;
    muster_pool *pool = open_local("local:2");
    for (int i = 0; i < COUNT; i++) {
        char *data = malloc(SIZE);
        memset(data, 'a' + i % 26, SIZE);
        items[i] = muster_bytes(data, SIZE);
    }
    assert_int_equal(muster_map(pool, "identity", items, COUNT, &(muster_options){.chunk_size = 20}, &result), 0);
    for (size_t i = 0; i < COUNT; i++) {
        const muster_value *value = muster_result_value(result, i);
        assert_int_equal(value->size, SIZE);
        assert_memory_equal(value->data, items[i].data, SIZE);
        free((void *)items[i].data);
    }
    muster_result_free(result);
    muster_pool_free(pool);
    assert_nothing_left();
}

static void a_starmap_has_several_arguments(void **state)
{
    muster_result *result;
    (void)state;
    muster_pool *pool = open_local("local:2");
    const muster_args calls[] = {MUSTER_ARGS(muster_int(1), muster_int(2)), MUSTER_NO_ARGS, MUSTER_ARGS(muster_int(5))};
    assert_int_equal(muster_starmap(pool, "add", calls, 3, NULL, &result), 0);
    assert_int_equal(muster_result_value(result, 0)->integer, 3);
    assert_int_equal(muster_result_value(result, 1)->integer, 0);
    assert_int_equal(muster_result_value(result, 2)->integer, 5);
    muster_result_free(result);
    muster_pool_free(pool);
    assert_nothing_left();
}

static void a_chunk_whose_worker_dies_is_lost_and_says_where(void **state)
{
    (void)state;
    muster_pool *pool = open_local("local:2");
    muster_result *result = map_ints(pool, "item_dies", 20, &(muster_options){.chunk_size = 5}, MUSTER_ELOST);
    for (size_t i = 0; i < 20; i++) {
        const muster_error *error = muster_result_error(result, i);
        assert_true((i >= 5 && i < 10) == (error != NULL));
        if (error) {
            assert_int_equal(error->status, MUSTER_ELOST);
            assert_int_equal(error->item, 7);
            assert_int_equal(error->exit_status, 7);
        }
    }
    muster_result_free(result);
    assert_alive(pool);
    muster_pool_free(pool);
    assert_nothing_left();
}

static void a_cancelled_map_has_an_outcome_for_every_item(void **state)
{
    enum { COUNT = 40 };
    muster_value items[COUNT];
    muster_result *result;
    (void)state;
    muster_pool *pool = open_local("local:2");
    for (int i = 0; i < COUNT; i++)
        items[i] = muster_int(60000);
    assert_int_equal(muster_map_async(pool, "sleep_ms", items, COUNT, &(muster_options){.chunk_size = 2}, &result), 0);
    assert_int_equal(muster_wait(result, 0.1), MUSTER_ETIMEDOUT);
    muster_cancel(result);
    assert_int_equal(muster_get(result, WAIT_S, NULL), MUSTER_ECANCELED);
    for (size_t i = 0; i < COUNT; i++)
        assert_int_equal(muster_result_error(result, i)->status, MUSTER_ECANCELED);
    muster_result_free(result);
    assert_alive(pool);
    muster_pool_free(pool);
    assert_nothing_left();
}

/* Sums what callbacks see. */
struct seen {
    size_t successes, errors, count;
};

static void see_success(muster_result *result, void *arg)
{
    struct seen *seen = arg;
    seen->successes++;
    seen->count += muster_result_count(result);
}

static void see_error(muster_result *result, void *arg)
{
    struct seen *seen = arg;
    seen->errors += muster_result_error(result, SIZE_MAX) != NULL;
}

static void a_map_has_one_callback(void **state)
{
    struct seen seen = {0};
    const muster_options options = {.on_success = see_success, .on_error = see_error, .arg = &seen};
    (void)state;
    muster_pool *pool = open_local("local:2");
    muster_result_free(map_ints(pool, "identity", 100, &options, 0));
    muster_result_free(map_ints(pool, "even", 100, &options, MUSTER_ETASK));
    muster_result_free(map_ints(pool, "identity", 0, &options, 0));
    muster_pool_close(pool);
    assert_int_equal(muster_pool_join(pool, WAIT_S), 0);
    assert_int_equal(seen.successes, 2);
    assert_int_equal(seen.errors, 1);
    assert_int_equal(seen.count, 100);
    muster_pool_free(pool);
    assert_nothing_left();
}

static void a_map_of_an_unknown_function_fails_in_every_item(void **state)
{
    (void)state;
    muster_pool *pool = open_local("local:2");
    muster_result *result = map_ints(pool, "no_such_thing", 10, NULL, MUSTER_ENOFUNCTION);
    for (size_t i = 0; i < 10; i++)
        assert_int_equal(muster_result_error(result, i)->status, MUSTER_ENOFUNCTION);
    muster_result_free(result);
    muster_pool_free(pool);
    assert_nothing_left();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(results_are_in_the_order_of_the_items),
        E2E_TEST(chunk_sizes_do_not_change_the_results),
        E2E_TEST(strings_and_large_items_come_back),
        E2E_TEST(a_starmap_has_several_arguments),
        E2E_TEST(a_chunk_whose_worker_dies_is_lost_and_says_where),
        E2E_TEST(a_cancelled_map_has_an_outcome_for_every_item),
        E2E_TEST(a_map_has_one_callback),
        E2E_TEST(a_map_of_an_unknown_function_fails_in_every_item),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
