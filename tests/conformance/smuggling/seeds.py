"""python -m tests.conformance.smuggling.seeds DIRECTORY: a file for each case that fits the fuzz target's limits. To keep
those that add something: build/fuzz/tests/fuzz/fuzz_http1 -merge=1 tests/fuzz/corpus/http1 DIRECTORY."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.conformance.smuggling.corpus import cases

LONGEST = 600


def main() -> None:
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    for case in cases():
        if len(case.send) <= LONGEST:
            (directory / case.name).write_bytes(case.send)


if __name__ == "__main__":
    main()
