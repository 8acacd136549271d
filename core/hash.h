/*
 * uthash with this project's allocator, allocation failure reported instead of exit(), and a fast way for 64-bit
 * integer keys. Sequential integers fall in sequential buckets, which keeps tables of a million tasks friendly to the
 * cache.
 */
#ifndef CORE_HASH_H
#define CORE_HASH_H

#include "core/buffer.h"

#define HASH_NONFATAL_OOM 1
#define uthash_malloc(size) memory_alloc(size)
#define uthash_free(memory, size) memory_free(memory)
#define uthash_nonfatal_oom(element) (hash_oom = true)
extern _Thread_local bool hash_oom; /* set by a failed add; the element is then not in the table */
#include <uthash.h>

/* Tables keyed by a uint64_t member `field` of the element. HASH_ADD_U64 gives true on success. */
#define HASH_VALUE_U64(key) ((unsigned)((uint64_t)(key) ^ ((uint64_t)(key) >> 32)))
#define HASH_FIND_U64(head, key, out) \
    HASH_FIND_BYHASHVALUE(hh, head, &(uint64_t){key}, sizeof(uint64_t), HASH_VALUE_U64(key), out)
#define HASH_ADD_U64(head, field, element)                                                                            \
    (hash_oom = false, ({                                                                                             \
         HASH_ADD_KEYPTR_BYHASHVALUE(hh, head, &(element)->field, sizeof(uint64_t), HASH_VALUE_U64((element)->field), \
                                     element);                                                                        \
     }),                                                                                                              \
     !hash_oom)

#endif
