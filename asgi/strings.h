/* strings.h: the str objects that the bridge uses all the time, made once and interned.
 *
 * Owner:   the module's state.
 * Thread:  with the GIL.
 * Limits:  a fixed list.
 */
#ifndef PENEUS_ASGI_STRINGS_H
#define PENEUS_ASGI_STRINGS_H

#include <Python.h>

/* Names whose text is the identifier itself. */
#define STRINGS_PLAIN(S)                                                                                               \
    S(type) S(asgi) S(version) S(spec_version) S(http_version) S(method) S(scheme) S(path) S(raw_path)                 \
    S(query_string) S(root_path) S(headers) S(client) S(server) S(subprotocols) S(extensions) S(body) S(more_body)     \
    S(status) S(text) S(bytes) S(code) S(reason) S(subprotocol) S(http) S(https) S(ws) S(wss) S(websocket) S(loop)     \
    S(context) S(eager_start) S(call_soon) S(call_soon_threadsafe) S(call_exception_handler) S(add_reader)                  \
    S(done) S(cancel) S(cancelled) S(result) S(exception) S(add_done_callback) S(message) S(ok) S(full) S(unknown) S(closed) S(unsent)     \
    S(size) S(time_taken) S(complete) S(tls) S(server_cert) S(client_cert_chain) S(client_cert_name) S(client_cert_error) S(tls_version) S(cipher_suite) S(connecting) S(connected) S(rejected) S(disconnected)                   \
    S(trailers) S(more_trailers) S(links) S(link) S(file) S(offset) S(count) S(tell) S(seek)

/* name, text */
#define STRINGS_OTHER(S)                                                                                               \
    S(state_, "state")                                                                                                 \
    S(too_large, "too-large")                                                                                          \
    S(http_request, "http.request")                                                                                    \
    S(http_disconnect, "http.disconnect")                                                                              \
    S(http_response_start, "http.response.start")                                                                      \
    S(http_response_body, "http.response.body")                                                                        \
    S(http_response_pathsend, "http.response.pathsend")                                                                \
    S(http_response_zerocopysend, "http.response.zerocopysend")                                                        \
    S(http_response_trailers, "http.response.trailers")                                                                \
    S(http_response_early_hint, "http.response.early_hint")                                                            \
    S(websocket_connect, "websocket.connect")                                                                          \
    S(websocket_receive, "websocket.receive")                                                                          \
    S(websocket_disconnect, "websocket.disconnect")                                                                    \
    S(websocket_accept, "websocket.accept")                                                                            \
    S(websocket_send, "websocket.send")                                                                                \
    S(websocket_close, "websocket.close")                                                                              \
    S(denial_extension, "websocket.http.response")                                                                     \
    S(denial_start, "websocket.http.response.start")                                                                   \
    S(denial_body, "websocket.http.response.body")                                                                     \
    S(version_1_0, "1.0")                                                                                              \
    S(version_2, "2")                                                                                                  \
    S(version_1_1, "1.1")                                                                                              \
    S(version_3_0, "3.0")                                                                                              \
    S(version_2_3, "2.3")                                                                                              \
    S(version_2_5, "2.5")                                                                                              \
    S(empty, "")

struct strings {
#define STRING_FIELD_PLAIN(name) PyObject *name;
#define STRING_FIELD_OTHER(name, text) PyObject *name;
    STRINGS_PLAIN(STRING_FIELD_PLAIN)
    STRINGS_OTHER(STRING_FIELD_OTHER)
#undef STRING_FIELD_PLAIN
#undef STRING_FIELD_OTHER
};

/* Makes them all: 0, or -1 with an exception. */
int strings_init(struct strings *strings);

/* Gives them back; those that were never made are NULL. */
void strings_clear(struct strings *strings);

#endif
