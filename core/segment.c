/*
 * Shared-memory segments. Their names come from other processes, so a name is checked before anything is opened or
 * removed by it.
 *
 * A segment is written by write() and never through a mapping: on a full /dev/shm a store into a mapping would be a
 * SIGBUS, this way it is an error. It is also the faster way, because the kernel neither clears pages that it is about
 * to fill nor takes a page fault for each.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "core/errors.h"
#include "core/segment.h"

#define SHM_DIRECTORY "/dev/shm"
#define NAME_PREFIX "/muster-"
#define PREFAULT_BYTES (4 * 1024 * 1024)

/* The numbers in a segment's name. */
struct segment_name {
    uint64_t namespace_id, owner_pid, owner_start, random;
};

static uint64_t own_namespace(void)
{
    struct stat info;
    return stat("/proc/self/ns/pid", &info) == 0 ? (uint64_t)info.st_ino : 0;
}

/* When a process was started, in clock ticks since the boot; 0 if there is no such process. A zombie has ended. */
static uint64_t process_start(uint64_t pid)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%" PRIu64 "/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    if (length <= 0)
        return 0;
    text[length] = '\0';
    const char *at = strrchr(text, ')'); /* the program's name may hold anything, also blanks and brackets */
    if (!at || at[1] != ' ' || at[2] == 'Z' || at[2] == 'X')
        return 0;
    for (int field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    return at ? strtoull(at, NULL, 10) : 0;
}

/* The same, read only once for as long as a process lives: a worker puts one result after the other into segments of
 * the same client, and the client its arguments into its own. What tells that it is still that process, at a tenth of
 * the cost, is the number of its directory in /proc, which is never given to another one. */
static uint64_t owner_start(uint64_t pid)
{
    static _Thread_local struct {
        uint64_t pid, start;
        ino_t directory;
    } latest;
    char path[64];
    struct stat info;
    snprintf(path, sizeof path, "/proc/%" PRIu64, pid);
    if (stat(path, &info) != 0)
        return 0;
    if (latest.start == 0 || latest.pid != pid || latest.directory != info.st_ino) {
        latest.start = process_start(pid);
        latest.pid = pid;
        latest.directory = info.st_ino;
    }
    return latest.start;
}

static int name_make(char out[SEGMENT_NAME_BYTES], uint64_t owner_pid)
{
    struct segment_name name = {
        .namespace_id = own_namespace(), .owner_pid = owner_pid, .owner_start = owner_start(owner_pid)};
    if (name.owner_start == 0)
        return error_set(MUSTER_ESYSTEM, "no process %" PRIu64 " can own a shared-memory segment", owner_pid);
    if (getrandom(&name.random, sizeof name.random, 0) != sizeof name.random)
        return error_errno("cannot read random bytes from the kernel");
    snprintf(out, SEGMENT_NAME_BYTES, NAME_PREFIX "%" PRIx64 "-%" PRIx64 "-%" PRIx64 "-%" PRIx64, name.namespace_id,
             name.owner_pid, name.owner_start, name.random);
    return 0;
}

/* One hexadecimal number and the separator after it. */
static bool parse_part(const char **at, char end, uint64_t *value)
{
    size_t digits = strspn(*at, "0123456789abcdef");
    if (digits == 0 || digits > 16 || (*at)[digits] != end)
        return false;
    *value = strtoull(*at, NULL, 16);
    *at += digits + 1;
    return true;
}

/* Copies and checks a name. */
static bool name_parse(struct bytes text, char out[SEGMENT_NAME_BYTES], struct segment_name *name)
{
    const size_t prefix = strlen(NAME_PREFIX);
    if (text.length <= prefix || text.length >= SEGMENT_NAME_BYTES || memcmp(text.data, NAME_PREFIX, prefix) != 0 ||
        memchr(text.data, '\0', text.length))
        return false;
    memcpy(out, text.data, text.length);
    out[text.length] = '\0';
    const char *at = out + prefix;
    return parse_part(&at, '-', &name->namespace_id) && parse_part(&at, '-', &name->owner_pid) &&
           parse_part(&at, '-', &name->owner_start) && parse_part(&at, '\0', &name->random);
}

int segment_domain(char *out, size_t size)
{
    char boot[40] = "";
    struct stat directory;
    out[0] = '\0';
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t length = fd >= 0 ? read(fd, boot, 36) : -1;
    if (fd >= 0)
        close(fd);
    uint64_t namespace_id = own_namespace();
    if (length != 36 || namespace_id == 0 || process_start((uint64_t)getpid()) == 0 ||
        stat(SHM_DIRECTORY, &directory) != 0 || access(SHM_DIRECTORY, R_OK | W_OK | X_OK) != 0)
        return 0;
    int written = snprintf(out, size, "%s:%" PRIx64 ":%" PRIx64 ":%u", boot, (uint64_t)directory.st_dev, namespace_id,
                           (unsigned)geteuid());
    if (written >= 0 && (size_t)written < size)
        return 0;
    out[0] = '\0';
    return MUSTER_ELIMIT;
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static int writer_start(struct segment_writer *writer, struct segment *segment, int flags)
{
    writer->segment = segment;
    writer->error = 0;
    writer->gathered = 0;
    writer->fd = shm_open(segment->name, O_WRONLY | O_CLOEXEC | flags, 0600);
    return writer->fd >= 0 ? 0 : error_errno("cannot open a shared-memory segment for writing");
}

int segment_write_new(struct segment_writer *writer, struct segment *segment, uint64_t owner_pid)
{
    *segment = (struct segment){0};
    int status = name_make(segment->name, owner_pid);
    if (status == 0)
        status = writer_start(writer, segment, O_CREAT | O_EXCL);
    if (status != 0)
        segment->name[0] = '\0';
    return status;
}

int segment_write_over(struct segment_writer *writer, struct segment *segment)
{
    segment_unmap(segment);
    int status = writer_start(writer, segment, 0);
    if (status != 0)
        segment_remove(segment);
    return status;
}

/* What is gathered, and a long piece after it. */
static void write_out(struct segment_writer *writer, struct bytes piece)
{
    struct iovec parts[2] = {{writer->buffer, writer->gathered}, {(void *)(uintptr_t)piece.data, piece.length}};
    writer->gathered = 0;
    while (writer->error == 0 && parts[0].iov_len + parts[1].iov_len > 0) {
        ssize_t written = writev(writer->fd, parts, 2);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            writer->error = written < 0 ? errno : ENOSPC;
        for (int i = 0; i < 2 && written > 0; i++) {
            size_t part = (size_t)written < parts[i].iov_len ? (size_t)written : parts[i].iov_len;
            parts[i].iov_base = (char *)parts[i].iov_base + part;
            parts[i].iov_len -= part;
            written -= (ssize_t)part;
        }
    }
}

void segment_write(struct segment_writer *writer, struct bytes piece)
{
    if (piece.length > sizeof writer->buffer - writer->gathered) {
        write_out(writer, piece);
    } else if (piece.length > 0) {
        memcpy(writer->buffer + writer->gathered, piece.data, piece.length);
        writer->gathered += piece.length;
    }
}

int segment_write_end(struct segment_writer *writer)
{
    struct segment *segment = writer->segment;
    write_out(writer, (struct bytes){NULL, 0});
    off_t length = writer->error == 0 ? lseek(writer->fd, 0, SEEK_CUR) : 0;
    if (writer->error == 0 && (length < 0 || (segment->length > (size_t)length && ftruncate(writer->fd, length) != 0)))
        writer->error = errno;
    close(writer->fd);
    if (writer->error == 0) {
        segment->length = (size_t)length;
        return 0;
    }
    shm_unlink(segment->name);
    segment->name[0] = '\0';
    errno = writer->error;
    return writer->error == ENOMEM ? error_memory()
                                   : error_errno("cannot put a payload into shared memory (%s)", SHM_DIRECTORY);
}

int segment_store(struct segment *segment, uint64_t owner_pid, struct bytes payload)
{
    struct segment_writer writer;
    int status = segment_write_new(&writer, segment, owner_pid);
    if (status != 0)
        return status;
    segment_write(&writer, payload);
    return segment_write_end(&writer);
}

/* --- reading and removing ----------------------------------------------------------------------------------------- */

/* Maps what `fd` holds, if it is a file of this user's. */
static int segment_map(struct segment *segment, int fd)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return error_errno("cannot examine the shared-memory segment '%s'", segment->name);
    if (!S_ISREG(info.st_mode) || info.st_uid != geteuid() || info.st_size <= 0)
        return error_set(MUSTER_EPROTOCOL, "'%s' is not a segment of this user's", segment->name);
    void *data = mmap(NULL, (size_t)info.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED)
        return error_errno("cannot map the shared-memory segment '%s'", segment->name);
    segment->data = data;
    segment->length = (size_t)info.st_size;
    return 0;
}

int segment_open(struct segment *segment, struct bytes text)
{
    struct segment_name name;
    *segment = (struct segment){0};
    if (!name_parse(text, segment->name, &name))
        return error_set(MUSTER_EPROTOCOL, "a payload names a shared-memory segment that is none of muster's");
    int fd = shm_open(segment->name, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return error_errno("cannot open the shared-memory segment '%s'", segment->name);
    int status = segment_map(segment, fd);
    close(fd);
    return status;
}

void segment_prefault(const struct segment *segment)
{
#ifdef MADV_POPULATE_READ
    size_t length = segment->length < PREFAULT_BYTES ? segment->length : PREFAULT_BYTES;
    if (segment->data)
        madvise(segment->data, length, MADV_POPULATE_READ); /* older kernels do without */
#else
    (void)segment;
#endif
}

int segment_map_again(struct segment *segment)
{
    int fd = shm_open(segment->name, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0)
        return error_errno("cannot open the shared-memory segment '%s'", segment->name);
    void *data = mmap(NULL, segment->length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    int error = errno;
    close(fd);
    errno = error;
    if (data == MAP_FAILED)
        return error_errno("cannot map the shared-memory segment '%s'", segment->name);
    segment->data = data;
    return 0;
}

void segment_unmap(struct segment *segment)
{
    if (segment->data)
        munmap(segment->data, segment->length);
    segment->data = NULL;
}

void segment_unlink(struct bytes text)
{
    char path[SEGMENT_NAME_BYTES];
    struct segment_name name;
    if (name_parse(text, path, &name))
        shm_unlink(path);
}

void segment_remove(struct segment *segment)
{
    segment_unmap(segment);
    segment_unlink(bytes_string(segment->name));
    segment->name[0] = '\0';
}

int segment_sweep(void)
{
    DIR *directory = opendir(SHM_DIRECTORY);
    if (!directory)
        return 0;
    uint64_t namespace_id = own_namespace();
    int removed = 0;
    for (struct dirent *entry; (entry = readdir(directory));) {
        char text[1 + sizeof entry->d_name], path[SEGMENT_NAME_BYTES];
        struct segment_name name;
        struct stat info;
        snprintf(text, sizeof text, "/%s", entry->d_name);
        if (!name_parse(bytes_string(text), path, &name) || name.namespace_id != namespace_id ||
            fstatat(dirfd(directory), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0 || info.st_uid != geteuid() ||
            process_start(name.owner_pid) == name.owner_start)
            continue;
        if (shm_unlink(path) == 0)
            removed++;
    }
    closedir(directory);
    return removed;
}
