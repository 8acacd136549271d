/* The driver's side of one line: its runner process and the samples taken so far. */
#ifndef BENCH_RUNNER_H
#define BENCH_RUNNER_H

#include "bench/bench.h"
#include "bench/helper.h"

enum { RUNNER_SAMPLES = 15 };

struct runner {
    const struct bench_line *line;
    struct helper helper;
    enum bench_status status;
    double samples[RUNNER_SAMPLES]; /* in the order of the repetitions */
    int count;
    char why[512];      /* why there is no figure */
    char directory[64]; /* private to the runner */
};

/* Starts the runner and waits until it is ready, missing something, or failed. */
void runner_open(struct runner *runner, const struct bench_line *line);

/* Takes one sample, if all went well up to now. */
void runner_sample(struct runner *runner);

/* Ends the runner and removes its directory. */
void runner_close(struct runner *runner);

/* The interpreter that runs peers/pool.py: BENCH_PYTHON, or the distribution's, or the first on PATH; false: none. */
bool runner_python(char *path, size_t size);

#endif
