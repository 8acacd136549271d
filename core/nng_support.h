/*
 * What both users of NNG share, core/transport.c and server/server.c. Whoever links this file also has the mend for
 * NNG's streams that is described there.
 */
#ifndef CORE_NNG_SUPPORT_H
#define CORE_NNG_SUPPORT_H

/* Sets the detail "what: NNG's sentence"; MUSTER_ENOMEM or MUSTER_ESYSTEM. */
int nng_failed(const char *what, int code);

#endif
