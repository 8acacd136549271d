/*
 * Calls that are not answered yet: each is in one list of its object, first come first served, and in its session's
 * table, where a withdrawal finds it.
 */
#include "server/objects/object.h"

struct waiter *waiter_find(struct user *user, uint64_t call)
{
    struct waiter *waiter = NULL;
    if (call != 0)
        HASH_FIND_U64(user->waiters, call, waiter);
    return waiter;
}

struct waiter *waiter_add(struct registry *registry, struct waiter **list, struct reference *reference, uint64_t call)
{
    struct user *user = reference->user;
    struct waiter *waiter = NULL;
    if (call != 0 && HASH_COUNT(user->waiters) >= registry->config.waiters) {
        object_refuse(user, call, MUSTER_ELIMIT, "too many calls of this process wait for shared objects");
        return NULL;
    }
    waiter = memory_zero(sizeof *waiter);
    if (waiter) {
        waiter->reference = reference;
        waiter->call = call;
        waiter->list = list;
        if (call != 0 && !HASH_ADD_U64(user->waiters, call, waiter)) {
            memory_free(waiter);
            waiter = NULL;
        }
    }
    if (!waiter) {
        object_refuse(user, call, MUSTER_ENOMEM, "the coordinator has no memory for a call that waits");
        return NULL;
    }
    DL_APPEND(*list, waiter);
    DL_APPEND2(reference->waiters, waiter, own_prev, own_next);
    registry->waiters++;
    return waiter;
}

void waiter_remove(struct registry *registry, struct waiter *waiter)
{
    DL_DELETE(*waiter->list, waiter);
    DL_DELETE2(waiter->reference->waiters, waiter, own_prev, own_next);
    if (waiter->call != 0)
        HASH_DEL(waiter->reference->user->waiters, waiter);
    registry->waiters--;
    memory_free(waiter);
}

void waiters_answer(struct registry *registry, struct waiter **list, int status, const char *sentence)
{
    while (*list) {
        struct waiter *waiter = *list;
        struct user *user = waiter->reference->user;
        uint64_t call = waiter->call;
        waiter_remove(registry, waiter);
        object_refuse(user, call, status, sentence);
    }
}
