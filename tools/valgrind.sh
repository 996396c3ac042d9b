#!/bin/sh
# valgrind.sh [TEST...]: the C unit tests (all, or those named) under valgrind's memcheck. There are no suppressions: every access
# to what is freed, was never written or lies outside, and every block that is lost, is a failure, in libraries too.
set -eu
cd "$(dirname "$0")/.."
tools/install_debian.sh test valgrind
PATH="$PWD/.venv/bin:$PATH"
export PATH
[ -f build/unit/build.ninja ] || meson setup build/unit -Dunit_tests=true -Dwerror=true >build/unit.log || { cat build/unit.log >&2; exit 1; }
ninja -C build/unit --quiet
echo "==> C unit tests under valgrind"
PENEUS_VALGRIND=1 meson test -C build/unit --no-rebuild --print-errorlogs --timeout-multiplier 20 --logbase valgrind \
    --wrapper "valgrind --quiet --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite,indirect --show-leak-kinds=definite,indirect --fair-sched=yes" "$@"
