/*
 * The supervisor of one host's workers: how many there are, when one that ended is replaced (with back-off), and what
 * its death means. Pure: events in; spawn and kill orders, and messages to the coordinator, out. workers/processes.c
 * carries the orders out with real processes; in an embedded pool the same code runs inside the client.
 */
#ifndef WORKERS_SUPERVISOR_H
#define WORKERS_SUPERVISOR_H

#include "core/clock.h"
#include "core/message.h"
#include "core/random.h"
#include "workers/page.h"

struct supervisor;

/* How a worker process ended. */
struct worker_end {
    int64_t pid;
    int signal, exit_status; /* signal 0: exited with exit_status (0..255); otherwise exit_status -1 */
    bool memory;             /* the kernel killed it for memory */
    const char *last_words;  /* the last line that it wrote to stderr, or "" */
};

struct supervisor_events {
    /* Starts a process for this slot, with a fresh page; the worker says HELLO with this identity. 0, or a status that
     * counts as a failed start. */
    int (*spawn)(void *arg, unsigned slot, uint64_t identity, struct page **page);
    void (*kill)(void *arg, unsigned slot, int signal);
    void (*release)(void *arg, unsigned slot, struct page *page); /* the page is not needed any more */
    int (*send)(void *arg, const struct message *message); /* to the coordinator; MUSTER_ECONNECT while there is none:
                                                              it is told again in supervisor_connected() */
    void (*gave_up)(void *arg, const char *reason); /* workers end at once again and again: no point in going on */
};

struct supervisor_config {
    unsigned slots;
    uint64_t identity;                       /* the group of its workers */
    uint64_t backoff_min_ns, backoff_max_ns; /* between restarts of a worker that fails soon after its start */
    uint64_t healthy_ns;                     /* a worker that lived so long, or started a task, is replaced at once */
    unsigned give_up_after; /* so many starts in a row, over all slots, that never came to an open session; 0: never */
};
void supervisor_config_defaults(struct supervisor_config *config);

int supervisor_create(struct supervisor **supervisor, const struct supervisor_config *config, const struct random *seed,
                      const struct supervisor_events *events, void *arg, uint64_t now_ns);
void supervisor_free(struct supervisor *supervisor);

/* A session with the coordinator is open: `restarted` as in link_events.open. Reports what is not settled. */
void supervisor_connected(struct supervisor *supervisor, bool restarted, uint64_t now_ns);
int supervisor_message(struct supervisor *supervisor, const struct message *message,
                       uint64_t now_ns); /* KILL, RELEASE */
void supervisor_worker_ended(struct supervisor *supervisor, unsigned slot, const struct worker_end *end,
                             uint64_t now_ns);

/* Stop replacing workers: kills them with SIGTERM, at which they drain and leave, or with SIGKILL if `now`. */
void supervisor_stop(struct supervisor *supervisor, bool now);
bool supervisor_over(const struct supervisor *supervisor); /* stopped, and no worker is left */
unsigned supervisor_alive(const struct supervisor *supervisor);

uint64_t supervisor_deadline(const struct supervisor *supervisor);
void supervisor_tick(struct supervisor *supervisor, uint64_t now_ns); /* due restarts */

#endif
