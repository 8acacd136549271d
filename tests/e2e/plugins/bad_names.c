/* A plugin that offers a reserved name. */
#include "muster.h"

static int nothing(muster_task *task)
{
    (void)task;
    return 0;
}

static const muster_function functions[] = {{"fine", nothing}, {"muster.mine", nothing}, {NULL, NULL}};

MUSTER_PLUGIN(functions);
