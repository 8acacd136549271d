/*
 * Waiting around core/sharing.h: what the functions of muster.h for shared objects have in common. Only the files
 * object*.c of bindings/c and those that offer a home include this.
 *
 * A *home* is what gives a process its session: a pool, or the worker that this process is. All of it is guarded by the
 * home's mutex.
 */
#ifndef BINDINGS_C_OBJECT_H
#define BINDINGS_C_OBJECT_H

#include "bindings/c/wait.h"
#include "core/sharing.h"

struct object_call;

struct object_home {
    pthread_mutex_t *mutex;
    struct sharing *sharing;
    struct waitlist changed;   /* room for puts, a session, an end */
    struct object_call *calls; /* of those who wait, by prev and next */
    /* Checks before anything else, mutex not held: a forked child, a callback of this pool where `what` would wait.
     * EINVAL with detail. */
    int (*check)(void *self, const char *what, bool waits);
    /* Mutex held: 0, MUSTER_ECONNECT (no session yet), or why there will be none, with detail. */
    int (*ready)(void *self);
    bool (*stopped)(void *self);   /* the task that runs here is to stop: nothing waits any more. NULL: never */
    size_t (*longest)(void *self); /* item that a message takes, bytes; 0: not known */
    void (*flush)(void *self);     /* after something was sent. Mutex held */
    void (*flush_later)(void *self);
    void (*retain)(void *self); /* a handle keeps its home */
    void (*release)(void *self);
    void *self;
};
extern const struct sharing_events object_home_events; /* with the home as arg */

/* Wakes all who wait, to look again: the session has changed, or a task is to stop. Mutex held. */
void object_home_wake(struct object_home *home);

/* The home of a public function's first argument: NULL is the worker that this process is. EINVAL with detail. */
int object_home_of(muster_pool *pool, struct object_home **home);

/* A call that a thread waits for, from object_call_new() to object_call_free(). */
struct object_call {
    struct sharing_call call; /* first */
    struct object_call *prev, *next;
    struct waitlist waiters;
    bool patient; /* its answer is waited for without limit after it was withdrawn */
};
struct object_call *object_call_new(void); /* NULL: no memory, detail set */
/* Mutex held; nothing happens to what is NULL, or was freed by object_call_wait(). */
void object_call_free(struct object_home *home, struct object_call *call);

/* Waits for an answer, which is its return value, with detail. Mutex held on entry and return. After an error that is
 * no answer (*call is NULL then) the call was withdrawn. */
int object_call_wait(struct object_home *home, struct object_call **call, uint64_t deadline_ns);

/* What follows a request: `status` of sending it; if that is 0, the wait. After an error without an answer *call is
 * NULL. Mutex held. */
int object_call_end(struct object_home *home, struct object_call **call, int status, uint64_t deadline_ns);

#define ANSWER_TIMEOUT_S 10.0 /* for an answer that the coordinator gives at once */
/* A public function's time-out: *no_wait if it is zero; then the answer is waited for. EINVAL for NaN. */
int object_deadline(double timeout, uint64_t *deadline_ns, bool *no_wait);

/* Waits on home->changed. Mutex held on entry and return. ETIMEDOUT, ECANCELED with detail. */
int object_wait_changed(struct object_home *home, uint64_t deadline_ns);

/* What a handle of any kind begins with. */
struct object_handle {
    struct object_home *home;
    struct shared *shared;
};
/* Opens an object; waits for the session first if there is none yet. */
int object_open(struct object_handle *handle, muster_pool *pool, const char *what, const char *name,
                const struct message_object_open *open, double timeout);
/* The flags of an open, checked. EINVAL with detail. */
int object_open_flags(struct message_object_open *open, const char *what, const char *name, bool existing,
                      bool persistent);
void object_close(struct object_handle *handle);
/* Checks a handle at the top of a public function. */
int object_check(const struct object_handle *handle, const char *what);

/* An item as bytes: packed into `buffer` if it has to be. EENCODING, EINVAL, ELIMIT, ENOMEM. */
struct object_bytes {
    unsigned char small[256];
    struct buffer large;
    uint64_t encoding;
    struct bytes bytes;
};
int object_pack(const struct object_home *home, const muster_value *value, struct object_bytes *packed);
void object_pack_free(struct object_bytes *packed);

#endif
