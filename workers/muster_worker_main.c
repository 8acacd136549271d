/*
 * muster-worker: the command line of the workers of one host (workers/host.h).
 */
#include <string.h>

#include "core/errors.h"
#include "core/log.h"
#include "core/options.h"
#include "core/transport.h"
#include "workers/cpus.h"
#include "workers/host.h"

#define WORKERS_MAX 4096
#define MEMORY_MIN (16.0 * 1024 * 1024)

struct settings {
    const char *url, *authkey_file, *log_level, *host, *initializer;
    const char **plugins, **labels;
    size_t workers, max_tasks, memory_limit;
    bool exec, raw_output;
};

/* --- options ------------------------------------------------------------------------------------------------------ */

static int check_labels(const struct options *options, const char *const *labels)
{
    for (; labels && *labels; labels++)
        if (!strchr(*labels, '=') || **labels == '=')
            return options_error(options, "--label %s: a label is NAME=VALUE", *labels);
    return OPTIONS_GO_ON;
}

static int check(const struct options *options, struct settings *settings, int argc, char **argv, int operand)
{
    if (operand >= argc)
        return options_error(options, "the URL of a musterd is missing");
    if (operand + 1 < argc)
        return options_error(options, "unexpected argument '%s': there is one URL", argv[operand + 1]);
    settings->url = argv[operand];
    if (url_check(settings->url) != 0)
        return options_error(options, "%s", muster_last_error());
    if (!settings->exec && !settings->plugins)
        return options_error(options, "workers need something to run: give --load or --exec");
    if (settings->log_level && log_level_parse(settings->log_level, &log_threshold) != 0)
        return options_error(options, "--log-level: %s", muster_last_error());
    return check_labels(options, settings->labels);
}

static int parse(struct settings *settings, int argc, char **argv)
{
    const struct option_row rows[] = {
        {OPTION_NUMBER, 'n', "workers", "N", &settings->workers,
         "how many workers, each running one task at a time. Default: the CPUs that this process may use", 1,
         WORKERS_MAX, NULL},
        {OPTION_TEXTS, 'l', "load", "FILE", &settings->plugins,
         "offer the functions of this shared object. Can be given several times", 0, 0, NULL},
        {OPTION_FLAG, 'e', "exec", NULL, &settings->exec, "offer muster.exec: run commands", 0, 0, NULL},
        {OPTION_TEXTS, 0, "label", "NAME=VALUE", &settings->labels,
         "a label of these workers, for tasks that ask for it. Can be given several times", 0, 0, NULL},
        {OPTION_NUMBER, 0, "max-tasks", "N", &settings->max_tasks,
         "replace a worker after so many tasks. Default: never", 1, 1e15, NULL},
        {OPTION_TEXT, 0, "initializer", "FUNCTION", &settings->initializer,
         "run this function once in each worker before its first task", 0, 0, NULL},
        {OPTION_SIZE, 0, "memory-limit", "SIZE", &settings->memory_limit,
         "address space of each worker, in bytes or with k, M, G. Default: no limit of muster's", MEMORY_MIN, 1e15,
         NULL},
        {OPTION_TEXT, 'k', "authkey-file", "FILE", &settings->authkey_file,
         "the key of the musterd; only its owner may be able to read the file. Default: the file in "
         "MUSTER_AUTHKEY_FILE, or "
         "the key in MUSTER_AUTHKEY",
         0, 0, NULL},
        {OPTION_TEXT, 0, "name", "HOST", &settings->host,
         "what this host is called in errors and in the status. Default: its host name", 0, 0, NULL},
        {OPTION_FLAG, 0, "raw-output", NULL, &settings->raw_output,
         "workers write to this program's stdout and stderr themselves, without \"[host/slot] \" before each line", 0,
         0, NULL},
        {OPTION_TEXT, 0, "log-level", "LEVEL", &settings->log_level, "error, warning, info or debug. Default: warning",
         0, 0, NULL},
        {OPTION_END, 0, NULL, NULL, NULL, NULL, 0, 0, NULL},
    };
    const struct options options = {
        .program = "muster-worker",
        .usage = "muster-worker [OPTION]... URL",
        .summary = "Runs workers on this host for the musterd at URL (ipc:///PATH, tcp://HOST:PORT), and starts them "
                   "again when "
                   "they die.",
        .rows = rows,
        .footer = "Examples:\n"
                  "  muster-worker --exec ipc:///run/user/1000/muster.sock\n"
                  "  muster-worker -n 4 --load ./tasks.so --label gpu=no tcp://head:7100\n"
                  "\n"
                  "Signals: SIGTERM or SIGINT lets running tasks finish and ends; a second one ends at once.\n"
                  "Exit status: 0 after an orderly end, 1 if it could not start or go on or was ended at once, 2 for "
                  "wrong usage.\n",
    };
    int operand;
    int status = options_parse(&options, argc, argv, &operand);
    return status == OPTIONS_GO_ON ? check(&options, settings, argc, argv, operand) : status;
}

static int run(const struct settings *settings)
{
    const struct host_config config = {.url = settings->url,
                                       .workers = settings->workers ? (unsigned)settings->workers : cpus_available(),
                                       .authkey_file = settings->authkey_file,
                                       .name = settings->host,
                                       .plugins = settings->plugins,
                                       .labels = settings->labels,
                                       .exec = settings->exec,
                                       .initializer = settings->initializer,
                                       .max_tasks = settings->max_tasks,
                                       .memory_limit = settings->memory_limit,
                                       .raw_output = settings->raw_output};
    return host_run(&config);
}

int main(int argc, char **argv)
{
    static const muster_function none[] = {{NULL, NULL}};
    struct settings settings = {.workers = 0};
    muster_init(argc, argv, none); /* the workers are this program, started again */
    log_program = "muster-worker";
    int status = parse(&settings, argc, argv);
    if (status == OPTIONS_GO_ON)
        status = run(&settings);
    options_free_texts(&settings.plugins);
    options_free_texts(&settings.labels);
    return status;
}
