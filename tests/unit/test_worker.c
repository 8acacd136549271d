/*
 * What a worker's protocol logic promises: tasks run once and in order, outcomes are kept until they are settled, and
 * what it holds is claimed when it comes back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "core/clock.h"
#include "core/errors.h"
#include "core/log.h"
#include "workers/worker.h"

#define SAID_MAX 4096
#define CLIENT 77

/* One message that the worker sent, flattened. */
struct said {
    enum message_type type;
    uint64_t ticket, status, state;
    char text[200];
    size_t length, value_length; /* of the value or the message; of a failure's value */
};

struct world {
    struct worker *worker;
    struct link link;
    struct session coordinator; /* the other end */
    struct page page;
    struct said said[SAID_MAX];
    size_t said_count;
    unsigned ready, stops, failed;
    uint64_t stopped_ticket;
    uint64_t now_ns;
};

static void on_ready(void *arg)
{
    ((struct world *)arg)->ready++;
}

static void on_stop(void *arg, uint64_t ticket)
{
    ((struct world *)arg)->stops++;
    ((struct world *)arg)->stopped_ticket = ticket;
}

static void on_failed(void *arg, int status, const char *reason)
{
    (void)status;
    (void)reason;
    ((struct world *)arg)->failed++;
}

static const struct worker_events events = {on_ready, on_stop, on_failed};
static const char *const functions[] = {"one", "two"};
static const char *const labels[] = {"gpu=no"};

static int hear(void *arg, const struct message *message)
{
    struct world *world = arg;
    struct said said = {.type = message->type};
    struct bytes text = {"", 0};
    switch (message->type) {
    case MESSAGE_RESULT:
        said.ticket = message->result.ticket;
        text = message->result.value;
        break;
    case MESSAGE_FAILURE:
        said.ticket = message->failure.ticket;
        said.status = message->failure.status;
        text = message->failure.message;
        said.value_length = message->failure.value.length;
        break;
    case MESSAGE_CLAIM:
        said.ticket = message->claim.ticket;
        said.state = message->claim.state;
        break;
    case MESSAGE_RETURNED: said.ticket = message->returned.ticket; break;
    case MESSAGE_STARTED: said.ticket = message->started.ticket; break;
    case MESSAGE_TASK_PROGRESS: text = message->task_progress.text; break;
    case MESSAGE_TASK_LOG: text = message->task_log.text; break;
    default: break;
    }
    said.length = text.length;
    snprintf(said.text, sizeof said.text, "%.*s", (int)(text.length < 150 ? text.length : 150),
             (const char *)text.data);
    assert_true(world->said_count < SAID_MAX);
    world->said[world->said_count++] = said;
    return 0;
}

/* Takes over everything that the worker has sent since the last call. */
static void listen_to(struct world *world)
{
    struct buffer frame = {0};
    struct frame_header header;
    const char *why;
    world->said_count = 0;
    while (session_next_frame(&world->link.session, &frame) == 1) {
        assert_int_equal(frame_parse(bytes_of(&frame), &header, &why), 0);
        assert_int_equal(session_receive(&world->coordinator, &header, hear, world, &why), 0);
    }
    buffer_free(&frame);
}

static void tell(struct world *world, struct message message)
{
    assert_int_equal(worker_link_events.message(world->worker, &message), 0);
}

/* A session opens, with the same coordinator or another. */
static void open_session(struct world *world, bool restarted, size_t payload_limit)
{
    static const unsigned char token[TOKEN_BYTES] = "0123456789abcde";
    session_free(&world->link.session);
    session_free(&world->coordinator);
    session_init(&world->link.session, token, FRAME_LIMIT_DEFAULT, payload_limit);
    session_init(&world->coordinator, token, FRAME_LIMIT_DEFAULT, payload_limit);
    world->link.state = LINK_OPEN;
    world->link.welcome.payload_limit = payload_limit;
    world->link.welcome.heartbeat_ns = 5 * NS_PER_S;
    world->link.heard_ns = world->now_ns;
    worker_link_events.open(world->worker, &world->link.welcome, restarted);
}

static void lose_session(struct world *world)
{
    world->link.state = LINK_CONNECTING;
    worker_link_events.lost(world->worker, "the coordinator has gone");
}

static int set_up_with(void **state, uint64_t max_tasks)
{
    struct world *world = calloc(1, sizeof *world);
    struct worker_config config = {functions, 2, labels, 1, max_tasks};
    struct link_config link = {.role = ROLE_WORKER, .events = &worker_link_events};
    struct random random;
    random_seed(&random, "worker", 6);
    log_threshold = LOG_LEVEL_ERROR;
    world->now_ns = NS_PER_S;
    page_init(&world->page);
    if (worker_create(&world->worker, &config, &world->page, &world->link, &events, world) != 0)
        return -1;
    link.arg = world->worker;
    *state = world;
    return link_init(&world->link, &link, &random, world->now_ns);
}

static int set_up(void **state)
{
    int status = set_up_with(state, 0);
    open_session(*state, true, PAYLOAD_LIMIT_DEFAULT);
    listen_to(*state);
    return status;
}

static int set_up_short_lived(void **state)
{
    int status = set_up_with(state, 2);
    open_session(*state, true, PAYLOAD_LIMIT_DEFAULT);
    listen_to(*state);
    return status;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    worker_free(world->worker);
    link_free(&world->link);
    session_free(&world->coordinator);
    free(world);
    return 0;
}

static void assign(struct world *world, uint64_t ticket, uint64_t flags)
{
    tell(world, (struct message){.type = MESSAGE_ASSIGN,
                                 .assign = {.ticket = ticket,
                                            .client = CLIENT,
                                            .number = ticket + 1000,
                                            .function = ticket % 2,
                                            .flags = flags,
                                            .encoding = MUSTER_MSGPACK,
                                            .args = {"\x91\x07", 2}}});
}

static void settle(struct world *world, uint64_t ticket)
{
    tell(world, (struct message){.type = MESSAGE_SETTLED, .settled = {.ticket = ticket}});
}

static struct held_task *take(struct world *world)
{
    return worker_take(world->worker, world->now_ns);
}

static void finish(struct world *world, struct held_task *task, struct bytes value)
{
    struct outcome outcome = {.encoding = MUSTER_MSGPACK, .value = value, .run_ns = 5000};
    assert_int_equal(worker_finish(world->worker, task, &outcome), 0);
}

static void run_one(struct world *world)
{
    struct held_task *task = take(world);
    assert_non_null(task);
    finish(world, task, (struct bytes){"\x2a", 1});
}

static const struct said *find(const struct world *world, enum message_type type, uint64_t ticket)
{
    for (size_t i = 0; i < world->said_count; i++)
        if (world->said[i].type == type && world->said[i].ticket == ticket)
            return &world->said[i];
    return NULL;
}

/* ------------------------------------------------------------------------------------------------------------------ */

static struct message introduction(uint64_t definition, const char *body)
{
    return (struct message){.type = MESSAGE_INTRODUCE,
                            .introduce = {.definition = definition, .body = bytes_string(body)}};
}

static struct message assignment(uint64_t ticket, uint64_t definition)
{
    return (struct message){.type = MESSAGE_ASSIGN,
                            .assign = {.ticket = ticket, .client = CLIENT, .number = 9, .definition = definition}};
}

static void forget(struct world *world, uint64_t definition)
{
    tell(world, (struct message){.type = MESSAGE_FORGET, .forget = {.definition = definition}});
}

/* Takes the next task, whose body this is; gives the body's key. */
static uint64_t run_with_body(struct world *world, const char *body)
{
    struct held_task *task = take(world);
    assert_non_null(task);
    assert_int_equal(task->introduced->length, strlen(body));
    assert_memory_equal(task->introduced->body, body, strlen(body));
    uint64_t key = task->introduced->key;
    finish(world, task, (struct bytes){"\x2a", 1});
    return key;
}

static void a_task_finds_the_body_that_was_introduced(void **state)
{
    struct world *world = *state;
    tell(world, introduction(5, "five"));
    tell(world, introduction(6, "six"));
    tell(world, assignment(1, 5));
    tell(world, assignment(2, 6));
    tell(world, assignment(3, 5));
    tell(world, assignment(4, 0));
    uint64_t key = run_with_body(world, "five");
    assert_int_not_equal(run_with_body(world, "six"), key);
    assert_int_equal(run_with_body(world, "five"), key);
    struct held_task *task = take(world);
    assert_null(task->introduced);
    finish(world, task, (struct bytes){0});
    struct message unknown = assignment(5, 7), again = introduction(5, "five");
    assert_int_equal(worker_link_events.message(world->worker, &unknown), MUSTER_EPROTOCOL);
    assert_int_equal(worker_link_events.message(world->worker, &again), MUSTER_EPROTOCOL);
}

static void a_body_is_kept_as_long_as_a_task_needs_it(void **state)
{
    struct world *world = *state;
    tell(world, introduction(5, "five"));
    tell(world, assignment(1, 5));
    tell(world, assignment(2, 5));
    struct held_task *task = take(world);
    forget(world, 5);
    forget(world, 99);
    tell(world, introduction(5, "another five"));
    tell(world, assignment(3, 5));
    assert_memory_equal(task->introduced->body, "five", 4);
    uint64_t key = task->introduced->key;
    finish(world, task, (struct bytes){0});
    assert_int_equal(run_with_body(world, "five"), key);
    assert_int_not_equal(run_with_body(world, "another five"), key);
}

static void each_session_introduces_anew_and_what_is_held_keeps_its_body(void **state)
{
    struct world *world = *state;
    tell(world, introduction(5, "five"));
    tell(world, assignment(1, 5));
    tell(world, assignment(2, 5));
    struct held_task *task = take(world);
    lose_session(world);
    open_session(world, true, PAYLOAD_LIMIT_DEFAULT);
    struct message unknown = assignment(10, 5);
    assert_int_equal(worker_link_events.message(world->worker, &unknown), MUSTER_EPROTOCOL);
    tell(world, introduction(5, "of another coordinator"));
    tell(world, assignment(10, 5));
    finish(world, task, (struct bytes){0});
    uint64_t key = run_with_body(world, "five");
    assert_int_not_equal(run_with_body(world, "of another coordinator"), key);
}

/* The first of two allocations. */
static bool fail_large(void)
{
    memory_fail_hook = NULL;
    return true;
}

static void a_body_that_does_not_fit_into_memory_is_a_failure(void **state)
{
    struct world *world = *state;
    memory_fail_hook = fail_large;
    tell(world, introduction(5, "five"));
    memory_fail_hook = NULL;
    tell(world, assignment(1, 5));
    listen_to(world);
    const struct said *said = find(world, MESSAGE_FAILURE, 1);
    assert_non_null(said);
    assert_int_equal(said->status, -MUSTER_ENOMEM);
    assert_null(take(world));
    forget(world, 5);
    tell(world, introduction(6, "six"));
    tell(world, assignment(2, 6));
    run_with_body(world, "six");
}

static void a_failure_whose_value_is_too_long_is_told_without_it(void **state)
{
    struct world *world = *state;
    static char value[5000];
    open_session(world, true, 16384);
    listen_to(world);
    for (uint64_t ticket = 1; ticket <= 2; ticket++) {
        assign(world, ticket, 0);
        struct outcome outcome = {.status = MUSTER_ETASK,
                                  .encoding = MUSTER_PICKLE,
                                  .value = {value, ticket == 1 ? 4096 : 4097},
                                  .message = bytes_string("it broke")};
        assert_int_equal(worker_finish(world->worker, take(world), &outcome), 0);
    }
    listen_to(world);
    assert_int_equal(find(world, MESSAGE_FAILURE, 1)->value_length, 4096);
    assert_string_equal(find(world, MESSAGE_FAILURE, 1)->text, "it broke");
    const struct said *said = find(world, MESSAGE_FAILURE, 2);
    assert_int_equal(said->value_length, 0);
    assert_int_equal(said->status, -MUSTER_ETASK);
    assert_non_null(strstr(said->text, "it broke (the value of 4097 bytes"));
}

static void it_offers_its_functions_when_a_session_opens(void **state)
{
    struct world *world = *state;
    open_session(world, true, PAYLOAD_LIMIT_DEFAULT);
    listen_to(world);
    assert_int_equal(world->said_count, 1);
    assert_int_equal(world->said[0].type, MESSAGE_OFFER);
    assert_int_equal(world->page.ready, 1);
}

static void tasks_run_one_at_a_time_in_the_order_of_their_tickets(void **state)
{
    struct world *world = *state;
    assign(world, 3, 0);
    assign(world, 4, 0);
    assert_true(world->ready > 0);
    struct held_task *task = take(world);
    assert_int_equal(task->ticket, 3);
    assert_int_equal(task->client, CLIENT);
    assert_int_equal(task->number, 1003);
    assert_int_equal(task->function, 1);
    assert_memory_equal(task->args, "\x91\x07", 2);
    assert_null(take(world));
    assert_int_equal(world->page.started, 3);
    assert_int_equal(world->page.tasks[1].number, 1003);
    finish(world, task, (struct bytes){"\x2a", 1});
    assert_int_equal(world->page.finished, 3);
    assert_int_equal(take(world)->ticket, 4);
    listen_to(world);
    assert_int_equal(world->said_count, 1);
    assert_int_equal(world->said[0].type, MESSAGE_RESULT);
    assert_string_equal(world->said[0].text, "*");
}

static void the_start_is_told_at_once_if_asked_for(void **state)
{
    struct world *world = *state;
    assign(world, 1, TASK_REPORT_START);
    take(world);
    listen_to(world);
    assert_non_null(find(world, MESSAGE_STARTED, 1));
}

static void an_outcome_stays_in_the_page_until_it_is_settled(void **state)
{
    struct world *world = *state;
    struct page_record record;
    assign(world, 1, 0);
    assign(world, 2, 0);
    run_one(world);
    run_one(world);
    uint64_t position = world->page.tail;
    assert_true(page_next(&world->page, &position, &record));
    assert_int_equal(record.ticket, 1);
    assert_int_equal(record.client, CLIENT);
    assert_int_equal(record.number, 1001);
    settle(world, 1);
    position = world->page.tail;
    assert_true(page_next(&world->page, &position, &record));
    assert_int_equal(record.ticket, 2);
    settle(world, 2);
    assert_int_equal(world->page.head, world->page.tail);
}

static void nothing_starts_while_the_ring_is_full(void **state)
{
    struct world *world = *state;
    static char value[200000];
    uint64_t ticket = 0;
    for (;;) {
        assign(world, ++ticket, 0);
        struct held_task *task = take(world);
        if (!task)
            break;
        finish(world, task, (struct bytes){value, sizeof value});
    }
    assert_true(ticket > 3 && ticket < 7);
    assert_true(worker_holding(world->worker));
    unsigned ready = world->ready;
    settle(world, ticket - 1);
    assert_true(world->ready > ready);
    assert_non_null(take(world));
}

static void no_more_outcomes_pile_up_than_can_be_claimed(void **state)
{
    struct world *world = *state;
    uint64_t ticket = 0;
    for (;;) {
        assign(world, ++ticket, 0);
        struct held_task *task = take(world);
        if (!task)
            break;
        finish(world, task, (struct bytes){"\x01", 1});
    }
    assert_in_range(ticket, 4000, 8000);
    settle(world, 1);
    assert_non_null(take(world));
}

static void an_outcome_too_long_for_the_ring_survives_the_coordinator(void **state)
{
    struct world *world = *state;
    static char value[600000];
    assign(world, 1, 0);
    finish(world, take(world), (struct bytes){value, sizeof value});
    assert_int_equal(world->page.finished, 0); /* the page cannot vouch for it */
    listen_to(world);
    assert_int_equal(find(world, MESSAGE_RESULT, 1)->length, sizeof value);
    lose_session(world);
    open_session(world, true, PAYLOAD_LIMIT_DEFAULT);
    listen_to(world);
    assert_int_equal(find(world, MESSAGE_CLAIM, 1)->state, CLAIM_FINISHED);
    assert_int_equal(find(world, MESSAGE_RESULT, 1)->length, sizeof value);
    settle(world, 1);
    lose_session(world);
    open_session(world, true, PAYLOAD_LIMIT_DEFAULT);
    listen_to(world);
    assert_null(find(world, MESSAGE_CLAIM, 1));
}

static void a_result_over_the_limit_is_a_failure_that_says_both_sizes(void **state)
{
    struct world *world = *state;
    static char value[20000];
    open_session(world, true, 10000);
    listen_to(world);
    assign(world, 1, 0);
    finish(world, take(world), (struct bytes){value, sizeof value});
    listen_to(world);
    const struct said *said = find(world, MESSAGE_FAILURE, 1);
    assert_non_null(said);
    assert_int_equal(said->status, -MUSTER_ELIMIT);
    assert_non_null(strstr(said->text, "20000"));
    assert_non_null(strstr(said->text, "10000"));
    assert_int_equal(world->page.finished, 1);
}

static void long_sentences_are_cut_and_arrive(void **state)
{
    struct world *world = *state;
    char *text = malloc(1000000);
    memset(text, 'x', 1000000);
    struct outcome outcome = {
        .status = MUSTER_ETASK, .kind = {text, 1000000}, .message = {text, 1000000}, .traceback = {text, 1000000}};
    assign(world, 1, 0);
    assert_int_equal(worker_finish(world->worker, take(world), &outcome), 0);
    listen_to(world);
    assert_int_equal(find(world, MESSAGE_FAILURE, 1)->length, 64 * 1024);
    assert_int_equal(world->page.finished, 1);
    free(text);
}

static void a_recalled_task_goes_back_unless_it_has_started(void **state)
{
    struct world *world = *state;
    for (uint64_t ticket = 1; ticket <= 4; ticket++)
        assign(world, ticket, 0);
    take(world);
    tell(world, (struct message){.type = MESSAGE_RECALL, .recall = {.ticket = 1}});
    tell(world, (struct message){.type = MESSAGE_RECALL, .recall = {.ticket = 3}});
    tell(world, (struct message){.type = MESSAGE_RECALL, .recall = {.ticket = 9}});
    listen_to(world);
    assert_int_equal(world->said_count, 1);
    assert_int_equal(world->said[0].type, MESSAGE_RETURNED);
    assert_int_equal(world->said[0].ticket, 3);
}

static void a_running_task_is_asked_to_stop_and_a_waiting_one_never_starts(void **state)
{
    struct world *world = *state;
    assign(world, 1, 0);
    assign(world, 2, 0);
    assign(world, 3, 0);
    struct held_task *task = take(world);
    tell(world, (struct message){.type = MESSAGE_STOP, .stop = {.ticket = 1, .status = -MUSTER_ECANCELED}});
    assert_int_equal(world->stops, 1);
    assert_int_equal(world->stopped_ticket, 1);
    assert_int_equal(task->stop_status, MUSTER_ECANCELED);
    tell(world, (struct message){.type = MESSAGE_STOP, .stop = {.ticket = 2, .status = -MUSTER_ECANCELED}});
    listen_to(world);
    assert_int_equal(find(world, MESSAGE_FAILURE, 2)->status, -MUSTER_ECANCELED);
    assert_int_equal(world->page.started, 1);
    assert_int_equal(world->page.finished, 0);
    struct outcome outcome = {.status = MUSTER_ECANCELED};
    assert_int_equal(worker_finish(world->worker, task, &outcome), 0);
    assert_int_equal(take(world)->ticket, 3);
    tell(world, (struct message){.type = MESSAGE_STOP, .stop = {.ticket = 1}}); /* it has said how it ended */
    listen_to(world);
    assert_int_equal(world->said_count, 1);
}

static void a_task_that_stopped_at_its_limit_says_so(void **state)
{
    struct world *world = *state;
    struct outcome outcome = {.status = MUSTER_ECANCELED};
    assign(world, 1, 0);
    struct held_task *task = take(world);
    tell(world, (struct message){.type = MESSAGE_STOP, .stop = {.ticket = 1, .status = -MUSTER_ETIMEDOUT}});
    assert_int_equal(worker_finish(world->worker, task, &outcome), 0);
    listen_to(world);
    assert_int_equal(find(world, MESSAGE_FAILURE, 1)->status, -MUSTER_ETIMEDOUT);
}

static void everything_is_claimed_from_a_coordinator_that_restarted(void **state)
{
    struct world *world = *state;
    for (uint64_t ticket = 1; ticket <= 4; ticket++)
        assign(world, ticket, 0);
    run_one(world);
    run_one(world);
    settle(world, 1);
    take(world);
    lose_session(world);
    assert_null(take(world));
    open_session(world, true, PAYLOAD_LIMIT_DEFAULT);
    listen_to(world);
    assert_int_equal(world->said_count, 5);
    assert_int_equal(find(world, MESSAGE_CLAIM, 2)->state, CLAIM_FINISHED);
    assert_non_null(find(world, MESSAGE_RESULT, 2));
    assert_int_equal(find(world, MESSAGE_CLAIM, 3)->state, CLAIM_RUNNING);
    assert_int_equal(find(world, MESSAGE_CLAIM, 4)->state, CLAIM_WAITING);
    assert_null(find(world, MESSAGE_CLAIM, 1));
    assert_int_equal(world->said[4].type, MESSAGE_OFFER); /* after the claims */
    assert_int_equal(world->page.started, 3);
}

static void tasks_that_were_given_to_others_are_not_started(void **state)
{
    struct world *world = *state;
    assign(world, 1, 0);
    assign(world, 2, 0);
    struct held_task *task = take(world);
    lose_session(world);
    open_session(world, false, PAYLOAD_LIMIT_DEFAULT);
    listen_to(world);
    assert_int_equal(find(world, MESSAGE_CLAIM, 1)->state, CLAIM_RUNNING);
    assert_null(find(world, MESSAGE_CLAIM, 2));
    finish(world, task, (struct bytes){"\x01", 1});
    assert_null(take(world));
}

static void an_outcome_of_a_time_without_session_is_told_in_the_next(void **state)
{
    struct world *world = *state;
    assign(world, 1, 0);
    struct held_task *task = take(world);
    lose_session(world);
    finish(world, task, (struct bytes){"\x01", 1});
    open_session(world, true, PAYLOAD_LIMIT_DEFAULT);
    listen_to(world);
    assert_int_equal(find(world, MESSAGE_CLAIM, 1)->state, CLAIM_FINISHED);
    assert_non_null(find(world, MESSAGE_RESULT, 1));
}

static void tickets_begin_anew_with_a_coordinator_that_knows_none(void **state)
{
    struct world *world = *state;
    assign(world, 41, 0);
    run_one(world);
    settle(world, 41);
    lose_session(world);
    open_session(world, true, PAYLOAD_LIMIT_DEFAULT);
    assert_int_equal(world->page.started, 0);
    assign(world, 1, 0);
    assert_int_equal(take(world)->ticket, 1);
}

static void a_silent_coordinator_may_have_given_us_up(void **state)
{
    struct world *world = *state;
    assign(world, 1, 0);
    world->now_ns += 6 * NS_PER_S;
    assert_null(take(world));
    assert_true(worker_holding(world->worker));
    world->link.heard_ns = world->now_ns;
    assert_non_null(take(world));
}

static void draining_gives_back_what_has_not_started(void **state)
{
    struct world *world = *state;
    assign(world, 1, 0);
    assign(world, 2, 0);
    struct held_task *task = take(world);
    assert_int_equal(worker_drain(world->worker), 0);
    assign(world, 3, 0); /* was on its way */
    assert_false(worker_over(world->worker));
    finish(world, task, (struct bytes){"\x01", 1});
    listen_to(world);
    assert_int_equal(world->said[0].type, MESSAGE_DRAINING);
    assert_non_null(find(world, MESSAGE_RETURNED, 2));
    assert_non_null(find(world, MESSAGE_RETURNED, 3));
    assert_non_null(find(world, MESSAGE_RESULT, 1));
    assert_false(worker_over(world->worker));
    settle(world, 1);
    tell(world, (struct message){.type = MESSAGE_DISMISS});
    assert_false(worker_over(world->worker)); /* the goodbye is not delivered yet */
    unsigned ready = world->ready;
    session_free(&world->link.session);
    world->link.state = LINK_CLOSED;
    worker_link_events.closed(world->worker);
    assert_true(worker_over(world->worker));
    assert_true(world->ready > ready); /* nobody has to look again and again */
}

static void draining_without_a_coordinator_waits_only_for_outcomes(void **state)
{
    struct world *world = *state;
    assign(world, 1, 0);
    run_one(world);
    lose_session(world);
    assert_int_equal(worker_drain(world->worker), 0);
    assert_false(worker_over(world->worker));
    open_session(world, true, PAYLOAD_LIMIT_DEFAULT);
    listen_to(world);
    assert_int_equal(world->said[world->said_count - 1].type, MESSAGE_DRAINING);
    settle(world, 1);
    lose_session(world);
    assert_true(worker_over(world->worker));
}

static void after_max_tasks_it_drains_by_itself(void **state)
{
    struct world *world = *state;
    for (uint64_t ticket = 1; ticket <= 3; ticket++)
        assign(world, ticket, 0);
    run_one(world);
    assert_false(worker_draining(world->worker));
    run_one(world);
    assert_true(worker_draining(world->worker));
    listen_to(world);
    assert_non_null(find(world, MESSAGE_RETURNED, 3));
}

static void progress_and_log_are_dropped_when_nobody_keeps_up(void **state)
{
    struct world *world = *state;
    assign(world, 1, 0);
    struct held_task *task = take(world);
    static char text[60000];
    memset(text, 'l', sizeof text);
    assert_int_equal(worker_progress(world->worker, task, 0, 1, 2, (struct bytes){"half", 4}), 0);
    assert_int_equal(worker_log(world->worker, task, 6, (struct bytes){"hello", 5}), 0);
    listen_to(world);
    assert_string_equal(world->said[0].text, "half");
    assert_string_equal(world->said[1].text, "hello");
    int status = 0;
    for (int i = 0; i < 200 && status == 0; i++)
        status = worker_log(world->worker, task, 6, (struct bytes){text, sizeof text});
    assert_int_equal(status, MUSTER_EAGAIN);
    assert_true(world->link.session.backlog_bytes < 8 * 1024 * 1024);
    lose_session(world);
    assert_int_equal(worker_log(world->worker, task, 6, (struct bytes){"x", 1}), MUSTER_ECONNECT);
}

static void a_coordinator_that_makes_no_sense_is_refused(void **state)
{
    struct world *world = *state;
    struct message message = {.type = MESSAGE_ASSIGN, .assign = {.ticket = 1, .function = 2}};
    assert_int_equal(worker_link_events.message(world->worker, &message), MUSTER_EPROTOCOL);
    assign(world, 5, 0);
    message.assign.function = 0;
    message.assign.ticket = 5;
    assert_int_equal(worker_link_events.message(world->worker, &message), MUSTER_EPROTOCOL);
    message.type = MESSAGE_HELLO;
    assert_int_equal(worker_link_events.message(world->worker, &message), MUSTER_EPROTOCOL);
}

static void a_link_that_failed_ends_the_worker(void **state)
{
    struct world *world = *state;
    assign(world, 1, 0);
    worker_link_events.failed(world->worker, MUSTER_EAUTH, "wrong authkey");
    assert_int_equal(world->failed, 1);
    assert_null(take(world));
    assert_true(worker_over(world->worker));
}

static bool failing;

static bool fail_while(void)
{
    return failing;
}

static void without_memory_a_task_goes_back(void **state)
{
    struct world *world = *state;
    /* room in the session, so that the answer itself needs no memory */
    assert_int_equal(buffer_reserve(&world->link.session.gathering, 4096), 0);
    memory_fail_hook = fail_while;
    failing = true;
    assign(world, 1, 0);
    failing = false;
    memory_fail_hook = NULL;
    assert_null(take(world));
    listen_to(world);
    assert_non_null(find(world, MESSAGE_RETURNED, 1));
}

static void without_memory_a_large_outcome_becomes_a_failure(void **state)
{
    struct world *world = *state;
    static char value[100000];
    struct outcome outcome = {.encoding = MUSTER_MSGPACK, .value = {value, sizeof value}};
    assign(world, 1, 0);
    struct held_task *task = take(world);
    assert_int_equal(buffer_reserve(&world->link.session.gathering, 4096), 0);
    memory_fail_hook = fail_while;
    failing = true;
    assert_int_equal(worker_finish(world->worker, task, &outcome), 0);
    failing = false;
    memory_fail_hook = NULL;
    listen_to(world);
    const struct said *said = find(world, MESSAGE_FAILURE, 1);
    assert_non_null(said);
    assert_int_equal(said->status, -MUSTER_ENOMEM);
    assert_non_null(strstr(said->text, "100000"));
}

static void an_outcome_that_cannot_be_sent_is_in_the_page(void **state)
{
    struct world *world = *state;
    struct outcome outcome = {.encoding = MUSTER_MSGPACK, .value = {"\x01", 1}};
    struct page_record record;
    assign(world, 1, 0);
    struct held_task *task = take(world);
    buffer_free(&world->link.session.gathering);
    world->link.session.gathering_count = 0;
    memory_fail_hook = fail_while;
    failing = true;
    int status = worker_finish(world->worker, task, &outcome);
    failing = false;
    memory_fail_hook = NULL;
    assert_int_equal(status, MUSTER_ENOMEM);
    uint64_t position = world->page.tail;
    assert_true(page_next(&world->page, &position, &record));
    assert_int_equal(record.ticket, 1);
    assert_int_equal(world->page.finished, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_offers_its_functions_when_a_session_opens),
        TEST(tasks_run_one_at_a_time_in_the_order_of_their_tickets),
        TEST(the_start_is_told_at_once_if_asked_for),
        TEST(an_outcome_stays_in_the_page_until_it_is_settled),
        TEST(nothing_starts_while_the_ring_is_full),
        TEST(no_more_outcomes_pile_up_than_can_be_claimed),
        TEST(an_outcome_too_long_for_the_ring_survives_the_coordinator),
        TEST(a_result_over_the_limit_is_a_failure_that_says_both_sizes),
        TEST(long_sentences_are_cut_and_arrive),
        TEST(a_recalled_task_goes_back_unless_it_has_started),
        TEST(a_running_task_is_asked_to_stop_and_a_waiting_one_never_starts),
        TEST(a_task_that_stopped_at_its_limit_says_so),
        TEST(everything_is_claimed_from_a_coordinator_that_restarted),
        TEST(tasks_that_were_given_to_others_are_not_started),
        TEST(an_outcome_of_a_time_without_session_is_told_in_the_next),
        TEST(tickets_begin_anew_with_a_coordinator_that_knows_none),
        TEST(a_silent_coordinator_may_have_given_us_up),
        TEST(draining_gives_back_what_has_not_started),
        TEST(draining_without_a_coordinator_waits_only_for_outcomes),
        TEST(a_task_finds_the_body_that_was_introduced),
        TEST(a_body_is_kept_as_long_as_a_task_needs_it),
        TEST(each_session_introduces_anew_and_what_is_held_keeps_its_body),
        TEST(a_body_that_does_not_fit_into_memory_is_a_failure),
        TEST(a_failure_whose_value_is_too_long_is_told_without_it),
        cmocka_unit_test_setup_teardown(after_max_tasks_it_drains_by_itself, set_up_short_lived, tear_down),
        TEST(progress_and_log_are_dropped_when_nobody_keeps_up),
        TEST(a_coordinator_that_makes_no_sense_is_refused),
        TEST(a_link_that_failed_ends_the_worker),
        TEST(without_memory_a_task_goes_back),
        TEST(without_memory_a_large_outcome_becomes_a_failure),
        TEST(an_outcome_that_cannot_be_sent_is_in_the_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
