/* A plugin whose constructor ends the process that loads it. */
#include <signal.h>
#include <stdio.h>

#include "muster.h"

__attribute__((constructor)) static void crash(void)
{
    fprintf(stderr, "cannot find the model\n");
    raise(SIGKILL); /* no handler, a sanitizer's for instance, can come between */
}

static const muster_function functions[] = {{NULL, NULL}};

MUSTER_PLUGIN(functions);
