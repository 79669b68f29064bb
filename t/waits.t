# wait= of a step: time before a position of the plan.

use strict;
use warnings;

use File::Basename qw(dirname);
use lib dirname(__FILE__) . '/lib';

use Test::Nginx::Socket 'no_plan';
use RetryChain;

run_tests();

__DATA__

=== TEST 1: a step waits before its attempt
--- chain
    retry_chain proxy1;
    retry_chain proxy2 wait=30ms;
    add_header X-Waits $retry_chain_waits always;
--- script: 500
--- response_headers
X-Waits: 0.000, 0.030
--- response_body
proxy2 200
--- grep_error_log_out
vendor: proxy1 500
retry chain attempt 1/2 to "proxy1" failed: status 500, retrying in 30 ms
vendor: proxy2 200
retry chain ended: success, 2 attempts
front: 200 success, proxy1, proxy2: 500, 200



=== TEST 2: the wait is really waited
--- chain
    retry_chain proxy1;
    retry_chain proxy2 wait=50ms;
    add_header X-Time $retry_chain_time;
--- script: 500
--- response_headers_like
X-Time: (?!0\.0[0-3])\d+\.\d{3}
--- response_body
proxy2 200



=== TEST 3: the wait of the first position is not used
--- chain
    retry_chain proxy1 wait=30s;
    retry_chain proxy2;
    add_header X-Waits $retry_chain_waits always;
--- script: 500
--- response_headers
X-Waits: 0.000, 0.000
--- response_body
proxy2 200
--- grep_error_log_out
vendor: proxy1 500
retry chain attempt 1/2 to "proxy1" failed: status 500, retrying in 0 ms
vendor: proxy2 200
retry chain ended: success, 2 attempts
front: 200 success, proxy1, proxy2: 500, 200



=== TEST 4: steps of one directive share its wait, and the first position has none
--- chain
    retry_chain proxy1 proxy2 proxy3 wait=20ms;
    add_header X-Waits $retry_chain_waits always;
--- script: 500 500 500
--- error_code: 500
--- response_headers
X-Waits: 0.000, 0.020, 0.020
--- response_body
proxy3 500
--- grep_error_log_out
vendor: proxy1 500
retry chain attempt 1/3 to "proxy1" failed: status 500, retrying in 20 ms
vendor: proxy2 500
retry chain attempt 2/3 to "proxy2" failed: status 500, retrying in 20 ms
vendor: proxy3 500
retry chain attempt 3/3 to "proxy3" failed: status 500, no other attempt: exhausted
retry chain ended: exhausted, 3 attempts
front: 500 exhausted, proxy1, proxy2, proxy3: 500, 500, 500



=== TEST 5: parameters may stand before the names
--- chain
    retry_chain wait=20ms proxy1 attempts=1 proxy2;
    add_header X-Waits $retry_chain_waits always;
--- script: 500
--- response_headers
X-Waits: 0.000, 0.020
--- response_body
proxy2 200
--- grep_error_log_out
vendor: proxy1 500
retry chain attempt 1/2 to "proxy1" failed: status 500, retrying in 20 ms
vendor: proxy2 200
retry chain ended: success, 2 attempts
front: 200 success, proxy1, proxy2: 500, 200



=== TEST 6: three upstreams, a wait before the second, none before the third
--- chain
    retry_chain proxy1;
    retry_chain proxy2 wait=50ms;
    retry_chain proxy3;
    retry_chain_success 200;
    add_header X-Waits $retry_chain_waits always;
--- script: 429 429
--- response_headers
X-Waits: 0.000, 0.050, 0.000
--- response_body
proxy3 200
--- grep_error_log_out
vendor: proxy1 429
retry chain attempt 1/3 to "proxy1" failed: status 429, retrying in 50 ms
vendor: proxy2 429
retry chain attempt 2/3 to "proxy2" failed: status 429, retrying in 0 ms
vendor: proxy3 200
retry chain ended: success, 3 attempts
front: 200 success, proxy1, proxy2, proxy3: 429, 429, 200



=== TEST 7: a wait belongs to its position, not to the name of the step
--- chain
    retry_chain proxy1 wait=50ms;
    retry_chain proxy1 wait=10ms;
    retry_chain proxy2 wait=20ms;
    retry_chain proxy1 wait=30ms;
    retry_chain proxy2;
    add_header X-Waits $retry_chain_waits always;
--- script: 500 500 500 500
--- response_headers
X-Waits: 0.000, 0.010, 0.020, 0.030, 0.000
--- response_body
proxy2 200
--- grep_error_log_out
vendor: proxy1 500
retry chain attempt 1/5 to "proxy1" failed: status 500, retrying in 10 ms
vendor: proxy1 500
retry chain attempt 2/5 to "proxy1" failed: status 500, retrying in 20 ms
vendor: proxy2 500
retry chain attempt 3/5 to "proxy2" failed: status 500, retrying in 30 ms
vendor: proxy1 500
retry chain attempt 4/5 to "proxy1" failed: status 500, retrying in 0 ms
vendor: proxy2 200
retry chain ended: success, 5 attempts
front: 200 success, proxy1, proxy1, proxy2, proxy1, proxy2: 500, 500, 500, 500, 200



=== TEST 8: a retry on the same step has the delay of its rule, not the step's wait
--- chain
    retry_chain proxy1 proxy2 wait=40ms;
    retry_chain_retry http_503 interval=10ms;
    add_header X-Waits $retry_chain_waits always;
--- script: 503 503 503 503 503
--- response_headers
X-Waits: 0.000, 0.010, 0.020, 0.040, 0.010, 0.020
--- response_body
proxy2 200
--- grep_error_log_out
vendor: proxy1 503
retry chain attempt 1/6 to "proxy1" failed: status 503, retrying in 10 ms
vendor: proxy1 503
retry chain attempt 2/6 to "proxy1" failed: status 503, retrying in 20 ms
vendor: proxy1 503
retry chain attempt 3/6 to "proxy1" failed: status 503, retrying in 40 ms
vendor: proxy2 503
retry chain attempt 4/6 to "proxy2" failed: status 503, retrying in 10 ms
vendor: proxy2 503
retry chain attempt 5/6 to "proxy2" failed: status 503, retrying in 20 ms
vendor: proxy2 200
retry chain ended: success, 6 attempts
front: 200 success, proxy1, proxy1, proxy1, proxy2, proxy2, proxy2: 503, 503, 503, 503, 503, 200



=== TEST 9: the delay of a rule does not add to the wait of the next step
--- chain
    retry_chain proxy1;
    retry_chain proxy2 wait=10ms;
    retry_chain_retry http_503 interval=30ms attempts=2;
    add_header X-Waits $retry_chain_waits always;
--- script: 503 503
--- response_headers
X-Waits: 0.000, 0.030, 0.010
--- response_body
proxy2 200
--- grep_error_log_out
vendor: proxy1 503
retry chain attempt 1/4 to "proxy1" failed: status 503, retrying in 30 ms
vendor: proxy1 503
retry chain attempt 2/4 to "proxy1" failed: status 503, retrying in 10 ms
vendor: proxy2 200
retry chain ended: success, 3 attempts
front: 200 success, proxy1, proxy1, proxy2: 503, 503, 200



=== TEST 10: attempts= of a step: its wait comes once
--- chain
    retry_chain proxy1;
    retry_chain proxy2 wait=30ms attempts=3;
    add_header X-Waits $retry_chain_waits always;
--- script: 500 500 500
--- response_headers
X-Waits: 0.000, 0.030, 0.000, 0.000
--- response_body
proxy2 200
--- grep_error_log_out
vendor: proxy1 500
retry chain attempt 1/4 to "proxy1" failed: status 500, retrying in 30 ms
vendor: proxy2 500
retry chain attempt 2/4 to "proxy2" failed: status 500, retrying in 0 ms
vendor: proxy2 500
retry chain attempt 3/4 to "proxy2" failed: status 500, retrying in 0 ms
vendor: proxy2 200
retry chain ended: success, 4 attempts
front: 200 success, proxy1, proxy2, proxy2, proxy2: 500, 500, 500, 200



=== TEST 11: a wait follows any failure
--- chain
    retry_chain refused;
    retry_chain proxy2 proxy3 proxy4 wait=10ms;
    add_header X-Waits $retry_chain_waits always;
--- script: 200 big close
--- response_headers
X-Waits: 0.000, 0.010, 0.010, 0.010
--- response_body
proxy4 200
--- grep_error_log_out
retry chain attempt 1/4 to "refused" failed: error 502, retrying in 10 ms
vendor: proxy2 big
retry chain attempt 2/4 to "proxy2" failed: invalid header 502, retrying in 10 ms
vendor: proxy3 close
retry chain attempt 3/4 to "proxy3" failed: error 502, retrying in 10 ms
vendor: proxy4 200
retry chain ended: success, 4 attempts
front: 200 success, refused, proxy2, proxy3, proxy4: 502, 502, 502, 200



=== TEST 12: there is no wait when no attempt follows
--- chain
    retry_chain proxy1;
    retry_chain proxy2 wait=30s;
    retry_chain_stop 404;
    add_header X-Waits $retry_chain_waits always;
--- script: 404
--- error_code: 404
--- response_headers
X-Waits: 0.000
--- response_body
proxy1 404
--- grep_error_log_out
vendor: proxy1 404
retry chain attempt 1/2 to "proxy1" failed: status 404, no other attempt: stopped
retry chain ended: stopped, 1 attempt
front: 404 stopped, proxy1: 404



=== TEST 13: wait=0 is no wait
--- chain
    retry_chain proxy1 proxy2 wait=0;
    add_header X-Waits $retry_chain_waits always;
--- script: 500
--- response_headers
X-Waits: 0.000, 0.000
--- response_body
proxy2 200
--- grep_error_log_out
vendor: proxy1 500
retry chain attempt 1/2 to "proxy1" failed: status 500, retrying in 0 ms
vendor: proxy2 200
retry chain ended: success, 2 attempts
front: 200 success, proxy1, proxy2: 500, 200



=== TEST 14: the wait begins with the header of a failed reply, though its body does not end
--- chain
    retry_chain proxy1;
    retry_chain proxy2 wait=20ms;
    retry_chain_success 201;
    add_header X-Waits $retry_chain_waits always;
--- script: part 201
--- error_code: 201
--- response_headers
X-Waits: 0.000, 0.020
--- response_body
proxy2 201
--- grep_error_log eval
qr/retry chain attempt \S+ to "\S+" failed: .*?ms|front: .*/
--- grep_error_log_out
retry chain attempt 1/2 to "proxy1" failed: status 200, retrying in 20 ms
front: 201 success, proxy1, proxy2: 200, 201



=== TEST 15: an @location waits, too
--- config
    location @last { return 200 "last\n"; }
--- chain
    retry_chain proxy1;
    retry_chain @last wait=20ms;
    add_header X-Waits $retry_chain_waits always;
--- script: 500
--- response_headers
X-Waits: 0.000, 0.020
--- response_body
last
--- grep_error_log_out
vendor: proxy1 500
retry chain attempt 1/2 to "proxy1" failed: status 500, retrying in 20 ms
retry chain ended: success, 2 attempts
front: 200 success, proxy1, @last: 500, 200



=== TEST 16: wait=500ms is 500 ms
--- chain
    retry_chain proxy1;
    retry_chain proxy2 wait=500ms;
    retry_chain_timeout off;
--- script: 503
--- abort
--- ignore_response
--- grep_error_log eval
qr/failed: status 503, .*? ms/
--- grep_error_log_out
failed: status 503, retrying in 500 ms



=== TEST 17: wait=5 is 5000 ms
--- chain
    retry_chain proxy1;
    retry_chain proxy2 wait=5;
    retry_chain_timeout off;
--- script: 503
--- abort
--- ignore_response
--- grep_error_log eval
qr/failed: status 503, .*? ms/
--- grep_error_log_out
failed: status 503, retrying in 5000 ms



=== TEST 18: wait=5s is 5000 ms
--- chain
    retry_chain proxy1;
    retry_chain proxy2 wait=5s;
    retry_chain_timeout off;
--- script: 503
--- abort
--- ignore_response
--- grep_error_log eval
qr/failed: status 503, .*? ms/
--- grep_error_log_out
failed: status 503, retrying in 5000 ms



=== TEST 19: wait=1s500ms is 1500 ms
--- chain
    retry_chain proxy1;
    retry_chain proxy2 wait=1s500ms;
    retry_chain_timeout off;
--- script: 503
--- abort
--- ignore_response
--- grep_error_log eval
qr/failed: status 503, .*? ms/
--- grep_error_log_out
failed: status 503, retrying in 1500 ms



=== TEST 20: wait=1m is 60000 ms
--- chain
    retry_chain proxy1;
    retry_chain proxy2 wait=1m;
    retry_chain_timeout off;
--- script: 503
--- abort
--- ignore_response
--- grep_error_log eval
qr/failed: status 503, .*? ms/
--- grep_error_log_out
failed: status 503, retrying in 60000 ms



=== TEST 21: wait=1m30s is 90000 ms
--- chain
    retry_chain proxy1;
    retry_chain proxy2 wait=1m30s;
    retry_chain_timeout off;
--- script: 503
--- abort
--- ignore_response
--- grep_error_log eval
qr/failed: status 503, .*? ms/
--- grep_error_log_out
failed: status 503, retrying in 90000 ms



=== TEST 22: wait=2h is 7200000 ms
--- chain
    retry_chain proxy1;
    retry_chain proxy2 wait=2h;
    retry_chain_timeout off;
--- script: 503
--- abort
--- ignore_response
--- grep_error_log eval
qr/failed: status 503, .*? ms/
--- grep_error_log_out
failed: status 503, retrying in 7200000 ms



=== TEST 23: wait=1d is 86400000 ms
--- chain
    retry_chain proxy1;
    retry_chain proxy2 wait=1d;
    retry_chain_timeout off;
--- script: 503
--- abort
--- ignore_response
--- grep_error_log eval
qr/failed: status 503, .*? ms/
--- grep_error_log_out
failed: status 503, retrying in 86400000 ms



=== TEST 24: a client that leaves during a wait ends the run at once
--- chain
    retry_chain proxy1;
    retry_chain proxy2 wait=30s;
--- script: 503
--- abort
--- ignore_response
--- grep_error_log_out
vendor: proxy1 503
retry chain attempt 1/2 to "proxy1" failed: status 503, retrying in 30000 ms
retry chain ended: aborted, 1 attempt
front: 499 aborted, proxy1: 503



=== TEST 25: requests wait each on its own
--- config
    location = /slow {
        retry_chain proxy1;
        retry_chain proxy2 wait=300ms;
        proxy_pass http://$retry_chain_upstream;
    }
    location = /t {
        mirror /slow_mirror;
        retry_chain proxy1;
        retry_chain proxy3 wait=20ms;
        proxy_pass http://$retry_chain_upstream;
    }
    location = /slow_mirror {
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/slow;
    }
--- script: 503
--- request
GET /t
--- response_body
proxy3 200
--- grep_error_log eval
qr/vendor: proxy[23].*/
--- grep_error_log_out
vendor: proxy3 200
vendor: proxy2 200
