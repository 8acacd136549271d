/*
 * The worker process: what muster_init() remembers, and what becomes of a process that was started as a worker, or
 * forked to be one (workers/forkserver.h).
 */
#ifndef WORKERS_RUNTIME_H
#define WORKERS_RUNTIME_H

#include <stdbool.h>
#include <stdint.h>

#include "muster.h"

/* muster_init() was called: this program, started again, is a worker. */
bool runtime_can_restart(void);
/* How its worker copies are called in a list of processes: argv[0]. */
const char *runtime_program_name(void);

/*
 * A worker's language. Everything lives as long as the process. Hooks may be NULL; where it does not say otherwise they
 * are called in the main thread, without any lock of muster's held.
 *
 * An interpreter that lets one thread in at a time lets others in between wait_begin and wait_end: while the main
 * thread waits for a task, and while it reads or writes much that is none of the interpreter's business. Neither is
 * called between two tasks if the second one is there already.
 */
struct runtime_language {
    const char *name;                 /* for HELLO.language: "c", "python" */
    const muster_function *functions; /* offered besides those of plugins; ends with a NULL name. They run in the main
                                         thread, between wait_end and wait_begin */
    void (*wait_begin)(void *arg);
    void (*wait_end)(void *arg);
    /* The task that runs, whose task_ticket() is `ticket`, is to stop. Called in another thread, before the
     * main thread's system call is interrupted, and with the worker's lock held: it must neither wait nor take a lock
     * that somebody may hold who calls muster (an interpreter's). The function may return before what the hook has set
     * going takes effect. */
    void (*stop)(void *arg, uint64_t ticket);
    void (*end)(void *arg); /* the last thing before the process ends in good order: write what is buffered */
    void *arg;
};

/* The signal that interrupts the system calls of a task that is to stop. It is sent to the main thread again and again
 * until the task has ended, and now and then to another one. The runtime's own handler does nothing: a language may put
 * its own in its place, without SA_RESTART. */
int runtime_stop_signal(void);

/* Runs the worker that the hand-over behind `launch_fd` describes, and ends the process. To be called in the main
 * thread. */
__attribute__((noreturn)) void runtime_serve(int launch_fd, const struct runtime_language *language);

#endif
