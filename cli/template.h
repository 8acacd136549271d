/*
 * Command templates: the words after `muster map` with their replacement strings, made into one command for each job.
 *
 *   {}   the item                {#}  number of the job, from 1
 *   {.}  without its extension   {%}  slot that the job runs in, from 1
 *   {/}  without its directories {2} {2.} {2/} {2//} {2/.}   the same of the second column; {-1} the last
 *   {//} its directory           {/.} without directories and extension
 *
 * Without a shell every word of the template is one argument of the command, whatever the items contain; a word that
 * is exactly one replacement string becomes as many arguments as there are values. With a shell the template is one
 * text, in which each value is quoted.
 */
#ifndef CLI_TEMPLATE_H
#define CLI_TEMPLATE_H

#include "core/buffer.h"

enum template_part {
    TEMPLATE_LITERAL,
    TEMPLATE_WHOLE,    /* {}   */
    TEMPLATE_STEM,     /* {.}  */
    TEMPLATE_NAME,     /* {/}  */
    TEMPLATE_FOLDER,   /* {//} */
    TEMPLATE_BASENAME, /* {/.} */
    TEMPLATE_NUMBER,   /* {#}  */
    TEMPLATE_SLOT      /* {%}  */
};

struct template_piece {
    enum template_part part;
    int column;           /* of an item: 0 all columns, n the n-th, -n the n-th from the end */
    struct bytes literal; /* into the command line */
};

struct template_word {
    size_t first, count; /* pieces */
};

enum template_quoting {
    TEMPLATE_PLAIN,      /* values as they are, each word on its own */
    TEMPLATE_FOR_SHELL,  /* words joined by spaces into one, values quoted */
    TEMPLATE_SHELL_LINES /* the same, values as they are: each item is itself a command line */
};

struct template
{
    struct template_piece *pieces;
    size_t piece_count;
    struct template_word *words;
    size_t word_count;
    enum template_quoting quoting;
    bool uses_values, uses_slot;
};

/* What a job puts into a template. The values belong to the caller. */
struct template_values {
    const struct bytes *values;
    size_t count;
    uint64_t number; /* from 1 */
    size_t slot;     /* from 1 */
};

/* Words made from a template: text, cut at ends[0..count). Reused from job to job. */
struct words {
    struct buffer text;
    size_t *ends;
    size_t count, capacity;
};

/*
 * Reads a template. `placeholder` is what stands for the item, normally "{}". With `append`, a template that uses no
 * value gets the item as its last word. The words must outlive the template.
 */
void template_parse(struct template *template, char *const *words, size_t count, enum template_quoting quoting,
                    const char *placeholder, bool append);
/* Replaces what is in *words. */
void template_expand(const struct template *template, const struct template_values *values, struct words *words);
/* The same into one text: words with spaces between them, nothing quoted. For tags and file names. */
void template_expand_text(const struct template *template, const struct template_values *values, struct buffer *text);
void template_free(struct template *template);

void words_clear(struct words *words);
void words_free(struct words *words);
struct bytes words_at(const struct words *words, size_t index);

/* True if a single word asks for a shell: it has a space, or a character that a shell treats specially. {} and its
 * kin do not count. */
bool template_wants_shell(const char *word);

/* Appends `value` so that a POSIX shell reads it as one word. */
void quote_for_shell(struct buffer *text, struct bytes value);
/* Appends `value` as a person would type it at a shell: bare if that is safe, on one line always ($'...' for control
 * characters). */
void quote_for_people(struct buffer *text, struct bytes value);

#endif
