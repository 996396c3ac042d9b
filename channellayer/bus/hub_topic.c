/* The hub's groups and channels: who follows them, and who gets a message. */
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "channellayer/bus/hub_state.h"
#include "channellayer/layer_state.h"
#include "channellayer/name.h"

struct hub_topic *hub_topic_find(const struct table *table, struct name name)
{
    struct table_node *node = table_first(table, name_hash(name));
    for (; node != NULL; node = table_next_same(node)) {
        struct hub_topic *topic = list_entry(node, struct hub_topic, by_name);
        if (name_equal(topic->name, name))
            return topic;
    }
    return NULL;
}

static struct hub_topic *make(struct table *table, struct name name, size_t capacity)
{
    struct hub_topic *topic = mem_try_alloc(sizeof *topic + name.length);
    if (topic == NULL)
        return NULL;
    memset(topic, 0, sizeof *topic);
    topic->table = table;
    list_init(&topic->followers);
    mailbox_init(&topic->waiting, capacity, HUB_CHANNEL_BYTES);
    memcpy(topic->text, name.bytes, name.length);
    topic->name = (struct name){ topic->text, name.length };
    if (table_insert(table, &topic->by_name, name_hash(name)) == 0)
        return topic;
    mem_free(topic);
    return NULL;
}

static void free_topic(struct hub_topic *topic)
{
    table_remove(topic->table, &topic->by_name);
    mailbox_deinit(&topic->waiting);
    mem_free(topic);
}

static void free_if_unused(struct hub_topic *topic)
{
    if (list_empty(&topic->followers) && topic->waiting.count == 0)
        free_topic(topic);
}

static struct hub_follow *find_follow(const struct hub_topic *topic, const struct hub_member *member)
{
    for (struct list_node *node = topic->followers.next; node != &topic->followers; node = node->next) {
        struct hub_follow *follow = list_entry(node, struct hub_follow, of_topic);
        if (follow->member == member)
            return follow;
    }
    return NULL;
}

static struct hub_chunk *chunk_of(enum hub_kind kind, uint64_t number, struct name name, struct span payload)
{
    return hub_chunk_create(&(struct hub_frame){ kind, number, name, payload }, true);
}

/* Somebody has come for what waited. */
static void give_waiting(struct hub_topic *topic, struct hub_member *member)
{
    struct hub *hub = member->hub;
    struct message *message;
    if (topic->waiting.count > 0)
        hub->waiting_channels--;
    hub->waiting_bytes -= topic->waiting.bytes;
    while ((message = mailbox_take(&topic->waiting)) != NULL) {
        struct hub_chunk *chunk =
            chunk_of(HUB_SEND, topic->waiting.capacity, topic->name, (struct span){ message->bytes, message->length });
        if (chunk != NULL)
            hub_write(member, chunk);
        else
            atomic_fetch_add(&hub->dropped, 1);
        hub_chunk_release(chunk);
        message_release(message);
    }
}

bool hub_follow(struct hub_member *member, struct table *table, struct name name)
{
    struct hub_topic *topic = hub_topic_find(table, name);
    if (topic != NULL && find_follow(topic, member) != NULL)
        return true;
    struct hub_follow *follow = mem_try_alloc(sizeof *follow);
    if (topic == NULL && follow != NULL)
        topic = make(table, name, 1);
    if (topic == NULL || follow == NULL) {
        mem_free(follow);
        return false;
    }
    *follow = (struct hub_follow){ .topic = topic, .member = member };
    list_append(&topic->followers, &follow->of_topic);
    list_append(&member->follows, &follow->of_member);
    give_waiting(topic, member);
    atomic_store(&member->hub->group_count, member->hub->groups.count);
    return true;
}

static void end_follow(struct hub_follow *follow)
{
    struct hub *hub = follow->member->hub;
    struct hub_topic *topic = follow->topic;
    list_remove(&follow->of_topic);
    list_remove(&follow->of_member);
    mem_free(follow);
    free_if_unused(topic);
    atomic_store(&hub->group_count, hub->groups.count);
}

void hub_unfollow(struct hub_member *member, struct table *table, struct name name)
{
    struct hub_topic *topic = hub_topic_find(table, name);
    struct hub_follow *follow = topic != NULL ? find_follow(topic, member) : NULL;
    if (follow != NULL)
        end_follow(follow);
}

void hub_unfollow_all(struct hub_member *member)
{
    while (!list_empty(&member->follows))
        end_follow(list_entry(member->follows.next, struct hub_follow, of_member));
}

void hub_publish(struct hub *hub, const struct hub_member *from, const struct hub_frame *frame)
{
    struct hub_topic *topic = hub_topic_find(&hub->groups, frame->name);
    struct hub_chunk *chunk = NULL;
    atomic_fetch_add(&hub->published, 1);
    for (struct list_node *node = topic != NULL ? topic->followers.next : NULL; topic != NULL && node != &topic->followers;
         node = node->next) {
        struct hub_member *member = list_entry(node, struct hub_follow, of_topic)->member;
        if (member == from)
            continue;
        if (chunk == NULL)
            chunk = hub_chunk_create(frame, true);
        if (chunk == NULL) {
            atomic_fetch_add(&hub->dropped, 1);
            return;
        }
        hub_write(member, chunk);
        atomic_fetch_add(&hub->forwarded, 1);
    }
    hub_chunk_release(chunk);
}

/* The process whose client stands in the name, between its last point and its "!"; NULL: it is not here. *local: the name is such a one. */
static struct hub_member *member_of(const struct hub *hub, struct name name, bool *local)
{
    const char *mark = memchr(name.bytes, '!', name.length);
    *local = mark != NULL;
    if (mark == NULL)
        return NULL;
    const char *begin = mark;
    while (begin > name.bytes && begin[-1] != '.')
        begin--;
    struct name client = { begin, (size_t)(mark - begin) };
    struct table_node *node = table_first(&hub->clients, name_hash(client));
    for (; node != NULL; node = table_next_same(node)) {
        struct hub_member *member = list_entry(node, struct hub_member, by_client);
        if (name_equal((struct name){ member->client, member->client_length }, client))
            return member;
    }
    return NULL;
}

/* Nobody receives from it now: it waits for whoever will, as long as it may. */
static void keep(struct hub *hub, struct hub_topic *topic, const struct hub_frame *frame)
{
    if (topic == NULL && hub->waiting_channels < HUB_CHANNELS)
        topic = make(&hub->channels, frame->name, frame->number > 0 ? (size_t)frame->number : 1);
    bool room = topic != NULL && hub->waiting_bytes + frame->payload.length <= HUB_WAITING_BYTES;
    struct message *message = room ? message_create(frame->payload.bytes, frame->payload.length, NULL, 0) : NULL;
    bool first = topic != NULL && topic->waiting.count == 0;
    if (message != NULL && mailbox_push(&topic->waiting, message, time_after(clock_ms(), HUB_EXPIRY_MS)) == LAYER_OK) {
        hub->waiting_channels += first;
        hub->waiting_bytes += mailbox_weight(message);
    } else {
        atomic_fetch_add(&hub->dropped, 1);
    }
    message_release(message);
    if (topic != NULL)
        free_if_unused(topic);
}

void hub_send(struct hub *hub, const struct hub_frame *frame)
{
    bool local;
    struct hub_member *member = member_of(hub, frame->name, &local);
    struct hub_topic *topic = local ? NULL : hub_topic_find(&hub->channels, frame->name);
    if (topic != NULL && !list_empty(&topic->followers)) {
        struct hub_follow *follow = list_entry(topic->followers.next, struct hub_follow, of_topic);
        member = follow->member;
        list_remove(&follow->of_topic); /* the next message is for the next one */
        list_append(&topic->followers, &follow->of_topic);
    }
    if (member == NULL && !local) {
        keep(hub, topic, frame);
        return;
    }
    struct hub_chunk *chunk = member != NULL ? hub_chunk_create(frame, true) : NULL;
    if (chunk != NULL)
        hub_write(member, chunk);
    else
        atomic_fetch_add(&hub->dropped, 1);
    hub_chunk_release(chunk);
}

/* Frees topics while it walks, so each begins the walk anew. */
void hub_expire_waiting(struct hub *hub)
{
    uint64_t now = clock_ms();
    struct hub_topic *unused;
    do {
        struct table_node *node = NULL;
        size_t bucket = 0;
        unused = NULL;
        while (unused == NULL && hub->waiting_channels > 0 && (node = table_walk(&hub->channels, &bucket, node)) != NULL) {
            struct hub_topic *topic = list_entry(node, struct hub_topic, by_name);
            hub->waiting_bytes -= topic->waiting.bytes;
            size_t expired = mailbox_expire(&topic->waiting, now);
            hub->waiting_bytes += topic->waiting.bytes;
            atomic_fetch_add(&hub->dropped, expired);
            if (expired > 0 && topic->waiting.count == 0) {
                hub->waiting_channels--;
                unused = topic;
            }
        }
        if (unused != NULL)
            free_if_unused(unused);
    } while (unused != NULL);
}

void hub_topics_free(struct hub *hub, struct table *table)
{
    struct table_node *node;
    size_t bucket = 0;
    (void)hub;
    while ((node = table_walk(table, &bucket, NULL)) != NULL) {
        free_topic(list_entry(node, struct hub_topic, by_name));
        bucket = 0;
    }
    table_deinit(table);
}
