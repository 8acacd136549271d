/*
 * Calls: the arguments as C wants them, and their way into the pool.
 *
 * The parts of a call are used where they are: libmuster packs them into its own memory, or into shared memory, before
 * it returns. Until then each part is held through the buffer protocol.
 */
#include "bindings/python/extension/extension.h"

#include "bindings/c/binding.h"

#define FEW_PARTS 8                   /* of a single call that needs no memory for its arguments */
#define RELEASE_BYTES (64 * 1024)     /* of arguments, from which on the GIL is given away */
#define RELEASE_CALLS 16              /* the same, for calls */
#define CHECKED_CALLS ((size_t)10000) /* submitted between two looks at signals */

/* The arguments of some calls. */
struct arguments_held {
    size_t count, parts; /* of calls, and of parts in use */
    size_t room;         /* for parts */
    size_t bytes;        /* in all */
    muster_args *calls;
    muster_value *values;
    Py_buffer *views;
};

static bool part_hold(struct arguments_held *held, PyObject *part, enum muster_encoding encoding)
{
    Py_buffer *view = &held->views[held->parts];
    Py_INCREF(part); /* what gives a buffer may be Python code, which may drop it */
    int failed = PyObject_GetBuffer(part, view, PyBUF_ANY_CONTIGUOUS);
    Py_DECREF(part);
    if (failed)
        return false;
    held->values[held->parts++] = encoding == MUSTER_RAW ? muster_bytes(view->buf, (size_t)view->len)
                                                         : muster_opaque(encoding, view->buf, (size_t)view->len);
    held->bytes += (size_t)view->len;
    return true;
}

/* `parts` is a list or tuple. */
static bool call_hold(struct arguments_held *held, PyObject *parts)
{
    size_t first = held->parts;
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(parts); i++) {
        if (held->parts == held->room) {
            PyErr_SetString(PyExc_RuntimeError, "the parts of a call were changed while they were looked at");
            return false;
        }
        if (!part_hold(held, PySequence_Fast_GET_ITEM(parts, i), MUSTER_RAW))
            return false;
    }
    held->calls[held->count++] = (muster_args){&held->values[first], held->parts - first};
    return true;
}

static void parts_release(struct arguments_held *held)
{
    while (held->parts > 0)
        PyBuffer_Release(&held->views[--held->parts]);
}

/* --- submitting --------------------------------------------------------------------------------------------------- */

/* The arguments that the three methods share. */
struct terms {
    muster_options options;
    PyObject *on_done;
    bool nonblock;
};

static bool terms_read(struct terms *terms, const pool_object *pool, PyObject *const values[4])
{
    static const muster_options none;
    PyObject *options = values[2] == Py_None ? NULL : values[2];
    if (!PyObject_TypeCheck(values[0], &Definition_Type) || (options && !PyObject_TypeCheck(options, &Options_Type))) {
        PyErr_SetString(PyExc_TypeError, "a call wants a Definition, its arguments, and Options or None");
        return false;
    }
    definition_object *definition = (definition_object *)values[0];
    if (definition->pool != pool) {
        raise_error(MUSTER_EINVAL, "the definition belongs to another pool: define it in this one");
        return false;
    }
    terms->on_done = values[3] == Py_None ? NULL : values[3];
    if (terms->on_done && !PyCallable_Check(terms->on_done)) {
        PyErr_Format(PyExc_TypeError, "on_done must be callable or None, not %.100s", Py_TYPE(terms->on_done)->tp_name);
        return false;
    }
    if (options && ((options_object *)options)->labels)
        definition = definition_narrow(definition, ((options_object *)options)->labels);
    if (!definition)
        return false;
    terms->options = options ? ((options_object *)options)->options : none;
    terms->options.definition = definition->definition;
    terms->nonblock = terms->options.flags & MUSTER_NONBLOCK;
    return true;
}

/* Submits the calls from *first on and says in *first how far it has come. */
static int submit_released(muster_result *result, const struct arguments_held *held, const struct terms *terms,
                           size_t *first, bool *interrupted)
{
    struct released released;
    int status = 0;
    *interrupted = false;
    while (status == 0 && !*interrupted && *first < held->count) {
        size_t left = held->count - *first, submitted;
        size_t count = left < CHECKED_CALLS ? left : CHECKED_CALLS;
        released_begin(&released);
        status = binding_submit(result, *first, count, held->calls + *first, &terms->options, terms->options.flags,
                                &submitted);
        *interrupted = !released_end(&released) || PyErr_CheckSignals() != 0;
        *first += submitted;
    }
    return status;
}

/* False: raised. *submitted is how many calls were submitted all the same. */
static bool submit_all(muster_result *result, const struct arguments_held *held, const struct terms *terms,
                       size_t *submitted)
{
    bool few = held->count <= RELEASE_CALLS && held->bytes < RELEASE_BYTES, interrupted = false;
    int status = MUSTER_EAGAIN;
    *submitted = 0;
    if (few)
        status = binding_submit(result, 0, held->count, held->calls, &terms->options, MUSTER_NONBLOCK, submitted);
    if (status == MUSTER_EAGAIN && (!few || !terms->nonblock))
        status = submit_released(result, held, terms, submitted, &interrupted);
    if (status != 0 && !interrupted)
        raise_status(status);
    return status == 0 && !interrupted;
}

/* A reference to the result object is result_done()'s, if there is somebody to be told. */
static PyObject *submit(pool_object *pool, const struct arguments_held *held, struct terms *terms)
{
    size_t submitted;
    result_object *self = result_new(pool, terms->on_done);
    if (!self)
        return NULL;
    if (terms->on_done) {
        terms->options.on_success = terms->options.on_error = result_done;
        terms->options.arg = self;
    }
    int status = binding_create(pool->pool, held->count, &terms->options, &self->result);
    if (status != 0) {
        raise_status(status);
        Py_DECREF(self);
        return NULL;
    }
    if (terms->on_done)
        Py_INCREF(self);
    if (submit_all(self->result, held, terms, &submitted))
        return (PyObject *)self;
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (!binding_abandon(self->result, submitted) && terms->on_done)
        Py_DECREF(self);
    Py_DECREF(self);
    PyErr_Restore(type, value, traceback);
    return NULL;
}

/* --- the methods -------------------------------------------------------------------------------------------------- */

static const char *const call_names[] = {"definition", "parts", "options", "on_done", NULL};
static const char *const raw_names[] = {"definition", "payload", "options", "on_done", NULL};
static const char *const many_names[] = {"definition", "calls", "options", "on_done", NULL};

static bool room_make(struct arguments_held *held, size_t calls, size_t parts)
{
    held->room = parts;
    held->calls = PyMem_New(muster_args, calls + 1);
    held->values = PyMem_New(muster_value, parts + 1);
    held->views = PyMem_New(Py_buffer, parts + 1);
    if (held->calls && held->values && held->views)
        return true;
    PyErr_NoMemory();
    return false;
}

static void room_free(struct arguments_held *held)
{
    parts_release(held);
    PyMem_Free(held->calls);
    PyMem_Free(held->values);
    PyMem_Free(held->views);
}

/* A call with few parts, which need no memory of their own. */
static PyObject *submit_few(pool_object *pool, PyObject *parts, struct terms *terms)
{
    muster_args call;
    muster_value values[FEW_PARTS];
    Py_buffer views[FEW_PARTS];
    struct arguments_held held = {.room = FEW_PARTS, .calls = &call, .values = values, .views = views};
    PyObject *result = call_hold(&held, parts) ? submit(pool, &held, terms) : NULL;
    parts_release(&held);
    return result;
}

/* `calls` are lists or tuples of parts. */
static PyObject *submit_calls(pool_object *pool, PyObject *const *calls, size_t count, struct terms *terms)
{
    struct arguments_held held = {0};
    size_t parts = 0;
    PyObject *result = NULL;
    for (size_t i = 0; i < count; i++)
        parts += (size_t)PySequence_Fast_GET_SIZE(calls[i]);
    bool good = room_make(&held, count, parts);
    for (size_t i = 0; good && i < count; i++)
        good = call_hold(&held, calls[i]);
    if (good)
        result = submit(pool, &held, terms);
    room_free(&held);
    return result;
}

PyObject *pool_submit(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    struct terms terms;
    PyObject *values[4], *result;
    pool_object *pool = (pool_object *)self;
    if (!arguments_sort("submit", call_names, 2, args, count, keywords, values) || !terms_read(&terms, pool, values))
        return NULL;
    PyObject *parts = PySequence_Fast(values[1], "the parts of a call are a sequence of buffers");
    if (!parts)
        return NULL;
    if (PySequence_Fast_GET_SIZE(parts) <= FEW_PARTS)
        result = submit_few(pool, parts, &terms);
    else
        result = submit_calls(pool, &parts, 1, &terms);
    Py_DECREF(parts);
    return result;
}

PyObject *pool_submit_raw(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    struct terms terms;
    PyObject *values[4], *result = NULL;
    pool_object *pool = (pool_object *)self;
    muster_value value;
    muster_args call = {&value, 1};
    Py_buffer view;
    struct arguments_held held = {.room = 1, .calls = &call, .values = &value, .views = &view};
    if (!arguments_sort("submit_raw", raw_names, 2, args, count, keywords, values) ||
        !terms_read(&terms, pool, values) || !part_hold(&held, values[1], MUSTER_MSGPACK))
        return NULL;
    held.count = 1;
    result = submit(pool, &held, &terms);
    parts_release(&held);
    return result;
}

PyObject *pool_submit_many(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    struct terms terms;
    PyObject *values[4], *result = NULL;
    pool_object *pool = (pool_object *)self;
    if (!arguments_sort("submit_many", many_names, 2, args, count, keywords, values) ||
        !terms_read(&terms, pool, values))
        return NULL;
    PyObject *calls = PySequence_Fast(values[1], "the calls are a sequence of sequences of buffers");
    size_t number = calls ? (size_t)PySequence_Fast_GET_SIZE(calls) : 0, made = 0;
    PyObject **parts = calls ? PyMem_New(PyObject *, number + 1) : NULL;
    while (parts && made < number) {
        if ((size_t)PySequence_Fast_GET_SIZE(calls) != number) { /* to read a call may run Python code */
            PyErr_SetString(PyExc_RuntimeError, "the calls were changed while they were looked at");
            break;
        }
        PyObject *item = PySequence_Fast_GET_ITEM(calls, (Py_ssize_t)made);
        parts[made] = PySequence_Fast(item, "each call is a sequence of buffers");
        if (!parts[made])
            break;
        made++;
    }
    if (parts && made == number)
        result = submit_calls(pool, parts, number, &terms);
    else if (!PyErr_Occurred())
        PyErr_NoMemory();
    while (made > 0)
        Py_DECREF(parts[--made]);
    PyMem_Free(parts);
    Py_XDECREF(calls);
    return result;
}
