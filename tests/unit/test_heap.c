/*
 * The heap against a sorted array: whatever is put in, moved and taken out, the least comes first and every item knows
 * its place.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/buffer.h"
#include "core/heap.h"
#include "muster.h"

#define ITEMS 200

struct item {
    int key;
    size_t position;
};

static bool item_less(const void *a, const void *b)
{
    return ((const struct item *)a)->key < ((const struct item *)b)->key;
}

static void check(const struct heap *heap)
{
    for (size_t i = 0; i < heap->count; i++) {
        assert_int_equal(((struct item *)heap->items[i])->position, i + 1);
        if (i > 0)
            assert_false(item_less(heap->items[i], heap->items[(i - 1) / 2]));
    }
}

static void items_come_out_in_order(void **state)
{
    (void)state;
    struct heap heap;
    static struct item items[ITEMS];
    heap_init(&heap, item_less, offsetof(struct item, position));
    assert_null(heap_first(&heap));
    srand(1);
    for (size_t i = 0; i < ITEMS; i++) {
        items[i] = (struct item){rand() % 50, 0};
        assert_int_equal(heap_insert(&heap, &items[i]), 0);
        check(&heap);
    }
    int last = -1;
    for (struct item *first; (first = heap_first(&heap));) {
        assert_true(first->key >= last);
        last = first->key;
        heap_remove(&heap, first);
        assert_false(heap_has(&heap, first));
        check(&heap);
    }
    heap_free(&heap);
}

static void items_move_and_leave_from_anywhere(void **state)
{
    (void)state;
    struct heap heap;
    static struct item items[ITEMS];
    heap_init(&heap, item_less, offsetof(struct item, position));
    srand(2);
    for (size_t i = 0; i < ITEMS; i++)
        items[i] = (struct item){0, 0};
    for (int step = 0; step < 20000; step++) {
        struct item *item = &items[rand() % ITEMS];
        int key = rand() % 1000;
        if (!heap_has(&heap, item)) {
            item->key = key;
            assert_int_equal(heap_insert(&heap, item), 0);
        } else if (rand() % 2) {
            item->key = key;
            heap_update(&heap, item);
        } else {
            heap_remove(&heap, item);
            heap_remove(&heap, item); /* what is not in it stays out */
        }
        if (step % 50 == 0)
            check(&heap);
    }
    check(&heap);
    heap_free(&heap);
}

static bool fail_always(void)
{
    return true;
}

static void room_that_was_reserved_is_there_when_memory_is_not(void **state)
{
    (void)state;
    struct heap heap;
    static struct item items[100];
    heap_init(&heap, item_less, offsetof(struct item, position));
    assert_int_equal(heap_reserve(&heap, 100), 0);
    memory_fail_hook = fail_always;
    for (int i = 0; i < 100; i++)
        assert_int_equal(heap_insert(&heap, &items[i]), 0);
    struct item more = {0};
    int status = 0;
    while (status == 0 && heap.count < heap.capacity)
        heap.count++; /* as if it were full */
    status = heap_insert(&heap, &more);
    memory_fail_hook = NULL;
    assert_int_equal(status, MUSTER_ENOMEM);
    assert_false(heap_has(&heap, &more));
    heap_free(&heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_come_out_in_order),
        cmocka_unit_test(items_move_and_leave_from_anywhere),
        cmocka_unit_test(room_that_was_reserved_is_there_when_memory_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
