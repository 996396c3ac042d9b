/* The opening handshake: RFC 6455's own example, what is refused and how, and the head with status 101. */
#include "protocol_fixture.h"

#include "server/handshake.h"

static uint16_t status;
static char accept_value[HANDSHAKE_ACCEPT_SIZE];
static bool upgrade;
static struct deflate_terms terms;
static const struct server_settings compressing = { .websocket_deflate = 1, .websocket_deflate_window_bits = 12 };

static void on_head(void *context, const struct http1_head *head)
{
    (void)context;
    upgrade = head->upgrade_websocket;
    status = handshake_check(head, &compressing, accept_value, &terms);
}

static void on_body(void *context, const unsigned char *bytes, size_t length)
{
    (void)context;
    (void)bytes;
    (void)length;
}

/* What handshake_check says to a request of this method with these fields (each with its CRLF). */
static uint16_t check(const char *method, const char *fields)
{
    static const struct http1_callbacks callbacks = { on_head, on_body };
    static const struct server_settings settings = { .server_name = NULL };
    struct http1_parser parser;
    char request[1024];
    size_t used;
    int length = snprintf(request, sizeof request,
                          "%s /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n%s\r\n", method, fields);
    memset(accept_value, 0, sizeof accept_value);
    http1_parser_init(&parser, &settings, &callbacks, NULL);
    assert_int_equal(http1_parser_feed(&parser, (unsigned char *)request, (size_t)length, &used), HTTP1_COMPLETE);
    assert_true(upgrade);
    http1_parser_deinit(&parser);
    return status;
}

#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define VERSION "Sec-WebSocket-Version: 13\r\n"

static void test_accept(void **state)
{
    (void)state;
    assert_int_equal(check("GET", KEY VERSION), 0);
    assert_string_equal(accept_value, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_int_equal(check("GET", VERSION "sec-websocket-key:  x3JJHMbDL1EzLkh9GBhXDw==  \r\n"), 0);
    assert_string_equal(accept_value, "HSmrc0sMlYUkAGmm5OPpG2HaGWk=");
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        uint16_t status;
        const char *method, *fields;
    } cases[] = {
        { 405, "POST", KEY VERSION },
        { 405, "HEAD", KEY VERSION },
        { 426, "GET", KEY },
        { 426, "GET", KEY "Sec-WebSocket-Version: 8\r\n" },
        { 426, "GET", KEY "Sec-WebSocket-Version: 13, 8\r\n" },
        { 426, "GET", KEY VERSION VERSION },
        { 400, "GET", VERSION },
        { 400, "GET", VERSION KEY KEY },
        { 400, "GET", VERSION "Sec-WebSocket-Key:\r\n" KEY },
        { 400, "GET", VERSION "Sec-WebSocket-Key:\r\n" },
        { 400, "GET", VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=\r\n" },
        { 400, "GET", VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ\r\n" },
        { 400, "GET", VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZTEy\r\n" },
        { 400, "GET", VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZTE=\r\n" },
        { 400, "GET", VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j===\r\n" },
        { 400, "GET", VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==A\r\n" },
        { 400, "GET", VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZS!ub25jZQ==\r\n" },
        { 400, "GET", VERSION "Sec-WebSocket-Key: dGhlIHNh XBsZSBub25jZQ==\r\n" },
        { 400, "GET", VERSION KEY "Sec-WebSocket-Protocol:\r\n" },
        { 400, "GET", VERSION KEY "Sec-WebSocket-Protocol: , ,\r\n" },
        { 400, "GET", VERSION KEY "Sec-WebSocket-Protocol: a b\r\n" },
        { 400, "GET", VERSION KEY "Sec-WebSocket-Protocol: a, \"b\"\r\n" },
        { 400, "GET", VERSION KEY "Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: b/c\r\n" },
        { 0, "GET", VERSION KEY "Sec-WebSocket-Protocol: chat\r\n" },
        { 0, "GET", VERSION KEY "Sec-WebSocket-Protocol: chat , superchat,v1.2,\r\nSec-WebSocket-Protocol: b\r\n" },
        { 0, "GET", VERSION KEY "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (check(cases[i].method, cases[i].fields) != cases[i].status)
            fail_msg("%d instead of %d: %s\n%s", status, cases[i].status, cases[i].method, cases[i].fields);
}

static void test_extensions(void **state)
{
    (void)state;
    assert_int_equal(check("GET", VERSION KEY "Sec-WebSocket-Extensions: x, permessage-deflate; client_max_window_bits=10\r\n"
                                              "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n"), 0);
    assert_true(terms.agreed && terms.client_bits == 10);
    assert_int_equal(check("GET", VERSION KEY), 0);
    assert_false(terms.agreed);
    assert_int_equal(check("GET", VERSION KEY "Sec-WebSocket-Extensions: x, permessage-deflate; =\r\n"), 400);
}

static const char *write_head(const char *fields, const struct http1_identity *identity)
{
    struct buffer out;
    struct command *command = respond_command(COMMAND_ACCEPT, 101, fields, "", false);
    buffer_init(&out);
    assert_int_equal(handshake_write(&out, command, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", &terms, identity), 0);
    const char *text = buffer_text(&out);
    buffer_deinit(&out);
    command_destroy(command);
    return text;
}

#define START                                                                                                              \
    "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"                                   \
    "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
#define DATE "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"

static void test_head(void **state)
{
    (void)state;
    const struct http1_identity nameless = { test_identity.date, NULL };
    assert_string_equal(write_head("", &test_identity), START DATE "server: peneus\r\n\r\n");
    assert_string_equal(write_head("", &nameless), START DATE "\r\n");
    assert_string_equal(write_head("sec-websocket-protocol: chat\nset-cookie: a=b\nx: \n", &nameless),
                        START "sec-websocket-protocol: chat\r\nset-cookie: a=b\r\nx: \r\n" DATE "\r\n");
    terms = (struct deflate_terms){ .agreed = true, .server_bits = 12, .client_bits = 15 };
    assert_string_equal(write_head("sec-websocket-extensions: mine\n", &nameless),
                        START "sec-websocket-extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
                              "server_max_window_bits=12\r\n" DATE "\r\n");
    terms.agreed = false;
    assert_string_equal(write_head("Server: mine\nDATE: today\n", &test_identity), START "Server: mine\r\nDATE: today\r\n\r\n");
}

static void test_fields_that_are_ours(void **state)
{
    (void)state;
    const struct http1_identity nameless = { test_identity.date, NULL };
    assert_string_equal(write_head("Connection: close\nUpgrade: h2c\nSec-WebSocket-Accept: no\nContent-Length: 3\n"
                                   "Transfer-Encoding: chunked\nSec-WebSocket-Extensions: permessage-deflate\n"
                                   "Sec-WebSocket-Key: k\nSec-WebSocket-Version: 8\nx: y\n",
                                   &nameless),
                        START "x: y\r\n" DATE "\r\n");
}

static bool write_with_failing_memory(void)
{
    terms = (struct deflate_terms){ .agreed = true, .server_bits = 12, .client_bits = 15 };
    struct buffer out;
    unsigned char before[250] = { 0 };
    buffer_init(&out);
    bool noticed = buffer_append(&out, before, sizeof before) != 0;
    size_t held = buffer_length(&out);
    struct command *command = command_create(COMMAND_ACCEPT, 1, 0);
    if (command != NULL && !noticed) {
        noticed = handshake_write(&out, command, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", &terms, &test_identity) != 0;
        assert_true(!noticed || buffer_length(&out) == held);
    }
    noticed |= command == NULL;
    command_destroy(command);
    buffer_deinit(&out);
    return noticed;
}

static void test_failing_memory(void **state)
{
    (void)state;
    fail_every_allocation(write_with_failing_memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accept),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_extensions),
        cmocka_unit_test(test_head),
        cmocka_unit_test(test_fields_that_are_ours),
        cmocka_unit_test(test_failing_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
