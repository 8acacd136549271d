/*
 * NNG around the hub. Everything happens in NNG's own threads: a callback takes the mutex, gives the hub what came,
 * flushes, and answers polls before it lets the mutex go. There is no queue and no thread of ours between a socket and
 * the coordinator; the one thread there is waits for deadlines.
 *
 * Requests. REP contexts are the open polls: a context that has received a request is held by the hub until it is
 * answered. So there are always a few contexts more than polls that are held, receiving. An answer is sent without a
 * completion callback, which would cost a thread switch for each: nearly always NNG takes it at once, and the context
 * can receive again. If the connection is still busy with an earlier answer, the context goes to a list and is looked
 * at again later.
 *
 * Pushes. Several receives are outstanding, so that NNG can deliver while another frame is being handled. NNG serves
 * them in the order in which they were started, but their callbacks may run in several threads, and a frame that
 * overtakes another of its session would be lost. Therefore they form a ring, and a frame is only handled when those
 * started before it have been.
 */
#include "server/server.h"

#include <errno.h>
#include <nng/nng.h>
#include <nng/protocol/pipeline0/pull.h>
#include <nng/protocol/reqrep0/rep.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>
#include <utlist.h>

#include "core/company.h"
#include "core/errors.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/nng_support.h"
#include "core/segment.h"
#include "core/transport.h"
#include "server/listener.h"

#define LISTENERS_LIMIT 16
#define CONTEXTS_RECEIVING 8 /* so many wait for requests, whenever that is possible */
#define PULLS 8
#define UNFLUSHED_LIMIT 16                /* batches whose flush may be left to the callback that waits for the mutex */
#define SENDING_CHECK_NS (20 * NS_PER_MS) /* how often answers are looked at that NNG did not take at once */
#define SWEEP_AGAIN_NS (2 * NS_PER_S) /* a second look for segments of a peer that is gone: it may have died slowly */

/* One REP context. */
struct context {
    struct server *server;
    nng_ctx ctx;
    nng_aio *receive; /* with callback */
    nng_aio *send;    /* without */
    uint32_t pipe;    /* that the request came by */
    uint64_t sending_since_ns;
    enum { CONTEXT_FREE, CONTEXT_RECEIVING, CONTEXT_HELD, CONTEXT_SENDING } state;
    struct context *prev, *next; /* in the list of its state: `free` or `sending` */
    struct context *all_next;
};

/* A connection, from before its first frame until it is gone. */
struct connection {
    uint64_t pipe;
    struct listener *listener;
    struct door *door;
    int door_listener; /* NNG's id of it */
    uint64_t until_ns; /* a stranger is disconnected then */
    bool stranger;     /* may send requests, and has no session as far as we have looked: in the list of them */
    struct connection *prev, *next;
    UT_hash_handle hh;
};

struct pull {
    struct server *server;
    nng_aio *aio;
    bool complete; /* its frame (or NULL) is waiting for its turn */
    nng_msg *frame;
};

struct server {
    struct server_config config;
    pthread_mutex_t own_mutex, *mutex;
    pthread_cond_t timer_wakes;
    pthread_t timer;
    bool timer_started, stopping;
    atomic_int waiting; /* callbacks that wait for the mutex: the last of them flushes for all */
    int unflushed;
    struct company company; /* of the messages of server_flush_later() */
    uint64_t armed_ns;      /* the timer thread wakes at the latest then */
    uint64_t sweep_ns, sweep_again_ns;

    struct hub *hub;
    nng_socket control, push;
    bool control_open, push_open;
    struct listener listeners[LISTENERS_LIMIT];
    size_t listener_count;
    char domain[128];

    struct connection *connections; /* hash table by pipe */
    struct connection *strangers;   /* list, the oldest first */
    uint64_t doors_ns;              /* when the doors are looked after next; NEVER_NS if none is ipc */

    struct context *all, *free, *sending;
    size_t context_count, context_limit, receiving;
    struct pull pulls[PULLS];
    size_t next_pull; /* the one whose frame is to be handled next */
};

/* --- the mutex and the timer -------------------------------------------------------------------------------------- */

static void server_enter(struct server *server)
{
    atomic_fetch_add_explicit(&server->waiting, 1, memory_order_relaxed);
    pthread_mutex_lock(server->mutex);
    atomic_fetch_sub_explicit(&server->waiting, 1, memory_order_relaxed);
}

/* Flushes, unless somebody who waits for the mutex will do it in a moment: then what they bring goes out in the same
 * answers. */
static void server_leave(struct server *server)
{
    if (atomic_load_explicit(&server->waiting, memory_order_relaxed) > 0 && server->unflushed < UNFLUSHED_LIMIT)
        server->unflushed++;
    else
        server_flush(server);
    pthread_mutex_unlock(server->mutex);
}

static uint64_t server_deadline(const struct server *server)
{
    uint64_t deadline = deadline_min(hub_deadline(server->hub), deadline_min(server->sweep_ns, server->sweep_again_ns));
    if (server->strangers)
        deadline = deadline_min(deadline, server->strangers->until_ns);
    if (server->sending)
        deadline = deadline_min(deadline, clock_now_ns() + SENDING_CHECK_NS);
    return deadline_min(deadline, deadline_min(server->doors_ns, server->company.end_ns));
}

static void timer_arm(struct server *server)
{
    uint64_t deadline = server_deadline(server);
    if (deadline >= server->armed_ns)
        return;
    server->armed_ns = deadline;
    pthread_cond_signal(&server->timer_wakes);
}

void server_flush(struct server *server)
{
    server->unflushed = 0;
    company_left(&server->company);
    hub_flush(server->hub, clock_now_ns());
    timer_arm(server);
}

bool server_flush_later(struct server *server, bool busy)
{
    bool wake, waits = company_join(&server->company, busy, &wake);
    if (!waits)
        server_flush(server);
    else if (wake)
        timer_arm(server);
    return waits;
}

/* Waits until the deadline or a signal, the mutex being let go. */
static void timer_wait(struct server *server)
{
    uint64_t now_ns = clock_now_ns();
    if (server->armed_ns == NEVER_NS) {
        pthread_cond_wait(&server->timer_wakes, server->mutex);
    } else if (server->armed_ns > now_ns) {
        uint64_t remaining_ns = server->armed_ns - now_ns;
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        uint64_t nanoseconds = (uint64_t)until.tv_nsec + remaining_ns % NS_PER_S;
        until.tv_sec += (time_t)(remaining_ns / NS_PER_S + nanoseconds / NS_PER_S);
        until.tv_nsec = (long)(nanoseconds % NS_PER_S);
        pthread_cond_timedwait(&server->timer_wakes, server->mutex, &until);
    }
}

/* Removes what the dead have left in shared memory, without the mutex: it reads a directory. */
static void sweep(struct server *server, uint64_t now_ns)
{
    if (server->sweep_ns > now_ns && server->sweep_again_ns > now_ns)
        return;
    server->sweep_again_ns = server->sweep_ns <= now_ns ? now_ns + SWEEP_AGAIN_NS : NEVER_NS;
    server->sweep_ns = NEVER_NS;
    pthread_mutex_unlock(server->mutex);
    int removed = segment_sweep();
    if (removed > 0)
        log_info("removed %d shared-memory segments of processes that are gone", removed);
    pthread_mutex_lock(server->mutex);
}

static void tell_files(const struct server *server, const struct door *door)
{
    if (server->config.file_made && listener_path(door->url))
        server->config.file_made(server->config.arg, listener_path(door->url));
}

/* Looks after the doors: see listener.h. */
static void doors_check(struct server *server, uint64_t now_ns)
{
    if (server->doors_ns > now_ns)
        return;
    server->doors_ns = now_ns + DOOR_LOOK_NS;
    for (size_t i = 0; i < server->listener_count; i++) {
        struct listener *listener = &server->listeners[i];
        if (!listener->process_bound)
            continue;
        if (door_look(&listener->control))
            tell_files(server, &listener->control);
        if (door_look(&listener->push))
            tell_files(server, &listener->push);
    }
}

static void sending_check(struct server *server, uint64_t now_ns, bool may_close);
static void strangers_check(struct server *server, uint64_t now_ns);

static void *timer_run(void *arg)
{
    struct server *server = arg;
    pthread_mutex_lock(server->mutex);
    while (!server->stopping) {
        server->armed_ns = server_deadline(server);
        timer_wait(server);
        if (server->stopping)
            break;
        uint64_t now_ns = clock_now_ns();
        sending_check(server, now_ns, true);
        doors_check(server, now_ns);
        strangers_check(server, now_ns);
        if (hub_deadline(server->hub) <= now_ns)
            hub_tick(server->hub, now_ns);
        company_round(&server->company, now_ns);
        company_left(&server->company);
        hub_flush(server->hub, clock_now_ns());
        sweep(server, now_ns);
    }
    pthread_mutex_unlock(server->mutex);
    return NULL;
}

/* --- requests and answers ----------------------------------------------------------------------------------------- */

static void request_arrived(void *arg);

static struct context *context_new(struct server *server)
{
    struct context *context = memory_zero(sizeof *context);
    if (!context)
        return NULL;
    context->server = server;
    if (nng_ctx_open(&context->ctx, server->control) != 0)
        goto fail;
    if (nng_aio_alloc(&context->receive, request_arrived, context) != 0)
        goto fail_receive;
    if (nng_aio_alloc(&context->send, NULL, NULL) != 0)
        goto fail_send;
    context->all_next = server->all;
    server->all = context;
    server->context_count++;
    return context;

fail_send:
    nng_aio_free(context->receive);
fail_receive:
    nng_ctx_close(context->ctx);
fail:
    memory_free(context);
    return NULL;
}

static void context_receive(struct context *context)
{
    context->state = CONTEXT_RECEIVING;
    context->server->receiving++;
    nng_ctx_recv(context->ctx, context->receive);
}

/* It is not needed for its request any more. */
static void context_release(struct context *context)
{
    struct server *server = context->server;
    if (server->receiving < CONTEXTS_RECEIVING && !server->stopping) {
        context_receive(context);
        return;
    }
    context->state = CONTEXT_FREE;
    DL_PREPEND(server->free, context);
}

/* NNG has taken this context's answer, or its connection is gone. */
static bool sending_done(const struct context *context)
{
    return nng_aio_get_msg(context->send) == NULL;
}

/* Takes back contexts whose answers have left. A peer that does not read its answers is disconnected: it may not keep
 * contexts from others. */
static void sending_check(struct server *server, uint64_t now_ns, bool may_close)
{
    struct context *context, *next;
    bool exhausted = server->receiving == 0 && server->context_count >= server->context_limit;
    DL_FOREACH_SAFE (server->sending, context, next) {
        if (sending_done(context)) {
            nng_aio_wait(context->send);
            DL_DELETE(server->sending, context);
            context_release(context);
        } else if (may_close && (exhausted || now_ns - context->sending_since_ns > server->config.hub.heartbeat_ns)) {
            nng_pipe_close((nng_pipe){.id = context->pipe});
            context->sending_since_ns = now_ns;
            exhausted = false;
        }
    }
}

/* Keeps enough contexts waiting for requests. */
static void contexts_fill(struct server *server)
{
    if (server->sending)
        sending_check(server, clock_now_ns(), false);
    while (server->receiving < CONTEXTS_RECEIVING && !server->stopping) {
        struct context *context = server->free;
        if (context)
            DL_DELETE(server->free, context);
        else if (server->context_count < server->context_limit)
            context = context_new(server);
        if (!context)
            return;
        context_receive(context);
    }
}

static void event_drop(void *arg, hub_poll_id poll)
{
    (void)arg;
    context_release((struct context *)(uintptr_t)poll);
}

static void event_answer(void *arg, hub_poll_id poll, struct bytes frame)
{
    struct server *server = arg;
    struct context *context = (struct context *)(uintptr_t)poll;
    nng_msg *message;
    if (nng_msg_alloc(&message, frame.length) != 0) {
        context_release(context); /* as if the answer had been lost on its way */
        return;
    }
    if (frame.length > 0)
        memcpy(nng_msg_body(message), frame.data, frame.length);
    nng_aio_set_msg(context->send, message);
    nng_ctx_send(context->ctx, context->send);
    if (sending_done(context)) {
        context_release(context);
        return;
    }
    context->state = CONTEXT_SENDING;
    context->sending_since_ns = clock_now_ns();
    DL_APPEND(server->sending, context);
}

/* The connection by which a message came, or NULL if it is gone by now: the news of that may come first. */
static struct connection *connection_of(const struct server *server, nng_msg *message)
{
    struct connection *connection;
    HASH_FIND_U64(server->connections, (uint64_t)nng_msg_get_pipe(message).id, connection);
    return connection;
}

static struct bytes message_bytes(nng_msg *message)
{
    return (struct bytes){nng_msg_body(message), nng_msg_len(message)};
}

/* NNG's callback: a context has received a request, or the socket was closed. */
static void request_arrived(void *arg)
{
    struct context *context = arg;
    struct server *server = context->server;
    int code = nng_aio_result(context->receive);
    nng_msg *message = code == 0 ? nng_aio_get_msg(context->receive) : NULL;
    server_enter(server);
    server->receiving--;
    context->state = CONTEXT_HELD;
    if (server->stopping || code == NNG_ECLOSED || code == NNG_ECANCELED) {
        context->state = CONTEXT_FREE;
        pthread_mutex_unlock(server->mutex);
        nng_msg_free(message);
        return;
    }
    if (message) {
        const struct connection *connection = connection_of(server, message);
        context->pipe = nng_msg_get_pipe(message).id;
        hub_poll(server->hub, (hub_poll_id)(uintptr_t)context, connection ? connection->pipe : 0,
                 connection ? connection->listener->push.url : NULL, message_bytes(message), clock_now_ns());
    } else {
        context_release(context);
    }
    contexts_fill(server);
    server_leave(server);
    nng_msg_free(message);
}

/* --- pushes ------------------------------------------------------------------------------------------------------- */

/* NNG's callback: one of the outstanding receives has a frame. */
static void push_arrived(void *arg)
{
    struct pull *pull = arg;
    struct server *server = pull->server;
    int code = nng_aio_result(pull->aio);
    nng_msg *frame = code == 0 ? nng_aio_get_msg(pull->aio) : NULL;
    server_enter(server);
    pull->frame = frame;
    if (server->stopping || code == NNG_ECLOSED || code == NNG_ECANCELED) {
        pthread_mutex_unlock(server->mutex);
        return; /* server_stop() frees the frame */
    }
    pull->complete = true;
    uint64_t now_ns = clock_now_ns();
    while (server->pulls[server->next_pull].complete) {
        struct pull *next = &server->pulls[server->next_pull];
        if (next->frame) {
            const struct connection *connection = connection_of(server, next->frame);
            hub_push(server->hub, connection ? connection->pipe : 0, message_bytes(next->frame), now_ns);
        }
        nng_msg_free(next->frame);
        next->frame = NULL;
        next->complete = false;
        server->next_pull = (server->next_pull + 1) % PULLS;
        nng_recv_aio(server->push, next->aio);
    }
    server_leave(server);
}

/* --- connections -------------------------------------------------------------------------------------------------- */

static void stranger_forget(struct server *server, struct connection *connection)
{
    if (connection->stranger)
        DL_DELETE(server->strangers, connection);
    connection->stranger = false;
}

/* Disconnects those who have had their time for a handshake: who has no session must not cost anything for long. A
 * peer that only waits for room tries again over another connection. Pushes are not asked for in this way: a peer may
 * have nothing to say for long. */
static void strangers_check(struct server *server, uint64_t now_ns)
{
    struct connection *oldest;
    while ((oldest = server->strangers) && oldest->until_ns <= now_ns) {
        stranger_forget(server, oldest);
        if (!hub_pipe_known(server->hub, oldest->pipe))
            nng_pipe_close((nng_pipe){.id = (uint32_t)oldest->pipe});
    }
}

static struct connection *connection_new(struct server *server, nng_pipe pipe)
{
    int id = nng_listener_id(nng_pipe_listener(pipe));
    for (size_t i = 0; i < server->listener_count; i++) {
        struct listener *listener = &server->listeners[i];
        struct door *door = nng_listener_id(listener->control.listener) == id ? &listener->control : &listener->push;
        if (nng_listener_id(door->listener) != id)
            continue;
        struct connection *connection = memory_zero(sizeof *connection);
        if (!connection)
            return NULL;
        *connection = (struct connection){.pipe = pipe.id, .listener = listener, .door = door, .door_listener = id};
        door->accepted++;
        if (door == &listener->control) {
            connection->stranger = true;
            connection->until_ns = clock_now_ns() + server->config.hub.handshake_ns;
            DL_APPEND(server->strangers, connection);
        }
        return connection;
    }
    return NULL;
}

/* NNG's callback: a connection is about to be used. It is closed if we cannot keep account of it. It flushes nothing,
 * so it must not be counted among those who wait for the mutex and will. */
static void pipe_made(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
    struct server *server = arg;
    (void)event;
    pthread_mutex_lock(server->mutex);
    struct connection *connection = server->stopping ? NULL : connection_new(server, pipe);
    if (connection && !HASH_ADD_U64(server->connections, pipe, connection)) {
        stranger_forget(server, connection);
        memory_free(connection);
        connection = NULL;
    }
    if (connection)
        timer_arm(server);
    pthread_mutex_unlock(server->mutex);
    if (!connection)
        nng_pipe_close(pipe);
}

/* NNG's callback: a connection is gone. */
static void pipe_gone(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
    struct server *server = arg;
    struct connection *connection;
    (void)event;
    server_enter(server);
    HASH_FIND_U64(server->connections, (uint64_t)pipe.id, connection);
    if (connection) {
        /* A listener that was replaced has taken its connections with it: their processes live. */
        bool process_bound = connection->listener->process_bound &&
                             nng_listener_id(connection->door->listener) == connection->door_listener;
        stranger_forget(server, connection);
        HASH_DEL(server->connections, connection);
        memory_free(connection);
        if (!server->stopping)
            hub_pipe_lost(server->hub, pipe.id, process_bound, clock_now_ns());
    }
    server_leave(server);
}

/* --- the hub's other events --------------------------------------------------------------------------------------- */

static void event_discard(void *arg, struct bytes segment_name)
{
    (void)arg;
    segment_unlink(segment_name);
}

static int event_load(void *arg, struct bytes segment_name, struct buffer *out)
{
    const struct server *server = arg;
    struct segment segment;
    int status = segment_open(&segment, segment_name);
    if (status != 0)
        return status;
    status = segment.length > server->config.hub.payload_limit ? MUSTER_ELIMIT
                                                               : buffer_append(out, segment.data, segment.length);
    segment_unmap(&segment);
    return status;
}

static void event_peer_gone(void *arg, uint64_t pid, const char *domain)
{
    struct server *server = arg;
    (void)pid;
    if (server->domain[0] && strcmp(domain, server->domain) == 0)
        server->sweep_ns = clock_now_ns();
}

/* --- start and stop ----------------------------------------------------------------------------------------------- */

void server_config_defaults(struct server_config *config)
{
    *config = (struct server_config){0};
    hub_config_defaults(&config->hub);
}

static int config_check(const struct server_config *config)
{
    if (!config->listen || !config->listen[0])
        return error_set(MUSTER_EINVAL, "no URL to listen on was given");
    for (size_t i = 0; config->listen[i]; i++) {
        if (i >= LISTENERS_LIMIT)
            return error_set(MUSTER_ELIMIT, "more than %d URLs to listen on", LISTENERS_LIMIT);
        bool local;
        int status = listener_url_check(config->listen[i], &local);
        if (status != 0)
            return status;
        if (!local && config->hub.authkey.length == 0 && !config->insecure)
            return error_set(
                MUSTER_EAUTH,
                "%s can be reached from other machines, and without an authkey anybody there could run programs "
                "here: give --authkey-file FILE (or MUSTER_AUTHKEY_FILE), or --insecure if the network is trusted",
                config->listen[i]);
    }
    return 0;
}

static int sockets_open(struct server *server)
{
    int code = nng_rep0_open(&server->control);
    if (code != 0)
        return nng_failed("cannot open a REP socket", code);
    server->control_open = true;
    code = nng_pull0_open(&server->push);
    if (code != 0)
        return nng_failed("cannot open a PULL socket", code);
    server->push_open = true;
    nng_pipe_notify(server->control, NNG_PIPE_EV_ADD_PRE, pipe_made, server);
    nng_pipe_notify(server->push, NNG_PIPE_EV_ADD_PRE, pipe_made, server);
    nng_pipe_notify(server->control, NNG_PIPE_EV_REM_POST, pipe_gone, server);
    nng_pipe_notify(server->push, NNG_PIPE_EV_REM_POST, pipe_gone, server);
    for (size_t i = 0; i < PULLS; i++) {
        server->pulls[i].server = server;
        code = nng_aio_alloc(&server->pulls[i].aio, push_arrived, &server->pulls[i]);
        if (code != 0)
            return nng_failed("cannot receive", code);
    }
    return 0;
}

/* Listens last: when the first peer comes, everything is in place. With the mutex, so that nobody is served by a
 * listener that is not entered yet. */
static int listeners_open(struct server *server)
{
    int status = 0;
    pthread_mutex_lock(server->mutex);
    for (size_t i = 0; server->config.listen[i]; i++) {
        status = listener_open(&server->listeners[i], server->control, server->push, server->config.listen[i],
                               server->config.hub.frame_limit);
        if (status != 0)
            break;
        struct listener *listener = &server->listeners[server->listener_count++];
        tell_files(server, &listener->control);
        tell_files(server, &listener->push);
        if (listener->process_bound && server->doors_ns == NEVER_NS)
            server->doors_ns = clock_now_ns() + DOOR_LOOK_NS;
    }
    timer_arm(server);
    pthread_mutex_unlock(server->mutex);
    return status;
}

static int hub_start(struct server *server)
{
    static const struct hub_events events = {.answer = event_answer,
                                             .drop = event_drop,
                                             .discard = event_discard,
                                             .load = event_load,
                                             .peer_gone = event_peer_gone};
    struct coordinator_config *coordinator = &server->config.hub.coordinator;
    segment_domain(server->domain, sizeof server->domain);
    segment_sweep();
    if (!coordinator->domain || !*coordinator->domain)
        coordinator->domain = server->domain;
    if (coordinator->pid == 0)
        coordinator->pid = (uint64_t)getpid();
    if (coordinator->fence_base == 0) {
        struct timespec now; /* no coordinator grants a lock each nanosecond: the next one begins higher */
        clock_gettime(CLOCK_REALTIME, &now);
        coordinator->fence_base = (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
    }
    struct random seed;
    int status = random_seed_system(&seed);
    if (status != 0)
        return status;
    return hub_create(&server->hub, &server->config.hub, &seed, &events, server, clock_now_ns());
}

static void receives_start(struct server *server)
{
    pthread_mutex_lock(server->mutex);
    contexts_fill(server);
    for (size_t i = 0; i < PULLS; i++)
        nng_recv_aio(server->push, server->pulls[i].aio);
    pthread_mutex_unlock(server->mutex);
}

static int timer_start(struct server *server)
{
    int code = pthread_create(&server->timer, NULL, timer_run, server);
    if (code != 0)
        return error_set(MUSTER_ESYSTEM, "cannot start a thread: %s", strerror(code));
    server->timer_started = true;
    return 0;
}

static struct server *server_new(const struct server_config *config)
{
    struct server *server = memory_zero(sizeof *server);
    if (!server)
        return NULL;
    server->config = *config;
    server->sweep_ns = server->sweep_again_ns = server->armed_ns = server->doors_ns = NEVER_NS;
    company_init(&server->company);
    server->context_limit = 2 * config->hub.sessions + CONTEXTS_RECEIVING;
    pthread_mutex_init(&server->own_mutex, NULL);
    server->mutex = config->mutex ? config->mutex : &server->own_mutex;
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&server->timer_wakes, &attributes);
    pthread_condattr_destroy(&attributes);
    return server;
}

int server_start(struct server **server, const struct server_config *config)
{
    int status = config_check(config);
    if (status == 0)
        status = transport_claim_process();
    if (status != 0)
        return status;
    struct server *started = server_new(config);
    if (!started)
        return error_memory();
    status = hub_start(started);
    if (status == 0)
        status = sockets_open(started);
    if (status == 0)
        status = timer_start(started);
    if (status == 0) {
        receives_start(started);
        status = listeners_open(started);
    }
    if (status != 0) {
        server_stop(started);
        return status;
    }
    *server = started;
    return 0;
}

static void aio_finish(nng_aio *aio)
{
    if (!aio)
        return;
    nng_aio_stop(aio);
    nng_aio_free(aio);
}

void server_stop(struct server *server)
{
    if (!server)
        return;
    pthread_mutex_lock(server->mutex);
    server->stopping = true;
    pthread_cond_signal(&server->timer_wakes);
    pthread_mutex_unlock(server->mutex);
    if (server->timer_started)
        pthread_join(server->timer, NULL);
    if (server->control_open)
        nng_close(server->control);
    if (server->push_open)
        nng_close(server->push);
    for (size_t i = 0; i < server->listener_count; i++)
        listener_close(&server->listeners[i]);
    while (server->all) {
        struct context *context = server->all;
        server->all = context->all_next;
        aio_finish(context->receive);
        nng_aio_stop(context->send);
        nng_msg_free(nng_aio_get_msg(context->send));
        nng_aio_free(context->send);
        memory_free(context);
    }
    for (size_t i = 0; i < PULLS; i++) {
        aio_finish(server->pulls[i].aio);
        nng_msg_free(server->pulls[i].frame);
    }
    struct connection *connection, *next;
    HASH_ITER (hh, server->connections, connection, next) {
        HASH_DEL(server->connections, connection);
        memory_free(connection);
    }
    hub_free(server->hub);
    pthread_cond_destroy(&server->timer_wakes);
    pthread_mutex_destroy(&server->own_mutex);
    explicit_bzero(&server->config.hub.authkey, sizeof server->config.hub.authkey);
    memory_free(server);
}

const char *server_url(const struct server *server, size_t index)
{
    return index < server->listener_count ? server->listeners[index].control.url : NULL;
}

const char *server_push_url(const struct server *server, size_t index)
{
    return index < server->listener_count ? server->listeners[index].push.url : NULL;
}

struct hub *server_hub(struct server *server)
{
    return server->hub;
}

pthread_mutex_t *server_mutex(struct server *server)
{
    return server->mutex;
}
