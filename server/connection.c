#include "server/connection.h"

#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "server/admission.h"
#include "server/command.h"
#include "server/load.h"
#include "server/response_body.h"
#include "server/proxy_connection.h"
#include "server/server_state.h"
#include "server/tls.h"
#include "server/tls_context.h"
#include "server/tls_store.h"

/* What a lingering client may still send before it is cut off. */
enum { LINGER_LIMIT = 1024 * 1024 };

static const struct ending client_left = { .cause = DISCONNECT_CLIENT, .code = 1006 };

void connection_set_state(struct connection *connection, enum connection_state state)
{
    assert(state >= connection->state);
    connection->state = state;
}

/* While something waits for the client, DEADLINE_SEND looks whether the client takes some of it. */
static void watch_sending(struct connection *connection)
{
    uint64_t timeout = connection->server->settings.send_timeout_ms;
    if (connection->unwritten == 0 || timeout == 0) {
        deadline_clear(&connection->deadlines, DEADLINE_SEND);
    } else if (connection->deadlines.at[DEADLINE_SEND] == 0) {
        pace_begin(&connection->sending, transport_delivered(&connection->transport), uv_now(&connection->server->loop));
        deadline_set(&connection->deadlines, DEADLINE_SEND, timeout);
    }
}

static void count_unwritten(struct connection *connection)
{
    size_t unwritten = connection->state == CONNECTION_CLOSED ? 0 : transport_unwritten(&connection->transport);
    count(&connection->server->counters.bytes_unwritten, (uint64_t)unwritten - (uint64_t)connection->unwritten);
    connection->unwritten = unwritten;
    watch_sending(connection);
    size_t unsent = connection->state == CONNECTION_CLOSED ? 0 : transport_unsent(&connection->transport) + response_body_held(connection);
    unsent_set(&connection->unsent_in_all, unsent);
    unsent_set(&connection->unsent_in_session, unsent);
}

/* The client of a connection over HTTP/1 asks for more, and does not take what it has been answered. */
static bool is_choked(const struct connection *connection)
{
    return connection->state == CONNECTION_HTTP1 && connection->http1.state == HTTP1_IDLE &&
           transport_unsent(&connection->transport) > connection->server->settings.send_window;
}

bool connection_shed(struct unsent *unsent, size_t limit)
{
    struct connection *stalled;
    bool any = false;
    while (limit != 0 && unsent->bytes > limit && (stalled = unsent_find_stalled(unsent)) != NULL) {
        any = true;
        count(&stalled->server->counters.unsent_resets_total, 1);
        connection_blame(stalled);
        if (stalled->stream != NULL)
            stalled->stream->code = NGHTTP2_ENHANCE_YOUR_CALM;
        trim_soon(&stalled->server->trim);
        connection_reset(stalled, &(struct ending){ .cause = DISCONNECT_STALLED, .code = 1006 });
    }
    return any;
}

void connection_cork(struct connection *connection)
{
    if (list_empty(&connection->of_corked) && connection->state != CONNECTION_CLOSED)
        list_append(&connection->server->corked, &connection->of_corked);
}

static void credit(struct connection *connection)
{
    if (connection->state == CONNECTION_CLOSED)
        return;
    count_unwritten(connection);
    if (connection->exchange != NULL)
        exchange_written(connection->exchange, transport_unwritten_own(&connection->transport) + response_body_waiting(connection));
    if (connection->choked && !is_choked(connection))
        connection_resume(connection);
}

/* A client that has ended is not waited for, once it has been sent what there was. */
static void end_lingering(struct connection *connection)
{
    if (connection->state == CONNECTION_LINGERING && connection->stream == NULL && connection->transport.input_ended &&
        transport_unwritten(&connection->transport) == 0)
        connection_close(connection, &client_left);
}

void connection_flush(struct connection *connection)
{
    if (connection->state == CONNECTION_HTTP2)
        http2_fill(connection);
    size_t before = transport_unwritten(&connection->transport);
    transport_flush(&connection->transport);
    if (connection->state != CONNECTION_CLOSED && transport_unwritten(&connection->transport) == before)
        credit(connection); /* nothing was corked, or nothing went out: on_written was not called */
    if (connection->state == CONNECTION_HTTP2)
        connection_shed(&connection->http2->unsent, connection->server->settings.unsent_window);
    end_lingering(connection);
}

void connection_push(struct connection *connection)
{
    if (connection->stream == NULL) {
        transport_flush(&connection->transport);
    } else if (connection->stream->session != NULL) {
        transport_flush(&connection->transport); /* tells nghttp2 that there is something */
        http2_push(connection->stream->session);
        if (connection->stream->session != NULL)
            transport_flush(&connection->stream->session->connection->transport);
    }
}

static void update_reading(struct connection *connection)
{
    if (connection->stream != NULL) {
        http2_stream_taken(connection);
        return;
    }
    bool full = connection->state != CONNECTION_LINGERING && buffer_length(&connection->rest) >= REST_LIMIT;
    bool held = connection_is_held(connection);
    bool paused = connection_is_paused(connection);
    connection->choked = is_choked(connection);
    /* The kernel does not know where TLS ends: to find that out, we read ahead into rest. */
    transport_read(&connection->transport, !full && !held && ((!paused && !connection->choked) || connection->transport.tls != NULL));
    bool half_closed = connection->transport.input_ended && connection->exchange != NULL;
    if (!paused && connection->state == CONNECTION_HTTP1)
        connection->deserted = 0;
    if (!full && !held && !paused && !connection->choked && !half_closed)
        deadline_clear(&connection->deadlines, DEADLINE_WATCH);
    else if (connection->deadlines.at[DEADLINE_WATCH] == 0)
        deadline_set(&connection->deadlines, DEADLINE_WATCH, WATCH_MS);
}

/* How the client has left, where its last bytes have not been taken yet. END_STREAM is the end of a stream's client (RFC 8441, 5.1). */
static enum transport_peer peer_of(const struct connection *connection)
{
    if (connection->stream == NULL)
        return transport_peer(&connection->transport);
    return connection->stream->input_ended ? TRANSPORT_PEER_ENDED : TRANSPORT_PEER_THERE;
}

/* Whether the client's last messages, which have not been taken yet, are still the application's. */
static bool may_take_late(const struct connection *connection)
{
    return connection->exchange != NULL && (connection->state == CONNECTION_WEBSOCKET || connection->stream != NULL);
}

/* Whether a client that sends nothing more may still wait for a response: its request is whole, or what is missing of it has not been taken
 * yet. It has shut down its side of the connection (nc -N, health checks), or has left: TCP does not tell. */
static bool may_answer_late(const struct connection *connection)
{
    const struct http1_connection *http1 = &connection->http1;
    return connection->state == CONNECTION_HTTP1 && connection->exchange != NULL && !http1->websocket &&
           (http1->state == HTTP1_RESPONDING || connection_is_paused(connection));
}

/* It is answered for as long as it takes something; who has left answers with a reset, or takes nothing. */
static bool takes_answer(struct connection *connection, uint64_t now)
{
    uint64_t delivered = transport_delivered(&connection->transport);
    if (connection->deserted == 0 || delivered != connection->deserted_with)
        connection->deserted = now;
    connection->deserted_with = delivered;
    return now - connection->deserted < HALF_CLOSED_MS;
}

static bool is_deserted(struct connection *connection, uint64_t now)
{
    uint64_t patience = connection->server->settings.application_close_timeout_ms;
    if (connection->deserted == 0)
        connection->deserted = now;
    return patience != 0 && now - connection->deserted >= patience;
}

/* The client is not waited for any longer. What it has been answered goes out. */
static void let_go(struct connection *connection)
{
    bool answered = connection->state == CONNECTION_HTTP1 || connection->state == CONNECTION_LINGERING;
    const struct http1_connection *http1 = &connection->http1;
    if (answered && connection->exchange != NULL && http1->responded && http1_ends_with_connection(&http1->response)) {
        connection_reset(connection, &client_left);
        return;
    }
    if (!answered || transport_unwritten(&connection->transport) == 0) {
        connection_close(connection, &client_left);
        return;
    }
    connection_end_exchange(connection, &client_left);
    connection_linger(connection);
}

/* The client may have left although its input has not been taken: the socket is not read, or what was read waits in rest. Then the
 * subscriptions end at once. A WebSocket's messages are still announced as the application takes them, unless that takes longer than
 * it may take to close. */
static void watch(struct connection *connection)
{
    uint64_t now = uv_now(&connection->server->loop);
    enum transport_peer peer = peer_of(connection);
    bool answered = may_answer_late(connection);
    if (peer == TRANSPORT_PEER_ENDED && (answered || may_take_late(connection))) {
        exchange_unsubscribe(connection->exchange);
        if (answered ? takes_answer(connection, now) : !is_deserted(connection, now))
            peer = TRANSPORT_PEER_THERE;
    }
    if (peer == TRANSPORT_PEER_ENDED && connection->choked)
        peer = TRANSPORT_PEER_THERE; /* DEADLINE_SEND looks whether it takes what it has asked for */
    if (peer == TRANSPORT_PEER_THERE)
        deadline_set(&connection->deadlines, DEADLINE_WATCH, WATCH_MS);
    else if (peer == TRANSPORT_PEER_ENDED)
        let_go(connection);
    else
        connection_close(connection, &client_left);
}

/* The client has ended, and all that it had sent has been offered. */
static void on_input_over(struct connection *connection)
{
    if (may_answer_late(connection) || connection->choked || (connection_is_paused(connection) && may_take_late(connection)))
        watch(connection);
    else
        let_go(connection);
}

static void on_send_deadline(struct connection *connection)
{
    struct server *server = connection->server;
    uint64_t delivered = transport_delivered(&connection->transport);
    if (transport_unwritten(&connection->transport) == 0)
        return;
    if (outbox_is_shut(&connection->transport.out)) {
        watch_sending(connection); /* perhaps it waits for us: the next window */
        return;
    }
    if (pace_is_kept(&connection->sending, delivered, uv_now(&server->loop), server->settings.min_rate)) {
        watch_sending(connection); /* the next window */
        return;
    }
    server_count_timeout(server, &server->counters.send_timeouts_total);
    connection_reset(connection, &(struct ending){ .cause = DISCONNECT_SLOW, .code = 1006 });
}

void connection_watch(struct connection *connection)
{
    if (connection->deadlines.at[DEADLINE_WATCH] == 0)
        watch(connection);
}

bool connection_is_writing(struct connection *connection)
{
    if (outbox_is_shut(&connection->transport.out))
        return true; /* it waits for us */
    size_t before = connection->awaited;
    connection->awaited = transport_unwritten(&connection->transport);
    count_unwritten(connection);
    return connection->awaited > 0 && (before == 0 || connection->awaited < before);
}

/* HTTP/2 by prior knowledge begins with its preface. */
static size_t give_first(struct connection *connection, const unsigned char *bytes, size_t length)
{
    unsigned http2 = connection->server->settings.http2;
    bool preface = http2 != HTTP2_OFF && connection->http1.fresh && http2_is_preface(bytes, length);
    if (!preface && http2 != HTTP2_ONLY)
        return http1_input(connection, bytes, length);
    if (preface && length < NGHTTP2_CLIENT_MAGIC_LEN) {
        if (connection->deadlines.at[DEADLINE_HEADER] == 0)
            deadline_set(&connection->deadlines, DEADLINE_HEADER, connection->server->settings.header_timeout_ms);
        return 0;
    }
    http2_begin(connection);
    return connection->state == CONNECTION_HTTP2 ? http2_input(connection, bytes, length) : length;
}

static size_t give(struct connection *connection, const unsigned char *bytes, size_t length)
{
    switch (connection->state) {
    case CONNECTION_HTTP1:
        if (connection_is_paused(connection) || connection_is_held(connection) || is_choked(connection))
            return 0;
        return give_first(connection, bytes, length < TRANSPORT_READ_SIZE ? length : TRANSPORT_READ_SIZE);
    case CONNECTION_HTTP2:
        return http2_input(connection, bytes, length);
    case CONNECTION_STREAM:
        return http2_stream_body(connection, bytes, length);
    case CONNECTION_WEBSOCKET:
        return websocket_input(connection, bytes, length);
    case CONNECTION_PROXY:
    case CONNECTION_LINGERING:
    case CONNECTION_CLOSED:
        break;
    }
    return length;
}

/* Gives rest to the protocol until it takes no more; an accept on the way changes which protocol that is. */
static void give_rest(struct connection *connection)
{
    size_t taken;
    do {
        taken = give(connection, buffer_bytes(&connection->rest), buffer_length(&connection->rest));
        buffer_consume(&connection->rest, taken);
    } while (taken > 0 && buffer_length(&connection->rest) > 0);
    if (buffer_length(&connection->rest) == 0)
        buffer_deinit(&connection->rest);
}

void connection_hold(struct connection *connection)
{
    count(&connection->server->counters.heads_held_total, 1);
    count(&connection->server->counters.read_paused, 1);
    list_append(&connection->server->held, &connection->of_held);
}

/* No room is waited for any more. */
static void forget_hold(struct connection *connection)
{
    if (!connection_is_held(connection))
        return;
    count(&connection->server->counters.read_paused, (uint64_t)-1);
    list_remove(&connection->of_held);
}

void connection_unhold(struct connection *connection)
{
    forget_hold(connection);
    connection_resume(connection);
}

void connection_resume(struct connection *connection)
{
    if (connection->in_input || connection->state == CONNECTION_CLOSED)
        return;
    connection->in_input = true;
    give_rest(connection);
    connection->in_input = false;
    if (connection->state == CONNECTION_CLOSED)
        return;
    update_reading(connection);
    if (connection->transport.input_ended && !connection_is_paused(connection))
        on_input_over(connection);
}

static void on_read(void *context, const unsigned char *bytes, size_t length)
{
    struct connection *connection = context;
    if (connection->stream == NULL)
        count(&connection->server->counters.bytes_in_total, length);
    if (connection->state == CONNECTION_PROXY) {
        proxy_connection_input(connection, bytes, length);
        return;
    }
    if (connection->state == CONNECTION_LINGERING) {
        connection->lingered += length;
        if (connection->lingered > LINGER_LIMIT)
            connection_close(connection, &(struct ending){ .cause = DISCONNECT_CLIENT });
        return;
    }
    if (connection->state == CONNECTION_WEBSOCKET)
        connection->websocket.last_read = uv_now(&connection->server->loop);
    bool waiting = buffer_length(&connection->rest) > 0;
    connection->in_input = true;
    size_t taken = waiting ? 0 : give(connection, bytes, length);
    bool kept = buffer_append(&connection->rest, bytes + taken, length - taken) == 0;
    if (kept && waiting)
        give_rest(connection);
    connection->in_input = false;
    if (!kept)
        connection_close(connection, &(struct ending){ .cause = DISCONNECT_TOO_LARGE, .code = 1009 });
    else
        update_reading(connection);
}

static void on_end(void *context, bool clean)
{
    struct connection *connection = context;
    if (clean)
        on_input_over(connection);
    else
        connection_close(connection, &client_left);
}

static void on_written(void *context)
{
    struct connection *connection = context;
    credit(connection);
    end_lingering(connection);
    if (connection->state == CONNECTION_HTTP2)
        connection_cork(connection); /* its streams may have more */
}

static void on_handshake(void *context, enum transport_handshake how)
{
    struct connection *connection = context;
    struct server *server = connection->server;
    deadline_clear(&connection->deadlines, DEADLINE_HANDSHAKE);
    admission_handshake_ends(connection);
    if (how == TRANSPORT_SECURE) {
        count(&server->counters.tls_handshakes_total, 1);
        if (connection->state == CONNECTION_HTTP1 && transport_speaks(&connection->transport, "h2"))
            http2_begin(connection);
        return;
    }
    count(&server->counters.tls_errors_total, 1);
    if (how == TRANSPORT_PLAIN_HTTP)
        http1_refuse_plain(connection);
    else
        connection_linger(connection);
}

static void on_file(void *context, enum transport_file how, uint64_t left)
{
    struct connection *connection = context;
    if (connection->state == CONNECTION_HTTP1 || connection->state == CONNECTION_STREAM)
        response_body_on_file(connection, how, left);
}

static const struct transport_callbacks transport_callbacks = { on_read, on_end, on_written, on_handshake, on_file };

/* A stream has all of its response, and waits for its turn or the client's window: DEADLINE_SEND looks after that. */
static bool is_awaited(const struct connection *connection)
{
    return connection->stream != NULL && connection->stream->session != NULL && transport_unwritten(&connection->transport) > 0;
}

static void on_deadline(void *context, enum deadline which)
{
    struct connection *connection = context;
    if (which == DEADLINE_WATCH) {
        watch(connection);
        return;
    }
    if (which == DEADLINE_HANDSHAKE) {
        server_count_timeout(connection->server, &connection->server->counters.handshake_timeouts_total);
        connection_close(connection, NULL);
        return;
    }
    if (which == DEADLINE_SEND) {
        on_send_deadline(connection);
        return;
    }
    switch (connection->state) {
    case CONNECTION_PROXY:
    case CONNECTION_HTTP1:
        http1_deadline(connection, which);
        break;
    case CONNECTION_HTTP2:
        http2_deadline(connection, which);
        break;
    case CONNECTION_STREAM:
        http2_stream_deadline(connection, which);
        break;
    case CONNECTION_WEBSOCKET:
        websocket_deadline(connection, which);
        break;
    case CONNECTION_LINGERING:
        if (which == DEADLINE_LINGER && (connection_is_writing(connection) || is_awaited(connection)))
            deadline_set(&connection->deadlines, DEADLINE_LINGER, connection->server->settings.close_timeout_ms);
        else if (which == DEADLINE_LINGER)
            connection_close(connection, &(struct ending){ .cause = DISCONNECT_CLIENT });
        break;
    case CONNECTION_CLOSED:
        break;
    }
}

static void on_turn(struct work *work)
{
    websocket_work(list_entry(work, struct connection, work));
}

struct connection *connection_create(struct server *server)
{
    struct connection *connection = mem_zalloc(sizeof *connection);
    connection->server = server;
    connection->load = load_retain(server->load);
    connection->state = server->settings.proxy_protocol ? CONNECTION_PROXY : CONNECTION_HTTP1;
    list_init(&connection->of_server);
    list_init(&connection->of_corked);
    list_init(&connection->of_awaiting);
    work_init(&connection->work, on_turn);
    list_init(&connection->of_held);
    list_init(&connection->of_handshakes);
    unsent_holder_init(&connection->unsent_in_all, connection, &server->unsent);
    unsent_holder_init(&connection->unsent_in_session, connection, NULL);
    buffer_init(&connection->rest);
    return connection;
}

void connection_set_load(struct connection *connection, struct load *load)
{
    load_release(connection->load);
    connection->load = load;
}

void connection_begin(struct connection *connection)
{
    struct server *server = connection->server;
    connection->id = ++server->last_connection;
    connection->open_handles = 2;
    transport_init(&connection->transport, server->read_buffer, &transport_callbacks, connection);
    deadlines_init(&connection->deadlines, &server->loop, on_deadline, connection);
    list_append(&server->connections, &connection->of_server);
    server_count_connection(server, 1);
    count(&server->counters.connections_total, 1);
    http1_connection_begin(connection);
    transport_read(&connection->transport, true);
}

void connection_start_tls(struct connection *connection, struct tls_store *store)
{
    if (store == NULL)
        return;
    struct tls_context *context = tls_store_context(store);
    struct tls *tls = tls_create(context);
    tls_context_release(context);
    if (tls == NULL) {
        count(&connection->server->counters.accept_errors_total, 1);
        connection_close(connection, NULL);
        return;
    }
    transport_secure(&connection->transport, tls);
    admission_handshake_begins(connection);
    deadline_set(&connection->deadlines, DEADLINE_HANDSHAKE, connection->server->settings.tls_handshake_timeout_ms);
}

/* Of a stream: whoever carries it takes what waits. */
static void carry(void *context)
{
    struct connection *connection = context;
    http2_stream_ready(connection->stream);
}

struct connection *connection_create_stream(struct connection *carrier, struct http2_stream *stream)
{
    struct connection *connection = connection_create(carrier->server);
    connection->stream = stream;
    connection->unsent_in_session.unsent = &carrier->http2->unsent;
    connection_set_load(connection, load_retain(carrier->load));
    connection->id = carrier->id;
    connection->protocol = PROTOCOL_STREAM;
    connection->open_handles = 1;
    transport_init_carried(&connection->transport, carry, &transport_callbacks, connection);
    deadlines_init(&connection->deadlines, &carrier->server->loop, on_deadline, connection);
    connection_set_state(connection, CONNECTION_STREAM);
    return connection;
}

static void deinit_protocol(struct connection *connection)
{
    switch (connection->protocol) {
    case PROTOCOL_HTTP1:
        http1_connection_deinit(connection);
        break;
    case PROTOCOL_HTTP2:
        http2_connection_deinit(connection);
        break;
    case PROTOCOL_STREAM:
        break;
    case PROTOCOL_WEBSOCKET:
        websocket_connection_deinit(connection);
        break;
    }
}

static void on_handle_closed(uv_handle_t *handle)
{
    /* Both handles' data lead here: the transport and the deadlines have the connection as their context. */
    struct connection *connection = handle->type == UV_TIMER
                                        ? ((struct deadlines *)handle->data)->context
                                        : ((struct transport *)handle->data)->context;
    if (--connection->open_handles > 0)
        return;
    struct server *server = connection->server;
    deinit_protocol(connection);
    load_release(connection->load);
    transport_deinit(&connection->transport);
    buffer_deinit(&connection->rest);
    if (connection->stream != NULL) {
        http2_stream_destroy(connection->stream);
        mem_free(connection);
        return;
    }
    list_remove(&connection->of_server);
    proxy_connection_deinit(connection);
    admission_leave(connection);
    mem_free(connection);
    server_count_connection(server, (uint64_t)-1);
    server_connection_gone(server);
}

void connection_linger(struct connection *connection)
{
    if (connection->state >= CONNECTION_LINGERING)
        return;
    assert(connection->exchange == NULL);
    forget_hold(connection);
    memset(connection->deadlines.at, 0, sizeof connection->deadlines.at);
    deadline_set(&connection->deadlines, DEADLINE_LINGER, connection->server->settings.close_timeout_ms);
    connection_set_state(connection, CONNECTION_LINGERING);
    update_reading(connection);
    connection->transport.finishing = true;
    connection_cork(connection);
}

void connection_end_exchange(struct connection *connection, const struct ending *ending)
{
    struct exchange *exchange = connection->exchange;
    connection->exchange = NULL;
    if (exchange != NULL)
        exchange_end(exchange, ending);
}

void connection_close(struct connection *connection, const struct ending *ending)
{
    if (connection->state == CONNECTION_CLOSED)
        return;
    if (connection->state == CONNECTION_HTTP2) {
        http2_end_streams(connection, ending);
        http2_say_goodbye(connection);
    }
    /* Only where nothing is cut off: a client must be able to tell. */
    if (connection->state == CONNECTION_HTTP1 && connection->http1.state == HTTP1_IDLE)
        transport_say_goodbye(&connection->transport);
    if (connection->state == CONNECTION_CLOSED)
        return; /* meanwhile, as the client has gone */
    connection_end_exchange(connection, ending);
    connection_set_state(connection, CONNECTION_CLOSED);
    forget_hold(connection);
    list_remove(&connection->of_corked);
    list_remove(&connection->of_awaiting);
    work_forget(&connection->work);
    admission_handshake_ends(connection);
    count_unwritten(connection);
    uv_close((uv_handle_t *)&connection->deadlines.timer, on_handle_closed);
    if (connection->stream != NULL)
        http2_stream_detach(connection->stream);
    else
        transport_close(&connection->transport, on_handle_closed);
}

void connection_reset(struct connection *connection, const struct ending *ending)
{
    if (connection->state == CONNECTION_CLOSED)
        return;
    transport_abandon(&connection->transport);
    connection_close(connection, ending);
}

void connection_blame(struct connection *connection)
{
    if (connection->stream != NULL && connection->stream->session != NULL)
        http2_pay(connection->stream->session);
}

void connection_command(struct connection *connection, struct command *command)
{
    switch (connection->state) {
    case CONNECTION_HTTP1:
        if (command->kind == COMMAND_ACCEPT)
            websocket_accept(connection, command);
        else
            http1_command(connection, command);
        break;
    case CONNECTION_STREAM:
        http2_stream_command(connection, command);
        break;
    case CONNECTION_WEBSOCKET:
        websocket_command(connection, command);
        break;
    case CONNECTION_PROXY:
    case CONNECTION_HTTP2: /* only its streams have exchanges */
    case CONNECTION_LINGERING:
    case CONNECTION_CLOSED:
        break;
    }
}

void connection_broadcast(struct connection *connection, struct command *command, uint64_t label)
{
    if (connection->state == CONNECTION_WEBSOCKET)
        websocket_broadcast(connection, command, label);
}

void connection_finished(struct connection *connection, bool failed)
{
    if (connection->state == CONNECTION_HTTP1)
        http1_finished(connection);
    else if (connection->state == CONNECTION_STREAM)
        http2_stream_finished(connection);
    else if (connection->state == CONNECTION_WEBSOCKET)
        websocket_close(connection, failed ? 1011 : 1000, NULL, 0, DISCONNECT_APPLICATION);
}

void connection_drain(struct connection *connection, uint16_t code)
{
    if (connection->state <= CONNECTION_HTTP1)
        http1_drain(connection);
    else if (connection->state == CONNECTION_HTTP2)
        http2_drain(connection, code);
    else if (connection->state == CONNECTION_STREAM)
        http2_stream_drain(connection);
    else if (connection->state == CONNECTION_WEBSOCKET)
        websocket_close(connection, code, NULL, 0, DISCONNECT_SHUTDOWN);
}
