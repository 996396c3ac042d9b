/* channellayer/layer_take.h: only what was made before, and nobody waits. */
#include "tests/unit/layer_fixture.h"

#include "base/clock.h"
#include "channellayer/layer_take.h"

static struct message *take_before(struct fixture *f, const char *channel, uint64_t before)
{
    struct message *message;
    if (layer_take_before(f->layer, name_of(channel), before, &message) == LAYER_OK)
        return message;
    assert_null(message);
    return NULL;
}

static void assert_takes(struct fixture *f, uint64_t before, const char *text)
{
    struct message *message = take_before(f, "a", before);
    assert_non_null(message);
    assert_int_equal(message->length, strlen(text));
    assert_memory_equal(message->bytes, text, strlen(text));
    message_release(message);
}

static void test_only_what_was_made_before(void **state)
{
    struct fixture *f = *state;
    uint64_t first = clock_ns();
    send_text(f, "a", "x");
    uint64_t second = clock_ns() + 1;
    assert_null(take_before(f, "a", first));
    assert_null(take_before(f, "a", 0));
    while (clock_ns() <= second)
        ;
    send_text(f, "a", "y");
    assert_takes(f, second, "x");
    assert_null(take_before(f, "a", second));
    assert_takes(f, UINT64_MAX, "y");
    assert_null(take_before(f, "a", UINT64_MAX));
}

static void test_nothing_is_made_and_nobody_waits(void **state)
{
    struct fixture *f = *state;
    assert_null(take_before(f, "a", UINT64_MAX));
    assert_int_equal(stats_of(f).channels, 0);
    assert_int_equal(stats_of(f).waiters, 0);
}

static void test_what_has_expired_is_dropped(void **state)
{
    struct fixture *f = *state;
    send_text(f, "a", "x");
    fixture_clock += FIXTURE_EXPIRY_MS;
    send_text(f, "a", "y");
    assert_takes(f, UINT64_MAX, "y");
    assert_int_equal(stats_of(f).dropped_expired, 1);
    assert_int_equal(stats_of(f).messages_queued, 0);
    layer_sweep(f->layer); /* it is settled: nothing keeps it */
    assert_int_equal(stats_of(f).channels, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_only_what_was_made_before, fixture_begin, fixture_end),
        cmocka_unit_test_setup_teardown(test_nothing_is_made_and_nobody_waits, fixture_begin, fixture_end),
        cmocka_unit_test_setup_teardown(test_what_has_expired_is_dropped, fixture_begin, fixture_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
