/* gap.c: who is told that messages may have been lost, and of which groups. */
#include "tests/unit/layer_fixture.h"

#include "channellayer/bus.h"

static void make(struct fixture *fixture, const char *channel, bool gaps)
{
    assert_int_equal(layer_channel_create(fixture->layer, name_of(channel), CAPACITY, 0, gaps), LAYER_OK);
}

static bool missed_prices(void *context, struct name group)
{
    (void)context;
    return group.length >= 6 && memcmp(group.bytes, "prices", 6) == 0;
}

static bool missed_everything(void *context, struct name group)
{
    (void)context;
    (void)group;
    return true;
}

static int begin_json(void **state)
{
    fixture_begin(state);
    struct fixture *fixture = *state;
    layer_release(fixture->layer);
    struct layer_config config = fixture_config();
    config.json = true;
    assert_int_equal(layer_create(&fixture->layer, &config, fixture->owners), LAYER_OK);
    return 0;
}

static void test_only_those_who_asked(void **state)
{
    struct fixture *fixture = *state;
    make(fixture, "p!asked", true);
    make(fixture, "p!not", false);
    make(fixture, "p!elsewhere", true);
    make(fixture, "p!nowhere", true);
    join(fixture, "prices.EUR", "p!asked");
    join(fixture, "chat", "p!asked");
    join(fixture, "prices.USD", "p!asked");
    join(fixture, "prices.EUR", "p!not");
    join(fixture, "chat", "p!elsewhere");
    layer_gap(fixture->layer, missed_prices, NULL);
    assert_receives(fixture, "p!asked",
                    "\x82\xa4type\xb1" "channel.layer.gap\xa6groups\x92\xaaprices.EUR\xaaprices.USD");
    assert_nothing(fixture, "p!asked");
    assert_nothing(fixture, "p!not");
    assert_nothing(fixture, "p!elsewhere");
    assert_nothing(fixture, "p!nowhere");
}

static void test_json(void **state)
{
    struct fixture *fixture = *state;
    make(fixture, "p!1", true);
    join(fixture, "a\"b", "p!1");
    join(fixture, "c", "p!1");
    layer_gap(fixture->layer, missed_everything, NULL);
    assert_receives(fixture, "p!1", "{\"type\":\"channel.layer.gap\",\"groups\":[\"a\\\"b\",\"c\"]}");
}

static void test_it_makes_room_and_wakes(void **state)
{
    struct fixture *fixture = *state;
    make(fixture, "p!1", true);
    join(fixture, "prices", "p!1");
    assert_int_equal(wait_for(fixture, "p!1", 7), LAYER_EMPTY);
    layer_gap(fixture->layer, missed_prices, NULL);
    assert_int_equal(told(fixture, NULL), 7);
    for (int i = 0; i < CAPACITY - 1; i++)
        send_text(fixture, "p!1", "m");
    layer_gap(fixture->layer, missed_prices, NULL);
    assert_int_equal(stats_of(fixture).dropped[OVERFLOW_DROP_OLDEST], 1);
    assert_receives(fixture, "p!1", "m");
}

static void test_no_memory(void **state)
{
    struct fixture *fixture = *state;
    make(fixture, "p!1", true);
    join(fixture, "prices", "p!1");
    unsigned long attempts = 0;
    for (unsigned long n = 1;; n++) {
        mem_fail_at(n);
        layer_gap(fixture->layer, missed_prices, NULL);
        attempts = mem_try_count();
        mem_fail_at(0);
        if (attempts < n)
            break;
        assert_nothing(fixture, "p!1");
        assert_int_equal(stats_of(fixture).dropped[OVERFLOW_DROP_OLDEST], n);
    }
    assert_true(attempts >= 2);
    assert_int_equal(wait_for(fixture, "p!1", 1), LAYER_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_only_those_who_asked, fixture_begin, fixture_end),
        cmocka_unit_test_setup_teardown(test_json, begin_json, fixture_end),
        cmocka_unit_test_setup_teardown(test_it_makes_room_and_wakes, fixture_begin, fixture_end),
        cmocka_unit_test_setup_teardown(test_no_memory, fixture_begin, fixture_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
