/* HTTP/1 responses: heads to the byte, body framing against the promise, the server's own answers. */
#include "protocol_fixture.h"

#include "server/http1_writer.h"

#define DATE "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
#define SERVER "server: peneus\r\n"

/* Writes a head and its first piece of body, then the pieces after it, as the I/O side does. Returns the last result. */
static enum http1_body respond(struct http1_response *response, struct buffer *out, uint16_t status, const char *fields,
                               const char *const *pieces)
{
    struct command *command = respond_command(COMMAND_RESPOND, status, fields, pieces[0], pieces[1] != NULL);
    assert_int_equal(http1_write_head(response, out, command, &test_identity), 0);
    assert_int_equal(command->length - command->response.head_length, strlen(pieces[0]));
    command_destroy(command);
    enum http1_body result = HTTP1_BODY_OK;
    for (; *pieces != NULL && result == HTTP1_BODY_OK; pieces++) {
        struct http1_frame frame;
        result = http1_frame_body(response, strlen(*pieces), pieces[1] != NULL, &frame);
        assert_true(frame.prefix_length <= sizeof frame.prefix);
        assert_non_null(frame.suffix);
        buffer_append(out, frame.prefix, frame.prefix_length);
        buffer_append(out, *pieces, frame.length);
        buffer_append(out, frame.suffix, frame.suffix_length);
    }
    return result;
}

#define PIECES(...) { __VA_ARGS__, NULL }

static const struct {
    const char *note;
    struct http1_response request;
    uint16_t status;
    const char *fields;
    const char *pieces[5];
    const char *expected;
    enum http1_body result;
    bool keep_alive;
} cases[] = {
    { "whole body", { .minor = 1, .keep_alive = true }, 200, "content-type: text/plain\n", PIECES("hello"),
      "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n" DATE SERVER "\r\nhello", HTTP1_BODY_OK, true },
    { "no body", { .minor = 1, .keep_alive = true }, 404, "", PIECES(""),
      "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n" DATE SERVER "\r\n", HTTP1_BODY_OK, true },
    { "the client closes", { .minor = 1 }, 200, "", PIECES("x"),
      "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n" DATE SERVER "connection: close\r\n\r\nx", HTTP1_BODY_OK, false },
    { "1.0 that stays", { .minor = 0, .keep_alive = true }, 200, "", PIECES("x"),
      "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n" DATE SERVER "connection: keep-alive\r\n\r\nx", HTTP1_BODY_OK, true },
    { "chunked", { .minor = 1, .keep_alive = true }, 200, "", PIECES("hello", "", "0123456789abcdef", "!"),
      "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n" DATE SERVER
      "\r\n5\r\nhello\r\n10\r\n0123456789abcdef\r\n1\r\n!\r\n0\r\n\r\n", HTTP1_BODY_OK, true },
    { "chunked, empty end", { .minor = 1, .keep_alive = true }, 200, "", PIECES("", "a", ""),
      "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n" DATE SERVER "\r\n1\r\na\r\n0\r\n\r\n", HTTP1_BODY_OK, true },
    { "1.0 cannot chunk", { .minor = 0, .keep_alive = true }, 200, "", PIECES("a", "b"),
      "HTTP/1.1 200 OK\r\n" DATE SERVER "connection: close\r\n\r\nab", HTTP1_BODY_OK, false },
    { "length given", { .minor = 1, .keep_alive = true }, 200, "Content-Length: 3\n", PIECES("a", "bc"),
      "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n" DATE SERVER "\r\nabc", HTTP1_BODY_OK, true },
    { "1.0 with a length", { .minor = 0, .keep_alive = true }, 200, "Content-Length: 3\n", PIECES("a", "bc"),
      "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n" DATE SERVER "connection: keep-alive\r\n\r\nabc", HTTP1_BODY_OK, true },
    { "too long at once", { .minor = 1, .keep_alive = true }, 200, "content-length: 3\n", PIECES("abcd"),
      "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n" DATE SERVER "\r\nabc", HTTP1_LONGER, true },
    { "too long later", { .minor = 1, .keep_alive = true }, 200, "content-length: 3\n", PIECES("ab", "cd", "e"),
      "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n" DATE SERVER "\r\nabc", HTTP1_LONGER, true },
    { "too long by a last piece", { .minor = 1, .keep_alive = true }, 200, "content-length: 2\n", PIECES("ab", "c"),
      "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n" DATE SERVER "\r\nab", HTTP1_LONGER, true },
    { "too short", { .minor = 1, .keep_alive = true }, 200, "content-length: 3\n", PIECES("ab", ""),
      "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n" DATE SERVER "\r\nab", HTTP1_SHORTER, true },
    { "length that is none", { .minor = 1, .keep_alive = true }, 200, "content-length: 3x\n", PIECES("ab"),
      "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n" DATE SERVER "\r\nab", HTTP1_BODY_OK, true },
    { "second length", { .minor = 1, .keep_alive = true }, 200, "content-length: 2\ncontent-length: 3\n", PIECES("ab"),
      "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n" DATE SERVER "\r\nab", HTTP1_BODY_OK, true },
    { "own transfer-encoding", { .minor = 1, .keep_alive = true }, 200, "Transfer-Encoding: chunked\n", PIECES("ab"),
      "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n" DATE SERVER "\r\nab", HTTP1_BODY_OK, true },
    { "own date and server", { .minor = 1, .keep_alive = true }, 200, "Date: now\nSERVER: me\n", PIECES(""),
      "HTTP/1.1 200 OK\r\nDate: now\r\nSERVER: me\r\ncontent-length: 0\r\n\r\n", HTTP1_BODY_OK, true },
    { "the application closes", { .minor = 1, .keep_alive = true }, 200, "Connection: foo, Close\n", PIECES(""),
      "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n" DATE SERVER "connection: close\r\n\r\n", HTTP1_BODY_OK, false },
    { "the application cannot keep", { .minor = 1 }, 200, "Connection: keep-alive\nKeep-Alive: 5\n", PIECES(""),
      "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n" DATE SERVER "connection: close\r\n\r\n", HTTP1_BODY_OK, false },
    { "enclosed is not close", { .minor = 1, .keep_alive = true }, 200, "Connection: enclosed, closed\n", PIECES(""),
      "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n" DATE SERVER "\r\n", HTTP1_BODY_OK, true },
    { "HEAD, whole body", { .minor = 1, .head = true, .keep_alive = true }, 200, "", PIECES("hello"),
      "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n" DATE SERVER "\r\n", HTTP1_BODY_OK, true },
    { "HEAD, no body given", { .minor = 1, .head = true, .keep_alive = true }, 200, "", PIECES(""),
      "HTTP/1.1 200 OK\r\n" DATE SERVER "\r\n", HTTP1_BODY_OK, true },
    { "HEAD with a length", { .minor = 1, .head = true, .keep_alive = true }, 200, "content-length: 9\n", PIECES(""),
      "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n" DATE SERVER "\r\n", HTTP1_BODY_OK, true },
    { "HEAD, streamed", { .minor = 1, .head = true, .keep_alive = true }, 200, "", PIECES("a", "b"),
      "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n" DATE SERVER "\r\n", HTTP1_BODY_OK, true },
    { "HEAD, streamed, 1.0", { .minor = 0, .head = true, .keep_alive = true }, 200, "", PIECES("a", "b"),
      "HTTP/1.1 200 OK\r\n" DATE SERVER "connection: keep-alive\r\n\r\n", HTTP1_BODY_OK, true },
    { "204", { .minor = 1, .keep_alive = true }, 204, "content-length: 2\n", PIECES("ab", "c"),
      "HTTP/1.1 204 No Content\r\n" DATE SERVER "\r\n", HTTP1_BODY_OK, true },
    { "205", { .minor = 1, .keep_alive = true }, 205, "content-length: 2\n", PIECES("ab"),
      "HTTP/1.1 205 Reset Content\r\ncontent-length: 0\r\n" DATE SERVER "\r\n", HTTP1_BODY_OK, true },
    { "304", { .minor = 1, .keep_alive = true }, 304, "content-length: 200\netag: x\n", PIECES("ab"),
      "HTTP/1.1 304 Not Modified\r\ncontent-length: 200\r\netag: x\r\n" DATE SERVER "\r\n", HTTP1_BODY_OK, true },
    { "1xx is not final", { .minor = 1, .keep_alive = true }, 103, "content-length: 2\n", PIECES("ab"),
      "HTTP/1.1 103 Early Hints\r\n" DATE SERVER "connection: close\r\n\r\n", HTTP1_BODY_OK, false },
    { "unknown status", { .minor = 1, .keep_alive = true }, 299, "", PIECES(""),
      "HTTP/1.1 299 \r\ncontent-length: 0\r\n" DATE SERVER "\r\n", HTTP1_BODY_OK, true },
    { "empty and repeated fields", { .minor = 1, .keep_alive = true }, 200, "a: \nset-cookie: b\nset-cookie: c\n", PIECES(""),
      "HTTP/1.1 200 OK\r\na: \r\nset-cookie: b\r\nset-cookie: c\r\ncontent-length: 0\r\n" DATE SERVER "\r\n", HTTP1_BODY_OK,
      true },
};

static void test_responses(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct http1_response response = cases[i].request;
        struct buffer out;
        buffer_init(&out);
        enum http1_body result = respond(&response, &out, cases[i].status, cases[i].fields, cases[i].pieces);
        if (strcmp(buffer_text(&out), cases[i].expected) != 0 || result != cases[i].result ||
            response.keep_alive != cases[i].keep_alive)
            fail_msg("%s: result %d, keep_alive %d\n%s", cases[i].note, result, response.keep_alive, buffer_text(&out));
        buffer_deinit(&out);
    }
}

static void test_framing_errors_tell_both_lengths(void **state)
{
    (void)state;
    struct http1_response response = { .minor = 1, .has_length = true, .expected = 10 };
    struct http1_frame frame;
    assert_int_equal(http1_frame_body(&response, 4, true, &frame), HTTP1_BODY_OK);
    assert_int_equal(http1_frame_body(&response, 8, true, &frame), HTTP1_LONGER);
    assert_int_equal(frame.length, 6);
    assert_int_equal(response.expected, 10);
    assert_int_equal(response.actual, 12);
    assert_int_equal(http1_frame_body(&response, 5, false, &frame), HTTP1_LONGER);
    assert_int_equal(frame.length, 0);
}

static void test_without_a_server_name(void **state)
{
    (void)state;
    const struct http1_identity nameless = { test_identity.date, NULL };
    struct http1_response response = { .minor = 1, .keep_alive = true };
    struct command *command = respond_command(COMMAND_RESPOND, 200, "", "", false);
    struct buffer out;
    buffer_init(&out);
    assert_int_equal(http1_write_head(&response, &out, command, &nameless), 0);
    assert_string_equal(buffer_text(&out), "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n" DATE "\r\n");
    command_destroy(command);
    buffer_deinit(&out);
}

static void test_own_answers(void **state)
{
    (void)state;
    static const uint16_t statuses[] = { 400, 403, 405, 408, 413, 414, 426, 431, 500, 501, 503, 505 };
    static const char name[] = "a server with a very long name, longer than any sane person would give it, and then some more of it, "
                               "on and on, so that any fixed room for it would be used up by now, would it not, and cut it off";
    struct buffer out;
    buffer_init(&out);
    assert_int_equal(http1_write_error(&out, 414, false, &test_identity), 0);
    assert_string_equal(buffer_text(&out), "HTTP/1.1 414 URI Too Long\r\ncontent-type: text/plain; charset=utf-8\r\n"
                                           "content-length: 13\r\n" DATE SERVER "connection: close\r\n\r\nURI Too Long\n");
    buffer_consume(&out, buffer_length(&out));
    assert_int_equal(http1_write_error(&out, 503, true, &test_identity), 0);
    assert_string_equal(buffer_text(&out), "HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\n"
                                           "content-length: 20\r\n" DATE SERVER "retry-after: 5\r\nconnection: close\r\n\r\n");
    buffer_consume(&out, buffer_length(&out));
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        struct http1_identity identity = { test_identity.date, name };
        assert_true(strlen(http1_reason(statuses[i])) > 0);
        assert_int_equal(http1_write_error(&out, statuses[i], false, &identity), 0);
        const char *text = buffer_text(&out);
        assert_non_null(strstr(text, name));
        assert_int_equal(strstr(text, "\r\nallow: GET\r\n") != NULL, statuses[i] == 405);
        assert_int_equal(strstr(text, "\r\nsec-websocket-version: 13\r\n") != NULL, statuses[i] == 426);
        const char *body = strstr(text, "\r\n\r\n") + 4;
        assert_int_equal(atoi(strstr(text, "content-length: ") + 16), strlen(body));
        buffer_consume(&out, buffer_length(&out));
    }
    assert_int_equal(http1_write_continue(&out), 0);
    assert_string_equal(buffer_text(&out), "HTTP/1.1 100 Continue\r\n\r\n");
    buffer_deinit(&out);
}

/* Every write either happens or leaves the buffer as it was. */
static bool write_all(void)
{
    struct http1_response response = { .minor = 1, .keep_alive = true };
    struct buffer out;
    mem_fail_at(0);
    struct command *command = respond_command(COMMAND_RESPOND, 200, "a: b\n", "", false);
    mem_fail_at(1);
    buffer_init(&out);
    bool noticed = http1_write_head(&response, &out, command, &test_identity) != 0;
    assert_true(!noticed || buffer_length(&out) == 0);
    command_destroy(command);
    buffer_deinit(&out);
    return noticed;
}

static void test_failing_memory(void **state)
{
    (void)state;
    struct buffer out;
    assert_true(write_all());
    buffer_init(&out);
    mem_fail_at(1);
    assert_int_equal(http1_write_error(&out, 400, false, &test_identity), -1);
    mem_fail_at(1);
    assert_int_equal(http1_write_continue(&out), -1);
    mem_fail_at(0);
    assert_int_equal(buffer_length(&out), 0);
    buffer_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_responses),
        cmocka_unit_test(test_framing_errors_tell_both_lengths),
        cmocka_unit_test(test_without_a_server_name),
        cmocka_unit_test(test_own_answers),
        cmocka_unit_test(test_failing_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
