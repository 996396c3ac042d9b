/* event.h: what the I/O thread tells the application's thread about an exchange.
 *
 * An exchange is one request and its response, or one WebSocket: what one call of the application sees.
 *
 * Owner:   the I/O thread creates an event, the consumer of the event queue frees it with event_destroy().
 * Thread:  moves from the I/O thread to the application's; nobody shares it.
 * Limits:  EVENT_BODY and EVENT_MESSAGE of an exchange stop, and so do the socket's reads, when receive_window bytes
 *          are announced that COMMAND_CONSUMED has not returned; each event costs event_cost(). EVENT_REQUEST and EVENT_REFUSED are
 *          bounded by head_window and head_backlog, until event_destroy(). Every other kind comes at most once for an exchange, but
 *          EVENT_WRITTEN, which comes at most once for half a send_window of writes, and EVENT_KILL, which comes once more for each
 *          COMMAND_SPARE.
 *
 * Order for one exchange:
 *     HTTP:       REQUEST (BODY)* [WRITTEN] … [DISCONNECT [KILL]…]
 *     WebSocket:  REQUEST (MESSAGE)* [WRITTEN] … DISCONNECT [KILL]…
 * After the application's FINISHED command nothing more comes. DISCONNECT comes when the client leaves, or when the
 * server ends the exchange, before a complete HTTP response; it does not come after one.
 */
#ifndef PENEUS_SERVER_EVENT_H
#define PENEUS_SERVER_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/queue.h"

struct load;
struct tls_info;

enum event_kind {
    EVENT_REQUEST,    /* struct request_event */
    EVENT_BODY,       /* bytes of the request body; more: not the last */
    EVENT_MESSAGE,    /* one WebSocket message; text: valid UTF-8 */
    EVENT_ASK,        /* a WebSocket's client broke the protocol: no message follows; to be answered by COMMAND_WAITS */
    EVENT_WRITTEN,    /* amount bytes of what was sent have left: credit for send() */
    EVENT_DISCONNECT, /* the exchange has ended: code and bytes (the reason, UTF-8) */
    EVENT_KILL,       /* application_close_timeout has passed since DISCONNECT; COMMAND_SPARE asks for more time */
    EVENT_REFUSED,    /* struct refusal_event, of no exchange: a request that the server has answered by itself, and no application sees */
    EVENT_DRAINED,    /* server-wide: after COMMAND_SHUTDOWN the last connection has gone */
    EVENT_STOPPED,    /* server-wide: after COMMAND_STOP; the last event of all */
};

/* Why an exchange ended, in EVENT_DISCONNECT. */
enum disconnect_cause {
    DISCONNECT_CLIENT,           /* closed by the client: FIN, reset, or close frame */
    DISCONNECT_APPLICATION,      /* websocket.close, or the application ended */
    DISCONNECT_HTTP_TIMEOUT,     /* status says what was answered: 503, or 0 when the response was cut off */
    DISCONNECT_CONNECT_TIMEOUT,  /* websocket_connect_timeout: status 503 */
    DISCONNECT_SLOW,             /* a body or message that did not come, or output that was not taken: status 408, or 0; code 1008 */
    DISCONNECT_STALLED,          /* unsent_window or unsent_backlog: of all for whom output waits, the client has taken nothing for longest */
    DISCONNECT_LIFETIME,         /* websocket_timeout */
    DISCONNECT_PING_TIMEOUT,
    DISCONNECT_PROTOCOL_ERROR,   /* the client's: code or status says which */
    DISCONNECT_TOO_LARGE,        /* a message: 1009; a body: 413 */
    DISCONNECT_SHUTDOWN,         /* COMMAND_SHUTDOWN or COMMAND_STOP */
    DISCONNECT_OVERFLOW,         /* closed from outside the application: COMMAND_KICK */
    DISCONNECT_FRAMING,          /* the response's body was longer or shorter than its Content-Length */
    DISCONNECT_FILE,             /* a file of the response has become shorter meanwhile, or could not be read */
};

struct event {
    struct queue_item item;
    enum event_kind kind;
    uint64_t exchange;
    uint64_t made_at; /* clock_ns(); of BODY, MESSAGE and DISCONNECT */
    union {
        bool more;     /* EVENT_BODY */
        bool text;     /* EVENT_MESSAGE */
        size_t amount; /* EVENT_WRITTEN */
        struct {
            enum disconnect_cause cause;
            uint16_t code;   /* WebSocket close code as the application sees it (1005: none, 1006: no close frame) */
            uint16_t status; /* HTTP status that the server itself answered, or 0 */
            uint64_t expected, actual; /* FRAMING: Content-Length, and the bytes sent for it; FILE: of the body so far */
        } disconnect;
    };
    size_t length;
    unsigned char *bytes; /* inside the same allocation */
};

/* A piece of request_event.bytes. */
struct piece {
    uint32_t offset;
    uint32_t length;
};

struct field {
    struct piece name; /* lower case */
    struct piece value;
};

enum { HOST_SIZE = 64 }; /* a numeric address with scope id and NUL */

/* The ends of a connection. family is AF_INET, AF_INET6 or AF_UNIX; a Unix client has no host. */
struct endpoints {
    int family;
    bool trusted; /* the client is one of trusted_proxies: its headers may say who it speaks for */
    bool secure;  /* the proxy in front has said that its client speaks TLS with it */
    uint16_t client_port;
    uint16_t server_port;
    char client_host[HOST_SIZE];
    char server_host[108]; /* or the path of the Unix socket */
};

/* EVENT_REQUEST: a request head, complete and checked. All pieces point into event.bytes. */
struct request_event {
    struct event event;
    uint64_t connection;     /* the same for all requests of one connection */
    uint64_t owner;          /* what the exchange_begun hook returned */
    struct endpoints endpoints;
    bool websocket;          /* a valid WebSocket handshake */
    bool secure;             /* TLS */
    struct tls_info *tls;    /* what was agreed, counted; NULL: no TLS */
    struct load *load;       /* what the request counts to while it waits, counted; NULL: it has not been announced */
    bool takes_trailers;     /* TE: trailers */
    bool has_body;           /* EVENT_BODY will follow, at least one; otherwise the body is empty */
    unsigned char http_major; /* 1 or 2 */
    unsigned char http_minor;
    struct piece method;
    struct piece target;     /* as sent: path and, behind '?', query */
    uint32_t field_count;
    struct field *fields;    /* inside the same allocation */
};

/* EVENT_REFUSED. The pieces point into event.bytes; they are empty where nothing was read. */
struct refusal_event {
    struct event event;
    struct endpoints endpoints;
    struct load *load; /* counted */
    uint16_t status;
    const char *reason; /* a literal, or NULL: status says enough, or more is not known */
    struct piece method;
    struct piece target; /* as sent, perhaps its beginning */
};

/* The window that an event of length bytes takes, and that COMMAND_CONSUMED gives back. */
static inline size_t event_cost(size_t length)
{
    return length + sizeof(struct event);
}

/* The memory that a request takes while it waits. */
static inline size_t request_event_weight(const struct request_event *request)
{
    return sizeof *request + request->field_count * sizeof *request->fields + request->event.length;
}

static inline size_t refusal_event_weight(const struct refusal_event *refusal)
{
    return sizeof *refusal + refusal->event.length;
}

void event_destroy(struct event *event);

#endif
