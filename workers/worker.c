/*
 * What a worker knows: a list of held tasks in the order of their tickets, the one that runs, and the outcomes that are
 * not settled.
 *
 * An outcome is sent and recorded in the page's ring. One that is too long for the ring is kept in a list of its own,
 * in the worker's memory: it survives the coordinator's death, but not the worker's, and then counts as lost.
 *
 * Bodies belong to the session: the coordinator introduces each in front of the first task of it and says when to
 * forget it, and when another session opens it begins anew. A task that is held keeps the body that it needs through
 * all that.
 *
 * When a session opens, everything held is claimed. Unless the coordinator is the same as before: then it has declared
 * this worker lost and given the tasks that had not started to others, so they are dropped here.
 */
#include "workers/worker.h"

#include <inttypes.h>
#include <stdio.h>

#include "core/clock.h"
#include "core/errors.h"
#include "core/log.h"

#define FAILURE_ROOM 4096 /* set aside, so that a failure can always be told */
#define KIND_LIMIT 255
#define MESSAGE_LIMIT (64 * 1024) /* longer sentences are cut, so that a failure always fits into the ring */
#define TRACEBACK_LIMIT (128 * 1024)
#define LARGE_LIMIT (64 * 1024 * 1024)  /* with so many bytes of large outcomes unsettled, nothing more starts */
#define UNSETTLED_LIMIT 7000            /* so many outcomes that a coordinator which restarts would accept the claims */
#define BACKLOG_LIMIT (4 * 1024 * 1024) /* beyond it, progress and log messages are dropped */

/* An unsettled outcome that is too long for the ring. */
struct large {
    struct large *next;
    uint64_t ticket, client, number;
    struct bytes message; /* encoded; the bytes follow */
};

struct worker {
    struct page *page;
    struct link *link;
    const struct worker_events *events;
    void *arg;
    struct buffer functions, labels; /* encoded, for OFFER */
    size_t function_count;
    uint64_t max_tasks, taken;
    struct held_task *first, *last; /* held, not started */
    struct held_task *running;
    uint64_t last_ticket;                              /* of the tasks assigned or claimed in this session */
    struct introduced *introduced, *latest_introduced; /* hash table by the coordinator's number; the one used last */
    uint64_t introductions;                            /* made so far */
    struct large *first_large, **end_large;
    size_t large_bytes;
    size_t recorded;       /* outcomes in the page */
    struct buffer scratch; /* the outcome that is being encoded; never smaller than FAILURE_ROOM */
    bool draining, dismissed, failed;
};

int worker_create(struct worker **worker, const struct worker_config *config, struct page *page, struct link *link,
                  const struct worker_events *events, void *arg)
{
    struct worker *made = memory_zero(sizeof *made);
    if (!made)
        return error_memory();
    made->page = page;
    made->link = link;
    made->events = events;
    made->arg = arg;
    made->function_count = config->function_count;
    made->max_tasks = config->max_tasks;
    made->end_large = &made->first_large;
    if (texts_encode(&made->functions, config->functions, config->function_count) != 0 ||
        texts_encode(&made->labels, config->labels, config->label_count) != 0 ||
        buffer_reserve(&made->scratch, FAILURE_ROOM) != 0) {
        worker_free(made);
        return error_memory();
    }
    *worker = made;
    return 0;
}

static void settle_large(struct worker *worker, uint64_t ticket)
{
    struct large *large;
    while ((large = worker->first_large) != NULL && large->ticket <= ticket) {
        worker->first_large = large->next;
        worker->large_bytes -= large->message.length;
        memory_free(large);
    }
    if (!worker->first_large)
        worker->end_large = &worker->first_large;
}

/* --- bodies ------------------------------------------------------------------------------------------------------- */

static void introduced_release(struct introduced *introduced)
{
    if (introduced && --introduced->users == 0)
        memory_free(introduced);
}

static void introduced_forget(struct worker *worker, struct introduced *introduced)
{
    if (worker->latest_introduced == introduced)
        worker->latest_introduced = NULL;
    HASH_DEL(worker->introduced, introduced);
    introduced_release(introduced);
}

static struct introduced *introduced_find(struct worker *worker, uint64_t definition)
{
    struct introduced *introduced = worker->latest_introduced;
    if (introduced && introduced->definition == definition)
        return introduced;
    HASH_FIND_U64(worker->introduced, definition, introduced);
    if (introduced)
        worker->latest_introduced = introduced;
    return introduced;
}

/* Without memory for the body its tasks will fail, which says more than if they wandered. */
static int introduced_add(struct worker *worker, const struct message_introduce *told)
{
    if (told->definition == 0 || introduced_find(worker, told->definition))
        return error_set(MUSTER_EPROTOCOL, "definition %" PRIu64 " was introduced again", told->definition);
    struct introduced *introduced = memory_alloc(sizeof *introduced + told->body.length);
    bool missing = !introduced;
    if (missing)
        introduced = memory_alloc(sizeof *introduced);
    if (!introduced)
        return error_memory();
    *introduced = (struct introduced){.definition = told->definition,
                                      .key = ++worker->introductions,
                                      .users = 1,
                                      .missing = missing,
                                      .length = told->body.length};
    if (!missing)
        memcpy(introduced->body, told->body.data, told->body.length);
    if (HASH_ADD_U64(worker->introduced, definition, introduced))
        return 0;
    memory_free(introduced);
    return error_memory();
}

/* --- held tasks --------------------------------------------------------------------------------------------------- */

static void held_free(struct held_task *task)
{
    if (!task)
        return;
    introduced_release(task->introduced);
    if (!task->kept)
        memory_free(task);
}

static void unlink_held(struct worker *worker, struct held_task *task)
{
    *(task->previous ? &task->previous->next : &worker->first) = task->next;
    *(task->next ? &task->next->previous : &worker->last) = task->previous;
}

static void drop_held(struct worker *worker)
{
    struct held_task *task;
    while ((task = worker->first) != NULL) {
        unlink_held(worker, task);
        held_free(task);
    }
}

void worker_free(struct worker *worker)
{
    if (!worker)
        return;
    drop_held(worker);
    held_free(worker->running);
    while (worker->introduced)
        introduced_forget(worker, worker->introduced);
    settle_large(worker, UINT64_MAX);
    buffer_free(&worker->functions);
    buffer_free(&worker->labels);
    buffer_free(&worker->scratch);
    memory_free(worker);
}

void worker_bind(struct worker *worker, struct link *link)
{
    worker->link = link;
}

static void tell_ready(struct worker *worker)
{
    worker->events->ready(worker->arg);
}

static void give_up(struct worker *worker, int status, const char *reason)
{
    worker->failed = true;
    worker->events->failed(worker->arg, status, reason);
    tell_ready(worker);
}

/* --- outcomes ----------------------------------------------------------------------------------------------------- */

static void keep_large(struct worker *worker, const struct held_task *task, struct bytes message)
{
    struct large *large = memory_alloc(sizeof *large + message.length);
    if (!large)
        return; /* it is being sent; only a coordinator that dies now would lose it */
    *large = (struct large){NULL,
                            task->ticket,
                            task->client,
                            task->number,
                            {memcpy(large + 1, message.data, message.length), message.length}};
    *worker->end_large = large;
    worker->end_large = &large->next;
    worker->large_bytes += message.length;
}

static struct bytes cut(struct bytes text, size_t limit)
{
    if (text.length > limit)
        text.length = limit;
    return text;
}

static void failure_make(struct message *message, const struct held_task *task, const struct outcome *outcome)
{
    *message = (struct message){.type = MESSAGE_FAILURE};
    message->failure = (struct message_failure){.ticket = task->ticket,
                                                .run_us = outcome->run_ns / NS_PER_US,
                                                .status = (uint64_t)-outcome->status,
                                                .kind = cut(outcome->kind, KIND_LIMIT),
                                                .message = cut(outcome->message, MESSAGE_LIMIT),
                                                .traceback = cut(outcome->traceback, TRACEBACK_LIMIT),
                                                .item = outcome->item,
                                                .encoding = outcome->value.length > 0 ? outcome->encoding : 0,
                                                .value = outcome->value};
}

static void outcome_make(struct message *message, const struct held_task *task, const struct outcome *outcome)
{
    if (outcome->status != 0) {
        failure_make(message, task, outcome);
        return;
    }
    *message = (struct message){.type = MESSAGE_RESULT};
    message->result = (struct message_result){.ticket = task->ticket,
                                              .run_us = outcome->run_ns / NS_PER_US,
                                              .encoding = outcome->encoding,
                                              .value = outcome->value};
}

/* A failure whose value cannot go with it says so instead: in `sentence`, which is to be freed. */
static void leave_value_out(struct outcome *failure, size_t limit, struct buffer *sentence)
{
    char text[160];
    int length = snprintf(text, sizeof text, FAILURE_VALUE_LEFT_OUT, failure->value.length, failure_value_limit(limit));
    struct bytes said = cut(failure->message, MESSAGE_LIMIT - sizeof text);
    failure->value = (struct bytes){0};
    if (buffer_append(sentence, said.data, said.length) == 0 && buffer_append(sentence, text, (size_t)length) == 0)
        failure->message = bytes_of(sentence);
}

/* The failure that takes the place of an outcome which cannot be told; its sentence stands in `text`. */
static struct outcome substitute(const struct outcome *outcome, int status, size_t limit, char *text, size_t size)
{
    if (status == MUSTER_ENOMEM)
        snprintf(text, size, "the outcome of %zu bytes does not fit into the worker's memory",
                 outcome->value.length + outcome->message.length + outcome->traceback.length);
    else
        snprintf(text, size, "the result has %zu bytes, the limit is %zu: return less, or raise the limit of payloads",
                 outcome->value.length, limit);
    return (struct outcome){
        .status = status, .message = bytes_string(text), .item = outcome->item, .run_ns = outcome->run_ns};
}

/* Encodes the outcome into worker->scratch. What is too large, or finds no memory, is replaced by a failure, for which
 * there is room. */
static void encode_outcome(struct worker *worker, const struct held_task *task, const struct outcome *outcome,
                           struct message *message)
{
    char text[192];
    struct buffer sentence = {0};
    struct outcome told = *outcome;
    size_t limit = worker->link->welcome.payload_limit;
    bool valueless = told.status != 0 && !failure_value_fits(told.value.length, limit);
    if (valueless)
        leave_value_out(&told, limit, &sentence);
    worker->scratch.length = 0;
    outcome_make(message, task, &told);
    int status = message_encode(&worker->scratch, message);
    if (status == 0 && limit != 0 && worker->scratch.length > limit)
        status = MUSTER_ELIMIT;
    if (status != 0) {
        told = substitute(outcome, status, limit, text, sizeof text);
        worker->scratch.length = 0;
        outcome_make(message, task, &told);
        message_encode(&worker->scratch, message);
    }
    if (status != 0 || valueless) {
        /* the sentence is gone when we return: point into what was encoded instead */
        struct bytes encoded = bytes_of(&worker->scratch);
        const char *why;
        message_decode(&encoded, message, &why);
    }
    buffer_free(&sentence);
}

/* A huge outcome's buffer is not kept, a small one's always is. */
static void shrink_scratch(struct worker *worker)
{
    struct buffer small = {0};
    if (worker->scratch.capacity <= 2 * PAGE_RECORD_LIMIT || buffer_reserve(&small, FAILURE_ROOM) != 0)
        return;
    buffer_free(&worker->scratch);
    worker->scratch = small;
}

/* Records the outcome and sends it. False if it could only be recorded. */
static bool deliver(struct worker *worker, const struct held_task *task, const struct outcome *outcome, bool *recorded)
{
    struct message message;
    encode_outcome(worker, task, outcome, &message);
    struct bytes encoded = bytes_of(&worker->scratch);
    *recorded = page_record(worker->page, task->ticket, task->client, task->number, encoded);
    if (*recorded)
        worker->recorded++;
    else
        keep_large(worker, task, encoded);
    int status = link_send(worker->link, &message);
    shrink_scratch(worker);
    return status == 0 || status == MUSTER_ECONNECT;
}

int worker_finish(struct worker *worker, struct held_task *task, const struct outcome *outcome)
{
    struct outcome told = *outcome;
    if (told.status == MUSTER_ECANCELED && task->stop_status != 0)
        told.status = task->stop_status; /* a coordinator that did not send STOP itself must learn why too */
    bool recorded, sent = deliver(worker, task, &told, &recorded);
    if (recorded)
        page_finish(worker->page, task->ticket);
    worker->running = NULL;
    held_free(task);
    if (!sent)
        return error_memory();
    if (worker->max_tasks != 0 && worker->taken >= worker->max_tasks && !worker->draining)
        return worker_drain(worker);
    return 0;
}

/* --- running ------------------------------------------------------------------------------------------------------ */

bool worker_holding(const struct worker *worker)
{
    return worker->first != NULL;
}

struct held_task *worker_take(struct worker *worker, uint64_t now_ns)
{
    struct held_task *task = worker->first;
    if (!task || worker->running || worker->failed || worker->link->state != LINK_OPEN ||
        worker->large_bytes >= LARGE_LIMIT || worker->recorded >= UNSETTLED_LIMIT || !page_has_room(worker->page) ||
        link_silent(worker->link, now_ns))
        return NULL;
    unlink_held(worker, task);
    worker->running = task;
    worker->taken++;
    page_start(worker->page, task->ticket, task->client, task->number);
    if (task->flags & TASK_REPORT_START) {
        struct message message = {.type = MESSAGE_STARTED};
        message.started.ticket = task->ticket;
        link_send(worker->link, &message);
    }
    return task;
}

static bool backlogged(const struct worker *worker)
{
    return worker->link->state == LINK_OPEN && worker->link->session.backlog_bytes > BACKLOG_LIMIT;
}

int worker_progress(struct worker *worker, const struct held_task *task, uint64_t item, double done, double total,
                    struct bytes text)
{
    struct message message = {.type = MESSAGE_TASK_PROGRESS};
    message.task_progress = (struct message_task_progress){task->ticket, item, done, total, text, {}};
    return backlogged(worker) ? MUSTER_EAGAIN : link_send(worker->link, &message);
}

int worker_log(struct worker *worker, const struct held_task *task, uint64_t level, struct bytes text)
{
    struct message message = {.type = MESSAGE_TASK_LOG};
    message.task_log = (struct message_task_log){task->ticket, level, text, {}};
    return backlogged(worker) ? MUSTER_EAGAIN : link_send(worker->link, &message);
}

/* --- giving back -------------------------------------------------------------------------------------------------- */

static int send_ticket(struct worker *worker, enum message_type type, uint64_t ticket)
{
    struct message message = {.type = type};
    message.returned.ticket = ticket; /* RETURNED and STARTED look alike */
    return link_send(worker->link, &message);
}

/* Without a session there is nobody to give it back to; nobody will claim it, and that says the same. */
static int give_back(struct worker *worker, struct held_task *task)
{
    int status = send_ticket(worker, MESSAGE_RETURNED, task->ticket);
    if (status != 0 && status != MUSTER_ECONNECT)
        return error_memory();
    unlink_held(worker, task);
    held_free(task);
    return 0;
}

static bool anything_unsettled(const struct worker *worker)
{
    return worker->first_large || atomic_load(&worker->page->head) != atomic_load(&worker->page->tail);
}

int worker_drain(struct worker *worker)
{
    int status = 0;
    if (!worker->draining) {
        struct message message = {.type = MESSAGE_DRAINING};
        worker->draining = true;
        status = link_send(worker->link, &message);
        if (status == MUSTER_ECONNECT)
            status = 0;
    }
    while (status == 0 && worker->first)
        status = give_back(worker, worker->first);
    tell_ready(worker);
    return status;
}

bool worker_draining(const struct worker *worker)
{
    return worker->draining;
}

bool worker_over(const struct worker *worker)
{
    if (worker->failed)
        return true;
    if (!worker->draining || worker->running)
        return false;
    if (worker->dismissed)
        return link_idle(worker->link);
    return worker->link->state != LINK_OPEN && !anything_unsettled(worker);
}

/* --- the coordinator's messages ----------------------------------------------------------------------------------- */

/* A task ends that has not started. */
static int end_unstarted(struct worker *worker, struct held_task *task, int status, const char *sentence)
{
    struct outcome outcome = {.status = status, .message = bytes_string(sentence)};
    unlink_held(worker, task);
    bool recorded, sent = deliver(worker, task, &outcome, &recorded);
    held_free(task);
    return sent ? 0 : error_memory();
}

static int assigned(struct worker *worker, const struct message_assign *assign)
{
    if (assign->ticket <= worker->last_ticket)
        return error_set(MUSTER_EPROTOCOL, "ticket %" PRIu64 " was assigned after %" PRIu64, assign->ticket,
                         worker->last_ticket);
    if (assign->function >= worker->function_count)
        return error_set(MUSTER_EPROTOCOL, "function %" PRIu64 " was assigned; this worker offers %zu",
                         assign->function, worker->function_count);
    struct introduced *introduced = assign->definition ? introduced_find(worker, assign->definition) : NULL;
    if (assign->definition && !introduced)
        return error_set(MUSTER_EPROTOCOL, "a task of definition %" PRIu64 " was assigned, which was not introduced",
                         assign->definition);
    worker->last_ticket = assign->ticket;
    struct held_task *task = worker->draining ? NULL : memory_alloc(sizeof *task + assign->args.length);
    if (!task) /* leaving, or short of memory: somebody else may do it */
        return send_ticket(worker, MESSAGE_RETURNED, assign->ticket);
    if (introduced)
        introduced->users++;
    *task = (struct held_task){.previous = worker->last,
                               .introduced = introduced,
                               .ticket = assign->ticket,
                               .client = assign->client,
                               .number = assign->number,
                               .function = assign->function,
                               .items = assign->items,
                               .flags = assign->flags,
                               .owner = assign->owner,
                               .encoding = assign->encoding,
                               .length = assign->args.length};
    if (assign->args.length > 0)
        memcpy(task->args, assign->args.data, assign->args.length);
    *(worker->last ? &worker->last->next : &worker->first) = task;
    worker->last = task;
    if (introduced && introduced->missing)
        return end_unstarted(worker, task, MUSTER_ENOMEM,
                             "there is no memory in the worker for the body of the task's definition");
    if (!worker->running)
        tell_ready(worker);
    return 0;
}

static struct held_task *find_held(const struct worker *worker, uint64_t ticket)
{
    struct held_task *task = worker->last; /* recalls take the later ones */
    while (task && task->ticket > ticket)
        task = task->previous;
    return task && task->ticket == ticket ? task : NULL;
}

/* A task that has not started ends here; one that runs is asked to; one that is over has said so already. */
static int stopped(struct worker *worker, uint64_t ticket, uint64_t status)
{
    if (worker->running && worker->running->ticket == ticket) {
        worker->running->stop_status = status == (uint64_t)-MUSTER_ETIMEDOUT ? MUSTER_ETIMEDOUT : MUSTER_ECANCELED;
        worker->events->stop(worker->arg, ticket);
        return 0;
    }
    struct held_task *task = find_held(worker, ticket);
    if (!task)
        return 0;
    return end_unstarted(worker, task, MUSTER_ECANCELED, "the task was cancelled before it started");
}

static int worker_message(void *arg, const struct message *message)
{
    struct worker *worker = arg;
    struct introduced *introduced;
    struct held_task *task;
    size_t released;
    switch (message->type) {
    case MESSAGE_ASSIGN: return assigned(worker, &message->assign);
    case MESSAGE_INTRODUCE: return introduced_add(worker, &message->introduce);
    case MESSAGE_FORGET:
        introduced = introduced_find(worker, message->forget.definition);
        if (introduced)
            introduced_forget(worker, introduced);
        return 0;
    case MESSAGE_RECALL: task = find_held(worker, message->recall.ticket); return task ? give_back(worker, task) : 0;
    case MESSAGE_STOP: return stopped(worker, message->stop.ticket, message->stop.status);
    case MESSAGE_SETTLED:
        released = page_settle(worker->page, message->settled.ticket);
        worker->recorded -= released < worker->recorded ? released : worker->recorded;
        settle_large(worker, message->settled.ticket);
        if (!worker->running && (worker->first || worker->draining))
            tell_ready(worker);
        return 0;
    case MESSAGE_DRAIN: return worker_drain(worker);
    case MESSAGE_DISMISS:
        worker->dismissed = worker->draining = true;
        drop_held(worker);
        link_close(worker->link, "dismissed");
        tell_ready(worker);
        return 0;
    default: return error_set(MUSTER_EPROTOCOL, "a worker was sent %s", message_name(message->type));
    }
}

/* --- a new session ------------------------------------------------------------------------------------------------ */

static int claim(struct worker *worker, uint64_t ticket, uint64_t client, uint64_t number, enum claim_state state)
{
    struct message message = {.type = MESSAGE_CLAIM};
    message.claim = (struct message_claim){ticket, client, number, state, {}};
    if (ticket > worker->last_ticket)
        worker->last_ticket = ticket;
    return link_send(worker->link, &message);
}

static int claim_finished(struct worker *worker, uint64_t ticket, uint64_t client, uint64_t number,
                          struct bytes encoded)
{
    struct message message;
    const char *why;
    if (message_decode(&encoded, &message, &why) != 0)
        return 0; /* a task wrote over the page: that outcome is gone */
    int status = claim(worker, ticket, client, number, CLAIM_FINISHED);
    return status != 0 ? status : link_send(worker->link, &message);
}

static int claim_all(struct worker *worker)
{
    struct page_record record;
    uint64_t position = atomic_load(&worker->page->tail);
    int status = 0;
    for (struct large *large = worker->first_large; large && status == 0; large = large->next)
        status = claim_finished(worker, large->ticket, large->client, large->number, large->message);
    while (status == 0 && page_next(worker->page, &position, &record))
        status = claim_finished(worker, record.ticket, record.client, record.number, record.message);
    if (worker->running && status == 0)
        status =
            claim(worker, worker->running->ticket, worker->running->client, worker->running->number, CLAIM_RUNNING);
    for (struct held_task *task = worker->first; task && status == 0; task = task->next)
        status = claim(worker, task->ticket, task->client, task->number, CLAIM_WAITING);
    return status;
}

static void worker_open(void *arg, const struct welcome *welcome, bool restarted)
{
    struct worker *worker = arg;
    (void)welcome;
    if (!restarted)
        drop_held(worker);
    while (worker->introduced)
        introduced_forget(worker, worker->introduced);
    worker->last_ticket = 0;
    int status = claim_all(worker);
    /* After the claims: what is not claimed by now never arrived here, and goes to somebody else. */
    struct message offer = {.type = MESSAGE_OFFER};
    offer.offer = (struct message_offer){bytes_of(&worker->functions), bytes_of(&worker->labels), {}};
    if (status == 0)
        status = link_send(worker->link, &offer);
    if (status == 0 && worker->draining) {
        struct message draining = {.type = MESSAGE_DRAINING};
        status = link_send(worker->link, &draining);
    }
    if (status != 0) {
        give_up(worker, status, "there is no memory to tell the coordinator what this worker holds");
        return;
    }
    /* The coordinator counts tickets from 1 unless it is told of others, and so must the page. */
    if (worker->last_ticket == 0)
        page_restart(worker->page);
    atomic_store(&worker->page->ready, 1);
    tell_ready(worker);
}

static void worker_lost(void *arg, const char *reason)
{
    struct worker *worker = arg;
    log_info("session lost: %s", reason);
    if (worker->draining)
        tell_ready(worker);
}

static void worker_closed(void *arg)
{
    tell_ready(arg);
}

static void worker_failed(void *arg, int status, const char *reason)
{
    give_up(arg, status, reason);
}

const struct link_events worker_link_events = {.open = worker_open,
                                               .message = worker_message,
                                               .lost = worker_lost,
                                               .closed = worker_closed,
                                               .failed = worker_failed};
