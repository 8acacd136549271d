/*
 * A peer's end of the conversation, from HELLO to BYE.
 *
 * The handshake runs over the poll line: HELLO is answered by CHALLENGE, PROOF by WELCOME, and either by REFUSED. After
 * that each poll is an empty frame that carries the acknowledgement, and its answer brings the coordinator's messages
 * and its acknowledgement of ours, which travel over the push line. A frame may get lost with a push connection; it is
 * sent again when the connection has been made again, and, should that have gone unnoticed, when the acknowledgements
 * stand still for too long.
 */
#include <inttypes.h>
#include <stdio.h>

#include "core/clock.h"
#include "core/errors.h"
#include "core/link.h"
#include "core/log.h"

#define BACKOFF_FIRST_NS (40 * NS_PER_MS) /* the first pause is half to all of it */
#define BACKOFF_LAST_NS (2 * NS_PER_S)
#define HEARTBEAT_DEFAULT_NS (5 * NS_PER_S) /* before a WELCOME has told it */
#define HEARTBEAT_MS_MAX (24 * 3600 * 1000ull)
#define REASON_BYTES 512
#define STOP_BYE 1 /* what the message handler gives to end a frame: not an error */

/* What the next poll, or the one in flight, is about. */
enum { STEP_HELLO, STEP_PROOF, STEP_OPEN };

int link_init(struct link *link, const struct link_config *config, const struct random *seed, uint64_t now_ns)
{
    if (!config->events || !config->events->open || !config->events->message || !config->events->failed)
        return error_set(MUSTER_EINVAL, "a link needs callbacks for open, message and failed");
    memset(link, 0, sizeof *link);
    link->config = *config;
    link->random = *seed;
    link->state = LINK_CONNECTING;
    link->heard_ns = link->poll_after_ns = now_ns;
    return 0;
}

static void welcome_free(struct welcome *welcome)
{
    memory_free(welcome->domain);
    memory_free(welcome->push_url);
    welcome->domain = welcome->push_url = NULL;
}

void link_free(struct link *link)
{
    session_free(&link->session);
    welcome_free(&link->welcome);
    buffer_free(&link->hello);
    buffer_free(&link->proof);
    explicit_bzero(&link->config.authkey, sizeof link->config.authkey);
}

static uint64_t heartbeat_ns(const struct link *link)
{
    return link->welcome.heartbeat_ns ? link->welcome.heartbeat_ns : HEARTBEAT_DEFAULT_NS;
}

/* A pause that doubles with each attempt, up to a limit; at random, so that a thousand peers do not come back at once.
 */
static uint64_t backoff_ns(struct link *link, unsigned attempts)
{
    uint64_t most = BACKOFF_FIRST_NS << (attempts < 8 ? attempts : 8);
    if (most > BACKOFF_LAST_NS)
        most = BACKOFF_LAST_NS;
    return most / 2 + random_u64(&link->random) % (most / 2);
}

/* From the start again, after a pause. */
static void link_connect(struct link *link, uint64_t now_ns)
{
    link->state = LINK_CONNECTING;
    link->step = STEP_HELLO;
    link->poll_after_ns = now_ns + backoff_ns(link, link->attempts++);
}

static void link_fail(struct link *link, int status, const char *reason)
{
    session_free(&link->session);
    link->state = LINK_FAILED;
    link->config.events->failed(link->config.arg, status, reason);
}

/* The goodbye was heard, or the session had gone before. */
static void link_closed(struct link *link)
{
    session_free(&link->session);
    link->state = LINK_CLOSED;
    if (link->config.events->closed)
        link->config.events->closed(link->config.arg);
}

/* The session is gone, if there was one. */
static void link_lost(struct link *link, const char *reason, uint64_t now_ns)
{
    bool was_open = link->state == LINK_OPEN;
    if (link->closing) {
        link_closed(link);
        return;
    }
    session_free(&link->session);
    link_connect(link, now_ns);
    if (was_open && link->config.events->lost)
        link->config.events->lost(link->config.arg, reason);
}

/* A text of the coordinator's as a string, cut if it is long. */
static void reason_copy(char out[REASON_BYTES], struct bytes text)
{
    size_t length = text.length < REASON_BYTES ? text.length : REASON_BYTES - 1;
    if (length > 0)
        memcpy(out, text.data, length);
    out[length] = '\0';
}

/* --- sending ------------------------------------------------------------------------------------------------------ */

int link_send(struct link *link, const struct message *message)
{
    if (link->state != LINK_OPEN || link->closing)
        return MUSTER_ECONNECT;
    return session_send(&link->session, message);
}

int link_close(struct link *link, const char *reason)
{
    if (link->closing || link->state == LINK_FAILED || link->state == LINK_CLOSED)
        return 0;
    struct message bye = {.type = MESSAGE_BYE, .bye = {.reason = bytes_string(reason)}};
    int status = link->state == LINK_OPEN ? session_send(&link->session, &bye) : 0;
    link->closing = true;
    if (link->state != LINK_OPEN || status != 0)
        link->state = LINK_CLOSED;
    return status;
}

bool link_idle(const struct link *link)
{
    return link->state != LINK_OPEN || (!link->session.first && link->session.gathering_count == 0);
}

static bool hello_make(struct link *link, struct buffer *out)
{
    const struct link_config *config = &link->config;
    random_bytes(&link->random, link->nonce, NONCE_BYTES);
    struct message hello = {.type = MESSAGE_HELLO,
                            .hello = {.version = PROTOCOL_VERSION,
                                      .role = config->role,
                                      .identity = config->identity,
                                      .group = config->group,
                                      .language = bytes_string(config->language),
                                      .pid = config->pid,
                                      .host = bytes_string(config->host),
                                      .domain = bytes_string(config->domain),
                                      .name = bytes_string(config->name),
                                      .nonce = {link->nonce, NONCE_BYTES}}};
    link->hello.length = 0;
    return message_encode(&link->hello, &hello) == 0 && frame_single(out, &hello) == 0;
}

static bool poll_make(struct link *link, struct buffer *out)
{
    switch (link->step) {
    case STEP_HELLO: return hello_make(link, out);
    case STEP_PROOF: out->length = 0; return buffer_append(out, link->proof.data, link->proof.length) == 0;
    default: return session_empty_frame(&link->session, out) == 0;
    }
}

bool link_next_poll(struct link *link, uint64_t now_ns, struct buffer *out)
{
    if (link->poll_in_flight || now_ns < link->poll_after_ns ||
        (link->state != LINK_CONNECTING && link->state != LINK_OPEN))
        return false;
    if (!poll_make(link, out)) {
        link->poll_after_ns = now_ns + backoff_ns(link, link->failures++); /* memory ran out: later, perhaps */
        return false;
    }
    link->poll_in_flight = true;
    link->poll_sent_ns = now_ns;
    return true;
}

bool link_next_push(struct link *link, uint64_t now_ns, struct bytes *frame)
{
    if (link->push_in_flight || link->push_lost || link->state != LINK_OPEN || now_ns < link->push_after_ns ||
        !session_has_frame(&link->session))
        return false;
    if (!link->session.first)
        link->progress_ns = now_ns;
    if (session_next_view(&link->session, frame) != 1) {
        link->push_after_ns = now_ns + backoff_ns(link, 0);
        return false;
    }
    link->push_in_flight = true;
    return true;
}

void link_push_done(struct link *link, bool sent, uint64_t now_ns)
{
    link->push_in_flight = false;
    if (sent)
        return;
    session_rewind(&link->session);
    link->push_after_ns = now_ns + backoff_ns(link, 0);
}

void link_push_lost(struct link *link)
{
    link->push_lost = true;
}

void link_push_connected(struct link *link, uint64_t now_ns)
{
    link->push_lost = false;
    session_rewind(&link->session);
    link->push_after_ns = link->progress_ns = now_ns;
}

void link_poll_failed(struct link *link, uint64_t now_ns)
{
    link->poll_in_flight = false;
    if (link->state == LINK_CONNECTING) {
        link_connect(link, now_ns);
    } else if (link->state == LINK_OPEN) {
        link->poll_after_ns = now_ns + backoff_ns(link, link->failures++);
    }
}

/* --- what the coordinator says outside the session ---------------------------------------------------------------- */

static void link_challenged(struct link *link, const struct message_challenge *challenge, uint64_t now_ns)
{
    unsigned char mac[MAC_BYTES];
    const struct authkey *key = &link->config.authkey;
    struct bytes hello = bytes_of(&link->hello);
    if (link->step != STEP_HELLO || challenge->nonce.length != NONCE_BYTES) {
        link_fail(link, MUSTER_EPROTOCOL, "the coordinator's challenge is malformed or out of place");
        return;
    }
    if (proof_make(key, PROOF_PEER, hello, link->nonce, challenge->nonce.data, mac) != 0 ||
        proof_make(key, PROOF_COORDINATOR, hello, link->nonce, challenge->nonce.data, link->expected_mac) != 0) {
        link_fail(link, MUSTER_EINTERNAL, "the proof of the authkey could not be computed");
        return;
    }
    struct message proof = {.type = MESSAGE_PROOF,
                            .proof = {.handshake = challenge->handshake, .mac = {mac, MAC_BYTES}}};
    if (frame_single(&link->proof, &proof) == 0)
        link->step = STEP_PROOF;
    else
        link_connect(link, now_ns);
}

/* Keeps what WELCOME says. A negative status means that it was not kept: MUSTER_ENOMEM or MUSTER_EPROTOCOL. */
static int welcome_keep(struct welcome *welcome, const struct message_welcome *said)
{
    if (said->token.length != TOKEN_BYTES || said->heartbeat_ms == 0 || said->heartbeat_ms > HEARTBEAT_MS_MAX ||
        said->frame_limit < FRAME_LIMIT_MIN || said->frame_limit > FRAME_LIMIT_MAX || said->payload_limit > SIZE_MAX)
        return MUSTER_EPROTOCOL;
    struct welcome kept = {.coordinator = said->coordinator,
                           .pid = said->pid,
                           .heartbeat_ns = said->heartbeat_ms * NS_PER_MS,
                           .frame_limit = said->frame_limit,
                           .payload_limit = said->payload_limit,
                           .session_window = said->session_window,
                           .task_window = said->task_window,
                           .task_bytes = said->task_bytes,
                           .definition_bytes = said->definition_bytes,
                           .domain = bytes_dup_string(said->domain),
                           .push_url = bytes_dup_string(said->push_url)};
    if (!kept.domain || !kept.push_url) {
        welcome_free(&kept);
        return MUSTER_ENOMEM;
    }
    welcome_free(welcome);
    *welcome = kept;
    return 0;
}

static void link_welcomed(struct link *link, const struct message_welcome *said, uint64_t now_ns)
{
    if (link->step != STEP_PROOF) {
        link_fail(link, MUSTER_EPROTOCOL, "the coordinator's welcome is out of place");
        return;
    }
    if (!proof_equal(link->expected_mac, said->mac)) {
        link_fail(link, MUSTER_EAUTH,
                  "the coordinator could not prove that it holds the authkey: give both sides the same one");
        return;
    }
    uint64_t before = link->welcome.coordinator;
    bool first = link->welcome.heartbeat_ns == 0;
    int status = welcome_keep(&link->welcome, said);
    if (status == MUSTER_EPROTOCOL) {
        link_fail(link, status, "the coordinator's welcome makes no sense");
        return;
    }
    if (status != 0) {
        link_connect(link, now_ns);
        return;
    }
    session_init(&link->session, said->token.data, link->welcome.frame_limit, link->welcome.payload_limit);
    link->state = LINK_OPEN;
    link->step = STEP_OPEN;
    link->opened_ns = link->progress_ns = link->push_after_ns = now_ns;
    link->progress_messages = 0;
    link->config.events->open(link->config.arg, &link->welcome, first || before != link->welcome.coordinator);
}

static void link_refused(struct link *link, const struct message_refused *refused, uint64_t now_ns)
{
    char reason[REASON_BYTES], text[REASON_BYTES + 200];
    int status =
        refused->status >= 1 && refused->status <= -MUSTER_EINTERNAL ? -(int)refused->status : MUSTER_EPROTOCOL;
    reason_copy(reason, refused->reason);
    switch (status) {
    case MUSTER_ELIMIT:
    case MUSTER_EAGAIN:
    case MUSTER_ENOMEM:
    case MUSTER_ECLOSED: /* there may be room, or another coordinator, in a while */
        log_info("refused for now: %s", reason);
        link_lost(link, reason, now_ns);
        return;
    case MUSTER_EVERSION:
        snprintf(text, sizeof text,
                 "the coordinator speaks version %" PRIu64 " of the protocol, this side version %d: "
                 "use programs of one release (%s)",
                 refused->version, PROTOCOL_VERSION, reason);
        link_fail(link, status, text);
        return;
    default: snprintf(text, sizeof text, "the coordinator refused: %s", reason); link_fail(link, status, text);
    }
}

/* A frame of no session: one message. */
static void poll_answered_single(struct link *link, struct bytes bytes, uint64_t now_ns)
{
    char reason[REASON_BYTES];
    struct message message;
    const char *why;
    if (message_decode(&bytes, &message, &why) != 0 || bytes.length > 0)
        message.type = 0;
    bool connecting = link->state == LINK_CONNECTING;
    if (connecting && message.type == MESSAGE_CHALLENGE) {
        link_challenged(link, &message.challenge, now_ns);
    } else if (connecting && message.type == MESSAGE_WELCOME) {
        link_welcomed(link, &message.welcome, now_ns);
    } else if (message.type == MESSAGE_REFUSED) {
        link_refused(link, &message.refused, now_ns);
    } else if (message.type == MESSAGE_LOST) {
        reason_copy(reason, message.lost.reason);
        link_lost(link, reason, now_ns);
    } else {
        link_fail(link, MUSTER_EPROTOCOL, "what answers at that URL does not speak muster's protocol");
    }
}

/* --- what it says in the session ---------------------------------------------------------------------------------- */

static int link_message(void *arg, const struct message *message)
{
    struct link *link = arg;
    if (message->type == MESSAGE_BYE)
        return STOP_BYE;
    return link->config.events->message(link->config.arg, message);
}

static void link_progress(struct link *link, uint64_t now_ns)
{
    struct session *session = &link->session;
    if (session->acked_messages > link->progress_messages) {
        link->progress_messages = session->acked_messages;
        link->progress_ns = now_ns;
    }
    if (link->closing && link->state == LINK_OPEN && link_idle(link))
        link_closed(link);
}

static void poll_answered_session(struct link *link, const struct frame_header *header, uint64_t now_ns)
{
    const char *why = "";
    if (link->state != LINK_OPEN || memcmp(header->token.data, link->session.token, TOKEN_BYTES) != 0) {
        link_fail(link, MUSTER_EPROTOCOL, "the coordinator answered with a frame of another session");
        return;
    }
    int status = session_receive(&link->session, header, link_message, link, &why);
    if (status == STOP_BYE) {
        link_lost(link, "the coordinator said goodbye", now_ns);
    } else if (status != 0) {
        link_fail(link, status, *why ? why : muster_strerror(status));
    } else {
        if (now_ns - link->opened_ns > heartbeat_ns(link))
            link->attempts = 0;
        link_progress(link, now_ns);
    }
}

void link_poll_answered(struct link *link, struct bytes reply, uint64_t now_ns)
{
    struct frame_header header;
    const char *why;
    link->poll_in_flight = false;
    if (link->state != LINK_CONNECTING && link->state != LINK_OPEN)
        return;
    link->heard_ns = now_ns;
    link->failures = 0;
    if (frame_parse(reply, &header, &why) != 0)
        link_fail(link, MUSTER_EPROTOCOL, "what answers at that URL does not speak muster's protocol");
    else if (header.token.length > 0)
        poll_answered_session(link, &header, now_ns);
    else
        poll_answered_single(link, header.messages, now_ns);
}

/* --- time --------------------------------------------------------------------------------------------------------- */

bool link_poll_overdue(const struct link *link, uint64_t now_ns)
{
    return link->poll_in_flight && now_ns - link->poll_sent_ns >= heartbeat_ns(link);
}

uint64_t link_deadline(const struct link *link)
{
    uint64_t deadline = NEVER_NS;
    if (link->poll_in_flight)
        deadline = link->poll_sent_ns + heartbeat_ns(link);
    else if (link->state == LINK_CONNECTING || link->state == LINK_OPEN)
        deadline = link->poll_after_ns;
    if (link->state != LINK_OPEN)
        return deadline;
    if (!link->push_in_flight && !link->push_lost && session_has_frame(&link->session))
        deadline = deadline_min(deadline, link->push_after_ns);
    if (link->session.first)
        deadline = deadline_min(deadline, link->progress_ns + 2 * heartbeat_ns(link));
    return deadline;
}

void link_tick(struct link *link, uint64_t now_ns)
{
    if (link->state != LINK_OPEN || !link->session.first || now_ns - link->progress_ns < 2 * heartbeat_ns(link))
        return;
    /* If the coordinator is silent, there is nothing to be repaired by sending again: the connection must come back
     * first. */
    if (!link_silent(link, now_ns))
        session_rewind(&link->session);
    link->progress_ns = now_ns;
}

bool link_silent(const struct link *link, uint64_t now_ns)
{
    return now_ns - link->heard_ns > heartbeat_ns(link);
}
