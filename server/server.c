#include "server/server.h"

#include <assert.h>
#include <signal.h>
#include <string.h>

#include "base/alloc.h"
#include "base/descriptors.h"
#include "server/command.h"
#include "server/connection.h"
#include "server/event_create.h"
#include "server/listener.h"
#include "server/load.h"
#include "server/running.h"
#include "server/server_state.h"
#include "server/squeeze.h"
#include "server/work.h"

/* What on_wake() may take before sockets are read again. */
enum { TURN_NS = 5 * 1000 * 1000 };

static void set_phase(struct server *server, enum server_phase phase)
{
    assert(phase > server->phase);
    server->phase = phase;
}

void server_announce(struct server *server, struct event *event)
{
    queue_chain_add(&server->announced, &event->item);
}

static void announce_server_wide(struct server *server, enum event_kind kind)
{
    struct event *event = mem_zalloc(sizeof *event);
    event->kind = kind;
    server_announce(server, event);
}

bool server_takes_heads(const struct server *server)
{
    return server->settings.head_backlog == 0 || load_heads(server->load) < server->settings.head_backlog;
}

static void read_held(struct server *server)
{
    while (!list_empty(&server->held) && server_takes_heads(server))
        connection_unhold(list_entry(server->held.next, struct connection, of_held));
}

static void flush_corked(struct server *server)
{
    while (!list_empty(&server->corked)) {
        struct connection *connection = list_entry(server->corked.next, struct connection, of_corked);
        list_remove(&connection->of_corked);
        connection_flush(connection);
    }
}

void server_flush(struct server *server)
{
    read_held(server);
    do
        flush_corked(server);
    while (connection_shed(&server->unsent, server->settings.unsent_backlog));
    queue_push(server->events, &server->announced);
}

static void tell_drained(struct server *server)
{
    if (server->phase != SERVER_DRAINING || server->drained_told || !list_empty(&server->connections))
        return;
    server->drained_told = true;
    announce_server_wide(server, EVENT_DRAINED);
}

void server_connection_gone(struct server *server)
{
    for (struct list_node *node = server->listeners.next; node != &server->listeners; node = node->next)
        listener_accept(list_entry(node, struct listener, of_server));
    tell_drained(server);
}

static void close_listeners(struct server *server)
{
    crew_leave(&server->crew);
    for (struct list_node *node = server->listeners.next; node != &server->listeners; node = node->next)
        listener_close(list_entry(node, struct listener, of_server));
}

static void shut_down(struct server *server, uint16_t code)
{
    if (server->phase != SERVER_RUNNING)
        return;
    set_phase(server, SERVER_DRAINING);
    close_listeners(server);
    for (struct list_node *node = server->connections.next, *next; node != &server->connections; node = next) {
        next = node->next;
        connection_drain(list_entry(node, struct connection, of_server), code);
    }
    tell_drained(server);
}

static void stop(struct server *server)
{
    if (server->phase >= SERVER_STOPPING)
        return;
    set_phase(server, SERVER_STOPPING);
    close_listeners(server);
    for (struct list_node *node = server->connections.next; node != &server->connections; node = node->next) {
        struct connection *connection = list_entry(node, struct connection, of_server);
        transport_flush(&connection->transport);
        connection_close(connection, &(struct ending){ .cause = DISCONNECT_SHUTDOWN, .code = 1001 });
    }
    exchanges_stop(server);
    uv_close((uv_handle_t *)&server->wake, NULL);
    uv_close((uv_handle_t *)&server->before_wait, NULL);
    uv_close((uv_handle_t *)&server->after_wait, NULL);
    trim_close(&server->trim);
    squeeze_stop(server);
    works_stop(server);
}

/* Targets that have left meanwhile are passed over: their owner is closed already. */
static void broadcast(struct server *server, struct command *command)
{
    count(&server->counters.broadcasts_total, 1);
    for (size_t i = 0; i < command->broadcast.count; i++) {
        const struct broadcast_target *target = &command->broadcast.targets[i];
        struct exchange *exchange = exchange_find(server, target->exchange);
        if (exchange != NULL && exchange->connection != NULL)
            connection_broadcast(exchange->connection, command, target->label);
    }
}

static void obey(struct server *server, struct command *command)
{
    if (command->kind == COMMAND_BROADCAST) {
        broadcast(server, command);
        return;
    }
    if (command->kind == COMMAND_RETIRE) {
        close_listeners(server);
        return;
    }
    if (command->kind == COMMAND_SHUTDOWN) {
        shut_down(server, command->code);
        return;
    }
    if (command->kind == COMMAND_STOP) {
        stop(server);
        return;
    }
    struct exchange *exchange = exchange_find(server, command->exchange);
    if (exchange == NULL)
        return;
    struct connection *connection = exchange->connection;
    if (command->kind == COMMAND_FINISHED) {
        exchange_finish(exchange);
        if (connection != NULL)
            connection_finished(connection, command->failed);
        return;
    }
    if (command->kind == COMMAND_SPARE) {
        exchange_spare(exchange, command->amount);
        return;
    }
    if (connection == NULL)
        return;
    if (command->kind == COMMAND_KICK)
        count(&server->counters.kicks_total, 1);
    connection_command(connection, command);
}

void server_broadcast_done(struct server *server, struct command *command)
{
    atomic_fetch_sub_explicit(&server->backlog, command_broadcast_weight(command), memory_order_relaxed);
    command_destroy(command);
}

static void end_command(struct server *server, struct command *command)
{
    if (command->kept)
        return;
    if (command->kind == COMMAND_BROADCAST)
        server_broadcast_done(server, command);
    else
        command_destroy(command);
}

static struct command *take_command(struct server *server)
{
    if (server->taken == NULL)
        server->taken = queue_take(&server->commands);
    if (server->taken == NULL)
        return NULL;
    struct command *command = list_entry(server->taken, struct command, item);
    server->taken = server->taken->next;
    return command;
}

/* Obeys what has come, but not for ever: who floods us with broadcasts must not keep us from reading sockets. */
static void on_wake(uv_async_t *wake)
{
    struct server *server = wake->data;
    uint64_t begun = uv_hrtime();
    struct command *command;
    if (atomic_load_explicit(&server->halted, memory_order_relaxed)) {
        uv_stop(&server->loop);
        return;
    }
    while ((command = take_command(server)) != NULL) {
        bool many = command->kind == COMMAND_BROADCAST;
        obey(server, command);
        end_command(server, command);
        if (server->taken == NULL)
            server_flush(server);
        if (many && uv_hrtime() - begun > TURN_NS) {
            server_flush(server);
            uv_async_send(&server->wake); /* the queue's next wake-up comes only once it has been found empty */
            return;
        }
    }
}

static void on_before_wait(uv_prepare_t *handle)
{
    struct server *server = handle->data;
    server_flush(server);
    trim_look(&server->trim, atomic_load_explicit(&server->counters.connections, memory_order_relaxed) +
                                 atomic_load_explicit(&server->counters.exchanges, memory_order_relaxed));
}

static void on_after_wait(uv_check_t *handle)
{
    server_flush(handle->data);
}

static void wake_up(void *argument)
{
    struct server *server = argument;
    uv_async_send(&server->wake);
}

static char *copy_string(const char *string)
{
    if (string == NULL)
        return NULL;
    char *copy = mem_alloc(strlen(string) + 1);
    memcpy(copy, string, strlen(string) + 1);
    return copy;
}

static const size_t strings[] = {
    offsetof(struct server_settings, server_name),        offsetof(struct server_settings, trusted_proxies),
    offsetof(struct server_settings, forwarded_standard), offsetof(struct server_settings, forwarded_address),
    offsetof(struct server_settings, forwarded_port),     offsetof(struct server_settings, forwarded_proto),
    offsetof(struct server_settings, forwarded_host),
};

static const char **string_at(struct server_settings *settings, size_t i)
{
    return (const char **)(void *)((char *)settings + strings[i]);
}

static void copy_strings(struct server_settings *settings)
{
    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++)
        *string_at(settings, i) = copy_string(*string_at(settings, i));
}

static void free_strings(struct server_settings *settings)
{
    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++)
        mem_free((char *)*string_at(settings, i));
}

int server_create(struct server **result, const struct server_settings *settings, const struct server_hooks *hooks,
                  struct queue *events)
{
    struct server *server = mem_zalloc(sizeof *server);
    server->settings = *settings;
    copy_strings(&server->settings);
    server->hooks = *hooks;
    server->events = events;
    list_init(&server->connections);
    list_init(&server->corked);
    list_init(&server->squeezes);
    list_init(&server->awaiting);
    list_init(&server->held);
    list_init(&server->handshakes);
    census_init(&server->census);
    unsent_init(&server->unsent);
    list_init(&server->listeners);
    list_init(&server->of_running);
    slots_init(&server->exchanges);
    server->load = load_create(NULL);
    enum trust_error trusted = trust_init(&server->trust, settings->trusted_proxies);
    int error = trusted != TRUST_OK ? 0 : descriptors_are_left(DESCRIPTORS_LOOP) ? uv_loop_init(&server->loop) : UV_EMFILE;
    if (trusted != TRUST_OK || error != 0)
        goto fail;
    error = uv_async_init(&server->loop, &server->wake, on_wake);
    if (error != 0)
        goto fail_loop;
    uv_prepare_init(&server->loop, &server->before_wait);
    uv_check_init(&server->loop, &server->after_wait);
    trim_init(&server->trim, &server->loop);
    works_init(server);
    server->wake.data = server->before_wait.data = server->after_wait.data = server;
    uv_prepare_start(&server->before_wait, on_before_wait);
    uv_check_start(&server->after_wait, on_after_wait);
    queue_init(&server->commands, wake_up, server);
    *result = server;
    return SERVER_OK;
fail_loop:
    uv_loop_close(&server->loop);
fail:
    slots_deinit(&server->exchanges);
    load_release(server->load);
    deflate_pool_deinit(&server->deflate_pool);
    trust_deinit(&server->trust);
    free_strings(&server->settings);
    mem_free(server);
    return trusted == TRUST_WRONG ? SERVER_TRUST : error == UV_EMFILE || error == UV_ENFILE ? SERVER_DESCRIPTORS : SERVER_NO_MEMORY;
}

const struct server_settings *server_settings(const struct server *server)
{
    return &server->settings;
}

const struct trust *server_trust(const struct server *server)
{
    return &server->trust;
}

int server_listen(struct server *server, const struct listen_spec *spec, char *error, size_t size)
{
    return listener_open(server, spec, error, size);
}

int server_join_crew(struct server *server, int fd, unsigned place)
{
    return crew_join(&server->crew, fd, place);
}

int server_address(const struct server *server, size_t i, struct listen_address *address)
{
    for (struct list_node *node = server->listeners.next; node != &server->listeners; node = node->next) {
        const struct listener *listener = list_entry(node, struct listener, of_server);
        if (listener->address.family != AF_UNSPEC && i-- == 0) {
            *address = listener->address;
            return 0;
        }
    }
    return -1;
}

static void run(void *argument)
{
    struct server *server = argument;
    uv_run(&server->loop, UV_RUN_DEFAULT);
    if (atomic_load(&server->halted))
        return;
    assert(server->phase == SERVER_STOPPING);
    set_phase(server, SERVER_STOPPED);
    announce_server_wide(server, EVENT_STOPPED);
    queue_push(server->events, &server->announced);
}

int server_start(struct server *server)
{
    sigset_t all, before;
    set_phase(server, SERVER_RUNNING);
    crew_tell(&server->crew, 0);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = uv_thread_create(&server->thread, run, server);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    server->thread_started = error == 0;
    if (server->thread_started)
        running_add(server);
    return error == 0 ? SERVER_OK : SERVER_THREAD;
}

int server_broadcast(struct server *server, struct queue_chain *before, struct command *command)
{
    size_t weight = command_broadcast_weight(command);
    size_t waiting = atomic_fetch_add_explicit(&server->backlog, weight, memory_order_relaxed);
    bool full = waiting > 0 && waiting + weight > server->settings.broadcast_backlog; /* alone it may be larger */
    if (full) {
        atomic_fetch_sub_explicit(&server->backlog, weight, memory_order_relaxed);
        atomic_fetch_add_explicit(&server->counters.broadcasts_refused_total, 1, memory_order_relaxed);
    } else {
        queue_chain_add(before, &command->item);
    }
    queue_push(&server->commands, before);
    return full ? SERVER_FULL : SERVER_OK;
}

void server_send(struct server *server, struct queue_chain *commands)
{
    queue_push(&server->commands, commands);
}

void server_stats(const struct server *server, struct server_stats *stats)
{
    const struct server_counters *counters = &server->counters;
#define READ(field) stats->field = atomic_load_explicit(&counters->field, memory_order_relaxed)
    READ(connections);
    READ(exchanges);
    READ(websockets);
    READ(read_paused);
    READ(bytes_unwritten);
    READ(connections_total);
    READ(requests_total);
    READ(websockets_total);
    READ(messages_in_total);
    READ(messages_out_total);
    READ(bytes_in_total);
    READ(bytes_out_total);
    READ(bad_requests_total);
    READ(timeouts_total);
    READ(kills_total);
    READ(kicks_total);
    READ(accept_errors_total);
    READ(broadcasts_total);
    READ(relayed_total);
    READ(broadcasts_refused_total);
    READ(tls_handshakes_total);
    READ(tls_errors_total);
    READ(http2_connections);
    READ(http2_refused_total);
    READ(http2_floods_total);
    READ(applications_refused_total);
    READ(heads_refused_total);
    READ(heads_held_total);
    READ(handshakes);
    READ(connections_refused_total);
    READ(addresses_refused_total);
    READ(handshakes_dropped_total);
    READ(handshake_timeouts_total);
    READ(header_timeouts_total);
    READ(body_timeouts_total);
    READ(send_timeouts_total);
    READ(idle_timeouts_total);
    READ(ping_timeouts_total);
    READ(files_cut_total);
    READ(descriptors_exhausted_total);
    READ(proxy_errors_total);
    READ(unsent_resets_total);
#undef READ
    stats->head_bytes_waiting = load_heads(server->load);
}

static void drop_commands(struct server *server)
{
    struct command *command;
    while ((command = take_command(server)) != NULL)
        end_command(server, command);
}

void server_join(struct server *server)
{
    running_remove(server);
    if (server->thread_started && !server->thread_ended)
        uv_thread_join(&server->thread);
    server->thread_ended = server->thread_started;
}

void server_destroy(struct server *server)
{
    server_join(server);
    if (!server->thread_started) {
        /* The loop has never run: its handles are closed here. */
        server->phase = SERVER_RUNNING;
        stop(server);
        uv_run(&server->loop, UV_RUN_DEFAULT);
    }
    drop_commands(server);
    exchanges_destroy(server);
    slots_deinit(&server->exchanges);
    load_release(server->load);
    deflate_pool_deinit(&server->deflate_pool);
    listeners_destroy(server);
    census_deinit(&server->census);
    int error = uv_loop_close(&server->loop);
    assert(error == 0);
    (void)error;
    queue_deinit(&server->commands);
    crew_leave(&server->crew);
    trust_deinit(&server->trust);
    free_strings(&server->settings);
    mem_free(server);
}
