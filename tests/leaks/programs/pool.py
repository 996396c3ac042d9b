"""A disconnect step of a second in a thread pool, before the groups are left: a pool runs a few of them at a time."""

import time

from asgiref.sync import sync_to_async

from tests.leaks.programs import frame
from tests.leaks.programs.proxy import Proxy


def step() -> None:
    time.sleep(1)
    frame.counts["steps"] += 1


class Pool(Proxy):
    async def disconnect(self, code) -> None:
        await sync_to_async(step, thread_sensitive=False)()
        await super().disconnect(code)


application = frame.application(Pool.as_asgi())
