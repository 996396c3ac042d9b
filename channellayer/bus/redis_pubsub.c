#include "channellayer/bus/redis_pubsub.h"

#include <assert.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "channellayer/bus/fernet.h"
#include "channellayer/bus/redis_cluster.h"
#include "channellayer/bus/redis_pubsub_state.h"
#include "channellayer/name.h"

enum {
    EXPIRY_CHECK_MS = 100,
    HOLD_MS = 5000,     /* a publish waits so long for the subscription of its own group */
    RETRY_FIRST_MS = 1000,
    RETRY_LONGEST_MS = 30000,
    RETRY_SOON_MS = 250, /* for somebody who joins */
    PUT_CAPACITY = 100, /* of a channel that a message from elsewhere finds gone */
};

static const struct name nothing = { "", 0 };

static struct redis_pubsub *bus_of(struct remote *remote)
{
    return (struct redis_pubsub *)remote;
}

/* The name of the topic of item's group or channel, and in *text its memory, for mem_free(); empty: it has neither. */
static struct name topic_of(const struct redis_pubsub *bus, const struct remote_item *item, char **text)
{
    bool of_group = item->group.length > 0 || item->kind == REMOTE_PUBLISH;
    struct name prefix = of_group ? bus->group_prefix : nothing, rest = of_group ? item->group : item->channel;
    *text = mem_alloc(prefix.length + rest.length + 1);
    if (prefix.length > 0)
        memcpy(*text, prefix.bytes, prefix.length);
    if (rest.length > 0)
        memcpy(*text + prefix.length, rest.bytes, rest.length);
    return (struct name){ *text, prefix.length + rest.length };
}

/* --- what is wanted --- */

struct redis_node *pubsub_node_of(struct redis_pubsub *bus, struct name topic)
{
    if (bus->cluster == NULL)
        return bus->shards[redis_shard(topic, bus->settings->host_count)];
    struct redis_node *node = redis_cluster_node(bus->cluster, topic);
    return node != NULL ? node : bus->shards[0];
}

struct topic *pubsub_topic(struct redis_pubsub *bus, struct name prefix, struct name rest)
{
    struct topic *fresh = topic_create(prefix, rest), *found = topic_find(&bus->topics, fresh->name);
    if (found != NULL) {
        topic_destroy(fresh);
        return found;
    }
    int result = table_insert(&bus->topics, &fresh->of_table, name_hash(fresh->name));
    assert(result == 0); /* only the first can fail, and anchor was that */
    (void)result;
    redis_node_add(pubsub_node_of(bus, fresh->name), fresh);
    return fresh;
}

static void want(struct redis_pubsub *bus, struct remote_item *item)
{
    bool of_group = item->kind == REMOTE_JOIN || item->kind == REMOTE_LEAVE;
    bool wanted = item->kind == REMOTE_JOIN || item->kind == REMOTE_MADE;
    struct topic *topic = pubsub_topic(bus, of_group ? bus->group_prefix : nothing, of_group ? item->group : item->channel);
    if (of_group) {
        topic->prefix_length = bus->group_prefix.length;
        if (wanted != topic->group_wanted)
            redis_queries_count(bus, wanted);
        topic->group_wanted = wanted;
    } else {
        topic->channel_wanted = wanted;
    }
    receipts_add(&topic->receipts, &bus->ledger, topic->name, item->asked_at);
    remote_done(item, true);
    redis_node_update(topic->node, topic);
}

void pubsub_forget(struct redis_pubsub *bus, struct topic *topic)
{
    assert(list_empty(&topic->held) && list_empty(&topic->receipts));
    table_remove(&bus->topics, &topic->of_table);
    topic_destroy(topic);
}

/* --- what is published --- */

void pubsub_end(struct redis_pubsub *bus, struct publish *publish, int status, const char *reason)
{
    struct note note = publish->note;
    remote_done(publish->item, status == LAYER_OK);
    mem_free(publish->text);
    mem_free(publish);
    ledger_confirm(&bus->ledger, &note, status, reason);
}

void pubsub_route(struct redis_pubsub *bus, struct publish *publish)
{
    struct topic *topic = topic_find(&bus->topics, publish->topic);
    if (topic != NULL && topic_wanted(topic) && !topic_settled(topic)) {
        if (list_empty(&topic->held))
            list_append(&bus->holding, &topic->of_holding);
        publish->held_until = uv_now(pubsub_loop(bus)) + HOLD_MS;
        list_append(&topic->held, &publish->link);
        return;
    }
    redis_node_publish(topic != NULL ? topic->node : pubsub_node_of(bus, publish->topic), publish);
}

static void send_item(struct redis_pubsub *bus, struct remote_item *item)
{
    struct publish *publish = mem_try_alloc(sizeof *publish);
    char *text;
    struct name topic = topic_of(bus, item, &text);
    struct note note = ledger_note(&bus->ledger, topic, item->asked_at);
    if (publish == NULL) {
        mem_free(text);
        remote_done(item, false);
        ledger_confirm(&bus->ledger, &note, LAYER_UNSENT, NULL);
        return;
    }
    *publish = (struct publish){ .item = item, .note = note, .topic = topic, .text = text };
    list_init(&publish->link);
    pubsub_route(bus, publish);
}

/* --- who waits for a confirmation --- */

static bool is_late(void *context, const struct remote_item *settle)
{
    struct redis_pubsub *bus = context;
    uint64_t now = clock_ms();
    bool over = now >= settle->asked_at + settle->wait_ms;
    if (!settle->joined)
        return over;
    char *text;
    struct name name = topic_of(bus, settle, &text);
    struct redis_node *node = pubsub_node_of(bus, name);
    if (over)
        patience_in_vain(&node->patience, now);
    over = over || patience_is_over(&node->patience, now, node->subscriber != NULL ? redis_link_heard_at(node->subscriber) : 0);
    struct topic *topic = over ? topic_find(&bus->topics, name) : NULL;
    if (topic != NULL && topic->state != TOPIC_CONFIRMED)
        topic->missed = true; /* from now on: whoever joins is told that he has */
    mem_free(text);
    return over;
}

static void settle(struct redis_pubsub *bus, struct remote_item *item)
{
    char *text;
    struct name name = topic_of(bus, item, &text);
    struct topic *topic = item->joined ? topic_find(&bus->topics, name) : NULL;
    if (topic != NULL && topic->state == TOPIC_REFUSED && clock_ms() - topic->refused_at >= RETRY_SOON_MS)
        redis_node_retry(topic->node, topic);
    if (topic != NULL && topic_wanted(topic) && topic->state == TOPIC_REFUSED) {
        remote_settled(item, LAYER_REFUSED, topic->refusal);
    } else {
        /* Whether or not somebody has joined just now; what is outstanding of an earlier join is waited for anyway. */
        if (topic != NULL && !topic_settled(topic) && list_empty(&topic->receipts))
            receipts_add(&topic->receipts, &bus->ledger, name, item->asked_at);
        ledger_settle(&bus->ledger, name, item, !is_late(bus, item));
    }
    mem_free(text);
}

static void take(struct remote *remote, struct remote_item *item)
{
    struct redis_pubsub *bus = bus_of(remote);
    switch (item->kind) {
    case REMOTE_JOIN:
    case REMOTE_LEAVE:
    case REMOTE_MADE:
    case REMOTE_GONE:
        want(bus, item);
        break;
    case REMOTE_PUBLISH:
    case REMOTE_SEND:
        send_item(bus, item);
        break;
    case REMOTE_SETTLE:
        settle(bus, item);
        break;
    case REMOTE_QUERY:
        redis_query_ask(bus, item);
        break;
    case REMOTE_WANTED: /* not asked for */
    case REMOTE_FLUSH:  /* the layer has left every group, and Redis keeps nothing */
        remote_done(item, true);
        break;
    }
}

/* --- what comes --- */

static void deliver(struct redis_pubsub *bus, const struct topic *topic, struct name payload)
{
    struct layer *layer = remote_enter(&bus->remote);
    if (layer == NULL)
        return;
    struct message *message = message_create(payload.bytes, payload.length, NULL, 0);
    if (message != NULL) {
        atomic_fetch_add(&bus->remote.received, 1);
        struct name group = { topic->name.bytes + topic->prefix_length, topic->name.length - topic->prefix_length };
        if (topic->channel_wanted)
            layer_put(layer, topic->name, PUT_CAPACITY, message);
        if (topic->group_wanted)
            layer_deliver(layer, group, message);
    }
    message_release(message);
    layer_release(layer);
}

void pubsub_heard(struct redis_pubsub *bus, struct name name, struct name payload)
{
    struct topic *topic = topic_find(&bus->topics, name);
    struct bytes plain = { 0 };
    if (topic == NULL || !topic_wanted(topic))
        return; /* on its way when it was unsubscribed */
    if (bus->fernet != NULL) {
        if (fernet_decrypt(bus->fernet, &plain, payload.bytes, payload.length, 0, (uint64_t)time(NULL)) != FERNET_OK) {
            atomic_fetch_add(&bus->remote.unreadable, 1);
            return;
        }
        payload = (struct name){ (const char *)plain.data, plain.length };
    }
    if (topic->query_wanted)
        redis_query_heard(bus, payload);
    else
        deliver(bus, topic, payload);
    bytes_deinit(&plain);
}

/* --- lost connections --- */

static void tell_all(struct redis_pubsub *bus, struct name encoded)
{
    if (encoded.length == 0)
        return;
    struct layer *layer = remote_enter(&bus->remote);
    if (layer == NULL)
        return;
    struct message *message = message_create(encoded.bytes, encoded.length, NULL, 0);
    if (message != NULL)
        layer_put_all(layer, message);
    message_release(message);
    layer_release(layer);
}

void pubsub_lost(struct redis_pubsub *bus, struct redis_node *node)
{
    if (!node->told_lost)
        tell_all(bus, bus->settings->on_disconnect);
    node->told_lost = true;
}

struct missed {
    struct redis_pubsub *bus;
    const struct redis_node *node;
};

static bool has_missed(const struct topic *topic, const struct redis_node *node)
{
    return topic->node == node && topic->missed && topic->state == TOPIC_CONFIRMED && !topic->query_wanted;
}

static bool was_missed(void *context, struct name group)
{
    struct missed *missed = context;
    enum { LONGEST = 256 };
    char text[LONGEST];
    struct name prefix = missed->bus->group_prefix, topic = { text, prefix.length + group.length };
    if (topic.length > LONGEST)
        return true; /* no name is so long */
    memcpy(text, prefix.bytes, prefix.length);
    memcpy(text + prefix.length, group.bytes, group.length);
    const struct topic *found = topic_find(&missed->bus->topics, topic);
    return found != NULL && has_missed(found, missed->node);
}

/* Tells the members of node's groups that have missed something. */
static void tell_missed(struct redis_pubsub *bus, struct redis_node *node, struct layer *layer)
{
    struct missed missed = { bus, node };
    bool any = false;
    for (struct list_node *at = node->topics.next; at != &node->topics; at = at->next)
        any = any || has_missed(list_entry(at, struct topic, of_node), node);
    if (!any)
        return;
    atomic_fetch_add(&bus->remote.gaps, 1);
    layer_gap(layer, was_missed, &missed);
    for (struct list_node *at = node->topics.next; at != &node->topics; at = at->next) {
        struct topic *topic = list_entry(at, struct topic, of_node);
        topic->missed = topic->missed && !has_missed(topic, node);
    }
}

void pubsub_recovered(struct redis_pubsub *bus, struct redis_node *node)
{
    bool told_lost = node->told_lost;
    ledger_confirm(&bus->ledger, &node->recovery, LAYER_OK, NULL);
    node->recovering = node->told_lost = false;
    struct layer *layer = remote_enter(&bus->remote);
    if (layer == NULL)
        return;
    tell_missed(bus, node, layer);
    layer_release(layer);
    if (told_lost)
        tell_all(bus, bus->settings->on_reconnect);
}

/* --- time --- */

/* What there was no memory for before, too. */
static void connect_all(struct redis_pubsub *bus)
{
    const struct redis_host *host = &bus->settings->hosts[0];
    if (host->kind == REDIS_CLUSTER && bus->cluster == NULL)
        bus->cluster = redis_cluster_create(bus, host);
    for (struct list_node *at = bus->nodes.next; at != &bus->nodes; at = at->next) {
        struct redis_node *node = list_entry(at, struct redis_node, link);
        if (node->host->kind != REDIS_CLUSTER && !node->leaving)
            redis_node_connect(node);
    }
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct redis_pubsub *bus = prepare->data;
    uv_prepare_stop(prepare);
    for (struct list_node *at = bus->nodes.next; at != &bus->nodes; at = at->next)
        redis_node_flush(list_entry(at, struct redis_node, link));
}

void pubsub_flush_soon(struct redis_pubsub *bus)
{
    if (!bus->stopping)
        uv_prepare_start(&bus->flush, on_prepare);
}

/* A subscription that takes so long is no reason to say nothing to the others. */
static void let_go(struct topic *topic, uint64_t now)
{
    while (!list_empty(&topic->held)) {
        struct publish *publish = list_entry(topic->held.next, struct publish, link);
        if (publish->held_until > now)
            return;
        list_remove(&publish->link);
        redis_node_publish(topic->node, publish);
    }
    list_remove(&topic->of_holding);
}

/* Asks again for what Redis has refused: an ACL may have been corrected. */
static void retry_refused(struct redis_pubsub *bus, uint64_t now)
{
    for (struct list_node *at = bus->refused.next, *next; at != &bus->refused; at = next) {
        struct topic *topic = list_entry(at, struct topic, of_refused);
        next = at->next;
        uint64_t wait = RETRY_FIRST_MS;
        for (unsigned i = 1; i < topic->refusals && wait < RETRY_LONGEST_MS; i++)
            wait *= 2;
        if (topic->state == TOPIC_REFUSED && now - topic->refused_at >= (wait < RETRY_LONGEST_MS ? wait : RETRY_LONGEST_MS))
            redis_node_retry(topic->node, topic);
    }
}

static void on_expiry(uv_timer_t *timer)
{
    struct redis_pubsub *bus = timer->data;
    uint64_t now = clock_ms(), patience = bus->settings->buffer_time_ms;
    for (struct list_node *at = bus->holding.next, *next; at != &bus->holding; at = next) {
        next = at->next;
        let_go(list_entry(at, struct topic, of_holding), uv_now(timer->loop));
    }
    for (struct list_node *at = bus->nodes.next; at != &bus->nodes; at = at->next)
        redis_node_expire(list_entry(at, struct redis_node, link), now > patience ? now - patience : 0);
    connect_all(bus);
    retry_refused(bus, now);
    redis_queries_pump(bus);
    ledger_expire(&bus->ledger, is_late, bus);
}

/* --- life --- */

static bool make_anchor(struct redis_pubsub *bus)
{
    bus->anchor = topic_create(nothing, nothing);
    if (table_insert(&bus->topics, &bus->anchor->of_table, name_hash(bus->anchor->name)) == 0)
        return true;
    topic_destroy(bus->anchor);
    bus->anchor = NULL;
    return false;
}

static void drop_anchor(struct redis_pubsub *bus)
{
    if (bus->anchor != NULL)
        pubsub_forget(bus, bus->anchor);
    table_deinit(&bus->topics);
}

static void start(struct remote *remote)
{
    struct redis_pubsub *bus = bus_of(remote);
    uv_prepare_init(pubsub_loop(bus), &bus->flush);
    uv_timer_init(pubsub_loop(bus), &bus->expiry);
    bus->flush.data = bus->expiry.data = bus;
    uv_timer_start(&bus->expiry, on_expiry, EXPIRY_CHECK_MS, EXPIRY_CHECK_MS);
    connect_all(bus);
}

void pubsub_closed(struct redis_pubsub *bus)
{
    if (--bus->open_handles > 0)
        return;
    ledger_deinit(&bus->ledger);
    drop_anchor(bus);
    fernet_destroy(bus->fernet);
    mem_free(bus->shards);
    mem_free((void *)bus->group_prefix.bytes);
    redis_settings_release(bus->settings);
    remote_stopped(&bus->remote);
}

void pubsub_node_closed(struct redis_pubsub *bus, struct redis_node *node)
{
    redis_node_free(node);
    if (bus->stopping)
        pubsub_closed(bus);
}

static void on_handle_closed(uv_handle_t *handle)
{
    pubsub_closed(handle->data);
}

static void drop_topic(struct redis_pubsub *bus, struct topic *topic)
{
    while (!list_empty(&topic->held)) {
        struct publish *publish = list_entry(topic->held.next, struct publish, link);
        list_remove(&publish->link);
        pubsub_end(bus, publish, LAYER_UNSENT, NULL);
    }
    receipts_confirm(&topic->receipts, &bus->ledger, LAYER_UNSENT, NULL);
    redis_node_remove(topic->node, topic);
    pubsub_forget(bus, topic);
}

static void stop_node(struct redis_node *node)
{
    while (!list_empty(&node->topics))
        drop_topic(node->bus, list_entry(node->topics.next, struct topic, of_node));
    redis_node_expire(node, UINT64_MAX);
    if (!node->leaving)
        redis_node_close(node);
}

static void stop(struct remote *remote)
{
    struct redis_pubsub *bus = bus_of(remote);
    bus->stopping = true;
    bus->open_handles = 3; /* the last of them is this function */
    uv_close((uv_handle_t *)&bus->flush, on_handle_closed);
    uv_close((uv_handle_t *)&bus->expiry, on_handle_closed);
    redis_queries_deinit(&bus->queries);
    for (struct list_node *at = bus->nodes.next, *next; at != &bus->nodes; at = next) {
        next = at->next;
        bus->open_handles++;
        stop_node(list_entry(at, struct redis_node, link));
    }
    if (bus->cluster != NULL) {
        bus->open_handles++;
        redis_cluster_destroy(bus->cluster);
    }
    pubsub_closed(bus);
}

static const struct remote_operations operations = {
    .name = "redis", .pairs = false, .queries = true, .start = start, .take = take, .stop = stop,
};

static bool make_nodes(struct redis_pubsub *bus)
{
    struct redis_settings *settings = bus->settings;
    bus->shards = mem_try_alloc(settings->host_count * sizeof(struct redis_node *));
    for (size_t i = 0; bus->shards != NULL && i < settings->host_count; i++) {
        if ((bus->shards[i] = redis_node_create(bus, &settings->hosts[i])) == NULL)
            return false;
    }
    return bus->shards != NULL;
}

static bool make_prefix(struct redis_pubsub *bus)
{
    static const char infix[] = "__group__";
    struct name prefix = bus->settings->prefix;
    char *text = mem_try_alloc(prefix.length + sizeof infix);
    if (text == NULL)
        return false;
    if (prefix.length > 0)
        memcpy(text, prefix.bytes, prefix.length);
    memcpy(text + prefix.length, infix, sizeof infix);
    bus->group_prefix = (struct name){ text, prefix.length + sizeof infix - 1 };
    return true;
}

struct bus *bus_redis_create(struct layer *layer, const void *given)
{
    struct redis_pubsub *bus = mem_try_alloc(sizeof *bus);
    if (bus == NULL)
        return NULL;
    memset(bus, 0, sizeof *bus);
    bus->settings = redis_settings_retain((struct redis_settings *)given);
    table_init(&bus->topics);
    redis_queries_init(&bus->queries);
    list_init(&bus->holding);
    list_init(&bus->refused);
    list_init(&bus->nodes);
    const struct redis_settings *settings = bus->settings;
    if (settings->key_count > 0 && (bus->fernet = fernet_create(settings->keys[0], settings->key_count)) == NULL)
        goto fail;
    if (ledger_init(&bus->ledger) == 0 && make_anchor(bus) && make_prefix(bus) && make_nodes(bus) && remote_init(&bus->remote, &operations, layer, settings->buffer_limit) == LAYER_OK)
        return &bus->remote.bus;
fail:
    while (!list_empty(&bus->nodes))
        redis_node_free(list_entry(bus->nodes.next, struct redis_node, link));
    ledger_deinit(&bus->ledger);
    drop_anchor(bus);
    fernet_destroy(bus->fernet);
    mem_free(bus->shards);
    mem_free((void *)bus->group_prefix.bytes);
    redis_settings_release(bus->settings);
    mem_free(bus);
    return NULL;
}
