#!/bin/sh
# analyze.sh [quick]: static analyzers over base, channellayer, server and asgi: cppcheck, and without "quick" clang-tidy (.clang-tidy
# has the checks) and gcc's -fanalyzer. What they say is a failure; what they say wrongly is listed with its reason, in .clang-tidy,
# in tools/cppcheck_suppressions.txt, and below.
set -eu
cd "$(dirname "$0")/.."
rooms="base channellayer server asgi"
tools/install_debian.sh build analyze
PATH="$PWD/.venv/bin:$PATH"
export PATH
jobs=$(nproc)

echo "==> cppcheck"
# Python's macros that contain a return or a brace.
mkdir -p build/cppcheck
cppcheck -j "$jobs" --cppcheck-build-dir=build/cppcheck --std=c11 --enable=warning,style,performance,portability --inline-suppr --quiet \
    --suppressions-list=tools/cppcheck_suppressions.txt --error-exitcode=1 --template='{file}:{line}: {message} [{id}]' -I . -D_GNU_SOURCE \
    '-DPy_RETURN_NONE=return (PyObject *)0' -DPy_BEGIN_ALLOW_THREADS= -DPy_END_ALLOW_THREADS= \
    '-DPy_RETURN_TRUE=return (PyObject *)0' '-DPy_RETURN_FALSE=return (PyObject *)0' '-DPy_RETURN_NOTIMPLEMENTED=return (PyObject *)0' $rooms
[ "${1:-}" != quick ] || exit 0

configure() { # directory, options
    directory=$1
    shift
    [ -f "$directory/build.ninja" ] || meson setup "$directory" "$@" >"$directory.log" || { cat "$directory.log" >&2; exit 1; }
}

echo "==> clang-tidy"
CC=clang configure build/tidy
find $rooms -name '*.c' | sort | xargs -P "$jobs" -n 4 clang-tidy -p build/tidy --quiet >build/tidy.txt 2>build/tidy.err ||
    { cat build/tidy.txt; grep error: build/tidy.err; exit 1; }

echo "==> gcc -fanalyzer"
# malloc-leak, file-leak, use-of-uninitialized-value: gcc 12 follows neither lists, whose links hold what is not lost, nor
# callbacks that fill what they are given. clang's analyzer, valgrind and the sanitizers look for the same.
configure build/analyzer -Dbuildtype=debugoptimized -Dwerror=true \
    "-Dc_args=-fanalyzer -Wno-analyzer-malloc-leak -Wno-analyzer-file-leak -Wno-analyzer-use-of-uninitialized-value"
ninja -C build/analyzer --quiet
