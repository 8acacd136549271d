/*
 * The module: its exceptions, its constants, and the two helpers that every method uses.
 */
#include "bindings/python/extension/extension.h"

#include <stdarg.h>

#include "workers/cpus.h"

PyObject *muster_Error, *muster_TaskStopped, *muster_Failure;

/* --- errors ------------------------------------------------------------------------------------------------------- */

static PyObject *raise_text(int status, PyObject *detail)
{
    PyObject *arguments = detail ? Py_BuildValue("(iN)", status, detail) : NULL;
    if (arguments)
        PyErr_SetObject(muster_Error, arguments);
    Py_XDECREF(arguments);
    return NULL;
}

PyObject *raise_status(int status)
{
    if (status == MUSTER_ENOMEM)
        return PyErr_NoMemory();
    const char *detail = muster_last_error();
    detail = *detail ? detail : muster_strerror(status);
    return raise_text(status, PyUnicode_DecodeUTF8(detail, (Py_ssize_t)strlen(detail), "replace"));
}

PyObject *raise_error(int status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    PyObject *detail = PyUnicode_FromFormatV(format, arguments);
    va_end(arguments);
    return raise_text(status, detail);
}

/* --- arguments ---------------------------------------------------------------------------------------------------- */

static int name_find(const char *const *names, PyObject *name)
{
    for (int i = 0; names[i]; i++)
        if (PyUnicode_CompareWithASCIIString(name, names[i]) == 0)
            return i;
    return -1;
}

static bool keywords_sort(const char *function, const char *const *names, PyObject *const *args, PyObject *keywords,
                          PyObject **values)
{
    Py_ssize_t count = keywords ? PyTuple_GET_SIZE(keywords) : 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *name = PyTuple_GET_ITEM(keywords, i);
        int at = name_find(names, name);
        if (at < 0 || values[at]) {
            PyErr_Format(PyExc_TypeError,
                         at < 0 ? "%s() got an unexpected keyword argument '%U'"
                                : "%s() got multiple values for argument '%U'",
                         function, name);
            return false;
        }
        values[at] = args[i];
    }
    return true;
}

bool arguments_sort(const char *function, const char *const *names, int required, PyObject *const *args,
                    Py_ssize_t count, PyObject *keywords, PyObject **values)
{
    Py_ssize_t known = 0;
    for (; names[known]; known++)
        values[known] = known < count ? args[known] : NULL;
    if (count > known) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %zd arguments (%zd given)", function, known, count);
        return false;
    }
    if (keywords && !keywords_sort(function, names, args + count, keywords, values))
        return false;
    for (int i = 0; i < required; i++)
        if (!values[i]) {
            PyErr_Format(PyExc_TypeError, "%s() missing required argument '%s'", function, names[i]);
            return false;
        }
    return true;
}

PyObject *strings_tuple(PyObject *sequence)
{
    if (!sequence || sequence == Py_None)
        return NULL;
    if (PyUnicode_Check(sequence)) {
        PyErr_SetString(PyExc_TypeError, "a sequence of str is wanted, not one str");
        return NULL;
    }
    PyObject *tuple = PySequence_Tuple(sequence);
    Py_ssize_t count = tuple ? PyTuple_GET_SIZE(tuple) : 0;
    for (Py_ssize_t i = 0; i < count; i++)
        if (!PyUnicode_AsUTF8(PyTuple_GET_ITEM(tuple, i)))
            count = 0;
    if (count == 0)
        Py_CLEAR(tuple);
    return tuple;
}

const char **strings_read(PyObject *sequence, PyObject **holder)
{
    *holder = strings_tuple(sequence);
    Py_ssize_t count = *holder ? PyTuple_GET_SIZE(*holder) : 0;
    if (count == 0)
        return NULL;
    const char **strings = PyMem_New(const char *, (size_t)count + 1);
    if (!strings) {
        Py_CLEAR(*holder);
        PyErr_NoMemory();
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++)
        strings[i] = PyUnicode_AsUTF8(PyTuple_GET_ITEM(*holder, i));
    strings[count] = NULL;
    return strings;
}

/* --- functions of the module -------------------------------------------------------------------------------------- */

static PyObject *module_cpus(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return PyLong_FromLong((long)cpus_available());
}

static PyObject *module_last_error(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    const char *detail = muster_last_error();
    return PyUnicode_DecodeUTF8(detail, (Py_ssize_t)strlen(detail), "replace");
}

static PyObject *module_strerror(PyObject *module, PyObject *status)
{
    (void)module;
    long number = PyLong_AsLong(status);
    if (number == -1 && PyErr_Occurred())
        return NULL;
    return PyUnicode_FromString(muster_strerror((int)number));
}

static PyMethodDef functions[] = {
    {"cpus", module_cpus, METH_NOARGS, "How many CPUs this process may use: the workers of \"local:\"."},
    {"last_error", module_last_error, METH_NOARGS, "The detail of this thread's latest failure in libmuster."},
    {"strerror", module_strerror, METH_O, "The sentence for a status."},
    {"serve", (PyCFunction)(void (*)(void))worker_serve, METH_FASTCALL | METH_KEYWORDS,
     "serve(launch_fd, functions, call): the worker's loop, in the main thread. Never returns."},
    {"serve_forks", worker_serve_forks, METH_O, "serve_forks(fd): the fork server's loop; returns in each child."},
    {0},
};

/* --- the module --------------------------------------------------------------------------------------------------- */

static int add_type(PyObject *module, PyTypeObject *type)
{
    const char *dot = strrchr(type->tp_name, '.');
    if (PyType_Ready(type) != 0)
        return -1;
    return PyModule_AddObjectRef(module, dot + 1, (PyObject *)type);
}

static int make_exceptions(void)
{
    muster_Error = PyErr_NewExceptionWithDoc("muster._muster.Error",
                                             "A muster function failed: args are (status, detail).", NULL, NULL);
    muster_TaskStopped = PyErr_NewExceptionWithDoc(
        "muster._muster.TaskStopped", "The task that runs is to stop: it was cancelled, or its time limit is over.",
        PyExc_BaseException, NULL);
    return muster_Error && muster_TaskStopped ? 0 : -1;
}

/* A named tuple, because that is what it is to those who write Python. */
static int make_failure(void)
{
    PyObject *collections = PyImport_ImportModule("collections");
    if (!collections)
        return -1;
    muster_Failure =
        PyObject_CallMethod(collections, "namedtuple", "ss", "Failure",
                            "status kind message traceback function worker host pid signal exit_status value item");
    Py_DECREF(collections);
    PyObject *name = muster_Failure ? PyUnicode_FromString("muster._muster") : NULL;
    int status = name ? PyObject_SetAttrString(muster_Failure, "__module__", name) : -1;
    Py_XDECREF(name);
    return status;
}

static int add_statuses(PyObject *module)
{
    static const struct {
        const char *name;
        int value;
    } statuses[] = {
        {"EINVAL", MUSTER_EINVAL},       {"ENOMEM", MUSTER_ENOMEM},           {"EAGAIN", MUSTER_EAGAIN},
        {"ETIMEDOUT", MUSTER_ETIMEDOUT}, {"ECANCELED", MUSTER_ECANCELED},     {"ELOST", MUSTER_ELOST},
        {"ETASK", MUSTER_ETASK},         {"ENOFUNCTION", MUSTER_ENOFUNCTION}, {"ECLOSED", MUSTER_ECLOSED},
        {"ELIMIT", MUSTER_ELIMIT},       {"EPROTOCOL", MUSTER_EPROTOCOL},     {"EVERSION", MUSTER_EVERSION},
        {"EAUTH", MUSTER_EAUTH},         {"ECONNECT", MUSTER_ECONNECT},       {"EURL", MUSTER_EURL},
        {"EPLUGIN", MUSTER_EPLUGIN},     {"ESYSTEM", MUSTER_ESYSTEM},         {"ETYPE", MUSTER_ETYPE},
        {"EENCODING", MUSTER_EENCODING}, {"EWORKERS", MUSTER_EWORKERS},       {"EINTERNAL", MUSTER_EINTERNAL},
    };
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
        if (PyModule_AddIntConstant(module, statuses[i].name, statuses[i].value) != 0)
            return -1;
    return PyModule_AddStringConstant(module, "VERSION", MUSTER_VERSION);
}

/* What there is once, for however many module objects: a module may be imported again after it was forgotten. */
static int make_once(PyObject *module)
{
    static bool made;
    if (made)
        return 0;
    made = make_exceptions() == 0 && make_failure() == 0 && pool_at_exit(module) == 0;
    return made ? 0 : -1;
}

/* The library has one state for each process, and so have these types. */
static int module_exec(PyObject *module)
{
    PyTypeObject *const types[] = {&Pool_Type,   &Definition_Type, &Options_Type,
                                   &Result_Type, &Task_Type,       &Supervisor_Type};
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        PyErr_SetString(PyExc_ImportError, "muster works in the main interpreter alone");
        return -1;
    }
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (add_type(module, types[i]) != 0)
            return -1;
    if (make_once(module) != 0 || PyModule_AddObjectRef(module, "Error", muster_Error) != 0 ||
        PyModule_AddObjectRef(module, "TaskStopped", muster_TaskStopped) != 0 ||
        PyModule_AddObjectRef(module, "Failure", muster_Failure) != 0)
        return -1;
    return add_statuses(module);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)module_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
#if PY_VERSION_HEX >= 0x030D0000
    {Py_mod_gil, Py_MOD_GIL_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,  .m_name = "muster._muster", .m_doc = "libmuster for Python: _muster.pyi says what is here.",
    .m_methods = functions, .m_slots = slots,
};

PyMODINIT_FUNC PyInit__muster(void);
PyMODINIT_FUNC PyInit__muster(void)
{
    return PyModuleDef_Init(&definition);
}
