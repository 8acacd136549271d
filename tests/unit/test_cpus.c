/*
 * Quotas of control groups, read from a tree of files like the kernel's.
 */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "workers/cpus.h"

static char root[64];

static void put(const char *path, const char *text)
{
    char name[512];
    for (const char *slash = path; (slash = strchr(slash + 1, '/')) != NULL;) {
        snprintf(name, sizeof name, "%s%.*s", root, (int)(slash - path), path);
        mkdir(name, 0700);
    }
    snprintf(name, sizeof name, "%s%s", root, path);
    FILE *file = fopen(name, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int set_up(void **state)
{
    (void)state;
    strcpy(root, "/tmp/muster-cpus.XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int tear_down(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", root);
    return system(command);
}

static void without_control_groups_there_is_no_quota(void **state)
{
    (void)state;
    assert_true(cgroup_cpu_quota(root) == 0);
    assert_int_equal(cgroup_memory_kills(root), 0);
}

static void version_2_counts_the_least_quota_on_the_way_up(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "0::/system.slice/pool.service\n");
    put("/sys/fs/cgroup/system.slice/pool.service/cpu.max", "max 100000\n");
    assert_true(cgroup_cpu_quota(root) == 0);
    put("/sys/fs/cgroup/system.slice/cpu.max", "250000 100000\n");
    assert_true(cgroup_cpu_quota(root) == 2.5);
    put("/sys/fs/cgroup/system.slice/pool.service/cpu.max", "50000 100000\n");
    assert_true(cgroup_cpu_quota(root) == 0.5);
}

static void in_a_container_the_files_lie_at_the_top(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "0::/docker/0123456789abcdef\n");
    put("/sys/fs/cgroup/cpu.max", "150000 100000\n");
    put("/sys/fs/cgroup/memory.events", "low 0\nhigh 0\nmax 3\noom 1\noom_kill 4\noom_group_kill 0\n");
    assert_true(cgroup_cpu_quota(root) == 1.5);
    assert_int_equal(cgroup_memory_kills(root), 4);
}

static void version_1_has_two_files_for_a_quota(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "12:pids:/x\n4:cpu,cpuacct:/jobs/a\n3:memory:/jobs/a\n1:name=systemd:/\n");
    put("/sys/fs/cgroup/cpu,cpuacct/jobs/a/cpu.cfs_quota_us", "-1\n");
    put("/sys/fs/cgroup/cpu,cpuacct/jobs/a/cpu.cfs_period_us", "100000\n");
    assert_true(cgroup_cpu_quota(root) == 0);
    put("/sys/fs/cgroup/cpu,cpuacct/jobs/cpu.cfs_quota_us", "300000\n");
    put("/sys/fs/cgroup/cpu,cpuacct/jobs/cpu.cfs_period_us", "100000\n");
    put("/sys/fs/cgroup/memory/jobs/a/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n");
    assert_true(cgroup_cpu_quota(root) == 3);
    assert_int_equal(cgroup_memory_kills(root), 2);
}

static void files_full_of_nonsense_are_no_quota(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "\n:\n::\n0::/x\n0:no colon\n");
    put("/sys/fs/cgroup/x/cpu.max", "many few\n");
    put("/sys/fs/cgroup/cpu.max", "-5 0\n");
    put("/sys/fs/cgroup/x/memory.events", "oom_kill lots\n");
    assert_true(cgroup_cpu_quota(root) == 0);
    assert_int_equal(cgroup_memory_kills(root), 0);
}

static void affinity_counts(void **state)
{
    cpu_set_t before, one;
    (void)state;
    assert_true(cpus_available() >= 1);
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    int first = 0;
    while (!CPU_ISSET(first, &before))
        first++;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(cpus_available(), 1);
    sched_setaffinity(0, sizeof before, &before);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(without_control_groups_there_is_no_quota), TEST(version_2_counts_the_least_quota_on_the_way_up),
        TEST(in_a_container_the_files_lie_at_the_top),  TEST(version_1_has_two_files_for_a_quota),
        TEST(files_full_of_nonsense_are_no_quota),      TEST(affinity_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
