/*
 * Events: set or not. While one is set nobody waits for it.
 */
#include "server/objects/object.h"

static void set(struct registry *registry, struct event *event)
{
    event->set = true;
    while (event->waiters) {
        struct user *user = event->waiters->reference->user;
        uint64_t call = event->waiters->call;
        waiter_remove(registry, event->waiters);
        object_answer(user, call, 0, 0, (struct bytes){0});
    }
    event->waiting = 0;
}

static void take_wait(struct registry *registry, struct reference *reference, const struct message_event_wait *wait)
{
    struct event *event = &reference->object->event;
    if (event->set)
        object_answer(reference->user, wait->call, 0, 0, (struct bytes){0});
    else if (wait->flags & OBJECT_NO_WAIT)
        object_refuse(reference->user, wait->call, MUSTER_EAGAIN, "the event is not set");
    else if (waiter_add(registry, &event->waiters, reference, wait->call))
        event->waiting++;
}

static int event_take(struct registry *registry, struct reference *reference, const struct message *message,
                      const char **why)
{
    struct event *event = &reference->object->event;
    switch (message->type) {
    case MESSAGE_EVENT_WAIT:
        *why = "EVENT_WAIT has no call";
        if (message->event_wait.call == 0)
            return MUSTER_EPROTOCOL;
        take_wait(registry, reference, &message->event_wait);
        return 0;
    case MESSAGE_EVENT_SET:
        if (message->event_set.set)
            set(registry, event);
        else
            event->set = false;
        object_answer(reference->user, message->event_set.call, 0, 0, (struct bytes){0});
        return 0;
    default: *why = "that message is not for an event"; return MUSTER_EPROTOCOL;
    }
}

static void event_withdraw(struct registry *registry, struct waiter *waiter)
{
    struct user *user = waiter->reference->user;
    uint64_t call = waiter->call;
    waiter->reference->object->event.waiting--;
    waiter_remove(registry, waiter);
    object_refuse(user, call, MUSTER_ETIMEDOUT, "the event was not set in time");
}

static void event_leave(struct registry *registry, struct reference *reference, bool died)
{
    (void)registry, (void)reference, (void)died; /* nobody holds an event */
}

static void event_empty(struct registry *registry, struct object *object)
{
    object->event.waiting = 0;
    waiters_answer(registry, &object->event.waiters, MUSTER_ENOOBJECT, "the event was deleted");
}

static const char *event_create(struct registry *registry, struct object *object,
                                const struct message_object_open *open)
{
    (void)registry;
    object->event = (struct event){.set = open->first != 0};
    return NULL;
}

static size_t event_describe(const struct object *object, uint64_t *numbers)
{
    numbers[0] = object->event.set;
    return 1;
}

static void event_status(const struct object *object, struct json *json)
{
    json_write_bool(json, "set", object->event.set);
    json_write_uint(json, "waiting", object->event.waiting);
}

static const char *event_check(const struct object *object, struct registry_counts *sums)
{
    size_t waiting = 0;
    for (const struct waiter *waiter = object->event.waiters; waiter; waiter = waiter->next)
        waiting++;
    if (waiting != object->event.waiting)
        return "an event has miscounted those who wait";
    if (waiting > 0 && object->event.set)
        return "somebody waits for an event that is set";
    sums->waiters += waiting;
    return NULL;
}

const struct object_class event_class = {.name = "event",
                                         .create = event_create,
                                         .describe = event_describe,
                                         .take = event_take,
                                         .withdraw = event_withdraw,
                                         .leave = event_leave,
                                         .empty = event_empty,
                                         .status = event_status,
                                         .check = event_check};
