/*
 * A coordinator with fake peers: what it sends them is encoded into each one's inbox and taken out message by message.
 * Every event is followed by coordinator_check().
 */
#ifndef TESTS_COORDINATOR_FIXTURE_H
#define TESTS_COORDINATOR_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/errors.h"
#include "server/coordinator.h"

#define FAKES 64
#define CLIENT 11u
#define WORKER 21u
#define SUPERVISOR 31u
#define MS NS_PER_MS
#define WORK_COST (DEFINITION_COST_BYTES + 5) /* of the function "work" without labels */

struct fake {
    struct peer peer; /* first */
    struct buffer inbox;
    size_t read; /* bytes of it taken */
    int send_status;
    bool used;
    bool closed; /* refused or closed, and its place is not given to another */
};

static struct world {
    struct coordinator *coordinator;
    struct coordinator_config config;
    uint64_t now_ns;
    struct fake fakes[FAKES];
    char discarded[1024]; /* names of discarded segments, each with a space */
} world;

static void check(void)
{
    const char *wrong = coordinator_check(world.coordinator);
    if (wrong)
        fail_msg("%s", wrong);
}

static int fake_send(struct peer *peer, const struct message *message)
{
    struct fake *fake = (struct fake *)peer;
    if (fake->send_status)
        return fake->send_status;
    bool (*hook)(void) = memory_fail_hook;
    memory_fail_hook = NULL;
    assert_int_equal(message_encode(&fake->inbox, message), 0);
    memory_fail_hook = hook;
    peer->sent++;
    return 0;
}

static void note_discard(void *arg, struct bytes name)
{
    (void)arg;
    size_t length = strlen(world.discarded);
    snprintf(world.discarded + length, sizeof world.discarded - length, "%.*s ", (int)name.length,
             (const char *)name.data);
}

static void start(bool rejoin)
{
    struct random seed;
    random_seed(&seed, "seed", 4);
    memset(&world, 0, sizeof world);
    coordinator_config_defaults(&world.config);
    world.config.identity = 1;
    world.config.pid = 1000;
    world.config.domain = "here";
    world.config.rejoin = rejoin;
    world.now_ns = 100 * NS_PER_S;
    assert_int_equal(coordinator_create(&world.coordinator, &world.config, &seed, world.now_ns), 0);
    coordinator_on_discard(world.coordinator, note_discard, NULL);
}

/* The same with other limits. */
static inline void start_with(const struct coordinator_config *config)
{
    struct random seed;
    random_seed(&seed, "seed", 4);
    coordinator_free(world.coordinator);
    world.config = *config;
    assert_int_equal(coordinator_create(&world.coordinator, &world.config, &seed, world.now_ns), 0);
    coordinator_on_discard(world.coordinator, note_discard, NULL);
}

static inline int setup(void **state)
{
    (void)state;
    start(false);
    return 0;
}

static inline int setup_rejoin(void **state)
{
    (void)state;
    start(true);
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    coordinator_free(world.coordinator);
    for (size_t i = 0; i < FAKES; i++)
        buffer_free(&world.fakes[i].inbox);
    return 0;
}

/* --- peers -------------------------------------------------------------------------------------------------------- */

static inline struct fake *fake_new(enum role role, uint64_t identity, uint64_t group)
{
    struct fake *fake = NULL;
    for (size_t i = 0; i < FAKES && !fake; i++)
        if (!world.fakes[i].used)
            fake = &world.fakes[i];
    assert_non_null(fake);
    fake->used = true;
    fake->read = fake->inbox.length = 0;
    fake->send_status = 0;
    fake->closed = false;
    fake->peer = (struct peer){.role = role,
                               .identity = identity,
                               .group = group,
                               .pid = 5000 + identity,
                               .host = "box",
                               .name = role == ROLE_WORKER ? "box/0" : "box",
                               .domain = "here",
                               .language = "c",
                               .send = fake_send};
    return fake;
}

static inline struct fake *connect_peer(enum role role, uint64_t identity, uint64_t group)
{
    struct fake *fake = fake_new(role, identity, group);
    assert_int_equal(coordinator_peer_up(world.coordinator, &fake->peer, world.now_ns), 0);
    check();
    return fake;
}

static inline void disconnect(struct fake *fake, bool goodbye)
{
    coordinator_peer_down(world.coordinator, &fake->peer, goodbye, "its connection broke", world.now_ns);
    fake->used = false;
    check();
}

static inline int tell_status(struct fake *fake, const struct message *message)
{
    const char *why = NULL;
    int status = coordinator_message(world.coordinator, &fake->peer, message, world.now_ns, &why);
    if (status == MUSTER_EPROTOCOL || status == MUSTER_ELIMIT)
        assert_true(why && why[0]);
    if (!memory_fail_hook)
        check();
    return status;
}

static inline void tell(struct fake *fake, struct message message)
{
    assert_int_equal(tell_status(fake, &message), 0);
}

static inline void flush(void)
{
    coordinator_flush(world.coordinator, world.now_ns);
    check();
}

/* Time passes in one step. */
static inline void later(uint64_t ns)
{
    world.now_ns += ns;
    coordinator_tick(world.coordinator, world.now_ns);
    check();
    flush();
}

static inline void delivered(struct fake *fake)
{
    coordinator_delivered(world.coordinator, &fake->peer, fake->peer.sent, world.now_ns);
    check();
}

/* --- what was sent to a peer -------------------------------------------------------------------------------------- */

/* The next message, or false. Views live until the inbox gets more. */
static inline bool next(struct fake *fake, struct message *message)
{
    const char *why;
    if (fake->inbox.length == fake->read)
        return false;
    struct bytes input = {fake->inbox.data + fake->read, fake->inbox.length - fake->read};
    size_t before = input.length;
    assert_int_equal(message_decode(&input, message, &why), 0);
    fake->read += before - input.length;
    return true;
}

/* The next message of this type; SETTLED and WORKERS on the way are passed over, anything else is a failure. */
static inline struct message expect(struct fake *fake, enum message_type type)
{
    struct message message;
    while (next(fake, &message)) {
        if (message.type == type)
            return message;
        if (message.type != MESSAGE_SETTLED && message.type != MESSAGE_WORKERS)
            fail_msg("expected %s, got %s", message_name(type), message_name(message.type));
    }
    fail_msg("expected %s, got nothing", message_name(type));
    return message;
}

static inline void expect_nothing(struct fake *fake)
{
    struct message message;
    while (next(fake, &message))
        if (message.type != MESSAGE_SETTLED && message.type != MESSAGE_WORKERS)
            fail_msg("expected nothing, got %s", message_name(message.type));
}

static inline struct message expect_failed(struct fake *client, uint64_t number, int status)
{
    struct message message = expect(client, MESSAGE_FAILED);
    assert_int_equal(message.failed.number, number);
    assert_int_equal(message.failed.status, -status);
    return message;
}

static inline void expect_done(struct fake *client, uint64_t number)
{
    assert_int_equal(expect(client, MESSAGE_DONE).done.number, number);
}

static inline bool contains(struct bytes text, const char *part)
{
    return memmem(text.data, text.length, part, strlen(part)) != NULL;
}

/* --- what peers say ----------------------------------------------------------------------------------------------- */

static inline void define_labels(struct fake *client, uint64_t function, const char *name, const char *const *labels,
                                 size_t count)
{
    struct buffer texts = {0};
    assert_int_equal(texts_encode(&texts, labels, count), 0);
    struct message message = {.type = MESSAGE_DEFINE};
    message.define.function = function;
    message.define.name = bytes_string(name);
    message.define.labels = bytes_of(&texts);
    tell(client, message);
    buffer_free(&texts);
}

static inline void define(struct fake *client, uint64_t function, const char *name)
{
    define_labels(client, function, name, NULL, 0);
}

static inline struct fake *client_up(uint64_t identity)
{
    struct fake *client = connect_peer(ROLE_CLIENT, identity, 0);
    define(client, 0, "work");
    return client;
}

static inline struct message submission(uint64_t number)
{
    struct message message = {.type = MESSAGE_SUBMIT};
    message.submit.number = number;
    message.submit.encoding = MUSTER_MSGPACK;
    message.submit.args = bytes_string("arguments");
    return message;
}

static inline void submit(struct fake *client, uint64_t number)
{
    tell(client, submission(number));
}

static inline void resubmit(struct fake *client, uint64_t number)
{
    struct message message = submission(number);
    message.submit.flags = TASK_RESUBMITTED;
    tell(client, message);
}

static inline void cancel(struct fake *client, uint64_t number)
{
    struct message message = {.type = MESSAGE_CANCEL};
    message.cancel.number = number;
    tell(client, message);
}

static inline void offer_labels(struct fake *worker, const char *const *names, size_t name_count,
                                const char *const *labels, size_t label_count)
{
    struct buffer functions = {0}, texts = {0};
    assert_int_equal(texts_encode(&functions, names, name_count), 0);
    assert_int_equal(texts_encode(&texts, labels, label_count), 0);
    struct message message = {.type = MESSAGE_OFFER};
    message.offer.functions = bytes_of(&functions);
    message.offer.labels = bytes_of(&texts);
    tell(worker, message);
    buffer_free(&functions);
    buffer_free(&texts);
}

static inline void offer(struct fake *worker, const char *name)
{
    offer_labels(worker, &name, 1, NULL, 0);
}

/* A worker of the supervisor SUPERVISOR that offers "work". */
static inline struct fake *worker_up(uint64_t identity)
{
    struct fake *worker = connect_peer(ROLE_WORKER, identity, SUPERVISOR);
    offer(worker, "work");
    return worker;
}

static inline struct message ticket_message(enum message_type type, uint64_t ticket)
{
    struct message message = {.type = type};
    message.returned.ticket = ticket; /* the only or first field of all of them */
    return message;
}

static inline void tell_ticket(struct fake *worker, enum message_type type, uint64_t ticket)
{
    tell(worker, ticket_message(type, ticket));
}

static inline struct message result_of(uint64_t ticket)
{
    struct message message = {.type = MESSAGE_RESULT};
    message.result =
        (struct message_result){.ticket = ticket, .run_us = 1000, .encoding = 1, .value = bytes_string("v")};
    return message;
}

static inline void result(struct fake *worker, uint64_t ticket)
{
    tell(worker, result_of(ticket));
}

static inline struct message failure_of(uint64_t ticket, int status)
{
    struct message message = {.type = MESSAGE_FAILURE};
    message.failure.ticket = ticket;
    message.failure.status = (uint64_t)-status;
    message.failure.kind = bytes_string("Oops");
    message.failure.message = bytes_string("it broke");
    return message;
}

static inline void failure(struct fake *worker, uint64_t ticket, int status)
{
    tell(worker, failure_of(ticket, status));
}

static inline void claim(struct fake *worker, uint64_t ticket, uint64_t client, uint64_t number, enum claim_state state)
{
    struct message message = {.type = MESSAGE_CLAIM};
    message.claim.ticket = ticket;
    message.claim.client = client;
    message.claim.number = number;
    message.claim.state = state;
    tell(worker, message);
}

static inline void salvage(struct fake *supervisor, uint64_t worker, uint64_t client, uint64_t number,
                           struct message outcome)
{
    struct buffer encoded = {0};
    assert_int_equal(message_encode(&encoded, &outcome), 0);
    struct message message = {.type = MESSAGE_SALVAGE};
    message.salvage.worker = worker;
    message.salvage.client = client;
    message.salvage.number = number;
    message.salvage.message = bytes_of(&encoded);
    tell(supervisor, message);
    buffer_free(&encoded);
}

/* The worker was killed by SIGKILL; `started` was the last ticket that it started. */
static inline struct message exit_of(uint64_t worker, uint64_t started)
{
    struct message message = {.type = MESSAGE_EXIT};
    message.exit.worker = worker;
    message.exit.pid = 5000 + worker;
    message.exit.signal = 9;
    message.exit.exit_status = -1;
    message.exit.started = started;
    return message;
}

static inline struct coordinator_counts counts(void)
{
    struct coordinator_counts counted;
    coordinator_count(world.coordinator, &counted);
    return counted;
}

#endif
