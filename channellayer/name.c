#include "channellayer/name.h"

#include "base/hash.h"

enum { RANDOM_DIGITS = 32 };

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

static bool ends_at_random(struct name name)
{
    if (name.length <= RANDOM_DIGITS || name.bytes[name.length - RANDOM_DIGITS - 1] != '.')
        return false;
    for (size_t i = name.length - RANDOM_DIGITS; i < name.length; i++)
        if (!is_hex(name.bytes[i]))
            return false;
    return true;
}

bool name_is_local(struct name name, struct name prefix)
{
    if (memchr(name.bytes, '!', name.length) != NULL)
        return true;
    return prefix.length > 0 && name.length > prefix.length && memcmp(name.bytes, prefix.bytes, prefix.length) == 0 &&
           ends_at_random(name);
}

uint64_t name_hash(struct name name)
{
    return hash_bytes(name.bytes, name.length);
}
