"""The incident itself: on disconnect a Django signal is sent, whose synchronous receiver takes longer than the server waits,
and the groups are left only after it."""

import time

from django.dispatch import Signal

from tests.leaks.programs import frame
from tests.leaks.programs.proxy import Proxy

client_disconnected = Signal()


def cancel_open_orders(sender, **kwargs) -> None:
    frame.counts["orders being cancelled"] += 1
    time.sleep(3)
    frame.counts["orders cancelled"] += 1


client_disconnected.connect(cancel_open_orders)


class Incident(Proxy):
    async def disconnect(self, code) -> None:
        await client_disconnected.asend(sender=type(self))
        await self.leave_all()


application = frame.application(Incident.as_asgi())
