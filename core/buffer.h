/*
 * Bytes: `struct bytes` is a view that owns nothing, `struct buffer` is the one growable array of bytes in the project.
 */
#ifndef CORE_BUFFER_H
#define CORE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
    const void *data; /* may be NULL if length is 0 */
    size_t length;
};

/* All zero is an empty buffer. data[0..length) is valid, capacity bytes are allocated. */
struct buffer {
    unsigned char *data;
    size_t length, capacity;
};

static inline struct bytes bytes_of(const struct buffer *buffer)
{
    return (struct bytes){buffer->data, buffer->length};
}

static inline struct bytes bytes_string(const char *text)
{
    return (struct bytes){text, text ? strlen(text) : 0};
}

static inline bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.length == b.length && (a.length == 0 || memcmp(a.data, b.data, a.length) == 0);
}

/* Makes room for `more` bytes after length. 0 or MUSTER_ENOMEM (buffer unchanged). */
int buffer_reserve(struct buffer *buffer, size_t more);
int buffer_append(struct buffer *buffer, const void *data, size_t length);
/* printf at the end; no terminating zero is counted in length, but one is there. */
int buffer_printf(struct buffer *buffer, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buffer_free(struct buffer *buffer); /* leaves it empty */
/* A zero-terminated heap copy of a view, or NULL when memory ran out. */
char *bytes_dup_string(struct bytes bytes);

/* Every allocation of the library goes through these; a test replaces the hook to make the n-th one fail. */
extern bool (*memory_fail_hook)(void); /* NULL: never fail */
void *memory_alloc(size_t size);
void *memory_zero(size_t size);
void *memory_resize(void *old, size_t size);
void memory_free(void *memory);

#endif
