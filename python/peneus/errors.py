"""What goes wrong because of what somebody wrote: each error says what to write instead."""


class ConfigurationError(Exception):
    """A setting, an address or an application's path that cannot be used. Its text is for the person who wrote it."""


class SettingError(ConfigurationError, ValueError):
    """A setting has a value that it cannot have, or does not exist."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")
        self.name = name


class ApplicationImportError(ConfigurationError):
    """`module:attribute` names nothing. (An application that fails while it is imported raises its own error.)"""


class ListenError(ConfigurationError, OSError):
    """An address cannot be listened on."""


class StartupFailed(ConfigurationError):
    """The application answered `lifespan.startup` with `lifespan.startup.failed`."""


class WorkersFailed(ConfigurationError):
    """No worker could start. status is the exit status that says so."""

    def __init__(self, problem: str, status: int) -> None:
        super().__init__(problem)
        self.status = status


class ForeignChannel(RuntimeError, AssertionError):
    """Only the process that a channel belongs to can do what was asked for. It is the RuntimeError of channels_redis.pubsub and
    the AssertionError of channels_redis.core."""


class BusUnavailable(ConnectionError):
    """A message could not be sent to the other processes of a channel layer, or nobody has confirmed it in time."""
