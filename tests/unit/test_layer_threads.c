/* Threads that do everything at once: run under ThreadSanitizer. At the end every gauge is at zero. */
#include "tests/unit/layer_fixture.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

enum {
    WORKERS = 4,
    CONNECTIONS = 24, /* alive at a time; any worker may close or end any of them */
    ROUNDS = 20000,
    GROUPS = 5,
    LAYERS = 2,
};

/* A connection: its channels are named by its serial, so that late calls name channels that are gone. */
struct connection {
    pthread_mutex_t lock;
    uint64_t owner;
    unsigned serial;
};

struct world {
    struct owners *owners;
    struct layer *layers[LAYERS];
    struct connection connections[CONNECTIONS];
    atomic_uint next_serial;
    atomic_uint closes;
    atomic_int running;
};

struct worker {
    struct world *world;
    struct sink *sink;
    unsigned random;
    uint64_t next_token;
    atomic_int wakes;
    pthread_t thread;
};

static unsigned dice(struct worker *worker, unsigned sides)
{
    worker->random = worker->random * 1664525u + 1013904223u;
    return (worker->random >> 8) % sides;
}

static void on_worker_wake(void *argument)
{
    atomic_fetch_add(&((struct worker *)argument)->wakes, 1);
}

static void on_world_overflow(void *context, uint64_t tag)
{
    (void)tag;
    atomic_fetch_add(&((struct world *)context)->closes, 1);
}

static struct name channel_name(char *text, size_t size, unsigned serial, unsigned n)
{
    return (struct name){ text, (size_t)snprintf(text, size, "specific.%u!%u", serial, n) };
}

static struct name group_name(char *text, size_t size, unsigned n)
{
    return (struct name){ text, (size_t)snprintf(text, size, "group%u", n) };
}

/* No member of a closed owner: the one thing that must never be seen. */
static void close_and_check(struct worker *worker, uint64_t owner)
{
    struct owner_report before, after;
    owner_close(worker->world->owners, owner);
    if (owner_describe(worker->world->owners, owner, &before) != 0)
        return;
    for (int i = 0; i < 2; i++) { /* nothing is added later either */
        if (owner_describe(worker->world->owners, owner, &after) == 0) {
            assert_int_equal(after.groups, before.groups);
            for (size_t k = 0; k < after.name_count; k++)
                mem_free(after.names[k]);
        }
    }
    for (size_t k = 0; k < before.name_count; k++)
        mem_free(before.names[k]);
}

static void replace(struct worker *worker, struct connection *connection)
{
    uint64_t old, next = owner_open(worker->world->owners, dice(worker, 100), NULL, 0);
    pthread_mutex_lock(&connection->lock);
    old = connection->owner;
    connection->owner = next;
    connection->serial = atomic_fetch_add(&worker->world->next_serial, 1);
    pthread_mutex_unlock(&connection->lock);
    if (dice(worker, 2))
        close_and_check(worker, old);
    owner_end(worker->world->owners, old);
}

static void drain(struct worker *worker)
{
    struct sink_item item;
    while (sink_take(worker->sink, &item) == 1) {
        layer_pass(item.layer, item.channel);
        layer_release(item.layer);
    }
}

static void act(struct worker *worker)
{
    struct world *world = worker->world;
    struct layer *layer = world->layers[dice(worker, LAYERS)];
    struct connection *connection = &world->connections[dice(worker, CONNECTIONS)];
    char channel_text[40], group_text[40];
    pthread_mutex_lock(&connection->lock);
    uint64_t owner = connection->owner;
    unsigned serial = connection->serial;
    pthread_mutex_unlock(&connection->lock);
    struct name channel = channel_name(channel_text, sizeof channel_text, serial, dice(worker, 2));
    struct name group = group_name(group_text, sizeof group_text, dice(worker, GROUPS));
    struct message *message;
    struct layer_stats stats;
    switch (dice(worker, 16)) {
    case 0: case 1:
        layer_channel_create(layer, channel, CAPACITY, owner, false);
        break;
    case 2: case 3: case 4:
        layer_group_add(layer, group, channel, CAPACITY, dice(worker, OVERFLOW_COUNT));
        break;
    case 5:
        layer_group_discard(layer, group, channel);
        break;
    case 6: case 7:
        message = message_of("group message");
        layer_group_send(layer, group, message);
        message_release(message);
        break;
    case 8:
        message = message_of("direct");
        layer_send(layer, channel, CAPACITY, message);
        message_release(message);
        break;
    case 9: case 10:
        if (layer_receive(layer, channel, CAPACITY, worker->sink, ++worker->next_token, &message) == LAYER_OK)
            message_release(message);
        else if (dice(worker, 2))
            layer_cancel(layer, channel, worker->sink, worker->next_token);
        break;
    case 11:
        owner_close(world->owners, owner);
        break;
    case 12:
        close_and_check(worker, owner);
        break;
    case 13:
        replace(worker, connection);
        break;
    case 14:
        drain(worker);
        break;
    default:
        if (dice(worker, 8) == 0)
            layer_sweep(layer);
        layer_stats(layer, &stats);
        assert_int_equal(stats.orphaned_channels, 0);
        assert_true(stats.messages_queued <= stats.channels * CAPACITY);
    }
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    for (int i = 0; i < ROUNDS; i++)
        act(worker);
    /* A loop that ends with receivers still waiting, while others tell them. */
    sink_close(worker->sink);
    int wakes = atomic_load(&worker->wakes);
    for (int i = 0; i < 50; i++)
        sched_yield();
    assert_int_equal(atomic_load(&worker->wakes), wakes);
    sink_release(worker->sink);
    return NULL;
}

/* A layer that lives shortly while its owners are closed and ended. */
static void *make_layers(void *argument)
{
    struct world *world = argument;
    struct layer_config config = fixture_config();
    struct message *message = message_of("x");
    unsigned n = 0;
    while (atomic_load(&world->running)) {
        struct layer *layer;
        assert_int_equal(layer_create(&layer, &config, world->owners), LAYER_OK);
        for (int i = 0; i < CONNECTIONS; i++) {
            struct connection *connection = &world->connections[i];
            char text[40], group[40];
            pthread_mutex_lock(&connection->lock);
            uint64_t owner = connection->owner;
            pthread_mutex_unlock(&connection->lock);
            struct name name = channel_name(text, sizeof text, n++, 0);
            layer_channel_create(layer, name, CAPACITY, owner, false);
            layer_group_add(layer, group_name(group, sizeof group, 0), name, CAPACITY, OVERFLOW_CLOSE);
        }
        layer_group_send(layer, (struct name){ "group0", 6 }, message);
        layer_release(layer);
        sched_yield();
    }
    message_release(message);
    return NULL;
}

static void world_begin(struct world *world)
{
    struct layer_config config = fixture_config();
    world->owners = owners_create(on_world_overflow, world);
    for (int i = 0; i < LAYERS; i++)
        assert_int_equal(layer_create(&world->layers[i], &config, world->owners), LAYER_OK);
    for (int i = 0; i < CONNECTIONS; i++) {
        pthread_mutex_init(&world->connections[i].lock, NULL);
        world->connections[i].owner = owner_open(world->owners, 1, NULL, 0);
        world->connections[i].serial = atomic_fetch_add(&world->next_serial, 1);
    }
    atomic_store(&world->running, 1);
}

static void test_everything_at_once(void **state)
{
    (void)state;
    static struct world world;
    static struct worker workers[WORKERS];
    pthread_t maker;
    world_begin(&world);
    pthread_create(&maker, NULL, make_layers, &world);
    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i].world = &world;
        workers[i].random = i + 1;
        workers[i].sink = sink_create(on_worker_wake, &workers[i]);
        pthread_create(&workers[i].thread, NULL, work, &workers[i]);
    }
    for (int i = 0; i < WORKERS; i++)
        pthread_join(workers[i].thread, NULL);
    atomic_store(&world.running, 0);
    pthread_join(maker, NULL);
    for (int i = 0; i < CONNECTIONS; i++)
        owner_end(world.owners, world.connections[i].owner);
    uint64_t discarded = 0, late = 0;
    for (int i = 0; i < LAYERS; i++) {
        struct layer_stats stats;
        layer_stats(world.layers[i], &stats);
        assert_int_equal(stats.channels, 0);
        assert_int_equal(stats.groups, 0);
        assert_int_equal(stats.group_members, 0);
        assert_int_equal(stats.messages_queued, 0);
        assert_int_equal(stats.bytes_queued, 0);
        assert_int_equal(stats.waiters, 0);
        assert_int_equal(stats.orphaned_channels, 0);
        discarded += stats.subscriptions_discarded;
        late += stats.late_group_adds;
        layer_release(world.layers[i]);
    }
    assert_true(discarded > 0 && late > 0 && atomic_load(&world.closes) > 0); /* the races were run */
    owners_destroy(world.owners);
}

/* One call of another thread against one of this thread's, again and again. */
enum { RACES = 3000 };

struct race {
    struct fixture *fixture;
    void (*act)(struct race *race);
    atomic_uint_fast64_t owner;
    atomic_int go;
    atomic_int done;
    pthread_t thread;
};

static void *act_when_told(void *argument)
{
    struct race *race = argument;
    for (int round = 1; round <= RACES; round++) {
        while (atomic_load(&race->go) != round)
            sched_yield();
        race->act(race);
        atomic_store(&race->done, round);
    }
    return NULL;
}

static void race_start(struct race *race, int round)
{
    atomic_store(&race->go, round);
    for (int i = 0; i < round % 4; i++) /* so that now the one is first, now the other */
        sched_yield();
}

static void race_wait(struct race *race, int round)
{
    while (atomic_load(&race->done) != round)
        sched_yield();
}

static void join_group(struct race *race)
{
    join(race->fixture, "g", "s!1");
}

static void test_join_races_with_close(void **state)
{
    struct fixture *fixture = *state;
    struct race race = { .fixture = fixture, .act = join_group };
    pthread_create(&race.thread, NULL, act_when_told, &race);
    for (int round = 1; round <= RACES; round++) {
        uint64_t owner = owner_open(fixture->owners, 1, NULL, 0);
        layer_channel_create(fixture->layer, name_of("s!1"), CAPACITY, owner, false);
        race_start(&race, round);
        owner_close(fixture->owners, owner);
        assert_int_equal(stats_of(fixture).group_members, 0);
        race_wait(&race, round);
        struct layer_stats stats = stats_of(fixture);
        assert_int_equal(stats.group_members, 0);
        assert_int_equal(stats.subscriptions_discarded + stats.late_group_adds, round);
        owner_end(fixture->owners, owner);
    }
    pthread_join(race.thread, NULL);
}

static void create_and_join(struct race *race)
{
    layer_channel_create(race->fixture->layer, name_of("s!1"), CAPACITY, atomic_load(&race->owner), false);
    join(race->fixture, "g", "s!1");
}

/* Whoever is first, owner_close leaves no membership and owner_end no channel. */
static void test_create_races_with_close_and_end(void **state)
{
    struct fixture *fixture = *state;
    struct race race = { .fixture = fixture, .act = create_and_join };
    pthread_create(&race.thread, NULL, act_when_told, &race);
    for (int round = 1; round <= RACES; round++) {
        uint64_t owner = owner_open(fixture->owners, 1, NULL, 0);
        atomic_store(&race.owner, owner);
        race_start(&race, round);
        if (round % 3 == 0) {
            owner_close(fixture->owners, owner);
            assert_int_equal(stats_of(fixture).group_members, 0);
        }
        owner_end(fixture->owners, owner);
        assert_int_equal(stats_of(fixture).channels, 0);
        race_wait(&race, round);
        assert_int_equal(stats_of(fixture).channels, 0);
        assert_int_equal(stats_of(fixture).group_members, 0);
    }
    pthread_join(race.thread, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything_at_once),
        cmocka_unit_test_setup_teardown(test_join_races_with_close, fixture_begin, fixture_end),
        cmocka_unit_test_setup_teardown(test_create_races_with_close_and_end, fixture_begin, fixture_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
