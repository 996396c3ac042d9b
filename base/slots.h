/* slots.h: objects named by an id (slot + generation), so that a late caller finds nothing instead of freed memory.
 *
 * Owner:   whoever embeds it; the objects are not the table's.
 * Thread:  none of its own; the owner's thread or lock.
 * Limits:  2^32 - 1 slots; an id is used again only after 2^32 uses of its slot.
 */
#ifndef PENEUS_BASE_SLOTS_H
#define PENEUS_BASE_SLOTS_H

#include <stddef.h>
#include <stdint.h>

struct slot; /* slots.c */

struct slots {
    struct slot *slots;
    uint32_t capacity;
    uint32_t count;
    uint32_t free_head;
};

void slots_init(struct slots *table);
void slots_deinit(struct slots *table);

/* Stores object (never NULL) and returns its id, never 0; 0 when there is no memory. */
uint64_t slots_add(struct slots *table, void *object);

/* The object that id names, or NULL when it was removed. */
void *slots_get(const struct slots *table, uint64_t id);

/* Frees id; a stale id does nothing. */
void slots_remove(struct slots *table, uint64_t id);

/* Walks the table: start with *cursor = 0; NULL at the end. Removing the object just returned is allowed. */
void *slots_next(const struct slots *table, uint32_t *cursor);

/* The slot of an id, below the table's capacity: an index for a table that goes beside this one. */
static inline uint32_t slots_index(uint64_t id)
{
    return (uint32_t)(id & 0xffffffffu);
}

#endif
