/*
 * Any bytes as a message. What decodes must encode to something that decodes to the same again.
 */
#include <assert.h>
#include <stdlib.h>

#include "core/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes input = {data, size};
    struct message message;
    const char *why = NULL;
    while (input.length > 0) {
        size_t before = input.length;
        if (message_decode(&input, &message, &why) != 0) {
            assert(why && input.length == before);
            break;
        }
        struct buffer once = {0}, twice = {0}, line = {0};
        struct message again;
        assert(message_encode(&once, &message) == 0 && message_bound(&message) >= once.length);
        struct bytes encoded = bytes_of(&once);
        assert(message_decode(&encoded, &again, &why) == 0 && encoded.length == 0);
        assert(message_encode(&twice, &again) == 0 && bytes_equal(bytes_of(&once), bytes_of(&twice)));
        assert(message_print(&line, &message) == 0);
        buffer_free(&once);
        buffer_free(&twice);
        buffer_free(&line);
    }
    return 0;
}
