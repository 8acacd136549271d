/*
 * The clock and the event queue. Time jumps from event to event; everything random comes from one generator seeded with
 * the run's seed, so a seed is a run. A run has two halves: for `steps` events things break; then everything is mended
 * and must come to rest.
 */
#include "tests/sim/sim.h"

#include <stdarg.h>
#include <stdlib.h>

const char *const plant_names[PLANT_COUNT] = {
    "none",          "double-outcome",  "lost-outcome", "run-twice",  "wrong-value",     "wrong-body",
    "no-body",       "blame-unstarted", "no-rejoin",    "no-salvage", "no-settle",       "kill-anyone",
    "ignore-limits", "spurious-cancel", "item-lost",    "item-twice", "item-order",      "late-put",
    "no-return",     "no-close",        "lock-anyway",  "old-fences", "falling-counter",
};

uint64_t sim_random(struct world *world, uint64_t below)
{
    world->rng += 0x9e3779b97f4a7c15ull; /* splitmix64 */
    uint64_t z = world->rng;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    z ^= z >> 31;
    return below ? z % below : 0;
}

bool sim_chance(struct world *world, unsigned percent)
{
    return sim_random(world, 100) < percent;
}

void sim_seed(struct world *world, struct random *random)
{
    uint64_t seed[2] = {sim_random(world, UINT64_MAX), sim_random(world, UINT64_MAX)};
    random_seed(random, seed, sizeof seed);
}

static void digest(struct world *world, const void *data, size_t length)
{
    const unsigned char *bytes = data;
    for (size_t i = 0; i < length; i++)
        world->digest = (world->digest ^ bytes[i]) * 0x100000001b3ull;
}

void sim_trace(struct world *world, const char *format, ...)
{
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (length >= (int)sizeof line)
        length = (int)sizeof line - 1;
    digest(world, line, (size_t)length);
    if (world->trace)
        fprintf(world->trace, "%12.6f  %s\n", (double)world->now_ns / 1e9, line);
}

void sim_violate(struct world *world, const char *invariant, const char *format, ...)
{
    if (world->violation)
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(world->violation_text, sizeof world->violation_text, format, arguments);
    va_end(arguments);
    world->violation = invariant;
    sim_trace(world, "VIOLATION %s: %s", invariant, world->violation_text);
}

static bool earlier(const struct event *a, const struct event *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

struct event *sim_at(struct world *world, uint64_t at_ns, enum event_kind kind, unsigned process)
{
    if (world->event_count == world->event_capacity) {
        world->event_capacity = world->event_capacity ? 2 * world->event_capacity : 256;
        world->events = realloc(world->events, world->event_capacity * sizeof *world->events);
        if (!world->events)
            abort();
    }
    struct event event = {.at_ns = at_ns < world->now_ns ? world->now_ns : at_ns,
                          .order = ++world->order,
                          .kind = kind,
                          .process = process};
    size_t at = world->event_count++;
    while (at > 0 && earlier(&event, &world->events[(at - 1) / 2])) {
        world->events[at] = world->events[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    world->events[at] = event;
    return &world->events[at];
}

static struct event take_event(struct world *world)
{
    struct event first = world->events[0], last = world->events[--world->event_count];
    size_t at = 0, child;
    while ((child = 2 * at + 1) < world->event_count) {
        if (child + 1 < world->event_count && earlier(&world->events[child + 1], &world->events[child]))
            child++;
        if (!earlier(&world->events[child], &last))
            break;
        world->events[at] = world->events[child];
        at = child;
    }
    world->events[at] = last;
    return first;
}

struct process *process_new(struct world *world, enum process_kind kind, struct host *host)
{
    if (world->process_count == MAX_PROCESSES) {
        sim_violate(world, "bounded", "%u processes were started: restarts do not back off", MAX_PROCESSES);
        return NULL;
    }
    struct process *process = calloc(1, sizeof *process);
    if (!process)
        abort();
    process->world = world;
    process->id = world->process_count++;
    process->kind = kind;
    process->host = host;
    process->alive = true;
    process->tick_ns = NEVER_NS;
    world->processes[process->id] = process;
    return process;
}

int process_link(struct process *process, enum role role, uint64_t group, const char *name,
                 const struct link_events *events, void *arg)
{
    struct random seed;
    sim_seed(process->world, &seed);
    struct link_config config = {.role = role,
                                 .identity = process->identity,
                                 .group = group,
                                 .language = "sim",
                                 .host = process->host ? "host" : "client",
                                 .domain = "",
                                 .name = name,
                                 .pid = process->id + 1,
                                 .events = events,
                                 .arg = arg};
    return link_init(&process->link, &config, &seed, process->world->now_ns);
}

void process_end(struct process *process)
{
    process->alive = false;
    network_process_died(process);
    link_free(&process->link);
    buffer_free(&process->request);
    buffer_free(&process->pushing);
    process->request_waiting = process->push_waiting = false;
}

static void handle(struct world *world, struct event *event)
{
    struct process *process = event->process < world->process_count ? world->processes[event->process] : NULL;
    switch (event->kind) {
    case EVENT_LINK_TICK:
        if (process->alive && !process->frozen && event->at_ns == process->tick_ns) {
            process->tick_ns = NEVER_NS;
            link_tick(&process->link, world->now_ns);
        }
        break;
    case EVENT_HUB_TICK:
        if (world->hub && event->at_ns == world->hub_tick_ns) {
            world->hub_tick_ns = NEVER_NS;
            hub_tick(world->hub, world->now_ns);
        }
        break;
    case EVENT_HOST_TICK: host_tick(&world->hosts[event->process]); break;
    case EVENT_RUN_ENDS:
        if (process->alive)
            worker_run_ends(process, event->number);
        break;
    case EVENT_REAPED: worker_reaped(world, event); break;
    case EVENT_CLIENT_ACTS:
        if (process->alive)
            client_act(process);
        break;
    case EVENT_OBJECTS_ACT:
        if (process->alive)
            objects_act(process);
        break;
    case EVENT_FAULT:
        if (!world->healing)
            fault_strike(world);
        break;
    case EVENT_MEND: fault_mend(world, event); break;
    case EVENT_COORDINATOR_STARTS:
        if (!world->hub)
            coordinator_start(world);
        break;
    case EVENT_HOST_STARTS:
        if (!world->hosts[event->process].process)
            host_start(&world->hosts[event->process]);
        break;
    default: network_event(world, event);
    }
}

/* Lets everybody send what the event made them want to send, until nobody wants to. */
static void pump(struct world *world)
{
    for (int round = 0; round < 2; round++) {
        coordinator_pump(world);
        for (unsigned i = 0; i < world->host_count; i++)
            host_tick(&world->hosts[i]);
        for (unsigned i = 0; i < world->process_count; i++) {
            struct process *process = world->processes[i];
            if (!process->alive || process->frozen)
                continue;
            if (process->kind == PROCESS_WORKER)
                worker_pump(process);
            if (process->alive)
                network_pump(process);
            objects_note_acknowledged(process);
        }
    }
}

static void step(struct world *world)
{
    struct event event = take_event(world);
    world->now_ns = event.at_ns;
    world->events_done++;
    handle(world, &event);
    buffer_free(&event.frame);
    pump(world);
    const char *broken = world->hub ? coordinator_check(hub_coordinator(world->hub)) : NULL;
    if (broken)
        sim_violate(world, "coordinator", "%s", broken);
}

/* The first task whose client still waits, or MAX_TASKS. */
static unsigned unanswered(const struct world *world)
{
    unsigned i = 0;
    while (i < world->task_count && !(world->tasks[i].client->alive && world->tasks[i].outcomes == 0))
        i++;
    return i < world->task_count ? i : MAX_TASKS;
}

static bool settled(const struct world *world)
{
    if (unanswered(world) < MAX_TASKS)
        return false;
    for (unsigned i = 0; i < world->process_count; i++)
        if (world->processes[i]->alive && (world->processes[i]->to_submit > 0 || !objects_done(world->processes[i])))
            return false;
    return true;
}

static void set_up(struct world *world)
{
    world->process_bound = sim_chance(world, 50);
    world->fault_mask = sim_chance(world, 10) ? 0 : (unsigned)sim_random(world, UINT32_MAX);
    world->host_count = 1 + (unsigned)sim_random(world, 3);
    world->client_count = 1 + (unsigned)sim_random(world, 3);
    coordinator_start(world);
    for (unsigned i = 0; i < world->host_count; i++) {
        world->hosts[i] = (struct host){.world = world,
                                        .index = i,
                                        .slots = 1 + (unsigned)sim_random(world, 3),
                                        .rare = i == 0,
                                        .tick_ns = NEVER_NS};
        host_start(&world->hosts[i]);
    }
    for (unsigned i = 0; i < world->client_count; i++)
        client_start(world);
    if (world->fault_mask)
        sim_at(world, sim_random(world, NS_PER_S), EVENT_FAULT, 0);
}

bool sim_run(struct world *world, uint64_t seed, uint64_t steps, enum plant plant, FILE *trace)
{
    memset(world, 0, sizeof *world);
    world->seed = seed;
    world->rng = seed * 0x2545f4914f6cdd1dull + 1;
    world->plant = plant;
    world->trace = trace;
    world->digest = 0xcbf29ce484222325ull;
    world->now_ns = NS_PER_S;
    world->hub_tick_ns = NEVER_NS;
    set_up(world);
    pump(world);
    while (!world->violation && world->event_count > 0 && world->events_done < steps)
        step(world);
    sim_trace(world, "-- healing after %llu events", (unsigned long long)world->events_done);
    world->healing = true;
    world->healed_ns = world->now_ns;
    fault_heal_all(world);
    pump(world);
    uint64_t end_ns = world->now_ns + 600 * NS_PER_S;
    while (!world->violation && world->event_count > 0 && world->now_ns < end_ns && !settled(world))
        step(world);
    if (!world->violation && !settled(world))
        sim_violate(world, unanswered(world) < MAX_TASKS ? "every outcome arrives" : "calls end",
                    "600 s after everything was mended task %u has no outcome, or a call on a shared object waits",
                    unanswered(world));
    /* what follows an outcome (settlement, replacement of workers) gets its time too */
    end_ns = world->now_ns + 30 * NS_PER_S;
    while (!world->violation && world->event_count > 0 && world->now_ns < end_ns)
        step(world);
    if (!world->violation)
        ledger_end(world);
    return world->violation == NULL;
}

void sim_free(struct world *world)
{
    for (unsigned i = 0; i < world->host_count; i++)
        if (world->hosts[i].process)
            host_crash(&world->hosts[i]);
    for (unsigned i = 0; i < world->process_count; i++) {
        struct process *process = world->processes[i];
        if (process->alive && process->kind == PROCESS_CLIENT)
            client_crash(process);
        free(process);
    }
    if (world->hub)
        hub_free(world->hub);
    for (size_t i = 0; i < world->event_count; i++)
        buffer_free(&world->events[i].frame);
    free(world->events);
    free(world->polls);
}
