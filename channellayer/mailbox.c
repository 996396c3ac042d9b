#include "channellayer/mailbox.h"

#include <stdbool.h>
#include <string.h>

#include "base/alloc.h"
#include "channellayer/layer.h"

enum {
    FIRST_SIZE = 4,
    KEPT_SIZE = 8, /* a ring up to this size outlives its last message, so that a channel in use does not allocate */
};

void mailbox_init(struct mailbox *mailbox, size_t capacity, size_t byte_limit)
{
    *mailbox = (struct mailbox){ .capacity = capacity, .byte_limit = byte_limit };
}

void mailbox_deinit(struct mailbox *mailbox)
{
    mailbox_clear(mailbox);
    mem_free(mailbox->ring);
    mailbox->ring = NULL;
    mailbox->size = 0;
}

static struct mailbox_entry *entry(const struct mailbox *mailbox, size_t n)
{
    return &mailbox->ring[(mailbox->head + n) & (mailbox->size - 1)];
}

static bool fits(const struct mailbox *mailbox, const struct message *message)
{
    return mailbox->count < mailbox->capacity && mailbox->bytes <= mailbox->byte_limit &&
           mailbox_weight(message) <= mailbox->byte_limit - mailbox->bytes;
}

static int grow(struct mailbox *mailbox)
{
    size_t size = mailbox->size > 0 ? mailbox->size * 2 : FIRST_SIZE;
    if (size > SIZE_MAX / sizeof *mailbox->ring)
        return -1;
    struct mailbox_entry *ring = mem_try_alloc(size * sizeof *ring);
    if (ring == NULL)
        return -1;
    for (size_t i = 0; i < mailbox->count; i++)
        ring[i] = *entry(mailbox, i);
    mem_free(mailbox->ring);
    mailbox->ring = ring;
    mailbox->size = size;
    mailbox->head = 0;
    return 0;
}

static struct message *remove_oldest(struct mailbox *mailbox)
{
    struct message *message = entry(mailbox, 0)->message;
    mailbox->head = (mailbox->head + 1) & (mailbox->size - 1);
    mailbox->count--;
    mailbox->bytes -= mailbox_weight(message);
    return message;
}

static void give_back(struct mailbox *mailbox)
{
    if (mailbox->count > 0 || mailbox->size <= KEPT_SIZE)
        return;
    mem_free(mailbox->ring);
    mailbox->ring = NULL;
    mailbox->size = 0;
    mailbox->head = 0;
}

int mailbox_push(struct mailbox *mailbox, struct message *message, uint64_t expires_at)
{
    if (!fits(mailbox, message))
        return LAYER_FULL;
    if (mailbox->count == mailbox->size && grow(mailbox) != 0)
        return LAYER_NO_MEMORY;
    *entry(mailbox, mailbox->count) = (struct mailbox_entry){ message_retain(message), expires_at };
    mailbox->count++;
    mailbox->bytes += mailbox_weight(message);
    return LAYER_OK;
}

static bool same_key(const struct message *a, const struct message *b)
{
    return a->key_length == b->key_length && memcmp(message_key(a), message_key(b), a->key_length) == 0;
}

/* Drops the oldest message that has message's key; false when there is none. Those behind it move up, in order. */
static bool drop_same_key(struct mailbox *mailbox, const struct message *message)
{
    if (message->key_length == 0)
        return false;
    for (size_t i = 0; i < mailbox->count; i++) {
        struct message *queued = entry(mailbox, i)->message;
        if (!same_key(queued, message))
            continue;
        for (size_t k = i; k + 1 < mailbox->count; k++)
            *entry(mailbox, k) = *entry(mailbox, k + 1);
        mailbox->count--;
        mailbox->bytes -= mailbox_weight(queued);
        message_release(queued);
        return true;
    }
    return false;
}

int mailbox_offer(struct mailbox *mailbox, enum overflow overflow, struct message *message, uint64_t expires_at,
                  size_t *dropped)
{
    *dropped = 0;
    bool makes_room = overflow == OVERFLOW_DROP_OLDEST || overflow == OVERFLOW_LATEST;
    if (makes_room && mailbox->capacity > 0 && mailbox_weight(message) <= mailbox->byte_limit) {
        while (!fits(mailbox, message)) {
            if (overflow != OVERFLOW_LATEST || !drop_same_key(mailbox, message))
                message_release(remove_oldest(mailbox));
            ++*dropped;
        }
    }
    int result = mailbox_push(mailbox, message, expires_at);
    if (result != LAYER_OK)
        ++*dropped;
    return result;
}

const struct message *mailbox_oldest(const struct mailbox *mailbox)
{
    return mailbox->count == 0 ? NULL : entry(mailbox, 0)->message;
}

struct message *mailbox_take(struct mailbox *mailbox)
{
    if (mailbox->count == 0)
        return NULL;
    struct message *message = remove_oldest(mailbox);
    give_back(mailbox);
    return message;
}

size_t mailbox_expire(struct mailbox *mailbox, uint64_t now)
{
    size_t expired = 0;
    while (mailbox->count > 0 && entry(mailbox, 0)->expires_at <= now) {
        message_release(remove_oldest(mailbox));
        expired++;
    }
    if (expired > 0)
        give_back(mailbox);
    return expired;
}

void mailbox_clear(struct mailbox *mailbox)
{
    while (mailbox->count > 0)
        message_release(remove_oldest(mailbox));
    give_back(mailbox);
}
