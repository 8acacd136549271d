/*
 * A worker's home of shared objects. A process is one worker at most, so there is one.
 *
 * A task that is asked to stop waits no longer: its call is withdrawn and gives MUSTER_ECANCELED.
 */
#include "workers/home.h"

#include "core/errors.h"

#define ITEM_OVERHEAD 128 /* room for the other fields beside an item in a message */

static struct {
    struct object_home home;
    struct link *link;
    _Atomic(struct transport *) transport;
    const atomic_bool *stop;
    bool (*forked)(void);
} own;

struct object_home *worker_home(void)
{
    return own.home.sharing ? &own.home : NULL;
}

static int check(void *self, const char *what, bool waits)
{
    (void)self;
    (void)waits;
    if (own.forked())
        return error_set(MUSTER_EINVAL, "%s: a process that a task forked cannot use its worker's session", what);
    if (!atomic_load(&own.transport))
        return error_set(MUSTER_EINVAL, "%s: an initializer runs before the worker has a session", what);
    return 0;
}

static int ready(void *self)
{
    (void)self;
    if (own.link->state == LINK_OPEN)
        return 0;
    return own.link->state == LINK_CONNECTING ? MUSTER_ECONNECT
                                              : error_set(MUSTER_ECLOSED, "the worker's session has ended");
}

static bool stopped(void *self)
{
    (void)self;
    return atomic_load(own.stop);
}

static size_t longest(void *self)
{
    (void)self;
    size_t limit = own.link->welcome.payload_limit;
    return limit > ITEM_OVERHEAD ? limit - ITEM_OVERHEAD : 0;
}

static void flush(void *self)
{
    (void)self;
    transport_flush(atomic_load(&own.transport));
}

static void flush_later(void *self)
{
    (void)self;
    transport_flush_later(atomic_load(&own.transport), false);
}

static void nothing(void *self)
{
    (void)self;
}

static int send_to_link(void *arg, const struct message *message)
{
    return link_send(arg, message);
}

int worker_home_open(pthread_mutex_t *mutex, struct link *link, const atomic_bool *stop, bool (*forked)(void))
{
    own.link = link;
    own.stop = stop;
    own.forked = forked;
    own.home = (struct object_home){.mutex = mutex,
                                    .check = check,
                                    .ready = ready,
                                    .stopped = stopped,
                                    .longest = longest,
                                    .flush = flush,
                                    .flush_later = flush_later,
                                    .retain = nothing,
                                    .release = nothing};
    return sharing_create(&own.home.sharing, &object_home_events, &own.home, send_to_link, link);
}

void worker_home_started(struct transport *transport)
{
    atomic_store(&own.transport, transport);
}

void worker_home_wake(void)
{
    object_home_wake(&own.home);
}

/* --- the link's events: the worker's, and what shared objects want to know ------------------------------------------
 */

static void renew(void)
{
    sharing_renew(own.home.sharing);
    worker_home_wake();
}

static void on_open(void *arg, const struct welcome *welcome, bool restarted)
{
    worker_link_events.open(arg, welcome, restarted);
    renew();
}

static int on_message(void *arg, const struct message *message)
{
    if (object_reply(message->type))
        return sharing_message(own.home.sharing, message);
    return worker_link_events.message(arg, message);
}

static void on_lost(void *arg, const char *reason)
{
    worker_link_events.lost(arg, reason);
    renew();
}

static void on_closed(void *arg)
{
    worker_link_events.closed(arg);
}

static void on_failed(void *arg, int status, const char *reason)
{
    worker_link_events.failed(arg, status, reason);
    sharing_end(own.home.sharing, status, "the worker's session has failed");
    worker_home_wake();
}

const struct link_events worker_home_link_events = {
    .open = on_open, .message = on_message, .lost = on_lost, .closed = on_closed, .failed = on_failed};
