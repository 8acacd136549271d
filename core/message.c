/*
 * The codec, made from messages.def: for each message one encoder, one decoder and one table of its fields, so that
 * they cannot drift apart.
 *
 * An encoder first makes room for the longest form that its message can have and then writes without looking back.
 */
#include <assert.h>
#include <inttypes.h>

#include "core/errors.h"
#include "core/message.h"
#include "core/pack.h"
#include "core/unpack.h"

/* Each message is one short array, and its type number one byte. */
#define F(kind, field) +1
#define M(NAME, name, number)                   \
    enum { COUNT_##NAME = 1 FIELDS_##NAME(F) }; \
    _Static_assert(COUNT_##NAME < 16 && (number) < 0x80, #NAME " does not fit a short array");
MESSAGES(M)
#undef M
#undef F

/* --- encoding ----------------------------------------------------------------------------------------------------- */

static inline unsigned char *pack_texts(unsigned char *at, struct bytes texts)
{
    return texts.length > 0 ? pack_content(at, texts) : pack_array(at, 0);
}

#define EXTRA_uint(field) 0
#define EXTRA_sint(field) 0
#define EXTRA_real(field) 0
#define EXTRA_text(field) (m->field.length)
#define EXTRA_data(field) (m->field.length)
#define EXTRA_texts(field) (m->field.length)
#define F(kind, field) +PACK_HEAD_BYTES + EXTRA_##kind(field)
#define M(NAME, name, number)                                         \
    static inline size_t bound_##name(const struct message_##name *m) \
    {                                                                 \
        (void)m;                                                      \
        return 2 FIELDS_##NAME(F);                                    \
    }
MESSAGES(M)
#undef M
#undef F

#define F(kind, field) at = pack_##kind(at, m->field);
#define M(NAME, name, number)                                                                     \
    static inline unsigned char *encode_##name(unsigned char *at, const struct message_##name *m) \
    {                                                                                             \
        (void)m;                                                                                  \
        *at++ = 0x90 | COUNT_##NAME;                                                              \
        *at++ = number;                                                                           \
        FIELDS_##NAME(F) return at;                                                               \
    }
MESSAGES(M)
#undef M
#undef F

size_t message_bound(const struct message *message)
{
    switch (message->type) {
#define M(NAME, name, number) \
    case number: return bound_##name(&message->name);
        MESSAGES(M)
#undef M
    }
    return 0;
}

int message_encode(struct buffer *out, const struct message *message)
{
    switch (message->type) {
#define M(NAME, name, number)                                                                       \
    case number: {                                                                                  \
        size_t bound = bound_##name(&message->name);                                                \
        if (out->capacity - out->length < bound && buffer_reserve(out, bound) != 0)                 \
            return MUSTER_ENOMEM;                                                                   \
        out->length = (size_t)(encode_##name(out->data + out->length, &message->name) - out->data); \
        return 0;                                                                                   \
    }
        MESSAGES(M)
#undef M
    }
    assert(!"a message without a type");
    return MUSTER_EINTERNAL;
}

/* --- decoding ----------------------------------------------------------------------------------------------------- */

static bool unpack_texts(struct bytes *input, struct bytes *value)
{
    struct bytes rest = *input, string;
    size_t count;
    if (!unpack_array(&rest, &count))
        return false;
    for (size_t i = 0; i < count; i++)
        if (!unpack_text(&rest, &string))
            return false;
    *value = (struct bytes){input->data, input->length - rest.length};
    *input = rest;
    return true;
}

#define F(kind, field)                                              \
    if (__builtin_expect(!unpack_##kind(input, &m->field), 0)) {    \
        *why = "the field '" #field "' is missing or is no " #kind; \
        return false;                                               \
    }
#define M(NAME, name, number)                                                                         \
    static inline bool decode_##name(struct bytes *input, struct message_##name *m, const char **why) \
    {                                                                                                 \
        (void)input, (void)m, (void)why;                                                              \
        FIELDS_##NAME(F) return true;                                                                 \
    }
MESSAGES(M)
#undef M
#undef F

static bool decode_fields(struct bytes *input, uint64_t type, size_t count, struct message *message, const char **why)
{
    switch (type) {
#define M(NAME, name, number)                                           \
    case number:                                                        \
        if (count != COUNT_##NAME) {                                    \
            *why = "a message " #NAME " with another number of fields"; \
            return false;                                               \
        }                                                               \
        message->type = MESSAGE_##NAME;                                 \
        return decode_##name(input, &message->name, why);
        MESSAGES(M)
#undef M
    default: *why = "a message of an unknown type"; return false;
    }
}

int message_decode(struct bytes *input, struct message *message, const char **why)
{
    struct bytes rest = *input;
    size_t count;
    uint64_t type;
    if (!unpack_array(&rest, &count) || count == 0 || !unpack_uint(&rest, &type)) {
        *why = "a message is not an array that starts with a type number";
        return MUSTER_EPROTOCOL;
    }
    if (!decode_fields(&rest, type, count, message, why))
        return MUSTER_EPROTOCOL;
    *input = rest;
    return 0;
}

/* --- the description, for people ---------------------------------------------------------------------------------- */

const char *message_name(enum message_type type)
{
    switch (type) {
#define M(NAME, name, number) \
    case number: return #NAME;
        MESSAGES(M)
#undef M
    }
    return "?";
}

const struct message_field *message_fields(enum message_type type)
{
#define F(kind, field) {#kind, #field},
#define M(NAME, name, number) static const struct message_field fields_##name[] = {FIELDS_##NAME(F){NULL, NULL}};
    MESSAGES(M)
#undef M
#undef F
    switch (type) {
#define M(NAME, name, number) \
    case number: return fields_##name;
        MESSAGES(M)
#undef M
    }
    return NULL;
}

static int print_uint(struct buffer *out, uint64_t value)
{
    return buffer_printf(out, "%" PRIu64, value);
}

static int print_sint(struct buffer *out, int64_t value)
{
    return buffer_printf(out, "%" PRId64, value);
}

static int print_real(struct buffer *out, double value)
{
    return buffer_printf(out, "%g", value);
}

static int print_text(struct buffer *out, struct bytes text)
{
    enum { SHOWN = 80 };
    int status = buffer_append(out, "\"", 1);
    for (size_t i = 0; status == 0 && i < text.length && i < SHOWN; i++) {
        unsigned char c = ((const unsigned char *)text.data)[i];
        status = c < ' ' || c == 0x7f || c == '"' || c == '\\' ? buffer_printf(out, "\\x%02x", c)
                                                               : buffer_append(out, &c, 1);
    }
    return status ? status : buffer_append(out, text.length > SHOWN ? "\"..." : "\"", text.length > SHOWN ? 4 : 1);
}

static int print_data(struct buffer *out, struct bytes data)
{
    return buffer_printf(out, "%zu bytes", data.length);
}

static int print_texts(struct buffer *out, struct bytes texts)
{
    struct bytes string;
    texts_begin(&texts);
    int status = buffer_append(out, "[", 1);
    for (bool first = true; status == 0 && texts_next(&texts, &string); first = false) {
        status = first ? 0 : buffer_append(out, ",", 1);
        if (status == 0)
            status = print_text(out, string);
    }
    return status ? status : buffer_append(out, "]", 1);
}

int message_print(struct buffer *out, const struct message *message)
{
    int status = buffer_printf(out, "%s", message_name(message->type));
    switch (message->type) {
#define F(kind, field)                               \
    if (status == 0)                                 \
        status = buffer_printf(out, " " #field "="); \
    if (status == 0)                                 \
        status = print_##kind(out, m->field);
#define M(NAME, name, number)                            \
    case number: {                                       \
        const struct message_##name *m = &message->name; \
        (void)m;                                         \
        FIELDS_##NAME(F) break;                          \
    }
        MESSAGES(M)
#undef M
#undef F
    }
    return status;
}

/* --- arrays of strings -------------------------------------------------------------------------------------------- */

int texts_encode(struct buffer *out, const char *const *strings, size_t count)
{
    size_t bound = PACK_HEAD_BYTES;
    for (size_t i = 0; i < count; i++)
        bound += PACK_HEAD_BYTES + strlen(strings[i]);
    if (buffer_reserve(out, bound) != 0)
        return MUSTER_ENOMEM;
    unsigned char *at = pack_array(out->data + out->length, count);
    for (size_t i = 0; i < count; i++)
        at = pack_text(at, bytes_string(strings[i]));
    out->length = (size_t)(at - out->data);
    return 0;
}

size_t texts_begin(struct bytes *texts)
{
    size_t count;
    return unpack_array(texts, &count) ? count : 0;
}

bool texts_next(struct bytes *texts, struct bytes *string)
{
    return unpack_text(texts, string);
}
