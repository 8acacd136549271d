/*
 * The coordinator's messages on their way out. A remote peer's go into its session, a local peer's straight to its
 * handler.
 *
 * A payload in a shared-memory segment is a name that only processes of our domain can open. For any other peer the
 * name is replaced by the bytes here. Where that is impossible (the segment is gone, or is larger than a message may
 * be), a client is told that its call failed, and a worker is given the name as it is: it cannot open it and fails the
 * task, which is the right outcome with the right culprit named.
 */
#include "core/errors.h"
#include "core/log.h"
#include "server/hub_private.h"

#define MESSAGE_OVERHEAD 256 /* room for the other fields beside the payload of a message */

/* The payload of a message if it is a segment's name. */
static struct bytes *segment_of(struct message *message, uint64_t **encoding)
{
    if (message->type == MESSAGE_DONE && (message->done.encoding & ENCODING_SEGMENT)) {
        *encoding = &message->done.encoding;
        return &message->done.value;
    }
    if (message->type == MESSAGE_ASSIGN && (message->assign.encoding & ENCODING_SEGMENT)) {
        *encoding = &message->assign.encoding;
        return &message->assign.args;
    }
    return NULL;
}

static void become_failed(struct message *message, int status, const char *text)
{
    uint64_t number = message->done.number;
    *message = (struct message){.type = MESSAGE_FAILED};
    message->failed.number = number;
    message->failed.status = (uint64_t)-status;
    message->failed.message = bytes_string(text);
    message->failed.exit_status = -1;
}

/* Replaces a segment's name by the bytes, which stay in hub->loaded until the next call. */
static void put_inline(struct hub *hub, struct message *message)
{
    uint64_t *encoding;
    struct bytes *payload = segment_of(message, &encoding);
    if (!payload)
        return;
    hub->loaded.length = 0;
    int status = hub->events.load ? hub->events.load(hub->arg, *payload, &hub->loaded) : MUSTER_ESYSTEM;
    if (status == 0 && hub->loaded.length + MESSAGE_OVERHEAD > hub->config.payload_limit)
        status = MUSTER_ELIMIT;
    if (status == 0) {
        *payload = bytes_of(&hub->loaded);
        *encoding &= ~(uint64_t)ENCODING_SEGMENT;
        return;
    }
    log_warning("a payload in shared memory cannot be sent to another host: %s", muster_strerror(status));
    if (message->type == MESSAGE_DONE)
        become_failed(message, status,
                      status == MUSTER_ELIMIT
                          ? "the result is larger than a message to another host may be (payload limit)"
                          : "the result was lost: its shared-memory segment cannot be read");
}

int send_remote(struct peer *peer, const struct message *message)
{
    struct hub_session *session = (struct hub_session *)peer;
    struct hub *hub = session->hub;
    if (session->state != SESSION_OPEN)
        return MUSTER_ECLOSED;
    int status;
    if (session->foreign && (message->type == MESSAGE_DONE || message->type == MESSAGE_ASSIGN)) {
        struct message copy = *message;
        put_inline(hub, &copy);
        status = session_send(&session->session, &copy);
        if (hub->loaded.capacity > FRAGMENT_BYTES)
            buffer_free(&hub->loaded);
    } else {
        status = session_send(&session->session, message);
    }
    if (status != 0) {
        session_break(session, "%s cannot be sent: %s", message_name(message->type), muster_strerror(status));
        return status;
    }
    peer->sent = session->session.sent_messages;
    peer->backlog_bytes = session->session.backlog_bytes;
    if (peer->backlog_bytes > hub->config.backlog_limit) {
        session_break(session, "it does not read: %zu bytes wait for it, the limit is %zu", peer->backlog_bytes,
                      hub->config.backlog_limit);
        return MUSTER_ELIMIT;
    }
    if (session->poll_held)
        session_queue(session, false);
    return 0;
}

int send_local(struct peer *peer, const struct message *message)
{
    struct local_peer *local = (struct local_peer *)peer;
    peer->sent++;
    session_queue(&local->base, true);
    return local->handler(local->arg, message);
}
