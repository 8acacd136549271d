/*
 * Control groups, version 1 and 2, read from /proc/self/cgroup and below /sys/fs/cgroup.
 *
 * A quota may stand at any group on the way up, and the least counts. In a container the path in /proc/self/cgroup may
 * be the host's, with nothing there to be found; the container's own files then lie at the top, which is on the way.
 */
#include "workers/cpus.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define LINE_BYTES 4096
#define PATH_BYTES (LINE_BYTES + PATH_MAX)

/* Finds this process's group of a controller in /proc/self/cgroup: the line "N:controllers:/path", or "0::/path" for
 * version 2. */
static bool find_group(const char *root, const char *controller, char path[LINE_BYTES])
{
    char name[PATH_BYTES], line[LINE_BYTES];
    bool found = false;
    snprintf(name, sizeof name, "%s/proc/self/cgroup", root);
    FILE *file = fopen(name, "re");
    if (!file)
        return false;
    while (!found && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        char *names = strchr(line, ':'), *at = names ? strchr(names + 1, ':') : NULL;
        if (!at)
            continue;
        *at++ = '\0';
        names++;
        found = !*controller && !*names;
        for (char *rest = NULL, *one = strtok_r(names, ",", &rest); *controller && one && !found;
             one = strtok_r(NULL, ",", &rest))
            found = strcmp(one, controller) == 0;
        if (found)
            snprintf(path, LINE_BYTES, "%s", at);
    }
    fclose(file);
    return found;
}

/* The first line of a file that begins with `key` ("" : the first line), after the key. */
static bool read_line(const char *name, const char *key, char line[LINE_BYTES])
{
    bool found = false;
    FILE *file = fopen(name, "re");
    if (!file)
        return false;
    while (!found && fgets(line, LINE_BYTES, file))
        found = strncmp(line, key, strlen(key)) == 0;
    fclose(file);
    if (found)
        memmove(line, line + strlen(key), strlen(line + strlen(key)) + 1);
    return found;
}

/* CPUs by version 2's "quota period" or "max period". */
static double quota_2(const char *directory)
{
    char name[PATH_BYTES + 32], line[LINE_BYTES];
    double quota, period;
    snprintf(name, sizeof name, "%s/cpu.max", directory);
    return read_line(name, "", line) && sscanf(line, "%lf %lf", &quota, &period) == 2 && period > 0 ? quota / period
                                                                                                    : 0;
}

static double quota_1(const char *directory)
{
    char name[PATH_BYTES + 32], line[LINE_BYTES];
    double quota, period;
    snprintf(name, sizeof name, "%s/cpu.cfs_quota_us", directory);
    if (!read_line(name, "", line) || sscanf(line, "%lf", &quota) != 1 || quota <= 0)
        return 0;
    snprintf(name, sizeof name, "%s/cpu.cfs_period_us", directory);
    return read_line(name, "", line) && sscanf(line, "%lf", &period) == 1 && period > 0 ? quota / period : 0;
}

/* The least quota from a group up to the top of its hierarchy. */
static double least_quota(const char *root, const char *mount, char *path, double (*quota)(const char *directory))
{
    char directory[PATH_BYTES];
    double least = 0;
    for (;;) {
        snprintf(directory, sizeof directory, "%s/sys/fs/cgroup%s%s", root, mount, path);
        double here = quota(directory);
        if (here > 0 && (least == 0 || here < least))
            least = here;
        char *slash = strrchr(path, '/');
        if (!slash)
            return least;
        *slash = '\0';
    }
}

double cgroup_cpu_quota(const char *root)
{
    static const char *const mounts_1[] = {"/cpu,cpuacct", "/cpu", "/cpuacct,cpu"};
    char path[LINE_BYTES];
    double least = 0;
    if (find_group(root, "", path))
        least = least_quota(root, "", path, quota_2);
    for (size_t i = 0; least == 0 && i < sizeof mounts_1 / sizeof *mounts_1; i++)
        if (find_group(root, "cpu", path))
            least = least_quota(root, mounts_1[i], path, quota_1);
    return least;
}

static bool read_kills(const char *root, const char *mount, const char *path, const char *file, uint64_t *kills)
{
    char name[PATH_BYTES + 32], line[LINE_BYTES];
    snprintf(name, sizeof name, "%s/sys/fs/cgroup%s%s/%s", root, mount, path, file);
    return read_line(name, "oom_kill ", line) && sscanf(line, "%" SCNu64, kills) == 1;
}

uint64_t cgroup_memory_kills(const char *root)
{
    char path[LINE_BYTES];
    uint64_t kills = 0;
    if (find_group(root, "", path) &&
        (read_kills(root, "", path, "memory.events", &kills) || read_kills(root, "", "", "memory.events", &kills)))
        return kills;
    if (find_group(root, "memory", path) && !read_kills(root, "/memory", path, "memory.oom_control", &kills))
        read_kills(root, "/memory", "", "memory.oom_control", &kills);
    return kills;
}

unsigned cpus_available(void)
{
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    double quota = ceil(cgroup_cpu_quota(""));
    if (quota >= 1 && quota < count)
        count = (int)quota;
    return count > 0 ? (unsigned)count : 1;
}
