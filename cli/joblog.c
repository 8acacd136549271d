/*
 * The job log; see joblog.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/joblog.h"

#define NUMBER_LIMIT ((uint64_t)1 << 40) /* a log that claims more is damaged; the set would need 128 GiB */

static const char header[] = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n";

/* --- sets of numbers ---------------------------------------------------------------------------------------------- */

void number_set_put(struct number_set *set, uint64_t number, bool member)
{
    size_t at = (size_t)(number / 8);
    unsigned char bit = (unsigned char)(1u << number % 8);
    if (at >= set->bytes) {
        size_t bytes = at + at / 2 + 64;
        set->bits = cli_resize(set->bits, bytes);
        memset(set->bits + set->bytes, 0, bytes - set->bytes);
        set->bytes = bytes;
    }
    if (member)
        set->bits[at] |= bit;
    else
        set->bits[at] &= (unsigned char)~bit;
}

bool number_set_has(const struct number_set *set, uint64_t number)
{
    size_t at = (size_t)(number / 8);
    return at < set->bytes && (set->bits[at] >> number % 8 & 1);
}

void number_set_free(struct number_set *set)
{
    memory_free(set->bits);
    *set = (struct number_set){0};
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

/* One line without its newline: the number of the job and whether it failed. */
static bool parse_line(const char *line, const char *end, uint64_t *number, bool *failed)
{
    const char *fields[9];
    size_t count = 0;
    for (const char *at = line; at && count < 9; count++) {
        fields[count] = at;
        at = memchr(at, '\t', (size_t)(end - at));
        at = at ? at + 1 : NULL;
    }
    if (count < 9 || *line < '0' || *line > '9')
        return false;
    *number = strtoull(fields[0], NULL, 10);
    *failed = strtol(fields[6], NULL, 10) != 0 || strtol(fields[7], NULL, 10) != 0;
    return *number < NUMBER_LIMIT;
}

long joblog_parse(struct bytes text, enum joblog_mode mode, struct number_set *done)
{
    const char *start = text.length > 0 ? text.data : "", *at = start, *end = start + text.length;
    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        uint64_t number;
        bool failed;
        if (!stop)
            break;
        if (at == start) {
            if (text.length < sizeof header - 1 || memcmp(at, header, sizeof header - 1) != 0)
                return -1;
        } else if (parse_line(at, stop, &number, &failed)) {
            number_set_put(done, number, mode == JOBLOG_RESUME || !failed);
        } else {
            return -1;
        }
        at = stop + 1;
    }
    return (long)(at - start);
}

static int read_all(int fd, struct buffer *text)
{
    for (;;) {
        cli_reserve(text, 65536);
        ssize_t got = read(fd, text->data + text->length, text->capacity - text->length);
        if (got < 0 && errno != EINTR)
            return -1;
        if (got == 0)
            return 0;
        text->length += got > 0 ? (size_t)got : 0;
    }
}

/* Learns what is done and leaves the file at the end of its last complete line. */
static int resume(int fd, enum joblog_mode mode, struct number_set *done, bool *empty)
{
    struct buffer text = {0};
    if (read_all(fd, &text) != 0) {
        buffer_free(&text);
        return -1;
    }
    long complete = joblog_parse(bytes_of(&text), mode, done);
    bool foreign = complete < 0 || (complete == 0 && text.length >= sizeof header - 1) ||
                   (complete == 0 && text.length > 0 && memcmp(text.data, header, text.length) != 0);
    buffer_free(&text);
    if (foreign) {
        errno = EILSEQ;
        return -1;
    }
    *empty = complete == 0;
    return ftruncate(fd, complete);
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static int write_all(int fd, const void *data, size_t length)
{
    const char *at = data;
    while (length > 0) {
        ssize_t wrote = write(fd, at, length);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0)
            return -1;
        at += wrote;
        length -= (size_t)wrote;
    }
    return 0;
}

int joblog_open(struct joblog *joblog, const char *path, enum joblog_mode mode, struct number_set *done)
{
    bool empty = true;
    struct stat info;
    *joblog = (struct joblog){.fd = -1};
    /* Only a regular file has something to resume from; a pipe or device is only written to. */
    bool read_back = mode != JOBLOG_FRESH && (stat(path, &info) != 0 || S_ISREG(info.st_mode));
    int flags = O_CREAT | O_APPEND | O_CLOEXEC | (read_back ? O_RDWR : O_WRONLY | O_TRUNC);
    joblog->fd = open(path, flags, 0666);
    if (joblog->fd < 0)
        return -1;
    if ((!read_back || resume(joblog->fd, mode, done, &empty) == 0) &&
        (!empty || write_all(joblog->fd, header, sizeof header - 1) == 0))
        return 0;
    int saved = errno;
    close(joblog->fd);
    joblog->fd = -1;
    errno = saved;
    return -1;
}

int joblog_write(struct joblog *joblog, const struct joblog_entry *entry)
{
    struct buffer *line = &joblog->line;
    line->length = 0;
    if (buffer_printf(line, "%llu\t%s\t%.3f\t%10.3f\t%llu\t%llu\t%d\t%d\t", (unsigned long long)entry->number,
                      entry->host, entry->started, entry->run, (unsigned long long)entry->sent,
                      (unsigned long long)entry->received, entry->exit_value, entry->signal) != 0) {
        errno = ENOMEM;
        return -1;
    }
    cli_append(line, entry->command.data, entry->command.length);
    cli_append(line, "\n", 1);
    return write_all(joblog->fd, line->data, line->length);
}

int joblog_close(struct joblog *joblog)
{
    buffer_free(&joblog->line);
    int fd = joblog->fd;
    joblog->fd = -1;
    return fd < 0 ? 0 : close(fd);
}
