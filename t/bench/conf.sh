# The configurations of the benchmark, read by run.sh.
#
#   write_back FILE                 the backend: an answer, a 429, a big file
#   write_front COLUMN FILE PORT    the proxy of a column
#
# A proxy loads only the modules of its column, so that the first column is
# nginx as installed. The locations of a proxy:
#
#   /ok        no failure
#   /fail      429 from the first upstream, 200 from the second
#   /big       a large reply, buffered in memory only: temporary files would
#              measure the disk; but in Lua, where a capture stands still
#              without them
#   /park1     a client that waits: after one failed attempt, or for a slow
#   /park15    upstream in the first two columns; after fifteen
#
# Used from run.sh: tmp, module, lua_modules, port_ok, port_429, port_status,
# port_slow, wait (seconds).


write_main()
{
    # all in one process, which is then the worker; errors as by default

    [ "$(id -u)" != 0 ] || echo "user root;"

    cat <<END
daemon off;
master_process off;
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

    sendfile on;
    keepalive_requests 100000000;
    keepalive_timeout 600s;
END
}


write_back()
{
    local file=$1

    {
        write_main "${file%.conf}"

        cat <<END
http {
$(write_http)

    server {
        listen 127.0.0.1:$port_ok backlog=4096;
        root $tmp/root;

        location / {
            return 200 "hello, this is a small answer of some bytes\n";
        }

        location = /big {
        }
    }

    server {
        listen 127.0.0.1:$port_429 backlog=4096;

        location / {
            return 429 "limited, this is a small answer of some bytes\n";
        }
    }

    server {
        listen 127.0.0.1:$port_status;
        keepalive_timeout 0;

        location / {
            stub_status;
        }
    }
}
END
    } >"$file"
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
        keepalive 16;
        keepalive_requests 100000000;
        keepalive_timeout 600s;
    }

END
}


write_location()
{
    echo "        location $1 {"
    shift
    printf '            %s\n' "$@"
    echo "        }"
    echo
}


# The first two have locations that are not asked for, so that the memory of a
# worker is that of a configuration of the same size.

locations_plain()
{
    write_location "= /ok" "proxy_pass http://good;"
    write_location "= /big" "proxy_pass http://good;"
    write_location "= /park1" "proxy_pass http://slow;"

    write_location "= /fail" "proxy_pass http://good2;"
    write_location "= /park15" "proxy_pass http://good3;"
}


locations_variable()
{
    local set='set $name'
    local pass='proxy_pass http://$name;'

    write_location "= /ok" "$set good;" "$pass"
    write_location "= /big" "$set good;" "$pass"
    write_location "= /park1" "$set slow;" "$pass"

    write_location "= /fail" "$set good2;" "$pass"
    write_location "= /park15" "$set good3;" "$pass"
}


locations_next()
{
    local next="proxy_next_upstream error timeout http_429;"

    write_location "= /ok" "$next" "proxy_pass http://order;"
    write_location "= /big" "$next" "proxy_pass http://order;"
    write_location "= /fail" "$next" "proxy_pass http://order_429;"
}


# lua_loop ATTEMPTS SLEEP GROUP...: the loop that operators write, SLEEP before
# the last group

lua_loop()
{
    local attempts=$1 seconds=$2

    shift 2

    cat <<END
content_by_lua_block {
                local groups = { $(printf '"%s", ' "$@")}
                local res

                for i, group in ipairs(groups) do
                    local last = i == #groups

                    if i > 1 then
                        ngx.sleep(last and $seconds or 0)
                    end

                    for n = 1, last and 1 or $attempts do
                        res = ngx.location.capture("/to_" .. group
                                                   .. ngx.var.uri)
                        if res.status < 400 then
                            break
                        end
                    end

                    if res.status < 400 then
                        break
                    end
                end

                ngx.status = res.status

                for name, value in pairs(res.header) do
                    ngx.header[name] = value
                end

                ngx.print(res.body)
            }
END
}


locations_lua()
{
    local group

    write_location "= /ok" "$(lua_loop 1 0 good good2 good3)"
    write_location "= /big" "$(lua_loop 1 0 good good2 good3)"
    write_location "= /fail" "$(lua_loop 1 0 limited good)"
    write_location "= /park1" "$(lua_loop 1 "$wait" limited good)"
    write_location "= /park15" "$(lua_loop 15 "$wait" limited good)"

    for group in good good2 good3 limited; do
        write_location "/to_$group/" "internal;" "proxy_pass http://$group/;"
    done
}


locations_chain()
{
    local pass='proxy_pass http://$retry_chain_upstream;'

    write_location "= /ok" "retry_chain good good2 good3;" "$pass"
    write_location "= /big" "retry_chain good good2 good3;" "$pass"
    write_location "= /fail" "retry_chain limited good;" "$pass"

    write_location "= /park1" "retry_chain limited;" \
        "retry_chain good wait=${wait}s;" "$pass"
    write_location "= /park15" "retry_chain limited attempts=15;" \
        "retry_chain good wait=${wait}s;" "$pass"
}


write_front()
{
    local column=$1 file=$2 port=$3
    local load spool=0

    [ "$column" != lua ] || spool=1024m

    {
        case $column in
            lua)    for load in $lua_modules; do
                        echo "load_module $load;"
                    done ;;
            chain)  [ -z "$module" ] || echo "load_module $module;" ;;
        esac

        write_main "${file%.conf}"

        echo "http {"
        write_http
        echo

        write_group good "$port_ok"
        write_group slow "$port_slow"

        case $column in
            next)
                write_group order "$port_ok max_fails=0" "$port_ok backup"
                write_group order_429 "$port_429 max_fails=0" \
                    "$port_ok backup"
                ;;
            *)
                write_group good2 "$port_ok"
                write_group good3 "$port_ok"
                write_group limited "$port_429"
                ;;
        esac

        cat <<END
    server {
        listen 127.0.0.1:$port backlog=4096;

        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_max_temp_file_size $spool;
        proxy_read_timeout 600s;

END
        "locations_$column"

        echo "    }"
        echo "}"
    } >"$file"
}
