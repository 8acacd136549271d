/*
 * Waiters on the stack. A waiter is unlinked by whoever wakes it, before its semaphore is posted; after that the waker
 * touches it no more, and the waiter may vanish.
 */
#include "bindings/c/wait.h"

#include <errno.h>
#include <time.h>

static _Thread_local bool (*look)(void); /* has somebody else a reason to end this thread's waits? */
static _Thread_local bool given_up;

void wait_interruptible(bool (*interrupted)(void))
{
    look = interrupted;
    given_up = false;
}

bool wait_interrupted(void)
{
    return given_up;
}

uint64_t wait_deadline(double timeout)
{
    if (timeout < 0 || timeout >= (double)(INT64_MAX / NS_PER_S))
        return NEVER_NS;
    uint64_t now_ns = clock_now_ns();
    return timeout > 0 ? now_ns + (uint64_t)(timeout * (double)NS_PER_S) : now_ns;
}

static void unlink_waiter(struct waitlist *list, struct waiter *waiter)
{
    if (waiter->previous)
        waiter->previous->next = waiter->next;
    else
        list->first = waiter->next;
    if (waiter->next)
        waiter->next->previous = waiter->previous;
    waiter->linked = false;
}

static int semaphore_wait_until(sem_t *semaphore, uint64_t deadline_ns)
{
    struct timespec at = {.tv_sec = (time_t)(deadline_ns / NS_PER_S), .tv_nsec = (long)(deadline_ns % NS_PER_S)};
    return deadline_ns == NEVER_NS ? sem_wait(semaphore) : sem_clockwait(semaphore, CLOCK_MONOTONIC, &at);
}

/* False when the deadline has come. */
static bool semaphore_wait(sem_t *semaphore, uint64_t deadline_ns)
{
    while (semaphore_wait_until(semaphore, deadline_ns) != 0)
        if (errno != EINTR)
            return false;
    return true;
}

/* The same, where a signal may end it. */
static bool semaphore_wait_looking(sem_t *semaphore, uint64_t deadline_ns)
{
    while (!given_up) {
        uint64_t next_ns = deadline_min(deadline_ns, clock_now_ns() + WAIT_LOOK_NS);
        if (semaphore_wait_until(semaphore, next_ns) == 0)
            return true;
        if (errno != EINTR && next_ns == deadline_ns)
            return false;
        given_up = look();
    }
    return false;
}

bool waitlist_sleep(struct waitlist *list, pthread_mutex_t *mutex, uint64_t deadline_ns)
{
    struct waiter waiter = {.next = list->first, .linked = true};
    sem_init(&waiter.semaphore, 0, 0);
    if (list->first)
        list->first->previous = &waiter;
    list->first = &waiter;
    pthread_mutex_unlock(mutex);

    bool woken =
        look ? semaphore_wait_looking(&waiter.semaphore, deadline_ns) : semaphore_wait(&waiter.semaphore, deadline_ns);
    if (!woken) {
        pthread_mutex_lock(mutex);
        woken = !waiter.linked;
        if (waiter.linked)
            unlink_waiter(list, &waiter);
        pthread_mutex_unlock(mutex);
        if (woken) /* the post is on its way, or was: it must be over before the semaphore goes */
            semaphore_wait(&waiter.semaphore, NEVER_NS);
    }
    sem_destroy(&waiter.semaphore);
    return woken;
}

void waitlist_wake(struct waitlist *list)
{
    while (list->first) {
        struct waiter *waiter = list->first;
        unlink_waiter(list, waiter);
        sem_post(&waiter->semaphore);
    }
}
