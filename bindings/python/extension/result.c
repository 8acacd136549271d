/*
 * Result: the outcome of one call, or of many that were submitted together.
 *
 * Its payloads are handed out as memory: the Result is the exporter of every memoryview of them, so the memory lives as
 * long as anything that refers to it, and nothing is copied.
 */
#include "bindings/python/extension/extension.h"

#include "bindings/c/binding.h"
#include "bindings/c/value.h"
#include "core/unpack.h"

/* --- who is told of the outcome ----------------------------------------------------------------------------------- */

result_object *result_new(pool_object *pool, PyObject *on_done)
{
    result_object *self = PyObject_GC_New(result_object, &Result_Type);
    if (!self)
        return NULL;
    self->result = NULL;
    self->pool = (pool_object *)Py_NewRef((PyObject *)pool);
    self->on_done = NULL;
    self->exported = NULL;
    self->exported_size = 0;
    if (on_done)
        self->on_done = Py_NewRef(on_done);
    PyObject_GC_Track(self);
    return self;
}

static void tell(result_object *self, PyObject *on_done)
{
    PyObject *answer = PyObject_CallFunctionObjArgs(on_done, self, NULL);
    if (!answer)
        PyErr_WriteUnraisable(on_done);
    Py_XDECREF(answer);
}

/* One callable, or a list of them. */
static void tell_all(result_object *self)
{
    PyObject *on_done = self->on_done;
    self->on_done = NULL;
    if (on_done && PyList_CheckExact(on_done))
        for (Py_ssize_t i = 0; i < PyList_GET_SIZE(on_done); i++)
            tell(self, PyList_GET_ITEM(on_done, i));
    else if (on_done)
        tell(self, on_done);
    Py_XDECREF(on_done);
}

void result_done(muster_result *result, void *arg)
{
    result_object *self = arg;
    (void)result;
    if (!listener_begin())
        return;
    if (!atomic_load(&self->pool->listeners->silent))
        tell_all(self);
    Py_DECREF(self);
    listener_end(true);
}

/* One more is to be told: the callable alone, or a list from the second on. */
static int add_listener(result_object *self, PyObject *on_done)
{
    if (!self->on_done) {
        self->on_done = Py_NewRef(on_done);
        return 0;
    }
    if (!PyList_CheckExact(self->on_done)) {
        PyObject *list = PyList_New(1);
        if (!list)
            return -1;
        PyList_SET_ITEM(list, 0, self->on_done);
        self->on_done = list;
    }
    return PyList_Append(self->on_done, on_done);
}

static PyObject *result_add_done(result_object *self, PyObject *on_done)
{
    if (!PyCallable_Check(on_done))
        return PyErr_Format(PyExc_TypeError, "on_done must be callable, not %.100s", Py_TYPE(on_done)->tp_name);
    bool watched = self->on_done;
    if (!muster_ready(self->result) && !watched) {
        Py_INCREF(self);
        int status = binding_watch(self->result, result_done, self);
        watched = status == 1;
        if (!watched)
            Py_DECREF(self);
        if (status < 0)
            return raise_status(status);
    }
    if (watched && add_listener(self, on_done) != 0)
        return NULL;
    if (!watched)
        tell(self, on_done);
    Py_RETURN_NONE;
}

/* --- waiting ------------------------------------------------------------------------------------------------------ */

static PyObject *result_wait_method(result_object *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    static const char *const names[] = {"timeout", NULL};
    struct released released;
    PyObject *timeout;
    double seconds;
    if (!arguments_sort("wait", names, 0, args, count, keywords, &timeout) || !timeout_read(timeout, &seconds))
        return NULL;
    if (muster_ready(self->result))
        Py_RETURN_TRUE;
    if (listener_refuses("Result.wait()"))
        return NULL;
    released_begin(&released);
    int status = muster_wait(self->result, seconds);
    if (!released_end(&released))
        return NULL;
    if (status != 0 && status != MUSTER_ETIMEDOUT)
        return raise_status(status);
    return PyBool_FromLong(status == 0);
}

static PyObject *result_ready(result_object *self, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(muster_ready(self->result));
}

static PyObject *result_successful(result_object *self, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(muster_successful(self->result));
}

static PyObject *result_cancel_method(result_object *self, PyObject *unused)
{
    (void)unused;
    int status = muster_cancel(self->result);
    return status == 0 ? Py_NewRef(Py_None) : raise_status(status);
}

static PyObject *result_fileno(result_object *self, PyObject *unused)
{
    (void)unused;
    int fd = muster_result_fd(self->result);
    return fd >= 0 ? PyLong_FromLong(fd) : raise_status(fd);
}

static Py_ssize_t result_length(result_object *self)
{
    return (Py_ssize_t)muster_result_count(self->result);
}

/* --- payloads ----------------------------------------------------------------------------------------------------- */

static int result_getbuffer(result_object *self, Py_buffer *view, int flags)
{
    static char nothing;
    if (!self->exported) {
        view->obj = NULL;
        PyErr_SetString(PyExc_BufferError, "a Result has several payloads: use parts() or raw()");
        return -1;
    }
    void *data = (void *)(uintptr_t)(self->exported_size > 0 ? self->exported : &nothing);
    return PyBuffer_FillInfo(view, (PyObject *)self, data, (Py_ssize_t)self->exported_size, 0, flags);
}

static PyObject *export(result_object *self, const void *data, size_t size)
{
    self->exported = data;
    self->exported_size = size;
    PyObject *view = PyMemoryView_FromObject((PyObject *)self);
    self->exported = NULL;
    return view;
}

/* The value of the call that the arguments name. NULL: raised, or, without an exception, the call has failed. */
static const muster_value *value_find(const result_object *self, const char *method, PyObject *const *args,
                                      Py_ssize_t count, PyObject *keywords, size_t *index)
{
    static const char *const names[] = {"index", NULL};
    PyObject *object;
    if (!arguments_sort(method, names, 0, args, count, keywords, &object))
        return NULL;
    Py_ssize_t number = object ? PyNumber_AsSsize_t(object, PyExc_IndexError) : 0;
    if (number == -1 && PyErr_Occurred())
        return NULL;
    if (!muster_ready(self->result)) {
        raise_error(MUSTER_ETIMEDOUT, "the result is not ready: wait() for it");
        return NULL;
    }
    if (number < 0 || (size_t)number >= muster_result_count(self->result)) {
        PyErr_Format(PyExc_IndexError, "call %zd of %zu", number, muster_result_count(self->result));
        return NULL;
    }
    *index = (size_t)number;
    return muster_result_value(self->result, *index);
}

static PyObject *not_binaries(void)
{
    return raise_error(MUSTER_ETYPE, "the payload is not a msgpack array of binaries: use raw()");
}

static PyObject *result_parts(result_object *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    size_t index, length;
    const muster_value *value = value_find(self, "parts", args, count, keywords, &index);
    if (!value)
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    struct bytes rest = {value->data, value->size}, part;
    if (value->type != MUSTER_TYPE_MSGPACK || !unpack_array(&rest, &length))
        return not_binaries();
    PyObject *list = PyList_New((Py_ssize_t)length);
    for (size_t i = 0; list && i < length; i++) {
        PyObject *view = unpack_data(&rest, &part) ? export(self, part.data, part.length) : not_binaries();
        if (view)
            PyList_SET_ITEM(list, (Py_ssize_t)i, view);
        else
            Py_CLEAR(list);
    }
    return list;
}

/* A value of which no bytes were kept, encoded again. A payload that is not msgpack is given as a binary. */
static PyObject *encoded(const muster_value *value)
{
    muster_value whole = value->type == MUSTER_TYPE_OPAQUE ? muster_bytes(value->data, value->size) : *value;
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)value_size(&whole));
    if (!bytes)
        return NULL;
    value_pack((unsigned char *)PyBytes_AS_STRING(bytes), &whole);
    PyObject *view = PyMemoryView_FromObject(bytes);
    Py_DECREF(bytes);
    return view;
}

static PyObject *result_raw(result_object *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    size_t index;
    const muster_value *value = value_find(self, "raw", args, count, keywords, &index);
    if (!value)
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    struct bytes payload = binding_payload(self->result, index);
    if (!payload.data || value->type == MUSTER_TYPE_OPAQUE)
        return encoded(value);
    return export(self, payload.data, payload.length);
}

/* --- failures ----------------------------------------------------------------------------------------------------- */

static PyObject *text(const char *string)
{
    return PyUnicode_DecodeUTF8(string, (Py_ssize_t)strlen(string), "replace");
}

static PyObject *failure_make(const muster_error *error)
{
    PyObject *value =
        error->value ? PyBytes_FromStringAndSize(error->value, (Py_ssize_t)error->value_size) : Py_NewRef(Py_None);
    return PyObject_CallFunction(muster_Failure, "iNNNNNNLiiNn", error->status, text(error->kind), text(error->message),
                                 text(error->traceback), text(error->function), text(error->worker), text(error->host),
                                 (long long)error->pid, error->signal, error->exit_status, value,
                                 (Py_ssize_t)error->item);
}

static PyObject *result_failure(result_object *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    static const char *const names[] = {"index", NULL};
    PyObject *object;
    if (!arguments_sort("failure", names, 0, args, count, keywords, &object))
        return NULL;
    Py_ssize_t index = object ? PyNumber_AsSsize_t(object, PyExc_IndexError) : -1;
    if (index == -1 && PyErr_Occurred())
        return NULL;
    const muster_error *error = muster_result_error(self->result, index < 0 ? SIZE_MAX : (size_t)index);
    return error ? failure_make(error) : Py_NewRef(Py_None);
}

/* --- the type ----------------------------------------------------------------------------------------------------- */

static int result_traverse(result_object *self, visitproc visit, void *arg)
{
    Py_VISIT(self->on_done);
    Py_VISIT(self->pool);
    return 0;
}

/* The pool stays: it is needed as long as the handle, and has no way back to us but through on_done. */
static int result_clear(result_object *self)
{
    Py_CLEAR(self->on_done);
    return 0;
}

static void result_dealloc(result_object *self)
{
    PyObject_GC_UnTrack(self);
    muster_result_free(self->result);
    Py_XDECREF(self->on_done);
    Py_DECREF(self->pool);
    PyObject_GC_Del(self);
}

#define FAST(function) ((PyCFunction)(void (*)(void))(function)), METH_FASTCALL | METH_KEYWORDS
#define PLAIN(function) ((PyCFunction)(void (*)(void))(function)), METH_NOARGS

static PyMethodDef methods[] = {
    {"wait", FAST(result_wait_method), "wait(timeout=None): True once the outcome is there."},
    {"ready", PLAIN(result_ready), "Is the outcome there?"},
    {"successful", PLAIN(result_successful), "Has every call succeeded? False while the outcome is not there."},
    {"cancel", PLAIN(result_cancel_method), "Asks to cancel; the outcome still arrives."},
    {"add_done", (PyCFunction)(void (*)(void))result_add_done, METH_O,
     "add_done(on_done): has it called with this result when the outcome is there."},
    {"fileno", PLAIN(result_fileno), "A descriptor that becomes readable when the outcome is there."},
    {"parts", FAST(result_parts), "parts(index=0): the binaries of a call's payload."},
    {"raw", FAST(result_raw), "raw(index=0): a call's whole payload."},
    {"failure", FAST(result_failure), "failure(index=-1): why a call failed, the first one if none is named."},
    {0},
};

static PySequenceMethods as_sequence = {.sq_length = (lenfunc)result_length};
static PyBufferProcs as_buffer = {.bf_getbuffer = (getbufferproc)result_getbuffer};

PyTypeObject Result_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "muster._muster.Result",
    .tp_doc = "The outcome of one call, or of many.",
    .tp_basicsize = sizeof(result_object),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_dealloc = (destructor)result_dealloc,
    .tp_traverse = (traverseproc)result_traverse,
    .tp_clear = (inquiry)result_clear,
    .tp_as_sequence = &as_sequence,
    .tp_as_buffer = &as_buffer,
    .tp_methods = methods,
};
