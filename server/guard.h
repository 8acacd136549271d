/*
 * A guard: a small child process that outlives this one by a moment and removes what it would leave behind if it were
 * killed: socket files, the pid file, shared-memory segments. Started before NNG is touched, because NNG cannot be used
 * after a fork.
 */
#ifndef SERVER_GUARD_H
#define SERVER_GUARD_H

#include <stdbool.h>
#include <sys/types.h>

struct guard {
    pid_t pid;
    int pipe; /* the guard reads paths from it; its end is our end */
};

/* Forks the guard. Call it first in a program, before there are threads. MUSTER_ESYSTEM with detail. */
int guard_start(struct guard *guard);
/* Tells it a file to remove, which must exist: only this very file is removed, not another one that has taken its name.
 */
int guard_watch(struct guard *guard, const char *path);
/* An orderly end: the guard does nothing more, and is gone when this returns. */
void guard_end(struct guard *guard);

#endif
