/*
 * Plugins: shared objects that export `muster_plugin` (see MUSTER_PLUGIN in muster.h). Only workers load them; a
 * constructor or a missing symbol in a user's shared object must not be able to harm a supervisor or a client.
 */
#include "workers/plugin.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/buffer.h"
#include "core/errors.h"

#define NAME_LIMIT 255
#define RESERVED "muster."

static int functions_put(struct functions *functions, const char *name, muster_call *call)
{
    if (functions->count == functions->capacity) {
        size_t capacity = functions->capacity ? 2 * functions->capacity : 16;
        const char **names = memory_resize(functions->names, capacity * sizeof *names);
        if (names)
            functions->names = names;
        muster_call **calls = names ? memory_resize(functions->calls, capacity * sizeof *calls) : NULL;
        if (!calls)
            return error_memory();
        functions->calls = calls;
        functions->capacity = capacity;
    }
    functions->names[functions->count] = name;
    functions->calls[functions->count++] = call;
    return 0;
}

int functions_add_own(struct functions *functions, const char *name, muster_call *call)
{
    return functions_put(functions, name, call);
}

muster_call *functions_find(const struct functions *functions, const char *name)
{
    for (size_t i = 0; i < functions->count; i++)
        if (strcmp(functions->names[i], name) == 0)
            return functions->calls[i];
    return NULL;
}

static int check(const struct functions *functions, const muster_function *function, const char *origin)
{
    if (!*function->name || strlen(function->name) > NAME_LIMIT)
        return error_set(MUSTER_EPLUGIN, "%s offers a function whose name has %zu bytes; 1 to %d are allowed", origin,
                         strlen(function->name), NAME_LIMIT);
    if (strncmp(function->name, RESERVED, strlen(RESERVED)) == 0)
        return error_set(MUSTER_EPLUGIN, "%s offers \"%s\": names that begin with \"" RESERVED "\" are reserved",
                         origin, function->name);
    if (!function->call)
        return error_set(MUSTER_EPLUGIN, "%s offers \"%s\" without a function", origin, function->name);
    if (functions_find(functions, function->name))
        return error_set(MUSTER_EPLUGIN, "%s offers \"%s\", which is offered already: rename one of the two", origin,
                         function->name);
    return 0;
}

int functions_add(struct functions *functions, const muster_function *list, const char *origin)
{
    for (; list->name; list++) {
        int status = check(functions, list, origin);
        if (status == 0)
            status = functions_put(functions, list->name, list->call);
        if (status != 0)
            return status;
    }
    return 0;
}

void functions_free(struct functions *functions)
{
    memory_free(functions->names);
    memory_free(functions->calls);
    *functions = (struct functions){0};
}

/* A name without a slash is a file here, and not, as dlopen() would have it, somewhere in the system's directories. */
static int open_object(const char *path, void **handle)
{
    char here[PATH_MAX];
    struct stat info;
    if (stat(path, &info) != 0)
        return error_set(MUSTER_EPLUGIN, "cannot load the plugin %s: %s", path, strerror(errno));
    snprintf(here, sizeof here, "%s%s", strchr(path, '/') ? "" : "./", path);
    *handle = dlopen(here, RTLD_NOW | RTLD_LOCAL);
    if (*handle)
        return 0;
    const char *why = dlerror(); /* names the file first, in most cases */
    size_t length = strlen(here);
    if (strncmp(why, here, length) == 0 && strncmp(why + length, ": ", 2) == 0)
        why += length + 2;
    return error_set(MUSTER_EPLUGIN, "cannot load the plugin %s: %s", path, why);
}

int plugin_load(const char *path, struct functions *functions)
{
    void *handle;
    size_t before = functions->count;
    int status = open_object(path, &handle);
    if (status != 0)
        return status;
    const muster_plugin_info *info = dlsym(handle, "muster_plugin");
    if (!info)
        status =
            error_set(MUSTER_EPLUGIN,
                      "%s is not a plugin: it exports no muster_plugin; write MUSTER_PLUGIN(functions) in it", path);
    else if (info->magic != MUSTER_PLUGIN_MAGIC)
        status = error_set(
            MUSTER_EPLUGIN,
            "%s is not a plugin: its muster_plugin begins with %#x, not with %#x; write MUSTER_PLUGIN(functions) in it",
            path, (unsigned)info->magic, MUSTER_PLUGIN_MAGIC);
    else if (info->version != MUSTER_PLUGIN_VERSION)
        status = error_set(MUSTER_EPLUGIN,
                           "%s was built for version %u of the plugin interface, this is version %u: build it again",
                           path, (unsigned)info->version, MUSTER_PLUGIN_VERSION);
    else if (!info->functions)
        status = error_set(MUSTER_EPLUGIN, "%s has no list of functions", path);
    else
        status = functions_add(functions, info->functions, path);
    if (status != 0) {
        functions->count = before;
        dlclose(handle);
    }
    return status;
}
