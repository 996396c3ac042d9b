#include "base/queue.h"

#include <assert.h>
#include <stddef.h>

void queue_init(struct queue *queue, void (*wake)(void *argument), void *argument)
{
    pthread_mutex_init(&queue->lock, NULL);
    queue->items.first = NULL;
    queue->items.last = NULL;
    queue->awake = false;
    queue->wake = wake;
    queue->argument = argument;
}

void queue_deinit(struct queue *queue)
{
    assert(queue->items.first == NULL);
    pthread_mutex_destroy(&queue->lock);
}

void queue_chain_add(struct queue_chain *chain, struct queue_item *item)
{
    item->next = NULL;
    if (chain->first == NULL)
        chain->first = item;
    else
        chain->last->next = item;
    chain->last = item;
}

void queue_push(struct queue *queue, struct queue_chain *chain)
{
    if (chain->first == NULL)
        return;
    pthread_mutex_lock(&queue->lock);
    if (queue->items.first == NULL)
        queue->items.first = chain->first;
    else
        queue->items.last->next = chain->first;
    queue->items.last = chain->last;
    bool asleep = !queue->awake;
    queue->awake = true;
    pthread_mutex_unlock(&queue->lock);
    chain->first = NULL;
    chain->last = NULL;
    if (asleep)
        queue->wake(queue->argument);
}

struct queue_item *queue_take(struct queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    struct queue_item *first = queue->items.first;
    queue->items.first = NULL;
    queue->items.last = NULL;
    if (first == NULL)
        queue->awake = false;
    pthread_mutex_unlock(&queue->lock);
    return first;
}
