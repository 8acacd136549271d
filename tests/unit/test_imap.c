/*
 * Lazy iteration against a coordinator that the test plays: what is sent when, and what is delivered when.
 */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/unit/fake_pool.h"

/* A generator over a few values. */
struct items {
    const muster_value *values;
    size_t count, next;
};

static int next_item(muster_value *item, void *arg)
{
    struct items *items = arg;
    if (items->next == items->count)
        return 0;
    *item = items->values[items->next++];
    return 1;
}

static const muster_value numbers[] = {{.type = MUSTER_TYPE_INT, .integer = 0}, {.type = MUSTER_TYPE_INT, .integer = 1},
                                       {.type = MUSTER_TYPE_INT, .integer = 2}, {.type = MUSTER_TYPE_INT, .integer = 3},
                                       {.type = MUSTER_TYPE_INT, .integer = 4}, {.type = MUSTER_TYPE_INT, .integer = 5},
                                       {.type = MUSTER_TYPE_INT, .integer = 6}};
#define NUMBERS(n) ((struct items){.values = numbers, .count = (n)})

static muster_iterator *iterate(muster_pool *pool, bool ordered, struct items *items, const muster_options *options)
{
    muster_iterator *iterator = NULL;
    int status = (ordered ? muster_imap : muster_imap_unordered)(pool, "f", next_item, items, options, &iterator);
    assert_int_equal(status, 0);
    return iterator;
}

static void the_default_window_is_twice_the_workers(void **state)
{
    struct items items = NUMBERS(7);
    muster_iterator *iterator = iterate(*state, true, &items, NULL);
    assert_int_equal(items.next, 4);
    assert_int_equal(fake_submitted(), 4);
    assert_int_equal(fake->tasks[0].items, 0);
    muster_iterator_free(iterator);
}

static void ordered_items_wait_for_those_before_them(void **state)
{
    struct items items = NUMBERS(3);
    muster_item item;
    muster_iterator *iterator = iterate(*state, true, &items, NULL);
    fake_done_int(1, 11);
    assert_int_equal(muster_next(iterator, 0, &item), MUSTER_ETIMEDOUT);
    fake_done_int(0, 10);
    assert_int_equal(muster_next(iterator, 0, &item), 1);
    assert_int_equal(item.value->integer, 10);
    assert_int_equal(muster_next(iterator, 0, &item), 1);
    assert_int_equal(item.value->integer, 11);
    assert_int_equal(item.index, 1);
    assert_int_equal(muster_next(iterator, 0, &item), MUSTER_ETIMEDOUT);
    fake_fail(2, MUSTER_ETASK, "K", "no", 0);
    assert_int_equal(muster_next(iterator, 0, &item), 1);
    assert_null(item.value);
    assert_int_equal(item.error->item, 2);
    assert_int_equal(muster_next(iterator, 0, &item), 0);
    muster_iterator_free(iterator);
}

static void unordered_items_come_in_the_order_of_completion(void **state)
{
    struct items items = NUMBERS(3);
    muster_item item;
    muster_iterator *iterator = iterate(*state, false, &items, NULL);
    fake_done_int(2, 12);
    fake_done_int(0, 10);
    assert_int_equal(muster_next(iterator, 0, &item), 1);
    assert_int_equal(item.index, 2);
    assert_int_equal(muster_next(iterator, 0, &item), 1);
    assert_int_equal(item.index, 0);
    fake_done_int(1, 11);
    assert_int_equal(muster_next(iterator, 0, &item), 1);
    assert_int_equal(muster_next(iterator, 0, &item), 0);
    muster_iterator_free(iterator);
}

static void the_window_has_room_for_whole_chunks(void **state)
{
    struct items items = NUMBERS(7);
    muster_item item;
    muster_iterator *iterator = iterate(*state, true, &items, &(muster_options){.chunk_size = 2, .window = 5});
    assert_int_equal(fake_submitted(), 2);
    assert_int_equal(fake->tasks[0].items, 2);
    fake_done_bytes(0, MUSTER_MSGPACK, "\x92\x92\x00\x0a\x92\x00\x0b", 7);
    assert_int_equal(muster_next(iterator, 0, &item), 1);
    assert_int_equal(fake_submitted(), 2);
    assert_int_equal(muster_next(iterator, 0, &item), 1);
    assert_int_equal(item.value->integer, 11);
    assert_int_equal(fake_submitted(), 3);
    assert_int_equal(muster_next(iterator, 0, &item), MUSTER_ETIMEDOUT);
    assert_memory_equal(fake->tasks[2].args, "\x92\x91\x04\x91\x05", 5);
    fake_done_bytes(1, MUSTER_MSGPACK, "\x92\x92\x00\x0c\x92\x00\x0d", 7);
    fake_done_bytes(2, MUSTER_MSGPACK, "\x92\x92\x00\x0e\x92\x00\x0f", 7);
    for (int64_t value = 12; value < 16; value++) {
        assert_int_equal(muster_next(iterator, 0, &item), 1);
        assert_int_equal(item.value->integer, value);
    }
    assert_int_equal(fake_submitted(), 4);
    assert_int_equal(fake->tasks[3].items, 1);
    fake_done_bytes(3, MUSTER_MSGPACK, "\x91\x92\x00\x10", 4);
    assert_int_equal(muster_next(iterator, 0, &item), 1);
    assert_int_equal(item.index, 6);
    assert_int_equal(muster_next(iterator, 0, &item), 0);
    muster_iterator_free(iterator);
}

static void an_item_that_cannot_be_sent_is_a_failed_item_in_its_place(void **state)
{
    const muster_value values[] = {numbers[0], muster_msgpack("\xc1", 1), numbers[2],
                                   muster_opaque(MUSTER_PICKLE, "p", 1)};
    struct items items = {.values = values, .count = 4};
    muster_item item;
    muster_iterator *iterator = iterate(*state, true, &items, &(muster_options){.chunk_size = 4, .window = 4});
    assert_int_equal(fake_submitted(), 3);
    assert_int_equal(fake->tasks[2].encoding, MUSTER_PICKLE);
    fake_done_bytes(0, MUSTER_MSGPACK, "\x91\x92\x00\x0a", 4);
    fake_done_bytes(1, MUSTER_MSGPACK, "\x91\x92\x00\x0c", 4);
    fake_done_bytes(2, MUSTER_PICKLE, "q", 1);
    for (uint64_t i = 0; i < 4; i++) {
        assert_int_equal(muster_next(iterator, 0, &item), 1);
        assert_int_equal(item.index, i);
        assert_true((item.error != NULL) == (i == 1));
    }
    assert_int_equal(muster_next(iterator, 0, &item), 0);
    muster_iterator_free(iterator);
}

static int setup_window_of_two(void **state)
{
    return fake_setup_with(state, &(muster_pool_options){.window_tasks = 2});
}

static void items_wait_for_room_in_the_pools_window(void **state)
{
    struct items items = NUMBERS(7);
    muster_item item;
    muster_iterator *iterator = iterate(*state, false, &items, NULL);
    assert_int_equal(fake_submitted(), 2);
    for (size_t i = 0; i < 7; i++) {
        fake_done_int(i, (int64_t)i);
        assert_int_equal(muster_next(iterator, 5, &item), 1);
        assert_int_equal(item.value->integer, i);
    }
    assert_int_equal(muster_next(iterator, 0, &item), 0);
    assert_int_equal(fake_submitted(), 7);
    muster_iterator_free(iterator);
}

static void another_callers_outcome_makes_room_too(void **state)
{
    struct items items = NUMBERS(2);
    muster_item item;
    muster_result *first, *second;
    assert_int_equal(muster_apply_async(*state, "f", MUSTER_NO_ARGS, NULL, &first), 0);
    assert_int_equal(muster_apply_async(*state, "f", MUSTER_NO_ARGS, NULL, &second), 0);
    muster_iterator *iterator = iterate(*state, true, &items, NULL);
    struct pollfd ready = {.fd = muster_iterator_fd(iterator), .events = POLLIN};
    assert_int_equal(fake_submitted(), 2);
    assert_int_equal(poll(&ready, 1, 0), 0);
    fake_done_int(0, 1);
    assert_int_equal(poll(&ready, 1, 0), 1);
    assert_int_equal(muster_next(iterator, 0, &item), MUSTER_ETIMEDOUT);
    assert_int_equal(fake_submitted(), 3);
    assert_int_equal(poll(&ready, 1, 0), 0);
    muster_result_free(first);
    muster_result_free(second);
    muster_iterator_free(iterator);
}

static void chunks_that_were_never_sent_end_with_the_pool(void **state)
{
    struct items items = NUMBERS(7);
    muster_item item;
    int status, delivered = 0;
    muster_iterator *iterator = iterate(*state, true, &items, NULL);
    muster_pool_terminate(*state);
    for (; (status = muster_next(iterator, 0, &item)) == 1; delivered++)
        assert_int_equal(item.error->status, MUSTER_ECLOSED);
    assert_int_equal(status, MUSTER_ECLOSED);
    assert_int_equal(delivered, items.next);
    muster_iterator_free(iterator);
}

static void freeing_cancels_what_was_sent_and_drops_what_was_not(void **state)
{
    struct items items = NUMBERS(7);
    muster_iterator *iterator = iterate(*state, true, &items, NULL);
    muster_iterator_free(iterator);
    assert_int_equal(fake->cancelled, 2);
    fake_fail(0, MUSTER_ECANCELED, "", "", 0);
    fake_done_int(1, 1);
    muster_iterator_free(NULL);
}

static void nonsense_is_refused(void **state)
{
    muster_iterator *iterator;
    muster_item item;
    assert_int_equal(muster_imap(*state, "f", NULL, NULL, NULL, &iterator), MUSTER_EINVAL);
    assert_int_equal(muster_imap(NULL, "f", next_item, NULL, NULL, &iterator), MUSTER_EINVAL);
    assert_int_equal(muster_next(NULL, 0, &item), MUSTER_EINVAL);
    assert_int_equal(muster_iterator_fd(NULL), MUSTER_EINVAL);
    muster_pool_close(*state);
    assert_int_equal(muster_imap(*state, "f", next_item, NULL, NULL, &iterator), MUSTER_ECLOSED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fake_setup, fake_teardown)
#define TEST_WINDOW(name) cmocka_unit_test_setup_teardown(name, setup_window_of_two, fake_teardown)

static void an_iteration_keeps_its_definition(void **state)
{
    muster_pool *pool = *state;
    client_coordinator_limits(pool->client, 0, 0, DEFINITION_COST_BYTES + 100);
    muster_definition *definition, *other;
    assert_int_equal(muster_define(pool, "f", "body", 4, NULL, &definition), 0);
    struct items items = NUMBERS(7);
    const muster_options options = {.definition = definition, .window = 2};
    muster_iterator *iterator;
    muster_item item;
    assert_int_equal(muster_imap(pool, NULL, next_item, &items, &options, &iterator), 0);
    muster_definition_free(definition);
    fake_done_int(0, 1);
    fake_done_int(1, 1);
    assert_int_equal(muster_define(pool, "f", "other body", 10, NULL, &other), MUSTER_ELIMIT);
    assert_int_equal(muster_next(iterator, 0, &item), 1);
    assert_int_equal(fake->defined, 1);
    muster_iterator_free(iterator);
    for (size_t i = 0; i < fake_submitted(); i++)
        fake_done_int(i, 1);
    assert_int_equal(muster_define(pool, "f", "other body", 10, NULL, &other), 0);
    muster_definition_free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_default_window_is_twice_the_workers),
        TEST(ordered_items_wait_for_those_before_them),
        TEST(unordered_items_come_in_the_order_of_completion),
        TEST(the_window_has_room_for_whole_chunks),
        TEST(an_item_that_cannot_be_sent_is_a_failed_item_in_its_place),
        TEST_WINDOW(items_wait_for_room_in_the_pools_window),
        TEST_WINDOW(another_callers_outcome_makes_room_too),
        TEST_WINDOW(chunks_that_were_never_sent_end_with_the_pool),
        TEST_WINDOW(freeing_cancels_what_was_sent_and_drops_what_was_not),
        TEST(an_iteration_keeps_its_definition),
        TEST(nonsense_is_refused),
    };
    alarm(50);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
