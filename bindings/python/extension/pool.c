/*
 * Pool: one muster_pool.
 *
 * The structure behind the handle is kept until the Python object goes, also after free(): so a thread that is in a
 * method while another one frees the pool gets an error and not freed memory.
 *
 * When the interpreter ends, every pool that is still there is freed before Python is torn down: after that there is no
 * thread of libmuster's left that could want the GIL.
 */
#include "bindings/python/extension/extension.h"

#include "bindings/c/pool.h"

static pool_object *pools; /* that are not freed */
static bool over;          /* the interpreter ends: no more pools */

static void pools_add(pool_object *self)
{
    self->next = pools;
    if (pools)
        pools->previous = self;
    pools = self;
}

static void pools_remove(pool_object *self)
{
    if (self->previous)
        self->previous->next = self->next;
    else if (pools == self)
        pools = self->next;
    if (self->next)
        self->next->previous = self->previous;
    self->next = self->previous = NULL;
}

/* --- what workers say --------------------------------------------------------------------------------------------- */

static void tell(struct listeners *listeners, PyObject *const *place, PyObject *arguments)
{
    PyObject *listener = atomic_load(&listeners->silent) ? NULL : *place;
    Py_XINCREF(listener);
    PyObject *answer = listener && arguments ? PyObject_CallObject(listener, arguments) : NULL;
    if (!answer && PyErr_Occurred())
        PyErr_WriteUnraisable(listener);
    Py_XDECREF(answer);
    Py_XDECREF(arguments);
    Py_XDECREF(listener);
}

static void on_output(int stream, const char *worker, const char *line, size_t size, void *arg)
{
    struct listeners *listeners = arg;
    if (atomic_load(&listeners->silent) || !listener_begin())
        return;
    tell(listeners, &listeners->on_output, Py_BuildValue("(isy#)", stream, worker, line, (Py_ssize_t)size));
    listener_end(false);
}

static void on_log(int level, const char *worker, const char *text, void *arg)
{
    struct listeners *listeners = arg;
    if (atomic_load(&listeners->silent) || !listener_begin())
        return;
    PyObject *decoded = PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace");
    tell(listeners, &listeners->on_log, decoded ? Py_BuildValue("(isN)", level, worker, decoded) : NULL);
    listener_end(true);
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

/* The arguments of Pool() as C wants them, and what keeps them alive while the pool is opened. */
struct opening {
    muster_pool_options options;
    const char *url;
    const char **fork_server, **labels, **plugins;
    PyObject *holders[3];
    Py_buffer payload;
    muster_value initializer_value;
};

static void opening_free(struct opening *opening)
{
    PyMem_Free(opening->fork_server);
    PyMem_Free(opening->labels);
    PyMem_Free(opening->plugins);
    for (size_t i = 0; i < 3; i++)
        Py_XDECREF(opening->holders[i]);
    if (opening->payload.obj)
        PyBuffer_Release(&opening->payload);
}

static bool read_strings(struct opening *opening, PyObject *const sequences[3])
{
    const char ***const places[3] = {&opening->fork_server, &opening->labels, &opening->plugins};
    for (size_t i = 0; i < 3; i++) {
        *places[i] = strings_read(sequences[i], &opening->holders[i]);
        if (!*places[i] && PyErr_Occurred())
            return false;
    }
    opening->options.fork_server = opening->fork_server;
    opening->options.labels = opening->labels;
    opening->options.plugins = opening->plugins;
    return true;
}

static bool read_initializer(struct opening *opening, PyObject *payload)
{
    if (!payload || payload == Py_None)
        return true;
    if (PyObject_GetBuffer(payload, &opening->payload, PyBUF_SIMPLE) != 0)
        return false;
    opening->initializer_value = muster_opaque(MUSTER_MSGPACK, opening->payload.buf, (size_t)opening->payload.len);
    opening->options.initializer_args = (muster_args){&opening->initializer_value, 1};
    return true;
}

static bool read_callable(PyObject *object, PyObject **place, const char *name)
{
    if (!object || object == Py_None)
        return true;
    if (!PyCallable_Check(object)) {
        PyErr_Format(PyExc_TypeError, "%s must be callable or None, not %.100s", name, Py_TYPE(object)->tp_name);
        return false;
    }
    *place = Py_NewRef(object);
    return true;
}

static bool opening_read(struct opening *opening, struct listeners *listeners, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"url",
                            "authkey_file",
                            "connect_timeout",
                            "window",
                            "on_output",
                            "on_log",
                            "fork_server",
                            "initializer",
                            "initializer_payload",
                            "max_tasks",
                            "labels",
                            "memory_limit",
                            "raw_output",
                            "plugins",
                            "exec",
                            "payload_limit",
                            NULL};
    muster_pool_options *options = &opening->options;
    PyObject *output = NULL, *log = NULL, *payload = NULL, *sequences[3] = {NULL, NULL, NULL};
    Py_ssize_t window = 0, memory_limit = 0, payload_limit = 0;
    int raw_output = 0, exec = 0;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "s|$zdnOOOzOIOnpOpn:Pool", names, &opening->url,
                                     &options->authkey_file, &options->connect_timeout, &window, &output, &log,
                                     &sequences[0], &options->initializer, &payload, &options->max_tasks, &sequences[1],
                                     &memory_limit, &raw_output, &sequences[2], &exec, &payload_limit))
        return false;
    if (window < 0 || memory_limit < 0 || payload_limit < 0) {
        PyErr_SetString(PyExc_ValueError, "window, memory_limit and payload_limit must not be negative");
        return false;
    }
    options->window_tasks = (size_t)window;
    options->memory_limit = (size_t)memory_limit;
    options->payload_limit = (size_t)payload_limit;
    options->raw_output = raw_output;
    options->exec = exec;
    if (!read_strings(opening, sequences) || !read_initializer(opening, payload) ||
        !read_callable(output, &listeners->on_output, "on_output") || !read_callable(log, &listeners->on_log, "on_log"))
        return false;
    options->on_output = listeners->on_output ? on_output : NULL;
    options->on_log = listeners->on_log ? on_log : NULL;
    options->arg = listeners;
    return true;
}

/* The handle is kept by a reference of our own too, see above. */
static bool open_pool(pool_object *self, struct opening *opening)
{
    struct released released;
    muster_pool *pool = NULL;
    if (over) {
        raise_error(MUSTER_ECLOSED, "no pool can be opened while the interpreter ends");
        return false;
    }
    released_begin(&released);
    int status = muster_pool_open(&pool, opening->url, &opening->options);
    bool done = released_end(&released);
    if (pool) {
        self->pool = pool;
        pool_retain(pool);
        pools_add(self);
    }
    if (done && status != 0)
        raise_status(status);
    return done && status == 0;
}

static PyObject *pool_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    struct opening opening = {0};
    pool_object *self = (pool_object *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    self->listeners = PyMem_RawCalloc(1, sizeof *self->listeners);
    if (!self->listeners)
        PyErr_NoMemory();
    bool opened =
        self->listeners && opening_read(&opening, self->listeners, args, keywords) && open_pool(self, &opening);
    opening_free(&opening);
    if (opened)
        return (PyObject *)self;
    Py_DECREF(self);
    return NULL;
}

/* --- the end ------------------------------------------------------------------------------------------------------ */

/* Frees the pool, once. In a forked child nothing is done: everything belongs to the parent. */
static void free_pool(pool_object *self, bool terminate)
{
    if (!self->pool || self->freed || pool_forked(self->pool))
        return;
    self->freed = true;
    pools_remove(self);
    Py_BEGIN_ALLOW_THREADS if (terminate) muster_pool_terminate(self->pool);
    muster_pool_free(self->pool);
    Py_END_ALLOW_THREADS
}

/* A pool whose object is gone, in the hands of a thread that is not one of its own. */
struct remains {
    muster_pool *pool;
    struct listeners *listeners;
    bool freed;
};

static void *bury(void *arg)
{
    struct remains remains = *(struct remains *)arg;
    PyMem_RawFree(arg);
    if (!remains.freed) {
        muster_pool_terminate(remains.pool);
        muster_pool_free(remains.pool);
    }
    pool_release(remains.pool);
    PyMem_RawFree(remains.listeners);
    return NULL;
}

/* What is collected while a thread of the pool's runs Python code cannot be freed there: that waits for the thread. */
static bool bury_elsewhere(const pool_object *self)
{
    pthread_t thread;
    struct remains *remains = listener_inside() ? PyMem_RawMalloc(sizeof *remains) : NULL;
    if (!remains)
        return false;
    *remains = (struct remains){self->pool, self->listeners, self->freed};
    if (pthread_create(&thread, NULL, bury, remains) == 0) {
        pthread_detach(thread);
        return true;
    }
    PyMem_RawFree(remains);
    return false;
}

/* The callables are let go of with the pool still there: their ends may be anything. */
static int pool_clear(pool_object *self)
{
    if (self->listeners) {
        Py_CLEAR(self->listeners->on_output);
        Py_CLEAR(self->listeners->on_log);
    }
    return 0;
}

static void pool_dealloc(pool_object *self)
{
    PyObject *type, *value, *traceback;
    PyObject_GC_UnTrack(self);
    PyErr_Fetch(&type, &value, &traceback);
    pools_remove(self);
    if (self->listeners) {
        atomic_store(&self->listeners->silent, true);
        pool_clear(self);
    }
    if (!self->pool) {
        PyMem_RawFree(self->listeners);
    } else if (!pool_forked(self->pool) && !bury_elsewhere(self)) {
        free_pool(self, true);
        pool_release(self->pool);
        PyMem_RawFree(self->listeners);
    }
    PyErr_Restore(type, value, traceback);
    Py_TYPE(self)->tp_free(self);
}

static int pool_traverse(pool_object *self, visitproc visit, void *arg)
{
    if (self->listeners) {
        Py_VISIT(self->listeners->on_output);
        Py_VISIT(self->listeners->on_log);
    }
    return 0;
}

static PyObject *pool_close(pool_object *self, PyObject *unused)
{
    (void)unused;
    int status = muster_pool_close(self->pool);
    return status == 0 ? Py_NewRef(Py_None) : raise_status(status);
}

static PyObject *pool_terminate(pool_object *self, PyObject *unused)
{
    int status;
    (void)unused;
    Py_BEGIN_ALLOW_THREADS status = muster_pool_terminate(self->pool);
    Py_END_ALLOW_THREADS return status == 0 ? Py_NewRef(Py_None) : raise_status(status);
}

static PyObject *pool_join(pool_object *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    static const char *const names[] = {"timeout", NULL};
    struct released released;
    PyObject *timeout;
    double seconds;
    if (listener_refuses("Pool.join()") || !arguments_sort("join", names, 0, args, count, keywords, &timeout) ||
        !timeout_read(timeout, &seconds))
        return NULL;
    released_begin(&released);
    int status = muster_pool_join(self->pool, seconds);
    if (!released_end(&released))
        return NULL;
    if (status != 0 && status != MUSTER_ETIMEDOUT)
        return raise_status(status);
    return PyBool_FromLong(status == 0);
}

static PyObject *pool_free_method(pool_object *self, PyObject *unused)
{
    (void)unused;
    int status = pool_check(self->pool);
    if (status != 0)
        return raise_status(status);
    if (listener_refuses("Pool.free()"))
        return NULL;
    free_pool(self, false);
    Py_RETURN_NONE;
}

/* --- questions ---------------------------------------------------------------------------------------------------- */

static PyObject *pool_workers(pool_object *self, PyObject *unused)
{
    (void)unused;
    int workers = muster_pool_workers(self->pool);
    return workers >= 0 ? PyLong_FromLong(workers) : raise_status(workers);
}

static PyObject *pool_stats(pool_object *self, PyObject *unused)
{
    muster_stats stats;
    (void)unused;
    int status = muster_pool_stats(self->pool, &stats);
    if (status != 0)
        return raise_status(status);
    return Py_BuildValue("{sKsKsKsKsKsKsKsK}", "submitted", (unsigned long long)stats.submitted, "succeeded",
                         (unsigned long long)stats.succeeded, "failed", (unsigned long long)stats.failed, "cancelled",
                         (unsigned long long)stats.cancelled, "timed_out", (unsigned long long)stats.timed_out, "lost",
                         (unsigned long long)stats.lost, "outstanding", (unsigned long long)stats.outstanding,
                         "outstanding_bytes", (unsigned long long)stats.outstanding_bytes);
}

static PyObject *pool_status(pool_object *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    static const char *const names[] = {"timeout", NULL};
    struct released released;
    PyObject *timeout, *text = NULL;
    double seconds;
    char *json = NULL;
    if (listener_refuses("Pool.status()") || !arguments_sort("status", names, 0, args, count, keywords, &timeout) ||
        !timeout_read(timeout, &seconds))
        return NULL;
    released_begin(&released);
    int status = muster_pool_status(self->pool, &json, seconds);
    if (released_end(&released))
        text = status == 0 ? PyUnicode_FromString(json) : raise_status(status);
    free(json);
    return text;
}

/* --- the type ----------------------------------------------------------------------------------------------------- */

#define FAST(function) ((PyCFunction)(void (*)(void))(function)), METH_FASTCALL | METH_KEYWORDS
#define PLAIN(function) ((PyCFunction)(void (*)(void))(function)), METH_NOARGS

static PyMethodDef methods[] = {
    {"define", FAST(definition_define), "define(function, body=b'', labels=()): what calls name."},
    {"submit", FAST(pool_submit), "submit(definition, parts, options=None, on_done=None): one call."},
    {"submit_raw", FAST(pool_submit_raw), "submit_raw(definition, payload, options=None, on_done=None): one call."},
    {"submit_many", FAST(pool_submit_many), "submit_many(definition, calls, options=None, on_done=None): many calls."},
    {"close", PLAIN(pool_close), "No more calls; those submitted go on."},
    {"terminate", PLAIN(pool_terminate), "Cancels every outstanding call and ends the local workers."},
    {"join", FAST(pool_join), "join(timeout=None): waits until the closed pool is over; False if it took too long."},
    {"free", PLAIN(pool_free_method), "Ends the pool, terminating it if need be."},
    {"workers", PLAIN(pool_workers), "How many workers are connected."},
    {"stats", PLAIN(pool_stats), "What became of the calls of this pool."},
    {"status", FAST(pool_status), "status(timeout=None): what the coordinator knows, as JSON."},
    {0},
};

PyTypeObject Pool_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "muster._muster.Pool",
    .tp_doc = "One pool of workers.",
    .tp_basicsize = sizeof(pool_object),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = pool_new,
    .tp_dealloc = (destructor)pool_dealloc,
    .tp_traverse = (traverseproc)pool_traverse,
    .tp_clear = (inquiry)pool_clear,
    .tp_methods = methods,
};

/* --- the end of the interpreter ----------------------------------------------------------------------------------- */

static PyObject *at_exit(PyObject *unused, PyObject *arguments)
{
    (void)unused;
    (void)arguments;
    over = true;
    for (pool_object *self; (self = pools) != NULL;) {
        Py_INCREF(self);
        atomic_store(&self->listeners->silent, true);
        free_pool(self, true);
        pools_remove(self); /* also in a forked child, where nothing was freed */
        Py_DECREF(self);
    }
    Py_RETURN_NONE;
}

int pool_at_exit(PyObject *module)
{
    if (listeners_prepare() != 0)
        return -1;
    static PyMethodDef function = {"_end_pools", at_exit, METH_NOARGS, NULL};
    PyObject *callable = PyCFunction_New(&function, module);
    PyObject *atexit = callable ? PyImport_ImportModule("atexit") : NULL;
    PyObject *answer = atexit ? PyObject_CallMethod(atexit, "register", "O", callable) : NULL;
    Py_XDECREF(callable);
    Py_XDECREF(atexit);
    Py_XDECREF(answer);
    return answer ? 0 : -1;
}
