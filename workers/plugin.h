/*
 * The functions that a worker offers: those of its program (muster_init), of plugins, and muster's own.
 */
#ifndef WORKERS_PLUGIN_H
#define WORKERS_PLUGIN_H

#include "muster.h"

/* Functions in the order in which they are offered. All zero is an empty table. Names belong to whoever brought them.
 */
struct functions {
    const char **names;
    muster_call **calls;
    size_t count, capacity;
};

/* Adds a list that ends with a NULL name; `origin` is for the error: "this program" or a path. EPLUGIN with detail (no
 * name, no function, a name too long, reserved or given twice), ENOMEM. */
int functions_add(struct functions *functions, const muster_function *list, const char *origin);
/* Adds one of muster's own. */
int functions_add_own(struct functions *functions, const char *name, muster_call *call);
muster_call *functions_find(const struct functions *functions, const char *name); /* NULL: not there */
void functions_free(struct functions *functions);

/* Loads a shared object, checks that it is a plugin of this version, and adds its functions. EPLUGIN with a sentence
 * that names the path and the mend, ENOMEM. It stays loaded. */
int plugin_load(const char *path, struct functions *functions);

#endif
