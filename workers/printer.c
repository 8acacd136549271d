/*
 * The printer. The descriptors belong to the host process and may block, so they are only written to when poll(2) says
 * that there is room, and then no more than a pipe takes at once without waiting.
 */
#include "workers/printer.h"

#include <errno.h>
#include <limits.h>
#include <unistd.h>

#include "core/clock.h"

#define FULL_BYTES (256 * 1024)

static void append(struct buffer *pending, const char *tag, struct bytes line)
{
    size_t tag_length = strlen(tag);
    if (buffer_reserve(pending, tag_length + line.length + 4) != 0)
        return;
    buffer_append(pending, "[", 1);
    buffer_append(pending, tag, tag_length);
    buffer_append(pending, "] ", 2);
    buffer_append(pending, line.data, line.length);
    buffer_append(pending, "\n", 1);
}

void printer_add(struct printer *printer, int stream, const char *tag, struct bytes line)
{
    append(&printer->pending[stream - 1], tag, line);
}

bool printer_full(const struct printer *printer, int stream)
{
    return printer->pending[stream - 1].length >= FULL_BYTES;
}

static bool writable(int fd, int wait_ms)
{
    struct pollfd room = {fd, POLLOUT, 0};
    return poll(&room, 1, wait_ms) > 0;
}

/* True if anything could be printed, or nobody will ever read it. */
static bool print_some(struct buffer *pending, int fd, int wait_ms)
{
    if (pending->length == 0 || !writable(fd, wait_ms))
        return false;
    ssize_t wrote = write(fd, pending->data, pending->length < PIPE_BUF ? pending->length : PIPE_BUF);
    if (wrote < 0 && (errno == EINTR || errno == EAGAIN))
        return false;
    size_t gone = wrote < 0 ? pending->length : (size_t)wrote;
    pending->length -= gone;
    memmove(pending->data, pending->data + gone, pending->length);
    return true;
}

void printer_flush(struct printer *printer)
{
    for (int i = 0; i < 2; i++)
        while (print_some(&printer->pending[i], i + 1, 0))
            continue;
}

void printer_poll(const struct printer *printer, struct pollfd polls[2])
{
    for (int i = 0; i < 2; i++)
        polls[i] = (struct pollfd){printer->pending[i].length > 0 ? i + 1 : -1, POLLOUT, 0};
}

void printer_end(struct printer *printer)
{
    uint64_t until_ns = clock_now_ns() + NS_PER_S;
    for (int i = 0; i < 2; i++) {
        while (printer->pending[i].length > 0 && clock_now_ns() < until_ns)
            print_some(&printer->pending[i], i + 1, 50);
        buffer_free(&printer->pending[i]);
    }
}
