/* census.h: how many connections each address has.
 *
 * Owner:   the server embeds it.
 * Thread:  the I/O thread.
 * Limits:  one entry for each address that has a connection; addresses cannot be chosen such that they collide.
 */
#ifndef PENEUS_SERVER_CENSUS_H
#define PENEUS_SERVER_CENSUS_H

#include <stddef.h>
#include <stdint.h>

#include "server/address.h"

struct census_entry {
    struct census_entry *next; /* of the same bucket */
    struct address origin;
    unsigned count;
};

struct census {
    struct census_entry **buckets; /* NULL until the first comes */
    size_t size;                   /* 0, or a power of two */
    size_t entries;
    uint64_t seed;
};

void census_init(struct census *census);

/* Frees what is left. */
void census_deinit(struct census *census);

/* One connection more from address_origin(address); NULL: there is no memory. */
struct census_entry *census_enter(struct census *census, const struct address *address);

/* One less; entry may be freed. */
void census_leave(struct census *census, struct census_entry *entry);

#endif
