/*
 * Workers as the coordinator sees them. A worker's list holds, by ticket, the tasks that it has been given and that are
 * not settled: those without an outcome, and those whose outcome its client has not acknowledged. The first without an
 * outcome is the head: the one that runs, since a worker runs its tasks in the order of their tickets.
 *
 * A record outlives its session: until its supervisor says how the worker ended (or the worker comes back, or both
 * have been silent for too long), and then until the outcomes that it left behind are settled.
 */
#include "server/state.h"

#include <assert.h>
#include <stdio.h>

struct worker_record *worker_record_find(struct coordinator *coordinator, uint64_t identity)
{
    struct worker_record *worker;
    HASH_FIND_U64(coordinator->workers, identity, worker);
    return worker;
}

bool worker_record_timer_before(const void *a, const void *b)
{
    const struct worker_record *x = a, *y = b;
    return x->deadline_ns != y->deadline_ns ? x->deadline_ns < y->deadline_ns : x->identity < y->identity;
}

struct worker_record *worker_record_create(struct coordinator *coordinator, uint64_t identity, uint64_t group)
{
    size_t workers = HASH_COUNT(coordinator->workers);
    if (heap_reserve(&coordinator->timers, workers + 1 - coordinator->timers.count) != 0)
        return NULL;
    struct worker_record *worker = memory_zero(sizeof *worker);
    if (!worker)
        return NULL;
    worker->identity = identity;
    worker->group = group;
    worker->deadline_ns = NEVER_NS;
    worker->since_ns = coordinator->now_ns;
    worker->name = bytes_dup_string(bytes_string(""));
    worker->host = bytes_dup_string(bytes_string(""));
    if (worker->name && worker->host && HASH_ADD_U64(coordinator->workers, identity, worker))
        return worker;
    memory_free(worker->name);
    memory_free(worker->host);
    memory_free(worker);
    return NULL;
}

void worker_record_free(struct coordinator *coordinator, struct worker_record *worker)
{
    assert(!worker->first && !worker->peer && !worker->class && !worker->changed);
    heap_remove(&coordinator->timers, worker);
    HASH_DEL(coordinator->workers, worker);
    memory_free(worker->name);
    memory_free(worker->host);
    memory_free(worker);
}

void worker_record_changed(struct coordinator *coordinator, struct worker_record *worker)
{
    if (worker->changed)
        return;
    worker->changed = true;
    worker->changed_next = coordinator->changed;
    coordinator->changed = worker;
}

void worker_record_send(struct coordinator *coordinator, struct worker_record *worker, const struct message *message)
{
    (void)coordinator;
    if (worker->peer && worker->peer->send(worker->peer, message) != 0)
        worker->blocked = true;
}

void worker_record_loaded(struct coordinator *coordinator, struct worker_record *worker, bool loaded)
{
    struct class *class = worker->class;
    if (worker->loaded == loaded)
        return;
    worker->loaded = loaded;
    if (loaded) {
        coordinator->loaded++;
        worker->previous_loaded = NULL;
        worker->next_loaded = class->loaded;
        if (class->loaded)
            class->loaded->previous_loaded = worker;
        class->loaded = worker;
        return;
    }
    coordinator->loaded--;
    if (worker->previous_loaded)
        worker->previous_loaded->next_loaded = worker->next_loaded;
    else
        class->loaded = worker->next_loaded;
    if (worker->next_loaded)
        worker->next_loaded->previous_loaded = worker->previous_loaded;
    worker->previous_loaded = worker->next_loaded = NULL;
}

/* --- its tasks ---------------------------------------------------------------------------------------------------- */

static void unmark_recalled(struct coordinator *coordinator, struct task *task)
{
    if (!(task->marks & TASK_RECALLED))
        return;
    task->marks &= (uint16_t)~TASK_RECALLED;
    task->worker->recalled--;
    task->worker->load_ns += task->estimate_ns;
    coordinator->recalled--;
}

static void unmark_asked(struct coordinator *coordinator, struct task *task)
{
    unmark_recalled(coordinator, task);
    if (task->marks & TASK_ASKED)
        task->worker->asked--;
    task->marks &= (uint16_t)~TASK_ASKED;
}

static void head_is(struct coordinator *coordinator, struct worker_record *worker, struct task *task)
{
    worker->head = task;
    worker->head_ns = coordinator->now_ns;
    if (task) {
        unmark_recalled(coordinator, task);
        worker->started_ns = worker->stopped_ns = coordinator->now_ns;
    }
    worker_record_timer(coordinator, worker);
}

void worker_record_hold(struct coordinator *coordinator, struct worker_record *worker, struct task *task)
{
    struct task *after = worker->last;
    while (after && after->ticket > task->ticket)
        after = after->previous;
    task->worker = worker;
    task->state = TASK_ASSIGNED;
    task->marks |= TASK_OPEN;
    task->previous = after;
    task->next = after ? after->next : worker->first;
    if (task->next)
        task->next->previous = task;
    else
        worker->last = task;
    if (after)
        after->next = task;
    else
        worker->first = task;
    worker->count++;
    worker->open++;
    worker->open_bytes += task->length;
    worker->load_ns += task->estimate_ns;
    coordinator->assigned++;
    if (!worker->head || task->ticket < worker->head->ticket)
        head_is(coordinator, worker, task);
}

void worker_record_close(struct coordinator *coordinator, struct task *task)
{
    struct worker_record *worker = task->worker;
    if (!(task->marks & TASK_OPEN))
        return;
    unmark_asked(coordinator, task);
    task->marks &= (uint16_t)~TASK_OPEN;
    worker->open--;
    worker->open_bytes -= task->length;
    worker->load_ns -= task->estimate_ns;
    coordinator->assigned--;
    if (worker->head == task) {
        struct task *next = task->next;
        while (next && !(next->marks & TASK_OPEN))
            next = next->next;
        head_is(coordinator, worker, next);
    }
    worker_record_changed(coordinator, worker);
}

void worker_record_unlink(struct coordinator *coordinator, struct task *task)
{
    struct worker_record *worker = task->worker;
    worker_record_close(coordinator, task);
    if (task->previous)
        task->previous->next = task->next;
    else
        worker->first = task->next;
    if (task->next)
        task->next->previous = task->previous;
    else
        worker->last = task->previous;
    task->previous = task->next = NULL;
    task->worker = NULL;
    worker->count--;
    worker->settled_count++;
    worker_record_changed(coordinator, worker);
}

void worker_record_replace(struct task *old, struct task *task)
{
    struct worker_record *worker = old->worker;
    task->previous = old->previous;
    task->next = old->next;
    task->worker = worker;
    task->ticket = old->ticket;
    task->marks = old->marks;
    task->state = TASK_ASSIGNED;
    task->estimate_ns = old->estimate_ns;
    *(old->previous ? &old->previous->next : &worker->first) = task;
    *(old->next ? &old->next->previous : &worker->last) = task;
    if (worker->head == old)
        worker->head = task;
    if (task->marks & TASK_OPEN)
        worker->open_bytes += task->length - (size_t)old->length;
    old->worker = NULL;
    old->marks = 0;
}

struct task *worker_record_task(const struct worker_record *worker, uint64_t ticket)
{
    struct task *task = worker->head;
    while (task && task->ticket < ticket)
        task = task->next;
    return task && task->ticket == ticket && (task->marks & TASK_OPEN) ? task : NULL;
}

uint64_t worker_record_settled(const struct worker_record *worker)
{
    return worker->first ? worker->first->ticket - 1 : worker->last_ticket;
}

void worker_record_recall(struct coordinator *coordinator, struct task *task)
{
    struct worker_record *worker = task->worker;
    if (!(task->marks & TASK_OPEN) || (task->marks & (TASK_ASKED | TASK_STOPPED)))
        return;
    task->marks |= TASK_ASKED;
    worker->asked++;
    if (task != worker->head) {
        task->marks |= TASK_RECALLED;
        worker->recalled++;
        worker->load_ns -= task->estimate_ns;
        coordinator->recalled++;
        coordinator->recalled_ns = coordinator->now_ns;
    }
    struct message message = {.type = MESSAGE_RECALL};
    message.recall.ticket = task->ticket;
    worker_record_send(coordinator, worker, &message);
    worker_record_changed(coordinator, worker);
}

/* It has certainly not been started: to the front of its lane, if it is still wanted. */
static void move_back(struct coordinator *coordinator, struct task *task, uint16_t marks)
{
    if (task->marks & TASK_CANCELLED) {
        task_attempt_failed(coordinator, task, (struct failure){.status = MUSTER_ETASK, .exit_status = -1});
        return;
    }
    if (!task->queue) { /* nobody wants it, or its client will submit it */
        task_destroy(coordinator, task);
        return;
    }
    worker_record_unlink(coordinator, task);
    task->marks = marks;
    coordinator->totals.moved++;
    task_enqueue(coordinator, task);
}

/* --- time --------------------------------------------------------------------------------------------------------- */

static uint64_t timer_of(const struct coordinator *coordinator, const struct worker_record *worker)
{
    const struct task *head = worker->head;
    if (!head || worker->exited || worker->lost)
        return NEVER_NS;
    if (!worker->peer)
        return worker->cut_off_ns + coordinator->config.heartbeat_ns;
    if (worker->killed)
        return worker->killed_ns + coordinator->config.heartbeat_ns;
    if (head->marks & TASK_STOPPED)
        return worker->stopped_ns + (head->grace_ms ? head->grace_ms : GRACE_DEFAULT_MS) * NS_PER_MS;
    if ((head->marks & TASK_STARTED) && head->time_limit_ms)
        return worker->started_ns + head->time_limit_ms * NS_PER_MS;
    return NEVER_NS;
}

void worker_record_timer(struct coordinator *coordinator, struct worker_record *worker)
{
    uint64_t deadline_ns = timer_of(coordinator, worker);
    if (deadline_ns == worker->deadline_ns)
        return;
    worker->deadline_ns = deadline_ns;
    if (deadline_ns == NEVER_NS) {
        heap_remove(&coordinator->timers, worker);
    } else if (heap_has(&coordinator->timers, worker)) {
        heap_update(&coordinator->timers, worker);
    } else {
        int status = heap_insert(&coordinator->timers, worker);
        assert(status == 0);
        (void)status;
    }
}

/* Asks the worker's supervisor to kill it; also when that comes back, for it may not have heard. */
void worker_record_kill(struct coordinator *coordinator, struct worker_record *worker)
{
    struct supervisor_record *supervisor = supervisor_record_find(coordinator, worker->group);
    if (!worker->killed)
        worker->killed_ns = coordinator->now_ns;
    worker->killed = true;
    if (!supervisor)
        return;
    struct message message = {.type = MESSAGE_KILL};
    message.kill.worker = worker->identity;
    message.kill.reason = bytes_string("it ignored the end of its task's time limit, or the cancel of its task");
    worker->kill_sent = supervisor->peer->send(supervisor->peer, &message) == 0;
}

/* Killed, and nobody says that it is dead: its task has its outcome without it. */
static void give_up_head(struct coordinator *coordinator, struct worker_record *worker)
{
    struct task *task = worker->head;
    char text[512];
    snprintf(text, sizeof text, "worker \"%s\" (host %s, pid %llu) could not be ended and still held %s%s (task %llu)",
             worker->name, worker->host, (unsigned long long)worker->pid, task->queue ? "" : "a task",
             task_function_name(task), (unsigned long long)task->number);
    worker_record_unlink(coordinator, task);
    if (!task->client) {
        task_destroy(coordinator, task);
        return;
    }
    task->retries = 0;
    if (!task->queue)
        task_destroy(coordinator, task);
    else
        task_attempt_failed(
            coordinator, task,
            (struct failure){
                .status = MUSTER_ELOST, .message = bytes_string(text), .worker = worker, .exit_status = -1});
}

void worker_record_timer_fired(struct coordinator *coordinator, struct worker_record *worker)
{
    struct task *head = worker->head;
    if (!worker->peer) {
        worker_record_lost(coordinator, worker);
    } else if (worker->killed) {
        give_up_head(coordinator, worker);
    } else if (head->marks & TASK_STOPPED) {
        worker_record_kill(coordinator, worker);
        if (!worker->kill_sent)
            give_up_head(coordinator, worker);
    } else {
        head->marks |= TASK_OVERDUE;
        task_stop(coordinator, head);
    }
    worker_record_timer(coordinator, worker);
}

/* --- coming and going --------------------------------------------------------------------------------------------- */

static int take_names(struct worker_record *worker, const struct peer *peer)
{
    char *name = bytes_dup_string(bytes_string(peer->name ? peer->name : ""));
    char *host = bytes_dup_string(bytes_string(peer->host ? peer->host : ""));
    if (!name || !host) {
        memory_free(name);
        memory_free(host);
        return error_memory();
    }
    memory_free(worker->name);
    memory_free(worker->host);
    worker->name = name;
    worker->host = host;
    worker->pid = peer->pid;
    return 0;
}

int worker_record_up(struct coordinator *coordinator, struct peer *peer)
{
    if (coordinator->worker_sessions >= coordinator->config.workers)
        return error_set(MUSTER_ELIMIT, "%zu workers are connected, and the limit is %zu", coordinator->worker_sessions,
                         coordinator->config.workers);
    struct worker_record *worker = worker_record_find(coordinator, peer->identity);
    if (worker && worker->exited)
        return error_set(MUSTER_ELIMIT, "the supervisor has reported this worker's end");
    if (worker && worker->peer) {
        worker->peer->state = NULL;
        worker_record_down(coordinator, worker, false, "another session of the same worker");
    }
    bool fresh = !worker;
    if (fresh)
        worker = worker_record_create(coordinator, peer->identity, peer->group);
    if (!worker)
        return error_memory();
    if (take_names(worker, peer) != 0) {
        if (fresh)
            worker_record_free(coordinator, worker);
        return MUSTER_ENOMEM;
    }
    worker->group = peer->group;
    worker->peer = peer;
    peer->state = worker;
    worker->lost = worker->draining = worker->dismissed = worker->blocked = worker->killed = worker->kill_sent = false;
    worker->returning = true;
    worker->settled_told = 0;
    worker->since_ns = coordinator->now_ns;
    for (struct task *task = worker->head; task; task = task->next)
        if (task->marks & TASK_OPEN)
            task->marks = (uint16_t)((task->marks & ~(TASK_STOPPED | TASK_STARTED)) | TASK_UNCLAIMED);
    coordinator->worker_sessions++;
    worker_record_timer(coordinator, worker);
    return 0;
}

void worker_record_down(struct coordinator *coordinator, struct worker_record *worker, bool goodbye, const char *reason)
{
    bool offered = worker->class != NULL;
    worker->peer = NULL;
    introductions_end(worker);
    worker->cut_off_ns = coordinator->now_ns;
    snprintf(worker->reason, sizeof worker->reason, "%s", reason ? reason : "");
    class_leave(coordinator, worker);
    coordinator->worker_sessions--;
    if (offered) {
        coordinator->connected_workers--;
        coordinator->tell_workers = true;
    }
    for (struct task *task = worker->head; task; task = task->next)
        if (task->marks & TASK_OPEN)
            unmark_asked(coordinator, task);
    worker_record_changed(coordinator, worker);
    if (worker->exited)
        return;
    /* Right after a restart the supervisor may not have come back yet. */
    bool told = supervisor_record_find(coordinator, worker->group) || rejoining(coordinator, NULL);
    if (!worker->head || goodbye || !told)
        worker_record_lost(coordinator, worker);
    else
        worker_record_timer(coordinator, worker);
}

void worker_record_ended(struct coordinator *coordinator, struct worker_record *worker, uint64_t started,
                         const struct failure *failure, const char *what_happened)
{
    struct task *next;
    for (struct task *task = worker->head; task; task = next) {
        next = task->next;
        if (!(task->marks & TASK_OPEN))
            continue;
        if (task->ticket > started) {
            move_back(coordinator, task, 0);
            continue;
        }
        char text[1024], item[48] = "";
        struct failure told = *failure;
        if (task->ticket != started)
            told.item = 0;
        else if (task->items > 0)
            snprintf(item, sizeof item, ", item %llu", (unsigned long long)told.item);
        snprintf(text, sizeof text, "worker \"%s\" (host %s, pid %llu) %s while it had \"%s\" (task %llu%s)%.*s",
                 worker->name, worker->host, (unsigned long long)worker->pid, what_happened, task_function_name(task),
                 (unsigned long long)task->number, item,
                 (int)(failure->message.length > 400 ? 400 : failure->message.length),
                 failure->message.length ? (const char *)failure->message.data : "");
        told.message = bytes_string(text);
        task_attempt_failed(coordinator, task, told);
    }
    worker_record_timer(coordinator, worker);
    worker_record_changed(coordinator, worker);
}

void worker_record_lost(struct coordinator *coordinator, struct worker_record *worker)
{
    worker->lost = true;
    char text[256];
    snprintf(text, sizeof text, "was cut off (%s)", worker->reason[0] ? worker->reason : "no answer");
    struct failure failure = {.status = MUSTER_ELOST, .worker = worker, .exit_status = -1};
    worker_record_ended(coordinator, worker, UINT64_MAX, &failure, text);
}

/* --- messages ----------------------------------------------------------------------------------------------------- */

/* What has come back without a claim never arrived there. */
static void requeue_unclaimed(struct coordinator *coordinator, struct worker_record *worker)
{
    struct task *next;
    for (struct task *task = worker->head; task; task = next) {
        next = task->next;
        if ((task->marks & (TASK_OPEN | TASK_UNCLAIMED)) == (TASK_OPEN | TASK_UNCLAIMED))
            move_back(coordinator, task, TASK_CLAIMABLE);
    }
}

static int take_offer(struct coordinator *coordinator, struct worker_record *worker, const struct message_offer *offer,
                      const char **why)
{
    struct bytes *names = memory_alloc((FUNCTIONS_LIMIT + LABELS_LIMIT) * sizeof *names);
    if (!names)
        return error_memory();
    struct bytes *labels = names + FUNCTIONS_LIMIT;
    int status = MUSTER_ELIMIT;
    *why = "OFFER has too many or too long names";
    int function_count = names_read(offer->functions, names, FUNCTIONS_LIMIT, false);
    int label_count = names_read(offer->labels, labels, LABELS_LIMIT, true);
    if (function_count < 0 || label_count < 0)
        goto end;
    status = MUSTER_ENOMEM;
    *why = "there is no memory for what the worker offers";
    struct class *class = class_use(coordinator, names, (size_t)function_count, labels, (size_t)label_count);
    if (!class)
        goto end;
    bool offered = worker->class != NULL;
    if (worker->class == class) {
        status = 0;
        goto end;
    }
    if (class_reserve(class) != 0) {
        class_release(coordinator, class);
        goto end;
    }
    if (!offered && coordinator->connected_workers++ == 0)
        lanes_workers_began(coordinator);
    class_leave(coordinator, worker);
    class_join(coordinator, class, worker);
    coordinator->tell_workers = true;
    requeue_unclaimed(coordinator, worker);
    worker->returning = false;
    worker_record_changed(coordinator, worker);
    status = 0;
end:
    memory_free(names);
    return status;
}

/* A late word about a task that has its outcome without this worker. */
static void take_stray(struct coordinator *coordinator, struct worker_record *worker, const struct message *message)
{
    if (worker->killed && !worker->kill_sent) {
        worker->killed = false; /* nobody could kill it, and it has ended its task by itself */
        worker_record_timer(coordinator, worker);
    }
    worker_record_changed(coordinator, worker);
    if (message->type != MESSAGE_RESULT)
        return;
    for (struct task *task = worker->first; task; task = task->next)
        if (task->ticket == message->result.ticket)
            return; /* said again: its client has it, or will */
    task_discard(coordinator, message->result.encoding, message->result.value);
}

static int take_outcome(struct coordinator *coordinator, struct worker_record *worker, const struct message *message,
                        const char **why)
{
    bool value = message->type == MESSAGE_RESULT;
    if (value && message->result.encoding > (ENCODING_SEGMENT | 0xf)) {
        *why = "RESULT has an unknown encoding";
        return MUSTER_EPROTOCOL;
    }
    if (!value && !failure_valid(&message->failure)) {
        *why = "FAILURE has a status that is none, or an unknown encoding";
        return MUSTER_EPROTOCOL;
    }
    uint64_t ticket = value ? message->result.ticket : message->failure.ticket;
    struct task *task = worker_record_task(worker, ticket);
    if (!task) {
        take_stray(coordinator, worker, message);
        return 0;
    }
    const struct message_failure *failure = &message->failure;
    worker->outcome_bytes +=
        64 + (value ? message->result.value.length : failure->traceback.length + failure->value.length);
    if (value)
        worker->done++;
    else
        worker->failed++;
    task_outcome(coordinator, task, message);
    return 0;
}

static void take_progress(struct coordinator *coordinator, struct worker_record *worker,
                          const struct message_task_progress *told)
{
    struct task *task = worker_record_task(worker, told->ticket);
    if (!task || !task->queue || !(task->flags & TASK_PROGRESS_WANTED) ||
        task->client->peer->backlog_bytes > coordinator->config.peer_backlog_bytes)
        return;
    struct message message = {.type = MESSAGE_PROGRESS};
    message.progress = (struct message_progress){.number = task->number,
                                                 .item = told->item,
                                                 .done = told->done,
                                                 .total = told->total,
                                                 .text = text_cut(coordinator, told->text, SENTENCE_LIMIT)};
    task->client->peer->send(task->client->peer, &message);
}

static void take_log(struct coordinator *coordinator, struct worker_record *worker, const struct message_task_log *told)
{
    struct task *task = worker_record_task(worker, told->ticket);
    if (!task || !task->queue || task->client->peer->backlog_bytes > coordinator->config.peer_backlog_bytes)
        return;
    struct message message = {.type = MESSAGE_LOG};
    message.log = (struct message_log){.number = task->number,
                                       .level = told->level,
                                       .worker = bytes_string(worker->name),
                                       .text = text_cut(coordinator, told->text, SENTENCE_LIMIT)};
    task->client->peer->send(task->client->peer, &message);
}

static void take_started(struct coordinator *coordinator, struct worker_record *worker, uint64_t ticket)
{
    struct task *task = worker_record_task(worker, ticket);
    if (!task || (task->marks & TASK_STARTED))
        return;
    task->marks |= TASK_STARTED;
    if (task != worker->head)
        return; /* its clock starts when those before it are out of the way */
    worker->started_ns = coordinator->now_ns;
    worker_record_timer(coordinator, worker);
}

static void take_draining(struct coordinator *coordinator, struct worker_record *worker)
{
    worker->draining = true;
    for (struct task *task = worker->head; task; task = task->next)
        worker_record_recall(coordinator, task);
    worker_record_changed(coordinator, worker);
}

/* The ticket that a message is about, or 0. */
static uint64_t ticket_of(const struct message *message)
{
    switch (message->type) {
    case MESSAGE_RESULT: return message->result.ticket;
    case MESSAGE_FAILURE: return message->failure.ticket;
    case MESSAGE_RETURNED: return message->returned.ticket;
    case MESSAGE_STARTED: return message->started.ticket;
    case MESSAGE_TASK_PROGRESS: return message->task_progress.ticket;
    case MESSAGE_TASK_LOG: return message->task_log.ticket;
    default: return 0;
    }
}

int worker_record_take(struct coordinator *coordinator, struct worker_record *worker, const struct message *message,
                       const char **why)
{
    struct task *task;
    if (worker->exited)
        return 0; /* said before it died; what matters has been salvaged */
    if (ticket_of(message) > worker->last_ticket) {
        *why = "a worker speaks of a ticket that it was never given";
        return MUSTER_EPROTOCOL;
    }
    switch (message->type) {
    case MESSAGE_OFFER: return take_offer(coordinator, worker, &message->offer, why);
    case MESSAGE_CLAIM: return claim_take(coordinator, worker, &message->claim, why);
    case MESSAGE_RESULT:
    case MESSAGE_FAILURE: return take_outcome(coordinator, worker, message, why);
    case MESSAGE_RETURNED:
        task = worker_record_task(worker, message->returned.ticket);
        if (task)
            move_back(coordinator, task, 0);
        return 0;
    case MESSAGE_STARTED: take_started(coordinator, worker, message->started.ticket); return 0;
    case MESSAGE_TASK_PROGRESS: take_progress(coordinator, worker, &message->task_progress); return 0;
    case MESSAGE_TASK_LOG: take_log(coordinator, worker, &message->task_log); return 0;
    case MESSAGE_DRAINING: take_draining(coordinator, worker); return 0;
    default: *why = "a worker does not send that message"; return MUSTER_EPROTOCOL;
    }
}
