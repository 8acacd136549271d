/*
 * Everything that must hold between the structures of state.h, checked by walking all of it: for the simulator and for
 * tests, after each event.
 */
#include "server/state.h"

struct sums {
    size_t tasks, queued, parked, assigned, bytes, claims, recalled, loaded, connected_clients, connected_workers,
        sessions, definition_bytes, introductions;
};

static const char *check_queue(const struct lane_queue *queue, struct sums *sums)
{
    size_t count = 0;
    const struct task *previous = NULL;
    bool returned = !queue->returned;
    for (const struct task *task = queue->first; task; previous = task, task = task->next) {
        count++;
        if (task->previous != previous || task->queue != queue || task->state != TASK_QUEUED)
            return "a queue holds a task that is not its own";
        if (previous && previous->arrival >= task->arrival)
            return "a queue is not in the order of arrival";
        returned = returned || task == queue->returned;
    }
    if (queue->last != previous || queue->count != count || count > queue->tasks)
        return "a queue has miscounted its tasks";
    if (!returned)
        return "a queue remembers a task that has gone";
    if ((queue->position != 0) != (count > 0 && !queue->client->paused))
        return "a queue is in its lane's heap, or out of it, against the rules";
    sums->queued += count;
    return NULL;
}

static const char *check_client_task(const struct client_record *client, const struct task *task,
                                     struct sums *client_sums)
{
    if (task->client != client || (task->queue && task->queue->client != client))
        return "a client's table has a task of another";
    if (task->state == TASK_NEW)
        return "a task is in no list";
    if ((task->state == TASK_ASSIGNED && !task->worker) || (task->worker && task->state < TASK_ASSIGNED))
        return "a task's state and its worker disagree";
    if ((task->state == TASK_FINISHED || !task->queue) != !task->queue)
        return "a finished task is still in a queue's count";
    if (!task->queue && task->state != TASK_FINISHED && task->state != TASK_ASSIGNED)
        return "a claim is at no worker";
    client_sums->tasks++;
    if (task->queue) {
        client_sums->queued++;
        client_sums->bytes += task->length;
    } else if (task->state == TASK_ASSIGNED) {
        client_sums->claims++;
    }
    client_sums->parked += task->state == TASK_FINISHED;
    return NULL;
}

static const char *check_functions(const struct client_record *client)
{
    size_t bytes = 0;
    for (size_t i = 0; i < FUNCTIONS_LIMIT; i++) {
        const struct client_function *block = client->functions[i / 64], *function = block ? &block[i % 64] : NULL;
        if (!function)
            continue;
        if (function->lane ? function->refusal || function->cost != function->lane->cost : function->cost > 0)
            return "a client's function has a cost that is not its lane's, or a lane that was refused";
        bytes += function->cost;
    }
    return bytes == client->definition_bytes ? NULL : "a client has miscounted what its definitions cost";
}

static const char *check_client(const struct client_record *client, struct sums *sums)
{
    struct sums own = {0};
    const char *wrong;
    for (const struct number_page *page = client->numbers.pages; page; page = page->hh.next) {
        unsigned count = 0;
        for (size_t i = 0; i < PAGE_NUMBERS; i++) {
            const struct task *task = page->tasks[i];
            if (!task)
                continue;
            count++;
            if (task->page != page || task->number != page->index * PAGE_NUMBERS + i ||
                task->number > client->numbers.highest)
                return "a page of numbers has a task in the wrong place";
            if ((wrong = check_client_task(client, task, &own)))
                return wrong;
            sums->bytes += task->length + (task->state == TASK_ASSIGNED && task->stored ? task->stored->length : 0);
        }
        if (count != page->count || (count == 0 && page != client->numbers.latest))
            return "a page of numbers has miscounted";
    }
    if (own.tasks != client->numbers.count || own.queued != client->open || own.bytes != client->bytes ||
        own.claims != client->claims)
        return "a client has miscounted its tasks";
    size_t deliveries = 0;
    for (const struct task *task = client->delivery_first; task; task = task->delivery_next) {
        deliveries++;
        if (task->state != TASK_FINISHED || (!task->delivery_next && task != client->delivery_last))
            return "a delivery list has a task without outcome, or another end";
    }
    if (deliveries != own.parked)
        return "an outcome is not in its client's delivery list";
    size_t queues = 0, members = 0;
    for (const struct lane_queue *queue = client->queues; queue; queue = queue->next_of_client, queues++) {
        members += queue->tasks;
        if ((wrong = check_queue(queue, sums)))
            return wrong;
    }
    if (queues != client->queue_count || members != client->open)
        return "a client has miscounted its queues";
    if ((wrong = check_functions(client)))
        return wrong;
    sums->tasks += own.tasks;
    sums->claims += own.claims;
    sums->connected_clients += client->peer != NULL;
    return NULL;
}

static const char *check_worker_list(const struct worker_record *worker, struct sums *sums)
{
    size_t count = 0, open = 0, open_bytes = 0, recalled = 0, asked = 0;
    uint64_t load_ns = 0;
    const struct task *previous = NULL, *head = NULL;
    for (const struct task *task = worker->first; task; previous = task, task = task->next) {
        count++;
        if (task->worker != worker || task->previous != previous || (previous && previous->ticket >= task->ticket))
            return "a worker's list is not in the order of tickets";
        if (task->ticket > worker->last_ticket)
            return "a worker has a ticket beyond its last";
        if (!task->client)
            sums->bytes += task->length;
        bool is_open = task->marks & TASK_OPEN;
        if (is_open != (task->state == TASK_ASSIGNED && !task->stored))
            return "a task counts as open at its worker, or does not, against its state";
        if (!is_open)
            continue;
        if (!head)
            head = task;
        open++;
        open_bytes += task->length;
        asked += (task->marks & TASK_ASKED) != 0;
        if (task->marks & TASK_RECALLED)
            recalled++;
        else
            load_ns += task->estimate_ns;
    }
    if (worker->last != previous || worker->head != head)
        return "a worker's list has another end, or another head";
    if (worker->count != count || worker->open != open || worker->open_bytes != open_bytes ||
        worker->recalled != recalled || worker->asked != asked || worker->load_ns != load_ns)
        return "a worker has miscounted its tasks";
    if (head && (head->marks & TASK_RECALLED))
        return "the head of a worker's list is recalled";
    sums->assigned += open;
    sums->recalled += recalled;
    return NULL;
}

static const char *check_introductions(const struct worker_record *worker, struct sums *sums)
{
    size_t count = 0, bytes = 0;
    const struct introduction *previous = NULL;
    for (const struct introduction *one = worker->first_introduction; one; previous = one, one = one->next) {
        count++;
        bytes += one->lane->cost;
        if (one->worker != worker || one->previous != previous || one->definition != one->lane->definition)
            return "a worker was introduced to a lane of another";
        if (previous && previous->last_ticket >= one->last_ticket)
            return "a worker's bodies are not in the order of their use";
    }
    if (worker->last_introduction != previous || HASH_COUNT(worker->introductions) != count ||
        worker->introduced_bytes != bytes)
        return "a worker has miscounted its bodies";
    if (count > 0 && !worker->peer)
        return "a worker without session has bodies";
    for (const struct task *task = worker->head; task; task = task->next) {
        if (!(task->marks & TASK_OPEN) || (task->marks & TASK_CLAIMED) || !task->queue || !worker->peer ||
            worker->returning || task->queue->lane->definition == 0)
            continue;
        const struct introduction *one = NULL;
        HASH_FIND_U64(worker->introductions, task->queue->lane->definition, one);
        if (!one || one->last_ticket < task->ticket)
            return "a worker was given a task without its body";
    }
    sums->introductions += count;
    return NULL;
}

static const char *check_worker(const struct worker_record *worker, struct sums *sums)
{
    const char *wrong = check_worker_list(worker, sums);
    if (!wrong)
        wrong = check_introductions(worker, sums);
    if (wrong)
        return wrong;
    if (worker->peer && worker->peer->state != worker)
        return "a worker and its peer do not know each other";
    if ((worker->exited || worker->lost) && worker->open > 0)
        return "a worker that is gone holds tasks without outcome";
    if (!worker->peer && worker->open > 0 && worker->deadline_ns == NEVER_NS)
        return "a worker that is cut off holds tasks, and nothing will end that";
    if (worker->class && !worker->peer)
        return "a worker without session is in a class";
    if (!worker->peer && worker->count == 0 && !worker->changed)
        return "a worker that is gone and holds nothing was not forgotten";
    if ((worker->deadline_ns != NEVER_NS) != (worker->timer_position != 0))
        return "a worker's timer is not among the timers";
    sums->sessions += worker->peer != NULL;
    sums->connected_workers += worker->class != NULL;
    sums->loaded += worker->loaded;
    return NULL;
}

static const char *check_lane(const struct lane *lane, struct sums *sums)
{
    size_t queued = 0;
    for (size_t i = 0; i < lane->queues.count; i++) {
        const struct lane_queue *queue = lane->queues.items[i];
        if (queue->lane != lane || !queue->first || queue->position != i + 1)
            return "a lane's heap has a queue that is not its own, or empty";
        if (i > 0 && lane_queue_before(queue, lane->queues.items[(i - 1) / 2]))
            return "a lane's heap is out of order";
        queued += queue->count;
    }
    if (queued > lane->queued)
        return "a lane has miscounted its tasks";
    if ((lane->definition != 0) != (lane->body.length > 0))
        return "a lane's body has no number, or the other way round";
    sums->definition_bytes += lane->cost;
    for (const struct introduction *one = lane->introductions; one; one = one->next_of_lane) {
        sums->introductions--;
        if (one->lane != lane)
            return "a lane was introduced under the number of another";
    }
    if (lane->unserved != (lane->queued > 0 && !lane->offers))
        return "a lane is watched, or not, against the rules";
    for (const struct offer *offer = lane->offers; offer; offer = offer->next_in_lane)
        if (lane->queues.count > 0 && offer->position == 0)
            return "a class does not know that its lane has tasks";
    return NULL;
}

static const char *check_class(const struct class *class)
{
    size_t workers = 0, idle = 0;
    for (const struct worker_record *worker = class->workers; worker; worker = worker->next_in_class) {
        workers++;
        idle += worker->idle;
        if (worker->class != class)
            return "a class has a worker of another";
        if (worker->has_room && worker->room_position == 0 && !worker->changed)
            return "a worker with room is not offered to its class";
    }
    if (workers == 0 || workers != class->worker_count || idle != class->idle || class->room.count > workers)
        return "a class has miscounted its workers";
    size_t offers = 0;
    for (const struct offer *offer = class->first_offer; offer; offer = offer->next_in_class)
        offers++;
    if (offers != class->offer_count || class->offers.count > offers)
        return "a class has miscounted its lanes";
    return NULL;
}

static const char *check_sums(const struct coordinator *coordinator, const struct sums *sums)
{
    if (sums->tasks != coordinator->tasks || sums->queued != coordinator->queued ||
        sums->parked != coordinator->parked || sums->assigned != coordinator->assigned ||
        sums->claims != coordinator->claims)
        return "the coordinator has miscounted its tasks";
    if (sums->bytes != coordinator->bytes || sums->definition_bytes != coordinator->definition_bytes)
        return "the coordinator has miscounted its bytes";
    if (sums->introductions != 0)
        return "a worker's bodies and their lanes do not know each other";
    if (sums->recalled != coordinator->recalled || sums->loaded != coordinator->loaded)
        return "the coordinator has miscounted what is recalled or loaded";
    if (sums->connected_clients != coordinator->connected_clients ||
        sums->connected_workers != coordinator->connected_workers || sums->sessions != coordinator->worker_sessions)
        return "the coordinator has miscounted its peers";
    return NULL;
}

const char *coordinator_check(const struct coordinator *coordinator)
{
    struct sums sums = {0};
    const char *wrong;
    for (const struct client_record *client = coordinator->clients; client; client = client->hh.next)
        if ((wrong = check_client(client, &sums)))
            return wrong;
    for (const struct worker_record *worker = coordinator->workers; worker; worker = worker->hh.next)
        if ((wrong = check_worker(worker, &sums)))
            return wrong;
    for (const struct lane *lane = coordinator->lanes; lane; lane = lane->hh.next)
        if ((wrong = check_lane(lane, &sums)))
            return wrong;
    for (const struct class *class = coordinator->classes; class; class = class->hh.next)
        if ((wrong = check_class(class)))
            return wrong;
    const struct task *previous = NULL;
    for (const struct task *task = coordinator->parked_first; task; previous = task, task = task->next) {
        sums.parked++;
        if (task->state != TASK_PARKED || task->previous != previous || !task->queue)
            return "the parked list has a task that is not parked";
    }
    if (previous != coordinator->parked_last)
        return "the parked list has another end";
    if ((wrong = registry_check(coordinator->registry)))
        return wrong;
    return check_sums(coordinator, &sums);
}
