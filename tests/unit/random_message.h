/*
 * Messages at random, for property tests of the codec: any type, any values, strings of many lengths.
 */
#ifndef TESTS_UNIT_RANDOM_MESSAGE_H
#define TESTS_UNIT_RANDOM_MESSAGE_H

#include "core/message.h"
#include "core/random.h"

#define RANDOM_MESSAGE_TYPES 128 /* type numbers are below */

/* Holds the strings of one message. */
struct message_pool {
    unsigned char bytes[200000];
    struct buffer texts[4];
    unsigned used;
};

static inline uint64_t random_width(struct random *random)
{
    return random_u64(random) >> (random_u64(random) % 64);
}

static inline struct bytes random_string(struct random *random, struct message_pool *pool)
{
    static const size_t lengths[] = {0, 1, 31, 32, 255, 256, 65535, 65536, 100000};
    size_t length = lengths[random_u64(random) % 9];
    if (random_u64(random) % 4)
        length = random_u64(random) % 40;
    return (struct bytes){pool->bytes + random_u64(random) % 1000, length};
}

static inline field_uint random_uint(struct random *random, struct message_pool *pool)
{
    (void)pool;
    return random_u64(random) % 8 ? random_width(random) : 0;
}

static inline field_sint random_sint(struct random *random, struct message_pool *pool)
{
    int64_t value = (int64_t)random_uint(random, pool);
    return random_u64(random) % 2 ? value : (int64_t)(0 - (uint64_t)value);
}

static inline field_real random_real(struct random *random, struct message_pool *pool)
{
    return (double)random_sint(random, pool) / 8;
}

static inline field_texts random_texts(struct random *random, struct message_pool *pool)
{
    static const char *const words[] = {"", "a", "gpu", "a label with blanks",
                                        "0123456789012345678901234567890123456789"};
    const char *strings[20];
    size_t count = random_u64(random) % 20;
    for (size_t i = 0; i < count; i++)
        strings[i] = words[random_u64(random) % 5];
    struct buffer *buffer = &pool->texts[pool->used++ % 4];
    buffer->length = 0;
    texts_encode(buffer, strings, count);
    return bytes_of(buffer);
}

#define random_text random_string
#define random_data random_string

/* False if there is no message with this type number. */
static inline bool random_message(struct random *random, struct message_pool *pool, unsigned type,
                                  struct message *message)
{
    memset(message, 0, sizeof *message);
    message->type = (enum message_type)type;
    switch (type) {
#define F(kind, field) m->field = random_##kind(random, pool);
#define M(NAME, name, number)                      \
    case number: {                                 \
        struct message_##name *m = &message->name; \
        (void)m;                                   \
        FIELDS_##NAME(F) return true;              \
    }
        MESSAGES(M)
#undef M
#undef F
    default: return false;
    }
}

static inline void message_pool_init(struct message_pool *pool, struct random *random)
{
    memset(pool, 0, sizeof *pool);
    random_bytes(random, pool->bytes, sizeof pool->bytes);
}

static inline void message_pool_free(struct message_pool *pool)
{
    for (unsigned i = 0; i < 4; i++)
        buffer_free(&pool->texts[i]);
}

#endif
