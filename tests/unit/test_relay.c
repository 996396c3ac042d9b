/* Messages that go past the application: which ones, to whom, in which order, and what is counted where they are dropped. */
#include <pthread.h>
#include <stdatomic.h>

#include "channellayer/outlet.h"
#include "tests/unit/layer_fixture.h"

#define SEND(text) "{\"type\":\"websocket.send\",\"text\":\"" text "\"}"

enum { MOST = 4096 };

struct sent {
    uint64_t socket;
    char text[16];
};

/* An outlet that notes what it is given. */
struct noting {
    struct outlet outlet;
    struct fixture *fixture;
    int answer;
    pthread_mutex_t lock;
    size_t count;
    size_t calls;
    enum overflow overflow;
    uint64_t last_channel;
    struct sent sent[MOST];
};

static int note(struct outlet *outlet, const struct relay_request *request, struct relay_target *targets, size_t count)
{
    struct noting *noting = (struct noting *)outlet;
    if (noting->answer != LAYER_OK)
        return noting->answer;
    pthread_mutex_lock(&noting->lock);
    noting->calls++;
    noting->overflow = request->overflow;
    for (size_t i = 0; i < count && noting->count < MOST; i++) {
        struct sent *sent = &noting->sent[noting->count++];
        sent->socket = targets[i].socket;
        noting->last_channel = targets[i].channel;
        snprintf(sent->text, sizeof sent->text, "%.*s", (int)request->event->length, (const char *)request->event->bytes);
    }
    pthread_mutex_unlock(&noting->lock);
    mem_free(targets);
    return LAYER_OK;
}

static void forget(struct outlet *outlet)
{
    mem_free(outlet);
}

static const struct outlet_operations operations = { note, forget };

static struct noting *noting_create(void)
{
    struct noting *noting = mem_zalloc(sizeof *noting);
    noting->outlet.operations = &operations;
    atomic_init(&noting->outlet.references, 1);
    pthread_mutex_init(&noting->lock, NULL);
    return noting;
}

static struct fixture *fixture;
static struct noting *out;

static int begin(void **state)
{
    fixture_begin(state);
    fixture = *state;
    layer_release(fixture->layer);
    struct layer_config config = fixture_config();
    config.json = true;
    assert_int_equal(layer_create(&fixture->layer, &config, fixture->owners), LAYER_OK);
    out = noting_create();
    return 0;
}

static int end(void **state)
{
    outlet_release(&out->outlet);
    return fixture_end(state);
}

static uint64_t open_with(const char *channel, uint64_t socket)
{
    uint64_t owner = owner_open(fixture->owners, socket, &out->outlet, socket);
    assert_int_equal(layer_channel_create(fixture->layer, name_of(channel), CAPACITY, owner, false), LAYER_OK);
    return owner;
}

static void assert_sent(size_t n, uint64_t socket, const char *text)
{
    assert_true(n < out->count);
    assert_int_equal(out->sent[n].socket, socket);
    assert_string_equal(out->sent[n].text, text);
}

static void test_to_every_accepted_socket(void **state)
{
    (void)state;
    uint64_t a = open_with("s!a", 11), b = open_with("s!b", 12);
    owner_accept(fixture->owners, a);
    owner_accept(fixture->owners, b);
    join(fixture, "g", "s!a");
    join_as(fixture, "g", "s!b", OVERFLOW_CLOSE);
    join(fixture, "g", "plain"); /* nobody's: it gets it as a message */
    assert_int_equal(group_send_text(fixture, "g", SEND("x")), LAYER_OK);
    assert_int_equal(out->calls, 1);
    assert_int_equal(out->count, 2);
    assert_sent(0, 11, "x");
    assert_sent(1, 12, "x");
    assert_int_equal(out->overflow, OVERFLOW_DROP_OLDEST); /* the group's, which is its first member's */
    assert_nothing(fixture, "s!a");
    assert_receives(fixture, "plain", SEND("x"));
    assert_int_equal(send_text(fixture, "s!b", SEND("y")), LAYER_OK);
    assert_sent(2, 12, "y");
    assert_int_equal(group_send_text(fixture, "g", "{\"type\":\"tick\"}"), LAYER_OK);
    assert_int_equal(out->count, 3);
    assert_receives(fixture, "s!a", "{\"type\":\"tick\"}");
    owner_end(fixture->owners, a);
    owner_end(fixture->owners, b);
}

static void test_held_until_accepted(void **state)
{
    (void)state;
    uint64_t owner = open_with("s!a", 11);
    join(fixture, "g", "s!a");
    group_send_text(fixture, "g", SEND("1"));
    send_text(fixture, "s!a", SEND("2"));
    send_text(fixture, "s!a", "{\"type\":\"tick\"}");
    assert_int_equal(out->count, 0);
    assert_int_equal(stats_of(fixture).messages_queued, 3);
    assert_receives(fixture, "s!a", "{\"type\":\"tick\"}");
    assert_nothing(fixture, "s!a");
    owner_accept(fixture->owners, owner);
    assert_int_equal(out->count, 2);
    assert_sent(0, 11, "1");
    assert_sent(1, 11, "2");
    assert_int_equal(stats_of(fixture).messages_queued, 0);
    assert_int_equal(layer_channel_create(fixture->layer, name_of("s!b"), CAPACITY, owner, false), LAYER_OK);
    send_text(fixture, "s!b", SEND("3")); /* made after it: at once */
    assert_sent(2, 11, "3");
    owner_end(fixture->owners, owner);
}

static void test_what_is_held_is_bounded_and_expires(void **state)
{
    (void)state;
    uint64_t owner = open_with("s!a", 11);
    join(fixture, "g", "s!a");
    for (int i = 0; i < CAPACITY + 2; i++)
        group_send_text(fixture, "g", SEND("x"));
    assert_int_equal(stats_of(fixture).messages_queued, CAPACITY);
    assert_int_equal(stats_of(fixture).dropped[OVERFLOW_DROP_OLDEST], 2);
    fixture_clock += FIXTURE_EXPIRY_MS;
    layer_sweep(fixture->layer);
    assert_int_equal(stats_of(fixture).messages_queued, 0);
    assert_int_equal(stats_of(fixture).dropped_expired, CAPACITY);
    owner_accept(fixture->owners, owner);
    assert_int_equal(out->count, 0);
    owner_end(fixture->owners, owner);
}

static void test_after_the_end_nothing(void **state)
{
    (void)state;
    uint64_t owner = open_with("s!a", 11);
    send_text(fixture, "s!a", SEND("held"));
    owner_close(fixture->owners, owner);
    owner_accept(fixture->owners, owner); /* too late */
    assert_int_equal(send_text(fixture, "s!a", SEND("x")), LAYER_UNKNOWN);
    assert_int_equal(out->count, 0);
    assert_nothing(fixture, "s!a");
    assert_int_equal(stats_of(fixture).dropped_unknown, 1);
    assert_int_equal(stats_of(fixture).messages_queued, 0);
    owner_end(fixture->owners, owner);
}

struct seen {
    uint64_t dropped;
};

static void see(void *context, const struct layer_group_info *info)
{
    ((struct seen *)context)->dropped = info->dropped;
}

static uint64_t group_drops(void)
{
    struct seen seen = { 0 };
    layer_each_group(fixture->layer, see, &seen);
    return seen.dropped;
}

static void test_drops_are_counted(void **state)
{
    (void)state;
    uint64_t owner = open_with("s!a", 11);
    owner_accept(fixture->owners, owner);
    join_as(fixture, "g", "s!a", OVERFLOW_LATEST);
    out->answer = LAYER_FULL; /* the outlet is too far behind */
    assert_int_equal(group_send_text(fixture, "g", SEND("x")), LAYER_OK);
    assert_int_equal(stats_of(fixture).dropped[OVERFLOW_DROP_NEWEST], 1);
    assert_int_equal(group_drops(), 1);
    out->answer = LAYER_OK;
    group_send_text(fixture, "g", SEND("y"));
    layer_relay_dropped(fixture->layer, name_of("g"), out->last_channel, OVERFLOW_LATEST, 3); /* a socket was too slow */
    assert_int_equal(stats_of(fixture).dropped[OVERFLOW_LATEST], 3);
    assert_int_equal(group_drops(), 4);
    struct owner_report report;
    assert_int_equal(owner_describe(fixture->owners, owner, &report), 0);
    assert_int_equal(report.dropped, 4);
    for (size_t i = 0; i < report.name_count; i++)
        mem_free(report.names[i]);
    owner_end(fixture->owners, owner);
    layer_relay_dropped(fixture->layer, name_of("g"), out->last_channel, OVERFLOW_LATEST, 1); /* both are gone: no more than counted */
    assert_int_equal(stats_of(fixture).dropped[OVERFLOW_LATEST], 4);
}

static void test_two_outlets(void **state)
{
    (void)state;
    struct noting *other = noting_create();
    uint64_t a = open_with("s!a", 11);
    uint64_t b = owner_open(fixture->owners, 0, &other->outlet, 22);
    layer_channel_create(fixture->layer, name_of("s!b"), CAPACITY, b, false);
    owner_accept(fixture->owners, a);
    owner_accept(fixture->owners, b);
    join(fixture, "g", "s!a");
    join(fixture, "g", "s!b");
    group_send_text(fixture, "g", SEND("x"));
    assert_int_equal(out->count, 1);
    assert_int_equal(other->count, 1);
    assert_int_equal(other->sent[0].socket, 22);
    owner_end(fixture->owners, a);
    owner_end(fixture->owners, b);
    outlet_release(&other->outlet);
}

static void test_failing_memory(void **state)
{
    (void)state;
    uint64_t owner = open_with("s!a", 11);
    owner_accept(fixture->owners, owner);
    join(fixture, "g", "s!a");
    struct message *message = message_of(SEND("\\u0041"));
    bool failed = true;
    for (unsigned long n = 1; failed; n++) {
        size_t before = out->count;
        mem_fail_at(n);
        int result = layer_group_send(fixture->layer, name_of("g"), message);
        failed = mem_try_count() >= n;
        mem_fail_at(0);
        assert_int_equal(result, failed ? LAYER_NO_MEMORY : LAYER_OK);
        assert_int_equal(out->count, before + (failed ? 0 : 1));
        assert_true(n < 10);
    }
    assert_sent(out->count - 1, 11, "A");
    message_release(message);
    owner_end(fixture->owners, owner);
}

/* One thread publishes numbers while another accepts: they arrive in order, none twice, none lost but by the held ones' bound. */
static atomic_bool go;

static void *publish(void *argument)
{
    (void)argument;
    while (!atomic_load(&go)) {
    }
    for (int i = 0; i < 500; i++) {
        char text[64];
        snprintf(text, sizeof text, SEND("%d"), i);
        group_send_text(fixture, "g", text);
    }
    return NULL;
}

static void test_order_while_it_is_accepted(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        pthread_t thread;
        uint64_t owner = open_with("s!a", 11);
        join(fixture, "g", "s!a");
        out->count = 0;
        atomic_store(&go, false);
        pthread_create(&thread, NULL, publish, NULL);
        atomic_store(&go, true);
        for (volatile int i = 0; i < round * 2000; i++) {
        }
        owner_accept(fixture->owners, owner);
        pthread_join(thread, NULL);
        for (size_t i = 1; i < out->count; i++)
            assert_int_equal(atoi(out->sent[i].text), atoi(out->sent[i - 1].text) + 1);
        assert_true(out->count > 0);
        assert_string_equal(out->sent[out->count - 1].text, "499");
        owner_end(fixture->owners, owner);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_to_every_accepted_socket, begin, end),
        cmocka_unit_test_setup_teardown(test_held_until_accepted, begin, end),
        cmocka_unit_test_setup_teardown(test_what_is_held_is_bounded_and_expires, begin, end),
        cmocka_unit_test_setup_teardown(test_after_the_end_nothing, begin, end),
        cmocka_unit_test_setup_teardown(test_drops_are_counted, begin, end),
        cmocka_unit_test_setup_teardown(test_two_outlets, begin, end),
        cmocka_unit_test_setup_teardown(test_failing_memory, begin, end),
        cmocka_unit_test_setup_teardown(test_order_while_it_is_accepted, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
