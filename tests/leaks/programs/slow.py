"""A consumer that takes its time over every message: it is always behind."""

import asyncio

from tests.leaks.programs import frame
from tests.leaks.programs.proxy import Proxy


class Slow(Proxy):
    async def notification(self, message) -> None:
        await asyncio.sleep(0.2)
        await super().notification(message)


application = frame.application(Slow.as_asgi())
