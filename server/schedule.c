/*
 * The flush: what is decided once per batch of events. Tasks go to workers with room, idle workers first; settled
 * tickets are told; work is called back from the loaded for the idle; records that nobody needs are freed.
 *
 * A worker is given work ahead of time as long as what it has not started is estimated at less than a millisecond, so
 * that short tasks flow in large batches while a long one never waits behind more than one other. What was estimated
 * wrongly is mended by recall: when a worker has nothing to run and no lane has anything for it, the later half of what
 * the most loaded worker has not started is called back. A task that comes back goes to an idle worker and starts there
 * at once, so tasks do not wander.
 */
#include "server/state.h"

#include <assert.h>

/* --- statistics --------------------------------------------------------------------------------------------------- */

static void rate_advance(struct rate *rate, uint64_t second)
{
    if (second - rate->second > RATE_SECONDS)
        memset(rate->counts, 0, sizeof rate->counts);
    else
        while (rate->second < second)
            rate->counts[++rate->second % (RATE_SECONDS + 1)] = 0;
    rate->second = second;
}

void rate_add(struct rate *rate, uint64_t now_ns)
{
    uint64_t second = now_ns / NS_PER_S;
    if (second != rate->second)
        rate_advance(rate, second);
    rate->counts[second % (RATE_SECONDS + 1)]++;
}

/* Over the last whole seconds; the one that runs is left out. */
double rate_per_s(const struct rate *rate, uint64_t now_ns)
{
    struct rate now = *rate;
    uint64_t second = now_ns / NS_PER_S, sum = 0;
    if (second != now.second)
        rate_advance(&now, second);
    for (size_t i = 0; i <= RATE_SECONDS; i++)
        if (i != second % (RATE_SECONDS + 1))
            sum += now.counts[i];
    return (double)sum / RATE_SECONDS;
}

static void runs_add(struct runs *runs, uint64_t run_ns, bool failed)
{
    if (runs->count++ == 0)
        runs->mean_ns = run_ns;
    else if (run_ns >= runs->mean_ns)
        runs->mean_ns += (run_ns - runs->mean_ns + 7) / 8;
    else
        runs->mean_ns -= (runs->mean_ns - run_ns + 7) / 8;
    runs->last_ns = run_ns;
    runs->failures += failed;
}

void lane_ran(struct coordinator *coordinator, struct lane *lane, uint64_t run_us, bool failed)
{
    uint64_t run_ns = run_us > UINT64_MAX / 2000 ? UINT64_MAX / 2 : run_us * NS_PER_US;
    runs_add(&lane->function->runs, run_ns, failed);
    if (lane->definition)
        runs_add(&lane->runs, run_ns, failed);
    rate_add(&lane->function->rate, coordinator->now_ns);
}

/* --- workers ------------------------------------------------------------------------------------------------------ */

static bool usable(const struct worker_record *worker)
{
    return worker->peer && worker->class && !worker->draining && !worker->blocked && !worker->killed;
}

static bool has_room(const struct worker_record *worker)
{
    if (!usable(worker))
        return false;
    if (worker->open == 0)
        return true;
    if (worker->peer->backlog_bytes > WORKER_BACKLOG_BYTES || (worker->head->marks & TASK_STOPPED) || worker->asked > 0)
        return false;
    if (worker->open < 2)
        return true;
    return worker->open < HOLD_TASKS && worker->open_bytes < HOLD_BYTES && !worker->laden &&
           worker->load_ns < HOLD_NS + worker->head->estimate_ns;
}

/* Brings what its class knows of it up to date. */
static void look_at(struct coordinator *coordinator, struct worker_record *worker)
{
    struct class *class = worker->class;
    if (!class)
        return;
    worker->laden = !introductions_trim(coordinator, worker);
    worker->has_room = has_room(worker);
    if (!worker->has_room) {
        heap_remove(&class->room, worker);
    } else if (heap_has(&class->room, worker)) {
        heap_update(&class->room, worker);
    } else {
        int status = heap_insert(&class->room, worker);
        assert(status == 0);
        (void)status;
    }
    bool idle = worker->open == 0 && usable(worker);
    if (idle != worker->idle)
        class->idle += idle ? 1 : (size_t)-1;
    worker->idle = idle;
    worker_record_loaded(coordinator, worker, worker->open - worker->recalled >= 2 && !worker->blocked);
    if (worker->has_room)
        class_ready(coordinator, class);
}

static void settle(struct coordinator *coordinator, struct worker_record *worker)
{
    uint64_t ticket = worker_record_settled(worker);
    if (ticket <= worker->settled_told)
        return;
    struct message message = {.type = MESSAGE_SETTLED};
    message.settled.ticket = ticket;
    worker_record_send(coordinator, worker, &message);
    worker->settled_told = ticket;
    worker->settled_count = worker->outcome_bytes = 0;
}

/* Tells it what is settled if that is worth a message by now. */
static void settle_if_due(struct coordinator *coordinator, struct worker_record *worker)
{
    if (!worker->peer || worker->returning || worker_record_settled(worker) <= worker->settled_told)
        return;
    if (worker->settled_count >= SETTLE_TASKS || worker->outcome_bytes >= SETTLE_BYTES || worker->draining)
        settle(coordinator, worker);
    else if (coordinator->settle_ns == NEVER_NS)
        coordinator->settle_ns = coordinator->now_ns + SETTLE_NS;
}

static void settle_overdue(struct coordinator *coordinator)
{
    if (coordinator->settle_ns > coordinator->now_ns)
        return;
    coordinator->settle_ns = NEVER_NS;
    for (struct worker_record *worker = coordinator->workers; worker; worker = worker->hh.next)
        if (worker->peer && !worker->returning)
            settle(coordinator, worker);
}

static void dismiss_if_drained(struct coordinator *coordinator, struct worker_record *worker)
{
    if (!worker->peer || !worker->draining || worker->dismissed || worker->count > 0)
        return;
    struct message message = {.type = MESSAGE_DISMISS};
    worker_record_send(coordinator, worker, &message);
    worker->dismissed = true;
}

/* A worker that is gone, and of which nothing is open, is forgotten. */
static void free_if_over(struct coordinator *coordinator, struct worker_record *worker)
{
    if (worker->count > 0 || (!worker->exited && !worker->lost))
        return;
    if (worker->exited && !worker->released) {
        struct supervisor_record *supervisor = supervisor_record_find(coordinator, worker->group);
        struct message message = {.type = MESSAGE_RELEASE};
        message.release.worker = worker->identity;
        if (supervisor)
            supervisor->peer->send(supervisor->peer, &message);
        worker->released = true;
    }
    if (!worker->peer)
        worker_record_free(coordinator, worker);
}

/* --- assigning ---------------------------------------------------------------------------------------------------- */

static uint64_t segment_owner(const struct coordinator *coordinator, const struct worker_record *worker,
                              const struct peer *client)
{
    const char *domain = worker->peer->domain;
    if (!domain || !domain[0])
        return 0;
    if (client->domain && strcmp(client->domain, domain) == 0)
        return client->pid;
    return strcmp(coordinator->domain, domain) == 0 ? coordinator->config.pid : 0;
}

static int send_assign(struct coordinator *coordinator, struct worker_record *worker, const struct task *task,
                       uint64_t function)
{
    struct message message;
    message.type = MESSAGE_ASSIGN;
    message.assign = (struct message_assign){
        .ticket = task->ticket,
        .client = task->client->identity,
        .number = task->number,
        .function = function,
        .definition = task->queue->lane->definition,
        .items = task->items,
        .flags = (task->flags & TASK_PROGRESS_WANTED) | (task->time_limit_ms ? TASK_REPORT_START : 0u),
        .owner = segment_owner(coordinator, worker, task->client->peer),
        .encoding = task->encoding,
        .args = {task->args, task->length},
    };
    return worker->peer->send(worker->peer, &message);
}

/* Sends the task, after its body. */
static int send_task(struct coordinator *coordinator, struct worker_record *worker, struct task *task,
                     uint64_t function)
{
    struct lane *lane = task->queue->lane;
    if (lane->definition) {
        int status = introduce(coordinator, worker, lane, function, task->ticket);
        worker->laden = !introductions_trim(coordinator, worker);
        if (status != 0)
            return status;
    }
    return send_assign(coordinator, worker, task, function) == 0 ? 0 : MUSTER_ECLOSED;
}

static void assign(struct coordinator *coordinator, struct worker_record *worker, struct task *task, uint64_t function)
{
    task->ticket = ++coordinator->tickets;
    task->estimate_ns = lane_estimate(task->queue->lane);
    task->marks = 0;
    settle(coordinator, worker);
    worker->last_ticket = task->ticket;
    worker_record_hold(coordinator, worker, task);
    int status = send_task(coordinator, worker, task, function);
    if (status != 0)
        worker_record_unlink(coordinator, task);
    if (status == MUSTER_ENOMEM) {
        static const char text[] = "the coordinator has no memory to give a worker the definition's body";
        task_fail(coordinator, task,
                  &(struct failure){.status = status, .message = bytes_string(text), .exit_status = -1});
    } else if (status != 0) {
        worker->blocked = true; /* the hub closes it; it has not got the task */
        task_enqueue(coordinator, task);
    }
    if (has_room(worker))
        heap_update(&worker->class->room, worker);
    else
        heap_remove(&worker->class->room, worker);
    worker_record_changed(coordinator, worker);
}

/* One task to the least loaded worker of the class; false if there is no such pair. */
static bool assign_one(struct coordinator *coordinator, struct class *class, bool only_idle)
{
    struct worker_record *worker;
    while ((worker = heap_first(&class->room)) && !has_room(worker))
        heap_remove(&class->room, worker);
    if (!worker || (only_idle && worker->open > 0))
        return false;
    struct offer *offer;
    while ((offer = class_next(class))) {
        struct lane_queue *queue = heap_first(&offer->lane->queues);
        struct client_record *client = queue->client;
        if (client->peer->backlog_bytes <= coordinator->config.peer_backlog_bytes)
            break;
        client_record_pause(coordinator, client, true);
    }
    if (!offer)
        return false;
    assign(coordinator, worker, lane_take(coordinator, offer->lane), offer->function);
    return true;
}

/* Idle workers of every class first, then one task to each class in turn. */
static void assign_all(struct coordinator *coordinator)
{
    for (struct class *class = coordinator->ready; class; class = class->next_ready)
        while (assign_one(coordinator, class, true))
            ;
    bool more = true;
    while (more) {
        more = false;
        for (struct class *class = coordinator->ready; class; class = class->next_ready)
            more |= assign_one(coordinator, class, false);
    }
}

/* --- calling back ------------------------------------------------------------------------------------------------- */

/* The last of the worker's unstarted tasks that the class serves and that was not asked for yet, or NULL. */
static struct task *recallable(const struct class *class, const struct worker_record *worker)
{
    for (struct task *task = worker->last; task && task != worker->head; task = task->previous)
        if ((task->marks & TASK_OPEN) && !(task->marks & (TASK_ASKED | TASK_STOPPED)) && task->queue &&
            class_serves(class, task->queue->lane))
            return task;
    return NULL;
}

/* How much work waits there, in ns: what is estimated, and how much longer than estimated the head has taken. */
static uint64_t waiting_work(const struct coordinator *coordinator, const struct worker_record *worker)
{
    uint64_t estimate = worker->head->estimate_ns, ran = coordinator->now_ns - worker->head_ns;
    uint64_t overdue = ran > estimate ? ran - estimate : 0;
    return worker->load_ns - estimate + overdue;
}

/* The worker with the most work waiting of which the class can take something over. */
static struct worker_record *most_loaded(struct coordinator *coordinator, const struct class *class)
{
    struct worker_record *best = NULL;
    uint64_t most = 0;
    for (struct class *other = coordinator->classes; other; other = other->hh.next) {
        for (struct worker_record *worker = other->loaded; worker; worker = worker->next_loaded) {
            uint64_t work = waiting_work(coordinator, worker);
            if (work <= most || !recallable(class, worker))
                continue;
            if (work < RECALL_WORTH_NS) {
                coordinator->recall_ns = deadline_min(
                    coordinator->recall_ns, coordinator->now_ns + worker->head->estimate_ns + RECALL_WORTH_NS);
                continue;
            }
            best = worker;
            most = work;
        }
    }
    return best;
}

/*
 * At least as far as one that the class can run. Always the end of the list without a gap, and nothing is assigned
 * until it is answered (has_room): so a ticket that the worker has started is never beyond one that it gives back, and
 * its death tells the lost from the unstarted.
 */
static void recall_later_half(struct coordinator *coordinator, const struct class *class, struct worker_record *worker)
{
    size_t unstarted = worker->open - worker->recalled - 1, count = unstarted - unstarted / 2;
    const struct task *needed = recallable(class, worker);
    for (struct task *task = worker->last; task != worker->head && (count > 0 || needed); task = task->previous) {
        if (task == needed)
            needed = NULL;
        if (!(task->marks & TASK_OPEN))
            continue;
        worker_record_recall(coordinator, task);
        count -= count > 0;
    }
    worker_record_loaded(coordinator, worker, worker->open - worker->recalled >= 2);
    coordinator->recall_ns = deadline_min(coordinator->recall_ns, coordinator->now_ns + RECALL_PATIENCE_NS);
}

static void recall_for(struct coordinator *coordinator, struct class *class)
{
    if (class->idle == 0 || coordinator->loaded == 0 || class_next(class))
        return;
    /* What is on its way back is for the idle too, unless somebody takes very long to give it. */
    uint64_t patience_ns = coordinator->recalled_ns + RECALL_PATIENCE_NS;
    size_t coming = 0;
    if (coordinator->recalled > 0 && patience_ns > coordinator->now_ns) {
        coming = coordinator->recalled;
        coordinator->recall_ns = deadline_min(coordinator->recall_ns, patience_ns);
    }
    for (size_t idle = class->idle; idle > coming; idle--) {
        struct worker_record *worker = most_loaded(coordinator, class);
        if (!worker)
            return;
        recall_later_half(coordinator, class, worker);
    }
}

/* --- the batch ---------------------------------------------------------------------------------------------------- */

static void tell_workers(struct coordinator *coordinator)
{
    if (!coordinator->tell_workers)
        return;
    coordinator->tell_workers = false;
    struct message message = {.type = MESSAGE_WORKERS};
    message.workers.count = coordinator->connected_workers;
    for (struct client_record *client = coordinator->clients; client; client = client->hh.next) {
        if (!client->peer || client->workers_told == coordinator->connected_workers)
            continue;
        client->workers_told = coordinator->connected_workers;
        client->peer->send(client->peer, &message);
    }
}

static void finish_changed(struct coordinator *coordinator)
{
    struct worker_record *worker;
    while ((worker = coordinator->changed)) {
        coordinator->changed = worker->changed_next;
        worker->changed = false;
        worker->changed_next = NULL;
        look_at(coordinator, worker);
        settle_if_due(coordinator, worker);
        dismiss_if_drained(coordinator, worker);
        free_if_over(coordinator, worker);
    }
}

void coordinator_flush(struct coordinator *coordinator, uint64_t now_ns)
{
    coordinator->now_ns = now_ns;
    for (struct worker_record *worker = coordinator->changed; worker; worker = worker->changed_next)
        look_at(coordinator, worker);
    if (coordinator->recall_ns <= now_ns) {
        coordinator->recall_ns = NEVER_NS;
        for (struct class *class = coordinator->classes; class; class = class->hh.next)
            if (class->idle > 0)
                class_ready(coordinator, class);
    }
    assign_all(coordinator);
    finish_changed(coordinator);
    while (coordinator->ready) {
        struct class *class = coordinator->ready;
        coordinator->ready = class->next_ready;
        class->ready = false;
        recall_for(coordinator, class);
    }
    finish_changed(coordinator); /* whom something was recalled from */
    while (coordinator->ready) {
        coordinator->ready->ready = false;
        coordinator->ready = coordinator->ready->next_ready;
    }
    lanes_give_up(coordinator);
    registry_flush(coordinator->registry);
    settle_overdue(coordinator);
    tell_workers(coordinator);
}
