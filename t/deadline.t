# retry_chain_timeout and timeout= of a step.

use strict;
use warnings;

use File::Basename qw(dirname);
use lib dirname(__FILE__) . '/lib';

use Test::Nginx::Socket 'no_plan';
use RetryChain;

run_tests();

__DATA__

=== TEST 1: a wait of a minute is not started by default, the reply at hand is the answer
--- chain
    retry_chain proxy1;
    retry_chain proxy2 wait=60s;
--- script: 429
--- error_code: 429
--- response_headers
X-From: proxy1
X-Said-429: yes
--- response_body
proxy1 429
--- grep_error_log_out
vendor: proxy1 429
retry chain attempt 1/2 to "proxy1" failed: status 429, no other attempt: deadline
retry chain ended: deadline, 1 attempt
front: 429 deadline, proxy1: 429



=== TEST 2: a shorter wait is
--- chain
    retry_chain proxy1;
    retry_chain proxy2 wait=59s;
--- script: 503
--- timeout: 0.1
--- abort
--- ignore_response
--- grep_error_log eval
qr/failed: status 503, .*? ms/
--- grep_error_log_out
failed: status 503, retrying in 59000 ms



=== TEST 3: waits before and after count together
--- chain
    retry_chain proxy1;
    retry_chain proxy2 wait=50ms;
    retry_chain proxy3 wait=59960ms;
--- script: 429 503
--- error_code: 503
--- response_body
proxy2 503
--- grep_error_log_out
vendor: proxy1 429
retry chain attempt 1/3 to "proxy1" failed: status 429, retrying in 50 ms
vendor: proxy2 503
retry chain attempt 2/3 to "proxy2" failed: status 503, no other attempt: deadline
retry chain ended: deadline, 2 attempts
front: 503 deadline, proxy1, proxy2: 429, 503



=== TEST 4: no wait is too long with retry_chain_timeout off
--- chain
    retry_chain proxy1;
    retry_chain proxy2 wait=1h;
    retry_chain_timeout off;
--- script: 503
--- timeout: 0.1
--- abort
--- ignore_response
--- grep_error_log eval
qr/failed: status 503, .*? ms/
--- grep_error_log_out
failed: status 503, retrying in 3600000 ms



=== TEST 5: nor is a backoff
--- chain
    retry_chain proxy1;
    retry_chain_retry http_503 interval=1h max=1h;
    retry_chain_timeout off;
--- script: 503
--- timeout: 0.1
--- abort
--- ignore_response
--- grep_error_log eval
qr/failed: status 503, .*? ms/
--- grep_error_log_out
failed: status 503, retrying in 3600000 ms



=== TEST 6: an attempt that runs is not aborted with retry_chain_timeout off
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_timeout off;
    proxy_read_timeout 100ms;
--- script: hang
--- response_body
proxy2 200
--- grep_error_log eval
qr/retry chain attempt \S+ to "\S+" failed: .*?(?:\d ms|attempt: \w+)|retry chain ended: \w+, \d+ attempts?|front: .*/
--- grep_error_log_out
retry chain attempt 1/2 to "proxy1" failed: timeout 504, retrying in 0 ms
retry chain ended: success, 2 attempts
front: 200 success, proxy1, proxy2: 504, 200



=== TEST 7: a wait that can not end before the configured deadline is not started
--- chain
    retry_chain proxy1;
    retry_chain proxy2 wait=2s;
    retry_chain_timeout 2s;
--- script: 429
--- error_code: 429
--- response_body
proxy1 429
--- grep_error_log_out
vendor: proxy1 429
retry chain attempt 1/2 to "proxy1" failed: status 429, no other attempt: deadline
retry chain ended: deadline, 1 attempt
front: 429 deadline, proxy1: 429



=== TEST 8: a wait that can is
--- chain
    retry_chain proxy1;
    retry_chain proxy2 wait=50ms;
    retry_chain_timeout 2s;
--- script: 429
--- response_body
proxy2 200
--- grep_error_log_out
vendor: proxy1 429
retry chain attempt 1/2 to "proxy1" failed: status 429, retrying in 50 ms
vendor: proxy2 200
retry chain ended: success, 2 attempts
front: 200 success, proxy1, proxy2: 429, 200



=== TEST 9: a backoff that can not end in time is not started, the next step is tried at once
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_timeout 2s;
    retry_chain_retry http_503 interval=3s;
--- script: 503
--- response_body
proxy2 200
--- grep_error_log_out
vendor: proxy1 503
retry chain attempt 1/6 to "proxy1" failed: status 503, retrying in 0 ms
vendor: proxy2 200
retry chain ended: success, 2 attempts
front: 200 success, proxy1, proxy2: 503, 200



=== TEST 10: later backoffs of a rule can be too long
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_timeout 2s;
    retry_chain_retry http_503 interval=10ms rate=1000;
--- script: 503 503
--- response_body
proxy2 200
--- grep_error_log_out
vendor: proxy1 503
retry chain attempt 1/6 to "proxy1" failed: status 503, retrying in 10 ms
vendor: proxy1 503
retry chain attempt 2/6 to "proxy1" failed: status 503, retrying in 0 ms
vendor: proxy2 200
retry chain ended: success, 3 attempts
front: 200 success, proxy1, proxy1, proxy2: 503, 503, 200



=== TEST 11: neither the backoff nor the wait of the next step fits
--- chain
    retry_chain proxy1 proxy2 wait=2s;
    retry_chain_timeout 2s;
    retry_chain_retry http_503 interval=3s;
--- script: 503
--- error_code: 503
--- response_body
proxy1 503
--- grep_error_log_out
vendor: proxy1 503
retry chain attempt 1/6 to "proxy1" failed: status 503, no other attempt: deadline
retry chain ended: deadline, 1 attempt
front: 503 deadline, proxy1: 503



=== TEST 12: there is no next step, and the backoff does not fit
--- chain
    retry_chain proxy1;
    retry_chain_timeout 2s;
    retry_chain_retry http_503 interval=3s;
--- script: 503
--- error_code: 503
--- response_body
proxy1 503
--- grep_error_log_out
vendor: proxy1 503
retry chain attempt 1/3 to "proxy1" failed: status 503, no other attempt: deadline
retry chain ended: deadline, 1 attempt
front: 503 deadline, proxy1: 503



=== TEST 13: a failed connect whose next wait does not fit is answered by 502
--- chain
    retry_chain refused;
    retry_chain proxy2 wait=2s;
    retry_chain_timeout 2s;
--- error_code: 502
--- response_body_like: 502 Bad Gateway
--- grep_error_log_out
retry chain attempt 1/2 to "refused" failed: error 502, no other attempt: deadline
retry chain ended: deadline, 1 attempt
front: 502 deadline, refused: 502



=== TEST 14: steps further on are not tried when the wait of the next one does not fit
--- chain
    retry_chain proxy1;
    retry_chain proxy2 wait=2s;
    retry_chain proxy3;
    retry_chain_timeout 2s;
--- script: 429
--- error_code: 429
--- response_body
proxy1 429
--- grep_error_log_out
vendor: proxy1 429
retry chain attempt 1/3 to "proxy1" failed: status 429, no other attempt: deadline
retry chain ended: deadline, 1 attempt
front: 429 deadline, proxy1: 429



=== TEST 15: the configured deadline aborts an attempt that waits for the header
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_timeout 50ms;
--- script: hang
--- error_code: 504
--- response_headers
! X-From
--- response_body_like: <h1>504 Gateway Time-out</h1>
--- grep_error_log eval
qr/retry chain attempt \S+ to "\S+" failed: .*?(?:\d ms|attempt: \w+)|retry chain ended: \w+, \d+ attempts?|front: .*/
--- grep_error_log_out
retry chain attempt 1/2 to "proxy1" failed: timeout 504, no other attempt: deadline
retry chain ended: deadline, 1 attempt
front: 504 deadline, proxy1: 504



=== TEST 16: the configured deadline aborts the attempt of a chain with one step
--- chain
    retry_chain proxy1;
    retry_chain_timeout 50ms;
--- script: hang
--- error_code: 504
--- response_headers
! X-From
--- response_body_like: <h1>504 Gateway Time-out</h1>
--- grep_error_log eval
qr/retry chain attempt \S+ to "\S+" failed: .*?(?:\d ms|attempt: \w+)|retry chain ended: \w+, \d+ attempts?|front: .*/
--- grep_error_log_out
retry chain attempt 1/1 to "proxy1" failed: timeout 504, no other attempt: deadline
retry chain ended: deadline, 1 attempt
front: 504 deadline, proxy1: 504



=== TEST 17: the configured deadline aborts an attempt that waits for the connection
--- http_config
    upstream stuck { server 127.0.0.1:$TEST_NGINX_STUCK_PORT; }
--- chain
    retry_chain stuck proxy2;
    retry_chain_timeout 50ms;
--- error_code: 504
--- response_headers
! X-From
--- response_body_like: <h1>504 Gateway Time-out</h1>
--- grep_error_log eval
qr/retry chain attempt \S+ to "\S+" failed: .*?(?:\d ms|attempt: \w+)|retry chain ended: \w+, \d+ attempts?|front: .*/
--- grep_error_log_out
retry chain attempt 1/2 to "stuck" failed: timeout 504, no other attempt: deadline
retry chain ended: deadline, 1 attempt
front: 504 deadline, stuck: 504



=== TEST 18: the configured deadline aborts an attempt that is still sending the body
--- http_config
    upstream silent { server unix:$TEST_NGINX_HANG_SOCKET; }
--- chain
    retry_chain silent proxy2;
    retry_chain_timeout 50ms;
--- request eval
"PUT /\n" . "x" x 2000000
--- error_code: 504
--- response_headers
! X-From
--- response_body_like: <h1>504 Gateway Time-out</h1>
--- grep_error_log eval
qr/retry chain attempt \S+ to "\S+" failed: .*?(?:\d ms|attempt: \w+)|retry chain ended: \w+, \d+ attempts?|front: .*/
--- grep_error_log_out
retry chain attempt 1/2 to "silent" failed: timeout 504, no other attempt: deadline
retry chain ended: deadline, 1 attempt
front: 504 deadline, silent: 504



=== TEST 19: the configured deadline aborts an attempt in the middle of the header
--- http_config
    upstream half { server 127.0.0.1:$TEST_NGINX_RAND_PORT_3; }
--- chain
    retry_chain half proxy2;
    retry_chain_timeout 50ms;
--- tcp_listen: $TEST_NGINX_RAND_PORT_3
--- tcp_no_close
--- tcp_reply eval
"HTTP/1.1 200 OK\r\nX-From"
--- error_code: 504
--- response_headers
! X-From
--- response_body_like: <h1>504 Gateway Time-out</h1>
--- grep_error_log eval
qr/retry chain attempt \S+ to "\S+" failed: .*?(?:\d ms|attempt: \w+)|retry chain ended: \w+, \d+ attempts?|front: .*/
--- grep_error_log_out
retry chain attempt 1/2 to "half" failed: timeout 504, no other attempt: deadline
retry chain ended: deadline, 1 attempt
front: 504 deadline, half: 504



=== TEST 20: the configured deadline aborts an attempt that resolves a name
--- config
    location / {
        retry_chain proxy1 proxy2;
        retry_chain_timeout 50ms;
        resolver 127.0.0.1:$TEST_NGINX_RAND_PORT_3;
        proxy_pass http://$retry_chain_upstream.example.com;
    }
--- error_code: 504
--- response_headers
! X-From
--- response_body_like: <h1>504 Gateway Time-out</h1>
--- grep_error_log_out
retry chain attempt 1/2 to "proxy1" failed: timeout 504, no other attempt: deadline
retry chain ended: deadline, 1 attempt
front: 504 deadline, proxy1: 504



=== TEST 21: the deadline is of the run: a later attempt has what is left
--- chain
    retry_chain proxy1;
    retry_chain proxy2 wait=50ms;
    retry_chain proxy3;
    retry_chain_timeout 150ms;
--- script: 429 hang
--- error_code: 504
--- response_headers
! X-Said-429
--- response_body_like: 504 Gateway Time-out
--- grep_error_log eval
qr/retry chain attempt \S+ to "\S+" failed: .*?(?:\d ms|attempt: \w+)|retry chain ended: \w+, \d+ attempts?|front: .*/
--- grep_error_log_out
retry chain attempt 1/3 to "proxy1" failed: status 429, retrying in 50 ms
retry chain attempt 2/3 to "proxy2" failed: timeout 504, no other attempt: deadline
retry chain ended: deadline, 2 attempts
front: 504 deadline, proxy1, proxy2: 429, 504



=== TEST 22: the deadline does not give the step rules another try
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_retry timeout interval=0;
    retry_chain_timeout 50ms;
--- script: hang
--- error_code: 504
--- response_headers
! X-From
--- response_body_like: <h1>504 Gateway Time-out</h1>
--- grep_error_log eval
qr/retry chain attempt \S+ to "\S+" failed: .*?(?:\d ms|attempt: \w+)|retry chain ended: \w+, \d+ attempts?|front: .*/
--- grep_error_log_out
retry chain attempt 1/6 to "proxy1" failed: timeout 504, no other attempt: deadline
retry chain ended: deadline, 1 attempt
front: 504 deadline, proxy1: 504



=== TEST 23: the error page for 504 is used
--- config
    location = /sorry { return 200 "sorry\n"; }
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_timeout 50ms;
    error_page 504 /sorry;
--- script: hang
--- error_code: 504
--- response_body
sorry
--- grep_error_log eval
qr/front: .*/
--- grep_error_log_out
front: 504 deadline, proxy1: 504



=== TEST 24: the deadline does not cut a reply whose header was relayed
--- chain
    retry_chain proxy1;
    retry_chain_timeout 150ms;
--- script: slow
--- response_body_like: ^(?:0123456789){150}$
--- grep_error_log_out
vendor: proxy1 slow
front: 200 success, proxy1: 200



=== TEST 25: nor the reply of a later attempt
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_timeout 150ms;
    proxy_buffering off;
--- script: 500 slow
--- response_body_like: ^(?:0123456789){150}$
--- grep_error_log_out
vendor: proxy1 500
retry chain attempt 1/2 to "proxy1" failed: status 500, retrying in 0 ms
vendor: proxy2 slow
retry chain ended: success, 2 attempts
front: 200 success, proxy1, proxy2: 500, 200



=== TEST 26: nor the reply of a last failure
--- chain
    retry_chain proxy1;
    retry_chain_success 201;
    retry_chain_timeout 150ms;
--- script: slow
--- response_body_like: ^(?:0123456789){150}$
--- grep_error_log eval
qr/(?:front|vendor): .*/
--- grep_error_log_out
vendor: proxy1 slow
front: 200 exhausted, proxy1: 200



=== TEST 27: a run that is fast enough does not notice its deadline
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_timeout 5s;
--- script: 500
--- response_body
proxy2 200
--- grep_error_log_out
vendor: proxy1 500
retry chain attempt 1/2 to "proxy1" failed: status 500, retrying in 0 ms
vendor: proxy2 200
retry chain ended: success, 2 attempts
front: 200 success, proxy1, proxy2: 500, 200



=== TEST 28: timeout= of a step ends its attempt, the next step is tried
--- chain
    retry_chain proxy1 timeout=50ms;
    retry_chain proxy2;
--- script: hang
--- response_body
proxy2 200
--- grep_error_log eval
qr/retry chain attempt \S+ to "\S+" failed: .*?(?:\d ms|attempt: \w+)|retry chain ended: \w+, \d+ attempts?|front: .*/
--- grep_error_log_out
retry chain attempt 1/2 to "proxy1" failed: timeout 504, retrying in 0 ms
retry chain ended: success, 2 attempts
front: 200 success, proxy1, proxy2: 504, 200



=== TEST 29: timeout= of a step covers the connection
--- http_config
    upstream stuck { server 127.0.0.1:$TEST_NGINX_STUCK_PORT; }
--- chain
    retry_chain stuck timeout=50ms;
    retry_chain proxy2;
--- response_body
proxy2 200
--- grep_error_log eval
qr/retry chain attempt \S+ to "\S+" failed: .*?(?:\d ms|attempt: \w+)|retry chain ended: \w+, \d+ attempts?|front: .*/
--- grep_error_log_out
retry chain attempt 1/2 to "stuck" failed: timeout 504, retrying in 0 ms
retry chain ended: success, 2 attempts
front: 200 success, stuck, proxy2: 504, 200



=== TEST 30: timeout= of a step covers sending the body
--- http_config
    upstream silent { server unix:$TEST_NGINX_HANG_SOCKET; }
--- config
    location @last { return 200 "last\n"; }
--- chain
    retry_chain silent timeout=50ms;
    retry_chain @last;
--- request eval
"PUT /\n" . "x" x 2000000
--- response_body
last
--- grep_error_log eval
qr/retry chain attempt \S+ to "\S+" failed: .*?(?:\d ms|attempt: \w+)|retry chain ended: \w+, \d+ attempts?|front: .*/
--- grep_error_log_out
retry chain attempt 1/2 to "silent" failed: timeout 504, retrying in 0 ms
retry chain ended: success, 2 attempts
front: 200 success, silent, @last: 504, 200



=== TEST 31: timeout= of a step covers resolving its name
--- config
    location / {
        retry_chain proxy1 proxy2 timeout=50ms;
        resolver 127.0.0.1:$TEST_NGINX_RAND_PORT_3;
        proxy_pass http://$retry_chain_upstream.example.com;
    }
--- error_code: 504
--- response_headers
! X-From
--- response_body_like: <h1>504 Gateway Time-out</h1>
--- grep_error_log_out
retry chain attempt 1/2 to "proxy1" failed: timeout 504, retrying in 0 ms
retry chain attempt 2/2 to "proxy2" failed: timeout 504, no other attempt: exhausted
retry chain ended: exhausted, 2 attempts
front: 504 exhausted, proxy1, proxy2: 504, 504



=== TEST 32: timeout= is a limit of each attempt, and shared by the steps of its directive
--- chain
    retry_chain proxy1 proxy2 timeout=50ms attempts=2;
--- script: hang hang hang
--- response_body
proxy2 200
--- grep_error_log eval
qr/retry chain attempt \S+ to "\S+" failed: .*?(?:\d ms|attempt: \w+)|retry chain ended: \w+, \d+ attempts?|front: .*/
--- grep_error_log_out
retry chain attempt 1/4 to "proxy1" failed: timeout 504, retrying in 0 ms
retry chain attempt 2/4 to "proxy1" failed: timeout 504, retrying in 0 ms
retry chain attempt 3/4 to "proxy2" failed: timeout 504, retrying in 0 ms
retry chain ended: success, 4 attempts
front: 200 success, proxy1, proxy1, proxy2, proxy2: 504, 504, 504, 200



=== TEST 33: timeout= of the last step ends the run with 504
--- chain
    retry_chain proxy1;
    retry_chain proxy2 timeout=50ms;
--- script: 429 hang
--- error_code: 504
--- response_headers
! X-From
--- response_body_like: <h1>504 Gateway Time-out</h1>
--- grep_error_log eval
qr/retry chain attempt \S+ to "\S+" failed: .*?(?:\d ms|attempt: \w+)|retry chain ended: \w+, \d+ attempts?|front: .*/
--- grep_error_log_out
retry chain attempt 1/2 to "proxy1" failed: status 429, retrying in 0 ms
retry chain attempt 2/2 to "proxy2" failed: timeout 504, no other attempt: exhausted
retry chain ended: exhausted, 2 attempts
front: 504 exhausted, proxy1, proxy2: 429, 504



=== TEST 34: timeout=off is the default of a step
--- chain
    retry_chain proxy1 timeout=off;
    retry_chain proxy2;
    proxy_read_timeout 100ms;
--- script: hang
--- response_body
proxy2 200
--- grep_error_log eval
qr/retry chain attempt \S+ to "\S+" failed: .*?(?:\d ms|attempt: \w+)|retry chain ended: \w+, \d+ attempts?|front: .*/
--- grep_error_log_out
retry chain attempt 1/2 to "proxy1" failed: timeout 504, retrying in 0 ms
retry chain ended: success, 2 attempts
front: 200 success, proxy1, proxy2: 504, 200



=== TEST 35: timeout= does not cut a reply whose header was relayed
--- chain
    retry_chain proxy1 proxy2 timeout=150ms;
--- script: slow
--- response_body_like: ^(?:0123456789){150}$
--- grep_error_log_out
vendor: proxy1 slow
front: 200 success, proxy1: 200



=== TEST 36: the shorter of timeout= and the deadline counts, here timeout=
--- chain
    retry_chain proxy1 proxy2 timeout=50ms;
    retry_chain_timeout 10s;
--- script: hang
--- response_body
proxy2 200
--- grep_error_log eval
qr/retry chain attempt \S+ to "\S+" failed: .*?(?:\d ms|attempt: \w+)|retry chain ended: \w+, \d+ attempts?|front: .*/
--- grep_error_log_out
retry chain attempt 1/2 to "proxy1" failed: timeout 504, retrying in 0 ms
retry chain ended: success, 2 attempts
front: 200 success, proxy1, proxy2: 504, 200



=== TEST 37: the shorter of timeout= and the deadline counts, here the deadline
--- chain
    retry_chain proxy1 proxy2 timeout=10s;
    retry_chain_timeout 50ms;
--- script: hang
--- error_code: 504
--- response_headers
! X-From
--- response_body_like: <h1>504 Gateway Time-out</h1>
--- grep_error_log eval
qr/retry chain attempt \S+ to "\S+" failed: .*?(?:\d ms|attempt: \w+)|retry chain ended: \w+, \d+ attempts?|front: .*/
--- grep_error_log_out
retry chain attempt 1/2 to "proxy1" failed: timeout 504, no other attempt: deadline
retry chain ended: deadline, 1 attempt
front: 504 deadline, proxy1: 504



=== TEST 38: the wait of the next step follows a timeout
--- chain
    retry_chain proxy1 timeout=50ms;
    retry_chain proxy2 wait=20ms;
--- script: hang
--- response_body
proxy2 200
--- grep_error_log eval
qr/retry chain attempt \S+ to "\S+" failed: .*?(?:\d ms|attempt: \w+)|retry chain ended: \w+, \d+ attempts?|front: .*/
--- grep_error_log_out
retry chain attempt 1/2 to "proxy1" failed: timeout 504, retrying in 20 ms
retry chain ended: success, 2 attempts
front: 200 success, proxy1, proxy2: 504, 200



=== TEST 39: timeout= does not let nginx itself try another server of the group
--- http_config
    upstream two { server 127.0.0.1:$TEST_NGINX_RAND_PORT_1; server localhost:$TEST_NGINX_RAND_PORT_1; }
--- chain
    retry_chain two timeout=50ms;
    retry_chain proxy2;
--- script: hang
--- response_body
proxy2 200
--- grep_error_log eval
qr/retry chain attempt \S+ to "\S+" failed: .*?(?:\d ms|attempt: \w+)|retry chain ended: \w+, \d+ attempts?|front: .*/
--- grep_error_log_out
retry chain attempt 1/2 to "two" failed: timeout 504, retrying in 0 ms
retry chain ended: success, 2 attempts
front: 200 success, two, proxy2: 504, 200



=== TEST 40: timeout= of an @location step
--- config
    location @other { proxy_pass http://proxy3; }
--- chain
    retry_chain @other timeout=50ms;
    retry_chain proxy2;
--- script: hang
--- response_body
proxy2 200
--- grep_error_log eval
qr/retry chain attempt \S+ to "\S+" failed: .*?(?:\d ms|attempt: \w+)|retry chain ended: \w+, \d+ attempts?|front: .*/
--- grep_error_log_out
retry chain attempt 1/2 to "@other" failed: timeout 504, retrying in 0 ms
retry chain ended: success, 2 attempts
front: 200 success, @other, proxy2: 504, 200
