#include "server/response_body.h"

#include <string.h>

#include "server/command.h"
#include "server/connection.h"
#include "server/server_state.h"

static struct http1_response *response_of(struct connection *connection)
{
    return connection->stream != NULL ? &connection->stream->response : &connection->http1.response;
}

static struct response_body *body_of(struct connection *connection)
{
    return connection->stream != NULL ? &connection->stream->body_out : &connection->http1.body_out;
}

static bool is_responding(const struct connection *connection)
{
    return connection->state == CONNECTION_HTTP1 || connection->state == CONNECTION_STREAM;
}

static void complete(struct connection *connection)
{
    if (connection->stream != NULL)
        http2_stream_response_complete(connection);
    else
        http1_response_complete(connection);
}

static void give_up(struct connection *connection)
{
    struct ending ending = { .cause = DISCONNECT_CLIENT };
    if (connection->stream != NULL)
        http2_stream_cut(connection, &ending);
    else
        connection_close(connection, &ending);
}

/* A piece of body is with the transport. */
static void on_piece(struct connection *connection, enum http1_body result, bool more)
{
    const struct http1_response *response = response_of(connection);
    if (result != HTTP1_BODY_OK) {
        connection_end_exchange(connection, &(struct ending){ .cause = DISCONNECT_FRAMING,
                                                              .expected = response->expected,
                                                              .actual = response->actual });
        response_body_deinit(body_of(connection));
        if (connection->stream != NULL && result == HTTP1_SHORTER)
            give_up(connection); /* a stream must not seem to have ended well */
        else
            connection_linger(connection);
    } else if (!more && !response->trailers) {
        complete(connection);
    }
}

void response_body_write(struct connection *connection, const unsigned char *bytes, size_t length, bool more)
{
    struct http1_frame frame;
    enum http1_body result = http1_frame_body(response_of(connection), length, more, &frame);
    uv_buf_t pieces[3] = {
        uv_buf_init(frame.prefix, (unsigned)frame.prefix_length),
        { .base = (char *)bytes, .len = frame.length },
        uv_buf_init((char *)frame.suffix, (unsigned)frame.suffix_length),
    };
    bool written = transport_write(&connection->transport, pieces, 3) == 0;
    if (!is_responding(connection))
        return; /* the write failed, and on_end has closed it */
    count(&connection->server->counters.bytes_out_total, frame.length);
    connection_cork(connection);
    if (!written)
        give_up(connection);
    else
        on_piece(connection, result, more);
}

/* What the response may have of the file goes to the transport. */
static void write_file(struct connection *connection, struct command *command)
{
    struct response_body *body = body_of(connection);
    struct buffer *out = transport_out(&connection->transport);
    struct http1_frame frame;
    bool more = command->file.more;
    enum http1_body result = http1_frame_body(response_of(connection), (size_t)command->file.length, more, &frame);
    if (buffer_append(out, frame.prefix, frame.prefix_length) != 0) {
        give_up(connection);
        return;
    }
    connection_cork(connection);
    if (frame.length == 0) {
        on_piece(connection, result, more);
        return;
    }
    command->file.length = frame.length;
    body->file_more = more;
    body->file_result = result;
    body->file_suffix = frame.suffix;
    count(&connection->server->counters.bytes_out_total, frame.length);
    transport_file(&connection->transport, command);
}

static void write_trailers(struct connection *connection, struct command *command)
{
    struct http1_response *response = response_of(connection);
    if (!response->trailers)
        return;
    if (connection->stream != NULL) {
        http2_stream_keep_trailers(connection, command);
    } else if (http1_write_trailers(response, transport_out(&connection->transport), command) != 0) {
        give_up(connection);
        return;
    }
    response->trailers = false;
    connection_cork(connection);
    complete(connection);
}

static void write_command(struct connection *connection, struct command *command)
{
    switch (command->kind) {
    case COMMAND_BODY:
        response_body_write(connection, command->bytes, command->length, command->response.more);
        break;
    case COMMAND_FILE:
        write_file(connection, command);
        break;
    default:
        write_trailers(connection, command);
        break;
    }
}

/* The application needs to send nothing after this one. */
static bool is_last(struct connection *connection, const struct command *command)
{
    if (command->kind == COMMAND_TRAILERS)
        return true;
    bool more = command->kind == COMMAND_FILE ? command->file.more : command->response.more;
    return !more && !response_of(connection)->trailers;
}

void response_body_command(struct connection *connection, struct command *command)
{
    struct response_body *body = body_of(connection);
    if (body->ended)
        return;
    if (is_last(connection, command)) {
        body->ended = true;
        deadline_clear(&connection->deadlines, DEADLINE_HTTP); /* what is left is the client's to take: send_timeout */
        deadline_clear(&connection->deadlines, DEADLINE_BODY);
    }
    if (!transport_has_file(&connection->transport)) {
        write_command(connection, command);
        return;
    }
    command->kept = true;
    body->cost += command_charge(command);
    body->held += command->length;
    queue_chain_add(&body->waiting, &command->item);
}

static struct command *take_waiting(struct response_body *body)
{
    struct queue_item *item = body->waiting.first;
    if (item == NULL)
        return NULL;
    body->waiting.first = item->next;
    if (item->next == NULL)
        body->waiting.last = NULL;
    struct command *command = list_entry(item, struct command, item);
    body->cost -= command_charge(command);
    body->held -= command->length;
    return command;
}

/* The connection can only be closed: as a reset where the client could not tell by the framing that something is missing. */
static void cut_off(struct connection *connection, uint64_t left)
{
    const struct http1_response *response = response_of(connection);
    struct ending ending = { .cause = DISCONNECT_FILE, .expected = response->actual, .actual = response->actual - left };
    count(&connection->server->counters.files_cut_total, 1);
    if (connection->stream != NULL)
        http2_stream_cut(connection, &ending);
    else if (http1_ends_with_connection(response))
        connection_reset(connection, &ending);
    else
        connection_close(connection, &ending);
}

void response_body_on_file(struct connection *connection, enum transport_file how, uint64_t left)
{
    struct response_body *body = body_of(connection);
    struct command *command;
    if (connection->exchange == NULL)
        return; /* it was ended, and the connection is being closed */
    if (how == TRANSPORT_FILE_CUT) {
        cut_off(connection, left);
        return;
    }
    if (buffer_append_string(transport_out(&connection->transport), body->file_suffix) != 0) {
        give_up(connection);
        return;
    }
    connection_cork(connection);
    on_piece(connection, body->file_result, body->file_more);
    while (is_responding(connection) && !transport_has_file(&connection->transport) && (command = take_waiting(body)) != NULL) {
        command->kept = false;
        write_command(connection, command);
        if (!command->kept)
            command_destroy(command);
    }
}

void response_body_hint(struct connection *connection, const struct command *command)
{
    struct http1_connection *http1 = &connection->http1;
    if (connection->stream != NULL) {
        http2_stream_hint(connection, command);
        return;
    }
    if (http1->responded || http1->websocket || http1->response.minor == 0)
        return;
    if (http1_write_hint(transport_out(&connection->transport), command) == 0)
        connection_cork(connection); /* where there is no memory for it, nothing is missing */
}

size_t response_body_waiting(const struct connection *connection)
{
    if (connection->stream != NULL)
        return connection->stream->body_out.cost;
    return connection->state == CONNECTION_HTTP1 ? connection->http1.body_out.cost : 0;
}

size_t response_body_held(const struct connection *connection)
{
    if (connection->stream != NULL)
        return connection->stream->body_out.held;
    return connection->state == CONNECTION_HTTP1 ? connection->http1.body_out.held : 0;
}

void response_body_deinit(struct response_body *body)
{
    struct command *command;
    while ((command = take_waiting(body)) != NULL)
        command_destroy(command);
}
