/*
 * The growable array of bytes, and the allocator of the whole library.
 *
 * Everything that the library allocates passes through memory_alloc() and its sisters, so that a test can make the n-th
 * allocation fail and see that the failure is reported, that nothing is lost, and that nothing crashes.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/buffer.h"
#include "core/errors.h"
#include "core/hash.h"

#define BUFFER_START 256 /* bytes of the first allocation */

bool (*memory_fail_hook)(void);
_Thread_local bool hash_oom;

static bool memory_fails(void)
{
    return memory_fail_hook && memory_fail_hook();
}

void *memory_alloc(size_t size)
{
    return memory_fails() ? NULL : malloc(size ? size : 1);
}

void *memory_zero(size_t size)
{
    return memory_fails() ? NULL : calloc(1, size ? size : 1);
}

void *memory_resize(void *old, size_t size)
{
    return memory_fails() ? NULL : realloc(old, size ? size : 1);
}

void memory_free(void *memory)
{
    free(memory);
}

int buffer_reserve(struct buffer *buffer, size_t more)
{
    if (buffer->capacity - buffer->length >= more)
        return 0;
    if (more > SIZE_MAX / 2 - buffer->length)
        return MUSTER_ENOMEM;
    size_t needed = buffer->length + more;
    size_t capacity = buffer->capacity < BUFFER_START / 2 ? BUFFER_START : buffer->capacity * 2;
    if (capacity < needed)
        capacity = needed;
    unsigned char *data = memory_resize(buffer->data, capacity);
    if (!data)
        return MUSTER_ENOMEM;
    buffer->data = data;
    buffer->capacity = capacity;
    return 0;
}

int buffer_append(struct buffer *buffer, const void *data, size_t length)
{
    if (length == 0)
        return 0;
    if (buffer_reserve(buffer, length) != 0)
        return MUSTER_ENOMEM;
    memcpy(buffer->data + buffer->length, data, length);
    buffer->length += length;
    return 0;
}

int buffer_printf(struct buffer *buffer, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0 || buffer_reserve(buffer, (size_t)length + 1) != 0)
        return MUSTER_ENOMEM;
    va_start(arguments, format);
    vsnprintf((char *)buffer->data + buffer->length, (size_t)length + 1, format, arguments);
    va_end(arguments);
    buffer->length += (size_t)length;
    return 0;
}

void buffer_free(struct buffer *buffer)
{
    memory_free(buffer->data);
    *buffer = (struct buffer){0};
}

char *bytes_dup_string(struct bytes bytes)
{
    char *copy = memory_alloc(bytes.length + 1);
    if (!copy)
        return NULL;
    if (bytes.length > 0)
        memcpy(copy, bytes.data, bytes.length);
    copy[bytes.length] = '\0';
    return copy;
}
