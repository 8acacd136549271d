/*
 * Everything that the coordinator knows, as structures, and what its files offer one another. Nobody else includes
 * this.
 *
 *   coordinator.c        peers, messages, time: where events come in
 *   client_record.c      DEFINE, SUBMIT, CANCEL, STATUS and a client's end
 *   worker_record.c      what a worker holds: OFFER, RESULT, FAILURE, RETURNED, STARTED and a worker's end
 *   supervisor_record.c  SLOTS, EXIT, SALVAGE, GAVE_UP, KILL
 *   claims.c             tasks that workers knew before this coordinator did
 *   task.c               a task's life and its one outcome
 *   numbers.c            a client's tasks by number
 *   lane.c               queues of one function, labels and body, and turns between clients
 *   class.c              workers that can do the same, and the lanes they serve
 *   introduction.c       which bodies each worker has been given
 *   schedule.c           which worker gets, keeps and gives back what: once per batch
 *   status.c, check.c    the status document; the invariants
 *
 * Who owns what: the coordinator owns every record here; the hub owns `struct peer`. A task is in exactly one of: a
 * queue (QUEUED), the parked list (PARKED), a worker's list (ASSIGNED), or none of them (FINISHED: its client's
 * delivery list, and still its worker's list until the client has the outcome).
 */
#ifndef SERVER_STATE_H
#define SERVER_STATE_H

#include "core/errors.h"
#include "core/hash.h"
#include "core/heap.h"
#include "server/coordinator.h"
#include "server/objects/registry.h"

#define PRIORITY_LIMIT 1000                 /* priorities are -1000..1000 */
#define FUNCTIONS_LIMIT 4096                /* functions that one client defines, or one worker offers */
#define LABELS_LIMIT 64                     /* labels of a function or a worker */
#define NAME_LIMIT 255                      /* bytes of a function's name or a label */
#define CLAIMS_LIMIT 8192                   /* tasks that one worker claims */
#define MESSAGE_OVERHEAD 128                /* room for the other fields beside a payload in ASSIGN or DONE */
#define SENTENCE_LIMIT (64 * 1024)          /* bytes of what is told about a failure, of a log line ... */
#define TRACEBACK_LIMIT (128 * 1024)        /* ... and of a traceback; the rest is cut */
#define TICKET_LIMIT (UINT64_MAX / 2)       /* none beyond it can be claimed: the tickets that follow must have room */
#define TASK_COST_BYTES 160                 /* what a task is taken to cost besides its arguments */
#define INTRODUCTIONS_LIMIT 1024            /* bodies that a worker is given at one time */
#define IDLE_FUNCTIONS_LIMIT 1024           /* functions remembered for their statistics alone */
#define IDLE_QUEUES_LIMIT 64                /* empty queues that a client keeps for its next task */
#define HOLD_TASKS 1024                     /* tasks that a worker holds at most */
#define HOLD_BYTES (1024 * 1024)            /* argument bytes that it holds at most, if it holds more than two tasks */
#define HOLD_NS NS_PER_MS                   /* estimated run time of what it holds unstarted */
#define WORKER_BACKLOG_BYTES (1024 * 1024)  /* a worker that does not take what it is sent gets no more */
#define ESTIMATE_MIN_NS 500u                /* what a task costs at least, however short its function */
#define RECALL_WORTH_NS (200 * NS_PER_US)   /* work that is worth moving to an idle worker */
#define RECALL_PATIENCE_NS (10 * NS_PER_MS) /* an unanswered recall keeps others from being made for so long */
#define SETTLE_TASKS (HOLD_TASKS / 4)       /* settled tasks that are told at the latest ... */
#define SETTLE_BYTES (128 * 1024)           /* ... or the outcomes' bytes since the worker was told last ... */
#define SETTLE_NS NS_PER_S                  /* ... or the time */
#define GRACE_DEFAULT_MS 1000u
#define RATE_SECONDS 10

/* Completions in each of the last seconds. */
struct rate {
    uint64_t second; /* of the newest count */
    uint32_t counts[RATE_SECONDS + 1];
};

/* What is known about how long something takes. */
struct runs {
    uint64_t mean_ns; /* moving average of run times; meaningful if count > 0 */
    uint64_t last_ns, count, failures;
};

/* A function by name. Shared by its lanes; kept a while after the last of them. */
struct function {
    UT_hash_handle hh;
    char *name;
    size_t lanes; /* that use it */
    struct runs runs;
    struct rate rate;
};

/*
 * One (function, labels, body): what decides which workers can run a task, and what they need for it. A body makes a
 * function another one, so such a lane learns by itself how long its tasks take.
 */
struct lane {
    UT_hash_handle hh;
    char *key; /* as names_join() makes it, with labels sorted; then, if there is a body, a zero and the body */
    size_t key_length;
    struct function *function;
    const char **labels; /* into key */
    size_t label_count;
    struct bytes body;                  /* into key; length 0: none */
    uint64_t definition;                /* the number of its body, never used again; 0: it has none */
    size_t cost;                        /* of coordinator.definition_bytes */
    struct runs runs;                   /* of this lane's tasks, if it has a body */
    struct introduction *introductions; /* workers that have the body, by next_of_lane */
    size_t users;                       /* client functions and their queues' tasks that refer to it */
    struct heap queues;   /* of struct lane_queue that have tasks and may be served, the next to serve first */
    size_t queue_count;   /* all queues of this lane: the heap has room for so many */
    size_t queued;        /* tasks in all its queues */
    struct offer *offers; /* classes that serve it, by offer.next_in_lane; NULL: nobody does */
    uint64_t unserved_ns; /* since when it has had tasks that nobody serves */
    struct lane *previous_unserved, *next_unserved;
    bool unserved; /* in that list */
};

/* The turn that a client had last at one priority, over all its queues. */
struct level {
    struct level *next;
    int64_t priority;
    uint64_t turn;
};

/* What a client calls by a small number. */
struct client_function {
    struct lane *lane; /* NULL: not defined */
    struct lane_queue *queues;
    size_t cost; /* of client_record.definition_bytes */
    int refusal; /* why there was no room for what it defined (lane NULL): its tasks fail with that status; or 0 */
};

/* The tasks of one client, lane and priority, by arrival. */
struct lane_queue {
    size_t position; /* in lane->queues; 0: it has no task, or its client does not take results */
    struct client_record *client;
    struct client_function *function;
    struct lane *lane;
    struct level *level;
    struct lane_queue *next; /* of the same client function */
    struct lane_queue *next_of_client, *previous_of_client;
    struct task *first, *last;
    struct task *returned; /* where the latest task that came back was put in; the next will be near */
    uint64_t turn;         /* of the first task */
    size_t count;          /* tasks in it */
    size_t tasks;          /* tasks anywhere that belong to it */
};

enum task_state { TASK_NEW, TASK_QUEUED, TASK_PARKED, TASK_ASSIGNED, TASK_FINISHED };

/* Bits of task.marks */
enum task_mark {
    TASK_STOPPED = 1,     /* STOP was sent to its worker */
    TASK_CANCELLED = 2,   /* the client has cancelled it */
    TASK_OVERDUE = 4,     /* its time limit has run out */
    TASK_RECALLED = 8,    /* RECALL was sent, and it is not the head: expected back */
    TASK_STARTED = 16,    /* the worker said so */
    TASK_UNCLAIMED = 32,  /* its worker has come back and has not claimed it yet */
    TASK_CLAIMABLE = 64,  /* a worker may still come that has it */
    TASK_SUCCEEDED = 128, /* FINISHED with DONE */
    TASK_OPEN = 256,      /* counts among its worker's tasks without outcome */
    TASK_ASKED = 1024,    /* RECALL was sent and is not answered: it comes back, or its outcome comes */
    TASK_CLAIMED = 512    /* at its worker by a claim, not by an assignment of ours */
};

/* An outcome, as the worker's encoded message, of a task that its client has not submitted to this coordinator yet. */
struct stored {
    size_t length;
    unsigned char message[];
};

/* A task. One allocation, with its arguments; a queued one costs about 150 bytes besides them. */
struct task {
    struct task *previous, *next; /* in its queue, the parked list or its worker's list */
    union {
        struct task *delivery_next; /* FINISHED: in its client's delivery list */
        struct stored *stored;      /* a claim with an outcome already (queue == NULL) */
    };
    struct client_record *client; /* NULL: nobody wants its outcome any more */
    struct lane_queue *queue;     /* NULL: known by a claim only, or client == NULL */
    struct number_page *page;     /* where the client's table has it */
    struct worker_record *worker; /* whose list it is in, or NULL */
    uint64_t number;
    uint64_t ticket; /* at `worker` */
    union {
        uint64_t arrival; /* order among equals; kept when it goes back to its queue */
        uint64_t ordinal; /* FINISHED: of the message with the outcome */
    };
    uint64_t items;
    uint32_t length; /* of args, bytes */
    uint32_t time_limit_ms, grace_ms, retries, estimate_ns;
    uint16_t marks;
    uint8_t flags; /* SUBMIT.flags */
    uint8_t state : 3, encoding : 5;
    unsigned char args[];
};

/* 32 consecutive numbers of a client. */
#define PAGE_NUMBERS 32
struct number_page {
    UT_hash_handle hh;
    uint64_t index; /* number / PAGE_NUMBERS */
    unsigned count;
    struct task *tasks[PAGE_NUMBERS];
};

struct numbers {
    struct number_page *pages, *latest; /* latest: the page used last */
    uint64_t secret;                    /* what the hash of a page's index depends on besides */
    uint64_t highest;                   /* no number above it is known */
    size_t count;
};

/* A client: connected, or (peer NULL) known from claims during the rejoin window. */
struct client_record {
    UT_hash_handle hh;
    uint64_t identity;
    struct peer *peer;
    struct numbers numbers;
    struct client_function *functions[FUNCTIONS_LIMIT / 64]; /* blocks of 64, made when needed */
    size_t definition_bytes;                                 /* what they cost */
    struct level *levels;
    struct lane_queue *queues; /* by next_of_client */
    size_t queue_count;
    size_t open, bytes; /* tasks without an outcome, and their argument bytes */
    size_t claims;      /* of numbers.count: tasks known by claims only */
    struct task *delivery_first,
        *delivery_last; /* outcomes sent and not acknowledged, in the order of their ordinals */
    bool paused;        /* takes no results: its queues are out of their lanes' heaps */
    uint64_t rejoin_ns; /* claims for it are kept until then */
    uint64_t workers_told;
    uint64_t submitted, succeeded, failed;
};

/* A worker: connected, cut off and not decided upon yet, or dead with outcomes that are not settled. */
struct worker_record {
    UT_hash_handle hh;
    uint64_t identity, group, pid;
    char *name, *host;
    struct peer *peer;   /* NULL: no session */
    struct class *class; /* NULL: has not offered anything, or has no session */
    struct worker_record *previous_in_class, *next_in_class;
    size_t room_position, timer_position;
    struct task *first, *last;                  /* not settled, by ticket */
    struct task *head;                          /* the first without an outcome: runs, or is the next to run */
    size_t count;                               /* tasks in the list */
    size_t open, open_bytes;                    /* of them without outcome, and their argument bytes */
    size_t asked;                               /* of the open ones, with TASK_ASKED */
    size_t recalled;                            /* of the open ones, with TASK_RECALLED */
    uint64_t load_ns;                           /* estimates of the other open ones */
    uint64_t head_ns;                           /* when head became the head */
    uint64_t started_ns, stopped_ns, killed_ns; /* of the head; see timer_of() */
    uint64_t deadline_ns;                       /* its key among the timers */
    uint64_t last_ticket, settled_told;
    size_t settled_count, outcome_bytes; /* since SETTLED was sent */
    struct introduction *introductions;  /* hash table: the bodies that it has been given in this session */
    struct introduction *first_introduction, *last_introduction; /* the same by their use, the latest last */
    size_t introduced_bytes;                                     /* their lanes' cost */
    struct worker_record *changed_next, *previous_loaded, *next_loaded;
    uint64_t cut_off_ns; /* when its session ended */
    uint64_t since_ns, done, failed;
    bool laden;                  /* the tasks that it holds need more bodies than it should have */
    bool changed;                /* in the list of those to look at in the flush */
    bool has_room, idle, loaded; /* as of the latest look */
    bool blocked;                /* could not be sent something: it will be lost */
    bool draining, dismissed;
    bool killed; /* KILL was sent, or would have been: nobody there to do it */
    bool kill_sent;
    bool released;    /* RELEASE was sent */
    bool exited;      /* its supervisor has reported its end */
    bool lost;        /* its session is gone and it is given up */
    bool returning;   /* has come back and not offered yet */
    char reason[128]; /* why its session ended */
};

/*
 * A worker has been given the body of a lane and has not been told to forget it. An open task of the lane may be there
 * as long as `last_ticket` is not below the worker's head's.
 */
struct introduction {
    UT_hash_handle hh;
    uint64_t definition; /* the lane's */
    struct worker_record *worker;
    struct lane *lane;
    uint64_t last_ticket;                 /* of the latest task of the lane that was assigned there */
    struct introduction *previous, *next; /* of the worker */
    struct introduction *previous_of_lane, *next_of_lane;
};

struct supervisor_record {
    UT_hash_handle hh;
    uint64_t identity;
    struct peer *peer;
    uint64_t slots;
    bool gave_up;
    char *reason;
};

/* Workers that offer the same functions in the same order and carry the same labels. */
struct class
{
    UT_hash_handle hh;
    char *key;
    size_t key_length;
    const char **functions, **labels; /* into key; labels sorted */
    size_t function_count, label_count;
    struct worker_record *workers, *loaded; /* loaded: with tasks that can be recalled */
    size_t worker_count, idle;
    struct heap room;          /* workers that can take a task, the least loaded first */
    struct heap offers;        /* struct offer of lanes that may have tasks; keys may be too low, never too high */
    struct offer *first_offer; /* all of them, by next_in_class */
    size_t offer_count;
    struct class *next_ready;
    bool ready; /* in the list of those that may have both room and tasks */
};

/* A class serves a lane. */
struct offer {
    size_t position; /* in class->offers */
    struct class *class;
    struct lane *lane;
    uint64_t function; /* index in the workers' OFFER */
    struct offer *next_in_class, *next_in_lane;
    int64_t priority; /* the key: of the lane's first queue when last looked at */
    uint64_t turn, arrival;
};

struct coordinator {
    struct coordinator_config config;
    char *domain;
    struct random random;
    uint64_t now_ns; /* of the latest event */
    uint64_t started_ns;
    bool draining;
    void (*discard)(void *arg, struct bytes segment_name);
    void *discard_arg;

    struct registry *registry; /* of shared objects */
    struct client_record *clients;
    struct worker_record *workers;
    struct supervisor_record *supervisors;
    struct function *functions;
    struct lane *lanes;
    struct class *classes;

    size_t connected_clients, connected_workers; /* the latter: that have offered */
    size_t worker_sessions;
    uint64_t workers_since_ns; /* when connected_workers became 1 */
    struct worker_record *changed;
    struct class *ready;
    struct lane *unserved_first, *unserved_last; /* by unserved_ns */
    struct heap timers;                          /* of workers */
    struct task *parked_first, *parked_last;
    uint64_t rejoin_ns;   /* end of the rejoin window; 0: over */
    uint64_t settle_ns;   /* when SETTLED that wait are sent at the latest */
    uint64_t recall_ns;   /* when to look again for work to recall */
    uint64_t recalled_ns; /* when the latest RECALL was sent */
    size_t recalled;      /* tasks with TASK_RECALLED */
    size_t loaded;        /* workers in their class's list of loaded ones */
    size_t claims;        /* tasks known by claims only */
    bool tell_workers;    /* some client has not been told the number of workers */

    uint64_t turns[2 * PRIORITY_LIMIT + 1]; /* of the task handed out last at each priority */
    uint64_t tickets, arrivals;
    size_t tasks;                    /* records that have a client: without outcome, or with one not delivered */
    size_t queued, parked, assigned; /* by state; assigned includes those whose client is gone */
    size_t bytes;                    /* arguments and stored outcomes */
    size_t definition_bytes;         /* what all lanes cost */
    uint64_t definitions;            /* bodies numbered so far */
    struct coordinator_counts totals;
    struct rate rate;
};

/* --- task.c ------------------------------------------------------------------------------------------------------- */

/* What is told of a failure besides the task itself. */
struct failure {
    int status;
    struct bytes kind, message, traceback, value;
    uint64_t encoding;                  /* of the value */
    const struct worker_record *worker; /* or NULL */
    uint64_t signal, item;
    int64_t exit_status;
};

struct task *task_create(struct coordinator *coordinator, struct client_record *client, uint64_t number,
                         struct bytes args);
/* Takes it out of every list and frees it. */
void task_destroy(struct coordinator *coordinator, struct task *task);
/* Its client does not want the outcome any more: QUEUED, PARKED and FINISHED are freed, at a worker it is stopped. */
void task_abandon(struct coordinator *coordinator, struct task *task);
void task_cancel(struct coordinator *coordinator, struct task *task);
void task_stop(struct coordinator *coordinator, struct task *task);
/* Puts it (back) into its queue; it is in no list. */
void task_enqueue(struct coordinator *coordinator, struct task *task);
void task_succeed(struct coordinator *coordinator, struct task *task, const struct message_result *result);
void task_fail(struct coordinator *coordinator, struct task *task, const struct failure *failure);
/* One attempt has failed: queued again if it may be, failed otherwise. A cancel or a time limit decides the status. */
void task_attempt_failed(struct coordinator *coordinator, struct task *task, struct failure failure);
/* Takes the worker's RESULT or FAILURE of a task without outcome. */
void task_outcome(struct coordinator *coordinator, struct task *task, const struct message *message);
/* The client has the outcomes up to this ordinal. */
void task_delivered(struct coordinator *coordinator, struct client_record *client, uint64_t ordinal);
/* An outcome without a task: a SUBMIT that was not taken. */
void task_refuse(struct coordinator *coordinator, struct client_record *client, uint64_t number, int status,
                 const char *text);
void task_discard(struct coordinator *coordinator, uint64_t encoding, struct bytes value);
/* True if a payload of this length can be passed on: what a message carries beside it differs from hop to hop. */
bool payload_fits(const struct coordinator *coordinator, size_t length);
/* A text cut to `most` bytes, and to a part of what a message may hold. */
struct bytes text_cut(const struct coordinator *coordinator, struct bytes text, size_t most);
/* True if there is room for so many bytes more under the limit of all that is held. */
bool tasks_have_room(const struct coordinator *coordinator, size_t more);
const char *task_function_name(const struct task *task);
/* A status and an encoding that a FAILURE may have: its value never is in a segment. */
bool failure_valid(const struct message_failure *failure);

void parked_add(struct coordinator *coordinator, struct task *task);
void parked_remove(struct coordinator *coordinator, struct task *task); /* it is in no list then */

/* --- numbers.c ---------------------------------------------------------------------------------------------------- */

struct task *numbers_find(struct numbers *numbers, uint64_t number);
int numbers_add(struct numbers *numbers, struct task *task); /* 0 or MUSTER_ENOMEM */
void numbers_remove(struct numbers *numbers, struct task *task);
void numbers_replace(struct task *old, struct task *task); /* `task` takes the place of `old` */
void numbers_free(struct numbers *numbers);                /* has no task any more */

/* --- lane.c ------------------------------------------------------------------------------------------------------- */

/* Finds or makes the lane; counts a user. 0, MUSTER_ENOMEM, or MUSTER_ELIMIT: there is no room for one more. */
int lane_use(struct coordinator *coordinator, const struct message_define *define, const struct bytes *sorted_labels,
             size_t label_count, struct lane **lane);
void lane_release(struct coordinator *coordinator, struct lane *lane);
void lane_describe(const struct lane *lane, char *out, size_t size); /* "name" with labels a, b */
struct lane_queue *lane_queue_find(struct client_record *client, struct client_function *function, int64_t priority);
void lane_queue_release(struct coordinator *coordinator, struct lane_queue *queue); /* frees it if nobody needs it */
void lane_queue_free(struct coordinator *coordinator, struct lane_queue *queue);
void lane_queue_insert(struct coordinator *coordinator, struct task *task); /* by its arrival */
void lane_queue_remove(struct coordinator *coordinator, struct task *task); /* cancelled, or claimed */
struct task *lane_take(struct coordinator *coordinator, struct lane *lane); /* the next to run, or NULL */
/* A client that does not take results: its queues wait. */
void client_record_pause(struct coordinator *coordinator, struct client_record *client, bool pause);
bool lane_queue_before(const void *a, const void *b);
/* Keeps the list of lanes that have tasks and nobody who serves them. */
void lane_watch(struct coordinator *coordinator, struct lane *lane);
uint64_t lanes_deadline(const struct coordinator *coordinator);
void lanes_tick(struct coordinator *coordinator);
void lanes_workers_began(struct coordinator *coordinator);
/* No worker is left and every supervisor has given up: queued tasks cannot run any more. */
void lanes_give_up(struct coordinator *coordinator);
void lanes_free(struct coordinator *coordinator);                  /* when no client is left */
const char *lanes_hopeless(const struct coordinator *coordinator); /* the reason, or NULL while there is hope */

/* --- class.c ------------------------------------------------------------------------------------------------------ */

/* Finds or makes the class of these (labels sorted). NULL when memory ran out. */
struct class *class_use(struct coordinator *coordinator, const struct bytes *functions, size_t function_count,
                        const struct bytes *labels, size_t label_count);
int class_reserve(struct class *class); /* room for one more worker: 0 or MUSTER_ENOMEM */
void class_join(struct coordinator *coordinator, struct class *class, struct worker_record *worker);
void class_leave(struct coordinator *coordinator, struct worker_record *worker);
void class_release(struct coordinator *coordinator, struct class *class); /* frees it if it has no worker */
int class_offer_lane(struct coordinator *coordinator, struct class *class, struct lane *lane); /* if it can serve it */
struct offer *class_next(struct class *class); /* the offer whose lane is to be served first, or NULL */
bool class_serves(const struct class *class, const struct lane *lane);
void class_ready(struct coordinator *coordinator, struct class *class);
void lane_raised(struct coordinator *coordinator,
                 struct lane *lane); /* its first queue's key may have become smaller */
/* Reads a list of names into views, at most `limit` of them, sorted if asked. A count, or -1: too many or too long. */
int names_read(struct bytes texts, struct bytes *names, size_t limit, bool sort);
/* Copies the names of two lists one after another, each with a terminating zero, with an empty one between the lists.
 */
char *names_join(const struct bytes *a, size_t a_count, const struct bytes *b, size_t b_count, size_t *length);

/* --- client_record.c ---------------------------------------------------------------------------------------------- */

int client_record_up(struct coordinator *coordinator, struct peer *peer);
void client_record_down(struct coordinator *coordinator, struct client_record *client);
int client_record_take(struct coordinator *coordinator, struct client_record *client, const struct message *message,
                       const char **why);
struct client_record *client_record_find(struct coordinator *coordinator, uint64_t identity);
struct client_record *client_record_create(struct coordinator *coordinator,
                                           uint64_t identity);                          /* absent; NULL: no memory */
void client_record_free(struct coordinator *coordinator, struct client_record *client); /* abandons its tasks */

/* --- worker_record.c ---------------------------------------------------------------------------------------------- */

int worker_record_up(struct coordinator *coordinator, struct peer *peer);
void worker_record_down(struct coordinator *coordinator, struct worker_record *worker, bool goodbye,
                        const char *reason);
int worker_record_take(struct coordinator *coordinator, struct worker_record *worker, const struct message *message,
                       const char **why);
struct worker_record *worker_record_find(struct coordinator *coordinator, uint64_t identity);
struct worker_record *worker_record_create(struct coordinator *coordinator, uint64_t identity,
                                           uint64_t group); /* NULL: no memory */
void worker_record_free(struct coordinator *coordinator, struct worker_record *worker);
void worker_record_changed(struct coordinator *coordinator, struct worker_record *worker); /* look at it in the flush */
void worker_record_send(struct coordinator *coordinator, struct worker_record *worker, const struct message *message);
void worker_record_hold(struct coordinator *coordinator, struct worker_record *worker,
                        struct task *task); /* by its ticket */
void worker_record_close(struct coordinator *coordinator,
                         struct task *task); /* it has an outcome; it stays in the list */
void worker_record_unlink(struct coordinator *coordinator, struct task *task);
void worker_record_replace(struct task *old,
                           struct task *task); /* `task` takes the place of `old`, with its state and marks */
struct task *worker_record_task(const struct worker_record *worker, uint64_t ticket); /* without outcome, or NULL */
void worker_record_timer(struct coordinator *coordinator, struct worker_record *worker);
void worker_record_timer_fired(struct coordinator *coordinator, struct worker_record *worker);
/* Its end is certain: tasks beyond `started` go back, the others are lost as `failure` says. */
void worker_record_ended(struct coordinator *coordinator, struct worker_record *worker, uint64_t started,
                         const struct failure *failure, const char *what_happened);
void worker_record_lost(struct coordinator *coordinator,
                        struct worker_record *worker);              /* nobody can say what had started */
uint64_t worker_record_settled(const struct worker_record *worker); /* everything up to this ticket is settled */
bool worker_record_timer_before(const void *a, const void *b);
void worker_record_loaded(struct coordinator *coordinator, struct worker_record *worker, bool loaded);
void worker_record_kill(struct coordinator *coordinator, struct worker_record *worker);
void worker_record_recall(struct coordinator *coordinator, struct task *task);

/* --- supervisor_record.c ------------------------------------------------------------------------------------------ */

int supervisor_record_up(struct coordinator *coordinator, struct peer *peer);
void supervisor_record_down(struct coordinator *coordinator, struct supervisor_record *supervisor);
int supervisor_record_take(struct coordinator *coordinator, struct supervisor_record *supervisor,
                           const struct message *message, const char **why);
struct supervisor_record *supervisor_record_find(const struct coordinator *coordinator, uint64_t identity);
void supervisor_record_free(struct coordinator *coordinator, struct supervisor_record *supervisor);

/* --- claims.c ----------------------------------------------------------------------------------------------------- */

int claim_take(struct coordinator *coordinator, struct worker_record *worker, const struct message_claim *claim,
               const char **why);
/* The outcome of a task at a dead worker that this coordinator did not give it to. */
int claim_salvaged(struct coordinator *coordinator, struct worker_record *worker, const struct message_salvage *told,
                   const struct message *message);
/* The task that a dead worker had started, if this coordinator did not give it to it. */
int claim_lost(struct coordinator *coordinator, struct worker_record *worker, const struct message_exit *told,
               const struct failure *failure, const char *what_happened);
/* A SUBMIT of a task that is known by a claim: `task` is the full record. */
void claim_join(struct coordinator *coordinator, struct task *claimed, struct task *task);
int claim_store(struct coordinator *coordinator, struct task *task, const struct message *message);
void claim_discard(struct coordinator *coordinator, const struct task *task); /* what its stored outcome holds */
bool rejoining(const struct coordinator *coordinator, const struct client_record *client);
uint64_t claims_deadline(const struct coordinator *coordinator);
void claims_tick(struct coordinator *coordinator);

/* --- introduction.c ----------------------------------------------------------------------------------------------- */

/* Gives the worker the lane's body, if it has one and the worker was not given it, for the task with this ticket. 0,
 * MUSTER_ENOMEM, or MUSTER_ECLOSED: it could not be sent. */
int introduce(struct coordinator *coordinator, struct worker_record *worker, struct lane *lane, uint64_t function,
              uint64_t ticket);
/* Makes room among what the worker has been given: what no task there needs goes, longest unused first. False if it
 * still has as much as it should. */
bool introductions_trim(struct coordinator *coordinator, struct worker_record *worker);
void introductions_forget_lane(struct coordinator *coordinator, struct lane *lane); /* tells the workers */
void introductions_end(struct worker_record *worker);                               /* its session is over */

/* --- schedule.c --------------------------------------------------------------------------------------------------- */

uint32_t lane_estimate(const struct lane *lane); /* of a task's run time, ns */
void lane_ran(struct coordinator *coordinator, struct lane *lane, uint64_t run_us, bool failed);
bool worker_record_room_before(const void *a, const void *b);
void rate_add(struct rate *rate, uint64_t now_ns);
double rate_per_s(const struct rate *rate, uint64_t now_ns);

#endif
