/* Who may have missed messages. Told once for each outage, when both connections are back and every member is written again: so the
 * snapshot that a consumer then takes is followed by everything that comes later. */
#include "channellayer/bus/core_state.h"

#include <stdlib.h>

static bool is_whole(const struct core_shard *shard)
{
    return redis_link_is_up(shard->commands) && redis_link_is_up(shard->listener) && shard->restoring == 0;
}

void core_gap_unheard(struct core_shard *shard)
{
    if (!core_receives_at(shard->core, (size_t)(shard - shard->core->shards)))
        return;
    shard->unheard = true;
    core_begin_ticking(shard->core);
}

void core_gap_soon(struct core_shard *shard)
{
    shard->gap = true;
    core_begin_ticking(shard->core);
}

struct told {
    const struct core *core;
    uint64_t shards; /* a bit for each whose groups are told what they have missed */
    bool all;
};

static bool missed(void *context, struct name group)
{
    const struct told *told = context;
    if (told->all)
        return true;
    size_t shard = redis_shard(group, told->core->shard_count);
    return (told->shards >> shard & 1) != 0 && core_group_missed(told->core, group);
}

void core_gap_tick(struct core *core, bool *waits)
{
    struct told told = { .core = core };
    for (size_t i = 0; i < core->shard_count; i++) {
        struct core_shard *shard = &core->shards[i];
        if (!shard->unheard && !shard->gap)
            continue;
        if (!is_whole(shard)) {
            *waits = true;
            continue;
        }
        told.all = told.all || shard->unheard;
        told.shards |= UINT64_C(1) << i;
    }
    struct layer *layer = told.shards != 0 ? remote_enter(&core->remote) : NULL;
    if (layer == NULL)
        return;
    atomic_fetch_add(&core->remote.gaps, 1);
    layer_gap(layer, missed, &told);
    layer_release(layer);
    for (size_t i = 0; i < core->shard_count; i++) {
        if ((told.shards >> i & 1) == 0)
            continue;
        core->shards[i].unheard = core->shards[i].gap = false;
        core_groups_told(&core->shards[i]);
    }
}
