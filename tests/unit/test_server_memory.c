/* Whatever a client does, with the first, second, third … allocation failing meanwhile, alone or with those behind it: the client is
 * answered or loses its connection, nothing hangs or leaks, and two other clients notice nothing. */
#include <limits.h>
#include <signal.h>
#include <zlib.h>

#include "base/alloc.h"
#include "tests/unit/server_fixture.h"

enum { MOST_ALLOCATIONS = 2000, LONG = 40000 };

static const char text[] = "twelve bytes";

struct others {
    int request, websocket;
};

/* --- what a client may do; each ends when the server has closed --- */

#define CLOSING "Host: x\r\nConnection: close\r\n"

static void hear_the_rest(int fd)
{
    char ignored[256];
    hear_all(fd, ignored, sizeof ignored);
}

static void request(int fd)
{
    say(fd, "GET /hello HTTP/1.1\r\n" CLOSING "\r\n");
    hear_the_rest(fd);
}

static void many_fields(int fd)
{
    say(fd, "GET /hello?with=a&query=b HTTP/1.1\r\n" CLOSING);
    for (int i = 0; i < 40; i++)
        say(fd, "X-A-Field-With-A-Name: and a value that is not so short\r\n");
    say(fd, "\r\n");
    hear_the_rest(fd);
}

static void pipelined(int fd)
{
    say(fd, "GET /hello1 HTTP/1.1\r\nHost: x\r\n\r\nGET /hello2 HTTP/1.1\r\nHost: x\r\n\r\nGET /hello3 HTTP/1.1\r\n" CLOSING "\r\n");
    hear_the_rest(fd);
}

static void body(int fd)
{
    char bytes[LONG];
    memset(bytes, 'x', sizeof bytes);
    say(fd, "POST /hello HTTP/1.1\r\n" CLOSING "Content-Length: 40000\r\n\r\n");
    say_bytes(fd, bytes, sizeof bytes);
    hear_the_rest(fd);
}

static void chunks(int fd)
{
    say(fd, "POST /hello HTTP/1.1\r\n" CLOSING "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nagain\r\n0\r\nTrailer: x\r\n\r\n");
    hear_the_rest(fd);
}

static void head_in_pieces(int fd)
{
    say(fd, "GET /he");
    usleep(2000);
    say(fd, "llo HTTP/1.1\r\nHo");
    usleep(2000);
    say(fd, "st: x\r\nConnection: close\r\n\r\n");
    hear_the_rest(fd);
}

static void old_protocol(int fd)
{
    say(fd, "GET /hello HTTP/1.0\r\n\r\n");
    hear_the_rest(fd);
}

static void bad_request(int fd)
{
    say(fd, "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: none\r\n\r\n");
    hear_the_rest(fd);
}

static void long_target(int fd)
{
    char bytes[LONG];
    memset(bytes, '/', sizeof bytes);
    memcpy(bytes, "GET /", 5);
    say_bytes(fd, bytes, sizeof bytes);
    hear_the_rest(fd);
}

static void bad_handshake(int fd)
{
    say(fd, "GET /echo HTTP/1.1\r\n" "Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 7\r\n\r\n");
    shutdown(fd, SHUT_WR);
    hear_the_rest(fd);
}

/* An opened WebSocket, or false where its connection is lost already. */
static bool open_echo(int fd, const char *handshake)
{
    char head[1024];
    say(fd, handshake);
    return hear_until(fd, head, sizeof head, "\r\n\r\n") && strstr(head, " 101 ") != NULL;
}

static void say_and_close(int fd, unsigned opcode, const char *bytes, size_t length)
{
    say_frame(fd, opcode, bytes, length);
    say_frame(fd, 8, "\x03\xe8", 2);
    hear_the_rest(fd);
}

static void echo(int fd)
{
    if (open_echo(fd, HANDSHAKE("/echo")))
        say_and_close(fd, 1, text, sizeof text - 1);
}

static void long_echo(int fd)
{
    static char bytes[LONG];
    if (open_echo(fd, HANDSHAKE("/echo")))
        say_and_close(fd, 2, bytes, sizeof bytes);
}

static void fragments(int fd)
{
    static const unsigned char frames[] = "\x01\x85\0\0\0\0hello\x89\x82\0\0\0\0hi\x80\x85\0\0\0\0again";
    if (!open_echo(fd, HANDSHAKE("/echo")))
        return;
    say_bytes(fd, frames, sizeof frames - 1);
    say_and_close(fd, 9, "ping", 4);
}

/* A message that is inflated, and whose echo is compressed, in several slices. */
static void say_bomb(int fd)
{
    enum { TAIL = 4 };
    static char bytes[3 * LONG];
    static unsigned char payload[1000];
    z_stream z = { .next_in = (unsigned char *)bytes, .avail_in = sizeof bytes, .next_out = payload, .avail_out = sizeof payload };
    deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -12, 5, Z_DEFAULT_STRATEGY);
    deflate(&z, Z_SYNC_FLUSH);
    deflateEnd(&z);
    size_t length = sizeof payload - z.avail_out - TAIL;
    unsigned char header[8] = { 0xc2, 0xfe, (unsigned char)(length >> 8), (unsigned char)length };
    assert_true(length > 125 && z.avail_out > 0);
    say_bytes(fd, header, sizeof header);
    say_bytes(fd, payload, length);
}

static void compressed(int fd)
{
    static const char handshake[] =
        "GET /echo HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";
    static const unsigned char hello[] = "\xc1\x87\0\0\0\0\xf2\x48\xcd\xc9\xc9\x07\x00"; /* RFC 7692, 7.2.3.1 */
    static char bytes[LONG];
    memset(bytes, 'x', sizeof bytes);
    if (!open_echo(fd, handshake))
        return;
    say_bytes(fd, hello, sizeof hello - 1);
    say_bomb(fd);
    say_and_close(fd, 1, bytes, sizeof bytes);
}

static void bad_frame(int fd)
{
    if (!open_echo(fd, HANDSHAKE("/echo")))
        return;
    say_frame(fd, 1, "\xff\xff", 2); /* no UTF-8 */
    hear_the_rest(fd);
}

static void leaving(int fd)
{
    if (open_echo(fd, HANDSHAKE("/echo")))
        say_frame(fd, 1, text, sizeof text - 1);
}

/* --- the same over HTTP/2: frames, and fields as HPACK writes them --- */

struct writing {
    unsigned char bytes[2 * LONG];
    size_t length;
};

static void put(struct writing *writing, const void *bytes, size_t length)
{
    assert_true(length <= sizeof writing->bytes - writing->length);
    memcpy(writing->bytes + writing->length, bytes, length);
    writing->length += length;
}

enum { DATA = 0, HEADERS = 1, SETTINGS = 4, GOAWAY = 7, WINDOW_UPDATE = 8, END_STREAM = 1, END_HEADERS = 4 };

static void put_frame(struct writing *writing, unsigned type, unsigned flags, unsigned stream, const void *payload, size_t length)
{
    unsigned char header[9] = { (unsigned char)(length >> 16), (unsigned char)(length >> 8), (unsigned char)length,
                                (unsigned char)type, (unsigned char)flags, 0, 0, 0, (unsigned char)stream };
    put(writing, header, sizeof header);
    put(writing, payload, length);
}

static void put_preface(struct writing *writing)
{
    put(writing, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    put_frame(writing, SETTINGS, 0, 0, "", 0);
}

/* What the client asks for last: the server closes when the streams have ended. */
static void say_all(int fd, struct writing *writing)
{
    put_frame(writing, GOAWAY, 0, 0, "\0\0\0\0\0\0\0\0", 8);
    say_bytes(fd, writing->bytes, writing->length);
    hear_the_rest(fd);
}

/* :method GET, :scheme http, :path /hello, :authority x */
#define GET_HELLO "\x82\x86\x04\x06/hello\x01\x01x"

static void http2_requests(int fd)
{
    struct writing writing = { .length = 0 };
    put_preface(&writing);
    put_frame(&writing, HEADERS, END_STREAM | END_HEADERS, 1, GET_HELLO, sizeof GET_HELLO - 1);
    static const char many[] = GET_HELLO "\x40\x06x-name\x05value\x60\x03""a=1\x60\x03""b=2\xbf";
    put_frame(&writing, HEADERS, END_STREAM | END_HEADERS, 3, many, sizeof many - 1);
    say_all(fd, &writing);
}

static void http2_body(int fd)
{
    static const char post[] = "\x83\x86\x04\x06/hello\x01\x01x";
    static const unsigned char zeros[10000];
    struct writing writing = { .length = 0 };
    put_preface(&writing);
    put_frame(&writing, HEADERS, END_HEADERS, 1, post, sizeof post - 1);
    for (int i = 0; i < 4; i++)
        put_frame(&writing, DATA, i == 3 ? END_STREAM : 0, 1, zeros, sizeof zeros);
    say_all(fd, &writing);
}

static void http2_bad_head(int fd)
{
    static const char two_hosts[] = GET_HELLO "\x00\x04host\x01y";
    struct writing writing = { .length = 0 };
    put_preface(&writing);
    put_frame(&writing, HEADERS, END_STREAM | END_HEADERS, 1, two_hosts, sizeof two_hosts - 1);
    say_all(fd, &writing);
}

/* Its stream is reset, and the fields behind the limit only go through HPACK. */
static void http2_long_head(int fd)
{
    static const char field[] = "\x40\x01x\x01y";
    char repeated[300];
    struct writing block = { .length = 0 }, writing = { .length = 0 };
    memset(repeated, 0x80 | 62, sizeof repeated); /* the newest entry of the table */
    put(&block, GET_HELLO, sizeof GET_HELLO - 1);
    put(&block, field, sizeof field - 1);
    put(&block, repeated, sizeof repeated);
    put_preface(&writing);
    put_frame(&writing, HEADERS, END_STREAM | END_HEADERS, 1, block.bytes, block.length);
    put_frame(&writing, HEADERS, END_STREAM | END_HEADERS, 3, GET_HELLO, sizeof GET_HELLO - 1);
    say_all(fd, &writing);
}

static const char websocket_handshake[] = "\x02\x07""CONNECT\x86\x04\x05/echo\x01\x01x\x00\x09:protocol\x09websocket"
                                          "\x00\x15sec-websocket-version\x02" "13";

static void http2_websocket(int fd)
{
    static const unsigned char frames[] = "\x81\x85\0\0\0\0hello\x88\x82\0\0\0\0\x03\xe8";
    struct writing writing = { .length = 0 };
    put_preface(&writing);
    put_frame(&writing, HEADERS, END_HEADERS, 1, websocket_handshake, sizeof websocket_handshake - 1);
    put_frame(&writing, DATA, END_STREAM, 1, frames, sizeof frames - 1);
    say_all(fd, &writing);
}

/* Its windows are small: what is sent to it waits, while streams end. */
static void http2_slow_reader(int fd)
{
    enum { LENGTH = 0x2300 };
    static unsigned char message[8 + LENGTH] = { 0x82, 0xfe, LENGTH >> 8, LENGTH & 0xff };
    struct writing writing = { .length = 0 };
    put(&writing, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    put_frame(&writing, SETTINGS, 0, 0, "\0\4\0\0\x10\0", 6); /* INITIAL_WINDOW_SIZE: 4096 */
    put_frame(&writing, HEADERS, END_STREAM | END_HEADERS, 1, GET_HELLO, sizeof GET_HELLO - 1);
    put_frame(&writing, HEADERS, END_HEADERS, 3, websocket_handshake, sizeof websocket_handshake - 1);
    put_frame(&writing, HEADERS, END_STREAM | END_HEADERS, 5, GET_HELLO, sizeof GET_HELLO - 1);
    put_frame(&writing, DATA, 0, 3, message, sizeof message);
    say_bytes(fd, writing.bytes, writing.length);
    usleep(3000); /* the echo comes, as far as the window goes */
    writing.length = 0;
    put_frame(&writing, WINDOW_UPDATE, 0, 3, "\0\0\x40\0", 4);
    put_frame(&writing, DATA, END_STREAM, 3, "", 0);
    put_frame(&writing, HEADERS, END_STREAM | END_HEADERS, 7, GET_HELLO, sizeof GET_HELLO - 1);
    say_all(fd, &writing);
}

/* --- */

static bool expect(int fd, const char *wanted)
{
    char got[1024];
    return hear_until(fd, got, sizeof got, wanted);
}

static struct others others_begin(struct fixture *f)
{
    struct others others = { dial(f), dial(f) };
    assert_true(open_echo(others.websocket, HANDSHAKE("/echo")));
    return others;
}

static void others_notice_nothing(const struct others *others)
{
    say(others->request, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_true(expect(others->request, "\r\n\r\n/hello"));
    say_frame(others->websocket, 1, text, sizeof text - 1);
    assert_true(expect(others->websocket, text));
}

static void forget(struct fixture *f)
{
    pthread_mutex_lock(&f->lock);
    f->count = 0;
    f->echo_count = 1; /* the other's */
    pthread_mutex_unlock(&f->lock);
}

/* The application's side ends the owner of each exchange that it hears of: an exchange of which it never hears would leave its owner. */
static void each_exchange_was_announced(struct fixture *f)
{
    pthread_mutex_lock(&f->lock);
    for (size_t i = 0; i < f->count; i++) {
        bool announced = f->log[i].kind != HOOK_BEGUN;
        for (size_t j = 0; j < f->count && !announced; j++)
            announced = f->log[j].kind == EVENT_REQUEST && f->log[j].exchange == f->log[i].exchange;
        assert_true(announced);
    }
    pthread_mutex_unlock(&f->lock);
}

/* count: how many allocations in a row fail */
static void try_with(void (*scenario)(int fd), unsigned long count)
{
    struct server_settings settings = test_settings();
    application_is_spared = count > 1; /* it tries once more, and no further */
    struct fixture *f = fixture_start(&settings);
    struct others others = others_begin(f);
    others_notice_nothing(&others);
    bool failed = true;
    for (unsigned long n = 1; failed; n++) {
        assert_true(n < MOST_ALLOCATIONS);
        mem_fail_run(n, count);
        int fd = dial(f);
        say_may_fail = true;
        scenario(fd);
        say_may_fail = false;
        close(fd);
        AWAIT_STAT(f, connections, 2);
        AWAIT_STAT(f, exchanges, 1);
        failed = mem_try_count() >= n;
        mem_fail_at(0);
        others_notice_nothing(&others);
        each_exchange_was_announced(f);
        forget(f);
    }
    close(others.request);
    close(others.websocket);
    fixture_stop(f);
}

static void try(void (*scenario)(int fd))
{
    static const unsigned long counts[] = { 1, 2, 5, ULONG_MAX };
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        try_with(scenario, counts[i]);
}

#define SCENARIO(name)               \
    static void name##_(void **state) \
    {                                \
        (void)state;                 \
        try(name);                   \
    }

SCENARIO(request)
SCENARIO(many_fields)
SCENARIO(pipelined)
SCENARIO(body)
SCENARIO(chunks)
SCENARIO(head_in_pieces)
SCENARIO(old_protocol)
SCENARIO(bad_request)
SCENARIO(long_target)
SCENARIO(bad_handshake)
SCENARIO(echo)
SCENARIO(long_echo)
SCENARIO(fragments)
SCENARIO(compressed)
SCENARIO(bad_frame)
SCENARIO(leaving)
SCENARIO(http2_requests)
SCENARIO(http2_body)
SCENARIO(http2_bad_head)
SCENARIO(http2_long_head)
SCENARIO(http2_websocket)
SCENARIO(http2_slow_reader)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request_),     cmocka_unit_test(many_fields_),    cmocka_unit_test(pipelined_),
        cmocka_unit_test(body_),        cmocka_unit_test(chunks_),         cmocka_unit_test(head_in_pieces_),
        cmocka_unit_test(old_protocol_), cmocka_unit_test(bad_request_),   cmocka_unit_test(long_target_),
        cmocka_unit_test(bad_handshake_), cmocka_unit_test(echo_),         cmocka_unit_test(long_echo_),
        cmocka_unit_test(fragments_),   cmocka_unit_test(compressed_),     cmocka_unit_test(bad_frame_),
        cmocka_unit_test(leaving_),     cmocka_unit_test(http2_requests_), cmocka_unit_test(http2_body_),
        cmocka_unit_test(http2_bad_head_), cmocka_unit_test(http2_long_head_), cmocka_unit_test(http2_websocket_),
        cmocka_unit_test(http2_slow_reader_),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
