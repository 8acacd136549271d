/*
 * Definitions with a body: kept once, given once to each worker that needs it, forgotten with those who defined it.
 */
#include "coordinator_fixture.h"

static struct message definition_of(uint64_t function, const char *name, const char *body)
{
    struct message message = {.type = MESSAGE_DEFINE};
    message.define.function = function;
    message.define.name = bytes_string(name);
    message.define.labels = (struct bytes){"\x90", 1};
    message.define.body = bytes_string(body);
    return message;
}

static void define_body(struct fake *client, uint64_t function, const char *body)
{
    tell(client, definition_of(function, "work", body));
}

static struct message undefine_of(uint64_t function)
{
    struct message message = {.type = MESSAGE_UNDEFINE};
    message.undefine.function = function;
    return message;
}

static struct message submission_of(uint64_t number, uint64_t function)
{
    struct message message = submission(number);
    message.submit.function = function;
    return message;
}

static void submit_of(struct fake *client, uint64_t number, uint64_t function)
{
    tell(client, submission_of(number, function));
}

/* The next message introduces this body; gives its number. */
static uint64_t expect_body(struct fake *worker, const char *body)
{
    struct message message = expect(worker, MESSAGE_INTRODUCE);
    assert_int_equal(message.introduce.function, 0);
    assert_true(bytes_equal(message.introduce.body, bytes_string(body)));
    return message.introduce.definition;
}

/* The next message is a task of this definition; gives its ticket. */
static uint64_t expect_task(struct fake *worker, uint64_t number, uint64_t definition)
{
    struct message message = expect(worker, MESSAGE_ASSIGN);
    assert_int_equal(message.assign.number, number);
    assert_int_equal(message.assign.definition, definition);
    return message.assign.ticket;
}

static void expect_forget(struct fake *worker, uint64_t definition)
{
    assert_int_equal(expect(worker, MESSAGE_FORGET).forget.definition, definition);
}

/* Submits a task and takes it to its end. */
static void run(struct fake *client, struct fake *worker, uint64_t number, uint64_t function)
{
    submit_of(client, number, function);
    flush();
    struct message message;
    do
        assert_true(next(worker, &message));
    while (message.type != MESSAGE_ASSIGN);
    result(worker, message.assign.ticket);
    expect_done(client, number);
    delivered(client);
    flush();
}

static void restart_with(size_t client, size_t worker, size_t total)
{
    struct coordinator_config config = world.config;
    config.client_definition_bytes = client ? client : config.client_definition_bytes;
    config.worker_definition_bytes = worker ? worker : config.worker_definition_bytes;
    config.total_bytes = total ? total : config.total_bytes;
    start_with(&config);
}

/* --- giving and forgetting ---------------------------------------------------------------------------------------- */

static void a_body_goes_to_a_worker_once_and_before_its_first_task(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT), *worker = worker_up(WORKER);
    define_body(client, 1, "body");
    submit_of(client, 1, 1);
    submit_of(client, 2, 0);
    flush();
    uint64_t definition = expect_body(worker, "body");
    assert_true(definition != 0);
    result(worker, expect_task(worker, 1, definition));
    result(worker, expect_task(worker, 2, 0));
    submit_of(client, 3, 1);
    flush();
    result(worker, expect_task(worker, 3, definition));
    expect_nothing(worker);
}

static void each_worker_is_given_the_body_for_itself(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT), *workers[] = {worker_up(WORKER), worker_up(WORKER + 1)};
    define_body(client, 1, "body");
    submit_of(client, 1, 1);
    submit_of(client, 2, 1);
    flush();
    uint64_t definition = expect_body(workers[0], "body");
    assert_int_equal(expect_body(workers[1], "body"), definition);
}

static void the_same_content_is_one_definition_whoever_defines_it(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT), *other = client_up(CLIENT + 1), *worker = worker_up(WORKER);
    define_body(client, 1, "body");
    define_body(client, 1, "body");
    define_body(other, 7, "body");
    define_body(other, 8, "another");
    submit_of(client, 1, 1);
    flush();
    uint64_t definition = expect_body(worker, "body");
    result(worker, expect_task(worker, 1, definition));
    submit_of(other, 1, 7);
    flush();
    result(worker, expect_task(worker, 1, definition));
    submit_of(other, 2, 8);
    flush();
    assert_int_not_equal(expect_body(worker, "another"), definition);
}

static void a_label_is_not_taken_for_a_body(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT);
    define_labels(client, 1, "work", (const char *[]){"body"}, 1);
    struct message message = definition_of(2, "work", "body");
    tell(client, message);
    message.define.function = 1;
    assert_int_equal(tell_status(client, &message), MUSTER_EPROTOCOL);
}

static void a_body_is_forgotten_when_the_last_client_of_it_has_gone(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT), *other = client_up(CLIENT + 1), *worker = worker_up(WORKER);
    define_body(client, 1, "body");
    define_body(other, 1, "body");
    submit_of(client, 1, 1);
    flush();
    uint64_t definition = expect_body(worker, "body");
    uint64_t ticket = expect_task(worker, 1, definition);
    disconnect(client, true);
    assert_int_equal(expect(worker, MESSAGE_STOP).stop.ticket, ticket);
    expect_nothing(worker);
    disconnect(other, true);
    expect_forget(worker, definition);
    failure(worker, ticket, MUSTER_ECANCELED);
    struct fake *again = client_up(CLIENT + 2);
    define_body(again, 1, "body");
    submit_of(again, 1, 1);
    flush();
    assert_int_not_equal(expect_body(worker, "body"), definition);
}

static void a_definition_that_is_given_up_is_forgotten_and_its_number_is_free(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT), *worker = worker_up(WORKER);
    define_body(client, 1, "body");
    submit_of(client, 1, 1);
    struct message undefine = undefine_of(1);
    assert_int_equal(tell_status(client, &undefine), MUSTER_EPROTOCOL); /* it has a task without outcome */
    flush();
    uint64_t definition = expect_body(worker, "body");
    result(worker, expect_task(worker, 1, definition));
    tell(client, undefine); /* its outcome is sent, and not delivered */
    expect_forget(worker, definition);
    assert_int_equal(tell_status(client, &undefine), MUSTER_EPROTOCOL);
    struct message nobody = submission_of(2, 1);
    assert_int_equal(tell_status(client, &nobody), MUSTER_EPROTOCOL);
    define_body(client, 1, "other body");
    submit_of(client, 3, 1);
    flush();
    assert_int_not_equal(expect_body(worker, "other body"), definition);
}

static void a_worker_in_a_new_session_is_given_the_body_again(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT), *worker = worker_up(WORKER);
    define_body(client, 1, "body");
    run(client, worker, 1, 1);
    disconnect(worker, false);
    worker = worker_up(WORKER);
    submit_of(client, 2, 1);
    flush();
    uint64_t definition = expect_body(worker, "body");
    expect_task(worker, 2, definition);
}

static void a_task_that_is_run_again_elsewhere_finds_its_body_there(void **state)
{
    (void)state;
    connect_peer(ROLE_SUPERVISOR, SUPERVISOR, 0);
    struct fake *client = client_up(CLIENT), *worker = worker_up(WORKER);
    define_body(client, 1, "body");
    struct message message = submission_of(1, 1);
    message.submit.retries = 1;
    tell(client, message);
    flush();
    expect_task(worker, 1, expect_body(worker, "body"));
    struct fake *other = worker_up(WORKER + 1);
    disconnect(worker, true);
    flush();
    expect_task(other, 1, expect_body(other, "body"));
}

static void a_task_that_a_worker_claims_needs_no_body(void **state)
{
    (void)state;
    struct fake *worker = connect_peer(ROLE_WORKER, WORKER, SUPERVISOR);
    claim(worker, 5, CLIENT, 1, CLAIM_RUNNING);
    offer(worker, "work");
    struct fake *client = client_up(CLIENT);
    define_body(client, 1, "body");
    struct message message = submission_of(1, 1);
    message.submit.flags = TASK_RESUBMITTED;
    tell(client, message);
    flush();
    expect_nothing(worker);
    result(worker, 5);
    expect_done(client, 1);
    submit_of(client, 2, 1);
    flush();
    expect_task(worker, 2, expect_body(worker, "body"));
}

/* --- what a worker holds ------------------------------------------------------------------------------------------ */

static char sized_body[2000];
#define BODY_COST(length) (WORK_COST + (length))

/* Defines bodies of 1,000 bytes under the numbers 1 to `count`. */
static void define_many(struct fake *client, uint64_t count)
{
    for (uint64_t i = 1; i <= count; i++) {
        struct message message = definition_of(i, "work", "");
        memset(sized_body, (int)('a' + i), 1000);
        message.define.body = (struct bytes){sized_body, 1000};
        tell(client, message);
    }
}

static uint64_t next_introduced(struct fake *worker)
{
    return expect(worker, MESSAGE_INTRODUCE).introduce.definition;
}

static void a_worker_that_holds_many_bodies_forgets_the_one_unused_for_longest(void **state)
{
    (void)state;
    restart_with(0, 2 * BODY_COST(1000), 0);
    struct fake *client = client_up(CLIENT), *worker = worker_up(WORKER);
    define_many(client, 3);
    uint64_t definitions[4];
    for (uint64_t i = 1; i <= 2; i++) {
        submit_of(client, i, i);
        flush();
        definitions[i] = next_introduced(worker);
        result(worker, expect_task(worker, i, definitions[i]));
        expect_done(client, i);
    }
    run(client, worker, 3, 1); /* the first is the one used last */
    submit_of(client, 4, 3);
    flush();
    expect_forget(worker, definitions[2]);
    definitions[3] = next_introduced(worker);
    result(worker, expect_task(worker, 4, definitions[3]));
    submit_of(client, 5, 1);
    flush();
    result(worker, expect_task(worker, 5, definitions[1]));
    submit_of(client, 6, 2); /* introduced again, under the same number */
    flush();
    expect_forget(worker, definitions[3]);
    assert_int_equal(next_introduced(worker), definitions[2]);
}

static void a_worker_is_given_so_many_bodies_at_one_time(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT), *worker = worker_up(WORKER);
    char body[16];
    size_t forgotten = 0;
    for (uint64_t i = 1; i <= 1025; i++) {
        struct message message;
        snprintf(body, sizeof body, "%llu", (unsigned long long)i);
        define_body(client, i, body);
        submit_of(client, i, i);
        flush();
        while (next(worker, &message)) {
            forgotten += message.type == MESSAGE_FORGET;
            if (message.type == MESSAGE_ASSIGN)
                result(worker, message.assign.ticket);
        }
        assert_int_equal(forgotten, i > 1024);
    }
}

static void a_body_that_a_held_task_needs_is_not_forgotten_and_no_more_is_given_ahead(void **state)
{
    (void)state;
    restart_with(0, BODY_COST(1000), 0);
    struct fake *client = client_up(CLIENT), *worker = worker_up(WORKER);
    define_many(client, 3);
    for (uint64_t i = 1; i <= 3; i++) { /* short ones, that would be given many at a time */
        struct message quick = result_of(0);
        submit_of(client, i, i);
        flush();
        struct message message;
        while (next(worker, &message))
            if (message.type == MESSAGE_ASSIGN)
                quick.result.ticket = message.assign.ticket;
        quick.result.run_us = 1;
        tell(worker, quick);
    }
    for (uint64_t i = 1; i <= 3; i++)
        submit_of(client, 10 + i, i);
    flush();
    struct message message;
    size_t introduced = 0, assigned = 0, forgotten = 0;
    while (next(worker, &message)) {
        introduced += message.type == MESSAGE_INTRODUCE;
        assigned += message.type == MESSAGE_ASSIGN;
        forgotten += message.type == MESSAGE_FORGET;
    }
    assert_int_equal(assigned, 2); /* one to run and one to follow, whatever they need */
    assert_true(introduced >= 1 && introduced <= 2);
    assert_int_equal(forgotten, 1);
}

/* --- statistics --------------------------------------------------------------------------------------------------- */

/* How many of ten tasks the worker is given before it has done one. Then it does all. */
static size_t assigned_of(struct fake *client, struct fake *worker, uint64_t function, uint64_t first_number)
{
    struct message message, answer = result_of(0);
    size_t assigned = 0;
    for (uint64_t i = 0; i < 10; i++)
        submit_of(client, first_number + i, function);
    flush();
    uint64_t tickets[10];
    for (size_t done = 0; done < 10; flush()) {
        size_t count = 0;
        while (next(worker, &message))
            if (message.type == MESSAGE_ASSIGN)
                tickets[count++] = message.assign.ticket;
        assigned = assigned ? assigned : count;
        assert_true(count > 0);
        for (size_t i = 0; i < count; i++, done++) {
            answer.result.ticket = tickets[i];
            answer.result.run_us = function == 1 ? 1 : 5000000;
            tell(worker, answer);
        }
    }
    return assigned;
}

static void durations_are_learned_for_each_body(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT), *worker = worker_up(WORKER);
    define_body(client, 1, "quick");
    define_body(client, 2, "slow");
    for (uint64_t i = 1; i <= 2; i++) {
        submit_of(client, i, i);
        flush();
        struct message message, answer = result_of(0);
        while (next(worker, &message))
            if (message.type == MESSAGE_ASSIGN)
                answer.result.ticket = message.assign.ticket;
        answer.result.run_us = i == 1 ? 1 : 5000000;
        tell(worker, answer);
    }
    assert_int_equal(assigned_of(client, worker, 1, 10), 10); /* short ones go many at a time */
    assert_int_equal(assigned_of(client, worker, 2, 20), 2);  /* long ones do not */
    struct buffer json = {0};
    assert_int_equal(coordinator_status(world.coordinator, &json, world.now_ns), 0);
    assert_true(contains(bytes_of(&json), "\"mean_seconds\":5"));
    assert_true(contains(bytes_of(&json), "\"body_bytes\":4"));
    buffer_free(&json);
}

/* --- limits ------------------------------------------------------------------------------------------------------- */

static void a_client_that_defines_more_than_it_was_told_misbehaves(void **state)
{
    (void)state;
    restart_with(WORK_COST + BODY_COST(4), 0, 0);
    struct fake *client = client_up(CLIENT);
    define_body(client, 1, "body");
    struct message more = definition_of(2, "f", "");
    assert_int_equal(tell_status(client, &more), MUSTER_ELIMIT);
    tell(client, undefine_of(1));
    tell(client, more);
}

static void a_body_too_long_to_be_passed_on_is_refused(void **state)
{
    (void)state;
    struct coordinator_config config = world.config;
    config.payload_limit = 1000;
    start_with(&config);
    struct fake *client = client_up(CLIENT);
    struct message message = definition_of(1, "work", "");
    message.define.body = (struct bytes){sized_body, 1000 - 127};
    assert_int_equal(tell_status(client, &message), MUSTER_ELIMIT);
    message.define.body.length--;
    tell(client, message);
}

static void tasks_of_a_definition_that_a_full_coordinator_has_no_room_for_fail_with_a_reason(void **state)
{
    (void)state;
    restart_with(0, 0, WORK_COST + BODY_COST(8) + 500);
    struct fake *client = client_up(CLIENT), *other = client_up(CLIENT + 1), *worker = worker_up(WORKER);
    define_body(client, 1, "the body");
    define_body(other, 1, "a body more");
    define_body(other, 1, "a body more");
    submit_of(other, 1, 1);
    assert_true(contains(expect_failed(other, 1, MUSTER_ELIMIT).failed.message, "define"));
    submit_of(client, 1, 1);
    submit_of(other, 2, 0);
    tell(other, undefine_of(1));
    define_body(other, 1, "a body more");
    disconnect(client, true); /* now there is room, for who defines it again */
    submit_of(other, 3, 1);
    expect_failed(other, 3, MUSTER_ELIMIT);
    define_body(other, 1, "a body more");
    submit_of(other, 4, 1);
    flush();
    expect_task(worker, 2, 0);
    expect_task(worker, 4, expect_body(worker, "a body more"));
    expect_nothing(other);
}

/* --- failures with a value ---------------------------------------------------------------------------------------- */

static struct message failure_with(uint64_t ticket, size_t length)
{
    struct message message = failure_of(ticket, MUSTER_ETASK);
    message.failure.encoding = MUSTER_PICKLE;
    message.failure.value = (struct bytes){sized_body, length};
    return message;
}

static void a_value_goes_with_an_error(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT), *worker = worker_up(WORKER);
    submit(client, 1);
    flush();
    tell(worker, failure_with(expect(worker, MESSAGE_ASSIGN).assign.ticket, 77));
    struct message failed = expect_failed(client, 1, MUSTER_ETASK);
    assert_int_equal(failed.failed.encoding, MUSTER_PICKLE);
    assert_true(bytes_equal(failed.failed.value, (struct bytes){sized_body, 77}));
    assert_true(bytes_equal(failed.failed.message, bytes_string("it broke")));
    submit(client, 2);
    flush();
    struct message bad = failure_with(expect(worker, MESSAGE_ASSIGN).assign.ticket, 77);
    bad.failure.encoding = MUSTER_PICKLE | ENCODING_SEGMENT;
    assert_int_equal(tell_status(worker, &bad), MUSTER_EPROTOCOL);
}

static void a_value_too_long_to_go_with_an_error_is_left_out_and_the_message_says_so(void **state)
{
    (void)state;
    struct coordinator_config config = world.config;
    config.payload_limit = 4096;
    start_with(&config);
    struct fake *client = client_up(CLIENT), *worker = worker_up(WORKER);
    submit(client, 1);
    submit(client, 2);
    flush();
    tell(worker, failure_with(expect(worker, MESSAGE_ASSIGN).assign.ticket, 1024));
    assert_int_equal(expect_failed(client, 1, MUSTER_ETASK).failed.value.length, 1024);
    tell(worker, failure_with(expect(worker, MESSAGE_ASSIGN).assign.ticket, 1025));
    struct message failed = expect_failed(client, 2, MUSTER_ETASK);
    assert_int_equal(failed.failed.value.length, 0);
    assert_int_equal(failed.failed.encoding, 0);
    assert_true(contains(failed.failed.message, "it broke (the value of 1025 bytes"));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define R(name) cmocka_unit_test_setup_teardown(name, setup_rejoin, teardown)
    const struct CMUnitTest tests[] = {
        T(a_body_goes_to_a_worker_once_and_before_its_first_task),
        T(each_worker_is_given_the_body_for_itself),
        T(the_same_content_is_one_definition_whoever_defines_it),
        T(a_label_is_not_taken_for_a_body),
        T(a_body_is_forgotten_when_the_last_client_of_it_has_gone),
        T(a_definition_that_is_given_up_is_forgotten_and_its_number_is_free),
        T(a_worker_in_a_new_session_is_given_the_body_again),
        T(a_task_that_is_run_again_elsewhere_finds_its_body_there),
        R(a_task_that_a_worker_claims_needs_no_body),
        T(a_worker_that_holds_many_bodies_forgets_the_one_unused_for_longest),
        T(a_worker_is_given_so_many_bodies_at_one_time),
        T(a_body_that_a_held_task_needs_is_not_forgotten_and_no_more_is_given_ahead),
        T(durations_are_learned_for_each_body),
        T(a_client_that_defines_more_than_it_was_told_misbehaves),
        T(a_body_too_long_to_be_passed_on_is_refused),
        T(tasks_of_a_definition_that_a_full_coordinator_has_no_room_for_fail_with_a_reason),
        T(a_value_goes_with_an_error),
        T(a_value_too_long_to_go_with_an_error_is_left_out_and_the_message_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
