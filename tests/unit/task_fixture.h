/*
 * A task without a worker process around it: arguments in, outcome out.
 */
#ifndef TASK_FIXTURE_H
#define TASK_FIXTURE_H

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bindings/c/value.h"
#include "core/pack.h"
#include "core/unpack.h"
#include "workers/task.h"

struct fixture {
    struct muster_task task;
    struct task_host host;
    struct page *page; /* shared, as a worker's: the child of a spawn writes to it */
    atomic_bool stop;
    struct held_task *held;
    struct outcome outcome;
};

static inline int fixture_set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    fixture->page = mmap(NULL, sizeof(struct page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(fixture->page, MAP_FAILED);
    page_init(fixture->page);
    fixture->host =
        (struct task_host){.worker = "here/0", .page = fixture->page, .stop = &fixture->stop, .payload_limit = 1000000};
    fixture->task.host = &fixture->host;
    *state = fixture;
    return 0;
}

static inline int fixture_tear_down(void **state)
{
    struct fixture *fixture = *state;
    task_free(&fixture->task);
    free(fixture->held);
    munmap(fixture->page, sizeof(struct page));
    free(fixture);
    return 0;
}

/* Holds a task with this payload; items 0: a plain call. */
static inline struct held_task *fixture_hold(struct fixture *fixture, uint64_t items, uint64_t encoding,
                                             const void *args, size_t length)
{
    free(fixture->held);
    fixture->held = calloc(1, sizeof *fixture->held + length);
    *fixture->held = (struct held_task){
        .ticket = 1, .client = 2, .number = 3, .items = items, .encoding = encoding, .length = length};
    memcpy(fixture->held->args, args, length);
    return fixture->held;
}

static inline struct outcome *fixture_run_payload(struct fixture *fixture, muster_call *call, uint64_t items,
                                                  uint64_t encoding, const void *args, size_t length)
{
    fixture_hold(fixture, items, encoding, args, length);
    task_run(&fixture->task, fixture->held, "function", call, &fixture->outcome);
    return &fixture->outcome;
}

static inline struct outcome *fixture_run(struct fixture *fixture, muster_call *call, muster_args args)
{
    enum muster_encoding encoding;
    size_t size;
    assert_int_equal(args_measure(args, &encoding, &size), 0);
    unsigned char *payload = malloc(size + 1);
    args_pack(payload, args);
    struct outcome *outcome = fixture_run_payload(fixture, call, 0, encoding, payload, size);
    free(payload);
    return outcome;
}

static inline bool says(const struct outcome *outcome, const char *words)
{
    char text[2000];
    snprintf(text, sizeof text, "%.*s", (int)(outcome->message.length < 1900 ? outcome->message.length : 1900),
             outcome->message.length ? (const char *)outcome->message.data : "");
    if (!strstr(text, words))
        print_error("no \"%s\" in: %s\n", words, text);
    return strstr(text, words) != NULL;
}

#endif
