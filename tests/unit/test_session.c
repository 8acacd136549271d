/*
 * Sessions: whatever the lines between two of them lose, repeat or reorder, each message arrives once and in order.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <stdio.h>
#include <cmocka.h>

#include "core/session.h"
#include "muster.h"
#include "tests/unit/memory_failures.h"
#include "tests/unit/random_message.h"

static const unsigned char token[TOKEN_BYTES] = "0123456789abcdef";

/* What arrived at one end. */
struct arrivals {
    uint64_t count, last_number;
    size_t bytes;
    int give; /* what the handler returns */
};

static int arrive(void *arg, const struct message *message)
{
    struct arrivals *arrivals = arg;
    if (arrivals->give)
        return arrivals->give;
    assert_int_equal(message->type, MESSAGE_DONE);
    assert_int_equal(message->done.number, arrivals->last_number + 1);
    for (size_t i = 0; i < message->done.value.length; i += 1009)
        assert_int_equal(((const unsigned char *)message->done.value.data)[i], (unsigned char)message->done.number);
    arrivals->last_number = message->done.number;
    arrivals->bytes += message->done.value.length;
    arrivals->count++;
    return 0;
}

static int take_any(void *arg, const struct message *message)
{
    (void)arg, (void)message;
    return 0;
}

static int send_value(struct session *session, uint64_t number, size_t length)
{
    static unsigned char value[3 * 1024 * 1024];
    memset(value, (int)number, length);
    struct message message = {.type = MESSAGE_DONE, .done = {.number = number, .value = {value, length}}};
    return session_send(session, &message);
}

static int receive(struct session *session, struct bytes frame, struct arrivals *arrivals)
{
    struct frame_header header;
    const char *why = NULL;
    /* exactly as long as it is: a sanitizer sees any byte too far */
    unsigned char *copy = malloc(frame.length);
    memcpy(copy, frame.data, frame.length);
    int status = frame_parse((struct bytes){copy, frame.length}, &header, &why);
    if (status == 0)
        status = session_receive(session, &header, arrive, arrivals, &why);
    free(copy);
    return status;
}

struct pair {
    struct session a, b;
    struct arrivals at_a, at_b;
    struct buffer frame;
};

static void pair_init(struct pair *pair)
{
    *pair = (struct pair){0};
    session_init(&pair->a, token, FRAME_LIMIT_DEFAULT, PAYLOAD_LIMIT_DEFAULT);
    session_init(&pair->b, token, FRAME_LIMIT_DEFAULT, PAYLOAD_LIMIT_DEFAULT);
}

static void pair_free(struct pair *pair)
{
    session_free(&pair->a);
    session_free(&pair->b);
    buffer_free(&pair->frame);
}

/* All of a's frames to b; how many there were. */
static unsigned transfer(struct pair *pair)
{
    unsigned frames = 0;
    while (session_next_frame(&pair->a, &pair->frame) == 1) {
        assert_true(pair->frame.length <= pair->a.frame_limit);
        assert_int_equal(receive(&pair->b, bytes_of(&pair->frame), &pair->at_b), 0);
        frames++;
    }
    return frames;
}

/* b's acknowledgement to a. */
static void acknowledge(struct pair *pair)
{
    assert_int_equal(session_empty_frame(&pair->b, &pair->frame), 0);
    assert_int_equal(receive(&pair->a, bytes_of(&pair->frame), &pair->at_a), 0);
}

static void messages_that_gather_travel_in_one_frame(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair);
    for (uint64_t i = 1; i <= 5000; i++)
        assert_int_equal(send_value(&pair.a, i, 16), 0);
    assert_true(session_has_frame(&pair.a));
    assert_int_equal(transfer(&pair), 1);
    assert_int_equal(pair.at_b.count, 5000);
    assert_false(session_has_frame(&pair.a));
    pair_free(&pair);
}

static void a_frame_never_exceeds_its_limit(void **state)
{
    (void)state;
    struct pair pair;
    struct random random;
    pair_init(&pair);
    random_seed(&random, "limit", 5);
    pair.a.frame_limit = 5000;
    for (uint64_t i = 1; i <= 3000; i++)
        assert_int_equal(send_value(&pair.a, i, random_u64(&random) % 9000), 0);
    assert_true(transfer(&pair) > 1000);
    assert_int_equal(pair.at_b.count, 3000);
    acknowledge(&pair);
    assert_int_equal(pair.a.backlog_bytes, 0);
    pair_free(&pair);
}

static void a_message_is_acknowledged_when_its_frame_is(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair);
    assert_int_equal(send_value(&pair.a, 1, 10), 0);
    assert_int_equal(pair.a.sent_messages, 1);
    transfer(&pair);
    assert_int_equal(send_value(&pair.a, 2, 10), 0);
    assert_int_equal(pair.a.acked_messages, 0);
    assert_int_not_equal(pair.b.unacked_received, 0);
    acknowledge(&pair);
    assert_int_equal(pair.b.unacked_received, 0);
    assert_int_equal(pair.a.acked_messages, 1);
    assert_int_equal(pair.a.sent_messages, 2);
    assert_int_not_equal(pair.a.backlog_bytes, 0);
    transfer(&pair);
    acknowledge(&pair);
    assert_int_equal(pair.a.acked_messages, 2);
    assert_int_equal(pair.a.backlog_bytes, 0);
    pair_free(&pair);
}

static void a_repeated_frame_is_dropped(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair);
    send_value(&pair.a, 1, 10);
    session_next_frame(&pair.a, &pair.frame);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(receive(&pair.b, bytes_of(&pair.frame), &pair.at_b), 0);
    assert_int_equal(pair.at_b.count, 1);
    pair_free(&pair);
}

static void a_lost_frame_comes_again_after_a_rewind(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair);
    send_value(&pair.a, 1, 10);
    session_next_frame(&pair.a, &pair.frame); /* lost */
    send_value(&pair.a, 2, 10);
    assert_int_equal(transfer(&pair), 1); /* a gap: dropped */
    assert_int_equal(pair.at_b.count, 0);
    session_rewind(&pair.a);
    send_value(&pair.a, 3, 10);
    assert_int_equal(transfer(&pair), 3);
    assert_int_equal(pair.at_b.count, 3);
    acknowledge(&pair);
    session_rewind(&pair.a);
    assert_false(session_has_frame(&pair.a));
    pair_free(&pair);
}

/* Random loss, repeats and rewinds in both directions, small frames, some long messages. */
static void lines_that_lose_and_repeat_lose_and_repeat_no_message(void **state)
{
    (void)state;
    struct random random;
    struct pair pair;
    uint64_t from_a = 0, from_b = 0;
    random_seed(&random, "lossy", 5);
    pair_init(&pair);
    pair.a.frame_limit = pair.b.frame_limit = 3000;
    for (unsigned step = 0; step < 60000; step++) {
        bool a_sends = random_u64(&random) % 2;
        struct session *from = a_sends ? &pair.a : &pair.b, *to = a_sends ? &pair.b : &pair.a;
        struct arrivals *at = a_sends ? &pair.at_b : &pair.at_a;
        uint64_t dice = random_u64(&random) % 16, *number = a_sends ? &from_a : &from_b;
        if (dice < 8 && from->backlog_bytes < 100000)
            assert_int_equal(send_value(from, ++*number, random_u64(&random) % 64 ? random_u64(&random) % 100 : 20000),
                             0);
        if (dice == 8)
            session_rewind(from);
        if (dice < 9)
            continue;
        if (session_next_frame(from, &pair.frame) != 1)
            session_empty_frame(from, &pair.frame);
        for (unsigned copies = dice == 9 ? 0 : dice == 10 ? 2 : 1; copies > 0; copies--)
            assert_int_equal(receive(to, bytes_of(&pair.frame), at), 0);
    }
    session_rewind(&pair.a);
    transfer(&pair);
    assert_int_equal(pair.at_b.last_number, from_a);
    assert_true(from_a > 5000 && pair.at_a.count > 1000);
    acknowledge(&pair);
    assert_int_equal(pair.a.acked_messages, from_a);
    assert_int_equal(pair.a.backlog_bytes, 0);
    pair_free(&pair);
}

static void a_long_message_travels_in_pieces_and_arrives_whole_and_in_order(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair);
    send_value(&pair.a, 1, 10);
    assert_int_equal(send_value(&pair.a, 2, 3 * 1024 * 1024), 0);
    send_value(&pair.a, 3, 10);
    assert_int_equal(pair.a.sent_messages, 3);
    unsigned frames = transfer(&pair);
    assert_in_range(frames, 13, 15);
    assert_int_equal(pair.at_b.count, 3);
    assert_int_equal(pair.at_b.bytes, 3 * 1024 * 1024 + 20);
    acknowledge(&pair);
    assert_int_equal(pair.a.acked_messages, 3);
    assert_int_equal(pair.a.backlog_bytes, 0);
    pair_free(&pair);
}

static void a_long_message_is_acknowledged_with_its_last_piece(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair);
    send_value(&pair.a, 1, 600 * 1024);
    for (unsigned pieces = 1; session_next_frame(&pair.a, &pair.frame) == 1; pieces++) {
        assert_int_equal(receive(&pair.b, bytes_of(&pair.frame), &pair.at_b), 0);
        acknowledge(&pair);
        assert_int_equal(pair.a.acked_messages, pieces == 3);
    }
    assert_int_equal(pair.at_b.count, 1);
    pair_free(&pair);
}

static void a_message_over_the_payload_limit_is_refused_and_nothing_is_sent(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair);
    pair.a.payload_limit = 1024 * 1024;
    assert_int_equal(send_value(&pair.a, 1, 1024 * 1024), MUSTER_ELIMIT);
    assert_int_equal(send_value(&pair.a, 1, 3 * 1024 * 1024), MUSTER_ELIMIT);
    pair.a.payload_limit = 1000;
    assert_int_equal(send_value(&pair.a, 1, 1000), MUSTER_ELIMIT);
    assert_int_equal(pair.a.sent_messages + pair.a.backlog_bytes, 0);
    assert_false(session_has_frame(&pair.a));
    assert_int_equal(send_value(&pair.a, 1, 900), 0);
    transfer(&pair);
    assert_int_equal(pair.at_b.count, 1);
    pair_free(&pair);
}

static void a_peer_cannot_send_more_than_the_payload_limit(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair);
    pair.b.payload_limit = 1024 * 1024;
    send_value(&pair.a, 1, 2 * 1024 * 1024);
    assert_int_equal(session_next_frame(&pair.a, &pair.frame), 1);
    assert_int_equal(receive(&pair.b, bytes_of(&pair.frame), &pair.at_b), MUSTER_ELIMIT);
    assert_int_equal(pair.b.fragments.capacity, 0); /* a claim costs nothing */
    pair_free(&pair);
}

static void what_a_handler_returns_ends_the_frame(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair);
    send_value(&pair.a, 1, 1);
    send_value(&pair.a, 2, 1);
    pair.at_b.give = -99;
    session_next_frame(&pair.a, &pair.frame);
    assert_int_equal(receive(&pair.b, bytes_of(&pair.frame), &pair.at_b), -99);
    pair_free(&pair);
}

static void frames_that_are_none_are_refused(void **state)
{
    (void)state;
    static const struct bytes bad[] = {{"", 0},
                                       {"\x93\xc4\x00\x00\x00", 5},
                                       {"\x94\xc4\x01x\x00\x00\x90", 7},
                                       {"\x94\xa0\x00\x00\x90", 5},
                                       {"\x94\xc4\x00\xff\x00\x90", 6},
                                       {"\x94\xc4\x00\x00\x00\x91", 6},
                                       {"\x94\xc4\x00\x00\x00\xdd\xff\xff\xff\xff", 10},
                                       {"hello", 5}};
    struct frame_header header;
    const char *why;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        why = NULL;
        assert_int_equal(frame_parse(bad[i], &header, &why), MUSTER_EPROTOCOL);
        assert_non_null(why);
    }
}

/* Frames with the right token and the wrong content, from a peer that has sent and received nothing else. */
static void frames_that_break_the_rules_are_refused(void **state)
{
    (void)state;
    static const struct {
        uint64_t sequence, acknowledgement;
        size_t count;
        struct bytes messages;
    } bad[] = {
        {1, 1, 1, {"\x92\x12\x01", 3}},                                /* acknowledges what was never sent */
        {0, 0, 1, {"\x92\x12\x01", 3}},                                /* messages without a number */
        {1, 0, 0, {"", 0}},                                            /* a number without messages */
        {1, 0, 1, {"\x92\x12", 2}},                                    /* cut off */
        {1, 0, 1, {"\x92\x12\x01\x00", 4}},                            /* more bytes than messages */
        {1, 0, 1, {"\x92\x7f\x01", 3}},                                /* unknown type */
        {1, 0, 1, {"\x93\x08\x00\xc4\x00", 5}},                        /* an empty piece */
        {1, 0, 1, {"\x93\x08\x00\xc4\x01x", 6}},                       /* a piece that is no message */
        {1, 0, 2, {"\x93\x08\x05\xc4\x01x\x93\x08\x05\xc4\x01x", 12}}, /* pieces that do not fit */
        {1, 0, 2, {"\x93\x08\x05\xc4\x01x\x92\x12\x01", 9}},           /* a message between pieces */
        {1, 0, 1, {"\x93\x08\x00\xc4\x04\x92\x12\x01\x01", 9}},        /* more than a message in pieces */
        {1, 0, 1, {"\x93\x08\x00\xc4\x06\x93\x08\x00\xc4\x01x", 11}},  /* a piece in pieces */
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct session session;
        const char *why = NULL;
        session_init(&session, token, FRAME_LIMIT_DEFAULT, PAYLOAD_LIMIT_DEFAULT);
        struct frame_header header = {.token = {token, TOKEN_BYTES},
                                      .sequence = bad[i].sequence,
                                      .acknowledgement = bad[i].acknowledgement,
                                      .count = bad[i].count,
                                      .messages = bad[i].messages};
        assert_int_equal(session_receive(&session, &header, take_any, NULL, &why), MUSTER_EPROTOCOL);
        assert_non_null(why);
        assert_true(*why != '\0');
        session_free(&session);
    }
}

static void a_frame_that_waits_to_be_sent_cannot_be_acknowledged(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair);
    send_value(&pair.a, 1, 600 * 1024); /* three complete frames, none sent */
    session_next_frame(&pair.a, &pair.frame);
    struct frame_header header = {.token = {token, TOKEN_BYTES}, .acknowledgement = 2};
    const char *why = NULL;
    assert_int_equal(session_receive(&pair.a, &header, arrive, &pair.at_a, &why), MUSTER_EPROTOCOL);
    pair_free(&pair);
}

static void acknowledged_buffers_are_used_again(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair);
    for (uint64_t i = 1; i <= 1000; i++) {
        if (i == 10)
            memory_failure_at(1); /* from here on everything must be there */
        assert_int_equal(send_value(&pair.a, i, 100), 0);
        struct bytes view;
        assert_int_equal(session_next_view(&pair.a, &view), 1);
        assert_int_equal(receive(&pair.b, view, &pair.at_b), 0);
        acknowledge(&pair);
    }
    assert_false(memory_failure_happened);
    memory_failure_off();
    assert_int_equal(pair.at_b.count, 1000);
    pair_free(&pair);
}

static void an_idle_session_keeps_little_memory(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair);
    for (uint64_t i = 1; i <= 20000; i++)
        send_value(&pair.a, i, 100);
    transfer(&pair);
    acknowledge(&pair);
    assert_int_equal(pair.a.backlog_bytes, 0);
    assert_true(pair.a.gathering.capacity <= 64 * 1024);
    pair_free(&pair);
}

/* Every allocation fails once: the failure is reported, and trying again afterwards works without loss or repetition.
 */
static void without_memory_nothing_is_lost(void **state)
{
    (void)state;
    static const size_t lengths[] = {10, 700 * 1024, 2000, 300 * 1024, 10};
    bool happened = true;
    for (unsigned n = 1; happened; n++) {
        struct pair pair;
        pair_init(&pair);
        memory_failure_at(n);
        for (uint64_t i = 1; i <= 5; i++) {
            int status = send_value(&pair.a, i, lengths[i - 1]);
            if (status == MUSTER_ENOMEM)
                status = send_value(&pair.a, i, lengths[i - 1]);
            assert_int_equal(status, 0);
            assert_int_equal(pair.a.sent_messages, i);
        }
        for (;;) {
            int status = session_next_frame(&pair.a, &pair.frame);
            if (status == 0)
                break;
            if (status == MUSTER_ENOMEM)
                continue;
            memory_failure_off(); /* the receiver's failures are another test's */
            assert_int_equal(receive(&pair.b, bytes_of(&pair.frame), &pair.at_b), 0);
            memory_fail_hook = memory_failure_hook;
        }
        happened = memory_failure_happened;
        memory_failure_off();
        assert_int_equal(pair.at_b.count, 5);
        acknowledge(&pair);
        assert_int_equal(pair.a.backlog_bytes, 0);
        pair_free(&pair);
    }
}

static void a_receiver_without_memory_says_so(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair);
    send_value(&pair.a, 1, 600 * 1024);
    session_next_frame(&pair.a, &pair.frame);
    memory_failure_at(1);
    assert_int_equal(receive(&pair.b, bytes_of(&pair.frame), &pair.at_b), MUSTER_ENOMEM);
    memory_failure_off();
    pair_free(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_that_gather_travel_in_one_frame),
        cmocka_unit_test(a_frame_never_exceeds_its_limit),
        cmocka_unit_test(a_message_is_acknowledged_when_its_frame_is),
        cmocka_unit_test(a_repeated_frame_is_dropped),
        cmocka_unit_test(a_lost_frame_comes_again_after_a_rewind),
        cmocka_unit_test(lines_that_lose_and_repeat_lose_and_repeat_no_message),
        cmocka_unit_test(a_long_message_travels_in_pieces_and_arrives_whole_and_in_order),
        cmocka_unit_test(a_long_message_is_acknowledged_with_its_last_piece),
        cmocka_unit_test(a_message_over_the_payload_limit_is_refused_and_nothing_is_sent),
        cmocka_unit_test(a_peer_cannot_send_more_than_the_payload_limit),
        cmocka_unit_test(what_a_handler_returns_ends_the_frame),
        cmocka_unit_test(frames_that_are_none_are_refused),
        cmocka_unit_test(frames_that_break_the_rules_are_refused),
        cmocka_unit_test(a_frame_that_waits_to_be_sent_cannot_be_acknowledged),
        cmocka_unit_test(acknowledged_buffers_are_used_again),
        cmocka_unit_test(an_idle_session_keeps_little_memory),
        cmocka_unit_test(without_memory_nothing_is_lost),
        cmocka_unit_test(a_receiver_without_memory_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
