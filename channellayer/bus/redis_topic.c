#include "channellayer/bus/redis_topic.h"

#include <string.h>

#include "base/alloc.h"
#include "channellayer/name.h"

struct receipt {
    struct list_node link;
    struct batch *batch;
    uint64_t asked_at;
};

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
    list_init(&topic->held);
    list_init(&topic->receipts);
    return topic;
}

void topic_destroy(struct topic *topic)
{
    list_remove(&topic->of_node);
    list_remove(&topic->of_dirty);
    list_remove(&topic->of_holding);
    mem_free(topic);
}

void topic_note(struct topic *topic, struct batch *batch, uint64_t asked_at)
{
    struct receipt *receipt = mem_alloc(sizeof *receipt);
    list_init(&receipt->link);
    receipt->batch = batch;
    receipt->asked_at = asked_at;
    list_append(&topic->receipts, &receipt->link);
}

void topic_confirm(struct topic *topic, struct ledger *ledger, bool done)
{
    while (!list_empty(&topic->receipts)) {
        struct receipt *receipt = list_entry(topic->receipts.next, struct receipt, link);
        list_remove(&receipt->link);
        ledger_confirm(ledger, receipt->batch, done, receipt->asked_at);
        mem_free(receipt);
    }
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
