/*
 * The ledger: what really happened to every task, seen from outside, and the invariants. They are the promises of the
 * architecture page:
 *
 *   one outcome each        every task of a living client gets exactly one outcome, in bounded time
 *   at most once            a task starts at most once, and once more for each retry
 *   one run at a time       two workers do not run the same task
 *   no start after the end  a task whose outcome was told does not start
 *   true outcomes           a value is the task's own; lost, cancelled and timed out are said only of tasks to which
 * that happened limits hold             a task over its time limit does not run on nothing is left         in the end
 * nothing is queued, held, running or unsettled, and every session is of a living process
 *
 * Excuses are narrow: a task may be called lost without a death that we saw only if a host went down or was cut off for
 * longer than the heartbeat limit, or its client was; it may run twice only if that and a restart of the coordinator
 * coincided. A restarted coordinator counts retries afresh, but a task without any never runs again. A death may be
 * noticed after the time limit of the task that it ended.
 */
#include "tests/sim/sim.h"

void ledger_started(struct world *world, struct process *worker, struct task *task)
{
    task->starts++;
    task->running++;
    if (task->starts > 1 + task->retries * (1 + world->coordinator_restarts) && !task->may_run_twice)
        sim_violate(world, "at most once", "task %u with %llu retries started %u times (worker %u)", task->index,
                    (unsigned long long)task->retries, task->starts, worker->id);
    if (task->running > 1 && !task->may_be_lost && !task->may_run_twice)
        sim_violate(world, "one run at a time", "task %u runs on worker %u while another runs it", task->index,
                    worker->id);
    if (task->outcomes > 0 && !task->may_be_lost && !task->may_run_twice)
        sim_violate(world, "no start after the end", "task %u starts on worker %u after its outcome %d", task->index,
                    worker->id, task->status);
}

static void run_over(struct task *task, uint64_t run_ns)
{
    task->running--;
    if (task->limit_ns && run_ns >= task->limit_ns)
        task->ran_to_limit = true;
}

void ledger_finished(struct world *world, struct process *worker, struct task *task, uint64_t run_ns)
{
    (void)worker;
    task->finishes++;
    run_over(task, run_ns);
    if (task->limit_ns && run_ns > task->limit_ns + 2 * SIM_HEARTBEAT_NS && !task->may_be_lost &&
        world->coordinator_restarts == 0)
        sim_violate(world, "limits hold", "task %u ran for %.3f s with a limit of %.3f s", task->index,
                    (double)run_ns / 1e9, (double)task->limit_ns / 1e9);
}

void ledger_worker_died(struct process *worker)
{
    if (!worker->running_task)
        return;
    worker->running_task->died_running = true;
    run_over(worker->running_task, worker->world->now_ns - worker->run_started_ns);
}

void ledger_host_unknown(struct host *host)
{
    struct world *world = host->world;
    bool claims_awaited = !world->hub || (world->coordinator_restarts > 0 &&
                                          world->now_ns - world->hub_started_ns < 2 * SIM_HEARTBEAT_NS);
    for (unsigned i = 0; i < world->task_count; i++) {
        struct task *task = &world->tasks[i];
        if (task->outcomes > 0)
            continue;
        task->may_be_lost = true;
        task->may_run_twice |= claims_awaited;
    }
    world->unknown_until_ns = world->now_ns + 6 * SIM_HEARTBEAT_NS;
}

static bool runs_over_limit(const struct world *world, const struct task *task)
{
    for (unsigned i = 0; i < world->process_count; i++) {
        const struct process *process = world->processes[i];
        if (process->alive && process->running_task == task &&
            world->now_ns - process->run_started_ns >= task->limit_ns)
            return true;
    }
    return task->ran_to_limit;
}

static const char *untrue(const struct world *world, const struct task *task, const struct message *message)
{
    if (message->type == MESSAGE_DONE) {
        unsigned char value[] = {0xcd, (unsigned char)(task->index >> 8), (unsigned char)task->index};
        bool own = bytes_equal(message->done.value, (struct bytes){value, sizeof value});
        return !own                                               ? "the value is another task's"
               : task->behaviour != RUN_OK || task->finishes == 0 ? "it never finished"
                                                                  : NULL;
    }
    switch (-(int)message->failed.status) {
    case MUSTER_ETASK: return task->behaviour == RUN_FAIL && task->finishes > 0 ? NULL : "it did not fail";
    case MUSTER_ELOST:
        return task->died_running || task->may_be_lost || task->may_run_twice ? NULL : "no worker died while it ran";
    case MUSTER_ECANCELED: return task->cancel_asked || task->may_be_lost ? NULL : "nobody asked for that";
    case MUSTER_ETIMEDOUT:
        return task->limit_ns &&
                       (task->may_be_lost || task->died_running || task->result_delayed || runs_over_limit(world, task))
                   ? NULL
                   : "it never ran for so long";
    case MUSTER_ENOFUNCTION: return task->nobody || task->rare ? NULL : "every worker offers its function";
    default: return "no such status can come of it";
    }
}

void ledger_outcome(struct world *world, struct task *task, const struct message *message)
{
    task->status = message->type == MESSAGE_DONE ? 0 : -(int)message->failed.status;
    sim_trace(world, "outcome of task %u: %d", task->index, task->status);
    if (++task->outcomes > 1)
        sim_violate(world, "one outcome each", "task %u has %u outcomes", task->index, task->outcomes);
    const char *why = untrue(world, task, message);
    if (why)
        sim_violate(world, "true outcomes", "task %u was told %d (%s), but %s", task->index, task->status,
                    muster_strerror(task->status), why);
}

static void end_of_tasks(struct world *world)
{
    for (unsigned i = 0; i < world->task_count; i++) {
        const struct task *task = &world->tasks[i];
        if (task->client->alive && task->outcomes != 1)
            sim_violate(world, "one outcome each", "task %u has %u outcomes in the end", i, task->outcomes);
        if (task->running > 0)
            sim_violate(world, "nothing is left", "task %u (outcome %d) still runs in the end", i, task->status);
    }
}

void ledger_end(struct world *world)
{
    end_of_tasks(world);
    objects_end(world);
    struct coordinator_counts counts;
    coordinator_count(hub_coordinator(world->hub), &counts);
    if (counts.queued || counts.assigned)
        sim_violate(world, "nothing is left", "%zu tasks are queued and %zu assigned in the end", counts.queued,
                    counts.assigned);
    size_t alive = 0;
    for (unsigned i = 0; i < world->process_count; i++) {
        const struct process *process = world->processes[i];
        alive += process->alive;
        if (process->alive && process->kind == PROCESS_WORKER && process->page->head != process->page->tail)
            sim_violate(world, "nothing is left", "worker %u has unsettled outcomes in the end", process->id);
    }
    struct hub_counts sessions;
    hub_count(world->hub, &sessions);
    if (sessions.sessions != alive)
        sim_violate(world, "nothing is left", "%zu sessions for %zu processes in the end", sessions.sessions, alive);
    for (unsigned i = 0; i < world->host_count; i++) {
        unsigned living = 0;
        for (unsigned slot = 0; slot < world->hosts[i].slots; slot++)
            living += world->hosts[i].workers[slot] != NULL;
        if (world->hosts[i].pages != living)
            sim_violate(world, "nothing is left", "host %u keeps %u pages for %u workers", i, world->hosts[i].pages,
                        living);
    }
}
