#include "server/proxy_connection.h"

#include <string.h>
#include <sys/socket.h>

#include "server/admission.h"
#include "server/connection.h"
#include "server/proxy_protocol.h"
#include "server/server_state.h"
#include "server/tls_store.h"

static void refuse(struct connection *connection)
{
    count(&connection->server->counters.proxy_errors_total, 1);
    connection_close(connection, NULL);
}

void proxy_connection_begin(struct connection *connection, struct tls_store *tls)
{
    struct server *server = connection->server;
    if (!connection->endpoints.trusted) {
        refuse(connection);
        return;
    }
    connection->tls_store = tls_store_retain(tls);
    admission_handshake_begins(connection);
    deadline_set(&connection->deadlines, DEADLINE_HANDSHAKE, server->settings.header_timeout_ms);
}

void proxy_connection_deinit(struct connection *connection)
{
    tls_store_release(connection->tls_store);
    connection->tls_store = NULL;
}

/* The client is the one of whom the header tells. */
static void adopt(struct connection *connection, const struct proxy_header *header)
{
    struct endpoints *endpoints = &connection->endpoints;
    endpoints->secure = header->secure;
    if (!header->has_addresses)
        return;
    endpoints->family = address_is_v4(&header->client) ? AF_INET : AF_INET6;
    address_text(&header->client, endpoints->client_host);
    address_text(&header->server, endpoints->server_host);
    endpoints->client_port = header->client_port;
    endpoints->server_port = header->server_port;
    endpoints->trusted = trust_has(&connection->server->trust, &header->client);
}

static void go_on(struct connection *connection, const unsigned char *bytes, size_t length)
{
    bool plain = connection->tls_store == NULL;
    connection_set_state(connection, CONNECTION_HTTP1);
    if (!admission_count(connection)) {
        count(&connection->server->counters.addresses_refused_total, 1);
        admission_refuse(connection, plain);
    } else {
        connection_start_tls(connection, connection->tls_store);
    }
    proxy_connection_deinit(connection); /* TLS has its own reference to the context */
    if (length > 0 && connection->state == CONNECTION_HTTP1)
        transport_input(&connection->transport, bytes, length);
}

void proxy_connection_input(struct connection *connection, const unsigned char *bytes, size_t length)
{
    struct proxy_header header;
    size_t taken = 0;
    if (buffer_append(&connection->rest, bytes, length) != 0) {
        connection_close(connection, NULL);
        return;
    }
    switch (proxy_read(buffer_bytes(&connection->rest), buffer_length(&connection->rest), &header, &taken)) {
    case PROXY_MORE:
        return;
    case PROXY_BAD:
        refuse(connection);
        return;
    case PROXY_DONE:
        break;
    }
    /* What follows is given to the protocol, which uses rest for itself. */
    struct buffer input = connection->rest;
    buffer_init(&connection->rest);
    buffer_consume(&input, taken);
    deadline_clear(&connection->deadlines, DEADLINE_HANDSHAKE);
    admission_handshake_ends(connection);
    adopt(connection, &header);
    go_on(connection, buffer_bytes(&input), buffer_length(&input));
    buffer_deinit(&input);
}
