/* fake_broker.h: a Redis that can only publish and subscribe, on a thread of its own, for tests that run under ThreadSanitizer
 * and make allocations fail: it uses none of base/alloc.h.
 *
 * Owner:   the test.
 * Thread:  broker_begin(), _end(), _drop_all() and _topics() from the test's; the rest is the broker's.
 * Limits:  commands of 300 words that come in pieces of up to 1 MiB; 256 topics for a connection, names of 99 bytes.
 */
#ifndef PENEUS_TESTS_UNIT_FAKE_BROKER_H
#define PENEUS_TESTS_UNIT_FAKE_BROKER_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum { BROKER_WORDS = 300, BROKER_BUFFER = 1 << 20, BROKER_TOPICS = 256, BROKER_NAME = 100 };

struct broker_client {
    uv_tcp_t socket; /* first */
    struct broker *broker;
    struct broker_client *next;
    size_t length;
    unsigned topic_count;
    char topics[BROKER_TOPICS][BROKER_NAME];
    char buffer[BROKER_BUFFER];
};

struct broker {
    uv_loop_t loop;
    uv_tcp_t listener;
    uv_async_t wake;
    pthread_t thread;
    int port;
    struct broker_client *clients;
    atomic_bool drop, end;
    atomic_int connected;
    atomic_int topics; /* of all clients together */
};

static inline void broker_written(uv_write_t *request, int status)
{
    (void)status;
    free(request);
}

static inline void broker_say(struct broker_client *client, const char *bytes, size_t size)
{
    uv_write_t *request = malloc(sizeof *request + size);
    memcpy(request + 1, bytes, size);
    uv_buf_t buffer = uv_buf_init((char *)(request + 1), (unsigned)size);
    if (uv_write(request, (uv_stream_t *)&client->socket, &buffer, 1, broker_written) != 0)
        free(request);
}

static inline void broker_push(struct broker_client *client, const char *kind, const char *topic, const char *payload, size_t size)
{
    char head[400];
    int length = snprintf(head, sizeof head, ">3\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n", strlen(kind), kind, strlen(topic), topic);
    broker_say(client, head, (size_t)length);
    if (payload == NULL) {
        broker_say(client, ":1\r\n", 4);
        return;
    }
    length = snprintf(head, sizeof head, "$%zu\r\n", size);
    broker_say(client, head, (size_t)length);
    broker_say(client, payload, size);
    broker_say(client, "\r\n", 2);
}

static inline int broker_find(const struct broker_client *client, const char *topic)
{
    for (unsigned i = 0; i < client->topic_count; i++) {
        if (strcmp(client->topics[i], topic) == 0)
            return (int)i;
    }
    return -1;
}

static inline void broker_subscribe(struct broker_client *client, const char *topic)
{
    if (broker_find(client, topic) < 0) {
        if (client->topic_count == BROKER_TOPICS)
            abort();
        snprintf(client->topics[client->topic_count++], BROKER_NAME, "%s", topic);
        atomic_fetch_add(&client->broker->topics, 1);
    }
    broker_push(client, "subscribe", topic, NULL, 0);
}

static inline void broker_unsubscribe(struct broker_client *client, const char *topic)
{
    int found = broker_find(client, topic);
    if (found >= 0) {
        memcpy(client->topics[found], client->topics[--client->topic_count], BROKER_NAME);
        atomic_fetch_sub(&client->broker->topics, 1);
    }
    broker_push(client, "unsubscribe", topic, NULL, 0);
}

static inline void broker_publish(struct broker_client *from, const char *topic, const char *payload, size_t size)
{
    for (struct broker_client *client = from->broker->clients; client != NULL; client = client->next) {
        if (broker_find(client, topic) >= 0)
            broker_push(client, "message", topic, payload, size);
    }
    broker_say(from, ":1\r\n", 4);
}

static inline void broker_on_command(struct broker_client *client, size_t count, char **words, const size_t *sizes)
{
    if (strcmp(words[0], "HELLO") == 0) {
        broker_say(client, "%0\r\n", 4);
    } else if (strcmp(words[0], "PUBLISH") == 0) {
        broker_publish(client, words[1], words[2], sizes[2]);
    } else if (strcmp(words[0], "PING") == 0) {
        broker_say(client, "+PONG\r\n", 7);
    } else if (strstr(words[0], "SUBSCRIBE") != NULL) {
        for (size_t i = 1; i < count; i++)
            words[0][0] == 'U' ? broker_unsubscribe(client, words[i]) : broker_subscribe(client, words[i]);
    } else {
        abort();
    }
}

/* One command at the buffer's start: its size; 0: not whole. */
static inline size_t broker_command(struct broker_client *client, size_t *count, char **words, size_t *sizes)
{
    char *at = client->buffer, *end = at + client->length, *line = memchr(at, '\n', client->length);
    *count = line == NULL ? 0 : (size_t)atoi(at + 1);
    if (*count > BROKER_WORDS)
        abort();
    for (size_t i = 0; i < *count; i++) {
        at = line + 1;
        line = at < end ? memchr(at, '\n', (size_t)(end - at)) : NULL;
        if (line == NULL)
            return 0;
        sizes[i] = (size_t)atoi(at + 1);
        words[i] = line + 1;
        line = words[i] + sizes[i] + 1; /* the newline behind the word */
        if (line >= end)
            return 0;
    }
    for (size_t i = 0; i < *count; i++)
        words[i][sizes[i]] = '\0';
    return line == NULL ? 0 : (size_t)(line + 1 - client->buffer);
}

static inline void broker_closed(uv_handle_t *handle)
{
    free(handle);
}

static inline void broker_drop(struct broker_client *client)
{
    struct broker *broker = client->broker;
    for (struct broker_client **at = &broker->clients; *at != NULL; at = &(*at)->next) {
        if (*at == client) {
            *at = client->next;
            break;
        }
    }
    atomic_fetch_sub(&broker->topics, (int)client->topic_count);
    atomic_fetch_sub(&broker->connected, 1);
    uv_close((uv_handle_t *)&client->socket, broker_closed);
}

static inline void broker_room(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    struct broker_client *client = (struct broker_client *)(void *)handle;
    (void)suggested;
    *buffer = uv_buf_init(client->buffer + client->length, (unsigned)(BROKER_BUFFER - client->length));
}

static inline void broker_heard(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer)
{
    struct broker_client *client = (struct broker_client *)(void *)stream;
    char *words[BROKER_WORDS];
    size_t sizes[BROKER_WORDS], count, used;
    (void)buffer;
    if (size < 0) {
        broker_drop(client);
        return;
    }
    client->length += (size_t)size;
    while (client->length > 0 && (used = broker_command(client, &count, words, sizes)) > 0) {
        broker_on_command(client, count, words, sizes);
        memmove(client->buffer, client->buffer + used, client->length - used);
        client->length -= used;
    }
}

static inline void broker_accept(uv_stream_t *listener, int status)
{
    struct broker *broker = listener->data;
    struct broker_client *client = calloc(1, sizeof *client);
    if (status != 0 || client == NULL)
        abort();
    uv_tcp_init(&broker->loop, &client->socket);
    client->broker = broker;
    if (uv_accept(listener, (uv_stream_t *)&client->socket) != 0)
        abort();
    client->next = broker->clients;
    broker->clients = client;
    atomic_fetch_add(&broker->connected, 1);
    uv_read_start((uv_stream_t *)&client->socket, broker_room, broker_heard);
}

static inline void broker_on_wake(uv_async_t *wake)
{
    struct broker *broker = wake->data;
    if (atomic_exchange(&broker->drop, false) || atomic_load(&broker->end)) {
        while (broker->clients != NULL)
            broker_drop(broker->clients);
    }
    if (atomic_load(&broker->end)) {
        uv_close((uv_handle_t *)&broker->listener, NULL);
        uv_close((uv_handle_t *)&broker->wake, NULL);
    }
}

static inline void *broker_run(void *argument)
{
    struct broker *broker = argument;
    uv_run(&broker->loop, UV_RUN_DEFAULT);
    return NULL;
}

static inline struct broker *broker_begin(void)
{
    struct broker *broker = calloc(1, sizeof *broker);
    struct sockaddr_in address;
    int size = sizeof address;
    uv_loop_init(&broker->loop);
    uv_async_init(&broker->loop, &broker->wake, broker_on_wake);
    uv_tcp_init(&broker->loop, &broker->listener);
    broker->wake.data = broker->listener.data = broker;
    uv_ip4_addr("127.0.0.1", 0, &address);
    if (uv_tcp_bind(&broker->listener, (struct sockaddr *)&address, 0) != 0 ||
        uv_listen((uv_stream_t *)&broker->listener, 64, broker_accept) != 0)
        abort();
    uv_tcp_getsockname(&broker->listener, (struct sockaddr *)&address, &size);
    broker->port = ntohs(address.sin_port);
    pthread_create(&broker->thread, NULL, broker_run, broker);
    return broker;
}

/* Ends every connection, as CLIENT KILL does. */
static inline void broker_drop_all(struct broker *broker)
{
    atomic_store(&broker->drop, true);
    uv_async_send(&broker->wake);
}

static inline void broker_end(struct broker *broker)
{
    atomic_store(&broker->end, true);
    uv_async_send(&broker->wake);
    pthread_join(broker->thread, NULL);
    uv_loop_close(&broker->loop);
    free(broker);
}

#endif
