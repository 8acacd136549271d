/* What this program can be besides itself: the other ends of the raw lines. NNG forbids fork without exec. */
#include "bench/bench.h"
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int (*main)(int argc, char **argv);
} roles[] = {
    {"unix-echo", raw_socket_role},
    {"nng-echo", raw_echo_role},
    {"nng-coordinator", raw_coordinator_role},
    {"nng-worker", raw_worker_role},
    {"gearman-worker", gearman_worker_role},
    {"idle-peers", idle_peers_role},
};

int role_main(int argc, char **argv)
{
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        if (strcmp(argv[0], roles[i].name) == 0)
            return roles[i].main(argc, argv);
    }
    fprintf(stderr, "muster-bench: no role %s\n", argv[0]);
    return 2;
}
