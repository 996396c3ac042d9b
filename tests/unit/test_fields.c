/* fields.[ch] and relay_event.[ch]: what is found in a message, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "channellayer/fields.h"
#include "channellayer/message.h"
#include "channellayer/relay_event.h"

#define BYTES(literal) (literal), sizeof(literal) - 1

/* How the walk over bytes ends, and how many fields it finds. A copy of the exact size lets a sanitizer see every byte too many. */
static int walk(bool json, const char *bytes, size_t length, size_t *count)
{
    unsigned char *copy = malloc(length > 0 ? length : 1);
    memcpy(copy, bytes, length);
    struct fields fields;
    struct field field;
    *count = 0;
    int more = fields_begin(&fields, json, copy, length);
    if (more == 0) {
        while ((more = fields_next(&fields, &field)) == 1)
            ++*count;
    }
    free(copy);
    return more;
}

static void assert_walk(bool json, const char *bytes, size_t length, int end, size_t count)
{
    size_t seen;
    assert_int_equal(walk(json, bytes, length, &seen), end);
    if (end == 0)
        assert_int_equal(seen, count);
}

static struct field only_field(bool json, const char *bytes, size_t length)
{
    struct fields fields;
    struct field field;
    assert_int_equal(fields_begin(&fields, json, bytes, length), 0);
    assert_int_equal(fields_next(&fields, &field), 1);
    return field;
}

static void test_msgpack_kinds(void **state)
{
    (void)state;
    struct field field = only_field(false, BYTES("\x81\xa1k\xc0"));
    assert_true(field_is(&field, "k"));
    assert_false(field_is(&field, "kk"));
    assert_int_equal(field.kind, FIELD_NULL);
    assert_int_equal(only_field(false, BYTES("\x81\xa1k\xc2")).kind, FIELD_FALSE);
    assert_int_equal(only_field(false, BYTES("\x81\xa1k\xc3")).kind, FIELD_TRUE);
    assert_int_equal(only_field(false, BYTES("\x81\xa1k\x7f")).integer, 127);
    assert_int_equal(only_field(false, BYTES("\x81\xa1k\xff")).integer, -1);
    assert_int_equal(only_field(false, BYTES("\x81\xa1k\xcd\x03\xe8")).integer, 1000);
    assert_int_equal(only_field(false, BYTES("\x81\xa1k\xd1\xff\xfe")).integer, -2);
    assert_true(only_field(false, BYTES("\x81\xa1k\xd3\x80\0\0\0\0\0\0\0")).integer == INT64_MIN);
    assert_int_equal(only_field(false, BYTES("\x81\xa1k\xcf\x80\0\0\0\0\0\0\0")).kind, FIELD_OTHER);
    field = only_field(false, BYTES("\x81\xa1k\xc4\x02\x01\x02"));
    assert_int_equal(field.kind, FIELD_BYTES);
    assert_memory_equal(field.text.bytes, "\x01\x02", 2);
    field = only_field(false, BYTES("\x81\xa1k\xda\0\x03" "abc"));
    assert_int_equal(field.kind, FIELD_TEXT);
    assert_int_equal(field.text.length, 3);
    assert_int_equal(field.whole.length, 8);
    assert_int_equal(field.whole_value.length, 6);
}

static void test_msgpack_walk(void **state)
{
    (void)state;
    assert_walk(false, BYTES("\x80"), 0, 0);
    assert_walk(false, BYTES("\xde\0\x01\xa1k\x01"), 0, 1);
    assert_walk(false, BYTES("\xdf\0\0\0\x01\xa1k\x01"), 0, 1);
    /* a list in a map in a list, a float, extensions; then one more */
    assert_walk(false, BYTES("\x82\xa1k\x92\x81\xa1x\x91\x91\xcb\0\0\0\0\0\0\0\0\xd4\x01\x02\xa1l\xc7\x01\x05z"), 0, 2);
    assert_walk(false, BYTES("\x81\x01\x01"), -1, 0);          /* a key that is no text */
    assert_walk(false, BYTES("\x80\x80"), -1, 0);              /* something behind it */
    assert_walk(false, BYTES("\x81\xa1k\xc1"), -1, 0);         /* the byte that is never used */
    assert_walk(false, BYTES("\x91\x01"), -1, 0);
    assert_walk(false, BYTES(""), -1, 0);
    assert_walk(false, BYTES("\x81\xa1k\xdd\xff\xff\xff\xff"), -1, 0); /* four thousand million items, and none */
    assert_walk(false, BYTES("\x81\xa1k\xc6\xff\xff\xff\xff"), -1, 0);
    assert_walk(false, BYTES("\xdf\xff\xff\xff\xff\xa1k\x01"), -1, 0);
}

static void test_json_walk(void **state)
{
    (void)state;
    assert_walk(true, BYTES("{}"), 0, 0);
    assert_walk(true, BYTES(" { \"a\" : 1 , \"b\":[1,{\"x\":\"]}\\\"\"}],\"c\":{} } "), 0, 3);
    assert_walk(true, BYTES("{\"a\":1,}"), -1, 0);
    assert_walk(true, BYTES("{,}"), -1, 0);
    assert_walk(true, BYTES("{\"a\" 1}"), -1, 0);
    assert_walk(true, BYTES("{\"a\":}"), -1, 0);
    assert_walk(true, BYTES("{\"a\":1} x"), -1, 0);
    assert_walk(true, BYTES("[1]"), -1, 0);
    assert_walk(true, BYTES("{\"a\":\"\n\"}"), -1, 0);
    assert_walk(true, BYTES("{\"a\":[1}"), -1, 0);
    struct field field = only_field(true, BYTES("{\"k\": -12 }"));
    assert_int_equal(field.kind, FIELD_INTEGER);
    assert_int_equal(field.integer, -12);
    assert_int_equal(field.whole.length, 8);
    assert_int_equal(only_field(true, BYTES("{\"k\":1.5}")).kind, FIELD_OTHER);
    assert_int_equal(only_field(true, BYTES("{\"k\":null}")).kind, FIELD_NULL);
    assert_int_equal(only_field(true, BYTES("{\"k\":true}")).kind, FIELD_TRUE);
    assert_int_equal(only_field(true, BYTES("{\"k\":99999999999999999999}")).kind, FIELD_OTHER);
}

static void assert_unescaped(const char *json, size_t length, const char *text, long text_length)
{
    unsigned char out[64];
    struct field field = only_field(true, json, length);
    assert_true(field.escaped);
    assert_int_equal(field_unescape(&field, out), text_length);
    if (text_length > 0)
        assert_memory_equal(out, text, (size_t)text_length);
}

static void test_json_escapes(void **state)
{
    (void)state;
    assert_unescaped(BYTES("{\"k\":\"\\\"\\\\\\/\\b\\f\\n\\r\\tx\"}"), "\"\\/\b\f\n\r\tx", 9);
    assert_unescaped(BYTES("{\"k\":\"\\u0041\\u00e9\\u20AC\\ud83d\\ude00\"}"), "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 10);
    assert_unescaped(BYTES("{\"k\":\"\\ud83d\"}"), NULL, -1);
    assert_unescaped(BYTES("{\"k\":\"\\ud83dxxxxxx\"}"), NULL, -1);
    assert_unescaped(BYTES("{\"k\":\"\\ude00\"}"), NULL, -1);
    assert_unescaped(BYTES("{\"k\":\"\\u12\"}"), NULL, -1);
    assert_unescaped(BYTES("{\"k\":\"\\u12g4\"}"), NULL, -1);
    assert_unescaped(BYTES("{\"k\":\"\\x\"}"), NULL, -1);
}

/* Every message cut off anywhere is refused, and nothing behind its end is read. */
static void test_truncation(void **state)
{
    (void)state;
    static const char packed[] = "\x83\xa4type\xaewebsocket.send\xa4text\xa3" "abc\xa1k\x92\xcb\0\0\0\0\0\0\0\0\xc4\x01z";
    static const char json[] = "{\"type\":\"websocket.send\",\"text\":\"a\\u00e9\",\"k\":[1,{\"x\":null}]}";
    size_t count;
    for (size_t length = 0; length < sizeof packed - 1; length++)
        assert_int_equal(walk(false, packed, length, &count), -1);
    for (size_t length = 0; length < sizeof json - 1; length++)
        assert_int_equal(walk(true, json, length, &count), -1);
    assert_walk(false, BYTES(packed), 0, 3);
    assert_walk(true, BYTES(json), 0, 3);
}

static bool has_key;

static int read_event(struct relay_event *event, bool json, const char *bytes, size_t length)
{
    static struct message *message;
    message_release(message);
    message = message_create(bytes, length, NULL, 0);
    struct span key;
    int result = relay_event_read(event, message, json, &key);
    has_key = key.length > 0;
    if (length == 0) { /* the last call frees */
        message_release(message);
        message = NULL;
    }
    return result;
}

static void assert_event(bool json, const char *bytes, size_t length, enum relay_kind kind, const char *text, uint16_t code)
{
    struct relay_event event;
    assert_int_equal(read_event(&event, json, bytes, length), 1);
    assert_int_equal(event.kind, kind);
    assert_int_equal(event.length, strlen(text));
    assert_memory_equal(event.bytes != NULL ? event.bytes : (const unsigned char *)"", text, strlen(text));
    assert_int_equal(event.code, code);
    relay_event_deinit(&event);
}

static void test_relay_events(void **state)
{
    (void)state;
    struct relay_event event;
    assert_event(false, BYTES("\x82\xa4type\xaewebsocket.send\xa4text\xa2hi"), RELAY_TEXT, "hi", 0);
    assert_event(false, BYTES("\x83\xa4type\xaewebsocket.send\xa4text\xc0\xa5" "bytes\xc4\x02hi"), RELAY_BYTES, "hi", 0);
    assert_event(true, BYTES("{\"type\": \"websocket.send\", \"text\": \"h\\u0069\", \"key\": \"x\"}"), RELAY_TEXT, "hi", 0);
    assert_true(has_key);
    assert_event(false, BYTES("\x81\xa4type\xafwebsocket.close"), RELAY_CLOSE, "", 1000);
    assert_event(true, BYTES("{\"type\":\"websocket.close\",\"code\":4001,\"reason\":\"bye\"}"), RELAY_CLOSE, "bye", 4001);
    /* For the application: other types, and what is no ASGI event. */
    assert_int_equal(read_event(&event, false, BYTES("\x81\xa4type\xa4tick")), 0);
    assert_int_equal(read_event(&event, false, BYTES("\x81\xa4type\xaewebsocket.send")), 0);
    assert_int_equal(read_event(&event, false, BYTES("\x83\xa4type\xaewebsocket.send\xa4text\xa2hi\xa5" "bytes\xc4\x02hi")), 0);
    assert_int_equal(read_event(&event, true, BYTES("{\"type\":\"websocket.send\",\"text\":1}")), 0);
    assert_int_equal(read_event(&event, true, BYTES("{\"type\":\"websocket.send\",\"text\":\"\\ud800\"}")), 0);
    assert_int_equal(read_event(&event, true, BYTES("{\"type\":\"websocket.close\",\"code\":10}")), 0);
    assert_int_equal(read_event(&event, true, BYTES("{\"type\":\"websocket.close\",\"reason\":1}")), 0);
    assert_int_equal(read_event(&event, false, BYTES("\xff")), 0);
    mem_fail_at(2); /* the first is the message */
    assert_int_equal(read_event(&event, true, BYTES("{\"type\":\"websocket.send\",\"text\":\"\\n\"}")), -1);
    mem_fail_at(0);
    assert_int_equal(read_event(&event, false, "", 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_msgpack_kinds),
        cmocka_unit_test(test_msgpack_walk),
        cmocka_unit_test(test_json_walk),
        cmocka_unit_test(test_json_escapes),
        cmocka_unit_test(test_truncation),
        cmocka_unit_test(test_relay_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
