#include "server/transport.h"

#include <assert.h>
#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "base/own_sockets.h"
#include "server/tls.h"

/* From here on a copy costs more than a system call of its own. */
enum { WORTH_A_CALL = 16 * 1024 };

/* Pieces of the outbox in one system call. */
enum { PIECES = 64 };

/* What is read of a file: for libuv to write when the socket takes more, and so to tell us; for a frame of who carries it; where sendfile()
 * does not do it. */
enum { FILE_STEP = 4 * 1024, FILE_FRAME = 16 * 1024, FILE_CHUNK = 64 * 1024 };

static void end(struct transport *transport, bool clean)
{
    if (transport->ended || (clean && transport->input_ended))
        return;
    transport->input_ended = true;
    transport->ended = !clean;
    if (transport->reading) /* what follows TLS's end is ignored (RFC 8446, 6.1) */
        uv_read_stop(&transport->stream);
    transport->reading = false;
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
        transport_input(transport, (const unsigned char *)buffer->base, (size_t)length);
    else if (length < 0)
        end(transport, length == UV_EOF && transport->tls == NULL); /* TLS says itself when it ends */
}

static bool is_usable(const struct transport *transport)
{
    return !transport->ended && !uv_is_closing(&transport->handle);
}

/* The handshake has failed. The alert, if there is one, goes out. */
static void refuse(struct transport *transport, enum tls_result result)
{
    if (result == TLS_PLAIN_HTTP) {
        tls_destroy(transport->tls);
        transport->tls = NULL;
    }
    transport->callbacks->on_handshake(transport->context, result == TLS_PLAIN_HTTP ? TRANSPORT_PLAIN_HTTP : TRANSPORT_REFUSED);
}

/* Gives what is decrypted to on_read, which may close the transport, but not free it. */
static void take_encrypted(struct transport *transport)
{
    unsigned char *plain = transport->read_buffer + TRANSPORT_READ_SIZE;
    enum tls_result result = TLS_MORE;
    while (result == TLS_MORE && is_usable(transport)) {
        size_t got;
        enum tls_state before = tls_state(transport->tls);
        result = tls_read(transport->tls, plain, TRANSPORT_READ_SIZE, &got);
        if (got > 0)
            transport->callbacks->on_read(transport->context, plain, got);
        if (before == TLS_HANDSHAKE && tls_state(transport->tls) == TLS_OPEN)
            transport->callbacks->on_handshake(transport->context, TRANSPORT_SECURE);
        if (before == TLS_HANDSHAKE && tls_state(transport->tls) == TLS_FAILED) {
            refuse(transport, result);
            return;
        }
    }
    if (is_usable(transport) && buffer_length(tls_output(transport->tls)) > 0)
        transport_flush(transport);
    if (result == TLS_ENDED || result == TLS_BROKEN)
        end(transport, result == TLS_ENDED);
}

void transport_input(struct transport *transport, const unsigned char *bytes, size_t length)
{
    if (transport->tls == NULL || tls_state(transport->tls) == TLS_FAILED) {
        transport->callbacks->on_read(transport->context, bytes, length);
        return;
    }
    tls_feed(transport->tls, bytes, length);
    take_encrypted(transport);
}

void transport_secure(struct transport *transport, struct tls *tls)
{
    assert(transport->tls == NULL && outbox_length(&transport->out) == 0);
    transport->tls = tls;
}

struct tls_info *transport_tls_info(const struct transport *transport)
{
    return transport->tls != NULL ? tls_info(transport->tls) : NULL;
}

bool transport_speaks(const struct transport *transport, const char *protocol)
{
    size_t length = 0;
    const char *agreed = transport->tls != NULL ? tls_protocol(transport->tls, &length) : NULL;
    return agreed != NULL && length == strlen(protocol) && memcmp(agreed, protocol, length) == 0;
}

void transport_init(struct transport *transport, unsigned char *read_buffer, const struct transport_callbacks *callbacks,
                    void *context)
{
    transport->callbacks = callbacks;
    transport->context = context;
    transport->read_buffer = read_buffer;
    transport->handle.data = transport;
    outbox_init(&transport->out);
    file_part_init(&transport->file);
}

void transport_init_carried(struct transport *transport, void (*carry)(void *context), const struct transport_callbacks *callbacks,
                            void *context)
{
    transport->callbacks = callbacks;
    transport->context = context;
    transport->carry = carry;
    outbox_init(&transport->out);
    file_part_init(&transport->file);
}

void transport_carried(struct transport *transport, size_t length)
{
    outbox_consume(&transport->out, length);
    transport->given += length;
    transport->callbacks->on_written(transport->context);
}

void transport_deinit(struct transport *transport)
{
    outbox_deinit(&transport->out);
    file_part_deinit(&transport->file);
    buffer_deinit(&transport->writing);
    broadcast_release(transport->broadcast);
    transport->broadcast = NULL;
    tls_destroy(transport->tls);
    transport->tls = NULL;
}

void transport_read(struct transport *transport, bool on)
{
    if (on == transport->reading || transport->carry != NULL || uv_is_closing(&transport->handle) || transport->input_ended)
        return;
    transport->reading = on;
    if (!on)
        uv_read_stop(&transport->stream);
    else if (uv_read_start(&transport->stream, on_alloc, on_read) != 0)
        end(transport, false);
}

/* What TLS has failed over, or has not opened for, is not counted: it never leaves. */
static bool is_all_written(const struct transport *transport)
{
    bool empty = outbox_length(&transport->out) == 0 && file_part_is_empty(&transport->file);
    if (transport->tls == NULL)
        return empty;
    if (buffer_length(tls_output(transport->tls)) > 0)
        return false;
    return tls_state(transport->tls) != TLS_OPEN || empty;
}

static void on_shutdown(uv_shutdown_t *request, int status)
{
    mem_free(request);
    (void)status; /* the peer has gone already: reading says so */
}

static void shut_down(struct transport *transport)
{
    if (!transport->finishing || transport->write_pending || !is_all_written(transport))
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
    int flags = MSG_NOSIGNAL | (file_part_is_empty(&transport->file) ? 0 : MSG_MORE); /* a head, and its file behind it */
    if (uv_fileno(&transport->handle, &fd) == 0) {
        do
            written = count == 1 ? send(fd, pieces->base, pieces->len, flags) : sendmsg(fd, &message, flags);
        while (written < 0 && errno == EINTR);
    }
    if (written < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS))
        return 0;
    if (written < 0)
        end(transport, false);
    else
        transport->given += (size_t)written;
    return written;
}

/* The file has failed. What was promised of it never comes. */
static void cut_file(struct transport *transport)
{
    transport->file_cut = true;
}

static bool file_waits(const struct transport *transport)
{
    return !file_part_is_empty(&transport->file) && !transport->file_cut;
}

/* Reads at most size bytes of the file; how many. 0: there is none, or it has failed. */
static size_t read_file(struct transport *transport, void *bytes, size_t size)
{
    if (!file_waits(transport))
        return 0;
    ssize_t got = file_part_read(&transport->file, bytes, size);
    if (got > 0)
        return (size_t)got;
    cut_file(transport);
    return 0;
}

/* Moves some of the file into the outbox. 0, or -1 when there is no memory, which on_end has been told. */
static int load_file(struct transport *transport)
{
    size_t size = transport->carry != NULL ? FILE_FRAME : transport->file.by_reading ? FILE_CHUNK : FILE_STEP;
    unsigned char *room = buffer_reserve(&transport->out.own, size);
    if (room == NULL) {
        end(transport, false);
        return -1;
    }
    transport->out.own.end += read_file(transport, room, size);
    return 0;
}

/* sendfile(), of at most limit bytes; how many the socket took. What is next to go lies in the outbox then. Only without TLS, while
 * nothing else waits. */
static size_t send_file(struct transport *transport, size_t limit)
{
    uv_os_fd_t fd;
    size_t total = 0;
    ssize_t sent = 1;
    if (uv_fileno(&transport->handle, &fd) != 0)
        return 0;
    while (total < limit && sent > 0 && file_waits(transport)) {
        sent = file_part_send(&transport->file, fd, limit - total);
        if (sent > 0)
            total += (size_t)sent;
    }
    transport->given += total;
    if (sent == FILE_PART_SOCKET)
        end(transport, false);
    else if (sent == FILE_PART_SHORT || sent == FILE_PART_BROKEN)
        cut_file(transport);
    else if (file_waits(transport))
        load_file(transport);
    return total;
}

void transport_file(struct transport *transport, struct command *command)
{
    assert(!transport_has_file(transport));
    transport->file_cut = false;
    file_part_take(&transport->file, command);
}

/* The first bytes of the outbox: where they lie, or together in record, as they mostly are several short pieces. */
static const void *gather(const struct outbox *out, unsigned char *record, size_t *length)
{
    uv_buf_t pieces[PIECES];
    unsigned count = outbox_pieces(out, pieces, PIECES);
    *length = 0;
    if (count == 0)
        return NULL;
    if (count == 1 || pieces[0].len >= TLS_RECORD) {
        *length = pieces[0].len < TLS_RECORD ? pieces[0].len : TLS_RECORD;
        return pieces[0].base;
    }
    for (unsigned i = 0; i < count && *length < TLS_RECORD; i++) {
        size_t part = pieces[i].len < TLS_RECORD - *length ? pieces[i].len : TLS_RECORD - *length;
        memcpy(record + *length, pieces[i].base, part);
        *length += part;
    }
    return record;
}

/* Encrypts the first of what waits, at most TLS_BATCH bytes; and the goodbye when that was all. -1: there is no memory. */
static int encrypt(struct transport *transport)
{
    unsigned char record[TLS_RECORD];
    size_t length;
    if (tls_state(transport->tls) != TLS_OPEN)
        return 0;
    for (size_t total = 0; total < TLS_BATCH; total += length) {
        const void *bytes = gather(&transport->out, record, &length);
        size_t own = length;
        if (own == 0) {
            bytes = record;
            length = read_file(transport, record, sizeof record);
        }
        if (length == 0)
            break;
        if (tls_write(transport->tls, bytes, length) != 0)
            return -1;
        outbox_consume(&transport->out, own);
    }
    if (transport->finishing && outbox_length(&transport->out) == 0 && file_part_is_empty(&transport->file))
        tls_close(transport->tls);
    return 0;
}

/* What is to be sent next, as at most PIECES pieces; how many. -1: an error, which on_end has been told. */
static int next_pieces(struct transport *transport, uv_buf_t *pieces)
{
    if (transport->tls == NULL)
        return (int)outbox_pieces(&transport->out, pieces, PIECES);
    struct buffer *output = tls_output(transport->tls);
    if (buffer_length(output) == 0 && encrypt(transport) != 0) {
        end(transport, false);
        return -1;
    }
    pieces[0] = (uv_buf_t){ .base = (char *)buffer_bytes(output), .len = buffer_length(output) };
    return pieces[0].len > 0;
}

static void consume(struct transport *transport, size_t length)
{
    if (transport->tls == NULL) {
        outbox_consume(&transport->out, length);
        return;
    }
    struct buffer *output = tls_output(transport->tls);
    buffer_consume(output, length);
    if (buffer_length(output) == 0)
        buffer_deinit(output);
}

/* Moves the first piece of what waits to where a write that takes longer has it. 0, or -1: no memory. */
static int take_piece(struct transport *transport, uv_buf_t *piece)
{
    if (transport->tls != NULL) {
        transport->writing = *tls_output(transport->tls);
        buffer_init(tls_output(transport->tls));
        return 0;
    }
    return outbox_take(&transport->out, &transport->writing, &transport->broadcast, piece);
}

/* Gives the first piece of what is corked to libuv, to write when the socket takes it. The rest follows then: until it is
 * given away, what waits can still be dropped. */
static void write_later(struct transport *transport)
{
    uv_buf_t piece = { 0 };
    uv_write_t *request = mem_alloc(sizeof *request);
    if (take_piece(transport, &piece) != 0)
        goto fail;
    if (transport->broadcast == NULL)
        piece = (uv_buf_t){ .base = (char *)buffer_bytes(&transport->writing), .len = buffer_length(&transport->writing) };
    request->data = transport;
    transport->write_pending = true;
    transport->given += piece.len;
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
    while (!*blocked) {
        if (transport->tls == NULL && file_waits(transport) && outbox_length(&transport->out) == 0)
            total += send_file(transport, FILE_TURN);
        if (transport->ended)
            break;
        int count = next_pieces(transport, pieces);
        size_t offered = 0;
        if (count <= 0)
            break;
        if (total >= FILE_TURN && file_waits(transport)) {
            *blocked = true; /* not the socket, but others want their turn: libuv tells us in the next one */
            break;
        }
        for (int i = 0; i < count; i++)
            offered += pieces[i].len;
        ssize_t written = try_write(transport, pieces, (unsigned)count);
        if (written < 0 || uv_is_closing(&transport->handle))
            break;
        consume(transport, (size_t)written);
        total += (size_t)written;
        *blocked = (size_t)written < offered;
    }
    return total;
}

/* The file is through, or has failed. */
static void tell_file(struct transport *transport)
{
    uint64_t left = transport->file.left;
    bool cut = transport->file_cut;
    if (!transport_has_file(transport) || (left > 0 && !cut) || uv_is_closing(&transport->handle))
        return;
    file_part_deinit(&transport->file);
    transport->file_cut = false;
    transport->callbacks->on_file(transport->context, cut ? TRANSPORT_FILE_CUT : TRANSPORT_FILE_SENT, left);
}

void transport_load(struct transport *transport)
{
    if (outbox_length(&transport->out) == 0 && file_waits(transport) && load_file(transport) != 0)
        return;
    tell_file(transport);
}

void transport_flush(struct transport *transport)
{
    bool blocked;
    if (transport->carry != NULL) {
        transport->carry(transport->context);
        return;
    }
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
    tell_file(transport);
    shut_down(transport);
}

int transport_write(struct transport *transport, const uv_buf_t *pieces, unsigned count)
{
    size_t total = 0;
    size_t written = 0;
    assert(!transport_has_file(transport));
    for (unsigned i = 0; i < count; i++)
        total += pieces[i].len;
    if (total >= WORTH_A_CALL && transport->tls == NULL && transport->carry == NULL) {
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
    size_t encrypted = transport->tls != NULL ? buffer_length(tls_output(transport->tls)) : 0;
    return outbox_length(&transport->out) + encrypted + uv_stream_get_write_queue_size(&transport->stream) +
           (size_t)transport->file.left;
}

size_t transport_unwritten_own(const struct transport *transport)
{
    bool own = transport->broadcast == NULL || transport->broadcast->policy == BROADCAST_OWN;
    size_t queued = own ? uv_stream_get_write_queue_size(&transport->stream) : 0;
    return outbox_length_own(&transport->out) + queued + (size_t)transport->file.left;
}

size_t transport_unsent(const struct transport *transport)
{
    size_t encrypted = transport->tls != NULL ? buffer_length(tls_output(transport->tls)) : 0;
    return transport_unwritten_own(transport) - (size_t)transport->file.left + encrypted;
}

uint64_t transport_delivered(const struct transport *transport)
{
    int queued = 0;
    uv_os_fd_t fd;
    if (transport->carry != NULL)
        return transport->given;
    size_t pending = uv_stream_get_write_queue_size(&transport->stream);
    if (uv_fileno(&transport->handle, &fd) == 0 && ioctl(fd, SIOCOUTQ, &queued) == 0 && queued > 0)
        pending += (size_t)queued;
    return transport->given > pending ? transport->given - pending : 0;
}

void transport_abandon(const struct transport *transport)
{
    uv_os_fd_t fd;
    struct linger at_once = { .l_onoff = 1 };
    if (transport->carry == NULL && uv_fileno(&transport->handle, &fd) == 0)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once); /* where it fails, the kernel goes on for a while */
}

void transport_close(struct transport *transport, uv_close_cb on_closed)
{
    uv_os_fd_t fd = -1;
    uv_fileno(&transport->handle, &fd);
    own_sockets_lock();
    own_sockets_remove(fd);
    uv_close(&transport->handle, on_closed);
    own_sockets_unlock();
}

enum transport_peer transport_peer(const struct transport *transport)
{
    struct pollfd polled = { .events = POLLRDHUP };
    if (transport->carry != NULL || uv_fileno(&transport->handle, &polled.fd) != 0 || poll(&polled, 1, 0) <= 0)
        return transport->input_ended ? TRANSPORT_PEER_ENDED : TRANSPORT_PEER_THERE;
    return (polled.revents & (POLLERR | POLLHUP)) != 0 ? TRANSPORT_PEER_GONE : TRANSPORT_PEER_ENDED;
}

void transport_say_goodbye(struct transport *transport)
{
    if (transport->tls == NULL || tls_state(transport->tls) != TLS_OPEN || !is_usable(transport) || transport->write_pending ||
        !is_all_written(transport))
        return;
    tls_close(transport->tls);
    uv_buf_t piece = { .base = (char *)buffer_bytes(tls_output(transport->tls)), .len = buffer_length(tls_output(transport->tls)) };
    if (piece.len > 0)
        try_write(transport, &piece, 1);
}

void transport_finish(struct transport *transport)
{
    transport->finishing = true;
    transport_flush(transport);
}
