/*
 * The JSON writer: whatever goes in, a valid document comes out.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <cmocka.h>

#include "core/errors.h"
#include "core/json.h"

static struct buffer out;

static void expect_written(const char *expected)
{
    assert_int_equal(buffer_append(&out, "", 1), 0);
    assert_string_equal((const char *)out.data, expected);
    buffer_free(&out);
}

static void values_are_separated_and_named(void **state)
{
    (void)state;
    struct json json = {.out = &out};
    json_write_open(&json, NULL, '{');
    json_write_uint(&json, "a", UINT64_MAX);
    json_write_open(&json, "list", '[');
    json_write_bool(&json, NULL, true);
    json_write_bool(&json, NULL, false);
    json_write_open(&json, NULL, '{');
    json_write_close(&json, '}');
    json_write_null(&json, NULL);
    json_write_close(&json, ']');
    json_write_real(&json, "half", 0.5);
    json_write_string(&json, "none", NULL);
    json_write_close(&json, '}');
    assert_int_equal(json.status, 0);
    expect_written("{\"a\":18446744073709551615,\"list\":[true,false,{},null],"
                   "\"half\":0.5,\"none\":null}");
}

static void what_is_no_number_is_null(void **state)
{
    (void)state;
    struct json json = {.out = &out};
    json_write_open(&json, NULL, '[');
    json_write_real(&json, NULL, (double)NAN);
    json_write_real(&json, NULL, -(double)INFINITY);
    json_write_close(&json, ']');
    expect_written("[null,null]");
}

static void strings_are_escaped(void **state)
{
    (void)state;
    struct json json = {.out = &out};
    json_write_text(&json, NULL, (struct bytes){"\"\\\b\f\n\r\t\0\x1f\x7f/", 11});
    expect_written("\"\\\"\\\\\\b\\f\\n\\r\\t\\u0000\\u001f\\u007f/\"");
}

static void utf8_stays_and_other_bytes_are_replaced(void **state)
{
    (void)state;
    struct json json = {.out = &out};
    json_write_string(&json, NULL, "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
    expect_written("\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"");
    /* alone, overlong, a surrogate, beyond Unicode, cut short */
    static const char *const bad[] = {"\x80", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82"};
    static const size_t replaced[] = {1, 2, 3, 4, 2};
    for (size_t i = 0; i < 5; i++) {
        char expected[32] = "\"";
        json = (struct json){.out = &out};
        json_write_string(&json, NULL, bad[i]);
        for (size_t n = 0; n < replaced[i]; n++)
            strcat(expected, "\xef\xbf\xbd");
        strcat(expected, "\"");
        expect_written(expected);
    }
}

static bool always(void)
{
    return true;
}

static void memory_that_runs_out_is_told_in_the_end(void **state)
{
    (void)state;
    struct json json = {.out = &out};
    memory_fail_hook = always;
    json_write_open(&json, NULL, '{');
    json_write_uint(&json, "a", 1);
    json_write_close(&json, '}');
    memory_fail_hook = NULL;
    assert_int_equal(json.status, MUSTER_ENOMEM);
    buffer_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_separated_and_named),
        cmocka_unit_test(what_is_no_number_is_null),
        cmocka_unit_test(strings_are_escaped),
        cmocka_unit_test(utf8_stays_and_other_bytes_are_replaced),
        cmocka_unit_test(memory_that_runs_out_is_told_in_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
