#include "server/http2_history.h"

#include <nghttp2/nghttp2.h>

void http2_history_open(struct http2_history *history, int32_t id)
{
    uint32_t at = history->count++ % HISTORY_SIZE;
    history->last = id;
    history->ids[at] = id;
    history->ended[at] = HTTP2_NOT_ENDED;
}

/* Where id is, or -1. */
static int find(const struct http2_history *history, int32_t id)
{
    uint32_t known = history->count < HISTORY_SIZE ? history->count : HISTORY_SIZE;
    for (uint32_t i = 0; i < known; i++)
        if (history->ids[i] == id)
            return (int)i;
    return -1;
}

void http2_history_end(struct http2_history *history, int32_t id, enum http2_ended how)
{
    int at = find(history, id);
    if (at >= 0 && history->ended[at] == HTTP2_NOT_ENDED)
        history->ended[at] = (unsigned char)how;
}

uint32_t http2_history_judge(const struct http2_history *history, int32_t id)
{
    int at = find(history, id);
    int32_t oldest = history->count > HISTORY_SIZE ? history->ids[history->count % HISTORY_SIZE] : 0;
    if (id % 2 == 0 || id > history->last)
        return 0; /* nghttp2 judges ids that the peer cannot have opened */
    if (at >= 0)
        return history->ended[at] == HTTP2_ENDED_BY_PEER ? NGHTTP2_STREAM_CLOSED : 0;
    return id > oldest ? NGHTTP2_PROTOCOL_ERROR : 0; /* passed over when a higher one was opened (5.1.1): it cannot be opened any more */
}
