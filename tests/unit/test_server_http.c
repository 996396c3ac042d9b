/* HTTP/1.1 over real sockets: exchanges, flow control, how requests end. */
#include "tests/unit/server_fixture.h"

#define GET(target) "GET " target " HTTP/1.1\r\nHost: x\r\n\r\n"

static void test_keep_alive(void **state)
{
    struct server_settings settings = test_settings();
    struct fixture *f = fixture_start(&settings);
    char text[1024];
    int fd = dial(f);
    for (int i = 0; i < 2; i++) {
        say(fd, GET("/hello"));
        assert_true(hear_until(fd, text, sizeof text, "\r\n\r\n/hello"));
        assert_non_null(strstr(text, "HTTP/1.1 200 OK\r\n"));
        assert_non_null(strstr(text, "date: "));
        assert_non_null(strstr(text, "server: test\r\n"));
    }
    AWAIT_STAT(f, exchanges, 0);
    assert_int_equal(stats_of(f).requests_total, 2);
    assert_int_equal(stats_of(f).connections, 1);
    close(fd);
    AWAIT_STAT(f, connections, 0);
    fixture_stop(f);
}

/* Requests in one write are answered in order, each whole. */
static void test_pipelining(void **state)
{
    struct server_settings settings = test_settings();
    struct fixture *f = fixture_start(&settings);
    char text[1024], request[8192] = "", needle[32];
    int fd = dial(f);
    for (int i = 0; i < 64; i++)
        snprintf(request + strlen(request), sizeof request - strlen(request), "GET /hello/%d HTTP/1.1\r\nHost: x\r\n\r\n", i);
    say(fd, request);
    for (int i = 0; i < 64; i++) {
        snprintf(needle, sizeof needle, "\r\n\r\n/hello/%d", i);
        assert_true(hear_until(fd, text, sizeof text, needle));
        assert_ptr_equal(strstr(text, "HTTP/1.1 200 OK\r\n"), text);
    }
    close(fd);
    fixture_stop(f);
}

/* A request that no application sees is told with what was read of it; the bytes of its method are followed by those of its target. */
static void test_refused_requests(void **state)
{
    static const struct {
        const char *request, *read;
        uint16_t status;
    } cases[] = {
        { "GET /a HTTP/1.1\r\n\r\n", "GET/a", 400 },
        { "GET /0123456789 HTTP/1.1\r\nHost: x\r\n\r\n", "GET/01234567", 414 },
        { "BLAH / HTTP/1.1\r\nHost: x\r\n\r\n", "", 501 },
        { "GET /b HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", "GET/b", 426 },
    };
    struct server_settings settings = test_settings();
    settings.max_target_size = 9;
    struct fixture *f = fixture_start(&settings);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[1024];
        int fd = dial(f);
        say(fd, cases[i].request);
        hear_all(fd, text, sizeof text);
        struct note note = await(f, EVENT_REFUSED, 0);
        assert_int_equal(note.status, cases[i].status);
        assert_string_equal((const char *)note.bytes, cases[i].read);
        close(fd);
        AWAIT_STAT(f, connections, 0);
    }
    fixture_stop(f);
}

/* No body follows what a HEAD request is answered with, also where the head is refused before it has been read to its end; a refused GET
 * on the same connection gets one. */
static void test_refused_heads(void **state)
{
    static const char bad[] = "/hello HTTP/1.1\r\nHost: x\r\nContent-Length: 1x\r\n\r\n";
    struct server_settings settings = test_settings();
    struct fixture *f = fixture_start(&settings);
    for (int i = 0; i < 2; i++) {
        char text[1024], head[1024];
        int fd = dial(f);
        say(fd, "HEAD /hello HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_true(hear_until(fd, head, sizeof head, "\r\n\r\n"));
        say(fd, i == 0 ? "HEAD " : "GET ");
        say(fd, bad);
        hear_all(fd, text, sizeof text);
        assert_non_null(strstr(text, "HTTP/1.1 400 "));
        assert_string_equal(strstr(text, "\r\n\r\n"), i == 0 ? "\r\n\r\n" : "\r\n\r\nBad Request\n");
        close(fd);
    }
    fixture_stop(f);
}

/* Nobody wants to know. */
static void test_refused_requests_are_not_told(void **state)
{
    struct server_settings settings = test_settings();
    struct note note;
    char text[1024];
    settings.tells_refusals = false;
    struct fixture *f = fixture_start(&settings);
    int fd = dial(f);
    say(fd, "GET /a HTTP/1.1\r\n\r\n");
    hear_all(fd, text, sizeof text);
    assert_false(await_within(f, EVENT_REFUSED, 0, 50, &note));
    close(fd);
    fixture_stop(f);
}

/* The next request waits for the response, even a late one, and the connection goes on although the application runs. */
static void test_one_exchange_at_a_time(void **state)
{
    struct server_settings settings = test_settings();
    struct fixture *f = fixture_start(&settings);
    struct note note;
    char text[1024];
    int fd = dial(f);
    uint64_t first = ask(f, fd, GET("/first") GET("/second"));
    assert_false(await_within(f, EVENT_REQUEST, 0, 100, &note));
    respond(f, first, 200, "one");
    uint64_t second = await(f, EVENT_REQUEST, 0).exchange;
    assert_true(place(f, HOOK_ENDED, first) >= 0);
    assert_int_equal(place(f, EVENT_DISCONNECT, first), -1);
    respond(f, second, 200, "two");
    assert_true(hear_until(fd, text, sizeof text, "\r\n\r\none"));
    assert_true(hear_until(fd, text, sizeof text, "\r\n\r\ntwo"));
    assert_int_equal(stats_of(f).exchanges, 2);
    finish(f, first, false);
    finish(f, second, false);
    AWAIT_STAT(f, exchanges, 0);
    close(fd);
    fixture_stop(f);
}

/* A body of 4 MiB to an application that does not read: the window holds it; then all of it comes. */
static void test_upload_waits_for_the_application(void **state)
{
    enum { TOTAL = 4 << 20 };
    struct server_settings settings = test_settings();
    struct fixture *f = fixture_start(&settings);
    static char zeros[65536];
    char text[1024];
    size_t sent = 0, got = 0;
    int fd = dial(f);
    uint64_t exchange = ask(f, fd, "POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: 4194304\r\n\r\n");
    struct note note = { .flag = true };
    fcntl(fd, F_SETFL, O_NONBLOCK);
    AWAIT_STAT(f, connections, 1);
    for (uint64_t until = clock_ms() + 300; clock_ms() < until;) {
        ssize_t now = sent < TOTAL ? send(fd, zeros, sizeof zeros < TOTAL - sent ? sizeof zeros : TOTAL - sent, 0) : 0;
        sent += now > 0 ? (size_t)now : 0;
        if (now <= 0)
            usleep(1000);
    }
    AWAIT_STAT(f, read_paused, 1);
    while (await_within(f, EVENT_BODY, exchange, 0, &note))
        got += note.length;
    assert_true(got >= settings.receive_window / 2 && got <= settings.receive_window + 2 * 65536);
    size_t held = got; /* consumed at once below, as an application that wakes up would */
    consume(f, exchange, held + 128 * sizeof(struct event));
    while (note.flag) {
        ssize_t now = sent < TOTAL ? send(fd, zeros, sizeof zeros < TOTAL - sent ? sizeof zeros : TOTAL - sent, 0) : 0;
        sent += now > 0 ? (size_t)now : 0;
        if (await_within(f, EVENT_BODY, exchange, 1, &note)) {
            got += note.length;
            consume(f, exchange, event_cost(note.length));
        }
    }
    assert_int_equal(got, TOTAL);
    AWAIT_STAT(f, read_paused, 0);
    respond(f, exchange, 200, "thanks");
    finish(f, exchange, false);
    assert_true(hear_until(fd, text, sizeof text, "thanks"));
    close(fd);
    fixture_stop(f);
}

/* The window counts what events hold: a body that trickles in must not take a whole chunk of memory for each byte. */
static void test_small_pieces_take_little_memory(void **state)
{
    struct server_settings settings = test_settings();
    struct fixture *f = fixture_start(&settings);
    int fd = dial(f);
    uint64_t exchange = ask(f, fd, "POST /up HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 8; i++) {
        say(fd, "1\r\nx\r\n");
        struct note note = await(f, EVENT_BODY, exchange);
        assert_int_equal(note.length, 1);
        assert_true(note.allocated < 1024);
    }
    close(fd);
    await_disconnect(f, exchange);
    fixture_stop(f);
}

static void test_continue_comes_when_the_application_waits(void **state)
{
    struct server_settings settings = test_settings();
    struct fixture *f = fixture_start(&settings);
    char text[1024];
    int fd = dial(f);
    const char *head = "POST /up HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    uint64_t exchange = ask(f, fd, head);
    assert_true(is_silent(fd, 100));
    consume(f, exchange, 0);
    assert_true(hear_until(fd, text, sizeof text, "HTTP/1.1 100 Continue\r\n\r\n"));
    say(fd, "ab");
    assert_int_equal(await(f, EVENT_BODY, exchange).length, 2);
    respond(f, exchange, 200, "done");
    assert_true(hear_until(fd, text, sizeof text, "done"));
    assert_non_null(strstr(text, "HTTP/1.1 200"));
    /* Not asked for: the response comes without it, and the connection, whose next bytes could be either, ends. */
    exchange = ask(f, fd, head);
    respond(f, exchange, 413, "no");
    hear_all(fd, text, sizeof text);
    assert_ptr_equal(strstr(text, "HTTP/1.1 413"), text);
    assert_non_null(strstr(text, "connection: close\r\n"));
    close(fd);
    fixture_stop(f);
}

static void test_client_leaves(void **state)
{
    struct server_settings settings = test_settings();
    struct fixture *f = fixture_start(&settings);
    int fd = dial(f);
    uint64_t exchange = ask(f, fd, GET("/slow"));
    close(fd);
    assert_int_equal(await_disconnect(f, exchange).cause, DISCONNECT_CLIENT);
    assert_int_equal(stats_of(f).exchanges, 1);
    respond(f, exchange, 200, "late: finds nobody");
    finish(f, exchange, false);
    AWAIT_STAT(f, exchanges, 0);
    AWAIT_STAT(f, connections, 0);
    fixture_stop(f);
}

/* The window is full and nothing is read: that the client has gone is seen all the same. (As long as TCP can tell us: a FIN
 * behind more data than the kernel takes stays with the client.) */
static void leaves_while_paused(bool reset)
{
    struct server_settings settings = test_settings();
    settings.receive_window = 1024;
    struct fixture *f = fixture_start(&settings);
    static char zeros[20000];
    int fd = dial(f);
    uint64_t exchange = ask(f, fd, "POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n");
    say_bytes(fd, zeros, sizeof zeros);
    AWAIT_STAT(f, read_paused, 1);
    say_bytes(fd, zeros, sizeof zeros);
    if (reset)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){ .l_onoff = 1 }, sizeof(struct linger));
    close(fd);
    assert_int_equal(await_disconnect(f, exchange).cause, DISCONNECT_CLIENT);
    AWAIT_STAT(f, read_paused, 0);
    fixture_stop(f);
}

static void test_client_leaves_while_paused(void **state)
{
    leaves_while_paused(false);
    leaves_while_paused(true);
}

static void test_application_ends_early(void **state)
{
    struct server_settings settings = test_settings();
    struct fixture *f = fixture_start(&settings);
    char text[1024];
    int fd = dial(f);
    uint64_t exchange = ask(f, fd, GET("/crash"));
    finish(f, exchange, true);
    hear_all(fd, text, sizeof text);
    assert_ptr_equal(strstr(text, "HTTP/1.1 500 "), text);
    close(fd);
    /* In the middle of a body: the client must see that it is not whole. */
    fd = dial(f);
    exchange = ask(f, fd, GET("/half"));
    respond_with(f, exchange, 200, NULL, NULL, "half", 4, true);
    finish(f, exchange, true);
    hear_all(fd, text, sizeof text);
    assert_non_null(strstr(text, "4\r\nhalf\r\n"));
    assert_null(strstr(text, "0\r\n\r\n"));
    close(fd);
    AWAIT_STAT(f, exchanges, 0);
    fixture_stop(f);
}

static void test_framing_is_checked(void **state)
{
    struct server_settings settings = test_settings();
    struct fixture *f = fixture_start(&settings);
    char text[1024];
    for (int i = 0; i < 2; i++) {
        const char *body = i == 0 ? "longer" : "s";
        int fd = dial(f);
        uint64_t exchange = ask(f, fd, GET("/framing"));
        respond_with(f, exchange, 200, "content-length", "3", body, strlen(body), false);
        struct note note = await_disconnect(f, exchange);
        assert_int_equal(note.cause, DISCONNECT_FRAMING);
        assert_int_equal(note.expected, 3);
        assert_int_equal(note.actual, strlen(body));
        hear_all(fd, text, sizeof text);
        assert_string_equal(strstr(text, "\r\n\r\n") + 4, i == 0 ? "lon" : "s");
        close(fd);
        finish(f, exchange, false);
    }
    AWAIT_STAT(f, exchanges, 0);
    fixture_stop(f);
}

/* A response that does not wait for the body: a small rest is thrown away and the connection goes on. */
static void test_unread_body_is_discarded(void **state)
{
    struct server_settings settings = test_settings();
    struct fixture *f = fixture_start(&settings);
    char text[1024];
    int fd = dial(f);
    uint64_t exchange = ask(f, fd, "POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n");
    respond(f, exchange, 404, "no such thing");
    finish(f, exchange, false);
    assert_true(hear_until(fd, text, sizeof text, "no such thing"));
    say(fd, "12345" GET("/hello"));
    assert_true(hear_until(fd, text, sizeof text, "\r\n\r\n/hello"));
    assert_int_equal(place(f, EVENT_DISCONNECT, exchange), -1);
    await(f, EVENT_REQUEST, 0);
    close(fd);
    /* A large one is not waited for, but the answer can be read. */
    static char zeros[400000];
    fd = dial(f);
    exchange = ask(f, fd, "POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 400000\r\n\r\n");
    respond(f, exchange, 404, "no such thing");
    finish(f, exchange, false);
    say_bytes(fd, zeros, sizeof zeros);
    hear_all(fd, text, sizeof text);
    assert_non_null(strstr(text, "no such thing"));
    close(fd);
    AWAIT_STAT(f, connections, 0);
    fixture_stop(f);
}

static void test_head_deadlines(void **state)
{
    struct server_settings settings = test_settings();
    settings.header_timeout_ms = 200;
    settings.keep_alive_timeout_ms = 300;
    settings.close_timeout_ms = 100;
    struct fixture *f = fixture_start(&settings);
    char text[1024];
    int fd = dial(f);
    say(fd, "GET / HTTP/1.1\r\nHost");
    hear_all(fd, text, sizeof text);
    assert_ptr_equal(strstr(text, "HTTP/1.1 408 "), text);
    close(fd);
    fd = dial(f);
    assert_int_equal(hear_all(fd, text, sizeof text), 0);
    close(fd);
    fd = dial(f);
    say(fd, GET("/hello"));
    hear_all(fd, text, sizeof text);
    assert_string_equal(strstr(text, "\r\n\r\n") + 4, "/hello");
    close(fd);
    AWAIT_STAT(f, timeouts_total, 3);
    fixture_stop(f);
}

static void test_http_timeout(void **state)
{
    struct server_settings settings = test_settings();
    settings.http_timeout_ms = 100;
    struct fixture *f = fixture_start(&settings);
    char text[1024];
    for (int i = 0; i < 2; i++) {
        int fd = dial(f);
        uint64_t exchange = ask(f, fd, GET("/slow"));
        if (i == 1)
            respond_with(f, exchange, 200, NULL, NULL, "half", 4, true);
        struct note note = await_disconnect(f, exchange);
        assert_int_equal(note.cause, DISCONNECT_HTTP_TIMEOUT);
        assert_int_equal(note.status, i == 0 ? 503 : 0);
        hear_all(fd, text, sizeof text);
        assert_ptr_equal(strstr(text, i == 0 ? "HTTP/1.1 503 " : "HTTP/1.1 200 "), text);
        respond(f, exchange, 200, "late");
        finish(f, exchange, false);
        close(fd);
    }
    AWAIT_STAT(f, exchanges, 0);
    assert_int_equal(stats_of(f).timeouts_total, 2);
    fixture_stop(f);
}

static void test_bad_request(void **state)
{
    struct server_settings settings = test_settings();
    struct fixture *f = fixture_start(&settings);
    static char junk[300000];
    char text[1024];
    int fd = dial(f);
    say(fd, "nonsense\r\n\r\n");
    memset(junk, 'x', sizeof junk);
    say_bytes(fd, junk, sizeof junk); /* still sending: the answer must be readable all the same */
    hear_all(fd, text, sizeof text);
    assert_ptr_equal(strstr(text, "HTTP/1.1 400 "), text);
    close(fd);
    assert_int_equal(stats_of(f).bad_requests_total, 1);
    AWAIT_STAT(f, connections, 0);
    fixture_stop(f);
}

/* A client that reads slowly gets its whole response, whichever short deadline begins when the application is done. */
static void slow_reader(bool keep_alive)
{
    enum { TOTAL = 24 << 20 };
    struct server_settings settings = test_settings();
    settings.close_timeout_ms = settings.keep_alive_timeout_ms = 250;
    struct fixture *f = fixture_start(&settings);
    char *body = calloc(1, TOTAL), *chunk = malloc(1 << 20);
    int fd = dial(f);
    uint64_t exchange = ask(f, fd, keep_alive ? GET("/big") : "GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    respond_with(f, exchange, 200, NULL, NULL, body, TOTAL, false);
    finish(f, exchange, false);
    size_t total = 0, got;
    do {
        got = hear_some(fd, chunk, 1 << 20);
        total += got;
        if (total < TOTAL / 2)
            usleep(40000);
    } while (got > 0);
    assert_true(total > TOTAL);
    close(fd);
    AWAIT_STAT(f, connections, 0);
    assert_int_equal(stats_of(f).bytes_unwritten, 0);
    fixture_stop(f);
    free(body);
    free(chunk);
}

static void test_slow_reader(void **state)
{
    slow_reader(false);
    slow_reader(true);
}

/* One that reads nothing is not waited for for ever. */
static void test_reader_that_does_not_read(void **state)
{
    enum { TOTAL = 24 << 20 };
    struct server_settings settings = test_settings();
    settings.close_timeout_ms = settings.keep_alive_timeout_ms = 100;
    struct fixture *f = fixture_start(&settings);
    char *body = calloc(1, TOTAL);
    int fd = dial(f);
    uint64_t exchange = ask(f, fd, GET("/big"));
    respond_with(f, exchange, 200, NULL, NULL, body, TOTAL, false);
    finish(f, exchange, false);
    AWAIT_STAT(f, connections, 1);
    AWAIT_STAT(f, connections, 0);
    assert_int_equal(stats_of(f).bytes_unwritten, 0);
    close(fd);
    fixture_stop(f);
    free(body);
}

static unsigned char pattern(size_t at)
{
    return (unsigned char)(at * 31 + (at >> 8) * 7 + (at >> 16));
}

/* Chunks that the socket takes only in part: every byte arrives, once, in its place. */
static void test_partial_writes(void **state)
{
    enum { PIECE = 99991, PIECES = 200 };
    struct server_settings settings = test_settings();
    struct fixture *f = fixture_start(&settings);
    char line[1024];
    unsigned char *bytes = malloc(PIECE + 2);
    size_t at = 0;
    int fd = dial(f);
    uint64_t exchange = ask(f, fd, GET("/stream"));
    respond_with(f, exchange, 200, NULL, NULL, "", 0, true);
    for (size_t i = 0; i < PIECES; i++) {
        for (size_t j = 0; j < PIECE; j++)
            bytes[j] = pattern(i * PIECE + j);
        send_body(f, exchange, bytes, PIECE, i + 1 < PIECES);
    }
    AWAIT_STAT(f, bytes_out_total, PIECE * PIECES); /* more than the sockets hold, and not one byte is read yet */
    assert_true(stats_of(f).bytes_unwritten > 0);
    assert_true(hear_until(fd, line, sizeof line, "\r\n\r\n"));
    for (int i = 0; i < PIECES; i++) {
        assert_true(hear_until(fd, line, sizeof line, "\r\n"));
        assert_int_equal(strtoul(line, NULL, 16), PIECE);
        for (size_t got = 0; got < PIECE + 2;)
            got += hear_some(fd, bytes + got, PIECE + 2 - got);
        for (size_t j = 0; j < PIECE; j++, at++)
            if (bytes[j] != pattern(at))
                fail_msg("byte %zu is wrong", at);
        assert_memory_equal(bytes + PIECE, "\r\n", 2);
    }
    assert_true(hear_until(fd, line, sizeof line, "\r\n\r\n"));
    assert_string_equal(line, "0\r\n\r\n");
    finish(f, exchange, false);
    close(fd);
    AWAIT_STAT(f, bytes_unwritten, 0);
    fixture_stop(f);
    free(bytes);
}

/* send() gets back all that was sent, but only when it has been written. */
static void test_credit(void **state)
{
    enum { PIECE = 32768, PIECES = 512 };
    struct server_settings settings = test_settings();
    struct fixture *f = fixture_start(&settings);
    static char zeros[PIECE];
    char text[65536];
    size_t cost = command_cost(0), credit = 0;
    struct note note;
    int fd = dial(f);
    uint64_t exchange = ask(f, fd, GET("/stream"));
    respond_with(f, exchange, 200, NULL, NULL, "", 0, true);
    for (int i = 0; i < PIECES; i++, cost += command_cost(PIECE))
        send_body(f, exchange, zeros, PIECE, true);
    AWAIT_STAT(f, bytes_out_total, PIECE * PIECES);
    while (await_within(f, EVENT_WRITTEN, exchange, 200, &note))
        credit += note.amount;
    assert_true(credit + settings.send_window < cost); /* nobody reads: the sockets do not hold 16 MiB */
    for (size_t total = 0; total < (size_t)PIECE * PIECES;)
        total += hear_some(fd, text, sizeof text);
    while (credit + settings.send_window / 2 < cost)
        credit += await(f, EVENT_WRITTEN, exchange).amount;
    assert_true(credit <= cost);
    close(fd);
    await_disconnect(f, exchange);
    finish(f, exchange, false);
    fixture_stop(f);
}

static void test_kill(void **state)
{
    struct server_settings settings = test_settings();
    settings.application_close_timeout_ms = 150;
    struct fixture *f = fixture_start(&settings);
    struct note note;
    int fd = dial(f), other = dial(f);
    uint64_t stubborn = ask(f, fd, GET("/stubborn"));
    uint64_t prompt = ask(f, other, GET("/prompt"));
    close(fd);
    close(other);
    uint64_t since = await_disconnect(f, stubborn).at;
    await_disconnect(f, prompt);
    finish(f, prompt, false);
    assert_true(await(f, EVENT_KILL, stubborn).at >= since + 140);
    assert_false(await_within(f, EVENT_KILL, prompt, 300, &note));
    assert_int_equal(stats_of(f).kills_total, 1);
    assert_int_equal(stats_of(f).exchanges, 1);
    finish(f, stubborn, true);
    AWAIT_STAT(f, exchanges, 0);
    fixture_stop(f);
}

static void test_spared(void **state)
{
    struct server_settings settings = test_settings();
    settings.application_close_timeout_ms = 50;
    struct fixture *f = fixture_start(&settings);
    struct note note;
    int fd = dial(f);
    uint64_t slow = ask(f, fd, GET("/slow"));
    struct command *early = command_create(COMMAND_SPARE, slow, 0);
    early->amount = 1;
    give(f, early); /* before its client has left: nothing */
    close(fd);
    await_disconnect(f, slow);
    for (int i = 0; i < 2; i++) {
        await(f, EVENT_KILL, slow);
        assert_false(await_within(f, EVENT_KILL, slow, 200, &note)); /* only where it is asked for */
        struct command *command = command_create(COMMAND_SPARE, slow, 0);
        command->amount = 100;
        give(f, command);
    }
    finish(f, slow, false); /* while the timer runs */
    AWAIT_STAT(f, exchanges, 0);
    fixture_stop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keep_alive),
        cmocka_unit_test(test_pipelining),
        cmocka_unit_test(test_refused_requests),
        cmocka_unit_test(test_refused_heads),
        cmocka_unit_test(test_refused_requests_are_not_told),
        cmocka_unit_test(test_one_exchange_at_a_time),
        cmocka_unit_test(test_upload_waits_for_the_application),
        cmocka_unit_test(test_small_pieces_take_little_memory),
        cmocka_unit_test(test_continue_comes_when_the_application_waits),
        cmocka_unit_test(test_client_leaves),
        cmocka_unit_test(test_client_leaves_while_paused),
        cmocka_unit_test(test_application_ends_early),
        cmocka_unit_test(test_framing_is_checked),
        cmocka_unit_test(test_unread_body_is_discarded),
        cmocka_unit_test(test_head_deadlines),
        cmocka_unit_test(test_http_timeout),
        cmocka_unit_test(test_bad_request),
        cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_reader_that_does_not_read),
        cmocka_unit_test(test_partial_writes),
        cmocka_unit_test(test_credit),
        cmocka_unit_test(test_kill),
        cmocka_unit_test(test_spared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
