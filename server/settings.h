/* settings.h: the limits and deadlines of a server. Python fills it; python/peneus/settings.py has the defaults and the flags.
 *
 * Owner:   server_create() copies it.
 * Thread:  read by the I/O thread.
 * Limits:  0 is "no limit" for sizes and "never" for times, unless a field says otherwise. Times are in milliseconds.
 */
#ifndef PENEUS_SERVER_SETTINGS_H
#define PENEUS_SERVER_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct server_settings {
    const char *server_name;           /* the Server header; NULL: none */

    const char *trusted_proxies;       /* trust.h's list; NULL: nobody */
    unsigned proxy_protocol;           /* 1: every connection begins with a PROXY header, from a trusted peer */
    const char *forwarded_standard;    /* forwarded.h's rules: names of headers in lower case, or NULL */
    const char *forwarded_address, *forwarded_port, *forwarded_proto, *forwarded_host;

    size_t max_target_size;            /* bytes of the request target; over: 414 */
    size_t max_header_size;            /* bytes of all header fields; over: 431 */
    size_t max_header_count;           /* over: 431 */
    size_t max_body_size;              /* bytes of a request body; over: 413 */
    uint64_t tls_handshake_timeout_ms; /* from accepting to the end of TLS's handshake: closed without a word */
    uint64_t body_timeout_ms;          /* in which min_rate bytes for each second of it must come of a request's body (408),
                                        * or of a WebSocket message that has begun (1008) */
    uint64_t send_timeout_ms;          /* in which as many of what is written must reach the client: reset */
    size_t min_rate;                   /* bytes a second; 0: one byte in each of those times */
    uint64_t header_timeout_ms;        /* from the first byte of a request to the end of its head: 408 */
    uint64_t keep_alive_timeout_ms;    /* idle between requests, and before the first: closed without a word */
    uint64_t http_timeout_ms;          /* a request to the end of its response: 503, or the response is cut off */

    uint64_t websocket_connect_timeout_ms; /* the application has not accepted: 503 */
    uint64_t websocket_timeout_ms;     /* lifetime of a WebSocket: closed with 1000 */
    uint64_t ping_interval_ms;         /* silence from the client after which it is pinged */
    uint64_t ping_timeout_ms;          /* from a ping to anything from the client: closed, seen as 1006 */
    uint64_t close_timeout_ms;         /* for the peer's close frame after ours, and for lingering; never 0 */
    size_t websocket_max_message_size; /* over: 1009 */
    size_t websocket_max_frame_size;   /* over: 1009 */
    unsigned websocket_deflate;        /* 1: permessage-deflate where the client offers it */
    unsigned websocket_deflate_takeover;    /* 1: both sides may keep their windows, and memory for them */
    unsigned websocket_deflate_window_bits; /* 9 to 15: ours at most, and the client's where it can be told */
    unsigned websocket_deflate_memory_level; /* 1 to 9, zlib's */
    size_t websocket_deflate_threshold; /* bytes: messages below it are not compressed */

    uint64_t application_close_timeout_ms; /* from the disconnect to EVENT_KILL; 0: never */

    size_t receive_window;             /* bytes of body or messages announced and not yet consumed, for each exchange; never 0 */
    size_t head_window;                /* bytes of request heads announced and not yet taken, for each HTTP/2 connection; over: REFUSED_STREAM */
    size_t head_backlog;               /* the same of all connections; over: REFUSED_STREAM, and HTTP/1 is not read */
    size_t send_window;                /* bytes sent and not yet written, for each exchange; never 0 */
    size_t unsent_window;              /* bytes of responses that wait for one HTTP/2 client; over: the stream that has stalled longest is reset */
    size_t unsent_backlog;             /* the same of all connections; over: the one that has stalled longest is reset */
    size_t body_chunk;                 /* the most of a body in one event; never 0 */
    size_t websocket_write_limit;      /* bytes of broadcasts that wait for one socket; over: their policy */
    size_t broadcast_backlog;          /* bytes of broadcasts that wait for the I/O thread; over: refused; never 0 */
    unsigned max_connections;          /* over: accepted later, when one has ended */
    unsigned limit_connections;        /* over: 503, or reset where TLS is spoken */
    unsigned limit_connections_per_address; /* the same; of an IPv6 network of 64 bits together */
    unsigned limit_handshakes;         /* TLS handshakes and PROXY headers to come; over: the oldest is dropped, or who comes waits */
    unsigned http2;                    /* 1: where TLS agrees on it, or the client begins with its preface; 2: nothing else */
    unsigned http2_max_concurrent_streams; /* of one connection; over: REFUSED_STREAM; never 0 */
    unsigned http2_max_applications; /* of one connection, those of ended streams too; over: REFUSED_STREAM */
    unsigned http2_control_rate;       /* frames a second that ask for work and bring nothing; over, for a while: ENHANCE_YOUR_CALM */
    int backlog;
    bool tells_refusals;               /* EVENT_REFUSED is wanted */
};

#endif
