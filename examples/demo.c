/*
 * The demo: counts the identifiers in every file below /usr/include (or a directory given), on all cores and then
 * alone.
 *
 *     muster-demo [DIRECTORY]
 *
 * The files are cut into batches, the workers count with the plugin plugins/identifiers.c, and the tables are merged in
 * the order in which they arrive (muster_imap_unordered). Then the same count is done in this process, one file after
 * the other, and both must agree: the exit status is 1 if they do not.
 */
#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <msgpack.h>
#include <muster.h>
#include <stdio.h>
#include <time.h>

#include "identifiers.h"

#define TOP 20
#define BATCHES_PER_WORKER 24
#define BATCH_BYTES_MIN (128 * 1024)
#define BATCH_BYTES_MAX (8 * 1024 * 1024)
#define BATCH_FILES_MAX 4096

/* The files to count in. nftw() gives its callback no argument of the caller's, so there is one list. */
static struct {
    char **paths;
    uint64_t *sizes;
    size_t count, capacity;
    uint64_t bytes;
    bool out_of_memory;
} files;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static int list_entry(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)place;
    if (kind == FTW_DNR)
        fprintf(stderr, "%s: cannot be read, left out\n", path);
    if (kind != FTW_F || !S_ISREG(info->st_mode))
        return 0;
    if (files.count == files.capacity) {
        size_t capacity = files.capacity ? files.capacity * 2 : 1024;
        char **paths = realloc(files.paths, capacity * sizeof *paths);
        uint64_t *sizes = paths ? realloc(files.sizes, capacity * sizeof *sizes) : NULL;
        files.paths = paths ? paths : files.paths;
        files.sizes = sizes ? sizes : files.sizes;
        files.out_of_memory = !sizes;
        if (!sizes)
            return 1;
        files.capacity = capacity;
    }
    files.sizes[files.count] = (uint64_t)info->st_size;
    files.paths[files.count] = strdup(path);
    files.out_of_memory = !files.paths[files.count];
    if (files.out_of_memory)
        return 1;
    files.count++;
    files.bytes += (uint64_t)info->st_size;
    return 0;
}

/* Reads everything once, so that neither of the two counts pays for the disk. */
static void warm(void)
{
    static char block[1 << 20];
    for (size_t i = 0; i < files.count; i++) {
        int fd = open(files.paths[i], O_RDONLY | O_CLOEXEC);
        while (fd >= 0 && read(fd, block, sizeof block) > 0)
            continue;
        if (fd >= 0)
            close(fd);
    }
}

/* --- on all cores ------------------------------------------------------------------------------------------------- */

/* The generator's place in the list, and the batch that it has made last. */
struct batches {
    size_t next;
    uint64_t bytes; /* of a batch */
    msgpack_sbuffer packed;
};

static int next_batch(muster_value *item, void *arg)
{
    struct batches *batches = arg;
    size_t first = batches->next, count = 0;
    uint64_t bytes = 0;
    while (first + count < files.count && count < BATCH_FILES_MAX && (count == 0 || bytes < batches->bytes))
        bytes += files.sizes[first + count++];
    if (count == 0)
        return 0;
    msgpack_packer packer;
    msgpack_packer_init(&packer, &batches->packed, msgpack_sbuffer_write);
    msgpack_sbuffer_clear(&batches->packed);
    msgpack_pack_array(&packer, count);
    for (size_t i = first; i < first + count; i++) {
        size_t length = strlen(files.paths[i]);
        if (msgpack_pack_bin(&packer, length) != 0 || msgpack_pack_bin_body(&packer, files.paths[i], length) != 0)
            return MUSTER_ENOMEM;
    }
    batches->next += count;
    *item = muster_msgpack(batches->packed.data, batches->packed.size);
    return 1;
}

static void show_progress(const struct identifier_table *table, double start, bool last)
{
    static double shown;
    if (!isatty(STDERR_FILENO) || (!last && now() - shown < 0.1))
        return;
    shown = now();
    fprintf(stderr, "\r%" PRIu64 " of %zu files, %.0f %%, %.0f MB/s ", table->files + table->unreadable, files.count,
            files.bytes ? 100.0 * (double)table->bytes / (double)files.bytes : 100.0,
            (double)table->bytes / 1e6 / (shown - start));
    if (last)
        fputc('\n', stderr);
}

static int merge_all(muster_iterator *iterator, struct identifier_table *table, double start)
{
    muster_item item;
    int status;
    while ((status = muster_next(iterator, MUSTER_FOREVER, &item)) == 1) {
        if (item.error) {
            fprintf(stderr, "\nbatch %" PRIu64 ": %s: %s\n", item.index, item.error->kind, item.error->message);
            return item.error->status;
        }
        if (!identifiers_merge(table, item.value->data, item.value->size))
            return MUSTER_ENOMEM;
        show_progress(table, start, false);
    }
    show_progress(table, start, true);
    return status;
}

/* The plugin stands beside this program. */
static const char *plugin_path(void)
{
    static char path[4096];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - sizeof "identifiers.so");
    char *name = length > 0 ? memrchr(path, '/', (size_t)length) : NULL;
    strcpy(name ? name + 1 : path, "identifiers.so");
    return path;
}

/* Counts with a pool; *workers and *seconds say how. */
static int count_pooled(struct identifier_table *table, int *workers, double *seconds)
{
    const char *const plugins[] = {plugin_path(), NULL};
    muster_pool_options options = {.plugins = plugins};
    muster_pool *pool;
    double start = now();
    int status = muster_pool_open(&pool, "local:", &options);
    if (status != 0)
        return status;
    struct batches batches = {.bytes = files.bytes / (BATCHES_PER_WORKER * (uint64_t)sysconf(_SC_NPROCESSORS_ONLN))};
    batches.bytes = batches.bytes < BATCH_BYTES_MIN   ? BATCH_BYTES_MIN
                    : batches.bytes > BATCH_BYTES_MAX ? BATCH_BYTES_MAX
                                                      : batches.bytes;
    msgpack_sbuffer_init(&batches.packed);
    muster_iterator *iterator;
    status = muster_imap_unordered(pool, "identifiers", next_batch, &batches, NULL, &iterator);
    if (status == 0) {
        status = merge_all(iterator, table, start);
        muster_iterator_free(iterator);
    }
    *workers = muster_pool_workers(pool);
    muster_pool_free(pool);
    msgpack_sbuffer_destroy(&batches.packed);
    *seconds = now() - start;
    return status;
}

/* --- alone, and the comparison ------------------------------------------------------------------------------------ */

static bool count_serially(struct identifier_table *table, double *seconds)
{
    double start = now();
    for (size_t i = 0; i < files.count; i++)
        if (!identifiers_scan_file(table, files.paths[i]))
            return false;
    *seconds = now() - start;
    return true;
}

static uint64_t total(const struct identifier_table *table)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < table->size; i++)
        sum += table->slots[i].text ? table->slots[i].count : 0;
    return sum;
}

static bool agree(const struct identifier_table *a, const struct identifier_table *b)
{
    if (a->used != b->used || a->bytes != b->bytes || a->files != b->files || a->unreadable != b->unreadable)
        return false;
    for (size_t i = 0; i < a->size; i++) {
        const struct identifier *slot = &a->slots[i];
        if (slot->text && identifiers_find(b, slot->text, slot->length, slot->hash)->count != slot->count)
            return false;
    }
    return true;
}

static int by_count(const void *a, const void *b)
{
    const struct identifier *left = a, *right = b;
    if (left->count != right->count)
        return left->count < right->count ? 1 : -1;
    uint32_t shorter = left->length < right->length ? left->length : right->length;
    int order = memcmp(left->text, right->text, shorter);
    return order ? order : (left->length > right->length) - (left->length < right->length);
}

static bool print_top(const struct identifier_table *table)
{
    struct identifier *sorted = malloc((table->used + 1) * sizeof *sorted);
    size_t count = 0;
    if (!sorted)
        return false;
    for (size_t i = 0; i < table->size; i++)
        if (table->slots[i].text)
            sorted[count++] = table->slots[i];
    qsort(sorted, count, sizeof *sorted, by_count);
    for (size_t i = 0; i < count && i < TOP; i++)
        printf("%10" PRIu64 "  %.*s\n", sorted[i].count, (int)sorted[i].length, sorted[i].text);
    free(sorted);
    return true;
}

static int fail(const char *what, const char *why)
{
    fprintf(stderr, "muster-demo: %s: %s\n", what, why);
    return 1;
}

static int run(const char *directory)
{
    struct identifier_table pooled = {0}, serial = {0};
    double pooled_seconds, serial_seconds;
    int workers = 0;
    warm();
    if (count_pooled(&pooled, &workers, &pooled_seconds) != 0)
        return fail(directory, muster_last_error());
    if (!count_serially(&serial, &serial_seconds) || !print_top(&pooled))
        return fail(directory, "memory ran out");
    printf("%" PRIu64 " files, %" PRIu64 " bytes, %" PRIu64 " identifiers, %zu of them different\n", pooled.files,
           pooled.bytes, total(&pooled), pooled.used);
    if (pooled.unreadable)
        printf("%" PRIu64 " files could not be read\n", pooled.unreadable);
    printf("pool of %d workers: %.2f s; serially: %.2f s; %.2f times as fast\n", workers, pooled_seconds,
           serial_seconds, serial_seconds / pooled_seconds);
    bool same = agree(&pooled, &serial);
    puts(same ? "both counts agree" : "THE COUNTS DIFFER");
    identifiers_free(&pooled);
    identifiers_free(&serial);
    return same ? 0 : 1;
}

int main(int argc, char **argv)
{
    const char *directory = argc > 1 ? argv[1] : "/usr/include";
    if (argc > 2 || directory[0] == '-') {
        fprintf(stderr, "usage: muster-demo [DIRECTORY]\n");
        return 2;
    }
    if (access(directory, R_OK | X_OK) != 0)
        return fail(directory, strerror(errno));
    nftw(directory, list_entry, 64, FTW_PHYS);
    if (files.out_of_memory)
        return fail(directory, "memory ran out");
    int status = run(directory);
    for (size_t i = 0; i < files.count; i++)
        free(files.paths[i]);
    free(files.paths);
    free(files.sizes);
    return status;
}
