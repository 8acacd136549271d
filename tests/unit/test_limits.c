/*
 * docs/limits.md is true: every test that it names exists, every option of musterd that it names is in the help, and
 * every limit of the help is on the page.
 */
#include <ctype.h>
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/buffer.h"

static void read_file(struct buffer *out, const char *path)
{
    char part[4096];
    size_t length;
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    while ((length = fread(part, 1, sizeof part, file)) > 0)
        assert_int_equal(buffer_append(out, part, length), 0);
    fclose(file);
}

static void read_tests(struct buffer *out, const char *directory)
{
    char path[1024];
    DIR *entries = opendir(directory);
    assert_non_null(entries);
    for (struct dirent *entry; (entry = readdir(entries));) {
        size_t length = strlen(entry->d_name);
        if (length < 3 || strcmp(entry->d_name + length - 2, ".c") != 0)
            continue;
        assert_true(snprintf(path, sizeof path, "%s/%s", directory, entry->d_name) < (int)sizeof path);
        read_file(out, path);
    }
    closedir(entries);
}

static bool has(const struct buffer *text, const char *part)
{
    return memmem(text->data, text->length, part, strlen(part)) != NULL;
}

/* The next `word` in backquotes that begins with a small letter or "--" and has no blank; NULL at the end. */
static char *next_word(const char **at)
{
    const char *begin, *end;
    while ((begin = strchr(*at, '`')) && (end = strchr(begin + 1, '`'))) {
        size_t length = (size_t)(end - begin - 1);
        *at = end + 1;
        if ((islower((unsigned char)begin[1]) || begin[1] == '-') && strcspn(begin + 1, " \n") > length)
            return strndup(begin + 1, length);
    }
    return NULL;
}

static void every_test_and_option_that_is_named_exists(void **state)
{
    (void)state;
    struct buffer page = {0}, tests = {0}, source = {0};
    unsigned test_names = 0, option_names = 0;
    read_file(&page, MUSTER_SOURCE_DIR "/docs/limits.md");
    assert_int_equal(buffer_append(&page, "", 1), 0);
    read_tests(&tests, MUSTER_SOURCE_DIR "/tests/unit");
    read_tests(&tests, MUSTER_SOURCE_DIR "/tests/e2e");
    read_file(&source, MUSTER_SOURCE_DIR "/server/musterd_main.c");
    const char *at = (const char *)page.data;
    for (char *word; (word = next_word(&at)); free(word)) {
        char pattern[256];
        if (word[0] == '-') {
            snprintf(pattern, sizeof pattern, "\"%s\"", word + 2);
            option_names++;
            if (!has(&source, pattern))
                fail_msg("musterd has no option %s", word);
        } else if (strchr(word, '_') && strchr(strchr(word, '_') + 1, '_')) { /* the names of tests are sentences */
            snprintf(pattern, sizeof pattern, "static void %s(", word);
            test_names++;
            if (!has(&tests, pattern))
                fail_msg("there is no test %s", word);
        }
    }
    assert_true(test_names > 30);
    assert_true(option_names > 10);
    buffer_free(&page);
    buffer_free(&tests);
    buffer_free(&source);
}

static void every_limit_of_musterd_is_on_the_page(void **state)
{
    (void)state;
    static const char *const others[] = {"listen", "authkey-file", "insecure", "log-level", "pid-file", "systemd"};
    struct buffer page = {0}, source = {0};
    read_file(&page, MUSTER_SOURCE_DIR "/docs/limits.md");
    read_file(&source, MUSTER_SOURCE_DIR "/server/musterd_main.c");
    assert_int_equal(buffer_append(&source, "", 1), 0);
    unsigned options = 0;
    for (const char *row = (const char *)source.data; (row = strstr(row, "{OPTION_")); row++) {
        char name[64], option[80];
        bool other = false;
        if (sscanf(row, "{OPTION_%*[A-Z], %*[^,], \"%63[^\"]\"", name) != 1)
            continue;
        for (size_t i = 0; i < sizeof others / sizeof *others; i++)
            other |= strcmp(name, others[i]) == 0;
        snprintf(option, sizeof option, "`--%s`", name);
        options++;
        if (!other && !has(&page, option))
            fail_msg("docs/limits.md does not know %s", option);
    }
    assert_true(options > 15);
    buffer_free(&page);
    buffer_free(&source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_test_and_option_that_is_named_exists),
        cmocka_unit_test(every_limit_of_musterd_is_on_the_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
