#include "channellayer/relay.h"

#include "base/alloc.h"
#include "channellayer/group.h"
#include "channellayer/name.h"

struct relay_part {
    struct relay_part *next;
    struct outlet *outlet; /* counted */
    struct relay_target *targets;
    size_t count;
    size_t room;
};

int relay_init(struct relay *relay, struct layer *layer, struct name group, const struct message *message)
{
    *relay = (struct relay){ .request = { .layer = layer, .group = group, .message = message } };
    int read = relay_event_read(&relay->event, message, layer->config.json, &relay->key);
    relay->wanted = read == 1;
    relay->request.event = &relay->event;
    return read < 0 ? LAYER_NO_MEMORY : LAYER_OK;
}

static struct relay_part *part_of(struct relay *relay, struct outlet *outlet, size_t room)
{
    struct relay_part *part = relay->parts;
    while (part != NULL && part->outlet != outlet)
        part = part->next;
    if (part != NULL)
        return part;
    part = mem_try_alloc(sizeof *part);
    if (part == NULL)
        return NULL;
    *part = (struct relay_part){ .next = relay->parts, .room = room };
    part->targets = room <= SIZE_MAX / sizeof *part->targets ? mem_try_alloc(room * sizeof *part->targets) : NULL;
    if (part->targets == NULL) {
        mem_free(part);
        return NULL;
    }
    part->outlet = outlet_retain(outlet);
    relay->parts = part;
    return part;
}

static int hold(struct relay *relay, struct channel *channel, enum overflow overflow, uint64_t now)
{
    struct layer *layer = relay->request.layer;
    size_t dropped;
    struct message *message = (struct message *)relay->request.message; /* counted by whoever called: only its count is changed */
    int result = mailbox_offer(&channel->held, overflow, message, time_after(now, layer->config.expiry_ms), &dropped);
    layer->counted.dropped[overflow] += dropped;
    channel->dropped += dropped;
    return result;
}

int relay_add(struct relay *relay, struct channel *channel, enum overflow overflow, size_t room, uint64_t now)
{
    if (channel->outlet == NULL) {
        relay->request.layer->counted.dropped_unknown++;
        return LAYER_UNKNOWN;
    }
    if (!channel->accepted)
        return hold(relay, channel, overflow, now);
    struct relay_part *part = part_of(relay, channel->outlet, room);
    if (part == NULL)
        return LAYER_NO_MEMORY;
    relay->request.overflow = overflow;
    part->targets[part->count++] = (struct relay_target){ channel->socket, channel->id };
    return LAYER_OK;
}

/* The lock is held. */
static void count_dropped(struct layer *layer, struct name name, uint64_t id, enum overflow overflow, uint64_t count)
{
    struct channel *channel = slots_get(&layer->channels, id);
    struct group *group = name.length > 0 ? group_find(layer, name, name_hash(name)) : NULL;
    layer->counted.dropped[overflow] += count;
    if (channel != NULL)
        channel->dropped += count;
    if (group != NULL)
        group->dropped += count;
}

void layer_relay_dropped(struct layer *layer, struct name group, uint64_t channel, enum overflow overflow, uint64_t count)
{
    pthread_mutex_lock(&layer->lock);
    count_dropped(layer, group, channel, overflow, count);
    pthread_mutex_unlock(&layer->lock);
}

/* The outlet is so far behind that it takes nothing: what is new is dropped. */
static void refuse(const struct relay *relay, const struct relay_part *part, bool locked)
{
    struct layer *layer = relay->request.layer;
    if (!locked)
        pthread_mutex_lock(&layer->lock);
    for (size_t i = 0; i < part->count; i++)
        count_dropped(layer, relay->request.group, part->targets[i].channel, OVERFLOW_DROP_NEWEST, 1);
    if (!locked)
        pthread_mutex_unlock(&layer->lock);
}

void relay_run(struct relay *relay, bool locked)
{
    struct relay_part *part = relay->parts;
    while (part != NULL) {
        struct relay_part *next = part->next;
        if (part->outlet->operations->relay(part->outlet, &relay->request, part->targets, part->count) != LAYER_OK) {
            refuse(relay, part, locked);
            mem_free(part->targets);
        }
        outlet_release(part->outlet);
        mem_free(part);
        part = next;
    }
    relay->parts = NULL;
    message_release(relay->keyed);
    if (relay->wanted)
        relay_event_deinit(&relay->event);
}

void relay_release_held(struct layer *layer, struct channel *channel)
{
    struct message *message;
    while ((message = mailbox_take(&channel->held)) != NULL) {
        struct relay relay;
        if (relay_init(&relay, layer, (struct name){ "", 0 }, message) == LAYER_OK && relay.wanted)
            (void)relay_add(&relay, channel, OVERFLOW_DROP_OLDEST, 1, 0);
        relay_run(&relay, true);
        message_release(message);
    }
}
