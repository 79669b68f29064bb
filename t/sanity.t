# The main job: steps in order, the first success is the answer, or the last
# failure is, as it came.

use strict;
use warnings;

use File::Basename qw(dirname);
use lib dirname(__FILE__) . '/lib';

use Test::Nginx::Socket 'no_plan';
use RetryChain;

run_tests();

__DATA__

=== TEST 1: a first step that succeeds is the answer, and nothing is logged
--- chain
    retry_chain proxy1 proxy2 proxy3;
--- script: 200
--- response_headers
X-From: proxy1
--- response_body
proxy1 200
--- grep_error_log_out
vendor: proxy1 200
front: 200 success, proxy1: 200



=== TEST 2: steps are tried in order until one succeeds
--- chain
    retry_chain proxy1 proxy2 proxy3;
--- script: 429 500 201
--- error_code: 201
--- response_headers
X-From: proxy3
X-Said-201: yes
! X-Said-429
! X-Said-500
--- response_body
proxy3 201
--- grep_error_log_out
vendor: proxy1 429
retry chain attempt 1/3 to "proxy1" failed: status 429, retrying in 0 ms
vendor: proxy2 500
retry chain attempt 2/3 to "proxy2" failed: status 500, retrying in 0 ms
vendor: proxy3 201
retry chain ended: success, 3 attempts
front: 201 success, proxy1, proxy2, proxy3: 429, 500, 201



=== TEST 3: steps after the first success are not tried
--- chain
    retry_chain proxy3 proxy1 proxy2;
--- script: 503 200
--- response_body
proxy1 200
--- grep_error_log_out
vendor: proxy3 503
retry chain attempt 1/3 to "proxy3" failed: status 503, retrying in 0 ms
vendor: proxy1 200
retry chain ended: success, 2 attempts
front: 200 success, proxy3, proxy1: 503, 200



=== TEST 4: when all steps fail, the last failure is the answer, as it came
--- chain
    retry_chain proxy1 proxy2 proxy3;
--- script: 500 503 429
--- error_code: 429
--- response_headers
X-From: proxy3
X-Said-429: yes
! X-Said-500
! X-Said-503
Content-Type: text/plain
Content-Length: 11
--- response_body
proxy3 429
--- grep_error_log_out
vendor: proxy1 500
retry chain attempt 1/3 to "proxy1" failed: status 500, retrying in 0 ms
vendor: proxy2 503
retry chain attempt 2/3 to "proxy2" failed: status 503, retrying in 0 ms
vendor: proxy3 429
retry chain attempt 3/3 to "proxy3" failed: status 429, no other attempt: exhausted
retry chain ended: exhausted, 3 attempts
front: 429 exhausted, proxy1, proxy2, proxy3: 500, 503, 429



=== TEST 5: an upstream that refuses the connection is passed over
--- chain
    retry_chain refused proxy2;
--- response_body
proxy2 200
--- grep_error_log_out
retry chain attempt 1/2 to "refused" failed: error 502, retrying in 0 ms
vendor: proxy2 200
retry chain ended: success, 2 attempts
front: 200 success, refused, proxy2: 502, 200



=== TEST 6: an upstream that closes the connection without an answer is passed over
--- chain
    retry_chain proxy1 proxy2;
--- script: close
--- response_body
proxy2 200
--- grep_error_log_out
vendor: proxy1 close
retry chain attempt 1/2 to "proxy1" failed: error 502, retrying in 0 ms
vendor: proxy2 200
retry chain ended: success, 2 attempts
front: 200 success, proxy1, proxy2: 502, 200



=== TEST 7: an upstream that sends too large a header is passed over
--- chain
    retry_chain proxy1 proxy2;
--- script: big
--- response_body
proxy2 200
--- grep_error_log_out
vendor: proxy1 big
retry chain attempt 1/2 to "proxy1" failed: invalid header 502, retrying in 0 ms
vendor: proxy2 200
retry chain ended: success, 2 attempts
front: 200 success, proxy1, proxy2: 502, 200



=== TEST 8: an upstream that says nothing is passed over
--- chain
    retry_chain proxy1 proxy2;
    proxy_read_timeout 300ms;
--- script: hang
--- response_body
proxy2 200
--- grep_error_log eval
qr/retry chain attempt \S+ to "\S+" failed: timeout.*?ms|front: .*/
--- grep_error_log_out
retry chain attempt 1/2 to "proxy1" failed: timeout 504, retrying in 0 ms
front: 200 success, proxy1, proxy2: 504, 200



=== TEST 9: when the last step can not be reached, that is the answer
--- chain
    retry_chain proxy1 refused;
--- script: 429
--- error_code: 502
--- response_headers
! X-From
! X-Said-429
Content-Type: text/html
--- response_body_like: <h1>502 Bad Gateway</h1>
--- grep_error_log_out
vendor: proxy1 429
retry chain attempt 1/2 to "proxy1" failed: status 429, retrying in 0 ms
retry chain attempt 2/2 to "refused" failed: error 502, no other attempt: exhausted
retry chain ended: exhausted, 2 attempts
front: 502 exhausted, proxy1, refused: 429, 502



=== TEST 10: the error page of the location is used when no step can be reached
--- config
    location = /sorry { return 503 "sorry\n"; }
--- chain
    retry_chain refused refused;
    error_page 502 =503 /sorry;
--- error_code: 503
--- response_body
sorry
--- grep_error_log_out
retry chain attempt 1/2 to "refused" failed: error 502, retrying in 0 ms
retry chain attempt 2/2 to "refused" failed: error 502, no other attempt: exhausted
retry chain ended: exhausted, 2 attempts
front: 503 exhausted, refused, refused: 502, 502



=== TEST 11: with one step there is one attempt
--- chain
    retry_chain proxy1;
--- script: 500
--- error_code: 500
--- response_headers
X-From: proxy1
--- response_body
proxy1 500
--- grep_error_log_out
vendor: proxy1 500
front: 500 exhausted, proxy1: 500
retry chain attempt 1/1 to "proxy1" failed: status 500, no other attempt: exhausted
retry chain ended: exhausted, 1 attempt



=== TEST 12: several directives add up, in order
--- chain
    retry_chain proxy2;
    retry_chain proxy1 proxy3;
    retry_chain proxy2;
--- script: 500 500 500
--- response_body
proxy2 200
--- grep_error_log_out
vendor: proxy2 500
retry chain attempt 1/4 to "proxy2" failed: status 500, retrying in 0 ms
vendor: proxy1 500
retry chain attempt 2/4 to "proxy1" failed: status 500, retrying in 0 ms
vendor: proxy3 500
retry chain attempt 3/4 to "proxy3" failed: status 500, retrying in 0 ms
vendor: proxy2 200
retry chain ended: success, 4 attempts
front: 200 success, proxy2, proxy1, proxy3, proxy2: 500, 500, 500, 200



=== TEST 13: a step is an address or a host name with a port, no resolver is needed
--- chain
    retry_chain 127.0.0.1:$TEST_NGINX_RAND_PORT_1
                localhost:$TEST_NGINX_RAND_PORT_1;
--- script: 500
--- response_body
localhost 200
--- grep_error_log eval
qr/vendor: .*/
--- grep_error_log_out
vendor: 127.0.0.1 500
vendor: localhost 200
--- no_error_log
no resolver defined



=== TEST 14: an upstream whose name has one character is a step
--- http_config
    upstream a { server 127.0.0.1:$TEST_NGINX_RAND_PORT_1; }
--- chain
    retry_chain a proxy2;
--- response_body
a 200
--- grep_error_log_out
vendor: a 200
front: 200 success, a: 200



=== TEST 15: an upstream may be defined after the chain that names it
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_3;
        retry_chain later proxy1;
        location / { proxy_pass http://$retry_chain_upstream; }
    }
    upstream later { server 127.0.0.1:$TEST_NGINX_RAND_PORT_1; }
--- config
    location / { proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_3; }
--- response_body
later 200



=== TEST 16: sixteen steps in a row
--- chain
    retry_chain proxy1 proxy2 proxy3 proxy4 proxy1 proxy2 proxy3 proxy4
                proxy1 proxy2 proxy3 proxy4 proxy1 proxy2 proxy3 proxy5;
--- script: 500 500 500 500 500 500 500 500 500 500 500 500 500 500 500
--- response_body
proxy5 200
--- grep_error_log eval
qr/retry chain ended.*attempts|front: .*/
--- grep_error_log_out
retry chain ended: success, 16 attempts
front: 200 success, proxy1, proxy2, proxy3, proxy4, proxy1, proxy2, proxy3, proxy4, proxy1, proxy2, proxy3, proxy4, proxy1, proxy2, proxy3, proxy5: 500, 500, 500, 500, 500, 500, 500, 500, 500, 500, 500, 500, 500, 500, 500, 200



=== TEST 17: every attempt gets the uri, the arguments and the headers of the client
--- http_config
    log_format asked 'asked: $request_uri $http_x_foo $http_host';
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_3;
        retry_chain off;
        access_log logs/error.log asked;
        location / { return 500 "no\n"; }
    }
--- config
    location / {
        retry_chain 127.0.0.1:$TEST_NGINX_RAND_PORT_3 attempts=2;
        proxy_set_header Host api.example.com;
        proxy_pass http://$retry_chain_upstream;
    }
--- request
GET /a%2fb/../c//d?e=%20f&g
--- more_headers
X-Foo: bar
--- error_code: 500
--- response_body
no
--- grep_error_log eval
qr/asked: .*/
--- grep_error_log_out
asked: /a%2fb/../c//d?e=%20f&g bar api.example.com
asked: /a%2fb/../c//d?e=%20f&g bar api.example.com



=== TEST 18: every attempt gets the body of the client
--- http_config
    log_format sent 'sent: $request_method $content_length $request_body';
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_3;
        retry_chain off;
        access_log logs/error.log sent;
        proxy_set_header X-Attempt $http_x_attempt;
        location / { proxy_pass http://proxy1; }
    }
--- chain
    retry_chain 127.0.0.1:$TEST_NGINX_RAND_PORT_3
                localhost:$TEST_NGINX_RAND_PORT_3;
--- script: 429
--- request
POST /
hello, vendor
--- response_body
proxy1 200
--- grep_error_log eval
qr/sent: .*/
--- grep_error_log_out
sent: POST 13 hello, vendor
sent: POST 13 hello, vendor



=== TEST 19: HEAD has the header of the step that succeeds
--- chain
    retry_chain proxy1 proxy2;
--- script: 500
--- request
HEAD /
--- response_headers
X-From: proxy2
Content-Length: 11
--- response_body
--- grep_error_log_out
vendor: proxy1 500
retry chain attempt 1/2 to "proxy1" failed: status 500, retrying in 0 ms
vendor: proxy2 200
retry chain ended: success, 2 attempts
front: 200 success, proxy1, proxy2: 500, 200



=== TEST 20: requests on one connection have a run each
--- chain
    retry_chain proxy1 proxy2;
--- script: 500
--- pipelined_requests eval
["GET /1", "GET /2", "GET /3"]
--- response_body eval
["proxy2 200\n", "proxy2 200\n", "proxy2 200\n"]
--- access_log
GET /1 HTTP/1.1" 200
GET /2 HTTP/1.1" 200
GET /3 HTTP/1.1" 200



=== TEST 21: the first success is passed on as it comes
--- chain
    retry_chain proxy1 proxy2;
    proxy_buffering off;
--- script: 500 part
--- request
GET / HTTP/1.0
--- abort
--- leave: a part of it
--- response_body
a part of it
--- error_log
retry chain attempt 1/2 to "proxy1" failed: status 500, retrying in 0 ms



=== TEST 22: a failed reply that does not end does not hold the next attempt
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_success 201;
--- script: part 201
--- error_code: 201
--- response_body
proxy2 201
--- grep_error_log eval
qr/retry chain attempt \S+ to "\S+" failed: .*?ms|front: .*/
--- grep_error_log_out
retry chain attempt 1/2 to "proxy1" failed: status 200, retrying in 0 ms
front: 201 success, proxy1, proxy2: 200, 201



=== TEST 23: a location reached from a run by a redirect runs plainly
--- config
    location = /other {
        retry_chain proxy4 proxy5;
        proxy_pass http://$retry_chain_upstream;
    }
--- chain
    retry_chain proxy1 proxy2;
    proxy_intercept_errors on;
    error_page 503 /other;
--- script: 500 503
--- error_code: 503
--- response_headers
X-From: proxy4
--- grep_error_log_out
vendor: proxy1 500
retry chain attempt 1/2 to "proxy1" failed: status 500, retrying in 0 ms
vendor: proxy2 503
retry chain attempt 2/2 to "proxy2" failed: status 503, no other attempt: exhausted
retry chain ended: exhausted, 2 attempts
vendor: proxy4 503
front: 503 exhausted, proxy1, proxy2: 500, 503



=== TEST 24: a location without a chain is left alone
--- config
    location / { proxy_pass http://proxy1; }
    location = /other {
        retry_chain proxy2 proxy3;
        proxy_pass http://$retry_chain_upstream;
    }
--- http_config
    map $uri $way { default refused; }
--- response_body
proxy1 200
--- grep_error_log_out
vendor: proxy1 200
front: 200 -, -: -



=== TEST 25: a uri in proxy_pass with a variable is sent as it is
--- http_config
    log_format asked 'asked: $request_uri';
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_3;
        retry_chain off;
        access_log logs/error.log asked;
        location / { return 500; }
    }
--- config
    location /api/ {
        retry_chain 127.0.0.1:$TEST_NGINX_RAND_PORT_3 attempts=2;
        proxy_pass http://$retry_chain_upstream/v2$uri?key=1;
    }
--- request
GET /api/x?y=z
--- error_code: 500
--- grep_error_log eval
qr/asked: .*/
--- grep_error_log_out
asked: /v2/api/x?key=1
asked: /v2/api/x?key=1



=== TEST 26: clients that ask over HTTP/1.0 get the same
--- chain
    retry_chain proxy1 proxy2;
--- script: 500
--- request
GET / HTTP/1.0
--- response_headers
X-From: proxy2
--- response_body
proxy2 200
