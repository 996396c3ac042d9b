#!/bin/sh
# pythons.sh [pytest's arguments]: the integration tests on every Python from 3.10 on that is on this machine (in the path, or
# pyenv's), each in an environment of its own under build/pythons, and under a debug build of the interpreter where there is one
# (python3-dbg): with its assertions, and the tests of references too.
set -eu
cd "$(dirname "$0")/.."
tools/install_debian.sh build test debug
[ $# -gt 0 ] || set -- -q tests/integration

find_pythons() {
    for version in 3.10 3.11 3.12 3.13 3.14 3.15; do
        for python in "python$version" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$version".*/bin/python3; do
            path=$(command -v "$python" 2>/dev/null) || continue
            # A shim of pyenv's is no interpreter; the headers are needed too.
            "$path" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' 2>/dev/null || continue
            echo "$path"
            break
        done
    done
    command -v python3-dbg || true
}

try() { # python, pytest's arguments
    python=$1
    shift
    name=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2] + ("-debug" if hasattr(sys, "gettotalrefcount") else ""))')
    venv=$PWD/build/pythons/$name
    echo "==> $("$python" --version) $name"
    [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
    # A stamp, as tools/requirements.sh has for .venv.
    if ! cat tools/requirements.txt tests/requirements.txt | cmp -s - "$venv/requirements"; then
        cat tools/requirements.txt tests/requirements.txt >"$venv/wanted"
        # What is pinned for one Python may not be there for another.
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$venv/wanted" 2>/dev/null || {
            sed -i 's/==.*//' "$venv/wanted"
            "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$venv/wanted"
        }
        cat tools/requirements.txt tests/requirements.txt >"$venv/requirements"
    fi
    PATH="$venv/bin:$PATH" "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
        --force-reinstall "--config-settings=build-dir=build/pythons/build-$name" .
    # A debug build is as slow as a sanitizer.
    case $name in *-debug) slow="PENEUS_SANITIZED=1 PENEUS_TEST_SLOWDOWN=${slowdown:-4}" ;; *) slow="" ;; esac
    # shellcheck disable=SC2086 # a list of words
    env $slow PATH="$venv/bin:$PATH" "$venv/bin/python" -m pytest -p no:cacheprovider "$@"
}

failed=""
for python in $(find_pythons); do
    try "$python" "$@" || failed="$failed $python"
    case $python in *-dbg) slowdown=1 PENEUS_TURNS=5000 try "$python" -q tests/leaks/test_references.py || failed="$failed $python" ;; esac
done
[ -z "$failed" ] || { echo "failed:$failed" >&2; exit 1; }
