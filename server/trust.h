/* trust.h: the peers whose word about their clients counts: --trusted-proxies.
 *
 * Owner:   the server embeds it.
 * Thread:  made before the I/O thread starts; then any, as it does not change.
 * Limits:  none: the operator writes it.
 */
#ifndef PENEUS_SERVER_TRUST_H
#define PENEUS_SERVER_TRUST_H

#include <stdbool.h>
#include <stddef.h>

#include "server/address.h"

struct trust {
    struct trust_network *networks;
    size_t count;
    bool local;  /* "unix": clients of Unix sockets */
    bool anyone; /* "*" */
};

enum trust_error {
    TRUST_OK = 0,
    TRUST_WRONG = -1,     /* something in the list is no address, network, "unix" or "*" */
    TRUST_NO_MEMORY = -2,
};

/* Reads a list such as "127.0.0.1,10.0.0.0/8,2001:db8::/32,unix"; NULL and "" are nobody. With an error trust is empty. */
enum trust_error trust_init(struct trust *trust, const char *list);
void trust_deinit(struct trust *trust);

bool trust_has(const struct trust *trust, const struct address *address);

/* Clients of Unix sockets. */
bool trust_has_local(const struct trust *trust);

#endif
