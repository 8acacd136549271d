/*
 * A worker process as a home of shared objects: tasks use them over the worker's own session.
 */
#ifndef WORKERS_HOME_H
#define WORKERS_HOME_H

#include <stdatomic.h>

#include "bindings/c/object.h"
#include "core/transport.h"
#include "workers/worker.h"

/* To be called before the link is made, whose events are then worker_home_link_events, with the worker as arg. `stop`
 * becomes true when the task that runs is to stop (then call worker_home_wake()); `forked` is true in a child that a
 * task has forked. ENOMEM with detail. */
int worker_home_open(pthread_mutex_t *mutex, struct link *link, const atomic_bool *stop, bool (*forked)(void));
extern const struct link_events worker_home_link_events;
void worker_home_started(struct transport *transport); /* it sends what tasks say from now on */
void worker_home_wake(void);                           /* those who wait look again. Mutex held */

/* NULL: this process is no worker. */
struct object_home *worker_home(void);

#endif
