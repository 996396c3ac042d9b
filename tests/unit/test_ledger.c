/* Settles are told in order, each when everything before it is confirmed, and of what failed since it could know. */
#include "channellayer/bus/ledger.h"
#include "base/clock.h"
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
    assert_int_equal(ledger_init(&bench->ledger), 0);
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

/* Waits for a name, or for everything where that is empty. */
static void settle_for(struct bench *bench, const char *name, uint64_t token, uint64_t asked_at, bool may_wait)
{
    struct remote_item *item = mem_zalloc(sizeof *item);
    item->remote = &bench->remote;
    item->kind = REMOTE_SETTLE;
    item->asked_at = asked_at;
    item->waiter = waiter_create(bench->sink, token);
    ledger_settle(&bench->ledger, name_of(name), item, may_wait);
}

static void settle_at(struct bench *bench, uint64_t token, uint64_t asked_at)
{
    settle_for(bench, "", token, asked_at, true);
}

static void settle(struct bench *bench, uint64_t token)
{
    settle_at(bench, token, 1000);
}

static struct note note(struct bench *bench, const char *name)
{
    return ledger_note(&bench->ledger, name_of(name), 1000);
}

static void confirm(struct bench *bench, struct note note)
{
    ledger_confirm(&bench->ledger, &note, LAYER_OK, NULL);
}

static void lose(struct bench *bench, struct note note)
{
    ledger_confirm(&bench->ledger, &note, LAYER_UNSENT, NULL);
}

static void assert_told(struct bench *bench, uint64_t token, int status)
{
    struct sink_item item;
    assert_int_equal(sink_take(bench->sink, &item), 1);
    assert_int_equal(item.token, token);
    assert_int_equal(item.status, status);
    message_release(item.answer);
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
    struct note first = note(bench, "a"), second = note(bench, "b");
    settle(bench, 1);
    confirm(bench, second);
    assert_silence(bench);
    confirm(bench, first);
    assert_told(bench, 1, LAYER_OK);
}

static void test_what_is_asked_for_later_does_not_count(void **state)
{
    struct bench *bench = *state;
    struct note before = note(bench, "a");
    settle(bench, 1);
    struct note after = note(bench, "a");
    confirm(bench, before);
    assert_told(bench, 1, LAYER_OK);
    confirm(bench, after);
    assert_silence(bench);
}

static void test_settles_are_told_in_order(void **state)
{
    struct bench *bench = *state;
    struct note first = note(bench, "a");
    settle(bench, 1);
    struct note second = note(bench, "a");
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
    struct note failing = note(bench, "a");
    settle(bench, 1);
    struct note other = note(bench, "a");
    settle(bench, 2);
    lose(bench, failing);
    assert_told(bench, 1, LAYER_UNSENT);
    confirm(bench, other);
    assert_told(bench, 2, LAYER_UNSENT);
}

static void test_failure_is_not_told_to_who_was_confirmed_before(void **state)
{
    struct bench *bench = *state;
    struct note good = note(bench, "a");
    settle(bench, 1);
    struct note failing = note(bench, "a");
    settle(bench, 2);
    lose(bench, failing);
    assert_silence(bench);
    confirm(bench, good);
    assert_told(bench, 1, LAYER_OK);
    assert_told(bench, 2, LAYER_UNSENT);
}

static void test_quick_failure_is_told_to_the_settle_that_follows(void **state)
{
    struct bench *bench = *state;
    lose(bench, note(bench, "a"));
    settle_at(bench, 1, 1003);
    assert_told(bench, 1, LAYER_UNSENT);
    settle_at(bench, 2, 1004);
    assert_told(bench, 2, LAYER_OK); /* the one before has been told */
}

static void test_old_failure_is_nobodys(void **state)
{
    struct bench *bench = *state;
    lose(bench, note(bench, "a"));
    settle_at(bench, 1, 60000);
    assert_told(bench, 1, LAYER_OK);
}

static bool asked_before(void *then, const struct remote_item *settle)
{
    return settle->asked_at < *(uint64_t *)then;
}

static void test_settle_that_waits_too_long_fails_once(void **state)
{
    struct bench *bench = *state;
    struct note batch = note(bench, "a");
    settle_at(bench, 1, 1000);
    settle_at(bench, 2, 2000);
    uint64_t then = 1000;
    ledger_expire(&bench->ledger, asked_before, &then);
    assert_silence(bench);
    then = 1001;
    ledger_expire(&bench->ledger, asked_before, &then);
    assert_told(bench, 1, LAYER_UNSENT);
    assert_silence(bench);
    confirm(bench, batch);
    assert_told(bench, 2, LAYER_OK);
    assert_silence(bench);
}

static void test_end_fails_what_waits(void **state)
{
    struct bench *bench = *state;
    note(bench, "a");
    settle(bench, 1);
    ledger_deinit(&bench->ledger);
    assert_told(bench, 1, LAYER_UNSENT);
    assert_int_equal(ledger_init(&bench->ledger), 0);
}

static void test_each_name_by_itself(void **state)
{
    struct bench *bench = *state;
    struct note away = note(bench, "away"), here = note(bench, "here");
    settle_for(bench, "here", 1, 1000, true);
    settle_for(bench, "away", 2, 1000, true);
    settle_for(bench, "", 3, 1000, true);
    settle_for(bench, "nothing", 4, 1000, true);
    assert_told(bench, 4, LAYER_OK);
    confirm(bench, here);
    assert_told(bench, 1, LAYER_OK);
    assert_silence(bench);
    lose(bench, away);
    assert_told(bench, 2, LAYER_UNSENT);
    assert_told(bench, 3, LAYER_UNSENT);
    settle_for(bench, "here", 5, 1000, true);
    assert_told(bench, 5, LAYER_OK);
}

static void test_who_may_not_wait(void **state)
{
    struct bench *bench = *state;
    struct note first = note(bench, "a");
    settle_for(bench, "a", 1, 1000, false);
    assert_told(bench, 1, LAYER_UNSENT);
    settle_for(bench, "b", 2, 1000, false);
    assert_told(bench, 2, LAYER_OK);
    settle_for(bench, "a", 3, 1000, true);
    confirm(bench, first);
    assert_told(bench, 3, LAYER_OK);
}

static void test_the_reason_goes_with_a_refusal(void **state)
{
    struct bench *bench = *state;
    struct note refused = note(bench, "a");
    settle_for(bench, "a", 1, 1000, true);
    ledger_confirm(&bench->ledger, &refused, LAYER_REFUSED, "NOPERM this user");
    struct sink_item item;
    assert_int_equal(sink_take(bench->sink, &item), 1);
    assert_int_equal(item.status, LAYER_REFUSED);
    assert_memory_equal(item.answer->bytes, "NOPERM this user", item.answer->length);
    assert_int_equal(item.answer->length, 16);
    message_release(item.answer);
}

/* Thousands of names over time take no memory. */
static void test_what_is_confirmed_leaves_nothing(void **state)
{
    struct bench *bench = *state;
    for (int i = 0; i < 2000; i++) {
        char name[16];
        snprintf(name, sizeof name, "n%d", i);
        struct note asked = note(bench, name);
        if (i % 2 == 0)
            confirm(bench, asked);
        else
            lose(bench, asked);
    }
    assert_int_equal(bench->ledger.accounts.count, 1 + 1000);
    uint64_t then = 0;
    for (uint64_t end = clock_ms() + 5000; bench->ledger.accounts.count > 1 && clock_ms() < end;)
        ledger_expire(&bench->ledger, asked_before, &then);
    assert_int_equal(bench->ledger.accounts.count, 1);
    assert_false(ledger_waits(&bench->ledger));
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
        cmocka_unit_test_setup_teardown(test_each_name_by_itself, begin, end),
        cmocka_unit_test_setup_teardown(test_who_may_not_wait, begin, end),
        cmocka_unit_test_setup_teardown(test_the_reason_goes_with_a_refusal, begin, end),
        cmocka_unit_test_setup_teardown(test_what_is_confirmed_leaves_nothing, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
