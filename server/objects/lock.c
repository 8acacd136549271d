/*
 * Locks and semaphores: permits, and who has them.
 *
 * One thing serves both. A lock has LOCK_ALL permits: who wants it alone takes all of them, who shares it takes one. A
 * semaphore has as many as it was made with. Who cannot have what it wants waits; the first in the line is served
 * first, also if somebody behind it would be content with what there is, so nobody waits for ever.
 *
 * A *hold* is what one owner in one session has. Of a lock it can be released by its owner only (or by anybody who says
 * so); a semaphore's permits can be given back by anybody, and a hold is there only to say what a session that ends has
 * taken and not given back: that goes back, and the next one who is served is told (`abandoned`).
 *
 * Who holds a lock alone can give it up to sleep until a condition of that lock is notified; it goes on when it has the
 * lock again, also after a time-out. A notification is never lost with the death of who was woken: it passes on.
 *
 * Each grant has a number, higher than that of any grant before it, of this coordinator or of an earlier one: what is
 * written elsewhere under a lock can be refused if it comes with a lower number than what was written last.
 */
#include "server/objects/object.h"

static uint64_t permits_of(const struct lock *lock, uint64_t mode)
{
    return lock->counting || mode == LOCK_SHARED ? 1 : LOCK_ALL;
}

/* --- holds -------------------------------------------------------------------------------------------------------- */

static struct hold *hold_find(const struct reference *reference, uint64_t owner)
{
    struct hold *hold = reference->lock.holds;
    while (hold && hold->owner != owner)
        hold = hold->next;
    return hold;
}

static void hold_remove(struct lock *lock, struct hold *hold)
{
    if (lock->alone == hold)
        lock->alone = NULL;
    lock->holds--;
    hold->reference->lock.hold_count--;
    DL_DELETE(hold->reference->lock.holds, hold);
    memory_free(hold);
}

/* Takes the permits for a session; there are enough. NULL: no memory. */
static struct hold *hold_take(struct registry *registry, struct reference *reference, uint64_t owner, uint64_t permits)
{
    struct lock *lock = &reference->object->lock;
    struct hold *hold = lock->counting ? hold_find(reference, 0) : NULL;
    if (!hold) {
        hold = memory_zero(sizeof *hold);
        if (!hold)
            return NULL;
        hold->reference = reference;
        hold->owner = lock->counting ? 0 : owner;
        DL_APPEND(reference->lock.holds, hold);
        reference->lock.hold_count++;
        lock->holds++;
    }
    hold->permits += permits;
    hold->depth++;
    hold->fence = ++registry->fences;
    lock->permits -= permits;
    if (permits == LOCK_ALL)
        lock->alone = hold;
    return hold;
}

/* --- granting ----------------------------------------------------------------------------------------------------- */

static void grant(struct reference *reference, uint64_t call, const struct hold *hold)
{
    struct lock *lock = &reference->object->lock;
    uint64_t abandoned = lock->abandoned;
    lock->abandoned = false;
    object_tell(reference->user, call, hold->fence, &abandoned, 1);
}

/* Who has slept has the lock again. */
static void granted_again(struct reference *reference, uint64_t call, struct hold *hold, uint64_t depth, bool late)
{
    hold->depth = depth;
    if (late)
        object_answer(reference->user, call, MUSTER_ETIMEDOUT, hold->fence,
                      bytes_string("the condition was not notified in time"));
    else
        grant(reference, call, hold);
}

static void serve(struct registry *registry, struct lock *lock)
{
    struct waiter *waiter;
    while ((waiter = lock->waiters) && waiter->amount <= lock->permits) {
        struct reference *reference = waiter->reference;
        uint64_t call = waiter->call, owner = waiter->owner, amount = waiter->amount, depth = waiter->depth;
        bool asks = waiter->from == WAITER_ASKS, late = waiter->from == WAITER_LATE;
        waiter_remove(registry, waiter);
        lock->waiting--;
        struct hold *hold = hold_take(registry, reference, owner, amount);
        if (!hold)
            object_refuse(reference->user, call, MUSTER_ENOMEM, "the coordinator has no memory for a holder");
        else if (asks)
            grant(reference, call, hold);
        else
            granted_again(reference, call, hold, depth, late);
    }
}

static int take_acquire(struct registry *registry, struct reference *reference,
                        const struct message_lock_acquire *acquire, const char **why)
{
    struct lock *lock = &reference->object->lock;
    struct hold *own = lock->counting ? NULL : hold_find(reference, acquire->owner);
    *why = "LOCK_ACQUIRE has no call, or no known mode";
    if (acquire->call == 0 || acquire->mode > LOCK_SHARED)
        return MUSTER_EPROTOCOL;
    uint64_t permits = permits_of(lock, acquire->mode);
    if (own && lock->reentrant) {
        if (own->permits < permits) {
            object_refuse(reference->user, acquire->call, MUSTER_EINVAL,
                          "who shares a lock cannot have it alone before it has released it");
            return 0;
        }
        own->depth++;
        grant(reference, acquire->call, own);
        return 0;
    }
    if (reference->lock.hold_count >= registry->config.waiters) {
        object_refuse(reference->user, acquire->call, MUSTER_ELIMIT, "this process shares the lock too many times");
        return 0;
    }
    if (!lock->waiters && permits <= lock->permits) {
        struct hold *hold = hold_take(registry, reference, acquire->owner, permits);
        if (hold)
            grant(reference, acquire->call, hold);
        else
            object_refuse(reference->user, acquire->call, MUSTER_ENOMEM, "the coordinator has no memory for a holder");
        return 0;
    }
    if (acquire->flags & OBJECT_NO_WAIT) {
        object_refuse(reference->user, acquire->call, MUSTER_EAGAIN,
                      lock->counting ? "the semaphore has no permit left" : "somebody else has the lock");
        return 0;
    }
    struct waiter *waiter = waiter_add(registry, &lock->waiters, reference, acquire->call);
    if (!waiter)
        return 0;
    waiter->amount = permits;
    waiter->owner = acquire->owner;
    lock->waiting++;
    return 0;
}

/* --- releasing ---------------------------------------------------------------------------------------------------- */

static void lock_release(struct registry *registry, struct lock *lock, struct hold *hold)
{
    if (--hold->depth > 0)
        return;
    lock->permits += hold->permits;
    hold_remove(lock, hold);
    serve(registry, lock);
}

static uint64_t most_permits(const struct lock *lock)
{
    if (!lock->counting)
        return LOCK_ALL;
    return lock->bound ? lock->bound : PERMITS_LIMIT;
}

/* Permits come from whoever has some to give: what this session has taken counts as given back first. */
static const char *semaphore_release(struct registry *registry, struct reference *reference, uint64_t count)
{
    struct lock *lock = &reference->object->lock;
    uint64_t most = most_permits(lock);
    struct hold *hold = hold_find(reference, 0);
    if (count > most || lock->permits > most - count)
        return "the semaphore was released too many times";
    if (hold && hold->permits > count) {
        hold->permits -= count;
        hold->depth -= count;
    } else if (hold) {
        hold_remove(lock, hold);
    }
    lock->permits += count;
    serve(registry, lock);
    return NULL;
}

static int take_release(struct registry *registry, struct reference *reference,
                        const struct message_lock_release *release, const char **why)
{
    struct lock *lock = &reference->object->lock;
    const char *wrong = NULL;
    *why = "LOCK_RELEASE releases nothing";
    if (release->count == 0)
        return MUSTER_EPROTOCOL;
    if (lock->counting) {
        wrong = semaphore_release(registry, reference, release->count);
    } else {
        struct hold *hold = hold_find(reference, release->owner);
        if (!hold && (release->flags & LOCK_ANYBODYS))
            hold = lock->alone;
        if (hold)
            lock_release(registry, lock, hold);
        else
            wrong = "the lock is not held, or by somebody else";
    }
    if (wrong)
        object_refuse(reference->user, release->call, MUSTER_EINVAL, wrong);
    else
        object_answer(reference->user, release->call, 0, 0, (struct bytes){0});
    return 0;
}

/* --- conditions --------------------------------------------------------------------------------------------------- */

/* A sleeper wants the lock again. */
static void wake(struct lock *lock, struct waiter *waiter, bool late)
{
    DL_DELETE(lock->sleepers, waiter);
    lock->sleeping--;
    DL_APPEND(lock->waiters, waiter);
    lock->waiting++;
    waiter->list = &lock->waiters;
    waiter->from = late ? WAITER_LATE : WAITER_NOTIFIED;
}

static uint64_t notify(struct lock *lock, uint64_t condition, uint64_t count)
{
    uint64_t notified = 0;
    struct waiter *waiter, *next;
    DL_FOREACH_SAFE (lock->sleepers, waiter, next) {
        if (notified == count)
            break;
        if (waiter->condition != condition)
            continue;
        wake(lock, waiter, false);
        notified++;
    }
    return notified;
}

static int take_wait(struct registry *registry, struct reference *reference, const struct message_lock_wait *wait,
                     const char **why)
{
    struct lock *lock = &reference->object->lock;
    struct hold *hold = lock->counting ? NULL : hold_find(reference, wait->owner);
    *why = "LOCK_WAIT has no call";
    if (wait->call == 0)
        return MUSTER_EPROTOCOL;
    if (!hold || lock->alone != hold) {
        object_refuse(reference->user, wait->call, MUSTER_EINVAL, "who waits for a condition must hold its lock alone");
        return 0;
    }
    struct waiter *waiter = waiter_add(registry, &lock->sleepers, reference, wait->call);
    if (!waiter)
        return 0;
    waiter->amount = LOCK_ALL;
    waiter->owner = wait->owner;
    waiter->condition = wait->condition;
    waiter->depth = hold->depth;
    waiter->from = WAITER_SLEEPS;
    lock->sleeping++;
    hold->depth = 1;
    lock_release(registry, lock, hold);
    return 0;
}

static void take_notify(struct registry *registry, struct reference *reference,
                        const struct message_lock_notify *request)
{
    struct lock *lock = &reference->object->lock;
    struct hold *hold = lock->counting ? NULL : hold_find(reference, request->owner);
    if (!hold || lock->alone != hold) {
        object_refuse(reference->user, request->call, MUSTER_EINVAL,
                      "who notifies a condition must hold its lock alone");
        return;
    }
    uint64_t notified = notify(lock, request->condition, request->count);
    object_answer(reference->user, request->call, 0, notified, (struct bytes){0});
    serve(registry, lock);
}

static void tell_numbers(const struct reference *reference, uint64_t call)
{
    const struct lock *lock = &reference->object->lock;
    const uint64_t numbers[LOCK_STATS_COUNT] = {lock->counting ? lock->permits : 0, lock->alone != NULL, lock->holds,
                                                lock->waiting, lock->sleeping};
    object_tell(reference->user, call, numbers[0], numbers, LOCK_STATS_COUNT);
}

static int lock_take(struct registry *registry, struct reference *reference, const struct message *message,
                     const char **why)
{
    switch (message->type) {
    case MESSAGE_LOCK_ACQUIRE: return take_acquire(registry, reference, &message->lock_acquire, why);
    case MESSAGE_LOCK_RELEASE: return take_release(registry, reference, &message->lock_release, why);
    case MESSAGE_LOCK_WAIT: return take_wait(registry, reference, &message->lock_wait, why);
    case MESSAGE_LOCK_NOTIFY: take_notify(registry, reference, &message->lock_notify); return 0;
    case MESSAGE_LOCK_ASK:
        *why = "LOCK_ASK has no call";
        if (message->lock_ask.call == 0)
            return MUSTER_EPROTOCOL;
        tell_numbers(reference, message->lock_ask.call);
        return 0;
    default: *why = "that message is not for a lock or semaphore"; return MUSTER_EPROTOCOL;
    }
}

/* --- ends --------------------------------------------------------------------------------------------------------- */

static void lock_withdraw(struct registry *registry, struct waiter *waiter)
{
    struct lock *lock = &waiter->reference->object->lock;
    struct user *user = waiter->reference->user;
    uint64_t call = waiter->call, condition = waiter->condition;
    bool sleeps = waiter->from == WAITER_SLEEPS, notified = waiter->from == WAITER_NOTIFIED;
    if (waiter->from != WAITER_ASKS && !waiter->reference->leaving) {
        if (sleeps) {
            wake(lock, waiter, true);
            serve(registry, lock);
        }
        return; /* answered when it has the lock again */
    }
    waiter_remove(registry, waiter);
    *(sleeps ? &lock->sleeping : &lock->waiting) -= 1;
    object_refuse(user, call, MUSTER_ETIMEDOUT, "the time is over");
    if (notified)
        notify(lock, condition, 1);
    serve(registry, lock); /* who was behind it may want less */
}

/* What it held goes to the next, who is told: what the holder was about may be half done. */
static void lock_leave(struct registry *registry, struct reference *reference, bool died)
{
    struct lock *lock = &reference->object->lock;
    (void)died; /* closing a lock that is held is no better */
    while (reference->lock.holds) {
        struct hold *hold = reference->lock.holds;
        if (lock->counting || lock->alone == hold)
            lock->abandoned = true;
        lock->permits += hold->permits;
        hold_remove(lock, hold);
    }
    if (lock->permits > most_permits(lock)) /* others had given back what this session had taken */
        lock->permits = most_permits(lock);
    serve(registry, lock);
}

static void lock_empty(struct registry *registry, struct object *object)
{
    struct lock *lock = &object->lock;
    lock->waiting = lock->sleeping = 0;
    waiters_answer(registry, &lock->waiters, MUSTER_ENOOBJECT, "the lock was deleted");
    waiters_answer(registry, &lock->sleepers, MUSTER_ENOOBJECT, "the lock was deleted");
    for (struct reference *reference = object->references; reference; reference = reference->next)
        while (reference->lock.holds)
            hold_remove(lock, reference->lock.holds);
}

/* --- the kinds ---------------------------------------------------------------------------------------------------- */

static const char *lock_create(struct registry *registry, struct object *object, const struct message_object_open *open)
{
    (void)registry;
    if (open->first > 1)
        return "a lock is reentrant or not: 1 or 0";
    object->lock = (struct lock){.permits = LOCK_ALL, .reentrant = open->first};
    return NULL;
}

static const char *semaphore_create(struct registry *registry, struct object *object,
                                    const struct message_object_open *open)
{
    (void)registry;
    if (open->first > PERMITS_LIMIT || open->second > PERMITS_LIMIT)
        return "a semaphore has at most 2^31-1 permits";
    if (open->second != 0 && open->first > open->second)
        return "a semaphore has more permits at first than it may have";
    object->lock = (struct lock){.permits = open->first, .bound = open->second, .counting = true};
    return NULL;
}

static size_t lock_describe(const struct object *object, uint64_t *numbers)
{
    numbers[0] = object->lock.counting ? object->lock.bound : object->lock.reentrant;
    return 1;
}

static void lock_status(const struct object *object, struct json *json)
{
    const struct lock *lock = &object->lock;
    if (lock->counting)
        json_write_uint(json, "permits", lock->permits);
    else
        json_write_bool(json, "held_alone", lock->alone != NULL);
    json_write_uint(json, "holders", lock->holds);
    json_write_uint(json, "waiting", lock->waiting);
    json_write_uint(json, "sleeping", lock->sleeping);
}

static const char *lock_check(const struct object *object, struct registry_counts *sums)
{
    const struct lock *lock = &object->lock;
    uint64_t permits = lock->permits;
    size_t holds = 0, waiting = 0;
    for (const struct reference *reference = object->references; reference; reference = reference->next)
        for (const struct hold *hold = reference->lock.holds; hold; hold = hold->next, holds++) {
            permits += hold->permits;
            if (hold->reference != reference || hold->depth == 0 || hold->permits == 0)
                return "a hold is another's, or holds nothing";
            if ((hold->permits == LOCK_ALL) != (lock->alone == hold))
                return "a lock has another holder than it knows";
        }
    for (const struct waiter *waiter = lock->waiters; waiter; waiter = waiter->next)
        waiting++;
    size_t sleeping = 0;
    for (const struct waiter *waiter = lock->sleepers; waiter; waiter = waiter->next, sleeping++)
        if (waiter->from != WAITER_SLEEPS)
            return "somebody who was woken sleeps on";
    if (holds != lock->holds || waiting != lock->waiting || sleeping != lock->sleeping)
        return "a lock has miscounted those who hold it or wait";
    if (!lock->counting && !object->deleted && permits != LOCK_ALL)
        return "the permits of a lock do not add up: two may hold it";
    if (lock->permits > most_permits(lock))
        return "a semaphore has more permits than it may have";
    if (lock->waiters && lock->waiters->amount <= lock->permits)
        return "somebody waits for a lock that is free";
    sums->waiters += waiting + sleeping;
    return NULL;
}

const struct object_class lock_class = {.name = "lock",
                                        .create = lock_create,
                                        .describe = lock_describe,
                                        .take = lock_take,
                                        .withdraw = lock_withdraw,
                                        .leave = lock_leave,
                                        .empty = lock_empty,
                                        .status = lock_status,
                                        .check = lock_check};

const struct object_class semaphore_class = {.name = "semaphore",
                                             .create = semaphore_create,
                                             .describe = lock_describe,
                                             .take = lock_take,
                                             .withdraw = lock_withdraw,
                                             .leave = lock_leave,
                                             .empty = lock_empty,
                                             .status = lock_status,
                                             .check = lock_check};
