#include "server/work.h"

#include "server/connection.h"
#include "server/server_state.h"

static void on_round(uv_idle_t *handle)
{
    struct server *server = handle->data;
    if (list_empty(&server->working)) {
        uv_idle_stop(handle);
        return;
    }
    struct connection *connection = list_entry(server->working.next, struct connection, of_working);
    list_remove(&connection->of_working);
    websocket_work(connection);
}

void work_init(struct server *server)
{
    list_init(&server->working);
    uv_idle_init(&server->loop, &server->rounds);
    server->rounds.data = server;
}

void work_add(struct connection *connection)
{
    struct server *server = connection->server;
    if (connection->state == CONNECTION_CLOSED || !list_empty(&connection->of_working))
        return;
    list_append(&server->working, &connection->of_working);
    uv_idle_start(&server->rounds, on_round); /* it keeps the loop from waiting */
}

void work_stop(struct server *server)
{
    uv_close((uv_handle_t *)&server->rounds, NULL);
}
