/*
 * Messages that nobody waits for yet may wait for company, because a frame costs as much as many messages. Pure: says
 * who may wait and until when; the shell holds them back and sends them.
 *
 * Time is counted in rounds of COMPANY_NS, at whose end everything leaves: so nothing waits longer than that. The
 * rounds follow each other by themselves while messages wait now and then: to wake a thread for each would cost what
 * holding them back saves.
 */
#ifndef CORE_COMPANY_H
#define CORE_COMPANY_H

#include <stdbool.h>
#include <stdint.h>

#include "core/clock.h"

#define COMPANY_NS (500 * NS_PER_US) /* no message waits longer */
#define COMPANY_MESSAGES 512         /* nor until there are more than so many */

struct company {
    unsigned waiting; /* messages */
    unsigned asked;   /* messages in this round; while there is none: since the last one */
    unsigned rounds;  /* that are left: then nothing has waited for a while */
    bool stream;      /* there were many messages in the last round */
    uint64_t end_ns;  /* of this round, when company_round() is to be called; 0: at once; NEVER_NS: there is none */
};

void company_init(struct company *company);

/* One message more. True if it waits, because others will follow soon: the other side is `busy` with earlier ones, or
 * the message is part of a stream, so many in so short a time that more are sure to follow. *wake: `end_ns` has
 * changed, and whoever looks after the time must hear of it. */
bool company_join(struct company *company, bool busy, bool *wake);

/* Everything that waited was sent. */
void company_left(struct company *company);

/* A round ends, and perhaps the next one begins: sets `end_ns`. What waits must be sent now. */
void company_round(struct company *company, uint64_t now_ns);

#endif
