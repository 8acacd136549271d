/*
 * Shared objects of any kind: names, ids, sessions, limits.
 */
#include "object_fixture.h"

static void a_name_means_the_same_object_to_everybody(void **state)
{
    (void)state;
    struct fake *a = user_up(1), *b = user_up(2);
    uint64_t jobs = open_object(a, OBJECT_QUEUE, "jobs", 0, 0);
    assert_int_equal(open_object(b, OBJECT_QUEUE, "jobs", 0, 0), jobs);
    assert_int_not_equal(open_object(b, OBJECT_QUEUE, "other", 0, 0), jobs);
    assert_int_not_equal(open_object(b, OBJECT_QUEUE, "", 0, 0), open_object(b, OBJECT_QUEUE, "", 0, 0));
}

static void workers_use_objects_as_clients_do(void **state)
{
    (void)state;
    struct fake *client = user_up(1), *worker = connect_peer(ROLE_WORKER, 2, 3);
    uint64_t jobs = open_object(client, OBJECT_QUEUE, "jobs", 0, 0);
    assert_int_equal(open_object(worker, OBJECT_QUEUE, "jobs", 0, 0), jobs);
}

static void an_object_can_be_opened_by_its_id(void **state)
{
    (void)state;
    struct fake *a = user_up(1), *b = user_up(2);
    uint64_t id = open_object(a, OBJECT_QUEUE, "", 0, 0);
    struct message message = open_message(4, OBJECT_QUEUE, "", 0, 0, 0);
    message.object_open.object = id;
    tell(b, message);
    assert_int_equal(expect_answer(b, 4, 0).object_answer.number, id);
    close_object(a, id);
    assert_int_equal(object_counts().objects, 1);
    close_object(b, id);
    assert_int_equal(object_counts().objects, 0);
    tell(b, message);
    expect_answer(b, 4, MUSTER_ENOOBJECT);
}

static void what_does_not_exist_is_not_made_unless_asked(void **state)
{
    (void)state;
    struct fake *peer = user_up(1);
    tell(peer, open_message(4, OBJECT_QUEUE, "jobs", 0, 0, 0));
    expect_answer(peer, 4, MUSTER_ENOOBJECT);
    assert_int_equal(object_counts().objects, 0);
}

static void an_object_lives_until_its_last_handle_is_closed(void **state)
{
    (void)state;
    struct fake *peer = user_up(1);
    uint64_t id = open_object(peer, OBJECT_QUEUE, "jobs", 0, 0);
    open_object(peer, OBJECT_QUEUE, "jobs", 0, 0);
    close_object(peer, id);
    assert_int_equal(object_counts().references, 1);
    close_object(peer, id);
    assert_int_equal(object_counts().objects, 0);
    assert_int_equal(tell_status(peer, &(struct message){.type = MESSAGE_OBJECT_CLOSE, .object_close = {id, {}}}),
                     MUSTER_EPROTOCOL);
}

static void a_deleted_object_is_gone_for_all_who_use_it(void **state)
{
    (void)state;
    struct fake *peer = user_up(1), *other = user_up(2);
    uint64_t id = open_object(peer, OBJECT_QUEUE, "jobs", 0, 0);
    open_object(other, OBJECT_QUEUE, "jobs", 0, 0);
    struct message get = {.type = MESSAGE_QUEUE_GET, .queue_get = {.object = id, .call = 7, .count = 1}};
    tell(peer, get);
    delete_object(other, 5, "jobs");
    expect_answer(peer, 7, MUSTER_ENOOBJECT);
    assert_int_equal(expect(peer, MESSAGE_OBJECT_DELETED).object_deleted.object, id);
    expect(other, MESSAGE_OBJECT_DELETED);
    expect_answer(other, 5, 0);
    tell(peer, get);
    expect_answer(peer, 7, MUSTER_ENOOBJECT);
    tell(peer, (struct message){.type = MESSAGE_QUEUE_TAKEN, .queue_taken = {.object = id}}); /* void */
    delete_object(other, 6, "jobs");
    expect_answer(other, 6, MUSTER_ENOOBJECT);
    assert_int_not_equal(open_object(other, OBJECT_QUEUE, "jobs", 0, 0), id); /* the name is free */
    close_object(peer, id);
    close_object(other, id);
    assert_int_equal(object_counts().objects, 1);
}

/* --- limits ------------------------------------------------------------------------------------------------------- */

static void names_of_objects_have_a_limit(void **state)
{
    (void)state;
    struct fake *peer = user_up(1);
    char name[OBJECT_NAME_LIMIT + 2];
    memset(name, 'n', sizeof name);
    name[OBJECT_NAME_LIMIT + 1] = '\0';
    tell(peer, open_message(4, OBJECT_QUEUE, name, OBJECT_CREATE, 0, 0));
    expect_answer(peer, 4, MUSTER_ELIMIT);
    name[OBJECT_NAME_LIMIT] = '\0';
    open_object(peer, OBJECT_QUEUE, name, 0, 0);
}

static void there_is_a_limit_to_objects(void **state)
{
    (void)state;
    struct coordinator_config config = world.config;
    config.objects = 2;
    start_with(&config);
    struct fake *peer = user_up(1);
    uint64_t first = open_object(peer, OBJECT_QUEUE, "1", 0, 0);
    open_object(peer, OBJECT_QUEUE, "2", 0, 0);
    tell(peer, open_message(4, OBJECT_QUEUE, "3", OBJECT_CREATE, 0, 0));
    expect_answer(peer, 4, MUSTER_ELIMIT);
    open_object(peer, OBJECT_QUEUE, "1", 0, 0);
    close_object(peer, first);
    close_object(peer, first);
    open_object(peer, OBJECT_QUEUE, "3", 0, 0);
}

static void a_maximum_beyond_the_limit_is_refused(void **state)
{
    (void)state;
    struct fake *peer = user_up(1);
    tell(peer, open_message(4, OBJECT_QUEUE, "jobs", OBJECT_CREATE, world.config.queue_items + 1, 0));
    expect_answer(peer, 4, MUSTER_EINVAL);
    assert_int_equal(object_counts().objects, 0);
}

static void calls_of_one_session_that_wait_have_a_limit(void **state)
{
    (void)state;
    struct fake *peer = user_up(1);
    uint64_t id = open_object(peer, OBJECT_QUEUE, "jobs", 0, 0);
    struct message get = {.type = MESSAGE_QUEUE_GET, .queue_get = {.object = id, .call = 1, .count = 1}};
    const char *why;
    for (; get.queue_get.call <= 65536; get.queue_get.call++)
        assert_int_equal(coordinator_message(world.coordinator, &peer->peer, &get, world.now_ns, &why), 0);
    expect_nothing(peer);
    tell(peer, get);
    expect_answer(peer, get.queue_get.call, MUSTER_ELIMIT);
}

static void objects_of_one_session_have_a_limit(void **state)
{
    (void)state;
    struct coordinator_config config = world.config;
    config.objects = 100000;
    start_with(&config);
    struct fake *peer = user_up(1);
    struct message open = open_message(4, OBJECT_QUEUE, "", OBJECT_CREATE, 0, 0);
    const char *why;
    for (unsigned i = 0; i < 65536; i++)
        assert_int_equal(coordinator_message(world.coordinator, &peer->peer, &open, world.now_ns, &why), 0);
    peer->read = peer->inbox.length;
    assert_int_equal(coordinator_message(world.coordinator, &peer->peer, &open, world.now_ns, &why), 0);
    expect_answer(peer, 4, MUSTER_ELIMIT);
    assert_int_equal(object_counts().objects, 65536);
}

static void a_call_of_an_unknown_kind_closes_its_session(void **state)
{
    (void)state;
    struct fake *peer = user_up(1);
    struct message open = open_message(4, 0, "x", OBJECT_CREATE, 0, 0);
    assert_int_equal(tell_status(peer, &open), MUSTER_EPROTOCOL);
    open.object_open.kind = OBJECT_KINDS;
    assert_int_equal(tell_status(peer, &open), MUSTER_EPROTOCOL);
    open = open_message(0, OBJECT_QUEUE, "x", OBJECT_CREATE, 0, 0);
    assert_int_equal(tell_status(peer, &open), MUSTER_EPROTOCOL);
}

static void objects_are_in_the_status_document(void **state)
{
    (void)state;
    struct fake *peer = user_up(1);
    struct buffer json = {0};
    open_object(peer, OBJECT_QUEUE, "jobs", 7, 0);
    assert_int_equal(coordinator_status(world.coordinator, &json, world.now_ns), 0);
    assert_true(contains(bytes_of(&json), "\"objects\":{\"count\":1,\"items\":0,"));
    assert_true(contains(bytes_of(&json), "{\"name\":\"jobs\",\"kind\":\"queue\",\"persistent\":false"));
    assert_true(contains(bytes_of(&json), "\"maximum\":7"));
    buffer_free(&json);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_name_means_the_same_object_to_everybody),
        TEST(workers_use_objects_as_clients_do),
        TEST(an_object_can_be_opened_by_its_id),
        TEST(what_does_not_exist_is_not_made_unless_asked),
        TEST(an_object_lives_until_its_last_handle_is_closed),
        TEST(a_deleted_object_is_gone_for_all_who_use_it),
        TEST(names_of_objects_have_a_limit),
        TEST(there_is_a_limit_to_objects),
        TEST(a_maximum_beyond_the_limit_is_refused),
        TEST(calls_of_one_session_that_wait_have_a_limit),
        TEST(objects_of_one_session_have_a_limit),
        TEST(a_call_of_an_unknown_kind_closes_its_session),
        TEST(objects_are_in_the_status_document),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
