/* list.h: an intrusive doubly linked list.
 *
 * Owner:   whoever owns the structs that contain the nodes.
 * Thread:  none of its own; the owner's lock.
 * Limits:  none.
 */
#ifndef PENEUS_BASE_LIST_H
#define PENEUS_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list_node {
    struct list_node *next;
    struct list_node *prev;
};

/* The struct of type that contains node as member. */
#define list_entry(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))

/* An empty list, or a node in no list: points at itself. */
static inline void list_init(struct list_node *list)
{
    list->next = list;
    list->prev = list;
}

static inline bool list_empty(const struct list_node *list)
{
    return list->next == list;
}

static inline void list_append(struct list_node *list, struct list_node *node)
{
    node->prev = list->prev;
    node->next = list;
    list->prev->next = node;
    list->prev = node;
}

static inline size_t list_length(const struct list_node *list)
{
    size_t length = 0;
    for (const struct list_node *node = list->next; node != list; node = node->next)
        length++;
    return length;
}

/* Takes node out of its list; a node in no list stays so. */
static inline void list_remove(struct list_node *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

#endif
