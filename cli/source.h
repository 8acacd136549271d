/*
 * What the jobs of `muster map` are made of, one after the other: the values of each job's items, or a block of
 * standard input. Streams (items.h, blocks.h), lists and their combinations, -n and --colsep all end in source_next().
 */
#ifndef CLI_SOURCE_H
#define CLI_SOURCE_H

#include "cli/blocks.h"
#include "cli/items.h"
#include "cli/template.h"

enum source_kind { SOURCE_STREAM, SOURCE_LISTS, SOURCE_BLOCKS };

struct source {
    enum source_kind kind;
    struct reader reader;
    struct product product;
    struct blocks blocks;
    struct column_separator separator;
    size_t items_per_job;
    bool skip_empty;  /* items of nothing but white space are none */
    const char *name; /* of the stream, for messages */

    /* The job being put together. */
    size_t items;             /* gathered so far */
    struct buffer text;       /* their bytes */
    size_t *ends;             /* of each value in text */
    struct bytes *values;     /* the same as views, made when the job is complete */
    size_t count, capacity;   /* values */
    struct item_list columns; /* scratch */
};

void source_stream(struct source *source, int fd, const char *name, char delimiter);
void source_blocks(struct source *source, int fd, const char *name, char delimiter, size_t size, size_t records);
/* The lists are added to source->product.lists before; takes them over. */
void source_lists(struct source *source, struct item_list *lists, size_t count);
void source_free(struct source *source);

/* The values of the next job; views until the next call. For blocks the values are none and *block is filled.
 * ITEM_WAIT: poll source_fd(), then source_fill(). */
enum item_status source_next(struct source *source, struct template_values *values, struct buffer *block);
int source_fd(const struct source *source);
enum item_status source_fill(struct source *source);

/* The number of jobs, or 0 while it is not known. */
uint64_t source_total(const struct source *source);

#endif
