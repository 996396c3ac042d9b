/* date.h: the Date header's value, made once a second.
 *
 * Owner:   the server embeds it.
 * Thread:  the I/O thread.
 * Limits:  none.
 */
#ifndef PENEUS_SERVER_DATE_H
#define PENEUS_SERVER_DATE_H

#include <time.h>

struct date {
    time_t second;
    char text[30]; /* "Sun, 06 Nov 1994 08:49:37 GMT" */
};

/* The present second as IMF-fixdate (RFC 9110, 5.6.7). Valid until the next call. */
const char *date_text(struct date *date);

#endif
