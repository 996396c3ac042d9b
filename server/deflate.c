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
    bool fresh;                      /* the deflater's window is empty */
    bool used;                       /* the deflater was, since deflate_rest() */
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

static uint16_t inflate_all(struct deflate_stream *stream, const unsigned char *bytes, size_t length, deflate_taker *take, void *context)
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
        uint16_t code = produced > 0 ? take(context, piece, produced) : 0;
        if (code != 0)
            return code;
        if (result == Z_STREAM_END)
            inflateResetKeep(&stream->z); /* a block with BFINAL ends no message (RFC 7692, 7.2.3.4), nor the window's life */
        else if (result == Z_MEM_ERROR)
            return 1011;
        else if (result != Z_OK && result != Z_BUF_ERROR)
            return 1007;
    } while (stream->z.avail_in > 0 || stream->z.avail_out == 0);
    return 0;
}

uint16_t deflate_inflate(struct deflate *deflate, const unsigned char *bytes, size_t length, bool last, deflate_taker *take, void *context)
{
    enum { AFTER_BLOCK = 128, IN_LAST_BLOCK = 64, UNUSED_BITS = 7 }; /* zlib.h: data_type */
    if (!get_inflater(deflate))
        return 1011;
    uint16_t code = length > 0 ? inflate_all(deflate->inflater, bytes, length, take, context) : 0;
    deflate->begun |= length > 0;
    if (code != 0 || !last)
        return code;
    bool empty = !deflate->begun; /* what zlib makes of an empty message after a flush, and some clients send: no bytes at all */
    deflate->begun = false;
    code = empty ? 0 : inflate_all(deflate->inflater, tail, sizeof tail, take, context);
    if (code != 0)
        return code;
    if (!empty && (deflate->inflater->z.data_type & (AFTER_BLOCK | IN_LAST_BLOCK | UNUSED_BITS)) != AFTER_BLOCK)
        return 1007;
    put_inflater(deflate);
    return 0;
}

/* The stream's window is empty or the peer's own; NULL: not worth it, or no memory, and the peer's window is not the stream's. */
static unsigned char *compress_message(struct deflate_stream *stream, const unsigned char *bytes, size_t length, size_t *compressed_length)
{
    unsigned char *out = mem_try_alloc(length);
    if (out == NULL)
        return NULL;
    stream->z.next_in = bytes;
    stream->z.avail_in = (unsigned)length;
    stream->z.next_out = out;
    stream->z.avail_out = (unsigned)length;
    if (deflate(&stream->z, Z_SYNC_FLUSH) != Z_OK || stream->z.avail_in > 0 || stream->z.avail_out == 0) {
        mem_free(out);
        return NULL;
    }
    *compressed_length = length - stream->z.avail_out - sizeof tail;
    assert(memcmp(out + *compressed_length, tail, sizeof tail) == 0);
    return out;
}

static bool is_worth_trying(const struct server_settings *settings, size_t length)
{
    return length > sizeof tail && length >= settings->websocket_deflate_threshold && length <= UINT_MAX;
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

unsigned char *deflate_message(struct deflate *deflate, const unsigned char *bytes, size_t length, size_t *compressed_length)
{
    bool own = deflate->terms.server_takeover;
    if (!is_worth_trying(deflate->settings, length))
        return NULL;
    struct deflate_stream *stream = own ? own_deflater(deflate) : borrow_deflater(deflate->pool, deflate->settings, deflate->terms.server_bits);
    unsigned char *out = stream != NULL ? compress_message(stream, bytes, length, compressed_length) : NULL;
    if (out == NULL)
        deflate->fresh = true; /* the deflater has read what the peer will not */
    return out;
}

unsigned char *deflate_shared(struct deflate_pool *pool, const struct server_settings *settings, const unsigned char *bytes, size_t length,
                              size_t *compressed_length)
{
    if (!is_worth_trying(settings, length))
        return NULL;
    struct deflate_stream *stream = borrow_deflater(pool, settings, (unsigned char)settings->websocket_deflate_window_bits);
    return stream != NULL ? compress_message(stream, bytes, length, compressed_length) : NULL;
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
    if (!deflate->used)
        free_deflater(&deflate->deflater);
    deflate->used = false;
}

size_t deflate_held(const struct deflate *deflate)
{
    return (deflate->deflater != NULL ? deflate->deflater->held : 0) + (deflate->inflater != NULL ? deflate->inflater->held : 0);
}
