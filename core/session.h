/*
 * A session: a reliable, ordered, batched conversation over connections that break. Pure: bytes in, bytes out, no I/O,
 * no clock.
 *
 * A frame is the msgpack array [token (bin 16), sequence (uint), acknowledgement (uint), messages (array)]. Sequence
 * numbers start at 1 and count frames that carry messages; a frame with sequence 0 carries none and only acknowledges.
 * The acknowledgement is cumulative. Both directions are go-back-N: an unacknowledged frame is kept and sent again
 * after session_rewind(); a frame that is not the next expected one is dropped (a repeat is old news, a gap will be
 * filled by the sender's rewind).
 *
 * Batching: session_send() only adds to the frame that is gathering. The shell calls session_next_frame() when its line
 * is idle and so sends at once what there is; while a send is in flight the next frame gathers.
 *
 * A message longer than FRAGMENT_BYTES when encoded travels as FRAGMENT messages, one in each of as many frames as it
 * takes, and is put together by the receiving session; `payload_limit` bounds it. Nothing overtakes: messages arrive in
 * the order in which they were sent. A frame never exceeds `frame_limit` bytes.
 *
 * No byte is moved twice: a message is encoded into the buffer that will be the frame, whose header has a fixed length
 * and is written in front of the messages at the end; the acknowledgement in it is brought up to date each time the
 * frame is sent.
 */
#ifndef CORE_SESSION_H
#define CORE_SESSION_H

#include "core/message.h"

#define TOKEN_BYTES 16
#define FRAGMENT_BYTES (256 * 1024)
#define FRAME_LIMIT_DEFAULT (1024 * 1024)
#define PAYLOAD_LIMIT_DEFAULT (64 * 1024 * 1024)

#define FRAME_LIMIT_MIN 1024
#define FRAME_LIMIT_MAX (16 * 1024 * 1024) /* a peer refuses to be told a larger limit */
#define FRAME_HEADER_BYTES 42 /* of the frames that session.c makes: token, numbers and count in their widest forms */

struct session_frame; /* one frame that is complete: not sent yet, or sent and not acknowledged */

struct session {
    unsigned char token[TOKEN_BYTES];
    size_t frame_limit, payload_limit; /* bytes */
    /* outgoing */
    struct buffer gathering;            /* room for a header, then the messages that are in no complete frame yet */
    size_t gathering_count;             /* messages in it */
    struct session_frame *first, *last; /* complete and unacknowledged, oldest first */
    struct session_frame *resend;       /* the next of them to send (again), or NULL */
    struct session_frame *spare;        /* acknowledged frames, whose buffers are used again */
    size_t spare_count;
    uint64_t next_sequence;                 /* of the next new frame */
    uint64_t sent_sequence;                 /* the highest that was ever given out: more cannot be acknowledged */
    uint64_t sent_messages, acked_messages; /* cumulative; session_send() makes ordinal ++sent_messages */
    size_t backlog_bytes;                   /* encoded messages gathering and unacknowledged */
    /* incoming */
    uint64_t received_sequence; /* of the last frame taken: what we acknowledge */
    uint64_t acked_sequence;    /* what we have told the peer, at most */
    struct buffer fragments;    /* the message being put together */
    uint64_t fragments_left;    /* bytes of it still to come */
    size_t unacked_received;    /* bytes that arrived since we last acknowledged, those of repeated frames included */
};

void session_init(struct session *session, const unsigned char token[TOKEN_BYTES], size_t frame_limit,
                  size_t payload_limit);
void session_free(struct session *session);

/* Adds a message; its ordinal is session->sent_messages afterwards. 0, MUSTER_ENOMEM, MUSTER_ELIMIT (over
 * payload_limit; nothing added). */
int session_send(struct session *session, const struct message *message);

/* True if there is a frame to send: one to send again, or a gathering one. */
bool session_has_frame(const struct session *session);
/* Replaces *out by the next frame. 1 if there was one, 0 if not, MUSTER_ENOMEM. */
int session_next_frame(struct session *session, struct buffer *out);
/* The same without a copy: *frame is a view that is valid until the next call with this session. */
int session_next_view(struct session *session, struct bytes *frame);
/* Replaces *out by a frame without messages: an acknowledgement, a poll or a keep-alive. */
int session_empty_frame(struct session *session, struct buffer *out);
/* Send everything unacknowledged once more: on the push line when its connection was made again; on the poll line when
 * a new poll does not acknowledge what the answer to the last one brought (that answer was lost: a peer has one poll at
 * a time). */
void session_rewind(struct session *session);

/* What a frame's header says, without a session: to find the session by token. MUSTER_EPROTOCOL if it is not a frame.
 */
struct frame_header {
    struct bytes token; /* TOKEN_BYTES long, or empty in the handshake */
    uint64_t sequence, acknowledgement;
    struct bytes messages; /* after the array header */
    size_t count;
};
int frame_parse(struct bytes frame, struct frame_header *header, const char **why);
/* A frame outside any session (handshake, LOST): empty token, sequence 0, one message. */
int frame_single(struct buffer *out, const struct message *message);

/* Takes a frame of this session: applies the acknowledgement, and calls `handler` for each message if it is the next
 * frame. A handler that returns non-zero stops and that value is returned. 0; MUSTER_EPROTOCOL with *why;
 * MUSTER_ELIMIT; MUSTER_ENOMEM. After an error the session must be closed. */
typedef int session_handler(void *arg, const struct message *message);
int session_receive(struct session *session, const struct frame_header *header, session_handler *handler, void *arg,
                    const char **why);

#endif
