/*
 * The program `muster`: one door for its commands. Each command reads its own options.
 *
 * Standard input, output and error are made sure to be open first. A program that is started with one of them closed
 * would otherwise get a socket of the pool as its "standard output" and write results into it.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

static const char help[] =
    "Usage: muster COMMAND [OPTION]... [ARGUMENT]...\n"
    "\n"
    "Runs work on all CPUs of this machine, or on a pool of many machines.\n"
    "\n"
    "Commands:\n"
    "  map      run a command once for each item, many at a time (like xargs -P and GNU parallel)\n"
    "  call     call one function with JSON arguments and print its result as JSON\n"
    "  status   show the workers and tasks of a pool\n"
    "  help     show this text, or with a command's name its own\n"
    "\n"
    "  muster COMMAND --help says more. --version prints the version.\n"
    "\n"
    "Environment:\n"
    "  MUSTER_POOL   URL of the pool for call and status when --pool is not given\n"
    "\n"
    "Examples:\n"
    "  muster map gzip -9 ::: *.log\n"
    "  find . -name '*.png' -print0 | muster map -0 convert {} {.}.jpg\n"
    "  muster call --pool tcp://farm:7000 resize '\"cat.png\"' 640 480\n"
    "  muster status --pool tcp://farm:7000 --watch\n";

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} commands[] = {{"map", command_map}, {"call", command_call}, {"status", command_status}};

/* Opens what is closed the wrong way round, so that using it fails with EBADF as it would have. */
static void open_standard_streams(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) >= 0)
            continue;
        if (open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
            _exit(CLI_ERROR);
    }
}

static int print_help(void)
{
    fputs(help, stdout);
    return fflush(stdout) == 0 ? CLI_OK : CLI_FAILED;
}

static int run(const char *name, int argc, char **argv)
{
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(commands[i].name, name) == 0)
            return commands[i].run(argc, argv);
    cli_warn("there is no command '%s'; the commands are map, call and status. Try 'muster --help'.", name);
    return CLI_USAGE;
}

int main(int argc, char **argv)
{
    static const muster_function no_functions[] = {{NULL, NULL}};

    open_standard_streams();
    muster_init(argc, argv, no_functions);
    if (argc < 2) {
        cli_warn("a command is missing: map, call or status. Try 'muster --help'.");
        return CLI_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--version") == 0) {
        puts("muster " MUSTER_VERSION);
        return fflush(stdout) == 0 ? CLI_OK : CLI_FAILED;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        return print_help();
    if (strcmp(name, "help") == 0) {
        char *arguments[] = {argv[2], "--help", NULL};
        return argc < 3 ? print_help() : run(argv[2], 2, arguments);
    }
    return run(name, argc - 1, argv + 1);
}
