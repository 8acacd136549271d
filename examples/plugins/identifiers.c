/*
 * A plugin with one function, "identifiers": counts the identifiers in some files.
 *
 *   argument   an array of paths, each as bytes (a path need not be UTF-8)
 *   result     bytes: the table of ../identifiers.h, which the caller merges with others
 *
 * A task is a batch of files and not one file, so that a table is handed over once for many of them.
 */
#include <msgpack.h>
#include <muster.h>

#include "../identifiers.h"

/* Counts in each file of the batch, or says why not. */
static int count_batch(muster_task *task, struct identifier_table *table, const msgpack_object *paths)
{
    char path[4096];
    for (uint32_t i = 0; i < paths->via.array.size; i++) {
        const msgpack_object *name = &paths->via.array.ptr[i];
        if (name->type != MSGPACK_OBJECT_BIN || name->via.bin.size >= sizeof path)
            return muster_fail(task, "BadArgument", "path %u is not bytes, or too long", i);
        if (muster_cancelled(task))
            return MUSTER_ECANCELED;
        memcpy(path, name->via.bin.ptr, name->via.bin.size);
        path[name->via.bin.size] = '\0';
        if (!identifiers_scan_file(table, path))
            return muster_fail(task, "OutOfMemory", "while counting in %s", path);
    }
    return 0;
}

static int return_table(muster_task *task, const struct identifier_table *table)
{
    size_t size;
    unsigned char *bytes = identifiers_write(table, &size);
    if (!bytes)
        return muster_fail(task, "OutOfMemory", "no room for a table of %zu identifiers", table->used);
    int status = muster_return_bytes(task, bytes, size);
    free(bytes);
    return status;
}

static int identifiers(muster_task *task)
{
    muster_value batch;
    msgpack_unpacked paths;
    int status = muster_arg(task, 0, &batch);
    if (status != 0)
        return status;
    msgpack_unpacked_init(&paths);
    struct identifier_table table = {0};
    if (batch.type != MUSTER_TYPE_MSGPACK ||
        msgpack_unpack_next(&paths, batch.data, batch.size, NULL) != MSGPACK_UNPACK_SUCCESS ||
        paths.data.type != MSGPACK_OBJECT_ARRAY)
        status = muster_fail(task, "BadArgument", "the argument is not an array of paths");
    if (status == 0)
        status = count_batch(task, &table, &paths.data);
    if (status == 0)
        status = return_table(task, &table);
    identifiers_free(&table);
    msgpack_unpacked_destroy(&paths);
    return status;
}

static const muster_function functions[] = {{"identifiers", identifiers}, {0}};
MUSTER_PLUGIN(functions);
