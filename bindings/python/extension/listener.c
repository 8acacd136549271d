/*
 * Python code in libmuster's threads: what is to be told of an outcome, of a line of output, of a log call.
 *
 * Each of these threads has one state of the interpreter's, made when it first needs one and kept until it ends. A
 * callback thread keeps the GIL from one callback to the next, as long as there is a next: to take it for each would
 * let the thread that submits calls and this one take turns at every single call. The interpreter still makes it give
 * way to others while Python code runs, and after KEEP_CALLBACKS it does so by itself.
 */
#include "bindings/python/extension/extension.h"

#include <pthread.h>

#include "bindings/c/binding.h"

#define KEEP_CALLBACKS 64

static _Thread_local PyThreadState *attached; /* this thread's state; NULL: none yet */
static _Thread_local unsigned listening;      /* how deep we are in Python code */
static _Thread_local unsigned kept;           /* callbacks since the GIL was taken; 0: it is not held */
static pthread_key_t key;                     /* for the end of the thread */

static void give_back(void)
{
    if (kept == 0)
        return;
    kept = 0;
    PyEval_SaveThread();
}

static bool take(void)
{
    if (kept > 0)
        return true;
    if (Py_IsFinalizing())
        return false;
    if (attached) {
        PyEval_RestoreThread(attached);
    } else {
        PyGILState_Ensure();
        attached = PyThreadState_Get();
        pthread_setspecific(key, attached);
    }
    kept = 1;
    return true;
}

/* The thread ends. The interpreter's own note of its state may be gone by now, so this is not PyGILState_Release(). */
static void detach(void *state)
{
    if (Py_IsFinalizing() || !Py_IsInitialized())
        return;
    PyEval_RestoreThread(state);
    PyThreadState_Clear(state);
    PyThreadState_DeleteCurrent();
}

bool listener_begin(void)
{
    if (!take())
        return false;
    listening++;
    return true;
}

void listener_end(bool more)
{
    listening--;
    if (!more || ++kept > KEEP_CALLBACKS)
        give_back();
}

bool listener_inside(void)
{
    return listening > 0;
}

bool listener_refuses(const char *what)
{
    if (listening == 0)
        return false;
    raise_error(MUSTER_EINVAL, "%s inside a callback would wait for the callback: hand it to another thread", what);
    return true;
}

int listeners_prepare(void)
{
    if (pthread_key_create(&key, detach) != 0) {
        PyErr_NoMemory();
        return -1;
    }
    binding_callbacks_idle(give_back);
    return 0;
}
