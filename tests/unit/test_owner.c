/* channellayer/owner.h: the guarantee. A connection that is gone has no membership, an application that is gone no channel. */
#include "tests/unit/layer_fixture.h"

static int create(struct fixture *fixture, const char *channel, uint64_t owner)
{
    return layer_channel_create(fixture->layer, name_of(channel), CAPACITY, owner, false);
}

static void free_report(struct owner_report *report)
{
    for (size_t i = 0; i < report->name_count; i++)
        mem_free(report->names[i]);
}

static void test_close_ends_memberships(void **state)
{
    struct fixture *f = *state;
    uint64_t owner = owner_open(f->owners, 1, NULL, 0), other = owner_open(f->owners, 2, NULL, 0);
    create(f, "s!1", owner);
    create(f, "s!2", owner);
    create(f, "s!3", other);
    join(f, "g", "s!1");
    join(f, "g", "s!2");
    join(f, "g", "s!3");
    join(f, "h", "s!1");
    owner_close(f->owners, owner);
    struct layer_stats stats = stats_of(f);
    assert_int_equal(stats.group_members, 1);
    assert_int_equal(stats.groups, 1);
    assert_int_equal(stats.subscriptions_discarded, 3);
    assert_int_equal(stats.channels, 3);
    group_send_text(f, "g", "x");
    assert_nothing(f, "s!1");
    assert_nothing(f, "s!2");
    assert_receives(f, "s!3", "x");
    owner_close(f->owners, owner);
    owner_end(f->owners, owner);
    owner_end(f->owners, other);
    assert_int_equal(stats_of(f).channels, 0);
    assert_int_equal(stats_of(f).subscriptions_discarded, 3); /* other's ended with its application, not by its client */
}

static void test_late_calls_after_close(void **state)
{
    struct fixture *f = *state;
    uint64_t owner = owner_open(f->owners, 1, NULL, 0);
    create(f, "s!1", owner);
    wait_for(f, "s!1", 7);
    owner_close(f->owners, owner);
    assert_int_equal(stats_of(f).waiters, 1); /* a pending receive stays pending */
    assert_int_equal(join(f, "g", "s!1"), LAYER_CLOSED);
    assert_int_equal(create(f, "s!late", owner), LAYER_OK); /* until the application ends it may make channels … */
    assert_int_equal(join(f, "g", "s!late"), LAYER_CLOSED); /* … that join nothing */
    layer_group_discard(f->layer, name_of("g"), name_of("s!1"));
    assert_int_equal(stats_of(f).late_group_adds, 2);
    assert_int_equal(stats_of(f).group_members, 0);
    assert_int_equal(send_text(f, "s!1", "x"), LAYER_OK); /* direct sends still arrive */
    assert_int_equal(told(f, NULL), 7);
    assert_receives(f, "s!1", "x");
    for (int i = 0; i < CAPACITY; i++)
        send_text(f, "s!1", "y");
    assert_int_equal(send_text(f, "s!1", "y"), LAYER_FULL); /* bounded */
    owner_end(f->owners, owner);
}

static void test_end_frees_everything(void **state)
{
    struct fixture *f = *state;
    uint64_t owner = owner_open(f->owners, 1, NULL, 0);
    create(f, "s!1", owner);
    create(f, "plain", owner);
    join(f, "g", "s!1");
    send_text(f, "plain", "x");
    wait_for(f, "s!1", 7);
    owner_end(f->owners, owner); /* straight from OPEN */
    struct layer_stats stats = stats_of(f);
    assert_int_equal(stats.channels, 0);
    assert_int_equal(stats.group_members, 0);
    assert_int_equal(stats.messages_queued, 0);
    assert_int_equal(stats.waiters, 0);
    assert_int_equal(told(f, NULL), 7); /* that nothing will come */
    assert_int_equal(told(f, NULL), 0);
    assert_int_equal(send_text(f, "s!1", "x"), LAYER_UNKNOWN);
    assert_int_equal(join(f, "g", "s!1"), LAYER_UNKNOWN);
    assert_int_equal(create(f, "s!2", owner), LAYER_CLOSED);
    assert_int_equal(wait_for(f, "s!2", 8), LAYER_UNKNOWN);
    assert_int_equal(stats_of(f).channels, 0);
    assert_int_equal(stats_of(f).waiters, 0);
    owner_close(f->owners, owner);
    owner_end(f->owners, owner);
}

static void test_stale_and_made_up_owners(void **state)
{
    struct fixture *f = *state;
    struct owner_report report;
    uint64_t owner = owner_open(f->owners, 1, NULL, 0);
    assert_int_not_equal(owner, 0);
    owner_end(f->owners, owner);
    uint64_t next = owner_open(f->owners, 2, NULL, 0); /* the same slot */
    create(f, "s!1", next);
    join(f, "g", "s!1");
    owner_close(f->owners, owner);
    owner_end(f->owners, owner);
    owner_close(f->owners, 0);
    owner_end(f->owners, 0);
    assert_int_equal(owner_describe(f->owners, owner, &report), -1);
    assert_int_equal(owner_describe(f->owners, 0, &report), -1);
    assert_int_equal(stats_of(f).group_members, 1);
    owner_end(f->owners, next);
}

static void test_closing_reaches_all_layers(void **state)
{
    struct fixture *f = *state;
    struct layer_config config = fixture_config();
    struct layer *layers[3] = { f->layer };
    uint64_t owner = owner_open(f->owners, 1, NULL, 0);
    for (int i = 1; i < 3; i++)
        assert_int_equal(layer_create(&layers[i], &config, f->owners), LAYER_OK);
    for (int i = 0; i < 3; i++) {
        f->layer = layers[i];
        create(f, "s!1", owner);
        join(f, "g", "s!1");
        send_text(f, "s!1", "x");
    }
    layer_release(layers[1]); /* a layer may go while the owner stays */
    struct owner_report report;
    assert_int_equal(owner_describe(f->owners, owner, &report), 0);
    assert_int_equal(report.channels, 2);
    assert_int_equal(report.groups, 2);
    free_report(&report);
    owner_close(f->owners, owner);
    for (int i = 0; i < 3; i += 2) {
        f->layer = layers[i];
        assert_int_equal(stats_of(f).group_members, 0);
    }
    owner_end(f->owners, owner);
    for (int i = 0; i < 3; i += 2) {
        f->layer = layers[i];
        assert_int_equal(stats_of(f).channels, 0);
    }
    layer_release(layers[2]);
    f->layer = layers[0];
}

static void test_describe(void **state)
{
    struct fixture *f = *state;
    struct owner_report report;
    uint64_t owner = owner_open(f->owners, 1, NULL, 0);
    create(f, "s!1", owner);
    create(f, "s!2", owner);
    join(f, "prices", "s!1");
    join(f, "orders", "s!1");
    for (int i = 0; i < CAPACITY + 2; i++)
        group_send_text(f, "prices", "four");
    send_text(f, "s!2", "x");
    for (int closed = 0; closed < 2; closed++) {
        assert_int_equal(owner_describe(f->owners, owner, &report), 0);
        assert_int_equal(report.channels, 2);
        assert_int_equal(report.groups, 2);
        assert_int_equal(report.queued, CAPACITY + 1);
        assert_int_equal(report.queued_bytes, CAPACITY * 4 + 1);
        assert_int_equal(report.dropped, 2);
        assert_int_equal(report.name_count, 2);
        assert_string_equal(report.names[0], "prices");
        assert_string_equal(report.names[1], "orders");
        free_report(&report);
        owner_close(f->owners, owner); /* what it held is still told */
    }
    owner_end(f->owners, owner);
    assert_int_equal(owner_describe(f->owners, owner, &report), -1);
}

static void test_describe_names_a_part_of_many(void **state)
{
    struct fixture *f = *state;
    struct owner_report report;
    char name[32];
    uint64_t owner = owner_open(f->owners, 1, NULL, 0);
    create(f, "s!1", owner);
    for (int i = 0; i < OWNER_REPORT_GROUPS + 10; i++) {
        snprintf(name, sizeof name, "g%d", i);
        join(f, name, "s!1");
    }
    for (int closed = 0; closed < 2; closed++) {
        assert_int_equal(owner_describe(f->owners, owner, &report), 0);
        assert_int_equal(report.groups, OWNER_REPORT_GROUPS + 10);
        assert_int_equal(report.name_count, OWNER_REPORT_GROUPS);
        free_report(&report);
        owner_close(f->owners, owner);
    }
    owner_end(f->owners, owner);
}

static void test_overflow_close_once(void **state)
{
    struct fixture *f = *state;
    uint64_t owner = owner_open(f->owners, 4711, NULL, 0);
    create(f, "s!1", owner);
    create(f, "s!2", owner);
    join_as(f, "g", "s!1", OVERFLOW_CLOSE);
    join(f, "g", "s!2");
    join(f, "g", "nobodys");
    for (int i = 0; i < CAPACITY; i++)
        group_send_text(f, "g", "x");
    assert_int_equal(f->closes, 0);
    group_send_text(f, "g", "y");
    assert_int_equal(f->closes, 1);
    assert_int_equal(f->closed_tag, 4711);
    group_send_text(f, "g", "y");
    assert_int_equal(f->closes, 1);
    assert_int_equal(stats_of(f).dropped[OVERFLOW_CLOSE], 6);
    owner_end(f->owners, owner);
}

struct two_owners {
    struct owners *owners;
    uint64_t ids[2];
    int closes;
};

static void end_the_other(void *context, uint64_t tag)
{
    struct two_owners *two = context;
    two->closes++;
    owner_end(two->owners, two->ids[1 - tag]);
}

/* overflow_close may end anything, also an owner whose own turn was next. */
static void test_overflow_close_ends_another(void **state)
{
    (void)state;
    struct layer_config config = fixture_config();
    struct two_owners two = { 0 };
    struct fixture f = { 0 };
    char name[32];
    f.owners = two.owners = owners_create(end_the_other, &two);
    assert_int_equal(layer_create(&f.layer, &config, f.owners), LAYER_OK);
    for (uint64_t i = 0; i < 2; i++) {
        two.ids[i] = owner_open(f.owners, i, NULL, 0);
        snprintf(name, sizeof name, "s!%d", (int)i);
        create(&f, name, two.ids[i]);
        join_as(&f, "g", name, OVERFLOW_CLOSE);
    }
    for (int i = 0; i <= CAPACITY; i++)
        group_send_text(&f, "g", "x");
    assert_int_equal(two.closes, 1);
    assert_int_equal(stats_of(&f).channels, 1);
    for (int i = 0; i < 2; i++)
        owner_end(f.owners, two.ids[i]);
    layer_release(f.layer);
    owners_destroy(f.owners);
}

static void test_closed_owner_takes_over_a_channel(void **state)
{
    struct fixture *f = *state;
    uint64_t owner = owner_open(f->owners, 1, NULL, 0);
    join(f, "g", "plain");
    owner_close(f->owners, owner);
    assert_int_equal(create(f, "plain", owner), LAYER_OK);
    assert_int_equal(stats_of(f).group_members, 0);
    owner_end(f->owners, owner);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, fixture_begin, fixture_end)
    const struct CMUnitTest tests[] = {
        TEST(test_close_ends_memberships),
        TEST(test_late_calls_after_close),
        TEST(test_end_frees_everything),
        TEST(test_stale_and_made_up_owners),
        TEST(test_closing_reaches_all_layers),
        TEST(test_describe),
        TEST(test_describe_names_a_part_of_many),
        TEST(test_overflow_close_once),
        cmocka_unit_test(test_overflow_close_ends_another),
        TEST(test_closed_owner_takes_over_a_channel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
