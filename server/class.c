/*
 * Classes: workers that offer the same functions and carry the same labels are alike to the scheduler. A class keeps
 * two heaps: its workers that have room, the least loaded first, and the lanes it can serve, the most urgent first.
 *
 * A lane's key mostly grows as tasks are handed out, and several classes may serve it, so the second heap is lazy: a
 * key in it may be too low and is put right when it comes to the top; only a key that becomes lower is told to every
 * class (lane_raised).
 */
#include "server/state.h"

#include <assert.h>
#include <stdlib.h>

static int compare_names(const void *a, const void *b)
{
    const struct bytes *x = a, *y = b;
    size_t common = x->length < y->length ? x->length : y->length;
    int order = common ? memcmp(x->data, y->data, common) : 0;
    return order ? order : (x->length > y->length) - (x->length < y->length);
}

int names_read(struct bytes texts, struct bytes *names, size_t limit, bool sort)
{
    if (texts_begin(&texts) > limit)
        return -1;
    size_t count = 0;
    struct bytes name;
    while (texts_next(&texts, &name)) {
        if (count == limit || name.length == 0 || name.length > NAME_LIMIT || memchr(name.data, 0, name.length))
            return -1;
        names[count++] = name;
    }
    if (!sort || count < 2)
        return (int)count;
    qsort(names, count, sizeof *names, compare_names);
    size_t kept = 1;
    for (size_t i = 1; i < count; i++)
        if (!bytes_equal(names[i], names[kept - 1]))
            names[kept++] = names[i];
    return (int)kept;
}

static char *append_names(char *out, const struct bytes *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        memcpy(out, names[i].data, names[i].length);
        out += names[i].length;
        *out++ = 0;
    }
    return out;
}

char *names_join(const struct bytes *a, size_t a_count, const struct bytes *b, size_t b_count, size_t *length)
{
    size_t size = 1; /* an empty name between the two lists: no two pairs of lists look the same */
    for (size_t i = 0; i < a_count; i++)
        size += a[i].length + 1;
    for (size_t i = 0; i < b_count; i++)
        size += b[i].length + 1;
    char *joined = memory_alloc(size);
    if (!joined)
        return NULL;
    char *end = append_names(joined, a, a_count);
    *end = 0;
    append_names(end + 1, b, b_count);
    *length = size;
    return joined;
}

static bool offer_before(const void *a, const void *b)
{
    const struct offer *x = a, *y = b;
    if (x->priority != y->priority)
        return x->priority > y->priority;
    if (x->turn != y->turn)
        return x->turn < y->turn;
    return x->arrival < y->arrival;
}

bool worker_record_room_before(const void *a, const void *b)
{
    const struct worker_record *x = a, *y = b;
    if ((x->open == 0) != (y->open == 0))
        return x->open == 0;
    if (x->load_ns != y->load_ns)
        return x->load_ns < y->load_ns;
    return x->identity < y->identity;
}

static void class_free(struct class *class)
{
    while (class->first_offer) {
        struct offer *offer = class->first_offer;
        struct offer **link = &offer->lane->offers;
        while (*link != offer)
            link = &(*link)->next_in_lane;
        *link = offer->next_in_lane;
        class->first_offer = offer->next_in_class;
        memory_free(offer);
    }
    heap_free(&class->room);
    heap_free(&class->offers);
    memory_free(class->functions);
    memory_free(class->labels);
    memory_free(class->key);
    memory_free(class);
}

/* Lists the names inside the key. */
static int class_list_names(struct class *class, size_t function_count, size_t label_count)
{
    class->functions = memory_alloc((function_count + 1) * sizeof *class->functions);
    class->labels = memory_alloc((label_count + 1) * sizeof *class->labels);
    if (!class->functions || !class->labels)
        return MUSTER_ENOMEM;
    const char *text = class->key;
    for (; class->function_count < function_count; text += strlen(text) + 1)
        class->functions[class->function_count++] = text;
    text++;
    for (; class->label_count < label_count; text += strlen(text) + 1)
        class->labels[class->label_count++] = text;
    return 0;
}

static struct class *class_create(struct coordinator *coordinator, char *key, size_t key_length, size_t function_count,
                                  size_t label_count)
{
    struct class *class = memory_zero(sizeof *class);
    if (!class) {
        memory_free(key);
        return NULL;
    }
    class->key = key;
    class->key_length = key_length;
    heap_init(&class->room, worker_record_room_before, offsetof(struct worker_record, room_position));
    heap_init(&class->offers, offer_before, offsetof(struct offer, position));
    if (class_list_names(class, function_count, label_count) != 0)
        goto fail;
    for (struct lane *lane = coordinator->lanes; lane; lane = lane->hh.next)
        if (class_offer_lane(coordinator, class, lane) != 0)
            goto fail;
    hash_oom = false;
    HASH_ADD_KEYPTR(hh, coordinator->classes, class->key, class->key_length, class);
    if (hash_oom)
        goto fail;
    return class;
fail:
    class_free(class);
    return NULL;
}

struct class *class_use(struct coordinator *coordinator, const struct bytes *functions, size_t function_count,
                        const struct bytes *labels, size_t label_count)
{
    size_t length;
    char *key = names_join(functions, function_count, labels, label_count, &length);
    if (!key)
        return NULL;
    struct class *class;
    HASH_FIND(hh, coordinator->classes, key, length, class);
    if (!class)
        return class_create(coordinator, key, length, function_count, label_count);
    memory_free(key);
    return class;
}

static bool has_label(const struct class *class, const char *label)
{
    for (size_t i = 0; i < class->label_count; i++)
        if (strcmp(class->labels[i], label) == 0)
            return true;
    return false;
}

int class_offer_lane(struct coordinator *coordinator, struct class *class, struct lane *lane)
{
    (void)coordinator;
    size_t function = 0;
    while (function < class->function_count && strcmp(class->functions[function], lane->function->name) != 0)
        function++;
    if (function == class->function_count)
        return 0;
    for (size_t i = 0; i < lane->label_count; i++)
        if (!has_label(class, lane->labels[i]))
            return 0;
    struct offer *offer = memory_zero(sizeof *offer);
    if (!offer || heap_reserve(&class->offers, class->offer_count + 1 - class->offers.count) != 0) {
        memory_free(offer);
        return MUSTER_ENOMEM;
    }
    offer->class = class;
    offer->lane = lane;
    offer->function = function;
    offer->next_in_class = class->first_offer;
    class->first_offer = offer;
    class->offer_count++;
    offer->next_in_lane = lane->offers;
    lane->offers = offer;
    return 0;
}

bool class_serves(const struct class *class, const struct lane *lane)
{
    for (const struct offer *offer = lane->offers; offer; offer = offer->next_in_lane)
        if (offer->class == class)
            return true;
    return false;
}

static void offer_take_key(struct offer *offer)
{
    const struct lane_queue *queue = heap_first(&offer->lane->queues);
    offer->priority = queue->level->priority;
    offer->turn = queue->turn;
    offer->arrival = queue->first->arrival;
}

/* Tells every class that serves the lane, unless the key it has is low enough. */
void lane_raised(struct coordinator *coordinator, struct lane *lane)
{
    for (struct offer *offer = lane->offers; offer; offer = offer->next_in_lane) {
        struct offer before = *offer;
        offer_take_key(offer);
        if (!heap_has(&offer->class->offers, offer)) {
            int status = heap_insert(&offer->class->offers, offer);
            assert(status == 0);
            (void)status;
        } else if (offer_before(offer, &before)) {
            heap_update(&offer->class->offers, offer);
        } else {
            offer->priority = before.priority;
            offer->turn = before.turn;
            offer->arrival = before.arrival;
        }
        class_ready(coordinator, offer->class);
    }
}

struct offer *class_next(struct class *class)
{
    struct offer *offer;
    while ((offer = heap_first(&class->offers))) {
        struct offer before = *offer;
        if (!heap_first(&offer->lane->queues)) {
            heap_remove(&class->offers, offer);
            continue;
        }
        offer_take_key(offer);
        if (!offer_before(&before, offer))
            return offer;
        heap_update(&class->offers, offer);
        if (heap_first(&class->offers) == offer)
            return offer;
    }
    return NULL;
}

void class_ready(struct coordinator *coordinator, struct class *class)
{
    if (class->ready)
        return;
    class->ready = true;
    class->next_ready = coordinator->ready;
    coordinator->ready = class;
}

int class_reserve(struct class *class)
{
    return heap_reserve(&class->room, class->worker_count + 1 - class->room.count);
}

void class_join(struct coordinator *coordinator, struct class *class, struct worker_record *worker)
{
    assert(!worker->class);
    bool first = class->worker_count++ == 0;
    worker->class = class;
    worker->previous_in_class = NULL;
    worker->next_in_class = class->workers;
    if (class->workers)
        class->workers->previous_in_class = worker;
    class->workers = worker;
    if (!first)
        return;
    for (struct offer *offer = class->first_offer; offer; offer = offer->next_in_class) {
        if (heap_first(&offer->lane->queues) && !heap_has(&class->offers, offer)) {
            offer_take_key(offer);
            int status = heap_insert(&class->offers, offer);
            assert(status == 0);
            (void)status;
        }
        lane_watch(coordinator, offer->lane);
    }
    class_ready(coordinator, class);
}

void class_leave(struct coordinator *coordinator, struct worker_record *worker)
{
    struct class *class = worker->class;
    if (!class)
        return;
    heap_remove(&class->room, worker);
    if (worker->loaded)
        worker_record_loaded(coordinator, worker, false);
    if (worker->idle)
        class->idle--;
    worker->idle = worker->has_room = false;
    if (worker->previous_in_class)
        worker->previous_in_class->next_in_class = worker->next_in_class;
    else
        class->workers = worker->next_in_class;
    if (worker->next_in_class)
        worker->next_in_class->previous_in_class = worker->previous_in_class;
    worker->previous_in_class = worker->next_in_class = NULL;
    worker->class = NULL;
    class->worker_count--;
    class_release(coordinator, class);
}

void class_release(struct coordinator *coordinator, struct class *class)
{
    if (class->worker_count > 0)
        return;
    if (class->ready) {
        struct class **link = &coordinator->ready;
        while (*link != class)
            link = &(*link)->next_ready;
        *link = class->next_ready;
    }
    while (class->first_offer) {
        struct offer *offer = class->first_offer;
        struct lane *lane = offer->lane;
        struct offer **link = &lane->offers;
        while (*link != offer)
            link = &(*link)->next_in_lane;
        *link = offer->next_in_lane;
        class->first_offer = offer->next_in_class;
        memory_free(offer);
        lane_watch(coordinator, lane);
    }
    HASH_DEL(coordinator->classes, class);
    class_free(class);
}
