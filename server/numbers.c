/*
 * A client's tasks by number. Numbers normally rise by one, so a table with an entry for each would spend most of its
 * memory and time on hashing; here pages of 32 consecutive numbers are hashed, and the page used last is tried first.
 *
 * A client chooses its numbers. If it could also choose where in the table they fall, it could put all of them into one
 * place and make everybody wait while its list is searched: so a secret takes part in the hash.
 */
#include "server/state.h"

#include <assert.h>

/* The finalizer of SplitMix64: every bit of the result depends on every bit of the argument. */
static unsigned page_hash(const struct numbers *numbers, uint64_t index)
{
    uint64_t mixed = index ^ numbers->secret;
    mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (unsigned)(mixed ^ (mixed >> 31));
}

static void page_drop(struct numbers *numbers, struct number_page *page)
{
    HASH_DEL(numbers->pages, page);
    memory_free(page);
}

/* The page used last stays while it is empty: the next task of a client that waits for each is likely to need it. */
static void page_use(struct numbers *numbers, struct number_page *page)
{
    struct number_page *before = numbers->latest;
    numbers->latest = page;
    if (before && before != page && before->count == 0)
        page_drop(numbers, before);
}

static struct number_page *page_find(struct numbers *numbers, uint64_t index)
{
    if (numbers->latest && numbers->latest->index == index)
        return numbers->latest;
    struct number_page *page;
    HASH_FIND_BYHASHVALUE(hh, numbers->pages, &index, sizeof index, page_hash(numbers, index), page);
    if (page)
        page_use(numbers, page);
    return page;
}

struct task *numbers_find(struct numbers *numbers, uint64_t number)
{
    if (number > numbers->highest)
        return NULL;
    struct number_page *page = page_find(numbers, number / PAGE_NUMBERS);
    return page ? page->tasks[number % PAGE_NUMBERS] : NULL;
}

int numbers_add(struct numbers *numbers, struct task *task)
{
    uint64_t index = task->number / PAGE_NUMBERS;
    struct number_page *page = page_find(numbers, index);
    if (!page) {
        page = memory_zero(sizeof *page);
        if (!page)
            return MUSTER_ENOMEM;
        page->index = index;
        hash_oom = false;
        HASH_ADD_KEYPTR_BYHASHVALUE(hh, numbers->pages, &page->index, sizeof page->index, page_hash(numbers, index),
                                    page);
        if (hash_oom) {
            memory_free(page);
            return MUSTER_ENOMEM;
        }
        page_use(numbers, page);
    }
    struct task **slot = &page->tasks[task->number % PAGE_NUMBERS];
    assert(!*slot);
    *slot = task;
    page->count++;
    numbers->count++;
    if (task->number > numbers->highest)
        numbers->highest = task->number;
    task->page = page;
    return 0;
}

void numbers_remove(struct numbers *numbers, struct task *task)
{
    struct number_page *page = task->page;
    assert(page->tasks[task->number % PAGE_NUMBERS] == task);
    page->tasks[task->number % PAGE_NUMBERS] = NULL;
    task->page = NULL;
    numbers->count--;
    if (--page->count == 0 && numbers->latest != page)
        page_drop(numbers, page);
}

void numbers_free(struct numbers *numbers)
{
    assert(numbers->count == 0);
    if (numbers->latest)
        page_drop(numbers, numbers->latest);
    numbers->latest = NULL;
    assert(!numbers->pages);
}

void numbers_replace(struct task *old, struct task *task)
{
    assert(old->number == task->number && !task->page);
    task->page = old->page;
    task->page->tasks[task->number % PAGE_NUMBERS] = task;
    old->page = NULL;
}
