/*
 * Finding the program for workers.
 */
#include "workers/program.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/errors.h"
#include "workers/launch.h"
#include "workers/runtime.h"

#define WORKER_PROGRAM "muster-worker"
#define SELF "/proc/self/exe" /* works also when the file has been replaced or removed */

static bool usable(const char *directory, size_t length, const char *below, char *path, size_t size)
{
    int written = snprintf(path, size, "%.*s%s/" WORKER_PROGRAM, (int)length, directory, below);
    return length > 0 && written > 0 && (size_t)written < size && access(path, X_OK) == 0;
}

/* The directory of a path, without the last slash. */
static size_t directory_length(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) : 0;
}

static bool beside_this_program(char *path, size_t size)
{
    char self[PATH_MAX];
    ssize_t length = readlink(SELF, self, sizeof self - 1);
    if (length <= 0)
        return false;
    self[length] = '\0';
    return usable(self, directory_length(self), "", path, size);
}

/* PREFIX/lib/libmuster.so or PREFIX/lib/ARCHITECTURE/libmuster.so and PREFIX/bin. */
static bool beside_library(char *path, size_t size)
{
    char file[PATH_MAX];
    Dl_info info;
    if (!dladdr((const void *)&runtime_can_restart, &info) || !realpath(info.dli_fname, file))
        return false;
    size_t length = directory_length(file);
    return usable(file, length, "/../bin", path, size) || usable(file, length, "/../../bin", path, size);
}

static bool in_path(char *path, size_t size)
{
    for (const char *at = getenv("PATH"); at && *at;) {
        size_t length = strcspn(at, ":");
        if (usable(at, length, "", path, size))
            return true;
        at += length + (at[length] == ':');
    }
    return false;
}

int program_find(const char *wanted, bool generic, char *path, size_t size)
{
    const char *directory = getenv("MUSTER_BIN_DIR");
    if (getenv(LAUNCH_VARIABLE))
        return error_set(MUSTER_EWORKERS, "this process was started as a worker and opens a pool instead: "
                                          "call muster_init() first in main()");
    if (wanted || runtime_can_restart()) {
        int written = snprintf(path, size, "%s", wanted ? wanted : SELF);
        if (written < 0 || (size_t)written >= size || access(path, X_OK) != 0)
            return error_set(MUSTER_EWORKERS, "cannot run %s as worker", wanted ? wanted : SELF);
        return 0;
    }
    if (!generic)
        return error_set(MUSTER_EWORKERS,
                         "there is nothing that workers could run: call muster_init() first in main(), or name "
                         "plugins or exec in the pool's options");
    if ((directory && usable(directory, strlen(directory), "", path, size)) || beside_this_program(path, size) ||
        beside_library(path, size) || in_path(path, size))
        return 0;
    return error_set(MUSTER_EWORKERS,
                     "the program " WORKER_PROGRAM " is not beside this program, not beside the library and not in "
                     "PATH: install it, name its directory in MUSTER_BIN_DIR, or call muster_init()");
}
