"""Who made a channel: the consumer's class, and the line."""

import sys
from types import CodeType, FrameType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

NOBODYS = ("peneus.", "asgiref.", "asyncio.", "contextlib")  # modules whose frames say nothing
FRAMEWORK = "channels."
DEPTH = 12  # frames: a consumer asks for its channel directly
REMEMBERED = 1024  # consumers, and functions of each


class Origin(NamedTuple):
    """consumer: "module.Class", or where there is none the function. made_at: "file:line"; of the consumer's class where Channels
    has made the channel for it."""

    consumer: str
    made_at: str
    gaps: bool  # it wants to know when messages may have been lost

    @property
    def at(self) -> str:
        """ " at file:line", for a sentence; "" where that is not known."""
        return f" at {self.made_at}" if self.made_at else ""


class Nobody:
    """Stands for the consumer where there is none."""


# By consumer and the code that made the channel, then by line. Classes and functions may be made at run time, and end.
_known: WeakKeyDictionary[type, WeakKeyDictionary[CodeType, dict[int, Origin]]] = WeakKeyDictionary()


def origin(layer: object) -> Origin:
    """Of the call to layer's coroutine that asks."""
    frame: FrameType | None = sys._getframe(1)
    found: FrameType | None = None
    consumer: type | None = None
    for _ in range(DEPTH):
        if frame is None:
            break
        if found is None and not frame.f_globals.get("__name__", "").startswith(NOBODYS):
            found = frame
        who = _self_of(frame)
        if who is not None and who is not layer and callable(who) and not type(who).__module__.startswith(NOBODYS):
            consumer = type(who)
            break
        frame = frame.f_back
    code, line = (found.f_code, found.f_lineno) if found is not None else (origin.__code__, 0)
    lines = _lines(consumer or Nobody, code)
    known = lines.get(line)
    if known is None:
        known = lines[line] = _described(found, consumer)
    return known


def _lines(consumer: type, code: CodeType) -> dict[int, Origin]:
    by_code = _known.get(consumer)
    if by_code is None:
        if len(_known) >= REMEMBERED:
            _known.clear()
        by_code = _known[consumer] = WeakKeyDictionary()
    lines = by_code.get(code)
    if lines is None:
        if len(by_code) >= REMEMBERED:
            by_code.clear()
        lines = by_code[code] = {}
    return lines


def _self_of(frame: FrameType) -> Any:
    """The object whose method runs in frame."""
    code = frame.f_code
    if code.co_argcount == 0 or code.co_varnames[0] != "self":
        return None
    return frame.f_locals.get("self")


def _described(frame: FrameType | None, consumer: type | None) -> Origin:
    line = f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else ""
    module = frame.f_globals.get("__name__", "?") if frame is not None else FRAMEWORK
    if consumer is None:
        return Origin(f"{module}.{frame.f_code.co_name}" if frame is not None else "", line, False)
    if module.startswith(FRAMEWORK):
        line = _line_of(consumer) or line
    return Origin(f"{consumer.__module__}.{consumer.__qualname__}", line, hasattr(consumer, "channel_layer_gap"))


def _line_of(consumer: type) -> str:
    """Where its class stands, or, before Python 3.13, its first method."""
    codes = [code for value in vars(consumer).values() if isinstance(code := getattr(value, "__code__", None), CodeType)]
    if not codes:
        return ""
    first = min(codes, key=lambda code: code.co_firstlineno)
    return f"{first.co_filename}:{vars(consumer).get('__firstlineno__', first.co_firstlineno)}"
