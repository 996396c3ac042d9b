/* layer_deliver_to(): messages of groups that they do not name. */
#include "tests/unit/layer_fixture.h"

#include "channellayer/bus.h"

static void make(struct fixture *fixture, const char *channel)
{
    assert_int_equal(layer_channel_create(fixture->layer, name_of(channel), CAPACITY, 0, false), LAYER_OK);
}

static int deliver(struct fixture *fixture, const char *text, size_t count, const char *first, const char *second)
{
    struct name names[] = { name_of(first), name_of(second != NULL ? second : "") };
    struct message *message = message_of(text);
    int result = layer_deliver_to(fixture->layer, names, count, message);
    message_release(message);
    return result;
}

static void make_pair(struct fixture *fixture, const char *group, enum overflow overflow)
{
    make(fixture, "p!1");
    make(fixture, "p!2");
    join_as(fixture, group, "p!1", overflow);
    join_as(fixture, group, "p!2", overflow);
}

static void fill(struct fixture *fixture)
{
    for (int i = 0; i < CAPACITY; i++)
        assert_int_equal(deliver(fixture, "old", 2, "p!1", "p!2"), LAYER_OK);
}

static void test_to_those_that_are_named(void **state)
{
    struct fixture *fixture = *state;
    make_pair(fixture, "g", OVERFLOW_DROP_OLDEST);
    make(fixture, "p!3");
    join(fixture, "g", "p!3");
    assert_int_equal(deliver(fixture, "m", 2, "p!1", "p!2"), LAYER_OK);
    assert_receives(fixture, "p!1", "m");
    assert_receives(fixture, "p!2", "m");
    assert_nothing(fixture, "p!3");
    assert_int_equal(deliver(fixture, "m", 2, "p!1", "p!gone"), LAYER_OK);
    assert_receives(fixture, "p!1", "m");
    assert_int_equal(stats_of(fixture).dropped_unknown, 1);
    assert_int_equal(deliver(fixture, "m", 0, "p!1", NULL), LAYER_OK);
    assert_nothing(fixture, "p!1");
}

static void test_the_policy_of_the_group_whose_members_they_are(void **state)
{
    struct fixture *fixture = *state;
    make_pair(fixture, "newest", OVERFLOW_DROP_NEWEST);
    make(fixture, "p!3");
    join(fixture, "other", "p!1"); /* drops the oldest, but has other members */
    join(fixture, "other", "p!3");
    fill(fixture);
    assert_int_equal(deliver(fixture, "new", 2, "p!1", "p!2"), LAYER_OK);
    assert_int_equal(stats_of(fixture).dropped[OVERFLOW_DROP_NEWEST], 2);
    for (int i = 0; i < CAPACITY; i++)
        assert_receives(fixture, "p!1", "old");
    assert_nothing(fixture, "p!1");
}

static void test_two_groups_that_differ(void **state)
{
    struct fixture *fixture = *state;
    make_pair(fixture, "newest", OVERFLOW_DROP_NEWEST);
    join(fixture, "oldest", "p!1");
    join(fixture, "oldest", "p!2");
    fill(fixture);
    assert_int_equal(deliver(fixture, "new", 2, "p!1", "p!2"), LAYER_OK);
    assert_int_equal(stats_of(fixture).dropped[OVERFLOW_DROP_OLDEST], 2);
}

static void test_some_members_of_a_group(void **state)
{
    struct fixture *fixture = *state;
    make_pair(fixture, "newest", OVERFLOW_DROP_NEWEST);
    fill(fixture);
    assert_int_equal(deliver(fixture, "new", 1, "p!1", NULL), LAYER_OK);
    assert_int_equal(stats_of(fixture).dropped[OVERFLOW_DROP_NEWEST], 1);
    assert_receives(fixture, "p!1", "old");
}

static void test_close(void **state)
{
    struct fixture *fixture = *state;
    uint64_t owner = owner_open(fixture->owners, 7, NULL, 0);
    assert_int_equal(layer_channel_create(fixture->layer, name_of("p!1"), CAPACITY, owner, false), LAYER_OK);
    join_as(fixture, "g", "p!1", OVERFLOW_CLOSE);
    for (int i = 0; i <= CAPACITY; i++)
        assert_int_equal(deliver(fixture, "m", 1, "p!1", NULL), LAYER_OK);
    assert_int_equal(fixture->closes, 1);
    assert_int_equal(fixture->closed_tag, 7);
    owner_end(fixture->owners, owner);
}

static void test_no_memory(void **state)
{
    struct fixture *fixture = *state;
    make_pair(fixture, "g", OVERFLOW_DROP_OLDEST);
    struct name names[] = { name_of("p!1"), name_of("p!2") };
    struct message *message = message_of("m");
    unsigned long made;
    for (unsigned long n = 1;; n++) {
        mem_fail_at(n);
        int result = layer_deliver_to(fixture->layer, names, 2, message);
        made = mem_try_count();
        mem_fail_at(0);
        assert_int_equal(result, made < n ? LAYER_OK : LAYER_NO_MEMORY);
        if (made < n)
            break;
        layer_flush(fixture->layer);
        make_pair(fixture, "g", OVERFLOW_DROP_OLDEST);
    }
    assert_true(made >= 2);
    message_release(message);
}

static void test_too_large(void **state)
{
    struct fixture *fixture = *state;
    char text[FIXTURE_MESSAGE_LIMIT + 2];
    memset(text, 'm', sizeof text);
    text[sizeof text - 1] = '\0';
    make(fixture, "p!1");
    assert_int_equal(deliver(fixture, text, 1, "p!1", NULL), LAYER_TOO_LARGE);
    assert_nothing(fixture, "p!1");
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, fixture_begin, fixture_end)
    const struct CMUnitTest tests[] = {
        TEST(test_to_those_that_are_named),
        TEST(test_the_policy_of_the_group_whose_members_they_are),
        TEST(test_two_groups_that_differ),
        TEST(test_some_members_of_a_group),
        TEST(test_close),
        TEST(test_no_memory),
        TEST(test_too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
