/*
 * Coming back. After a restart of the coordinator its peers know more than it does: clients submit again what has no
 * outcome, workers claim what they hold, run or have finished, supervisors hand in what dead workers left. Here the two
 * sides of a task are joined by (client, number), whichever comes first.
 *
 * During the rejoin window a claim whose client has not submitted the task makes a task without queue; an outcome that
 * comes for it is stored. A task submitted again waits parked for its claim. When the window closes, parked tasks are
 * queued, and claims that nobody submitted are stopped and settled. A client that has come back gets a window of its
 * own, measured from its latest resubmission, so that a long list of them is not cut off in the middle.
 *
 * Outside the window a claim is of a task that has been given up: the worker is told to stop it, and its outcome is
 * dropped.
 */
#include "server/state.h"

#include <assert.h>
#include <stdio.h>

#define SHORT_BYTES 512 /* an encoded failure without much to say */

bool rejoining(const struct coordinator *coordinator, const struct client_record *client)
{
    return coordinator->rejoin_ns > coordinator->now_ns || (client && client->rejoin_ns > coordinator->now_ns);
}

/* 0, MUSTER_ELIMIT or MUSTER_ENOMEM. A short failure always has room: it is what takes the place of one that had none.
 */
int claim_store(struct coordinator *coordinator, struct task *task, const struct message *message)
{
    assert(!task->queue && !task->stored && task->state == TASK_ASSIGNED);
    struct buffer encoded = {0};
    if (message_encode(&encoded, message) != 0) {
        buffer_free(&encoded);
        return MUSTER_ENOMEM;
    }
    if (encoded.length > SHORT_BYTES && !tasks_have_room(coordinator, encoded.length)) {
        buffer_free(&encoded);
        return MUSTER_ELIMIT;
    }
    struct stored *stored = memory_alloc(sizeof *stored + encoded.length);
    if (stored) {
        stored->length = encoded.length;
        memcpy(stored->message, encoded.data, encoded.length);
        worker_record_close(coordinator, task);
        task->stored = stored;
        coordinator->bytes += stored->length;
    }
    buffer_free(&encoded);
    return stored ? 0 : MUSTER_ENOMEM;
}

static bool stored_message(const struct stored *stored, struct message *message)
{
    struct bytes input = {stored->message, stored->length};
    const char *why;
    return message_decode(&input, message, &why) == 0;
}

void claim_discard(struct coordinator *coordinator, const struct task *task)
{
    struct message message;
    if (task->stored && stored_message(task->stored, &message) && message.type == MESSAGE_RESULT)
        task_discard(coordinator, message.result.encoding, message.result.value);
}

/* A claim with an outcome already: of which type, or 0. */
static int stored_type(const struct task *task)
{
    struct message message;
    bool stored = task->state == TASK_ASSIGNED && task->stored;
    return stored && stored_message(task->stored, &message) ? (int)message.type : 0;
}

/* A task at `worker` that is known by what the worker says only. `client` NULL: nobody will want it. */
static struct task *claimed_task(struct coordinator *coordinator, struct worker_record *worker,
                                 struct client_record *client, uint64_t ticket, uint64_t number)
{
    struct task *task = task_create(coordinator, client, number, (struct bytes){0});
    if (!task)
        return NULL;
    if (client && numbers_add(&client->numbers, task) != 0) {
        memory_free(task);
        return NULL;
    }
    task->ticket = ticket;
    task->estimate_ns = HOLD_NS;
    task->marks = TASK_CLAIMED;
    if (client) {
        client->claims++;
        coordinator->claims++;
        coordinator->tasks++;
    }
    worker_record_hold(coordinator, worker, task);
    return task;
}

/* A submitted task that waits is at this worker. */
static void take_to_worker(struct coordinator *coordinator, struct worker_record *worker, struct task *task,
                           uint64_t ticket)
{
    if (task->state == TASK_PARKED)
        parked_remove(coordinator, task);
    else
        lane_queue_remove(coordinator, task);
    task->marks = (uint16_t)(TASK_CLAIMED | (task->marks & TASK_CANCELLED));
    task->ticket = ticket;
    task->estimate_ns = lane_estimate(task->queue->lane);
    worker_record_hold(coordinator, worker, task);
}

/* True if the task waits for somebody who has it. */
static bool can_be_claimed(const struct task *task)
{
    return task->state == TASK_PARKED || (task->state == TASK_QUEUED && (task->marks & TASK_CLAIMABLE));
}

static int make_claim(struct coordinator *coordinator, struct worker_record *worker, const struct message_claim *claim,
                      struct task **task)
{
    struct client_record *client = client_record_find(coordinator, claim->client);
    *task = client ? numbers_find(&client->numbers, claim->number) : NULL;
    if (*task && can_be_claimed(*task)) {
        take_to_worker(coordinator, worker, *task, claim->ticket);
        return 0;
    }
    if (*task && claim->state != CLAIM_FINISHED && stored_type(*task) == MESSAGE_FAILURE) {
        /* That attempt failed, and this is the one that followed. */
        task_destroy(coordinator, *task);
        *task = NULL;
    }
    bool wanted = !*task && rejoining(coordinator, client);
    if (wanted && !client) {
        client = client_record_create(coordinator, claim->client);
        if (!client)
            return error_memory();
    }
    *task = claimed_task(coordinator, worker, wanted ? client : NULL, claim->ticket, claim->number);
    return *task ? 0 : error_memory();
}

/* The task that the claim is of: one that this worker was given, one that waits for it, or a new one. */
static int claimed(struct coordinator *coordinator, struct worker_record *worker, const struct message_claim *claim,
                   struct task **task, const char **why)
{
    struct task *held = worker->last;
    while (held && held->ticket > claim->ticket)
        held = held->previous;
    bool given = held && held->ticket == claim->ticket;
    if (given && (held->number != claim->number || (held->client && held->client->identity != claim->client))) {
        *why = "a worker claims another task under a ticket that it was given";
        return MUSTER_EPROTOCOL;
    }
    *task = held;
    if (given && ((held->marks & TASK_OPEN) || claim->state == CLAIM_FINISHED || held->state != TASK_FINISHED))
        return 0;
    if (given) /* it was given up and has its outcome, and still runs */
        worker_record_unlink(coordinator, held);
    *why = "a worker claims more tasks than it may hold";
    if (worker->count >= CLAIMS_LIMIT)
        return MUSTER_ELIMIT;
    *why = "there is no memory for a claim";
    return make_claim(coordinator, worker, claim, task);
}

int claim_take(struct coordinator *coordinator, struct worker_record *worker, const struct message_claim *claim,
               const char **why)
{
    struct task *task;
    *why = "CLAIM makes no sense";
    if (claim->ticket == 0 || claim->ticket > TICKET_LIMIT || claim->state > CLAIM_FINISHED || claim->client == 0)
        return MUSTER_EPROTOCOL;
    int status = claimed(coordinator, worker, claim, &task, why);
    if (status != 0)
        return status;
    if (claim->ticket > worker->last_ticket)
        worker->last_ticket = claim->ticket;
    if (claim->ticket > coordinator->tickets)
        coordinator->tickets = claim->ticket;
    worker_record_changed(coordinator, worker);
    if (!(task->marks & TASK_OPEN))
        return 0;
    task->marks &= (uint16_t)~TASK_UNCLAIMED;
    if (claim->state == CLAIM_RUNNING)
        task->marks |= TASK_STARTED;
    worker_record_timer(coordinator, worker);
    if (claim->state != CLAIM_FINISHED && (!task->client || (task->marks & (TASK_CANCELLED | TASK_OVERDUE))))
        task_stop(coordinator, task);
    return 0;
}

void claim_join(struct coordinator *coordinator, struct task *claimed, struct task *task)
{
    struct client_record *client = claimed->client;
    struct stored *stored = claimed->stored;
    worker_record_replace(claimed, task);
    numbers_replace(claimed, task);
    client->claims--;
    coordinator->claims--;
    memory_free(claimed);
    worker_record_timer(coordinator, task->worker);
    if (!stored)
        return;
    struct message message;
    if (stored_message(stored, &message))
        task_outcome(coordinator, task, &message);
    coordinator->bytes -= stored->length;
    memory_free(stored);
}

/* Finds the task that a dead worker had and that waits here, or makes one if its client may still submit it. */
static int at_dead_worker(struct coordinator *coordinator, struct worker_record *worker, uint64_t client_identity,
                          uint64_t number, uint64_t ticket, struct task **task)
{
    *task = NULL;
    struct client_record *client = client_record_find(coordinator, client_identity);
    struct task *known = client ? numbers_find(&client->numbers, number) : NULL;
    if (known ? !can_be_claimed(known) : !rejoining(coordinator, client))
        return 0;
    for (struct task *other = worker->last; other; other = other->previous)
        if (other->ticket == ticket)
            return 0;
    if (worker->count >= CLAIMS_LIMIT)
        return error_set(MUSTER_ELIMIT, "a dead worker left more outcomes than it may have held");
    if (known) {
        take_to_worker(coordinator, worker, known, ticket);
    } else {
        if (!client)
            client = client_record_create(coordinator, client_identity);
        known = client ? claimed_task(coordinator, worker, client, ticket, number) : NULL;
        if (!known)
            return error_memory();
    }
    if (ticket > worker->last_ticket)
        worker->last_ticket = ticket;
    *task = known;
    return 0;
}

int claim_salvaged(struct coordinator *coordinator, struct worker_record *worker, const struct message_salvage *told,
                   const struct message *message)
{
    bool value = message->type == MESSAGE_RESULT;
    struct task *task;
    int status = at_dead_worker(coordinator, worker, told->client, told->number,
                                value ? message->result.ticket : message->failure.ticket, &task);
    if (status != 0)
        return status;
    if (task) {
        task_outcome(coordinator, task, message);
        return 0;
    }
    /* Known already, or given up. A value that the client has been sent, or may be, is its own to remove. */
    struct client_record *client = client_record_find(coordinator, told->client);
    struct task *known = client ? numbers_find(&client->numbers, told->number) : NULL;
    if (value && !(known && ((known->marks & TASK_SUCCEEDED) || stored_type(known) == MESSAGE_RESULT)))
        task_discard(coordinator, message->result.encoding, message->result.value);
    return 0;
}

int claim_lost(struct coordinator *coordinator, struct worker_record *worker, const struct message_exit *told,
               const struct failure *failure, const char *what_happened)
{
    if (told->client == 0 || told->started == 0)
        return 0;
    struct task *task;
    int status = at_dead_worker(coordinator, worker, told->client, told->number, told->started, &task);
    if (status == 0 && task)
        worker_record_ended(coordinator, worker, told->started, failure, what_happened);
    return status;
}

/* --- the window's end --------------------------------------------------------------------------------------------- */

uint64_t claims_deadline(const struct coordinator *coordinator)
{
    if (coordinator->rejoin_ns)
        return coordinator->rejoin_ns;
    uint64_t deadline = NEVER_NS;
    if (coordinator->claims == 0)
        return deadline;
    for (const struct client_record *client = coordinator->clients; client; client = client->hh.next)
        if (client->claims)
            deadline = deadline_min(deadline, client->rejoin_ns);
    return deadline;
}

static void drop_claims(struct coordinator *coordinator, struct client_record *client)
{
    struct number_page *page, *next;
    HASH_ITER (hh, client->numbers.pages, page, next) {
        for (size_t i = 0; i < PAGE_NUMBERS && client->claims > 0; i++) {
            struct task *task = page->tasks[i];
            bool last = page->count == 1;
            if (task && task->state == TASK_ASSIGNED && !task->queue)
                task_abandon(coordinator, task);
            if (task && last)
                break; /* the page may be gone */
        }
    }
}

static void close_window(struct coordinator *coordinator)
{
    coordinator->rejoin_ns = 0;
    struct task *task;
    while ((task = coordinator->parked_first)) {
        bool cancelled = task->marks & TASK_CANCELLED;
        parked_remove(coordinator, task);
        task->marks = TASK_CLAIMABLE;
        task_enqueue(coordinator, task);
        if (cancelled)
            task_cancel(coordinator, task);
    }
}

void claims_tick(struct coordinator *coordinator)
{
    bool closing = coordinator->rejoin_ns && coordinator->rejoin_ns <= coordinator->now_ns;
    if (closing)
        close_window(coordinator);
    if (coordinator->rejoin_ns || (!closing && coordinator->claims == 0))
        return;
    struct client_record *client, *next;
    HASH_ITER (hh, coordinator->clients, client, next) {
        if (client->rejoin_ns > coordinator->now_ns)
            continue;
        if (!client->peer)
            client_record_free(coordinator, client);
        else if (client->claims)
            drop_claims(coordinator, client);
    }
}
