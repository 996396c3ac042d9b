/* The limit: the same server without Python. Its application answers in C: "Hello, world!" to every request, and every
 * WebSocket message with itself.
 *
 * Usage: bare_c PORT. Ends on SIGTERM or SIGINT.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/list.h"
#include "server/command.h"
#include "server/event.h"
#include "server/server.h"

static volatile sig_atomic_t stopping;

static void on_signal(int number)
{
    (void)number;
    stopping = 1;
}

static uint64_t exchange_begun(void *context, uint64_t exchange, bool websocket)
{
    (void)context;
    (void)websocket;
    return exchange;
}

static void exchange_ended(void *context, uint64_t exchange, uint64_t owner)
{
    (void)context;
    (void)exchange;
    (void)owner;
}

static void wake(void *argument)
{
    uint64_t one = 1;
    if (write(*(int *)argument, &one, sizeof one) < 0)
        abort();
}

static struct command *command(enum command_kind kind, uint64_t exchange, const void *bytes, size_t length)
{
    struct command *made = command_create(kind, exchange, length);
    if (made == NULL)
        abort();
    if (length > 0)
        memcpy(made->bytes, bytes, length);
    return made;
}

static void answer(struct queue_chain *chain, struct event *event)
{
    static const char hello[] = "Hello, world!";
    struct command *made = NULL;
    switch (event->kind) {
    case EVENT_REQUEST:
        if (((struct request_event *)(void *)event)->websocket) {
            made = command(COMMAND_ACCEPT, event->exchange, NULL, 0);
        } else {
            made = command(COMMAND_RESPOND, event->exchange, hello, sizeof hello - 1);
            made->response.status = 200;
            queue_chain_add(chain, &made->item);
            made = command(COMMAND_FINISHED, event->exchange, NULL, 0);
        }
        break;
    case EVENT_MESSAGE:
        made = command(COMMAND_MESSAGE, event->exchange, event->bytes, event->length);
        made->text = event->text;
        queue_chain_add(chain, &made->item);
        made = command(COMMAND_CONSUMED, event->exchange, NULL, 0);
        made->amount = event_cost(event->length);
        break;
    case EVENT_DISCONNECT:
        made = command(COMMAND_FINISHED, event->exchange, NULL, 0);
        break;
    case EVENT_STOPPED:
        stopping = 2;
        break;
    default:
        break;
    }
    if (made != NULL)
        queue_chain_add(chain, &made->item);
}

static void drain(struct queue *events, struct server *server)
{
    struct queue_chain chain = { NULL, NULL };
    struct queue_item *item;
    while ((item = queue_take(events)) != NULL) {
        while (item != NULL) {
            struct event *event = list_entry(item, struct event, item);
            item = item->next;
            answer(&chain, event);
            event_destroy(event);
        }
        server_send(server, &chain);
    }
}

int main(int count, char **arguments)
{
    struct server_settings settings = {
        .server_name = "bare",
        .max_target_size = 8192,
        .max_header_size = 65536,
        .max_header_count = 128,
        .close_timeout_ms = 1000,
        .receive_window = 65536, .broadcast_backlog = 1 << 24,
        .send_window = 65536,
        .body_chunk = 65536,
        .backlog = 2048,
    };
    struct server_hooks hooks = { .exchange_begun = exchange_begun, .exchange_ended = exchange_ended };
    struct listen_spec spec = { .kind = LISTEN_TCP, .host = "127.0.0.1", .port = count > 1 ? (uint16_t)atoi(arguments[1]) : 0 };
    struct queue events;
    struct server *server;
    char error[256];
    int fd = eventfd(0, EFD_CLOEXEC);
    queue_init(&events, wake, &fd);
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    if (server_create(&server, &settings, &hooks, &events) != SERVER_OK)
        return 1;
    if (server_listen(server, &spec, error, sizeof error) != SERVER_OK) {
        fprintf(stderr, "bare_c: %s\n", error);
        return 1;
    }
    if (server_start(server) != SERVER_OK)
        return 1;
    struct listen_address address;
    server_address(server, 0, &address);
    printf("%u\n", (unsigned)address.port);
    fflush(stdout);
    bool told = false;
    while (stopping < 2) {
        struct pollfd waited = { .fd = fd, .events = POLLIN };
        uint64_t ignored;
        if (poll(&waited, 1, 200) > 0 && read(fd, &ignored, sizeof ignored) > 0)
            drain(&events, server);
        if (stopping == 1 && !told) {
            struct queue_chain chain = { NULL, NULL };
            struct command *stop = command(COMMAND_STOP, 0, NULL, 0);
            queue_chain_add(&chain, &stop->item);
            server_send(server, &chain);
            told = true;
        }
    }
    server_destroy(server);
    queue_deinit(&events);
    close(fd);
    return 0;
}
