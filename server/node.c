#include "server/node.h"

#include <string.h>
#include <strings.h>

enum { HOST_LIMIT = 255 };

static bool is_obfuscated(struct text text)
{
    if (text.length < 2 || *text.at != '_')
        return false;
    for (size_t i = 1; i < text.length; i++)
        if (memchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-", text.at[i], 65) == NULL)
            return false;
    return true;
}

bool node_port(struct text text, uint16_t *port)
{
    unsigned value = 0;
    for (size_t i = 0; i < text.length; i++) {
        if (text.at[i] < '0' || text.at[i] > '9' || i == 5)
            return false;
        value = value * 10 + (unsigned)(text.at[i] - '0');
    }
    *port = (uint16_t)value;
    return text.length > 0 && value <= 65535;
}

enum node node_read(struct text text, struct address *address, uint16_t *port)
{
    struct text host = text, behind = { NULL, 0 };
    *port = 0;
    if (text.length > 0 && *text.at == '[') {
        const char *end = memchr(text.at, ']', text.length);
        if (end == NULL)
            return NODE_BAD;
        host = (struct text){ text.at + 1, (size_t)(end - text.at) - 1 };
        behind = (struct text){ end + 1, text.length - host.length - 2 };
        if (memchr(host.at, ':', host.length) == NULL || (behind.length > 0 && *behind.at != ':'))
            return NODE_BAD;
    } else {
        const char *colon = memchr(text.at, ':', text.length);
        if (colon != NULL && memchr(colon + 1, ':', text.length - (size_t)(colon - text.at) - 1) == NULL) {
            host.length = (size_t)(colon - text.at);
            behind = (struct text){ colon, text.length - host.length };
        }
    }
    if (behind.length > 0) {
        behind = (struct text){ behind.at + 1, behind.length - 1 };
        if (!node_port(behind, port) && !is_obfuscated(behind))
            return NODE_BAD;
    }
    if (address_parse(address, host.at, host.length) == 0)
        return NODE_ADDRESS;
    return is_obfuscated(host) || (host.length == 7 && strncasecmp(host.at, "unknown", 7) == 0) ? NODE_HIDDEN : NODE_BAD;
}

bool node_is_host(struct text text)
{
    struct text port = { NULL, 0 };
    struct address address;
    uint16_t number;
    const char *colon = memrchr(text.at, ':', text.length);
    if (text.length == 0 || text.length > HOST_LIMIT)
        return false;
    if (colon != NULL && text.at[text.length - 1] != ']') {
        port = (struct text){ colon + 1, text.length - (size_t)(colon - text.at) - 1 };
        text.length = (size_t)(colon - text.at);
        if (!node_port(port, &number))
            return false;
    }
    if (text.length > 2 && *text.at == '[' && text.at[text.length - 1] == ']')
        return memchr(text.at, '.', text.length) == NULL && address_parse(&address, text.at + 1, text.length - 2) == 0;
    for (size_t i = 0; i < text.length; i++)
        if (memchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_", text.at[i], 65) == NULL)
            return false;
    return text.length > 0;
}
