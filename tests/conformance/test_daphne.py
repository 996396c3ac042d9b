"""Daphne's black-box tests, against Peneus."""

from tests.conformance.daphne_differences import DIFFERENCES, RACES
from tests.conformance.foreign import compare, outcomes
from tests.conformance.sdist import DAPHNE, unpacked

FILES = ["test_http_request.py", "test_http_response.py", "test_websocket.py"]


def test_daphne() -> None:
    found = outcomes(unpacked(DAPHNE) / "tests", FILES, "tests.conformance.daphne_plugin")
    compare(found, DIFFERENCES, at_least=46, races=RACES)
