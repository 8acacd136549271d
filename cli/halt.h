/*
 * --halt: when `muster map` stops before all jobs have run.
 */
#ifndef CLI_HALT_H
#define CLI_HALT_H

#include <stdbool.h>
#include <stdint.h>

enum halt_when { HALT_NEVER, HALT_SOON, HALT_NOW };
enum halt_why { HALT_FAILED, HALT_SUCCEEDED, HALT_DONE };

struct halt {
    enum halt_when when;
    enum halt_why why;
    bool percent;
    uint64_t limit; /* jobs, or percent of all jobs */
};

/* "never", "soon,fail=3", "now,success=1", "soon,done=5%", and GNU parallel's 0, 1, 2, -1, -2, "3%". False if the text
 * is none of these. */
bool halt_parse(struct halt *halt, const char *text);
/* Whether to halt after so many jobs; `total` is for percentages. */
bool halt_reached(const struct halt *halt, uint64_t failed, uint64_t succeeded, uint64_t total);

/* The exit status of `muster map`: the number of failed jobs, at most 101; if it halted, what --halt says. `last` is
 * the exit status of the job that made it halt. */
int halt_exit_status(const struct halt *halt, bool halted, uint64_t failed, uint64_t total, int last);

#endif
