/* What is measured: the groups and their lines, in the order in which they are printed. */
#include "bench/bench.h"

const struct bench_group bench_groups[] = {
    {"round-trip", "one call at a time, 16 bytes, waiting for its result"},
    {"pipelined", "calls of 16 bytes, submitted ahead of their results, two workers"},
    {"map", "a function over many items, by chunk size, two workers"},
    {"megabyte", "1 MiB argument and 1 MiB result, one call at a time"},
    {"queue", "time of a no-op task while so many wait in musterd, and what a waiting task weighs there"},
    {"idle", "a thousand peers that are connected and do nothing: bytes each, CPU of musterd"},
    {"commands", "one process for each item, two at a time"},
    {"open", "two workers started, until the first result"},
    {"python", "calls of a no-op from Python, two workers: muster beside multiprocessing.Pool"},
    {"python-arrays", "an 8 MiB NumPy array as argument and as result, one call at a time"},
    {"python-around", "a no-op by concurrent.futures, and by joblib in batches of one: muster beside the others' own"},
    {"python-open", "Pool(2) opened, until the first result, in a new process; and the memory (PSS) of an idle worker"},
    {"uneven", "one task of 1 s among a thousand of 1 and 10 ms: time divided by the best possible finish"},
};
const size_t bench_group_count = sizeof bench_groups / sizeof *bench_groups;

/* clang-format off */
const struct bench_line bench_lines[] = {
    /* group, name, unit, how, argument, number, what is wanted, compared with */
    {"round-trip", "unix-socket", "us", &raw_socket_kind, NULL, 20000, NULL, {{0}}},
    {"round-trip", "nng-reqrep-ipc", "us", &raw_reqrep_kind, "ipc", BENCH_RECORD, NULL, {{"unix-socket", NULL}}},
    {"round-trip", "nng-reqrep-tcp", "us", &raw_reqrep_kind, "tcp", BENCH_RECORD, NULL, {{"nng-reqrep-ipc", NULL}}},
    {"round-trip", "nng-chain-ipc", "us", &raw_chain_kind, "ipc", 0, NULL, {{"nng-reqrep-ipc", NULL}}},
    {"round-trip", "nng-chain-tcp", "us", &raw_chain_kind, "tcp", 0, NULL, {{"nng-reqrep-tcp", NULL}}},
    {"round-trip", "python-apply", "us", NULL, "apply", 0, NULL, {{"nng-reqrep-ipc", NULL}}},
    {"round-trip", "gearman-do", "us", &gearman_call_kind, NULL, 0, NULL, {{"nng-reqrep-ipc", NULL}}},
    {"round-trip", "muster-local", "us", &muster_apply_kind, "local", 0, NULL,
     {{"nng-reqrep-ipc", "<= 1.4"}, {"python-apply", "<= 0.65"}}},
    {"round-trip", "muster-ipc", "us", &muster_apply_kind, "ipc", 0, NULL,
     {{"nng-chain-ipc", "<= 1.2"}, {"gearman-do", "< 1"}, {"python-apply", NULL}}},
    {"round-trip", "muster-tcp", "us", &muster_apply_kind, "tcp", 0, NULL,
     {{"nng-chain-tcp", "<= 1.2"}, {"gearman-do", "< 1"}}},

    {"pipelined", "nng-batches-64", "k/s", &raw_batches_kind, "ipc", 64, NULL, {{0}}},
    {"pipelined", "nng-batches-256", "k/s", &raw_batches_kind, "ipc", 256, NULL, {{0}}},
    {"pipelined", "nng-batches-1024", "k/s", &raw_batches_kind, "ipc", 1024, NULL, {{0}}},
    {"pipelined", "python-apply-async", "k/s", NULL, "apply_async", 0, NULL, {{0}}},
    {"pipelined", "gearman-tasks", "k/s", &gearman_tasks_kind, NULL, 0, NULL, {{0}}},
    {"pipelined", "muster-local", "k/s", &muster_tasks_kind, "local", 0, NULL,
     {{"python-apply-async", NULL}, {"gearman-tasks", NULL}}},
    {"pipelined", "muster-ipc", "k/s", &muster_tasks_kind, "ipc", 0, ">= 600",
     {{"python-apply-async", ">= 24"}, {"gearman-tasks", ">= 60"}, {"nng-batches-1024", NULL}}},
    {"pipelined", "muster-tcp", "k/s", &muster_tasks_kind, "tcp", 0, NULL,
     {{"python-apply-async", NULL}, {"gearman-tasks", NULL}}},

    {"map", "python-chunk-1", "k/s", NULL, "map-1", 0, NULL, {{0}}},
    {"map", "python-chunk-10", "k/s", NULL, "map-10", 0, NULL, {{0}}},
    {"map", "python-chunk-100", "k/s", NULL, "map-100", 0, NULL, {{0}}},
    {"map", "python-default", "k/s", NULL, "map-default", 0, NULL, {{0}}},
    {"map", "muster-chunk-1", "k/s", &muster_map_kind, "ipc", 1, NULL, {{"python-chunk-1", NULL}}},
    {"map", "muster-chunk-10", "k/s", &muster_map_kind, "ipc", 10, NULL, {{"python-chunk-10", NULL}}},
    {"map", "muster-chunk-100", "k/s", &muster_map_kind, "ipc", 100, NULL, {{"python-chunk-100", NULL}}},
    {"map", "muster-auto", "k/s", &muster_map_kind, "ipc", 0, NULL, {{"python-default", NULL}}},
    {"map", "muster-local-auto", "k/s", &muster_map_kind, "local", 0, NULL, {{"python-default", NULL}}},

    {"megabyte", "nng-reqrep-ipc", "GB/s", &raw_reqrep_kind, "ipc", 1 << 20, NULL, {{0}}},
    {"megabyte", "nng-reqrep-tcp", "GB/s", &raw_reqrep_kind, "tcp", 1 << 20, NULL, {{0}}},
    {"megabyte", "python-apply", "GB/s", NULL, "megabyte", 0, NULL, {{0}}},
    {"megabyte", "muster-local", "GB/s", &muster_large_kind, "local", 0, NULL,
     {{"python-apply", ">= 4"}, {"nng-reqrep-ipc", NULL}}},
    {"megabyte", "muster-ipc", "GB/s", &muster_large_kind, "ipc", 0, NULL,
     {{"python-apply", ">= 4"}, {"nng-reqrep-ipc", NULL}}},
    {"megabyte", "muster-tcp", "GB/s", &muster_large_kind, "tcp", 0, NULL,
     {{"python-apply", ">= 4"}, {"nng-reqrep-tcp", NULL}}},

    {"queue", "muster-1e3", "us", &muster_queue_kind, "ipc", 1000, NULL, {{0}}},
    {"queue", "muster-1e4", "us", &muster_queue_kind, "ipc", 10 * 1000, NULL, {{"muster-1e3", "<= 1.25"}}},
    {"queue", "muster-1e5", "us", &muster_queue_kind, "ipc", 100 * 1000, NULL, {{"muster-1e3", "<= 1.25"}}},
    {"queue", "muster-1e6", "us", &muster_queue_kind, "ipc", 1000 * 1000, NULL, {{"muster-1e3", "<= 1.25"}}},
    {"queue", "muster-memory", "bytes/task", &muster_queue_memory_kind, "ipc", 1000 * 1000, "<= 300", {{0}}},

    {"idle", "clients", "bytes each", &muster_idle_bytes_kind, "client", 1000, NULL, {{0}}},
    {"idle", "workers", "bytes each", &muster_idle_bytes_kind, "worker", 1000, NULL, {{0}}},
    {"idle", "clients-cpu", "ms/s", &muster_idle_cpu_kind, "client", 1000, NULL, {{0}}},
    {"idle", "workers-cpu", "ms/s", &muster_idle_cpu_kind, "worker", 1000, NULL, {{0}}},

    {"commands", "xargs", "items/s", &commands_kind, "xargs", 600, NULL, {{0}}},
    {"commands", "parallel", "items/s", &commands_kind, "parallel", 100, NULL, {{0}}},
    {"commands", "muster-map", "items/s", &commands_kind, "muster", 600, NULL,
     {{"xargs", ">= 0.8"}, {"parallel", ">= 4"}}},

    {"open", "python-fork", "ms", NULL, "fork", 0, NULL, {{0}}},
    {"open", "python-forkserver", "ms", NULL, "forkserver", 0, NULL, {{0}}},
    {"open", "python-spawn", "ms", NULL, "spawn", 0, NULL, {{0}}},
    {"open", "muster-local", "ms", &muster_open_kind, NULL, 0, "<= 40",
     {{"python-fork", NULL}, {"python-spawn", NULL}}},

    {"python", "pool-apply", "us", &python_package_kind, "standard apply", 0, NULL, {{0}}},
    {"python", "muster-apply", "us", &python_package_kind, "muster apply", 0, NULL, {{"pool-apply", "<= 0.7"}}},
    {"python", "pool-apply-async", "k/s", &python_package_kind, "standard apply-async", 0, NULL, {{0}}},
    {"python", "muster-apply-async", "k/s", &python_package_kind, "muster apply-async", 0, NULL,
     {{"pool-apply-async", ">= 4"}}},
    {"python", "pool-map-chunk-1", "k/s", &python_package_kind, "standard map-1", 0, NULL, {{0}}},
    {"python", "muster-map-chunk-1", "k/s", &python_package_kind, "muster map-1", 0, NULL,
     {{"pool-map-chunk-1", ">= 4"}}},
    {"python", "pool-map", "k/s", &python_package_kind, "standard map", 0, NULL, {{0}}},
    {"python", "muster-map", "k/s", &python_package_kind, "muster map", 0, NULL, {{"pool-map", ">= 1"}}},
    {"python", "pool-imap", "k/s", &python_package_kind, "standard imap", 0, NULL, {{0}}},
    {"python", "muster-imap", "k/s", &python_package_kind, "muster imap", 0, NULL, {{"pool-imap", ">= 4"}}},

    {"python-arrays", "pool", "GB/s", &python_package_kind, "standard array", 0, NULL, {{0}}},
    {"python-arrays", "muster", "GB/s", &python_package_kind, "muster array", 0, NULL, {{"pool", ">= 5"}}},

    {"python-around", "futures", "k/s", &python_package_kind, "standard submit", 0, NULL, {{0}}},
    {"python-around", "muster-futures", "k/s", &python_package_kind, "muster submit", 0, NULL,
     {{"futures", ">= 8"}}},
    {"python-around", "joblib-loky", "k/s", &python_package_kind, "standard joblib", 0, NULL, {{0}}},
    {"python-around", "joblib-muster", "k/s", &python_package_kind, "muster joblib", 0, NULL,
     {{"joblib-loky", ">= 10"}}},

    {"python-open", "forkserver", "ms", &python_package_kind, "standard open", 0, NULL, {{0}}},
    {"python-open", "muster", "ms", &python_package_kind, "muster open", 0, NULL, {{"forkserver", "<= 1"}}},
    {"python-open", "forkserver-memory", "KiB each", &python_package_kind, "standard memory", 0, NULL, {{0}}},
    {"python-open", "muster-memory", "KiB each", &python_package_kind, "muster memory", 0, NULL,
     {{"forkserver-memory", "<= 1.2"}}},

    {"uneven", "python-middle", "times", NULL, "uneven-middle", 0, NULL, {{0}}},
    {"uneven", "python-last", "times", NULL, "uneven-last", 0, NULL, {{0}}},
    {"uneven", "muster-middle", "times", &muster_uneven_kind, "ipc", 500, "<= 1.05", {{"python-middle", NULL}}},
    {"uneven", "muster-last", "times", &muster_uneven_kind, "ipc", 1000, "<= 1.05", {{"python-last", NULL}}},
    {"uneven", "muster-local-middle", "times", &muster_uneven_kind, "local", 500, "<= 1.05", {{"python-middle", NULL}}},
};
/* clang-format on */
const size_t bench_line_count = sizeof bench_lines / sizeof *bench_lines;
