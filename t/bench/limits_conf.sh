# The configurations of the simulation, read by limits.sh.
#
#   write_egress FILE VENDOR PORT1 PORT2 PORT3      the three upstreams
#   write_front VARIANT WORKERS FILE TIMEOUT PORT PORT1 PORT2 PORT3
#
# An upstream is a proxy that calls the vendor from an address of its own. It is
# another nginx than the front, so that a worker of the front can be killed.
# TIMEOUT is the deadline of a run, or off.
#
# Used from limits.sh: tmp, module, lua_modules.


# write_main NAME WORKERS: WORKERS is 0 for a single process

write_main()
{
    [ "$(id -u)" != 0 ] || echo "user root;"

    if [ "$2" = 0 ]; then
        echo "master_process off;"

    else
        echo "worker_processes $2;"
    fi

    cat <<END
daemon off;
pid $1.pid;
error_log $1.log error;

events {
    worker_connections 16384;
}

END
}


write_http()
{
    cat <<END
    access_log off;

    client_body_temp_path $tmp/body;
    proxy_temp_path $tmp/proxy;
    fastcgi_temp_path $tmp/fastcgi;
    uwsgi_temp_path $tmp/uwsgi;
    scgi_temp_path $tmp/scgi;

    keepalive_requests 100000000;
    keepalive_timeout 600s;

    proxy_http_version 1.1;
    proxy_set_header Connection "";

END
}


# write_group NAME SERVER...: an upstream group with a pool of connections

write_group()
{
    local name=$1 server

    shift
    echo "    upstream $name {"

    for server in "$@"; do
        echo "        server 127.0.0.1:$server;"
    done

    cat <<END
        keepalive 64;
        keepalive_requests 100000000;
        keepalive_timeout 600s;
    }

END
}


write_egress()
{
    local file=$1 vendor=$2 n=0 port

    shift 2

    {
        write_main "${file%.conf}" 0
        echo "http {"
        write_http

        for port in "$@"; do
            n=$((n + 1))

            # a kept connection has the address of the upstream that opened it

            write_group "vendor$n" "$vendor"

            cat <<END
    server {
        listen 127.0.0.1:$port;

        location / {
            proxy_pass http://vendor$n;
            proxy_bind 127.0.0.1$n;
            proxy_next_upstream off;
        }
    }

END
        done

        echo "}"
    } >"$file"
}


location_next()
{
    cat <<END
        location / {
            proxy_pass http://ways;
            proxy_next_upstream http_429 error timeout non_idempotent;
        }
END
}


location_error_page()
{
    cat <<END
        proxy_intercept_errors on;
        recursive_error_pages on;

        location / {
            proxy_pass http://way1;
            error_page 429 = @second;
        }

        location @second {
            proxy_pass http://way2;
            error_page 429 = @third;
        }

        location @third {
            proxy_pass http://way3;
        }
END
}


# the loop that operators write: all upstreams in turn, twice, with a wait
# before each but the first

location_lua_loop()
{
    local n

    cat <<'END'
        location / {
            content_by_lua_block {
                local res

                for n = 0, 5 do
                    if n > 0 then
                        ngx.sleep(0.5)
                    end

                    res = ngx.location.capture("/way" .. n % 3 + 1)

                    if res.status ~= 429 then
                        break
                    end
                end

                ngx.status = res.status
                ngx.print(res.body)
            }
        }

END

    for n in 1 2 3; do
        cat <<END
        location = /way$n {
            internal;
            proxy_pass http://way$n/;
        }

END
    done
}


# a pacer that knows the rate: the upstream that is free first, 50 ms for a call,
# no burst

location_lua_pacer()
{
    cat <<'END'
        location / {
            set $way "";

            access_by_lua_block {
                local slots = ngx.shared.slots
                local best, first

                ngx.update_time()
                local now = ngx.now()

                for n = 1, 3 do
                    local slot = slots:get(n) or 0

                    if not best or slot < first then
                        best, first = n, slot
                    end
                end

                if first < now then
                    first = now
                end

                slots:set(best, first + 0.05)
                ngx.var.way = "way" .. best

                if first > now then
                    ngx.sleep(first - now)
                end
            }

            proxy_pass http://$way;
        }
END
}


# location_chain PARAMETERS TIMEOUT LINE...

location_chain()
{
    local parameters=$1 timeout=$2

    shift 2

    cat <<END
        location / {
            retry_chain_zone vendor 1m;
            retry_chain way1 way2 way3${parameters:+ $parameters};
            retry_chain_limited wait;
END

    # its default only forbids new waits and attempts: not the same

    [ "$timeout" = off ] || echo "            retry_chain_timeout $timeout;"

    [ $# = 0 ] || printf '            %s\n' "$@"

    cat <<'END'
            proxy_pass http://$retry_chain_upstream;
            proxy_next_upstream off;
        }
END
}


write_front()
{
    local variant=$1 workers=$2 file=$3 timeout=$4 port=$5
    local load

    shift 5

    {
        case $variant in
            lua_*)
                for load in $lua_modules; do
                    echo "load_module $load;"
                done ;;
            rate|rate_rotate|auto|hints|rotate)
                [ -z "$module" ] || echo "load_module $module;" ;;
        esac

        write_main "${file%.conf}" "$workers"
        echo "http {"
        write_http

        # otherwise a 429 takes an upstream of use for 10 s, and most requests get
        # 502. the weights are an order: "backup" knows only two levels

        case $variant in
            round_robin)
                write_group ways "$1 max_fails=0" "$2 max_fails=0" \
                    "$3 max_fails=0" ;;
            ordered)
                write_group ways "$1 max_fails=0 weight=1000000" \
                    "$2 max_fails=0 weight=1000" "$3 max_fails=0" ;;
            *)
                write_group way1 "$1"
                write_group way2 "$2"
                write_group way3 "$3" ;;
        esac

        [ "$variant" != lua_pacer ] || echo "    lua_shared_dict slots 1m;"

        # reuseport: connections are spread evenly over the workers

        cat <<END
    server {
        listen 127.0.0.1:$port backlog=4096 reuseport;

END

        case $variant in
            round_robin|ordered)
                location_next ;;
            rate)
                location_chain "rate=20r/s burst=19" "$timeout" ;;
            rate_rotate)
                location_chain "rate=20r/s burst=19" "$timeout" \
                    "retry_chain_start rotate;" ;;
            auto)
                location_chain "rate=auto" "$timeout" ;;
            hints)
                location_chain "" "$timeout" ;;
            rotate)
                location_chain "" "$timeout" "retry_chain_start rotate;" ;;
            *)
                "location_$variant" ;;
        esac

        echo "    }"
        echo "}"
    } >"$file"
}
