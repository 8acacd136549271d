/*
 * Arguments that outlive their task: who holds them sees them as they were, at the same place, whatever the caller does
 * with its segment.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "memory_failures.h"
#include "task_fixture.h"

#define SIZE ((size_t)300000)

static struct {
    struct arguments *arguments;
    unsigned char *data;
    size_t size;
} view;

static int hold(muster_task *task)
{
    const void *data;
    int status = muster_arg_bytes(task, 0, &data, &view.size);
    if (status != 0)
        return status;
    view.data = (unsigned char *)(uintptr_t)data;
    view.arguments = task_hold_arguments(task);
    if (!view.arguments)
        return MUSTER_ENOMEM;
    view.data[1] = 'W';
    return 0;
}

/* Holds, and lets go before it returns. */
static int look(muster_task *task)
{
    int status = hold(task);
    arguments_release(view.arguments);
    return status;
}

static int hold_each(muster_task *task)
{
    struct arguments *before = view.arguments;
    int status = hold(task);
    arguments_release(before);
    return status;
}

static struct segment store(char byte)
{
    struct segment segment;
    unsigned char *payload = malloc(SIZE + 16), *at = pack_array(payload, 1);
    char *content = malloc(SIZE);
    memset(content, byte, SIZE);
    at = pack_data(at, (struct bytes){content, SIZE});
    assert_int_equal(segment_store(&segment, (uint64_t)getpid(), (struct bytes){payload, (size_t)(at - payload)}), 0);
    free(content);
    free(payload);
    return segment;
}

static void run_on_segment(struct fixture *fixture, muster_call *call, const struct segment *segment)
{
    fixture_run_payload(fixture, call, 0, MUSTER_MSGPACK | ENCODING_SEGMENT, segment->name, strlen(segment->name));
    assert_int_equal(fixture->outcome.status, 0);
}

/* As the client does it when the outcome has come. */
static void write_over(struct segment *segment, char byte)
{
    assert_int_equal(segment_map_again(segment), 0);
    memset(segment->data, byte, segment->length);
    segment_remove(segment);
}

static void assert_view(char byte, size_t size)
{
    assert_int_equal(view.size, size);
    assert_int_equal(view.data[1], 'W');
    for (size_t i = 2; i < size; i++)
        assert_int_equal(view.data[i], byte);
}

static void a_held_segment_does_not_change_when_the_caller_uses_it_again(void **state)
{
    struct fixture *fixture = *state;
    struct segment segment = store('a');
    run_on_segment(fixture, hold, &segment);
    task_end(&fixture->task);
    write_over(&segment, 'b');
    assert_view('a', SIZE);
    arguments_release(view.arguments);
}

static void what_a_task_writes_to_its_arguments_nobody_else_sees(void **state)
{
    struct fixture *fixture = *state;
    struct segment segment = store('a');
    run_on_segment(fixture, look, &segment);
    task_end(&fixture->task);
    assert_int_equal(segment_map_again(&segment), 0);
    assert_null(memchr(segment.data, 'W', segment.length));
    segment_remove(&segment);
}

static void held_arguments_of_a_message_outlive_the_task(void **state)
{
    struct fixture *fixture = *state;
    char content[100];
    memset(content, 'c', sizeof content);
    fixture_run(fixture, hold, MUSTER_ARGS(muster_bytes(content, sizeof content)));
    assert_int_equal(fixture->outcome.status, 0);
    assert_true(fixture->held->kept); /* so worker_finish() leaves it alone */
    fixture->held = NULL;
    task_end(&fixture->task);
    assert_view('c', sizeof content);
    arguments_release(view.arguments); /* the last one frees it */
}

static void arguments_that_nobody_holds_any_more_go_with_the_task(void **state)
{
    struct fixture *fixture = *state;
    fixture_run(fixture, look, MUSTER_ARGS(muster_bytes("abc", 3)));
    assert_int_equal(fixture->outcome.status, 0);
    fixture->held = NULL;
    task_end(&fixture->task);
}

static void every_item_of_a_chunk_may_be_held(void **state)
{
    struct fixture *fixture = *state;
    static const char items[] = "\x93\x91\xc4\x03"
                                "aaa\x91\xc4\x03"
                                "bbb\x91\xc4\x03"
                                "ccc";
    view.arguments = NULL;
    fixture_run_payload(fixture, hold_each, 3, MUSTER_MSGPACK, items, sizeof items - 1);
    assert_int_equal(fixture->outcome.status, 0);
    fixture->held = NULL;
    task_end(&fixture->task);
    assert_memory_equal(view.data, "cWc", 3);
    arguments_release(view.arguments);
}

static void those_of_the_initializer_can_be_held_too(void **state)
{
    struct fixture *fixture = *state;
    unsigned char args[] = "\x91\xc4\x03xyz";
    assert_int_equal(
        task_run_alone(&fixture->task, "init", hold, MUSTER_MSGPACK, (struct bytes){args, sizeof args - 1}), 0);
    assert_int_equal(task_ticket(&fixture->task), 0);
    assert_memory_equal(view.data, "xWz", 3);
    arguments_release(view.arguments);
}

static void without_memory_the_function_is_told_and_nothing_is_kept(void **state)
{
    struct fixture *fixture = *state;
    struct segment segment = store('a');
    memory_failure_at(1);
    fixture_run_payload(fixture, hold, 0, MUSTER_MSGPACK | ENCODING_SEGMENT, segment.name, strlen(segment.name));
    memory_failure_off();
    assert_true(memory_failure_happened);
    assert_int_equal(fixture->outcome.status, MUSTER_ENOMEM);
    assert_false(fixture->held->kept);
    task_end(&fixture->task);
    segment_remove(&segment);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_held_segment_does_not_change_when_the_caller_uses_it_again),
        TEST(what_a_task_writes_to_its_arguments_nobody_else_sees),
        TEST(held_arguments_of_a_message_outlive_the_task),
        TEST(arguments_that_nobody_holds_any_more_go_with_the_task),
        TEST(every_item_of_a_chunk_may_be_held),
        TEST(those_of_the_initializer_can_be_held_too),
        TEST(without_memory_the_function_is_told_and_nothing_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
