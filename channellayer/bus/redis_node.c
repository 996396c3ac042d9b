#include "channellayer/bus/redis_node.h"

#include <assert.h>
#include <hiredis/hiredis.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "channellayer/bus/fernet.h"
#include "channellayer/bus/redis_cluster.h"
#include "channellayer/bus/redis_error.h"
#include "channellayer/bus/redis_pubsub_state.h"

enum {
    TOPICS_AT_ONCE = 256, /* in one SUBSCRIBE */
    MOST_MOVES = 16,
};

/* A SUBSCRIBE or an UNSUBSCRIBE that waits for its answers, which come in the order of its topics. */
struct redis_request {
    bool subscribing;
    size_t count;
    size_t answered;
    struct topic *topics[]; /* NULL: it has gone to another node meanwhile */
};

static struct name text(const char *string)
{
    return (struct name){ string, strlen(string) };
}

static void check_recovered(struct redis_node *node)
{
    bool up = node->subscriber != NULL && redis_link_is_up(node->subscriber);
    if (node->recovering && node->open_topics == 0 && (up || list_empty(&node->topics)))
        pubsub_recovered(node->bus, node);
}

/* --- topics --- */

static void set_state(struct topic *topic, enum topic_state state)
{
    assert(state != TOPIC_CONFIRMED || topic->state == TOPIC_ASKED);
    assert(state != TOPIC_LEAVING || topic->state == TOPIC_CONFIRMED);
    topic->state = state;
}

static void count_open(struct redis_node *node, struct topic *topic, bool open)
{
    if (open != topic->open)
        open ? node->open_topics++ : node->open_topics--;
    topic->open = open;
}

void redis_node_add(struct redis_node *node, struct topic *topic)
{
    assert(topic->state == TOPIC_IDLE && !topic->open);
    topic->node = node;
    list_append(&node->topics, &topic->of_node);
}

static void release_held(struct redis_node *node, struct topic *topic)
{
    list_remove(&topic->of_holding);
    while (!list_empty(&topic->held)) {
        struct publish *publish = list_entry(topic->held.next, struct publish, link);
        list_remove(&publish->link);
        redis_node_publish(node, publish);
    }
}

static void note_refusal(struct redis_pubsub *bus, struct topic *topic, const char *text)
{
    mem_free(topic->refusal);
    topic->refusal = mem_alloc(strlen(text) + 1);
    strcpy(topic->refusal, text);
    topic->refusals++;
    topic->refused_at = clock_ms();
    topic->missed = true;
    list_remove(&topic->of_refused);
    list_append(&bus->refused, &topic->of_refused);
}

/* It is confirmed, or nobody wants it any more. */
static void forget_refusal(struct redis_pubsub *bus, struct topic *topic)
{
    bool counted = !list_empty(&topic->of_refused);
    topic->refusals = 0;
    list_remove(&topic->of_refused);
    for (struct list_node *at = bus->refused.next; at != &bus->refused; at = at->next) {
        if (!list_entry(at, struct topic, of_refused)->query_wanted)
            return;
    }
    if (counted)
        remote_refuses_nothing(&bus->remote);
}

void redis_node_update(struct redis_node *node, struct topic *topic)
{
    struct redis_pubsub *bus = node->bus;
    bool wanted = topic_wanted(topic), settled = topic_settled(topic);
    count_open(node, topic, !settled);
    if (!wanted || topic->state == TOPIC_CONFIRMED)
        forget_refusal(bus, topic);
    if (settled) {
        bool refused = wanted && topic->state == TOPIC_REFUSED;
        receipts_confirm(&topic->receipts, &bus->ledger, refused ? LAYER_REFUSED : LAYER_OK, topic->refusal);
        list_remove(&topic->of_dirty);
        release_held(node, topic);
    } else if ((topic->state == TOPIC_IDLE || topic->state == TOPIC_CONFIRMED) && list_empty(&topic->of_dirty)) {
        list_append(&node->dirty, &topic->of_dirty);
        pubsub_flush_soon(bus);
    }
    if (!wanted && (topic->state == TOPIC_IDLE || topic->state == TOPIC_REFUSED))
        pubsub_forget(bus, topic);
    check_recovered(node);
}

void redis_node_remove(struct redis_node *node, struct topic *topic)
{
    if (topic->request != NULL)
        topic->request->topics[topic->request_index] = NULL;
    topic->request = NULL;
    topic->state = TOPIC_IDLE;
    topic->alone = false;
    count_open(node, topic, false);
    list_remove(&topic->of_dirty);
    list_remove(&topic->of_node);
    topic->node = NULL;
    check_recovered(node); /* others recover what was its last */
}

void redis_node_retry(struct redis_node *node, struct topic *topic)
{
    set_state(topic, TOPIC_IDLE);
    redis_node_update(node, topic);
}

static void on_refused(struct redis_node *node, const struct redis_request *request, struct topic *topic, const struct redisReply *reply)
{
    if (redis_error_kind(reply->str) == REDIS_ERROR_AWAY) {
        topic->state = TOPIC_IDLE;
        return; /* the connection ends, and everything is said again */
    }
    if (!request->subscribing) {
        topic->state = TOPIC_IDLE;
    } else if (request->count > 1) {
        topic->alone = true; /* one of them may be the cause */
        topic->state = TOPIC_IDLE;
    } else if (node->bus->cluster != NULL && redis_error_kind(reply->str) == REDIS_ERROR_MOVED) {
        redis_cluster_refresh(node->bus->cluster);
        topic->state = TOPIC_IDLE;
        return; /* the new map puts it where it belongs */
    } else {
        set_state(topic, TOPIC_REFUSED);
        note_refusal(node->bus, topic, reply->str);
        if (!topic->query_wanted)
            remote_refused(&node->bus->remote, node->host->label, "SUBSCRIBE", reply->str);
    }
    redis_node_update(node, topic);
}

static void on_subscription(void *context, void *argument, const struct redisReply *reply)
{
    struct redis_node *node = context;
    struct redis_request *request = argument;
    bool whole = reply == NULL || reply->type == REDIS_REPLY_ERROR;
    do {
        struct topic *topic = request->topics[request->answered++];
        if (topic == NULL)
            continue;
        topic->request = NULL;
        if (reply == NULL)
            continue; /* on_down takes care of them all */
        if (whole) {
            on_refused(node, request, topic, reply);
            continue;
        }
        set_state(topic, request->subscribing ? TOPIC_CONFIRMED : TOPIC_IDLE);
        if (request->subscribing && topic->missed)
            redis_node_miss(node);
        redis_node_update(node, topic);
    } while (whole && request->answered < request->count);
    if (request->answered == request->count)
        mem_free(request);
}

static bool to_say(const struct topic *topic, bool subscribing)
{
    return topic->state == (subscribing ? TOPIC_IDLE : TOPIC_CONFIRMED) && topic_wanted(topic) == subscribing;
}

/* Takes topics that are to be subscribed (or unsubscribed) out of dirty, as many as one command may have. */
static struct redis_request *next_request(struct redis_node *node)
{
    struct topic *first = list_entry(node->dirty.next, struct topic, of_dirty);
    bool subscribing = topic_wanted(first);
    size_t most = node->bus->cluster != NULL || first->alone ? 1 : TOPICS_AT_ONCE;
    struct redis_request *request = mem_alloc(sizeof *request + most * sizeof(struct topic *));
    *request = (struct redis_request){ .subscribing = subscribing };
    while (!list_empty(&node->dirty) && request->count < most) {
        struct topic *topic = list_entry(node->dirty.next, struct topic, of_dirty);
        if (!to_say(topic, subscribing) || (topic->alone && request->count > 0))
            break;
        list_remove(&topic->of_dirty);
        topic->request = request;
        topic->request_index = request->count;
        request->topics[request->count++] = topic;
    }
    return request;
}

static bool send_request(struct redis_node *node, struct redis_request *request)
{
    static const char *const words[2][2] = { { "UNSUBSCRIBE", "SUBSCRIBE" }, { "SUNSUBSCRIBE", "SSUBSCRIBE" } };
    struct name command[1 + TOPICS_AT_ONCE];
    command[0] = text(words[node->bus->cluster != NULL][request->subscribing]);
    for (size_t i = 0; i < request->count; i++)
        command[1 + i] = request->topics[i]->name;
    struct redis_reader reader = { on_subscription, request, .quiet = true };
    if (redis_link_send(node->subscriber, 1 + request->count, command, reader) == REDIS_LINK_OK)
        return true;
    for (size_t i = 0; i < request->count; i++) {
        request->topics[i]->request = NULL;
        list_append(&node->dirty, &request->topics[i]->of_dirty);
    }
    mem_free(request);
    return false;
}

void redis_node_flush(struct redis_node *node)
{
    while (node->subscriber != NULL && redis_link_is_up(node->subscriber) && !list_empty(&node->dirty)) {
        struct topic *first = list_entry(node->dirty.next, struct topic, of_dirty);
        if (topic_settled(first)) { /* what was wanted has changed back */
            list_remove(&first->of_dirty);
            continue;
        }
        struct redis_request *request = next_request(node);
        for (size_t i = 0; i < request->count; i++)
            request->topics[i]->state = request->subscribing ? TOPIC_ASKED : TOPIC_LEAVING;
        if (!send_request(node, request)) {
            redis_link_renew(node->subscriber, "there is no memory"); /* everything is said anew */
            return;
        }
    }
}

/* --- publishing --- */

static void on_published(void *context, void *argument, const struct redisReply *reply)
{
    struct redis_node *node = context;
    struct publish *publish = argument;
    struct redis_pubsub *bus = node->bus;
    bool refused = reply != NULL && reply->type == REDIS_REPLY_ERROR;
    enum redis_error kind = refused ? redis_error_kind(reply->str) : REDIS_ERROR_REFUSED;
    if (kind == REDIS_ERROR_MOVED && bus->cluster != NULL && !bus->stopping && publish->moves++ < MOST_MOVES) {
        redis_cluster_refresh(bus->cluster);
        redis_node_publish(bus->shards[0], publish); /* the new map finds its place */
        return;
    }
    if (kind == REDIS_ERROR_AWAY && !bus->stopping && publish->moves++ < MOST_MOVES) {
        redis_node_publish(node, publish); /* the link is not up: it waits for another connection */
        return;
    }
    pubsub_end(bus, publish, refused ? LAYER_REFUSED : reply != NULL ? LAYER_OK : LAYER_UNSENT, refused ? reply->str : NULL);
}

int redis_node_say(struct redis_node *node, struct name topic, struct name payload, struct redis_reader reader)
{
    struct redis_pubsub *bus = node->bus;
    struct bytes sealed = { 0 };
    int result = REDIS_LINK_NO_MEMORY;
    if (node->publisher == NULL)
        return REDIS_LINK_DOWN;
    if (bus->fernet != NULL) {
        if (fernet_encrypt(bus->fernet, &sealed, payload.bytes, payload.length, (uint64_t)time(NULL)) != FERNET_OK)
            goto done;
        payload = (struct name){ (const char *)sealed.data, sealed.length };
    }
    struct name words[] = { text(bus->cluster != NULL ? "SPUBLISH" : "PUBLISH"), topic, payload };
    result = redis_link_send(node->publisher, 3, words, reader);
done:
    bytes_deinit(&sealed);
    return result;
}

static void send_publish(struct redis_node *node, struct publish *publish)
{
    const struct message *message = publish->item->message;
    struct name payload = { (const char *)message->bytes, message->length };
    if (redis_node_say(node, publish->topic, payload, (struct redis_reader){ on_published, publish, false }) != REDIS_LINK_OK)
        pubsub_end(node->bus, publish, LAYER_UNSENT, NULL);
}

void redis_node_publish(struct redis_node *node, struct publish *publish)
{
    if (node->publisher != NULL && redis_link_is_up(node->publisher) && list_empty(&node->waiting))
        send_publish(node, publish);
    else
        list_append(&node->waiting, &publish->link);
}

void redis_node_expire(struct redis_node *node, uint64_t then)
{
    for (struct list_node *at = node->waiting.next, *next; at != &node->waiting; at = next) {
        struct publish *publish = list_entry(at, struct publish, link);
        next = at->next;
        if (publish->item->asked_at >= then)
            continue;
        list_remove(at);
        pubsub_end(node->bus, publish, LAYER_UNSENT, NULL);
    }
}

/* --- connections --- */

static void count_up(struct redis_node *node, struct redis_link **link)
{
    atomic_fetch_add(&node->bus->remote.links_up, 1);
    remote_trouble(&node->bus->remote, link, NULL, NULL);
}

static void count_down(struct redis_node *node, struct redis_link **link, const char *reason)
{
    atomic_fetch_sub(&node->bus->remote.links_up, 1);
    atomic_fetch_add(&node->bus->remote.reconnects, 1);
    remote_trouble(&node->bus->remote, link, node->host->label, reason);
}

static void on_error(void *context, const char *command, const char *error)
{
    struct redis_node *node = context;
    if (node->bus->cluster == NULL || redis_error_kind(error) != REDIS_ERROR_MOVED)
        remote_refused(&node->bus->remote, node->host->label, command, error);
}

static void on_subscriber_up(void *context)
{
    struct redis_node *node = context;
    count_up(node, &node->subscriber);
    patience_back(&node->patience);
    redis_node_flush(node);
    check_recovered(node);
}

void redis_node_miss(struct redis_node *node)
{
    if (!node->recovering)
        node->recovery = ledger_note(&node->bus->ledger, (struct name){ "", 0 }, 0);
    node->recovering = true;
}

static void on_subscriber_down(void *context, const char *reason)
{
    struct redis_node *node = context;
    count_down(node, &node->subscriber, reason);
    patience_away(&node->patience, clock_ms());
    redis_node_miss(node);
    for (struct list_node *at = node->topics.next, *next; at != &node->topics; at = next) {
        struct topic *topic = list_entry(at, struct topic, of_node);
        next = at->next;
        topic->missed = topic->missed || topic->state == TOPIC_CONFIRMED;
        topic->state = TOPIC_IDLE;
        topic->alone = false;
        redis_node_update(node, topic); /* may free it */
    }
    pubsub_lost(node->bus, node);
    if (node->bus->cluster != NULL)
        redis_cluster_refresh(node->bus->cluster);
}

static void on_failed(struct redis_node *node, struct redis_link **link, const char *reason)
{
    remote_trouble(&node->bus->remote, link, node->host->label, reason);
    if (node->bus->cluster != NULL)
        redis_cluster_refresh(node->bus->cluster);
}

static void on_subscriber_failed(void *context, const char *reason)
{
    struct redis_node *node = context;
    on_failed(node, &node->subscriber, reason);
}

static bool is_text(const struct redisReply *reply)
{
    return reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS;
}

/* Redis has ended a subscription. It is asked for again here: its slot may be back before the map is asked for. */
static void lose_topic(struct redis_node *node, struct name name)
{
    struct topic *topic = topic_find(&node->bus->topics, name);
    if (topic == NULL || topic->node != node || topic->state != TOPIC_CONFIRMED)
        return; /* the answer to a command follows */
    topic->state = TOPIC_IDLE;
    topic->missed = topic->missed || topic_wanted(topic);
    if (topic->missed)
        redis_node_miss(node);
    redis_node_update(node, topic); /* may free it */
}

static void on_push(void *context, const struct redisReply *push)
{
    struct redis_node *node = context;
    if (push->elements != 3 || !is_text(push->element[0]) || !is_text(push->element[1]))
        return;
    const struct redisReply *kind = push->element[0], *topic = push->element[1], *payload = push->element[2];
    if (strcmp(kind->str, "message") == 0 || strcmp(kind->str, "smessage") == 0) {
        if (payload->type == REDIS_REPLY_STRING)
            pubsub_heard(node->bus, (struct name){ topic->str, topic->len }, (struct name){ payload->str, payload->len });
    } else if (strcmp(kind->str, "sunsubscribe") == 0 && node->bus->cluster != NULL) {
        redis_cluster_refresh(node->bus->cluster); /* its slot has moved away */
        lose_topic(node, (struct name){ topic->str, topic->len });
    }
}

static void on_publisher_up(void *context)
{
    struct redis_node *node = context;
    count_up(node, &node->publisher);
    while (!list_empty(&node->waiting) && redis_link_is_up(node->publisher)) {
        struct publish *publish = list_entry(node->waiting.next, struct publish, link);
        list_remove(&publish->link);
        send_publish(node, publish);
    }
}

static void on_publisher_down(void *context, const char *reason)
{
    struct redis_node *node = context;
    count_down(node, &node->publisher, reason);
    if (node->bus->cluster != NULL)
        redis_cluster_refresh(node->bus->cluster);
}

static void on_publisher_failed(void *context, const char *reason)
{
    struct redis_node *node = context;
    on_failed(node, &node->publisher, reason);
}

static void on_link_closed(void *context)
{
    struct redis_node *node = context;
    if (--node->open_links == 0)
        pubsub_node_closed(node->bus, node);
}

static const struct redis_link_events subscriber_events = {
    .on_up = on_subscriber_up, .on_down = on_subscriber_down, .on_failed = on_subscriber_failed, .on_error = on_error, .on_push = on_push, .on_closed = on_link_closed,
};
static const struct redis_link_events publisher_events = {
    .on_up = on_publisher_up, .on_down = on_publisher_down, .on_failed = on_publisher_failed, .on_error = on_error, .on_closed = on_link_closed,
};

struct redis_node *redis_node_create(struct redis_pubsub *bus, const struct redis_host *host)
{
    struct redis_node *node = mem_try_alloc(sizeof *node);
    if (node == NULL)
        return NULL;
    memset(node, 0, sizeof *node);
    node->bus = bus;
    node->host = host;
    patience_away(&node->patience, clock_ms());
    list_init(&node->link);
    list_init(&node->topics);
    list_init(&node->dirty);
    list_init(&node->waiting);
    list_append(&bus->nodes, &node->link);
    return node;
}

static void make_link(struct redis_node *node, struct redis_link **link, const struct redis_link_events *events)
{
    if (*link != NULL)
        return;
    *link = redis_link_create(pubsub_loop(node->bus), node->host, 0, events, node);
    if (*link == NULL)
        return;
    node->open_links++;
    atomic_fetch_add(&node->bus->remote.links, 1);
}

void redis_node_connect(struct redis_node *node)
{
    make_link(node, &node->subscriber, &subscriber_events);
    make_link(node, &node->publisher, &publisher_events);
}

static void close_link(struct redis_node *node, struct redis_link **link)
{
    struct redis_link *closing = *link;
    if (closing == NULL)
        return;
    *link = NULL; /* what its last answers bring about must not use it */
    remote_trouble(&node->bus->remote, link, NULL, NULL);
    atomic_fetch_sub(&node->bus->remote.links, 1);
    if (redis_link_is_connected(closing))
        atomic_fetch_sub(&node->bus->remote.links_up, 1);
    redis_link_destroy(closing);
}

void redis_node_close(struct redis_node *node)
{
    assert(list_empty(&node->topics) && list_empty(&node->waiting));
    if (node->recovering)
        ledger_confirm(&node->bus->ledger, &node->recovery, LAYER_OK, NULL);
    node->recovering = false;
    node->leaving = true;
    if (node->open_links == 0) {
        pubsub_node_closed(node->bus, node);
        return;
    }
    close_link(node, &node->subscriber);
    close_link(node, &node->publisher);
}

void redis_node_free(struct redis_node *node)
{
    list_remove(&node->link);
    mem_free(node->own_host);
    mem_free(node);
}
