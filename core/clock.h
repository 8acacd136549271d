/*
 * The one clock: nanoseconds since an arbitrary start, never going back. Only the shells read it; the state machines
 * are given the time. A test may replace the source.
 */
#ifndef CORE_CLOCK_H
#define CORE_CLOCK_H

#include <stdint.h>

#define NS_PER_US 1000ull
#define NS_PER_MS 1000000ull
#define NS_PER_S 1000000000ull
#define NEVER_NS UINT64_MAX /* a deadline that never comes */

extern uint64_t (*clock_source)(void);
uint64_t clock_now_ns(void);

static inline uint64_t deadline_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

#endif
