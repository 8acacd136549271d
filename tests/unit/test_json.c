/*
 * JSON to msgpack and back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "cli/json.h"

/* JSON through msgpack and back. */
static const char *there_and_back(const char *json)
{
    static struct buffer text;
    struct buffer packed = {0};
    char complaint[200];
    text.length = 0;
    if (json_to_msgpack(&packed, json, complaint, sizeof complaint) != 0) {
        buffer_free(&packed);
        return "refused";
    }
    assert_true(json_from_msgpack(&text, bytes_of(&packed)));
    assert_int_equal(buffer_append(&text, "", 1), 0);
    buffer_free(&packed);
    return (const char *)text.data;
}

static void json_comes_back_as_it_went(void **state)
{
    static const char *const texts[] = {"null",
                                        "true",
                                        "false",
                                        "0",
                                        "-1",
                                        "127",
                                        "128",
                                        "-33",
                                        "9223372036854775807",
                                        "-9223372036854775808",
                                        "1.5",
                                        "-0.1",
                                        "1e+300",
                                        "2.0",
                                        "\"\"",
                                        "\"text\"",
                                        "\"quote \\\" \\\\ \\n\"",
                                        "\"\xc3\xa9\"",
                                        "[]",
                                        "[1, [2, []], {\"a\": null}]",
                                        "{}",
                                        "{\"$bytes\": \"aGk=\"}",
                                        "{\"$bytes\": \"\"}",
                                        "{\"$bytes\": \"AP8Q\"}",
                                        "{\"key\": [1.25, \"x\"], \"other\": {\"$bytes\": \"/w==\"}}"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        assert_string_equal(there_and_back(texts[i]), texts[i]);
}

static void what_is_not_json_is_refused(void **state)
{
    static const char *const texts[] = {"",
                                        "text",
                                        "[1",
                                        "{\"a\" 1}",
                                        "1 2",
                                        "{\"a\":1,\"a\":2}",
                                        "99999999999999999999",
                                        "\"\xff\"",
                                        "{\"$bytes\": \"!\"}",
                                        "{\"$bytes\": \"A\"}"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        assert_string_equal(there_and_back(texts[i]), "refused");
}

static void every_msgpack_value_has_a_json_form(void **state)
{
    static const struct {
        const char *packed;
        size_t length;
        const char *json;
    } cases[] = {
        {"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", 9, "18446744073709551615"},
        {"\xa2\xff\xfe", 3, "{\"$bytes\": \"//4=\"}"},
        {"\x81\x01\xa1x", 4, "{\"1\": \"x\"}"},
        {"\x81\x92\x01\x02\xc0", 5, "{\"[1, 2]\": null}"},
        {"\xd4\x05\xff", 3, "{\"$ext\": [5, \"/w==\"]}"},
        {"\xc7\x02\xffhi", 5, "{\"$ext\": [-1, \"aGk=\"]}"},
        {"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00", 9, "null"},
        {"\xca\x3f\x00\x00\x00", 5, "0.5"},
        {"\xde\x00\x01\xa1k\xde\x00\x00", 8, "{\"k\": {}}"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buffer text = {0};
        assert_true(json_from_msgpack(&text, (struct bytes){cases[i].packed, cases[i].length}));
        assert_int_equal(text.length, strlen(cases[i].json));
        assert_memory_equal(text.data, cases[i].json, text.length);
        buffer_free(&text);
    }
}

static void bytes_that_are_not_one_value_are_refused(void **state)
{
    struct buffer text = {0};
    (void)state;
    assert_false(json_from_msgpack(&text, (struct bytes){"\x92\x01", 2}));
    assert_false(json_from_msgpack(&text, (struct bytes){"\x01\x01", 2}));
    assert_false(json_from_msgpack(&text, (struct bytes){"", 0}));
    assert_false(json_from_msgpack(&text, (struct bytes){"\xdf\xff\xff\xff\xff", 5}));
    buffer_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_comes_back_as_it_went),
        cmocka_unit_test(what_is_not_json_is_refused),
        cmocka_unit_test(every_msgpack_value_has_a_json_form),
        cmocka_unit_test(bytes_that_are_not_one_value_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
