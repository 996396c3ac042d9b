"""An unclean shutdown by exception: out of a handler while the client is there, and out of disconnect() after it has left."""

from tests.leaks.programs import frame
from tests.leaks.programs.proxy import Proxy


class Raising(Proxy):
    async def receive_json(self, content) -> None:
        if "raise" in content:
            raise RuntimeError("the consumer was told to raise")
        await super().receive_json(content)

    async def disconnect(self, code) -> None:
        raise RuntimeError("disconnect() raises before it has left any group")


application = frame.application(Raising.as_asgi())
