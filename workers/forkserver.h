/*
 * Workers that are forked from a clean parent, for languages whose interpreter takes long to start.
 *
 * A fork server is a program that has loaded what its workers need, has one thread and has not touched NNG. It forks by
 * clone(CLONE_PARENT), so that a worker is a child of the supervisor's process, like one that was started by exec: all
 * that the supervisor knows of its workers (pidfd, exit status, death signal, lifeline, page) holds for it too.
 *
 * The two talk over a socket pair (SOCK_SEQPACKET) of which the fork server inherits one end; the variable
 * MUSTER_FORK_SERVER_FD has its number. Numbers are of 32 bits, in the machine's byte order.
 *
 *   request   {version 1, number of the request}, with six descriptors: hand-over, page, lifeline, stdin, stdout,
 * stderr answer    {number of the request, 0}, sent by the worker itself as the first thing that it does: its pid is
 * taken from the credentials of the message, so whatever dies between fork and answer, there is no worker that nobody
 * knows; or, from the fork server, {number of the request, errno, sentence of at most 200 bytes}
 *
 * There is one request at a time. docs/workers.md says what else a fork server in another language has to do.
 */
#ifndef WORKERS_FORKSERVER_H
#define WORKERS_FORKSERVER_H

#include <stdint.h>
#include <sys/types.h>

#define FORKSERVER_VARIABLE "MUSTER_FORK_SERVER_FD"

/* --- the fork server's half --------------------------------------------------------------------------------------- */

/* What the language does around each fork. Any may be NULL. */
struct forkserver_hooks {
    void (*before)(void *arg); /* in the fork server */
    void (*after)(void *arg);  /* in the fork server; also when the fork has failed */
    void (*child)(void *arg);  /* in the worker, when its signals and its stdin, stdout and stderr are its own */
    void *arg;
};

/*
 * Forks a worker for each request that comes by the socket `fd`, and ends the process when the socket does. Returns in
 * each worker the descriptor of its hand-over, for runtime_serve(). The worker has a process group of its own, default
 * handling of every signal, nothing blocked, and the descriptors that the fork server's program has opened, without
 * `fd`. Handlers of pthread_atfork() are not called. To be called in the main thread of a process that has no other
 * one; where there are more, every request is refused with a sentence that says so.
 */
int forkserver_run(int fd, const struct forkserver_hooks *hooks);

/* --- the supervisor's half ---------------------------------------------------------------------------------------- */

enum forkserver_descriptor {
    FORKSERVER_LAUNCH,
    FORKSERVER_PAGE,
    FORKSERVER_LIFELINE,
    FORKSERVER_STDIN,
    FORKSERVER_STDOUT,
    FORKSERVER_STDERR,
    FORKSERVER_DESCRIPTORS
};

/* The two ends of the socket, both to be closed on exec. ESYSTEM. */
int forkserver_sockets(int *supervisor, int *fork_server);
/* Asks for a worker; never waits. The descriptors are still the caller's. EWORKERS: it has ended. ESYSTEM with detail.
 */
int forkserver_ask(int socket, uint32_t number, const int descriptors[FORKSERVER_DESCRIPTORS]);

struct forkserver_answer {
    uint32_t number; /* of the request */
    pid_t pid;       /* of the worker; 0: it could not be forked */
    char reason[256];
};
/* 1: an answer. 0: none has come yet. EWORKERS with detail: none will, or it was not an answer. */
int forkserver_answer(int socket, struct forkserver_answer *answer);

#endif
