/*
 * --delay, --load and --memfree: whether a job may start now, and when to ask again.
 */
#ifndef CLI_GATE_H
#define CLI_GATE_H

#include <stdbool.h>
#include <stdint.h>

struct gate {
    uint64_t delay_ns;    /* between two starts */
    double load_limit;    /* no start while the load average of the last minute is above; negative: no limit */
    uint64_t memory_free; /* bytes that must be available for a start */
    const char *load_path, *memory_path; /* /proc/loadavg, /proc/meminfo */
    uint64_t next_ns;                    /* no start before */
};

void gate_init(struct gate *gate);
bool gate_is_set(const struct gate *gate);
/* True: a job may start now. False: ask again at gate->next_ns. */
bool gate_opens(struct gate *gate, uint64_t now_ns);
void gate_started(struct gate *gate, uint64_t now_ns);

#endif
