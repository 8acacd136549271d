/*
 * A peer's end of shared objects: what it says and believes, without a coordinator.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/errors.h"
#include "core/pack.h"
#include "core/sharing.h"

static struct sharing *sharing;
static struct message said[64]; /* views are not kept */
static unsigned said_count, rooms;
static int send_status;

static int note(void *arg, const struct message *message)
{
    (void)arg;
    if (send_status != 0)
        return send_status;
    assert_true(said_count < sizeof said / sizeof *said);
    said[said_count++] = *message;
    return 0;
}

static void on_done(void *arg, struct sharing_call *call)
{
    (void)arg;
    assert_true(call->done);
}

static void on_room(void *arg, struct shared *shared)
{
    (void)arg, (void)shared;
    rooms++;
}

static const struct sharing_events events = {.done = on_done, .room = on_room};

static int setup(void **state)
{
    (void)state;
    said_count = rooms = 0;
    send_status = 0;
    return sharing_create(&sharing, &events, NULL, note, NULL);
}

static int teardown(void **state)
{
    (void)state;
    sharing_free(sharing);
    return 0;
}

static const struct message *last_said(enum message_type type)
{
    assert_true(said_count > 0);
    if (said[said_count - 1].type != type)
        fail_msg("%s was said, not %s", message_name(said[said_count - 1].type), message_name(type));
    return &said[said_count - 1];
}

static struct sharing_call *call_new(void)
{
    return memory_zero(sizeof(struct sharing_call));
}

static void answer(const struct sharing_call *call, int status, uint64_t number, uint64_t first)
{
    unsigned char numbers[2 * PACK_HEAD_BYTES];
    unsigned char *end = pack_uint(pack_array(numbers, 1), first);
    struct message message = {.type = MESSAGE_OBJECT_ANSWER};
    message.object_answer = (struct message_object_answer){
        call->call, (uint64_t)-status, number, {numbers, status ? 0 : (size_t)(end - numbers)}, {}};
    assert_int_equal(sharing_message(sharing, &message), 0);
}

static struct shared *open_object(enum object_kind kind)
{
    struct sharing_call *call = call_new();
    struct message_object_open open = {.kind = kind};
    assert_int_equal(sharing_open(sharing, call, &open), 0);
    answer(call, 0, 77, 0);
    assert_true(call->done && call->status == 0);
    struct shared *shared = call->shared;
    sharing_abandon(sharing, call);
    return shared;
}

static void item_arrives(uint64_t call, uint64_t number, const char *text)
{
    struct message message = {.type = MESSAGE_QUEUE_ITEM};
    message.queue_item = (struct message_queue_item){77, call, number, 0, 0, bytes_string(text), {}};
    assert_int_equal(sharing_message(sharing, &message), 0);
}

static void take(struct shared *queue, const char *text)
{
    struct parcel *parcel = sharing_take(sharing, queue);
    assert_non_null(parcel);
    assert_memory_equal(parcel->bytes, text, parcel->length);
    memory_free(parcel);
}

/* --- queues ------------------------------------------------------------------------------------------------------- */

static void what_is_taken_is_said_and_what_is_called_back_is_given_back(void **state)
{
    (void)state;
    struct shared *queue = open_object(OBJECT_QUEUE);
    item_arrives(0, 1, "a");
    item_arrives(0, 2, "b");
    take(queue, "a");
    assert_int_equal(last_said(MESSAGE_QUEUE_TAKEN)->queue_taken.number, 1);
    struct message recall = {.type = MESSAGE_QUEUE_RECALL, .queue_recall = {.object = 77}};
    assert_int_equal(sharing_message(sharing, &recall), 0);
    assert_int_equal(last_said(MESSAGE_QUEUE_RETURN)->queue_return.number, 1);
    assert_null(sharing_take(sharing, queue));
    sharing_close(sharing, queue);
    last_said(MESSAGE_OBJECT_CLOSE);
}

static void an_item_that_comes_too_late_is_kept_for_the_next_get(void **state)
{
    (void)state;
    struct shared *queue = open_object(OBJECT_QUEUE);
    struct sharing_call *call = call_new();
    assert_int_equal(sharing_get(sharing, queue, call, 1, false), 0);
    uint64_t number = call->call;
    sharing_withdraw(sharing, call);
    last_said(MESSAGE_OBJECT_WITHDRAW);
    sharing_abandon(sharing, call);
    item_arrives(number, 1, "late");
    take(queue, "late");
    sharing_close(sharing, queue);
}

static void a_get_is_served_by_what_came_in_advance(void **state)
{
    (void)state;
    struct shared *queue = open_object(OBJECT_QUEUE);
    struct sharing_call *call = call_new();
    assert_int_equal(sharing_get(sharing, queue, call, 1, false), 0);
    item_arrives(0, 1, "a"); /* it was on its way when the get was sent */
    assert_true(call->done && call->parcels.count == 1);
    assert_int_equal(last_said(MESSAGE_OBJECT_WITHDRAW)->object_withdraw.call, call->call);
    item_arrives(call->call, 2, "b"); /* the get's own: too late for that */
    take(queue, "b");
    sharing_abandon(sharing, call);
    sharing_close(sharing, queue);
}

static void puts_ahead_stop_at_the_window_and_go_on_when_some_are_accepted(void **state)
{
    (void)state;
    struct shared *queue = open_object(OBJECT_QUEUE);
    for (unsigned i = 0; i < QUEUE_WINDOW_ITEMS; i++) {
        said_count = 0;
        assert_int_equal(sharing_put_ahead(sharing, queue, 0, bytes_string("x")), 0);
    }
    assert_int_equal(sharing_put_ahead(sharing, queue, 0, bytes_string("x")), MUSTER_EAGAIN);
    struct message accepted = {.type = MESSAGE_QUEUE_ACCEPTED, .queue_accepted = {77, 1, 1, {}}};
    assert_int_equal(sharing_message(sharing, &accepted), 0);
    assert_int_equal(rooms, 1);
    assert_int_equal(sharing_put_ahead(sharing, queue, 0, bytes_string("x")), 0);
    sharing_close(sharing, queue);
}

/* --- locks -------------------------------------------------------------------------------------------------------- */

static void a_lock_that_is_granted_too_late_is_released_at_once(void **state)
{
    (void)state;
    struct shared *lock = open_object(OBJECT_LOCK);
    struct sharing_call *call = call_new();
    assert_int_equal(sharing_acquire(sharing, lock, call, 5, LOCK_ALONE, false), 0);
    sharing_abandon(sharing, call);
    answer(call, 0, 1, 0);
    assert_int_equal(last_said(MESSAGE_LOCK_RELEASE)->lock_release.owner, 5);
    assert_int_equal(sharing_release_own(sharing, lock, 5), MUSTER_EINVAL);
    sharing_close(sharing, lock);
}

static void who_sleeps_does_not_hold_the_lock_until_it_is_answered(void **state)
{
    (void)state;
    struct shared *lock = open_object(OBJECT_LOCK);
    struct sharing_call *call = call_new(), *sleep = call_new();
    assert_int_equal(sharing_wait(sharing, lock, sleep, 0, 1), MUSTER_EINVAL);
    assert_int_equal(sharing_acquire(sharing, lock, call, 0, LOCK_ALONE, false), 0);
    answer(call, 0, 1, 0);
    assert_int_equal(sharing_wait(sharing, lock, sleep, 0, 1), 0);
    assert_int_equal(sharing_release_own(sharing, lock, 0), MUSTER_EINVAL);
    answer(sleep, MUSTER_ETIMEDOUT, 2, 0);
    assert_int_equal(sleep->number, 2);
    assert_int_equal(sharing_release_own(sharing, lock, 0), 0);
    sharing_abandon(sharing, call);
    sharing_abandon(sharing, sleep);
    sharing_close(sharing, lock);
}

/* --- sessions ----------------------------------------------------------------------------------------------------- */

static void everything_of_a_session_ends_with_it(void **state)
{
    (void)state;
    struct shared *queue = open_object(OBJECT_QUEUE);
    struct sharing_call *get = call_new(), *open = call_new();
    struct message_object_open request = {.kind = OBJECT_QUEUE};
    item_arrives(0, 1, "a");
    assert_int_equal(sharing_ask(sharing, queue, get, QUEUE_JOIN), 0);
    assert_int_equal(sharing_open(sharing, open, &request), 0);
    sharing_renew(sharing);
    assert_int_equal(get->status, MUSTER_ELOST);
    assert_int_equal(open->status, MUSTER_ELOST);
    assert_null(sharing_take(sharing, queue));
    assert_int_equal(sharing_put_ahead(sharing, queue, 0, bytes_string("x")), MUSTER_ELOST);
    unsigned before = said_count;
    sharing_close(sharing, queue); /* the new session knows nothing of it */
    assert_int_equal(said_count, before);
    sharing_abandon(sharing, get);
    sharing_abandon(sharing, open);
}

static void an_open_that_is_answered_too_late_is_closed_again(void **state)
{
    (void)state;
    struct sharing_call *open = call_new();
    struct message_object_open request = {.kind = OBJECT_QUEUE};
    assert_int_equal(sharing_open(sharing, open, &request), 0);
    sharing_abandon(sharing, open);
    answer(open, 0, 77, 0);
    assert_int_equal(last_said(MESSAGE_OBJECT_CLOSE)->object_close.object, 77);
}

static void what_cannot_be_sent_leaves_nothing_behind(void **state)
{
    (void)state;
    struct shared *queue = open_object(OBJECT_QUEUE);
    struct sharing_call *call = call_new();
    send_status = MUSTER_ECONNECT;
    assert_int_equal(sharing_get(sharing, queue, call, 1, false), MUSTER_ECONNECT);
    assert_null(queue->gets);
    assert_int_equal(sharing_put_ahead(sharing, queue, 0, bytes_string("x")), MUSTER_ECONNECT);
    assert_int_equal(queue->waiting_items, 0);
    send_status = 0;
    assert_int_equal(sharing_get(sharing, queue, call, 1, false), 0);
    sharing_close(sharing, queue); /* ends the get */
    assert_int_equal(call->status, MUSTER_ECLOSED);
    sharing_abandon(sharing, call);
}

static void malformed_answers_are_told(void **state)
{
    (void)state;
    struct shared *queue = open_object(OBJECT_QUEUE);
    struct sharing_call *call = call_new();
    assert_int_equal(sharing_ask(sharing, queue, call, QUEUE_STATS), 0);
    struct message message = {.type = MESSAGE_OBJECT_ANSWER};
    message.object_answer = (struct message_object_answer){call->call, 0, 0, bytes_string("?"), {}};
    assert_int_equal(sharing_message(sharing, &message), MUSTER_EPROTOCOL);
    message.object_answer = (struct message_object_answer){call->call, UINT64_MAX, 0, bytes_string("?"), {}};
    assert_int_equal(sharing_message(sharing, &message), 0);
    assert_int_equal(call->status, MUSTER_EPROTOCOL);
    sharing_abandon(sharing, call);
    sharing_close(sharing, queue);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_taken_is_said_and_what_is_called_back_is_given_back),
        TEST(an_item_that_comes_too_late_is_kept_for_the_next_get),
        TEST(a_get_is_served_by_what_came_in_advance),
        TEST(puts_ahead_stop_at_the_window_and_go_on_when_some_are_accepted),
        TEST(a_lock_that_is_granted_too_late_is_released_at_once),
        TEST(who_sleeps_does_not_hold_the_lock_until_it_is_answered),
        TEST(everything_of_a_session_ends_with_it),
        TEST(an_open_that_is_answered_too_late_is_closed_again),
        TEST(what_cannot_be_sent_leaves_nothing_behind),
        TEST(malformed_answers_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
