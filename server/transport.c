#include "server/transport.h"

#include <poll.h>
#include <string.h>

#include "base/alloc.h"

/* From here on a copy costs more than a system call of its own. */
enum { WORTH_A_CALL = 16 * 1024 };

static void end(struct transport *transport, bool clean)
{
    if (transport->ended)
        return;
    transport->ended = true;
    transport->callbacks->on_end(transport->context, clean);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    struct transport *transport = handle->data;
    (void)suggested;
    *buffer = uv_buf_init((char *)transport->read_buffer, TRANSPORT_READ_SIZE);
}

static void on_read(uv_stream_t *stream, ssize_t length, const uv_buf_t *buffer)
{
    struct transport *transport = stream->data;
    if (length > 0)
        transport->callbacks->on_read(transport->context, (const unsigned char *)buffer->base, (size_t)length);
    else if (length < 0)
        end(transport, length == UV_EOF);
}

void transport_init(struct transport *transport, unsigned char *read_buffer, const struct transport_callbacks *callbacks,
                    void *context)
{
    transport->callbacks = callbacks;
    transport->context = context;
    transport->read_buffer = read_buffer;
    transport->handle.data = transport;
}

void transport_deinit(struct transport *transport)
{
    buffer_deinit(&transport->out);
    buffer_deinit(&transport->writing);
}

void transport_read(struct transport *transport, bool on)
{
    if (on == transport->reading || uv_is_closing(&transport->handle) || transport->ended)
        return;
    transport->reading = on;
    if (!on)
        uv_read_stop(&transport->stream);
    else if (uv_read_start(&transport->stream, on_alloc, on_read) != 0)
        end(transport, false);
}

static void on_shutdown(uv_shutdown_t *request, int status)
{
    mem_free(request);
    (void)status; /* the peer has gone already: reading says so */
}

static void shut_down(struct transport *transport)
{
    if (!transport->finishing || transport->write_pending || buffer_length(&transport->out) > 0)
        return;
    transport->finishing = false;
    if (uv_is_closing(&transport->handle))
        return;
    uv_shutdown_t *request = mem_alloc(sizeof *request);
    if (uv_shutdown(request, &transport->stream, on_shutdown) != 0)
        mem_free(request); /* not connected any more: reading says so */
}

static void on_write(uv_write_t *request, int status)
{
    struct transport *transport = request->data;
    mem_free(request);
    transport->write_pending = false;
    buffer_deinit(&transport->writing);
    if (status == UV_ECANCELED)
        return; /* the handle is being closed */
    if (status != 0) {
        end(transport, false);
        return;
    }
    transport->callbacks->on_written(transport->context);
    if (!uv_is_closing(&transport->handle))
        transport_flush(transport);
}

/* What the kernel takes now; -1: an error, which on_end has been told. */
static ssize_t try_write(struct transport *transport, const uv_buf_t *pieces, unsigned count)
{
    int written = uv_try_write(&transport->stream, pieces, count);
    if (written == UV_EAGAIN)
        return 0;
    if (written < 0) {
        end(transport, false);
        return -1;
    }
    return written;
}

/* Gives what is corked to libuv, to write when the socket takes it. */
static void write_later(struct transport *transport)
{
    uv_write_t *request = mem_alloc(sizeof *request);
    transport->writing = transport->out;
    buffer_init(&transport->out);
    uv_buf_t piece = { .base = (char *)buffer_bytes(&transport->writing), .len = buffer_length(&transport->writing) };
    request->data = transport;
    transport->write_pending = true;
    if (uv_write(request, &transport->stream, &piece, 1, on_write) == 0)
        return;
    mem_free(request);
    transport->write_pending = false;
    buffer_deinit(&transport->writing);
    end(transport, false);
}

void transport_flush(struct transport *transport)
{
    size_t length = buffer_length(&transport->out);
    if (transport->write_pending || transport->ended || uv_is_closing(&transport->handle))
        return;
    if (length > 0) {
        uv_buf_t piece = { .base = (char *)buffer_bytes(&transport->out), .len = length };
        ssize_t written = try_write(transport, &piece, 1);
        if (written < 0 || uv_is_closing(&transport->handle))
            return;
        buffer_consume(&transport->out, (size_t)written);
        if ((size_t)written < length) {
            write_later(transport);
            if (uv_is_closing(&transport->handle))
                return;
        } else {
            buffer_deinit(&transport->out);
        }
        if (written > 0)
            transport->callbacks->on_written(transport->context);
    }
    shut_down(transport);
}

int transport_write(struct transport *transport, const uv_buf_t *pieces, unsigned count)
{
    size_t total = 0;
    size_t written = 0;
    for (unsigned i = 0; i < count; i++)
        total += pieces[i].len;
    if (total >= WORTH_A_CALL) {
        transport_flush(transport);
        if (!transport->write_pending && !transport->ended && buffer_length(&transport->out) == 0 &&
            !uv_is_closing(&transport->handle)) {
            ssize_t taken = try_write(transport, pieces, count);
            written = taken > 0 ? (size_t)taken : 0;
        }
        if (transport->ended)
            return 0;
    }
    if (buffer_reserve(&transport->out, total - written) == NULL && total > written)
        return -1;
    for (unsigned i = 0; i < count; i++) {
        size_t skip = written < pieces[i].len ? written : pieces[i].len;
        written -= skip;
        buffer_append(&transport->out, pieces[i].base + skip, pieces[i].len - skip);
    }
    return 0;
}

size_t transport_unwritten(const struct transport *transport)
{
    return buffer_length(&transport->out) + uv_stream_get_write_queue_size(&transport->stream);
}

enum transport_peer transport_peer(const struct transport *transport)
{
    struct pollfd polled = { .events = POLLRDHUP };
    if (uv_fileno(&transport->handle, &polled.fd) != 0 || poll(&polled, 1, 0) <= 0)
        return TRANSPORT_PEER_THERE;
    return polled.revents & (POLLERR | POLLHUP) ? TRANSPORT_PEER_GONE : TRANSPORT_PEER_ENDED;
}

void transport_finish(struct transport *transport)
{
    transport->finishing = true;
    transport_flush(transport);
}
