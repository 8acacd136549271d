/*
 * Listening on one URL, and going on to do so. Socket files are made with mode 0600: whoever may open the file may use
 * the pool, and without an authkey that is the only check there is. A file that is in the way is only ever replaced if
 * it is a socket that nobody listens on any more.
 */
#include "server/listener.h"

#include <errno.h>
#include <nng/transport/ipc/ipc.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/errors.h"
#include "core/log.h"
#include "core/transport.h"

#define FRAME_SLACK 64     /* bytes of NNG's own header in front of a request */
#define REQUEST_LIMIT 4096 /* bytes: a HELLO is the longest, and comes from strangers */
#define SOCKET_FILE_MODE 0600
#define DOOR_MISSES 2
#define GREETING_WAIT_MS 1000

const char *listener_path(const char *url)
{
    return strncmp(url, "ipc://", 6) == 0 ? url + 6 : NULL;
}

static int listen_failed(const char *url, int code)
{
    switch (code) {
    case NNG_EADDRINUSE:
        return error_set(MUSTER_ESYSTEM,
                         "cannot listen on %s: the address is in use; end whoever uses it or choose another one", url);
    case NNG_EPERM: return error_set(MUSTER_ESYSTEM, "cannot listen on %s: permission denied", url);
    case NNG_ENOENT: return error_set(MUSTER_ESYSTEM, "cannot listen on %s: there is no such directory", url);
    case NNG_ENOMEM: return error_memory();
    case NNG_EADDRINVAL:
    case NNG_EINVAL:
    case NNG_ENOTSUP: return error_set(MUSTER_EURL, "cannot listen on %s: %s", url, nng_strerror(code));
    default: return error_set(MUSTER_ESYSTEM, "cannot listen on %s: %s", url, nng_strerror(code));
    }
}

static int connect_to(const char *path, unsigned char protocol);

/* True if somebody listens there. Waits to be greeted before it goes: see listener.h for what would happen to an NNG
 * listener otherwise. */
static bool somebody_listens(const char *path)
{
    int fd = connect_to(path, 0);
    if (fd < 0)
        return errno == EAGAIN;
    struct pollfd greeted = {.fd = fd, .events = POLLIN};
    poll(&greeted, 1, GREETING_WAIT_MS);
    close(fd);
    return true;
}

/* NNG takes any file that nobody answers on for a leftover and removes it. A file that is no socket must not go that
 * way. NNG's own way of finding out is not polite either, so it is not left to it. */
static int path_check(const char *url)
{
    const char *path = listener_path(url);
    struct stat status;
    if (!path)
        return 0;
    if (strlen(path) >= sizeof((struct sockaddr_un *)0)->sun_path)
        return error_set(MUSTER_EURL, "%s: the path is too long for a socket, which may have %zu bytes", url,
                         sizeof((struct sockaddr_un *)0)->sun_path - 1);
    if (lstat(path, &status) != 0)
        return errno == ENOENT ? 0 : error_errno("%s", path);
    if (!S_ISSOCK(status.st_mode))
        return error_set(MUSTER_ESYSTEM, "%s exists and is not a socket: choose another path or remove it", path);
    return somebody_listens(path) ? listen_failed(url, NNG_EADDRINUSE) : 0;
}

/* --- one door ----------------------------------------------------------------------------------------------------- */

/* The NNG code, 0 for success. */
static int door_start(struct door *door)
{
    nng_listener listener;
    struct stat status;
    int code = nng_listener_create(&listener, door->socket, door->url);
    if (code != 0)
        return code;
    code = nng_listener_set_size(listener, NNG_OPT_RECVMAXSZ, door->frame_limit + FRAME_SLACK);
    if (code == 0 && listener_path(door->url))
        code = nng_listener_set_int(listener, NNG_OPT_IPC_PERMISSIONS, SOCKET_FILE_MODE);
    if (code == 0)
        code = nng_listener_start(listener, 0);
    if (code != 0) {
        nng_listener_close(listener);
        return code;
    }
    door->listener = listener;
    if (listener_path(door->url) && lstat(listener_path(door->url), &status) == 0) {
        door->device = status.st_dev;
        door->inode = status.st_ino;
    }
    return 0;
}

static int door_open(struct door *door, nng_socket socket, const char *url, size_t frame_limit)
{
    *door = (struct door){.socket = socket, .frame_limit = frame_limit, .knock = -1};
    snprintf(door->url, sizeof door->url, "%s", url);
    return door_start(door);
}

/* A connection to the path that has been begun as an NNG socket begins it whose protocol number is `protocol`, or -1
 * with errno. */
static int connect_to(const char *path, unsigned char protocol)
{
    const unsigned char greeting[8] = {0, 'S', 'P', 0, 0, protocol, 0, 0};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
        send(fd, greeting, sizeof greeting, MSG_NOSIGNAL) == (ssize_t)sizeof greeting)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

static void knock_end(struct door *door)
{
    if (door->knock >= 0)
        close(door->knock);
    door->knock = -1;
    door->misses = 0;
}

/* True if the file at the door's path is the one that it made, or if there is none. */
static bool file_is_ours(const struct door *door)
{
    struct stat status;
    if (lstat(listener_path(door->url), &status) != 0)
        return true;
    return status.st_dev == door->device && status.st_ino == door->inode;
}

/* Knocks, and finds out how the last knock went. True if the door does not open. */
static bool door_is_stuck(struct door *door)
{
    bool moved = door->accepted != door->accepted_before;
    door->accepted_before = door->accepted;
    if (moved) { /* somebody was let in: all is well */
        knock_end(door);
        return false;
    }
    if (door->knock < 0) {
        int protocol = 0;
        nng_socket_get_int(door->socket, NNG_OPT_PEER, &protocol);
        door->knock = connect_to(listener_path(door->url), (unsigned char)protocol);
        if (door->knock >= 0 || (errno != ENOENT && errno != ECONNREFUSED && errno != EAGAIN))
            return false;
    }
    return ++door->misses >= DOOR_MISSES;
}

bool door_look(struct door *door)
{
    if (!door->shut) {
        if (!door_is_stuck(door))
            return false;
        knock_end(door);
        if (!file_is_ours(door)) {
            log_error("%s: somebody else has put another file there: nobody can connect any more", door->url);
            return false;
        }
        log_info("%s: nobody is let in any more; listening anew", door->url);
        nng_listener_close(door->listener); /* removes the file */
    }
    int code = door_start(door);
    if (code != 0 && !door->shut)
        log_error("%s: listening again failed: %s", door->url, nng_strerror(code));
    door->shut = code != 0;
    return code == 0;
}

/* --- both doors --------------------------------------------------------------------------------------------------- */

/* Where the port of a URL with an address of host and port begins, or NULL. */
static char *port_of(char *url)
{
    char *colon = strrchr(url, ':');
    return listener_path(url) || !colon || colon[1] < '0' || colon[1] > '9' ? NULL : colon + 1;
}

static bool port_is_free_choice(char *url)
{
    char *port = port_of(url);
    return port && strtoul(port, NULL, 10) == 0;
}

/* Writes the port that the system chose into the URL, keeping a path behind it. */
static int port_learn(struct door *door)
{
    int port = 0;
    char tail[LISTENER_URL_BYTES];
    int code = nng_listener_get_int(door->listener, NNG_OPT_TCP_BOUND_PORT, &port);
    if (code != 0)
        return code;
    char *at = port_of(door->url);
    snprintf(tail, sizeof tail, "%s", at + strspn(at, "0123456789"));
    size_t room = LISTENER_URL_BYTES - (size_t)(at - door->url);
    return (size_t)snprintf(at, room, "%d%s", port, tail) < room ? 0 : NNG_EADDRINVAL;
}

int listener_url_check(const char *url, bool *local)
{
    char copy[LISTENER_URL_BYTES];
    if (strlen(url) >= sizeof copy)
        return error_set(MUSTER_EURL, "%.40s...: the URL is too long", url);
    snprintf(copy, sizeof copy, "%s", url);
    char *port = port_of(copy);
    if (port && *port == '0' && strspn(port, "0123456789") == 1)
        *port = '1'; /* nobody connects to port 0, but one can ask to listen on it */
    int status = url_check(copy);
    if (status == 0)
        *local = url_is_local(copy);
    return status;
}

/* Opens a door on `url`, or on any port for it. */
static int door_open_any(struct door *door, nng_socket socket, const char *url, size_t frame_limit)
{
    int code = door_open(door, socket, url, frame_limit);
    if (code == 0 && port_is_free_choice(door->url))
        code = port_learn(door);
    return code;
}

int listener_open(struct listener *listener, nng_socket control, nng_socket push, const char *url, size_t frame_limit)
{
    bool local;
    char push_url[LISTENER_URL_BYTES], asked[LISTENER_URL_BYTES];
    int status = listener_url_check(url, &local);
    if (status == 0)
        status = path_check(url);
    if (status != 0)
        return status;
    snprintf(asked, sizeof asked, "%s", url);
    bool any_port = port_is_free_choice(asked);
    *listener = (struct listener){.process_bound = listener_path(url) != NULL};
    listener->control.knock = listener->push.knock = -1;

    int code = door_open_any(&listener->control, control, url, REQUEST_LIMIT);
    if (code != 0)
        return listen_failed(url, code);
    status = url_push(listener->control.url, push_url, sizeof push_url);
    if (status == 0)
        status = path_check(push_url);
    if (status == 0) {
        code = door_open_any(&listener->push, push, push_url, frame_limit);
        if (code != 0 && any_port) /* the next port is taken: any other does as well, peers are told */
            code = door_open_any(&listener->push, push, url, frame_limit);
        if (code != 0)
            status = listen_failed(push_url, code);
    }
    if (status != 0) {
        nng_listener_close(listener->control.listener);
        listener_close(listener);
    }
    return status;
}

void listener_close(struct listener *listener)
{
    knock_end(&listener->control);
    knock_end(&listener->push);
}
