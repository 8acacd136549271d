/*
 * URLs: which are understood, which second URL belongs to one, and how the coordinator's own view of its address
 * becomes one that works from here. Declared in core/transport.h.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>

#include "core/errors.h"
#include "core/transport.h"

#define HOST_BYTES 256
#define IPC_PATH_BYTES sizeof((struct sockaddr_un *)0)->sun_path /* with the terminating zero */
#define PUSH_SUFFIX ".push"

/* The parts of a URL. An ipc URL has only a path. */
struct url {
    const char *scheme;    /* static */
    char host[HOST_BYTES]; /* without the brackets of an IPv6 address */
    bool bracketed;
    unsigned port;
    const char *path; /* points into the URL: from the first slash after the port on, or "" */
};

static const char *const schemes[] = {"ipc", "tcp", "ws"};

static int url_bad(const char *url, const char *what)
{
    return error_set(MUSTER_EURL, "the URL '%s' %s: use ipc:///PATH, tcp://HOST:PORT or ws://HOST:PORT/PATH", url,
                     what);
}

static const char *scheme_of(const char *url, const char **rest)
{
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        size_t length = strlen(schemes[i]);
        if (strncmp(url, schemes[i], length) == 0 && strncmp(url + length, "://", 3) == 0) {
            *rest = url + length + 3;
            return schemes[i];
        }
    }
    return NULL;
}

/* "host:port" or "[address]:port"; *rest is then what follows the port. */
static bool parse_authority(struct url *parts, const char **rest)
{
    const char *at = *rest, *end;
    parts->bracketed = *at == '[';
    if (parts->bracketed)
        end = strchr(++at, ']');
    else
        end = at + strcspn(at, ":/");
    if (!end || (size_t)(end - at) >= sizeof parts->host)
        return false;
    memcpy(parts->host, at, (size_t)(end - at));
    parts->host[end - at] = '\0';
    end += parts->bracketed;
    if (*end != ':' || end[1] < '0' || end[1] > '9')
        return false;
    char *after;
    unsigned long port = strtoul(end + 1, &after, 10);
    if (port < 1 || port > UINT16_MAX)
        return false;
    parts->port = (unsigned)port;
    *rest = after;
    return *after == '\0' || *after == '/';
}

/* `push`: the URL is one of the push socket's, so that nothing needs to follow from it. */
static int url_parse(struct url *parts, const char *url, bool push)
{
    const size_t path_limit = IPC_PATH_BYTES - (push ? 1 : sizeof PUSH_SUFFIX);
    const char *rest;
    *parts = (struct url){.scheme = scheme_of(url, &rest)};
    if (!parts->scheme)
        return url_bad(url, "has a scheme that muster does not know");
    parts->path = rest;
    if (strcmp(parts->scheme, "ipc") == 0) {
        if (*rest == '\0')
            return url_bad(url, "names no path");
        if (strlen(rest) > path_limit)
            return error_set(
                MUSTER_EURL,
                "the path in '%s' is longer than the %zu bytes that a socket's name can have: use a shorter one", url,
                path_limit);
        return 0;
    }
    if (!parse_authority(parts, &rest) || (!push && parts->port == UINT16_MAX))
        return url_bad(url, "needs a host and a port from 1 to 65534");
    if (strcmp(parts->scheme, "tcp") == 0 && strcmp(rest, "") != 0 && strcmp(rest, "/") != 0)
        return url_bad(url, "has a path, which tcp does not know");
    parts->path = rest;
    return 0;
}

static int url_write(const struct url *parts, const char *url, char *out, size_t size)
{
    const char *open = parts->bracketed ? "[" : "", *close = parts->bracketed ? "]" : "";
    int length = strcmp(parts->scheme, "ipc") == 0 ? snprintf(out, size, "ipc://%s", parts->path)
                                                   : snprintf(out, size, "%s://%s%s%s:%u%s", parts->scheme, open,
                                                              parts->host, close, parts->port, parts->path);
    return length > 0 && (size_t)length < size ? 0 : url_bad(url, "is too long");
}

int url_check(const char *url)
{
    struct url parts;
    return url_parse(&parts, url, false);
}

int url_push(const char *url, char *out, size_t size)
{
    struct url parts;
    char path[IPC_PATH_BYTES];
    int status = url_parse(&parts, url, false);
    if (status != 0)
        return status;
    if (strcmp(parts.scheme, "ipc") == 0) {
        snprintf(path, sizeof path, "%s" PUSH_SUFFIX, parts.path);
        parts.path = path;
    } else {
        parts.port++;
    }
    return url_write(&parts, url, out, size);
}

static bool host_is_wildcard(const char *host)
{
    return *host == '\0' || strcmp(host, "*") == 0 || strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
}

static bool host_is_loopback(const char *host)
{
    struct in_addr address; /* a name like 127.example.org is none of this host's */
    return strcmp(host, "localhost") == 0 || strcmp(host, "::1") == 0 ||
           (inet_pton(AF_INET, host, &address) == 1 && ntohl(address.s_addr) >> 24 == IN_LOOPBACKNET);
}

bool url_is_local(const char *url)
{
    struct url parts;
    if (url_parse(&parts, url, false) != 0)
        return false;
    return strcmp(parts.scheme, "ipc") == 0 || host_is_loopback(parts.host);
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

int url_reach(const char *told, const char *control, char *out, size_t size)
{
    struct url here, there;
    char path[IPC_PATH_BYTES];
    int status = url_parse(&there, control, false);
    if (status == 0)
        status = url_parse(&here, told, true);
    if (status != 0)
        return status;
    if (here.scheme == there.scheme && strcmp(here.scheme, "ipc") == 0) {
        int directory = (int)(base_name(there.path) - there.path);
        int length = snprintf(path, sizeof path, "%.*s%s", directory, there.path, base_name(here.path));
        if (length < 0 || (size_t)length >= sizeof path)
            return url_bad(told, "is too long");
        here.path = path;
    } else if (strcmp(there.scheme, "ipc") != 0 &&
               (host_is_wildcard(here.host) || (host_is_loopback(here.host) && !host_is_loopback(there.host)))) {
        memcpy(here.host, there.host, sizeof here.host);
        here.bracketed = there.bracketed;
    }
    return url_write(&here, told, out, size);
}
