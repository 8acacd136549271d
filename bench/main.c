/*
 * muster-bench: measures muster beside its peers. See bench.h for how, lines.c for what.
 *
 * The driver keeps all runners of one group open and goes through them again and again, forwards and backwards in turn,
 * so that neither the order nor a slow drift of the machine favours a line. It never judges: a wanted figure is printed
 * beside the measured one, and the exit status says only whether the measuring itself went wrong.
 */
#include "bench/bench.h"
#include "bench/helper.h"
#include "bench/report.h"
#include "bench/runner.h"
#include "core/options.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { REPETITIONS = 5, QUICK_REPETITIONS = 2 };

struct choices {
    const char **only; /* NULL-terminated; NULL: everything */
    int repetitions;
    bool list, json;       /* json: on standard output, in place of the table */
    const char *json_path; /* and beside it, or NULL */
};

static int parse(int argc, char **argv, struct choices *choices)
{
    bool quick = false;
    int operand;
    *choices = (struct choices){0};
    const struct option_row rows[] = {
        {OPTION_TEXTS, 0, "only", "NAME", &choices->only, "Measure this group, or this line (GROUP/LINE). Repeatable.",
         0, 0, NULL},
        {OPTION_FLAG, 0, "quick", NULL, &quick, "Two repetitions instead of five.", 0, 0, NULL},
        {OPTION_FLAG, 0, "json", NULL, &choices->json, "Print JSON instead of the table.", 0, 0, NULL},
        {OPTION_TEXT, 0, "json-file", "FILE", &choices->json_path, "Write JSON there, beside the table.", 0, 0, NULL},
        {OPTION_FLAG, 0, "list", NULL, &choices->list, "Print groups and lines, measure nothing.", 0, 0, NULL},
        {0},
    };
    const struct options options = {
        .program = "muster-bench",
        .usage = "muster-bench [OPTION]...",
        .summary = "Measures muster beside its peers, all in the same run.",
        .rows = rows,
        .footer = "BENCH_PYTHON names the Python to compare with (default: /usr/bin/python3).\n"
                  "The exit status says whether everything could be measured, never how fast it was.\n",
    };
    int status = options_parse(&options, argc, argv, &operand);
    if (status == OPTIONS_GO_ON && operand < argc)
        status = options_error(&options, "unexpected argument '%s'", argv[operand]);
    choices->repetitions = quick ? QUICK_REPETITIONS : REPETITIONS;
    return status;
}

static bool chosen(const struct choices *choices, const struct bench_line *line)
{
    char full[200];
    snprintf(full, sizeof full, "%s/%s", line->group, line->name);
    for (size_t i = 0; choices->only && choices->only[i]; i++) {
        if (strcmp(choices->only[i], line->group) == 0 || strcmp(choices->only[i], full) == 0)
            return true;
    }
    return !choices->only;
}

/* A name that chooses nothing is a mistake, not an empty table. */
static int check_names(const struct choices *choices)
{
    for (size_t n = 0; choices->only && choices->only[n]; n++) {
        const char *name = choices->only[n];
        bool found = false;
        for (size_t i = 0; i < bench_line_count && !found; i++) {
            char full[200];
            snprintf(full, sizeof full, "%s/%s", bench_lines[i].group, bench_lines[i].name);
            found = strcmp(name, bench_lines[i].group) == 0 || strcmp(name, full) == 0;
        }
        if (!found) {
            fprintf(stderr, "muster-bench: there is no group or line '%s': see --list\n", name);
            return 2;
        }
    }
    return 0;
}

static int list_lines(void)
{
    for (size_t group = 0; group < bench_group_count; group++) {
        printf("%s: %s\n", bench_groups[group].name, bench_groups[group].title);
        for (size_t i = 0; i < bench_line_count; i++) {
            if (strcmp(bench_lines[i].group, bench_groups[group].name) == 0)
                printf("  %-22s %s\n", bench_lines[i].name, bench_lines[i].unit);
        }
    }
    return 0;
}

static volatile sig_atomic_t interrupted;

static void interrupt(int number)
{
    interrupted = number;
}

static bool in_group(const struct choices *choices, size_t line, size_t group)
{
    return strcmp(bench_lines[line].group, bench_groups[group].name) == 0 && chosen(choices, &bench_lines[line]);
}

/* One group from opening to closing; runners has one entry for each line of the table. */
static void measure_group(const struct choices *choices, size_t group, struct runner *runners)
{
    bool any = false;
    for (size_t i = 0; i < bench_line_count && !interrupted; i++) {
        if (!in_group(choices, i, group))
            continue;
        if (!any)
            fprintf(stderr, "%s ", bench_groups[group].name);
        any = true;
        runner_open(&runners[i], &bench_lines[i]);
    }
    for (int repetition = 0; repetition < choices->repetitions && !interrupted; repetition++) {
        for (size_t step = 0; step < bench_line_count && !interrupted; step++) {
            size_t i = repetition % 2 ? bench_line_count - 1 - step : step;
            if (runners[i].line && in_group(choices, i, group))
                runner_sample(&runners[i]);
        }
        fputs(any ? "." : "", stderr);
    }
    for (size_t i = 0; i < bench_line_count; i++) {
        if (runners[i].line && in_group(choices, i, group))
            runner_close(&runners[i]);
    }
    fputs(any ? "\n" : "", stderr);
}

static int write_report(const struct choices *choices, const struct report *report)
{
    if (choices->json)
        report_json(report, stdout);
    else
        report_table(report, stdout);
    if (!choices->json_path)
        return 0;
    FILE *file = fopen(choices->json_path, "we");
    if (!file) {
        fprintf(stderr, "muster-bench: cannot write %s: %s\n", choices->json_path, strerror(errno));
        return 1;
    }
    report_json(report, file);
    return fclose(file) != 0;
}

static int drive(const struct choices *choices)
{
    char left_behind[1000] = "", names[500];
    struct runner *runners = calloc(bench_line_count, sizeof *runners);
    if (!runners)
        return 1;
    for (size_t group = 0; group < bench_group_count && !interrupted; group++) {
        measure_group(choices, group, runners);
        if (helper_end_orphans(names, sizeof names) > 0) {
            size_t used = strlen(left_behind);
            snprintf(left_behind + used, sizeof left_behind - used, "%s%s: %s", used ? "; " : "",
                     bench_groups[group].name, names);
        }
    }
    int status = 0;
    if (interrupted) {
        fprintf(stderr, "muster-bench: interrupted\n");
        status = 128 + interrupted;
    } else {
        struct report report = {runners, bench_line_count, choices->repetitions, left_behind};
        status = write_report(choices, &report);
    }
    for (size_t i = 0; i < bench_line_count; i++)
        status = status == 0 && runners[i].line && runners[i].status == BENCH_FAILED ? 1 : status;
    free(runners);
    return status;
}

int main(int argc, char **argv)
{
    struct choices choices;
    if (argc >= 4 && strcmp(argv[1], "--measure") == 0)
        return measure_main(argv[2], argv[3]);
    if (argc >= 3 && strcmp(argv[1], "--role") == 0)
        return role_main(argc - 2, argv + 2);
    int status = parse(argc, argv, &choices);
    if (status != OPTIONS_GO_ON)
        return status;
    if (choices.list)
        return list_lines();
    if (check_names(&choices) != 0)
        return 2;
    struct sigaction action = {.sa_handler = interrupt};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    /* What loses its parent comes here, is given a moment to end, and is named if it does not. */
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    status = drive(&choices);
    options_free_texts(&choices.only);
    return status;
}
