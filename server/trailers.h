/* trailers.h: which clients take the fields behind a response's body.
 *
 * Owner:   nobody.
 * Thread:  any.
 * Limits:  none.
 */
#ifndef PENEUS_SERVER_TRAILERS_H
#define PENEUS_SERVER_TRAILERS_H

#include <stdbool.h>

struct http1_head;

/* The request says "TE: trailers" (RFC 9110 section 10.1.4). */
bool trailers_are_taken(const struct http1_head *head);

#endif
