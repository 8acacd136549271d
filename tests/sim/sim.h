/*
 * The simulator: clients, the coordinator, supervisors and workers with their real protocol code, in one process, on a
 * virtual clock and a virtual network. One seed is one run, bit for bit the same each time.
 *
 *   world.c     the clock, the event queue, one run from start to verdict
 *   network.c   connections: delay, loss with a broken connection, polls that fail, answers that come too late
 *   coordinator_actor.c, client_actor.c, host_actor.c   processes: start, work, crash, restart
 *   faults.c    what breaks, and when
 *   object_actor.c   what clients do with shared objects, and the ledger of that
 *   lock_actor.c     the same for locks
 *   ledger.c    what really happened to every task, and the invariants that compare it with what the callers were told
 *
 * A *process* is one link with whatever stands behind it. A *host* is a supervisor with its workers, and shares one
 * cable: a cut cable separates all of them.
 */
#ifndef TESTS_SIM_H
#define TESTS_SIM_H

#include <stdio.h>

#include "bindings/c/client.h"
#include "core/clock.h"
#include "core/errors.h"
#include "core/sharing.h"
#include "server/hub.h"
#include "workers/supervisor.h"
#include "workers/worker.h"

#define SIM_HEARTBEAT_NS (5 * NS_PER_S)
#define BODIES 9 /* 0: none; the last is long, and half of the others are the same in every client */
#define MAX_BODY_BYTES 300000
#define SIM_CLIENT_BYTES 304000 /* room for a long definition and some short ones */
#define SIM_WORKER_BYTES 2000
#define MAX_PROCESSES 4096 /* ever started in one run */
#define MAX_CLIENTS 4
#define MAX_HOSTS 4
#define MAX_SLOTS 4
#define MAX_TASKS 2048
#define QUEUES 3
#define MAX_ITEMS 4096
#define TAKINGS 4 /* of one item that are looked at */
#define MAX_GRANTS 4096
#define MAX_CLIENT_PROCESSES 1024

/* A bug put in on purpose, to see an invariant fire. */
enum plant {
    PLANT_NONE,
    PLANT_DOUBLE_OUTCOME,  /* a client is told an outcome twice */
    PLANT_LOST_OUTCOME,    /* a client is not told */
    PLANT_RUN_TWICE,       /* a worker runs a task again */
    PLANT_WRONG_VALUE,     /* a worker answers with another task's value */
    PLANT_WRONG_BODY,      /* a worker is introduced to the wrong body */
    PLANT_NO_BODY,         /* a worker is given a task without its body */
    PLANT_BLAME_UNSTARTED, /* a supervisor says that more had been started than had */
    PLANT_NO_REJOIN,       /* the restarted coordinator does not wait for claims */
    PLANT_NO_SALVAGE,      /* a supervisor does not hand in a dead worker's outcomes */
    PLANT_NO_SETTLE,       /* workers are not told SETTLED */
    PLANT_KILL_ANYONE,     /* a supervisor kills the wrong worker */
    PLANT_IGNORE_LIMITS,   /* nobody measures how long a task runs */
    PLANT_SPURIOUS_CANCEL, /* a client cancels what nobody asked to cancel */
    PLANT_ITEM_LOST,       /* a client drops an item that it was given in advance */
    PLANT_ITEM_TWICE,      /* a client does not say what it has taken */
    PLANT_ITEM_ORDER,      /* a client puts an item before an older one */
    PLANT_LATE_PUT,        /* a client puts an item after all when the time is over */
    PLANT_NO_RETURN,       /* a client does not give back what is called back */
    PLANT_NO_CLOSE,        /* a client does not say that it closes an object */
    PLANT_LOCK_ANYWAY,     /* a client acts as if it had a lock that it was refused */
    PLANT_OLD_FENCES,      /* a coordinator that restarts numbers its grants as the one before did */
    PLANT_FALLING_COUNTER, /* a client believes that a counter has gone further than it has */
    PLANT_COUNT
};
extern const char *const plant_names[PLANT_COUNT];

enum process_kind { PROCESS_CLIENT, PROCESS_SUPERVISOR, PROCESS_WORKER };
enum line { LINE_POLL, LINE_PUSH, LINES };

/* One end of a connection to the coordinator. `pipe` is new each time that it is made; 0 while it is broken. */
struct connection {
    uint64_t pipe;
    uint64_t up_free_ns, down_free_ns; /* when the last frame on its way arrives: later ones come after it */
    bool connecting;
};

struct world;
struct host;
struct task;
struct actor;

struct process {
    struct world *world;
    unsigned id; /* index in world->processes; never used again */
    enum process_kind kind;
    bool alive;
    bool frozen;       /* stopped, as by SIGSTOP */
    struct host *host; /* NULL: a client, with a cable of its own */
    bool cut;          /* a client's own cable */
    struct link link;
    struct connection connections[LINES];
    /* the REQ in flight */
    struct buffer request;
    uint64_t request_id;
    bool request_waiting;
    struct buffer pushing; /* frame handed to the push line, not yet taken by the connection */
    bool push_waiting;
    uint64_t tick_ns; /* of the earliest tick event in the queue */
    /* a client */
    struct client *client;
    unsigned to_submit;
    struct sharing *sharing;
    struct actor *actor;   /* what it does with shared objects */
    struct locker *locker; /* and with locks */
    /* a worker */
    struct worker *worker;
    struct page *page;
    unsigned slot;
    struct held_task *running;
    struct task *running_task;
    uint64_t body_of_key[256]; /* which body a key stood for; 0: not seen yet */
    uint64_t run_started_ns, run_id;
    uint64_t identity;
};

struct host {
    struct world *world;
    unsigned index, slots;
    bool rare; /* offers the function "rare" too */
    bool cut;
    struct process *process; /* the supervisor's; NULL while the host is down */
    struct supervisor *supervisor;
    struct process *workers[MAX_SLOTS];
    uint64_t tick_ns;
    unsigned pages; /* given to workers and not released yet */
};

enum behaviour { RUN_OK, RUN_FAIL, RUN_CRASH, RUN_HANG, RUN_STUBBORN };

/* One task in the ledger: what the client asked for, what happened, what the client was told. */
struct task {
    unsigned index;
    struct process *client;
    uint64_t number;
    enum behaviour behaviour;
    uint64_t duration_ns, limit_ns, retries;
    bool retry_lost_only, nobody, rare;
    unsigned body;
    unsigned starts, finishes, running;
    bool died_running;   /* a worker died while it ran this */
    bool ran_to_limit;   /* a run took at least limit_ns */
    bool result_delayed; /* a host was cut off while its result was on its way: the limit may run out meanwhile */
    bool cancel_asked;
    bool may_be_lost;   /* held by a host that went down, or was cut off for long: nobody can say what had started */
    bool may_run_twice; /* the coordinator restarted while those who knew about this task could not come */
    unsigned outcomes;
    int status;
};

/* One item in the ledger. */
struct item {
    unsigned queue;
    struct process *producer;
    unsigned taken; /* how often */
    struct taking {
        struct process *process;
        uint64_t session, ordinal; /* of the process's session, and of the latest message in it then */
        bool unheard;              /* that session ended before it was acknowledged */
    } takings[TAKINGS];
    bool confirmed; /* its put was answered, or a flush after it */
    bool timed_out; /* its put ended with a time-out, or for want of room */
    bool may_be_lost;
};

/* One grant of a lock in the ledger. */
struct grant {
    unsigned lock;
    enum lock_mode mode;
    struct process *process;
    uint64_t session, fence;
    bool held; /* its client believes so */
    uint64_t released_ordinal;
    bool unheard; /* its session has ended before a release was heard */
};

enum event_kind {
    EVENT_POLL_ARRIVES,
    EVENT_ANSWER_ARRIVES,
    EVENT_PUSH_ARRIVES,
    EVENT_PUSH_TAKEN,
    EVENT_CONNECTED,
    EVENT_PIPE_CLOSED,
    EVENT_LINK_TICK,
    EVENT_HUB_TICK,
    EVENT_HOST_TICK,
    EVENT_RUN_ENDS,
    EVENT_REAPED,
    EVENT_CLIENT_ACTS,
    EVENT_OBJECTS_ACT,
    EVENT_FAULT,
    EVENT_MEND,
    EVENT_COORDINATOR_STARTS,
    EVENT_HOST_STARTS
};

struct event {
    uint64_t at_ns, order;
    enum event_kind kind;
    unsigned process; /* id, or a host's index */
    uint64_t number;  /* pipe, request or run that it is about */
    uint64_t value;   /* poll's request id, ... */
    struct buffer frame;
    struct worker_end end;
};

/* An open poll at the coordinator. */
struct open_poll {
    uint64_t id;
    unsigned process;
    uint64_t pipe, request_id;
};

struct world {
    uint64_t seed, now_ns, order, next_id;
    uint64_t rng;
    FILE *trace;
    enum plant plant;
    uint64_t digest;      /* over all that happened: two runs of a seed must agree */
    struct event *events; /* binary heap by (at_ns, order) */
    size_t event_count, event_capacity;
    struct hub *hub; /* NULL while the coordinator is down */
    uint64_t hub_tick_ns, hub_started_ns;
    struct open_poll *polls;
    size_t poll_count, poll_capacity;
    struct process *processes[MAX_PROCESSES];
    unsigned process_count;
    struct host hosts[MAX_HOSTS];
    unsigned host_count, client_count;
    struct task tasks[MAX_TASKS];
    unsigned task_count;
    struct item items[MAX_ITEMS];
    unsigned item_count;
    struct grant grants[MAX_GRANTS];
    unsigned grant_count;
    struct doubt {
        unsigned first, second;
    } doubts[MAX_GRANTS]; /* grants that were held together: one of them must turn out to be unheard */
    unsigned doubt_count;
    uint64_t fence;        /* the highest number of a grant */
    unsigned ordered_from; /* items from this one on come in order */
    unsigned unordered;    /* bits: queues in which none do */
    uint64_t healed_ns;
    bool process_bound; /* this run's connections break only with their process (ipc) */
    bool healing;       /* no more faults: everything is mended and must come to an end */
    unsigned fault_mask;
    unsigned coordinator_restarts;
    uint64_t unknown_until_ns; /* until then tasks may still be given to a host that has gone, before that is noticed */
    uint64_t events_done;
    const char *violation;
    char violation_text[512];
};

/* world.c */
uint64_t sim_random(struct world *world, uint64_t below); /* 0 .. below-1 */
bool sim_chance(struct world *world, unsigned percent);
struct event *sim_at(struct world *world, uint64_t at_ns, enum event_kind kind, unsigned process);
void sim_trace(struct world *world, const char *format, ...) __attribute__((format(printf, 2, 3)));
void sim_violate(struct world *world, const char *invariant, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void sim_seed(struct world *world, struct random *random);
bool sim_run(struct world *world, uint64_t seed, uint64_t steps, enum plant plant, FILE *trace);
void sim_free(struct world *world);

/* network.c */
void network_connect(struct process *process);                   /* tries to make both connections */
void network_line_lost(struct process *process, enum line line); /* tells the link */
void network_break(struct process *process, enum line line);     /* loses what is on its way */
void network_lose_in_flight(struct world *world, uint64_t pipe); /* 0: of every pipe */
void network_process_died(struct process *process);              /* what was sent still arrives, then the pipes close */
void network_pump(struct process *process);                      /* sends what the link wants to send */
bool network_reachable(const struct process *process);
void network_event(struct world *world, struct event *event);
void network_hub_answer(void *world, hub_poll_id poll, struct bytes frame);
void network_hub_drop(void *world, hub_poll_id poll);

/* coordinator_actor.c */
void coordinator_start(struct world *world);
void coordinator_crash(struct world *world);
void coordinator_pump(struct world *world);

/* client_actor.c */
/* Writes what the task is to find as its body; gives the length. */
size_t client_body(const struct task *task, unsigned char *body);
struct process *client_start(struct world *world);
void client_crash(struct process *process);
void client_act(struct process *process);

/* object_actor.c */
void objects_start(struct process *process);
void objects_stop(struct process *process); /* it crashes */
void objects_act(struct process *process);
int objects_message(struct process *process, const struct message *message);
void objects_renewed(struct process *process);
void objects_note_acknowledged(struct process *process); /* looks at the session before it may end */
void objects_disordered(struct world *world);            /* something goes back to the front of a queue */
void objects_coordinator_crashed(struct world *world);
bool objects_done(const struct process *process);
void objects_end(struct world *world);

/* lock_actor.c: called by object_actor.c, with which it shares the session */
void locks_start(struct process *process);
void locks_bury(struct process *process); /* frees what the session that has ended had open */
void locks_stop(struct process *process);
void locks_act(struct process *process);
void locks_done(struct sharing_call *call);
void locks_renewed(struct process *process);
void locks_note_acknowledged(struct process *process);
bool locks_quiet(const struct process *process);
void locks_end(struct world *world);

/* host_actor.c */
void host_start(struct host *host);
void host_crash(struct host *host);
void host_tick(struct host *host);
void worker_crash(struct process *process, int signal);
void worker_run_ends(struct process *process, uint64_t run_id);
void worker_reaped(struct world *world, struct event *event);
void worker_pump(struct process *process);

/* process bookkeeping shared by the actors (world.c) */
struct process *process_new(struct world *world, enum process_kind kind, struct host *host);
int process_link(struct process *process, enum role role, uint64_t group, const char *name,
                 const struct link_events *events, void *arg);
void process_end(struct process *process);

/* faults.c */
void fault_strike(struct world *world);
void fault_mend(struct world *world, struct event *event);
void fault_heal_all(struct world *world);

/* ledger.c */
void ledger_started(struct world *world, struct process *worker, struct task *task);
void ledger_finished(struct world *world, struct process *worker, struct task *task, uint64_t run_ns);
void ledger_worker_died(struct process *worker);
void ledger_host_unknown(struct host *host); /* its supervisor died, or it was cut off for long */
void ledger_outcome(struct world *world, struct task *task, const struct message *message);
void ledger_end(struct world *world); /* after everything has come to rest */

#endif
