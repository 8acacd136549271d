/*
 * Workers that load a plugin: this program needs no muster_init(), its workers are muster-worker processes with
 * text.so.
 *
 *     plugin [PATH-OF-TEXT.SO]
 */
#include <inttypes.h>
#include <muster.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The plugin stands beside this program. */
static const char *beside(const char *name)
{
    static char path[4096];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 64);
    path[length > 0 ? length : 0] = '\0';
    char *slash = strrchr(path, '/');
    strcpy(slash ? slash + 1 : path, name);
    return path;
}

int main(int argc, char **argv)
{
    const char *const plugins[] = {argc > 1 ? argv[1] : beside("text.so"), NULL};
    muster_pool_options options = {.plugins = plugins};
    muster_pool *pool;
    if (muster_pool_open(&pool, "local:2", &options) != 0) {
        fprintf(stderr, "%s\n", muster_last_error());
        return 1;
    }

    muster_result *reversed = NULL, *words = NULL;
    int status = muster_apply(pool, "text.reverse", MUSTER_ARGS(muster_string("drawer")), NULL, &reversed);
    if (status == 0)
        status = muster_apply(pool, "text.words", MUSTER_ARGS(muster_string("to be or not to be")), NULL, &words);
    if (status == 0) {
        const muster_value *text = muster_result_value(reversed, 0);
        printf("%.*s\n", (int)text->size, (const char *)text->data);
        printf("%" PRId64 " words\n", muster_result_value(words, 0)->integer);
    } else {
        fprintf(stderr, "%s\n", muster_last_error());
    }
    muster_result_free(reversed);
    muster_result_free(words);
    muster_pool_free(pool);
    return status ? 1 : 0;
}
