/*
 * A client's protocol logic: tasks submitted and without an outcome, kept whole so that they can be submitted again to
 * a coordinator that restarted. Pure; the pool (bindings/c/pool.c) puts handles, waiting and callbacks around it, the
 * simulator drives it as it is.
 */
#ifndef BINDINGS_C_CLIENT_H
#define BINDINGS_C_CLIENT_H

#include "core/link.h"

struct client;
struct definition; /* a function with labels and a body, as the client calls it by a number */

/* One task as it is submitted. Strings and bytes are copied. */
struct client_call {
    struct definition *definition; /* what is called; NULL: the function with these labels, without a body */
    const char *function;
    const char *const *labels; /* NULL-terminated, or NULL */
    uint64_t items;            /* 0: a plain call; else the args are a msgpack array of so many argument lists */
    int64_t priority;
    uint64_t retries, flags, time_limit_ms, grace_ms, encoding;
    struct bytes args;
    size_t shared_bytes; /* of the segment that the args name, if they do: counts in the window too */
    void *tag;           /* comes back with the outcome; not NULL */
};

struct client_events {
    /* The only outcome of a task: DONE or FAILED, views valid during the call. The number is free afterwards. */
    void (*outcome)(void *arg, uint64_t number, void *tag, const struct message *message);
    void (*progress)(void *arg, uint64_t number, void *tag, const struct message_progress *progress);
    void (*log)(void *arg, const struct message_log *log);
    void (*workers)(void *arg, uint64_t count);
    void (*report)(void *arg, uint64_t request, struct bytes json);
    void (*opened)(void *arg); /* (again) connected */
    void (*failed)(void *arg, int status,
                   const char *reason); /* the link failed for good; all outcomes have been given before */
    void (*room)(void *arg);            /* client_submit() that gave MUSTER_EAGAIN may work now */
    void (*discard)(void *arg, struct bytes segment_name); /* of a value that nobody waits for any more; may be NULL */
};

/* `send` is link_send() or the embedded coordinator. It may give MUSTER_ECONNECT: the call is then sent when the link
 * opens. */
typedef int client_send(void *arg, const struct message *message);

int client_create(struct client **client, const struct client_events *events, void *arg, client_send *send,
                  void *send_arg);
void client_free(struct client *client);
extern const struct link_events client_link_events; /* for a link, with the client as its arg */

/* The window: at most so many tasks and argument bytes outstanding (0: no limit), and what the coordinator allows,
 * whichever is less. A link's WELCOME brings the second by itself. */
void client_limits(struct client *client, size_t tasks, size_t bytes);
void client_coordinator_limits(struct client *client, size_t tasks, size_t bytes, size_t definition_bytes);

/* Finds or makes the definition with this content, and keeps it until as many client_undefine(). MUSTER_ELIMIT,
 * MUSTER_ENOMEM. */
int client_define(struct client *client, const char *function, const char *const *labels, struct bytes body,
                  struct definition **definition);
void client_keep_definition(struct definition *definition); /* once more */
/* It may be given up when there is no room for another, unless a task without outcome is of it. */
void client_undefine(struct definition *definition);

/* 0 with *number, MUSTER_EAGAIN (window full), MUSTER_ENOMEM, MUSTER_ELIMIT. */
int client_submit(struct client *client, const struct client_call *call, uint64_t *number);
int client_cancel(struct client *client, uint64_t number);
int client_status(struct client *client, uint64_t request);
/* A message from the embedded coordinator (a link delivers through client_link_events). */
int client_message(struct client *client, const struct message *message);
/* Gives every outstanding task the outcome FAILED with this status and sentence. */
void client_fail_all(struct client *client, int status, const char *reason);
/* Asks the coordinator to cancel every outstanding task. */
void client_cancel_all(struct client *client);

size_t client_outstanding(const struct client *client);
size_t client_outstanding_bytes(const struct client *client);
size_t client_room(const struct client *client); /* tasks that the window has room for */

#endif
