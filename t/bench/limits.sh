#!/usr/bin/env bash
# make bench-limits: a vendor that limits calls, and what gets through to it.
#
#   t/bench/limits.sh [quick] [ROW ...]
#
# The stand-in vendor (vendor.c) takes 20 calls a second, at most 20 at once,
# from each of three addresses; an address that exceeds it is blocked for 2 s.
# In the form "ends" the block simply ends, in the form "renews" each call
# during it starts it anew. The load (poisson.c) is open: it does not wait for
# replies. Each cell of the table is an nginx with upstreams, a vendor and a load
# of its own; those of one load run at the same time, with the same arrivals.
# All is on the loopback interface and in a temporary directory.
#
# Parts:   load       30, 45, 55 and 70 requests a second for 20 s
#          deadline   90 a second for 20 s, clients wait 2 s
#          learn      45 and 55 a second for 60 s; counted from the 10th second
# quick:   10 s at 70 a second, nothing else
# ROW:     only these rows, by the names below
#
# The exit code is 1 if a goal is missed, or a cell could not be measured. A
# variant that this nginx does not take is left out, and the table says so.
#
# TEST_NGINX_BINARY is another nginx than the installed one,
# TEST_NGINX_LOAD_MODULES its module, or empty if it is linked in.
# BENCH_RESULTS is a directory for the single requests, the counters of the
# vendors and the configurations and logs.
# BENCH_PARTS and BENCH_LOADS are other parts and loads, as in "load" "30 45".
# BENCH_SEED is another seed of the arrivals.

set -u

PATH=$PATH:/usr/sbin:/sbin
LC_ALL=C
export PATH LC_ALL

here=$(cd "$(dirname "$0")" && pwd) || exit 1
root=${here%/t/bench}
nginx=${TEST_NGINX_BINARY:-nginx}
build=${TEST_NGINX_LOAD_MODULES-$root/build/ngx_http_retry_chain_module.so}

# at 70 a second the best possible p99 of these arrivals is 2.39 s; 2.63 s if
# the upstreams are taken in a fixed order: full buckets then idle at first

seed=${BENCH_SEED:-3}

mode=full
parts="load deadline learn"
loads="30 45 55 70"
time=20

if [ "${1-}" = quick ]; then
    shift
    mode=quick
    parts=load
    loads=70
    time=10
fi

parts=${BENCH_PARTS-$parts}
loads=${BENCH_LOADS-$loads}

# name, variant, workers, headers of the vendor, parts, "kill" for one worker
# killed halfway, and the batch: rows of the same batch run together

rows="
round_robin     round_robin   1  r   load,deadline        -     1
ordered         ordered       1  r   load,deadline        -     1
error_page      error_page    1  r   load,deadline        -     1
lua_loop        lua_loop      1  r   load,deadline        -     1
lua_pacer       lua_pacer     1  r   load,deadline        -     1
rate            rate          1  r   load,deadline        -     1
rate_rotate     rate_rotate   1  r   load,deadline        -     1
auto            auto          1  r   load,deadline,learn  -     1
auto_silent     auto          1  -   learn                -     1
auto_fields     auto          1  rf  learn                -     1
hints           hints         1  r   load,deadline        -     1
rotate          rotate        1  r   load,deadline        -     1
rate_4          rate          4  r   load,deadline        -     2
auto_4          auto          4  r   learn                -     1
hints_4         hints         4  r   load                 -     2
rotate_4        rotate        4  r   load                 -     2
rate_4_kill     rate          4  r   load,deadline        kill  2
auto_4_kill     auto          4  r   learn                kill  1
hints_4_kill    hints         4  r   load                 kill  2
rotate_4_kill   rotate        4  r   load                 kill  2
"

tmp=
index=
backs=()
fronts=()
declare -A front port

. "$here/limits_conf.sh"


say()
{
    printf 'limits: %s\n' "$*" >&2
}


die()
{
    say "$@"
    exit 1
}


children()
{
    # they come and go meanwhile

    cat /proc/[0-9]*/status 2>/dev/null \
        | awk -v parent="$1" '$1 == "Pid:" { pid = $2 }
              $1 == "PPid:" && $2 == parent { print pid }'
}


# end PID...: our own children; a master that does not go in time is killed
# with its workers

end()
{
    local child i workers

    kill -TERM "$@" 2>/dev/null

    for child in "$@"; do
        for (( i = 0; i < 250; i++ )); do
            kill -0 "$child" 2>/dev/null || break
            sleep 0.02
        done

        if kill -0 "$child" 2>/dev/null; then
            workers=$(children "$child")
            kill -KILL "$child" $workers
        fi

        wait "$child" 2>/dev/null
    done
}


end_batch()
{
    end "${fronts[@]}" "${backs[@]}"
    fronts=()
    backs=()
}


finish()
{
    trap '' INT TERM HUP

    end $(jobs -p) 2>/dev/null

    if [ -n "$tmp" ]; then
        if [ -n "${BENCH_RESULTS-}" ]; then
            mkdir -p "$BENCH_RESULTS" && cp -r "$tmp/." "$BENCH_RESULTS"
        fi

        rm -rf "$tmp"
    fi
}


# free_ports COUNT: below those that the kernel gives to clients

free_ports()
{
    perl -MIO::Socket::INET -e '
        my %held;
        for (1 .. 5000) {
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
        sleep 0.02
    done

    return 1
}


# ask PORT PATH: the body of the reply

ask()
{
    (
        exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
        printf 'GET %s HTTP/1.0\r\n\r\n' "$2" >&3
        timeout 5 cat <&3
    ) 2>/dev/null | sed '1,/^\r$/d'
}


prepare()
{
    local tool program modules

    for tool in "$nginx" "${CC:-cc}" perl; do
        command -v "$tool" >/dev/null \
            || die "$tool is missing: t/util/setup.sh bench"
    done

    tmp=$(mktemp -d) || exit 1
    index=$tmp/index
    : >"$index"

    # a rebuild at the same time must not change what is measured

    module=
    if [ -n "$build" ]; then
        [ -e "$build" ] || die "$build is missing: make"
        cp "$build" "$tmp/module.so" || exit 1
        module=$tmp/module.so
    fi

    for program in vendor poisson; do
        "${CC:-cc}" -O2 -o "$tmp/$program" "$here/$program.c" \
            || die "$program.c does not compile"
    done

    modules=$("$nginx" -V 2>&1 \
              | sed -n 's/.*--modules-path=\([^ ]*\).*/\1/p')
    lua_modules="$modules/ndk_http_module.so $modules/ngx_http_lua_module.so"

    ulimit -n "$(ulimit -Hn)" 2>/dev/null
}


# takes VARIANT: whether this nginx does

takes()
{
    local said=$tmp/test.$1

    if [ ! -e "$said" ]; then
        write_front "$1" 1 "$tmp/test.conf" 2s $(free_ports 4)

        if "$nginx" -t -q -p "$tmp/" -e stderr -c "$tmp/test.conf" \
               >"$said" 2>&1
        then
            : >"$said"

        else
            say "$1 is not built:" \
                "$(sed -n 's/.*\[emerg\] [0-9#: ]*//p' "$said")"
            echo refused >>"$said"
        fi
    fi

    [ ! -s "$said" ]
}


# choose NAME...: these rows, or all, without those that nginx does not take

choose()
{
    local name variant rest known=" " chosen= wanted=" $* "

    while read -r name variant rest; do
        [ -n "$name" ] || continue
        known+="$name "

        [ $# = 0 ] || [[ $wanted == *" $name "* ]] || continue

        if takes "$variant"; then
            chosen+="$name $variant $rest"$'\n'

        else
            echo "unbuilt $name" >>"$index"
        fi
    done <<<"$rows"

    for name in $wanted; do
        [[ $known == *" $name "* ]] || die "no row $name, but$known"
    done

    rows=$chosen
}


# start CELL VARIANT WORKERS HEADERS FORM TIMEOUT VENDOR FRONT WAY1 WAY2 WAY3

start()
{
    local cell=$1 variant=$2 workers=$3 headers=$4 form=$5 timeout=$6 vendor=$7
    local dir=$tmp/$cell

    shift 7
    mkdir "$dir"

    "$tmp/vendor" "$vendor" "$form" "$headers" &
    backs+=($!)

    write_egress "$dir/egress.conf" "$vendor" "${@:2}"
    write_front "$variant" "$workers" "$dir/front.conf" "$timeout" "$@"

    "$nginx" -p "$dir/" -e "$dir/egress.log" -c "$dir/egress.conf" &
    backs+=($!)

    "$nginx" -p "$dir/" -e "$dir/front.log" -c "$dir/front.conf" &
    fronts+=($!)

    front[$cell]=$!
    port[$cell]="$vendor $*"
}


# whether all processes of a cell are there

await_cell()
{
    local way

    for way in ${port[$1]}; do
        await "$way" "${front[$1]}" \
            || die "$1: nothing listens on $way:" \
                   "$(tail -qn 3 "$tmp/$1"/*.log)"
    done
}


kill_worker()
{
    local worker

    worker=$(children "$1" | head -n 1)
    [ -n "$worker" ] && kill -KILL "$worker"
}


# batch PART LOAD SECONDS SKIP PATIENCE TIMEOUT BATCH
#
# SKIP: the counters begin anew after so many seconds

batch()
{
    local part=$1 load=$2 seconds=$3 skip=$4 patience=$5 timeout=$6 batch=$7
    local name variant workers headers in killed group form cell turn=0
    local cells=() kills=() pids=() ports to

    while read -r name variant workers headers in killed group; do
        [ "$group" = "$batch" ] || continue
        [[ ,$in, == *",$part,"* ]] || continue

        for form in ends renews; do
            cells+=("$name $variant $workers $headers $form $killed")
        done
    done <<<"$rows"

    [ ${#cells[@]} != 0 ] || return 0

    say "$part, $load requests a second, ${#cells[@]} cells"

    read -r -a ports <<<"$(free_ports $(( ${#cells[@]} * 5 )))"

    [ ${#ports[@]} = $(( ${#cells[@]} * 5 )) ] \
        || die "no free ports on 127.0.0.1"

    for cell in "${cells[@]}"; do
        read -r name variant workers headers form killed <<<"$cell"
        cell=$name.$form.$part.$load

        start "$cell" "$variant" "$workers" "$headers" "$form" "$timeout" \
            "${ports[@]:turn:5}"
        turn=$((turn + 5))

        [ "$killed" = - ] || kills+=("$cell")
        echo "cell $name $form $part $load $seconds $skip $killed" >>"$index"
    done

    for cell in "${!port[@]}"; do
        await_cell "$cell"
    done

    for cell in "${!port[@]}"; do
        read -r turn to _ <<<"${port[$cell]}"

        "$tmp/poisson" "$to" "$load" "$seconds" $seed "$patience" \
            >"$tmp/$cell/requests" &
        pids+=($!)
    done

    if [ "$skip" != 0 ]; then
        sleep "$skip"

        for cell in "${!port[@]}"; do
            ask "${port[$cell]%% *}" /reset >"$tmp/$cell/stats.first"
        done
    fi

    if [ ${#kills[@]} != 0 ]; then
        sleep $((seconds / 2 - skip))

        for cell in "${kills[@]}"; do
            kill_worker "${front[$cell]}" || : >"$tmp/$cell/lost"
        done
    fi

    wait "${pids[@]}"

    for cell in "${!port[@]}"; do
        ask "${port[$cell]%% *}" /stats >"$tmp/$cell/stats"
    done

    end_batch
    port=()
    front=()
}


trap finish EXIT
trap 'exit 130' INT TERM HUP

prepare
choose "$@"

for part in $parts; do
    for group in 1 2; do
        case $part in
            load)
                for load in $loads; do
                    batch load "$load" $time 0 20000 off $group
                done ;;
            deadline)
                batch deadline 90 $time 0 2500 2s $group ;;
            learn)
                for load in 45 55; do
                    batch learn $load 60 10 20000 off $group
                done ;;
            *)
                die "no part $part" ;;
        esac
    done
done

perl "$here/limits.pl" "$tmp" "$mode" "$SECONDS" \
    "$("$nginx" -v 2>&1 | sed 's|.*/||')"
