"""Process 1 of a container: it reaps orphans, and the server runs in its child.

The kernel gives each process whose parent has ended to process 1; once it ends, it stays a zombie until process 1 waits for it.
The server itself cannot do that: it does not know orphans from its application's own children, whose exit status the application
reads.
"""

import os
import signal
from contextlib import suppress

# The terminal sends these to its whole foreground group: the child has them already.
_FROM_TERMINAL = frozenset({signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGWINCH})


def stand_in() -> None:
    """Forks where this process is process 1, and returns in the child. Process 1 passes signals on, and exits as the child does.
    Call it before there are threads."""
    if os.getpid() != 1:
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        child = os.fork()
    except OSError:  # no process more may be made: then nobody reaps
        child = 0
    if child != 0:
        os._exit(_look_after(child))
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _look_after(child: int) -> int:
    """Passes signals on to child and reaps, until child has ended: the exit code."""
    while True:
        came = signal.sigwaitinfo(signal.valid_signals())
        if came.si_signo == signal.SIGCHLD:
            status = _reap(child)
            if status is not None:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
        elif came.si_code <= 0 or came.si_signo not in _FROM_TERMINAL:  # above 0 it is the kernel's
            with suppress(ProcessLookupError):
                os.kill(child, came.si_signo)


def _reap(child: int) -> int | None:
    """Waits for every process that has ended; the wait status of child, if it is among them."""
    found = None
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0] != 0:
            if ended[0] == child:
                found = ended[1]
    return found
