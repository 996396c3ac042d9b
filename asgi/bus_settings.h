/* bus_settings.h: the bus of a channel layer, out of the dict that python/peneus/bus_config.py makes.
 *
 * Owner:   the caller, from bus_settings_read() to bus_settings_deinit(); a bus counts or copies what it keeps.
 * Thread:  with the GIL.
 * Limits:  none; bus_config.py and redis_hosts.py check what people write. What is wrong here is named by its key.
 *
 * All kinds:  kind, prefix, json, buffer_limit (bytes), buffer_time_ms.
 * "hub": hub (path), client.
 * "redis", "redis-core": keys [32 bytes, …], client, expiry_ms, group_expiry_ms, capacity, capacities [(glob, capacity), …],
 *   random_prefix_length, on_disconnect and on_reconnect (encoded messages, or None), hosts [one dict for each shard:
 *   kind ("single", "sentinel" or "cluster"), label, addresses [(host, port) or path, …], master, db, username, password,
 *   protocol (0: the best), connect_timeout_ms, tls, sentinel_username, sentinel_password, sentinel_tls].
 * A tls is None, or {ca_file, ca_path, ca_data, cert_file, key_file, key_password, verify ("required", "optional" or
 *   "none"), check_hostname}.
 */
#ifndef PENEUS_ASGI_BUS_SETTINGS_H
#define PENEUS_ASGI_BUS_SETTINGS_H

#include <Python.h>
#include <stdbool.h>

#include "channellayer/layer.h"

struct bus_settings {
    struct bus *(*create)(struct layer *layer, const void *settings); /* NULL: the local bus */
    void *settings;                    /* for create */
    void (*release)(void *settings);
    bool json;
    struct name local_prefix;          /* as in struct layer_config; as long as these settings */
    PyObject *dict;                    /* a copy of what they were read from: no code that runs meanwhile can change it */
};

/* bus: a dict, or None: the local bus. 0, or -1 with an exception; *result needs no bus_settings_deinit() then. */
int bus_settings_read(PyObject *bus, struct bus_settings *result);
void bus_settings_deinit(struct bus_settings *settings);

#endif
