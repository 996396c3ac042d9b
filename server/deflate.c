#include "server/deflate.h"

#include <assert.h>
#include <limits.h>
#include <string.h>
#define ZLIB_CONST
#include <zlib.h>

#include "base/alloc.h"

/* What a sender cuts off the end of each message, and a receiver puts back (RFC 7692, 7.2.1 and 7.2.2). */
static const unsigned char tail[4] = { 0x00, 0x00, 0xff, 0xff };

struct deflate_stream {
    z_stream z;
    size_t held;
    unsigned char bits;
};

struct deflate {
    const struct server_settings *settings;
    struct deflate_pool *pool;
    struct deflate_terms terms;
    bool begun;                      /* a byte of the present message's payload has come */
    bool again;                      /* the inflater has more to give of what it has taken */
    bool fresh;                      /* the deflater's window is empty */
    bool used;                       /* the deflater was, since deflate_rest() */
    bool lent;                       /* to a struct deflating */
    struct deflate_stream *deflater; /* with takeover only */
    struct deflate_stream *inflater; /* without takeover: while a message has come in part */
};

/* Each block knows its size, for deflate_held(). */
union block {
    size_t size;
    max_align_t align;
};

static void *allocate(void *context, unsigned items, unsigned size)
{
    struct deflate_stream *stream = context;
    size_t length = (size_t)items * size;
    union block *block = mem_try_alloc(sizeof *block + length);
    if (block == NULL)
        return NULL;
    block->size = length;
    stream->held += length;
    return memset(block + 1, 0, length); /* zlib looks at what it has not written, and then does not use it */
}

static void release(void *context, void *bytes)
{
    struct deflate_stream *stream = context;
    union block *block = (union block *)bytes - 1;
    stream->held -= block->size;
    mem_free(block);
}

static struct deflate_stream *make_stream(unsigned char bits)
{
    struct deflate_stream *stream = mem_try_alloc(sizeof *stream);
    if (stream != NULL)
        *stream = (struct deflate_stream){ .z = { .zalloc = allocate, .zfree = release, .opaque = stream }, .bits = bits };
    return stream;
}

static struct deflate_stream *make_deflater(const struct server_settings *settings, unsigned char bits)
{
    struct deflate_stream *stream = make_stream(bits);
    if (stream == NULL)
        return NULL;
    if (deflateInit2(&stream->z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -bits, (int)settings->websocket_deflate_memory_level,
                     Z_DEFAULT_STRATEGY) == Z_OK)
        return stream;
    mem_free(stream);
    return NULL;
}

/* A client may mean 9 where it says 8: zlib's own compressor did. */
static struct deflate_stream *make_inflater(unsigned char bits)
{
    struct deflate_stream *stream = make_stream(bits);
    if (stream == NULL)
        return NULL;
    if (inflateInit2(&stream->z, bits < DEFLATE_LEAST_BITS ? -DEFLATE_LEAST_BITS : -bits) == Z_OK)
        return stream;
    mem_free(stream);
    return NULL;
}

static void free_deflater(struct deflate_stream **stream)
{
    if (*stream != NULL)
        deflateEnd(&(*stream)->z);
    mem_free(*stream);
    *stream = NULL;
}

static void free_inflater(struct deflate_stream **stream)
{
    if (*stream != NULL)
        inflateEnd(&(*stream)->z);
    mem_free(*stream);
    *stream = NULL;
}

void deflate_pool_deinit(struct deflate_pool *pool)
{
    free_deflater(&pool->deflater);
    free_inflater(&pool->inflater);
}

struct deflate *deflate_create(const struct deflate_terms *terms, const struct server_settings *settings, struct deflate_pool *pool)
{
    struct deflate *deflate_state = mem_try_alloc(sizeof *deflate_state);
    if (deflate_state != NULL)
        *deflate_state = (struct deflate){ .settings = settings, .pool = pool, .terms = *terms };
    return deflate_state;
}

void deflate_destroy(struct deflate *deflate)
{
    if (deflate == NULL)
        return;
    free_deflater(&deflate->deflater);
    free_inflater(&deflate->inflater);
    mem_free(deflate);
}

static bool get_inflater(struct deflate *deflate)
{
    if (deflate->inflater != NULL)
        return true;
    struct deflate_stream *spare = deflate->pool->inflater;
    if (spare != NULL && spare->bits == deflate->terms.client_bits) {
        deflate->inflater = spare;
        deflate->pool->inflater = NULL;
    } else {
        deflate->inflater = make_inflater(deflate->terms.client_bits);
    }
    return deflate->inflater != NULL;
}

/* The message is complete: without takeover another connection may have the inflater, which forgets this one's bytes. */
static void put_inflater(struct deflate *deflate)
{
    if (deflate->terms.client_takeover)
        return;
    if (deflate->pool->inflater != NULL) {
        free_inflater(&deflate->inflater);
        return;
    }
    inflateReset(&deflate->inflater->z);
    deflate->pool->inflater = deflate->inflater;
    deflate->inflater = NULL;
}

static uint16_t inflate_some(struct deflate_stream *stream, const unsigned char *bytes, size_t length, size_t *budget, size_t *taken,
                             deflate_taker *take, void *context)
{
    unsigned char piece[DEFLATE_PIECE];
    assert(length <= UINT_MAX);
    stream->z.next_in = bytes;
    stream->z.avail_in = (unsigned)length;
    do {
        stream->z.next_out = piece;
        stream->z.avail_out = sizeof piece;
        int result = inflate(&stream->z, Z_SYNC_FLUSH);
        size_t produced = sizeof piece - stream->z.avail_out;
        *taken = length - stream->z.avail_in;
        *budget -= produced < *budget ? produced : *budget;
        uint16_t code = produced > 0 ? take(context, piece, produced) : 0;
        if (code != 0)
            return code;
        if (result == Z_STREAM_END)
            inflateResetKeep(&stream->z); /* a block with BFINAL ends no message (RFC 7692, 7.2.3.4), nor the window's life */
        else if (result == Z_MEM_ERROR)
            return 1011;
        else if (result != Z_OK && result != Z_BUF_ERROR)
            return 1007;
    } while (*budget > 0 && (stream->z.avail_in > 0 || stream->z.avail_out == 0));
    return stream->z.avail_in > 0 || stream->z.avail_out == 0 ? DEFLATE_AGAIN : 0;
}

uint16_t deflate_inflate(struct deflate *deflate, const unsigned char *bytes, size_t length, bool last, size_t *budget, size_t *taken,
                         deflate_taker *take, void *context)
{
    enum { AFTER_BLOCK = 128, IN_LAST_BLOCK = 64, UNUSED_BITS = 7 }; /* zlib.h: data_type */
    size_t tail_taken, tail_budget = SIZE_MAX; /* what its four bytes can become is little */
    *taken = 0;
    if (!get_inflater(deflate))
        return 1011;
    uint16_t code = length > 0 || deflate->again ? inflate_some(deflate->inflater, bytes, length, budget, taken, take, context) : 0;
    deflate->begun |= length > 0;
    deflate->again = code == DEFLATE_AGAIN;
    if (code != 0 || !last)
        return code;
    bool empty = !deflate->begun; /* what zlib makes of an empty message after a flush, and some clients send: no bytes at all */
    deflate->begun = false;
    code = empty ? 0 : inflate_some(deflate->inflater, tail, sizeof tail, &tail_budget, &tail_taken, take, context);
    if (code != 0)
        return code;
    if (!empty && (deflate->inflater->z.data_type & (AFTER_BLOCK | IN_LAST_BLOCK | UNUSED_BITS)) != AFTER_BLOCK)
        return 1007;
    put_inflater(deflate);
    return 0;
}

struct deflating {
    struct deflate *deflate; /* whose message it is; NULL: many sockets' */
    struct deflate_pool *pool; /* where the stream is from; NULL: it is deflate's */
    struct deflate_stream *stream;
    const unsigned char *bytes;
    size_t length;
    size_t taken;            /* of them */
    size_t compressed_length;
    unsigned char *out;      /* length bytes: the most that is worth it */
};

/* The stream's window is empty or the peer's own. -1: there is no memory. */
static int begin(struct deflating *deflating, struct deflate_stream *stream, const unsigned char *bytes, size_t length)
{
    *deflating = (struct deflating){ .stream = stream, .bytes = bytes, .length = length, .out = mem_try_alloc(length) };
    if (deflating->out == NULL)
        return -1;
    stream->z.next_out = deflating->out;
    stream->z.avail_out = (unsigned)length;
    return 0;
}

enum deflating_result deflating_step(struct deflating *deflating, size_t slice)
{
    z_stream *z = &deflating->stream->z;
    size_t left = deflating->length - deflating->taken;
    bool last = slice >= left;
    z->next_in = deflating->bytes + deflating->taken;
    z->avail_in = (unsigned)(last ? left : slice);
    deflating->taken += z->avail_in;
    if (deflate(z, last ? Z_SYNC_FLUSH : Z_NO_FLUSH) != Z_OK || z->avail_in > 0 || z->avail_out == 0)
        return DEFLATING_FAILED; /* not worth it */
    if (!last)
        return DEFLATING_MORE;
    deflating->compressed_length = deflating->length - z->avail_out - sizeof tail;
    assert(memcmp(deflating->out + deflating->compressed_length, tail, sizeof tail) == 0);
    return DEFLATING_DONE;
}

/* All of it at once. NULL: not worth it, or no memory, and the peer's window is not the stream's. */
static unsigned char *compress_message(struct deflate_stream *stream, const unsigned char *bytes, size_t length, size_t *compressed_length)
{
    struct deflating deflating;
    if (begin(&deflating, stream, bytes, length) != 0)
        return NULL;
    if (deflating_step(&deflating, length) != DEFLATING_DONE) {
        mem_free(deflating.out);
        return NULL;
    }
    *compressed_length = deflating.compressed_length;
    return deflating.out;
}

static bool is_worth_trying(const struct server_settings *settings, size_t length)
{
    return length > sizeof tail && length >= settings->websocket_deflate_threshold && length <= UINT_MAX;
}

bool deflate_is_worth_trying(const struct deflate *deflate, size_t length)
{
    return is_worth_trying(deflate->settings, length);
}

/* The pool's deflater with an empty window. */
static struct deflate_stream *borrow_deflater(struct deflate_pool *pool, const struct server_settings *settings, unsigned char bits)
{
    if (pool->deflater != NULL && pool->deflater->bits != bits)
        free_deflater(&pool->deflater);
    if (pool->deflater == NULL)
        pool->deflater = make_deflater(settings, bits);
    else
        deflateReset(&pool->deflater->z);
    return pool->deflater;
}

static struct deflate_stream *own_deflater(struct deflate *deflate_state)
{
    if (deflate_state->deflater == NULL)
        deflate_state->deflater = make_deflater(deflate_state->settings, deflate_state->terms.server_bits);
    else if (deflate_state->fresh)
        deflateReset(&deflate_state->deflater->z);
    deflate_state->fresh = false;
    deflate_state->used = true;
    return deflate_state->deflater;
}

/* The deflater for the next message of this connection. */
static struct deflate_stream *deflater_of(struct deflate *deflate)
{
    assert(!deflate->lent);
    return deflate->terms.server_takeover ? own_deflater(deflate)
                                          : borrow_deflater(deflate->pool, deflate->settings, deflate->terms.server_bits);
}

unsigned char *deflate_message(struct deflate *deflate, const unsigned char *bytes, size_t length, size_t *compressed_length)
{
    if (!is_worth_trying(deflate->settings, length))
        return NULL;
    struct deflate_stream *stream = deflater_of(deflate);
    unsigned char *out = stream != NULL ? compress_message(stream, bytes, length, compressed_length) : NULL;
    if (out == NULL)
        deflate->fresh = true; /* the deflater has read what the peer will not */
    return out;
}

static struct deflating *create_deflating(struct deflate_stream *stream, const unsigned char *bytes, size_t length)
{
    struct deflating *deflating = stream != NULL ? mem_try_alloc(sizeof *deflating) : NULL;
    if (deflating == NULL || begin(deflating, stream, bytes, length) == 0)
        return deflating;
    mem_free(deflating);
    return NULL;
}

/* The pool's deflater is deflating's until it is destroyed. */
static void take_from(struct deflate_pool *pool, struct deflating *deflating)
{
    deflating->pool = pool;
    pool->deflater = NULL;
}

struct deflating *deflating_create(struct deflate *deflate, const unsigned char *bytes, size_t length)
{
    if (!is_worth_trying(deflate->settings, length))
        return NULL;
    struct deflating *deflating = create_deflating(deflater_of(deflate), bytes, length);
    if (deflating == NULL)
        return NULL;
    deflating->deflate = deflate;
    deflate->lent = true;
    if (!deflate->terms.server_takeover)
        take_from(deflate->pool, deflating);
    return deflating;
}

struct deflating *deflating_create_shared(struct deflate_pool *pool, const struct server_settings *settings, const unsigned char *bytes,
                                          size_t length)
{
    if (!is_worth_trying(settings, length))
        return NULL;
    struct deflate_stream *stream = borrow_deflater(pool, settings, (unsigned char)settings->websocket_deflate_window_bits);
    struct deflating *deflating = create_deflating(stream, bytes, length);
    if (deflating != NULL)
        take_from(pool, deflating);
    return deflating;
}

const unsigned char *deflating_bytes(const struct deflating *deflating, size_t *length)
{
    *length = deflating->compressed_length;
    return deflating->out;
}

void deflating_destroy(struct deflating *deflating)
{
    if (deflating == NULL)
        return;
    struct deflate *deflate = deflating->deflate;
    struct deflate_pool *pool = deflating->pool;
    if (deflate != NULL) {
        deflate->lent = false;
        deflate->fresh |= deflating->compressed_length == 0; /* the deflater has read what the peer will not */
    }
    if (pool != NULL && pool->deflater == NULL)
        pool->deflater = deflating->stream;
    else if (pool != NULL)
        free_deflater(&deflating->stream);
    mem_free(deflating->out);
    mem_free(deflating);
}

unsigned char *deflate_shared(struct deflate_pool *pool, const struct server_settings *settings, const unsigned char *bytes, size_t length,
                              size_t *compressed_length)
{
    if (!is_worth_trying(settings, length))
        return NULL;
    struct deflate_stream *stream = borrow_deflater(pool, settings, (unsigned char)settings->websocket_deflate_window_bits);
    return stream != NULL ? compress_message(stream, bytes, length, compressed_length) : NULL;
}

bool deflate_has_takeover(const struct deflate *deflate)
{
    return deflate->terms.server_takeover;
}

bool deflate_reads_shared(const struct deflate *deflate, const struct server_settings *settings)
{
    return deflate->terms.server_bits >= settings->websocket_deflate_window_bits;
}

void deflate_forget(struct deflate *deflate)
{
    deflate->fresh = true;
}

void deflate_rest(struct deflate *deflate)
{
    if (!deflate->used && !deflate->lent)
        free_deflater(&deflate->deflater);
    deflate->used = false;
}

size_t deflate_held(const struct deflate *deflate)
{
    return (deflate->deflater != NULL ? deflate->deflater->held : 0) + (deflate->inflater != NULL ? deflate->inflater->held : 0);
}
