/*
 * The shell around a link: two NNG sockets, and a thread for the time.
 *
 * What is sent, on either line, is first tried without waiting, by an operation without a callback: in the usual case
 * that writes it to the connection in the calling thread, and wakes no other thread to say so. If the connection is
 * busy, or not there yet, a second operation waits for it; on the push line, messages gather meanwhile.
 *
 * The poll line is a REQ context. NNG never repeats a request by itself (a PROOF must not be sent twice): if the
 * connection breaks, the operation fails and the link makes another request. The answer is awaited only when the
 * request is on its way: NNG 1.5 cannot cancel a receive operation whose request still waits.
 *
 * Stopping: NNG 1.5 can wait for ever in nng_close() if bytes arrive, or leave in parts, at that very moment: what a
 * connection was reading is then neither completed nor cancelled. So transport_stop() first says goodbye and lets what
 * is under way arrive: a connection without a request in flight is silent.
 *
 * Connecting is NNG's business, but NNG 1.5 gives it up for good if a connection is closed while the two sides
 * introduce themselves, as happens when the coordinator is killed just then. So whoever has had no connection for
 * longer than NNG's longest pause is dialled afresh, by the timer thread.
 *
 * Callbacks run in NNG's threads and take the owner's mutex. So nothing that waits for callbacks (closing a socket,
 * stopping an operation) may be done while it is held: a push socket that is not wanted any more is closed by the timer
 * thread.
 */
#include <nng/nng.h>
#include <nng/protocol/pipeline0/push.h>
#include <nng/protocol/reqrep0/req.h>
#include <signal.h>
#include <time.h>

#include "core/clock.h"
#include "core/errors.h"
#include "core/log.h"
#include "core/transport.h"

#define URL_BYTES 1024
#define RECONNECT_FIRST_MS 10
#define RECONNECT_LOCAL_MS 500 /* the longest pause between attempts to connect: on this host, and elsewhere */
#define RECONNECT_FAR_MS 2000
#define REDIAL_PAUSES 2              /* so many of those pauses without a connection: dial afresh */
#define GOODBYE_NS (500 * NS_PER_MS) /* how long a stop waits for a coordinator that may not be there */
#define HEADER_SLACK 64              /* what NNG's own headers add to a frame */
#define COMPANY_NS (500 * NS_PER_US) /* how long messages wait for others that may go out with them */
#define COMPANY_MESSAGES 512         /* not longer than until there are so many ... */
#define COMPANY_BYTES (32 * 1024)    /* ... or so many bytes */
#define COMPANY_ROUNDS 4             /* rounds in a row without such messages end the watch for them */
#define STREAM_MESSAGES 64           /* in a round: more will follow */

/* A socket's way to its one connection. */
struct wire {
    nng_dialer dialer;
    int pipe;         /* NNG's number of the latest connection */
    uint64_t down_ns; /* since when there has been none, and nothing was done about it; NEVER_NS: there is one */
};

struct transport {
    struct link *link;
    pthread_mutex_t *mutex; /* the owner's */
    char *url;              /* control */
    bool busy;              /* inside the link: whatever is sent goes out afterwards */
    bool mute;              /* no further request is made */
    bool stopping;

    /* the poll line */
    nng_socket req;
    struct wire req_wire;
    nng_ctx context;
    nng_aio *ask_now, *ask_later, *answer;
    struct buffer poll;

    /* the push line */
    nng_socket push;
    bool push_open;
    struct wire push_wire;
    nng_socket retired; /* an earlier push socket, for the timer thread to close */
    bool retired_open;
    char push_url[URL_BYTES]; /* where it is dialled */
    uint64_t followed_ns;     /* when the session was opened whose push URL is dialled */
    uint64_t push_after_ns;   /* not before: it failed */
    nng_aio *push_now, *push_later;
    bool waiting;    /* what gathers waits for company */
    bool stream;     /* there were many messages in the last round */
    unsigned asked;  /* transport_flush_later() in this round */
    unsigned rounds; /* of the timer thread, COMPANY_NS apart, that are left: then nothing has waited for a while */

    pthread_cond_t quiet; /* signalled when a request has ended */
    pthread_t timer;
    bool timer_started;
    pthread_cond_t wake;
    uint64_t wake_ns; /* when the timer thread wakes by itself */
};

static void transport_run(struct transport *transport);

static int nng_failed(const char *what, int error)
{
    if (error == NNG_ENOMEM)
        return error_memory();
    return error_set(MUSTER_ESYSTEM, "%s: %s", what, nng_strerror(error));
}

static nng_msg *message_of(struct bytes frame)
{
    nng_msg *message;
    if (nng_msg_alloc(&message, frame.length) != 0)
        return NULL;
    memcpy(nng_msg_body(message), frame.data, frame.length);
    return message;
}

/* What an operation that failed has left of its message. */
static void message_discard(nng_aio *operation)
{
    nng_msg *message = nng_aio_get_msg(operation);
    if (message)
        nng_msg_free(message);
    nng_aio_set_msg(operation, NULL);
}

/* Locks, and is false if the transport is being stopped. */
static bool transport_enter(struct transport *transport)
{
    pthread_mutex_lock(transport->mutex);
    if (!transport->stopping)
        return true;
    pthread_mutex_unlock(transport->mutex);
    return false;
}

/* --- connecting --------------------------------------------------------------------------------------------------- */

static int longest_pause_ms(const char *url)
{
    return url_is_local(url) ? RECONNECT_LOCAL_MS : RECONNECT_FAR_MS;
}

static int dial(nng_socket socket, struct wire *wire, const char *url)
{
    wire->down_ns = clock_now_ns();
    nng_socket_set_ms(socket, NNG_OPT_RECONNMINT, RECONNECT_FIRST_MS);
    nng_socket_set_ms(socket, NNG_OPT_RECONNMAXT, longest_pause_ms(url));
    return nng_dial(socket, url, &wire->dialer, NNG_FLAG_NONBLOCK);
}

static uint64_t redial_at(const struct wire *wire, const char *url)
{
    if (wire->down_ns == NEVER_NS)
        return NEVER_NS;
    return wire->down_ns + REDIAL_PAUSES * (uint64_t)longest_pause_ms(url) * NS_PER_MS;
}

/* Mutex held on entry and return, but not in between. */
static void redial(struct transport *transport, nng_socket socket, struct wire *wire, const char *url)
{
    nng_dialer old = wire->dialer;
    wire->down_ns = NEVER_NS; /* only one thread does this */
    pthread_mutex_unlock(transport->mutex);
    nng_dialer_close(old);
    pthread_mutex_lock(transport->mutex);
    if (transport->stopping || (wire == &transport->push_wire &&
                                (!transport->push_open || nng_socket_id(socket) != nng_socket_id(transport->push))))
        return; /* not wanted any more */
    int error = dial(socket, wire, url);
    if (error != 0)
        log_error("cannot connect to %s: %s", url, nng_strerror(error));
}

/* NNG tells of a connection's end from another thread than of a connection, so the end of the old one may be told after
 * the new one: then it means nothing. True if something has changed. */
static bool wire_changed(struct wire *wire, nng_pipe pipe, nng_pipe_ev event)
{
    if (event != NNG_PIPE_EV_ADD_POST && wire->pipe != nng_pipe_id(pipe))
        return false;
    wire->pipe = nng_pipe_id(pipe);
    wire->down_ns = event == NNG_PIPE_EV_ADD_POST ? NEVER_NS : clock_now_ns();
    return true;
}

static void req_event(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
    struct transport *transport = arg;
    if (!transport_enter(transport))
        return;
    if (wire_changed(&transport->req_wire, pipe, event))
        transport_run(transport);
    pthread_mutex_unlock(transport->mutex);
}

static void push_event(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
    struct transport *transport = arg;
    if (!transport_enter(transport))
        return;
    if (transport->push_open && nng_socket_id(nng_pipe_socket(pipe)) == nng_socket_id(transport->push) &&
        wire_changed(&transport->push_wire, pipe, event)) {
        if (event == NNG_PIPE_EV_ADD_POST) {
            link_push_connected(transport->link, clock_now_ns());
        } else {
            link_push_lost(transport->link);
            nng_aio_cancel(transport->push_later);
        }
        transport_run(transport);
    }
    pthread_mutex_unlock(transport->mutex);
}

static void push_retire(struct transport *transport)
{
    if (!transport->push_open)
        return;
    nng_aio_cancel(transport->push_later);
    transport->retired = transport->push;
    transport->retired_open = true;
    transport->push_open = false;
    transport->push_url[0] = '\0';
    pthread_cond_signal(&transport->wake);
}

static int push_dial(struct transport *transport, const char *url)
{
    int error = nng_push0_open(&transport->push);
    if (error != 0)
        return error;
    nng_socket_set_size(transport->push, NNG_OPT_RECVMAXSZ, HEADER_SLACK); /* nothing comes this way */
    if ((error = nng_pipe_notify(transport->push, NNG_PIPE_EV_ADD_POST, push_event, transport)) != 0 ||
        (error = nng_pipe_notify(transport->push, NNG_PIPE_EV_REM_POST, push_event, transport)) != 0 ||
        (error = dial(transport->push, &transport->push_wire, url)) != 0) {
        nng_close(transport->push); /* it has no connection yet: nothing to wait for */
        return error;
    }
    transport->push_open = true;
    strcpy(transport->push_url, url);
    return 0;
}

/* Dials the push URL of the latest WELCOME if it is not the one that is dialled. */
static void push_follow(struct transport *transport, uint64_t now_ns)
{
    char url[URL_BYTES];
    struct link *link = transport->link;
    if (link->state != LINK_OPEN || transport->followed_ns == link->opened_ns || transport->retired_open ||
        now_ns < transport->push_after_ns)
        return;
    int status = url_reach(link->welcome.push_url, transport->url, url, sizeof url), error = 0;
    if (status == 0 && strcmp(url, transport->push_url) != 0) {
        link_push_lost(link);
        push_retire(transport);
        if (transport->retired_open)
            return; /* dialled when the old one is closed */
        error = push_dial(transport, url);
    }
    if (status == 0 && error == 0) {
        transport->followed_ns = link->opened_ns;
        return;
    }
    log_error("cannot connect to the coordinator's push URL %s: %s", link->welcome.push_url,
              status ? muster_last_error() : nng_strerror(error));
    transport->push_after_ns = now_ns + NS_PER_S; /* or when another WELCOME says another one */
}

/* --- the two lines ------------------------------------------------------------------------------------------------ */

static void push_ended(void *arg)
{
    struct transport *transport = arg;
    int error = nng_aio_result(transport->push_later);
    if (error != 0)
        message_discard(transport->push_later);
    if (!transport_enter(transport))
        return;
    link_push_done(transport->link, error == 0, clock_now_ns());
    transport_run(transport);
    pthread_mutex_unlock(transport->mutex);
}

/* True if what gathers is little enough to wait for company. */
static bool push_small(const struct transport *transport)
{
    const struct session *session = &transport->link->session;
    return transport->link->state == LINK_OPEN && !session->resend && session->gathering_count < COMPANY_MESSAGES &&
           session->gathering.length < COMPANY_BYTES;
}

/* Sends what there is, until the connection is busy. */
static void push_send(struct transport *transport, uint64_t now_ns)
{
    struct bytes frame;
    transport->waiting = false;
    while (transport->push_open && link_next_push(transport->link, now_ns, &frame)) {
        nng_msg *message = message_of(frame);
        if (!message) {
            link_push_done(transport->link, false, now_ns);
            return;
        }
        nng_aio_set_msg(transport->push_now, message);
        nng_send_aio(transport->push, transport->push_now);
        nng_aio_wait(transport->push_now);
        if (nng_aio_result(transport->push_now) != 0) {
            nng_aio_set_msg(transport->push_now, NULL);
            nng_aio_set_msg(transport->push_later, message);
            nng_send_aio(transport->push, transport->push_later);
            return;
        }
        link_push_done(transport->link, true, now_ns);
    }
}

/* The next request, to be handed to poll_send(), or NULL. */
static nng_msg *poll_next(struct transport *transport, uint64_t now_ns)
{
    if (transport->mute || !link_next_poll(transport->link, now_ns, &transport->poll))
        return NULL;
    nng_msg *message = message_of(bytes_of(&transport->poll));
    if (!message)
        link_poll_failed(transport->link, now_ns);
    return message;
}

/* Only one thread can be here: the link has one request in flight. */
static void poll_send(struct transport *transport, nng_msg *message)
{
    nng_aio_set_msg(transport->ask_now, message);
    nng_ctx_send(transport->context, transport->ask_now);
    nng_aio_wait(transport->ask_now);
    if (nng_aio_result(transport->ask_now) == 0) {
        nng_ctx_recv(transport->context, transport->answer);
        return;
    }
    nng_aio_set_msg(transport->ask_now, NULL);
    nng_aio_set_msg(transport->ask_later, message);
    nng_ctx_send(transport->context, transport->ask_later);
}

static void poll_cancel(struct transport *transport)
{
    nng_aio_cancel(transport->ask_later);
    nng_aio_cancel(transport->answer);
}

static void timer_arm(struct transport *transport)
{
    uint64_t deadline = deadline_min(link_deadline(transport->link), redial_at(&transport->req_wire, transport->url));
    if (transport->push_open)
        deadline = deadline_min(deadline, redial_at(&transport->push_wire, transport->push_url));
    if (deadline < transport->wake_ns) {
        transport->wake_ns = deadline;
        pthread_cond_signal(&transport->wake);
    }
}

/* Sends what can be sent; mutex held. */
static void transport_run(struct transport *transport)
{
    if (transport->stopping)
        return;
    uint64_t now_ns = clock_now_ns();
    push_follow(transport, now_ns);
    push_send(transport, now_ns);
    nng_msg *poll = poll_next(transport, now_ns);
    if (poll)
        poll_send(transport, poll);
    timer_arm(transport);
}

/* Gives the link what came; mutex held. */
static void poll_deliver(struct transport *transport, nng_msg *message)
{
    if (!message) {
        link_poll_failed(transport->link, clock_now_ns());
        return;
    }
    struct bytes reply = {nng_msg_body(message), nng_msg_len(message)};
    transport->busy = true;
    link_poll_answered(transport->link, reply, clock_now_ns());
    transport->busy = false;
}

/* A request that had to wait is on its way, or has failed. */
static void poll_asked(void *arg)
{
    struct transport *transport = arg;
    if (nng_aio_result(transport->ask_later) == 0) {
        nng_ctx_recv(transport->context, transport->answer);
        return;
    }
    message_discard(transport->ask_later);
    if (!transport_enter(transport))
        return;
    link_poll_failed(transport->link, clock_now_ns());
    pthread_cond_signal(&transport->quiet);
    transport_run(transport);
    pthread_mutex_unlock(transport->mutex);
}

/* The next request is written after the mutex is released: whoever was woken by what this answer brought need not wait
 * for that. */
static void poll_answered(void *arg)
{
    struct transport *transport = arg;
    nng_msg *message = nng_aio_result(transport->answer) == 0 ? nng_aio_get_msg(transport->answer) : NULL;
    nng_aio_set_msg(transport->answer, NULL); /* it is ours now */
    if (transport_enter(transport)) {
        poll_deliver(transport, message);
        pthread_cond_signal(&transport->quiet);
        uint64_t now_ns = clock_now_ns();
        push_follow(transport, now_ns);
        if (!transport->waiting || !push_small(transport))
            push_send(transport, now_ns);
        nng_msg *next = poll_next(transport, now_ns);
        timer_arm(transport);
        pthread_mutex_unlock(transport->mutex);
        if (next)
            poll_send(transport, next);
    }
    if (message)
        nng_msg_free(message);
}

/* --- time --------------------------------------------------------------------------------------------------------- */

static void wait_until(struct transport *transport, pthread_cond_t *condition, uint64_t deadline_ns)
{
    struct timespec until = {.tv_sec = (time_t)(deadline_ns / NS_PER_S), .tv_nsec = (long)(deadline_ns % NS_PER_S)};
    if (deadline_ns == NEVER_NS)
        pthread_cond_wait(condition, transport->mutex);
    else
        pthread_cond_timedwait(condition, transport->mutex, &until);
}

static void close_retired(struct transport *transport)
{
    nng_socket retired = transport->retired;
    pthread_mutex_unlock(transport->mutex);
    nng_close(retired);
    pthread_mutex_lock(transport->mutex);
    transport->retired_open = false;
}

/* While messages are held back now and then, the thread looks after them by itself: to wake it for each would cost what
 * holding them back saves. */
static void rounds_count(struct transport *transport, uint64_t now_ns)
{
    transport->stream = transport->asked >= STREAM_MESSAGES;
    transport->asked = 0;
    if (transport->waiting || transport->stream)
        transport->rounds = COMPANY_ROUNDS;
    else if (transport->rounds > 0)
        transport->rounds--;
    if (transport->rounds > 0)
        transport->wake_ns = now_ns + COMPANY_NS;
}

static void *timer_main(void *arg)
{
    struct transport *transport = arg;
    pthread_mutex_lock(transport->mutex);
    while (!transport->stopping) {
        if (transport->retired_open)
            close_retired(transport);
        uint64_t now_ns = clock_now_ns();
        if (redial_at(&transport->req_wire, transport->url) <= now_ns)
            redial(transport, transport->req, &transport->req_wire, transport->url);
        if (transport->push_open && redial_at(&transport->push_wire, transport->push_url) <= now_ns)
            redial(transport, transport->push, &transport->push_wire, transport->push_url);
        if (link_poll_overdue(transport->link, now_ns))
            poll_cancel(transport);
        transport->busy = true;
        link_tick(transport->link, now_ns);
        transport->busy = false;
        transport->wake_ns = NEVER_NS;
        rounds_count(transport, now_ns);
        transport_run(transport);
        /* A deadline that has passed waits for another thread to act: look again, but not at once. */
        uint64_t pause_ns = transport->rounds > 0 ? COMPANY_NS : NS_PER_MS;
        if (transport->wake_ns < now_ns + pause_ns)
            transport->wake_ns = now_ns + pause_ns;
        if (!transport->stopping && !transport->retired_open)
            wait_until(transport, &transport->wake, transport->wake_ns);
    }
    pthread_mutex_unlock(transport->mutex);
    return NULL;
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

void transport_flush(struct transport *transport)
{
    const struct link *link = transport->link;
    if (transport->busy || (link->poll_in_flight && link->push_in_flight))
        return; /* while both lines are busy messages gather: not worth a look at the clock */
    transport_run(transport);
}

bool transport_flush_later(struct transport *transport, bool busy)
{
    transport->asked++;
    if (transport->busy || !push_small(transport) || (!busy && !transport->stream)) {
        transport_flush(transport);
        return false;
    }
    transport->waiting = true;
    if (transport->rounds == 0) {
        transport->rounds = COMPANY_ROUNDS;
        pthread_cond_signal(&transport->wake);
    }
    return true;
}

static void conditions_init(struct transport *transport)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&transport->wake, &attributes);
    pthread_cond_init(&transport->quiet, &attributes);
    pthread_condattr_destroy(&attributes);
}

static int timer_start(struct transport *transport)
{
    sigset_t all, before;
    sigfillset(&all); /* signals are for the program's own threads */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&transport->timer, NULL, timer_main, transport);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0)
        return error_set(MUSTER_ESYSTEM, "cannot start a thread: %s", strerror(error));
    transport->timer_started = true;
    return 0;
}

static int poll_open(struct transport *transport)
{
    int error = nng_req0_open(&transport->req);
    if (error != 0)
        return nng_failed("cannot open a socket", error);
    nng_socket_set_ms(transport->req, NNG_OPT_REQ_RESENDTIME, NNG_DURATION_INFINITE);
    nng_socket_set_size(transport->req, NNG_OPT_RECVMAXSZ, FRAME_LIMIT_MAX + HEADER_SLACK);
    if ((error = nng_ctx_open(&transport->context, transport->req)) != 0 ||
        (error = nng_aio_alloc(&transport->ask_now, NULL, NULL)) != 0 ||
        (error = nng_aio_alloc(&transport->ask_later, poll_asked, transport)) != 0 ||
        (error = nng_aio_alloc(&transport->answer, poll_answered, transport)) != 0 ||
        (error = nng_aio_alloc(&transport->push_now, NULL, NULL)) != 0 ||
        (error = nng_aio_alloc(&transport->push_later, push_ended, transport)) != 0)
        return nng_failed("cannot prepare a socket", error);
    nng_aio_set_timeout(transport->ask_now, NNG_DURATION_ZERO);
    nng_aio_set_timeout(transport->push_now, NNG_DURATION_ZERO);
    if ((error = nng_pipe_notify(transport->req, NNG_PIPE_EV_ADD_POST, req_event, transport)) != 0 ||
        (error = nng_pipe_notify(transport->req, NNG_PIPE_EV_REM_POST, req_event, transport)) != 0 ||
        (error = dial(transport->req, &transport->req_wire, transport->url)) != 0)
        return error_set(error == NNG_ENOMEM ? MUSTER_ENOMEM : MUSTER_EURL, "cannot connect to '%s': %s",
                         transport->url, nng_strerror(error));
    return 0;
}

int transport_start(struct transport **out, const char *url, struct link *link, pthread_mutex_t *mutex)
{
    int status = url_check(url);
    if (status != 0)
        return status;
    struct transport *transport = memory_zero(sizeof *transport);
    if (!transport)
        return error_memory();
    transport->link = link;
    transport->mutex = mutex;
    transport->req = (nng_socket)NNG_SOCKET_INITIALIZER;
    transport->wake_ns = NEVER_NS;
    conditions_init(transport);
    transport->url = bytes_dup_string(bytes_string(url));
    status = transport->url ? poll_open(transport) : error_memory();
    if (status == 0) {
        pthread_mutex_lock(mutex);
        *out = transport;
        link_push_lost(link);
        status = timer_start(transport); /* it starts with a poll */
        pthread_mutex_unlock(mutex);
    }
    if (status != 0) {
        *out = NULL;
        transport_stop(transport);
    }
    return status;
}

static void operation_free(nng_aio *operation)
{
    if (!operation)
        return;
    if (nng_aio_result(operation) != 0)
        message_discard(operation);
    nng_aio_free(operation);
}

/* Says goodbye and waits until it has been heard; then until nothing is under way. Mutex held. */
static void transport_quieten(struct transport *transport)
{
    struct link *link = transport->link;
    uint64_t deadline_ns = clock_now_ns() + GOODBYE_NS;
    link_close(link, "stopped");
    transport_run(transport);
    nng_aio_cancel(transport->ask_later);
    while ((link->state == LINK_OPEN || link->poll_in_flight) && clock_now_ns() < deadline_ns)
        wait_until(transport, &transport->quiet, deadline_ns);
    transport->mute = true;
    deadline_ns = clock_now_ns() + GOODBYE_NS;
    while (link->poll_in_flight && !link_silent(link, clock_now_ns()) && clock_now_ns() < deadline_ns)
        wait_until(transport, &transport->quiet, deadline_ns);
}

void transport_stop(struct transport *transport)
{
    nng_aio *operations[] = {transport->answer, transport->ask_later, transport->push_later, transport->ask_now,
                             transport->push_now};
    const size_t count = sizeof operations / sizeof *operations;
    pthread_mutex_lock(transport->mutex);
    if (transport->timer_started)
        transport_quieten(transport);
    transport->stopping = true;
    pthread_cond_signal(&transport->wake);
    pthread_mutex_unlock(transport->mutex);
    if (transport->timer_started)
        pthread_join(transport->timer, NULL);
    /* All callbacks have ended before a socket is closed, all operations before one is freed: they use each other. */
    for (size_t i = 0; i < count; i++)
        if (operations[i])
            nng_aio_stop(operations[i]);
    if (nng_socket_id(transport->req) > 0)
        nng_close(transport->req);
    if (transport->retired_open)
        nng_close(transport->retired);
    if (transport->push_open)
        nng_close(transport->push);
    for (size_t i = 0; i < count; i++)
        operation_free(operations[i]);
    pthread_cond_destroy(&transport->wake);
    pthread_cond_destroy(&transport->quiet);
    buffer_free(&transport->poll);
    memory_free(transport->url);
    memory_free(transport);
}
