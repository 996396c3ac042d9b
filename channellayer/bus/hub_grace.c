/* The hub's first moments: the processes of a hub that has died come back one after the other, so what the first of them publish waits
 * until the others have announced their groups. */
#include "base/alloc.h"
#include "channellayer/bus/hub_state.h"

struct late {
    struct list_node of_hub;
    struct hub_member *from; /* NULL: it has gone */
    struct hub_chunk *chunk; /* the frame, as it came */
};

bool hub_is_new(const struct hub *hub)
{
    return !hub->settled;
}

/* What a kept frame takes of memory. */
static size_t weight(size_t length)
{
    return sizeof(struct late) + sizeof(struct hub_chunk) + length;
}

bool hub_keep_late(struct hub_member *from, const struct hub_frame *frame)
{
    struct hub *hub = from->hub;
    bool message = frame->kind != HUB_SETTLE;
    size_t limit = message ? HUB_OUT_LIMIT : 2 * HUB_OUT_LIMIT;
    bool room = hub->late_bytes == 0 || hub->late_bytes + weight(hub_frame_size(frame)) <= limit;
    struct late *late = room ? mem_try_alloc(sizeof *late) : NULL;
    struct hub_chunk *chunk = late != NULL ? hub_chunk_create(frame, true) : NULL;
    if (chunk == NULL) {
        mem_free(late);
        if (message) {
            atomic_fetch_add(&hub->dropped, 1);
            hub->late_gap = true;
        }
        return message;
    }
    *late = (struct late){ .from = from, .chunk = chunk };
    hub->late_bytes += weight(chunk->length);
    list_append(&hub->late, &late->of_hub);
    return true;
}

void hub_late_forget(struct hub *hub, const struct hub_member *member)
{
    for (struct list_node *node = hub->late.next; node != &hub->late; node = node->next) {
        struct late *late = list_entry(node, struct late, of_hub);
        if (late->from == member)
            late->from = NULL;
    }
}

/* The oldest one: *from and its frame, which lives as long as the chunk. NULL: there is none. */
static struct hub_chunk *take_late(struct hub *hub, struct hub_member **from, struct hub_frame *frame)
{
    if (list_empty(&hub->late))
        return NULL;
    struct late *late = list_entry(hub->late.next, struct late, of_hub);
    struct hub_chunk *chunk = late->chunk;
    size_t taken;
    *from = late->from;
    list_remove(&late->of_hub);
    mem_free(late);
    hub->late_bytes -= weight(chunk->length);
    (void)hub_frame_read(chunk->bytes, chunk->length, frame, &taken); /* it was one when it was kept */
    return chunk;
}

void hub_settle_down(struct hub *hub)
{
    struct hub_member *from;
    struct hub_frame frame;
    struct hub_chunk *chunk;
    hub->settled = true;
    while ((chunk = take_late(hub, &from, &frame)) != NULL) {
        hub_route(hub, from, &frame);
        hub_chunk_release(chunk);
    }
    for (struct list_node *node = hub->members.next; hub->late_gap && node != &hub->members; node = node->next)
        hub_tell_gap(list_entry(node, struct hub_member, of_hub));
}

void hub_late_free(struct hub *hub)
{
    struct hub_member *from;
    struct hub_frame frame;
    struct hub_chunk *chunk;
    while ((chunk = take_late(hub, &from, &frame)) != NULL)
        hub_chunk_release(chunk);
}
