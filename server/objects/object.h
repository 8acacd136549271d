/*
 * What an object is made of, as structures, and what the files of server/objects/ offer one another. Nobody else
 * includes this.
 *
 *   registry.c   objects by id and name, sessions and their references; where messages come in
 *   waiters.c    calls that are not answered yet
 *   queue.c      queues
 *   lock.c       locks with their conditions, and semaphores
 *   event.c      events
 *   barrier.c    barriers
 *   counter.c    counters
 *
 * Who owns what: the registry owns objects and users, a user its references and waiters. A reference is one session's
 * use of one object, and holds all that the session has of it. An object lives while it has references, or is
 * persistent and not deleted. A deleted object has no name and nothing in it; calls on it are answered with
 * MUSTER_ENOOBJECT until its last reference goes.
 */
#ifndef SERVER_OBJECTS_OBJECT_H
#define SERVER_OBJECTS_OBJECT_H

#include <utlist.h>

#include "core/errors.h"
#include "core/hash.h"
#include "server/objects/registry.h"

#define OBJECT_COST_BYTES 512  /* what an object is taken to cost, its name besides */
#define ITEM_COST_BYTES 64     /* what an item is taken to cost besides its bytes */
#define LEASE_ITEMS 2048       /* items that a session has in advance, at most ... */
#define LEASE_BYTES (1u << 20) /* ... or so many bytes, or one item */
#define OPEN_NUMBERS 4         /* of its kind's, in the answer to an open */
#define NUMBERS_LIMIT 16       /* in one answer */

struct user;
struct reference;
struct object;

/* A call that is not answered yet. In a list of its object and, if it has a number, in its user's table. */
struct waiter {
    struct waiter *prev, *next;
    struct waiter **list; /* the head of the list that it is in */
    UT_hash_handle hh;    /* in user->waiters */
    struct reference *reference;
    struct waiter *own_prev, *own_next; /* in reference->waiters */
    uint64_t call;                      /* 0: nobody waits for an answer */
    uint64_t owner;                     /* of a lock, to be */
    uint64_t condition, depth;          /* of a lock that was given up to wait for a condition */
    enum { WAITER_ASKS, WAITER_SLEEPS, WAITER_NOTIFIED, WAITER_LATE } from; /* the last three: for a condition */
    uint64_t amount;   /* items that it wants; for a flush: puts that must be accepted before */
    struct item *item; /* to be put; owned */
};

/* An item of a queue. */
struct item {
    struct item *next;
    uint64_t sequence; /* its place: rising in its queue */
    uint64_t number;   /* of the lease, rising in its reference */
    uint32_t length;
    uint8_t encoding;
    unsigned char bytes[];
};

/* A list of items, oldest first. */
struct items {
    struct item *first, *last;
    size_t count, bytes;
};

/* A session's part in a queue. */
struct queue_part {
    /* as a consumer */
    struct items leased;      /* given to it, and not known to be taken */
    uint64_t given;           /* number of the last item leased */
    size_t allowance;         /* items that it may have in advance */
    bool recalled;            /* QUEUE_RECALL was sent and is not answered: */
    uint64_t recalled_number; /* of the last item that it is about; later ones were not there when it was answered */
    bool leasing, hungry;     /* in the queue's lists of those */
    struct reference *lease_prev, *lease_next, *hungry_prev, *hungry_next;
    uint64_t taken, finished; /* items; finished may be larger: others' items */
    uint64_t orphanings;      /* of the queue, that it has been told of */
    /* as a producer */
    bool producer;          /* has put something */
    uint64_t put, accepted; /* without a call: items, ever */
    uint64_t put_bytes, accepted_bytes;
    uint64_t told, told_bytes; /* accepted, and said so */
};

/* Permits that one owner has. */
struct hold {
    struct hold *prev, *next; /* in its reference's list */
    struct reference *reference;
    uint64_t owner; /* chosen by the session: a thread, say; 0 in a semaphore */
    uint64_t permits;
    uint64_t depth; /* acquisitions without a release */
    uint64_t fence; /* number of the latest grant */
};

/* A session's part in a lock or semaphore. */
struct lock_part {
    struct hold *holds;
    size_t hold_count;
};

/* One session's use of one object. */
struct reference {
    UT_hash_handle hh; /* in user->references, by `id` */
    uint64_t id;       /* of the object */
    struct object *object;
    struct user *user;
    size_t handles;                /* opens without a close */
    struct reference *prev, *next; /* among the object's */
    struct waiter *waiters;        /* its calls, oldest first */
    bool leaving;                  /* it is being dropped: its calls end, whatever they are */
    union {
        struct queue_part queue;
        struct lock_part lock;
    };
};

/* A session that uses objects. peer->user points to it. */
struct user {
    struct user *prev, *next;
    struct peer *peer;
    struct reference *references; /* hash table by id */
    struct waiter *waiters;       /* hash table by call */
    bool gone;                    /* the session has ended: nothing is sent any more */
};

struct queue {
    struct items ready;     /* to be given, in the order of their sequence */
    size_t leased;          /* items given and not known to be taken */
    size_t maximum;         /* 0: none was asked for */
    uint64_t sequence;      /* of the latest item */
    struct waiter *getters; /* wait for items; nobody does while there are ready ones */
    struct waiter *lookers; /* do not wait, but for what others have in advance; served after the getters */
    struct waiter *putters; /* wait with an item each, for room */
    struct waiter *flushes; /* QUEUE_FLUSH */
    struct waiter *joins;   /* QUEUE_JOIN */
    size_t getter_count, putter_count;
    size_t recalling;          /* recalls that are not answered */
    size_t bytes;              /* of items ready and leased */
    struct reference *leasing; /* those with leased items, longest first, by lease_next */
    struct reference *hungry;  /* those that may get more in advance, by hungry_next */
    size_t hungry_count, producers;
    uint64_t put, taken, returned, finished, unfinished, abandoned;
    uint64_t orphanings; /* how often the last producer has died */
    bool orphaned;       /* it has, and nobody has put anything since */
    bool orphan_news;    /* some getter may not have been told of that */
    bool starved;        /* in registry->starved: waits for memory */
    struct object *starved_prev, *starved_next;
};

/* A lock or a semaphore. The permits and those of all holds are LOCK_ALL together in a lock. */
#define LOCK_ALL ((uint64_t)1 << 40)
struct lock {
    uint64_t permits; /* that nobody has */
    uint64_t bound;   /* of a semaphore: never more than so many; 0: PERMITS_LIMIT */
    bool counting;    /* a semaphore */
    bool reentrant;   /* the owner of a lock may acquire it again */
    bool abandoned;   /* a holder has died, and nobody was told */
    struct hold *alone;
    struct waiter *waiters;  /* first come, first served */
    struct waiter *sleepers; /* wait for a condition */
    size_t holds, waiting, sleeping;
};

struct event {
    bool set;
    struct waiter *waiters; /* none while it is set */
    size_t waiting;
};

struct barrier {
    uint64_t parties;
    bool broken;
    struct waiter *waiters; /* fewer than there are parties, and none while it is broken */
    size_t waiting;
};

struct counter {
    uint64_t value;          /* the bits of an int64_t */
    struct waiter *watchers; /* each knows the value as it is, in `amount` */
    size_t watching;
};

struct object {
    UT_hash_handle hh;      /* by id */
    UT_hash_handle by_name; /* if it has a name */
    uint64_t id;
    enum object_kind kind;
    const struct object_class *class;
    bool persistent, deleted, changed;
    struct object *changed_prev, *changed_next; /* in the list of those to be looked at in the flush */
    struct reference *references;
    size_t reference_count;
    char *name;
    size_t name_length; /* 0: none */
    union {
        struct queue queue;
        struct lock lock;
        struct event event;
        struct barrier barrier;
        struct counter counter;
    };
};

/* What a kind does. */
struct object_class {
    const char *name;
    /* The sentence why these cannot be its parameters, or NULL. */
    const char *(*create)(struct registry *registry, struct object *object, const struct message_object_open *open);
    /* The numbers that the answer to an open tells about it. A count, at most OPEN_NUMBERS. */
    size_t (*describe)(const struct object *object, uint64_t *numbers);
    /* A message about it, of the kind's own types. The object is not deleted. */
    int (*take)(struct registry *registry, struct reference *reference, const struct message *message,
                const char **why);
    /* The call is to be answered now, with MUSTER_ETIMEDOUT. Removes the waiter. */
    void (*withdraw)(struct registry *registry, struct waiter *waiter);
    /* The session has no use of it any more: what it had goes back. Its waiters have been withdrawn. */
    void (*leave)(struct registry *registry, struct reference *reference, bool died);
    /* Everything that is in it goes; calls that wait are answered with MUSTER_ENOOBJECT. */
    void (*empty)(struct registry *registry, struct object *object);
    void (*flush)(struct registry *registry, struct object *object); /* NULL: it is never object_changed() */
    void (*status)(const struct object *object, struct json *json);
    const char *(*check)(const struct object *object, struct registry_counts *sums);
};
extern const struct object_class queue_class, lock_class, semaphore_class, event_class, barrier_class, counter_class;

struct registry {
    struct registry_config config;
    struct random random;
    struct object *objects, *names; /* hash tables */
    struct user *users;             /* list */
    struct object *changed;
    struct object *starved;
    size_t references, waiters, items, bytes;
    uint64_t fences; /* number of the latest grant of a lock */
};

/* --- registry.c --------------------------------------------------------------------------------------------------- */

void object_changed(struct registry *registry, struct object *object); /* look at it in the flush */
/* Answers a call; nothing is sent for call 0. */
void object_answer(struct user *user, uint64_t call, int status, uint64_t number, struct bytes data);
/* The same for a failure, with a sentence. */
void object_refuse(struct user *user, uint64_t call, int status, const char *sentence);
/* The same for success with numbers, as data. */
void object_tell(struct user *user, uint64_t call, uint64_t number, const uint64_t *numbers, size_t count);
void object_send(struct user *user, const struct message *message);

/* --- queue.c ------------------------------------------------------------------------------------------------------ */

void queues_feed(struct registry *registry); /* there is memory again: queues take the puts that wait for it */

/* --- waiters.c ---------------------------------------------------------------------------------------------------- */

/* A new waiter at the end of the list. NULL: no memory, or the session has too many (answered). */
struct waiter *waiter_add(struct registry *registry, struct waiter **list, struct reference *reference, uint64_t call);
/* Takes it out of its list and its user's table, and frees it. Its item must be gone. */
void waiter_remove(struct registry *registry, struct waiter *waiter);
struct waiter *waiter_find(struct user *user, uint64_t call);
/* Answers all of a list; items that they hold are for the caller to free first. */
void waiters_answer(struct registry *registry, struct waiter **list, int status, const char *sentence);

#endif
