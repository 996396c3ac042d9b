"""An unclean shutdown by timeout: the consumer waits for something that does not come, before it leaves its groups."""

import asyncio

from tests.leaks.programs import frame
from tests.leaks.programs.proxy import Proxy


class Stuck(Proxy):
    async def disconnect(self, code) -> None:
        await asyncio.sleep(3600)
        await super().disconnect(code)


application = frame.application(Stuck.as_asgi())
