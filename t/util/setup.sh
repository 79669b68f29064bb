#!/usr/bin/env bash
# Set-up of a Debian 12 machine, only for what is missing.
#
#   t/util/setup.sh build|demo|test|bench|newer ...
#                                   packages, as root or by sudo
#   t/util/setup.sh npm             the packages of t/browser, t/step-functions,
#                                   as any user
#   t/util/setup.sh source [DIR]    the source of the installed nginx, into DIR,
#                                   as any user
#   t/util/setup.sh archive         print where this system's Debian comes from
#
# Test::Nginx is in Debian unstable only. Its source is derived from the
# machine's own apt files and used in a private apt configuration, for this
# one package: the system itself never knows of unstable.

set -euo pipefail

self=$(readlink -f "$0")
top=${self%/t/util/*}

build="gcc libc6-dev make nginx nginx-dev libcjson-dev"
demo="$build curl"
test="$build curl perl procps psmisc openssl nghttp2-client valgrind libc6-dbg
      clang clang-tidy libclang-rt-14-dev cppcheck libtest-nginx-perl
      libnginx-mod-http-echo prometheus chromium"

# node and npm often come from elsewhere, then they are not Debian's

if ! command -v npm >/dev/null || ! command -v node >/dev/null; then
    test="$test nodejs npm"
fi

bench="$build curl wrk valgrind libc6-dbg linux-perf nghttp2-client
       libnginx-mod-http-lua"

newer="$test debootstrap"

from_unstable="libtest-nginx-perl"

policy=/usr/sbin/policy-rc.d
saved=$policy.retry-chain-saved
tmp=


say()
{
    echo "setup: $*" >&2
}


die()
{
    say "$@"
    exit 1
}


missing()
{
    local p

    for p in "$@"; do
        dpkg-query -W -f '${db:Status-Status}\n' "$p" 2>/dev/null \
            | grep -qx installed || echo "$p"
    done
}


# retry COMMAND...: a mirror in the middle of a sync fails now and then

retry()
{
    local pause

    for pause in 3 10 30 60 0; do
        "$@" && return
        [ $pause = 0 ] && return 1
        say "failed: $*; trying again in $pause s"
        sleep $pause
    done
}


private()
{
    [ -n "$tmp" ] && return

    tmp=$(mktemp -d)
    chmod 755 "$tmp"
    mkdir -p "$tmp/lists/partial" "$tmp/cache/archives/partial" "$tmp/get"

    if [ "$(id -u)" = 0 ] && id _apt >/dev/null 2>&1; then
        chown _apt "$tmp/get"
    fi
}


cleanup()
{
    if [ -n "$tmp" ]; then
        rm -rf "$tmp"
    fi

    if [ -e $saved.none ]; then
        rm -f $policy $saved.none

    elif [ -e $saved ] || [ -L $saved ]; then
        mv -f $saved $policy
    fi
}


# no service may be started, restarted or upgraded by an installation

forbid_services()
{
    if [ -e $policy ] || [ -L $policy ]; then
        mv -f $policy $saved

    else
        touch $saved.none
    fi

    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
}


# signed_by FILE:N: the key of an entry, N being a line of a *.list file or a
# paragraph of a *.sources file; else the key ring of Debian

signed_by()
{
    local file=${1%:*} n=${1##*:} ring=/usr/share/keyrings
    local key

    case $file in
        *.sources)
            key=$(awk -v RS= -v n="$n" 'NR == n' "$file" \
                  | sed -n 's|^Signed-By:[[:space:]]*\(/[^[:space:]]*\).*|\1|Ip')
            ;;
        *)
            key=$(sed -n "$n s|.*signed-by=\\(/[^] ]*\\).*|\\1|Ip" "$file")
            ;;
    esac

    if [ -z "$key" ] && [ -e $ring/debian-archive-keyring.gpg ]; then
        key=$ring/debian-archive-keyring.gpg
    fi

    echo "${key:+[signed-by=$key] }"
}


# own_sources TYPE [SUITE]: the archives of this system as one-line sources,
# read by apt itself from either kind of file; with a SUITE, that one from the
# main archive instead

own_sources()
{
    local type=$1 suite=${2-} codename uri release entry

    codename=$(. /etc/os-release; echo "$VERSION_CODENAME")

    apt-get indextargets --no-release-info \
        --format '$(REPO_URI) $(RELEASE) $(SOURCESENTRY) $(COMPONENT)' \
        'Created-By: Packages' | sed -n 's| main$||p' | sort -u \
    | while read -r uri release entry; do

        case $release in
            "$codename")             ;;
            "$codename"-security)    [ -z "$suite" ] || continue ;;
            *)                       continue ;;
        esac

        echo "$type $(signed_by "$entry")$uri ${suite:-$release} main"
    done
}


private_apt()
{
    apt-get -q -o Dir::Etc::sourcelist="$tmp/list" \
        -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::Etc::preferences=/dev/null \
        -o Dir::Etc::preferencesparts=/dev/null \
        -o Dir::State::lists="$tmp/lists" -o Dir::Cache="$tmp/cache" \
        -o Dir::Cache::archives="$tmp/cache/archives" \
        -o Acquire::Languages=none -o APT::Update::Error-Mode=any "$@"
}


private_update()
{
    private_apt update >"$tmp/log" 2>&1 && return

    if grep -Eq 'NO_PUBKEY|not signed|EXPKEYSIG|signatures' "$tmp/log"; then
        cat "$tmp/log" >&2
        die "the archive key of this system does not verify what it got;" \
            "is package debian-archive-keyring up to date?"
    fi

    grep -E '^(E|W|Err)' "$tmp/log" >&2
    return 1
}


install_now()
{
    apt-get -q -o DPkg::Lock::Timeout=300 install -y \
        --no-install-recommends "$@"
}


install_packages()
{
    apt-get -q update && install_now "$@"
}


download_unstable()
{
    private_update && (cd "$tmp/get" && private_apt download "$1")
}


install_unstable()
{
    private
    own_sources deb unstable >"$tmp/list"
    [ -s "$tmp/list" ] || die "no main Debian archive in the apt sources"

    retry download_unstable "$1" \
        && retry install_now "$tmp"/get/"$1"_*.deb
}


packages()
{
    local want p plain=() unstable=()

    want=$(missing "$@")
    [ -z "$want" ] && return

    command -v apt-get >/dev/null || die "no apt-get here; please install:" $want

    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || die "root or sudo needed for:" $want
        sudo "$self" "${groups[@]}"
        return
    fi

    export DEBIAN_FRONTEND=noninteractive
    cleanup
    forbid_services

    for p in $want; do
        case " $from_unstable " in
            *" $p "*)  unstable+=("$p") ;;
            *)         plain+=("$p") ;;
        esac
    done

    if [ ${#plain[@]} != 0 ]; then
        say "installing ${plain[*]}"
        retry install_packages "${plain[@]}" || true

    else
        retry apt-get -q update || true
    fi

    for p in "${unstable[@]}"; do
        say "installing $p from unstable"
        install_unstable "$p" || true
    done

    want=$(missing "$@")

    if [ -n "$want" ]; then
        die "could not install:" $want \
            "(the messages above say why; a later run may succeed)"
    fi
}


download_source()
{
    private_update || return 1

    cd "$tmp/get"
    private_apt source --download-only --tar-only "nginx=$1" \
        || private_apt source --download-only --tar-only nginx \
        || return 1

    [ -s "nginx_$2.orig.tar.gz" ] || say "got no source of nginx $2"
    [ -s "nginx_$2.orig.tar.gz" ]
}


nginx_source()
{
    local dir=$1 version upstream

    version=$(dpkg-query -W -f '${Version}' nginx 2>/dev/null) \
        || die "package nginx is not installed"
    upstream=$(dpkg-query -W -f '${source:Upstream-Version}' nginx)

    [ -f "$dir/$upstream/src/core/nginx.c" ] && return

    say "getting the source of nginx $upstream"
    private
    own_sources deb-src >"$tmp/list"
    [ -s "$tmp/list" ] || die "no Debian archive in the apt sources"

    (retry download_source "$version" "$upstream") >&2 \
        || die "could not get the source of nginx $upstream;" \
               "say NGINX_SRC=DIR if you have one"

    rm -rf "$dir/$upstream.tmp"
    mkdir -p "$dir/$upstream.tmp"
    tar -xzf "$tmp/get/nginx_$upstream.orig.tar.gz" --strip-components=1 \
        --no-same-owner -C "$dir/$upstream.tmp"
    mv "$dir/$upstream.tmp" "$dir/$upstream"
}


# npm_packages FOLDER...: with the versions, and the sums, of their lock files.
# Only the tests of that folder need them, and skip without.

npm_packages()
{
    local dir tries=retry

    command -v npm >/dev/null || die "no npm here: $self test"

    for dir; do
        cd "$top/$dir"
        cmp -s package-lock.json node_modules/.installed && continue

        say "installing the packages of $dir"

        if $tries npm ci --ignore-scripts --no-audit --no-fund \
                 --fetch-retries=0 --loglevel=error >&2
        then
            cp package-lock.json node_modules/.installed

        else
            # the registry is not to be had: what is next need not wait for it

            tries=
            say "npm could not install what $dir needs:" \
                "the tests that need it are skipped"
        fi
    done
}


groups=("$@")
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

case "${1-}" in
    source)
        nginx_source "${2-$top/build/source}"
        ;;

    npm)
        npm_packages t/step-functions t/browser
        ;;

    archive)
        own_sources deb unstable | sed -n '1 s|^deb \(\[.*\] \)\?\([^ ]*\) .*|\2|p'
        ;;

    "")
        die "usage: setup.sh build|demo|test|bench|newer ... | npm |" \
            "source [DIR] | archive"
        ;;

    *)
        all=
        for group in "$@"; do
            case $group in
                build|demo|test|bench|newer)  all="$all ${!group}" ;;
                *)  die "unknown group \"$group\"" ;;
            esac
        done

        packages $(printf '%s\n' $all | sort -u)
        ;;
esac
