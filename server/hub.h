/*
 * The hub: the coordinator with its peers' sessions around it. Still pure. Frames of polls and pushes come in, answers
 * to polls go out; handshakes, sessions, heartbeats and the closing of misbehaving peers are decided here. The shell
 * (server/server.h) connects it to NNG, the simulator to its virtual network. A local peer (the embedded pool's client
 * and supervisor) is attached by calls, without session or codec.
 */
#ifndef SERVER_HUB_H
#define SERVER_HUB_H

#include "core/handshake.h"
#include "core/session.h"
#include "server/coordinator.h"

struct hub;

struct hub_config {
    struct coordinator_config coordinator;
    struct authkey authkey;
    const char *push_url;  /* told in WELCOME for a listener without one of its own; must outlive the hub */
    uint64_t heartbeat_ns; /* a peer that is silent for so long is lost */
    uint64_t keepalive_ns; /* an open poll is answered at the latest after so long; 0: heartbeat / 4 */
    uint64_t handshake_ns; /* a handshake must be complete by then */
    size_t frame_limit, payload_limit, session_window; /* bytes */
    size_t backlog_limit;        /* a peer for which more bytes than this wait unacknowledged is closed */
    size_t sessions, handshakes; /* limits */
};
#define PAYLOAD_LIMIT_MIN 4096 /* a failure with all that is said about it must fit */
void hub_config_defaults(struct hub_config *config);

/* Opaque to the hub: which open poll (a REP context) and which connection (an NNG pipe id; 0 unknown). */
typedef uint64_t hub_poll_id;
typedef uint64_t hub_pipe_id;

struct hub_events {
    /* Answers an open poll; each poll that came in is answered exactly once (also with an empty frame), or dropped by
     * hub_pipe_lost(). */
    void (*answer)(void *arg, hub_poll_id poll, struct bytes frame);
    /* This poll will not be answered: its connection is gone or a newer poll replaced it. */
    void (*drop)(void *arg, hub_poll_id poll);
    void (*discard)(void *arg, struct bytes segment_name);
    /* Reads a segment into `out` for a peer of another domain. */
    int (*load)(void *arg, struct bytes segment_name, struct buffer *out);
    void (*peer_gone)(void *arg, uint64_t pid, const char *domain); /* sweep what it may have left */
};

int hub_create(struct hub **hub, const struct hub_config *config, const struct random *seed,
               const struct hub_events *events, void *arg, uint64_t now_ns);
void hub_free(struct hub *hub);
struct coordinator *hub_coordinator(struct hub *hub);

/* push_url: of the listener that the poll came in by (NULL: the config's). */
void hub_poll(struct hub *hub, hub_poll_id poll, hub_pipe_id pipe, const char *push_url, struct bytes frame,
              uint64_t now_ns);
void hub_push(struct hub *hub, hub_pipe_id pipe, struct bytes frame, uint64_t now_ns);
/* A connection closed. `process_bound`: it cannot break by itself (ipc), so if all connections of a session are gone
 * its process is too, and a short grace replaces the heartbeat. */
void hub_pipe_lost(struct hub *hub, hub_pipe_id pipe, bool process_bound, uint64_t now_ns);
/* True if a session uses this connection. */
bool hub_pipe_known(const struct hub *hub, hub_pipe_id pipe);
/* After any call above or below: answers every poll that has something to be answered with. Called by the shell once
 * per batch of events. */
void hub_flush(struct hub *hub, uint64_t now_ns);

uint64_t hub_deadline(const struct hub *hub);
void hub_tick(struct hub *hub, uint64_t now_ns);

/* A peer by calls. `handler` gets the coordinator's messages, synchronously, and must not call the hub. */
struct local_peer;
int hub_attach(struct hub *hub, enum role role, uint64_t identity, const char *name,
               int (*handler)(void *arg, const struct message *), void *arg, struct local_peer **peer, uint64_t now_ns);
int hub_local_message(struct hub *hub, struct local_peer *peer, const struct message *message, uint64_t now_ns);
void hub_detach(struct hub *hub, struct local_peer *peer, uint64_t now_ns);

/* Tells every session that the coordinator ends (they may reconnect elsewhere or wait), for an orderly end. */
void hub_shutdown(struct hub *hub, uint64_t now_ns);

/* counters of what was refused or malformed, for status and logs */
struct hub_counts {
    uint64_t handshakes, refused, malformed, expired, lost_sessions;
    size_t sessions, open_handshakes;
};
void hub_count(const struct hub *hub, struct hub_counts *counts);

#endif
