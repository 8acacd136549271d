/*
 * Clients: they submit tasks of every kind in bursts, change their minds, and crash.
 */
#include "tests/sim/sim.h"

static void outcome(void *arg, uint64_t number, void *tag, const struct message *message)
{
    struct process *process = arg;
    struct task *task = tag;
    if (task->number != number)
        sim_violate(process->world, "one outcome each", "the outcome of task %u came with number %llu, not %llu",
                    task->index, (unsigned long long)number, (unsigned long long)task->number);
    if (process->world->plant == PLANT_LOST_OUTCOME && task->index % 5 == 3)
        return;
    ledger_outcome(process->world, task, message);
    if (process->world->plant == PLANT_DOUBLE_OUTCOME && task->index % 5 == 3)
        ledger_outcome(process->world, task, message);
}

static void progress(void *arg, uint64_t number, void *tag, const struct message_progress *message)
{
    struct process *process = arg;
    const struct task *task = tag;
    if (task->number != number || task->outcomes > 0)
        sim_violate(process->world, "progress", "progress of task %u came after its outcome", task->index);
    (void)message;
}

static void log_call(void *arg, const struct message_log *log)
{
    (void)arg;
    (void)log;
}

static void workers(void *arg, uint64_t count)
{
    const struct process *process = arg;
    if (count > MAX_HOSTS * MAX_SLOTS * 4)
        sim_violate(process->world, "counts", "the coordinator says that there are %llu workers",
                    (unsigned long long)count);
}

static void report(void *arg, uint64_t request, struct bytes json)
{
    const struct process *process = arg;
    if (request != 7 || json.length < 2 || ((const char *)json.data)[0] != '{')
        sim_violate(process->world, "status", "the status report is not a JSON object");
}

static void nothing(void *arg)
{
    (void)arg;
}

static void failed(void *arg, int status, const char *reason)
{
    const struct process *process = arg;
    sim_violate(process->world, "links recover", "a client's link failed: %d %s", status, reason);
}

static const struct client_events client_events = {.outcome = outcome,
                                                   .progress = progress,
                                                   .log = log_call,
                                                   .workers = workers,
                                                   .report = report,
                                                   .opened = nothing,
                                                   .failed = failed,
                                                   .room = nothing};

static int send(void *arg, const struct message *message)
{
    return link_send(arg, message);
}

/* The link's events: those of the client and of shared objects. */
static void link_open(void *arg, const struct welcome *welcome, bool restarted)
{
    struct process *process = arg;
    client_link_events.open(process->client, welcome, restarted);
    objects_renewed(process);
}

static int link_message(void *arg, const struct message *message)
{
    struct process *process = arg;
    if (object_reply(message->type))
        return objects_message(process, message);
    return client_link_events.message(process->client, message);
}

static void link_lost(void *arg, const char *reason)
{
    struct process *process = arg;
    sim_trace(process->world, "client %u: session lost: %s", process->id, reason);
    objects_renewed(process);
}

static void link_failed(void *arg, int status, const char *reason)
{
    struct process *process = arg;
    client_link_events.failed(process->client, status, reason);
}

static const struct link_events client_process_events = {
    .open = link_open, .message = link_message, .lost = link_lost, .failed = link_failed};

struct process *client_start(struct world *world)
{
    struct process *process = process_new(world, PROCESS_CLIENT, NULL);
    if (!process)
        return NULL;
    process->identity = sim_random(world, UINT64_MAX) | 1;
    process->to_submit = 5 + (unsigned)sim_random(world, 60);
    sim_trace(world, "client %u starts, %u tasks", process->id, process->to_submit);
    if (client_create(&process->client, &client_events, process, send, &process->link) != 0 ||
        process_link(process, ROLE_CLIENT, 0, "client", &client_process_events, process) != 0)
        sim_violate(world, "set-up", "a client could not be made");
    objects_start(process);
    network_connect(process);
    sim_at(world, world->now_ns + sim_random(world, NS_PER_S), EVENT_CLIENT_ACTS, process->id);
    return process;
}

void client_crash(struct process *process)
{
    sim_trace(process->world, "client %u crashes", process->id);
    objects_stop(process);
    client_free(process->client);
    process->client = NULL;
    process->to_submit = 0;
    process_end(process);
}

static void invent(struct process *process, struct task *task)
{
    struct world *world = process->world;
    static const uint64_t durations[] = {0, 10 * NS_PER_US, 2 * NS_PER_MS, 200 * NS_PER_MS, 4 * NS_PER_S};
    task->client = process;
    task->index = (unsigned)(task - world->tasks);
    task->duration_ns = durations[sim_random(world, 5)] + sim_random(world, NS_PER_MS);
    task->behaviour = sim_chance(world, 70) ? RUN_OK : (enum behaviour)sim_random(world, 5);
    task->retries = sim_chance(world, 30) ? sim_random(world, 4) : 0;
    task->retry_lost_only = sim_chance(world, 30);
    if (sim_chance(world, 20) || task->behaviour >= RUN_HANG)
        task->limit_ns = (50 + sim_random(world, 1000)) * NS_PER_MS;
    task->body = sim_chance(world, 40) ? (unsigned)sim_random(world, BODIES) : 0;
    task->nobody = sim_chance(world, 2);
    task->rare = !task->nobody && sim_chance(world, 10);
}

size_t client_body(const struct task *task, unsigned char *body)
{
    uint64_t whose = task->body < BODIES / 2 ? 0 : task->client->identity;
    size_t length = task->body == BODIES - 1 ? MAX_BODY_BYTES : 20 + 40 * task->body;
    snprintf((char *)body, 64, "body %u of %llx", task->body, (unsigned long long)whose);
    size_t text = strlen((char *)body);
    memset(body + text, 'b', length > text ? length - text : 0);
    return length;
}

/* The definition of what the task calls, or NULL: a client cannot have as many as it likes, and must have been told how
 * many. */
static struct definition *define(struct process *process, struct task *task, const char *function)
{
    static unsigned char body[MAX_BODY_BYTES];
    struct definition *definition;
    if (process->link.welcome.definition_bytes == 0)
        task->body = 0;
    if (task->body == 0)
        return NULL;
    size_t length = client_body(task, body);
    int status = client_define(process->client, function, NULL, (struct bytes){body, length}, &definition);
    if (status == 0)
        return definition;
    if (status != MUSTER_ELIMIT)
        sim_violate(process->world, "submit", "client_define gave %d", status);
    task->body = 0;
    return NULL;
}

static void submit(struct process *process)
{
    struct world *world = process->world;
    if (world->task_count == MAX_TASKS) {
        process->to_submit = 0;
        return;
    }
    struct task *task = &world->tasks[world->task_count];
    invent(process, task);
    unsigned char args[] = {0xcd, (unsigned char)(task->index >> 8), (unsigned char)task->index};
    struct client_call call = {.function = task->nobody ? "nobody"
                                           : task->rare ? "rare"
                                                        : "work",
                               .priority = (int64_t)sim_random(world, 3) - 1,
                               .retries = task->retries,
                               .flags = task->retry_lost_only ? TASK_RETRY_LOST_ONLY : 0,
                               .time_limit_ms = task->limit_ns / NS_PER_MS,
                               .grace_ms = 100,
                               .encoding = MUSTER_MSGPACK,
                               .args = {args, sizeof args},
                               .tag = task};
    task->may_be_lost = process->cut || world->now_ns < world->unknown_until_ns;
    call.definition = define(process, task, call.function);
    int status = client_submit(process->client, &call, &task->number);
    if (call.definition)
        client_undefine(call.definition);
    sim_trace(world, "client %u submits task %u: %d", process->id, task->index, status);
    if (status == MUSTER_ELIMIT)
        return; /* its definitions are all in use */
    if (status != 0)
        sim_violate(world, "submit", "client_submit gave %d", status);
    world->task_count++;
    process->to_submit--;
}

static void change_mind(struct process *process)
{
    struct world *world = process->world;
    for (unsigned i = 0; i < world->task_count; i++) {
        struct task *task = &world->tasks[i];
        if (task->client != process || task->outcomes > 0 || !sim_chance(world, 10))
            continue;
        task->cancel_asked = world->plant != PLANT_SPURIOUS_CANCEL;
        sim_trace(world, "client %u cancels task %u", process->id, i);
        client_cancel(process->client, task->number);
    }
}

void client_act(struct process *process)
{
    struct world *world = process->world;
    if (!process->frozen) {
        for (unsigned burst = (unsigned)sim_random(world, 12); burst > 0 && process->to_submit > 0; burst--)
            submit(process);
        if (sim_chance(world, 20))
            change_mind(process);
        if (sim_chance(world, 5))
            client_status(process->client, 7);
    }
    if (process->to_submit > 0)
        sim_at(world, world->now_ns + sim_random(world, NS_PER_S), EVENT_CLIENT_ACTS, process->id);
}
