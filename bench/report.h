/* The table for people and the JSON for programs. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "bench/runner.h"
#include <stdio.h>

struct report {
    const struct runner *runners; /* in the order of bench_lines; those not chosen have no line */
    size_t count;
    int repetitions;
    const char *left_behind; /* processes that outlived their line, or "" */
};

double report_median(const double *values, int count);
void report_table(const struct report *report, FILE *file);
void report_json(const struct report *report, FILE *file);

#endif
