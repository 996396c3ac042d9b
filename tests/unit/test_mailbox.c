/* channellayer/mailbox.h: order, bounds, overflow policies, expiry, and memory that is given back. */
#include "tests/unit/layer_fixture.h"

#include "channellayer/mailbox.h"

enum { BYTES = 100 };

static int push(struct mailbox *mailbox, const char *text, uint64_t expires_at)
{
    struct message *message = message_of(text);
    int result = mailbox_push(mailbox, message, expires_at);
    message_release(message);
    return result;
}

static int offer(struct mailbox *mailbox, enum overflow overflow, const char *text, const char *key, size_t *dropped)
{
    struct message *message = keyed_message(text, key);
    int result = mailbox_offer(mailbox, overflow, message, 100, dropped);
    message_release(message);
    return result;
}

static void assert_takes(struct mailbox *mailbox, const char *text)
{
    struct message *message = mailbox_take(mailbox);
    assert_non_null(message);
    assert_int_equal(message->length, strlen(text));
    assert_memory_equal(message->bytes, text, message->length);
    message_release(message);
}

static void assert_empty(struct mailbox *mailbox)
{
    assert_null(mailbox_take(mailbox));
    assert_int_equal(mailbox->count, 0);
    assert_int_equal(mailbox->bytes, 0);
}

static void test_first_in_first_out_around_the_ring(void **state)
{
    (void)state;
    struct mailbox mailbox;
    char text[32];
    int in = 0, out = 0;
    mailbox_init(&mailbox, 20, 1000);
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < 3 + round % 5 && mailbox.count < 20; i++) {
            snprintf(text, sizeof text, "%d", in++);
            assert_int_equal(push(&mailbox, text, 100), LAYER_OK);
        }
        for (int i = 0; i < 4 && out < in; i++) {
            snprintf(text, sizeof text, "%d", out++);
            assert_takes(&mailbox, text);
        }
    }
    while (out < in) {
        snprintf(text, sizeof text, "%d", out++);
        assert_takes(&mailbox, text);
    }
    assert_empty(&mailbox);
    mailbox_deinit(&mailbox);
}

static void test_bounded_in_messages_and_bytes(void **state)
{
    (void)state;
    struct mailbox mailbox;
    mailbox_init(&mailbox, 3, 10);
    assert_int_equal(push(&mailbox, "aaaa", 100), LAYER_OK);
    assert_int_equal(push(&mailbox, "bbbb", 100), LAYER_OK);
    assert_int_equal(push(&mailbox, "ccc", 100), LAYER_FULL); /* 11 bytes */
    assert_int_equal(push(&mailbox, "cc", 100), LAYER_OK);
    assert_int_equal(push(&mailbox, "", 100), LAYER_FULL); /* 4 messages */
    assert_int_equal(mailbox.bytes, 10);
    assert_int_equal(mailbox.count, 3);
    mailbox_deinit(&mailbox);
}

static void test_capacity_nothing(void **state)
{
    (void)state;
    struct mailbox mailbox;
    size_t dropped;
    mailbox_init(&mailbox, 0, BYTES);
    assert_int_equal(push(&mailbox, "a", 100), LAYER_FULL);
    for (enum overflow overflow = 0; overflow < OVERFLOW_COUNT; overflow++) {
        assert_int_equal(offer(&mailbox, overflow, "a", "k", &dropped), LAYER_FULL);
        assert_int_equal(dropped, 1);
    }
    assert_empty(&mailbox);
    mailbox_deinit(&mailbox);
}

static void test_drop_oldest(void **state)
{
    (void)state;
    struct mailbox mailbox;
    size_t dropped;
    mailbox_init(&mailbox, 3, 12);
    const char *texts[] = { "aaaa", "bbbb", "cccc" };
    for (int i = 0; i < 3; i++) {
        assert_int_equal(offer(&mailbox, OVERFLOW_DROP_OLDEST, texts[i], "", &dropped), LAYER_OK);
        assert_int_equal(dropped, 0);
    }
    assert_int_equal(offer(&mailbox, OVERFLOW_DROP_OLDEST, "d", "", &dropped), LAYER_OK);
    assert_int_equal(dropped, 1);
    assert_int_equal(offer(&mailbox, OVERFLOW_DROP_OLDEST, "eeeeeeee", "", &dropped), LAYER_OK);
    assert_int_equal(dropped, 2); /* two make room for its bytes */
    assert_takes(&mailbox, "d");
    assert_takes(&mailbox, "eeeeeeee");
    assert_int_equal(offer(&mailbox, OVERFLOW_DROP_OLDEST, "fffffffffffff", "", &dropped), LAYER_FULL); /* 13 never fit */
    assert_int_equal(dropped, 1);
    assert_empty(&mailbox);
    mailbox_deinit(&mailbox);
}

static void test_drop_newest_and_close(void **state)
{
    (void)state;
    const enum overflow policies[] = { OVERFLOW_DROP_NEWEST, OVERFLOW_CLOSE };
    for (int i = 0; i < 2; i++) {
        struct mailbox mailbox;
        size_t dropped;
        mailbox_init(&mailbox, 1, BYTES);
        assert_int_equal(offer(&mailbox, policies[i], "a", "", &dropped), LAYER_OK);
        assert_int_equal(dropped, 0);
        assert_int_equal(offer(&mailbox, policies[i], "b", "", &dropped), LAYER_FULL);
        assert_int_equal(dropped, 1);
        assert_takes(&mailbox, "a");
        assert_empty(&mailbox);
        mailbox_deinit(&mailbox);
    }
}

static void test_latest_replaces_its_key(void **state)
{
    (void)state;
    struct mailbox mailbox;
    size_t dropped;
    mailbox_init(&mailbox, 3, BYTES);
    offer(&mailbox, OVERFLOW_LATEST, "btc 1", "btc", &dropped);
    offer(&mailbox, OVERFLOW_LATEST, "eth 1", "eth", &dropped);
    offer(&mailbox, OVERFLOW_LATEST, "xrp 1", "xrp", &dropped);
    assert_int_equal(offer(&mailbox, OVERFLOW_LATEST, "eth 2", "eth", &dropped), LAYER_OK);
    assert_int_equal(dropped, 1);
    assert_int_equal(offer(&mailbox, OVERFLOW_LATEST, "ada 1", "ada", &dropped), LAYER_OK); /* no such key: the oldest */
    assert_int_equal(dropped, 1);
    assert_takes(&mailbox, "xrp 1");
    assert_takes(&mailbox, "eth 2");
    assert_takes(&mailbox, "ada 1");
    assert_empty(&mailbox);
    /* Without keys nothing is alike. */
    for (int i = 0; i < 4; i++)
        offer(&mailbox, OVERFLOW_LATEST, i < 3 ? "x" : "y", "", &dropped);
    assert_takes(&mailbox, "x");
    assert_takes(&mailbox, "x");
    assert_takes(&mailbox, "y");
    mailbox_deinit(&mailbox);
}

static void test_expiry(void **state)
{
    (void)state;
    struct mailbox mailbox;
    mailbox_init(&mailbox, 10, BYTES);
    push(&mailbox, "a", 10);
    push(&mailbox, "b", 10);
    push(&mailbox, "c", 11);
    assert_int_equal(mailbox_expire(&mailbox, 9), 0);
    assert_int_equal(mailbox_expire(&mailbox, 10), 2);
    assert_int_equal(mailbox.bytes, 1);
    assert_takes(&mailbox, "c");
    assert_int_equal(mailbox_expire(&mailbox, 100), 0);
    mailbox_deinit(&mailbox);
}

static void test_memory_follows_the_fill(void **state)
{
    (void)state;
    struct mailbox mailbox;
    mailbox_init(&mailbox, 100000, 1000000);
    assert_int_equal(mailbox.size, 0); /* a channel that never got a message has no ring */
    for (int i = 0; i < 1000; i++)
        push(&mailbox, "a", 100);
    assert_int_equal(mailbox.size, 1024);
    for (int i = 0; i < 1000; i++)
        assert_takes(&mailbox, "a");
    assert_int_equal(mailbox.size, 0);
    for (int i = 0; i < 1000; i++)
        push(&mailbox, "a", 100);
    assert_int_equal(mailbox_expire(&mailbox, 100), 1000);
    assert_int_equal(mailbox.size, 0);
    push(&mailbox, "a", 100);
    assert_takes(&mailbox, "a");
    assert_int_equal(mailbox.size, 4); /* a small one is kept */
    mailbox_deinit(&mailbox);
}

static void test_no_memory_changes_nothing(void **state)
{
    (void)state;
    struct mailbox mailbox;
    size_t dropped;
    mailbox_init(&mailbox, 100, BYTES);
    struct message *message = message_of("e");
    mem_fail_at(1);
    assert_int_equal(mailbox_push(&mailbox, message, 100), LAYER_NO_MEMORY);
    mem_fail_at(0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(push(&mailbox, "a", 100), LAYER_OK);
    mem_fail_at(1);
    assert_int_equal(mailbox_offer(&mailbox, OVERFLOW_DROP_OLDEST, message, 100, &dropped), LAYER_NO_MEMORY);
    mem_fail_at(0);
    assert_int_equal(dropped, 1);
    assert_int_equal(mailbox.count, 4);
    assert_int_equal(message->references, 1);
    message_release(message);
    mailbox_deinit(&mailbox);
}

static void test_sizes_that_overflow(void **state)
{
    (void)state;
    char byte = 0;
    assert_null(message_create(&byte, SIZE_MAX, &byte, 1));
    assert_null(message_create(&byte, 1, &byte, SIZE_MAX));
    assert_null(message_create(&byte, SIZE_MAX / 2, &byte, SIZE_MAX / 2));
    message_release(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_in_first_out_around_the_ring),
        cmocka_unit_test(test_bounded_in_messages_and_bytes),
        cmocka_unit_test(test_capacity_nothing),
        cmocka_unit_test(test_drop_oldest),
        cmocka_unit_test(test_drop_newest_and_close),
        cmocka_unit_test(test_latest_replaces_its_key),
        cmocka_unit_test(test_expiry),
        cmocka_unit_test(test_memory_follows_the_fill),
        cmocka_unit_test(test_no_memory_changes_nothing),
        cmocka_unit_test(test_sizes_that_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
