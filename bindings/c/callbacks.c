/*
 * The callback thread: one for each pool, started when the first call with a callback is submitted.
 *
 * Callbacks run one at a time, in the order of completion, without the pool's mutex, so they may call muster. Each
 * queued event holds a reference to its result, and the thread holds one to the pool, so a callback never meets a freed
 * one. Progress and log events are only reports: when the user's callbacks are slower than they come, new ones are
 * dropped.
 */
#include <signal.h>
#include <stdio.h>

#include "bindings/c/binding.h"
#include "bindings/c/pool.h"

#define REPORTS_LIMIT 4096 /* progress and log events that may wait */

struct progress_event {
    struct event event;
    muster_result *result;
    size_t item;
    double done, total;
    char text[];
};

struct log_event {
    struct event event;
    int level;
    const char *worker; /* in text */
    char text[];
};

static _Thread_local const muster_pool *inside; /* the pool whose callback thread this is */
static void (*_Atomic idle_hook)(void);

void binding_callbacks_idle(void (*idle)(void))
{
    atomic_store(&idle_hook, idle);
}

/* --- running ------------------------------------------------------------------------------------------------------ */

static void run_result(muster_result *result)
{
    muster_callback *callback = result->status == 0 ? result->on_success : result->on_error;
    callback(result, result->arg);
    result_release(result);
}

static void run_progress(struct progress_event *event)
{
    muster_result *result = event->result;
    result->on_progress(result, event->item, event->done, event->total, event->text, result->arg);
    result_release(result);
    memory_free(event);
}

static void run_log(muster_pool *pool, struct log_event *event)
{
    if (pool->on_log)
        pool->on_log(event->level, event->worker, event->text, pool->arg);
    else
        fprintf(stderr, "%s: %s\n", event->worker, event->text);
    memory_free(event);
}

static void run(muster_pool *pool, struct event *event)
{
    switch (event->kind) {
    case EVENT_RESULT: run_result((muster_result *)((char *)event - offsetof(muster_result, event))); break;
    case EVENT_PROGRESS: run_progress((struct progress_event *)event); break;
    case EVENT_LOG: run_log(pool, (struct log_event *)event); break;
    }
}

/* Mutex held on entry and return. */
static void tell_idle(pthread_mutex_t *mutex)
{
    void (*idle)(void) = atomic_load(&idle_hook);
    if (!idle)
        return;
    pthread_mutex_unlock(mutex);
    idle();
    pthread_mutex_lock(mutex);
}

/* The next event, or NULL when it is time to end. Mutex held. */
static struct event *take(struct callbacks *callbacks, pthread_mutex_t *mutex)
{
    if (!callbacks->first)
        tell_idle(mutex);
    while (!callbacks->first && !callbacks->ending)
        pthread_cond_wait(&callbacks->wake, mutex);
    struct event *event = callbacks->first;
    if (!event)
        return NULL;
    callbacks->first = event->next;
    if (!callbacks->first)
        callbacks->last = NULL;
    if (event->kind != EVENT_RESULT)
        callbacks->queued--;
    return event;
}

static void *callback_main(void *arg)
{
    muster_pool *pool = arg;
    inside = pool;
    struct callbacks *callbacks = &pool->callbacks;
    struct event *event;
    pthread_mutex_lock(&pool->mutex);
    while ((event = take(callbacks, &pool->mutex))) {
        callbacks->busy = true;
        pthread_mutex_unlock(&pool->mutex);
        run(pool, event);
        pthread_mutex_lock(&pool->mutex);
        callbacks->busy = false;
        if (!callbacks->first)
            pool_changed(pool);
    }
    pthread_mutex_unlock(&pool->mutex);
    pool_release(pool);
    return NULL;
}

int callbacks_start(muster_pool *pool)
{
    struct callbacks *callbacks = &pool->callbacks;
    if (callbacks->running)
        return 0;
    /* The user's signals are for the user's own threads. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pool_retain(pool);
    int failed = pthread_create(&callbacks->thread, NULL, callback_main, pool);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        pool_release(pool);
        return error_set(MUSTER_ESYSTEM, "a thread for the callbacks: %s", strerror(failed));
    }
    callbacks->running = true;
    return 0;
}

void callbacks_end(muster_pool *pool)
{
    struct callbacks *callbacks = &pool->callbacks;
    pthread_mutex_lock(&pool->mutex);
    bool running = callbacks->running;
    callbacks->running = false;
    callbacks->ending = true;
    pthread_cond_signal(&callbacks->wake);
    pthread_mutex_unlock(&pool->mutex);
    if (running && callbacks_inside(pool))
        pthread_detach(callbacks->thread);
    else if (running)
        pthread_join(callbacks->thread, NULL);
}

/* --- queueing ----------------------------------------------------------------------------------------------------- */

static void put(struct callbacks *callbacks, struct event *event)
{
    event->next = NULL;
    if (callbacks->last)
        callbacks->last->next = event;
    else
        callbacks->first = event;
    callbacks->last = event;
    if (event->kind != EVENT_RESULT)
        callbacks->queued++;
    pthread_cond_signal(&callbacks->wake);
}

void callbacks_result(muster_pool *pool, muster_result *result)
{
    if (!(result->status == 0 ? result->on_success : result->on_error))
        return;
    atomic_fetch_add(&result->references, 1);
    result->event.kind = EVENT_RESULT;
    put(&pool->callbacks, &result->event);
}

void callbacks_progress(muster_pool *pool, muster_result *result, size_t item, const struct message_progress *progress)
{
    if (!result->on_progress || pool->callbacks.queued >= REPORTS_LIMIT)
        return;
    struct progress_event *event = memory_zero(sizeof *event + progress->text.length + 1);
    if (!event)
        return;
    *event = (struct progress_event){.event.kind = EVENT_PROGRESS,
                                     .result = result,
                                     .item = (size_t)result->base + item,
                                     .done = progress->done,
                                     .total = progress->total};
    if (progress->text.length > 0)
        memcpy(event->text, progress->text.data, progress->text.length);
    atomic_fetch_add(&result->references, 1);
    put(&pool->callbacks, &event->event);
}

void callbacks_log(muster_pool *pool, const struct message_log *log)
{
    if (pool->callbacks.queued >= REPORTS_LIMIT || callbacks_start(pool) != 0)
        return;
    struct log_event *event = memory_zero(sizeof *event + log->text.length + log->worker.length + 2);
    if (!event)
        return;
    event->event.kind = EVENT_LOG;
    event->level = (int)log->level;
    if (log->text.length > 0)
        memcpy(event->text, log->text.data, log->text.length);
    char *worker = event->text + log->text.length + 1;
    if (log->worker.length > 0)
        memcpy(worker, log->worker.data, log->worker.length);
    event->worker = worker;
    put(&pool->callbacks, &event->event);
}

bool callbacks_idle(const muster_pool *pool)
{
    return !pool->callbacks.first && !pool->callbacks.busy;
}

bool callbacks_inside(const muster_pool *pool)
{
    return inside == pool;
}

int callbacks_refuse(const muster_pool *pool, const char *what)
{
    if (!callbacks_inside(pool))
        return 0;
    return error_set(MUSTER_EINVAL, "%s inside a callback would stop all callbacks: hand it to another thread", what);
}
