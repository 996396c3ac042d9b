/* command.h: what the application's thread asks of the I/O thread.
 *
 * Owner:   created by the application's thread, freed by the I/O thread (or by command_destroy() when never sent).
 * Thread:  moves from any thread to the I/O thread by server_send(); nobody shares it.
 * Limits:  the sender counts command_cost() of what it sends for an exchange, less EVENT_WRITTEN's amounts, and waits
 *          above send_window: the door cannot refuse.
 *
 * A command for an exchange that has ended does nothing: its id finds nobody. Commands of one sender keep their order.
 *
 * A response is (HINT)* RESPOND (BODY or FILE)*, until one of them has no more; where RESPOND said trailers, then TRAILERS.
 */
#ifndef PENEUS_SERVER_COMMAND_H
#define PENEUS_SERVER_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/queue.h"
#include "server/broadcast.h"

enum command_kind {
    COMMAND_RESPOND,  /* response head, and the first of its body: response; in a WebSocket handshake: denial */
    COMMAND_BODY,     /* more of a response's body */
    COMMAND_FILE,     /* the same, out of a file: file */
    COMMAND_TRAILERS, /* the end of a response whose RESPOND said trailers: response's fields are the trailer section */
    COMMAND_HINT,     /* an informational response, with response's status (103) and fields; after RESPOND it does nothing */
    COMMAND_ACCEPT,   /* WebSocket handshake: head with status 101's extra fields; subprotocol is one of them */
    COMMAND_MESSAGE,  /* WebSocket message */
    COMMAND_CLOSE,    /* WebSocket close: code and bytes (the reason); before accept: 403 */
    COMMAND_CONSUMED, /* the application has taken amount (event_cost) bytes out of its inbox; 0: it waits for the body */
    COMMAND_WAITS,    /* the answer to EVENT_ASK: the application has taken every message, and waits for more */
    COMMAND_SPARE,    /* the answer to EVENT_KILL: the application may have amount more milliseconds; then EVENT_KILL comes again */
    COMMAND_FINISHED, /* the application has ended; failed: by an exception, or it was killed */
    COMMAND_KICK,     /* from any thread: close the exchange with code, as DISCONNECT_OVERFLOW */
    COMMAND_BROADCAST, /* from any thread, by server_broadcast(): a WebSocket message, or without message a close, for many exchanges */
    COMMAND_RETIRE,   /* server-wide: stop listening, as others listen on; who has been taken is served as before */
    COMMAND_SHUTDOWN, /* server-wide: stop listening, close WebSockets with code, let requests end; then EVENT_DRAINED */
    COMMAND_STOP,     /* server-wide: close every connection now; then EVENT_STOPPED and the thread ends */
};

/* A header field for the way out: name, then value, in command.bytes. Checked by the sender: no control character, a token for a name. */
struct command_field {
    uint32_t name_length;
    uint32_t value_length;
};

struct command {
    struct queue_item item;
    enum command_kind kind;
    bool kept;               /* whoever it was obeyed by keeps it, to destroy it later */
    uint64_t exchange;
    union {
        struct {
            uint16_t status;
            bool more;            /* the body goes on; COMMAND_BODY uses only this */
            bool trailers;        /* RESPOND: the response does not end with its body, but with TRAILERS, which the client takes */
            uint32_t field_count; /* struct command_field[field_count] at the start of bytes */
            uint32_t head_length; /* bytes of the field array, names and values; the body follows */
        } response; /* RESPOND, BODY, TRAILERS, HINT, ACCEPT */
        struct {
            int fd;          /* a regular file's; the command closes it. Who takes it over sets -1 */
            bool more;       /* the body goes on */
            uint64_t offset;
            uint64_t length; /* more than 0; what the file has beyond is not sent */
        } file; /* FILE */
        bool text;       /* MESSAGE */
        uint16_t code;   /* CLOSE, KICK, SHUTDOWN */
        size_t amount;   /* CONSUMED, SPARE */
        bool failed;     /* FINISHED */
        struct {
            struct broadcast *message; /* counted; NULL: close with code, and bytes as the reason */
            struct broadcast *compressed; /* counted; made by the I/O thread for the first socket that reads it; NULL: not yet, or none */
            bool compressing_failed; /* it was not worth it, or there was no memory: not to be tried again */
            struct broadcast_target *targets; /* mem_free */
            size_t count;
            uint16_t code;
        } broadcast;
    };
    size_t length; /* of bytes */
    unsigned char bytes[];
};

/* A command with room for length bytes; NULL when there is no memory. */
struct command *command_create(enum command_kind kind, uint64_t exchange, size_t length);
void command_destroy(struct command *command); /* NULL is allowed */

/* What a COMMAND_BROADCAST takes of broadcast_backlog. */
size_t command_broadcast_weight(const struct command *command);

/* What a command with length bytes takes of the send window, and EVENT_WRITTEN gives back. Only RESPOND, BODY, FILE, TRAILERS, HINT and
 * MESSAGE cost. */
static inline size_t command_cost(size_t length)
{
    return length + sizeof(struct command);
}

/* The same of this command: a FILE costs what it sends, and for its descriptor at least FILE_LEAST_COST. */
enum { FILE_LEAST_COST = 16 * 1024 };

static inline size_t command_charge(const struct command *command)
{
    if (command->kind != COMMAND_FILE)
        return command_cost(command->length);
    return command_cost(command->file.length > FILE_LEAST_COST ? (size_t)command->file.length : FILE_LEAST_COST);
}

#endif
