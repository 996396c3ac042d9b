#include "server/exchange.h"

#include <assert.h>
#include <uv.h>

#include "base/alloc.h"
#include "server/connection.h"
#include "server/event_create.h"
#include "server/load.h"
#include "server/server_state.h"

/* application_close_timeout: on the loop, because the connection is gone by then. */
struct kill {
    uv_timer_t timer;
    struct server *server;
    uint64_t exchange;
};

struct exchange *exchange_begin(struct server *server, struct connection *connection, bool websocket)
{
    struct exchange *exchange = mem_zalloc(sizeof *exchange);
    exchange->server = server;
    exchange->connection = connection;
    exchange->id = slots_add(&server->exchanges, exchange);
    if (exchange->id == 0) {
        mem_free(exchange);
        return NULL;
    }
    exchange->load = connection->load;
    load_begin_application(exchange->load);
    exchange->owner = server->hooks.exchange_begun(server->hooks.context, exchange->id, websocket);
    count(&server->counters.exchanges, 1);
    return exchange;
}

struct exchange *exchange_find(struct server *server, uint64_t id)
{
    return slots_get(&server->exchanges, id);
}

void exchange_announce_request(struct exchange *exchange, struct request_event *request)
{
    request->event.exchange = exchange->id;
    request->load = exchange->load;
    load_add_head(request->load, request_event_weight(request));
    server_announce(exchange->server, &request->event);
}

void exchange_announce(struct exchange *exchange, struct event *event)
{
    exchange->received += event_cost(event->length);
    if (!exchange->paused && exchange->received >= exchange->server->settings.receive_window) {
        exchange->paused = true;
        count(&exchange->server->counters.read_paused, 1);
    }
    server_announce(exchange->server, event);
}

static void unpause(struct exchange *exchange)
{
    if (exchange->paused)
        count(&exchange->server->counters.read_paused, (uint64_t)-1);
    exchange->paused = false;
}

bool exchange_consumed(struct exchange *exchange, size_t amount)
{
    exchange->received -= amount < exchange->received ? amount : exchange->received;
    if (!exchange->paused || exchange->received > exchange->server->settings.receive_window / 2)
        return false;
    unpause(exchange);
    return true;
}

void exchange_written(struct exchange *exchange, size_t unwritten)
{
    size_t half = exchange->server->settings.send_window / 2;
    if (exchange->finished || exchange->unacknowledged < half || exchange->unacknowledged == 0 || unwritten > half)
        return;
    struct event *event = event_create(EVENT_WRITTEN, exchange->id, NULL, 0);
    if (event == NULL)
        return; /* the next write tries again */
    event->amount = exchange->unacknowledged;
    exchange->unacknowledged = 0;
    server_announce(exchange->server, event);
}

static void on_kill_closed(uv_handle_t *handle)
{
    mem_free(handle->data);
}

static void stop_kill(struct exchange *exchange)
{
    if (exchange->kill != NULL)
        uv_close((uv_handle_t *)&exchange->kill->timer, on_kill_closed);
    exchange->kill = NULL;
}

/* An event that must not be lost: without it the application would never learn of its end. */
static struct event *event_create_sure(enum event_kind kind, uint64_t exchange)
{
    struct event *event = mem_zalloc(sizeof *event);
    *event = (struct event){ .kind = kind, .exchange = exchange, .bytes = (unsigned char *)(event + 1) };
    return event;
}

static void on_kill(uv_timer_t *timer)
{
    struct kill *kill = timer->data;
    struct exchange *exchange = exchange_find(kill->server, kill->exchange);
    assert(exchange != NULL && !exchange->finished && exchange->kill == kill);
    count(&kill->server->counters.kills_total, 1);
    server_announce(kill->server, event_create_sure(EVENT_KILL, exchange->id));
    stop_kill(exchange);
}

static void start_kill(struct exchange *exchange, uint64_t timeout)
{
    struct server *server = exchange->server;
    if (timeout == 0 || server->phase >= SERVER_STOPPING)
        return;
    struct kill *kill = mem_zalloc(sizeof *kill);
    kill->server = server;
    kill->exchange = exchange->id;
    uv_timer_init(&server->loop, &kill->timer);
    kill->timer.data = kill;
    uv_update_time(&server->loop);
    uv_timer_start(&kill->timer, on_kill, timeout, 0);
    exchange->kill = kill;
}

static void release(struct exchange *exchange)
{
    count(&exchange->server->counters.exchanges, (uint64_t)-1);
    stop_kill(exchange);
    slots_remove(&exchange->server->exchanges, exchange->id);
    load_end_application(exchange->load);
    mem_free(exchange);
}

void exchange_unsubscribe(struct exchange *exchange)
{
    if (exchange->unsubscribed)
        return;
    exchange->unsubscribed = true;
    exchange->server->hooks.exchange_ended(exchange->server->hooks.context, exchange->id, exchange->owner);
}

static void leave(struct exchange *exchange)
{
    assert(exchange->state == EXCHANGE_OPEN);
    exchange->state = EXCHANGE_ENDED;
    exchange->connection = NULL;
    unpause(exchange);
    exchange_unsubscribe(exchange);
}

void exchange_complete(struct exchange *exchange)
{
    exchange_written(exchange, 0); /* who has sent files waits for the credit of the last, too */
    leave(exchange);
    if (exchange->finished)
        release(exchange);
}

void exchange_end(struct exchange *exchange, const struct ending *ending)
{
    leave(exchange);
    if (exchange->finished) {
        release(exchange);
        return;
    }
    struct event *event = event_create(EVENT_DISCONNECT, exchange->id, ending->reason, ending->reason_length);
    if (event == NULL)
        event = event_create_sure(EVENT_DISCONNECT, exchange->id);
    event->disconnect.cause = ending->cause;
    event->disconnect.code = ending->code;
    event->disconnect.status = ending->status;
    event->disconnect.expected = ending->expected;
    event->disconnect.actual = ending->actual;
    server_announce(exchange->server, event);
    start_kill(exchange, exchange->server->settings.application_close_timeout_ms);
}

void exchange_spare(struct exchange *exchange, uint64_t ms)
{
    if (exchange->state == EXCHANGE_ENDED && !exchange->finished && exchange->kill == NULL)
        start_kill(exchange, ms);
}

void exchange_finish(struct exchange *exchange)
{
    exchange->finished = true;
    stop_kill(exchange);
    if (exchange->state == EXCHANGE_ENDED)
        release(exchange);
}

void exchanges_stop(struct server *server)
{
    uint32_t cursor = 0;
    struct exchange *exchange;
    while ((exchange = slots_next(&server->exchanges, &cursor)) != NULL)
        stop_kill(exchange);
}

void exchanges_destroy(struct server *server)
{
    uint32_t cursor = 0;
    struct exchange *exchange;
    while ((exchange = slots_next(&server->exchanges, &cursor)) != NULL) {
        slots_remove(&server->exchanges, exchange->id);
        load_end_application(exchange->load);
        mem_free(exchange);
    }
}
