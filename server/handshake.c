#include "server/handshake.h"

#include <openssl/evp.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "server/grammar.h"

/* RFC 6455, section 1.3 */
static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

enum { KEY_LENGTH = 24, NONCE_LENGTH = 16 };

static bool field_is(const struct http1_head *head, const struct field *field, const char *name)
{
    return field->name.length == strlen(name) && memcmp(head->bytes + field->name.offset, name, field->name.length) == 0;
}

/* The value of the field called name, if there is exactly one; otherwise one of length 0. */
static struct piece only_value(const struct http1_head *head, const char *name)
{
    struct piece value = { 0, 0 };
    unsigned seen = 0;
    for (uint32_t i = 0; i < head->field_count; i++) {
        if (!field_is(head, &head->fields[i], name))
            continue;
        if (++seen > 1)
            return (struct piece){ 0, 0 };
        value = head->fields[i].value;
    }
    return value;
}

/* One or more tokens, with commas between (RFC 6455, section 4.1; empty elements as in RFC 9110, section 5.6.1.2). */
static bool is_token_list(const unsigned char *bytes, size_t length)
{
    bool in_token = false, after_token = false, any = false;
    for (size_t i = 0; i < length; i++) {
        if (bytes[i] == ',') {
            in_token = after_token = false;
        } else if (bytes[i] == ' ' || bytes[i] == '\t') {
            after_token |= in_token;
            in_token = false;
        } else if (after_token || !grammar_is_token_byte(bytes[i])) {
            return false;
        } else {
            in_token = any = true;
        }
    }
    return any;
}

static bool valid_subprotocols(const struct http1_head *head)
{
    for (uint32_t i = 0; i < head->field_count; i++) {
        const struct field *field = &head->fields[i];
        if (field_is(head, field, "sec-websocket-protocol") &&
            !is_token_list(head->bytes + field->value.offset, field->value.length))
            return false;
    }
    return true;
}

/* 16 bytes in base64: 22 characters and two of padding, whose unused bits are not looked at. */
static bool valid_key(const struct http1_head *head, struct piece key)
{
    unsigned char nonce[NONCE_LENGTH + 2];
    const unsigned char *text = head->bytes + key.offset;
    if (key.length != KEY_LENGTH || text[KEY_LENGTH - 1] != '=' || text[KEY_LENGTH - 2] != '=')
        return false;
    return EVP_DecodeBlock(nonce, text, KEY_LENGTH) == NONCE_LENGTH + 2;
}

static bool make_accept(const unsigned char *key, char accept[HANDSHAKE_ACCEPT_SIZE])
{
    unsigned char text[KEY_LENGTH + sizeof guid - 1];
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    memcpy(text, key, KEY_LENGTH);
    memcpy(text + KEY_LENGTH, guid, sizeof guid - 1);
    if (EVP_Digest(text, sizeof text, digest, &length, EVP_sha1(), NULL) != 1)
        return false;
    EVP_EncodeBlock((unsigned char *)accept, digest, (int)length);
    return true;
}

static bool read_extensions(const struct http1_head *head, const struct server_settings *settings, struct deflate_terms *terms)
{
    *terms = (struct deflate_terms){ .agreed = false };
    for (uint32_t i = 0; i < head->field_count; i++) {
        const struct field *field = &head->fields[i];
        if (field_is(head, field, "sec-websocket-extensions") &&
            deflate_offer(head->bytes + field->value.offset, field->value.length, settings, terms) != 0)
            return false;
    }
    return true;
}

static bool valid_version(const struct http1_head *head)
{
    struct piece version = only_value(head, "sec-websocket-version");
    return version.length == 2 && memcmp(head->bytes + version.offset, "13", 2) == 0;
}

uint16_t handshake_check_stream(const struct http1_head *head, const struct server_settings *settings, struct deflate_terms *terms)
{
    if (!valid_version(head))
        return 426;
    return valid_subprotocols(head) && read_extensions(head, settings, terms) ? 0 : 400;
}

uint16_t handshake_check(const struct http1_head *head, const struct server_settings *settings, char accept[HANDSHAKE_ACCEPT_SIZE],
                         struct deflate_terms *terms)
{
    if (head->method.length != 3 || memcmp(head->bytes + head->method.offset, "GET", 3) != 0)
        return 405;
    if (!valid_version(head))
        return 426;
    struct piece key = only_value(head, "sec-websocket-key");
    if (!valid_key(head, key) || !valid_subprotocols(head) || !read_extensions(head, settings, terms))
        return 400;
    return make_accept(head->bytes + key.offset, accept) ? 0 : 500;
}

bool handshake_is_ours(const char *name, size_t length)
{
    static const char *const names[] = {
        "connection",     "upgrade",           "sec-websocket-accept", "sec-websocket-extensions",
        "content-length", "transfer-encoding", "sec-websocket-key",    "sec-websocket-version",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strlen(names[i]) == length && strncasecmp(names[i], name, length) == 0)
            return true;
    return false;
}

static int append_field(struct buffer *out, const char *name, size_t name_length, const char *value, size_t value_length)
{
    return buffer_append(out, name, name_length) | buffer_append(out, ": ", 2) | buffer_append(out, value, value_length) |
           buffer_append(out, "\r\n", 2);
}

static int append_extensions(struct buffer *out, const struct deflate_terms *terms)
{
    char answer[DEFLATE_ANSWER_SIZE];
    if (!terms->agreed)
        return 0;
    deflate_answer(terms, answer);
    return append_field(out, "sec-websocket-extensions", 24, answer, strlen(answer));
}

int handshake_write(struct buffer *out, const struct command *command, const char *accept, const struct deflate_terms *terms,
                    const struct http1_identity *identity)
{
    size_t before = buffer_length(out);
    const struct command_field *fields = (const struct command_field *)(const void *)command->bytes;
    const char *name = (const char *)(fields + command->response.field_count);
    bool own_date = false, own_server = false;
    int error = buffer_append_string(out, "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n");
    error |= append_field(out, "sec-websocket-accept", 20, accept, strlen(accept));
    error |= append_extensions(out, terms);
    for (uint32_t i = 0; i < command->response.field_count; i++) {
        size_t name_length = fields[i].name_length;
        const char *value = name + name_length;
        own_date |= name_length == 4 && strncasecmp(name, "date", 4) == 0;
        own_server |= name_length == 6 && strncasecmp(name, "server", 6) == 0;
        if (!handshake_is_ours(name, name_length))
            error |= append_field(out, name, name_length, value, fields[i].value_length);
        name = value + fields[i].value_length;
    }
    if (!own_date)
        error |= append_field(out, "date", 4, identity->date, strlen(identity->date));
    if (!own_server && identity->name != NULL)
        error |= append_field(out, "server", 6, identity->name, strlen(identity->name));
    error |= buffer_append(out, "\r\n", 2);
    if (error == 0)
        return 0;
    out->end = out->start + before;
    return -1;
}
