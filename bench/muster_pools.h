/* A pool to measure: embedded, or behind a musterd that the line starts, with workers that load plugins/bench_tasks.c.
 */
#ifndef BENCH_MUSTER_POOLS_H
#define BENCH_MUSTER_POOLS_H

#include "bench/bench.h"
#include "bench/helper.h"
#include <muster.h>

enum { MUSTER_WORKERS = 2, MUSTER_ARGUMENT = 16, MUSTER_URL = 240 };
#define MUSTER_PATIENCE 20.0 /* s, for any single wait */

struct bench_pool {
    struct helper daemon, supervisor; /* not running for an embedded pool */
    muster_pool *pool;                /* NULL until opened */
    char url[MUSTER_URL];             /* of the musterd */
};

/* Starts a musterd on "ipc" or "tcp" and `workers` workers (0: none). */
enum bench_status bench_musterd_start(struct bench_run *run, struct bench_pool *pool, const char *scheme, int workers);

/* Opens a pool on "local" (with so many workers), or on a musterd of its own on "ipc" or "tcp"; waits for the workers.
 * window: calls outstanding at most, 0 for the default. */
enum bench_status bench_pool_open(struct bench_run *run, struct bench_pool *pool, const char *where, int workers,
                                  size_t window);

void bench_pool_close(struct bench_pool *pool);

/* Ends a sample because a muster function said so: the status and its detail become the reason. */
enum bench_status bench_muster_failed(struct bench_run *run, const char *what, int status);

/* The argument of every no-op call: 16 bytes. */
muster_value bench_argument(void);

/* Resident bytes of a process, and the CPU seconds it has used; negative: unknown. */
double bench_resident_bytes(pid_t pid);
double bench_cpu_seconds(pid_t pid);

#endif
