/*
 * The workers of one host, for a musterd: a supervisor with its processes around a link. This is all of the program
 * muster-worker but its command line, so that a program of another language can be the same with workers of its own.
 */
#ifndef WORKERS_HOST_H
#define WORKERS_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zero or NULL means: none, or the default. */
struct host_config {
    const char *url;                            /* of the musterd */
    unsigned workers;                           /* at least 1 */
    const char *authkey_file;                   /* NULL: the environment's MUSTER_AUTHKEY_FILE or MUSTER_AUTHKEY */
    const char *name;                           /* of this host, first half of "host/slot"; NULL: its host name */
    const char *language;                       /* of this program; NULL: "c" */
    const char *const *plugins, *const *labels; /* NULL-terminated */
    const char *const *fork_server;             /* as in muster_pool_options; NULL: workers are started by exec */
    bool exec;                                  /* offer muster.exec */
    const char *initializer;                    /* a function's name */
    uint64_t max_tasks;
    size_t memory_limit; /* bytes of address space of each worker */
    bool raw_output;
};

/*
 * Runs the workers until SIGTERM, SIGINT or SIGHUP, at which running tasks are finished; a second one ends at once.
 * Gives the exit status: 0 after an orderly end, 1 otherwise, after a sentence on stderr. For a program that does
 * nothing else: it blocks those signals and SIGCHLD and SIGUSR1, ignores SIGPIPE, and waits for every child of the
 * process (it is a subreaper). To be called once, in the main thread, before any other thread is started.
 */
int host_run(const struct host_config *config);

#endif
