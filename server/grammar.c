#include "server/grammar.h"

#include <arpa/inet.h>
#include <string.h>

bool grammar_is_token_byte(unsigned char byte)
{
    if ((byte >= '0' && byte <= '9') || ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'z'))
        return true;
    return byte != 0 && strchr("!#$%&'*+-.^_`|~", byte) != NULL;
}

static bool is_hex(unsigned char byte)
{
    return (byte >= '0' && byte <= '9') || ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'f');
}

/* unreserved, sub-delims and pct-encoded (RFC 3986, 3.2.2), without the comma, which would make a list of it. */
static size_t name_length(const unsigned char *bytes, size_t length)
{
    size_t i = 0;
    while (i < length) {
        if (bytes[i] == '%') {
            if (length - i < 3 || !is_hex(bytes[i + 1]) || !is_hex(bytes[i + 2]))
                return i;
            i += 3;
        } else if (grammar_is_token_byte(bytes[i]) ? strchr("#^`|", bytes[i]) == NULL : bytes[i] != 0 && strchr("();=", bytes[i]) != NULL) {
            i++;
        } else {
            return i;
        }
    }
    return i;
}

/* "[", an IPv6 address, "]"; 0 if it is none. */
static size_t literal_length(const unsigned char *bytes, size_t length)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr address;
    const unsigned char *end = memchr(bytes, ']', length);
    if (end == NULL || (size_t)(end - bytes) > sizeof text || memchr(bytes, 0, (size_t)(end - bytes)) != NULL)
        return 0;
    size_t inside = (size_t)(end - bytes) - 1;
    memcpy(text, bytes + 1, inside);
    text[inside] = 0;
    return inet_pton(AF_INET6, text, &address) == 1 ? inside + 2 : 0;
}

static bool is_port(const unsigned char *bytes, size_t length)
{
    unsigned port = 0;
    for (size_t i = 0; i < length; i++) {
        if (bytes[i] < '0' || bytes[i] > '9')
            return false;
        port = port * 10 + (bytes[i] - '0');
        if (port > 65535)
            return false;
    }
    return true;
}

bool grammar_is_host(const unsigned char *bytes, size_t length)
{
    if (length == 0)
        return true;
    size_t end = bytes[0] == '[' ? literal_length(bytes, length) : name_length(bytes, length);
    if (bytes[0] == '[' && end == 0)
        return false;
    return end == length || (bytes[end] == ':' && end > 0 && is_port(bytes + end + 1, length - end - 1));
}

bool grammar_is_path_byte(unsigned char byte)
{
    return byte > ' ' && byte < 0x7f && strchr("\"<>\\`{}#?", byte) == NULL;
}

bool grammar_is_path_and_query(const unsigned char *bytes, size_t length)
{
    size_t i = 0;
    while (i < length && grammar_is_path_byte(bytes[i]))
        i++;
    return i == length || (bytes[i] == '?' && memchr(bytes + i, '#', length - i) == NULL);
}
