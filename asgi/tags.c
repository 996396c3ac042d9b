#include "asgi/tags.h"

#include <string.h>

#include "asgi/kick.h"
#include "base/alloc.h"
#include "base/slots.h"
#include "channellayer/owner.h"

static uint64_t *tag_of(struct tags *tags, uint64_t exchange)
{
    size_t index = slots_index(exchange);
    if (index >= tags->room) {
        size_t room = (index + 1) * 2;
        uint64_t *grown = mem_try_realloc(tags->tags, room * sizeof *grown);
        if (grown == NULL)
            return NULL;
        memset(grown + tags->room, 0, (room - tags->room) * sizeof *grown);
        tags->tags = grown;
        tags->room = room;
    }
    return &tags->tags[index];
}

uint64_t tags_begun(void *context, uint64_t exchange, bool websocket)
{
    struct tags *tags = context;
    struct owners *owners = kick_owners(); /* first: the tags stand beside it */
    uint64_t *tag = tag_of(tags, exchange);
    if (tag != NULL)
        *tag = kick_add(tags->server, exchange);
    return owner_open(owners, tag == NULL ? 0 : *tag, websocket ? tags->outlet : NULL, exchange);
}

void tags_ended(void *context, uint64_t exchange, uint64_t owner)
{
    struct tags *tags = context;
    uint64_t *tag = tag_of(tags, exchange);
    if (tag != NULL) {
        kick_remove(*tag);
        *tag = 0;
    }
    owner_close(kick_owners(), owner);
}

void tags_deinit(struct tags *tags)
{
    kick_remove_server(tags->server);
    mem_free(tags->tags);
    tags->tags = NULL;
    tags->room = 0;
}
