#!/bin/sh
# sanitize.sh thread|address: the C unit tests and the whole server under load (tests/threads) under ThreadSanitizer; or the C
# unit tests and the Python tests under AddressSanitizer and UndefinedBehaviorSanitizer.
set -eu
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
export PATH

setup() { # directory, options: configured once
    directory=$1
    shift
    [ -f "$directory/build.ninja" ] && return
    meson setup "$directory" -Dbuildtype=debugoptimized -Db_lundef=false "$@" >"$directory.log" || { cat "$directory.log" >&2; exit 1; }
}

# An environment of its own, build/NAME-venv, that sees the packages of .venv behind the instrumented Peneus: name, sanitizers.
extension() {
    venv=$PWD/build/$1-venv
    if [ ! -x "$venv/bin/python" ]; then
        .venv/bin/python -m venv --without-pip "$venv"
        purelib='import sysconfig; print(sysconfig.get_path("purelib"))'
        .venv/bin/python -c "$purelib" >"$("$venv/bin/python" -c "$purelib")/behind.pth"
    fi
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --ignore-installed \
        --upgrade --force-reinstall "-Cbuild-dir=build/$1-extension" \
        -Csetup-args=-Dbuildtype=debugoptimized -Csetup-args=-Db_lundef=false "-Csetup-args=-Db_sanitize=$2" .
}

case ${1:?thread or address} in
thread)
    tools/install_debian.sh test tsan
    echo "==> C unit tests under ThreadSanitizer"
    CC=clang setup build/tsan -Dextension=false -Dunit_tests=true -Db_sanitize=thread
    ninja -C build/tsan --quiet
    # ThreadSanitizer needs the address space as it was laid out before kernels randomised more of it.
    TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1 \
        setarch "$(uname -m)" -R meson test -C build/tsan --no-rebuild --print-errorlogs --timeout-multiplier 10

    echo "==> The whole server under load, under ThreadSanitizer"
    tools/requirements.sh tests/requirements.txt
    extension tsan thread
    .venv/bin/python -m tests.threads.load "${PENEUS_LOAD_SECONDS:-30}" "$venv/bin/python" "$(realpath "$(gcc -print-file-name=libtsan.so)")"
    ;;
address)
    shift
    tools/install_debian.sh test
    tools/requirements.sh tests/requirements.txt
    echo "==> C unit tests under AddressSanitizer and UndefinedBehaviorSanitizer"
    setup build/asan -Dextension=false -Dunit_tests=true -Db_sanitize=address,undefined
    ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
        meson test -C build/asan --print-errorlogs --timeout-multiplier 10

    echo "==> Python tests under AddressSanitizer and UndefinedBehaviorSanitizer"
    extension asan address,undefined
    runtime=$(gcc -print-file-name=libasan.so)
    PATH="$venv/bin:$PATH" PENEUS_SANITIZED=1 PENEUS_TEST_SLOWDOWN=4 PYTHONMALLOC=malloc LD_PRELOAD=$(realpath "$runtime") \
        ASAN_OPTIONS=detect_leaks=0:quarantine_size_mb=4:malloc_context_size=12:handle_abort=1 \
        UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
        "$venv/bin/python" -m pytest -n "${PENEUS_TEST_WORKERS:-$(($(nproc) * 2))}" --maxprocesses 16 --dist worksteal "$@"
    ;;
esac
