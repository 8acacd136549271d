/*
 * What bad or greedy peers get: limits, malformed messages, and memory that runs out at every place.
 */
#include "coordinator_fixture.h"

static void expect_status(struct fake *fake, struct message message, int status)
{
    assert_int_equal(tell_status(fake, &message), status);
}

static void restart_with(void (*change)(struct coordinator_config *config))
{
    struct coordinator_config config = world.config;
    change(&config);
    start_with(&config);
}

/* --- limits ------------------------------------------------------------------------------------------------------- */

static void few_tasks(struct coordinator_config *config)
{
    config->client_tasks = 2;
    config->client_bytes = 25;
    config->total_bytes = 2000;
}

static void a_client_that_submits_more_than_it_was_told_misbehaves(void **state)
{
    (void)state;
    restart_with(few_tasks);
    struct fake *client = client_up(CLIENT), *worker = worker_up(WORKER);
    submit(client, 1);
    submit(client, 2);
    expect_status(client, submission(3), MUSTER_ELIMIT);
    flush();
    result(worker, expect(worker, MESSAGE_ASSIGN).assign.ticket);
    submit(client, 3); /* there is room as soon as the outcome is sent */
    struct fake *other = client_up(CLIENT + 1);
    struct message large = submission(1);
    large.submit.args = bytes_string("more than twenty-five bytes");
    expect_status(other, large, MUSTER_ELIMIT);
}

static void few_bytes(struct coordinator_config *config)
{
    config->total_bytes = WORK_COST + 2 * (160 + 9) + 20; /* a definition, and two tasks with their records */
}

static void a_full_coordinator_refuses_tasks_with_a_reason(void **state)
{
    (void)state;
    restart_with(few_bytes);
    struct fake *client = client_up(CLIENT), *worker = worker_up(WORKER);
    submit(client, 1);
    submit(client, 2);
    submit(client, 3);
    struct message failed = expect_failed(client, 3, MUSTER_ELIMIT);
    assert_true(contains(failed.failed.message, "submit again"));
    flush();
    result(worker, expect(worker, MESSAGE_ASSIGN).assign.ticket);
    expect_done(client, 1);
    delivered(client);
    submit(client, 3);
    expect_nothing(client);
}

static void tasks_without_arguments_fill_the_coordinator_too(void **state)
{
    (void)state;
    restart_with(few_bytes);
    struct fake *client = client_up(CLIENT);
    struct message empty = submission(1);
    empty.submit.args = (struct bytes){0};
    for (; empty.submit.number <= 2; empty.submit.number++)
        tell(client, empty);
    expect_nothing(client);
    tell(client, empty);
    expect_failed(client, 3, MUSTER_ELIMIT);
}

static void few_peers(struct coordinator_config *config)
{
    config->clients = config->workers = 1;
}

static void peers_over_the_limit_are_refused(void **state)
{
    (void)state;
    restart_with(few_peers);
    client_up(CLIENT);
    worker_up(WORKER);
    connect_peer(ROLE_SUPERVISOR, SUPERVISOR, 0);
    for (enum role role = ROLE_CLIENT; role <= ROLE_SUPERVISOR; role++) {
        struct fake *refused = fake_new(role, 99, 0);
        assert_int_equal(coordinator_peer_up(world.coordinator, &refused->peer, world.now_ns), MUSTER_ELIMIT);
        assert_non_null(strstr(muster_last_error(), "limit"));
        refused->used = false;
        check();
    }
}

static void names_have_limits(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT), *worker = connect_peer(ROLE_WORKER, WORKER, 0);
    char long_name[257];
    memset(long_name, 'x', 256);
    long_name[256] = 0;
    const char *names[65];
    for (size_t i = 0; i < 65; i++)
        names[i] = "label";
    struct buffer many = {0}, one = {0};
    texts_encode(&many, names, 65);
    texts_encode(&one, (const char *[]){long_name}, 1);
    struct message define_it = {.type = MESSAGE_DEFINE}, offer_it = {.type = MESSAGE_OFFER};
    define_it.define.name = bytes_string(long_name);
    define_it.define.labels = (struct bytes){"\x90", 1};
    expect_status(client, define_it, MUSTER_ELIMIT);
    define_it.define.name = bytes_string("f");
    define_it.define.labels = bytes_of(&many);
    expect_status(client, define_it, MUSTER_ELIMIT);
    define_it.define.labels = (struct bytes){"\x90", 1};
    define_it.define.function = 4096;
    expect_status(client, define_it, MUSTER_ELIMIT);
    offer_it.offer.labels = (struct bytes){"\x90", 1};
    offer_it.offer.functions = bytes_of(&one);
    expect_status(worker, offer_it, MUSTER_ELIMIT);
    buffer_free(&many);
    buffer_free(&one);
}

static void a_worker_cannot_claim_without_end(void **state)
{
    (void)state;
    struct fake *worker = connect_peer(ROLE_WORKER, WORKER, 0);
    struct message message = {.type = MESSAGE_CLAIM};
    message.claim.client = CLIENT;
    int status = 0;
    for (uint64_t i = 1; i <= 10000 && status == 0; i++) {
        const char *why;
        message.claim.ticket = message.claim.number = i;
        status = coordinator_message(world.coordinator, &worker->peer, &message, world.now_ns, &why);
    }
    assert_int_equal(status, MUSTER_ELIMIT);
    check();
}

/* --- malformed ---------------------------------------------------------------------------------------------------- */

static void no_ticket_can_be_claimed_that_leaves_none_for_later(void **state)
{
    (void)state;
    struct fake *worker = connect_peer(ROLE_WORKER, WORKER, 0), *client = client_up(CLIENT);
    struct message message = {.type = MESSAGE_CLAIM};
    message.claim.client = CLIENT;
    message.claim.number = 1;
    message.claim.ticket = UINT64_MAX;
    expect_status(worker, message, MUSTER_EPROTOCOL);
    struct fake *other = worker_up(WORKER + 1);
    submit(client, 1);
    flush();
    result(other, expect(other, MESSAGE_ASSIGN).assign.ticket);
    expect_done(client, 1);
}

static void bad_submits_are_refused(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT);
    struct message message = submission(0);
    expect_status(client, message, MUSTER_EPROTOCOL);
    message = submission(1);
    message.submit.function = 1;
    expect_status(client, message, MUSTER_EPROTOCOL);
    message.submit.function = UINT64_MAX;
    expect_status(client, message, MUSTER_EPROTOCOL);
    message = submission(1);
    message.submit.priority = 1001;
    expect_status(client, message, MUSTER_EPROTOCOL);
    message = submission(1);
    message.submit.encoding = 0x20;
    expect_status(client, message, MUSTER_EPROTOCOL);
    message = (struct message){.type = MESSAGE_DEFINE};
    message.define.labels = (struct bytes){"\x90", 1};
    expect_status(client, message, MUSTER_EPROTOCOL); /* no name */
    message.define.name = bytes_string("other");
    expect_status(client, message, MUSTER_EPROTOCOL); /* 0 is "work" */
    message.define.name = bytes_string("work");
    expect_status(client, message, 0);
}

static void a_worker_that_speaks_of_what_it_was_not_given_is_refused(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT), *worker = worker_up(WORKER);
    submit(client, 1);
    flush();
    uint64_t ticket = expect(worker, MESSAGE_ASSIGN).assign.ticket;
    expect_status(worker, result_of(ticket + 1), MUSTER_EPROTOCOL);
    expect_status(worker, failure_of(ticket + 1, MUSTER_ETASK), MUSTER_EPROTOCOL);
    expect_status(worker, ticket_message(MESSAGE_RETURNED, ticket + 1), MUSTER_EPROTOCOL);
    expect_status(worker, ticket_message(MESSAGE_STARTED, ticket + 1), MUSTER_EPROTOCOL);
    expect_status(worker, failure_of(ticket, 0), MUSTER_EPROTOCOL);
    struct message message = result_of(ticket);
    message.result.encoding = 0x100;
    expect_status(worker, message, MUSTER_EPROTOCOL);
    message = (struct message){.type = MESSAGE_CLAIM};
    expect_status(worker, message, MUSTER_EPROTOCOL);
    message.claim.ticket = ticket;
    message.claim.client = CLIENT;
    message.claim.number = 2;
    expect_status(worker, message, MUSTER_EPROTOCOL);
    expect_nothing(client);
}

static void a_supervisor_speaks_of_its_own_workers_only(void **state)
{
    (void)state;
    struct fake *other = connect_peer(ROLE_SUPERVISOR, SUPERVISOR + 1, 0);
    worker_up(WORKER);
    expect_status(other, exit_of(WORKER, 0), MUSTER_EPROTOCOL);
    expect_status(other, exit_of(0, 0), MUSTER_EPROTOCOL);
    struct message message = {.type = MESSAGE_SALVAGE};
    message.salvage.worker = WORKER + 5;
    message.salvage.message = bytes_string("rubbish");
    expect_status(other, message, MUSTER_EPROTOCOL);
    struct buffer encoded = {0};
    struct message inner = {.type = MESSAGE_DRAINING};
    message_encode(&encoded, &inner);
    message.salvage.message = bytes_of(&encoded);
    expect_status(other, message, MUSTER_EPROTOCOL);
    buffer_free(&encoded);
}

static void nobody_sends_the_messages_of_another_role(void **state)
{
    (void)state;
    struct fake *peers[] = {client_up(CLIENT), worker_up(WORKER), connect_peer(ROLE_SUPERVISOR, SUPERVISOR, 0)};
    static const enum message_type foreign[][3] = {
        {MESSAGE_RESULT, MESSAGE_SLOTS, MESSAGE_DONE},
        {MESSAGE_SUBMIT, MESSAGE_EXIT, MESSAGE_ASSIGN},
        {MESSAGE_SUBMIT, MESSAGE_OFFER, MESSAGE_KILL},
    };
    for (size_t i = 0; i < 3; i++)
        for (size_t j = 0; j < 3; j++)
            expect_status(peers[i], (struct message){.type = foreign[i][j]}, MUSTER_EPROTOCOL);
}

/* --- memory ------------------------------------------------------------------------------------------------------- */

static size_t allocations, fail_at;

static bool fail_nth(void)
{
    return ++allocations == fail_at;
}

/* Says it; a peer that is refused for want of memory is closed, as the hub does. */
static bool say(struct fake *fake, struct message message)
{
    const char *why;
    if (fake->closed)
        return false;
    int status = coordinator_message(world.coordinator, &fake->peer, &message, world.now_ns, &why);
    assert_true(status == 0 || status == MUSTER_ENOMEM);
    if (status != 0) {
        coordinator_peer_down(world.coordinator, &fake->peer, false, "no memory", world.now_ns);
        fake->closed = true;
    }
    return status == 0;
}

static struct fake *come(enum role role, uint64_t identity)
{
    struct fake *fake = fake_new(role, identity, SUPERVISOR);
    int status = coordinator_peer_up(world.coordinator, &fake->peer, world.now_ns);
    assert_true(status == 0 || status == MUSTER_ENOMEM);
    fake->closed = status != 0;
    return fake;
}

/* A life in which everything that allocates happens. `texts`: an encoded list with the one name "work". */
static void live(struct bytes texts)
{
    struct fake *supervisor = come(ROLE_SUPERVISOR, SUPERVISOR), *worker = come(ROLE_WORKER, WORKER);
    struct message message = {.type = MESSAGE_CLAIM};
    for (uint64_t i = 1; i <= 3; i++) {
        message.claim =
            (struct message_claim){.ticket = i, .client = CLIENT, .number = 100 + i, .state = CLAIM_FINISHED};
        if (say(worker, message))
            say(worker, i == 1 ? result_of(i) : failure_of(i, MUSTER_ETASK));
    }
    message = (struct message){.type = MESSAGE_OFFER};
    message.offer.functions = texts;
    message.offer.labels = texts;
    say(worker, message);
    struct fake *client = come(ROLE_CLIENT, CLIENT);
    message = (struct message){.type = MESSAGE_DEFINE};
    message.define.name = bytes_string("work");
    message.define.labels = texts;
    say(client, message);
    message.define.function = 1;
    message.define.body = bytes_string("body");
    bool both = say(client, message);
    for (uint64_t i = 1; i <= 40; i++) {
        message = submission(i < 3 ? 100 + i : 200 + i);
        message.submit.flags = i < 3 ? TASK_RESUBMITTED : 0;
        message.submit.priority = (int64_t)(i % 3);
        message.submit.function = both && i > 20 ? 1 : 0;
        say(client, message);
    }
    coordinator_flush(world.coordinator, world.now_ns);
    while (!worker->closed && next(worker, &message))
        if (message.type == MESSAGE_ASSIGN)
            say(worker, result_of(message.assign.ticket));
    say(client, (struct message){.type = MESSAGE_STATUS});
    coordinator_flush(world.coordinator, world.now_ns);
    say(supervisor, exit_of(WORKER, 1000));
    struct message gave_up = {.type = MESSAGE_GAVE_UP};
    gave_up.gave_up.reason = bytes_string("tired");
    say(supervisor, gave_up);
    coordinator_tick(world.coordinator, world.now_ns += 60 * NS_PER_S);
    coordinator_flush(world.coordinator, world.now_ns);
}

static void memory_that_runs_out_anywhere_leaves_the_counts_right(void **state)
{
    (void)state;
    struct buffer texts = {0};
    texts_encode(&texts, (const char *[]){"work"}, 1);
    for (fail_at = 1;; fail_at++) {
        teardown(NULL);
        start(true);
        allocations = 0;
        memory_fail_hook = fail_nth;
        live(bytes_of(&texts));
        memory_fail_hook = NULL;
        check();
        if (allocations < fail_at)
            break;
    }
    assert_true(fail_at > 50);
    buffer_free(&texts);
}

static void a_coordinator_that_cannot_be_made_says_so(void **state)
{
    (void)state;
    struct random seed;
    struct coordinator *none;
    random_seed(&seed, "seed", 4);
    memory_fail_hook = fail_nth;
    for (fail_at = 1; fail_at <= 2; fail_at++) {
        allocations = 0;
        assert_int_equal(coordinator_create(&none, &world.config, &seed, 0), MUSTER_ENOMEM);
    }
    memory_fail_hook = NULL;
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_client_that_submits_more_than_it_was_told_misbehaves),
        T(a_full_coordinator_refuses_tasks_with_a_reason),
        T(tasks_without_arguments_fill_the_coordinator_too),
        T(peers_over_the_limit_are_refused),
        T(names_have_limits),
        T(a_worker_cannot_claim_without_end),
        T(no_ticket_can_be_claimed_that_leaves_none_for_later),
        T(bad_submits_are_refused),
        T(a_worker_that_speaks_of_what_it_was_not_given_is_refused),
        T(a_supervisor_speaks_of_its_own_workers_only),
        T(nobody_sends_the_messages_of_another_role),
        T(memory_that_runs_out_anywhere_leaves_the_counts_right),
        T(a_coordinator_that_cannot_be_made_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
