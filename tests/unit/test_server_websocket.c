/* WebSockets over real sockets: who closes, with which code, and what the application hears of it. */
#include "tests/unit/server_fixture.h"

static void test_echo(void **state)
{
    struct server_settings settings = test_settings();
    struct fixture *f = fixture_start(&settings);
    char text[1024];
    size_t length;
    int fd = dial(f);
    uint64_t exchange = ask(f, fd, HANDSHAKE("/echo"));
    assert_true(hear_until(fd, text, sizeof text, "\r\n\r\n"));
    assert_non_null(strstr(text, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    for (int i = 0; i < 100; i++) {
        say_frame(fd, 1, "hallo", 5);
        assert_int_equal(hear_frame(fd, text, sizeof text, &length), 1);
        assert_string_equal(text, "hallo");
    }
    say_frame(fd, 9, "ping", 4);
    assert_int_equal(hear_frame(fd, text, sizeof text, &length), 10);
    assert_string_equal(text, "ping");
    assert_int_equal(stats_of(f).websockets, 1);
    say_frame(fd, 8, "\x0f\xa1" "bye", 5);
    expect_close(fd, 4001, "bye");
    struct note note = await_disconnect(f, exchange);
    assert_int_equal(note.cause, DISCONNECT_CLIENT);
    assert_int_equal(note.code, 4001);
    assert_string_equal(note.bytes, "bye");
    assert_int_equal(hear_all(fd, text, sizeof text), 0);
    close(fd);
    AWAIT_STAT(f, connections, 0);
    AWAIT_STAT(f, exchanges, 0);
    assert_int_equal(stats_of(f).websockets, 0);
    fixture_stop(f);
}

static void test_ends_without_a_code(void **state)
{
    struct server_settings settings = test_settings();
    struct fixture *f = fixture_start(&settings);
    int fd = dial(f);
    uint64_t exchange = open_websocket(f, fd);
    say_frame(fd, 8, "", 0);
    assert_int_equal(await_disconnect(f, exchange).code, 1005);
    close(fd);
    fd = dial(f);
    exchange = open_websocket(f, fd);
    close(fd);
    assert_int_equal(await_disconnect(f, exchange).code, 1006);
    fd = dial(f);
    exchange = ask(f, fd, HANDSHAKE("/manual")); /* leaves during the handshake */
    close(fd);
    assert_int_equal(await_disconnect(f, exchange).code, 1006);
    give_plain(f, COMMAND_ACCEPT, exchange);
    finish(f, exchange, false);
    AWAIT_STAT(f, connections, 0);
    fixture_stop(f);
}

/* A message and then a frame with an opcode that there is not, in one write. */
static uint64_t break_the_protocol(struct fixture *f, int fd)
{
    uint64_t exchange = open_websocket(f, fd);
    say_bytes(fd, "\x81\x85\0\0\0\0hallo\x83\x80\0\0\0\0\x89\x80\0\0\0\0", 23);
    assert_string_equal(await(f, EVENT_MESSAGE, exchange).bytes, "hallo");
    await(f, EVENT_ASK, exchange);
    return exchange;
}

/* What the application answers to the messages before a fault leaves before the close frame. */
static void test_answers_before_a_fault(void **state)
{
    struct server_settings settings = test_settings();
    settings.close_timeout_ms = 60000;
    struct fixture *f = fixture_start(&settings);
    char text[128];
    size_t length;
    int fd = dial(f);
    f->mute = true;
    uint64_t exchange = break_the_protocol(f, fd);
    assert_true(is_silent(fd, 50));
    struct command *message = make(COMMAND_MESSAGE, exchange, "answer", 6);
    message->text = true;
    give(f, message);
    give_plain(f, COMMAND_WAITS, exchange);
    assert_int_equal(hear_frame(fd, text, sizeof text, &length), 1);
    assert_string_equal(text, "answer");
    expect_close(fd, 1002, "");
    struct note note = await_disconnect(f, exchange);
    assert_int_equal(note.cause, DISCONNECT_PROTOCOL_ERROR);
    assert_int_equal(note.code, 1002);
    assert_int_equal(hear_all(fd, text, sizeof text), 0);
    close(fd);
    finish(f, exchange, false);
    AWAIT_STAT(f, connections, 0);
    fixture_stop(f);
}

/* An application that has no time to answer, closes by itself, ends, or whose client leaves meanwhile. */
static void test_fault_without_answer(void **state)
{
    struct server_settings settings = test_settings();
    settings.close_timeout_ms = 100;
    struct fixture *f = fixture_start(&settings);
    char text[128];
    f->mute = true;
    for (int how = 0; how < 4; how++) {
        int fd = dial(f);
        uint64_t exchange = break_the_protocol(f, fd);
        uint16_t code = how == 1 ? 4000 : how == 2 ? 1000 : 1002;
        if (how == 1)
            give_code(f, COMMAND_CLOSE, exchange, 4000, "");
        else if (how == 2)
            finish(f, exchange, false);
        if (how == 3) {
            close(fd);
        } else {
            expect_close(fd, code, "");
            assert_int_equal(hear_all(fd, text, sizeof text), 0);
            close(fd);
        }
        if (how != 2) /* who has ended is told nothing */
            assert_int_equal(await_disconnect(f, exchange).code, how == 3 ? 1006 : code);
        give_plain(f, COMMAND_WAITS, exchange); /* late: finds nobody */
        if (how != 2)
            finish(f, exchange, false);
        AWAIT_STAT(f, connections, 0);
    }
    fixture_stop(f);
}

/* The application closes: by itself, by returning, by failing. */
static void test_application_closes(void **state)
{
    struct server_settings settings = test_settings();
    struct fixture *f = fixture_start(&settings);
    char text[128];
    int fd = dial(f);
    uint64_t exchange = open_websocket(f, fd);
    give_code(f, COMMAND_CLOSE, exchange, 4000, "enough");
    expect_close(fd, 4000, "enough");
    struct note note = await_disconnect(f, exchange);
    assert_int_equal(note.cause, DISCONNECT_APPLICATION);
    assert_int_equal(note.code, 4000);
    say_frame(fd, 8, "\x0f\xa0", 2);
    assert_int_equal(hear_all(fd, text, sizeof text), 0);
    finish(f, exchange, false);
    close(fd);
    for (int failed = 0; failed < 2; failed++) {
        fd = dial(f);
        exchange = open_websocket(f, fd);
        finish(f, exchange, failed);
        expect_close(fd, failed ? 1011 : 1000, "");
        close(fd);
        await(f, HOOK_ENDED, exchange);
    }
    AWAIT_STAT(f, exchanges, 0);
    AWAIT_STAT(f, connections, 0);
    fixture_stop(f);
}

/* A peer that does not answer our close frame is not waited for for ever; nor are what it sends meanwhile messages. */
static void test_close_is_not_answered(void **state)
{
    struct server_settings settings = test_settings();
    settings.close_timeout_ms = 100;
    struct fixture *f = fixture_start(&settings);
    struct note note;
    char text[128];
    int fd = dial(f);
    uint64_t exchange = open_websocket(f, fd);
    give_code(f, COMMAND_CLOSE, exchange, 1000, "");
    expect_close(fd, 1000, "");
    say_frame(fd, 1, "too late", 8);
    assert_int_equal(hear_all(fd, text, sizeof text), 0);
    assert_false(await_within(f, EVENT_MESSAGE, exchange, 0, &note));
    AWAIT_STAT(f, connections, 0);
    close(fd);
    fixture_stop(f);
}

/* The application closes without having read: the client's answer behind what it had sent is found all the same. */
static void test_close_while_paused(void **state)
{
    struct server_settings settings = test_settings();
    settings.receive_window = 1000;
    settings.close_timeout_ms = 3600000;
    struct fixture *f = fixture_start(&settings);
    struct note note;
    char text[128];
    static char bytes[2000];
    int fd = dial(f);
    uint64_t exchange = open_websocket(f, fd);
    for (int i = 0; i < 3; i++)
        say_frame(fd, 2, bytes, sizeof bytes);
    AWAIT_STAT(f, read_paused, 1);
    await(f, EVENT_MESSAGE, exchange);
    give_code(f, COMMAND_CLOSE, exchange, 1000, "");
    expect_close(fd, 1000, "");
    say_frame(fd, 8, "\x03\xe8", 2);
    assert_int_equal(hear_all(fd, text, sizeof text), 0);
    assert_false(await_within(f, EVENT_MESSAGE, exchange, 0, &note));
    close(fd);
    AWAIT_STAT(f, connections, 0);
    fixture_stop(f);
}

static void expect_status(int fd, const char *status)
{
    char text[1024];
    hear_all(fd, text, sizeof text);
    assert_ptr_equal(strstr(text, status), text);
    close(fd);
}

static void test_not_accepted(void **state)
{
    struct server_settings settings = test_settings();
    settings.websocket_connect_timeout_ms = 500;
    struct fixture *f = fixture_start(&settings);
    int fd = dial(f);
    uint64_t exchange = ask(f, fd, HANDSHAKE("/reject"));
    give_code(f, COMMAND_CLOSE, exchange, 4003, "");
    expect_status(fd, "HTTP/1.1 403 ");
    assert_int_equal(await_disconnect(f, exchange).cause, DISCONNECT_APPLICATION);
    finish(f, exchange, false);
    fd = dial(f);
    exchange = ask(f, fd, HANDSHAKE("/crash"));
    finish(f, exchange, true);
    expect_status(fd, "HTTP/1.1 500 ");
    fd = dial(f);
    exchange = ask(f, fd, HANDSHAKE("/deny"));
    respond(f, exchange, 401, "who are you?");
    finish(f, exchange, false);
    expect_status(fd, "HTTP/1.1 401 ");
    fd = dial(f);
    exchange = ask(f, fd, HANDSHAKE("/forget"));
    expect_status(fd, "HTTP/1.1 503 ");
    struct note note = await_disconnect(f, exchange);
    assert_int_equal(note.cause, DISCONNECT_CONNECT_TIMEOUT);
    assert_int_equal(note.status, 503);
    finish(f, exchange, false);
    AWAIT_STAT(f, exchanges, 0);
    assert_int_equal(stats_of(f).bad_requests_total, 0); /* the clients asked correctly */
    fixture_stop(f);
}

static void test_lifetime(void **state)
{
    struct server_settings settings = test_settings();
    settings.websocket_timeout_ms = 100;
    struct fixture *f = fixture_start(&settings);
    int fd = dial(f);
    uint64_t exchange = open_websocket(f, fd);
    expect_close(fd, 1000, "");
    assert_int_equal(await_disconnect(f, exchange).cause, DISCONNECT_LIFETIME);
    close(fd);
    fixture_stop(f);
}

static void test_silent_client(void **state)
{
    struct server_settings settings = test_settings();
    settings.ping_interval_ms = 50;
    settings.ping_timeout_ms = 100;
    struct fixture *f = fixture_start(&settings);
    char text[128];
    size_t length;
    int fd = dial(f);
    uint64_t exchange = open_websocket(f, fd);
    assert_int_equal(hear_frame(fd, text, sizeof text, &length), 9);
    struct note note = await_disconnect(f, exchange);
    assert_int_equal(note.cause, DISCONNECT_PING_TIMEOUT);
    assert_int_equal(note.code, 1006);
    assert_int_equal(stats_of(f).timeouts_total, 1);
    close(fd);
    fixture_stop(f);
}

/* A client that does nothing but answer pings lives, also when its pong comes in the very millisecond of the ping; and it is
 * pinged again after the interval, however long the timeout is. */
static void pongs_are_life(uint64_t ping_timeout_ms)
{
    struct server_settings settings = test_settings();
    settings.ping_interval_ms = 50;
    settings.ping_timeout_ms = ping_timeout_ms;
    struct fixture *f = fixture_start(&settings);
    char text[128];
    size_t length = 0;
    int fd = dial(f);
    uint64_t exchange = open_websocket(f, fd);
    for (int ping = 0; ping < 8; ping++) {
        assert_int_equal(hear_frame(fd, text, sizeof text, &length), 9);
        say_frame(fd, 10, text, length);
    }
    assert_int_equal(place(f, EVENT_DISCONNECT, exchange), -1);
    assert_int_equal(stats_of(f).timeouts_total, 0);
    close(fd);
    fixture_stop(f);
}

static void test_pongs_are_life(void **state)
{
    pongs_are_life(200);
    pongs_are_life(3600000);
}

/* We refuse to read: that the client seems silent is our doing. */
static void test_paused_client_is_not_silent(void **state)
{
    struct server_settings settings = test_settings();
    settings.ping_interval_ms = settings.ping_timeout_ms = 50;
    settings.receive_window = 1000;
    struct fixture *f = fixture_start(&settings);
    struct note note;
    static char bytes[2000];
    int fd = dial(f);
    uint64_t exchange = open_websocket(f, fd);
    for (int i = 0; i < 3; i++)
        say_frame(fd, 2, bytes, sizeof bytes);
    AWAIT_STAT(f, read_paused, 1);
    assert_false(await_within(f, EVENT_DISCONNECT, exchange, 500, &note));
    for (int i = 0; i < 3; i++) {
        note = await(f, EVENT_MESSAGE, exchange);
        assert_int_equal(note.length, sizeof bytes);
        consume(f, exchange, event_cost(note.length));
    }
    await_disconnect(f, exchange); /* now it is */
    close(fd);
    fixture_stop(f);
}

/* The window is full and the client leaves: its subscriptions end at once, what it had sent still comes, then the disconnect. */
static void test_leaves_while_paused(void **state)
{
    struct server_settings settings = test_settings();
    settings.receive_window = 1000;
    struct fixture *f = fixture_start(&settings);
    struct note note;
    static char bytes[2000];
    int fd = dial(f);
    uint64_t exchange = open_websocket(f, fd);
    for (int i = 0; i < 3; i++)
        say_frame(fd, 2, bytes, sizeof bytes);
    note = await(f, EVENT_MESSAGE, exchange);
    assert_false(await_within(f, EVENT_MESSAGE, exchange, 100, &note));
    close(fd);
    await(f, HOOK_ENDED, exchange);
    assert_false(await_within(f, EVENT_DISCONNECT, exchange, 300, &note));
    for (int i = 0; i < 2; i++) {
        consume(f, exchange, event_cost(sizeof bytes));
        await(f, EVENT_MESSAGE, exchange);
    }
    consume(f, exchange, event_cost(sizeof bytes));
    assert_int_equal(await_disconnect(f, exchange).code, 1006);
    assert_false(await_within(f, HOOK_ENDED, exchange, 0, &note)); /* once */
    fixture_stop(f);
}

/* An application that takes nothing at all is told after the time that it has for closing; a reset is told at once. */
static void test_leaves_and_nobody_reads(void **state)
{
    for (int reset = 0; reset < 2; reset++) {
        struct server_settings settings = test_settings();
        settings.receive_window = 1000;
        settings.application_close_timeout_ms = reset ? 3600000 : 150;
        struct fixture *f = fixture_start(&settings);
        static char bytes[2000];
        int fd = dial(f);
        uint64_t exchange = open_websocket(f, fd);
        for (int i = 0; i < 3; i++)
            say_frame(fd, 2, bytes, sizeof bytes);
        AWAIT_STAT(f, read_paused, 1);
        if (reset)
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){ .l_onoff = 1 }, sizeof(struct linger));
        close(fd);
        assert_int_equal(await_disconnect(f, exchange).code, 1006);
        if (!reset)
            await(f, EVENT_KILL, exchange);
        AWAIT_STAT(f, read_paused, 0);
        fixture_stop(f);
    }
}

static void test_kick(void **state)
{
    struct server_settings settings = test_settings();
    struct fixture *f = fixture_start(&settings);
    int fd = dial(f);
    uint64_t exchange = open_websocket(f, fd);
    give_code(f, COMMAND_KICK, exchange, 1013, "");
    expect_close(fd, 1013, "");
    struct note note = await_disconnect(f, exchange);
    assert_int_equal(note.cause, DISCONNECT_OVERFLOW);
    assert_int_equal(note.code, 1013);
    give_code(f, COMMAND_KICK, exchange, 1013, ""); /* nobody there any more */
    finish(f, exchange, false);
    AWAIT_STAT(f, exchanges, 0);
    assert_int_equal(stats_of(f).kicks_total, 1);
    close(fd);
    fixture_stop(f);
}

static void test_too_large(void **state)
{
    struct server_settings settings = test_settings();
    settings.websocket_max_message_size = 100;
    struct fixture *f = fixture_start(&settings);
    static char bytes[200];
    int fd = dial(f);
    uint64_t exchange = open_websocket(f, fd);
    say_frame(fd, 2, bytes, sizeof bytes);
    expect_close(fd, 1009, "");
    struct note note = await_disconnect(f, exchange);
    assert_int_equal(note.cause, DISCONNECT_TOO_LARGE);
    assert_int_equal(note.code, 1009);
    close(fd);
    fixture_stop(f);
}

/* Messages sent together leave together, in order, before the close frame behind them. */
static void test_order_of_one_batch(void **state)
{
    struct server_settings settings = test_settings();
    struct fixture *f = fixture_start(&settings);
    char text[128], expected[16];
    size_t length;
    int fd = dial(f);
    uint64_t exchange = open_websocket(f, fd);
    struct queue_chain chain = { NULL, NULL };
    for (int i = 0; i < 50; i++) {
        int size = snprintf(expected, sizeof expected, "%d", i);
        struct command *message = make(COMMAND_MESSAGE, exchange, expected, (size_t)size);
        message->text = true;
        queue_chain_add(&chain, &message->item);
    }
    struct command *goodbye = make(COMMAND_CLOSE, exchange, NULL, 0);
    goodbye->code = 1000;
    queue_chain_add(&chain, &goodbye->item);
    server_send(f->server, &chain);
    for (int i = 0; i < 50; i++) {
        snprintf(expected, sizeof expected, "%d", i);
        assert_int_equal(hear_frame(fd, text, sizeof text, &length), 1);
        assert_string_equal(text, expected);
    }
    expect_close(fd, 1000, "");
    close(fd);
    fixture_stop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo),
        cmocka_unit_test(test_ends_without_a_code),
        cmocka_unit_test(test_answers_before_a_fault),
        cmocka_unit_test(test_fault_without_answer),
        cmocka_unit_test(test_application_closes),
        cmocka_unit_test(test_close_is_not_answered),
        cmocka_unit_test(test_close_while_paused),
        cmocka_unit_test(test_not_accepted),
        cmocka_unit_test(test_lifetime),
        cmocka_unit_test(test_silent_client),
        cmocka_unit_test(test_pongs_are_life),
        cmocka_unit_test(test_paused_client_is_not_silent),
        cmocka_unit_test(test_leaves_while_paused),
        cmocka_unit_test(test_leaves_and_nobody_reads),
        cmocka_unit_test(test_kick),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_order_of_one_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
