/* fields_state.h: the two formats behind fields.h. Private to fields*.c.
 *
 * Owner:   see fields.h.
 * Thread:  any.
 * Limits:  see fields.h.
 */
#ifndef PENEUS_CHANNELLAYER_FIELDS_STATE_H
#define PENEUS_CHANNELLAYER_FIELDS_STATE_H

#include "channellayer/fields.h"

/* fields_begin() and fields_next() of each format; next and end are set. */
int fields_begin_msgpack(struct fields *fields);
int fields_next_msgpack(struct fields *fields, struct field *field);
int fields_begin_json(struct fields *fields);
int fields_next_json(struct fields *fields, struct field *field);

#endif
