# retry_chain_non_idempotent: requests that must not be sent twice.

use strict;
use warnings;

use File::Basename qw(dirname);
use lib dirname(__FILE__) . '/lib';

use Test::Nginx::Socket 'no_plan';
use RetryChain;

run_tests();

__DATA__

=== TEST 1: GET is idempotent and tried again after any failure
--- chain
    retry_chain refused proxy2 proxy3 proxy4 proxy5;
    proxy_read_timeout 30ms;
--- script: 200 503 close hang
--- request
GET /
--- response_body
proxy5 200
--- grep_error_log eval
qr/front: .*/
--- grep_error_log_out
front: 200 success, refused, proxy2, proxy3, proxy4, proxy5: 502, 503, 502, 504, 200



=== TEST 2: HEAD is idempotent and tried again after any failure
--- chain
    retry_chain refused proxy2 proxy3 proxy4 proxy5;
    proxy_read_timeout 30ms;
--- script: 200 503 close hang
--- request
HEAD /
--- response_headers
X-From: proxy5
--- grep_error_log eval
qr/front: .*/
--- grep_error_log_out
front: 200 success, refused, proxy2, proxy3, proxy4, proxy5: 502, 503, 502, 504, 200



=== TEST 3: PUT is idempotent and tried again after any failure
--- chain
    retry_chain refused proxy2 proxy3 proxy4 proxy5;
    proxy_read_timeout 30ms;
--- script: 200 503 close hang
--- request
PUT /
hello
--- response_body
proxy5 200
--- grep_error_log eval
qr/front: .*/
--- grep_error_log_out
front: 200 success, refused, proxy2, proxy3, proxy4, proxy5: 502, 503, 502, 504, 200



=== TEST 4: DELETE is idempotent and tried again after any failure
--- chain
    retry_chain refused proxy2 proxy3 proxy4 proxy5;
    proxy_read_timeout 30ms;
--- script: 200 503 close hang
--- request
DELETE /
--- response_body
proxy5 200
--- grep_error_log eval
qr/front: .*/
--- grep_error_log_out
front: 200 success, refused, proxy2, proxy3, proxy4, proxy5: 502, 503, 502, 504, 200



=== TEST 5: OPTIONS is idempotent and tried again after any failure
--- chain
    retry_chain refused proxy2 proxy3 proxy4 proxy5;
    proxy_read_timeout 30ms;
--- script: 200 503 close hang
--- request
OPTIONS /
--- response_body
proxy5 200
--- grep_error_log eval
qr/front: .*/
--- grep_error_log_out
front: 200 success, refused, proxy2, proxy3, proxy4, proxy5: 502, 503, 502, 504, 200



=== TEST 6: POST is not, and a failure that the vendor has answered is relayed
--- chain
    retry_chain proxy1 proxy2;
--- script: 503
--- request
POST /
hello
--- error_code: 503
--- response_headers
X-From: proxy1
X-Said-503: yes
--- response_body
proxy1 503
--- grep_error_log_out
vendor: proxy1 503
retry chain attempt 1/2 to "proxy1" failed: status 503, no other attempt: unsafe
retry chain ended: unsafe, 1 attempt
front: 503 unsafe, proxy1: 503



=== TEST 7: PATCH is not, and a failure that the vendor has answered is relayed
--- chain
    retry_chain proxy1 proxy2;
--- script: 503
--- request
PATCH /
hello
--- error_code: 503
--- response_headers
X-From: proxy1
X-Said-503: yes
--- response_body
proxy1 503
--- grep_error_log_out
vendor: proxy1 503
retry chain attempt 1/2 to "proxy1" failed: status 503, no other attempt: unsafe
retry chain ended: unsafe, 1 attempt
front: 503 unsafe, proxy1: 503



=== TEST 8: PROPFIND is not, and a failure that the vendor has answered is relayed
--- chain
    retry_chain proxy1 proxy2;
--- script: 503
--- request
PROPFIND /
--- error_code: 503
--- response_headers
X-From: proxy1
X-Said-503: yes
--- response_body
proxy1 503
--- grep_error_log_out
vendor: proxy1 503
retry chain attempt 1/2 to "proxy1" failed: status 503, no other attempt: unsafe
retry chain ended: unsafe, 1 attempt
front: 503 unsafe, proxy1: 503



=== TEST 9: MKCOL is not, and a failure that the vendor has answered is relayed
--- chain
    retry_chain proxy1 proxy2;
--- script: 503
--- request
MKCOL /
--- error_code: 503
--- response_headers
X-From: proxy1
X-Said-503: yes
--- response_body
proxy1 503
--- grep_error_log_out
vendor: proxy1 503
retry chain attempt 1/2 to "proxy1" failed: status 503, no other attempt: unsafe
retry chain ended: unsafe, 1 attempt
front: 503 unsafe, proxy1: 503



=== TEST 10: LOCK is not, and a failure that the vendor has answered is relayed
--- chain
    retry_chain proxy1 proxy2;
--- script: 503
--- request
LOCK /
--- error_code: 503
--- response_headers
X-From: proxy1
X-Said-503: yes
--- response_body
proxy1 503
--- grep_error_log_out
vendor: proxy1 503
retry chain attempt 1/2 to "proxy1" failed: status 503, no other attempt: unsafe
retry chain ended: unsafe, 1 attempt
front: 503 unsafe, proxy1: 503



=== TEST 11: FOO is not, and a failure that the vendor has answered is relayed
--- chain
    retry_chain proxy1 proxy2;
--- script: 503
--- request
FOO /
--- error_code: 503
--- response_headers
X-From: proxy1
X-Said-503: yes
--- response_body
proxy1 503
--- grep_error_log_out
vendor: proxy1 503
retry chain attempt 1/2 to "proxy1" failed: status 503, no other attempt: unsafe
retry chain ended: unsafe, 1 attempt
front: 503 unsafe, proxy1: 503



=== TEST 12: QUERY is not, and a failure that the vendor has answered is relayed
--- chain
    retry_chain proxy1 proxy2;
--- script: 503
--- request
QUERY /
--- error_code: 503
--- response_headers
X-From: proxy1
X-Said-503: yes
--- response_body
proxy1 503
--- grep_error_log_out
vendor: proxy1 503
retry chain attempt 1/2 to "proxy1" failed: status 503, no other attempt: unsafe
retry chain ended: unsafe, 1 attempt
front: 503 unsafe, proxy1: 503



=== TEST 13: POST is tried again after 429
--- chain
    retry_chain proxy1 proxy2;
--- script: 429
--- request
POST /
hello
--- response_body
proxy2 200
--- grep_error_log_out
vendor: proxy1 429
retry chain attempt 1/2 to "proxy1" failed: status 429, retrying in 0 ms
vendor: proxy2 200
retry chain ended: success, 2 attempts
front: 200 success, proxy1, proxy2: 429, 200



=== TEST 14: PATCH is tried again after 429
--- chain
    retry_chain proxy1 proxy2;
--- script: 429
--- request
PATCH /
hello
--- response_body
proxy2 200
--- grep_error_log_out
vendor: proxy1 429
retry chain attempt 1/2 to "proxy1" failed: status 429, retrying in 0 ms
vendor: proxy2 200
retry chain ended: success, 2 attempts
front: 200 success, proxy1, proxy2: 429, 200



=== TEST 15: FOO is tried again after 429
--- chain
    retry_chain proxy1 proxy2;
--- script: 429
--- request
FOO /
--- response_body
proxy2 200
--- grep_error_log_out
vendor: proxy1 429
retry chain attempt 1/2 to "proxy1" failed: status 429, retrying in 0 ms
vendor: proxy2 200
retry chain ended: success, 2 attempts
front: 200 success, proxy1, proxy2: 429, 200



=== TEST 16: POST is tried again when the connection is refused
--- chain
    retry_chain refused proxy2;
--- request
POST /
hello
--- response_body
proxy2 200
--- grep_error_log_out
retry chain attempt 1/2 to "refused" failed: error 502, retrying in 0 ms
vendor: proxy2 200
retry chain ended: success, 2 attempts
front: 200 success, refused, proxy2: 502, 200



=== TEST 17: POST is tried again when the connection is not made in time
--- http_config
    upstream stuck { server 127.0.0.1:$TEST_NGINX_STUCK_PORT; }
--- chain
    retry_chain stuck proxy2;
    proxy_connect_timeout 30ms;
--- request
POST /
hello
--- response_body
proxy2 200
--- grep_error_log_out
retry chain attempt 1/2 to "stuck" failed: timeout 504, retrying in 0 ms
vendor: proxy2 200
retry chain ended: success, 2 attempts
front: 200 success, stuck, proxy2: 504, 200



=== TEST 18: POST is tried again when the step's own timeout ends a connect
--- http_config
    upstream stuck { server 127.0.0.1:$TEST_NGINX_STUCK_PORT; }
--- chain
    retry_chain stuck proxy2 timeout=30ms;
--- request
POST /
hello
--- response_body
proxy2 200
--- grep_error_log_out
retry chain attempt 1/2 to "stuck" failed: timeout 504, retrying in 0 ms
vendor: proxy2 200
retry chain ended: success, 2 attempts
front: 200 success, stuck, proxy2: 504, 200



=== TEST 19: POST is not tried again when the vendor does not answer in time
--- chain
    retry_chain proxy1 proxy2;
    proxy_read_timeout 30ms;
--- script: hang
--- request
POST /
hello
--- error_code: 504
--- response_headers
! X-From
--- grep_error_log eval
qr/retry chain attempt \S+ to "\S+" failed: .*?(?:\d ms|attempt: \w+)|retry chain ended: \w+, \d+ attempts?|front: .*/
--- grep_error_log_out
retry chain attempt 1/2 to "proxy1" failed: timeout 504, no other attempt: unsafe
retry chain ended: unsafe, 1 attempt
front: 504 unsafe, proxy1: 504



=== TEST 20: POST is not tried again when the step's own timeout ends it after sending
--- chain
    retry_chain proxy1 proxy2 timeout=50ms;
--- script: hang
--- request
POST /
hello
--- error_code: 504
--- response_headers
! X-From
--- grep_error_log eval
qr/retry chain attempt \S+ to "\S+" failed: .*?(?:\d ms|attempt: \w+)|retry chain ended: \w+, \d+ attempts?|front: .*/
--- grep_error_log_out
retry chain attempt 1/2 to "proxy1" failed: timeout 504, no other attempt: unsafe
retry chain ended: unsafe, 1 attempt
front: 504 unsafe, proxy1: 504



=== TEST 21: POST is not tried again when the connection is lost after sending
--- chain
    retry_chain proxy1 proxy2;
--- script: close
--- request
POST /
hello
--- error_code: 502
--- response_headers
! X-From
--- grep_error_log eval
qr/retry chain attempt \S+ to "\S+" failed: .*?(?:\d ms|attempt: \w+)|retry chain ended: \w+, \d+ attempts?|front: .*/
--- grep_error_log_out
retry chain attempt 1/2 to "proxy1" failed: error 502, no other attempt: unsafe
retry chain ended: unsafe, 1 attempt
front: 502 unsafe, proxy1: 502



=== TEST 22: POST is not tried again when the answer can not be read
--- chain
    retry_chain proxy1 proxy2;
--- script: big
--- request
POST /
hello
--- error_code: 502
--- response_headers
! X-From
--- grep_error_log eval
qr/retry chain attempt \S+ to "\S+" failed: .*?(?:\d ms|attempt: \w+)|retry chain ended: \w+, \d+ attempts?|front: .*/
--- grep_error_log_out
retry chain attempt 1/2 to "proxy1" failed: invalid header 502, no other attempt: unsafe
retry chain ended: unsafe, 1 attempt
front: 502 unsafe, proxy1: 502



=== TEST 23: PATCH is not either
--- chain
    retry_chain proxy1 proxy2;
--- script: close
--- request
PATCH /
hello
--- error_code: 502
--- response_headers
! X-From
--- grep_error_log eval
qr/retry chain attempt \S+ to "\S+" failed: .*?(?:\d ms|attempt: \w+)|retry chain ended: \w+, \d+ attempts?|front: .*/
--- grep_error_log_out
retry chain attempt 1/2 to "proxy1" failed: error 502, no other attempt: unsafe
retry chain ended: unsafe, 1 attempt
front: 502 unsafe, proxy1: 502



=== TEST 24: POST is not tried again after 500
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_success 200;
--- script: 500
--- request
POST /
hello
--- error_code: 500
--- response_headers
X-From: proxy1
--- grep_error_log_out
vendor: proxy1 500
retry chain attempt 1/2 to "proxy1" failed: status 500, no other attempt: unsafe
retry chain ended: unsafe, 1 attempt
front: 500 unsafe, proxy1: 500



=== TEST 25: POST is not tried again after 404
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_success 200;
--- script: 404
--- request
POST /
hello
--- error_code: 404
--- response_headers
X-From: proxy1
--- grep_error_log_out
vendor: proxy1 404
retry chain attempt 1/2 to "proxy1" failed: status 404, no other attempt: unsafe
retry chain ended: unsafe, 1 attempt
front: 404 unsafe, proxy1: 404



=== TEST 26: POST is not tried again after 409
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_success 200;
--- script: 409
--- request
POST /
hello
--- error_code: 409
--- response_headers
X-From: proxy1
--- grep_error_log_out
vendor: proxy1 409
retry chain attempt 1/2 to "proxy1" failed: status 409, no other attempt: unsafe
retry chain ended: unsafe, 1 attempt
front: 409 unsafe, proxy1: 409



=== TEST 27: POST is not tried again after 302
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_success 200;
--- script: 302
--- request
POST /
hello
--- error_code: 302
--- response_headers
X-From: proxy1
--- grep_error_log_out
vendor: proxy1 302
retry chain attempt 1/2 to "proxy1" failed: status 302, no other attempt: unsafe
retry chain ended: unsafe, 1 attempt
front: 302 unsafe, proxy1: 302



=== TEST 28: POST goes as far as it may
--- chain
    retry_chain proxy1 refused proxy3 proxy4 proxy5;
--- script: 429 200 429 500
--- request
POST /
hello
--- error_code: 500
--- response_body
proxy4 500
--- grep_error_log_out
vendor: proxy1 429
retry chain attempt 1/5 to "proxy1" failed: status 429, retrying in 0 ms
retry chain attempt 2/5 to "refused" failed: error 502, retrying in 0 ms
vendor: proxy3 429
retry chain attempt 3/5 to "proxy3" failed: status 429, retrying in 0 ms
vendor: proxy4 500
retry chain attempt 4/5 to "proxy4" failed: status 500, no other attempt: unsafe
retry chain ended: unsafe, 4 attempts
front: 500 unsafe, proxy1, refused, proxy3, proxy4: 429, 502, 429, 500



=== TEST 29: with no step left the result is exhausted, not unsafe
--- chain
    retry_chain proxy1 proxy2;
--- script: 429 500
--- request
POST /
hello
--- error_code: 500
--- response_body
proxy2 500
--- grep_error_log_out
vendor: proxy1 429
retry chain attempt 1/2 to "proxy1" failed: status 429, retrying in 0 ms
vendor: proxy2 500
retry chain attempt 2/2 to "proxy2" failed: status 500, no other attempt: exhausted
retry chain ended: exhausted, 2 attempts
front: 500 exhausted, proxy1, proxy2: 429, 500



=== TEST 30: with a final code the result is stopped, not unsafe
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_stop 500;
--- script: 500
--- request
POST /
hello
--- error_code: 500
--- response_body
proxy1 500
--- grep_error_log_out
vendor: proxy1 500
retry chain attempt 1/2 to "proxy1" failed: status 500, no other attempt: stopped
retry chain ended: stopped, 1 attempt
front: 500 stopped, proxy1: 500



=== TEST 31: a success of POST is one
--- chain
    retry_chain proxy1 proxy2;
--- script: 201
--- request
POST /
hello
--- error_code: 201
--- response_body
proxy1 201
--- grep_error_log_out
vendor: proxy1 201
front: 201 success, proxy1: 201



=== TEST 32: POST is not tried again on the same step, whatever the rules
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_retry http_503 interval=10ms;
--- script: 503
--- request
POST /
hello
--- error_code: 503
--- response_body
proxy1 503
--- grep_error_log_out
vendor: proxy1 503
retry chain attempt 1/6 to "proxy1" failed: status 503, no other attempt: unsafe
retry chain ended: unsafe, 1 attempt
front: 503 unsafe, proxy1: 503



=== TEST 33: POST is tried again on the same step after 429
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_retry http_429 interval=10ms;
--- script: 429
--- request
POST /
hello
--- response_body
proxy1 200
--- grep_error_log_out
vendor: proxy1 429
retry chain attempt 1/6 to "proxy1" failed: status 429, retrying in 10 ms
vendor: proxy1 200
retry chain ended: success, 2 attempts
front: 200 success, proxy1, proxy1: 429, 200



=== TEST 34: a refused connection does not count when nginx itself has sent the POST to another server before
--- http_config
    upstream mixed {
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_2;
    }
--- chain
    retry_chain mixed proxy2;
    proxy_next_upstream error timeout http_503 non_idempotent;
--- script: 503
--- request
POST /
hello
--- error_code: 502
--- grep_error_log_out
vendor: mixed 503
retry chain attempt 1/2 to "mixed" failed: error 502, no other attempt: unsafe
retry chain ended: unsafe, 1 attempt
front: 502 unsafe, mixed: 502



=== TEST 35: with an Idempotency-Key POST is tried again after any failure
--- chain
    retry_chain refused proxy2 proxy3 proxy4 proxy5;
    proxy_read_timeout 30ms;
--- script: 200 503 close hang
--- request
POST /
hello
--- more_headers
Idempotency-Key: "8e03978e-40d5-43dd"
--- response_body
proxy5 200
--- grep_error_log eval
qr/front: .*/
--- grep_error_log_out
front: 200 success, refused, proxy2, proxy3, proxy4, proxy5: 502, 503, 502, 504, 200



=== TEST 36: the name of the header is compared without case
--- chain
    retry_chain proxy1 proxy2;
--- script: 503
--- request
POST /
hello
--- more_headers
idempotency-KEY: 1
--- response_body
proxy2 200
--- grep_error_log_out
vendor: proxy1 503
retry chain attempt 1/2 to "proxy1" failed: status 503, retrying in 0 ms
vendor: proxy2 200
retry chain ended: success, 2 attempts
front: 200 success, proxy1, proxy2: 503, 200



=== TEST 37: an empty Idempotency-Key is none
--- chain
    retry_chain proxy1 proxy2;
--- script: 503
--- request
POST /
hello
--- more_headers
Idempotency-Key:
--- error_code: 503
--- response_body
proxy1 503
--- grep_error_log_out
vendor: proxy1 503
retry chain attempt 1/2 to "proxy1" failed: status 503, no other attempt: unsafe
retry chain ended: unsafe, 1 attempt
front: 503 unsafe, proxy1: 503



=== TEST 38: a header whose name only begins so is none
--- chain
    retry_chain proxy1 proxy2;
--- script: 503
--- request
POST /
hello
--- more_headers
Idempotency-Key2: 1
X-Idempotency-Key: 1
--- error_code: 503
--- response_body
proxy1 503
--- grep_error_log_out
vendor: proxy1 503
retry chain attempt 1/2 to "proxy1" failed: status 503, no other attempt: unsafe
retry chain ended: unsafe, 1 attempt
front: 503 unsafe, proxy1: 503



=== TEST 39: a key behind many other headers is found
--- chain
    retry_chain proxy1 proxy2;
--- script: 503
--- request
POST /
hello
--- more_headers
X-H0: 0
X-H1: 1
X-H2: 2
X-H3: 3
X-H4: 4
X-H5: 5
X-H6: 6
X-H7: 7
X-H8: 8
X-H9: 9
X-H10: 10
X-H11: 11
X-H12: 12
X-H13: 13
X-H14: 14
X-H15: 15
X-H16: 16
X-H17: 17
X-H18: 18
X-H19: 19
X-H20: 20
X-H21: 21
X-H22: 22
X-H23: 23
X-H24: 24
X-H25: 25
X-H26: 26
X-H27: 27
X-H28: 28
X-H29: 29
Idempotency-Key: 1
--- response_body
proxy2 200
--- grep_error_log_out
vendor: proxy1 503
retry chain attempt 1/2 to "proxy1" failed: status 503, retrying in 0 ms
vendor: proxy2 200
retry chain ended: success, 2 attempts
front: 200 success, proxy1, proxy2: 503, 200



=== TEST 40: on: POST is tried again after any failure
--- chain
    retry_chain refused proxy2 proxy3 proxy4 proxy5;
    retry_chain_non_idempotent on;
    proxy_read_timeout 30ms;
--- script: 200 503 close hang
--- request
POST /
hello
--- response_body
proxy5 200
--- grep_error_log eval
qr/front: .*/
--- grep_error_log_out
front: 200 success, refused, proxy2, proxy3, proxy4, proxy5: 502, 503, 502, 504, 200



=== TEST 41: on: so is an unknown method
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_non_idempotent on;
--- script: 503
--- request
FOO /
--- response_body
proxy2 200
--- grep_error_log_out
vendor: proxy1 503
retry chain attempt 1/2 to "proxy1" failed: status 503, retrying in 0 ms
vendor: proxy2 200
retry chain ended: success, 2 attempts
front: 200 success, proxy1, proxy2: 503, 200



=== TEST 42: on: and on the same step
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_non_idempotent on;
    retry_chain_retry http_503 interval=10ms;
--- script: 503
--- request
POST /
hello
--- response_body
proxy1 200
--- grep_error_log_out
vendor: proxy1 503
retry chain attempt 1/6 to "proxy1" failed: status 503, retrying in 10 ms
vendor: proxy1 200
retry chain ended: success, 2 attempts
front: 200 success, proxy1, proxy1: 503, 200



=== TEST 43: off: POST is not tried again after 429
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_non_idempotent off;
--- script: 429
--- request
POST /
hello
--- error_code: 429
--- response_body
proxy1 429
--- grep_error_log_out
vendor: proxy1 429
retry chain attempt 1/2 to "proxy1" failed: status 429, no other attempt: unsafe
retry chain ended: unsafe, 1 attempt
front: 429 unsafe, proxy1: 429



=== TEST 44: off: not with an Idempotency-Key
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_non_idempotent off;
--- script: 503
--- request
POST /
hello
--- more_headers
Idempotency-Key: "8e03978e-40d5-43dd"
--- error_code: 503
--- response_body
proxy1 503
--- grep_error_log_out
vendor: proxy1 503
retry chain attempt 1/2 to "proxy1" failed: status 503, no other attempt: unsafe
retry chain ended: unsafe, 1 attempt
front: 503 unsafe, proxy1: 503



=== TEST 45: off: not when the connection is refused
--- chain
    retry_chain refused proxy2;
    retry_chain_non_idempotent off;
--- request
POST /
hello
--- error_code: 502
--- grep_error_log_out
retry chain attempt 1/2 to "refused" failed: error 502, no other attempt: unsafe
retry chain ended: unsafe, 1 attempt
front: 502 unsafe, refused: 502



=== TEST 46: off: GET is tried again all the same
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_non_idempotent off;
--- script: 503
--- response_body
proxy2 200
--- grep_error_log_out
vendor: proxy1 503
retry chain attempt 1/2 to "proxy1" failed: status 503, retrying in 0 ms
vendor: proxy2 200
retry chain ended: success, 2 attempts
front: 200 success, proxy1, proxy2: 503, 200



=== TEST 47: safe is the default and can be said
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_non_idempotent safe;
--- script: 429
--- request
POST /
hello
--- response_body
proxy2 200
--- grep_error_log_out
vendor: proxy1 429
retry chain attempt 1/2 to "proxy1" failed: status 429, retrying in 0 ms
vendor: proxy2 200
retry chain ended: success, 2 attempts
front: 200 success, proxy1, proxy2: 429, 200



=== TEST 48: safe: nor is 500 when it is said
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_non_idempotent safe;
--- script: 500
--- request
POST /
hello
--- error_code: 500
--- response_body
proxy1 500
--- grep_error_log_out
vendor: proxy1 500
retry chain attempt 1/2 to "proxy1" failed: status 500, no other attempt: unsafe
retry chain ended: unsafe, 1 attempt
front: 500 unsafe, proxy1: 500
