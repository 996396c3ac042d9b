#include "server/http1_parser.h"

#include <assert.h>
#include <string.h>

#include "base/alloc.h"

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

/* The same where status is not 0; reason is a literal. */
static int refuse(struct http1_parser *parser, uint16_t status, const char *reason)
{
    if (status == 0)
        return 0;
    if (parser->status == 0)
        parser->reason = reason;
    return fail(parser, status);
}

static int append(struct http1_parser *parser, const char *at, size_t length)
{
    if (length > ARENA_LIMIT - parser->arena.end)
        return fail(parser, 431);
    return buffer_append(&parser->arena, at, length) == 0 ? 0 : fail(parser, 503);
}

/* Where at is in the message. RFC 9112, 3: one space parts what a request line has. llhttp takes more of them, so that method, target and
 * protocol are asked whether they begin right behind it. */
static size_t place_of(const struct http1_parser *parser, const char *at)
{
    return parser->offset + (size_t)(at - parser->input);
}

static int on_method(llhttp_t *llhttp, const char *at, size_t length)
{
    struct http1_parser *parser = llhttp->data;
    parser->method_length += (uint32_t)length;
    parser->line_at = place_of(parser, at + length);
    return append(parser, at, length);
}

static int on_url(llhttp_t *llhttp, const char *at, size_t length)
{
    struct http1_parser *parser = llhttp->data;
    if (parser->target_length == 0 && place_of(parser, at) != parser->line_at + 1)
        return refuse(parser, 400, "more than one space stands before the target");
    parser->line_at = place_of(parser, at + length);
    size_t limit = parser->settings->max_target_size;
    bool too_long = limit != 0 && length > limit - parser->target_length;
    if (too_long)
        length = limit - parser->target_length; /* for the log */
    parser->target_length += (uint32_t)length;
    int result = append(parser, at, length);
    return too_long ? fail(parser, 414) : result;
}

/* llhttp also speaks RTSP and ICE. */
static int on_protocol(llhttp_t *llhttp, const char *at, size_t length)
{
    struct http1_parser *parser = llhttp->data;
    static const char expected[] = "HTTP";
    if (parser->protocol_length == 0 && place_of(parser, at) != parser->line_at + 1)
        return refuse(parser, 400, "more than one space stands before the version");
    if (length > sizeof expected - 1 - parser->protocol_length || memcmp(at, expected + parser->protocol_length, length) != 0)
        return refuse(parser, 400, "the protocol is not HTTP");
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
        return refuse(parser, 400, "a header's value has a NEL in it");
    parser->field.value.length += (uint32_t)length;
    return append(parser, at, length);
}

/* Of the fields that http1_strict_field() may refuse. */
static const char *reason_of(uint32_t name_length)
{
    return name_length == 4    ? "Host is malformed, or there twice"
           : name_length == 10 ? "Connection is malformed, or names a field that is for everybody"
                               : "Transfer-Encoding is malformed, or not known";
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
    if (!parser->drop_field) {
        const unsigned char *name = parser->arena.bytes + parser->field.name.offset;
        uint16_t status = http1_strict_field(&parser->strict, name, parser->field.name.length, bytes, value->length);
        if (refuse(parser, status, reason_of(parser->field.name.length)) != 0)
            return -1;
        if (keep_field(parser) != 0)
            return -1;
    }
    parser->field = (struct field){ { 0, 0 }, { 0, 0 } };
    parser->drop_field = false;
    return 0;
}

/* RFC 9112, 3.2.2: the host of an absolute-form takes the place of Host. */
static int replace_host(struct http1_parser *parser, struct piece authority)
{
    static const char name[] = "host";
    for (uint32_t i = 0; i < parser->field_count; i++) {
        struct field *field = &parser->fields[i];
        if (field->name.length == 4 && memcmp(parser->arena.bytes + field->name.offset, name, 4) == 0) {
            field->value = authority;
            return 0;
        }
    }
    parser->field = (struct field){ { (uint32_t)parser->arena.end, 4 }, authority };
    return append(parser, name, 4) != 0 ? -1 : keep_field(parser);
}

static int judge_head(struct http1_parser *parser)
{
    const llhttp_t *llhttp = &parser->llhttp;
    if (parser->protocol_length == 0)
        return refuse(parser, 400, "the request line has no version"); /* what was HTTP/0.9: a line without a version (RFC 9112, 3) */
    if (llhttp->http_major != 1)
        return fail(parser, 505);
    if (llhttp->method == HTTP_CONNECT)
        return fail(parser, 501);
    uint16_t status = http1_strict_head(&parser->strict, llhttp->http_minor, llhttp->flags & F_CHUNKED);
    if (refuse(parser, status, status == 400 ? "Host is missing, or Transfer-Encoding cannot be in this request" : NULL) != 0)
        return -1;
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
        .major = 1,
        .minor = llhttp->http_minor,
        .keep_alive = http1_strict_keep_alive(&parser->strict, llhttp->http_minor),
        .has_body = llhttp->flags & F_CHUNKED || llhttp->content_length > 0,
    };
    struct piece authority;
    bool options = llhttp->method == HTTP_OPTIONS;
    if (judge_head(parser) != 0)
        return -1;
    if (refuse(parser, http1_strict_target(parser->arena.bytes, options, &head.target, &authority), "the target is malformed") != 0)
        return -1;
    if (authority.length != 0 && replace_host(parser, authority) != 0)
        return -1;
    head.fields = parser->fields;
    head.field_count = parser->field_count;
    head.bytes = parser->arena.bytes;
    head.length = parser->arena.end;
    head.expect_continue = parser->strict.expect_continue && head.minor >= 1 && head.has_body;
    head.upgrade_websocket = parser->strict.websocket && parser->strict.upgrade && head.minor >= 1 && !head.has_body;
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

static int on_chunk_extension_value(llhttp_t *llhttp, const char *at, size_t length)
{
    struct http1_parser *parser = llhttp->data;
    parser->extension_value |= length > 0;
    return on_chunk_extension(llhttp, at, length);
}

/* RFC 9112, 7.1.1: behind "=" there is a token or a quoted string, and neither is empty on the wire. */
static int on_chunk_extension_value_complete(llhttp_t *llhttp)
{
    struct http1_parser *parser = llhttp->data;
    bool empty = !parser->extension_value;
    parser->extension_value = false;
    return empty ? fail(parser, 400) : 0;
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
    .on_chunk_extension_value = on_chunk_extension_value,
    .on_chunk_extension_value_complete = on_chunk_extension_value_complete,
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
    parser->offset = 0;
    parser->protocol_length = 0;
    parser->head_done = parser->complete = parser->drop_field = parser->extension_value = false;
    parser->strict = (struct http1_strict){ 0 };
    llhttp_reset(&parser->llhttp);
}

static uint16_t status_of(const struct http1_parser *parser, llhttp_errno_t error)
{
    if (parser->status != 0)
        return parser->status;
    if (error == HPE_PAUSED_H2_UPGRADE)
        return 505;
    const char *reason = llhttp_get_error_reason(&parser->llhttp);
    /* The same numbers stand for a version that is none, and for a word that is not HTTP. */
    if (error == HPE_INVALID_VERSION && strcmp(reason, "Invalid HTTP version") == 0)
        return 505;
    if (error == HPE_INVALID_CONSTANT && strcmp(reason, "Invalid method for HTTP/x.x request") == 0)
        return 501;
    return 400;
}

static enum http1_result stop(struct http1_parser *parser, uint16_t status, const char *reason)
{
    if (parser->status == 0)
        parser->reason = reason;
    parser->status = status;
    return HTTP1_ERROR;
}

/* The rest of a method that llhttp has refused. */
static enum http1_result read_method(struct http1_parser *parser, const unsigned char *bytes, size_t length)
{
    uint16_t status = http1_strict_method(&parser->strict, bytes, length);
    return status != 0 ? stop(parser, status, status == 400 ? "the method is malformed" : NULL) : HTTP1_MORE;
}

static enum http1_result execute(struct http1_parser *parser, const unsigned char *bytes, size_t length, size_t *consumed)
{
    parser->input = (const char *)bytes;
    llhttp_errno_t error = llhttp_execute(&parser->llhttp, parser->input, length);
    *consumed = length;
    if (error == HPE_OK) {
        parser->offset += length;
        return HTTP1_MORE;
    }
    size_t end = (size_t)(llhttp_get_error_pos(&parser->llhttp) - parser->input);
    if (error == HPE_PAUSED && parser->complete) {
        *consumed = end;
        return HTTP1_COMPLETE;
    }
    if (error == HPE_INVALID_METHOD && parser->status == 0) {
        parser->strict.method_length = (unsigned char)(parser->offset + end); /* at most what llhttp's longest has */
        return read_method(parser, bytes + end, length - end);
    }
    uint16_t status = status_of(parser, error);
    return stop(parser, status, status == 400 ? llhttp_get_error_reason(&parser->llhttp) : NULL);
}

enum http1_result http1_parser_feed(struct http1_parser *parser, const unsigned char *bytes, size_t length, size_t *consumed)
{
    size_t skipped = 0;
    assert(parser->status == 0);
    *consumed = 0;
    if (parser->complete)
        begin_message(parser);
    uint16_t status = http1_strict_begin(&parser->strict, bytes, length, &skipped);
    if (status != 0)
        return stop(parser, status, "the request does not begin with a method");
    bytes += skipped;
    length -= skipped;
    if (length == 0) {
        *consumed = skipped;
        return HTTP1_MORE;
    }
    if (parser->strict.unknown_method) {
        *consumed = length;
        return read_method(parser, bytes, length);
    }
    if (!parser->head_done && parser->arena.bytes == NULL && length > 2 &&
        buffer_reserve(&parser->arena, length < FIRST_ARENA ? length : FIRST_ARENA) == NULL)
        return stop(parser, 503, NULL);
    enum http1_result result = execute(parser, bytes, length, consumed);
    *consumed += skipped;
    return result;
}
