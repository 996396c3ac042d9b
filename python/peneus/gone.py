"""Which exceptions only say that a client has left: the ASGI specification wants no error in the log for those."""

from ._core import ClientGone

LOOKED_AT = 100_000  # exceptions; a chain that is a ring has no end


def client_left(error: BaseException) -> bool:
    """Whether error is what `send()` raises after the client has left, or was raised because of it, or while it was handled; or a
    group of nothing else. What is raised `from None` stands for itself."""
    waiting = [error]
    for _ in range(LOOKED_AT):
        if not waiting:
            return True
        one = waiting.pop()
        if isinstance(one, ClientGone):
            continue
        members = _members(one)
        before = one.__cause__ if one.__suppress_context__ else one.__context__
        if not members and before is None:
            return False
        waiting.extend(members or [before])  # type: ignore[list-item]
    return False


def _members(error: BaseException) -> tuple[BaseException, ...]:
    """Those of an exception group, also of the package exceptiongroup's before Python 3.11."""
    members = getattr(error, "exceptions", ()) if hasattr(error, "derive") else ()
    return members if isinstance(members, tuple) and all(isinstance(member, BaseException) for member in members) else ()
