#!/usr/bin/env bash
# What the reservation of a slot costs (reserve.c).
#
#   t/bench/reserve.sh TREE         TREE is a configured nginx

set -euo pipefail

tree=$(realpath "$1")
cd "$(dirname "$0")/../.."

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

"${CC:-cc}" -O2 -pthread -o "$tmp/reserve" \
    -I "$tree/src/core" -I "$tree/src/event" -I "$tree/src/event/modules" \
    -I "$tree/src/event/quic" -I "$tree/src/os/unix" -I "$tree/objs" -I src \
    t/bench/reserve.c src/ngx_http_retry_chain_pace.c \
    src/ngx_http_retry_chain_phase.c src/ngx_http_retry_chain_learn.c

"$tmp/reserve"
