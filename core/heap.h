/*
 * A binary heap of pointers: the least item first. Each item keeps its own position (a size_t member, 0 while it is in
 * no heap), so that it can be moved or taken out in O(log n) without a search. One member serves one heap; an item in
 * two heaps has two.
 */
#ifndef CORE_HEAP_H
#define CORE_HEAP_H

#include <stdbool.h>
#include <stddef.h>

struct heap {
    bool (*less)(const void *a, const void *b); /* a strict order */
    size_t position_offset; /* of the size_t position in an item: 1 + index in `items`; 0: not in the heap */
    void **items;           /* owned by the heap; what they point to is not */
    size_t count, capacity;
};

/* heap_init(&h, deadline_less, offsetof(struct session_entry, heap_position)); items must start with position 0. */
void heap_init(struct heap *heap, bool (*less)(const void *a, const void *b), size_t position_offset);
void heap_free(struct heap *heap); /* leaves it empty; items still in it are not touched */

/* Makes room for `more` items beyond those in the heap, so that so many inserts cannot fail. 0 or MUSTER_ENOMEM. */
int heap_reserve(struct heap *heap, size_t more);
int heap_insert(struct heap *heap, void *item);  /* 0 or MUSTER_ENOMEM; the item must not be in the heap */
void heap_remove(struct heap *heap, void *item); /* nothing happens if it is not in the heap */
void heap_update(struct heap *heap,
                 void *item); /* after its key has changed, in either direction; it must be in the heap */

static inline bool heap_has(const struct heap *heap, const void *item)
{
    return *(const size_t *)((const char *)item + heap->position_offset) != 0;
}

static inline void *heap_first(const struct heap *heap)
{
    return heap->count ? heap->items[0] : NULL;
}

#endif
