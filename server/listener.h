/*
 * One control URL of a server with the push URL that belongs to it: two doors, each an NNG listener on the server's REP
 * or PULL socket.
 *
 * NNG 1.5 has a flaw that has to be lived with: if a process connects to a socket file and is gone before NNG has
 * greeted it, the listener takes the broken connection for its own end and lets nobody in any more. Processes may be
 * killed at any moment here, so that will happen. So from time to time a door of this kind is knocked at: if a
 * connection of our own is not let in, the listener is replaced. Its peers connect again, and their sessions go on.
 */
#ifndef SERVER_LISTENER_H
#define SERVER_LISTENER_H

#include <nng/nng.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define LISTENER_URL_BYTES 512
#define DOOR_LOOK_NS (500 * NS_PER_MS) /* between two calls of door_look() */

struct door {
    nng_socket socket;
    nng_listener listener;
    char url[LISTENER_URL_BYTES]; /* with the real port */
    size_t frame_limit;
    uint64_t accepted; /* connections so far; counted by the server */
    /* of a socket file: */
    dev_t device;
    ino_t inode;
    int knock;                /* our own connection, or -1 */
    uint64_t accepted_before; /* `accepted` at the last look */
    unsigned misses;          /* looks at which the knock had not been answered */
    bool shut;                /* replacing the listener failed: tried again at every look */
};

struct listener {
    struct door control, push;
    bool process_bound; /* connections break only when a process ends (ipc) */
};

/* Checks a URL to listen on, which may have port 0; *local: only this machine can reach it. MUSTER_EURL with detail. */
int listener_url_check(const char *url, bool *local);

/* Starts to listen. Port 0 takes any free port for both. Pushes over frame_limit bytes, and requests over 4 KiB, close
 * their connection. MUSTER_EURL, MUSTER_ESYSTEM with detail; nothing listens then. The NNG listeners end with their
 * sockets. */
int listener_open(struct listener *listener, nng_socket control, nng_socket push, const char *url, size_t frame_limit);
/* Gives back what NNG does not know of. */
void listener_close(struct listener *listener);

/* To be called every DOOR_LOOK_NS for doors with a file: true if the listener was replaced, and so was the file. */
bool door_look(struct door *door);

/* The path of an ipc URL ("ipc:///run/x" -> "/run/x"), or NULL for other URLs. */
const char *listener_path(const char *url);

#endif
