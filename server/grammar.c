#include "server/grammar.h"

#include <string.h>

bool grammar_is_token_byte(unsigned char byte)
{
    if ((byte >= '0' && byte <= '9') || ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'z'))
        return true;
    return byte != 0 && strchr("!#$%&'*+-.^_`|~", byte) != NULL;
}

bool grammar_is_host(const unsigned char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (bytes[i] <= ' ' || bytes[i] >= 0x7f || strchr("/?#@\\,\"<>^`{|}", bytes[i]) != NULL)
            return false;
    return true;
}
