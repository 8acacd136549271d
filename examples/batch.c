/*
 * A batch over files: a checksum for each file named on the command line, printed in the order given, on all cores.
 *
 *     batch FILE...
 *
 * A file that cannot be read is one failed item: it is reported, the others go on, and the exit status is 1.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <muster.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* FNV-1a, 64 bits. */
static int checksum(muster_task *task)
{
    static unsigned char block[1 << 16];
    const void *name;
    size_t size;
    char path[4096];
    int status = muster_arg_bytes(task, 0, &name, &size);
    if (status != 0)
        return status;
    snprintf(path, sizeof path, "%.*s", (int)size, (const char *)name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return muster_fail(task, "OSError", "%s: %s", path, strerror(errno));
    uint64_t hash = UINT64_C(14695981039346656037);
    ssize_t got;
    while ((got = read(fd, block, sizeof block)) > 0)
        for (ssize_t i = 0; i < got; i++)
            hash = (hash ^ block[i]) * UINT64_C(1099511628211);
    int error = errno;
    close(fd);
    if (got < 0)
        return muster_fail(task, "OSError", "%s: %s", path, strerror(error));
    char text[17];
    snprintf(text, sizeof text, "%016" PRIx64, hash);
    return muster_return_string(task, text);
}

/* The generator: the next name from the command line. */
static int next_name(muster_value *item, void *arg)
{
    char ***names = arg;
    if (!**names)
        return 0;
    *item = muster_bytes(**names, strlen(**names)); /* a name need not be UTF-8 */
    (*names)++;
    return 1;
}

int main(int argc, char **argv)
{
    static const muster_function functions[] = {{"checksum", checksum}, {0}};
    muster_init(argc, argv, functions);
    muster_pool *pool;
    muster_iterator *iterator;
    char **names = argv + 1;
    if (muster_pool_open(&pool, "local:", NULL) != 0 ||
        muster_imap(pool, "checksum", next_name, &names, NULL, &iterator) != 0) {
        fprintf(stderr, "%s\n", muster_last_error());
        return 1;
    }
    muster_item item;
    int failures = 0, status;
    while ((status = muster_next(iterator, MUSTER_FOREVER, &item)) == 1) {
        if (item.error) {
            fprintf(stderr, "%s\n", item.error->message);
            failures++;
        } else {
            printf("%.*s  %s\n", (int)item.value->size, (const char *)item.value->data, argv[1 + item.index]);
        }
    }
    muster_iterator_free(iterator);
    muster_pool_free(pool);
    return status || failures ? 1 : 0;
}
