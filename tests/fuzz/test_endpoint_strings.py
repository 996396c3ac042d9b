"""Endpoint strings are parsed in Python, so libFuzzer has nothing to do here: any text is an endpoint or a SettingError that
names it, and what `describe` writes is read as it was meant."""

import os

from hypothesis import given, settings
from hypothesis import strategies as st
from peneus import endpoints
from peneus.errors import SettingError

EXAMPLES = int(os.environ.get("PENEUS_FUZZ_SECONDS", "5")) * 200
KEYS = [*(key for names in endpoints.ARGUMENTS.values() for key in names), "sslmethod", "caCertsDir", "other"]
VALUES = st.one_of(
    st.text(max_size=12), st.integers(-2, 70000).map(str), st.sampled_from([r"\:", "\\", ":", "=", "", "::1", "[::1]"])
)
NAMED = st.builds("{}={}".format, st.sampled_from(KEYS), VALUES)
KINDS = st.sampled_from([*endpoints.EXAMPLES, "TCP", "systemd", ""])
LIKELY = st.builds(lambda kind, parts: ":".join([kind, *parts]), KINDS, st.lists(st.one_of(NAMED, VALUES), max_size=6))
PATHS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=40)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.one_of(st.text(max_size=80), LIKELY))
def test_any_text_is_an_endpoint_or_an_error_that_says_so(text: str) -> None:
    try:
        endpoint = endpoints.parse(text)
    except SettingError as error:
        assert repr(text) in str(error)
        return
    where = endpoint.where if isinstance(endpoint, endpoints.SSL) else endpoint
    match where:
        case endpoints.TCP(_, port):
            assert 0 <= port <= 65535
        case endpoints.Unix(path, mode):
            assert path and 0 <= mode <= 0o7777
        case endpoints.FileDescriptor(number):
            assert 0 <= number <= 2**20


@settings(max_examples=EXAMPLES, deadline=None)
@given(PATHS, st.integers(0, 65535))
def test_what_is_described_is_parsed_as_it_was_meant(text: str, port: int) -> None:
    (unix,) = endpoints.describe(unix_socket=text)
    assert endpoints.parse(unix) == endpoints.Unix(text, endpoints.UNIX_MODE)
    (tcp,) = endpoints.describe(host=text, port=port)
    assert endpoints.parse(tcp) == endpoints.TCP(text.strip("[]"), port)
