"""Tests of channels_redis that fail against peneus.ChannelLayer with the local bus: they test Redis, or channels_redis's own
insides, and not what a layer does."""

INSIDES = "reads a private attribute of channels_redis's class"
CORE: dict[str, str] = {
    "test_core.py::test_reject_bad_client_prefix": "wants an AssertionError for another client's channel: whose a channel "
    "is says channels_redis's own naming; the specification lets receive() wait",
    "test_core.py::test_default_group_key_format": INSIDES,
    "test_core.py::test_custom_group_key_format": INSIDES,
    "test_core.py::test_receive_buffer_respects_capacity": INSIDES,
}
PUBSUB: dict[str, str] = {
    "test_pubsub.py::test_receive_on_non_owned_general_channel": "sends a str: the specification's messages are dicts; and two "
    "layers that are two objects meet only over Redis",
    "test_pubsub.py::test_loop_instance_channel_layer_reference": INSIDES,
    "test_pubsub.py::test_serialize": INSIDES,
    "test_pubsub.py::test_deserialize": INSIDES,
    "test_pubsub.py::test_multi_event_loop_garbage_collection": INSIDES,
    "test_pubsub.py::test_auto_reconnect": "kills Redis connections: there are none",
}
