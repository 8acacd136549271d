/*
 * A language's runtime in small: what its one function does stands in the body of the definition.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "muster.h"

static bool begins(const char *body, size_t size, const char *word)
{
    return size >= strlen(word) && memcmp(body, word, strlen(word)) == 0;
}

/* Its argument is the length of the value that goes with the error. */
static int fail(muster_task *task)
{
    int64_t length;
    int status = muster_arg_int(task, 0, &length);
    char *value = status == 0 ? malloc((size_t)length + 1) : NULL;
    if (!value)
        return status ? status : MUSTER_ENOMEM;
    memset(value, 'v', (size_t)length);
    status = muster_fail_value(task, "ValueError", MUSTER_PICKLE, value, (size_t)length, "no such thing",
                               "Traceback:\n  line 1");
    free(value);
    return status;
}

/* Its argument is a file: returns when that is there. */
static int wait_for_file(muster_task *task)
{
    const char *path;
    size_t size;
    int status = muster_arg_string(task, 0, &path, &size);
    char *name = status == 0 ? calloc(1, size + 1) : NULL; /* strndup() of AddressSanitizer reads beyond the end */
    if (name)
        memcpy(name, path, size);
    while (name && access(name, F_OK) != 0 && !muster_cancelled(task))
        usleep(1000);
    free(name);
    return status;
}

/* Does what the body says; returns the body. */
static int interpret(muster_task *task)
{
    const void *body, *end;
    size_t size, ignored;
    muster_task_body(task, &body, &size);
    int status = 0;
    if (begins(body, size, "fail"))
        return fail(task);
    if (begins(body, size, "wait"))
        status = wait_for_file(task);
    if (begins(body, size, "die"))
        abort();
    muster_task_body(task, &end, &ignored);
    if (status != 0 || end != body)
        return status ? status : MUSTER_EINTERNAL;
    return muster_return_bytes(task, body, size);
}

/* 64 bits: this process and the key of the definition. */
static int where(muster_task *task)
{
    return muster_return_int(task, ((int64_t)getpid() << 32) | (int64_t)muster_task_definition(task));
}

static const muster_function functions[] = {{"interpret", interpret}, {"where", where}, {NULL, NULL}};

MUSTER_PLUGIN(functions);
