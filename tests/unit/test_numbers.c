/*
 * A client's tasks by number: whatever numbers it chooses.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "server/state.h"

#define TASKS 4096u

static struct numbers numbers;
static struct task *tasks[TASKS];

static void add(uint64_t number)
{
    for (size_t i = 0; i < TASKS; i++) {
        if (tasks[i])
            continue;
        tasks[i] = calloc(1, sizeof *tasks[i]);
        tasks[i]->number = number;
        assert_int_equal(numbers_add(&numbers, tasks[i]), 0);
        return;
    }
    fail();
}

static int begin(void **state)
{
    (void)state;
    numbers = (struct numbers){.secret = 12345};
    return 0;
}

static int end(void **state)
{
    (void)state;
    for (size_t i = 0; i < TASKS; i++) {
        if (tasks[i])
            numbers_remove(&numbers, tasks[i]);
        free(tasks[i]);
        tasks[i] = NULL;
    }
    numbers_free(&numbers);
    return 0;
}

static void a_task_is_found_by_its_number(void **state)
{
    (void)state;
    for (uint64_t i = 1; i <= 100; i++)
        add(7 * i);
    for (uint64_t i = 1; i <= 100; i++)
        assert_ptr_equal(numbers_find(&numbers, 7 * i), tasks[i - 1]);
    assert_null(numbers_find(&numbers, 8));
    assert_null(numbers_find(&numbers, UINT64_MAX));
}

static void chosen_numbers_do_not_fall_into_one_place(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < TASKS; i++)
        add(i << 40);
    const UT_hash_table *table = numbers.pages->hh.tbl;
    unsigned longest = 0;
    for (unsigned i = 0; i < table->num_buckets; i++)
        if (table->buckets[i].count > longest)
            longest = table->buckets[i].count;
    assert_in_range(longest, 1, 64);
}

int main(void)
{
    const struct CMUnitTest tests_all[] = {
        cmocka_unit_test_setup_teardown(a_task_is_found_by_its_number, begin, end),
        cmocka_unit_test_setup_teardown(chosen_numbers_do_not_fall_into_one_place, begin, end),
    };
    return cmocka_run_group_tests(tests_all, NULL, NULL);
}
