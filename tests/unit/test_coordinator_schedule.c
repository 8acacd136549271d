/*
 * Who gets what, and when: priorities, turns between clients, prefetch, recall. The last tests run a whole batch on a
 * virtual clock, with workers that take 100 us to hear and to be heard.
 */
#include "coordinator_fixture.h"

/* --- order -------------------------------------------------------------------------------------------------------- */

static void submit_priority(struct fake *client, uint64_t number, int64_t priority)
{
    struct message message = submission(number);
    message.submit.priority = priority;
    tell(client, message);
}

/* Runs one task after the other on the worker and gives the numbers in order, as digits. */
static const char *order_of(struct fake *worker, size_t count)
{
    static char order[64];
    uint64_t tickets[64];
    size_t got = 0;
    for (size_t done = 0; done < count; done++) {
        struct message message;
        flush();
        while (next(worker, &message)) {
            if (message.type != MESSAGE_ASSIGN)
                continue;
            order[got] =
                (char)(message.assign.client == CLIENT ? '0' + message.assign.number : 'a' + message.assign.number);
            tickets[got++] = message.assign.ticket;
        }
        assert_true(got > done);
        result(worker, tickets[done]);
    }
    order[got] = 0;
    return order;
}

static void tasks_run_in_the_order_that_they_came(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT);
    for (uint64_t i = 1; i <= 6; i++)
        submit(client, i);
    assert_string_equal(order_of(worker_up(WORKER), 6), "123456");
}

static void higher_priority_runs_first(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT);
    submit_priority(client, 1, -1000);
    submit_priority(client, 2, 0);
    submit_priority(client, 3, 1000);
    submit_priority(client, 4, 0);
    submit_priority(client, 5, 1000);
    assert_string_equal(order_of(worker_up(WORKER), 5), "35241");
}

static void clients_take_turns_however_much_one_has_queued(void **state)
{
    (void)state;
    struct fake *greedy = client_up(CLIENT), *modest = client_up(CLIENT + 1);
    for (uint64_t i = 1; i <= 9; i++)
        submit(greedy, i);
    submit(modest, 0 + 1);
    submit(modest, 2);
    assert_string_equal(order_of(worker_up(WORKER), 11), "1b2c3456789");
}

static void a_client_gains_no_turns_by_having_been_idle_or_by_naming_more_functions(void **state)
{
    (void)state;
    struct fake *first = client_up(CLIENT), *second = client_up(CLIENT + 1);
    struct fake *worker = connect_peer(ROLE_WORKER, WORKER, SUPERVISOR);
    offer_labels(worker, (const char *[]){"work", "play"}, 2, NULL, 0);
    define(first, 1, "play");
    for (uint64_t i = 1; i <= 4; i++)
        submit(second, i);
    assert_string_equal(order_of(worker, 4), "bcde");
    for (uint64_t i = 1; i <= 6; i++) {
        struct message message = submission(i);
        message.submit.function = i % 2;
        tell(first, message);
        submit(second, 10 + i);
    }
    const char *order = order_of(worker, 12);
    size_t own = 0;
    for (size_t i = 0; i < 6; i++)
        own += order[i] < 'a';
    assert_int_equal(own, 3);
}

static void what_comes_back_runs_before_what_waits(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT), *worker = worker_up(WORKER), *last;
    for (uint64_t i = 1; i <= 5; i++)
        submit(client, i);
    flush();
    uint64_t first = expect(worker, MESSAGE_ASSIGN).assign.ticket,
             second = expect(worker, MESSAGE_ASSIGN).assign.ticket;
    tell(worker, (struct message){.type = MESSAGE_DRAINING});
    tell_ticket(worker, MESSAGE_RETURNED, first);
    tell_ticket(worker, MESSAGE_RETURNED, second);
    last = worker_up(WORKER + 1);
    assert_string_equal(order_of(last, 5), "12345");
}

/* --- how much ----------------------------------------------------------------------------------------------------- */

static size_t assigned_to(struct fake *worker, uint64_t *tickets)
{
    size_t count = 0;
    struct message message;
    while (next(worker, &message))
        if (message.type == MESSAGE_ASSIGN) {
            if (tickets)
                tickets[count] = message.assign.ticket;
            count++;
        }
    return count;
}

/* One task of `work` has run for so long. */
static void teach(struct fake *client, struct fake *worker, uint64_t run_us)
{
    submit(client, 1000000);
    flush();
    struct message message = result_of(expect(worker, MESSAGE_ASSIGN).assign.ticket);
    message.result.run_us = run_us;
    tell(worker, message);
    delivered(client);
    flush();
    assigned_to(worker, NULL);
}

static void a_worker_is_given_one_long_task_ahead_of_time_and_many_short_ones(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT), *worker = worker_up(WORKER);
    static uint64_t tickets[4096];
    size_t done = 0, got;
    for (uint64_t i = 1; i <= 3000; i++)
        submit(client, i);
    flush();
    got = assigned_to(worker, tickets);
    assert_int_equal(got, 2); /* nothing is known yet */
    struct message message = result_of(tickets[done++]);
    message.result.run_us = 100;
    tell(worker, message);
    flush();
    got += assigned_to(worker, tickets + got);
    assert_in_range(got - done, 11, 12); /* the running one, and a millisecond of them */
    message.result.run_us = 0;
    while (done < 100) {
        message.result.ticket = tickets[done++];
        tell(worker, message);
        flush();
        got += assigned_to(worker, tickets + got);
    }
    assert_int_equal(got - done, 1024);
}

static void large_arguments_are_not_piled_up_at_a_worker(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT), *worker = worker_up(WORKER);
    teach(client, worker, 0);
    static char large[400 * 1000];
    for (uint64_t i = 1; i <= 10; i++) {
        struct message message = submission(i);
        message.submit.args = (struct bytes){large, sizeof large};
        tell(client, message);
    }
    flush();
    assert_int_equal(assigned_to(worker, NULL), 3);
}

static void idle_workers_come_first_also_across_classes(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT), *workers[4];
    for (size_t i = 0; i < 4; i++) {
        workers[i] = connect_peer(ROLE_WORKER, WORKER + i, SUPERVISOR);
        offer_labels(workers[i], (const char *[]){"work"}, 1, (const char *[]){"host=a", "host=b"}, i == 3 ? 1 : 2);
    }
    for (uint64_t i = 1; i <= 4; i++)
        submit(client, i);
    flush();
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(assigned_to(workers[i], NULL), 1);
}

static void a_worker_gets_nothing_new_before_it_has_answered_a_recall(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT), *busy = worker_up(WORKER);
    submit(client, 1);
    submit(client, 2);
    flush();
    uint64_t tickets[4];
    assert_int_equal(assigned_to(busy, tickets), 2);
    struct fake *idle = worker_up(WORKER + 1);
    flush();
    assert_int_equal(expect(busy, MESSAGE_RECALL).recall.ticket, tickets[1]);
    result(busy, tickets[0]);
    for (uint64_t i = 3; i <= 6; i++)
        submit(client, i);
    flush();
    expect_nothing(busy);
    assert_int_equal(assigned_to(idle, NULL), 2);
    tell_ticket(busy, MESSAGE_RETURNED, tickets[1]);
    flush();
    assert_int_equal(expect(busy, MESSAGE_ASSIGN).assign.number, 2);
}

static void a_worker_that_does_not_take_what_it_is_sent_gets_no_more(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT), *worker = worker_up(WORKER);
    worker->peer.backlog_bytes = 2 << 20;
    submit(client, 1);
    submit(client, 2);
    flush();
    assert_int_equal(assigned_to(worker, NULL), 1);
    worker->peer.backlog_bytes = 0;
    delivered(worker);
    flush();
    assert_int_equal(assigned_to(worker, NULL), 1);
}

static void a_client_that_takes_no_results_is_not_served(void **state)
{
    (void)state;
    struct fake *slow = client_up(CLIENT), *quick = client_up(CLIENT + 1), *worker = worker_up(WORKER);
    slow->peer.backlog_bytes = world.config.peer_backlog_bytes + 1;
    submit(slow, 1);
    submit(slow, 2);
    submit(quick, 1);
    flush();
    assert_int_equal(expect(worker, MESSAGE_ASSIGN).assign.client, CLIENT + 1);
    expect_nothing(worker);
    cancel(slow, 1);
    slow->peer.backlog_bytes = 0;
    delivered(slow);
    flush();
    assert_int_equal(expect(worker, MESSAGE_ASSIGN).assign.number, 2);
}

/* --- calling back ------------------------------------------------------------------------------------------------- */

static void an_idle_worker_gets_the_later_half_of_what_another_has_not_started(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT), *busy = worker_up(WORKER);
    teach(client, busy, 100);
    for (uint64_t i = 1; i <= 9; i++)
        submit(client, i);
    flush();
    uint64_t tickets[16];
    assert_int_equal(assigned_to(busy, tickets), 9);
    struct fake *idle = worker_up(WORKER + 1);
    flush();
    for (size_t i = 8; i >= 5; i--)
        assert_int_equal(expect(busy, MESSAGE_RECALL).recall.ticket, tickets[i]);
    expect_nothing(busy);
    later(0);
    expect_nothing(busy); /* asked once */
    for (size_t i = 8; i >= 5; i--)
        tell_ticket(busy, MESSAGE_RETURNED, tickets[i]);
    flush();
    assert_int_equal(expect(idle, MESSAGE_ASSIGN).assign.number, 6);
    assert_int_equal(assigned_to(idle, NULL), 3);
    assert_int_equal(assigned_to(busy, NULL), 0);
    assert_int_equal(counts().moved, 4);
}

static void what_takes_less_than_the_way_is_left_where_it_is(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT), *busy = worker_up(WORKER);
    teach(client, busy, 0);
    for (uint64_t i = 1; i <= 50; i++)
        submit(client, i);
    flush();
    struct fake *idle = worker_up(WORKER + 1);
    flush();
    assert_int_equal(assigned_to(busy, NULL), 50);
    expect_nothing(busy);
    /* But if the first of them takes long, the others do not wait behind it. */
    uint64_t deadline = coordinator_deadline(world.coordinator);
    assert_true(deadline < world.now_ns + NS_PER_MS);
    later(deadline - world.now_ns);
    expect(busy, MESSAGE_RECALL);
    (void)idle;
}

static void a_recall_that_is_not_answered_is_made_elsewhere(void **state)
{
    (void)state;
    struct fake *client = client_up(CLIENT), *hung = worker_up(WORKER), *busy = worker_up(WORKER + 1);
    for (uint64_t i = 1; i <= 4; i++)
        submit(client, i);
    flush();
    assert_int_equal(assigned_to(hung, NULL), 2);
    assert_int_equal(assigned_to(busy, NULL), 2);
    worker_up(WORKER + 2);
    flush();
    struct message message;
    struct fake *asked = next(hung, &message) ? hung : busy, *other = asked == hung ? busy : hung;
    expect_nothing(other);
    later(10 * MS);
    expect(other, MESSAGE_RECALL);
}

/* --- whole batches ------------------------------------------------------------------------------------------------ */

#define WAY_NS (100 * NS_PER_US)
#define SIM_WORKERS 8

struct held {
    uint64_t ticket, number;
};

struct sim_worker {
    struct fake *fake;
    struct held held[2048]; /* the first runs if busy */
    size_t count;
    bool busy;
    uint64_t until_ns;
};

static uint64_t durations_ns[4096]; /* by task number */
static struct sim_worker sim_workers[SIM_WORKERS];
static struct {
    uint64_t at_ns;
    size_t worker;
    bool up;
    struct message message;
} post[65536]; /* on the way, in order of arrival */
static size_t post_first, post_last;

static void post_add(size_t worker, bool up, struct message message)
{
    assert_true(post_last < 65536);
    post[post_last].at_ns = world.now_ns + WAY_NS;
    post[post_last].worker = worker;
    post[post_last].up = up;
    post[post_last++].message = message;
}

static void sim_collect(size_t workers)
{
    struct message message;
    for (size_t i = 0; i < workers; i++)
        while (next(sim_workers[i].fake, &message))
            post_add(i, false, message);
}

static void sim_start_next(size_t index)
{
    struct sim_worker *worker = &sim_workers[index];
    worker->busy = worker->count > 0;
    if (worker->busy)
        worker->until_ns = world.now_ns + durations_ns[worker->held[0].number];
}

static void sim_drop(struct sim_worker *worker, size_t at)
{
    memmove(&worker->held[at], &worker->held[at + 1], (--worker->count - at) * sizeof worker->held[0]);
}

static void sim_receive(size_t index, const struct message *message)
{
    struct sim_worker *worker = &sim_workers[index];
    if (message->type == MESSAGE_ASSIGN) {
        worker->held[worker->count++] = (struct held){message->assign.ticket, message->assign.number};
        if (!worker->busy)
            sim_start_next(index);
    } else if (message->type == MESSAGE_RECALL) {
        for (size_t i = 1; i < worker->count; i++)
            if (worker->held[i].ticket == message->recall.ticket) {
                sim_drop(worker, i);
                post_add(index, true, ticket_message(MESSAGE_RETURNED, message->recall.ticket));
                return;
            }
    }
}

static void sim_finish(size_t index)
{
    struct sim_worker *worker = &sim_workers[index];
    struct message message = result_of(worker->held[0].ticket);
    message.result.run_us = durations_ns[worker->held[0].number] / 1000;
    post_add(index, true, message);
    sim_drop(worker, 0);
    sim_start_next(index);
}

/* Runs tasks 1..count on so many workers; the time until the last result is in, ns. */
static uint64_t makespan(size_t workers, size_t count)
{
    struct fake *client = client_up(CLIENT);
    uint64_t begin_ns = world.now_ns;
    post_first = post_last = 0;
    memset(sim_workers, 0, sizeof sim_workers);
    for (size_t i = 0; i < workers; i++)
        sim_workers[i].fake = worker_up(WORKER + i);
    for (size_t i = 1; i <= count; i++)
        submit(client, i);
    flush();
    while (counts().succeeded < count) {
        sim_collect(workers);
        uint64_t next_ns = coordinator_deadline(world.coordinator);
        if (post_first < post_last)
            next_ns = deadline_min(next_ns, post[post_first].at_ns);
        for (size_t i = 0; i < workers; i++)
            if (sim_workers[i].busy)
                next_ns = deadline_min(next_ns, sim_workers[i].until_ns);
        assert_true(next_ns != NEVER_NS);
        world.now_ns = next_ns > world.now_ns ? next_ns : world.now_ns;
        for (size_t i = 0; i < workers; i++)
            if (sim_workers[i].busy && sim_workers[i].until_ns <= world.now_ns)
                sim_finish(i);
        while (post_first < post_last && post[post_first].at_ns <= world.now_ns) {
            size_t at = post_first++;
            if (post[at].up) /* a result's value is static */
                tell(sim_workers[post[at].worker].fake, post[at].message);
            else
                sim_receive(post[at].worker, &post[at].message);
        }
        coordinator_tick(world.coordinator, world.now_ns);
        coordinator_delivered(world.coordinator, &client->peer, client->peer.sent, world.now_ns);
        flush();
    }
    return world.now_ns - begin_ns;
}

/* Greedy list scheduling of the same tasks in the same order. */
static uint64_t greedy(size_t workers, size_t count)
{
    uint64_t free_ns[SIM_WORKERS] = {0}, last = 0;
    for (size_t i = 1; i <= count; i++) {
        size_t first = 0;
        for (size_t w = 1; w < workers; w++)
            if (free_ns[w] < free_ns[first])
                first = w;
        free_ns[first] += durations_ns[i];
        last = free_ns[first] > last ? free_ns[first] : last;
    }
    return last;
}

static void expect_nearly_greedy(size_t workers, size_t count)
{
    uint64_t best = greedy(workers, count), got = makespan(workers, count);
    if (got > best + best / 20)
        fail_msg("%.1f ms, greedy %.1f ms", (double)got / 1e6, (double)best / 1e6);
}

/* `long_at`: the number of the task of one second; the others are of 1 ms and 10 ms in no order. */
static void fill_uneven(size_t count, size_t long_at)
{
    uint32_t random = 7;
    for (size_t i = 1; i <= count; i++) {
        random = random * 1664525 + 1013904223;
        durations_ns[i] = (random >> 16) % 2 ? 10 * MS : MS;
    }
    durations_ns[long_at] = NS_PER_S;
}

static void uneven_tasks_end_nearly_as_early_as_greedily_scheduled_ones(void **state)
{
    (void)state;
    fill_uneven(1000, 400);
    expect_nearly_greedy(4, 1000);
}

static void a_long_task_at_the_start_holds_nobody_up(void **state)
{
    (void)state;
    fill_uneven(1000, 1);
    expect_nearly_greedy(2, 1000);
}

static void a_long_task_at_the_end_is_started_at_once(void **state)
{
    (void)state;
    fill_uneven(1000, 1000);
    expect_nearly_greedy(8, 1000);
}

static void short_tasks_behind_a_long_one_are_moved(void **state)
{
    (void)state;
    for (size_t i = 1; i <= 2000; i++)
        durations_ns[i] = 5 * NS_PER_US;
    durations_ns[1200] = 200 * MS;
    uint64_t took = makespan(2, 2000);
    assert_true(took < 205 * MS);
}

static void tasks_do_not_wander(void **state)
{
    (void)state;
    fill_uneven(1000, 500);
    makespan(8, 1000);
    assert_true(counts().moved < 100);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(tasks_run_in_the_order_that_they_came),
        T(higher_priority_runs_first),
        T(clients_take_turns_however_much_one_has_queued),
        T(a_client_gains_no_turns_by_having_been_idle_or_by_naming_more_functions),
        T(what_comes_back_runs_before_what_waits),
        T(a_worker_is_given_one_long_task_ahead_of_time_and_many_short_ones),
        T(large_arguments_are_not_piled_up_at_a_worker),
        T(idle_workers_come_first_also_across_classes),
        T(a_worker_gets_nothing_new_before_it_has_answered_a_recall),
        T(a_worker_that_does_not_take_what_it_is_sent_gets_no_more),
        T(a_client_that_takes_no_results_is_not_served),
        T(an_idle_worker_gets_the_later_half_of_what_another_has_not_started),
        T(what_takes_less_than_the_way_is_left_where_it_is),
        T(a_recall_that_is_not_answered_is_made_elsewhere),
        T(uneven_tasks_end_nearly_as_early_as_greedily_scheduled_ones),
        T(a_long_task_at_the_start_holds_nobody_up),
        T(a_long_task_at_the_end_is_started_at_once),
        T(short_tasks_behind_a_long_one_are_moved),
        T(tasks_do_not_wander),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
