/*
 * What the supervisor's logic promises: every slot has a worker unless that makes no sense, and the coordinator learns
 * of every death.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "core/errors.h"
#include "core/log.h"
#include "workers/supervisor.h"

#define SLOTS 3

/* What the supervisor has ordered and said. Pages live as long as they are not released. */
struct world {
    struct supervisor *supervisor;
    struct page *pages[SLOTS];
    uint64_t identities[SLOTS];
    unsigned spawned, released, killed;
    int kill_signal, spawn_status, send_status;
    struct message sent[64];
    size_t sent_count;
    char text[64][256];   /* the text of each message that has one */
    bool release_at_exit; /* answer EXIT with RELEASE before it returns, as an embedded coordinator does */
    char gave_up[1024];
    uint64_t now_ns;
};

static int spawn(void *arg, unsigned slot, uint64_t identity, struct page **page)
{
    struct world *world = arg;
    if (world->spawn_status != 0)
        return error_set(world->spawn_status, "no more processes");
    *page = malloc(sizeof **page);
    assert_non_null(*page);
    page_init(*page);
    world->pages[slot] = *page;
    world->identities[slot] = identity;
    world->spawned++;
    return 0;
}

static void kill_worker(void *arg, unsigned slot, int signal)
{
    struct world *world = arg;
    assert_true(slot < SLOTS);
    world->killed++;
    world->kill_signal = signal;
}

static void release(void *arg, unsigned slot, struct page *page)
{
    struct world *world = arg;
    (void)slot;
    world->released++;
    free(page);
}

static int send(void *arg, const struct message *message)
{
    struct world *world = arg;
    if (world->send_status != 0)
        return world->send_status;
    assert_true(world->sent_count < 64);
    struct bytes text = message->type == MESSAGE_EXIT      ? message->exit.message
                        : message->type == MESSAGE_GAVE_UP ? message->gave_up.reason
                                                           : (struct bytes){"", 0};
    snprintf(world->text[world->sent_count], 256, "%.*s", (int)text.length, (const char *)text.data);
    world->sent[world->sent_count++] = *message;
    if (message->type == MESSAGE_EXIT && world->release_at_exit) {
        struct message release_it = {.type = MESSAGE_RELEASE, .release = {.worker = message->exit.worker}};
        assert_int_equal(supervisor_message(world->supervisor, &release_it, world->now_ns), 0);
    }
    return 0;
}

static void gave_up(void *arg, const char *reason)
{
    struct world *world = arg;
    snprintf(world->gave_up, sizeof world->gave_up, "%s", reason);
}

static const struct supervisor_events events = {spawn, kill_worker, release, send, gave_up};

static int set_up(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    struct supervisor_config config;
    struct random random;
    random_seed(&random, "supervisor", 10);
    supervisor_config_defaults(&config);
    config.slots = SLOTS;
    world->now_ns = NS_PER_S;
    log_threshold = LOG_LEVEL_ERROR;
    *state = world;
    return supervisor_create(&world->supervisor, &config, &random, &events, world, world->now_ns);
}

static int tear_down(void **state)
{
    struct world *world = *state;
    supervisor_free(world->supervisor);
    assert_int_equal(world->released, world->spawned); /* no page is forgotten */
    free(world);
    return 0;
}

static void tick(struct world *world, uint64_t after_ns)
{
    world->now_ns += after_ns;
    supervisor_tick(world->supervisor, world->now_ns);
}

static void end_worker(struct world *world, unsigned slot, int signal, const char *last_words)
{
    struct worker_end end = {
        .pid = 100 + slot, .signal = signal, .exit_status = signal ? -1 : 0, .last_words = last_words};
    supervisor_worker_ended(world->supervisor, slot, &end, world->now_ns);
}

static void start_all(struct world *world, bool ready)
{
    tick(world, 0);
    supervisor_connected(world->supervisor, true, world->now_ns);
    for (unsigned i = 0; i < SLOTS; i++)
        atomic_store(&world->pages[i]->ready, ready);
}

/* Records an outcome as a worker would. */
static void record(struct page *page, uint64_t ticket)
{
    struct buffer encoded = {0};
    struct message message = {.type = MESSAGE_RESULT, .result = {.ticket = ticket, .value = {"v", 1}}};
    page_start(page, ticket, 10, ticket + 100);
    assert_int_equal(message_encode(&encoded, &message), 0);
    assert_true(page_record(page, ticket, 10, ticket + 100, bytes_of(&encoded)));
    page_finish(page, ticket);
    buffer_free(&encoded);
}

static void every_slot_gets_a_worker_and_the_coordinator_learns_how_many(void **state)
{
    struct world *world = *state;
    assert_int_equal(supervisor_deadline(world->supervisor), world->now_ns);
    start_all(world, true);
    assert_int_equal(world->spawned, SLOTS);
    assert_int_equal(supervisor_alive(world->supervisor), SLOTS);
    assert_int_equal(world->sent_count, 1);
    assert_int_equal(world->sent[0].type, MESSAGE_SLOTS);
    assert_int_equal(world->sent[0].slots.count, SLOTS);
    assert_true(world->identities[0] != 0 && world->identities[0] != world->identities[1]);
    assert_int_equal(supervisor_deadline(world->supervisor), NEVER_NS);
}

static void a_death_is_reported_with_the_running_task_and_the_last_words(void **state)
{
    struct world *world = *state;
    start_all(world, true);
    page_start(world->pages[1], 5, 50, 500);
    atomic_store(&world->pages[1]->tasks[1].item, 17);
    end_worker(world, 1, SIGSEGV, "double free");
    const struct message_exit *told = &world->sent[1].exit;
    assert_int_equal(world->sent[1].type, MESSAGE_EXIT);
    assert_int_equal(told->worker, world->identities[1]);
    assert_int_equal(told->pid, 101);
    assert_int_equal(told->signal, SIGSEGV);
    assert_int_equal(told->exit_status, -1);
    assert_int_equal(told->started, 5);
    assert_int_equal(told->client, 50);
    assert_int_equal(told->number, 500);
    assert_int_equal(told->item, 17);
    assert_string_equal(world->text[1], "double free");
}

static void an_idle_worker_takes_no_task_with_it(void **state)
{
    struct world *world = *state;
    start_all(world, true);
    record(world->pages[0], 5);
    end_worker(world, 0, SIGKILL, "");
    assert_int_equal(world->sent[2].type, MESSAGE_EXIT);
    assert_int_equal(world->sent[2].exit.started, 5);
    assert_int_equal(world->sent[2].exit.client, 0);
}

static void outcomes_of_the_dead_are_handed_in_before_its_end(void **state)
{
    struct world *world = *state;
    start_all(world, true);
    for (uint64_t ticket = 1; ticket <= 3; ticket++)
        record(world->pages[2], ticket);
    page_settle(world->pages[2], 1);
    end_worker(world, 2, SIGKILL, "");
    assert_int_equal(world->sent_count, 4);
    assert_int_equal(world->sent[1].type, MESSAGE_SALVAGE);
    assert_int_equal(world->sent[1].salvage.number, 102);
    assert_int_equal(world->sent[2].salvage.number, 103);
    assert_int_equal(world->sent[3].type, MESSAGE_EXIT);
}

static void what_a_task_wrote_over_the_page_is_not_handed_in(void **state)
{
    struct world *world = *state;
    start_all(world, true);
    record(world->pages[0], 1);
    memset(world->pages[0], 0xa5, sizeof *world->pages[0]);
    end_worker(world, 0, SIGABRT, "words");
    assert_int_equal(world->sent_count, 2);
    assert_true(world->sent[1].exit.started == EXIT_STARTED_UNKNOWN);
    assert_string_equal(world->text[1], "words");
    record(world->pages[1], 1);
    assert_true(page_record(world->pages[1], 2, 10, 20, (struct bytes){"\xc1\xc1", 2}));
    end_worker(world, 1, SIGABRT, "");
    assert_int_equal(world->sent[2].type, MESSAGE_SALVAGE);
    assert_int_equal(world->sent[3].type, MESSAGE_EXIT);
}

static void a_worker_that_did_something_is_replaced_at_once(void **state)
{
    struct world *world = *state;
    start_all(world, true);
    page_start(world->pages[0], 1, 1, 1);
    end_worker(world, 0, SIGSEGV, "");
    assert_int_equal(supervisor_deadline(world->supervisor), world->now_ns);
    tick(world, 0);
    assert_int_equal(world->spawned, SLOTS + 1);
    assert_int_equal(supervisor_alive(world->supervisor), SLOTS);
}

static void a_worker_that_fails_soon_waits_longer_each_time(void **state)
{
    struct world *world = *state;
    uint64_t last = 0;
    start_all(world, true);
    for (int i = 0; i < 6; i++) {
        end_worker(world, 0, SIGSEGV, ""); /* it was ready, so the start is not counted as failed */
        uint64_t wait = supervisor_deadline(world->supervisor) - world->now_ns;
        assert_true(wait >= 37 * NS_PER_MS && wait <= 7 * NS_PER_S);
        assert_true(wait > last);
        last = wait;
        tick(world, wait - 1);
        assert_int_equal(supervisor_alive(world->supervisor), SLOTS - 1);
        tick(world, 1);
        assert_int_equal(supervisor_alive(world->supervisor), SLOTS);
        atomic_store(&world->pages[0]->ready, 1);
    }
    world->now_ns += 10 * NS_PER_S;
    end_worker(world, 0, SIGSEGV, ""); /* it has lived long enough: all is forgiven */
    assert_int_equal(supervisor_deadline(world->supervisor), world->now_ns);
    assert_string_equal(world->gave_up, "");
}

static void starts_that_fail_again_and_again_end_it_with_the_reason(void **state)
{
    struct world *world = *state;
    start_all(world, false);
    for (unsigned i = 0; i < 5; i++) {
        assert_string_equal(world->gave_up, "");
        page_break(world->pages[i % SLOTS], MUSTER_EPLUGIN, "the licence server is down");
        end_worker(world, i % SLOTS, 0, "noise");
        tick(world, 20 * NS_PER_S);
    }
    assert_non_null(strstr(world->gave_up, "the licence server is down"));
    assert_int_equal(world->sent[world->sent_count - 1].type, MESSAGE_GAVE_UP);
    assert_non_null(strstr(world->text[world->sent_count - 1], "the licence server is down"));
    unsigned spawned = world->spawned;
    tick(world, 20 * NS_PER_S);
    assert_int_equal(world->spawned, spawned);
    assert_int_equal(supervisor_deadline(world->supervisor), NEVER_NS);
}

static void it_goes_on_while_one_worker_is_well(void **state)
{
    struct world *world = *state;
    start_all(world, false);
    atomic_store(&world->pages[2]->ready, 1);
    for (unsigned i = 0; i < 20; i++) {
        end_worker(world, 0, SIGKILL, "");
        tick(world, 20 * NS_PER_S);
    }
    assert_string_equal(world->gave_up, "");
    assert_int_equal(supervisor_alive(world->supervisor), SLOTS);
}

static void processes_that_cannot_be_started_count_as_failed_starts(void **state)
{
    struct world *world = *state;
    world->spawn_status = MUSTER_ESYSTEM;
    for (unsigned i = 0; i < 10; i++)
        tick(world, 20 * NS_PER_S);
    assert_non_null(strstr(world->gave_up, "no more processes"));
    assert_int_equal(world->spawned, 0);
}

static void the_coordinator_kills_a_worker_by_its_identity(void **state)
{
    struct world *world = *state;
    start_all(world, true);
    struct message message = {.type = MESSAGE_KILL, .kill = {.worker = world->identities[1]}};
    assert_int_equal(supervisor_message(world->supervisor, &message, world->now_ns), 0);
    assert_int_equal(world->killed, 1);
    assert_int_equal(world->kill_signal, SIGKILL);
    end_worker(world, 1, SIGKILL, "");
    assert_int_equal(supervisor_deadline(world->supervisor), world->now_ns); /* it is not its own fault */
    assert_int_equal(supervisor_message(world->supervisor, &message, world->now_ns), 0);
    assert_int_equal(world->killed, 1);
    message.kill.worker = 0;
    assert_int_equal(supervisor_message(world->supervisor, &message, world->now_ns), 0);
    assert_int_equal(world->killed, 1); /* an empty slot is nobody */
    message.type = MESSAGE_ASSIGN;
    assert_int_equal(supervisor_message(world->supervisor, &message, world->now_ns), MUSTER_EPROTOCOL);
}

static void a_page_is_kept_until_it_is_released_and_told_again(void **state)
{
    struct world *world = *state;
    start_all(world, true);
    record(world->pages[0], 1);
    uint64_t identity = world->identities[0];
    end_worker(world, 0, SIGKILL, "");
    assert_int_equal(world->released, 0);
    world->sent_count = 0;
    supervisor_connected(world->supervisor, true, world->now_ns);
    assert_int_equal(world->sent_count, 3);
    assert_int_equal(world->sent[0].type, MESSAGE_SLOTS);
    assert_int_equal(world->sent[1].type, MESSAGE_SALVAGE);
    assert_int_equal(world->sent[2].type, MESSAGE_EXIT);
    struct message message = {.type = MESSAGE_RELEASE, .release = {.worker = identity}};
    assert_int_equal(supervisor_message(world->supervisor, &message, world->now_ns), 0);
    assert_int_equal(world->released, 1);
    world->sent_count = 0;
    supervisor_connected(world->supervisor, true, world->now_ns);
    assert_int_equal(world->sent_count, 1);
}

static void a_coordinator_may_release_before_the_report_is_over(void **state)
{
    struct world *world = *state;
    start_all(world, true);
    world->release_at_exit = true;
    record(world->pages[0], 1);
    end_worker(world, 0, SIGKILL, "");
    end_worker(world, 1, SIGKILL, "");
    assert_int_equal(world->released, 2);
}

static void deaths_without_a_connection_are_told_later(void **state)
{
    struct world *world = *state;
    start_all(world, true);
    world->send_status = MUSTER_ECONNECT;
    record(world->pages[0], 1);
    end_worker(world, 0, SIGKILL, "");
    tick(world, 0);
    assert_int_equal(world->sent_count, 1);
    world->send_status = 0;
    tick(world, 0); /* nothing is tried by itself */
    assert_int_equal(world->sent_count, 1);
    supervisor_connected(world->supervisor, false, world->now_ns);
    assert_int_equal(world->sent_count, 4);
}

static void a_message_that_found_no_memory_is_tried_again(void **state)
{
    struct world *world = *state;
    start_all(world, true);
    world->send_status = MUSTER_ENOMEM;
    page_start(world->pages[0], 1, 1, 1);
    end_worker(world, 0, SIGKILL, "");
    tick(world, 0);
    assert_int_equal(world->sent_count, 1);
    world->send_status = 0;
    uint64_t deadline = supervisor_deadline(world->supervisor);
    assert_true(deadline != NEVER_NS && deadline > world->now_ns);
    tick(world, deadline - world->now_ns);
    assert_int_equal(world->sent[1].type, MESSAGE_EXIT);
}

static void stopping_drains_and_then_kills(void **state)
{
    struct world *world = *state;
    start_all(world, true);
    supervisor_stop(world->supervisor, false);
    assert_int_equal(world->killed, SLOTS);
    assert_int_equal(world->kill_signal, SIGTERM);
    assert_false(supervisor_over(world->supervisor));
    end_worker(world, 0, 0, "");
    supervisor_stop(world->supervisor, true);
    assert_int_equal(world->killed, 2 * SLOTS - 1);
    assert_int_equal(world->kill_signal, SIGKILL);
    end_worker(world, 1, SIGKILL, "");
    end_worker(world, 2, SIGKILL, "");
    tick(world, NS_PER_S);
    assert_true(supervisor_over(world->supervisor));
    assert_int_equal(world->spawned, SLOTS);
}

static void many_dead_do_not_pile_up(void **state)
{
    struct world *world = *state;
    start_all(world, true);
    world->send_status = MUSTER_ECONNECT;
    for (int i = 0; i < 1000; i++) {
        page_start(world->pages[0], 1, 1, 1);
        end_worker(world, 0, SIGKILL, "");
        tick(world, 0);
    }
    assert_true(world->spawned - world->released <= 256 + SLOTS);
}

static int allocations_left;

static bool fail_in_turn(void)
{
    return allocations_left-- <= 0;
}

static void without_memory_a_death_is_still_told(void **state)
{
    struct world *world = *state;
    start_all(world, true);
    page_start(world->pages[0], 9, 90, 900);
    allocations_left = 0;
    memory_fail_hook = fail_in_turn;
    end_worker(world, 0, SIGKILL, "");
    memory_fail_hook = NULL;
    assert_int_equal(world->sent[1].type, MESSAGE_EXIT);
    assert_int_equal(world->sent[1].exit.started, 9);
    assert_int_equal(world->released, 1);
    tick(world, 0);
    assert_int_equal(supervisor_alive(world->supervisor), SLOTS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_slot_gets_a_worker_and_the_coordinator_learns_how_many),
        TEST(a_death_is_reported_with_the_running_task_and_the_last_words),
        TEST(an_idle_worker_takes_no_task_with_it),
        TEST(outcomes_of_the_dead_are_handed_in_before_its_end),
        TEST(what_a_task_wrote_over_the_page_is_not_handed_in),
        TEST(a_worker_that_did_something_is_replaced_at_once),
        TEST(a_worker_that_fails_soon_waits_longer_each_time),
        TEST(starts_that_fail_again_and_again_end_it_with_the_reason),
        TEST(it_goes_on_while_one_worker_is_well),
        TEST(processes_that_cannot_be_started_count_as_failed_starts),
        TEST(the_coordinator_kills_a_worker_by_its_identity),
        TEST(a_page_is_kept_until_it_is_released_and_told_again),
        TEST(a_coordinator_may_release_before_the_report_is_over),
        TEST(deaths_without_a_connection_are_told_later),
        TEST(a_message_that_found_no_memory_is_tried_again),
        TEST(stopping_drains_and_then_kills),
        TEST(many_dead_do_not_pile_up),
        TEST(without_memory_a_death_is_still_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
