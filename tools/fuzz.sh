#!/bin/sh
# fuzz.sh SECONDS [TARGET...]: each fuzz target (all of tests/fuzz) for so long, from its corpus in tests/fuzz/corpus, under
# AddressSanitizer and UndefinedBehaviorSanitizer. What is new is kept in build/fuzz/corpus, findings in build/fuzz/found.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:?how many seconds}
shift
PATH="$PWD/.venv/bin:$PATH"
export PATH
tools/install_debian.sh test tsan
mkdir -p build
exec 9>build/fuzz.lock
flock 9 # the tests of several targets may begin at once
[ -f build/fuzz/build.ninja ] || CC=clang meson setup build/fuzz -Dextension=false -Dfuzzers=true -Db_sanitize=address,undefined \
    -Db_lundef=false -Dbuildtype=debugoptimized >build/fuzz.log || { cat build/fuzz.log >&2; exit 1; }
ninja -C build/fuzz --quiet
exec 9>&-
[ $# -gt 0 ] || set -- $(ls tests/fuzz/corpus)
mkdir -p build/fuzz/found
for target in "$@"; do
    mkdir -p "build/fuzz/corpus/$target"
    echo "==> fuzzing $target for $seconds s"
    UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 "build/fuzz/tests/fuzz/fuzz_$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
        -artifact_prefix="build/fuzz/found/$target-" -print_final_stats=1 "build/fuzz/corpus/$target" "tests/fuzz/corpus/$target" \
        >"build/fuzz/$target.log" 2>&1 || { tail -n 60 "build/fuzz/$target.log" >&2; exit 1; }
    grep -E "number_of_executed_units|new_units_added" "build/fuzz/$target.log"
done
