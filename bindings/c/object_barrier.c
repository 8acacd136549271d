/*
 * Barriers, as muster.h gives them.
 */
#include "bindings/c/object.h"
#include "bindings/c/pool.h"

struct muster_barrier {
    struct object_handle handle; /* first */
};

static int barrier_open(muster_barrier **barrier, muster_pool *pool, const char *name,
                        const struct message_object_open *open, double timeout)
{
    if (!barrier)
        return error_set(MUSTER_EINVAL, "there is nowhere to put the barrier: the first argument is NULL");
    *barrier = NULL;
    muster_barrier *made = memory_zero(sizeof *made);
    if (!made)
        return error_memory();
    int status = object_open(&made->handle, pool, "barrier", name, open, timeout);
    if (status != 0) {
        memory_free(made);
        return status;
    }
    *barrier = made;
    return 0;
}

int muster_barrier_open(muster_barrier **barrier, muster_pool *pool, const char *name, size_t parties,
                        const muster_barrier_options *options)
{
    static const muster_barrier_options none;
    struct message_object_open open = {.kind = OBJECT_BARRIER, .first = parties};
    if (!options)
        options = &none;
    int status = object_open_flags(&open, "barrier", name, options->existing, options->persistent);
    return status ? status : barrier_open(barrier, pool, name, &open, options->connect_timeout);
}

int muster_barrier_open_id(muster_barrier **barrier, muster_pool *pool, uint64_t id)
{
    struct message_object_open open = {.kind = OBJECT_BARRIER, .object = id};
    if (id == 0)
        return error_set(MUSTER_EINVAL, "0 is not the id of a barrier");
    return barrier_open(barrier, pool, NULL, &open, 0);
}

uint64_t muster_barrier_id(const muster_barrier *barrier)
{
    return barrier ? barrier->handle.shared->id : 0;
}

void muster_barrier_free(muster_barrier *barrier)
{
    if (!barrier)
        return;
    object_close(&barrier->handle);
    memory_free(barrier);
}

int muster_barrier_wait(muster_barrier *barrier, double timeout, size_t *index)
{
    uint64_t deadline_ns;
    bool no_wait;
    int status = object_check((struct object_handle *)barrier, "muster_barrier_wait");
    if (status == 0)
        status = object_deadline(timeout, &deadline_ns, &no_wait);
    struct object_call *call = status == 0 ? object_call_new() : NULL;
    if (!call)
        return status ? status : MUSTER_ENOMEM;
    struct object_home *home = barrier->handle.home;
    pthread_mutex_lock(home->mutex);
    status = sharing_barrier_wait(home->sharing, barrier->handle.shared, &call->call);
    if (status == 0 && no_wait)
        sharing_withdraw(home->sharing, &call->call);
    status = object_call_end(home, &call, status, deadline_ns);
    if (status == 0 && index)
        *index = (size_t)call->call.number;
    object_call_free(home, call);
    pthread_mutex_unlock(home->mutex);
    return status;
}

/* A request that is answered at once: a reset (`broken` 0 or 1), or a question (numbers not NULL). */
static int request(muster_barrier *barrier, const char *what, bool broken, uint64_t *numbers)
{
    int status = object_check((struct object_handle *)barrier, what);
    struct object_call *call = status == 0 ? object_call_new() : NULL;
    if (!call)
        return status ? status : MUSTER_ENOMEM;
    struct object_home *home = barrier->handle.home;
    struct shared *shared = barrier->handle.shared;
    pthread_mutex_lock(home->mutex);
    status = numbers ? sharing_barrier_ask(home->sharing, shared, &call->call)
                     : sharing_barrier_reset(home->sharing, shared, &call->call, broken);
    status = object_call_end(home, &call, status, wait_deadline(ANSWER_TIMEOUT_S));
    if (status == 0 && numbers)
        memcpy(numbers, call->call.numbers, BARRIER_STATS_COUNT * sizeof *numbers);
    object_call_free(home, call);
    pthread_mutex_unlock(home->mutex);
    return status;
}

int muster_barrier_reset(muster_barrier *barrier)
{
    return request(barrier, "muster_barrier_reset", false, NULL);
}

int muster_barrier_abort(muster_barrier *barrier)
{
    return request(barrier, "muster_barrier_abort", true, NULL);
}

int muster_barrier_stats(muster_barrier *barrier, muster_barrier_statistics *statistics)
{
    uint64_t numbers[BARRIER_STATS_COUNT];
    if (!statistics)
        return error_set(MUSTER_EINVAL, "there is nowhere to put the statistics: the second argument is NULL");
    int status = request(barrier, "muster_barrier_stats", false, numbers);
    if (status == 0)
        *statistics = (muster_barrier_statistics){numbers[0], numbers[1], numbers[2] != 0};
    return status;
}
