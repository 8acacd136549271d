/*
 * The queues inside the lanes: one client's tasks of one function and one priority, in the order of their arrival. A
 * task that comes back (returned by a worker, or to be run again) keeps its arrival and so its place in front of those
 * that came later.
 */
#include "server/state.h"

#include <assert.h>

static uint64_t *turn_at(struct coordinator *coordinator, int64_t priority)
{
    return &coordinator->turns[priority + PRIORITY_LIMIT];
}

static struct level *level_find(struct client_record *client, int64_t priority)
{
    for (struct level *level = client->levels; level; level = level->next)
        if (level->priority == priority)
            return level;
    struct level *level = memory_zero(sizeof *level);
    if (!level)
        return NULL;
    level->priority = priority;
    level->next = client->levels;
    client->levels = level;
    return level;
}

struct lane_queue *lane_queue_find(struct client_record *client, struct client_function *function, int64_t priority)
{
    for (struct lane_queue *queue = function->queues; queue; queue = queue->next)
        if (queue->level->priority == priority)
            return queue;
    struct level *level = level_find(client, priority);
    struct lane *lane = function->lane;
    if (!level || heap_reserve(&lane->queues, lane->queue_count + 1 - lane->queues.count) != 0)
        return NULL;
    struct lane_queue *queue = memory_zero(sizeof *queue);
    if (!queue)
        return NULL;
    *queue = (struct lane_queue){.client = client, .function = function, .lane = lane, .level = level};
    lane->queue_count++;
    lane->users++;
    queue->next = function->queues;
    function->queues = queue;
    queue->next_of_client = client->queues;
    if (client->queues)
        client->queues->previous_of_client = queue;
    client->queues = queue;
    client->queue_count++;
    return queue;
}

void lane_queue_free(struct coordinator *coordinator, struct lane_queue *queue)
{
    assert(queue->tasks == 0 && queue->count == 0 && queue->position == 0);
    struct lane_queue **link = &queue->function->queues;
    while (*link != queue)
        link = &(*link)->next;
    *link = queue->next;
    if (queue->previous_of_client)
        queue->previous_of_client->next_of_client = queue->next_of_client;
    else
        queue->client->queues = queue->next_of_client;
    if (queue->next_of_client)
        queue->next_of_client->previous_of_client = queue->previous_of_client;
    queue->client->queue_count--;
    queue->lane->queue_count--;
    lane_release(coordinator, queue->lane);
    memory_free(queue);
}

void lane_queue_release(struct coordinator *coordinator, struct lane_queue *queue)
{
    if (queue->tasks == 0 && queue->client->queue_count > IDLE_QUEUES_LIMIT)
        lane_queue_free(coordinator, queue);
}

/* What comes back goes before everything of its priority, and is not charged to its client again. */
static bool comes_back(const struct coordinator *coordinator, const struct task *task)
{
    return task->arrival != coordinator->arrivals;
}

/* The turn of the task that has come to the front, when the one before it was handed out or there was none. */
static void take_turn(struct coordinator *coordinator, struct lane_queue *queue)
{
    uint64_t turn = *turn_at(coordinator, queue->level->priority);
    if (turn < queue->level->turn)
        turn = queue->level->turn;
    queue->turn = queue->level->turn = turn + 1;
}

/* Where to put it: after the returned value, or first if that is NULL. */
static struct task *place_of(const struct lane_queue *queue, const struct task *task)
{
    if (!queue->last || queue->last->arrival < task->arrival)
        return queue->last;
    struct task *place = queue->returned && queue->returned->arrival < task->arrival ? queue->returned : NULL;
    for (struct task *next = place ? place->next : queue->first; next->arrival < task->arrival; next = next->next)
        place = next;
    return place;
}

void lane_queue_insert(struct coordinator *coordinator, struct task *task)
{
    struct lane_queue *queue = task->queue;
    struct lane *lane = queue->lane;
    struct task *place = place_of(queue, task);
    bool first = !queue->first;
    task->previous = place;
    task->next = place ? place->next : queue->first;
    if (task->next) {
        task->next->previous = task;
        queue->returned = task;
    } else {
        queue->last = task;
    }
    if (place)
        place->next = task;
    else
        queue->first = task;
    queue->count++;
    coordinator->queued++;
    bool lane_empty = lane->queued++ == 0;
    if (comes_back(coordinator, task) && !place)
        queue->turn = *turn_at(coordinator, queue->level->priority);
    else if (first)
        take_turn(coordinator, queue);
    if (first) {
        if (!queue->client->paused) {
            int status = heap_insert(&lane->queues, queue);
            assert(status == 0);
            (void)status;
            lane_raised(coordinator, lane);
        }
    } else if (!place && queue->position) {
        heap_update(&lane->queues, queue);
        lane_raised(coordinator, lane);
    }
    if (lane_empty)
        lane_watch(coordinator, lane);
}

static void unlink_task(struct coordinator *coordinator, struct task *task)
{
    struct lane_queue *queue = task->queue;
    if (task->previous)
        task->previous->next = task->next;
    else
        queue->first = task->next;
    if (task->next)
        task->next->previous = task->previous;
    else
        queue->last = task->previous;
    if (queue->returned == task)
        queue->returned = task->previous;
    task->previous = task->next = NULL;
    queue->count--;
    coordinator->queued--;
}

/* After the first task of `queue` has gone; its lane's heap is put right. */
static void first_gone(struct coordinator *coordinator, struct lane_queue *queue)
{
    struct lane *lane = queue->lane;
    if (queue->position && queue->first)
        heap_update(&lane->queues, queue);
    if (--lane->queued == 0)
        lane_watch(coordinator, lane);
}

void lane_queue_remove(struct coordinator *coordinator, struct task *task)
{
    struct lane_queue *queue = task->queue;
    if (queue->first == task && !task->next)
        heap_remove(&queue->lane->queues, queue); /* while it still has the task that it is ordered by */
    unlink_task(coordinator, task);
    first_gone(coordinator, queue);
}

struct task *lane_take(struct coordinator *coordinator, struct lane *lane)
{
    struct lane_queue *queue = heap_first(&lane->queues);
    if (!queue)
        return NULL;
    struct task *task = queue->first;
    uint64_t *turn = turn_at(coordinator, queue->level->priority);
    if (*turn < queue->turn)
        *turn = queue->turn;
    if (!task->next)
        heap_remove(&lane->queues, queue);
    unlink_task(coordinator, task);
    if (queue->first)
        take_turn(coordinator, queue);
    first_gone(coordinator, queue);
    return task;
}

void client_record_pause(struct coordinator *coordinator, struct client_record *client, bool pause)
{
    if (client->paused == pause)
        return;
    client->paused = pause;
    for (struct lane_queue *queue = client->queues; queue; queue = queue->next_of_client) {
        if (pause) {
            heap_remove(&queue->lane->queues, queue);
        } else if (queue->first) {
            int status = heap_insert(&queue->lane->queues, queue);
            assert(status == 0);
            (void)status;
            lane_raised(coordinator, queue->lane);
        }
    }
}
