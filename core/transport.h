/*
 * Runs a link over NNG: one REQ socket (control URL), one PUSH socket (the URL from WELCOME). All link calls and
 * callbacks happen with the owner's mutex held; NNG's own threads take it.
 */
#ifndef CORE_TRANSPORT_H
#define CORE_TRANSPORT_H

#include <pthread.h>

#include "core/link.h"

struct transport;

/* May this process use NNG? Not if it was forked by one that did: NNG would end it. MUSTER_EINVAL with detail; from 0
 * on this process counts as one that does. */
int transport_claim_process(void);

/* Starts to connect in the background; never waits. Mutex not held; it is locked around every call into `link`, and
 * *transport is set before the first of them. MUSTER_EURL, MUSTER_ENOMEM, MUSTER_ESYSTEM with detail. */
int transport_start(struct transport **transport, const char *url, struct link *link, pthread_mutex_t *mutex);

/* After link_send() or any other call into the link, mutex held: sends what can be sent now, arms the timer. From
 * inside a callback of the link it does nothing: everything is sent when the callbacks have run. */
void transport_flush(struct transport *transport);
/* The same for messages that nobody waits for yet: they may wait for company (core/company.h), half a millisecond at
 * most, also if the other side is `busy` with earlier ones. True if they wait. Mutex held. */
bool transport_flush_later(struct transport *transport, bool busy);

/* Mutex not held, and not from a callback. Closes the link if the owner has not (and waits half a second at most for
 * the coordinator to have heard it; callbacks go on meanwhile), stops all I/O, frees. Does not free the link. */
void transport_stop(struct transport *transport);

/* Control URLs are ipc://PATH, tcp://HOST:PORT and ws://HOST:PORT[/PATH]. */
/* Checks a control URL and derives the push URL from it ("tcp://h:5000" -> port 5001, "ipc:///p" -> "/p.push").
 * MUSTER_EURL with detail. */
int url_check(const char *url);
int url_push(const char *url, char *out, size_t size);
/* Where the push connection goes: `told` is the URL in WELCOME, as the coordinator sees itself; `control` is where it
 * was reached. A host that is a wildcard
 * ("", "*", 0.0.0.0, ::), or loopback although the coordinator was reached at another address, is replaced by the
 * control URL's host, and the directory of an ipc path by the control path's. MUSTER_EURL. */
int url_reach(const char *told, const char *control, char *out, size_t size);
/* True for ipc and for loopback addresses. */
bool url_is_local(const char *url);

#endif
