/*
 * What the coordinator does when a worker, a supervisor, a client or a network fails: the table of failures, row by
 * row.
 */
#include "coordinator_fixture.h"

static struct fake *client, *supervisor, *worker;

/* One client with `tasks` tasks, all at one worker; tickets[i] is task i + 1's. */
static void world_with_tasks(size_t tasks, uint64_t *tickets)
{
    supervisor = connect_peer(ROLE_SUPERVISOR, SUPERVISOR, 0);
    client = client_up(CLIENT);
    worker = worker_up(WORKER);
    for (size_t i = 0; i < tasks; i++)
        submit(client, i + 1);
    flush();
    for (size_t i = 0; i < tasks && i < 2; i++)
        tickets[i] = expect(worker, MESSAGE_ASSIGN).assign.ticket;
}

static void submit_with_retries(uint64_t number, uint64_t retries, uint64_t flags)
{
    struct message message = submission(number);
    message.submit.retries = retries;
    message.submit.flags = flags;
    tell(client, message);
    flush();
}

static void a_killed_worker_loses_only_its_running_task(void **state)
{
    (void)state;
    uint64_t tickets[2];
    world_with_tasks(3, tickets);
    tell_ticket(worker, MESSAGE_STARTED, tickets[0]);
    tell(supervisor, exit_of(WORKER, tickets[0]));
    struct message failed = expect_failed(client, 1, MUSTER_ELOST);
    assert_true(
        contains(failed.failed.message, "worker \"box/0\" (host box, pid 5021) was ended by signal 9 (SIGKILL)"));
    assert_true(contains(failed.failed.message, "\"work\" (task 1)"));
    assert_int_equal(failed.failed.signal, 9);
    assert_int_equal(failed.failed.exit_status, -1);
    assert_int_equal(failed.failed.pid, 5021);
    assert_int_equal(counts().queued, 2);
    struct fake *next_worker = worker_up(WORKER + 1);
    flush();
    assert_int_equal(expect(next_worker, MESSAGE_ASSIGN).assign.number, 2); /* in the order that they came */
    assert_int_equal(expect(next_worker, MESSAGE_ASSIGN).assign.number, 3);
    expect_nothing(client);
}

static void the_broken_connection_alone_decides_nothing_while_the_supervisor_lives(void **state)
{
    (void)state;
    uint64_t tickets[2];
    world_with_tasks(2, tickets);
    disconnect(worker, false);
    flush();
    expect_nothing(client);
    assert_int_equal(coordinator_deadline(world.coordinator), world.now_ns + world.config.heartbeat_ns);
    tell(supervisor, exit_of(WORKER, tickets[0]));
    expect_failed(client, 1, MUSTER_ELOST);
    assert_int_equal(counts().queued, 1);
}

static void an_idle_worker_that_dies_loses_nothing(void **state)
{
    (void)state;
    uint64_t tickets[2];
    world_with_tasks(1, tickets);
    tell(supervisor, exit_of(WORKER, 0));
    flush();
    expect_nothing(client);
    assert_int_equal(counts().queued, 1);
    expect(supervisor, MESSAGE_RELEASE);
    disconnect(worker, false);
    flush();
}

static void a_worker_killed_for_memory_is_reported_as_such(void **state)
{
    (void)state;
    uint64_t tickets[2];
    world_with_tasks(1, tickets);
    struct message message = exit_of(WORKER, tickets[0]);
    message.exit.memory = 1;
    message.exit.message = bytes_string("allocating...");
    tell(supervisor, message);
    struct message failed = expect_failed(client, 1, MUSTER_ELOST);
    assert_true(contains(failed.failed.message, "killed by the kernel for memory"));
    assert_true(contains(failed.failed.message, "allocating..."));
}

static void a_worker_that_exits_is_reported_with_its_status(void **state)
{
    (void)state;
    uint64_t tickets[2];
    world_with_tasks(1, tickets);
    struct message message = exit_of(WORKER, tickets[0]);
    message.exit.signal = 0;
    message.exit.exit_status = 3;
    tell(supervisor, message);
    struct message failed = expect_failed(client, 1, MUSTER_ELOST);
    assert_true(contains(failed.failed.message, "ended with exit status 3"));
    assert_int_equal(failed.failed.exit_status, 3);
}

static void a_lost_chunk_names_the_item_that_ran(void **state)
{
    (void)state;
    uint64_t tickets[2];
    world_with_tasks(0, tickets);
    struct message message = submission(1);
    message.submit.items = 10;
    tell(client, message);
    flush();
    message = exit_of(WORKER, expect(worker, MESSAGE_ASSIGN).assign.ticket);
    message.exit.item = 6;
    tell(supervisor, message);
    struct message failed = expect_failed(client, 1, MUSTER_ELOST);
    assert_int_equal(failed.failed.item, 6);
    assert_true(contains(failed.failed.message, "item 6"));
}

static void a_salvaged_outcome_counts_as_if_the_worker_had_sent_it(void **state)
{
    (void)state;
    uint64_t tickets[2];
    world_with_tasks(2, tickets);
    disconnect(worker, false);
    salvage(supervisor, WORKER, CLIENT, 1, result_of(tickets[0]));
    salvage(supervisor, WORKER, CLIENT, 1, result_of(tickets[0]));
    tell(supervisor, exit_of(WORKER, tickets[1]));
    expect_done(client, 1);
    expect_failed(client, 2, MUSTER_ELOST);
    expect_nothing(client);
}

static void a_dead_worker_is_released_when_its_outcomes_are_settled(void **state)
{
    (void)state;
    uint64_t tickets[2];
    world_with_tasks(1, tickets);
    disconnect(worker, false);
    salvage(supervisor, WORKER, CLIENT, 1, result_of(tickets[0]));
    tell(supervisor, exit_of(WORKER, tickets[0]));
    flush();
    expect_nothing(supervisor); /* the client may not have it yet: the page is still needed */
    expect_done(client, 1);
    delivered(client);
    flush();
    assert_int_equal(expect(supervisor, MESSAGE_RELEASE).release.worker, WORKER);
    expect_nothing(supervisor);
}

static void what_a_dead_worker_said_last_is_dropped_after_its_exit(void **state)
{
    (void)state;
    uint64_t tickets[2];
    world_with_tasks(1, tickets);
    tell(supervisor, exit_of(WORKER, tickets[0]));
    expect_failed(client, 1, MUSTER_ELOST);
    result(worker, tickets[0]); /* was still on its way */
    tell_ticket(worker, MESSAGE_STARTED, tickets[0] + 100);
    expect_nothing(client);
    disconnect(worker, false);
    flush();
}

static void an_exit_that_is_said_again_changes_nothing(void **state)
{
    (void)state;
    uint64_t tickets[2];
    world_with_tasks(1, tickets);
    tell(supervisor, exit_of(WORKER, tickets[0]));
    disconnect(worker, false);
    disconnect(supervisor, false);
    supervisor = connect_peer(ROLE_SUPERVISOR, SUPERVISOR, 0);
    tell(supervisor, exit_of(WORKER, tickets[0]));
    expect_failed(client, 1, MUSTER_ELOST);
    delivered(client);
    flush();
    expect(supervisor, MESSAGE_RELEASE);
    tell(supervisor, exit_of(WORKER, tickets[0])); /* RELEASE had not arrived */
    flush();
    expect(supervisor, MESSAGE_RELEASE);
    expect_nothing(client);
}

static void a_lost_task_runs_again_if_it_has_retries(void **state)
{
    (void)state;
    uint64_t tickets[2];
    world_with_tasks(0, tickets);
    submit_with_retries(1, 1, TASK_RETRY_LOST_ONLY);
    tell(supervisor, exit_of(WORKER, expect(worker, MESSAGE_ASSIGN).assign.ticket));
    expect_nothing(client);
    struct fake *second = worker_up(WORKER + 1);
    flush();
    tell(supervisor, exit_of(WORKER + 1, expect(second, MESSAGE_ASSIGN).assign.ticket));
    expect_failed(client, 1, MUSTER_ELOST);
    assert_int_equal(counts().retried, 1);
}

static void an_error_is_retried_unless_only_losses_are(void **state)
{
    (void)state;
    uint64_t tickets[2];
    world_with_tasks(0, tickets);
    submit_with_retries(1, 1, 0);
    failure(worker, expect(worker, MESSAGE_ASSIGN).assign.ticket, MUSTER_ETASK);
    expect_nothing(client);
    flush();
    result(worker, expect(worker, MESSAGE_ASSIGN).assign.ticket);
    expect_done(client, 1);
    submit_with_retries(2, 5, TASK_RETRY_LOST_ONLY);
    failure(worker, expect(worker, MESSAGE_ASSIGN).assign.ticket, MUSTER_ETASK);
    expect_failed(client, 2, MUSTER_ETASK);
}

static void a_cancelled_task_is_never_run_again(void **state)
{
    (void)state;
    uint64_t tickets[2];
    world_with_tasks(0, tickets);
    submit_with_retries(1, 5, 0);
    uint64_t ticket = expect(worker, MESSAGE_ASSIGN).assign.ticket;
    cancel(client, 1);
    tell(supervisor, exit_of(WORKER, ticket));
    expect_failed(client, 1, MUSTER_ECANCELED);
    assert_int_equal(counts().queued, 0);
}

/* --- time limits -------------------------------------------------------------------------------------------------- */

static uint64_t start_limited(uint64_t grace_ms, uint64_t retries)
{
    struct message message = submission(1);
    message.submit.time_limit_ms = 200;
    message.submit.grace_ms = grace_ms;
    message.submit.retries = retries;
    tell(client, message);
    flush();
    struct message assign = expect(worker, MESSAGE_ASSIGN);
    assert_true(assign.assign.flags & TASK_REPORT_START);
    later(5 * NS_PER_S); /* the clock stands until it starts */
    expect_nothing(worker);
    tell_ticket(worker, MESSAGE_STARTED, assign.assign.ticket);
    later(200 * MS - 1);
    expect_nothing(worker);
    later(1);
    expect(worker, MESSAGE_STOP);
    return assign.assign.ticket;
}

static void a_task_over_its_time_limit_is_stopped_and_timed_out(void **state)
{
    (void)state;
    uint64_t tickets[2];
    world_with_tasks(0, tickets);
    struct message late = result_of(start_limited(0, 0));
    late.result.run_us = 200001;
    tell(worker, late);
    struct message failed = expect_failed(client, 1, MUSTER_ETIMEDOUT);
    assert_true(contains(failed.failed.message, "0.200 s"));
    expect_nothing(client);
    later(10 * NS_PER_S);
    expect_nothing(supervisor); /* it has stopped: no kill */
}

static void a_task_that_ignores_the_stop_is_killed_after_the_grace_time(void **state)
{
    (void)state;
    uint64_t tickets[2];
    world_with_tasks(0, tickets);
    uint64_t ticket = start_limited(0, 0);
    later(NS_PER_S - 1);
    expect_nothing(supervisor);
    later(1);
    struct message message = expect(supervisor, MESSAGE_KILL);
    assert_int_equal(message.kill.worker, WORKER);
    tell(supervisor, exit_of(WORKER, ticket));
    expect_failed(client, 1, MUSTER_ETIMEDOUT);
    disconnect(worker, false);
}

static void the_grace_time_can_be_chosen_and_a_time_limit_can_be_retried(void **state)
{
    (void)state;
    uint64_t tickets[2];
    world_with_tasks(0, tickets);
    uint64_t ticket = start_limited(50, 1);
    later(50 * MS);
    expect(supervisor, MESSAGE_KILL);
    tell(supervisor, exit_of(WORKER, ticket));
    disconnect(worker, false);
    struct fake *second = worker_up(WORKER + 1);
    flush();
    result(second, expect(second, MESSAGE_ASSIGN).assign.ticket);
    expect_done(client, 1);
}

static void a_result_before_the_limit_is_a_success(void **state)
{
    (void)state;
    uint64_t tickets[2];
    world_with_tasks(0, tickets);
    struct message message = submission(1);
    message.submit.time_limit_ms = 200;
    tell(client, message);
    flush();
    uint64_t ticket = expect(worker, MESSAGE_ASSIGN).assign.ticket;
    tell_ticket(worker, MESSAGE_STARTED, ticket);
    world.now_ns += 200 * MS; /* it arrives in the same batch as the tick, and before it */
    result(worker, ticket);
    later(0);
    expect_done(client, 1);
    expect_nothing(worker);
}

static void a_task_that_ended_in_time_has_succeeded_however_late_the_word_of_it(void **state)
{
    (void)state;
    uint64_t tickets[2];
    world_with_tasks(0, tickets);
    struct message late = result_of(start_limited(0, 0));
    late.result.run_us = 199999;
    tell(worker, late);
    expect_done(client, 1);
}

static void a_supervisor_that_was_away_is_asked_to_kill_when_it_comes_back(void **state)
{
    (void)state;
    uint64_t tickets[2];
    world_with_tasks(1, tickets);
    cancel(client, 1);
    disconnect(supervisor, false);
    later(NS_PER_S);
    expect_failed(client, 1, MUSTER_ECANCELED);
    supervisor = connect_peer(ROLE_SUPERVISOR, SUPERVISOR, 0);
    assert_int_equal(expect(supervisor, MESSAGE_KILL).kill.worker, WORKER);
}

static void nothing_waits_behind_a_task_that_may_be_killed(void **state)
{
    (void)state;
    uint64_t tickets[2];
    world_with_tasks(2, tickets);
    cancel(client, 1);
    assert_int_equal(expect(worker, MESSAGE_STOP).stop.ticket, tickets[0]);
    assert_int_equal(expect(worker, MESSAGE_RECALL).recall.ticket, tickets[1]);
    tell_ticket(worker, MESSAGE_RETURNED, tickets[1]);
    flush();
    expect_nothing(worker); /* it gets no other task meanwhile */
    later(NS_PER_S);
    expect(supervisor, MESSAGE_KILL);
    tell(supervisor, exit_of(WORKER, tickets[0]));
    expect_failed(client, 1, MUSTER_ECANCELED);
    assert_int_equal(counts().queued, 1);
}

static void a_worker_that_nobody_can_kill_does_not_keep_its_client_waiting(void **state)
{
    (void)state;
    uint64_t tickets[2];
    world_with_tasks(1, tickets);
    disconnect(supervisor, true);
    cancel(client, 1);
    later(NS_PER_S);
    expect_failed(client, 1, MUSTER_ECANCELED);
    submit(client, 2);
    flush();
    expect(worker, MESSAGE_STOP);
    expect_nothing(worker); /* it still runs the old one */
    result(worker, tickets[0]);
    flush();
    assert_int_equal(expect(worker, MESSAGE_ASSIGN).assign.number, 2); /* now it does not */
    expect_nothing(client);
}

static void a_kill_that_nobody_confirms_does_not_keep_the_client_waiting(void **state)
{
    (void)state;
    uint64_t tickets[2];
    world_with_tasks(0, tickets);
    uint64_t ticket = start_limited(0, 5);
    later(NS_PER_S);
    expect(supervisor, MESSAGE_KILL);
    later(world.config.heartbeat_ns);
    expect_failed(client, 1, MUSTER_ETIMEDOUT); /* and it is not tried again while it may still run */
    tell(supervisor, exit_of(WORKER, ticket));
    expect_nothing(client);
    assert_int_equal(counts().queued, 0);
}

/* --- hosts and networks ------------------------------------------------------------------------------------------- */

static void a_lost_host_loses_or_retries_all_that_its_workers_held(void **state)
{
    (void)state;
    uint64_t tickets[2];
    world_with_tasks(2, tickets);
    submit_with_retries(3, 1, 0);
    disconnect(worker, false);
    expect_nothing(client);
    disconnect(supervisor, false);
    struct message failed = expect_failed(client, 1, MUSTER_ELOST);
    assert_true(contains(failed.failed.message, "cut off (its connection broke)"));
    expect_failed(client, 2, MUSTER_ELOST);
    expect_nothing(client);
    assert_int_equal(counts().queued, 1);
}

static void a_supervisor_that_stays_silent_is_not_waited_for_beyond_the_heartbeat(void **state)
{
    (void)state;
    uint64_t tickets[2];
    world_with_tasks(1, tickets);
    disconnect(worker, false);
    later(world.config.heartbeat_ns - 1);
    expect_nothing(client);
    later(1);
    expect_failed(client, 1, MUSTER_ELOST);
    tell(supervisor, exit_of(WORKER, tickets[0]));
    expect_nothing(client);
}

static void a_worker_that_comes_back_keeps_what_it_claims(void **state)
{
    (void)state;
    uint64_t tickets[2];
    world_with_tasks(2, tickets);
    disconnect(worker, false);
    worker = connect_peer(ROLE_WORKER, WORKER, SUPERVISOR);
    claim(worker, tickets[0], CLIENT, 1, CLAIM_RUNNING);
    offer(worker, "work"); /* the other one never arrived */
    struct fake *second = worker_up(WORKER + 1);
    flush();
    struct message again = expect(second, MESSAGE_ASSIGN);
    assert_int_equal(again.assign.number, 2);
    assert_true(again.assign.ticket > tickets[1]);
    result(worker, tickets[0]);
    expect_done(client, 1);
    expect_nothing(client);
}

static void a_worker_that_comes_back_too_late_is_told_to_forget(void **state)
{
    (void)state;
    uint64_t tickets[2];
    world_with_tasks(2, tickets);
    disconnect(worker, false);
    later(world.config.heartbeat_ns);
    expect_failed(client, 1, MUSTER_ELOST);
    expect_failed(client, 2, MUSTER_ELOST);
    worker = connect_peer(ROLE_WORKER, WORKER, SUPERVISOR);
    claim(worker, tickets[0], CLIENT, 1, CLAIM_FINISHED);
    result(worker, tickets[0]);
    claim(worker, tickets[1], CLIENT, 2, CLAIM_RUNNING);
    offer(worker, "work");
    assert_int_equal(expect(worker, MESSAGE_STOP).stop.ticket, tickets[1]);
    failure(worker, tickets[1], MUSTER_ECANCELED);
    expect_nothing(client);
    delivered(client);
    flush();
    submit(client, 3);
    flush();
    struct message message;
    assert_true(next(worker, &message) && message.type == MESSAGE_SETTLED && message.settled.ticket == tickets[1]);
    assert_int_equal(expect(worker, MESSAGE_ASSIGN).assign.number, 3);
}

static void a_cancel_reaches_a_worker_that_was_away(void **state)
{
    (void)state;
    uint64_t tickets[2];
    world_with_tasks(1, tickets);
    disconnect(worker, false);
    cancel(client, 1);
    worker = connect_peer(ROLE_WORKER, WORKER, SUPERVISOR);
    claim(worker, tickets[0], CLIENT, 1, CLAIM_RUNNING);
    assert_int_equal(expect(worker, MESSAGE_STOP).stop.ticket, tickets[0]);
    failure(worker, tickets[0], MUSTER_ECANCELED);
    expect_failed(client, 1, MUSTER_ECANCELED);
}

static void a_second_session_of_the_same_peer_replaces_the_first(void **state)
{
    (void)state;
    uint64_t tickets[2];
    world_with_tasks(1, tickets);
    struct fake *again = connect_peer(ROLE_WORKER, WORKER, SUPERVISOR);
    claim(again, tickets[0], CLIENT, 1, CLAIM_RUNNING);
    offer(again, "work");
    result(worker, tickets[0]); /* the old session has no say */
    expect_nothing(client);
    disconnect(worker, false);
    result(again, tickets[0]);
    expect_done(client, 1);
    struct fake *client_again = client_up(CLIENT);
    submit(client_again, 1);
    disconnect(client, false);
    assert_int_equal(counts().clients, 1);
}

static void a_worker_that_cannot_be_sent_to_gets_no_task(void **state)
{
    (void)state;
    uint64_t tickets[2];
    world_with_tasks(0, tickets);
    worker->send_status = MUSTER_ENOMEM;
    submit(client, 1);
    flush();
    assert_int_equal(counts().queued, 1);
    struct fake *second = worker_up(WORKER + 1);
    flush();
    expect(second, MESSAGE_ASSIGN);
    disconnect(worker, false);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_killed_worker_loses_only_its_running_task),
        T(the_broken_connection_alone_decides_nothing_while_the_supervisor_lives),
        T(an_idle_worker_that_dies_loses_nothing),
        T(a_worker_killed_for_memory_is_reported_as_such),
        T(a_worker_that_exits_is_reported_with_its_status),
        T(a_lost_chunk_names_the_item_that_ran),
        T(a_salvaged_outcome_counts_as_if_the_worker_had_sent_it),
        T(a_dead_worker_is_released_when_its_outcomes_are_settled),
        T(what_a_dead_worker_said_last_is_dropped_after_its_exit),
        T(an_exit_that_is_said_again_changes_nothing),
        T(a_lost_task_runs_again_if_it_has_retries),
        T(an_error_is_retried_unless_only_losses_are),
        T(a_cancelled_task_is_never_run_again),
        T(a_task_over_its_time_limit_is_stopped_and_timed_out),
        T(a_task_that_ignores_the_stop_is_killed_after_the_grace_time),
        T(the_grace_time_can_be_chosen_and_a_time_limit_can_be_retried),
        T(a_result_before_the_limit_is_a_success),
        T(a_task_that_ended_in_time_has_succeeded_however_late_the_word_of_it),
        T(a_supervisor_that_was_away_is_asked_to_kill_when_it_comes_back),
        T(nothing_waits_behind_a_task_that_may_be_killed),
        T(a_worker_that_nobody_can_kill_does_not_keep_its_client_waiting),
        T(a_kill_that_nobody_confirms_does_not_keep_the_client_waiting),
        T(a_lost_host_loses_or_retries_all_that_its_workers_held),
        T(a_supervisor_that_stays_silent_is_not_waited_for_beyond_the_heartbeat),
        T(a_worker_that_comes_back_keeps_what_it_claims),
        T(a_worker_that_comes_back_too_late_is_told_to_forget),
        T(a_cancel_reaches_a_worker_that_was_away),
        T(a_second_session_of_the_same_peer_replaces_the_first),
        T(a_worker_that_cannot_be_sent_to_gets_no_task),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
