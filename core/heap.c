/*
 * The binary heap: children of the item at i are at 2i + 1 and 2i + 2. Moving an item writes its new position into it,
 * which is all that an update or a removal in the middle needs.
 */
#include "core/heap.h"

#include <assert.h>

#include "core/buffer.h"
#include "core/errors.h"

static size_t *position_of(const struct heap *heap, void *item)
{
    return (size_t *)((char *)item + heap->position_offset);
}

static void place(struct heap *heap, size_t index, void *item)
{
    heap->items[index] = item;
    *position_of(heap, item) = index + 1;
}

/* Moves `item`, which belongs at `index` or above it, to where its parent is not greater. Returns where that is. */
static size_t sift_up(struct heap *heap, size_t index, void *item)
{
    while (index > 0) {
        size_t parent = (index - 1) / 2;
        if (!heap->less(item, heap->items[parent]))
            break;
        place(heap, index, heap->items[parent]);
        index = parent;
    }
    place(heap, index, item);
    return index;
}

static void sift_down(struct heap *heap, size_t index, void *item)
{
    for (;;) {
        size_t child = 2 * index + 1;
        if (child >= heap->count)
            break;
        if (child + 1 < heap->count && heap->less(heap->items[child + 1], heap->items[child]))
            child++;
        if (!heap->less(heap->items[child], item))
            break;
        place(heap, index, heap->items[child]);
        index = child;
    }
    place(heap, index, item);
}

void heap_init(struct heap *heap, bool (*less)(const void *a, const void *b), size_t position_offset)
{
    *heap = (struct heap){.less = less, .position_offset = position_offset};
}

void heap_free(struct heap *heap)
{
    memory_free(heap->items);
    heap->items = NULL;
    heap->count = heap->capacity = 0;
}

int heap_reserve(struct heap *heap, size_t more)
{
    if (heap->capacity - heap->count >= more)
        return 0;
    size_t capacity = heap->capacity ? heap->capacity * 2 : 16;
    while (capacity - heap->count < more)
        capacity *= 2;
    void **items = memory_resize(heap->items, capacity * sizeof *items);
    if (!items)
        return MUSTER_ENOMEM;
    heap->items = items;
    heap->capacity = capacity;
    return 0;
}

int heap_insert(struct heap *heap, void *item)
{
    assert(!heap_has(heap, item));
    if (heap_reserve(heap, 1) != 0)
        return MUSTER_ENOMEM;
    heap->count++;
    sift_up(heap, heap->count - 1, item);
    return 0;
}

void heap_remove(struct heap *heap, void *item)
{
    size_t *position = position_of(heap, item);
    if (*position == 0)
        return;
    size_t index = *position - 1;
    assert(index < heap->count && heap->items[index] == item);
    *position = 0;
    void *last = heap->items[--heap->count];
    if (last == item)
        return;
    if (sift_up(heap, index, last) == index)
        sift_down(heap, index, last);
}

void heap_update(struct heap *heap, void *item)
{
    size_t index = *position_of(heap, item) - 1;
    assert(index < heap->count && heap->items[index] == item);
    if (sift_up(heap, index, item) == index)
        sift_down(heap, index, item);
}
