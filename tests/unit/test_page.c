/*
 * The page that a worker shares with its supervisor: what it says after a death, and that nothing written there can
 * hurt the reader.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "muster.h"
#include "workers/page.h"

static struct page *new_page(void)
{
    struct page *page = malloc(sizeof *page);
    assert_non_null(page);
    page_init(page);
    return page;
}

static struct bytes message_of(unsigned char *out, size_t length, uint64_t ticket)
{
    memset(out, (int)(ticket * 31 + length), length);
    return (struct bytes){out, length};
}

/* Walks the records and checks that they are those of tickets first..last. */
static void expect_records(const struct page *page, uint64_t first, uint64_t last, const size_t *lengths, size_t cycle)
{
    static unsigned char expected[PAGE_RECORD_LIMIT];
    struct page_record record;
    uint64_t position = atomic_load(&page->tail);
    for (uint64_t ticket = first; ticket <= last; ticket++) {
        assert_true(page_next(page, &position, &record));
        assert_int_equal(record.ticket, ticket);
        assert_int_equal(record.client, ticket * 3);
        assert_int_equal(record.number, ticket * 5);
        assert_true(bytes_equal(record.message, message_of(expected, lengths[ticket % cycle], ticket)));
    }
    assert_false(page_next(page, &position, &record));
}

static void a_fresh_page_is_idle_and_empty(void **state)
{
    struct page *page = new_page();
    struct page_record record;
    uint64_t position = 0;
    (void)state;
    assert_int_equal(page->started, 0);
    assert_int_equal(page->finished, 0);
    assert_true(page_sound(page));
    assert_true(page_has_room(page));
    assert_false(page_next(page, &position, &record));
    free(page);
}

static void it_says_which_task_was_started_last(void **state)
{
    struct page *page = new_page();
    (void)state;
    page_start(page, 7, 70, 700);
    page_finish(page, 7);
    page_start(page, 8, 80, 800);
    assert_int_equal(page->started, 8);
    assert_int_equal(page->finished, 7);
    assert_int_equal(page->tasks[8 & 1].ticket, 8);
    assert_int_equal(page->tasks[8 & 1].client, 80);
    assert_int_equal(page->tasks[8 & 1].number, 800);
    assert_int_equal(page->tasks[7 & 1].number, 700);
    assert_true(page_sound(page));
    page_restart(page);
    assert_int_equal(page->started, 0);
    assert_true(page_sound(page));
    free(page);
}

static void records_come_back_in_order_and_whole(void **state)
{
    static unsigned char bytes[PAGE_RECORD_LIMIT];
    static const size_t lengths[] = {0, 1, 7, 8, 9, 4000};
    struct page *page = new_page();
    (void)state;
    for (uint64_t ticket = 1; ticket <= 30; ticket++)
        assert_true(page_record(page, ticket, ticket * 3, ticket * 5, message_of(bytes, lengths[ticket % 6], ticket)));
    expect_records(page, 1, 30, lengths, 6);
    page_settle(page, 12);
    expect_records(page, 13, 30, lengths, 6);
    page_settle(page, 5); /* old news */
    expect_records(page, 13, 30, lengths, 6);
    page_settle(page, 1000);
    expect_records(page, 1, 0, lengths, 6);
    assert_int_equal(page->head, page->tail);
    free(page);
}

static void the_ring_goes_round_for_ever(void **state)
{
    static unsigned char bytes[PAGE_RECORD_LIMIT];
    static const size_t lengths[] = {100, PAGE_RECORD_LIMIT, 33, 70000, 5, 200000, 131072};
    struct page *page = new_page();
    uint64_t settled = 0;
    (void)state;
    for (uint64_t ticket = 1; ticket <= 2000; ticket++) {
        while (!page_has_room(page))
            page_settle(page, ++settled);
        assert_true(page_record(page, ticket, ticket * 3, ticket * 5, message_of(bytes, lengths[ticket % 7], ticket)));
        if (ticket % 50 == 0)
            expect_records(page, settled + 1, ticket, lengths, 7);
    }
    assert_true(page->tail > 10 * (uint64_t)PAGE_RING_BYTES);
    free(page);
}

static void a_full_ring_and_a_long_message_are_refused(void **state)
{
    unsigned char *bytes = calloc(1, PAGE_RECORD_LIMIT + 1);
    struct page *page = new_page();
    uint64_t ticket = 0;
    (void)state;
    assert_false(page_record(page, 1, 1, 1, (struct bytes){bytes, PAGE_RECORD_LIMIT + 1}));
    while (page_record(page, ticket + 1, 1, 1, (struct bytes){bytes, 60000}))
        ticket++;
    assert_true(ticket >= 15);
    assert_false(page_has_room(page));
    page_settle(page, ticket - 1);
    assert_true(page_has_room(page));
    free(page);
    free(bytes);
}

static void the_first_reason_to_give_up_counts(void **state)
{
    struct page *page = new_page();
    char lengthy[2000];
    (void)state;
    memset(lengthy, 'x', sizeof lengthy);
    lengthy[sizeof lengthy - 1] = '\0';
    page_break(page, MUSTER_EPLUGIN, lengthy);
    page_break(page, MUSTER_EAUTH, "another");
    assert_int_equal(page->broken, -MUSTER_EPLUGIN);
    assert_int_equal(strlen(page->reason), sizeof page->reason - 1);
    free(page);
}

static void a_page_that_was_written_over_is_not_sound(void **state)
{
    struct page *page = new_page();
    (void)state;
    page->magic = 0;
    assert_false(page_sound(page));
    page_init(page);
    atomic_store(&page->finished, 9);
    assert_false(page_sound(page));
    page_init(page);
    atomic_store(&page->head, PAGE_RING_BYTES + 8);
    assert_false(page_sound(page));
    free(page);
}

/* Random bytes in random places: the walk ends, and never gives bytes outside the ring. */
static void a_walk_over_garbage_stays_inside_the_ring(void **state)
{
    static unsigned char bytes[5000];
    struct page *page = new_page();
    (void)state;
    srand(7);
    for (int round = 0; round < 300; round++) {
        page_init(page);
        for (uint64_t ticket = 1; ticket < 200; ticket++)
            page_record(page, ticket, 1, 1, (struct bytes){bytes, (size_t)rand() % sizeof bytes});
        for (int hit = 0; hit < 200; hit++)
            page->ring[(size_t)rand() % PAGE_RING_BYTES] = (unsigned char)rand();
        if (round % 3 == 0)
            atomic_store(&page->head, (uint64_t)rand() * (uint64_t)rand());
        if (round % 3 == 1)
            atomic_store(&page->tail, (uint64_t)rand());
        struct page_record record;
        uint64_t position = atomic_load(&page->tail);
        for (size_t steps = 0; page_next(page, &position, &record); steps++) {
            const unsigned char *at = record.message.data;
            assert_true(steps <= PAGE_RING_BYTES / 32);
            assert_true(at >= page->ring && at + record.message.length <= page->ring + PAGE_RING_BYTES);
        }
    }
    free(page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fresh_page_is_idle_and_empty),
        cmocka_unit_test(it_says_which_task_was_started_last),
        cmocka_unit_test(records_come_back_in_order_and_whole),
        cmocka_unit_test(the_ring_goes_round_for_ever),
        cmocka_unit_test(a_full_ring_and_a_long_message_are_refused),
        cmocka_unit_test(the_first_reason_to_give_up_counts),
        cmocka_unit_test(a_page_that_was_written_over_is_not_sound),
        cmocka_unit_test(a_walk_over_garbage_stays_inside_the_ring),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
