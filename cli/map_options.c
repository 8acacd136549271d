/*
 * The command line of `muster map`. The names are those of GNU parallel and xargs where they have the same thing.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/map.h"
#include "core/clock.h"
#include "core/options.h"
#include "workers/cpus.h"

#define JOBS_LIMIT 4096
#define JOBS_MANY 256 /* -j 0 */

/* The options as they are read, before they are made into a struct map_options. */
struct raw {
    const char *pool, *jobs, *delimiter, *colsep, *tag_string, *halt, *workdir, *placeholder, *load, *nice;
    const char **files, **environment, **labels;
    bool null, tag, quote, shell, skip_empty;
    size_t items, records, block, retries, memory_free;
    double timeout, delay;
};

static const char footer[] =
    "Items come from standard input, one on each line, from files, or from the command line after :::. Several ::: "
    "give\n"
    "all combinations. Without COMMAND, each item is itself a command line for the shell.\n"
    "\n"
    "Replacement strings in COMMAND:\n"
    "  {}    the item (added at the end if COMMAND names none)\n"
    "  {.}   without extension          {/}   without directories       {//}  its directory\n"
    "  {/.}  without directories and extension                          {#}   number of the job   {%}  slot\n"
    "  {2}   the second value; {2.} {2/} {2//} {2/.} accordingly        {-1}  the last value\n"
    "\n"
    "COMMAND of several words is run directly: items arrive intact whatever they contain, and | > $ mean nothing. A\n"
    "COMMAND that is one word with spaces or shell characters is run by the shell, with the items quoted.\n"
    "\n"
    "Exit status: 0 all jobs succeeded; 1 to 100 as many failed; 101 more failed; 255 another error; 130 interrupted.\n"
    "\n"
    "Examples:\n"
    "  muster map gzip -9 ::: *.log                       compress files on all CPUs\n"
    "  find . -name '*.wav' -print0 | muster map -0 --bar lame {} {.}.mp3\n"
    "  muster map -k 'grep -c {1} {2}' ::: error warning ::: *.log\n"
    "  muster map --pipe --block 10M -k 'sort | uniq -c' < words.txt\n"
    "  muster map --joblog log --resume-failed --timeout 10m --retries 3 ./work ::: {1..1000}\n"
    "  muster map --pool tcp://farm:7000 --label gpu=yes ./render {} ::: frames/*\n";

/* --- values of options -------------------------------------------------------------------------------------------- */

/* "4", "0" (many), "200%", "+2", "-1": false if it is none of these. */
static bool read_jobs(const char *text, size_t *jobs)
{
    double cpus = (double)cpus_available(), wanted;
    char *end;
    errno = 0;
    double number = strtod(text, &end);
    if (end == text || errno || !strchr("0123456789", end[-1]) || strpbrk(text, "xXeEpP."))
        return false;
    if (strcmp(end, "%") == 0)
        wanted = cpus * number / 100;
    else if (*end)
        return false;
    else
        wanted = *text == '+' || *text == '-' ? cpus + number : number > 0 ? number : JOBS_MANY;
    if (wanted > JOBS_LIMIT)
        return false;
    *jobs = wanted < 1 ? 1 : (size_t)wanted;
    return true;
}

/* One character, or \n \t \0 and the like, or \xHH. */
static bool read_delimiter(const char *text, char *delimiter)
{
    static const char names[] = "nt0rabfv\\", bytes[] = "\n\t\0\r\a\b\f\v\\";
    if (text[0] && !text[1]) {
        *delimiter = text[0];
        return true;
    }
    if (text[0] != '\\' || !text[1])
        return false;
    const char *found = strchr(names, text[1]);
    if (found && !text[2]) {
        *delimiter = bytes[found - names];
        return true;
    }
    char *end;
    unsigned long value = text[1] == 'x' ? strtoul(text + 2, &end, 16) : 256;
    if (value > 255 || !text[2] || *end)
        return false;
    *delimiter = (char)value;
    return true;
}

/* A load average, or percent of the CPUs. */
static bool read_load(const char *text, double *load)
{
    char *end;
    double number = strtod(text, &end);
    if (end == text || number < 0 || (*end && strcmp(end, "%") != 0))
        return false;
    *load = *end ? number / 100 * (double)cpus_available() : number;
    return true;
}

static char *absolute_path(const char *path)
{
    struct buffer text = {0};
    char here[PATH_MAX];
    bool dot = strcmp(path, ".") == 0;
    if (*path != '/') {
        if (!getcwd(here, sizeof here))
            cli_fail("--workdir %s: %s", path, strerror(errno));
        cli_append(&text, here, strlen(here));
        if (!dot)
            cli_append(&text, "/", 1);
    }
    cli_append(&text, path, dot ? 0 : strlen(path));
    cli_append(&text, "", 1);
    return (char *)text.data;
}

/* "NAME" (the value that it has here) and "NAME=value" as "NAME=value". */
static char **environment_list(const char **names)
{
    char **list = NULL;
    size_t count = 0;
    for (size_t i = 0; names && names[i]; i++) {
        const char *value = strchr(names[i], '=') ? "" : getenv(names[i]);
        struct buffer text = {0};
        if (!value) {
            cli_warn("--env %s: there is no such variable here", names[i]);
            continue;
        }
        cli_append(&text, names[i], strlen(names[i]));
        cli_append(&text, "=", strchr(names[i], '=') ? 0 : 1);
        cli_append(&text, value, strlen(value) + 1);
        cli_list_add(&list, &count, (char *)text.data);
    }
    return list;
}

/* --- where items come from ---------------------------------------------------------------------------------------- */

static bool is_separator(const char *word)
{
    return strcmp(word, ":::") == 0 || strcmp(word, "::::") == 0;
}

static int open_items(const char *path)
{
    int fd = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        cli_fail("cannot read items from %s: %s", path, strerror(errno));
    return fd;
}

static void read_list(struct item_list *list, int fd, const char *name, char delimiter)
{
    if (item_list_read(list, fd, delimiter) != 0)
        cli_fail("cannot read items from %s: %s", name, strerror(errno));
    if (fd != STDIN_FILENO)
        close(fd);
}

/* The lists of -a, ::: and ::::, in this order. */
static size_t collect_lists(const struct raw *raw, char **words, char delimiter, struct item_list **lists)
{
    size_t count = 0, capacity = 1;
    for (size_t i = 0; raw->files && raw->files[i]; i++)
        capacity++;
    for (size_t i = 0; words[i]; i++)
        capacity++; /* no more lists than words */
    *lists = cli_resize(NULL, capacity * sizeof **lists);
    memset(*lists, 0, capacity * sizeof **lists);
    for (size_t i = 0; raw->files && raw->files[i]; i++)
        read_list(&(*lists)[count++], open_items(raw->files[i]), raw->files[i], delimiter);
    bool files = false;
    for (size_t i = 0; words[i]; i++) {
        if (is_separator(words[i])) {
            files = strlen(words[i]) == 4;
            count += files ? 0 : 1;
        } else if (files) {
            read_list(&(*lists)[count++], open_items(words[i]), words[i], delimiter);
        } else {
            item_list_add(&(*lists)[count - 1], bytes_string(words[i]));
        }
    }
    return count;
}

/* The one stream that all items come from, or NULL if there are lists. */
static const char *only_stream(const struct raw *raw, char **words)
{
    size_t files = 0;
    while (raw->files && raw->files[files])
        files++;
    if (!words[0])
        return files == 0 ? "-" : files == 1 ? raw->files[0] : NULL;
    return files == 0 && strcmp(words[0], "::::") == 0 && words[1] && !words[2] ? words[1] : NULL;
}

static void open_source(struct map_options *options, const struct raw *raw, char **words, char delimiter)
{
    struct source *source = &options->source;
    const char *stream = only_stream(raw, words);
    source->items_per_job = raw->records > 0 ? raw->records : raw->items;
    source->skip_empty = raw->skip_empty;
    if (options->pipe && !stream)
        cli_fail("--pipe reads one stream: it goes with standard input or one --arg-file, not with ::: items");
    if (!stream) {
        struct item_list *lists;
        size_t count = collect_lists(raw, words, delimiter, &lists);
        source_lists(source, lists, count);
        return;
    }
    int fd = open_items(stream);
    const char *name = fd == STDIN_FILENO ? "standard input" : stream;
    if (fd == STDIN_FILENO && isatty(fd))
        cli_warn("reading items from the terminal, one on each line; end with Ctrl-D (or give them after :::)");
    if (options->pipe) {
        source_blocks(source, fd, name, delimiter, raw->block, raw->records);
    } else if (options->halt.when != HALT_NEVER && options->halt.percent) {
        /* Percent of how many is known only when all items are. */
        struct item_list *list = cli_resize(NULL, sizeof *list);
        *list = (struct item_list){0};
        read_list(list, fd, name, delimiter);
        source_lists(source, list, 1);
    } else {
        source_stream(source, fd, name, delimiter);
    }
}

/* --- the command -------------------------------------------------------------------------------------------------- */

static void read_command(struct map_options *options, const struct raw *raw, char **words, size_t count)
{
    enum template_quoting quoting = TEMPLATE_PLAIN;
    if (count == 0 && options->pipe)
        cli_fail("--pipe needs a command to feed the blocks to");
    if (count == 0)
        quoting = TEMPLATE_SHELL_LINES;
    else if (!raw->quote && (raw->shell || (count == 1 && template_wants_shell(words[0]))))
        quoting = TEMPLATE_FOR_SHELL;
    options->shell = quoting != TEMPLATE_PLAIN;
    template_parse(&options->template, words, count, quoting, raw->placeholder, !options->pipe);
    if (options->pipe && options->template.uses_values)
        cli_fail("with --pipe there are no items: {} and its kin have no meaning, {#} has");
    if (!options->shell)
        return;
    const char *shell = getenv("MUSTER_SHELL");
    options->shell_words[0] = (char *)(shell && *shell ? shell : "/bin/sh");
    options->shell_words[1] = "-c";
}

static int usage_error(const struct options *table, const char *name, const char *text, const char *wanted)
{
    return options_error(table, "--%s %s: not %s", name, text, wanted);
}

/* Makes the options out of what was read; OPTIONS_GO_ON or CLI_USAGE. */
static int check(struct map_options *options, const struct options *table, const struct raw *raw, char **words)
{
    char delimiter = raw->null ? '\0' : '\n';
    size_t count = 0;
    if (raw->jobs && !read_jobs(raw->jobs, &options->jobs))
        return usage_error(table, "jobs", raw->jobs, "a number of jobs (such as 4, 150%, +1 or -1), at most 4096");
    if (raw->delimiter && !read_delimiter(raw->delimiter, &delimiter))
        return usage_error(table, "delimiter", raw->delimiter, "one character");
    if (raw->halt && !halt_parse(&options->halt, raw->halt))
        return usage_error(table, "halt", raw->halt, "never, or (soon|now),(fail|success|done)=N or N%");
    if (raw->load && !read_load(raw->load, &options->gate.load_limit))
        return usage_error(table, "load", raw->load, "a load average (such as 3.5) or percent of the CPUs");
    const char *wrong = raw->colsep ? column_separator_parse(&options->source.separator, raw->colsep) : NULL;
    if (wrong)
        return options_error(table, "--colsep %s: %s", raw->colsep, wrong);
    if ((options->resume || options->resume_failed) && !options->joblog)
        return options_error(table, "--resume and --resume-failed need --joblog FILE to resume from");
    if (options->halt.percent && options->pipe)
        return options_error(table, "--halt with percent does not go with --pipe: the number of blocks is not known");
    if (raw->nice && (errno = 0, nice(atoi(raw->nice)) == -1 && errno != 0))
        cli_fail("--nice %s: %s", raw->nice, strerror(errno));

    options->pool_url = raw->pool && strcmp(raw->pool, "local:") != 0 ? raw->pool : NULL;
    if (!options->pool_url && options->jobs == 0)
        options->jobs = cpus_available();
    options->retries = raw->retries;
    options->time_limit = raw->timeout;
    options->gate.delay_ns = (uint64_t)(raw->delay * (double)NS_PER_S);
    options->gate.memory_free = raw->memory_free;
    options->labels = raw->labels;
    options->tag = raw->tag_string ? raw->tag_string : raw->tag ? "{}" : NULL;
    options->workdir = raw->workdir ? absolute_path(raw->workdir) : NULL;
    options->environment = environment_list(raw->environment);
    while (words[count] && !is_separator(words[count]))
        count++;
    read_command(options, raw, words, count);
    open_source(options, raw, words + count, delimiter);
    return OPTIONS_GO_ON;
}

int map_options_read(struct map_options *options, int argc, char **argv)
{
    struct raw raw = {.items = 1, .block = 1024 * 1024, .retries = 1, .placeholder = "{}"};
    bool group = true;
    const struct option_row rows[] = {
#include "cli/map_options.def"
    };
    const struct options table = {
        .program = "muster map",
        .usage = "muster map [OPTION]... [--] COMMAND [ARGUMENT]... < ITEMS\n"
                 "muster map [OPTION]... [--] COMMAND [ARGUMENT]... ::: ITEM... [::: ITEM...]...",
        .summary = "Runs COMMAND once for each item, many at a time, on this machine or on a pool.",
        .rows = rows,
        .footer = footer,
        .stop_at_operand = true,
    };
    *options = (struct map_options){0};
    gate_init(&options->gate);
    int operand;
    int status = options_parse(&table, argc, argv, &operand);
    if (status != OPTIONS_GO_ON)
        return status == CLI_USAGE ? CLI_ERROR : status;
    status = check(options, &table, &raw, argv + operand);
    options_free_texts(&raw.files);
    options_free_texts(&raw.environment);
    return status == CLI_USAGE ? CLI_ERROR : status;
}

void map_options_free(struct map_options *options)
{
    for (size_t i = 0; options->environment && options->environment[i]; i++)
        memory_free(options->environment[i]);
    memory_free(options->environment);
    memory_free(options->workdir);
    options_free_texts(&options->labels);
    template_free(&options->template);
    source_free(&options->source);
}
