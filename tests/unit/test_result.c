/*
 * Result handles: what a caller sees of an outcome, for single calls and for maps.
 */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "tests/unit/fake_pool.h"

static muster_result *call(muster_pool *pool)
{
    muster_result *result = NULL;
    assert_int_equal(muster_apply_async(pool, "f", MUSTER_ARGS(muster_int(1)), NULL, &result), 0);
    return result;
}

static void a_value_is_there_when_the_result_is_ready(void **state)
{
    const muster_value *value;
    muster_result *result = call(*state);
    assert_false(muster_ready(result));
    assert_false(muster_successful(result));
    assert_null(muster_result_value(result, 0));
    assert_int_equal(muster_get(result, 0, &value), MUSTER_ETIMEDOUT);
    assert_null(value);
    fake_done_int(0, 49);
    assert_true(muster_ready(result));
    assert_true(muster_successful(result));
    assert_int_equal(muster_get(result, 0, &value), 0);
    assert_int_equal(value->integer, 49);
    assert_int_equal(muster_result_count(result), 1);
    assert_null(muster_result_value(result, 1));
    assert_null(muster_result_error(result, 0));
    muster_result_free(result);
}

static void the_arguments_are_a_msgpack_array(void **state)
{
    muster_result_free(call(*state));
    assert_int_equal(fake->tasks[0].items, 0);
    assert_int_equal(fake->tasks[0].encoding, MUSTER_MSGPACK);
    assert_int_equal(fake->tasks[0].length, 2);
    assert_memory_equal(fake->tasks[0].args, "\x91\x01", 2);
}

static void strings_containers_and_opaque_values_live_as_long_as_the_result(void **state)
{
    const muster_value *value;
    muster_result *text = call(*state), *array = call(*state), *pickle = call(*state);
    char bytes[8] = "\xa5hello";
    fake_done_bytes(0, MUSTER_MSGPACK, bytes, 6);
    memset(bytes, 0, sizeof bytes);
    fake_done_bytes(1, MUSTER_MSGPACK, "\x92\x01\x02", 3);
    fake_done_bytes(2, MUSTER_PICKLE, "pickled", 7);
    assert_int_equal(muster_get(text, 0, &value), 0);
    assert_int_equal(value->type, MUSTER_TYPE_STRING);
    assert_memory_equal(value->data, "hello", 5);
    assert_int_equal(muster_get(array, 0, &value), 0);
    assert_int_equal(value->type, MUSTER_TYPE_MSGPACK);
    assert_int_equal(value->size, 3);
    assert_int_equal(muster_get(pickle, 0, &value), 0);
    assert_int_equal(value->type, MUSTER_TYPE_OPAQUE);
    assert_int_equal(value->encoding, MUSTER_PICKLE);
    assert_memory_equal(value->data, "pickled", 7);
    muster_result_free(text);
    muster_result_free(array);
    muster_result_free(pickle);
}

static void an_error_says_everything_that_is_known(void **state)
{
    muster_result *result = call(*state);
    fake_fail(0, MUSTER_ELOST, "", "killed by signal 9", 0);
    assert_int_equal(muster_get(result, 0, NULL), MUSTER_ELOST);
    assert_non_null(strstr(muster_last_error(), "killed by signal 9"));
    const muster_error *error = muster_result_error(result, 0);
    assert_int_equal(error->status, MUSTER_ELOST);
    assert_string_equal(error->function, "f");
    assert_string_equal(error->worker, "here/0");
    assert_string_equal(error->host, "here");
    assert_string_equal(error->kind, "");
    assert_string_equal(error->traceback, "");
    assert_int_equal(error->pid, 42);
    assert_int_equal(error->signal, 9);
    assert_int_equal(error->exit_status, -1);
    assert_ptr_equal(error, muster_result_error(result, SIZE_MAX));
    assert_null(error->value);
    assert_null(muster_result_value(result, 0));
    muster_result_free(result);
}

static void an_error_has_the_value_that_came_with_it(void **state)
{
    muster_result *result = call(*state);
    struct message message = {.type = MESSAGE_FAILED};
    message.failed.number = fake_number(0);
    message.failed.status = -MUSTER_ETASK;
    message.failed.encoding = MUSTER_PICKLE;
    message.failed.value = bytes_string("pickled");
    fake_message(&message);
    const muster_error *error = muster_result_error(result, 0);
    assert_int_equal(error->encoding, MUSTER_PICKLE);
    assert_int_equal(error->value_size, 7);
    assert_memory_equal(error->value, "pickled", 7);
    assert_string_equal(error->message, "");
    muster_result_free(result);
}

static void a_descriptor_becomes_readable(void **state)
{
    muster_result *result = call(*state);
    struct pollfd ready = {.fd = muster_result_fd(result), .events = POLLIN};
    assert_true(ready.fd >= 0);
    assert_int_equal(poll(&ready, 1, 0), 0);
    fake_done_int(0, 1);
    assert_int_equal(poll(&ready, 1, 0), 1);
    assert_int_equal(muster_result_fd(result), ready.fd);
    muster_result_free(result);
    result = call(*state);
    fake_done_int(1, 1);
    ready.fd = muster_result_fd(result);
    assert_int_equal(poll(&ready, 1, 0), 1);
    muster_result_free(result);
}

static void a_handle_may_be_given_up_before_the_outcome(void **state)
{
    muster_result_free(call(*state));
    fake_done_int(0, 1);
    assert_int_equal(muster_apply_async(*state, "f", MUSTER_NO_ARGS, NULL, NULL), 0);
    fake_done_int(1, 1);
    muster_stats stats;
    muster_pool_stats(*state, &stats);
    assert_int_equal(stats.succeeded, 2);
    muster_result_free(NULL);
}

static void a_cancel_is_asked_for_and_the_outcome_still_arrives(void **state)
{
    muster_result *result = call(*state);
    assert_int_equal(muster_cancel(result), 0);
    assert_int_equal(fake->cancelled, 1);
    assert_int_equal(fake->last_cancelled, fake_number(0));
    assert_false(muster_ready(result));
    fake_fail(0, MUSTER_ECANCELED, "", "cancelled", 0);
    assert_int_equal(muster_get(result, 0, NULL), MUSTER_ECANCELED);
    assert_int_equal(muster_cancel(result), 0);
    muster_result_free(result);
}

/* --- maps --------------------------------------------------------------------------------------------------------- */

static muster_result *map(muster_pool *pool, size_t count, size_t chunk)
{
    muster_value items[64];
    muster_result *result = NULL;
    for (size_t i = 0; i < count; i++)
        items[i] = muster_int((int64_t)i);
    muster_options options = {.chunk_size = chunk};
    assert_int_equal(muster_map_async(pool, "f", items, count, &options, &result), 0);
    return result;
}

static void a_map_is_cut_into_chunks(void **state)
{
    muster_result *result = map(*state, 7, 3);
    assert_int_equal(fake_submitted(), 3);
    assert_int_equal(fake->tasks[0].items, 3);
    assert_int_equal(fake->tasks[2].items, 1);
    assert_memory_equal(fake->tasks[1].args, "\x93\x91\x03\x91\x04\x91\x05", 7);
    assert_int_equal(muster_result_count(result), 7);
    muster_result_free(result);
}

static void four_chunks_a_worker_are_the_automatic_choice(void **state)
{
    muster_result_free(map(*state, 40, 0));
    assert_int_equal(fake_submitted(), 8);
    assert_int_equal(fake->tasks[0].items, 5);
}

static void big_items_make_small_chunks(void **state)
{
    static char block[100000];
    muster_value items[40];
    muster_result *result;
    for (size_t i = 0; i < 40; i++)
        items[i] = muster_bytes(block, sizeof block);
    assert_int_equal(muster_map_async(*state, "f", items, 40, NULL, &result), 0);
    assert_int_equal(fake_submitted(), 20);
    assert_int_equal(fake->tasks[0].items, 2);
    muster_result_free(result);
}

static void values_and_failures_of_items_come_back_in_order(void **state)
{
    static const char first[] = "\x92\x92\x00\xa3one\x92\x00\xc3";
    static const char second[] = "\x92\x96\x07\xaaValueError\xa3"
                                 "bad\xa2tb\x02\xc4\x02pp\x92\x00\xcb\x3f\xe0\x00\x00\x00\x00\x00\x00";
    muster_result *result = map(*state, 4, 2);
    fake_done_bytes(1, MUSTER_MSGPACK, second, sizeof second - 1);
    assert_false(muster_ready(result));
    fake_done_bytes(0, MUSTER_MSGPACK, first, sizeof first - 1);
    assert_true(muster_ready(result));
    assert_false(muster_successful(result));
    assert_int_equal(muster_get(result, 0, NULL), MUSTER_ETASK);
    assert_memory_equal(muster_result_value(result, 0)->data, "one", 3);
    assert_true(muster_result_value(result, 1)->boolean);
    assert_null(muster_result_value(result, 2));
    assert_true(muster_result_value(result, 3)->real == 0.5);
    const muster_error *error = muster_result_error(result, 2);
    assert_string_equal(error->kind, "ValueError");
    assert_string_equal(error->message, "bad");
    assert_string_equal(error->traceback, "tb");
    assert_int_equal(error->encoding, MUSTER_PICKLE);
    assert_int_equal(error->value_size, 2);
    assert_memory_equal(error->value, "pp", 2);
    assert_int_equal(error->item, 2);
    assert_ptr_equal(muster_result_error(result, SIZE_MAX), error);
    muster_result_free(result);
}

static void all_items_of_a_lost_chunk_say_which_one_was_running(void **state)
{
    muster_result *result = map(*state, 6, 3);
    fake_fail(1, MUSTER_ELOST, "", "gone", 2);
    fake_done_bytes(0, MUSTER_MSGPACK, "\x93\x92\x00\x01\x92\x00\x02\x92\x00\x03", 10);
    assert_int_equal(muster_get(result, 0, NULL), MUSTER_ELOST);
    for (size_t i = 3; i < 6; i++)
        assert_int_equal(muster_result_error(result, i)->item, 5);
    assert_int_equal(muster_result_value(result, 2)->integer, 3);
    muster_result_free(result);
}

static void a_chunk_with_bytes_that_are_no_chunk_fails(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
    } bad[] = {{"\x01", 1},
               {"\x91\x92\x00\x01", 4},
               {"\x92\x92\x00\x01\x92\x00", 6},
               {"\x92\x92\x00\x01\x93\x00\x01\x02", 8},
               {"\x92\x92\x00\x01\x92\x00\x01\x00", 8},
               {"\x92\x92\x00\x01\x94\x07\x01\x02\x03", 9},
               {"", 0}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        muster_result *result = map(*state, 2, 2);
        fake_done_bytes(i, MUSTER_MSGPACK, bad[i].bytes, bad[i].size);
        assert_int_equal(muster_get(result, 0, NULL), MUSTER_EENCODING);
        assert_int_equal(muster_result_error(result, 1)->status, MUSTER_EENCODING);
        muster_result_free(result);
    }
}

static void an_item_of_a_chunk_may_be_opaque(void **state)
{
    muster_result *result = map(*state, 2, 2);
    fake_done_bytes(0, MUSTER_MSGPACK, "\x92\x93\x00\xc4\x01p\x02\x92\x00\x01", 10);
    assert_int_equal(muster_get(result, 0, NULL), 0);
    const muster_value *value = muster_result_value(result, 0);
    assert_int_equal(value->type, MUSTER_TYPE_OPAQUE);
    assert_int_equal(value->encoding, MUSTER_PICKLE);
    assert_memory_equal(value->data, "p", 1);
    assert_int_equal(muster_result_value(result, 1)->integer, 1);
    muster_result_free(result);
}

static void a_map_of_nothing_succeeds_at_once(void **state)
{
    muster_result *result = map(*state, 0, 0);
    assert_int_equal(muster_get(result, 0, NULL), 0);
    assert_int_equal(muster_result_count(result), 0);
    assert_int_equal(fake_submitted(), 0);
    muster_result_free(result);
}

static void one_bad_item_submits_nothing(void **state)
{
    muster_result *result;
    muster_value items[] = {muster_int(1), muster_msgpack("\xc1", 1)};
    muster_options options = {.chunk_size = 1};
    assert_int_equal(muster_map_async(*state, "f", items, 2, &options, &result), MUSTER_EENCODING);
    assert_null(result);
    assert_int_equal(fake_submitted(), 0);
}

static void opaque_items_are_tasks_of_their_own(void **state)
{
    muster_result *result;
    muster_value items[] = {muster_opaque(MUSTER_PICKLE, "a", 1), muster_opaque(MUSTER_PICKLE, "b", 1), muster_int(3)};
    muster_options options = {.chunk_size = 3};
    assert_int_equal(muster_map_async(*state, "f", items, 3, &options, &result), 0);
    assert_int_equal(fake_submitted(), 3);
    assert_int_equal(fake->tasks[0].items, 0);
    assert_int_equal(fake->tasks[1].encoding, MUSTER_PICKLE);
    assert_int_equal(fake->tasks[2].items, 1);
    fake_done_bytes(0, MUSTER_PICKLE, "x", 1);
    fake_done_bytes(1, MUSTER_PICKLE, "y", 1);
    fake_done_bytes(2, MUSTER_MSGPACK, "\x91\x92\x00\x09", 4);
    assert_int_equal(muster_get(result, 0, NULL), 0);
    assert_memory_equal(muster_result_value(result, 1)->data, "y", 1);
    assert_int_equal(muster_result_value(result, 2)->integer, 9);
    muster_result_free(result);
}

static void a_starmap_has_an_argument_list_for_each_call(void **state)
{
    muster_result *result;
    muster_args calls[] = {MUSTER_ARGS(muster_int(1), muster_int(2)), MUSTER_NO_ARGS};
    muster_options options = {.chunk_size = 2};
    assert_int_equal(muster_starmap_async(*state, "f", calls, 2, &options, &result), 0);
    assert_memory_equal(fake->tasks[0].args, "\x92\x92\x01\x02\x90", 5);
    muster_result_free(result);
}

/* --- memory ------------------------------------------------------------------------------------------------------- */

static bool fail_all(void)
{
    return true;
}

static void an_outcome_that_finds_no_memory_is_still_an_outcome(void **state)
{
    muster_result *text = call(*state), *failure = call(*state);
    memory_fail_hook = fail_all;
    fake_done_bytes(0, MUSTER_MSGPACK, "\xa1x", 2);
    fake_fail(1, MUSTER_ETASK, "K", "m", 0);
    memory_fail_hook = NULL;
    assert_int_equal(muster_get(text, 0, NULL), MUSTER_ENOMEM);
    assert_int_equal(muster_get(failure, 0, NULL), MUSTER_ENOMEM);
    assert_non_null(muster_result_error(text, 0)->message);
    muster_result_free(text);
    muster_result_free(failure);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fake_setup, fake_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_value_is_there_when_the_result_is_ready),
        TEST(the_arguments_are_a_msgpack_array),
        TEST(strings_containers_and_opaque_values_live_as_long_as_the_result),
        TEST(an_error_says_everything_that_is_known),
        TEST(an_error_has_the_value_that_came_with_it),
        TEST(a_descriptor_becomes_readable),
        TEST(a_handle_may_be_given_up_before_the_outcome),
        TEST(a_cancel_is_asked_for_and_the_outcome_still_arrives),
        TEST(a_map_is_cut_into_chunks),
        TEST(four_chunks_a_worker_are_the_automatic_choice),
        TEST(big_items_make_small_chunks),
        TEST(values_and_failures_of_items_come_back_in_order),
        TEST(all_items_of_a_lost_chunk_say_which_one_was_running),
        TEST(a_chunk_with_bytes_that_are_no_chunk_fails),
        TEST(an_item_of_a_chunk_may_be_opaque),
        TEST(a_map_of_nothing_succeeds_at_once),
        TEST(one_bad_item_submits_nothing),
        TEST(opaque_items_are_tasks_of_their_own),
        TEST(a_starmap_has_an_argument_list_for_each_call),
        TEST(an_outcome_that_finds_no_memory_is_still_an_outcome),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
