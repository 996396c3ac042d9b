/* file_send.h: send() for files: http.response.pathsend and http.response.zerocopysend.
 *
 * Owner:   nobody. A command owns a descriptor of its own, so the application may close or delete the file as soon as send() has
 *          been called.
 * Thread:  the loop's, with the GIL, which is given away while a file is opened.
 * Limits:  connection.h's. Regular files only: others have no length, and reading them may wait for ever.
 */
#ifndef PENEUS_ASGI_FILE_SEND_H
#define PENEUS_ASGI_FILE_SEND_H

#include <Python.h>

#include "asgi/connection.h"

/* The state allows them. 0, or -1 with an exception that names the file: OSError where it cannot be opened, ValueError where it is no
 * regular file or is shorter than Content-Length says. Nothing was sent then. */
int file_send_path(struct pyconnection *connection, PyObject *message);
int file_send_descriptor(struct pyconnection *connection, PyObject *message);

#endif
