/* server_fixture.h: a server on loopback, an application for it in C, and a client that speaks bytes.
 *
 * Owner:   each test: fixture_start() … fixture_stop().
 * Thread:  the application's thread answers /hello and /echo and notes every event; the test's thread does the rest by
 *          server_send().
 * Limits:  LOG_SIZE notes; PATIENCE_MS for what must happen, which is generous: sanitizers are slow.
 */
#ifndef PENEUS_TESTS_SERVER_FIXTURE_H
#define PENEUS_TESTS_SERVER_FIXTURE_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>
#include <malloc.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/list.h"
#include "server/command.h"
#include "server/event.h"
#include "server/server.h"

enum { LOG_SIZE = 16384, PATIENCE_MS = 20000, HOOK_BEGUN = 100, HOOK_ENDED = 101 };

/* One event or hook, in the order in which the two threads saw them. */
struct note {
    int kind; /* enum event_kind, or HOOK_… */
    uint64_t exchange;
    bool flag; /* more, text, or websocket */
    bool taken;
    size_t length, amount, allocated;
    enum disconnect_cause cause;
    uint16_t code, status;
    uint64_t expected, actual, at;
    char bytes[128]; /* the first of them */
};

struct fixture {
    struct server *server;
    struct queue events;
    int wake;
    uint16_t port;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t noted;
    struct note *log;
    size_t count;
    uint64_t echoing[512]; /* exchanges of /echo */
    size_t echo_count;
    atomic_bool mute;      /* EVENT_ASK is not answered */
};

static inline void fixture_note(struct fixture *f, const struct note *note)
{
    pthread_mutex_lock(&f->lock);
    if (f->count == LOG_SIZE)
        abort();
    f->log[f->count] = *note;
    f->log[f->count++].at = clock_ms();
    pthread_cond_broadcast(&f->noted);
    pthread_mutex_unlock(&f->lock);
}

static inline uint64_t on_begun(void *context, uint64_t exchange, bool websocket)
{
    fixture_note(context, &(struct note){ .kind = HOOK_BEGUN, .exchange = exchange });
    return exchange ^ 0xabcd;
}

static inline void on_ended(void *context, uint64_t exchange, uint64_t owner)
{
    if (owner != (exchange ^ 0xabcd))
        abort();
    fixture_note(context, &(struct note){ .kind = HOOK_ENDED, .exchange = exchange });
}

static inline void on_wake(void *argument)
{
    uint64_t one = 1;
    if (write(*(int *)argument, &one, sizeof one) < 0)
        abort();
}

/* The application here is not what is tested: an allocation that was told to fail, which happens once, is repeated. */
static inline struct command *allocated(enum command_kind kind, uint64_t exchange, size_t length)
{
    struct command *command = command_create(kind, exchange, length);
    return command != NULL ? command : command_create(kind, exchange, length);
}

static inline struct command *make(enum command_kind kind, uint64_t exchange, const void *bytes, size_t length)
{
    struct command *command = allocated(kind, exchange, length);
    if (command == NULL)
        abort();
    if (length > 0)
        memcpy(command->bytes, bytes, length);
    return command;
}

static inline void give(struct fixture *f, struct command *command)
{
    struct queue_chain chain = { NULL, NULL };
    queue_chain_add(&chain, &command->item);
    server_send(f->server, &chain);
}

/* A response or denial with one field (name NULL: none) and this body. */
static inline void respond_with(struct fixture *f, uint64_t exchange, uint16_t status, const char *name, const char *value,
                                const void *body, size_t length, bool more)
{
    struct command_field field = { name != NULL ? (uint32_t)strlen(name) : 0, name != NULL ? (uint32_t)strlen(value) : 0 };
    size_t head = name != NULL ? sizeof field + field.name_length + field.value_length : 0;
    struct command *command = allocated(COMMAND_RESPOND, exchange, head + length);
    if (command == NULL)
        abort();
    if (name != NULL) {
        memcpy(command->bytes, &field, sizeof field);
        memcpy(command->bytes + sizeof field, name, field.name_length);
        memcpy(command->bytes + sizeof field + field.name_length, value, field.value_length);
        command->response.field_count = 1;
        command->response.head_length = (uint32_t)head;
    }
    if (length > 0)
        memcpy(command->bytes + head, body, length);
    command->response.status = status;
    command->response.more = more;
    give(f, command);
}

static inline void respond(struct fixture *f, uint64_t exchange, uint16_t status, const char *body)
{
    respond_with(f, exchange, status, NULL, NULL, body, strlen(body), false);
}

static inline void send_body(struct fixture *f, uint64_t exchange, const void *bytes, size_t length, bool more)
{
    struct command *command = make(COMMAND_BODY, exchange, bytes, length);
    command->response.more = more;
    give(f, command);
}

static inline void finish(struct fixture *f, uint64_t exchange, bool failed)
{
    struct command *command = make(COMMAND_FINISHED, exchange, NULL, 0);
    command->failed = failed;
    give(f, command);
}

static inline void consume(struct fixture *f, uint64_t exchange, size_t amount)
{
    struct command *command = make(COMMAND_CONSUMED, exchange, NULL, 0);
    command->amount = amount;
    give(f, command);
}

static inline void give_code(struct fixture *f, enum command_kind kind, uint64_t exchange, uint16_t code, const char *reason)
{
    struct command *command = make(kind, exchange, reason, strlen(reason));
    command->code = code;
    give(f, command);
}

static inline void give_plain(struct fixture *f, enum command_kind kind, uint64_t exchange)
{
    give(f, make(kind, exchange, NULL, 0));
}

static inline bool is_echo(const struct fixture *f, uint64_t exchange)
{
    for (size_t i = 0; i < f->echo_count; i++)
        if (f->echoing[i] == exchange)
            return true;
    return false;
}

/* What the application does by itself. */
static inline void answer(struct fixture *f, const struct event *event)
{
    const char *bytes = (const char *)event->bytes;
    if (event->kind == EVENT_REQUEST) {
        const struct request_event *request = (const struct request_event *)(const void *)event;
        const char *target = bytes + request->target.offset;
        if (request->target.length >= 6 && memcmp(target, "/hello", 6) == 0) {
            respond_with(f, event->exchange, 200, NULL, NULL, target, request->target.length, false);
            finish(f, event->exchange, false);
        } else if (request->websocket && request->target.length == 5 && memcmp(target, "/echo", 5) == 0) {
            f->echoing[f->echo_count++] = event->exchange;
            give_plain(f, COMMAND_ACCEPT, event->exchange);
        }
    } else if (event->kind == EVENT_MESSAGE && is_echo(f, event->exchange)) {
        struct command *message = make(COMMAND_MESSAGE, event->exchange, event->bytes, event->length);
        message->text = event->text;
        give(f, message);
        consume(f, event->exchange, event_cost(event->length));
    } else if (event->kind == EVENT_DISCONNECT && is_echo(f, event->exchange)) {
        finish(f, event->exchange, false);
    } else if (event->kind == EVENT_ASK && !f->mute) {
        give_plain(f, COMMAND_WAITS, event->exchange);
    }
}

static inline void note_event(struct fixture *f, struct event *event)
{
    struct note note = { .kind = event->kind, .exchange = event->exchange, .length = event->length };
    note.allocated = malloc_usable_size(event);
    if (event->length > 0)
        memcpy(note.bytes, event->bytes, event->length < sizeof note.bytes ? event->length : sizeof note.bytes - 1);
    if (event->kind == EVENT_REQUEST) {
        struct request_event *request = (struct request_event *)(void *)event;
        note.flag = request->websocket;
    } else if (event->kind == EVENT_BODY) {
        note.flag = event->more;
    } else if (event->kind == EVENT_MESSAGE) {
        note.flag = event->text;
    } else if (event->kind == EVENT_WRITTEN) {
        note.amount = event->amount;
    } else if (event->kind == EVENT_DISCONNECT) {
        note.cause = event->disconnect.cause;
        note.code = event->disconnect.code;
        note.status = event->disconnect.status;
        note.expected = event->disconnect.expected;
        note.actual = event->disconnect.actual;
    } else if (event->kind == EVENT_REFUSED) {
        note.status = ((struct refusal_event *)(void *)event)->status;
    }
    fixture_note(f, &note);
}

/* The application's allocations do not fail with the server's. */
static bool application_is_spared;

static inline void *application(void *argument)
{
    struct fixture *f = argument;
    bool stopped = false;
    if (application_is_spared)
        mem_spare_thread();
    while (!stopped) {
        uint64_t ignored;
        struct queue_item *item;
        if (read(f->wake, &ignored, sizeof ignored) < 0)
            abort();
        while ((item = queue_take(&f->events)) != NULL) {
            while (item != NULL) {
                struct event *event = list_entry(item, struct event, item);
                item = item->next;
                stopped = stopped || event->kind == EVENT_STOPPED;
                note_event(f, event);
                answer(f, event);
                event_destroy(event);
            }
        }
    }
    return NULL;
}

static inline struct server_settings test_settings(void)
{
    return (struct server_settings){
        .server_name = "test",
        .max_target_size = 8192,
        .max_header_size = 65536,
        .max_header_count = 128,
        .close_timeout_ms = 2000,
        .websocket_max_message_size = 1 << 20,
        .receive_window = 65536,
        .head_window = 1 << 20,
        .head_backlog = 64 << 20,
        .websocket_write_limit = 262144,
        .websocket_deflate = 1,
        .websocket_deflate_window_bits = 12,
        .websocket_deflate_memory_level = 5,
        .websocket_deflate_threshold = 256,
        .broadcast_backlog = 1 << 24,
        .send_window = 65536,
        .unsent_window = 32 << 20,
        .unsent_backlog = 256 << 20,
        .body_chunk = 65536,
        .http2 = 1,
        .http2_max_concurrent_streams = 100,
        .http2_max_applications = 200,
        .http2_control_rate = 100,
        .backlog = 128,
        .tells_refusals = true,
    };
}

/* A server without a listener, not started. */
static inline struct fixture *fixture_create(const struct server_settings *settings)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct server_hooks hooks = { .context = f, .exchange_begun = on_begun, .exchange_ended = on_ended };
    f->log = calloc(LOG_SIZE, sizeof *f->log);
    f->wake = eventfd(0, EFD_CLOEXEC);
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->noted, NULL);
    queue_init(&f->events, on_wake, &f->wake);
    assert_int_equal(server_create(&f->server, settings, &hooks, &f->events), SERVER_OK);
    return f;
}

static inline void fixture_run(struct fixture *f)
{
    struct listen_address address;
    if (server_address(f->server, 0, &address) == 0)
        f->port = address.port;
    assert_int_equal(pthread_create(&f->thread, NULL, application, f), 0);
    assert_int_equal(server_start(f->server), SERVER_OK);
}

static inline struct fixture *fixture_start(const struct server_settings *settings)
{
    struct fixture *f = fixture_create(settings);
    struct listen_spec spec = { .kind = LISTEN_TCP, .host = "127.0.0.1" };
    char error[256] = "";
    assert_int_equal(server_listen(f->server, &spec, error, sizeof error), SERVER_OK);
    fixture_run(f);
    return f;
}

static inline void fixture_free(struct fixture *f)
{
    server_destroy(f->server);
    queue_deinit(&f->events);
    close(f->wake);
    pthread_cond_destroy(&f->noted);
    pthread_mutex_destroy(&f->lock);
    free(f->log);
    free(f);
}

static inline void fixture_stop(struct fixture *f)
{
    give_plain(f, COMMAND_STOP, 0);
    pthread_join(f->thread, NULL);
    fixture_free(f);
}

/* The first note of this kind (and exchange, unless 0) that was not taken yet; waits at most ms. False: none came. */
static inline bool await_within(struct fixture *f, int kind, uint64_t exchange, unsigned ms, struct note *found)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    bool is_found = false;
    pthread_mutex_lock(&f->lock);
    for (size_t i = 0; !is_found;) {
        if (i == f->count) {
            if (pthread_cond_timedwait(&f->noted, &f->lock, &until) == ETIMEDOUT && i == f->count)
                break;
            continue;
        }
        struct note *note = &f->log[i++];
        if (note->kind == kind && !note->taken && (exchange == 0 || note->exchange == exchange)) {
            note->taken = true;
            *found = *note;
            is_found = true;
        }
    }
    pthread_mutex_unlock(&f->lock);
    return is_found;
}

static inline struct note await(struct fixture *f, int kind, uint64_t exchange)
{
    struct note found = { 0 };
    if (!await_within(f, kind, exchange, PATIENCE_MS, &found))
        fail_msg("no note of kind %d for exchange %llx", kind, (unsigned long long)exchange);
    return found;
}

/* The place of the first such note in the log, or -1. */
static inline long place(struct fixture *f, int kind, uint64_t exchange)
{
    long found = -1;
    pthread_mutex_lock(&f->lock);
    for (size_t i = 0; i < f->count && found < 0; i++)
        if (f->log[i].kind == kind && f->log[i].exchange == exchange)
            found = (long)i;
    pthread_mutex_unlock(&f->lock);
    return found;
}

/* The end of an exchange as the application sees it; checks that its subscriptions ended before. */
static inline struct note await_disconnect(struct fixture *f, uint64_t exchange)
{
    struct note note = await(f, EVENT_DISCONNECT, exchange);
    assert_true(place(f, HOOK_ENDED, exchange) >= 0);
    assert_true(place(f, HOOK_ENDED, exchange) < place(f, EVENT_DISCONNECT, exchange));
    return note;
}

static inline struct server_stats stats_of(struct fixture *f)
{
    struct server_stats stats;
    server_stats(f->server, &stats);
    return stats;
}

/* Waits until a field of the statistics has this value. */
#define AWAIT_STAT(f, field, value)                                                      \
    do {                                                                                 \
        uint64_t give_up_ = clock_ms() + PATIENCE_MS;                                    \
        while (stats_of(f).field != (uint64_t)(value) && clock_ms() < give_up_)          \
            usleep(1000);                                                                \
        assert_int_equal(stats_of(f).field, (value));                                    \
    } while (0)

/* The client. */

static inline int try_connect(uint16_t port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = { htonl(INADDR_LOOPBACK) } };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

static inline int dial(struct fixture *f)
{
    int fd = try_connect(f->port);
    assert_true(fd >= 0);
    return fd;
}

/* The server may have closed: then nobody hears. */
static bool say_may_fail;

static inline void say_bytes(int fd, const void *bytes, size_t length)
{
    while (length > 0) {
        ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);
        if (sent <= 0 && say_may_fail)
            return;
        assert_true(sent > 0);
        bytes = (const char *)bytes + sent;
        length -= (size_t)sent;
    }
}

static inline void say(int fd, const char *text)
{
    say_bytes(fd, text, strlen(text));
}

/* Up to size bytes; 0: EOF or a reset. Fails the test when nothing comes at all. */
static inline size_t hear_some(int fd, void *bytes, size_t size)
{
    struct pollfd waited = { .fd = fd, .events = POLLIN };
    assert_int_equal(poll(&waited, 1, PATIENCE_MS), 1);
    ssize_t got = recv(fd, bytes, size, 0);
    return got > 0 ? (size_t)got : 0;
}

/* Reads until needle has come (what is behind it stays unread); text is terminated. False: EOF first. */
static inline bool hear_until(int fd, char *text, size_t size, const char *needle)
{
    size_t length = 0;
    text[0] = '\0';
    while (length + 1 < size) {
        if (hear_some(fd, text + length, 1) == 0)
            return false;
        text[++length] = '\0';
        if (length >= strlen(needle) && strcmp(text + length - strlen(needle), needle) == 0)
            return true;
    }
    return false;
}

/* Reads to EOF; returns how much, keeps the first of it in text. */
static inline size_t hear_all(int fd, char *text, size_t size)
{
    char bytes[16384];
    size_t length = 0, got;
    while ((got = hear_some(fd, bytes, sizeof bytes)) > 0) {
        for (size_t i = 0; i < got; i++)
            if (length + i + 1 < size)
                text[length + i] = bytes[i];
        length += got;
    }
    if (size > 0)
        text[length < size ? length : size - 1] = '\0';
    return length;
}

static inline bool is_silent(int fd, int ms)
{
    struct pollfd waited = { .fd = fd, .events = POLLIN };
    return poll(&waited, 1, ms) == 0;
}

/* Sends a request and returns the exchange it became. */
static inline uint64_t ask(struct fixture *f, int fd, const char *request)
{
    say(fd, request);
    return await(f, EVENT_REQUEST, 0).exchange;
}

#define HANDSHAKE(target)                                                                                              \
    "GET " target " HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

/* A whole, final, masked frame of less than 64 KiB. */
static inline void say_frame(int fd, unsigned opcode, const void *bytes, size_t length)
{
    unsigned char *frame = calloc(1, length + 8);
    size_t header = length < 126 ? 6 : 8;
    frame[0] = (unsigned char)(0x80 | opcode);
    frame[1] = (unsigned char)(0x80 | (length < 126 ? length : 126));
    if (length >= 126) {
        frame[2] = (unsigned char)(length >> 8);
        frame[3] = (unsigned char)length;
    }
    if (length > 0) /* the masking key is 0 */
        memcpy(frame + header, bytes, length);
    say_bytes(fd, frame, header + length);
    free(frame);
}

/* Reads one short frame: its opcode, or -1 at EOF. */
static inline int hear_frame(int fd, char *text, size_t size, size_t *length)
{
    unsigned char header[2];
    if (hear_some(fd, &header[0], 1) == 0 || hear_some(fd, &header[1], 1) == 0)
        return -1;
    assert_true(header[1] < 126 && header[1] < size);
    *length = header[1];
    for (size_t i = 0; i < *length; i++)
        assert_int_equal(hear_some(fd, text + i, 1), 1);
    text[*length] = '\0';
    return header[0] & 15;
}

/* Opens a WebSocket that the test itself answers. */
static inline uint64_t open_websocket(struct fixture *f, int fd)
{
    char head[1024];
    uint64_t exchange = ask(f, fd, HANDSHAKE("/manual"));
    give_plain(f, COMMAND_ACCEPT, exchange);
    assert_true(hear_until(fd, head, sizeof head, "\r\n\r\n"));
    assert_non_null(strstr(head, "HTTP/1.1 101 "));
    return exchange;
}

/* The next frame is a close frame with this code. */
static inline void expect_close(int fd, uint16_t code, const char *reason)
{
    char text[128];
    size_t length;
    assert_int_equal(hear_frame(fd, text, sizeof text, &length), 8);
    assert_int_equal(((unsigned char)text[0] << 8) | (unsigned char)text[1], code);
    assert_string_equal(text + 2, reason);
}

#endif
