/* Whatever a client does, with the first, second, third … allocation failing meanwhile: it is answered or it loses its
 * connection, nothing hangs or leaks, and two others, who have nothing to do with it, notice nothing. */
#include <signal.h>

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

static void try(void (*scenario)(int fd))
{
    struct server_settings settings = test_settings();
    struct fixture *f = fixture_start(&settings);
    struct others others = others_begin(f);
    others_notice_nothing(&others);
    bool failed = true;
    for (unsigned long n = 1; failed; n++) {
        assert_true(n < MOST_ALLOCATIONS);
        mem_fail_at(n);
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
        forget(f);
    }
    close(others.request);
    close(others.websocket);
    fixture_stop(f);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request_),     cmocka_unit_test(many_fields_),    cmocka_unit_test(pipelined_),
        cmocka_unit_test(body_),        cmocka_unit_test(chunks_),         cmocka_unit_test(head_in_pieces_),
        cmocka_unit_test(old_protocol_), cmocka_unit_test(bad_request_),   cmocka_unit_test(long_target_),
        cmocka_unit_test(bad_handshake_), cmocka_unit_test(echo_),         cmocka_unit_test(long_echo_),
        cmocka_unit_test(fragments_),   cmocka_unit_test(compressed_),     cmocka_unit_test(bad_frame_),
        cmocka_unit_test(leaving_),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
