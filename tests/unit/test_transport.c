/*
 * The transport: a link over real sockets, to a coordinator that this process plays itself.
 */
#include <nng/nng.h>
#include <nng/protocol/pipeline0/pull.h>
#include <nng/protocol/reqrep0/rep.h>
#include <arpa/inet.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/transport.h"
#include "muster.h"
#include "tests/unit/fake_coordinator.h"

/* NNG 1.5 loses a message that it hands to a connection which closes at that moment. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:message_of";
}

#define REST_NS (10 * (long)NS_PER_MS)
#define WAIT_S 20 /* no wait of these tests is longer */

/* --- a coordinator on two sockets: echoes each SUBMIT as a DONE --------------------------------------------------- */

struct echo {
    struct fake_coordinator fake;
    char url[128], push_url[160];
    nng_socket rep, pull;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    pthread_t poll_thread, push_thread;
    bool stopping, bye;
};

static int echo_message(void *arg, const struct message *message)
{
    struct echo *echo = arg;
    if (message->type == MESSAGE_BYE)
        echo->bye = true;
    if (message->type != MESSAGE_SUBMIT)
        return 0;
    struct message done = {.type = MESSAGE_DONE,
                           .done = {.number = message->submit.number, .value = message->submit.args}};
    return session_send(&echo->fake.session, &done);
}

static void *echo_pushes(void *arg)
{
    struct echo *echo = arg;
    nng_msg *frame;
    while (nng_recvmsg(echo->pull, &frame, 0) == 0) {
        pthread_mutex_lock(&echo->mutex);
        fake_push(&echo->fake, (struct bytes){nng_msg_body(frame), nng_msg_len(frame)});
        pthread_cond_signal(&echo->changed);
        pthread_mutex_unlock(&echo->mutex);
        nng_msg_free(frame);
    }
    return NULL;
}

/* Waits a little for something to send: a keep-alive otherwise. */
static void echo_wait(struct echo *echo)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 100 * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    while (!echo->stopping && !echo->bye && echo->fake.open && !session_has_frame(&echo->fake.session))
        if (pthread_cond_timedwait(&echo->changed, &echo->mutex, &until) != 0)
            break;
    echo->bye = false;
}

static void *echo_polls(void *arg)
{
    struct echo *echo = arg;
    struct buffer reply = {0};
    nng_msg *frame;
    while (nng_recvmsg(echo->rep, &frame, 0) == 0) {
        pthread_mutex_lock(&echo->mutex);
        if (!fake_poll(&echo->fake, (struct bytes){nng_msg_body(frame), nng_msg_len(frame)}, &reply)) {
            echo_wait(echo);
            fake_answer(&echo->fake, &reply);
        }
        pthread_mutex_unlock(&echo->mutex);
        nng_msg_clear(frame);
        nng_msg_append(frame, reply.data, reply.length);
        if (nng_sendmsg(echo->rep, frame, 0) != 0)
            nng_msg_free(frame);
    }
    buffer_free(&reply);
    return NULL;
}

static void echo_listen(struct echo *echo)
{
    assert_int_equal(nng_rep0_open(&echo->rep), 0);
    assert_int_equal(nng_pull0_open(&echo->pull), 0);
    assert_int_equal(nng_listen(echo->rep, echo->url, NULL, 0), 0);
    assert_int_equal(nng_listen(echo->pull, echo->push_url, NULL, 0), 0);
    echo->stopping = false;
    pthread_create(&echo->poll_thread, NULL, echo_polls, echo);
    pthread_create(&echo->push_thread, NULL, echo_pushes, echo);
}

/* Only when the peers are gone: NNG cannot close a socket that is being written to. */
static void echo_hang_up(struct echo *echo)
{
    pthread_mutex_lock(&echo->mutex);
    echo->stopping = true;
    pthread_cond_broadcast(&echo->changed);
    pthread_mutex_unlock(&echo->mutex);
    nng_close(echo->rep);
    nng_close(echo->pull);
    pthread_join(echo->poll_thread, NULL);
    pthread_join(echo->push_thread, NULL);
}

static void echo_start(struct echo *echo, const char *url)
{
    *echo = (struct echo){0};
    fake_init(&echo->fake, echo_message, echo);
    snprintf(echo->url, sizeof echo->url, "%s", url);
    assert_int_equal(url_push(url, echo->push_url, sizeof echo->push_url), 0);
    echo->fake.push_url = echo->push_url;
    pthread_mutex_init(&echo->mutex, NULL);
    pthread_cond_init(&echo->changed, NULL);
    echo_listen(echo);
}

static void echo_stop(struct echo *echo)
{
    echo_hang_up(echo);
    fake_free(&echo->fake);
    pthread_mutex_destroy(&echo->mutex);
    pthread_cond_destroy(&echo->changed);
}

/* --- a network that breaks: forwards connections until it is told to cut them ------------------------------------- */

#define CUT_CONNECTIONS 8

struct forwarder {
    int listener;
    unsigned short port, to;
    int ends[CUT_CONNECTIONS][2]; /* both ends of each connection; -1: none */
    bool cut, stop;
    pthread_mutex_t mutex;
    pthread_t thread;
};

/* -1 if nobody listens there, as while a coordinator is being restarted. */
static int connect_to(unsigned short port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    close(fd);
    return -1;
}

static void forwarder_close(int ends[2])
{
    if (ends[0] >= 0) {
        close(ends[0]);
        close(ends[1]);
    }
    ends[0] = ends[1] = -1;
}

static void forwarder_accept(struct forwarder *forwarder)
{
    for (unsigned i = 0; i < CUT_CONNECTIONS; i++) {
        if (forwarder->ends[i][0] >= 0)
            continue;
        forwarder->ends[i][0] = accept(forwarder->listener, NULL, NULL);
        forwarder->ends[i][1] = connect_to(forwarder->to);
        if (forwarder->ends[i][1] < 0)
            forwarder_close(forwarder->ends[i]);
        return;
    }
}

static void forwarder_pass(int ends[2], unsigned from)
{
    char bytes[65536];
    ssize_t length = read(ends[from], bytes, sizeof bytes);
    for (ssize_t done = 0, sent; length > 0 && done < length; done += sent)
        if ((sent = write(ends[!from], bytes + done, (size_t)(length - done))) <= 0)
            length = -1;
    if (length <= 0)
        forwarder_close(ends);
}

static void *forwarder_main(void *arg)
{
    struct forwarder *forwarder = arg;
    for (;;) {
        struct pollfd fds[1 + 2 * CUT_CONNECTIONS] = {{.fd = forwarder->listener, .events = POLLIN}};
        for (unsigned i = 0; i < 2 * CUT_CONNECTIONS; i++)
            fds[1 + i] = (struct pollfd){.fd = forwarder->ends[i / 2][i % 2], .events = POLLIN};
        poll(fds, sizeof fds / sizeof *fds, 5);
        pthread_mutex_lock(&forwarder->mutex);
        bool cut = forwarder->cut, stop = forwarder->stop;
        forwarder->cut = false;
        pthread_mutex_unlock(&forwarder->mutex);
        for (unsigned i = 0; (cut || stop) && i < CUT_CONNECTIONS; i++)
            forwarder_close(forwarder->ends[i]);
        if (stop)
            return NULL;
        if (cut)
            continue;
        if (fds[0].revents)
            forwarder_accept(forwarder);
        for (unsigned i = 0; i < 2 * CUT_CONNECTIONS; i++)
            if (fds[1 + i].fd >= 0 && fds[1 + i].revents && forwarder->ends[i / 2][0] >= 0)
                forwarder_pass(forwarder->ends[i / 2], i % 2);
    }
}

static void forwarder_start(struct forwarder *forwarder, unsigned short to)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof address;
    *forwarder = (struct forwarder){.to = to, .listener = socket(AF_INET, SOCK_STREAM, 0)};
    memset(forwarder->ends, -1, sizeof forwarder->ends);
    assert_int_equal(bind(forwarder->listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(forwarder->listener, 10), 0);
    getsockname(forwarder->listener, (struct sockaddr *)&address, &length);
    forwarder->port = ntohs(address.sin_port);
    pthread_mutex_init(&forwarder->mutex, NULL);
    pthread_create(&forwarder->thread, NULL, forwarder_main, forwarder);
}

static void forwarder_tell(struct forwarder *forwarder, bool stop)
{
    pthread_mutex_lock(&forwarder->mutex);
    forwarder->cut = true;
    forwarder->stop = stop;
    pthread_mutex_unlock(&forwarder->mutex);
    if (stop) {
        pthread_join(forwarder->thread, NULL);
        close(forwarder->listener);
        pthread_mutex_destroy(&forwarder->mutex);
    }
}

/* --- a peer ------------------------------------------------------------------------------------------------------- */

struct peer {
    struct link link;
    struct transport *transport;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    unsigned opened, restarted, lost;
    int failed;
    uint64_t done, last_number;
    size_t value_bytes;
};

static void peer_open(void *arg, const struct welcome *welcome, bool restarted)
{
    struct peer *peer = arg;
    (void)welcome;
    peer->opened++;
    peer->restarted += restarted;
    pthread_cond_broadcast(&peer->changed);
}

static int peer_message(void *arg, const struct message *message)
{
    struct peer *peer = arg;
    assert_int_equal(message->type, MESSAGE_DONE);
    assert_int_equal(message->done.number, peer->last_number + 1);
    peer->last_number = message->done.number;
    peer->value_bytes = message->done.value.length;
    peer->done++;
    pthread_cond_broadcast(&peer->changed);
    return 0;
}

static void peer_lost(void *arg, const char *reason)
{
    struct peer *peer = arg;
    (void)reason;
    peer->lost++;
    pthread_cond_broadcast(&peer->changed);
}

static void peer_failed(void *arg, int status, const char *reason)
{
    struct peer *peer = arg;
    (void)reason;
    peer->failed = status;
    pthread_cond_broadcast(&peer->changed);
}

static const struct link_events peer_events = {
    .open = peer_open, .message = peer_message, .lost = peer_lost, .failed = peer_failed};

static void peer_start(struct peer *peer, const char *url)
{
    struct random seed;
    *peer = (struct peer){0};
    pthread_mutex_init(&peer->mutex, NULL);
    pthread_cond_init(&peer->changed, NULL);
    struct link_config config = {.role = ROLE_CLIENT,
                                 .identity = 5,
                                 .language = "c",
                                 .host = "here",
                                 .domain = "",
                                 .name = "test",
                                 .pid = 1,
                                 .events = &peer_events,
                                 .arg = peer};
    random_seed_system(&seed);
    assert_int_equal(link_init(&peer->link, &config, &seed, clock_now_ns()), 0);
    assert_int_equal(transport_start(&peer->transport, url, &peer->link, &peer->mutex), 0);
}

static void peer_stop(struct peer *peer)
{
    transport_stop(peer->transport);
    link_free(&peer->link);
    pthread_mutex_destroy(&peer->mutex);
    pthread_cond_destroy(&peer->changed);
}

/* Waits, mutex held, for a change, or a little: acknowledgements come without an event. */
static void peer_rest(struct peer *peer)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += REST_NS;
    until.tv_sec += until.tv_nsec / (long)NS_PER_S;
    until.tv_nsec %= (long)NS_PER_S;
    pthread_cond_timedwait(&peer->changed, &peer->mutex, &until);
}

/* Waits, mutex held, until the condition holds. */
#define peer_wait(peer, condition)                                 \
    do {                                                           \
        uint64_t patience_ns = clock_now_ns() + WAIT_S * NS_PER_S; \
        while (!(condition) && clock_now_ns() < patience_ns)       \
            peer_rest(peer);                                       \
        assert_true(condition);                                    \
    } while (0)

static void submit(struct peer *peer, uint64_t number, struct bytes args)
{
    struct message message = {.type = MESSAGE_SUBMIT, .submit = {.number = number, .args = args}};
    assert_int_equal(link_send(&peer->link, &message), 0);
}

static void exchange(const char *url, unsigned messages)
{
    struct echo echo;
    struct peer peer;
    echo_start(&echo, url);
    peer_start(&peer, url);
    pthread_mutex_lock(&peer.mutex);
    peer_wait(&peer, peer.opened == 1);
    for (unsigned i = 1; i <= messages; i++) {
        submit(&peer, i, bytes_string("sixteen bytes..."));
        if (i % 7 == 0)
            transport_flush(peer.transport);
    }
    transport_flush(peer.transport);
    peer_wait(&peer, peer.done == messages && link_idle(&peer.link));
    assert_int_equal(peer.value_bytes, 16);
    pthread_mutex_unlock(&peer.mutex);
    peer_stop(&peer);
    echo_stop(&echo);
}

static const char *ipc_url(void)
{
    static char url[100];
    static unsigned count;
    snprintf(url, sizeof url, "ipc:///tmp/muster-test-%d-%u", (int)getpid(), ++count);
    return url;
}

static const char *tcp_url(void)
{
    static char url[100];
    static unsigned count;
    snprintf(url, sizeof url, "tcp://127.0.0.1:%u", 20000 + ((unsigned)getpid() * 8 + 2 * count++) % 12000);
    return url;
}

static void messages_arrive_in_order_over_ipc(void **state)
{
    (void)state;
    exchange(ipc_url(), 20000);
}

static void messages_arrive_in_order_over_tcp(void **state)
{
    (void)state;
    exchange(tcp_url(), 20000);
}

static void a_long_message_arrives_whole(void **state)
{
    (void)state;
    const size_t length = 10 * 1024 * 1024 + 7;
    struct echo echo;
    struct peer peer;
    char *payload = calloc(1, length);
    const char *url = ipc_url();
    echo_start(&echo, url);
    peer_start(&peer, url);
    pthread_mutex_lock(&peer.mutex);
    peer_wait(&peer, peer.opened == 1);
    submit(&peer, 1, (struct bytes){payload, length});
    transport_flush(peer.transport);
    peer_wait(&peer, peer.done == 1 && link_idle(&peer.link));
    assert_int_equal(peer.value_bytes, length);
    pthread_mutex_unlock(&peer.mutex);
    peer_stop(&peer);
    echo_stop(&echo);
    free(payload);
}

static void a_peer_that_starts_first_waits_for_its_coordinator(void **state)
{
    (void)state;
    struct echo echo;
    struct peer peer;
    const char *url = ipc_url();
    peer_start(&peer, url);
    echo_start(&echo, url);
    pthread_mutex_lock(&peer.mutex);
    peer_wait(&peer, peer.opened == 1);
    submit(&peer, 1, bytes_string("x"));
    transport_flush(peer.transport);
    peer_wait(&peer, peer.done == 1);
    pthread_mutex_unlock(&peer.mutex);
    peer_stop(&peer);
    echo_stop(&echo);
}

static void a_broken_connection_loses_nothing_and_repeats_nothing(void **state)
{
    (void)state;
    enum { ROUNDS = 10, EACH = 2000 };
    struct echo echo;
    struct peer peer;
    struct forwarder control, push;
    char url[100], push_url[100];
    unsigned port;
    echo_start(&echo, tcp_url());
    sscanf(echo.url, "tcp://127.0.0.1:%u", &port);
    forwarder_start(&control, (unsigned short)port);
    forwarder_start(&push, (unsigned short)(port + 1));
    snprintf(url, sizeof url, "tcp://127.0.0.1:%u", control.port);
    snprintf(push_url, sizeof push_url, "tcp://127.0.0.1:%u", push.port);
    echo.fake.push_url = push_url;
    peer_start(&peer, url);
    pthread_mutex_lock(&peer.mutex);
    peer_wait(&peer, peer.opened == 1);
    for (unsigned round = 1; round <= ROUNDS; round++) {
        for (unsigned i = 0; i < EACH; i++) {
            submit(&peer, (round - 1) * EACH + i + 1, bytes_string("sixteen bytes..."));
            if (i == EACH / 2)
                forwarder_tell(&push, false);
            if (i == EACH / 3)
                forwarder_tell(&control, false);
            transport_flush(peer.transport);
        }
        peer_wait(&peer, peer.done >= (round - 1) * EACH + EACH / 2);
    }
    peer_wait(&peer, peer.done == ROUNDS * EACH && link_idle(&peer.link));
    assert_int_equal(peer.opened, 1);
    assert_int_equal(peer.lost, 0);
    pthread_mutex_unlock(&peer.mutex);
    peer_stop(&peer);
    forwarder_tell(&control, true);
    forwarder_tell(&push, true);
    echo_stop(&echo);
}

/* Another identity, another push URL, and it knows no sessions. */
static void a_restarted_coordinator_is_found_again(void **state)
{
    (void)state;
    struct echo echo;
    struct peer peer;
    char push_url[200];
    const char *url = ipc_url();
    echo_start(&echo, url);
    peer_start(&peer, url);
    pthread_mutex_lock(&peer.mutex);
    peer_wait(&peer, peer.opened == 1);
    pthread_mutex_unlock(&peer.mutex);
    pthread_mutex_lock(&echo.mutex);
    fake_forget(&echo.fake);
    echo.fake.identity = 78;
    snprintf(push_url, sizeof push_url, "%s-other", echo.push_url);
    echo.fake.push_url = push_url;
    assert_int_equal(nng_listen(echo.pull, push_url, NULL, 0), 0);
    pthread_cond_signal(&echo.changed);
    pthread_mutex_unlock(&echo.mutex);
    pthread_mutex_lock(&peer.mutex);
    peer_wait(&peer, peer.opened == 2);
    assert_int_equal(peer.lost, 1);
    assert_int_equal(peer.restarted, 2);
    submit(&peer, 1, bytes_string("x"));
    transport_flush(peer.transport);
    peer_wait(&peer, peer.done == 1);
    pthread_mutex_unlock(&peer.mutex);
    peer_stop(&peer);
    echo_stop(&echo);
}

static void another_protocol_at_the_url_is_a_failure(void **state)
{
    (void)state;
    struct peer peer;
    nng_socket rep;
    nng_msg *request;
    const char *url = ipc_url();
    assert_int_equal(nng_rep0_open(&rep), 0);
    assert_int_equal(nng_listen(rep, url, NULL, 0), 0);
    nng_socket_set_ms(rep, NNG_OPT_RECVTIMEO, WAIT_S * 1000);
    peer_start(&peer, url);
    assert_int_equal(nng_recvmsg(rep, &request, 0), 0);
    nng_msg_clear(request);
    nng_msg_append(request, "hello?", 6);
    assert_int_equal(nng_sendmsg(rep, request, 0), 0);
    pthread_mutex_lock(&peer.mutex);
    peer_wait(&peer, peer.failed == MUSTER_EPROTOCOL);
    pthread_mutex_unlock(&peer.mutex);
    peer_stop(&peer);
    nng_close(rep);
}

static void a_silent_coordinator_is_asked_again(void **state)
{
    (void)state;
    struct peer peer;
    nng_socket rep;
    nng_msg *request;
    const char *url = ipc_url();
    assert_int_equal(nng_rep0_open(&rep), 0);
    assert_int_equal(nng_listen(rep, url, NULL, 0), 0);
    nng_socket_set_ms(rep, NNG_OPT_RECVTIMEO, WAIT_S * 1000);
    peer_start(&peer, url);
    for (unsigned i = 0; i < 2; i++) { /* the first is never answered */
        assert_int_equal(nng_recvmsg(rep, &request, 0), 0);
        nng_msg_free(request);
    }
    peer_stop(&peer);
    nng_close(rep);
}

/* Each round with a coordinator of its own: NNG's listener may stop listening when a connection vanishes at once. */
static void a_transport_can_be_stopped_at_any_moment(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 40; i++) {
        struct echo echo;
        struct peer peer;
        const char *url = ipc_url();
        echo_start(&echo, url);
        peer_start(&peer, url);
        usleep(i * 50); /* not a wait for something: each round stops at another point */
        pthread_mutex_lock(&peer.mutex);
        if (peer.opened)
            submit(&peer, 1, bytes_string("x"));
        transport_flush(peer.transport);
        pthread_mutex_unlock(&peer.mutex);
        peer_stop(&peer);
        echo_stop(&echo);
    }
}

/* --- URLs --------------------------------------------------------------------------------------------------------- */

static void a_url_that_makes_no_sense_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "x",
                                      "ipc://",
                                      "tcp://",
                                      "tcp://h",
                                      "tcp://h:",
                                      "tcp://h:0",
                                      "tcp://h:65535",
                                      "tcp://h:99999",
                                      "tcp://h:5000x",
                                      "tcp://h:5000/path",
                                      "tcp://[::1:5000",
                                      "http://h:1",
                                      "local:4",
                                      "tls+tcp://h:5000",
                                      "tcp://h:-1",
                                      "tcp://h: 5"};
    static const char *const good[] = {"ipc:///tmp/x",     "ipc://relative",     "tcp://h:5000",    "tcp://*:5000",
                                       "tcp://[::1]:5000", "tcp://127.0.0.1:1/", "ws://h:80/muster"};
    struct transport *transport;
    char path[200] = "ipc://";
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(url_check(bad[i]), MUSTER_EURL);
        assert_int_equal(transport_start(&transport, bad[i], NULL, NULL), MUSTER_EURL);
        assert_non_null(strstr(muster_last_error(), bad[i]));
    }
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(url_check(good[i]), 0);
    memset(path + 6, 'p', 102);
    assert_int_equal(url_check(path), 0);
    path[6 + 102] = 'p';
    assert_int_equal(url_check(path), MUSTER_EURL);
}

static void the_push_url_follows_from_the_control_url(void **state)
{
    (void)state;
    char out[200], small[10];
    assert_int_equal(url_push("tcp://h:5000", out, sizeof out), 0);
    assert_string_equal(out, "tcp://h:5001");
    assert_int_equal(url_push("tcp://[::1]:5000", out, sizeof out), 0);
    assert_string_equal(out, "tcp://[::1]:5001");
    assert_int_equal(url_push("ws://h:80/a/b", out, sizeof out), 0);
    assert_string_equal(out, "ws://h:81/a/b");
    assert_int_equal(url_push("ipc:///p", out, sizeof out), 0);
    assert_string_equal(out, "ipc:///p.push");
    assert_int_equal(url_push("tcp://h:5000", small, sizeof small), MUSTER_EURL);
}

static void the_push_url_is_adapted_to_where_the_coordinator_was_reached(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        /* told, control, result */
        {"tcp://0.0.0.0:5001", "tcp://server:5000", "tcp://server:5001"},
        {"tcp://*:5001", "tcp://server:5000", "tcp://server:5001"},
        {"tcp://[::]:5001", "tcp://10.0.0.1:5000", "tcp://10.0.0.1:5001"},
        {"tcp://[::]:5001", "tcp://[fe80::1]:5000", "tcp://[fe80::1]:5001"},
        {"tcp://127.0.0.1:5001", "tcp://server:5000", "tcp://server:5001"},
        {"tcp://127.0.0.1:5001", "tcp://localhost:5000", "tcp://127.0.0.1:5001"},
        {"tcp://other:7777", "tcp://server:5000", "tcp://other:7777"},
        {"tcp://h:65535", "tcp://h:65534", "tcp://h:65535"},
        {"ipc:///run/muster.push", "ipc:///run/muster", "ipc:///run/muster.push"},
        {"ipc:///run/muster.push", "ipc:///mnt/run/muster", "ipc:///mnt/run/muster.push"},
        {"tcp://h:5001", "ipc:///run/muster", "tcp://h:5001"},
    };
    char out[200];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(url_reach(cases[i][0], cases[i][1], out, sizeof out), 0);
        assert_string_equal(out, cases[i][2]);
    }
    assert_int_equal(url_reach("nonsense", "tcp://h:1", out, sizeof out), MUSTER_EURL);
}

static void only_ipc_and_loopback_are_local(void **state)
{
    (void)state;
    assert_true(url_is_local("ipc:///x"));
    assert_true(url_is_local("tcp://127.0.0.1:1"));
    assert_true(url_is_local("tcp://[::1]:1"));
    assert_true(url_is_local("tcp://localhost:1"));
    assert_false(url_is_local("tcp://*:1"));
    assert_false(url_is_local("tcp://0.0.0.0:1"));
    assert_false(url_is_local("tcp://example.org:1"));
    assert_false(url_is_local("tcp://127.example.org:1"));
    assert_true(url_is_local("tcp://127.1.2.3:1"));
    assert_false(url_is_local("nonsense"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_arrive_in_order_over_ipc),
        cmocka_unit_test(messages_arrive_in_order_over_tcp),
        cmocka_unit_test(a_long_message_arrives_whole),
        cmocka_unit_test(a_peer_that_starts_first_waits_for_its_coordinator),
        cmocka_unit_test(a_broken_connection_loses_nothing_and_repeats_nothing),
        cmocka_unit_test(a_restarted_coordinator_is_found_again),
        cmocka_unit_test(another_protocol_at_the_url_is_a_failure),
        cmocka_unit_test(a_silent_coordinator_is_asked_again),
        cmocka_unit_test(a_transport_can_be_stopped_at_any_moment),
        cmocka_unit_test(a_url_that_makes_no_sense_is_refused),
        cmocka_unit_test(the_push_url_follows_from_the_control_url),
        cmocka_unit_test(the_push_url_is_adapted_to_where_the_coordinator_was_reached),
        cmocka_unit_test(only_ipc_and_loopback_are_local),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
