/* redis_config.h: where the Redis servers of a layer are, and how its messages lie on them.
 *
 * Owner:   counted. asgi/bus_settings fills one; afterwards nobody writes to it, and every bus and link of the layer reads it.
 * Thread:  any, once it is filled.
 * Limits:  none; strings are NUL-terminated and lie in the settings' own memory.
 */
#ifndef PENEUS_CHANNELLAYER_BUS_REDIS_CONFIG_H
#define PENEUS_CHANNELLAYER_BUS_REDIS_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "channellayer/layer.h"

enum redis_verify { REDIS_VERIFY_REQUIRED, REDIS_VERIFY_OPTIONAL, REDIS_VERIFY_NONE };

/* Strings that may be NULL: not set. ca_*: what the server's certificate is checked against; none: the system's. */
struct redis_tls {
    const char *ca_file;
    const char *ca_path;
    const char *ca_data;
    const char *cert_file;
    const char *key_file;
    const char *key_password;
    enum redis_verify verify; /* OPTIONAL: a client always gets a certificate, so as REQUIRED */
    bool check_hostname;
};

struct redis_address {
    const char *host; /* name or number; NULL: path */
    int port;
    const char *path; /* of a Unix socket; NULL: host and port */
};

enum redis_kind {
    REDIS_SINGLE,   /* addresses: of one server; several are tried in turn */
    REDIS_SENTINEL, /* addresses: the Sentinels'; master: what they call it */
    REDIS_CLUSTER,  /* addresses: of any of its nodes */
};

struct redis_host {
    enum redis_kind kind;
    const char *label; /* for people; without the password */
    struct redis_address *addresses;
    size_t address_count; /* at least 1 */
    const char *master;
    bool any_role; /* a replica will do */
    int db;
    const char *username; /* NULL: none */
    const char *password; /* NULL: none */
    int protocol;         /* RESP: 2, 3, or 0 for the best that the server has */
    uint64_t connect_timeout_ms; /* address lookup, connection, TLS and greeting, each; 0: a default */
    const struct redis_tls *tls; /* NULL: without */
    const char *sentinel_username;
    const char *sentinel_password;
    const struct redis_tls *sentinel_tls;
};

enum { REDIS_KEY_BYTES = 32 };

struct redis_settings {
    struct name prefix;
    bool json;                /* messages are JSON; otherwise MessagePack */
    size_t buffer_limit;      /* bytes of messages that wait to be sent */
    uint64_t buffer_time_ms;  /* and how long they do */
    const unsigned char (*keys)[REDIS_KEY_BYTES]; /* Fernet; the first encrypts */
    size_t key_count;         /* 0: not encrypted */
    struct name on_disconnect; /* encoded messages for layer_put_all(); empty: none */
    struct name on_reconnect;
    struct redis_host *hosts; /* one for each shard */
    size_t host_count;        /* at least 1 */
    /* redis-core alone. */
    struct name client;       /* of this process's channels */
    uint64_t expiry_ms;
    uint64_t group_expiry_ms;
    size_t capacity;
    unsigned random_prefix_length;
    const struct redis_capacity *capacities; /* the first that matches counts */
    size_t capacity_count;
};

struct redis_capacity {
    const char *glob;
    size_t capacity;
};

/* Zeroed, with one reference; NULL when there is no memory. */
struct redis_settings *redis_settings_create(void);
struct redis_settings *redis_settings_retain(struct redis_settings *settings);
void redis_settings_release(struct redis_settings *settings); /* NULL is allowed */

/* size zeroed bytes that live as long as settings; NULL when there is no memory. While it is being filled, by one thread. */
void *redis_settings_alloc(struct redis_settings *settings, size_t size);

/* A NUL-terminated copy of text, as above. */
char *redis_settings_text(struct redis_settings *settings, const char *text, size_t length);

/* The shard of name among count, as channels_redis chooses it: pubsub asks with a topic, core with a group's bare name. */
size_t redis_shard(struct name name, size_t count);

#endif
