/*
 * --results: the output of each job in files of its own, laid out as GNU parallel does.
 *
 *   DIR/1/<item>/stdout, stderr, seq                      one column
 *   DIR/1/<first>/2/<second>/stdout, stderr, seq          two columns
 *   DIR/<number>/stdout, stderr, seq                      --pipe: there are no items
 *   out/{#}.txt, out/{#}.txt.err, out/{#}.txt.seq         DIR has a replacement string: it names the file
 *   out/{/.}/stdout, ...                                  the same and it ends with a slash
 */
#ifndef CLI_RESULTS_H
#define CLI_RESULTS_H

#include "cli/template.h"

struct results {
    struct template template; /* of the text after --results */
    bool templated;
};

void results_init(struct results *results, char *const *directory);
void results_free(struct results *results);
/* The path of a job, up to "stdout", "" or whatever the file's name ends with. */
void results_path(const struct results *results, const struct template_values *values, struct buffer *path);
/* Writes the three files, making directories as needed. 0, or -1 with errno. */
int results_write(struct bytes path, uint64_t number, struct bytes out, struct bytes err);

#endif
