/* One group message becomes a letter for each key: the message, with the names of the channels under that key. */
#include "channellayer/bus/core_state.h"

#include <string.h>

#include "base/alloc.h"
#include "channellayer/name.h"

/* The channels of one key. */
struct address {
    struct table_node by_key;
    struct name key; /* without the prefix */
    struct name *channels;
    size_t count;
    size_t room;
};

struct book {
    struct table table;
    struct address *all; /* never moved: there is room for one for each channel */
    size_t count;
};

static struct address *find(const struct book *book, struct name key, uint64_t hash)
{
    struct table_node *node = table_first(&book->table, hash);
    for (; node != NULL; node = table_next_same(node)) {
        struct address *address = list_entry(node, struct address, by_key);
        if (name_equal(address->key, key))
            return address;
    }
    return NULL;
}

static int add(struct book *book, struct name channel)
{
    struct name key = core_key_name(channel);
    uint64_t hash = name_hash(key);
    struct address *address = find(book, key, hash);
    if (address == NULL) {
        address = &book->all[book->count];
        *address = (struct address){ .key = key };
        if (table_insert(&book->table, &address->by_key, hash) != 0)
            return -1;
        book->count++;
    }
    if (address->count == address->room) {
        size_t room = address->room > 0 ? 2 * address->room : 8;
        struct name *channels = mem_try_realloc(address->channels, room * sizeof *channels);
        if (channels == NULL)
            return -1;
        address->channels = channels;
        address->room = room;
    }
    address->channels[address->count++] = channel;
    return 0;
}

/* channels_redis has one capacity for all channels of a process, so one that does not read starves the others. A process of Peneus
 * empties its key at once into its channels, each with a capacity of its own: there is room for what is on its way. */
static size_t capacity_for(const struct core_job *job, const struct address *address)
{
    bool direct = job->item->kind == REMOTE_SEND;
    size_t capacity = direct ? job->item->capacity : core_capacity(job->core->settings, address->channels[0]);
    bool ours = core_peneus_client(address->key).length > 0;
    return ours && capacity < SIZE_MAX / CORE_ROOM ? capacity * CORE_ROOM : capacity;
}

static struct core_letter *letter_for(struct core_job *job, const struct address *address, size_t shard)
{
    struct core *core = job->core;
    struct name prefix = core->settings->prefix;
    struct core_letter *letter = mem_try_alloc(sizeof *letter + prefix.length + address->key.length);
    if (letter == NULL)
        return NULL;
    *letter = (struct core_letter){ .shard = shard, .capacity = capacity_for(job, address) };
    memcpy(letter->key_text, prefix.bytes, prefix.length);
    memcpy(letter->key_text + prefix.length, address->key.bytes, address->key.length);
    letter->key = (struct name){ letter->key_text, prefix.length + address->key.length };
    bool group = job->item->kind == REMOTE_PUBLISH;
    bool named = group || memchr(address->key.bytes, '!', address->key.length) != NULL;
    if (core_seal(core, &letter->text, job->item->message, address->channels, named ? address->count : 0, group) != 0) {
        bytes_deinit(&letter->text);
        mem_free(letter);
        return NULL;
    }
    letter->next = job->letters;
    job->letters = letter;
    return letter;
}

/* Messages to a channel without "!" go to one Redis after the other, as those of channels_redis: its receivers look in turn. */
static size_t shard_for(struct core_job *job, struct name key)
{
    struct core *core = job->core;
    if (job->item->kind == REMOTE_SEND && memchr(key.bytes, '!', key.length) == NULL)
        return core->next_shard++ % core->shard_count;
    return redis_shard(key, core->shard_count);
}

int core_letters_write(struct core_job *job, const struct name *channels, size_t count)
{
    struct book book = { 0 };
    int result = -1;
    table_init(&book.table);
    if (count == 0)
        return 0;
    book.all = mem_try_alloc(count * sizeof *book.all);
    if (book.all == NULL)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (add(&book, channels[i]) != 0)
            goto out;
    }
    for (size_t i = 0; i < book.count; i++) {
        size_t shard = shard_for(job, book.all[i].key);
        if ((job->served >> shard & 1) == 0 && letter_for(job, &book.all[i], shard) == NULL)
            goto out;
    }
    result = 0;
out:
    for (size_t i = 0; i < book.count; i++)
        mem_free(book.all[i].channels);
    mem_free(book.all);
    table_deinit(&book.table);
    if (result != 0)
        core_letters_free(job);
    return result;
}

void core_letters_free(struct core_job *job)
{
    while (job->letters != NULL) {
        struct core_letter *letter = job->letters;
        job->letters = letter->next;
        bytes_deinit(&letter->text);
        mem_free(letter);
    }
}
