#include "channellayer/layer.h"

#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "channellayer/bus.h"
#include "channellayer/group.h"
#include "channellayer/holding.h"
#include "channellayer/name.h"
#include "channellayer/relay.h"
#include "channellayer/waiter.h"

enum { MOST_NAME = 1024 }; /* bytes */

static void free_empty(struct layer *layer)
{
    slots_deinit(&layer->channels);
    table_deinit(&layer->channel_names);
    table_deinit(&layer->groups);
    table_deinit(&layer->memberships);
    pthread_mutex_destroy(&layer->lock);
    mem_free(layer);
}

int layer_create(struct layer **result, const struct layer_config *config, struct owners *owners)
{
    struct layer *layer = mem_try_alloc(sizeof *layer);
    if (layer == NULL)
        return LAYER_NO_MEMORY;
    *layer = (struct layer){ .config = *config, .owners = owners };
    size_t prefix = config->local_prefix.length < sizeof layer->local_prefix ? config->local_prefix.length : 0;
    if (prefix > 0)
        memcpy(layer->local_prefix, config->local_prefix.bytes, prefix);
    layer->config.local_prefix = (struct name){ layer->local_prefix, prefix };
    if (layer->config.now_ms == NULL)
        layer->config.now_ms = clock_ms;
    if (layer->config.message_limit == 0 || layer->config.message_limit > layer->config.mailbox_bytes)
        layer->config.message_limit = layer->config.mailbox_bytes;
    atomic_init(&layer->references, 1);
    pthread_mutex_init(&layer->lock, NULL);
    slots_init(&layer->channels);
    table_init(&layer->channel_names);
    table_init(&layer->groups);
    table_init(&layer->memberships);
    list_init(&layer->renewals);
    list_init(&layer->queued);
    list_init(&layer->idle);
    list_init(&layer->idle_local);
    list_init(&layer->holdings);
    layer->bus = config->bus_create != NULL ? config->bus_create(layer, config->bus_settings) : bus_local_create(layer);
    if (layer->bus == NULL) {
        free_empty(layer);
        return LAYER_NO_MEMORY;
    }
    *result = layer;
    return LAYER_OK;
}

struct layer *layer_retain(struct layer *layer)
{
    atomic_fetch_add_explicit(&layer->references, 1, memory_order_relaxed);
    return layer;
}

bool layer_try_retain(struct layer *layer)
{
    unsigned count = atomic_load_explicit(&layer->references, memory_order_relaxed);
    while (count > 0)
        if (atomic_compare_exchange_weak_explicit(&layer->references, &count, count + 1, memory_order_acquire,
                                                  memory_order_relaxed))
            return true;
    return false;
}

/* Nobody has a count, so nobody has or can get the lock; only the registry still knows the holdings. */
static void destroy(struct layer *layer)
{
    struct aftermath aftermath = { 0 };
    struct channel *channel;
    uint32_t cursor = 0;
    while ((channel = slots_next(&layer->channels, &cursor)) != NULL)
        channel_free(layer, channel, &aftermath);
    while (!list_empty(&layer->holdings))
        owners_let_go(layer->owners, list_entry(layer->holdings.next, struct holding, of_layer));
    aftermath_run(&aftermath, layer->owners);
    layer->bus->operations->destroy(layer->bus);
    free_empty(layer);
}

void layer_release(struct layer *layer)
{
    if (atomic_fetch_sub_explicit(&layer->references, 1, memory_order_acq_rel) == 1)
        destroy(layer);
}

/* Takes the lock; the time is read before, so that a clock costs nobody else. */
static uint64_t enter(struct layer *layer)
{
    uint64_t now = layer->config.now_ms();
    pthread_mutex_lock(&layer->lock);
    return now;
}

static void leave(struct layer *layer, struct aftermath *aftermath)
{
    pthread_mutex_unlock(&layer->lock);
    aftermath_run(aftermath, layer->owners);
}

static bool too_large(const struct layer *layer, const struct message *message)
{
    return message->length > layer->config.message_limit || mailbox_weight(message) > layer->config.mailbox_bytes;
}

/* The channel of name, made where it may be: *made. LAYER_OK, LAYER_UNKNOWN, LAYER_NO_MEMORY. */
static int find_or_make(struct layer *layer, struct name name, uint64_t hash, size_t capacity, struct channel **channel,
                        bool *made)
{
    *made = false;
    *channel = channel_find(layer, name, hash);
    if (*channel != NULL)
        return LAYER_OK;
    if (name_is_local(name, layer->config.local_prefix))
        return LAYER_UNKNOWN;
    *channel = channel_make(layer, name, hash, capacity);
    *made = *channel != NULL;
    return *made ? LAYER_OK : LAYER_NO_MEMORY;
}

/* Undoes find_or_make() where what it was for has failed, and settles the channel otherwise. */
static void keep_or_free(struct layer *layer, struct channel *channel, bool made, int result, uint64_t now,
                         struct aftermath *aftermath)
{
    if (made && result != LAYER_OK && result != LAYER_EMPTY)
        channel_free(layer, channel, aftermath);
    else
        channel_settle(layer, channel, now);
}

static int create_channel(struct layer *layer, struct name name, uint64_t hash, size_t capacity, uint64_t owner,
                          bool gaps, uint64_t now)
{
    struct holding *holding = NULL;
    struct owner_view view = { 0 };
    if (owner != 0) {
        int error = owners_hold(layer->owners, owner, layer, &holding, &view);
        if (error != LAYER_OK)
            return error;
        if (list_empty(&holding->of_layer))
            list_append(&layer->holdings, &holding->of_layer);
    }
    struct channel *channel = channel_find(layer, name, hash);
    if (channel == NULL)
        channel = channel_make(layer, name, hash, capacity);
    if (channel == NULL)
        return LAYER_NO_MEMORY;
    channel->made = true;
    channel->gaps = gaps;
    channel_receive(layer, channel);
    if (holding != NULL && channel->owner == 0) {
        channel_give(channel, holding, &view);
        if (view.closed)
            channel_unsubscribe(layer, channel); /* it may have joined while it was nobody's */
    }
    channel_settle(layer, channel, now);
    return LAYER_OK;
}

int layer_channel_create(struct layer *layer, struct name name, size_t capacity, uint64_t owner, bool gaps)
{
    struct aftermath aftermath = { 0 };
    uint64_t hash = name_hash(name);
    uint64_t now = enter(layer);
    int result = create_channel(layer, name, hash, capacity, owner, gaps, now);
    leave(layer, &aftermath);
    return result;
}

/* Puts message into channel's mailbox, or adds it to relay. LAYER_OK, LAYER_FULL, LAYER_NO_MEMORY. */
static int send_to(struct layer *layer, struct channel *channel, struct message *message, struct relay *relay, uint64_t now,
                   struct aftermath *aftermath)
{
    channel_expire(layer, channel, now);
    if (relay_takes(relay, channel))
        return relay_add(relay, channel, OVERFLOW_DROP_OLDEST, 1, now);
    int result = mailbox_push(&channel->mailbox, message, time_after(now, layer->config.expiry_ms));
    if (result == LAYER_FULL)
        layer->counted.refused_full++;
    if (result == LAYER_OK)
        channel_tell(layer, channel, aftermath);
    return result;
}

/* Whether the bus has to find who receives from the channel. */
static bool is_elsewhere(const struct layer *layer, struct name name, uint64_t hash)
{
    if (layer->bus->operations->send == NULL)
        return false;
    const struct channel *channel = channel_find(layer, name, hash);
    return channel == NULL || !channel->made;
}

/* What layer_send() and layer_put() have in common: finds or makes the channel, and gives it the message by way of put. */
static int give(struct layer *layer, struct name name, size_t capacity, struct message *message, bool from_here,
                int (*put)(struct layer *layer, struct channel *channel, struct message *message, struct relay *relay,
                           uint64_t now, struct aftermath *aftermath))
{
    struct aftermath aftermath = { 0 };
    struct relay relay;
    struct channel *channel;
    bool made;
    uint64_t hash = name_hash(name);
    if (too_large(layer, message))
        return LAYER_TOO_LARGE;
    int result = relay_init(&relay, layer, (struct name){ "", 0 }, message);
    if (result != LAYER_OK)
        return result;
    uint64_t now = enter(layer);
    bool elsewhere = from_here && is_elsewhere(layer, name, hash);
    if (!elsewhere) {
        result = find_or_make(layer, name, hash, capacity, &channel, &made);
        if (result == LAYER_OK) {
            result = put(layer, channel, message, &relay, now, &aftermath);
            keep_or_free(layer, channel, made, result, now, &aftermath);
        } else if (result == LAYER_UNKNOWN) {
            layer->counted.dropped_unknown++;
        }
    }
    leave(layer, &aftermath);
    relay_run(&relay, false);
    return elsewhere ? layer->bus->operations->send(layer->bus, name, capacity, message) : result;
}

int layer_send(struct layer *layer, struct name name, size_t capacity, struct message *message)
{
    return give(layer, name, capacity, message, true, send_to);
}

/* As send_to(), but the oldest message makes room: whoever sent it is elsewhere. */
static int put_into(struct layer *layer, struct channel *channel, struct message *message, struct relay *relay, uint64_t now,
                    struct aftermath *aftermath)
{
    size_t dropped;
    channel_expire(layer, channel, now);
    if (relay_takes(relay, channel))
        return relay_add(relay, channel, OVERFLOW_DROP_OLDEST, 1, now);
    int result = mailbox_offer(&channel->mailbox, OVERFLOW_DROP_OLDEST, message, time_after(now, layer->config.expiry_ms), &dropped);
    layer->counted.dropped[OVERFLOW_DROP_OLDEST] += dropped;
    channel->dropped += dropped;
    if (result == LAYER_OK)
        channel_tell(layer, channel, aftermath);
    return result == LAYER_FULL ? LAYER_OK : result; /* full only where nothing fits at all: it is counted */
}

int layer_put(struct layer *layer, struct name name, size_t capacity, struct message *message)
{
    return give(layer, name, capacity, message, false, put_into);
}

void layer_put_all(struct layer *layer, struct message *message)
{
    struct aftermath aftermath = { 0 };
    struct relay no_relay = { 0 };
    uint64_t now = enter(layer);
    struct channel *channel;
    uint32_t cursor = 0;
    while ((channel = slots_next(&layer->channels, &cursor)) != NULL) {
        if (channel->owner == 0 || channel->closed)
            continue;
        (void)put_into(layer, channel, message, &no_relay, now, &aftermath);
        channel_settle(layer, channel, now);
    }
    leave(layer, &aftermath);
}

static int take_or_wait(struct layer *layer, struct channel *channel, struct sink *sink, uint64_t token,
                        struct message **message, uint64_t now)
{
    channel_expire(layer, channel, now);
    *message = mailbox_take(&channel->mailbox);
    if (*message != NULL)
        return LAYER_OK;
    struct waiter *waiter = waiter_create(sink, token);
    if (waiter == NULL)
        return LAYER_NO_MEMORY;
    list_append(&channel->waiters, &waiter->of_channel);
    layer->counted.waiters++;
    if (!channel->made && layer->bus->operations->wanted != NULL)
        layer->bus->operations->wanted(layer->bus, channel->name, list_length(&channel->waiters));
    return LAYER_EMPTY;
}

int layer_receive(struct layer *layer, struct name name, size_t capacity, struct sink *sink, uint64_t token,
                  struct message **message)
{
    struct aftermath aftermath = { 0 };
    uint64_t hash = name_hash(name);
    uint64_t now = enter(layer);
    struct channel *channel;
    bool made;
    int result = find_or_make(layer, name, hash, capacity, &channel, &made);
    if (result == LAYER_OK) {
        channel_receive(layer, channel);
        result = take_or_wait(layer, channel, sink, token, message, now);
        keep_or_free(layer, channel, made, result, now, &aftermath);
    }
    leave(layer, &aftermath);
    return result;
}

void layer_cancel(struct layer *layer, struct name name, struct sink *sink, uint64_t token)
{
    struct aftermath aftermath = { 0 };
    uint64_t hash = name_hash(name);
    uint64_t now = enter(layer);
    struct channel *channel = channel_find(layer, name, hash);
    if (channel != NULL) {
        for (struct list_node *node = channel->waiters.next; node != &channel->waiters; node = node->next) {
            struct waiter *waiter = list_entry(node, struct waiter, of_channel);
            if (waiter->sink != sink || waiter->told.token != token)
                continue;
            aftermath_free(&aftermath, waiter);
            layer->counted.waiters--;
            break;
        }
        channel_settle(layer, channel, now);
    }
    leave(layer, &aftermath);
}

void layer_pass(struct layer *layer, uint64_t id)
{
    struct aftermath aftermath = { 0 };
    uint64_t now = enter(layer);
    struct channel *channel = slots_get(&layer->channels, id);
    if (channel != NULL) {
        channel_expire(layer, channel, now);
        if (channel->mailbox.count > 0)
            channel_tell(layer, channel, &aftermath);
        channel_settle(layer, channel, now);
    }
    leave(layer, &aftermath);
}

/* Asks the bus to make channel, which is not here, a member of group, or no more. True: the bus has taken it on. */
static bool is_anothers(struct layer *layer, struct name group, struct name channel, bool joins, enum overflow overflow)
{
    const struct bus_operations *bus = layer->bus->operations;
    return bus->elsewhere != NULL && bus->elsewhere(layer->bus, group, channel, joins, overflow);
}

int layer_group_add(struct layer *layer, struct name group, struct name name, size_t capacity, enum overflow overflow)
{
    struct aftermath aftermath = { 0 };
    uint64_t hash = name_hash(name);
    uint64_t group_hash = name_hash(group);
    uint64_t now = enter(layer);
    group_expire(layer, now);
    struct channel *channel;
    bool made;
    int result = find_or_make(layer, name, hash, capacity, &channel, &made);
    if (result == LAYER_OK) {
        result = channel->closed ? LAYER_CLOSED : group_join(layer, group, group_hash, channel, overflow, now);
        keep_or_free(layer, channel, made, result, now, &aftermath);
    }
    if (result == LAYER_UNKNOWN && is_anothers(layer, group, name, true, overflow))
        result = LAYER_OK;
    if (result == LAYER_CLOSED || result == LAYER_UNKNOWN)
        layer->counted.late_group_adds++;
    leave(layer, &aftermath);
    return result;
}

void layer_group_discard(struct layer *layer, struct name group_name, struct name name)
{
    struct aftermath aftermath = { 0 };
    uint64_t hash = name_hash(name);
    uint64_t group_hash = name_hash(group_name);
    uint64_t now = enter(layer);
    struct channel *channel = channel_find(layer, name, hash);
    struct group *group = group_find(layer, group_name, group_hash);
    struct membership *membership = channel != NULL && group != NULL ? group_membership(layer, group, channel) : NULL;
    if (membership != NULL) {
        group_leave(layer, membership);
        channel_settle(layer, channel, now);
    } else if (channel == NULL && name_is_local(name, layer->config.local_prefix)) {
        (void)is_anothers(layer, group_name, name, false, OVERFLOW_DROP_OLDEST);
    }
    leave(layer, &aftermath);
}

bool layer_has(struct layer *layer, struct name name)
{
    uint64_t hash = name_hash(name);
    pthread_mutex_lock(&layer->lock);
    bool found = channel_find(layer, name, hash) != NULL;
    pthread_mutex_unlock(&layer->lock);
    return found;
}

int layer_settle(struct layer *layer, const struct settling *what, struct sink *sink, uint64_t token)
{
    const struct bus_operations *bus = layer->bus->operations;
    if (bus->settle == NULL)
        return LAYER_OK;
    struct waiter *waiter = waiter_create(sink, token);
    if (waiter == NULL)
        return LAYER_NO_MEMORY;
    waiter->told.layer = layer_retain(layer);
    if (bus->settle(layer->bus, what, waiter))
        return LAYER_EMPTY;
    layer_release(waiter->told.layer);
    waiter_destroy(waiter);
    return LAYER_OK;
}

int layer_query(struct layer *layer, struct name group, struct sink *sink, uint64_t token)
{
    if (layer->bus->operations->query == NULL)
        return LAYER_OK;
    struct waiter *waiter = waiter_create(sink, token);
    if (waiter == NULL)
        return LAYER_NO_MEMORY;
    waiter->told.layer = layer_retain(layer);
    layer->bus->operations->query(layer->bus, group, waiter);
    return LAYER_EMPTY;
}

int layer_group_send(struct layer *layer, struct name group, struct message *message)
{
    if (too_large(layer, message))
        return LAYER_TOO_LARGE;
    return layer->bus->operations->publish(layer->bus, group, message);
}

/* A message that came over a bus has no key yet: for a group that needs one, a copy with it. NULL when there is no memory. */
static struct message *with_key(struct message *message, const struct group *group, const struct relay *relay)
{
    if (group->overflow != OVERFLOW_LATEST || message->key_length > 0 || relay->key.length == 0)
        return message_retain(message);
    return message_create(message->bytes, message->length, relay->key.bytes, relay->key.length);
}

/* The lock is held. */
static int deliver(struct layer *layer, struct group *group, struct message *message, struct relay *relay, uint64_t now,
                   struct aftermath *aftermath)
{
    struct message *keyed = with_key(message, group, relay);
    if (keyed == NULL)
        return LAYER_NO_MEMORY;
    relay->keyed = keyed;
    relay->request.message = keyed;
    return group_deliver(layer, group, keyed, relay, now, aftermath);
}

int layer_deliver(struct layer *layer, struct name name, struct message *message)
{
    if (too_large(layer, message))
        return LAYER_TOO_LARGE;
    struct aftermath aftermath = { 0 };
    struct relay relay;
    uint64_t hash = name_hash(name);
    int result = relay_init(&relay, layer, name, message);
    if (result != LAYER_OK)
        return result;
    uint64_t now = enter(layer);
    group_expire(layer, now);
    struct group *group = group_find(layer, name, hash);
    if (group != NULL)
        result = deliver(layer, group, message, &relay, now, &aftermath);
    leave(layer, &aftermath);
    relay_run(&relay, false);
    return result;
}

/* Whether the channels, none of them twice, are just group's members. */
static bool is_group_of(const struct layer *layer, struct group *group, struct channel *const *channels, size_t count)
{
    if (group->count != count)
        return false;
    for (size_t i = 1; i < count; i++) {
        if (group_membership(layer, group, channels[i]) == NULL)
            return false;
    }
    return true;
}

/* The group whose members are channels; NULL: none, or several that differ in their policy. */
static struct group *guess_group(const struct layer *layer, struct channel *const *channels, size_t count)
{
    struct group *found = NULL;
    struct list_node *memberships = &channels[0]->memberships;
    for (struct list_node *node = memberships->next; node != memberships; node = node->next) {
        struct group *group = list_entry(node, struct membership, of_channel)->group;
        if ((found != NULL && group->overflow == found->overflow) || !is_group_of(layer, group, channels, count))
            continue;
        if (found != NULL)
            return NULL;
        found = group;
    }
    return found;
}

/* The channels that are here, in channels: how many. */
static size_t find_all(struct layer *layer, const struct name *names, size_t count, struct channel **channels)
{
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        struct channel *channel = channel_find(layer, names[i], name_hash(names[i]));
        if (channel != NULL)
            channels[found++] = channel;
        else
            layer->counted.dropped_unknown++;
    }
    return found;
}

/* A group of channel's, where all of them have one policy; otherwise NULL. */
static struct group *policy_group(const struct channel *channel)
{
    struct group *found = NULL;
    for (struct list_node *node = channel->memberships.next; node != &channel->memberships; node = node->next) {
        struct group *group = list_entry(node, struct membership, of_channel)->group;
        if (found != NULL && group->overflow != found->overflow)
            return NULL;
        found = group;
    }
    return found;
}

static int put_into_all(struct layer *layer, struct channel *const *channels, size_t count, struct message *message,
                        struct relay *relay, uint64_t now, struct aftermath *aftermath)
{
    struct relay no_relay = { 0 };
    int error = LAYER_OK;
    for (size_t i = 0; i < count; i++) {
        struct group *group = policy_group(channels[i]);
        int result;
        if (group != NULL)
            result = group_deliver_one(layer, group, channels[i], message, relay, count, now, aftermath);
        else if (relay_takes(relay, channels[i]))
            result = relay_add(relay, channels[i], OVERFLOW_DROP_OLDEST, count, now);
        else
            result = put_into(layer, channels[i], message, &no_relay, now, aftermath);
        if (result == LAYER_NO_MEMORY)
            error = LAYER_NO_MEMORY;
        channel_settle(layer, channels[i], now);
    }
    return error;
}

int layer_deliver_to(struct layer *layer, const struct name *names, size_t count, struct message *message)
{
    struct aftermath aftermath = { 0 };
    struct relay relay;
    if (too_large(layer, message))
        return LAYER_TOO_LARGE;
    struct channel **channels = mem_try_alloc((count + 1) * sizeof *channels);
    int result = channels != NULL ? relay_init(&relay, layer, (struct name){ "", 0 }, message) : LAYER_NO_MEMORY;
    if (result != LAYER_OK) {
        mem_free(channels);
        return result;
    }
    uint64_t now = enter(layer);
    group_expire(layer, now);
    size_t found = find_all(layer, names, count, channels);
    struct group *group = found > 0 ? guess_group(layer, channels, found) : NULL;
    char group_name[MOST_NAME];
    if (group != NULL && group->name.length <= sizeof group_name) {
        memcpy(group_name, group->name.bytes, group->name.length); /* relay_run() needs it when the group may be gone */
        relay.request.group = (struct name){ group_name, group->name.length };
        result = deliver(layer, group, message, &relay, now, &aftermath);
    } else {
        result = put_into_all(layer, channels, found, message, &relay, now, &aftermath);
    }
    leave(layer, &aftermath);
    relay_run(&relay, false);
    mem_free(channels);
    return result;
}
