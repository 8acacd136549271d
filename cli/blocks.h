/*
 * --pipe: standard input cut into blocks of whole records.
 *
 * A block is read into the very buffer in which it is submitted: in front of its bytes there is room for the head of
 * the task's arguments. Only what is left over of the last, incomplete record is copied to the next block.
 */
#ifndef CLI_BLOCKS_H
#define CLI_BLOCKS_H

#include "cli/items.h"

#define BLOCK_HEADROOM 4096            /* bytes in front of a block's data */
#define BLOCK_LIMIT (48 * 1024 * 1024) /* the largest block; it travels as one payload of at most 64 MiB */

struct blocks {
    struct reader reader; /* for blocks of so many records */
    size_t records;       /* in a block; 0: blocks are cut by size */
    size_t gathered;      /* records in `next` */
    size_t size;          /* bytes of a block, about: the end of its last record decides */
    struct buffer next;   /* from BLOCK_HEADROOM on */
};

void blocks_init(struct blocks *blocks, int fd, char delimiter, size_t size, size_t records);
/* The next block as (*block)[BLOCK_HEADROOM..length). What *block held before is used for the one after. ITEM_WAIT:
 * poll the descriptor, then blocks_fill(). ITEM_FAILED with errno EMSGSIZE: a record is larger than BLOCK_LIMIT. */
enum item_status blocks_next(struct blocks *blocks, struct buffer *block);
enum item_status blocks_fill(struct blocks *blocks);
void blocks_free(struct blocks *blocks);

#endif
