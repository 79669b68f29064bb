# Which codes are a success, and which failures are final.

use strict;
use warnings;

use File::Basename qw(dirname);
use lib dirname(__FILE__) . '/lib';

use Test::Nginx::Socket 'no_plan';
use RetryChain;

run_tests();

__DATA__

=== TEST 1: 200 is a success without configuration
--- chain
    retry_chain proxy1 proxy2;
--- script: 200
--- error_code: 200
--- response_headers
X-From: proxy1
--- grep_error_log_out
vendor: proxy1 200
front: 200 success, proxy1: 200



=== TEST 2: 201 is a success without configuration
--- chain
    retry_chain proxy1 proxy2;
--- script: 201
--- error_code: 201
--- response_headers
X-From: proxy1
--- grep_error_log_out
vendor: proxy1 201
front: 201 success, proxy1: 201



=== TEST 3: 204 is a success without configuration
--- chain
    retry_chain proxy1 proxy2;
--- script: 204
--- error_code: 204
--- response_headers
X-From: proxy1
--- grep_error_log_out
vendor: proxy1 204
front: 204 success, proxy1: 204



=== TEST 4: 299 is a success without configuration
--- chain
    retry_chain proxy1 proxy2;
--- script: 299
--- error_code: 299
--- response_headers
X-From: proxy1
--- grep_error_log_out
vendor: proxy1 299
front: 299 success, proxy1: 299



=== TEST 5: 301 is a success without configuration
--- chain
    retry_chain proxy1 proxy2;
--- script: 301
--- error_code: 301
--- response_headers
X-From: proxy1
--- grep_error_log_out
vendor: proxy1 301
front: 301 success, proxy1: 301



=== TEST 6: 302 is a success without configuration
--- chain
    retry_chain proxy1 proxy2;
--- script: 302
--- error_code: 302
--- response_headers
X-From: proxy1
--- grep_error_log_out
vendor: proxy1 302
front: 302 success, proxy1: 302



=== TEST 7: 304 is a success without configuration
--- chain
    retry_chain proxy1 proxy2;
--- script: 304
--- error_code: 304
--- response_headers
X-From: proxy1
--- grep_error_log_out
vendor: proxy1 304
front: 304 success, proxy1: 304



=== TEST 8: 399 is a success without configuration
--- chain
    retry_chain proxy1 proxy2;
--- script: 399
--- error_code: 399
--- response_headers
X-From: proxy1
--- grep_error_log_out
vendor: proxy1 399
front: 399 success, proxy1: 399



=== TEST 9: all other codes are failures without configuration
--- chain
    retry_chain proxy1 attempts=27;
--- script: 400 401 403 404 405 408 409 410 411 413 415 417 421 422 428 429 451 500 501 502 503 504 505 599 600 999
--- response_body
proxy1 200
--- grep_error_log_out
vendor: proxy1 400
retry chain attempt 1/27 to "proxy1" failed: status 400, retrying in 0 ms
vendor: proxy1 401
retry chain attempt 2/27 to "proxy1" failed: status 401, retrying in 0 ms
vendor: proxy1 403
retry chain attempt 3/27 to "proxy1" failed: status 403, retrying in 0 ms
vendor: proxy1 404
retry chain attempt 4/27 to "proxy1" failed: status 404, retrying in 0 ms
vendor: proxy1 405
retry chain attempt 5/27 to "proxy1" failed: status 405, retrying in 0 ms
vendor: proxy1 408
retry chain attempt 6/27 to "proxy1" failed: status 408, retrying in 0 ms
vendor: proxy1 409
retry chain attempt 7/27 to "proxy1" failed: status 409, retrying in 0 ms
vendor: proxy1 410
retry chain attempt 8/27 to "proxy1" failed: status 410, retrying in 0 ms
vendor: proxy1 411
retry chain attempt 9/27 to "proxy1" failed: status 411, retrying in 0 ms
vendor: proxy1 413
retry chain attempt 10/27 to "proxy1" failed: status 413, retrying in 0 ms
vendor: proxy1 415
retry chain attempt 11/27 to "proxy1" failed: status 415, retrying in 0 ms
vendor: proxy1 417
retry chain attempt 12/27 to "proxy1" failed: status 417, retrying in 0 ms
vendor: proxy1 421
retry chain attempt 13/27 to "proxy1" failed: status 421, retrying in 0 ms
vendor: proxy1 422
retry chain attempt 14/27 to "proxy1" failed: status 422, retrying in 0 ms
vendor: proxy1 428
retry chain attempt 15/27 to "proxy1" failed: status 428, retrying in 0 ms
vendor: proxy1 429
retry chain attempt 16/27 to "proxy1" failed: status 429, retrying in 0 ms
vendor: proxy1 451
retry chain attempt 17/27 to "proxy1" failed: status 451, retrying in 0 ms
vendor: proxy1 500
retry chain attempt 18/27 to "proxy1" failed: status 500, retrying in 0 ms
vendor: proxy1 501
retry chain attempt 19/27 to "proxy1" failed: status 501, retrying in 0 ms
vendor: proxy1 502
retry chain attempt 20/27 to "proxy1" failed: status 502, retrying in 0 ms
vendor: proxy1 503
retry chain attempt 21/27 to "proxy1" failed: status 503, retrying in 0 ms
vendor: proxy1 504
retry chain attempt 22/27 to "proxy1" failed: status 504, retrying in 0 ms
vendor: proxy1 505
retry chain attempt 23/27 to "proxy1" failed: status 505, retrying in 0 ms
vendor: proxy1 599
retry chain attempt 24/27 to "proxy1" failed: status 599, retrying in 0 ms
vendor: proxy1 600
retry chain attempt 25/27 to "proxy1" failed: status 600, retrying in 0 ms
vendor: proxy1 999
retry chain attempt 26/27 to "proxy1" failed: status 999, retrying in 0 ms
vendor: proxy1 200
retry chain ended: success, 27 attempts
front: 200 success, proxy1, proxy1, proxy1, proxy1, proxy1, proxy1, proxy1, proxy1, proxy1, proxy1, proxy1, proxy1, proxy1, proxy1, proxy1, proxy1, proxy1, proxy1, proxy1, proxy1, proxy1, proxy1, proxy1, proxy1, proxy1, proxy1, proxy1: 400, 401, 403, 404, 405, 408, 409, 410, 411, 413, 415, 417, 421, 422, 428, 429, 451, 500, 501, 502, 503, 504, 505, 599, 600, 999, 200



=== TEST 10: 412 answers the client's own condition and is final without configuration
--- chain
    retry_chain proxy1 proxy2;
--- script: 412
--- error_code: 412
--- response_headers
X-From: proxy1
--- response_body
proxy1 412
--- grep_error_log_out
vendor: proxy1 412
retry chain attempt 1/2 to "proxy1" failed: status 412, no other attempt: stopped
retry chain ended: stopped, 1 attempt
front: 412 stopped, proxy1: 412



=== TEST 11: 416 answers the client's own condition and is final without configuration
--- chain
    retry_chain proxy1 proxy2;
--- script: 416
--- error_code: 416
--- response_headers
X-From: proxy1
--- response_body
proxy1 416
--- grep_error_log_out
vendor: proxy1 416
retry chain attempt 1/2 to "proxy1" failed: status 416, no other attempt: stopped
retry chain ended: stopped, 1 attempt
front: 416 stopped, proxy1: 416



=== TEST 12: success is one code only
--- chain
    retry_chain proxy1 proxy2 proxy3 proxy4;
    retry_chain_success 200;
--- script: 201 204 302
--- response_body
proxy4 200
--- grep_error_log_out
vendor: proxy1 201
retry chain attempt 1/4 to "proxy1" failed: status 201, retrying in 0 ms
vendor: proxy2 204
retry chain attempt 2/4 to "proxy2" failed: status 204, retrying in 0 ms
vendor: proxy3 302
retry chain attempt 3/4 to "proxy3" failed: status 302, retrying in 0 ms
vendor: proxy4 200
retry chain ended: success, 4 attempts
front: 200 success, proxy1, proxy2, proxy3, proxy4: 201, 204, 302, 200



=== TEST 13: a reply of 204 or 304 that is no success is relayed when it is the last
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_success 200;
--- script: 304 204
--- error_code: 204
--- response_headers
X-From: proxy2
! Content-Length
--- response_body
--- grep_error_log_out
vendor: proxy1 304
retry chain attempt 1/2 to "proxy1" failed: status 304, retrying in 0 ms
vendor: proxy2 204
retry chain attempt 2/2 to "proxy2" failed: status 204, no other attempt: exhausted
retry chain ended: exhausted, 2 attempts
front: 204 exhausted, proxy1, proxy2: 304, 204



=== TEST 14: success is a class and replaces the default
--- chain
    retry_chain proxy1 attempts=5;
    retry_chain_success 4xx;
--- script: 200 399 500 499
--- error_code: 499
--- response_body
proxy1 499
--- grep_error_log_out
vendor: proxy1 200
retry chain attempt 1/5 to "proxy1" failed: status 200, retrying in 0 ms
vendor: proxy1 399
retry chain attempt 2/5 to "proxy1" failed: status 399, retrying in 0 ms
vendor: proxy1 500
retry chain attempt 3/5 to "proxy1" failed: status 500, retrying in 0 ms
vendor: proxy1 499
retry chain ended: success, 4 attempts
front: 499 success, proxy1, proxy1, proxy1, proxy1: 200, 399, 500, 499



=== TEST 15: success is a range from 500 to 503, 499 is not
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_success 500-503;
--- script: 499 501
--- error_code: 501
--- response_headers
X-From: proxy2



=== TEST 16: success is a range from 500 to 503, 500 is in it
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_success 500-503;
--- script: 500 501
--- error_code: 500
--- response_headers
X-From: proxy1



=== TEST 17: success is a range from 500 to 503, 502 is in it
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_success 500-503;
--- script: 502 501
--- error_code: 502
--- response_headers
X-From: proxy1



=== TEST 18: success is a range from 500 to 503, 503 is in it
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_success 500-503;
--- script: 503 501
--- error_code: 503
--- response_headers
X-From: proxy1



=== TEST 19: success is a range from 500 to 503, 504 is not
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_success 500-503;
--- script: 504 501
--- error_code: 501
--- response_headers
X-From: proxy2



=== TEST 20: success is a mixture of codes, classes and ranges
--- chain
    retry_chain proxy1 attempts=9;
    retry_chain_success 2xx 404 410-412;
--- script: 302 403 405 409 413 500 411
--- error_code: 411
--- response_body
proxy1 411
--- grep_error_log eval
qr/front: .*/
--- grep_error_log_out
front: 411 success, proxy1, proxy1, proxy1, proxy1, proxy1, proxy1, proxy1: 302, 403, 405, 409, 413, 500, 411



=== TEST 21: a code that is a success is not stopped at
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_success 2xx 404;
    retry_chain_stop 404;
--- script: 404
--- error_code: 404
--- grep_error_log_out
vendor: proxy1 404
front: 404 success, proxy1: 404



=== TEST 22: a failure that is final is relayed at once
--- chain
    retry_chain proxy1 proxy2 proxy3;
    retry_chain_stop 400 401-403 404 422;
--- script: 500 403
--- error_code: 403
--- response_headers
X-From: proxy2
X-Said-403: yes
! X-Said-500
--- response_body
proxy2 403
--- grep_error_log_out
vendor: proxy1 500
retry chain attempt 1/3 to "proxy1" failed: status 500, retrying in 0 ms
vendor: proxy2 403
retry chain attempt 2/3 to "proxy2" failed: status 403, no other attempt: stopped
retry chain ended: stopped, 2 attempts
front: 403 stopped, proxy1, proxy2: 500, 403



=== TEST 23: the last step can be stopped at, too
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_stop 404;
--- script: 500 404
--- error_code: 404
--- grep_error_log eval
qr/retry chain ended: \w+|front: .*/
--- grep_error_log_out
retry chain ended: stopped
front: 404 stopped, proxy1, proxy2: 500, 404



=== TEST 24: stop codes replace the default
--- chain
    retry_chain proxy1 proxy2 proxy3;
    retry_chain_stop 5xx;
--- script: 412 416
--- response_body
proxy3 200



=== TEST 25: no code is final with stop off
--- chain
    retry_chain proxy1 proxy2 proxy3;
    retry_chain_stop off;
--- script: 412 416
--- response_body
proxy3 200



=== TEST 26: a final code is not retried on the same step, whatever the rules
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_retry status interval=0;
    retry_chain_stop 503;
--- script: 503
--- error_code: 503
--- grep_error_log_out
vendor: proxy1 503
retry chain attempt 1/6 to "proxy1" failed: status 503, no other attempt: stopped
retry chain ended: stopped, 1 attempt
front: 503 stopped, proxy1: 503



=== TEST 27: a success is not retried on the same step, whatever the rules
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_retry http_2xx interval=0;
--- grep_error_log_out
vendor: proxy1 200
front: 200 success, proxy1: 200



=== TEST 28: a step that can not be reached is neither a success nor final with its 502
--- chain
    retry_chain refused proxy2;
    retry_chain_success 200 502;
    retry_chain_stop 5xx;
--- response_body
proxy2 200
--- grep_error_log_out
retry chain attempt 1/2 to "refused" failed: error 502, retrying in 0 ms
vendor: proxy2 200
retry chain ended: success, 2 attempts
front: 200 success, refused, proxy2: 502, 200



=== TEST 29: a step that says nothing is neither a success nor final with its 504
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_success 200 504;
    retry_chain_stop 5xx;
    proxy_read_timeout 30ms;
--- script: hang
--- response_body
proxy2 200
--- grep_error_log eval
qr/front: .*/
--- grep_error_log_out
front: 200 success, proxy1, proxy2: 504, 200



=== TEST 30: 500 from the vendor itself is a reply, and can be final
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_stop 500;
--- script: 500
--- error_code: 500
--- response_body
proxy1 500
--- grep_error_log_out
vendor: proxy1 500
retry chain attempt 1/2 to "proxy1" failed: status 500, no other attempt: stopped
retry chain ended: stopped, 1 attempt
front: 500 stopped, proxy1: 500



=== TEST 31: 502 from the vendor itself is a reply, and can be final
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_stop 502;
--- script: 502
--- error_code: 502
--- response_body
proxy1 502
--- grep_error_log_out
vendor: proxy1 502
retry chain attempt 1/2 to "proxy1" failed: status 502, no other attempt: stopped
retry chain ended: stopped, 1 attempt
front: 502 stopped, proxy1: 502



=== TEST 32: 504 from the vendor itself is a reply, and can be final
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_stop 504;
--- script: 504
--- error_code: 504
--- response_body
proxy1 504
--- grep_error_log_out
vendor: proxy1 504
retry chain attempt 1/2 to "proxy1" failed: status 504, no other attempt: stopped
retry chain ended: stopped, 1 attempt
front: 504 stopped, proxy1: 504



=== TEST 33: codes of a reply that proxy_intercept_errors replaces are judged all the same
--- config
    error_page 404 503 /sorry;
    location = /sorry { return 200 "sorry\n"; }
--- chain
    retry_chain proxy1 proxy2 proxy3;
    retry_chain_stop 404;
    proxy_intercept_errors on;
--- script: 503 404
--- error_code: 404
--- response_body
sorry
--- grep_error_log_out
vendor: proxy1 503
retry chain attempt 1/3 to "proxy1" failed: status 503, retrying in 0 ms
vendor: proxy2 404
retry chain attempt 2/3 to "proxy2" failed: status 404, no other attempt: stopped
retry chain ended: stopped, 2 attempts
front: 404 stopped, proxy1, proxy2: 503, 404



=== TEST 34: a reply that proxy_intercept_errors would replace can be a success
--- config
    error_page 404 /sorry;
    location = /sorry { return 200 "sorry\n"; }
--- chain
    retry_chain proxy1 proxy2;
    retry_chain_success 200 404;
    proxy_intercept_errors on;
--- script: 404
--- error_code: 404
--- response_body
sorry
--- grep_error_log_out
vendor: proxy1 404
front: 404 success, proxy1: 404
