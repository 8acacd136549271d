/*
 * Items from streams, lists and combinations of lists; see items.h.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/items.h"

#define READ_BYTES 65536

/* --- streams ------------------------------------------------------------------------------------------------------ */

void reader_init(struct reader *reader, int fd, char delimiter)
{
    *reader = (struct reader){.fd = fd, .delimiter = delimiter};
}

void reader_free(struct reader *reader)
{
    buffer_free(&reader->data);
}

enum item_status reader_next(struct reader *reader, struct bytes *record)
{
    const char *data = (const char *)reader->data.data;
    size_t length = reader->data.length;
    const char *end = NULL;
    if (reader->scanned < length)
        end = memchr(data + reader->scanned, reader->delimiter, length - reader->scanned);
    if (end) {
        *record = (struct bytes){data + reader->start, (size_t)(end - data) - reader->start};
        reader->start = reader->scanned = (size_t)(end - data) + 1;
        return ITEM_READY;
    }
    reader->scanned = length;
    if (!reader->ended)
        return ITEM_WAIT;
    if (reader->start == length)
        return ITEM_END;
    *record = (struct bytes){data + reader->start, length - reader->start};
    reader->start = length;
    return ITEM_READY;
}

enum item_status reader_fill(struct reader *reader)
{
    struct buffer *data = &reader->data;
    if (reader->start > 0) {
        memmove(data->data, data->data + reader->start, data->length - reader->start);
        data->length -= reader->start;
        reader->scanned -= reader->start;
        reader->start = 0;
    }
    if (data->length > RECORD_LIMIT) {
        errno = EMSGSIZE;
        return ITEM_FAILED;
    }
    cli_reserve(data, READ_BYTES);
    ssize_t got = read(reader->fd, data->data + data->length, data->capacity - data->length);
    if (got < 0)
        return errno == EINTR || errno == EAGAIN ? ITEM_WAIT : ITEM_FAILED;
    data->length += (size_t)got;
    reader->ended = got == 0;
    return ITEM_READY;
}

/* --- lists -------------------------------------------------------------------------------------------------------- */

void item_list_add(struct item_list *list, struct bytes item)
{
    if (list->count == list->capacity) {
        list->capacity = list->capacity ? list->capacity * 2 : 16;
        list->items = cli_resize(list->items, list->capacity * sizeof *list->items);
    }
    list->items[list->count++] = item;
}

int item_list_read(struct item_list *list, int fd, char delimiter)
{
    struct buffer all = {0};
    for (;;) {
        cli_reserve(&all, READ_BYTES);
        ssize_t got = read(fd, all.data + all.length, all.capacity - all.length);
        if (got < 0 && errno != EINTR) {
            buffer_free(&all);
            return -1;
        }
        if (got == 0)
            break;
        all.length += got > 0 ? (size_t)got : 0;
    }
    const char *at = (const char *)all.data, *end = at + all.length;
    while (at < end) {
        const char *stop = memchr(at, delimiter, (size_t)(end - at));
        item_list_add(list, (struct bytes){at, (size_t)((stop ? stop : end) - at)});
        at = stop ? stop + 1 : end;
    }
    list->text = (char *)all.data;
    return 0;
}

/* --- combinations ------------------------------------------------------------------------------------------------- */

void product_start(struct product *product)
{
    product->at = cli_resize(NULL, (product->count + 1) * sizeof *product->at);
    memset(product->at, 0, (product->count + 1) * sizeof *product->at);
    product->ended = product_total(product) == 0;
}

bool product_next(struct product *product, struct bytes *values)
{
    if (product->ended)
        return false;
    for (size_t i = 0; i < product->count; i++)
        values[i] = product->lists[i].items[product->at[i]];
    size_t turn = product->count;
    while (turn > 0 && ++product->at[turn - 1] == product->lists[turn - 1].count)
        product->at[--turn] = 0;
    product->ended = turn == 0;
    return true;
}

uint64_t product_total(const struct product *product)
{
    uint64_t total = product->count > 0 ? 1 : 0;
    for (size_t i = 0; i < product->count; i++)
        if (__builtin_mul_overflow(total, (uint64_t)product->lists[i].count, &total))
            total = UINT64_MAX;
    return total;
}

void product_free(struct product *product)
{
    for (size_t i = 0; i < product->count; i++) {
        memory_free(product->lists[i].items);
        memory_free(product->lists[i].text);
    }
    memory_free(product->lists);
    memory_free(product->at);
    *product = (struct product){0};
}

/* --- columns ------------------------------------------------------------------------------------------------------ */

const char *column_separator_parse(struct column_separator *separator, const char *text)
{
    struct buffer pattern = {0};
    *separator = (struct column_separator){.set = true};
    if (*text == '\0')
        return "the separator is empty";
    if (text[1] == '\0' || strcmp(text, "\\t") == 0) {
        separator->literal = true;
        separator->byte = text[1] ? '\t' : *text;
        return NULL;
    }
    for (const char *at = text; *at; at++) {
        bool escaped = *at == '\\' && at[1];
        if (escaped && at[1] == 't')
            cli_append(&pattern, "\t", 1);
        else
            cli_append(&pattern, at, escaped ? 2 : 1);
        at += escaped;
    }
    cli_append(&pattern, "", 1);
    int status = regcomp(&separator->regex, (const char *)pattern.data, REG_EXTENDED);
    buffer_free(&pattern);
    if (status == 0)
        return NULL;
    separator->set = false;
    return "it is not a POSIX extended regular expression";
}

/* The next separator in record[from..): false if there is none. An empty match is none, it would never end. */
static bool find_separator(const struct column_separator *separator, struct bytes record, size_t from, size_t *start,
                           size_t *end)
{
    const char *text = record.data;
    if (separator->literal) {
        const char *found = from < record.length ? memchr(text + from, separator->byte, record.length - from) : NULL;
        if (!found)
            return false;
        *start = (size_t)(found - text);
        *end = *start + 1;
        return true;
    }
    regmatch_t match = {.rm_so = (regoff_t)from, .rm_eo = (regoff_t)record.length};
    if (regexec(&separator->regex, text, 1, &match, REG_STARTEND | (from > 0 ? REG_NOTBOL : 0)) != 0 ||
        match.rm_eo == match.rm_so)
        return false;
    *start = (size_t)match.rm_so;
    *end = (size_t)match.rm_eo;
    return true;
}

void column_separator_cut(const struct column_separator *separator, struct bytes record, struct item_list *columns)
{
    const char *text = record.data;
    size_t from = 0, start, end;
    while (find_separator(separator, record, from, &start, &end)) {
        item_list_add(columns, (struct bytes){text + from, start - from});
        from = end;
    }
    item_list_add(columns, (struct bytes){text + from, record.length - from});
}

void column_separator_free(struct column_separator *separator)
{
    if (separator->set && !separator->literal)
        regfree(&separator->regex);
    separator->set = false;
}
