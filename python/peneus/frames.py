"""Where a task or a thread is stuck, as text."""

import asyncio
import gc
import linecache
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any

from .printable import printable

# Iterators that Python puts around what is awaited. They have no attribute for it; the garbage collector knows.
_WRAPPERS = ("async_generator_asend", "async_generator_athrow", "anext_awaitable", "coroutine_wrapper", "FutureIter")


def await_chain(awaitable: Any) -> Iterator[str]:
    """One entry for each frame from a task's coroutine down to the innermost await, then what that one waits for."""
    seen: set[int] = set()
    while awaitable is not None and id(awaitable) not in seen:
        seen.add(id(awaitable))
        awaitable = _unwrapped(awaitable)
        code, frame, inner = _look_into(awaitable)
        if code is None:
            yield f"  waiting for {_short(awaitable)}"
            return
        yield _entry(code, frame.f_lineno if frame is not None else code.co_firstlineno)
        awaitable = inner


def _unwrapped(awaitable: Any) -> Any:
    """What is awaited by way of awaitable: the coroutine or generator, that of a task, or a future."""
    if type(awaitable).__name__ in _WRAPPERS:
        for inner in gc.get_referents(awaitable):
            if issubclass(type(inner), asyncio.Future) or _look_into(inner)[0] is not None or type(inner).__name__ in _WRAPPERS:
                return _unwrapped(inner)
    if issubclass(type(awaitable), asyncio.Task):
        return awaitable.get_coro()
    return awaitable


def thread_stack(frame: FrameType | None) -> Iterator[str]:
    """One entry for each frame of a thread, the innermost last."""
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    for each in reversed(frames):
        yield _entry(each.f_code, each.f_lineno)


def _look_into(awaitable: Any) -> tuple[CodeType | None, FrameType | None, Any]:
    """Code, frame and what is awaited by a coroutine, a generator or an asynchronous generator; no code for anything else.

    Only the type is asked: it may be anybody's object."""
    for code, frame, inner in (
        ("cr_code", "cr_frame", "cr_await"),
        ("gi_code", "gi_frame", "gi_yieldfrom"),
        ("ag_code", "ag_frame", "ag_await"),
    ):
        if hasattr(type(awaitable), code) and hasattr(type(awaitable), inner):
            return getattr(awaitable, code), getattr(awaitable, frame), getattr(awaitable, inner)
    return None, None, None


def _entry(code: CodeType, line: int | None) -> str:
    entry = f'  File "{code.co_filename}", line {line}, in {code.co_name}'
    source = linecache.getline(code.co_filename, line or 0).strip()
    return f"{entry}\n    {source}" if source else entry


def _short(value: Any) -> str:
    """repr(value) on one line, at most 200 characters; never fails: it is somebody else's code."""
    try:
        text = printable(repr(value))
    except Exception as error:
        text = f"<{type(value).__name__}, whose repr() raised {type(error).__name__}>"
    return text if len(text) <= 200 else text[:197] + "..."
