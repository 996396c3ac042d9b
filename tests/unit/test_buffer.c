/* Bytes that grow at the end and are taken from the front, against a plain array as the model. */
#include "protocol_fixture.h"

static void holds(const struct buffer *buffer, const char *expected)
{
    assert_int_equal(buffer_length(buffer), strlen(expected));
    if (*expected != 0)
        assert_memory_equal(buffer_bytes(buffer), expected, strlen(expected));
}

static void test_append_and_consume(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer);
    holds(&buffer, "");
    assert_non_null(buffer_reserve(&buffer, 0));
    assert_int_equal(buffer_append_string(&buffer, "hello "), 0);
    assert_int_equal(buffer_append(&buffer, "world!!", 5), 0);
    assert_int_equal(buffer_append(&buffer, NULL, 0), 0);
    holds(&buffer, "hello world");
    buffer_consume(&buffer, 6);
    holds(&buffer, "world");
    buffer_consume(&buffer, 5);
    holds(&buffer, "");
    assert_int_equal(buffer.start, 0);
    buffer_deinit(&buffer);
    assert_null(buffer.bytes);
    assert_int_equal(buffer_append_string(&buffer, "again"), 0);
    holds(&buffer, "again");
    buffer_deinit(&buffer);
}

static void test_reserve_gives_room(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer);
    assert_int_equal(buffer_append_string(&buffer, "abc"), 0);
    unsigned char *room = buffer_reserve(&buffer, 100000);
    assert_non_null(room);
    memset(room, 'x', 100000);
    buffer.end += 100000;
    assert_int_equal(buffer_length(&buffer), 100003);
    assert_memory_equal(buffer_bytes(&buffer), "abcx", 4);
    assert_null(buffer_reserve(&buffer, SIZE_MAX / 2));
    assert_int_equal(buffer_length(&buffer), 100003);
    buffer_deinit(&buffer);
}

/* Room at the front that is smaller than what must move there. */
static void test_append_does_not_move_over_itself(void **state)
{
    (void)state;
    struct buffer buffer;
    unsigned char bytes[250];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)i;
    buffer_init(&buffer);
    assert_int_equal(buffer_append(&buffer, bytes, 200), 0);
    buffer_consume(&buffer, 50);
    assert_int_equal(buffer_append(&buffer, bytes + 200, 50), 0);
    assert_int_equal(buffer_append(&buffer, bytes, 50), 0);
    assert_memory_equal(buffer_bytes(&buffer), bytes + 50, 200);
    assert_memory_equal(buffer_bytes(&buffer) + 200, bytes, 50);
    buffer_deinit(&buffer);
}

/* A queue that is never longer than 1000 bytes must not need much more than that, however much goes through it. */
static void test_a_moving_window_stays_small(void **state)
{
    (void)state;
    struct buffer buffer;
    unsigned char in = 0, out = 0;
    buffer_init(&buffer);
    for (unsigned round = 0; round < 20000; round++) {
        unsigned char piece[97];
        size_t length = round * 7919u % sizeof piece;
        for (size_t i = 0; i < length; i++)
            piece[i] = in++;
        assert_int_equal(buffer_append(&buffer, piece, length), 0);
        size_t take = buffer_length(&buffer) > 900 ? buffer_length(&buffer) - round % 50 : round % 3;
        if (take > buffer_length(&buffer))
            take = buffer_length(&buffer);
        for (size_t i = 0; i < take; i++)
            assert_int_equal(buffer_bytes(&buffer)[i], out++);
        buffer_consume(&buffer, take);
        assert_true(buffer.capacity <= 4096);
    }
    buffer_deinit(&buffer);
}

static bool grow_until_it_fails(void)
{
    struct buffer buffer;
    bool noticed = false;
    buffer_init(&buffer);
    for (unsigned i = 0; i < 40 && !noticed; i++) {
        size_t before = buffer_length(&buffer);
        if (buffer_append(&buffer, "0123456789abcdef0123456789abcdef", 32) != 0) {
            noticed = true;
            assert_int_equal(buffer_length(&buffer), before);
        }
        if (before > 0)
            assert_int_equal(buffer_bytes(&buffer)[before - 1], 'f');
    }
    buffer_deinit(&buffer);
    return noticed;
}

static void test_failing_memory(void **state)
{
    (void)state;
    fail_every_allocation(grow_until_it_fails);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append_and_consume),
        cmocka_unit_test(test_reserve_gives_room),
        cmocka_unit_test(test_append_does_not_move_over_itself),
        cmocka_unit_test(test_a_moving_window_stays_small),
        cmocka_unit_test(test_failing_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
