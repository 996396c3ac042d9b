#!/usr/bin/env bash
# clean_debian.sh DIRECTORY MIRROR [RELEASE [COMMAND...]]: proves the two commands on a Debian where nothing was installed by hand.
#
# Makes a root of the Debian release RELEASE (bookworm is the default; trixie, sid) in DIRECTORY (outside the repository; kept
# there for the next time) from the Debian archive MIRROR, puts a fresh clone of this repository into a copy of it, installs make,
# and runs there, as root: `make demo` until its page answers, `make demo` again (which must find nothing to do), then `make test`.
# With COMMAND only those, for example:
#   clean_debian.sh DIRECTORY MIRROR trixie demo
# The clone is of what is committed. What the machine says to pip and TLS (PIP_*, proxies, certificates) holds inside too.
# Log: DIRECTORY/log. Needs root, debootstrap and git.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
usage="usage: clean_debian.sh DIRECTORY MIRROR [RELEASE [COMMAND...]]"
directory=${1:?$usage}
mirror=${2:?$usage}
release=${3:-bookworm}
shift $(($# < 3 ? $# : 3))
commands=("${@:-all}")
[ "$(id -u)" = 0 ] || { echo "clean_debian.sh needs root, for debootstrap and chroot" >&2; exit 1; }
command -v debootstrap >/dev/null || { echo "clean_debian.sh needs debootstrap: apt-get install debootstrap" >&2; exit 1; }

mkdir -p "$directory"
directory=$(cd "$directory" && pwd)
case "$directory/" in "$here"/*) echo "clean_debian.sh: $directory is in the repository; name another" >&2; exit 1 ;; esac
exec > >(tee "$directory/log") 2>&1
base=$directory/base
root=$directory/root
demo_pid=""

finish() {
    stop_demo
    for mount in dev/shm dev proc sys .; do
        if mountpoint -q "$root/$mount"; then umount -l "$root/$mount"; fi
    done
}
trap finish EXIT

stop_demo() {
    [ -n "$demo_pid" ] || return 0
    kill -INT -- "-$demo_pid" 2>/dev/null || true
    wait "$demo_pid" || true
    demo_pid=""
}

if [ "$(cat "$base/.release" 2>/dev/null)" != "$release" ]; then
    echo "==> debootstrap $release"
    rm -rf "$base"
    debootstrap --variant=minbase --include=ca-certificates "$release" "$base" "$mirror" >"$directory/debootstrap.log" 2>&1 ||
        { tail "$directory/debootstrap.log"; exit 1; }
    echo "$release" >"$base/.release"
fi

echo "==> a copy of it, and a fresh clone of $(git -C "$here" rev-parse --short HEAD)"
finish
rm -rf --one-file-system "$root"
cp -a "$base" "$root"
# `ip netns exec`, which a test runs, fails where the root is no mount point. Private: what is mounted inside stays there.
mount --bind "$root" "$root"
mount --make-private "$root"
git clone -q --no-hardlinks "$here" "$root/srv/peneus"
cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
[ ! -f /etc/pip.conf ] || cp -L /etc/pip.conf "$root/etc/"
printf 'Acquire::Check-Valid-Until "false";\nAcquire::Check-Date "false";\n' >"$root/etc/apt/apt.conf.d/90mirror"
mount --bind /proc "$root/proc"
mount --bind /sys "$root/sys"
mount --bind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/dev/shm"

inside() { # runs a shell command in the clone
    local settings=() name
    for name in $(compgen -e); do
        case $name in PIP_* | SSL_* | REQUESTS_CA_BUNDLE | http_proxy | https_proxy | no_proxy | HTTP_PROXY | HTTPS_PROXY | NO_PROXY)
            [ "$name" = PIP_FIND_LINKS ] || settings+=("$name=${!name}") ;;
        esac
    done
    env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 PORT="$port" ARGS="${ARGS:-}" "${settings[@]}" \
        chroot "$root" sh -c "cd /srv/peneus && $1"
}
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')

answers() { # the page of the demo
    python3 -c 'import sys, urllib.request
page = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://127.0.0.1:{sys.argv[1]}/", timeout=5).read()
sys.exit(b"Market data" not in page)' "$port" 2>/dev/null
}

demo() { # seconds at most
    local started=$SECONDS
    echo "==> make demo"
    set -m
    inside 'exec make demo PORT=$PORT' </dev/null &
    demo_pid=$!
    set +m
    until answers; do
        kill -0 "$demo_pid" 2>/dev/null || { echo "make demo ended before its page answered"; exit 1; }
        [ $((SECONDS - started)) -lt "$1" ] || { echo "make demo does not answer after $1 s"; exit 1; }
        sleep 0.5
    done
    echo "==> the demo's page answers, $((SECONDS - started)) s after make demo"
    stop_demo
}

echo "==> the machine's own: make"
inside 'apt-get update -qq && apt-get install -y -qq --no-install-recommends make >/dev/null'
for command in "${commands[@]}"; do
    case $command in
    all) demo 900 && demo 30 && inside 'make test ARGS="$ARGS"' </dev/null ;;
    demo) demo 900 && demo 30 ;;
    *) inside "make $command"' ARGS="$ARGS"' </dev/null ;;
    esac
done
echo "==> done"
