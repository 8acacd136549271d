/*
 * The one log call. A line is put together in memory and written by one write(2), so that lines of several processes on
 * one stderr do not mix. Bytes that came from elsewhere may be in it: control characters are shown as '?'.
 *
 * A program must not stop because nobody reads the pipe that its stderr is: who logs may hold a lock that everybody
 * needs. A line that would have to wait is left out, and the next that does not says how many were.
 */
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/errors.h"
#include "core/log.h"

#define LINE_BYTES 2048

enum log_level log_threshold = LOG_LEVEL_WARNING;
const char *log_program = "muster";
void (*log_hook)(enum log_level level, const char *text);

static const struct {
    const char *name;
    enum log_level level;
} levels[] = {
    {"error", LOG_LEVEL_ERROR}, {"warning", LOG_LEVEL_WARNING}, {"info", LOG_LEVEL_INFO}, {"debug", LOG_LEVEL_DEBUG}};

static const char *level_name(enum log_level level)
{
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        if (levels[i].level == level)
            return levels[i].name;
    return "?";
}

int log_level_parse(const char *name, enum log_level *level)
{
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        if (strcmp(levels[i].name, name) == 0) {
            *level = levels[i].level;
            return 0;
        }
    }
    return error_set(MUSTER_EINVAL, "'%s' is not a log level: use error, warning, info or debug", name);
}

/* True if a line would have to wait. A pipe that is ready takes PIPE_BUF bytes, which is more than a line. */
static bool stderr_full(void)
{
    struct pollfd wanted = {.fd = STDERR_FILENO, .events = POLLOUT};
    return poll(&wanted, 1, 0) == 0;
}

static atomic_uint left_out; /* lines that nobody read in time */

static bool log_write(enum log_level level, const char *text)
{
    if (stderr_full()) {
        atomic_fetch_add(&left_out, 1);
        return false;
    }
    char line[LINE_BYTES + 128], stamp[32];
    struct timespec now;
    struct tm parts;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &parts);
    int length = snprintf(line, sizeof line, "%s.%03ldZ %s %s[%d]: %s\n", stamp, now.tv_nsec / 1000000,
                          level_name(level), log_program, (int)getpid(), text);
    if (length < 0)
        return false;
    if ((size_t)length >= sizeof line) {
        length = sizeof line - 1;
        line[length - 1] = '\n';
    }
    ssize_t ignored = write(STDERR_FILENO, line, (size_t)length);
    (void)ignored; /* there is nobody left to tell */
    return true;
}

/* After lines were left out the next one says how many. */
static void log_left_out(void)
{
    char note[80];
    unsigned count = atomic_exchange(&left_out, 0);
    if (count == 0)
        return;
    snprintf(note, sizeof note, "%u lines were left out: nobody read them", count);
    if (!log_write(LOG_LEVEL_WARNING, note))
        atomic_fetch_add(&left_out, count - 1); /* the note was counted instead of one of them */
}

void log_line(enum log_level level, const char *format, ...)
{
    if (level > log_threshold)
        return;
    char text[LINE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length < 0)
        return;
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
    if (log_hook) {
        log_hook(level, text);
        return;
    }
    log_left_out();
    log_write(level, text);
}
