/*
 * Messages that wait for company: who waits, and that nobody waits longer than half a millisecond. The time is the
 * test's own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/company.h"

#define MANY 64  /* in half a millisecond: a stream */
#define IDLE 100 /* rounds after which nobody is watching any more */

static uint64_t now_ns = 1000 * NS_PER_S;

/* Whoever looks after the time: sleeps until the end of the round, or until it is woken, and sends what waits. */
static void look_after(struct company *company)
{
    company_round(company, now_ns);
    company_left(company);
}

static void sleep_until_the_end(struct company *company)
{
    if (company->end_ns == NEVER_NS)
        return;
    now_ns = company->end_ns;
    look_after(company);
}

static bool join(struct company *company, bool busy)
{
    bool wake, waits = company_join(company, busy, &wake);
    if (wake)
        look_after(company);
    return waits;
}

static void many_in_one_round(struct company *company)
{
    for (int i = 0; i < MANY; i++)
        join(company, false);
}

static void a_single_message_does_not_wait(void **state)
{
    (void)state;
    struct company company;
    company_init(&company);
    assert_false(join(&company, false));
    assert_true(company.end_ns == NEVER_NS);
}

static void a_message_to_somebody_busy_waits(void **state)
{
    (void)state;
    struct company company;
    company_init(&company);
    assert_true(join(&company, true));
    assert_true(company.end_ns != NEVER_NS);
}

static void a_message_of_a_stream_waits_until_the_stream_ends(void **state)
{
    (void)state;
    struct company company;
    company_init(&company);
    many_in_one_round(&company); /* now somebody looks how many come */
    many_in_one_round(&company);
    sleep_until_the_end(&company);
    assert_true(join(&company, false));
    sleep_until_the_end(&company); /* it was the only one in this round */
    assert_false(join(&company, false));
}

static void messages_far_apart_are_no_stream(void **state)
{
    (void)state;
    struct company company;
    company_init(&company);
    for (int i = 0; i < 10 * MANY; i++) {
        assert_false(join(&company, false));
        now_ns += NS_PER_S;
        if (company.end_ns <= now_ns)
            look_after(&company);
    }
}

/* Whenever in a round it comes, also into one of the last that are watched, or when nobody was watching. */
static void no_message_waits_longer_than_half_a_millisecond(void **state)
{
    (void)state;
    struct company company;
    for (int quiet = 0; quiet < IDLE; quiet++) {
        company_init(&company);
        join(&company, true);
        for (int i = 0; i < quiet; i++)
            sleep_until_the_end(&company);
        bool wake, waits = company_join(&company, true, &wake);
        assert_true(waits);
        assert_true(company.end_ns <= now_ns + 500 * NS_PER_US);
        assert_int_equal(wake, company.end_ns <= now_ns); /* otherwise the one who looks after the time knows */
    }
}

static void nobody_is_watching_when_nothing_has_waited_for_a_while(void **state)
{
    (void)state;
    struct company company;
    company_init(&company);
    join(&company, true);
    for (int i = 0; i < IDLE; i++)
        sleep_until_the_end(&company);
    assert_true(company.end_ns == NEVER_NS);
}

static void not_more_than_a_certain_number_wait(void **state)
{
    (void)state;
    struct company company;
    company_init(&company);
    join(&company, true);
    for (int i = 0; i < COMPANY_MESSAGES; i++)
        assert_true(join(&company, true));
    assert_false(join(&company, true));
    company_left(&company); /* which sends them */
    assert_true(join(&company, true));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_single_message_does_not_wait),
        cmocka_unit_test(a_message_to_somebody_busy_waits),
        cmocka_unit_test(a_message_of_a_stream_waits_until_the_stream_ends),
        cmocka_unit_test(messages_far_apart_are_no_stream),
        cmocka_unit_test(no_message_waits_longer_than_half_a_millisecond),
        cmocka_unit_test(nobody_is_watching_when_nothing_has_waited_for_a_while),
        cmocka_unit_test(not_more_than_a_certain_number_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
