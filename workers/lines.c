/*
 * Lines: most are complete in the bytes that were read and are given from there; only a partial one is copied.
 */
#include "workers/lines.h"

static void give_whole(struct lines *lines, struct bytes line, line_fn *give, void *arg)
{
    struct bytes whole = line;
    if (lines->partial.length > 0) {
        if (buffer_append(&lines->partial, line.data, line.length) == 0) {
            whole = bytes_of(&lines->partial);
        } else {
            give(arg, bytes_of(&lines->partial));
        }
    }
    give(arg, whole);
    lines->partial.length = 0;
}

static struct bytes take(struct bytes *data, size_t length)
{
    struct bytes front = {data->data, length};
    *data = (struct bytes){(const char *)data->data + length, data->length - length};
    return front;
}

void lines_add(struct lines *lines, struct bytes data, line_fn *give, void *arg)
{
    while (data.length > 0) {
        size_t room = LINE_LIMIT - lines->partial.length;
        size_t look = data.length < room + 1 ? data.length : room + 1; /* the newline itself may be one beyond */
        const char *newline = memchr(data.data, '\n', look);
        if (newline) {
            struct bytes line = take(&data, (size_t)(newline - (const char *)data.data));
            take(&data, 1);
            give_whole(lines, line, give, arg);
        } else if (data.length > room) {
            give_whole(lines, take(&data, room), give, arg);
        } else {
            if (buffer_append(&lines->partial, data.data, data.length) != 0)
                give_whole(lines, data, give, arg);
            return;
        }
    }
}

void lines_end(struct lines *lines, line_fn *give, void *arg)
{
    if (lines->partial.length > 0)
        give(arg, bytes_of(&lines->partial));
    lines->partial.length = 0;
}

void lines_free(struct lines *lines)
{
    buffer_free(&lines->partial);
}
