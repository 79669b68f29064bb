# retry_chain_retry: what is tried again on the same step, how often and when.

use strict;
use warnings;

use File::Basename qw(dirname);
use lib dirname(__FILE__) . '/lib';

use Test::Nginx::Socket 'no_plan';
use RetryChain;

run_tests();

__DATA__

=== TEST 1: error: a step that refuses the connection is tried again
--- chain
    retry_chain refused proxy2;
    retry_chain_retry error interval=10ms;
--- response_body
proxy2 200
--- grep_error_log_out
retry chain attempt 1/6 to "refused" failed: error 502, retrying in 10 ms
retry chain attempt 2/6 to "refused" failed: error 502, retrying in 20 ms
retry chain attempt 3/6 to "refused" failed: error 502, retrying in 0 ms
vendor: proxy2 200
retry chain ended: success, 4 attempts
front: 200 success, refused, refused, refused, proxy2: 502, 502, 502, 200



=== TEST 2: error: a step that closes the connection without an answer is tried again
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_retry error interval=10ms;
--- script: close close
--- response_body
proxy1 200
--- grep_error_log_out
vendor: proxy1 close
retry chain attempt 1/6 to "proxy1" failed: error 502, retrying in 10 ms
vendor: proxy1 close
retry chain attempt 2/6 to "proxy1" failed: error 502, retrying in 20 ms
vendor: proxy1 200
retry chain ended: success, 3 attempts
front: 200 success, proxy1, proxy1, proxy1: 502, 502, 200



=== TEST 3: error: neither a status, an invalid header nor a timeout is one
--- chain
    retry_chain proxy1 proxy2 proxy3 proxy4;
    retry_chain_retry error interval=10ms;
    proxy_read_timeout 300ms;
--- script: 502 big hang
--- response_body
proxy4 200
--- grep_error_log eval
qr/front: .*/
--- grep_error_log_out
front: 200 success, proxy1, proxy2, proxy3, proxy4: 502, 502, 504, 200



=== TEST 4: timeout: a step that says nothing is tried again
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_retry timeout interval=10ms attempts=2;
    proxy_read_timeout 300ms;
--- script: hang hang
--- response_body
proxy2 200
--- grep_error_log eval
qr/retry chain attempt \S+ to "\S+" failed: .*?ms|retry chain ended: \w+, \d+ attempts|front: .*/
--- grep_error_log_out
retry chain attempt 1/4 to "proxy1" failed: timeout 504, retrying in 10 ms
retry chain attempt 2/4 to "proxy1" failed: timeout 504, retrying in 0 ms
retry chain ended: success, 3 attempts
front: 200 success, proxy1, proxy1, proxy2: 504, 504, 200



=== TEST 5: timeout: a step that accepts no connection is tried again
--- http_config
    upstream stuck { server 127.0.0.1:$TEST_NGINX_STUCK_PORT; }
--- chain
    retry_chain stuck proxy2;
    retry_chain_retry timeout interval=10ms attempts=2;
    proxy_connect_timeout 300ms;
--- response_body
proxy2 200
--- grep_error_log_out
retry chain attempt 1/4 to "stuck" failed: timeout 504, retrying in 10 ms
retry chain attempt 2/4 to "stuck" failed: timeout 504, retrying in 0 ms
vendor: proxy2 200
retry chain ended: success, 3 attempts
front: 200 success, stuck, stuck, proxy2: 504, 504, 200



=== TEST 6: timeout: a step's own timeout is one
--- chain
    retry_chain proxy1 proxy2 timeout=300ms;
    retry_chain_retry timeout interval=10ms attempts=2;
--- script: hang
--- response_body
proxy1 200
--- grep_error_log eval
qr/retry chain attempt \S+ to "\S+" failed: .*?ms|retry chain ended: \w+, \d+ attempts|front: .*/
--- grep_error_log_out
retry chain attempt 1/4 to "proxy1" failed: timeout 504, retrying in 10 ms
retry chain ended: success, 2 attempts
front: 200 success, proxy1, proxy1: 504, 200



=== TEST 7: timeout: neither an error, an invalid header nor a status is one
--- chain
    retry_chain refused proxy2 proxy3 proxy4;
    retry_chain_retry timeout interval=10ms;
--- script: 200 big 504
--- response_body
proxy4 200
--- grep_error_log eval
qr/front: .*/
--- grep_error_log_out
front: 200 success, refused, proxy2, proxy3, proxy4: 502, 502, 504, 200



=== TEST 8: invalid_header: a step that sends one is tried again
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_retry invalid_header interval=10ms attempts=2;
--- script: big big
--- response_body
proxy2 200
--- grep_error_log_out
vendor: proxy1 big
retry chain attempt 1/4 to "proxy1" failed: invalid header 502, retrying in 10 ms
vendor: proxy1 big
retry chain attempt 2/4 to "proxy1" failed: invalid header 502, retrying in 0 ms
vendor: proxy2 200
retry chain ended: success, 3 attempts
front: 200 success, proxy1, proxy1, proxy2: 502, 502, 200



=== TEST 9: invalid_header: neither an error, a timeout nor a status is one
--- chain
    retry_chain refused proxy2 proxy3 proxy4;
    retry_chain_retry invalid_header interval=10ms;
    proxy_read_timeout 300ms;
--- script: 200 hang 502
--- response_body
proxy4 200
--- grep_error_log eval
qr/front: .*/
--- grep_error_log_out
front: 200 success, refused, proxy2, proxy3, proxy4: 502, 504, 502, 200



=== TEST 10: http_503: this status is tried again, others go to the next step
--- chain
    retry_chain proxy1 proxy2 proxy3;
    retry_chain_retry http_503 interval=10ms attempts=2;
--- script: 503 502 503 503
--- response_body
proxy3 200
--- grep_error_log_out
vendor: proxy1 503
retry chain attempt 1/6 to "proxy1" failed: status 503, retrying in 10 ms
vendor: proxy1 502
retry chain attempt 2/6 to "proxy1" failed: status 502, retrying in 0 ms
vendor: proxy2 503
retry chain attempt 3/6 to "proxy2" failed: status 503, retrying in 10 ms
vendor: proxy2 503
retry chain attempt 4/6 to "proxy2" failed: status 503, retrying in 0 ms
vendor: proxy3 200
retry chain ended: success, 5 attempts
front: 200 success, proxy1, proxy1, proxy2, proxy2, proxy3: 503, 502, 503, 503, 200



=== TEST 11: http_4xx: any such status is tried again
--- chain
    retry_chain proxy1 proxy2 proxy3;
    retry_chain_retry http_4xx interval=10ms;
--- script: 400 499 500 403 404
--- response_body
proxy2 200
--- grep_error_log_out
vendor: proxy1 400
retry chain attempt 1/9 to "proxy1" failed: status 400, retrying in 10 ms
vendor: proxy1 499
retry chain attempt 2/9 to "proxy1" failed: status 499, retrying in 20 ms
vendor: proxy1 500
retry chain attempt 3/9 to "proxy1" failed: status 500, retrying in 0 ms
vendor: proxy2 403
retry chain attempt 4/9 to "proxy2" failed: status 403, retrying in 10 ms
vendor: proxy2 404
retry chain attempt 5/9 to "proxy2" failed: status 404, retrying in 20 ms
vendor: proxy2 200
retry chain ended: success, 6 attempts
front: 200 success, proxy1, proxy1, proxy1, proxy2, proxy2, proxy2: 400, 499, 500, 403, 404, 200



=== TEST 12: http_5xx: any such status is tried again, an error, a timeout and an invalid header are not
--- chain
    retry_chain refused proxy2 proxy3 proxy4;
    retry_chain_retry http_5xx interval=10ms;
    proxy_read_timeout 300ms;
--- script: 200 hang big 500 599
--- response_body
proxy4 200
--- grep_error_log eval
qr/front: .*/
--- grep_error_log_out
front: 200 success, refused, proxy2, proxy3, proxy4, proxy4, proxy4: 502, 504, 502, 500, 599, 200



=== TEST 13: status: any status is tried again, an error, a timeout and an invalid header are not
--- chain
    retry_chain refused proxy2 proxy3 proxy4;
    retry_chain_success 201;
    retry_chain_retry status interval=10ms attempts=4;
    proxy_read_timeout 300ms;
--- script: 201 hang big 200 302 600 201
--- error_code: 201
--- grep_error_log eval
qr/front: .*/
--- grep_error_log_out
front: 201 success, refused, proxy2, proxy3, proxy4, proxy4, proxy4, proxy4: 502, 504, 502, 200, 302, 600, 201



=== TEST 14: several conditions of one rule share its counter
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_retry error invalid_header http_429 http_5xx interval=10ms attempts=4;
--- script: 503 close 429 big
--- response_body
proxy2 200
--- grep_error_log_out
vendor: proxy1 503
retry chain attempt 1/8 to "proxy1" failed: status 503, retrying in 10 ms
vendor: proxy1 close
retry chain attempt 2/8 to "proxy1" failed: error 502, retrying in 20 ms
vendor: proxy1 429
retry chain attempt 3/8 to "proxy1" failed: status 429, retrying in 40 ms
vendor: proxy1 big
retry chain attempt 4/8 to "proxy1" failed: invalid header 502, retrying in 0 ms
vendor: proxy2 200
retry chain ended: success, 5 attempts
front: 200 success, proxy1, proxy1, proxy1, proxy1, proxy2: 503, 502, 429, 502, 200



=== TEST 15: by default there are three attempts, and delays double
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_retry http_503 interval=10ms;
--- script: 503 503 503
--- response_body
proxy2 200
--- grep_error_log_out
vendor: proxy1 503
retry chain attempt 1/6 to "proxy1" failed: status 503, retrying in 10 ms
vendor: proxy1 503
retry chain attempt 2/6 to "proxy1" failed: status 503, retrying in 20 ms
vendor: proxy1 503
retry chain attempt 3/6 to "proxy1" failed: status 503, retrying in 0 ms
vendor: proxy2 200
retry chain ended: success, 4 attempts
front: 200 success, proxy1, proxy1, proxy1, proxy2: 503, 503, 503, 200



=== TEST 16: by default the first delay is a second
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_retry http_503;
--- script: 503
--- abort
--- ignore_response
--- grep_error_log eval
qr/failed: status 503, .*? ms/
--- grep_error_log_out
failed: status 503, retrying in 1000 ms



=== TEST 17: by default no delay is longer than a minute
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_timeout off;
    retry_chain_retry http_503 interval=61s;
--- script: 503
--- abort
--- ignore_response
--- grep_error_log eval
qr/failed: status 503, .*? ms/
--- grep_error_log_out
failed: status 503, retrying in 60000 ms



=== TEST 18: attempts counts the first one
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_retry http_503 interval=10ms attempts=1;
--- script: 503
--- response_body
proxy2 200
--- grep_error_log_out
vendor: proxy1 503
retry chain attempt 1/2 to "proxy1" failed: status 503, retrying in 0 ms
vendor: proxy2 200
retry chain ended: success, 2 attempts
front: 200 success, proxy1, proxy2: 503, 200



=== TEST 19: rate=1: delays are equal
--- chain
    retry_chain proxy1;
    retry_chain_retry http_503 interval=10ms attempts=5 rate=1;
--- script: 503 503 503 503 503
--- error_code: 503
--- response_body
proxy1 503
--- grep_error_log_out
vendor: proxy1 503
retry chain attempt 1/5 to "proxy1" failed: status 503, retrying in 10 ms
vendor: proxy1 503
retry chain attempt 2/5 to "proxy1" failed: status 503, retrying in 10 ms
vendor: proxy1 503
retry chain attempt 3/5 to "proxy1" failed: status 503, retrying in 10 ms
vendor: proxy1 503
retry chain attempt 4/5 to "proxy1" failed: status 503, retrying in 10 ms
vendor: proxy1 503
retry chain attempt 5/5 to "proxy1" failed: status 503, no other attempt: exhausted
retry chain ended: exhausted, 5 attempts
front: 503 exhausted, proxy1, proxy1, proxy1, proxy1, proxy1: 503, 503, 503, 503, 503



=== TEST 20: rate=1.5: fractions of a millisecond are not lost on the way
--- chain
    retry_chain proxy1;
    retry_chain_retry http_503 interval=10ms attempts=6 rate=1.5;
--- script: 503 503 503 503 503
--- response_body
proxy1 200
--- grep_error_log_out
vendor: proxy1 503
retry chain attempt 1/6 to "proxy1" failed: status 503, retrying in 10 ms
vendor: proxy1 503
retry chain attempt 2/6 to "proxy1" failed: status 503, retrying in 15 ms
vendor: proxy1 503
retry chain attempt 3/6 to "proxy1" failed: status 503, retrying in 22 ms
vendor: proxy1 503
retry chain attempt 4/6 to "proxy1" failed: status 503, retrying in 33 ms
vendor: proxy1 503
retry chain attempt 5/6 to "proxy1" failed: status 503, retrying in 50 ms
vendor: proxy1 200
retry chain ended: success, 6 attempts
front: 200 success, proxy1, proxy1, proxy1, proxy1, proxy1, proxy1: 503, 503, 503, 503, 503, 200



=== TEST 21: rate=1.5: small delays grow, too
--- chain
    retry_chain proxy1;
    retry_chain_retry http_503 interval=1ms attempts=6 rate=1.5;
--- script: 503 503 503 503 503
--- response_body
proxy1 200
--- grep_error_log eval
qr/retrying in \d+ ms/
--- grep_error_log_out
retrying in 1 ms
retrying in 1 ms
retrying in 2 ms
retrying in 3 ms
retrying in 5 ms



=== TEST 22: max: no delay is longer
--- chain
    retry_chain proxy1;
    retry_chain_retry http_503 interval=10ms attempts=5 rate=3 max=25ms;
--- script: 503 503 503 503
--- response_body
proxy1 200
--- grep_error_log_out
vendor: proxy1 503
retry chain attempt 1/5 to "proxy1" failed: status 503, retrying in 10 ms
vendor: proxy1 503
retry chain attempt 2/5 to "proxy1" failed: status 503, retrying in 25 ms
vendor: proxy1 503
retry chain attempt 3/5 to "proxy1" failed: status 503, retrying in 25 ms
vendor: proxy1 503
retry chain attempt 4/5 to "proxy1" failed: status 503, retrying in 25 ms
vendor: proxy1 200
retry chain ended: success, 5 attempts
front: 200 success, proxy1, proxy1, proxy1, proxy1, proxy1: 503, 503, 503, 503, 200



=== TEST 23: max: the first delay is not longer either
--- chain
    retry_chain proxy1;
    retry_chain_retry http_503 interval=1h max=15ms;
--- script: 503 503
--- response_body
proxy1 200
--- grep_error_log_out
vendor: proxy1 503
retry chain attempt 1/3 to "proxy1" failed: status 503, retrying in 15 ms
vendor: proxy1 503
retry chain attempt 2/3 to "proxy1" failed: status 503, retrying in 15 ms
vendor: proxy1 200
retry chain ended: success, 3 attempts
front: 200 success, proxy1, proxy1, proxy1: 503, 503, 200



=== TEST 24: interval=0: there is no delay
--- chain
    retry_chain proxy1;
    retry_chain_retry http_503 interval=0 attempts=4;
--- script: 503 503 503
--- response_body
proxy1 200
--- grep_error_log_out
vendor: proxy1 503
retry chain attempt 1/4 to "proxy1" failed: status 503, retrying in 0 ms
vendor: proxy1 503
retry chain attempt 2/4 to "proxy1" failed: status 503, retrying in 0 ms
vendor: proxy1 503
retry chain attempt 3/4 to "proxy1" failed: status 503, retrying in 0 ms
vendor: proxy1 200
retry chain ended: success, 4 attempts
front: 200 success, proxy1, proxy1, proxy1, proxy1: 503, 503, 503, 200



=== TEST 25: max=0: there is no delay
--- chain
    retry_chain proxy1;
    retry_chain_retry http_503 max=0;
--- script: 503 503
--- response_body
proxy1 200
--- grep_error_log_out
vendor: proxy1 503
retry chain attempt 1/3 to "proxy1" failed: status 503, retrying in 0 ms
vendor: proxy1 503
retry chain attempt 2/3 to "proxy1" failed: status 503, retrying in 0 ms
vendor: proxy1 200
retry chain ended: success, 3 attempts
front: 200 success, proxy1, proxy1, proxy1: 503, 503, 200



=== TEST 26: the first rule that matches wins
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_retry http_503 interval=10ms;
    retry_chain_retry http_5xx interval=30ms;
--- script: 503 500
--- response_body
proxy1 200
--- grep_error_log_out
vendor: proxy1 503
retry chain attempt 1/10 to "proxy1" failed: status 503, retrying in 10 ms
vendor: proxy1 500
retry chain attempt 2/10 to "proxy1" failed: status 500, retrying in 30 ms
vendor: proxy1 200
retry chain ended: success, 3 attempts
front: 200 success, proxy1, proxy1, proxy1: 503, 500, 200



=== TEST 27: the first rule that matches wins, the more general one as well
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_retry status interval=10ms rate=1;
    retry_chain_retry http_503 interval=30ms;
--- script: 503 500
--- response_body
proxy1 200
--- grep_error_log_out
vendor: proxy1 503
retry chain attempt 1/10 to "proxy1" failed: status 503, retrying in 10 ms
vendor: proxy1 500
retry chain attempt 2/10 to "proxy1" failed: status 500, retrying in 10 ms
vendor: proxy1 200
retry chain ended: success, 3 attempts
front: 200 success, proxy1, proxy1, proxy1: 503, 500, 200



=== TEST 28: an exhausted rule does not fall through to the next one that matches
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_retry http_503 interval=10ms attempts=2;
    retry_chain_retry http_5xx interval=30ms;
--- script: 503 500 503
--- response_body
proxy2 200
--- grep_error_log_out
vendor: proxy1 503
retry chain attempt 1/8 to "proxy1" failed: status 503, retrying in 10 ms
vendor: proxy1 500
retry chain attempt 2/8 to "proxy1" failed: status 500, retrying in 30 ms
vendor: proxy1 503
retry chain attempt 3/8 to "proxy1" failed: status 503, retrying in 0 ms
vendor: proxy2 200
retry chain ended: success, 4 attempts
front: 200 success, proxy1, proxy1, proxy1, proxy2: 503, 500, 503, 200



=== TEST 29: a rule with attempts=1 keeps later rules from matching
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_retry http_503 attempts=1;
    retry_chain_retry http_5xx interval=10ms;
--- script: 503 500
--- response_body
proxy2 200
--- grep_error_log_out
vendor: proxy1 503
retry chain attempt 1/6 to "proxy1" failed: status 503, retrying in 0 ms
vendor: proxy2 500
retry chain attempt 2/6 to "proxy2" failed: status 500, retrying in 10 ms
vendor: proxy2 200
retry chain ended: success, 3 attempts
front: 200 success, proxy1, proxy2, proxy2: 503, 500, 200



=== TEST 30: the example of Step Functions: A, B, C, B and out
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_retry http_500 http_503 interval=10ms rate=2 attempts=3;
    retry_chain_retry http_429 interval=50ms;
--- script: 500 503 429 503
--- response_body
proxy2 200
--- grep_error_log_out
vendor: proxy1 500
retry chain attempt 1/10 to "proxy1" failed: status 500, retrying in 10 ms
vendor: proxy1 503
retry chain attempt 2/10 to "proxy1" failed: status 503, retrying in 20 ms
vendor: proxy1 429
retry chain attempt 3/10 to "proxy1" failed: status 429, retrying in 50 ms
vendor: proxy1 503
retry chain attempt 4/10 to "proxy1" failed: status 503, retrying in 0 ms
vendor: proxy2 200
retry chain ended: success, 5 attempts
front: 200 success, proxy1, proxy1, proxy1, proxy1, proxy2: 500, 503, 429, 503, 200



=== TEST 31: the example of Step Functions, the rest of the first rule after the second
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_retry http_500 http_503 interval=10ms rate=2 attempts=3;
    retry_chain_retry http_429 interval=50ms;
--- script: 500 429 503 500
--- response_body
proxy2 200
--- grep_error_log_out
vendor: proxy1 500
retry chain attempt 1/10 to "proxy1" failed: status 500, retrying in 10 ms
vendor: proxy1 429
retry chain attempt 2/10 to "proxy1" failed: status 429, retrying in 50 ms
vendor: proxy1 503
retry chain attempt 3/10 to "proxy1" failed: status 503, retrying in 20 ms
vendor: proxy1 500
retry chain attempt 4/10 to "proxy1" failed: status 500, retrying in 0 ms
vendor: proxy2 200
retry chain ended: success, 5 attempts
front: 200 success, proxy1, proxy1, proxy1, proxy1, proxy2: 500, 429, 503, 500, 200



=== TEST 32: counters begin anew at every step
--- chain
    retry_chain proxy1 proxy2 proxy3;
    retry_chain_retry http_503 interval=10ms;
--- script: 503 503 503 503 503 503 503 503 503
--- error_code: 503
--- response_body
proxy3 503
--- grep_error_log_out
vendor: proxy1 503
retry chain attempt 1/9 to "proxy1" failed: status 503, retrying in 10 ms
vendor: proxy1 503
retry chain attempt 2/9 to "proxy1" failed: status 503, retrying in 20 ms
vendor: proxy1 503
retry chain attempt 3/9 to "proxy1" failed: status 503, retrying in 0 ms
vendor: proxy2 503
retry chain attempt 4/9 to "proxy2" failed: status 503, retrying in 10 ms
vendor: proxy2 503
retry chain attempt 5/9 to "proxy2" failed: status 503, retrying in 20 ms
vendor: proxy2 503
retry chain attempt 6/9 to "proxy2" failed: status 503, retrying in 0 ms
vendor: proxy3 503
retry chain attempt 7/9 to "proxy3" failed: status 503, retrying in 10 ms
vendor: proxy3 503
retry chain attempt 8/9 to "proxy3" failed: status 503, retrying in 20 ms
vendor: proxy3 503
retry chain attempt 9/9 to "proxy3" failed: status 503, no other attempt: exhausted
retry chain ended: exhausted, 9 attempts
front: 503 exhausted, proxy1, proxy1, proxy1, proxy2, proxy2, proxy2, proxy3, proxy3, proxy3: 503, 503, 503, 503, 503, 503, 503, 503, 503



=== TEST 33: counters begin anew when a step comes twice in a row
--- chain
    retry_chain proxy1 proxy1;
    retry_chain_retry http_503 interval=10ms attempts=2;
--- script: 503 503 503
--- response_body
proxy1 200
--- grep_error_log_out
vendor: proxy1 503
retry chain attempt 1/4 to "proxy1" failed: status 503, retrying in 10 ms
vendor: proxy1 503
retry chain attempt 2/4 to "proxy1" failed: status 503, retrying in 0 ms
vendor: proxy1 503
retry chain attempt 3/4 to "proxy1" failed: status 503, retrying in 10 ms
vendor: proxy1 200
retry chain ended: success, 4 attempts
front: 200 success, proxy1, proxy1, proxy1, proxy1: 503, 503, 503, 200



=== TEST 34: a failure that no rule matches goes to the next step at once
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_retry error timeout interval=10ms;
--- script: 500
--- response_body
proxy2 200
--- grep_error_log_out
vendor: proxy1 500
retry chain attempt 1/6 to "proxy1" failed: status 500, retrying in 0 ms
vendor: proxy2 200
retry chain ended: success, 2 attempts
front: 200 success, proxy1, proxy2: 500, 200



=== TEST 35: retry_chain_retry off is no rule
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_retry off;
--- script: 500
--- response_body
proxy2 200
--- grep_error_log_out
vendor: proxy1 500
retry chain attempt 1/2 to "proxy1" failed: status 500, retrying in 0 ms
vendor: proxy2 200
retry chain ended: success, 2 attempts
front: 200 success, proxy1, proxy2: 500, 200



=== TEST 36: attempts= of a step without rules: as many at once, whatever the failure
--- chain
    retry_chain proxy1 attempts=3;
    retry_chain proxy2;
--- script: 500 close 404
--- response_body
proxy2 200
--- grep_error_log_out
vendor: proxy1 500
retry chain attempt 1/4 to "proxy1" failed: status 500, retrying in 0 ms
vendor: proxy1 close
retry chain attempt 2/4 to "proxy1" failed: error 502, retrying in 0 ms
vendor: proxy1 404
retry chain attempt 3/4 to "proxy1" failed: status 404, retrying in 0 ms
vendor: proxy2 200
retry chain ended: success, 4 attempts
front: 200 success, proxy1, proxy1, proxy1, proxy2: 500, 502, 404, 200



=== TEST 37: attempts= is shared by the steps of its directive and counts for each
--- chain
    retry_chain proxy1 proxy2 attempts=2;
    retry_chain proxy3;
--- script: 500 500 500 500 500
--- error_code: 500
--- response_body
proxy3 500
--- grep_error_log_out
vendor: proxy1 500
retry chain attempt 1/5 to "proxy1" failed: status 500, retrying in 0 ms
vendor: proxy1 500
retry chain attempt 2/5 to "proxy1" failed: status 500, retrying in 0 ms
vendor: proxy2 500
retry chain attempt 3/5 to "proxy2" failed: status 500, retrying in 0 ms
vendor: proxy2 500
retry chain attempt 4/5 to "proxy2" failed: status 500, retrying in 0 ms
vendor: proxy3 500
retry chain attempt 5/5 to "proxy3" failed: status 500, no other attempt: exhausted
retry chain ended: exhausted, 5 attempts
front: 500 exhausted, proxy1, proxy1, proxy2, proxy2, proxy3: 500, 500, 500, 500, 500



=== TEST 38: attempts= of a step caps the rules
--- chain
    retry_chain proxy1 attempts=2;
    retry_chain proxy2;
    retry_chain_retry http_5xx interval=10ms attempts=5;
--- script: 500 500 500 500 500 500 500
--- error_code: 500
--- response_body
proxy2 500
--- grep_error_log_out
vendor: proxy1 500
retry chain attempt 1/7 to "proxy1" failed: status 500, retrying in 10 ms
vendor: proxy1 500
retry chain attempt 2/7 to "proxy1" failed: status 500, retrying in 0 ms
vendor: proxy2 500
retry chain attempt 3/7 to "proxy2" failed: status 500, retrying in 10 ms
vendor: proxy2 500
retry chain attempt 4/7 to "proxy2" failed: status 500, retrying in 20 ms
vendor: proxy2 500
retry chain attempt 5/7 to "proxy2" failed: status 500, retrying in 40 ms
vendor: proxy2 500
retry chain attempt 6/7 to "proxy2" failed: status 500, retrying in 80 ms
vendor: proxy2 500
retry chain attempt 7/7 to "proxy2" failed: status 500, no other attempt: exhausted
retry chain ended: exhausted, 7 attempts
front: 500 exhausted, proxy1, proxy1, proxy2, proxy2, proxy2, proxy2, proxy2: 500, 500, 500, 500, 500, 500, 500



=== TEST 39: attempts= of a step caps all rules together
--- chain
    retry_chain proxy1 attempts=3;
    retry_chain proxy2;
    retry_chain_retry http_500 interval=10ms;
    retry_chain_retry http_503 interval=20ms;
--- script: 500 503 500
--- response_body
proxy2 200
--- grep_error_log_out
vendor: proxy1 500
retry chain attempt 1/8 to "proxy1" failed: status 500, retrying in 10 ms
vendor: proxy1 503
retry chain attempt 2/8 to "proxy1" failed: status 503, retrying in 20 ms
vendor: proxy1 500
retry chain attempt 3/8 to "proxy1" failed: status 500, retrying in 0 ms
vendor: proxy2 200
retry chain ended: success, 4 attempts
front: 200 success, proxy1, proxy1, proxy1, proxy2: 500, 503, 500, 200



=== TEST 40: attempts=1 of a step switches the rules off there
--- chain
    retry_chain proxy1 attempts=1;
    retry_chain proxy2;
    retry_chain_retry http_5xx interval=10ms;
--- script: 500 500
--- response_body
proxy2 200
--- grep_error_log_out
vendor: proxy1 500
retry chain attempt 1/4 to "proxy1" failed: status 500, retrying in 0 ms
vendor: proxy2 500
retry chain attempt 2/4 to "proxy2" failed: status 500, retrying in 10 ms
vendor: proxy2 200
retry chain ended: success, 3 attempts
front: 200 success, proxy1, proxy2, proxy2: 500, 500, 200



=== TEST 41: attempts= of a step gives no more than the rules do
--- chain
    retry_chain proxy1 attempts=9;
    retry_chain proxy2;
    retry_chain_retry http_5xx interval=10ms attempts=2;
--- script: 500 500
--- response_body
proxy2 200
--- grep_error_log_out
vendor: proxy1 500
retry chain attempt 1/4 to "proxy1" failed: status 500, retrying in 10 ms
vendor: proxy1 500
retry chain attempt 2/4 to "proxy1" failed: status 500, retrying in 0 ms
vendor: proxy2 200
retry chain ended: success, 3 attempts
front: 200 success, proxy1, proxy1, proxy2: 500, 500, 200



=== TEST 42: attempts= of a step does not retry what no rule matches
--- chain
    retry_chain proxy1 attempts=9;
    retry_chain proxy2;
    retry_chain_retry http_5xx interval=10ms attempts=2;
--- script: 404
--- response_body
proxy2 200
--- grep_error_log_out
vendor: proxy1 404
retry chain attempt 1/4 to "proxy1" failed: status 404, retrying in 0 ms
vendor: proxy2 200
retry chain ended: success, 2 attempts
front: 200 success, proxy1, proxy2: 404, 200



=== TEST 43: jitter=none: delays are as computed
--- chain
    retry_chain proxy1;
    retry_chain_retry http_503 interval=10ms jitter=none;
--- script: 503 503
--- response_body
proxy1 200
--- grep_error_log_out
vendor: proxy1 503
retry chain attempt 1/3 to "proxy1" failed: status 503, retrying in 10 ms
vendor: proxy1 503
retry chain attempt 2/3 to "proxy1" failed: status 503, retrying in 20 ms
vendor: proxy1 200
retry chain ended: success, 3 attempts
front: 200 success, proxy1, proxy1, proxy1: 503, 503, 200



=== TEST 44: jitter=full: delays are from 0 to what was computed, and differ
--- chain
    retry_chain proxy1;
    retry_chain_retry http_503 interval=20ms rate=1 attempts=9 jitter=full;
--- script: 503 503 503 503 503 503 503 503
--- response_body
proxy1 200
--- grep_error_log eval
qr/retrying in \d+ ms/
--- grep_error_log_out eval
qr/\A(?!(.*\n)\1+\z)(?:retrying in (?:1?\d|20) ms\n){8}\z/



=== TEST 45: jitter=equal: delays are from a half to what was computed, and differ
--- chain
    retry_chain proxy1;
    retry_chain_retry http_503 interval=20ms rate=1 attempts=9 jitter=equal;
--- script: 503 503 503 503 503 503 503 503
--- response_body
proxy1 200
--- grep_error_log eval
qr/retrying in \d+ ms/
--- grep_error_log_out eval
qr/\A(?!(.*\n)\1+\z)(?:retrying in (?:1\d|20) ms\n){8}\z/



=== TEST 46: jitter is applied after the cap
--- chain
    retry_chain proxy1;
    retry_chain_retry http_503 interval=1h max=20ms attempts=5 jitter=equal;
--- script: 503 503 503 503
--- response_body
proxy1 200
--- grep_error_log eval
qr/retrying in \d+ ms/
--- grep_error_log_out eval
qr/\A(?:retrying in (?:1\d|20) ms\n){4}\z/



=== TEST 47: the delay that is logged is the one that is waited
--- chain
    retry_chain proxy1;
    retry_chain_retry http_503 interval=10ms;
    add_header X-Waits $retry_chain_waits;
--- script: 503 503
--- response_headers
X-Waits: 0.000, 0.010, 0.020
--- grep_error_log eval
qr/retrying in \d+ ms/
--- grep_error_log_out
retrying in 10 ms
retrying in 20 ms
