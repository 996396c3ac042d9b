/* task.h: the application's task: its start in a context of its own, its end, its kill.
 *
 * Owner:   the loop; the connection holds it until it ends.
 * Thread:  the loop's, with the GIL.
 * Limits:  none.
 */
#ifndef PENEUS_ASGI_TASK_H
#define PENEUS_ASGI_TASK_H

#include "asgi/connection.h"

/* Calls the application of connection, which is in the server's table. Each of these: 0, or -1 with a KeyboardInterrupt or
 * SystemExit, which must end the loop. */
int task_start(struct pyconnection *connection);

/* application_close_timeout has passed. */
int task_kill(struct pyconnection *connection);

/* Cancels the application's task; it still counts until it ends. */
int task_cancel(struct pyconnection *connection);

#endif
