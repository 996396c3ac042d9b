"""The article's remedy: the groups are left first, then comes what is slow."""

from tests.leaks.programs import frame
from tests.leaks.programs.incident import Incident, client_disconnected


class Remedy(Incident):
    async def disconnect(self, code) -> None:
        await self.leave_all()
        await client_disconnected.asend(sender=Incident)


application = frame.application(Remedy.as_asgi())
