/*
 * sem_clockwait() for ThreadSanitizer builds.
 *
 * The sanitizer of gcc 12 and clang 14 knows sem_wait() and sem_timedwait(), but not sem_clockwait(): it would not see
 * that whoever posts comes before whoever wakes, and report races where there is none. Here the call is made of one
 * that it knows. The wall clock may jump during the wait; a test's time-out is then off, which callers bear.
 */
#include <semaphore.h>
#include <stdint.h>
#include <time.h>

enum { NS_IN_S = 1000000000 };

int sem_clockwait(sem_t *restrict semaphore, clockid_t clock, const struct timespec *restrict deadline)
{
    struct timespec now, wall;
    if (clock_gettime(clock, &now) != 0 || clock_gettime(CLOCK_REALTIME, &wall) != 0)
        return -1;
    if (deadline->tv_sec - now.tv_sec > INT32_MAX)
        return sem_wait(semaphore);
    long long left_ns = (long long)(deadline->tv_sec - now.tv_sec) * NS_IN_S + (deadline->tv_nsec - now.tv_nsec);
    long long until_ns = wall.tv_nsec + left_ns % NS_IN_S;
    wall.tv_sec += left_ns / NS_IN_S + (until_ns >= NS_IN_S) - (until_ns < 0);
    wall.tv_nsec = (until_ns + NS_IN_S) % NS_IN_S;
    return sem_timedwait(semaphore, &wall);
}
