/*
 * Cutting a stream into blocks; see blocks.h.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cli/blocks.h"
#include "cli/cli.h"

#define READ_BYTES 65536 /* beyond the size, to find the end of a long record */

static void start_block(struct buffer *block, const void *data, size_t length)
{
    block->length = 0;
    cli_reserve(block, BLOCK_HEADROOM + length);
    if (length > 0)
        memcpy(block->data + BLOCK_HEADROOM, data, length);
    block->length = BLOCK_HEADROOM + length;
}

void blocks_init(struct blocks *blocks, int fd, char delimiter, size_t size, size_t records)
{
    *blocks = (struct blocks){.records = records, .size = size};
    reader_init(&blocks->reader, fd, delimiter);
    start_block(&blocks->next, NULL, 0);
}

void blocks_free(struct blocks *blocks)
{
    reader_free(&blocks->reader);
    buffer_free(&blocks->next);
}

/* Gives `next` out and begins another with `rest`. */
static void hand_over(struct blocks *blocks, struct buffer *block, size_t length, struct bytes rest)
{
    struct buffer full = blocks->next;
    start_block(block, rest.data, rest.length);
    blocks->next = *block;
    blocks->gathered = 0;
    full.length = BLOCK_HEADROOM + length;
    *block = full;
}

static enum item_status next_by_records(struct blocks *blocks, struct buffer *block)
{
    struct bytes record;
    enum item_status status = ITEM_READY;
    while (blocks->gathered < blocks->records && (status = reader_next(&blocks->reader, &record)) == ITEM_READY) {
        const char *text = record.data;
        bool cut = text + record.length == (const char *)blocks->reader.data.data + blocks->reader.data.length;
        cli_append(&blocks->next, text, record.length + (cut ? 0 : 1)); /* the delimiter stands behind it */
        blocks->gathered++;
        if (blocks->next.length > BLOCK_LIMIT) {
            errno = EMSGSIZE;
            return ITEM_FAILED;
        }
    }
    if (status == ITEM_WAIT || (status == ITEM_END && blocks->gathered == 0))
        return status;
    hand_over(blocks, block, blocks->next.length - BLOCK_HEADROOM, (struct bytes){NULL, 0});
    return ITEM_READY;
}

static enum item_status next_by_size(struct blocks *blocks, struct buffer *block)
{
    const char *data = (const char *)blocks->next.data + BLOCK_HEADROOM;
    size_t length = blocks->next.length - BLOCK_HEADROOM;
    bool ended = blocks->reader.ended;
    if (length < blocks->size && !ended)
        return ITEM_WAIT;
    if (length == 0)
        return ITEM_END;

    size_t cut = length;
    if (length >= blocks->size) {
        char delimiter = blocks->reader.delimiter;
        const char *last = memrchr(data, delimiter, blocks->size);
        if (!last)
            last = memchr(data + blocks->size, delimiter, length - blocks->size);
        if (!last && !ended) {
            errno = EMSGSIZE;
            return length > BLOCK_LIMIT ? ITEM_FAILED : ITEM_WAIT;
        }
        cut = last ? (size_t)(last + 1 - data) : length;
    }
    hand_over(blocks, block, cut, (struct bytes){data + cut, length - cut});
    return ITEM_READY;
}

enum item_status blocks_next(struct blocks *blocks, struct buffer *block)
{
    return blocks->records > 0 ? next_by_records(blocks, block) : next_by_size(blocks, block);
}

enum item_status blocks_fill(struct blocks *blocks)
{
    if (blocks->records > 0)
        return reader_fill(&blocks->reader);
    struct buffer *next = &blocks->next;
    size_t wanted = BLOCK_HEADROOM + blocks->size;
    size_t room = next->length < wanted ? wanted - next->length : READ_BYTES;
    cli_reserve(next, room);
    ssize_t got = read(blocks->reader.fd, next->data + next->length, room);
    if (got < 0)
        return errno == EINTR || errno == EAGAIN ? ITEM_WAIT : ITEM_FAILED;
    next->length += (size_t)got;
    blocks->reader.ended = got == 0;
    return ITEM_READY;
}
