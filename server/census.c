#include "server/census.h"

#include <assert.h>
#include <string.h>
#include <uv.h>

#include "base/alloc.h"

enum { FIRST_SIZE = 64 };

void census_init(struct census *census)
{
    *census = (struct census){ .buckets = NULL };
    if (uv_random(NULL, NULL, &census->seed, sizeof census->seed, 0, NULL) != 0)
        census->seed = uv_hrtime();
}

void census_deinit(struct census *census)
{
    for (size_t i = 0; i < census->size; i++) {
        for (struct census_entry *entry = census->buckets[i], *next; entry != NULL; entry = next) {
            next = entry->next;
            mem_free(entry);
        }
    }
    mem_free(census->buckets);
    *census = (struct census){ .buckets = NULL };
}

static uint64_t mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ (hash >> 29);
}

static struct census_entry **bucket_of(const struct census *census, const struct address *origin)
{
    uint64_t words[2];
    memcpy(words, origin->bytes, sizeof words);
    uint64_t hash = mix(mix(mix(census->seed, words[0]), words[1]), census->seed);
    return &census->buckets[(hash >> 32) & (census->size - 1)];
}

/* 0, or -1: there is no memory, and what there is stays. */
static int grow(struct census *census)
{
    size_t size = census->size != 0 ? 2 * census->size : FIRST_SIZE;
    struct census_entry **buckets = mem_try_alloc(size * sizeof(struct census_entry *));
    if (buckets == NULL)
        return -1;
    struct census before = *census;
    memset(buckets, 0, size * sizeof(struct census_entry *));
    census->buckets = buckets;
    census->size = size;
    for (size_t i = 0; i < before.size; i++) {
        for (struct census_entry *entry = before.buckets[i], *next; entry != NULL; entry = next) {
            next = entry->next;
            struct census_entry **bucket = bucket_of(census, &entry->origin);
            entry->next = *bucket;
            *bucket = entry;
        }
    }
    mem_free(before.buckets);
    return 0;
}

struct census_entry *census_enter(struct census *census, const struct address *address)
{
    struct address origin = address_origin(address);
    if (census->entries >= census->size && grow(census) != 0 && census->size == 0)
        return NULL;
    struct census_entry **bucket = bucket_of(census, &origin);
    struct census_entry *entry = *bucket;
    while (entry != NULL && memcmp(&entry->origin, &origin, sizeof origin) != 0)
        entry = entry->next;
    if (entry == NULL) {
        entry = mem_try_alloc(sizeof *entry);
        if (entry == NULL)
            return NULL;
        *entry = (struct census_entry){ .next = *bucket, .origin = origin };
        *bucket = entry;
        census->entries++;
    }
    entry->count++;
    return entry;
}

void census_leave(struct census *census, struct census_entry *entry)
{
    assert(entry->count > 0);
    if (--entry->count > 0)
        return;
    struct census_entry **link = bucket_of(census, &entry->origin);
    while (*link != entry)
        link = &(*link)->next;
    *link = entry->next;
    census->entries--;
    mem_free(entry);
}
