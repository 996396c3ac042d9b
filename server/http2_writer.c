#include "server/http2_writer.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "server/handshake.h"

/* The fields of a head being made: the application's, in lower case in text, and ours. */
struct block {
    nghttp2_nv *fields;
    size_t count;
    char *text;
    char status[4];
    char length[24];
    char extensions[DEFLATE_ANSWER_SIZE];
};

enum { OWN_FIELDS = 8 };

static int block_init(struct block *block, uint32_t field_count, size_t text, uint16_t status)
{
    block->count = 0;
    block->fields = mem_try_alloc((field_count + OWN_FIELDS) * sizeof *block->fields);
    block->text = mem_try_alloc(text + 1);
    snprintf(block->status, sizeof block->status, "%u", status % 1000u);
    return block->fields != NULL && block->text != NULL ? 0 : NGHTTP2_ERR_NOMEM;
}

static void block_deinit(struct block *block)
{
    mem_free(block->fields);
    mem_free(block->text);
}

static void add(struct block *block, const char *name, size_t name_length, const char *value, size_t value_length)
{
    block->fields[block->count++] = (nghttp2_nv){ (uint8_t *)name, (uint8_t *)value, name_length, value_length, NGHTTP2_NV_FLAG_NONE };
}

static void add_string(struct block *block, const char *name, const char *value)
{
    add(block, name, strlen(name), value, strlen(value));
}

/* RFC 9113, 8.2.2: fields of a connection. The others of that kind are passed over for HTTP/1 too. */
static bool is_of_connection(const char *name, size_t length)
{
    return (length == 7 && strncasecmp(name, "upgrade", 7) == 0) || (length == 16 && strncasecmp(name, "proxy-connection", 16) == 0);
}

static const char *lower(struct block *block, size_t *used, const char *name, size_t length)
{
    char *result = block->text + *used;
    for (size_t i = 0; i < length; i++)
        result[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] | 0x20 : name[i]);
    *used += length;
    return result;
}

/* The application's fields; of a handshake's, those that are not the server's own. */
static void add_fields(struct block *block, const struct command *command, struct http1_response *response, bool handshake,
                       struct http1_own *own)
{
    const struct command_field *fields = (const struct command_field *)(const void *)command->bytes;
    const char *name = (const char *)(fields + command->response.field_count);
    size_t used = 0;
    for (uint32_t i = 0; i < command->response.field_count; i++) {
        size_t name_length = fields[i].name_length;
        const char *value = name + name_length;
        bool wanted = http1_note_field(response, own, command->response.status, name, name_length, value, fields[i].value_length) &&
                      !is_of_connection(name, name_length) && !(handshake && handshake_is_ours(name, name_length));
        if (wanted)
            add(block, lower(block, &used, name, name_length), name_length, value, fields[i].value_length);
        name = value + fields[i].value_length;
    }
}

static void add_identity(struct block *block, const struct http1_own *own, const struct http1_identity *identity)
{
    if (!own->date)
        add_string(block, "date", identity->date);
    if (!own->server && identity->name != NULL)
        add_string(block, "server", identity->name);
}

static void add_length(struct block *block, uint64_t length)
{
    snprintf(block->length, sizeof block->length, "%llu", (unsigned long long)length);
    add_string(block, "content-length", block->length);
}

static void add_framing(struct block *block, struct http1_response *response, const struct command *command)
{
    uint16_t status = command->response.status;
    size_t body = command->length - command->response.head_length;
    if (status == 205)
        add_length(block, 0);
    if (response->has_length || status < 200 || status == 204 || status == 205 || status == 304 || command->response.more)
        return;
    if (response->head && body == 0)
        return; /* the length that GET would have had is not known */
    response->has_length = true;
    response->expected = body;
    add_length(block, body);
}

int http2_write_head(nghttp2_session *session, int32_t stream, struct http1_response *response, const struct command *command,
                     const struct http1_identity *identity, const nghttp2_data_provider *body)
{
    struct block block;
    struct http1_own own = { false, false };
    uint16_t status = command->response.status;
    response->without_body = response->head || status < 200 || status == 204 || status == 205 || status == 304;
    int error = block_init(&block, command->response.field_count, command->response.head_length, status);
    if (error == 0) {
        add_string(&block, ":status", block.status);
        add_fields(&block, command, response, false, &own);
        add_framing(&block, response, command);
        add_identity(&block, &own, identity);
        bool empty = !command->response.more && command->length == command->response.head_length && !response->trailers;
        bool short_of = response->has_length && response->expected > 0 && !response->without_body; /* it must not look complete */
        error = nghttp2_submit_response(session, stream, block.fields, block.count, empty && !short_of ? NULL : body);
    }
    block_deinit(&block);
    return error;
}

int http2_write_accept(nghttp2_session *session, int32_t stream, const struct command *command, const struct deflate_terms *terms,
                       const struct http1_identity *identity, const nghttp2_data_provider *data)
{
    struct block block;
    struct http1_own own = { false, false };
    struct http1_response response = { .minor = 1 };
    int error = block_init(&block, command->response.field_count, command->response.head_length, 200);
    if (error == 0) {
        add_string(&block, ":status", block.status);
        if (terms->agreed) {
            deflate_answer(terms, block.extensions);
            add_string(&block, "sec-websocket-extensions", block.extensions);
        }
        add_fields(&block, command, &response, true, &own);
        add_identity(&block, &own, identity);
        error = nghttp2_submit_response(session, stream, block.fields, block.count, data);
    }
    block_deinit(&block);
    return error;
}

int http2_write_error(nghttp2_session *session, int32_t stream, uint16_t status, size_t length, const struct http1_identity *identity,
                      const nghttp2_data_provider *body)
{
    struct block block;
    int error = block_init(&block, 0, 0, status);
    if (error == 0) {
        add_string(&block, ":status", block.status);
        add_string(&block, "content-type", "text/plain; charset=utf-8");
        add_length(&block, length);
        add_identity(&block, &(struct http1_own){ false, false }, identity);
        if (status == 426)
            add_string(&block, "sec-websocket-version", "13");
        if (status == 503)
            add_string(&block, "retry-after", "5");
        error = nghttp2_submit_response(session, stream, block.fields, block.count, body);
    }
    block_deinit(&block);
    return error;
}

/* A command's fields as they are. */
static void add_section(struct block *block, const struct command *command)
{
    struct http1_response response = { .minor = 1 };
    struct http1_own own;
    add_fields(block, command, &response, false, &own);
}

static int submit_hint(nghttp2_session *session, int32_t stream, const struct block *block)
{
    int32_t result = nghttp2_submit_headers(session, NGHTTP2_FLAG_NONE, stream, NULL, block->fields, block->count, NULL);
    return result < 0 ? result : 0;
}

int http2_write_hint(nghttp2_session *session, int32_t stream, const struct command *command)
{
    struct block block;
    int error = block_init(&block, command->response.field_count, command->response.head_length, command->response.status);
    if (error == 0) {
        add_string(&block, ":status", block.status);
        add_section(&block, command);
        error = submit_hint(session, stream, &block);
    }
    block_deinit(&block);
    return error;
}

int http2_write_trailers(nghttp2_session *session, int32_t stream, const struct command *command)
{
    struct block block;
    int error = block_init(&block, command->response.field_count, command->response.head_length, 0);
    if (error == 0) {
        add_section(&block, command);
        error = nghttp2_submit_trailer(session, stream, block.fields, block.count);
    }
    block_deinit(&block);
    return error;
}

int http2_write_continue(nghttp2_session *session, int32_t stream)
{
    struct block block;
    int error = block_init(&block, 0, 0, 100);
    if (error == 0) {
        add_string(&block, ":status", block.status);
        error = submit_hint(session, stream, &block);
    }
    block_deinit(&block);
    return error;
}
