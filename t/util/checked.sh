#!/usr/bin/env bash
# The Test::Nginx suite with checks of memory; any report is a failure.
#
#   t/util/checked.sh asan|valgrind DIR FILE...
#
# DIR has nginx and the module, as build.sh leaves them.

set -euo pipefail

kind=$1
dir=$(realpath "$2")
shift 2

top=$(cd "$(dirname "$0")/../.." && pwd)
cd "$top"

logs=$top/build/$kind-reports
rm -rf "$logs"
mkdir -p "$logs"

export TEST_NGINX_BINARY=$dir/nginx
export TEST_NGINX_LOAD_MODULES=$dir/ngx_http_retry_chain_module.so

case $kind in
    asan)
        # libcrypto has no frame pointers: only the slow way gets through it

        ASAN_OPTIONS=detect_leaks=1,detect_odr_violation=0
        ASAN_OPTIONS=$ASAN_OPTIONS,fast_unwind_on_malloc=0,log_path=$logs/report
        UBSAN_OPTIONS=print_stacktrace=1
        LSAN_OPTIONS=suppressions=$top/t/util/lsan.suppress
        LSAN_OPTIONS=$LSAN_OPTIONS,print_suppressions=0
        export ASAN_OPTIONS UBSAN_OPTIONS LSAN_OPTIONS

        # nginx cleans its environment; UBSan, which reads it with its first
        # report, writes to standard error, that is the error log

        TEST_NGINX_BINARY=$dir/nginx-asan
        printf '#!/bin/sh\nexec %s -g "env UBSAN_OPTIONS;" "$@"\n' \
            "$dir/nginx" >"$TEST_NGINX_BINARY"
        chmod +x "$TEST_NGINX_BINARY"
        export TEST_NGINX_ERROR_LOG=$logs/error.log
        ;;

    valgrind)
        export TEST_NGINX_USE_VALGRIND="--leak-check=full --num-callers=40
            --show-possibly-lost=no --gen-suppressions=all
            --suppressions=$top/t/valgrind.suppress --log-file=$logs/report.%p"
        TEST_NGINX_USE_VALGRIND=$(echo $TEST_NGINX_USE_VALGRIND)
        export TEST_NGINX_TIMEOUT=${TEST_NGINX_TIMEOUT:-30}
        export TEST_NGINX_SLEEP=${TEST_NGINX_SLEEP:-0.2}
        ;;
esac

status=0
t/util/run-tests "$@" || status=$?

if [ -f "$logs/error.log" ]; then
    grep -a -A 12 'runtime error: ' "$logs/error.log" >"$logs/ubsan" \
        || rm "$logs/ubsan"
    rm "$logs/error.log"
fi

# valgrind makes a file for each process

find "$logs" -type f -empty -delete

reports=("$logs"/*)

if [ -f "${reports[0]}" ]; then
    head -n 80 "${reports[@]:0:3}" >&2
    echo "$kind: ${#reports[@]} reports in ${logs#"$top/"}" >&2
    exit 1
fi

echo "$kind: no reports"
exit $status
