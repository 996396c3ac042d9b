#include "channellayer/bus/hub_names.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "channellayer/name.h"

struct entry {
    struct table_node by_name;
    struct list_node changed; /* names.changed, while wanted and announced differ */
    bool wanted;
    bool announced;
    struct name name;
    char text[];
};

void hub_names_init(struct hub_names *names)
{
    table_init(&names->table);
    list_init(&names->changed);
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

static struct entry *make(struct hub_names *names, struct name name)
{
    struct entry *entry = mem_zalloc(sizeof *entry + name.length);
    memcpy(entry->text, name.bytes, name.length);
    entry->name = (struct name){ entry->text, name.length };
    list_init(&entry->changed);
    if (table_insert(&names->table, &entry->by_name, name_hash(name)) != 0)
        abort(); /* the first buckets: a fixed size */
    return entry;
}

static void take_out(struct hub_names *names, struct entry *entry)
{
    list_remove(&entry->changed);
    table_remove(&names->table, &entry->by_name);
    mem_free(entry);
}

/* Puts entry where it belongs: among the changes, or nowhere. */
static void sort(struct hub_names *names, struct entry *entry)
{
    if (!entry->wanted && !entry->announced) {
        take_out(names, entry);
    } else if (entry->wanted == entry->announced) {
        list_remove(&entry->changed);
    } else if (list_empty(&entry->changed)) {
        list_append(&names->changed, &entry->changed);
    }
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

void hub_names_want(struct hub_names *names, struct name name, bool wanted)
{
    struct entry *entry = find(names, name);
    if (entry == NULL)
        entry = make(names, name);
    entry->wanted = wanted;
    sort(names, entry);
}

bool hub_names_next(struct hub_names *names, void (*each)(void *context, struct name name, bool wanted), void *context)
{
    if (list_empty(&names->changed))
        return false;
    struct entry *entry = list_entry(names->changed.next, struct entry, changed);
    entry->announced = entry->wanted;
    each(context, entry->name, entry->wanted);
    sort(names, entry);
    return true;
}

void hub_names_begin(struct hub_names *names)
{
    struct list_node gone;
    struct table_node *node = NULL;
    size_t bucket = 0;
    list_init(&gone);
    while ((node = table_walk(&names->table, &bucket, node)) != NULL) {
        struct entry *entry = list_entry(node, struct entry, by_name);
        entry->announced = false;
        list_remove(&entry->changed);
        list_append(entry->wanted ? &names->changed : &gone, &entry->changed);
    }
    while (!list_empty(&gone))
        take_out(names, list_entry(gone.next, struct entry, changed));
}
