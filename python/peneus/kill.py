"""What is said when an application is killed: Daphne's line, then where it is stuck and what it held."""

import asyncio
import contextvars
import functools
import logging
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

from . import frames
from ._core import current_connection
from .printable import printable
from .words import counted

if TYPE_CHECKING:
    from ._core import Connection

logger = logging.getLogger("peneus.server")

NOTABLE_STALL = 1.0  # s that the event loop stood still

# The first line is Daphne's, word for word: people's alerts look for it.
MESSAGE = "Application instance %r for connection %s took too long to shut down and was killed.%s"


def report_kill(connection: "Connection", blocked_at: str = "") -> None:
    """Logs that the application of connection is killed. Call it before the task is cancelled, once. blocked_at is the stack at
    which the event loop last stood still."""
    try:
        details = "".join(f"\n{line}" for line in _details(connection, blocked_at))
    except Exception:  # the line itself must come, whatever state the application is in
        logger.exception("Peneus could not say where an application is stuck")
        details = ""
    logger.warning(MESSAGE, connection.task, _name(connection), details)


def _name(connection: "Connection") -> str:
    scope = connection.scope
    client = scope.get("client")
    peer = f" from {client[0]}:{client[1]}" if client else ""
    return printable(f"<{connection.protocol} {scope.get('path')}{peer}, {connection.state}>")


def _details(connection: "Connection", blocked_at: str) -> Iterator[str]:
    yield _held(connection)
    if connection.stood_still >= NOTABLE_STALL:
        place = f"; it was at (innermost last):\n{blocked_at}" if blocked_at else ""
        yield f"Meanwhile the event loop stood still for {connection.stood_still:.1f} s, which do not count{place}"
    task = connection.task
    yield "It is stuck at (innermost last):"
    yield from frames.await_chain(task.get_coro())
    for child in _children(connection, task):
        yield f"Its task {printable(child.get_name())} is at (innermost last):"
        yield from frames.await_chain(child.get_coro())
    for thread, frame in _threads(connection):
        yield f"Thread {printable(thread)} runs for it, at (innermost last):"
        yield from frames.thread_stack(frame)


def _held(connection: "Connection") -> str:
    report = connection.report()
    if report is None or not report["channels"]:
        return "It held no channel."
    names = ", ".join(map(printable, report["group_names"]))
    more = report["groups"] - len(report["group_names"])
    groups = counted(report["groups"], "group") + (f" ({names}{f' and {more} more' if more > 0 else ''})" if names else "")
    queued = f"{counted(report['queued'], 'message')} ({counted(report['queued_bytes'], 'byte')})"
    return (
        f"It held {counted(report['channels'], 'channel')} and was in {groups}; {queued} "
        f"{'is' if report['queued'] == 1 else 'are'} queued for it, {report['dropped']} were dropped."
    )


def _children(connection: "Connection", own: Any) -> Iterator[Any]:
    """Other tasks that run for connection. Python tells a task's context from 3.12 on."""
    for task in asyncio.all_tasks():
        get_context = getattr(task, "get_context", None)
        if task is not own and get_context is not None and get_context().get(current_connection) is connection:
            yield task


def _threads(connection: "Connection") -> Iterator[tuple[str, FrameType]]:
    """The worker threads that run something for connection: its name, its innermost frame."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    me = threading.get_ident()
    for identifier, frame in sys._current_frames().items():
        if identifier != me and _runs_for(frame, connection):
            yield names.get(identifier, str(identifier)), frame


def _runs_for(frame: FrameType | None, connection: "Connection") -> bool:
    """Whether a frame of the stack runs something in a context of connection: asyncio.to_thread() and asgiref's sync_to_async()
    keep its Context.run in a variable."""
    while frame is not None:
        for value in list(frame.f_locals.values()):
            context = _context_of(value)
            if context is not None and context.get(current_connection) is connection:
                return True
        frame = frame.f_back
    return False


# The locals of other threads are somebody else's objects, and this is the loop's thread: only their type is looked at.
# isinstance() and attributes run code of theirs; Django's request.user would be loaded.
def _context_of(value: object) -> contextvars.Context | None:
    """The context in which value, a callable or an executor's work item, would run."""
    for _ in range(4):  # a work item of a partial of a partial of a Context.run
        if type(value) is contextvars.Context:
            return value
        if type(value) is functools.partial:
            arguments = [_bound_context(argument) for argument in value.args]
            found = next((context for context in arguments if context is not None), None)
            if found is not None:
                return found
            value = value.func
        elif type(value).__name__ == "_WorkItem" and type(value).__module__ == "concurrent.futures.thread":
            # Python 3.14 keeps the call in a tuple.
            value = getattr(value, "fn", None) or next(iter(getattr(value, "task", ())), None)
        else:
            return _bound_context(value)
    return None


def _bound_context(value: object) -> contextvars.Context | None:
    """The context of a bound Context.run."""
    if type(value) is not type(contextvars.copy_context().run):
        return None
    owner = getattr(value, "__self__", None)
    return owner if type(owner) is contextvars.Context else None
