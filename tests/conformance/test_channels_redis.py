"""channels_redis's tests of what a channel layer does, against peneus.ChannelLayer."""

from tests.conformance.foreign import compare, outcomes
from tests.conformance.layer_differences import CORE, PUBSUB
from tests.conformance.sdist import CHANNELS_REDIS, unpacked

OPTIONS = ["-o", "asyncio_mode=auto", "--timeout", "15"]


def test_core() -> None:
    found = outcomes(unpacked(CHANNELS_REDIS) / "tests", ["test_core.py"], "tests.conformance.layer_plugin", OPTIONS)
    compare(found, CORE, at_least=15)


def test_pubsub() -> None:
    found = outcomes(unpacked(CHANNELS_REDIS) / "tests", ["test_pubsub.py"], "tests.conformance.layer_plugin", OPTIONS)
    compare(found, PUBSUB, at_least=8)
