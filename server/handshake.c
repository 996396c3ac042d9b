#include "server/handshake.h"

#include <openssl/evp.h>
#include <string.h>
#include <strings.h>

/* RFC 6455, section 1.3 */
static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

enum { KEY_LENGTH = 24 };

/* The value of the only field called name, or one of length 0. */
static struct piece only_value(const struct http1_head *head, const char *name)
{
    struct piece value = { 0, 0 };
    for (uint32_t i = 0; i < head->field_count; i++) {
        const struct field *field = &head->fields[i];
        if (field->name.length != strlen(name) || memcmp(head->bytes + field->name.offset, name, field->name.length) != 0)
            continue;
        if (value.length != 0)
            return (struct piece){ 0, 0 };
        value = field->value;
    }
    return value;
}

static void accept_value(const unsigned char *key, char accept[HANDSHAKE_ACCEPT_SIZE])
{
    unsigned char text[KEY_LENGTH + sizeof guid - 1];
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    memcpy(text, key, KEY_LENGTH);
    memcpy(text + KEY_LENGTH, guid, sizeof guid - 1);
    EVP_Digest(text, sizeof text, digest, &length, EVP_sha1(), NULL);
    EVP_EncodeBlock((unsigned char *)accept, digest, (int)length);
}

uint16_t handshake_check(const struct http1_head *head, char accept[HANDSHAKE_ACCEPT_SIZE])
{
    if (head->method.length != 3 || memcmp(head->bytes + head->method.offset, "GET", 3) != 0)
        return 405;
    struct piece version = only_value(head, "sec-websocket-version");
    if (version.length != 2 || memcmp(head->bytes + version.offset, "13", 2) != 0)
        return 426;
    struct piece key = only_value(head, "sec-websocket-key");
    unsigned char nonce[KEY_LENGTH];
    const unsigned char *text = head->bytes + key.offset;
    /* 16 bytes in base64: 22 characters and two of padding. */
    if (key.length != KEY_LENGTH || text[KEY_LENGTH - 1] != '=' || text[KEY_LENGTH - 2] != '=' || text[KEY_LENGTH - 3] == '=' ||
        EVP_DecodeBlock(nonce, text, KEY_LENGTH) != 18)
        return 400;
    accept_value(text, accept);
    return 0;
}

int handshake_write(struct buffer *out, const struct command *command, const char *accept, const struct http1_identity *identity)
{
    size_t before = buffer_length(out);
    const struct command_field *fields = (const struct command_field *)(const void *)command->bytes;
    const char *at = (const char *)(fields + command->response.field_count);
    int error = buffer_append_string(out, "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
                                          "sec-websocket-accept: ");
    error |= buffer_append_string(out, accept);
    error |= buffer_append_string(out, "\r\ndate: ");
    error |= buffer_append_string(out, identity->date);
    error |= buffer_append_string(out, "\r\n");
    if (identity->name != NULL) {
        error |= buffer_append_string(out, "server: ");
        error |= buffer_append_string(out, identity->name);
        error |= buffer_append_string(out, "\r\n");
    }
    for (uint32_t i = 0; i < command->response.field_count; i++) {
        error |= buffer_append(out, at, fields[i].name_length);
        error |= buffer_append_string(out, ": ");
        error |= buffer_append(out, at + fields[i].name_length, fields[i].value_length);
        error |= buffer_append_string(out, "\r\n");
        at += fields[i].name_length + fields[i].value_length;
    }
    error |= buffer_append_string(out, "\r\n");
    if (error != 0)
        out->end = out->start + before;
    return error;
}
