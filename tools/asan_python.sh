#!/usr/bin/env bash
# Runs the Python tests against an extension built with ASan and UBSan. Leaks are the C tests' business: CPython keeps much on purpose.
set -euo pipefail
export PATH="$PWD/.venv/bin:$PATH"
folder=build/asan
[ -f "$folder/build.ninja" ] || meson setup "$folder" --buildtype=debugoptimized -Db_sanitize=address,undefined -Db_lundef=false >/dev/null
ninja -C "$folder" --quiet
package=$folder/package
mkdir -p "$package"
rm -rf "$package/peneus"
cp -r python/peneus "$package/peneus"
cp "$folder"/asgi/_core.*.so "$package/peneus/"
export PYTHONPATH=$PWD/$package
export LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)"
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 PYTHONMALLOC=malloc
export PENEUS_TEST_SLOWDOWN=4
exec .venv/bin/python -m pytest tests/integration "$@"
