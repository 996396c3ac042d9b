#include "channellayer/holding.h"

#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "channellayer/owner_state.h"

/* The registry's lock is held. */
static struct holding *find_holding(struct owner *owner, const struct layer *layer)
{
    for (struct list_node *node = owner->holdings.next; node != &owner->holdings; node = node->next) {
        struct holding *holding = list_entry(node, struct holding, of_owner);
        if (holding->layer == layer)
            return holding;
    }
    return NULL;
}

/* The registry's lock is held. */
static struct holding *make_holding(struct owner *owner, struct layer *layer)
{
    struct holding *holding = mem_try_alloc(sizeof *holding);
    if (holding == NULL)
        return NULL;
    holding->layer = layer;
    holding->sequence = ++owner->last_sequence;
    list_init(&holding->of_layer);
    list_init(&holding->channels);
    list_append(&owner->holdings, &holding->of_owner);
    return holding;
}

int owners_hold(struct owners *owners, uint64_t id, struct layer *layer, struct holding **result,
                struct owner_view *view)
{
    int error = LAYER_CLOSED;
    pthread_mutex_lock(&owners->lock);
    struct owner *owner = slots_get(&owners->slots, id);
    if (owner != NULL && owner->state != OWNER_ENDING) {
        struct holding *holding = find_holding(owner, layer);
        if (holding == NULL)
            holding = make_holding(owner, layer);
        *result = holding;
        *view = (struct owner_view){ id, owner->state == OWNER_CLOSED, owner->accepted, owner->outlet != NULL, owner->outlet, owner->socket };
        if (view->closed)
            view->outlet = NULL;
        error = holding != NULL ? LAYER_OK : LAYER_NO_MEMORY;
    }
    pthread_mutex_unlock(&owners->lock);
    return error;
}

struct holding *owners_held(struct owners *owners, uint64_t id, const struct layer *layer)
{
    pthread_mutex_lock(&owners->lock);
    struct owner *owner = slots_get(&owners->slots, id);
    struct holding *holding = owner != NULL ? find_holding(owner, layer) : NULL;
    pthread_mutex_unlock(&owners->lock);
    return holding;
}

void owners_let_go(struct owners *owners, struct holding *holding)
{
    assert(list_empty(&holding->channels));
    list_remove(&holding->of_layer);
    pthread_mutex_lock(&owners->lock);
    list_remove(&holding->of_owner);
    pthread_mutex_unlock(&owners->lock);
    mem_free(holding);
}

bool owners_known(struct owners *owners, uint64_t id)
{
    pthread_mutex_lock(&owners->lock);
    bool known = slots_get(&owners->slots, id) != NULL;
    pthread_mutex_unlock(&owners->lock);
    return known;
}

void owner_report_group(struct owner_report *report, struct name group)
{
    report->groups++;
    if (report->name_count == OWNER_REPORT_GROUPS)
        return;
    char *name = mem_try_alloc(group.length + 1);
    if (name == NULL)
        return;
    memcpy(name, group.bytes, group.length);
    name[group.length] = '\0';
    report->names[report->name_count++] = name;
}

void owners_record(struct owners *owners, uint64_t id, struct name group)
{
    pthread_mutex_lock(&owners->lock);
    struct owner *owner = slots_get(&owners->slots, id);
    if (owner != NULL) {
        owner->closed_groups++;
        if (owner->closed_report == NULL) {
            owner->closed_report = mem_try_alloc(sizeof *owner->closed_report);
            if (owner->closed_report != NULL)
                memset(owner->closed_report, 0, sizeof *owner->closed_report);
        }
        if (owner->closed_report != NULL)
            owner_report_group(owner->closed_report, group);
    }
    pthread_mutex_unlock(&owners->lock);
}

bool owners_overflow(struct owners *owners, uint64_t id)
{
    pthread_mutex_lock(&owners->lock);
    struct owner *owner = slots_get(&owners->slots, id);
    bool first = owner != NULL && owner->state != OWNER_ENDING && !owner->overflow_told;
    if (first) {
        owner->overflow_told = true;
        list_append(&owners->overflowed, &owner->overflow_link);
    }
    pthread_mutex_unlock(&owners->lock);
    return first;
}

void owners_overflow_run(struct owners *owners)
{
    for (;;) {
        pthread_mutex_lock(&owners->lock);
        bool done = list_empty(&owners->overflowed);
        uint64_t tag = 0;
        if (!done) {
            struct owner *owner = list_entry(owners->overflowed.next, struct owner, overflow_link);
            list_remove(&owner->overflow_link);
            tag = owner->tag;
        }
        pthread_mutex_unlock(&owners->lock);
        if (done)
            return;
        if (owners->overflow_close != NULL)
            owners->overflow_close(owners->context, tag);
    }
}
