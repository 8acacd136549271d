/*
 * The GIL and the signals while C waits.
 *
 * Python's signal handlers run in the main thread, between two instructions. While that thread waits in C it looks
 * whenever a signal has interrupted the wait, and now and then, because a signal may have come just before the wait
 * began.
 */
#include "bindings/python/extension/extension.h"

#include <math.h>
#include <unistd.h>

#include "bindings/c/wait.h"

static PyThreadState *waiting; /* of the main thread, while it waits */

/* Runs the handlers of signals that have come; true if one has raised. */
static bool look_at_signals(void)
{
    PyEval_RestoreThread(waiting);
    bool raised = PyErr_CheckSignals() != 0;
    waiting = PyEval_SaveThread();
    return raised;
}

/* A handler may wait itself, while the thread waits below it: each wait has its own place for the state. */
void released_begin(struct released *released)
{
    released->main = gettid() == getpid();
    released->state = PyEval_SaveThread();
    if (!released->main)
        return;
    released->outer = waiting;
    waiting = released->state;
    wait_interruptible(look_at_signals);
}

bool released_end(struct released *released)
{
    bool interrupted = false;
    if (released->main) {
        interrupted = wait_interrupted();
        wait_interruptible(released->outer ? look_at_signals : NULL);
        waiting = released->outer;
    }
    PyEval_RestoreThread(released->state);
    return !interrupted;
}

bool timeout_read(PyObject *object, double *seconds)
{
    *seconds = MUSTER_FOREVER;
    if (!object || object == Py_None)
        return true;
    double number = PyFloat_AsDouble(object);
    if (number == -1 && PyErr_Occurred())
        return false;
    if (isnan(number)) {
        PyErr_SetString(PyExc_ValueError, "a time-out that is not a number");
        return false;
    }
    *seconds = number > 0 ? number : 0;
    return true;
}
