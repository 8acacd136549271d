/*
 * The clock of the shells: CLOCK_MONOTONIC, unless a test has put another source in its place.
 */
#include <time.h>

#include "core/clock.h"

static uint64_t clock_monotonic(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t (*clock_source)(void) = clock_monotonic;

uint64_t clock_now_ns(void)
{
    return clock_source();
}
