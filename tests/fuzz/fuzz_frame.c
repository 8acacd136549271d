/*
 * Any frames to a live session that has sent and acknowledged some of its own and answers each message that comes.
 */
#include <assert.h>

#include "core/session.h"
#include "muster.h"
#include "tests/fuzz/pieces.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int answer(void *arg, const struct message *message)
{
    struct session *session = arg;
    int status = session_send(session, message);
    assert(status == 0 || status == MUSTER_ELIMIT);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct session session;
    struct bytes input = {data, size}, piece, view;
    struct buffer out = {0};
    session_init(&session, (const unsigned char *)"0123456789abcdef", 4096, 20000);
    struct message first = {.type = MESSAGE_STATUS, .status = {.request = 1}};
    for (unsigned i = 0; i < 3; i++) {
        session_send(&session, &first);
        session_next_view(&session, &view);
    }
    for (int status = 0; status == 0 && piece_next(&input, &piece); free((void *)piece.data)) {
        struct frame_header header;
        const char *why = NULL;
        status = frame_parse(piece, &header, &why);
        if (status == 0)
            status = session_receive(&session, &header, answer, &session, &why);
        assert(status == 0 || (why && *why));
        assert(session.fragments.length <= 20000);
        if (status == 0 && piece.length % 3 == 0)
            session_rewind(&session);
        if (session_next_view(&session, &view) == 1)
            assert(view.length <= 4096);
    }
    session_empty_frame(&session, &out);
    buffer_free(&out);
    session_free(&session);
    return 0;
}
