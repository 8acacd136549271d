/*
 * What `muster map` sends to muster.exec and what it makes of the answer.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "cli/exec.h"
#include "cli/json.h"

static void a_command_is_encoded_with_what_was_asked_for(void **state)
{
    struct buffer encoded = {0}, json = {0};
    struct words argv = {.ends = (size_t[]){2, 2, 5}, .count = 3};
    char *environment[] = {"A=1=2", NULL};
    (void)state;
    assert_int_equal(buffer_append(&argv.text,
                                   "lsa\xff"
                                   "b",
                                   5),
                     0);
    exec_encode(&encoded, &argv, &(struct exec_setting){.cwd = bytes_string("/x"), .environment = environment}, 2);
    assert_int_equal(buffer_append(&encoded, "in", 2), 0);
    assert_true(json_from_msgpack(&json, bytes_of(&encoded)));
    assert_int_equal(buffer_append(&json, "", 1), 0);
    assert_string_equal((char *)json.data,
                        "{\"argv\": [{\"$bytes\": \"bHM=\"}, {\"$bytes\": \"\"}, {\"$bytes\": \"Yf9i\"}], "
                        "\"env\": {\"A\": \"1=2\"}, \"cwd\": \"/x\", \"stdin\": {\"$bytes\": \"aW4=\"}}");
    json.length = 0;
    exec_describe(&json, bytes_of(&encoded), false);
    assert_int_equal(json.length, 11);
    assert_memory_equal(json.data,
                        "ls '' 'a\xff"
                        "b'",
                        11);
    buffer_free(&encoded);
    buffer_free(&json);
    buffer_free(&argv.text);
}

static void a_result_is_decoded_and_nonsense_refused(void **state)
{
    static const char good[] =
        "\x86\xa6status\x03\xa6signal\xc0\xa6stdout\xc4\x02hi\xa6stderr\xc4\x00\xa9truncated\xc3\xa6"
        "run_us\xce\x00\x0f\x42\x40";
    struct exec_result result;
    (void)state;
    assert_true(exec_decode((struct bytes){good, sizeof good - 1}, &result));
    assert_int_equal(result.status, 3);
    assert_int_equal(result.signal, 0);
    assert_true(bytes_equal(result.out, bytes_string("hi")));
    assert_true(result.truncated);
    assert_true(fabs(result.run_seconds - 1) < 1e-9);
    for (size_t length = 0; length < sizeof good - 1; length++)
        assert_false(exec_decode((struct bytes){good, length}, &result));
    assert_false(exec_decode(bytes_string("\x80"), &result));
    assert_false(exec_decode(bytes_string("\xa1x"), &result));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_command_is_encoded_with_what_was_asked_for),
        cmocka_unit_test(a_result_is_decoded_and_nonsense_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
