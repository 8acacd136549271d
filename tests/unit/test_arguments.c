/*
 * Segments of arguments from call to call: kept when nobody can be reading them, removed in every other case.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/unit/fake_pool.h"

#define LARGE (512 * 1024)

static bool segment_exists(const char *name)
{
    int fd = shm_open(name, O_RDONLY, 0);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static int setup(void **state)
{
    int status = fake_setup(state);
    pool_connected(*state, 1000000, true);
    return status;
}

/* A call with large arguments; gives the name of their segment. */
static muster_result *call(muster_pool *pool, size_t size, uint64_t retries, char *name)
{
    muster_result *result;
    char *data = calloc(1, size);
    memset(data, (int)size, size);
    muster_options options = {.retries = (unsigned)retries};
    assert_int_equal(muster_apply_async(pool, "f", MUSTER_ARGS(muster_bytes(data, size)), &options, &result), 0);
    const struct fake_task *task = &fake->tasks[(fake->submitted - 1) % FAKE_TASKS];
    assert_true(task->encoding & ENCODING_SEGMENT);
    snprintf(name, SEGMENT_NAME_BYTES, "%.*s", (int)task->length, (const char *)task->args);
    struct segment read;
    assert_int_equal(segment_open(&read, bytes_string(name)), 0);
    assert_int_equal(read.length, size + 6);
    assert_memory_equal((char *)read.data + 6, data, size);
    segment_unmap(&read);
    free(data);
    return result;
}

static void a_successful_call_leaves_its_segment_to_the_next(void **state)
{
    char first[SEGMENT_NAME_BYTES], name[SEGMENT_NAME_BYTES];
    for (size_t i = 0; i < 4; i++) {
        muster_result *result = call(*state, LARGE, 0, i == 0 ? first : name);
        if (i > 0)
            assert_string_equal(name, first);
        fake_done_int(i, 1);
        muster_result_free(result);
        assert_true(segment_exists(first));
    }
    muster_pool_close(*state);
    assert_false(segment_exists(first));
}

static void spare_segments_are_bounded_and_the_oldest_goes(void **state)
{
    char names[SPARE_COUNT + 1][SEGMENT_NAME_BYTES];
    for (size_t i = 0; i < SPARE_COUNT + 1; i++) {
        muster_result *result = call(*state, LARGE + 1000 * i, 0, names[i]);
        fake_done_int(i, 1);
        muster_result_free(result);
    }
    assert_false(segment_exists(names[0]));
    for (size_t i = 1; i < SPARE_COUNT + 1; i++)
        assert_true(segment_exists(names[i]));
    muster_pool *pool = *state;
    assert_int_equal(pool->spare_count, SPARE_COUNT);
    muster_pool_terminate(pool);
    assert_int_equal(pool->spare_count, 0);
    assert_int_equal(pool->spare_bytes, 0);
}

static void calls_at_the_same_time_have_segments_of_their_own(void **state)
{
    char one[SEGMENT_NAME_BYTES], two[SEGMENT_NAME_BYTES];
    muster_result *first = call(*state, LARGE, 0, one), *second = call(*state, LARGE, 0, two);
    assert_string_not_equal(one, two);
    fake_done_int(0, 1);
    fake_done_int(1, 1);
    muster_result_free(first);
    muster_result_free(second);
    muster_pool_terminate(*state);
    assert_false(segment_exists(one));
    assert_false(segment_exists(two));
}

static void a_failed_call_does_not_leave_its_segment(void **state)
{
    char name[SEGMENT_NAME_BYTES];
    muster_result *result = call(*state, LARGE, 0, name);
    fake_fail(0, MUSTER_ELOST, "", "gone", 0);
    assert_false(segment_exists(name));
    muster_result_free(result);
}

static void a_call_that_may_have_run_twice_does_not_leave_its_segment(void **state)
{
    char name[SEGMENT_NAME_BYTES];
    muster_result *result = call(*state, LARGE, 1, name);
    fake_done_int(0, 1);
    assert_false(segment_exists(name));
    muster_result_free(result);
    result = call(*state, LARGE, 0, name);
    pthread_mutex_lock(&fake->pool->mutex);
    pool_client_events.opened(fake->pool); /* the coordinator came back: everything was submitted again */
    pthread_mutex_unlock(&fake->pool->mutex);
    fake_done_int(1, 1);
    assert_false(segment_exists(name));
    muster_result_free(result);
}

static void a_call_that_ends_after_the_close_does_not_leave_its_segment(void **state)
{
    char name[SEGMENT_NAME_BYTES];
    muster_result *result = call(*state, LARGE, 0, name);
    muster_pool_close(*state);
    assert_true(segment_exists(name));
    fake_done_int(0, 1);
    assert_false(segment_exists(name));
    muster_result_free(result);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, fake_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_successful_call_leaves_its_segment_to_the_next),
        TEST(spare_segments_are_bounded_and_the_oldest_goes),
        TEST(calls_at_the_same_time_have_segments_of_their_own),
        TEST(a_failed_call_does_not_leave_its_segment),
        TEST(a_call_that_may_have_run_twice_does_not_leave_its_segment),
        TEST(a_call_that_ends_after_the_close_does_not_leave_its_segment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
