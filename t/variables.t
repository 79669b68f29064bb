# Variables, @locations and levels: what a configuration can see of a run.

use strict;
use warnings;

use Test::Nginx::Socket 'no_plan';

# upstreams that answer with their own name, and what they were sent

our $http = <<'CONF';
    upstream one { server unix:$TEST_NGINX_HTML_DIR/one.sock; }
    upstream two { server unix:$TEST_NGINX_HTML_DIR/two.sock; }

    map $retry_chain_upstream $key { one key-one; two key-two; default none; }

    server {
        listen unix:$TEST_NGINX_HTML_DIR/one.sock;
        location / { return 429; }
    }

    server {
        listen unix:$TEST_NGINX_HTML_DIR/two.sock;
        location / {
            return 200 "two $http_x_attempt $http_x_key $http_x_id\n";
        }
        location /fail { return 503 "two is broken\n"; }
    }
CONF

$ENV{TEST_NGINX_HTML_DIR} ||= html_dir();

add_block_preprocessor(sub {
    my $block = shift;

    $block->set_value('http_config', $http . ($block->http_config || ''));
    $block->set_value('request', 'GET /t') if !defined $block->request;
    $block->set_value('no_error_log', "[alert]\n[crit]\n[emerg]");
});

run_tests();

__DATA__

=== TEST 1: each attempt has its step, its number and its map
--- config
    location /t {
        retry_chain one two;
        proxy_pass http://$retry_chain_upstream;
        proxy_set_header X-Attempt $retry_chain_attempt;
        proxy_set_header X-Key $key;
    }
--- response_body
two 2 key-two 



=== TEST 2: lists, result and counts are there when the client is answered
--- config
    location /t {
        retry_chain one two wait=20ms;
        proxy_pass http://$retry_chain_upstream;
        add_header X-List "$retry_chain_steps; $retry_chain_statuses";
        add_header X-Run "$retry_chain_result $retry_chain_attempts";
        add_header X-Waits "$retry_chain_waits";
        add_header X-Up "$retry_chain_upstream; $upstream_status";
        add_header X-Time "$retry_chain_time";
    }
--- response_headers_like
X-List: one, two; 429, 200
X-Run: success 2
X-Waits: 0\.000, 0\.020
X-Up: two; 429 : 200
X-Time: 0\.0[2-9]\d



=== TEST 3: a map that is used before the first attempt has to be volatile
--- http_config
    map $retry_chain_upstream $late { volatile; one key-one; two key-two; }
--- config
    location /t {
        if ($late = nothing) { return 400; }
        retry_chain one two;
        proxy_pass http://$retry_chain_upstream;
        proxy_set_header X-Key $late;
    }
--- response_body
two  key-two 



=== TEST 4: $request_id is one in the answer and in the attempts
--- config
    location /t {
        retry_chain one two;
        proxy_pass http://$retry_chain_upstream;
        proxy_set_header X-Id id;
        proxy_set_header X-Key $request_id;
        add_header X-Same $request_id;
    }
--- response_body_like: ^two  [0-9a-f]{32} id$
--- response_headers_like
X-Same: [0-9a-f]{32}



=== TEST 5: the trail is JSON
--- config
    location /t {
        retry_chain one two wait=10ms;
        proxy_pass http://$retry_chain_upstream;
        add_header X-Trail $retry_chain_trail;
    }
--- response_headers_like
X-Trail: \{"result":"success","time":\d+\.\d+,"attempts":\[\{"step":"one","address":"unix:\S+/one.sock","outcome":"status","status":429,"bytes":\d+,"wait":0,"reason":"first","time":[\d.]+,"verdict":"next"\},\{"step":"two","address":"unix:\S+/two.sock","outcome":"status","status":200,"bytes":\d+,"wait":0\.01,"reason":"step","time":[\d.]+,"verdict":"success"\}\]\}



=== TEST 6: without a chain there is nothing to see
--- config
    location /t {
        proxy_pass http://two;
        add_header X-All "[$retry_chain_upstream$retry_chain_attempt$retry_chain_attempts$retry_chain_steps$retry_chain_result$retry_chain_trail]";
    }
--- response_headers
X-All: []



=== TEST 7: a request that cannot be repeated runs plainly, on the first step
--- config
    location /t {
        retry_chain two one;
        proxy_pass http://$retry_chain_upstream;
        proxy_request_buffering off;
        proxy_set_header X-Attempt $retry_chain_attempt;
        add_header X-Run "$retry_chain_result [$retry_chain_attempts]";
    }
--- request
POST /t
body
--- response_headers
X-Run: bypassed []
--- response_body
two 1  



=== TEST 8: an @location is the last resort
--- config
    location /t {
        retry_chain one @last;
        proxy_pass http://$retry_chain_upstream;
        add_header X-Steps $retry_chain_steps always;
    }
    location @last { return 200 "last resort\n"; }
--- response_headers
X-Steps: one, @last
--- response_body
last resort



=== TEST 9: an @location may proxy, redirect or refuse
--- config
    location /t {
        retry_chain one @refuse @go @proxy;
        retry_chain_success 200;
        proxy_pass http://$retry_chain_upstream;
        add_header X-Statuses $retry_chain_statuses always;
    }
    location @refuse { return 403; }
    location @go { return 302 /elsewhere; }
    location @proxy { proxy_pass http://two; proxy_set_header X-Key here; }
--- response_headers
X-Statuses: 429, 403, 302, 200
--- response_body
two  here 



=== TEST 10: a redirect of the last @location is the answer, with its Location
--- config
    location /t {
        retry_chain one @go;
        proxy_pass http://$retry_chain_upstream;
    }
    location @go { return 302 http://localhost/elsewhere; }
--- error_code: 302
--- response_headers
Location: http://localhost/elsewhere



=== TEST 11: a location inherits the chain, a list of its own replaces it
--- config
    retry_chain one;
    location /t {
        location /t/inherits { proxy_pass http://$retry_chain_upstream; }
        location /t/own {
            retry_chain two;
            proxy_pass http://$retry_chain_upstream;
        }
        location /t/off { retry_chain off; proxy_pass http://two; }
    }
--- pipelined_requests eval
["GET /t/inherits", "GET /t/own", "GET /t/off"]
--- error_code eval
[429, 200, 200]



=== TEST 12: other directives are inherited apart from the chain
--- config
    retry_chain_success 503;
    location /fail {
        retry_chain one two;
        proxy_pass http://$retry_chain_upstream;
        add_header X-Run $retry_chain_result always;
    }
--- request
GET /fail
--- error_code: 503
--- response_headers
X-Run: success
--- response_body
two is broken



=== TEST 13: a chain in "if" is that of the requests that it matches
--- config
    location /t {
        retry_chain one;
        if ($arg_two) { retry_chain two; }
        proxy_pass http://$retry_chain_upstream;
    }
--- pipelined_requests eval
["GET /t", "GET /t?two=1"]
--- error_code eval
[429, 200]



=== TEST 14: an inherited chain leaves other content handlers alone
--- config
    retry_chain one two;
    location /t { stub_status; add_header X-Run "[$retry_chain_result]"; }
--- response_headers
X-Run: []



=== TEST 15: one that is written there does not
--- config
    location /t {
        retry_chain one two;
        stub_status;
        add_header X-Run "[$retry_chain_result]";
    }
--- response_headers
X-Run: [success]
--- response_body_like: Active connections



=== TEST 16: a request that runs plainly goes to the first step with an address
--- config
    location /t {
        retry_chain @last one;
        proxy_pass http://$retry_chain_upstream;
        add_header X-Run "$retry_chain_result $retry_chain_upstream";
    }
    location @last { return 200 "last\n"; }
--- more_headers
Upgrade: websocket
--- error_code: 429
--- no_error_log
[error]



=== TEST 17: log_subrequest does not log attempts, wherever they run
--- config
    log_subrequest on;
    access_log logs/error.log twice;
    location /t {
        retry_chain one @last;
        proxy_pass http://$retry_chain_upstream;
    }
    location @last { return 200 "last\n"; }
--- http_config
    log_format twice "logged: $status";
--- grep_error_log eval: qr/logged: \d+/
--- grep_error_log_out
logged: 200



=== TEST 18: a location with a chain that an @location rewrites to runs plainly
--- config
    proxy_set_header X-Attempt $retry_chain_attempt;
    location /t {
        retry_chain one @away;
        proxy_pass http://$retry_chain_upstream;
        add_header X-Steps "$retry_chain_steps; $retry_chain_upstream";
    }
    location @away { rewrite ^ /pool last; }
    location /pool {
        retry_chain two one;
        proxy_pass http://$retry_chain_upstream;
    }
--- response_headers
X-Steps: one, @away; @away
--- response_body
two 2  



=== TEST 19: so does an @location with a chain of its own
--- config
    location /t {
        retry_chain one @away;
        proxy_pass http://$retry_chain_upstream;
        add_header X-Steps "$retry_chain_steps; $retry_chain_upstream";
    }
    location @away {
        retry_chain @nowhere two one;
        proxy_pass http://$retry_chain_upstream;
    }
    location @nowhere { return 200 "nowhere\n"; }
--- response_headers
X-Steps: one, @away; @away
--- response_body
two   



=== TEST 20: and a location that inherits the chain
--- config
    retry_chain two @away one;
    retry_chain_success 503;
    proxy_set_header X-Key $retry_chain_upstream;
    location /t {
        proxy_pass http://$retry_chain_upstream;
        add_header X-Steps "$retry_chain_steps" always;
    }
    location @away { rewrite ^ /fail last; }
    location /fail { proxy_pass http://$retry_chain_upstream; }
--- error_code: 503
--- response_headers
X-Steps: two, @away
--- response_body
two is broken



=== TEST 21: an @location that inherits the chain is that step
--- config
    retry_chain one @last;
    proxy_set_header X-Key $retry_chain_upstream;
    location /t { proxy_pass http://$retry_chain_upstream; }
    location @last { proxy_pass http://two; if ($arg_x) { } }
--- pipelined_requests eval
["GET /t", "GET /t?x=1"]
--- response_body eval
["two  \@last \n", "two  \@last \n"]



=== TEST 22: one without a chain is that step wherever it rewrites to
--- config
    proxy_set_header X-Key $retry_chain_upstream;
    location /t {
        retry_chain one @away;
        proxy_pass http://$retry_chain_upstream;
    }
    location @away { rewrite ^ /pool last; }
    location /pool { proxy_pass http://two; }
--- response_body
two  @away 



=== TEST 23: after an @location, a location that inherits the chain has its first step
--- config
    retry_chain two @refuse;
    retry_chain_success 404;
    proxy_set_header X-Key $retry_chain_upstream;
    location /t {
        proxy_pass http://$retry_chain_upstream;
        error_page 403 = /page;
    }
    location @refuse { return 403; }
    location /page {
        proxy_pass http://$retry_chain_upstream;
        add_header X-Run "$retry_chain_steps; $retry_chain_upstream";
    }
--- response_headers
X-Run: two, @refuse; two
--- response_body
two  two 
