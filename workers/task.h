/*
 * A task while it runs: the argument cursor, the value that it returns, the error that it reports. The functions of
 * muster.h's worker half work on this structure; workers/runtime.c gives it a process around it.
 *
 * A plain call's value is encoded straight into `value`, or into a segment if it is large and the caller shares memory.
 * A chunk's value is a msgpack array with one array for each item: [0, value], [0, bytes, encoding] for an opaque
 * value, or [status, kind, message, traceback] for a failure (status as on the wire: the negated code), with the
 * encoding and the bytes of its value behind that if it has one.
 */
#ifndef WORKERS_TASK_H
#define WORKERS_TASK_H

#include <stdatomic.h>

#include "core/segment.h"
#include "muster.h"
#include "workers/arguments.h"
#include "workers/worker.h"

#define TASK_KIND_BYTES 256

/* What the process around a task offers; any may be NULL. */
struct task_host {
    int (*progress)(void *arg, const struct muster_task *task, double done, double total, struct bytes text);
    int (*log)(void *arg, const struct muster_task *task, int level, struct bytes text);
    void (*wait_begin)(void *arg), (*wait_end)(void *arg); /* around what takes long and is not the function's */
    void *arg;
    const char *worker; /* "host/slot" */
    struct page *page;
    const atomic_bool *stop; /* the running task is to stop */
    size_t payload_limit;
};

struct muster_task {
    const struct task_host *host;
    const struct held_task *held;
    const char *function;
    /* arguments */
    struct segment mapped;       /* holds them, if they came in a segment and nobody has asked to hold them... */
    struct arguments *held_args; /* ...or NULL */
    enum muster_encoding encoding;
    struct bytes payload;   /* of this call or item, as it came */
    struct bytes arguments; /* behind the array's head; empty unless msgpack */
    size_t count;
    struct bytes cursor; /* at argument `cursor_index` */
    size_t cursor_index;
    /* what comes out */
    struct buffer value;
    size_t value_start; /* of this item's part in `value` */
    bool chunk, returned;
    enum muster_encoding value_encoding; /* of a plain call */
    struct segment segment;              /* holds a plain call's large value; name empty: none */
    char kind[TASK_KIND_BYTES];
    struct buffer message;                /* set by muster_fail() and the argument functions */
    struct buffer traceback, error_value; /* set by muster_fail_value() */
    enum muster_encoding error_encoding;
    size_t item;
    uint64_t progress_ns; /* when progress was sent last */
};

/* Runs a held task by `call` and fills in its outcome, whose views last until the next task_run() or task_free(). */
void task_run(struct muster_task *task, const struct held_task *held, const char *function, muster_call *call,
              struct outcome *outcome);
/* The same for a function that is no task of anybody's, the initializer: 0, or the function's status with its error in
 * the detail. */
int task_run_alone(struct muster_task *task, const char *function, muster_call *call, enum muster_encoding encoding,
                   struct bytes args);
/* The outcome has been handed in: lets the arguments go, unless somebody else holds them. */
void task_end(struct muster_task *task);
void task_free(struct muster_task *task);

/* The result is the msgpack array of these values, of which none is opaque: as muster_return(), but each is packed
 * once, from where it is to where it stays. */
int task_return_list(struct muster_task *task, muster_args list);

/* Stands for this run of this task, and for no other in this process; 0 for the initializer. */
uint64_t task_ticket(const struct muster_task *task);

/* The memory of the arguments: while it is held, the payload that muster_arg_payload() gives, and all that
 * muster_arg*() point to, stays where it is, is nobody else's and may be written to, also when the task is over. To be
 * called in the function; each call gives a reference, for arguments_release(). Nothing is copied, unless it is still
 * held when the function has returned and the arguments came in shared memory, which the caller may write over. NULL:
 * no memory. */
struct arguments *task_hold_arguments(struct muster_task *task);

#endif
