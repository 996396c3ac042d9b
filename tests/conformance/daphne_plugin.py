"""A pytest plugin: the process that daphne.testing starts runs Peneus instead of Daphne.

Daphne's tests of one thing fail for another where Peneus does more than Daphne; these are evened out here, for every test:
they leave out Host, which RFC 9112 3.2 demands of HTTP/1.1; they allow no key in the scope that Daphne has not; their
application speaks no lifespan, and asks for events for ever after the disconnect, which it gets only once from Daphne.
"""

from __future__ import annotations

import asyncio
import http.client
import inspect
import sys
import traceback
from typing import Any

import daphne.testing
import hypothesis
import peneus

HOST = b"left-out.invalid"
MORE_THAN_DAPHNES = {"http": {"extensions", "state"}, "websocket": {"extensions", "state", "http_version"}}


class AsDaphneCallsIt:
    def __init__(self, application: Any) -> None:
        self.application = application

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError
        extra = MORE_THAN_DAPHNES[scope["type"]]
        seen = {name: value for name, value in scope.items() if name not in extra}
        seen["headers"] = [header for header in scope["headers"] if tuple(header) != (b"host", HOST)]
        left = False

        async def receive_once() -> Any:
            nonlocal left
            if left:
                await asyncio.Event().wait()
            event = await receive()
            left = event["type"].endswith(".disconnect")
            return event

        await self.application(seen, receive_once, send)


class PeneusProcess(daphne.testing.DaphneProcess):  # type: ignore[misc]
    def run(self) -> None:
        try:
            server = peneus.Server(
                AsDaphneCallsIt(self.get_application()),
                endpoints=[f"tcp:port={self.port.value}:interface={self.host}"],
                signal_handlers=False,
                server_name="daphne",
                ready_callable=lambda: self.tell(server),
                **self.kwargs,
            )
            if self.setup is not None:
                self.setup()
            try:
                server.run()
            finally:
                if self.teardown is not None:
                    self.teardown()
        except BaseException as error:
            self.errors.put((error, traceback.format_exc()))

    def tell(self, server: peneus.Server) -> None:
        self.port.value = server.listening_addresses[0][1]
        self.ready.set()


class WithHost(http.client.HTTPConnection):
    """Names a host where the test has not."""

    named = False

    def putheader(self, header: Any, *values: Any) -> None:
        name = header if isinstance(header, str) else header.decode()
        self.named = self.named or name.lower() == "host"
        super().putheader(header, *values)

    def endheaders(self, message_body: Any = None, *, encode_chunked: bool = False) -> None:
        if not self.named:
            self.putheader("Host", HOST)
        super().endheaders(message_body, encode_chunked=encode_chunked)


PATIENCE = 30.0  # s: the helpers of Daphne's tests wait 1 s for an answer, which a busy machine may not give in that time


def make_patient(function: Any) -> None:
    """Changes the default of function's parameter timeout, where it has one."""
    parameters = inspect.signature(function).parameters.values()
    defaults = {each.name: each.default for each in parameters if each.default is not inspect.Parameter.empty}
    if "timeout" in defaults:
        defaults["timeout"] = PATIENCE
        named = {name: defaults.pop(name) for name in function.__kwdefaults__ or {}}
        function.__defaults__, function.__kwdefaults__ = tuple(defaults.values()), named


def pytest_collection_finish() -> None:
    for function in vars(sys.modules["http_base"].DaphneTestCase).values():
        if inspect.isfunction(function):
            make_patient(function)


# The same examples in every run; one that fails is reported as it is: each costs a server's start.
hypothesis.settings.register_profile(
    "conformance", phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate), database=None, derandomize=True
)
hypothesis.settings.load_profile("conformance")
http.client.HTTPConnection = WithHost  # type: ignore[misc]
daphne.testing.DaphneProcess = PeneusProcess
daphne.testing.BaseDaphneTestingInstance.startup_timeout = 20
