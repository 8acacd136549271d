/*
 * Definition and Options: what a call names, made once and used for many calls.
 */
#include "bindings/python/extension/extension.h"

/* --- definitions -------------------------------------------------------------------------------------------------- */

static definition_object *definition_make(pool_object *pool, const char *function, const Py_buffer *body,
                                          const char *const *labels)
{
    muster_definition *definition;
    int status = muster_define(pool->pool, function, body->buf, (size_t)body->len, labels, &definition);
    if (status != 0) {
        raise_status(status);
        return NULL;
    }
    definition_object *self = PyObject_New(definition_object, &Definition_Type);
    if (!self) {
        muster_definition_free(definition);
        return NULL;
    }
    self->pool = (pool_object *)Py_NewRef((PyObject *)pool);
    self->definition = definition;
    return self;
}

PyObject *definition_define(pool_object *pool, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    static const char *const names[] = {"function", "body", "labels", NULL};
    PyObject *values[3], *holder, *made = NULL;
    Py_buffer body = {0};
    if (!arguments_sort("define", names, 1, args, count, keywords, values))
        return NULL;
    const char *function = PyUnicode_AsUTF8(values[0]);
    if (!function || (values[1] && PyObject_GetBuffer(values[1], &body, PyBUF_SIMPLE) != 0))
        return NULL;
    const char **labels = strings_read(values[2], &holder);
    if (!PyErr_Occurred())
        made = (PyObject *)definition_make(pool, function, &body, labels);
    PyMem_Free(labels);
    Py_XDECREF(holder);
    if (body.obj)
        PyBuffer_Release(&body);
    return made;
}

static void definition_dealloc(definition_object *self)
{
    muster_definition_free(self->definition);
    Py_DECREF(self->pool);
    Py_TYPE(self)->tp_free(self);
}

PyTypeObject Definition_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "muster._muster.Definition",
    .tp_doc = "A function with its body, as calls name it: made by Pool.define().",
    .tp_basicsize = sizeof(definition_object),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_dealloc = (destructor)definition_dealloc,
    .tp_free = PyObject_Free,
};

/* --- options ------------------------------------------------------------------------------------------------------ */

static PyObject *options_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"time_limit", "grace",  "retries",  "retry_lost_only",
                            "priority",   "labels", "nonblock", NULL};
    PyObject *labels = NULL;
    int lost_only = 0, nonblock = 0;
    options_object *self = (options_object *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    muster_options *options = &self->options;
    if (PyArg_ParseTupleAndKeywords(args, keywords, "|$ddIpiOp:Options", names, &options->time_limit, &options->grace,
                                    &options->retries, &lost_only, &options->priority, &labels, &nonblock)) {
        self->labels = strings_read(labels, &self->label_list);
        options->labels = self->labels;
        options->retry_lost_only = lost_only;
        options->flags = nonblock ? MUSTER_NONBLOCK : 0;
    }
    if (!PyErr_Occurred())
        return (PyObject *)self;
    Py_DECREF(self);
    return NULL;
}

static void options_dealloc(options_object *self)
{
    PyMem_Free(self->labels);
    Py_XDECREF(self->label_list);
    Py_TYPE(self)->tp_free(self);
}

PyTypeObject Options_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "muster._muster.Options",
    .tp_doc = "How calls are to run.",
    .tp_basicsize = sizeof(options_object),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = options_new,
    .tp_dealloc = (destructor)options_dealloc,
};
