/*
 * The link: handshake, keep-alive, and the way back, on a clock and lines that the test moves by hand.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "muster.h"
#include "tests/unit/fake_coordinator.h"
#include "tests/unit/memory_failures.h"

struct world {
    struct link link;
    struct fake_coordinator fake;
    uint64_t now_ns;
    struct buffer poll, reply;
    bool poll_out; /* a request is on its way */
    /* what the link reported */
    unsigned opened, restarted, lost, messages;
    unsigned closed;
    int failed;
    char reason[600];
    int give; /* what the message callback returns */
    /* what the coordinator received */
    unsigned received;
    bool bye;
};

static void on_open(void *arg, const struct welcome *welcome, bool restarted)
{
    struct world *world = arg;
    assert_int_equal(welcome->coordinator, world->fake.identity);
    assert_string_equal(welcome->push_url, world->fake.push_url);
    world->opened++;
    world->restarted += restarted;
}

static int on_message(void *arg, const struct message *message)
{
    struct world *world = arg;
    assert_int_equal(message->type, MESSAGE_WORKERS);
    world->messages++;
    return world->give;
}

static void on_closed(void *arg)
{
    struct world *world = arg;
    world->closed++;
}

static void on_lost(void *arg, const char *reason)
{
    struct world *world = arg;
    snprintf(world->reason, sizeof world->reason, "%s", reason);
    world->lost++;
}

static void on_failed(void *arg, int status, const char *reason)
{
    struct world *world = arg;
    snprintf(world->reason, sizeof world->reason, "%s", reason);
    world->failed = status;
}

static const struct link_events events = {
    .open = on_open, .message = on_message, .closed = on_closed, .lost = on_lost, .failed = on_failed};

static int on_received(void *arg, const struct message *message)
{
    struct world *world = arg;
    if (message->type == MESSAGE_BYE)
        world->bye = true;
    else
        assert_int_equal(message->cancel.number, ++world->received);
    return 0;
}

static void world_init(struct world *world, const char *key)
{
    struct random seed;
    *world = (struct world){.now_ns = 1000 * NS_PER_S};
    struct link_config config = {.role = ROLE_CLIENT,
                                 .identity = 5,
                                 .language = "c",
                                 .host = "here",
                                 .domain = "",
                                 .name = "test",
                                 .pid = 1,
                                 .events = &events,
                                 .arg = world};
    config.authkey.length = strlen(key);
    memcpy(config.authkey.bytes, key, config.authkey.length);
    random_seed(&seed, "link", 4);
    assert_int_equal(link_init(&world->link, &config, &seed, world->now_ns), 0);
    fake_init(&world->fake, on_received, world);
    memcpy(world->fake.key.bytes, "key", 3);
    world->fake.key.length = 3;
}

static void world_free(struct world *world)
{
    link_free(&world->link);
    fake_free(&world->fake);
    buffer_free(&world->poll);
    buffer_free(&world->reply);
}

/* Sends the next request, if there is one. */
static bool ask(struct world *world)
{
    if (!link_next_poll(&world->link, world->now_ns, &world->poll))
        return false;
    assert_false(link_next_poll(&world->link, world->now_ns, &world->poll)); /* one at a time */
    world->poll_out = true;
    return true;
}

static void answer_with(struct world *world, struct bytes reply)
{
    assert_true(world->poll_out);
    world->poll_out = false;
    link_poll_answered(&world->link, reply, world->now_ns);
}

static void answer(struct world *world)
{
    if (!fake_poll(&world->fake, bytes_of(&world->poll), &world->reply))
        fake_answer(&world->fake, &world->reply);
    answer_with(world, bytes_of(&world->reply));
}

static void answer_message(struct world *world, const struct message *message)
{
    assert_int_equal(frame_single(&world->reply, message), 0);
    answer_with(world, bytes_of(&world->reply));
}

/* One request and its answer, when it is time for one. */
static void turn(struct world *world)
{
    uint64_t deadline_ns = link_deadline(&world->link);
    if (deadline_ns != NEVER_NS && deadline_ns > world->now_ns)
        world->now_ns = deadline_ns;
    link_tick(&world->link, world->now_ns);
    if (ask(world))
        answer(world);
}

/* Everything on the push line to the coordinator, or to nowhere. */
static unsigned push(struct world *world, bool arrives)
{
    struct bytes frame, second;
    unsigned frames = 0;
    while (link_next_push(&world->link, world->now_ns, &frame)) {
        if (arrives)
            assert_true(fake_push(&world->fake, frame));
        assert_false(link_next_push(&world->link, world->now_ns, &second)); /* one at a time */
        link_push_done(&world->link, true, world->now_ns);
        frames++;
    }
    return frames;
}

static void open_link(struct world *world)
{
    for (unsigned i = 0; i < 10 && world->link.state != LINK_OPEN; i++)
        turn(world);
    assert_int_equal(world->link.state, LINK_OPEN);
}

static void submit(struct world *world, uint64_t number)
{
    struct message message = {.type = MESSAGE_CANCEL, .cancel = {.number = number}};
    assert_int_equal(link_send(&world->link, &message), 0);
}

static void from_coordinator(struct world *world)
{
    struct message message = {.type = MESSAGE_WORKERS, .workers = {.count = 3}};
    assert_int_equal(session_send(&world->fake.session, &message), 0);
}

static void a_link_opens_when_both_sides_hold_the_key(void **state)
{
    (void)state;
    struct world world;
    struct message message = {.type = MESSAGE_STATUS};
    world_init(&world, "key");
    assert_int_equal(link_send(&world.link, &message), MUSTER_ECONNECT);
    turn(&world);
    assert_int_equal(world.link.state, LINK_CONNECTING);
    turn(&world);
    assert_int_equal(world.link.state, LINK_OPEN);
    assert_int_equal(world.opened, 1);
    assert_int_equal(world.restarted, 1);
    assert_true(world.link.welcome.heartbeat_ns == 5 * NS_PER_S);
    world_free(&world);
}

static void messages_flow_in_both_directions(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, "key");
    open_link(&world);
    submit(&world, 1);
    submit(&world, 2);
    assert_false(link_idle(&world.link));
    assert_int_equal(push(&world, true), 1);
    assert_int_equal(world.received, 2);
    from_coordinator(&world);
    turn(&world);
    assert_int_equal(world.messages, 1);
    assert_true(world.link.session.acked_messages == 2);
    assert_true(link_idle(&world.link));
    turn(&world); /* the next request acknowledges */
    assert_int_equal(world.fake.session.backlog_bytes, 0);
    world_free(&world);
}

static void a_wrong_key_is_refused_for_good(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, "kex");
    turn(&world);
    turn(&world);
    assert_int_equal(world.link.state, LINK_FAILED);
    assert_int_equal(world.failed, MUSTER_EAUTH);
    assert_int_equal(world.fake.sessions, 0);
    assert_true(link_deadline(&world.link) == NEVER_NS);
    assert_false(ask(&world));
    world_free(&world);
}

/* It lets everybody in, but cannot prove that it holds the key. */
static void a_coordinator_without_the_key_is_not_believed(void **state)
{
    (void)state;
    struct world world;
    unsigned char mac[MAC_BYTES] = {0}, token[TOKEN_BYTES] = {0};
    world_init(&world, "key");
    turn(&world);
    assert_true(ask(&world));
    struct message welcome = {.type = MESSAGE_WELCOME,
                              .welcome = {.mac = {mac, MAC_BYTES},
                                          .token = {token, TOKEN_BYTES},
                                          .heartbeat_ms = 1000,
                                          .frame_limit = FRAME_LIMIT_DEFAULT}};
    answer_message(&world, &welcome);
    assert_int_equal(world.failed, MUSTER_EAUTH);
    assert_int_equal(world.opened, 0);
    world_free(&world);
}

static void a_coordinator_of_another_version_is_named_with_both_versions(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, "key");
    world.fake.refuse = -MUSTER_EVERSION;
    turn(&world);
    assert_int_equal(world.failed, MUSTER_EVERSION);
    assert_non_null(strstr(world.reason, "version 9"));
    assert_non_null(strstr(world.reason, "version 1"));
    world_free(&world);
}

static void a_coordinator_that_is_full_is_asked_again_later(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, "key");
    world.fake.refuse = -MUSTER_ELIMIT;
    uint64_t last_ns = 0;
    for (unsigned i = 0; i < 20; i++) {
        uint64_t before_ns = world.now_ns;
        turn(&world);
        assert_int_equal(world.link.state, LINK_CONNECTING);
        last_ns = world.now_ns - before_ns;
        assert_true(last_ns <= 2 * NS_PER_S);
        if (i > 0)
            assert_true(last_ns >= 20 * NS_PER_MS);
    }
    assert_true(last_ns >= NS_PER_S);
    assert_int_equal(world.failed, 0);
    world.fake.refuse = 0;
    open_link(&world);
    world_free(&world);
}

static void what_is_not_the_protocol_fails_the_link(void **state)
{
    (void)state;
    static const unsigned char nonce[NONCE_BYTES] = {0};
    const struct message strangers[] = {
        {.type = MESSAGE_WELCOME, .welcome = {.heartbeat_ms = 1}},       /* out of place */
        {.type = MESSAGE_CHALLENGE, .challenge = {.nonce = {nonce, 5}}}, /* short nonce */
        {.type = MESSAGE_DONE},
        {.type = MESSAGE_BYE},
    };
    struct world world;
    for (size_t i = 0; i < sizeof strangers / sizeof *strangers; i++) {
        world_init(&world, "key");
        assert_true(ask(&world));
        answer_message(&world, &strangers[i]);
        assert_int_equal(world.failed, MUSTER_EPROTOCOL);
        world_free(&world);
    }
    static const char *const noise[] = {"", "hello", "\x94"};
    for (size_t i = 0; i < sizeof noise / sizeof *noise; i++) {
        world_init(&world, "key");
        assert_true(ask(&world));
        answer_with(&world, bytes_string(noise[i]));
        assert_int_equal(world.failed, MUSTER_EPROTOCOL);
        world_free(&world);
    }
}

static void a_frame_of_another_session_fails_the_link(void **state)
{
    (void)state;
    struct world world;
    struct session other;
    world_init(&world, "key");
    open_link(&world);
    session_init(&other, (const unsigned char *)"another session!", FRAME_LIMIT_DEFAULT, PAYLOAD_LIMIT_DEFAULT);
    assert_true(ask(&world));
    session_empty_frame(&other, &world.reply);
    answer_with(&world, bytes_of(&world.reply));
    assert_int_equal(world.failed, MUSTER_EPROTOCOL);
    session_free(&other);
    world_free(&world);
}

static void the_owners_error_fails_the_link(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, "key");
    open_link(&world);
    from_coordinator(&world);
    world.give = MUSTER_ENOMEM;
    turn(&world);
    assert_int_equal(world.failed, MUSTER_ENOMEM);
    assert_int_equal(world.link.state, LINK_FAILED);
    world_free(&world);
}

static void a_lost_session_is_replaced_by_a_new_one(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, "key");
    open_link(&world);
    submit(&world, 1);
    fake_forget(&world.fake);
    turn(&world);
    assert_int_equal(world.lost, 1);
    assert_string_equal(world.reason, "unknown session");
    assert_int_equal(world.link.state, LINK_CONNECTING);
    open_link(&world);
    assert_int_equal(world.opened, 2);
    assert_int_equal(world.restarted, 1);    /* it is the same coordinator: it had given us up */
    assert_int_equal(push(&world, true), 0); /* what the old session held is the owner's to send again */
    fake_forget(&world.fake);
    world.fake.identity++;
    turn(&world);
    open_link(&world);
    assert_int_equal(world.restarted, 2);
    submit(&world, 1);
    push(&world, true);
    turn(&world);
    assert_true(world.link.session.acked_messages == 1);
    world_free(&world);
}

static void a_coordinator_that_says_goodbye_is_waited_for(void **state)
{
    (void)state;
    struct world world;
    struct message bye = {.type = MESSAGE_BYE, .bye = {.reason = bytes_string("maintenance")}};
    world_init(&world, "key");
    open_link(&world);
    session_send(&world.fake.session, &bye);
    turn(&world);
    assert_int_equal(world.lost, 1);
    assert_int_equal(world.link.state, LINK_CONNECTING);
    world_free(&world);
}

static void a_failed_request_is_made_again_after_a_pause(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, "key");
    open_link(&world);
    from_coordinator(&world);
    for (unsigned i = 0; i < 5; i++) {
        assert_true(ask(&world));
        if (i == 4) /* it arrived, the answer did not */
            assert_false(fake_poll(&world.fake, bytes_of(&world.poll), &world.reply));
        world.poll_out = false;
        link_poll_failed(&world.link, world.now_ns);
        assert_false(ask(&world));
        world.now_ns = link_deadline(&world.link);
    }
    turn(&world);
    assert_int_equal(world.messages, 1);
    assert_int_equal(world.lost, 0);
    world_free(&world);
}

static void a_handshake_that_breaks_begins_again(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, "key");
    turn(&world); /* challenged */
    assert_true(ask(&world));
    fake_poll(&world.fake, bytes_of(&world.poll), &world.reply); /* welcomed, but it does not arrive */
    world.poll_out = false;
    link_poll_failed(&world.link, world.now_ns);
    open_link(&world);
    assert_int_equal(world.fake.sessions, 2);
    assert_int_equal(world.opened, 1);
    world_free(&world);
}

static void a_request_is_overdue_after_the_heartbeat_limit(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, "key");
    open_link(&world);
    assert_true(ask(&world));
    assert_true(link_deadline(&world.link) == world.now_ns + 5 * NS_PER_S);
    world.now_ns += 5 * NS_PER_S - 1;
    assert_false(link_poll_overdue(&world.link, world.now_ns));
    assert_false(link_silent(&world.link, world.now_ns));
    world.now_ns += 2;
    assert_true(link_poll_overdue(&world.link, world.now_ns));
    assert_true(link_silent(&world.link, world.now_ns));
    answer(&world);
    assert_false(link_poll_overdue(&world.link, world.now_ns));
    assert_false(link_silent(&world.link, world.now_ns));
    world_free(&world);
}

static void what_a_broken_push_connection_lost_is_sent_again(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, "key");
    open_link(&world);
    submit(&world, 1);
    assert_int_equal(push(&world, false), 1);
    submit(&world, 2);
    assert_int_equal(push(&world, false), 1);
    link_push_lost(&world.link);
    submit(&world, 3);
    assert_int_equal(push(&world, true), 0);
    link_push_connected(&world.link, world.now_ns);
    assert_int_equal(push(&world, true), 3);
    turn(&world);
    assert_true(world.link.session.acked_messages == 3);
    assert_int_equal(world.received, 3);
    world_free(&world);
}

static void a_push_that_failed_is_made_again_after_a_pause(void **state)
{
    (void)state;
    struct world world;
    struct bytes frame;
    world_init(&world, "key");
    open_link(&world);
    submit(&world, 1);
    assert_true(link_next_push(&world.link, world.now_ns, &frame));
    link_push_done(&world.link, false, world.now_ns);
    assert_false(link_next_push(&world.link, world.now_ns, &frame));
    assert_true(ask(&world));
    world.now_ns = link_deadline(&world.link);
    assert_int_equal(push(&world, true), 1);
    assert_int_equal(world.received, 1);
    world_free(&world);
}

/* A frame got lost and nothing says so: polls are answered, but nothing is acknowledged. */
static void acknowledgements_that_stand_still_lead_to_sending_again(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, "key");
    open_link(&world);
    submit(&world, 1);
    push(&world, false);
    unsigned resent = 0;
    for (unsigned second = 0; second < 11; second++) {
        if (ask(&world))
            answer(&world);
        world.now_ns += NS_PER_S;
        link_tick(&world.link, world.now_ns);
        resent += push(&world, true);
        assert_int_equal(resent, second >= 9);
    }
    assert_int_equal(world.received, 1);
    assert_true(ask(&world));
    answer(&world);
    assert_true(world.link.session.acked_messages == 1);
    world_free(&world);
}

static void goodbye_is_said_and_heard_before_the_link_closes(void **state)
{
    (void)state;
    struct world world;
    struct message message = {.type = MESSAGE_STATUS};
    world_init(&world, "key");
    open_link(&world);
    submit(&world, 1);
    assert_int_equal(link_close(&world.link, "done"), 0);
    assert_int_equal(link_send(&world.link, &message), MUSTER_ECONNECT);
    assert_int_equal(link_close(&world.link, "done"), 0);
    assert_false(link_idle(&world.link));
    assert_int_equal(world.link.state, LINK_OPEN);
    push(&world, true);
    assert_true(world.bye);
    turn(&world);
    assert_int_equal(world.link.state, LINK_CLOSED);
    assert_int_equal(world.closed, 1);
    assert_true(link_idle(&world.link));
    assert_false(ask(&world));
    assert_true(link_deadline(&world.link) == NEVER_NS);
    assert_int_equal(world.lost, 0);
    world_free(&world);
}

static void a_coordinator_that_has_forgotten_us_ends_a_closing_link(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, "key");
    open_link(&world);
    link_close(&world.link, "done");
    push(&world, true);
    fake_forget(&world.fake);
    turn(&world);
    assert_int_equal(world.link.state, LINK_CLOSED);
    assert_int_equal(world.closed, 1);
    assert_int_equal(world.lost, 0);
    world_free(&world);
    world_init(&world, "key");
    link_close(&world.link, "never mind");
    assert_int_equal(world.link.state, LINK_CLOSED);
    world_free(&world);
}

static void callbacks_are_needed(void **state)
{
    (void)state;
    struct link link;
    struct random seed;
    struct link_config config = {.role = ROLE_CLIENT};
    random_seed(&seed, "", 0);
    assert_int_equal(link_init(&link, &config, &seed, 0), MUSTER_EINVAL);
}

/* Wherever memory runs out once, the link opens and delivers a little later. */
static void a_link_survives_that_memory_ran_out(void **state)
{
    (void)state;
    bool happened = true;
    unsigned n;
    for (n = 1; happened; n++) {
        struct world world;
        world_init(&world, "key");
        memory_failure_countdown = n;
        memory_failure_happened = false;
        for (unsigned i = 0; i < 10 && world.link.session.acked_messages == 0; i++) {
            memory_fail_hook = memory_failure_hook;
            struct message message = {.type = MESSAGE_CANCEL, .cancel = {.number = 1}};
            if (world.link.state == LINK_OPEN && world.link.session.sent_messages == 0)
                link_send(&world.link, &message);
            bool asked = ask(&world);
            memory_fail_hook = NULL;
            if (asked) {
                if (!fake_poll(&world.fake, bytes_of(&world.poll), &world.reply))
                    fake_answer(&world.fake, &world.reply);
                memory_fail_hook = memory_failure_hook;
                answer_with(&world, bytes_of(&world.reply));
            }
            memory_fail_hook = memory_failure_hook;
            struct bytes frame;
            bool pushed = link_next_push(&world.link, world.now_ns, &frame);
            memory_fail_hook = NULL;
            if (pushed) {
                fake_push(&world.fake, frame);
                link_push_done(&world.link, true, world.now_ns);
            }
            world.now_ns += 100 * NS_PER_MS;
        }
        happened = memory_failure_happened;
        memory_failure_off();
        assert_int_equal(world.failed, 0);
        assert_true(world.link.session.acked_messages == 1);
        world_free(&world);
    }
    assert_true(n > 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_link_opens_when_both_sides_hold_the_key),
        cmocka_unit_test(messages_flow_in_both_directions),
        cmocka_unit_test(a_wrong_key_is_refused_for_good),
        cmocka_unit_test(a_coordinator_without_the_key_is_not_believed),
        cmocka_unit_test(a_coordinator_of_another_version_is_named_with_both_versions),
        cmocka_unit_test(a_coordinator_that_is_full_is_asked_again_later),
        cmocka_unit_test(what_is_not_the_protocol_fails_the_link),
        cmocka_unit_test(a_frame_of_another_session_fails_the_link),
        cmocka_unit_test(the_owners_error_fails_the_link),
        cmocka_unit_test(a_lost_session_is_replaced_by_a_new_one),
        cmocka_unit_test(a_coordinator_that_says_goodbye_is_waited_for),
        cmocka_unit_test(a_failed_request_is_made_again_after_a_pause),
        cmocka_unit_test(a_handshake_that_breaks_begins_again),
        cmocka_unit_test(a_request_is_overdue_after_the_heartbeat_limit),
        cmocka_unit_test(what_a_broken_push_connection_lost_is_sent_again),
        cmocka_unit_test(a_push_that_failed_is_made_again_after_a_pause),
        cmocka_unit_test(acknowledgements_that_stand_still_lead_to_sending_again),
        cmocka_unit_test(goodbye_is_said_and_heard_before_the_link_closes),
        cmocka_unit_test(a_coordinator_that_has_forgotten_us_ends_a_closing_link),
        cmocka_unit_test(callbacks_are_needed),
        cmocka_unit_test(a_link_survives_that_memory_ran_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
