/*
 * What the client's protocol logic promises: every task one outcome, whatever becomes of the coordinator.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "bindings/c/client.h"
#include "core/errors.h"

/* What the client has sent, and what it has told. */
struct world {
    struct client *client;
    int send_status; /* what `send` gives */
    struct message sent[64];
    struct buffer bytes[64]; /* of SUBMIT.args and DEFINE.name */
    size_t sent_count;
    int outcomes, last_status, rooms, discards, opened, failed;
    void *last_tag;
    struct message
        answer; /* given back inside the send of a SUBMIT, as the embedded coordinator may do; type 0: none */
};

static int send(void *arg, const struct message *message)
{
    struct world *world = arg;
    if (world->send_status != 0)
        return world->send_status;
    assert_true(world->sent_count < 64);
    world->sent[world->sent_count] = *message;
    struct bytes keep = message->type == MESSAGE_SUBMIT   ? message->submit.args
                        : message->type == MESSAGE_DEFINE ? message->define.name
                                                          : (struct bytes){0};
    world->bytes[world->sent_count].length = 0;
    assert_int_equal(buffer_append(&world->bytes[world->sent_count], keep.data, keep.length), 0);
    world->sent_count++;
    if (message->type == MESSAGE_SUBMIT && world->answer.type) {
        struct message answer = world->answer;
        world->answer.type = 0;
        assert_int_equal(client_message(world->client, &answer), 0);
    }
    return 0;
}

static void on_outcome(void *arg, uint64_t number, void *tag, const struct message *message)
{
    struct world *world = arg;
    (void)number;
    world->outcomes++;
    world->last_tag = tag;
    world->last_status = message->type == MESSAGE_DONE ? 0 : -(int)message->failed.status;
}

static void on_room(void *arg)
{
    ((struct world *)arg)->rooms++;
}

static void on_opened(void *arg)
{
    ((struct world *)arg)->opened++;
}

static void on_failed(void *arg, int status, const char *reason)
{
    (void)status, (void)reason;
    ((struct world *)arg)->failed++;
}

static void on_discard(void *arg, struct bytes name)
{
    (void)name;
    ((struct world *)arg)->discards++;
}

static const struct client_events events = {
    .outcome = on_outcome, .opened = on_opened, .failed = on_failed, .room = on_room, .discard = on_discard};

static int setup(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    *state = world;
    return client_create(&world->client, &events, world, send, world);
}

static int teardown(void **state)
{
    struct world *world = *state;
    client_free(world->client);
    for (size_t i = 0; i < 64; i++)
        buffer_free(&world->bytes[i]);
    free(world);
    return 0;
}

static uint64_t submit(struct world *world, const char *function, const char *args)
{
    uint64_t number = 0;
    struct client_call call = {.function = function, .encoding = MUSTER_RAW, .args = bytes_string(args), .tag = world};
    assert_int_equal(client_submit(world->client, &call, &number), 0);
    return number;
}

static void done(struct world *world, uint64_t number)
{
    struct message message = {.type = MESSAGE_DONE};
    message.done.number = number;
    assert_int_equal(client_message(world->client, &message), 0);
}

static void open_link(struct world *world, bool restarted)
{
    struct welcome welcome = {.task_window = 100, .task_bytes = 1000};
    world->send_status = 0;
    world->sent_count = 0;
    client_link_events.open(world->client, &welcome, restarted);
}

static size_t count_sent(const struct world *world, enum message_type type)
{
    size_t count = 0;
    for (size_t i = 0; i < world->sent_count; i++)
        count += world->sent[i].type == type;
    return count;
}

static void a_function_is_defined_once_in_a_session(void **state)
{
    struct world *world = *state;
    submit(world, "a", "1");
    submit(world, "a", "2");
    submit(world, "b", "3");
    submit(world, "a", "4");
    assert_int_equal(count_sent(world, MESSAGE_DEFINE), 2);
    assert_int_equal(count_sent(world, MESSAGE_SUBMIT), 4);
    assert_int_equal(world->sent[0].type, MESSAGE_DEFINE);
    open_link(world, true);
    assert_int_equal(count_sent(world, MESSAGE_DEFINE), 2);
}

static void labels_make_another_definition(void **state)
{
    struct world *world = *state;
    const char *const gpu[] = {"gpu=1", NULL};
    uint64_t number;
    submit(world, "a", "1");
    struct client_call call = {.function = "a", .labels = gpu, .tag = world};
    assert_int_equal(client_submit(world->client, &call, &number), 0);
    submit(world, "a", "1");
    assert_int_equal(count_sent(world, MESSAGE_DEFINE), 2);
    assert_int_equal(world->sent[1].submit.function, world->sent[4].submit.function);
    assert_int_not_equal(world->sent[1].submit.function, world->sent[3].submit.function);
}

static void labels_have_limits(void **state)
{
    struct world *world = *state;
    const char *labels[66] = {NULL};
    uint64_t number;
    struct client_call call = {.function = "a", .labels = labels, .tag = world};
    for (size_t i = 0; i < 65; i++)
        labels[i] = "gpu=1";
    assert_int_equal(client_submit(world->client, &call, &number), MUSTER_ELIMIT);
    labels[64] = NULL;
    assert_int_equal(client_submit(world->client, &call, &number), 0);
    labels[3] = "";
    assert_int_equal(client_submit(world->client, &call, &number), MUSTER_EINVAL);
}

/* --- definitions with a body -------------------------------------------------------------------------------------- */

static struct definition *define(struct world *world, const char *body)
{
    struct definition *definition = NULL;
    assert_int_equal(client_define(world->client, "f", NULL, bytes_string(body), &definition), 0);
    return definition;
}

static uint64_t submit_of(struct world *world, struct definition *definition)
{
    uint64_t number = 0;
    struct client_call call = {.definition = definition, .function = "f", .tag = world};
    assert_int_equal(client_submit(world->client, &call, &number), 0);
    return number;
}

static void refuse(struct world *world, uint64_t number)
{
    struct message message = {.type = MESSAGE_FAILED};
    message.failed.number = number;
    message.failed.status = -MUSTER_ELIMIT;
    assert_int_equal(client_message(world->client, &message), 0);
}

static void a_body_travels_with_the_first_call_of_each_session(void **state)
{
    struct world *world = *state;
    struct definition *definition = define(world, "body");
    assert_int_equal(world->sent_count, 0);
    submit_of(world, definition);
    submit_of(world, definition);
    assert_int_equal(count_sent(world, MESSAGE_DEFINE), 1);
    assert_true(bytes_equal(world->sent[0].define.body, bytes_string("body")));
    assert_int_equal(world->sent[0].define.function, world->sent[2].submit.function);
    open_link(world, true);
    assert_int_equal(world->sent_count, 3);
    assert_int_equal(world->sent[0].type, MESSAGE_DEFINE);
    assert_true(bytes_equal(world->sent[0].define.body, bytes_string("body")));
}

static void the_same_content_is_the_same_definition(void **state)
{
    struct world *world = *state;
    struct definition *definition = define(world, "body"), *other;
    const char *const labels[] = {"body", NULL};
    assert_ptr_equal(define(world, "body"), definition);
    assert_ptr_not_equal(define(world, "another"), definition);
    assert_int_equal(client_define(world->client, "f", labels, bytes_string(""), &other), 0);
    assert_ptr_not_equal(other, definition);
    submit(world, "f", "1");
    submit_of(world, definition);
    assert_int_not_equal(world->sent[1].submit.function, world->sent[3].submit.function);
}

static void what_nobody_uses_is_given_up_for_another(void **state)
{
    struct world *world = *state;
    client_coordinator_limits(world->client, 0, 0, 2 * (DEFINITION_COST_BYTES + 10));
    struct definition *first = define(world, "first"), *second = define(world, "second");
    done(world, submit_of(world, first));
    uint64_t outstanding = submit_of(world, second);
    client_undefine(first);
    client_undefine(second);
    assert_ptr_equal(define(world, "first"), first); /* kept until its room is needed */
    client_undefine(first);
    uint64_t number = world->sent[0].define.function;
    struct definition *third = define(world, "third");
    assert_int_equal(world->sent[4].type, MESSAGE_UNDEFINE);
    assert_int_equal(world->sent[4].undefine.function, number);
    submit_of(world, third);
    assert_int_equal(world->sent[5].type, MESSAGE_DEFINE);
    assert_int_equal(world->sent[5].define.function, number);
    struct definition *fourth;
    assert_int_equal(client_define(world->client, "f", NULL, bytes_string("4"), &fourth), MUSTER_ELIMIT);
    done(world, outstanding);
    assert_int_equal(client_define(world->client, "f", NULL, bytes_string("4"), &fourth), 0);
}

static void definitions_in_use_fill_the_clients_share(void **state)
{
    struct world *world = *state;
    struct definition *definition;
    client_coordinator_limits(world->client, 0, 0, 2000);
    define(world, "one");
    define(world, "two");
    define(world, "three");
    assert_int_equal(client_define(world->client, "f", NULL, bytes_string("four"), &definition), MUSTER_ELIMIT);
    assert_non_null(strstr(muster_last_error(), "--client-definitions"));
    assert_ptr_equal(define(world, "two"), define(world, "two"));
}

static void numbers_of_definitions_stay_below_the_limit(void **state)
{
    struct world *world = *state;
    char body[16];
    for (int i = 0; i < 10000; i++) {
        snprintf(body, sizeof body, "%d", i);
        client_undefine(define(world, body));
    }
    for (int i = 0; i < 4096; i++) {
        snprintf(body, sizeof body, "-%d", i);
        submit_of(world, define(world, body));
        assert_true(world->sent[0].define.function < 4096);
        world->sent_count = 0;
    }
}

static void a_coordinator_with_no_room_for_a_definition_is_told_it_again(void **state)
{
    struct world *world = *state;
    struct definition *definition = define(world, "body");
    refuse(world, submit_of(world, definition));
    uint64_t number = submit_of(world, definition);
    assert_int_equal(count_sent(world, MESSAGE_DEFINE), 2);
    assert_int_equal(world->sent[2].define.function, world->sent[0].define.function);
    done(world, number);
    done(world, submit_of(world, definition));
    assert_int_equal(count_sent(world, MESSAGE_DEFINE), 2);
}

static void a_coordinator_that_takes_less_than_the_one_before_is_not_told_too_much(void **state)
{
    struct world *world = *state;
    struct definition *definitions[] = {define(world, "one"), define(world, "two")};
    submit_of(world, definitions[0]);
    submit_of(world, definitions[1]);
    struct welcome welcome = {.definition_bytes = DEFINITION_COST_BYTES + 10};
    world->sent_count = 0;
    client_link_events.open(world->client, &welcome, true);
    assert_int_equal(count_sent(world, MESSAGE_DEFINE), 1);
    assert_int_equal(world->outcomes, 1);
    assert_int_equal(world->last_status, MUSTER_ELIMIT);
}

static void a_task_has_one_outcome(void **state)
{
    struct world *world = *state;
    uint64_t number = submit(world, "a", "1");
    done(world, number);
    done(world, number);
    assert_int_equal(world->outcomes, 1);
    assert_ptr_equal(world->last_tag, world);
    assert_int_equal(client_outstanding(world->client), 0);
    assert_int_equal(client_outstanding_bytes(world->client), 0);
}

static void an_outcome_may_come_inside_the_submit(void **state)
{
    struct world *world = *state;
    world->answer.type = MESSAGE_DONE;
    world->answer.done.number = 1;
    assert_int_equal(submit(world, "a", "1"), 1);
    assert_int_equal(world->outcomes, 1);
    assert_int_equal(client_outstanding(world->client), 0);
}

static void what_is_submitted_while_there_is_no_link_goes_out_when_it_opens(void **state)
{
    struct world *world = *state;
    world->send_status = MUSTER_ECONNECT;
    submit(world, "a", "one");
    submit(world, "a", "two");
    assert_int_equal(world->sent_count, 0);
    open_link(world, true);
    assert_int_equal(world->opened, 1);
    assert_int_equal(world->sent_count, 3);
    assert_int_equal(world->sent[1].submit.flags & TASK_RESUBMITTED, 0);
    assert_memory_equal(world->bytes[1].data, "one", 3);
    assert_memory_equal(world->bytes[2].data, "two", 3);
}

static void a_restarted_coordinator_gets_every_task_again_in_order(void **state)
{
    struct world *world = *state;
    uint64_t first = submit(world, "a", "one"), second = submit(world, "a", "two");
    done(world, first);
    uint64_t third = submit(world, "b", "three");
    open_link(world, true);
    assert_int_equal(count_sent(world, MESSAGE_SUBMIT), 2);
    assert_int_equal(world->sent[1].submit.number, second);
    assert_int_equal(world->sent[1].submit.flags & TASK_RESUBMITTED, TASK_RESUBMITTED);
    assert_int_equal(world->sent[3].submit.number, third);
    done(world, second);
    done(world, third);
    assert_int_equal(world->outcomes, 3);
}

static void a_coordinator_that_gave_the_client_up_has_cancelled_its_tasks(void **state)
{
    struct world *world = *state;
    submit(world, "a", "one");
    world->send_status = MUSTER_ECONNECT;
    uint64_t unsent = submit(world, "a", "two");
    open_link(world, false);
    assert_int_equal(world->outcomes, 1);
    assert_int_equal(world->last_status, MUSTER_ELOST);
    assert_int_equal(count_sent(world, MESSAGE_SUBMIT), 1);
    assert_int_equal(world->sent[1].submit.number, unsent);
    assert_int_equal(world->sent[1].submit.flags & TASK_RESUBMITTED, 0);
}

static void a_cancel_is_repeated_to_a_restarted_coordinator(void **state)
{
    struct world *world = *state;
    uint64_t number = submit(world, "a", "one");
    assert_int_equal(client_cancel(world->client, number), 0);
    assert_int_equal(client_cancel(world->client, number), 0);
    assert_int_equal(count_sent(world, MESSAGE_CANCEL), 1);
    open_link(world, true);
    assert_int_equal(count_sent(world, MESSAGE_CANCEL), 1);
    assert_int_equal(world->outcomes, 0);
}

static void a_task_that_was_never_sent_is_cancelled_at_once(void **state)
{
    struct world *world = *state;
    world->send_status = MUSTER_ECONNECT;
    uint64_t number = submit(world, "a", "one");
    client_cancel(world->client, number);
    assert_int_equal(world->outcomes, 1);
    assert_int_equal(world->last_status, MUSTER_ECANCELED);
    open_link(world, true);
    assert_int_equal(world->sent_count, 0);
}

static void the_window_is_full_by_tasks(void **state)
{
    struct world *world = *state;
    uint64_t number;
    struct client_call call = {.function = "a", .tag = world};
    client_limits(world->client, 2, 0);
    uint64_t first = submit(world, "a", "1");
    submit(world, "a", "2");
    assert_int_equal(client_room(world->client), 0);
    assert_int_equal(client_submit(world->client, &call, &number), MUSTER_EAGAIN);
    done(world, first);
    assert_int_equal(world->rooms, 1);
    assert_int_equal(client_submit(world->client, &call, &number), 0);
}

static void the_window_is_full_by_bytes(void **state)
{
    struct world *world = *state;
    uint64_t number;
    struct client_call call = {.function = "a", .args = bytes_string("12345"), .tag = world};
    client_limits(world->client, 0, 10);
    uint64_t first = submit(world, "a", "123456");
    assert_int_equal(client_submit(world->client, &call, &number), MUSTER_EAGAIN);
    done(world, first);
    assert_int_equal(client_submit(world->client, &call, &number), 0);
    call.shared_bytes = 100;
    assert_int_equal(client_submit(world->client, &call, &number), MUSTER_ELIMIT);
}

static void a_name_that_is_too_long_is_refused(void **state)
{
    struct world *world = *state;
    char name[300];
    uint64_t number;
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    struct client_call call = {.function = name, .tag = world};
    assert_int_equal(client_submit(world->client, &call, &number), MUSTER_ELIMIT);
    name[255] = '\0';
    assert_int_equal(client_submit(world->client, &call, &number), 0);
}

static void too_many_definitions_are_refused(void **state)
{
    struct world *world = *state;
    char name[32];
    uint64_t number;
    int status = 0;
    struct client_call call = {.function = name, .tag = world};
    world->send_status = MUSTER_ECONNECT;
    size_t made = 0;
    for (; status == 0 && made < 10000; made++) {
        snprintf(name, sizeof name, "f%zu", made);
        status = client_submit(world->client, &call, &number);
    }
    assert_int_equal(status, MUSTER_ELIMIT);
    assert_int_equal(made, 4097);
}

static void a_refused_send_leaves_nothing_behind(void **state)
{
    struct world *world = *state;
    uint64_t number;
    struct client_call call = {.function = "a", .args = bytes_string("1"), .tag = world};
    world->send_status = MUSTER_ELIMIT;
    assert_int_equal(client_submit(world->client, &call, &number), MUSTER_ELIMIT);
    assert_int_equal(client_outstanding(world->client), 0);
    assert_int_equal(client_outstanding_bytes(world->client), 0);
    assert_int_equal(world->outcomes, 0);
}

static void a_link_that_failed_gives_every_task_its_outcome(void **state)
{
    struct world *world = *state;
    submit(world, "a", "1");
    submit(world, "a", "2");
    client_link_events.failed(world->client, MUSTER_EAUTH, "wrong key");
    assert_int_equal(world->outcomes, 2);
    assert_int_equal(world->last_status, MUSTER_EAUTH);
    assert_int_equal(world->failed, 1);
}

static void a_late_segment_is_discarded(void **state)
{
    struct world *world = *state;
    struct message message = {.type = MESSAGE_DONE};
    message.done.number = 77;
    message.done.encoding = MUSTER_MSGPACK | ENCODING_SEGMENT;
    message.done.value = bytes_string("/muster-1-1-1");
    assert_int_equal(client_message(world->client, &message), 0);
    assert_int_equal(world->discards, 1);
    assert_int_equal(world->outcomes, 0);
}

static void a_message_that_is_not_for_clients_is_an_error(void **state)
{
    struct world *world = *state;
    struct message message = {.type = MESSAGE_ASSIGN};
    assert_int_equal(client_message(world->client, &message), MUSTER_EPROTOCOL);
}

static unsigned allocations;
static unsigned failing;

static bool fail_one(void)
{
    return ++allocations == failing;
}

static void memory_that_runs_out_is_an_error_and_loses_nothing(void **state)
{
    struct world *world = *state;
    uint64_t number;
    struct client_call call = {.function = "fresh", .args = bytes_string("1"), .tag = world};
    int status = MUSTER_ENOMEM;
    for (failing = 1; status == MUSTER_ENOMEM; failing++) {
        assert_true(failing < 50);
        allocations = 0;
        memory_fail_hook = fail_one;
        world->send_status = MUSTER_ECONNECT;
        status = client_submit(world->client, &call, &number);
        memory_fail_hook = NULL;
        assert_int_equal(client_outstanding(world->client), status == 0 ? 1 : 0);
    }
    assert_true(failing > 3);
    assert_int_equal(status, 0);
    struct definition *definition = NULL;
    for (failing = 1, status = MUSTER_ENOMEM; status == MUSTER_ENOMEM; failing++) {
        allocations = 0;
        memory_fail_hook = fail_one;
        status = client_define(world->client, "fresh", NULL, bytes_string("body"), &definition);
        memory_fail_hook = NULL;
        assert_true(status == MUSTER_ENOMEM || (status == 0 && definition));
    }
    assert_true(failing > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_function_is_defined_once_in_a_session, setup, teardown),
        cmocka_unit_test_setup_teardown(labels_make_another_definition, setup, teardown),
        cmocka_unit_test_setup_teardown(labels_have_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(a_body_travels_with_the_first_call_of_each_session, setup, teardown),
        cmocka_unit_test_setup_teardown(the_same_content_is_the_same_definition, setup, teardown),
        cmocka_unit_test_setup_teardown(what_nobody_uses_is_given_up_for_another, setup, teardown),
        cmocka_unit_test_setup_teardown(definitions_in_use_fill_the_clients_share, setup, teardown),
        cmocka_unit_test_setup_teardown(numbers_of_definitions_stay_below_the_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(a_coordinator_with_no_room_for_a_definition_is_told_it_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_coordinator_that_takes_less_than_the_one_before_is_not_told_too_much, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_task_has_one_outcome, setup, teardown),
        cmocka_unit_test_setup_teardown(an_outcome_may_come_inside_the_submit, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_submitted_while_there_is_no_link_goes_out_when_it_opens, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_restarted_coordinator_gets_every_task_again_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(a_coordinator_that_gave_the_client_up_has_cancelled_its_tasks, setup, teardown),
        cmocka_unit_test_setup_teardown(a_cancel_is_repeated_to_a_restarted_coordinator, setup, teardown),
        cmocka_unit_test_setup_teardown(a_task_that_was_never_sent_is_cancelled_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(the_window_is_full_by_tasks, setup, teardown),
        cmocka_unit_test_setup_teardown(the_window_is_full_by_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(a_name_that_is_too_long_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(too_many_definitions_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refused_send_leaves_nothing_behind, setup, teardown),
        cmocka_unit_test_setup_teardown(a_link_that_failed_gives_every_task_its_outcome, setup, teardown),
        cmocka_unit_test_setup_teardown(a_late_segment_is_discarded, setup, teardown),
        cmocka_unit_test_setup_teardown(a_message_that_is_not_for_clients_is_an_error, setup, teardown),
        cmocka_unit_test_setup_teardown(memory_that_runs_out_is_an_error_and_loses_nothing, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
