/*
 * Locks and semaphores, as muster.h gives them.
 *
 * A lock belongs to the process that acquired it, a reentrant one to the thread. Its release is not waited for: whether
 * it is held is known here.
 */
#include "bindings/c/object.h"
#include "bindings/c/pool.h"

struct muster_lock {
    struct object_handle handle; /* first */
    bool reentrant;
};

struct muster_semaphore {
    struct object_handle handle; /* first */
};

/* A number for each thread, not 0. */
static uint64_t thread_number(void)
{
    static atomic_uint_fast64_t last;
    static _Thread_local uint64_t own;
    if (own == 0)
        own = atomic_fetch_add(&last, 1) + 1;
    return own;
}

static uint64_t owner_of(const muster_lock *lock)
{
    return lock->reentrant ? thread_number() : 0;
}

static muster_grant grant_of(const struct sharing_call *call)
{
    return (muster_grant){call->number, call->count > 0 && call->numbers[0] != 0};
}

static int acquire(struct object_handle *handle, const char *what, uint64_t owner, enum lock_mode mode, double timeout,
                   muster_grant *granted)
{
    uint64_t deadline_ns;
    bool no_wait;
    int status = object_check(handle, what);
    if (status == 0)
        status = object_deadline(timeout, &deadline_ns, &no_wait);
    struct object_call *call = status == 0 ? object_call_new() : NULL;
    if (!call)
        return status ? status : MUSTER_ENOMEM;
    struct object_home *home = handle->home;
    pthread_mutex_lock(home->mutex);
    status = sharing_acquire(home->sharing, handle->shared, &call->call, owner, mode, no_wait);
    status = object_call_end(home, &call, status, deadline_ns);
    if (status == 0 && granted)
        *granted = grant_of(&call->call);
    object_call_free(home, call);
    pthread_mutex_unlock(home->mutex);
    return status;
}

/* A request that is answered at once. `numbers`: room for the answer's, or NULL. */
static int request(struct object_handle *handle, const char *what, uint64_t flags, uint64_t count, uint64_t *numbers)
{
    int status = object_check(handle, what);
    struct object_call *call = status == 0 ? object_call_new() : NULL;
    if (!call)
        return status ? status : MUSTER_ENOMEM;
    struct object_home *home = handle->home;
    pthread_mutex_lock(home->mutex);
    status = count > 0 ? sharing_release(home->sharing, handle->shared, &call->call, flags, 0, count)
                       : sharing_ask_lock(home->sharing, handle->shared, &call->call);
    status = object_call_end(home, &call, status, wait_deadline(ANSWER_TIMEOUT_S));
    if (status == 0 && numbers)
        memcpy(numbers, call->call.numbers, LOCK_STATS_COUNT * sizeof *numbers);
    object_call_free(home, call);
    pthread_mutex_unlock(home->mutex);
    return status;
}

/* --- locks -------------------------------------------------------------------------------------------------------- */

static int lock_open(muster_lock **lock, muster_pool *pool, const char *name, const struct message_object_open *open,
                     double timeout)
{
    if (!lock)
        return error_set(MUSTER_EINVAL, "there is nowhere to put the lock: the first argument is NULL");
    *lock = NULL;
    muster_lock *made = memory_zero(sizeof *made);
    if (!made)
        return error_memory();
    int status = object_open(&made->handle, pool, "lock", name, open, timeout);
    if (status != 0) {
        memory_free(made);
        return status;
    }
    made->reentrant = made->handle.shared->maximum != 0;
    *lock = made;
    return 0;
}

int muster_lock_open(muster_lock **lock, muster_pool *pool, const char *name, const muster_lock_options *options)
{
    static const muster_lock_options none;
    struct message_object_open open = {.kind = OBJECT_LOCK};
    if (!options)
        options = &none;
    open.first = options->reentrant;
    int status = object_open_flags(&open, "lock", name, options->existing, options->persistent);
    return status ? status : lock_open(lock, pool, name, &open, options->connect_timeout);
}

int muster_lock_open_id(muster_lock **lock, muster_pool *pool, uint64_t id)
{
    struct message_object_open open = {.kind = OBJECT_LOCK, .object = id};
    if (id == 0)
        return error_set(MUSTER_EINVAL, "0 is not the id of a lock");
    return lock_open(lock, pool, NULL, &open, 0);
}

uint64_t muster_lock_id(const muster_lock *lock)
{
    return lock ? lock->handle.shared->id : 0;
}

void muster_lock_free(muster_lock *lock)
{
    if (!lock)
        return;
    object_close(&lock->handle);
    memory_free(lock);
}

int muster_lock_acquire(muster_lock *lock, double timeout, muster_grant *granted)
{
    return acquire((struct object_handle *)lock, "muster_lock_acquire", lock ? owner_of(lock) : 0, LOCK_ALONE, timeout,
                   granted);
}

int muster_lock_acquire_shared(muster_lock *lock, double timeout, muster_grant *granted)
{
    return acquire((struct object_handle *)lock, "muster_lock_acquire_shared", lock ? owner_of(lock) : 0, LOCK_SHARED,
                   timeout, granted);
}

int muster_lock_release(muster_lock *lock)
{
    int status = object_check((struct object_handle *)lock, "muster_lock_release");
    if (status != 0)
        return status;
    struct object_home *home = lock->handle.home;
    pthread_mutex_lock(home->mutex);
    status = sharing_release_own(home->sharing, lock->handle.shared, owner_of(lock));
    if (status == 0)
        home->flush(home->self);
    pthread_mutex_unlock(home->mutex);
    return status;
}

int muster_lock_break(muster_lock *lock)
{
    int status = muster_lock_release(lock);
    if (status != MUSTER_EINVAL || !lock)
        return status;
    return request((struct object_handle *)lock, "muster_lock_break", LOCK_ANYBODYS, 1, NULL);
}

int muster_lock_stats(muster_lock *lock, muster_lock_statistics *statistics)
{
    uint64_t numbers[LOCK_STATS_COUNT];
    if (!statistics)
        return error_set(MUSTER_EINVAL, "there is nowhere to put the statistics: the second argument is NULL");
    int status = request((struct object_handle *)lock, "muster_lock_stats", 0, 0, numbers);
    if (status == 0)
        *statistics = (muster_lock_statistics){numbers[1] != 0, numbers[2], numbers[3], numbers[4]};
    return status;
}

/* --- conditions --------------------------------------------------------------------------------------------------- */

int muster_lock_wait(muster_lock *lock, uint64_t condition, double timeout, muster_grant *granted)
{
    uint64_t deadline_ns;
    bool no_wait;
    int status = object_check((struct object_handle *)lock, "muster_lock_wait");
    if (status == 0)
        status = object_deadline(timeout, &deadline_ns, &no_wait);
    struct object_call *call = status == 0 ? object_call_new() : NULL;
    if (!call)
        return status ? status : MUSTER_ENOMEM;
    struct object_home *home = lock->handle.home;
    call->patient = true; /* the lock must be held again first, whoever has it now */
    pthread_mutex_lock(home->mutex);
    status = sharing_wait(home->sharing, lock->handle.shared, &call->call, owner_of(lock), condition);
    if (status == 0 && no_wait)
        sharing_withdraw(home->sharing, &call->call);
    status = object_call_end(home, &call, status, no_wait ? NEVER_NS : deadline_ns);
    if (granted && call && (status == 0 || status == MUSTER_ETIMEDOUT))
        *granted = grant_of(&call->call);
    object_call_free(home, call);
    pthread_mutex_unlock(home->mutex);
    return status;
}

int muster_lock_notify(muster_lock *lock, uint64_t condition, size_t count, size_t *notified)
{
    int status = object_check((struct object_handle *)lock, "muster_lock_notify");
    struct object_call *call = status == 0 ? object_call_new() : NULL;
    if (!call)
        return status ? status : MUSTER_ENOMEM;
    struct object_home *home = lock->handle.home;
    pthread_mutex_lock(home->mutex);
    status = sharing_notify(home->sharing, lock->handle.shared, &call->call, owner_of(lock), condition, count);
    status = object_call_end(home, &call, status, wait_deadline(ANSWER_TIMEOUT_S));
    if (status == 0 && notified)
        *notified = (size_t)call->call.number;
    object_call_free(home, call);
    pthread_mutex_unlock(home->mutex);
    return status;
}

/* --- semaphores --------------------------------------------------------------------------------------------------- */

static int semaphore_open(muster_semaphore **semaphore, muster_pool *pool, const char *name,
                          const struct message_object_open *open, double timeout)
{
    if (!semaphore)
        return error_set(MUSTER_EINVAL, "there is nowhere to put the semaphore: the first argument is NULL");
    *semaphore = NULL;
    muster_semaphore *made = memory_zero(sizeof *made);
    if (!made)
        return error_memory();
    int status = object_open(&made->handle, pool, "semaphore", name, open, timeout);
    if (status != 0) {
        memory_free(made);
        return status;
    }
    *semaphore = made;
    return 0;
}

int muster_semaphore_open(muster_semaphore **semaphore, muster_pool *pool, const char *name, size_t permits,
                          const muster_semaphore_options *options)
{
    static const muster_semaphore_options none;
    struct message_object_open open = {.kind = OBJECT_SEMAPHORE, .first = permits};
    if (!options)
        options = &none;
    open.second = options->bound;
    int status = object_open_flags(&open, "semaphore", name, options->existing, options->persistent);
    return status ? status : semaphore_open(semaphore, pool, name, &open, options->connect_timeout);
}

int muster_semaphore_open_id(muster_semaphore **semaphore, muster_pool *pool, uint64_t id)
{
    struct message_object_open open = {.kind = OBJECT_SEMAPHORE, .object = id};
    if (id == 0)
        return error_set(MUSTER_EINVAL, "0 is not the id of a semaphore");
    return semaphore_open(semaphore, pool, NULL, &open, 0);
}

uint64_t muster_semaphore_id(const muster_semaphore *semaphore)
{
    return semaphore ? semaphore->handle.shared->id : 0;
}

void muster_semaphore_free(muster_semaphore *semaphore)
{
    if (!semaphore)
        return;
    object_close(&semaphore->handle);
    memory_free(semaphore);
}

int muster_semaphore_acquire(muster_semaphore *semaphore, double timeout, muster_grant *granted)
{
    return acquire((struct object_handle *)semaphore, "muster_semaphore_acquire", 0, LOCK_ALONE, timeout, granted);
}

int muster_semaphore_release(muster_semaphore *semaphore, size_t count)
{
    if (count == 0)
        return error_set(MUSTER_EINVAL, "no permit is to be released");
    return request((struct object_handle *)semaphore, "muster_semaphore_release", 0, count, NULL);
}

int muster_semaphore_permits(muster_semaphore *semaphore, size_t *permits)
{
    uint64_t numbers[LOCK_STATS_COUNT];
    if (!permits)
        return error_set(MUSTER_EINVAL, "there is nowhere to put the number: the second argument is NULL");
    int status = request((struct object_handle *)semaphore, "muster_semaphore_permits", 0, 0, numbers);
    if (status == 0)
        *permits = (size_t)numbers[0];
    return status;
}
