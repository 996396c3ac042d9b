/* outbox.[ch]: order of own bytes and broadcasts, the limit, and each policy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "server/outbox.h"
#include "tests/unit/range.h"

enum { HEADER = 2, WEIGHT = HEADER + 1 + 64 }; /* of a broadcast of one byte */

static uint64_t dropped_labels[256];
static size_t dropped;
static size_t destroyed;

static void on_dropped(void *context, uint64_t label, uint64_t count)
{
    (void)context;
    assert_int_equal(count, 1);
    dropped_labels[dropped++] = label;
}

static void on_destroyed(void *context)
{
    (void)context;
    destroyed++;
}

static const struct broadcast_callbacks callbacks = { on_dropped, on_destroyed };

static struct broadcast *of_text(const char *text, const char *key, enum broadcast_policy policy)
{
    return broadcast_create(true, (const unsigned char *)text, strlen(text), key, strlen(key), policy, &callbacks, NULL);
}

static enum outbox_result offer(struct outbox *outbox, const char *text, const char *key, enum broadcast_policy policy,
                                uint64_t label, size_t limit)
{
    struct broadcast *broadcast = of_text(text, key, policy);
    enum outbox_result result = outbox_offer(outbox, broadcast, label, limit);
    broadcast_release(broadcast);
    return result;
}

static int setup(void **state)
{
    static struct outbox outbox;
    outbox_init(&outbox);
    dropped = destroyed = 0;
    *state = &outbox;
    return 0;
}

static int teardown(void **state)
{
    outbox_deinit(*state);
    return 0;
}

/* Takes everything out, step bytes at a time, as text: a frame's header is two bytes, shown as "<". */
static const char *drain(struct outbox *outbox, size_t step)
{
    static char text[4096];
    size_t length = 0;
    while (outbox_length(outbox) > 0) {
        uv_buf_t pieces[3];
        unsigned count = outbox_pieces(outbox, pieces, 3);
        size_t left = step;
        assert_true(count > 0);
        for (unsigned i = 0; i < count && left > 0; i++) {
            size_t part = pieces[i].len < left ? pieces[i].len : left;
            assert_true(pieces[i].len > 0);
            memcpy(text + length, pieces[i].base, part);
            length += part;
            left -= part;
        }
        outbox_consume(outbox, step - left);
    }
    text[length] = '\0';
    size_t shown = 0;
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)text[i] == 0x81)
            text[shown++] = '<', i++;
        else
            text[shown++] = text[i];
    }
    text[shown] = '\0';
    assert_int_equal(outbox->count, 0);
    assert_int_equal(outbox->weight, 0);
    assert_int_equal(outbox->marked, 0);
    assert_null(outbox->own.bytes);
    return text;
}

static void fill(struct outbox *outbox)
{
    buffer_append_string(&outbox->own, "one");
    offer(outbox, "a", "", BROADCAST_DROP_OLDEST, 1, SIZE_MAX);
    offer(outbox, "b", "", BROADCAST_DROP_OLDEST, 2, SIZE_MAX);
    buffer_append_string(&outbox->own, "two");
    buffer_append_string(&outbox->own, "three");
    offer(outbox, "c", "", BROADCAST_DROP_OLDEST, 3, SIZE_MAX);
    buffer_append_string(&outbox->own, "four");
}

static void test_order(void **state)
{
    struct outbox *outbox = *state;
    for (size_t step = 1; step < 40; step++) {
        fill(outbox);
        assert_int_equal(outbox_length(outbox), 3 + 3 + 3 + 8 + 3 + 4);
        assert_string_equal(drain(outbox, step), "one<a<btwothree<cfour");
    }
    assert_int_equal(dropped, 0);
    assert_int_equal(destroyed, 39 * 3);
}

static void test_drop_oldest(void **state)
{
    struct outbox *outbox = *state;
    fill(outbox);
    assert_int_equal(offer(outbox, "d", "", BROADCAST_DROP_OLDEST, 4, 3 * WEIGHT), OUTBOX_OK);
    assert_int_equal(offer(outbox, "e", "", BROADCAST_DROP_OLDEST, 5, 2 * WEIGHT), OUTBOX_OK);
    assert_int_equal(dropped, 3);
    assert_int_equal(dropped_labels[0], 1);
    assert_int_equal(dropped_labels[1], 2);
    assert_int_equal(dropped_labels[2], 3);
    assert_string_equal(drain(outbox, 5), "onetwothreefour<d<e");
}

/* A frame of which a part has left must go on. */
static void test_what_is_begun_stays(void **state)
{
    struct outbox *outbox = *state;
    fill(outbox);
    outbox_consume(outbox, 3 + 1);
    assert_int_equal(offer(outbox, "d", "", BROADCAST_DROP_OLDEST, 4, 2 * WEIGHT), OUTBOX_OK);
    assert_int_equal(dropped, 2);
    assert_int_equal(dropped_labels[0], 2);
    assert_int_equal(dropped_labels[1], 3);
    assert_int_equal(offer(outbox, "e", "", BROADCAST_DROP_OLDEST, 5, WEIGHT), OUTBOX_DROPPED); /* d goes, the begun one stays */
    assert_int_equal(dropped_labels[2], 4);
    assert_int_equal(dropped_labels[3], 5);
    uv_buf_t piece;
    assert_int_equal(outbox_pieces(outbox, &piece, 1), 1);
    assert_int_equal(piece.len, 2);
    assert_memory_equal(piece.base, "\x01" "a", 2);
    outbox_consume(outbox, 2);
    assert_string_equal(drain(outbox, 100), "twothreefour");
}

static void test_drop_newest_and_close(void **state)
{
    struct outbox *outbox = *state;
    fill(outbox);
    assert_int_equal(offer(outbox, "d", "", BROADCAST_DROP_NEWEST, 4, 3 * WEIGHT), OUTBOX_DROPPED);
    assert_int_equal(offer(outbox, "d", "", BROADCAST_CLOSE, 5, 3 * WEIGHT), OUTBOX_CLOSE);
    assert_int_equal(dropped, 2);
    assert_int_equal(dropped_labels[0], 4);
    assert_int_equal(dropped_labels[1], 5);
    assert_int_equal(offer(outbox, "d", "", BROADCAST_DROP_NEWEST, 4, 4 * WEIGHT), OUTBOX_OK);
    assert_string_equal(drain(outbox, 100), "one<a<btwothree<cfour<d");
}

static void test_clear(void **state)
{
    struct outbox *outbox = *state;
    fill(outbox);
    outbox_consume(outbox, 3 + 1);
    outbox_clear(outbox);
    assert_int_equal(dropped, 2);
    assert_int_equal(outbox->count, 1);
    outbox_consume(outbox, 2);
    assert_string_equal(drain(outbox, 100), "twothreefour");
}

static void test_latest(void **state)
{
    struct outbox *outbox = *state;
    size_t limit = 3 * (WEIGHT + 1); /* the key is not weighed: it is the broadcast's, not the socket's */
    offer(outbox, "a1", "A", BROADCAST_LATEST, 1, limit);
    buffer_append_string(&outbox->own, "own");
    offer(outbox, "b1", "B", BROADCAST_LATEST, 2, limit);
    offer(outbox, "c1", "C", BROADCAST_LATEST, 3, limit);
    assert_int_equal(offer(outbox, "b2", "B", BROADCAST_LATEST, 4, limit), OUTBOX_OK);
    assert_int_equal(dropped, 1);
    assert_int_equal(dropped_labels[0], 2);
    assert_int_equal(offer(outbox, "d1", "D", BROADCAST_LATEST, 5, limit), OUTBOX_OK); /* no other of its key: the oldest goes */
    assert_int_equal(dropped_labels[1], 1);
    assert_int_equal(offer(outbox, "x1", "", BROADCAST_LATEST, 6, limit), OUTBOX_OK); /* without key: the oldest goes */
    assert_int_equal(dropped_labels[2], 3);
    assert_string_equal(drain(outbox, 4), "own<b2<d1<x1");
}

/* A message of which a part has left is not replaced: the next one of its key is. */
static void test_latest_leaves_what_is_begun(void **state)
{
    struct outbox *outbox = *state;
    size_t limit = 3 * (WEIGHT + 1);
    offer(outbox, "a1", "A", BROADCAST_LATEST, 1, limit);
    outbox_consume(outbox, 1);
    offer(outbox, "b1", "B", BROADCAST_LATEST, 2, limit);
    offer(outbox, "a2", "A", BROADCAST_LATEST, 3, limit);
    assert_int_equal(offer(outbox, "a3", "A", BROADCAST_LATEST, 4, limit), OUTBOX_OK);
    assert_int_equal(dropped, 1);
    assert_int_equal(dropped_labels[0], 3);
    assert_int_equal(offer(outbox, "c1", "C", BROADCAST_LATEST, 5, limit), OUTBOX_OK);
    assert_int_equal(dropped_labels[1], 2);
    uv_buf_t piece;
    assert_int_equal(outbox_pieces(outbox, &piece, 1), 1);
    assert_memory_equal(piece.base, "\x02" "a1", 3);
    outbox_consume(outbox, 3);
    assert_string_equal(drain(outbox, 100), "<a3<c1");
}

/* tests/unit/meson.build has the linker send calls of broadcast_same_key() here. */
bool __real_broadcast_same_key(const struct broadcast *a, const struct broadcast *b);
bool __wrap_broadcast_same_key(const struct broadcast *a, const struct broadcast *b);

static size_t comparisons;

bool __wrap_broadcast_same_key(const struct broadcast *a, const struct broadcast *b)
{
    comparisons++;
    return __real_broadcast_same_key(a, b);
}

/* What one message costs does not grow with what waits, whether something has its key, nothing has it, or everything has one key. */
static void test_latest_walks_nothing(void **state)
{
    enum { WAITING = 4096, FEW = 8 };
    struct outbox *outbox = *state;
    size_t limit = WAITING * (WEIGHT + 7);
    unsigned seed = 11;
    for (unsigned keys = WAITING; keys > 0; keys = keys > 1 ? 1 : 0) {
        char text[16], key[16];
        for (unsigned i = 0; i < WAITING; i++) {
            snprintf(text, sizeof text, "%08u", i);
            snprintf(key, sizeof key, "%08u", i % keys);
            assert_int_equal(offer(outbox, text, key, BROADCAST_LATEST, 0, limit), OUTBOX_OK);
        }
        dropped = comparisons = 0;
        for (unsigned i = 0; i < WAITING; i++) {
            dropped = 0;
            snprintf(key, sizeof key, i % 2 ? "%08u" : "other %u", i % 2 ? (unsigned)rand_r(&seed) % keys : i);
            assert_int_equal(offer(outbox, text, key, BROADCAST_LATEST, 0, limit), OUTBOX_OK);
            assert_int_equal(dropped, 1);
        }
        assert_int_equal(outbox->count, WAITING);
        assert_uint_in_range(comparisons, WAITING / 2, FEW * WAITING);
        outbox_deinit(outbox);
    }
}

static struct broadcast *compressed_of(const char *text, const char *key, const char *compressed)
{
    struct broadcast *plain = of_text(text, key, BROADCAST_LATEST);
    struct broadcast *result = broadcast_compressed(plain, (const unsigned char *)compressed, strlen(compressed));
    broadcast_release(plain); /* the compressed one has it still */
    return result;
}

/* A compressed form stands in for its message: key, policy, who is told of drops, and when it is destroyed. */
static void test_compressed(void **state)
{
    struct outbox *outbox = *state;
    struct broadcast *first = compressed_of("long text", "A", "lt"), *second = of_text("2", "A", BROADCAST_LATEST);
    assert_int_equal(destroyed, 0);
    assert_int_equal(first->payload_length, 9);
    assert_int_equal(first->length, HEADER + 2);
    assert_memory_equal(first->bytes, "\xc1\x02lt", 4);
    assert_true(broadcast_same_key(first, second));
    assert_memory_equal(broadcast_payload(second), "2", 1);
    offer(outbox, "x", "X", BROADCAST_LATEST, 1, SIZE_MAX);
    assert_int_equal(outbox_offer(outbox, first, 2, SIZE_MAX), OUTBOX_OK);
    broadcast_release(first);
    assert_int_equal(outbox_offer(outbox, second, 3, 2 * WEIGHT), OUTBOX_OK);
    broadcast_release(second);
    assert_int_equal(dropped, 1);
    assert_int_equal(dropped_labels[0], 2);
    assert_int_equal(destroyed, 1);
    assert_string_equal(drain(outbox, 100), "<x<2");
    assert_int_equal(destroyed, 3);
    mem_fail_at(2);
    struct broadcast *plain = of_text("p", "", BROADCAST_CLOSE);
    assert_null(broadcast_compressed(plain, (const unsigned char *)"c", 1));
    mem_fail_at(0);
    broadcast_release(plain);
    assert_int_equal(destroyed, 4);
}

static void test_larger_than_the_limit(void **state)
{
    struct outbox *outbox = *state;
    assert_int_equal(offer(outbox, "a", "", BROADCAST_DROP_NEWEST, 1, 1), OUTBOX_OK); /* alone it goes */
    assert_int_equal(offer(outbox, "b", "", BROADCAST_DROP_NEWEST, 2, 1), OUTBOX_DROPPED);
    assert_int_equal(offer(outbox, "c", "", BROADCAST_DROP_OLDEST, 3, 1), OUTBOX_OK);
    assert_string_equal(drain(outbox, 100), "<c");
}

static void test_take(void **state)
{
    struct outbox *outbox = *state;
    struct buffer bytes;
    struct broadcast *broadcast;
    uv_buf_t rest;
    buffer_init(&bytes);
    fill(outbox);
    assert_int_equal(outbox_take(outbox, &bytes, &broadcast, &rest), 0);
    assert_null(broadcast);
    assert_int_equal(buffer_length(&bytes), 3);
    outbox_consume(outbox, 1);
    assert_int_equal(outbox_take(outbox, &bytes, &broadcast, &rest), 0);
    assert_int_equal(rest.len, 2);
    assert_memory_equal(rest.base, "\x01" "a", 2);
    broadcast_release(broadcast);
    assert_string_equal(drain(outbox, 100), "<btwothree<cfour");
    buffer_append_string(&outbox->own, "five");
    buffer_deinit(&bytes);
    assert_int_equal(outbox_take(outbox, &bytes, &broadcast, &rest), 0);
    assert_null(broadcast);
    assert_int_equal(buffer_length(&bytes), 4);
    assert_int_equal(outbox_length(outbox), 0);
    buffer_deinit(&bytes);
}

/* Random operations against a plain list of what must come out. */
static void test_against_a_model(void **state)
{
    struct outbox *outbox = *state;
    unsigned seed = 7;
    for (int round = 0; round < 300; round++) {
        char expected[4096] = "";
        for (int i = 0; i < 40; i++) {
            char text[16];
            snprintf(text, sizeof text, "%d,", rand_r(&seed) % 100);
            if (rand_r(&seed) % 2) {
                buffer_append_string(&outbox->own, text);
                strcat(expected, text);
            } else {
                assert_int_equal(offer(outbox, text, "", BROADCAST_DROP_NEWEST, 0, SIZE_MAX), OUTBOX_OK);
                strcat(strcat(expected, "<"), text);
            }
        }
        assert_string_equal(drain(outbox, 1 + (size_t)rand_r(&seed) % 30), expected);
    }
}

/* A message of the application's that is still being compressed. */
static struct broadcast *put_unsettled(struct outbox *outbox, const char *text)
{
    struct broadcast *message = broadcast_create_own(true, false, (const unsigned char *)text, strlen(text));
    message->unsettled = true;
    assert_int_equal(outbox_put(outbox, message), 0);
    broadcast_release(message); /* the outbox has it */
    return message;
}

static void settle(struct outbox *outbox, struct broadcast *message, const char *instead)
{
    message->unsettled = false;
    message->instead = instead != NULL ? broadcast_create_own(true, false, (const unsigned char *)instead, strlen(instead)) : NULL;
    outbox_settle(outbox);
}

/* Nothing leaves from the gate on; everything keeps its place; what is behind may still be dropped. */
static void test_gate(void **state)
{
    struct outbox *outbox = *state;
    uv_buf_t pieces[10];
    fill(outbox); /* one<a<btwothree<cfour */
    struct broadcast *first = put_unsettled(outbox, "a long message"), *second = put_unsettled(outbox, "as it is");
    buffer_append_string(&outbox->own, "five");
    struct broadcast *third = put_unsettled(outbox, "third");
    offer(outbox, "d", "D", BROADCAST_LATEST, 4, SIZE_MAX);
    buffer_append_string(&outbox->own, "six");
    assert_int_equal(outbox_ready(outbox), 3 + 3 + 3 + 8 + 3 + 4);
    assert_int_equal(outbox_pieces(outbox, pieces, 10), 6);
    assert_ptr_equal(outbox_gate(outbox), first);
    assert_int_equal(offer(outbox, "e", "D", BROADCAST_LATEST, 5, 4 * WEIGHT), OUTBOX_OK); /* from behind the gate */
    assert_int_equal(offer(outbox, "f", "", BROADCAST_DROP_OLDEST, 6, 4 * WEIGHT), OUTBOX_OK); /* from before it */
    assert_int_equal(dropped, 2);
    assert_int_equal(dropped_labels[0], 4);
    assert_int_equal(dropped_labels[1], 1);
    assert_int_equal(outbox_ready(outbox), 3 + 3 + 8 + 3 + 4);
    outbox_consume(outbox, 3 + 3 + 8 + 3 + 1);
    assert_int_equal(outbox_ready(outbox), 3);
    outbox_consume(outbox, 3);
    assert_int_equal(outbox_ready(outbox), 0);
    assert_int_equal(outbox_pieces(outbox, pieces, 10), 0);
    settle(outbox, second, NULL);
    assert_ptr_equal(outbox_gate(outbox), first);
    assert_int_equal(outbox_ready(outbox), 0);
    settle(outbox, first, "short");
    assert_ptr_equal(outbox_gate(outbox), third);
    assert_int_equal(outbox_ready(outbox), 7 + 10 + 4);
    assert_int_equal(outbox_length_own(outbox), 7 + 10 + 4 + 7 + 3);
    settle(outbox, third, "3");
    assert_false(outbox_is_shut(outbox));
    assert_int_equal(outbox_ready(outbox), outbox_length(outbox));
    assert_string_equal(drain(outbox, 4), "<short<as it isfive<3six<e<f");
    put_unsettled(outbox, "the socket goes");
    outbox_deinit(outbox);
    assert_int_equal(outbox_length(outbox), 0);
}

/* A stand-in can be replaced, dropped at the gate and behind it, and what it stands for takes its place, and its weight. */
static void test_stand_in(void **state)
{
    struct outbox *outbox = *state;
    struct broadcast *message = of_text("a long message", "A", BROADCAST_LATEST), *stand_in = broadcast_stand_in(message);
    assert_int_equal(outbox_offer(outbox, stand_in, 1, SIZE_MAX), OUTBOX_OK);
    offer(outbox, "x", "X", BROADCAST_LATEST, 2, SIZE_MAX);
    assert_int_equal(outbox_offer(outbox, stand_in, 3, SIZE_MAX), OUTBOX_OK); /* never so in practice */
    offer(outbox, "y", "Y", BROADCAST_LATEST, 4, SIZE_MAX);
    assert_int_equal(outbox_ready(outbox), 0);
    assert_int_equal(offer(outbox, "a", "A", BROADCAST_LATEST, 5, outbox->weight), OUTBOX_OK); /* drops two: a stand-in weighs little */
    assert_int_equal(dropped, 2);
    assert_int_equal(dropped_labels[0], 1);
    assert_int_equal(dropped_labels[1], 3);
    assert_false(outbox_is_shut(outbox));
    assert_string_equal(drain(outbox, 100), "<x<y<a");
    assert_int_equal(outbox_offer(outbox, stand_in, 6, SIZE_MAX), OUTBOX_OK);
    offer(outbox, "z", "", BROADCAST_DROP_OLDEST, 7, SIZE_MAX);
    stand_in->instead = broadcast_compressed(message, (const unsigned char *)"short", 5);
    stand_in->unsettled = false;
    assert_int_equal(outbox_ready(outbox), 0);
    outbox_settle(outbox);
    assert_int_equal(outbox->weight, HEADER + 5 + 64 + WEIGHT);
    assert_memory_equal(outbox->entries[outbox->oldest].broadcast->bytes, "\xc1\x05short", 7);
    assert_int_equal(offer(outbox, "b", "A", BROADCAST_LATEST, 8, 2 * WEIGHT), OUTBOX_OK); /* it has the message's key */
    assert_int_equal(dropped_labels[2], 6);
    assert_string_equal(drain(outbox, 100), "<z<b");
    broadcast_release(stand_in);
    size_t before = destroyed;
    broadcast_release(message);
    assert_int_equal(destroyed, before + 1);
}

struct model_entry {
    char text[16];
    char key[4];
    uint64_t label;
    bool frame;
    struct broadcast *own;  /* not NULL: the application's own, which waits until it is settled */
    bool unsettled;
};

/* Everything that waits, in order: own texts and frames. begun: of the first one, which is a frame. */
struct model {
    struct model_entry entries[256];
    size_t count;
    size_t weight;
    bool begun;
};

static void model_remove(struct model *model, size_t n)
{
    if (model->entries[n].frame && model->entries[n].own == NULL)
        model->weight -= strlen(model->entries[n].text) + HEADER + 64;
    memmove(&model->entries[n], &model->entries[n + 1], (--model->count - n) * sizeof model->entries[0]);
}

/* The first frame that may be dropped, of key where that is not NULL; count: none. */
static size_t model_find(const struct model *model, const char *key)
{
    size_t n = model->begun ? 1 : 0;
    while (n < model->count && (!model->entries[n].frame || model->entries[n].own != NULL || (key != NULL && strcmp(model->entries[n].key, key) != 0)))
        n++;
    return n;
}

static void model_offer(struct model *model, const char *text, const char *key, enum broadcast_policy policy, uint64_t label, size_t limit)
{
    size_t weight = strlen(text) + HEADER + 64;
    while (model->weight > 0 && model->weight + weight > limit) {
        size_t n = policy == BROADCAST_LATEST && key[0] != '\0' ? model_find(model, key) : model->count;
        if (n == model->count)
            n = model_find(model, NULL);
        if (n == model->count || policy == BROADCAST_DROP_NEWEST) {
            assert_int_equal(dropped_labels[dropped++], label);
            return;
        }
        assert_int_equal(dropped_labels[dropped++], model->entries[n].label);
        model_remove(model, n);
    }
    struct model_entry *entry = &model->entries[model->count++];
    *entry = (struct model_entry){ .label = label, .frame = true };
    strcpy(entry->text, text);
    strcpy(entry->key, key);
    model->weight += weight;
}

/* Lets the first thing leave: own bytes as a whole, of a frame its first byte, or what is left of it. */
static void let_leave(struct outbox *outbox, struct model *model)
{
    uv_buf_t piece;
    if (model->entries[0].unsettled) {
        assert_int_equal(outbox_pieces(outbox, &piece, 1), 0);
        return;
    }
    assert_int_equal(outbox_pieces(outbox, &piece, 1), 1);
    struct model_entry *first = &model->entries[0];
    size_t length = strlen(first->text) + (first->frame ? HEADER : 0);
    assert_true(piece.len + (model->begun ? 1 : 0) >= length);
    assert_memory_equal(piece.base + piece.len - (first->frame ? strlen(first->text) : piece.len), first->text, strlen(first->text));
    if (first->frame && !model->begun) {
        model->begun = true;
        outbox_consume(outbox, 1);
        return;
    }
    outbox_consume(outbox, length - (model->begun ? 1 : 0));
    model->begun = false;
    model_remove(model, 0);
}

/* Settles one of the application's own messages, not always the first one: as another text, or as it is. */
static void settle_one(struct outbox *outbox, struct model *model, unsigned *seed)
{
    size_t skip = (size_t)rand_r(seed) % 3;
    for (size_t n = 0; n < model->count; n++) {
        struct model_entry *entry = &model->entries[n];
        if (!entry->unsettled || skip-- > 0)
            continue;
        char text[16];
        snprintf(text, sizeof text, "%d:", rand_r(seed) % 100000);
        bool other = rand_r(seed) % 2;
        settle(outbox, entry->own, other ? text : NULL);
        if (other)
            strcpy(entry->text, text);
        entry->unsettled = false;
        return;
    }
}

/* Bytes before the first message that is not settled. */
static size_t model_ready(const struct model *model)
{
    size_t ready = 0;
    for (size_t n = 0; n < model->count && !model->entries[n].unsettled; n++)
        ready += strlen(model->entries[n].text) + (model->entries[n].frame ? HEADER : 0);
    return ready - (model->begun ? 1 : 0);
}

/* Every policy, with and without keys, and the application's own messages, in random order, against a plain list. */
static void test_policies_against_a_model(void **state)
{
    static const enum broadcast_policy policies[] = { BROADCAST_LATEST, BROADCAST_LATEST, BROADCAST_DROP_OLDEST, BROADCAST_DROP_NEWEST };
    struct outbox *outbox = *state;
    unsigned seed = 3;
    for (int round = 0; round < 200; round++) {
        struct model model = { 0 };
        size_t limit = (size_t)(1 + rand_r(&seed) % 40) * WEIGHT;
        for (uint64_t label = 1; label < 250; label++) {
            char text[16], key[4] = "";
            snprintf(text, sizeof text, "%d,", rand_r(&seed) % 1000);
            int what = rand_r(&seed) % 10;
            if (what == 0) {
                buffer_append_string(&outbox->own, text);
                model.entries[model.count] = (struct model_entry){ .label = 0 };
                strcpy(model.entries[model.count++].text, text);
            } else if (what == 1 && model.count > 0) {
                let_leave(outbox, &model);
            } else if (what == 2) {
                struct model_entry *entry = &model.entries[model.count++];
                *entry = (struct model_entry){ .frame = true, .unsettled = true, .own = put_unsettled(outbox, text) };
                strcpy(entry->text, text);
            } else if (what == 3) {
                settle_one(outbox, &model, &seed);
            } else {
                enum broadcast_policy policy = policies[rand_r(&seed) % 4];
                if (rand_r(&seed) % 4 > 0)
                    snprintf(key, sizeof key, "%d", rand_r(&seed) % 20);
                dropped = 0;
                offer(outbox, text, key, policy, label, limit);
                size_t seen = dropped;
                dropped = 0;
                model_offer(&model, text, key, policy, label, limit);
                assert_int_equal(dropped, seen);
            }
            assert_int_equal(outbox->weight, model.weight);
            assert_int_equal(outbox_ready(outbox), model_ready(&model));
        }
        while (model.count > 0) {
            settle_one(outbox, &model, &seed);
            let_leave(outbox, &model);
        }
        assert_int_equal(outbox_length(outbox), 0);
    }
}

static void test_failing_memory(void **state)
{
    struct outbox *outbox = *state;
    for (unsigned long n = 1;; n++) {
        struct broadcast *broadcast = of_text("a", "", BROADCAST_DROP_OLDEST);
        dropped = 0;
        mem_fail_at(n);
        int failed = 0;
        for (int i = 0; i < 6; i++)
            failed += outbox_offer(outbox, broadcast, 9, SIZE_MAX) == OUTBOX_NO_MEMORY;
        mem_fail_at(0);
        broadcast_release(broadcast);
        assert_int_equal(dropped, failed);
        drain(outbox, 1000);
        outbox_deinit(outbox);
        if (failed == 0)
            break;
        assert_true(n < 10);
    }
    mem_fail_at(1);
    assert_null(of_text("a", "", BROADCAST_CLOSE));
    mem_fail_at(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_drop_oldest, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_begun_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(test_drop_newest_and_close, setup, teardown),
        cmocka_unit_test_setup_teardown(test_clear, setup, teardown),
        cmocka_unit_test_setup_teardown(test_latest, setup, teardown),
        cmocka_unit_test_setup_teardown(test_latest_leaves_what_is_begun, setup, teardown),
        cmocka_unit_test_setup_teardown(test_latest_walks_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_compressed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_larger_than_the_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_take, setup, teardown),
        cmocka_unit_test_setup_teardown(test_against_a_model, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gate, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stand_in, setup, teardown),
        cmocka_unit_test_setup_teardown(test_policies_against_a_model, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failing_memory, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
