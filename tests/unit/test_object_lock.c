/*
 * Locks and semaphores in the coordinator.
 */
#include "memory_failures.h"
#include "object_fixture.h"

static uint64_t open_lock(struct fake *fake, const char *name)
{
    return open_object(fake, OBJECT_LOCK, name, 0, 0);
}

static struct message acquire_message(uint64_t lock, uint64_t call, uint64_t flags, uint64_t owner, uint64_t mode)
{
    struct message message = {.type = MESSAGE_LOCK_ACQUIRE};
    message.lock_acquire = (struct message_lock_acquire){lock, call, flags, owner, mode, {}};
    return message;
}

static void acquire(struct fake *fake, uint64_t lock, uint64_t call)
{
    tell(fake, acquire_message(lock, call, 0, 0, LOCK_ALONE));
}

static void acquire_shared(struct fake *fake, uint64_t lock, uint64_t call)
{
    tell(fake, acquire_message(lock, call, 0, 0, LOCK_SHARED));
}

static struct message release_message(uint64_t lock, uint64_t call, uint64_t flags, uint64_t owner, uint64_t count)
{
    struct message message = {.type = MESSAGE_LOCK_RELEASE};
    message.lock_release = (struct message_lock_release){lock, call, flags, owner, count, {}};
    return message;
}

static void release(struct fake *fake, uint64_t lock)
{
    tell(fake, release_message(lock, 0, 0, 0, 1));
}

/* The call was granted; gives the number of the grant. */
static uint64_t expect_grant(struct fake *fake, uint64_t call, uint64_t abandoned)
{
    struct message_object_answer answer = expect_answer(fake, call, 0).object_answer;
    size_t count;
    uint64_t told = 0;
    assert_true(unpack_array(&answer.data, &count) && count == 1 && unpack_uint(&answer.data, &told));
    assert_int_equal(told, abandoned);
    return answer.number;
}

static void a_lock_is_held_by_one_at_a_time_in_the_order_of_asking(void **state)
{
    (void)state;
    struct fake *a = user_up(1), *b = user_up(2), *c = user_up(3);
    uint64_t lock = open_lock(a, "lock");
    open_lock(b, "lock");
    open_lock(c, "lock");
    acquire(a, lock, 4);
    uint64_t first = expect_grant(a, 4, 0);
    acquire(c, lock, 4);
    acquire(b, lock, 4);
    expect_nothing(b);
    expect_nothing(c);
    release(a, lock);
    uint64_t second = expect_grant(c, 4, 0);
    expect_nothing(b);
    release(c, lock);
    uint64_t third = expect_grant(b, 4, 0);
    assert_true(first < second && second < third);
}

static void an_acquisition_that_does_not_wait_is_refused(void **state)
{
    (void)state;
    struct fake *a = user_up(1), *b = user_up(2);
    uint64_t lock = open_lock(a, "lock");
    open_lock(b, "lock");
    acquire(a, lock, 4);
    expect_grant(a, 4, 0);
    tell(b, acquire_message(lock, 4, OBJECT_NO_WAIT, 0, LOCK_ALONE));
    expect_answer(b, 4, MUSTER_EAGAIN);
    tell(a, acquire_message(lock, 5, OBJECT_NO_WAIT, 0, LOCK_ALONE)); /* it is not reentrant */
    expect_answer(a, 5, MUSTER_EAGAIN);
}

static void the_lock_of_the_dead_is_released_and_the_next_holder_learns_it(void **state)
{
    (void)state;
    struct fake *a = user_up(1), *b = user_up(2), *c = user_up(3);
    uint64_t lock = open_lock(a, "lock");
    open_lock(b, "lock");
    open_lock(c, "lock");
    acquire(a, lock, 4);
    acquire(b, lock, 4);
    acquire(c, lock, 4);
    disconnect(a, false);
    expect_grant(b, 4, 1);
    release(b, lock);
    expect_grant(c, 4, 0);
}

static void who_waits_and_dies_is_forgotten(void **state)
{
    (void)state;
    struct fake *a = user_up(1), *b = user_up(2), *c = user_up(3);
    uint64_t lock = open_lock(a, "lock");
    open_lock(b, "lock");
    open_lock(c, "lock");
    acquire(a, lock, 4);
    acquire(b, lock, 4);
    acquire(c, lock, 4);
    disconnect(b, false);
    expect_grant(a, 4, 0);
    release(a, lock);
    expect_grant(c, 4, 0);
}

static void a_withdrawn_acquisition_holds_nothing(void **state)
{
    (void)state;
    struct fake *a = user_up(1), *b = user_up(2);
    uint64_t lock = open_lock(a, "lock");
    open_lock(b, "lock");
    acquire(a, lock, 4);
    expect_grant(a, 4, 0);
    acquire(b, lock, 4);
    withdraw(b, 4);
    expect_answer(b, 4, MUSTER_ETIMEDOUT);
    release(a, lock);
    expect_nothing(b);
    acquire(a, lock, 5);
    expect_grant(a, 5, 0);
}

static void only_the_holder_releases_unless_anybody_may(void **state)
{
    (void)state;
    struct fake *a = user_up(1), *b = user_up(2);
    uint64_t lock = open_lock(a, "lock");
    open_lock(b, "lock");
    tell(a, release_message(lock, 4, 0, 0, 1));
    expect_answer(a, 4, MUSTER_EINVAL);
    acquire(a, lock, 5);
    expect_grant(a, 5, 0);
    tell(b, release_message(lock, 4, 0, 0, 1));
    expect_answer(b, 4, MUSTER_EINVAL);
    tell(b, release_message(lock, 5, LOCK_ANYBODYS, 0, 1));
    expect_answer(b, 5, 0);
    acquire(b, lock, 6);
    expect_grant(b, 6, 0);
    tell(a, release_message(lock, 6, 0, 0, 1));
    expect_answer(a, 6, MUSTER_EINVAL);
}

static void a_reentrant_lock_is_released_as_often_as_it_was_acquired(void **state)
{
    (void)state;
    struct fake *a = user_up(1), *b = user_up(2);
    uint64_t lock = open_object(a, OBJECT_LOCK, "lock", 1, 0);
    open_lock(b, "lock");
    tell(a, acquire_message(lock, 4, 0, 77, LOCK_ALONE));
    expect_grant(a, 4, 0);
    tell(a, acquire_message(lock, 5, 0, 77, LOCK_ALONE));
    expect_grant(a, 5, 0);
    tell(a, acquire_message(lock, 6, OBJECT_NO_WAIT, 78, LOCK_ALONE)); /* another thread */
    expect_answer(a, 6, MUSTER_EAGAIN);
    acquire(b, lock, 4);
    tell(a, release_message(lock, 0, 0, 77, 1));
    expect_nothing(b);
    tell(a, release_message(lock, 0, 0, 77, 1));
    expect_grant(b, 4, 0);
}

static void readers_share_and_a_writer_that_waits_is_not_passed_over(void **state)
{
    (void)state;
    struct fake *a = user_up(1), *b = user_up(2), *writer = user_up(3), *late = user_up(4);
    uint64_t lock = open_lock(a, "lock");
    open_lock(b, "lock");
    open_lock(writer, "lock");
    open_lock(late, "lock");
    acquire_shared(a, lock, 4);
    expect_grant(a, 4, 0);
    acquire_shared(b, lock, 4);
    expect_grant(b, 4, 0);
    acquire(writer, lock, 4);
    acquire_shared(late, lock, 4);
    expect_nothing(late);
    release(a, lock);
    expect_nothing(writer);
    release(b, lock);
    expect_grant(writer, 4, 0);
    expect_nothing(late);
    release(writer, lock);
    expect_grant(late, 4, 0);
}

static void readers_go_on_when_the_writer_before_them_gives_up(void **state)
{
    (void)state;
    struct fake *a = user_up(1), *writer = user_up(2), *late = user_up(3);
    uint64_t lock = open_lock(a, "lock");
    open_lock(writer, "lock");
    open_lock(late, "lock");
    acquire_shared(a, lock, 4);
    acquire(writer, lock, 4);
    acquire_shared(late, lock, 4);
    expect_nothing(late);
    withdraw(writer, 4);
    expect_answer(writer, 4, MUSTER_ETIMEDOUT);
    expect_grant(late, 4, 0);
}

static void a_dead_reader_has_spoilt_nothing(void **state)
{
    (void)state;
    struct fake *a = user_up(1), *b = user_up(2);
    uint64_t lock = open_lock(a, "lock");
    open_lock(b, "lock");
    acquire_shared(a, lock, 4);
    acquire(b, lock, 4);
    disconnect(a, false);
    expect_grant(b, 4, 0);
}

static void a_reader_of_a_reentrant_lock_cannot_become_its_writer(void **state)
{
    (void)state;
    struct fake *a = user_up(1);
    uint64_t lock = open_object(a, OBJECT_LOCK, "lock", 1, 0);
    acquire_shared(a, lock, 4);
    expect_grant(a, 4, 0);
    acquire(a, lock, 5);
    expect_answer(a, 5, MUSTER_EINVAL);
}

/* --- semaphores --------------------------------------------------------------------------------------------------- */

static void a_semaphore_has_so_many_permits(void **state)
{
    (void)state;
    struct fake *a = user_up(1), *b = user_up(2);
    uint64_t semaphore = open_object(a, OBJECT_SEMAPHORE, "two", 2, 0);
    open_object(b, OBJECT_SEMAPHORE, "two", 0, 0);
    acquire(a, semaphore, 4);
    expect_grant(a, 4, 0);
    acquire(a, semaphore, 5);
    expect_grant(a, 5, 0);
    acquire(b, semaphore, 4);
    expect_nothing(b);
    tell(a, release_message(semaphore, 6, 0, 0, 1));
    expect_answer(a, 6, 0);
    expect_grant(b, 4, 0);
}

static void permits_of_the_dead_are_given_back(void **state)
{
    (void)state;
    struct fake *a = user_up(1), *b = user_up(2);
    uint64_t semaphore = open_object(a, OBJECT_SEMAPHORE, "three", 3, 0);
    open_object(b, OBJECT_SEMAPHORE, "three", 0, 0);
    for (uint64_t call = 4; call < 7; call++)
        acquire(a, semaphore, call);
    tell(a, release_message(semaphore, 0, 0, 0, 1));
    acquire(b, semaphore, 4);
    expect_grant(b, 4, 0);
    acquire(b, semaphore, 5);
    acquire(b, semaphore, 6);
    expect_nothing(b);
    disconnect(a, false);
    expect_grant(b, 5, 1);
    expect_grant(b, 6, 0);
    tell(b, acquire_message(semaphore, 7, OBJECT_NO_WAIT, 0, 0));
    expect_answer(b, 7, MUSTER_EAGAIN);
}

static void a_bounded_semaphore_is_not_released_too_often(void **state)
{
    (void)state;
    struct fake *a = user_up(1);
    uint64_t semaphore = open_object(a, OBJECT_SEMAPHORE, "", 1, 2);
    tell(a, release_message(semaphore, 4, 0, 0, 1));
    expect_answer(a, 4, 0);
    tell(a, release_message(semaphore, 5, 0, 0, 1));
    expect_answer(a, 5, MUSTER_EINVAL);
    uint64_t unbounded = open_object(a, OBJECT_SEMAPHORE, "", PERMITS_LIMIT, 0);
    tell(a, release_message(unbounded, 6, 0, 0, 1));
    expect_answer(a, 6, MUSTER_EINVAL);
}

static void permits_that_another_gave_back_do_not_come_again_with_a_death(void **state)
{
    (void)state;
    struct fake *a = user_up(1), *b = user_up(2);
    uint64_t semaphore = open_object(a, OBJECT_SEMAPHORE, "slots", 1, 1);
    open_object(b, OBJECT_SEMAPHORE, "slots", 1, 1);
    acquire(a, semaphore, 4);
    expect_grant(a, 4, 0);
    tell(b, release_message(semaphore, 4, 0, 0, 1));
    expect_answer(b, 4, 0);
    disconnect(a, false);
    acquire(b, semaphore, 5);
    expect_grant(b, 5, 1);
    tell(b, acquire_message(semaphore, 6, OBJECT_NO_WAIT, 0, LOCK_ALONE));
    expect_answer(b, 6, MUSTER_EAGAIN);
}

static void one_session_cannot_share_a_lock_without_end(void **state)
{
    (void)state;
    struct fake *a = user_up(1);
    uint64_t lock = open_lock(a, "lock");
    struct message share = acquire_message(lock, 4, 0, 0, LOCK_SHARED);
    const char *why;
    for (unsigned i = 0; i < 65536; i++) {
        assert_int_equal(coordinator_message(world.coordinator, &a->peer, &share, world.now_ns, &why), 0);
        expect_grant(a, 4, 0);
    }
    tell(a, share);
    expect_answer(a, 4, MUSTER_ELIMIT);
    release(a, lock);
    tell(a, share);
    expect_grant(a, 4, 0);
}

static void permits_have_a_limit(void **state)
{
    (void)state;
    struct fake *a = user_up(1);
    tell(a, open_message(4, OBJECT_SEMAPHORE, "", OBJECT_CREATE, (uint64_t)PERMITS_LIMIT + 1, 0));
    expect_answer(a, 4, MUSTER_EINVAL);
    tell(a, open_message(5, OBJECT_SEMAPHORE, "", OBJECT_CREATE, 2, 1));
    expect_answer(a, 5, MUSTER_EINVAL);
    tell(a, open_message(6, OBJECT_LOCK, "", OBJECT_CREATE, 2, 0));
    expect_answer(a, 6, MUSTER_EINVAL);
}

/* --- conditions --------------------------------------------------------------------------------------------------- */

static void sleep_on(struct fake *fake, uint64_t lock, uint64_t call, uint64_t condition)
{
    struct message message = {.type = MESSAGE_LOCK_WAIT};
    message.lock_wait = (struct message_lock_wait){lock, call, 0, condition, {}};
    tell(fake, message);
}

static void notify(struct fake *fake, uint64_t lock, uint64_t call, uint64_t condition, uint64_t count)
{
    struct message message = {.type = MESSAGE_LOCK_NOTIFY};
    message.lock_notify = (struct message_lock_notify){lock, call, 0, condition, count, {}};
    tell(fake, message);
}

static void who_sleeps_gives_the_lock_up_and_has_it_again_when_notified(void **state)
{
    (void)state;
    struct fake *a = user_up(1), *b = user_up(2);
    uint64_t lock = open_lock(a, "lock");
    open_lock(b, "lock");
    acquire(a, lock, 4);
    expect_grant(a, 4, 0);
    sleep_on(a, lock, 5, 1);
    acquire(b, lock, 4);
    expect_grant(b, 4, 0);
    notify(b, lock, 5, 2, 1); /* another condition */
    assert_int_equal(expect_answer(b, 5, 0).object_answer.number, 0);
    notify(b, lock, 6, 1, UINT64_MAX);
    assert_int_equal(expect_answer(b, 6, 0).object_answer.number, 1);
    expect_nothing(a);
    release(b, lock);
    expect_grant(a, 5, 0);
}

static void who_sleeps_too_long_has_the_lock_again_too(void **state)
{
    (void)state;
    struct fake *a = user_up(1), *b = user_up(2);
    uint64_t lock = open_lock(a, "lock");
    open_lock(b, "lock");
    acquire(a, lock, 4);
    uint64_t fence = expect_grant(a, 4, 0);
    sleep_on(a, lock, 5, 1);
    acquire(b, lock, 4);
    expect_grant(b, 4, 0);
    withdraw(a, 5);
    withdraw(a, 5);
    expect_nothing(a);
    release(b, lock);
    assert_true(expect_answer(a, 5, MUSTER_ETIMEDOUT).object_answer.number > fence);
    acquire(b, lock, 5);
    expect_nothing(b);
}

static void a_notification_passes_on_from_the_dead(void **state)
{
    (void)state;
    struct fake *a = user_up(1), *b = user_up(2), *c = user_up(3);
    uint64_t lock = open_lock(a, "lock");
    open_lock(b, "lock");
    open_lock(c, "lock");
    acquire(a, lock, 4);
    sleep_on(a, lock, 5, 1);
    acquire(b, lock, 4);
    sleep_on(b, lock, 5, 1);
    acquire(c, lock, 4);
    notify(c, lock, 5, 1, 1);
    disconnect(a, false); /* it was woken, and had not got the lock yet */
    expect_grant(c, 4, 0);
    expect_answer(c, 5, 0);
    release(c, lock);
    expect_grant(b, 4, 0);
    expect_grant(b, 5, 0);
}

static void who_does_not_hold_a_lock_can_neither_sleep_nor_notify(void **state)
{
    (void)state;
    struct fake *a = user_up(1);
    uint64_t lock = open_lock(a, "lock");
    sleep_on(a, lock, 4, 1);
    expect_answer(a, 4, MUSTER_EINVAL);
    notify(a, lock, 5, 1, 1);
    expect_answer(a, 5, MUSTER_EINVAL);
    acquire_shared(a, lock, 6);
    expect_grant(a, 6, 0);
    sleep_on(a, lock, 7, 1);
    expect_answer(a, 7, MUSTER_EINVAL);
}

/* --- both --------------------------------------------------------------------------------------------------------- */

static void a_name_belongs_to_one_kind(void **state)
{
    (void)state;
    struct fake *a = user_up(1);
    open_lock(a, "name");
    tell(a, open_message(4, OBJECT_QUEUE, "name", OBJECT_CREATE, 0, 0));
    struct message message = expect_answer(a, 4, MUSTER_ETYPE);
    assert_true(bytes_equal(message.object_answer.data, bytes_string("lock")));
}

static void numbers_of_grants_go_on_from_an_earlier_coordinators(void **state)
{
    (void)state;
    struct coordinator_config config = world.config;
    config.fence_base = 1000000;
    start_with(&config);
    struct fake *a = user_up(1);
    uint64_t lock = open_lock(a, "lock");
    acquire(a, lock, 4);
    assert_true(expect_grant(a, 4, 0) > 1000000);
}

static void a_deleted_lock_lets_everybody_go(void **state)
{
    (void)state;
    struct fake *a = user_up(1), *b = user_up(2);
    uint64_t lock = open_lock(a, "lock");
    open_lock(b, "lock");
    acquire(a, lock, 4);
    expect_grant(a, 4, 0);
    acquire(b, lock, 4);
    delete_object(a, 5, "lock");
    expect(a, MESSAGE_OBJECT_DELETED);
    expect_answer(b, 4, MUSTER_ENOOBJECT);
}

static void bad_messages_about_locks_close_their_session(void **state)
{
    (void)state;
    struct fake *a = user_up(1);
    uint64_t lock = open_lock(a, "lock");
    struct message messages[] = {acquire_message(lock, 0, 0, 0, 0),
                                 acquire_message(lock, 4, 0, 0, 2),
                                 release_message(lock, 4, 0, 0, 0),
                                 {.type = MESSAGE_LOCK_ASK, .lock_ask = {.object = lock}},
                                 {.type = MESSAGE_QUEUE_GET, .queue_get = {.object = lock, .call = 4, .count = 1}}};
    for (size_t i = 0; i < sizeof messages / sizeof *messages; i++)
        assert_int_equal(tell_status(a, &messages[i]), MUSTER_EPROTOCOL);
}

static void memory_may_run_out_anywhere(void **state)
{
    (void)state;
    for (unsigned failing = 1; failing < 30; failing++) {
        struct fake *a = user_up(1), *b = user_up(2);
        uint64_t lock = open_lock(a, "lock");
        const char *why;
        struct message messages[] = {open_message(3, OBJECT_LOCK, "lock", OBJECT_CREATE, 0, 0),
                                     acquire_message(lock, 4, 0, 0, 0), acquire_message(lock, 5, 0, 0, 0),
                                     release_message(lock, 0, 0, 0, 1)};
        memory_failure_at(failing);
        for (size_t i = 0; i < sizeof messages / sizeof *messages; i++)
            coordinator_message(world.coordinator, i == 0 ? &b->peer : &a->peer, &messages[i], world.now_ns, &why);
        memory_failure_off();
        check();
        disconnect(b, false);
        disconnect(a, false);
        assert_int_equal(object_counts().objects, 0);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_lock_is_held_by_one_at_a_time_in_the_order_of_asking),
        TEST(an_acquisition_that_does_not_wait_is_refused),
        TEST(the_lock_of_the_dead_is_released_and_the_next_holder_learns_it),
        TEST(who_waits_and_dies_is_forgotten),
        TEST(a_withdrawn_acquisition_holds_nothing),
        TEST(only_the_holder_releases_unless_anybody_may),
        TEST(a_reentrant_lock_is_released_as_often_as_it_was_acquired),
        TEST(readers_share_and_a_writer_that_waits_is_not_passed_over),
        TEST(readers_go_on_when_the_writer_before_them_gives_up),
        TEST(a_dead_reader_has_spoilt_nothing),
        TEST(a_reader_of_a_reentrant_lock_cannot_become_its_writer),
        TEST(a_semaphore_has_so_many_permits),
        TEST(permits_of_the_dead_are_given_back),
        TEST(a_bounded_semaphore_is_not_released_too_often),
        TEST(permits_that_another_gave_back_do_not_come_again_with_a_death),
        TEST(one_session_cannot_share_a_lock_without_end),
        TEST(permits_have_a_limit),
        TEST(who_sleeps_gives_the_lock_up_and_has_it_again_when_notified),
        TEST(who_sleeps_too_long_has_the_lock_again_too),
        TEST(a_notification_passes_on_from_the_dead),
        TEST(who_does_not_hold_a_lock_can_neither_sleep_nor_notify),
        TEST(a_name_belongs_to_one_kind),
        TEST(numbers_of_grants_go_on_from_an_earlier_coordinators),
        TEST(a_deleted_lock_lets_everybody_go),
        TEST(bad_messages_about_locks_close_their_session),
        TEST(memory_may_run_out_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
