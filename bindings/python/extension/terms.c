/*
 * Definition and Options: what a call names, made once and used for many calls.
 */
#include "bindings/python/extension/extension.h"

/* --- definitions -------------------------------------------------------------------------------------------------- */

static void definition_dealloc(definition_object *self)
{
    muster_definition_free(self->definition);
    Py_XDECREF(self->function);
    Py_XDECREF(self->body);
    Py_XDECREF(self->labels);
    Py_XDECREF(self->narrower);
    Py_DECREF(self->pool);
    PyObject_Free(self);
}

static definition_object *definition_make(pool_object *pool, PyObject *function, PyObject *body, PyObject *labels)
{
    definition_object *self = PyObject_New(definition_object, &Definition_Type);
    if (!self)
        return NULL;
    self->pool = (pool_object *)Py_NewRef((PyObject *)pool);
    self->definition = NULL;
    self->function = Py_NewRef(function);
    self->body = body ? PyBytes_FromObject(body) : PyBytes_FromStringAndSize(NULL, 0);
    self->labels = NULL;
    self->narrower = NULL;
    const char *name = PyUnicode_AsUTF8(function);
    const char **strings = name && self->body ? strings_read(labels, &self->labels) : NULL;
    if (!PyErr_Occurred()) {
        int status = muster_define(pool->pool, name, PyBytes_AS_STRING(self->body),
                                   (size_t)PyBytes_GET_SIZE(self->body), strings, &self->definition);
        if (status != 0)
            raise_status(status);
    }
    PyMem_Free(strings);
    if (PyErr_Occurred())
        Py_CLEAR(self);
    return self;
}

PyObject *definition_define(pool_object *pool, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    static const char *const names[] = {"function", "body", "labels", NULL};
    PyObject *values[3];
    if (!arguments_sort("define", names, 1, args, count, keywords, values))
        return NULL;
    return (PyObject *)definition_make(pool, values[0], values[1], values[2]);
}

static definition_object *add_narrower(definition_object *self, PyObject *labels)
{
    PyObject *all = self->labels ? PySequence_Concat(self->labels, labels) : Py_NewRef(labels);
    definition_object *made = all ? definition_make(self->pool, self->function, self->body, all) : NULL;
    Py_XDECREF(all);
    if (made && !self->narrower)
        self->narrower = PyDict_New();
    if (made && (!self->narrower || PyDict_SetItem(self->narrower, labels, (PyObject *)made) != 0))
        Py_CLEAR(made);
    Py_XDECREF(made); /* the dict has it */
    return made;
}

definition_object *definition_narrow(definition_object *self, PyObject *labels)
{
    PyObject *found = self->narrower ? PyDict_GetItemWithError(self->narrower, labels) : NULL;
    if (found || PyErr_Occurred())
        return (definition_object *)found;
    return add_narrower(self, labels);
}

PyTypeObject Definition_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "muster._muster.Definition",
    .tp_doc = "A function with its body, as calls name it: made by Pool.define().",
    .tp_basicsize = sizeof(definition_object),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_dealloc = (destructor)definition_dealloc,
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
        self->labels = strings_tuple(labels);
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
    Py_XDECREF(self->labels);
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
