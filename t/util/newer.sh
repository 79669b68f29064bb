#!/usr/bin/env bash
# The suite with the nginx of a newer Debian release, in a root of its own.
#
#   t/util/newer.sh SUITE [t/file.t ...]      SUITE: trixie, testing ...
#
# The root stays in build/source/SUITE for the next time.  It has packages of
# that release only, but for Test::Nginx, which is taken from this system.

set -euo pipefail

suite=$1
shift

top=$(cd "$(dirname "$0")/../.." && pwd)
cd "$top"

root=$top/build/source/$suite
perl=/usr/share/perl5/Test

packages="ca-certificates curl debhelper gcc libcjson-dev libc6-dev
          liblist-moreutils-perl libtest-base-perl libtest-longstring-perl
          libtext-diff-perl liburi-perl libwww-perl make nghttp2-client nginx
          nginx-dev openssl perl procps psmisc"


die()
{
    echo "newer: $*" >&2
    exit 1
}


# inside COMMAND: what is mounted or started there ends with it

inside()
{
    unshare --mount --pid --fork --kill-child -- sh -c '
        mount -t proc proc "$1/proc" && mount --bind /dev "$1/dev" \
            && mount -t tmpfs tmpfs "$1/tmp" && exec chroot "$1" sh -c "$2"
    ' sh "$root" "export LC_ALL=C DEBIAN_FRONTEND=noninteractive; $*"
}


make_root()
{
    local archive

    archive=$(t/util/setup.sh archive)
    rm -rf "$root"

    # this release's debootstrap does not know all that came after it

    debootstrap --variant=minbase "$suite" "$root" "$archive" \
                /usr/share/debootstrap/scripts/sid >"$root.log" 2>&1 \
        || die "no root of $suite, see ${root#"$top/"}.log"

    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"

    cp /etc/resolv.conf "$root/etc/"
    cp -r /etc/apt/apt.conf.d/. "$root/etc/apt/apt.conf.d/"

    inside "apt-get -q update && apt-get -q install -y \
        --no-install-recommends $(echo $packages)" >>"$root.log" 2>&1 \
        || die "packages are missing in $suite, see ${root#"$top/"}.log"

    mkdir -p "$root/usr/share/perl5/Test"
    cp -r "$perl"/Nginx* "$root/usr/share/perl5/Test/"
    touch "$root/ready"
}


[ "$(id -u)" = 0 ] || die "a root of $suite takes root"
[ -f "$root/ready" ] || make_root

# nothing stays of what is not there any more, but for what was built

mkdir -p "$root/retry-chain"
find "$root/retry-chain" -mindepth 1 -maxdepth 1 ! -name build \
    -exec rm -rf {} +
tar -c --exclude=./build --exclude=./.git . \
    | tar -x --no-same-owner -C "$root/retry-chain"

inside "cd /retry-chain && nginx -v && make && t/util/run-tests $*"
