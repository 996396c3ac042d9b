#include "channellayer/bus/remote.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "channellayer/holding.h"

enum { REFUSAL_LASTS_MS = 45000 }; /* more than lies between two attempts at what was refused */

struct trouble {
    struct list_node link;
    const void *whose;
    char text[200];
};

static struct remote *remote_of(struct bus *bus)
{
    return (struct remote *)((char *)bus - offsetof(struct remote, bus));
}

static size_t weight(const struct remote_item *item)
{
    return sizeof *item + (item->message != NULL ? item->message->length : 0);
}

/* Makes item, which has room for both names, one with copies of them. */
static struct remote_item *fill(struct remote_item *item, struct remote *remote, enum remote_kind kind, struct name group, struct name channel)
{
    *item = (struct remote_item){ .remote = remote, .kind = kind, .asked_at = clock_ms() };
    list_init(&item->link);
    char *text = (char *)(item + 1);
    if (group.length > 0)
        memcpy(text, group.bytes, group.length);
    if (channel.length > 0)
        memcpy(text + group.length, channel.bytes, channel.length);
    item->group = (struct name){ text, group.length };
    item->channel = (struct name){ text + group.length, channel.length };
    return item;
}

/* For what must not be lost. Names are at most 99 bytes long: a fixed size, so there is memory. */
static struct remote_item *create(struct remote *remote, enum remote_kind kind, struct name group, struct name channel)
{
    return fill(mem_alloc(sizeof(struct remote_item) + group.length + channel.length), remote, kind, group, channel);
}

static void push(struct remote_item *item)
{
    struct queue_chain chain = { 0 };
    queue_chain_add(&chain, &item->item);
    queue_push(&item->remote->items, &chain);
}

/* What must not be lost: the other processes would go on sending, or never begin. */
static void push_change(struct bus *bus, enum remote_kind kind, struct name group, struct name channel, bool edge,
                        size_t receivers)
{
    struct remote_item *item = create(remote_of(bus), kind, group, channel);
    item->edge = edge;
    item->capacity = receivers;
    push(item);
}

static const struct name no_name = { "", 0 };

static void joined(struct bus *bus, struct name group, struct name channel, bool first)
{
    push_change(bus, REMOTE_JOIN, group, channel, first, 0);
}

static void left(struct bus *bus, struct name group, struct name channel, bool last)
{
    push_change(bus, REMOTE_LEAVE, group, channel, last, 0);
}

static void made(struct bus *bus, struct name channel)
{
    push_change(bus, REMOTE_MADE, no_name, channel, false, 0);
}

static void gone(struct bus *bus, struct name channel)
{
    push_change(bus, REMOTE_GONE, no_name, channel, false, 0);
}

static bool elsewhere(struct bus *bus, struct name group, struct name channel, bool joins, enum overflow overflow)
{
    const struct name *own = &remote_of(bus)->own;
    if (own->length == 0 || memmem(channel.bytes, channel.length, own->bytes, own->length) != NULL)
        return false;
    struct remote_item *item = create(remote_of(bus), joins ? REMOTE_JOIN : REMOTE_LEAVE, group, channel);
    item->elsewhere = true;
    item->capacity = overflow;
    push(item);
    return true;
}

static void wanted(struct bus *bus, struct name channel, size_t receivers)
{
    if (remote_of(bus)->operations->wants)
        push_change(bus, REMOTE_WANTED, no_name, channel, false, receivers);
}

static void flush(struct bus *bus)
{
    push_change(bus, REMOTE_FLUSH, no_name, no_name, false, 0);
}

static int push_message(struct remote *remote, enum remote_kind kind, struct name group, struct name channel, size_t capacity,
                        struct message *message)
{
    struct remote_item *item = mem_try_alloc(sizeof *item + group.length + channel.length);
    if (item == NULL)
        return LAYER_NO_MEMORY;
    fill(item, remote, kind, group, channel);
    item->message = message_retain(message);
    item->capacity = capacity;
    size_t before = atomic_fetch_add(&remote->pending, weight(item));
    if (before + weight(item) > remote->buffer_limit) {
        remote_done(item, false);
        return LAYER_UNSENT;
    }
    push(item);
    return LAYER_OK;
}

static int publish(struct bus *bus, struct name group, struct message *message)
{
    struct remote *remote = remote_of(bus);
    int result = push_message(remote, REMOTE_PUBLISH, group, no_name, 0, message);
    if (!remote->operations->delivers_here)
        return result;
    int here = layer_deliver(remote->layer, group, message); /* the caller has a count of the layer */
    return result != LAYER_OK ? result : here;
}

static int send_direct(struct bus *bus, struct name channel, size_t capacity, struct message *message)
{
    return push_message(remote_of(bus), REMOTE_SEND, no_name, channel, capacity, message);
}

static bool settle(struct bus *bus, const struct settling *what, struct waiter *waiter)
{
    struct remote_item *item = create(remote_of(bus), REMOTE_SETTLE, what->group, what->channel);
    item->waiter = waiter;
    item->joined = what->joined;
    item->wait_ms = what->wait_ms;
    push(item);
    return true;
}

static void query(struct bus *bus, struct name group, struct waiter *waiter)
{
    struct remote *remote = remote_of(bus);
    struct remote_item *item = create(remote, REMOTE_QUERY, group, no_name);
    item->waiter = waiter;
    if (remote->operations->queries)
        push(item);
    else
        remote_answer(item, (struct span){ NULL, 0 });
}

static void stats(struct bus *bus, struct bus_stats *stats)
{
    struct remote *remote = remote_of(bus);
    stats->links = atomic_load(&remote->links);
    stats->links_up = atomic_load(&remote->links_up);
    stats->bytes_pending = atomic_load(&remote->pending);
    stats->published = atomic_load(&remote->published);
    stats->received = atomic_load(&remote->received);
    stats->unsent = atomic_load(&remote->unsent);
    stats->refused = atomic_load(&remote->refused);
    stats->unreadable = atomic_load(&remote->unreadable);
    stats->reconnects = atomic_load(&remote->reconnects);
    stats->gaps = atomic_load(&remote->gaps);
    pthread_mutex_lock(&remote->gate);
    const char *trouble = "";
    if (!list_empty(&remote->troubles))
        trouble = list_entry(remote->troubles.prev, struct trouble, link)->text;
    else if (clock_ms() - remote->refused_at < REFUSAL_LASTS_MS)
        trouble = remote->refusal;
    snprintf(stats->trouble, sizeof stats->trouble, "%s", trouble);
    pthread_mutex_unlock(&remote->gate);
}

static void destroy(struct bus *bus)
{
    struct remote *remote = remote_of(bus);
    pthread_mutex_lock(&remote->gate);
    remote->layer = NULL;
    pthread_mutex_unlock(&remote->gate);
    bus_thread_leaving();
    bus_thread_post(remote->thread, &remote->end);
}

static void on_drain(struct bus_task *task)
{
    struct remote *remote = (struct remote *)((char *)task - offsetof(struct remote, drain));
    struct queue_item *item;
    while ((item = queue_take(&remote->items)) != NULL) {
        while (item != NULL) {
            struct remote_item *asked = list_entry(item, struct remote_item, item);
            item = item->next;
            remote->operations->take(remote, asked);
        }
    }
}

static void on_begin(struct bus_task *task)
{
    struct remote *remote = (struct remote *)((char *)task - offsetof(struct remote, begin));
    remote->operations->start(remote);
}

static void on_end(struct bus_task *task)
{
    struct remote *remote = (struct remote *)((char *)task - offsetof(struct remote, end));
    remote->operations->stop(remote);
}

static void wake(void *argument)
{
    struct remote *remote = argument;
    bus_thread_post(remote->thread, &remote->drain);
}

/* For a bus that delivers here at once, as the hub's; and one that does not, as Redis's. What differs is asked of remote->operations. */
static const struct bus_operations every_member = {
    .name = "remote", .pairs = true, .joined = joined, .left = left, .elsewhere = elsewhere, .made = made, .gone = gone, .wanted = wanted, .publish = publish,
    .send = send_direct, .settle = settle, .query = query, .flush = flush, .stats = stats, .destroy = destroy,
};
static const struct bus_operations first_and_last = {
    .name = "remote", .pairs = false, .joined = joined, .left = left, .elsewhere = elsewhere, .made = made, .gone = gone, .wanted = wanted, .publish = publish,
    .send = send_direct, .settle = settle, .query = query, .flush = flush, .stats = stats, .destroy = destroy,
};

int remote_init(struct remote *remote, const struct remote_operations *operations, struct layer *layer, size_t buffer_limit)
{
    remote->thread = bus_thread_retain();
    if (remote->thread == NULL)
        return LAYER_NO_MEMORY;
    remote->bus.operations = operations->pairs ? &every_member : &first_and_last;
    remote->operations = operations;
    remote->layer = layer;
    remote->buffer_limit = buffer_limit;
    pthread_mutex_init(&remote->gate, NULL);
    list_init(&remote->troubles);
    queue_init(&remote->items, wake, remote);
    remote->drain.run = on_drain;
    remote->begin.run = on_begin;
    remote->end.run = on_end;
    bus_thread_post(remote->thread, &remote->begin);
    return LAYER_OK;
}

struct remote_item *remote_message(struct remote *remote, struct name channel, size_t capacity, struct message *message)
{
    struct remote_item *item = create(remote, REMOTE_SEND, no_name, channel);
    item->message = message_retain(message);
    item->capacity = capacity;
    atomic_fetch_add(&remote->pending, weight(item));
    return item;
}

struct layer *remote_enter(struct remote *remote)
{
    pthread_mutex_lock(&remote->gate);
    struct layer *layer = remote->layer != NULL && layer_try_retain(remote->layer) ? remote->layer : NULL;
    pthread_mutex_unlock(&remote->gate);
    return layer;
}

void remote_done(struct remote_item *item, bool sent)
{
    struct remote *remote = item->remote;
    if (item->message != NULL) {
        atomic_fetch_sub(&remote->pending, weight(item));
        atomic_fetch_add(sent ? &remote->published : &remote->unsent, 1);
        message_release(item->message);
    }
    if (item->waiter != NULL) {
        remote_settled(item, sent ? LAYER_OK : LAYER_UNSENT, NULL);
        return;
    }
    mem_free(item);
}

void remote_settled(struct remote_item *item, int status, const char *reason)
{
    struct waiter *waiter = item->waiter;
    if (item->full)
        status = LAYER_FULL;
    else if (item->failed && status == LAYER_OK)
        status = LAYER_UNSENT;
    mem_free(item);
    bool said = status == LAYER_REFUSED && reason != NULL;
    waiter_answered(waiter, status, said ? message_create(reason, strlen(reason), NULL, 0) : NULL);
}

/* The gate is held. */
static struct trouble *trouble_of(struct remote *remote, const void *whose)
{
    for (struct list_node *node = remote->troubles.next; node != &remote->troubles; node = node->next) {
        struct trouble *trouble = list_entry(node, struct trouble, link);
        if (trouble->whose == whose)
            return trouble;
    }
    return NULL;
}

static void forget_trouble(struct trouble *trouble)
{
    list_remove(&trouble->link);
    mem_free(trouble);
}

void remote_trouble(struct remote *remote, const void *whose, const char *label, const char *reason)
{
    pthread_mutex_lock(&remote->gate);
    struct trouble *trouble = trouble_of(remote, whose);
    if (reason == NULL && trouble != NULL) {
        forget_trouble(trouble);
    } else if (reason != NULL) {
        if (trouble == NULL) {
            trouble = mem_alloc(sizeof *trouble);
            trouble->whose = whose;
            list_append(&remote->troubles, &trouble->link);
        }
        snprintf(trouble->text, sizeof trouble->text, "%s: %s", label, reason);
    }
    pthread_mutex_unlock(&remote->gate);
}

void remote_refused(struct remote *remote, const char *label, const char *command, const char *error)
{
    pthread_mutex_lock(&remote->gate);
    snprintf(remote->refusal, sizeof remote->refusal, "%s has refused %s: %s", label, command, error);
    remote->refused_at = clock_ms();
    pthread_mutex_unlock(&remote->gate);
}

void remote_refuses_nothing(struct remote *remote)
{
    pthread_mutex_lock(&remote->gate);
    remote->refusal[0] = '\0';
    pthread_mutex_unlock(&remote->gate);
}

void remote_answer(struct remote_item *item, struct span names)
{
    struct waiter *waiter = item->waiter;
    struct message *answer = message_create(names.bytes, names.length, NULL, 0);
    mem_free(item);
    waiter_answered(waiter, answer != NULL ? LAYER_OK : LAYER_NO_MEMORY, answer);
}

void remote_stopped(struct remote *remote)
{
    struct bus_thread *thread = remote->thread;
    assert(atomic_load(&remote->pending) == 0);
    while (!list_empty(&remote->troubles))
        forget_trouble(list_entry(remote->troubles.next, struct trouble, link));
    queue_deinit(&remote->items);
    pthread_mutex_destroy(&remote->gate);
    mem_free(remote);
    bus_thread_left();
    bus_thread_release(thread);
}
