/* The frames between a process and the hub: what is written is read again, and nothing that a peer sends is trusted. */
#include "channellayer/bus/hub_frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/range.h"

enum { SMALL = 512 };

/* frame as bytes, in a block of exactly its size, so that AddressSanitizer sees each byte read behind it. */
static unsigned char *written(const struct hub_frame *frame, size_t *length)
{
    unsigned char head[HUB_HEAD_SIZE + HUB_NAME_LIMIT];
    assert_int_equal(hub_frame_write_head(frame, head), 0);
    *length = hub_frame_size(frame);
    unsigned char *bytes = malloc(*length);
    memcpy(bytes, head, HUB_HEAD_SIZE + frame->name.length);
    if (frame->payload.length > 0)
        memcpy(bytes + HUB_HEAD_SIZE + frame->name.length, frame->payload.bytes, frame->payload.length);
    return bytes;
}

/* Reads length bytes of bytes out of a block of exactly that size. */
static int read_copy(const unsigned char *bytes, size_t length)
{
    struct hub_frame frame;
    size_t taken = 0;
    unsigned char *copy = malloc(length > 0 ? length : 1);
    if (length > 0)
        memcpy(copy, bytes, length);
    int result = hub_frame_read(copy, length, &frame, &taken);
    if (result == 1) {
        assert_uint_in_range(taken, HUB_HEAD_SIZE, length);
        assert_int_equal(hub_frame_size(&frame), taken);
        assert_true(frame.kind >= HUB_HELLO && frame.kind < HUB_KINDS);
        assert_ptr_equal(frame.name.bytes - HUB_HEAD_SIZE, copy);
        assert_ptr_equal(frame.payload.bytes + frame.payload.length, copy + taken);
    }
    free(copy);
    return result;
}

static void check_round(const struct hub_frame *frame)
{
    struct hub_frame again;
    size_t length, taken = 0;
    unsigned char *bytes = written(frame, &length);
    assert_int_equal(hub_frame_read(bytes, length, &again, &taken), 1);
    assert_int_equal(taken, length);
    assert_int_equal(again.kind, frame->kind);
    assert_true(again.number == frame->number);
    assert_int_equal(again.name.length, frame->name.length);
    assert_memory_equal(again.name.bytes, frame->name.bytes, frame->name.length);
    assert_int_equal(again.payload.length, frame->payload.length);
    if (frame->payload.length > 0)
        assert_memory_equal(again.payload.bytes, frame->payload.bytes, frame->payload.length);
    for (size_t part = 0; part < length; part++)
        assert_int_equal(read_copy(bytes, part), 0);
    free(bytes);
}

static void test_every_kind_comes_back(void **state)
{
    char name[HUB_NAME_LIMIT];
    unsigned char payload[SMALL];
    (void)state;
    for (size_t i = 0; i < sizeof name; i++)
        name[i] = (char)(i + 1);
    for (size_t i = 0; i < sizeof payload; i++)
        payload[i] = (unsigned char)(i * 7);
    for (int kind = HUB_HELLO; kind < HUB_KINDS; kind++) {
        check_round(&(struct hub_frame){ .kind = (enum hub_kind)kind, .name = { "", 0 } });
        check_round(&(struct hub_frame){ (enum hub_kind)kind, UINT64_MAX, { name, HUB_NAME_LIMIT }, { NULL, 0 } });
        check_round(&(struct hub_frame){ (enum hub_kind)kind, 0x0102030405060708, { name, 3 }, { payload, SMALL } });
    }
}

/* The layout is the protocol: processes of two versions of Peneus may meet at one hub. */
static void test_the_bytes(void **state)
{
    static const unsigned char wanted[] = { 16, 0, 0, 0, 7, 2, 0x10, 0x32, 0, 0, 0, 0, 0, 0, 'p', 'q', 'a', 'b', 'c', 'd' };
    size_t length;
    (void)state;
    unsigned char *bytes = written(
        &(struct hub_frame){ HUB_SEND, 0x3210, { "pq", 2 }, { (const unsigned char *)"abcd", 4 } }, &length);
    assert_int_equal(length, sizeof wanted);
    assert_memory_equal(bytes, wanted, sizeof wanted);
    free(bytes);
}

static void test_one_after_the_other(void **state)
{
    struct hub_frame frame;
    size_t length, taken;
    (void)state;
    unsigned char *one = written(&(struct hub_frame){ HUB_JOIN, 0, { "g", 1 }, { NULL, 0 } }, &length);
    unsigned char *both = malloc(2 * length);
    memcpy(both, one, length);
    memcpy(both + length, one, length);
    both[length + 4] = HUB_LEAVE;
    assert_int_equal(hub_frame_read(both, 2 * length, &frame, &taken), 1);
    assert_int_equal(frame.kind, HUB_JOIN);
    assert_int_equal(taken, length);
    assert_int_equal(frame.payload.length, 0);
    assert_int_equal(hub_frame_read(both + taken, length, &frame, &taken), 1);
    assert_int_equal(frame.kind, HUB_LEAVE);
    free(both);
    free(one);
}

static int read_with(uint32_t size, unsigned char kind, unsigned char name_length, size_t length)
{
    unsigned char bytes[SMALL] = { 0 };
    for (int i = 0; i < 4; i++)
        bytes[i] = (unsigned char)(size >> 8 * i);
    bytes[4] = kind;
    bytes[5] = name_length;
    return read_copy(bytes, length);
}

static void test_what_cannot_be_is_refused_early(void **state)
{
    (void)state;
    assert_int_equal(read_with(HUB_HEAD_SIZE - 4, HUB_GAP, 0, HUB_HEAD_SIZE), 1);
    for (uint32_t size = 0; size < HUB_HEAD_SIZE - 4; size++)
        assert_int_equal(read_with(size, HUB_GAP, 0, 4), -1); /* less than its own head */
    assert_int_equal(read_with(HUB_FRAME_LIMIT - 4, HUB_GAP, 0, 6), 0);
    assert_int_equal(read_with(HUB_FRAME_LIMIT - 3, HUB_GAP, 0, 4), -1);
    assert_int_equal(read_with(UINT32_MAX, HUB_GAP, 0, 4), -1);
    assert_int_equal(read_with(HUB_HEAD_SIZE - 4, 0, 0, 6), -1);
    assert_int_equal(read_with(HUB_HEAD_SIZE - 4, HUB_KINDS, 0, 6), -1);
    assert_int_equal(read_with(HUB_HEAD_SIZE - 4, 255, 0, 6), -1);
    assert_int_equal(read_with(HUB_HEAD_SIZE - 4, HUB_JOIN, 1, 6), -1); /* the name does not fit */
    assert_int_equal(read_with(HUB_HEAD_SIZE - 4 + 254, HUB_JOIN, 255, 6), -1);
    assert_int_equal(read_with(HUB_HEAD_SIZE - 4 + 255, HUB_JOIN, 255, 6), 0);
}

static void test_garbage(void **state)
{
    unsigned char bytes[SMALL];
    uint32_t number = 1;
    (void)state;
    for (int round = 0; round < 20000; round++) {
        size_t length = (size_t)(round % 64);
        for (size_t i = 0; i < length; i++) {
            number = number * 1664525 + 1013904223;
            bytes[i] = (unsigned char)(number >> 24);
        }
        if (round % 2 == 0 && length >= 6) { /* half of it looks right at first */
            memset(bytes + 1, 0, 3);
            bytes[4] = (unsigned char)(bytes[4] % (HUB_KINDS + 1));
            bytes[5] %= 32;
        }
        (void)read_copy(bytes, length);
    }
}

static void test_too_long_is_not_written(void **state)
{
    static const char name[HUB_NAME_LIMIT + 1] = { 0 };
    unsigned char head[HUB_HEAD_SIZE + HUB_NAME_LIMIT];
    const unsigned char *nowhere = (const unsigned char *)name;
    (void)state;
    memset(head, 'x', sizeof head);
    const size_t room = HUB_FRAME_LIMIT - HUB_HEAD_SIZE;
    assert_int_equal(hub_frame_write_head(&(struct hub_frame){ HUB_JOIN, 0, { name, sizeof name }, { NULL, 0 } }, head), -1);
    assert_int_equal(hub_frame_write_head(&(struct hub_frame){ HUB_SEND, 0, { name, 0 }, { nowhere, room + 1 } }, head), -1);
    assert_int_equal(hub_frame_write_head(&(struct hub_frame){ HUB_SEND, 0, { name, 1 }, { nowhere, room } }, head), -1);
    assert_int_equal(hub_frame_write_head(&(struct hub_frame){ HUB_SEND, 0, { name, 0 }, { nowhere, SIZE_MAX } }, head), -1);
    assert_int_equal(head[0], 'x');
    assert_int_equal(hub_frame_write_head(&(struct hub_frame){ HUB_SEND, 0, { name, 0 }, { nowhere, room } }, head), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind_comes_back),
        cmocka_unit_test(test_the_bytes),
        cmocka_unit_test(test_one_after_the_other),
        cmocka_unit_test(test_what_cannot_be_is_refused_early),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_too_long_is_not_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
