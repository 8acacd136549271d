/*
 * The page's ring of records.
 *
 * A record is a header of fixed size and the message, padded to eight bytes, all in one piece: where the rest of the
 * ring is too short, a gap record fills it and the record begins at the front. `head` is stored after the bytes, so
 * whoever reads `head` finds complete records below it.
 *
 * The reader believes nothing that it reads: the worker's own task may have written over the page. Each header is
 * copied first and then checked against the ring's bounds; a walk that meets nonsense ends.
 */
#include "workers/page.h"

#include <stdio.h>

struct record_header {
    uint64_t ticket, client, number; /* ticket 0: a gap */
    uint64_t length;                 /* of the message, or of the gap behind the header */
};

#define HEADER_BYTES sizeof(struct record_header)

static uint64_t padded(uint64_t length)
{
    return (length + 7) & ~(uint64_t)7;
}

static uint64_t used(const struct page *page)
{
    return atomic_load_explicit(&page->head, memory_order_relaxed) -
           atomic_load_explicit(&page->tail, memory_order_relaxed);
}

void page_init(struct page *page)
{
    memset(page, 0, offsetof(struct page, ring));
    page->magic = PAGE_MAGIC;
    page->version = 1;
}

void page_start(struct page *page, uint64_t ticket, uint64_t client, uint64_t number)
{
    struct page_task *task = &page->tasks[ticket & 1];
    task->ticket = ticket;
    task->client = client;
    task->number = number;
    atomic_store_explicit(&task->item, 0, memory_order_relaxed);
    atomic_store_explicit(&page->started, ticket, memory_order_release);
}

void page_finish(struct page *page, uint64_t ticket)
{
    atomic_store_explicit(&page->finished, ticket, memory_order_release);
}

void page_restart(struct page *page)
{
    atomic_store_explicit(&page->finished, 0, memory_order_release);
    atomic_store_explicit(&page->started, 0, memory_order_release);
}

void page_break(struct page *page, int status, const char *reason)
{
    if (atomic_load(&page->broken) != 0)
        return;
    snprintf(page->reason, sizeof page->reason, "%s", reason);
    atomic_store(&page->broken, (uint32_t)-status);
}

/* Bytes that a record takes at ring position `at`: itself, and the gap before it if it must begin at the front. */
static uint64_t needed(uint64_t at, uint64_t length)
{
    uint64_t record = HEADER_BYTES + padded(length);
    uint64_t rest = PAGE_RING_BYTES - at % PAGE_RING_BYTES;
    return record <= rest ? record : rest + record;
}

bool page_has_room(const struct page *page)
{
    uint64_t head = atomic_load_explicit(&page->head, memory_order_relaxed);
    return needed(head, PAGE_RECORD_LIMIT) <= PAGE_RING_BYTES - used(page);
}

bool page_record(struct page *page, uint64_t ticket, uint64_t client, uint64_t number, struct bytes message)
{
    uint64_t head = atomic_load_explicit(&page->head, memory_order_relaxed);
    if (message.length > PAGE_RECORD_LIMIT || needed(head, message.length) > PAGE_RING_BYTES - used(page))
        return false;
    uint64_t rest = PAGE_RING_BYTES - head % PAGE_RING_BYTES;
    if (rest < HEADER_BYTES + padded(message.length)) {
        /* A rest too short for a header is known as a gap by its length alone. */
        struct record_header gap = {.length = rest - HEADER_BYTES};
        if (rest >= HEADER_BYTES)
            memcpy(page->ring + head % PAGE_RING_BYTES, &gap, HEADER_BYTES);
        head += rest;
    }
    struct record_header header = {ticket, client, number, message.length};
    unsigned char *at = page->ring + head % PAGE_RING_BYTES;
    memcpy(at, &header, HEADER_BYTES);
    if (message.length > 0)
        memcpy(at + HEADER_BYTES, message.data, message.length);
    atomic_store_explicit(&page->head, head + HEADER_BYTES + padded(message.length), memory_order_release);
    return true;
}

bool page_sound(const struct page *page)
{
    return page->magic == PAGE_MAGIC && page->version == 1 && used(page) <= PAGE_RING_BYTES &&
           atomic_load(&page->finished) <= atomic_load(&page->started);
}

bool page_next(const struct page *page, uint64_t *position, struct page_record *record)
{
    struct record_header header;
    uint64_t head = atomic_load_explicit(&page->head, memory_order_acquire);
    for (;;) {
        if (head - *position > PAGE_RING_BYTES || head - *position < HEADER_BYTES || *position % 8 != 0)
            return false;
        uint64_t rest = PAGE_RING_BYTES - *position % PAGE_RING_BYTES;
        if (rest < HEADER_BYTES) {
            *position += rest;
            continue;
        }
        memcpy(&header, page->ring + *position % PAGE_RING_BYTES, HEADER_BYTES);
        if (header.length > rest - HEADER_BYTES || HEADER_BYTES + padded(header.length) > head - *position)
            return false;
        if (header.ticket != 0)
            break;
        *position += HEADER_BYTES + padded(header.length);
    }
    record->ticket = header.ticket;
    record->client = header.client;
    record->number = header.number;
    record->message = (struct bytes){page->ring + *position % PAGE_RING_BYTES + HEADER_BYTES, (size_t)header.length};
    *position += HEADER_BYTES + padded(header.length);
    return true;
}

size_t page_settle(struct page *page, uint64_t ticket)
{
    struct page_record record;
    uint64_t position = atomic_load_explicit(&page->tail, memory_order_relaxed), tail = position;
    size_t released = 0;
    for (; page_next(page, &position, &record) && record.ticket <= ticket; released++)
        tail = position;
    atomic_store_explicit(&page->tail, tail, memory_order_release);
    return released;
}
