/*
 * Events in the coordinator.
 */
#include "object_fixture.h"

static void wait_for(struct fake *fake, uint64_t event, uint64_t call, uint64_t flags)
{
    struct message message = {.type = MESSAGE_EVENT_WAIT};
    message.event_wait = (struct message_event_wait){event, call, flags, {}};
    tell(fake, message);
}

static void set(struct fake *fake, uint64_t event, uint64_t value)
{
    struct message message = {.type = MESSAGE_EVENT_SET};
    message.event_set = (struct message_event_set){event, 9, value, {}};
    tell(fake, message);
    expect_answer(fake, 9, 0);
}

static void everybody_who_waits_goes_on_when_it_is_set(void **state)
{
    (void)state;
    struct fake *a = user_up(1), *b = user_up(2), *c = user_up(3);
    uint64_t event = open_object(a, OBJECT_EVENT, "go", 0, 0);
    open_object(b, OBJECT_EVENT, "go", 0, 0);
    open_object(c, OBJECT_EVENT, "go", 0, 0);
    wait_for(a, event, 4, 0);
    wait_for(b, event, 4, 0);
    expect_nothing(a);
    set(c, event, 1);
    expect_answer(a, 4, 0);
    expect_answer(b, 4, 0);
    wait_for(a, event, 5, 0);
    expect_answer(a, 5, 0);
    set(c, event, 0);
    wait_for(a, event, 6, 0);
    expect_nothing(a);
}

static void a_wait_can_look_only_or_be_withdrawn(void **state)
{
    (void)state;
    struct fake *a = user_up(1);
    uint64_t event = open_object(a, OBJECT_EVENT, "", 0, 0);
    wait_for(a, event, 4, OBJECT_NO_WAIT);
    expect_answer(a, 4, MUSTER_EAGAIN);
    wait_for(a, event, 5, 0);
    withdraw(a, 5);
    expect_answer(a, 5, MUSTER_ETIMEDOUT);
    set(a, event, 1);
    expect_nothing(a);
    wait_for(a, event, 6, OBJECT_NO_WAIT);
    expect_answer(a, 6, 0);
}

static void an_event_can_be_set_from_the_beginning(void **state)
{
    (void)state;
    struct fake *a = user_up(1);
    uint64_t event = open_object(a, OBJECT_EVENT, "", 1, 0);
    wait_for(a, event, 4, OBJECT_NO_WAIT);
    expect_answer(a, 4, 0);
}

static void the_dead_do_not_wait(void **state)
{
    (void)state;
    struct fake *a = user_up(1), *b = user_up(2);
    uint64_t event = open_object(a, OBJECT_EVENT, "go", 0, 0);
    open_object(b, OBJECT_EVENT, "go", 0, 0);
    wait_for(a, event, 4, 0);
    disconnect(a, false);
    assert_int_equal(object_counts().waiters, 0);
    wait_for(b, event, 4, 0);
    delete_object(b, 5, "go");
    expect_answer(b, 4, MUSTER_ENOOBJECT);
}

static void bad_messages_about_events_close_their_session(void **state)
{
    (void)state;
    struct fake *a = user_up(1);
    uint64_t event = open_object(a, OBJECT_EVENT, "", 0, 0);
    struct message messages[] = {{.type = MESSAGE_EVENT_WAIT, .event_wait = {.object = event}},
                                 {.type = MESSAGE_QUEUE_GET, .queue_get = {.object = event, .call = 4, .count = 1}}};
    for (size_t i = 0; i < sizeof messages / sizeof *messages; i++)
        assert_int_equal(tell_status(a, &messages[i]), MUSTER_EPROTOCOL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(everybody_who_waits_goes_on_when_it_is_set),    TEST(a_wait_can_look_only_or_be_withdrawn),
        TEST(an_event_can_be_set_from_the_beginning),        TEST(the_dead_do_not_wait),
        TEST(bad_messages_about_events_close_their_session),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
