/* Limits under attack: too many connections, bodies that do not come, output that nobody takes; and who is not to blame. */
#include <arpa/inet.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "base/alloc.h"
#include "server/crew.h"
#include "tests/unit/server_fixture.h"

#define GET(target) "GET " target " HTTP/1.1\r\nHost: x\r\n\r\n"
#define POST "POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"

static void hello(int fd)
{
    char text[1024];
    say(fd, GET("/hello"));
    assert_true(hear_until(fd, text, sizeof text, "\r\n\r\n/hello"));
}

static int dial_from(struct fixture *f, const char *from)
{
    struct sockaddr_in own = { .sin_family = AF_INET };
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(f->port), .sin_addr = { htonl(INADDR_LOOPBACK) } };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(inet_pton(AF_INET, from, &own.sin_addr), 1);
    assert_int_equal(bind(fd, (struct sockaddr *)&own, sizeof own), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void expect_refusal(int fd)
{
    char text[1024];
    hear_all(fd, text, sizeof text);
    assert_ptr_equal(strstr(text, "HTTP/1.1 503 "), text);
    assert_non_null(strstr(text, "\r\nretry-after: "));
    close(fd);
}

static void test_limit_connections(void **state)
{
    struct server_settings settings = test_settings();
    settings.limit_connections = 2;
    struct fixture *f = fixture_start(&settings);
    int first = dial(f), second = dial(f);
    hello(first);
    hello(second);
    for (int i = 0; i < 5; i++)
        expect_refusal(dial(f));
    hello(first);
    assert_int_equal(stats_of(f).connections_refused_total, 5);
    close(second);
    AWAIT_STAT(f, connections, 1);
    second = dial(f);
    hello(second);
    close(first);
    close(second);
    AWAIT_STAT(f, connections, 0);
    fixture_stop(f);
}

/* More than can be told so are reset, and none of them takes a place. */
static void test_flood(void **state)
{
    enum { FLOOD = 200 };
    struct server_settings settings = test_settings();
    settings.limit_connections = 1;
    struct fixture *f = fixture_start(&settings);
    int fds[FLOOD];
    int served = dial(f);
    hello(served);
    for (int i = 0; i < FLOOD; i++)
        fds[i] = try_connect(f->port); /* a reset may come before connect() has returned */
    AWAIT_STAT(f, connections_refused_total, FLOOD);
    assert_true(stats_of(f).connections <= 1 + 64 + 64); /* with a batch that is being reset */
    hello(served);
    AWAIT_STAT(f, connections, 1); /* who does not leave is not waited for long */
    for (int i = 0; i < FLOOD; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    hello(served);
    close(served);
    fixture_stop(f);
}

static bool is_served(int fd)
{
    char text[1024];
    say(fd, GET("/hello"));
    return hear_until(fd, text, sizeof text, "\r\n\r\n/hello");
}

/* Those who have been refused and have not left yet take no place: one that becomes free is for the next. */
static void test_refused_take_no_place(void **state)
{
    enum { REFUSED = 40, ROUNDS = 20 };
    struct server_settings settings = test_settings();
    settings.limit_connections = 1;
    struct fixture *f = fixture_start(&settings);
    bool seen = false;
    for (int round = 0; round < ROUNDS && !seen; round++) { /* on a slow machine they may have gone by then */
        int fds[REFUSED], served = dial(f);
        uint64_t before = stats_of(f).connections_refused_total;
        hello(served);
        for (int i = 0; i < REFUSED; i++)
            fds[i] = dial(f);
        AWAIT_STAT(f, connections_refused_total, before + REFUSED);
        uint64_t present = stats_of(f).connections;
        close(served);
        for (uint64_t until = clock_ms() + 500; stats_of(f).connections >= present && clock_ms() < until;)
            usleep(1000);
        int next = dial(f);
        seen = is_served(next) && stats_of(f).connections > REFUSED / 2;
        close(next);
        for (int i = 0; i < REFUSED; i++)
            close(fds[i]);
        AWAIT_STAT(f, connections, 0);
    }
    assert_true(seen);
    fixture_stop(f);
}

static void test_limit_for_each_address(void **state)
{
    struct server_settings settings = test_settings();
    settings.limit_connections_per_address = 2;
    struct fixture *f = fixture_start(&settings);
    int first = dial_from(f, "127.0.0.1"), second = dial_from(f, "127.0.0.1"), other = dial_from(f, "127.0.0.2");
    hello(first);
    hello(second);
    hello(other);
    expect_refusal(dial_from(f, "127.0.0.1"));
    int another = dial_from(f, "127.0.0.2");
    hello(another);
    expect_refusal(dial_from(f, "127.0.0.2"));
    assert_int_equal(stats_of(f).addresses_refused_total, 2);
    close(first);
    AWAIT_STAT(f, connections, 3);
    first = dial_from(f, "127.0.0.1");
    hello(first);
    int fds[] = { first, second, other, another };
    for (int i = 0; i < 4; i++)
        close(fds[i]);
    AWAIT_STAT(f, connections, 0);
    fixture_stop(f);
}

static void test_no_memory_to_count(void **state)
{
    struct server_settings settings = test_settings();
    settings.limit_connections_per_address = 2;
    struct fixture *f = fixture_start(&settings);
    int served = dial_from(f, "127.0.0.2");
    hello(served);
    mem_fail_at(1);
    expect_refusal(dial(f));
    mem_fail_at(0);
    hello(served);
    int fd = dial(f);
    hello(fd);
    close(fd);
    close(served);
    AWAIT_STAT(f, connections, 0);
    fixture_stop(f);
}

static void trickle(int fd, size_t length, unsigned ms)
{
    static const char zeros[4096];
    say_bytes(fd, zeros, length);
    usleep(ms * 1000);
}

static void test_slow_body(void **state)
{
    struct server_settings settings = test_settings();
    settings.body_timeout_ms = 200;
    settings.min_rate = 1000;
    struct fixture *f = fixture_start(&settings);
    char text[1024];
    int fd = dial(f);
    uint64_t exchange = ask(f, fd, POST);
    for (int i = 0; i < 4 && is_silent(fd, 0); i++)
        trickle(fd, 10, 50); /* it comes, but too slowly */
    struct note note = await_disconnect(f, exchange);
    assert_int_equal(note.cause, DISCONNECT_SLOW);
    assert_int_equal(note.status, 408);
    hear_all(fd, text, sizeof text);
    assert_ptr_equal(strstr(text, "HTTP/1.1 408 "), text);
    finish(f, exchange, false);
    close(fd);
    AWAIT_STAT(f, connections, 0);
    assert_int_equal(stats_of(f).body_timeouts_total, 1);
    assert_int_equal(stats_of(f).timeouts_total, 1);
    fixture_stop(f);
}

/* Neither who sends fast enough is cut off, nor who is not read because the application is slow, nor who waits for 100 Continue. */
static void test_bodies_that_are_not_slow(void **state)
{
    struct server_settings settings = test_settings();
    settings.body_timeout_ms = 200;
    settings.min_rate = 1000;
    settings.receive_window = 4096;
    struct fixture *f = fixture_start(&settings);
    int steady = dial(f), held = dial(f), asking = dial(f);
    uint64_t steadily = ask(f, steady, POST);
    ask(f, held, POST);
    ask(f, asking, "POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n");
    say_bytes(held, (char[8192]){ 0 }, 8192);
    for (int i = 0; i < 12; i++) {
        trickle(steady, 600, 60);
        consume(f, steadily, 600 + event_cost(0));
    }
    assert_true(is_silent(steady, 0) && is_silent(held, 0) && is_silent(asking, 0));
    assert_int_equal(stats_of(f).body_timeouts_total, 0);
    close(steady);
    close(held);
    close(asking);
    AWAIT_STAT(f, connections, 0);
    fixture_stop(f);
}

/* A WebSocket message that has begun, or one frame of it, or a control frame, and does not end. Pongs do not help. */
static void test_slow_message(void **state)
{
    static const struct {
        const char *bytes;
        size_t length;
    } begun[] = {
        { "\x01\x85\0\0\0\0hallo", 11 },       /* a fragment */
        { "\x01\x85\0\0\0\0hal", 9 },          /* a part of one */
        { "\x81\x85\0\0\0\0hallo\x82", 12 },   /* of the second message a byte */
        { "\x89\x85\0\0\0\0hal", 9 },          /* a part of a ping */
    };
    struct server_settings settings = test_settings();
    settings.body_timeout_ms = 200;
    settings.min_rate = 1000;
    struct fixture *f = fixture_start(&settings);
    char text[1024];
    size_t count = sizeof begun / sizeof *begun;
    for (size_t i = 0; i < count; i++) {
        bool in_frame = i != 0;
        int fd = dial(f);
        uint64_t exchange = open_websocket(f, fd);
        say_bytes(fd, begun[i].bytes, begun[i].length);
        for (int k = 0; k < 8 && !in_frame && is_silent(fd, 40); k++) {
            say_frame(fd, 10, "", 0);
            say_bytes(fd, "\0\x81\0\0\0\0x", 7); /* it goes on, but too slowly */
        }
        expect_close(fd, 1008, "");
        struct note note = await_disconnect(f, exchange);
        assert_int_equal(note.cause, DISCONNECT_SLOW);
        assert_int_equal(note.code, 1008);
        hear_all(fd, text, sizeof text);
        finish(f, exchange, false);
        close(fd);
    }
    AWAIT_STAT(f, connections, 0);
    assert_int_equal(stats_of(f).body_timeouts_total, count);
    assert_int_equal(stats_of(f).timeouts_total, count);
    fixture_stop(f);
}

/* Neither a message that comes fast enough, nor silence between messages, nor one that is not read because the application is slow. */
static void test_messages_that_are_not_slow(void **state)
{
    static char bytes[600];
    struct server_settings settings = test_settings();
    settings.body_timeout_ms = 200;
    settings.min_rate = 1000;
    settings.receive_window = 1000;
    struct fixture *f = fixture_start(&settings);
    int steady = dial(f), silent = dial(f), held = dial(f);
    uint64_t exchange = open_websocket(f, steady);
    open_websocket(f, silent);
    open_websocket(f, held);
    say_frame(silent, 1, "hallo", 5);
    for (int i = 0; i < 3; i++)
        say_frame(held, 2, bytes, sizeof bytes);
    say_bytes(held, "\x01\x85\0\0\0\0hal", 9);
    AWAIT_STAT(f, read_paused, 1);
    say_bytes(steady, "\x02\xfe\x02\x58\0\0\0\0", 8);
    say_bytes(steady, bytes, sizeof bytes);
    for (int i = 0; i < 12; i++) {
        say_bytes(steady, "\0\xfe\x02\x58\0\0\0\0", 8);
        trickle(steady, sizeof bytes, 60);
    }
    assert_true(is_silent(steady, 0) && is_silent(silent, 0) && is_silent(held, 0));
    say_frame(steady, 0, "", 0);
    assert_int_equal(await(f, EVENT_MESSAGE, exchange).length, 13 * sizeof bytes);
    assert_int_equal(stats_of(f).body_timeouts_total, 0);
    close(steady);
    close(silent);
    close(held);
    fixture_stop(f);
}

/* The response to a client that takes nothing of it is cut off by a reset; one that takes it slowly gets all of it. */
static void test_slow_reader(void **state)
{
    enum { TOTAL = 6 * 1024 * 1024 };
    struct server_settings settings = test_settings();
    settings.send_timeout_ms = 300;
    settings.min_rate = 1000;
    struct fixture *f = fixture_start(&settings);
    char *body = calloc(1, TOTAL);
    int idle = dial(f), slow = dial(f), quick = dial(f), small = 65536;
    setsockopt(idle, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    setsockopt(slow, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    uint64_t to_idle = ask(f, idle, GET("/idle"));
    respond_with(f, to_idle, 200, NULL, NULL, body, TOTAL, true); /* more would follow */
    uint64_t to_slow = ask(f, slow, GET("/slow"));
    respond_with(f, to_slow, 200, NULL, NULL, body, TOTAL, false);
    finish(f, to_slow, false);
    size_t total = 0, got;
    for (int i = 0; i < 40; i++) { /* 4 windows, and not much of it all */
        got = hear_some(slow, body, 16384);
        assert_true(got > 0);
        total += got;
        usleep(30000);
    }
    assert_true(total < TOTAL / 2);
    assert_int_equal(await_disconnect(f, to_idle).cause, DISCONNECT_SLOW);
    finish(f, to_idle, false);
    assert_int_equal(stats_of(f).send_timeouts_total, 1);
    hello(quick);
    while (total < TOTAL && (got = hear_some(slow, body, TOTAL)) > 0)
        total += got;
    assert_true(total >= TOTAL);
    close(idle);
    close(slow);
    close(quick);
    AWAIT_STAT(f, connections, 0);
    fixture_stop(f);
    free(body);
}

/* Messages that a WebSocket's client never takes. */
static void test_slow_websocket(void **state)
{
    struct server_settings settings = test_settings();
    settings.send_timeout_ms = 300;
    struct fixture *f = fixture_start(&settings);
    static char bytes[256 * 1024];
    int fd = dial(f), small = 8192, other = dial(f);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    uint64_t exchange = open_websocket(f, fd);
    for (int i = 0; i < 32; i++)
        give(f, make(COMMAND_MESSAGE, exchange, bytes, sizeof bytes));
    struct note note = await_disconnect(f, exchange);
    assert_int_equal(note.cause, DISCONNECT_SLOW);
    assert_int_equal(note.code, 1006);
    finish(f, exchange, false);
    hello(other);
    close(fd);
    close(other);
    AWAIT_STAT(f, connections, 0);
    fixture_stop(f);
}

/* A process without descriptors does not keep the others of its crew waiting; once it has some again, it is one of them again. */
static void test_no_descriptors_in_a_crew(void **state)
{
    struct server_settings settings = test_settings();
    struct fixture *f = fixture_create(&settings);
    struct listen_spec spec = { .kind = LISTEN_TCP, .host = "127.0.0.1" };
    struct rlimit before, limit;
    char error[256];
    int fillers[256], filled = 0;
    int memory = memfd_create("crew", MFD_CLOEXEC);
    assert_int_equal(ftruncate(memory, CREW_SIZE * sizeof(struct crew_member)), 0);
    struct crew_member *members = mmap(NULL, CREW_SIZE * sizeof *members, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    assert_true(members != MAP_FAILED);
    assert_int_equal(server_listen(f->server, &spec, error, sizeof error), SERVER_OK);
    assert_int_equal(server_join_crew(f->server, memory, 3), 0);
    fixture_run(f);
    int served = dial(f), waiting = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    hello(served);
    assert_int_equal(members[3].connections, 1);
    getrlimit(RLIMIT_NOFILE, &before);
    limit = before;
    limit.rlim_cur = 128;
    setrlimit(RLIMIT_NOFILE, &limit);
    while (filled < 256 && (fillers[filled] = dup(0)) >= 0)
        filled++;
    assert_true(filled < 256);
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(f->port), .sin_addr = { htonl(INADDR_LOOPBACK) } };
    assert_int_equal(connect(waiting, (struct sockaddr *)&address, sizeof address), 0);
    AWAIT_STAT(f, descriptors_exhausted_total, 1);
    assert_true(members[3].connections == CREW_AWAY);
    hello(served);
    usleep(200000);
    assert_int_equal(stats_of(f).descriptors_exhausted_total, 1);
    for (int i = 0; i < filled; i++)
        close(fillers[i]);
    setrlimit(RLIMIT_NOFILE, &before);
    hello(waiting);
    assert_int_equal(members[3].connections, 2);
    close(waiting);
    close(served);
    AWAIT_STAT(f, connections, 0);
    fixture_stop(f);
    munmap(members, CREW_SIZE * sizeof *members);
    close(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limit_connections),
        cmocka_unit_test(test_flood),
        cmocka_unit_test(test_refused_take_no_place),
        cmocka_unit_test(test_limit_for_each_address),
        cmocka_unit_test(test_no_memory_to_count),
        cmocka_unit_test(test_slow_body),
        cmocka_unit_test(test_bodies_that_are_not_slow),
        cmocka_unit_test(test_slow_message),
        cmocka_unit_test(test_messages_that_are_not_slow),
        cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_slow_websocket),
        cmocka_unit_test(test_no_descriptors_in_a_crew),
    };
    if (getenv("PENEUS_VALGRIND") != NULL) /* whose accept() closes a connection that it finds no descriptor for */
        cmocka_set_skip_filter("test_no_descriptors*");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
