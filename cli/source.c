/*
 * The jobs' values; see source.h.
 */
#include <ctype.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/source.h"

void source_stream(struct source *source, int fd, const char *name, char delimiter)
{
    source->kind = SOURCE_STREAM;
    source->name = name;
    reader_init(&source->reader, fd, delimiter);
}

void source_blocks(struct source *source, int fd, const char *name, char delimiter, size_t size, size_t records)
{
    source->kind = SOURCE_BLOCKS;
    source->name = name;
    blocks_init(&source->blocks, fd, delimiter, size, records);
}

void source_lists(struct source *source, struct item_list *lists, size_t count)
{
    source->kind = SOURCE_LISTS;
    source->product.lists = lists;
    source->product.count = count;
    product_start(&source->product);
}

void source_free(struct source *source)
{
    reader_free(&source->reader);
    product_free(&source->product);
    blocks_free(&source->blocks);
    column_separator_free(&source->separator);
    buffer_free(&source->text);
    memory_free(source->ends);
    memory_free(source->values);
    memory_free(source->columns.items);
    *source = (struct source){0};
}

int source_fd(const struct source *source)
{
    return source->kind == SOURCE_BLOCKS ? source->blocks.reader.fd : source->reader.fd;
}

enum item_status source_fill(struct source *source)
{
    return source->kind == SOURCE_BLOCKS ? blocks_fill(&source->blocks) : reader_fill(&source->reader);
}

uint64_t source_total(const struct source *source)
{
    if (source->kind != SOURCE_LISTS || source->skip_empty)
        return 0;
    uint64_t items = product_total(&source->product);
    return items / source->items_per_job + (items % source->items_per_job != 0);
}

static bool is_empty(struct bytes item)
{
    const unsigned char *text = item.data;
    for (size_t i = 0; i < item.length; i++)
        if (!isspace(text[i]))
            return false;
    return true;
}

static void add_value(struct source *source, struct bytes value)
{
    if (source->count == source->capacity) {
        source->capacity = source->capacity ? source->capacity * 2 : 16;
        source->ends = cli_resize(source->ends, source->capacity * sizeof *source->ends);
        source->values = cli_resize(source->values, source->capacity * sizeof *source->values);
    }
    cli_append(&source->text, value.data, value.length);
    source->ends[source->count++] = source->text.length;
}

/* One item, as one value or as the columns that it is cut into. */
static void add_item(struct source *source, struct bytes item)
{
    if (!source->separator.set) {
        add_value(source, item);
        return;
    }
    source->columns.count = 0;
    column_separator_cut(&source->separator, item, &source->columns);
    for (size_t i = 0; i < source->columns.count; i++)
        add_value(source, source->columns.items[i]);
}

/* Adds the next item, or combination of items, to the job. */
static enum item_status gather_item(struct source *source)
{
    struct bytes item;
    if (source->kind == SOURCE_STREAM) {
        enum item_status status = reader_next(&source->reader, &item);
        if (status != ITEM_READY)
            return status;
        if (source->skip_empty && is_empty(item))
            return ITEM_READY;
        add_item(source, item);
        source->items++;
        return ITEM_READY;
    }
    struct item_list combination = {0};
    for (size_t i = 0; i < source->product.count; i++)
        item_list_add(&combination, (struct bytes){NULL, 0});
    bool more = product_next(&source->product, combination.items);
    bool empty = source->skip_empty;
    for (size_t i = 0; more && empty && i < source->product.count; i++)
        empty = is_empty(combination.items[i]);
    for (size_t i = 0; more && !empty && i < source->product.count; i++)
        add_item(source, combination.items[i]);
    memory_free(combination.items);
    source->items += more && !empty;
    return more ? ITEM_READY : ITEM_END;
}

enum item_status source_next(struct source *source, struct template_values *values, struct buffer *block)
{
    values->values = NULL;
    values->count = 0;
    if (source->kind == SOURCE_BLOCKS)
        return blocks_next(&source->blocks, block);

    enum item_status status = ITEM_READY;
    while (source->items < source->items_per_job && (status = gather_item(source)) == ITEM_READY)
        ;
    if (status == ITEM_WAIT || status == ITEM_FAILED || source->items == 0)
        return status;
    size_t start = 0;
    for (size_t i = 0; i < source->count; i++) {
        /* An empty text has no memory. */
        const char *text = source->text.data ? (const char *)source->text.data + start : "";
        source->values[i] = (struct bytes){text, source->ends[i] - start};
        start = source->ends[i];
    }
    values->values = source->values;
    values->count = source->count;
    /* The views stay valid: the next call overwrites the text. */
    source->items = source->count = source->text.length = 0;
    return ITEM_READY;
}
