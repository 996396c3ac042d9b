#include "channellayer/bus/ledger.h"

#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "channellayer/bus/remote.h"
#include "channellayer/name.h"

enum { FAILURE_COUNTS_MS = 100 };

struct batch {
    struct list_node link;
    struct list_node of_settles;
    struct account *account;
    uint64_t number;
    size_t outstanding;
    struct remote_item *settle; /* NULL: it is open, or the settle has been told */
    uint64_t failed_through;    /* as the account's, of what has failed in here */
    bool failed;                /* something failed while it was open; what was asked for last: */
    uint64_t failed_asked_at;
};

struct account {
    struct table_node by_name;
    struct list_node batches; /* oldest first; the last one is open: its settle has not been asked for */
    struct list_node failed;  /* in the ledger's */
    uint64_t kept_until;      /* clock_ms(): while in that list */
    size_t outstanding;       /* in all batches */
    uint64_t newest;          /* number of the last batch */
    uint64_t failed_through;  /* settles up to this batch are told that something has failed; 0: none */
    int failure;              /* LAYER_UNSENT or LAYER_REFUSED: the last one */
    char *reason;             /* its; mem_free(); NULL: none */
    struct name name;
    char text[];
};

static struct batch *first_of(struct account *account)
{
    return list_entry(account->batches.next, struct batch, link);
}

static struct batch *open_of(struct account *account)
{
    return list_entry(account->batches.prev, struct batch, link);
}

static void open_batch(struct account *account)
{
    struct batch *batch = mem_zalloc(sizeof *batch);
    batch->account = account;
    batch->number = ++account->newest;
    list_init(&batch->of_settles);
    list_append(&account->batches, &batch->link);
}

static struct account *find(const struct ledger *ledger, struct name name)
{
    struct table_node *node = table_first(&ledger->accounts, name_hash(name));
    for (; node != NULL; node = table_next_same(node)) {
        struct account *account = list_entry(node, struct account, by_name);
        if (name_equal(account->name, name))
            return account;
    }
    return NULL;
}

static struct account *make(struct ledger *ledger, struct name name)
{
    struct account *account = mem_alloc(sizeof *account + name.length);
    *account = (struct account){ .failure = LAYER_UNSENT, .name = { account->text, name.length } };
    if (name.length > 0)
        memcpy(account->text, name.bytes, name.length);
    list_init(&account->batches);
    list_init(&account->failed);
    if (table_insert(&ledger->accounts, &account->by_name, name_hash(name)) != 0) {
        mem_free(account); /* only the first can fail, and that is the account of all */
        return NULL;
    }
    open_batch(account);
    return account;
}

int ledger_init(struct ledger *ledger)
{
    table_init(&ledger->accounts);
    list_init(&ledger->settles);
    list_init(&ledger->failed);
    ledger->all = make(ledger, (struct name){ "", 0 });
    return ledger->all != NULL ? 0 : -1;
}

static void tell(struct batch *batch, int status)
{
    struct remote_item *settle = batch->settle;
    batch->settle = NULL;
    list_remove(&batch->of_settles);
    if (settle != NULL)
        remote_settled(settle, status, status == LAYER_REFUSED ? batch->account->reason : NULL);
}

static void free_account(struct ledger *ledger, struct account *account)
{
    while (!list_empty(&account->batches)) {
        struct batch *batch = first_of(account);
        list_remove(&batch->link);
        tell(batch, LAYER_UNSENT);
        mem_free(batch);
    }
    list_remove(&account->failed);
    table_remove(&ledger->accounts, &account->by_name);
    mem_free(account->reason);
    mem_free(account);
}

void ledger_deinit(struct ledger *ledger)
{
    struct table_node *node;
    size_t bucket = 0;
    while ((node = table_walk(&ledger->accounts, &bucket, NULL)) != NULL) {
        free_account(ledger, list_entry(node, struct account, by_name));
        bucket = 0;
    }
    table_deinit(&ledger->accounts);
}

/* Nothing is outstanding in it, nobody waits for it, and nobody need hear of its failure. */
static bool is_unused(const struct ledger *ledger, struct account *account)
{
    return account != ledger->all && account->outstanding == 0 && first_of(account) == open_of(account) && list_empty(&account->failed);
}

/* Tells the settles before which nothing is outstanding. May free the account. */
static void tell_those_due(struct ledger *ledger, struct account *account)
{
    for (struct batch *batch = first_of(account); batch != open_of(account) && batch->outstanding == 0; batch = first_of(account)) {
        if (batch->failed_through > account->failed_through)
            account->failed_through = batch->failed_through;
        list_remove(&batch->link);
        tell(batch, batch->number > account->failed_through ? LAYER_OK : account->failure);
        mem_free(batch);
    }
    if (is_unused(ledger, account))
        free_account(ledger, account);
}

struct note ledger_note(struct ledger *ledger, struct name name, uint64_t asked_at)
{
    struct account *account = name.length > 0 ? find(ledger, name) : ledger->all;
    if (account == NULL)
        account = make(ledger, name);
    struct note note = { .account = account, .batch = open_of(account), .asked_at = asked_at };
    note.batch->outstanding++;
    account->outstanding++;
    if (account != ledger->all) {
        note.in_all = open_of(ledger->all);
        note.in_all->outstanding++;
        ledger->all->outstanding++;
    }
    return note;
}

static void note_failure(struct ledger *ledger, struct account *account, struct batch *batch, uint64_t asked_at, int status,
                         const char *reason)
{
    struct batch *open = open_of(account);
    if (batch != open)
        batch->failed_through = open->number - 1;
    open->failed = true;
    if (asked_at > open->failed_asked_at)
        open->failed_asked_at = asked_at;
    account->failure = status;
    char *copy = reason == NULL ? NULL : mem_alloc(strlen(reason) + 1);
    if (copy != NULL)
        strcpy(copy, reason);
    mem_free(account->reason);
    account->reason = copy;
    account->kept_until = clock_ms() + 2 * FAILURE_COUNTS_MS;
    list_remove(&account->failed);
    if (account != ledger->all)
        list_append(&ledger->failed, &account->failed);
}

static void confirm_in(struct ledger *ledger, struct account *account, struct batch *batch, uint64_t asked_at, int status,
                       const char *reason)
{
    batch->outstanding--;
    account->outstanding--;
    if (status != LAYER_OK)
        note_failure(ledger, account, batch, asked_at, status, reason);
    tell_those_due(ledger, account);
}

void ledger_confirm(struct ledger *ledger, const struct note *note, int status, const char *reason)
{
    struct note confirmed = *note; /* it may be freed with what is told */
    confirm_in(ledger, confirmed.account, confirmed.batch, confirmed.asked_at, status, reason);
    if (confirmed.in_all != NULL)
        confirm_in(ledger, ledger->all, confirmed.in_all, confirmed.asked_at, status, reason);
}

void ledger_settle(struct ledger *ledger, struct name name, struct remote_item *item, bool may_wait)
{
    struct account *account = name.length > 0 ? find(ledger, name) : ledger->all;
    if (account == NULL || (!may_wait && account->outstanding > 0)) {
        remote_settled(item, account == NULL ? LAYER_OK : LAYER_UNSENT, NULL);
        return;
    }
    struct batch *batch = open_of(account);
    batch->settle = item;
    list_append(&ledger->settles, &batch->of_settles);
    if (batch->failed && item->asked_at <= batch->failed_asked_at + FAILURE_COUNTS_MS)
        batch->failed_through = batch->number;
    open_batch(account);
    tell_those_due(ledger, account);
}

void ledger_expire(struct ledger *ledger, bool (*is_late)(void *context, const struct remote_item *settle), void *context)
{
    for (struct list_node *node = ledger->settles.next, *next; node != &ledger->settles; node = next) {
        struct batch *batch = list_entry(node, struct batch, of_settles);
        next = node->next;
        if (is_late(context, batch->settle))
            tell(batch, LAYER_UNSENT);
    }
    uint64_t now = clock_ms();
    while (!list_empty(&ledger->failed)) {
        struct account *account = list_entry(ledger->failed.next, struct account, failed);
        if (account->kept_until > now)
            return;
        list_remove(&account->failed);
        tell_those_due(ledger, account);
    }
}

void receipts_add(struct list_node *receipts, struct ledger *ledger, struct name name, uint64_t asked_at)
{
    struct receipt *receipt = mem_alloc(sizeof *receipt);
    receipt->note = ledger_note(ledger, name, asked_at);
    list_append(receipts, &receipt->link);
}

void receipts_confirm(struct list_node *receipts, struct ledger *ledger, int status, const char *reason)
{
    while (!list_empty(receipts)) {
        struct receipt *receipt = list_entry(receipts->next, struct receipt, link);
        list_remove(&receipt->link);
        struct note note = receipt->note;
        mem_free(receipt);
        ledger_confirm(ledger, &note, status, reason);
    }
}
