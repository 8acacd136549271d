/*
 * The supervisor's shell: one host's worker processes. It starts them, watches them end, reads what they print, and
 * kills them when told; what to do when is decided by workers/supervisor.h. The program muster-worker runs it around a
 * link to a musterd, an embedded pool
 * ("local:") inside the client's process around its own coordinator.
 *
 * It is a guest in its process: it installs no signal handler, waits only for processes that it started (unless
 * `subreaper`), and changes neither the environment nor the working directory. One thread spawns, waits and reads; a
 * worker dies with that thread (PR_SET_PDEATHSIG), and with the last copy of the pipe whose other end each worker
 * watches.
 *
 * All functions want the owner's mutex held, the one given to processes_start(), except where it says "mutex not held".
 */
#ifndef WORKERS_PROCESSES_H
#define WORKERS_PROCESSES_H

#include <pthread.h>

#include "core/handshake.h"
#include "muster.h"
#include "workers/supervisor.h"

struct processes;

struct processes_events {
    /* A message for the coordinator: SLOTS, SALVAGE, EXIT, GAVE_UP. Mutex held. 0, or MUSTER_ECONNECT while there is
     * none. It may call processes_message() before it returns, as an embedded coordinator does. */
    int (*send)(void *arg, const struct message *message);
    /* Workers fail at their start again and again; nothing more is started until processes_stop(). `status` is why the
     * last one failed: MUSTER_EPLUGIN, MUSTER_EAUTH, MUSTER_EWORKERS, ... Mutex held. */
    void (*gave_up)(void *arg, int status, const char *reason);
    void (*over)(void *arg); /* after processes_stop(): the last worker has ended. Mutex held. */
    /* A line that a worker wrote to stdout (1) or stderr (2), without its newline, at most 64 KiB long; `worker` is
     * "host/slot". Mutex not held, in the watching thread: it must not take long, and must not call processes_*().
     * NULL: the line goes to this process's stdout or stderr as "[host/slot] line". */
    void (*output)(void *arg, int stream, const char *worker, const char *line, size_t size);
};

/* Everything is copied by processes_start(). Zero or NULL means: none, or the default. */
struct processes_config {
    unsigned slots;
    const char *url;               /* control URL that the workers connect to */
    const char *host;              /* first half of "host/slot"; NULL: this machine's name */
    const struct authkey *authkey; /* handed over in memory, never in arguments or environment */
    uint64_t identity;             /* of the supervisor: the workers' group. 0: drawn */
    const char *program; /* to run as worker; NULL: this program if it called muster_init(), else muster-worker */
    const char *const *plugins; /* NULL-terminated paths */
    bool exec;                  /* offer muster.exec */
    const char *initializer;    /* a function's name */
    muster_args initializer_args;
    uint64_t max_tasks;
    const char *const *labels; /* NULL-terminated */
    const char *const
        *fork_server;    /* as in muster_pool_options: what forks the workers; NULL: they are started by exec */
    uint64_t answer_ns;  /* a fork server must answer within that time; 0: FORKS_PATIENCE_NS */
    size_t memory_limit; /* bytes of address space */
    bool raw_output;     /* workers inherit stdout and stderr */
    bool subreaper;      /* this process reaps every child it gets (muster-worker); see processes_reap() */
    const char
        *private_directory; /* of the embedded pool: workers whose supervisor was killed remove it and its files */
    const struct supervisor_config *supervisor; /* NULL: defaults; slots and identity are taken from above */
};

/*
 * Starts the watching thread, which starts the workers. With plugins or an initializer, a trial process loads them
 * first, so that what is wrong with them is known here; no code of theirs ever runs in this process. Mutex not held;
 * takes as long as the trial. EPLUGIN, EWORKERS (no program to run, detail says the mend), EINVAL, EENCODING, ENOMEM,
 * ESYSTEM.
 */
int processes_start(struct processes **processes, const struct processes_config *config,
                    const struct processes_events *events, void *arg, pthread_mutex_t *mutex);

/* A session with the coordinator is open: as supervisor_connected(). */
void processes_connected(struct processes *processes, bool restarted);
/* A message from the coordinator: KILL, RELEASE. Never calls back. 0 or MUSTER_EPROTOCOL. */
int processes_message(struct processes *processes, const struct message *message);

/* No worker is started any more. Those that live finish what they run and leave (SIGTERM), or are killed with `now`.
 * May be called again. */
void processes_stop(struct processes *processes, bool now);
bool processes_over(const struct processes *processes); /* stopped, and no worker is left */
unsigned processes_alive(const struct processes *processes);
/* For a subreaper, after SIGCHLD: children that are not workers are waited for too. Mutex held or not. */
void processes_reap(struct processes *processes);

/* CPUs that this process may use: as many workers as "local:" has. */
unsigned processes_cpus(void);

/* Kills what still lives, waits for it, ends the thread, sets *processes to NULL (mutex held, so a callback that looks
 * at it first is safe) and frees. Mutex not held. */
void processes_free(struct processes **processes);

#endif
