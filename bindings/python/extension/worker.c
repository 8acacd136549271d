/*
 * The worker's half: Task, the loop that serves, and the fork server's.
 *
 * The interpreter's main thread runs the tasks; libmuster's threads never touch Python. While the main thread waits for
 * a task it gives the GIL away, so that threads which tasks have left behind go on; between two tasks of which the
 * second is there already it keeps it.
 *
 * A task that is to stop finds TaskStopped raised, once, wherever it is: the runtime sends the stop signal to the main
 * thread, Python's handler of that signal raises, and a system call that blocks is interrupted by it as by any signal.
 */
#include "bindings/python/extension/extension.h"

#include <frameobject.h>

#include "core/unpack.h"
#include "workers/arguments.h"
#include "workers/forkserver.h"
#include "workers/runtime.h"
#include "workers/task.h"

typedef struct {
    PyObject object;
    muster_task *task;           /* NULL: it is over */
    struct arguments *arguments; /* held while the memory is exported, or NULL */
    Py_ssize_t exports;
    const void *exported; /* while a memoryview is made: which bytes */
    size_t exported_size;
    bool failed; /* fail() was called */
} task_object;

static struct {
    PyObject *call;
    PyObject *worker;        /* "host/slot", as str; NULL before the first task */
    PyThreadState *released; /* while the GIL is given away */
    task_object *running;    /* borrowed */
    uint64_t stopped;        /* ticket of the task in which TaskStopped was raised last */
    bool handler_installed;
} serving;

/* --- Task --------------------------------------------------------------------------------------------------------- */

static bool task_over(const task_object *self)
{
    if (self->task)
        return false;
    raise_error(MUSTER_EINVAL, "the task is over");
    return true;
}

static int task_getbuffer(task_object *self, Py_buffer *view, int flags)
{
    static char nothing;
    if (!self->exported) {
        view->obj = NULL;
        PyErr_SetString(PyExc_BufferError, "a Task is no buffer itself: use parts() or raw()");
        return -1;
    }
    void *data = (void *)(uintptr_t)(self->exported_size > 0 ? self->exported : &nothing);
    if (PyBuffer_FillInfo(view, (PyObject *)self, data, (Py_ssize_t)self->exported_size, 0, flags) != 0)
        return -1;
    self->exports++;
    return 0;
}

/* The memory is given back as soon as nothing refers to it; after the task, or while it runs. */
static void release_arguments(task_object *self)
{
    if (self->exports > 0)
        return;
    arguments_release(self->arguments);
    self->arguments = NULL;
}

static void task_releasebuffer(task_object *self, Py_buffer *view)
{
    (void)view;
    self->exports--;
    release_arguments(self);
}

static PyObject *export(task_object *self, const void *data, size_t size)
{
    if (!self->arguments && !(self->arguments = task_hold_arguments(self->task)))
        return PyErr_NoMemory();
    self->exported = data;
    self->exported_size = size;
    PyObject *view = PyMemoryView_FromObject((PyObject *)self);
    self->exported = NULL;
    release_arguments(self);
    return view;
}

static bool payload_read(task_object *self, enum muster_encoding *encoding, struct bytes *payload)
{
    if (task_over(self))
        return false;
    muster_arg_payload(self->task, encoding, &payload->data, &payload->length);
    return true;
}

static PyObject *not_binaries(void)
{
    return raise_error(MUSTER_ETYPE, "the payload is not a msgpack array of binaries: use raw()");
}

static PyObject *task_parts(task_object *self, PyObject *unused)
{
    enum muster_encoding encoding;
    struct bytes rest, part;
    size_t length;
    (void)unused;
    if (!payload_read(self, &encoding, &rest))
        return NULL;
    if (encoding != MUSTER_MSGPACK || !unpack_array(&rest, &length))
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

static PyObject *task_raw(task_object *self, PyObject *unused)
{
    enum muster_encoding encoding;
    struct bytes payload;
    (void)unused;
    return payload_read(self, &encoding, &payload) ? export(self, payload.data, payload.length) : NULL;
}

static PyObject *task_body(task_object *self, PyObject *unused)
{
    const void *data;
    size_t size;
    (void)unused;
    if (task_over(self))
        return NULL;
    muster_task_body(self->task, &data, &size);
    return PyBytes_FromStringAndSize(data, (Py_ssize_t)size);
}

static PyObject *task_definition(task_object *self, PyObject *unused)
{
    (void)unused;
    return task_over(self) ? NULL : PyLong_FromUnsignedLongLong(muster_task_definition(self->task));
}

static PyObject *task_fail(task_object *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"kind", "message", "traceback", "value", NULL};
    const char *kind, *message, *traceback;
    Py_buffer value = {0};
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "sssz*:fail", names, &kind, &message, &traceback, &value))
        return NULL;
    bool over = task_over(self);
    if (!over) {
        muster_fail_value(self->task, kind, MUSTER_PICKLE, value.buf, (size_t)value.len, message, traceback);
        self->failed = true;
    }
    PyBuffer_Release(&value);
    return over ? NULL : Py_NewRef(Py_None);
}

static PyObject *task_progress(task_object *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"done", "total", "text", NULL};
    const char *text;
    double done, total;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "ddz:progress", names, &done, &total, &text) || task_over(self))
        return NULL;
    int status = muster_progress(self->task, done, total, text);
    return status == 0 ? Py_NewRef(Py_None) : raise_status(status);
}

static PyObject *task_log(task_object *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"level", "text", NULL};
    const char *text;
    int level;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "is:log", names, &level, &text) || task_over(self))
        return NULL;
    int status = muster_log(self->task, level, "%s", text);
    return status == 0 ? Py_NewRef(Py_None) : raise_status(status);
}

static PyObject *task_cancelled(task_object *self, PyObject *unused)
{
    (void)unused;
    return task_over(self) ? NULL : PyBool_FromLong(muster_cancelled(self->task));
}

static PyObject *task_function(task_object *self, void *unused)
{
    (void)unused;
    return task_over(self) ? NULL : PyUnicode_FromString(muster_task_function(self->task));
}

static PyObject *task_worker(task_object *self, void *unused)
{
    (void)self;
    (void)unused;
    return Py_NewRef(serving.worker);
}

static void task_dealloc(task_object *self)
{
    arguments_release(self->arguments);
    PyObject_Free(self);
}

#define NAMED(function) ((PyCFunction)(void (*)(void))(function)), METH_VARARGS | METH_KEYWORDS
#define PLAIN(function) ((PyCFunction)(void (*)(void))(function)), METH_NOARGS

static PyMethodDef methods[] = {
    {"parts", PLAIN(task_parts), "The binaries of the payload."},
    {"raw", PLAIN(task_raw), "The whole payload."},
    {"body", PLAIN(task_body), "The body of the definition that is called."},
    {"definition", PLAIN(task_definition), "A number that stands for the definition as long as this worker lives."},
    {"fail", NAMED(task_fail), "fail(kind, message, traceback, value): the outcome is this failure."},
    {"progress", NAMED(task_progress), "progress(done, total, text): reports to the caller."},
    {"log", NAMED(task_log), "log(level, text): sends a line to the caller's log."},
    {"cancelled", PLAIN(task_cancelled), "Is the task to stop?"},
    {0},
};

static PyGetSetDef attributes[] = {
    {"function", (getter)task_function, NULL, "The name that was called.", NULL},
    {"worker", (getter)task_worker, NULL, "This worker: host/slot.", NULL},
    {0},
};

static PyBufferProcs as_buffer = {(getbufferproc)task_getbuffer, (releasebufferproc)task_releasebuffer};

PyTypeObject Task_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "muster._muster.Task",
    .tp_doc = "The task that runs in this worker process.",
    .tp_basicsize = sizeof(task_object),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_dealloc = (destructor)task_dealloc,
    .tp_as_buffer = &as_buffer,
    .tp_methods = methods,
    .tp_getset = attributes,
};

/* --- stopping ----------------------------------------------------------------------------------------------------- */

/* An import that is broken off leaves modules behind that later imports take for whole ones. Takes over `frame`. */
static bool importing(PyFrameObject *frame)
{
    bool found = false;
    while (frame) {
        PyCodeObject *code = PyFrame_GetCode(frame);
        PyObject *name = PyObject_GetAttrString((PyObject *)code, "co_filename");
        const char *text = name && PyUnicode_Check(name) ? PyUnicode_AsUTF8(name) : NULL;
        found = found || (text && strncmp(text, "<frozen importlib", strlen("<frozen importlib")) == 0);
        Py_XDECREF(name);
        Py_DECREF(code);
        PyFrameObject *back = found ? NULL : PyFrame_GetBack(frame);
        Py_DECREF(frame);
        frame = back;
    }
    PyErr_Clear();
    return found;
}

/* Python's handler of the stop signal, which comes again and again until the task has ended. */
static PyObject *on_stop(PyObject *unused, PyObject *arguments)
{
    (void)unused;
    muster_task *task = serving.running ? serving.running->task : NULL;
    if (!task || !muster_cancelled(task) || serving.stopped == task_ticket(task))
        Py_RETURN_NONE;
    PyObject *frame = PyTuple_GetItem(arguments, 1);
    if (!frame)
        return NULL;
    if (PyFrame_Check(frame) && importing((PyFrameObject *)Py_NewRef(frame)))
        Py_RETURN_NONE; /* the signal will come again */
    serving.stopped = task_ticket(task);
    PyErr_SetString(muster_TaskStopped, "the task was cancelled, or is over its time limit");
    return NULL;
}

/* Takes the place of the runtime's handler, which does nothing. False: raised. */
static bool install_handler(void)
{
    static PyMethodDef function = {"_stop", on_stop, METH_VARARGS, NULL};
    PyObject *callable = PyCFunction_New(&function, NULL);
    PyObject *module = callable ? PyImport_ImportModule("signal") : NULL;
    PyObject *before = module ? PyObject_CallMethod(module, "signal", "iO", runtime_stop_signal(), callable) : NULL;
    Py_XDECREF(callable);
    Py_XDECREF(module);
    Py_XDECREF(before);
    return before;
}

/* --- running tasks ------------------------------------------------------------------------------------------------ */

/* What `call` let out: it is to catch everything itself, so this is short. */
static int fail_raised(muster_task *task)
{
    PyObject *type, *value, *traceback;
    if (PyErr_ExceptionMatches(muster_TaskStopped)) {
        PyErr_Clear();
        return muster_cancelled(task) ? MUSTER_ECANCELED : muster_fail(task, "TaskStopped", "the task was stopped");
    }
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    PyObject *string = value ? PyObject_Str(value) : NULL;
    const char *message = string ? PyUnicode_AsUTF8(string) : NULL;
    int status = muster_fail(task, ((PyTypeObject *)type)->tp_name, "%s", message ? message : "");
    PyErr_Clear();
    Py_XDECREF(string);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
    return status;
}

static int return_parts(muster_task *task, PyObject *parts)
{
    size_t count = (size_t)PySequence_Fast_GET_SIZE(parts), made = 0;
    muster_value few_values[8], *values = count <= 8 ? few_values : PyMem_New(muster_value, count);
    Py_buffer few_views[8], *views = count <= 8 ? few_views : PyMem_New(Py_buffer, count);
    int status = values && views ? 0 : MUSTER_ENOMEM;
    while (status == 0 && made < count && made < (size_t)PySequence_Fast_GET_SIZE(parts)) {
        PyObject *part = PySequence_Fast_GET_ITEM(parts, (Py_ssize_t)made);
        if (PyObject_GetBuffer(part, &views[made], PyBUF_ANY_CONTIGUOUS) != 0) {
            status = fail_raised(task);
            break;
        }
        values[made] = muster_bytes(views[made].buf, (size_t)views[made].len);
        made++;
    }
    if (status == 0)
        status = task_return_list(task, (muster_args){values, made});
    while (made > 0)
        PyBuffer_Release(&views[--made]);
    if (count > 8) {
        PyMem_Free(values);
        PyMem_Free(views);
    }
    return status;
}

static int return_payload(muster_task *task, PyObject *payload)
{
    Py_buffer view;
    if (PyObject_GetBuffer(payload, &view, PyBUF_SIMPLE) != 0)
        return fail_raised(task);
    int status = muster_return_msgpack(task, view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    return status;
}

static int give_result(task_object *self, PyObject *value)
{
    if (!value)
        return fail_raised(self->task);
    if (self->failed)
        return MUSTER_ETASK;
    if (PyList_Check(value) || PyTuple_Check(value))
        return return_parts(self->task, value);
    return return_payload(self->task, value);
}

static task_object *task_new(muster_task *task)
{
    task_object *self = PyObject_New(task_object, &Task_Type);
    if (!self)
        return NULL;
    self->task = task;
    self->arguments = NULL;
    self->exports = 0;
    self->exported = NULL;
    self->failed = false;
    return self;
}

static bool prepare(const muster_task *task)
{
    if (!serving.worker)
        serving.worker = PyUnicode_FromString(muster_task_worker(task));
    if (!serving.handler_installed)
        serving.handler_installed = install_handler();
    return serving.worker && serving.handler_installed;
}

/* Every function of a Python worker. The result is taken before the task counts as over, so that TaskStopped may still
 * come from what gives its memory. */
static int run_task(muster_task *task)
{
    task_object *self = prepare(task) ? task_new(task) : NULL;
    if (!self)
        return fail_raised(task);
    serving.running = self;
    PyObject *value = PyObject_CallFunctionObjArgs(serving.call, self, NULL);
    int status = give_result(self, value);
    serving.running = NULL;
    Py_XDECREF(value);
    if (PyErr_Occurred())
        PyErr_Clear();
    self->task = NULL;
    Py_DECREF(self);
    return status;
}

/* --- serving ------------------------------------------------------------------------------------------------------ */

static void wait_begin(void *arg)
{
    (void)arg;
    serving.released = PyEval_SaveThread();
}

static void wait_end(void *arg)
{
    (void)arg;
    PyEval_RestoreThread(serving.released);
    serving.released = NULL;
}

/* As at the end of any Python program: threads are waited for, what is registered is run, what is buffered is written.
 */
static void end(void *arg)
{
    (void)arg;
    Py_FinalizeEx();
}

/* The functions' names, each with the same code. Nothing is freed: the process serves until its end. */
static muster_function *functions_make(PyObject *sequence)
{
    PyObject *holder;
    const char **names = strings_read(sequence, &holder);
    size_t count = 0;
    while (names && names[count])
        count++;
    muster_function *functions = PyErr_Occurred() ? NULL : PyMem_New(muster_function, count + 1);
    for (size_t i = 0; functions && i < count; i++)
        functions[i] = (muster_function){names[i], run_task};
    if (functions)
        functions[count] = (muster_function){0};
    else if (!PyErr_Occurred())
        PyErr_NoMemory();
    return functions;
}

PyObject *worker_serve(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    static const char *const names[] = {"launch_fd", "functions", "call", NULL};
    static struct runtime_language language = {
        .name = "python", .wait_begin = wait_begin, .wait_end = wait_end, .end = end};
    PyObject *values[3];
    (void)module;
    if (!arguments_sort("serve", names, 3, args, count, keywords, values))
        return NULL;
    int fd = PyObject_AsFileDescriptor(values[0]);
    if (fd < 0)
        return NULL;
    language.functions = functions_make(values[1]);
    if (!language.functions)
        return NULL;
    serving.call = Py_NewRef(values[2]);
    runtime_serve(fd, &language);
}

/* --- the fork server ---------------------------------------------------------------------------------------------- */

static void before_fork(void *arg)
{
    (void)arg;
    PyOS_BeforeFork();
}

static void after_fork(void *arg)
{
    (void)arg;
    PyOS_AfterFork_Parent();
}

static void in_child(void *arg)
{
    (void)arg;
    PyOS_AfterFork_Child();
}

PyObject *worker_serve_forks(PyObject *module, PyObject *socket)
{
    static const struct forkserver_hooks hooks = {before_fork, after_fork, in_child, NULL};
    (void)module;
    int fd = PyObject_AsFileDescriptor(socket);
    if (fd < 0)
        return NULL;
    int launch_fd = forkserver_run(fd, &hooks);
    return launch_fd >= 0 ? PyLong_FromLong(launch_fd) : raise_status(launch_fd);
}
