/*
 * The coordinator of the raw NNG session: one PULL, one REP with a context for each poll that can be open. Everything
 * is done inside NNG's callbacks under one mutex; what is to go to a peer gathers until a poll of that peer is open.
 */
#include "bench/raw_session.h"
#include <nng/protocol/pipeline0/pull.h>
#include <nng/protocol/reqrep0/rep.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PEERS = RAW_WORKERS + 1, CONTEXTS = 2 * PEERS };

/* A REP context: receiving a poll, holding it open, or sending its answer. */
struct poll_slot {
    nng_ctx context;
    nng_aio *aio;
    uint32_t from;
    bool sending;
    struct poll_slot *next_open;
};

static struct {
    pthread_mutex_t mutex;
    nng_socket pull, rep;
    nng_aio *pull_aio;
    struct poll_slot slots[CONTEXTS];
    struct poll_slot *open[PEERS]; /* polls that wait for an answer */
    char *gathered[PEERS];         /* RAW_GATHER bytes each */
    size_t gathered_bytes[PEERS];
    uint32_t workers, next_worker;
} coordinator = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static void flush(uint32_t peer)
{
    struct poll_slot *slot = coordinator.open[peer];
    size_t bytes = coordinator.gathered_bytes[peer];
    struct raw_header header = {.from = peer};
    nng_msg *frame;
    if (!slot || bytes == 0 || nng_msg_alloc(&frame, sizeof header + bytes) != 0)
        return;
    memcpy(nng_msg_body(frame), &header, sizeof header);
    memcpy((char *)nng_msg_body(frame) + sizeof header, coordinator.gathered[peer], bytes);
    coordinator.gathered_bytes[peer] = 0;
    coordinator.open[peer] = slot->next_open;
    slot->sending = true;
    nng_aio_set_msg(slot->aio, frame);
    nng_ctx_send(slot->context, slot->aio);
}

static void gather(uint32_t peer, const char *records, size_t bytes)
{
    if (coordinator.gathered_bytes[peer] + bytes > RAW_GATHER)
        return;
    memcpy(coordinator.gathered[peer] + coordinator.gathered_bytes[peer], records, bytes);
    coordinator.gathered_bytes[peer] += bytes;
}

/* The client's records are dealt out in turn; a worker's answers go to the client. */
static void frame_came(const char *body, size_t size)
{
    struct raw_header header;
    memcpy(&header, body, sizeof header);
    if (header.from != 0) {
        gather(0, body + sizeof header, size - sizeof header);
        flush(0);
        return;
    }
    for (size_t at = sizeof header; at + BENCH_RECORD <= size; at += BENCH_RECORD) {
        gather(1 + coordinator.next_worker, body + at, BENCH_RECORD);
        coordinator.next_worker = (coordinator.next_worker + 1) % coordinator.workers;
    }
    for (uint32_t worker = 1; worker <= coordinator.workers; worker++)
        flush(worker);
}

static void pulled(void *arg)
{
    (void)arg;
    if (nng_aio_result(coordinator.pull_aio) != 0)
        return;
    nng_msg *frame = nng_aio_get_msg(coordinator.pull_aio);
    pthread_mutex_lock(&coordinator.mutex);
    if (nng_msg_len(frame) > sizeof(struct raw_header))
        frame_came(nng_msg_body(frame), nng_msg_len(frame));
    pthread_mutex_unlock(&coordinator.mutex);
    nng_msg_free(frame);
    nng_recv_aio(coordinator.pull, coordinator.pull_aio);
}

static void slot_step(void *arg)
{
    struct poll_slot *slot = arg;
    if (nng_aio_result(slot->aio) != 0)
        return;
    if (slot->sending) {
        slot->sending = false;
        nng_ctx_recv(slot->context, slot->aio);
        return;
    }
    nng_msg *poll = nng_aio_get_msg(slot->aio);
    if (nng_msg_len(poll) == sizeof slot->from)
        memcpy(&slot->from, nng_msg_body(poll), sizeof slot->from);
    nng_msg_free(poll);
    if (slot->from >= PEERS)
        return;
    pthread_mutex_lock(&coordinator.mutex);
    slot->next_open = coordinator.open[slot->from];
    coordinator.open[slot->from] = slot;
    flush(slot->from);
    pthread_mutex_unlock(&coordinator.mutex);
}

int raw_coordinator_role(int argc, char **argv)
{
    if (argc < 4)
        return 1;
    coordinator.workers = (uint32_t)strtoul(argv[3], NULL, 10);
    if (coordinator.workers < 1 || coordinator.workers > RAW_WORKERS)
        return 1;
    for (int i = 0; i < PEERS; i++) {
        if (!(coordinator.gathered[i] = malloc(RAW_GATHER)))
            return 1;
    }
    raw_require(nng_rep0_open(&coordinator.rep), "REP");
    raw_require(nng_pull0_open(&coordinator.pull), "PULL");
    nng_socket_set_size(coordinator.pull, NNG_OPT_RECVMAXSZ, 0);
    raw_require(nng_aio_alloc(&coordinator.pull_aio, pulled, NULL), "aio");
    raw_require(nng_listen(coordinator.rep, argv[1], NULL, 0), argv[1]);
    raw_require(nng_listen(coordinator.pull, argv[2], NULL, 0), argv[2]);
    for (int i = 0; i < CONTEXTS; i++) {
        struct poll_slot *slot = &coordinator.slots[i];
        raw_require(nng_ctx_open(&slot->context, coordinator.rep), "context");
        raw_require(nng_aio_alloc(&slot->aio, slot_step, slot), "aio");
        nng_ctx_recv(slot->context, slot->aio);
    }
    nng_recv_aio(coordinator.pull, coordinator.pull_aio);
    puts("ready");
    fflush(stdout);
    for (;;)
        pause();
}
