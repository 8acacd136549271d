/*
 * `muster status`: what the coordinator of a pool knows, as a table for people or as the JSON that it gave
 * (docs/status.md).
 */
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/output.h"
#include "core/options.h"

#define ANSWER_SECONDS 10.0
#define COLUMNS_LIMIT 8
#define CELL_BYTES 64

static const char footer[] =
    "Exit status: 0 the status was printed; 1 there was none (standard error says why); 2 the command line is wrong.\n"
    "\n"
    "Examples:\n"
    "  muster status --pool tcp://farm:7000\n"
    "  MUSTER_POOL=tcp://farm:7000 muster status --watch\n"
    "  muster status --pool tcp://farm:7000 --json | jq .tasks.queued\n";

/* --- tables ------------------------------------------------------------------------------------------------------- */

/* Rows of text, columns padded to their widest cell. The first row is the head. */
struct table {
    char (*cells)[CELL_BYTES];
    size_t columns, count;     /* cells */
    bool right[COLUMNS_LIMIT]; /* numbers */
};

static void table_add(struct table *table, const char *text)
{
    table->cells = cli_resize(table->cells, (table->count + 1) * sizeof *table->cells);
    char *cell = table->cells[table->count++];
    snprintf(cell, CELL_BYTES, "%s", text);
    for (; *cell; cell++) /* names come from strangers */
        if ((unsigned char)*cell < 0x20 || *cell == 0x7f)
            *cell = '?';
}

static void table_add_count(struct table *table, uint64_t number)
{
    char text[32];
    snprintf(text, sizeof text, "%llu", (unsigned long long)number);
    table_add(table, text);
}

static void put_text(struct buffer *out, const char *text)
{
    cli_append(out, text, strlen(text));
}

static void put_spaces(struct buffer *out, size_t count)
{
    while (count-- > 0)
        cli_append(out, " ", 1);
}

static void table_put(const struct table *table, struct buffer *out)
{
    size_t widths[COLUMNS_LIMIT] = {0};
    for (size_t i = 0; i < table->count; i++) {
        size_t width = strlen(table->cells[i]);
        if (width > widths[i % table->columns])
            widths[i % table->columns] = width;
    }
    for (size_t i = 0; i < table->count; i++) {
        size_t column = i % table->columns, pad = widths[column] - strlen(table->cells[i]);
        bool last = column + 1 == table->columns;
        if (table->right[column])
            put_spaces(out, pad);
        put_text(out, table->cells[i]);
        if (!table->right[column] && !last)
            put_spaces(out, pad);
        put_text(out, last ? "\n" : "  ");
    }
}

/* --- the document ------------------------------------------------------------------------------------------------- */

static uint64_t count_of(json_t *object, const char *name)
{
    json_t *value = json_object_get(object, name);
    return json_is_integer(value) && json_integer_value(value) > 0 ? (uint64_t)json_integer_value(value) : 0;
}

static double real_of(json_t *object, const char *name)
{
    return json_number_value(json_object_get(object, name));
}

static const char *text_of(json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

/* 3 us, 4.5 ms, 2.0 s, 1:30, 2:00:00 */
static const char *format_seconds(double seconds, char *text, size_t size)
{
    unsigned long whole = seconds > 0 ? (unsigned long)seconds : 0;
    if (seconds < 1e-3)
        snprintf(text, size, "%.0f us", seconds * 1e6);
    else if (seconds < 1)
        snprintf(text, size, "%.1f ms", seconds * 1e3);
    else if (seconds < 60)
        snprintf(text, size, "%.1f s", seconds);
    else if (whole < 3600)
        snprintf(text, size, "%lu:%02lu", whole / 60, whole % 60);
    else
        snprintf(text, size, "%lu:%02lu:%02lu", whole / 3600, whole / 60 % 60, whole % 60);
    return text;
}

static void put_summary(struct buffer *out, json_t *status)
{
    json_t *coordinator = json_object_get(status, "coordinator"), *tasks = json_object_get(status, "tasks");
    uint64_t workers = count_of(coordinator, "workers"), clients = count_of(coordinator, "clients");
    char time[40];
    int error = buffer_printf(
        out, "muster %s, process %llu, up %s%s%s: %llu worker%s, %llu client%s\n", text_of(coordinator, "version"),
        (unsigned long long)count_of(coordinator, "pid"),
        format_seconds(real_of(coordinator, "uptime_seconds"), time, sizeof time),
        json_is_true(json_object_get(coordinator, "draining")) ? ", draining" : "",
        json_is_true(json_object_get(coordinator, "rejoining")) ? ", waiting for workers to come back" : "",
        (unsigned long long)workers, workers == 1 ? "" : "s", (unsigned long long)clients, clients == 1 ? "" : "s");
    error |= buffer_printf(
        out,
        "tasks: %llu queued, %llu running, %llu succeeded, %llu failed, %llu timed out, %llu lost, %llu cancelled; "
        "%.1f a second\n",
        (unsigned long long)count_of(tasks, "queued"), (unsigned long long)count_of(tasks, "running"),
        (unsigned long long)count_of(tasks, "succeeded"), (unsigned long long)count_of(tasks, "failed"),
        (unsigned long long)count_of(tasks, "timed_out"), (unsigned long long)count_of(tasks, "lost"),
        (unsigned long long)count_of(tasks, "cancelled"), real_of(tasks, "per_second"));
    if (error)
        cli_fail("out of memory");
}

static void add_labels(struct table *table, json_t *labels)
{
    struct buffer text = {0};
    json_t *label;
    size_t index;
    json_array_foreach(labels, index, label)
    {
        if (index > 0)
            put_text(&text, " ");
        put_text(&text, json_is_string(label) ? json_string_value(label) : "?");
    }
    cli_append(&text, "", 1);
    table_add(table, (const char *)text.data);
    buffer_free(&text);
}

static void put_workers(struct buffer *out, json_t *workers)
{
    static const char *const heads[] = {"WORKER", "PID", "STATE", "FUNCTION", "SINCE", "DONE", "FAILED", "LABELS"};
    struct table table = {.columns = 8, .right = {[1] = true, [4] = true, [5] = true, [6] = true}};
    json_t *worker;
    size_t index;
    char time[40];
    for (size_t i = 0; i < table.columns; i++)
        table_add(&table, heads[i]);
    json_array_foreach(workers, index, worker)
    {
        const char *function = text_of(worker, "function");
        table_add(&table, text_of(worker, "name"));
        table_add_count(&table, count_of(worker, "pid"));
        table_add(&table, text_of(worker, "state"));
        table_add(&table, function);
        table_add(&table, *function ? format_seconds(real_of(worker, "function_seconds"), time, sizeof time) : "");
        table_add_count(&table, count_of(worker, "succeeded"));
        table_add_count(&table, count_of(worker, "failed"));
        add_labels(&table, json_object_get(worker, "labels"));
    }
    if (json_array_size(workers) > 0) {
        put_text(out, "\n");
        table_put(&table, out);
    }
    memory_free(table.cells);
}

/* Queued tasks of a function, over all its labels. */
static uint64_t queued_of(json_t *lanes, const char *function, bool *served)
{
    uint64_t queued = 0;
    json_t *lane;
    size_t index;
    json_array_foreach(lanes, index, lane)
    {
        if (strcmp(text_of(lane, "function"), function) != 0)
            continue;
        queued += count_of(lane, "queued");
        if (count_of(lane, "queued") > 0 && json_is_false(json_object_get(lane, "served")))
            *served = false;
    }
    return queued;
}

/* A line for each definition of the function that has a body of its own. */
static void add_definitions(struct table *table, json_t *lanes, const char *function)
{
    json_t *lane;
    size_t index;
    char text[80];
    json_array_foreach(lanes, index, lane)
    {
        uint64_t definition = count_of(lane, "definition");
        if (definition == 0 || strcmp(text_of(lane, "function"), function) != 0)
            continue;
        snprintf(text, sizeof text, "  #%llu, %llu bytes", (unsigned long long)definition,
                 (unsigned long long)count_of(lane, "body_bytes"));
        table_add(table, text);
        table_add_count(table, count_of(lane, "queued"));
        table_add_count(table, count_of(lane, "count"));
        table_add_count(table, count_of(lane, "failures"));
        table_add(table, format_seconds(real_of(lane, "mean_seconds"), text, sizeof text));
        table_add(table, "");
        table_add(table, "");
    }
}

static void put_functions(struct buffer *out, json_t *functions, json_t *lanes)
{
    static const char *const heads[] = {"FUNCTION", "QUEUED", "DONE", "FAILED", "MEAN", "A SECOND", ""};
    struct table table = {.columns = 7, .right = {[1] = true, [2] = true, [3] = true, [4] = true, [5] = true}};
    json_t *function;
    size_t index;
    char text[40];
    for (size_t i = 0; i < table.columns; i++)
        table_add(&table, heads[i]);
    json_array_foreach(functions, index, function)
    {
        bool served = true;
        table_add(&table, text_of(function, "name"));
        table_add_count(&table, queued_of(lanes, text_of(function, "name"), &served));
        table_add_count(&table, count_of(function, "count"));
        table_add_count(&table, count_of(function, "failures"));
        table_add(&table, format_seconds(real_of(function, "mean_seconds"), text, sizeof text));
        snprintf(text, sizeof text, "%.1f", real_of(function, "per_second"));
        table_add(&table, text);
        table_add(&table, served ? "" : "no worker offers it");
        add_definitions(&table, lanes, text_of(function, "name"));
    }
    if (json_array_size(functions) > 0) {
        put_text(out, "\n");
        table_put(&table, out);
    }
    memory_free(table.cells);
}

static void put_gave_up(struct buffer *out, json_t *supervisors)
{
    json_t *supervisor;
    size_t index;
    json_array_foreach(supervisors, index, supervisor)
    {
        const char *reason = text_of(supervisor, "gave_up");
        if (*reason &&
            buffer_printf(out, "\n%s has given up starting workers: %s\n", text_of(supervisor, "host"), reason) != 0)
            cli_fail("out of memory");
    }
}

/* --- the command -------------------------------------------------------------------------------------------------- */

static int print(const struct buffer *out)
{
    if (output_write(STDOUT_FILENO, bytes_of(out)) == 0)
        return CLI_OK;
    cli_warn("cannot write to standard output: %s", strerror(errno));
    return CLI_FAILED;
}

/* One status of the pool, printed. */
static int show(muster_pool *pool, bool as_json, bool clear)
{
    char *text = NULL;
    json_error_t error;
    struct buffer out = {0};
    if (muster_pool_status(pool, &text, ANSWER_SECONDS) != 0) {
        cli_warn("%s", muster_last_error());
        return CLI_FAILED;
    }
    json_t *status = json_loads(text, 0, &error);
    if (clear)
        put_text(&out, "\033[H\033[2J");
    if (as_json) {
        put_text(&out, text);
        put_text(&out, "\n");
    } else if (status) {
        put_summary(&out, status);
        put_workers(&out, json_object_get(status, "workers"));
        put_functions(&out, json_object_get(status, "functions"), json_object_get(status, "lanes"));
        put_gave_up(&out, json_object_get(status, "supervisors"));
    } else {
        cli_warn("the pool's answer is not JSON: %s", error.text);
    }
    int result = status || as_json ? print(&out) : CLI_FAILED;
    json_decref(status);
    free(text);
    buffer_free(&out);
    return result;
}

int command_status(int argc, char **argv)
{
    const char *pool_option = NULL;
    bool as_json = false, watch = false;
    double interval = 2;
    const struct option_row rows[] = {
        {OPTION_TEXT, 0, "pool", "URL", &pool_option,
         "the pool, such as tcp://farm:7000; default: the environment's MUSTER_POOL", 0, 0, NULL},
        {OPTION_FLAG, 0, "json", NULL, &as_json, "print JSON, as docs/status.md describes it", 0, 0, NULL},
        {OPTION_FLAG, 'w', "watch", NULL, &watch, "again and again, until interrupted", 0, 0, NULL},
        {OPTION_SECONDS, 0, "interval", "SECONDS", &interval, "time between two with --watch; default 2", 0.1, 86400,
         NULL},
        {.kind = OPTION_END},
    };
    const struct options table = {
        .program = "muster status",
        .usage = "muster status [OPTION]...",
        .summary = "Shows the workers and tasks of a pool: states, rates, and each function's times.",
        .rows = rows,
        .footer = footer,
    };
    muster_pool *pool;
    int operand;
    cli_program = "muster status";
    int result = options_parse(&table, argc, argv, &operand);
    if (result != OPTIONS_GO_ON)
        return result;
    const char *url = cli_pool_url(pool_option);
    if (operand < argc)
        return options_error(&table, "'%s' is one argument too many", argv[operand]);
    if (!url)
        return options_error(&table, "of which pool? Say --pool URL, or set MUSTER_POOL");
    if (muster_pool_open(&pool, url, NULL) != 0) {
        cli_warn("%s", muster_last_error());
        return CLI_FAILED;
    }
    result = show(pool, as_json, watch && !as_json && isatty(STDOUT_FILENO));
    while (watch && result == CLI_OK) {
        poll(NULL, 0, (int)(interval * 1000));
        if (!as_json && !isatty(STDOUT_FILENO))
            putchar('\n'), fflush(stdout);
        result = show(pool, as_json, !as_json && isatty(STDOUT_FILENO));
    }
    muster_pool_free(pool);
    return result;
}
