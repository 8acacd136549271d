/*
 * Starting a program, for workers and for commands. The child shares memory with its parent until it has become the
 * program (vfork), so it costs the same in a small process and in a huge one, and no code of NNG's, of the C library's
 * or of the user's ever runs in a forked copy.
 */
#ifndef WORKERS_SPAWN_H
#define WORKERS_SPAWN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct spawn {
    const char *path; /* no search */
    char *const *argv, *const *envp;
    const char *cwd; /* NULL: the parent's */
    int fds[3];      /* become descriptors 0, 1 and 2; -1: inherited */
    const int *keep; /* descriptors above 2 that stay open in the program; every other one is closed */
    size_t keep_count;
    int death_signal;       /* sent to the program when the calling thread ends; 0: none */
    _Atomic int32_t *group; /* receives the process group's number before the program runs; NULL: nobody asks */
};

/* Starts the program in a process group of its own, with default signal handling and nothing blocked. 0, or an errno
 * with what was refused (static text: "run", "change to the directory"). */
int spawn_start(const struct spawn *spawn, pid_t *pid, const char **what);

/* A descriptor of 3 or more, so that it cannot be taken for stdin, stdout or stderr; takes `fd` over. -1 with errno. */
int spawn_lift(int fd);

#endif
