/*
 * The hand-over from supervisor to worker, written and read from one table of keys.
 */
#include "workers/launch.h"

#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/errors.h"
#include "core/pack.h"
#include "core/unpack.h"
#include "workers/spawn.h"

#define LAUNCH_VERSION 1
#define LAUNCH_BYTES_MAX (64 * 1024 * 1024)

enum kind { KIND_NUMBER, KIND_STRING, KIND_STRINGS, KIND_BYTES, KIND_KEY };

static const struct row {
    const char *key;
    enum kind kind;
    size_t offset;
} rows[] = {
    {"url", KIND_STRING, offsetof(struct launch, url)},
    {"authkey", KIND_KEY, offsetof(struct launch, authkey)},
    {"identity", KIND_NUMBER, offsetof(struct launch, identity)},
    {"group", KIND_NUMBER, offsetof(struct launch, group)},
    {"slot", KIND_NUMBER, offsetof(struct launch, slot)},
    {"host", KIND_STRING, offsetof(struct launch, host)},
    {"page", KIND_NUMBER, offsetof(struct launch, page_fd)},
    {"lifeline", KIND_NUMBER, offsetof(struct launch, lifeline_fd)},
    {"supervisor", KIND_NUMBER, offsetof(struct launch, supervisor)},
    {"directory", KIND_STRING, offsetof(struct launch, directory)},
    {"plugin", KIND_STRINGS, offsetof(struct launch, plugins)},
    {"label", KIND_STRINGS, offsetof(struct launch, labels)},
    {"exec", KIND_NUMBER, offsetof(struct launch, exec)},
    {"initializer", KIND_STRING, offsetof(struct launch, initializer)},
    {"initializer_encoding", KIND_NUMBER, offsetof(struct launch, initializer_encoding)},
    {"initializer_args", KIND_BYTES, offsetof(struct launch, initializer_args)},
    {"max_tasks", KIND_NUMBER, offsetof(struct launch, max_tasks)},
    {"memory_limit", KIND_NUMBER, offsetof(struct launch, memory_limit)},
    {"log_level", KIND_NUMBER, offsetof(struct launch, log_level)},
    {"trial", KIND_NUMBER, offsetof(struct launch, trial)},
};
#define ROWS (sizeof rows / sizeof *rows)

/* --- writing ------------------------------------------------------------------------------------------------------ */

struct writer {
    struct buffer buffer;
    size_t pairs;
    int status;
};

/* Room for a key and a value with so much content; NULL once memory ran out. */
static unsigned char *begin(struct writer *writer, const char *key, size_t content)
{
    size_t room = 2 * PACK_HEAD_BYTES + strlen(key) + content;
    if (writer->status == 0)
        writer->status = buffer_reserve(&writer->buffer, room);
    if (writer->status != 0)
        return NULL;
    writer->pairs++;
    return pack_text(writer->buffer.data + writer->buffer.length, bytes_string(key));
}

static void end(struct writer *writer, const unsigned char *at)
{
    writer->buffer.length = (size_t)(at - writer->buffer.data);
}

static void put_number(struct writer *writer, const char *key, uint64_t value)
{
    unsigned char *at = begin(writer, key, 0);
    if (at)
        end(writer, pack_uint(at, value));
}

static void put_string(struct writer *writer, const char *key, const char *text)
{
    struct bytes bytes = bytes_string(text);
    unsigned char *at = begin(writer, key, bytes.length);
    if (at)
        end(writer, pack_text(at, bytes));
}

static void put_bytes(struct writer *writer, const char *key, struct bytes bytes)
{
    unsigned char *at = begin(writer, key, bytes.length);
    if (at)
        end(writer, pack_data(at, bytes));
}

static void put_row(struct writer *writer, const struct launch *launch, const struct row *row)
{
    const void *field = (const char *)launch + row->offset;
    const struct authkey *key = field;
    switch (row->kind) {
    case KIND_NUMBER: put_number(writer, row->key, *(const uint64_t *)field); break;
    case KIND_STRING: put_string(writer, row->key, *(const char *const *)field); break;
    case KIND_BYTES: put_bytes(writer, row->key, *(const struct bytes *)field); break;
    case KIND_KEY: put_bytes(writer, row->key, (struct bytes){key->bytes, key->length}); break;
    case KIND_STRINGS:
        for (const char *const *one = *(const char *const *const *)field; one && *one; one++)
            put_string(writer, row->key, *one);
        break;
    }
}

static int store(struct bytes head, struct bytes body, int *fd)
{
    *fd = spawn_lift(memfd_create("muster-worker", MFD_CLOEXEC));
    if (*fd < 0)
        return error_errno("cannot make the file that tells a worker what to do");
    if (pwrite(*fd, head.data, head.length, 0) == (ssize_t)head.length &&
        pwrite(*fd, body.data, body.length, (off_t)head.length) == (ssize_t)body.length)
        return 0;
    int status = error_errno("cannot write the file that tells a worker what to do");
    close(*fd);
    return status;
}

int launch_write(const struct launch *launch, int *fd)
{
    unsigned char head[PACK_HEAD_BYTES];
    struct writer writer = {.status = 0};
    put_number(&writer, "muster", LAUNCH_VERSION);
    for (size_t i = 0; i < ROWS; i++)
        put_row(&writer, launch, &rows[i]);
    int status = writer.status != 0 ? error_memory() : 0;
    if (status == 0) {
        size_t head_length = (size_t)(pack_array(head, 2 * writer.pairs) - head);
        status = store((struct bytes){head, head_length}, bytes_of(&writer.buffer), fd);
    }
    if (writer.buffer.data)
        explicit_bzero(writer.buffer.data, writer.buffer.length);
    buffer_free(&writer.buffer);
    return status;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static int malformed(void)
{
    return error_set(MUSTER_EPROTOCOL, "what " LAUNCH_VARIABLE " names is not from a supervisor of muster's");
}

struct launch_memory {
    struct launch_memory *next;
    max_align_t content[];
};

/* Memory that lives as long as what was read. */
static void *keep(struct launch *launch, size_t size)
{
    struct launch_memory *memory = memory_alloc(sizeof *memory + size);
    if (!memory)
        return NULL;
    memory->next = launch->memory;
    launch->memory = memory;
    return memory->content;
}

static int take_string(struct bytes *input, struct launch *launch, const char **text)
{
    struct bytes value;
    if (!unpack_text(input, &value))
        return malformed();
    char *copy = keep(launch, value.length + 1);
    if (!copy)
        return error_memory();
    if (value.length > 0)
        memcpy(copy, value.data, value.length);
    copy[value.length] = '\0';
    *text = copy;
    return 0;
}

static int take_strings(struct bytes *input, struct launch *launch, const char *const **list)
{
    const char *text;
    size_t count = 0;
    int status = take_string(input, launch, &text);
    if (status != 0)
        return status;
    while ((*list)[count])
        count++;
    const char **longer = keep(launch, (count + 2) * sizeof *longer);
    if (!longer)
        return error_memory();
    memcpy(longer, *list, count * sizeof *longer);
    longer[count] = text;
    longer[count + 1] = NULL;
    *list = longer;
    return 0;
}

static int take_bytes(struct bytes *input, struct bytes *bytes)
{
    return unpack_data(input, bytes) ? 0 : malformed();
}

static int take_key(struct bytes *input, struct authkey *key)
{
    struct bytes bytes;
    if (!unpack_data(input, &bytes) || bytes.length > sizeof key->bytes)
        return malformed();
    if (bytes.length > 0)
        memcpy(key->bytes, bytes.data, bytes.length);
    key->length = bytes.length;
    return 0;
}

static int take_row(struct bytes *input, struct launch *launch, const struct row *row)
{
    void *field = (char *)launch + row->offset;
    switch (row->kind) {
    case KIND_NUMBER: return unpack_uint(input, field) ? 0 : malformed();
    case KIND_STRING: return take_string(input, launch, field);
    case KIND_STRINGS: return take_strings(input, launch, field);
    case KIND_BYTES: return take_bytes(input, field);
    case KIND_KEY: return take_key(input, field);
    }
    return malformed();
}

/* A key that this version does not know is stepped over: a newer supervisor may say more. */
static int take_pair(struct bytes *input, struct launch *launch)
{
    struct bytes key, value;
    if (!unpack_text(input, &key))
        return malformed();
    for (size_t i = 0; i < ROWS; i++)
        if (bytes_equal(key, bytes_string(rows[i].key)))
            return take_row(input, launch, &rows[i]);
    return unpack_any(input, &value) ? 0 : malformed();
}

static int parse(struct bytes input, struct launch *launch)
{
    size_t count;
    struct bytes key;
    uint64_t version;
    if (!unpack_array(&input, &count) || count % 2 != 0 || count < 2 || !unpack_text(&input, &key) ||
        !bytes_equal(key, bytes_string("muster")) || !unpack_uint(&input, &version))
        return malformed();
    if (version != LAUNCH_VERSION)
        return error_set(MUSTER_EVERSION,
                         "the supervisor starts workers by version %u of its rules, this program knows %d: "
                         "use programs of one release",
                         (unsigned)version, LAUNCH_VERSION);
    for (size_t i = 1; i < count / 2; i++) {
        int status = take_pair(&input, launch);
        if (status != 0)
            return status;
    }
    return input.length == 0 ? 0 : malformed();
}

void launch_free(struct launch *launch)
{
    while (launch->memory) {
        struct launch_memory *memory = launch->memory;
        launch->memory = memory->next;
        memory_free(memory);
    }
}

static int read_all(int fd, struct launch *launch)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return error_errno(LAUNCH_VARIABLE " names descriptor %d", fd);
    if (!S_ISREG(info.st_mode) || info.st_size > LAUNCH_BYTES_MAX)
        return malformed();
    size_t length = (size_t)info.st_size;
    void *data = keep(launch, length);
    if (!data)
        return error_memory();
    if (pread(fd, data, length, 0) != (ssize_t)length)
        return error_errno("cannot read descriptor %d", fd);
    close(fd);
    return parse((struct bytes){data, length}, launch);
}

int launch_read(int fd, struct launch *launch)
{
    static const char *const none[] = {NULL};
    *launch =
        (struct launch){.url = "", .host = "", .directory = "", .initializer = "", .plugins = none, .labels = none};
    int status = read_all(fd, launch);
    if (status != 0)
        launch_free(launch);
    return status;
}
