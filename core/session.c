/*
 * Sessions: go-back-N in both directions, batching, and the cutting and mending of long messages.
 *
 * Outgoing messages live in a row of frames:
 *
 *     first ... sent, unacknowledged ... [resend ... complete, to be sent ... last]   gathering
 *
 * session_send() writes into `gathering`; when the shell asks for a frame and none is left of the row, gathering
 * becomes the last of the row. An acknowledgement takes frames off the front; session_rewind() moves `resend` back to
 * the front.
 */
#include <assert.h>

#include "core/errors.h"
#include "core/pack.h"
#include "core/session.h"
#include "core/unpack.h"

#define SPARE_FRAMES 2          /* acknowledged frames that are kept for use again */
#define SPARE_BYTES (64 * 1024) /* and the largest buffer that is kept: a thousand idle sessions must stay small */
#define SEQUENCE_OFFSET (1 + 2 + TOKEN_BYTES)
#define ACKNOWLEDGEMENT_OFFSET (SEQUENCE_OFFSET + 9)
#define COUNT_OFFSET (ACKNOWLEDGEMENT_OFFSET + 9)
_Static_assert(COUNT_OFFSET + 5 == FRAME_HEADER_BYTES, "the header's parts and its length differ");

/* An encoded FRAGMENT without its piece: array head, type, the bytes that remain, head of the piece. */
#define FRAGMENT_OVERHEAD (2 + PACK_HEAD_BYTES + PACK_HEAD_BYTES)

struct session_frame {
    struct session_frame *next;
    struct buffer buffer;
    uint64_t sequence;
    uint64_t last_message; /* ordinal of the last message that is complete with this frame */
};

void session_init(struct session *session, const unsigned char token[TOKEN_BYTES], size_t frame_limit,
                  size_t payload_limit)
{
    *session = (struct session){.next_sequence = 1, .payload_limit = payload_limit};
    session->frame_limit = frame_limit < FRAME_LIMIT_MIN ? FRAME_LIMIT_MIN : frame_limit;
    memcpy(session->token, token, TOKEN_BYTES);
}

static void frames_free(struct session_frame *frame)
{
    while (frame) {
        struct session_frame *next = frame->next;
        buffer_free(&frame->buffer);
        memory_free(frame);
        frame = next;
    }
}

void session_free(struct session *session)
{
    frames_free(session->first);
    frames_free(session->spare);
    buffer_free(&session->gathering);
    buffer_free(&session->fragments);
    session->first = session->last = session->resend = session->spare = NULL;
    session->gathering_count = session->spare_count = session->backlog_bytes = 0;
}

/* --- outgoing ----------------------------------------------------------------------------------------------------- */

static struct session_frame *frame_new(struct session *session)
{
    struct session_frame *frame = session->spare;
    if (!frame)
        return memory_zero(sizeof *frame);
    session->spare = frame->next;
    session->spare_count--;
    frame->next = NULL;
    return frame;
}

static void frame_recycle(struct session *session, struct session_frame *frame)
{
    frame->next = NULL;
    if (session->spare_count == SPARE_FRAMES) {
        frames_free(frame);
        return;
    }
    if (frame->buffer.capacity > SPARE_BYTES)
        buffer_free(&frame->buffer);
    frame->buffer.length = 0;
    frame->next = session->spare;
    session->spare = frame;
    session->spare_count++;
}

/* Writes the header in front of `count` messages and puts the frame at the end of the row. */
static void frame_add(struct session *session, struct session_frame *frame, size_t count)
{
    unsigned char *at = frame->buffer.data;
    frame->sequence = session->next_sequence++;
    frame->last_message = session->sent_messages;
    *at++ = 0x94;
    at = pack_data(at, (struct bytes){session->token, TOKEN_BYTES});
    at = pack_big_endian(at, 0xcf, frame->sequence, 8);
    at = pack_big_endian(at, 0xcf, 0, 8);
    pack_big_endian(at, 0xdd, count, 4);
    if (session->last)
        session->last->next = frame;
    else
        session->first = frame;
    session->last = frame;
    if (!session->resend)
        session->resend = frame;
}

/* Makes the gathering messages a complete frame. The buffers change places: nothing is copied. */
static int gathering_complete(struct session *session)
{
    struct session_frame *frame = frame_new(session);
    if (!frame)
        return MUSTER_ENOMEM;
    struct buffer empty = frame->buffer;
    frame->buffer = session->gathering;
    session->gathering = empty;
    frame_add(session, frame, session->gathering_count);
    session->gathering_count = 0;
    return 0;
}

static size_t piece_limit(const struct session *session)
{
    size_t room = session->frame_limit - FRAME_HEADER_BYTES - FRAGMENT_OVERHEAD;
    return room < FRAGMENT_BYTES ? room : FRAGMENT_BYTES;
}

/* A row of frames, not part of the session yet, each with one piece of `rest`. */
static int fragments_make(struct session *session, struct bytes rest, struct session_frame **row)
{
    struct session_frame **end = row;
    *row = NULL;
    while (rest.length > 0) {
        size_t length = rest.length < piece_limit(session) ? rest.length : piece_limit(session);
        struct message message = {.type = MESSAGE_FRAGMENT,
                                  .fragment = {.remaining = rest.length - length, .piece = {rest.data, length}}};
        struct session_frame *frame = memory_zero(sizeof *frame);
        if (!frame)
            return MUSTER_ENOMEM;
        *end = frame;
        end = &frame->next;
        if (buffer_reserve(&frame->buffer, FRAME_HEADER_BYTES + message_bound(&message)) != 0)
            return MUSTER_ENOMEM;
        frame->buffer.length = FRAME_HEADER_BYTES;
        message_encode(&frame->buffer, &message); /* there is room */
        unpack_skip(&rest, length);
    }
    return 0;
}

static int send_large(struct session *session, const struct message *message)
{
    struct buffer encoded = {0};
    struct session_frame *row = NULL;
    int status = message_encode(&encoded, message);
    if (status == 0 && encoded.length > session->payload_limit)
        status = MUSTER_ELIMIT;
    if (status == 0)
        status = fragments_make(session, bytes_of(&encoded), &row);
    if (status == 0 && session->gathering_count > 0)
        status = gathering_complete(session);
    buffer_free(&encoded);
    if (status != 0) {
        frames_free(row);
        return status;
    }
    while (row) {
        struct session_frame *frame = row;
        row = row->next;
        frame->next = NULL;
        if (!row)
            session->sent_messages++; /* acknowledged with its last piece */
        session->backlog_bytes += frame->buffer.length - FRAME_HEADER_BYTES;
        frame_add(session, frame, 1);
    }
    return 0;
}

int session_send(struct session *session, const struct message *message)
{
    struct buffer *gathering = &session->gathering;
    size_t bound = message_bound(message);
    if (bound > piece_limit(session))
        return bound > session->payload_limit + 256 ? MUSTER_ELIMIT : send_large(session, message);
    if (session->gathering_count > 0 && gathering->length + bound > session->frame_limit)
        if (gathering_complete(session) != 0)
            return MUSTER_ENOMEM;
    if (session->gathering_count == 0) {
        if (buffer_reserve(gathering, FRAME_HEADER_BYTES + bound) != 0)
            return MUSTER_ENOMEM;
        gathering->length = FRAME_HEADER_BYTES;
    }
    size_t before = gathering->length;
    if (message_encode(gathering, message) != 0)
        return MUSTER_ENOMEM;
    if (gathering->length - before > session->payload_limit) {
        gathering->length = before;
        return MUSTER_ELIMIT;
    }
    session->gathering_count++;
    session->sent_messages++;
    session->backlog_bytes += gathering->length - before;
    return 0;
}

bool session_has_frame(const struct session *session)
{
    return session->resend || session->gathering_count > 0;
}

/* The acknowledgement goes out with whatever is sent next. */
static void acknowledge(struct session *session)
{
    session->acked_sequence = session->received_sequence;
    session->unacked_received = 0;
}

int session_next_view(struct session *session, struct bytes *view)
{
    if (!session->resend && session->gathering_count > 0 && gathering_complete(session) != 0)
        return MUSTER_ENOMEM;
    struct session_frame *frame = session->resend;
    if (!frame)
        return 0;
    pack_big_endian(frame->buffer.data + ACKNOWLEDGEMENT_OFFSET, 0xcf, session->received_sequence, 8);
    *view = bytes_of(&frame->buffer);
    session->resend = frame->next;
    if (session->sent_sequence < frame->sequence)
        session->sent_sequence = frame->sequence;
    acknowledge(session);
    return 1;
}

int session_next_frame(struct session *session, struct buffer *out)
{
    size_t length = session->resend ? session->resend->buffer.length : session->gathering.length;
    struct bytes view;
    out->length = 0;
    if (buffer_reserve(out, length) != 0)
        return MUSTER_ENOMEM;
    int status = session_next_view(session, &view);
    if (status == 1)
        buffer_append(out, view.data, view.length); /* there is room */
    return status;
}

int session_empty_frame(struct session *session, struct buffer *out)
{
    out->length = 0;
    if (buffer_reserve(out, FRAME_HEADER_BYTES) != 0)
        return MUSTER_ENOMEM;
    unsigned char *at = out->data;
    *at++ = 0x94;
    at = pack_data(at, (struct bytes){session->token, TOKEN_BYTES});
    at = pack_uint(at, 0);
    at = pack_uint(at, session->received_sequence);
    at = pack_array(at, 0);
    out->length = (size_t)(at - out->data);
    acknowledge(session);
    return 0;
}

void session_rewind(struct session *session)
{
    session->resend = session->first;
}

int frame_single(struct buffer *out, const struct message *message)
{
    out->length = 0;
    if (buffer_reserve(out, FRAME_HEADER_BYTES) != 0)
        return MUSTER_ENOMEM;
    unsigned char *at = out->data;
    *at++ = 0x94;
    at = pack_data(at, (struct bytes){0});
    at = pack_uint(at, 0);
    at = pack_uint(at, 0);
    at = pack_array(at, 1);
    out->length = (size_t)(at - out->data);
    return message_encode(out, message);
}

/* --- incoming ----------------------------------------------------------------------------------------------------- */

int frame_parse(struct bytes frame, struct frame_header *header, const char **why)
{
    size_t parts;
    if (!unpack_array(&frame, &parts) || parts != 4)
        *why = "a frame is not an array of four";
    else if (!unpack_data(&frame, &header->token) || (header->token.length != 0 && header->token.length != TOKEN_BYTES))
        *why = "a frame does not start with a session token";
    else if (!unpack_uint(&frame, &header->sequence) || !unpack_uint(&frame, &header->acknowledgement))
        *why = "a frame has no sequence number or no acknowledgement";
    else if (!unpack_array(&frame, &header->count) || header->count > frame.length)
        *why = "a frame has no array of messages, or one that is cut off";
    else {
        header->messages = frame;
        return 0;
    }
    return MUSTER_EPROTOCOL;
}

static int receive_acknowledgement(struct session *session, uint64_t acknowledgement, const char **why)
{
    if (acknowledgement > session->sent_sequence) {
        *why = "a frame acknowledges what was never sent";
        return MUSTER_EPROTOCOL;
    }
    while (session->first && session->first->sequence <= acknowledgement) {
        struct session_frame *frame = session->first;
        session->first = frame->next;
        if (!session->first)
            session->last = NULL;
        if (session->resend == frame)
            session->resend = frame->next;
        session->acked_messages = frame->last_message;
        session->backlog_bytes -= frame->buffer.length - FRAME_HEADER_BYTES;
        frame_recycle(session, frame);
    }
    return 0;
}

/* Adds a piece to the message that is being put together, and handles it when it is complete. */
static int receive_fragment(struct session *session, const struct message_fragment *fragment, session_handler *handler,
                            void *arg, const char **why)
{
    size_t have = session->fragments.length, length = fragment->piece.length;
    if (length == 0 ||
        (have > 0 && (length > session->fragments_left || fragment->remaining != session->fragments_left - length))) {
        *why = "the pieces of a long message do not fit together";
        return MUSTER_EPROTOCOL;
    }
    if (length > session->payload_limit || fragment->remaining > session->payload_limit - length) {
        *why = "a message is longer than the limit for payloads";
        return MUSTER_ELIMIT;
    }
    if (buffer_append(&session->fragments, fragment->piece.data, length) != 0) {
        *why = "memory for a long message ran out";
        return MUSTER_ENOMEM;
    }
    session->fragments_left = fragment->remaining;
    if (fragment->remaining > 0)
        return 0;
    struct bytes whole = bytes_of(&session->fragments);
    struct message message;
    int status = message_decode(&whole, &message, why);
    if (status == 0 && (whole.length > 0 || message.type == MESSAGE_FRAGMENT)) {
        *why = "a long message is not one message";
        status = MUSTER_EPROTOCOL;
    }
    if (status == 0)
        status = handler(arg, &message);
    buffer_free(&session->fragments);
    return status;
}

static int receive_messages(struct session *session, const struct frame_header *header, session_handler *handler,
                            void *arg, const char **why)
{
    struct bytes rest = header->messages;
    struct message message;
    for (size_t i = 0; i < header->count; i++) {
        int status = message_decode(&rest, &message, why);
        if (status == 0) {
            if (message.type == MESSAGE_FRAGMENT) {
                status = receive_fragment(session, &message.fragment, handler, arg, why);
            } else if (session->fragments.length > 0) {
                *why = "a message stands between the pieces of a long one";
                status = MUSTER_EPROTOCOL;
            } else {
                status = handler(arg, &message);
            }
        }
        if (status != 0)
            return status;
    }
    if (rest.length == 0)
        return 0;
    *why = "bytes follow the last message of a frame";
    return MUSTER_EPROTOCOL;
}

int session_receive(struct session *session, const struct frame_header *header, session_handler *handler, void *arg,
                    const char **why)
{
    *why = "";
    int status = receive_acknowledgement(session, header->acknowledgement, why);
    if (status != 0)
        return status;
    if ((header->sequence == 0) != (header->count == 0)) {
        *why = header->count ? "messages in a frame without a number" : "a numbered frame without messages";
        return MUSTER_EPROTOCOL;
    }
    if (header->sequence == 0)
        return 0;
    session->unacked_received += header->messages.length;
    if (header->sequence != session->received_sequence + 1)
        return 0; /* a repeat, or a gap that the peer will fill */
    session->received_sequence = header->sequence;
    return receive_messages(session, header, handler, arg, why);
}
