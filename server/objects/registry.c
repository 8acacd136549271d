/*
 * The registry: objects by id and by name, and which session uses which of them.
 *
 * A message about an object comes from a session that has it open, so it is found by the session's own table. What the
 * object makes of it is its kind's business (struct object_class).
 */
#include "server/objects/object.h"

#include "core/pack.h"

static const struct object_class *const classes[OBJECT_KINDS] = {
    [OBJECT_QUEUE] = &queue_class, [OBJECT_LOCK] = &lock_class,       [OBJECT_SEMAPHORE] = &semaphore_class,
    [OBJECT_EVENT] = &event_class, [OBJECT_BARRIER] = &barrier_class, [OBJECT_COUNTER] = &counter_class};

int registry_create(struct registry **registry, const struct registry_config *config, const struct random *seed)
{
    *registry = memory_zero(sizeof **registry);
    if (!*registry)
        return error_memory();
    (*registry)->config = *config;
    (*registry)->random = *seed;
    (*registry)->fences = config->fence_base;
    return 0;
}

/* --- answers ------------------------------------------------------------------------------------------------------ */

void object_send(struct user *user, const struct message *message)
{
    if (!user->gone)
        user->peer->send(user->peer, message); /* if it fails, the hub ends the session */
}

void object_answer(struct user *user, uint64_t call, int status, uint64_t number, struct bytes data)
{
    if (call == 0)
        return;
    struct message message = {.type = MESSAGE_OBJECT_ANSWER};
    message.object_answer = (struct message_object_answer){call, (uint64_t)-status, number, data, {}};
    object_send(user, &message);
}

void object_refuse(struct user *user, uint64_t call, int status, const char *sentence)
{
    object_answer(user, call, status, 0, bytes_string(sentence));
}

void object_tell(struct user *user, uint64_t call, uint64_t number, const uint64_t *numbers, size_t count)
{
    unsigned char bytes[PACK_HEAD_BYTES * (NUMBERS_LIMIT + 1)];
    unsigned char *at = pack_array(bytes, count);
    for (size_t i = 0; i < count; i++)
        at = pack_uint(at, numbers[i]);
    object_answer(user, call, 0, number, (struct bytes){bytes, (size_t)(at - bytes)});
}

/* --- objects ------------------------------------------------------------------------------------------------------ */

void object_changed(struct registry *registry, struct object *object)
{
    if (object->changed)
        return;
    object->changed = true;
    DL_APPEND2(registry->changed, object, changed_prev, changed_next);
}

static void object_unchange(struct registry *registry, struct object *object)
{
    if (object->changed)
        DL_DELETE2(registry->changed, object, changed_prev, changed_next);
    object->changed = false;
}

static size_t object_cost(const struct object *object)
{
    return OBJECT_COST_BYTES + object->name_length;
}

static void object_unname(struct registry *registry, struct object *object)
{
    if (object->name_length > 0 && !object->deleted)
        HASH_DELETE(by_name, registry->names, object);
}

static void object_destroy(struct registry *registry, struct object *object)
{
    object->class->empty(registry, object);
    object_unchange(registry, object);
    object_unname(registry, object);
    HASH_DEL(registry->objects, object);
    registry->bytes -= object_cost(object);
    memory_free(object->name);
    memory_free(object);
}

static struct object *find_name(const struct registry *registry, struct bytes name)
{
    struct object *object = NULL;
    if (name.length > 0)
        HASH_FIND(by_name, registry->names, name.data, name.length, object);
    return object;
}

/* Puts it into both tables, or into none. */
static bool object_register(struct registry *registry, struct object *object, struct bytes name)
{
    struct object *other;
    object->name = bytes_dup_string(name);
    object->name_length = name.length;
    if (!object->name)
        return false;
    do {
        object->id = random_u64(&registry->random);
        HASH_FIND_U64(registry->objects, object->id, other);
    } while (other);
    if (!HASH_ADD_U64(registry->objects, id, object))
        return false;
    if (name.length > 0) {
        hash_oom = false;
        HASH_ADD_KEYPTR(by_name, registry->names, object->name, object->name_length, object);
        if (hash_oom) {
            HASH_DEL(registry->objects, object);
            return false;
        }
    }
    registry->bytes += object_cost(object);
    return true;
}

/* Makes an object; on failure the call is answered. */
static struct object *object_create(struct registry *registry, struct user *user,
                                    const struct message_object_open *open)
{
    if (HASH_COUNT(registry->objects) >= registry->config.objects ||
        !registry->config.have_room(registry->config.arg, OBJECT_COST_BYTES + open->name.length)) {
        object_refuse(user, open->call, MUSTER_ELIMIT, "the coordinator has as many shared objects as it may");
        return NULL;
    }
    struct object *object = memory_zero(sizeof *object);
    if (object) {
        object->kind = (enum object_kind)open->kind;
        object->class = classes[object->kind];
        object->persistent = open->flags & OBJECT_PERSISTENT;
        const char *why = object->class->create(registry, object, open);
        if (why) {
            object_refuse(user, open->call, MUSTER_EINVAL, why);
            memory_free(object);
            return NULL;
        }
        if (object_register(registry, object, open->name))
            return object;
        memory_free(object->name);
        memory_free(object);
    }
    object_refuse(user, open->call, MUSTER_ENOMEM, "the coordinator has no memory for a shared object");
    return NULL;
}

static void object_unused(struct registry *registry, struct object *object)
{
    if (!object->references && (!object->persistent || object->deleted))
        object_destroy(registry, object);
}

/* --- sessions and references -------------------------------------------------------------------------------------- */

static struct user *user_of(struct registry *registry, struct peer *peer)
{
    struct user *user = peer->user;
    if (user)
        return user;
    user = memory_zero(sizeof *user);
    if (!user)
        return NULL;
    user->peer = peer;
    peer->user = user;
    DL_APPEND(registry->users, user);
    return user;
}

static struct reference *reference_find(const struct user *user, uint64_t id)
{
    struct reference *reference;
    HASH_FIND_U64(user->references, id, reference);
    return reference;
}

/* One more handle; on failure the call is answered. */
static struct reference *reference_use(struct registry *registry, struct user *user, struct object *object,
                                       uint64_t call)
{
    struct reference *reference = reference_find(user, object->id);
    if (!reference && HASH_COUNT(user->references) >= registry->config.references) {
        object_refuse(user, call, MUSTER_ELIMIT, "this process has as many shared objects open as it may");
        return NULL;
    }
    if (!reference) {
        reference = memory_zero(sizeof *reference);
        if (reference) {
            reference->id = object->id;
            reference->object = object;
            reference->user = user;
        }
        if (!reference || !HASH_ADD_U64(user->references, id, reference)) {
            memory_free(reference);
            object_refuse(user, call, MUSTER_ENOMEM, "the coordinator has no memory for a shared object");
            return NULL;
        }
        DL_APPEND(object->references, reference);
        object->reference_count++;
        registry->references++;
    }
    reference->handles++;
    return reference;
}

static void reference_drop(struct registry *registry, struct reference *reference, bool died)
{
    struct object *object = reference->object;
    reference->leaving = true;
    while (reference->waiters)
        object->class->withdraw(registry, reference->waiters);
    if (!object->deleted)
        object->class->leave(registry, reference, died);
    DL_DELETE(object->references, reference);
    object->reference_count--;
    registry->references--;
    HASH_DEL(reference->user->references, reference);
    memory_free(reference);
    object_unused(registry, object);
}

static void user_free(struct registry *registry, struct user *user, bool died)
{
    user->gone = true;
    struct reference *reference, *next;
    HASH_ITER (hh, user->references, reference, next)
        reference_drop(registry, reference, died);
    DL_DELETE(registry->users, user);
    memory_free(user);
}

void registry_peer_down(struct registry *registry, struct peer *peer, bool goodbye)
{
    if (peer->user)
        user_free(registry, peer->user, !goodbye);
    peer->user = NULL;
}

void registry_free(struct registry *registry)
{
    if (!registry)
        return;
    for (struct user *user = registry->users; user; user = user->next)
        user->gone = true;
    while (registry->users) {
        registry->users->peer->user = NULL;
        user_free(registry, registry->users, false);
    }
    struct object *object, *next;
    HASH_ITER (hh, registry->objects, object, next)
        object_destroy(registry, object);
    memory_free(registry);
}

/* --- messages ----------------------------------------------------------------------------------------------------- */

static void opened(struct registry *registry, struct user *user, struct object *object, uint64_t call, bool created)
{
    uint64_t numbers[1 + OPEN_NUMBERS] = {created};
    if (reference_use(registry, user, object, call))
        object_tell(user, call, object->id, numbers, 1 + object->class->describe(object, numbers + 1));
    else
        object_unused(registry, object);
}

static int take_open(struct registry *registry, struct user *user, const struct message_object_open *open,
                     const char **why)
{
    *why = "OBJECT_OPEN has no call, or names no known kind";
    if (open->call == 0 || open->kind == 0 || open->kind >= OBJECT_KINDS)
        return MUSTER_EPROTOCOL;
    if (open->name.length > OBJECT_NAME_LIMIT) {
        object_refuse(user, open->call, MUSTER_ELIMIT, "a name of a shared object has at most 255 bytes");
        return 0;
    }
    struct object *object = NULL;
    if (open->object != 0)
        HASH_FIND_U64(registry->objects, open->object, object);
    else
        object = find_name(registry, open->name);
    bool create = !object && (open->flags & OBJECT_CREATE) && open->object == 0;
    if (create && !(object = object_create(registry, user, open)))
        return 0;
    if (!object || object->deleted)
        object_refuse(user, open->call, MUSTER_ENOOBJECT, "there is no such shared object, or not any more");
    else if ((uint64_t)object->kind != open->kind)
        object_refuse(user, open->call, MUSTER_ETYPE, object->class->name);
    else
        opened(registry, user, object, open->call, create);
    return 0;
}

static int take_close(struct registry *registry, struct user *user, uint64_t id, const char **why)
{
    struct reference *reference = reference_find(user, id);
    *why = "OBJECT_CLOSE is about an object that is not open";
    if (!reference)
        return MUSTER_EPROTOCOL;
    if (--reference->handles == 0)
        reference_drop(registry, reference, false);
    return 0;
}

static void take_delete(struct registry *registry, struct user *user, const struct message_object_delete *request)
{
    struct object *object = find_name(registry, request->name);
    if (!object) {
        object_refuse(user, request->call, MUSTER_ENOOBJECT, "there is no shared object of that name");
        return;
    }
    struct message message = {.type = MESSAGE_OBJECT_DELETED};
    message.object_deleted.object = object->id;
    object->class->empty(registry, object);
    object_unchange(registry, object);
    object_unname(registry, object);
    object->deleted = true;
    for (struct reference *reference = object->references; reference; reference = reference->next)
        object_send(reference->user, &message);
    object_unused(registry, object);
    object_answer(user, request->call, 0, 0, (struct bytes){0});
}

/* A message of a kind's own: they all begin with the object. */
static int take_use(struct registry *registry, struct user *user, const struct message *message, const char **why)
{
    struct reference *reference = reference_find(user, message->queue_put.object);
    *why = "a message about a shared object that is not open";
    if (!reference)
        return MUSTER_EPROTOCOL;
    if (!reference->object->deleted)
        return reference->object->class->take(registry, reference, message, why);
    /* Those with a call have it next; the others are void. */
    if (message->type != MESSAGE_QUEUE_TAKEN && message->type != MESSAGE_QUEUE_RETURN)
        object_refuse(user, message->queue_put.call, MUSTER_ENOOBJECT, "the shared object was deleted");
    return 0;
}

int registry_take(struct registry *registry, struct peer *peer, const struct message *message, const char **why)
{
    struct user *user = user_of(registry, peer);
    *why = "there is no memory for a session's shared objects";
    if (!user)
        return MUSTER_ENOMEM;
    struct waiter *waiter;
    switch (message->type) {
    case MESSAGE_OBJECT_OPEN: return take_open(registry, user, &message->object_open, why);
    case MESSAGE_OBJECT_CLOSE: return take_close(registry, user, message->object_close.object, why);
    case MESSAGE_OBJECT_DELETE: take_delete(registry, user, &message->object_delete); return 0;
    case MESSAGE_OBJECT_WITHDRAW:
        waiter = waiter_find(user, message->object_withdraw.call);
        if (waiter)
            waiter->reference->object->class->withdraw(registry, waiter);
        return 0;
    default: return take_use(registry, user, message, why);
    }
}

void registry_flush(struct registry *registry)
{
    while (registry->changed) {
        struct object *object = registry->changed;
        object_unchange(registry, object);
        object->class->flush(registry, object);
    }
    if (registry->starved && registry->config.have_room(registry->config.arg, 0))
        queues_feed(registry);
}

/* --- what others want to know ------------------------------------------------------------------------------------- */

size_t registry_bytes(const struct registry *registry)
{
    return registry ? registry->bytes : 0;
}

void registry_count(const struct registry *registry, struct registry_counts *counts)
{
    *counts = (struct registry_counts){.objects = HASH_COUNT(registry->objects),
                                       .references = registry->references,
                                       .waiters = registry->waiters,
                                       .items = registry->items,
                                       .bytes = registry->bytes};
}

void registry_status(const struct registry *registry, struct json *json, size_t limit)
{
    json_write_open(json, "objects", '{');
    json_write_uint(json, "count", HASH_COUNT(registry->objects));
    json_write_uint(json, "items", registry->items);
    json_write_uint(json, "bytes", registry->bytes);
    json_write_uint(json, "waiting", registry->waiters);
    json_write_open(json, "list", '[');
    for (const struct object *object = registry->objects; object && limit-- > 0; object = object->hh.next) {
        json_write_open(json, NULL, '{');
        json_write_text(json, "name", (struct bytes){object->name, object->name_length});
        json_write_string(json, "kind", object->class->name);
        json_write_bool(json, "persistent", object->persistent);
        json_write_bool(json, "deleted", object->deleted);
        json_write_uint(json, "users", object->reference_count);
        object->class->status(object, json);
        json_write_close(json, '}');
    }
    json_write_close(json, ']');
    json_write_close(json, '}');
}

static const char *check_object(const struct object *object, struct registry_counts *sums)
{
    size_t count = 0;
    for (const struct reference *reference = object->references; reference; reference = reference->next, count++)
        if (reference->object != object || reference->id != object->id || reference->handles == 0)
            return "a reference is to another object, or has no handle";
    if (count != object->reference_count)
        return "an object has miscounted its references";
    if (count == 0 && (!object->persistent || object->deleted))
        return "an object is left that nobody uses";
    sums->objects++;
    sums->references += count;
    sums->bytes += object_cost(object);
    return object->class->check(object, sums);
}

const char *registry_check(const struct registry *registry)
{
    struct registry_counts sums = {0}, counts;
    for (const struct object *object = registry->objects; object; object = object->hh.next) {
        const char *wrong = check_object(object, &sums);
        if (wrong)
            return wrong;
    }
    size_t references = 0;
    for (const struct user *user = registry->users; user; user = user->next) {
        if (user->peer->user != user)
            return "a session's shared objects are another's";
        references += HASH_COUNT(user->references);
    }
    registry_count(registry, &counts);
    if (references != sums.references || memcmp(&sums, &counts, sizeof sums) != 0)
        return "the registry has miscounted objects, references, waiters, items or bytes";
    return NULL;
}
