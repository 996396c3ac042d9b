#include "channellayer/bus/redis_core.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <hiredis/hiredis.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "channellayer/bus/core_state.h"
#include "channellayer/bus/redis_error.h"
#include "channellayer/name.h"

static void wall(struct timespec *now)
{
    clock_gettime(CLOCK_REALTIME, now);
}

uint64_t core_wall_seconds(void)
{
    struct timespec now;
    wall(&now);
    return (uint64_t)now.tv_sec;
}

void core_score(struct core *core, char text[CORE_SCORE_SIZE])
{
    struct timespec now;
    wall(&now);
    long microseconds = now.tv_nsec / 1000;
    double score = (double)now.tv_sec + (double)microseconds / 1e6;
    if (score < core->last_score + 1e-6)
        score = core->last_score + 1e-6;
    core->last_score = score;
    snprintf(text, CORE_SCORE_SIZE, "%.6f", score);
}

struct core_job *core_job_create(struct core *core, struct remote_item *item)
{
    struct core_job *job = mem_zalloc(sizeof *job);
    list_init(&job->link);
    job->core = core;
    job->item = item;
    job->asked_at = item->asked_at;
    job->number = ++core->last_number;
    job->note = ledger_note(&core->ledger, item->group.length > 0 ? item->group : item->channel, item->asked_at);
    core->job_count++;
    core_begin_ticking(core);
    return job;
}

void core_job_done(struct core_job *job, bool done)
{
    struct core *core = job->core;
    struct remote_item *item = job->item;
    struct note note = job->note;
    if (core->last_send == job) {
        core->last_send = NULL;
        core->last_was_full = job->full && item != NULL; /* its settle is still to come */
        core->last_full = core->last_was_full ? name_hash(item->channel) : 0;
    }
    char *refusal = job->refusal;
    core_letters_free(job);
    list_remove(&job->link);
    core->job_count--;
    mem_free(job);
    if (item != NULL)
        remote_done(item, done);
    ledger_confirm(&core->ledger, &note, done ? LAYER_OK : refusal != NULL ? LAYER_REFUSED : LAYER_UNSENT, refusal);
    mem_free(refusal);
}

void core_job_failed(struct core_job *job, const struct redisReply *reply)
{
    job->failed = true;
    if (reply == NULL || reply->type != REDIS_REPLY_ERROR || job->refusal != NULL)
        return;
    job->refusal = mem_alloc(reply->len + 1);
    memcpy(job->refusal, reply->str, reply->len + 1);
}

bool core_is_away(const struct redisReply *reply)
{
    return reply == NULL || (reply->type == REDIS_REPLY_ERROR && redis_error_kind(reply->str) == REDIS_ERROR_AWAY);
}

struct moment {
    struct core *core;
    uint64_t now;
};

static bool is_late(void *context, const struct remote_item *settle)
{
    const struct moment *moment = context;
    bool over = moment->now >= settle->asked_at + settle->wait_ms;
    if (!settle->joined)
        return over;
    struct core_shard *shard = &moment->core->shards[redis_shard(settle->group, moment->core->shard_count)];
    if (over)
        patience_in_vain(&shard->patience, moment->now);
    bool late = over || patience_is_over(&shard->patience, moment->now, redis_link_heard_at(shard->commands));
    if (late)
        core_join_late(moment->core, settle->group);
    return late;
}

/* A settle that is told now must not be written to when the answer comes. */
static void forget_settles(struct list_node *jobs, struct moment *moment)
{
    for (struct list_node *node = jobs->next; node != jobs; node = node->next) {
        struct core_job *job = list_entry(node, struct core_job, link);
        if (job->settle != NULL && is_late(moment, job->settle))
            job->settle = NULL;
    }
}

static void expire_settles(struct core *core)
{
    struct list_node *lists[] = { &core->queued, &core->waiting, &core->flow, &core->sent };
    struct moment moment = { core, clock_ms() };
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        forget_settles(lists[i], &moment);
    ledger_expire(&core->ledger, is_late, &moment);
}

static uint64_t before(uint64_t now, uint64_t duration)
{
    return now > duration ? now - duration : 0;
}

static void close_everything(struct core *core);

static bool has_ended(const struct core *core)
{
    return core->job_count == 0 && core->open_members == 0;
}

static void on_tick(uv_timer_t *timer)
{
    struct core *core = timer->data;
    uint64_t now = clock_ms();
    bool waits = false;
    core_publish_expire(core, before(now, core->settings->buffer_time_ms));
    core_query_expire(core, before(now, PATIENCE_AWAY_MS));
    core_members_tick(core, now);
    expire_settles(core);
    core_gap_tick(core, &waits);
    core_listen_tick(core, now, &waits);
    waits = waits || core->job_count > 0 || !list_empty(&core->refused) || ledger_waits(&core->ledger);
    if (core->stop_at != 0 && (has_ended(core) || now >= core->stop_at))
        close_everything(core);
    else if (core->stop_at == 0 && !waits)
        uv_timer_stop(timer);
}

void core_begin_ticking(struct core *core)
{
    if (!uv_is_active((uv_handle_t *)&core->timer) && !uv_is_closing((uv_handle_t *)&core->timer))
        uv_timer_start(&core->timer, on_tick, CORE_TICK_MS, CORE_TICK_MS);
}

static void start(struct remote *remote)
{
    struct core *core = core_of(remote);
    uv_timer_init(remote_loop(remote), &core->timer);
    core->timer.data = core;
    core->closing = 1;
    core_census_begin(core);
    core_shards_begin(core);
}

static void settle(struct core *core, struct remote_item *item)
{
    struct moment moment = { core, clock_ms() };
    struct name name = item->group.length > 0 ? item->group : item->channel;
    bool may_wait = !is_late(&moment, item);
    struct core_job *sent = core->last_send;
    if (sent != NULL && may_wait && (name.length == 0 || name_equal(name, sent->item->channel)))
        sent->settle = item; /* it waits: the job is outstanding */
    if (core->last_was_full && name.length > 0 && name_hash(name) == core->last_full)
        item->full = true;
    core->last_send = NULL;
    core->last_was_full = false;
    ledger_settle(&core->ledger, name, item, may_wait);
    core_begin_ticking(core);
}

static void take(struct remote *remote, struct remote_item *item)
{
    struct core *core = core_of(remote);
    if (item->kind == REMOTE_SETTLE) {
        settle(core, item);
        return;
    }
    core->last_send = NULL;
    core->last_was_full = false;
    switch (item->kind) {
    case REMOTE_MADE:
        core_made(core, item->channel);
        remote_done(item, true);
        break;
    case REMOTE_WANTED:
        core_wanted(core, item->channel, item->capacity);
        remote_done(item, true);
        break;
    case REMOTE_GONE:
        core_gone(core, item->channel);
        remote_done(item, true);
        break;
    case REMOTE_JOIN:
        core_join(core, item);
        break;
    case REMOTE_LEAVE:
        core_leave(core, item);
        break;
    case REMOTE_QUERY:
        core_query(core, core_job_create(core, item));
        break;
    default:
        core_publish(core, core_job_create(core, item));
        break;
    }
}

static void free_core(struct core *core)
{
    core_keys_free(core);
    fernet_destroy(core->fernet);
    redis_settings_release(core->settings);
    mem_free(core->shards);
}

static void fail_all(struct list_node *jobs)
{
    while (!list_empty(jobs))
        core_job_done(list_entry(jobs->next, struct core_job, link), false);
}

void core_closed(struct core *core)
{
    if (--core->closing > 0)
        return;
    fail_all(&core->queued);
    fail_all(&core->waiting);
    fail_all(&core->unasked);
    fail_all(&core->flow);
    fail_all(&core->sent);
    core_members_free(core);
    ledger_deinit(&core->ledger);
    free_core(core);
    remote_stopped(&core->remote);
}

static void on_timer_closed(uv_handle_t *timer)
{
    core_closed(timer->data);
}

static void close_everything(struct core *core)
{
    core->closed = true;
    uv_close((uv_handle_t *)&core->timer, on_timer_closed);
    uv_close((uv_handle_t *)&core->census, on_timer_closed);
    for (size_t i = 0; i < core->shard_count; i++) {
        redis_link_destroy(core->shards[i].commands);
        redis_link_destroy(core->shards[i].listener);
    }
}

/* What was asked for last, such as the ends of memberships, still goes out. */
static void stop(struct remote *remote)
{
    struct core *core = core_of(remote);
    core->stop_at = clock_ms() + CORE_STOP_MS;
    if (has_ended(core))
        close_everything(core);
    else
        core_begin_ticking(core);
}

static const struct remote_operations operations = {
    .name = "redis-core", .pairs = true, .wants = true, .queries = true, .delivers_here = false, .start = start, .take = take, .stop = stop,
};

static void begin_empty(struct core *core)
{
    table_init(&core->members);
    table_init(&core->groups);
    list_init(&core->refused);
    table_init(&core->keys);
    list_init(&core->unasked);
    list_init(&core->queued);
    list_init(&core->waiting);
    list_init(&core->flow);
    list_init(&core->sent);
}

struct bus *bus_redis_core_create(struct layer *layer, const void *given)
{
    struct redis_settings *settings = redis_settings_retain((struct redis_settings *)given);
    struct core *core = mem_try_alloc(sizeof *core);
    if (core == NULL) {
        redis_settings_release(settings);
        return NULL;
    }
    *core = (struct core){ .settings = settings, .shard_count = settings->host_count };
    begin_empty(core);
    bool ready = ledger_init(&core->ledger) == 0;
    core->shards = ready && settings->host_count <= CORE_SHARDS ? mem_zalloc(settings->host_count * sizeof *core->shards) : NULL;
    if (core->shards == NULL)
        goto fail;
    if (settings->key_count > 0) {
        core->fernet = fernet_create(settings->keys[0], settings->key_count);
        if (core->fernet == NULL)
            goto fail;
    }
    if (remote_init(&core->remote, &operations, layer, settings->buffer_limit) != LAYER_OK)
        goto fail;
    core->remote.own = settings->client; /* nobody calls before this function has returned */
    return &core->remote.bus;
fail:
    ledger_deinit(&core->ledger);
    free_core(core);
    mem_free(core);
    return NULL;
}
