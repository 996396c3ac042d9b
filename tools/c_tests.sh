#!/usr/bin/env bash
# Builds the C tests in the folder $1, with the meson options that follow, and runs them.
set -euo pipefail
folder=$1
shift
meson=.venv/bin/meson
export PATH="$PWD/.venv/bin:$PATH"
if [ ! -f "$folder/build.ninja" ]; then
  "$meson" setup "$folder" -Dextension=false -Dunit_tests=true "$@" >"/tmp/peneus-meson.$$" 2>&1 || { cat "/tmp/peneus-meson.$$"; exit 1; }
  rm -f "/tmp/peneus-meson.$$"
fi
ninja -C "$folder" --quiet
# ThreadSanitizer needs the address space as it was laid out before kernels randomised more of it.
run=()
case "$*" in *sanitize=thread*) run=(setarch "$(uname -m)" -R) ;; esac
"${run[@]}" "$meson" test -C "$folder" --no-rebuild --print-errorlogs
