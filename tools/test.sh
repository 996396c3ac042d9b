#!/bin/sh
# test.sh quick|all [pytest's arguments]: the C unit tests, then the tests under tests/ against the Peneus in .venv. A warning of
# the compiler is an error here, in all C code. "quick" leaves out the tests with the marker long or alone (pyproject.toml). With
# arguments, pytest runs exactly what they select.
set -eu
which=${1:?quick or all}
shift
cd "$(dirname "$0")/.."

tools/install_debian.sh test
tools/requirements.sh tests/requirements.txt
PATH="$PWD/.venv/bin:$PATH"
export PATH

echo "==> C unit tests"
[ -f build/unit/build.ninja ] || meson setup build/unit -Dunit_tests=true -Dwerror=true >build/unit.log || { cat build/unit.log >&2; exit 1; }
ninja -C build/unit --quiet
meson test -C build/unit --no-rebuild --print-errorlogs

if [ $# -gt 0 ]; then
    echo "==> Python tests"
    exec python -m pytest "$@"
fi

# Most tests wait for a process or for a timeout, so there are more workers than cores.
workers=${PENEUS_TEST_WORKERS:-$(($(nproc) * 3))}
parallel() { python -m pytest -n "$workers" --maxprocesses 16 --dist worksteal --durations 10 "$@"; }

case $which in
quick)
    echo "==> Python tests without those that take long; make test-all has them"
    parallel -m "not long and not alone"
    ;;
all)
    failed=""
    echo "==> Python tests"
    parallel -m "not alone" || failed="$failed tests"
    echo "==> Python tests that run alone"
    python -m pytest -m alone || failed="$failed alone"
    [ -z "$failed" ] || { echo "failed:$failed" >&2; exit 1; }
    ;;
esac
