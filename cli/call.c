/*
 * `muster call`: one call of one function from a shell. Arguments are JSON texts, the result is printed as JSON.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/json.h"
#include "cli/output.h"
#include "core/options.h"

static const char footer[] =
    "Each argument is one JSON text; {\"$bytes\": \"aGk=\"} stands for bytes, in base64, in arguments and results.\n"
    "\n"
    "Exit status: 0 the result was printed; 1 the call failed (standard error says why); 2 the command line is wrong.\n"
    "\n"
    "Examples:\n"
    "  muster call --load ./tasks.so square 7\n"
    "  muster call --pool tcp://farm:7000 resize '\"cat.png\"' '{\"width\": 640}'\n"
    "  muster call --pool ipc:///run/muster.sock --raw render '\"logo\"' > logo.png\n";

struct call_options {
    const char *pool;
    const char **plugins, **labels;
    size_t jobs, retries;
    double timeout;
    bool raw;
};

static int fail(const muster_error *error, int status)
{
    if (error && *error->message)
        cli_warn("%s%s%s", error->kind, *error->kind ? ": " : "", error->message);
    else
        cli_warn("%s", *muster_last_error() ? muster_last_error() : muster_strerror(status));
    if (error && *error->traceback)
        fprintf(stderr, "%s%s", error->traceback, error->traceback[strlen(error->traceback) - 1] == '\n' ? "" : "\n");
    return CLI_FAILED;
}

static void put_opaque(struct buffer *out, const muster_value *value)
{
    struct bytes data = {value->data, value->size};
    if (value->encoding != MUSTER_PICKLE) {
        json_put_bytes(out, data);
        return;
    }
    cli_append(out, "{\"$pickle\": ", 12);
    json_put_bytes(out, data);
    cli_append(out, "}", 1);
}

static void put_value(struct buffer *out, const muster_value *value)
{
    struct bytes data = {value->data, value->size};
    int status = 0;
    switch (value->type) {
    case MUSTER_TYPE_NIL: cli_append(out, "null", 4); break;
    case MUSTER_TYPE_BOOL: status = buffer_printf(out, "%s", value->boolean ? "true" : "false"); break;
    case MUSTER_TYPE_INT: status = buffer_printf(out, "%lld", (long long)value->integer); break;
    case MUSTER_TYPE_UINT: status = buffer_printf(out, "%llu", (unsigned long long)value->uinteger); break;
    case MUSTER_TYPE_DOUBLE: json_put_real(out, value->real); break;
    case MUSTER_TYPE_STRING: json_put_string(out, data); break;
    case MUSTER_TYPE_BYTES: json_put_bytes(out, data); break;
    case MUSTER_TYPE_MSGPACK:
        if (!json_from_msgpack(out, data))
            cli_fail("the result is no well-formed msgpack");
        break;
    case MUSTER_TYPE_OPAQUE: put_opaque(out, value); break;
    }
    if (status != 0)
        cli_fail("out of memory");
}

static int print_value(const muster_value *value, bool raw)
{
    struct buffer out = {0};
    bool plain =
        value->type == MUSTER_TYPE_STRING || value->type == MUSTER_TYPE_BYTES || value->type == MUSTER_TYPE_OPAQUE;
    if (raw && plain) {
        cli_append(&out, value->data, value->size);
    } else {
        put_value(&out, value);
        cli_append(&out, "\n", 1);
    }
    int status = output_write(STDOUT_FILENO, bytes_of(&out));
    buffer_free(&out);
    if (status == 0)
        return CLI_OK;
    cli_warn("cannot write to standard output: %s", strerror(errno));
    return CLI_FAILED;
}

/* The arguments as views into *packed. */
static muster_value *read_arguments(char **texts, size_t count, struct buffer *packed)
{
    muster_value *values = cli_resize(NULL, (count + 1) * sizeof *values);
    size_t *ends = cli_resize(NULL, (count + 1) * sizeof *ends);
    char complaint[200];
    for (size_t i = 0; i < count; i++) {
        cli_fail_status = CLI_USAGE;
        if (json_to_msgpack(packed, texts[i], complaint, sizeof complaint) != 0)
            cli_fail("argument %zu is not JSON: %s. Text needs quotes of its own: '\"text\"'", i + 1, complaint);
        cli_fail_status = CLI_FAILED;
        ends[i] = packed->length;
    }
    for (size_t i = 0, start = 0; i < count; start = ends[i++])
        values[i] = muster_msgpack(packed->data + start, ends[i] - start);
    memory_free(ends);
    return values;
}

static int open_pool(muster_pool **pool, const struct call_options *options, const char *url)
{
    muster_pool_options how = {.plugins = options->plugins};
    char local[32];
    if (url)
        return muster_pool_open(pool, url, NULL);
    snprintf(local, sizeof local, "local:%zu", options->jobs);
    return muster_pool_open(pool, local, &how);
}

static int call(const struct call_options *options, const char *url, const char *function, char **texts, size_t count)
{
    struct buffer packed = {0};
    muster_pool *pool = NULL;
    muster_result *result = NULL;
    const muster_options how = {
        .time_limit = options->timeout,
        .retries = options->retries > 0 ? (unsigned)options->retries - 1 : 0,
        .labels = options->labels,
    };
    muster_value *values = read_arguments(texts, count, &packed);
    int status = open_pool(&pool, options, url);
    if (status == 0)
        status = muster_apply(pool, function, (muster_args){values, count}, &how, &result);
    const muster_value *value = status == 0 ? muster_result_value(result, 0) : NULL;
    int exit_status =
        value ? print_value(value, options->raw) : fail(result ? muster_result_error(result, 0) : NULL, status);
    muster_result_free(result);
    muster_pool_free(pool);
    memory_free(values);
    buffer_free(&packed);
    return exit_status;
}

int command_call(int argc, char **argv)
{
    struct call_options raw = {.jobs = 1, .retries = 1};
    const struct option_row rows[] = {
        {OPTION_TEXT, 0, "pool", "URL", &raw.pool,
         "call on the workers of a musterd, such as tcp://farm:7000; default: the environment's MUSTER_POOL", 0, 0,
         NULL},
        {OPTION_TEXTS, 0, "load", "PLUGIN.so", &raw.plugins,
         "call on workers of this machine that load this shared object; repeatable", 0, 0, NULL},
        {OPTION_NUMBER, 'j', "jobs", "N", &raw.jobs, "with --load: so many workers; default 1", 1, 4096, NULL},
        {OPTION_TEXTS, 0, "label", "NAME=VALUE", &raw.labels, "only on a worker with this label; repeatable", 0, 0,
         NULL},
        {OPTION_SECONDS, 0, "timeout", "SECONDS", &raw.timeout, "end the call if it runs longer; it has failed", 0, 0,
         NULL},
        {OPTION_NUMBER, 0, "retries", "N", &raw.retries, "run the call up to N times if it fails", 1, 1000000, NULL},
        {OPTION_FLAG, 0, "raw", NULL, &raw.raw, "print text and bytes as they are, without quotes and newline", 0, 0,
         NULL},
        {.kind = OPTION_END},
    };
    const struct options table = {
        .program = "muster call",
        .usage = "muster call [OPTION]... FUNCTION [JSON]...",
        .summary = "Calls FUNCTION once and prints its result as JSON.",
        .rows = rows,
        .footer = footer,
        .stop_at_operand = true,
    };
    int operand;
    cli_program = "muster call";
    int status = options_parse(&table, argc, argv, &operand);
    if (status != OPTIONS_GO_ON)
        return status;
    const char *url = raw.plugins ? raw.pool : cli_pool_url(raw.pool);
    if (operand == argc)
        status = options_error(&table, "the name of a function is missing");
    else if (raw.plugins && raw.pool)
        status = options_error(&table, "--pool and --load exclude each other: a pool's workers load their own plugins");
    else if (!raw.plugins && !url)
        status = options_error(&table, "where? Say --pool URL, --load PLUGIN.so, or set MUSTER_POOL");
    else
        status = call(&raw, url, argv[operand], argv + operand + 1, (size_t)(argc - operand - 1));
    options_free_texts(&raw.plugins);
    options_free_texts(&raw.labels);
    return status;
}
