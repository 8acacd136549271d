/*
 * Lazy iteration with real workers: order, the window, errors, stopping early, and constant memory.
 */
#include "tests/e2e/pools.h"

/* A generator of numbers that remembers how far it was read. */
struct numbers {
    uint64_t next, end;
    int end_status; /* given at the end */
};

static int next_number(muster_value *item, void *arg)
{
    struct numbers *numbers = arg;
    if (numbers->next == numbers->end)
        return numbers->end_status;
    *item = muster_int((int64_t)numbers->next++);
    return 1;
}

static muster_iterator *iterate(muster_pool *pool, bool ordered, const char *function, struct numbers *numbers,
                                const muster_options *options)
{
    muster_iterator *iterator;
    int status =
        (ordered ? muster_imap : muster_imap_unordered)(pool, function, next_number, numbers, options, &iterator);
    if (status != 0)
        fail_msg("%s", muster_last_error());
    return iterator;
}

static void ordered_items_come_in_order(void **state)
{
    static const muster_options variants[] = {
        {0}, {.window = 1}, {.window = 100}, {.chunk_size = 7}, {.chunk_size = 10, .window = 5}};
    (void)state;
    muster_pool *pool = open_local("local:2");
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
        struct numbers numbers = {.end = 1000};
        muster_item item;
        int status;
        muster_iterator *iterator = iterate(pool, true, "identity", &numbers, &variants[i]);
        uint64_t expected = 0;
        while ((status = muster_next(iterator, WAIT_S, &item)) == 1) {
            assert_int_equal(item.index, expected);
            assert_int_equal(item.value->integer, expected);
            expected++;
        }
        assert_int_equal(status, 0);
        assert_int_equal(expected, 1000);
        assert_int_equal(muster_next(iterator, WAIT_S, &item), 0);
        muster_iterator_free(iterator);
    }
    muster_pool_free(pool);
    assert_nothing_left();
}

static void unordered_items_come_each_once(void **state)
{
    enum { COUNT = 2000 };
    static unsigned char seen[COUNT];
    struct numbers numbers = {.end = COUNT};
    muster_item item;
    (void)state;
    muster_pool *pool = open_local("local:2");
    muster_iterator *iterator =
        iterate(pool, false, "identity", &numbers, &(muster_options){.window = 64, .chunk_size = 4});
    memset(seen, 0, sizeof seen);
    while (muster_next(iterator, WAIT_S, &item) == 1) {
        assert_int_equal(item.value->integer, item.index);
        seen[item.index]++;
    }
    for (size_t i = 0; i < COUNT; i++)
        assert_int_equal(seen[i], 1);
    muster_iterator_free(iterator);
    muster_pool_free(pool);
    assert_nothing_left();
}

static void a_slow_item_does_not_hold_up_the_unordered_ones(void **state)
{
    struct numbers numbers = {.end = 3};
    muster_item item;
    (void)state;
    muster_pool *pool = open_local("local:2");
    muster_result *slow = submit(pool, "wait_for_stop", MUSTER_NO_ARGS, NULL);
    muster_iterator *iterator = iterate(pool, false, "identity", &numbers, NULL);
    for (int i = 0; i < 3; i++)
        assert_int_equal(muster_next(iterator, WAIT_S, &item), 1);
    assert_int_equal(muster_next(iterator, WAIT_S, &item), 0);
    muster_iterator_free(iterator);
    muster_result_free(slow);
    muster_pool_free(pool);
    assert_nothing_left();
}

static void the_generator_is_read_only_as_far_as_the_window(void **state)
{
    struct numbers numbers = {.end = UINT64_MAX};
    muster_item item;
    (void)state;
    muster_pool *pool = open_local("local:2");
    muster_iterator *iterator = iterate(pool, true, "identity", &numbers, &(muster_options){.window = 10});
    assert_int_equal(numbers.next, 10);
    for (uint64_t i = 0; i < 100; i++) {
        assert_int_equal(muster_next(iterator, WAIT_S, &item), 1);
        assert_true(numbers.next <= i + 10);
    }
    muster_iterator_free(iterator);
    iterator = iterate(pool, true, "identity", &numbers, NULL);
    assert_true(numbers.next <= 110 + 4);
    muster_iterator_free(iterator);
    assert_alive(pool);
    muster_pool_free(pool);
    assert_nothing_left();
}

static void errors_of_items_do_not_end_the_iteration(void **state)
{
    struct numbers numbers = {.end = 100};
    muster_item item;
    uint64_t failed = 0, index = 0;
    (void)state;
    muster_pool *pool = open_local("local:2");
    muster_iterator *iterator = iterate(pool, true, "even", &numbers, &(muster_options){.chunk_size = 3});
    for (; muster_next(iterator, WAIT_S, &item) == 1; index++) {
        assert_int_equal(item.index, index);
        assert_true((item.error != NULL) == (index % 2 != 0));
        if (item.error) {
            assert_int_equal(item.error->item, index);
            assert_null(item.value);
        }
        failed += item.error != NULL;
    }
    assert_int_equal(index, 100);
    assert_int_equal(failed, 50);
    muster_iterator_free(iterator);
    muster_pool_free(pool);
    assert_nothing_left();
}

static void a_generator_may_stop_with_an_error(void **state)
{
    struct numbers numbers = {.end = 5, .end_status = MUSTER_ESYSTEM};
    muster_item item;
    (void)state;
    muster_pool *pool = open_local("local:2");
    muster_iterator *iterator = iterate(pool, true, "identity", &numbers, NULL);
    for (int i = 0; i < 5; i++)
        assert_int_equal(muster_next(iterator, WAIT_S, &item), 1);
    assert_int_equal(muster_next(iterator, WAIT_S, &item), MUSTER_ESYSTEM);
    assert_int_equal(muster_next(iterator, WAIT_S, &item), MUSTER_ESYSTEM);
    muster_iterator_free(iterator);
    muster_pool_free(pool);
    assert_nothing_left();
}

static void freeing_an_iterator_cancels_what_is_under_way(void **state)
{
    struct numbers numbers = {.end = UINT64_MAX};
    muster_item item;
    muster_stats stats;
    (void)state;
    muster_pool *pool = open_local("local:2");
    muster_iterator *iterator = iterate(pool, true, "wait_for_stop", &numbers, &(muster_options){.window = 20});
    assert_int_equal(muster_next(iterator, 0.05, &item), MUSTER_ETIMEDOUT);
    muster_iterator_free(iterator);
    assert_alive(pool);
    wait_until(muster_pool_stats(pool, &stats) == 0 && stats.outstanding == 0);
    assert_int_equal(stats.cancelled, 20);
    muster_pool_free(pool);
    assert_nothing_left();
}

static void iteration_goes_on_after_a_close(void **state)
{
    struct numbers numbers = {.end = 50};
    muster_item item;
    (void)state;
    muster_pool *pool = open_local("local:2");
    muster_iterator *iterator = iterate(pool, true, "identity", &numbers, NULL), *late;
    muster_pool_close(pool);
    assert_int_equal(muster_imap(pool, "identity", next_number, &numbers, NULL, &late), MUSTER_ECLOSED);
    for (int i = 0; i < 50; i++)
        assert_int_equal(muster_next(iterator, WAIT_S, &item), 1);
    assert_int_equal(muster_next(iterator, WAIT_S, &item), 0);
    muster_iterator_free(iterator);
    muster_pool_free(pool);
    assert_nothing_left();
}

static void a_terminated_pool_ends_its_iterators(void **state)
{
    struct numbers numbers = {.end = UINT64_MAX};
    muster_item item;
    int status, delivered = 0;
    (void)state;
    muster_pool *pool = open_local("local:2");
    muster_iterator *iterator = iterate(pool, true, "loop", &numbers, &(muster_options){.window = 4});
    muster_pool_terminate(pool);
    for (; (status = muster_next(iterator, WAIT_S, &item)) == 1; delivered++)
        assert_int_equal(item.error->status, MUSTER_ECLOSED);
    assert_int_equal(status, MUSTER_ECLOSED);
    assert_true(delivered <= 5);
    muster_pool_free(pool);
    muster_iterator_free(iterator);
    assert_nothing_left();
}

static void a_descriptor_tells_when_an_item_is_there(void **state)
{
    struct numbers numbers = {.end = 20};
    muster_item item;
    int taken = 0, status = 1;
    (void)state;
    muster_pool *pool = open_local("local:2");
    muster_iterator *iterator = iterate(pool, true, "identity", &numbers, NULL);
    struct pollfd ready = {.fd = muster_iterator_fd(iterator), .events = POLLIN};
    assert_true(ready.fd >= 0);
    while (status == 1) {
        assert_int_equal(poll(&ready, 1, WAIT_S * 1000), 1);
        while ((status = muster_next(iterator, 0, &item)) == 1)
            taken++;
        if (status == MUSTER_ETIMEDOUT)
            status = 1;
    }
    assert_int_equal(status, 0);
    assert_int_equal(taken, 20);
    assert_int_equal(poll(&ready, 1, 0), 1);
    muster_iterator_free(iterator);
    muster_pool_free(pool);
    assert_nothing_left();
}

static size_t resident_kib(void)
{
    char line[256];
    size_t kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "VmRSS: %zu kB", &kib) == 1)
            break;
    fclose(file);
    return kib;
}

/* Three million of them here; the memory of the window does not depend on how many there are. */
static void millions_of_items_need_the_memory_of_one_window(void **state)
{
    enum { COUNT = 3000000, WARM = 300000 };
    struct numbers numbers = {.end = COUNT};
    muster_item item;
    size_t before = 0;
    uint64_t index = 0;
    (void)state;
    muster_pool *pool = open_local("local:2");
    muster_iterator *iterator =
        iterate(pool, true, "identity", &numbers, &(muster_options){.window = 20000, .chunk_size = 500});
    for (; muster_next(iterator, WAIT_S, &item) == 1; index++) {
        if (item.index != index || item.value->integer != (int64_t)index)
            fail_msg("item %llu is %llu", (unsigned long long)index, (unsigned long long)item.index);
        if (index == WARM)
            before = resident_kib();
    }
    assert_int_equal(index, COUNT);
#ifdef MUSTER_SANITIZED
    (void)before; /* a sanitizer keeps freed memory */
#else
    assert_true(resident_kib() < before + 16 * 1024);
#endif
    muster_iterator_free(iterator);
    muster_pool_free(pool);
    assert_nothing_left();
}

static void an_iteration_over_a_musterd_survives_its_restart(void **state)
{
    struct numbers numbers = {.end = 4000};
    muster_item item;
    uint64_t index = 0;
    (void)state;
    pid_t musterd = start_musterd("md"), workers = start_workers("md", "2");
    muster_pool *pool = open_pool(url_of("md"), NULL);
    muster_iterator *iterator = iterate(pool, true, "identity", &numbers, &(muster_options){.window = 32});
    for (; muster_next(iterator, WAIT_S, &item) == 1; index++) {
        assert_int_equal(item.index, index);
        if (!item.value)
            fail_msg("item %llu: %s", (unsigned long long)index, item.error->message);
        if (index == 1000) {
            stop(musterd, SIGKILL);
            unlink(path_of("md"));
            unlink(path_of("md.push"));
            musterd = start_musterd("md");
        }
    }
    assert_int_equal(index, 4000);
    muster_iterator_free(iterator);
    muster_pool_free(pool);
    stop(workers, SIGTERM);
    stop(musterd, SIGTERM);
    assert_nothing_left();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(ordered_items_come_in_order),
        E2E_TEST(unordered_items_come_each_once),
        E2E_TEST(a_slow_item_does_not_hold_up_the_unordered_ones),
        E2E_TEST(the_generator_is_read_only_as_far_as_the_window),
        E2E_TEST(errors_of_items_do_not_end_the_iteration),
        E2E_TEST(a_generator_may_stop_with_an_error),
        E2E_TEST(freeing_an_iterator_cancels_what_is_under_way),
        E2E_TEST(iteration_goes_on_after_a_close),
        E2E_TEST(a_terminated_pool_ends_its_iterators),
        E2E_TEST(a_descriptor_tells_when_an_item_is_there),
        E2E_TEST(millions_of_items_need_the_memory_of_one_window),
        E2E_TEST(an_iteration_over_a_musterd_survives_its_restart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
