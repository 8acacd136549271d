/*
 * Waiting for something that a pool's mutex guards: room in the window, a result, an iterator's next item.
 *
 * A waiter lives on the stack of the thread that waits, with a semaphore of its own, so a handle costs nothing for
 * being waited for, only those are woken whom it concerns, and who is woken need not fight for the mutex with the
 * thread that woke it.
 */
#ifndef BINDINGS_C_WAIT_H
#define BINDINGS_C_WAIT_H

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>

struct waiter {
    struct waiter *next, *previous;
    bool linked;
    sem_t semaphore;
};

/* All zero is an empty list. */
struct waitlist {
    struct waiter *first;
};

/* The moment at which a public function's time-out (seconds; negative: none) ends: for waitlist_sleep(). */
uint64_t wait_deadline(double timeout);

/* Mutex held on entry, NOT held on return. True if woken, false if the deadline came first. */
bool waitlist_sleep(struct waitlist *list, pthread_mutex_t *mutex, uint64_t deadline_ns);

/* Wakes everybody who waits. Mutex held. */
void waitlist_wake(struct waitlist *list);

#endif
