/*
 * muster._muster: libmuster for Python. What its files share.
 *
 *   module.c     the module, its exceptions and constants
 *   pool.c       Pool: opening, ending, questions
 *   terms.c      Definition and Options: what a call names
 *   submit.c     calls: the memory of the arguments, one call or many
 *   result.c     Result: waiting, and its payloads as memory
 *   listener.c   Python code in libmuster's threads
 *   wait.c       the GIL and the signals while C waits
 *   supervisor.c Supervisor
 *   worker.c     Task, serve(), serve_forks()
 *
 * What C does in microseconds it does with the GIL held: to give it away and to get it back costs more, and much more
 * where another thread waits for it. No thread of libmuster's waits for the GIL while it holds a pool's mutex, so
 * taking the mutex with the GIL held is no danger. Whatever may wait, or copies much, gives it away.
 *
 * A Pool lives as long as a Definition or a Result of it. A Result belongs to its pool too while its call is under way
 * and somebody is to be told of the outcome.
 */
#ifndef MUSTER_PYTHON_EXTENSION_H
#define MUSTER_PYTHON_EXTENSION_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdatomic.h>
#include <stdbool.h>

#include "muster.h"

/* --- Python's changing names -------------------------------------------------------------------------------------- */

#if PY_VERSION_HEX < 0x030A0000
static inline int PyModule_AddObjectRef(PyObject *module, const char *name, PyObject *value)
{
    Py_INCREF(value);
    if (PyModule_AddObject(module, name, value) == 0)
        return 0;
    Py_DECREF(value);
    return -1;
}

static inline PyObject *Py_NewRef(PyObject *object)
{
    Py_INCREF(object);
    return object;
}
#endif

#if PY_VERSION_HEX < 0x030D0000
static inline int Py_IsFinalizing(void)
{
    return _Py_IsFinalizing();
}
#endif

/* --- errors (module.c) -------------------------------------------------------------------------------------------- */

extern PyObject *muster_Error, *muster_TaskStopped, *muster_Failure;

/* Raises Error(status, muster_last_error()); gives NULL. */
PyObject *raise_status(int status);
/* Raises Error(status, detail); gives NULL. */
PyObject *raise_error(int status, const char *format, ...);

/* --- waiting (wait.c) --------------------------------------------------------------------------------------------- */

/* Around C code that may take long: the GIL is free between the two. Waits in the main thread run signal handlers; if
 * one of them has raised, the wait has ended early and released_end() gives false with that exception set. */
struct released {
    PyThreadState *state, *outer;
    bool main;
};
void released_begin(struct released *released);
bool released_end(struct released *released);

/* Seconds, or None for no limit; what is negative counts as 0. False: raised. */
bool timeout_read(PyObject *object, double *seconds);

/* --- arguments by position or name -------------------------------------------------------------------------------- */

/* Sorts the arguments of a METH_FASTCALL | METH_KEYWORDS function into `values`, NULL where none was given. `names` end
 * with NULL; the first `required` must be there. False: raised. */
bool arguments_sort(const char *function, const char *const *names, int required, PyObject *const *args,
                    Py_ssize_t count, PyObject *keywords, PyObject **values);

/* --- the types ---------------------------------------------------------------------------------------------------- */

/* Who is told what workers print and log. libmuster's threads hold a pointer to it until the pool is freed, which may
 * be later than its Python object goes. */
struct listeners {
    atomic_bool silent;           /* nobody is to be told any more */
    PyObject *on_output, *on_log; /* callables, or NULL */
};

typedef struct pool_object {
    PyObject object;
    muster_pool *pool;
    struct listeners *listeners;
    struct pool_object *next, *previous; /* among the pools that are to be freed when the interpreter ends */
    bool freed;                          /* muster_pool_free() was called */
} pool_object;

typedef struct {
    PyObject object;
    pool_object *pool;
    muster_definition *definition;
    PyObject *function, *body, *labels; /* str, bytes, tuple or NULL: what it was made of */
    PyObject *narrower;                 /* dict: more labels to the Definition that has them too; NULL: none yet */
} definition_object;

typedef struct {
    PyObject object;
    muster_options options;
    PyObject *labels; /* tuple, or NULL: calls with these options are of a definition that has these labels too */
} options_object;

typedef struct {
    PyObject object;
    muster_result *result;
    pool_object *pool;
    PyObject *on_done;    /* NULL: nobody is to be told, or has been */
    const void *exported; /* while a memoryview of a payload is made: which bytes */
    size_t exported_size;
} result_object;

extern PyTypeObject Pool_Type, Definition_Type, Options_Type, Result_Type, Task_Type, Supervisor_Type;

/* Python code runs in a thread of libmuster's between the two: the GIL is held. False: it cannot be had any more. With
 * `more` the GIL may be kept, because this is a callback thread, which gives it back when it has nothing left to do. */
bool listener_begin(void);
void listener_end(bool more);
bool listener_inside(void);  /* this thread is between the two */
int listeners_prepare(void); /* once; -1: raised */
/* True, with an exception set, where `what` would wait for the very thread that it is called in. */
bool listener_refuses(const char *what);

int pool_at_exit(PyObject *module); /* lets pools end before the interpreter does */
result_object *result_new(pool_object *pool, PyObject *on_done);
muster_callback result_done; /* with the result_object as its arg; takes over a reference to it */

PyObject *definition_define(pool_object *pool, PyObject *const *args, Py_ssize_t count, PyObject *keywords);
/* The same with these labels too; borrowed. NULL: raised. */
definition_object *definition_narrow(definition_object *self, PyObject *labels);
PyObject *worker_serve(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords);
PyObject *worker_serve_forks(PyObject *module, PyObject *fd);

PyObject *pool_submit(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords);
PyObject *pool_submit_raw(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords);
PyObject *pool_submit_many(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords);

/* A sequence of str as a tuple; NULL: raised, or the sequence is NULL, None or empty (no exception set). */
PyObject *strings_tuple(PyObject *sequence);
/* A sequence of str as a NULL-terminated array (to be freed with PyMem_Free()) that points into *holder. NULL: raised,
 * or nothing to hold (no exception set). */
const char **strings_read(PyObject *sequence, PyObject **holder);

#endif
