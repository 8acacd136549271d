/*
 * Helper processes of a benchmark: each is started by exec, dies with the thread that started it, and is ended by its
 * pid. Standard error is inherited: the driver points it at a file, whose last line explains a failure.
 */
#ifndef BENCH_HELPER_H
#define BENCH_HELPER_H

#include <stdbool.h>
#include <sys/types.h>

enum helper_flags {
    HELPER_OUTPUT = 1, /* standard output is a pipe to `output`; else it is /dev/null */
    HELPER_INPUT = 2,  /* standard input is a pipe from `input`; else it is /dev/null */
    HELPER_GROUP = 4   /* its own process group, which helper_kill() kills whole */
};

struct helper {
    pid_t pid; /* 0: not running */
    int input, output;
    int flags;
    char line[512]; /* of output read so far, without a newline yet */
    size_t length;
};

/* Starts argv[0] (a path) with standard error on `error_path`, or inherited if NULL. 0, or -1 with errno. */
int helper_start(struct helper *helper, char *const *argv, int flags, const char *error_path);

/* This program again in a role: arguments up to NULL. */
int helper_start_role(struct helper *helper, const char *role, ...) __attribute__((sentinel));

/* Waits for a whole line of output: 1 with it in `line`, 0 at the end of the output, -1 when the time is up. */
int helper_read_line(struct helper *helper, char *line, size_t size, int timeout_ms);

/* Waits until it has ended by itself: its exit status (128 + signal), or -1 when the time is up. */
int helper_wait(struct helper *helper, int timeout_ms);

/* SIGTERM, two seconds, SIGKILL; closes the pipes. Harmless on a process that is not running. */
void helper_end(struct helper *helper);

/* SIGKILL at once, to the whole group if it has one. */
void helper_kill(struct helper *helper);

/* Ends the descendants that lost their parent and came to this process (which must be a subreaper), after giving them
 * a moment to end by themselves. Returns how many had to be killed; `names` gets their commands. */
int helper_end_orphans(char *names, size_t size);

#endif
