/* envelope.c, encode.c and bytes.c: names into messages, and out of them. */
#include "tests/unit/layer_fixture.h"

#include "channellayer/bus/envelope.h"
#include "channellayer/encode.h"

static char seen[8192];

static void note(void *context, struct name name)
{
    (void)context;
    size_t length = strlen(seen);
    snprintf(seen + length, sizeof seen - length, "%.*s;", (int)name.length, name.bytes);
}

static const struct name two[] = { { "specific.a!1", 12 }, { "specific.a!2", 12 } };

static void assert_bytes(const struct bytes *bytes, const void *expected, size_t length)
{
    assert_false(bytes->failed);
    assert_int_equal(bytes->length, length);
    assert_memory_equal(bytes->data, expected, length);
}

#define LITERAL(text) (text), sizeof(text) - 1

static void adds(bool json, const char *message, size_t length, size_t count, bool list, const char *expected, size_t size)
{
    struct bytes out = { 0 };
    assert_int_equal(envelope_add(&out, json, message, length, two, count, list), ENVELOPE_OK);
    assert_bytes(&out, expected, size);
    bytes_deinit(&out);
}

static void test_add(void **state)
{
    (void)state;
    adds(true, LITERAL("{\"a\": 1}"), 1, false, LITERAL("{\"a\": 1,\"__asgi_channel__\":\"specific.a!1\"}"));
    adds(true, LITERAL("{\"a\": 1}"), 2, true, LITERAL("{\"a\": 1,\"__asgi_channel__\":[\"specific.a!1\",\"specific.a!2\"]}"));
    adds(true, LITERAL(" { } \n"), 1, true, LITERAL(" { \"__asgi_channel__\":[\"specific.a!1\"]}"));
    adds(false, LITERAL("\x81\xa1" "a\x01"), 1, false, LITERAL("\x82\xa1" "a\x01\xb0__asgi_channel__\xacspecific.a!1"));
    adds(false, LITERAL("\x80"), 2, true, LITERAL("\x81\xb0__asgi_channel__\x92\xacspecific.a!1\xacspecific.a!2"));
}

static void test_add_grows_the_head(void **state)
{
    (void)state;
    char message[64] = "\x8f", expected[128] = "\xde\x00\x10";
    for (int i = 0; i < 15; i++)
        memcpy(message + 1 + 3 * i, "\xa1k\x05", 3);
    memcpy(expected + 3, message + 1, 45);
    memcpy(expected + 48, "\xb0__asgi_channel__\xacspecific.a!1", 30);
    adds(false, message, 46, 1, false, expected, 78);
    struct bytes out = { 0 };
    seen[0] = '\0';
    assert_int_equal(envelope_take(&out, false, expected, 78, note, NULL), ENVELOPE_OK);
    assert_bytes(&out, message, 46);
    assert_string_equal(seen, "specific.a!1;");
    bytes_deinit(&out);
}

static void test_add_malformed(void **state)
{
    (void)state;
    static const char *const wrong[] = { "", "}", "[]", "{", "1" };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct bytes out = { 0 };
        assert_int_equal(envelope_add(&out, true, wrong[i], strlen(wrong[i]), two, 1, false), ENVELOPE_MALFORMED);
        bytes_deinit(&out);
        assert_int_equal(envelope_add(&out, false, "\x91\x01", i == 0 ? 0 : 2, two, 1, false), ENVELOPE_MALFORMED);
        bytes_deinit(&out);
    }
}

static void takes(bool json, const char *message, size_t length, int result, const char *rest, size_t size, const char *names)
{
    struct bytes out = { 0 };
    /* Exactly as long as it is: a read behind its end is seen. */
    char *copy = malloc(length > 0 ? length : 1);
    memcpy(copy, message, length);
    seen[0] = '\0';
    assert_int_equal(envelope_take(&out, json, copy, length, note, NULL), result);
    assert_string_equal(seen, names);
    if (result >= 0)
        assert_bytes(&out, rest, size);
    bytes_deinit(&out);
    free(copy);
}

#define KEY "\"__asgi_channel__\""

static void test_take_json(void **state)
{
    (void)state;
    takes(true, LITERAL("{\"a\":1," KEY ": \"x!1\", \"b\": [2]}"), ENVELOPE_OK, LITERAL("{\"a\":1,\"b\": [2]}"), "x!1;");
    takes(true, LITERAL("{" KEY ":[\"x!1\" , \"y!2\"]}"), ENVELOPE_LIST, LITERAL("{}"), "x!1;y!2;");
    takes(true, LITERAL("{" KEY ":[ ]}"), ENVELOPE_LIST, LITERAL("{}"), "");
    takes(true, LITERAL("{" KEY ":[\"a\\u0062\\\"c\"]}"), ENVELOPE_LIST, LITERAL("{}"), "ab\"c;");
    takes(true, LITERAL("{" KEY ":\"a\", \"t\":{" KEY ":\"no\"}, " KEY ":\"b\"}"), ENVELOPE_OK, LITERAL("{\"t\":{" KEY ":\"no\"}}"), "b;");
    takes(true, LITERAL(" {\"a\":1} "), ENVELOPE_NONE, LITERAL(" {\"a\":1} "), "");
}

static void test_take_json_malformed(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "", "{", "[]", "{\"a\":1", "{\"a\":1}x", "{" KEY ":1}", "{" KEY ":null}", "{" KEY ":{\"a\":1}}", "{" KEY ":[1]}",
        "{" KEY ":[\"a\" \"b\"]}", "{" KEY ":[\"a\",,\"b\"]}", "{" KEY ":[\"a\",]}", "{" KEY ":[\"\\ud800\"]}", "{" KEY ":[[\"a\"]]}",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        takes(true, wrong[i], strlen(wrong[i]), ENVELOPE_MALFORMED, "", 0, "");
}

#define MKEY "\xb0__asgi_channel__"

static void test_take_msgpack(void **state)
{
    (void)state;
    takes(false, LITERAL("\x82\xa1" "a\x01" MKEY "\xa3x!1"), ENVELOPE_OK, LITERAL("\x81\xa1" "a\x01"), "x!1;");
    takes(false, LITERAL("\x82" MKEY "\x92\xa3x!1\xd9\x03y!2\xa1" "a\x01"), ENVELOPE_LIST, LITERAL("\x81\xa1" "a\x01"), "x!1;y!2;");
    takes(false, LITERAL("\x81" MKEY "\xdc\x00\x01\xda\x00\x03x!1"), ENVELOPE_LIST, LITERAL("\x80"), "x!1;");
    takes(false, LITERAL("\x81" MKEY "\xdd\x00\x00\x00\x01\xdb\x00\x00\x00\x03x!1"), ENVELOPE_LIST, LITERAL("\x80"), "x!1;");
    takes(false, LITERAL("\x81\xa1" "a\x01"), ENVELOPE_NONE, LITERAL("\x81\xa1" "a\x01"), "");
}

static void test_take_msgpack_malformed(void **state)
{
    (void)state;
    takes(false, LITERAL("\x81" MKEY "\x05"), ENVELOPE_MALFORMED, "", 0, "");
    takes(false, LITERAL("\x81" MKEY "\xc0"), ENVELOPE_MALFORMED, "", 0, "");
    takes(false, LITERAL("\x81" MKEY "\x81\xa1" "a\xa1" "b"), ENVELOPE_MALFORMED, "", 0, "");
    takes(false, LITERAL("\x81" MKEY "\x92\xa1" "a\x05"), ENVELOPE_MALFORMED, "", 0, "");
    takes(false, LITERAL("\x81" MKEY "\x91\xc4\x01" "a"), ENVELOPE_MALFORMED, "", 0, "");
    takes(false, LITERAL("\x81" MKEY "\xa1" "ax"), ENVELOPE_MALFORMED, "", 0, "");
    /* Every beginning of a good one. */
    static const char good[] = "\x82" MKEY "\x92\xa3x!1\xd9\x03y!2\xa1" "a\x01";
    for (size_t length = 0; length + 1 < sizeof good; length++)
        takes(false, good, length, ENVELOPE_MALFORMED, "", 0, "");
}

static void test_a_name_that_is_too_long(void **state)
{
    (void)state;
    char message[4096] = "{" KEY ":[\"ok\",\"";
    memset(message + strlen(message), 'n', ENVELOPE_NAME + 1);
    strcat(message, "\"]}");
    takes(true, message, strlen(message), ENVELOPE_MALFORMED, "", 0, "");
}

static void test_no_memory(void **state)
{
    (void)state;
    static const char text[] = "{\"a\":1," KEY ":[\"x!1\"],\"b\":2}";
    for (int json_add = 0; json_add < 2; json_add++) {
        struct bytes out = { 0 };
        mem_fail_at(1);
        int result = json_add ? envelope_add(&out, true, text, sizeof text - 1, two, 2, true)
                              : envelope_take(&out, true, text, sizeof text - 1, note, NULL);
        mem_fail_at(0);
        assert_int_equal(result, ENVELOPE_NO_MEMORY);
        bytes_deinit(&out);
    }
}

static void test_encode_text(void **state)
{
    (void)state;
    static const size_t lengths[] = { 0, 31, 32, 255, 256, 65535, 65536 };
    static const size_t heads[] = { 1, 1, 2, 2, 3, 3, 5 };
    static char text[65536];
    memset(text, 't', sizeof text);
    for (size_t i = 0; i < 7; i++) {
        struct bytes out = { 0 };
        encode_map_head(&out, 1);
        encode_text(&out, false, name_of("k"));
        encode_text(&out, false, (struct name){ text, lengths[i] });
        assert_int_equal(out.length, 3 + heads[i] + lengths[i]);
        assert_int_equal(envelope_take(&(struct bytes){ .failed = true }, false, out.data, out.length, note, NULL), ENVELOPE_NO_MEMORY);
        struct bytes rest = { 0 };
        assert_int_equal(envelope_take(&rest, false, out.data, out.length, note, NULL), ENVELOPE_NONE);
        bytes_deinit(&rest);
        bytes_deinit(&out);
    }
    struct bytes out = { 0 };
    encode_text(&out, true, name_of("a\"b\\c\nd\xc3\xa9"));
    assert_bytes(&out, LITERAL("\"a\\\"b\\\\c\\u000ad\xc3\xa9\""));
    bytes_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_add),
        cmocka_unit_test(test_add_grows_the_head),
        cmocka_unit_test(test_add_malformed),
        cmocka_unit_test(test_take_json),
        cmocka_unit_test(test_take_json_malformed),
        cmocka_unit_test(test_take_msgpack),
        cmocka_unit_test(test_take_msgpack_malformed),
        cmocka_unit_test(test_a_name_that_is_too_long),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_encode_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
