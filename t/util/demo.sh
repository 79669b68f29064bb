#!/bin/bash

# make demo: starts nginx from conf/demo.conf on loopback, sends real requests,
# shows what the chain did with each, checks it, and leaves nothing behind.
# KEEP=1 keeps it running until Ctrl-C.

set -u

PATH=$PATH:/usr/sbin:/sbin
LC_ALL=C
export PATH LC_ALL

root=$(cd "$(dirname "$0")/../.." && pwd) || exit 1
nginx=${TEST_NGINX_BINARY:-nginx}

# empty for a binary that has the module linked in
modules=${TEST_NGINX_LOAD_MODULES-$root/build/ngx_http_retry_chain_module.so}
tmp=''
pid=''
failed=0

bold='' dim='' red='' green='' plain=''

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' green=$'\e[32m' plain=$'\e[0m'
fi


die() {
    echo "demo: $*" >&2
    [ -s "$tmp/error.log" ] && tail -n 20 "$tmp/error.log" >&2
    exit 1
}


stop() {
    local i

    if [ -n "$pid" ]; then
        kill -TERM "$pid" 2>/dev/null

        for (( i = 0; i < 200; i++ )); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.05
        done

        # the shell's word for a killed child is of no use here
        kill -KILL "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
        pid=''
    fi
}


finish() {
    trap '' INT TERM HUP
    stop
    [ -n "$tmp" ] && rm -rf "$tmp"
}


listens() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}


# all ports of the demo begin with 180; another beginning is taken when one of
# them is in use

start() {
    local base port file i options

    for base in 180 190 200 210 220 230 240 250; do

        for port in 01 02 03 09 80 81 82; do
            listens "$base$port" && continue 2
        done

        for file in "$root"/conf/demo*.conf; do
            sed -e "s/127\.0\.0\.1:180/127.0.0.1:$base/" \
                -e 's/^load_module .*/include modules.conf;/' \
                -e 's/^http {$/&\n    include temp.conf;/' \
                "$file" > "$tmp/conf/${file##*/}" || die "no space in $tmp"
        done

        options="daemon off; pid nginx.pid;"

        # the workers write to a folder that belongs to who started them
        [ "$(id -u)" = 0 ] && options="$options user root;"

        "$nginx" -p "$tmp/" -c conf/demo.conf -e error.log -g "$options" \
            > "$tmp/stdout" 2>&1 &
        pid=$!

        for (( i = 0; i < 600; i++ )); do
            kill -0 "$pid" 2>/dev/null || break
            [ -s "$tmp/nginx.pid" ] && listens "${base}80" && break
            sleep 0.05
        done

        if kill -0 "$pid" 2>/dev/null && [ "$i" -lt 600 ]; then
            front=127.0.0.1:${base}80
            vendor=127.0.0.1:${base}81
            return
        fi

        stop

        # somebody took a port after we had looked
        grep -q 'Address already in use' "$tmp/error.log" \
            || die "nginx did not start"

        : > "$tmp/error.log"
    done

    die "no free ports on 127.0.0.1"
}


# send ID CURL-ARGUMENT ...

send() {
    local id=$1
    shift

    curl -q -s --noproxy '*' --max-time 60 -H "X-Demo: $id" \
         -o "$tmp/body.$id" -w '%{http_code} %{time_total}' "$@" \
         > "$tmp/curl.$id"
}


# reads the facts of request ID: from curl what the client saw, from the access
# log, which is written a little later, what the chain did

load() {
    local id=$1 i rest=''
    local -a s c w

    code='' took='' body='' status='' result='' steps='' statuses='' waits=''
    trail=''

    read -r code took < "$tmp/curl.$id"
    [ -f "$tmp/body.$id" ] && body=$(head -c 200 "$tmp/body.$id" | paste -s -d ' ')

    for (( i = 0; i < 400; i++ )); do
        rest=$(grep -m 1 "^$id|" "$tmp/access.log") && break
        sleep 0.05
    done

    IFS='|' read -r _ status result steps statuses waits _ <<< "$rest"

    # joined as in $upstream_status
    read -r -a s <<< "${steps//[,:]/ }"
    read -r -a c <<< "${statuses//[,:]/ }"
    read -r -a w <<< "${waits//[,:]/ }"

    steps=${s[*]:-}
    statuses=${c[*]:-}
    waits=${w[*]:-}

    for (( i = 0; i < ${#s[@]}; i++ )); do
        case ${w[i]:--} in
            -|0|0.000) trail="$trail${trail:+, }" ;;
            *)         trail="$trail, ${w[i]} s, " ;;
        esac

        trail="$trail${s[i]} ${c[i]:-?}"
    done
}


# show ID TEXT [NAME=PATTERN ...]: a row, and ok if all patterns match

show() {
    local id=$1 text=$2 want mark=ok colour=$green wrong=''
    shift 2

    load "$id"

    for want; do
        local field=${want%%=*} pattern=${want#*=}

        # shellcheck disable=SC2053
        [[ ${!field} == $pattern ]] \
            || wrong="$wrong"$'\n'"      $field is \"${!field}\", not \"$pattern\""
    done

    if [ -n "$wrong" ]; then
        failed=$(( failed + 1 ))
        mark=FAILED
        colour=$red
    fi

    printf '%-21s %-48s %-6s %5.2f s  %s%s%s\n' \
           "$text" "$trail" "$code" "${took:-0}" "$colour" "$mark" "$plain"
    printf '%s      %s%s%s\n' "$dim" "$body" "$plain" "$wrong"
}


title() {
    printf '\n%s%s%s\n' "$bold" "$*" "$plain"
}


commands() {
    cat <<END
    curl -i http://$front/v1/quotes
    for i in 1 2 3 4 5 6 7; do curl -s http://$front/v1/quotes; done
    curl -i -d '{"item":"book"}' http://$front/v1/orders
    curl -i -X POST http://$front/v1/broken
    curl -i http://$front/v1/flaky
    curl -i http://$front/dead/v1/quotes
    curl -i http://$vendor/v1/quotes          (the vendor itself)
END
}


command -v curl > /dev/null || die "curl is missing"
command -v "$nginx" > /dev/null || die "nginx is missing"

for i in $modules; do
    [ -f "$i" ] || die "$i is missing, run make build"
done

trap finish EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

tmp=$(mktemp -d "${TMPDIR:-/tmp}/retry_chain_demo.XXXXXX") || exit 1
mkdir "$tmp/conf" "$tmp/temp" || exit 1
: > "$tmp/error.log"
: > "$tmp/access.log"

for i in $modules; do
    echo "load_module \"$i\";"
done > "$tmp/conf/modules.conf"

# those of the installed nginx stay as they are
for i in client_body proxy fastcgi uwsgi scgi; do
    echo "${i}_temp_path temp/$i;"
done > "$tmp/conf/temp.conf"

start

cat <<END
The vendor gives each source address two calls, then 429 for 10 s.
The front tries proxy1; on failure, 500 ms later, proxy2; then at once proxy3.
END

printf '\n%s%-21s %-48s %-6s %7s%s\n' "$bold" \
       request "steps tried, and waits" answer time "$plain"

title "A call that succeeds"
send 1 "http://$front/v1/quotes"
show 1 "GET  /v1/quotes" code=200 steps=proxy1 statuses=200 result=success \
     body='*127.0.0.11*'

title "Five calls at once: proxy1 has one left, the others have two each"

clients=()

for i in 2 3 4 5 6; do
    send $i "http://$front/v1/quotes" &
    clients+=( $! )
done

wait "${clients[@]}"

seen=''

for i in 2 3 4 5 6; do
    load $i
    seen="$seen$statuses|$i"$'\n'
done

seen=$(sort <<< "${seen%$'\n'}")

for i in $(cut -d '|' -f 2 <<< "$seen"); do
    show "$i" "GET  /v1/quotes" code=200 result=success
done

if [ "$(cut -d '|' -f 1 <<< "$seen" | tr '\n' ',')" \
     != "200,429 200,429 200,429 429 200,429 429 200," ]
then
    printf '      %snot spread over the proxies as it should be%s\n' \
           "$red" "$plain"
    failed=$(( failed + 1 ))
fi

title "All three are limited: the last answer is passed on"
send 7 "http://$front/v1/quotes"
show 7 "GET  /v1/quotes" code=429 steps="proxy1 proxy2 proxy3" \
     statuses="429 429 429" waits="0.000 0.5?? 0.000" result=exhausted \
     body='*127.0.0.13*'

title "Three orders: on 429 the vendor has not acted, so a POST may go again"

for i in 8 9; do
    send $i -d '{"item":"book","qty":2}' "http://$front/v1/orders"
    show $i "POST /v1/orders" code=201 steps=proxy1 statuses=201
done

send 10 -d '{"item":"book","qty":3}' "http://$front/v1/orders"
show 10 "POST /v1/orders" code=201 steps="proxy1 proxy2" statuses="429 201" \
     waits="0.000 0.5??" result=success body='*"qty":3*127.0.0.12*'

title "On 503 it may have acted: a POST is not repeated, a GET is"
send 11 -d '{"item":"book"}' "http://$front/v1/broken"
show 11 "POST /v1/broken" code=503 steps=proxy1 statuses=503 result=unsafe
send 12 "http://$front/v1/broken"
show 12 "GET  /v1/broken" code=503 steps="proxy1 proxy2 proxy3" \
     statuses="503 503 503" result=exhausted

title "A vendor that is broken for proxy1, an upstream that is down"
send 13 "http://$front/v1/flaky"
show 13 "GET  /v1/flaky" code=200 steps="proxy1 proxy2" statuses="502 200" \
     result=success
send 14 "http://$front/dead/v1/flaky"
show 14 "GET  /dead/v1/flaky" code=200 steps="dead proxy2" statuses="502 200" \
     result=success

title "404 is final: the other proxies would get the same"
send 15 "http://$front/v1/nothing"
show 15 "GET  /v1/nothing" code=404 steps=proxy1 statuses=404 result=stopped

echo

if grep -q '\[\(alert\|crit\|emerg\)\]' "$tmp/error.log"; then
    grep '\[\(alert\|crit\|emerg\)\]' "$tmp/error.log"
    failed=$(( failed + 1 ))
fi

if [ "$failed" -gt 0 ]; then
    echo "$red$failed of the expectations failed$plain"

else
    echo "${green}all as expected$plain"
fi

if [ -n "${KEEP:-}" ] && [ "$KEEP" != 0 ]; then
    cat <<END

It keeps running until Ctrl-C. By hand, in another terminal:

$(commands)

Its files, gone at the end: $tmp/conf, access.log, error.log beside it
END

    trap 'echo; exit $(( failed > 0 ))' INT
    wait "$pid"

else
    cat <<END

To keep it running until Ctrl-C and use it by hand: KEEP=1 make demo, then

$(commands)
END
fi

exit $(( failed > 0 ))
