/*
 * A plugin: functions in a shared object, which any program's workers can load. See ../plugin.c for a caller, or try
 *
 *     muster-worker --load ./text.so ipc:///tmp/muster &
 *     muster call --pool ipc:///tmp/muster text.reverse '"drawer"'
 */
#include <ctype.h>
#include <muster.h>
#include <stdlib.h>

static int reverse(muster_task *task)
{
    const char *text;
    size_t size;
    int status = muster_arg_string(task, 0, &text, &size);
    if (status != 0)
        return status;
    char *reversed = malloc(size + 1);
    if (!reversed)
        return muster_fail(task, "OutOfMemory", "no room for %zu bytes", size);
    for (size_t i = 0; i < size; i++)
        reversed[i] = text[size - 1 - i];
    reversed[size] = '\0';
    status = muster_return_string(task, reversed);
    free(reversed);
    return status;
}

static int words(muster_task *task)
{
    const char *text;
    size_t size, count = 0;
    int status = muster_arg_string(task, 0, &text, &size);
    if (status != 0)
        return status;
    for (size_t i = 0; i < size; i++)
        count += !isspace((unsigned char)text[i]) && (i == 0 || isspace((unsigned char)text[i - 1]));
    return muster_return_int(task, (int64_t)count);
}

static const muster_function functions[] = {{"text.reverse", reverse}, {"text.words", words}, {0}};
MUSTER_PLUGIN(functions);
