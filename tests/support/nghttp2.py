"""The version of nghttp2 that the server runs on, where its versions do not behave alike."""

import subprocess
from functools import cache

# An error of a stream's flow control ends the connection, by GOAWAY with FLOW_CONTROL_ERROR; before, the stream by RST_STREAM.
FLOW_ERRORS_END_THE_CONNECTION = (1, 67)
# A stream that its client resets before our RST_STREAM is out gets none.
RESETS_ARE_NOT_ANSWERED = (1, 69)
# Priorities of RFC 7540 are ignored, those that RFC 7540 does not allow too.
HAS_NO_OLD_PRIORITIES = (1, 65)


@cache
def version() -> tuple[int, int]:
    """(major, minor)"""
    shown = subprocess.run(["pkg-config", "--modversion", "libnghttp2"], check=True, capture_output=True, text=True, timeout=30)
    major, minor, *_ = shown.stdout.strip().split(".")
    return int(major), int(minor)
