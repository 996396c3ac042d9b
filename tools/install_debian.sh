#!/bin/sh
# install_debian.sh GROUP...: installs the Debian packages of the groups build, test, tsan, analyze, valgrind, debug and bench
# that are missing.
# A second run finds nothing to do and asks for no rights.
set -eu

# Debian's Go is 500 MB, and another one does as well: tests/conformance/h2spec/tool.py looks in the same places.
go_found() {
    [ -n "${PENEUS_GO:-}" ] || command -v go >/dev/null || [ -x /usr/local/go/bin/go ] || [ -x /usr/lib/go/bin/go ]
}

wanted=""
for group in "$@"; do
    case $group in
    build) wanted="$wanted gcc libc6-dev pkg-config python3 python3-dev python3-venv libuv1-dev libwslay-dev zlib1g-dev libnghttp2-dev libssl-dev ca-certificates" ;;
    test)
        wanted="$wanted libcmocka-dev libcrypt-dev redis-server openssl iproute2 chromium fonts-dejavu-core"
        go_found || wanted="$wanted golang-go"
        ;;
    tsan) wanted="$wanted clang libclang-rt-dev" ;;
    analyze) wanted="$wanted clang-tidy cppcheck" ;;
    valgrind) wanted="$wanted valgrind libc6-dbg" ;;
    debug) wanted="$wanted python3-dbg" ;;
    bench) wanted="$wanted redis-server wrk" ;;
    *) echo "install_debian.sh: unknown group $group" >&2 && exit 2 ;;
    esac
done

if ! command -v dpkg-query >/dev/null; then
    echo "install_debian.sh: this is not Debian; what its packages$wanted contain must be there already." >&2
    exit 0
fi

missing=""
for package in $wanted; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    as_root=""
elif command -v sudo >/dev/null; then
    as_root="sudo"
else
    echo "Missing Debian packages:$missing. Installing them needs root or sudo; run: apt-get install$missing" >&2
    exit 1
fi

echo "==> Debian packages:$missing"
install() {
    # shellcheck disable=SC2086 # lists of words
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The lists may be absent or old: only then is the network asked for them.
if ! install >"$log" 2>&1; then
    $as_root apt-get update -q >>"$log" 2>&1 || true
    if ! install >>"$log" 2>&1; then
        tail -n 30 "$log" >&2
        echo "apt-get could not install$missing; its last lines are above." >&2
        exit 1
    fi
fi
