/* Every allocation of the channel layer fails once: the call says so, nothing has changed, nothing is lost. */
#include "tests/unit/layer_fixture.h"

/* Gauges before a call; a call without memory leaves them as they were. */
static struct layer_stats before;

static void assert_unchanged_without_memory(struct fixture *fixture, int result)
{
    struct layer_stats after = stats_of(fixture);
    if (result == LAYER_NO_MEMORY)
        assert_memory_equal(&before, &after, sizeof after);
    before = after;
}

static void step_create(struct fixture *fixture, const char *channel, uint64_t owner)
{
    int result = layer_channel_create(fixture->layer, name_of(channel), 100, owner, false);
    assert_true(result == LAYER_OK || result == LAYER_NO_MEMORY);
    assert_unchanged_without_memory(fixture, result);
}

static void step_join(struct fixture *fixture, const char *group, const char *channel)
{
    int result = join(fixture, group, channel);
    assert_true(result == LAYER_OK || result == LAYER_NO_MEMORY || result == LAYER_UNKNOWN);
    assert_unchanged_without_memory(fixture, result);
}

static void step_send(struct fixture *fixture, const char *channel, int group)
{
    struct message *message = message_create("hello", 5, "k", 1);
    if (message == NULL)
        return;
    int result = group ? layer_group_send(fixture->layer, name_of(channel), message)
                       : layer_send(fixture->layer, name_of(channel), 100, message);
    message_release(message);
    assert_true(result == LAYER_OK || result == LAYER_NO_MEMORY || result == LAYER_UNKNOWN);
    if (group)
        before = stats_of(fixture);
    else
        assert_unchanged_without_memory(fixture, result);
}

static void step_receive(struct fixture *fixture, const char *channel, uint64_t token)
{
    int result = wait_for(fixture, channel, token);
    assert_true(result == LAYER_OK || result == LAYER_NO_MEMORY || result == LAYER_EMPTY || result == LAYER_UNKNOWN);
    assert_unchanged_without_memory(fixture, result);
}

static void run_steps(struct fixture *fixture, uint64_t owner)
{
    char name[32];
    before = stats_of(fixture);
    step_create(fixture, "s!1", owner);
    step_create(fixture, "s!2", owner);
    step_receive(fixture, "s!1", 1);
    step_receive(fixture, "plain", 2);
    for (int i = 0; i < 6; i++) {
        snprintf(name, sizeof name, "member%d", i);
        step_join(fixture, "g", name);
    }
    step_join(fixture, "g", "s!1");
    step_join(fixture, "h", "s!1");
    for (int i = 0; i < 20; i++)
        step_send(fixture, "many", 0); /* the ring grows */
    for (int i = 0; i < 10; i++)
        step_send(fixture, "g", 1);
    step_send(fixture, "plain", 0);
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof name, "grow%d", i); /* the tables grow */
        step_send(fixture, name, 0);
        step_join(fixture, name, name);
    }
    step_receive(fixture, "many", 3);
    step_receive(fixture, "s!2", 4);
}

static void take_all_told(struct fixture *fixture)
{
    while (told(fixture, NULL) != 0)
        continue;
}

static void assert_everything_goes(struct fixture *fixture, uint64_t owner)
{
    owner_close(fixture->owners, owner);
    owner_end(fixture->owners, owner);
    take_all_told(fixture);
    layer_cancel(fixture->layer, name_of("plain"), fixture->sink, 2);
    layer_cancel(fixture->layer, name_of("many"), fixture->sink, 3);
    layer_flush(fixture->layer);
    struct layer_stats stats = stats_of(fixture);
    assert_int_equal(stats.channels, 0);
    assert_int_equal(stats.groups, 0);
    assert_int_equal(stats.group_members, 0);
    assert_int_equal(stats.messages_queued, 0);
    assert_int_equal(stats.bytes_queued, 0);
    assert_int_equal(stats.waiters, 0);
}

static void test_each_allocation_of_a_scenario(void **state)
{
    (void)state;
    unsigned long n = 0, calls;
    do {
        struct fixture *fixture;
        fixture_begin((void **)&fixture);
        uint64_t owner = owner_open(fixture->owners, 1, NULL, 0);
        mem_fail_at(++n);
        run_steps(fixture, owner);
        calls = mem_try_count();
        mem_fail_at(0);
        assert_everything_goes(fixture, owner);
        fixture_end((void **)&fixture);
    } while (calls >= n);
    assert_true(n > 100); /* it did reach them */
}

/* The report of a killed application is shorter without memory; the counts are right, and nothing stays subscribed. */
static void test_close_and_describe_without_memory(void **state)
{
    (void)state;
    unsigned long n = 0, calls;
    do {
        struct fixture *fixture;
        struct owner_report report;
        fixture_begin((void **)&fixture);
        uint64_t owner = owner_open(fixture->owners, 1, NULL, 0);
        run_steps(fixture, owner);
        mem_fail_at(++n);
        owner_close(fixture->owners, owner);
        assert_int_equal(owner_describe(fixture->owners, owner, &report), 0);
        calls = mem_try_count();
        mem_fail_at(0);
        assert_int_equal(report.channels, 2);
        assert_int_equal(report.groups, 2);
        for (size_t i = 0; i < report.name_count; i++)
            mem_free(report.names[i]);
        assert_int_equal(stats_of(fixture).subscriptions_discarded, 2);
        assert_everything_goes(fixture, owner);
        fixture_end((void **)&fixture);
    } while (calls >= n);
    assert_true(n > 3);
}

static void test_create_a_layer_without_memory(void **state)
{
    (void)state;
    struct layer_config config = fixture_config();
    struct owners *owners = owners_create(NULL, NULL);
    struct layer *layer = NULL;
    int result;
    unsigned long n = 0;
    do {
        mem_fail_at(++n);
        result = layer_create(&layer, &config, owners);
        mem_fail_at(0);
    } while (result == LAYER_NO_MEMORY);
    assert_int_equal(result, LAYER_OK);
    assert_int_equal(n, 3);
    layer_release(layer);
    owners_destroy(owners);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_allocation_of_a_scenario),
        cmocka_unit_test(test_close_and_describe_without_memory),
        cmocka_unit_test(test_create_a_layer_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
