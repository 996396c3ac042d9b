#include "channellayer/bus/redis_sentinel.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "channellayer/bus/redis_config.h"
#include "channellayer/bus/redis_link.h"

struct redis_sentinel {
    struct redis_host sentinels; /* as one host of several addresses */
    const char *master;
    struct redis_link *link;
    bool wanted; /* an answer is waited for */
    const struct redis_sentinel_events *events;
    void *context;
};

static bool is_text(const struct redisReply *reply)
{
    return reply != NULL && (reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS);
}

/* 0: it is none. */
static int port_of(const char *text)
{
    char *end;
    long port = strtol(text, &end, 10);
    return *end == '\0' && port > 0 && port <= UINT16_MAX ? (int)port : 0;
}

static void failed(struct redis_sentinel *sentinel, const char *reason)
{
    if (!sentinel->wanted)
        return;
    sentinel->wanted = false;
    char text[300];
    snprintf(text, sizeof text, "Sentinel: %s", reason);
    sentinel->events->on_failed(sentinel->context, text);
}

static void on_answer(void *context, void *argument, const struct redisReply *reply)
{
    (void)argument;
    struct redis_sentinel *sentinel = context;
    if (reply == NULL || !sentinel->wanted)
        return; /* lost: on_down follows */
    bool pair = reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 && is_text(reply->element[0]) && is_text(reply->element[1]);
    int port = pair ? port_of(reply->element[1]->str) : 0;
    if (port != 0) {
        sentinel->wanted = false;
        sentinel->events->on_master(sentinel->context, reply->element[0]->str, port);
        return;
    }
    char text[200];
    snprintf(text, sizeof text, pair ? "it names no port of the master %s" : "it knows no master %s", sentinel->master);
    failed(sentinel, reply->type == REDIS_REPLY_ERROR ? reply->str : text);
}

static struct name text_name(const char *text)
{
    return (struct name){ text, strlen(text) };
}

static void ask(struct redis_sentinel *sentinel)
{
    struct name words[] = { text_name("SENTINEL"), text_name("GET-MASTER-ADDR-BY-NAME"), text_name(sentinel->master) };
    if (redis_link_send(sentinel->link, 3, words, (struct redis_reader){ on_answer, NULL, false }) != REDIS_LINK_OK)
        failed(sentinel, "there is no memory");
}

/* With RESP2 a connection that has subscribed answers no more questions: so the question comes first. */
static void on_up(void *context)
{
    struct redis_sentinel *sentinel = context;
    struct name words[] = { text_name("SUBSCRIBE"), text_name("+switch-master") };
    ask(sentinel);
    redis_link_send(sentinel->link, 2, words, (struct redis_reader){ NULL, NULL, false }); /* else it is found out by the lost connection */
}

static void on_failed(void *context, const char *reason)
{
    failed(context, reason);
}

/* "message" "+switch-master" "name old-host old-port new-host new-port" */
static void on_push(void *context, const struct redisReply *push)
{
    struct redis_sentinel *sentinel = context;
    char name[200], host[256], port[12];
    if (push->elements != 3 || !is_text(push->element[1]) || !is_text(push->element[2]) ||
        strcmp(push->element[1]->str, "+switch-master") != 0 ||
        sscanf(push->element[2]->str, "%199s %*s %*s %255s %11s", name, host, port) != 3 || strcmp(name, sentinel->master) != 0 ||
        port_of(port) == 0)
        return;
    sentinel->events->on_switch(sentinel->context, host, port_of(port));
}

static void on_closed(void *context)
{
    struct redis_sentinel *sentinel = context;
    const struct redis_sentinel_events *events = sentinel->events;
    void *told = sentinel->context;
    mem_free(sentinel);
    events->on_closed(told);
}

static const struct redis_link_events link_events = {
    .on_up = on_up, .on_down = on_failed, .on_failed = on_failed, .on_push = on_push, .on_closed = on_closed,
};

struct redis_sentinel *redis_sentinel_create(uv_loop_t *loop, const struct redis_host *host, const struct redis_sentinel_events *events,
                                             void *context)
{
    struct redis_sentinel *sentinel = mem_zalloc(sizeof *sentinel);
    sentinel->sentinels = (struct redis_host){
        .kind = REDIS_SINGLE,
        .any_role = true,
        .label = host->label,
        .addresses = host->addresses,
        .address_count = host->address_count,
        .username = host->sentinel_username,
        .password = host->sentinel_password,
        .connect_timeout_ms = host->connect_timeout_ms,
        .tls = host->sentinel_tls,
    };
    sentinel->master = host->master;
    sentinel->events = events;
    sentinel->context = context;
    sentinel->link = redis_link_create(loop, &sentinel->sentinels, 0, &link_events, sentinel);
    if (sentinel->link == NULL) {
        mem_free(sentinel);
        return NULL;
    }
    return sentinel;
}

void redis_sentinel_ask(struct redis_sentinel *sentinel, bool another)
{
    sentinel->wanted = false;
    if (redis_link_is_up(sentinel->link) && (another || redis_link_protocol(sentinel->link) == 2))
        redis_link_renew(sentinel->link, "another is asked");
    sentinel->wanted = true;
    if (redis_link_is_up(sentinel->link))
        ask(sentinel);
}

void redis_sentinel_destroy(struct redis_sentinel *sentinel)
{
    sentinel->wanted = false;
    redis_link_destroy(sentinel->link);
}
