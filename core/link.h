/*
 * A peer's end of its conversation with the coordinator: handshake, session, keep-alive and the way back after a broken
 * connection or a restarted coordinator. Pure: events and time in; frames, deadlines and callbacks out. Clients,
 * workers and supervisors all use it; core/transport.h runs it over NNG, the simulator over its virtual network.
 *
 *   CONNECTING --hello/challenge/proof/welcome--> OPEN --LOST from the coordinator--> CONNECTING (a new session) ...
 *                                     \--REFUSED--> FAILED
 *
 * Two lines: the poll (a REQ: one at a time, answered by the coordinator) and the push. The shell asks link_next_poll()
 * and link_next_push() after each event and sends what they give, one at a time each.
 */
#ifndef CORE_LINK_H
#define CORE_LINK_H

#include "core/handshake.h"
#include "core/random.h"
#include "core/session.h"

enum link_state { LINK_CONNECTING, LINK_OPEN, LINK_FAILED, LINK_CLOSED };

/* What the coordinator said in WELCOME. Strings owned by the link, valid until the next WELCOME. */
struct welcome {
    uint64_t coordinator; /* identity: another one than before means that the coordinator restarted */
    uint64_t pid;
    char *domain, *push_url;
    uint64_t heartbeat_ns;
    size_t frame_limit, payload_limit, session_window, task_window, task_bytes, definition_bytes;
};

struct link_events {
    /* A new session is open. `restarted`: the coordinator is another one than last time (or the first); otherwise it
     * declared us lost. */
    void (*open)(void *arg, const struct welcome *welcome, bool restarted);
    int (*message)(void *arg, const struct message *message); /* as session_handler */
    void (*lost)(void *arg, const char *reason); /* the session is gone; the link goes on connecting (not called after
                                                    link_close()); may be NULL */
    void (*closed)(void *arg); /* the goodbye of link_close() was heard: the state is CLOSED now; may be NULL */
    void (*failed)(void *arg, int status,
                   const char *reason); /* for good: refused, wrong key, wrong version, malformed bytes */
};

struct link_config {
    enum role role;
    uint64_t identity, group;                    /* HELLO */
    const char *language, *host, *domain, *name; /* must outlive the link */
    uint64_t pid;
    struct authkey authkey;
    const struct link_events *events;
    void *arg;
};

struct link {
    struct link_config config;
    enum link_state state;
    struct session session; /* while OPEN */
    struct welcome welcome;
    struct random random;
    /* the rest is link.c's own business */
    int step;            /* of the handshake */
    bool closing;        /* BYE was sent, or will be */
    struct buffer hello; /* the encoded HELLO: what both proofs are about */
    unsigned char nonce[NONCE_BYTES], expected_mac[MAC_BYTES];
    struct buffer proof; /* the frame with PROOF */
    bool poll_in_flight, push_in_flight, push_lost;
    uint64_t heard_ns;  /* when the coordinator last answered */
    uint64_t opened_ns; /* when the session was opened */
    uint64_t poll_sent_ns;
    uint64_t
        progress_ns; /* when an acknowledgement last took something off the session, or it had nothing unacknowledged */
    uint64_t poll_after_ns, push_after_ns; /* not before: back-off with jitter */
    unsigned attempts;                     /* to connect, since it last worked */
    unsigned failures;                     /* polls in a row that were not answered */
    uint64_t progress_messages;
};

/* `seed` is copied. 0 or MUSTER_EINVAL. */
int link_init(struct link *link, const struct link_config *config, const struct random *seed, uint64_t now_ns);
void link_free(struct link *link);

/* Adds a message to the open session. MUSTER_ECONNECT if not OPEN; else as session_send(). */
int link_send(struct link *link, const struct message *message);
/* Says BYE: state CLOSED once link_idle(). */
int link_close(struct link *link, const char *reason);
bool link_idle(const struct link *link); /* nothing gathered, unsent or unacknowledged */

/* The next request for the poll line (true: *out holds it, and the line is in flight until link_poll_answered/failed),
 * if the line is idle. */
bool link_next_poll(struct link *link, uint64_t now_ns, struct buffer *out);
/* The same for the push line (in flight until link_push_done). *frame is a view, valid until the next call with this
 * link. */
bool link_next_push(struct link *link, uint64_t now_ns, struct bytes *frame);

void link_poll_answered(struct link *link, struct bytes reply, uint64_t now_ns);
void link_poll_failed(struct link *link, uint64_t now_ns); /* the shell gave up this request; another will be made */
void link_push_done(struct link *link, bool sent, uint64_t now_ns);
/* There is no push connection: link_next_push() gives nothing until there is one again. (A new link is taken to have
 * one.) */
void link_push_lost(struct link *link);
void link_push_connected(
    struct link *link, uint64_t now_ns); /* the push connection was made (again): sends what is unacknowledged again */

/* True if the request in flight has been unanswered for longer than the heartbeat limit: the shell cancels it and calls
 * link_poll_failed(). */
bool link_poll_overdue(const struct link *link, uint64_t now_ns);

/* When link_tick() wants to be called at the latest, or NEVER_NS. */
uint64_t link_deadline(const struct link *link);
void link_tick(struct link *link, uint64_t now_ns);
/* True if the coordinator has been silent for longer than the heartbeat limit: it has declared us lost, or soon will.
 */
bool link_silent(const struct link *link, uint64_t now_ns);

#endif
