#!/usr/bin/perl

# Which codes are a success, and which failures are final.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Ways::Nginx;
use Ways::Table;

my $short = 500 * Ways::Nginx::slow() . 'ms';

my @codes = qw(400 401 403 404 405 408 409 410 411 413 415 417 421 422 428 429
               451 500 501 502 503 504 505 599 600 999);

my $two = 'retry_chain a b;';
my $range = "$two retry_chain_success 500-503;";

table([
    # what is a success

    (map { ["$_ is a success without configuration",
            $two, GET => { a => $_ }, "a $_, success"] }
         qw(200 201 204 299 301 302 304 399)),

    ['all other codes are failures without configuration',
     'retry_chain a attempts=27;', GET => { a => join(' | ', @codes) },
     join('', map { "a $_ +0, " } @codes) . 'a 200, success of 27'],

    (map { ["$_ answers the client's own condition and is final without "
            . 'configuration',
            $two, GET => { a => $_ }, "a $_, stopped of 2"] }
         qw(412 416)),

    ['success is one code only',
     'retry_chain a b c d; retry_chain_success 200;',
     GET => { a => 201, b => 204, c => 302 },
     'a 201 +0, b 204 +0, c 302 +0, d 200, success of 4'],

    ['a reply of 204 or 304 that is no success is relayed when it is the last',
     "$two retry_chain_success 200;", GET => { a => 304, b => 204 },
     'a 304 +0, b 204, exhausted of 2'],

    ['success is a class and replaces the default',
     'retry_chain a attempts=5; retry_chain_success 4xx;',
     GET => { a => '200 | 399 | 500 | 499' },
     'a 200 +0, a 399 +0, a 500 +0, a 499, success of 5'],

    (map { ["success is a range from 500 to 503, $_ is not",
            $range, GET => { a => $_, b => 501 },
            "a $_ +0, b 501, success of 2"] }
         qw(499 504)),

    (map { ["success is a range from 500 to 503, $_ is in it",
            $range, GET => { a => $_ }, "a $_, success"] }
         qw(500 502 503)),

    ['success is a mixture of codes, classes and ranges',
     'retry_chain a attempts=9; retry_chain_success 2xx 404 410-412;',
     GET => { a => '302 | 403 | 405 | 409 | 413 | 500 | 411' },
     'a 302 +0, a 403 +0, a 405 +0, a 409 +0, a 413 +0, a 500 +0, a 411, '
     . 'success of 9'],

    ['a success is not retried on the same step, whatever the rules',
     "$two retry_chain_retry http_2xx interval=0;", GET => {},
     'a 200, success'],

    # what is final

    ['a code that is a success is not stopped at',
     "$two retry_chain_success 2xx 404; retry_chain_stop 404;",
     GET => { a => 404 }, 'a 404, success'],

    ['a failure that is final is relayed at once',
     'retry_chain a b c; retry_chain_stop 400 401-403 404 422;',
     GET => { a => 500, b => 403 }, 'a 500 +0, b 403, stopped of 3'],

    ['the last step can be stopped at, too',
     "$two retry_chain_stop 404;", GET => { a => 500, b => 404 },
     'a 500 +0, b 404, stopped of 2'],

    (map { my ($name, $stop) = @$_;
           [$name, "retry_chain a b c; retry_chain_stop $stop;",
            GET => { a => 412, b => 416 },
            'a 412 +0, b 416 +0, c 200, success of 3'] }
         ['stop codes replace the default', '5xx'],
         ['no code is final with stop off', 'off']),

    ['a final code is not retried on the same step, whatever the rules',
     "$two retry_chain_retry status interval=0; retry_chain_stop 503;",
     GET => { a => 503 }, 'a 503, stopped of 6'],

    # a status of nginx itself is not a reply

    ['a step that can not be reached is neither a success nor final with its '
     . '502',
     'retry_chain refused a; retry_chain_success 200 502;'
     . 'retry_chain_stop 5xx;',
     GET => {}, 'refused error 502 +0, a 200, success of 2'],

    ['a step that says nothing is neither a success nor final with its 504',
     "$two retry_chain_success 200 504; retry_chain_stop 5xx;"
     . "proxy_read_timeout $short;",
     GET => { a => 'hang' }, 'a timeout 504 +0, b 200, success of 2'],

    (map { ["$_ from the vendor itself is a reply, and can be final",
            "$two retry_chain_stop $_;", GET => { a => $_ },
            "a $_, stopped of 2"] }
         qw(500 502 504)),

    # error pages

    ['codes of a reply that proxy_intercept_errors replaces are judged all the '
     . 'same',
     'retry_chain a b c; retry_chain_stop 404;'
     . 'proxy_intercept_errors on; error_page 404 503 /sorry;',
     GET => { a => 503, b => 404 }, 'a 503 +0, b 404, stopped of 3',
     answer => '404 sorry'],

    ['a reply that proxy_intercept_errors would replace can be a success',
     "$two retry_chain_success 200 404;"
     . 'proxy_intercept_errors on; error_page 404 /sorry;',
     GET => { a => 404 }, 'a 404, success', answer => '404 sorry'],
], server => 'location = /sorry { return 200 "sorry\n"; }');
