/*
 * Running one task: arguments are read where they lie, one after the other, and the result is encoded where it leaves
 * from.
 */
#include "workers/task.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "bindings/c/value.h"
#include "core/clock.h"
#include "core/errors.h"
#include "core/pack.h"
#include "core/unpack.h"

#define MESSAGE_BYTES 8192                      /* of a sentence that a task gives */
#define NOTE_BYTES 160                          /* of what muster adds to it */
#define SENTENCE_BYTES (64 * 1024 - NOTE_BYTES) /* of a sentence that a language's runtime gives; its traceback: */
#define TRACEBACK_BYTES (128 * 1024)
#define PROGRESS_NS (50 * NS_PER_MS)
#define KEPT_BYTES (1024 * 1024) /* a larger value buffer is not kept for the next task */

/* --- errors of the task ------------------------------------------------------------------------------------------- */

static void forget_error(struct muster_task *task)
{
    task->kind[0] = '\0';
    task->message.length = task->traceback.length = task->error_value.length = 0;
    task->error_encoding = MUSTER_RAW;
}

static void set_message(struct muster_task *task, const char *kind, const char *format, va_list arguments)
{
    char text[MESSAGE_BYTES];
    int length = vsnprintf(text, sizeof text, format, arguments);
    if (length < 0)
        length = 0;
    if ((size_t)length >= sizeof text)
        length = sizeof text - 1;
    forget_error(task);
    snprintf(task->kind, sizeof task->kind, "%s", kind ? kind : "");
    buffer_append(&task->message, text, (size_t)length); /* without memory: the status speaks for itself */
}

__attribute__((format(printf, 3, 4))) static int complain(struct muster_task *task, int status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    set_message(task, NULL, format, arguments);
    va_end(arguments);
    return error_set(status, "%.*s", (int)task->message.length, (const char *)task->message.data);
}

int muster_fail(muster_task *task, const char *kind, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    set_message(task, kind, format, arguments);
    va_end(arguments);
    return error_set(MUSTER_ETASK, "%.*s", (int)task->message.length, (const char *)task->message.data);
}

/* As much of the text as may be told, in whole characters. Without memory: the status speaks for itself. */
static void set_text(struct buffer *out, const char *text, size_t most)
{
    size_t length = strnlen(text, most + 1);
    while (length > most || (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80))
        length--;
    buffer_append(out, text, length);
}

static void set_error_value(struct muster_task *task, const void *data, size_t size)
{
    char text[NOTE_BYTES];
    size_t limit = task->host->payload_limit;
    if (failure_value_fits(size, limit)) {
        if (buffer_append(&task->error_value, data, size) == 0)
            return;
        snprintf(text, sizeof text, " (there is no memory for the value of %zu bytes that came with the error)", size);
    } else {
        snprintf(text, sizeof text, FAILURE_VALUE_LEFT_OUT, size, failure_value_limit(limit));
    }
    buffer_append(&task->message, text, strlen(text));
}

int muster_fail_value(muster_task *task, const char *kind, enum muster_encoding encoding, const void *data, size_t size,
                      const char *message, const char *traceback)
{
    message = message ? message : "";
    traceback = traceback ? traceback : "";
    forget_error(task);
    snprintf(task->kind, sizeof task->kind, "%s", kind ? kind : "");
    set_text(&task->message, message, SENTENCE_BYTES);
    set_text(&task->traceback, traceback, TRACEBACK_BYTES);
    task->error_encoding = encoding <= MUSTER_PICKLE ? encoding : MUSTER_RAW;
    if (data && size > 0)
        set_error_value(task, data, size);
    return error_set(MUSTER_ETASK, "%s%s%s", task->kind, *task->kind ? ": " : "", message);
}

/* --- arguments ---------------------------------------------------------------------------------------------------- */

/* Points the task at the arguments of a call. */
static int open_arguments(struct muster_task *task, enum muster_encoding encoding, struct bytes payload)
{
    task->encoding = encoding;
    task->payload = task->arguments = payload;
    task->count = 1;
    if (encoding == MUSTER_MSGPACK && !unpack_array(&task->arguments, &task->count))
        return complain(task, MUSTER_EENCODING,
                        "the arguments (%zu bytes) are not a msgpack array of values, one for each argument",
                        payload.length);
    task->cursor = task->arguments;
    task->cursor_index = 0;
    return 0;
}

size_t muster_arg_count(const muster_task *task)
{
    return task->count;
}

/* Moves the cursor to an argument. */
static int seek(struct muster_task *task, size_t index)
{
    struct bytes value;
    if (index >= task->count)
        return complain(task, MUSTER_EINVAL, "%s: argument %zu is missing; there are %zu", task->function, index,
                        task->count);
    if (index < task->cursor_index) {
        task->cursor = task->arguments;
        task->cursor_index = 0;
    }
    for (; task->cursor_index < index; task->cursor_index++)
        if (!unpack_any(&task->cursor, &value))
            return complain(task, MUSTER_EENCODING, "%s: argument %zu is not well-formed msgpack", task->function,
                            task->cursor_index);
    return 0;
}

int muster_arg(muster_task *task, size_t index, muster_value *value)
{
    int status = seek(task, index);
    if (status != 0)
        return status;
    if (task->encoding != MUSTER_MSGPACK) {
        *value = muster_opaque(task->encoding, task->payload.data, task->payload.length);
        return 0;
    }
    struct bytes rest = task->cursor;
    if (!value_read(&rest, value))
        return complain(task, MUSTER_EENCODING, "%s: argument %zu is not well-formed msgpack", task->function, index);
    task->cursor = rest;
    task->cursor_index = index + 1;
    return 0;
}

static const char *type_name(const muster_value *value)
{
    switch (value->type) {
    case MUSTER_TYPE_NIL: return "nil";
    case MUSTER_TYPE_BOOL: return "a boolean";
    case MUSTER_TYPE_INT:
    case MUSTER_TYPE_UINT: return "an integer";
    case MUSTER_TYPE_DOUBLE: return "a double";
    case MUSTER_TYPE_STRING: return "a string";
    case MUSTER_TYPE_BYTES: return "bytes";
    case MUSTER_TYPE_MSGPACK: return "an array, a map or an extension";
    case MUSTER_TYPE_OPAQUE: return "not msgpack";
    }
    return "unknown";
}

static int wrong_type(struct muster_task *task, size_t index, const muster_value *value, const char *wanted)
{
    return complain(task, MUSTER_ETYPE, "%s: argument %zu is %s, and %s is wanted", task->function, index,
                    type_name(value), wanted);
}

int muster_arg_int(muster_task *task, size_t index, int64_t *number)
{
    muster_value value;
    int status = muster_arg(task, index, &value);
    if (status != 0)
        return status;
    if (value.type != MUSTER_TYPE_INT)
        return wrong_type(task, index, &value, "an integer of 64 bits");
    *number = value.integer;
    return 0;
}

int muster_arg_double(muster_task *task, size_t index, double *number)
{
    muster_value value;
    int status = muster_arg(task, index, &value);
    if (status != 0)
        return status;
    switch (value.type) {
    case MUSTER_TYPE_DOUBLE: *number = value.real; return 0;
    case MUSTER_TYPE_INT: *number = (double)value.integer; return 0;
    case MUSTER_TYPE_UINT: *number = (double)value.uinteger; return 0;
    default: return wrong_type(task, index, &value, "a number");
    }
}

int muster_arg_string(muster_task *task, size_t index, const char **text, size_t *size)
{
    muster_value value;
    int status = muster_arg(task, index, &value);
    if (status != 0)
        return status;
    if (value.type != MUSTER_TYPE_STRING)
        return wrong_type(task, index, &value, "a string");
    *text = value.data;
    *size = value.size;
    return 0;
}

int muster_arg_bytes(muster_task *task, size_t index, const void **data, size_t *size)
{
    muster_value value;
    int status = muster_arg(task, index, &value);
    if (status != 0)
        return status;
    if (value.type != MUSTER_TYPE_BYTES)
        return wrong_type(task, index, &value, "a value of bytes");
    *data = value.data;
    *size = value.size;
    return 0;
}

struct arguments *task_hold_arguments(struct muster_task *task)
{
    if (!task->held_args) /* the held task is ours while it runs */
        task->held_args = arguments_create(&task->mapped, (struct held_task *)(uintptr_t)task->held);
    if (!task->held_args)
        return NULL;
    return arguments_hold(task->held_args);
}

int muster_arg_payload(muster_task *task, enum muster_encoding *encoding, const void **data, size_t *size)
{
    *encoding = task->encoding;
    *data = task->payload.data;
    *size = task->payload.length;
    return 0;
}

/* --- the value ---------------------------------------------------------------------------------------------------- */

static void drop_segment(struct muster_task *task)
{
    if (task->segment.name[0] == '\0')
        return;
    segment_unlink(bytes_string(task->segment.name));
    task->segment = (struct segment){0};
}

static void forget_value(struct muster_task *task)
{
    drop_segment(task);
    task->value.length = task->value_start;
    task->returned = false;
}

/* The owner of a segment for a value of this size; 0: it stays in a buffer. */
static uint64_t segment_owner(const struct muster_task *task, size_t size)
{
    return task->held && !task->chunk && size >= SEGMENT_THRESHOLD ? task->held->owner : 0;
}

/* False if the value does not go into a segment, or there is no room for one. */
static bool store_value(struct muster_task *task, const muster_value *value, size_t size)
{
    struct segment_writer writer;
    uint64_t owner = segment_owner(task, size);
    if (owner == 0 || segment_write_new(&writer, &task->segment, owner) != 0)
        return false;
    value_store(&writer, value);
    return segment_write_end(&writer) == 0;
}

/* An opaque value in a chunk: the bytes, then their encoding. */
static int return_opaque_item(struct muster_task *task, const muster_value *value)
{
    if (buffer_reserve(&task->value, 4 * PACK_HEAD_BYTES + value->size) != 0)
        return error_memory();
    unsigned char *at = task->value.data + task->value.length;
    at = pack_array(at, 3);
    at = pack_uint(at, 0);
    at = pack_data(at, (struct bytes){value->data, value->size});
    at = pack_uint(at, (uint64_t)value->encoding);
    task->value.length = (size_t)(at - task->value.data);
    return 0;
}

static int return_packed(struct muster_task *task, const muster_value *value, size_t size)
{
    size_t head = task->chunk ? 2 : 0;
    if (store_value(task, value, size))
        return 0;
    if (buffer_reserve(&task->value, head + size) != 0)
        return error_memory();
    unsigned char *at = task->value.data + task->value.length;
    task->value.length += head + size;
    if (task->chunk) {
        at = pack_array(at, 2);
        at = pack_uint(at, 0);
    }
    if (value->type == MUSTER_TYPE_OPAQUE)
        pack_content(at, (struct bytes){value->data, value->size});
    else
        value_pack(at, value);
    return 0;
}

static int check_size(struct muster_task *task, size_t size)
{
    size_t limit = task->host->payload_limit;
    if (limit == 0 || size <= limit)
        return 0;
    return complain(task, MUSTER_ELIMIT,
                    "%s: the result has %zu bytes, the limit is %zu: return less, or raise the limit of payloads",
                    task->function, size, limit);
}

int muster_return(muster_task *task, muster_value value)
{
    bool opaque = value.type == MUSTER_TYPE_OPAQUE;
    int status = opaque ? 0 : value_check(&value);
    size_t size = opaque ? value.size : value_size(&value);
    forget_value(task);
    if (opaque && (value.encoding > MUSTER_PICKLE || (!value.data && value.size > 0)))
        status = error_set(MUSTER_EINVAL, "the opaque value has no data or no known encoding");
    if (status != 0)
        return complain(task, status, "%s: the result: %s", task->function, muster_last_error());
    status = check_size(task, size);
    if (status != 0)
        return status;
    status = opaque && task->chunk ? return_opaque_item(task, &value) : return_packed(task, &value, size);
    if (status != 0)
        return complain(task, status, "%s: there is no memory for a result of %zu bytes", task->function, size);
    task->value_encoding = opaque ? value.encoding : MUSTER_MSGPACK;
    task->returned = true;
    return 0;
}

static bool store_list(struct muster_task *task, muster_args list, size_t size)
{
    struct segment_writer writer;
    uint64_t owner = segment_owner(task, size);
    if (owner == 0 || segment_write_new(&writer, &task->segment, owner) != 0)
        return false;
    args_store(&writer, list);
    return segment_write_end(&writer) == 0;
}

static int pack_list(struct muster_task *task, muster_args list, size_t size)
{
    if (buffer_reserve(&task->value, 2 + size) != 0)
        return complain(task, error_memory(), "%s: there is no memory for a result of %zu bytes", task->function, size);
    unsigned char *start = task->value.data + task->value.length, *at = start;
    if (task->chunk) {
        at = pack_array(at, 2);
        at = pack_uint(at, 0);
    }
    at = args_pack(at, list);
    task->value.length += (size_t)(at - start);
    return 0;
}

int task_return_list(struct muster_task *task, muster_args list)
{
    size_t size;
    enum muster_encoding encoding;
    forget_value(task);
    int status = args_measure(list, &encoding, &size);
    if (status != 0)
        return complain(task, status, "%s: the result: %s", task->function, muster_last_error());
    assert(encoding == MUSTER_MSGPACK);
    status = check_size(task, size);
    if (status == 0 && !store_list(task, list, size))
        status = pack_list(task, list, size);
    task->value_encoding = MUSTER_MSGPACK;
    task->returned = status == 0;
    return status;
}

int muster_return_int(muster_task *task, int64_t value)
{
    return muster_return(task, muster_int(value));
}

int muster_return_double(muster_task *task, double value)
{
    return muster_return(task, muster_double(value));
}

int muster_return_string(muster_task *task, const char *text)
{
    return muster_return(task, muster_string(text));
}

int muster_return_bytes(muster_task *task, const void *data, size_t size)
{
    return muster_return(task, muster_bytes(data, size));
}

int muster_return_msgpack(muster_task *task, const void *data, size_t size)
{
    return muster_return(task, muster_msgpack(data, size));
}

/* --- the rest of the worker's half -------------------------------------------------------------------------------- */

int muster_progress(muster_task *task, double done, double total, const char *text)
{
    uint64_t now_ns = clock_now_ns();
    if (!task->host->progress || !task->held || !(task->held->flags & TASK_PROGRESS_WANTED))
        return 0;
    if (task->progress_ns != 0 && now_ns - task->progress_ns < PROGRESS_NS)
        return 0;
    task->progress_ns = now_ns;
    return task->host->progress(task->host->arg, task, done, total, bytes_string(text));
}

int muster_log(muster_task *task, int level, const char *format, ...)
{
    char text[MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length < 0)
        return error_set(MUSTER_EINVAL, "the format of the log call makes no sense");
    if (level < 0 || level > 7)
        return error_set(MUSTER_EINVAL, "%d is not a log level: use 3 (error), 4 (warning), 6 (info) or 7 (debug)",
                         level);
    if (!task->host->log || !task->held) {
        fprintf(stderr, "%s: %s\n", task->function, text);
        return 0;
    }
    struct bytes bytes = {text, (size_t)length < sizeof text ? (size_t)length : sizeof text - 1};
    return task->host->log(task->host->arg, task, level, bytes);
}

bool muster_cancelled(const muster_task *task)
{
    return task->host->stop && atomic_load_explicit(task->host->stop, memory_order_relaxed);
}

void muster_task_body(const muster_task *task, const void **data, size_t *size)
{
    const struct introduced *introduced = task->held ? task->held->introduced : NULL;
    *data = introduced ? introduced->body : NULL;
    *size = introduced ? introduced->length : 0;
}

uint64_t muster_task_definition(const muster_task *task)
{
    return task->held && task->held->introduced ? task->held->introduced->key : 0;
}

size_t muster_task_item(const muster_task *task)
{
    return task->item;
}

const char *muster_task_function(const muster_task *task)
{
    return task->function;
}

const char *muster_task_worker(const muster_task *task)
{
    return task->host->worker;
}

uint64_t task_ticket(const struct muster_task *task)
{
    return task->held ? task->held->ticket : 0;
}

/* --- running ------------------------------------------------------------------------------------------------------ */

/* The status under which a failed call is reported. Those that tell of the pool's doings are not a function's to give.
 */
static int failure_status(const struct muster_task *task, int status)
{
    switch (status) {
    case MUSTER_EINVAL:
    case MUSTER_ENOMEM:
    case MUSTER_ETASK:
    case MUSTER_ELIMIT:
    case MUSTER_ESYSTEM:
    case MUSTER_ETYPE:
    case MUSTER_EENCODING: return status;
    case MUSTER_ECANCELED: return muster_cancelled(task) ? status : MUSTER_ETASK;
    default: return MUSTER_ETASK;
    }
}

static void describe(struct muster_task *task, int status)
{
    char text[160];
    if (task->message.length > 0)
        return;
    if (status == MUSTER_ETASK || status > 0)
        snprintf(text, sizeof text, "%.100s returned %d and gave no message", task->function, status);
    else
        snprintf(text, sizeof text, "%.100s: %s", task->function, muster_strerror(status));
    buffer_append(&task->message, text, strlen(text));
}

/* Calls the function on the arguments that are open. Its status, as it is reported; a value is there if it is 0. */
static int call_once(struct muster_task *task, muster_call *call)
{
    int status = call(task);
    if (status == 0 && !task->returned)
        status = muster_return(task, muster_nil());
    if (status == 0)
        return 0;
    forget_value(task);
    describe(task, status);
    return failure_status(task, status);
}

static void begin_wait(const struct muster_task *task)
{
    if (task->host->wait_begin)
        task->host->wait_begin(task->host->arg);
}

static void end_wait(const struct muster_task *task)
{
    if (task->host->wait_end)
        task->host->wait_end(task->host->arg);
}

void task_end(struct muster_task *task)
{
    arguments_release(task->held_args);
    task->held_args = NULL;
    segment_unmap(&task->mapped);
}

static void begin(struct muster_task *task, const struct held_task *held, const char *function)
{
    if (task->value.capacity > KEPT_BYTES)
        buffer_free(&task->value);
    task_end(task);
    task->held = held;
    task->function = function;
    if (task->error_value.capacity > KEPT_BYTES)
        buffer_free(&task->error_value);
    task->value.length = task->value_start = 0;
    task->chunk = task->returned = false;
    forget_error(task);
    task->item = 0;
    task->progress_ns = 0;
    task->segment = (struct segment){0};
    task->count = 0;
}

/* [status, kind, message, traceback], or [status, kind, message, traceback, encoding, value] */
static int add_failed_item(struct muster_task *task, int status)
{
    struct bytes kind = bytes_string(task->kind), message = bytes_of(&task->message),
                 traceback = bytes_of(&task->traceback), value = bytes_of(&task->error_value);
    size_t size = 7 * PACK_HEAD_BYTES + kind.length + message.length + traceback.length + value.length;
    if (buffer_reserve(&task->value, size) != 0)
        return MUSTER_ENOMEM;
    unsigned char *at = task->value.data + task->value.length;
    at = pack_array(at, value.length > 0 ? 6 : 4);
    at = pack_uint(at, (uint64_t)-status);
    at = pack_text(at, kind);
    at = pack_text(at, message);
    at = pack_text(at, traceback);
    if (value.length > 0) {
        at = pack_uint(at, (uint64_t)task->error_encoding);
        at = pack_data(at, value);
    }
    task->value.length = (size_t)(at - task->value.data);
    return 0;
}

static int run_item(struct muster_task *task, muster_call *call, struct bytes args)
{
    task->value_start = task->value.length;
    task->returned = false;
    forget_error(task);
    task->progress_ns = 0;
    int status = open_arguments(task, MUSTER_MSGPACK, args);
    if (status == 0)
        status = call_once(task, call);
    return status == 0 ? 0 : add_failed_item(task, status);
}

static void note_item(struct muster_task *task, uint64_t item)
{
    task->item = (size_t)item;
    if (task->host->page)
        atomic_store_explicit(&task->host->page->tasks[task->held->ticket & 1].item, item, memory_order_relaxed);
}

/* Every item of a chunk; a failed one does not stop the others. */
static int run_chunk(struct muster_task *task, muster_call *call, enum muster_encoding encoding, struct bytes args)
{
    size_t count;
    struct bytes item;
    uint64_t items = task->held->items;
    if (encoding != MUSTER_MSGPACK || !unpack_array(&args, &count) || count != items)
        return complain(task, MUSTER_EENCODING, "the arguments are not a msgpack array of %" PRIu64 " argument lists",
                        items);
    if (buffer_reserve(&task->value, PACK_HEAD_BYTES) != 0)
        return complain(task, MUSTER_ENOMEM, "there is no memory for the results");
    task->chunk = true;
    task->value.length = (size_t)(pack_array(task->value.data, count) - task->value.data);
    for (uint64_t i = 0; i < items; i++) {
        note_item(task, i);
        if (muster_cancelled(task))
            return complain(task, MUSTER_ECANCELED, "stopped before item %" PRIu64 " of %" PRIu64, i, items);
        if (!unpack_any(&args, &item))
            return complain(task, MUSTER_EENCODING, "the arguments of item %" PRIu64 " are not well-formed msgpack", i);
        if (run_item(task, call, item) != 0)
            return complain(task, MUSTER_ENOMEM, "there is no memory for the results of %" PRIu64 " items", items);
    }
    task->value_encoding = MUSTER_MSGPACK;
    return 0;
}

/* The finished value as the outcome's: inline, or the name of a segment. */
static void give_value(struct muster_task *task, struct outcome *outcome)
{
    uint64_t owner = task->held ? task->held->owner : 0;
    outcome->encoding = (uint64_t)task->value_encoding;
    outcome->value = bytes_of(&task->value);
    if (task->segment.name[0] == '\0' && task->chunk && owner != 0 && task->value.length >= SEGMENT_THRESHOLD) {
        begin_wait(task);
        int status = segment_store(&task->segment, owner, outcome->value);
        end_wait(task);
        if (status != 0)
            return; /* it travels in pieces */
    }
    if (task->segment.name[0] == '\0')
        return;
    outcome->encoding |= ENCODING_SEGMENT;
    outcome->value = bytes_string(task->segment.name);
}

static int run_held(struct muster_task *task, muster_call *call, enum muster_encoding encoding, struct bytes args)
{
    if (task->held->items > 0)
        return run_chunk(task, call, encoding, args);
    int status = open_arguments(task, encoding, args);
    return status != 0 ? status : call_once(task, call);
}

/* `args` is the name of a segment, and becomes what is in it. */
static int map_arguments(struct muster_task *task, struct bytes *args)
{
    begin_wait(task);
    int status = segment_open(&task->mapped, *args);
    segment_prefault(&task->mapped);
    end_wait(task);
    *args = (struct bytes){task->mapped.data, task->mapped.length};
    if (status != 0)
        complain(task, status, "the arguments cannot be read: %s", muster_last_error());
    return status;
}

void task_run(struct muster_task *task, const struct held_task *held, const char *function, muster_call *call,
              struct outcome *outcome)
{
    struct bytes args = {held->args, held->length};
    *outcome = (struct outcome){0};
    begin(task, held, function);
    int status = held->encoding & ENCODING_SEGMENT ? map_arguments(task, &args) : 0;
    if (status == 0)
        status = run_held(task, call, (enum muster_encoding)(held->encoding & ~(uint64_t)ENCODING_SEGMENT), args);
    if (status == 0) {
        give_value(task, outcome);
    } else {
        drop_segment(task);
        outcome->status = status;
        outcome->kind = bytes_string(task->kind);
        outcome->message = bytes_of(&task->message);
        outcome->traceback = bytes_of(&task->traceback);
        outcome->encoding = (uint64_t)task->error_encoding;
        outcome->value = bytes_of(&task->error_value);
        outcome->item = task->item;
    }
    if (task->held_args)
        arguments_detach(task->held_args);
}

int task_run_alone(struct muster_task *task, const char *function, muster_call *call, enum muster_encoding encoding,
                   struct bytes args)
{
    begin(task, NULL, function);
    int status = open_arguments(task, encoding, args);
    if (status == 0)
        status = call_once(task, call);
    task_end(task);
    if (status == 0)
        return 0;
    return error_set(status, "%s%s%.*s", task->kind, *task->kind ? ": " : "", (int)task->message.length,
                     (const char *)task->message.data);
}

void task_free(struct muster_task *task)
{
    task_end(task);
    buffer_free(&task->value);
    buffer_free(&task->message);
    buffer_free(&task->traceback);
    buffer_free(&task->error_value);
}
