#include "server/address.h"

#include <arpa/inet.h>
#include <string.h>

static const unsigned char v4_prefix[12] = { [10] = 0xff, [11] = 0xff };

struct address address_from_v4(const void *bytes)
{
    struct address address;
    memcpy(address.bytes, v4_prefix, sizeof v4_prefix);
    memcpy(address.bytes + sizeof v4_prefix, bytes, 4);
    return address;
}

int address_parse(struct address *address, const char *text, size_t length)
{
    char copy[ADDRESS_TEXT_SIZE];
    unsigned char v4[4];
    if (length == 0 || length >= sizeof copy || memchr(text, '\0', length) != NULL)
        return -1;
    memcpy(copy, text, length);
    copy[length] = '\0';
    if (inet_pton(AF_INET, copy, v4) == 1) {
        *address = address_from_v4(v4);
        return 0;
    }
    return inet_pton(AF_INET6, copy, address->bytes) == 1 ? 0 : -1;
}

bool address_is_v4(const struct address *address)
{
    return memcmp(address->bytes, v4_prefix, sizeof v4_prefix) == 0;
}

void address_text(const struct address *address, char text[ADDRESS_TEXT_SIZE])
{
    if (address_is_v4(address))
        inet_ntop(AF_INET, address->bytes + sizeof v4_prefix, text, ADDRESS_TEXT_SIZE);
    else
        inet_ntop(AF_INET6, address->bytes, text, ADDRESS_TEXT_SIZE);
}

bool address_matches(const struct address *address, const struct address *network, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;
    if (memcmp(address->bytes, network->bytes, whole) != 0)
        return false;
    return rest == 0 || (address->bytes[whole] ^ network->bytes[whole]) >> (8 - rest) == 0;
}

struct address address_origin(const struct address *address)
{
    struct address origin = *address;
    if (!address_is_v4(address))
        memset(origin.bytes + 8, 0, 8);
    return origin;
}
