/* Messages on their way out. A group message needs two journeys (who is in the group; then the message for each of them), a
 * direct one one. They are made side by side, and yet each receiver gets what this process sent in the order of the sending:
 * what is known goes out only behind everything asked for before that is not waiting for a lost Redis.
 *
 *            core_publish()      begin()              advance()             the last answer
 *   ───────▶ QUEUED (queued) ──▶ LOOKING, READY ────▶ SENT (sent) ────────▶ done
 *                ▲    its Redis is away │ (flow)         │ one was away
 *                └──── QUEUED (waiting) ◀────────────────┘
 *              core_resume(); or after buffer_time it has failed
 */
#include "channellayer/bus/core_state.h"

#include <stdio.h>
#include <string.h>

#include <hiredis/hiredis.h>

#include "base/alloc.h"

#define WORD(literal) ((struct name){ (literal), sizeof(literal) - 1 })
#define TEXT(array) ((struct name){ (array), strlen(array) })

static void move(struct core_job *job, struct list_node *list, enum core_stage stage)
{
    list_remove(&job->link);
    list_append(list, &job->link);
    job->stage = stage;
}

static bool is_group(const struct core_job *job)
{
    return job->item->kind == REMOTE_PUBLISH;
}

static void leave_active(struct core_job *job)
{
    if (is_group(job) && (job->stage == CORE_LOOKING || job->stage == CORE_READY || job->stage == CORE_SENT))
        job->core->active--;
}

static struct core_job *job_at(struct list_node *node)
{
    return list_entry(node, struct core_job, link);
}

/* Into list, at its place in the order of the sending: usually the last one. */
static void place(struct core_job *job, struct list_node *list, enum core_stage stage)
{
    struct list_node *behind = list;
    list_remove(&job->link);
    if (!list_empty(list) && job_at(list->prev)->number > job->number) {
        behind = list->next;
        while (job_at(behind)->number < job->number)
            behind = behind->next;
    }
    list_append(behind, &job->link);
    job->stage = stage;
}

static void set_again(struct core_job *job, bool again)
{
    if (again && !job->again)
        job->core->owing++;
    else if (!again && job->again)
        job->core->owing--;
    job->again = again;
}

/* Back into list, waiting or queued: it has not gone out, or not to all. */
static void put_back(struct core_job *job, struct list_node *list)
{
    leave_active(job);
    set_again(job, false);
    if (is_group(job))
        core_letters_free(job); /* who is in the group is asked again */
    place(job, list, CORE_QUEUED);
}

/* When a connection is lost, jobs that were on their way come here one after the other, and meanwhile later ones are begun and find no
 * connection. */
static void wait_for_redis(struct core_job *job)
{
    put_back(job, &job->core->waiting);
}

static void finish(struct core_job *job, bool done)
{
    leave_active(job);
    set_again(job, false);
    core_job_done(job, done);
}

static unsigned long long expiry_seconds(uint64_t milliseconds)
{
    return (unsigned long long)((milliseconds + 999) / 1000);
}

/* Behind this script's keys: for each its capacity and its message; then the oldest score that is kept, the new one, the expiry. */
static const char script[] =
    "local full = 0\n"
    "local oldest, now, expiry = ARGV[#ARGV - 2], ARGV[#ARGV - 1], ARGV[#ARGV]\n"
    "for i, key in ipairs(KEYS) do\n"
    "  redis.call('ZREMRANGEBYSCORE', key, 0, oldest)\n"
    "  if redis.call('ZCARD', key) < tonumber(ARGV[2 * i - 1]) then\n"
    "    redis.call('ZADD', key, now, ARGV[2 * i])\n"
    "    redis.call('EXPIRE', key, expiry)\n"
    "  else\n"
    "    full = full + 1\n"
    "  end\n"
    "end\n"
    "return full\n";

/* Whether a Redis that was away when job was sent is back: nobody else would tell it. */
static bool is_back(const struct core_job *job)
{
    for (const struct core_letter *letter = job->letters; letter != NULL; letter = letter->next) {
        if (redis_link_is_up(job->core->shards[letter->shard].commands))
            return true;
    }
    return false;
}

static void on_sent(void *context, void *argument, const struct redisReply *reply)
{
    struct core_shard *shard = context;
    struct core_job *job = argument;
    struct core *core = shard->core;
    job->answers--;
    if (reply != NULL && core_is_away(reply) && core->stop_at == 0) {
        set_again(job, true); /* it has done nothing */
        job->served &= ~(UINT64_C(1) << (shard - core->shards));
    } else if (reply == NULL || reply->type != REDIS_REPLY_INTEGER) {
        core_job_failed(job, reply); /* where the connection was lost it may have arrived: it is not sent twice */
    } else if (reply->integer > 0) {
        atomic_fetch_add(&core->remote.refused, (uint64_t)reply->integer);
        job->full = true;
        if (job->settle != NULL)
            job->settle->full = true;
    }
    if (job->answers > 0)
        return;
    bool resume = job->again && is_back(job);
    if (job->again)
        wait_for_redis(job);
    else
        finish(job, !job->failed);
    if (resume)
        core_resume(core);
    else
        core_pump(core);
}

/* One EVAL with all letters of a shard. They are freed. A result of redis_link_send(). */
static int send_letters(struct core_job *job, size_t index)
{
    struct core *core = job->core;
    size_t count = 0, at = 0;
    char keys[24], oldest[24], score[CORE_SCORE_SIZE], expiry[24];
    for (const struct core_letter *letter = job->letters; letter != NULL; letter = letter->next)
        count += letter->shard == index;
    struct name *words = mem_try_alloc((3 * count + 6) * sizeof *words);
    char(*capacities)[24] = mem_try_alloc(count * sizeof *capacities);
    int result = REDIS_LINK_NO_MEMORY;
    if (words != NULL && capacities != NULL) {
        snprintf(keys, sizeof keys, "%zu", count);
        uint64_t now = core_wall_seconds(), expiry_s = expiry_seconds(core->settings->expiry_ms);
        snprintf(oldest, sizeof oldest, "%llu", (unsigned long long)(now > expiry_s ? now - expiry_s : 0));
        snprintf(expiry, sizeof expiry, "%llu", (unsigned long long)expiry_s);
        core_score(core, score);
        words[0] = WORD("EVAL");
        words[1] = WORD(script);
        words[2] = TEXT(keys);
        for (const struct core_letter *letter = job->letters; letter != NULL; letter = letter->next) {
            if (letter->shard != index)
                continue;
            snprintf(capacities[at], sizeof capacities[at], "%zu", letter->capacity);
            words[3 + at] = letter->key;
            words[3 + count + 2 * at] = TEXT(capacities[at]);
            words[4 + count + 2 * at] = (struct name){ (const char *)letter->text.data, letter->text.length };
            at++;
        }
        words[3 + 3 * count] = TEXT(oldest);
        words[4 + 3 * count] = TEXT(score);
        words[5 + 3 * count] = TEXT(expiry);
        result = core_send(&core->shards[index], 3 * count + 6, words, on_sent, job);
    }
    mem_free(words);
    mem_free(capacities);
    return result;
}

static void drop_letters(struct core_job *job, size_t shard)
{
    struct core_letter **link = &job->letters;
    while (*link != NULL) {
        struct core_letter *letter = *link;
        if (letter->shard != shard) {
            link = &letter->next;
            continue;
        }
        *link = letter->next;
        bytes_deinit(&letter->text);
        mem_free(letter);
    }
}

/* Sends all letters of job whose Redis is there. */
static void issue(struct core_job *job)
{
    struct core *core = job->core;
    move(job, &core->sent, CORE_SENT);
    struct core_letter *letter = job->letters;
    uint64_t away = 0;
    while (letter != NULL) {
        size_t shard = letter->shard;
        if (away >> shard & 1) {
            letter = letter->next;
            continue;
        }
        int result = send_letters(job, shard);
        if (result == REDIS_LINK_DOWN) {
            away |= UINT64_C(1) << shard;
            set_again(job, true);
            continue;
        }
        job->served |= UINT64_C(1) << shard;
        job->failed = job->failed || result != REDIS_LINK_OK;
        job->answers += result == REDIS_LINK_OK;
        drop_letters(job, shard);
        letter = job->letters;
    }
    if (job->answers > 0)
        return;
    if (job->again)
        wait_for_redis(job);
    else
        finish(job, !job->failed);
}

/* Whether a job that was sent while one of its Redis was away still waits for answers of others, and that one is back: it goes there next,
 * before later ones. */
static bool owes(const struct core *core)
{
    if (core->owing == 0)
        return false;
    for (struct list_node *node = core->sent.next; node != &core->sent; node = node->next) {
        if (job_at(node)->again && is_back(job_at(node)))
            return true;
    }
    return false;
}

/* Sends what is at the front and known. */
static void advance(struct core *core)
{
    if (owes(core))
        return; /* on_sent() comes again */
    while (!list_empty(&core->flow)) {
        struct core_job *job = job_at(core->flow.next);
        if (job->stage != CORE_READY || (!list_empty(&core->queued) && job_at(core->queued.next)->number < job->number))
            return;
        issue(job);
    }
}

static int write_letters(struct core_job *job, const struct redisReply *reply)
{
    struct name *channels = mem_try_alloc((reply->elements + 1) * sizeof *channels);
    size_t count = 0;
    if (channels == NULL)
        return -1;
    for (size_t i = 0; i < reply->elements; i++) {
        if (reply->element[i]->type == REDIS_REPLY_STRING)
            channels[count++] = (struct name){ reply->element[i]->str, reply->element[i]->len };
    }
    int result = core_letters_write(job, channels, count);
    mem_free(channels);
    return result;
}

static void on_members(void *context, void *argument, const struct redisReply *reply)
{
    struct core_shard *shard = context;
    struct core_job *job = argument;
    if (core_is_away(reply)) {
        wait_for_redis(job);
    } else if (reply->type != REDIS_REPLY_ARRAY || write_letters(job, reply) != 0) {
        core_job_failed(job, reply);
        finish(job, false);
    } else {
        job->stage = CORE_READY;
    }
    advance(shard->core);
    core_pump(shard->core);
}

/* Asks who is in the group, without those who have not renewed. */
static void look(struct core_job *job)
{
    struct core *core = job->core;
    struct core_shard *shard = &core->shards[redis_shard(job->item->group, core->shard_count)];
    char oldest[24];
    struct name key;
    char *text = core_group_key(core, job->item->group, &key);
    uint64_t now = core_wall_seconds(), expiry = expiry_seconds(core->settings->group_expiry_ms);
    snprintf(oldest, sizeof oldest, "%llu", (unsigned long long)(now > expiry ? now - expiry : 0));
    const struct name prune[] = { WORD("ZREMRANGEBYSCORE"), key, WORD("0"), TEXT(oldest) };
    const struct name range[] = { WORD("ZRANGE"), key, WORD("0"), WORD("-1") };
    int result = core_send(shard, 4, prune, NULL, NULL);
    if (result == REDIS_LINK_OK)
        result = core_send(shard, 4, range, on_members, job);
    mem_free(text);
    if (result == REDIS_LINK_OK) {
        core->active++;
        place(job, &core->flow, CORE_LOOKING);
    } else if (result == REDIS_LINK_DOWN) {
        wait_for_redis(job);
    } else {
        finish(job, false);
    }
}

static void on_flushed(void *context, void *argument, const struct redisReply *reply)
{
    struct core_job *job = argument;
    (void)context;
    if (reply == NULL || reply->type == REDIS_REPLY_ERROR)
        core_job_failed(job, reply);
    if (--job->answers == 0)
        core_job_done(job, !job->failed);
}

/* Forgets everything that begins with the prefix, as channels_redis does: whoever else uses it loses it too. */
static void flush(struct core_job *job)
{
    static const char delete[] =
        "local keys = redis.call('KEYS', ARGV[1])\n"
        "for i = 1, #keys, 1000 do redis.call('DEL', unpack(keys, i, math.min(i + 999, #keys))) end\n";
    struct core *core = job->core;
    struct name pattern;
    char *text = core_text(core, "", WORD("*"), &pattern);
    const struct name words[] = { WORD("EVAL"), WORD(delete), WORD("0"), pattern };
    bool away = false;
    for (size_t i = 0; i < core->shard_count; i++)
        away = away || !redis_link_is_up(core->shards[i].commands);
    move(job, away ? &core->waiting : &core->sent, away ? CORE_QUEUED : CORE_SENT);
    for (size_t i = 0; !away && i < core->shard_count; i++) {
        if (core_send(&core->shards[i], 4, words, on_flushed, job) == REDIS_LINK_OK)
            job->answers++;
        else
            job->failed = true;
    }
    mem_free(text);
    if (!away && job->answers == 0)
        core_job_done(job, false);
}

static void begin(struct core_job *job)
{
    if (is_group(job))
        look(job);
    else if (job->item->kind == REMOTE_FLUSH)
        flush(job);
    else if (job->letters == NULL && core_letters_write(job, &job->item->channel, 1) != 0)
        finish(job, false);
    else
        place(job, &job->core->flow, CORE_READY);
}

/* There are as many group messages on their way as may be: a later one than job, which waited for a lost Redis meanwhile, goes back. */
static bool make_way(struct core *core, const struct core_job *job)
{
    for (struct list_node *node = core->flow.prev; node != &core->flow; node = node->prev) {
        struct core_job *later = job_at(node);
        if (later->number < job->number)
            return false;
        if (later->stage == CORE_READY && is_group(later)) {
            put_back(later, &core->queued);
            return true;
        }
    }
    return false;
}

void core_pump(struct core *core)
{
    while (!list_empty(&core->queued)) {
        struct core_job *job = job_at(core->queued.next);
        if (core->active >= CORE_ACTIVE && !make_way(core, job))
            break;
        begin(job);
    }
    advance(core);
}

void core_publish(struct core *core, struct core_job *job)
{
    if (job->item->kind == REMOTE_SEND)
        core->last_send = job;
    move(job, &core->queued, CORE_QUEUED);
    core_pump(core);
}

void core_resume(struct core *core)
{
    struct list_node *behind = core->queued.next; /* both are in order */
    while (!list_empty(&core->waiting)) {
        struct core_job *job = job_at(core->waiting.next);
        while (behind != &core->queued && job_at(behind)->number < job->number)
            behind = behind->next;
        list_remove(&job->link);
        list_append(behind, &job->link);
    }
    core_pump(core);
}

static void expire(struct list_node *jobs, uint64_t then)
{
    struct list_node *node = jobs->next;
    while (node != jobs) {
        struct core_job *job = list_entry(node, struct core_job, link);
        node = node->next;
        if (job->asked_at < then)
            finish(job, false);
    }
}

void core_publish_expire(struct core *core, uint64_t then)
{
    expire(&core->waiting, then);
    expire(&core->queued, then);
}
