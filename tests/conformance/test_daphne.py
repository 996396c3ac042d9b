"""Daphne's black-box tests, against Peneus."""

from tests.conformance.daphne_differences import DIFFERENCES, RACES
from tests.conformance.foreign import compare, outcomes
from tests.conformance.sdist import DAPHNE, unpacked
from tests.support.locks import locked

FILES = ["test_http_request.py", "test_http_response.py", "test_websocket.py"]


def test_daphne() -> None:
    with locked("sdists"):
        folder = unpacked(DAPHNE)
    found = outcomes(folder / "tests", FILES, "tests.conformance.daphne_plugin")
    compare(found, DIFFERENCES, at_least=46, races=RACES)
