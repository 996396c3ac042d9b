#include "channellayer/sink.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/alloc.h"
#include "channellayer/layer.h"
#include "channellayer/waiter.h"

struct sink {
    atomic_uint references;
    /* Held while the loop is told, so that sink_close() can wait for a wake() that is under way. */
    pthread_mutex_t gate;
    atomic_bool closed; /* written under the gate */
    struct queue queue;
    struct queue_item *taken; /* the loop's batch, not yet handed out */
};

struct waiter *waiter_create(struct sink *sink, uint64_t token)
{
    struct waiter *waiter = mem_try_alloc(sizeof *waiter);
    if (waiter == NULL)
        return NULL;
    *waiter = (struct waiter){ .sink = sink_retain(sink), .told.token = token };
    list_init(&waiter->of_channel);
    return waiter;
}

void waiter_destroy(struct waiter *waiter)
{
    sink_release(waiter->sink);
    mem_free(waiter);
}

static struct waiter *waiter_of(struct queue_item *item)
{
    return list_entry(item, struct waiter, item);
}

/* Nobody will take these: the messages they were told of are for the next ones that wait. */
static void pass_on(struct queue_item *item)
{
    while (item != NULL) {
        struct queue_item *next = item->next;
        struct sink_item told = waiter_of(item)->told;
        mem_free(waiter_of(item));
        layer_pass(told.layer, told.channel);
        layer_release(told.layer);
        message_release(told.answer);
        item = next;
    }
}

static void pass_on_queued(struct sink *sink)
{
    pass_on(sink->taken);
    sink->taken = NULL;
    struct queue_item *items;
    while ((items = queue_take(&sink->queue)) != NULL)
        pass_on(items);
}

struct sink *sink_create(void (*wake)(void *argument), void *argument)
{
    struct sink *sink = mem_alloc(sizeof *sink);
    atomic_init(&sink->references, 1);
    pthread_mutex_init(&sink->gate, NULL);
    atomic_init(&sink->closed, false);
    sink->taken = NULL;
    queue_init(&sink->queue, wake, argument);
    return sink;
}

struct sink *sink_retain(struct sink *sink)
{
    atomic_fetch_add_explicit(&sink->references, 1, memory_order_relaxed);
    return sink;
}

static void release_many(struct sink *sink, unsigned count)
{
    if (atomic_fetch_sub_explicit(&sink->references, count, memory_order_acq_rel) != count)
        return;
    pass_on_queued(sink);
    queue_deinit(&sink->queue);
    pthread_mutex_destroy(&sink->gate);
    mem_free(sink);
}

void sink_release(struct sink *sink)
{
    release_many(sink, 1);
}

bool sink_is_closed(const struct sink *sink)
{
    return atomic_load_explicit(&sink->closed, memory_order_relaxed);
}

void sink_tell(struct sink *sink, struct queue_chain *chain, unsigned count)
{
    pthread_mutex_lock(&sink->gate);
    bool closed = atomic_load(&sink->closed);
    if (!closed)
        queue_push(&sink->queue, chain);
    pthread_mutex_unlock(&sink->gate);
    if (closed)
        pass_on(chain->first);
    release_many(sink, count);
}

void waiter_answered(struct waiter *waiter, int status, struct message *answer)
{
    struct queue_chain chain = { 0 };
    waiter->told.status = status;
    waiter->told.answer = answer;
    queue_chain_add(&chain, &waiter->item);
    sink_tell(waiter->sink, &chain, 1);
}

void sink_close(struct sink *sink)
{
    pthread_mutex_lock(&sink->gate);
    atomic_store(&sink->closed, true);
    pthread_mutex_unlock(&sink->gate);
    pass_on_queued(sink);
}

int sink_take(struct sink *sink, struct sink_item *item)
{
    if (sink->taken == NULL)
        sink->taken = queue_take(&sink->queue);
    if (sink->taken == NULL)
        return 0;
    struct waiter *waiter = waiter_of(sink->taken);
    sink->taken = sink->taken->next;
    *item = waiter->told;
    mem_free(waiter);
    return 1;
}
