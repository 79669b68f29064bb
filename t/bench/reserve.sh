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
      -I "$tree/src/event/quic" -I "$tree/src/os/unix" -I "$tree/objs" -I src)
prefix=src/ngx_http_retry_chain_

"${CC:-cc}" -O2 -pthread -o "$tmp/reserve" "${incs[@]}" t/bench/reserve.c \
    ${prefix}pace.c ${prefix}learn.c
"${CC:-cc}" -O2 -pthread -o "$tmp/record" "${incs[@]}" t/bench/record.c \
    ${prefix}count.c ${prefix}ring.c

"$tmp/reserve"
"$tmp/record"
