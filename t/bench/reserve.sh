#!/usr/bin/env bash
# What the reservation of a slot costs (reserve.c), and to record a run
# (record.c).
#
#   t/bench/reserve.sh TREE         TREE is a configured nginx

set -euo pipefail

tree=$(realpath "$1")
cd "$(dirname "$0")/../.."

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

incs=(-I "$tree/src/core" -I "$tree/src/event" -I "$tree/src/event/modules"
      -I "$tree/src/event/quic" -I "$tree/src/os/unix" -I "$tree/objs")

for dir in src/ src/*/; do
    incs+=(-I "$dir")
done

"${CC:-cc}" -O2 -pthread -o "$tmp/reserve" "${incs[@]}" t/bench/reserve.c \
    src/limit/*_{limiter,period,learn}.c
"${CC:-cc}" -O2 -pthread -o "$tmp/record" "${incs[@]}" t/bench/record.c \
    src/zone/*_{stats,history}.c

"$tmp/reserve"
"$tmp/record"
