#include "channellayer/bus/hub.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "channellayer/bus/hub_names.h"
#include "channellayer/bus/hub_pipe.h"
#include "channellayer/bus/patience.h"
#include "channellayer/bus/remote.h"
#include "channellayer/bytes.h"
#include "channellayer/name.h"

enum {
    FIRST_WAIT_MS = 5,
    LAST_WAIT_MS = 150, /* below HUB_GRACE_MS, so that a new hub does not forward before we are back */
    CLOCK_MS = 100,
    ANSWER_MS = 10000,     /* settle_time_ms, where it is 0 */
    ON_THE_WAY = 256 * 1024, /* bytes that are given to the socket ahead of it; the rest can still expire, or change */
    QUIET_MS = 1000,       /* after which the hub is asked whether it lives */
    SILENCE_MS = 4000,     /* after which it counts as gone */
};

/*   WAITING ──clock──▶ CONNECTING ──connected──▶ GREETING ──hello──▶ UP
 *      ▲                   └───────────────┬────────┘               │
 *      └── closed ── CLOSING ◀─────────────┴────── lost ────────────┘
 */
enum state {
    WAITING,    /* for the time of the next attempt; there is no handle */
    CONNECTING, /* for the socket */
    GREETING,   /* for the hub's hello */
    UP,         /* frames go both ways */
    CLOSING,    /* for the handle's close callback */
};

/* A settle, or a query, on its way. */
struct asked {
    struct list_node link;
    uint64_t number;
    uint64_t until; /* clock_ms() */
    struct remote_item *item;
};

struct bus_hub {
    struct remote remote;
    struct hub_pipe pipe;
    uv_timer_t clock;
    uv_connect_t connect;
    enum state state;
    unsigned seed;       /* of the back-off: processes that lose a hub together come back one by one */
    bool was_up;
    bool stopping;
    bool unsent;         /* a message since the last settle could not be given to the socket */
    uint64_t wait_ms;    /* before the next attempt */
    uint64_t retry_at;   /* clock_ms() */
    struct patience patience;
    uint64_t heard_at;   /* clock_ms(): of a frame; or when the present state began */
    uint64_t ticked_at;  /* clock_ms() */
    bool asked_alive;    /* a SETTLE that nobody waits for is on its way */
    struct hub_names groups;
    struct hub_names channels;
    struct list_node waiting; /* of struct remote_item: PUBLISH, SEND, SETTLE, in order */
    struct list_node asked;   /* of struct asked */
    uint64_t last_number;
    uint64_t buffer_time_ms;
    uint64_t settle_time_ms;
    char *path;
    char *client;
};

static struct bus_hub *hub_of(struct hub_pipe *pipe)
{
    return list_entry(pipe, struct bus_hub, pipe);
}

static void set_state(struct bus_hub *hub, enum state state)
{
    static const unsigned from[] = {
        [WAITING] = 1u << CLOSING | 1u << WAITING,
        [CONNECTING] = 1u << WAITING,
        [GREETING] = 1u << CONNECTING,
        [UP] = 1u << GREETING,
        [CLOSING] = 1u << CONNECTING | 1u << GREETING | 1u << UP,
    };
    assert(from[state] & 1u << hub->state);
    atomic_store(&hub->remote.links_up, state == UP);
    hub->state = state;
}

/* What is announced */

static void say(struct bus_hub *hub, enum hub_kind kind, uint64_t number, struct name name)
{
    if (hub->state == UP)
        (void)hub_pipe_say(&hub->pipe, &(struct hub_frame){ .kind = kind, .number = number, .name = name });
}

static void announce_group(void *context, struct name group, bool wanted)
{
    say(context, wanted ? HUB_JOIN : HUB_LEAVE, 0, group);
}

static void announce_channel(void *context, struct name channel, bool wanted)
{
    say(context, wanted ? HUB_RECEIVE : HUB_UNRECEIVE, 0, channel);
}

static bool has_room(const struct bus_hub *hub)
{
    return hub->state == UP && hub->pipe.out_bytes < ON_THE_WAY;
}

/* Says what has changed. What there is no room for waits: it may change back. */
static void announce(struct bus_hub *hub)
{
    for (bool more = true; more && has_room(hub);)
        more = hub_names_next(&hub->groups, announce_group, hub) || hub_names_next(&hub->channels, announce_channel, hub);
}

/* A channel whose name says whose it is needs no announcement. */
static bool is_anybodys(struct name channel)
{
    return !name_is_local(channel, (struct name){ "", 0 });
}

/* What waits, and what is asked */

static bool send_message(struct bus_hub *hub, const struct remote_item *item)
{
    bool group = item->kind == REMOTE_PUBLISH;
    const struct hub_frame frame = {
        .kind = group ? HUB_PUBLISH : HUB_SEND,
        .number = item->capacity,
        .name = group ? item->group : item->channel,
        .payload = { item->message->bytes, item->message->length },
    };
    struct hub_chunk *chunk = hub_chunk_create(&frame, false);
    bool sent = chunk != NULL && hub_pipe_write(&hub->pipe, chunk);
    hub_chunk_release(chunk);
    return sent;
}

static void ask(struct bus_hub *hub, struct remote_item *item)
{
    struct asked *asked = mem_alloc(sizeof *asked);
    asked->item = item;
    asked->number = ++hub->last_number;
    asked->until = clock_ms() + (item->kind == REMOTE_SETTLE && item->wait_ms < hub->settle_time_ms ? item->wait_ms : hub->settle_time_ms);
    if (item->kind == REMOTE_SETTLE) {
        item->failed = item->failed || hub->unsent;
        hub->unsent = false;
    }
    list_append(&hub->asked, &asked->link);
    say(hub, item->kind == REMOTE_QUERY ? HUB_QUERY : HUB_SETTLE, asked->number, item->group);
}

/* Changes go first: a message, or a settle, stands behind the joins that were asked for before it. */
static void pump(struct bus_hub *hub)
{
    announce(hub);
    while (has_room(hub) && !list_empty(&hub->waiting)) {
        struct remote_item *item = list_entry(hub->waiting.next, struct remote_item, link);
        list_remove(&item->link);
        if (item->message == NULL) {
            ask(hub, item);
            continue;
        }
        bool sent = send_message(hub, item);
        hub->unsent = hub->unsent || !sent;
        remote_done(item, sent);
    }
}

static uint64_t patience(const struct bus_hub *hub, const struct remote_item *item)
{
    return item->message != NULL ? hub->buffer_time_ms : PATIENCE_AWAY_MS; /* without a hub nothing can be confirmed */
}

/* A join, while the hub is known to be away: it is announced when there is one. */
static bool is_not_waited_for(struct bus_hub *hub, const struct remote_item *item, uint64_t now)
{
    return item->kind == REMOTE_SETTLE && item->joined && patience_is_over(&hub->patience, now, hub->heard_at);
}

/* What has waited too long fails, and with a message everything that was to be confirmed after it. */
static void expire(struct bus_hub *hub)
{
    uint64_t now = clock_ms();
    bool lost = false;
    for (struct list_node *node = hub->waiting.next, *next; node != &hub->waiting; node = next) {
        struct remote_item *item = list_entry(node, struct remote_item, link);
        next = node->next;
        bool late = now - item->asked_at >= patience(hub, item) || is_not_waited_for(hub, item, now);
        /* A settle behind a message that may still go out waits with it. */
        if (item->message == NULL && node != hub->waiting.next)
            late = late && now - item->asked_at >= hub->buffer_time_ms;
        if (item->message == NULL && lost)
            item->failed = true;
        if (!late)
            continue;
        lost = lost || item->message != NULL;
        list_remove(&item->link);
        remote_done(item, false);
    }
}

/* What may be waited for no longer than then has failed: the hub is stuck, or it has gone, and how many messages were under way is
 * not known. */
static void fail_asked(struct bus_hub *hub, uint64_t then)
{
    for (struct list_node *node = hub->asked.next, *next; node != &hub->asked; node = next) {
        struct asked *asked = list_entry(node, struct asked, link);
        next = node->next;
        if (asked->until > then)
            continue;
        if (asked->item->joined)
            patience_in_vain(&hub->patience, clock_ms());
        list_remove(&asked->link);
        remote_done(asked->item, false);
        mem_free(asked);
    }
}

static struct remote_item *answered(struct bus_hub *hub, uint64_t number)
{
    for (struct list_node *node = hub->asked.next; node != &hub->asked; node = node->next) {
        struct asked *asked = list_entry(node, struct asked, link);
        if (asked->number != number)
            continue;
        struct remote_item *item = asked->item;
        list_remove(&asked->link);
        mem_free(asked);
        return item;
    }
    return NULL;
}

/* Frames */

static bool any(void *context, struct name group)
{
    (void)context;
    (void)group;
    return true;
}

static void tell_gap(struct bus_hub *hub)
{
    struct layer *layer = remote_enter(&hub->remote);
    if (layer == NULL)
        return;
    atomic_fetch_add(&hub->remote.gaps, 1);
    layer_gap(layer, any, NULL);
    layer_release(layer);
}

static void on_hello(struct bus_hub *hub)
{
    set_state(hub, UP);
    patience_back(&hub->patience);
    remote_trouble(&hub->remote, hub, NULL, NULL);
    hub->wait_ms = FIRST_WAIT_MS;
    hub_names_begin(&hub->groups);
    hub_names_begin(&hub->channels);
    announce(hub);
    if (hub->was_up) {
        atomic_fetch_add(&hub->remote.reconnects, 1);
        tell_gap(hub);
    }
    hub->was_up = true;
    pump(hub);
}

static void deliver(struct bus_hub *hub, const struct hub_frame *frame)
{
    struct layer *layer = remote_enter(&hub->remote);
    if (layer == NULL)
        return;
    struct message *message = message_create(frame->payload.bytes, frame->payload.length, NULL, 0);
    atomic_fetch_add(&hub->remote.received, 1);
    if (message != NULL && frame->kind == HUB_PUBLISH)
        (void)layer_deliver(layer, frame->name, message); /* what cannot be delivered has been counted */
    else if (message != NULL)
        (void)layer_put(layer, frame->name, frame->number > 0 ? (size_t)frame->number : 1, message);
    message_release(message);
    layer_release(layer);
}

static void add_name(void *context, struct name channel)
{
    struct bytes *names = context;
    bytes_add_byte(names, (unsigned char)channel.length);
    bytes_add(names, channel.bytes, channel.length);
}

static void answer(struct bus_hub *hub, const struct hub_frame *frame)
{
    struct bytes names = { 0 };
    struct layer *layer = remote_enter(&hub->remote);
    if (layer != NULL) {
        layer_each_member(layer, frame->name, add_name, &names);
        layer_release(layer);
    }
    if (!names.failed)
        (void)hub_pipe_say(&hub->pipe, &(struct hub_frame){ HUB_ANSWER, frame->number, { "", 0 }, { names.data, names.length } });
    bytes_deinit(&names);
}

static bool on_frame(struct hub_pipe *pipe, const struct hub_frame *frame)
{
    struct bus_hub *hub = hub_of(pipe);
    struct remote_item *item;
    hub->heard_at = clock_ms();
    hub->asked_alive = false;
    if (hub->state == GREETING && frame->kind == HUB_HELLO && frame->number == HUB_VERSION) {
        on_hello(hub);
        return true;
    }
    if (hub->state != UP)
        return false;
    switch (frame->kind) {
    case HUB_PUBLISH:
    case HUB_SEND:
        deliver(hub, frame);
        return true;
    case HUB_SETTLED:
        item = answered(hub, frame->number);
        if (item != NULL)
            remote_done(item, true);
        return true;
    case HUB_ANSWER:
        item = answered(hub, frame->number);
        if (item != NULL && frame->name.length > 0)
            remote_settled(item, LAYER_REFUSED, "a process that has members in it did not answer in time");
        else if (item != NULL)
            remote_answer(item, frame->payload);
        return true;
    case HUB_QUERY:
        answer(hub, frame);
        return true;
    case HUB_GAP:
        tell_gap(hub);
        return true;
    default:
        return false;
    }
}

/* The connection */

static void lose(struct bus_hub *hub, const char *why)
{
    remote_trouble(&hub->remote, hub, hub->path, why);
    if (hub->state == UP)
        patience_away(&hub->patience, clock_ms());
    set_state(hub, CLOSING);
    fail_asked(hub, UINT64_MAX);
    hub_pipe_close(&hub->pipe);
}

static void on_end(struct hub_pipe *pipe)
{
    lose(hub_of(pipe), "the hub has gone");
}

static void on_written(struct hub_pipe *pipe)
{
    pump(hub_of(pipe));
}

static void finish(struct bus_hub *hub);

static void on_closed(struct hub_pipe *pipe)
{
    struct bus_hub *hub = hub_of(pipe);
    set_state(hub, WAITING);
    hub->retry_at = clock_ms() + hub->wait_ms / 2 + (uint64_t)rand_r(&hub->seed) % (hub->wait_ms / 2 + 1);
    hub->wait_ms = hub->wait_ms * 2 < LAST_WAIT_MS ? hub->wait_ms * 2 : LAST_WAIT_MS;
    if (hub->stopping)
        finish(hub);
    else
        uv_timer_start(&hub->clock, hub->clock.timer_cb, hub->retry_at - clock_ms() < CLOCK_MS ? hub->retry_at - clock_ms() : CLOCK_MS, CLOCK_MS);
}

static const struct hub_pipe_callbacks callbacks = { on_frame, on_end, on_closed, on_written };

static void on_connect(uv_connect_t *request, int status)
{
    struct bus_hub *hub = request->data;
    if (uv_is_closing(&hub->pipe.handle))
        return;
    if (status != 0) {
        lose(hub, "nobody is the hub there");
        return;
    }
    if (!hub_pipe_is_same_user(&hub->pipe)) { /* it would be told everything */
        lose(hub, "the hub there is another user's");
        return;
    }
    set_state(hub, GREETING);
    hub->heard_at = clock_ms();
    hub_pipe_begin(&hub->pipe);
    if (hub->state == GREETING)
        (void)hub_pipe_say(&hub->pipe, &(struct hub_frame){ .kind = HUB_HELLO, .number = HUB_VERSION, .name = { hub->client, strlen(hub->client) } });
}

static void connect_now(struct bus_hub *hub)
{
    set_state(hub, CONNECTING);
    hub->heard_at = clock_ms();
    hub->asked_alive = false;
    hub_pipe_init(&hub->pipe, remote_loop(&hub->remote), &callbacks, 0);
    hub->connect.data = hub;
    hub_pipe_connect(&hub->pipe, &hub->connect, hub->path, on_connect);
}

/* Asks a hub that is quiet whether it lives, and gives up one that is silent: stopped, or stuck. */
static void look_after(struct bus_hub *hub, uint64_t now)
{
    uint64_t before = hub->ticked_at;
    hub->ticked_at = now;
    if (hub->state != CONNECTING && hub->state != GREETING && hub->state != UP)
        return;
    if (now - before > QUIET_MS)
        hub->heard_at = now; /* it was this process that stood still */
    if (now - hub->heard_at >= SILENCE_MS) {
        lose(hub, "the hub does not answer");
    } else if (hub->state == UP && !hub->asked_alive && now - hub->heard_at >= QUIET_MS) {
        hub->asked_alive = true;
        say(hub, HUB_SETTLE, 0, (struct name){ "", 0 });
    }
}

static void on_clock(uv_timer_t *clock)
{
    struct bus_hub *hub = clock->data;
    look_after(hub, clock_ms());
    if (hub->state == WAITING && clock_ms() >= hub->retry_at)
        connect_now(hub);
    expire(hub);
    fail_asked(hub, clock_ms());
}

/* The bus */

static void start(struct remote *remote)
{
    struct bus_hub *hub = (struct bus_hub *)remote;
    atomic_store(&remote->links, 1);
    uv_timer_init(remote_loop(remote), &hub->clock);
    hub->clock.data = hub;
    hub->ticked_at = clock_ms();
    patience_away(&hub->patience, clock_ms());
    uv_timer_start(&hub->clock, on_clock, CLOCK_MS, CLOCK_MS);
    connect_now(hub);
}

static void wait(struct bus_hub *hub, struct remote_item *item)
{
    if (is_not_waited_for(hub, item, clock_ms())) {
        remote_done(item, false);
        return;
    }
    list_append(&hub->waiting, &item->link);
    pump(hub);
}

static void take(struct remote *remote, struct remote_item *item)
{
    struct bus_hub *hub = (struct bus_hub *)remote;
    switch (item->kind) {
    case REMOTE_JOIN:
        hub_names_want(&hub->groups, item->group, true);
        break;
    case REMOTE_LEAVE:
        hub_names_want(&hub->groups, item->group, false);
        break;
    case REMOTE_MADE:
        if (is_anybodys(item->channel))
            hub_names_want(&hub->channels, item->channel, true);
        break;
    case REMOTE_GONE:
        if (is_anybodys(item->channel))
            hub_names_want(&hub->channels, item->channel, false);
        break;
    case REMOTE_PUBLISH:
    case REMOTE_SEND:
    case REMOTE_SETTLE:
    case REMOTE_QUERY:
        wait(hub, item);
        return;
    case REMOTE_WANTED:
    case REMOTE_FLUSH:
        break; /* the hub keeps nothing of a group; waiting messages for channels are their receivers' */
    }
    remote_done(item, true);
    announce(hub);
}

static void on_clock_closed(uv_handle_t *handle)
{
    struct bus_hub *hub = handle->data;
    while (!list_empty(&hub->waiting)) {
        struct remote_item *item = list_entry(hub->waiting.next, struct remote_item, link);
        list_remove(&item->link);
        remote_done(item, false);
    }
    hub_names_deinit(&hub->groups);
    hub_names_deinit(&hub->channels);
    mem_free(hub->path);
    mem_free(hub->client);
    remote_stopped(&hub->remote);
}

static void finish(struct bus_hub *hub)
{
    uv_close((uv_handle_t *)&hub->clock, on_clock_closed);
}

static void stop(struct remote *remote)
{
    struct bus_hub *hub = (struct bus_hub *)remote;
    hub->stopping = true;
    if (hub->state == WAITING)
        finish(hub);
    else if (hub->state != CLOSING)
        lose(hub, "it is being closed");
}

/* A join or leave matters only for the first and last member here. */
static const struct remote_operations operations = {
    .name = "hub",
    .delivers_here = true,
    .queries = true,
    .start = start,
    .take = take,
    .stop = stop,
};

static char *copy(const char *string)
{
    char *result = mem_alloc(strlen(string) + 1);
    memcpy(result, string, strlen(string) + 1);
    return result;
}

struct bus *bus_hub_create(struct layer *layer, const void *argument)
{
    const struct hub_settings *settings = argument;
    struct bus_hub *hub = mem_try_alloc(sizeof *hub);
    if (hub == NULL)
        return NULL;
    memset(hub, 0, sizeof *hub);
    hub->path = copy(settings->path);
    hub->client = copy(settings->client);
    hub->seed = (unsigned)name_hash((struct name){ hub->client, strlen(hub->client) });
    hub->wait_ms = FIRST_WAIT_MS;
    hub->buffer_time_ms = settings->buffer_time_ms;
    hub->settle_time_ms = settings->settle_time_ms > 0 ? settings->settle_time_ms : ANSWER_MS;
    hub->state = WAITING;
    hub_names_init(&hub->groups);
    hub_names_init(&hub->channels);
    list_init(&hub->waiting);
    list_init(&hub->asked);
    if (remote_init(&hub->remote, &operations, layer, settings->buffer_limit) == LAYER_OK)
        return &hub->remote.bus;
    mem_free(hub->path);
    mem_free(hub->client);
    mem_free(hub);
    return NULL;
}
