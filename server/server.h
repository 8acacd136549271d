/*
 * The shell around the hub: NNG sockets (PULL and REP with contexts), one mutex, one timer thread. musterd runs it on
 * its listeners; the embedded pool runs it on one ipc socket in a private directory and attaches itself as a local
 * peer.
 */
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

#include <pthread.h>

#include "server/hub.h"

struct server;

struct server_config {
    struct hub_config hub;     /* coordinator.domain and .pid are filled in by the server where they are empty */
    const char *const *listen; /* control URLs, NULL-terminated; port 0: any free one */
    bool insecure;             /* allows listening beyond loopback without an authkey */
    /* Called for each socket file that was made, also later when one had to be made anew; with the mutex held. May be
     * NULL. */
    void (*file_made)(void *arg, const char *path);
    void *arg;
    pthread_mutex_t *mutex; /* the lock to use (the embedded pool's own), or NULL: the server makes one */
};
void server_config_defaults(struct server_config *config);

/* Listens and serves in background threads. MUSTER_EURL, MUSTER_EAUTH (open without key), MUSTER_ESYSTEM (address in
 * use...), MUSTER_ENOMEM. */
int server_start(struct server **server, const struct server_config *config);
/* Stops at once and frees; mutex not held. Socket files are removed. */
void server_stop(struct server *server);

/* The URLs that it really listens on, with their ports; NULL after the last. */
const char *server_url(const struct server *server, size_t index);
const char *server_push_url(const struct server *server, size_t index);

/* With the mutex held: */
struct hub *server_hub(struct server *server);
void server_flush(struct server *server); /* after hub calls of one's own: answers polls, arms the timer */
/* The same after messages that nobody waits for yet: see transport_flush_later(). */
bool server_flush_later(struct server *server, bool busy);
pthread_mutex_t *server_mutex(struct server *server);

#endif
