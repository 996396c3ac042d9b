#include "server/http1_writer.h"

#include <string.h>
#include <strings.h>

static const struct {
    uint16_t status;
    const char *reason;
} reasons[] = {
    { 100, "Continue" },
    { 101, "Switching Protocols" },
    { 103, "Early Hints" },
    { 200, "OK" },
    { 201, "Created" },
    { 202, "Accepted" },
    { 203, "Non-Authoritative Information" },
    { 204, "No Content" },
    { 205, "Reset Content" },
    { 206, "Partial Content" },
    { 207, "Multi-Status" },
    { 208, "Already Reported" },
    { 226, "IM Used" },
    { 300, "Multiple Choices" },
    { 301, "Moved Permanently" },
    { 302, "Found" },
    { 303, "See Other" },
    { 304, "Not Modified" },
    { 305, "Use Proxy" },
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
    { 506, "Variant Also Negotiates" },
    { 507, "Insufficient Storage" },
    { 508, "Loop Detected" },
    { 511, "Network Authentication Required" },
};

const char *http1_reason(uint16_t status)
{
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "";
}

static bool value_has(const char *value, size_t length, const char *token)
{
    const char *end = value + length;
    size_t size = strlen(token);
    while (value < end) {
        const char *comma = memchr(value, ',', (size_t)(end - value));
        const char *stop = comma != NULL ? comma : end;
        const char *next = comma != NULL ? comma + 1 : end;
        while (value < stop && (*value == ' ' || *value == '\t'))
            value++;
        while (stop > value && (stop[-1] == ' ' || stop[-1] == '\t'))
            stop--;
        if ((size_t)(stop - value) == size && strncasecmp(value, token, size) == 0)
            return true;
        value = next;
    }
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

/* 1xx and 204 must not have one; 205 has one of our own. */
static bool note_length(struct http1_response *response, uint16_t status, const char *value, size_t length)
{
    if (status < 200 || status == 204 || status == 205 || response->has_length)
        return false;
    return response->has_length = parse_length(value, length, &response->expected);
}

bool http1_note_field(struct http1_response *response, struct http1_own *own, uint16_t status, const char *name,
                      size_t name_length, const char *value, size_t value_length)
{
    switch (name_length) {
    case 4:
        if (strncasecmp(name, "date", 4) == 0)
            own->date = true;
        return true;
    case 6:
        if (strncasecmp(name, "server", 6) == 0)
            own->server = true;
        return true;
    case 10:
        if (strncasecmp(name, "keep-alive", 10) == 0)
            return false;
        if (strncasecmp(name, "connection", 10) != 0)
            return true;
        if (value_has(value, value_length, "close"))
            response->keep_alive = false;
        return false;
    case 14:
        return strncasecmp(name, "content-length", 14) != 0 || note_length(response, status, value, value_length);
    case 17:
        return strncasecmp(name, "transfer-encoding", 17) != 0;
    default:
        return true;
    }
}

static char *put(char *at, const void *bytes, size_t length)
{
    if (length > 0)
        memcpy(at, bytes, length);
    return at + length;
}

static char *put_string(char *at, const char *string)
{
    return put(at, string, strlen(string));
}

static char *put_number(char *at, uint64_t number, unsigned base)
{
    char digits[20];
    size_t i = sizeof digits;
    do {
        digits[--i] = "0123456789abcdef"[number % base];
        number /= base;
    } while (number > 0);
    return put(at, digits + i, sizeof digits - i);
}

static char *put_status_line(char *at, uint16_t status)
{
    if (status == 200)
        return put_string(at, "HTTP/1.1 200 OK\r\n");
    at = put_string(at, "HTTP/1.1 ");
    at = put_number(at, status, 10);
    at = put_string(at, " ");
    at = put_string(at, http1_reason(status));
    return put_string(at, "\r\n");
}

static char *put_fields(char *at, struct http1_response *response, const struct command *command, struct http1_own *own)
{
    const struct command_field *fields = (const struct command_field *)(const void *)command->bytes;
    const char *name = (const char *)(fields + command->response.field_count);
    for (uint32_t i = 0; i < command->response.field_count; i++) {
        size_t name_length = fields[i].name_length;
        size_t value_length = fields[i].value_length;
        const char *value = name + name_length;
        if (http1_note_field(response, own, command->response.status, name, name_length, value, value_length)) {
            at = put(at, name, name_length);
            at = put(at, ": ", 2);
            at = put(at, value, value_length);
            at = put(at, "\r\n", 2);
        }
        name = value + value_length;
    }
    return at;
}

/* Content-Length, chunked, or until the connection closes. */
static char *put_framing(char *at, struct http1_response *response, const struct command *command)
{
    uint16_t status = command->response.status;
    size_t body = command->length - command->response.head_length;
    if (status < 200)
        response->keep_alive = false; /* no final response will follow */
    if (status == 205)
        return put_string(at, "content-length: 0\r\n");
    if (response->has_length || status < 200 || status == 204 || status == 304)
        return at;
    if (!command->response.more && !command->response.trailers) {
        if (response->head && body == 0)
            return at; /* the length that GET would have had is not known */
        response->has_length = true;
        response->expected = body;
        at = put_string(at, "content-length: ");
        at = put_number(at, body, 10);
        return put_string(at, "\r\n");
    }
    if (response->minor >= 1) {
        response->chunked = true;
        return put_string(at, "transfer-encoding: chunked\r\n");
    }
    if (!response->head)
        response->keep_alive = false;
    return at;
}

int http1_write_head(struct http1_response *response, struct buffer *out, const struct command *command,
                     const struct http1_identity *identity)
{
    enum { OWN_PARTS = 256 }; /* status line, Date, Connection, framing: all that is not the application's or the name */
    uint16_t status = command->response.status;
    size_t name_length = identity->name != NULL ? strlen(identity->name) : 0;
    size_t room = OWN_PARTS + name_length + command->response.head_length + 4 * (size_t)command->response.field_count;
    char *start = (char *)buffer_reserve(out, room);
    if (start == NULL)
        return -1;
    struct http1_own own = { false, false };
    response->trailers = command->response.trailers;
    response->without_body = response->head || status < 200 || status == 204 || status == 205 || status == 304;
    char *at = put_status_line(start, status);
    at = put_fields(at, response, command, &own);
    at = put_framing(at, response, command);
    if (!own.date) {
        at = put_string(at, "date: ");
        at = put_string(at, identity->date);
        at = put_string(at, "\r\n");
    }
    if (!own.server && identity->name != NULL) {
        at = put_string(at, "server: ");
        at = put(at, identity->name, name_length);
        at = put_string(at, "\r\n");
    }
    if (!response->keep_alive)
        at = put_string(at, "connection: close\r\n");
    else if (response->minor == 0)
        at = put_string(at, "connection: keep-alive\r\n");
    at = put_string(at, "\r\n");
    out->end += (size_t)(at - start);
    return 0;
}

enum http1_body http1_frame_body(struct http1_response *response, size_t length, bool more, struct http1_frame *frame)
{
    enum http1_body result = HTTP1_BODY_OK;
    memset(frame, 0, sizeof *frame);
    frame->suffix = "";
    uint64_t before = response->actual;
    response->actual += length;
    if (response->without_body)
        return HTTP1_BODY_OK;
    frame->length = length;
    if (response->has_length) {
        uint64_t left = before < response->expected ? response->expected - before : 0;
        if (length > left) {
            frame->length = (size_t)left;
            result = HTTP1_LONGER;
        } else if (!more && length < left) {
            result = HTTP1_SHORTER;
        }
    }
    if (!response->chunked)
        return result;
    if (length > 0) {
        char *end = put_number(frame->prefix, length, 16);
        end = put_string(end, "\r\n");
        frame->prefix_length = (size_t)(end - frame->prefix);
        frame->suffix = more ? "\r\n" : response->trailers ? "\r\n0\r\n" : "\r\n0\r\n\r\n";
    } else {
        frame->suffix = more ? "" : response->trailers ? "0\r\n" : "0\r\n\r\n";
    }
    frame->suffix_length = strlen(frame->suffix);
    return result;
}

/* All fields of command as they are, and the empty line. */
static char *put_section(char *at, const struct command *command)
{
    const struct command_field *fields = (const struct command_field *)(const void *)command->bytes;
    const char *name = (const char *)(fields + command->response.field_count);
    for (uint32_t i = 0; i < command->response.field_count; i++) {
        const char *value = name + fields[i].name_length;
        at = put(at, name, fields[i].name_length);
        at = put(at, ": ", 2);
        at = put(at, value, fields[i].value_length);
        at = put(at, "\r\n", 2);
        name = value + fields[i].value_length;
    }
    return put_string(at, "\r\n");
}

static size_t section_room(const struct command *command)
{
    return command->response.head_length + 4 * (size_t)command->response.field_count + 2;
}

int http1_write_trailers(const struct http1_response *response, struct buffer *out, const struct command *command)
{
    if (!response->chunked || response->without_body)
        return 0;
    char *start = (char *)buffer_reserve(out, section_room(command));
    if (start == NULL)
        return -1;
    out->end += (size_t)(put_section(start, command) - start);
    return 0;
}

int http1_write_hint(struct buffer *out, const struct command *command)
{
    enum { STATUS_LINE = 64 };
    char *start = (char *)buffer_reserve(out, STATUS_LINE + section_room(command));
    if (start == NULL)
        return -1;
    char *at = put_status_line(start, command->response.status);
    out->end += (size_t)(put_section(at, command) - start);
    return 0;
}

int http1_write_error(struct buffer *out, uint16_t status, bool head, const struct http1_identity *identity)
{
    const char *reason = http1_reason(status);
    size_t name_length = identity->name != NULL ? strlen(identity->name) : 0;
    char *start = (char *)buffer_reserve(out, 512 + name_length);
    if (start == NULL)
        return -1;
    char *at = put_status_line(start, status);
    at = put_string(at, "content-type: text/plain; charset=utf-8\r\ncontent-length: ");
    at = put_number(at, strlen(reason) + 1, 10);
    at = put_string(at, "\r\ndate: ");
    at = put_string(at, identity->date);
    if (identity->name != NULL) {
        at = put_string(at, "\r\nserver: ");
        at = put(at, identity->name, name_length);
    }
    if (status == 405)
        at = put_string(at, "\r\nallow: GET");
    if (status == 426)
        at = put_string(at, "\r\nupgrade: websocket\r\nsec-websocket-version: 13");
    if (status == 503)
        at = put_string(at, "\r\nretry-after: 5");
    at = put_string(at, "\r\nconnection: close\r\n\r\n");
    if (!head) {
        at = put_string(at, reason);
        at = put_string(at, "\n");
    }
    out->end += (size_t)(at - start);
    return 0;
}

int http1_write_continue(struct buffer *out)
{
    return buffer_append_string(out, "HTTP/1.1 100 Continue\r\n\r\n");
}
