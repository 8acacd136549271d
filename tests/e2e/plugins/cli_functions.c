/*
 * Functions for the tests of `muster call`: what comes back for every kind of value, and failures.
 */
#include <stdlib.h>
#include <unistd.h>

#include "muster.h"

/* Its first argument, whatever it is. */
static int echo(muster_task *task)
{
    muster_value value;
    int status = muster_arg(task, 0, &value);
    return status ? status : muster_return(task, value);
}

static int add(muster_task *task)
{
    int64_t a, b;
    int status = muster_arg_int(task, 0, &a);
    if (status == 0)
        status = muster_arg_int(task, 1, &b);
    return status ? status : muster_return_int(task, a + b);
}

static int nothing(muster_task *task)
{
    (void)task;
    return 0;
}

static int fail(muster_task *task)
{
    return muster_fail(task, "Refusal", "it does not want to");
}

static int crash(muster_task *task)
{
    (void)task;
    abort();
}

/* Until it is cancelled. */
static int wait_for_end(muster_task *task)
{
    while (!muster_cancelled(task))
        usleep(1000);
    return MUSTER_ECANCELED;
}

static const muster_function functions[] = {
    {"echo", echo},   {"add", add},           {"nothing", nothing}, {"fail", fail},
    {"crash", crash}, {"wait", wait_for_end}, {NULL, NULL},
};
MUSTER_PLUGIN(functions);
