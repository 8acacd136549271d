/*
 * Queues in the coordinator.
 */
#include "memory_failures.h"
#include "object_fixture.h"

static uint64_t open_queue(struct fake *fake, const char *name, uint64_t maximum)
{
    return open_object(fake, OBJECT_QUEUE, name, maximum, 0);
}

static struct message put_message(uint64_t queue, uint64_t call, uint64_t flags, const char *item)
{
    struct message message = {.type = MESSAGE_QUEUE_PUT};
    message.queue_put = (struct message_queue_put){queue, call, flags, 0, bytes_string(item), {}};
    return message;
}

static void put(struct fake *fake, uint64_t queue, const char *item)
{
    tell(fake, put_message(queue, 0, 0, item));
}

static struct message get_message(uint64_t queue, uint64_t call, uint64_t flags, uint64_t count)
{
    struct message message = {.type = MESSAGE_QUEUE_GET};
    message.queue_get = (struct message_queue_get){queue, call, flags, count, {}};
    return message;
}

static void get(struct fake *fake, uint64_t queue, uint64_t call)
{
    tell(fake, get_message(queue, call, 0, 1));
}

static void say_number(struct fake *fake, enum message_type type, uint64_t queue, uint64_t number)
{
    struct message message = {.type = type};
    message.queue_taken.object = queue; /* QUEUE_RETURN looks the same */
    message.queue_taken.number = number;
    tell(fake, message);
}

static void taken(struct fake *fake, uint64_t queue, uint64_t number)
{
    say_number(fake, MESSAGE_QUEUE_TAKEN, queue, number);
}

static void ask(struct fake *fake, uint64_t queue, uint64_t call, uint64_t what)
{
    struct message message = {.type = MESSAGE_QUEUE_ASK};
    message.queue_ask = (struct message_queue_ask){queue, call, what, {}};
    tell(fake, message);
}

static void finished(struct fake *fake, uint64_t queue, uint64_t call, uint64_t count)
{
    struct message message = {.type = MESSAGE_QUEUE_FINISHED};
    message.queue_finished = (struct message_queue_finished){queue, call, count, {}};
    tell(fake, message);
}

static uint64_t stat_of(struct fake *fake, uint64_t queue, size_t index)
{
    ask(fake, queue, 99, QUEUE_STATS);
    struct bytes data = expect_answer(fake, 99, 0).object_answer.data;
    size_t count;
    uint64_t value = 0;
    assert_true(unpack_array(&data, &count));
    assert_int_equal(count, QUEUE_STATS_COUNT);
    for (size_t i = 0; i <= index; i++)
        assert_true(unpack_uint(&data, &value));
    return value;
}

/* The next item, which must be this one; gives its number. */
static uint64_t expect_item(struct fake *fake, uint64_t call, const char *item)
{
    struct message message = expect(fake, MESSAGE_QUEUE_ITEM);
    if (!bytes_equal(message.queue_item.item, bytes_string(item)))
        fail_msg("expected %s, got %.*s", item, (int)message.queue_item.item.length,
                 (const char *)message.queue_item.item.data);
    assert_int_equal(message.queue_item.call, call);
    return message.queue_item.number;
}

/* --- items -------------------------------------------------------------------------------------------------------- */

static void items_come_in_the_order_in_which_they_were_put(void **state)
{
    (void)state;
    struct fake *producer = user_up(1), *consumer = user_up(2);
    uint64_t queue = open_queue(producer, "jobs", 0);
    assert_int_equal(open_queue(consumer, "jobs", 0), queue);
    put(producer, queue, "a");
    put(producer, queue, "b");
    put(producer, queue, "c");
    get(consumer, queue, 7);
    assert_int_equal(expect_item(consumer, 7, "a"), 1);
    get(consumer, queue, 8);
    expect_item(consumer, 8, "b");
    get(consumer, queue, 9);
    expect_item(consumer, 9, "c");
    expect_nothing(producer);
}

static void who_waits_first_is_served_first(void **state)
{
    (void)state;
    struct fake *producer = user_up(1), *first = user_up(2), *second = user_up(3);
    uint64_t queue = open_queue(producer, "jobs", 0);
    open_queue(first, "jobs", 0);
    open_queue(second, "jobs", 0);
    get(first, queue, 5);
    get(second, queue, 6);
    put(producer, queue, "a");
    expect_item(first, 5, "a");
    expect_nothing(second);
    put(producer, queue, "b");
    expect_item(second, 6, "b");
}

static void several_items_answer_one_call(void **state)
{
    (void)state;
    struct fake *peer = user_up(1);
    uint64_t queue = open_queue(peer, "", 0);
    put(peer, queue, "a");
    put(peer, queue, "b");
    put(peer, queue, "c");
    tell(peer, get_message(queue, 4, 0, 2));
    struct message message = expect(peer, MESSAGE_QUEUE_ITEM);
    assert_int_equal(message.queue_item.more, 1);
    message = expect(peer, MESSAGE_QUEUE_ITEM);
    assert_int_equal(message.queue_item.more, 0);
    expect_nothing(peer);
}

static void a_get_that_does_not_wait_is_answered_at_once(void **state)
{
    (void)state;
    struct fake *peer = user_up(1);
    uint64_t queue = open_queue(peer, "", 0);
    tell(peer, get_message(queue, 4, OBJECT_NO_WAIT, 1));
    expect_answer(peer, 4, MUSTER_EAGAIN);
    put(peer, queue, "a");
    tell(peer, get_message(queue, 5, OBJECT_NO_WAIT, 1));
    expect_item(peer, 5, "a");
}

static void a_withdrawn_get_takes_nothing(void **state)
{
    (void)state;
    struct fake *peer = user_up(1), *other = user_up(2);
    uint64_t queue = open_queue(peer, "jobs", 0);
    open_queue(other, "jobs", 0);
    get(peer, queue, 4);
    get(other, queue, 4);
    withdraw(peer, 4);
    expect_answer(peer, 4, MUSTER_ETIMEDOUT);
    withdraw(peer, 4); /* answered already */
    put(peer, queue, "a");
    expect_nothing(peer);
    expect_item(other, 4, "a");
}

/* --- in advance --------------------------------------------------------------------------------------------------- */

static void put_numbered(struct fake *producer, uint64_t queue, unsigned count)
{
    char item[16];
    for (unsigned i = 0; i < count; i++) {
        snprintf(item, sizeof item, "%u", i);
        put(producer, queue, item);
    }
}

static unsigned drain_items(struct fake *fake)
{
    struct message message;
    unsigned count = 0;
    while (next(fake, &message))
        count += message.type == MESSAGE_QUEUE_ITEM;
    return count;
}

static void who_asks_often_is_given_items_in_advance(void **state)
{
    (void)state;
    struct fake *producer = user_up(1), *consumer = user_up(2);
    uint64_t queue = open_queue(producer, "jobs", 0);
    open_queue(consumer, "jobs", 0);
    put_numbered(producer, queue, 1000);
    get(consumer, queue, 4);
    expect_item(consumer, 4, "0");
    flush();
    unsigned first = drain_items(consumer);
    taken(consumer, queue, 1 + first);
    flush();
    get(consumer, queue, 5);
    flush();
    unsigned second = drain_items(consumer);
    assert_true(first >= 1 && second > first);
    assert_int_equal(stat_of(producer, queue, 0), 1000 - 1 - first); /* those in advance are still in the queue */
}

static void what_is_in_advance_is_called_back_when_another_waits(void **state)
{
    (void)state;
    struct fake *producer = user_up(1), *consumer = user_up(2), *other = user_up(3);
    uint64_t queue = open_queue(producer, "jobs", 0);
    open_queue(consumer, "jobs", 0);
    open_queue(other, "jobs", 0);
    put_numbered(producer, queue, 2);
    get(consumer, queue, 4);
    expect_item(consumer, 4, "0");
    flush();
    expect_item(consumer, 0, "1");
    get(other, queue, 4);
    expect_nothing(other);
    expect(consumer, MESSAGE_QUEUE_RECALL);
    say_number(consumer, MESSAGE_QUEUE_RETURN, queue, 1);
    expect_item(other, 4, "1");
    assert_int_equal(stat_of(producer, queue, 8), 1);
    put_numbered(producer, queue, 2);
    flush();
    expect_nothing(consumer); /* it has to ask again */
}

static void items_given_after_a_recall_do_not_go_back_with_it(void **state)
{
    (void)state;
    struct fake *producer = user_up(1), *consumer = user_up(2), *other = user_up(3);
    uint64_t queue = open_queue(producer, "jobs", 0);
    open_queue(consumer, "jobs", 0);
    open_queue(other, "jobs", 0);
    put_numbered(producer, queue, 2);
    get(consumer, queue, 4);
    flush();
    assert_int_equal(drain_items(consumer), 2);
    get(other, queue, 4);
    expect(consumer, MESSAGE_QUEUE_RECALL);
    withdraw(other, 4);
    put(producer, queue, "late");
    get(consumer, queue, 5); /* it has taken both, and asks before it hears of the recall */
    expect_item(consumer, 5, "late");
    say_number(consumer, MESSAGE_QUEUE_RETURN, queue, 2);
    flush();
    assert_int_equal(stat_of(producer, queue, 1), 1); /* the late one is still at the consumer */
    expect_answer(other, 4, MUSTER_ETIMEDOUT);
    expect_nothing(other);
}

static void a_get_that_does_not_wait_looks_at_what_others_have_in_advance(void **state)
{
    (void)state;
    struct fake *producer = user_up(1), *consumer = user_up(2), *other = user_up(3);
    uint64_t queue = open_queue(producer, "jobs", 0);
    open_queue(consumer, "jobs", 0);
    open_queue(other, "jobs", 0);
    put_numbered(producer, queue, 2);
    get(consumer, queue, 4);
    flush();
    assert_int_equal(drain_items(consumer), 2);
    tell(other, get_message(queue, 4, OBJECT_NO_WAIT, 1));
    expect_nothing(other);
    expect(consumer, MESSAGE_QUEUE_RECALL);
    say_number(consumer, MESSAGE_QUEUE_RETURN, queue, 2);
    expect_answer(other, 4, MUSTER_EAGAIN);
}

/* --- deaths ------------------------------------------------------------------------------------------------------- */

static void items_of_a_dead_consumer_go_back_to_the_front(void **state)
{
    (void)state;
    struct fake *producer = user_up(1), *consumer = user_up(2), *other = user_up(3);
    uint64_t queue = open_queue(producer, "jobs", 0);
    open_queue(consumer, "jobs", 0);
    open_queue(other, "jobs", 0);
    put_numbered(producer, queue, 5);
    get(consumer, queue, 4);
    flush();
    unsigned count = drain_items(consumer);
    assert_true(count > 1 && count < 5);
    taken(consumer, queue, 1);
    disconnect(consumer, false);
    tell(other, get_message(queue, 4, 0, 10));
    for (unsigned i = 1; i < 5; i++) {
        char item[2] = {(char)('0' + i), 0};
        expect_item(other, 4, item);
    }
}

static void a_consumer_learns_once_that_the_last_producer_has_died(void **state)
{
    (void)state;
    struct fake *producer = user_up(1), *second = user_up(2), *consumer = user_up(3), *late = user_up(4);
    uint64_t queue = open_queue(producer, "jobs", 0);
    open_queue(second, "jobs", 0);
    open_queue(consumer, "jobs", 0);
    open_queue(late, "jobs", 0);
    put(producer, queue, "a");
    put(second, queue, "b");
    tell(consumer, get_message(queue, 4, 0, 2));
    assert_int_equal(drain_items(consumer), 2);
    taken(consumer, queue, 2);
    get(consumer, queue, 5);
    disconnect(producer, false);
    expect_nothing(consumer);
    disconnect(second, false);
    expect_answer(consumer, 5, MUSTER_ELOST);
    get(consumer, queue, 6);
    expect_nothing(consumer);
    get(late, queue, 4);
    expect_answer(late, 4, MUSTER_ELOST);
    put(late, queue, "c");
    expect_item(consumer, 6, "c");
}

static void a_producer_that_leaves_in_good_order_alarms_nobody(void **state)
{
    (void)state;
    struct fake *producer = user_up(1), *consumer = user_up(2);
    uint64_t queue = open_queue(producer, "jobs", 0);
    open_queue(consumer, "jobs", 0);
    put(producer, queue, "a");
    get(consumer, queue, 4);
    taken(consumer, queue, 1);
    get(consumer, queue, 5);
    disconnect(producer, true);
    expect_item(consumer, 4, "a");
    expect_nothing(consumer);
}

static void a_queue_without_users_vanishes_unless_it_is_persistent(void **state)
{
    (void)state;
    struct fake *peer = user_up(1);
    uint64_t queue = open_queue(peer, "jobs", 0);
    put(peer, queue, "a");
    tell(peer, open_message(2, OBJECT_QUEUE, "kept", OBJECT_CREATE | OBJECT_PERSISTENT, 0, 0));
    uint64_t kept = expect_answer(peer, 2, 0).object_answer.number;
    put(peer, kept, "b");
    disconnect(peer, true);
    assert_int_equal(object_counts().objects, 1);
    assert_int_equal(object_counts().items, 1);
    peer = user_up(1);
    assert_int_equal(open_queue(peer, "kept", 0), kept);
    get(peer, kept, 4);
    expect_item(peer, 4, "b");
    assert_int_not_equal(open_queue(peer, "jobs", 0), queue);
    tell(peer, get_message(open_queue(peer, "jobs", 0), 5, OBJECT_NO_WAIT, 1));
    expect_answer(peer, 5, MUSTER_EAGAIN);
}

/* --- room --------------------------------------------------------------------------------------------------------- */

static void a_put_into_a_full_queue_waits_for_room(void **state)
{
    (void)state;
    struct fake *producer = user_up(1), *consumer = user_up(2);
    uint64_t queue = open_queue(producer, "jobs", 2);
    open_queue(consumer, "jobs", 0);
    tell(producer, put_message(queue, 4, 0, "a"));
    expect_answer(producer, 4, 0);
    tell(producer, put_message(queue, 5, 0, "b"));
    expect_answer(producer, 5, 0);
    tell(producer, put_message(queue, 6, OBJECT_NO_WAIT, "c"));
    expect_answer(producer, 6, MUSTER_EAGAIN);
    tell(producer, put_message(queue, 7, 0, "d"));
    tell(producer, put_message(queue, 8, 0, "e"));
    withdraw(producer, 7);
    expect_answer(producer, 7, MUSTER_ETIMEDOUT);
    expect_nothing(producer);
    get(consumer, queue, 4);
    expect_item(consumer, 4, "a");
    expect_nothing(producer); /* there is room when it is taken */
    taken(consumer, queue, 1);
    expect_answer(producer, 8, 0);
    tell(consumer, get_message(queue, 5, 0, 10));
    expect_item(consumer, 5, "b");
    expect_item(consumer, 5, "e");
}

static void restart_with(void (*change)(struct coordinator_config *config))
{
    struct coordinator_config config = world.config;
    change(&config);
    start_with(&config);
}

static void few_items(struct coordinator_config *config)
{
    config->queue_items = 2;
}

static void puts_without_a_call_wait_too_and_are_kept_when_their_producer_leaves(void **state)
{
    (void)state;
    restart_with(few_items);
    struct fake *producer = user_up(1), *consumer = user_up(2);
    uint64_t queue = open_queue(producer, "jobs", 0);
    open_queue(consumer, "jobs", 0);
    put_numbered(producer, queue, 4);
    ask(producer, queue, 5, QUEUE_FLUSH);
    expect_nothing(producer);
    assert_int_equal(stat_of(consumer, queue, 0), 2);
    get(consumer, queue, 4);
    expect_item(consumer, 4, "0");
    taken(consumer, queue, 1);
    assert_int_equal(stat_of(consumer, queue, 3), 1);
    disconnect(producer, true);
    tell(consumer, get_message(queue, 6, 0, 10));
    expect_item(consumer, 6, "1");
    expect_item(consumer, 6, "2");
    expect_item(consumer, 6, "3");
}

static void what_was_accepted_is_told_in_sums(void **state)
{
    (void)state;
    struct fake *producer = user_up(1);
    uint64_t queue = open_queue(producer, "jobs", 0);
    for (unsigned i = 0; i < QUEUE_WINDOW_ITEMS / 4 - 1; i++)
        assert_int_equal(
            tell_status(producer, &(struct message){.type = MESSAGE_QUEUE_PUT, .queue_put = {.object = queue}}), 0);
    expect_nothing(producer);
    put(producer, queue, "12345");
    struct message message = expect(producer, MESSAGE_QUEUE_ACCEPTED);
    assert_int_equal(message.queue_accepted.items, QUEUE_WINDOW_ITEMS / 4);
    assert_int_equal(message.queue_accepted.bytes, 5);
}

static void no_room(struct coordinator_config *config)
{
    config->queue_items = 1;
}

static void who_puts_more_than_the_window_misbehaves(void **state)
{
    (void)state;
    restart_with(no_room);
    struct fake *producer = user_up(1);
    uint64_t queue = open_queue(producer, "jobs", 0);
    struct message message = put_message(queue, 0, 0, "x");
    const char *why;
    for (unsigned i = 0; i < 1 + QUEUE_WINDOW_ITEMS; i++) /* the first one is accepted */
        assert_int_equal(coordinator_message(world.coordinator, &producer->peer, &message, world.now_ns, &why), 0);
    assert_int_equal(tell_status(producer, &message), MUSTER_EPROTOCOL);
}

static void little_memory(struct coordinator_config *config)
{
    config->total_bytes = 3000;
}

static void a_full_coordinator_lets_puts_wait_and_goes_on_when_there_is_memory(void **state)
{
    (void)state;
    restart_with(little_memory);
    struct fake *producer = user_up(1), *consumer = user_up(2);
    uint64_t queue = open_queue(producer, "jobs", 0);
    open_queue(consumer, "jobs", 0);
    char item[1000];
    memset(item, 'x', sizeof item);
    item[sizeof item - 1] = '\0';
    for (int i = 0; i < 5; i++)
        put(producer, queue, item);
    assert_int_equal(stat_of(consumer, queue, 3), 2);
    for (unsigned total = 0; total < 5;) {
        get(consumer, queue, 4);
        unsigned before = total;
        total += drain_items(consumer);
        assert_true(total > before);
        flush();
        total += drain_items(consumer);
        taken(consumer, queue, total);
    }
    assert_int_equal(stat_of(consumer, queue, 3), 0);
    assert_int_equal(object_counts().items, 0);
}

static void who_takes_nothing_of_what_it_is_given_fills_no_memory(void **state)
{
    (void)state;
    restart_with(little_memory);
    struct fake *producer = user_up(1), *consumer = user_up(2);
    uint64_t queue = open_queue(producer, "jobs", 0);
    open_queue(consumer, "jobs", 0);
    char item[1000];
    memset(item, 'x', sizeof item);
    item[sizeof item - 1] = '\0';
    for (unsigned i = 0; i < 5; i++)
        get(consumer, queue, 4 + i);
    for (unsigned i = 0; i < 5; i++)
        put(producer, queue, item);
    assert_int_equal(stat_of(producer, queue, 3), 2);
    assert_int_equal(drain_items(consumer), 3);
    taken(consumer, queue, 3);
    assert_int_equal(stat_of(producer, queue, 3), 0);
    assert_int_equal(drain_items(consumer), 2);
}

/* --- finished ----------------------------------------------------------------------------------------------------- */

static void a_join_ends_when_every_item_is_finished(void **state)
{
    (void)state;
    struct fake *producer = user_up(1), *consumer = user_up(2);
    uint64_t queue = open_queue(producer, "jobs", 0);
    open_queue(consumer, "jobs", 0);
    ask(producer, queue, 4, QUEUE_JOIN);
    expect_answer(producer, 4, 0);
    put_numbered(producer, queue, 2);
    ask(producer, queue, 5, QUEUE_JOIN);
    finished(consumer, queue, 4, 1);
    expect_answer(consumer, 4, 0);
    expect_nothing(producer);
    finished(consumer, queue, 5, 2);
    expect_answer(consumer, 5, MUSTER_EINVAL);
    finished(consumer, queue, 6, 1);
    expect_answer(consumer, 6, 0);
    expect_answer(producer, 5, 0);
}

static void a_join_does_not_wait_for_the_dead(void **state)
{
    (void)state;
    struct fake *producer = user_up(1), *consumer = user_up(2);
    uint64_t queue = open_queue(producer, "jobs", 0);
    open_queue(consumer, "jobs", 0);
    put_numbered(producer, queue, 2);
    tell(consumer, get_message(queue, 4, 0, 2));
    taken(consumer, queue, 2);
    finished(consumer, queue, 5, 1);
    ask(producer, queue, 5, QUEUE_JOIN);
    expect_nothing(producer);
    disconnect(consumer, false);
    expect_answer(producer, 5, MUSTER_ELOST);
    ask(producer, queue, 6, QUEUE_JOIN);
    expect_answer(producer, 6, 0);
}

/* --- bad input ---------------------------------------------------------------------------------------------------- */

static void bad_messages_about_queues_close_their_session(void **state)
{
    (void)state;
    struct fake *peer = user_up(1);
    uint64_t queue = open_queue(peer, "", 0);
    struct message messages[] = {
        put_message(queue + 1, 0, 0, "x"),
        put_message(queue, 0, 0, "x"),
        get_message(queue, 0, 0, 1),
        get_message(queue, 4, 0, 0),
        {.type = MESSAGE_QUEUE_TAKEN, .queue_taken = {.object = queue, .number = 1}},
        {.type = MESSAGE_QUEUE_RETURN, .queue_return = {.object = queue}},
        {.type = MESSAGE_QUEUE_ASK, .queue_ask = {.object = queue, .call = 4, .what = 3}},
        {.type = MESSAGE_QUEUE_ASK, .queue_ask = {.object = queue}},
        {.type = MESSAGE_QUEUE_RECALL, .queue_recall = {.object = queue}},
    };
    messages[1].queue_put.encoding = ENCODING_SEGMENT;
    for (size_t i = 0; i < sizeof messages / sizeof *messages; i++)
        assert_int_equal(tell_status(peer, &messages[i]), MUSTER_EPROTOCOL);
}

static void memory_may_run_out_anywhere(void **state)
{
    (void)state;
    for (unsigned failing = 1; failing < 60; failing++) {
        struct fake *producer = user_up(1), *consumer = user_up(2);
        uint64_t queue = open_queue(producer, "jobs", 2);
        const char *why;
        struct message messages[] = {open_message(3, OBJECT_QUEUE, "jobs", OBJECT_CREATE, 0, 0),
                                     open_message(4, OBJECT_QUEUE, "other", OBJECT_CREATE, 0, 0),
                                     put_message(queue, 5, 0, "a"),
                                     put_message(queue, 6, 0, "b"),
                                     put_message(queue, 7, 0, "c"),
                                     get_message(queue, 8, 0, 5),
                                     get_message(queue, 9, 0, 5)};
        memory_failure_at(failing);
        for (size_t i = 0; i < sizeof messages / sizeof *messages; i++)
            coordinator_message(world.coordinator, i < 2 || i > 4 ? &consumer->peer : &producer->peer, &messages[i],
                                world.now_ns, &why);
        memory_failure_off();
        check();
        disconnect(consumer, false);
        disconnect(producer, false);
        assert_int_equal(object_counts().objects, 0);
        assert_int_equal(object_counts().bytes, 0);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(items_come_in_the_order_in_which_they_were_put),
        TEST(who_waits_first_is_served_first),
        TEST(several_items_answer_one_call),
        TEST(a_get_that_does_not_wait_is_answered_at_once),
        TEST(a_withdrawn_get_takes_nothing),
        TEST(who_asks_often_is_given_items_in_advance),
        TEST(what_is_in_advance_is_called_back_when_another_waits),
        TEST(items_given_after_a_recall_do_not_go_back_with_it),
        TEST(a_get_that_does_not_wait_looks_at_what_others_have_in_advance),
        TEST(items_of_a_dead_consumer_go_back_to_the_front),
        TEST(a_consumer_learns_once_that_the_last_producer_has_died),
        TEST(a_producer_that_leaves_in_good_order_alarms_nobody),
        TEST(a_queue_without_users_vanishes_unless_it_is_persistent),
        TEST(a_put_into_a_full_queue_waits_for_room),
        TEST(puts_without_a_call_wait_too_and_are_kept_when_their_producer_leaves),
        TEST(what_was_accepted_is_told_in_sums),
        TEST(who_puts_more_than_the_window_misbehaves),
        TEST(a_full_coordinator_lets_puts_wait_and_goes_on_when_there_is_memory),
        TEST(who_takes_nothing_of_what_it_is_given_fills_no_memory),
        TEST(a_join_ends_when_every_item_is_finished),
        TEST(a_join_does_not_wait_for_the_dead),
        TEST(bad_messages_about_queues_close_their_session),
        TEST(memory_may_run_out_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
