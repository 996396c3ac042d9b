#include "server/http1_parser.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"

enum { SMALLEST_FIELDS = 16 };

static int fail(struct http1_parser *parser, uint16_t status)
{
    if (parser->status == 0)
        parser->status = status;
    return -1;
}

static bool is_token_byte(unsigned char byte)
{
    if (byte >= '0' && byte <= '9')
        return true;
    if ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'z')
        return true;
    return byte != 0 && strchr("!#$%&'*+-.^_`|~", byte) != NULL;
}

static int append(struct http1_parser *parser, const char *at, size_t length)
{
    return buffer_append(&parser->arena, at, length) == 0 ? 0 : fail(parser, 503);
}

static int on_message_begin(llhttp_t *llhttp)
{
    struct http1_parser *parser = llhttp->data;
    parser->begun = true;
    return 0;
}

static int on_method(llhttp_t *llhttp, const char *at, size_t length)
{
    struct http1_parser *parser = llhttp->data;
    parser->method_length += (uint32_t)length;
    return append(parser, at, length);
}

static int on_url(llhttp_t *llhttp, const char *at, size_t length)
{
    struct http1_parser *parser = llhttp->data;
    const struct server_settings *settings = parser->settings;
    if (settings->max_target_size != 0 && parser->target_length + length > settings->max_target_size)
        return fail(parser, 414);
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)at[i];
        if (byte <= ' ' || byte >= 0x7f)
            return fail(parser, 400);
    }
    parser->target_length += (uint32_t)length;
    return append(parser, at, length);
}

/* The limits of names and values, trailers included. */
static int count_header(struct http1_parser *parser, size_t length)
{
    parser->header_bytes += length;
    size_t limit = parser->settings->max_header_size;
    return limit != 0 && parser->header_bytes > limit ? fail(parser, 431) : 0;
}

static struct field *next_field(struct http1_parser *parser)
{
    if (parser->field_count == parser->field_capacity) {
        uint32_t capacity = parser->field_capacity != 0 ? parser->field_capacity * 2 : SMALLEST_FIELDS;
        struct field *fields = mem_try_realloc(parser->fields, capacity * sizeof *fields);
        if (fields == NULL)
            return NULL;
        parser->fields = fields;
        parser->field_capacity = capacity;
    }
    struct field *field = &parser->fields[parser->field_count];
    memset(field, 0, sizeof *field);
    return field;
}

/* The field being parsed lies behind the last complete one: fields[field_count]. */
static struct field *open_field(struct http1_parser *parser, bool fresh)
{
    return fresh ? next_field(parser) : &parser->fields[parser->field_count];
}

static int on_header_field(llhttp_t *llhttp, const char *at, size_t length)
{
    struct http1_parser *parser = llhttp->data;
    if (count_header(parser, length) != 0)
        return -1;
    if (parser->in_trailers)
        return 0;
    bool fresh = parser->field_count >= parser->field_capacity ||
                 parser->fields[parser->field_count].name.length == 0;
    struct field *field = open_field(parser, fresh);
    if (field == NULL)
        return fail(parser, 503);
    if (fresh)
        field->name.offset = (uint32_t)parser->arena.end;
    unsigned char *room = buffer_reserve(&parser->arena, length);
    if (room == NULL)
        return fail(parser, 503);
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)at[i];
        if (!is_token_byte(byte))
            return fail(parser, 400);
        room[i] = byte >= 'A' && byte <= 'Z' ? byte | 0x20 : byte;
    }
    parser->arena.end += length;
    field->name.length += (uint32_t)length;
    return 0;
}

static int on_header_field_complete(llhttp_t *llhttp)
{
    struct http1_parser *parser = llhttp->data;
    if (!parser->in_trailers)
        parser->fields[parser->field_count].value.offset = (uint32_t)parser->arena.end;
    return 0;
}

static int on_header_value(llhttp_t *llhttp, const char *at, size_t length)
{
    struct http1_parser *parser = llhttp->data;
    if (count_header(parser, length) != 0)
        return -1;
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)at[i];
        if ((byte < ' ' && byte != '\t') || byte == 0x7f)
            return fail(parser, 400);
    }
    if (parser->in_trailers)
        return 0;
    parser->fields[parser->field_count].value.length += (uint32_t)length;
    return append(parser, at, length);
}

static bool piece_is(const struct http1_parser *parser, struct piece piece, const char *text)
{
    size_t length = strlen(text);
    return piece.length == length && strncasecmp((const char *)parser->arena.bytes + piece.offset, text, length) == 0;
}

/* Is token one of the comma-separated tokens of piece? */
static bool has_token(const struct http1_parser *parser, struct piece piece, const char *token)
{
    const char *at = (const char *)parser->arena.bytes + piece.offset;
    const char *end = at + piece.length;
    size_t length = strlen(token);
    while (at < end) {
        while (at < end && (*at == ' ' || *at == '\t' || *at == ','))
            at++;
        const char *start = at;
        while (at < end && *at != ',')
            at++;
        const char *stop = at;
        while (stop > start && (stop[-1] == ' ' || stop[-1] == '\t'))
            stop--;
        if ((size_t)(stop - start) == length && strncasecmp(start, token, length) == 0)
            return true;
    }
    return false;
}

static bool valid_host(const struct http1_parser *parser, struct piece value)
{
    const unsigned char *bytes = parser->arena.bytes + value.offset;
    for (uint32_t i = 0; i < value.length; i++)
        if (bytes[i] <= ' ' || bytes[i] >= 0x7f || strchr("/?#@\\,", bytes[i]) != NULL)
            return false;
    return true;
}

/* What the field means to the server; whether it goes to the application. */
static int judge_field(struct http1_parser *parser, const struct field *field, bool *keep)
{
    *keep = memchr(parser->arena.bytes + field->name.offset, '_', field->name.length) == NULL;
    if (piece_is(parser, field->name, "host")) {
        if (++parser->host_count > 1 || !valid_host(parser, field->value))
            return fail(parser, 400);
    } else if (piece_is(parser, field->name, "content-length")) {
        if (parser->length_seen) /* llhttp refuses a second one; this holds even where it would not */
            return fail(parser, 400);
        parser->length_seen = true;
    } else if (piece_is(parser, field->name, "transfer-encoding")) {
        if (!piece_is(parser, field->value, "chunked"))
            return fail(parser, has_token(parser, field->value, "chunked") ? 400 : 501);
    } else if (piece_is(parser, field->name, "expect")) {
        parser->expect_continue = piece_is(parser, field->value, "100-continue");
    } else if (piece_is(parser, field->name, "upgrade")) {
        parser->upgrade_websocket = has_token(parser, field->value, "websocket");
    }
    return 0;
}

static int on_header_value_complete(llhttp_t *llhttp)
{
    struct http1_parser *parser = llhttp->data;
    if (parser->in_trailers)
        return 0;
    struct field *field = &parser->fields[parser->field_count];
    const unsigned char *value = parser->arena.bytes + field->value.offset;
    while (field->value.length > 0 && (value[field->value.length - 1] == ' ' || value[field->value.length - 1] == '\t'))
        field->value.length--;
    bool keep;
    if (judge_field(parser, field, &keep) != 0)
        return -1;
    if (!keep) {
        memset(field, 0, sizeof *field);
        return 0;
    }
    parser->field_count++;
    size_t limit = parser->settings->max_header_count;
    if (limit != 0 && parser->field_count > limit)
        return fail(parser, 431);
    if (parser->field_count < parser->field_capacity)
        memset(&parser->fields[parser->field_count], 0, sizeof *parser->fields);
    return 0;
}

/* Checks the target's form, and cuts an absolute-form down to its path. */
static int judge_target(struct http1_parser *parser, struct piece *target)
{
    const char *text = (const char *)parser->arena.bytes + target->offset;
    if (target->length == 0 || memchr(text, '#', target->length) != NULL)
        return fail(parser, 400);
    if (text[0] == '/')
        return 0;
    if (text[0] == '*')
        return target->length == 1 && parser->llhttp.method == HTTP_OPTIONS ? 0 : fail(parser, 400);
    uint32_t scheme = target->length > 7 && strncasecmp(text, "http://", 7) == 0    ? 7
                      : target->length > 8 && strncasecmp(text, "https://", 8) == 0 ? 8
                                                                                     : 0;
    if (scheme == 0)
        return fail(parser, 400);
    uint32_t at = scheme;
    while (at < target->length && text[at] != '/' && text[at] != '?')
        at++;
    if (at == scheme)
        return fail(parser, 400);
    if (at < target->length && text[at] == '/') {
        target->offset += at;
        target->length -= at;
        return 0;
    }
    /* No path: it is "/", which goes where the authority ended. */
    parser->arena.bytes[target->offset + at - 1] = '/';
    target->offset += at - 1;
    target->length -= at - 1;
    return 0;
}

static int judge_version(struct http1_parser *parser)
{
    const llhttp_t *llhttp = &parser->llhttp;
    if (llhttp->http_major != 1)
        return fail(parser, 505);
    if (llhttp->http_minor >= 1 && parser->host_count != 1)
        return fail(parser, 400);
    if (llhttp->flags & F_CHUNKED && (parser->length_seen || llhttp->http_minor == 0))
        return fail(parser, 400);
    return 0;
}

static int on_headers_complete(llhttp_t *llhttp)
{
    struct http1_parser *parser = llhttp->data;
    if (llhttp->method == HTTP_CONNECT)
        return fail(parser, 501);
    struct http1_head head = {
        .method = { 0, parser->method_length },
        .target = { parser->method_length, parser->target_length },
        .fields = parser->fields,
        .field_count = parser->field_count,
        .minor = llhttp->http_minor,
    };
    if (judge_version(parser) != 0 || judge_target(parser, &head.target) != 0)
        return -1;
    size_t body_limit = parser->settings->max_body_size;
    if (body_limit != 0 && llhttp->flags & F_CONTENT_LENGTH && llhttp->content_length > body_limit)
        return fail(parser, 413);
    head.bytes = parser->arena.bytes;
    head.length = parser->arena.end;
    head.has_body = llhttp->flags & F_CHUNKED || llhttp->content_length > 0;
    head.keep_alive = llhttp_should_keep_alive(llhttp);
    head.expect_continue = parser->expect_continue && llhttp->http_minor >= 1 && head.has_body;
    head.upgrade_websocket = parser->upgrade_websocket && llhttp->upgrade && llhttp->http_minor >= 1 && !head.has_body;
    llhttp->upgrade = 0; /* what follows is ours to hand on, not llhttp's to guess */
    parser->in_trailers = true;
    parser->header_bytes = 0;
    parser->callbacks->on_head(parser->context, &head);
    http1_parser_deinit(parser);
    return 0;
}

static int on_body(llhttp_t *llhttp, const char *at, size_t length)
{
    struct http1_parser *parser = llhttp->data;
    parser->body_bytes += length;
    size_t limit = parser->settings->max_body_size;
    if (limit != 0 && parser->body_bytes > limit)
        return fail(parser, 413);
    parser->callbacks->on_body(parser->context, (const unsigned char *)at, length);
    return 0;
}

static int on_chunk_extension(llhttp_t *llhttp, const char *at, size_t length)
{
    return count_header(llhttp->data, length);
}

static int on_message_complete(llhttp_t *llhttp)
{
    struct http1_parser *parser = llhttp->data;
    parser->complete = true;
    return HPE_PAUSED;
}

static const llhttp_settings_t callbacks = {
    .on_message_begin = on_message_begin,
    .on_method = on_method,
    .on_url = on_url,
    .on_header_field = on_header_field,
    .on_header_field_complete = on_header_field_complete,
    .on_header_value = on_header_value,
    .on_header_value_complete = on_header_value_complete,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_chunk_extension_name = on_chunk_extension,
    .on_chunk_extension_value = on_chunk_extension,
    .on_message_complete = on_message_complete,
};

void http1_parser_init(struct http1_parser *parser, const struct server_settings *settings,
                       const struct http1_callbacks *calls, void *context)
{
    memset(parser, 0, sizeof *parser);
    parser->settings = settings;
    parser->callbacks = calls;
    parser->context = context;
    llhttp_init(&parser->llhttp, HTTP_REQUEST, &callbacks);
    parser->llhttp.data = parser;
}

void http1_parser_deinit(struct http1_parser *parser)
{
    buffer_deinit(&parser->arena);
    mem_free(parser->fields);
    parser->fields = NULL;
    parser->field_count = parser->field_capacity = 0;
}

static void begin_message(struct http1_parser *parser)
{
    buffer_deinit(&parser->arena);
    parser->field_count = 0;
    parser->target_length = parser->method_length = parser->host_count = 0;
    parser->header_bytes = 0;
    parser->body_bytes = 0;
    parser->in_trailers = parser->begun = parser->complete = false;
    parser->expect_continue = parser->upgrade_websocket = parser->length_seen = false;
    llhttp_reset(&parser->llhttp);
}

enum http1_result http1_parser_feed(struct http1_parser *parser, const unsigned char *bytes, size_t length, size_t *consumed)
{
    *consumed = 0;
    if (parser->complete)
        begin_message(parser);
    const char *start = (const char *)bytes;
    llhttp_errno_t error = llhttp_execute(&parser->llhttp, start, length);
    if (error == HPE_OK) {
        *consumed = length;
        return HTTP1_MORE;
    }
    if (error == HPE_PAUSED && parser->complete) {
        *consumed = (size_t)(llhttp_get_error_pos(&parser->llhttp) - start);
        return HTTP1_COMPLETE;
    }
    if (parser->status == 0)
        parser->status = error == HPE_INVALID_VERSION ? 505 : 400;
    return HTTP1_ERROR;
}
