/*
 * Workers that are forked from a clean parent, for languages whose interpreter takes long to start.
 *
 * A fork server is a program that has loaded what its workers need, has one thread and has not touched NNG. It forks by
 * clone(CLONE_PARENT), so that a worker is a child of the supervisor's process, like one that was started by exec: all
 * that the supervisor knows of its workers (pidfd, exit status, death signal, lifeline, page) holds for it too.
 *
 * The two talk over a socket pair (SOCK_SEQPACKET) that the fork server inherits; the variable MUSTER_FORK_SERVER_FD
 * has the number of its end. Numbers are of 32 bits, in the machine's byte order.
 *
 *   request   {version 1, number of the request}, with six descriptors: hand-over, page, lifeline, stdin, stdout,
 * stderr answer    {number of the request, 0}, sent by the worker itself as the first thing that it does: its pid is
 * taken from the credentials of the message, so nothing that dies between fork and answer leaves a worker that nobody
 * knows; or, from the fork server, {number of the request, errno, sentence (at most 200 bytes)}
 *
 * docs/protocol.md says what else a fork server in another language has to do.
 */
#ifndef WORKERS_FORKSERVER_H
#define WORKERS_FORKSERVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define FORKSERVER_VARIABLE "MUSTER_FORK_SERVER_FD"

/* --- the fork server's half --------------------------------------------------------------------------------------- */

/* What the language does around each fork. Any may be NULL. */
struct forkserver_hooks {
    void (*before)(void *arg); /* in the fork server */
    void (*after)(void *arg);  /* in the fork server; also when the fork has failed */
    void (*child)(void *arg);  /* in the worker, when stdin, stdout and stderr are its own */
    void *arg;
};

/*
 * Forks a worker for each request that comes by the socket `fd`, and ends the process when the socket does. Returns in
 * each worker the descriptor of its hand-over, for runtime_serve(). The worker has a process group of its own, default
 * handling of every signal, nothing blocked, and the descriptors that the fork server had before, without `fd`.
 * To be called in the main thread of a process that has no other one; a process with more answers every request with a
 * refusal that says so.
 */
int forkserver_run(int fd, const struct forkserver_hooks *hooks);

/* --- the supervisor's half ---------------------------------------------------------------------------------------- */

struct spawn;

/* A fork server's process. The caller reads its output and waits for its end. */
struct forkserver {
    pid_t pid;  /* 0: none runs */
    int pidfd;  /* readable once it has ended */
    int socket; /* readable: an answer, or its end */
};

/* Starts one: `spawn` says the program, its environment and its descriptors; the variable with the descriptor is added
 * at `variable`, the place in spawn->envp that is free for it. ESYSTEM, EWORKERS with detail. To be called in the
 * thread with which it is to die. */
int forkserver_start(struct forkserver *forks, struct spawn *spawn, char **variable);
/* Asks for a worker. Never waits. EAGAIN: too many requests are without an answer. EWORKERS: it has ended. */
int forkserver_ask(const struct forkserver *forks, uint32_t number, const int descriptors[6]);

struct forkserver_answer {
    uint32_t number; /* of the request */
    pid_t pid;       /* of the worker; 0: it could not be forked */
    char reason[256];
};
/* 1: an answer. 0: none has come yet. EWORKERS: it has ended, or said something else. */
int forkserver_answer(const struct forkserver *forks, struct forkserver_answer *answer);
/* Kills it, waits for it and closes its descriptors. */
void forkserver_end(struct forkserver *forks);

#endif
