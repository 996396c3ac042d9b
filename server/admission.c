#include "server/admission.h"

#include <assert.h>
#include <string.h>

#include "server/connection.h"
#include "server/server_state.h"

bool admission_has_room(const struct server *server)
{
    unsigned limit = server->settings.limit_connections;
    uint64_t connections = atomic_load_explicit(&server->counters.connections, memory_order_relaxed);
    return limit == 0 || connections - server->refused <= limit;
}

bool admission_count(struct connection *connection)
{
    struct server *server = connection->server;
    struct address address;
    const char *host = connection->endpoints.client_host;
    unsigned limit = server->settings.limit_connections_per_address;
    if (limit == 0 || connection->endpoints.trusted || address_parse(&address, host, strlen(host)) != 0)
        return true;
    connection->origin = census_enter(&server->census, &address);
    return connection->origin != NULL && connection->origin->count <= limit;
}

void admission_refuse(struct connection *connection, bool plain)
{
    struct server *server = connection->server;
    connection->refused = true;
    if (++server->refused > REFUSED_LIMIT || !plain) {
        connection_reset(connection, NULL);
        return;
    }
    http1_turn_away(connection);
    if (connection->state == CONNECTION_LINGERING)
        deadline_set(&connection->deadlines, DEADLINE_LINGER, REFUSED_MS);
}

void admission_handshake_begins(struct connection *connection)
{
    struct server *server = connection->server;
    assert(list_empty(&connection->of_handshakes) && connection->state < CONNECTION_LINGERING);
    connection->handshake_began = uv_now(&server->loop);
    list_append(&server->handshakes, &connection->of_handshakes);
    count(&server->counters.handshakes, 1);
}

void admission_handshake_ends(struct connection *connection)
{
    if (list_empty(&connection->of_handshakes))
        return;
    list_remove(&connection->of_handshakes);
    count(&connection->server->counters.handshakes, (uint64_t)-1);
}

bool admission_handshake_fits(struct server *server)
{
    unsigned limit = server->settings.limit_handshakes;
    if (limit == 0 || atomic_load_explicit(&server->counters.handshakes, memory_order_relaxed) < limit)
        return true;
    struct connection *oldest = list_entry(server->handshakes.next, struct connection, of_handshakes);
    if (uv_now(&server->loop) - oldest->handshake_began < HANDSHAKE_GRACE_MS)
        return false;
    count(&server->counters.handshakes_dropped_total, 1);
    connection_reset(oldest, NULL);
    return true;
}

void admission_leave(struct connection *connection)
{
    struct server *server = connection->server;
    if (connection->origin != NULL)
        census_leave(&server->census, connection->origin);
    if (connection->refused)
        server->refused--;
}
