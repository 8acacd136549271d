/*
 * When jobs may start; see gate.h. The kernel does not tell when the load falls or memory becomes free, so a closed
 * gate looks again after a moment. What cannot be read closes nothing.
 */
#include <stdio.h>

#include "cli/gate.h"
#include "core/clock.h"

#define LOOK_AGAIN_NS (500 * NS_PER_MS)

void gate_init(struct gate *gate)
{
    *gate = (struct gate){.load_limit = -1, .load_path = "/proc/loadavg", .memory_path = "/proc/meminfo"};
}

bool gate_is_set(const struct gate *gate)
{
    return gate->delay_ns > 0 || gate->load_limit >= 0 || gate->memory_free > 0;
}

static bool too_busy(const struct gate *gate)
{
    double load = 0;
    FILE *file = fopen(gate->load_path, "re");
    if (!file)
        return false;
    bool known = fscanf(file, "%lf", &load) == 1;
    fclose(file);
    return known && load > gate->load_limit;
}

static bool too_full(const struct gate *gate)
{
    char line[128];
    unsigned long long kilobytes = 0;
    bool known = false;
    FILE *file = fopen(gate->memory_path, "re");
    if (!file)
        return false;
    while (!known && fgets(line, sizeof line, file))
        known = sscanf(line, "MemAvailable: %llu kB", &kilobytes) == 1;
    fclose(file);
    return known && kilobytes * 1024 < gate->memory_free;
}

bool gate_opens(struct gate *gate, uint64_t now_ns)
{
    if (now_ns < gate->next_ns)
        return false;
    if ((gate->load_limit >= 0 && too_busy(gate)) || (gate->memory_free > 0 && too_full(gate))) {
        gate->next_ns = now_ns + LOOK_AGAIN_NS;
        return false;
    }
    return true;
}

void gate_started(struct gate *gate, uint64_t now_ns)
{
    gate->next_ns = now_ns + gate->delay_ns;
}
