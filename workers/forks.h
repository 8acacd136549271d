/*
 * The supervisor's fork server: it is started when the first worker is wanted, asked for one worker after the other,
 * never waited for, and replaced when it dies or does not answer.
 *
 * A request ends in one of two ways: the worker is there, or its start has failed. When the fork server dies in
 * between, the worker may be there all the same, and answer; so the request is over only when the socket is, of which
 * the fork server and a worker that has not answered hold the other end.
 */
#ifndef WORKERS_FORKS_H
#define WORKERS_FORKS_H

#include "workers/recipe.h"

#define FORKS_PATIENCE_NS                                                                       \
    (60 * NS_PER_S) /* for an answer; the first one takes as long as the program needs to start \
                     */
#define FORKS_WORDS_BYTES 640

struct forks {
    struct hatchling *server; /* its process; pid 0: none runs. Its output is the caller's to read */
    int socket;               /* to it; -1: none, or it is about to end */
    struct hatchling *asked;  /* the worker that is awaited, or NULL */
    uint32_t number;          /* of the request for it */
    uint64_t deadline_ns;     /* for its answer; NEVER_NS if none is awaited */
    uint64_t patience_ns;
    bool silent;                   /* nothing will come by the socket any more */
    char ended[FORKS_WORDS_BYTES]; /* how the latest one ended */
};

/* `server` must outlive it. */
void forks_init(struct forks *forks, struct hatchling *server, uint64_t patience_ns);
/* Can a worker be asked for now? */
bool forks_ready(const struct forks *forks);
/* Asks for a worker whose page is made. ESYSTEM, ENOMEM with detail. To be called in the thread with which
 * it is to die. */
int forks_ask(struct forks *forks, const struct recipe *recipe, unsigned slot, uint64_t identity,
              struct hatchling *hatchling, uint64_t now_ns);
/* To be called when the socket or the server's pidfd can be read, and at the deadline. 1: the worker is there, with its
 * pid and pidfd. 0: not yet. EWORKERS, ESYSTEM with detail: there will be none. Then nobody is asked any more. */
int forks_hear(struct forks *forks, uint64_t now_ns);
/* The server's pidfd said that it has ended, and its output has been read; `words` is the last line of its stderr. */
void forks_server_ended(struct forks *forks, const char *words, uint64_t now_ns);
/* Kills the server; what is awaited fails soon. */
void forks_kill(struct forks *forks);
/* Kills it and waits for it. */
void forks_end(struct forks *forks);

#endif
