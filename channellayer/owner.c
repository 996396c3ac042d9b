#include "channellayer/owner.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "channellayer/owner_state.h"

struct owners *owners_create(void (*overflow_close)(void *context, uint64_t tag), void *context)
{
    struct owners *owners = mem_zalloc(sizeof *owners);
    pthread_mutex_init(&owners->lock, NULL);
    slots_init(&owners->slots);
    list_init(&owners->overflowed);
    owners->overflow_close = overflow_close;
    owners->context = context;
    return owners;
}

static void free_names(struct owner_report *report)
{
    while (report->name_count > 0)
        mem_free(report->names[--report->name_count]);
}

static void owner_free(struct owner *owner)
{
    if (owner->closed_report != NULL)
        free_names(owner->closed_report);
    mem_free(owner->closed_report);
    outlet_release(owner->outlet);
    mem_free(owner);
}

void owners_destroy(struct owners *owners)
{
    uint32_t cursor = 0;
    struct owner *owner;
    while ((owner = slots_next(&owners->slots, &cursor)) != NULL) {
        assert(list_empty(&owner->holdings));
        owner_free(owner);
    }
    slots_deinit(&owners->slots);
    pthread_mutex_destroy(&owners->lock);
    mem_free(owners);
}

uint64_t owner_open(struct owners *owners, uint64_t tag, struct outlet *outlet, uint64_t socket)
{
    struct owner *owner = mem_zalloc(sizeof *owner);
    owner->tag = tag;
    owner->state = OWNER_OPEN;
    owner->outlet = outlet != NULL ? outlet_retain(outlet) : NULL;
    owner->socket = socket;
    list_init(&owner->overflow_link);
    list_init(&owner->holdings);
    pthread_mutex_lock(&owners->lock);
    uint64_t id = owner->id = slots_add(&owners->slots, owner);
    pthread_mutex_unlock(&owners->lock);
    if (id == 0)
        abort(); /* a connection without owner would be one whose subscriptions outlive it */
    return id;
}

/* The next layer in which id holds something, with a count; NULL at the end. Start with *sequence = 0. A holding that is
 * made meanwhile is made of a closed owner, or comes later in the walk. */
static struct layer *next_layer(struct owners *owners, uint64_t id, uint64_t *sequence)
{
    struct layer *layer = NULL;
    pthread_mutex_lock(&owners->lock);
    struct owner *owner = slots_get(&owners->slots, id);
    if (owner != NULL) {
        for (struct list_node *node = owner->holdings.next; node != &owner->holdings; node = node->next) {
            struct holding *holding = list_entry(node, struct holding, of_owner);
            if (holding->sequence <= *sequence || !layer_try_retain(holding->layer))
                continue;
            *sequence = holding->sequence;
            layer = holding->layer;
            break;
        }
    }
    pthread_mutex_unlock(&owners->lock);
    return layer;
}

/* Moves id on to state, never back; false when it is not there. */
static bool enter(struct owners *owners, uint64_t id, enum owner_state state)
{
    pthread_mutex_lock(&owners->lock);
    struct owner *owner = slots_get(&owners->slots, id);
    if (owner != NULL && owner->state < state)
        owner->state = state;
    pthread_mutex_unlock(&owners->lock);
    return owner != NULL;
}

void owner_accept(struct owners *owners, uint64_t id)
{
    pthread_mutex_lock(&owners->lock);
    struct owner *owner = slots_get(&owners->slots, id);
    bool relays = owner != NULL && owner->outlet != NULL;
    if (relays)
        owner->accepted = true; /* before the walk: a channel that is made meanwhile has it from its owner */
    pthread_mutex_unlock(&owners->lock);
    uint64_t sequence = 0;
    struct layer *layer;
    while (relays && (layer = next_layer(owners, id, &sequence)) != NULL) {
        layer_owner_accepted(layer, id);
        layer_release(layer);
    }
}

void owner_close(struct owners *owners, uint64_t id)
{
    /* A second caller does the same walk and finds nothing, so it too returns only when nothing is left. */
    if (!enter(owners, id, OWNER_CLOSED))
        return;
    uint64_t sequence = 0;
    struct layer *layer;
    while ((layer = next_layer(owners, id, &sequence)) != NULL) {
        layer_owner_closed(layer, id);
        layer_release(layer);
    }
}

void owner_end(struct owners *owners, uint64_t id)
{
    if (!enter(owners, id, OWNER_ENDING))
        return;
    uint64_t sequence = 0;
    struct layer *layer;
    while ((layer = next_layer(owners, id, &sequence)) != NULL) {
        layer_owner_ended(layer, id);
        layer_release(layer);
    }
    pthread_mutex_lock(&owners->lock);
    struct owner *owner = slots_get(&owners->slots, id);
    if (owner != NULL) {
        /* What is left is of layers that are being destroyed: they free it. */
        while (!list_empty(&owner->holdings))
            list_remove(owner->holdings.next);
        list_remove(&owner->overflow_link);
        slots_remove(&owners->slots, id);
    }
    pthread_mutex_unlock(&owners->lock);
    if (owner != NULL)
        owner_free(owner);
}

/* The part of the report that owner_close wrote. *groups: how many memberships it had ended by now. */
static int describe_closed(struct owners *owners, uint64_t id, struct owner_report *report, size_t *groups)
{
    memset(report, 0, sizeof *report);
    pthread_mutex_lock(&owners->lock);
    struct owner *owner = slots_get(&owners->slots, id);
    bool known = owner != NULL && owner->state != OWNER_ENDING;
    if (known) {
        const struct owner_report *closed = owner->closed_report;
        for (size_t i = 0; closed != NULL && i < closed->name_count; i++)
            owner_report_group(report, (struct name){ closed->names[i], strlen(closed->names[i]) });
        report->groups = *groups = owner->closed_groups;
    }
    pthread_mutex_unlock(&owners->lock);
    return known ? 0 : -1;
}

static bool was_closed_meanwhile(struct owners *owners, uint64_t id, size_t groups)
{
    pthread_mutex_lock(&owners->lock);
    struct owner *owner = slots_get(&owners->slots, id);
    bool changed = owner != NULL && owner->closed_groups != groups;
    pthread_mutex_unlock(&owners->lock);
    return changed;
}

int owner_describe(struct owners *owners, uint64_t id, struct owner_report *report)
{
    size_t groups;
    for (;;) {
        if (describe_closed(owners, id, report, &groups) != 0)
            return -1;
        uint64_t sequence = 0;
        struct layer *layer;
        while ((layer = next_layer(owners, id, &sequence)) != NULL) {
            layer_owner_report(layer, id, report);
            layer_release(layer);
        }
        if (!was_closed_meanwhile(owners, id, groups))
            return 0;
        free_names(report);
    }
}
