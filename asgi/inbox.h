/* inbox.h: what a consumer waits on: the next event of its connection or message of its channel, whichever came first.
 *
 * Owner:   Python. It can be awaited again and again, by one task at a time.
 * Thread:  its connection's loop's, with the GIL.
 * Limits:  none of its own: it holds no result, so an await that is cancelled loses nothing. INBOX_IN_A_ROW results without
 *          a wait, and the loop has its turn.
 */
#ifndef PENEUS_ASGI_INBOX_H
#define PENEUS_ASGI_INBOX_H

#include <Python.h>

enum { INBOX_IN_A_ROW = 16 };

extern PyType_Spec inbox_spec;

#endif
