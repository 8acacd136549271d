/*
 * The pool: opening, closing, waiting for the end, and what the client's events mean for those who wait.
 *
 * Ending is the hard part. Whatever is called in whatever order, from whatever thread, every call gets one outcome,
 * every waiting thread goes on, and every process and socket is gone when muster_pool_free() returns. So there is one
 * way down, in steps that may be taken one at a time: closed (no more calls), finished (the workers end), terminated
 * (everything cancelled), freed.
 */
#include <stdio.h>
#include <unistd.h>

#include "bindings/c/pool.h"
#include "core/transport.h"

#define CONNECT_TIMEOUT_S 10.0
#define POLITE_END_S 2.0 /* for idle workers and for the goodbye, when a pool is freed */
#define FORCED_END_S 10.0
#define BUSY_CALLS 64 /* with so many outstanding, a call more may go out a little later */

/* --- forked children ---------------------------------------------------------------------------------------------- */

static volatile unsigned fork_generation;
static pthread_once_t fork_watch_once = PTHREAD_ONCE_INIT;

static void forked_child(void)
{
    fork_generation++;
}

static void fork_watch(void)
{
    pthread_atfork(NULL, NULL, forked_child);
}

bool pool_forked(const muster_pool *pool)
{
    return pool->fork_generation != fork_generation;
}

int pool_check(const muster_pool *pool)
{
    if (!pool)
        return error_set(MUSTER_EINVAL, "the pool is NULL");
    if (pool_forked(pool))
        return error_set(MUSTER_EINVAL, "this pool belongs to process %llu; a forked child must open a pool of its own",
                         (unsigned long long)pool->pid);
    return 0;
}

/* --- references and names ----------------------------------------------------------------------------------------- */

void pool_retain(muster_pool *pool)
{
    atomic_fetch_add_explicit(&pool->references, 1, memory_order_relaxed);
}

void pool_release(muster_pool *pool)
{
    if (atomic_fetch_sub_explicit(&pool->references, 1, memory_order_acq_rel) != 1)
        return;
    struct function_name *name, *next;
    HASH_ITER (hh, pool->functions, name, next) {
        HASH_DELETE(hh, pool->functions, name);
        memory_free(name);
    }
    sharing_free(pool->home.sharing);
    pthread_cond_destroy(&pool->callbacks.wake);
    pthread_mutex_destroy(&pool->mutex);
    memory_free(pool->failed_reason);
    memory_free(pool->url);
    memory_free(pool);
}

static struct function_name *name_add(muster_pool *pool, const char *function, size_t length)
{
    struct function_name *name = memory_zero(sizeof *name + length + 1);
    if (!name)
        return NULL;
    memcpy(name->text, function, length);
    hash_oom = false;
    HASH_ADD_KEYPTR(hh, pool->functions, name->text, length, name);
    if (!hash_oom)
        return name;
    memory_free(name);
    return NULL;
}

const char *pool_intern(muster_pool *pool, const char *function)
{
    struct function_name *name = atomic_load_explicit(&pool->latest_function, memory_order_acquire);
    if (name && strcmp(name->text, function) == 0)
        return name->text;
    size_t length = strlen(function);
    pthread_mutex_lock(&pool->mutex);
    HASH_FIND(hh, pool->functions, function, length, name);
    if (!name)
        name = name_add(pool, function, length);
    pthread_mutex_unlock(&pool->mutex);
    if (!name)
        return NULL;
    atomic_store_explicit(&pool->latest_function, name, memory_order_release);
    return name->text;
}

/* --- the client's events ------------------------------------------------------------------------------------------ */

void pool_changed(muster_pool *pool)
{
    waitlist_wake(&pool->changed);
}

int pool_ready(const muster_pool *pool, bool from_iterator)
{
    if (pool->state == POOL_TERMINATED)
        return error_set(MUSTER_ECLOSED, "the pool was terminated");
    if (pool->failed)
        return error_set(pool->failed, "%s", pool->failed_reason ? pool->failed_reason : "the pool has failed");
    if (pool->state == POOL_FINISHED || (pool->state == POOL_CLOSED && !from_iterator))
        return error_set(MUSTER_ECLOSED, "the pool was closed: open another one for more calls");
    return 0;
}

static void wake_all(muster_pool *pool)
{
    waitlist_wake(&pool->room);
    waitlist_wake(&pool->changed);
    iterators_room(pool);
    for (struct status_request *request = pool->status_requests; request; request = request->next)
        waitlist_wake(&request->waiters);
}

void pool_fail(muster_pool *pool, int status, const char *reason)
{
    argument_segments_free(pool);
    if (!pool->failed) {
        pool->failed = status;
        pool->failed_reason = bytes_dup_string(bytes_string(reason));
    }
    client_fail_all(pool->client, status, reason);
    pool_home_end(pool, pool->failed, pool->failed_reason ? pool->failed_reason : "the pool has failed");
    wake_all(pool);
}

void pool_connected(muster_pool *pool, size_t payload_limit, bool share)
{
    atomic_store(&pool->payload_limit, payload_limit);
    atomic_store(&pool->share, share);
}

static void on_outcome(void *arg, uint64_t number, void *tag, const struct message *message)
{
    muster_pool *pool = arg;
    (void)number;
    result_outcome(tag, message);
    if (client_outstanding(pool->client) == 0)
        pool_changed(pool);
}

static void on_progress(void *arg, uint64_t number, void *tag, const struct message_progress *progress)
{
    struct call *call = tag;
    (void)number;
    if (progress->item < call->items)
        callbacks_progress(arg, call->result, call->first + (size_t)progress->item, progress);
}

static void on_log(void *arg, const struct message_log *log)
{
    callbacks_log(arg, log);
}

static void on_workers(void *arg, uint64_t count)
{
    muster_pool *pool = arg;
    pool->workers = count;
}

static void on_report(void *arg, uint64_t number, struct bytes json)
{
    muster_pool *pool = arg;
    for (struct status_request *request = pool->status_requests; request; request = request->next) {
        if (request->number != number || request->answered)
            continue;
        request->json = bytes_dup_string(json);
        request->answered = true;
        waitlist_wake(&request->waiters);
    }
}

static void on_opened(void *arg)
{
    muster_pool *pool = arg;
    pool->connected = true;
    pool->openings++;
    for (struct status_request *request = pool->status_requests; request; request = request->next)
        if (!request->answered)
            client_status(pool->client, request->number);
    pool_changed(pool);
}

static void on_failed(void *arg, int status, const char *reason)
{
    pool_fail(arg, status, reason);
}

static void on_room(void *arg)
{
    muster_pool *pool = arg;
    waitlist_wake(&pool->room);
    iterators_room(pool);
}

static void on_discard(void *arg, struct bytes segment_name)
{
    (void)arg;
    segment_unlink(segment_name);
}

const struct client_events pool_client_events = {.outcome = on_outcome,
                                                 .progress = on_progress,
                                                 .log = on_log,
                                                 .workers = on_workers,
                                                 .report = on_report,
                                                 .opened = on_opened,
                                                 .failed = on_failed,
                                                 .room = on_room,
                                                 .discard = on_discard};

/* --- sending ------------------------------------------------------------------------------------------------------ */

/* When much is outstanding the workers have something to do. */
void pool_submitted(muster_pool *pool)
{
    bool busy = client_outstanding(pool->client) >= BUSY_CALLS;
    pool->unflushed = pool->backend.flush_later(pool->backend.self, busy);
}

void pool_flush(muster_pool *pool)
{
    if (pool->unflushed)
        pool->backend.flush(pool->backend.self);
    pool->unflushed = false;
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

static int pool_create(muster_pool **pool, const char *url, const muster_pool_options *options)
{
    muster_pool *made = *pool = memory_zero(sizeof *made);
    if (!made)
        return error_memory();
    pthread_once(&fork_watch_once, fork_watch);
    pthread_mutex_init(&made->mutex, NULL);
    pthread_cond_init(&made->callbacks.wake, NULL);
    atomic_init(&made->references, 1);
    made->fork_generation = fork_generation;
    made->pid = (uint64_t)getpid();
    made->on_log = options->on_log;
    made->arg = options->arg;
    made->url = bytes_dup_string(bytes_string(url));
    return made->url ? 0 : error_memory();
}

static bool url_local(const char *url)
{
    return strncmp(url, "local:", 6) == 0;
}

/* Ends what a failed open has started, keeping the error's detail. */
static int open_failed(muster_pool *pool, int status)
{
    char detail[1024];
    snprintf(detail, sizeof detail, "%s", muster_last_error());
    muster_pool_free(pool);
    return error_set(status, "%s", detail);
}

static int wait_connected(muster_pool *pool, double timeout)
{
    uint64_t deadline_ns = wait_deadline(timeout);
    pthread_mutex_lock(&pool->mutex);
    while (!pool->connected && !pool->failed) {
        bool late = !waitlist_sleep(&pool->changed, &pool->mutex, deadline_ns);
        pthread_mutex_lock(&pool->mutex);
        if (late && !pool->connected && !pool->failed) {
            pthread_mutex_unlock(&pool->mutex);
            return remote_explain(pool->url, timeout);
        }
    }
    int status = pool->failed ? pool_ready(pool, false) : 0;
    pthread_mutex_unlock(&pool->mutex);
    return status;
}

int pool_open(muster_pool **pool, const char *url, const muster_pool_options *options, pool_opener *opener)
{
    muster_pool *made;
    int status = pool_create(&made, url, options);
    if (!made)
        return status;
    if (status == 0)
        status = opener(made, url, options);
    if (status == 0)
        status = wait_connected(made, options->connect_timeout != 0 ? options->connect_timeout : CONNECT_TIMEOUT_S);
    if (status != 0)
        return open_failed(made, status);
    *pool = made;
    return 0;
}

int muster_pool_open(muster_pool **pool, const char *url, const muster_pool_options *options)
{
    static const muster_pool_options none;
    if (!pool)
        return error_set(MUSTER_EINVAL, "there is nowhere to put the pool: the first argument is NULL");
    *pool = NULL;
    if (!url)
        return error_set(MUSTER_EURL, "the URL is NULL; \"local:\" is a pool on this machine");
    return pool_open(pool, url, options ? options : &none, url_local(url) ? embedded_open : remote_open);
}

/* --- the way down ------------------------------------------------------------------------------------------------- */

static size_t outstanding(const muster_pool *pool)
{
    return pool->client ? client_outstanding(pool->client) : 0;
}

/* When the backend's patience ends: NEVER_NS while it has not been told to finish. */
static uint64_t patience_end(const muster_pool *pool)
{
    uint64_t patience_ns = pool->backend.patience_ns;
    return pool->finished_ns && patience_ns != NEVER_NS ? pool->finished_ns + patience_ns : NEVER_NS;
}

static bool backend_over(const muster_pool *pool)
{
    return pool->freed || !pool->backend.over || pool->backend.over(pool->backend.self) ||
           clock_now_ns() >= patience_end(pool);
}

static void finish(muster_pool *pool, bool now)
{
    if (!pool->finished_ns)
        pool->finished_ns = clock_now_ns();
    pool_home_end(pool, MUSTER_ECLOSED, "the pool was closed, and its shared objects with it");
    if (pool->backend.finish)
        pool->backend.finish(pool->backend.self, now);
}

/* Sleeps until something has changed. Mutex held on entry and return. False if the deadline has come. */
static bool sleep_until_changed(muster_pool *pool, uint64_t deadline_ns)
{
    bool woken = waitlist_sleep(&pool->changed, &pool->mutex, deadline_min(deadline_ns, patience_end(pool)));
    pthread_mutex_lock(&pool->mutex);
    return woken || (clock_now_ns() < deadline_ns && !wait_interrupted());
}

static void terminate(muster_pool *pool)
{
    if (pool->state == POOL_TERMINATED)
        return;
    pool->state = POOL_TERMINATED;
    argument_segments_free(pool);
    finish(pool, true);
    if (pool->client)
        client_fail_all(pool->client, MUSTER_ECLOSED, "the pool was terminated");
    wake_all(pool);
}

int muster_pool_close(muster_pool *pool)
{
    int status = pool_check(pool);
    if (status != 0)
        return status;
    pthread_mutex_lock(&pool->mutex);
    if (pool->state == POOL_OPEN)
        pool->state = POOL_CLOSED;
    argument_segments_free(pool);
    wake_all(pool);
    pthread_mutex_unlock(&pool->mutex);
    return 0;
}

int muster_pool_terminate(muster_pool *pool)
{
    int status = pool_check(pool);
    if (status != 0)
        return status;
    pthread_mutex_lock(&pool->mutex);
    terminate(pool);
    pthread_mutex_unlock(&pool->mutex);
    return 0;
}

/* True when nothing of the pool is left to wait for. The workers are told to end as soon as they have nothing left to
 * do. */
static bool joined(muster_pool *pool)
{
    if (pool->freed)
        return true;
    if (outstanding(pool) > 0 || !callbacks_idle(pool))
        return false;
    if (pool->state == POOL_CLOSED) {
        pool->state = POOL_FINISHED;
        finish(pool, false);
    }
    return backend_over(pool);
}

/* Mutex held on entry and return. */
static bool wait_joined(muster_pool *pool, uint64_t deadline_ns)
{
    while (!joined(pool))
        if (!sleep_until_changed(pool, deadline_ns))
            return joined(pool);
    return true;
}

int muster_pool_join(muster_pool *pool, double timeout)
{
    int status = pool_check(pool);
    if (status == 0)
        status = callbacks_refuse(pool, "muster_pool_join");
    if (status != 0)
        return status;
    pool_retain(pool);
    pthread_mutex_lock(&pool->mutex);
    if (pool->state == POOL_OPEN)
        status = error_set(MUSTER_EINVAL, "the pool is open: close or terminate it before joining it");
    else if (!wait_joined(pool, wait_deadline(timeout)))
        status =
            error_set(MUSTER_ETIMEDOUT, "%zu calls are outstanding, or workers have not ended yet", outstanding(pool));
    pthread_mutex_unlock(&pool->mutex);
    pool_release(pool);
    return status;
}

/* Mutex held on entry and return. Callbacks may still be queued: they are waited for when their thread ends. */
static void wait_backend(muster_pool *pool, double timeout)
{
    uint64_t deadline_ns = wait_deadline(timeout);
    while (!backend_over(pool))
        if (!sleep_until_changed(pool, deadline_ns))
            return;
}

int muster_pool_free(muster_pool *pool)
{
    if (!pool)
        return 0;
    int status = pool_check(pool);
    if (status != 0)
        return status;
    pthread_mutex_lock(&pool->mutex);
    if (pool->state != POOL_TERMINATED && outstanding(pool) == 0) {
        pool->state = POOL_FINISHED;
        finish(pool, false);
        wait_backend(pool, POLITE_END_S);
    }
    terminate(pool);
    wait_backend(pool, FORCED_END_S);
    pool->freed = true;
    pool->unflushed = false;
    wake_all(pool);
    pthread_mutex_unlock(&pool->mutex);

    if (pool->backend.stop)
        pool->backend.stop(pool->backend.self);
    callbacks_end(pool);
    pthread_mutex_lock(&pool->mutex);
    client_free(pool->client);
    pool->client = NULL;
    argument_segments_free(pool);
    pthread_mutex_unlock(&pool->mutex);
    pool_release(pool);
    return 0;
}

/* --- questions ---------------------------------------------------------------------------------------------------- */

int muster_pool_workers(muster_pool *pool)
{
    int status = pool_check(pool);
    if (status != 0)
        return status;
    pthread_mutex_lock(&pool->mutex);
    int workers = (int)pool->workers;
    pthread_mutex_unlock(&pool->mutex);
    return workers;
}

int muster_pool_stats(muster_pool *pool, muster_stats *stats)
{
    int status = pool_check(pool);
    if (status == 0 && !stats)
        status = error_set(MUSTER_EINVAL, "there is nowhere to put the statistics: the second argument is NULL");
    if (status != 0)
        return status;
    pthread_mutex_lock(&pool->mutex);
    *stats = pool->stats;
    stats->outstanding = outstanding(pool);
    stats->outstanding_bytes = pool->client ? client_outstanding_bytes(pool->client) : 0;
    pthread_mutex_unlock(&pool->mutex);
    return 0;
}

static void forget_request(muster_pool *pool, const struct status_request *request)
{
    struct status_request **link = &pool->status_requests;
    while (*link != request)
        link = &(*link)->next;
    *link = request->next;
}

/* Mutex held on entry and return. */
static int ask_status(muster_pool *pool, struct status_request *request, uint64_t deadline_ns)
{
    int status = client_status(pool->client, request->number);
    if (status != 0 && status != MUSTER_ECONNECT)
        return status;
    pool->backend.flush(pool->backend.self);
    while (!request->answered) {
        bool late = !waitlist_sleep(&request->waiters, &pool->mutex, deadline_ns);
        pthread_mutex_lock(&pool->mutex);
        if (request->answered)
            break;
        if (late)
            return error_set(MUSTER_ETIMEDOUT, "the coordinator at %s did not answer in time", pool->url);
        if ((status = pool_ready(pool, true)) != 0)
            return status;
    }
    return request->json ? 0 : error_memory();
}

int muster_pool_status(muster_pool *pool, char **json, double timeout)
{
    int status = pool_check(pool);
    if (status == 0 && !json)
        status = error_set(MUSTER_EINVAL, "there is nowhere to put the document: the second argument is NULL");
    if (status == 0)
        status = callbacks_refuse(pool, "muster_pool_status");
    if (status != 0)
        return status;
    *json = NULL;
    pool_retain(pool);
    pthread_mutex_lock(&pool->mutex);
    struct status_request request = {.next = pool->status_requests, .number = ++pool->next_request};
    status = pool_ready(pool, true);
    if (status == 0) {
        pool->status_requests = &request;
        status = ask_status(pool, &request, wait_deadline(timeout));
        forget_request(pool, &request);
    }
    pthread_mutex_unlock(&pool->mutex);
    pool_release(pool);
    if (status == 0)
        *json = request.json;
    else
        memory_free(request.json);
    return status;
}
