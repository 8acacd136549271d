/*
 * Peers that use shared objects of a coordinator in a test.
 */
#ifndef TESTS_OBJECT_FIXTURE_H
#define TESTS_OBJECT_FIXTURE_H

#include "coordinator_fixture.h"
#include "core/objects.h"
#include "core/unpack.h"

/* Any role does: clients here. */
static inline struct fake *user_up(uint64_t identity)
{
    return connect_peer(ROLE_CLIENT, identity, 0);
}

static inline struct message expect_answer(struct fake *fake, uint64_t call, int status)
{
    struct message message = expect(fake, MESSAGE_OBJECT_ANSWER);
    assert_int_equal(message.object_answer.call, call);
    if (message.object_answer.status != (uint64_t)-status)
        fail_msg("call %u was answered with %d (%.*s), not %d", (unsigned)call, -(int)message.object_answer.status,
                 (int)message.object_answer.data.length, (const char *)message.object_answer.data.data, status);
    return message;
}

static inline struct message open_message(uint64_t call, uint64_t kind, const char *name, uint64_t flags,
                                          uint64_t first, uint64_t second)
{
    struct message message = {.type = MESSAGE_OBJECT_OPEN};
    message.object_open = (struct message_object_open){call, kind, bytes_string(name), 0, flags, first, second, {}};
    return message;
}

/* Opens or makes it; gives its id. */
static inline uint64_t open_object(struct fake *fake, uint64_t kind, const char *name, uint64_t first, uint64_t second)
{
    tell(fake, open_message(1, kind, name, OBJECT_CREATE, first, second));
    return expect_answer(fake, 1, 0).object_answer.number;
}

static inline void close_object(struct fake *fake, uint64_t object)
{
    struct message message = {.type = MESSAGE_OBJECT_CLOSE};
    message.object_close.object = object;
    tell(fake, message);
}

static inline void withdraw(struct fake *fake, uint64_t call)
{
    struct message message = {.type = MESSAGE_OBJECT_WITHDRAW};
    message.object_withdraw.call = call;
    tell(fake, message);
}

static inline void delete_object(struct fake *fake, uint64_t call, const char *name)
{
    struct message message = {.type = MESSAGE_OBJECT_DELETE};
    message.object_delete.call = call;
    message.object_delete.name = bytes_string(name);
    tell(fake, message);
}

static inline struct registry_counts object_counts(void)
{
    struct coordinator_counts counts;
    coordinator_count(world.coordinator, &counts);
    return counts.objects;
}

#endif
