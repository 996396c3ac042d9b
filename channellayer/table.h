/* table.h: a hash table of nodes that live inside other structs. It knows hashes, not keys: the caller compares.
 *
 * Owner:   whoever embeds it; the nodes are not the table's.
 * Thread:  none of its own; the owner's lock.
 * Limits:  none. Buckets double and halve with the count; where there is no memory to grow, chains get longer instead.
 */
#ifndef PENEUS_CHANNELLAYER_TABLE_H
#define PENEUS_CHANNELLAYER_TABLE_H

#include <stddef.h>
#include <stdint.h>

struct table_node {
    struct table_node *next;
    uint64_t hash;
};

struct table {
    struct table_node **buckets;
    size_t bucket_count; /* 0, or a power of two */
    size_t count;
};

void table_init(struct table *table);

/* The nodes are left as they are. */
void table_deinit(struct table *table);

/* Adds node under hash. 0, or -1 when there is no memory for the first buckets. */
int table_insert(struct table *table, struct table_node *node, uint64_t hash);

/* The node must be in the table. */
void table_remove(struct table *table, struct table_node *node);

/* The nodes of a hash, one after another; NULL at the end. */
struct table_node *table_first(const struct table *table, uint64_t hash);
struct table_node *table_next_same(const struct table_node *node);

/* All nodes: start with *bucket = 0 and node NULL; NULL at the end. Nothing may be inserted or removed meanwhile. */
struct table_node *table_walk(const struct table *table, size_t *bucket, const struct table_node *node);

#endif
