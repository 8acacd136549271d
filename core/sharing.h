/*
 * A peer's end of the shared objects that it uses over its session (docs/objects.md): calls that wait for an answer,
 * items that it was given in advance, puts that are not accepted yet. Pure: messages in, messages and callbacks out;
 * clients, workers and the simulator put waiting and time-outs around it.
 *
 * An object belongs to the session in which it was opened. When that is gone every call on it ends and it is dead;
 * nothing is resumed.
 */
#ifndef CORE_SHARING_H
#define CORE_SHARING_H

#include "core/hash.h"
#include "core/objects.h"
#include "muster.h"

struct sharing;
struct shared;

/* An item, with its bytes behind it. Made when it arrives, freed with memory_free(). */
struct parcel {
    muster_parcel item; /* first; for whoever takes it to fill in */
    struct parcel *next;
    uint64_t number; /* of its lease; 0: given for good */
    uint64_t encoding;
    size_t length;
    unsigned char bytes[];
};

struct parcels {
    struct parcel *first, *last;
    size_t count;
};

/*
 * A request that is to be answered. Made by the caller, all zero but `tag`; it must stay where it is until it is done,
 * or abandoned: then it is freed with memory_free() when it is not needed any more.
 */
struct sharing_call {
    void *tag;
    /* the answer, when `done` */
    bool done;
    int status;       /* 0 or MUSTER_E... */
    const char *text; /* the sentence behind a failure; in `sentence` or static */
    uint64_t number;
    uint64_t numbers[16];
    size_t count;           /* of numbers */
    struct shared *shared;  /* of an open: what was opened. Otherwise what it is about, or NULL */
    struct parcels parcels; /* of a get: owned by the caller */
    /* the rest is sharing.c's own */
    char sentence[160];
    UT_hash_handle hh;
    uint64_t call;
    enum message_type type;
    enum object_kind kind;    /* of an open */
    size_t wanted;            /* of a get */
    uint64_t owner;           /* of an acquisition */
    struct shared_hold *hold; /* given up to wait for a condition */
    bool abandoned;
    struct sharing_call *prev, *next; /* gets of one queue, oldest first */
};

/* What one owner in this process has of a lock. */
struct shared_hold {
    struct shared_hold *next;
    uint64_t owner, depth;
};

/* An object in use. */
struct shared {
    UT_hash_handle hh;
    uint64_t id;
    enum object_kind kind;
    size_t handles;
    int dead; /* why it cannot be used any more; 0: it can */
    const char *dead_text;
    void *tag;                           /* of whoever waits for room */
    uint64_t maximum;                    /* of a queue; 0: none */
    struct parcels ahead;                /* given and not taken */
    uint64_t taken;                      /* number of the last item taken */
    size_t waiting_items, waiting_bytes; /* put without a call and not accepted yet */
    struct sharing_call *gets;
    struct shared_hold *holds; /* of a lock */
};

struct sharing_events {
    void (*done)(void *arg, struct sharing_call *call);
    /* A put without a call may have room now, or never: the object is dead. */
    void (*room)(void *arg, struct shared *shared);
};

/* link_send() or the embedded coordinator. */
typedef int sharing_send(void *arg, const struct message *message);

int sharing_create(struct sharing **sharing, const struct sharing_events *events, void *arg, sharing_send *send,
                   void *send_arg);         /* 0 or MUSTER_ENOMEM */
void sharing_free(struct sharing *sharing); /* no call is outstanding; objects stay until they are closed */

/* A new session was opened, or the old one is lost: everything of the old one is dead (MUSTER_ELOST). */
void sharing_renew(struct sharing *sharing);
/* The peer ends: the same with another status, and no object can be opened any more. `text` is static. */
void sharing_end(struct sharing *sharing, int status, const char *text);
/* A message for which object_reply() is true. MUSTER_EPROTOCOL, MUSTER_ENOMEM: the session is to be closed. */
int sharing_message(struct sharing *sharing, const struct message *message);

/* Each sends a request whose answer completes the call: 0, or why it could not be sent (MUSTER_ECONNECT: no session;
 * the call is as before). The first two need no object. */
int sharing_open(struct sharing *sharing, struct sharing_call *call, const struct message_object_open *open);
int sharing_delete(struct sharing *sharing, struct sharing_call *call, struct bytes name);
int sharing_get(struct sharing *sharing, struct shared *shared, struct sharing_call *call, size_t count, bool no_wait);
int sharing_put(struct sharing *sharing, struct shared *shared, struct sharing_call *call, bool no_wait,
                uint64_t encoding, struct bytes item);
int sharing_ask(struct sharing *sharing, struct shared *shared, struct sharing_call *call, enum queue_question what);
int sharing_finished(struct sharing *sharing, struct shared *shared, struct sharing_call *call, uint64_t count);

/* Acquires a lock (LOCK_ALONE or LOCK_SHARED) or a permit. The answer's number is the grant's, its first number is 1 if
 * a holder has died since the last grant. */
int sharing_acquire(struct sharing *sharing, struct shared *shared, struct sharing_call *call, uint64_t owner,
                    enum lock_mode mode, bool no_wait);
int sharing_release(struct sharing *sharing, struct shared *shared, struct sharing_call *call, uint64_t flags,
                    uint64_t owner, uint64_t count);
int sharing_ask_lock(struct sharing *sharing, struct shared *shared, struct sharing_call *call);
/* Gives up a lock that is held alone until the condition is notified. When it is answered, with 0 or ETIMEDOUT, the
 * lock is held again. EINVAL: it is not held. */
int sharing_wait(struct sharing *sharing, struct shared *shared, struct sharing_call *call, uint64_t owner,
                 uint64_t condition);
/* The same for an event, and setting or clearing it. */
int sharing_event_wait(struct sharing *sharing, struct shared *shared, struct sharing_call *call, bool no_wait);
int sharing_event_set(struct sharing *sharing, struct shared *shared, struct sharing_call *call, bool set);
/* A message of a counter's own, in which object and call are filled in. The answer's number is the value. */
int sharing_counter(struct sharing *sharing, struct shared *shared, struct sharing_call *call, struct message *message);
/* The answer's number says which of the parties this is. */
int sharing_barrier_wait(struct sharing *sharing, struct shared *shared, struct sharing_call *call);
int sharing_barrier_reset(struct sharing *sharing, struct shared *shared, struct sharing_call *call, bool broken);
int sharing_barrier_ask(struct sharing *sharing, struct shared *shared, struct sharing_call *call);
/* The answer's number is how many were woken. */
int sharing_notify(struct sharing *sharing, struct shared *shared, struct sharing_call *call, uint64_t owner,
                   uint64_t condition, uint64_t count);
/* Releases what this owner has acquired, without an answer. EINVAL: it has not. */
int sharing_release_own(struct sharing *sharing, struct shared *shared, uint64_t owner);

/* Its time is over: asks for the answer now. */
void sharing_withdraw(struct sharing *sharing, struct sharing_call *call);
/* Nobody waits for the answer any more; frees the call, at once or later. */
void sharing_abandon(struct sharing *sharing, struct sharing_call *call);

/* A put without a call, if there is room in the window: 0, MUSTER_EAGAIN, or why it could not be sent. */
int sharing_put_ahead(struct sharing *sharing, struct shared *shared, uint64_t encoding, struct bytes item);
/* The next item that was given in advance, which is taken with that; NULL: there is none. */
struct parcel *sharing_take(struct sharing *sharing, struct shared *shared);
/* One handle less; with the last one it is gone. */
void sharing_close(struct sharing *sharing, struct shared *shared);

#endif
