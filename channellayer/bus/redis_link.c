/* A link goes round for as long as it lives:
 *
 *   RESTING ──timer──▶ ASKING ──▶ RESOLVING ──▶ CONNECTING ──▶ GREETING ──▶ UP
 *      ▲   (Sentinel alone)│          │             │              │         │ \
 *      │                   │          │             │              │         │  └─READONLY, …─▶ LEAVING
 *      └───────────────────┴──────────┴─────────────┴──────────────┴─────────┴──────────────────┘  any failure, or redis_link_renew()
 *
 * and from each of them to CLOSING. What is sent waits in `asked`, in the order of its answers. */
#include "channellayer/bus/redis_link.h"

#include <assert.h>
#include <hiredis/hiredis.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/list.h"
#include "channellayer/bus/redis_error.h"
#include "channellayer/bus/redis_greeting.h"
#include "channellayer/bus/redis_sentinel.h"
#include "channellayer/bus/redis_wire.h"

enum {
    REST_FIRST_MS = 50,
    REST_LONGEST_MS = 5000,
    STABLE_MS = 2000,      /* a connection that lived so long was no failure */
    CHECK_MS = 1000,       /* how often a connection's health is looked at */
    CHECK_SOON_MS = 300,   /* the same, where the server ends connections that are idle (`timeout 1`) */
    SHORT_LIFE_MS = 5000,
    SILENCE_MS = 3000,
    CONNECT_TIMEOUT_MS = 5000,
    LEAVE_MS = 300,
    REASON_SIZE = 256,
    MOST_NUMBERS = 8,
    NUMBER_SIZE = 64,
    COMMAND_SIZE = 16,
};

enum link_state {
    LINK_RESTING,    /* waits for the timer */
    LINK_ASKING,     /* waits for a Sentinel to name the master */
    LINK_RESOLVING,  /* waits for the numbers of the host's name */
    LINK_CONNECTING, /* waits for the socket and TLS */
    LINK_GREETING,   /* waits for the answers to HELLO, AUTH, SELECT, ROLE, PING */
    LINK_UP,
    LINK_LEAVING,    /* the server is not the one to use: waits for the last answers, LEAVE_MS at most */
    LINK_CLOSING,    /* waits for handles */
};

/* A command that is not answered. */
struct asked {
    struct list_node link;
    struct redis_reader reader;
    void *context;       /* of reader */
    size_t answers;      /* to come: one, or one for each topic */
    bool subscription;   /* answered by "subscribe" and its kin */
    uint64_t sent_at;
    char command[COMMAND_SIZE]; /* its first word */
    size_t topic_length; /* SUNSUBSCRIBE alone, of its only topic: a slot that moves says the same of others */
    char topic[];
};

/* A lookup may outlast its link: it cannot always be cancelled. */
struct lookup {
    uv_getaddrinfo_t request;
    struct redis_link *link; /* NULL: nobody wants to know */
};

struct redis_link {
    uv_timer_t timer;
    enum link_state state;
    uv_loop_t *loop;
    const struct redis_host *host;
    const struct redis_link_events *events;
    void *context;
    uint64_t silence_ms;
    struct redis_sentinel *sentinel; /* NULL: host is no REDIS_SENTINEL */
    struct redis_address address;    /* of this attempt, or the last one: a copy; port 0 and no path: none yet */
    char address_host[256];          /* what its host points to */
    char numbers[MOST_NUMBERS][NUMBER_SIZE]; /* that its host's name has */
    unsigned number_count;
    unsigned numbers_tried;
    struct lookup *lookup;
    struct redis_wire *wire;
    struct redis_greeting greeting;
    struct list_node asked;
    bool subscribed;      /* something was, on this connection: with RESP2, arrays may be messages */
    size_t next_address;  /* of host->addresses */
    unsigned failures;    /* in a row */
    unsigned open_handles; /* CLOSING */
    uint64_t up_since;
    uint64_t heard_at;
    uint64_t checked_at;
    uint64_t check_ms;
    char leaving_for[REASON_SIZE]; /* LEAVING: the error */
};

static void set_state(struct redis_link *link, enum link_state state)
{
    assert(link->state != LINK_CLOSING);
    assert(state != LINK_UP || link->state == LINK_GREETING);
    assert(state != LINK_LEAVING || link->state == LINK_UP);
    link->state = state;
}

static void attempt(struct redis_link *link);
static void fail(struct redis_link *link, const char *reason);
static void connect_next(struct redis_link *link);

/* --- waiting --- */

static uint64_t some_of(uint64_t milliseconds)
{
    uint32_t random = 0;
    uv_random(NULL, NULL, &random, sizeof random, 0, NULL); /* where there is none, there is no jitter */
    return milliseconds / 2 + random % (milliseconds / 2 + 1);
}

static void on_rested(uv_timer_t *timer)
{
    attempt(timer->data);
}

static void rest(struct redis_link *link)
{
    uint64_t longest = REST_FIRST_MS;
    for (unsigned i = 0; i < link->failures && longest < REST_LONGEST_MS; i++)
        longest *= 2;
    if (longest > REST_LONGEST_MS)
        longest = REST_LONGEST_MS;
    link->failures++;
    set_state(link, LINK_RESTING);
    uv_timer_start(&link->timer, on_rested, some_of(longest), 0);
}

static void on_step_timeout(uv_timer_t *timer)
{
    struct redis_link *link = timer->data;
    fail(link, link->state == LINK_RESOLVING ? "the name lookup took too long"
                                             : link->state == LINK_CONNECTING ? "the connection took too long" : "the server does not answer");
}

static void await_step(struct redis_link *link)
{
    uint64_t limit = link->host->connect_timeout_ms != 0 ? link->host->connect_timeout_ms : CONNECT_TIMEOUT_MS;
    uv_timer_start(&link->timer, on_step_timeout, limit, 0);
}

/* --- commands and their answers --- */

static void on_left(uv_timer_t *timer)
{
    struct redis_link *link = timer->data;
    fail(link, link->leaving_for);
}

/* Says what is wrong to whoever is to hear it, and gives up a server that is not the one to use. */
static void note_error(struct redis_link *link, const struct asked *asked, const char *error)
{
    if (link->state != LINK_UP && link->state != LINK_LEAVING)
        return; /* the greeting takes care of its own */
    bool away = redis_error_kind(error) == REDIS_ERROR_AWAY; /* on_down says so */
    if (away && link->state == LINK_UP) {
        snprintf(link->leaving_for, sizeof link->leaving_for, "%s", error);
        set_state(link, LINK_LEAVING);
        uv_timer_start(&link->timer, on_left, LEAVE_MS, 0);
    }
    if (!away && !asked->reader.quiet && link->events->on_error != NULL)
        link->events->on_error(link->context, asked->command, error);
}

static void answer(struct redis_link *link, struct asked *asked, const struct redisReply *reply)
{
    if (reply != NULL && reply->type == REDIS_REPLY_ERROR)
        note_error(link, asked, reply->str);
    bool whole = reply == NULL || !asked->subscription || reply->type == REDIS_REPLY_ERROR;
    struct redis_reader reader = asked->reader;
    void *context = asked->context;
    asked->answers = whole ? 0 : asked->answers - 1;
    if (asked->answers == 0) {
        list_remove(&asked->link);
        mem_free(asked);
    }
    if (reader.on_reply != NULL)
        reader.on_reply(context, reader.argument, reply);
}

/* The words before the topics that make a subscription; 0: none. */
static bool is_subscription(size_t count, struct name word, bool *single)
{
    static const char *const kin[] = { "SUBSCRIBE", "UNSUBSCRIBE", "PSUBSCRIBE", "PUNSUBSCRIBE", "SSUBSCRIBE", "SUNSUBSCRIBE" };
    *single = word.length == 12 && memcmp(word.bytes, "SUNSUBSCRIBE", 12) == 0;
    for (size_t i = 0; i < sizeof kin / sizeof *kin; i++) {
        if (strlen(kin[i]) == word.length && memcmp(word.bytes, kin[i], word.length) == 0)
            return count > 1;
    }
    return false;
}

static int ask(struct redis_link *link, size_t count, const struct name *words, struct redis_reader reader, void *context)
{
    bool single, subscription = is_subscription(count, words[0], &single);
    size_t extra = single && subscription ? words[1].length : 0;
    struct asked *asked = mem_try_alloc(sizeof *asked + extra);
    if (asked == NULL)
        return REDIS_LINK_NO_MEMORY;
    assert(!single || count == 2);
    *asked = (struct asked){ .reader = reader, .context = context, .subscription = subscription, .answers = subscription ? count - 1 : 1,
                             .sent_at = uv_now(link->loop), .topic_length = extra };
    snprintf(asked->command, sizeof asked->command, "%.*s", (int)words[0].length, words[0].bytes);
    list_init(&asked->link);
    if (extra > 0)
        memcpy(asked->topic, words[1].bytes, extra);
    if (redis_wire_send(link->wire, count, words) != 0) {
        mem_free(asked);
        return REDIS_LINK_NO_MEMORY;
    }
    list_append(&link->asked, &asked->link);
    if (subscription)
        link->subscribed = true;
    return REDIS_LINK_OK;
}

static bool says(const struct redisReply *reply, const char *word)
{
    const struct redisReply *first = reply->element[0];
    return first != NULL && (first->type == REDIS_REPLY_STRING || first->type == REDIS_REPLY_STATUS) &&
           first->len == strlen(word) && memcmp(first->str, word, first->len) == 0;
}

/* Nobody asked for it. */
static bool is_push(struct redis_link *link, const struct redisReply *reply)
{
    bool push = reply->type == REDIS_REPLY_PUSH;
    if ((!push && !(reply->type == REDIS_REPLY_ARRAY && link->subscribed)) || reply->elements == 0)
        return push;
    if (says(reply, "message") || says(reply, "smessage") || says(reply, "pmessage"))
        return true;
    if (list_empty(&link->asked))
        return true;
    struct asked *first = list_entry(link->asked.next, struct asked, link);
    if (says(reply, "sunsubscribe")) {
        const struct redisReply *topic = reply->elements > 1 ? reply->element[1] : NULL;
        return topic == NULL || first->topic_length == 0 || topic->type != REDIS_REPLY_STRING ||
               topic->len != first->topic_length || memcmp(topic->str, first->topic, topic->len) != 0;
    }
    return push && !first->subscription;
}

static void on_reply(void *context, const struct redisReply *reply)
{
    struct redis_link *link = context;
    link->heard_at = uv_now(link->loop);
    if (is_push(link, reply)) {
        if (redis_link_is_connected(link) && link->events->on_push != NULL)
            link->events->on_push(link->context, reply);
        return;
    }
    if (list_empty(&link->asked)) {
        /* A server that is full, or loading, says so unasked and closes. */
        fail(link, reply->type == REDIS_REPLY_ERROR ? reply->str : "the server answers what nobody asked");
        return;
    }
    answer(link, list_entry(link->asked.next, struct asked, link), reply);
    if (link->state == LINK_LEAVING && list_empty(&link->asked))
        fail(link, link->leaving_for);
}

/* --- up, down --- */

static void end_attempt(struct redis_link *link)
{
    uv_timer_stop(&link->timer);
    if (link->lookup != NULL) {
        link->lookup->link = NULL;
        uv_cancel((uv_req_t *)&link->lookup->request);
        link->lookup = NULL;
    }
    if (link->wire != NULL)
        redis_wire_close(link->wire);
    link->wire = NULL;
    link->subscribed = false;
}

/* A callback may send no command now: none of these states is up. */
static void answer_all(struct redis_link *link)
{
    struct list_node lost;
    list_init(&lost);
    while (!list_empty(&link->asked)) {
        struct list_node *first = link->asked.next;
        list_remove(first);
        list_append(&lost, first);
    }
    while (!list_empty(&lost))
        answer(link, list_entry(lost.next, struct asked, link), NULL);
}

static void fail(struct redis_link *link, const char *given)
{
    char reason[REASON_SIZE]; /* given may belong to what is freed now */
    snprintf(reason, sizeof reason, "%s", link->state == LINK_LEAVING ? link->leaving_for : given);
    bool was_up = redis_link_is_connected(link);
    end_attempt(link);
    if (link->state == LINK_CONNECTING && link->numbers_tried < link->number_count) {
        connect_next(link);
        return;
    }
    link->number_count = link->numbers_tried = 0;
    if (was_up && uv_now(link->loop) - link->up_since >= STABLE_MS)
        link->failures = 0;
    link->next_address++;
    rest(link);
    answer_all(link);
    if (link->state == LINK_CLOSING)
        return;
    void (*told)(void *context, const char *text) = was_up ? link->events->on_down : link->events->on_failed;
    if (told != NULL)
        told(link->context, reason);
}

static void on_pong(void *context, void *argument, const struct redisReply *reply)
{
    (void)context;
    (void)argument;
    (void)reply; /* whatever it is, the server lives */
}

static void on_check(uv_timer_t *timer)
{
    static const struct name ping = { "PING", 4 };
    struct redis_link *link = timer->data;
    uint64_t now = uv_now(link->loop), before = link->checked_at;
    link->checked_at = now;
    if (now - before > link->check_ms + CHECK_MS)
        return; /* it was this process that stood still: what has come meanwhile is not read yet */
    if (!list_empty(&link->asked)) {
        uint64_t since = list_entry(link->asked.next, struct asked, link)->sent_at;
        if (since < link->heard_at)
            since = link->heard_at;
        if (now - since >= link->silence_ms)
            fail(link, "the server does not answer");
    } else if (now - link->heard_at >= link->check_ms) {
        ask(link, 1, &ping, (struct redis_reader){ on_pong, NULL, .quiet = true }, link);
    }
}

static void on_greeted(void *context, const char *refusal)
{
    struct redis_link *link = context;
    if (refusal != NULL) {
        fail(link, refusal);
        return;
    }
    redis_wire_trust(link->wire);
    set_state(link, LINK_UP);
    link->up_since = link->checked_at = uv_now(link->loop);
    uv_timer_start(&link->timer, on_check, link->check_ms, link->check_ms);
    if (link->events->on_up != NULL)
        link->events->on_up(link->context);
}

/* --- the steps of an attempt --- */

static int send_greeting(void *context, size_t count, const struct name *words, struct redis_reader reader)
{
    struct redis_link *link = context;
    return ask(link, count, words, reader, &link->greeting);
}

static void on_open(void *context)
{
    struct redis_link *link = context;
    set_state(link, LINK_GREETING);
    await_step(link);
    link->heard_at = uv_now(link->loop);
    link->greeting = (struct redis_greeting){ .host = link->host, .send = send_greeting, .done = on_greeted, .context = link };
    redis_greeting_begin(&link->greeting);
}

static void on_lost(void *context, const char *reason)
{
    struct redis_link *link = context;
    uint64_t now = uv_now(link->loop);
    bool idle = link->state == LINK_UP && list_empty(&link->asked) && now - link->heard_at >= CHECK_MS / 2;
    if (idle && now - link->up_since < SHORT_LIFE_MS)
        link->check_ms = CHECK_SOON_MS;
    fail(link, reason);
}

static const struct redis_wire_events wire_events = { on_open, on_reply, on_lost };

/* To the socket, or to the next of the numbers. */
static void connect_next(struct redis_link *link)
{
    char reason[REASON_SIZE];
    const struct redis_address *address = &link->address;
    bool named = address->path == NULL;
    struct redis_wire_target target = {
        .number = named ? link->numbers[link->numbers_tried] : NULL,
        .port = address->port,
        .path = address->path,
        .name = address->host,
        .tls = link->host->tls,
    };
    link->numbers_tried++;
    set_state(link, LINK_CONNECTING);
    await_step(link);
    link->wire = redis_wire_open(link->loop, &target, &wire_events, link, reason, sizeof reason);
    if (link->wire == NULL)
        fail(link, reason);
}

static bool is_number(const char *host)
{
    struct sockaddr_in old;
    struct sockaddr_in6 new;
    return uv_ip4_addr(host, 0, &old) == 0 || uv_ip6_addr(host, 0, &new) == 0;
}

static void add_number(struct redis_link *link, const struct addrinfo *found)
{
    char *number = link->numbers[link->number_count];
    if (link->number_count < MOST_NUMBERS && getnameinfo(found->ai_addr, found->ai_addrlen, number, NUMBER_SIZE, NULL, 0, NI_NUMERICHOST) == 0)
        link->number_count++;
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *result)
{
    struct lookup *lookup = request->data;
    struct redis_link *link = lookup->link;
    if (link != NULL) {
        link->lookup = NULL;
        for (struct addrinfo *found = result; found != NULL; found = found->ai_next)
            add_number(link, found);
    }
    uv_freeaddrinfo(result);
    mem_free(lookup);
    if (link == NULL)
        return;
    if (status == 0 && link->number_count > 0)
        connect_next(link);
    else
        fail(link, status != 0 ? uv_strerror(status) : "the name has no address");
}

static void resolve(struct redis_link *link)
{
    const char *host = link->address.host;
    struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
    if (host == NULL || is_number(host)) {
        snprintf(link->numbers[0], NUMBER_SIZE, "%s", host != NULL ? host : "");
        link->number_count = 1;
        connect_next(link);
        return;
    }
    set_state(link, LINK_RESOLVING);
    await_step(link);
    link->lookup = mem_zalloc(sizeof *link->lookup);
    link->lookup->link = link;
    link->lookup->request.data = link->lookup;
    int error = uv_getaddrinfo(link->loop, &link->lookup->request, on_resolved, host, NULL, &hints);
    if (error != 0) {
        mem_free(link->lookup);
        link->lookup = NULL;
        fail(link, uv_strerror(error));
    }
}

static void set_address(struct redis_link *link, const struct redis_address *address)
{
    link->address = *address;
    if (address->host != NULL) {
        snprintf(link->address_host, sizeof link->address_host, "%s", address->host);
        link->address.host = link->address_host;
    }
}

static void attempt(struct redis_link *link)
{
    if (link->sentinel != NULL) {
        set_state(link, LINK_ASKING);
        redis_sentinel_ask(link->sentinel, link->failures > 1);
        return;
    }
    set_address(link, &link->host->addresses[link->next_address % link->host->address_count]);
    resolve(link);
}

/* --- Sentinel --- */

static void on_master(void *context, const char *host, int port)
{
    struct redis_link *link = context;
    if (link->state != LINK_ASKING)
        return;
    set_address(link, &(struct redis_address){ .host = host, .port = port });
    resolve(link);
}

static void on_switch(void *context, const char *host, int port)
{
    struct redis_link *link = context;
    bool same = strcmp(link->address_host, host) == 0 && link->address.port == port;
    if (link->state == LINK_CLOSING || (same && link->state == LINK_UP))
        return;
    redis_link_renew(link, "another server is the master now");
}

static void on_sentinel_failed(void *context, const char *reason)
{
    struct redis_link *link = context;
    if (link->state == LINK_ASKING)
        fail(link, reason);
}

/* --- life --- */

static void handle_closed(struct redis_link *link)
{
    if (--link->open_handles > 0)
        return;
    const struct redis_link_events *events = link->events;
    void *context = link->context;
    mem_free(link);
    if (events->on_closed != NULL)
        events->on_closed(context);
}

static void on_timer_closed(uv_handle_t *timer)
{
    handle_closed(timer->data);
}

static void on_sentinel_closed(void *context)
{
    handle_closed(context);
}

static const struct redis_sentinel_events sentinel_events = { on_master, on_switch, on_sentinel_failed, on_sentinel_closed };

struct redis_link *redis_link_create(uv_loop_t *loop, const struct redis_host *host, uint64_t silence_ms,
                                     const struct redis_link_events *events, void *context)
{
    struct redis_link *link = mem_try_alloc(sizeof *link);
    if (link == NULL)
        return NULL;
    memset(link, 0, sizeof *link);
    link->loop = loop;
    link->host = host;
    link->silence_ms = silence_ms != 0 ? silence_ms : SILENCE_MS;
    link->check_ms = CHECK_MS;
    link->events = events;
    link->context = context;
    list_init(&link->asked);
    if (host->kind == REDIS_SENTINEL) {
        link->sentinel = redis_sentinel_create(loop, host, &sentinel_events, link);
        if (link->sentinel == NULL) {
            mem_free(link);
            return NULL;
        }
    }
    uv_timer_init(loop, &link->timer);
    link->timer.data = link;
    uv_timer_start(&link->timer, on_rested, 0, 0);
    return link;
}

void redis_link_destroy(struct redis_link *link)
{
    end_attempt(link);
    set_state(link, LINK_CLOSING);
    link->open_handles = 1 + (link->sentinel != NULL);
    uv_close((uv_handle_t *)&link->timer, on_timer_closed);
    if (link->sentinel != NULL)
        redis_sentinel_destroy(link->sentinel);
    answer_all(link);
}

bool redis_link_is_up(const struct redis_link *link)
{
    return link->state == LINK_UP;
}

bool redis_link_is_connected(const struct redis_link *link)
{
    return link->state == LINK_UP || link->state == LINK_LEAVING;
}

int redis_link_protocol(const struct redis_link *link)
{
    return link->greeting.protocol;
}

const char *redis_link_host(const struct redis_link *link)
{
    return link->address.host;
}

uint64_t redis_link_heard_at(const struct redis_link *link)
{
    return link->heard_at;
}

void redis_link_renew(struct redis_link *link, const char *reason)
{
    link->failures = 0;
    link->number_count = link->numbers_tried; /* not the next number of this name */
    fail(link, reason);
}

int redis_link_send(struct redis_link *link, size_t count, const struct name *words, struct redis_reader reader)
{
    return link->state == LINK_UP ? ask(link, count, words, reader, link->context) : REDIS_LINK_DOWN;
}
