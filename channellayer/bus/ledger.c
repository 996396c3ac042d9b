#include "channellayer/bus/ledger.h"

#include "base/alloc.h"
#include "channellayer/bus/remote.h"

enum { FAILURE_COUNTS_MS = 100 };

struct batch {
    struct list_node link;
    uint64_t number;
    size_t outstanding;
    struct remote_item *settle; /* NULL: it is open, or the settle has been told */
    uint64_t failed_through;    /* as the ledger's, of what has failed in here */
    bool failed;                /* something failed while it was open; what was asked for last: */
    uint64_t failed_asked_at;
};

static struct batch *first_of(struct ledger *ledger)
{
    return list_entry(ledger->batches.next, struct batch, link);
}

static struct batch *open_of(struct ledger *ledger)
{
    return list_entry(ledger->batches.prev, struct batch, link);
}

static void open_batch(struct ledger *ledger)
{
    struct batch *batch = mem_zalloc(sizeof *batch);
    batch->number = ++ledger->newest;
    list_append(&ledger->batches, &batch->link);
}

void ledger_init(struct ledger *ledger)
{
    list_init(&ledger->batches);
    ledger->newest = ledger->failed_through = 0;
    open_batch(ledger);
}

static void tell(struct batch *batch, bool done)
{
    struct remote_item *settle = batch->settle;
    batch->settle = NULL;
    if (settle != NULL)
        remote_done(settle, done);
}

void ledger_deinit(struct ledger *ledger)
{
    while (!list_empty(&ledger->batches)) {
        struct batch *batch = first_of(ledger);
        list_remove(&batch->link);
        tell(batch, false);
        mem_free(batch);
    }
}

/* Tells the settles before which nothing is outstanding. */
static void tell_those_due(struct ledger *ledger)
{
    for (struct batch *batch = first_of(ledger); batch != open_of(ledger) && batch->outstanding == 0; batch = first_of(ledger)) {
        if (batch->failed_through > ledger->failed_through)
            ledger->failed_through = batch->failed_through;
        list_remove(&batch->link);
        tell(batch, batch->number > ledger->failed_through);
        mem_free(batch);
    }
}

struct batch *ledger_note(struct ledger *ledger)
{
    struct batch *batch = open_of(ledger);
    batch->outstanding++;
    return batch;
}

void ledger_confirm(struct ledger *ledger, struct batch *batch, bool done, uint64_t asked_at)
{
    batch->outstanding--;
    struct batch *open = open_of(ledger);
    if (!done) {
        if (batch != open)
            batch->failed_through = open->number - 1;
        open->failed = true;
        if (asked_at > open->failed_asked_at)
            open->failed_asked_at = asked_at;
    }
    tell_those_due(ledger);
}

void ledger_settle(struct ledger *ledger, struct remote_item *item)
{
    struct batch *batch = open_of(ledger);
    batch->settle = item;
    if (batch->failed && item->asked_at <= batch->failed_asked_at + FAILURE_COUNTS_MS)
        batch->failed_through = batch->number;
    open_batch(ledger);
    tell_those_due(ledger);
}

void ledger_expire(struct ledger *ledger, uint64_t then)
{
    for (struct list_node *node = ledger->batches.next; node != &ledger->batches; node = node->next) {
        struct batch *batch = list_entry(node, struct batch, link);
        if (batch->settle != NULL && batch->settle->asked_at < then)
            tell(batch, false);
    }
}
