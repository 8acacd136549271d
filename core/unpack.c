/*
 * The msgpack cursor. Every length is compared with the bytes that are there before it is used, and nothing is
 * allocated, so what a stranger claims costs nothing.
 */
#include "core/unpack.h"

/* The big-endian number of `bytes` bytes after the head byte; false if they are not there. */
static inline bool read_number(const struct bytes *input, size_t bytes, uint64_t *value)
{
    if (input->length < 1 + bytes)
        return false;
    const unsigned char *at = (const unsigned char *)input->data + 1;
    uint64_t number = 0;
    for (size_t i = 0; i < bytes; i++)
        number = number << 8 | at[i];
    *value = number;
    return true;
}

static unsigned char head_of(const struct bytes *input)
{
    return *(const unsigned char *)input->data;
}

bool unpack_uint_wide(struct bytes *input, uint64_t *value)
{
    uint64_t number;
    unsigned char head = input->length > 0 ? head_of(input) : 0xc1;
    if (head < 0x80) {
        *value = head;
        unpack_skip(input, 1);
        return true;
    }
    if (head >= 0xcc && head <= 0xcf) {
        size_t bytes = (size_t)1 << (head - 0xcc);
        if (!read_number(input, bytes, &number))
            return false;
        *value = number;
        unpack_skip(input, 1 + bytes);
        return true;
    }
    /* A signed form of a number that is not negative is still that number. */
    int64_t number_signed;
    struct bytes rest = *input;
    if (head < 0xd0 || head > 0xd3 || !unpack_sint_wide(&rest, &number_signed) || number_signed < 0)
        return false;
    *value = (uint64_t)number_signed;
    *input = rest;
    return true;
}

bool unpack_sint_wide(struct bytes *input, int64_t *value)
{
    uint64_t number;
    unsigned char head = input->length > 0 ? head_of(input) : 0xc1;
    if (head >= 0xe0) {
        *value = (int8_t)head;
        unpack_skip(input, 1);
        return true;
    }
    if (head < 0xd0 || head > 0xd3) {
        struct bytes rest = *input;
        if (!unpack_uint_wide(&rest, &number) || number > INT64_MAX)
            return false;
        *value = (int64_t)number;
        *input = rest;
        return true;
    }
    size_t bytes = (size_t)1 << (head - 0xd0);
    if (!read_number(input, bytes, &number))
        return false;
    unsigned shift = (unsigned)(64 - 8 * bytes);
    *value = (int64_t)(number << shift) >> shift;
    unpack_skip(input, 1 + bytes);
    return true;
}

bool unpack_real(struct bytes *input, double *value)
{
    uint64_t bits;
    unsigned char head = input->length > 0 ? head_of(input) : 0xc1;
    if (head == 0xcb && read_number(input, 8, &bits)) {
        memcpy(value, &bits, sizeof *value);
        unpack_skip(input, 9);
        return true;
    }
    if (head == 0xca && read_number(input, 4, &bits)) {
        uint32_t narrow = (uint32_t)bits;
        float number;
        memcpy(&number, &narrow, sizeof number);
        *value = number;
        unpack_skip(input, 5);
        return true;
    }
    return false;
}

/* A head of `head_bytes`, then `length` bytes of content. */
static bool take_content(struct bytes *input, size_t head_bytes, uint64_t length, struct bytes *value)
{
    if (input->length - head_bytes < length)
        return false;
    *value = (struct bytes){(const unsigned char *)input->data + head_bytes, (size_t)length};
    unpack_skip(input, head_bytes + (size_t)length);
    return true;
}

/* Content whose length stands in 1, 2 or 4 bytes, by the distance of the head from `first`. */
static bool take_sized(struct bytes *input, unsigned char first, struct bytes *value)
{
    uint64_t length;
    unsigned char head = head_of(input);
    if (head < first || head > first + 2)
        return false;
    size_t bytes = (size_t)1 << (head - first);
    return read_number(input, bytes, &length) && take_content(input, 1 + bytes, length, value);
}

bool unpack_text(struct bytes *input, struct bytes *value)
{
    if (input->length == 0)
        return false;
    unsigned char head = head_of(input);
    if ((head & 0xe0) == 0xa0)
        return take_content(input, 1, head & 0x1f, value);
    return take_sized(input, 0xd9, value);
}

bool unpack_data(struct bytes *input, struct bytes *value)
{
    return input->length > 0 && take_sized(input, 0xc4, value);
}

bool unpack_array(struct bytes *input, size_t *count)
{
    uint64_t number;
    if (input->length == 0)
        return false;
    unsigned char head = head_of(input);
    if ((head & 0xf0) == 0x90) {
        *count = head & 0x0f;
        unpack_skip(input, 1);
        return true;
    }
    if (head != 0xdc && head != 0xdd)
        return false;
    size_t bytes = head == 0xdc ? 2 : 4;
    if (!read_number(input, bytes, &number))
        return false;
    *count = (size_t)number;
    unpack_skip(input, 1 + bytes);
    return true;
}

/* Steps over one value. For an array or a map only over its head: *members is then the number of values inside. */
static bool step(struct bytes *input, uint64_t *members)
{
    static const unsigned char fixed[] = {/* d4..d8: fixext */ 2, 3, 5, 9, 17};
    struct bytes content;
    uint64_t number;
    *members = 0;
    if (input->length == 0)
        return false;
    unsigned char head = head_of(input);
    if (head < 0x80 || head >= 0xe0 || head == 0xc0 || head == 0xc2 || head == 0xc3)
        return take_content(input, 1, 0, &content);
    if (head < 0x90) {
        *members = 2 * (uint64_t)(head & 0x0f);
        return take_content(input, 1, 0, &content);
    }
    if (head < 0xa0) {
        *members = head & 0x0f;
        return take_content(input, 1, 0, &content);
    }
    if (head < 0xc0 || (head >= 0xd9 && head <= 0xdb))
        return unpack_text(input, &content);
    if (head >= 0xc4 && head <= 0xc6)
        return unpack_data(input, &content);
    if (head >= 0xc7 && head <= 0xc9) {
        size_t bytes = (size_t)1 << (head - 0xc7);
        return read_number(input, bytes, &number) && take_content(input, 1 + bytes, number + 1, &content);
    }
    if (head >= 0xca && head <= 0xd3) {
        size_t bytes = head <= 0xcb ? (head == 0xca ? 4 : 8) : (size_t)1 << ((head - 0xcc) & 3);
        return take_content(input, 1, bytes, &content);
    }
    if (head >= 0xd4 && head <= 0xd8)
        return take_content(input, 1, fixed[head - 0xd4], &content);
    if (head >= 0xdc) {
        size_t bytes = head & 1 ? 4 : 2;
        if (!read_number(input, bytes, &number))
            return false;
        *members = head >= 0xde ? 2 * number : number;
        return take_content(input, 1 + bytes, 0, &content);
    }
    return false; /* c1 is never used */
}

bool unpack_any(struct bytes *input, struct bytes *value)
{
    uint64_t left[UNPACK_DEPTH_LIMIT + 1]; /* values still to come at each depth */
    size_t depth = 0;
    struct bytes rest = *input;
    left[0] = 1;
    for (;;) {
        uint64_t members;
        if (!step(&rest, &members))
            return false;
        left[depth]--;
        if (members > 0) {
            if (depth == UNPACK_DEPTH_LIMIT || members > rest.length)
                return false;
            left[++depth] = members;
        }
        while (left[depth] == 0) {
            if (depth == 0) {
                *value = (struct bytes){input->data, input->length - rest.length};
                *input = rest;
                return true;
            }
            depth--;
        }
    }
}
