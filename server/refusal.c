#include "server/refusal.h"

#include <string.h>

#include "base/alloc.h"
#include "server/connection.h"
#include "server/load.h"
#include "server/server_state.h"

static uint32_t shorter(uint32_t length, uint32_t most)
{
    return length < most ? length : most;
}

void refusal_announce(struct connection *connection, uint16_t status, const char *reason, const unsigned char *bytes, struct piece method,
                      struct piece target)
{
    struct server *server = connection->server;
    if (!server->settings.tells_refusals || !server_takes_heads(server))
        return;
    uint32_t method_length = bytes != NULL ? shorter(method.length, LOGGED_LENGTH) : 0;
    uint32_t target_length = bytes != NULL ? shorter(target.length, LOGGED_LENGTH - method_length) : 0;
    struct refusal_event *refusal = mem_try_alloc(sizeof *refusal + method_length + target_length);
    if (refusal == NULL)
        return;
    *refusal = (struct refusal_event){
        .event = { .kind = EVENT_REFUSED, .length = method_length + target_length },
        .endpoints = connection->endpoints,
        .load = connection->load,
        .status = status,
        .reason = reason,
        .method = { 0, method_length },
        .target = { method_length, target_length },
    };
    refusal->event.bytes = (unsigned char *)(refusal + 1);
    if (method_length > 0)
        memcpy(refusal->event.bytes, bytes + method.offset, method_length);
    if (target_length > 0)
        memcpy(refusal->event.bytes + method_length, bytes + target.offset, target_length);
    load_add_head(refusal->load, refusal_event_weight(refusal));
    server_announce(server, &refusal->event);
}
