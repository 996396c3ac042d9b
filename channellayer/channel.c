#include "channellayer/channel.h"

#include <string.h>

#include "base/alloc.h"
#include "channellayer/bus.h"
#include "channellayer/group.h"
#include "channellayer/holding.h"
#include "channellayer/name.h"
#include "channellayer/waiter.h"

struct channel *channel_find(const struct layer *layer, struct name name, uint64_t hash)
{
    struct table_node *node = table_first(&layer->channel_names, hash);
    for (; node != NULL; node = table_next_same(node)) {
        struct channel *channel = list_entry(node, struct channel, by_name);
        if (name_equal(channel->name, name))
            return channel;
    }
    return NULL;
}

struct channel *channel_make(struct layer *layer, struct name name, uint64_t hash, size_t capacity)
{
    struct channel *channel = mem_try_alloc(sizeof *channel + name.length);
    if (channel == NULL)
        return NULL;
    memset(channel, 0, sizeof *channel);
    mailbox_init(&channel->mailbox, capacity, layer->config.mailbox_bytes);
    mailbox_init(&channel->held, capacity, layer->config.mailbox_bytes);
    list_init(&channel->waiters);
    list_init(&channel->rest_link);
    list_init(&channel->memberships);
    list_init(&channel->of_holding);
    channel->rest = CHANNEL_BUSY;
    channel->local = name_is_local(name, layer->config.local_prefix);
    memcpy(channel->text, name.bytes, name.length);
    channel->name = (struct name){ channel->text, name.length };
    channel->id = slots_add(&layer->channels, channel);
    if (channel->id == 0)
        goto fail;
    if (table_insert(&layer->channel_names, &channel->by_name, hash) != 0)
        goto fail_id;
    return channel;
fail_id:
    slots_remove(&layer->channels, channel->id);
fail:
    mem_free(channel);
    return NULL;
}

void channel_receive(struct layer *layer, struct channel *channel)
{
    if (channel->received)
        return;
    channel->received = true;
    layer->bus->operations->made(layer->bus, channel->name);
}

void channel_give(struct channel *channel, struct holding *holding, const struct owner_view *owner)
{
    channel->owner = owner->id;
    channel->closed = owner->closed;
    channel->relays = owner->relays;
    channel->outlet = owner->outlet;
    channel->socket = owner->socket;
    channel->accepted = owner->accepted;
    list_append(&holding->channels, &channel->of_holding);
}

void channel_unsubscribe(struct layer *layer, struct channel *channel)
{
    while (!list_empty(&channel->memberships)) {
        struct membership *membership = list_entry(channel->memberships.next, struct membership, of_channel);
        owners_record(layer->owners, channel->owner, membership->group->name);
        group_leave(layer, membership);
        layer->counted.subscriptions_discarded++;
    }
}

void channel_free(struct layer *layer, struct channel *channel, struct aftermath *aftermath)
{
    while (!list_empty(&channel->memberships))
        group_leave(layer, list_entry(channel->memberships.next, struct membership, of_channel));
    while (!list_empty(&channel->waiters)) {
        aftermath_free(aftermath, list_entry(channel->waiters.next, struct waiter, of_channel));
        layer->counted.waiters--;
    }
    if (channel->received)
        layer->bus->operations->gone(layer->bus, channel->name);
    mailbox_deinit(&channel->mailbox);
    mailbox_deinit(&channel->held);
    list_remove(&channel->rest_link);
    list_remove(&channel->of_holding);
    table_remove(&layer->channel_names, &channel->by_name);
    slots_remove(&layer->channels, channel->id);
    mem_free(channel);
}

static enum channel_rest rest_of(const struct channel *channel)
{
    if (channel->mailbox.count > 0 || channel->held.count > 0)
        return CHANNEL_QUEUED;
    if (channel->owner == 0 && list_empty(&channel->memberships) && list_empty(&channel->waiters))
        return CHANNEL_IDLE;
    return CHANNEL_BUSY;
}

void channel_settle(struct layer *layer, struct channel *channel, uint64_t now)
{
    enum channel_rest rest = rest_of(channel);
    if (rest == channel->rest)
        return;
    channel->rest = rest;
    list_remove(&channel->rest_link);
    if (rest == CHANNEL_QUEUED) {
        list_append(&layer->queued, &channel->rest_link);
    } else if (rest == CHANNEL_IDLE) {
        channel->idle_since = now;
        list_append(channel->local ? &layer->idle_local : &layer->idle, &channel->rest_link);
    }
}

void channel_expire(struct layer *layer, struct channel *channel, uint64_t now)
{
    layer->counted.dropped_expired += mailbox_expire(&channel->mailbox, now);
    if (channel->held.count > 0)
        layer->counted.dropped_expired += mailbox_expire(&channel->held, now);
}

void channel_tell(struct layer *layer, struct channel *channel, struct aftermath *aftermath)
{
    while (!list_empty(&channel->waiters)) {
        struct waiter *waiter = list_entry(channel->waiters.next, struct waiter, of_channel);
        layer->counted.waiters--;
        if (!sink_is_closed(waiter->sink)) {
            aftermath_tell(aftermath, waiter, layer, channel->id);
            return;
        }
        aftermath_free(aftermath, waiter);
    }
}

void channel_dismiss(struct layer *layer, struct channel *channel, struct aftermath *aftermath)
{
    while (!list_empty(&channel->waiters)) {
        struct waiter *waiter = list_entry(channel->waiters.next, struct waiter, of_channel);
        layer->counted.waiters--;
        waiter->told.status = LAYER_UNKNOWN;
        aftermath_tell(aftermath, waiter, layer, channel->id);
    }
}
