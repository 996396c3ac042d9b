/* The two connections to each Redis: one for commands, one that blocks in BZPOPMIN. */
#include "channellayer/bus/core_state.h"

#include <stdlib.h>

#include "base/clock.h"
#include "channellayer/bus/redis_error.h"

int core_send(struct core_shard *shard, size_t count, const struct name *words,
              void (*on_reply)(void *context, void *argument, const struct redisReply *reply), void *argument)
{
    if (shard->core->closed)
        return REDIS_LINK_DOWN;
    return redis_link_send(shard->commands, count, words, (struct redis_reader){ on_reply, argument, false });
}

/* on_disconnect and on_reconnect. */
static void put_event(struct core *core, struct name encoded)
{
    struct message *message = encoded.length > 0 ? message_create(encoded.bytes, encoded.length, NULL, 0) : NULL;
    struct layer *layer = message != NULL ? remote_enter(&core->remote) : NULL;
    if (layer != NULL) {
        layer_put_all(layer, message);
        layer_release(layer);
    }
    message_release(message);
}

static bool all_up(const struct core *core)
{
    return atomic_load(&core->remote.links_up) == atomic_load(&core->remote.links);
}

static void came_up(struct core *core, bool again)
{
    atomic_fetch_add(&core->remote.links_up, 1);
    if (!again)
        return;
    atomic_fetch_add(&core->remote.reconnects, 1);
    if (all_up(core))
        put_event(core, core->settings->on_reconnect);
}

static void went_down(struct core *core)
{
    bool first = all_up(core);
    atomic_fetch_sub(&core->remote.links_up, 1);
    if (first)
        put_event(core, core->settings->on_disconnect);
}

static const struct redis_host *host_of(const struct core_shard *shard)
{
    return &shard->core->settings->hosts[shard - shard->core->shards];
}

static void on_commands_failed(void *context, const char *reason)
{
    struct core_shard *shard = context;
    remote_trouble(&shard->core->remote, &shard->commands, host_of(shard)->label, reason);
}

static void on_listener_failed(void *context, const char *reason)
{
    struct core_shard *shard = context;
    remote_trouble(&shard->core->remote, &shard->listener, host_of(shard)->label, reason);
}

static void on_error(void *context, const char *command, const char *error)
{
    struct core_shard *shard = context;
    remote_refused(&shard->core->remote, host_of(shard)->label, command, error);
}

void core_shard_forgotten(struct core_shard *shard)
{
    core_members_restore(shard);
}

static void on_commands_up(void *context)
{
    struct core_shard *shard = context;
    shard->counted = false;
    remote_trouble(&shard->core->remote, &shard->commands, NULL, NULL);
    bool again = shard->was_up;
    shard->was_up = true;
    patience_back(&shard->patience);
    core_census_say(shard);
    core_members_restore(shard);
    if (again)
        core_review(shard);
    core_query_resume(shard->core);
    core_resume(shard->core);
    came_up(shard->core, again);
}

static void on_listener_up(void *context)
{
    struct core_shard *shard = context;
    bool again = shard->was_listening;
    remote_trouble(&shard->core->remote, &shard->listener, NULL, NULL);
    shard->was_listening = true;
    core_listener_up(shard);
    came_up(shard->core, again);
}

static void on_commands_down(void *context, const char *reason)
{
    struct core_shard *shard = context;
    patience_away(&shard->patience, clock_ms());
    on_commands_failed(context, reason);
    went_down(shard->core);
}

static void on_listener_down(void *context, const char *reason)
{
    struct core_shard *shard = context;
    shard->blocked = false;
    shard->listener_id = 0;
    if (redis_error_kind(reason) == REDIS_ERROR_AWAY)
        core_census_say(shard); /* it writes: the other connection learns it too, and memberships are written to the new master */
    on_listener_failed(context, reason);
    went_down(shard->core);
    core_gap_unheard(shard);
}

static void on_closed(void *context)
{
    struct core_shard *shard = context;
    core_closed(shard->core);
}

static const struct redis_link_events commands_events = {
    .on_up = on_commands_up, .on_down = on_commands_down, .on_failed = on_commands_failed, .on_error = on_error, .on_closed = on_closed,
};
static const struct redis_link_events listener_events = {
    .on_up = on_listener_up, .on_down = on_listener_down, .on_failed = on_listener_failed, .on_error = on_error, .on_closed = on_closed,
};

static struct redis_link *open_link(struct core_shard *shard, uint64_t silence_ms, const struct redis_link_events *events)
{
    struct core *core = shard->core;
    struct redis_link *link = redis_link_create(remote_loop(&core->remote), host_of(shard), silence_ms, events, shard);
    if (link == NULL)
        abort(); /* a fixed size */
    core->closing++;
    atomic_fetch_add(&core->remote.links, 1);
    return link;
}

void core_shards_begin(struct core *core)
{
    for (size_t i = 0; i < core->shard_count; i++) {
        struct core_shard *shard = &core->shards[i];
        shard->core = core;
        patience_away(&shard->patience, clock_ms());
        shard->commands = open_link(shard, 0, &commands_events);
        shard->listener = open_link(shard, CORE_SILENCE_MS, &listener_events);
    }
}
