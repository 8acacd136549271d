/*
 * Supervisor: the program muster-worker, with workers that a fork server of ours makes.
 */
#include "bindings/python/extension/extension.h"

#include "workers/host.h"

typedef struct {
    PyObject object;
    struct host_config config;
    char *url, *authkey_file; /* copies */
    const char **fork_server, **labels;
    PyObject *holders[2];
} supervisor_object;

static char *copy(const char *text)
{
    char *copied = text ? PyMem_Malloc(strlen(text) + 1) : NULL;
    return copied ? strcpy(copied, text) : NULL;
}

static bool read_arguments(supervisor_object *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"url", "count", "fork_server", "labels", "authkey_file", "max_tasks", "memory_limit", NULL};
    const char *url, *authkey_file = NULL;
    PyObject *fork_server = NULL, *labels = NULL;
    unsigned count, max_tasks = 0;
    Py_ssize_t memory_limit = 0;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "sI|$OOzIn:Supervisor", names, &url, &count, &fork_server, &labels,
                                     &authkey_file, &max_tasks, &memory_limit))
        return false;
    if (count == 0 || memory_limit < 0 || !fork_server) {
        PyErr_SetString(PyExc_ValueError,
                        "a Supervisor wants at least one worker, a fork_server, and no negative limit");
        return false;
    }
    self->url = copy(url);
    self->authkey_file = copy(authkey_file);
    self->fork_server = strings_read(fork_server, &self->holders[0]);
    if (!PyErr_Occurred())
        self->labels = strings_read(labels, &self->holders[1]);
    self->config = (struct host_config){.url = self->url,
                                        .workers = count,
                                        .authkey_file = self->authkey_file,
                                        .language = "python",
                                        .labels = self->labels,
                                        .fork_server = self->fork_server,
                                        .max_tasks = max_tasks,
                                        .memory_limit = (size_t)memory_limit};
    return !PyErr_Occurred();
}

static PyObject *supervisor_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    supervisor_object *self = (supervisor_object *)type->tp_alloc(type, 0);
    if (self && read_arguments(self, args, keywords))
        return (PyObject *)self;
    Py_XDECREF(self);
    return NULL;
}

static void supervisor_dealloc(supervisor_object *self)
{
    PyMem_Free(self->url);
    PyMem_Free(self->authkey_file);
    PyMem_Free(self->fork_server);
    PyMem_Free(self->labels);
    Py_XDECREF(self->holders[0]);
    Py_XDECREF(self->holders[1]);
    Py_TYPE(self)->tp_free(self);
}

static PyObject *supervisor_run(supervisor_object *self, PyObject *unused)
{
    int status;
    (void)unused;
    Py_BEGIN_ALLOW_THREADS status = host_run(&self->config);
    Py_END_ALLOW_THREADS return PyLong_FromLong(status);
}

static PyMethodDef methods[] = {
    {"run", (PyCFunction)(void (*)(void))supervisor_run, METH_NOARGS, "Until SIGTERM or SIGINT; the exit status."},
    {0},
};

PyTypeObject Supervisor_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "muster._muster.Supervisor",
    .tp_doc = "Workers for the musterd at a URL, as the program muster-worker runs them.",
    .tp_basicsize = sizeof(supervisor_object),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = supervisor_new,
    .tp_dealloc = (destructor)supervisor_dealloc,
    .tp_methods = methods,
};
