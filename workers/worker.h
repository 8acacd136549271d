/*
 * A worker's protocol logic: tasks that it holds, their outcomes until they are settled, recall, stop and drain, and
 * what it claims when it comes back to a coordinator. Pure: the runtime (workers/runtime.c) runs the functions, the
 * simulator only pretends to.
 *
 * Tasks are held in the order of their tickets and run in that order, one at a time. worker_take() gives the next to
 * run and notes it in the page; worker_finish() records and sends its outcome.
 */
#ifndef WORKERS_WORKER_H
#define WORKERS_WORKER_H

#include "core/hash.h"
#include "core/link.h"
#include "workers/page.h"

struct worker;

/* A body that the coordinator has introduced. It lives until it is to be forgotten and no task needs it. */
struct introduced {
    UT_hash_handle hh;
    uint64_t definition; /* the coordinator's number, in this session */
    uint64_t key;        /* never used again in this process */
    size_t users;        /* tasks held or running, and one while the session knows the number */
    bool missing;        /* there was no memory for it: its tasks fail */
    size_t length;
    unsigned char body[];
};

struct held_task {
    struct held_task *previous, *next;
    struct introduced *introduced; /* the body of what is called, or NULL */
    uint64_t ticket, client, number, function, items, flags, owner, encoding;
    bool kept;       /* somebody else frees it */
    int stop_status; /* why it was asked to stop (MUSTER_ECANCELED, MUSTER_ETIMEDOUT); 0: it was not */
    size_t length;
    unsigned char args[];
};

struct worker_events {
    void (*ready)(void *arg);                 /* worker_take() would give something now, or worker_over() became true */
    void (*stop)(void *arg, uint64_t ticket); /* the running task is to stop */
    void (*failed)(void *arg, int status, const char *reason); /* the link failed for good */
};

struct worker_config {
    const char *const *functions; /* names offered, in the order of ASSIGN.function */
    size_t function_count;
    const char *const *labels;
    size_t label_count;
    uint64_t max_tasks; /* drains by itself after so many; 0: never */
};

int worker_create(struct worker **worker, const struct worker_config *config, struct page *page, struct link *link,
                  const struct worker_events *events, void *arg);
void worker_free(struct worker *worker);
extern const struct link_events worker_link_events;         /* for the link, with the worker as its arg */
void worker_bind(struct worker *worker, struct link *link); /* when the link is made after the worker */

/* The next task to run, or NULL: none held, a task still runs, there is no session, the ring is full of unsettled
 * outcomes, or the coordinator has been silent for so long that it may have given this worker up. Nothing tells when
 * that silence ends: while worker_holding(), ask again from time to time. */
struct held_task *worker_take(struct worker *worker, uint64_t now_ns);

bool worker_holding(const struct worker *worker); /* tasks that have not started */

/* An outcome: a value, or a failure with status and sentences, and maybe a value that goes with it. */
struct outcome {
    int status;        /* 0: success */
    uint64_t encoding; /* of the value */
    struct bytes value;
    struct bytes kind, message, traceback;
    uint64_t item;
    uint64_t run_ns;
};
/* Of the task that worker_take() gave; frees it. An outcome that is too large, or that there is no memory for, becomes
 * a failure that says so. MUSTER_ENOMEM: the outcome is in the page but could not be sent; the process should end, so
 * that its supervisor hands it in. */
int worker_finish(struct worker *worker, struct held_task *task, const struct outcome *outcome);

/* Both are dropped without a session, and MUSTER_EAGAIN while the coordinator does not keep up. */
int worker_progress(struct worker *worker, const struct held_task *task, uint64_t item, double done, double total,
                    struct bytes text);
int worker_log(struct worker *worker, const struct held_task *task, uint64_t level, struct bytes text);

/* Finish what runs, hand back the rest, leave (SIGTERM). */
int worker_drain(struct worker *worker);
bool worker_draining(const struct worker *worker);
bool worker_over(const struct worker *worker); /* drained and dismissed (or the link failed): the process can end */

#endif
