"""The names of a process's channels, and whose a channel is by its name."""

import re
import uuid

MARK_AT = 12  # hexadecimal digits of a client's UUID before its version, which is e in Peneus (bus_config.py)


class ChannelNames:
    """kind: of the bus. client: this process, as 32 hexadecimal digits."""

    def __init__(self, kind: str, prefix: str, client: str) -> None:
        self._kind = kind
        self._prefix = prefix
        self._client = client
        # On the wire of channels_redis.pubsub a name ends in 32 digits alone: the first of ours are the process's.
        self._mark = client[: MARK_AT + 1]
        self._random = re.compile(rf"{re.escape(prefix)}.*\.([0-9a-f]{{32}})", re.DOTALL)

    def new(self, prefix: str) -> str:
        if self._kind == "redis":
            return f"{self._prefix}{prefix.removesuffix('.')}.{self._mark}{uuid.uuid4().hex[len(self._mark) :]}"
        return f"{prefix}.{self._client}!{uuid.uuid4().hex}"

    def is_foreign(self, channel: str) -> bool:
        """Whether the name says that another process receives from channel. Where there is no other process: never."""
        if self._kind == "local":
            return False
        if self._kind != "redis":
            return "!" in channel and f".{self._client}!" not in channel
        found = self._random.fullmatch(channel) if self._prefix else None  # without a prefix any name may be anybody's
        return found is not None and not found[1].startswith(self._mark)
