/* channellayer/layer.h: sending, receiving, groups, expiry, and what is counted. */
#include "tests/unit/layer_fixture.h"

static int create(struct fixture *fixture, const char *channel, uint64_t owner)
{
    return layer_channel_create(fixture->layer, name_of(channel), CAPACITY, owner, false);
}

static void test_send_then_receive(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(create(f, "specific.a!1", 0), LAYER_OK);
    assert_int_equal(send_text(f, "specific.a!1", "one"), LAYER_OK);
    assert_int_equal(send_text(f, "specific.a!1", "two"), LAYER_OK);
    struct layer_stats stats = stats_of(f);
    assert_int_equal(stats.channels, 1);
    assert_int_equal(stats.messages_queued, 2);
    assert_int_equal(stats.bytes_queued, 6);
    assert_receives(f, "specific.a!1", "one");
    assert_receives(f, "specific.a!1", "two");
    assert_nothing(f, "specific.a!1");
    stats = stats_of(f);
    assert_int_equal(stats.messages_queued, 0);
    assert_int_equal(stats.bytes_queued, 0);
    assert_int_equal(stats.waiters, 0);
}

static void test_plain_names_are_made(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(send_text(f, "worker", "one"), LAYER_OK);
    assert_receives(f, "worker", "one");
    assert_int_equal(wait_for(f, "other", 7), LAYER_EMPTY);
    assert_int_equal(join(f, "group", "third"), LAYER_OK);
    assert_int_equal(stats_of(f).channels, 3);
}

static void test_unknown_local_names(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(send_text(f, "specific.a!1", "one"), LAYER_UNKNOWN);
    assert_int_equal(join(f, "group", "specific.a!1"), LAYER_UNKNOWN);
    assert_int_equal(wait_for(f, "specific.a!1", 7), LAYER_UNKNOWN);
    layer_cancel(f->layer, name_of("specific.a!1"), f->sink, 7);
    layer_group_discard(f->layer, name_of("group"), name_of("specific.a!1"));
    struct layer_stats stats = stats_of(f);
    assert_int_equal(stats.channels, 0);
    assert_int_equal(stats.groups, 0);
    assert_int_equal(stats.waiters, 0);
    assert_int_equal(stats.dropped_unknown, 1);
    assert_int_equal(stats.late_group_adds, 1);
}

static void test_full_and_too_large(void **state)
{
    struct fixture *f = *state;
    static char large[FIXTURE_MESSAGE_LIMIT + 2];
    memset(large, 'x', sizeof large - 1);
    assert_int_equal(send_text(f, "a", large), LAYER_TOO_LARGE);
    assert_int_equal(group_send_text(f, "g", large), LAYER_TOO_LARGE);
    assert_int_equal(stats_of(f).channels, 0);
    large[FIXTURE_MESSAGE_LIMIT] = '\0';
    assert_int_equal(send_text(f, "bytes", large), LAYER_OK);
    assert_int_equal(send_text(f, "bytes", large), LAYER_OK);
    assert_int_equal(send_text(f, "bytes", "x"), LAYER_FULL); /* 1,000 bytes are there */
    for (int i = 0; i < CAPACITY; i++)
        assert_int_equal(send_text(f, "a", "x"), LAYER_OK);
    assert_int_equal(send_text(f, "a", "x"), LAYER_FULL);
    assert_int_equal(stats_of(f).refused_full, 2);
}

static void test_group_send(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(join(f, "g", "a"), LAYER_OK);
    assert_int_equal(join(f, "g", "b"), LAYER_OK);
    assert_int_equal(join(f, "g", "b"), LAYER_OK); /* a renewal, not a second membership */
    assert_int_equal(join(f, "h", "b"), LAYER_OK);
    assert_int_equal(stats_of(f).group_members, 3);
    assert_int_equal(stats_of(f).groups, 2);
    assert_int_equal(group_send_text(f, "g", "to g"), LAYER_OK);
    assert_int_equal(group_send_text(f, "nobody", "x"), LAYER_OK);
    assert_receives(f, "a", "to g");
    assert_receives(f, "b", "to g");
    assert_nothing(f, "b");
    layer_group_discard(f->layer, name_of("g"), name_of("b"));
    layer_group_discard(f->layer, name_of("g"), name_of("b"));
    assert_int_equal(group_send_text(f, "g", "again"), LAYER_OK);
    assert_receives(f, "a", "again");
    assert_nothing(f, "b");
    layer_group_discard(f->layer, name_of("g"), name_of("a"));
    layer_group_discard(f->layer, name_of("h"), name_of("b"));
    struct layer_stats stats = stats_of(f);
    assert_int_equal(stats.groups, 0);
    assert_int_equal(stats.group_members, 0);
    assert_int_equal(stats.subscriptions_discarded, 0); /* these left by themselves */
}

static void test_many_members_leave_in_any_order(void **state)
{
    struct fixture *f = *state;
    enum { MANY = 300 };
    char name[32];
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "c%d", i);
        assert_int_equal(join(f, "g", name), LAYER_OK);
    }
    for (int i = 0; i < MANY; i += 3) {
        snprintf(name, sizeof name, "c%d", (i * 7) % MANY);
        layer_group_discard(f->layer, name_of("g"), name_of(name));
    }
    assert_int_equal(stats_of(f).group_members, MANY - MANY / 3);
    assert_int_equal(group_send_text(f, "g", "x"), LAYER_OK);
    int received = 0;
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "c%d", i);
        if (wait_for(f, name, 1) == LAYER_OK)
            received++;
    }
    assert_int_equal(received, MANY - MANY / 3);
}

struct seen_group {
    int count;
    size_t members;
    uint64_t messages, dropped;
};

static void see_group(void *context, const struct layer_group_info *info)
{
    struct seen_group *seen = context;
    assert_int_equal(info->name.length, 1);
    assert_memory_equal(info->name.bytes, "g", 1);
    *seen = (struct seen_group){ seen->count + 1, info->members, info->messages, info->dropped };
}

static void test_overflow_is_the_first_members(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(join_as(f, "g", "a", OVERFLOW_DROP_NEWEST), LAYER_OK);
    assert_int_equal(join_as(f, "g", "b", OVERFLOW_DROP_OLDEST), LAYER_OK);
    const char *texts[] = { "1", "2", "3", "4", "5" };
    for (int i = 0; i < 5; i++)
        assert_int_equal(group_send_text(f, "g", texts[i]), LAYER_OK);
    assert_receives(f, "a", "1");
    assert_receives(f, "b", "1");
    struct layer_stats stats = stats_of(f);
    assert_int_equal(stats.dropped[OVERFLOW_DROP_NEWEST], 4);
    assert_int_equal(stats.dropped[OVERFLOW_DROP_OLDEST], 0);
    assert_int_equal(stats.refused_full, 0);
    struct seen_group seen = { 0 };
    layer_each_group(f->layer, see_group, &seen);
    assert_int_equal(seen.count, 1);
    assert_int_equal(seen.members, 2);
    assert_int_equal(seen.messages, 5);
    assert_int_equal(seen.dropped, 4);
}

static void test_overflow_latest_by_key(void **state)
{
    struct fixture *f = *state;
    join_as(f, "g", "a", OVERFLOW_LATEST);
    const char *texts[][2] = { { "btc1", "btc" }, { "eth1", "eth" }, { "xrp1", "xrp" }, { "btc2", "btc" } };
    for (int i = 0; i < 4; i++) {
        struct message *message = keyed_message(texts[i][0], texts[i][1]);
        assert_int_equal(layer_group_send(f->layer, name_of("g"), message), LAYER_OK);
        message_release(message);
    }
    assert_int_equal(stats_of(f).dropped[OVERFLOW_LATEST], 1);
    assert_receives(f, "a", "eth1");
    assert_receives(f, "a", "xrp1");
    assert_receives(f, "a", "btc2");
}

static void test_messages_expire(void **state)
{
    struct fixture *f = *state;
    create(f, "s!1", 0);
    send_text(f, "s!1", "old");
    fixture_clock += FIXTURE_EXPIRY_MS - 1;
    send_text(f, "s!1", "new");
    fixture_clock += 1;
    assert_receives(f, "s!1", "new");
    assert_int_equal(stats_of(f).dropped_expired, 1);
    /* A full mailbox whose messages have expired is not full. */
    for (int i = 0; i < CAPACITY; i++)
        send_text(f, "s!1", "x");
    fixture_clock += FIXTURE_EXPIRY_MS;
    assert_int_equal(send_text(f, "s!1", "y"), LAYER_OK);
    assert_int_equal(stats_of(f).dropped_expired, 1 + CAPACITY);
    /* Nobody touches it: the sweep does. */
    fixture_clock += FIXTURE_EXPIRY_MS;
    layer_sweep(f->layer);
    assert_int_equal(stats_of(f).messages_queued, 0);
    assert_int_equal(stats_of(f).dropped_expired, 2 + CAPACITY);
}

static void test_memberships_expire(void **state)
{
    struct fixture *f = *state;
    join(f, "g", "a");
    join(f, "g", "b");
    fixture_clock += FIXTURE_GROUP_EXPIRY_MS - 1;
    join(f, "g", "a"); /* renewed */
    fixture_clock += 1;
    group_send_text(f, "g", "x");
    assert_receives(f, "a", "x");
    assert_nothing(f, "b");
    assert_int_equal(stats_of(f).group_members, 1);
    fixture_clock += FIXTURE_GROUP_EXPIRY_MS;
    layer_sweep(f->layer);
    assert_int_equal(stats_of(f).groups, 0);
}

static void test_sweep_forgets_idle_channels(void **state)
{
    struct fixture *f = *state;
    send_text(f, "queued", "x");
    send_text(f, "emptied", "x");
    assert_receives(f, "emptied", "x");
    wait_for(f, "awaited", 5);
    join(f, "g", "member");
    layer_sweep(f->layer);
    assert_int_equal(stats_of(f).channels, 3);
    layer_cancel(f->layer, name_of("awaited"), f->sink, 5);
    layer_group_discard(f->layer, name_of("g"), name_of("member"));
    layer_sweep(f->layer);
    assert_int_equal(stats_of(f).channels, 1);
    assert_receives(f, "queued", "x");
}

/* A channel made under another server: nobody owns it, and between two receives nothing but its name keeps it. */
static void test_local_channels_outlive_a_pause(void **state)
{
    struct fixture *f = *state;
    create(f, "s!1", 0);
    fixture_clock += FIXTURE_GROUP_EXPIRY_MS - 1;
    layer_sweep(f->layer);
    assert_int_equal(send_text(f, "s!1", "x"), LAYER_OK);
    assert_receives(f, "s!1", "x");
    fixture_clock += FIXTURE_GROUP_EXPIRY_MS - 1;
    layer_sweep(f->layer);
    assert_int_equal(join(f, "g", "s!1"), LAYER_OK);
    layer_group_discard(f->layer, name_of("g"), name_of("s!1"));
    fixture_clock += FIXTURE_GROUP_EXPIRY_MS;
    layer_sweep(f->layer);
    assert_int_equal(send_text(f, "s!1", "x"), LAYER_UNKNOWN);
    assert_int_equal(stats_of(f).channels, 0);
}

static void test_flush(void **state)
{
    struct fixture *f = *state;
    uint64_t owner = owner_open(f->owners, 1, NULL, 0);
    create(f, "s!owned", owner);
    create(f, "s!free", 0);
    join(f, "g", "s!owned");
    join(f, "g", "plain");
    join(f, "h", "plain");
    wait_for(f, "awaited", 5);
    group_send_text(f, "g", "x");
    layer_flush(f->layer);
    struct layer_stats stats = stats_of(f);
    assert_int_equal(stats.groups, 0);
    assert_int_equal(stats.group_members, 0);
    assert_int_equal(stats.messages_queued, 0);
    assert_int_equal(stats.channels, 2);
    assert_int_equal(stats.waiters, 1);
    assert_int_equal(send_text(f, "awaited", "y"), LAYER_OK);
    assert_int_equal(told(f, NULL), 5);
    assert_int_equal(join(f, "g", "s!owned"), LAYER_OK);
    owner_end(f->owners, owner);
}

static void test_created_twice(void **state)
{
    struct fixture *f = *state;
    uint64_t owner = owner_open(f->owners, 1, NULL, 0), other = owner_open(f->owners, 2, NULL, 0);
    send_text(f, "plain", "x");
    assert_int_equal(create(f, "plain", owner), LAYER_OK); /* nobody's becomes owner's */
    assert_int_equal(create(f, "plain", other), LAYER_OK); /* owner's stays so */
    assert_int_equal(create(f, "plain", 0), LAYER_OK);
    assert_int_equal(stats_of(f).channels, 1);
    owner_end(f->owners, other);
    assert_receives(f, "plain", "x");
    owner_end(f->owners, owner);
    assert_int_equal(stats_of(f).channels, 0);
}

static void test_who_waits_is_told_that_the_owner_has_ended(void **state)
{
    struct fixture *f = *state;
    uint64_t owner = owner_open(f->owners, 1, NULL, 0);
    create(f, "s!owned", owner);
    create(f, "s!free", 0);
    wait_for(f, "s!owned", 1);
    wait_for(f, "s!owned", 2);
    wait_for(f, "s!free", 3);
    owner_close(f->owners, owner);
    assert_int_equal(told(f, NULL), 0); /* direct messages may still come */
    owner_end(f->owners, owner);
    struct sink_item item;
    for (uint64_t token = 1; token <= 2; token++) {
        assert_int_equal(sink_take(f->sink, &item), 1);
        assert_int_equal(item.token, token);
        assert_int_equal(item.status, LAYER_UNKNOWN);
        layer_pass(item.layer, item.channel); /* no such channel: nothing to pass on */
        layer_release(item.layer);
    }
    assert_int_equal(told(f, NULL), 0);
    assert_int_equal(stats_of(f).waiters, 1);
    assert_int_equal(wait_for(f, "s!owned", 4), LAYER_UNKNOWN);
    layer_cancel(f->layer, name_of("s!free"), f->sink, 3);
}

static void test_huge_expiry_never_comes(void **state)
{
    struct fixture *f = *state;
    struct layer_config config = fixture_config();
    config.expiry_ms = UINT64_MAX;
    config.group_expiry_ms = UINT64_MAX;
    config.message_limit = 0;
    struct layer *layer;
    assert_int_equal(layer_create(&layer, &config, f->owners), LAYER_OK);
    struct layer *kept = f->layer;
    f->layer = layer;
    create(f, "s!1", 0);
    join(f, "g", "s!1");
    group_send_text(f, "g", "x");
    fixture_clock += FIXTURE_GROUP_EXPIRY_MS * 100;
    layer_sweep(layer);
    assert_receives(f, "s!1", "x");
    assert_int_equal(stats_of(f).group_members, 1);
    f->layer = kept;
    layer_release(layer);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, fixture_begin, fixture_end)
    const struct CMUnitTest tests[] = {
        TEST(test_send_then_receive),
        TEST(test_plain_names_are_made),
        TEST(test_unknown_local_names),
        TEST(test_full_and_too_large),
        TEST(test_group_send),
        TEST(test_many_members_leave_in_any_order),
        TEST(test_overflow_is_the_first_members),
        TEST(test_overflow_latest_by_key),
        TEST(test_messages_expire),
        TEST(test_memberships_expire),
        TEST(test_sweep_forgets_idle_channels),
        TEST(test_local_channels_outlive_a_pause),
        TEST(test_flush),
        TEST(test_created_twice),
        TEST(test_who_waits_is_told_that_the_owner_has_ended),
        TEST(test_huge_expiry_never_comes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
