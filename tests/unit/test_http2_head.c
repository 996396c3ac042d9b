/* Heads of HTTP/2 requests: what the application sees, what is refused and with which status, limits to the byte, failing memory. */
#include "protocol_fixture.h"

#include "server/http2_head.h"
#include "server/http2_history.h"

static const struct server_settings limits = {
    .max_target_size = 16,
    .max_header_size = 64,
    .max_header_count = 4,
    .max_body_size = 100,
};
static const struct server_settings no_limits = { .max_target_size = 0 };

static struct text transcript;

static void add(struct http2_head *head, const struct server_settings *settings, const char *name, const char *value, size_t length)
{
    unsigned char *copy = malloc(length > 0 ? length : 1); /* so that reading past its end is seen */
    assert_non_null(copy);
    memcpy(copy, value, length);
    http2_head_add(head, settings, (const unsigned char *)name, strlen(name), copy, length);
    free(copy);
}

static void piece(const struct http1_head *head, struct piece piece)
{
    assert_true((size_t)piece.offset + piece.length <= head->length);
    text_add(&transcript, head->bytes + piece.offset, piece.length);
}

/* fields is "name=value\n" again and again; what comes of it as text: the status, or method, target, flags, and fields. */
static const char *read_head(const struct server_settings *settings, const char *fields, bool has_body)
{
    struct http2_head head;
    struct http1_head result;
    http2_head_init(&head);
    transcript.length = 0;
    for (const char *at = fields, *end; *at != 0; at = end + 1) {
        char name[64] = "";
        const char *equals = strchr(at + 1, '=');
        end = strchr(at, '\n');
        memcpy(name, at, (size_t)(equals - at));
        add(&head, settings, name, equals + 1, (size_t)(end - equals - 1));
    }
    uint16_t status = http2_head_finish(&head, has_body, &result);
    if (status != 0) {
        text_format(&transcript, "%u", status);
    } else {
        assert_int_equal(result.major, 2);
        piece(&result, result.method);
        text_format(&transcript, " ");
        piece(&result, result.target);
        text_format(&transcript, "%s%s%s", result.has_body ? " body" : "", result.expect_continue ? " expect" : "",
                    result.upgrade_websocket ? " websocket" : "");
        for (uint32_t i = 0; i < result.field_count; i++) {
            text_format(&transcript, "\n");
            piece(&result, result.fields[i].name);
            text_format(&transcript, "=");
            piece(&result, result.fields[i].value);
        }
    }
    http2_head_deinit(&head);
    return transcript.bytes;
}

#define GET ":method=GET\n:scheme=http\n:path=/\n"
#define CONNECT ":method=CONNECT\n:scheme=http\n:path=/ws\n:authority=a\n"

static void what_the_application_sees(void **state)
{
    (void)state;
    assert_string_equal(read_head(&limits, GET ":authority=a:81\naccept=x\n", false), "GET /\nhost=a:81\naccept=x");
    assert_string_equal(read_head(&limits, GET "x=1\nhost=b\n", false), "GET /\nhost=b\nx=1");
    assert_string_equal(read_head(&limits, GET ":authority=a\nhost=a\n", false), "GET /\nhost=a");
    assert_string_equal(read_head(&limits, GET ":authority=a\ncookie=a=1\nx=y\ncookie=b=2\n", false),
                        "GET /\nhost=a\nx=y\ncookie=a=1; b=2");
    assert_string_equal(read_head(&limits, GET ":authority=a\nx_y=1\nx-y=2\n", false), "GET /\nhost=a\nx-y=2");
    assert_string_equal(read_head(&limits, ":method=POST\n:path=/a?b\n:authority=a\ncontent-length=100\nexpect=100-continue\n", true),
                        "POST /a?b body expect\nhost=a\ncontent-length=100\nexpect=100-continue");
    assert_string_equal(read_head(&limits, GET ":authority=a\nexpect=100-continue\n", false), "GET /\nhost=a\nexpect=100-continue");
    assert_string_equal(read_head(&limits, ":method=OPTIONS\n:path=*\n:authority=a\n", false), "OPTIONS *\nhost=a");
    assert_string_equal(read_head(&limits, CONNECT ":protocol=websocket\n", true), "CONNECT /ws websocket\nhost=a");
}

static void what_is_refused(void **state)
{
    static const struct {
        const char *fields;
        const char *status;
    } cases[] = {
        { GET ":authority=a\nhost=b\n", "400" },
        { GET "host=a\nhost=a\n", "400" },
        { GET ":authority=a b\n", "400" },
        { GET ":authority=user@a\n", "400" },
        { GET ":authority=a/b\n", "400" },
        { GET ":authority=a\nx=a\x85z\n", "400" },
        { ":method=GET\n:authority=a\n", "400" },
        { ":method=GET\n:path=\n:authority=a\n", "400" },
        { ":method=GET\n:path=*\n:authority=a\n", "400" },
        { ":method=GET\n:path=a\n:authority=a\n", "400" },
        { ":method=GET\n:path=/a#b\n:authority=a\n", "400" },
        { ":method=GET\n:path=/a b\n:authority=a\n", "400" },
        { ":method=GET\n:path=http://a/\n:authority=a\n", "400" },
        { ":method=CONNECT\n:authority=a:443\n", "501" },
        { CONNECT ":protocol=gopher\n", "501" },
        { CONNECT ":protocol=websockets\n", "501" },
        { GET ":authority=a\ncontent-length=101\n", "413" },
        { GET ":authority=a\ncontent-length=99999999999999999999999999\n", "413" },
        { "", "400" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (strcmp(read_head(&limits, cases[i].fields, false), cases[i].status) != 0)
            fail_msg("%s: %s, not %s", cases[i].fields, transcript.bytes, cases[i].status);
}

/* length bytes of a, as a value of name. */
static const char *with_value(const char *name, size_t length)
{
    static char fields[1024];
    char value[512] = "";
    memset(value, 'a', length);
    snprintf(fields, sizeof fields, ":method=GET\n%s:authority=a\n%s=%s%s\n", strcmp(name, ":path") == 0 ? "" : ":path=/\n", name,
             strcmp(name, ":path") == 0 ? "/" : "", value);
    return fields;
}

static void limits_to_the_byte(void **state)
{
    (void)state;
    assert_memory_equal(read_head(&limits, with_value(":path", 15), false), "GET /", 5);
    assert_string_equal(read_head(&limits, with_value(":path", 16), false), "414");
    assert_memory_equal(read_head(&limits, with_value("x", 63), false), "GET /", 5);
    assert_string_equal(read_head(&limits, with_value("x", 64), false), "431");
    assert_string_equal(read_head(&limits, with_value("dropped_one", 64), false), "431");
    assert_string_equal(read_head(&limits, with_value("cookie", 64), false), "431");
    assert_memory_equal(read_head(&limits, GET "host=a\na=\nb=\nc=\n", false), "GET /", 5);
    assert_string_equal(read_head(&limits, GET "host=a\na=\nb=\nc=\nd=\n", false), "431");
    assert_string_equal(read_head(&limits, GET "host=a\ncookie=\ncookie=\ncookie=\ncookie=\n", false), "431");
    assert_memory_equal(read_head(&no_limits, with_value(":path", 400), false), "GET /", 5);
    assert_memory_equal(read_head(&no_limits, with_value("x", 400), false), "GET /", 5);
    assert_memory_equal(read_head(&no_limits, GET "content-length=99999999999\nhost=a\n", true), "GET / body", 10);
}

static void a_head_without_memory(void **state)
{
    static const char many[] = CONNECT ":protocol=websocket\na=\nb=\nc=\nd=\ne=\nf=\ng=\nh=\ni=\nj=\nk=\nl=\nm=\nn=\no=\np=\nq=\ncookie=a=1\n"
                               "cookie=b=2\nlong=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n";
    (void)state;
    bool failed = true;
    unsigned long n = 0;
    while (failed) {
        mem_fail_at(++n);
        const char *got = read_head(&no_limits, many, false);
        failed = mem_try_count() >= n;
        mem_fail_at(0);
        if (failed)
            assert_string_equal(got, "503");
        else
            assert_memory_equal(got, "CONNECT /ws websocket\nhost=a\n", 29);
    }
    assert_true(n > 3);
}

/* RFC 9113, 5.1: frames for streams that are no more. */
static void what_comes_for_streams_that_have_ended(void **state)
{
    enum { CLOSED = 5, FAULT = 1 };
    static struct http2_history history;
    (void)state;
    http2_history_open(&history, 1);
    http2_history_open(&history, 5);
    assert_int_equal(http2_history_judge(&history, 1), 0); /* not ended */
    assert_int_equal(http2_history_judge(&history, 3), FAULT);
    assert_int_equal(http2_history_judge(&history, 7), 0);
    assert_int_equal(http2_history_judge(&history, 2), 0);
    http2_history_end(&history, 1, HTTP2_ENDED_BY_PEER);
    http2_history_end(&history, 5, HTTP2_RESET_BY_US);
    http2_history_end(&history, 5, HTTP2_ENDED_BY_PEER); /* the first word counts */
    http2_history_end(&history, 9, HTTP2_ENDED_BY_PEER); /* never opened */
    assert_int_equal(http2_history_judge(&history, 1), CLOSED);
    assert_int_equal(http2_history_judge(&history, 5), 0);
    for (int32_t id = 7; id < 7 + 2 * HISTORY_SIZE; id += 2) {
        http2_history_open(&history, id);
        http2_history_end(&history, id, HTTP2_ENDED_BY_PEER);
    }
    assert_int_equal(http2_history_judge(&history, 1), 0); /* too long ago to be known */
    assert_int_equal(http2_history_judge(&history, 7), CLOSED);
    assert_int_equal(http2_history_judge(&history, 7 + 2 * HISTORY_SIZE - 2), CLOSED);
}

/* The fields behind a fault are counted too, so that a head can be given up; pseudo-fields have limits of their own. */
static void a_head_that_exceeds_the_limits(void **state)
{
    static const char value[30] = "";
    struct http2_head head;
    http2_head_init(&head);
    add(&head, &limits, ":path", "/a/path/that/is/too/long/for/the/limits/of/this/test", 52);
    assert_int_equal(head.status, 414);
    for (int i = 0; i < 4; i++) { /* 31, 62, 93, 124 bytes */
        assert_int_equal(http2_head_exceeds(&head, &limits, 1), i > 2);
        add(&head, &limits, "a", value, sizeof value);
    }
    assert_false(http2_head_exceeds(&head, &limits, 2));
    http2_head_skip(&head, 1, 5); /* 130 */
    assert_true(http2_head_exceeds(&head, &limits, 2));
    assert_false(http2_head_exceeds(&head, &limits, 3));
    assert_false(http2_head_exceeds(&head, &no_limits, 1));
    http2_head_deinit(&head);
    http2_head_init(&head);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(http2_head_exceeds(&head, &limits, 1), i > 4);
        http2_head_skip(&head, 1, 1);
    }
    assert_true(http2_head_exceeds(&head, &limits, 2));
    http2_head_deinit(&head);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_application_sees), cmocka_unit_test(what_is_refused),
        cmocka_unit_test(limits_to_the_byte),        cmocka_unit_test(a_head_without_memory),
        cmocka_unit_test(what_comes_for_streams_that_have_ended), cmocka_unit_test(a_head_that_exceeds_the_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
