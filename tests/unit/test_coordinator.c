/*
 * The coordinator's everyday life: tasks come in, go out to workers, and their outcomes come back, once.
 */
#include "coordinator_fixture.h"

static void a_task_goes_to_a_worker_and_its_result_to_the_client(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT), *worker = worker_up(WORKER);
    struct message message = submission(7);
    message.submit.items = 3;
    message.submit.flags = TASK_PROGRESS_WANTED;
    tell(client, message);
    flush();
    struct message assign = expect(worker, MESSAGE_ASSIGN);
    assert_int_equal(assign.assign.client, CLIENT);
    assert_int_equal(assign.assign.number, 7);
    assert_int_equal(assign.assign.function, 0);
    assert_int_equal(assign.assign.items, 3);
    assert_int_equal(assign.assign.encoding, MUSTER_MSGPACK);
    assert_int_equal(assign.assign.flags, TASK_PROGRESS_WANTED);
    assert_true(bytes_equal(assign.assign.args, bytes_string("arguments")));
    result(worker, assign.assign.ticket);
    struct message done = expect(client, MESSAGE_DONE);
    assert_int_equal(done.done.number, 7);
    assert_int_equal(done.done.run_us, 1000);
    assert_int_equal(done.done.encoding, MUSTER_MSGPACK);
    assert_true(bytes_equal(done.done.value, bytes_string("v")));
    assert_int_equal(counts().succeeded, 1);
}

static void a_repeated_submit_is_harmless(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT), *worker = worker_up(WORKER);
    submit(client, 1);
    submit(client, 1);
    flush();
    uint64_t ticket = expect(worker, MESSAGE_ASSIGN).assign.ticket;
    submit(client, 1);
    flush();
    expect_nothing(worker);
    result(worker, ticket);
    submit(client, 1); /* the outcome is on its way */
    flush();
    expect_done(client, 1);
    expect_nothing(client);
    expect_nothing(worker);
    assert_int_equal(counts().submitted, 1);
}

static void a_repeated_result_is_dropped(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT), *worker = worker_up(WORKER);
    submit(client, 1);
    flush();
    uint64_t ticket = expect(worker, MESSAGE_ASSIGN).assign.ticket;
    result(worker, ticket);
    result(worker, ticket);
    failure(worker, ticket, MUSTER_ETASK);
    delivered(client);
    result(worker, ticket);
    expect_done(client, 1);
    expect_nothing(client);
}

static void a_task_is_settled_only_when_its_client_has_the_outcome(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT), *worker = worker_up(WORKER);
    submit(client, 1);
    flush();
    uint64_t ticket = expect(worker, MESSAGE_ASSIGN).assign.ticket;
    result(worker, ticket);
    later(2 * NS_PER_S);
    struct message message;
    assert_false(next(worker, &message));
    delivered(client);
    flush();
    later(2 * NS_PER_S);
    assert_true(next(worker, &message));
    assert_int_equal(message.type, MESSAGE_SETTLED);
    assert_int_equal(message.settled.ticket, ticket);
}

static void settled_goes_before_the_next_assign_and_covers_a_whole_batch(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT), *worker = worker_up(WORKER);
    submit(client, 1);
    submit(client, 2);
    flush();
    uint64_t first = expect(worker, MESSAGE_ASSIGN).assign.ticket,
             second = expect(worker, MESSAGE_ASSIGN).assign.ticket;
    assert_true(second > first);
    result(worker, first);
    result(worker, second);
    delivered(client);
    flush();
    submit(client, 3);
    flush();
    struct message message;
    assert_true(next(worker, &message));
    assert_int_equal(message.type, MESSAGE_SETTLED);
    assert_int_equal(message.settled.ticket, second);
    assert_true(next(worker, &message));
    assert_int_equal(message.type, MESSAGE_ASSIGN);
    assert_false(next(worker, &message));
}

static void a_failure_reaches_the_client_with_all_that_is_known(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT), *worker = worker_up(WORKER);
    submit(client, 1);
    flush();
    struct message message = failure_of(expect(worker, MESSAGE_ASSIGN).assign.ticket, MUSTER_ETASK);
    message.failure.traceback = bytes_string("line 1");
    message.failure.item = 4;
    tell(worker, message);
    struct message failed = expect_failed(client, 1, MUSTER_ETASK);
    assert_true(bytes_equal(failed.failed.kind, bytes_string("Oops")));
    assert_true(bytes_equal(failed.failed.message, bytes_string("it broke")));
    assert_true(bytes_equal(failed.failed.traceback, bytes_string("line 1")));
    assert_true(bytes_equal(failed.failed.worker, bytes_string("box/0")));
    assert_true(bytes_equal(failed.failed.host, bytes_string("box")));
    assert_int_equal(failed.failed.pid, 5000 + WORKER);
    assert_int_equal(failed.failed.item, 4);
    assert_int_equal(failed.failed.exit_status, -1);
}

static void progress_and_log_reach_the_client_that_wants_them(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT), *worker = worker_up(WORKER);
    struct message wanted = submission(1);
    wanted.submit.flags = TASK_PROGRESS_WANTED;
    tell(client, wanted);
    submit(client, 2);
    flush();
    uint64_t first = expect(worker, MESSAGE_ASSIGN).assign.ticket,
             second = expect(worker, MESSAGE_ASSIGN).assign.ticket;
    struct message progress = {.type = MESSAGE_TASK_PROGRESS}, log = {.type = MESSAGE_TASK_LOG};
    progress.task_progress = (struct message_task_progress){.ticket = first, .item = 2, .done = 1, .total = 4};
    tell(worker, progress);
    assert_int_equal(expect(client, MESSAGE_PROGRESS).progress.item, 2);
    progress.task_progress.ticket = second;
    tell(worker, progress);
    expect_nothing(client);
    log.task_log = (struct message_task_log){.ticket = second, .level = 6, .text = bytes_string("hello")};
    tell(worker, log);
    struct message line = expect(client, MESSAGE_LOG);
    assert_int_equal(line.log.number, 2);
    assert_true(bytes_equal(line.log.worker, bytes_string("box/0")));
}

static void clients_hear_of_a_changed_number_of_workers_once_a_batch(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT);
    flush();
    struct message message;
    assert_true(next(client, &message) && message.type == MESSAGE_WORKERS && message.workers.count == 0);
    worker_up(WORKER);
    struct fake *second = worker_up(WORKER + 1);
    flush();
    assert_true(next(client, &message) && message.type == MESSAGE_WORKERS && message.workers.count == 2);
    disconnect(second, true);
    worker_up(WORKER + 2);
    flush();
    assert_false(next(client, &message)); /* still two */
}

static void a_queued_task_is_cancelled_at_once(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT);
    submit(client, 1);
    submit(client, 2);
    cancel(client, 1);
    cancel(client, 1);
    cancel(client, 99);
    expect_failed(client, 1, MUSTER_ECANCELED);
    expect_nothing(client);
    assert_int_equal(counts().queued, 1);
}

static void an_unstarted_task_at_a_worker_is_cancelled_there(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT), *worker = worker_up(WORKER);
    submit(client, 1);
    submit(client, 2);
    flush();
    uint64_t first = expect(worker, MESSAGE_ASSIGN).assign.ticket,
             second = expect(worker, MESSAGE_ASSIGN).assign.ticket;
    cancel(client, 2);
    assert_int_equal(expect(worker, MESSAGE_STOP).stop.ticket, second);
    failure(worker, second, MUSTER_ECANCELED);
    expect_failed(client, 2, MUSTER_ECANCELED);
    result(worker, first);
    expect_done(client, 1);
    delivered(client);
    flush();
}

static void a_task_that_ends_before_the_cancel_takes_effect_has_succeeded(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT), *worker = worker_up(WORKER);
    submit(client, 1);
    flush();
    uint64_t ticket = expect(worker, MESSAGE_ASSIGN).assign.ticket;
    cancel(client, 1);
    expect(worker, MESSAGE_STOP);
    result(worker, ticket);
    expect_done(client, 1);
    expect_nothing(client);
}

static void a_client_that_goes_takes_its_tasks_with_it(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT), *other = client_up(CLIENT + 1), *worker = worker_up(WORKER);
    submit(client, 1);
    flush();
    uint64_t ticket = expect(worker, MESSAGE_ASSIGN).assign.ticket;
    submit(client, 2);
    disconnect(client, false);
    assert_int_equal(expect(worker, MESSAGE_STOP).stop.ticket, ticket);
    assert_int_equal(counts().queued, 0);
    struct message value = result_of(ticket);
    value.result.encoding |= ENCODING_SEGMENT;
    value.result.value = bytes_string("/segment");
    tell(worker, value);
    assert_string_equal(world.discarded, "/segment ");
    submit(other, 1);
    flush();
    assert_int_equal(expect(worker, MESSAGE_ASSIGN).assign.client, CLIENT + 1);
}

static void argument_segments_are_discarded_with_their_client_only(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT);
    struct message message = submission(1);
    message.submit.encoding |= ENCODING_SEGMENT;
    message.submit.args = bytes_string("/args");
    tell(client, message);
    cancel(client, 1);
    assert_string_equal(world.discarded, "");
    delivered(client);
    message.submit.number = 2;
    tell(client, message);
    disconnect(client, true);
    assert_string_equal(world.discarded, "/args ");
}

static void result_segments_belong_to_whoever_can_reach_them(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT), *worker = worker_up(WORKER);
    struct fake *remote = connect_peer(ROLE_CLIENT, CLIENT + 1, 0);
    remote->peer.domain = "there";
    define(remote, 0, "work");
    submit(client, 1);
    submit(remote, 1);
    flush();
    assert_int_equal(expect(worker, MESSAGE_ASSIGN).assign.owner, client->peer.pid);
    assert_int_equal(expect(worker, MESSAGE_ASSIGN).assign.owner, 1000); /* the coordinator sends the bytes on */
    struct fake *far = connect_peer(ROLE_WORKER, WORKER + 1, SUPERVISOR);
    far->peer.domain = "elsewhere";
    offer(far, "work");
    submit(client, 2);
    flush();
    assert_int_equal(expect(far, MESSAGE_ASSIGN).assign.owner, 0);
}

static void nobody_offers_the_function(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT);
    define_labels(client, 1, "paint", (const char *[]){"gpu=1", "disk=ssd"}, 2);
    struct message message = submission(1);
    message.submit.function = 1;
    tell(client, message);
    flush();
    later(3600 * NS_PER_S); /* no worker at all: it waits */
    expect_nothing(client);
    struct fake *worker = connect_peer(ROLE_WORKER, WORKER, SUPERVISOR);
    offer_labels(worker, (const char *[]){"paint", "work"}, 2, (const char *[]){"gpu=1"}, 1);
    flush();
    uint64_t deadline = coordinator_deadline(world.coordinator);
    assert_int_equal(deadline, world.now_ns + world.config.function_grace_ns);
    later(world.config.function_grace_ns - 1);
    expect_nothing(client);
    later(1);
    struct message failed = expect_failed(client, 1, MUSTER_ENOFUNCTION);
    assert_true(contains(failed.failed.message, "\"paint\" with the labels disk=ssd, gpu=1"));
    assert_true(contains(failed.failed.message, "offer paint, work with the labels gpu=1"));
}

static void a_worker_that_comes_in_time_gets_the_waiting_task(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT), *other = connect_peer(ROLE_WORKER, WORKER, SUPERVISOR);
    offer(other, "something else");
    submit(client, 1);
    later(world.config.function_grace_ns / 2);
    struct fake *worker = worker_up(WORKER + 1);
    later(world.config.function_grace_ns);
    expect(worker, MESSAGE_ASSIGN);
    expect_nothing(client);
}

static void labels_choose_the_worker(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT);
    struct fake *plain = worker_up(WORKER), *labelled = connect_peer(ROLE_WORKER, WORKER + 1, SUPERVISOR);
    offer_labels(labelled, (const char *[]){"other", "work"}, 2, (const char *[]){"b", "a", "b"}, 3);
    define_labels(client, 1, "work", (const char *[]){"a", "b"}, 2);
    struct message message = submission(1);
    message.submit.function = 1;
    tell(client, message);
    flush();
    assert_int_equal(expect(labelled, MESSAGE_ASSIGN).assign.function, 1);
    expect_nothing(plain);
}

static void no_worker_can_be_kept_running(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT), *supervisor = connect_peer(ROLE_SUPERVISOR, SUPERVISOR, 0);
    submit(client, 1);
    flush();
    struct message message = {.type = MESSAGE_GAVE_UP};
    message.gave_up.reason = bytes_string("tasks.so cannot be loaded");
    tell(supervisor, message);
    flush();
    struct message failed = expect_failed(client, 1, MUSTER_EWORKERS);
    assert_true(contains(failed.failed.message, "tasks.so cannot be loaded"));
    submit(client, 2); /* and so will all that follow */
    flush();
    expect_failed(client, 2, MUSTER_EWORKERS);
    struct fake *second = connect_peer(ROLE_SUPERVISOR, SUPERVISOR + 1, 0);
    submit(client, 3); /* there is hope again */
    flush();
    expect_nothing(client);
    disconnect(second, true);
    flush();
    expect_failed(client, 3, MUSTER_EWORKERS);
}

static void a_draining_coordinator_takes_nothing_and_finishes_what_it_has(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT), *worker = worker_up(WORKER);
    submit(client, 1);
    flush();
    assert_false(coordinator_drained(world.coordinator));
    coordinator_drain(world.coordinator);
    submit(client, 2);
    expect_failed(client, 2, MUSTER_ECLOSED);
    assert_false(coordinator_drained(world.coordinator));
    result(worker, expect(worker, MESSAGE_ASSIGN).assign.ticket);
    expect_done(client, 1);
    assert_false(coordinator_drained(world.coordinator));
    delivered(client);
    assert_true(coordinator_drained(world.coordinator));
}

static void a_draining_worker_is_dismissed_when_all_is_settled(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT), *worker = worker_up(WORKER);
    submit(client, 1);
    submit(client, 2);
    flush();
    uint64_t first = expect(worker, MESSAGE_ASSIGN).assign.ticket,
             second = expect(worker, MESSAGE_ASSIGN).assign.ticket;
    tell(worker, (struct message){.type = MESSAGE_DRAINING});
    assert_int_equal(expect(worker, MESSAGE_RECALL).recall.ticket, first); /* it runs: no answer */
    assert_int_equal(expect(worker, MESSAGE_RECALL).recall.ticket, second);
    tell_ticket(worker, MESSAGE_RETURNED, second);
    flush();
    assert_int_equal(counts().queued, 1);
    result(worker, first);
    flush();
    expect_nothing(worker);
    expect_done(client, 1);
    delivered(client);
    flush();
    expect(worker, MESSAGE_DISMISS);
    disconnect(worker, true);
    struct fake *replacement = worker_up(WORKER + 1);
    flush();
    assert_int_equal(expect(replacement, MESSAGE_ASSIGN).assign.number, 2);
}

static void status_is_one_json_object(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT), *worker = worker_up(WORKER);
    define(client, 1, "quote\" and \x01 and \xff");
    struct message message = submission(1);
    message.submit.function = 1;
    tell(client, message);
    submit(client, 2);
    flush();
    result(worker, expect(worker, MESSAGE_ASSIGN).assign.ticket);
    later(2 * NS_PER_S);
    struct message ask = {.type = MESSAGE_STATUS};
    ask.status.request = 5;
    tell(client, ask);
    expect_done(client, 2);
    struct message report = expect(client, MESSAGE_REPORT);
    assert_int_equal(report.report.request, 5);
    assert_true(contains(report.report.json, "\"succeeded\":1"));
    assert_true(contains(report.report.json, "quote\\\" and \\u0001 and \xef\xbf\xbd"));
    assert_true(contains(report.report.json, "\"mean_seconds\":0.001"));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_task_goes_to_a_worker_and_its_result_to_the_client),
        T(a_repeated_submit_is_harmless),
        T(a_repeated_result_is_dropped),
        T(a_task_is_settled_only_when_its_client_has_the_outcome),
        T(settled_goes_before_the_next_assign_and_covers_a_whole_batch),
        T(a_failure_reaches_the_client_with_all_that_is_known),
        T(progress_and_log_reach_the_client_that_wants_them),
        T(clients_hear_of_a_changed_number_of_workers_once_a_batch),
        T(a_queued_task_is_cancelled_at_once),
        T(an_unstarted_task_at_a_worker_is_cancelled_there),
        T(a_task_that_ends_before_the_cancel_takes_effect_has_succeeded),
        T(a_client_that_goes_takes_its_tasks_with_it),
        T(argument_segments_are_discarded_with_their_client_only),
        T(result_segments_belong_to_whoever_can_reach_them),
        T(nobody_offers_the_function),
        T(a_worker_that_comes_in_time_gets_the_waiting_task),
        T(labels_choose_the_worker),
        T(no_worker_can_be_kept_running),
        T(a_draining_coordinator_takes_nothing_and_finishes_what_it_has),
        T(a_draining_worker_is_dismissed_when_all_is_settled),
        T(status_is_one_json_object),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
