/* fake_redis.h: a server on the test's own loop that takes commands apart and answers whatever the test wants.
 *
 * Owner:   the test; one at a time.
 * Thread:  the test's.
 * Limits:  commands of 8 words, in one piece of 64 KiB; it keeps only the last connection.
 */
#ifndef PENEUS_TESTS_UNIT_FAKE_REDIS_H
#define PENEUS_TESTS_UNIT_FAKE_REDIS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <netinet/in.h>
#include <uv.h>

#include "base/alloc.h"
#include "tests/unit/range.h"

enum { FAKE_WORDS = 8, FAKE_BUFFER = 65536, FAKE_LOG = 4096 };

struct fake_redis {
    uv_tcp_t listener;
    int port;
    unsigned connections;     /* accepted */
    uv_tcp_t *connection;     /* the last; NULL: it has gone */
    char buffer[FAKE_BUFFER];
    size_t length;
    char log[FAKE_LOG];       /* the commands' words, each cut off, with spaces and newlines; begun anew when it is long */
    bool silent;              /* answers nothing */
    /* The answer to a command, as it stands on the wire; NULL: none. */
    const char *(*answer)(struct fake_redis *fake, size_t count, char **words);
};

static inline void fake_free(uv_handle_t *handle)
{
    mem_free(handle);
}

static inline void fake_drop(struct fake_redis *fake)
{
    if (fake->connection != NULL)
        uv_close((uv_handle_t *)fake->connection, fake_free);
    fake->connection = NULL;
}

static inline void fake_written(uv_write_t *request, int status)
{
    (void)status;
    mem_free(request);
}

/* The text must live until it is written: literals. */
static inline void fake_say(struct fake_redis *fake, const char *text)
{
    uv_buf_t bytes = uv_buf_init((char *)text, (unsigned)strlen(text));
    uv_write(mem_alloc(sizeof(uv_write_t)), (uv_stream_t *)fake->connection, &bytes, 1, fake_written);
}

/* One command at the buffer's start: its size; 0: not whole. */
static inline size_t fake_command(struct fake_redis *fake, size_t *count, char **words)
{
    char *at = fake->buffer, *end = at + fake->length, *line = memchr(at, '\n', fake->length);
    if (line == NULL)
        return 0;
    assert_int_equal(*at, '*');
    *count = (size_t)atoi(at + 1);
    assert_uint_in_range(*count, 1, FAKE_WORDS);
    at = line + 1;
    for (size_t i = 0; i < *count; i++) {
        line = at < end ? memchr(at, '\n', (size_t)(end - at)) : NULL;
        if (line == NULL)
            return 0;
        size_t length = (size_t)atoi(at + 1);
        words[i] = line + 1;
        at = words[i] + length + 2;
        if (at > end)
            return 0;
    }
    for (size_t i = 0; i < *count; i++)
        *strchr(words[i], '\r') = '\0';
    return (size_t)(at - fake->buffer);
}

static inline void fake_on_command(struct fake_redis *fake, size_t count, char **words)
{
    size_t used = strlen(fake->log);
    if (used > FAKE_LOG / 2)
        used = 0;
    for (size_t i = 0; i < count; i++)
        used += (size_t)snprintf(fake->log + used, FAKE_LOG - used, "%.60s%c", words[i], i + 1 < count ? ' ' : '\n');
    const char *text = fake->silent ? NULL : fake->answer(fake, count, words);
    if (text != NULL && fake->connection != NULL)
        fake_say(fake, text);
}

static inline void fake_room(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    struct fake_redis *fake = handle->data;
    (void)suggested;
    *buffer = uv_buf_init(fake->buffer + fake->length, (unsigned)(FAKE_BUFFER - fake->length));
}

static inline void fake_heard(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer)
{
    struct fake_redis *fake = stream->data;
    (void)buffer;
    if (size < 0) {
        if ((uv_tcp_t *)stream == fake->connection)
            fake_drop(fake);
        return;
    }
    fake->length += (size_t)size;
    char *words[FAKE_WORDS];
    size_t count, used;
    while (fake->connection != NULL && fake->length > 0 && (used = fake_command(fake, &count, words)) > 0) {
        fake_on_command(fake, count, words);
        memmove(fake->buffer, fake->buffer + used, fake->length - used);
        fake->length -= used;
    }
}

static inline void fake_accept(uv_stream_t *listener, int status)
{
    struct fake_redis *fake = listener->data;
    assert_int_equal(status, 0);
    fake_drop(fake);
    fake->length = 0;
    fake->connections++;
    fake->connection = mem_zalloc(sizeof(uv_tcp_t));
    uv_tcp_init(listener->loop, fake->connection);
    fake->connection->data = fake;
    assert_int_equal(uv_accept(listener, (uv_stream_t *)fake->connection), 0);
    uv_read_start((uv_stream_t *)fake->connection, fake_room, fake_heard);
}

static inline void fake_begin(struct fake_redis *fake, uv_loop_t *loop)
{
    struct sockaddr_in address;
    int size = sizeof address;
    uv_ip4_addr("127.0.0.1", 0, &address);
    uv_tcp_init(loop, &fake->listener);
    fake->listener.data = fake;
    assert_int_equal(uv_tcp_bind(&fake->listener, (struct sockaddr *)&address, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&fake->listener, 8, fake_accept), 0);
    uv_tcp_getsockname(&fake->listener, (struct sockaddr *)&address, &size);
    fake->port = ntohs(address.sin_port);
}

static inline void fake_end(struct fake_redis *fake)
{
    fake_drop(fake);
    uv_close((uv_handle_t *)&fake->listener, NULL);
}

#endif
