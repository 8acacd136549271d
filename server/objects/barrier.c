/*
 * Barriers: a number of parties wait until all of them are there. One that gives up, or dies, breaks the barrier, and
 * everybody learns it: nobody waits for who will not come.
 */
#include "server/objects/object.h"

static void everybody(struct registry *registry, struct barrier *barrier, int status)
{
    uint64_t index = 0;
    while (barrier->waiters) {
        struct user *user = barrier->waiters->reference->user;
        uint64_t call = barrier->waiters->call;
        waiter_remove(registry, barrier->waiters);
        if (status == 0)
            object_answer(user, call, 0, index++, (struct bytes){0});
        else
            object_refuse(user, call, status, "the barrier is broken");
    }
    barrier->waiting = 0;
}

static void break_it(struct registry *registry, struct barrier *barrier)
{
    barrier->broken = true;
    everybody(registry, barrier, MUSTER_EBROKEN);
}

static void take_wait(struct registry *registry, struct reference *reference, uint64_t call)
{
    struct barrier *barrier = &reference->object->barrier;
    if (barrier->broken) {
        object_refuse(reference->user, call, MUSTER_EBROKEN, "the barrier is broken");
    } else if (barrier->waiting + 1 < barrier->parties) {
        if (waiter_add(registry, &barrier->waiters, reference, call))
            barrier->waiting++;
    } else {
        everybody(registry, barrier, 0);
        object_answer(reference->user, call, 0, barrier->parties - 1, (struct bytes){0});
    }
}

static int barrier_take(struct registry *registry, struct reference *reference, const struct message *message,
                        const char **why)
{
    struct barrier *barrier = &reference->object->barrier;
    switch (message->type) {
    case MESSAGE_BARRIER_WAIT:
        *why = "BARRIER_WAIT has no call";
        if (message->barrier_wait.call == 0)
            return MUSTER_EPROTOCOL;
        take_wait(registry, reference, message->barrier_wait.call);
        return 0;
    case MESSAGE_BARRIER_RESET:
        break_it(registry, barrier);
        barrier->broken = message->barrier_reset.broken != 0;
        object_answer(reference->user, message->barrier_reset.call, 0, 0, (struct bytes){0});
        return 0;
    case MESSAGE_BARRIER_ASK: {
        *why = "BARRIER_ASK has no call";
        if (message->barrier_ask.call == 0)
            return MUSTER_EPROTOCOL;
        const uint64_t numbers[BARRIER_STATS_COUNT] = {barrier->parties, barrier->waiting, barrier->broken};
        object_tell(reference->user, message->barrier_ask.call, 0, numbers, BARRIER_STATS_COUNT);
        return 0;
    }
    default: *why = "that message is not for a barrier"; return MUSTER_EPROTOCOL;
    }
}

static void barrier_withdraw(struct registry *registry, struct waiter *waiter)
{
    struct barrier *barrier = &waiter->reference->object->barrier;
    struct user *user = waiter->reference->user;
    uint64_t call = waiter->call;
    waiter_remove(registry, waiter);
    object_refuse(user, call, MUSTER_ETIMEDOUT, "the others did not come in time");
    break_it(registry, barrier);
}

/* Whoever has it open may be one of those that are waited for. */
static void barrier_leave(struct registry *registry, struct reference *reference, bool died)
{
    struct barrier *barrier = &reference->object->barrier;
    if (died && barrier->waiting > 0)
        break_it(registry, barrier);
}

static void barrier_empty(struct registry *registry, struct object *object)
{
    object->barrier.waiting = 0;
    waiters_answer(registry, &object->barrier.waiters, MUSTER_ENOOBJECT, "the barrier was deleted");
}

static const char *barrier_create(struct registry *registry, struct object *object,
                                  const struct message_object_open *open)
{
    (void)registry;
    if (open->first == 0 || open->first > PERMITS_LIMIT)
        return "a barrier has from 1 to 2^31-1 parties";
    object->barrier = (struct barrier){.parties = open->first};
    return NULL;
}

static size_t barrier_describe(const struct object *object, uint64_t *numbers)
{
    numbers[0] = object->barrier.parties;
    return 1;
}

static void barrier_status(const struct object *object, struct json *json)
{
    json_write_uint(json, "parties", object->barrier.parties);
    json_write_uint(json, "waiting", object->barrier.waiting);
    json_write_bool(json, "broken", object->barrier.broken);
}

static const char *barrier_check(const struct object *object, struct registry_counts *sums)
{
    const struct barrier *barrier = &object->barrier;
    size_t waiting = 0;
    for (const struct waiter *waiter = barrier->waiters; waiter; waiter = waiter->next)
        waiting++;
    if (waiting != barrier->waiting)
        return "a barrier has miscounted those who wait";
    if (waiting >= barrier->parties || (waiting > 0 && barrier->broken))
        return "somebody waits at a barrier that is complete, or broken";
    sums->waiters += waiting;
    return NULL;
}

const struct object_class barrier_class = {.name = "barrier",
                                           .create = barrier_create,
                                           .describe = barrier_describe,
                                           .take = barrier_take,
                                           .withdraw = barrier_withdraw,
                                           .leave = barrier_leave,
                                           .empty = barrier_empty,
                                           .status = barrier_status,
                                           .check = barrier_check};
