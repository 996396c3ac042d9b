#include "server/http1_parser.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "server/grammar.h"

enum {
    FIRST_FIELDS = 16,
    FIRST_ARENA = 4096,       /* at most: one allocation for most heads */
    ARENA_LIMIT = 0x7fffffff, /* pieces have 32 bits; it matters only where the limits are switched off */
};

static int fail(struct http1_parser *parser, uint16_t status)
{
    if (parser->status == 0)
        parser->status = status;
    return -1;
}

static int append(struct http1_parser *parser, const char *at, size_t length)
{
    if (length > ARENA_LIMIT - parser->arena.end)
        return fail(parser, 431);
    return buffer_append(&parser->arena, at, length) == 0 ? 0 : fail(parser, 503);
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
    size_t limit = parser->settings->max_target_size;
    if (limit != 0 && length > limit - parser->target_length)
        return fail(parser, 414);
    parser->target_length += (uint32_t)length;
    return append(parser, at, length);
}

/* llhttp also speaks RTSP and ICE. */
static int on_protocol(llhttp_t *llhttp, const char *at, size_t length)
{
    struct http1_parser *parser = llhttp->data;
    static const char expected[] = "HTTP";
    if (length > sizeof expected - 1 - parser->protocol_length || memcmp(at, expected + parser->protocol_length, length) != 0)
        return fail(parser, 400);
    parser->protocol_length += (unsigned char)length;
    return 0;
}

static int count_header(struct http1_parser *parser, size_t length)
{
    parser->header_bytes += length;
    size_t limit = parser->settings->max_header_size;
    return limit != 0 && parser->header_bytes > limit ? fail(parser, 431) : 0;
}

static int on_header_field(llhttp_t *llhttp, const char *at, size_t length)
{
    struct http1_parser *parser = llhttp->data;
    if (count_header(parser, length) != 0)
        return -1;
    if (parser->head_done)
        return 0;
    if (parser->field.name.length == 0)
        parser->field.name.offset = (uint32_t)parser->arena.end;
    if (append(parser, at, length) != 0)
        return -1;
    unsigned char *name = parser->arena.bytes + parser->arena.end - length;
    for (size_t i = 0; i < length; i++) {
        if (name[i] >= 'A' && name[i] <= 'Z')
            name[i] |= 0x20;
        else if (name[i] == '_')
            parser->drop_field = true;
    }
    parser->field.name.length += (uint32_t)length;
    return 0;
}

static int on_header_field_complete(llhttp_t *llhttp)
{
    struct http1_parser *parser = llhttp->data;
    size_t limit = parser->settings->max_header_count;
    parser->header_count++;
    if (limit != 0 && parser->header_count > limit)
        return fail(parser, 431);
    parser->field.value.offset = (uint32_t)parser->arena.end;
    return 0;
}

static int on_header_value(llhttp_t *llhttp, const char *at, size_t length)
{
    struct http1_parser *parser = llhttp->data;
    if (count_header(parser, length) != 0)
        return -1;
    if (parser->head_done)
        return 0;
    /* llhttp has refused the control bytes of ASCII. Latin-1 has one more that splits lines where a value is read as text (NEL,
     * CVE-2026-44546), and an application may well call splitlines(). */
    if (memchr(at, 0x85, length) != NULL)
        return fail(parser, 400);
    parser->field.value.length += (uint32_t)length;
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

static int judge_encoding(struct http1_parser *parser, struct piece value)
{
    parser->encoding_seen = true; /* llhttp refuses a second one */
    if (piece_is(parser, value, "chunked"))
        return 0;
    /* "gzip, chunked" is a coding that we do not have; "chunked, …" is a body without an end. */
    static const char last[] = "chunked";
    size_t length = sizeof last - 1;
    bool framed = value.length >= length &&
                  strncasecmp((const char *)parser->arena.bytes + value.offset + value.length - length, last, length) == 0;
    return fail(parser, has_token(parser, value, last) && !framed ? 400 : 501);
}

/* What the field means to the server. Content-Length is llhttp's to judge: it refuses a second one, and one beside chunked. */
static int judge_field(struct http1_parser *parser, const struct field *field)
{
    switch (field->name.length) {
    case 4:
        if (!piece_is(parser, field->name, "host"))
            return 0;
        if (parser->host_seen || !grammar_is_host(parser->arena.bytes + field->value.offset, field->value.length))
            return fail(parser, 400);
        parser->host_seen = true;
        return 0;
    case 6:
        if (piece_is(parser, field->name, "expect"))
            parser->expect_continue = piece_is(parser, field->value, "100-continue");
        return 0;
    case 7:
        if (piece_is(parser, field->name, "upgrade") && has_token(parser, field->value, "websocket"))
            parser->upgrade_websocket = true;
        return 0;
    case 17:
        return piece_is(parser, field->name, "transfer-encoding") ? judge_encoding(parser, field->value) : 0;
    default:
        return 0;
    }
}

static int keep_field(struct http1_parser *parser)
{
    if (parser->field_count == parser->field_capacity) {
        uint32_t capacity = parser->field_capacity != 0 ? parser->field_capacity * 2 : FIRST_FIELDS;
        struct field *fields = mem_try_realloc(parser->fields, capacity * sizeof *fields);
        if (fields == NULL)
            return fail(parser, 503);
        parser->fields = fields;
        parser->field_capacity = capacity;
    }
    parser->fields[parser->field_count++] = parser->field;
    return 0;
}

static int on_header_value_complete(llhttp_t *llhttp)
{
    struct http1_parser *parser = llhttp->data;
    if (parser->head_done)
        return 0;
    struct piece *value = &parser->field.value;
    const unsigned char *bytes = parser->arena.bytes + value->offset;
    while (value->length > 0 && (bytes[value->length - 1] == ' ' || bytes[value->length - 1] == '\t'))
        value->length--;
    if (!parser->drop_field && (judge_field(parser, &parser->field) != 0 || keep_field(parser) != 0))
        return -1;
    parser->field = (struct field){ { 0, 0 }, { 0, 0 } };
    parser->drop_field = false;
    return 0;
}

/* Checks the target's form, and cuts an absolute-form down to its path. */
static int judge_target(struct http1_parser *parser, struct piece *target)
{
    char *text = (char *)parser->arena.bytes + target->offset;
    if (target->length == 0 || memchr(text, '#', target->length) != NULL)
        return fail(parser, 400);
    if (text[0] == '/')
        return 0;
    if (text[0] == '*')
        return target->length == 1 && parser->llhttp.method == HTTP_OPTIONS ? 0 : fail(parser, 400);
    uint32_t at = 0;
    if (target->length > 7 && strncasecmp(text, "http://", 7) == 0)
        at = 7;
    else if (target->length > 8 && strncasecmp(text, "https://", 8) == 0)
        at = 8;
    uint32_t authority = at;
    while (at < target->length && text[at] != '/' && text[at] != '?')
        at++;
    if (at == authority || authority == 0)
        return fail(parser, 400);
    /* Without a path it is "/", for which the authority's last byte has room. */
    if (at == target->length || text[at] == '?')
        text[--at] = '/';
    target->offset += at;
    target->length -= at;
    return 0;
}

static int judge_head(struct http1_parser *parser)
{
    const llhttp_t *llhttp = &parser->llhttp;
    if (llhttp->http_major != 1)
        return fail(parser, 505);
    if (llhttp->method == HTTP_CONNECT)
        return fail(parser, 501);
    if (llhttp->http_minor >= 1 ? !parser->host_seen : parser->encoding_seen)
        return fail(parser, 400);
    size_t limit = parser->settings->max_body_size;
    if (limit != 0 && llhttp->content_length > limit)
        return fail(parser, 413);
    return 0;
}

static int on_headers_complete(llhttp_t *llhttp)
{
    struct http1_parser *parser = llhttp->data;
    struct http1_head head = {
        .method = { 0, parser->method_length },
        .target = { parser->method_length, parser->target_length },
        .fields = parser->fields,
        .field_count = parser->field_count,
        .major = 1,
        .minor = llhttp->http_minor,
        .keep_alive = llhttp_should_keep_alive(llhttp),
        .has_body = llhttp->flags & F_CHUNKED || llhttp->content_length > 0,
    };
    if (judge_head(parser) != 0 || judge_target(parser, &head.target) != 0)
        return -1;
    head.bytes = parser->arena.bytes;
    head.length = parser->arena.end;
    head.expect_continue = parser->expect_continue && head.minor >= 1 && head.has_body;
    head.upgrade_websocket = parser->upgrade_websocket && llhttp->upgrade && head.minor >= 1 && !head.has_body;
    parser->head_done = true;
    parser->header_bytes = 0;
    parser->header_count = 0;
    parser->callbacks->on_head(parser->context, &head);
    http1_parser_deinit(parser);
    return 0;
}

/* Of the chunk whose length has just come. */
static int on_chunk_header(llhttp_t *llhttp)
{
    struct http1_parser *parser = llhttp->data;
    size_t limit = parser->settings->max_body_size;
    parser->header_bytes = 0;
    if (limit != 0 && llhttp->content_length > limit - parser->body_bytes)
        return fail(parser, 413);
    return 0;
}

static int on_chunk_extension(llhttp_t *llhttp, const char *at, size_t length)
{
    (void)at;
    return count_header(llhttp->data, length);
}

static int on_body(llhttp_t *llhttp, const char *at, size_t length)
{
    struct http1_parser *parser = llhttp->data;
    parser->body_bytes += length;
    if (length > 0)
        parser->callbacks->on_body(parser->context, (const unsigned char *)at, length);
    return 0;
}

static int on_message_complete(llhttp_t *llhttp)
{
    struct http1_parser *parser = llhttp->data;
    parser->complete = true;
    return HPE_PAUSED;
}

static const llhttp_settings_t llhttp_settings = {
    .on_method = on_method,
    .on_url = on_url,
    .on_protocol = on_protocol,
    .on_header_field = on_header_field,
    .on_header_field_complete = on_header_field_complete,
    .on_header_value = on_header_value,
    .on_header_value_complete = on_header_value_complete,
    .on_headers_complete = on_headers_complete,
    .on_chunk_header = on_chunk_header,
    .on_chunk_extension_name = on_chunk_extension,
    .on_chunk_extension_value = on_chunk_extension,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

void http1_parser_init(struct http1_parser *parser, const struct server_settings *settings,
                       const struct http1_callbacks *callbacks, void *context)
{
    memset(parser, 0, sizeof *parser);
    parser->settings = settings;
    parser->callbacks = callbacks;
    parser->context = context;
    llhttp_init(&parser->llhttp, HTTP_REQUEST, &llhttp_settings);
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
    parser->field = (struct field){ { 0, 0 }, { 0, 0 } };
    parser->method_length = parser->target_length = 0;
    parser->header_bytes = parser->header_count = 0;
    parser->body_bytes = 0;
    parser->protocol_length = 0;
    parser->head_done = parser->complete = parser->drop_field = false;
    parser->host_seen = parser->encoding_seen = false;
    parser->expect_continue = parser->upgrade_websocket = false;
    llhttp_reset(&parser->llhttp);
}

static uint16_t status_of(const struct http1_parser *parser, llhttp_errno_t error)
{
    if (parser->status != 0)
        return parser->status;
    if (error == HPE_PAUSED_H2_UPGRADE)
        return 505;
    /* The same number stands for a version that is none. */
    if (error == HPE_INVALID_VERSION && strcmp(llhttp_get_error_reason(&parser->llhttp), "Invalid HTTP version") == 0)
        return 505;
    return 400;
}

enum http1_result http1_parser_feed(struct http1_parser *parser, const unsigned char *bytes, size_t length, size_t *consumed)
{
    const char *start = (const char *)bytes;
    assert(parser->status == 0);
    *consumed = 0;
    if (parser->complete)
        begin_message(parser);
    if (!parser->head_done && parser->arena.bytes == NULL && length > 2 &&
        buffer_reserve(&parser->arena, length < FIRST_ARENA ? length : FIRST_ARENA) == NULL) {
        parser->status = 503;
        return HTTP1_ERROR;
    }
    llhttp_errno_t error = llhttp_execute(&parser->llhttp, start, length);
    if (error == HPE_OK) {
        *consumed = length;
        return HTTP1_MORE;
    }
    if (error == HPE_PAUSED && parser->complete) {
        *consumed = (size_t)(llhttp_get_error_pos(&parser->llhttp) - start);
        return HTTP1_COMPLETE;
    }
    parser->status = status_of(parser, error);
    return HTTP1_ERROR;
}
