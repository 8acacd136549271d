/*
 * Any bytes to the msgpack cursor: each reader either takes a whole value and moves on, or says no and stays.
 */
#include <assert.h>

#include "core/unpack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes input = {data, size}, value;
    uint64_t as_uint;
    int64_t as_sint;
    double as_real;
    size_t count;
    while (input.length > 0) {
        struct bytes any = input, one = input;
        bool whole = unpack_any(&any, &value);
        assert(whole ? value.length > 0 && value.length == input.length - any.length : any.length == input.length);
        bool scalar = unpack_uint(&one, &as_uint) || unpack_sint(&one, &as_sint) || unpack_real(&one, &as_real) ||
                      unpack_text(&one, &value) || unpack_data(&one, &value);
        if (scalar)
            assert(whole && one.length == any.length);
        else
            assert(one.length == input.length);
        struct bytes inside = input;
        if (unpack_array(&inside, &count))
            input = inside;
        else if (whole)
            input = any;
        else
            break;
    }
    return 0;
}
