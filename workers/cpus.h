/*
 * What this process may use of its machine, as the kernel tells: CPUs, by affinity and by the quota of its control
 * group, and how often the kernel has killed in that group for memory.
 */
#ifndef WORKERS_CPUS_H
#define WORKERS_CPUS_H

#include <stdint.h>

/* CPUs that this process may run on, or fewer if its control group may not use so much time (rounded up). At least 1.
 */
unsigned cpus_available(void);

/* The same quota, and the kills for memory, with another directory in place of "/": files are read below `root`. */
double cgroup_cpu_quota(const char *root);      /* CPUs; 0: no quota */
uint64_t cgroup_memory_kills(const char *root); /* grows; 0 also if the kernel does not tell */

#endif
