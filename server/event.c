#include "server/event_create.h"

#include <stdint.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "server/load.h"
#include "server/tls_info.h"
#include "server/trailers.h"

struct event *event_create(enum event_kind kind, uint64_t exchange, const void *bytes, size_t length)
{
    if (length > SIZE_MAX / 2)
        return NULL;
    struct event *event = length > 0 ? mem_try_alloc(sizeof *event + length) : mem_alloc(sizeof *event);
    if (event == NULL)
        return NULL;
    *event = (struct event){ .kind = kind, .exchange = exchange, .made_at = clock_ns(), .length = length };
    event->bytes = (unsigned char *)(event + 1);
    if (bytes != NULL && length > 0)
        memcpy(event->bytes, bytes, length);
    return event;
}

struct request_event *request_event_create(const struct http1_head *head)
{
    size_t fields_size = (size_t)head->field_count * sizeof *head->fields;
    struct request_event *request = mem_try_alloc(sizeof *request + fields_size + head->length);
    if (request == NULL)
        return NULL;
    *request = (struct request_event){
        .event = { .kind = EVENT_REQUEST, .length = head->length },
        .takes_trailers = trailers_are_taken(head),
        .has_body = head->has_body,
        .http_major = head->major,
        .http_minor = head->minor,
        .method = head->method,
        .target = head->target,
        .field_count = head->field_count,
        .fields = (struct field *)(request + 1),
    };
    request->event.bytes = (unsigned char *)(request->fields + head->field_count);
    if (fields_size > 0)
        memcpy(request->fields, head->fields, fields_size);
    if (head->length > 0)
        memcpy(request->event.bytes, head->bytes, head->length);
    return request;
}

void event_destroy(struct event *event)
{
    if (event != NULL && event->kind == EVENT_REQUEST) {
        struct request_event *request = (struct request_event *)event;
        tls_info_release(request->tls);
        if (request->load != NULL)
            load_take_head(request->load, request_event_weight(request));
    }
    if (event != NULL && event->kind == EVENT_REFUSED) {
        struct refusal_event *refusal = (struct refusal_event *)event;
        load_take_head(refusal->load, refusal_event_weight(refusal));
    }
    mem_free(event);
}
