/*
 * The hub: sessions around the coordinator. A frame comes in by a poll or a push, is matched with its session by its
 * token, and its messages go to the coordinator; what the coordinator sends gathers in sessions and leaves as the
 * answer to the poll that each peer keeps open.
 *
 * Work is proportional to what happens, never to how many peers there are: sessions with something to do are in one of
 * two lists, deadlines are in a heap. A session's place in the heap is only put right when it fires, so an ordinary
 * frame does not touch the heap at all.
 *
 * The two lists: `urgent` holds what can make the coordinator send more (local peers that have taken messages, sessions
 * that end), `ready` holds polls that can perhaps be answered. A flush empties the first before it starts with the
 * second, so that an answer carries all that there is for that peer.
 *
 * Nothing is freed while a frame is being taken: a session that must end is marked and ends in the flush.
 */
#include <stdarg.h>
#include <stdio.h>
#include <utlist.h>

#include "core/errors.h"
#include "core/log.h"
#include "server/hub_private.h"

static bool deadline_less(const void *a, const void *b)
{
    const struct hub_session *left = a, *right = b;
    return left->deadline_ns < right->deadline_ns;
}

/* --- logging what strangers cause --------------------------------------------------------------------------------- */

void hub_complain(struct hub *hub, uint64_t now_ns, const char *format, ...)
{
    if (now_ns - hub->complaints_ns >= NS_PER_S) {
        if (hub->left_out)
            log_warning("%u lines about refused or malformed peers were left out", hub->left_out);
        hub->complaints_ns = now_ns;
        hub->complaints = hub->left_out = 0;
    }
    if (hub->complaints >= COMPLAINTS_PER_S) {
        hub->left_out++;
        return;
    }
    hub->complaints++;
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    log_warning("%s", text);
}

static const char *role_name(enum role role)
{
    return role == ROLE_CLIENT ? "client" : role == ROLE_WORKER ? "worker" : "supervisor";
}

/* --- the two lists ------------------------------------------------------------------------------------------------ */

static void session_unqueue(struct hub_session *session)
{
    struct hub *hub = session->hub;
    if (session->queued == QUEUE_URGENT)
        DL_DELETE(hub->urgent, session);
    else if (session->queued == QUEUE_READY)
        DL_DELETE(hub->ready, session);
    session->queued = QUEUE_NONE;
}

void session_queue(struct hub_session *session, bool urgent)
{
    struct hub *hub = session->hub;
    if (session->queued == QUEUE_URGENT || (session->queued == QUEUE_READY && !urgent))
        return;
    session_unqueue(session);
    if (urgent)
        DL_APPEND(hub->urgent, session);
    else
        DL_APPEND(hub->ready, session);
    session->queued = urgent ? QUEUE_URGENT : QUEUE_READY;
}

void session_break(struct hub_session *session, const char *format, ...)
{
    if (session->state != SESSION_OPEN)
        return;
    session->state = SESSION_BROKEN;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(session->reason, sizeof session->reason, format, arguments);
    va_end(arguments);
    session_queue(session, true);
}

/* --- answers outside of sessions ---------------------------------------------------------------------------------- */

void hub_answer(struct hub *hub, hub_poll_id poll, const struct message *message)
{
    if (frame_single(&hub->out, message) == 0)
        hub->events.answer(hub->arg, poll, bytes_of(&hub->out));
    else
        hub->events.drop(hub->arg, poll);
}

void hub_say_lost(struct hub *hub, hub_poll_id poll, const char *reason)
{
    struct message message = {.type = MESSAGE_LOST};
    message.lost.reason = bytes_string(reason);
    hub_answer(hub, poll, &message);
}

void hub_refuse(struct hub *hub, hub_poll_id poll, int status, const char *reason, uint64_t now_ns)
{
    struct message message = {.type = MESSAGE_REFUSED};
    message.refused.status = (uint64_t)-status;
    message.refused.version = PROTOCOL_VERSION;
    message.refused.reason = bytes_string(reason);
    hub->counts.refused++;
    hub_complain(hub, now_ns, "refused a peer: %s", reason);
    hub_answer(hub, poll, &message);
}

/* --- deadlines ---------------------------------------------------------------------------------------------------- */

static uint64_t silent_at(const struct hub_session *session)
{
    uint64_t limit = session->heard_ns + session->hub->config.heartbeat_ns;
    return limit > session->hub->forgive_ns ? limit : session->hub->forgive_ns;
}

static uint64_t keepalive_at(const struct hub_session *session)
{
    return session->poll_held ? session->poll_since_ns + session->hub->config.keepalive_ns : NEVER_NS;
}

static uint64_t session_due(const struct hub_session *session)
{
    return deadline_min(silent_at(session), deadline_min(keepalive_at(session), session->gone_ns));
}

/* After something that can bring its deadline nearer. One that has moved away is found out when it fires. */
static void session_hasten(struct hub_session *session)
{
    uint64_t due = session_due(session);
    if (due < session->deadline_ns) {
        session->deadline_ns = due;
        heap_update(&session->hub->deadlines, session);
    }
}

uint64_t hub_deadline(const struct hub *hub)
{
    uint64_t deadline = coordinator_deadline(hub->coordinator);
    const struct hub_session *first = heap_first(&hub->deadlines);
    if (first)
        deadline = deadline_min(deadline, first->deadline_ns);
    if (hub->oldest_handshake)
        deadline = deadline_min(deadline, hub->oldest_handshake->expires_ns);
    return deadline;
}

/* The session at the top of the heap has reached its key. */
static void session_fire(struct hub_session *session, uint64_t now_ns)
{
    if (silent_at(session) <= now_ns) {
        session_break(session, "silent for %llu ms", (unsigned long long)((now_ns - session->heard_ns) / NS_PER_MS));
        session->deadline_ns = NEVER_NS;
    } else if (session->gone_ns <= now_ns) {
        session_break(session, "its connections have closed");
        session->deadline_ns = NEVER_NS;
    } else {
        if (keepalive_at(session) <= now_ns) {
            session->answer_now = true;
            session->poll_since_ns = now_ns;
            session_queue(session, false);
        }
        session->deadline_ns = session_due(session);
    }
    heap_update(&session->hub->deadlines, session);
}

void hub_tick(struct hub *hub, uint64_t now_ns)
{
    struct hub_session *first = heap_first(&hub->deadlines);
    /* A tick that comes as late as this means that this process was stopped, not its peers: what they have sent is
     * still unread. */
    if (first && now_ns > first->deadline_ns && now_ns - first->deadline_ns > hub->config.heartbeat_ns / 2)
        hub->forgive_ns = now_ns + hub->config.heartbeat_ns / 2;
    while ((first = heap_first(&hub->deadlines)) && first->deadline_ns <= now_ns)
        session_fire(first, now_ns);
    handshakes_expire(hub, now_ns);
    coordinator_tick(hub->coordinator, now_ns);
}

/* --- sessions begin and end --------------------------------------------------------------------------------------- */

/* A copy of a peer's text that can be shown to people: no control characters. */
static char *text_copy(struct bytes text)
{
    char *copy = bytes_dup_string(text);
    for (char *c = copy; c && *c; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    }
    return copy;
}

static int peer_fill(struct peer *peer, const struct message_hello *hello)
{
    peer->role = (enum role)hello->role;
    peer->identity = hello->identity;
    peer->group = hello->group;
    peer->pid = hello->pid;
    peer->host = text_copy(hello->host);
    peer->name = text_copy(hello->name);
    peer->domain = text_copy(hello->domain);
    peer->language = text_copy(hello->language);
    return peer->host && peer->name && peer->domain && peer->language ? 0 : MUSTER_ENOMEM;
}

static void peer_empty(struct peer *peer)
{
    memory_free(peer->host);
    memory_free(peer->name);
    memory_free(peer->domain);
    memory_free(peer->language);
}

/* Puts it into both tables and the heap, or into none. */
static int session_register(struct hub *hub, struct hub_session *session)
{
    if (heap_insert(&hub->deadlines, session) != 0)
        return MUSTER_ENOMEM;
    hash_oom = false;
    HASH_ADD(by_token, hub->sessions, session.token, TOKEN_BYTES, session);
    if (hash_oom)
        goto no_token;
    HASH_ADD(by_identity, hub->identities, key, sizeof session->key, session);
    if (hash_oom)
        goto no_identity;
    hub->counts.sessions++;
    return 0;

no_identity:
    HASH_DELETE(by_token, hub->sessions, session);
no_token:
    heap_remove(&hub->deadlines, session);
    return MUSTER_ENOMEM;
}

static void line_drop(struct hub_line *line)
{
    if (!line->pipe)
        return;
    HASH_DELETE(hh, line->session->hub->lines, line);
    line->pipe = 0;
}

static void session_unregister(struct hub_session *session)
{
    struct hub *hub = session->hub;
    session_unqueue(session);
    for (int kind = 0; kind < LINES; kind++)
        line_drop(&session->lines[kind]);
    if (session->handshake)
        handshake_free(hub, session->handshake);
    HASH_DELETE(by_token, hub->sessions, session);
    HASH_DELETE(by_identity, hub->identities, session);
    heap_remove(&hub->deadlines, session);
    hub->counts.sessions--;
}

static void session_destroy(struct hub_session *session)
{
    session->hub->unfinished_bytes -= session->session.fragments.length;
    session_free(&session->session);
    peer_empty(&session->peer);
    memory_free(session);
}

static struct hub_session *session_new(struct hub *hub, const struct message_hello *hello, uint64_t now_ns)
{
    struct hub_session *session = memory_zero(sizeof *session);
    if (!session)
        return NULL;
    unsigned char token[TOKEN_BYTES];
    random_bytes(&hub->random, token, sizeof token);
    session->hub = hub;
    session_init(&session->session, token, hub->config.frame_limit, hub->config.payload_limit);
    session->key.role = hello->role;
    session->key.identity = hello->identity;
    session->peer.send = send_remote;
    for (int kind = 0; kind < LINES; kind++)
        session->lines[kind].session = session;
    session->heard_ns = now_ns;
    session->gone_ns = NEVER_NS;
    session->deadline_ns = session_due(session);
    if (peer_fill(&session->peer, hello) != 0) {
        session_destroy(session);
        return NULL;
    }
    const char *domain = hub->config.coordinator.domain;
    session->foreign = !*domain || strcmp(session->peer.domain, domain) != 0;
    return session;
}

int session_open(struct hub *hub, const struct message_hello *hello, uint64_t now_ns, struct hub_session **opened)
{
    if (hub->stopping)
        return error_set(MUSTER_ECLOSED, "the coordinator is ending");
    if (hub->counts.sessions >= hub->config.sessions)
        return error_set(MUSTER_ELIMIT, "the coordinator has %zu sessions, which is its limit: raise --sessions",
                         hub->counts.sessions);
    struct hub_session *session = session_new(hub, hello, now_ns);
    if (!session)
        return error_memory();
    int status = session_register(hub, session);
    if (status != 0) {
        session_destroy(session);
        return error_memory();
    }
    status = coordinator_peer_up(hub->coordinator, &session->peer, now_ns);
    if (status != 0) {
        session_unregister(session);
        session_destroy(session);
        return status;
    }
    log_info("%s %s (%s, pid %llu) opened a session", role_name(session->peer.role), session->peer.name,
             session->peer.host, (unsigned long long)session->peer.pid);
    *opened = session;
    return 0;
}

/* The last answer to its poll: the acknowledgement of its BYE, or why it was closed. */
static void answer_last(struct hub_session *session)
{
    struct hub *hub = session->hub;
    if (!session->poll_held)
        return;
    session->poll_held = false;
    if (session->state == SESSION_LEAVING && session_empty_frame(&session->session, &hub->out) == 0) {
        hub->events.answer(hub->arg, session->poll, bytes_of(&hub->out));
        return;
    }
    hub_say_lost(hub, session->poll, session->reason);
}

static void complain_about_end(const struct hub_session *session, uint64_t now_ns)
{
    const struct peer *peer = &session->peer;
    /* Without rejoin the coordinator is embedded. A pool's owner learns of its own worker's death from the task's
     * error, if there was a task: no need to write on the standard error of somebody else's program. */
    if (!session->hub->config.coordinator.rejoin && peer->role == ROLE_WORKER) {
        log_info("worker %s (pid %llu) is gone: %s", peer->name, (unsigned long long)peer->pid, session->reason);
        return;
    }
    hub_complain(session->hub, now_ns, "closed the session of %s %s (%s, pid %llu): %s", role_name(peer->role),
                 peer->name, peer->host, (unsigned long long)peer->pid, session->reason);
}

void session_end(struct hub_session *session, uint64_t now_ns)
{
    struct hub *hub = session->hub;
    bool goodbye = session->state == SESSION_LEAVING;
    if (goodbye) {
        log_info("%s %s (%s, pid %llu) left", role_name(session->peer.role), session->peer.name, session->peer.host,
                 (unsigned long long)session->peer.pid);
    } else {
        hub->counts.lost_sessions++;
        complain_about_end(session, now_ns);
    }
    answer_last(session);
    session_unregister(session);
    coordinator_peer_down(hub->coordinator, &session->peer, goodbye, session->reason, now_ns);
    session_unqueue(session); /* what the coordinator did last may have queued it again */
    if (!goodbye && hub->events.peer_gone)
        hub->events.peer_gone(hub->arg, session->peer.pid, session->peer.domain);
    session_destroy(session);
}

/* --- frames in ---------------------------------------------------------------------------------------------------- */

/* The session came by this connection. An unknown one may be gone by now: its last frames can be later than the news of
 * its end. */
static void line_seen(struct hub_session *session, enum line_kind kind, hub_pipe_id pipe)
{
    struct hub_line *line = &session->lines[kind];
    if (pipe == 0)
        return;
    session->gone_ns = NEVER_NS;
    if (line->pipe == pipe)
        return;
    struct hub *hub = session->hub;
    line_drop(line);
    struct hub_line *other;
    HASH_FIND_U64(hub->lines, pipe, other);
    if (other) /* one connection serves one session: the latest */
        line_drop(other);
    line->pipe = pipe;
    if (!HASH_ADD_U64(hub->lines, pipe, line))
        line->pipe = 0;
}

struct taking {
    struct hub_session *session;
    uint64_t now_ns;
    const char *why;
};

/* session_handler: one message of a frame. */
static int message_arrived(void *arg, const struct message *message)
{
    struct taking *taking = arg;
    struct hub_session *session = taking->session;
    if (session->state != SESSION_OPEN)
        return 0; /* after BYE, or closed by what came before in the same frame */
    if (message->type == MESSAGE_BYE) {
        session->state = SESSION_LEAVING;
        size_t length = message->bye.reason.length;
        snprintf(session->reason, sizeof session->reason, "%.*s", (int)(length < 100 ? length : 100),
                 length ? (const char *)message->bye.reason.data : "");
        session_queue(session, true);
        return 0;
    }
    return coordinator_message(session->hub->coordinator, &session->peer, message, taking->now_ns, &taking->why);
}

/* Takes a frame of a session; on an error the session is marked to end. */
static void frame_take(struct hub_session *session, const struct frame_header *header, uint64_t now_ns)
{
    struct hub *hub = session->hub;
    struct taking taking = {session, now_ns, NULL};
    const char *why = NULL;
    session->heard_ns = now_ns;
    if (session->handshake)
        handshake_free(hub, session->handshake);
    hub->unfinished_bytes -= session->session.fragments.length;
    int status = session_receive(&session->session, header, message_arrived, &taking, &why);
    hub->unfinished_bytes += session->session.fragments.length;
    session->peer.backlog_bytes = session->session.backlog_bytes;
    if (status != 0) {
        why = taking.why ? taking.why : why && *why ? why : muster_strerror(status);
        hub->counts.malformed++;
        session_break(session, "malformed: %s", why);
    } else if (hub->unfinished_bytes > hub->config.coordinator.total_bytes) {
        session_break(session, "%zu bytes of unfinished messages are held in all, and no more may be",
                      hub->unfinished_bytes);
    }
}

static void acknowledged(struct hub_session *session, uint64_t before, uint64_t now_ns)
{
    if (session->state == SESSION_OPEN && session->session.acked_messages > before)
        coordinator_delivered(session->hub->coordinator, &session->peer, session->session.acked_messages, now_ns);
}

static struct hub_session *session_find(struct hub *hub, struct bytes token)
{
    struct hub_session *session;
    HASH_FIND(by_token, hub->sessions, token.data, TOKEN_BYTES, session);
    return session;
}

static void poll_hold(struct hub_session *session, hub_poll_id poll, hub_pipe_id pipe, uint64_t now_ns)
{
    if (session->poll_held)
        session->hub->events.drop(session->hub->arg, session->poll);
    session->poll_held = true;
    session->answer_now = false;
    session->poll = poll;
    session->poll_pipe = pipe;
    session->poll_since_ns = now_ns;
    /* A peer asks again only after it has taken the answer before. So a frame that is not acknowledged now was lost on
     * its way. */
    if (session->session.first)
        session_rewind(&session->session);
    session_hasten(session);
    session_queue(session, false);
}

void hub_poll(struct hub *hub, hub_poll_id poll, hub_pipe_id pipe, const char *push_url, struct bytes frame,
              uint64_t now_ns)
{
    struct frame_header header;
    const char *why = "the frame is larger than the limit";
    if (frame.length > hub->config.frame_limit || frame_parse(frame, &header, &why) != 0) {
        hub->counts.malformed++;
        hub_refuse(hub, poll, MUSTER_EPROTOCOL, why, now_ns);
        return;
    }
    if (header.token.length == 0) {
        handshake_poll(hub, poll, pipe, push_url, &header, now_ns);
        return;
    }
    struct hub_session *session = session_find(hub, header.token);
    if (!session || hub->stopping) {
        hub_say_lost(hub, poll, session ? "the coordinator is ending" : "the session is unknown or has ended");
        return;
    }
    uint64_t before = session->session.acked_messages;
    line_seen(session, LINE_POLL, pipe);
    frame_take(session, &header, now_ns);
    poll_hold(session, poll, pipe, now_ns);
    acknowledged(session, before, now_ns);
}

/* True if the peer has sent much that it may be waiting to forget. */
static bool acknowledgement_wanted(const struct hub_session *session)
{
    const struct session *state = &session->session;
    return state->unacked_received > session->hub->config.session_window / 4 ||
           state->received_sequence - state->acked_sequence > ACK_FRAMES;
}

void hub_push(struct hub *hub, hub_pipe_id pipe, struct bytes frame, uint64_t now_ns)
{
    struct frame_header header;
    const char *why = "the frame is larger than the limit";
    if (frame.length > hub->config.frame_limit || frame_parse(frame, &header, &why) != 0) {
        struct hub_line *line;
        HASH_FIND_U64(hub->lines, pipe, line);
        hub->counts.malformed++;
        if (line)
            session_break(line->session, "malformed: %s", why);
        else
            hub_complain(hub, now_ns, "a malformed push: %s", why);
        return;
    }
    struct hub_session *session = header.token.length ? session_find(hub, header.token) : NULL;
    if (!session || hub->stopping) {
        hub->counts.refused++;
        return;
    }
    uint64_t before = session->session.acked_messages;
    line_seen(session, LINE_PUSH, pipe);
    frame_take(session, &header, now_ns);
    acknowledged(session, before, now_ns);
    if (session->poll_held && acknowledgement_wanted(session))
        session_queue(session, false);
}

void hub_pipe_lost(struct hub *hub, hub_pipe_id pipe, bool process_bound, uint64_t now_ns)
{
    handshake_pipe_lost(hub, pipe);
    struct hub_line *line;
    HASH_FIND_U64(hub->lines, pipe, line);
    if (!line)
        return;
    struct hub_session *session = line->session;
    line_drop(line);
    if (session->poll_held && session->poll_pipe == pipe) {
        session->poll_held = false;
        hub->events.drop(hub->arg, session->poll);
    }
    if (process_bound && !session->lines[LINE_POLL].pipe && !session->lines[LINE_PUSH].pipe) {
        session->gone_ns = now_ns + PIPE_GRACE_NS;
        session_hasten(session);
    }
}

bool hub_pipe_known(const struct hub *hub, hub_pipe_id pipe)
{
    struct hub_line *line;
    HASH_FIND_U64(hub->lines, pipe, line);
    return line != NULL;
}

/* --- frames out --------------------------------------------------------------------------------------------------- */

/* Answers its poll if there is something to say. */
static void session_answer(struct hub_session *session)
{
    struct hub *hub = session->hub;
    if (!session->poll_held)
        return;
    struct bytes frame = {0};
    int status = session_next_view(&session->session, &frame);
    if (status == 0 && (session->answer_now || acknowledgement_wanted(session))) {
        status = session_empty_frame(&session->session, &hub->out) == 0 ? 1 : MUSTER_ENOMEM;
        frame = bytes_of(&hub->out);
    }
    if (status < 0) {
        session_break(session, "%s", muster_strerror(status));
        return;
    }
    if (status == 0)
        return;
    session->poll_held = false;
    session->answer_now = false;
    hub->events.answer(hub->arg, session->poll, frame);
}

static void local_delivered(struct hub_session *session, uint64_t now_ns)
{
    struct local_peer *local = (struct local_peer *)session;
    if (local->delivered == local->base.peer.sent)
        return;
    local->delivered = local->base.peer.sent;
    coordinator_delivered(session->hub->coordinator, &session->peer, local->delivered, now_ns);
}

static void flush_urgent(struct hub *hub, uint64_t now_ns)
{
    while (hub->urgent) {
        struct hub_session *session = hub->urgent;
        session_unqueue(session);
        if (session->peer.send == send_local)
            local_delivered(session, now_ns);
        else if (session->state != SESSION_OPEN)
            session_end(session, now_ns);
    }
}

void hub_flush(struct hub *hub, uint64_t now_ns)
{
    do {
        do {
            flush_urgent(hub, now_ns);
            coordinator_flush(hub->coordinator, now_ns);
        } while (hub->urgent);
        while (hub->ready && !hub->urgent) {
            struct hub_session *session = hub->ready;
            session_unqueue(session);
            session_answer(session);
        }
    } while (hub->urgent);
}

/* --- local peers -------------------------------------------------------------------------------------------------- */

static void local_destroy(struct local_peer *local)
{
    struct hub *hub = local->base.hub;
    session_unqueue(&local->base);
    DL_DELETE2(hub->locals, local, all_prev, all_next);
    peer_empty(&local->base.peer);
    memory_free(local);
}

int hub_attach(struct hub *hub, enum role role, uint64_t identity, const char *name,
               int (*handler)(void *arg, const struct message *), void *arg, struct local_peer **peer, uint64_t now_ns)
{
    struct local_peer *local = memory_zero(sizeof *local);
    if (!local)
        return error_memory();
    struct message_hello hello = {.role = role, .identity = identity, .pid = hub->config.coordinator.pid};
    hello.name = bytes_string(name);
    hello.host = bytes_string("localhost");
    hello.language = bytes_string("c");
    hello.domain = bytes_string(hub->config.coordinator.domain);
    if (role == ROLE_SUPERVISOR)
        hello.group = identity;
    local->base.hub = hub;
    local->base.peer.send = send_local;
    local->base.peer.local = true;
    local->handler = handler;
    local->arg = arg;
    DL_APPEND2(hub->locals, local, all_prev, all_next);
    int status = peer_fill(&local->base.peer, &hello) == 0 ? 0 : error_memory();
    if (status == 0)
        status = coordinator_peer_up(hub->coordinator, &local->base.peer, now_ns);
    if (status != 0) {
        local_destroy(local);
        return status;
    }
    *peer = local;
    return 0;
}

int hub_local_message(struct hub *hub, struct local_peer *peer, const struct message *message, uint64_t now_ns)
{
    const char *why = NULL;
    int status = coordinator_message(hub->coordinator, &peer->base.peer, message, now_ns, &why);
    return status == 0 ? 0
                       : error_set(status, "%s: %s", message_name(message->type), why ? why : muster_strerror(status));
}

void hub_detach(struct hub *hub, struct local_peer *peer, uint64_t now_ns)
{
    coordinator_peer_down(hub->coordinator, &peer->base.peer, true, "detached", now_ns);
    local_destroy(peer);
}

/* --- the hub itself ----------------------------------------------------------------------------------------------- */

void hub_config_defaults(struct hub_config *config)
{
    *config = (struct hub_config){
        .push_url = "",
        .heartbeat_ns = 5 * NS_PER_S,
        .handshake_ns = 5 * NS_PER_S,
        .frame_limit = FRAME_LIMIT_DEFAULT,
        .payload_limit = PAYLOAD_LIMIT_DEFAULT,
        .session_window = 8 * 1024 * 1024,
        .backlog_limit = 256 * 1024 * 1024,
        .sessions = 32768,
        .handshakes = 1024,
    };
    coordinator_config_defaults(&config->coordinator);
}

static int config_check(const struct hub_config *config)
{
    if (config->heartbeat_ns < 10 * NS_PER_MS)
        return error_set(MUSTER_EINVAL, "a heartbeat limit of %llu ns is too short: at least 10 ms",
                         (unsigned long long)config->heartbeat_ns);
    if (config->frame_limit < FRAME_LIMIT_MIN || config->frame_limit > FRAME_LIMIT_MAX)
        return error_set(MUSTER_EINVAL, "a frame limit of %zu bytes: it must be from %d to %d", config->frame_limit,
                         FRAME_LIMIT_MIN, FRAME_LIMIT_MAX);
    if (config->payload_limit < PAYLOAD_LIMIT_MIN)
        return error_set(MUSTER_EINVAL, "a payload limit of %zu bytes is too short: at least %d", config->payload_limit,
                         PAYLOAD_LIMIT_MIN);
    if (config->payload_limit < config->frame_limit || config->backlog_limit < config->payload_limit)
        return error_set(MUSTER_EINVAL, "limits must rise: frame (%zu) <= payload (%zu) <= backlog (%zu) bytes",
                         config->frame_limit, config->payload_limit, config->backlog_limit);
    if (config->sessions == 0 || config->handshakes == 0 || config->session_window == 0)
        return error_set(MUSTER_EINVAL, "the limits of sessions, handshakes and window must not be 0");
    return 0;
}

int hub_create(struct hub **hub, const struct hub_config *config, const struct random *seed,
               const struct hub_events *events, void *arg, uint64_t now_ns)
{
    int status = config_check(config);
    if (status != 0)
        return status;
    struct hub *created = memory_zero(sizeof *created);
    if (!created)
        return error_memory();
    created->config = *config;
    created->events = *events;
    created->arg = arg;
    created->random = *seed;
    heap_init(&created->deadlines, deadline_less, offsetof(struct hub_session, deadline_position));
    struct coordinator_config *inner = &created->config.coordinator;
    if (created->config.keepalive_ns == 0)
        created->config.keepalive_ns = config->heartbeat_ns / 4;
    if (inner->identity == 0)
        inner->identity = random_u64(&created->random);
    if (!inner->domain)
        inner->domain = "";
    inner->heartbeat_ns = config->heartbeat_ns;
    inner->payload_limit = config->payload_limit;
    struct random inner_seed;
    unsigned char entropy[32];
    random_bytes(&created->random, entropy, sizeof entropy);
    random_seed(&inner_seed, entropy, sizeof entropy);
    status = coordinator_create(&created->coordinator, inner, &inner_seed, now_ns);
    if (status != 0) {
        explicit_bzero(&created->config.authkey, sizeof created->config.authkey);
        memory_free(created);
        return status;
    }
    if (events->discard)
        coordinator_on_discard(created->coordinator, events->discard, arg);
    *hub = created;
    return 0;
}

void hub_free(struct hub *hub)
{
    if (!hub)
        return;
    coordinator_free(hub->coordinator);
    while (hub->sessions) {
        struct hub_session *session = hub->sessions;
        session_unregister(session);
        session_destroy(session);
    }
    while (hub->locals)
        local_destroy(hub->locals);
    while (hub->oldest_handshake)
        handshake_free(hub, hub->oldest_handshake);
    heap_free(&hub->deadlines);
    buffer_free(&hub->out);
    buffer_free(&hub->loaded);
    explicit_bzero(&hub->config.authkey, sizeof hub->config.authkey);
    memory_free(hub);
}

struct coordinator *hub_coordinator(struct hub *hub)
{
    return hub->coordinator;
}

void hub_shutdown(struct hub *hub, uint64_t now_ns)
{
    hub_flush(hub, now_ns);
    hub->stopping = true;
    for (struct hub_session *session = hub->sessions; session; session = session->by_token.next) {
        snprintf(session->reason, sizeof session->reason, "the coordinator is ending");
        answer_last(session);
    }
}

void hub_count(const struct hub *hub, struct hub_counts *counts)
{
    *counts = hub->counts;
}
