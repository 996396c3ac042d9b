"""A warning of a compiler that we have never seen must not stop anybody's `pip install`; for developers it is an error."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MESON = [sys.executable, "-m", "mesonbuild.mesonmain"]


def build_with_a_warning(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Builds the room base/ with a compiler that warns of each padded struct, as no compiler does unasked."""
    environment = {**os.environ, "CFLAGS": "-Wpadded"}
    setup = [*MESON, "setup", str(directory), str(ROOT), "-Dextension=false", *options]
    subprocess.run(setup, env=environment, check=True, capture_output=True, timeout=120)
    compile_base = [*MESON, "compile", "-C", str(directory), "peneus_base"]
    return subprocess.run(compile_base, env=environment, capture_output=True, text=True, timeout=120)


def test_a_warning_stops_no_installation(tmp_path: Path) -> None:
    built = build_with_a_warning(tmp_path)
    assert "warning: " in built.stdout and "[-Wpadded]" in built.stdout
    assert built.returncode == 0, built.stdout


def test_a_warning_is_an_error_where_our_tests_ask_for_it(tmp_path: Path) -> None:
    built = build_with_a_warning(tmp_path, "-Dwerror=true")
    assert "[-Werror=padded]" in built.stdout
    assert built.returncode != 0
