#include "asgi/settings_in.h"

#include <limits.h>
#include <stddef.h>

enum field_type { FIELD_SIZE, FIELD_MILLISECONDS, FIELD_UNSIGNED, FIELD_INT };

struct setting {
    const char *name;
    enum field_type type;
    size_t offset;
    int minimum;
};

#define SETTING(name, type, minimum) { #name, type, offsetof(struct server_settings, name), minimum }

static const struct setting table[] = {
    SETTING(max_target_size, FIELD_SIZE, 0),
    SETTING(max_header_size, FIELD_SIZE, 0),
    SETTING(max_header_count, FIELD_SIZE, 0),
    SETTING(max_body_size, FIELD_SIZE, 0),
    SETTING(tls_handshake_timeout_ms, FIELD_MILLISECONDS, 0),
    SETTING(body_timeout_ms, FIELD_MILLISECONDS, 0),
    SETTING(send_timeout_ms, FIELD_MILLISECONDS, 0),
    SETTING(min_rate, FIELD_SIZE, 0),
    SETTING(header_timeout_ms, FIELD_MILLISECONDS, 0),
    SETTING(keep_alive_timeout_ms, FIELD_MILLISECONDS, 0),
    SETTING(http_timeout_ms, FIELD_MILLISECONDS, 0),
    SETTING(websocket_connect_timeout_ms, FIELD_MILLISECONDS, 0),
    SETTING(websocket_timeout_ms, FIELD_MILLISECONDS, 0),
    SETTING(ping_interval_ms, FIELD_MILLISECONDS, 0),
    SETTING(ping_timeout_ms, FIELD_MILLISECONDS, 0),
    SETTING(close_timeout_ms, FIELD_MILLISECONDS, 1),
    SETTING(websocket_max_message_size, FIELD_SIZE, 0),
    SETTING(websocket_max_frame_size, FIELD_SIZE, 0),
    SETTING(websocket_deflate, FIELD_UNSIGNED, 0),
    SETTING(websocket_deflate_takeover, FIELD_UNSIGNED, 0),
    SETTING(websocket_deflate_window_bits, FIELD_UNSIGNED, 9),
    SETTING(websocket_deflate_memory_level, FIELD_UNSIGNED, 1),
    SETTING(websocket_deflate_threshold, FIELD_SIZE, 0),
    SETTING(application_close_timeout_ms, FIELD_MILLISECONDS, 0),
    SETTING(receive_window, FIELD_SIZE, 1),
    SETTING(head_window, FIELD_SIZE, 1),
    SETTING(head_backlog, FIELD_SIZE, 1),
    SETTING(send_window, FIELD_SIZE, 1),
    SETTING(unsent_window, FIELD_SIZE, 0),
    SETTING(unsent_backlog, FIELD_SIZE, 0),
    SETTING(body_chunk, FIELD_SIZE, 1),
    SETTING(websocket_write_limit, FIELD_SIZE, 0),
    SETTING(broadcast_backlog, FIELD_SIZE, 1),
    SETTING(max_connections, FIELD_UNSIGNED, 0),
    SETTING(limit_connections, FIELD_UNSIGNED, 0),
    SETTING(limit_connections_per_address, FIELD_UNSIGNED, 0),
    SETTING(limit_handshakes, FIELD_UNSIGNED, 0),
    SETTING(proxy_protocol, FIELD_UNSIGNED, 0),
    SETTING(http2, FIELD_UNSIGNED, 0),
    SETTING(http2_max_concurrent_streams, FIELD_UNSIGNED, 1),
    SETTING(http2_max_applications, FIELD_UNSIGNED, 0),
    SETTING(http2_control_rate, FIELD_UNSIGNED, 0),
    SETTING(backlog, FIELD_INT, 0),
};

/* Strings or None; the mapping keeps them. */
static const struct {
    const char *name;
    size_t offset;
} texts[] = {
    {"server_name", offsetof(struct server_settings, server_name)},
    {"trusted_proxies", offsetof(struct server_settings, trusted_proxies)},
    {"forwarded_standard", offsetof(struct server_settings, forwarded_standard)},
    {"forwarded_address", offsetof(struct server_settings, forwarded_address)},
    {"forwarded_port", offsetof(struct server_settings, forwarded_port)},
    {"forwarded_proto", offsetof(struct server_settings, forwarded_proto)},
    {"forwarded_host", offsetof(struct server_settings, forwarded_host)},
};

static int store(const struct setting *setting, PyObject *number, struct server_settings *settings)
{
    int overflow;
    long long value = PyLong_AsLongLongAndOverflow(number, &overflow);
    if (value == -1 && PyErr_Occurred())
        return -1;
    long long most = setting->type == FIELD_UNSIGNED ? UINT_MAX : setting->type == FIELD_INT ? INT_MAX : LLONG_MAX;
    if (overflow != 0 || value < setting->minimum || value > most) {
        PyErr_Format(PyExc_ValueError, "the setting %s must be a number from %d to %lld, not %R", setting->name,
                     setting->minimum, most, number);
        return -1;
    }
    char *field = (char *)settings + setting->offset;
    switch (setting->type) {
    case FIELD_SIZE:
        *(size_t *)(void *)field = (size_t)value;
        break;
    case FIELD_MILLISECONDS:
        *(uint64_t *)(void *)field = (uint64_t)value;
        break;
    case FIELD_UNSIGNED:
        *(unsigned *)(void *)field = (unsigned)value;
        break;
    case FIELD_INT:
        *(int *)(void *)field = (int)value;
        break;
    }
    return 0;
}

static int read_text(PyObject *mapping, const char *name, const char **field)
{
    PyObject *text = PyMapping_GetItemString(mapping, name);
    if (text == NULL)
        return -1;
    *field = text != Py_None ? PyUnicode_AsUTF8(text) : NULL;
    int result = text != Py_None && *field == NULL ? -1 : 0;
    Py_DECREF(text); /* the mapping has it */
    return result;
}

int settings_read(PyObject *mapping, struct server_settings *settings)
{
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        PyObject *number = PyMapping_GetItemString(mapping, table[i].name);
        if (number == NULL)
            return -1;
        int result = store(&table[i], number, settings);
        Py_DECREF(number);
        if (result < 0)
            return -1;
    }
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (read_text(mapping, texts[i].name, (const char **)(void *)((char *)settings + texts[i].offset)) < 0)
            return -1;
    return 0;
}
