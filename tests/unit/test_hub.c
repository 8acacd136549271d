/*
 * The hub with real links on the other side of a network that is two function calls: every poll gets a number, its
 * answer is kept where the test can look at it, lose it or deliver it. The time only passes when a test says so.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/errors.h"
#include "core/link.h"
#include "core/log.h"
#include "server/hub.h"

#define POLLS 4096

struct world {
    struct hub *hub;
    struct hub_config config;
    uint64_t now_ns;
    hub_poll_id next_poll;
    struct {
        enum { POLL_NONE, POLL_OPEN, POLL_ANSWERED, POLL_DROPPED } state;
        struct buffer answer;
    } polls[POLLS];
    uint64_t gone_pid;
    struct buffer segment; /* what `load` gives */
    int load_status;
};

static void on_answer(void *arg, hub_poll_id poll, struct bytes frame)
{
    struct world *world = arg;
    assert_int_equal(world->polls[poll % POLLS].state, POLL_OPEN);
    world->polls[poll % POLLS].state = POLL_ANSWERED;
    world->polls[poll % POLLS].answer.length = 0;
    bool (*hook)(void) = memory_fail_hook; /* the test's own memory does not run out */
    memory_fail_hook = NULL;
    assert_int_equal(buffer_append(&world->polls[poll % POLLS].answer, frame.data, frame.length), 0);
    memory_fail_hook = hook;
}

static void on_drop(void *arg, hub_poll_id poll)
{
    struct world *world = arg;
    assert_int_equal(world->polls[poll % POLLS].state, POLL_OPEN);
    world->polls[poll % POLLS].state = POLL_DROPPED;
}

static int on_load(void *arg, struct bytes name, struct buffer *out)
{
    struct world *world = arg;
    assert_true(bytes_equal(name, bytes_string("/muster-a-segment")));
    return world->load_status ? world->load_status : buffer_append(out, world->segment.data, world->segment.length);
}

static void on_peer_gone(void *arg, uint64_t pid, const char *domain)
{
    struct world *world = arg;
    (void)domain;
    world->gone_pid = pid;
}

static const struct hub_events hub_callbacks = {
    .answer = on_answer, .drop = on_drop, .load = on_load, .peer_gone = on_peer_gone};

static void quiet(enum log_level level, const char *text)
{
    (void)level;
    (void)text;
}

static void world_config(struct world *world)
{
    memset(world, 0, sizeof *world);
    world->now_ns = 1000 * NS_PER_S;
    hub_config_defaults(&world->config);
    world->config.coordinator.domain = "here";
    world->config.coordinator.pid = 4711;
    world->config.coordinator.rejoin = false;
    world->config.push_url = "test:push";
    log_hook = quiet;
}

static int world_create(struct world *world)
{
    struct random seed;
    random_seed(&seed, "hub", 3);
    return hub_create(&world->hub, &world->config, &seed, &hub_callbacks, world, world->now_ns);
}

static void world_begin(struct world *world)
{
    assert_int_equal(world_create(world), 0);
}

static void world_end(struct world *world)
{
    hub_free(world->hub);
    for (size_t i = 0; i < POLLS; i++)
        buffer_free(&world->polls[i].answer);
    buffer_free(&world->segment);
    memory_fail_hook = NULL;
}

static hub_poll_id raw_poll(struct world *world, hub_pipe_id pipe, struct bytes frame)
{
    while (world->polls[world->next_poll % POLLS].state == POLL_OPEN)
        world->next_poll++;
    hub_poll_id poll = world->next_poll++;
    world->polls[poll % POLLS].state = POLL_OPEN;
    hub_poll(world->hub, poll, pipe, NULL, frame, world->now_ns);
    hub_flush(world->hub, world->now_ns);
    return poll;
}

static struct hub_counts counts_of(struct world *world)
{
    struct hub_counts counts;
    hub_count(world->hub, &counts);
    return counts;
}

/* Lets time pass with all that is due on the way. */
static void pass(struct world *world, uint64_t ns)
{
    uint64_t end = world->now_ns + ns;
    while (hub_deadline(world->hub) <= end) {
        if (hub_deadline(world->hub) > world->now_ns)
            world->now_ns = hub_deadline(world->hub);
        hub_tick(world->hub, world->now_ns);
        hub_flush(world->hub, world->now_ns);
    }
    world->now_ns = end;
}

/* --- a peer ------------------------------------------------------------------------------------------------------- */

struct remote {
    struct world *world;
    struct link link;
    hub_pipe_id poll_pipe, push_pipe;
    hub_poll_id poll;
    unsigned opened, lost, reports;
    int failed;
    char reason[600];
    struct message last;
    struct buffer value; /* of the latest DONE */
};

static void on_open(void *arg, const struct welcome *welcome, bool restarted)
{
    (void)welcome;
    (void)restarted;
    ((struct remote *)arg)->opened++;
}

static int on_message(void *arg, const struct message *message)
{
    struct remote *remote = arg;
    remote->last = *message;
    remote->reports += message->type == MESSAGE_REPORT;
    if (message->type == MESSAGE_DONE) {
        remote->value.length = 0;
        return buffer_append(&remote->value, message->done.value.data, message->done.value.length);
    }
    return 0;
}

static void on_lost(void *arg, const char *reason)
{
    struct remote *remote = arg;
    remote->lost++;
    snprintf(remote->reason, sizeof remote->reason, "%s", reason);
}

static void on_failed(void *arg, int status, const char *reason)
{
    struct remote *remote = arg;
    remote->failed = status;
    snprintf(remote->reason, sizeof remote->reason, "%s", reason);
}

static const struct link_events link_callbacks = {
    .open = on_open, .message = on_message, .lost = on_lost, .failed = on_failed};

static void remote_begin(struct remote *remote, struct world *world, enum role role, uint64_t identity, const char *key)
{
    memset(remote, 0, sizeof *remote);
    remote->world = world;
    remote->poll_pipe = 2 * identity;
    remote->push_pipe = 2 * identity + 1;
    struct link_config config = {.role = role,
                                 .identity = identity,
                                 .language = "c",
                                 .host = "host",
                                 .domain = "here",
                                 .name = "remote",
                                 .pid = 100 + identity,
                                 .events = &link_callbacks,
                                 .arg = remote};
    config.authkey.length = strlen(key);
    memcpy(config.authkey.bytes, key, strlen(key));
    struct random seed;
    random_seed(&seed, &identity, sizeof identity);
    assert_int_equal(link_init(&remote->link, &config, &seed, world->now_ns), 0);
}

static void remote_end(struct remote *remote)
{
    link_free(&remote->link);
    buffer_free(&remote->value);
}

/* Makes the next poll, if the line is idle. */
static bool remote_ask(struct remote *remote)
{
    struct buffer frame = {0};
    bool asked = link_next_poll(&remote->link, remote->world->now_ns, &frame);
    if (asked)
        remote->poll = raw_poll(remote->world, remote->poll_pipe, bytes_of(&frame));
    buffer_free(&frame);
    return asked;
}

/* Takes the answer, if there is one. */
static bool remote_hear(struct remote *remote)
{
    struct world *world = remote->world;
    if (!remote->link.poll_in_flight || world->polls[remote->poll % POLLS].state != POLL_ANSWERED)
        return false;
    world->polls[remote->poll % POLLS].state = POLL_NONE;
    link_poll_answered(&remote->link, bytes_of(&world->polls[remote->poll % POLLS].answer), world->now_ns);
    return true;
}

static bool remote_push(struct remote *remote)
{
    struct bytes frame;
    if (!link_next_push(&remote->link, remote->world->now_ns, &frame))
        return false;
    hub_push(remote->world->hub, remote->push_pipe, frame, remote->world->now_ns);
    hub_flush(remote->world->hub, remote->world->now_ns);
    link_push_done(&remote->link, true, remote->world->now_ns);
    return true;
}

/* Everything that can happen without time passing. */
static void remote_run(struct remote *remote)
{
    while (remote_hear(remote) || remote_push(remote) || remote_ask(remote))
        ;
}

static void remote_open(struct remote *remote, struct world *world, enum role role, uint64_t identity)
{
    remote_begin(remote, world, role, identity, "");
    remote_run(remote);
    assert_int_equal(remote->link.state, LINK_OPEN);
}

static int send_status(struct remote *remote, uint64_t request)
{
    struct message message = {.type = MESSAGE_STATUS};
    message.status.request = request;
    return link_send(&remote->link, &message);
}

/* The first message of the answer to a poll, which must be one outside of any session. */
static struct message answer_of(struct world *world, hub_poll_id poll)
{
    struct frame_header header;
    struct message message;
    const char *why;
    assert_int_equal(world->polls[poll % POLLS].state, POLL_ANSWERED);
    assert_int_equal(frame_parse(bytes_of(&world->polls[poll % POLLS].answer), &header, &why), 0);
    assert_int_equal(header.token.length, 0);
    assert_int_equal(message_decode(&header.messages, &message, &why), 0);
    return message;
}

static struct message hello_message(uint64_t version, uint64_t identity, const unsigned char nonce[NONCE_BYTES])
{
    struct message message = {.type = MESSAGE_HELLO};
    message.hello = (struct message_hello){.version = version,
                                           .role = ROLE_CLIENT,
                                           .identity = identity,
                                           .language = bytes_string("c"),
                                           .host = bytes_string("h"),
                                           .domain = bytes_string("here"),
                                           .name = bytes_string("n"),
                                           .nonce = {nonce, NONCE_BYTES}};
    return message;
}

static hub_poll_id say_hello(struct world *world, hub_pipe_id pipe, uint64_t version)
{
    static const unsigned char nonce[NONCE_BYTES];
    struct message message = hello_message(version, 77, nonce);
    struct buffer frame = {0};
    assert_int_equal(frame_single(&frame, &message), 0);
    hub_poll_id poll = raw_poll(world, pipe, bytes_of(&frame));
    buffer_free(&frame);
    return poll;
}

/* --- handshakes --------------------------------------------------------------------------------------------------- */

static void a_peer_with_the_key_gets_a_session(void **state)
{
    (void)state;
    static struct world world;
    struct remote remote;
    world_config(&world);
    memcpy(world.config.authkey.bytes, "secret", 6);
    world.config.authkey.length = 6;
    world_begin(&world);
    remote_begin(&remote, &world, ROLE_CLIENT, 1, "secret");
    remote_run(&remote);
    assert_int_equal(remote.link.state, LINK_OPEN);
    assert_int_equal(remote.opened, 1);
    assert_string_equal(remote.link.welcome.push_url, "test:push");
    assert_int_equal(remote.link.welcome.pid, 4711);
    assert_int_equal(counts_of(&world).sessions, 1);
    assert_int_equal(counts_of(&world).handshakes, 1);
    remote_end(&remote);
    world_end(&world);
}

static void a_peer_with_another_key_is_refused(void **state)
{
    (void)state;
    static struct world world;
    struct remote remote;
    world_config(&world);
    memcpy(world.config.authkey.bytes, "secret", 6);
    world.config.authkey.length = 6;
    world_begin(&world);
    remote_begin(&remote, &world, ROLE_CLIENT, 1, "guess");
    remote_run(&remote);
    assert_int_equal(remote.failed, MUSTER_EAUTH);
    assert_non_null(strstr(remote.reason, "authkey"));
    assert_int_equal(counts_of(&world).sessions, 0);
    assert_int_equal(counts_of(&world).open_handshakes, 0);
    assert_int_equal(counts_of(&world).refused, 1);
    remote_end(&remote);
    world_end(&world);
}

static void another_version_is_refused_and_both_are_named(void **state)
{
    (void)state;
    static struct world world;
    world_config(&world);
    world_begin(&world);
    struct message answer = answer_of(&world, say_hello(&world, 5, 99));
    char reason[256] = "";
    assert_int_equal(answer.type, MESSAGE_REFUSED);
    assert_int_equal(answer.refused.status, -MUSTER_EVERSION);
    assert_int_equal(answer.refused.version, PROTOCOL_VERSION);
    memcpy(reason, answer.refused.reason.data, answer.refused.reason.length);
    assert_non_null(strstr(reason, "99"));
    assert_non_null(strstr(reason, "version 1"));
    world_end(&world);
}

static void a_hello_with_long_texts_is_refused(void **state)
{
    (void)state;
    static struct world world;
    static const unsigned char nonce[NONCE_BYTES];
    char text[257];
    memset(text, 'x', sizeof text);
    text[256] = 0;
    world_config(&world);
    world_begin(&world);
    for (int field = 0; field < 5; field++) {
        struct message message = hello_message(PROTOCOL_VERSION, 77, nonce);
        struct bytes *fields[] = {&message.hello.language, &message.hello.host, &message.hello.domain,
                                  &message.hello.name, &message.hello.nonce};
        struct buffer frame = {0};
        *fields[field] = bytes_string(text);
        assert_int_equal(frame_single(&frame, &message), 0);
        struct message answer = answer_of(&world, raw_poll(&world, 9, bytes_of(&frame)));
        assert_int_equal(answer.type, MESSAGE_REFUSED);
        assert_int_equal(answer.refused.status, -MUSTER_EPROTOCOL);
        buffer_free(&frame);
    }
    assert_int_equal(counts_of(&world).open_handshakes, 0);
    world_end(&world);
}

static unsigned logged;

static void count_lines(enum log_level level, const char *text)
{
    (void)level;
    (void)text;
    logged++;
}

static void strangers_cannot_flood_the_log(void **state)
{
    (void)state;
    static struct world world;
    world_config(&world);
    world_begin(&world);
    log_hook = count_lines;
    logged = 0;
    for (int i = 0; i < 1000; i++)
        raw_poll(&world, 1, bytes_string("garbage"));
    assert_in_range(logged, 1, 20);
    pass(&world, NS_PER_S);
    raw_poll(&world, 1, bytes_string("garbage"));
    assert_in_range(logged, 2, 22); /* with one that says how many were left out */
    assert_int_equal(counts_of(&world).malformed, 1001);
    world_end(&world);
}

static void a_full_table_of_handshakes_gives_up_the_oldest(void **state)
{
    (void)state;
    static struct world world;
    struct remote first;
    world_config(&world);
    world.config.handshakes = 4;
    world_begin(&world);
    remote_begin(&first, &world, ROLE_CLIENT, 1, "");
    remote_ask(&first);
    for (hub_pipe_id pipe = 100; pipe < 104; pipe++)
        assert_int_equal(answer_of(&world, say_hello(&world, pipe, PROTOCOL_VERSION)).type, MESSAGE_CHALLENGE);
    assert_int_equal(counts_of(&world).open_handshakes, 4);
    assert_int_equal(counts_of(&world).expired, 1);
    /* The one that was given up has to begin again, and gets in. */
    remote_run(&first);
    assert_int_equal(first.link.state, LINK_CONNECTING);
    pass(&world, NS_PER_S);
    remote_run(&first);
    assert_int_equal(first.link.state, LINK_OPEN);
    remote_end(&first);
    world_end(&world);
}

static void one_connection_has_one_handshake(void **state)
{
    (void)state;
    static struct world world;
    world_config(&world);
    world_begin(&world);
    for (int i = 0; i < 100; i++)
        say_hello(&world, 7, PROTOCOL_VERSION);
    assert_int_equal(counts_of(&world).open_handshakes, 1);
    hub_pipe_lost(world.hub, 7, false, world.now_ns);
    assert_int_equal(counts_of(&world).open_handshakes, 0);
    world_end(&world);
}

static void a_handshake_expires(void **state)
{
    (void)state;
    static struct world world;
    world_config(&world);
    world_begin(&world);
    for (hub_pipe_id pipe = 1; pipe <= 10; pipe++)
        say_hello(&world, pipe, PROTOCOL_VERSION);
    assert_int_equal(counts_of(&world).open_handshakes, 10);
    pass(&world, world.config.handshake_ns);
    assert_int_equal(counts_of(&world).open_handshakes, 0);
    assert_int_equal(counts_of(&world).expired, 10);
    world_end(&world);
}

static void a_repeated_proof_gets_the_same_welcome(void **state)
{
    (void)state;
    static struct world world;
    struct remote remote;
    struct buffer proof = {0};
    world_config(&world);
    world_begin(&world);
    remote_begin(&remote, &world, ROLE_CLIENT, 1, "");
    remote_ask(&remote);
    remote_hear(&remote);
    assert_true(link_next_poll(&remote.link, world.now_ns, &proof));
    hub_poll_id lost = raw_poll(&world, remote.poll_pipe, bytes_of(&proof));
    assert_int_equal(answer_of(&world, lost).type, MESSAGE_WELCOME);
    hub_pipe_lost(world.hub, remote.poll_pipe, false, world.now_ns);
    remote.poll_pipe = 900;
    remote.poll = raw_poll(&world, remote.poll_pipe, bytes_of(&proof));
    assert_true(bytes_equal(bytes_of(&world.polls[lost].answer), bytes_of(&world.polls[remote.poll].answer)));
    remote_run(&remote);
    assert_int_equal(remote.link.state, LINK_OPEN);
    assert_int_equal(counts_of(&world).sessions, 1);
    buffer_free(&proof);
    remote_end(&remote);
    world_end(&world);
}

static void a_new_hello_of_the_same_peer_ends_its_old_session(void **state)
{
    (void)state;
    static struct world world;
    struct remote old, again;
    world_config(&world);
    world_begin(&world);
    remote_open(&old, &world, ROLE_CLIENT, 1);
    remote_begin(&again, &world, ROLE_CLIENT, 1, "");
    again.poll_pipe = 500;
    remote_run(&again);
    assert_int_equal(again.link.state, LINK_OPEN);
    assert_int_equal(counts_of(&world).sessions, 1);
    assert_int_equal(counts_of(&world).lost_sessions, 1);
    assert_true(remote_hear(&old));
    assert_int_equal(old.lost, 1);
    remote_end(&old);
    remote_end(&again);
    world_end(&world);
}

static void sessions_are_limited_and_room_can_be_used_again(void **state)
{
    (void)state;
    static struct world world;
    struct remote remotes[3];
    world_config(&world);
    world.config.sessions = 2;
    world_begin(&world);
    remote_open(&remotes[0], &world, ROLE_CLIENT, 1);
    remote_open(&remotes[1], &world, ROLE_CLIENT, 2);
    remote_begin(&remotes[2], &world, ROLE_CLIENT, 3, "");
    remote_run(&remotes[2]);
    assert_int_equal(remotes[2].link.state, LINK_CONNECTING);
    assert_int_equal(counts_of(&world).refused, 1);
    link_close(&remotes[0].link, "done");
    remote_run(&remotes[0]);
    pass(&world, NS_PER_S);
    remote_run(&remotes[2]);
    assert_int_equal(remotes[2].link.state, LINK_OPEN);
    for (int i = 0; i < 3; i++)
        remote_end(&remotes[i]);
    world_end(&world);
}

/* --- hostile bytes ------------------------------------------------------------------------------------------------ */

static void hostile_bytes_are_answered_counted_and_hurt_nobody_else(void **state)
{
    (void)state;
    static struct world world;
    struct remote innocent;
    unsigned char bytes[300];
    world_config(&world);
    world_begin(&world);
    remote_open(&innocent, &world, ROLE_CLIENT, 1);
    srand(1);
    for (int i = 0; i < 20000; i++) {
        size_t length = (size_t)rand() % sizeof bytes;
        for (size_t k = 0; k < length; k++)
            bytes[k] = (unsigned char)rand();
        if (length > 4 && i % 2) /* looks like a frame at first */
            memcpy(bytes, "\x94\xc4\x00", 3);
        hub_poll_id poll = raw_poll(&world, 50 + (hub_pipe_id)(i % 5), (struct bytes){bytes, length});
        assert_int_equal(answer_of(&world, poll).type, MESSAGE_REFUSED);
        hub_push(world.hub, 60, (struct bytes){bytes, length}, world.now_ns);
        hub_flush(world.hub, world.now_ns);
    }
    assert_true(counts_of(&world).malformed >= 20000);
    assert_int_equal(send_status(&innocent, 1), 0);
    remote_run(&innocent);
    assert_int_equal(innocent.reports, 1);
    remote_end(&innocent);
    world_end(&world);
}

static void damaged_frames_close_at_most_their_own_session(void **state)
{
    (void)state;
    static struct world world;
    struct remote innocent;
    world_config(&world);
    world_begin(&world);
    remote_open(&innocent, &world, ROLE_CLIENT, 1);
    srand(2);
    for (uint64_t i = 0; i < 2000; i++) {
        struct remote victim;
        struct bytes frame;
        struct buffer damaged = {0};
        remote_open(&victim, &world, i % 2 ? ROLE_WORKER : ROLE_CLIENT, 10 + i);
        send_status(&victim, i);
        assert_true(link_next_push(&victim.link, world.now_ns, &frame));
        buffer_append(&damaged, frame.data, frame.length);
        for (int k = 0; k < 3; k++)
            damaged.data[(size_t)rand() % damaged.length] = (unsigned char)rand();
        hub_push(world.hub, victim.push_pipe, bytes_of(&damaged), world.now_ns);
        hub_flush(world.hub, world.now_ns);
        hub_pipe_lost(world.hub, victim.poll_pipe, true, world.now_ns);
        hub_pipe_lost(world.hub, victim.push_pipe, true, world.now_ns);
        buffer_free(&damaged);
        remote_end(&victim);
    }
    pass(&world, NS_PER_S);
    assert_int_equal(counts_of(&world).sessions, 1);
    remote_run(&innocent);
    send_status(&innocent, 1);
    remote_run(&innocent);
    assert_int_equal(innocent.reports, 1);
    assert_int_equal(innocent.lost, 0);
    remote_end(&innocent);
    world_end(&world);
}

static void a_malformed_frame_closes_its_session_with_the_reason(void **state)
{
    (void)state;
    static struct world world;
    struct remote remote;
    world_config(&world);
    world_begin(&world);
    remote_open(&remote, &world, ROLE_CLIENT, 1);
    struct message wrong = {.type = MESSAGE_ASSIGN}; /* nothing that a client may send */
    assert_int_equal(link_send(&remote.link, &wrong), 0);
    remote_push(&remote);
    assert_int_equal(counts_of(&world).sessions, 0);
    assert_int_equal(counts_of(&world).malformed, 1);
    assert_true(remote_hear(&remote));
    assert_int_equal(remote.lost, 1);
    assert_non_null(strstr(remote.reason, "malformed"));
    assert_int_equal(world.gone_pid, 101);
    remote_end(&remote);
    world_end(&world);
}

static void a_frame_over_the_limit_is_malformed(void **state)
{
    (void)state;
    static struct world world;
    world_config(&world);
    world_begin(&world);
    unsigned char *large = calloc(1, world.config.frame_limit + 1);
    hub_poll_id poll = raw_poll(&world, 1, (struct bytes){large, world.config.frame_limit + 1});
    struct message answer = answer_of(&world, poll);
    assert_int_equal(answer.refused.status, -MUSTER_EPROTOCOL);
    free(large);
    world_end(&world);
}

static void an_unknown_session_is_told_so(void **state)
{
    (void)state;
    static struct world world;
    struct session session;
    struct buffer frame = {0};
    world_config(&world);
    world_begin(&world);
    session_init(&session, (const unsigned char *)"0123456789abcdef", 65536, 65536);
    session_empty_frame(&session, &frame);
    assert_int_equal(answer_of(&world, raw_poll(&world, 3, bytes_of(&frame))).type, MESSAGE_LOST);
    hub_push(world.hub, 4, bytes_of(&frame), world.now_ns);
    assert_int_equal(counts_of(&world).refused, 1);
    buffer_free(&frame);
    session_free(&session);
    world_end(&world);
}

/* --- polls -------------------------------------------------------------------------------------------------------- */

static void an_open_poll_is_answered_at_the_keepalive(void **state)
{
    (void)state;
    static struct world world;
    struct remote remote;
    world_config(&world);
    world_begin(&world);
    remote_open(&remote, &world, ROLE_CLIENT, 1);
    assert_false(remote_hear(&remote));
    pass(&world, world.config.heartbeat_ns / 4);
    assert_true(remote_hear(&remote));
    remote_end(&remote);
    world_end(&world);
}

static void a_peer_that_keeps_asking_is_never_lost_and_a_silent_one_is(void **state)
{
    (void)state;
    static struct world world;
    struct remote busy, silent;
    world_config(&world);
    world_begin(&world);
    remote_open(&busy, &world, ROLE_CLIENT, 1);
    remote_open(&silent, &world, ROLE_CLIENT, 2);
    for (int i = 0; i < 30; i++) {
        pass(&world, NS_PER_S);
        remote_run(&busy);
        assert_int_equal(counts_of(&world).sessions, i < 4 ? 2 : 1);
    }
    assert_int_equal(busy.lost, 0);
    assert_int_equal(counts_of(&world).lost_sessions, 1);
    assert_int_equal(world.gone_pid, 102);
    remote_end(&busy);
    remote_end(&silent);
    world_end(&world);
}

static void nobody_is_lost_because_the_coordinator_itself_was_stopped(void **state)
{
    (void)state;
    static struct world world;
    struct remote remote;
    world_config(&world);
    world_begin(&world);
    remote_open(&remote, &world, ROLE_CLIENT, 1);
    world.now_ns += 100 * NS_PER_S; /* SIGSTOP, or a machine that slept */
    hub_tick(world.hub, world.now_ns);
    hub_flush(world.hub, world.now_ns);
    assert_int_equal(counts_of(&world).sessions, 1);
    remote_run(&remote);
    pass(&world, world.config.heartbeat_ns / 2);
    assert_int_equal(counts_of(&world).sessions, 1);
    pass(&world, 2 * world.config.heartbeat_ns);
    assert_int_equal(counts_of(&world).sessions, 0);
    remote_end(&remote);
    world_end(&world);
}

static void a_newer_poll_replaces_the_one_that_is_held(void **state)
{
    (void)state;
    static struct world world;
    struct remote remote;
    struct buffer frame = {0};
    world_config(&world);
    world_begin(&world);
    remote_open(&remote, &world, ROLE_CLIENT, 1);
    hub_poll_id older = remote.poll;
    session_empty_frame(&remote.link.session, &frame);
    remote.poll = raw_poll(&world, remote.poll_pipe, bytes_of(&frame));
    assert_int_equal(world.polls[older].state, POLL_DROPPED);
    assert_int_equal(world.polls[remote.poll].state, POLL_OPEN);
    buffer_free(&frame);
    remote_end(&remote);
    world_end(&world);
}

static void an_answer_that_was_lost_is_given_again(void **state)
{
    (void)state;
    static struct world world;
    struct remote remote;
    world_config(&world);
    world_begin(&world);
    remote_open(&remote, &world, ROLE_CLIENT, 1);
    send_status(&remote, 1);
    remote_push(&remote);
    for (int i = 0; i < 3; i++) { /* the answer never arrives */
        assert_int_equal(world.polls[remote.poll].state, POLL_ANSWERED);
        link_poll_failed(&remote.link, world.now_ns);
        while (!remote_ask(&remote))
            pass(&world, 20 * NS_PER_MS);
    }
    assert_int_equal(remote.reports, 0);
    remote_run(&remote);
    assert_int_equal(remote.reports, 1);
    remote_end(&remote);
    world_end(&world);
}

static void a_poll_of_a_lost_connection_is_dropped(void **state)
{
    (void)state;
    static struct world world;
    struct remote remote;
    world_config(&world);
    world_begin(&world);
    remote_open(&remote, &world, ROLE_CLIENT, 1);
    hub_pipe_lost(world.hub, remote.poll_pipe, false, world.now_ns);
    assert_int_equal(world.polls[remote.poll].state, POLL_DROPPED);
    assert_int_equal(counts_of(&world).sessions, 1);
    remote_end(&remote);
    world_end(&world);
}

static void a_sender_of_much_is_acknowledged_before_the_keepalive(void **state)
{
    (void)state;
    static struct world world;
    struct remote remote;
    world_config(&world);
    world_begin(&world);
    remote_open(&remote, &world, ROLE_WORKER, 1);
    struct message message = {.type = MESSAGE_OFFER};
    message.offer.functions = (struct bytes){"\x90", 1};
    message.offer.labels = (struct bytes){"\x90", 1};
    unsigned frames = 0;
    while (world.polls[remote.poll].state == POLL_OPEN && frames < 2000) {
        assert_int_equal(link_send(&remote.link, &message), 0);
        assert_true(remote_push(&remote));
        frames++;
    }
    assert_in_range(frames, 2, 1000);
    remote_hear(&remote);
    assert_true(link_idle(&remote.link));
    remote_end(&remote);
    world_end(&world);
}

static void goodbye_is_acknowledged_and_ends_the_session(void **state)
{
    (void)state;
    static struct world world;
    struct remote remote;
    world_config(&world);
    world_begin(&world);
    remote_open(&remote, &world, ROLE_CLIENT, 1);
    assert_int_equal(link_close(&remote.link, "finished"), 0);
    remote_run(&remote);
    assert_int_equal(remote.link.state, LINK_CLOSED);
    assert_int_equal(counts_of(&world).sessions, 0);
    assert_int_equal(counts_of(&world).lost_sessions, 0);
    assert_int_equal(remote.lost, 0);
    remote_end(&remote);
    world_end(&world);
}

static void a_peer_that_never_reads_is_closed_at_the_backlog_limit(void **state)
{
    (void)state;
    static struct world world;
    struct remote remote;
    world_config(&world);
    world.config.frame_limit = 8192;
    world.config.payload_limit = 8192;
    world.config.backlog_limit = 32768;
    world_begin(&world);
    remote_open(&remote, &world, ROLE_CLIENT, 1);
    unsigned requests = 0;
    while (counts_of(&world).sessions == 1 && requests < 10000) {
        assert_int_equal(send_status(&remote, ++requests), 0);
        assert_true(remote_push(&remote)); /* and never takes an answer */
    }
    assert_in_range(requests, 3, 9999);
    assert_int_equal(counts_of(&world).lost_sessions, 1);
    remote_end(&remote);
    world_end(&world);
}

/* --- connections -------------------------------------------------------------------------------------------------- */

static void a_process_whose_connections_closed_is_lost_after_a_short_grace(void **state)
{
    (void)state;
    static struct world world;
    struct remote remote;
    world_config(&world);
    world_begin(&world);
    remote_open(&remote, &world, ROLE_CLIENT, 1);
    send_status(&remote, 1);
    remote_run(&remote);
    hub_pipe_lost(world.hub, remote.poll_pipe, true, world.now_ns);
    pass(&world, NS_PER_S);
    assert_int_equal(counts_of(&world).sessions, 1); /* the other one still stands */
    hub_pipe_lost(world.hub, remote.push_pipe, true, world.now_ns);
    pass(&world, 499 * NS_PER_MS);
    assert_int_equal(counts_of(&world).sessions, 1);
    pass(&world, NS_PER_MS);
    assert_int_equal(counts_of(&world).sessions, 0);
    remote_end(&remote);
    world_end(&world);
}

static void a_frame_that_is_later_than_the_end_of_its_connection_revives_nobody(void **state)
{
    (void)state;
    static struct world world;
    struct remote remote;
    struct bytes frame;
    world_config(&world);
    world_begin(&world);
    remote_open(&remote, &world, ROLE_CLIENT, 1);
    hub_pipe_lost(world.hub, remote.poll_pipe, true, world.now_ns);
    send_status(&remote, 1);
    assert_true(link_next_push(&remote.link, world.now_ns, &frame));
    hub_push(world.hub, 0, frame, world.now_ns);
    hub_flush(world.hub, world.now_ns);
    pass(&world, NS_PER_S);
    assert_int_equal(counts_of(&world).sessions, 0);
    remote_end(&remote);
    world_end(&world);
}

static void one_that_connects_again_in_time_notices_nothing(void **state)
{
    (void)state;
    static struct world world;
    struct remote remote;
    world_config(&world);
    world_begin(&world);
    remote_open(&remote, &world, ROLE_CLIENT, 1);
    hub_pipe_lost(world.hub, remote.poll_pipe, true, world.now_ns);
    remote.poll_pipe = 800;
    pass(&world, 400 * NS_PER_MS);
    link_poll_failed(&remote.link, world.now_ns);
    pass(&world, 60 * NS_PER_MS);
    assert_true(remote_ask(&remote));
    pass(&world, NS_PER_S);
    assert_int_equal(counts_of(&world).sessions, 1);
    send_status(&remote, 1);
    remote_run(&remote);
    assert_int_equal(remote.reports, 1);
    assert_int_equal(remote.opened, 1);
    remote_end(&remote);
    world_end(&world);
}

static void a_network_connection_that_broke_leaves_the_session_until_the_heartbeat(void **state)
{
    (void)state;
    static struct world world;
    struct remote remote;
    world_config(&world);
    world_begin(&world);
    remote_open(&remote, &world, ROLE_CLIENT, 1);
    hub_pipe_lost(world.hub, remote.poll_pipe, false, world.now_ns);
    pass(&world, 4 * NS_PER_S);
    assert_int_equal(counts_of(&world).sessions, 1);
    pass(&world, NS_PER_S);
    assert_int_equal(counts_of(&world).sessions, 0);
    remote_end(&remote);
    world_end(&world);
}

/* --- local peers and segments ------------------------------------------------------------------------------------- */

struct local {
    struct local_peer *peer;
    uint64_t ticket, done, assigned;
    struct message last;
    unsigned messages;
};

static int local_message(void *arg, const struct message *message)
{
    struct local *local = arg;
    local->messages++;
    local->last = *message;
    if (message->type == MESSAGE_ASSIGN) {
        local->ticket = message->assign.ticket;
        local->assigned++;
    }
    local->done += message->type == MESSAGE_DONE;
    return 0;
}

static void local_send(struct world *world, struct local *local, const struct message *message)
{
    assert_int_equal(hub_local_message(world->hub, local->peer, message, world->now_ns), 0);
    hub_flush(world->hub, world->now_ns);
}

static void local_worker(struct world *world, struct local *worker)
{
    memset(worker, 0, sizeof *worker);
    assert_int_equal(
        hub_attach(world->hub, ROLE_WORKER, 501, "worker", local_message, worker, &worker->peer, world->now_ns), 0);
    struct message offer = {.type = MESSAGE_OFFER};
    offer.offer.functions = (struct bytes){"\x91\xa1"
                                           "f",
                                           3};
    offer.offer.labels = (struct bytes){"\x90", 1};
    local_send(world, worker, &offer);
}

static struct message define_message(void)
{
    struct message define = {.type = MESSAGE_DEFINE};
    define.define.function = 1;
    define.define.name = bytes_string("f");
    define.define.labels = (struct bytes){"\x90", 1};
    return define;
}

static struct message submit_message(uint64_t number)
{
    struct message submit = {.type = MESSAGE_SUBMIT};
    submit.submit.number = number;
    submit.submit.function = 1;
    submit.submit.items = 1;
    submit.submit.args = bytes_string("args");
    return submit;
}

static void a_task_goes_through_local_peers(void **state)
{
    (void)state;
    static struct world world;
    struct local worker, client = {0};
    world_config(&world);
    world_begin(&world);
    local_worker(&world, &worker);
    assert_int_equal(
        hub_attach(world.hub, ROLE_CLIENT, 502, "client", local_message, &client, &client.peer, world.now_ns), 0);
    struct message define = define_message(), submit = submit_message(1);
    local_send(&world, &client, &define);
    local_send(&world, &client, &submit);
    assert_int_equal(worker.assigned, 1);
    struct message result = {.type = MESSAGE_RESULT};
    result.result.ticket = worker.ticket;
    result.result.value = bytes_string("value");
    local_send(&world, &worker, &result);
    assert_int_equal(client.done, 1);
    /* The client had it at once, so the task is settled: nothing is left of it. */
    coordinator_drain(hub_coordinator(world.hub));
    assert_true(coordinator_drained(hub_coordinator(world.hub)));
    assert_null(coordinator_check(hub_coordinator(world.hub)));
    hub_detach(world.hub, client.peer, world.now_ns);
    hub_flush(world.hub, world.now_ns); /* the other one goes with the hub */
    world_end(&world);
}

/* A client elsewhere, whose task a worker here answers with a segment. */
static void segment_result(struct world *world, struct remote *client, const char *domain)
{
    struct local worker;
    world_begin(world);
    local_worker(world, &worker);
    remote_begin(client, world, ROLE_CLIENT, 1, "");
    client->link.config.domain = domain;
    remote_run(client);
    struct message define = define_message(), submit = submit_message(1);
    assert_int_equal(link_send(&client->link, &define), 0);
    assert_int_equal(link_send(&client->link, &submit), 0);
    remote_run(client);
    assert_int_equal(worker.assigned, 1);
    struct message result = {.type = MESSAGE_RESULT};
    result.result.ticket = worker.ticket;
    result.result.encoding = MUSTER_RAW | ENCODING_SEGMENT;
    result.result.value = bytes_string("/muster-a-segment");
    local_send(world, &worker, &result);
    remote_run(client);
}

static void a_segment_is_put_inline_for_a_client_elsewhere(void **state)
{
    (void)state;
    static struct world world;
    struct remote client;
    world_config(&world);
    for (int i = 0; i < 100000; i++)
        buffer_append(&world.segment, "0123456789", 10);
    segment_result(&world, &client, "elsewhere");
    assert_int_equal(client.last.type, MESSAGE_DONE);
    assert_int_equal(client.last.done.encoding, MUSTER_RAW);
    assert_true(bytes_equal(bytes_of(&client.value), bytes_of(&world.segment)));
    remote_end(&client);
    world_end(&world);
}

static void a_segment_stays_a_name_for_a_client_here(void **state)
{
    (void)state;
    static struct world world;
    struct remote client;
    world_config(&world);
    segment_result(&world, &client, "here");
    assert_int_equal(client.last.done.encoding, MUSTER_RAW | ENCODING_SEGMENT);
    assert_true(bytes_equal(bytes_of(&client.value), bytes_string("/muster-a-segment")));
    remote_end(&client);
    world_end(&world);
}

static void a_segment_that_cannot_be_read_is_a_failed_call(void **state)
{
    (void)state;
    static struct world world;
    struct remote client;
    world_config(&world);
    world.load_status = MUSTER_ESYSTEM;
    segment_result(&world, &client, "elsewhere");
    assert_int_equal(client.last.type, MESSAGE_FAILED);
    assert_int_equal(client.last.failed.number, 1);
    assert_int_equal(client.last.failed.status, -MUSTER_ESYSTEM);
    remote_end(&client);
    world_end(&world);
}

/* --- payloads as long as a message may be ------------------------------------------------------------------------- */

/* A client and a worker with sessions and a payload limit of 8 KiB. */
struct trio {
    struct world world;
    struct remote client, worker;
};

static void trio_run(struct trio *trio)
{
    for (int i = 0; i < 4; i++) {
        remote_run(&trio->client);
        remote_run(&trio->worker);
    }
}

static void trio_begin(struct trio *trio)
{
    world_config(&trio->world);
    trio->world.config.frame_limit = trio->world.config.payload_limit = 8192;
    world_begin(&trio->world);
    remote_open(&trio->worker, &trio->world, ROLE_WORKER, 3);
    remote_open(&trio->client, &trio->world, ROLE_CLIENT, 2);
    struct message offer = {.type = MESSAGE_OFFER}, define = define_message();
    offer.offer.functions = (struct bytes){"\x91\xa1"
                                           "f",
                                           3};
    offer.offer.labels = (struct bytes){"\x90", 1};
    assert_int_equal(link_send(&trio->worker.link, &offer), 0);
    assert_int_equal(link_send(&trio->client.link, &define), 0);
    trio_run(trio);
}

static void trio_end(struct trio *trio)
{
    assert_int_equal(counts_of(&trio->world).sessions, 2);
    assert_int_equal(counts_of(&trio->world).lost_sessions, 0);
    remote_end(&trio->client);
    remote_end(&trio->worker);
    world_end(&trio->world);
}

/* `payload`, lengthened to make the message as long as the limit allows. */
static void fill(struct message *message, struct bytes *payload)
{
    static const char zeros[8192];
    struct buffer encoded = {0};
    *payload = (struct bytes){zeros, 8000};
    assert_int_equal(message_encode(&encoded, message), 0);
    payload->length += 8192 - encoded.length;
    buffer_free(&encoded);
}

static void arguments_too_long_to_be_passed_on_are_refused_and_break_no_worker(void **state)
{
    (void)state;
    static struct trio trio;
    trio_begin(&trio);
    struct message submit = submit_message(1);
    fill(&submit, &submit.submit.args);
    assert_int_equal(link_send(&trio.client.link, &submit), 0);
    trio_run(&trio);
    assert_int_equal(trio.client.last.type, MESSAGE_FAILED);
    assert_int_equal(trio.client.last.failed.status, -MUSTER_ELIMIT);
    trio_end(&trio);
}

static void a_result_too_long_to_be_passed_on_is_a_failure_and_breaks_no_client(void **state)
{
    (void)state;
    static struct trio trio;
    trio_begin(&trio);
    struct message submit = submit_message(1u << 30), result = {.type = MESSAGE_RESULT};
    assert_int_equal(link_send(&trio.client.link, &submit), 0);
    trio_run(&trio);
    assert_int_equal(trio.worker.last.type, MESSAGE_ASSIGN);
    result.result.ticket = trio.worker.last.assign.ticket;
    fill(&result, &result.result.value);
    assert_int_equal(link_send(&trio.worker.link, &result), 0);
    trio_run(&trio);
    assert_int_equal(trio.client.last.type, MESSAGE_FAILED);
    assert_int_equal(trio.client.last.failed.status, -MUSTER_ELIMIT);
    trio_end(&trio);
}

static void long_words_about_a_task_are_cut_and_break_no_client(void **state)
{
    (void)state;
    static struct trio trio;
    trio_begin(&trio);
    struct message submit = submit_message(1u << 30), log = {.type = MESSAGE_TASK_LOG},
                   failure = {.type = MESSAGE_FAILURE};
    assert_int_equal(link_send(&trio.client.link, &submit), 0);
    trio_run(&trio);
    log.task_log.ticket = failure.failure.ticket = trio.worker.last.assign.ticket;
    fill(&log, &log.task_log.text);
    assert_int_equal(link_send(&trio.worker.link, &log), 0);
    trio_run(&trio);
    assert_int_equal(trio.client.last.type, MESSAGE_LOG);
    failure.failure.status = (uint64_t)-MUSTER_ETASK;
    fill(&failure, &failure.failure.message);
    assert_int_equal(link_send(&trio.worker.link, &failure), 0);
    trio_run(&trio);
    assert_int_equal(trio.client.last.type, MESSAGE_FAILED);
    assert_int_equal(trio.client.last.failed.status, -MUSTER_ETASK);
    trio_end(&trio);
}

static void a_status_report_is_cut_to_what_a_message_may_hold(void **state)
{
    (void)state;
    static struct trio trio;
    trio_begin(&trio);
    char name[8];
    for (unsigned i = 2; i < 300; i++) {
        struct message define = define_message();
        snprintf(name, sizeof name, "f%u", i);
        define.define.function = i;
        define.define.name = bytes_string(name);
        assert_int_equal(link_send(&trio.client.link, &define), 0);
    }
    assert_int_equal(send_status(&trio.client, 1), 0);
    trio_run(&trio);
    assert_int_equal(trio.client.reports, 1);
    trio_end(&trio);
}

static void unfinished_messages_count_under_the_limit_of_all_that_is_held(void **state)
{
    (void)state;
    static struct world world;
    struct remote remotes[3];
    static char large[100000];
    world_config(&world);
    world.config.frame_limit = 8192;
    world.config.coordinator.total_bytes = 150000;
    world_begin(&world);
    struct message submit = submit_message(1);
    submit.submit.args = (struct bytes){large, sizeof large};
    for (unsigned i = 0; i < 3; i++) {
        remote_open(&remotes[i], &world, ROLE_CLIENT, i + 1);
        assert_int_equal(link_send(&remotes[i].link, &submit), 0);
        for (int frame = 0; frame < 11; frame++) /* all but the last two */
            assert_true(remote_push(&remotes[i]));
        if (i == 0)
            assert_int_equal(counts_of(&world).lost_sessions, 0);
    }
    assert_int_equal(counts_of(&world).lost_sessions, 2);
    for (unsigned i = 0; i < 3; i++)
        remote_end(&remotes[i]);
    struct remote last; /* what the others had sent is given back */
    world.now_ns += NS_PER_MS;
    remote_open(&last, &world, ROLE_CLIENT, 9);
    assert_int_equal(link_send(&last.link, &submit), 0);
    for (int frame = 0; frame < 6; frame++)
        assert_true(remote_push(&last));
    assert_int_equal(counts_of(&world).lost_sessions, 2);
    remote_end(&last);
    world_end(&world);
}

/* --- limits, memory, the end -------------------------------------------------------------------------------------- */

static void limits_that_contradict_each_other_are_refused(void **state)
{
    (void)state;
    static struct world world;
    world_config(&world);
    world.config.payload_limit = world.config.frame_limit - 1;
    assert_int_equal(world_create(&world), MUSTER_EINVAL);
    world_config(&world);
    world.config.backlog_limit = world.config.payload_limit - 1;
    assert_int_equal(world_create(&world), MUSTER_EINVAL);
    world_config(&world);
    world.config.sessions = 0;
    assert_int_equal(world_create(&world), MUSTER_EINVAL);
}

static unsigned allocations_left;

static bool fail_after(void)
{
    return allocations_left == 0 || allocations_left-- == 0;
}

static void memory_that_runs_out_is_survived(void **state)
{
    (void)state;
    static struct world world;
    for (unsigned n = 0; n < 120; n++) {
        struct remote remote;
        world_config(&world);
        world_begin(&world);
        remote_begin(&remote, &world, ROLE_CLIENT, 1, "");
        /* Both sides fail from the n-th allocation on, then recover. */
        allocations_left = n;
        memory_fail_hook = fail_after;
        remote_run(&remote);
        send_status(&remote, 1);
        remote_run(&remote);
        memory_fail_hook = NULL;
        if (world.polls[remote.poll].state == POLL_DROPPED && remote.link.poll_in_flight)
            link_poll_failed(&remote.link, world.now_ns);
        for (int i = 0; i < 10 && remote.link.state != LINK_OPEN && !remote.failed; i++) {
            pass(&world, NS_PER_S);
            remote_run(&remote);
        }
        struct remote other;
        remote_open(&other, &world, ROLE_CLIENT, 2);
        send_status(&other, 2);
        remote_run(&other);
        assert_int_equal(other.reports, 1);
        remote_end(&remote);
        remote_end(&other);
        world_end(&world);
    }
}

static void at_the_end_every_peer_is_told(void **state)
{
    (void)state;
    static struct world world;
    struct remote remote;
    world_config(&world);
    world_begin(&world);
    remote_open(&remote, &world, ROLE_CLIENT, 1);
    hub_shutdown(world.hub, world.now_ns);
    assert_true(remote_hear(&remote));
    assert_int_equal(remote.lost, 1);
    assert_non_null(strstr(remote.reason, "ending"));
    pass(&world, NS_PER_S);
    assert_true(remote_ask(&remote)); /* and nobody gets in any more, for now */
    remote_hear(&remote);
    remote_run(&remote);
    assert_int_equal(remote.link.state, LINK_CONNECTING);
    remote_end(&remote);
    world_end(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_peer_with_the_key_gets_a_session),
        cmocka_unit_test(a_peer_with_another_key_is_refused),
        cmocka_unit_test(another_version_is_refused_and_both_are_named),
        cmocka_unit_test(a_hello_with_long_texts_is_refused),
        cmocka_unit_test(strangers_cannot_flood_the_log),
        cmocka_unit_test(a_full_table_of_handshakes_gives_up_the_oldest),
        cmocka_unit_test(one_connection_has_one_handshake),
        cmocka_unit_test(a_handshake_expires),
        cmocka_unit_test(a_repeated_proof_gets_the_same_welcome),
        cmocka_unit_test(a_new_hello_of_the_same_peer_ends_its_old_session),
        cmocka_unit_test(sessions_are_limited_and_room_can_be_used_again),
        cmocka_unit_test(hostile_bytes_are_answered_counted_and_hurt_nobody_else),
        cmocka_unit_test(damaged_frames_close_at_most_their_own_session),
        cmocka_unit_test(a_malformed_frame_closes_its_session_with_the_reason),
        cmocka_unit_test(a_frame_over_the_limit_is_malformed),
        cmocka_unit_test(an_unknown_session_is_told_so),
        cmocka_unit_test(an_open_poll_is_answered_at_the_keepalive),
        cmocka_unit_test(a_peer_that_keeps_asking_is_never_lost_and_a_silent_one_is),
        cmocka_unit_test(nobody_is_lost_because_the_coordinator_itself_was_stopped),
        cmocka_unit_test(a_newer_poll_replaces_the_one_that_is_held),
        cmocka_unit_test(an_answer_that_was_lost_is_given_again),
        cmocka_unit_test(a_poll_of_a_lost_connection_is_dropped),
        cmocka_unit_test(a_sender_of_much_is_acknowledged_before_the_keepalive),
        cmocka_unit_test(goodbye_is_acknowledged_and_ends_the_session),
        cmocka_unit_test(a_peer_that_never_reads_is_closed_at_the_backlog_limit),
        cmocka_unit_test(a_process_whose_connections_closed_is_lost_after_a_short_grace),
        cmocka_unit_test(a_frame_that_is_later_than_the_end_of_its_connection_revives_nobody),
        cmocka_unit_test(one_that_connects_again_in_time_notices_nothing),
        cmocka_unit_test(a_network_connection_that_broke_leaves_the_session_until_the_heartbeat),
        cmocka_unit_test(a_task_goes_through_local_peers),
        cmocka_unit_test(a_segment_is_put_inline_for_a_client_elsewhere),
        cmocka_unit_test(a_segment_stays_a_name_for_a_client_here),
        cmocka_unit_test(a_segment_that_cannot_be_read_is_a_failed_call),
        cmocka_unit_test(arguments_too_long_to_be_passed_on_are_refused_and_break_no_worker),
        cmocka_unit_test(a_result_too_long_to_be_passed_on_is_a_failure_and_breaks_no_client),
        cmocka_unit_test(long_words_about_a_task_are_cut_and_break_no_client),
        cmocka_unit_test(a_status_report_is_cut_to_what_a_message_may_hold),
        cmocka_unit_test(unfinished_messages_count_under_the_limit_of_all_that_is_held),
        cmocka_unit_test(limits_that_contradict_each_other_are_refused),
        cmocka_unit_test(memory_that_runs_out_is_survived),
        cmocka_unit_test(at_the_end_every_peer_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
