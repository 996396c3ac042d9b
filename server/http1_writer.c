#include "server/http1_writer.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const struct {
    uint16_t status;
    const char *reason;
} reasons[] = {
    { 200, "OK" },
    { 201, "Created" },
    { 202, "Accepted" },
    { 203, "Non-Authoritative Information" },
    { 204, "No Content" },
    { 205, "Reset Content" },
    { 206, "Partial Content" },
    { 207, "Multi-Status" },
    { 300, "Multiple Choices" },
    { 301, "Moved Permanently" },
    { 302, "Found" },
    { 303, "See Other" },
    { 304, "Not Modified" },
    { 307, "Temporary Redirect" },
    { 308, "Permanent Redirect" },
    { 400, "Bad Request" },
    { 401, "Unauthorized" },
    { 402, "Payment Required" },
    { 403, "Forbidden" },
    { 404, "Not Found" },
    { 405, "Method Not Allowed" },
    { 406, "Not Acceptable" },
    { 407, "Proxy Authentication Required" },
    { 408, "Request Timeout" },
    { 409, "Conflict" },
    { 410, "Gone" },
    { 411, "Length Required" },
    { 412, "Precondition Failed" },
    { 413, "Content Too Large" },
    { 414, "URI Too Long" },
    { 415, "Unsupported Media Type" },
    { 416, "Range Not Satisfiable" },
    { 417, "Expectation Failed" },
    { 418, "I'm a Teapot" },
    { 421, "Misdirected Request" },
    { 422, "Unprocessable Content" },
    { 423, "Locked" },
    { 424, "Failed Dependency" },
    { 425, "Too Early" },
    { 426, "Upgrade Required" },
    { 428, "Precondition Required" },
    { 429, "Too Many Requests" },
    { 431, "Request Header Fields Too Large" },
    { 451, "Unavailable For Legal Reasons" },
    { 500, "Internal Server Error" },
    { 501, "Not Implemented" },
    { 502, "Bad Gateway" },
    { 503, "Service Unavailable" },
    { 504, "Gateway Timeout" },
    { 505, "HTTP Version Not Supported" },
    { 507, "Insufficient Storage" },
    { 508, "Loop Detected" },
    { 511, "Network Authentication Required" },
};

const char *http1_reason(uint16_t status)
{
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "Unknown";
}

static bool name_is(const char *name, size_t length, const char *expected)
{
    return strlen(expected) == length && strncasecmp(name, expected, length) == 0;
}

static bool value_has(const char *value, size_t length, const char *token)
{
    size_t size = strlen(token);
    for (size_t i = 0; i + size <= length; i++)
        if (strncasecmp(value + i, token, size) == 0)
            return true;
    return false;
}

static bool parse_length(const char *value, size_t length, uint64_t *result)
{
    uint64_t number = 0;
    if (length == 0 || length > 18)
        return false;
    for (size_t i = 0; i < length; i++) {
        if (value[i] < '0' || value[i] > '9')
            return false;
        number = number * 10 + (uint64_t)(value[i] - '0');
    }
    *result = number;
    return true;
}

/* What the application's own fields say about the framing. */
struct own {
    bool date, server, connection;
};

static int write_field(struct buffer *out, const char *name, size_t name_length, const char *value, size_t value_length)
{
    size_t length = name_length + value_length + 4;
    unsigned char *at = buffer_reserve(out, length);
    if (at == NULL)
        return -1;
    memcpy(at, name, name_length);
    memcpy(at + name_length, ": ", 2);
    if (value_length > 0)
        memcpy(at + name_length + 2, value, value_length);
    memcpy(at + length - 2, "\r\n", 2);
    out->end += length;
    return 0;
}

/* Takes note of a field; false: it is not written as it is. */
static bool note_field(struct http1_response *response, struct own *own, uint16_t status, const char *name,
                       size_t name_length, const char *value, size_t value_length)
{
    if (name_is(name, name_length, "content-length")) {
        uint64_t length;
        if (status == 204 || response->has_length || !parse_length(value, value_length, &length))
            return false;
        response->has_length = true;
        response->expected = length;
    } else if (name_is(name, name_length, "transfer-encoding")) {
        return false;
    } else if (name_is(name, name_length, "connection")) {
        own->connection = true;
        if (value_has(value, value_length, "close"))
            response->keep_alive = false;
    } else if (name_is(name, name_length, "date")) {
        own->date = true;
    } else if (name_is(name, name_length, "server")) {
        own->server = true;
    }
    return true;
}

static int write_fields(struct http1_response *response, struct buffer *out, const struct command *command, struct own *own)
{
    const struct command_field *fields = (const struct command_field *)(const void *)command->bytes;
    const char *at = (const char *)(fields + command->response.field_count);
    for (uint32_t i = 0; i < command->response.field_count; i++) {
        const char *name = at;
        const char *value = at + fields[i].name_length;
        at = value + fields[i].value_length;
        if (note_field(response, own, command->response.status, name, fields[i].name_length, value, fields[i].value_length) &&
            write_field(out, name, fields[i].name_length, value, fields[i].value_length) != 0)
            return -1;
    }
    return 0;
}

/* Content-Length, chunked, or until the connection closes. */
static int write_framing(struct http1_response *response, struct buffer *out, const struct command *command)
{
    char line[64];
    size_t body = command->length - command->response.head_length;
    bool bodiless = command->response.status == 204 || command->response.status == 304;
    if (response->has_length || bodiless)
        return 0;
    if (!command->response.more && !(response->head && body == 0)) {
        response->has_length = true;
        response->expected = body;
        snprintf(line, sizeof line, "content-length: %zu\r\n", body);
        return buffer_append_string(out, line);
    }
    if (response->head && !command->response.more)
        return 0;
    if (response->minor >= 1) {
        response->chunked = true;
        return buffer_append_string(out, "transfer-encoding: chunked\r\n");
    }
    response->keep_alive = false;
    return 0;
}

int http1_write_head(struct http1_response *response, struct buffer *out, const struct command *command,
                     const struct http1_identity *identity)
{
    uint16_t status = command->response.status;
    struct buffer before = *out;
    struct own own = { false, false, false };
    char line[96];
    snprintf(line, sizeof line, "HTTP/1.1 %u %s\r\n", (unsigned)status, http1_reason(status));
    response->without_body = response->head || status == 204 || status == 304;
    if (buffer_append_string(out, line) != 0 || write_fields(response, out, command, &own) != 0 ||
        write_framing(response, out, command) != 0)
        goto fail;
    if (!own.date && write_field(out, "date", 4, identity->date, strlen(identity->date)) != 0)
        goto fail;
    if (!own.server && identity->name != NULL &&
        write_field(out, "server", 6, identity->name, strlen(identity->name)) != 0)
        goto fail;
    if (!own.connection && !response->keep_alive && buffer_append_string(out, "connection: close\r\n") != 0)
        goto fail;
    if (!own.connection && response->keep_alive && response->minor == 0 &&
        buffer_append_string(out, "connection: keep-alive\r\n") != 0)
        goto fail;
    if (buffer_append_string(out, "\r\n") != 0)
        goto fail;
    return 0;
fail:
    out->end = out->start + (before.end - before.start);
    return -1;
}

enum http1_body http1_frame_body(struct http1_response *response, size_t length, bool more, struct http1_frame *frame)
{
    enum http1_body result = HTTP1_BODY_OK;
    memset(frame, 0, sizeof *frame);
    if (response->without_body) {
        response->actual += length;
        return result;
    }
    frame->length = length;
    if (response->has_length && length > response->expected - response->actual) {
        frame->length = (size_t)(response->expected - response->actual);
        result = HTTP1_LONGER;
    }
    response->actual += length;
    if (response->has_length && result == HTTP1_BODY_OK && !more && response->actual < response->expected)
        result = HTTP1_SHORTER;
    if (!response->chunked)
        return result;
    if (length > 0) {
        frame->prefix_length = (size_t)snprintf(frame->prefix, sizeof frame->prefix, "%zx\r\n", length);
        frame->suffix = more ? "\r\n" : "\r\n0\r\n\r\n";
    } else if (!more) {
        frame->suffix = "0\r\n\r\n";
    }
    frame->suffix_length = frame->suffix != NULL ? strlen(frame->suffix) : 0;
    return result;
}

int http1_write_error(struct buffer *out, uint16_t status, bool head, const struct http1_identity *identity)
{
    const char *reason = http1_reason(status);
    char server[160] = "";
    char text[768];
    if (identity->name != NULL)
        snprintf(server, sizeof server, "server: %s\r\n", identity->name);
    int length = snprintf(text, sizeof text,
                          "HTTP/1.1 %u %s\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %zu\r\n"
                          "date: %s\r\n%s%sconnection: close\r\n\r\n%s%s",
                          (unsigned)status, reason, strlen(reason) + 1, identity->date, server,
                          status == 426 ? "upgrade: websocket\r\nsec-websocket-version: 13\r\n" : "", head ? "" : reason,
                          head ? "" : "\n");
    assert(length > 0 && (size_t)length < sizeof text);
    return buffer_append(out, text, (size_t)length);
}
