#include "server/squeeze.h"

#include <string.h>

#include "base/alloc.h"
#include "server/command.h"
#include "server/connection.h"
#include "server/server_state.h"
#include "server/work.h"

struct squeeze {
    struct work work;
    struct list_node of_server;
    struct server *server;
    struct command *command; /* its own */
    struct deflating *deflating;
};

static void destroy(struct squeeze *squeeze)
{
    work_forget(&squeeze->work);
    list_remove(&squeeze->of_server);
    deflating_destroy(squeeze->deflating);
    server_broadcast_done(squeeze->server, squeeze->command);
    mem_free(squeeze);
}

/* Lets leave what has waited in the outboxes. */
static void settle_all(struct server *server)
{
    for (struct list_node *node = server->awaiting.next, *next; node != &server->awaiting; node = next) {
        struct connection *connection = list_entry(node, struct connection, of_awaiting);
        next = node->next;
        websocket_settle(connection);
        if (!outbox_is_shut(&connection->transport.out))
            list_remove(node);
    }
}

static void on_turn(struct work *work)
{
    struct squeeze *squeeze = list_entry(work, struct squeeze, work);
    struct server *server = squeeze->server;
    struct broadcast *message = squeeze->command->broadcast.message, *stand_in = squeeze->command->broadcast.compressed;
    bool wanted = atomic_load_explicit(&stand_in->references, memory_order_relaxed) > 1;
    enum deflating_result result = wanted ? deflating_step(squeeze->deflating, WEBSOCKET_SLICE) : DEFLATING_FAILED;
    if (result == DEFLATING_MORE) {
        work_add(server, work);
        return;
    }
    if (result == DEFLATING_DONE) {
        size_t length;
        const unsigned char *bytes = deflating_bytes(squeeze->deflating, &length);
        stand_in->instead = broadcast_compressed(message, bytes, length);
    }
    if (stand_in->instead == NULL)
        stand_in->instead = broadcast_retain(message);
    stand_in->unsettled = false;
    destroy(squeeze);
    settle_all(server);
}

int squeeze_begin(struct server *server, struct command *command)
{
    struct broadcast *message = command->broadcast.message;
    struct squeeze *squeeze = mem_try_alloc(sizeof *squeeze);
    struct broadcast *stand_in = squeeze != NULL ? broadcast_stand_in(message) : NULL;
    struct deflating *deflating = NULL;
    if (stand_in != NULL)
        deflating = deflating_create_shared(&server->deflate_pool, &server->settings, broadcast_payload(message), message->payload_length);
    if (deflating == NULL) {
        broadcast_release(stand_in);
        mem_free(squeeze);
        return -1;
    }
    *squeeze = (struct squeeze){ .server = server, .command = command, .deflating = deflating };
    work_init(&squeeze->work, on_turn);
    list_append(&server->squeezes, &squeeze->of_server);
    work_add(server, &squeeze->work);
    command->broadcast.compressed = stand_in;
    command->kept = true;
    return 0;
}

void squeeze_await(struct connection *connection)
{
    if (list_empty(&connection->of_awaiting))
        list_append(&connection->server->awaiting, &connection->of_awaiting);
}

void squeeze_stop(struct server *server)
{
    while (!list_empty(&server->squeezes))
        destroy(list_entry(server->squeezes.next, struct squeeze, of_server));
}
