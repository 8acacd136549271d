/*
 * Cuts a stream of bytes into lines of bounded length. Pure.
 */
#ifndef WORKERS_LINES_H
#define WORKERS_LINES_H

#include "core/buffer.h"

#define LINE_LIMIT (64 * 1024) /* a longer line is given in pieces of this size */

/* All zero is an empty one. */
struct lines {
    struct buffer partial; /* bytes of a line that has not ended */
};

typedef void line_fn(void *arg, struct bytes line); /* without its newline */

/* Takes bytes and gives every line that they complete. Without memory for a partial line it is given as it is. */
void lines_add(struct lines *lines, struct bytes data, line_fn *give, void *arg);
/* The stream has ended: gives what is left of a line without newline. */
void lines_end(struct lines *lines, line_fn *give, void *arg);
void lines_free(struct lines *lines);

#endif
