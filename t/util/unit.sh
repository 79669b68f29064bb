#!/usr/bin/env bash
# Build the unit tests and fuzz targets of the pure rooms.
#
#   t/util/unit.sh test TREE SRC        t/unit/*_test.c to build/unit/*_test
#   t/util/unit.sh fuzz TREE SRC        t/unit/*_fuzz.c to build/unit/*_fuzz
#   t/util/unit.sh explain TREE SRC     t/util/explain.c to build/unit/explain
#
# TREE is a configured nginx (headers), SRC a complete source of its version.
# Every pool allocation is a malloc() here, under ASan and UBSan.

set -euo pipefail

kind=$1
tree=$(realpath "$2")
src=$(realpath "$3")

cd "$(dirname "$0")/../.."

out=build/unit

core=(ngx_string ngx_parse ngx_parse_time ngx_palloc ngx_array ngx_list)

sanitize="-fsanitize=address,undefined -fno-sanitize-recover=all"
cflags="-O1 -g -fno-omit-frame-pointer -DNGX_DEBUG_PALLOC=1 -pthread"
warnings="-Wall -Wextra -Wno-unused-parameter -Wmissing-prototypes -Wshadow
          -Werror"
incs="-I $tree/src/core -I $tree/src/event -I $tree/src/event/modules
      -I $tree/src/event/quic -I $tree/src/os/unix -I $tree/objs
      -I t/unit"

for dir in src/ src/*/; do
    incs="$incs -I $dir"
done

case $kind in
    test | explain)
           cc=${CC:-cc} ;;
    fuzz)  cc=clang; sanitize="$sanitize -fsanitize=fuzzer-no-link" ;;
    *)     echo "unit.sh: unknown kind \"$kind\"" >&2; exit 2 ;;
esac

shopt -s nullglob


# programs whose source is gone

for program in $out/*_"$kind"; do
    if [ ! -f "t/unit/$(basename "$program").c" ]; then
        rm -f "$program"
    fi
done


programs=(t/unit/*_"$kind".c)

if [ "$kind" = explain ]; then
    programs=(t/util/explain.c)
    kind=test
fi

if [ ${#programs[@]} = 0 ]; then
    echo "no t/unit/*_$kind.c" >&2
    exit 1
fi

pure=(src/{limit,plan,machine}/*.c src/zone/*_{stats,history,gauges}.c
      src/util/*_utf8.c)
libs=-lcjson


# compile SOURCE OBJECT FLAG...: unless the object is newer than all sources

compile()
{
    local source=$1 object=$2
    shift 2

    if [ -f "$object" ] && [ -z "$(find "$source" src t/unit t/util/unit.sh \
                                        "$tree/objs/ngx_auto_config.h" \
                                        -type f -newer "$object")" ]
    then
        return
    fi

    $cc -c $cflags $sanitize "$@" $incs -o "$object" "$source"
}


objs=$out/objs-$kind
mkdir -p $objs
objects=()

for name in "${core[@]}"; do
    compile "$src/src/core/$name.c" $objs/$name.o
    objects+=($objs/$name.o)
done

compile "$src/src/os/unix/ngx_alloc.c" $objs/ngx_alloc.o
objects+=($objs/ngx_alloc.o)

for source in "${pure[@]}" t/unit/stub.c; do
    object=$objs/$(basename "$source" .c).o
    compile "$source" "$object" $warnings
    objects+=("$object")
done

[ "$kind" = fuzz ] && sanitize="${sanitize/fuzzer-no-link/fuzzer}"

for source in "${programs[@]}"; do
    name=$(basename "$source" .c)

    if [ "$kind" = fuzz ]; then
        compile "$source" $objs/$name.o $warnings -Wno-missing-prototypes
    else
        compile "$source" $objs/$name.o $warnings
    fi

    if [ ! -f $out/$name ] || [ -n "$(find $objs -newer $out/$name)" ]; then
        $cc $cflags $sanitize -o $out/$name $objs/$name.o "${objects[@]}" $libs
    fi
done
