/* What goes by itself with time, and what there is. */
#include "channellayer/bus.h"
#include "channellayer/group.h"
#include "channellayer/holding.h"
#include "channellayer/name.h"

/* Forgets the channels of list that have been idle since deadline or before; the list is in that order. */
static void forget(struct layer *layer, struct list_node *list, uint64_t deadline, struct aftermath *aftermath)
{
    while (!list_empty(list)) {
        struct channel *channel = list_entry(list->next, struct channel, rest_link);
        if (channel->idle_since > deadline)
            return;
        channel_free(layer, channel, aftermath);
    }
}

static void expire_messages(struct layer *layer, uint64_t now)
{
    struct list_node *node = layer->queued.next;
    while (node != &layer->queued) {
        struct channel *channel = list_entry(node, struct channel, rest_link);
        node = node->next; /* settling may take the channel out of this list */
        channel_expire(layer, channel, now);
        channel_settle(layer, channel, now);
    }
}

void layer_sweep(struct layer *layer)
{
    struct aftermath aftermath = { 0 };
    uint64_t now = layer->config.now_ms();
    pthread_mutex_lock(&layer->lock);
    group_expire(layer, now);
    expire_messages(layer, now);
    forget(layer, &layer->idle, UINT64_MAX, &aftermath);
    if (now >= layer->config.group_expiry_ms)
        forget(layer, &layer->idle_local, now - layer->config.group_expiry_ms, &aftermath);
    pthread_mutex_unlock(&layer->lock);
    aftermath_run(&aftermath, layer->owners);
}

void layer_flush(struct layer *layer)
{
    struct aftermath aftermath = { 0 };
    uint64_t now = layer->config.now_ms();
    pthread_mutex_lock(&layer->lock);
    group_clear(layer, now);
    while (!list_empty(&layer->queued)) {
        struct channel *channel = list_entry(layer->queued.next, struct channel, rest_link);
        mailbox_clear(&channel->mailbox);
        mailbox_clear(&channel->held);
        channel_settle(layer, channel, now);
    }
    forget(layer, &layer->idle, UINT64_MAX, &aftermath);
    forget(layer, &layer->idle_local, UINT64_MAX, &aftermath);
    pthread_mutex_unlock(&layer->lock);
    if (layer->bus->operations->flush != NULL)
        layer->bus->operations->flush(layer->bus);
    aftermath_run(&aftermath, layer->owners);
}

void layer_bus_stats(struct layer *layer, struct bus_stats *stats)
{
    *stats = (struct bus_stats){ 0 };
    if (layer->bus->operations->stats != NULL)
        layer->bus->operations->stats(layer->bus, stats);
}

void layer_stats(struct layer *layer, struct layer_stats *stats)
{
    uint64_t now = layer->config.now_ms();
    pthread_mutex_lock(&layer->lock);
    group_expire(layer, now);
    *stats = layer->counted;
    stats->channels = layer->channels.count;
    stats->groups = layer->groups.count;
    stats->group_members = layer->memberships.count;
    struct channel *channel;
    uint32_t cursor = 0;
    while ((channel = slots_next(&layer->channels, &cursor)) != NULL) {
        stats->messages_queued += channel->mailbox.count + channel->held.count;
        stats->bytes_queued += channel->mailbox.bytes + channel->held.bytes;
        if (channel->owner != 0 && !owners_known(layer->owners, channel->owner))
            stats->orphaned_channels++;
    }
    pthread_mutex_unlock(&layer->lock);
    layer_bus_stats(layer, &stats->bus);
}

void layer_each_member(struct layer *layer, struct name name, void (*each)(void *context, struct name channel), void *context)
{
    uint64_t hash = name_hash(name);
    pthread_mutex_lock(&layer->lock);
    struct group *group = group_find(layer, name, hash);
    for (size_t i = 0; group != NULL && i < group->count; i++)
        each(context, group->members[i].channel->name);
    pthread_mutex_unlock(&layer->lock);
}

static void describe_group(const struct group *group, struct layer_group_info *info)
{
    *info = (struct layer_group_info){ group->name, group->count, group->messages, group->dropped, 0, 0 };
    for (size_t i = 0; i < group->count; i++) {
        const struct channel *channel = group->members[i].channel;
        info->queued += channel->mailbox.count + channel->held.count;
        info->queued_bytes += channel->mailbox.bytes + channel->held.bytes;
    }
}

void layer_each_group(struct layer *layer, void (*each)(void *context, const struct layer_group_info *info), void *context)
{
    pthread_mutex_lock(&layer->lock);
    struct table_node *node = NULL;
    size_t bucket = 0;
    while ((node = table_walk(&layer->groups, &bucket, node)) != NULL) {
        struct layer_group_info info;
        describe_group(list_entry(node, struct group, by_name), &info);
        each(context, &info);
    }
    pthread_mutex_unlock(&layer->lock);
}

static void describe_channel(const struct channel *channel, struct layer_channel_info *info)
{
    info->name = channel->name;
    info->owner = channel->owner;
    info->queued = channel->mailbox.count + channel->held.count;
    info->queued_bytes = channel->mailbox.bytes + channel->held.bytes;
    info->dropped = channel->dropped;
    info->group_count = 0;
    const struct list_node *node = channel->memberships.next;
    for (; node != &channel->memberships && info->group_count < CHANNEL_INFO_GROUPS; node = node->next)
        info->groups[info->group_count++] = list_entry(node, struct membership, of_channel)->group->name;
}

void layer_each_channel(struct layer *layer, void (*each)(void *context, const struct layer_channel_info *info), void *context)
{
    pthread_mutex_lock(&layer->lock);
    struct channel *channel;
    uint32_t cursor = 0;
    while ((channel = slots_next(&layer->channels, &cursor)) != NULL) {
        struct layer_channel_info info;
        describe_channel(channel, &info);
        each(context, &info);
    }
    pthread_mutex_unlock(&layer->lock);
}
