/*
 * The worker process: what muster_init() remembers, and what becomes of a process that was started as a worker.
 */
#ifndef WORKERS_RUNTIME_H
#define WORKERS_RUNTIME_H

#include <stdbool.h>

/* muster_init() was called: this program, started again, is a worker. */
bool runtime_can_restart(void);
/* How its worker copies are called in a list of processes: argv[0]. */
const char *runtime_program_name(void);

#endif
