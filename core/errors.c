/*
 * The sentence behind a failure, one for each thread, and the sentence of each status.
 *
 * The detail is kept in a fixed array: an error about memory that has run out must not need any.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/errors.h"

#define DETAIL_BYTES 1024

static _Thread_local char detail[DETAIL_BYTES];

/* The arguments may point into the old detail, so the new one is put together beside it. */
static void detail_format(const char *suffix, const char *format, va_list arguments)
{
    char text[DETAIL_BYTES];
    int length = vsnprintf(text, sizeof text, format, arguments);
    if (length < 0)
        length = 0;
    if (suffix && (size_t)length < sizeof text)
        snprintf(text + length, sizeof text - (size_t)length, ": %s", suffix);
    memcpy(detail, text, sizeof detail);
}

int error_set(int status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    detail_format(NULL, format, arguments);
    va_end(arguments);
    return status;
}

int error_errno(const char *format, ...)
{
    char reason[128];
    const char *text = strerror_r(errno, reason, sizeof reason);
    va_list arguments;
    va_start(arguments, format);
    detail_format(text, format, arguments);
    va_end(arguments);
    return MUSTER_ESYSTEM;
}

int error_memory(void)
{
    return error_set(MUSTER_ENOMEM, "memory ran out: free some, or raise the limit of this process");
}

const char *muster_last_error(void)
{
    return detail;
}

const char *muster_strerror(int status)
{
    switch (status) {
    case 0: return "success";
    case MUSTER_EINVAL: return "an argument makes no sense";
    case MUSTER_ENOMEM: return "memory ran out";
    case MUSTER_EAGAIN: return "the window is full: take results first, or wait for room";
    case MUSTER_ETIMEDOUT: return "the time ran out";
    case MUSTER_ECANCELED: return "the task was cancelled";
    case MUSTER_ELOST: return "the worker died or was cut off while it ran the task";
    case MUSTER_ETASK: return "the task's function reported an error";
    case MUSTER_ENOFUNCTION: return "no worker offers that function";
    case MUSTER_ECLOSED: return "the pool was closed or terminated";
    case MUSTER_ELIMIT: return "a limit was reached";
    case MUSTER_EPROTOCOL: return "the other side does not keep to the protocol";
    case MUSTER_EVERSION: return "the other side speaks another version of the protocol";
    case MUSTER_EAUTH: return "the authkey is missing or wrong";
    case MUSTER_ECONNECT: return "nobody answers at that URL";
    case MUSTER_EURL: return "the URL cannot be understood";
    case MUSTER_EPLUGIN: return "the plugin cannot be used";
    case MUSTER_ESYSTEM: return "the operating system refused something";
    case MUSTER_ETYPE: return "the value is not of that type";
    case MUSTER_EENCODING: return "the bytes are not well-formed msgpack";
    case MUSTER_EWORKERS: return "no worker process could be started";
    case MUSTER_EINTERNAL: return "a bug in muster";
    case MUSTER_ENOOBJECT: return "there is no such shared object, or not any more";
    case MUSTER_EBROKEN: return "the barrier is broken";
    default: return "an unknown status";
    }
}
