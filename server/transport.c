#include "server/transport.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/alloc.h"

/* From here on a copy costs more than a system call of its own. */
enum { WORTH_A_CALL = 16 * 1024 };

/* Pieces of the outbox in one system call. */
enum { PIECES = 64 };

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
    outbox_init(&transport->out);
}

void transport_deinit(struct transport *transport)
{
    outbox_deinit(&transport->out);
    buffer_deinit(&transport->writing);
    broadcast_release(transport->broadcast);
    transport->broadcast = NULL;
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
    if (!transport->finishing || transport->write_pending || outbox_length(&transport->out) > 0)
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
    broadcast_release(transport->broadcast);
    transport->broadcast = NULL;
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

/* What the kernel takes now; -1: an error, which on_end has been told. Only while libuv has nothing to write. uv_try_write() would
 * do the same by write(), which costs a twentieth more. */
static ssize_t try_write(struct transport *transport, const uv_buf_t *pieces, unsigned count)
{
    uv_os_fd_t fd;
    ssize_t written = -1;
    struct msghdr message = { .msg_iov = (struct iovec *)pieces, .msg_iovlen = count }; /* uv_buf_t is a struct iovec */
    assert(uv_stream_get_write_queue_size(&transport->stream) == 0);
    if (uv_fileno(&transport->handle, &fd) == 0) {
        do
            written = count == 1 ? send(fd, pieces->base, pieces->len, MSG_NOSIGNAL) : sendmsg(fd, &message, MSG_NOSIGNAL);
        while (written < 0 && errno == EINTR);
    }
    if (written < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS))
        return 0;
    if (written < 0)
        end(transport, false);
    return written;
}

/* Gives the first piece of what is corked to libuv, to write when the socket takes it. The rest follows then: until it is
 * given away, what waits can still be dropped. */
static void write_later(struct transport *transport)
{
    uv_buf_t piece;
    uv_write_t *request = mem_alloc(sizeof *request);
    if (outbox_take(&transport->out, &transport->writing, &transport->broadcast, &piece) != 0)
        goto fail;
    if (transport->broadcast == NULL)
        piece = (uv_buf_t){ .base = (char *)buffer_bytes(&transport->writing), .len = buffer_length(&transport->writing) };
    request->data = transport;
    transport->write_pending = true;
    if (uv_write(request, &transport->stream, &piece, 1, on_write) == 0)
        return;
    transport->write_pending = false;
fail:
    mem_free(request);
    buffer_deinit(&transport->writing);
    broadcast_release(transport->broadcast);
    transport->broadcast = NULL;
    end(transport, false);
}

/* Writes until all is written or the socket takes no more; how much that was. *blocked: it takes no more. */
static size_t write_now(struct transport *transport, bool *blocked)
{
    uv_buf_t pieces[PIECES];
    size_t total = 0;
    *blocked = false;
    while (outbox_length(&transport->out) > 0 && !*blocked) {
        unsigned count = outbox_pieces(&transport->out, pieces, PIECES);
        size_t offered = 0;
        for (unsigned i = 0; i < count; i++)
            offered += pieces[i].len;
        ssize_t written = try_write(transport, pieces, count);
        if (written < 0 || uv_is_closing(&transport->handle))
            break;
        outbox_consume(&transport->out, (size_t)written);
        total += (size_t)written;
        *blocked = (size_t)written < offered;
    }
    return total;
}

void transport_flush(struct transport *transport)
{
    bool blocked;
    if (transport->write_pending || transport->ended || uv_is_closing(&transport->handle))
        return;
    size_t written = write_now(transport, &blocked);
    if (transport->ended || uv_is_closing(&transport->handle))
        return;
    if (blocked)
        write_later(transport);
    if (uv_is_closing(&transport->handle))
        return;
    if (written > 0)
        transport->callbacks->on_written(transport->context);
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
        if (!transport->write_pending && !transport->ended && outbox_length(&transport->out) == 0 &&
            !uv_is_closing(&transport->handle)) {
            ssize_t taken = try_write(transport, pieces, count);
            written = taken > 0 ? (size_t)taken : 0;
        }
        if (transport->ended)
            return 0;
    }
    if (buffer_reserve(&transport->out.own, total - written) == NULL && total > written)
        return -1;
    for (unsigned i = 0; i < count; i++) {
        size_t skip = written < pieces[i].len ? written : pieces[i].len;
        written -= skip;
        buffer_append(&transport->out.own, pieces[i].base + skip, pieces[i].len - skip);
    }
    return 0;
}

size_t transport_unwritten(const struct transport *transport)
{
    return outbox_length(&transport->out) + uv_stream_get_write_queue_size(&transport->stream);
}

size_t transport_unwritten_own(const struct transport *transport)
{
    size_t queued = transport->broadcast == NULL ? uv_stream_get_write_queue_size(&transport->stream) : 0;
    return buffer_length(&transport->out.own) + queued;
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
