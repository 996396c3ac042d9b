/* connection.h: one exchange as the application sees it: what has come for it, what it may send, its task.
 *
 * Owner:   Python: the server's table holds it while its application runs, and receive and send while somebody has them.
 * Thread:  the loop's, with the GIL.
 * Limits:  the inbox holds at most receive_window bytes (server/event.h); above send_window send() waits.
 */
#ifndef PENEUS_ASGI_CONNECTION_H
#define PENEUS_ASGI_CONNECTION_H

#include <Python.h>
#include <stdbool.h>
#include <stdint.h>

#include "asgi/server_type.h"
#include "asgi/state.h"
#include "base/list.h"
#include "base/queue.h"
#include "server/command.h"
#include "server/event.h"

/* What the application may send. pyconnection_set_state() is the only one to change it.
 *
 *   HTTP_REQUEST ──start──▶ HTTP_STARTED ──body──▶ HTTP_STREAMING ──last body──▶ HTTP_COMPLETE
 *                                 ├───────────────last body──────────────────────────▲
 *                                 └── … ──last body, where start said trailers──▶ HTTP_TRAILERS ──last trailers──▲
 *   WEBSOCKET_CONNECTING ──accept──▶ WEBSOCKET_OPEN ──close──▶ WEBSOCKET_CLOSED
 *           ├──http.response.start──▶ DENIAL_STARTED ──body──▶ DENIAL_STREAMING ──last body──▶ WEBSOCKET_REJECTED
 *           └──close───────────────────────────────────────────────────────────────────────────────▲
 *   any that waits for the application ──the exchange ends──▶ CONNECTION_GONE
 */
enum pyconnection_state {
    HTTP_REQUEST,         /* waits for http.response.start */
    HTTP_STARTED,         /* its head is held: waits for the first http.response.body */
    HTTP_STREAMING,       /* waits for more http.response.body */
    HTTP_TRAILERS,        /* waits for http.response.trailers */
    HTTP_COMPLETE,        /* waits for the application to end */
    WEBSOCKET_CONNECTING, /* waits for accept, close or websocket.http.response.start */
    WEBSOCKET_OPEN,       /* waits for send and close */
    DENIAL_STARTED,       /* its head is held: waits for the first websocket.http.response.body */
    DENIAL_STREAMING,     /* waits for more of it */
    WEBSOCKET_REJECTED,   /* waits for the application to end */
    WEBSOCKET_CLOSED,     /* the same */
    CONNECTION_GONE,      /* the same: the client has left, or the server has ended the exchange */
    CONNECTION_STATES
};

/* What receive() gives next. */
enum pyconnection_inbound {
    INBOUND_CONNECT,  /* websocket.connect */
    INBOUND_BODY,     /* http.request out of the inbox */
    INBOUND_BODILESS, /* one empty http.request */
    INBOUND_MESSAGES, /* websocket.receive out of the inbox */
    INBOUND_END,      /* the disconnect, when there is one */
};

/* ASGI extensions that a request offers, as bits. */
enum pyconnection_offer {
    OFFER_PATHSEND = 1,
    OFFER_ZEROCOPYSEND = 2,
    OFFER_TRAILERS = 4,
    OFFER_EARLY_HINT = 8,
};

#define PYCONNECTION_NOTHING UINT64_MAX

enum { TOLD_IN_A_ROW = 16 }; /* disconnects that receive() gives in one turn of the loop */

enum pyconnection_life {
    LIFE_NEW,       /* its application is about to be called */
    LIFE_RUNNING,
    LIFE_CANCELLED, /* cancel_applications() cancelled its task; it still counts */
    LIFE_KILLED,    /* its task was cancelled and is no longer waited for */
    LIFE_ENDED,
};

struct pyconnection {
    PyObject_HEAD
    struct pyserver *server;
    uint64_t exchange;
    uint64_t owner;
    enum pyconnection_state state;
    enum pyconnection_inbound inbound;
    enum pyconnection_life life;
    bool websocket;
    bool told;         /* receive() has given the disconnect */
    unsigned told_in_a_row; /* receive() since then, in the turn of the loop with the number */
    uint64_t told_turn;
    bool asked;        /* EVENT_ASK has come, and is to be answered */
    bool awaited_body; /* the I/O thread knows that the body is wanted (100-continue) */

    PyObject *scope;
    PyObject *task;   /* NULL before it is made, or where there was no coroutine */
    /* For the access log, NULL where there is none: what the request had, as the application may change its scope. */
    PyObject *target; /* str */
    PyObject *client; /* scope["client"] */
    PyObject *method; /* str; NULL for a WebSocket too */

    struct queue_chain inbox;  /* of struct event */
    struct event *disconnect;  /* EVENT_DISCONNECT, when it has come */
    uint64_t disconnected_ns;  /* when that was, by clock_ns() */
    uint64_t disconnected_ran; /* and by the server's loop_clock */
    size_t taken;              /* event_cost() taken out of the inbox and not yet returned */
    struct list_node receivers; /* awaitables that wait for the inbox; a reference each */
    struct list_node turn;      /* in the server's turns */

    unsigned offers;           /* enum pyconnection_offer */
    bool takes_trailers;       /* the client does */
    bool trailers;             /* http.response.start said that they follow */
    bool trailers_go_out;      /* and they will */
    struct command *trailer;   /* COMMAND_TRAILERS: those that have come, while more do */
    PyObject *file;            /* str: the name of the last one that was sent, or NULL */
    struct command *head;      /* STARTED: a response head that waits for the first of its body */
    size_t outstanding;        /* command_cost() sent and not yet written */
    struct list_node senders;  /* awaitables that wait for outstanding to fall; a reference each */
    uint16_t status;
    uint64_t sent;             /* bytes of response body */
    int64_t promised;          /* Content-Length of a response that must have such a body, or -1 */
    bool head_only;            /* the method is HEAD */
    double started;            /* time.monotonic() */
};

/* The only one to write state. */
void pyconnection_set_state(struct pyconnection *connection, enum pyconnection_state state);

/* state by name. */
const char *pyconnection_state_name(enum pyconnection_state state);

/* The connection of a request, with its scope; NULL with an exception. */
struct pyconnection *pyconnection_new(struct pyserver *server, const struct request_event *request);

/* Its application still counts: it will run or runs, and nobody has killed it. */
static inline bool pyconnection_running(const struct pyconnection *connection)
{
    return connection->life <= LIFE_CANCELLED;
}

/* Something has come for connection: when the batch of events is through, it has its turn, once. */
void pyconnection_queue_turn(struct pyconnection *connection);

/* Calls its application, or goes on with it where it waits. The caller is a callback of the loop; no task is running.
 * 0, or -1 with a KeyboardInterrupt or SystemExit. */
int pyconnection_take_turn(struct pyconnection *connection);

/* Takes event (BODY or MESSAGE) into the inbox. */
void pyconnection_arrived(struct pyconnection *connection, struct event *event);

/* EVENT_ASK: answered now, or when receive() has nothing to give. */
void pyconnection_asked(struct pyconnection *connection);
void pyconnection_answer(struct pyconnection *connection);

/* The exchange has ended: disconnect is set. */
void pyconnection_disconnected(struct pyconnection *connection);

/* The server drains, and the application streams a response that has no known end: receive() gives the disconnect, behind the whole
 * request. What it sends nevertheless goes to the client, who is still there. */
bool pyconnection_is_cut_short(const struct pyconnection *connection);

/* After a send(), which may have raised, and when draining begins: where the response is complete or cut short, those that wait in
 * receive() get the disconnect soon.
 * 0, or -1 with an exception, the one that was set or a KeyboardInterrupt or SystemExit. */
int pyconnection_answered(struct pyconnection *connection);

/* Nanoseconds that the loop has stood still since the disconnect came; 0 before. */
uint64_t pyconnection_stood_still(const struct pyconnection *connection);

/* Credit for send(). */
void pyconnection_written(struct pyconnection *connection, size_t amount);

/* The application no longer counts: frees the inbox and a held head, ends its owner, tells the I/O thread (FINISHED).
 * life is what it becomes. */
void pyconnection_finish(struct pyconnection *connection, enum pyconnection_life life, bool failed);

/* Hands command over; it costs what command_cost() says when counted. Takes command. It may run any code (the loop's call_soon):
 * connection's state is changed before. */
void pyconnection_command(struct pyconnection *connection, struct command *command, bool counted);

/* What receive() returns, as a new reference; for send() see sending.h. */
PyObject *pyconnection_receive(PyObject *connection, PyObject *ignored);

/* Does what message, which may be anything, asks for: 0, or -1 with an exception. */
int pyconnection_send_event(struct pyconnection *connection, PyObject *message);

/* No more is unwritten than the window, or nobody waits for it any more. */
bool pyconnection_may_send(const struct pyconnection *connection);

/* Sets the OSError that send() raises after the client has left. */
void pyconnection_raise_gone(const struct pyconnection *connection);

/* For send(), between the last that can run the application's code and the first change: whether connection's state still is state, the
 * one in which the event was allowed. 0, or -1 with an exception. */
int pyconnection_check_state(const struct pyconnection *connection, enum pyconnection_state state);

/* receive() for each protocol: 1 with *result, 0 when there is nothing yet, -1 with an exception. */
int http_take(struct pyconnection *connection, PyObject **result);
int websocket_take(struct pyconnection *connection, PyObject **result);

/* clock_ns() at which what receive() would give now was made; 0: at once; PYCONNECTION_NOTHING: it would wait. */
uint64_t pyconnection_next_at(const struct pyconnection *connection);

/* http_take() or websocket_take(). */
int pyconnection_take_event(struct pyconnection *connection, PyObject **result);

/* Takes the first event out of the inbox, or NULL; the caller destroys it. Returns its window in time. */
struct event *pyconnection_take(struct pyconnection *connection);

/* Tells the I/O thread that the application has taken what it has. */
void pyconnection_consumed(struct pyconnection *connection);

/* Id of the owner of the connection whose application runs in this context; 0 where there is none. -1 with an exception. */
int pyconnection_current_owner(struct state *state, uint64_t *owner);

extern PyType_Spec pyconnection_spec;

#endif
