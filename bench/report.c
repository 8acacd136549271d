/*
 * What was measured, as a table and as JSON.
 *
 * A ratio is the median of the ratios of each repetition, not the ratio of the medians: what the machine did in that
 * half second, it did to both.
 */
#include "bench/report.h"
#include "bench/helper.h"
#include <muster.h>
#include <nng/nng.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

enum { VERSION_TEXT = 200 };

static int compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

double report_median(const double *values, int count)
{
    double sorted[RUNNER_SAMPLES];
    if (count < 1)
        return 0;
    memcpy(sorted, values, (size_t)count * sizeof *values);
    qsort(sorted, (size_t)count, sizeof *sorted, compare);
    return count % 2 ? sorted[count / 2] : (sorted[count / 2 - 1] + sorted[count / 2]) / 2;
}

static double extreme(const double *values, int count, int sign)
{
    double best = values[0];
    for (int i = 1; i < count; i++) {
        if ((values[i] - best) * sign > 0)
            best = values[i];
    }
    return best;
}

static const struct runner *find(const struct report *report, const char *group, const char *name)
{
    for (size_t i = 0; i < report->count; i++) {
        const struct bench_line *line = report->runners[i].line;
        if (line && strcmp(line->group, group) == 0 && strcmp(line->name, name) == 0)
            return &report->runners[i];
    }
    return NULL;
}

/* This line's figure divided by the other's: 0 if either was not measured. */
static double ratio_to(const struct report *report, const struct runner *runner, const struct bench_ratio *ratio)
{
    double ratios[RUNNER_SAMPLES];
    const struct runner *other = find(report, runner->line->group, ratio->name);
    if (!other || other->status != BENCH_OK || runner->status != BENCH_OK)
        return 0;
    int count = runner->count < other->count ? runner->count : other->count;
    for (int i = 0; i < count; i++)
        ratios[i] = runner->samples[i] / other->samples[i];
    return report_median(ratios, count);
}

/* --- what was measured with -----------------------------------------------------------------------------------------
 */

/* The first line that a program prints, its last word or its second. */
static void program_version(char text[VERSION_TEXT], const char *program, const char *option, bool last_word)
{
    char path[4096], line[VERSION_TEXT] = "";
    struct helper helper;
    snprintf(text, VERSION_TEXT, "missing");
    if (program[0] == '/' ? snprintf(path, sizeof path, "%s", program) >= (int)sizeof path
                          : !bench_find_program(path, sizeof path, program))
        return;
    char *argv[] = {path, (char *)option, NULL};
    if (helper_start(&helper, argv, HELPER_OUTPUT, "/dev/null") != 0)
        return;
    while (!line[0] && helper_read_line(&helper, line, sizeof line, 5000) == 1)
        ; /* gearmand begins with an empty line */
    helper_end(&helper);
    char *word = strchr(line, ' ');
    char *last = strrchr(line, ' ');
    char *version = !word ? line : last_word ? last + 1 : word + 1;
    version[strcspn(version, " ")] = 0;
    snprintf(text, VERSION_TEXT, "%s", version);
}

struct versions {
    char python[VERSION_TEXT], python_path[4096], parallel[VERSION_TEXT], gearmand[VERSION_TEXT], xargs[VERSION_TEXT];
    struct utsname system;
    char processor[VERSION_TEXT];
    long processors;
};

static void read_processor(struct versions *versions)
{
    char line[400];
    FILE *file = fopen("/proc/cpuinfo", "re");
    snprintf(versions->processor, sizeof versions->processor, "%s", versions->system.machine);
    while (file && fgets(line, sizeof line, file)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && colon) {
            line[strcspn(line, "\n")] = 0;
            snprintf(versions->processor, sizeof versions->processor, "%.*s", VERSION_TEXT - 1, colon + 2);
            break;
        }
    }
    if (file)
        fclose(file);
}

static void read_versions(struct versions *versions)
{
    *versions = (struct versions){.processors = sysconf(_SC_NPROCESSORS_ONLN)};
    uname(&versions->system);
    read_processor(versions);
    snprintf(versions->python, sizeof versions->python, "missing");
    if (runner_python(versions->python_path, sizeof versions->python_path))
        program_version(versions->python, versions->python_path, "--version", true);
    program_version(versions->parallel, "parallel", "--version", true);
    program_version(versions->gearmand, "gearmand", "--version", false);
    program_version(versions->xargs, "xargs", "--version", true);
}

/* --- the table ------------------------------------------------------------------------------------------------------
 */

static void print_number(FILE *file, double value)
{
    int decimals = value >= 1000 ? 0 : value >= 100 ? 1 : value >= 1 ? 2 : 3;
    fprintf(file, " %11.*f", decimals, value);
}

static void print_comparison(const struct report *report, const struct runner *runner, FILE *file)
{
    const struct bench_line *line = runner->line;
    const char *separator = "   ";
    if (line->wanted) {
        fprintf(file, "%swanted %s", separator, line->wanted);
        separator = "; ";
    }
    for (int i = 0; i < BENCH_RATIOS && line->ratios[i].name; i++) {
        double ratio = ratio_to(report, runner, &line->ratios[i]);
        if (ratio == 0)
            continue;
        fprintf(file, "%s%.*f x %s", separator, ratio < 10 ? 2 : 0, ratio, line->ratios[i].name);
        if (line->ratios[i].wanted)
            fprintf(file, " (wanted %s)", line->ratios[i].wanted);
        separator = "; ";
    }
}

static void print_line(const struct report *report, const struct runner *runner, FILE *file)
{
    const struct bench_line *line = runner->line;
    fprintf(file, "  %-22s", line->name);
    if (runner->status != BENCH_OK || runner->count == 0) {
        fprintf(file, " %s: %s\n", runner->status == BENCH_MISSING ? "not measured" : "FAILED", runner->why);
        return;
    }
    print_number(file, report_median(runner->samples, runner->count));
    print_number(file, extreme(runner->samples, runner->count, -1));
    print_number(file, extreme(runner->samples, runner->count, 1));
    fprintf(file, "  %-10s", line->unit);
    print_comparison(report, runner, file);
    fputc('\n', file);
}

void report_table(const struct report *report, FILE *file)
{
    struct versions versions;
    read_versions(&versions);
    fprintf(file, "\nmuster %s on %s, %ld CPUs, %s %s\n", MUSTER_VERSION, versions.processor, versions.processors,
            versions.system.sysname, versions.system.release);
    fprintf(file, "nng %s; python %s (%s); gearmand %s; GNU parallel %s; xargs %s\n", nng_version(), versions.python,
            versions.python_path, versions.gearmand, versions.parallel, versions.xargs);
    fprintf(file, "Median, least and greatest of %d, all lines of a group in turn. Compare only within this run.\n",
            report->repetitions);
    for (size_t group = 0; group < bench_group_count; group++) {
        bool headed = false;
        for (size_t i = 0; i < report->count; i++) {
            const struct runner *runner = &report->runners[i];
            if (!runner->line || strcmp(runner->line->group, bench_groups[group].name) != 0)
                continue;
            if (!headed)
                fprintf(file, "\n%s: %s\n  %-22s %11s %11s %11s  unit\n", bench_groups[group].name,
                        bench_groups[group].title, "", "median", "least", "greatest");
            headed = true;
            print_line(report, runner, file);
        }
    }
    if (report->left_behind[0])
        fprintf(file, "\nLeft behind, and killed: %s\n", report->left_behind);
}

/* --- JSON -----------------------------------------------------------------------------------------------------------
 */

static void json_string(FILE *file, const char *text)
{
    fputc('"', file);
    for (const unsigned char *at = (const unsigned char *)text; *at; at++) {
        if (*at == '"' || *at == '\\')
            fprintf(file, "\\%c", *at);
        else if (*at < ' ' || *at >= 0x7f)
            fprintf(file, "\\u%04x", *at);
        else
            fputc(*at, file);
    }
    fputc('"', file);
}

static void json_member(FILE *file, const char *name, const char *text, bool more)
{
    json_string(file, name);
    fputs(": ", file);
    json_string(file, text);
    fputs(more ? ", " : "", file);
}

static void json_line(const struct report *report, const struct runner *runner, FILE *file)
{
    const struct bench_line *line = runner->line;
    fputs("    {", file);
    json_member(file, "group", line->group, true);
    json_member(file, "name", line->name, true);
    json_member(file, "unit", line->unit, true);
    if (runner->status != BENCH_OK || runner->count == 0) {
        json_member(file, runner->status == BENCH_MISSING ? "missing" : "failed", runner->why, false);
        fputs("}", file);
        return;
    }
    if (line->wanted)
        json_member(file, "wanted", line->wanted, true);
    fprintf(file, "\"median\": %.6g, \"samples\": [", report_median(runner->samples, runner->count));
    for (int i = 0; i < runner->count; i++)
        fprintf(file, "%s%.6g", i ? ", " : "", runner->samples[i]);
    fputs("], \"ratios\": [", file);
    const char *separator = "";
    for (int i = 0; i < BENCH_RATIOS && line->ratios[i].name; i++) {
        double ratio = ratio_to(report, runner, &line->ratios[i]);
        if (ratio == 0)
            continue;
        fprintf(file, "%s{", separator);
        json_member(file, "to", line->ratios[i].name, true);
        if (line->ratios[i].wanted)
            json_member(file, "wanted", line->ratios[i].wanted, true);
        fprintf(file, "\"ratio\": %.6g}", ratio);
        separator = ", ";
    }
    fputs("]}", file);
}

void report_json(const struct report *report, FILE *file)
{
    struct versions versions;
    read_versions(&versions);
    fputs("{\n  \"machine\": {", file);
    json_member(file, "processor", versions.processor, true);
    fprintf(file, "\"processors\": %ld, ", versions.processors);
    json_member(file, "system", versions.system.release, false);
    fputs("},\n  \"versions\": {", file);
    json_member(file, "muster", MUSTER_VERSION, true);
    json_member(file, "nng", nng_version(), true);
    json_member(file, "python", versions.python, true);
    json_member(file, "gearmand", versions.gearmand, true);
    json_member(file, "parallel", versions.parallel, true);
    json_member(file, "xargs", versions.xargs, false);
    fprintf(file, "},\n  \"repetitions\": %d,\n  ", report->repetitions);
    json_member(file, "left_behind", report->left_behind, true);
    fputs("\n  \"lines\": [\n", file);
    bool first = true;
    for (size_t i = 0; i < report->count; i++) {
        if (!report->runners[i].line)
            continue;
        fputs(first ? "" : ",\n", file);
        first = false;
        json_line(report, &report->runners[i], file);
    }
    fputs("\n  ]\n}\n", file);
}
