/*
 * Where the items of `muster map` come from: records of a stream (lines, or ended by another byte), the words after
 * `:::`, the lines of files after `::::`, and every combination when there are several such lists.
 *
 * A stream is read as far as it is asked for, however long it is; nothing here waits. When a record is not complete
 * yet, the caller polls the descriptor and calls reader_fill().
 */
#ifndef CLI_ITEMS_H
#define CLI_ITEMS_H

#include <regex.h>

#include "core/buffer.h"

/* The longest record. One argument of a command can hold 128 KiB on Linux; columns of a longer line may still fit. */
#define RECORD_LIMIT (16 * 1024 * 1024)

enum item_status {
    ITEM_READY,
    ITEM_WAIT, /* the stream has not given a whole record yet */
    ITEM_END,
    ITEM_FAILED /* errno says why; EMSGSIZE: a record over the limit */
};

/* Records of a descriptor. The descriptor belongs to the caller. */
struct reader {
    int fd;
    char delimiter;
    bool ended;
    size_t start, scanned; /* data from start is not given out yet; up to scanned it holds no delimiter */
    struct buffer data;
};

void reader_init(struct reader *reader, int fd, char delimiter);
/* The next record, without its delimiter; a view until the next reader_fill(). What the stream ends with is a record
 * also without delimiter. */
enum item_status reader_next(struct reader *reader, struct bytes *record);
/* One read(2). ITEM_READY: something came, or the end. ITEM_WAIT: interrupted. */
enum item_status reader_fill(struct reader *reader);
void reader_free(struct reader *reader);

/* A list of items; the text of those that were read from a file belongs to it. */
struct item_list {
    struct bytes *items;
    size_t count, capacity;
    char *text;
};

void item_list_add(struct item_list *list, struct bytes item);
/* All records of a descriptor, waiting for them; -1 with errno. */
int item_list_read(struct item_list *list, int fd, char delimiter);

/* All combinations of several lists, the last list running fastest. Zero lists have none. */
struct product {
    struct item_list *lists;
    size_t count;
    size_t *at; /* position in each list */
    bool ended;
};

void product_start(struct product *product); /* when all lists are there */
/* Appends one value of each list to `values` (room for product->count); false at the end. */
bool product_next(struct product *product, struct bytes *values);
/* How many combinations; UINT64_MAX if that does not fit. */
uint64_t product_total(const struct product *product);
void product_free(struct product *product);

/* --colsep: how a record is cut into columns. */
struct column_separator {
    bool set, literal;
    char byte;     /* the separator if literal */
    regex_t regex; /* else */
};

/* A single character stands for itself; anything else is a POSIX extended regular expression in which \t is a tab.
 * NULL, or a sentence that says what is wrong (static). */
const char *column_separator_parse(struct column_separator *separator, const char *text);
/* Appends the columns of `record` (views) to the list. */
void column_separator_cut(const struct column_separator *separator, struct bytes record, struct item_list *columns);
void column_separator_free(struct column_separator *separator);

#endif
