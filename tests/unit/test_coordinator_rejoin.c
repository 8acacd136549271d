/*
 * After a restart of the coordinator: clients submit again, workers claim, supervisors hand in, and what belongs
 * together is joined, in whatever order they come.
 */
#include "coordinator_fixture.h"

static struct fake *claiming(uint64_t identity)
{
    return connect_peer(ROLE_WORKER, identity, SUPERVISOR);
}

static void a_resubmitted_task_waits_for_its_claim(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT), *idle = worker_up(WORKER + 1);
    resubmit(client, 5);
    flush();
    expect_nothing(idle);
    struct fake *worker = claiming(WORKER);
    claim(worker, 33, CLIENT, 5, CLAIM_RUNNING);
    offer(worker, "work");
    later(2 * world.config.heartbeat_ns);
    expect_nothing(idle);
    expect_nothing(worker);
    result(worker, 33);
    expect_done(client, 5);
    delivered(client);
    submit(client, 6);
    submit(client, 7);
    flush();
    assert_true(expect(worker, MESSAGE_ASSIGN).assign.ticket > 33);
}

static void a_claim_waits_for_its_client(void **state)
{
    (void)state;
    struct fake *worker = claiming(WORKER);
    claim(worker, 33, CLIENT, 5, CLAIM_RUNNING);
    claim(worker, 34, CLIENT, 6, CLAIM_WAITING);
    offer(worker, "work");
    struct fake *client = client_up(CLIENT);
    resubmit(client, 5);
    resubmit(client, 6);
    result(worker, 33);
    expect_done(client, 5);
    result(worker, 34);
    expect_done(client, 6);
    expect_nothing(worker);
}

static void an_outcome_waits_for_its_client(void **state)
{
    (void)state;
    struct fake *worker = claiming(WORKER);
    claim(worker, 33, CLIENT, 5, CLAIM_FINISHED);
    result(worker, 33);
    claim(worker, 34, CLIENT, 6, CLAIM_FINISHED);
    failure(worker, 34, MUSTER_ETASK);
    offer(worker, "work");
    flush();
    struct fake *client = client_up(CLIENT);
    resubmit(client, 5);
    resubmit(client, 6);
    expect_done(client, 5);
    struct message failed = expect_failed(client, 6, MUSTER_ETASK);
    assert_true(bytes_equal(failed.failed.message, bytes_string("it broke")));
    assert_true(bytes_equal(failed.failed.worker, bytes_string("box/0")));
    delivered(client);
    later(2 * NS_PER_S);
    struct message message;
    assert_true(next(worker, &message) && message.type == MESSAGE_SETTLED && message.settled.ticket == 34);
}

static void an_outcome_for_which_there_is_no_room_is_a_failure(void **state)
{
    (void)state;
    struct coordinator_config config = world.config;
    config.total_bytes = WORK_COST + 1500;
    start_with(&config);
    static char large[900];
    struct message message = {.type = MESSAGE_RESULT};
    message.result.value = (struct bytes){large, sizeof large};
    struct fake *worker = claiming(WORKER);
    for (uint64_t number = 5; number <= 6; number++) {
        claim(worker, 33 + number, CLIENT, number, CLAIM_FINISHED);
        message.result.ticket = 33 + number;
        tell(worker, message);
    }
    struct fake *client = client_up(CLIENT);
    resubmit(client, 5);
    expect_done(client, 5);
    resubmit(client, 6);
    expect_failed(client, 6, MUSTER_ELIMIT);
}

static void what_nobody_claims_runs_when_the_window_is_over(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT), *worker = worker_up(WORKER);
    resubmit(client, 5);
    resubmit(client, 6);
    cancel(client, 6);
    later(world.config.heartbeat_ns - 1);
    expect_nothing(worker);
    expect_nothing(client);
    later(1);
    assert_int_equal(expect(worker, MESSAGE_ASSIGN).assign.number, 5);
    expect_failed(client, 6, MUSTER_ECANCELED);
}

static void who_comes_back_after_the_window_is_told_that_nobody_knows(void **state)
{
    (void)state;
    later(world.config.heartbeat_ns);
    struct fake *worker = worker_up(WORKER), *client = client_up(CLIENT);
    resubmit(client, 7); /* a worker may have claimed it, and been told to stop, before */
    flush();
    expect_failed(client, 7, MUSTER_ELOST);
    expect_nothing(worker);
    submit(client, 8);
    flush();
    assert_int_equal(expect(worker, MESSAGE_ASSIGN).assign.number, 8);
}

static void a_claim_whose_client_stays_away_is_stopped_and_settled(void **state)
{
    (void)state;
    struct fake *worker = claiming(WORKER);
    claim(worker, 33, CLIENT, 5, CLAIM_FINISHED);
    struct message value = result_of(33);
    value.result.encoding |= ENCODING_SEGMENT;
    value.result.value = bytes_string("/segment");
    tell(worker, value);
    claim(worker, 34, CLIENT, 6, CLAIM_RUNNING);
    offer(worker, "work");
    later(world.config.heartbeat_ns);
    assert_int_equal(expect(worker, MESSAGE_STOP).stop.ticket, 34);
    assert_string_equal(world.discarded, "/segment ");
    failure(worker, 34, MUSTER_ECANCELED);
    later(2 * NS_PER_S);
    struct message message, last = {0};
    while (next(worker, &message))
        last = message;
    assert_int_equal(last.type, MESSAGE_SETTLED);
    assert_int_equal(last.settled.ticket, 34);
}

static void a_client_that_is_still_submitting_keeps_its_claims(void **state)
{
    (void)state;
    struct fake *worker = claiming(WORKER);
    claim(worker, 33, CLIENT, 5, CLAIM_RUNNING);
    offer(worker, "work");
    later(world.config.heartbeat_ns - NS_PER_S);
    struct fake *client = client_up(CLIENT);
    resubmit(client, 4);
    later(2 * NS_PER_S); /* the coordinator's window is over, the client's is not */
    resubmit(client, 5);
    flush();
    result(worker, 33);
    expect_done(client, 5);
}

static void a_claim_outside_the_window_is_given_up(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT);
    later(2 * world.config.heartbeat_ns);
    submit(client, 5);
    struct fake *worker = claiming(WORKER);
    claim(worker, 33, CLIENT, 5, CLAIM_RUNNING); /* not the one that was submitted now */
    claim(worker, 34, CLIENT + 1, 1, CLAIM_RUNNING);
    assert_int_equal(expect(worker, MESSAGE_STOP).stop.ticket, 33);
    assert_int_equal(expect(worker, MESSAGE_STOP).stop.ticket, 34);
}

static void only_one_of_two_workers_that_claim_a_task_has_it(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT), *first = claiming(WORKER), *second = claiming(WORKER + 1);
    resubmit(client, 5);
    claim(first, 33, CLIENT, 5, CLAIM_RUNNING);
    claim(second, 33, CLIENT, 5, CLAIM_RUNNING);
    assert_int_equal(expect(second, MESSAGE_STOP).stop.ticket, 33);
    result(second, 33);
    expect_nothing(client);
    result(first, 33);
    expect_done(client, 5);
}

static void a_dead_worker_of_before_hands_in_its_outcomes(void **state)
{
    (void)state;
    struct fake *supervisor = connect_peer(ROLE_SUPERVISOR, SUPERVISOR, 0);
    salvage(supervisor, WORKER, CLIENT, 5, result_of(33));
    struct message ended = exit_of(WORKER, 34);
    ended.exit.client = CLIENT;
    ended.exit.number = 6;
    tell(supervisor, ended);
    flush();
    expect_nothing(supervisor);
    struct fake *client = client_up(CLIENT);
    resubmit(client, 5);
    resubmit(client, 6);
    resubmit(client, 7);
    expect_done(client, 5);
    struct message failed = expect_failed(client, 6, MUSTER_ELOST);
    assert_true(contains(failed.failed.message, "SIGKILL"));
    expect_nothing(client);
    delivered(client);
    flush();
    expect(supervisor, MESSAGE_RELEASE);
    struct fake *worker = worker_up(WORKER + 1);
    later(world.config.heartbeat_ns);
    assert_int_equal(expect(worker, MESSAGE_ASSIGN).assign.number, 7); /* had not started */
}

static void the_client_may_come_before_the_dead_workers_outcomes(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT), *supervisor = connect_peer(ROLE_SUPERVISOR, SUPERVISOR, 0);
    resubmit(client, 5);
    resubmit(client, 6);
    salvage(supervisor, WORKER, CLIENT, 5, result_of(33));
    salvage(supervisor, WORKER, CLIENT, 5, result_of(33));
    expect_done(client, 5);
    struct message ended = exit_of(WORKER, 34);
    ended.exit.client = CLIENT;
    ended.exit.number = 6;
    tell(supervisor, ended);
    expect_failed(client, 6, MUSTER_ELOST);
    expect_nothing(client);
    tell(supervisor, ended);
    delivered(client);
    flush();
    expect(supervisor, MESSAGE_RELEASE);
}

static void an_attempt_that_failed_before_does_not_stop_the_one_that_followed(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT), *supervisor = connect_peer(ROLE_SUPERVISOR, SUPERVISOR, 0);
    struct fake *idle = worker_up(WORKER + 1);
    struct message message = submission(5);
    message.submit.retries = 2;
    message.submit.flags = TASK_RESUBMITTED;
    tell(client, message);
    struct message ended = exit_of(WORKER, 34);
    ended.exit.client = CLIENT;
    ended.exit.number = 5;
    tell(supervisor, ended); /* the coordinator before had had it run again */
    flush();
    expect_nothing(idle);
    struct fake *worker = claiming(WORKER + 2);
    claim(worker, 40, CLIENT, 5, CLAIM_RUNNING);
    expect_nothing(worker);
    result(worker, 40);
    expect_done(client, 5);
}

static void a_stored_failure_gives_way_to_the_attempt_that_followed(void **state)
{
    (void)state;
    struct fake *first = claiming(WORKER), *second = claiming(WORKER + 1);
    claim(first, 33, CLIENT, 5, CLAIM_FINISHED);
    failure(first, 33, MUSTER_ETASK);
    claim(second, 34, CLIENT, 5, CLAIM_RUNNING);
    expect_nothing(second);
    struct fake *client = client_up(CLIENT);
    resubmit(client, 5);
    expect_nothing(client);
    result(second, 34);
    expect_done(client, 5);
}

static void a_cancel_waits_for_the_claim(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT), *worker = claiming(WORKER);
    resubmit(client, 5);
    cancel(client, 5);
    expect_nothing(client); /* it may run somewhere */
    claim(worker, 33, CLIENT, 5, CLAIM_RUNNING);
    assert_int_equal(expect(worker, MESSAGE_STOP).stop.ticket, 33);
    failure(worker, 33, MUSTER_ECANCELED);
    expect_failed(client, 5, MUSTER_ECANCELED);
}

static void a_worker_that_dies_after_its_claim_loses_what_it_ran(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT), *supervisor = connect_peer(ROLE_SUPERVISOR, SUPERVISOR, 0);
    struct fake *worker = claiming(WORKER);
    resubmit(client, 5);
    resubmit(client, 6);
    claim(worker, 33, CLIENT, 5, CLAIM_RUNNING);
    claim(worker, 34, CLIENT, 6, CLAIM_WAITING);
    offer(worker, "work");
    struct message ended = exit_of(WORKER, 33);
    ended.exit.client = CLIENT;
    ended.exit.number = 5;
    tell(supervisor, ended);
    expect_failed(client, 5, MUSTER_ELOST);
    expect_nothing(client);
    assert_int_equal(counts().queued, 1);
}

static void an_embedded_coordinator_has_no_window(void **state)
{
    (void)state;
    world.config.rejoin = false;
    struct coordinator_config config = world.config;
    start_with(&config);
    struct fake *client = client_up(CLIENT), *worker = worker_up(WORKER);
    resubmit(client, 1);
    flush();
    expect(worker, MESSAGE_ASSIGN);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup_rejoin, teardown)
    const struct CMUnitTest tests[] = {
        T(a_resubmitted_task_waits_for_its_claim),
        T(a_claim_waits_for_its_client),
        T(an_outcome_waits_for_its_client),
        T(an_outcome_for_which_there_is_no_room_is_a_failure),
        T(what_nobody_claims_runs_when_the_window_is_over),
        T(who_comes_back_after_the_window_is_told_that_nobody_knows),
        T(a_claim_whose_client_stays_away_is_stopped_and_settled),
        T(a_client_that_is_still_submitting_keeps_its_claims),
        T(a_claim_outside_the_window_is_given_up),
        T(only_one_of_two_workers_that_claim_a_task_has_it),
        T(a_dead_worker_of_before_hands_in_its_outcomes),
        T(the_client_may_come_before_the_dead_workers_outcomes),
        T(an_attempt_that_failed_before_does_not_stop_the_one_that_followed),
        T(a_stored_failure_gives_way_to_the_attempt_that_followed),
        T(a_cancel_waits_for_the_claim),
        T(a_worker_that_dies_after_its_claim_loses_what_it_ran),
        T(an_embedded_coordinator_has_no_window),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
