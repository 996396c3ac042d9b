/* transport.h: bytes to and from one stream socket, with or without TLS between.
 *
 * Owner:   the connection embeds it.
 * Thread:  the I/O thread.
 * Limits:  what waits to be written is counted (transport_unwritten); the exchange's send window bounds it.
 *
 * Writing is corked: transport_out() gives a buffer, transport_flush() writes what is in it, in one system call where the
 * socket takes it. With TLS, bytes are encrypted only when the socket may take them, TLS_BATCH at a time: what waits is plain, and
 * can be dropped.
 *
 * A file goes behind all that, by sendfile() without TLS, and is read TLS_BATCH at a time with it. After FILE_TURN bytes the loop has its turn.
 */
#ifndef PENEUS_SERVER_TRANSPORT_H
#define PENEUS_SERVER_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "server/file_part.h"
#include "server/outbox.h"

struct command;
struct tls;
struct tls_info;

/* How a TLS handshake went. */
enum transport_handshake {
    TRANSPORT_SECURE,     /* bytes go both ways */
    TRANSPORT_PLAIN_HTTP, /* an HTTP request without TLS has come: what is written from now on is sent without TLS */
    TRANSPORT_REFUSED,    /* it failed: an alert is on its way, on_read's bytes mean nothing, nothing else can be written */
};

/* How the file of transport_file() fared. */
enum transport_file {
    TRANSPORT_FILE_SENT, /* all of it is with the kernel, or next to go */
    TRANSPORT_FILE_CUT,  /* it has become shorter meanwhile, or cannot be read: the rest does not come */
};

struct transport_callbacks {
    void (*on_read)(void *context, const unsigned char *bytes, size_t length);
    void (*on_end)(void *context, bool clean); /* clean, once: EOF; the peer may still take what is written. Otherwise, once: an error of
                                                * read or write: nothing comes any more, nothing is written. */
    void (*on_written)(void *context);         /* transport_unwritten() has become less */
    void (*on_handshake)(void *context, enum transport_handshake how); /* after transport_secure(), at most once; then on_read */
    void (*on_file)(void *context, enum transport_file how, uint64_t left); /* once after transport_file(), by a flush, unless on_end comes first */
};

/* A read buffer shared by all transports of a loop: on_read's bytes live in it. With TLS its second half has what is decrypted. */
enum { TRANSPORT_READ_SIZE = 64 * 1024, TRANSPORT_BUFFER_SIZE = 2 * TRANSPORT_READ_SIZE };

/* Plain bytes that are encrypted at once. */
enum { TLS_BATCH = 32 * 1024 };

/* Bytes of a file that are sent at once, even where the socket takes more. */
enum { FILE_TURN = 1024 * 1024 };

struct transport {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    };
    const struct transport_callbacks *callbacks;
    void *context;
    void (*carry)(void *context);  /* NULL: it has a socket. Otherwise another transport carries it: what waits, and that it is finishing,
                                    * is taken when there is room (transport_carried) */
    unsigned char *read_buffer;    /* TRANSPORT_BUFFER_SIZE */
    struct tls *tls;               /* NULL: none */
    struct outbox out;             /* corked; its bytes are freed whenever all is written: an idle connection holds none */
    struct buffer writing;         /* given to libuv; its request is allocated only then */
    struct broadcast *broadcast;   /* the same, where a frame was given: counted */
    struct file_part file;         /* goes behind out; nothing may be appended to that until on_file */
    bool file_cut;                 /* the file has failed: on_file is to be told */
    uint64_t given;                /* bytes for the kernel so far: written, or given to libuv */
    bool write_pending;
    bool reading;
    bool input_ended;       /* on_end has been called */
    bool ended;             /* and for an error: nothing is written */
    bool finishing;         /* the write side is shut down when all is written */
};

/* handle has been initialised (uv_tcp_init, uv_pipe_init) and accepted; its data becomes the transport. */
void transport_init(struct transport *transport, unsigned char *read_buffer, const struct transport_callbacks *callbacks,
                    void *context);

/* One without a socket, whose bytes carry takes; what comes in goes to callbacks->on_read. */
void transport_init_carried(struct transport *transport, void (*carry)(void *context), const struct transport_callbacks *callbacks,
                            void *context);

/* Its outbox is about to be taken: where that is empty, some of the file goes into it. */
void transport_load(struct transport *transport);

/* length bytes of its outbox have been taken. */
void transport_carried(struct transport *transport, size_t length);

/* Frees the buffers, after the handle's close callback. */
void transport_deinit(struct transport *transport);

/* From the next byte on the peer speaks TLS; takes tls over. Before anything was written; bytes that have been read already, and
 * belong to TLS, go to transport_input(). */
void transport_secure(struct transport *transport, struct tls *tls);

/* Bytes as from the socket: to TLS, or to on_read. */
void transport_input(struct transport *transport, const unsigned char *bytes, size_t length);

/* What was agreed; NULL: no TLS, or its handshake is not over. */
struct tls_info *transport_tls_info(const struct transport *transport);

/* Whether TLS agreed (ALPN) on protocol. */
bool transport_speaks(const struct transport *transport, const char *protocol);

/* With TLS, says goodbye as far as the socket takes it at once: the peer knows that nothing was cut off. */
void transport_say_goodbye(struct transport *transport);

void transport_read(struct transport *transport, bool on);

/* Where to write; then transport_flush() before the loop waits. */
static inline struct buffer *transport_out(struct transport *transport)
{
    return &transport->out.own;
}

/* Appends the pieces, or writes them without a copy when they are large. 0, or -1 when there is no memory. */
int transport_write(struct transport *transport, const uv_buf_t *pieces, unsigned count);

/* Puts the file of a COMMAND_FILE behind what is corked, and takes it over. There is no other; nothing may be written before on_file. */
void transport_file(struct transport *transport, struct command *command);

static inline bool transport_has_file(const struct transport *transport)
{
    return transport->file.fd >= 0;
}

/* Puts a broadcast behind what is corked, by reference (outbox_offer). */
static inline enum outbox_result transport_broadcast(struct transport *transport, struct broadcast *broadcast, uint64_t label,
                                                     size_t limit)
{
    return outbox_offer(&transport->out, broadcast, label, limit);
}

/* outbox_clear() */
static inline void transport_drop_broadcasts(struct transport *transport)
{
    outbox_clear(&transport->out);
}

/* Writes what the socket takes; the rest follows by itself. */
void transport_flush(struct transport *transport);

/* Bytes that have not reached the kernel: all, and those that are no broadcast's. */
size_t transport_unwritten(const struct transport *transport);
size_t transport_unwritten_own(const struct transport *transport);

/* The same without a file, and with what TLS has made of them: what they take of our memory. */
size_t transport_unsent(const struct transport *transport);

/* Bytes that have reached the peer's kernel so far. */
uint64_t transport_delivered(const struct transport *transport);

/* Closing from now on is a reset: what waits in the kernel is thrown away. */
void transport_abandon(const struct transport *transport);

/* Closes the socket, at once, and the handle. Not for one that is carried. */
void transport_close(struct transport *transport, uv_close_cb on_closed);

/* How the peer has left, also while reading is off and its last bytes wait in the kernel. */
enum transport_peer {
    TRANSPORT_PEER_THERE,
    TRANSPORT_PEER_ENDED, /* it sends nothing more; what it has sent can still be read */
    TRANSPORT_PEER_GONE,  /* reset: nothing can be read or written any more */
};

enum transport_peer transport_peer(const struct transport *transport);

/* When all is written, shuts the write side down: the peer reads EOF. */
void transport_finish(struct transport *transport);

#endif
