"""python -m tests.conformance.run_channels FOLDER: the tests of Channels, in a checkout of its repository, with our wrappers in
place; then once more with their WebSockets under a Peneus server and on a native inbox, and peneus.ChannelLayer in the place of
Channels' layer in memory (channels_plugin.py).

Channels' packages hold no tests, so they are not fetched here as Daphne's are. Every test must pass, but one. They need
pytest-django, and their settings name the apps of Daphne.
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

# In the second run: it wants a channel whose only message has expired to be there until the next receive(). Ours is gone at once.
DIFFERS = "tests/test_inmemorychannel.py::test_expiry_unread"


def run(folder: Path, plugin: str) -> tuple[int, str]:
    """The exit code of pytest, and what channels_plugin has counted."""
    with tempfile.TemporaryDirectory() as scratch:
        counted = Path(scratch) / "counted"
        command = [sys.executable, "-m", "pytest", "-q", "-p", plugin, "-p", "no:cacheprovider", "-o", "asyncio_mode=auto"]
        command += ["-W", "ignore", *(f"--ignore={name}" for name in NOT_THEIRS)]
        command += [*(["--deselect", DIFFERS] if plugin == "channels_plugin" else []), "tests"]
        path = os.pathsep.join([str(HERE), str(folder), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
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
