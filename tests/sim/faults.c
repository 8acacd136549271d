/*
 * What breaks. Each run allows a random half of these, so that some runs know no crash, some no cut, and the invariants
 * that a fault excuses are still tested strictly without it. A cut is either short (nobody may notice) or long (longer
 * than the heartbeat limit); nothing in between, where it would be a matter of luck what is right.
 */
#include "tests/sim/sim.h"

enum fault {
    FAULT_BREAK,
    FAULT_WORKER,
    FAULT_COORDINATOR,
    FAULT_CLIENT,
    FAULT_HOST,
    FAULT_SHORT_CUT,
    FAULT_LONG_CUT,
    FAULT_CLIENT_SHORT_CUT,
    FAULT_CLIENT_LONG_CUT,
    FAULT_FREEZE,
    FAULTS
};

static const uint64_t short_ns = SIM_HEARTBEAT_NS / 4, long_ns = 2 * SIM_HEARTBEAT_NS;

static struct process *pick(struct world *world, int kind)
{
    struct process *found[MAX_PROCESSES];
    unsigned count = 0;
    for (unsigned i = 0; i < world->process_count; i++) {
        struct process *process = world->processes[i];
        if (process->alive && !process->frozen && (kind < 0 || process->kind == (enum process_kind)kind))
            found[count++] = process;
    }
    return count ? found[sim_random(world, count)] : NULL;
}

static void cut(struct world *world, struct host *host, struct process *client, bool longer)
{
    uint64_t for_ns = longer ? long_ns + sim_random(world, long_ns) : sim_random(world, short_ns);
    if (host ? host->cut : client->cut)
        return;
    sim_trace(world, "cut %s %u for %.3f s", host ? "host" : "client", host ? host->index : client->id,
              (double)for_ns / 1e9);
    struct event *event = sim_at(world, world->now_ns + for_ns, EVENT_MEND, host ? host->index : client->id);
    event->value = host ? FAULT_SHORT_CUT : FAULT_CLIENT_SHORT_CUT;
    if (host)
        host->cut = true;
    else
        client->cut = true;
    if (longer && host)
        ledger_host_unknown(host);
    for (unsigned i = 0; i < world->task_count; i++)
        if (host && world->tasks[i].finishes > 0 && world->tasks[i].outcomes == 0)
            world->tasks[i].result_delayed = true;
    for (unsigned i = 0; i < world->task_count; i++)
        if (longer && client && world->tasks[i].client == client)
            world->tasks[i].may_be_lost = true;
    for (unsigned i = 0; i < world->process_count; i++) {
        struct process *process = world->processes[i];
        if (process == client || (host && process->alive && process->host == host)) {
            network_break(process, LINE_POLL);
            network_break(process, LINE_PUSH);
        }
    }
}

static void freeze(struct world *world)
{
    struct process *process = pick(world, sim_chance(world, 70) ? (int)PROCESS_WORKER : (int)PROCESS_CLIENT);
    if (!process)
        return;
    sim_trace(world, "process %u stops", process->id);
    process->frozen = true;
    struct event *event = sim_at(world, world->now_ns + sim_random(world, short_ns), EVENT_MEND, process->id);
    event->value = FAULT_FREEZE;
}

static void strike(struct world *world, enum fault fault)
{
    struct process *process;
    struct host *host = &world->hosts[sim_random(world, world->host_count)];
    switch (fault) {
    case FAULT_BREAK:
        if ((process = pick(world, -1)) != NULL)
            network_break(process, sim_chance(world, 50) ? LINE_POLL : LINE_PUSH);
        break;
    case FAULT_WORKER:
        if ((process = pick(world, PROCESS_WORKER)) != NULL)
            worker_crash(process, 9);
        break;
    case FAULT_COORDINATOR:
        if (!world->hub)
            break;
        coordinator_crash(world);
        sim_at(world, world->now_ns + sim_random(world, sim_chance(world, 50) ? NS_PER_S / 2 : long_ns),
               EVENT_COORDINATOR_STARTS, 0);
        break;
    case FAULT_CLIENT:
        if ((process = pick(world, PROCESS_CLIENT)) != NULL && sim_chance(world, 30)) {
            client_crash(process);
            client_start(world);
        }
        break;
    case FAULT_HOST:
        if (host->process && sim_chance(world, 50)) {
            host_crash(host);
            sim_at(world, world->now_ns + sim_random(world, long_ns), EVENT_HOST_STARTS, host->index);
        }
        break;
    case FAULT_SHORT_CUT:
    case FAULT_LONG_CUT: cut(world, host, NULL, fault == FAULT_LONG_CUT); break;
    case FAULT_CLIENT_SHORT_CUT:
    case FAULT_CLIENT_LONG_CUT:
        if ((process = pick(world, PROCESS_CLIENT)) != NULL)
            cut(world, NULL, process, fault == FAULT_CLIENT_LONG_CUT);
        break;
    default: freeze(world);
    }
}

void fault_strike(struct world *world)
{
    enum fault fault = (enum fault)sim_random(world, FAULTS);
    bool cable = fault == FAULT_BREAK || (fault >= FAULT_SHORT_CUT && fault <= FAULT_CLIENT_LONG_CUT);
    if ((world->fault_mask >> fault & 1) && !(cable && world->process_bound))
        strike(world, fault);
    sim_at(world, world->now_ns + sim_random(world, sim_chance(world, 50) ? NS_PER_S / 5 : 2 * NS_PER_S), EVENT_FAULT,
           0);
}

void fault_mend(struct world *world, struct event *event)
{
    if (event->value == FAULT_SHORT_CUT) {
        world->hosts[event->process].cut = false;
        sim_trace(world, "host %u is connected again", event->process);
    } else {
        struct process *process = world->processes[event->process];
        sim_trace(world, "process %u goes on", event->process);
        process->frozen = process->cut = false;
    }
}

void fault_heal_all(struct world *world)
{
    for (unsigned i = 0; i < world->process_count; i++)
        world->processes[i]->frozen = world->processes[i]->cut = false;
    if (!world->hub)
        coordinator_start(world);
    for (unsigned i = 0; i < world->host_count; i++) {
        world->hosts[i].cut = false;
        if (!world->hosts[i].process)
            host_start(&world->hosts[i]);
    }
}
