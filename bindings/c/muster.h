/*
 * muster: a process pool for every language, on one machine or on many.
 *
 * This header is the whole contract of libmuster. It has two halves:
 *
 *   the caller's half    open a pool, submit calls to it, take the results
 *   the worker's half    functions that run in worker processes, and how they are offered
 *
 * A program can hold both: it lists its functions with muster_init() at the top of main() and opens a pool on
 * "local:"; the pool starts the program again, once for each worker, and those copies never return from muster_init().
 *
 *     static int square(muster_task *task)
 *     {
 *         int64_t x;
 *         int status = muster_arg_int(task, 0, &x);
 *         return status ? status : muster_return_int(task, x * x);
 *     }
 *
 *     int main(int argc, char **argv)
 *     {
 *         static const muster_function functions[] = {{"square", square}, {0}};
 *         muster_init(argc, argv, functions);
 *         muster_pool *pool;
 *         muster_result *result;
 *         if (muster_pool_open(&pool, "local:4", NULL) != 0)
 *             return 1;
 *         muster_apply(pool, "square", MUSTER_ARGS(muster_int(7)), NULL, &result);
 *         printf("%lld\n", (long long)muster_result_value(result, 0)->integer);
 *         muster_result_free(result);
 *         return muster_pool_free(pool);
 *     }
 *
 * Every function that returns int returns 0 (or a count) on success and a negative MUSTER_E... on failure;
 * muster_last_error() then has the sentence with what was asked, what was found and what to do. All functions may be
 * called from any thread. Times are in seconds, as double; a negative time-out means "without limit".
 * Functions that wait must not be called from a callback; all others may.
 */
#ifndef MUSTER_H
#define MUSTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define MUSTER_API __attribute__((visibility("default")))
#define MUSTER_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define MUSTER_API
#define MUSTER_PRINTF(text, first)
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define MUSTER_VERSION "0.1.0"
#define MUSTER_FOREVER (-1.0)

/* --- errors ------------------------------------------------------------------------------------------------------- */

enum muster_status {
    MUSTER_OK = 0,
    MUSTER_EINVAL = -1,      /* an argument makes no sense */
    MUSTER_ENOMEM = -2,      /* memory ran out */
    MUSTER_EAGAIN = -3,      /* the window is full: take results, or submit without MUSTER_NONBLOCK */
    MUSTER_ETIMEDOUT = -4,   /* the time-out of this call, or the time limit of this task, ran out */
    MUSTER_ECANCELED = -5,   /* the task was cancelled */
    MUSTER_ELOST = -6,       /* the worker died, or was cut off, while it ran the task */
    MUSTER_ETASK = -7,       /* the task's function reported an error */
    MUSTER_ENOFUNCTION = -8, /* no worker offers that function */
    MUSTER_ECLOSED = -9,     /* the pool was closed or terminated */
    MUSTER_ELIMIT = -10,     /* larger than a limit allows: see docs/limits.md */
    MUSTER_EPROTOCOL = -11,  /* the other side sent bytes that are not the protocol */
    MUSTER_EVERSION = -12,   /* the other side speaks another version */
    MUSTER_EAUTH = -13,      /* the authkey is missing or wrong */
    MUSTER_ECONNECT = -14,   /* nobody answers at that URL */
    MUSTER_EURL = -15,       /* the URL cannot be understood */
    MUSTER_EPLUGIN = -16,    /* a plugin is missing, is not one, or is for another version */
    MUSTER_ESYSTEM = -17,    /* the operating system refused something: the detail says what */
    MUSTER_ETYPE = -18,      /* the value is not of that type */
    MUSTER_EENCODING = -19,  /* the bytes are not well-formed msgpack */
    MUSTER_EWORKERS = -20,   /* no worker process could be started */
    MUSTER_EINTERNAL = -21,  /* a bug in muster */
    MUSTER_ENOOBJECT = -22,  /* there is no such shared object, or not any more */
    MUSTER_EBROKEN = -23     /* the barrier is broken */
};

/* The sentence for a status; static storage. */
MUSTER_API const char *muster_strerror(int status);

/* The detail of the latest failure of a muster function in this thread; "" if none. Valid until the next failure. */
MUSTER_API const char *muster_last_error(void);

/* --- values ------------------------------------------------------------------------------------------------------- */

/* What the opaque bytes of arguments and results are. The coordinator never looks inside. */
enum muster_encoding { MUSTER_RAW = 0, MUSTER_MSGPACK = 1, MUSTER_PICKLE = 2 };

enum muster_type {
    MUSTER_TYPE_NIL,
    MUSTER_TYPE_BOOL,
    MUSTER_TYPE_INT,  /* fits int64_t */
    MUSTER_TYPE_UINT, /* larger than INT64_MAX */
    MUSTER_TYPE_DOUBLE,
    MUSTER_TYPE_STRING, /* UTF-8, not terminated: see `size` */
    MUSTER_TYPE_BYTES,
    MUSTER_TYPE_MSGPACK, /* one encoded msgpack value: an array, a map, an extension */
    MUSTER_TYPE_OPAQUE   /* a whole payload in another encoding (raw, pickle) */
};

/*
 * One value: a view that owns nothing. `data` and `size` (bytes) are set for strings, bytes, msgpack and opaque values
 * and belong to whoever made the value; a value inside a result lives as long as the result, whose memory is nobody
 * else's: a cast that takes the const away may write to it.
 */
typedef struct muster_value {
    enum muster_type type;
    enum muster_encoding encoding; /* of an opaque value */
    union {
        bool boolean;
        int64_t integer;
        uint64_t uinteger;
        double real;
    };
    const void *data;
    size_t size;
} muster_value;

MUSTER_API muster_value muster_nil(void);
MUSTER_API muster_value muster_bool(bool value);
MUSTER_API muster_value muster_int(int64_t value);
MUSTER_API muster_value muster_double(double value);
MUSTER_API muster_value muster_string(const char *text); /* up to the terminating zero */
MUSTER_API muster_value muster_bytes(const void *data, size_t size);
MUSTER_API muster_value muster_msgpack(const void *data,
                                       size_t size); /* exactly one msgpack value, made with msgpack-c, say */
MUSTER_API muster_value muster_opaque(enum muster_encoding encoding, const void *data, size_t size);

/* The positional arguments of one call, as a literal: muster_apply(pool, "add", MUSTER_ARGS(muster_int(1),
 * muster_int(2)), ...) */
typedef struct muster_args {
    const muster_value *values; /* an opaque value must be the only one: it is the whole payload */
    size_t count;
} muster_args;
#define MUSTER_ARGS(...)                                \
    ((muster_args){(const muster_value[]){__VA_ARGS__}, \
                   sizeof((const muster_value[]){__VA_ARGS__}) / sizeof(muster_value)})
#define MUSTER_NO_ARGS ((muster_args){NULL, 0})

/* --- pools -------------------------------------------------------------------------------------------------------- */

typedef struct muster_pool muster_pool;
typedef struct muster_result muster_result;
typedef struct muster_iterator muster_iterator;
typedef struct muster_definition muster_definition;

/* A line that a worker of a local pool wrote to standard output (1) or standard error (2), without its newline. */
typedef void muster_output_fn(int stream, const char *worker, const char *line, size_t size, void *arg);

/* A log call from inside a task: level as in syslog (3 error, 4 warning, 6 info, 7 debug). */
typedef void muster_log_fn(int level, const char *worker, const char *text, void *arg);

/* All fields may be zero. The first group says how the workers of a "local:" pool are made. */
typedef struct muster_pool_options {
    const char *const *plugins; /* shared objects to load in each worker; NULL-terminated. Without plugins and exec the
                                   workers are this program started again, which must call muster_init() */
    bool exec;                  /* workers offer the function "muster.exec": run commands */
    const char *const *fork_server; /* for workers of another language: the command (NULL-terminated) of a program that
                                       forks each worker when it is asked to; the first word is its path.
                                       docs/workers.md says what it has to do. NULL: workers are started by exec */
    unsigned max_tasks;             /* replace a worker after so many tasks; 0: never */
    const char *initializer;        /* a function that each worker runs once before its first task, or NULL */
    muster_args initializer_args;
    const char *const *labels;   /* labels of the local workers, "name=value"; NULL-terminated */
    size_t memory_limit;         /* bytes of address space for each worker (RLIMIT_AS); 0: no limit of muster's */
    size_t payload_limit;        /* bytes that the arguments or the result of a call may have; 0: 4 GiB less one */
    muster_output_fn *on_output; /* NULL: lines appear on this process's stdout and stderr, tagged with the worker */
    bool raw_output;             /* workers inherit stdout and stderr; nothing is captured */
    /* The second group is for every pool. */
    const char *authkey_file; /* key for musterd; NULL: the environment's MUSTER_AUTHKEY_FILE or MUSTER_AUTHKEY */
    muster_log_fn *on_log;    /* log calls of this client's tasks; NULL: to stderr */
    void *arg;                /* given to on_output and on_log */
    size_t window_tasks;      /* outstanding calls before submit blocks; 0: what the coordinator allows */
    double connect_timeout;   /* s to wait for a coordinator; 0: 10 s; negative: without limit */
} muster_pool_options;

/*
 * Opens a pool. `url` is "local:" (workers on this machine, as many as CPUs this process may use), "local:N" (N
 * workers), or the control URL of a musterd ("ipc:///path", "tcp://host:port"). Several threads may share a pool. A
 * process that forks must not use the pool in the child: it gets MUSTER_EINVAL there. Errors: EINVAL, EURL, ENOMEM,
 * ECONNECT, EAUTH, EVERSION, EPLUGIN, EWORKERS, ESYSTEM.
 */
MUSTER_API int muster_pool_open(muster_pool **pool, const char *url, const muster_pool_options *options);

/* No more calls; those submitted go on. Never blocks. */
MUSTER_API int muster_pool_close(muster_pool *pool);

/* Cancels every outstanding call (MUSTER_ECLOSED for those who wait) and, for a local pool, ends its workers. */
MUSTER_API int muster_pool_terminate(muster_pool *pool);

/* Waits until every outstanding call of a closed or terminated pool has its outcome and all local workers have ended.
 * Errors: EINVAL (still open), ETIMEDOUT. */
MUSTER_API int muster_pool_join(muster_pool *pool, double timeout);

/* Terminates if need be, joins, frees. Results stay valid until they are freed themselves. Always ends; returns 0. */
MUSTER_API int muster_pool_free(muster_pool *pool);

/* Workers that are connected now, of any host. */
MUSTER_API int muster_pool_workers(muster_pool *pool);

typedef struct muster_stats {
    uint64_t submitted, succeeded, failed, cancelled, timed_out,
        lost;                   /* tasks of this pool handle, since it was opened */
    uint64_t outstanding;       /* submitted without an outcome yet */
    uint64_t outstanding_bytes; /* their arguments */
} muster_stats;
MUSTER_API int muster_pool_stats(muster_pool *pool, muster_stats *stats);

/* What the coordinator knows, as one JSON object (docs/status.md); *json is to be freed with free(). Blocks for one
 * round trip. Errors: ENOMEM, ETIMEDOUT, ECLOSED, ECONNECT. */
MUSTER_API int muster_pool_status(muster_pool *pool, char **json, double timeout);

/* --- calls -------------------------------------------------------------------------------------------------------- */

/* Called in the pool's callback thread, one at a time, in the order of completion. The result belongs to the pool
 * during the call. */
typedef void muster_callback(muster_result *result, void *arg);
typedef void muster_progress_fn(muster_result *result, size_t item, double done, double total, const char *text,
                                void *arg);

/*
 * A definition is a function together with a body: opaque bytes that the function's task finds by muster_task_body(), a
 * program in another language, say. The coordinator keeps a body once, and gives it once to each worker that runs a
 * call of the definition; the calls themselves carry only a number. muster_options.definition calls it.
 *
 * Defines `function` with the `size` bytes at `body` (copied; NULL and 0: no body), to be called on workers that carry
 * all of `labels` (NULL-terminated, or NULL). The same content in one pool is the same definition, whoever defines it.
 * Never waits: the body travels with the first call. Errors: EINVAL, ENOMEM, ECLOSED, and ELIMIT (a name that is too
 * long, a body over the payload limit, or more definitions or bytes of them than one client may have: see
 * docs/limits.md).
 */
MUSTER_API int muster_define(muster_pool *pool, const char *function, const void *body, size_t size,
                             const char *const *labels, muster_definition **definition);

/* Gives up the handle; calls that were submitted go on. To be called before or after muster_pool_free(). NULL is
 * allowed. */
MUSTER_API void muster_definition_free(muster_definition *definition);

#define MUSTER_NONBLOCK 1u /* submit fails with MUSTER_EAGAIN instead of waiting for room in the window */

/* How to run a call. All fields may be zero; a NULL pointer to it means all zero. */
typedef struct muster_options {
    double time_limit;         /* s that a task (a chunk) may run once it has started; 0: no limit */
    double grace;              /* s between the polite request to stop and SIGKILL; 0: 1 s */
    unsigned retries;          /* run again so often after a lost worker, an error or a time limit; 0: at most once */
    bool retry_lost_only;      /* retries are for lost workers alone */
    int priority;              /* -1000..1000; higher runs first */
    const char *const *labels; /* run only on workers that carry all of these; NULL-terminated */
    const muster_definition *definition; /* of the same pool: what to call. Function and labels are then its own, and
                                            must be NULL */
    size_t chunk_size;                   /* items a task, for map; 0: a good automatic choice (imap: 1) */
    size_t window;  /* imap: items taken from the generator ahead of the consumer; 0: twice the workers */
    unsigned flags; /* MUSTER_NONBLOCK */
    muster_callback *on_success;
    muster_callback *on_error; /* also for cancelled, timed out and lost calls */
    muster_progress_fn *on_progress;
    void *arg; /* given to the callbacks */
} muster_options;

/* Calls `function` with `args` and waits. *result is set also when the call failed (NULL only if it could not be
 * submitted); the return value is the call's status. */
MUSTER_API int muster_apply(muster_pool *pool, const char *function, muster_args args, const muster_options *options,
                            muster_result **result);

/* The same without waiting. With `result` NULL the result is dropped when it arrives (callbacks still run). Errors:
 * EINVAL, ECLOSED, EAGAIN, ELIMIT, EENCODING, ENOMEM. */
MUSTER_API int muster_apply_async(muster_pool *pool, const char *function, muster_args args,
                                  const muster_options *options, muster_result **result);

/* Calls `function` once for each of `count` items, each its only argument; results in the order of the items. */
MUSTER_API int muster_map(muster_pool *pool, const char *function, const muster_value *items, size_t count,
                          const muster_options *options, muster_result **result);
MUSTER_API int muster_map_async(muster_pool *pool, const char *function, const muster_value *items, size_t count,
                                const muster_options *options, muster_result **result);

/* The same with an argument list for each call. */
MUSTER_API int muster_starmap(muster_pool *pool, const char *function, const muster_args *calls, size_t count,
                              const muster_options *options, muster_result **result);
MUSTER_API int muster_starmap_async(muster_pool *pool, const char *function, const muster_args *calls, size_t count,
                                    const muster_options *options, muster_result **result);

/* --- results ------------------------------------------------------------------------------------------------------ */

/* Why a call, or one item of it, failed. Strings are "" where nothing is known; all live as long as the result. */
typedef struct muster_error {
    int status;            /* MUSTER_ETASK, ELOST, ETIMEDOUT, ECANCELED, ENOFUNCTION, ECLOSED, ... */
    const char *kind;      /* the task's own word for the error, e.g. "ValueError" */
    const char *message;   /* the sentence */
    const char *traceback; /* of the worker's language, if it has one */
    const char *function;
    const char *worker; /* "host/slot" */
    const char *host;
    int64_t pid;                   /* of the worker; 0 unknown */
    int signal;                    /* that ended the worker; 0 none */
    int exit_status;               /* of the worker if it exited; -1 otherwise */
    size_t item;                   /* index of the (first) failed item */
    const void *value;             /* what the task gave with the error by muster_fail_value(), or NULL */
    size_t value_size;             /* bytes */
    enum muster_encoding encoding; /* of the value */
} muster_error;

/* Waits until the result is ready. 0, or ETIMEDOUT. A time-out of 0 only looks. */
MUSTER_API int muster_wait(muster_result *result, double timeout);

/* Waits, then gives the value of a single call in *value (valid as long as the result): 0, ETIMEDOUT (also if the task
 * hit its time limit: muster_ready() tells the two apart), or the call's status. For a map: 0 only if every item
 * succeeded. */
MUSTER_API int muster_get(muster_result *result, double timeout, const muster_value **value);

MUSTER_API bool muster_ready(const muster_result *result);
MUSTER_API bool muster_successful(const muster_result *result); /* false while not ready */

/* Asks to cancel: at once if not started, politely and then by force if running. The outcome still arrives, once. Never
 * blocks. */
MUSTER_API int muster_cancel(muster_result *result);

/* A descriptor that becomes readable when the result is ready, for poll loops; owned by the result. Negative on error.
 */
MUSTER_API int muster_result_fd(muster_result *result);

MUSTER_API size_t muster_result_count(const muster_result *result); /* 1, or the items of a map */
/* Item i of a ready result, or NULL if it failed, is not ready or is out of range. */
MUSTER_API const muster_value *muster_result_value(const muster_result *result, size_t index);
/* Why item i failed, or NULL. For a failed map, index SIZE_MAX gives the first failure. */
MUSTER_API const muster_error *muster_result_error(const muster_result *result, size_t index);

/* Gives up the handle; does not cancel. NULL is allowed. */
MUSTER_API void muster_result_free(muster_result *result);

/* --- iteration ---------------------------------------------------------------------------------------------------- */

/* Gives the next item: 1 with *item set (its memory must last until the next call), 0 at the end, a negative
 * MUSTER_E... to stop with that error. Called only inside muster_imap*() and muster_next(), in the thread that calls
 * those. */
typedef int muster_generator(muster_value *item, void *arg);

/* Lazy map: reads the generator only options->window items ahead of the consumer; results in order (imap) or as they
 * come (imap_unordered). A pool may have several at a time. */
MUSTER_API int muster_imap(muster_pool *pool, const char *function, muster_generator *next, void *arg,
                           const muster_options *options, muster_iterator **iterator);
MUSTER_API int muster_imap_unordered(muster_pool *pool, const char *function, muster_generator *next, void *arg,
                                     const muster_options *options, muster_iterator **iterator);

/* One finished item. value and error live until the next muster_next() or muster_iterator_free(). */
typedef struct muster_item {
    uint64_t index;            /* position in the input, from 0 */
    const muster_value *value; /* NULL if it failed */
    const muster_error *error; /* NULL if it succeeded */
} muster_item;

/* Waits for the next item: 1 with *item filled (look at item->error), 0 when all is done, ETIMEDOUT, or the generator's
 * error once the items before it are delivered. */
MUSTER_API int muster_next(muster_iterator *iterator, double timeout, muster_item *item);
MUSTER_API int muster_iterator_fd(muster_iterator *iterator);    /* readable when muster_next() would not wait */
MUSTER_API void muster_iterator_free(muster_iterator *iterator); /* cancels what is outstanding */

/* --- shared objects ----------------------------------------------------------------------------------------------- */

/*
 * What processes share through the coordinator (docs/objects.md says what is promised). Any process that has a pool on
 * it uses them, and so does a task in a worker, with NULL for the pool: its worker's own coordinator. Handles may be
 * used by several threads; all functions but those that say so may wait.
 *
 * An object belongs to the session in which it was opened. After a restart of the coordinator, or a cut that was longer
 * than the heartbeat limit, every call on the handle gives MUSTER_ELOST: free it and open the object again.
 *
 * Time-outs are in seconds: 0 only looks, a negative one (or infinity) has no end, NaN is EINVAL. A call whose time-out
 * runs out gives ETIMEDOUT and has changed nothing. Every function can give EINVAL, ENOMEM, ELOST (the session is
 * gone), ENOOBJECT (the object was deleted), ECLOSED (the pool was closed) and ECANCELED (the task that waits was asked
 * to stop).
 */

/* A value that came from a shared object. Yours: free it with muster_parcel_free(), and its value with it. */
typedef struct muster_parcel {
    muster_value value;
} muster_parcel;
MUSTER_API void muster_parcel_free(muster_parcel *parcel); /* NULL is allowed */

/* Deletes an object with a name, whoever uses it, with all that is in it. ENOOBJECT: there is none. */
MUSTER_API int muster_object_delete(muster_pool *pool, const char *name);

typedef struct muster_queue muster_queue;

/* All fields may be zero. The first three matter to whoever makes the queue. */
typedef struct muster_queue_options {
    size_t maximum;         /* items that it holds at most; 0: as many as the coordinator allows */
    bool persistent;        /* it lives on without users, until it is deleted */
    bool existing;          /* do not make it: ENOOBJECT if it does not exist */
    double connect_timeout; /* s to wait for a session and the answer; 0: 10 s; negative: without limit */
} muster_queue_options;

/* Opens the queue of that name (at most 255 bytes), which is made if there is none; NULL or "": a new one without a
 * name. Errors: ETYPE (the name is another kind's), ENOOBJECT, ELIMIT, ECONNECT, ETIMEDOUT. */
MUSTER_API int muster_queue_open(muster_queue **queue, muster_pool *pool, const char *name,
                                 const muster_queue_options *options);
/* Opens a queue by the id that another process was told, who keeps it open until then. */
MUSTER_API int muster_queue_open_id(muster_queue **queue, muster_pool *pool, uint64_t id);
MUSTER_API uint64_t muster_queue_id(const muster_queue *queue);
MUSTER_API size_t muster_queue_maximum(const muster_queue *queue); /* 0: none */
/* Gives up the handle. What was put before still arrives. Does not wait. NULL is allowed. */
MUSTER_API void muster_queue_free(muster_queue *queue);

/* Puts an item. In a queue with a maximum it is there when the call returns; in one without, it is on its way. The data
 * is copied. Errors: EAGAIN (time-out 0, and there is no room), ETIMEDOUT, ELIMIT, EENCODING. */
MUSTER_API int muster_queue_put(muster_queue *queue, muster_value item, double timeout);
/* Puts several, together; *put (may be NULL) is how many are in: the first ones, also after an error. */
MUSTER_API int muster_queue_put_many(muster_queue *queue, const muster_value *items, size_t count, double timeout,
                                     size_t *put);
/* Waits until the coordinator has all that this process has put into the queue. ETIMEDOUT. */
MUSTER_API int muster_queue_flush(muster_queue *queue, double timeout);

/* Takes the next item. Errors: EAGAIN (time-out 0, and there is none), ETIMEDOUT; ELOST also, once, if there is none
 * and every process that has put any has died. */
MUSTER_API int muster_queue_get(muster_queue *queue, double timeout, muster_parcel **item);
/* Takes as many as there are, at least one and at most `most`, waiting for the first one only; gives their number. */
MUSTER_API int muster_queue_get_many(muster_queue *queue, size_t most, double timeout, muster_parcel **items);

/* Says that so many items that were taken are dealt with. EINVAL: more than were put. */
MUSTER_API int muster_queue_finished(muster_queue *queue, size_t count);
/* Waits until every item that was put is finished. ETIMEDOUT; ELOST: a process has died with items that it had taken
 * and not finished; they are not waited for. */
MUSTER_API int muster_queue_join(muster_queue *queue, double timeout);

typedef struct muster_queue_statistics {
    uint64_t size;   /* items that are in it, those included that were given to a process in advance */
    uint64_t leased; /* the latter */
    uint64_t waiting_to_get, waiting_to_put; /* calls */
    uint64_t maximum;                        /* 0: none */
    uint64_t producers;                      /* processes that have it open and have put something */
    uint64_t put, taken, returned;           /* items, ever; returned: given in advance, and called back */
    uint64_t unfinished, bytes;
} muster_queue_statistics;
MUSTER_API int muster_queue_stats(muster_queue *queue, muster_queue_statistics *statistics);

/*
 * Locks: held by one process alone, or shared by several (a read-write lock). First come, first served. The lock of a
 * process that dies, or frees its handle, is released, and the next holder is told so.
 */
typedef struct muster_lock muster_lock;

/* All fields may be zero. The first two matter to whoever makes the lock. */
typedef struct muster_lock_options {
    bool reentrant;         /* it belongs to a thread, which may acquire it again and releases it as often */
    bool persistent;        /* it lives on without users, until it is deleted */
    bool existing;          /* do not make it: ENOOBJECT if it does not exist */
    double connect_timeout; /* s; 0: 10 s; negative: without limit */
} muster_lock_options;

/* What comes with a lock or a permit. */
typedef struct muster_grant {
    uint64_t fence; /* higher than that of every grant before it: what you write elsewhere under the lock can carry it,
                       and be refused there if a higher one has been seen */
    bool abandoned; /* a process has died with the lock or permits since the last grant: what it was doing may be half
                       done */
} muster_grant;

/* As muster_queue_open() and its like. */
MUSTER_API int muster_lock_open(muster_lock **lock, muster_pool *pool, const char *name,
                                const muster_lock_options *options);
MUSTER_API int muster_lock_open_id(muster_lock **lock, muster_pool *pool, uint64_t id);
MUSTER_API uint64_t muster_lock_id(const muster_lock *lock);
MUSTER_API void muster_lock_free(muster_lock *lock); /* releases what is held. NULL is allowed */

/* Waits for the lock; *granted may be NULL. EAGAIN (time-out 0, and somebody else has it), ETIMEDOUT. */
MUSTER_API int muster_lock_acquire(muster_lock *lock, double timeout, muster_grant *granted);
/* The same, to share it with others who do. EINVAL (acquire): who shares it already cannot have it alone. */
MUSTER_API int muster_lock_acquire_shared(muster_lock *lock, double timeout, muster_grant *granted);
/* EINVAL: this process (of a reentrant lock: this thread) does not hold it. Does not wait. */
MUSTER_API int muster_lock_release(muster_lock *lock);
/* Releases a lock that anybody holds alone. EINVAL: nobody does. */
MUSTER_API int muster_lock_break(muster_lock *lock);

typedef struct muster_lock_statistics {
    bool alone; /* somebody holds it alone */
    uint64_t holders, waiting;
    uint64_t sleeping; /* for a condition */
} muster_lock_statistics;
MUSTER_API int muster_lock_stats(muster_lock *lock, muster_lock_statistics *statistics);

/*
 * Conditions of a lock, told apart by numbers of your choice. Who holds the lock alone gives it up and sleeps until the
 * condition is notified, or the time is over; when the call returns, with 0 or ETIMEDOUT, the lock is held again, as
 * often as before. Look again at what you wait for: somebody else may have been faster. EINVAL: the lock is not held
 * alone.
 */
MUSTER_API int muster_lock_wait(muster_lock *lock, uint64_t condition, double timeout, muster_grant *granted);
/* Wakes as many as sleep, at most `count` (SIZE_MAX: all), who go on when they have the lock; *notified (may be NULL)
 * is how many. The caller holds the lock alone (EINVAL). */
MUSTER_API int muster_lock_notify(muster_lock *lock, uint64_t condition, size_t count, size_t *notified);

/* Semaphores: permits that are taken one at a time. Anybody may give some back; what a process that dies has taken and
 * not given back is given back for it. */
typedef struct muster_semaphore muster_semaphore;

typedef struct muster_semaphore_options {
    size_t bound; /* permits never exceed it: a release that would is EINVAL; 0: no bound */
    bool persistent, existing;
    double connect_timeout;
} muster_semaphore_options;

/* With so many permits, if it is made. */
MUSTER_API int muster_semaphore_open(muster_semaphore **semaphore, muster_pool *pool, const char *name, size_t permits,
                                     const muster_semaphore_options *options);
MUSTER_API int muster_semaphore_open_id(muster_semaphore **semaphore, muster_pool *pool, uint64_t id);
MUSTER_API uint64_t muster_semaphore_id(const muster_semaphore *semaphore);
MUSTER_API void muster_semaphore_free(muster_semaphore *semaphore); /* NULL is allowed */
MUSTER_API int muster_semaphore_acquire(muster_semaphore *semaphore, double timeout, muster_grant *granted);
MUSTER_API int muster_semaphore_release(muster_semaphore *semaphore, size_t count);
MUSTER_API int muster_semaphore_permits(muster_semaphore *semaphore, size_t *permits); /* that are free now */

/* Events: set or not; who waits goes on while it is set. */
typedef struct muster_event muster_event;

typedef struct muster_event_options {
    bool set; /* from the beginning, if it is made */
    bool persistent, existing;
    double connect_timeout;
} muster_event_options;

MUSTER_API int muster_event_open(muster_event **event, muster_pool *pool, const char *name,
                                 const muster_event_options *options);
MUSTER_API int muster_event_open_id(muster_event **event, muster_pool *pool, uint64_t id);
MUSTER_API uint64_t muster_event_id(const muster_event *event);
MUSTER_API void muster_event_free(muster_event *event); /* NULL is allowed */
MUSTER_API int muster_event_set(muster_event *event);   /* everybody who waits goes on */
MUSTER_API int muster_event_clear(muster_event *event);
/* 0: it is set. EAGAIN (time-out 0): it is not; ETIMEDOUT. */
MUSTER_API int muster_event_wait(muster_event *event, double timeout);

/* Barriers: so many parties wait until all of them are there, again and again. */
typedef struct muster_barrier muster_barrier;

typedef struct muster_barrier_options {
    bool persistent, existing;
    double connect_timeout;
} muster_barrier_options;

/* For so many parties, if it is made. */
MUSTER_API int muster_barrier_open(muster_barrier **barrier, muster_pool *pool, const char *name, size_t parties,
                                   const muster_barrier_options *options);
MUSTER_API int muster_barrier_open_id(muster_barrier **barrier, muster_pool *pool, uint64_t id);
MUSTER_API uint64_t muster_barrier_id(const muster_barrier *barrier);
MUSTER_API void muster_barrier_free(muster_barrier *barrier); /* NULL is allowed */

/* Waits for the others; *index (may be NULL) is another number from 0 for each party. ETIMEDOUT, which breaks the
 * barrier; EBROKEN: somebody else has, by a time-out, muster_barrier_abort() or its death. */
MUSTER_API int muster_barrier_wait(muster_barrier *barrier, double timeout, size_t *index);
MUSTER_API int muster_barrier_reset(muster_barrier *barrier); /* EBROKEN for who waits; then it is as new */
MUSTER_API int muster_barrier_abort(muster_barrier *barrier); /* EBROKEN for all, until it is reset */

typedef struct muster_barrier_statistics {
    uint64_t parties, waiting;
    bool broken;
} muster_barrier_statistics;
MUSTER_API int muster_barrier_stats(muster_barrier *barrier, muster_barrier_statistics *statistics);

/* Counters: a number of 64 bits that wraps around. */
typedef struct muster_counter muster_counter;

typedef struct muster_counter_options {
    bool persistent, existing;
    double connect_timeout;
} muster_counter_options;

/* With that value, if it is made. */
MUSTER_API int muster_counter_open(muster_counter **counter, muster_pool *pool, const char *name, int64_t value,
                                   const muster_counter_options *options);
MUSTER_API int muster_counter_open_id(muster_counter **counter, muster_pool *pool, uint64_t id);
MUSTER_API uint64_t muster_counter_id(const muster_counter *counter);
MUSTER_API void muster_counter_free(muster_counter *counter); /* NULL is allowed */

MUSTER_API int muster_counter_get(muster_counter *counter, int64_t *value);
MUSTER_API int muster_counter_set(muster_counter *counter, int64_t value);
/* Adds, in one step; *value (may be NULL) is the sum. */
MUSTER_API int muster_counter_add(muster_counter *counter, int64_t amount, int64_t *value);
/* Sets it if it is `expected`. EAGAIN: it is not; *found (may be NULL) is what it was, in both cases. */
MUSTER_API int muster_counter_swap(muster_counter *counter, int64_t expected, int64_t value, int64_t *found);
/* Waits until it is another than `known`; *value (may be NULL) is what it is then. EAGAIN (time-out 0), ETIMEDOUT. */
MUSTER_API int muster_counter_wait(muster_counter *counter, int64_t known, double timeout, int64_t *value);

/* --- the worker's half -------------------------------------------------------------------------------------------- */

typedef struct muster_task muster_task;
/* A function that workers run: 0 on success (no return value set: nil), or a negative MUSTER_E...; runs in the worker's
 * main thread. */
typedef int muster_call(muster_task *task);
typedef struct muster_function {
    const char *name; /* at most 255 bytes; names that begin with "muster." are reserved */
    muster_call *call;
} muster_function;

/*
 * To be called first in main(). In an ordinary process it remembers the functions (terminated by a NULL name) and
 * returns. In a process that a pool has started as a worker, it serves and never returns.
 */
MUSTER_API void muster_init(int argc, char **argv, const muster_function *functions);

/* What a plugin exports, through MUSTER_PLUGIN(functions). */
#define MUSTER_PLUGIN_MAGIC 0x6d757374u
#define MUSTER_PLUGIN_VERSION 1u
typedef struct muster_plugin_info {
    uint32_t magic, version;
    const muster_function *functions;
} muster_plugin_info;
#define MUSTER_PLUGIN(functions) \
    MUSTER_API const muster_plugin_info muster_plugin = {MUSTER_PLUGIN_MAGIC, MUSTER_PLUGIN_VERSION, functions}

/* Arguments. A missing argument is EINVAL, one of another type ETYPE; both also set the task's error message, so that a
 * function can just return the status. Data lives until the function returns. */
MUSTER_API size_t muster_arg_count(const muster_task *task);
MUSTER_API int muster_arg(muster_task *task, size_t index, muster_value *value);
MUSTER_API int muster_arg_int(muster_task *task, size_t index, int64_t *value);
MUSTER_API int muster_arg_double(muster_task *task, size_t index, double *value); /* integers are converted */
MUSTER_API int muster_arg_string(muster_task *task, size_t index, const char **text, size_t *size); /* not terminated */
MUSTER_API int muster_arg_bytes(muster_task *task, size_t index, const void **data, size_t *size);
/* The whole payload as it came, whatever its encoding. */
MUSTER_API int muster_arg_payload(muster_task *task, enum muster_encoding *encoding, const void **data, size_t *size);

/* The result; the data is copied. The last call counts. Each returns 0, ENOMEM, ELIMIT or EENCODING. */
MUSTER_API int muster_return(muster_task *task, muster_value value);
MUSTER_API int muster_return_int(muster_task *task, int64_t value);
MUSTER_API int muster_return_double(muster_task *task, double value);
MUSTER_API int muster_return_string(muster_task *task, const char *text);
MUSTER_API int muster_return_bytes(muster_task *task, const void *data, size_t size);
MUSTER_API int muster_return_msgpack(muster_task *task, const void *data, size_t size);

/* Makes the task fail; returns MUSTER_ETASK to be returned. `kind` is a short name, at most 255 bytes. */
MUSTER_API int muster_fail(muster_task *task, const char *kind, const char *format, ...) MUSTER_PRINTF(3, 4);

/* The same with all that a language's runtime knows: `size` bytes at `data` that the caller finds in muster_error.value
 * (an exception, say; NULL and 0: none), the sentence, and a traceback (NULL: none). All is copied. A value that is too
 * large (docs/limits.md) is left out, and the message says so. */
MUSTER_API int muster_fail_value(muster_task *task, const char *kind, enum muster_encoding encoding, const void *data,
                                 size_t size, const char *message, const char *traceback);

/* Reports to the caller's on_progress; `total` may be 0 (unknown), text NULL. Sent at most 20 times a second for one
 * task. */
MUSTER_API int muster_progress(muster_task *task, double done, double total, const char *text);
MUSTER_API int muster_log(muster_task *task, int level, const char *format, ...) MUSTER_PRINTF(3, 4);

/* True once the task was asked to stop (cancelled, over its time limit, pool terminated). Cheap enough for inner loops.
 * Blocking system calls of the task are interrupted (EINTR) at that moment too. */
MUSTER_API bool muster_cancelled(const muster_task *task);
MUSTER_API size_t muster_task_item(const muster_task *task); /* index within a chunk; 0 */
MUSTER_API const char *muster_task_function(const muster_task *task);
MUSTER_API const char *muster_task_worker(const muster_task *task); /* "host/slot" */
/* The body of the definition that is called; data NULL and size 0 if it has none. Lives until the function returns. */
MUSTER_API void muster_task_body(const muster_task *task, const void **data, size_t *size);
/* A number that stands for the definition in this worker process, for a cache of what was made of its body: never used
 * for another body. The same body may come again under another number. 0: no body. */
MUSTER_API uint64_t muster_task_definition(const muster_task *task);

#ifdef __cplusplus
}
#endif

#endif
