/* deflate.h: permessage-deflate (RFC 7692): what a client offers and we answer, and the messages of one WebSocket through zlib. Sans I/O.
 *
 * Owner:   struct deflate: the connection, made when compression was negotiated. struct deflate_pool: the server.
 * Thread:  the I/O thread; the functions that take neither of them: any.
 * Limits:  what comes of a message is given on in pieces of DEFLATE_PIECE bytes, and the taker says when it is too much.
 *          A call inflates at most a budget of bytes, and deflates as many as its caller says. zlib's memory: see below.
 *
 * Memory. Without context takeover, which is what we negotiate unless told otherwise, a message needs nothing of the one before:
 * zlib's state is borrowed from the pool, until the message is complete; a WebSocket between messages holds only this struct. With takeover it has an inflater from its first compressed message
 * on, and a deflater from ours on, which deflate_rest() gives back.
 *
 * One compression for many sockets. A message compressed from an empty window can be read by any peer whose server_max_window_bits is
 * at least what it was compressed with, whatever its own window holds: the message refers to nothing before its own first byte
 * (RFC 7692, 7.2.3.1 and 7.2.3.2). Its bytes do enter the peer's window, where our deflater for that peer does not know them; all its
 * distances would be wrong by the message's length. So after a shared message deflate_forget() empties that deflater's window too:
 * what follows refers to nothing before itself. That holds as well if the shared message is dropped before it is sent.
 */
#ifndef PENEUS_SERVER_DEFLATE_H
#define PENEUS_SERVER_DEFLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/settings.h"

enum {
    DEFLATE_ANSWER_SIZE = 160,   /* with NUL */
    DEFLATE_PIECE = 8 * 1024,
    DEFLATE_LEAST_BITS = 9,      /* zlib cannot compress with 8 */
    DEFLATE_MOST_BITS = 15,
};

/* What both sides agreed on. */
struct deflate_terms {
    bool agreed;
    bool server_takeover;
    bool client_takeover;
    bool tell_server_bits;      /* the client has asked for them */
    bool tell_client_bits;      /* the client has said that it can be told */
    unsigned char server_bits;
    unsigned char client_bits;
};

/* zlib's states that are borrowed; all zero: empty. */
struct deflate_pool {
    struct deflate_stream *deflater;
    struct deflate_stream *inflater;
};

struct deflate;
struct deflating;

/* Reads one value of Sec-WebSocket-Extensions, and takes the first offer of permessage-deflate that we can meet, if terms has none
 * yet and settings want compression. Offers with unknown, repeated or wrong parameters are declined, as is server_max_window_bits=8.
 * 0, or -1: this is no list of extensions (RFC 6455, 9.1: the handshake fails). */
int deflate_offer(const unsigned char *value, size_t length, const struct server_settings *settings, struct deflate_terms *terms);

/* The value of our Sec-WebSocket-Extensions; terms are agreed. */
void deflate_answer(const struct deflate_terms *terms, char answer[DEFLATE_ANSWER_SIZE]);

void deflate_pool_deinit(struct deflate_pool *pool);

/* settings and pool stay the caller's, and outlive it. NULL when there is no memory. */
struct deflate *deflate_create(const struct deflate_terms *terms, const struct server_settings *settings, struct deflate_pool *pool);
void deflate_destroy(struct deflate *deflate); /* NULL is allowed */

/* Takes the next piece of a message; 0, or the code to close with. */
typedef uint16_t deflate_taker(void *context, const unsigned char *bytes, size_t length);

/* Not a code: the budget is used up. */
enum { DEFLATE_AGAIN = 1 };

/* Inflates a piece of a message's payload; last: its last one. *budget: how many bytes may still come out of this call, or a piece more;
 * it gets less. *taken: how many of the piece were used. 0: all of them; DEFLATE_AGAIN: to be called again with the rest, which may be
 * empty, and another budget; or the code to close with: 1007 (no DEFLATE data, or it ends in the middle), 1011 (no memory), or the
 * taker's. After such a code it is not to be called again. */
uint16_t deflate_inflate(struct deflate *deflate, const unsigned char *bytes, size_t length, bool last, size_t *budget, size_t *taken,
                         deflate_taker *take, void *context);

/* A message's payload, compressed, when that is worth it: mem_free() it. NULL: to be sent as it is, being shorter than the threshold,
 * not smaller when compressed, or for want of memory. */
unsigned char *deflate_message(struct deflate *deflate, const unsigned char *bytes, size_t length, size_t *compressed_length);

/* Whether deflate_message() would try it. */
bool deflate_is_worth_trying(const struct deflate *deflate, size_t length);

/* The same in slices. bytes stay the caller's, and deflate too, which does nothing else with messages that go out meanwhile; both
 * outlive it. NULL: to be sent as it is, as above. */
struct deflating *deflating_create(struct deflate *deflate, const unsigned char *bytes, size_t length);

/* The same from an empty window, as deflate_shared(). */
struct deflating *deflating_create_shared(struct deflate_pool *pool, const struct server_settings *settings, const unsigned char *bytes,
                                          size_t length);

enum deflating_result {
    DEFLATING_MORE,   /* it is not complete */
    DEFLATING_DONE,   /* deflating_bytes() */
    DEFLATING_FAILED, /* to be sent as it is */
};

/* Compresses at most slice bytes more. Not to be called again after DEFLATING_DONE and DEFLATING_FAILED. */
enum deflating_result deflating_step(struct deflating *deflating, size_t slice);

/* The payload; its bytes belong to deflating. */
const unsigned char *deflating_bytes(const struct deflating *deflating, size_t *length);

/* At any time; NULL is allowed. Where a complete payload is not sent, deflate_forget() follows. */
void deflating_destroy(struct deflating *deflating);

/* The same as deflate_message(), from an empty window, for many sockets: compressed with bits of the settings. */
unsigned char *deflate_shared(struct deflate_pool *pool, const struct server_settings *settings, const unsigned char *bytes, size_t length,
                              size_t *compressed_length);

/* Do our messages refer to those before them? */
bool deflate_has_takeover(const struct deflate *deflate);

/* Can the peer read what deflate_shared() made? */
bool deflate_reads_shared(const struct deflate *deflate, const struct server_settings *settings);

/* What the deflater has read is not what the peer has: a shared message is on its way, or a compressed one is not. */
void deflate_forget(struct deflate *deflate);

/* The connection is idle: what can be made anew is given back. */
void deflate_rest(struct deflate *deflate);

/* Bytes of zlib's state that it holds itself, for tests and documentation: of what was asked for, not of what malloc made of it. */
size_t deflate_held(const struct deflate *deflate);

#endif
