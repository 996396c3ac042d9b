#!/bin/sh
# test.sh [pytest's arguments]: the C unit tests, then everything under tests/ against the Peneus in .venv.
set -eu
cd "$(dirname "$0")/.."

tools/install_debian.sh test
tools/requirements.sh tests/requirements.txt
PATH="$PWD/.venv/bin:$PATH"
export PATH

echo "==> C unit tests"
[ -f build/unit/build.ninja ] || meson setup build/unit -Dextension=false -Dunit_tests=true >build/unit.log || { cat build/unit.log >&2; exit 1; }
meson test -C build/unit --print-errorlogs

echo "==> Python tests"
exec python -m pytest "$@"
