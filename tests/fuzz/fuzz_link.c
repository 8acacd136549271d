/*
 * Any answers to a link's requests, in each of its states: the first byte says how far the handshake has come.
 */
#include <assert.h>

#include "tests/fuzz/pieces.h"
#include "tests/unit/fake_coordinator.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct link peer;

static void on_open(void *arg, const struct welcome *welcome, bool restarted)
{
    struct message hello = {.type = MESSAGE_STATUS, .status = {.request = restarted}};
    (void)arg;
    assert(welcome->push_url && welcome->domain && welcome->heartbeat_ns > 0);
    link_send(&peer, &hello);
}

static int on_message(void *arg, const struct message *message)
{
    (void)arg;
    link_send(&peer, message);
    return 0;
}

static void on_failed(void *arg, int status, const char *reason)
{
    (void)arg;
    assert(status < 0 && reason && *reason);
}

static int on_received(void *arg, const struct message *message)
{
    (void)arg, (void)message;
    return 0;
}

/* The handshake with a coordinator that behaves, up to `steps` answers. */
static void shake_hands(struct fake_coordinator *fake, unsigned steps, uint64_t *now_ns)
{
    struct buffer poll = {0}, reply = {0};
    for (unsigned i = 0; i < steps; i++) {
        *now_ns += NS_PER_S;
        if (!link_next_poll(&peer, *now_ns, &poll))
            continue;
        if (!fake_poll(fake, bytes_of(&poll), &reply))
            fake_answer(fake, &reply);
        link_poll_answered(&peer, bytes_of(&reply), *now_ns);
    }
    buffer_free(&poll);
    buffer_free(&reply);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct link_events events = {.open = on_open, .message = on_message, .failed = on_failed};
    const struct link_config config = {
        .role = ROLE_WORKER, .identity = 5, .language = "c", .host = "h", .domain = "", .name = "n", .events = &events};
    struct fake_coordinator fake;
    struct random seed;
    struct bytes input = {data, size}, piece, frame;
    struct buffer poll = {0};
    uint64_t now_ns = 1;
    if (size == 0)
        return 0;
    random_seed(&seed, "fuzz", 4);
    assert(link_init(&peer, &config, &seed, now_ns) == 0);
    fake_init(&fake, on_received, NULL);
    shake_hands(&fake, data[0] % 4, &now_ns);
    input = (struct bytes){data + 1, size - 1};
    for (; piece_next(&input, &piece); free((void *)piece.data)) {
        now_ns += NS_PER_S;
        link_tick(&peer, now_ns);
        if (link_next_poll(&peer, now_ns, &poll))
            link_poll_answered(&peer, piece, now_ns);
        if (link_next_push(&peer, now_ns, &frame))
            link_push_done(&peer, piece.length % 2, now_ns);
        assert(link_deadline(&peer) > 0);
    }
    link_close(&peer, "end");
    link_free(&peer);
    fake_free(&fake);
    buffer_free(&poll);
    return 0;
}
