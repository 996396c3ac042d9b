/* HTTP/1 requests: good ones at every split point, bad ones with their status, limits to the byte, failing memory. */
#include "protocol_fixture.h"

#include "server/http1_parser.h"

static const struct server_settings limits = {
    .max_target_size = 64,
    .max_header_size = 256,
    .max_header_count = 8,
    .max_body_size = 100,
};

static struct text transcript;
static bool in_body;

static void on_head(void *context, const struct http1_head *head)
{
    (void)context;
    text_add(&transcript, head->bytes + head->method.offset, head->method.length);
    text_format(&transcript, " ");
    text_add(&transcript, head->bytes + head->target.offset, head->target.length);
    text_format(&transcript, " 1.%d%s%s%s%s\n", head->minor, head->keep_alive ? "" : " close", head->has_body ? " body" : "",
                head->expect_continue ? " expect" : "", head->upgrade_websocket ? " websocket" : "");
    for (uint32_t i = 0; i < head->field_count; i++) {
        const struct field *field = &head->fields[i];
        assert_true((size_t)field->value.offset + field->value.length <= head->length);
        text_add(&transcript, head->bytes + field->name.offset, field->name.length);
        text_format(&transcript, "=");
        text_add(&transcript, head->bytes + field->value.offset, field->value.length);
        text_format(&transcript, "\n");
    }
    in_body = false;
}

static void on_body(void *context, const unsigned char *bytes, size_t length)
{
    (void)context;
    assert_true(length > 0);
    if (!in_body)
        text_format(&transcript, ":");
    in_body = true;
    text_add(&transcript, bytes, length);
}

static const struct http1_callbacks callbacks = { on_head, on_body };

/* Feeds one piece, message after message; false after an error. */
static bool feed(struct http1_parser *parser, const char *bytes, size_t length)
{
    unsigned char *copy = malloc(length + 1); /* so that reading past its end is seen */
    size_t taken = 0;
    bool good = true;
    assert_non_null(copy);
    memcpy(copy, bytes, length);
    copy = realloc(copy, length > 0 ? length : 1);
    while (taken < length && good) {
        size_t used;
        enum http1_result result = http1_parser_feed(parser, copy + taken, length - taken, &used);
        taken += used;
        assert_true(taken <= length);
        if (result == HTTP1_COMPLETE) {
            assert_null(parser->arena.bytes);
            assert_null(parser->fields);
            text_format(&transcript, "%s.\n", in_body ? "\n" : "");
            in_body = false;
        } else if (result == HTTP1_ERROR) {
            text_format(&transcript, "%s!%d\n", in_body ? "\n" : "", parser->status);
            good = false;
        } else {
            assert_int_equal(taken, length);
        }
    }
    free(copy);
    return good;
}

/* What comes of bytes given in two pieces, or byte by byte when split is above length. */
static const char *parse(const struct server_settings *settings, const char *bytes, size_t length, size_t split)
{
    struct http1_parser parser;
    transcript.length = 0;
    transcript.bytes[0] = 0;
    in_body = false;
    http1_parser_init(&parser, settings, &callbacks, NULL);
    if (split <= length) {
        if (feed(&parser, bytes, split))
            feed(&parser, bytes + split, length - split);
    } else {
        for (size_t i = 0; i < length && feed(&parser, bytes + i, 1); i++)
            ;
    }
    http1_parser_deinit(&parser);
    return transcript.bytes;
}

static void expect_at_every_split(const char *bytes, size_t length, const char *expected)
{
    for (size_t split = 0; split <= length + 1; split++)
        assert_string_equal(parse(&limits, bytes, length, split), expected);
}

static const struct {
    const char *request, *expected;
} good[] = {
    { "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / 1.1\nhost=a\n.\n" },
    { "\r\n\r\nGET /b?c=d&e HTTP/1.1\r\nHOST:a:80\r\nX-Two:  two words \t \r\nEmpty:\r\nBlank:  \r\n\r\n",
      "GET /b?c=d&e 1.1\nhost=a:80\nx-two=two words\nempty=\nblank=\n.\n" },
    { "GET / HTTP/1.1\r\nHost:\r\n\r\n", "GET / 1.1\nhost=\n.\n" },
    { "GET / HTTP/1.1\r\nHost: [::1]:8000\r\nConnection: close\r\n\r\n", "GET / 1.1 close\nhost=[::1]:8000\nconnection=close\n.\n" },
    { "GET / HTTP/1.0\r\n\r\n", "GET / 1.0 close\n.\n" },
    { "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "GET / 1.0\nconnection=Keep-Alive\n.\n" },
    { "GET / HTTP/1.1\r\nHost: a\r\nA_B: c\r\nA-B: \xe4\r\n_: d\r\n\r\n", "GET / 1.1\nhost=a\na-b=\xe4\n.\n" },
    { "HEAD //x HTTP/1.1\r\nHost: a\r\nA: 1\r\nA: 2\r\n\r\n", "HEAD //x 1.1\nhost=a\na=1\na=2\n.\n" },
    { "GET http://b.example/c?d HTTP/1.1\r\nHost: a\r\n\r\n", "GET /c?d 1.1\nhost=b.example\n.\n" },
    { "GET HTTPS://b.example HTTP/1.1\r\nA: b\r\nHost: a\r\n\r\n", "GET / 1.1\na=b\nhost=b.example\n.\n" },
    { "GET http://b?c HTTP/1.1\r\nHost: a\r\n\r\n", "GET /?c 1.1\nhost=b\n.\n" },
    { "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * 1.1\nhost=a\n.\n" },
    { "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", "POST / 1.1 body\nhost=a\ncontent-length=5\n:hello\n.\n" },
    { "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "POST / 1.1\nhost=a\ncontent-length=0\n.\n" },
    { "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n00a;b=\"c;d\";e\r\n, world!!!\r\n0\r\n\r\n",
      "PUT / 1.1 body\nhost=a\ntransfer-encoding=Chunked\n:hello, world!!!\n.\n" },
    { "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nTrailer: y\r\nHost: z\r\n\r\n",
      "POST / 1.1 body\nhost=a\ntransfer-encoding=chunked\n:x\n.\n" },
    { "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "POST / 1.1 body\nhost=a\ntransfer-encoding=chunked\n.\n" },
    { "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\nx",
      "POST / 1.1 body expect\nhost=a\nexpect=100-Continue\ncontent-length=1\n:x\n.\n" },
    { "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
      "POST / 1.0 close body\nexpect=100-continue\ncontent-length=1\n:x\n.\n" },
    { "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n", "GET / 1.1\nhost=a\nexpect=100-continue\n.\n" },
    { "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: h2c, WebSocket\r\nConnection: keep-alive, Upgrade\r\n\r\n",
      "GET /ws 1.1 websocket\nhost=a\nupgrade=h2c, WebSocket\nconnection=keep-alive, Upgrade\n.\n" },
    { "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", "GET /ws 1.1\nhost=a\nupgrade=websocket\n.\n" },
    { "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket2\r\nConnection: Upgrade\r\n\r\n",
      "GET /ws 1.1\nhost=a\nupgrade=websocket2\nconnection=Upgrade\n.\n" },
    { "GET /ws HTTP/1.0\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
      "GET /ws 1.0 close\nupgrade=websocket\nconnection=Upgrade\n.\n" },
    { "POST /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nhi",
      "POST /ws 1.1 body\nhost=a\nupgrade=websocket\nconnection=Upgrade\ncontent-length=2\n:hi\n.\n" },
    { "GET http://[::1]:80/ HTTP/1.0\r\nA: b\r\n\r\n", "GET / 1.0 close\na=b\nhost=[::1]:80\n.\n" },
    { "GET / HTTP/1.1\r\nHost: a_b.example%20;x=(y)!:\r\n\r\n", "GET / 1.1\nhost=a_b.example%20;x=(y)!:\n.\n" },
    { "GET /[a]^b|c?{\"d\"}<\\>` HTTP/1.1\r\nHost: a\r\n\r\n", "GET /[a]^b|c?{\"d\"}<\\>` 1.1\nhost=a\n.\n" },
    { "GET / HTTP/1.1\r\nHost: a\r\nProxy-Connection: close\r\n\r\n", "GET / 1.1\nhost=a\nproxy-connection=close\n.\n" },
    { "GET / HTTP/1.0\r\nProxy-Connection: keep-alive\r\n\r\n", "GET / 1.0 close\nproxy-connection=keep-alive\n.\n" },
    { "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nProxy-Connection: upgrade\r\n\r\n",
      "GET / 1.1\nhost=a\nupgrade=websocket\nproxy-connection=upgrade\n.\n" },
    { "GET / HTTP/1.1\r\nHost: a\r\nConnection: foo\r\nConnection: , ,Close,\r\n\r\n",
      "GET / 1.1 close\nhost=a\nconnection=foo\nconnection=, ,Close,\n.\n" },
    { "GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", "GET / 1.0 close\nconnection=keep-alive, close\n.\n" },
    { "GET / HTTP/1.1\r\nHost: a\r\nExpect:\r\n\r\n", "GET / 1.1\nhost=a\nexpect=\n.\n" },
    { "GET / HTTP/1.0\r\nExpect: wonders\r\n\r\n", "GET / 1.0 close\nexpect=wonders\n.\n" },
    { "DELETE /%7e/~;a=b,c:@!$&'()*+ HTTP/1.1\r\nHost: a\r\n\r\n", "DELETE /%7e/~;a=b,c:@!$&'()*+ 1.1\nhost=a\n.\n" },
};

static void test_good_requests(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        expect_at_every_split(good[i].request, strlen(good[i].request), good[i].expected);
}

/* All of them behind one another: each ends where it ends. */
static void test_pipelined_requests(void **state)
{
    (void)state;
    static struct text stream, expected;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        text_add(&stream, good[i].request, strlen(good[i].request));
        text_add(&expected, good[i].expected, strlen(good[i].expected));
    }
    expect_at_every_split(stream.bytes, stream.length, expected.bytes);
}

#define HOST "Host: a\r\n"
#define POST "POST / HTTP/1.1\r\n" HOST
#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"

static const struct {
    uint16_t status;
    const char *request;
} bad[] = {
    /* the request line */
    { 400, "\x16\x03\x01\x02" },
    { 501, "FROB / HTTP/1.1\r\n" HOST "\r\n" },
    { 501, "get / HTTP/1.1\r\n" HOST "\r\n" },
    { 400, " GET / HTTP/1.1\r\n" HOST "\r\n" },
    { 400, "GET  / HTTP/1.1\r\n" HOST "\r\n" },
    { 400, "GET /  HTTP/1.1\r\n" HOST "\r\n" },
    { 400, "GE(T / HTTP/1.1\r\n" HOST "\r\n" },
    { 501, "GETS / HTTP/1.1\r\n" HOST "\r\n" },
    { 400, "X23456789012345678901234567890123456789 / HTTP/1.1\r\n" HOST "\r\n" },
    { 400, "\nGET / HTTP/1.1\r\n" HOST "\r\n" },
    { 400, "\rGET / HTTP/1.1\r\n" HOST "\r\n" },
    { 400, "\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n" HOST "\r\n" },
    { 400, "GET /\r\n" HOST "\r\n" },
    { 400, "GET /\n" HOST "\r\n" },
    { 400, "GET\t/ HTTP/1.1\r\n" HOST "\r\n" },
    { 400, "GET /a b HTTP/1.1\r\n" HOST "\r\n" },
    { 400, "GET / HTTP/1.1 \r\n" HOST "\r\n" },
    { 400, "GET / HTTP/1.1\n" HOST "\r\n" },
    { 400, "GET / HTTP/11\r\n" HOST "\r\n" },
    { 400, "GET / HTTP/x.1\r\n" HOST "\r\n" },
    { 400, "GET / http/1.1\r\n" HOST "\r\n" },
    { 400, "OPTIONS / RTSP/1.0\r\n\r\n" },
    { 400, "SOURCE / ICE/1.0\r\n\r\n" },
    { 501, "DESCRIBE / HTTP/1.1\r\n" HOST "\r\n" },
    { 505, "GET / HTTP/2.0\r\n" HOST "\r\n" },
    { 505, "GET / HTTP/0.9\r\n\r\n" },
    { 505, "GET / HTTP/1.2\r\n" HOST "\r\n" },
    { 505, "GET / HTTP/3.0\r\n" HOST "\r\n" },
    { 505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" },
    { 501, "CONNECT a:443 HTTP/1.1\r\n" HOST "\r\n" },
    { 400, "GET a HTTP/1.1\r\n" HOST "\r\n" },
    { 400, "GET * HTTP/1.1\r\n" HOST "\r\n" },
    { 400, "OPTIONS *a HTTP/1.1\r\n" HOST "\r\n" },
    { 400, "GET /a#b HTTP/1.1\r\n" HOST "\r\n" },
    { 400, "GET ftp://a/ HTTP/1.1\r\n" HOST "\r\n" },
    { 400, "GET http:///a HTTP/1.1\r\n" HOST "\r\n" },
    { 400, "GET http://a@b/ HTTP/1.1\r\n" HOST "\r\n" },
    { 400, "GET http://:80/ HTTP/1.1\r\n" HOST "\r\n" },
    { 400, "GET http://a:x/ HTTP/1.1\r\n" HOST "\r\n" },
    { 400, "GET http://a\\b/ HTTP/1.1\r\n" HOST "\r\n" },
    { 400, "GET http://b/ HTTP/1.1\r\n\r\n" },
    { 400, "GET /a\\b HTTP/1.1\r\n" HOST "\r\n" },
    { 400, "GET /{a} HTTP/1.1\r\n" HOST "\r\n" },
    { 400, "GET /?a#b HTTP/1.1\r\n" HOST "\r\n" },
    { 400, "GET http:// HTTP/1.1\r\n" HOST "\r\n" },
    { 400, "GET /\xc3\xa4 HTTP/1.1\r\n" HOST "\r\n" },
    { 400, "GET /\x7f HTTP/1.1\r\n" HOST "\r\n" },
    { 400, "GET /\x01 HTTP/1.1\r\n" HOST "\r\n" },
    /* fields */
    { 400, "GET / HTTP/1.1\r\n\r\n" },
    { 400, "GET / HTTP/1.1\r\n" HOST HOST "\r\n" },
    { 400, "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n" },
    { 400, "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n" },
    { 400, "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n" },
    { 400, "GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n" },
    { 400, "GET / HTTP/1.1\r\nHost: :80\r\n\r\n" },
    { 400, "GET / HTTP/1.1\r\nHost: a%2\r\n\r\n" },
    { 400, "GET / HTTP/1.1\r\nHost: a%zz\r\n\r\n" },
    { 400, "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n" },
    { 400, "GET / HTTP/1.1\r\nHost: []\r\n\r\n" },
    { 400, "GET / HTTP/1.1\r\nHost: [::1]a\r\n\r\n" },
    { 400, "GET / HTTP/1.1\r\nHost: [a]\r\n\r\n" },
    { 400, "GET / HTTP/1.1\r\nHost: [1111:2222:3333:4444:5555:6666:7777:8888:9999:1111]\r\n\r\n" },
    { 400, "GET / HTTP/1.1\r\nHost: \xc3\xa4\r\n\r\n" },
    { 400, "GET / HTTP/1.1\r\n" HOST "Connection: close, Content-Length\r\n\r\n" },
    { 400, "GET / HTTP/1.1\r\n" HOST "Connection: Transfer-Encoding\r\n\r\n" },
    { 400, "GET / HTTP/1.1\r\n" HOST "Connection: host\r\n\r\n" },
    { 400, "GET / HTTP/1.1\r\n" HOST "Connection: a b\r\n\r\n" },
    { 417, "GET / HTTP/1.1\r\n" HOST "Expect: wonders\r\n\r\n" },
    { 417, "GET / HTTP/1.1\r\n" HOST "Expect: 100-continue, 200\r\n\r\n" },
    { 400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n" },
    { 400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n" },
    { 400, "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n" },
    { 400, "GET / HTTP/1.0\r\n" HOST "Host: b\r\n\r\n" },
    { 400, "GET / HTTP/1.1\r\n" HOST "A : b\r\n\r\n" },
    { 400, "GET / HTTP/1.1\r\n" HOST "A\r\n\r\n" },
    { 400, "GET / HTTP/1.1\r\n" HOST ": b\r\n\r\n" },
    { 400, "GET / HTTP/1.1\r\n" HOST "A: b\r\n c\r\n\r\n" },
    { 400, "GET / HTTP/1.1\r\n A: b\r\n" HOST "\r\n" },
    { 400, "GET / HTTP/1.1\r\n" HOST "A: b\n\r\n" },
    { 400, "GET / HTTP/1.1\r\n" HOST "A: b\r\r\n\r\n" },
    { 400, "GET / HTTP/1.1\r\n" HOST "A: b\rC: d\r\n\r\n" },
    { 400, "GET / HTTP/1.1\r\n" HOST "A:\n b\r\n\r\n" },
    { 400, "GET / HTTP/1.1\r\n" HOST "\n" },
    { 400, "GET / HTTP/1.1\r\n" HOST "\rX" },
    /* the body's framing */
    { 400, POST "Content-Length: x\r\n\r\n" },
    { 400, POST "Content-Length: -1\r\n\r\n" },
    { 400, POST "Content-Length: +1\r\n\r\n" },
    { 400, POST "Content-Length: 1 1\r\n\r\n" },
    { 400, POST "Content-Length: 1, 1\r\n\r\n" },
    { 400, POST "Content-Length:\r\n\r\n" },
    { 400, POST "Content-Length: 0x1\r\n\r\n" },
    { 400, POST "Content-Length: 1\r\nContent-Length: 2\r\n\r\n" },
    { 400, POST "Content-Length: 1\r\nContent-Length: 1\r\n\r\n" },
    { 400, POST "Content-Length: 99999999999999999999999\r\n\r\n" },
    { 400, POST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n" },
    { 400, POST "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n" },
    { 400, POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" },
    { 400, POST "Transfer-Encoding: chunked, gzip\r\n\r\n" },
    { 501, POST "Transfer-Encoding: gzip\r\n\r\n" },
    { 501, POST "Transfer-Encoding: gzip, chunked\r\n\r\n" },
    { 501, POST "Transfer-Encoding: identity\r\n\r\n" },
    { 501, POST "Transfer-Encoding: xchunked\r\n\r\n" },
    { 400, POST "Transfer-Encoding: \x0b\r\n\r\n" },
    { 400, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" },
    { 413, POST "Content-Length: 101\r\n\r\n" },
    /* chunks; their heads have been announced by then */
    { 400, CHUNKED "x\r\n" },
    { 400, CHUNKED "-1\r\n" },
    { 400, CHUNKED "0x1\r\nx\r\n" },
    { 400, CHUNKED "\r\n" },
    { 400, CHUNKED "1 \r\nx\r\n" },
    { 400, CHUNKED "1\nx\r\n" },
    { 400, CHUNKED "1\r\nxy\r\n" },
    { 400, CHUNKED "1\r\nx\n" },
    { 400, CHUNKED "1;a=\r\nx\r\n" },
    { 400, CHUNKED "1;a=;b\r\nx\r\n" },
    { 400, CHUNKED "1;\x01\r\nx\r\n" },
    { 400, CHUNKED "fffffffffffffffff\r\nx\r\n" },
    { 400, CHUNKED "0\r\nA: \x01\r\n\r\n" },
    { 400, CHUNKED "0\r\n\n" },
    { 413, CHUNKED "65\r\nx" },
    { 413, CHUNKED "1\r\nx\r\n64\r\nx" },
};

static uint16_t status_of(const char *said)
{
    const char *mark = strrchr(said, '!');
    return mark != NULL ? (uint16_t)atoi(mark + 1) : 0;
}

static void test_bad_requests(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        size_t length = strlen(bad[i].request);
        for (size_t split = 0; split <= length + 1; split++) {
            uint16_t status = status_of(parse(&limits, bad[i].request, length, split));
            if (status != bad[i].status)
                fail_msg("%d instead of %d, split at %zu: %s", status, bad[i].status, split, bad[i].request);
        }
    }
}

/* llhttp does not take it for chunks, and says so after the head: no application may have been told of a request without a body. */
static void test_chunked_to_one_of_two(void **state)
{
    (void)state;
    static const char request[] = POST "Transfer-Encoding: chunked\t\r\n\r\n";
    expect_at_every_split(request, sizeof request - 1, "!400\n");
}

/* A zero byte, anywhere, and every other control byte. */
static void test_every_byte(void **state)
{
    (void)state;
    for (unsigned byte = 0; byte < 256; byte++) {
        char request[96];
        bool token = byte != 0 && (strchr("!#$%&'*+-.^_`|~", (int)byte) != NULL || (byte >= '0' && byte <= '9') ||
                                   ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'z'));
        bool in_value = byte == '\t' || (byte >= ' ' && byte != 0x7f && byte != 0x85);
        bool in_target = byte > ' ' && byte < 0x7f && strchr("#\"<>\\`{}", (int)byte) == NULL;
        int length = snprintf(request, sizeof request, "GET / HTTP/1.1\r\nHost: a\r\nA%cB: c\r\n\r\n", (int)byte);
        if (byte != ':')
            assert_int_equal(status_of(parse(&limits, request, (size_t)length, 0)), token ? 0 : 400);
        length = snprintf(request, sizeof request, "GET / HTTP/1.1\r\nHost: a\r\nA: b%cc\r\n\r\n", (int)byte);
        assert_int_equal(status_of(parse(&limits, request, (size_t)length, 0)), in_value ? 0 : 400);
        length = snprintf(request, sizeof request, "GET /a%cb HTTP/1.1\r\nHost: a\r\n\r\n", (int)byte);
        assert_int_equal(status_of(parse(&limits, request, (size_t)length, 0)), in_target ? 0 : 400);
    }
}

/* n bytes of filler in a request that has one place for them. */
static uint16_t with_filler(const struct server_settings *settings, const char *before, size_t n, const char *after)
{
    static struct text request;
    request.length = 0;
    text_add(&request, before, strlen(before));
    for (size_t i = 0; i < n; i++)
        text_add(&request, "x", 1);
    text_add(&request, after, strlen(after));
    uint16_t whole = status_of(parse(settings, request.bytes, request.length, 0));
    assert_int_equal(status_of(parse(settings, request.bytes, request.length, request.length + 1)), whole);
    return whole;
}

static void test_limits(void **state)
{
    (void)state;
    const struct server_settings unlimited = { .server_name = NULL };
    assert_int_equal(with_filler(&limits, "GET /", 63, " HTTP/1.1\r\nHost: a\r\n\r\n"), 0);
    assert_int_equal(with_filler(&limits, "GET /", 64, " HTTP/1.1\r\nHost: a\r\n\r\n"), 414);
    assert_int_equal(with_filler(&unlimited, "GET /", 20000, " HTTP/1.1\r\nHost: a\r\n\r\n"), 0);
    /* 256 bytes: Host, a, A and the filler */
    assert_int_equal(with_filler(&limits, "GET / HTTP/1.1\r\nHost: a\r\nA: ", 250, "\r\n\r\n"), 0);
    assert_int_equal(with_filler(&limits, "GET / HTTP/1.1\r\nHost: a\r\nA: ", 251, "\r\n\r\n"), 431);
    assert_int_equal(with_filler(&limits, "GET / HTTP/1.1\r\nHost: a\r\n", 251, ":\r\n\r\n"), 0);
    assert_int_equal(with_filler(&limits, "GET / HTTP/1.1\r\nHost: a\r\n", 252, ":\r\n\r\n"), 431);
    assert_int_equal(with_filler(&limits, "GET / HTTP/1.1\r\nHost: a\r\n_", 251, ":\r\n\r\n"), 431);
    assert_int_equal(with_filler(&unlimited, "GET / HTTP/1.1\r\nHost: a\r\nA: ", 20000, "\r\n\r\n"), 0);
#define SEVEN HOST "A: b\r\nA: b\r\nA: b\r\nA: b\r\nA: b\r\nA: b\r\n"
    assert_int_equal(with_filler(&limits, "GET / HTTP/1.1\r\n" SEVEN "A_: ", 1, "\r\n\r\n"), 0);
    assert_int_equal(with_filler(&limits, "GET / HTTP/1.1\r\n" SEVEN "A_: b\r\nB: ", 1, "\r\n\r\n"), 431);
    assert_int_equal(with_filler(&unlimited, "GET / HTTP/1.1\r\n" SEVEN "A: b\r\nB: ", 1, "\r\n\r\n"), 0);
    assert_int_equal(with_filler(&limits, CHUNKED "0\r\nA: ", 255, "\r\n\r\n"), 0);
    assert_int_equal(with_filler(&limits, CHUNKED "0\r\nA: ", 256, "\r\n\r\n"), 431);
    assert_int_equal(with_filler(&limits, CHUNKED "0\r\n" SEVEN "A: b\r\nB: ", 1, "\r\n\r\n"), 431);
    assert_int_equal(with_filler(&limits, CHUNKED "1;", 256, "\r\nx\r\n0\r\n\r\n"), 0);
    assert_int_equal(with_filler(&limits, CHUNKED "1;abcdefghijklmnopqrstuvwxyz\r\nx\r\n1;", 256, "\r\nx\r\n0\r\n\r\n"), 0);
    assert_int_equal(with_filler(&limits, CHUNKED "1;abcdefghijklmnopqrstuvwxyz\r\nx\r\n0\r\nA: ", 255, "\r\n\r\n"), 0);
    assert_int_equal(with_filler(&limits, CHUNKED "1;", 257, "\r\nx\r\n0\r\n\r\n"), 431);
    assert_int_equal(with_filler(&limits, POST "Content-Length: 100\r\n\r\n", 100, ""), 0);
    assert_int_equal(with_filler(&limits, CHUNKED "64\r\n", 100, "\r\n0\r\n\r\n"), 0);
    assert_int_equal(with_filler(&limits, CHUNKED "63\r\n", 99, "\r\n2\r\nyy\r\n0\r\n\r\n"), 413);
    assert_int_equal(with_filler(&unlimited, CHUNKED "4e20\r\n", 20000, "\r\n0\r\n\r\n"), 0);
}

/* Fifty fields: the array grows, and pieces stay right. */
static void test_many_fields(void **state)
{
    (void)state;
    const struct server_settings unlimited = { .server_name = NULL };
    static struct text request, expected;
    text_format(&request, "GET / HTTP/1.1\r\nHost: a\r\n");
    text_format(&expected, "GET / 1.1\nhost=a\n");
    for (int i = 0; i < 50; i++) {
        text_format(&request, "X-%d: value %d\r\n", i, i);
        text_format(&expected, "x-%d=value %d\n", i, i);
    }
    text_format(&request, "\r\n");
    text_format(&expected, ".\n");
    for (size_t split = 0; split <= request.length + 1; split += 5)
        assert_string_equal(parse(&unlimited, request.bytes, request.length, split), expected.bytes);
}

/* feed() has seen that the arena is gone after each message. */
static void test_what_an_idle_connection_holds(void **state)
{
    (void)state;
    assert_true(sizeof(struct http1_parser) <= 384);
}

/* An absolute-form without Host: the field is made, in memory that may not be there. */
static bool one_absolute_request(void)
{
    static const char request[] = "GET http://b.example/ HTTP/1.0\r\nA: b\r\n\r\n";
    const struct server_settings unlimited = { .server_name = NULL };
    uint16_t status = status_of(parse(&unlimited, request, sizeof request - 1, sizeof request));
    assert_true(status == 0 || status == 503);
    return status != 0;
}

static bool one_request(void)
{
    static const char request[] = "POST /somewhere HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5\r\nF: 6\r\nG: 7\r\n"
                                  "H: 8\r\nI: 9\r\nJ: 0\r\nK: 1\r\nL: 2\r\nM: 3\r\nN: 4\r\nO: 5\r\nP: 6\r\nQ: 7\r\n"
                                  "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nT: t\r\n\r\n";
    const struct server_settings unlimited = { .server_name = NULL };
    const char *said = parse(&unlimited, request, sizeof request - 1, 12);
    uint16_t status = status_of(said);
    assert_true(status == 0 || status == 503);
    return status != 0;
}

static void test_failing_memory(void **state)
{
    (void)state;
    fail_every_allocation(one_request);
    fail_every_allocation(one_absolute_request);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_requests),
        cmocka_unit_test(test_pipelined_requests),
        cmocka_unit_test(test_bad_requests),
        cmocka_unit_test(test_chunked_to_one_of_two),
        cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_many_fields),
        cmocka_unit_test(test_what_an_idle_connection_holds),
        cmocka_unit_test(test_failing_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
