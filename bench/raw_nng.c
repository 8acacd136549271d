/* What the raw NNG lines share. */
#include "bench/raw_nng.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void raw_url(char url[RAW_URL], const struct bench_run *run, const char *name)
{
    if (strcmp(run->line->argument, "tcp") == 0)
        snprintf(url, RAW_URL, "tcp://127.0.0.1:%d", bench_free_port());
    else
        snprintf(url, RAW_URL, "ipc://%s/%s", run->directory, name);
}

int raw_dial(nng_socket socket, const char *url)
{
    if (strncmp(url, "tcp", 3) == 0)
        nng_socket_set_bool(socket, NNG_OPT_TCP_NODELAY, true);
    nng_socket_set_size(socket, NNG_OPT_RECVMAXSZ, 0);
    return nng_dial(socket, url, NULL, 0);
}

void raw_require(int error, const char *what)
{
    if (error == 0)
        return;
    fprintf(stderr, "%s: %s\n", what, nng_strerror(error));
    _Exit(1);
}

enum bench_status raw_start(struct bench_run *run, struct helper *helper, const char *role, const char *one,
                            const char *two, const char *three, const char *four)
{
    char line[100];
    if (helper_start_role(helper, role, one, two, three, four, NULL) != 0 ||
        helper_read_line(helper, line, sizeof line, RAW_PATIENCE_MS) != 1)
        return bench_stop(run, BENCH_FAILED, "the helper %s did not start", role);
    return BENCH_OK;
}
