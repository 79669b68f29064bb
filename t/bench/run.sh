#!/usr/bin/env bash
# make bench: what the chain costs, against plain proxy_pass and against the
# other ways to do it.
#
#   t/bench/run.sh [quick]
#
# All columns are measured in one run, in turns (A B C, C B A, ...), and every
# ratio is taken within one turn, so that a busy machine touches all alike; the
# table has the medians. Instructions are those of the worker under callgrind,
# the least noisy measure: the difference between two runs of different length.
# CPU time is that of the worker in the kernel's accounts. The worker has a
# processor to itself if there are two or more, clients and backend share the
# rest: without that, these two measures are three times as noisy. Nothing is
# written outside of a temporary directory, and only loopback is used.
#
# TEST_NGINX_BINARY is another nginx than the installed one,
# TEST_NGINX_LOAD_MODULES its module, or empty if it is linked in.
# BENCH_RESULTS is a file for the single values: row, column, turn, value.

set -u

PATH=$PATH:/usr/sbin:/sbin
LC_ALL=C
export PATH LC_ALL

here=$(cd "$(dirname "$0")" && pwd) || exit 1
root=${here%/t/bench}
nginx=${TEST_NGINX_BINARY:-nginx}
build=${TEST_NGINX_LOAD_MODULES-$root/build/ngx_http_retry_chain_module.so}
wait=40

case ${1-} in
    quick)
        mode=quick
        batch=3000              # requests of a turn
        turns=12                # at most, and
        turn_time=30            # seconds for all of them, but at least 2
        short=50 long=250       # requests under callgrind
        callgrinds=1
        parked=600
        bulk=256                # MiB
        bulks=6
        ;;
    '')
        mode=full
        batch=6000
        turns=60
        turn_time=170
        short=100 long=600
        callgrinds=3
        parked=2000
        bulk=1024
        bulks=21
        ;;
    *)
        echo "usage: t/bench/run.sh [quick]" >&2
        exit 2
        ;;
esac

tmp=
backs=()
on_first=()
on_rest=()
declare -A pid port

. "$here/conf.sh"


say()
{
    printf 'bench: %s\n' "$*" >&2
}


die()
{
    say "$@"
    exit 1
}


# put ROW COLUMN TURN VALUE

put()
{
    echo "$@" >>"$tmp/results"
}


# a value that could not be measured: the table shows it, the exit code too

lost()
{
    local row=$1 column=$2

    shift 2
    say "$column, $row: $*"
    put "$row" "$column" 0 lost
}


# end PID: one of our own children

end()
{
    local i

    kill -TERM "$1" 2>/dev/null

    for (( i = 0; i < 100; i++ )); do
        kill -0 "$1" 2>/dev/null || break
        sleep 0.02
    done

    kill -KILL "$1" 2>/dev/null
    wait "$1" 2>/dev/null
}


end_fronts()
{
    local column

    for column in "${!pid[@]}"; do
        end "${pid[$column]}"
        unset "pid[$column]"
    done
}


finish()
{
    local child

    trap '' INT TERM HUP

    # the backends, proxies and clients of now, whatever they are

    for child in "${backs[@]}" $(jobs -p); do
        end "$child"
    done 2>/dev/null

    if [ -n "$tmp" ]; then
        [ -z "${BENCH_RESULTS-}" ] || cp "$tmp/results" "$BENCH_RESULTS"
        rm -rf "$tmp"
    fi
}


# free_ports COUNT: below those that the kernel gives to clients

free_ports()
{
    perl -MIO::Socket::INET -e '
        my %held;
        for (1 .. 1000) {
            last if keys %held == $ARGV[0];
            my $port = 15000 + int rand 17000;
            my $socket = IO::Socket::INET->new(LocalAddr => "127.0.0.1",
                LocalPort => $port, Listen => 1) or next;
            $held{$port} = $socket;
        }
        print join(" ", keys %held), "\n";
    ' "$1"
}


listens()
{
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}


# await PORT PID

await()
{
    local i

    for (( i = 0; i < 600; i++ )); do
        kill -0 "$2" 2>/dev/null || return 1
        listens "$1" && return
        sleep 0.05
    done

    return 1
}


# one processor for the worker, the others for the rest

share_processors()
{
    local all

    command -v taskset >/dev/null || return

    all=$(awk '$1 == "Cpus_allowed_list:" {
                   n = split($2, part, ",")
                   for (i = 1; i <= n; i++) {
                       last = split(part[i], ends, "-")
                       for (cpu = ends[1]; cpu <= ends[last]; cpu++) {
                           printf "%s ", cpu
                       }
                   }
               }' /proc/self/status)

    set -- $all
    [ $# -gt 1 ] || return

    on_first=(taskset -c "$1")
    shift
    all="$*"
    on_rest=(taskset -c "${all// /,}")
}


# the tools, ports and backends that all measurements share

prepare()
{
    local tool files

    for tool in "$nginx" h2load valgrind curl perl; do
        command -v "$tool" >/dev/null \
            || die "$tool is missing: t/util/setup.sh bench"
    done

    tmp=$(mktemp -d) || exit 1
    mkdir "$tmp/root"
    chmod 755 "$tmp"
    : >"$tmp/results"

    # a rebuild at the same time must not change what is measured

    module=
    if [ -n "$build" ]; then
        [ -e "$build" ] || die "$build is missing: make"
        cp "$build" "$tmp/module.so" || exit 1
        module=$tmp/module.so
    fi

    ulimit -n "$(ulimit -Hn)" 2>/dev/null
    files=$(ulimit -n)
    [ "$files" = unlimited ] && files=100000

    if [ $(( (files - 200) / 2 )) -lt "$parked" ]; then
        parked=$(( (files - 200) / 2 ))
    fi

    read -r port_ok port_429 port_status port_slow \
        'port[plain]' 'port[variable]' 'port[next]' 'port[lua]' \
        'port[chain]' 'port[short]' 'port[long]' <<END
$(free_ports 11)
END
    [ -n "${port[long]}" ] || die "no free ports on 127.0.0.1"

    truncate -s "${bulk}M" "$tmp/root/big" || die "no sparse file in $tmp"

    write_back "$tmp/back.conf"
    share_processors

    "${on_rest[@]}" "$nginx" -p "$tmp/" -e "$tmp/back.log" \
        -c "$tmp/back.conf" &
    backs+=($!)
    await "$port_status" $! || die "the backend does not start:" \
        "$(tail -n 3 "$tmp/back.log")"

    perl "$here/park.pl" slow "$port_slow" &
    backs+=($!)
    await "$port_slow" $! || die "the slow upstream does not start"
}


# the Lua column needs its module, for this very nginx

choose_columns()
{
    local modules

    columns="plain variable next chain"

    modules=$("$nginx" -V 2>&1 \
              | sed -n 's/.*--modules-path=\([^ ]*\).*/\1/p')
    lua_modules="$modules/ndk_http_module.so $modules/ngx_http_lua_module.so"

    write_front lua "$tmp/test.conf" "${port[lua]}"

    if "$nginx" -t -q -p "$tmp/" -e "$tmp/test.log" -c "$tmp/test.conf" \
           2>"$tmp/test.err"
    then
        columns="plain variable next lua chain"

    else
        say "no Lua column: $(head -n 1 "$tmp/test.err")"
    fi

    write_front chain "$tmp/test.conf" "${port[chain]}"

    "$nginx" -t -q -p "$tmp/" -e "$tmp/test.log" -c "$tmp/test.conf" \
        || die "this nginx does not take the module"
}


# start COLUMN

start()
{
    local column=$1
    local file=$tmp/$column.conf

    write_front "$column" "$file" "${port[$column]}"

    "${on_first[@]}" "$nginx" -p "$tmp/" -e "$tmp/$column.log" -c "$file" &
    pid[$column]=$!

    await "${port[$column]}" "${pid[$column]}" \
        || die "nginx does not start: $(tail -n 3 "$tmp/$column.log")"
}


# nanoseconds of CPU time of a process; in ticks of 10 ms where the kernel does
# not count them

cpu()
{
    local ran

    read -r ran _ 2>/dev/null <"/proc/$1/schedstat" || ran=0

    if [ "$ran" = 0 ]; then
        ran=$(awk -v hz="$(getconf CLK_TCK)" \
                  '{ printf "%.0f", ($14 + $15) / hz * 1e9 }' "/proc/$1/stat")
    fi

    echo "$ran"
}


# status_kb NAME PID: VmRSS or VmHWM

status_kb()
{
    awk -v name="$1:" '$1 == name { print $2 }' "/proc/$2/status"
}


# connections that the backend has accepted, this one not counted

accepts()
{
    curl -s "http://127.0.0.1:$port_status/" \
        | awk '/^ [0-9]/ { print $1 - 1 }'
}


# load PORT PATH REQUESTS CLIENTS: prints the requests a second

load()
{
    local out

    out=$(timeout 120 "${on_rest[@]}" h2load --h1 -n "$3" -c "$4" \
              "http://127.0.0.1:$1$2" 2>&1)

    if ! grep -q "^status codes: $3 2xx, 0 3xx, 0 4xx, 0 5xx" <<<"$out"; then
        grep '^status codes' <<<"$out" >&2
        return 1
    fi

    sed -n 's/^finished in .*, \([0-9.]*\) req\/s.*/\1/p' <<<"$out"
}


# the columns of a row: who can do it

able()
{
    case $1 in
        ok|big)  echo "$columns" ;;
        fail)    echo "${columns#plain variable }" ;;
        park1)   echo "${columns/ next/}" ;;
        park15)  echo "${columns#plain variable next }" ;;
    esac
}


# a connection for every request is slow, and leaves so many in TIME_WAIT

requests_of()
{
    if [ "$1$2" = failnext ]; then
        echo $((batch / 3))

    else
        echo "$batch"
    fi
}


backwards()
{
    local word out=

    for word in "$@"; do
        out="$word $out"
    done

    echo "$out"
}


measure_load()
{
    local row=$1 column=$2 turn=$3
    local n rate before after opened

    n=$(requests_of "$row" "$column")
    opened=$(accepts)
    before=$(cpu "${pid[$column]}")

    if ! rate=$(load "${port[$column]}" "/$row" "$n" 16); then
        lost "$row" "$column" "not all answers were 200"
        return
    fi

    after=$(cpu "${pid[$column]}")

    # the last count of connections was itself one

    opened=$(( $(accepts) - opened - 1 ))

    put "$row.cpu" "$column" "$turn" "$(( (after - before) / n ))"
    put "$row.rate" "$column" "$turn" "$rate"
    put "$row.opened" "$column" "$turn" \
        "$(awk -v c="$opened" -v n="$n" 'BEGIN { print c / n }')"
}


measure_loads()
{
    local turn row column order end

    say "CPU time and requests a second, up to $turn_time s"

    for column in $columns; do
        start "$column"
    done

    # fills the pools of connections

    for row in ok fail; do
        for column in $(able $row); do
            load "${port[$column]}" "/$row" 500 16 >"$tmp/warm" \
                || lost $row.cpu "$column" "not all answers were 200"
        done
    done

    end=$((SECONDS + turn_time))

    for (( turn = 1; turn <= turns; turn++ )); do
        [ $turn -gt 2 ] && [ $SECONDS -ge $end ] && break

        for row in ok fail; do
            order=$(able $row)

            if [ $((turn % 2)) = 0 ]; then
                order=$(backwards $order)
            fi

            for column in $order; do
                measure_load $row "$column" $turn
            done
        done
    done

    end_fronts
}


# counted COLUMN ROW short|long REQUESTS: instructions of a whole worker

counted()
{
    local column=$1 row=$2 length=$3 n=$4
    local child file=$tmp/callgrind.$3.conf

    write_front "$column" "$file" "${port[$length]}"

    valgrind --tool=callgrind --callgrind-out-file=/dev/null \
        "$nginx" -p "$tmp/" -e "$tmp/callgrind.$length.log" -c "$file" \
        2>"$tmp/callgrind.$length.out" &
    child=$!

    if await "${port[$length]}" $child; then
        load "${port[$length]}" "/$row" "$n" 1 >"$tmp/callgrind.$length.rate"
    fi

    kill -QUIT $child 2>/dev/null
    wait $child
}


instructions()
{
    local row=$1 column=$2 turn=$3
    local first second length

    rm -f "$tmp"/callgrind.*

    (counted "$column" "$row" short "$short") &
    first=$!
    (counted "$column" "$row" long "$long") &
    second=$!
    wait $first $second

    for length in short long; do
        [ -s "$tmp/callgrind.$length.rate" ] && continue
        lost "$row.instructions" "$column" "no answers under callgrind"
        return
    done

    first=$(sed -n 's/.*Collected : *//p' "$tmp/callgrind.short.out")
    second=$(sed -n 's/.*Collected : *//p' "$tmp/callgrind.long.out")

    put "$row.instructions" "$column" "$turn" \
        "$(( (second - first) / (long - short) ))"
}


measure_instructions()
{
    local turn row column

    say "instructions, $callgrinds turns"

    for (( turn = 1; turn <= callgrinds; turn++ )); do
        for row in ok fail; do
            for column in $(able $row); do
                instructions $row "$column" $turn
            done
        done
    done
}


# the memory of a worker, once it stays the same

settled()
{
    local i now last=0 same=0

    for (( i = 0; i < 30 && same < 4; i++ )); do
        now=$(status_kb VmRSS "$1")
        [ "$now" = "$last" ] && same=$((same + 1)) || same=0
        last=$now
        sleep 0.1
    done

    echo "$last"
}


park()
{
    local row=$1 column=$2 attempts=$3
    local before after client line quiet status=

    start "$column"

    load "${port[$column]}" /ok 20 1 >"$tmp/warm"
    before=$(settled "${pid[$column]}")

    case $column in
        lua|chain)  status="$port_status $attempts" ;;
    esac

    coproc CLIENTS {
        exec perl "$here/park.pl" clients "${port[$column]}" "/$row" \
            "$parked" $status
    }
    client=$CLIENTS_PID

    # bash forgets its own descriptors when the process ends

    exec 8<&"${CLIENTS[0]}" 9>&"${CLIENTS[1]}"

    if read -r -t 60 line <&8; then
        after=$(settled "${pid[$column]}")
        echo measured >&9
        read -r -t 20 quiet <&8 || quiet=0

    else
        quiet=none
    fi

    exec 8<&- 9>&-
    end "$client"
    end_fronts

    if [ "$quiet" != "$parked" ]; then
        lost "$row" "$column" "$quiet of $parked clients were parked"
        return
    fi

    put "$row" "$column" 1 "$(( (after - before) * 1024 / parked ))"
}


measure_parked()
{
    local column

    say "memory of $parked parked clients"

    for column in $(able park1); do
        park park1 "$column" 1
    done

    for column in $(able park15); do
        park park15 "$column" 15
    done
}


download()
{
    local column=$1 turn=$2
    local before after out

    before=$(cpu "${pid[$column]}")

    out=$("${on_rest[@]}" curl -s -o /dev/null -m 60 \
              -w '%{http_code} %{size_download} %{time_total}' \
              "http://127.0.0.1:${port[$column]}/big")

    after=$(cpu "${pid[$column]}")

    if [ "${out% *}" != "200 $((bulk * 1048576))" ]; then
        lost big.time "$column" "status, size and time were $out"
        return
    fi

    put big.time "$column" "$turn" "${out##* }"
    put big.cpu "$column" "$turn" "$((after - before))"
}


# Every third turn has new workers: how a process lies in memory makes some of
# the difference between two of them.

measure_bulk()
{
    local turn column order room

    say "$bulk MiB replies, $bulks turns"

    # the loop in Lua holds all of it in memory, three times, and takes its time

    room=$(awk '$1 == "MemAvailable:" { print int($2 / 1024) }' /proc/meminfo)

    for (( turn = 1; turn <= bulks; turn++ )); do
        order=$columns

        if [ $((turn % 2)) = 0 ]; then
            order=$(backwards $order)
        fi

        if [ $((turn % 3)) = 1 ]; then
            for column in $columns; do
                start "$column"
            done
        fi

        for column in $order; do
            if [ "$column" = lua ]; then
                [ $turn = 1 ] || continue

                if [ "$room" -lt $((bulk * 5)) ]; then
                    say "no large reply through Lua: $room MiB of memory"
                    continue
                fi
            fi

            download "$column" $turn
        done

        if [ $((turn % 3)) = 0 ]; then
            keep_memory $turn
            end_fronts
        fi
    done
}


# the most that the workers have had

keep_memory()
{
    local turn=$1 column

    for column in $columns; do
        if [ "$column" = lua ]; then
            [ "$turn" = 3 ] || continue
        fi

        grep -q "^big.time $column [1-9]" "$tmp/results" || continue
        put big.memory "$column" "$turn" "$(status_kb VmHWM "${pid[$column]}")"
    done
}


trap finish EXIT
trap 'exit 130' INT TERM HUP

prepare
choose_columns
measure_instructions
measure_loads
measure_parked
measure_bulk

perl "$here/table.pl" "$tmp/results" "$mode" "$parked" "$bulk" "$SECONDS" \
    "$("$nginx" -v 2>&1 | sed 's|.*/||')" $columns
