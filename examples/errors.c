/*
 * What goes wrong in a task is told to its caller, and to nobody else: an error of the task's own, a crash, a call of
 * exit(), a function that nobody offers. The pool goes on.
 */
#include <inttypes.h>
#include <muster.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static int divide(muster_task *task)
{
    int64_t a, b;
    int status = muster_arg_int(task, 0, &a);
    if (status == 0)
        status = muster_arg_int(task, 1, &b); /* a missing or wrong argument has its own message already */
    if (status != 0)
        return status;
    if (b == 0)
        return muster_fail(task, "ZeroDivisionError", "%" PRId64 " by zero", a);
    return muster_return_int(task, a / b);
}

static int crash(muster_task *task)
{
    (void)task;
    return raise(SIGSEGV);
}

static int leave(muster_task *task)
{
    (void)task;
    exit(3);
}

static void show(muster_pool *pool, const char *function, muster_args args)
{
    muster_result *result;
    int status = muster_apply(pool, function, args, NULL, &result);
    const muster_error *error = muster_result_error(result, 0);
    if (status == 0)
        printf("%s: %" PRId64 "\n", function, muster_result_value(result, 0)->integer);
    else if (error)
        printf("%s: %s\n   kind '%s', message '%s', worker %s, pid %" PRId64 ", signal %d, exit status %d\n", function,
               muster_strerror(status), error->kind, error->message, error->worker, error->pid, error->signal,
               error->exit_status);
    else
        printf("%s: %s\n", function, muster_last_error());
    muster_result_free(result);
}

int main(int argc, char **argv)
{
    static const muster_function functions[] = {{"divide", divide}, {"crash", crash}, {"leave", leave}, {0}};
    muster_init(argc, argv, functions);
    muster_pool *pool;
    if (muster_pool_open(&pool, "local:2", NULL) != 0) {
        fprintf(stderr, "%s\n", muster_last_error());
        return 1;
    }
    show(pool, "divide", MUSTER_ARGS(muster_int(42), muster_int(6)));
    show(pool, "divide", MUSTER_ARGS(muster_int(42), muster_int(0)));
    show(pool, "divide", MUSTER_ARGS(muster_int(42)));
    show(pool, "divide", MUSTER_ARGS(muster_int(42), muster_string("six")));
    show(pool, "crash", MUSTER_NO_ARGS);
    show(pool, "leave", MUSTER_NO_ARGS);
    show(pool, "multiply", MUSTER_ARGS(muster_int(6), muster_int(7)));
    show(pool, "divide", MUSTER_ARGS(muster_int(42), muster_int(6)));
    muster_pool_free(pool);
    return 0;
}
