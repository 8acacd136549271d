/*
 * Waiting, and what may end it before its time.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bindings/c/wait.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct waitlist list;
static int looks, enough; /* how often was looked, and how often until there is a reason to go */

static bool look(void)
{
    return ++looks >= enough;
}

static bool wait_once(uint64_t deadline_ns)
{
    pthread_mutex_lock(&mutex);
    bool woken = waitlist_sleep(&list, &mutex, deadline_ns);
    assert_null(list.first);
    return woken;
}

static void *wake(void *arg)
{
    (void)arg;
    for (bool done = false; !done;) {
        pthread_mutex_lock(&mutex);
        done = list.first != NULL;
        waitlist_wake(&list);
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

static void a_wait_ends_when_somebody_wakes_or_at_its_deadline(void **state)
{
    pthread_t waker;
    (void)state;
    assert_false(wait_once(clock_now_ns()));
    assert_int_equal(pthread_create(&waker, NULL, wake, NULL), 0);
    assert_true(wait_once(NEVER_NS));
    pthread_join(waker, NULL);
}

static void a_wait_ends_when_the_thread_has_another_reason(void **state)
{
    (void)state;
    looks = 0;
    enough = 2;
    wait_interruptible(look);
    assert_false(wait_interrupted());
    assert_false(wait_once(NEVER_NS));
    assert_true(wait_interrupted());
    assert_int_equal(looks, 2);
    assert_false(wait_once(NEVER_NS)); /* and so does every other one... */
    assert_int_equal(looks, 2);
    wait_interruptible(NULL); /* ...until then */
    assert_false(wait_interrupted());
}

static void a_thread_that_looks_is_woken_as_any_other(void **state)
{
    pthread_t waker;
    (void)state;
    looks = 0;
    enough = INT32_MAX;
    wait_interruptible(look);
    assert_false(wait_once(clock_now_ns()));
    assert_int_equal(pthread_create(&waker, NULL, wake, NULL), 0);
    assert_true(wait_once(NEVER_NS));
    pthread_join(waker, NULL);
    assert_false(wait_interrupted());
    wait_interruptible(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wait_ends_when_somebody_wakes_or_at_its_deadline),
        cmocka_unit_test(a_wait_ends_when_the_thread_has_another_reason),
        cmocka_unit_test(a_thread_that_looks_is_woken_as_any_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
