/* HTTP/2 input, to a whole server on this thread, with an application that answers every stream and WebSocket. The first byte says
 * what the rest is: bytes as they are (0); the same behind the client's preface and SETTINGS (1); or frames behind those, each as
 * its type, flags, stream and length, a byte each, and that much payload (2). Nothing of a connection is left when its client has gone. */
#include <signal.h>
#include <arpa/inet.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/command.h"
#include "server/event.h"
#include "server/http2_connection.h"
#include "server/server_state.h"
#include "tests/fuzz/fuzz.h"

enum { ROUNDS = 12, MOST_ROUNDS = 2000, MOST = 1 << 16, STREAMS = 16 };

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

static struct server *server;
static struct queue events;
static uint16_t port;

/* The I/O thread: this one, which runs the loop itself. */
int uv_thread_create(uv_thread_t *thread, uv_thread_cb entry, void *argument)
{
    (void)thread, (void)entry, (void)argument;
    return 0;
}

static uint64_t on_begun(void *context, uint64_t exchange, bool websocket)
{
    (void)context, (void)websocket;
    return exchange;
}

static void on_ended(void *context, uint64_t exchange, uint64_t owner)
{
    (void)context;
    fuzz_require(owner == exchange);
}

static void ignore(void *argument)
{
    (void)argument;
}

static void prepare(void)
{
    struct server_settings settings = {
        .server_name = "fuzzed", .max_target_size = 2000, .max_header_size = 8000, .max_header_count = 40, .close_timeout_ms = 1000,
        .websocket_max_message_size = 4000, .receive_window = 65536, .unsent_window = 20000, .unsent_backlog = 50000, .head_window = 4000, .head_backlog = 8000, .websocket_write_limit = 65536, .websocket_deflate = 1,
        .websocket_deflate_window_bits = 12, .websocket_deflate_memory_level = 5, .websocket_deflate_threshold = 64,
        .broadcast_backlog = 1 << 20, .send_window = 65536, .body_chunk = 1000, .backlog = 16, .http2 = HTTP2_ON,
        .http2_max_concurrent_streams = STREAMS, .http2_max_applications = 2 * STREAMS, .http2_control_rate = 100,
    };
    struct server_hooks hooks = { .exchange_begun = on_begun, .exchange_ended = on_ended };
    struct listen_spec spec = { .kind = LISTEN_TCP, .host = "127.0.0.1" };
    struct listen_address address;
    char error[200];
    queue_init(&events, ignore, NULL);
    fuzz_require(server_create(&server, &settings, &hooks, &events) == SERVER_OK);
    fuzz_require(server_listen(server, &spec, error, sizeof error) == SERVER_OK);
    fuzz_require(server_address(server, 0, &address) == 0);
    port = address.port;
    fuzz_require(server_start(server) == SERVER_OK);
}

/* --- the application --- */

static struct command *give(enum command_kind kind, uint64_t exchange, const void *bytes, size_t length)
{
    struct command *command = command_create(kind, exchange, length);
    if (length > 0)
        memcpy(command->bytes, bytes, length);
    return command;
}

static void say(struct command *command)
{
    struct queue_chain chain = { NULL, NULL };
    queue_chain_add(&chain, &command->item);
    server_send(server, &chain);
}

static void consume(const struct event *event)
{
    struct command *command = give(COMMAND_CONSUMED, event->exchange, NULL, 0);
    command->amount = event_cost(event->length);
    say(command);
}

static void request(const struct event *event)
{
    const struct request_event *asked = (const struct request_event *)(const void *)event;
    if (asked->websocket) {
        say(give(COMMAND_ACCEPT, event->exchange, NULL, 0));
        return;
    }
    struct command *command = give(COMMAND_RESPOND, event->exchange, "hello", 5);
    command->response.status = 200;
    say(command);
    say(give(COMMAND_FINISHED, event->exchange, NULL, 0));
}

static void message(const struct event *event)
{
    struct command *command = give(COMMAND_MESSAGE, event->exchange, event->bytes, event->length);
    command->text = event->text;
    say(command);
    consume(event);
}

static void answer_events(void)
{
    struct queue_item *item;
    while ((item = queue_take(&events)) != NULL) {
        while (item != NULL) {
            struct event *event = list_entry(item, struct event, item);
            item = item->next;
            if (event->kind == EVENT_REQUEST)
                request(event);
            else if (event->kind == EVENT_MESSAGE)
                message(event);
            else if (event->kind == EVENT_BODY)
                consume(event);
            else if (event->kind == EVENT_ASK)
                say(give(COMMAND_WAITS, event->exchange, NULL, 0));
            else if (event->kind == EVENT_DISCONNECT)
                say(give(COMMAND_FINISHED, event->exchange, NULL, 0));
            event_destroy(event);
        }
    }
}

/* --- the client --- */

static void turn(int fd)
{
    char ignored[16384];
    uv_run(&server->loop, UV_RUN_NOWAIT);
    answer_events();
    while (fd >= 0 && recv(fd, ignored, sizeof ignored, MSG_DONTWAIT) > 0)
        continue;
}

static void send_all(int fd, const void *bytes, size_t length)
{
    const char *at = bytes;
    for (unsigned round = 0; length > 0 && round < MOST_ROUNDS; round++) {
        ssize_t sent = send(fd, at, length, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent > 0) {
            at += sent;
            length -= (size_t)sent;
        }
        turn(fd);
    }
}

static size_t frames(const uint8_t *bytes, size_t length, unsigned char *out)
{
    size_t at = 0, size = 0;
    while (at + 4 <= length) {
        size_t payload = bytes[at + 3] < length - at - 4 ? bytes[at + 3] : length - at - 4;
        if (size + payload + 9 > MOST)
            break;
        memcpy(out + size, (unsigned char[]){ 0, 0, (unsigned char)payload, bytes[at], bytes[at + 1], 0, 0, 0, bytes[at + 2] }, 9);
        memcpy(out + size + 9, bytes + at + 4, payload);
        size += 9 + payload;
        at += 4 + payload;
    }
    return size;
}

/* libFuzzer's alarm clock would interrupt it. */
static void connect_undisturbed(int fd, const struct sockaddr_in *address)
{
    sigset_t alarm, before;
    sigemptyset(&alarm);
    sigaddset(&alarm, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &alarm, &before);
    fuzz_require(connect(fd, (const struct sockaddr *)address, sizeof *address) == 0);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    static unsigned char made[MOST];
    if (length == 0 || length > MOST / 4)
        return 0;
    if (server == NULL)
        prepare();
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = { htonl(INADDR_LOOPBACK) } };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    fuzz_require(fd >= 0);
    connect_undisturbed(fd, &address);
    unsigned mode = bytes[0] % 3;
    if (mode > 0)
        send_all(fd, preface, sizeof preface - 1);
    if (mode == 2)
        send_all(fd, made, frames(bytes + 1, length - 1, made));
    else
        send_all(fd, bytes + 1, length - 1);
    for (unsigned i = 0; i < ROUNDS; i++)
        turn(fd);
    /* With a reset: otherwise the kernel would keep each of them for a minute. */
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){ 1, 0 }, sizeof(struct linger));
    close(fd);
    for (unsigned i = 0; i < MOST_ROUNDS && (atomic_load(&server->counters.connections) > 0 || atomic_load(&server->counters.exchanges) > 0); i++)
        turn(-1);
    fuzz_require(atomic_load(&server->counters.connections) == 0);
    fuzz_require(atomic_load(&server->counters.exchanges) == 0 && atomic_load(&server->counters.websockets) == 0);
    return 0;
}
