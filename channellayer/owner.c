#include "channellayer/owner.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/slots.h"
#include "channellayer/holding.h"

enum owner_state {
    OWNER_OPEN,
    OWNER_CLOSED,
    OWNER_ENDING, /* gone for everyone; its channels are being freed */
};

struct owner {
    uint64_t id;
    uint64_t tag;
    enum owner_state state;
    bool overflow_told;             /* overflow_close is called once */
    struct list_node overflow_link; /* in owners.overflowed until it is called */
    struct list_node holdings;
    uint64_t last_sequence;
    struct owner_report *closed_report; /* the groups that owner_close ended; NULL: none, or no memory */
    size_t closed_groups;
};

struct owners {
    pthread_mutex_t lock;
    struct slots slots;
    struct list_node overflowed;
    void (*overflow_close)(void *context, uint64_t tag);
    void *context;
};

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

uint64_t owner_open(struct owners *owners, uint64_t tag)
{
    struct owner *owner = mem_zalloc(sizeof *owner);
    owner->tag = tag;
    owner->state = OWNER_OPEN;
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

int owners_hold(struct owners *owners, uint64_t id, struct layer *layer, struct holding **result, bool *closed)
{
    int error = LAYER_CLOSED;
    pthread_mutex_lock(&owners->lock);
    struct owner *owner = slots_get(&owners->slots, id);
    if (owner != NULL && owner->state != OWNER_ENDING) {
        struct holding *holding = find_holding(owner, layer);
        if (holding == NULL)
            holding = make_holding(owner, layer);
        *result = holding;
        *closed = owner->state == OWNER_CLOSED;
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
