/* The core bus against a redis-server of the test's own: from several threads, through the server's death and return, with
 * each allocation failing once, and ended in the midst of it. */
#include "tests/unit/layer_fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "channellayer/bus.h"
#include "channellayer/bus/redis_config.h"
#include "channellayer/bus/redis_core.h"

enum { PATIENCE_MS = 30000, ROOM = 4000, EACH = 300 };

struct server {
    char directory[64];
    char socket[96];
    pid_t pid;
};

struct bench {
    struct server server;
    struct owners *owners;
    struct sink *sink;
    struct layer *layers[2];
    char names[2][80];
    struct message *last;
};

/* Not by fork(): the library's own preparations for that are not what is tested here. */
static void start_server(struct server *server)
{
    char *words[] = { "redis-server", "--port", "0", "--unixsocket", server->socket, "--dir", server->directory,
                      "--save", "", "--appendonly", "no", NULL };
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    assert_int_equal(posix_spawnp(&server->pid, words[0], &actions, NULL, words, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
}

static void stop_server(struct server *server)
{
    kill(server->pid, SIGKILL);
    waitpid(server->pid, NULL, 0);
    unlink(server->socket);
}

static struct redis_settings *settings_of(const struct server *server, const char *client)
{
    struct redis_settings *settings = redis_settings_create();
    assert_non_null(settings);
    settings->prefix = name_of("t");
    settings->client = (struct name){ redis_settings_text(settings, client, strlen(client)), strlen(client) };
    settings->buffer_limit = 1 << 20;
    settings->buffer_time_ms = PATIENCE_MS;
    settings->expiry_ms = 60000;
    settings->group_expiry_ms = 600000;
    settings->capacity = ROOM;
    settings->random_prefix_length = 12;
    unsigned char (*keys)[REDIS_KEY_BYTES] = redis_settings_alloc(settings, REDIS_KEY_BYTES);
    settings->keys = (const unsigned char (*)[REDIS_KEY_BYTES])keys;
    settings->key_count = 1;
    settings->host_count = 2; /* two databases of one server: two shards */
    settings->hosts = redis_settings_alloc(settings, 2 * sizeof *settings->hosts);
    for (int i = 0; i < 2; i++) {
        struct redis_address *address = redis_settings_alloc(settings, sizeof *address);
        address->path = redis_settings_text(settings, server->socket, strlen(server->socket));
        settings->hosts[i] = (struct redis_host){ .kind = REDIS_SINGLE, .label = "test", .addresses = address, .address_count = 1, .db = i };
    }
    return settings;
}

static struct layer *make_layer(struct bench *bench, const char *client)
{
    struct layer *layer = NULL;
    struct redis_settings *settings = settings_of(&bench->server, client);
    struct layer_config config = {
        .expiry_ms = 60000, .group_expiry_ms = 600000, .mailbox_bytes = 1 << 20, .bus_create = bus_redis_core_create, .bus_settings = settings,
    };
    assert_int_equal(layer_create(&layer, &config, bench->owners), LAYER_OK);
    redis_settings_release(settings);
    return layer;
}

static void no_close(void *context, uint64_t tag)
{
    (void)context;
    (void)tag;
}

static void no_wake(void *argument)
{
    (void)argument;
}

static void pause_a_little(void)
{
    usleep(2000);
}

static int settle(struct bench *bench, int index)
{
    struct sink_item item;
    int result = layer_settle(bench->layers[index], &(struct settling){ .wait_ms = 10000 }, bench->sink, 77);
    if (result != LAYER_EMPTY)
        return result;
    for (uint64_t end = clock_ms() + PATIENCE_MS; clock_ms() < end; pause_a_little()) {
        while (sink_take(bench->sink, &item) == 1) {
            layer_release(item.layer);
            if (item.token == 77)
                return item.status;
        }
    }
    return LAYER_EMPTY;
}

static int begin(void **state)
{
    struct bench *bench = mem_zalloc(sizeof *bench);
    strcpy(bench->server.directory, "/tmp/test_redis_core.XXXXXX");
    assert_non_null(mkdtemp(bench->server.directory));
    snprintf(bench->server.socket, sizeof bench->server.socket, "%s/socket", bench->server.directory);
    start_server(&bench->server);
    bench->owners = owners_create(no_close, NULL);
    bench->sink = sink_create(no_wake, NULL);
    for (int i = 0; i < 2; i++) {
        char client[8];
        snprintf(client, sizeof client, "c%d", i);
        bench->layers[i] = make_layer(bench, client);
        snprintf(bench->names[i], sizeof bench->names[i], "specific.c%d!x", i);
        assert_int_equal(layer_channel_create(bench->layers[i], name_of(bench->names[i]), ROOM, 0, true), LAYER_OK);
        assert_int_equal(layer_group_add(bench->layers[i], name_of("g"), name_of(bench->names[i]), ROOM, OVERFLOW_DROP_OLDEST), LAYER_OK);
    }
    assert_int_equal(settle(bench, 0), LAYER_OK);
    assert_int_equal(settle(bench, 1), LAYER_OK);
    *state = bench;
    return 0;
}

static int end(void **state)
{
    struct bench *bench = *state;
    for (int i = 0; i < 2; i++)
        layer_release(bench->layers[i]);
    sink_close(bench->sink);
    sink_release(bench->sink);
    uint64_t limit = clock_ms() + PATIENCE_MS;
    while (clock_ms() < limit && access(bench->server.socket, F_OK) != 0)
        pause_a_little();
    usleep(100000); /* the buses end on their own thread */
    stop_server(&bench->server);
    rmdir(bench->server.directory);
    owners_destroy(bench->owners);
    mem_free(bench);
    return 0;
}

static int publish(struct bench *bench, int from, const char *text)
{
    unsigned char bytes[64] = { 0x81, 0xa1, 't', (unsigned char)(0xa0 | strlen(text)) };
    memcpy(bytes + 4, text, strlen(text));
    struct message *message = message_create(bytes, 4 + strlen(text), NULL, 0);
    if (message == NULL)
        return LAYER_NO_MEMORY;
    int result = layer_group_send(bench->layers[from], name_of("g"), message);
    message_release(message);
    return result;
}

/* The next message of layer index, without what is around its text; false when none comes. */
static bool next(struct bench *bench, int index, char text[64])
{
    struct message *message = NULL;
    for (uint64_t limit = clock_ms() + PATIENCE_MS; clock_ms() < limit; pause_a_little()) {
        struct name channel = name_of(bench->names[index]);
        int result = layer_receive(bench->layers[index], channel, ROOM, bench->sink, 5, &message);
        if (result == LAYER_OK) {
            bool gap = message->length > 20 && message->bytes[0] == 0x82;
            size_t length = gap ? 3 : message->length - 4;
            memcpy(text, gap ? (const unsigned char *)"gap" : message->bytes + 4, length);
            text[length] = '\0';
            message_release(message);
            return true;
        }
        layer_cancel(bench->layers[index], channel, bench->sink, 5);
        struct sink_item item;
        while (sink_take(bench->sink, &item) == 1) {
            layer_pass(item.layer, item.channel);
            layer_release(item.layer);
        }
    }
    return false;
}

struct publisher {
    struct bench *bench;
    int from;
};

static void *publish_many(void *argument)
{
    struct publisher *publisher = argument;
    for (int i = 0; i < EACH; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d.%d", publisher->from, i);
        assert_int_equal(publish(publisher->bench, publisher->from, text), LAYER_OK);
    }
    return NULL;
}

static void test_from_several_threads(void **state)
{
    struct bench *bench = *state;
    pthread_t threads[2];
    struct publisher publishers[2] = { { bench, 0 }, { bench, 1 } };
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, publish_many, &publishers[i]);
    for (int index = 0; index < 2; index++) {
        int expected[2] = { 0, 0 };
        for (int i = 0; i < 2 * EACH; i++) {
            char text[64];
            int from, number;
            assert_true(next(bench, index, text));
            assert_int_equal(sscanf(text, "%d.%d", &from, &number), 2);
            assert_int_equal(number, expected[from]++); /* in order */
        }
    }
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    struct layer_stats stats;
    layer_stats(bench->layers[0], &stats);
    assert_int_equal(stats.bus.published, EACH);
    assert_int_equal(stats.bus.unreadable, 0);
}

static void test_the_server_dies_and_comes_back_empty(void **state)
{
    struct bench *bench = *state;
    char text[64];
    assert_int_equal(publish(bench, 0, "before"), LAYER_OK);
    assert_true(next(bench, 1, text) && next(bench, 0, text));
    stop_server(&bench->server);
    struct layer_stats stats;
    uint64_t limit = clock_ms() + PATIENCE_MS;
    do {
        layer_stats(bench->layers[0], &stats);
    } while (stats.bus.links_up > 0 && clock_ms() < limit);
    assert_int_equal(publish(bench, 0, "meanwhile"), LAYER_OK); /* it waits */
    layer_group_discard(bench->layers[0], name_of("g"), name_of(bench->names[0]));
    start_server(&bench->server);
    assert_int_equal(settle(bench, 0), LAYER_OK);
    bool gap = false, meanwhile = false;
    while (!gap || !meanwhile) { /* the other may join again only after it: then it is told that it missed something */
        assert_true(next(bench, 1, text));
        gap = gap || strcmp(text, "gap") == 0;
        meanwhile = meanwhile || strcmp(text, "meanwhile") == 0 || gap;
    }
    limit = clock_ms() + PATIENCE_MS;
    while (clock_ms() < limit) {
        snprintf(text, sizeof text, "after");
        assert_int_equal(publish(bench, 0, text), LAYER_OK);
        assert_true(next(bench, 1, text));
        if (strcmp(text, "after") == 0)
            break;
    }
    assert_string_equal(text, "after");
    layer_stats(bench->layers[1], &stats);
    assert_true(stats.bus.reconnects > 0 && stats.bus.gaps > 0);
}

static void test_no_memory(void **state)
{
    struct bench *bench = *state;
    for (unsigned long n = 1; n <= 16; n++) {
        char text[64];
        mem_fail_at(n);
        (void)publish(bench, 0, "perhaps");
        (void)settle(bench, 0);
        mem_fail_at(0);
        char wanted[16];
        snprintf(wanted, sizeof wanted, "sure%lu", n);
        do {
            assert_int_equal(publish(bench, 1, wanted), LAYER_OK);
            assert_true(next(bench, 1, text));
        } while (strcmp(text, wanted) != 0);
    }
}

static void test_ended_in_the_midst(void **state)
{
    struct bench *bench = *state;
    for (int i = 0; i < EACH; i++) {
        assert_int_equal(publish(bench, 0, "a"), LAYER_OK);
        assert_int_equal(publish(bench, 1, "b"), LAYER_OK);
    }
    struct layer *again = bench->layers[0];
    bench->layers[0] = make_layer(bench, "c2");
    layer_release(again);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(test_from_several_threads),
        TEST(test_the_server_dies_and_comes_back_empty),
        TEST(test_no_memory),
        TEST(test_ended_in_the_midst),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
