/*
 * Output into files; see results.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/output.h"
#include "cli/results.h"

#define NAME_LIMIT 240 /* bytes of a name made from an item; file systems allow 255 */

void results_init(struct results *results, char *const *directory)
{
    template_parse(&results->template, directory, 1, TEMPLATE_PLAIN, "{}", false);
    results->templated = results->template.piece_count > 1 ||
                         (results->template.piece_count == 1 && results->template.pieces[0].part != TEMPLATE_LITERAL);
}

void results_free(struct results *results)
{
    template_free(&results->template);
}

/* An item as the name of a directory. One that is too long keeps its head and gets the number of its job. */
static void put_name(struct buffer *path, struct bytes item, uint64_t number)
{
    static const char special[] = "/\\\t", escaped[] = "_\\t";
    const char *text = item.data;
    size_t start = path->length;
    bool dots = (item.length == 1 || item.length == 2) && memcmp(text, "..", item.length) == 0;
    if (item.length == 0 || dots)
        cli_append(path, "\\", 1);
    for (size_t i = 0; i < item.length && path->length - start < NAME_LIMIT; i++) {
        const char *found = text[i] ? strchr(special, text[i]) : NULL;
        char pair[2] = {'\\', found ? escaped[found - special] : '0'};
        if (found || text[i] == '\0')
            cli_append(path, pair, 2);
        else
            cli_append(path, &text[i], 1);
    }
    if (path->length - start >= NAME_LIMIT && buffer_printf(path, "\\#%llu", (unsigned long long)number) != 0)
        cli_fail("out of memory");
}

void results_path(const struct results *results, const struct template_values *values, struct buffer *path)
{
    template_expand_text(&results->template, values, path);
    if (results->templated)
        return;
    if (path->length == 0 || path->data[path->length - 1] != '/')
        cli_append(path, "/", 1);
    if (values->count == 0 && buffer_printf(path, "%llu/", (unsigned long long)values->number) != 0)
        cli_fail("out of memory");
    for (size_t i = 0; i < values->count; i++) {
        if (buffer_printf(path, "%zu/", i + 1) != 0)
            cli_fail("out of memory");
        put_name(path, values->values[i], values->number);
        cli_append(path, "/", 1);
    }
}

/* Makes the directories that the path names before its last slash. */
static int make_directories(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int status = mkdir(path, 0777);
        *slash = '/';
        if (status != 0 && errno != EEXIST)
            return -1;
    }
    return 0;
}

static int write_file(struct bytes path, const char *suffix, struct bytes data)
{
    struct buffer name = {0};
    cli_append(&name, path.data, path.length);
    cli_append(&name, suffix, strlen(suffix) + 1);
    const char *text = (const char *)name.data;
    int fd = open(text, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0 && errno == ENOENT && make_directories((char *)name.data) == 0)
        fd = open(text, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    buffer_free(&name);
    if (fd < 0)
        return -1;
    int status = output_write(fd, data);
    int saved = errno;
    if (close(fd) != 0 && status == 0)
        return -1;
    errno = saved;
    return status;
}

int results_write(struct bytes path, uint64_t number, struct bytes out, struct bytes err)
{
    char text[32];
    bool folder = path.length > 0 && ((const char *)path.data)[path.length - 1] == '/';
    int length = snprintf(text, sizeof text, "%llu", (unsigned long long)number);
    if (write_file(path, folder ? "stdout" : "", out) != 0 || write_file(path, folder ? "stderr" : ".err", err) != 0)
        return -1;
    return write_file(path, folder ? "seq" : ".seq", (struct bytes){text, (size_t)length});
}
