#include "channellayer/table.h"

#include <assert.h>

#include "base/alloc.h"

enum { FEWEST_BUCKETS = 16 };

void table_init(struct table *table)
{
    table->buckets = NULL;
    table->bucket_count = 0;
    table->count = 0;
}

void table_deinit(struct table *table)
{
    mem_free(table->buckets);
    table_init(table);
}

static struct table_node **bucket_of(const struct table *table, uint64_t hash)
{
    return &table->buckets[hash & (table->bucket_count - 1)];
}

static int resize(struct table *table, size_t bucket_count)
{
    struct table_node **buckets = mem_try_alloc(bucket_count * sizeof *buckets);
    if (buckets == NULL)
        return -1;
    for (size_t i = 0; i < bucket_count; i++)
        buckets[i] = NULL;
    struct table old = *table;
    table->buckets = buckets;
    table->bucket_count = bucket_count;
    for (size_t i = 0; i < old.bucket_count; i++) {
        struct table_node *node = old.buckets[i];
        while (node != NULL) {
            struct table_node *next = node->next;
            struct table_node **bucket = bucket_of(table, node->hash);
            node->next = *bucket;
            *bucket = node;
            node = next;
        }
    }
    mem_free(old.buckets);
    return 0;
}

int table_insert(struct table *table, struct table_node *node, uint64_t hash)
{
    if (table->bucket_count == 0) {
        if (resize(table, FEWEST_BUCKETS) != 0)
            return -1;
    } else if (table->count >= table->bucket_count) {
        (void)resize(table, table->bucket_count * 2);
    }
    struct table_node **bucket = bucket_of(table, hash);
    node->hash = hash;
    node->next = *bucket;
    *bucket = node;
    table->count++;
    return 0;
}

void table_remove(struct table *table, struct table_node *node)
{
    struct table_node **link = bucket_of(table, node->hash);
    while (*link != node) {
        assert(*link != NULL);
        link = &(*link)->next;
    }
    *link = node->next;
    node->next = NULL;
    table->count--;
    if (table->bucket_count > FEWEST_BUCKETS && table->count < table->bucket_count / 8)
        (void)resize(table, table->bucket_count / 2);
}

static struct table_node *skip_others(struct table_node *node, uint64_t hash)
{
    while (node != NULL && node->hash != hash)
        node = node->next;
    return node;
}

struct table_node *table_first(const struct table *table, uint64_t hash)
{
    return table->bucket_count > 0 ? skip_others(*bucket_of(table, hash), hash) : NULL;
}

struct table_node *table_next_same(const struct table_node *node)
{
    return skip_others(node->next, node->hash);
}

struct table_node *table_walk(const struct table *table, size_t *bucket, const struct table_node *node)
{
    struct table_node *next = node != NULL ? node->next : NULL;
    while (next == NULL && *bucket < table->bucket_count)
        next = table->buckets[(*bucket)++];
    return next;
}
