/*
 * Buffers, views, and the hash table's way of reporting that memory ran out.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "core/hash.h"
#include "muster.h"
#include "tests/unit/memory_failures.h"

static void an_appended_byte_is_there(void **state)
{
    (void)state;
    struct buffer buffer = {0};
    for (unsigned i = 0; i < 100000; i++) {
        unsigned char byte = (unsigned char)(i * 7);
        assert_int_equal(buffer_append(&buffer, &byte, 1), 0);
    }
    assert_int_equal(buffer.length, 100000);
    for (unsigned i = 0; i < 100000; i++)
        assert_int_equal(buffer.data[i], (unsigned char)(i * 7));
    buffer_free(&buffer);
    assert_null(buffer.data);
    assert_int_equal(buffer.length + buffer.capacity, 0);
}

static void reserved_room_is_not_allocated_again(void **state)
{
    (void)state;
    struct buffer buffer = {0};
    assert_int_equal(buffer_reserve(&buffer, 5000), 0);
    unsigned char *data = buffer.data;
    for (unsigned i = 0; i < 5000; i++)
        assert_int_equal(buffer_append(&buffer, "x", 1), 0);
    assert_ptr_equal(buffer.data, data);
    buffer_free(&buffer);
}

static void an_impossible_length_is_refused(void **state)
{
    (void)state;
    struct buffer buffer = {0};
    assert_int_equal(buffer_append(&buffer, "abc", 3), 0);
    assert_int_equal(buffer_reserve(&buffer, SIZE_MAX), MUSTER_ENOMEM);
    assert_int_equal(buffer_reserve(&buffer, SIZE_MAX / 2), MUSTER_ENOMEM);
    assert_int_equal(buffer.length, 3);
    assert_memory_equal(buffer.data, "abc", 3);
    buffer_free(&buffer);
}

static void printed_text_ends_in_an_uncounted_zero(void **state)
{
    (void)state;
    struct buffer buffer = {0};
    assert_int_equal(buffer_printf(&buffer, "%d,", 12), 0);
    assert_int_equal(buffer_printf(&buffer, "%s", "three"), 0);
    assert_int_equal(buffer.length, 8);
    assert_string_equal((char *)buffer.data, "12,three");
    buffer_free(&buffer);
}

static void a_failed_allocation_leaves_a_buffer_as_it_was(void **state)
{
    (void)state;
    struct buffer buffer = {0};
    assert_int_equal(buffer_append(&buffer, "abc", 3), 0);
    char large[1000] = {0};
    memory_failure_at(1);
    assert_int_equal(buffer_append(&buffer, large, sizeof large), MUSTER_ENOMEM);
    memory_failure_at(1);
    assert_int_equal(buffer_printf(&buffer, "%0999d", 1), MUSTER_ENOMEM);
    memory_failure_at(1);
    assert_null(bytes_dup_string(bytes_string("x")));
    memory_failure_off();
    assert_int_equal(buffer.length, 3);
    assert_memory_equal(buffer.data, "abc", 3);
    buffer_free(&buffer);
}

static void views_compare_by_content(void **state)
{
    (void)state;
    assert_true(bytes_equal(bytes_string("ab"), bytes_string("ab")));
    assert_false(bytes_equal(bytes_string("ab"), bytes_string("ac")));
    assert_false(bytes_equal(bytes_string("ab"), bytes_string("abc")));
    assert_true(bytes_equal((struct bytes){NULL, 0}, bytes_string("")));
    assert_true(bytes_equal(bytes_string(NULL), bytes_string("")));
    char *copy = bytes_dup_string((struct bytes){"abcdef", 3});
    assert_string_equal(copy, "abc");
    memory_free(copy);
}

struct element {
    uint64_t key;
    UT_hash_handle hh;
};

static void a_hash_table_finds_its_elements_and_reports_that_memory_ran_out(void **state)
{
    (void)state;
    enum { COUNT = 2000 };
    struct element *table = NULL, *found, *next;
    unsigned added = 0;
    for (uint64_t i = 0; i < COUNT; i++) {
        struct element *element = memory_zero(sizeof *element);
        element->key = i * 3 + (i % 2 ? UINT64_C(1) << 40 : 0);
        if (i % 3 == 0)
            memory_failure_at(1);
        bool good = HASH_ADD_U64(table, key, element);
        memory_failure_off();
        HASH_FIND_U64(table, i * 3 + (i % 2 ? UINT64_C(1) << 40 : 0), found);
        assert_ptr_equal(found, good ? element : NULL);
        added += good;
        if (!good)
            memory_free(element);
    }
    assert_int_equal(HASH_COUNT(table), added);
    assert_in_range(added, COUNT / 2, COUNT - 1);
    HASH_FIND_U64(table, 1, found);
    assert_null(found);
    HASH_ITER (hh, table, found, next) {
        HASH_DEL(table, found);
        memory_free(found);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_appended_byte_is_there),
        cmocka_unit_test(reserved_room_is_not_allocated_again),
        cmocka_unit_test(an_impossible_length_is_refused),
        cmocka_unit_test(printed_text_ends_in_an_uncounted_zero),
        cmocka_unit_test(a_failed_allocation_leaves_a_buffer_as_it_was),
        cmocka_unit_test(views_compare_by_content),
        cmocka_unit_test(a_hash_table_finds_its_elements_and_reports_that_memory_ran_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
