#include "channellayer/bus/hub_names.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/list.h"
#include "channellayer/name.h"

struct entry {
    struct table_node by_name;
    struct name name;
    char text[];
};

void hub_names_init(struct hub_names *names)
{
    table_init(&names->table);
}

static struct entry *find(const struct hub_names *names, struct name name)
{
    struct table_node *node = table_first(&names->table, name_hash(name));
    for (; node != NULL; node = table_next_same(node)) {
        struct entry *entry = list_entry(node, struct entry, by_name);
        if (name_equal(entry->name, name))
            return entry;
    }
    return NULL;
}

static void take_out(struct hub_names *names, struct entry *entry)
{
    table_remove(&names->table, &entry->by_name);
    mem_free(entry);
}

void hub_names_deinit(struct hub_names *names)
{
    struct table_node *node;
    size_t bucket = 0;
    while ((node = table_walk(&names->table, &bucket, NULL)) != NULL) {
        take_out(names, list_entry(node, struct entry, by_name));
        bucket = 0;
    }
    table_deinit(&names->table);
}

void hub_names_add(struct hub_names *names, struct name name)
{
    if (find(names, name) != NULL)
        return;
    struct entry *entry = mem_alloc(sizeof *entry + name.length);
    memcpy(entry->text, name.bytes, name.length);
    entry->name = (struct name){ entry->text, name.length };
    if (table_insert(&names->table, &entry->by_name, name_hash(name)) != 0)
        abort(); /* the first buckets: a fixed size */
}

void hub_names_remove(struct hub_names *names, struct name name)
{
    struct entry *entry = find(names, name);
    if (entry != NULL)
        take_out(names, entry);
}

void hub_names_each(const struct hub_names *names, void (*each)(void *context, struct name name), void *context)
{
    struct table_node *node = NULL;
    size_t bucket = 0;
    while ((node = table_walk(&names->table, &bucket, node)) != NULL)
        each(context, list_entry(node, struct entry, by_name)->name);
}
