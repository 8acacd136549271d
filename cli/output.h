/*
 * Printing what jobs wrote: straight from the result's memory to the descriptor, or line by line behind a tag.
 */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include "core/buffer.h"

/* All of it; waits for a descriptor that is not blocking. 0, or -1 with errno. */
int output_write(int fd, struct bytes data);
/* Every line with `tag` and a tab before it. `scratch` is reused. 0, or -1 with errno. */
int output_write_tagged(int fd, struct bytes data, struct bytes tag, struct buffer *scratch);

#endif
