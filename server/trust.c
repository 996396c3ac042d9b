#include "server/trust.h"

#include <string.h>

#include "base/alloc.h"

struct trust_network {
    struct address address;
    unsigned bits;
};

/* "ADDRESS" or "ADDRESS/BITS": 0, or -1. */
static int read_network(struct trust_network *network, const char *text, size_t length)
{
    const char *slash = memchr(text, '/', length);
    size_t own = slash != NULL ? (size_t)(slash - text) : length;
    if (address_parse(&network->address, text, own) != 0)
        return -1;
    bool v4 = address_is_v4(&network->address) && memchr(text, ':', own) == NULL;
    unsigned most = v4 ? 32 : 128, bits = most;
    if (slash != NULL) {
        if (length - own < 2 || length - own > 4)
            return -1;
        bits = 0;
        for (const char *digit = slash + 1; digit < text + length; digit++) {
            if (*digit < '0' || *digit > '9')
                return -1;
            bits = bits * 10 + (unsigned)(*digit - '0');
        }
    }
    network->bits = bits + (v4 ? ADDRESS_V4_PREFIX : 0);
    return bits <= most ? 0 : -1;
}

static int read_entry(struct trust *trust, const char *text, size_t length)
{
    if (length == 1 && *text == '*')
        trust->anyone = true;
    else if (length == 4 && memcmp(text, "unix", 4) == 0)
        trust->local = true;
    else if (read_network(&trust->networks[trust->count], text, length) == 0)
        trust->count++;
    else
        return -1;
    return 0;
}

enum trust_error trust_init(struct trust *trust, const char *list)
{
    *trust = (struct trust){ .networks = NULL };
    if (list == NULL || *list == '\0')
        return TRUST_OK;
    size_t entries = 1;
    for (const char *at = list; *at != '\0'; at++)
        entries += *at == ',';
    trust->networks = mem_try_alloc(entries * sizeof *trust->networks);
    if (trust->networks == NULL)
        return TRUST_NO_MEMORY;
    while (list != NULL) {
        const char *comma = strchr(list, ',');
        if (read_entry(trust, list, comma != NULL ? (size_t)(comma - list) : strlen(list)) != 0) {
            trust_deinit(trust);
            return TRUST_WRONG;
        }
        list = comma != NULL ? comma + 1 : NULL;
    }
    return TRUST_OK;
}

void trust_deinit(struct trust *trust)
{
    mem_free(trust->networks);
    *trust = (struct trust){ .networks = NULL };
}

bool trust_has(const struct trust *trust, const struct address *address)
{
    for (size_t i = 0; i < trust->count; i++)
        if (address_matches(address, &trust->networks[i].address, trust->networks[i].bits))
            return true;
    return trust->anyone;
}

bool trust_has_local(const struct trust *trust)
{
    return trust->local || trust->anyone;
}
