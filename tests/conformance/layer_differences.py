"""Tests of channels_redis that fail against peneus.ChannelLayer: they test channels_redis's own insides, and not what a layer
does."""

INSIDES = "reads a private attribute of channels_redis's class"
CORE: dict[str, str] = {
    "test_core.py::test_default_group_key_format": INSIDES,
    "test_core.py::test_custom_group_key_format": INSIDES,
    "test_core.py::test_receive_buffer_respects_capacity": INSIDES,
}
LOCAL_CORE: dict[str, str] = {
    **CORE,
    "test_core.py::test_reject_bad_client_prefix": "wants an AssertionError for another process's channel: on the local bus "
    "there is no other process, and receive() waits",
}
SENTINEL: dict[str, str] = {
    **{name.replace("test_core", "test_sentinel"): reason for name, reason in CORE.items()},
    "test_sentinel.py::test_serialize": INSIDES,
    "test_sentinel.py::test_deserialize": INSIDES,
}
PUBSUB: dict[str, str] = {
    "test_pubsub.py::test_receive_on_non_owned_general_channel": "sends a str: the specification's messages are dicts",
    "test_pubsub.py::test_loop_instance_channel_layer_reference": INSIDES,
    "test_pubsub.py::test_serialize": INSIDES,
    "test_pubsub.py::test_deserialize": INSIDES,
    "test_pubsub.py::test_multi_event_loop_garbage_collection": INSIDES,
    "test_pubsub.py::test_auto_reconnect": "closes the connections of channels_redis's class, which it reads there",
}
PUBSUB_SENTINEL: dict[str, str] = {
    "test_pubsub_sentinel.py::" + name: INSIDES
    for name in (
        "test_loop_instance_channel_layer_reference",
        "test_serialize",
        "test_deserialize",
        "test_multi_event_loop_garbage_collection",
        "test_auto_reconnect",
    )
}

# A process takes messages out of Redis before anybody receives them. Whether a channel is full when a message comes depends on
# what has been taken and received by then.
RACES: dict[str, str] = {
    f"{file}.py::test_group_send_capacity_multiple_channels": "may receive a message for which room was made meanwhile"
    for file in ("test_core", "test_sentinel")
}
