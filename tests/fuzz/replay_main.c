/*
 * Runs a fuzz target on every file of its corpus, without libFuzzer.
 *
 * The corpus holds every input that once mattered: the seeds, and whatever a fuzzing run found. An ordinary test run
 * feeds all of it to the target, with any compiler, so that a mended bug stays mended.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Reads a whole file into memory that the caller frees; NULL and a message when it cannot. */
static uint8_t *read_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return NULL;
    }
    uint8_t *data = NULL;
    long length = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    if (length >= 0 && fseek(file, 0, SEEK_SET) == 0)
        data = malloc(length > 0 ? (size_t)length : 1);
    if (data && fread(data, 1, (size_t)length, file) != (size_t)length) {
        free(data);
        data = NULL;
    }
    fclose(file);
    if (!data) {
        fprintf(stderr, "%s: cannot be read\n", path);
        return NULL;
    }
    *size = (size_t)length;
    return data;
}

static int replay_file(const char *directory, const char *name)
{
    char path[4096];
    if (snprintf(path, sizeof path, "%s/%s", directory, name) >= (int)sizeof path)
        return -1;
    size_t size = 0;
    uint8_t *data = read_file(path, &size);
    if (!data)
        return -1;
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s CORPUS_DIRECTORY\n", argv[0]);
        return 2;
    }
    DIR *directory = opendir(argv[1]);
    if (!directory) {
        fprintf(stderr, "%s: %s\n", argv[1], strerror(errno));
        return 1;
    }
    unsigned replayed = 0, unreadable = 0;
    for (struct dirent *entry; (entry = readdir(directory));) {
        if (entry->d_name[0] == '.')
            continue;
        if (replay_file(argv[1], entry->d_name) == 0)
            replayed++;
        else
            unreadable++;
    }
    closedir(directory);
    printf("%u inputs replayed, %u unreadable\n", replayed, unreadable);
    return replayed == 0 || unreadable > 0;
}
