#!/bin/sh
# test.sh [pytest's arguments]: the C unit tests, then everything under tests/ against the Peneus in .venv; with arguments, what they say.
set -eu
cd "$(dirname "$0")/.."

tools/install_debian.sh test
tools/requirements.sh tests/requirements.txt
PATH="$PWD/.venv/bin:$PATH"
export PATH

echo "==> C unit tests"
[ -f build/unit/build.ninja ] || meson setup build/unit -Dextension=false -Dunit_tests=true >build/unit.log || { cat build/unit.log >&2; exit 1; }
meson test -C build/unit --print-errorlogs

if [ $# -gt 0 ]; then
    echo "==> Python tests"
    exec python -m pytest "$@"
fi

# Other people's suites take minutes of one core, with a client that is slow itself; most of ours wait. Those in tests/soak compare
# speeds, and have the machine for themselves.
echo "==> Python tests; tests/conformance beside them, into build/conformance.log"
python -m pytest tests/conformance >build/conformance.log 2>&1 &
conformance=$!
trap 'kill $conformance 2>/dev/null || true' EXIT
failed=""
python -m pytest -n 2 --dist loadfile --ignore=tests/conformance --ignore=tests/soak || failed="$failed tests"
echo "==> tests/conformance"
wait $conformance || failed="$failed tests/conformance"
trap - EXIT
cat build/conformance.log
echo "==> tests/soak"
python -m pytest tests/soak || failed="$failed tests/soak"
[ -z "$failed" ] || { echo "failed:$failed" >&2; exit 1; }
