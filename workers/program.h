/*
 * Which program worker processes run: this one again, or muster-worker.
 */
#ifndef WORKERS_PROGRAM_H
#define WORKERS_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>

/* Writes the path. `wanted` comes first if it is not NULL; then this program, if it called muster_init(); then, for
 * what needs no functions of the program's own (`generic`), muster-worker: in the directory that MUSTER_BIN_DIR names,
 * beside this program, beside the library, in PATH. EWORKERS with a sentence that says the mend. */
int program_find(const char *wanted, bool generic, char *path, size_t size);

#endif
