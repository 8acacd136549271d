/*
 * A task's life: made by SUBMIT or by a worker's claim, given exactly one outcome, kept until its client has that, then
 * freed. Everything that ends a task goes through finish() here, and every failed attempt through
 * task_attempt_failed(), where it is decided whether the task runs again.
 */
#include "server/state.h"

#include <assert.h>
#include <stdio.h>

struct task *task_create(struct coordinator *coordinator, struct client_record *client, uint64_t number,
                         struct bytes args)
{
    struct task *task = memory_alloc(sizeof *task + args.length);
    if (!task)
        return NULL;
    *task = (struct task){.client = client, .number = number, .length = (uint32_t)args.length, .state = TASK_NEW};
    if (args.length)
        memcpy(task->args, args.data, args.length);
    coordinator->bytes += args.length;
    return task;
}

bool tasks_have_room(const struct coordinator *coordinator, size_t more)
{
    return coordinator->bytes + coordinator->definition_bytes + coordinator->tasks * TASK_COST_BYTES +
               registry_bytes(coordinator->registry) + more <=
           coordinator->config.total_bytes;
}

bool payload_fits(const struct coordinator *coordinator, size_t length)
{
    size_t limit = coordinator->config.payload_limit;
    return limit == 0 || length + MESSAGE_OVERHEAD <= limit;
}

struct bytes text_cut(const struct coordinator *coordinator, struct bytes text, size_t most)
{
    size_t part = coordinator->config.payload_limit / 4;
    if (part > 0 && part < most)
        most = part;
    if (text.length <= most)
        return text;
    while (most > 0 && (((const unsigned char *)text.data)[most] & 0xc0) == 0x80)
        most--; /* not within a character */
    return (struct bytes){text.data, most};
}

const char *task_function_name(const struct task *task)
{
    return task->queue ? task->queue->lane->function->name : "";
}

bool failure_valid(const struct message_failure *failure)
{
    return failure->status != 0 && failure->status <= 255 && failure->encoding <= 0xf;
}

void task_discard(struct coordinator *coordinator, uint64_t encoding, struct bytes value)
{
    if ((encoding & ENCODING_SEGMENT) && coordinator->discard)
        coordinator->discard(coordinator->discard_arg, value);
}

/* --- lists -------------------------------------------------------------------------------------------------------- */

void parked_add(struct coordinator *coordinator, struct task *task)
{
    task->state = TASK_PARKED;
    task->next = NULL;
    task->previous = coordinator->parked_last;
    if (coordinator->parked_last)
        coordinator->parked_last->next = task;
    else
        coordinator->parked_first = task;
    coordinator->parked_last = task;
    coordinator->parked++;
}

void parked_remove(struct coordinator *coordinator, struct task *task)
{
    if (task->previous)
        task->previous->next = task->next;
    else
        coordinator->parked_first = task->next;
    if (task->next)
        task->next->previous = task->previous;
    else
        coordinator->parked_last = task->previous;
    task->previous = task->next = NULL;
    coordinator->parked--;
}

/* Out of the queue or the parked list; a worker's list is left alone. */
static void leave_waiting(struct coordinator *coordinator, struct task *task)
{
    if (task->state == TASK_QUEUED)
        lane_queue_remove(coordinator, task);
    else if (task->state == TASK_PARKED)
        parked_remove(coordinator, task);
}

/* It has its outcome, or nobody wants one: it does not count against its client's window any more. */
static void leave_queue(struct coordinator *coordinator, struct task *task)
{
    struct lane_queue *queue = task->queue;
    if (!queue)
        return;
    task->queue = NULL;
    task->client->open--;
    task->client->bytes -= task->length;
    queue->tasks--;
    lane_queue_release(coordinator, queue);
}

/* Its client does not know it any more. */
static void leave_client(struct coordinator *coordinator, struct task *task)
{
    struct client_record *client = task->client;
    if (!client)
        return;
    if (!task->queue && task->state != TASK_FINISHED) {
        client->claims--;
        coordinator->claims--;
    }
    leave_queue(coordinator, task);
    numbers_remove(&client->numbers, task);
    task->client = NULL;
    coordinator->tasks--;
}

static void release(struct coordinator *coordinator, struct task *task)
{
    if (task->state == TASK_ASSIGNED && task->stored) {
        coordinator->bytes -= task->stored->length;
        memory_free(task->stored);
    }
    coordinator->bytes -= task->length;
    memory_free(task);
}

void task_destroy(struct coordinator *coordinator, struct task *task)
{
    leave_waiting(coordinator, task);
    if (task->worker)
        worker_record_unlink(coordinator, task);
    leave_client(coordinator, task);
    release(coordinator, task);
}

void task_enqueue(struct coordinator *coordinator, struct task *task)
{
    assert(!task->worker && task->queue);
    task->state = TASK_QUEUED;
    if (task->arrival == 0)
        task->arrival = ++coordinator->arrivals;
    lane_queue_insert(coordinator, task);
}

/* --- outcomes ----------------------------------------------------------------------------------------------------- */

/* The message with the outcome has been sent (or could not be: the hub closes the client, and nothing is ever
 * acknowledged). */
static void finish(struct coordinator *coordinator, struct task *task, bool sent)
{
    struct client_record *client = task->client;
    leave_waiting(coordinator, task);
    if (task->worker)
        worker_record_close(coordinator, task);
    leave_queue(coordinator, task);
    task->state = TASK_FINISHED;
    task->ordinal = sent ? client->peer->sent : UINT64_MAX;
    task->delivery_next = NULL;
    if (client->delivery_last)
        client->delivery_last->delivery_next = task;
    else
        client->delivery_first = task;
    client->delivery_last = task;
    rate_add(&coordinator->rate, coordinator->now_ns);
    if (client->peer->backlog_bytes > coordinator->config.peer_backlog_bytes)
        client_record_pause(coordinator, client, true);
}

/* A value that the worker could send and its client cannot be sent. */
static void fail_too_large(struct coordinator *coordinator, struct task *task, const struct message_result *result)
{
    char text[160];
    snprintf(text, sizeof text,
             "the result has %zu bytes, and %zu can be passed on: return less, or raise the limit of payloads",
             result->value.length, coordinator->config.payload_limit - MESSAGE_OVERHEAD);
    task_fail(coordinator, task,
              &(struct failure){
                  .status = MUSTER_ELIMIT, .message = bytes_string(text), .worker = task->worker, .exit_status = -1});
}

void task_succeed(struct coordinator *coordinator, struct task *task, const struct message_result *result)
{
    if (!payload_fits(coordinator, result->value.length)) {
        fail_too_large(coordinator, task, result);
        return;
    }
    struct message message = {.type = MESSAGE_DONE};
    message.done = (struct message_done){
        .number = task->number, .run_us = result->run_us, .encoding = result->encoding, .value = result->value};
    struct peer *peer = task->client->peer;
    int status = peer->send(peer, &message);
    coordinator->totals.succeeded++;
    task->client->succeeded++;
    task->marks |= TASK_SUCCEEDED;
    finish(coordinator, task, status == 0);
}

static void count_failure(struct coordinator *coordinator, int status)
{
    struct coordinator_counts *totals = &coordinator->totals;
    switch (status) {
    case MUSTER_ECANCELED: totals->cancelled++; break;
    case MUSTER_ETIMEDOUT: totals->timed_out++; break;
    case MUSTER_ELOST: totals->lost++; break;
    default: totals->failed++; break;
    }
}

/* A value that came with an error, if its client can be sent it. If not, the sentence says so: it then stands in *made,
 * which is to be freed. */
static struct bytes failed_value(const struct coordinator *coordinator, const struct failure *failure,
                                 struct bytes *sentence, struct buffer *made)
{
    size_t limit = coordinator->config.payload_limit;
    char text[160];
    if (failure_value_fits(failure->value.length, limit))
        return failure->value;
    int length = snprintf(text, sizeof text, FAILURE_VALUE_LEFT_OUT, failure->value.length, failure_value_limit(limit));
    if (buffer_append(made, sentence->data, sentence->length) == 0 && buffer_append(made, text, (size_t)length) == 0)
        *sentence = bytes_of(made);
    return (struct bytes){0};
}

void task_fail(struct coordinator *coordinator, struct task *task, const struct failure *failure)
{
    const struct worker_record *worker = failure->worker;
    struct buffer made = {0};
    struct bytes sentence = text_cut(coordinator, failure->message, SENTENCE_LIMIT);
    struct bytes value = failed_value(coordinator, failure, &sentence, &made);
    struct message message = {.type = MESSAGE_FAILED};
    message.failed = (struct message_failed){
        .number = task->number,
        .status = (uint64_t)-failure->status,
        .kind = text_cut(coordinator, failure->kind, NAME_LIMIT),
        .message = sentence,
        .traceback = text_cut(coordinator, failure->traceback, TRACEBACK_LIMIT),
        .worker = bytes_string(worker ? worker->name : ""),
        .host = bytes_string(worker ? worker->host : ""),
        .pid = worker ? worker->pid : 0,
        .signal = failure->signal,
        .exit_status = failure->exit_status,
        .item = failure->item,
        .encoding = value.length > 0 ? failure->encoding : 0,
        .value = value,
    };
    struct peer *peer = task->client->peer;
    int status = peer->send(peer, &message);
    buffer_free(&made);
    count_failure(coordinator, failure->status);
    task->client->failed++;
    finish(coordinator, task, status == 0);
}

void task_refuse(struct coordinator *coordinator, struct client_record *client, uint64_t number, int status,
                 const char *text)
{
    count_failure(coordinator, status);
    client->failed++;
    struct message message = {.type = MESSAGE_FAILED};
    message.failed.number = number;
    message.failed.status = (uint64_t)-status;
    message.failed.message = bytes_string(text);
    message.failed.exit_status = -1;
    client->peer->send(client->peer, &message);
}

/* A cancel or a time limit decides what the end of an attempt means. */
static void decide_status(const struct task *task, struct failure *failure, char *text, size_t size)
{
    if (task->marks & TASK_CANCELLED) {
        if (failure->status == MUSTER_ECANCELED)
            return;
        failure->status = MUSTER_ECANCELED;
        snprintf(text, size, "the task was cancelled");
    } else if (task->marks & TASK_OVERDUE) {
        failure->status = MUSTER_ETIMEDOUT;
        snprintf(text, size, "\"%s\" (task %llu) ran longer than its time limit of %.3f s on worker \"%s\"",
                 task_function_name(task), (unsigned long long)task->number, task->time_limit_ms / 1e3,
                 failure->worker ? failure->worker->name : "");
    } else {
        return;
    }
    failure->message = bytes_string(text);
    failure->kind = failure->traceback = failure->value = (struct bytes){0};
    failure->encoding = 0;
}

/* The attempt is over and another may follow. What a worker claimed may have been run again already, by a worker
 * that has not come back: while it may, the task waits. */
static void run_again(struct coordinator *coordinator, struct task *task)
{
    bool wait = (task->marks & TASK_CLAIMED) && rejoining(coordinator, NULL);
    leave_waiting(coordinator, task);
    if (task->worker)
        worker_record_unlink(coordinator, task);
    task->marks = 0;
    if (wait)
        parked_add(coordinator, task);
    else
        task_enqueue(coordinator, task);
}

static bool over_limit(const struct task *task, uint64_t run_us)
{
    return task->time_limit_ms && run_us >= task->time_limit_ms * UINT64_C(1000);
}

void task_attempt_failed(struct coordinator *coordinator, struct task *task, struct failure failure)
{
    char text[512];
    if (!task->client) {
        task_destroy(coordinator, task);
        return;
    }
    decide_status(task, &failure, text, sizeof text);
    if (!task->queue) {
        struct message message = {.type = MESSAGE_FAILURE};
        message.failure.status = (uint64_t)-failure.status;
        message.failure.message = failure.message;
        message.failure.item = failure.item;
        if (claim_store(coordinator, task, &message) != 0)
            task_destroy(coordinator, task);
        return;
    }
    bool again = task->retries > 0 && !(task->marks & TASK_CANCELLED) && failure.status != MUSTER_ECANCELED &&
                 (failure.status == MUSTER_ELOST || !(task->flags & TASK_RETRY_LOST_ONLY));
    if (!again) {
        task_fail(coordinator, task, &failure);
        return;
    }
    task->retries--;
    coordinator->totals.retried++;
    run_again(coordinator, task);
}

/* Keeps an outcome until its client comes. */
static void store_outcome(struct coordinator *coordinator, struct task *task, const struct message *message)
{
    int status = claim_store(coordinator, task, message);
    if (status == 0)
        return;
    if (message->type == MESSAGE_RESULT)
        task_discard(coordinator, message->result.encoding, message->result.value);
    task_attempt_failed(coordinator, task,
                        (struct failure){.status = status,
                                         .message = bytes_string("the coordinator had no room for the outcome"),
                                         .worker = task->worker,
                                         .exit_status = -1});
}

void task_outcome(struct coordinator *coordinator, struct task *task, const struct message *message)
{
    bool value = message->type == MESSAGE_RESULT;
    const struct message_failure *told = &message->failure;
    uint64_t run_us = value ? message->result.run_us : told->run_us;
    bool stopped = !value && told->status == (uint64_t)-MUSTER_ECANCELED;
    if (task->queue && !stopped)
        lane_ran(coordinator, task->queue->lane, run_us, !value);
    if (task->client && !task->queue) {
        store_outcome(coordinator, task, message);
        return;
    }
    if (!stopped && !over_limit(task, run_us))
        task->marks &= (uint16_t)~TASK_OVERDUE; /* it ended in time, and the word of it took long */
    if (value && task->client && !(task->marks & TASK_OVERDUE)) {
        task_succeed(coordinator, task, &message->result);
        return;
    }
    struct failure failure = {.worker = task->worker, .exit_status = -1};
    if (value) {
        task_discard(coordinator, message->result.encoding, message->result.value);
    } else {
        failure.status = -(int)told->status;
        failure.kind = told->kind;
        failure.message = told->message;
        failure.traceback = told->traceback;
        failure.item = told->item;
        failure.encoding = told->encoding;
        failure.value = told->value;
    }
    task_attempt_failed(coordinator, task, failure);
}

void task_delivered(struct coordinator *coordinator, struct client_record *client, uint64_t ordinal)
{
    struct task *task;
    while ((task = client->delivery_first) && task->ordinal <= ordinal) {
        client->delivery_first = task->delivery_next;
        if (!client->delivery_first)
            client->delivery_last = NULL;
        task_destroy(coordinator, task);
    }
}

/* --- ending before the end ---------------------------------------------------------------------------------------- */

void task_stop(struct coordinator *coordinator, struct task *task)
{
    struct worker_record *worker = task->worker;
    if ((task->marks & TASK_STOPPED) || !worker->peer)
        return;
    task->marks |= TASK_STOPPED;
    struct message message = {.type = MESSAGE_STOP};
    message.stop.ticket = task->ticket;
    message.stop.status =
        (uint64_t) -
        ((task->marks & (TASK_OVERDUE | TASK_CANCELLED)) == TASK_OVERDUE ? MUSTER_ETIMEDOUT : MUSTER_ECANCELED);
    worker_record_send(coordinator, worker, &message);
    if (worker->head != task)
        return;
    /* It may have to be killed: nothing else should be waiting there by then. */
    worker->stopped_ns = coordinator->now_ns;
    for (struct task *other = task->next; other; other = other->next)
        worker_record_recall(coordinator, other);
    worker_record_timer(coordinator, worker);
    worker_record_changed(coordinator, worker);
}

/* A parked task may run at a worker that has not come back: the cancel waits for its claim, or the end of the window.
 */
void task_cancel(struct coordinator *coordinator, struct task *task)
{
    if (task->state == TASK_QUEUED) {
        task_fail(coordinator, task,
                  &(struct failure){.status = MUSTER_ECANCELED,
                                    .message = bytes_string("the task was cancelled before it started"),
                                    .exit_status = -1});
    } else if (task->state != TASK_FINISHED && task->queue) {
        task->marks |= TASK_CANCELLED;
        if (task->state == TASK_ASSIGNED)
            task_stop(coordinator, task);
    }
}

void task_abandon(struct coordinator *coordinator, struct task *task)
{
    if (task->state != TASK_FINISHED) {
        coordinator->totals.cancelled++;
        task_discard(coordinator, task->encoding, (struct bytes){task->args, task->length});
    }
    if (task->state != TASK_ASSIGNED || task->stored) {
        if (task->state == TASK_ASSIGNED)
            claim_discard(coordinator, task);
        task_destroy(coordinator, task);
        return;
    }
    leave_client(coordinator, task);
    task_stop(coordinator, task);
}
