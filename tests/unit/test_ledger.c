/* Settles are told in order, each when everything before it is confirmed, and of what failed since it could know. */
#include "channellayer/bus/ledger.h"
#include "channellayer/bus/remote.h"
#include "tests/unit/layer_fixture.h"

struct bench {
    struct ledger ledger;
    struct remote remote; /* of the items; nothing of it is used */
    struct sink *sink;
};

static void ignore(void *argument)
{
    (void)argument;
}

static int begin(void **state)
{
    struct bench *bench = mem_zalloc(sizeof *bench);
    ledger_init(&bench->ledger);
    bench->sink = sink_create(ignore, NULL);
    *state = bench;
    return 0;
}

static int end(void **state)
{
    struct bench *bench = *state;
    ledger_deinit(&bench->ledger);
    sink_close(bench->sink);
    sink_release(bench->sink);
    mem_free(bench);
    return 0;
}

static void settle_at(struct bench *bench, uint64_t token, uint64_t asked_at)
{
    struct remote_item *item = mem_zalloc(sizeof *item);
    item->remote = &bench->remote;
    item->kind = REMOTE_SETTLE;
    item->asked_at = asked_at;
    item->waiter = waiter_create(bench->sink, token);
    ledger_settle(&bench->ledger, item);
}

static void settle(struct bench *bench, uint64_t token)
{
    settle_at(bench, token, 1000);
}

static void confirm(struct bench *bench, struct batch *batch)
{
    ledger_confirm(&bench->ledger, batch, true, 1000);
}

static void refuse(struct bench *bench, struct batch *batch)
{
    ledger_confirm(&bench->ledger, batch, false, 1000);
}

static void assert_told(struct bench *bench, uint64_t token, int status)
{
    struct sink_item item;
    assert_int_equal(sink_take(bench->sink, &item), 1);
    assert_int_equal(item.token, token);
    assert_int_equal(item.status, status);
}

static void assert_silence(struct bench *bench)
{
    struct sink_item item;
    assert_int_equal(sink_take(bench->sink, &item), 0);
}

static void test_nothing_outstanding_is_settled_at_once(void **state)
{
    settle(*state, 1);
    assert_told(*state, 1, LAYER_OK);
}

static void test_settle_waits_for_everything_before_it(void **state)
{
    struct bench *bench = *state;
    struct batch *first = ledger_note(&bench->ledger), *second = ledger_note(&bench->ledger);
    settle(bench, 1);
    confirm(bench, second);
    assert_silence(bench);
    confirm(bench, first);
    assert_told(bench, 1, LAYER_OK);
}

static void test_what_is_asked_for_later_does_not_count(void **state)
{
    struct bench *bench = *state;
    struct batch *before = ledger_note(&bench->ledger);
    settle(bench, 1);
    struct batch *after = ledger_note(&bench->ledger);
    confirm(bench, before);
    assert_told(bench, 1, LAYER_OK);
    confirm(bench, after);
    assert_silence(bench);
}

static void test_settles_are_told_in_order(void **state)
{
    struct bench *bench = *state;
    struct batch *first = ledger_note(&bench->ledger);
    settle(bench, 1);
    struct batch *second = ledger_note(&bench->ledger);
    settle(bench, 2);
    settle(bench, 3);
    confirm(bench, second);
    assert_silence(bench);
    confirm(bench, first);
    assert_told(bench, 1, LAYER_OK);
    assert_told(bench, 2, LAYER_OK);
    assert_told(bench, 3, LAYER_OK);
}

static void test_failure_is_told_to_all_that_waited(void **state)
{
    struct bench *bench = *state;
    struct batch *failing = ledger_note(&bench->ledger);
    settle(bench, 1);
    struct batch *other = ledger_note(&bench->ledger);
    settle(bench, 2);
    refuse(bench, failing);
    assert_told(bench, 1, LAYER_UNSENT);
    confirm(bench, other);
    assert_told(bench, 2, LAYER_UNSENT);
}

static void test_failure_is_not_told_to_who_was_confirmed_before(void **state)
{
    struct bench *bench = *state;
    struct batch *good = ledger_note(&bench->ledger);
    settle(bench, 1);
    struct batch *failing = ledger_note(&bench->ledger);
    settle(bench, 2);
    refuse(bench, failing);
    assert_silence(bench);
    confirm(bench, good);
    assert_told(bench, 1, LAYER_OK);
    assert_told(bench, 2, LAYER_UNSENT);
}

static void test_quick_failure_is_told_to_the_settle_that_follows(void **state)
{
    struct bench *bench = *state;
    refuse(bench, ledger_note(&bench->ledger));
    settle_at(bench, 1, 1003);
    assert_told(bench, 1, LAYER_UNSENT);
    settle_at(bench, 2, 1004);
    assert_told(bench, 2, LAYER_OK); /* the one before has been told */
}

static void test_old_failure_is_nobodys(void **state)
{
    struct bench *bench = *state;
    refuse(bench, ledger_note(&bench->ledger));
    settle_at(bench, 1, 60000);
    assert_told(bench, 1, LAYER_OK);
}

static void test_settle_that_waits_too_long_fails_once(void **state)
{
    struct bench *bench = *state;
    struct batch *batch = ledger_note(&bench->ledger);
    settle_at(bench, 1, 1000);
    settle_at(bench, 2, 2000);
    ledger_expire(&bench->ledger, 1000);
    assert_silence(bench);
    ledger_expire(&bench->ledger, 1001);
    assert_told(bench, 1, LAYER_UNSENT);
    assert_silence(bench);
    confirm(bench, batch);
    assert_told(bench, 2, LAYER_OK);
    assert_silence(bench);
}

static void test_end_fails_what_waits(void **state)
{
    struct bench *bench = *state;
    ledger_note(&bench->ledger);
    settle(bench, 1);
    ledger_deinit(&bench->ledger);
    assert_told(bench, 1, LAYER_UNSENT);
    ledger_init(&bench->ledger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nothing_outstanding_is_settled_at_once, begin, end),
        cmocka_unit_test_setup_teardown(test_settle_waits_for_everything_before_it, begin, end),
        cmocka_unit_test_setup_teardown(test_what_is_asked_for_later_does_not_count, begin, end),
        cmocka_unit_test_setup_teardown(test_settles_are_told_in_order, begin, end),
        cmocka_unit_test_setup_teardown(test_failure_is_told_to_all_that_waited, begin, end),
        cmocka_unit_test_setup_teardown(test_failure_is_not_told_to_who_was_confirmed_before, begin, end),
        cmocka_unit_test_setup_teardown(test_quick_failure_is_told_to_the_settle_that_follows, begin, end),
        cmocka_unit_test_setup_teardown(test_old_failure_is_nobodys, begin, end),
        cmocka_unit_test_setup_teardown(test_settle_that_waits_too_long_fails_once, begin, end),
        cmocka_unit_test_setup_teardown(test_end_fails_what_waits, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
