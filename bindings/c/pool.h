/*
 * What a pool and its results are made of. Only the files of bindings/c include this.
 *
 *   pool.c       the pool itself: open, close, join, terminate, free, statistics; the client's events
 *   embedded.c   the backend of "local:": coordinator and supervisor in this process
 *   remote.c     the backend of every other URL: a link to a musterd
 *   call.c       single calls; how any task is packed and submitted
 *   definition.c functions with a body
 *   arguments.c  shared-memory segments for large arguments
 *   map.c        map and starmap: many items in chunks
 *   imap.c       lazy iteration: a generator, a window, results made and taken one after the other
 *   result.c     result handles: outcomes in, waiting, values and errors out
 *   callbacks.c  the thread that runs the user's callbacks
 *   object*.c    shared objects; object_pool.c is what a pool does for them
 *
 * One mutex for each pool guards all of it, the coordinator in an embedded pool included. A result is written under the
 * mutex until it is ready and never after, so a ready one is read without any lock.
 *
 * References keep the order of frees from mattering. A pool structure lives until muster_pool_free() was called and the
 * last result, iterator and callback thread have let go of it; after muster_pool_free() only its mutex and names are
 * left.
 */
#ifndef BINDINGS_C_POOL_H
#define BINDINGS_C_POOL_H

#include <stdatomic.h>

#include "bindings/c/client.h"
#include "bindings/c/object.h"
#include "bindings/c/value.h"
#include "bindings/c/wait.h"
#include "core/clock.h"
#include "core/errors.h"
#include "core/hash.h"
#include "core/segment.h"

/* --- results ------------------------------------------------------------------------------------------------------ */

/* Why something failed: the public structure and its strings, in one block. Shared by all items of a lost chunk. */
struct failure {
    struct failure *next; /* of the same result */
    muster_error error;
    char text[];
};

/* One item of a result. A failed one has the type SLOT_FAILED, and `data` points to its struct failure. */
#define SLOT_FAILED 0x7f
typedef muster_value slot;

/* One task of a result: the only one of a call, or a chunk of a map. */
struct call {
    muster_result *result;
    uint64_t number;                    /* at the client */
    size_t first, items;                /* which slots are its */
    bool plain;                         /* the value is the payload itself, not an array of items */
    bool done;                          /* its outcome has arrived */
    bool once;                          /* it is not to be retried */
    uint64_t opening;                   /* pool->openings when it was submitted */
    struct argument_segment *arguments; /* holds its arguments until the outcome; NULL: they went inline */
    void *block;                        /* the value's bytes, if slots point into them: from the heap... */
    struct segment *mapped;             /* ...or a mapped segment */
};

/* A segment of this client's, written once for each call that uses it. */
#define SPARE_COUNT 4                  /* a pool keeps so many for its next arguments... */
#define SPARE_BYTES (16 * 1024 * 1024) /* ...and so many bytes in all */
struct argument_segment {
    struct argument_segment *next; /* among the spare ones */
    struct segment segment;
};

/* What is queued for the callback thread. */
enum event_kind { EVENT_RESULT, EVENT_PROGRESS, EVENT_LOG };
struct event {
    struct event *next;
    enum event_kind kind;
};

struct muster_result {
    atomic_int references; /* one for the caller's handle, one until it is ready, one for each queued event */
    atomic_bool ready;
    int status; /* of the first failed item; 0: all succeeded. Valid once ready */
    int fd;     /* eventfd, -1: not asked for yet */
    muster_pool *pool;
    const char *function;                /* interned in the pool */
    uint64_t base;                       /* index of slot 0 in the input of an iteration, otherwise 0 */
    size_t count, call_count, remaining; /* slots, calls, calls without an outcome */
    slot *slots;
    struct call *calls; /* slots and calls stand behind the structure, in the same block */
    struct failure *failures, *first_failure;
    size_t first_failed; /* slot of first_failure */
    struct waitlist waiters;
    struct event event; /* its place in the callback queue */
    muster_callback *on_success, *on_error;
    muster_progress_fn *on_progress;
    void *arg;
    muster_iterator *iterator;      /* that is told when it is ready, or NULL */
    muster_result *next, *previous; /* in the iterator's lists */
};

/* A result with `calls` calls and `count` slots, all zero, with the options' callbacks; references: the pool's and the
 * caller's. NULL: no memory. */
muster_result *result_create(muster_pool *pool, const char *function, size_t calls, size_t count,
                             const muster_options *options);
void result_release(muster_result *result); /* drops one reference; mutex held or not */
/* The outcome of one of its calls, DONE or FAILED. Mutex held. */
void result_outcome(struct call *call, const struct message *message);
/* The same for a call that was not submitted: it fails here and now. Mutex held. */
void result_fail(struct call *call, int status, const char *reason);
/* All calls have their outcome: tells everybody. Drops the pool's reference. Mutex held. */
void result_complete(muster_result *result);
/* A result that was never submitted as a whole: frees what it holds. No call of it is outstanding. */
void result_discard(muster_result *result);
/* Waits like muster_wait(), without the check for callbacks. */
int result_wait(muster_result *result, uint64_t deadline_ns);
/* Asks the coordinator to cancel its calls that have no outcome. Mutex held, and a reference: it may be ready
 * afterwards. */
void result_cancel(muster_result *result);
/* Sets the error detail for a ready result and returns its status. */
int result_status(const muster_result *result);

/* --- definitions -------------------------------------------------------------------------------------------------- */

struct muster_definition {
    muster_pool *pool; /* with a reference */
    const char *function;
    struct definition *definition; /* at the client, kept by this handle */
};

/* --- calls -------------------------------------------------------------------------------------------------------- */

/* The options of a call, as the client wants them, checked. */
struct call_terms {
    struct client_call call; /* everything but args, items and tag */
    bool nonblocking;
    bool from_iterator; /* goes on after muster_pool_close() */
    bool *stalled;      /* set under the mutex when there is no room, or NULL */
};
/* Checks the options and what is called, and interns the function's name. EINVAL, ELIMIT, ENOMEM. */
int terms_make(struct call_terms *terms, muster_pool *pool, const char *function, const muster_options *options);

/* Arguments that are to be packed: their size is known, and they are written at once to where they stay. */
struct packing {
    enum muster_encoding encoding;
    uint64_t items; /* 0: a plain call */
    size_t size;
    void (*pack)(unsigned char *at, const void *arg);
    void (*store)(struct segment_writer *out, const void *arg); /* writes the same bytes into a segment */
    const void *arg;
};
/* Writes the arguments into a segment; NULL: there is no room for one. Mutex not held. */
struct argument_segment *argument_segment_write(muster_pool *pool, const struct packing *packing);
/* Its call is over. `unread`: no worker reads it any more, so it may be used again; that wants the mutex held. NULL is
 * allowed. */
void argument_segment_release(muster_pool *pool, struct argument_segment *segment, bool unread);
void argument_segments_free(muster_pool *pool); /* the spare ones */
/* Packs and submits one call. Waits for room unless terms->nonblocking. EAGAIN, ECLOSED, ELIMIT, ENOMEM, or why the
 * pool failed. */
int call_submit(muster_pool *pool, struct call *call, const struct call_terms *terms, const struct packing *packing);
/* The same when the result is that call alone: on failure it is discarded and *result NULL. */
int call_submit_only(muster_pool *pool, muster_result **result, const struct call_terms *terms,
                     const struct packing *packing, bool dropped);

/* --- iteration ---------------------------------------------------------------------------------------------------- */

/* A result of this iterator is ready. Mutex held. */
void iterator_result_ready(muster_iterator *iterator, muster_result *result);
/* There is room in the window again, or there is no point in waiting for it. Mutex held. */
void iterators_room(muster_pool *pool);

/* --- callbacks ---------------------------------------------------------------------------------------------------- */

struct callbacks {
    pthread_t thread;
    bool running; /* the thread was started and has not been told to end */
    bool ending;  /* it ends when the queue is empty */
    bool busy;    /* it is inside a callback */
    struct event *first, *last;
    size_t queued; /* progress and log events in the queue: bounded */
    pthread_cond_t wake;
};

int callbacks_start(muster_pool *pool);                          /* at first need. Mutex held. ESYSTEM */
void callbacks_result(muster_pool *pool, muster_result *result); /* it is ready: queue its callback. Mutex held */
void callbacks_progress(muster_pool *pool, muster_result *result, size_t item, const struct message_progress *progress);
void callbacks_log(muster_pool *pool, const struct message_log *log);
bool callbacks_idle(const muster_pool *pool);   /* nothing queued, nothing running. Mutex held */
bool callbacks_inside(const muster_pool *pool); /* the calling thread is this pool's callback thread */
/* Lets the thread run what is queued and end; waits for it unless called from it. Mutex not held. */
void callbacks_end(muster_pool *pool);
/* EINVAL with detail if the calling thread is in a callback of this pool, where `what` would wait. */
int callbacks_refuse(const muster_pool *pool, const char *what);

/* --- pools -------------------------------------------------------------------------------------------------------- */

enum pool_state {
    POOL_OPEN,
    POOL_CLOSED,    /* no more calls */
    POOL_FINISHED,  /* closed, joined: the local workers end */
    POOL_TERMINATED /* everything was cancelled */
};

/* Where the coordinator is. Everything but `stop` is called with the pool's mutex held. */
struct backend {
    client_send *send;
    void (*flush)(void *self);                  /* after messages were sent */
    bool (*flush_later)(void *self, bool busy); /* soon is enough: see transport_flush_later() */
    int (*finish)(void *self, bool now); /* no call will come: say goodbye, end the local workers; `now`: by force */
    bool (*over)(void *self);            /* finished, and nothing of it is left */
    void (*stop)(void *self);            /* ends its threads and frees it; mutex not held */
    void *self;
    uint64_t
        patience_ns; /* how long after `finish` it may take to be over; then it counts as that. NEVER_NS: no limit */
};

/* Names of functions, kept for errors as long as the pool's structure lives. */
struct function_name {
    UT_hash_handle hh;
    char text[];
};

/* A thread in muster_pool_status(). */
struct status_request {
    struct status_request *next;
    uint64_t number;
    char *json;
    bool answered;
    struct waitlist waiters;
};

struct muster_pool {
    pthread_mutex_t mutex;
    atomic_size_t
        references; /* the caller's, each result's, each iterator's, each waiting thread's, the callback thread's */
    unsigned fork_generation; /* of the process that opened it */
    uint64_t pid;
    char *url;
    enum pool_state state;
    uint64_t finished_ns; /* when the backend was first told to finish; 0: not yet */
    bool freed;           /* muster_pool_free() was called: client and backend are gone */
    bool connected;       /* has been, at least once */
    bool unflushed;       /* something waits since flush_later() */
    int failed;           /* why the pool can do no more, or 0 */
    char *failed_reason;
    struct client *client;
    struct backend backend;
    uint64_t openings; /* how often it was connected: every task without an outcome is then submitted again */
    atomic_bool share; /* coordinator and client can share segments */
    atomic_size_t payload_limit;
    uint64_t workers, worker_target; /* connected now; asked for by "local:N" or 0 */
    muster_stats stats;
    struct function_name *functions;
    _Atomic(struct function_name *) latest_function; /* most calls are like the one before: found without the mutex */
    struct argument_segment *spare_segments;
    size_t spare_count, spare_bytes;
    muster_iterator *iterators;
    struct waitlist room, changed; /* changed: outstanding, backend, callbacks or connection */
    struct status_request *status_requests;
    uint64_t next_request;
    struct callbacks callbacks;
    struct object_home home; /* of shared objects */
    muster_log_fn *on_log;
    void *arg; /* of on_log and on_output */
};

void pool_retain(muster_pool *pool);
void pool_release(muster_pool *pool);
/* Checks at the top of every public function: not NULL, not in a forked child. EINVAL with detail. */
int pool_check(const muster_pool *pool);
bool pool_forked(const muster_pool *pool);
/* May a call be submitted now? ECLOSED, or why the pool failed, with detail. Mutex held. */
int pool_ready(const muster_pool *pool, bool from_iterator);
const char *pool_intern(muster_pool *pool, const char *function); /* NULL: no memory. Mutex not held */
void pool_changed(muster_pool *pool);                             /* wakes those who join. Mutex held */
void pool_submitted(muster_pool *pool);                           /* sends the call, soon. Mutex held */
void pool_flush(muster_pool *pool);                               /* sends it now: somebody waits. Mutex held */
/* The pool can do no more; every outstanding call gets this outcome. Mutex held. */
void pool_fail(muster_pool *pool, int status, const char *reason);
/* The coordinator's word about limits and domain. Mutex held. */
void pool_connected(muster_pool *pool, size_t payload_limit, bool share);
extern const struct client_events pool_client_events; /* with the pool as arg */

/* --- shared objects ----------------------------------------------------------------------------------------------- */

/* Makes the pool a home of shared objects; `send` and `arg` as for the client. ENOMEM. */
int pool_home_open(muster_pool *pool, client_send *send, void *arg);
/* There is (another) session, or none any more: the objects of the one before are lost. Mutex held. */
void pool_home_renew(muster_pool *pool);
/* The pool ends, or has failed: so do its objects. `text` lives as long as the pool. Mutex held. */
void pool_home_end(muster_pool *pool, int status, const char *text);

/* Fills in pool->backend and pool->client. The pool's mutex is not held. */
typedef int pool_opener(muster_pool *pool, const char *url, const muster_pool_options *options);
pool_opener embedded_open, remote_open;
int pool_open(muster_pool **pool, const char *url, const muster_pool_options *options, pool_opener *opener);
/* Nobody has answered for so many seconds: looks why. Gives ECONNECT with detail. */
int remote_explain(const char *url, double waited);

#endif
