/* Connections that begin with a PROXY header: whose they are then, and who may say so. */
#include <sys/un.h>

#include "base/alloc.h"
#include "server/trust.h"
#include "tests/unit/server_fixture.h"

#define GET(target) "GET " target " HTTP/1.1\r\nHost: x\r\n\r\n"
#define HEADER "PROXY TCP4 192.0.2.1 192.0.2.2 1234 443\r\n"

static struct server_settings proxied(const char *trusted)
{
    struct server_settings settings = test_settings();
    settings.trusted_proxies = trusted;
    settings.proxy_protocol = 1;
    settings.header_timeout_ms = 30000;
    return settings;
}

static void expect_hello(int fd)
{
    char text[1024];
    assert_true(hear_until(fd, text, sizeof text, "\r\n\r\n/hello"));
}

static void test_header_then_request(void **state)
{
    struct server_settings settings = proxied("127.0.0.1");
    struct fixture *f = fixture_start(&settings);
    int whole = dial(f), pieces = dial(f);
    say(whole, HEADER GET("/hello"));
    expect_hello(whole);
    say(whole, GET("/hello"));
    expect_hello(whole);
    for (const char *at = HEADER GET("/hello"); *at != '\0'; at++) {
        say_bytes(pieces, at, 1);
        usleep(500);
    }
    expect_hello(pieces);
    assert_int_equal(stats_of(f).handshakes, 0);
    assert_int_equal(stats_of(f).proxy_errors_total, 0);
    close(whole);
    close(pieces);
    AWAIT_STAT(f, connections, 0);
    fixture_stop(f);
}

static void test_who_is_closed(void **state)
{
    static const char *const bad[] = { GET("/hello"), "PROXY TCP4 1.2.3.4\r\n", "\r\n\r\nx" };
    struct server_settings settings = proxied("127.0.0.1");
    struct fixture *f = fixture_start(&settings);
    char text[64];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int fd = dial(f);
        say(fd, bad[i]);
        assert_int_equal(hear_all(fd, text, sizeof text), 0);
        close(fd);
        AWAIT_STAT(f, proxy_errors_total, i + 1);
    }
    int early = dial(f); /* leaves on the way: no error */
    say(early, "PROXY TCP4");
    AWAIT_STAT(f, handshakes, 1);
    close(early);
    AWAIT_STAT(f, connections, 0);
    assert_int_equal(stats_of(f).proxy_errors_total, sizeof bad / sizeof *bad);
    assert_int_equal(stats_of(f).handshakes, 0);
    fixture_stop(f);
}

static void test_nobody_else_is_believed(void **state)
{
    struct server_settings settings = proxied("10.0.0.1,unix");
    struct fixture *f = fixture_start(&settings);
    char text[64];
    int fd = dial(f);
    assert_int_equal(hear_all(fd, text, sizeof text), 0);
    close(fd);
    AWAIT_STAT(f, proxy_errors_total, 1);
    AWAIT_STAT(f, connections, 0);
    fixture_stop(f);
}

static void test_deadline(void **state)
{
    struct server_settings settings = proxied("127.0.0.1");
    settings.header_timeout_ms = 200;
    struct fixture *f = fixture_start(&settings);
    char text[64];
    int fd = dial(f), slow = dial(f), prompt = dial(f);
    say(slow, "PROXY ");
    say(prompt, HEADER GET("/hello"));
    expect_hello(prompt);
    assert_int_equal(hear_all(fd, text, sizeof text), 0);
    assert_int_equal(hear_all(slow, text, sizeof text), 0);
    say(prompt, GET("/hello")); /* for whom it is over */
    expect_hello(prompt);
    close(prompt);
    close(fd);
    close(slow);
    AWAIT_STAT(f, handshake_timeouts_total, 2);
    AWAIT_STAT(f, connections, 0);
    fixture_stop(f);
}

/* The limit for each address counts the clients, and not the proxy. */
static void test_clients_are_counted(void **state)
{
    struct server_settings settings = proxied("127.0.0.1");
    settings.limit_connections_per_address = 2;
    struct fixture *f = fixture_start(&settings);
    char line[128], text[1024];
    int fds[6];
    for (int i = 0; i < 6; i++) {
        fds[i] = dial(f);
        snprintf(line, sizeof line, "PROXY TCP6 2001:db8:0:%d::%d ::1 1 2\r\n" GET("/hello"), i / 2, i);
        say(fds[i], line);
        expect_hello(fds[i]);
    }
    int more = dial(f);
    say(more, "PROXY TCP6 2001:db8:0:1::99 ::1 1 2\r\n" GET("/hello"));
    hear_all(more, text, sizeof text);
    assert_ptr_equal(strstr(text, "HTTP/1.1 503 "), text);
    close(more);
    AWAIT_STAT(f, addresses_refused_total, 1);
    for (int i = 0; i < 6; i++)
        close(fds[i]);
    AWAIT_STAT(f, connections, 0);
    fixture_stop(f);
}

/* Handshakes that do not end: the oldest go, and those who speak are served. */
static void test_flood_of_handshakes(void **state)
{
    enum { FLOOD = 40 };
    struct server_settings settings = proxied("127.0.0.1");
    settings.limit_handshakes = 8;
    struct fixture *f = fixture_start(&settings);
    int fds[FLOOD];
    for (int i = 0; i < FLOOD; i++)
        fds[i] = dial(f);
    int fd = dial(f);
    say(fd, HEADER GET("/hello"));
    expect_hello(fd); /* its turn comes when those before it have had their second */
    assert_true(stats_of(f).handshakes <= 8);
    assert_true(stats_of(f).handshakes_dropped_total >= FLOOD - 8 - 8);
    for (int i = 0; i < FLOOD; i++)
        close(fds[i]);
    close(fd);
    AWAIT_STAT(f, connections, 0);
    assert_int_equal(stats_of(f).handshakes, 0);
    fixture_stop(f);
}

/* Whichever allocation fails, the connection is served or closed, and nothing is left. */
static void test_no_memory(void **state)
{
    struct server_settings settings = proxied("127.0.0.1");
    settings.limit_connections_per_address = 100;
    struct fixture *f = fixture_start(&settings);
    char text[1024];
    for (unsigned long n = 1; n <= 6; n++) {
        int fd = dial(f);
        AWAIT_STAT(f, handshakes, 1);
        mem_fail_at(n);
        say(fd, HEADER "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        hear_all(fd, text, sizeof text);
        mem_fail_at(0);
        close(fd);
        AWAIT_STAT(f, connections, 0);
    }
    fixture_stop(f);
}

static void test_draining(void **state)
{
    struct server_settings settings = proxied("127.0.0.1");
    struct fixture *f = fixture_start(&settings);
    char text[64];
    int fd = dial(f);
    AWAIT_STAT(f, handshakes, 1);
    give_code(f, COMMAND_SHUTDOWN, 0, 1001, "");
    assert_int_equal(hear_all(fd, text, sizeof text), 0); /* it is not waited for as long as a header may take */
    await(f, EVENT_DRAINED, 0);
    close(fd);
    fixture_stop(f);
}

static void test_wrong_list(void **state)
{
    struct server_settings settings = proxied("nonsense");
    struct server *server;
    struct queue events;
    struct server_hooks hooks = { .context = NULL };
    queue_init(&events, NULL, NULL);
    assert_int_equal(server_create(&server, &settings, &hooks, &events), SERVER_TRUST);
    queue_deinit(&events);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header_then_request), cmocka_unit_test(test_who_is_closed),
        cmocka_unit_test(test_nobody_else_is_believed), cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_clients_are_counted), cmocka_unit_test(test_flood_of_handshakes),
        cmocka_unit_test(test_no_memory), cmocka_unit_test(test_draining), cmocka_unit_test(test_wrong_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
