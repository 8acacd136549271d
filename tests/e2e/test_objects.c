/*
 * Shared objects between real processes: clients, workers and a musterd that die.
 */
#include <math.h>
#include <pthread.h>

#include "pools.h"

#define OBJECTS TEST_PLUGIN_DIR "/objects.so"

static const char *const plugins[] = {OBJECTS, NULL};

static muster_pool *open_local_objects(void)
{
    return open_pool("local:2", &(muster_pool_options){.plugins = plugins, .on_output = drop_output});
}

static pid_t start_object_workers(const char *name, const char *count)
{
    return START(MUSTER_BIN_DIR "/muster-worker", "-n", count, url_of(name), "--load", OBJECTS);
}

static muster_queue *open_queue(muster_pool *pool, const char *name, size_t maximum)
{
    muster_queue *queue;
    if (muster_queue_open(&queue, pool, name, &(muster_queue_options){.maximum = maximum}) != 0)
        fail_msg("%s: %s", name, muster_last_error());
    return queue;
}

static int64_t take_int(muster_queue *queue)
{
    muster_parcel *item;
    if (muster_queue_get(queue, WAIT_S, &item) != 0)
        fail_msg("get: %s", muster_last_error());
    assert_int_equal(item->value.type, MUSTER_TYPE_INT);
    int64_t value = item->value.integer;
    muster_parcel_free(item);
    return value;
}

static void put_int(muster_queue *queue, int64_t value)
{
    if (muster_queue_put(queue, muster_int(value), WAIT_S) != 0)
        fail_msg("put: %s", muster_last_error());
}

static muster_queue_statistics stats_of(muster_queue *queue)
{
    muster_queue_statistics statistics;
    assert_int_equal(muster_queue_stats(queue, &statistics), 0);
    return statistics;
}

/* --- queues ------------------------------------------------------------------------------------------------------- */

/* The client puts, two tasks move, the client takes: each item once. */
static void move_through_workers(muster_pool *pool)
{
    enum { COUNT = 20000 };
    muster_queue *in = open_queue(pool, "in", 0), *out = open_queue(pool, "out", 0);
    muster_args args = MUSTER_ARGS(muster_string("in"), muster_string("out"));
    muster_result *movers[2] = {submit(pool, "queue_move", args, NULL), submit(pool, "queue_move", args, NULL)};
    static unsigned char times[COUNT];
    memset(times, 0, sizeof times);
    for (int i = 0; i < COUNT; i++)
        put_int(in, i);
    for (int i = 0; i < 2; i++)
        assert_int_equal(muster_queue_put(in, muster_nil(), WAIT_S), 0);
    for (int i = 0; i < COUNT; i++)
        times[take_int(out)]++;
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(times[i], 1);
    int64_t moved = 0;
    for (int i = 0; i < 2; i++) {
        const muster_value *value;
        assert_int_equal(muster_get(movers[i], WAIT_S, &value), 0);
        moved += value->integer;
        muster_result_free(movers[i]);
    }
    assert_int_equal(moved, COUNT);
    muster_queue_free(in);
    muster_queue_free(out);
}

static void items_pass_between_a_client_and_tasks_of_a_local_pool(void **state)
{
    (void)state;
    muster_pool *pool = open_local_objects();
    move_through_workers(pool);
    muster_pool_free(pool);
    assert_nothing_left();
}

static void items_pass_between_a_client_and_tasks_of_a_musterd(void **state)
{
    (void)state;
    pid_t musterd = start_musterd("m"), workers = start_object_workers("m", "2");
    muster_pool *pool = open_pool(url_of("m"), NULL);
    move_through_workers(pool);
    muster_pool_free(pool);
    stop(workers, SIGTERM);
    stop(musterd, SIGTERM);
    assert_nothing_left();
}

static void what_a_killed_worker_had_not_taken_comes_back_in_its_place(void **state)
{
    (void)state;
    pid_t musterd = start_musterd("m"), workers = start_object_workers("m", "1");
    muster_pool *pool = open_pool(url_of("m"), NULL);
    muster_queue *jobs = open_queue(pool, "jobs", 0), *pids = open_queue(pool, "pids", 0);
    for (int i = 0; i < 100; i++)
        put_int(jobs, i);
    muster_result *hoard = submit(pool, "queue_hoard", MUSTER_ARGS(muster_string("jobs"), muster_string("pids")), NULL);
    pid_t pid = (pid_t)take_int(pids);
    assert_true(stats_of(jobs).leased > 0);
    assert_int_equal(stats_of(jobs).size, 98);
    kill(pid, SIGKILL);
    assert_int_equal(muster_get(hoard, WAIT_S, NULL), MUSTER_ELOST);
    muster_result_free(hoard);
    for (int i = 2; i < 100; i++) {
        int64_t item = take_int(jobs);
        if (i == 2) /* the wait for the first one has called the rest back, or the death has brought it */
            assert_true(item >= 2);
    }
    assert_int_equal(stats_of(jobs).size, 0);
    muster_queue_free(jobs);
    muster_queue_free(pids);
    muster_pool_free(pool);
    stop(workers, SIGTERM);
    stop(musterd, SIGTERM);
    assert_nothing_left();
}

static void a_task_that_waits_for_an_item_can_be_cancelled(void **state)
{
    (void)state;
    muster_pool *pool = open_local_objects();
    muster_queue *queue = open_queue(pool, "empty", 0);
    muster_result *result =
        submit(pool, "queue_wait", MUSTER_ARGS(muster_string("empty")), &(muster_options){.grace = WAIT_S});
    wait_until(stats_of(queue).waiting_to_get == 1);
    muster_cancel(result);
    assert_int_equal(muster_get(result, WAIT_S, NULL), MUSTER_ECANCELED);
    muster_result_free(result);
    wait_until(stats_of(queue).waiting_to_get == 0);
    muster_queue_free(queue);
    muster_pool_free(pool);
}

static void after_a_restart_of_the_coordinator_a_queue_is_lost_and_can_be_opened_again(void **state)
{
    (void)state;
    pid_t musterd = start_musterd("m");
    muster_pool *pool = open_pool(url_of("m"), NULL);
    muster_queue *queue = open_queue(pool, "jobs", 0);
    put_int(queue, 1);
    assert_int_equal(muster_queue_flush(queue, WAIT_S), 0);
    stop(musterd, SIGKILL);
    wait_until(access(path_of("m"), F_OK) != 0);
    musterd = start_musterd("m");
    muster_parcel *item;
    int status;
    wait_until((status = muster_queue_get(queue, 0.1, &item)) == MUSTER_ELOST);
    assert_int_equal(muster_queue_put(queue, muster_nil(), WAIT_S), MUSTER_ELOST);
    assert_non_null(strstr(muster_last_error(), "open it again"));
    muster_queue *again = open_queue(pool, "jobs", 0);
    assert_int_equal(muster_queue_get(again, 0, &item), MUSTER_EAGAIN);
    muster_queue_free(queue);
    muster_queue_free(again);
    muster_pool_free(pool);
    stop(musterd, SIGTERM);
}

static void time_outs_of_every_kind_are_understood(void **state)
{
    (void)state;
    muster_pool *pool = open_local_objects();
    muster_queue *queue = open_queue(pool, "q", 1);
    muster_parcel *item;
    assert_int_equal(muster_queue_get(queue, 0, &item), MUSTER_EAGAIN);
    assert_int_equal(muster_queue_get(queue, 0.01, &item), MUSTER_ETIMEDOUT);
    assert_int_equal(muster_queue_get(queue, NAN, &item), MUSTER_EINVAL);
    assert_int_equal(muster_queue_put(queue, muster_int(1), MUSTER_FOREVER), 0);
    assert_int_equal(muster_queue_put(queue, muster_int(2), 0), MUSTER_EAGAIN);
    assert_int_equal(muster_queue_put(queue, muster_int(3), 0.01), MUSTER_ETIMEDOUT);
    assert_int_equal(muster_queue_put(queue, muster_int(4), NAN), MUSTER_EINVAL);
    assert_int_equal(muster_queue_get(queue, (double)INFINITY, &item), 0);
    assert_int_equal(item->value.integer, 1);
    muster_parcel_free(item);
    assert_int_equal(muster_queue_get(queue, 0, &item), MUSTER_EAGAIN); /* what timed out has not happened */
    assert_int_equal(muster_queue_join(queue, 0), MUSTER_ETIMEDOUT);
    assert_int_equal(muster_queue_finished(queue, 1), 0);
    assert_int_equal(muster_queue_finished(queue, 1), MUSTER_EINVAL);
    assert_int_equal(muster_queue_join(queue, 0), 0);
    muster_queue_free(queue);
    muster_pool_free(pool);
}

static void several_are_put_and_taken_together(void **state)
{
    (void)state;
    pid_t musterd = start_musterd("m");
    muster_pool *pool = open_pool(url_of("m"), NULL);
    muster_value items[1000];
    muster_parcel *got[1000];
    size_t put;
    for (int i = 0; i < 1000; i++)
        items[i] = muster_int(i);
    for (int maximum = 0; maximum <= 700; maximum += 700) {
        muster_queue *queue = open_queue(pool, NULL, (size_t)maximum);
        int status = muster_queue_put_many(queue, items, 1000, maximum ? 0.1 : WAIT_S, &put);
        assert_int_equal(status, maximum ? MUSTER_ETIMEDOUT : 0);
        assert_int_equal(put, maximum ? 700 : 1000);
        int next = 0;
        while (next < (int)put) {
            int count = muster_queue_get_many(queue, 1000, WAIT_S, got);
            assert_true(count > 0);
            for (int i = 0; i < count; i++) {
                assert_int_equal(got[i]->value.integer, next++);
                muster_parcel_free(got[i]);
            }
        }
        muster_queue_free(queue);
    }
    muster_pool_free(pool);
    stop(musterd, SIGTERM);
}

static void an_item_over_the_limit_is_refused(void **state)
{
    (void)state;
    pid_t musterd = START(MUSTER_BIN_DIR "/musterd", "--listen", url_of("m"), "--payload-limit", "2M", "--frame-limit",
                          "1M", "--backlog-limit", "4M");
    wait_until(access(path_of("m"), F_OK) == 0);
    muster_pool *pool = open_pool(url_of("m"), NULL);
    muster_queue *queue = open_queue(pool, "jobs", 0);
    size_t size = 2 * 1024 * 1024;
    char *data = calloc(1, size);
    muster_parcel *item;
    assert_int_equal(muster_queue_put(queue, muster_bytes(data, size), WAIT_S), MUSTER_ELIMIT);
    assert_int_equal(muster_queue_put(queue, muster_bytes(data, size - 200), WAIT_S), 0);
    assert_int_equal(muster_queue_get(queue, WAIT_S, &item), 0);
    assert_int_equal(item->value.size, size - 200);
    muster_parcel_free(item);
    free(data);
    muster_queue_free(queue);
    muster_pool_free(pool);
    stop(musterd, SIGTERM);
}

static void a_handle_outlives_its_pool_and_says_so(void **state)
{
    (void)state;
    muster_pool *pool = open_local_objects();
    muster_queue *queue = open_queue(pool, "jobs", 0);
    put_int(queue, 1);
    muster_pool_free(pool);
    muster_parcel *item;
    assert_int_equal(muster_queue_get(queue, WAIT_S, &item), MUSTER_ECLOSED);
    assert_int_equal(muster_queue_put(queue, muster_nil(), WAIT_S), MUSTER_ECLOSED);
    muster_queue_free(queue);
}

static void *wait_for_item(void *queue)
{
    muster_parcel *item;
    int status = muster_queue_get(queue, MUSTER_FOREVER, &item);
    return (void *)(intptr_t)status;
}

static void who_waits_learns_that_the_queue_was_deleted_or_the_pool_closed(void **state)
{
    (void)state;
    void *status;
    pthread_t thread;
    muster_pool *pool = open_local_objects();
    muster_queue *deleted = open_queue(pool, "deleted", 0), *left = open_queue(pool, "left", 0);
    assert_int_equal(pthread_create(&thread, NULL, wait_for_item, deleted), 0);
    wait_until(stats_of(deleted).waiting_to_get == 1);
    assert_int_equal(muster_object_delete(pool, "deleted"), 0);
    pthread_join(thread, &status);
    assert_int_equal((intptr_t)status, MUSTER_ENOOBJECT);
    assert_int_equal(muster_object_delete(pool, "deleted"), MUSTER_ENOOBJECT);
    assert_int_equal(pthread_create(&thread, NULL, wait_for_item, left), 0);
    wait_until(stats_of(left).waiting_to_get == 1);
    muster_pool_terminate(pool);
    pthread_join(thread, &status);
    assert_int_equal((intptr_t)status, MUSTER_ECLOSED);
    muster_queue_free(deleted);
    muster_queue_free(left);
    muster_pool_free(pool);
}

static void queues_can_be_passed_on_by_id(void **state)
{
    (void)state;
    pid_t musterd = start_musterd("m");
    muster_pool *a = open_pool(url_of("m"), NULL), *b = open_pool(url_of("m"), NULL);
    muster_queue *queue = open_queue(a, NULL, 5), *same, *none;
    assert_int_equal(muster_queue_open_id(&same, b, muster_queue_id(queue)), 0);
    assert_int_equal(muster_queue_maximum(same), 5);
    put_int(queue, 7);
    muster_queue_free(queue);
    assert_int_equal(take_int(same), 7);
    assert_int_equal(muster_queue_open_id(&none, b, 12345), MUSTER_ENOOBJECT);
    assert_int_equal(muster_queue_open(&none, b, "none", &(muster_queue_options){.existing = true}), MUSTER_ENOOBJECT);
    muster_queue_free(same);
    muster_pool_free(a);
    muster_pool_free(b);
    stop(musterd, SIGTERM);
}

/* --- locks -------------------------------------------------------------------------------------------------------- */

static muster_lock *open_lock(muster_pool *pool, const char *name)
{
    muster_lock *lock;
    if (muster_lock_open(&lock, pool, name, NULL) != 0)
        fail_msg("%s: %s", name, muster_last_error());
    return lock;
}

static void a_lock_keeps_processes_apart(void **state)
{
    (void)state;
    long number = 0;
    muster_pool *pool = open_local_objects();
    FILE *file = fopen(path_of("number"), "w");
    fprintf(file, "0\n");
    fclose(file);
    muster_args args = MUSTER_ARGS(muster_string("lock"), muster_string(path_of("number")), muster_int(300));
    muster_result *counts[2] = {submit(pool, "lock_count", args, NULL), submit(pool, "lock_count", args, NULL)};
    for (int i = 0; i < 2; i++) {
        if (muster_get(counts[i], WAIT_S, NULL) != 0)
            fail_msg("%s", muster_last_error());
        muster_result_free(counts[i]);
    }
    file = fopen(path_of("number"), "r");
    assert_int_equal(fscanf(file, "%ld", &number), 1);
    fclose(file);
    assert_int_equal(number, 600);
    muster_pool_free(pool);
}

static void the_lock_of_a_killed_worker_is_released_and_the_next_holder_learns_it(void **state)
{
    (void)state;
    pid_t musterd = start_musterd("m"), workers = start_object_workers("m", "1");
    muster_pool *pool = open_pool(url_of("m"), NULL);
    muster_lock *lock = open_lock(pool, "lock");
    muster_queue *pids = open_queue(pool, "pids", 0);
    muster_grant first, second;
    assert_int_equal(muster_lock_acquire(lock, 0, &first), 0);
    assert_false(first.abandoned);
    assert_int_equal(muster_lock_release(lock), 0);
    muster_result *hold = submit(pool, "lock_hold", MUSTER_ARGS(muster_string("lock"), muster_string("pids")), NULL);
    pid_t pid = (pid_t)take_int(pids);
    assert_int_equal(muster_lock_acquire(lock, 0, NULL), MUSTER_EAGAIN);
    assert_int_equal(muster_lock_acquire(lock, 0.01, NULL), MUSTER_ETIMEDOUT);
    assert_int_equal(muster_lock_release(lock), MUSTER_EINVAL);
    kill(pid, SIGKILL);
    assert_int_equal(muster_lock_acquire(lock, WAIT_S, &second), 0);
    assert_true(second.abandoned);
    assert_true(second.fence > first.fence);
    assert_int_equal(muster_lock_release(lock), 0);
    assert_int_equal(muster_get(hold, WAIT_S, NULL), MUSTER_ELOST);
    muster_result_free(hold);
    muster_lock_free(lock);
    muster_queue_free(pids);
    muster_pool_free(pool);
    stop(workers, SIGTERM);
    stop(musterd, SIGTERM);
    assert_nothing_left();
}

static void fences_rise_over_a_restart_of_the_coordinator(void **state)
{
    (void)state;
    muster_grant before, after;
    pid_t musterd = start_musterd("m");
    muster_pool *pool = open_pool(url_of("m"), NULL);
    muster_lock *lock = open_lock(pool, "lock");
    assert_int_equal(muster_lock_acquire(lock, WAIT_S, &before), 0);
    stop(musterd, SIGKILL);
    wait_until(access(path_of("m"), F_OK) != 0);
    musterd = start_musterd("m");
    wait_until(muster_lock_acquire(lock, 0.1, NULL) == MUSTER_ELOST);
    assert_int_equal(muster_lock_release(lock), MUSTER_ELOST);
    muster_lock *again = open_lock(pool, "lock");
    assert_int_equal(muster_lock_acquire(again, WAIT_S, &after), 0);
    assert_true(after.fence > before.fence);
    muster_lock_free(lock);
    muster_lock_free(again);
    muster_pool_free(pool);
    stop(musterd, SIGTERM);
}

static void *acquire_in_thread(void *lock)
{
    return (void *)(intptr_t)muster_lock_acquire(lock, 0, NULL);
}

static void a_reentrant_lock_belongs_to_its_thread(void **state)
{
    (void)state;
    pthread_t thread;
    void *status;
    muster_pool *pool = open_local_objects();
    muster_lock *lock;
    assert_int_equal(muster_lock_open(&lock, pool, NULL, &(muster_lock_options){.reentrant = true}), 0);
    assert_int_equal(muster_lock_acquire(lock, 0, NULL), 0);
    assert_int_equal(muster_lock_acquire(lock, 0, NULL), 0);
    assert_int_equal(pthread_create(&thread, NULL, acquire_in_thread, lock), 0);
    pthread_join(thread, &status);
    assert_int_equal((intptr_t)status, MUSTER_EAGAIN);
    assert_int_equal(muster_lock_release(lock), 0);
    assert_int_equal(muster_lock_release(lock), 0);
    assert_int_equal(muster_lock_release(lock), MUSTER_EINVAL);
    muster_lock_free(lock);
    muster_pool_free(pool);
}

static void readers_share_a_lock_and_anybody_can_break_it(void **state)
{
    (void)state;
    muster_lock_statistics statistics;
    pid_t musterd = start_musterd("m");
    muster_pool *a = open_pool(url_of("m"), NULL), *b = open_pool(url_of("m"), NULL);
    muster_lock *mine = open_lock(a, "lock"), *theirs = open_lock(b, "lock");
    assert_int_equal(muster_lock_acquire_shared(mine, WAIT_S, NULL), 0);
    assert_int_equal(muster_lock_acquire_shared(theirs, WAIT_S, NULL), 0);
    assert_int_equal(muster_lock_stats(mine, &statistics), 0);
    assert_int_equal(statistics.holders, 2);
    assert_false(statistics.alone);
    assert_int_equal(muster_lock_break(mine), 0); /* its own share */
    assert_int_equal(muster_lock_release(theirs), 0);
    assert_int_equal(muster_lock_acquire(theirs, WAIT_S, NULL), 0);
    assert_int_equal(muster_lock_break(mine), 0);
    assert_int_equal(muster_lock_acquire(mine, 0, NULL), 0);
    muster_lock_free(mine);
    muster_lock_free(theirs);
    muster_pool_free(a);
    muster_pool_free(b);
    stop(musterd, SIGTERM);
}

static void semaphores_count(void **state)
{
    (void)state;
    size_t permits;
    muster_pool *pool = open_local_objects();
    muster_semaphore *semaphore, *bounded;
    assert_int_equal(muster_semaphore_open(&semaphore, pool, "s", 2, NULL), 0);
    assert_int_equal(muster_semaphore_acquire(semaphore, 0, NULL), 0);
    assert_int_equal(muster_semaphore_acquire(semaphore, 0, NULL), 0);
    assert_int_equal(muster_semaphore_acquire(semaphore, 0, NULL), MUSTER_EAGAIN);
    assert_int_equal(muster_semaphore_acquire(semaphore, NAN, NULL), MUSTER_EINVAL);
    assert_int_equal(muster_semaphore_release(semaphore, 3), 0);
    assert_int_equal(muster_semaphore_permits(semaphore, &permits), 0);
    assert_int_equal(permits, 3);
    assert_int_equal(muster_semaphore_release(semaphore, 0), MUSTER_EINVAL);
    assert_int_equal(muster_semaphore_open(&bounded, pool, "b", 1, &(muster_semaphore_options){.bound = 1}), 0);
    assert_int_equal(muster_semaphore_release(bounded, 1), MUSTER_EINVAL);
    muster_lock *lock;
    assert_int_equal(muster_lock_open(&lock, pool, "b", NULL), MUSTER_ETYPE);
    assert_non_null(strstr(muster_last_error(), "shared semaphore"));
    muster_semaphore_free(semaphore);
    muster_semaphore_free(bounded);
    muster_pool_free(pool);
}

/* --- conditions and events ---------------------------------------------------------------------------------------- */

struct shelf {
    muster_lock *lock;
    int filled;
};

static void *take_from_shelf(void *arg)
{
    struct shelf *shelf = arg;
    int status = muster_lock_acquire(shelf->lock, WAIT_S, NULL);
    while (status == 0 && !shelf->filled)
        status = muster_lock_wait(shelf->lock, 7, WAIT_S, NULL);
    if (status == 0) {
        shelf->filled--;
        status = muster_lock_release(shelf->lock);
    }
    return (void *)(intptr_t)status;
}

static void who_waits_for_a_condition_goes_on_when_it_is_notified(void **state)
{
    (void)state;
    pthread_t threads[2];
    void *status;
    size_t notified;
    muster_grant before, after;
    muster_lock_statistics statistics = {0};
    muster_pool *pool = open_local_objects();
    struct shelf shelf = {open_lock(pool, "shelf"), 0};
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_from_shelf, &shelf), 0);
    wait_until(muster_lock_stats(shelf.lock, &statistics) == 0 && statistics.sleeping == 2);
    assert_int_equal(muster_lock_notify(shelf.lock, 7, 1, NULL), MUSTER_EINVAL);
    assert_int_equal(muster_lock_wait(shelf.lock, 7, 0, NULL), MUSTER_EINVAL);
    assert_int_equal(muster_lock_acquire(shelf.lock, WAIT_S, &before), 0);
    assert_int_equal(muster_lock_wait(shelf.lock, 8, 0.01, &after), MUSTER_ETIMEDOUT);
    assert_true(after.fence > before.fence);
    shelf.filled = 2;
    assert_int_equal(muster_lock_notify(shelf.lock, 7, SIZE_MAX, &notified), 0);
    assert_int_equal(notified, 2);
    assert_int_equal(muster_lock_release(shelf.lock), 0);
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], &status);
        assert_int_equal((intptr_t)status, 0);
    }
    assert_int_equal(shelf.filled, 0);
    muster_lock_free(shelf.lock);
    muster_pool_free(pool);
}

static void *wait_for_event(void *event)
{
    return (void *)(intptr_t)muster_event_wait(event, WAIT_S);
}

static void an_event_lets_those_go_on_who_wait(void **state)
{
    (void)state;
    pthread_t thread;
    void *status;
    pid_t musterd = start_musterd("m");
    muster_pool *a = open_pool(url_of("m"), NULL), *b = open_pool(url_of("m"), NULL);
    muster_event *mine, *theirs;
    assert_int_equal(muster_event_open(&mine, a, "go", NULL), 0);
    assert_int_equal(muster_event_open_id(&theirs, b, muster_event_id(mine)), 0);
    assert_int_equal(muster_event_wait(mine, 0), MUSTER_EAGAIN);
    assert_int_equal(muster_event_wait(mine, 0.01), MUSTER_ETIMEDOUT);
    assert_int_equal(pthread_create(&thread, NULL, wait_for_event, mine), 0);
    assert_int_equal(muster_event_set(theirs), 0);
    pthread_join(thread, &status);
    assert_int_equal((intptr_t)status, 0);
    assert_int_equal(muster_event_clear(theirs), 0);
    assert_int_equal(muster_event_wait(mine, 0), MUSTER_EAGAIN);
    muster_event_free(mine);
    muster_event_free(theirs);
    muster_pool_free(a);
    muster_pool_free(b);
    stop(musterd, SIGTERM);
}

static void *wait_at_barrier(void *barrier)
{
    return (void *)(intptr_t)muster_barrier_wait(barrier, WAIT_S, NULL);
}

static void parties_of_a_barrier_go_on_together_or_learn_that_it_is_broken(void **state)
{
    (void)state;
    pthread_t thread;
    void *status;
    size_t index;
    muster_barrier_statistics statistics = {0};
    pid_t musterd = start_musterd("m");
    muster_pool *a = open_pool(url_of("m"), NULL), *b = open_pool(url_of("m"), NULL);
    muster_barrier *mine, *theirs;
    assert_int_equal(muster_barrier_open(&mine, a, "two", 2, NULL), 0);
    assert_int_equal(muster_barrier_open(&theirs, b, "two", 2, NULL), 0);
    assert_int_equal(pthread_create(&thread, NULL, wait_at_barrier, mine), 0);
    wait_until(muster_barrier_stats(theirs, &statistics) == 0 && statistics.waiting == 1);
    assert_int_equal(muster_barrier_wait(theirs, WAIT_S, &index), 0);
    assert_int_equal(index, 1);
    pthread_join(thread, &status);
    assert_int_equal((intptr_t)status, 0);
    assert_int_equal(muster_barrier_wait(mine, 0.01, NULL), MUSTER_ETIMEDOUT);
    assert_int_equal(muster_barrier_wait(theirs, WAIT_S, NULL), MUSTER_EBROKEN);
    assert_int_equal(muster_barrier_reset(mine), 0);
    assert_int_equal(muster_barrier_wait(mine, 0, NULL), MUSTER_ETIMEDOUT);
    assert_int_equal(muster_barrier_reset(mine), 0);
    assert_int_equal(pthread_create(&thread, NULL, wait_at_barrier, mine), 0);
    wait_until(muster_barrier_stats(theirs, &statistics) == 0 && statistics.waiting == 1);
    assert_int_equal(muster_barrier_abort(theirs), 0);
    pthread_join(thread, &status);
    assert_int_equal((intptr_t)status, MUSTER_EBROKEN);
    muster_barrier_free(mine);
    muster_barrier_free(theirs);
    muster_pool_free(a);
    muster_pool_free(b);
    stop(musterd, SIGTERM);
}

/* --- counters ----------------------------------------------------------------------------------------------------- */

static void *wait_for_change(void *counter)
{
    int64_t value = -1;
    int status = muster_counter_wait(counter, 0, WAIT_S, &value);
    return (void *)(intptr_t)(status ? status : value);
}

static void counters_are_added_to_swapped_and_watched(void **state)
{
    (void)state;
    pthread_t thread;
    void *seen;
    int64_t value;
    pid_t musterd = start_musterd("m");
    muster_pool *a = open_pool(url_of("m"), NULL), *b = open_pool(url_of("m"), NULL);
    muster_counter *mine, *theirs;
    assert_int_equal(muster_counter_open(&mine, a, "n", 0, NULL), 0);
    assert_int_equal(muster_counter_open(&theirs, b, "n", 5, NULL), 0);
    assert_int_equal(pthread_create(&thread, NULL, wait_for_change, theirs), 0);
    assert_int_equal(muster_counter_add(mine, -7, &value), 0);
    assert_int_equal(value, -7);
    pthread_join(thread, &seen);
    assert_int_equal((intptr_t)seen, -7);
    assert_int_equal(muster_counter_swap(theirs, 0, 1, &value), MUSTER_EAGAIN);
    assert_int_equal(value, -7);
    assert_int_equal(muster_counter_swap(theirs, -7, 1, &value), 0);
    assert_int_equal(value, -7);
    assert_int_equal(muster_counter_get(mine, &value), 0);
    assert_int_equal(value, 1);
    assert_int_equal(muster_counter_wait(mine, 1, 0, &value), MUSTER_EAGAIN);
    assert_int_equal(muster_counter_wait(mine, 1, 0.01, &value), MUSTER_ETIMEDOUT);
    assert_int_equal(muster_counter_wait(mine, 1, NAN, &value), MUSTER_EINVAL);
    assert_int_equal(muster_counter_set(mine, INT64_MIN), 0);
    assert_int_equal(muster_counter_get(theirs, &value), 0);
    assert_true(value == INT64_MIN);
    muster_counter_free(mine);
    muster_counter_free(theirs);
    muster_pool_free(a);
    muster_pool_free(b);
    stop(musterd, SIGTERM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(items_pass_between_a_client_and_tasks_of_a_local_pool),
        E2E_TEST(items_pass_between_a_client_and_tasks_of_a_musterd),
        E2E_TEST(what_a_killed_worker_had_not_taken_comes_back_in_its_place),
        E2E_TEST(a_task_that_waits_for_an_item_can_be_cancelled),
        E2E_TEST(after_a_restart_of_the_coordinator_a_queue_is_lost_and_can_be_opened_again),
        E2E_TEST(time_outs_of_every_kind_are_understood),
        E2E_TEST(several_are_put_and_taken_together),
        E2E_TEST(an_item_over_the_limit_is_refused),
        E2E_TEST(a_handle_outlives_its_pool_and_says_so),
        E2E_TEST(who_waits_learns_that_the_queue_was_deleted_or_the_pool_closed),
        E2E_TEST(queues_can_be_passed_on_by_id),
        E2E_TEST(a_lock_keeps_processes_apart),
        E2E_TEST(the_lock_of_a_killed_worker_is_released_and_the_next_holder_learns_it),
        E2E_TEST(fences_rise_over_a_restart_of_the_coordinator),
        E2E_TEST(a_reentrant_lock_belongs_to_its_thread),
        E2E_TEST(readers_share_a_lock_and_anybody_can_break_it),
        E2E_TEST(semaphores_count),
        E2E_TEST(who_waits_for_a_condition_goes_on_when_it_is_notified),
        E2E_TEST(an_event_lets_those_go_on_who_wait),
        E2E_TEST(parties_of_a_barrier_go_on_together_or_learn_that_it_is_broken),
        E2E_TEST(counters_are_added_to_swapped_and_watched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
