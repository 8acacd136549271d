/*
 * Writing to descriptors; see output.h.
 */
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/output.h"

#define TAGGED_BYTES 65536 /* gathered before a write */

int output_write(int fd, struct bytes data)
{
    const char *at = data.data;
    size_t left = data.length;
    while (left > 0) {
        ssize_t wrote = write(fd, at, left);
        if (wrote < 0 && errno == EAGAIN) {
            struct pollfd ready = {.fd = fd, .events = POLLOUT};
            poll(&ready, 1, -1);
            continue;
        }
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0)
            return -1;
        at += wrote;
        left -= (size_t)wrote;
    }
    return 0;
}

int output_write_tagged(int fd, struct bytes data, struct bytes tag, struct buffer *scratch)
{
    const char *at = data.data, *end = at + data.length;
    if (data.length == 0)
        return 0;
    scratch->length = 0;
    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t length = (size_t)((stop ? stop + 1 : end) - at);
        cli_append(scratch, tag.data, tag.length);
        cli_append(scratch, "\t", 1);
        cli_append(scratch, at, length);
        at += length;
        if (scratch->length < TAGGED_BYTES && at < end)
            continue;
        if (output_write(fd, bytes_of(scratch)) != 0)
            return -1;
        scratch->length = 0;
    }
    return 0;
}
