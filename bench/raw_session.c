/*
 * The two lines of the raw NNG session, seen from its client.
 *
 * chain: one record at a time, one worker; four messages (PUSH, answered poll, PUSH, answered poll) between three
 * processes. batches: records as fast as a window of the line's number for each of two workers allows.
 */
#include "bench/raw_session.h"
#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CHAIN_TRIPS = 2000, BATCH_RECORDS = 400 * 1000 };

struct session_state {
    struct helper coordinator, workers[RAW_WORKERS];
    struct raw_session client;
    long outstanding, window;
    long wanted; /* wake the caller when no more than this is outstanding; negative: nobody waits */
    sem_t woken;
};

static void client_received(struct raw_session *peer, const char *records, size_t bytes)
{
    struct session_state *state = peer->arg;
    (void)records;
    state->outstanding -= (long)(bytes / BENCH_RECORD);
    if (state->wanted >= 0 && state->outstanding <= state->wanted) {
        state->wanted = -1;
        sem_post(&state->woken);
    }
}

/* With the mutex held; waits without it. False: nothing came for too long. */
static bool wait_outstanding(struct session_state *state, long wanted)
{
    struct timespec deadline;
    if (state->outstanding <= wanted)
        return true;
    state->wanted = wanted;
    pthread_mutex_unlock(&state->client.mutex);
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += RAW_PATIENCE_MS / 1000;
    int failed;
    while ((failed = sem_timedwait(&state->woken, &deadline)) != 0 && errno == EINTR)
        ;
    pthread_mutex_lock(&state->client.mutex);
    return failed == 0;
}

static enum bench_status session_open(struct bench_run *run, int workers)
{
    char control[RAW_URL], push[RAW_URL], number[16];
    struct session_state *state = run->state = calloc(1, sizeof *state);
    if (!state)
        return bench_stop(run, BENCH_FAILED, "out of memory");
    sem_init(&state->woken, 0, 0);
    state->wanted = -1;
    raw_url(control, run, "control");
    raw_url(push, run, "push");
    snprintf(number, sizeof number, "%d", workers);
    enum bench_status status = raw_start(run, &state->coordinator, "nng-coordinator", control, push, number, NULL);
    for (int i = 0; i < workers && status == BENCH_OK; i++) {
        snprintf(number, sizeof number, "%d", i + 1);
        status = raw_start(run, &state->workers[i], "nng-worker", control, push, number, NULL);
    }
    if (status != BENCH_OK)
        return status;
    state->client.received = client_received;
    state->client.arg = state;
    int error = raw_session_open(&state->client, control, push);
    if (error != 0)
        return bench_stop(run, BENCH_FAILED, "client: %s", nng_strerror(error));
    double ignored;
    return run->line->kind->sample(run, &ignored);
}

static enum bench_status chain_open(struct bench_run *run)
{
    return session_open(run, 1);
}

static enum bench_status batches_open(struct bench_run *run)
{
    return session_open(run, RAW_WORKERS);
}

/* Sends `count` records with at most `window` outstanding and waits for all. */
static enum bench_status send_records(struct bench_run *run, long count, long window)
{
    struct session_state *state = run->state;
    const char record[BENCH_RECORD] = {0};
    bool alive = true;
    pthread_mutex_lock(&state->client.mutex);
    for (long i = 0; i < count && alive; i++) {
        alive = wait_outstanding(state, window - 1);
        state->outstanding++;
        raw_session_send(&state->client, record, sizeof record);
        if (window > 1) { /* lets the callbacks in, as a caller of a library would */
            pthread_mutex_unlock(&state->client.mutex);
            pthread_mutex_lock(&state->client.mutex);
        }
    }
    alive = alive && wait_outstanding(state, 0);
    pthread_mutex_unlock(&state->client.mutex);
    return alive ? BENCH_OK : bench_stop(run, BENCH_FAILED, "no answer came for %d s", RAW_PATIENCE_MS / 1000);
}

static enum bench_status chain_sample(struct bench_run *run, double *value)
{
    double start = bench_now_us();
    enum bench_status status = send_records(run, CHAIN_TRIPS, 1);
    *value = (bench_now_us() - start) / CHAIN_TRIPS;
    return status;
}

static enum bench_status batches_sample(struct bench_run *run, double *value)
{
    double start = bench_now_us();
    enum bench_status status = send_records(run, BATCH_RECORDS, run->line->number * RAW_WORKERS);
    *value = BATCH_RECORDS / (bench_now_us() - start) * 1e3;
    return status;
}

static void session_close(struct bench_run *run)
{
    struct session_state *state = run->state;
    if (!state)
        return;
    raw_session_close(&state->client);
    for (int i = 0; i < RAW_WORKERS; i++)
        helper_end(&state->workers[i]);
    helper_end(&state->coordinator);
    free(state);
}

const struct bench_kind raw_chain_kind = {chain_open, chain_sample, session_close};
const struct bench_kind raw_batches_kind = {batches_open, batches_sample, session_close};
