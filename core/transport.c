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
 * Stopping: transport_stop() first says goodbye, so that the coordinator need not conclude from silence that we are
 * gone, and lets what is under way arrive. That also keeps away from a fault of NNG 1.5, which can wait for ever in
 * nng_close() if a connection moves bytes at that very moment: core/nng_support.c mends it, but not in a program that
 * holds NNG itself.
 *
 * Connecting is the business of a thread of ours. NNG can connect again by itself, but NNG 1.5 gives that up for good
 * if a connection is closed while the two sides introduce themselves, as happens when the coordinator is killed just
 * then. It also may go on using a push connection that has ended once the next one is made on the same socket. So each
 * dialer makes one connection, and each push socket has one dialer.
 *
 * Callbacks run in NNG's threads and take the owner's mutex. So nothing that waits for callbacks (closing a socket,
 * stopping an operation) may be done while it is held: that, too, is left to the connecting thread.
 */
#include <nng/nng.h>
#include <nng/protocol/pipeline0/push.h>
#include <nng/protocol/reqrep0/req.h>
#include <nng/supplemental/util/platform.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/company.h"
#include "core/errors.h"
#include "core/log.h"
#include "core/nng_support.h"
#include "core/transport.h"

#define URL_BYTES 1024
#define PAUSE_FIRST_NS (10 * NS_PER_MS)  /* between two attempts to connect; it doubles ... */
#define PAUSE_LOCAL_NS (500 * NS_PER_MS) /* ... up to this on one host, */
#define PAUSE_FAR_NS (2 * NS_PER_S)      /* and this elsewhere */
#define STEADY_NS NS_PER_S               /* a connection that lasted so long was a good one: the first pause again */
#define DIAL_LIMIT_NS (5 * NS_PER_S)     /* an attempt that takes longer is given up: the network may be back by now */
#define GOODBYE_NS (500 * NS_PER_MS)     /* how long a stop waits for a coordinator that may not be there */
#define HEADER_SLACK 64                  /* what NNG's own headers add to a frame */
#define COMPANY_BYTES (32 * 1024)        /* messages wait for others until there are so many bytes */

/* A line's way to its one connection. */
struct line {
    nng_socket socket;
    nng_dialer dialer;
    enum {
        LINE_DOWN, /* to be dialled at dial_ns */
        LINE_DIALLING,
        LINE_UP,   /* since up_ns */
        LINE_SPENT /* its dialer is to be closed, and a push socket with it */
    } state;
    int pipe; /* NNG's number of the connection; in LINE_DIALLING of one that ended before we were told of it */
    uint64_t dial_ns, up_ns, pause_ns;
};

struct transport {
    struct link *link;
    pthread_mutex_t *mutex; /* the owner's */
    char *url;              /* control */
    bool busy;              /* inside the link: whatever is sent goes out afterwards */
    bool mute;              /* no further request is made */
    bool stopping;

    /* the poll line */
    struct line req;
    nng_ctx context;
    nng_aio *ask_now, *ask_later, *answer;
    struct buffer poll;

    /* the push line */
    struct line push;         /* its socket lives from LINE_DIALLING to LINE_SPENT */
    char push_url[URL_BYTES]; /* where it is dialled; empty until a WELCOME says it */
    uint64_t followed_ns;     /* when the session was opened whose push URL that is */
    nng_aio *push_now, *push_later;
    struct company company; /* of what gathers */

    pthread_cond_t quiet; /* signalled when a request has ended */
    pthread_t connector;
    bool connector_started;
    pthread_cond_t connect; /* signalled when it may have something to do */
    nng_dialer dialling;    /* what it is waiting for ... */
    uint64_t dial_until_ns; /* ... and for how long; NEVER_NS: for none */
    pthread_t timer;
    bool timer_started;
    pthread_cond_t wake;
    uint64_t wake_ns; /* when the timer thread wakes by itself */
};

static void transport_run(struct transport *transport);

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

static void wait_until(struct transport *transport, pthread_cond_t *condition, uint64_t deadline_ns)
{
    struct timespec until = {.tv_sec = (time_t)(deadline_ns / NS_PER_S), .tv_nsec = (long)(deadline_ns % NS_PER_S)};
    if (deadline_ns == NEVER_NS)
        pthread_cond_wait(condition, transport->mutex);
    else
        pthread_cond_timedwait(condition, transport->mutex, &until);
}

static void timer_arm(struct transport *transport)
{
    uint64_t deadline = deadline_min(link_deadline(transport->link), transport->dial_until_ns);
    if (deadline < transport->wake_ns) {
        transport->wake_ns = deadline;
        pthread_cond_signal(&transport->wake);
    }
}

/* --- connecting --------------------------------------------------------------------------------------------------- */

static void line_dial_later(struct line *line, const char *url)
{
    uint64_t longest_ns = url_is_local(url) ? PAUSE_LOCAL_NS : PAUSE_FAR_NS;
    line->state = LINE_DOWN;
    line->dial_ns =
        clock_now_ns() + line->pause_ns / 2 + nng_random() % (line->pause_ns / 2); /* not all peers at once */
    line->pause_ns = 2 * line->pause_ns < longest_ns ? 2 * line->pause_ns : longest_ns;
}

/* NNG tells of a connection's end from another thread than of the connection, and may do it first. True if the line is
 * up now. */
static bool line_connected(struct line *line, nng_pipe pipe)
{
    if (line->state != LINE_DIALLING || nng_socket_id(nng_pipe_socket(pipe)) != nng_socket_id(line->socket))
        return false;
    line->state = line->pipe == nng_pipe_id(pipe) ? LINE_SPENT : LINE_UP;
    line->pipe = nng_pipe_id(pipe);
    line->up_ns = clock_now_ns();
    return line->state == LINE_UP;
}

/* True if the line was up until now. */
static bool line_disconnected(struct line *line, nng_pipe pipe)
{
    if (line->state == LINE_DIALLING)
        line->pipe = nng_pipe_id(pipe);
    if (line->state != LINE_UP || line->pipe != nng_pipe_id(pipe))
        return false;
    line->state = LINE_SPENT;
    if (clock_now_ns() - line->up_ns >= STEADY_NS)
        line->pause_ns = PAUSE_FIRST_NS;
    return true;
}

/* After a connection's end NNG's dialer would make the next one by itself. It does that when it has told us of the end;
 * so this is the moment to stop it. Stopped later, it might drop a connection that has just been made: see
 * server/listener.h for what that does to the other side. */
static void dialer_stop(nng_pipe pipe, nng_pipe_ev event)
{
    if (event == NNG_PIPE_EV_REM_POST)
        nng_dialer_close(nng_pipe_dialer(pipe));
}

static void req_event(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
    struct transport *transport = arg;
    dialer_stop(pipe, event);
    if (!transport_enter(transport))
        return;
    if (event == NNG_PIPE_EV_ADD_POST)
        line_connected(&transport->req, pipe);
    else
        line_disconnected(&transport->req, pipe);
    log_debug("%s: %s", transport->url, event == NNG_PIPE_EV_ADD_POST ? "connected" : "the connection has ended");
    pthread_cond_signal(&transport->connect);
    pthread_mutex_unlock(transport->mutex);
}

static void push_leave(struct transport *transport)
{
    transport->push.state = LINE_SPENT;
    link_push_lost(transport->link);
    nng_aio_cancel(transport->push_later);
    pthread_cond_signal(&transport->connect);
}

static void push_event(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
    struct transport *transport = arg;
    dialer_stop(pipe, event);
    if (!transport_enter(transport))
        return;
    if (event == NNG_PIPE_EV_ADD_POST) {
        if (line_connected(&transport->push, pipe)) {
            link_push_connected(transport->link, clock_now_ns());
            transport_run(transport);
        }
    } else if (line_disconnected(&transport->push, pipe)) {
        push_leave(transport);
        transport_run(transport);
    }
    pthread_mutex_unlock(transport->mutex);
}

/* Notes the push URL of the latest WELCOME, and leaves a connection to another one. */
static void push_follow(struct transport *transport)
{
    char url[URL_BYTES];
    struct link *link = transport->link;
    if (link->state != LINK_OPEN || transport->followed_ns == link->opened_ns)
        return;
    transport->followed_ns = link->opened_ns;
    if (url_reach(link->welcome.push_url, transport->url, url, sizeof url) != 0) {
        log_error("cannot connect to the coordinator's push URL %s: %s", link->welcome.push_url, muster_last_error());
        return;
    }
    if (strcmp(url, transport->push_url) == 0)
        return;
    strcpy(transport->push_url, url);
    transport->push.pause_ns = PAUSE_FIRST_NS;
    if (transport->push.state == LINE_DIALLING)
        transport->dial_until_ns = 0;
    if (transport->push.state == LINE_DIALLING || transport->push.state == LINE_UP)
        push_leave(transport);
    pthread_cond_signal(&transport->connect);
}

/* Dials once. The mutex is let go meanwhile; before it is taken again, line_connected() has been told. */
static int line_dial(struct transport *transport, struct line *line, const char *url)
{
    int error = nng_dialer_create(&line->dialer, line->socket, url);
    if (error != 0)
        return error;
    line->state = LINE_DIALLING;
    line->pipe = 0;
    transport->dialling = line->dialer;
    transport->dial_until_ns = clock_now_ns() + DIAL_LIMIT_NS;
    timer_arm(transport);
    pthread_mutex_unlock(transport->mutex);
    error = nng_dialer_start(line->dialer, 0);
    pthread_mutex_lock(transport->mutex);
    transport->dial_until_ns = NEVER_NS;
    if (line->state != LINE_DIALLING)
        return 0;
    return error != 0 ? error : NNG_EPROTO; /* connected, but not to a socket of the right kind */
}

static void req_dial(struct transport *transport)
{
    int error = line_dial(transport, &transport->req, transport->url);
    if (error == 0)
        return;
    transport->req.state = LINE_SPENT;
    log_debug("cannot connect to %s: %s", transport->url, nng_strerror(error));
}

static void push_dial(struct transport *transport)
{
    char url[URL_BYTES];
    struct line *line = &transport->push;
    strcpy(url, transport->push_url);
    int error = nng_push0_open(&line->socket);
    if (error == 0) {
        nng_socket_set_size(line->socket, NNG_OPT_RECVMAXSZ, HEADER_SLACK); /* nothing comes this way */
        nng_pipe_notify(line->socket, NNG_PIPE_EV_ADD_POST, push_event, transport);
        nng_pipe_notify(line->socket, NNG_PIPE_EV_REM_POST, push_event, transport);
        error = line_dial(transport, line, url);
    }
    if (error == 0)
        return;
    line->state = LINE_SPENT;
    bool for_long = line->pause_ns >= PAUSE_LOCAL_NS;
    log_line(for_long ? LOG_LEVEL_WARNING : LOG_LEVEL_DEBUG,
             "connected to the coordinator, but not to its push URL %s: %s; trying again", url, nng_strerror(error));
}

/* Does what is to be done about the two lines now, one thing at a time. False if there is nothing. */
static bool connector_step(struct transport *transport, uint64_t now_ns)
{
    struct line *req = &transport->req, *push = &transport->push;
    if (req->state == LINE_SPENT) {
        pthread_mutex_unlock(transport->mutex);
        nng_dialer_close(req->dialer);
        pthread_mutex_lock(transport->mutex);
        line_dial_later(req, transport->url);
    } else if (push->state == LINE_SPENT) {
        pthread_mutex_unlock(transport->mutex);
        nng_close(push->socket);
        pthread_mutex_lock(transport->mutex);
        line_dial_later(push, transport->url);
    } else if (req->state == LINE_DOWN && req->dial_ns <= now_ns) {
        req_dial(transport);
    } else if (req->state == LINE_UP && push->state == LINE_DOWN && push->dial_ns <= now_ns && *transport->push_url) {
        push_dial(transport);
    } else {
        return false;
    }
    return true;
}

static void *connector_main(void *arg)
{
    struct transport *transport = arg;
    pthread_mutex_lock(transport->mutex);
    while (!transport->stopping) {
        if (connector_step(transport, clock_now_ns()))
            continue;
        uint64_t until_ns = NEVER_NS;
        if (transport->req.state == LINE_DOWN)
            until_ns = transport->req.dial_ns;
        else if (transport->push.state == LINE_DOWN && *transport->push_url)
            until_ns = transport->push.dial_ns;
        wait_until(transport, &transport->connect, until_ns);
    }
    pthread_mutex_unlock(transport->mutex);
    return NULL;
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
    company_left(&transport->company);
    while (transport->push.state == LINE_UP && link_next_push(transport->link, now_ns, &frame)) {
        nng_msg *message = message_of(frame);
        if (!message) {
            link_push_done(transport->link, false, now_ns);
            return;
        }
        nng_aio_set_msg(transport->push_now, message);
        nng_send_aio(transport->push.socket, transport->push_now);
        nng_aio_wait(transport->push_now);
        if (nng_aio_result(transport->push_now) != 0) {
            nng_aio_set_msg(transport->push_now, NULL);
            nng_aio_set_msg(transport->push_later, message);
            nng_send_aio(transport->push.socket, transport->push_later);
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

/* Sends what can be sent; mutex held. */
static void transport_run(struct transport *transport)
{
    if (transport->stopping)
        return;
    uint64_t now_ns = clock_now_ns();
    push_follow(transport);
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
        push_follow(transport);
        if (transport->company.waiting == 0 || !push_small(transport))
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

static void dial_give_up(struct transport *transport)
{
    nng_dialer dialer = transport->dialling;
    transport->dial_until_ns = NEVER_NS;
    pthread_mutex_unlock(transport->mutex);
    nng_dialer_close(dialer);
    pthread_mutex_lock(transport->mutex);
}

static void *timer_main(void *arg)
{
    struct transport *transport = arg;
    pthread_mutex_lock(transport->mutex);
    while (!transport->stopping) {
        uint64_t now_ns = clock_now_ns();
        if (transport->dial_until_ns <= now_ns)
            dial_give_up(transport);
        if (link_poll_overdue(transport->link, now_ns))
            poll_cancel(transport);
        transport->busy = true;
        link_tick(transport->link, now_ns);
        transport->busy = false;
        company_round(&transport->company, now_ns);
        transport->wake_ns = transport->company.end_ns;
        transport_run(transport);
        /* A deadline that has passed waits for another thread to act: look again, but not at once. */
        uint64_t pause_ns = transport->company.end_ns != NEVER_NS ? COMPANY_NS : NS_PER_MS;
        if (transport->wake_ns < now_ns + pause_ns)
            transport->wake_ns = now_ns + pause_ns;
        if (!transport->stopping)
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
    bool wake = false;
    bool waits = !transport->busy && company_join(&transport->company, busy, &wake) && push_small(transport);
    if (wake)
        pthread_cond_signal(&transport->wake);
    if (!waits)
        transport_flush(transport);
    return waits;
}

static void conditions_init(struct transport *transport)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&transport->wake, &attributes);
    pthread_cond_init(&transport->connect, &attributes);
    pthread_cond_init(&transport->quiet, &attributes);
    pthread_condattr_destroy(&attributes);
}

static int thread_start(pthread_t *thread, bool *started, void *(*run)(void *), struct transport *transport)
{
    sigset_t all, before;
    sigfillset(&all); /* signals are for the program's own threads */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(thread, NULL, run, transport);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    *started = error == 0;
    return error == 0 ? 0 : error_set(MUSTER_ESYSTEM, "cannot start a thread: %s", strerror(error));
}

static int poll_open(struct transport *transport)
{
    nng_socket *req = &transport->req.socket;
    int error = nng_req0_open(req);
    if (error != 0)
        return nng_failed("cannot open a socket", error);
    nng_socket_set_ms(*req, NNG_OPT_REQ_RESENDTIME, NNG_DURATION_INFINITE);
    nng_socket_set_size(*req, NNG_OPT_RECVMAXSZ, FRAME_LIMIT_MAX + HEADER_SLACK);
    if ((error = nng_ctx_open(&transport->context, *req)) != 0 ||
        (error = nng_aio_alloc(&transport->ask_now, NULL, NULL)) != 0 ||
        (error = nng_aio_alloc(&transport->ask_later, poll_asked, transport)) != 0 ||
        (error = nng_aio_alloc(&transport->answer, poll_answered, transport)) != 0 ||
        (error = nng_aio_alloc(&transport->push_now, NULL, NULL)) != 0 ||
        (error = nng_aio_alloc(&transport->push_later, push_ended, transport)) != 0)
        return nng_failed("cannot prepare a socket", error);
    nng_aio_set_timeout(transport->ask_now, NNG_DURATION_ZERO);
    nng_aio_set_timeout(transport->push_now, NNG_DURATION_ZERO);
    nng_pipe_notify(*req, NNG_PIPE_EV_ADD_POST, req_event, transport);
    nng_pipe_notify(*req, NNG_PIPE_EV_REM_POST, req_event, transport);
    return 0;
}

int transport_claim_process(void)
{
    static _Atomic pid_t owner;
    pid_t unowned = 0;
    if (atomic_compare_exchange_strong(&owner, &unowned, getpid()) || unowned == getpid())
        return 0;
    return error_set(MUSTER_EINVAL,
                     "this process was forked by process %d, which had used muster, and cannot use it itself: start it "
                     "by exec (in Python: by the start method \"spawn\" or \"forkserver\"), or fork before",
                     (int)unowned);
}

int transport_start(struct transport **out, const char *url, struct link *link, pthread_mutex_t *mutex)
{
    int status = url_check(url);
    if (status == 0)
        status = transport_claim_process();
    if (status != 0)
        return status;
    struct transport *transport = memory_zero(sizeof *transport);
    if (!transport)
        return error_memory();
    transport->link = link;
    transport->mutex = mutex;
    transport->req.socket = (nng_socket)NNG_SOCKET_INITIALIZER;
    transport->req.pause_ns = transport->push.pause_ns = PAUSE_FIRST_NS;
    transport->wake_ns = transport->dial_until_ns = NEVER_NS;
    company_init(&transport->company);
    conditions_init(transport);
    transport->url = bytes_dup_string(bytes_string(url));
    status = transport->url ? poll_open(transport) : error_memory();
    if (status == 0) {
        pthread_mutex_lock(mutex);
        *out = transport;
        link_push_lost(link);
        status = thread_start(&transport->connector, &transport->connector_started, connector_main, transport);
        if (status == 0) /* it starts with a poll */
            status = thread_start(&transport->timer, &transport->timer_started, timer_main, transport);
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
    pthread_cond_signal(&transport->connect);
    bool dialling = transport->dial_until_ns != NEVER_NS;
    pthread_mutex_unlock(transport->mutex);
    if (dialling)
        nng_dialer_close(transport->dialling);
    if (transport->timer_started)
        pthread_join(transport->timer, NULL);
    if (transport->connector_started)
        pthread_join(transport->connector, NULL);
    /* All callbacks have ended before a socket is closed, all operations before one is freed: they use each other. */
    for (size_t i = 0; i < count; i++)
        if (operations[i])
            nng_aio_stop(operations[i]);
    if (nng_socket_id(transport->req.socket) > 0)
        nng_close(transport->req.socket);
    if (transport->push.state != LINE_DOWN)
        nng_close(transport->push.socket);
    for (size_t i = 0; i < count; i++)
        operation_free(operations[i]);
    pthread_cond_destroy(&transport->connect);
    pthread_cond_destroy(&transport->wake);
    pthread_cond_destroy(&transport->quiet);
    buffer_free(&transport->poll);
    memory_free(transport->url);
    memory_free(transport);
}
