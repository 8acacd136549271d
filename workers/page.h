/*
 * The page: memory that one worker process shares with its supervisor, so that what a worker knew survives kill -9.
 *
 * It holds two things. `started` says which task the worker has started last: after a death, held tasks with a larger
 * ticket have not started and can be moved; that one was lost. The ring holds the outcomes (encoded RESULT and FAILURE
 * messages) that the coordinator has not settled yet: after the worker's death the supervisor hands them in, after the
 * coordinator's the worker does.
 *
 * One writer (the worker), one reader (the supervisor, only after the worker is dead). Every update is published by one
 * atomic store, so a kill between any two instructions leaves a page that can be read.
 */
#ifndef WORKERS_PAGE_H
#define WORKERS_PAGE_H

#include <stdatomic.h>

#include "core/buffer.h"

#define PAGE_RING_BYTES (1024 * 1024)
/* the longest message that is recorded */
#define PAGE_RECORD_LIMIT (PAGE_RING_BYTES / 4 - 64)
#define PAGE_MAGIC 0x6d757370u

struct page_task {
    uint64_t ticket, client, number;
    _Atomic uint64_t item; /* within a chunk: the item that is running */
};

struct page {
    uint32_t magic, version;
    struct page_task tasks[2]; /* the one with ticket == started is at [started & 1] */
    _Atomic uint64_t started;  /* ticket; 0: none yet */
    _Atomic uint64_t finished; /* ticket of the last task whose outcome is recorded; == started: idle */
    _Atomic int32_t
        command_group;      /* process group of the command that runs, 0: none; the supervisor kills it after a death */
    _Atomic uint32_t ready; /* 1 once a session with the coordinator was open: the start did not fail */
    _Atomic uint32_t broken; /* 0, or the negated status: the worker gave up by itself, its initializer failed, say */
    char reason[512];        /* why, zero-terminated; written before `broken` */
    _Atomic uint64_t head, tail; /* ring: bytes ever written, bytes ever released */
    unsigned char ring[PAGE_RING_BYTES];
};

/* One record in the ring, as page_next() gives it. */
struct page_record {
    uint64_t ticket, client, number;
    struct bytes message; /* encoded RESULT or FAILURE */
};

void page_init(struct page *page);
void page_start(struct page *page, uint64_t ticket, uint64_t client, uint64_t number);
/* Adds a record; false if there is no room (ring full, or the message longer than PAGE_RECORD_LIMIT). */
bool page_record(struct page *page, uint64_t ticket, uint64_t client, uint64_t number, struct bytes message);
void page_finish(struct page *page, uint64_t ticket);
/* The worker has come to a coordinator that knows nothing of its tickets: they begin anew. Nothing may be recorded. */
void page_restart(struct page *page);
/* Why the worker gives up; the first one counts. */
void page_break(struct page *page, int status, const char *reason);
/* True if a record of any allowed length has room. */
bool page_has_room(const struct page *page);
/* Releases the records with tickets up to this one; gives their number. */
size_t page_settle(struct page *page, uint64_t ticket);
/* False if something other than these functions has written to it, as far as that shows. */
bool page_sound(const struct page *page);
/* Walks the records, oldest first; start with *position = page->tail. Trusts nothing: a page that a mad worker
 * scribbled on ends the walk. */
bool page_next(const struct page *page, uint64_t *position, struct page_record *record);

#endif
