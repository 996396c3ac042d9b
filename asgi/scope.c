#include "asgi/scope.h"

#include <string.h>

#include "asgi/dict.h"
#include "asgi/connection.h"
#include "asgi/forwarded_scope.h"
#include "asgi/tls_scope.h"

static const unsigned char *bytes_of(const struct request_event *request, struct piece piece)
{
    return request->event.bytes + piece.offset;
}

/* The path and the query of a target: "/path?query", or the absolute form "http://host/path?query". */
static void split_target(const unsigned char *target, size_t length, struct piece *path, struct piece *query)
{
    size_t begin = 0;
    if (length > 0 && target[0] != '/' && target[0] != '*') {
        const unsigned char *authority = memmem(target, length, "://", 3);
        if (authority != NULL) {
            begin = (size_t)(authority - target) + 3;
            while (begin < length && target[begin] != '/' && target[begin] != '?')
                begin++;
        }
    }
    const unsigned char *mark = memchr(target + begin, '?', length - begin);
    size_t end = mark == NULL ? length : (size_t)(mark - target);
    *path = (struct piece){ .offset = (uint32_t)begin, .length = (uint32_t)(end - begin) };
    *query = mark == NULL ? (struct piece){ .offset = (uint32_t)length, .length = 0 }
                          : (struct piece){ .offset = (uint32_t)(end + 1), .length = (uint32_t)(length - end - 1) };
}

static int set_target(PyObject *scope, struct state *state, const struct request_event *request)
{
    const struct strings *s = &state->strings;
    const unsigned char *target = bytes_of(request, request->target);
    struct piece path_piece, query_piece;
    split_target(target, request->target.length, &path_piece, &query_piece);
    const unsigned char *raw = path_piece.length == 0 ? (const unsigned char *)"/" : target + path_piece.offset;
    size_t raw_length = path_piece.length == 0 ? 1 : path_piece.length;
    PyObject *raw_path, *path;
    if (caches_path(&state->caches, raw, raw_length, &raw_path, &path) < 0)
        return -1;
    int first = dict_set_steal(scope, s->path, path);
    int second = dict_set_steal(scope, s->raw_path, raw_path);
    PyObject *query = query_piece.length == 0 ? Py_NewRef(state->empty_bytes)
                                              : PyBytes_FromStringAndSize((const char *)target + query_piece.offset,
                                                                          query_piece.length);
    int third = dict_set_steal(scope, s->query_string, query);
    return first < 0 || second < 0 || third < 0 ? -1 : 0;
}

static PyObject *make_headers(struct state *state, const struct request_event *request)
{
    PyObject *headers = PyList_New(request->field_count);
    for (uint32_t i = 0; headers != NULL && i < request->field_count; i++) {
        const struct field *field = &request->fields[i];
        PyObject *pair = caches_field(&state->caches, bytes_of(request, field->name), field->name.length,
                                      bytes_of(request, field->value), field->value.length);
        if (pair == NULL)
            Py_CLEAR(headers);
        else
            PyList_SET_ITEM(headers, i, pair);
    }
    return headers;
}

static int add_subprotocols(PyObject *list, const char *value, size_t length)
{
    const char *end = value + length;
    while (value < end) {
        const char *comma = memchr(value, ',', (size_t)(end - value));
        const char *last = comma == NULL ? end : comma;
        const char *next = comma == NULL ? end : comma + 1;
        while (value < last && (*value == ' ' || *value == '\t'))
            value++;
        while (last > value && (last[-1] == ' ' || last[-1] == '\t'))
            last--;
        if (last > value) {
            PyObject *name = PyUnicode_DecodeLatin1(value, last - value, NULL);
            int result = name == NULL ? -1 : PyList_Append(list, name);
            Py_XDECREF(name);
            if (result < 0)
                return -1;
        }
        value = next;
    }
    return 0;
}

static PyObject *make_subprotocols(const struct request_event *request)
{
    static const char name[] = "sec-websocket-protocol";
    PyObject *list = PyList_New(0);
    for (uint32_t i = 0; list != NULL && i < request->field_count; i++) {
        const struct field *field = &request->fields[i];
        if (field->name.length != sizeof name - 1 ||
            memcmp(bytes_of(request, field->name), name, sizeof name - 1) != 0)
            continue;
        if (add_subprotocols(list, (const char *)bytes_of(request, field->value), field->value.length) < 0)
            Py_CLEAR(list);
    }
    return list;
}

static int set_websocket(PyObject *scope, const struct pyserver *server, const struct request_event *request)
{
    const struct strings *s = &server->state->strings;
    if (dict_set_steal(scope, s->subprotocols, make_subprotocols(request)) < 0)
        return -1;
    PyObject *extensions = PyDict_New();
    if (extensions == NULL || dict_set_steal(extensions, s->denial_extension, PyDict_New()) < 0) {
        Py_XDECREF(extensions);
        return -1;
    }
    return dict_set_steal(scope, s->extensions, extensions);
}

/* HTTP/1.0 has neither chunks, with trailers behind them, nor informational responses. */
unsigned scope_offers(const struct pyserver *server, const struct request_event *request)
{
    if (request->websocket)
        return 0;
    unsigned files = server->offers_files ? OFFER_PATHSEND | OFFER_ZEROCOPYSEND : 0;
    return request->http_major == 1 && request->http_minor == 0 ? files : files | OFFER_TRAILERS | OFFER_EARLY_HINT;
}

static int set_offers(PyObject *scope, const struct strings *s, unsigned offers)
{
    const struct {
        unsigned offer;
        PyObject *name;
    } all[] = {
        {OFFER_PATHSEND, s->http_response_pathsend},
        {OFFER_ZEROCOPYSEND, s->http_response_zerocopysend},
        {OFFER_TRAILERS, s->http_response_trailers},
        {OFFER_EARLY_HINT, s->http_response_early_hint},
    };
    PyObject *extensions = PyDict_New();
    for (size_t i = 0; extensions != NULL && i < sizeof all / sizeof all[0]; i++) {
        if ((offers & all[i].offer) && dict_set_steal(extensions, all[i].name, PyDict_New()) < 0)
            Py_CLEAR(extensions);
    }
    return dict_set_steal(scope, s->extensions, extensions);
}

/* Beside 1.1, which the prototype says. */
static int set_version(PyObject *scope, const struct strings *s, const struct request_event *request)
{
    if (request->http_major == 1 && request->http_minor != 0)
        return 0;
    return PyDict_SetItem(scope, s->http_version, request->http_major == 1 ? s->version_1_0 : s->version_2);
}

static int set_http(PyObject *scope, const struct pyserver *server, const struct request_event *request)
{
    struct state *state = server->state;
    const struct strings *s = &state->strings;
    if (set_offers(scope, s, scope_offers(server, request)) < 0)
        return -1;
    PyObject *method =
        caches_method(&state->caches, bytes_of(request, request->method), request->method.length);
    return dict_set_steal(scope, s->method, method);
}

/* Beside the extensions that the protocol has. */
static int set_tls(PyObject *scope, const struct strings *s, const struct tls_info *info)
{
    PyObject *extensions = PyDict_GetItemWithError(scope, s->extensions);
    return extensions == NULL ? -1 : dict_set_steal(extensions, s->tls, tls_scope(s, info));
}

static int set_peer(PyObject *scope, struct pyserver *server, const struct request_event *request)
{
    const struct strings *s = &server->state->strings;
    const struct peer *peer = peers_get(&server->peers, request->connection, &request->endpoints);
    return peer == NULL || PyDict_SetItem(scope, s->client, peer->client) < 0 ||
                   PyDict_SetItem(scope, s->server, peer->server) < 0
               ? -1
               : 0;
}

static int fill(PyObject *scope, struct pyserver *server, const struct request_event *request)
{
    struct state *state = server->state;
    const struct strings *s = &state->strings;
    if ((request->secure || request->endpoints.secure) &&
        PyDict_SetItem(scope, s->scheme, request->websocket ? s->wss : s->https) < 0)
        return -1;
    PyObject *asgi = request->websocket ? state->websocket_asgi : state->http_asgi;
    if (dict_set_steal(scope, s->asgi, PyDict_Copy(asgi)) < 0 || set_target(scope, state, request) < 0 ||
        dict_set_steal(scope, s->headers, make_headers(state, request)) < 0 || set_peer(scope, server, request) < 0)
        return -1;
    if (set_version(scope, s, request) < 0 || (request->websocket ? set_websocket : set_http)(scope, server, request) < 0)
        return -1;
    if (request->tls != NULL && set_tls(scope, s, request->tls) < 0)
        return -1;
    if (server->lifespan_state != NULL && dict_set_steal(scope, s->state_, PyDict_Copy(server->lifespan_state)) < 0)
        return -1;
    if (forwarded_scope(scope, server, request) < 0)
        return -1;
    if (server->prepare_scope == NULL)
        return 0;
    PyObject *done = PyObject_CallOneArg(server->prepare_scope, scope);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

PyObject *scope_prototype(const struct pyserver *server, PyObject *root_path, bool websocket)
{
    const struct strings *s = &server->state->strings;
    PyObject *const constant[][2] = {
        {s->type, websocket ? s->websocket : s->http},
        {s->asgi, Py_None},
        {s->http_version, s->version_1_1},
        {s->scheme, websocket ? s->ws : s->http},
        {websocket ? s->subprotocols : s->method, Py_None},
        {s->path, Py_None},
        {s->raw_path, Py_None},
        {s->query_string, Py_None},
        {s->root_path, root_path},
        {s->headers, Py_None},
        {s->client, Py_None},
        {s->server, Py_None},
        {s->extensions, Py_None},
    };
    PyObject *scope = PyDict_New();
    for (size_t i = 0; scope != NULL && i < sizeof constant / sizeof constant[0]; i++) {
        if (PyDict_SetItem(scope, constant[i][0], constant[i][1]) < 0)
            Py_CLEAR(scope);
    }
    if (scope != NULL && server->lifespan_state != NULL && PyDict_SetItem(scope, s->state_, Py_None) < 0)
        Py_CLEAR(scope);
    return scope;
}

PyObject *scope_new(struct pyserver *server, const struct request_event *request)
{
    PyObject *scope = PyDict_Copy(request->websocket ? server->websocket_scope : server->http_scope);
    if (scope != NULL && fill(scope, server, request) < 0)
        Py_CLEAR(scope);
    return scope;
}
