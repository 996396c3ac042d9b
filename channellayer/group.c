#include "channellayer/group.h"

#include <string.h>

#include "base/alloc.h"
#include "channellayer/bus.h"
#include "channellayer/holding.h"
#include "channellayer/name.h"
#include "channellayer/relay.h"

enum { FIRST_ROOM = 4 };

struct group *group_find(const struct layer *layer, struct name name, uint64_t hash)
{
    struct table_node *node = table_first(&layer->groups, hash);
    for (; node != NULL; node = table_next_same(node)) {
        struct group *group = list_entry(node, struct group, by_name);
        if (name_equal(group->name, name))
            return group;
    }
    return NULL;
}

static uint64_t pair_hash(const struct group *group, const struct channel *channel)
{
    uint64_t hash = (group->by_name.hash ^ (channel->by_name.hash << 23 | channel->by_name.hash >> 41)) * 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 32;
}

struct membership *group_membership(const struct layer *layer, struct group *group, struct channel *channel)
{
    struct table_node *node = table_first(&layer->memberships, pair_hash(group, channel));
    for (; node != NULL; node = table_next_same(node)) {
        struct membership *membership = list_entry(node, struct membership, by_pair);
        if (membership->group == group && membership->channel == channel)
            return membership;
    }
    return NULL;
}

static struct group *make(struct layer *layer, struct name name, uint64_t hash, enum overflow overflow)
{
    struct group *group = mem_try_alloc(sizeof *group + name.length);
    if (group == NULL)
        return NULL;
    memset(group, 0, sizeof *group);
    group->overflow = overflow;
    memcpy(group->text, name.bytes, name.length);
    group->name = (struct name){ group->text, name.length };
    if (table_insert(&layer->groups, &group->by_name, hash) != 0) {
        mem_free(group);
        return NULL;
    }
    return group;
}

static void free_empty(struct layer *layer, struct group *group)
{
    table_remove(&layer->groups, &group->by_name);
    mem_free(group->members);
    mem_free(group);
}

static int resize(struct group *group, size_t room)
{
    if (room > SIZE_MAX / sizeof *group->members)
        return -1;
    struct member *members = mem_try_realloc(group->members, room * sizeof *members);
    if (members == NULL)
        return -1;
    group->members = members;
    group->room = room;
    return 0;
}

static int add_member(struct layer *layer, struct group *group, struct channel *channel, uint64_t now)
{
    if (group->count == group->room && resize(group, group->room > 0 ? group->room * 2 : FIRST_ROOM) != 0)
        return LAYER_NO_MEMORY;
    struct membership *membership = mem_try_alloc(sizeof *membership);
    if (membership == NULL)
        return LAYER_NO_MEMORY;
    if (table_insert(&layer->memberships, &membership->by_pair, pair_hash(group, channel)) != 0) {
        mem_free(membership);
        return LAYER_NO_MEMORY;
    }
    membership->group = group;
    membership->channel = channel;
    membership->index = group->count;
    membership->expires_at = time_after(now, layer->config.group_expiry_ms);
    list_append(&channel->memberships, &membership->of_channel);
    list_append(&layer->renewals, &membership->renewal);
    group->members[group->count++] = (struct member){ channel, membership };
    if (group->count == 1 || layer->bus->operations->pairs)
        layer->bus->operations->joined(layer->bus, group->name, channel->name, group->count == 1);
    return LAYER_OK;
}

int group_join(struct layer *layer, struct name name, uint64_t hash, struct channel *channel, enum overflow overflow,
               uint64_t now)
{
    struct group *group = group_find(layer, name, hash);
    struct membership *membership = group != NULL ? group_membership(layer, group, channel) : NULL;
    if (membership != NULL) {
        membership->expires_at = time_after(now, layer->config.group_expiry_ms);
        list_remove(&membership->renewal);
        list_append(&layer->renewals, &membership->renewal);
        if (layer->bus->operations->pairs)
            layer->bus->operations->joined(layer->bus, group->name, channel->name, false);
        return LAYER_OK;
    }
    if (group == NULL)
        group = make(layer, name, hash, overflow);
    if (group == NULL)
        return LAYER_NO_MEMORY;
    int result = add_member(layer, group, channel, now);
    if (group->count == 0)
        free_empty(layer, group);
    return result;
}

void group_leave(struct layer *layer, struct membership *membership)
{
    struct group *group = membership->group;
    struct member last = group->members[--group->count];
    group->members[membership->index] = last;
    last.membership->index = membership->index;
    table_remove(&layer->memberships, &membership->by_pair);
    list_remove(&membership->of_channel);
    list_remove(&membership->renewal);
    if (group->count == 0 || layer->bus->operations->pairs)
        layer->bus->operations->left(layer->bus, group->name, membership->channel->name, group->count == 0);
    mem_free(membership);
    if (group->count == 0) {
        free_empty(layer, group);
    } else if (group->room > FIRST_ROOM && group->count < group->room / 4) {
        (void)resize(group, group->room / 2);
    }
}

static void leave_while_expired(struct layer *layer, uint64_t deadline, uint64_t now)
{
    while (!list_empty(&layer->renewals)) {
        struct membership *oldest = list_entry(layer->renewals.next, struct membership, renewal);
        if (oldest->expires_at > deadline)
            return;
        struct channel *channel = oldest->channel;
        group_leave(layer, oldest);
        channel_settle(layer, channel, now);
    }
}

void group_expire(struct layer *layer, uint64_t now)
{
    leave_while_expired(layer, now, now);
}

void group_clear(struct layer *layer, uint64_t now)
{
    leave_while_expired(layer, UINT64_MAX, now);
}

static int deliver_to(struct layer *layer, struct group *group, struct channel *channel, struct message *message,
                      uint64_t now, struct aftermath *aftermath)
{
    size_t dropped;
    channel_expire(layer, channel, now);
    int result = mailbox_offer(&channel->mailbox, group->overflow, message, time_after(now, layer->config.expiry_ms), &dropped);
    if (dropped > 0) {
        layer->counted.dropped[group->overflow] += dropped;
        group->dropped += dropped;
        channel->dropped += dropped;
    }
    if (result == LAYER_FULL && group->overflow == OVERFLOW_CLOSE && channel->owner != 0 && !channel->overflow_told) {
        channel->overflow_told = true;
        if (owners_overflow(layer->owners, channel->owner))
            aftermath->overflow = true;
    }
    if (result == LAYER_OK)
        channel_tell(layer, channel, aftermath);
    channel_settle(layer, channel, now);
    return result;
}

static int relay_to(struct group *group, struct channel *channel, struct relay *relay, size_t room, uint64_t now)
{
    uint64_t dropped = channel->dropped;
    int result = relay_add(relay, channel, group->overflow, room, now);
    group->dropped += channel->dropped - dropped;
    return result;
}

int group_deliver_one(struct layer *layer, struct group *group, struct channel *channel, struct message *message, struct relay *relay,
                      size_t room, uint64_t now, struct aftermath *aftermath)
{
    if (!relay_takes(relay, channel))
        return deliver_to(layer, group, channel, message, now, aftermath);
    int result = relay_to(group, channel, relay, room, now);
    if (!channel->accepted)
        channel_settle(layer, channel, now);
    return result;
}

int group_deliver(struct layer *layer, struct group *group, struct message *message, struct relay *relay, uint64_t now,
                  struct aftermath *aftermath)
{
    int error = LAYER_OK;
    group->messages++;
    for (size_t i = 0; i < group->count; i++) {
        struct channel *channel = group->members[i].channel;
        if (group_deliver_one(layer, group, channel, message, relay, group->count, now, aftermath) == LAYER_NO_MEMORY)
            error = LAYER_NO_MEMORY;
    }
    return error;
}
