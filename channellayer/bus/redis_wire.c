#include "channellayer/bus/redis_wire.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <hiredis/hiredis_ssl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "base/own_sockets.h"
#include "channellayer/bus/redis_tls.h"

enum { REASON_SIZE = 200 };

enum wire_state {
    WIRE_CONNECTING, /* waits for the socket to be writable */
    WIRE_SECURING,   /* waits for the TLS handshake */
    WIRE_OPEN,
    WIRE_LOST,       /* waits for redis_wire_close() */
    WIRE_CLOSING,    /* waits for the poll handle */
};

struct redis_wire {
    uv_poll_t poll;
    enum wire_state state;
    int waiting_for;       /* events of poll */
    redisContext *redis;
    SSL *ssl;              /* NULL: none. redis's, once the handshake has begun */
    bool trusted;          /* redis_wire_trust() */
    const struct redis_wire_events *events;
    void *context;
};

static char *try_strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = mem_try_alloc(size);
    return copy == NULL ? NULL : memcpy(copy, text, size);
}

static void use_our_memory(void)
{
    hiredisAllocFuncs ours = { mem_try_alloc, mem_try_calloc, mem_try_realloc, try_strdup, mem_free };
    hiredisSetAllocators(&ours);
}

static void on_poll(uv_poll_t *poll, int status, int events);

static void wait_for(struct redis_wire *wire, int events)
{
    if (events == wire->waiting_for || wire->state >= WIRE_LOST)
        return;
    wire->waiting_for = events;
    uv_poll_start(&wire->poll, events, on_poll);
}

static void lose(struct redis_wire *wire, const char *reason)
{
    if (wire->state >= WIRE_LOST)
        return;
    wire->state = WIRE_LOST;
    uv_poll_stop(&wire->poll);
    wire->events->on_lost(wire->context, reason);
}

static void lose_by_redis(struct redis_wire *wire)
{
    char reason[REASON_SIZE];
    if (wire->ssl != NULL && wire->redis->err == REDIS_ERR_IO)
        redis_tls_reason(wire->ssl, reason, sizeof reason);
    else
        snprintf(reason, sizeof reason, "%s", wire->redis->errstr);
    lose(wire, reason);
}

static void opened(struct redis_wire *wire)
{
    wire->state = WIRE_OPEN;
    wait_for(wire, UV_READABLE);
    wire->events->on_open(wire->context);
}

static void shake_hands(struct redis_wire *wire)
{
    ERR_clear_error();
    int result = SSL_do_handshake(wire->ssl);
    if (result == 1) {
        opened(wire);
        return;
    }
    int wanted = SSL_get_error(wire->ssl, result);
    if (wanted == SSL_ERROR_WANT_READ || wanted == SSL_ERROR_WANT_WRITE) {
        wait_for(wire, wanted == SSL_ERROR_WANT_READ ? UV_READABLE : UV_WRITABLE);
        return;
    }
    char reason[REASON_SIZE];
    redis_tls_reason(wire->ssl, reason, sizeof reason);
    lose(wire, reason);
}

static void connected(struct redis_wire *wire)
{
    int error = 0, on = 1;
    socklen_t size = sizeof error;
    if (getsockopt(wire->redis->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
        error = errno;
    if (error != 0) {
        lose(wire, strerror(error));
        return;
    }
    if (wire->redis->connection_type == REDIS_CONN_TCP) {
        setsockopt(wire->redis->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        setsockopt(wire->redis->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    }
    if (wire->ssl == NULL) {
        opened(wire);
        return;
    }
    wire->state = WIRE_SECURING;
    ERR_clear_error();
    if (redisInitiateSSL(wire->redis, wire->ssl) != REDIS_OK) {
        lose_by_redis(wire);
        return;
    }
    shake_hands(wire);
}

static void write_out(struct redis_wire *wire)
{
    int done = 0;
    ERR_clear_error();
    if (redisBufferWrite(wire->redis, &done) != REDIS_OK) {
        lose_by_redis(wire);
        return;
    }
    /* TLS may have to hear something first. */
    bool blocked = wire->ssl != NULL && SSL_want_read(wire->ssl);
    wait_for(wire, done || blocked ? UV_READABLE : UV_READABLE | UV_WRITABLE);
}

/* Whether what has come of a reply, which is not whole, is more than any reply of a Redis is. */
static bool is_endless(const struct redis_wire *wire)
{
    const redisReader *reader = wire->redis->reader;
    size_t length = reader->len - reader->pos;
    if (length > (wire->trusted ? (size_t)WIRE_STRING : (size_t)WIRE_LINE))
        return true;
    return length > WIRE_LINE && memchr(reader->buf + reader->pos, '\n', WIRE_LINE) == NULL;
}

static bool hand_on_replies(struct redis_wire *wire)
{
    while (wire->state == WIRE_OPEN) {
        void *reply = NULL;
        if (redisGetReplyFromReader(wire->redis, &reply) != REDIS_OK) {
            lose_by_redis(wire);
            return false;
        }
        if (reply == NULL && is_endless(wire)) {
            lose(wire, "Protocol error: a reply is longer than any of Redis");
            return false;
        }
        if (reply == NULL)
            return true;
        wire->events->on_reply(wire->context, reply);
        freeReplyObject(reply);
    }
    return false;
}

static void read_in(struct redis_wire *wire)
{
    do {
        ERR_clear_error();
        if (redisBufferRead(wire->redis) != REDIS_OK) {
            /* What came before the end counts. */
            if (hand_on_replies(wire))
                lose_by_redis(wire);
            return;
        }
        if (!hand_on_replies(wire))
            return;
    } while (wire->ssl != NULL && SSL_pending(wire->ssl) > 0);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct redis_wire *wire = poll->data;
    if (status < 0)
        events = wire->waiting_for; /* an error of the socket: whoever uses it is told which */
    if (wire->state == WIRE_CONNECTING) {
        connected(wire);
        return;
    }
    if (wire->state == WIRE_SECURING) {
        shake_hands(wire);
        return;
    }
    bool held_up = wire->ssl != NULL && (wire->waiting_for & UV_WRITABLE) == 0;
    if (wire->state == WIRE_OPEN && (events & UV_READABLE))
        read_in(wire);
    if (wire->state == WIRE_OPEN && ((events & UV_WRITABLE) || held_up))
        write_out(wire);
}

static void hang_up(redisContext *redis)
{
    own_sockets_lock();
    own_sockets_remove(redis->fd);
    redisFree(redis);
    own_sockets_unlock();
}

static redisContext *dial(const struct redis_wire_target *target, char *reason, size_t size)
{
    redisOptions options = { .options = REDIS_OPT_NONBLOCK | REDIS_OPT_SET_SOCK_CLOEXEC };
    if (target->number != NULL)
        REDIS_OPTIONS_SET_TCP(&options, target->number, target->port);
    else
        REDIS_OPTIONS_SET_UNIX(&options, target->path);
    options.options |= REDIS_OPT_NO_PUSH_AUTOFREE;
    own_sockets_lock();
    errno = 0;
    redisContext *redis = redisConnectWithOptions(&options);
    int error = errno;
    bool begun = redis != NULL && redis->err == 0;
    if (begun) {
        fcntl(redis->fd, F_SETFD, FD_CLOEXEC);
        own_sockets_add(redis->fd);
    }
    own_sockets_unlock();
    if (begun)
        return redis;
    /* Of a Unix socket hiredis says only that there was an error. */
    snprintf(reason, size, "%s", redis == NULL ? "there is no memory" : redis->errstr[0] != '\0' ? redis->errstr : strerror(error));
    if (redis != NULL)
        redisFree(redis);
    return NULL;
}

struct redis_wire *redis_wire_open(uv_loop_t *loop, const struct redis_wire_target *target, const struct redis_wire_events *events,
                                   void *context, char *reason, size_t size)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, use_our_memory);
    SSL *ssl = NULL;
    struct redis_wire *wire = mem_zalloc(sizeof *wire);
    if (target->tls != NULL && (ssl = redis_tls_open(target->tls, target->name, reason, size)) == NULL)
        goto fail;
    wire->redis = dial(target, reason, size);
    if (wire->redis == NULL)
        goto fail;
    int error = uv_poll_init(loop, &wire->poll, wire->redis->fd);
    if (error != 0) {
        snprintf(reason, size, "%s", uv_strerror(error));
        hang_up(wire->redis);
        goto fail;
    }
    wire->poll.data = wire;
    wire->redis->reader->maxelements = WIRE_FEW;
    wire->ssl = ssl;
    wire->events = events;
    wire->context = context;
    wait_for(wire, UV_WRITABLE);
    return wire;
fail:
    SSL_free(ssl);
    mem_free(wire);
    return NULL;
}

static void on_poll_closed(uv_handle_t *poll)
{
    struct redis_wire *wire = poll->data;
    if (wire->redis->privctx == NULL)
        SSL_free(wire->ssl); /* the handshake never began, or failed at once */
    hang_up(wire->redis);
    mem_free(wire);
}

void redis_wire_close(struct redis_wire *wire)
{
    assert(wire->state != WIRE_CLOSING);
    wire->state = WIRE_CLOSING;
    uv_close((uv_handle_t *)&wire->poll, on_poll_closed);
}

void redis_wire_trust(struct redis_wire *wire)
{
    wire->trusted = true;
    wire->redis->reader->maxelements = WIRE_ELEMENTS;
}

static int append(struct redis_wire *wire, const char *bytes, size_t size)
{
    if (redisAppendFormattedCommand(wire->redis, bytes, size) != REDIS_OK) {
        wire->redis->err = 0; /* there was no memory: the connection is as it was */
        return -1;
    }
    wait_for(wire, UV_READABLE | UV_WRITABLE);
    return 0;
}

int redis_wire_send(struct redis_wire *wire, size_t count, const struct name *words)
{
    enum { HEADER = 24 }; /* "*" or "$", a number, "\r\n" */
    char small[2048], *bytes = small;
    size_t size = HEADER;
    if (wire->state != WIRE_OPEN)
        return -1;
    for (size_t i = 0; i < count; i++)
        size += HEADER + words[i].length + 2;
    if (size > sizeof small && (bytes = mem_try_alloc(size)) == NULL)
        return -1;
    size_t at = (size_t)snprintf(bytes, HEADER, "*%zu\r\n", count);
    for (size_t i = 0; i < count; i++) {
        at += (size_t)snprintf(bytes + at, HEADER, "$%zu\r\n", words[i].length);
        if (words[i].length > 0)
            memcpy(bytes + at, words[i].bytes, words[i].length);
        memcpy(bytes + at + words[i].length, "\r\n", 2);
        at += words[i].length + 2;
    }
    int result = append(wire, bytes, at);
    if (bytes != small)
        mem_free(bytes);
    return result;
}
