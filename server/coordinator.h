/*
 * The coordinator: the one place that knows every task, worker, supervisor and client. A pure state machine: peers come
 * and go, messages and ticks come in, messages go out through `struct peer`. It does no I/O, starts no thread, reads no
 * clock and draws random numbers only from its own seeded generator, so the same inputs in the same order give the same
 * outputs.
 */
#ifndef SERVER_COORDINATOR_H
#define SERVER_COORDINATOR_H

#include "core/clock.h"
#include "core/message.h"
#include "core/random.h"

struct coordinator;

/* A peer as the coordinator sees it. Owned by the hub; alive from coordinator_peer_up() until coordinator_peer_down()
 * returns. */
struct peer {
    enum role role;
    uint64_t identity, group; /* from HELLO; a worker's group is its supervisor's identity */
    uint64_t pid;
    char *host, *name, *domain, *language; /* owned by the hub */
    /* Sends a message; the ordinal (1, 2, ...) counts messages to this peer. Returns 0 or a negative status (the hub
     * then closes the peer after the current event). Must not call back into the coordinator. */
    int (*send)(struct peer *peer, const struct message *message);
    uint64_t sent;        /* ordinal of the latest message, kept by `send` */
    size_t backlog_bytes; /* kept by the hub: queued for this peer and not acknowledged */
    void *state;          /* the coordinator's record of this peer */
    void *user;           /* the registry's, if it uses shared objects */
    bool local;           /* by calls: it cannot die without the coordinator */
    /* the hub's own fields follow in its own structure */
};

struct coordinator_config {
    uint64_t identity; /* told to peers in WELCOME */
    uint64_t pid;
    const char *domain;                /* shared-memory domain of this process */
    uint64_t heartbeat_ns;             /* the rejoin window after a start */
    uint64_t function_grace_ns;        /* a task whose function no connected worker has offered for so long fails with
                                          ENOFUNCTION */
    size_t client_tasks, client_bytes; /* limits: outstanding tasks and argument bytes of one client */
    size_t client_definition_bytes;    /* what its definitions may cost (core/message.h) ... */
    size_t worker_definition_bytes;    /* ... and about those that a worker is given at one time */
    size_t payload_limit;              /* longest message that a peer takes, bytes; 0: any length. Set by the hub */
    size_t total_bytes;                /* bytes of arguments, results and definitions held in all */
    size_t peer_backlog_bytes; /* a client that does not take results: stop handing out its tasks at this backlog */
    size_t clients, workers;   /* limits: number of peers */
    bool rejoin;               /* false for an embedded coordinator: there is no earlier one */
    size_t objects;            /* limit: shared objects */
    size_t queue_items;        /* limit: items of one queue */
    uint64_t fence_base;       /* grants of locks are numbered from here on: higher than an earlier coordinator's */
};
void coordinator_config_defaults(struct coordinator_config *config);

int coordinator_create(struct coordinator **coordinator, const struct coordinator_config *config,
                       const struct random *seed, uint64_t now_ns);
void coordinator_free(struct coordinator *coordinator);

/* A peer's session is open. MUSTER_ELIMIT or MUSTER_ENOMEM refuse it (error detail set). */
int coordinator_peer_up(struct coordinator *coordinator, struct peer *peer, uint64_t now_ns);
/* A message from it. Non-zero (MUSTER_EPROTOCOL, MUSTER_ELIMIT; *why static text) means that the peer misbehaved: the
 * hub closes it. */
int coordinator_message(struct coordinator *coordinator, struct peer *peer, const struct message *message,
                        uint64_t now_ns, const char **why);
/* The peer has acknowledged messages up to this ordinal. A local peer acknowledges at once. */
void coordinator_delivered(struct coordinator *coordinator, struct peer *peer, uint64_t ordinal, uint64_t now_ns);
/* The peer said BYE (`goodbye`) or was declared lost. */
void coordinator_peer_down(struct coordinator *coordinator, struct peer *peer, bool goodbye, const char *reason,
                           uint64_t now_ns);

/*
 * The end of a batch of events. The calls above only note what has changed; here queued tasks are assigned to workers,
 * SETTLED, RECALL and RELEASE are decided, and clients hear of a changed number of workers, each once for the whole
 * batch. The hub calls it after it has taken in everything that is there (messages, deliveries, ticks) and before it
 * answers polls; without it no task is handed out. coordinator_deadline() is up to date afterwards.
 */
void coordinator_flush(struct coordinator *coordinator, uint64_t now_ns);

/* When coordinator_tick() (and then coordinator_flush()) wants to be called at the latest, or NEVER_NS. */
uint64_t coordinator_deadline(const struct coordinator *coordinator);
void coordinator_tick(struct coordinator *coordinator, uint64_t now_ns);

/* Payload segments that nobody will read any more: the hub unlinks them. Set once after create; NULL in the simulator.
 */
void coordinator_on_discard(struct coordinator *coordinator, void (*discard)(void *arg, struct bytes segment_name),
                            void *arg);

/* SIGTERM: takes no new clients' tasks, lets those outstanding finish. coordinator_drained() once nothing is
 * outstanding. */
void coordinator_drain(struct coordinator *coordinator);
bool coordinator_drained(const struct coordinator *coordinator);

/* The status document (docs/status.md) as JSON. */
int coordinator_status(struct coordinator *coordinator, struct buffer *json, uint64_t now_ns);

struct registry_counts { /* of shared objects */
    size_t objects, references, waiters, items, bytes;
};

struct coordinator_counts {
    size_t clients, workers, supervisors, queued, assigned;
    uint64_t submitted, succeeded, failed, cancelled, timed_out, lost, retried, moved;
    struct registry_counts objects;
};
void coordinator_count(const struct coordinator *coordinator, struct coordinator_counts *counts);

/* Checks every internal invariant (lists, counts, references), for the simulator and tests: NULL or a static sentence.
 */
const char *coordinator_check(const struct coordinator *coordinator);

#endif
