/*
 * Shared objects: opening, waiting, closing.
 *
 * Who waits longer than it wants to withdraws its call and waits for the answer to that, so that both sides agree about
 * what has happened. A coordinator that does not answer even that within WITHDRAW_NS is not waited for; core/sharing.c
 * deals with what may still come.
 */
#include "bindings/c/object.h"

#include <math.h>
#include <stdio.h>
#include <utlist.h>

#include "bindings/c/pool.h"
#include "bindings/c/value.h"
#include "core/pack.h"
#include "workers/home.h"

#define WITHDRAW_NS NS_PER_S

/* --- homes -------------------------------------------------------------------------------------------------------- */

static void on_done(void *arg, struct sharing_call *call)
{
    struct object_call *waiting = call->tag;
    (void)arg;
    waitlist_wake(&waiting->waiters);
}

static void on_room(void *arg, struct shared *shared)
{
    struct object_home *home = arg;
    (void)shared;
    waitlist_wake(&home->changed);
}

const struct sharing_events object_home_events = {.done = on_done, .room = on_room};

void object_home_wake(struct object_home *home)
{
    for (struct object_call *call = home->calls; call; call = call->next)
        waitlist_wake(&call->waiters);
    waitlist_wake(&home->changed);
}

int object_home_of(muster_pool *pool, struct object_home **home)
{
    *home = pool ? &pool->home : worker_home();
    if (*home)
        return 0;
    return error_set(MUSTER_EINVAL, "the pool is NULL, and this process is no worker");
}

static bool stopped(const struct object_home *home)
{
    return home->stopped && home->stopped(home->self);
}

static int canceled(void)
{
    return error_set(MUSTER_ECANCELED, "the task that waits was asked to stop");
}

/* --- calls -------------------------------------------------------------------------------------------------------- */

struct object_call *object_call_new(void)
{
    struct object_call *call = memory_zero(sizeof *call);
    if (call)
        call->call.tag = call;
    else
        error_memory();
    return call;
}

void object_call_free(struct object_home *home, struct object_call *call)
{
    if (call)
        sharing_abandon(home->sharing, &call->call);
}

static int answer_of(const struct sharing_call *call)
{
    if (call->status == 0)
        return 0;
    return error_set(call->status, "%s", call->text && *call->text ? call->text : muster_strerror(call->status));
}

/* Sleeps until something has happened to the call. False: the deadline has come. */
static bool call_sleep(struct object_home *home, struct object_call *call, uint64_t deadline_ns)
{
    DL_APPEND(home->calls, call);
    bool woken = waitlist_sleep(&call->waiters, home->mutex, deadline_ns);
    pthread_mutex_lock(home->mutex);
    DL_DELETE(home->calls, call);
    return woken;
}

int object_call_wait(struct object_home *home, struct object_call **waiting, uint64_t deadline_ns)
{
    struct object_call *call = *waiting;
    bool withdrawn = false;
    int why = 0;
    while (!call->call.done) {
        bool stop = !withdrawn && stopped(home);
        if (!stop && call_sleep(home, call, deadline_ns))
            continue;
        if (call->call.done)
            break;
        if (withdrawn && !call->patient) {
            object_call_free(home, call);
            *waiting = NULL;
            return why;
        }
        if (withdrawn)
            continue; /* an interrupted wait */
        why = stop ? canceled() : error_set(MUSTER_ETIMEDOUT, "the time-out ran out before there was an answer");
        withdrawn = true;
        deadline_ns = call->patient ? NEVER_NS : clock_now_ns() + WITHDRAW_NS;
        sharing_withdraw(home->sharing, &call->call);
        home->flush(home->self);
    }
    if (why == MUSTER_ECANCELED && call->call.status == MUSTER_ETIMEDOUT)
        return canceled();
    return answer_of(&call->call);
}

int object_call_end(struct object_home *home, struct object_call **call, int status, uint64_t deadline_ns)
{
    if (status != 0) {
        memory_free(*call);
        *call = NULL;
        return status;
    }
    home->flush(home->self);
    return object_call_wait(home, call, deadline_ns);
}

int object_deadline(double timeout, uint64_t *deadline_ns, bool *no_wait)
{
    if (isnan(timeout))
        return error_set(MUSTER_EINVAL, "the time-out is not a number");
    *no_wait = timeout == 0;
    *deadline_ns = wait_deadline(timeout == 0 ? ANSWER_TIMEOUT_S : timeout);
    return 0;
}

int object_wait_changed(struct object_home *home, uint64_t deadline_ns)
{
    if (stopped(home))
        return canceled();
    bool woken = waitlist_sleep(&home->changed, home->mutex, deadline_ns);
    pthread_mutex_lock(home->mutex);
    if (stopped(home))
        return canceled();
    return woken ? 0 : error_set(MUSTER_ETIMEDOUT, "the time-out ran out");
}

/* --- handles ------------------------------------------------------------------------------------------------------ */

/* Sends a request that needs no object, an open or (open == NULL) a delete; waits for a session if there is none. Mutex
 * held. */
static int send_ready(struct object_home *home, struct object_call *call, const struct message_object_open *open,
                      const char *name, uint64_t deadline_ns)
{
    for (;;) {
        int status = home->ready(home->self);
        if (status == 0)
            status = open ? sharing_open(home->sharing, &call->call, open)
                          : sharing_delete(home->sharing, &call->call, bytes_string(name));
        if (status != MUSTER_ECONNECT)
            return status;
        status = object_wait_changed(home, deadline_ns);
        if (status == MUSTER_ETIMEDOUT)
            return error_set(MUSTER_ECONNECT, "there is no connection to the coordinator");
        if (status != 0)
            return status;
    }
}

/* The whole of such a request. Mutex held. After an error without an answer *call is NULL. */
static int request(struct object_home *home, struct object_call **call, const struct message_object_open *open,
                   const char *name, double timeout)
{
    uint64_t deadline_ns = wait_deadline(timeout != 0 ? timeout : ANSWER_TIMEOUT_S);
    int status = (*call = object_call_new()) ? send_ready(home, *call, open, name, deadline_ns) : MUSTER_ENOMEM;
    return object_call_end(home, call, status, deadline_ns);
}

static int open_explain(int status, const char *what, const char *name, const struct sharing_call *call)
{
    if (status == MUSTER_ETYPE)
        return error_set(status, "\"%s\" is the name of a shared %s, not of a %s", name, call->sentence, what);
    if (status == MUSTER_ENOOBJECT)
        return error_set(status, "there is no %s \"%s\", or not any more", what, name);
    return status;
}

/* Mutex held. */
static int open_session(struct object_handle *handle, const char *what, const char *name,
                        const struct message_object_open *open, double timeout)
{
    struct object_call *call;
    int status = request(handle->home, &call, open, name, timeout);
    if (status == 0)
        handle->shared = call->call.shared;
    else if (call)
        status = open_explain(status, what, name, &call->call);
    object_call_free(handle->home, call);
    return status;
}

int object_open(struct object_handle *handle, muster_pool *pool, const char *what, const char *name,
                const struct message_object_open *open, double timeout)
{
    struct message_object_open named = *open;
    int status = object_home_of(pool, &handle->home);
    if (status == 0)
        status = handle->home->check(handle->home->self, what, true);
    if (status == 0 && name && strlen(name) > OBJECT_NAME_LIMIT)
        status = error_set(MUSTER_ELIMIT, "the name of a %s has %zu bytes; at most %d are allowed", what, strlen(name),
                           OBJECT_NAME_LIMIT);
    if (status != 0)
        return status;
    named.name = bytes_string(name);
    handle->home->retain(handle->home->self);
    pthread_mutex_lock(handle->home->mutex);
    status = open_session(handle, what, name ? name : "", &named, timeout);
    pthread_mutex_unlock(handle->home->mutex);
    if (status != 0)
        handle->home->release(handle->home->self);
    return status;
}

int object_open_flags(struct message_object_open *open, const char *what, const char *name, bool existing,
                      bool persistent)
{
    bool named = name && *name;
    if (existing && !named)
        return error_set(MUSTER_EINVAL, "a %s without a name cannot exist already: open it by its id", what);
    if (persistent && !named)
        return error_set(MUSTER_EINVAL, "a persistent %s needs a name, or nobody could find it again", what);
    open->flags = (existing ? 0 : OBJECT_CREATE) | (persistent ? OBJECT_PERSISTENT : 0);
    return 0;
}

void object_close(struct object_handle *handle)
{
    struct object_home *home = handle->home;
    if (home->check(home->self, "closing a shared object", false) != 0)
        return; /* in a forked child it belongs to the parent */
    pthread_mutex_lock(home->mutex);
    sharing_close(home->sharing, handle->shared);
    if (home->ready(home->self) == 0)
        home->flush(home->self);
    pthread_mutex_unlock(home->mutex);
    home->release(home->self);
}

int object_check(const struct object_handle *handle, const char *what)
{
    if (!handle)
        return error_set(MUSTER_EINVAL, "%s: the handle is NULL", what);
    return handle->home->check(handle->home->self, what, true);
}

int muster_object_delete(muster_pool *pool, const char *name)
{
    struct object_home *home;
    if (!name || !*name)
        return error_set(MUSTER_EINVAL, "there is no name of what is to be deleted");
    int status = object_home_of(pool, &home);
    if (status == 0)
        status = home->check(home->self, "muster_object_delete", true);
    if (status != 0)
        return status;
    struct object_call *call;
    home->retain(home->self);
    pthread_mutex_lock(home->mutex);
    status = request(home, &call, NULL, name, 0);
    object_call_free(home, call);
    pthread_mutex_unlock(home->mutex);
    home->release(home->self);
    return status;
}

/* --- items as bytes ----------------------------------------------------------------------------------------------- */

int object_pack(const struct object_home *home, const muster_value *value, struct object_bytes *packed)
{
    packed->large = (struct buffer){0};
    packed->encoding = value->encoding;
    packed->bytes = (struct bytes){value->data, value->size};
    if (value->type != MUSTER_TYPE_OPAQUE) {
        int status = value_check(value);
        if (status != 0)
            return status;
        size_t size = value_size(value);
        if (size > sizeof packed->small && buffer_reserve(&packed->large, size) != 0)
            return error_memory();
        unsigned char *at = size > sizeof packed->small ? packed->large.data : packed->small;
        value_pack(at, value);
        packed->encoding = MUSTER_MSGPACK;
        packed->bytes = (struct bytes){at, size};
    }
    size_t longest = home->longest(home->self);
    if (longest == 0 || packed->bytes.length <= longest)
        return 0;
    size_t length = packed->bytes.length;
    buffer_free(&packed->large);
    return error_set(MUSTER_ELIMIT, "an item of %zu bytes; at most %zu can be sent (--payload-limit)", length, longest);
}

void object_pack_free(struct object_bytes *packed)
{
    buffer_free(&packed->large);
}
