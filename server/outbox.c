#include "server/outbox.h"

#include <assert.h>

#include "base/alloc.h"

enum {
    FIRST_SIZE = 4,
    KEPT_SIZE = 4, /* so many entries outlive the last one in use, so that a socket in use does not allocate */
};

void outbox_init(struct outbox *outbox)
{
    *outbox = (struct outbox){ .free = OUTBOX_NONE, .gate = OUTBOX_NONE };
    buffer_init(&outbox->own);
}

static struct outbox_entry *oldest(const struct outbox *outbox)
{
    assert(outbox->count > 0);
    return &outbox->entries[outbox->oldest];
}

static void free_entries(struct outbox *outbox)
{
    mem_free(outbox->entries);
    outbox->entries = NULL;
    outbox->buckets = NULL;
    outbox->size = 0;
    outbox->free = OUTBOX_NONE;
}

void outbox_deinit(struct outbox *outbox)
{
    for (uint32_t left = outbox->count, n = outbox->oldest; left > 0; left--, n = outbox->entries[n].newer)
        broadcast_release(outbox->entries[n].broadcast);
    free_entries(outbox);
    buffer_deinit(&outbox->own);
    outbox_init(outbox);
}

/* What a broadcast takes of the limit: the application's own messages are bounded by the send window. */
static size_t weight_of(const struct broadcast *broadcast)
{
    return broadcast->policy == BROADCAST_OWN ? 0 : broadcast_weight(broadcast);
}

/* Bytes of broadcast's frame wait, or wait no more. */
static void add_waiting(struct outbox *outbox, const struct broadcast *broadcast, size_t length)
{
    outbox->waiting += length;
    if (broadcast->policy == BROADCAST_OWN)
        outbox->own_frames += length;
}

static void subtract_waiting(struct outbox *outbox, const struct broadcast *broadcast, size_t length)
{
    outbox->waiting -= length;
    if (broadcast->policy == BROADCAST_OWN)
        outbox->own_frames -= length;
}

static struct outbox_bucket *bucket_of(const struct outbox *outbox, const struct broadcast *broadcast)
{
    return &outbox->buckets[broadcast->key_hash & (outbox->size - 1)];
}

/* Entry n is the newest of its bucket. */
static void index_entry(struct outbox *outbox, uint32_t n)
{
    const struct broadcast *broadcast = outbox->entries[n].broadcast;
    outbox->entries[n].later = OUTBOX_NONE;
    if (broadcast->key_length == 0)
        return;
    struct outbox_bucket *bucket = bucket_of(outbox, broadcast);
    if (bucket->oldest == OUTBOX_NONE)
        bucket->oldest = n;
    else
        outbox->entries[bucket->newest].later = n;
    bucket->newest = n;
}

/* Entry n is mostly the oldest of its bucket, or behind few others of it. */
static void unindex_entry(struct outbox *outbox, uint32_t n)
{
    const struct outbox_entry *entry = &outbox->entries[n];
    if (entry->broadcast->key_length == 0)
        return;
    struct outbox_bucket *bucket = bucket_of(outbox, entry->broadcast);
    uint32_t before = OUTBOX_NONE;
    for (uint32_t i = bucket->oldest; i != n; i = outbox->entries[i].later)
        before = i;
    if (before == OUTBOX_NONE)
        bucket->oldest = entry->later;
    else
        outbox->entries[before].later = entry->later;
    if (bucket->newest == n)
        bucket->newest = before;
}

/* Puts entry behind the others; there is a free one for it. */
static void append(struct outbox *outbox, struct outbox_entry entry)
{
    uint32_t n = outbox->free;
    outbox->free = outbox->entries[n].newer;
    entry.older = outbox->count > 0 ? outbox->newest : OUTBOX_NONE;
    entry.newer = OUTBOX_NONE;
    outbox->entries[n] = entry;
    if (outbox->count > 0)
        outbox->entries[outbox->newest].newer = n;
    else
        outbox->oldest = n;
    outbox->newest = n;
    outbox->count++;
    index_entry(outbox, n);
}

/* Takes entry n out of the order and of the index, and frees it; it still holds what it held. */
static void unlink_entry(struct outbox *outbox, uint32_t n)
{
    struct outbox_entry *entry = &outbox->entries[n];
    unindex_entry(outbox, n);
    if (n == outbox->oldest)
        outbox->oldest = entry->newer;
    else
        outbox->entries[entry->older].newer = entry->newer;
    if (n == outbox->newest)
        outbox->newest = entry->older;
    else
        outbox->entries[entry->newer].older = entry->older;
    entry->newer = outbox->free;
    outbox->free = n;
    outbox->count--;
}

static int grow(struct outbox *outbox)
{
    struct outbox old = *outbox;
    uint32_t gate = OUTBOX_NONE;
    uint32_t size = old.size > 0 ? old.size * 2 : FIRST_SIZE;
    struct outbox_entry *entries = mem_try_alloc(size * (sizeof *entries + sizeof(struct outbox_bucket)));
    if (entries == NULL)
        return -1;
    outbox->entries = entries;
    outbox->buckets = (struct outbox_bucket *)(entries + size);
    outbox->size = size;
    outbox->count = 0;
    outbox->free = 0;
    for (uint32_t i = 0; i < size; i++) {
        entries[i].newer = i + 1 < size ? i + 1 : OUTBOX_NONE;
        outbox->buckets[i] = (struct outbox_bucket){ OUTBOX_NONE, OUTBOX_NONE };
    }
    for (uint32_t left = old.count, n = old.oldest; left > 0; left--, n = old.entries[n].newer) {
        append(outbox, old.entries[n]);
        if (n == old.gate)
            gate = outbox->newest;
    }
    outbox->gate = gate;
    mem_free(old.entries);
    return 0;
}

/* The oldest entry's frame has left. */
static void remove_first(struct outbox *outbox)
{
    struct broadcast *broadcast = oldest(outbox)->broadcast;
    outbox->weight -= weight_of(broadcast);
    subtract_waiting(outbox, broadcast, broadcast->length - outbox->written);
    outbox->written = 0;
    unlink_entry(outbox, outbox->oldest);
    broadcast_release(broadcast);
    if (outbox->count == 0 && outbox->size > KEPT_SIZE)
        free_entries(outbox);
}

void outbox_settle(struct outbox *outbox)
{
    while (outbox->gate != OUTBOX_NONE) {
        struct outbox_entry *entry = &outbox->entries[outbox->gate];
        struct broadcast *broadcast = entry->broadcast, *instead = broadcast->instead;
        if (broadcast->unsettled)
            return;
        if (instead != NULL) {
            subtract_waiting(outbox, broadcast, broadcast->length);
            add_waiting(outbox, instead, instead->length);
            outbox->weight += weight_of(instead) - weight_of(broadcast);
            entry->broadcast = broadcast_retain(instead);
            broadcast_release(broadcast);
        }
        entry->shut = false;
        outbox->before_gate += entry->broadcast->length;
        outbox->gate = entry->newer;
        if (outbox->gate != OUTBOX_NONE)
            outbox->before_gate += outbox->entries[outbox->gate].before;
    }
}

/* Drops entry n, which has not been begun. Its own bytes go before the next one. */
static void drop(struct outbox *outbox, uint32_t n)
{
    struct outbox_entry dropped = outbox->entries[n];
    assert(n != outbox->oldest || outbox->written == 0);
    if (n == outbox->gate) {
        outbox->gate = dropped.newer;
        outbox->before_gate += dropped.newer != OUTBOX_NONE ? outbox->entries[dropped.newer].before : 0;
    } else if (!dropped.shut) {
        outbox->before_gate -= dropped.broadcast->length; /* means nothing while there is no gate */
    }
    if (dropped.newer != OUTBOX_NONE)
        outbox->entries[dropped.newer].before += dropped.before;
    else
        outbox->marked -= dropped.before;
    unlink_entry(outbox, n);
    outbox->weight -= weight_of(dropped.broadcast);
    subtract_waiting(outbox, dropped.broadcast, dropped.broadcast->length);
    outbox_settle(outbox);
    dropped.broadcast->callbacks->dropped(dropped.broadcast->context, dropped.label, 1);
    broadcast_release(dropped.broadcast);
}

/* The oldest entry that has not been begun; OUTBOX_NONE: there is none. */
static uint32_t first_droppable(const struct outbox *outbox)
{
    if (outbox->count == 0)
        return OUTBOX_NONE;
    uint32_t n = outbox->written > 0 ? oldest(outbox)->newer : outbox->oldest;
    while (n != OUTBOX_NONE && outbox->entries[n].broadcast->policy == BROADCAST_OWN)
        n = outbox->entries[n].newer;
    return n;
}

/* The oldest entry with broadcast's key that has not been begun; OUTBOX_NONE: there is none. */
static uint32_t find_same_key(const struct outbox *outbox, const struct broadcast *broadcast)
{
    if (broadcast->key_length == 0)
        return OUTBOX_NONE;
    uint32_t n = bucket_of(outbox, broadcast)->oldest;
    while (n != OUTBOX_NONE && ((n == outbox->oldest && outbox->written > 0) ||
                                !broadcast_same_key(outbox->entries[n].broadcast, broadcast)))
        n = outbox->entries[n].later;
    return n;
}

/* The entry that makes room for broadcast; OUTBOX_NONE: there is none. */
static uint32_t victim(const struct outbox *outbox, const struct broadcast *broadcast)
{
    uint32_t n = broadcast->policy == BROADCAST_LATEST ? find_same_key(outbox, broadcast) : OUTBOX_NONE;
    return n != OUTBOX_NONE ? n : first_droppable(outbox);
}

static enum outbox_result refuse(struct broadcast *broadcast, uint64_t label, enum outbox_result result)
{
    broadcast->callbacks->dropped(broadcast->context, label, 1);
    return result;
}

/* Puts broadcast behind everything else. 0, or -1: there is no memory. */
static int put(struct outbox *outbox, struct broadcast *broadcast, uint64_t label)
{
    size_t own = buffer_length(&outbox->own);
    if (outbox->count == outbox->size && grow(outbox) != 0)
        return -1;
    if (broadcast->unsettled && outbox->gate == OUTBOX_NONE) {
        outbox->before_gate = outbox_length(outbox);
        outbox->gate = outbox->free; /* where append() puts it */
    }
    append(outbox, (struct outbox_entry){ .broadcast = broadcast_retain(broadcast),
                                          .label = label,
                                          .before = own - outbox->marked,
                                          .shut = outbox->gate != OUTBOX_NONE });
    outbox->marked = own;
    outbox->weight += weight_of(broadcast);
    add_waiting(outbox, broadcast, broadcast->length);
    return 0;
}

enum outbox_result outbox_offer(struct outbox *outbox, struct broadcast *broadcast, uint64_t label, size_t limit)
{
    size_t weight = broadcast_weight(broadcast);
    bool makes_room = broadcast->policy == BROADCAST_DROP_OLDEST || broadcast->policy == BROADCAST_LATEST;
    while (outbox->weight > 0 && outbox->weight + weight > limit) { /* alone it may be larger than the limit */
        uint32_t n = makes_room ? victim(outbox, broadcast) : OUTBOX_NONE;
        if (n == OUTBOX_NONE)
            return refuse(broadcast, label, broadcast->policy == BROADCAST_CLOSE ? OUTBOX_CLOSE : OUTBOX_DROPPED);
        drop(outbox, n);
    }
    return put(outbox, broadcast, label) == 0 ? OUTBOX_OK : refuse(broadcast, label, OUTBOX_NO_MEMORY);
}

int outbox_put(struct outbox *outbox, struct broadcast *message)
{
    assert(message->policy == BROADCAST_OWN);
    return put(outbox, message, 0);
}

struct broadcast *outbox_gate(const struct outbox *outbox)
{
    return outbox->gate != OUTBOX_NONE ? outbox->entries[outbox->gate].broadcast : NULL;
}


void outbox_clear(struct outbox *outbox)
{
    for (uint32_t n; (n = first_droppable(outbox)) != OUTBOX_NONE;)
        drop(outbox, n);
}

unsigned outbox_pieces(const struct outbox *outbox, uv_buf_t *pieces, unsigned max)
{
    unsigned count = 0;
    unsigned char *own = buffer_bytes(&outbox->own);
    size_t written = outbox->written;
    for (uint32_t left = outbox->count, n = outbox->oldest; left > 0 && count < max; left--) {
        const struct outbox_entry *next = &outbox->entries[n];
        if (next->before > 0) {
            pieces[count++] = (uv_buf_t){ .base = (char *)own, .len = next->before };
            own += next->before;
        }
        if (n == outbox->gate)
            return count;
        if (count < max)
            pieces[count++] = (uv_buf_t){ .base = (char *)next->broadcast->bytes + written, .len = next->broadcast->length - written };
        written = 0;
        n = next->newer;
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
    if (outbox_is_shut(outbox)) {
        assert(length <= outbox->before_gate);
        outbox->before_gate -= length;
    }
    while (length > 0 && outbox->count > 0) {
        struct outbox_entry *first = oldest(outbox);
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
            subtract_waiting(outbox, first->broadcast, length);
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
    struct outbox_entry *first = oldest(outbox);
    if (first->before > 0) {
        size_t length = first->before;
        if (buffer_append(bytes, buffer_bytes(&outbox->own), length) != 0)
            return -1;
        outbox_consume(outbox, length);
        return 0;
    }
    assert(outbox->oldest != outbox->gate);
    size_t left = first->broadcast->length - outbox->written;
    *broadcast = broadcast_retain(first->broadcast);
    *rest = (uv_buf_t){ .base = (char *)first->broadcast->bytes + outbox->written, .len = left };
    outbox_consume(outbox, left);
    return 0;
}
