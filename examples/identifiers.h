/*
 * Counting identifiers ([A-Za-z_][A-Za-z0-9_]*) in files: the table, the scanner, and the table as bytes. Shared by the
 * plugin that counts in workers (plugins/identifiers.c) and the demo that merges, and counts alone (demo.c).
 */
#ifndef EXAMPLES_IDENTIFIERS_H
#define EXAMPLES_IDENTIFIERS_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SCAN_BYTES (1024 * 1024) /* read at a time; longer identifiers are cut there */
#define ARENA_BYTES (256 * 1024) /* of names, allocated at a time */

struct identifier {
    const char *text; /* NULL: an empty slot */
    uint32_t hash, length;
    uint64_t count;
};

struct arena {
    struct arena *next;
    size_t used, size;
    char bytes[];
};

/* Open addressing, at most half full; names stand in the arenas. All zero is an empty table. */
struct identifier_table {
    struct identifier *slots;
    size_t size, used; /* size: a power of two */
    struct arena *arenas;
    unsigned char *buffer; /* SCAN_BYTES, for files */
    uint64_t files, bytes, unreadable;
    bool out_of_memory;
};

static inline void identifiers_free(struct identifier_table *table)
{
    while (table->arenas) {
        struct arena *arena = table->arenas;
        table->arenas = arena->next;
        free(arena);
    }
    free(table->slots);
    free(table->buffer);
    *table = (struct identifier_table){0};
}

static inline bool identifiers_grow(struct identifier_table *table)
{
    size_t size = table->size ? table->size * 2 : 4096;
    struct identifier *slots = calloc(size, sizeof *slots);
    if (!slots) {
        table->out_of_memory = true;
        return false;
    }
    for (size_t i = 0; i < table->size; i++) {
        if (!table->slots[i].text)
            continue;
        size_t at = table->slots[i].hash & (size - 1);
        while (slots[at].text)
            at = (at + 1) & (size - 1);
        slots[at] = table->slots[i];
    }
    free(table->slots);
    table->slots = slots;
    table->size = size;
    return true;
}

static inline const char *identifiers_keep(struct identifier_table *table, const char *text, size_t length)
{
    struct arena *arena = table->arenas;
    if (!arena || arena->size - arena->used < length) {
        size_t size = length > ARENA_BYTES ? length : ARENA_BYTES;
        arena = malloc(sizeof *arena + size);
        if (!arena) {
            table->out_of_memory = true;
            return NULL;
        }
        *arena = (struct arena){.next = table->arenas, .size = size};
        table->arenas = arena;
    }
    char *kept = arena->bytes + arena->used;
    arena->used += length;
    return memcpy(kept, text, length);
}

/* The slot of a name: its own, or the empty one where it would stand. The table must not be full. */
static inline struct identifier *identifiers_find(const struct identifier_table *table, const char *text, size_t length,
                                                  uint32_t hash)
{
    size_t at = hash & (table->size - 1);
    struct identifier *slot = &table->slots[at];
    while (slot->text && (slot->hash != hash || slot->length != length || memcmp(slot->text, text, length) != 0)) {
        at = (at + 1) & (table->size - 1);
        slot = &table->slots[at];
    }
    return slot;
}

/* False when memory ran out. */
static inline bool identifiers_add(struct identifier_table *table, const char *text, size_t length, uint32_t hash,
                                   uint64_t count)
{
    if (table->used * 2 >= table->size && !identifiers_grow(table))
        return false;
    struct identifier *slot = identifiers_find(table, text, length, hash);
    if (!slot->text) {
        const char *kept = identifiers_keep(table, text, length);
        if (!kept)
            return false;
        *slot = (struct identifier){kept, hash, (uint32_t)length, 0};
        table->used++;
    }
    slot->count += count;
    return true;
}

/* 0: not part of an identifier, 1: a digit, 2: may begin one. Bytes beyond ASCII are not part of any. */
static inline const unsigned char *identifiers_classes(void)
{
    static unsigned char classes[256];
    if (!classes['_']) {
        for (int c = '0'; c <= '9'; c++)
            classes[c] = 1;
        for (int c = 'a'; c <= 'z'; c++)
            classes[c] = classes[c - 'a' + 'A'] = 2;
        classes['_'] = 2;
    }
    return classes;
}

/* Counts in a block; *rest gets where an unfinished word at its end begins (the end if there is none). */
static inline bool identifiers_scan(struct identifier_table *table, const unsigned char *at, const unsigned char *end,
                                    const unsigned char **rest)
{
    const unsigned char *classes = identifiers_classes();
    for (;;) {
        while (at < end && !classes[*at])
            at++;
        const unsigned char *start = at;
        uint32_t hash = 2166136261u;
        while (at < end && classes[*at])
            hash = (hash ^ *at++) * 16777619u;
        *rest = start;
        if (at == end)
            return true;
        hash ^= hash >> 15;
        if (classes[*start] == 2 && !identifiers_add(table, (const char *)start, (size_t)(at - start), hash, 1))
            return false;
    }
}

static inline bool identifiers_scan_descriptor(struct identifier_table *table, int fd)
{
    static const unsigned char stop = '\n'; /* ends a word that the file's end cut */
    const unsigned char *rest;
    size_t kept = 0;
    for (;;) {
        ssize_t got = read(fd, table->buffer + kept, SCAN_BYTES - kept);
        if (got < 0)
            return false;
        table->bytes += (uint64_t)got;
        size_t length = kept + (size_t)got;
        if (got == 0)
            table->buffer[length++] = stop;
        if (!identifiers_scan(table, table->buffer, table->buffer + length, &rest))
            return false;
        kept = (size_t)(table->buffer + length - rest);
        if (got == 0)
            return true;
        memmove(table->buffer, rest, kept);
        if (kept == SCAN_BYTES) /* a word as long as the buffer: cut it */
            kept = 0;
    }
}

/* Counts in one file. A file that cannot be read is counted as such; false only when memory ran out. */
static inline bool identifiers_scan_file(struct identifier_table *table, const char *path)
{
    if (!table->buffer && !(table->buffer = malloc(SCAN_BYTES + 1)))
        return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) {
        table->unreadable++;
        return true;
    }
    if (identifiers_scan_descriptor(table, fd))
        table->files++;
    else
        table->unreadable++;
    close(fd);
    return !table->out_of_memory;
}

/* --- the table as bytes, between processes of one machine --------------------------------------------------------- */

struct identifier_record {
    uint64_t count;
    uint32_t hash, length; /* the name follows */
};

/* *size bytes, to be freed with free(); NULL when memory ran out. */
static inline unsigned char *identifiers_write(const struct identifier_table *table, size_t *size)
{
    const uint64_t head[3] = {table->files, table->bytes, table->unreadable};
    *size = sizeof head;
    for (size_t i = 0; i < table->size; i++)
        if (table->slots[i].text)
            *size += sizeof(struct identifier_record) + table->slots[i].length;
    unsigned char *bytes = malloc(*size), *at = bytes;
    if (!bytes)
        return NULL;
    memcpy(at, head, sizeof head);
    at += sizeof head;
    for (size_t i = 0; i < table->size; i++) {
        const struct identifier *slot = &table->slots[i];
        struct identifier_record record = {slot->count, slot->hash, slot->length};
        if (!slot->text)
            continue;
        memcpy(at, &record, sizeof record);
        memcpy(at + sizeof record, slot->text, slot->length);
        at += sizeof record + slot->length;
    }
    return bytes;
}

/* Adds a written table to another. False: memory ran out, or the bytes are no table. */
static inline bool identifiers_merge(struct identifier_table *table, const unsigned char *bytes, size_t size)
{
    uint64_t head[3];
    struct identifier_record record;
    if (size < sizeof head)
        return false;
    memcpy(head, bytes, sizeof head);
    table->files += head[0];
    table->bytes += head[1];
    table->unreadable += head[2];
    const unsigned char *at = bytes + sizeof head, *end = bytes + size;
    while (at < end) {
        if ((size_t)(end - at) < sizeof record)
            return false;
        memcpy(&record, at, sizeof record);
        at += sizeof record;
        if ((size_t)(end - at) < record.length ||
            !identifiers_add(table, (const char *)at, record.length, record.hash, record.count))
            return false;
        at += record.length;
    }
    return true;
}

#endif
