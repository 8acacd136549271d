/*
 * An input that is several: pieces, each after its length in two bytes.
 */
#ifndef TESTS_FUZZ_PIECES_H
#define TESTS_FUZZ_PIECES_H

#include <stdlib.h>

#include "core/buffer.h"

/* Takes the next piece off the front, in memory of exactly its length, which the caller frees: a sanitizer sees any
 * byte too far. */
static inline bool piece_next(struct bytes *input, struct bytes *piece)
{
    const unsigned char *at = input->data;
    if (input->length < 2)
        return false;
    size_t length = (size_t)at[0] << 8 | at[1];
    if (length > input->length - 2)
        length = input->length - 2;
    unsigned char *copy = malloc(length ? length : 1);
    if (!copy)
        return false;
    memcpy(copy, at + 2, length);
    *piece = (struct bytes){copy, length};
    *input = (struct bytes){at + 2 + length, input->length - 2 - length};
    return true;
}

#endif
