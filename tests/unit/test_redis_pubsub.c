/* The pubsub bus against a broker on another thread: everything at once from many threads while connections are lost, and
 * each allocation failing once. Run under ThreadSanitizer. */
#include "channellayer/bus/redis_pubsub.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#include "base/clock.h"
#include "channellayer/bus/redis_config.h"
#include "channellayer/bus/thread.h"
#include "tests/unit/fake_broker.h"
#include "tests/unit/layer_fixture.h"
#include "tests/unit/range.h"
#include "tests/unit/resident.h"

enum { PATIENCE_MS = 60000, WORKERS = 4, ROUNDS = 1500, GROUPS = 6, MOST_ALLOCATIONS = 100 };

struct bench {
    struct broker *broker;
    struct bus_thread *thread; /* kept, so that it outlives each layer's */
    struct owners *owners;
    struct redis_settings *settings;
    struct layer *layer;
};

static void ignore(void *argument)
{
    (void)argument;
}

static void ignore_overflow(void *context, uint64_t tag)
{
    (void)context;
    (void)tag;
}

static void nap(void)
{
    struct timespec time = { .tv_nsec = 2000000 };
    nanosleep(&time, NULL);
}

#define UNTIL(condition)                              \
    do {                                              \
        uint64_t deadline = clock_ms() + PATIENCE_MS; \
        while (!(condition)) {                        \
            assert_true(clock_ms() < deadline);       \
            nap();                                    \
        }                                             \
    } while (0)

static int make_layer(struct bench *bench)
{
    struct layer_config config = {
        .expiry_ms = 60000,
        .group_expiry_ms = 600000,
        .mailbox_bytes = 1000000,
        .bus_create = bus_redis_create,
        .bus_settings = bench->settings,
    };
    return layer_create(&bench->layer, &config, bench->owners);
}

static struct redis_settings *settings_for(int port)
{
    struct redis_settings *settings = redis_settings_create();
    settings->prefix = (struct name){ "asgi", 4 };
    settings->buffer_limit = 1000000;
    settings->buffer_time_ms = 5000;
    settings->hosts = redis_settings_alloc(settings, sizeof *settings->hosts);
    settings->host_count = 1;
    settings->hosts->label = "broker";
    settings->hosts->addresses = redis_settings_alloc(settings, sizeof *settings->hosts->addresses);
    settings->hosts->address_count = 1;
    settings->hosts->addresses[0] = (struct redis_address){ .host = "127.0.0.1", .port = port };
    return settings;
}

static int begin(void **state)
{
    struct bench *bench = mem_zalloc(sizeof *bench);
    bench->broker = broker_begin();
    bench->thread = bus_thread_retain();
    bench->owners = owners_create(ignore_overflow, NULL);
    bench->settings = settings_for(bench->broker->port);
    *state = bench;
    return 0;
}

static void end_layer(struct bench *bench)
{
    layer_release(bench->layer);
    bench->layer = NULL;
    UNTIL(atomic_load(&bench->broker->connected) == 0);
}

static int end(void **state)
{
    struct bench *bench = *state;
    mem_fail_at(0);
    if (bench->layer != NULL)
        end_layer(bench);
    nap(); /* the bus frees itself on its thread */
    bus_thread_release(bench->thread);
    owners_destroy(bench->owners);
    redis_settings_release(bench->settings);
    broker_end(bench->broker);
    mem_free(bench);
    return 0;
}

/* Whether what was asked for before has been confirmed. */
static bool settle(struct layer *layer, struct sink *sink)
{
    struct sink_item item;
    int result = layer_settle(layer, &(struct settling){ .wait_ms = 10000 }, sink, 1);
    if (result != LAYER_EMPTY)
        return result == LAYER_OK;
    UNTIL(sink_take(sink, &item) == 1);
    if (item.layer != NULL)
        layer_release(item.layer);
    return item.status == LAYER_OK;
}

static int publish(struct layer *layer, const char *group, const char *text)
{
    struct message *message = message_create(text, strlen(text), NULL, 0);
    int result = message == NULL ? LAYER_NO_MEMORY : layer_group_send(layer, name_of(group), message);
    message_release(message);
    return result;
}

static unsigned received(struct layer *layer, struct sink *sink, const char *channel)
{
    struct message *message = NULL;
    struct sink_item item;
    unsigned count = 0;
    while (layer_receive(layer, name_of(channel), 100, sink, 7, &message) == LAYER_OK) {
        message_release(message);
        count++;
    }
    layer_cancel(layer, name_of(channel), sink, 7);
    while (sink_take(sink, &item) == 1) {
        if (item.layer != NULL)
            layer_release(item.layer);
    }
    return count;
}

static void test_what_is_published_comes_back(void **state)
{
    struct bench *bench = *state;
    struct sink *sink = sink_create(ignore, NULL);
    assert_int_equal(make_layer(bench), LAYER_OK);
    assert_int_equal(layer_channel_create(bench->layer, name_of("mine"), 100, 0, false), LAYER_OK);
    assert_int_equal(layer_group_add(bench->layer, name_of("g"), name_of("mine"), 100, OVERFLOW_DROP_OLDEST), LAYER_OK);
    assert_true(settle(bench->layer, sink));
    assert_int_equal(atomic_load(&bench->broker->topics), 3); /* the group's, the channel's, and the questions' */
    assert_int_equal(publish(bench->layer, "g", "hello"), LAYER_OK);
    assert_true(settle(bench->layer, sink));
    UNTIL(received(bench->layer, sink, "mine") == 1);
    layer_group_discard(bench->layer, name_of("g"), name_of("mine"));
    assert_true(settle(bench->layer, sink));
    assert_int_equal(atomic_load(&bench->broker->topics), 1);
    sink_close(sink);
    sink_release(sink);
}

/* A publish asked for right after a join is heard by who has joined. */
static void test_join_then_publish_without_waiting(void **state)
{
    struct bench *bench = *state;
    struct sink *sink = sink_create(ignore, NULL);
    char group[16];
    assert_int_equal(make_layer(bench), LAYER_OK);
    layer_channel_create(bench->layer, name_of("mine"), 100, 0, false);
    for (int i = 0; i < 50; i++) {
        snprintf(group, sizeof group, "g%d", i);
        layer_group_add(bench->layer, name_of(group), name_of("mine"), 100, OVERFLOW_DROP_OLDEST);
        assert_int_equal(publish(bench->layer, group, "hello"), LAYER_OK);
        UNTIL(received(bench->layer, sink, "mine") == 1);
    }
    sink_close(sink);
    sink_release(sink);
}

struct worker {
    struct bench *bench;
    unsigned number;
    unsigned settled; /* with success */
    pthread_t thread;
};

static void *work(void *argument)
{
    struct worker *worker = argument;
    struct layer *layer = worker->bench->layer;
    struct sink *sink = sink_create(ignore, NULL);
    unsigned random = worker->number + 1;
    char group[16], channel[16];
    for (int round = 0; round < ROUNDS; round++) {
        random = random * 1664525u + 1013904223u;
        snprintf(group, sizeof group, "g%u", (random >> 8) % GROUPS);
        snprintf(channel, sizeof channel, "c%u.%u", worker->number, (random >> 16) % 3);
        switch ((random >> 20) % 8) {
        case 0:
        case 1:
            layer_group_add(layer, name_of(group), name_of(channel), 100, OVERFLOW_DROP_OLDEST);
            break;
        case 2:
            layer_group_discard(layer, name_of(group), name_of(channel));
            break;
        case 3:
            received(layer, sink, channel);
            break;
        case 4:
            if (round % 50 == 0)
                worker->settled += settle(layer, sink);
            break;
        default:
            publish(layer, group, "something that is not very short");
        }
        if (round % 400 == 200 && worker->number == 0)
            broker_drop_all(worker->bench->broker);
    }
    sink_close(sink);
    sink_release(sink);
    return NULL;
}

static void test_many_threads_and_lost_connections(void **state)
{
    struct bench *bench = *state;
    struct worker workers[WORKERS];
    struct sink *sink = sink_create(ignore, NULL);
    assert_int_equal(make_layer(bench), LAYER_OK);
    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){ .bench = bench, .number = i };
        pthread_create(&workers[i].thread, NULL, work, &workers[i]);
    }
    for (unsigned i = 0; i < WORKERS; i++)
        pthread_join(workers[i].thread, NULL);
    struct layer_stats stats;
    layer_stats(bench->layer, &stats);
    UNTIL(settle(bench->layer, sink)); /* what was lost on the way may be told first */
    UNTIL((layer_stats(bench->layer, &stats), stats.bus.links_up == 2 && stats.bus.bytes_pending == 0));
    UNTIL((layer_stats(bench->layer, &stats), (uint64_t)atomic_load(&bench->broker->topics) ==
                                                 stats.groups + stats.channels + (stats.groups > 0)));
    assert_true(stats.bus.reconnects > 0);
    assert_true(stats.bus.published > 0);
    sink_close(sink);
    sink_release(sink);
}

static void test_each_allocation_fails_once(void **state)
{
    struct bench *bench = *state;
    struct sink *sink = sink_create(ignore, NULL);
    bool done = false;
    for (unsigned long n = 1; !done && n < MOST_ALLOCATIONS; n++) {
        mem_fail_at(n);
        if (make_layer(bench) != LAYER_OK) {
            bench->layer = NULL;
            continue;
        }
        while (layer_channel_create(bench->layer, name_of("mine"), 100, 0, false) != LAYER_OK)
            continue;
        while (layer_group_add(bench->layer, name_of("g"), name_of("mine"), 100, OVERFLOW_DROP_OLDEST) != LAYER_OK)
            continue;
        /* A message may be lost where there was no memory, but not for ever. */
        UNTIL(publish(bench->layer, "g", "hello") != LAYER_OK || received(bench->layer, sink, "mine") > 0);
        UNTIL(settle(bench->layer, sink));
        UNTIL(atomic_load(&bench->broker->topics) == 3);
        done = n > mem_try_count();
        end_layer(bench);
    }
    mem_fail_at(0);
    sink_close(sink);
    sink_release(sink);
}

/* Those who join the same group one after the other, while Redis is away, leave nothing behind. */
static void test_joins_without_redis_are_bounded(void **state)
{
    enum { TURNS = 300, EACH = 1000 };
    struct bench *bench = *state;
    struct sink *sink = sink_create(ignore, NULL);
    struct sink_item item;
    struct name group = name_of("everybody"), channel = name_of("mine");
    redis_settings_release(bench->settings);
    bench->settings = settings_for(1); /* nobody listens there */
    assert_int_equal(make_layer(bench), LAYER_OK);
    assert_int_equal(layer_group_add(bench->layer, group, channel, 100, OVERFLOW_DROP_OLDEST), LAYER_OK);
    long before = 0;
    for (int turn = 0; turn < TURNS; turn++) {
        for (int i = 0; i < EACH; i++)
            assert_int_equal(layer_settle(bench->layer, &(struct settling){ .group = group, .joined = true, .wait_ms = 5000 }, sink, 1), LAYER_EMPTY);
        for (int told = 0; told < EACH; told++) {
            UNTIL(sink_take(sink, &item) == 1);
            assert_int_equal(item.status, LAYER_UNSENT);
            layer_release(item.layer);
        }
        if (turn == 20)
            before = resident_kib();
    }
    assert_uint_in_range(resident_kib() - before + 4096, 0, 8192);
    end_layer(bench);
    sink_close(sink);
    sink_release(sink);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_is_published_comes_back, begin, end),
        cmocka_unit_test_setup_teardown(test_join_then_publish_without_waiting, begin, end),
        cmocka_unit_test_setup_teardown(test_many_threads_and_lost_connections, begin, end),
        cmocka_unit_test_setup_teardown(test_each_allocation_fails_once, begin, end),
        cmocka_unit_test_setup_teardown(test_joins_without_redis_are_bounded, begin, end),
    };
    signal(SIGPIPE, SIG_IGN); /* the broker writes to whom it has lost */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
