/*
 * Counters in the coordinator.
 */
#include "object_fixture.h"

static void add(struct fake *fake, uint64_t counter, uint64_t call, int64_t amount)
{
    struct message message = {.type = MESSAGE_COUNTER_ADD};
    message.counter_add = (struct message_counter_add){counter, call, (uint64_t)amount, {}};
    tell(fake, message);
}

static void swap(struct fake *fake, uint64_t counter, uint64_t call, int64_t expected, int64_t value)
{
    struct message message = {.type = MESSAGE_COUNTER_SET};
    message.counter_set =
        (struct message_counter_set){counter, call, COUNTER_IF_EQUAL, (uint64_t)value, (uint64_t)expected, {}};
    tell(fake, message);
}

static void wait_for_change(struct fake *fake, uint64_t counter, uint64_t call, uint64_t flags, int64_t known)
{
    struct message message = {.type = MESSAGE_COUNTER_WAIT};
    message.counter_wait = (struct message_counter_wait){counter, call, flags, (uint64_t)known, {}};
    tell(fake, message);
}

static void expect_number(struct fake *fake, uint64_t call, int status, int64_t value)
{
    assert_int_equal((int64_t)expect_answer(fake, call, status).object_answer.number, value);
}

static void everybody_adds_to_the_same_number(void **state)
{
    (void)state;
    struct fake *a = user_up(1), *b = user_up(2);
    uint64_t counter = open_object(a, OBJECT_COUNTER, "n", (uint64_t)-3, 0);
    open_object(b, OBJECT_COUNTER, "n", 7, 0);
    add(a, counter, 4, 5);
    expect_number(a, 4, 0, 2);
    add(b, counter, 4, -10);
    expect_number(b, 4, 0, -8);
    add(b, counter, 0, 8);
    add(a, counter, 5, 0);
    expect_number(a, 5, 0, 0);
    expect_nothing(b);
}

static void a_swap_happens_only_if_nothing_has_changed(void **state)
{
    (void)state;
    struct fake *a = user_up(1);
    uint64_t counter = open_object(a, OBJECT_COUNTER, "", 7, 0);
    swap(a, counter, 4, 6, 1);
    expect_number(a, 4, MUSTER_EAGAIN, 7);
    swap(a, counter, 5, 7, 1);
    expect_number(a, 5, 0, 1);
    struct message set = {.type = MESSAGE_COUNTER_SET, .counter_set = {.object = counter, .call = 6, .value = 9}};
    tell(a, set);
    expect_number(a, 6, 0, 9);
}

static void who_watches_learns_of_another_value(void **state)
{
    (void)state;
    struct fake *a = user_up(1), *b = user_up(2);
    uint64_t counter = open_object(a, OBJECT_COUNTER, "n", 0, 0);
    open_object(b, OBJECT_COUNTER, "n", 0, 0);
    wait_for_change(b, counter, 4, 0, 5);
    expect_number(b, 4, 0, 0);
    wait_for_change(b, counter, 5, OBJECT_NO_WAIT, 0);
    expect_number(b, 5, MUSTER_EAGAIN, 0);
    wait_for_change(b, counter, 6, 0, 0);
    add(a, counter, 0, 0);
    expect_nothing(b);
    add(a, counter, 0, 1);
    expect_number(b, 6, 0, 1);
    wait_for_change(b, counter, 7, 0, 1);
    withdraw(b, 7);
    expect_answer(b, 7, MUSTER_ETIMEDOUT);
    wait_for_change(b, counter, 8, 0, 1);
    disconnect(b, false);
    assert_int_equal(object_counts().waiters, 0);
    wait_for_change(a, counter, 8, 0, 1);
    delete_object(a, 9, "n");
    expect_answer(a, 8, MUSTER_ENOOBJECT);
}

static void bad_messages_about_counters_close_their_session(void **state)
{
    (void)state;
    struct fake *a = user_up(1);
    uint64_t counter = open_object(a, OBJECT_COUNTER, "", 2, 0);
    struct message messages[] = {{.type = MESSAGE_COUNTER_WAIT, .counter_wait = {.object = counter}},
                                 {.type = MESSAGE_EVENT_SET, .event_set = {.object = counter}}};
    for (size_t i = 0; i < sizeof messages / sizeof *messages; i++)
        assert_int_equal(tell_status(a, &messages[i]), MUSTER_EPROTOCOL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(everybody_adds_to_the_same_number),
        TEST(a_swap_happens_only_if_nothing_has_changed),
        TEST(who_watches_learns_of_another_value),
        TEST(bad_messages_about_counters_close_their_session),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
