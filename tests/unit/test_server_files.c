/* Responses out of files, with trailers, and hints before them, over real sockets. */
#include "tests/unit/server_fixture.h"

#include "base/alloc.h"

#define GET(target) "GET " target " HTTP/1.1\r\nHost: x\r\n\r\n"

enum { BIG = 8 << 20 };

static int make_file(size_t size)
{
    static char zeros[65536];
    char name[] = "/tmp/peneus-files-XXXXXX";
    int fd = mkstemp(name);
    assert_true(fd >= 0);
    unlink(name);
    memset(zeros, 'f', sizeof zeros);
    for (size_t left = size; left > 0;) {
        ssize_t written = write(fd, zeros, left < sizeof zeros ? left : sizeof zeros);
        assert_true(written > 0);
        left -= (size_t)written;
    }
    return fd;
}

static struct command *file_command(uint64_t exchange, int fd, uint64_t length, bool more)
{
    struct command *command = make(COMMAND_FILE, exchange, NULL, 0);
    command->file.fd = fd;
    command->file.length = length;
    command->file.more = more;
    return command;
}

static void send_file(struct fixture *f, uint64_t exchange, int fd, uint64_t length, bool more)
{
    give(f, file_command(exchange, fd, length, more));
}

/* Without opening a directory: ThreadSanitizer takes a number that libuv has closed, and we get again, for the same descriptor. */
static size_t open_files(void)
{
    size_t count = 0;
    for (int fd = 0; fd < 1024; fd++) {
        char path[64], target[64] = "";
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        if (readlink(path, target, sizeof target - 1) > 0 && strncmp(target, "/tmp/peneus-files-", 18) == 0)
            count++;
    }
    return count;
}

static void await_no_files(void)
{
    for (uint64_t until = clock_ms() + PATIENCE_MS; open_files() > 0 && clock_ms() < until;)
        usleep(1000);
    assert_int_equal(open_files(), 0);
}

/* A command with one field, as trailers and hints have them. */
static struct command *field_command(enum command_kind kind, uint64_t exchange, const char *name, const char *value)
{
    struct command_field field = { (uint32_t)strlen(name), (uint32_t)strlen(value) };
    char bytes[256];
    memcpy(bytes, &field, sizeof field);
    memcpy(bytes + sizeof field, name, field.name_length);
    memcpy(bytes + sizeof field + field.name_length, value, field.value_length);
    struct command *command = make(kind, exchange, bytes, sizeof field + field.name_length + field.value_length);
    command->response.status = 103;
    command->response.field_count = 1;
    command->response.head_length = (uint32_t)command->length;
    return command;
}

static struct command *trailers_announced(uint64_t exchange)
{
    struct command *command = make(COMMAND_RESPOND, exchange, NULL, 0);
    command->response.status = 200;
    command->response.more = true;
    command->response.trailers = true;
    return command;
}

/* What comes while a file is on its way waits for it, in order. */
static void test_what_comes_behind_a_file(void **state)
{
    struct server_settings settings = test_settings();
    struct fixture *f = fixture_start(&settings);
    static char text[65536];
    int fd = dial(f);
    uint64_t exchange = ask(f, fd, GET("/"));
    respond_with(f, exchange, 200, NULL, NULL, "a", 1, true);
    send_file(f, exchange, make_file(10000), 10000, true);
    send_body(f, exchange, "b", 1, true);
    send_file(f, exchange, make_file(10000), 5000, true);
    send_file(f, exchange, make_file(1), 1, true);
    send_body(f, exchange, "c", 1, false);
    assert_true(hear_until(fd, text, sizeof text, "0\r\n\r\n"));
    char *body = strstr(text, "\r\n\r\n") + 4;
    assert_int_equal(memcmp(body, "1\r\na\r\n2710\r\nfff", 15), 0);
    body += 6 + 6 + 10000;
    assert_int_equal(memcmp(body, "\r\n1\r\nb\r\n1388\r\nfff", 17), 0);
    body += 2 + 6 + 6 + 5000;
    assert_string_equal(body, "\r\n1\r\nf\r\n1\r\nc\r\n0\r\n\r\n");
    finish(f, exchange, false);
    AWAIT_STAT(f, exchanges, 0);
    assert_int_equal(open_files(), 0);
    exchange = ask(f, fd, GET("/"));
    respond(f, exchange, 200, "next");
    assert_true(hear_until(fd, text, sizeof text, "next"));
    close(fd);
    fixture_stop(f);
}

/* Nothing more is asked of the application: it may end before its file is through. */
static void test_an_application_that_ends_first(void **state)
{
    struct server_settings settings = test_settings();
    struct fixture *f = fixture_start(&settings);
    int fd = dial(f);
    uint64_t exchange = ask(f, fd, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12");
    respond_with(f, exchange, 200, "content-length", "8388608", NULL, 0, true);
    send_file(f, exchange, make_file(BIG), BIG, false);
    finish(f, exchange, false);
    AWAIT_STAT(f, bytes_out_total, BIG);
    say(fd, "345" GET("/hello"));
    char text[1024];
    assert_true(hear_until(fd, text, sizeof text, "\r\n\r\n"));
    size_t total = 0, got;
    static char bytes[65536];
    while (total < BIG && (got = hear_some(fd, bytes, BIG - total < sizeof bytes ? BIG - total : sizeof bytes)) > 0)
        total += got;
    assert_int_equal(total, BIG);
    assert_true(hear_until(fd, text, sizeof text, "\r\n\r\n/hello"));
    AWAIT_STAT(f, exchanges, 0);
    assert_int_equal(open_files(), 0);
    close(fd);
    fixture_stop(f);
}

/* One that ends in the middle is cut off, with the files that wait. */
static void test_an_application_that_ends_too_early(void **state)
{
    struct server_settings settings = test_settings();
    struct fixture *f = fixture_start(&settings);
    static char text[1024];
    int fd = dial(f);
    uint64_t exchange = ask(f, fd, GET("/"));
    respond_with(f, exchange, 200, NULL, NULL, NULL, 0, true);
    send_file(f, exchange, make_file(BIG), BIG, true);
    send_file(f, exchange, make_file(BIG), BIG, true);
    finish(f, exchange, true);
    size_t all = hear_all(fd, text, sizeof text);
    assert_true(all < 2 * BIG);
    AWAIT_STAT(f, exchanges, 0);
    await_no_files();
    close(fd);
    fixture_stop(f);
}

/* Credit comes for what has left, and what waits behind a file has not. */
static void test_credit(void **state)
{
    struct server_settings settings = test_settings();
    struct fixture *f = fixture_start(&settings);
    struct note note;
    static char text[1024];
    static char bytes[40000];
    int fd = dial(f);
    int small = 65536;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    uint64_t exchange = ask(f, fd, GET("/"));
    respond_with(f, exchange, 200, NULL, NULL, NULL, 0, true);
    send_file(f, exchange, make_file(BIG), BIG, true);
    assert_false(await_within(f, EVENT_WRITTEN, exchange, 200, &note));
    send_body(f, exchange, bytes, sizeof bytes, true);
    send_body(f, exchange, bytes, sizeof bytes, false);
    size_t amount = 0, wanted = command_cost(0) + command_cost(BIG) + 2 * command_cost(sizeof bytes);
    assert_false(await_within(f, EVENT_WRITTEN, exchange, 200, &note));
    hear_until(fd, text, sizeof text, "\r\n\r\n");
    for (size_t total = 0; total < BIG + 2 * sizeof bytes;) {
        size_t got = hear_some(fd, text, sizeof text);
        assert_true(got > 0);
        total += got;
    }
    while (amount < wanted - command_cost(sizeof bytes)) /* the last of a response needs none */
        amount += await(f, EVENT_WRITTEN, exchange).amount;
    assert_true(amount <= wanted);
    finish(f, exchange, false);
    close(fd);
    fixture_stop(f);
}

static void test_a_file_that_shrinks(void **state)
{
    struct server_settings settings = test_settings();
    struct fixture *f = fixture_start(&settings);
    static char text[1024];
    int fd = dial(f);
    uint64_t exchange = ask(f, fd, GET("/"));
    respond_with(f, exchange, 200, "content-length", "1000", NULL, 0, true);
    send_file(f, exchange, make_file(600), 1000, false);
    struct note note = await_disconnect(f, exchange);
    assert_int_equal(note.cause, DISCONNECT_FILE);
    assert_int_equal(note.expected, 1000);
    assert_int_equal(note.actual, 600);
    hear_all(fd, text, sizeof text);
    assert_int_equal(stats_of(f).files_cut_total, 1);
    finish(f, exchange, false);
    await_no_files();
    close(fd);
    fixture_stop(f);
}

/* A body that is longer than its Content-Length ends there, also in the middle of a file, and what waits behind is dropped. */
static void test_more_than_content_length(void **state)
{
    struct server_settings settings = test_settings();
    struct fixture *f = fixture_start(&settings);
    static char text[65536];
    int fd = dial(f);
    uint64_t exchange = ask(f, fd, GET("/"));
    respond_with(f, exchange, 200, "content-length", "1000", NULL, 0, true);
    send_file(f, exchange, make_file(600), 600, true);
    send_file(f, exchange, make_file(600), 600, true);
    send_file(f, exchange, make_file(600), 600, false);
    size_t all = hear_all(fd, text, sizeof text);
    size_t head = (size_t)(strstr(text, "\r\n\r\n") + 4 - text);
    assert_int_equal(all - head, 1000);
    assert_int_equal(await_disconnect(f, exchange).cause, DISCONNECT_FRAMING);
    finish(f, exchange, false);
    await_no_files();
    close(fd);
    fixture_stop(f);
}

static void test_commands_for_nobody(void **state)
{
    struct server_settings settings = test_settings();
    struct fixture *f = fixture_start(&settings);
    int fd = dial(f);
    uint64_t exchange = ask(f, fd, GET("/"));
    send_file(f, exchange, make_file(10), 10, false); /* before the response */
    close(fd);
    await_disconnect(f, exchange);
    send_file(f, exchange, make_file(10), 10, false);
    finish(f, exchange, false);
    send_file(f, exchange, make_file(10), 10, false);
    await_no_files();
    fixture_stop(f);
}

static void test_trailers_and_hints(void **state)
{
    struct server_settings settings = test_settings();
    struct fixture *f = fixture_start(&settings);
    static char text[4096];
    int fd = dial(f);
    uint64_t exchange = ask(f, fd, GET("/"));
    give(f, field_command(COMMAND_HINT, exchange, "link", "</a>"));
    assert_true(hear_until(fd, text, sizeof text, "\r\n\r\n"));
    assert_string_equal(text, "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n");
    give(f, trailers_announced(exchange));
    give(f, field_command(COMMAND_HINT, exchange, "link", "</late>"));
    send_file(f, exchange, make_file(3), 3, false);
    give(f, field_command(COMMAND_TRAILERS, exchange, "x-a", "1"));
    assert_true(hear_until(fd, text, sizeof text, "x-a: 1\r\n\r\n"));
    assert_non_null(strstr(text, "\r\n\r\n3\r\nfff\r\n0\r\nx-a: 1\r\n\r\n"));
    finish(f, exchange, false);
    exchange = ask(f, fd, GET("/")); /* the connection goes on */
    give(f, field_command(COMMAND_TRAILERS, exchange, "x-a", "1")); /* nobody wants them */
    respond(f, exchange, 200, "next");
    assert_true(hear_until(fd, text, sizeof text, "next"));
    assert_null(strstr(text, "x-a"));
    finish(f, exchange, false);
    close(fd);
    fixture_stop(f);
}

/* Whichever allocation fails, it costs that response at most: no descriptor is left, and others are served. */
static void test_no_memory(void **state)
{
    struct server_settings settings = test_settings();
    struct fixture *f = fixture_start(&settings);
    static char text[262144];
    int steady = dial(f);
    ask(f, steady, GET("/hello1"));
    assert_true(hear_until(steady, text, sizeof text, "/hello1"));
    bool failed = true;
    for (unsigned long n = 1; failed; n++) {
        int fd = dial(f);
        uint64_t exchange = ask(f, fd, GET("/"));
        struct command *commands[] = {
            field_command(COMMAND_HINT, exchange, "link", "</a>"),
            trailers_announced(exchange),
            file_command(exchange, make_file(100000), 100000, true),
            make(COMMAND_BODY, exchange, "b", 1),
            field_command(COMMAND_TRAILERS, exchange, "x-a", "1"),
            make(COMMAND_FINISHED, exchange, NULL, 0),
        };
        mem_fail_at(n);
        for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
            give(f, commands[i]);
        shutdown(fd, SHUT_WR);
        hear_all(fd, text, sizeof text);
        failed = mem_try_count() >= n;
        mem_fail_at(0);
        close(fd);
        AWAIT_STAT(f, exchanges, 0);
        await_no_files();
    }
    say(steady, GET("/hello1"));
    assert_true(hear_until(steady, text, sizeof text, "/hello1"));
    close(steady);
    fixture_stop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_comes_behind_a_file),
        cmocka_unit_test(test_an_application_that_ends_first),
        cmocka_unit_test(test_an_application_that_ends_too_early),
        cmocka_unit_test(test_credit),
        cmocka_unit_test(test_a_file_that_shrinks),
        cmocka_unit_test(test_more_than_content_length),
        cmocka_unit_test(test_commands_for_nobody),
        cmocka_unit_test(test_trailers_and_hints),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
