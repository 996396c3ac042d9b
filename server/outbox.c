#include "server/outbox.h"

#include <assert.h>

#include "base/alloc.h"

enum {
    FIRST_SIZE = 4,
    KEPT_SIZE = 4, /* a ring of this size outlives its last entry, so that a socket in use does not allocate */
};

void outbox_init(struct outbox *outbox)
{
    *outbox = (struct outbox){ 0 };
    buffer_init(&outbox->own);
}

static struct outbox_entry *entry(const struct outbox *outbox, uint32_t n)
{
    assert(outbox->ring != NULL);
    return &outbox->ring[(outbox->head + n) & (outbox->size - 1)];
}

static void free_ring(struct outbox *outbox)
{
    mem_free(outbox->ring);
    outbox->ring = NULL;
    outbox->size = 0;
    outbox->head = 0;
}

void outbox_deinit(struct outbox *outbox)
{
    for (uint32_t i = 0; i < outbox->count; i++)
        broadcast_release(entry(outbox, i)->broadcast);
    free_ring(outbox);
    buffer_deinit(&outbox->own);
    outbox_init(outbox);
}

static int grow(struct outbox *outbox)
{
    uint32_t size = outbox->size > 0 ? outbox->size * 2 : FIRST_SIZE;
    struct outbox_entry *ring = mem_try_alloc(size * sizeof *ring);
    if (ring == NULL)
        return -1;
    for (uint32_t i = 0; i < outbox->count; i++)
        ring[i] = *entry(outbox, i);
    mem_free(outbox->ring);
    outbox->ring = ring;
    outbox->size = size;
    outbox->head = 0;
    return 0;
}

/* The oldest entry's frame has left, or is dropped. */
static void remove_first(struct outbox *outbox)
{
    struct broadcast *broadcast = entry(outbox, 0)->broadcast;
    outbox->weight -= broadcast_weight(broadcast);
    outbox->waiting -= broadcast->length - outbox->written;
    outbox->written = 0;
    outbox->head = (outbox->head + 1) & (outbox->size - 1);
    outbox->count--;
    broadcast_release(broadcast);
    if (outbox->count == 0 && outbox->size > KEPT_SIZE)
        free_ring(outbox);
}

/* Drops entry n, which has not been begun. Its own bytes go before the next one. */
static void drop(struct outbox *outbox, uint32_t n)
{
    struct outbox_entry dropped = *entry(outbox, n);
    assert(n > 0 || outbox->written == 0);
    if (n + 1 < outbox->count)
        entry(outbox, n + 1)->before += dropped.before;
    else
        outbox->marked -= dropped.before;
    /* The older ones, mostly one or none, move up. */
    for (uint32_t i = n; i > 0; i--)
        *entry(outbox, i) = *entry(outbox, i - 1);
    outbox->head = (outbox->head + 1) & (outbox->size - 1);
    outbox->count--;
    outbox->weight -= broadcast_weight(dropped.broadcast);
    outbox->waiting -= dropped.broadcast->length;
    dropped.broadcast->callbacks->dropped(dropped.broadcast->context, dropped.label, 1);
    broadcast_release(dropped.broadcast);
}

static uint32_t first_droppable(const struct outbox *outbox)
{
    return outbox->written > 0 ? 1 : 0;
}

/* The entry that makes room for broadcast; outbox->count: none. */
static uint32_t victim(const struct outbox *outbox, const struct broadcast *broadcast)
{
    uint32_t first = first_droppable(outbox);
    if (broadcast->policy == BROADCAST_LATEST) {
        for (uint32_t i = first; i < outbox->count; i++)
            if (broadcast_same_key(entry(outbox, i)->broadcast, broadcast))
                return i;
    }
    return first < outbox->count ? first : outbox->count;
}

static enum outbox_result refuse(struct broadcast *broadcast, uint64_t label, enum outbox_result result)
{
    broadcast->callbacks->dropped(broadcast->context, label, 1);
    return result;
}

enum outbox_result outbox_offer(struct outbox *outbox, struct broadcast *broadcast, uint64_t label, size_t limit)
{
    size_t weight = broadcast_weight(broadcast);
    bool makes_room = broadcast->policy == BROADCAST_DROP_OLDEST || broadcast->policy == BROADCAST_LATEST;
    while (outbox->count > 0 && outbox->weight + weight > limit) { /* alone it may be larger than the limit */
        uint32_t n = makes_room ? victim(outbox, broadcast) : outbox->count;
        if (n == outbox->count)
            return refuse(broadcast, label, broadcast->policy == BROADCAST_CLOSE ? OUTBOX_CLOSE : OUTBOX_DROPPED);
        drop(outbox, n);
    }
    if (outbox->count == outbox->size && grow(outbox) != 0)
        return refuse(broadcast, label, OUTBOX_NO_MEMORY);
    size_t own = buffer_length(&outbox->own);
    *entry(outbox, outbox->count) = (struct outbox_entry){ broadcast_retain(broadcast), label, own - outbox->marked };
    outbox->count++;
    outbox->marked = own;
    outbox->waiting += broadcast->length;
    outbox->weight += weight;
    return OUTBOX_OK;
}

void outbox_clear(struct outbox *outbox)
{
    while (outbox->count > first_droppable(outbox))
        drop(outbox, first_droppable(outbox));
}

unsigned outbox_pieces(const struct outbox *outbox, uv_buf_t *pieces, unsigned max)
{
    unsigned count = 0;
    unsigned char *own = buffer_bytes(&outbox->own);
    size_t written = outbox->written;
    for (uint32_t i = 0; i < outbox->count && count < max; i++) {
        const struct outbox_entry *next = entry(outbox, i);
        if (next->before > 0) {
            pieces[count++] = (uv_buf_t){ .base = (char *)own, .len = next->before };
            own += next->before;
        }
        if (count < max)
            pieces[count++] = (uv_buf_t){ .base = (char *)next->broadcast->bytes + written, .len = next->broadcast->length - written };
        written = 0;
    }
    size_t tail = buffer_length(&outbox->own) - outbox->marked;
    if (tail > 0 && count < max)
        pieces[count++] = (uv_buf_t){ .base = (char *)own, .len = tail };
    return count;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

void outbox_consume(struct outbox *outbox, size_t length)
{
    while (length > 0 && outbox->count > 0) {
        struct outbox_entry *first = entry(outbox, 0);
        size_t own = least(first->before, length);
        buffer_consume(&outbox->own, own);
        first->before -= own;
        outbox->marked -= own;
        length -= own;
        size_t left = first->broadcast->length - outbox->written;
        if (first->before > 0 || length == 0)
            return;
        if (length < left) {
            outbox->written += length;
            outbox->waiting -= length;
            return;
        }
        length -= left;
        remove_first(outbox);
    }
    buffer_consume(&outbox->own, length);
    if (buffer_length(&outbox->own) == 0)
        buffer_deinit(&outbox->own);
}

int outbox_take(struct outbox *outbox, struct buffer *bytes, struct broadcast **broadcast, uv_buf_t *rest)
{
    *broadcast = NULL;
    if (outbox->count == 0) {
        *bytes = outbox->own;
        buffer_init(&outbox->own);
        return 0;
    }
    struct outbox_entry *first = entry(outbox, 0);
    if (first->before > 0) {
        size_t length = first->before;
        if (buffer_append(bytes, buffer_bytes(&outbox->own), length) != 0)
            return -1;
        outbox_consume(outbox, length);
        return 0;
    }
    size_t left = first->broadcast->length - outbox->written;
    *broadcast = broadcast_retain(first->broadcast);
    *rest = (uv_buf_t){ .base = (char *)first->broadcast->bytes + outbox->written, .len = left };
    outbox_consume(outbox, left);
    return 0;
}
