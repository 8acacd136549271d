/*
 * muster-sim: runs seeds, says which one fails, replays it.
 *
 *   muster-sim --seeds 1000              seeds 1 to 1000
 *   muster-sim --seed 77 --trace         one seed, every event on standard output
 *   muster-sim --plant run-twice --seeds 100   exit status 0 if an invariant fires
 */
#include "core/log.h"
#include "tests/sim/sim.h"

#include <getopt.h>
#include <stdlib.h>
#include <time.h>

struct arguments {
    uint64_t seed, seeds, steps;
    enum plant plant;
    bool trace, fresh;
};

static const char usage[] =
    "usage: muster-sim [--seed N] [--seeds COUNT] [--steps M] [--trace] [--fresh] [--plant BUG] [--list-plants]\n"
    "Runs COUNT seeds (default 1) from N (default 1), each for M events (default 3000) with faults and then until "
    "everything has come to rest.\n"
    "--fresh starts at a seed that nobody has seen. --plant puts in a bug: then the exit status is 0 if an invariant "
    "notices.\n";

static int parse_plant(const char *name, enum plant *plant)
{
    for (int i = 0; i < PLANT_COUNT; i++)
        if (strcmp(name, plant_names[i]) == 0) {
            *plant = (enum plant)i;
            return 0;
        }
    fprintf(stderr, "muster-sim: no such bug: %s (see --list-plants)\n", name);
    return -1;
}

static int parse(int argc, char **argv, struct arguments *arguments)
{
    static const struct option options[] = {
        {"seed", 1, NULL, 's'},        {"seeds", 1, NULL, 'n'}, {"steps", 1, NULL, 'm'},
        {"trace", 0, NULL, 't'},       {"fresh", 0, NULL, 'f'}, {"plant", 1, NULL, 'p'},
        {"list-plants", 0, NULL, 'l'}, {"help", 0, NULL, 'h'},  {0}};
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 's': arguments->seed = strtoull(optarg, NULL, 10); break;
        case 'n': arguments->seeds = strtoull(optarg, NULL, 10); break;
        case 'm': arguments->steps = strtoull(optarg, NULL, 10); break;
        case 't': arguments->trace = true; break;
        case 'f': arguments->fresh = true; break;
        case 'p':
            if (parse_plant(optarg, &arguments->plant) != 0)
                return 2;
            break;
        case 'l':
            for (int i = 1; i < PLANT_COUNT; i++)
                puts(plant_names[i]);
            exit(0);
        case 'h': fputs(usage, stdout); exit(0);
        default: fputs(usage, stderr); return 2;
        }
    }
    return 0;
}

static void log_to_trace(enum log_level level, const char *text)
{
    printf("              log %d: %s\n", (int)level, text);
}

int main(int argc, char **argv)
{
    struct arguments arguments = {.seed = 1, .seeds = 1, .steps = 3000};
    if (parse(argc, argv, &arguments) != 0)
        return 2;
    log_threshold = arguments.trace ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR;
    log_hook = arguments.trace ? log_to_trace : log_hook;
    if (arguments.fresh)
        arguments.seed = (uint64_t)time(NULL) * 1000;
    struct world *world = malloc(sizeof *world);
    if (!world)
        return 1;
    uint64_t events = 0, tasks = 0, failed = 0, digest = 0;
    for (uint64_t seed = arguments.seed; seed < arguments.seed + arguments.seeds; seed++) {
        bool good = sim_run(world, seed, arguments.steps, arguments.plant, arguments.trace ? stdout : NULL);
        events += world->events_done;
        tasks += world->task_count;
        digest ^= world->digest * (2 * seed + 1);
        if (!good) {
            failed++;
            printf("seed %llu: %s: %s\n", (unsigned long long)seed, world->violation, world->violation_text);
            if (arguments.plant == PLANT_NONE)
                printf("  replay: muster-sim --seed %llu --steps %llu --trace\n", (unsigned long long)seed,
                       (unsigned long long)arguments.steps);
        }
        sim_free(world);
        if (failed > 0 && arguments.plant != PLANT_NONE)
            break;
    }
    free(world);
    printf("%llu seeds from %llu, %llu events, %llu tasks, %llu violations, digest %016llx\n",
           (unsigned long long)arguments.seeds, (unsigned long long)arguments.seed, (unsigned long long)events,
           (unsigned long long)tasks, (unsigned long long)failed, (unsigned long long)digest);
    return (failed > 0) == (arguments.plant != PLANT_NONE) ? 0 : 1;
}
