/*
 * The coordinator's process: the hub on the virtual network. A crash forgets everything that it knew.
 */
#include "tests/sim/sim.h"

static void discard(void *arg, struct bytes name)
{
    sim_violate(arg, "segments", "a segment was discarded though none was made (%zu bytes of name)", name.length);
}

static int load(void *arg, struct bytes name, struct buffer *out)
{
    (void)name;
    (void)out;
    sim_violate(arg, "segments", "a segment was read though none was made");
    return MUSTER_ESYSTEM;
}

static void peer_gone(void *arg, uint64_t pid, const char *domain)
{
    sim_trace(arg, "peer of process %llu gone (%s)", (unsigned long long)(pid - 1), domain);
    objects_disordered(arg);
}

static const struct hub_events hub_events = {network_hub_answer, network_hub_drop, discard, load, peer_gone};

void coordinator_start(struct world *world)
{
    struct hub_config config;
    hub_config_defaults(&config);
    config.heartbeat_ns = config.coordinator.heartbeat_ns = SIM_HEARTBEAT_NS;
    config.coordinator.rejoin = world->plant != PLANT_NO_REJOIN;
    config.coordinator.domain = "";
    config.coordinator.client_definition_bytes = SIM_CLIENT_BYTES;
    config.coordinator.worker_definition_bytes = SIM_WORKER_BYTES;
    config.coordinator.pid = 1;
    config.push_url = "sim:push";
    config.coordinator.fence_base = world->plant == PLANT_OLD_FENCES ? 0 : world->now_ns;
    struct random seed;
    sim_seed(world, &seed);
    config.coordinator.identity = random_u64(&seed);
    sim_trace(world, "coordinator starts");
    world->hub_tick_ns = NEVER_NS;
    world->hub_started_ns = world->now_ns;
    if (hub_create(&world->hub, &config, &seed, &hub_events, world, world->now_ns) != 0)
        sim_violate(world, "set-up", "hub_create failed");
}

void coordinator_crash(struct world *world)
{
    sim_trace(world, "coordinator crashes");
    world->poll_count = 0;
    hub_free(world->hub);
    world->hub = NULL;
    world->poll_count = 0;
    world->coordinator_restarts++;
    objects_coordinator_crashed(world);
    network_lose_in_flight(world, 0);
    for (unsigned i = 0; i < world->process_count; i++) {
        struct process *process = world->processes[i];
        for (enum line line = 0; line < LINES; line++)
            process->connections[line].pipe = process->connections[line].up_free_ns =
                process->connections[line].down_free_ns = 0;
        if (process->alive) {
            network_line_lost(process, LINE_POLL);
            network_line_lost(process, LINE_PUSH);
            network_connect(process);
        }
    }
    /* Who cannot come while the new one waits for claims is not there to say what it runs. */
    for (unsigned i = 0; i < world->task_count; i++)
        if (world->tasks[i].may_be_lost)
            world->tasks[i].may_run_twice = true;
    for (unsigned i = 0; i < world->host_count; i++)
        if (world->hosts[i].cut || !world->hosts[i].process)
            ledger_host_unknown(&world->hosts[i]);
}

void coordinator_pump(struct world *world)
{
    if (!world->hub)
        return;
    hub_flush(world->hub, world->now_ns);
    uint64_t deadline = hub_deadline(world->hub);
    if (deadline < world->hub_tick_ns) {
        world->hub_tick_ns = deadline < world->now_ns ? world->now_ns : deadline;
        sim_at(world, world->hub_tick_ns, EVENT_HUB_TICK, 0);
    }
}
