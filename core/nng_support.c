/*
 * Errors of NNG in our words, and a mend for NNG 1.5.2, whose nng_stream_send() and nng_stream_recv() are replaced here
 * by symbol interposition.
 *
 * The fault. A connection's bytes go out and come in by operations of the transport's own. When a connection is closed,
 * such an operation may just have moved a part of a message, its callback being on the way. The callback asks for the
 * rest; but the operation has been stopped meanwhile, and NNG drops what is asked of a stopped operation without a
 * word. So the message's own operation never ends, NNG's one thread that takes connections apart waits for it for ever,
 * and with it everybody who closes a socket from then on, in the whole process. Killing a peer in the middle of a large
 * message is enough.
 *
 * The mend. Whoever asks in NNG holds a lock that the callback takes first, so what the operation's result is right
 * after the call can be relied on: NNG_ECANCELED only if it was dropped (one that is ended by a close has NNG_ECLOSED).
 * Then it is ended here, and its callback does the rest.
 */
#include "core/nng_support.h"

#include <dlfcn.h>
#include <nng/nng.h>
#include <pthread.h>
#include <string.h>

#include "core/errors.h"

#define MENDED_VERSION "1.5.2"

int nng_failed(const char *what, int code)
{
    return code == NNG_ENOMEM ? error_memory() : error_set(MUSTER_ESYSTEM, "%s: %s", what, nng_strerror(code));
}

/* --- the mend ----------------------------------------------------------------------------------------------------- */

typedef void stream_operation(nng_stream *stream, nng_aio *aio);

static stream_operation *nng_send_operation, *nng_recv_operation;
static void *nng_object; /* where NNG is loaded, if it is the version with the fault */
static pthread_once_t found = PTHREAD_ONCE_INIT;

static void find(void)
{
    Dl_info info;
    void *send = dlsym(RTLD_NEXT, "nng_stream_send"), *recv = dlsym(RTLD_NEXT, "nng_stream_recv");
    memcpy(&nng_send_operation, &send, sizeof send);
    memcpy(&nng_recv_operation, &recv, sizeof recv);
    if (strcmp(nng_version(), MENDED_VERSION) == 0 && dladdr(recv, &info))
        nng_object = info.dli_fbase;
}

/* Weak, so that they give way to NNG's own in a program that holds NNG itself, libnng.a: such a program goes without.
 */
#define REPLACES_NNG __attribute__((weak, visibility("default")))

/* Only what NNG asks of itself: a program's own operations may have been cancelled by the program. */
static void mend(nng_aio *aio, void *caller)
{
    Dl_info info;
    if (nng_aio_result(aio) == NNG_ECANCELED && nng_object && dladdr(caller, &info) && info.dli_fbase == nng_object)
        nng_aio_finish(aio, NNG_ECLOSED);
}

REPLACES_NNG void nng_stream_send(nng_stream *stream, nng_aio *aio)
{
    pthread_once(&found, find);
    nng_send_operation(stream, aio);
    mend(aio, __builtin_return_address(0));
}

REPLACES_NNG void nng_stream_recv(nng_stream *stream, nng_aio *aio)
{
    pthread_once(&found, find);
    nng_recv_operation(stream, aio);
    mend(aio, __builtin_return_address(0));
}
