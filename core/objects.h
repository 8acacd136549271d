/*
 * The numbers in the messages of shared objects (docs/objects.md, docs/protocol.md).
 */
#ifndef CORE_OBJECTS_H
#define CORE_OBJECTS_H

#include "core/message.h"

/* OBJECT_OPEN.kind */
enum object_kind {
    OBJECT_QUEUE = 1,
    OBJECT_LOCK = 2,
    OBJECT_SEMAPHORE = 3,
    OBJECT_EVENT = 4,
    OBJECT_BARRIER = 5,
    OBJECT_COUNTER = 6,
    OBJECT_KINDS
};

/* OBJECT_OPEN.flags */
enum object_open_flags { OBJECT_CREATE = 1, OBJECT_PERSISTENT = 2 };

/* QUEUE_PUT.flags, QUEUE_GET.flags, LOCK_ACQUIRE.flags, EVENT_WAIT.flags, COUNTER_WAIT.flags */
enum object_call_flags { OBJECT_NO_WAIT = 1 };

/* COUNTER_SET.flags */
enum counter_set_flags { COUNTER_IF_EQUAL = 1 };

/* LOCK_RELEASE.flags */
enum lock_release_flags { LOCK_ANYBODYS = 1 };

/* LOCK_ACQUIRE.mode */
enum lock_mode { LOCK_ALONE = 0, LOCK_SHARED = 1 };

/* The data of the answer to LOCK_ASK, in the order of muster_lock_statistics. */
#define LOCK_STATS_COUNT 5

/* The data of the answer to BARRIER_ASK, in the order of muster_barrier_statistics. */
#define BARRIER_STATS_COUNT 3

#define PERMITS_LIMIT INT32_MAX /* of a semaphore; parties of a barrier */

/* QUEUE_ASK.what */
enum queue_question {
    QUEUE_STATS = 0, /* the numbers */
    QUEUE_FLUSH = 1, /* answered when all that this session has put is accepted */
    QUEUE_JOIN = 2   /* answered when every item that was put is finished */
};

/* The data of the answer to QUEUE_STATS: an array of so many numbers, in the order of muster_queue_statistics. */
#define QUEUE_STATS_COUNT 11

#define OBJECT_NAME_LIMIT 255

/* What a session may have put into one queue, without a call and not accepted yet. */
#define QUEUE_WINDOW_ITEMS 16384
#define QUEUE_WINDOW_BYTES (4 * 1024 * 1024)

/* The types of messages that are about objects, in each direction. */
static inline bool object_request(enum message_type type)
{
    return type >= 72 && type < 96;
}
static inline bool object_reply(enum message_type type)
{
    return (unsigned)type >= 96;
}

#endif
