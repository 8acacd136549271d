/*
 * Complaints and memory for the commands; see cli.h.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"

const char *cli_program = "muster";
int cli_fail_status = CLI_FAILED;

/* In one write, so that lines of several processes on one terminal do not mix. */
static void complain(const char *format, va_list arguments)
{
    char text[4096];
    int length = snprintf(text, sizeof text, "%s: ", cli_program);
    int more = vsnprintf(text + length, sizeof text - (size_t)length, format, arguments);
    if (more < 0)
        more = 0;
    size_t end = (size_t)length + (size_t)more;
    if (end > sizeof text - 2)
        end = sizeof text - 2;
    text[end++] = '\n';
    fwrite(text, 1, end, stderr);
    fflush(stderr);
}

void cli_warn(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    complain(format, arguments);
    va_end(arguments);
}

void cli_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    complain(format, arguments);
    va_end(arguments);
    exit(cli_fail_status);
}

void *cli_resize(void *old, size_t size)
{
    void *memory = memory_resize(old, size);
    if (!memory)
        cli_fail("out of memory (%zu bytes asked for)", size);
    return memory;
}

void cli_reserve(struct buffer *buffer, size_t more)
{
    if (buffer_reserve(buffer, more) != 0)
        cli_fail("out of memory (%zu bytes asked for)", more);
}

void cli_append(struct buffer *buffer, const void *data, size_t length)
{
    cli_reserve(buffer, length);
    if (length > 0)
        memcpy(buffer->data + buffer->length, data, length);
    buffer->length += length;
}

void cli_list_add(char ***list, size_t *count, char *item)
{
    *list = cli_resize(*list, (*count + 2) * sizeof **list);
    (*list)[(*count)++] = item;
    (*list)[*count] = NULL;
}

const char *cli_pool_url(const char *option)
{
    if (option)
        return option;
    const char *url = getenv("MUSTER_POOL");
    return url && *url ? url : NULL;
}
