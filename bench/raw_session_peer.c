/* A peer's end of the raw NNG session: PUSH up, one REQ poll down. The worker role answers inside the poll's callback.
 */
#include "bench/raw_session.h"
#include <nng/protocol/pipeline0/push.h>
#include <nng/protocol/reqrep0/req.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void push_gathered(struct raw_session *peer)
{
    nng_msg *frame;
    struct raw_header header = {.from = peer->number, .sequence = ++peer->sequence};
    if (nng_msg_alloc(&frame, sizeof header + peer->gathered_bytes) != 0)
        return;
    memcpy(nng_msg_body(frame), &header, sizeof header);
    memcpy((char *)nng_msg_body(frame) + sizeof header, peer->gathered, peer->gathered_bytes);
    peer->gathered_bytes = 0;
    peer->pushing = true;
    nng_aio_set_msg(peer->push_aio, frame);
    nng_send_aio(peer->push, peer->push_aio);
}

static void pushed(void *arg)
{
    struct raw_session *peer = arg;
    if (nng_aio_result(peer->push_aio) != 0) {
        nng_msg_free(nng_aio_get_msg(peer->push_aio));
        return;
    }
    pthread_mutex_lock(&peer->mutex);
    peer->pushing = false;
    if (peer->gathered_bytes)
        push_gathered(peer);
    pthread_mutex_unlock(&peer->mutex);
}

void raw_session_send(struct raw_session *peer, const char *records, size_t bytes)
{
    if (peer->gathered_bytes + bytes > RAW_GATHER)
        return;
    memcpy(peer->gathered + peer->gathered_bytes, records, bytes);
    peer->gathered_bytes += bytes;
    if (!peer->pushing)
        push_gathered(peer);
}

static void send_poll(struct raw_session *peer)
{
    nng_msg *poll;
    if (nng_msg_alloc(&poll, 0) != 0 || nng_msg_append(poll, &peer->number, sizeof peer->number) != 0)
        return;
    peer->poll_sending = true;
    nng_aio_set_msg(peer->poll_aio, poll);
    nng_ctx_send(peer->context, peer->poll_aio);
}

/* One aio drives the poll: sent, then answered, then sent again. (A second aio would let the receive start a little
 * earlier, but then the first may still be pending when it is needed again, which NNG answers with a panic.) */
static void poll_step(void *arg)
{
    struct raw_session *peer = arg;
    if (nng_aio_result(peer->poll_aio) != 0) {
        if (peer->poll_sending)
            nng_msg_free(nng_aio_get_msg(peer->poll_aio));
        return;
    }
    if (peer->poll_sending) {
        peer->poll_sending = false;
        nng_ctx_recv(peer->context, peer->poll_aio);
        return;
    }
    nng_msg *frame = nng_aio_get_msg(peer->poll_aio);
    pthread_mutex_lock(&peer->mutex);
    if (nng_msg_len(frame) > sizeof(struct raw_header))
        peer->received(peer, (char *)nng_msg_body(frame) + sizeof(struct raw_header),
                       nng_msg_len(frame) - sizeof(struct raw_header));
    pthread_mutex_unlock(&peer->mutex);
    nng_msg_free(frame);
    send_poll(peer);
}

int raw_session_open(struct raw_session *peer, const char *control_url, const char *push_url)
{
    pthread_mutex_init(&peer->mutex, NULL);
    if (!(peer->gathered = malloc(RAW_GATHER)))
        return NNG_ENOMEM;
    int error = nng_push0_open(&peer->push);
    if (error != 0)
        return error;
    if ((error = nng_req0_open(&peer->req)) != 0) {
        nng_close(peer->push);
        return error;
    }
    peer->open = true;
    nng_socket_set_ms(peer->req, NNG_OPT_REQ_RESENDTIME, NNG_DURATION_INFINITE);
    if ((error = raw_dial(peer->req, control_url)) != 0 || (error = raw_dial(peer->push, push_url)) != 0 ||
        (error = nng_ctx_open(&peer->context, peer->req)) != 0 ||
        (error = nng_aio_alloc(&peer->push_aio, pushed, peer)) != 0 ||
        (error = nng_aio_alloc(&peer->poll_aio, poll_step, peer)) != 0)
        return error;
    send_poll(peer);
    return 0;
}

void raw_session_close(struct raw_session *peer)
{
    if (peer->open) {
        nng_close(peer->push);
        nng_close(peer->req);
        if (peer->push_aio)
            nng_aio_free(peer->push_aio);
        if (peer->poll_aio)
            nng_aio_free(peer->poll_aio);
    }
    free(peer->gathered);
    *peer = (struct raw_session){0};
}

/* --- the worker role ------------------------------------------------------------------------------------------------
 */

/* The work is nothing, the answer is the record itself. */
static void work(struct raw_session *peer, const char *records, size_t bytes)
{
    for (size_t at = 0; at + BENCH_RECORD <= bytes; at += BENCH_RECORD)
        raw_session_send(peer, records + at, BENCH_RECORD);
}

int raw_worker_role(int argc, char **argv)
{
    static struct raw_session peer = {.received = work};
    if (argc < 4)
        return 1;
    peer.number = (uint32_t)strtoul(argv[3], NULL, 10);
    raw_require(raw_session_open(&peer, argv[1], argv[2]), "worker");
    puts("ready");
    fflush(stdout);
    for (;;)
        pause();
}
