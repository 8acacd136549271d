/*
 * The worker's half of muster.h, without a worker: arguments, values, errors, chunks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "tests/unit/task_fixture.h"

static int add(muster_task *task)
{
    int64_t a, b;
    int status = muster_arg_int(task, 0, &a);
    if (status == 0)
        status = muster_arg_int(task, 1, &b);
    return status ? status : muster_return_int(task, a + b);
}

static int identity(muster_task *task)
{
    muster_value value;
    int status = muster_arg(task, 0, &value);
    return status ? status : muster_return(task, value);
}

static int nothing(muster_task *task)
{
    (void)task;
    return 0;
}

static void a_value_comes_out_encoded(void **state)
{
    struct outcome *outcome = fixture_run(*state, add, MUSTER_ARGS(muster_int(40), muster_int(2)));
    assert_int_equal(outcome->status, 0);
    assert_int_equal(outcome->encoding, MUSTER_MSGPACK);
    assert_true(bytes_equal(outcome->value, (struct bytes){"\x2a", 1}));
}

static void a_task_that_returns_nothing_gives_nil(void **state)
{
    struct outcome *outcome = fixture_run(*state, nothing, MUSTER_NO_ARGS);
    assert_int_equal(outcome->status, 0);
    assert_true(bytes_equal(outcome->value, (struct bytes){"\xc0", 1}));
}

static int fail_with_value(muster_task *task)
{
    static char value[300000];
    int64_t length;
    int status = muster_arg_int(task, 0, &length);
    return status ? status
                  : muster_fail_value(task, "ValueError", MUSTER_PICKLE, value, (size_t)length, "no such thing",
                                      "line 1\nline 2");
}

static void an_error_carries_a_value_and_a_traceback(void **state)
{
    struct outcome *outcome = fixture_run(*state, fail_with_value, MUSTER_ARGS(muster_int(3)));
    assert_int_equal(outcome->status, MUSTER_ETASK);
    assert_true(bytes_equal(outcome->kind, bytes_string("ValueError")));
    assert_true(bytes_equal(outcome->message, bytes_string("no such thing")));
    assert_true(bytes_equal(outcome->traceback, bytes_string("line 1\nline 2")));
    assert_int_equal(outcome->encoding, MUSTER_PICKLE);
    assert_true(bytes_equal(outcome->value, (struct bytes){"\0\0\0", 3}));
    outcome = fixture_run(*state, nothing, MUSTER_NO_ARGS);
    assert_int_equal(outcome->status, 0);
    assert_true(bytes_equal(outcome->value, (struct bytes){"\xc0", 1}));
}

static void a_value_that_is_too_long_is_left_out_of_the_error(void **state)
{
    struct outcome *outcome = fixture_run(*state, fail_with_value, MUSTER_ARGS(muster_int(250000)));
    assert_int_equal(outcome->value.length, 250000);
    outcome = fixture_run(*state, fail_with_value, MUSTER_ARGS(muster_int(250001)));
    assert_int_equal(outcome->status, MUSTER_ETASK);
    assert_int_equal(outcome->value.length, 0);
    assert_true(says(outcome, "no such thing (the value of 250001 bytes"));
    assert_true(bytes_equal(outcome->traceback, bytes_string("line 1\nline 2")));
}

static int fail_at_length(muster_task *task)
{
    static char text[200001];
    int64_t length;
    int status = muster_arg_int(task, 0, &length);
    for (int64_t i = 0; i + 1 < length; i += 2)
        memcpy(text + i, "\xc3\xa4", 3);
    return status ? status : muster_fail_value(task, NULL, MUSTER_RAW, NULL, 0, text, text);
}

static void long_sentences_of_a_runtime_are_cut_between_characters(void **state)
{
    struct outcome *outcome = fixture_run(*state, fail_at_length, MUSTER_ARGS(muster_int(200000)));
    assert_true(outcome->message.length <= 64 * 1024 && outcome->message.length > 60000);
    assert_int_equal(outcome->message.length % 2, 0);
    assert_int_equal(outcome->traceback.length, 128 * 1024);
    outcome = fixture_run(*state, fail_at_length, MUSTER_ARGS(muster_int(10)));
    assert_int_equal(outcome->message.length, 10);
}

static int see_body(muster_task *task)
{
    const void *body;
    size_t size;
    muster_task_body(task, &body, &size);
    assert_int_equal(muster_task_definition(task), body ? 12 : 0);
    return muster_return_bytes(task, body, size);
}

static void a_task_sees_the_body_of_its_definition(void **state)
{
    struct fixture *fixture = *state;
    struct outcome *outcome = fixture_run(fixture, see_body, MUSTER_NO_ARGS);
    assert_true(bytes_equal(outcome->value, (struct bytes){"\xc4\0", 2}));
    struct introduced *introduced = calloc(1, sizeof *introduced + 4);
    introduced->key = 12;
    introduced->length = 4;
    memcpy(introduced->body, "body", 4);
    fixture_hold(fixture, 0, MUSTER_MSGPACK, "\x90", 1)->introduced = introduced;
    task_run(&fixture->task, fixture->held, "function", see_body, outcome);
    assert_true(bytes_equal(outcome->value, (struct bytes){"\xc4\4body", 6}));
    free(introduced);
}

static int backwards(muster_task *task)
{
    const char *text;
    const void *data;
    size_t text_size, data_size;
    double real, whole;
    muster_value list;
    assert_int_equal(muster_arg_count(task), 5);
    assert_int_equal(muster_arg(task, 4, &list), 0);
    assert_int_equal(list.type, MUSTER_TYPE_MSGPACK);
    assert_int_equal(muster_arg_double(task, 3, &whole), 0);
    assert_int_equal(muster_arg_bytes(task, 2, &data, &data_size), 0);
    assert_int_equal(muster_arg_string(task, 1, &text, &text_size), 0);
    assert_int_equal(muster_arg_double(task, 0, &real), 0);
    assert_true(real == 1.5 && whole == 7);
    assert_memory_equal(text, "text", text_size);
    assert_memory_equal(data, "\0\1", data_size);
    assert_int_equal(muster_arg_string(task, 1, &text, &text_size), 0); /* and again */
    return 0;
}

static void arguments_can_be_read_in_any_order(void **state)
{
    struct outcome *outcome =
        fixture_run(*state, backwards,
                    MUSTER_ARGS(muster_double(1.5), muster_string("text"), muster_bytes("\0\1", 2), muster_int(7),
                                muster_msgpack("\x92\x01\x02", 3)));
    assert_int_equal(outcome->status, 0);
}

static void a_missing_or_wrong_argument_is_said_with_its_number(void **state)
{
    struct outcome *outcome = fixture_run(*state, add, MUSTER_ARGS(muster_int(1)));
    assert_int_equal(outcome->status, MUSTER_EINVAL);
    assert_true(says(outcome, "argument 1 is missing; there are 1"));
    outcome = fixture_run(*state, add, MUSTER_ARGS(muster_int(1), muster_string("x")));
    assert_int_equal(outcome->status, MUSTER_ETYPE);
    assert_true(says(outcome, "argument 1 is a string"));
}

static void arguments_that_are_not_msgpack_are_refused(void **state)
{
    struct outcome *outcome = fixture_run_payload(*state, add, 0, MUSTER_MSGPACK, "\xc1", 1);
    assert_int_equal(outcome->status, MUSTER_EENCODING);
    assert_true(says(outcome, "not a msgpack array"));
    outcome = fixture_run_payload(*state, add, 0, MUSTER_MSGPACK, "\x92\x01\xcd", 3);
    assert_int_equal(outcome->status, MUSTER_EENCODING);
    assert_true(says(outcome, "argument 1"));
    outcome = fixture_run_payload(*state, add, 0, MUSTER_MSGPACK, "", 0);
    assert_int_equal(outcome->status, MUSTER_EENCODING);
}

static void opaque_payloads_go_through_untouched(void **state)
{
    struct outcome *outcome = fixture_run(*state, identity, MUSTER_ARGS(muster_opaque(MUSTER_PICKLE, "\x80\x04.", 3)));
    assert_int_equal(outcome->status, 0);
    assert_int_equal(outcome->encoding, MUSTER_PICKLE);
    assert_true(bytes_equal(outcome->value, (struct bytes){"\x80\x04.", 3}));
    outcome = fixture_run(*state, add, MUSTER_ARGS(muster_opaque(MUSTER_RAW, "", 0)));
    assert_int_equal(outcome->status, MUSTER_ETYPE);
}

static int fail_with_kind(muster_task *task)
{
    return muster_fail(task, "ValueError", "%d is %s", 7, "odd");
}

static int fail_silently(muster_task *task)
{
    (void)task;
    return MUSTER_ETASK;
}

static int claim_to_be_lost(muster_task *task)
{
    (void)task;
    return MUSTER_ELOST;
}

static int return_nonsense(muster_task *task)
{
    (void)task;
    return 12;
}

static int fail_after_value(muster_task *task)
{
    muster_return_string(task, "half done");
    return muster_fail(task, "Late", "no");
}

static void errors_carry_kind_and_message(void **state)
{
    struct outcome *outcome = fixture_run(*state, fail_with_kind, MUSTER_NO_ARGS);
    assert_int_equal(outcome->status, MUSTER_ETASK);
    assert_true(bytes_equal(outcome->kind, bytes_string("ValueError")));
    assert_true(bytes_equal(outcome->message, bytes_string("7 is odd")));
    outcome = fixture_run(*state, fail_silently, MUSTER_NO_ARGS);
    assert_int_equal(outcome->status, MUSTER_ETASK);
    assert_true(says(outcome, "gave no message"));
    assert_int_equal(outcome->kind.length, 0); /* not the one of the task before */
    outcome = fixture_run(*state, fail_after_value, MUSTER_NO_ARGS);
    assert_int_equal(outcome->status, MUSTER_ETASK);
}

static void a_task_cannot_pretend_to_be_the_pool(void **state)
{
    assert_int_equal(fixture_run(*state, claim_to_be_lost, MUSTER_NO_ARGS)->status, MUSTER_ETASK);
    assert_int_equal(fixture_run(*state, return_nonsense, MUSTER_NO_ARGS)->status, MUSTER_ETASK);
}

static int return_twice(muster_task *task)
{
    muster_return_string(task, "a long first value");
    return muster_return_int(task, 2);
}

static void the_last_value_counts(void **state)
{
    assert_true(bytes_equal(fixture_run(*state, return_twice, MUSTER_NO_ARGS)->value, (struct bytes){"\x02", 1}));
}

static int return_much(muster_task *task)
{
    static char much[2000000];
    int status = muster_return_bytes(task, much, sizeof much);
    assert_int_equal(status, MUSTER_ELIMIT);
    return status;
}

static int return_bad_msgpack(muster_task *task)
{
    return muster_return_msgpack(task, "\x92\x01", 2);
}

static void values_that_cannot_be_are_refused(void **state)
{
    struct outcome *outcome = fixture_run(*state, return_much, MUSTER_NO_ARGS);
    assert_int_equal(outcome->status, MUSTER_ELIMIT);
    assert_true(says(outcome, "1000000"));
    outcome = fixture_run(*state, return_bad_msgpack, MUSTER_NO_ARGS);
    assert_int_equal(outcome->status, MUSTER_EENCODING);
}

static int even(muster_task *task)
{
    int64_t number;
    int status = muster_arg_int(task, 0, &number);
    if (status == 0 && number % 2 != 0)
        return muster_fail(task, "OddError", "%d is odd, item %zu", (int)number, muster_task_item(task));
    return status ? status : muster_return_int(task, number);
}

static void a_failed_item_does_not_stop_the_others(void **state)
{
    struct fixture *fixture = *state;
    struct outcome *outcome = fixture_run_payload(fixture, even, 3, MUSTER_MSGPACK, "\x93\x91\x04\x91\x07\x91\x06", 7);
    assert_int_equal(outcome->status, 0);
    static const char expected[] = "\x93\x92\x00\x04\x94\x07\xa8"
                                   "OddError"
                                   "\xb0"
                                   "7 is odd, item 1"
                                   "\xa0\x92\x00\x06";
    assert_true(bytes_equal(outcome->value, (struct bytes){expected, sizeof expected - 1}));
    assert_int_equal(fixture->page->tasks[1].item, 2);
}

static void a_failed_item_has_a_value_too(void **state)
{
    struct outcome *outcome =
        fixture_run_payload(*state, fail_with_value, 2, MUSTER_MSGPACK, "\x92\x91\x01\x91\x00", 5);
    static const char expected[] = "\x92\x96\x07\xaaValueError\xadno such thing\xadline 1\nline 2\x02\xc4\x01\x00"
                                   "\x94\x07\xaaValueError\xadno such thing\xadline 1\nline 2";
    assert_int_equal(outcome->status, 0);
    assert_true(bytes_equal(outcome->value, (struct bytes){expected, sizeof expected - 1}));
}

static void chunks_of_nonsense_are_refused(void **state)
{
    assert_int_equal(fixture_run_payload(*state, even, 3, MUSTER_MSGPACK, "\x92\x91\x04\x91\x06", 5)->status,
                     MUSTER_EENCODING);
    assert_int_equal(fixture_run_payload(*state, even, 3, MUSTER_MSGPACK, "\x93\x91\x04\x91\x06", 5)->status,
                     MUSTER_EENCODING);
    assert_int_equal(fixture_run_payload(*state, even, 1, MUSTER_PICKLE, "\x91\x91\x04", 3)->status, MUSTER_EENCODING);
    struct outcome *outcome = fixture_run_payload(*state, even, 1, MUSTER_MSGPACK, "\x91\x04", 2);
    assert_int_equal(outcome->status, 0); /* that item has no argument list, which is its own failure */
    assert_memory_equal(outcome->value.data, "\x91\x94\x13", 3);
}

static void items_without_value_or_with_opaque_values_fit_in_a_chunk(void **state)
{
    struct outcome *outcome = fixture_run_payload(*state, nothing, 2, MUSTER_MSGPACK, "\x92\x90\x90", 3);
    assert_true(bytes_equal(outcome->value, (struct bytes){"\x92\x92\x00\xc0\x92\x00\xc0", 7}));
}

static int return_opaque(muster_task *task)
{
    return muster_return(task, muster_opaque(MUSTER_PICKLE, "pp", 2));
}

static void an_opaque_item_names_its_encoding(void **state)
{
    struct outcome *outcome = fixture_run_payload(*state, return_opaque, 1, MUSTER_MSGPACK, "\x91\x90", 2);
    assert_true(bytes_equal(outcome->value, (struct bytes){"\x91\x93\x00\xc4\x02pp\x02", 8}));
}

static int stop_after_first(muster_task *task)
{
    struct fixture *fixture = (struct fixture *)((char *)task - offsetof(struct fixture, task));
    atomic_store(&fixture->stop, true);
    assert_true(muster_cancelled(task));
    return 0;
}

static void a_chunk_that_is_to_stop_does_not_go_on(void **state)
{
    struct outcome *outcome = fixture_run_payload(*state, stop_after_first, 3, MUSTER_MSGPACK, "\x93\x90\x90\x90", 4);
    assert_int_equal(outcome->status, MUSTER_ECANCELED);
    assert_int_equal(outcome->item, 1);
}

static void large_values_go_into_a_segment_of_the_caller(void **state)
{
    struct fixture *fixture = *state;
    size_t size = SEGMENT_THRESHOLD + 100;
    unsigned char *payload = malloc(size + 16);
    char *data = calloc(1, size);
    memset(data, 'd', size);
    size_t length = (size_t)(pack_data(pack_array(payload, 1), (struct bytes){data, size}) - payload);
    fixture_hold(fixture, 0, MUSTER_MSGPACK, payload, length);
    fixture->held->owner = (uint64_t)getpid();
    task_run(&fixture->task, fixture->held, "identity", identity, &fixture->outcome);
    assert_int_equal(fixture->outcome.status, 0);
    assert_int_equal(fixture->outcome.encoding, MUSTER_MSGPACK | ENCODING_SEGMENT);
    struct segment segment;
    assert_int_equal(segment_open(&segment, fixture->outcome.value), 0);
    assert_int_equal(segment.length, size + 5);
    assert_int_equal(((unsigned char *)segment.data)[5], 'd');
    segment_unmap(&segment);
    segment_unlink(fixture->outcome.value);
    free(data);
    free(payload);
}

static void arguments_in_a_segment_are_read_there(void **state)
{
    struct segment segment;
    assert_int_equal(segment_store(&segment, (uint64_t)getpid(), (struct bytes){"\x92\x01\x02", 3}), 0);
    struct outcome *outcome =
        fixture_run_payload(*state, add, 0, MUSTER_MSGPACK | ENCODING_SEGMENT, segment.name, strlen(segment.name));
    assert_int_equal(outcome->status, 0);
    assert_true(bytes_equal(outcome->value, (struct bytes){"\x03", 1}));
    segment_unlink(bytes_string(segment.name));
    outcome =
        fixture_run_payload(*state, add, 0, MUSTER_MSGPACK | ENCODING_SEGMENT, segment.name, strlen(segment.name));
    assert_int_equal(outcome->status, MUSTER_ESYSTEM);
    outcome = fixture_run_payload(*state, add, 0, MUSTER_MSGPACK | ENCODING_SEGMENT, "/etc/passwd", 11);
    assert_int_equal(outcome->status, MUSTER_EPROTOCOL);
}

static void the_initializer_runs_without_a_task(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(task_run_alone(&fixture->task, "init", add, MUSTER_MSGPACK, (struct bytes){"\x92\x01\x02", 3}), 0);
    assert_int_equal(task_run_alone(&fixture->task, "init", fail_with_kind, MUSTER_MSGPACK, (struct bytes){"\x90", 1}),
                     MUSTER_ETASK);
    assert_string_equal(muster_last_error(), "ValueError: 7 is odd");
}

static int failures;

static bool fail_after(void)
{
    return failures-- <= 0;
}

/* With the n-th allocation failing, for every n: an outcome, and no crash. */
static void memory_that_runs_out_is_an_error(void **state)
{
    (void)state;
    for (int n = 0; n < 6; n++) {
        void *fresh;
        fixture_set_up(&fresh);
        struct fixture *fixture = fresh;
        failures = n;
        memory_fail_hook = fail_after;
        fixture_run_payload(fixture, even, 2, MUSTER_MSGPACK, "\x92\x91\x04\x91\x07", 5);
        memory_fail_hook = NULL;
        assert_true(fixture->outcome.status == 0 || fixture->outcome.status == MUSTER_ENOMEM);
        if (n == 0)
            assert_int_equal(fixture->outcome.status, MUSTER_ENOMEM);
        fixture_tear_down(&fresh);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_value_comes_out_encoded),
        TEST(a_task_that_returns_nothing_gives_nil),
        TEST(arguments_can_be_read_in_any_order),
        TEST(a_missing_or_wrong_argument_is_said_with_its_number),
        TEST(arguments_that_are_not_msgpack_are_refused),
        TEST(opaque_payloads_go_through_untouched),
        TEST(errors_carry_kind_and_message),
        TEST(an_error_carries_a_value_and_a_traceback),
        TEST(a_value_that_is_too_long_is_left_out_of_the_error),
        TEST(long_sentences_of_a_runtime_are_cut_between_characters),
        TEST(a_task_sees_the_body_of_its_definition),
        TEST(a_failed_item_has_a_value_too),
        TEST(a_task_cannot_pretend_to_be_the_pool),
        TEST(the_last_value_counts),
        TEST(values_that_cannot_be_are_refused),
        TEST(a_failed_item_does_not_stop_the_others),
        TEST(chunks_of_nonsense_are_refused),
        TEST(items_without_value_or_with_opaque_values_fit_in_a_chunk),
        TEST(an_opaque_item_names_its_encoding),
        TEST(a_chunk_that_is_to_stop_does_not_go_on),
        TEST(large_values_go_into_a_segment_of_the_caller),
        TEST(arguments_in_a_segment_are_read_there),
        TEST(the_initializer_runs_without_a_task),
        cmocka_unit_test(memory_that_runs_out_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
