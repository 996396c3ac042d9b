/* channellayer/sink.h: every message tells one waiter, none is told for nothing for ever, and loops may go. */
#include "tests/unit/layer_fixture.h"

#include "channellayer/waiter.h"

static void test_each_message_tells_the_longest_waiting(void **state)
{
    struct fixture *f = *state;
    for (uint64_t token = 1; token <= 3; token++)
        assert_int_equal(wait_for(f, "a", token), LAYER_EMPTY);
    assert_int_equal(stats_of(f).waiters, 3);
    send_text(f, "a", "x");
    assert_int_equal(told(f, NULL), 1);
    assert_int_equal(told(f, NULL), 0);
    send_text(f, "a", "y");
    assert_int_equal(told(f, NULL), 2);
    assert_int_equal(told(f, NULL), 0);
    assert_int_equal(stats_of(f).waiters, 1);
    assert_receives(f, "a", "x");
    assert_receives(f, "a", "y");
}

static void test_cancelled_before_it_is_told(void **state)
{
    struct fixture *f = *state;
    wait_for(f, "a", 1);
    wait_for(f, "a", 2);
    layer_cancel(f->layer, name_of("a"), f->sink, 1);
    layer_cancel(f->layer, name_of("a"), f->sink, 1); /* once more is no harm */
    layer_cancel(f->layer, name_of("a"), f->sink, 77);
    send_text(f, "a", "x");
    assert_int_equal(told(f, NULL), 2);
    assert_int_equal(told(f, NULL), 0);
}

static void test_cancelled_after_it_was_told(void **state)
{
    struct fixture *f = *state;
    uint64_t channel = 0;
    wait_for(f, "a", 1);
    wait_for(f, "a", 2);
    send_text(f, "a", "x");
    layer_cancel(f->layer, name_of("a"), f->sink, 1); /* too late: told already */
    assert_int_equal(told(f, &channel), 1);
    layer_pass(f->layer, channel);
    assert_int_equal(told(f, NULL), 2);
    assert_receives(f, "a", "x");
    wait_for(f, "a", 3);
    layer_pass(f->layer, channel); /* nothing there: nobody is told */
    assert_int_equal(told(f, NULL), 0);
}

static void test_pass_for_a_channel_that_is_gone(void **state)
{
    struct fixture *f = *state;
    uint64_t channel = 0, owner = owner_open(f->owners, 1, NULL, 0);
    layer_channel_create(f->layer, name_of("s!1"), CAPACITY, owner, false);
    wait_for(f, "s!1", 1);
    send_text(f, "s!1", "x");
    assert_int_equal(told(f, &channel), 1);
    owner_end(f->owners, owner);
    layer_channel_create(f->layer, name_of("s!2"), CAPACITY, 0, false); /* has its slot */
    wait_for(f, "s!2", 2);
    layer_pass(f->layer, channel);
    assert_int_equal(told(f, NULL), 0);
}

static void test_one_wake_for_a_group(void **state)
{
    struct fixture *f = *state;
    enum { MANY = 20 };
    char name[32];
    struct fixture other = { 0 };
    other.sink = sink_create(on_wake, &other);
    for (int i = 0; i < MANY; i++) {
        struct message *message;
        snprintf(name, sizeof name, "c%d", i);
        join(f, "g", name);
        struct sink *sink = i % 2 ? f->sink : other.sink;
        assert_int_equal(layer_receive(f->layer, name_of(name), CAPACITY, sink, (uint64_t)i + 1, &message), LAYER_EMPTY);
    }
    group_send_text(f, "g", "x");
    group_send_text(f, "g", "y"); /* nobody waits any more */
    assert_int_equal(f->wakes, 1);
    assert_int_equal(other.wakes, 1);
    for (int i = 0; i < MANY; i++) {
        struct sink_item item;
        assert_int_equal(sink_take(i % 2 ? f->sink : other.sink, &item), 1);
        assert_int_equal(item.token, i + 1);
        layer_release(item.layer);
    }
    assert_int_equal(told(f, NULL), 0);
    sink_close(other.sink);
    sink_release(other.sink);
}

static void test_a_loop_that_goes(void **state)
{
    struct fixture *f = *state;
    struct fixture gone = { 0 };
    struct message *message;
    gone.sink = sink_create(on_wake, &gone);
    layer_receive(f->layer, name_of("a"), CAPACITY, gone.sink, 1, &message);
    layer_receive(f->layer, name_of("a"), CAPACITY, gone.sink, 2, &message);
    wait_for(f, "a", 3);
    wait_for(f, "a", 4);
    send_text(f, "a", "x"); /* told to the loop that goes: passed on when it does */
    assert_int_equal(gone.wakes, 1);
    assert_int_equal(told(f, NULL), 0);
    sink_close(gone.sink);
    assert_int_equal(told(f, NULL), 3);
    send_text(f, "a", "y");
    assert_int_equal(told(f, NULL), 4);
    struct sink_item item;
    assert_int_equal(sink_take(gone.sink, &item), 0);
    assert_int_equal(gone.wakes, 1);
    assert_int_equal(stats_of(f).waiters, 0);
    sink_release(gone.sink);
}

/* The loop goes while a sender is about to tell it, which a sender does without the layer's lock. */
static void test_told_just_after_the_loop_went(void **state)
{
    struct fixture *f = *state;
    struct fixture gone = { 0 };
    uint64_t channel = 0;
    wait_for(f, "a", 1);
    send_text(f, "a", "x");
    assert_int_equal(told(f, &channel), 1);
    wait_for(f, "b", 2); /* another channel's: stays */
    assert_receives(f, "a", "x");
    wait_for(f, "a", 3);
    send_text(f, "a", "y");
    assert_int_equal(told(f, NULL), 3);
    gone.sink = sink_create(on_wake, &gone);
    struct waiter *waiter = waiter_create(gone.sink, 4);
    waiter->told.layer = layer_retain(f->layer);
    waiter->told.channel = channel;
    struct queue_chain chain = { NULL, NULL };
    queue_chain_add(&chain, &waiter->item);
    sink_close(gone.sink);
    assert_receives(f, "a", "y");
    wait_for(f, "a", 5);
    wait_for(f, "a", 6);
    send_text(f, "a", "z");
    assert_int_equal(told(f, NULL), 5);
    sink_tell(gone.sink, &chain, 1); /* its message is 6's to take */
    assert_int_equal(gone.wakes, 0);
    assert_int_equal(told(f, NULL), 6);
    sink_release(gone.sink);
}

static void test_many_receivers_of_a_loop_that_went(void **state)
{
    struct fixture *f = *state;
    struct fixture gone = { 0 };
    struct message *message;
    gone.sink = sink_create(on_wake, &gone);
    for (uint64_t token = 1; token <= 50000; token++)
        layer_receive(f->layer, name_of("a"), CAPACITY, gone.sink, token, &message);
    wait_for(f, "a", 7);
    sink_close(gone.sink);
    sink_release(gone.sink);
    send_text(f, "a", "x"); /* one step, not a call within a call for each */
    assert_int_equal(told(f, NULL), 7);
    assert_int_equal(stats_of(f).waiters, 0);
}

static void test_told_items_keep_the_layer(void **state)
{
    struct fixture *f = *state;
    struct layer_config config = fixture_config();
    struct layer *layer, *kept = f->layer;
    assert_int_equal(layer_create(&layer, &config, f->owners), LAYER_OK);
    f->layer = layer;
    wait_for(f, "a", 1);
    wait_for(f, "b", 2); /* never told: goes with the layer */
    send_text(f, "a", "x");
    f->layer = kept;
    layer_release(layer);
    struct sink_item item;
    assert_int_equal(sink_take(f->sink, &item), 1);
    assert_ptr_equal(item.layer, layer);
    struct message *message;
    assert_int_equal(layer_receive(item.layer, name_of("a"), CAPACITY, f->sink, 1, &message), LAYER_OK);
    message_release(message);
    layer_release(item.layer);
}

static void test_sink_dropped_with_items(void **state)
{
    struct fixture *f = *state;
    struct fixture gone = { 0 };
    struct message *message;
    gone.sink = sink_create(on_wake, &gone);
    layer_receive(f->layer, name_of("a"), CAPACITY, gone.sink, 1, &message);
    layer_receive(f->layer, name_of("b"), CAPACITY, gone.sink, 2, &message);
    send_text(f, "a", "x");
    sink_release(gone.sink); /* lives on through the waiter */
    send_text(f, "b", "x");
    assert_int_equal(stats_of(f).waiters, 0);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, fixture_begin, fixture_end)
    const struct CMUnitTest tests[] = {
        TEST(test_each_message_tells_the_longest_waiting),
        TEST(test_cancelled_before_it_is_told),
        TEST(test_cancelled_after_it_was_told),
        TEST(test_pass_for_a_channel_that_is_gone),
        TEST(test_one_wake_for_a_group),
        TEST(test_a_loop_that_goes),
        TEST(test_told_just_after_the_loop_went),
        TEST(test_many_receivers_of_a_loop_that_went),
        TEST(test_told_items_keep_the_layer),
        TEST(test_sink_dropped_with_items),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
