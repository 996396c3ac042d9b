#include "channellayer/bus/redis_cluster.h"

#include <hiredis/hiredis.h>
#include <string.h>

#include "base/alloc.h"
#include "channellayer/bus/redis_pubsub_state.h"

enum {
    SLOTS = 16384,
    REFRESH_AFTER_MS = 200, /* what asks for a map comes in crowds */
    REFRESH_EVERY_MS = 30000,
    MAPS_IN_TROUBLE = 5, /* from one node while another is away: its map may be an old one */
};

struct redis_cluster {
    struct redis_pubsub *bus;
    const struct redis_host *host;
    struct redis_host seeds;         /* whom to ask: host's addresses, and those of the nodes that the map has */
    struct redis_address *addresses; /* seeds's, once there is a map; mem_free() */
    unsigned maps_in_trouble;
    bool changing;           /* asks another node, although this one answers */
    struct redis_link *asker;
    uv_timer_t timer;
    bool soon;               /* the timer runs for a refresh that somebody wants */
    struct redis_node *nodes[SLOTS]; /* by slot; NULL: nobody has it */
};

unsigned redis_cluster_slot(struct name topic)
{
    const char *begin = memchr(topic.bytes, '{', topic.length);
    const char *end = begin == NULL ? NULL : memchr(begin, '}', (size_t)(topic.bytes + topic.length - begin));
    if (end != NULL && end > begin + 1)
        topic = (struct name){ begin + 1, (size_t)(end - begin - 1) };
    unsigned crc = 0; /* CRC-16/XMODEM */
    for (size_t i = 0; i < topic.length; i++) {
        crc ^= (unsigned)(unsigned char)topic.bytes[i] << 8;
        for (int bit = 0; bit < 8; bit++)
            crc = crc << 1 ^ (crc & 0x8000 ? 0x1021u : 0);
    }
    return crc % SLOTS;
}

struct redis_node *redis_cluster_node(const struct redis_cluster *cluster, struct name topic)
{
    return cluster->nodes[redis_cluster_slot(topic)];
}

/* --- nodes --- */

static struct redis_node *node_at(struct redis_cluster *cluster, const char *host, int port)
{
    struct redis_pubsub *bus = cluster->bus;
    for (struct list_node *at = bus->nodes.next; at != &bus->nodes; at = at->next) {
        struct redis_node *node = list_entry(at, struct redis_node, link);
        const struct redis_address *address = node->own_host == NULL ? NULL : &node->own_host->addresses[0];
        if (address != NULL && !node->leaving && address->port == port && strcmp(address->host, host) == 0)
            return node;
    }
    return NULL;
}

/* A host of its own for a node, in one block; NULL when there is no memory. */
static struct redis_host *host_at(const struct redis_host *seeds, const char *name, int port)
{
    size_t size = strlen(name) + 1;
    struct block {
        struct redis_host host; /* first */
        struct redis_address address;
        char name[];
    } *block = mem_try_alloc(sizeof *block + size);
    if (block == NULL)
        return NULL;
    block->host = *seeds;
    block->host.addresses = &block->address;
    block->host.address_count = 1;
    block->address = (struct redis_address){ .host = memcpy(block->name, name, size), .port = port };
    return &block->host;
}

static struct redis_node *make_node(struct redis_cluster *cluster, const char *host, int port)
{
    struct redis_host *own = host_at(&cluster->seeds, host, port);
    struct redis_node *node = own == NULL ? NULL : redis_node_create(cluster->bus, own);
    if (node == NULL) {
        mem_free(own);
        return NULL;
    }
    node->own_host = own;
    redis_node_connect(node);
    return node;
}

/* --- the map --- */

static bool is_text(const struct redisReply *reply)
{
    return reply->type == REDIS_REPLY_STRING && reply->len > 0;
}

static bool is_number(const struct redisReply *reply, long long most)
{
    return reply->type == REDIS_REPLY_INTEGER && reply->integer >= 0 && reply->integer <= most;
}

/* One line of CLUSTER SLOTS: first slot, last slot, [host, port, …] of the master, … */
static bool read_range(struct redis_cluster *cluster, const struct redisReply *range)
{
    if (range->type != REDIS_REPLY_ARRAY || range->elements < 3 || !is_number(range->element[0], SLOTS - 1) ||
        !is_number(range->element[1], SLOTS - 1))
        return false;
    const struct redisReply *master = range->element[2];
    if (master->type != REDIS_REPLY_ARRAY || master->elements < 2 || !is_number(master->element[1], 65535))
        return false;
    /* A node that does not know its own address gives none: it is the one that was asked. */
    const char *host = is_text(master->element[0]) ? master->element[0]->str : redis_link_host(cluster->asker);
    int port = (int)master->element[1]->integer;
    if (host == NULL)
        return false;
    struct redis_node *node = node_at(cluster, host, port);
    if (node == NULL)
        node = make_node(cluster, host, port);
    if (node == NULL)
        return false;
    node->mapped = true;
    for (long long slot = range->element[0]->integer; slot <= range->element[1]->integer; slot++)
        cluster->nodes[slot] = node;
    return true;
}

static void move_topic(struct redis_pubsub *bus, struct topic *topic)
{
    struct redis_node *old = topic->node, *node = pubsub_node_of(bus, topic->name);
    if (node != old) {
        topic->missed = topic->missed || topic->state == TOPIC_CONFIRMED;
        node->told_lost = node->told_lost || old->told_lost;
        old->told_lost = false;
        redis_node_remove(old, topic);
        redis_node_add(node, topic);
        if (topic->missed && topic_wanted(topic))
            redis_node_miss(node);
    }
    redis_node_update(node, topic);
}

static void move_all_of(struct redis_pubsub *bus, struct redis_node *node)
{
    for (struct list_node *at = node->topics.next, *next; at != &node->topics; at = next) {
        next = at->next;
        move_topic(bus, list_entry(at, struct topic, of_node));
    }
    struct list_node waiting;
    list_init(&waiting);
    while (!list_empty(&node->waiting)) {
        struct list_node *first = node->waiting.next;
        list_remove(first);
        list_append(&waiting, first);
    }
    while (!list_empty(&waiting)) {
        struct publish *publish = list_entry(waiting.next, struct publish, link);
        list_remove(&publish->link);
        redis_node_publish(pubsub_node_of(bus, publish->topic), publish);
    }
}

/* Every node of the map may be asked for the next one: the seeds may be gone by then. */
static void know_nodes(struct redis_cluster *cluster)
{
    size_t count = cluster->host->address_count, bytes = 0;
    for (struct list_node *at = cluster->bus->nodes.next; at != &cluster->bus->nodes; at = at->next) {
        const struct redis_node *node = list_entry(at, struct redis_node, link);
        if (node->own_host == NULL || !node->mapped)
            continue;
        count++;
        bytes += strlen(node->own_host->addresses[0].host) + 1;
    }
    struct redis_address *addresses = mem_try_alloc(count * sizeof *addresses + bytes);
    if (addresses == NULL)
        return; /* the old ones remain */
    char *text = (char *)(addresses + count);
    size_t used = 0;
    for (struct list_node *at = cluster->bus->nodes.next; at != &cluster->bus->nodes; at = at->next) {
        const struct redis_node *node = list_entry(at, struct redis_node, link);
        if (node->own_host == NULL || !node->mapped)
            continue;
        const struct redis_address *address = &node->own_host->addresses[0];
        size_t size = strlen(address->host) + 1;
        addresses[used++] = (struct redis_address){ .host = memcpy(text, address->host, size), .port = address->port };
        text += size;
    }
    memcpy(addresses + used, cluster->host->addresses, cluster->host->address_count * sizeof *addresses);
    mem_free(cluster->addresses);
    cluster->addresses = cluster->seeds.addresses = addresses;
    cluster->seeds.address_count = count;
}

/* While a node is away, maps come from several nodes: the one that is asked may be cut off, and have an old one. */
static void ask_another_in_trouble(struct redis_cluster *cluster)
{
    const struct remote *remote = &cluster->bus->remote;
    bool trouble = atomic_load(&remote->links_up) < atomic_load(&remote->links);
    cluster->maps_in_trouble = trouble ? cluster->maps_in_trouble + 1 : 0;
    if (cluster->maps_in_trouble < MAPS_IN_TROUBLE)
        return;
    cluster->maps_in_trouble = 0;
    cluster->changing = true;
    redis_link_renew(cluster->asker, "another node is asked");
    cluster->changing = false;
}

static void apply(struct redis_cluster *cluster)
{
    struct redis_pubsub *bus = cluster->bus;
    for (struct list_node *at = bus->nodes.next; at != &bus->nodes; at = at->next)
        move_all_of(bus, list_entry(at, struct redis_node, link));
    for (struct list_node *at = bus->nodes.next, *next; at != &bus->nodes; at = next) {
        struct redis_node *node = list_entry(at, struct redis_node, link);
        next = at->next;
        if (node->own_host != NULL && !node->mapped && !node->leaving)
            redis_node_close(node);
    }
}

static void on_map(void *context, void *argument, const struct redisReply *reply)
{
    struct redis_cluster *cluster = context;
    (void)argument;
    if (reply == NULL || cluster->bus->stopping)
        return;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements == 0 || reply->elements > SLOTS) {
        redis_link_renew(cluster->asker, "it has no map of the cluster");
        return;
    }
    memset(cluster->nodes, 0, sizeof cluster->nodes);
    for (struct list_node *at = cluster->bus->nodes.next; at != &cluster->bus->nodes; at = at->next)
        list_entry(at, struct redis_node, link)->mapped = false;
    bool whole = true;
    for (size_t i = 0; i < reply->elements; i++)
        whole = read_range(cluster, reply->element[i]) && whole;
    know_nodes(cluster);
    apply(cluster);
    if (!whole)
        redis_cluster_refresh(cluster);
    ask_another_in_trouble(cluster);
}

static void ask(struct redis_cluster *cluster)
{
    struct name words[] = { { "CLUSTER", 7 }, { "SLOTS", 5 } };
    redis_link_send(cluster->asker, 2, words, (struct redis_reader){ on_map, NULL, false }); /* where it cannot, on_up asks */
}

static void on_time(uv_timer_t *timer)
{
    struct redis_cluster *cluster = timer->data;
    cluster->soon = false;
    uv_timer_start(timer, on_time, REFRESH_EVERY_MS, 0);
    ask(cluster);
}

void redis_cluster_refresh(struct redis_cluster *cluster)
{
    if (cluster->soon || cluster->bus->stopping)
        return;
    cluster->soon = true;
    uv_timer_start(&cluster->timer, on_time, REFRESH_AFTER_MS, 0);
}

/* --- life --- */

static void on_up(void *context)
{
    struct redis_cluster *cluster = context;
    remote_trouble(&cluster->bus->remote, cluster, NULL, NULL);
    ask(cluster);
}

static void on_asker_closed(void *context)
{
    struct redis_cluster *cluster = context;
    struct redis_pubsub *bus = cluster->bus;
    remote_trouble(&bus->remote, cluster, NULL, NULL);
    mem_free(cluster->addresses);
    mem_free(cluster);
    pubsub_closed(bus);
}

static void on_timer_closed(uv_handle_t *timer)
{
    struct redis_cluster *cluster = timer->data;
    redis_link_destroy(cluster->asker);
}

static void on_down(void *context, const char *reason)
{
    struct redis_cluster *cluster = context;
    if (!cluster->changing)
        remote_trouble(&cluster->bus->remote, cluster, cluster->seeds.label, reason);
}

static void on_error(void *context, const char *command, const char *error)
{
    struct redis_cluster *cluster = context;
    remote_refused(&cluster->bus->remote, cluster->seeds.label, command, error);
}

static const struct redis_link_events asker_events = {
    .on_up = on_up, .on_down = on_down, .on_failed = on_down, .on_error = on_error, .on_closed = on_asker_closed,
};

struct redis_cluster *redis_cluster_create(struct redis_pubsub *bus, const struct redis_host *host)
{
    struct redis_cluster *cluster = mem_try_alloc(sizeof *cluster);
    if (cluster == NULL)
        return NULL;
    memset(cluster, 0, sizeof *cluster);
    cluster->bus = bus;
    cluster->host = host;
    cluster->seeds = *host;
    cluster->seeds.kind = REDIS_SINGLE;
    cluster->seeds.any_role = true;
    cluster->asker = redis_link_create(pubsub_loop(bus), &cluster->seeds, 0, &asker_events, cluster);
    if (cluster->asker == NULL) {
        mem_free(cluster);
        return NULL;
    }
    uv_timer_init(pubsub_loop(bus), &cluster->timer);
    cluster->timer.data = cluster;
    return cluster;
}

void redis_cluster_destroy(struct redis_cluster *cluster)
{
    uv_close((uv_handle_t *)&cluster->timer, on_timer_closed);
}
