#include "server/http2_head.h"

#include <string.h>

#include "base/alloc.h"
#include "server/grammar.h"

enum {
    FIRST_FIELDS = 16,
    ARENA_LIMIT = 0x7fffffff, /* pieces have 32 bits; it matters only where the limits are switched off */
};

void http2_head_init(struct http2_head *head)
{
    memset(head, 0, sizeof *head);
}

void http2_head_deinit(struct http2_head *head)
{
    buffer_deinit(&head->arena);
    buffer_deinit(&head->cookie);
    mem_free(head->fields);
    head->fields = NULL;
    head->field_count = head->field_capacity = 0;
}

static void fail(struct http2_head *head, uint16_t status)
{
    if (head->status == 0)
        head->status = status;
}

static bool is(const unsigned char *bytes, size_t length, const char *text)
{
    return length == strlen(text) && memcmp(bytes, text, length) == 0;
}

/* Where nothing was kept there is no arena. */
static bool piece_is(const struct http2_head *head, struct piece piece, const char *text)
{
    return piece.length > 0 && is(head->arena.bytes + piece.offset, piece.length, text);
}

static struct piece keep(struct http2_head *head, const unsigned char *bytes, size_t length)
{
    struct piece piece = { (uint32_t)head->arena.end, (uint32_t)length };
    if (length > ARENA_LIMIT - head->arena.end)
        fail(head, 431);
    else if (buffer_append(&head->arena, bytes, length) != 0)
        fail(head, 503);
    return head->status == 0 ? piece : (struct piece){ 0, 0 };
}

static void keep_field(struct http2_head *head, struct piece name, struct piece value)
{
    if (head->field_count == head->field_capacity) {
        uint32_t capacity = head->field_capacity != 0 ? head->field_capacity * 2 : FIRST_FIELDS;
        struct field *fields = mem_try_realloc(head->fields, capacity * sizeof *fields);
        if (fields == NULL) {
            fail(head, 503);
            return;
        }
        head->fields = fields;
        head->field_capacity = capacity;
    }
    head->fields[head->field_count++] = (struct field){ name, value };
}

static void add_pseudo(struct http2_head *head, const struct server_settings *settings, const unsigned char *name, size_t name_length,
                       const unsigned char *value, size_t value_length)
{
    if (is(name, name_length, ":method")) {
        head->method = keep(head, value, value_length);
        head->is_connect = is(value, value_length, "CONNECT");
        head->is_head = is(value, value_length, "HEAD");
    } else if (is(name, name_length, ":path")) {
        bool too_long = settings->max_target_size != 0 && value_length > settings->max_target_size;
        head->target = keep(head, value, too_long ? settings->max_target_size : value_length); /* for the log */
        if (too_long)
            fail(head, 414);
    } else if (is(name, name_length, ":authority")) {
        head->authority = keep(head, value, value_length);
    } else if (is(name, name_length, ":protocol")) {
        head->protocol = keep(head, value, value_length);
    }
}

/* RFC 9113, 8.2.3: an application gets one field, as it would from HTTP/1. */
static void add_cookie(struct http2_head *head, const unsigned char *value, size_t length)
{
    bool first = buffer_length(&head->cookie) == 0;
    if ((!first && buffer_append(&head->cookie, "; ", 2) != 0) || buffer_append(&head->cookie, value, length) != 0)
        fail(head, 503);
}

static uint64_t number(const unsigned char *bytes, size_t length)
{
    uint64_t result = 0;
    for (size_t i = 0; i < length; i++) {
        if (result > UINT64_MAX / 10 - 1)
            return UINT64_MAX;
        result = result * 10 + (uint64_t)(bytes[i] - '0');
    }
    return result;
}

/* What a field means to the server. false: it is not the application's. */
static bool judge(struct http2_head *head, const struct server_settings *settings, const unsigned char *name, size_t name_length,
                  const unsigned char *value, size_t value_length)
{
    /* See http1_parser.c: NEL splits lines where a value is read as Latin-1. */
    if (memchr(value, 0x85, value_length) != NULL)
        fail(head, 400);
    if (memchr(name, '_', name_length) != NULL)
        return false;
    if (is(name, name_length, "cookie")) {
        add_cookie(head, value, value_length);
        return false;
    }
    if (is(name, name_length, "host")) {
        if (head->host.length != 0)
            fail(head, 400);
        head->host = keep(head, value, value_length);
        return false;
    }
    if (is(name, name_length, "content-length")) {
        if (settings->max_body_size != 0 && number(value, value_length) > settings->max_body_size)
            fail(head, 413);
    }
    if (is(name, name_length, "expect"))
        head->expect_continue = is(value, value_length, "100-continue");
    return true;
}

void http2_head_skip(struct http2_head *head, size_t name_length, size_t value_length)
{
    head->bytes += name_length + value_length;
    head->count++;
}

bool http2_head_exceeds(const struct http2_head *head, const struct server_settings *settings, unsigned times)
{
    return (settings->max_header_size != 0 && head->bytes / times > settings->max_header_size) ||
           (settings->max_header_count != 0 && head->count / times > settings->max_header_count);
}

void http2_head_add(struct http2_head *head, const struct server_settings *settings, const unsigned char *name, size_t name_length,
                    const unsigned char *value, size_t value_length)
{
    bool pseudo = name_length > 0 && name[0] == ':';
    if (!pseudo) /* a target has a limit of its own, and nghttp2 takes no pseudo-field twice */
        http2_head_skip(head, name_length, value_length);
    if (head->status != 0)
        return;
    if (pseudo) {
        add_pseudo(head, settings, name, name_length, value, value_length);
        return;
    }
    if (http2_head_exceeds(head, settings, 1)) {
        fail(head, 431);
        return;
    }
    if (!judge(head, settings, name, name_length, value, value_length) || head->status != 0)
        return;
    struct piece kept_name = keep(head, name, name_length);
    struct piece kept_value = keep(head, value, value_length);
    if (head->status == 0)
        keep_field(head, kept_name, kept_value);
}

/* The host is :authority, which HTTP/1 calls Host; where both came they must be the same. */
static void finish_host(struct http2_head *head)
{
    const unsigned char *bytes = head->arena.bytes;
    struct piece host = head->authority.length != 0 ? head->authority : head->host;
    bool same = head->authority.length == 0 || head->host.length == 0 ||
                (head->authority.length == head->host.length &&
                 memcmp(bytes + head->authority.offset, bytes + head->host.offset, host.length) == 0);
    if (!same || !grammar_is_host(bytes + host.offset, host.length)) {
        fail(head, 400);
        return;
    }
    struct piece name = keep(head, (const unsigned char *)"host", 4);
    if (head->status == 0)
        keep_field(head, name, host);
    if (head->status != 0)
        return;
    /* First, as most clients of HTTP/1 send it. */
    struct field last = head->fields[head->field_count - 1];
    memmove(head->fields + 1, head->fields, (head->field_count - 1) * sizeof last);
    head->fields[0] = last;
}

static void finish_cookie(struct http2_head *head)
{
    if (buffer_length(&head->cookie) == 0)
        return;
    struct piece name = keep(head, (const unsigned char *)"cookie", 6);
    struct piece value = keep(head, buffer_bytes(&head->cookie), buffer_length(&head->cookie));
    if (head->status == 0)
        keep_field(head, name, value);
}

static void judge_target(struct http2_head *head)
{
    if (piece_is(head, head->target, "*") && piece_is(head, head->method, "OPTIONS"))
        return;
    const unsigned char *text = head->target.length > 0 ? head->arena.bytes + head->target.offset : NULL;
    if (text == NULL || text[0] != '/' || !grammar_is_path_and_query(text, head->target.length))
        fail(head, 400);
}

uint16_t http2_head_finish(struct http2_head *head, bool has_body, struct http1_head *result)
{
    bool websocket = head->is_connect && piece_is(head, head->protocol, "websocket");
    if (head->status == 0 && head->is_connect && !websocket)
        fail(head, 501);
    if (head->status == 0)
        judge_target(head);
    if (head->status == 0)
        finish_host(head);
    if (head->status == 0)
        finish_cookie(head);
    if (head->status != 0)
        return head->status;
    *result = (struct http1_head){
        .bytes = head->arena.bytes,
        .length = head->arena.end,
        .method = head->method,
        .target = head->target,
        .fields = head->fields,
        .field_count = head->field_count,
        .major = 2,
        .keep_alive = true,
        .has_body = has_body && !websocket,
        .expect_continue = head->expect_continue && has_body && !websocket,
        .upgrade_websocket = websocket,
    };
    return 0;
}
