#include "channellayer/aftermath.h"

#include "channellayer/holding.h"
#include "channellayer/layer.h"
#include "channellayer/waiter.h"

static struct waiter *first_of_sink(const struct aftermath *aftermath, const struct sink *sink)
{
    if (aftermath->last != NULL && aftermath->last->sink == sink)
        return aftermath->last;
    struct waiter *first = aftermath->sinks;
    while (first != NULL && first->sink != sink)
        first = first->next_sink;
    return first;
}

void aftermath_tell(struct aftermath *aftermath, struct waiter *waiter, struct layer *layer, uint64_t channel)
{
    list_remove(&waiter->of_channel);
    waiter->told.channel = channel;
    waiter->told.layer = layer_retain(layer);
    struct waiter *first = first_of_sink(aftermath, waiter->sink);
    if (first == NULL) {
        first = waiter;
        first->chain = (struct queue_chain){ NULL, NULL };
        first->chain_length = 0;
        first->next_sink = aftermath->sinks;
        aftermath->sinks = first;
    }
    queue_chain_add(&first->chain, &waiter->item);
    first->chain_length++;
    aftermath->last = first;
}

void aftermath_free(struct aftermath *aftermath, struct waiter *waiter)
{
    list_remove(&waiter->of_channel);
    waiter->next_sink = aftermath->unwanted;
    aftermath->unwanted = waiter;
}

void aftermath_run(struct aftermath *aftermath, struct owners *owners)
{
    struct waiter *waiter = aftermath->sinks;
    while (waiter != NULL) {
        struct waiter *next = waiter->next_sink;
        struct queue_chain chain = waiter->chain; /* once it is told, the waiter is its loop's */
        sink_tell(waiter->sink, &chain, waiter->chain_length);
        waiter = next;
    }
    waiter = aftermath->unwanted;
    while (waiter != NULL) {
        struct waiter *next = waiter->next_sink;
        waiter_destroy(waiter);
        waiter = next;
    }
    if (aftermath->overflow)
        owners_overflow_run(owners);
}
