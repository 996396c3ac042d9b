/* layer_gap(): tells channels that messages may have been lost. */
#include "channellayer/aftermath.h"
#include "channellayer/bus.h"
#include "channellayer/bytes.h"
#include "channellayer/encode.h"
#include "channellayer/group.h"

static struct name text(const char *bytes, size_t length)
{
    return (struct name){ bytes, length };
}

#define TEXT(literal) text(literal, sizeof(literal) - 1)

static struct name group_of(struct list_node *node)
{
    return list_entry(node, struct membership, of_channel)->group->name;
}

/* {"type": "channel.layer.gap", "groups": […]} with count of channel's groups; NULL when there is no memory. */
static struct message *make(const struct channel *channel, bool json, uint32_t count, bool (*missed)(void *, struct name),
                            void *context)
{
    struct bytes out = { 0 };
    const char *between = "";
    if (json) {
        bytes_add(&out, "{\"type\":\"channel.layer.gap\",\"groups\":[", 38);
    } else {
        encode_map_head(&out, 2);
        encode_text(&out, false, TEXT("type"));
        encode_text(&out, false, TEXT("channel.layer.gap"));
        encode_text(&out, false, TEXT("groups"));
        encode_list_head(&out, count);
    }
    for (struct list_node *node = channel->memberships.next; node != &channel->memberships; node = node->next) {
        if (!missed(context, group_of(node)))
            continue;
        bytes_add(&out, between, between[0] != '\0');
        encode_text(&out, json, group_of(node));
        between = json ? "," : "";
    }
    if (json)
        bytes_add(&out, "]}", 2);
    struct message *message = out.failed ? NULL : message_create(out.data, out.length, NULL, 0);
    bytes_deinit(&out);
    return message;
}

static uint32_t missed_groups(const struct channel *channel, bool (*missed)(void *, struct name), void *context)
{
    uint32_t count = 0;
    for (struct list_node *node = channel->memberships.next; node != &channel->memberships; node = node->next)
        count += missed(context, group_of(node));
    return count;
}

static void put(struct layer *layer, struct channel *channel, struct message *message, uint64_t now, struct aftermath *aftermath)
{
    size_t dropped;
    channel_expire(layer, channel, now);
    uint64_t expires_at = time_after(now, layer->config.expiry_ms);
    int result = mailbox_offer(&channel->mailbox, OVERFLOW_DROP_OLDEST, message, expires_at, &dropped);
    layer->counted.dropped[OVERFLOW_DROP_OLDEST] += dropped;
    channel->dropped += dropped;
    if (result == LAYER_OK)
        channel_tell(layer, channel, aftermath);
    channel_settle(layer, channel, now);
}

void layer_gap(struct layer *layer, bool (*missed)(void *context, struct name group), void *context)
{
    struct aftermath aftermath = { 0 };
    struct channel *channel;
    uint32_t cursor = 0;
    uint64_t now = layer->config.now_ms();
    pthread_mutex_lock(&layer->lock);
    while ((channel = slots_next(&layer->channels, &cursor)) != NULL) {
        uint32_t count = channel->gaps ? missed_groups(channel, missed, context) : 0;
        if (count == 0)
            continue;
        struct message *message = make(channel, layer->config.json, count, missed, context);
        if (message != NULL)
            put(layer, channel, message, now, &aftermath);
        else
            layer->counted.dropped[OVERFLOW_DROP_OLDEST]++; /* no memory: one that is lost, and counted */
        message_release(message);
    }
    pthread_mutex_unlock(&layer->lock);
    aftermath_run(&aftermath, layer->owners);
}
