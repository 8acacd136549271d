/*
 * Clients: the functions that they call by number, the tasks that they submit, and what becomes of both when they
 * leave. A record without a peer stands for a client that has not come back after a restart of the coordinator: workers
 * have claimed tasks of its.
 */
#include "server/state.h"

#include <assert.h>

#define BLOCK (FUNCTIONS_LIMIT / 64)

struct client_record *client_record_find(struct coordinator *coordinator, uint64_t identity)
{
    struct client_record *client;
    HASH_FIND_U64(coordinator->clients, identity, client);
    return client;
}

struct client_record *client_record_create(struct coordinator *coordinator, uint64_t identity)
{
    struct client_record *client = memory_zero(sizeof *client);
    if (!client)
        return NULL;
    client->identity = identity;
    client->workers_told = UINT64_MAX;
    client->numbers.secret = random_u64(&coordinator->random);
    if (HASH_ADD_U64(coordinator->clients, identity, client))
        return client;
    memory_free(client);
    return NULL;
}

int client_record_up(struct coordinator *coordinator, struct peer *peer)
{
    struct client_record *client = client_record_find(coordinator, peer->identity);
    if (client && client->peer) {
        client->peer->state = NULL;
        client_record_down(coordinator, client);
        client = NULL;
    }
    if (coordinator->connected_clients >= coordinator->config.clients)
        return error_set(MUSTER_ELIMIT, "%zu clients are connected, and the limit is %zu",
                         coordinator->connected_clients, coordinator->config.clients);
    if (!client)
        client = client_record_create(coordinator, peer->identity);
    if (!client)
        return error_memory();
    client->peer = peer;
    peer->state = client;
    coordinator->connected_clients++;
    coordinator->tell_workers = true;
    if (rejoining(coordinator, NULL))
        client->rejoin_ns = coordinator->now_ns + coordinator->config.heartbeat_ns;
    return 0;
}

static void abandon_tasks(struct coordinator *coordinator, struct client_record *client)
{
    client->delivery_first = client->delivery_last = NULL;
    struct number_page *page, *next;
    HASH_ITER (hh, client->numbers.pages, page, next) {
        /* The last task takes its page with it. */
        for (unsigned i = 0, left = page->count; left > 0; i++) {
            struct task *task = page->tasks[i];
            if (!task)
                continue;
            left--;
            task_abandon(coordinator, task);
        }
    }
    assert(client->numbers.count == 0 && client->open == 0 && client->bytes == 0 && client->claims == 0);
}

void client_record_free(struct coordinator *coordinator, struct client_record *client)
{
    abandon_tasks(coordinator, client);
    while (client->queues)
        lane_queue_free(coordinator, client->queues);
    for (size_t block = 0; block < BLOCK; block++) {
        for (size_t i = 0; client->functions[block] && i < 64; i++)
            if (client->functions[block][i].lane)
                lane_release(coordinator, client->functions[block][i].lane);
        memory_free(client->functions[block]);
    }
    while (client->levels) {
        struct level *level = client->levels;
        client->levels = level->next;
        memory_free(level);
    }
    numbers_free(&client->numbers);
    HASH_DEL(coordinator->clients, client);
    memory_free(client);
}

void client_record_down(struct coordinator *coordinator, struct client_record *client)
{
    client->peer = NULL;
    coordinator->connected_clients--;
    client_record_free(coordinator, client);
}

static struct client_function *find_function(struct client_record *client, uint64_t number)
{
    struct client_function *block = number < FUNCTIONS_LIMIT ? client->functions[number / 64] : NULL;
    return block ? &block[number % 64] : NULL;
}

/* What a client calls by this number from now on. A lane that there is no room for is remembered as that: it is the
 * tasks that fail. */
static int function_define(struct coordinator *coordinator, struct client_record *client,
                           struct client_function *function, const struct message_define *define,
                           const struct bytes *labels, size_t label_count, const char **why)
{
    size_t cost = definition_cost(define);
    *why = "a client's definitions cost more than it was told they may";
    if (!function->lane && client->definition_bytes + cost > coordinator->config.client_definition_bytes)
        return MUSTER_ELIMIT;
    struct lane *lane;
    int status = lane_use(coordinator, define, labels, label_count, &lane);
    if (status == 0 && function->lane) {
        bool same = function->lane == lane;
        lane_release(coordinator, lane);
        *why = "DEFINE gives a number to another function";
        return same ? 0 : MUSTER_EPROTOCOL;
    }
    if (!function->lane)
        function->refusal = status;
    if (status != 0)
        return 0;
    function->lane = lane;
    function->cost = cost;
    client->definition_bytes += cost;
    return 0;
}

static int take_define(struct coordinator *coordinator, struct client_record *client,
                       const struct message_define *define, const char **why)
{
    struct bytes labels[LABELS_LIMIT];
    *why = "DEFINE has a function number, a name or labels over the limit";
    int count = names_read(define->labels, labels, LABELS_LIMIT, true);
    if (count < 0 || define->function >= FUNCTIONS_LIMIT || define->name.length > NAME_LIMIT)
        return MUSTER_ELIMIT;
    *why = "DEFINE has a body that is too long to be passed on to a worker";
    if (!payload_fits(coordinator, define->body.length))
        return MUSTER_ELIMIT;
    *why = "DEFINE has no name that could be one";
    if (define->name.length == 0 || memchr(define->name.data, 0, define->name.length))
        return MUSTER_EPROTOCOL;
    *why = "there is no memory for a function";
    struct client_function **block = &client->functions[define->function / 64];
    if (!*block && !(*block = memory_zero(64 * sizeof **block)))
        return error_memory();
    return function_define(coordinator, client, &(*block)[define->function % 64], define, labels, (size_t)count, why);
}

static int take_undefine(struct coordinator *coordinator, struct client_record *client, uint64_t number,
                         const char **why)
{
    struct client_function *function = find_function(client, number);
    *why = "UNDEFINE names a function that was not defined";
    if (!function || !(function->lane || function->refusal))
        return MUSTER_EPROTOCOL;
    *why = "UNDEFINE names a function that has tasks without an outcome";
    for (const struct lane_queue *queue = function->queues; queue; queue = queue->next)
        if (queue->tasks > 0)
            return MUSTER_EPROTOCOL;
    while (function->queues)
        lane_queue_free(coordinator, function->queues);
    if (function->lane)
        lane_release(coordinator, function->lane);
    client->definition_bytes -= function->cost;
    *function = (struct client_function){0};
    return 0;
}

/* What is wrong with a SUBMIT, or NULL. */
static const char *submit_problem(const struct message_submit *submit)
{
    if (submit->number == 0)
        return "SUBMIT has no number";
    if (submit->priority < -PRIORITY_LIMIT || submit->priority > PRIORITY_LIMIT)
        return "SUBMIT has a priority outside -1000..1000";
    if (submit->encoding > (ENCODING_SEGMENT | 0xf))
        return "SUBMIT has an unknown encoding";
    if (submit->args.length > UINT32_MAX)
        return "SUBMIT has arguments that are too long";
    return NULL;
}

/* Why the task is not taken though the client has done nothing wrong, or 0. `late`: it was submitted to an earlier
 * coordinator, and who had started it may have said so to this one before the client came back. */
static int submit_refusal(const struct coordinator *coordinator, const struct client_function *function,
                          const struct message_submit *submit, bool late, const char **text)
{
    *text = "the coordinator has no memory for what the function is defined by";
    if (function->refusal == MUSTER_ENOMEM)
        return MUSTER_ENOMEM;
    *text =
        "the coordinator holds as many bytes as it may, and has no room for what the function is defined by: define "
        "it and submit again when others have finished";
    if (function->refusal)
        return function->refusal;
    *text = "the coordinator restarted while this client was cut off for longer than the heartbeat limit: nobody knows "
            "whether the task had started";
    if (late && submit->retries == 0)
        return MUSTER_ELOST;
    *text = "the coordinator is shutting down and takes no more tasks";
    if (coordinator->draining)
        return MUSTER_ECLOSED;
    *text = "the arguments are longer than what can be passed on to a worker (--payload-limit)";
    if (!payload_fits(coordinator, submit->args.length))
        return MUSTER_ELIMIT;
    *text = "the coordinator holds as many bytes of arguments and results as it may; submit again when others have "
            "finished";
    if (!tasks_have_room(coordinator, TASK_COST_BYTES + submit->args.length))
        return MUSTER_ELIMIT;
    return 0;
}

static uint32_t capped(uint64_t value)
{
    return value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

/* The record of a SUBMIT, in its client's books but in no list. NULL when memory ran out. */
static struct task *submitted_task(struct coordinator *coordinator, struct client_record *client,
                                   struct client_function *function, const struct message_submit *submit, bool claimed)
{
    struct lane_queue *queue = lane_queue_find(client, function, submit->priority);
    if (!queue)
        return NULL;
    struct task *task = task_create(coordinator, client, submit->number, submit->args);
    if (!task || (!claimed && numbers_add(&client->numbers, task) != 0)) {
        if (task)
            coordinator->bytes -= task->length;
        memory_free(task);
        lane_queue_release(coordinator, queue);
        return NULL;
    }
    task->queue = queue;
    task->items = submit->items;
    task->retries = capped(submit->retries);
    task->flags = submit->flags & (TASK_RESUBMITTED | TASK_RETRY_LOST_ONLY | TASK_PROGRESS_WANTED);
    task->time_limit_ms = capped(submit->time_limit_ms);
    task->grace_ms = capped(submit->grace_ms);
    task->encoding = submit->encoding & 0x1f;
    queue->tasks++;
    client->open++;
    client->bytes += task->length;
    if (!claimed)
        coordinator->tasks++; /* a claim counts already */
    return task;
}

static int take_submit(struct coordinator *coordinator, struct client_record *client,
                       const struct message_submit *submit, const char **why)
{
    struct client_function *function = find_function(client, submit->function);
    *why = submit_problem(submit);
    if (*why)
        return MUSTER_EPROTOCOL;
    *why = "SUBMIT names a function that was not defined";
    if (!function || !(function->lane || function->refusal))
        return MUSTER_EPROTOCOL;
    struct task *known = numbers_find(&client->numbers, submit->number);
    if (known && (known->queue || known->state == TASK_FINISHED))
        return 0;
    *why = "a client submits more tasks, or bytes of arguments, than it was told";
    if (client->open >= coordinator->config.client_tasks ||
        client->bytes + submit->args.length > coordinator->config.client_bytes)
        return MUSTER_ELIMIT;
    bool resubmitted = (submit->flags & TASK_RESUBMITTED) && coordinator->config.rejoin;
    bool late = resubmitted && !known && !rejoining(coordinator, client);
    if (resubmitted && !late)
        client->rejoin_ns = coordinator->now_ns + coordinator->config.heartbeat_ns;
    coordinator->totals.submitted++;
    client->submitted++;
    const char *text;
    int refusal = known && function->lane ? 0 : submit_refusal(coordinator, function, submit, late, &text);
    struct task *task = refusal ? NULL : submitted_task(coordinator, client, function, submit, known != NULL);
    if (!task) {
        task_refuse(coordinator, client, submit->number, refusal ? refusal : MUSTER_ENOMEM,
                    refusal ? text : "the coordinator has no memory for this task");
        return 0;
    }
    if (known) {
        claim_join(coordinator, known, task);
    } else if (resubmitted && rejoining(coordinator, NULL)) {
        parked_add(coordinator, task);
    } else {
        task->marks = resubmitted ? TASK_CLAIMABLE : 0;
        task_enqueue(coordinator, task);
    }
    return 0;
}

static int take_status(struct coordinator *coordinator, struct client_record *client, uint64_t request)
{
    struct buffer json = {0};
    int status = coordinator_status(coordinator, &json, coordinator->now_ns);
    if (status == 0) {
        struct message message = {.type = MESSAGE_REPORT};
        message.report.request = request;
        message.report.json = bytes_of(&json);
        client->peer->send(client->peer, &message);
    }
    buffer_free(&json);
    return status;
}

int client_record_take(struct coordinator *coordinator, struct client_record *client, const struct message *message,
                       const char **why)
{
    struct task *task;
    switch (message->type) {
    case MESSAGE_DEFINE: return take_define(coordinator, client, &message->define, why);
    case MESSAGE_UNDEFINE: return take_undefine(coordinator, client, message->undefine.function, why);
    case MESSAGE_SUBMIT: return take_submit(coordinator, client, &message->submit, why);
    case MESSAGE_CANCEL:
        task = numbers_find(&client->numbers, message->cancel.number);
        if (task)
            task_cancel(coordinator, task);
        return 0;
    case MESSAGE_STATUS:
        *why = "there is no memory for a status report";
        return take_status(coordinator, client, message->status.request);
    default: *why = "a client does not send that message"; return MUSTER_EPROTOCOL;
    }
}
