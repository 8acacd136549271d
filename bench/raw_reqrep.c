/*
 * The least that NNG can do: one REQ, one REP, two processes. The replier answers from its receive callback, which NNG
 * runs in the same thread that read the message; the caller waits in nng_recvmsg(), as whoever calls a function must.
 * The line's number is the size of the message in bytes: small for the round trip, 1 MiB for the bulk line.
 */
#include "bench/raw_nng.h"
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SMALL_TRIPS = 2000, LARGE_TRIPS = 60, LARGE = 64 * 1024 };

struct reqrep_state {
    struct helper echo;
    nng_socket req;
    bool open;
};

/* The replier: receive, send the same message back, receive again. */
struct replier {
    nng_ctx context;
    nng_aio *aio;
    bool sending;
};

static void echo_step(void *arg)
{
    struct replier *echo = arg;
    if (nng_aio_result(echo->aio) != 0)
        return;
    if (echo->sending) {
        echo->sending = false;
        nng_ctx_recv(echo->context, echo->aio);
        return;
    }
    echo->sending = true;
    nng_ctx_send(echo->context, echo->aio); /* the message that came is still set in the aio */
}

int raw_echo_role(int argc, char **argv)
{
    static struct replier echo;
    nng_socket rep;
    if (argc < 2)
        return 1;
    raw_require(nng_rep0_open(&rep), "REP");
    nng_socket_set_size(rep, NNG_OPT_RECVMAXSZ, 0);
    raw_require(nng_ctx_open(&echo.context, rep), "context");
    raw_require(nng_aio_alloc(&echo.aio, echo_step, &echo), "aio");
    raw_require(nng_listen(rep, argv[1], NULL, 0), argv[1]);
    nng_ctx_recv(echo.context, echo.aio);
    puts("ready");
    fflush(stdout);
    for (;;)
        pause();
}

static enum bench_status reqrep_open(struct bench_run *run)
{
    char url[RAW_URL];
    double ignored;
    struct reqrep_state *state = run->state = calloc(1, sizeof *state);
    if (!state)
        return bench_stop(run, BENCH_FAILED, "out of memory");
    raw_url(url, run, "echo");
    enum bench_status status = raw_start(run, &state->echo, "nng-echo", url, NULL, NULL, NULL);
    if (status != BENCH_OK)
        return status;
    int error = nng_req0_open(&state->req);
    if (error == 0) {
        state->open = true;
        nng_socket_set_ms(state->req, NNG_OPT_RECVTIMEO, RAW_PATIENCE_MS);
        nng_socket_set_ms(state->req, NNG_OPT_REQ_RESENDTIME, NNG_DURATION_INFINITE);
        error = raw_dial(state->req, url);
    }
    if (error != 0)
        return bench_stop(run, BENCH_FAILED, "%s: %s", url, nng_strerror(error));
    return run->line->kind->sample(run, &ignored);
}

static enum bench_status reqrep_sample(struct bench_run *run, double *value)
{
    struct reqrep_state *state = run->state;
    size_t size = (size_t)run->line->number;
    long trips = size >= LARGE ? LARGE_TRIPS : SMALL_TRIPS;
    double start = bench_now_us();
    for (long i = 0; i < trips; i++) {
        nng_msg *message;
        int error = nng_msg_alloc(&message, size);
        if (error == 0) {
            memset(nng_msg_body(message), 'x', size);
            error = nng_sendmsg(state->req, message, 0);
            if (error != 0)
                nng_msg_free(message);
        }
        if (error == 0)
            error = nng_recvmsg(state->req, &message, 0);
        if (error != 0)
            return bench_stop(run, BENCH_FAILED, "round trip: %s", nng_strerror(error));
        nng_msg_free(message);
    }
    double elapsed = bench_now_us() - start;
    *value = size >= LARGE ? 2.0 * (double)size * (double)trips / elapsed / 1e3 : elapsed / (double)trips;
    return BENCH_OK;
}

static void reqrep_close(struct bench_run *run)
{
    struct reqrep_state *state = run->state;
    if (!state)
        return;
    if (state->open)
        nng_close(state->req);
    helper_end(&state->echo);
    free(state);
}

const struct bench_kind raw_reqrep_kind = {reqrep_open, reqrep_sample, reqrep_close};
