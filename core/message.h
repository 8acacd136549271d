/*
 * The wire codec. A message is the msgpack array [type number, fields...] of messages.def; a decoded one is a struct
 * message whose text and data fields are views into the bytes that were decoded.
 *
 * Encoding writes in place (core/pack.h), for speed. Decoding uses the cursor of core/unpack.h: msgpack-c's unpacker
 * allocates what a length field claims before the bytes are there, which a coordinator cannot let a stranger do. A text
 * or data field holds at most UINT32_MAX bytes.
 */
#ifndef CORE_MESSAGE_H
#define CORE_MESSAGE_H

#include "core/buffer.h"
#include "core/messages.def"

#define PROTOCOL_VERSION 1

/* kinds of fields as C types */
typedef uint64_t field_uint;
typedef int64_t field_sint;
typedef double field_real;
typedef struct bytes field_text;
typedef struct bytes field_data;
typedef struct bytes field_texts; /* the encoded msgpack array of str; walk it with texts_next() */

enum message_type {
#define M(NAME, name, number) MESSAGE_##NAME = number,
    MESSAGES(M)
#undef M
};

#define F(kind, field) field_##kind field;
#define M(NAME, name, number)             \
    struct message_##name {               \
        FIELDS_##NAME(F) char unused_[0]; \
    };
MESSAGES(M)
#undef M
#undef F

struct message {
    enum message_type type;
    union {
#define M(NAME, name, number) struct message_##name name;
        MESSAGES(M)
#undef M
    };
};

/* The value of HELLO.role. */
enum role { ROLE_CLIENT = 1, ROLE_WORKER = 2, ROLE_SUPERVISOR = 3 };

/* SUBMIT.flags and ASSIGN.flags */
enum task_flags {
    TASK_RESUBMITTED = 1, /* SUBMIT: sent before, to a coordinator that has gone */
    TASK_RETRY_LOST_ONLY = 2,
    TASK_PROGRESS_WANTED = 4, /* the caller has a progress callback */
    TASK_REPORT_START = 8     /* ASSIGN: send STARTED at once when it starts (it has a time limit) */
};

/* The `encoding` of args and values: the public encodings, and this bit: the bytes are the name of a shared-memory
 * segment that holds the payload (core/segment.h). */
#define ENCODING_SEGMENT 0x10

/* EXIT.started of a worker whose page was damaged: any task that it held may have started. */
#define EXIT_STARTED_UNKNOWN UINT64_MAX

/* CLAIM.state */
enum claim_state { CLAIM_WAITING = 0, CLAIM_RUNNING = 1, CLAIM_FINISHED = 2 /* its RESULT or FAILURE follows */ };

/* What a definition is taken to cost: besides its name, labels (as they are encoded) and body, so many bytes. */
#define DEFINITION_COST_BYTES 512
static inline size_t definition_cost(const struct message_define *define)
{
    return DEFINITION_COST_BYTES + define->name.length + define->labels.length + define->body.length;
}

/* A value that goes with an error may take a part of what a message may hold (limit 0: any length), beside all that is
 * said of it. One that is longer is left out, and the sentence goes on with this. */
#define FAILURE_VALUE_LEFT_OUT " (the value of %zu bytes that came with the error was left out: the limit is %zu bytes)"
static inline size_t failure_value_limit(size_t payload_limit)
{
    return payload_limit / 4;
}
static inline bool failure_value_fits(size_t length, size_t payload_limit)
{
    return payload_limit == 0 || length <= failure_value_limit(payload_limit);
}

/* Appends the encoded message. 0 or MUSTER_ENOMEM (buffer as before). */
int message_encode(struct buffer *out, const struct message *message);

/* At least the length of the encoded message, and at most 9 bytes for each field more. */
size_t message_bound(const struct message *message);

/* Decodes one message from the front of *input and advances it. Strict: type known, field count and kinds exact. 0 or
 * MUSTER_EPROTOCOL
 * (*why, static text, says what is wrong; input unchanged). */
int message_decode(struct bytes *input, struct message *message, const char **why);

const char *message_name(enum message_type type); /* "SUBMIT"; "?" if unknown */

/* One row of the description, for the page check and for traces. */
struct message_field {
    const char *kind, *name;
};
/* Fields of a type in wire order, terminated by a NULL name; NULL if the type is unknown. */
const struct message_field *message_fields(enum message_type type);
/* Writes a one-line readable form ("SUBMIT number=1 ... args=16 bytes"), for traces and logs. */
int message_print(struct buffer *out, const struct message *message);

/* An array of strings as a `texts` field. texts_encode appends to `out`. */
int texts_encode(struct buffer *out, const char *const *strings, size_t count);
/* Takes the next string off the front: true, or false at the end. `texts` must come from message_decode() or
 * texts_encode(). Start with texts_begin(), which steps over the array header and gives the count. */
size_t texts_begin(struct bytes *texts);
bool texts_next(struct bytes *texts, struct bytes *string);

#endif
