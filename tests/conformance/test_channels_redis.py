"""channels_redis's tests of what a channel layer does, against peneus.ChannelLayer: on the local bus, and on its own wires."""

from collections.abc import Iterator, Mapping

import pytest

from tests.conformance.foreign import compare, outcomes
from tests.conformance.layer_differences import CORE, LOCAL_CORE, PUBSUB, PUBSUB_SENTINEL, RACES, SENTINEL
from tests.conformance.sdist import CHANNELS_REDIS, unpacked
from tests.support.locks import locked
from tests.support.redis import redis_server

OPTIONS = ["-o", "asyncio_mode=auto", "--timeout", "30"]


def check(file: str, differences: Mapping[str, str], at_least: int) -> None:
    with locked("sdists"):
        folder = unpacked(CHANNELS_REDIS)
    found = outcomes(folder / "tests", [file], "tests.conformance.layer_plugin", OPTIONS)
    compare(found, differences, at_least, RACES)


@pytest.fixture
def redis(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Redis, and a Sentinel as the tests want it: with their password, and their name for the master."""
    with redis_server() as server:
        file = server.directory / "sentinel.conf"
        file.write_text(f"requirepass channels_redis\nsentinel monitor sentinel 127.0.0.1 {server.port} 1\n")
        with redis_server(str(file), "--sentinel") as sentinel:
            monkeypatch.setenv("CONFORMANCE_REDIS", str(server.port))
            monkeypatch.setenv("CONFORMANCE_SENTINEL", str(sentinel.port))
            yield


def test_core_on_the_local_bus() -> None:
    check("test_core.py", LOCAL_CORE, at_least=15)


def test_pubsub_on_the_local_bus() -> None:
    check("test_pubsub.py", PUBSUB, at_least=8)


@pytest.mark.usefixtures("redis")
def test_core() -> None:
    check("test_core.py", CORE, at_least=22)


@pytest.mark.usefixtures("redis")
def test_pubsub() -> None:
    check("test_pubsub.py", PUBSUB, at_least=11)


@pytest.mark.usefixtures("redis")
def test_core_by_way_of_sentinel() -> None:
    check("test_sentinel.py", SENTINEL, at_least=20)


@pytest.mark.usefixtures("redis")
def test_pubsub_by_way_of_sentinel() -> None:
    check("test_pubsub_sentinel.py", PUBSUB_SENTINEL, at_least=8)
