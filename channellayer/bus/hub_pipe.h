/* hub_pipe.h: one Unix socket between a process and the hub: frames in, frames out, on the bus thread.
 *
 * Owner:   the struct that embeds it, which may be freed from on_closed on.
 * Thread:  the bus thread.
 * Limits:  in: one frame (HUB_FRAME_LIMIT). Out: out_limit bytes; then the oldest of what may be dropped goes (counted). Where that
 *          is not enough, at twice out_limit, the peer asks and never reads: the pipe ends.
 */
#ifndef PENEUS_CHANNELLAYER_BUS_HUB_PIPE_H
#define PENEUS_CHANNELLAYER_BUS_HUB_PIPE_H

#include <stdbool.h>
#include <uv.h>

#include "base/list.h"
#include "channellayer/bus/hub_frame.h"

struct hub_pipe;

/* A frame as bytes, shared by every pipe it waits in. Thread: the bus thread. */
struct hub_chunk {
    unsigned references;
    bool droppable;
    size_t length;
    unsigned char bytes[];
};

struct hub_pipe_callbacks {
    /* May close the pipe. false: the peer does not keep to the rules; it is closed. */
    bool (*on_frame)(struct hub_pipe *pipe, const struct hub_frame *frame);
    void (*on_end)(struct hub_pipe *pipe);    /* the peer has gone, or broke the rules: hub_pipe_close() follows from here. Once */
    void (*on_closed)(struct hub_pipe *pipe); /* the handle is closed */
    void (*on_written)(struct hub_pipe *pipe); /* out_bytes has become less; or NULL */
};

struct hub_pipe {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_pipe_t pipe;
    };
    const struct hub_pipe_callbacks *callbacks;
    unsigned char *in; /* a frame that has come in part; or NULL */
    size_t in_length;
    size_t in_room;
    struct list_node out; /* of struct waiting; the first writing of them are with libuv */
    unsigned writing;
    size_t out_bytes;     /* of what waits, droppable or not, with what each takes of memory */
    size_t out_limit;     /* 0: none, where whoever writes bounds it */
    uint64_t dropped;
    bool ended;
};

/* Initialises the handle. 0 or a libuv error. */
int hub_pipe_init(struct hub_pipe *pipe, uv_loop_t *loop, const struct hub_pipe_callbacks *callbacks, size_t out_limit);

/* uv_pipe_connect() and uv_accept(). */
void hub_pipe_connect(struct hub_pipe *pipe, uv_connect_t *request, const char *path, uv_connect_cb on_connect);
int hub_pipe_accept(struct hub_pipe *pipe, uv_stream_t *listener);

/* Connected or accepted: reads from now on. */
void hub_pipe_begin(struct hub_pipe *pipe);

/* The frame as a chunk with one reference; NULL when there is no memory, or it is too long. */
struct hub_chunk *hub_chunk_create(const struct hub_frame *frame, bool droppable);
void hub_chunk_release(struct hub_chunk *chunk); /* NULL is allowed */

/* Writes chunk behind the others; a reference is taken. False: it, or an older one, was dropped. */
bool hub_pipe_write(struct hub_pipe *pipe, struct hub_chunk *chunk);

/* The same for a frame that must not be dropped. False when there is no memory, or no room: the pipe has ended. */
bool hub_pipe_say(struct hub_pipe *pipe, const struct hub_frame *frame);

/* Whether the process at the other end, which connected or listens, is the same user's. */
bool hub_pipe_is_same_user(const struct hub_pipe *pipe);

/* Closes, once; what waits is dropped. */
void hub_pipe_close(struct hub_pipe *pipe);

#endif
