#!/usr/bin/env bash
# clang-tidy and cppcheck over src/.
#
#   t/util/lint.sh TREE          TREE is a configured nginx (headers)

set -euo pipefail

tree=$(realpath "$1")
cd "$(dirname "$0")/../.."

files=(src/*.c src/*/*.c)
incs=()
rooms=(-I src)

for dir in src/*/; do
    rooms+=(-I "$dir")
done

for dir in src/core src/event src/event/modules src/event/quic src/os/unix \
           src/http src/http/modules src/http/v2 src/http/v3 objs; do
    if [ -d "$tree/$dir" ]; then
        incs+=(-isystem "$tree/$dir")
    fi
done

# a stamp says that these very files were found clean

stamp=$(cat "$0" .clang-tidy src/*.[ch] src/*/*.[ch] "$tree/objs/ngx_auto_config.h" \
        | sha1sum)

if [ "$stamp" = "$(cat build/lint.stamp 2>/dev/null)" ]; then
    echo "lint: ${#files[@]} files unchanged"
    exit
fi

echo "clang-tidy: ${#files[@]} files"

printf '%s\0' "${files[@]}" | xargs -0 -P "$(nproc)" -I '{}' \
    clang-tidy --quiet '{}' -- -std=gnu11 -Wall -Wextra \
        -Wno-unused-parameter -Wshadow "${rooms[@]}" "${incs[@]}" \
        2> >(grep -v 'warnings generated' >&2)

echo "cppcheck: ${#files[@]} files"

cppcheck --quiet --std=c11 -j "$(nproc)" --inline-suppr --error-exitcode=1 \
    --enable=warning,performance,portability \
    --suppress=missingIncludeSystem --suppress=missingInclude \
    --suppress=nullPointerArithmeticRedundantCheck \
    "${rooms[@]}" "${files[@]}"

mkdir -p build
echo "$stamp" >build/lint.stamp
