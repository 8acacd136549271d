/*
 * Which bodies each worker has been given. The body of a definition goes to a worker once, in front of the first task
 * of it there, and the tasks name it by its number. What a worker has been given it keeps until it is told to forget
 * it or its session ends, so a session that is kept has nothing to repeat, and a new one begins with nothing.
 *
 * A worker is told to forget a body when the last client that defined it has gone, or when it has been given many and
 * has not used this one for the longest time. It keeps what a task that it holds needs, and so do we: what has an open
 * task there is never evicted, and a worker that has too much of it gets no further task ahead.
 */
#include "server/state.h"

static void list_unlink(struct worker_record *worker, struct introduction *introduction)
{
    *(introduction->previous ? &introduction->previous->next : &worker->first_introduction) = introduction->next;
    *(introduction->next ? &introduction->next->previous : &worker->last_introduction) = introduction->previous;
}

static void list_append(struct worker_record *worker, struct introduction *introduction)
{
    introduction->previous = worker->last_introduction;
    introduction->next = NULL;
    *(worker->last_introduction ? &worker->last_introduction->next : &worker->first_introduction) = introduction;
    worker->last_introduction = introduction;
}

static void introduction_free(struct introduction *introduction)
{
    struct worker_record *worker = introduction->worker;
    struct lane *lane = introduction->lane;
    list_unlink(worker, introduction);
    HASH_DEL(worker->introductions, introduction);
    worker->introduced_bytes -= lane->cost;
    *(introduction->previous_of_lane ? &introduction->previous_of_lane->next_of_lane : &lane->introductions) =
        introduction->next_of_lane;
    if (introduction->next_of_lane)
        introduction->next_of_lane->previous_of_lane = introduction->previous_of_lane;
    memory_free(introduction);
}

static void forget(struct coordinator *coordinator, struct introduction *introduction)
{
    struct message message = {.type = MESSAGE_FORGET};
    message.forget.definition = introduction->definition;
    worker_record_send(coordinator, introduction->worker, &message);
    introduction_free(introduction);
}

/* NULL when memory ran out. */
static struct introduction *introduction_create(struct worker_record *worker, struct lane *lane)
{
    struct introduction *introduction = memory_zero(sizeof *introduction);
    if (!introduction)
        return NULL;
    introduction->definition = lane->definition;
    if (!HASH_ADD_U64(worker->introductions, definition, introduction)) {
        memory_free(introduction);
        return NULL;
    }
    introduction->worker = worker;
    introduction->lane = lane;
    introduction->next_of_lane = lane->introductions;
    if (lane->introductions)
        lane->introductions->previous_of_lane = introduction;
    lane->introductions = introduction;
    list_append(worker, introduction);
    worker->introduced_bytes += lane->cost;
    return introduction;
}

static bool too_many(const struct coordinator *coordinator, const struct worker_record *worker, size_t more)
{
    return HASH_COUNT(worker->introductions) + (more > 0) > INTRODUCTIONS_LIMIT ||
           worker->introduced_bytes + more > coordinator->config.worker_definition_bytes;
}

/* What is in use stands behind what is not: the list is in the order of last_ticket. */
static void make_room(struct coordinator *coordinator, struct worker_record *worker, size_t more)
{
    struct introduction *oldest;
    while (too_many(coordinator, worker, more) && (oldest = worker->first_introduction) != NULL &&
           (!worker->head || oldest->last_ticket < worker->head->ticket))
        forget(coordinator, oldest);
}

bool introductions_trim(struct coordinator *coordinator, struct worker_record *worker)
{
    if (too_many(coordinator, worker, 0))
        make_room(coordinator, worker, 0);
    return !too_many(coordinator, worker, 0);
}

int introduce(struct coordinator *coordinator, struct worker_record *worker, struct lane *lane, uint64_t function,
              uint64_t ticket)
{
    struct introduction *introduction = worker->last_introduction;
    if (lane->definition == 0)
        return 0;
    if (!introduction || introduction->lane != lane)
        HASH_FIND_U64(worker->introductions, lane->definition, introduction);
    if (introduction) {
        introduction->last_ticket = ticket;
        if (introduction->next) {
            list_unlink(worker, introduction);
            list_append(worker, introduction);
        }
        return 0;
    }
    make_room(coordinator, worker, lane->cost);
    introduction = introduction_create(worker, lane);
    if (!introduction)
        return MUSTER_ENOMEM;
    introduction->last_ticket = ticket;
    struct message message = {.type = MESSAGE_INTRODUCE};
    message.introduce.definition = lane->definition;
    message.introduce.function = function;
    message.introduce.body = lane->body;
    return worker->peer->send(worker->peer, &message) == 0 ? 0 : MUSTER_ECLOSED;
}

void introductions_forget_lane(struct coordinator *coordinator, struct lane *lane)
{
    while (lane->introductions)
        forget(coordinator, lane->introductions);
}

void introductions_end(struct worker_record *worker)
{
    while (worker->first_introduction)
        introduction_free(worker->first_introduction);
}
