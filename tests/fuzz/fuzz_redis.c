/* What a Redis answers, to a whole layer: subscriptions, published messages, the blocking reader, Sentinel, the map of a cluster,
 * in RESP2 and RESP3. The first byte says which bus and which kind of host, the second how much the wire answers by itself; then
 * pieces follow: who gets it, its length, and the bytes.
 *
 * The bus thread, the wire and the clock are this file's own, so that all happens on one thread, in an order that the input alone
 * decides, and nobody waits. */
#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "base/alloc.h"
#include "channellayer/bus/redis_config.h"
#include "channellayer/bus/redis_core.h"
#include "channellayer/bus/redis_pubsub.h"
#include "channellayer/bus/redis_wire.h"
#include "channellayer/bus/thread.h"
#include "channellayer/message.h"
#include "channellayer/owner.h"
#include "channellayer/sink.h"
#include "tests/fuzz/fuzz.h"

enum { WIRES = 32, ROUNDS = 4, STEP_MS = 30, LEAP_MS = 1000, MOST_LEAPS = 60, MOST_ANSWERS = 100 };

struct redis_wire {
    const struct redis_wire_events *events;
    void *context;
    redisReader *reader;
    bool open, lost, closed;
    unsigned answers; /* owed for commands that the wire answers by itself */
};

static uv_loop_t loop;
static struct queue tasks;
static struct redis_wire *wires[WIRES]; /* by the order in which they were opened */
static size_t wire_count;
static unsigned helpful; /* what is answered by the wire: 1: HELLO and AUTH; 2: SUBSCRIBE and its kin; 4: all else, with ":1" */

static unsigned answers_left; /* by the wire: whoever blocks for messages asks again at once */
static long skipped_ms; /* of the time, within one input */

/* libuv and our own clock ask here; the fuzzer, which asks for CLOCK_REALTIME, is told the truth. */
__attribute__((visibility("default"))) int clock_gettime(clockid_t clock, struct timespec *now)
{
    long result = syscall(SYS_clock_gettime, clock, now);
    if (clock == CLOCK_REALTIME)
        return (int)result;
    now->tv_sec += skipped_ms / 1000;
    now->tv_nsec += skipped_ms % 1000 * 1000000;
    if (now->tv_nsec >= 1000000000) {
        now->tv_sec++;
        now->tv_nsec -= 1000000000;
    }
    return (int)result;
}

/* --- the bus thread: this one --- */

struct bus_thread *bus_thread_retain(void)
{
    return (struct bus_thread *)(void *)&loop;
}

void bus_thread_release(struct bus_thread *thread)
{
    (void)thread;
}

void bus_thread_leaving(void)
{
}

void bus_thread_left(void)
{
}

void bus_thread_halt(unsigned wait_ms)
{
    (void)wait_ms;
}

void bus_thread_post(struct bus_thread *thread, struct bus_task *task)
{
    (void)thread;
    struct queue_chain chain = { 0 };
    queue_chain_add(&chain, &task->item);
    queue_push(&tasks, &chain);
}

uv_loop_t *bus_thread_loop(struct bus_thread *thread)
{
    (void)thread;
    return &loop;
}

/* --- the wire --- */

struct redis_wire *redis_wire_open(uv_loop_t *on, const struct redis_wire_target *target, const struct redis_wire_events *events,
                                   void *context, char *reason, size_t size)
{
    (void)on;
    (void)target;
    if (wire_count == WIRES) {
        snprintf(reason, size, "enough");
        return NULL;
    }
    struct redis_wire *wire = mem_zalloc(sizeof *wire);
    *wire = (struct redis_wire){ .events = events, .context = context, .reader = redisReaderCreate() };
    return wires[wire_count++] = wire;
}

void redis_wire_close(struct redis_wire *wire)
{
    fuzz_require(!wire->closed);
    wire->closed = true; /* freed at the end: it may be in its own callback */
}

static void hear(struct redis_wire *wire, const void *bytes, size_t length)
{
    void *reply = NULL;
    if (wire->closed || wire->lost || !wire->open || redisReaderFeed(wire->reader, bytes, length) != REDIS_OK)
        return;
    while (!wire->closed) {
        if (redisReaderGetReply(wire->reader, &reply) != REDIS_OK) {
            wire->lost = true;
            wire->events->on_lost(wire->context, wire->reader->errstr);
            return;
        }
        if (reply == NULL)
            return;
        wire->events->on_reply(wire->context, reply);
        freeReplyObject(reply);
    }
}

void redis_wire_trust(struct redis_wire *wire)
{
    wire->reader->maxelements = WIRE_ELEMENTS;
}

static bool is(struct name word, const char *text)
{
    return word.length == strlen(text) && memcmp(word.bytes, text, word.length) == 0;
}

static void confirm(struct redis_wire *wire, size_t count, const struct name *words)
{
    char answer[400];
    for (size_t i = 1; i < count; i++) {
        int length = snprintf(answer, sizeof answer, ">3\r\n$%zu\r\n%.*s\r\n$%zu\r\n%.*s\r\n:1\r\n", words[0].length,
                              (int)words[0].length, words[0].bytes, words[i].length, (int)words[i].length, words[i].bytes);
        for (char *at = answer + 4; *at != '\n' || at < answer + 8; at++)
            if (*at >= 'A' && *at <= 'Z')
                *at += 'a' - 'A';
        redisReaderFeed(wire->reader, answer, (size_t)length);
    }
}

int redis_wire_send(struct redis_wire *wire, size_t count, const struct name *words)
{
    fuzz_require(wire->open && !wire->closed && count > 0);
    bool greeting = is(words[0], "HELLO") || is(words[0], "AUTH") || is(words[0], "SELECT") || is(words[0], "PING");
    bool subscription = memmem(words[0].bytes, words[0].length, "SUBSCRIBE", 9) != NULL;
    if (answers_left == 0)
        return 0;
    answers_left--;
    if (subscription && (helpful & 2))
        confirm(wire, count, words);
    else if (!subscription && (helpful & (greeting ? 1 : 4)))
        redisReaderFeed(wire->reader, greeting ? "%0\r\n" : ":1\r\n", 4);
    else
        return 0;
    wire->answers++;
    return 0;
}

/* No name is looked up: what a Sentinel or a cluster calls its servers is the input's. */
int uv_getaddrinfo(uv_loop_t *on, uv_getaddrinfo_t *request, uv_getaddrinfo_cb callback, const char *node, const char *service,
                   const struct addrinfo *hints)
{
    (void)on, (void)request, (void)callback, (void)node, (void)service, (void)hints;
    return UV_EAI_NONAME;
}

/* --- a layer --- */

static const struct name group = { "prices", 6 }, own = { "asgispecific.0123456789abcdef!1", 31 }, other = { "other", 5 };

static void ignore(void *argument)
{
    (void)argument;
}

static void ignore_close(void *context, uint64_t tag)
{
    (void)context, (void)tag;
}

static void turn(void)
{
    struct queue_item *item;
    skipped_ms += STEP_MS;
    for (unsigned i = 0; i < ROUNDS; i++) {
        while ((item = queue_take(&tasks)) != NULL) {
            while (item != NULL) {
                struct bus_task *task = (struct bus_task *)(void *)((char *)item - offsetof(struct bus_task, item));
                item = item->next;
                task->run(task);
            }
        }
        uv_run(&loop, UV_RUN_NOWAIT);
        for (size_t each = 0; each < wire_count; each++) {
            struct redis_wire *wire = wires[each];
            if (!wire->open && !wire->closed) {
                wire->open = true;
                wire->events->on_open(wire->context);
            }
            if (wire->answers > 0) {
                wire->answers = 0;
                hear(wire, "", 0);
            }
        }
    }
}

static struct redis_settings *settings_of(unsigned choice)
{
    static const unsigned char key[REDIS_KEY_BYTES] = "0123456789abcdef0123456789abcde";
    struct redis_settings *settings = redis_settings_create();
    settings->prefix = (struct name){ "asgi", 4 };
    settings->client = (struct name){ "asgispecific.0123456789abcdef", 29 };
    settings->buffer_limit = 100000;
    settings->buffer_time_ms = 5000;
    settings->expiry_ms = settings->group_expiry_ms = 60000;
    settings->capacity = 10;
    settings->random_prefix_length = 12;
    settings->json = choice & 2;
    if (choice & 4) {
        settings->keys = &key;
        settings->key_count = 1;
    }
    settings->hosts = redis_settings_alloc(settings, sizeof *settings->hosts);
    settings->host_count = 1;
    struct redis_host *host = settings->hosts;
    host->kind = (choice >> 3) % 3;
    host->label = "fuzzed";
    host->master = "market";
    host->protocol = choice & 64 ? 2 : 0;
    host->password = choice & 128 ? "secret" : NULL;
    host->addresses = redis_settings_alloc(settings, sizeof *host->addresses);
    host->address_count = 1;
    host->addresses[0].path = "/nowhere";
    return settings;
}

static void use(struct layer *layer, struct sink *sink)
{
    struct message *message = message_create("\x81\xa4type\xa4tick", 11, NULL, 0), *got = NULL;
    layer_channel_create(layer, own, 5, 0, true);
    layer_group_add(layer, group, own, 5, OVERFLOW_DROP_OLDEST);
    layer_group_send(layer, group, message);
    layer_send(layer, other, 5, message);
    layer_settle(layer, &(struct settling){ .wait_ms = 10000 }, sink, 1);
    layer_query(layer, group, sink, 2);
    if (layer_receive(layer, other, 5, sink, 3, &got) == LAYER_OK)
        message_release(got);
    message_release(message);
}

static void hear_told(struct sink *sink)
{
    struct sink_item told;
    while (sink_take(sink, &told)) {
        message_release(told.answer);
        layer_release(told.layer);
    }
}

static void look(struct layer *layer, struct sink *sink)
{
    struct layer_stats stats;
    struct message *got;
    layer_stats(layer, &stats);
    fuzz_require(stats.orphaned_channels == 0 && stats.bus.links_up <= stats.bus.links);
    while (layer_receive(layer, own, 5, sink, 4, &got) == LAYER_OK)
        message_release(got);
    hear_told(sink);
}

/* Closing takes turns of the loop, and timers of the wires that it waits for. */
static void end(struct layer *layer, struct sink *sink, struct owners *owners)
{
    layer_cancel(layer, other, sink, 3);
    layer_cancel(layer, own, sink, 4);
    layer_release(layer);
    for (unsigned i = 0; i < MOST_LEAPS && (i < 2 || uv_loop_alive(&loop)); i++) {
        turn();
        hear_told(sink);
        skipped_ms += i > 0 ? LEAP_MS : 0;
    }
    fuzz_require(!uv_loop_alive(&loop));
    sink_close(sink);
    sink_release(sink);
    owners_destroy(owners);
    for (size_t i = 0; i < wire_count; i++) {
        fuzz_require(wires[i]->closed);
        redisReaderFree(wires[i]->reader);
        mem_free(wires[i]);
    }
    wire_count = 0;
    skipped_ms = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    static bool begun;
    struct layer *layer;
    if (length < 2)
        return 0;
    if (!begun) {
        uv_loop_init(&loop);
        queue_init(&tasks, ignore, NULL);
        begun = true;
    }
    uv_update_time(&loop);
    helpful = bytes[1];
    answers_left = MOST_ANSWERS;
    struct redis_settings *settings = settings_of(bytes[0]);
    struct layer_config config = {
        .expiry_ms = 60000, .group_expiry_ms = 600000, .mailbox_bytes = 100000, .json = settings->json,
        .bus_create = bytes[0] & 1 ? bus_redis_core_create : bus_redis_create, .bus_settings = settings,
    };
    struct owners *owners = owners_create(ignore_close, NULL);
    struct sink *sink = sink_create(ignore, NULL);
    fuzz_require(layer_create(&layer, &config, owners) == LAYER_OK);
    redis_settings_release(settings);
    turn();
    use(layer, sink);
    turn();
    for (size_t at = 2; at + 2 < length;) {
        size_t piece = bytes[at + 1] < length - at - 2 ? bytes[at + 1] : length - at - 2;
        if (wire_count > 0)
            hear(wires[bytes[at] % wire_count], bytes + at + 2, piece);
        turn();
        at += 2 + piece;
    }
    look(layer, sink);
    end(layer, sink, owners);
    return 0;
}
