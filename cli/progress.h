/*
 * --bar: one line on a terminal that says how far `muster map` is, at what rate, and how long it will take.
 */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct progress {
    bool shown; /* asked for, and stderr is a terminal */
    bool drawn; /* the line stands on the terminal now */
    uint64_t start_ns, next_ns;
};

/* What the line tells. */
struct progress_count {
    uint64_t done, failed, total; /* total 0: not known yet */
};

void progress_start(struct progress *progress, bool wanted, uint64_t now_ns);
/* Draws if it is time. */
void progress_show(struct progress *progress, const struct progress_count *count, uint64_t now_ns);
/* Takes the line away, before something else is printed. */
void progress_clear(struct progress *progress);
/* Draws the last state and leaves it standing. */
void progress_end(struct progress *progress, const struct progress_count *count, uint64_t now_ns);

/* The line for a terminal of `width` columns, without newline; returns its length. */
size_t progress_format(char *text, size_t size, const struct progress_count *count, double seconds, size_t width);

#endif
