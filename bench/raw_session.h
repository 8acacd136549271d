/*
 * Raw NNG in the shape of a session, without codec, bookkeeping or promises: what muster could reach at best.
 *
 * Peers PUSH frames of fixed records to the coordinator's PULL socket and keep one REQ poll open at its REP socket; the
 * coordinator deals the client's records out to its workers and their answers back, each as the answer to an open poll.
 * A frame goes at once when the line is idle, else with what gathers until it is. A frame is a header and whole
 * records.
 */
#ifndef BENCH_RAW_SESSION_H
#define BENCH_RAW_SESSION_H

#include "bench/raw_nng.h"
#include <pthread.h>
#include <stdint.h>

enum { RAW_WORKERS = 2, RAW_GATHER = 8192 * BENCH_RECORD };

struct raw_header {
    uint32_t from; /* 0 the client, 1.. the workers */
    uint32_t unused;
    uint64_t sequence;
};

/* A client's or a worker's end. Everything but the NNG handles is guarded by the mutex. */
struct raw_session {
    uint32_t number;
    nng_socket push, req;
    nng_ctx context;
    nng_aio *push_aio, *poll_aio;
    bool open, poll_sending, pushing;
    uint64_t sequence;
    pthread_mutex_t mutex;
    char *gathered; /* RAW_GATHER bytes */
    size_t gathered_bytes;
    /* Called with the mutex held for the records of a frame that came down. */
    void (*received)(struct raw_session *peer, const char *records, size_t bytes);
    void *arg;
};

/* Connects and opens the poll. 0 or an NNG error. */
int raw_session_open(struct raw_session *peer, const char *control_url, const char *push_url);

/* With the mutex held: sends now or gathers. The caller keeps what is outstanding below RAW_GATHER. */
void raw_session_send(struct raw_session *peer, const char *records, size_t bytes);

void raw_session_close(struct raw_session *peer);

#endif
