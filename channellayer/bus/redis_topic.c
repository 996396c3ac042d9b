#include "channellayer/bus/redis_topic.h"

#include <string.h>

#include "base/alloc.h"
#include "channellayer/name.h"

struct topic *topic_create(struct name prefix, struct name rest)
{
    struct topic *topic = mem_zalloc(sizeof *topic + prefix.length + rest.length);
    char *text = (char *)(topic + 1);
    if (prefix.length > 0)
        memcpy(text, prefix.bytes, prefix.length);
    if (rest.length > 0)
        memcpy(text + prefix.length, rest.bytes, rest.length);
    topic->name = (struct name){ text, prefix.length + rest.length };
    list_init(&topic->of_node);
    list_init(&topic->of_dirty);
    list_init(&topic->of_holding);
    list_init(&topic->of_refused);
    list_init(&topic->held);
    list_init(&topic->receipts);
    return topic;
}

void topic_destroy(struct topic *topic)
{
    list_remove(&topic->of_node);
    list_remove(&topic->of_dirty);
    list_remove(&topic->of_holding);
    list_remove(&topic->of_refused);
    mem_free(topic->refusal);
    mem_free(topic);
}

struct topic *topic_find(const struct table *table, struct name name)
{
    for (struct table_node *node = table_first(table, name_hash(name)); node != NULL; node = table_next_same(node)) {
        struct topic *topic = list_entry(node, struct topic, of_table);
        if (name_equal(topic->name, name))
            return topic;
    }
    return NULL;
}
