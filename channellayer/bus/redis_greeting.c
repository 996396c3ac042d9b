#include "channellayer/bus/redis_greeting.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <string.h>

#include "channellayer/bus/redis_error.h"

static void on_answer(void *context, void *argument, const struct redisReply *reply);
static void next(struct redis_greeting *greeting, enum redis_greeting_step step);

static struct name text(const char *string)
{
    return (struct name){ string, strlen(string) };
}

static void send_words(struct redis_greeting *greeting, enum redis_greeting_step step, size_t count, const struct name *words)
{
    greeting->step = step;
    if (greeting->send(greeting->context, count, words, (struct redis_reader){ on_answer, NULL, false }) != REDIS_LINK_OK)
        greeting->done(greeting->context, "there is no memory");
}

static void hello(struct redis_greeting *greeting)
{
    const struct redis_host *host = greeting->host;
    struct name words[7] = { text("HELLO"), text("3") };
    size_t count = 2;
    if (host->password != NULL) {
        words[count++] = text("AUTH");
        words[count++] = text(host->username != NULL ? host->username : "default");
        words[count++] = text(host->password);
    }
    words[count++] = text("SETNAME");
    words[count++] = text("peneus");
    send_words(greeting, GREETING_HELLO, count, words);
}

static void authenticate(struct redis_greeting *greeting)
{
    const struct redis_host *host = greeting->host;
    struct name words[3] = { text("AUTH") };
    size_t count = 1;
    if (host->username != NULL)
        words[count++] = text(host->username);
    words[count++] = text(host->password);
    send_words(greeting, GREETING_AUTH, count, words);
}

/* Does step, or the first behind it that this host needs. */
static void next(struct redis_greeting *greeting, enum redis_greeting_step step)
{
    const struct redis_host *host = greeting->host;
    char number[12];
    if (step == GREETING_HELLO) {
        hello(greeting);
    } else if (step <= GREETING_AUTH && greeting->protocol == 2 && host->password != NULL) {
        authenticate(greeting);
    } else if (step <= GREETING_SELECT && host->db != 0) {
        snprintf(number, sizeof number, "%d", host->db);
        send_words(greeting, GREETING_SELECT, 2, (struct name[]){ text("SELECT"), text(number) });
    } else if (step <= GREETING_ROLE && host->kind == REDIS_SENTINEL) {
        send_words(greeting, GREETING_ROLE, 1, (struct name[]){ text("ROLE") });
    } else if (step <= GREETING_PING) {
        send_words(greeting, GREETING_PING, 1, (struct name[]){ text("PING") }); /* HELLO is answered while it is LOADING too */
    } else {
        greeting->step = GREETING_DONE;
        greeting->done(greeting->context, NULL);
    }
}

static bool begins(const struct redisReply *reply, const char *prefix)
{
    return strncmp(reply->str, prefix, strlen(prefix)) == 0;
}

/* The server is older than RESP3, or has been told not to know HELLO. */
static bool knows_no_hello(const struct redisReply *reply)
{
    return begins(reply, "NOPROTO") || begins(reply, "ERR unknown command");
}

/* HELLO: what the server says of itself; NULL: nothing. */
static const char *role_of(const struct redisReply *reply)
{
    for (size_t i = 0; reply->type == REDIS_REPLY_MAP && i + 1 < reply->elements; i += 2) {
        const struct redisReply *key = reply->element[i], *value = reply->element[i + 1];
        if (key->type == REDIS_REPLY_STRING && strcmp(key->str, "role") == 0 && value->type == REDIS_REPLY_STRING)
            return value->str;
    }
    return NULL;
}

/* A replica takes no member, and what is published there does not reach the master's subscribers. */
static bool is_replica(const struct redis_greeting *greeting, const struct redisReply *reply)
{
    const char *role = greeting->step == GREETING_HELLO && !greeting->host->any_role ? role_of(reply) : NULL;
    return role != NULL && (strcmp(role, "replica") == 0 || strcmp(role, "slave") == 0);
}

static bool is_master(const struct redisReply *reply)
{
    const struct redisReply *role = reply->type == REDIS_REPLY_ARRAY && reply->elements > 0 ? reply->element[0] : NULL;
    return role != NULL && (role->type == REDIS_REPLY_STRING || role->type == REDIS_REPLY_STATUS) && strcmp(role->str, "master") == 0;
}

static void on_error(struct redis_greeting *greeting, const struct redisReply *reply)
{
    if (greeting->step == GREETING_HELLO && greeting->host->protocol == 0 && knows_no_hello(reply)) {
        greeting->protocol = 2;
        next(greeting, GREETING_AUTH);
    } else if (greeting->step == GREETING_ROLE && begins(reply, "NOPERM")) {
        next(greeting, GREETING_PING); /* this user may not ask: the Sentinel's word has to do */
    } else if (greeting->step == GREETING_PING && redis_error_kind(reply->str) == REDIS_ERROR_REFUSED) {
        next(greeting, GREETING_DONE); /* nor this */
    } else {
        greeting->done(greeting->context, reply->str);
    }
}

static void on_answer(void *context, void *argument, const struct redisReply *reply)
{
    (void)argument;
    struct redis_greeting *greeting = context;
    if (reply == NULL)
        return; /* the connection is lost, and the link knows */
    if (reply->type == REDIS_REPLY_ERROR)
        on_error(greeting, reply);
    else if (greeting->step == GREETING_ROLE && !is_master(reply))
        greeting->done(greeting->context, "the server is not the master");
    else if (is_replica(greeting, reply))
        greeting->done(greeting->context, "the server is a replica, not the master");
    else
        next(greeting, greeting->step + 1);
}

void redis_greeting_begin(struct redis_greeting *greeting)
{
    greeting->protocol = greeting->host->protocol == 2 ? 2 : 3;
    next(greeting, greeting->protocol == 3 ? GREETING_HELLO : GREETING_AUTH);
}
