/*
 * Counters: one 64-bit number with a sign, that is added to, set, set if it has not changed, and watched.
 *
 * On the wire it is a uint: the same 64 bits. Adding wraps around, as it does in C for unsigned numbers.
 */
#include "server/objects/object.h"

/* Tells those who wait for another number than this. */
static void tell_watchers(struct registry *registry, struct counter *counter)
{
    struct waiter *waiter, *next;
    DL_FOREACH_SAFE (counter->watchers, waiter, next) {
        struct user *user = waiter->reference->user;
        uint64_t call = waiter->call;
        if (waiter->amount == counter->value)
            continue;
        waiter_remove(registry, waiter);
        counter->watching--;
        object_answer(user, call, 0, counter->value, (struct bytes){0});
    }
}

static void change(struct registry *registry, struct reference *reference, uint64_t call, uint64_t value)
{
    struct counter *counter = &reference->object->counter;
    bool changed = value != counter->value;
    counter->value = value;
    object_answer(reference->user, call, 0, value, (struct bytes){0});
    if (changed)
        tell_watchers(registry, counter);
}

static void take_set(struct registry *registry, struct reference *reference, const struct message_counter_set *set)
{
    struct counter *counter = &reference->object->counter;
    if ((set->flags & COUNTER_IF_EQUAL) && counter->value != set->expected)
        object_answer(reference->user, set->call, MUSTER_EAGAIN, counter->value,
                      bytes_string("the counter has another value"));
    else
        change(registry, reference, set->call, set->value);
}

static void take_wait(struct registry *registry, struct reference *reference, const struct message_counter_wait *wait)
{
    struct counter *counter = &reference->object->counter;
    if (counter->value != wait->value) {
        object_answer(reference->user, wait->call, 0, counter->value, (struct bytes){0});
        return;
    }
    if (wait->flags & OBJECT_NO_WAIT) {
        object_answer(reference->user, wait->call, MUSTER_EAGAIN, counter->value,
                      bytes_string("the counter has not changed"));
        return;
    }
    struct waiter *waiter = waiter_add(registry, &counter->watchers, reference, wait->call);
    if (!waiter)
        return;
    waiter->amount = wait->value;
    counter->watching++;
}

static int counter_take(struct registry *registry, struct reference *reference, const struct message *message,
                        const char **why)
{
    const struct counter *counter = &reference->object->counter;
    switch (message->type) {
    case MESSAGE_COUNTER_ADD:
        change(registry, reference, message->counter_add.call, counter->value + message->counter_add.amount);
        return 0;
    case MESSAGE_COUNTER_SET: take_set(registry, reference, &message->counter_set); return 0;
    case MESSAGE_COUNTER_WAIT:
        *why = "COUNTER_WAIT has no call";
        if (message->counter_wait.call == 0)
            return MUSTER_EPROTOCOL;
        take_wait(registry, reference, &message->counter_wait);
        return 0;
    default: *why = "that message is not for a counter"; return MUSTER_EPROTOCOL;
    }
}

static void counter_withdraw(struct registry *registry, struct waiter *waiter)
{
    struct counter *counter = &waiter->reference->object->counter;
    struct user *user = waiter->reference->user;
    uint64_t call = waiter->call;
    waiter_remove(registry, waiter);
    counter->watching--;
    object_refuse(user, call, MUSTER_ETIMEDOUT, "the counter has not changed in time");
}

static void counter_leave(struct registry *registry, struct reference *reference, bool died)
{
    (void)registry, (void)reference, (void)died; /* nobody holds a counter */
}

static void counter_empty(struct registry *registry, struct object *object)
{
    object->counter.watching = 0;
    waiters_answer(registry, &object->counter.watchers, MUSTER_ENOOBJECT, "the counter was deleted");
}

static const char *counter_create(struct registry *registry, struct object *object,
                                  const struct message_object_open *open)
{
    (void)registry;
    object->counter = (struct counter){.value = open->first};
    return NULL;
}

static size_t counter_describe(const struct object *object, uint64_t *numbers)
{
    numbers[0] = object->counter.value;
    return 1;
}

static void counter_status(const struct object *object, struct json *json)
{
    json_write_real(json, "value", (double)(int64_t)object->counter.value);
    json_write_uint(json, "watching", object->counter.watching);
}

static const char *counter_check(const struct object *object, struct registry_counts *sums)
{
    const struct counter *counter = &object->counter;
    size_t watching = 0;
    for (const struct waiter *waiter = counter->watchers; waiter; waiter = waiter->next, watching++)
        if (waiter->amount != counter->value)
            return "somebody waits for a counter to change that has changed";
    if (watching != counter->watching)
        return "a counter has miscounted those who watch it";
    sums->waiters += watching;
    return NULL;
}

const struct object_class counter_class = {.name = "counter",
                                           .create = counter_create,
                                           .describe = counter_describe,
                                           .take = counter_take,
                                           .withdraw = counter_withdraw,
                                           .leave = counter_leave,
                                           .empty = counter_empty,
                                           .status = counter_status,
                                           .check = counter_check};
