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

#include "core/clock.h"

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

/* For a language whose signal handlers run in the thread that waits: `interrupted` is called there, without any lock of
 * muster's, when a signal has come and at least every WAIT_LOOK_NS. Once it gives true, every wait of this thread ends
 * as if its deadline had come, until the next call of this function. NULL: waits are not interrupted. */
#define WAIT_LOOK_NS (50 * NS_PER_MS)
void wait_interruptible(bool (*interrupted)(void));
/* Was a wait of this thread ended by it? */
bool wait_interrupted(void);

#endif
