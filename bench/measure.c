/*
 * The runner's side: one line, measured as often as the driver says "sample", and the small things that every kind of
 * line needs.
 */
#include "bench/bench.h"
#include "core/clock.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum bench_status bench_stop(struct bench_run *run, enum bench_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(run->why, sizeof run->why, format, arguments);
    va_end(arguments);
    return status;
}

double bench_now_us(void)
{
    return (double)clock_now_ns() / 1e3;
}

bool bench_own_program(char *path, size_t size, const char *name)
{
    char self[4096];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length <= 0)
        return false;
    self[length] = 0;
    char *slash = strrchr(self, '/');
    if (slash)
        *slash = 0;
    return snprintf(path, size, "%s/%s", self, name) < (int)size && access(path, X_OK) == 0;
}

bool bench_find_program(char *path, size_t size, const char *name)
{
    char directories[4096];
    const char *environment = getenv("PATH");
    /* Servers live in sbin, which is not on everybody's PATH. */
    snprintf(directories, sizeof directories, "%s:/usr/local/sbin:/usr/sbin",
             environment ? environment : "/usr/bin:/bin");
    char *save = NULL;
    for (char *directory = strtok_r(directories, ":", &save); directory; directory = strtok_r(NULL, ":", &save)) {
        if (snprintf(path, size, "%s/%s", directory, name) < (int)size && access(path, X_OK) == 0)
            return true;
    }
    return false;
}

int bench_free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int port = -1;
    if (fd >= 0 && bind(fd, (struct sockaddr *)&address, size) == 0 &&
        getsockname(fd, (struct sockaddr *)&address, &size) == 0)
        port = ntohs(address.sin_port);
    if (fd >= 0)
        close(fd);
    return port;
}

static const struct bench_line *find_line(const char *name)
{
    for (size_t i = 0; i < bench_line_count; i++) {
        char full[200];
        snprintf(full, sizeof full, "%s/%s", bench_lines[i].group, bench_lines[i].name);
        if (strcmp(full, name) == 0)
            return &bench_lines[i];
    }
    return NULL;
}

static void answer(enum bench_status status, const struct bench_run *run)
{
    if (status == BENCH_OK)
        puts("ready");
    else
        printf("%s %s\n", status == BENCH_MISSING ? "missing" : "failed", run->why);
    fflush(stdout);
}

int measure_main(const char *line_name, const char *directory)
{
    struct bench_run run = {.line = find_line(line_name), .directory = directory};
    if (!run.line || !run.line->kind) {
        fprintf(stderr, "muster-bench: no line %s\n", line_name);
        return 2;
    }
    const struct bench_kind *kind = run.line->kind;
    enum bench_status status = kind->open(&run);
    answer(status, &run);
    char request[64];
    while (status == BENCH_OK && fgets(request, sizeof request, stdin)) {
        double value = 0;
        status = kind->sample(&run, &value);
        if (status == BENCH_OK)
            printf("value %.17g\n", value);
        else
            printf("failed %s\n", run.why);
        fflush(stdout);
    }
    kind->close(&run);
    return status == BENCH_FAILED;
}
