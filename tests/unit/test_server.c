/*
 * The server with real sockets: peers are links run by the real transport, or raw NNG and raw TCP where a peer
 * misbehaves.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <nng/nng.h>
#include <nng/protocol/pipeline0/push.h>
#include <nng/protocol/reqrep0/req.h>

#include "core/errors.h"
#include "core/log.h"
#include "core/transport.h"
#include "server/server.h"

#define WAIT_S 20

static char directory[64];

static const char *path_in(const char *name)
{
    static char path[512];
    assert_true(snprintf(path, sizeof path, "%s/%s", directory, name) < (int)sizeof path);
    return path;
}

static const char *ipc_url(const char *name)
{
    static char url[600];
    assert_true(snprintf(url, sizeof url, "ipc://%s", path_in(name)) < (int)sizeof url);
    return url;
}

static void quiet(enum log_level level, const char *text)
{
    (void)level;
    (void)text;
}

static int make_directory(void **state)
{
    (void)state;
    log_hook = quiet;
    snprintf(directory, sizeof directory, "/tmp/muster-test-server-XXXXXX");
    return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
    (void)state;
    return rmdir(directory); /* fails if a socket file was left */
}

static int start(struct server **server, const char *url, const char *url2, struct server_config *config)
{
    struct server_config defaults;
    const char *urls[] = {url, url2, NULL};
    if (!config) {
        server_config_defaults(&defaults);
        config = &defaults;
    }
    config->listen = urls;
    int status = server_start(server, config);
    config->listen = NULL;
    return status;
}

static struct hub_counts counts_of(struct server *server)
{
    struct hub_counts counts;
    pthread_mutex_lock(server_mutex(server));
    hub_count(server_hub(server), &counts);
    pthread_mutex_unlock(server_mutex(server));
    return counts;
}

/* Waits until the server has so many sessions. */
static void wait_sessions(struct server *server, size_t wanted)
{
    const struct timespec pause = {0, 2000000};
    uint64_t end = clock_now_ns() + WAIT_S * NS_PER_S;
    while (counts_of(server).sessions != wanted) {
        if (clock_now_ns() > end)
            fail_msg("%zu sessions, expected %zu", counts_of(server).sessions, wanted);
        nanosleep(&pause, NULL);
    }
}

/* --- a peer ------------------------------------------------------------------------------------------------------- */

struct remote {
    struct link link;
    struct transport *transport;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    unsigned opened, lost;
    uint64_t reports;
    bool out_of_order;
    int failed;
};

static void on_open(void *arg, const struct welcome *welcome, bool restarted)
{
    struct remote *remote = arg;
    (void)welcome;
    (void)restarted;
    remote->opened++;
    pthread_cond_broadcast(&remote->changed);
}

static int on_message(void *arg, const struct message *message)
{
    struct remote *remote = arg;
    if (message->type == MESSAGE_REPORT)
        remote->out_of_order |= message->report.request != ++remote->reports;
    pthread_cond_broadcast(&remote->changed);
    return 0;
}

static void on_lost(void *arg, const char *reason)
{
    struct remote *remote = arg;
    (void)reason;
    remote->lost++;
    pthread_cond_broadcast(&remote->changed);
}

static void on_failed(void *arg, int status, const char *reason)
{
    struct remote *remote = arg;
    (void)reason;
    remote->failed = status;
    pthread_cond_broadcast(&remote->changed);
}

static const struct link_events callbacks = {
    .open = on_open, .message = on_message, .lost = on_lost, .failed = on_failed};

/* With the mutex held. */
static void remote_wait(struct remote *remote)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S;
    if (pthread_cond_timedwait(&remote->changed, &remote->mutex, &until) == ETIMEDOUT)
        fail_msg("nothing happened for %d s (%llu reports)", WAIT_S, (unsigned long long)remote->reports);
}

static void remote_start(struct remote *remote, const char *url, uint64_t identity)
{
    memset(remote, 0, sizeof *remote);
    pthread_mutex_init(&remote->mutex, NULL);
    pthread_cond_init(&remote->changed, NULL);
    struct link_config config = {.role = ROLE_CLIENT,
                                 .identity = identity,
                                 .language = "c",
                                 .host = "host",
                                 .domain = "",
                                 .name = "remote",
                                 .pid = (uint64_t)getpid(),
                                 .events = &callbacks,
                                 .arg = remote};
    struct random seed;
    assert_int_equal(random_seed_system(&seed), 0);
    assert_int_equal(link_init(&remote->link, &config, &seed, clock_now_ns()), 0);
    assert_int_equal(transport_start(&remote->transport, url, &remote->link, &remote->mutex), 0);
}

static void remote_open(struct remote *remote, const char *url, uint64_t identity)
{
    remote_start(remote, url, identity);
    pthread_mutex_lock(&remote->mutex);
    while (!remote->opened)
        remote_wait(remote);
    pthread_mutex_unlock(&remote->mutex);
}

static void remote_stop(struct remote *remote)
{
    transport_stop(remote->transport);
    link_free(&remote->link);
    pthread_cond_destroy(&remote->changed);
    pthread_mutex_destroy(&remote->mutex);
}

static void ask(struct remote *remote, uint64_t request)
{
    struct message message = {.type = MESSAGE_STATUS};
    message.status.request = request;
    pthread_mutex_lock(&remote->mutex);
    assert_int_equal(link_send(&remote->link, &message), 0);
    transport_flush(remote->transport);
    pthread_mutex_unlock(&remote->mutex);
}

static void wait_reports(struct remote *remote, uint64_t count)
{
    pthread_mutex_lock(&remote->mutex);
    while (remote->reports < count)
        remote_wait(remote);
    assert_false(remote->out_of_order);
    pthread_mutex_unlock(&remote->mutex);
}

static void check_service(const char *url, uint64_t identity)
{
    struct remote remote;
    remote_open(&remote, url, identity);
    for (uint64_t i = 1; i <= 10; i++) {
        ask(&remote, i);
        wait_reports(&remote, i);
    }
    remote_stop(&remote);
}

/* --- listening ---------------------------------------------------------------------------------------------------- */

static void peers_are_served_over_every_transport(void **state)
{
    (void)state;
    struct server *server;
    assert_int_equal(start(&server, ipc_url("a"), "tcp://127.0.0.1:0", NULL), 0);
    check_service(server_url(server, 0), 1);
    check_service(server_url(server, 1), 2);
    assert_null(server_url(server, 2));
    server_stop(server);
    assert_int_equal(start(&server, "ws://127.0.0.1:0/muster", NULL, NULL), 0);
    check_service(server_url(server, 0), 1);
    server_stop(server);
}

static void socket_files_are_the_owners_alone_and_go_with_the_server(void **state)
{
    (void)state;
    struct server *server;
    struct stat status;
    assert_int_equal(start(&server, ipc_url("private"), NULL, NULL), 0);
    assert_int_equal(stat(path_in("private"), &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    assert_int_equal(stat(path_in("private.push"), &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    server_stop(server);
    assert_int_equal(access(path_in("private"), F_OK), -1);
    assert_int_equal(access(path_in("private.push"), F_OK), -1);
}

static void a_file_that_is_no_socket_is_not_replaced(void **state)
{
    (void)state;
    struct server *server;
    const char *names[] = {"precious", "precious.push"};
    for (int i = 0; i < 2; i++) {
        int fd = open(path_in(names[i]), O_CREAT | O_WRONLY, 0600);
        assert_true(fd >= 0);
        close(fd);
        assert_int_equal(start(&server, ipc_url("precious"), NULL, NULL), MUSTER_ESYSTEM);
        assert_non_null(strstr(muster_last_error(), "not a socket"));
        assert_int_equal(unlink(path_in(names[i])), 0);
    }
}

static void an_address_in_use_is_an_error_that_names_it(void **state)
{
    (void)state;
    struct server *first, *second;
    assert_int_equal(start(&first, ipc_url("taken"), "tcp://127.0.0.1:0", NULL), 0);
    assert_int_equal(start(&second, ipc_url("taken"), NULL, NULL), MUSTER_ESYSTEM);
    assert_non_null(strstr(muster_last_error(), "in use"));
    assert_int_equal(start(&second, server_url(first, 1), NULL, NULL), MUSTER_ESYSTEM);
    assert_non_null(strstr(muster_last_error(), server_url(first, 1)));
    /* A second URL that fails takes the first one with it. */
    assert_int_equal(start(&second, ipc_url("other"), server_url(first, 1), NULL), MUSTER_ESYSTEM);
    assert_int_equal(access(path_in("other"), F_OK), -1);
    check_service(server_url(first, 0), 1);
    server_stop(first);
}

static void a_socket_file_that_was_left_behind_is_no_obstacle(void **state)
{
    (void)state;
    struct server *server;
    nng_socket left;
    /* A dead listener's file: a hard link keeps the name that NNG would remove. */
    assert_int_equal(nng_push0_open(&left), 0);
    assert_int_equal(nng_listen(left, ipc_url("dying"), NULL, 0), 0);
    char target[512];
    assert_true(snprintf(target, sizeof target, "%s", path_in("left")) < (int)sizeof target);
    assert_int_equal(link(path_in("dying"), target), 0);
    nng_close(left);
    assert_int_equal(start(&server, ipc_url("left"), NULL, NULL), 0);
    check_service(server_url(server, 0), 1);
    server_stop(server);
}

static void the_world_is_not_listened_to_without_a_key(void **state)
{
    (void)state;
    struct server *server;
    struct server_config config;
    server_config_defaults(&config);
    assert_int_equal(start(&server, "tcp://0.0.0.0:0", NULL, &config), MUSTER_EAUTH);
    assert_non_null(strstr(muster_last_error(), "--authkey-file"));
    assert_non_null(strstr(muster_last_error(), "--insecure"));
    config.insecure = true;
    assert_int_equal(start(&server, "tcp://0.0.0.0:0", NULL, &config), 0);
    server_stop(server);
    config.insecure = false;
    config.hub.authkey.length = 1;
    assert_int_equal(start(&server, "tcp://0.0.0.0:0", NULL, &config), 0);
    server_stop(server);
}

static void there_may_be_sixteen_addresses(void **state)
{
    (void)state;
    struct server *server;
    struct server_config config;
    const char *urls[18] = {NULL};
    for (int i = 0; i < 17; i++)
        urls[i] = "tcp://127.0.0.1:0";
    server_config_defaults(&config);
    config.listen = urls;
    assert_int_equal(server_start(&server, &config), MUSTER_ELIMIT);
    urls[16] = NULL;
    assert_int_equal(server_start(&server, &config), 0);
    check_service(server_url(server, 15), 1);
    server_stop(server);
}

static void urls_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    static const char *const urls[] = {"",
                                       "nonsense",
                                       "http://x:1",
                                       "tcp://",
                                       "tcp://host",
                                       "ipc://",
                                       "tcp://127.0.0.1:99999",
                                       "tcp://127.0.0.1:65535"};
    struct server *server;
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++)
        assert_int_equal(start(&server, urls[i], NULL, NULL), MUSTER_EURL);
    char path[300];
    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = 0;
    assert_int_equal(start(&server, ipc_url(path), NULL, NULL), MUSTER_EURL);
    assert_int_equal(start(&server, ipc_url("missing/directory"), NULL, NULL), MUSTER_ESYSTEM);
}

/* --- peers that come and go --------------------------------------------------------------------------------------- */

/* A client by hand, over a bare REQ socket: opens a session and leaves its poll open. */
static nng_socket open_by_hand(struct link *link, const char *url)
{
    struct link_config config = {.role = ROLE_CLIENT,
                                 .identity = 7,
                                 .language = "c",
                                 .host = "host",
                                 .domain = "",
                                 .name = "hand",
                                 .events = &callbacks};
    static struct remote remote;
    struct random seed;
    struct buffer request = {0};
    nng_socket socket;
    config.arg = &remote;
    assert_int_equal(random_seed_system(&seed), 0);
    assert_int_equal(link_init(link, &config, &seed, clock_now_ns()), 0);
    assert_int_equal(nng_req0_open(&socket), 0);
    nng_socket_set_ms(socket, NNG_OPT_RECVTIMEO, WAIT_S * 1000);
    assert_int_equal(nng_dial(socket, url, NULL, 0), 0);
    while (link_next_poll(link, clock_now_ns(), &request)) {
        nng_msg *answer;
        assert_int_equal(nng_send(socket, request.data, request.length, 0), 0);
        if (link->state == LINK_OPEN)
            break;
        assert_int_equal(nng_recvmsg(socket, &answer, 0), 0);
        link_poll_answered(link, (struct bytes){nng_msg_body(answer), nng_msg_len(answer)}, clock_now_ns());
        nng_msg_free(answer);
    }
    assert_int_equal(link->state, LINK_OPEN);
    buffer_free(&request);
    return socket;
}

static void a_process_that_dies_is_noticed_long_before_the_heartbeat(void **state)
{
    (void)state;
    struct server *server;
    struct link link;
    assert_int_equal(start(&server, ipc_url("death"), NULL, NULL), 0);
    nng_socket socket = open_by_hand(&link, server_url(server, 0));
    wait_sessions(server, 1);
    uint64_t died_ns = clock_now_ns();
    nng_close(socket); /* without a goodbye, as when a process is killed */
    wait_sessions(server, 0);
    assert_true(clock_now_ns() - died_ns < 3 * NS_PER_S);
    assert_int_equal(counts_of(server).lost_sessions, 1);
    link_free(&link);
    server_stop(server);
}

static void connect_and_vanish(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    assert_in_range(snprintf(address.sun_path, sizeof address.sun_path, "%s", path_in(name)), 1,
                    sizeof address.sun_path - 1);
    for (int i = 0; i < 20; i++) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        connect(fd, (struct sockaddr *)&address, sizeof address);
        close(fd);
    }
}

/* NNG's listener for socket files stops accepting after such a connection. */
static void connections_that_vanish_before_they_are_accepted_stop_nothing(void **state)
{
    (void)state;
    struct server *server;
    struct remote before;
    assert_int_equal(start(&server, ipc_url("vanish"), NULL, NULL), 0);
    remote_open(&before, server_url(server, 0), 1);
    for (uint64_t i = 0; i < 4; i++) {
        connect_and_vanish(i % 2 ? "vanish" : "vanish.push");
        check_service(server_url(server, 0), 2 + i);
    }
    ask(&before, 1);
    wait_reports(&before, 1);
    assert_int_equal(before.lost, 0);
    remote_stop(&before);
    server_stop(server);
}

static void every_peer_has_its_own_open_poll(void **state)
{
    (void)state;
    enum { PEERS = 60 };
    static struct remote remotes[PEERS];
    struct server *server;
    assert_int_equal(start(&server, ipc_url("many"), NULL, NULL), 0);
    for (uint64_t i = 0; i < PEERS; i++)
        remote_start(&remotes[i], server_url(server, 0), 1 + i);
    wait_sessions(server, PEERS);
    for (int i = 0; i < PEERS; i++) {
        pthread_mutex_lock(&remotes[i].mutex);
        while (!remotes[i].opened)
            remote_wait(&remotes[i]);
        pthread_mutex_unlock(&remotes[i].mutex);
        ask(&remotes[i], 1);
    }
    for (int i = 0; i < PEERS; i++)
        wait_reports(&remotes[i], 1);
    for (int i = 0; i < PEERS; i++)
        remote_stop(&remotes[i]);
    server_stop(server);
}

/* A frame that overtook another would be dropped, and only be sent again after two heartbeat limits. */
static void frames_of_a_peer_are_never_taken_out_of_order(void **state)
{
    (void)state;
    enum { PEERS = 4, REQUESTS = 5000 };
    static struct remote remotes[PEERS];
    struct server *server;
    assert_int_equal(start(&server, ipc_url("order"), NULL, NULL), 0);
    for (uint64_t i = 0; i < PEERS; i++)
        remote_open(&remotes[i], server_url(server, 0), 1 + i);
    uint64_t started_ns = clock_now_ns();
    for (uint64_t request = 1; request <= REQUESTS; request++) {
        for (int i = 0; i < PEERS; i++)
            ask(&remotes[i], request);
    }
    for (int i = 0; i < PEERS; i++)
        wait_reports(&remotes[i], REQUESTS);
    assert_true(clock_now_ns() - started_ns < 2 * 5 * NS_PER_S);
    for (int i = 0; i < PEERS; i++)
        remote_stop(&remotes[i]);
    server_stop(server);
}

/* --- peers that misbehave ----------------------------------------------------------------------------------------- */

static void garbage_on_a_tcp_connection_hurts_nobody(void **state)
{
    (void)state;
    struct server *server;
    assert_int_equal(start(&server, "tcp://127.0.0.1:0", NULL, NULL), 0);
    srand(3);
    for (int i = 0; i < 50; i++) {
        const char *url = i % 2 ? server_url(server, 0) : server_push_url(server, 0);
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        address.sin_port = htons((uint16_t)atoi(strrchr(url, ':') + 1));
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
        unsigned char bytes[512];
        for (size_t k = 0; k < sizeof bytes; k++)
            bytes[k] = (unsigned char)rand();
        if (i % 4 < 2) /* NNG's own greeting, so that it goes on reading */
            memcpy(bytes, i % 2 ? "\0SP\0\0\x30\0\0" : "\0SP\0\0\x50\0\0", 8);
        assert_true(send(fd, bytes, sizeof bytes, MSG_NOSIGNAL) > 0);
        close(fd);
    }
    check_service(server_url(server, 0), 1);
    server_stop(server);
}

static void send_garbage(nng_socket socket, size_t length)
{
    unsigned char *bytes = calloc(1, length + 1);
    for (size_t i = 0; i < length && i < 4096; i++)
        bytes[i] = (unsigned char)rand();
    nng_send(socket, bytes, length, 0);
    free(bytes);
}

static void garbage_requests_are_refused_and_garbage_pushes_counted(void **state)
{
    (void)state;
    struct server *server;
    nng_socket requests, pushes;
    assert_int_equal(start(&server, ipc_url("garbage"), NULL, NULL), 0);
    assert_int_equal(nng_req0_open(&requests), 0);
    assert_int_equal(nng_push0_open(&pushes), 0);
    nng_socket_set_ms(requests, NNG_OPT_RECVTIMEO, WAIT_S * 1000);
    nng_socket_set_ms(requests, NNG_OPT_SENDTIMEO, WAIT_S * 1000);
    nng_socket_set_ms(pushes, NNG_OPT_SENDTIMEO, WAIT_S * 1000);
    assert_int_equal(nng_dial(requests, server_url(server, 0), NULL, 0), 0);
    assert_int_equal(nng_dial(pushes, server_push_url(server, 0), NULL, 0), 0);
    for (size_t i = 0; i < 200; i++) {
        char answer[512];
        size_t length = sizeof answer;
        send_garbage(requests, i * 3);
        send_garbage(pushes, i * 3);
        assert_int_equal(nng_recv(requests, answer, &length, 0), 0);
        assert_true(length > 0);
    }
    assert_true(counts_of(server).malformed >= 200);
    /* Larger than any frame may be: the connection is closed, nothing is stored. */
    nng_socket_set_ms(requests, NNG_OPT_RECVTIMEO, 200);
    send_garbage(requests, 2 * FRAME_LIMIT_DEFAULT);
    char answer[512];
    size_t length = sizeof answer;
    assert_int_not_equal(nng_recv(requests, answer, &length, 0), 0);
    check_service(server_url(server, 0), 1);
    nng_close(requests);
    nng_close(pushes);
    server_stop(server);
}

/* A connection to a socket file that greets as an NNG socket for requests does. */
static int begin_connection(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    assert_in_range(snprintf(address.sun_path, sizeof address.sun_path, "%s", path_in(name)), 1,
                    sizeof address.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(send(fd, "\0SP\0\0\60\0\0", 8, MSG_NOSIGNAL), 8);
    return fd;
}

/* Speaks NNG's framing by hand: sends requests until nothing more is taken, and reads nothing. */
static int deaf_peer(const char *name)
{
    unsigned char request[1 + 8 + 4 + 7] = "\1\0\0\0\0\0\0\0\13\200\0\0\1garbage";
    struct timeval patience = {0, 300000};
    int fd = begin_connection(name);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    for (int i = 0; i < 200000; i++) {
        if (send(fd, request, sizeof request, MSG_NOSIGNAL) != (ssize_t)sizeof request)
            break;
    }
    return fd;
}

/* True if the other end closes the connection. */
static bool is_closed(int fd)
{
    const struct timeval patience = {WAIT_S, 0};
    char bytes[64];
    ssize_t length;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    do
        length = recv(fd, bytes, sizeof bytes, 0);
    while (length > 0);
    return length == 0 || errno == ECONNRESET;
}

static void strangers_are_disconnected_when_the_time_for_a_handshake_is_over(void **state)
{
    (void)state;
    struct server *server;
    struct server_config config;
    struct remote member;
    server_config_defaults(&config);
    config.hub.handshake_ns = 300 * NS_PER_MS;
    assert_int_equal(start(&server, ipc_url("strangers"), NULL, &config), 0);
    remote_open(&member, server_url(server, 0), 1);
    int silent = begin_connection("strangers"), wordy = begin_connection("strangers");
    unsigned char garbage[1 + 8 + 4 + 7] = "\1\0\0\0\0\0\0\0\13\200\0\0\1garbage";
    assert_int_equal(send(wordy, garbage, sizeof garbage, MSG_NOSIGNAL), sizeof garbage);
    assert_true(is_closed(silent));
    assert_true(is_closed(wordy));
    close(silent);
    close(wordy);
    ask(&member, 1);
    wait_reports(&member, 1);
    assert_int_equal(counts_of(server).handshakes, 1);
    assert_int_equal(member.lost, 0);
    remote_stop(&member);
    server_stop(server);
}

static void a_request_of_a_stranger_is_small(void **state)
{
    (void)state;
    struct server *server;
    assert_int_equal(start(&server, ipc_url("small"), NULL, NULL), 0);
    int fd = begin_connection("small");
    assert_int_equal(send(fd, "\1\0\0\0\0\0\0\200\0", 9, MSG_NOSIGNAL), 9); /* 32 KiB are to come */
    assert_true(is_closed(fd));
    close(fd);
    check_service(server_url(server, 0), 1);
    server_stop(server);
}

static void a_peer_that_reads_no_answers_does_not_keep_others_out(void **state)
{
    (void)state;
    struct server *server;
    struct server_config config;
    server_config_defaults(&config);
    config.hub.sessions = 4; /* so that there are few contexts */
    assert_int_equal(start(&server, ipc_url("deaf"), NULL, &config), 0);
    int deaf[3];
    for (int i = 0; i < 3; i++)
        deaf[i] = deaf_peer("deaf");
    check_service(server_url(server, 0), 1);
    assert_true(counts_of(server).malformed > 100);
    for (int i = 0; i < 3; i++)
        close(deaf[i]);
    check_service(server_url(server, 0), 2);
    server_stop(server);
}

/* NNG 1.5.2 can forget an operation then, and wait for it when it takes the connection apart: core/nng_support.c. */
static void peers_that_are_disconnected_while_they_send_stop_nothing(void **state)
{
    (void)state;
    const unsigned char request[1 + 8 + 4 + 7] = "\1\0\0\0\0\0\0\0\13\200\0\0\1garbage";
    char answers[4096];
    struct server *server;
    struct server_config config;
    server_config_defaults(&config);
    config.hub.handshake_ns = 5 * NS_PER_MS;
    assert_int_equal(start(&server, ipc_url("wordy"), NULL, &config), 0);
    for (int i = 0; i < 200; i++) {
        int fd = begin_connection("wordy");
        while (send(fd, request, sizeof request, MSG_NOSIGNAL | MSG_DONTWAIT) > 0 || errno == EAGAIN)
            recv(fd, answers, sizeof answers, MSG_DONTWAIT);
        close(fd);
    }
    check_service(server_url(server, 0), 1);
    server_stop(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(peers_are_served_over_every_transport),
        cmocka_unit_test(socket_files_are_the_owners_alone_and_go_with_the_server),
        cmocka_unit_test(a_file_that_is_no_socket_is_not_replaced),
        cmocka_unit_test(an_address_in_use_is_an_error_that_names_it),
        cmocka_unit_test(a_socket_file_that_was_left_behind_is_no_obstacle),
        cmocka_unit_test(the_world_is_not_listened_to_without_a_key),
        cmocka_unit_test(there_may_be_sixteen_addresses),
        cmocka_unit_test(urls_that_make_no_sense_are_refused),
        cmocka_unit_test(a_process_that_dies_is_noticed_long_before_the_heartbeat),
        cmocka_unit_test(connections_that_vanish_before_they_are_accepted_stop_nothing),
        cmocka_unit_test(every_peer_has_its_own_open_poll),
        cmocka_unit_test(frames_of_a_peer_are_never_taken_out_of_order),
        cmocka_unit_test(garbage_on_a_tcp_connection_hurts_nobody),
        cmocka_unit_test(garbage_requests_are_refused_and_garbage_pushes_counted),
        cmocka_unit_test(strangers_are_disconnected_when_the_time_for_a_handshake_is_over),
        cmocka_unit_test(a_request_of_a_stranger_is_small),
        cmocka_unit_test(a_peer_that_reads_no_answers_does_not_keep_others_out),
        cmocka_unit_test(peers_that_are_disconnected_while_they_send_stop_nothing),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
