#include "channellayer/layer_take.h"

#include "channellayer/channel.h"
#include "channellayer/name.h"

int layer_take_before(struct layer *layer, struct name name, uint64_t before, struct message **message)
{
    uint64_t hash = name_hash(name);
    uint64_t now = layer->config.now_ms();
    pthread_mutex_lock(&layer->lock);
    struct channel *channel = channel_find(layer, name, hash);
    *message = NULL;
    if (channel != NULL && channel->mailbox.count > 0) {
        channel_expire(layer, channel, now);
        const struct message *oldest = mailbox_oldest(&channel->mailbox);
        if (oldest != NULL && oldest->made_at < before)
            *message = mailbox_take(&channel->mailbox);
        channel_settle(layer, channel, now);
    }
    pthread_mutex_unlock(&layer->lock);
    return *message == NULL ? LAYER_EMPTY : LAYER_OK;
}
