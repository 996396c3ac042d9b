"""A pytest plugin: Channels as a Peneus server leaves it in its process."""

import channels.consumer
from peneus import consumers

consumers.install()
assert hasattr(channels.consumer.AsyncConsumer.__call__, "peneus_wrapped")
assert hasattr(channels.consumer.aclose_old_connections, "peneus_wrapped")
