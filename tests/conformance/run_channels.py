"""python -m tests.conformance.run_channels FOLDER: the tests of Channels, in a checkout of its repository, with our wrappers in
place; then once more with their WebSockets under a Peneus server and on a native inbox (channels_plugin.py).

Channels' packages hold no tests, so they are not fetched here as Daphne's are. Nothing differs: every test must pass.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PLUGINS = {
    "channels_wrapped": "with what consumers.install() puts in place",
    "channels_plugin": "on native inboxes",
}
NOT_THEIRS = ["tests/security", "tests/sample_project"]  # browsers, and a project to click through
OF_ITS_LAYER = "tests/test_inmemorychannel.py"  # tests of Channels' in-memory layer, which is not in place in the second run


def run(folder: Path, plugin: str) -> tuple[int, str]:
    """The exit code of pytest, and what channels_plugin has counted."""
    ignored = [*NOT_THEIRS, *([OF_ITS_LAYER] if plugin == "channels_plugin" else [])]
    with tempfile.TemporaryDirectory() as scratch:
        counted = Path(scratch) / "counted"
        command = [sys.executable, "-m", "pytest", "-q", "-p", plugin, "-p", "no:cacheprovider", "-o", "asyncio_mode=auto"]
        command += ["-W", "ignore", *(f"--ignore={name}" for name in ignored), "tests"]
        path = os.pathsep.join([str(HERE), str(folder)])
        environment = {**os.environ, "PYTHONPATH": path, "CONFORMANCE_COUNTED": str(counted), "PYTHONDONTWRITEBYTECODE": "1"}
        code = subprocess.run(command, cwd=folder, env=environment).returncode
        return code, counted.read_text() if counted.exists() else ""


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    folder = Path(sys.argv[1]).resolve()
    failed = 0
    for plugin, what in PLUGINS.items():
        print(f"==> {what}", flush=True)
        code, counted = run(folder, plugin)
        failed |= code
        if plugin == "channels_plugin":
            print(counted or "nothing was counted")
            failed |= not counted.endswith("on an inbox") or counted.startswith("0 ")
    return int(failed != 0)


if __name__ == "__main__":
    sys.exit(main())
