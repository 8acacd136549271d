/*
 * Who waits for company, and how long: see company.h.
 */
#include "core/company.h"

#define ROUNDS 4           /* in a row without such messages end the watch for them */
#define TRIAL_ROUNDS 2     /* are enough to see how many come in one: the first ends where it begins */
#define STREAM_MESSAGES 64 /* in a round: more will follow */

void company_init(struct company *company)
{
    *company = (struct company){.end_ns = NEVER_NS};
}

bool company_join(struct company *company, bool busy, bool *wake)
{
    bool waits = (busy || company->stream) && company->waiting < COMPANY_MESSAGES;
    company->asked++;
    company->waiting += waits;
    *wake = company->rounds == 0 && (waits || company->asked == STREAM_MESSAGES);
    if (*wake) {
        company->rounds = waits ? ROUNDS : TRIAL_ROUNDS;
        company->asked = 0;
        company->end_ns = 0;
    }
    return waits;
}

void company_left(struct company *company)
{
    company->waiting = 0;
}

void company_round(struct company *company, uint64_t now_ns)
{
    company->stream = company->asked >= STREAM_MESSAGES;
    company->asked = 0;
    if (company->waiting > 0 || company->stream)
        company->rounds = ROUNDS;
    else if (company->rounds > 0)
        company->rounds--;
    company->end_ns = company->rounds > 0 ? now_ns + COMPANY_NS : NEVER_NS;
}
