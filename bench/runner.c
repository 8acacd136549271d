/*
 * Driving one runner process: every wait has an end, and a runner that does not answer is killed with its whole process
 * group.
 */
#include "bench/runner.h"
#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OPEN_MS = 60 * 1000, SAMPLE_MS = 120 * 1000, CLOSE_MS = 15 * 1000 };

bool runner_python(char *path, size_t size)
{
    /* The distribution's interpreter before any other on PATH: that is what a stranger's machine has, and a version
     * manager's shim in between would cost time at each start. */
    const char *chosen = getenv("BENCH_PYTHON");
    if (!chosen && access("/usr/bin/python3", X_OK) == 0)
        chosen = "/usr/bin/python3";
    if (chosen)
        return snprintf(path, size, "%s", chosen) < (int)size && access(path, X_OK) == 0;
    return bench_find_program(path, size, "python3");
}

/* The last line that the runner or a helper wrote to standard error, appended to the reason. */
static void add_error_line(struct runner *runner)
{
    char path[100], line[256], last[256] = "";
    snprintf(path, sizeof path, "%s/stderr", runner->directory);
    FILE *file = fopen(path, "re");
    if (!file)
        return;
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        if (line[0])
            memcpy(last, line, sizeof last);
    }
    fclose(file);
    size_t used = strlen(runner->why);
    if (last[0] && !strstr(runner->why, last))
        snprintf(runner->why + used, sizeof runner->why - used, "%s%s", used ? "; " : "", last);
}

static void fail(struct runner *runner, enum bench_status status, const char *reason)
{
    runner->status = status;
    snprintf(runner->why, sizeof runner->why, "%s", reason);
    if (status == BENCH_FAILED)
        add_error_line(runner);
}

/* Reads one answer; returns what follows `word`, or NULL after noting why the line failed. */
static const char *expect(struct runner *runner, const char *word, char *line, size_t size, int timeout_ms)
{
    int got = helper_read_line(&runner->helper, line, size, timeout_ms);
    size_t length = strlen(word);
    if (got == 1 && strncmp(line, word, length) == 0)
        return line + length;
    if (got == 1 && strncmp(line, "missing ", 8) == 0)
        fail(runner, BENCH_MISSING, line + 8);
    else if (got == 1)
        fail(runner, BENCH_FAILED, strncmp(line, "failed ", 7) == 0 ? line + 7 : line);
    else if (got == 0)
        fail(runner, BENCH_FAILED, "the measuring process ended");
    else
        fail(runner, BENCH_FAILED, "no answer in time");
    return NULL;
}

const struct bench_kind python_package_kind = {0};

/* What runs a line that is not measured by this program: the script, and the interpreter in `python`. False: none, and
 * the runner says so. */
static bool find_script(struct runner *runner, char *python, size_t size, const char **script)
{
    if (runner->line->kind == &python_package_kind) {
        *script = MUSTER_SOURCE_DIR "/bench/peers/package.py";
        snprintf(python, size, "%s", MUSTER_BENCH_PYTHON);
        if (access(python, X_OK) == 0)
            return true;
        fail(runner, BENCH_MISSING, "there is no environment with the Python package (make bench makes it)");
        return false;
    }
    *script = MUSTER_SOURCE_DIR "/bench/peers/pool.py";
    if (runner_python(python, size))
        return true;
    fail(runner, BENCH_MISSING, "python3 is not installed (apt install python3)");
    return false;
}

void runner_open(struct runner *runner, const struct bench_line *line)
{
    *runner = (struct runner){.line = line, .status = BENCH_FAILED};
    snprintf(runner->directory, sizeof runner->directory, "/tmp/muster-bench-XXXXXX");
    if (!mkdtemp(runner->directory)) {
        fail(runner, BENCH_FAILED, strerror(errno));
        runner->directory[0] = 0;
        return;
    }
    char python[4096], name[200], error_path[100];
    snprintf(name, sizeof name, "%s/%s", line->group, line->name);
    snprintf(error_path, sizeof error_path, "%s/stderr", runner->directory);
    char *self[] = {"/proc/self/exe", "--measure", name, runner->directory, NULL};
    const char *path = NULL;
    bool scripted = !line->kind || line->kind == &python_package_kind;
    if (scripted && !find_script(runner, python, sizeof python, &path))
        return;
    char *script[] = {python, (char *)path, (char *)line->argument, NULL};
    int flags = HELPER_INPUT | HELPER_OUTPUT | HELPER_GROUP;
    if (helper_start(&runner->helper, scripted ? script : self, flags, error_path) != 0) {
        fail(runner, BENCH_FAILED, strerror(errno));
        return;
    }
    char answer[512];
    if (expect(runner, "ready", answer, sizeof answer, OPEN_MS))
        runner->status = BENCH_OK;
}

void runner_sample(struct runner *runner)
{
    static const char request[] = "sample\n";
    char answer[512];
    if (runner->status != BENCH_OK || runner->count == RUNNER_SAMPLES)
        return;
    if (write(runner->helper.input, request, sizeof request - 1) != (ssize_t)sizeof request - 1) {
        fail(runner, BENCH_FAILED, "the measuring process ended");
        return;
    }
    const char *value = expect(runner, "value ", answer, sizeof answer, SAMPLE_MS);
    if (value)
        runner->samples[runner->count++] = strtod(value, NULL);
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *where)
{
    (void)status, (void)type, (void)where;
    return remove(path) != 0 && errno != ENOENT;
}

void runner_close(struct runner *runner)
{
    if (runner->helper.pid > 0) {
        close(runner->helper.input);
        runner->helper.input = -1;
        if (helper_wait(&runner->helper, runner->status == BENCH_OK ? CLOSE_MS : 2000) < 0) {
            if (runner->status == BENCH_OK)
                fail(runner, BENCH_FAILED, "did not end when it was told to");
            helper_kill(&runner->helper);
        }
        if (runner->helper.output >= 0)
            close(runner->helper.output);
        runner->helper.output = -1;
    }
    if (runner->directory[0])
        nftw(runner->directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}
