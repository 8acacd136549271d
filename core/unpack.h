/*
 * A strict msgpack cursor: reads values from the front of a view, allocates nothing, trusts nothing. Each function
 * returns false and leaves the cursor where it was if the next value is not complete or of another type.
 *
 * A number may be encoded in any width (encoders of other languages do not all choose the shortest). The one-byte forms
 * are decoded inline: most fields of most messages are small.
 */
#ifndef CORE_UNPACK_H
#define CORE_UNPACK_H

#include "core/buffer.h"

#define UNPACK_DEPTH_LIMIT 32

bool unpack_array(struct bytes *input, size_t *count);
bool unpack_uint_wide(struct bytes *input, uint64_t *value);
bool unpack_sint_wide(struct bytes *input, int64_t *value);
bool unpack_real(struct bytes *input, double *value);
bool unpack_text(struct bytes *input, struct bytes *value);
bool unpack_data(struct bytes *input, struct bytes *value);
/* Any one value, nested at most UNPACK_DEPTH_LIMIT deep; *value is its encoded bytes. */
bool unpack_any(struct bytes *input, struct bytes *value);

static inline void unpack_skip(struct bytes *input, size_t length)
{
    input->data = (const unsigned char *)input->data + length;
    input->length -= length;
}

static inline bool unpack_uint(struct bytes *input, uint64_t *value)
{
    if (input->length == 0)
        return false;
    unsigned char head = *(const unsigned char *)input->data;
    if (head >= 0x80)
        return unpack_uint_wide(input, value);
    *value = head;
    unpack_skip(input, 1);
    return true;
}

static inline bool unpack_sint(struct bytes *input, int64_t *value)
{
    if (input->length == 0)
        return false;
    unsigned char head = *(const unsigned char *)input->data;
    if (head >= 0x80)
        return unpack_sint_wide(input, value);
    *value = head;
    unpack_skip(input, 1);
    return true;
}

#endif
