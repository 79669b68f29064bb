#!/usr/bin/env bash
# Build the module, out of the way of any source tree.
#
#   t/util/build.sh module  SRC OUT     the module, for an nginx with SRC's
#                                       headers: OUT/<module>.so
#   t/util/build.sh nginx   SRC OUT     the same, and OUT/nginx
#   t/util/build.sh static  SRC OUT     OUT/nginx with the module in it
#   t/util/build.sh asan    SRC OUT     as nginx, under ASan; module with UBSan
#   t/util/build.sh palloc  SRC OUT     as nginx, a malloc() for every ngx_palloc()
#
# SRC is copied to OUT/src and configured there, again when SRC, the
# configuration or this script changed; what is up to date is left alone.
# CC chooses the compiler, NGX_CONFIGURE adds arguments to nginx's configure.

set -euo pipefail

kind=$1
src=$(realpath "$2")
mkdir -p "$3"
out=$(realpath "$3")

exec 9>"$out/lock"
flock 9

top=$(cd "$(dirname "$0")/../.." && pwd)
module=ngx_http_retry_chain_module.so
cc=${CC:-cc}
PATH=$PATH:/usr/sbin
unset MAKEFLAGS MFLAGS MAKELEVEL

warnings="-Wall -Wextra -Wno-unused-parameter -Wmissing-prototypes -Wshadow"
asan="-fsanitize=address -fno-omit-frame-pointer"
ubsan="-fsanitize=undefined -fno-sanitize-recover=undefined"

cc_opt=
ld_opt=
add="--add-dynamic-module=$top"

options=(
    --with-compat --with-debug --with-threads --with-pcre-jit
    --with-http_addition_module --with-http_auth_request_module
    --with-http_dav_module --with-http_gunzip_module
    --with-http_gzip_static_module --with-http_realip_module
    --with-http_secure_link_module --with-http_slice_module
    --with-http_ssl_module
    --with-http_stub_status_module --with-http_sub_module
    --with-http_v2_module
)


# the distribution's own arguments, so that its binary loads the module

if [ -f "$src/conf_flags" ]; then
    . "$src/conf_flags"
    options=("${NGX_CONF_FLAGS[@]}")

    cc_opt=$(nginx -V 2>&1 | sed -n "s/.*--with-cc-opt='\([^']*\)'.*/\1/p")
    ld_opt=$(nginx -V 2>&1 | sed -n "s/.*--with-ld-opt='\([^']*\)'.*/\1/p")
fi


case $kind in
    module|nginx) ;;
    static)  add="--add-module=$top" ;;
    palloc)  cc_opt="-O1 -g -DNGX_DEBUG_PALLOC=1" ;;
    asan)    cc_opt="-O1 -g -DNGX_DEBUG_PALLOC=1 $asan"
             ld_opt="-fsanitize=address,undefined" ;;
    *)       echo "build.sh: unknown kind \"$kind\"" >&2; exit 2 ;;
esac

arguments=(
    "${options[@]}" --with-cc="$cc" --with-cc-opt="$cc_opt"
    --with-ld-opt="$ld_opt" "$add" ${NGX_CONFIGURE-}
)


# configure, if anything that it depends on changed

stamp=$({ printf '%s\n' "$kind" "${arguments[@]}"
          cat "$top/config" "$top/src/config.make" "$0"
          cd "$src"
          find . -path ./objs -prune -o -type f -printf '%p %s %T@\n' | sort
        } | sha1sum)

if [ "$stamp" != "$(cat "$out/stamp" 2>/dev/null)" ]; then
    rm -rf "$out/src" "$out/stamp"
    mkdir "$out/src"

    (cd "$src" && tar -c --exclude=./objs --exclude=./.git --exclude=./.hg \
                      --exclude=./Makefile .) \
        | tar -x --no-same-owner -C "$out/src"

    cd "$out/src"
    [ -f configure ] || cp auto/configure .

    echo "configuring nginx in ${out#"$top/"}"

    if ! sh ./configure "${arguments[@]}" >"$out/configure.log" 2>&1; then
        grep -A 5 'configure: error: ' "$out/configure.log" >&2 \
            || tail -n 25 "$out/configure.log" >&2
        exit 1
    fi

    echo "$stamp" >"$out/stamp"
fi


build()
{
    make -f objs/Makefile --no-print-directory -s -j"$(nproc)" "$@"
}


# keep_cycle: nginx -t, and a refused configuration, end without freeing memory
# of the configuration; a pointer to it, instead of a suppression that would
# hide leaks of directives, too

keep_cycle()
{
    cat >"$out/keep.c" <<'_EOC_'
#include <ngx_config.h>
#include <ngx_core.h>

ngx_cycle_t *__real_ngx_init_cycle(ngx_cycle_t *old);
ngx_cycle_t *__wrap_ngx_init_cycle(ngx_cycle_t *old);

void *volatile  retry_chain_kept;

ngx_cycle_t *
__wrap_ngx_init_cycle(ngx_cycle_t *old)
{
    ngx_cycle_t  *cycle;

    cycle = __real_ngx_init_cycle(old);
    retry_chain_kept = cycle ? (void *) cycle : (void *) old->pool;

    return cycle;
}
_EOC_

    $cc -c -O1 -g -I src/core -I src/event -I src/event/modules \
        -I src/event/quic -I src/os/unix -I objs -o "$out/keep.o" "$out/keep.c"

    link=(LINK="$cc $out/keep.o -Wl,--wrap=ngx_init_cycle")
}


# give FILE: never write into a file that a running nginx has mapped

give()
{
    local to=$out/${1##*/}

    cmp -s "$1" "$to" || { cp "$1" "$to.new" && mv -f "$to.new" "$to"; }
}


cd "$out/src"

if [ "$kind" != module ]; then
    link=()
    [ "$kind" != asan ] || keep_cycle

    build binary "${link[@]}" >"$out/make.log" 2>&1 \
        || { tail -n 40 "$out/make.log" >&2; exit 1; }

    # Angie's binary has another name

    [ ! -f objs/angie ] || ln -f objs/angie objs/nginx
    give objs/nginx
fi

[ "$kind" = static ] && exit

# the warnings are for our files only, hence not in configure's flags

cflags=$(sed -n 's/^CFLAGS = *//p' objs/Makefile)

case $kind in
    asan)  cflags="$cflags $warnings $ubsan" ;;
    *)     cflags="$cflags $warnings" ;;
esac

build modules CFLAGS="$cflags"

give objs/$module
