/* What a layer does when one of its owners is closed, ends, or is described. */
#include "channellayer/group.h"
#include "channellayer/holding.h"
#include "channellayer/relay.h"

static struct channel *channel_at(struct list_node *node)
{
    return list_entry(node, struct channel, of_holding);
}

void layer_owner_closed(struct layer *layer, uint64_t owner)
{
    uint64_t now = layer->config.now_ms();
    pthread_mutex_lock(&layer->lock);
    group_expire(layer, now);
    struct holding *holding = owners_held(layer->owners, owner, layer);
    if (holding != NULL) {
        for (struct list_node *node = holding->channels.next; node != &holding->channels; node = node->next) {
            struct channel *channel = channel_at(node);
            channel->closed = true;
            channel->outlet = NULL;
            mailbox_clear(&channel->held);
            channel_unsubscribe(layer, channel);
            channel_settle(layer, channel, now);
        }
    }
    pthread_mutex_unlock(&layer->lock);
}

void layer_owner_accepted(struct layer *layer, uint64_t owner)
{
    uint64_t now = layer->config.now_ms();
    pthread_mutex_lock(&layer->lock);
    struct holding *holding = owners_held(layer->owners, owner, layer);
    for (struct list_node *node = holding != NULL ? holding->channels.next : NULL; node != NULL && node != &holding->channels;
         node = node->next) {
        struct channel *channel = channel_at(node);
        channel_expire(layer, channel, now);
        channel->accepted = true;
        if (channel->outlet != NULL)
            relay_release_held(layer, channel);
        channel_settle(layer, channel, now);
    }
    pthread_mutex_unlock(&layer->lock);
}

void layer_owner_ended(struct layer *layer, uint64_t owner)
{
    struct aftermath aftermath = { 0 };
    pthread_mutex_lock(&layer->lock);
    struct holding *holding = owners_held(layer->owners, owner, layer);
    if (holding != NULL) {
        while (!list_empty(&holding->channels)) {
            struct channel *channel = channel_at(holding->channels.next);
            channel_dismiss(layer, channel, &aftermath);
            channel_free(layer, channel, &aftermath);
        }
        owners_let_go(layer->owners, holding);
    }
    pthread_mutex_unlock(&layer->lock);
    aftermath_run(&aftermath, layer->owners);
}

void layer_owner_report(struct layer *layer, uint64_t owner, struct owner_report *report)
{
    uint64_t now = layer->config.now_ms();
    pthread_mutex_lock(&layer->lock);
    group_expire(layer, now);
    struct holding *holding = owners_held(layer->owners, owner, layer);
    for (struct list_node *node = holding != NULL ? holding->channels.next : NULL; node != NULL && node != &holding->channels;
         node = node->next) {
        struct channel *channel = channel_at(node);
        channel_expire(layer, channel, now);
        channel_settle(layer, channel, now);
        report->channels++;
        report->queued += channel->mailbox.count + channel->held.count;
        report->queued_bytes += channel->mailbox.bytes + channel->held.bytes;
        report->dropped += channel->dropped;
        struct list_node *link = channel->memberships.next;
        for (; link != &channel->memberships; link = link->next)
            owner_report_group(report, list_entry(link, struct membership, of_channel)->group->name);
    }
    pthread_mutex_unlock(&layer->lock);
}
