/*
 * The hub's own structures, shared by hub.c (sessions, frames, time), hub_handshake.c (strangers until they have proved
 * who they are) and hub_send.c (the coordinator's messages on their way out). Nobody else includes this.
 */
#ifndef SERVER_HUB_PRIVATE_H
#define SERVER_HUB_PRIVATE_H

#include "core/hash.h"
#include "core/heap.h"
#include "server/hub.h"

#define HANDSHAKE_ID_BYTES 16
#define HELLO_BYTES_LIMIT 2048          /* all that a stranger may make us keep */
#define PIPE_GRACE_NS (500 * NS_PER_MS) /* for a process-bound peer to connect again */
#define ACK_FRAMES 256                  /* answer a poll with an acknowledgement at so many unacknowledged frames */
#define COMPLAINTS_PER_S 20             /* log lines about misbehaviour */

/* One connection of a session. A session has at most two: where its polls come from and where its pushes come from. */
enum line_kind { LINE_POLL, LINE_PUSH, LINES };
struct hub_line {
    uint64_t pipe; /* 0: none known */
    struct hub_session *session;
    UT_hash_handle hh;
};

/* A peer with its session. Owned by the hub; in `sessions` (by token) and `identities` until session_end(). */
struct hub_session {
    struct peer peer; /* first: the coordinator's view of it */
    struct hub *hub;
    struct session session;
    struct {
        uint64_t role, identity;
    } key;
    UT_hash_handle by_token, by_identity;
    struct hub_line lines[LINES];
    struct handshake *handshake; /* that made it, until its first frame shows that WELCOME has arrived */
    bool foreign;                /* in another shared-memory domain: segments do not reach it */

    bool poll_held; /* then: */
    bool answer_now;
    hub_poll_id poll;
    hub_pipe_id poll_pipe;
    uint64_t poll_since_ns;

    uint64_t heard_ns;    /* its latest frame */
    uint64_t gone_ns;     /* when it is lost if it does not connect again; NEVER_NS while it is connected */
    uint64_t deadline_ns; /* its key in `deadlines`: never later than session_due(), often earlier (it is only put right
                             when it fires) */
    size_t deadline_position;

    enum { SESSION_OPEN, SESSION_LEAVING, SESSION_BROKEN } state; /* LEAVING: said BYE; both end at the next flush */
    char reason[160];                                             /* why it ends */
    enum { QUEUE_NONE, QUEUE_URGENT, QUEUE_READY } queued;        /* in which list of the hub it is */
    struct hub_session *prev, *next;
};

/* A peer by calls. Its session part has no token and no connections. */
struct local_peer {
    struct hub_session base; /* first */
    int (*handler)(void *arg, const struct message *message);
    void *arg;
    uint64_t delivered; /* ordinal told to the coordinator */
    struct local_peer *all_prev, *all_next;
};

/* Somebody who has said HELLO. In `handshakes` by id, in `handshakes_by_pipe` if the connection is known, in the list
 * oldest first. */
struct handshake {
    unsigned char id[HANDSHAKE_ID_BYTES];
    uint64_t pipe; /* 0: unknown */
    uint64_t expires_ns;
    unsigned char nonce[NONCE_BYTES]; /* ours */
    unsigned char peer_nonce[NONCE_BYTES];
    struct hub_session *session; /* made by its PROOF: if the PROOF comes again, WELCOME is repeated */
    UT_hash_handle by_id, by_pipe;
    struct handshake *prev, *next;
    size_t hello_bytes;
    unsigned char hello[]; /* the encoded HELLO */
};

struct hub {
    struct hub_config config;
    struct hub_events events;
    void *arg;
    struct coordinator *coordinator;
    struct random random;
    struct hub_session *sessions, *identities; /* hash tables: by token, by role and identity */
    struct local_peer *locals;                 /* list of all */
    struct hub_line *lines;                    /* hash table by pipe */
    struct hub_session
        *urgent; /* list: local peers with deliveries, sessions that end. Both may make the coordinator send more */
    struct hub_session *ready; /* list: held polls that have, or may have, something to be answered with */
    struct heap deadlines;
    struct handshake *handshakes, *handshakes_by_pipe, *oldest_handshake;
    struct hub_counts counts;
    size_t unfinished_bytes; /* of long messages that sessions are putting together */
    struct buffer out;       /* the frame being made */
    struct buffer loaded;    /* the segment being put inline */
    uint64_t forgive_ns; /* no peer is silent before this: we were stalled ourselves and its frames are still unread */
    uint64_t complaints_ns; /* start of the current second of the log limit, and how many lines there were and were left
                               out */
    unsigned complaints, left_out;
    bool stopping;
};

/* hub.c */
void session_queue(struct hub_session *session, bool urgent);
/* Ends it at the next flush, as malformed or lost; the first reason counts. */
void session_break(struct hub_session *session, const char *format, ...) __attribute__((format(printf, 2, 3)));
void session_end(struct hub_session *session, uint64_t now_ns);
void hub_answer(struct hub *hub, hub_poll_id poll, const struct message *message);
void hub_say_lost(struct hub *hub, hub_poll_id poll, const char *reason);
/* Answers with REFUSED, counted and logged. */
void hub_refuse(struct hub *hub, hub_poll_id poll, int status, const char *reason, uint64_t now_ns);
/* A warning that strangers can cause: limited in number. */
void hub_complain(struct hub *hub, uint64_t now_ns, const char *format, ...) __attribute__((format(printf, 3, 4)));
int session_open(struct hub *hub, const struct message_hello *hello, uint64_t now_ns, struct hub_session **opened);

/* hub_handshake.c */
void handshake_poll(struct hub *hub, hub_poll_id poll, hub_pipe_id pipe, const char *push_url,
                    const struct frame_header *header, uint64_t now_ns);
void handshake_free(struct hub *hub, struct handshake *handshake);
void handshake_pipe_lost(struct hub *hub, hub_pipe_id pipe);
void handshakes_expire(struct hub *hub, uint64_t now_ns);

/* hub_send.c: struct peer's `send` for remote and local peers */
int send_remote(struct peer *peer, const struct message *message);
int send_local(struct peer *peer, const struct message *message);

#endif
