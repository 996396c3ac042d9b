/* The server as a whole: listeners, limits, shutting down and stopping. */
#include <sys/resource.h>
#include <sys/stat.h>

#include "tests/unit/server_fixture.h"

#define GET(target) "GET " target " HTTP/1.1\r\nHost: x\r\n\r\n"

static void hello(int fd)
{
    char text[1024];
    say(fd, GET("/hello"));
    assert_true(hear_until(fd, text, sizeof text, "\r\n\r\n/hello"));
}

/* Until nobody listens any more. */
static void await_deaf(const struct fixture *f)
{
    for (int fd; (fd = try_connect(f->port)) != -1; usleep(1000))
        close(fd);
}

static int dial_unix(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    close(fd);
    return -1;
}

static void test_never_started(void **state)
{
    struct server_settings settings = test_settings();
    struct fixture *f = fixture_create(&settings);
    char error[256];
    struct listen_spec spec = { .kind = LISTEN_TCP, .host = "127.0.0.1" };
    assert_int_equal(server_listen(f->server, &spec, error, sizeof error), SERVER_OK);
    fixture_free(f);
}

/* Several listeners at once: v4, v6, a Unix socket that replaces a stale one, an inherited descriptor. */
static void test_listeners(void **state)
{
    struct server_settings settings = test_settings();
    struct fixture *f = fixture_create(&settings);
    struct listen_address address;
    struct stat status;
    char error[256] = "", directory[] = "/tmp/peneus-test-XXXXXX", path[64];
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/socket", directory);
    struct sockaddr_un local = { .sun_family = AF_UNIX };
    snprintf(local.sun_path, sizeof local.sun_path, "%s", path);
    int stale = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(stale, (struct sockaddr *)&local, sizeof local), 0);
    close(stale);
    struct sockaddr_in any = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    int inherited = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(inherited, (struct sockaddr *)&any, sizeof any), 0);
    struct listen_spec specs[] = {
        { .kind = LISTEN_TCP, .host = "127.0.0.1" },
        { .kind = LISTEN_UNIX, .path = path, .mode = 0600 },
        { .kind = LISTEN_FD, .fd = inherited },
    };
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++)
        assert_int_equal(server_listen(f->server, &specs[i], error, sizeof error), SERVER_OK);
    struct listen_spec v6 = { .kind = LISTEN_TCP, .host = "::1" };
    bool has_v6 = server_listen(f->server, &v6, error, sizeof error) == SERVER_OK;
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    fixture_run(f);
    int fd = dial(f);
    hello(fd);
    close(fd);
    fd = dial_unix(path);
    hello(fd);
    close(fd);
    assert_int_equal(server_address(f->server, 2, &address), 0);
    fd = try_connect(address.port);
    hello(fd);
    close(fd);
    if (has_v6) {
        assert_int_equal(server_address(f->server, 3, &address), 0);
        assert_int_equal(address.family, AF_INET6);
        assert_string_equal(address.host, "::1");
    }
    assert_int_equal(server_address(f->server, has_v6 ? 4 : 3, &address), -1);
    fixture_stop(f);
    assert_int_equal(stat(path, &status), -1); /* its own path is removed */
    assert_int_equal(rmdir(directory), 0);
}

/* Stopping must not remove the socket of a successor that has replaced ours. */
static void test_successor_keeps_its_socket(void **state)
{
    struct server_settings settings = test_settings();
    struct fixture *f = fixture_create(&settings);
    char error[256] = "", directory[] = "/tmp/peneus-test-XXXXXX", path[64];
    struct stat status;
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/socket", directory);
    struct listen_spec spec = { .kind = LISTEN_UNIX, .path = path, .mode = -1 };
    assert_int_equal(server_listen(f->server, &spec, error, sizeof error), SERVER_OK);
    assert_int_equal(unlink(path), 0);
    int successor = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);
    fixture_run(f);
    fixture_stop(f);
    assert_int_equal(stat(path, &status), 0);
    close(successor);
    unlink(path);
    rmdir(directory);
}

static void test_addresses_that_fail(void **state)
{
    struct server_settings settings = test_settings();
    struct fixture *f = fixture_start(&settings), *other = fixture_create(&settings);
    char error[256] = "", needle[16];
    struct listen_spec spec = { .kind = LISTEN_TCP, .host = "127.0.0.1", .port = f->port };
    assert_int_equal(server_listen(other->server, &spec, error, sizeof error), SERVER_ADDRESS);
    snprintf(needle, sizeof needle, "%u", (unsigned)f->port);
    assert_non_null(strstr(error, needle));
    assert_non_null(strstr(error, "127.0.0.1"));
    spec = (struct listen_spec){ .kind = LISTEN_UNIX, .path = "/proc/self/status", .mode = -1 };
    assert_int_equal(server_listen(other->server, &spec, error, sizeof error), SERVER_ADDRESS);
    assert_non_null(strstr(error, "/proc/self/status"));
    spec = (struct listen_spec){ .kind = LISTEN_FD, .fd = 987 };
    assert_int_equal(server_listen(other->server, &spec, error, sizeof error), SERVER_ADDRESS);
    assert_non_null(strstr(error, "987"));
    fixture_free(other);
    fixture_stop(f);
}

static void test_shutdown_when_idle(void **state)
{
    struct server_settings settings = test_settings();
    struct fixture *f = fixture_start(&settings);
    give_code(f, COMMAND_SHUTDOWN, 0, 1001, "");
    await(f, EVENT_DRAINED, 0);
    assert_int_equal(try_connect(f->port), -1);
    fixture_stop(f);
}

/* Idle connections go, a running request ends with Connection: close, WebSockets hear why, handshakes are turned away. */
static void test_shutdown_drains(void **state)
{
    struct server_settings settings = test_settings();
    struct fixture *f = fixture_start(&settings);
    struct note note;
    char text[1024];
    int idle = dial(f), running = dial(f), socket = dial(f), handshake = dial(f);
    hello(idle);
    await(f, EVENT_REQUEST, 0);
    uint64_t request = ask(f, running, GET("/slow"));
    uint64_t websocket = open_websocket(f, socket);
    uint64_t pending = ask(f, handshake, HANDSHAKE("/pending"));
    give_code(f, COMMAND_SHUTDOWN, 0, 1012, "");
    assert_int_equal(hear_all(idle, text, sizeof text), 0);
    expect_close(socket, 1012, "");
    note = await_disconnect(f, websocket);
    assert_int_equal(note.cause, DISCONNECT_SHUTDOWN);
    assert_int_equal(note.code, 1012);
    say_frame(socket, 8, "\x03\xf4", 2);
    hear_all(handshake, text, sizeof text);
    assert_ptr_equal(strstr(text, "HTTP/1.1 503 "), text);
    assert_int_equal(await_disconnect(f, pending).cause, DISCONNECT_SHUTDOWN);
    close(idle);
    close(socket);
    close(handshake);
    AWAIT_STAT(f, connections, 1);
    assert_false(await_within(f, EVENT_DRAINED, 0, 100, &note));
    respond(f, request, 200, "last words");
    hear_all(running, text, sizeof text);
    assert_non_null(strstr(text, "connection: close\r\n"));
    assert_non_null(strstr(text, "last words"));
    close(running);
    await(f, EVENT_DRAINED, 0);
    fixture_stop(f);
}

/* Who has been taken, but has not asked yet, is still answered. */
static void test_shutdown_lets_new_connections_ask(void **state)
{
    struct server_settings settings = test_settings();
    struct fixture *f = fixture_start(&settings);
    char text[1024];
    int silent = dial(f), asks = dial(f);
    AWAIT_STAT(f, connections, 2);
    give_code(f, COMMAND_SHUTDOWN, 0, 1012, "");
    await_deaf(f);
    hello(asks);
    assert_int_equal(hear_all(asks, text, sizeof text), 0);
    assert_int_equal(hear_all(silent, text, sizeof text), 0);
    close(silent);
    close(asks);
    await(f, EVENT_DRAINED, 0);
    fixture_stop(f);
}

/* Nobody is taken any more, and who has been is served as before, until shutting down follows. */
static void test_retiring(void **state)
{
    struct server_settings settings = test_settings();
    struct fixture *f = fixture_start(&settings);
    int fresh = dial(f), socket = dial(f), handshake = dial(f);
    uint64_t websocket = open_websocket(f, socket);
    uint64_t pending = ask(f, handshake, HANDSHAKE("/pending"));
    char text[1024];
    AWAIT_STAT(f, connections, 3);
    give_plain(f, COMMAND_RETIRE, 0);
    await_deaf(f);
    hello(fresh);
    hello(fresh);
    give_plain(f, COMMAND_ACCEPT, pending);
    assert_true(hear_until(handshake, text, sizeof text, "\r\n\r\n"));
    assert_ptr_equal(strstr(text, "HTTP/1.1 101 "), text);
    give_plain(f, COMMAND_RETIRE, 0);
    give_code(f, COMMAND_SHUTDOWN, 0, 1012, "");
    expect_close(socket, 1012, "");
    expect_close(handshake, 1012, "");
    assert_int_equal(await_disconnect(f, websocket).cause, DISCONNECT_SHUTDOWN);
    close(fresh);
    close(socket);
    close(handshake);
    await(f, EVENT_DRAINED, 0);
    fixture_stop(f);
}

/* A response that the application has given is not lost when shutting down follows at once, in the same batch. */
static void test_shutdown_behind_a_response(void **state)
{
    enum { TOTAL = 24 << 20 };
    struct server_settings settings = test_settings();
    struct fixture *f = fixture_start(&settings);
    char *body = calloc(1, TOTAL);
    int fd = dial(f);
    uint64_t exchange = ask(f, fd, GET("/big"));
    respond_with(f, exchange, 200, NULL, NULL, body, TOTAL, false);
    give_code(f, COMMAND_SHUTDOWN, 0, 1001, "");
    assert_true(hear_all(fd, NULL, 0) > TOTAL);
    close(fd);
    await(f, EVENT_DRAINED, 0);
    fixture_stop(f);
    free(body);
}

/* Everything is cut, every exchange hears of it, and applications that never end hold nothing up. */
static void test_stop_with_live_connections(void **state)
{
    struct server_settings settings = test_settings();
    settings.application_close_timeout_ms = 50;
    struct fixture *f = fixture_start(&settings);
    int fds[5];
    uint64_t exchanges[4];
    for (int i = 0; i < 5; i++)
        fds[i] = dial(f);
    exchanges[0] = ask(f, fds[0], GET("/slow"));
    exchanges[1] = open_websocket(f, fds[1]);
    exchanges[2] = ask(f, fds[2], "POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
    exchanges[3] = ask(f, fds[3], GET("/gone"));
    close(fds[3]);
    await_disconnect(f, exchanges[3]);
    await(f, EVENT_KILL, exchanges[3]); /* and swallows it */
    give_plain(f, COMMAND_STOP, 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(await_disconnect(f, exchanges[i]).cause, DISCONNECT_SHUTDOWN);
    await(f, EVENT_STOPPED, 0);
    respond(f, exchanges[0], 200, "late"); /* allowed until server_destroy() */
    finish(f, exchanges[1], false);
    pthread_join(f->thread, NULL);
    assert_int_equal(stats_of(f).connections, 0);
    fixture_free(f);
    for (int i = 0; i < 5; i++)
        if (i != 3)
            close(fds[i]);
}

static void test_max_connections(void **state)
{
    struct server_settings settings = test_settings();
    settings.max_connections = 2;
    struct fixture *f = fixture_start(&settings);
    char text[1024];
    int first = dial(f), second = dial(f), third = dial(f);
    hello(first);
    hello(second);
    say(third, GET("/hello"));
    assert_true(is_silent(third, 150));
    assert_int_equal(stats_of(f).connections, 2);
    close(first);
    assert_true(hear_until(third, text, sizeof text, "\r\n\r\n/hello"));
    close(second);
    close(third);
    AWAIT_STAT(f, connections, 0);
    fixture_stop(f);
}

/* No descriptor is left: who is connected is served, who comes waits, and is served when there is one again. */
static void test_no_descriptors(void **state)
{
    struct server_settings settings = test_settings();
    struct fixture *f = fixture_start(&settings);
    struct rlimit before, limit;
    char text[1024];
    int fillers[256], count = 0;
    int served = dial(f);
    hello(served);
    int waiting = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    getrlimit(RLIMIT_NOFILE, &before);
    limit = before;
    limit.rlim_cur = 128;
    setrlimit(RLIMIT_NOFILE, &limit);
    while (count < 256 && (fillers[count] = dup(0)) >= 0)
        count++;
    assert_true(count < 256);
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(f->port), .sin_addr = { htonl(INADDR_LOOPBACK) } };
    assert_int_equal(connect(waiting, (struct sockaddr *)&address, sizeof address), 0);
    say(waiting, GET("/hello"));
    for (uint64_t until = clock_ms() + PATIENCE_MS; stats_of(f).accept_errors_total == 0 && clock_ms() < until;)
        usleep(1000);
    uint64_t errors = stats_of(f).accept_errors_total;
    assert_true(errors > 0);
    hello(served);
    usleep(200000);
    assert_true(stats_of(f).accept_errors_total < errors + 50); /* it does not spin */
    for (int i = 0; i < count; i++)
        close(fillers[i]);
    setrlimit(RLIMIT_NOFILE, &before);
    assert_true(hear_until(waiting, text, sizeof text, "\r\n\r\n/hello"));
    close(waiting);
    close(served);
    fixture_stop(f);
}

/* Connections that come and go at all stages at once; nothing is left. */
static void test_churn(void **state)
{
    struct server_settings settings = test_settings();
    settings.receive_window = 2000;
    struct fixture *f = fixture_start(&settings);
    static char bytes[3000];
    unsigned seed = 7;
    for (int round = 0; round < 40; round++) {
        int fds[8];
        for (int i = 0; i < 8; i++) {
            fds[i] = dial(f);
            switch (rand_r(&seed) % 6) {
            case 0: say(fds[i], GET("/hello") GET("/hello")); break;
            case 1: say(fds[i], "GET /hello HT"); break;
            case 2: say(fds[i], HANDSHAKE("/echo")); break;
            case 3: say(fds[i], "POST /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n"); say_bytes(fds[i], bytes, 3000); break;
            case 4: say(fds[i], GET("/nobody answers")); break;
            case 5: break;
            }
        }
        for (int i = 0; i < 8; i++) {
            if (rand_r(&seed) % 2)
                setsockopt(fds[i], SOL_SOCKET, SO_LINGER, &(struct linger){ .l_onoff = 1 }, sizeof(struct linger));
            close(fds[i]);
        }
    }
    AWAIT_STAT(f, connections, 0);
    assert_int_equal(stats_of(f).read_paused, 0);
    assert_int_equal(stats_of(f).websockets, 0);
    assert_int_equal(stats_of(f).bytes_unwritten, 0);
    fixture_stop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_never_started),
        cmocka_unit_test(test_listeners),
        cmocka_unit_test(test_successor_keeps_its_socket),
        cmocka_unit_test(test_addresses_that_fail),
        cmocka_unit_test(test_shutdown_when_idle),
        cmocka_unit_test(test_shutdown_drains),
        cmocka_unit_test(test_shutdown_lets_new_connections_ask),
        cmocka_unit_test(test_retiring),
        cmocka_unit_test(test_shutdown_behind_a_response),
        cmocka_unit_test(test_stop_with_live_connections),
        cmocka_unit_test(test_max_connections),
        cmocka_unit_test(test_no_descriptors),
        cmocka_unit_test(test_churn),
    };
    if (getenv("PENEUS_VALGRIND") != NULL) /* whose accept() closes a connection that it finds no descriptor for */
        cmocka_set_skip_filter("test_no_descriptors");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
