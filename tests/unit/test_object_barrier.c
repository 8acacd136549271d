/*
 * Barriers in the coordinator.
 */
#include "object_fixture.h"

static void wait_at(struct fake *fake, uint64_t barrier, uint64_t call)
{
    struct message message = {.type = MESSAGE_BARRIER_WAIT};
    message.barrier_wait = (struct message_barrier_wait){barrier, call, {}};
    tell(fake, message);
}

static void reset(struct fake *fake, uint64_t barrier, uint64_t broken)
{
    struct message message = {.type = MESSAGE_BARRIER_RESET};
    message.barrier_reset = (struct message_barrier_reset){barrier, 0, broken, {}};
    tell(fake, message);
}

static uint64_t three_at(struct fake *fakes[3])
{
    uint64_t barrier = 0;
    for (unsigned i = 0; i < 3; i++) {
        fakes[i] = user_up(1 + i);
        barrier = open_object(fakes[i], OBJECT_BARRIER, "three", 3, 0);
    }
    return barrier;
}

static void all_parties_go_on_together_and_know_which_they_are(void **state)
{
    (void)state;
    struct fake *fakes[3];
    uint64_t barrier = three_at(fakes);
    for (unsigned round = 0; round < 2; round++) {
        wait_at(fakes[0], barrier, 4);
        wait_at(fakes[1], barrier, 4);
        expect_nothing(fakes[0]);
        wait_at(fakes[2], barrier, 4);
        for (unsigned i = 0; i < 3; i++)
            assert_int_equal(expect_answer(fakes[i], 4, 0).object_answer.number, i);
    }
}

static void who_gives_up_breaks_it_for_all(void **state)
{
    (void)state;
    struct fake *fakes[3];
    uint64_t barrier = three_at(fakes);
    wait_at(fakes[0], barrier, 4);
    wait_at(fakes[1], barrier, 4);
    withdraw(fakes[1], 4);
    expect_answer(fakes[1], 4, MUSTER_ETIMEDOUT);
    expect_answer(fakes[0], 4, MUSTER_EBROKEN);
    wait_at(fakes[2], barrier, 4);
    expect_answer(fakes[2], 4, MUSTER_EBROKEN);
    reset(fakes[0], barrier, 0);
    wait_at(fakes[2], barrier, 5);
    expect_nothing(fakes[2]);
    reset(fakes[0], barrier, 1);
    expect_answer(fakes[2], 5, MUSTER_EBROKEN);
    wait_at(fakes[2], barrier, 6);
    expect_answer(fakes[2], 6, MUSTER_EBROKEN);
}

static void a_death_breaks_it_if_anybody_waits(void **state)
{
    (void)state;
    struct fake *fakes[3];
    uint64_t barrier = three_at(fakes);
    struct fake *fourth = user_up(9);
    open_object(fourth, OBJECT_BARRIER, "three", 0x7fffffff, 0);
    disconnect(fourth, false); /* nobody waits */
    wait_at(fakes[0], barrier, 4);
    disconnect(fakes[1], true); /* it has said goodbye */
    expect_nothing(fakes[0]);
    disconnect(fakes[2], false);
    expect_answer(fakes[0], 4, MUSTER_EBROKEN);
}

static void the_death_of_one_that_waits_breaks_it_for_the_others(void **state)
{
    (void)state;
    struct fake *fakes[3];
    uint64_t barrier = three_at(fakes);
    wait_at(fakes[0], barrier, 4);
    wait_at(fakes[1], barrier, 4);
    disconnect(fakes[1], false);
    expect_answer(fakes[0], 4, MUSTER_EBROKEN);
}

static void parties_have_a_limit(void **state)
{
    (void)state;
    struct fake *a = user_up(1);
    tell(a, open_message(4, OBJECT_BARRIER, "", OBJECT_CREATE, 0, 0));
    expect_answer(a, 4, MUSTER_EINVAL);
    tell(a, open_message(5, OBJECT_BARRIER, "", OBJECT_CREATE, (uint64_t)PERMITS_LIMIT + 1, 0));
    expect_answer(a, 5, MUSTER_EINVAL);
    uint64_t barrier = open_object(a, OBJECT_BARRIER, "", 1, 0);
    wait_at(a, barrier, 6);
    expect_answer(a, 6, 0);
}

static void a_deleted_barrier_lets_everybody_go(void **state)
{
    (void)state;
    struct fake *fakes[3];
    uint64_t barrier = three_at(fakes);
    wait_at(fakes[0], barrier, 4);
    delete_object(fakes[1], 4, "three");
    expect_answer(fakes[0], 4, MUSTER_ENOOBJECT);
}

static void bad_messages_about_barriers_close_their_session(void **state)
{
    (void)state;
    struct fake *a = user_up(1);
    uint64_t barrier = open_object(a, OBJECT_BARRIER, "", 2, 0);
    struct message messages[] = {{.type = MESSAGE_BARRIER_WAIT, .barrier_wait = {.object = barrier}},
                                 {.type = MESSAGE_BARRIER_ASK, .barrier_ask = {.object = barrier}},
                                 {.type = MESSAGE_EVENT_SET, .event_set = {.object = barrier}}};
    for (size_t i = 0; i < sizeof messages / sizeof *messages; i++)
        assert_int_equal(tell_status(a, &messages[i]), MUSTER_EPROTOCOL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_parties_go_on_together_and_know_which_they_are),
        TEST(who_gives_up_breaks_it_for_all),
        TEST(a_death_breaks_it_if_anybody_waits),
        TEST(the_death_of_one_that_waits_breaks_it_for_the_others),
        TEST(parties_have_a_limit),
        TEST(a_deleted_barrier_lets_everybody_go),
        TEST(bad_messages_about_barriers_close_their_session),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
