#!/bin/sh
# build.sh: Peneus into .venv, so that .venv/bin/peneus and .venv/bin/python work. Each step is done only when something
# it reads has changed.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}

tools/install_debian.sh build

if ! command -v "$PYTHON" >/dev/null; then
    echo "$PYTHON is missing: install Python 3.10 or later, or name it: make PYTHON=/path/to/python3" >&2
    exit 1
fi
if ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
    echo "$PYTHON is too old: Peneus needs Python 3.10 or later; name another: make PYTHON=/path/to/python3" >&2
    exit 1
fi

mkdir -p build
exec 9>build/.lock
flock 9 # two builds at once would install into each other's .venv

if [ ! -x .venv/bin/python ]; then
    echo "==> .venv with $("$PYTHON" --version)"
    "$PYTHON" -m venv .venv
fi
tools/requirements.sh tools/requirements.txt
python3=.venv/bin/python
"$python3" tools/fetch_sources.py

installed=.venv/.peneus
changed() {
    [ -f $installed ] || return 0
    [ -n "$(find meson.build meson.options pyproject.toml README.md base channellayer server asgi python -newer $installed \
        -not -path '*/__pycache__*' -not -name '*.pyc' -print -quit)" ]
}
if changed; then
    echo "==> building into build/release and installing into .venv"
    touch $installed.begun
    PATH="$PWD/.venv/bin:$PATH" "$python3" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
        --force-reinstall -Cbuild-dir=build/release .
    mv $installed.begun $installed
else
    echo "==> .venv is up to date"
fi
