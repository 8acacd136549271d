/*
 * Hosts: a supervisor and its worker processes. Workers do not run code; they take a task, let virtual time pass, and
 * finish it the way that the ledger says: well, with an error, by crashing, or not at all until they are stopped or
 * killed.
 */
#include "tests/sim/sim.h"

#include <stdlib.h>

static const char *const functions_common[] = {"work"};
static const char *const functions_rare[] = {"work", "rare"};

/* --- workers ------------------------------------------------------------------------------------------------------ */

static struct task *task_of(struct world *world, const struct held_task *held)
{
    if (held->length != 3)
        return NULL;
    unsigned index = (unsigned)held->args[1] << 8 | held->args[2];
    struct task *task = &world->tasks[index];
    return index < world->task_count && task->client->identity == held->client && task->number == held->number ? task
                                                                                                               : NULL;
}

static void worker_ready(void *arg)
{
    (void)arg; /* worker_pump() looks after every event */
}

static void plan_end(struct process *process, uint64_t after_ns)
{
    process->run_id = ++process->world->next_id;
    struct event *event = sim_at(process->world, process->world->now_ns + after_ns, EVENT_RUN_ENDS, process->id);
    event->number = process->run_id;
}

static void worker_stop(void *arg, uint64_t ticket)
{
    struct process *process = arg;
    sim_trace(process->world, "worker %u is asked to stop ticket %llu", process->id, (unsigned long long)ticket);
    if (process->running && process->running->ticket == ticket && process->running_task->behaviour != RUN_STUBBORN) {
        plan_end(process, sim_random(process->world, 20 * NS_PER_MS));
    }
}

static void worker_failed(void *arg, int status, const char *reason)
{
    const struct process *process = arg;
    sim_violate(process->world, "links recover", "a worker's link failed: %d %s", status, reason);
}

static const struct worker_events worker_events = {worker_ready, worker_stop, worker_failed};

/* The link's events, passed on to the worker's own; some plants live here. */
static void link_open(void *arg, const struct welcome *welcome, bool restarted)
{
    struct process *process = arg;
    worker_link_events.open(process->worker, welcome, restarted);
}

static int link_message(void *arg, const struct message *message)
{
    struct process *process = arg;
    if (process->world->plant == PLANT_NO_SETTLE && message->type == MESSAGE_SETTLED)
        return 0;
    struct message changed = *message;
    if (process->world->plant == PLANT_IGNORE_LIMITS && message->type == MESSAGE_ASSIGN)
        changed.assign.flags &= ~(uint64_t)TASK_REPORT_START;
    if (process->world->plant == PLANT_NO_BODY && message->type == MESSAGE_ASSIGN && message->assign.ticket % 5 == 3)
        changed.assign.definition = 0;
    if (process->world->plant == PLANT_WRONG_BODY && message->type == MESSAGE_INTRODUCE)
        changed.introduce.body.length--;
    return worker_link_events.message(process->worker, &changed);
}

static void link_lost(void *arg, const char *reason)
{
    struct process *process = arg;
    sim_trace(process->world, "worker %u: session lost: %s", process->id, reason);
    if (worker_link_events.lost)
        worker_link_events.lost(process->worker, reason);
}

static void link_failed(void *arg, int status, const char *reason)
{
    struct process *process = arg;
    worker_link_events.failed(process->worker, status, reason);
}

static const struct link_events worker_process_events = {
    .open = link_open, .message = link_message, .lost = link_lost, .failed = link_failed};

static void die(struct process *process, int signal, int exit_status)
{
    struct host *host = process->host;
    sim_trace(process->world, "worker %u dies: signal %d", process->id, signal);
    ledger_worker_died(process);
    worker_free(process->worker);
    process->worker = NULL;
    process->running = NULL;
    process->running_task = NULL;
    process_end(process);
    host->workers[process->slot] = NULL;
    struct event *event = sim_at(process->world, process->world->now_ns + sim_random(process->world, 5 * NS_PER_MS),
                                 EVENT_REAPED, process->id);
    event->value = host->process ? host->process->id : UINT64_MAX;
    event->end = (struct worker_end){
        .pid = process->id + 1, .signal = signal, .exit_status = signal ? -1 : exit_status, .last_words = ""};
}

void worker_crash(struct process *process, int signal)
{
    if (process->alive)
        die(process, signal, -1);
}

void worker_reaped(struct world *world, struct event *event)
{
    struct process *process = world->processes[event->process];
    struct host *host = process->host;
    if (!host->process || host->process->id != event->value)
        return; /* its supervisor has gone too */
    supervisor_worker_ended(host->supervisor, process->slot, &event->end, world->now_ns);
}

/* What a task finds is what its client defined, and one key stands for one body. */
static void check_body(struct process *process, const struct held_task *held, const struct task *task)
{
    static unsigned char expected[MAX_BODY_BYTES];
    struct world *world = process->world;
    const struct introduced *introduced = held->introduced;
    size_t length = task->body ? client_body(task, expected) : 0;
    if (!introduced != !task->body)
        sim_violate(world, "the right body", "worker %u runs task %u %s", process->id, task->index,
                    introduced ? "with a body that it does not have" : "without its body");
    else if (introduced && (introduced->length != length || memcmp(introduced->body, expected, length) != 0))
        sim_violate(world, "the right body", "worker %u runs task %u with the body of another (%zu bytes)", process->id,
                    task->index, introduced->length);
    if (!introduced || introduced->key >= 256)
        return;
    uint64_t which = task->body < BODIES / 2 ? task->body : task->client->identity * BODIES + task->body;
    uint64_t *before = &process->body_of_key[introduced->key];
    if (introduced->key == 0 || (*before && *before != which))
        sim_violate(world, "the right body", "worker %u knows two bodies under the key %llu", process->id,
                    (unsigned long long)introduced->key);
    *before = which;
}

static void start_run(struct process *process, struct held_task *held)
{
    struct world *world = process->world;
    struct task *task = task_of(world, held);
    if (!task) {
        sim_violate(world, "tasks arrive whole", "worker %u was given arguments that no client sent", process->id);
        return;
    }
    sim_trace(world, "worker %u starts task %u", process->id, task->index);
    check_body(process, held, task);
    process->running = held;
    process->running_task = task;
    process->run_started_ns = world->now_ns;
    ledger_started(world, process, task);
    if (task->behaviour == RUN_HANG || task->behaviour == RUN_STUBBORN)
        process->run_id = 0;
    else
        plan_end(process, task->behaviour == RUN_CRASH ? task->duration_ns / 2 : task->duration_ns);
    if (held->stop_status && task->behaviour != RUN_STUBBORN)
        plan_end(process, 0);
}

void worker_run_ends(struct process *process, uint64_t run_id)
{
    struct world *world = process->world;
    struct held_task *held = process->running;
    if (process->run_id != run_id || !held)
        return;
    if (process->frozen) {
        plan_end(process, 100 * NS_PER_MS);
        return;
    }
    struct task *task = process->running_task;
    uint64_t run_ns = world->now_ns - process->run_started_ns;
    if (task->behaviour == RUN_CRASH && !held->stop_status) {
        worker_crash(process, 11);
        return;
    }
    unsigned index = task->index + (world->plant == PLANT_WRONG_VALUE && task->index % 5 == 3);
    unsigned char value[] = {0xcd, (unsigned char)(index >> 8), (unsigned char)index};
    struct outcome outcome = {.encoding = MUSTER_MSGPACK, .value = {value, sizeof value}, .run_ns = run_ns};
    if (held->stop_status)
        outcome.status = MUSTER_ECANCELED;
    else if (task->behaviour == RUN_FAIL)
        outcome = (struct outcome){.status = MUSTER_ETASK,
                                   .kind = bytes_string("Error"),
                                   .message = bytes_string("as asked"),
                                   .run_ns = run_ns};
    sim_trace(world, "worker %u finishes task %u: %d", process->id, task->index, outcome.status);
    ledger_finished(world, process, task, run_ns);
    process->running = NULL;
    process->running_task = NULL;
    if (world->plant == PLANT_RUN_TWICE && task->index % 5 == 3 && task->starts == 1) {
        ledger_started(world, process, task);
        ledger_finished(world, process, task, run_ns);
    }
    if (worker_finish(process->worker, held, &outcome) != 0)
        sim_violate(world, "outcomes leave", "worker_finish failed");
}

void worker_pump(struct process *process)
{
    struct held_task *held;
    while (process->alive && !process->running && (held = worker_take(process->worker, process->world->now_ns)) != NULL)
        start_run(process, held);
    if (process->alive && worker_over(process->worker) && !process->running)
        die(process, 0, 0);
}

/* --- the supervisor ----------------------------------------------------------------------------------------------- */

static int spawn(void *arg, unsigned slot, uint64_t identity, struct page **page)
{
    struct host *host = arg;
    struct world *world = host->world;
    struct process *process = process_new(world, PROCESS_WORKER, host);
    if (!process)
        return MUSTER_ESYSTEM;
    process->identity = identity;
    process->slot = slot;
    process->page = calloc(1, sizeof *process->page);
    if (!process->page)
        abort();
    page_init(process->page);
    host->pages++;
    *page = process->page;
    struct worker_config config = {.functions = host->rare ? functions_rare : functions_common,
                                   .function_count = host->rare ? 2 : 1,
                                   .max_tasks = sim_chance(world, 10) ? 5 + sim_random(world, 20) : 0};
    sim_trace(world, "host %u spawns worker %u in slot %u", host->index, process->id, slot);
    if (worker_create(&process->worker, &config, process->page, &process->link, &worker_events, process) != 0 ||
        process_link(process, ROLE_WORKER, host->process->identity, "host/slot", &worker_process_events, process) != 0)
        sim_violate(world, "set-up", "a worker could not be made");
    host->workers[slot] = process;
    network_connect(process);
    return 0;
}

static void kill_worker(void *arg, unsigned slot, int signal)
{
    struct host *host = arg;
    if (host->world->plant == PLANT_KILL_ANYONE)
        slot = (slot + 1) % host->slots;
    if (host->workers[slot])
        worker_crash(host->workers[slot], signal);
}

static void release(void *arg, unsigned slot, struct page *page)
{
    struct host *host = arg;
    sim_trace(host->world, "host %u releases a page of slot %u", host->index, slot);
    host->pages--;
    free(page);
}

static int send(void *arg, const struct message *message)
{
    struct host *host = arg;
    enum plant plant = host->world->plant;
    if (plant == PLANT_NO_SALVAGE && message->type == MESSAGE_SALVAGE)
        return 0;
    struct message changed = *message;
    if (plant == PLANT_BLAME_UNSTARTED && message->type == MESSAGE_EXIT)
        changed.exit.started += 1000;
    return link_send(&host->process->link, &changed);
}

static void gave_up(void *arg, const char *reason)
{
    const struct host *host = arg;
    sim_violate(host->world, "supervisors go on", "host %u gave up: %s", host->index, reason);
}

static const struct supervisor_events supervisor_events = {spawn, kill_worker, release, send, gave_up};

static void supervisor_open(void *arg, const struct welcome *welcome, bool restarted)
{
    struct host *host = arg;
    (void)welcome;
    supervisor_connected(host->supervisor, restarted, host->world->now_ns);
}

static int supervisor_link_message(void *arg, const struct message *message)
{
    struct host *host = arg;
    return supervisor_message(host->supervisor, message, host->world->now_ns);
}

static void supervisor_lost(void *arg, const char *reason)
{
    const struct host *host = arg;
    sim_trace(host->world, "host %u: session lost: %s", host->index, reason);
}

static void supervisor_failed(void *arg, int status, const char *reason)
{
    const struct host *host = arg;
    sim_violate(host->world, "links recover", "a supervisor's link failed: %d %s", status, reason);
}

static const struct link_events supervisor_link_events = {
    .open = supervisor_open, .message = supervisor_link_message, .lost = supervisor_lost, .failed = supervisor_failed};

void host_start(struct host *host)
{
    struct world *world = host->world;
    struct process *process = process_new(world, PROCESS_SUPERVISOR, host);
    if (!process)
        return;
    sim_trace(world, "host %u starts with %u slots", host->index, host->slots);
    process->identity = sim_random(world, UINT64_MAX) | 1;
    host->process = process;
    if (process_link(process, ROLE_SUPERVISOR, 0, "host", &supervisor_link_events, host) != 0)
        sim_violate(world, "set-up", "a supervisor could not be made");
    network_connect(process);
    struct supervisor_config config;
    supervisor_config_defaults(&config);
    config.slots = host->slots;
    config.identity = process->identity;
    config.give_up_after = 0;
    struct random seed;
    sim_seed(world, &seed);
    if (supervisor_create(&host->supervisor, &config, &seed, &supervisor_events, host, world->now_ns) != 0)
        sim_violate(world, "set-up", "supervisor_create failed");
    host_tick(host);
}

void host_crash(struct host *host)
{
    sim_trace(host->world, "host %u crashes", host->index);
    ledger_host_unknown(host);
    for (unsigned slot = 0; slot < host->slots; slot++)
        if (host->workers[slot])
            worker_crash(host->workers[slot], 9);
    supervisor_free(host->supervisor); /* releases its pages */
    host->supervisor = NULL;
    process_end(host->process);
    host->process = NULL;
    if (host->pages != 0)
        sim_violate(host->world, "nothing is left", "host %u ended with %u pages in use", host->index, host->pages);
}

void host_tick(struct host *host)
{
    struct world *world = host->world;
    if (!host->process)
        return;
    if (world->now_ns >= host->tick_ns)
        host->tick_ns = NEVER_NS;
    supervisor_tick(host->supervisor, world->now_ns);
    uint64_t deadline = supervisor_deadline(host->supervisor);
    if (deadline < host->tick_ns) {
        host->tick_ns = deadline < world->now_ns ? world->now_ns : deadline;
        sim_at(world, host->tick_ns, EVENT_HOST_TICK, host->index);
    }
}
