#include "server/work.h"

#include "server/server_state.h"

static void on_round(uv_idle_t *handle)
{
    struct server *server = handle->data;
    if (list_empty(&server->working)) {
        uv_idle_stop(handle);
        return;
    }
    struct work *work = list_entry(server->working.next, struct work, of_server);
    work_forget(work);
    work->turn(work);
}

void work_add(struct server *server, struct work *work)
{
    if (!list_empty(&work->of_server))
        return;
    list_append(&server->working, &work->of_server);
    uv_idle_start(&server->rounds, on_round); /* it keeps the loop from waiting */
}

void works_init(struct server *server)
{
    list_init(&server->working);
    uv_idle_init(&server->loop, &server->rounds);
    server->rounds.data = server;
}

void works_stop(struct server *server)
{
    uv_close((uv_handle_t *)&server->rounds, NULL);
}
