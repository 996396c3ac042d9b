/* Heads of HTTP/2 responses, as a client's nghttp2 reads them: the fields, their framing, what is left out, failing memory. */
#include "protocol_fixture.h"

#include "server/http2_writer.h"

/* A client and a server with one request on stream 1. */
struct pair {
    nghttp2_session *client, *server;
};

static struct text transcript;

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_length, const uint8_t *value,
                     size_t value_length, uint8_t flags, void *context)
{
    (void)session, (void)frame, (void)flags, (void)context;
    text_format(&transcript, "%.*s=%.*s\n", (int)name_length, (const char *)name, (int)value_length, (const char *)value);
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *context)
{
    (void)session, (void)context;
    if (frame->hd.stream_id == 1)
        text_format(&transcript, frame->hd.flags & NGHTTP2_FLAG_END_STREAM ? ".\n" : "-\n");
    return 0;
}

static int on_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes, size_t length, void *context)
{
    (void)session, (void)flags, (void)id, (void)context;
    text_format(&transcript, ":%.*s\n", (int)length, (const char *)bytes);
    return 0;
}

static void *failing_alloc(size_t size, void *context)
{
    (void)context;
    return mem_try_alloc(size);
}

static void failing_free(void *memory, void *context)
{
    (void)context;
    mem_free(memory);
}

static void *failing_calloc(size_t count, size_t size, void *context)
{
    (void)context;
    void *memory = mem_try_alloc(count * size);
    return memory != NULL ? memset(memory, 0, count * size) : NULL;
}

static void *failing_realloc(void *memory, size_t size, void *context)
{
    (void)context;
    return mem_try_realloc(memory, size);
}

/* All that from has to say, to to; false: an error on the way. */
static bool carry(nghttp2_session *from, nghttp2_session *to)
{
    const uint8_t *bytes;
    ssize_t length;
    while ((length = nghttp2_session_mem_send(from, &bytes)) > 0)
        if (nghttp2_session_mem_recv(to, bytes, (size_t)length) != length)
            return false;
    return length == 0;
}

static struct pair pair_create(const char *method)
{
    static nghttp2_mem memory = { NULL, failing_alloc, failing_free, failing_calloc, failing_realloc };
    struct pair pair;
    nghttp2_session_callbacks *callbacks;
    nghttp2_nv request[] = {
        { (uint8_t *)":method", (uint8_t *)method, 7, strlen(method), 0 },
        { (uint8_t *)":scheme", (uint8_t *)"http", 7, 4, 0 },
        { (uint8_t *)":path", (uint8_t *)"/", 5, 1, 0 },
        { (uint8_t *)":authority", (uint8_t *)"a", 10, 1, 0 },
    };
    assert_int_equal(nghttp2_session_callbacks_new(&callbacks), 0);
    assert_int_equal(nghttp2_session_server_new3(&pair.server, callbacks, NULL, NULL, &memory), 0);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_chunk);
    assert_int_equal(nghttp2_session_client_new(&pair.client, callbacks, NULL), 0);
    nghttp2_session_callbacks_del(callbacks);
    assert_int_equal(nghttp2_submit_settings(pair.client, 0, NULL, 0), 0);
    assert_int_equal(nghttp2_submit_settings(pair.server, 0, NULL, 0), 0);
    assert_int_equal(nghttp2_submit_request(pair.client, NULL, request, 4, NULL, NULL), 1);
    assert_true(carry(pair.client, pair.server) && carry(pair.server, pair.client));
    transcript.length = 0;
    transcript.bytes[0] = 0;
    return pair;
}

static void pair_destroy(struct pair *pair)
{
    nghttp2_session_del(pair->client);
    nghttp2_session_del(pair->server);
}

static struct command *body_of;
static struct command *trailers_of;

static ssize_t on_wanted(nghttp2_session *session, int32_t id, uint8_t *room, size_t length, uint32_t *flags, nghttp2_data_source *source,
                         void *context)
{
    size_t head = body_of->response.head_length, size = body_of->length - head;
    (void)source, (void)context;
    assert_true(size <= length);
    memcpy(room, body_of->bytes + head, size);
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (trailers_of != NULL && http2_write_trailers(session, id, trailers_of) == 0)
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    return (ssize_t)size;
}

static const nghttp2_data_provider provider = { .read_callback = on_wanted };

/* A response as the client reads it. "-" and "." are the ends of frames; "." that of the stream. */
static const char *respond(const char *method, uint16_t status, const char *fields, const char *body, const char *trailers, bool more)
{
    struct pair pair = pair_create(method);
    struct http1_response response = { .minor = 1, .head = strcmp(method, "HEAD") == 0, .keep_alive = true, .trailers = trailers != NULL };
    body_of = respond_command(COMMAND_RESPOND, status, fields, body, more);
    trailers_of = trailers != NULL ? respond_command(COMMAND_TRAILERS, 0, trailers, "", false) : NULL;
    assert_int_equal(http2_write_head(pair.server, 1, &response, body_of, &test_identity, response.head ? NULL : &provider), 0);
    assert_true(carry(pair.server, pair.client));
    command_destroy(body_of);
    command_destroy(trailers_of);
    pair_destroy(&pair);
    return transcript.bytes;
}

#define OWN "date=Sun, 06 Nov 1994 08:49:37 GMT\nserver=peneus\n"

static void heads(void **state)
{
    (void)state;
    assert_string_equal(respond("GET", 200, "X-Own: Value\n", "hello", NULL, false),
                        ":status=200\nx-own=Value\ncontent-length=5\n" OWN "-\n:hello\n.\n");
    assert_string_equal(respond("GET", 200, "", "", NULL, false), ":status=200\ncontent-length=0\n" OWN ".\n");
    assert_string_equal(respond("GET", 200, "", "a", NULL, true), ":status=200\n" OWN "-\n:a\n.\n"); /* its length is not known */
    assert_string_equal(respond("GET", 200, "Content-Length: 1\n", "a", NULL, true), ":status=200\ncontent-length=1\n" OWN "-\n:a\n.\n");
    assert_string_equal(respond("HEAD", 200, "Content-Length: 7\n", "", NULL, false), ":status=200\ncontent-length=7\n" OWN ".\n");
    assert_string_equal(respond("HEAD", 200, "", "", NULL, false), ":status=200\n" OWN ".\n");
    assert_string_equal(respond("GET", 204, "", "", NULL, false), ":status=204\n" OWN ".\n");
    assert_string_equal(respond("GET", 304, "", "", NULL, false), ":status=304\n" OWN ".\n");
    assert_string_equal(respond("GET", 205, "", "", NULL, false), ":status=205\ncontent-length=0\n" OWN ".\n");
    assert_string_equal(respond("GET", 200, "Date: now\nSERVER: mine\n", "", NULL, false),
                        ":status=200\ndate=now\nserver=mine\ncontent-length=0\n.\n");
    assert_string_equal(respond("GET", 200, "Content-Length: 1\n", "a", "Check: 1\nUpgrade: x\n", false),
                        ":status=200\ncontent-length=1\n" OWN "-\n:a\n-\ncheck=1\n.\n");
    assert_string_equal(respond("GET", 200, "", "", "Check: 1\n", false), ":status=200\ncontent-length=0\n" OWN "-\ncheck=1\n.\n");
}

/* RFC 9113, 8.2.2 */
static void fields_of_a_connection_are_left_out(void **state)
{
    (void)state;
    assert_string_equal(respond("GET", 200,
                                "Connection: close\nUpgrade: h3\nKeep-Alive: 1\nProxy-Connection: x\nTransfer-Encoding: chunked\n"
                                "Upgraded: yes\n",
                                "", NULL, false),
                        ":status=200\nupgraded=yes\ncontent-length=0\n" OWN ".\n");
}

static const char *said(struct pair *pair)
{
    assert_true(carry(pair->server, pair->client));
    pair_destroy(pair);
    return transcript.bytes;
}

static void the_servers_own(void **state)
{
    static const char fields[] = ":status=503\ncontent-type=text/plain; charset=utf-8\ncontent-length=20\n" OWN "retry-after=5\n.\n";
    (void)state;
    struct pair pair = pair_create("HEAD");
    assert_int_equal(http2_write_error(pair.server, 1, 503, 20, &test_identity, NULL), 0);
    assert_string_equal(said(&pair), fields);
    pair = pair_create("HEAD");
    assert_int_equal(http2_write_error(pair.server, 1, 426, 0, &test_identity, NULL), 0);
    assert_non_null(strstr(said(&pair), "\nsec-websocket-version=13\n"));
    pair = pair_create("GET");
    assert_int_equal(http2_write_continue(pair.server, 1), 0);
    assert_string_equal(said(&pair), ":status=100\n-\n");
    struct command *hint = respond_command(COMMAND_HINT, 103, "Link: </a>\nLink: </b>\n", "", false);
    pair = pair_create("GET");
    assert_int_equal(http2_write_hint(pair.server, 1, hint), 0);
    assert_string_equal(said(&pair), ":status=103\nlink=</a>\nlink=</b>\n-\n");
    command_destroy(hint);
}

/* RFC 8441: 200, no Sec-WebSocket-Accept, and what was agreed is the server's to say. */
static void an_accepted_handshake(void **state)
{
    struct deflate_terms none = { .agreed = false }, agreed = { .agreed = true };
    (void)state;
    struct command *accept =
        respond_command(COMMAND_ACCEPT, 0, "Sec-WebSocket-Extensions: x\nSec-WebSocket-Accept: x\nSet-Cookie: a=1\n", "", false);
    body_of = accept;
    for (int i = 0; i < 2; i++) {
        struct pair pair = pair_create("GET");
        assert_int_equal(http2_write_accept(pair.server, 1, accept, i == 0 ? &none : &agreed, &test_identity, &provider), 0);
        assert_memory_equal(said(&pair), ":status=200\n", 12);
        assert_non_null(strstr(transcript.bytes, "\nset-cookie=a=1\n"));
        assert_null(strstr(transcript.bytes, "=x\n"));
        assert_int_equal(strstr(transcript.bytes, "sec-websocket-extensions=permessage-deflate") != NULL, i == 1);
    }
    command_destroy(accept);
}

/* Where a head cannot be made, nothing of it is: the same can be said once more. */
static void heads_without_memory(void **state)
{
    (void)state;
    struct command *command = respond_command(COMMAND_RESPOND, 200, "X-Own: Value\n", "", false);
    bool failed = true;
    unsigned long n = 0;
    while (failed) {
        struct pair pair = pair_create("GET");
        struct http1_response response = { .minor = 1, .keep_alive = true };
        mem_fail_at(++n);
        int error = http2_write_head(pair.server, 1, &response, command, &test_identity, NULL);
        failed = mem_try_count() >= n;
        mem_fail_at(0);
        assert_int_equal(error != 0, failed);
        if (failed) {
            response = (struct http1_response){ .minor = 1, .keep_alive = true };
            assert_int_equal(error, NGHTTP2_ERR_NOMEM);
            assert_int_equal(http2_write_head(pair.server, 1, &response, command, &test_identity, NULL), 0);
        }
        assert_string_equal(said(&pair), ":status=200\nx-own=Value\ncontent-length=0\n" OWN ".\n");
    }
    assert_true(n > 3);
    command_destroy(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads),           cmocka_unit_test(fields_of_a_connection_are_left_out),
        cmocka_unit_test(the_servers_own), cmocka_unit_test(an_accepted_handshake),
        cmocka_unit_test(heads_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
