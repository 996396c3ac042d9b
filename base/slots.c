#include "base/slots.h"

#include <assert.h>

#include "base/alloc.h"

enum { FIRST_CAPACITY = 16 };
#define NO_SLOT UINT32_MAX

struct slot {
    void *object;        /* NULL: free */
    uint32_t generation; /* of the object here, or of the next one; never 0, so no id is 0 */
    uint32_t next_free;  /* while free: NO_SLOT ends the list */
};

void slots_init(struct slots *table)
{
    table->slots = NULL;
    table->capacity = 0;
    table->count = 0;
    table->free_head = NO_SLOT;
}

void slots_deinit(struct slots *table)
{
    mem_free(table->slots);
    slots_init(table);
}

static int grow(struct slots *table)
{
    uint32_t capacity;
    if (table->capacity == 0)
        capacity = FIRST_CAPACITY;
    else if (table->capacity <= NO_SLOT / 2)
        capacity = table->capacity * 2;
    else
        return -1;
    struct slot *slots = mem_try_realloc(table->slots, capacity * sizeof *slots);
    if (slots == NULL)
        return -1;
    for (uint32_t i = table->capacity; i < capacity; i++)
        slots[i] = (struct slot){ .generation = 1, .next_free = i + 1 < capacity ? i + 1 : NO_SLOT };
    table->free_head = table->capacity;
    table->slots = slots;
    table->capacity = capacity;
    return 0;
}

uint64_t slots_add(struct slots *table, void *object)
{
    assert(object != NULL);
    if (table->free_head == NO_SLOT && grow(table) != 0)
        return 0;
    uint32_t index = table->free_head;
    struct slot *slot = &table->slots[index];
    table->free_head = slot->next_free;
    slot->object = object;
    table->count++;
    return (uint64_t)slot->generation << 32 | index;
}

static struct slot *find(const struct slots *table, uint64_t id)
{
    uint32_t index = slots_index(id);
    if (index >= table->capacity)
        return NULL;
    struct slot *slot = &table->slots[index];
    return slot->object != NULL && slot->generation == (uint32_t)(id >> 32) ? slot : NULL;
}

void *slots_get(const struct slots *table, uint64_t id)
{
    struct slot *slot = find(table, id);
    return slot != NULL ? slot->object : NULL;
}

void slots_remove(struct slots *table, uint64_t id)
{
    struct slot *slot = find(table, id);
    if (slot == NULL)
        return;
    slot->object = NULL;
    if (++slot->generation == 0)
        slot->generation = 1;
    slot->next_free = table->free_head;
    table->free_head = slots_index(id);
    table->count--;
}

void *slots_next(const struct slots *table, uint32_t *cursor)
{
    while (*cursor < table->capacity) {
        void *object = table->slots[(*cursor)++].object;
        if (object != NULL)
            return object;
    }
    return NULL;
}
