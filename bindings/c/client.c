/*
 * The client's protocol logic: every task without an outcome, whole, in the order in which they were submitted.
 *
 * Keeping the whole task is what makes a restart of the coordinator invisible: when the link opens again to another
 * coordinator, everything without an outcome is submitted again under its old number, flagged as resubmitted, and the
 * coordinator joins it with what workers claim. When the link opens again to the same coordinator, that one had given
 * this client up and cancelled its tasks: they get the outcome MUSTER_ELOST here, because nobody else will give it.
 *
 * A definition is told to the coordinator in front of the first task of it in each session. What nobody uses any more
 * is kept, for it may be used again, until there is no room for another.
 *
 * An outcome may arrive while client_submit() or client_cancel() is still sending (the embedded coordinator answers in
 * the same call), so a task must not be touched after a message about it was sent.
 */
#include "bindings/c/client.h"

#include "core/errors.h"
#include "core/hash.h"

/* Outcomes come about in the order of submission, and the oldest task stands last in its bucket: keep buckets short. */
#undef HASH_BKT_CAPACITY_THRESH
#define HASH_BKT_CAPACITY_THRESH 2U

#define NAME_LIMIT 255        /* bytes of a function name or a label */
#define LABELS_LIMIT 64       /* labels of a function */
#define DEFINITION_LIMIT 4096 /* of one client */
#define SPARE_TASKS 1024      /* freed ones that are kept */
#define SPARE_ARGS 64         /* bytes of arguments that fit into one of those */

/* A function with the labels that its workers must carry and a body, as one DEFINE told the coordinator or will tell
 * it.
 */
struct definition {
    uint64_t number;      /* in DEFINE and SUBMIT; the same in every session */
    uint64_t session;     /* the session in which it was last told; 0: it is to be told again */
    uint64_t counted;     /* the session in whose client.told_bytes it is */
    const char *name;     /* in key */
    struct buffer labels; /* encoded, as DEFINE wants them */
    struct bytes body;    /* in key */
    size_t cost;          /* as the coordinator counts */
    size_t users;         /* tasks without outcome, and who keeps it */
    UT_hash_handle hh;    /* the table also keeps the order in which they were made */
    size_t key_length;
    char key[]; /* the name and the labels, each with its terminating zero; then, if there is a body, a zero and that */
};

struct client_task {
    uint64_t number;
    void *tag;
    struct definition *definition;
    uint64_t items, time_limit_ms, grace_ms;
    int64_t priority;
    uint32_t retries;
    uint16_t flags, encoding;
    bool sent;      /* to some coordinator: it may be running */
    bool cancelled; /* CANCEL is asked for, and goes out again after a resubmission */
    size_t shared_bytes, length;
    UT_hash_handle hh; /* the table also keeps the order of submission */
    unsigned char args[];
};

struct client {
    const struct client_events *events;
    void *arg;
    client_send *send;
    void *send_arg;
    struct client_task *tasks;
    struct client_task *spare; /* linked by their tags. Tasks are made in one thread and freed in another, which
                                  malloc() does not like */
    size_t spare_count;
    struct definition *definitions, *latest; /* latest: the one found last, as most calls are like the one before */
    uint64_t definition_numbers[DEFINITION_LIMIT / 64]; /* one bit for each: it is taken */
    size_t definition_bytes;                            /* what they cost */
    size_t told_bytes;                                  /* what those cost that were told in this session */
    uint64_t session;                                   /* counts sessions, from 1 */
    uint64_t next_number;
    size_t task_limit, byte_limit;                                             /* asked for by the pool; 0: none */
    size_t coordinator_tasks, coordinator_bytes, coordinator_definition_bytes; /* from WELCOME; 0: not known yet */
    size_t outstanding_bytes;
    bool full; /* a submit was refused: `room` is to be called */
};

int client_create(struct client **client, const struct client_events *events, void *arg, client_send *send,
                  void *send_arg)
{
    *client = memory_zero(sizeof **client);
    if (!*client)
        return MUSTER_ENOMEM;
    **client = (struct client){
        .events = events, .arg = arg, .send = send, .send_arg = send_arg, .session = 1, .next_number = 1};
    return 0;
}

static struct client_task *task_alloc(struct client *client, size_t length)
{
    struct client_task *task = client->spare;
    if (length > SPARE_ARGS || !task)
        return memory_alloc(sizeof *task + (length > SPARE_ARGS ? length : SPARE_ARGS));
    client->spare = task->tag;
    client->spare_count--;
    return task;
}

static void task_free(struct client *client, struct client_task *task)
{
    if (task->length > SPARE_ARGS || client->spare_count == SPARE_TASKS) {
        memory_free(task);
        return;
    }
    task->tag = client->spare;
    client->spare = task;
    client->spare_count++;
}

static void definition_free(struct client *client, struct definition *definition)
{
    HASH_DELETE(hh, client->definitions, definition);
    if (client->latest == definition)
        client->latest = NULL;
    client->definition_numbers[definition->number / 64] &= ~(UINT64_C(1) << definition->number % 64);
    client->definition_bytes -= definition->cost;
    if (definition->counted == client->session)
        client->told_bytes -= definition->cost;
    buffer_free(&definition->labels);
    memory_free(definition);
}

void client_free(struct client *client)
{
    if (!client)
        return;
    struct client_task *task, *next_task;
    HASH_ITER (hh, client->tasks, task, next_task) {
        HASH_DELETE(hh, client->tasks, task);
        memory_free(task);
    }
    while (client->spare) {
        task = client->spare;
        client->spare = task->tag;
        memory_free(task);
    }
    while (client->definitions)
        definition_free(client, client->definitions);
    memory_free(client);
}

void client_limits(struct client *client, size_t tasks, size_t bytes)
{
    client->task_limit = tasks;
    client->byte_limit = bytes;
}

void client_coordinator_limits(struct client *client, size_t tasks, size_t bytes, size_t definition_bytes)
{
    client->coordinator_tasks = tasks;
    client->coordinator_bytes = bytes;
    client->coordinator_definition_bytes = definition_bytes;
}

size_t client_outstanding(const struct client *client)
{
    return HASH_COUNT(client->tasks);
}

size_t client_outstanding_bytes(const struct client *client)
{
    return client->outstanding_bytes;
}

/* --- the window --------------------------------------------------------------------------------------------------- */

/* The smaller of two limits of which 0 means none. */
static size_t limit_min(size_t a, size_t b)
{
    if (a == 0 || b == 0)
        return a ? a : b ? b : SIZE_MAX;
    return a < b ? a : b;
}

static size_t task_limit(const struct client *client)
{
    return limit_min(client->task_limit, client->coordinator_tasks);
}

static size_t byte_limit(const struct client *client)
{
    return limit_min(client->byte_limit, client->coordinator_bytes);
}

size_t client_room(const struct client *client)
{
    size_t tasks = client_outstanding(client), limit = task_limit(client);
    return tasks < limit ? limit - tasks : 0;
}

/* An eighth of the window must be free again, so that those who wait for room are not woken for each outcome. */
static void tell_room(struct client *client)
{
    size_t tasks = task_limit(client), bytes = byte_limit(client);
    if (!client->full || client_outstanding(client) >= tasks - tasks / 8 ||
        client->outstanding_bytes > bytes - bytes / 8)
        return;
    client->full = false;
    client->events->room(client->arg);
}

static int window_check(struct client *client, size_t bytes)
{
    if (bytes > byte_limit(client))
        return error_set(MUSTER_ELIMIT, "arguments of %zu bytes are more than the %zu that may be outstanding", bytes,
                         byte_limit(client));
    if (client_outstanding(client) < task_limit(client) && client->outstanding_bytes <= byte_limit(client) - bytes)
        return 0;
    client->full = true;
    return MUSTER_EAGAIN;
}

/* --- definitions -------------------------------------------------------------------------------------------------- */

/* What a definition is of. */
struct content {
    const char *function;
    const char *const *labels;
    size_t label_count;
    struct bytes body;
};

/* The key of what is to be found, and the number of its labels. */
static int key_make(struct buffer *key, struct content *content)
{
    size_t length = strlen(content->function);
    if (length > NAME_LIMIT)
        return error_set(MUSTER_ELIMIT, "a function name of %zu bytes; at most %d are allowed", length, NAME_LIMIT);
    int status = buffer_append(key, content->function, length + 1);
    for (const char *const *label = content->labels; status == 0 && label && *label; label++) {
        length = strlen(*label);
        if (length == 0)
            return error_set(MUSTER_EINVAL, "a label of the call is empty");
        if (length > NAME_LIMIT || content->label_count == LABELS_LIMIT)
            return error_set(MUSTER_ELIMIT, "label %zu has %zu bytes; at most %d labels of %d bytes are allowed",
                             content->label_count + 1, length, LABELS_LIMIT, NAME_LIMIT);
        status = buffer_append(key, *label, length + 1);
        content->label_count++;
    }
    if (status == 0 && content->body.length > 0)
        status = buffer_append(key, "", 1);
    if (status == 0 && content->body.length > 0)
        status = buffer_append(key, content->body.data, content->body.length);
    return status;
}

static void define_message(struct message *message, const struct definition *definition)
{
    *message = (struct message){.type = MESSAGE_DEFINE};
    message->define.function = definition->number;
    message->define.name = bytes_string(definition->name);
    message->define.labels = bytes_of(&definition->labels);
    message->define.body = definition->body;
}

/* Gives up what nobody uses, the oldest first, until there is room for one more of this cost. */
static int definitions_make_room(struct client *client, size_t cost)
{
    size_t limit = client->coordinator_definition_bytes ? client->coordinator_definition_bytes : SIZE_MAX;
    struct definition *definition, *next;
    HASH_ITER (hh, client->definitions, definition, next) {
        if (HASH_COUNT(client->definitions) < DEFINITION_LIMIT && cost <= limit &&
            client->definition_bytes <= limit - cost)
            return 0;
        if (definition->users > 0)
            continue;
        if (definition->counted == client->session) {
            struct message undefine = {.type = MESSAGE_UNDEFINE};
            undefine.undefine.function = definition->number;
            int status = client->send(client->send_arg, &undefine);
            if (status != 0 && status != MUSTER_ECONNECT)
                return status;
        }
        definition_free(client, definition);
    }
    if (HASH_COUNT(client->definitions) >= DEFINITION_LIMIT)
        return error_set(MUSTER_ELIMIT, "more than %d different functions, label sets and bodies in use in one pool",
                         DEFINITION_LIMIT);
    if (cost > limit || client->definition_bytes > limit - cost)
        return error_set(MUSTER_ELIMIT,
                         "a definition that takes %zu bytes beside %zu bytes of others in use, and a client may have "
                         "%zu (--client-definitions)",
                         cost, client->definition_bytes, limit);
    return 0;
}

static uint64_t number_take(struct client *client)
{
    size_t i = 0;
    while (client->definition_numbers[i] == UINT64_MAX)
        i++;
    unsigned bit = (unsigned)__builtin_ctzll(~client->definition_numbers[i]);
    client->definition_numbers[i] |= UINT64_C(1) << bit;
    return i * 64 + bit;
}

static int definition_add(struct client *client, const struct content *content, struct bytes key,
                          struct definition **added)
{
    struct definition *definition = memory_zero(sizeof *definition + key.length);
    if (!definition)
        return error_memory();
    definition->key_length = key.length;
    memcpy(definition->key, key.data, key.length);
    definition->name = definition->key;
    definition->body = (struct bytes){definition->key + key.length - content->body.length, content->body.length};
    struct message define;
    int status = texts_encode(&definition->labels, content->labels, content->label_count);
    if (status == 0) {
        define_message(&define, definition);
        definition->cost = definition_cost(&define.define);
        status = definitions_make_room(client, definition->cost);
    }
    if (status == 0) {
        hash_oom = false;
        HASH_ADD_KEYPTR(hh, client->definitions, definition->key, definition->key_length, definition);
        status = hash_oom ? error_memory() : 0;
    }
    if (status != 0) {
        buffer_free(&definition->labels);
        memory_free(definition);
        return status;
    }
    definition->number = number_take(client);
    client->definition_bytes += definition->cost;
    *added = definition;
    return 0;
}

static int content_find(struct client *client, struct content *content, struct definition **found)
{
    struct buffer key = {0};
    int status = key_make(&key, content);
    if (status == 0) {
        HASH_FIND(hh, client->definitions, key.data, key.length, *found);
        if (!*found)
            status = definition_add(client, content, bytes_of(&key), found);
    }
    buffer_free(&key);
    return status;
}

static int definition_find(struct client *client, const struct client_call *call, struct definition **found)
{
    struct definition *latest = client->latest;
    if (call->definition) {
        *found = call->definition;
        return 0;
    }
    if (latest && !call->labels && strcmp(call->function, latest->name) == 0 &&
        latest->key_length == strlen(latest->name) + 1) {
        *found = latest;
        return 0;
    }
    int status = content_find(client, &(struct content){.function = call->function, .labels = call->labels}, found);
    if (status == 0)
        client->latest = *found;
    return status;
}

int client_define(struct client *client, const char *function, const char *const *labels, struct bytes body,
                  struct definition **definition)
{
    int status = content_find(client, &(struct content){function, labels, 0, body}, definition);
    if (status == 0)
        (*definition)->users++;
    return status;
}

void client_keep_definition(struct definition *definition)
{
    definition->users++;
}

void client_undefine(struct definition *definition)
{
    definition->users--;
}

/* --- tasks out ---------------------------------------------------------------------------------------------------- */

static int definition_send(struct client *client, struct definition *definition)
{
    if (definition->session == client->session)
        return 0;
    bool counted = definition->counted == client->session;
    size_t limit = client->coordinator_definition_bytes, cost = counted ? 0 : definition->cost;
    if (limit != 0 && (cost > limit || client->told_bytes > limit - cost))
        return error_set(MUSTER_ELIMIT, "a definition takes %zu bytes, and this coordinator takes %zu in all of them",
                         cost, limit);
    struct message define;
    define_message(&define, definition);
    int status = client->send(client->send_arg, &define);
    if (status != 0)
        return status;
    client->told_bytes += cost;
    definition->session = definition->counted = client->session;
    return 0;
}

/* After success the task may be gone. MUSTER_ECONNECT: it goes out when the link opens. */
static int task_send(struct client *client, struct client_task *task)
{
    int status = definition_send(client, task->definition);
    if (status != 0)
        return status;
    struct message submit = {.type = MESSAGE_SUBMIT};
    submit.submit.number = task->number;
    submit.submit.function = task->definition->number;
    submit.submit.items = task->items;
    submit.submit.priority = task->priority;
    submit.submit.retries = task->retries;
    submit.submit.flags = task->flags | (task->sent ? TASK_RESUBMITTED : 0u);
    submit.submit.time_limit_ms = task->time_limit_ms;
    submit.submit.grace_ms = task->grace_ms;
    submit.submit.encoding = task->encoding;
    submit.submit.args = (struct bytes){task->args, task->length};
    bool sent = task->sent;
    task->sent = true;
    status = client->send(client->send_arg, &submit);
    if (status != 0)
        task->sent = sent;
    return status;
}

static void task_remove(struct client *client, struct client_task *task)
{
    HASH_DELETE(hh, client->tasks, task);
    task->definition->users--;
    client->outstanding_bytes -= task->length + task->shared_bytes;
}

static struct client_task *task_add(struct client *client, const struct client_call *call,
                                    struct definition *definition)
{
    struct client_task *task = task_alloc(client, call->args.length);
    if (!task)
        return NULL;
    *task = (struct client_task){.number = client->next_number,
                                 .tag = call->tag,
                                 .definition = definition,
                                 .items = call->items,
                                 .time_limit_ms = call->time_limit_ms,
                                 .grace_ms = call->grace_ms,
                                 .priority = call->priority,
                                 .retries = (uint32_t)call->retries,
                                 .flags = (uint16_t)call->flags,
                                 .encoding = (uint16_t)call->encoding,
                                 .shared_bytes = call->shared_bytes,
                                 .length = call->args.length};
    if (call->args.length > 0)
        memcpy(task->args, call->args.data, call->args.length);
    if (!HASH_ADD_U64(client->tasks, number, task)) {
        task_free(client, task);
        return NULL;
    }
    definition->users++;
    client->next_number++;
    client->outstanding_bytes += task->length + task->shared_bytes;
    return task;
}

int client_submit(struct client *client, const struct client_call *call, uint64_t *number)
{
    int status = window_check(client, call->args.length + call->shared_bytes);
    struct definition *definition = NULL;
    if (status == 0)
        status = definition_find(client, call, &definition);
    if (status != 0)
        return status;
    struct client_task *task = task_add(client, call, definition);
    if (!task)
        return error_memory();
    *number = task->number;
    status = task_send(client, task);
    if (status == 0 || status == MUSTER_ECONNECT)
        return 0;
    task_remove(client, task);
    task_free(client, task);
    return status;
}

/* --- outcomes in -------------------------------------------------------------------------------------------------- */

static void task_finish(struct client *client, struct client_task *task, const struct message *outcome)
{
    task_remove(client, task);
    tell_room(client);
    client->events->outcome(client->arg, task->number, task->tag, outcome);
    task_free(client, task);
}

static void task_fail(struct client *client, struct client_task *task, int status, const char *reason)
{
    struct message failed = {.type = MESSAGE_FAILED};
    failed.failed.number = task->number;
    failed.failed.status = (uint64_t)-status;
    failed.failed.message = bytes_string(reason);
    failed.failed.exit_status = -1;
    task_finish(client, task, &failed);
}

void client_fail_all(struct client *client, int status, const char *reason)
{
    struct client_task *task, *next;
    HASH_ITER (hh, client->tasks, task, next)
        task_fail(client, task, status, reason);
}

static struct client_task *task_find(struct client *client, uint64_t number)
{
    struct client_task *task;
    HASH_FIND_U64(client->tasks, number, task);
    return task;
}

/* An outcome for a number that is not outstanding is late: its task was given up here while it was on its way. */
static void take_done(struct client *client, const struct message *message)
{
    struct client_task *task = task_find(client, message->done.number);
    if (task)
        task_finish(client, task, message);
    else if (message->done.encoding & ENCODING_SEGMENT && client->events->discard)
        client->events->discard(client->arg, message->done.value);
}

/* The coordinator may have had no room for the definition: the next task of it defines it again. */
static void take_failed(struct client *client, struct client_task *task, const struct message *message)
{
    if ((message->failed.status == -MUSTER_ELIMIT || message->failed.status == -MUSTER_ENOMEM) &&
        message->failed.worker.length == 0)
        task->definition->session = 0;
    task_finish(client, task, message);
}

int client_message(struct client *client, const struct message *message)
{
    struct client_task *task;
    switch (message->type) {
    case MESSAGE_DONE: take_done(client, message); return 0;
    case MESSAGE_FAILED:
        task = task_find(client, message->failed.number);
        if (task)
            take_failed(client, task, message);
        return 0;
    case MESSAGE_PROGRESS:
        task = task_find(client, message->progress.number);
        if (task && client->events->progress)
            client->events->progress(client->arg, task->number, task->tag, &message->progress);
        return 0;
    case MESSAGE_LOG:
        if (client->events->log)
            client->events->log(client->arg, &message->log);
        return 0;
    case MESSAGE_WORKERS:
        if (client->events->workers)
            client->events->workers(client->arg, message->workers.count);
        return 0;
    case MESSAGE_REPORT:
        if (client->events->report)
            client->events->report(client->arg, message->report.request, message->report.json);
        return 0;
    default: return error_set(MUSTER_EPROTOCOL, "a %s message is not for a client", message_name(message->type));
    }
}

/* --- cancelling, asking ------------------------------------------------------------------------------------------- */

static int cancel_send(struct client *client, uint64_t number)
{
    struct message cancel = {.type = MESSAGE_CANCEL};
    cancel.cancel.number = number;
    int status = client->send(client->send_arg, &cancel);
    return status == MUSTER_ECONNECT ? 0 : status;
}

int client_cancel(struct client *client, uint64_t number)
{
    struct client_task *task = task_find(client, number);
    if (!task || task->cancelled)
        return 0;
    task->cancelled = true;
    if (!task->sent) {
        task_fail(client, task, MUSTER_ECANCELED, "cancelled before it was sent");
        return 0;
    }
    return cancel_send(client, number);
}

void client_cancel_all(struct client *client)
{
    struct client_task *task, *next;
    HASH_ITER (hh, client->tasks, task, next)
        client_cancel(client, task->number);
}

int client_status(struct client *client, uint64_t request)
{
    struct message status = {.type = MESSAGE_STATUS};
    status.status.request = request;
    return client->send(client->send_arg, &status);
}

/* --- the link ----------------------------------------------------------------------------------------------------- */

static void task_resume(struct client *client, struct client_task *task, bool restarted)
{
    if (task->sent && !restarted) {
        task_fail(client, task, MUSTER_ELOST,
                  "the coordinator gave this client up after it had been silent for too long, and cancelled its tasks");
        return;
    }
    uint64_t number = task->number;
    bool cancelled = task->cancelled;
    int status = task_send(client, task);
    if (status != 0 && status != MUSTER_ECONNECT)
        task_fail(client, task, status, "it could not be submitted again to the coordinator that came back");
    else if (cancelled)
        cancel_send(client, number);
}

static void on_open(void *arg, const struct welcome *welcome, bool restarted)
{
    struct client *client = arg;
    client->session++;
    client->told_bytes = 0;
    client_coordinator_limits(client, welcome->task_window, welcome->task_bytes, welcome->definition_bytes);
    struct client_task *task, *next;
    HASH_ITER (hh, client->tasks, task, next)
        task_resume(client, task, restarted);
    tell_room(client);
    if (client->events->opened)
        client->events->opened(client->arg);
}

static int on_message(void *arg, const struct message *message)
{
    return client_message(arg, message);
}

static void on_failed(void *arg, int status, const char *reason)
{
    struct client *client = arg;
    client_fail_all(client, status, reason);
    if (client->events->failed)
        client->events->failed(client->arg, status, reason);
}

const struct link_events client_link_events = {.open = on_open, .message = on_message, .failed = on_failed};
