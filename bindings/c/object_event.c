/*
 * Events, as muster.h gives them.
 */
#include "bindings/c/object.h"
#include "bindings/c/pool.h"

struct muster_event {
    struct object_handle handle; /* first */
};

static int event_open(muster_event **event, muster_pool *pool, const char *name, const struct message_object_open *open,
                      double timeout)
{
    if (!event)
        return error_set(MUSTER_EINVAL, "there is nowhere to put the event: the first argument is NULL");
    *event = NULL;
    muster_event *made = memory_zero(sizeof *made);
    if (!made)
        return error_memory();
    int status = object_open(&made->handle, pool, "event", name, open, timeout);
    if (status != 0) {
        memory_free(made);
        return status;
    }
    *event = made;
    return 0;
}

int muster_event_open(muster_event **event, muster_pool *pool, const char *name, const muster_event_options *options)
{
    static const muster_event_options none;
    struct message_object_open open = {.kind = OBJECT_EVENT};
    if (!options)
        options = &none;
    open.first = options->set;
    int status = object_open_flags(&open, "event", name, options->existing, options->persistent);
    return status ? status : event_open(event, pool, name, &open, options->connect_timeout);
}

int muster_event_open_id(muster_event **event, muster_pool *pool, uint64_t id)
{
    struct message_object_open open = {.kind = OBJECT_EVENT, .object = id};
    if (id == 0)
        return error_set(MUSTER_EINVAL, "0 is not the id of an event");
    return event_open(event, pool, NULL, &open, 0);
}

uint64_t muster_event_id(const muster_event *event)
{
    return event ? event->handle.shared->id : 0;
}

void muster_event_free(muster_event *event)
{
    if (!event)
        return;
    object_close(&event->handle);
    memory_free(event);
}

static int change(muster_event *event, const char *what, bool set)
{
    int status = object_check((struct object_handle *)event, what);
    struct object_call *call = status == 0 ? object_call_new() : NULL;
    if (!call)
        return status ? status : MUSTER_ENOMEM;
    struct object_home *home = event->handle.home;
    pthread_mutex_lock(home->mutex);
    status = sharing_event_set(home->sharing, event->handle.shared, &call->call, set);
    status = object_call_end(home, &call, status, wait_deadline(ANSWER_TIMEOUT_S));
    object_call_free(home, call);
    pthread_mutex_unlock(home->mutex);
    return status;
}

int muster_event_set(muster_event *event)
{
    return change(event, "muster_event_set", true);
}

int muster_event_clear(muster_event *event)
{
    return change(event, "muster_event_clear", false);
}

int muster_event_wait(muster_event *event, double timeout)
{
    uint64_t deadline_ns;
    bool no_wait;
    int status = object_check((struct object_handle *)event, "muster_event_wait");
    if (status == 0)
        status = object_deadline(timeout, &deadline_ns, &no_wait);
    struct object_call *call = status == 0 ? object_call_new() : NULL;
    if (!call)
        return status ? status : MUSTER_ENOMEM;
    struct object_home *home = event->handle.home;
    pthread_mutex_lock(home->mutex);
    status = sharing_event_wait(home->sharing, event->handle.shared, &call->call, no_wait);
    status = object_call_end(home, &call, status, deadline_ns);
    object_call_free(home, call);
    pthread_mutex_unlock(home->mutex);
    return status;
}
