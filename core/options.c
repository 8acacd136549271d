/*
 * Options over getopt_long. The table is turned into getopt's own structures for one parse; what an option does is
 * found again by its row. The help text is laid out from the same rows: the option at the left, its sentence wrapped at
 * the right.
 */
#include "core/options.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/buffer.h"
#include "muster.h"

#define ROWS_LIMIT 128   /* options of one program */
#define LONG_BASE 0x1000 /* what getopt_long returns for row i: LONG_BASE + i, beyond every letter */
#define HELP_INDENT 30
#define HELP_WIDTH 100

int options_error(const struct options *options, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s: ", options->program);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\nTry '%s --help'.\n", options->program);
    va_end(arguments);
    return 2;
}

/* --- values ------------------------------------------------------------------------------------------------------- */

bool options_read_number(const char *text, uint64_t *value)
{
    if (*text < '0' || *text > '9')
        return false;
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (errno || *end)
        return false;
    *value = number;
    return true;
}

bool options_read_size(const char *text, uint64_t *value)
{
    static const char units[] = "kmgt";
    if (*text < '0' || *text > '9')
        return false;
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    unsigned shift = 0;
    if (errno)
        return false;
    if (*end) {
        const char *unit = strchr(units, *end | 0x20);
        if (!unit || (end[1] && strcasecmp(end + 1, "ib") != 0 && strcasecmp(end + 1, "b") != 0))
            return false;
        shift = 10 * (unsigned)(unit - units + 1);
    }
    if (number > (UINT64_MAX >> shift))
        return false;
    *value = (uint64_t)number << shift;
    return true;
}

bool options_read_seconds(const char *text, double *value)
{
    static const struct {
        const char *name;
        double seconds;
    } units[] = {{"", 1}, {"s", 1}, {"ms", 1e-3}, {"m", 60}, {"h", 3600}, {"d", 86400}};
    if ((*text < '0' || *text > '9') && *text != '.')
        return false;
    char *end;
    double number = strtod(text, &end);
    if (!isfinite(number) || number < 0)
        return false;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcmp(end, units[i].name) == 0) {
            *value = number * units[i].seconds;
            return true;
        }
    }
    return false;
}

static int texts_add(const char ***texts, const char *text)
{
    size_t count = 0;
    while (*texts && (*texts)[count])
        count++;
    const char **grown = memory_resize(*texts, (count + 2) * sizeof *grown);
    if (!grown)
        return MUSTER_ENOMEM;
    grown[count] = text;
    grown[count + 1] = NULL;
    *texts = grown;
    return 0;
}

void options_free_texts(const char ***texts)
{
    memory_free(*texts);
    *texts = NULL;
}

static bool in_bounds(const struct option_row *row, double value)
{
    return (row->minimum == 0 && row->maximum == 0) || (value >= row->minimum && value <= row->maximum);
}

static int bad_value(const struct options *options, const struct option_row *row, const char *text, const char *wanted)
{
    char bounds[96] = "";
    if (row->minimum != 0 || row->maximum != 0)
        snprintf(bounds, sizeof bounds, " from %.15g to %.15g", row->minimum, row->maximum);
    if (row->name)
        return options_error(options, "--%s %s: not %s%s", row->name, text, wanted, bounds);
    return options_error(options, "-%c %s: not %s%s", row->letter, text, wanted, bounds);
}

/* Stores one option's argument. OPTIONS_GO_ON, or the exit status. */
static int apply(const struct options *options, const struct option_row *row, const char *text)
{
    uint64_t number = 0;
    double seconds = 0;
    switch (row->kind) {
    case OPTION_FLAG: *(bool *)row->value = true; break;
    case OPTION_NOT: *(bool *)row->value = false; break;
    case OPTION_TEXT: *(const char **)row->value = text; break;
    case OPTION_TEXTS:
        if (texts_add(row->value, text) != 0)
            return options_error(options, "out of memory");
        break;
    case OPTION_NUMBER:
        if (!options_read_number(text, &number) || number > SIZE_MAX || !in_bounds(row, (double)number))
            return bad_value(options, row, text, "a whole number");
        *(size_t *)row->value = (size_t)number;
        break;
    case OPTION_SIZE:
        if (!options_read_size(text, &number) || number > SIZE_MAX || !in_bounds(row, (double)number))
            return bad_value(options, row, text, "a size in bytes (such as 512k or 64M)");
        *(size_t *)row->value = (size_t)number;
        break;
    case OPTION_SECONDS:
        if (!options_read_seconds(text, &seconds) || !in_bounds(row, seconds))
            return bad_value(options, row, text, "a time in seconds (or with ms, s, m, h, d)");
        *(double *)row->value = seconds;
        break;
    case OPTION_CALL: return row->call(text, options->arg) == 0 ? OPTIONS_GO_ON : 2;
    case OPTION_END:
    case OPTION_HEADING: break;
    }
    return OPTIONS_GO_ON;
}

/* --- help --------------------------------------------------------------------------------------------------------- */

/* Prints `text` wrapped into the column from `indent`; the cursor stands at `column`. */
static void print_wrapped(const char *text, int indent, int column)
{
    while (*text) {
        size_t word = strcspn(text, " \n");
        if (column > indent && column + 1 + (int)word > HELP_WIDTH) {
            printf("\n");
            column = 0;
        }
        if (column < indent)
            printf("%*s", indent - column, "");
        else if (column > indent)
            printf(" ");
        column = (column < indent ? indent : column + (column > indent)) + (int)word;
        printf("%.*s", (int)word, text);
        text += word;
        if (*text == '\n') {
            printf("\n");
            column = 0;
        }
        if (*text)
            text++;
    }
    printf("\n");
}

static void print_row(const struct option_row *row)
{
    if (row->kind == OPTION_HEADING) {
        printf("\n%s\n", row->help);
        return;
    }
    char left[128];
    int length = 0;
    if (row->letter)
        length = snprintf(left, sizeof left, "  -%c%s", row->letter, row->name ? ", " : "");
    else
        length = snprintf(left, sizeof left, "      ");
    if (row->name)
        length += snprintf(left + length, sizeof left - (size_t)length, "--%s", row->name);
    if (row->argument)
        length += snprintf(left + length, sizeof left - (size_t)length, "%c%s", row->name ? '=' : ' ', row->argument);
    printf("%s", left);
    if (length >= HELP_INDENT - 1) {
        printf("\n");
        length = 0;
    }
    print_wrapped(row->help, HELP_INDENT, length);
}

static int print_help(const struct options *options)
{
    static const struct option_row standard[] = {
        {OPTION_FLAG, 'h', "help", NULL, NULL, "print this text", 0, 0, NULL},
        {OPTION_FLAG, 0, "version", NULL, NULL, "print the version", 0, 0, NULL},
    };
    printf("Usage: ");
    print_wrapped(options->usage, 7, 7);
    printf("\n");
    print_wrapped(options->summary, 0, 0);
    if (options->rows[0].kind != OPTION_HEADING)
        printf("\nOptions:\n");
    for (const struct option_row *row = options->rows; row->kind != OPTION_END; row++)
        print_row(row);
    for (size_t i = 0; i < sizeof standard / sizeof *standard; i++)
        print_row(&standard[i]);
    if (options->footer)
        printf("\n%s", options->footer);
    return fflush(stdout) == 0 ? 0 : 1;
}

/* --- the parse ---------------------------------------------------------------------------------------------------- */

struct tables {
    struct option longs[ROWS_LIMIT + 3];
    char letters[2 * ROWS_LIMIT + 8];
    size_t rows;
};
enum { CODE_HELP = 'h', CODE_VERSION = LONG_BASE - 1 };

static void tables_make(const struct options *options, struct tables *tables)
{
    char *letter = tables->letters;
    struct option *longs = tables->longs;
    if (options->stop_at_operand)
        *letter++ = '+';
    *letter++ = ':'; /* getopt tells a missing argument from an unknown option, and prints nothing itself */
    *letter++ = 'h';
    for (tables->rows = 0; options->rows[tables->rows].kind != OPTION_END && tables->rows < ROWS_LIMIT;
         tables->rows++) {
        const struct option_row *row = &options->rows[tables->rows];
        if (row->name)
            *longs++ = (struct option){row->name, row->argument ? required_argument : no_argument, NULL,
                                       LONG_BASE + (int)tables->rows};
        if (row->letter)
            *letter++ = row->letter;
        if (row->letter && row->argument)
            *letter++ = ':';
    }
    *longs++ = (struct option){"help", no_argument, NULL, CODE_HELP};
    *longs++ = (struct option){"version", no_argument, NULL, CODE_VERSION};
    *longs = (struct option){0};
    *letter = 0;
}

static const struct option_row *row_of(const struct options *options, const struct tables *tables, int code)
{
    if (code >= LONG_BASE)
        return &options->rows[code - LONG_BASE];
    for (size_t i = 0; i < tables->rows; i++) {
        if (options->rows[i].letter == code && options->rows[i].kind != OPTION_HEADING)
            return &options->rows[i];
    }
    return NULL;
}

/* What getopt_long() stumbled over, as a sentence. */
static int complain(const struct options *options, int code, char **argv)
{
    const char *word = argv[optind - 1];
    bool is_long = strncmp(word, "--", 2) == 0;
    if (code == ':' && is_long)
        return options_error(options, "%s needs an argument", word);
    if (code == ':')
        return options_error(options, "-%c needs an argument", optopt);
    if (!is_long)
        return options_error(options, "there is no option -%c", optopt);
    if (optopt >= LONG_BASE - 1)
        return options_error(options, "%.*s takes no argument", (int)strcspn(word, "="), word);
    return options_error(options, "there is no option %s, or more than one that begins so", word);
}

int options_parse(const struct options *options, int argc, char **argv, int *operand)
{
    struct tables tables;
    tables_make(options, &tables);
    optind = 0; /* glibc: start afresh, for programs with subcommands */
    opterr = 0;
    for (;;) {
        int code = getopt_long(argc, argv, tables.letters, tables.longs, NULL);
        if (code == -1)
            break;
        if (code == '?' || code == ':')
            return complain(options, code, argv);
        const struct option_row *row = row_of(options, &tables, code);
        if (!row && code == CODE_HELP)
            return print_help(options);
        if (!row) {
            printf("%s %s\n", options->program, MUSTER_VERSION);
            return fflush(stdout) == 0 ? 0 : 1;
        }
        int status = apply(options, row, optarg);
        if (status != OPTIONS_GO_ON)
            return status;
    }
    *operand = optind;
    return OPTIONS_GO_ON;
}
