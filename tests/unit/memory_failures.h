/*
 * Makes the n-th allocation of the library fail. A test runs what it tests for n = 1, 2, ... until it gets through
 * without a failure, and checks each time that the failure was reported and that nothing is lost or leaked.
 */
#ifndef TESTS_UNIT_MEMORY_FAILURES_H
#define TESTS_UNIT_MEMORY_FAILURES_H

#include "core/buffer.h"

static unsigned memory_failure_countdown; /* 0: none fails any more */
static bool memory_failure_happened;

static inline bool memory_failure_hook(void)
{
    if (memory_failure_countdown == 0 || --memory_failure_countdown > 0)
        return false;
    memory_failure_happened = true;
    return true;
}

/* The n-th allocation from now on fails, counted from 1. */
static inline void memory_failure_at(unsigned n)
{
    memory_failure_countdown = n;
    memory_failure_happened = false;
    memory_fail_hook = memory_failure_hook;
}

static inline void memory_failure_off(void)
{
    memory_fail_hook = NULL;
}

#endif
