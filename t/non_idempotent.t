#!/usr/bin/perl

# retry_chain_non_idempotent: requests that must not be sent twice.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Ways;
use Ways::Nginx;
use Ways::Table;

my $short = 500 * Ways::Nginx::slow() . 'ms';

ways_upstreams();

my $two = 'retry_chain a b;';
my $on = "$two retry_chain_non_idempotent on;";
my $off = "$two retry_chain_non_idempotent off;";
my $safe = "$two retry_chain_non_idempotent safe;";
my $key = qq(Idempotency-Key: "8e03978e-40d5-43dd"\r\n);

my $refused = 'refused error 502, unsafe of 2';
my $unsafe = 'a 503, unsafe of 2';
my $again = 'a 503 +0, b 200, success of 2';
my $slower = 'a 429 +0, b 200, success of 2';

# any failure there is

my $any = "retry_chain refused a b c d; proxy_read_timeout $short;";
my $fails = { a => 503, b => 'close', c => 'hang' };
my $all = 'refused error 502 +0, a 503 +0, b error 502 +0, c timeout 504 +0, '
          . 'd 200, success of 5';

table([
    # safe, the default: what the vendor may have acted on is not repeated

    (map { ["$_ is idempotent and tried again after any failure",
            $any, $_ => $fails, $all] }
         qw(GET HEAD PUT DELETE OPTIONS)),

    (map { ["$_ is not, and a failure that the vendor has answered is relayed",
            $two, $_ => { a => 503 }, $unsafe] }
         qw(POST PATCH PROPFIND MKCOL LOCK FOO QUERY)),

    (map { ["$_ is tried again after 429",
            $two, $_ => { a => 429 }, $slower] }
         qw(POST PATCH FOO)),

    ['POST is tried again when the connection is refused',
     'retry_chain refused a;', POST => {},
     'refused error 502 +0, a 200, success of 2'],

    ['POST is tried again when the connection is not made in time',
     'retry_chain stuck a; proxy_connect_timeout 100ms;', POST => {},
     'stuck timeout 504 +0, a 200, success of 2'],

    ['POST is tried again when the step\'s own timeout ends a connect',
     'retry_chain stuck timeout=100ms; retry_chain a;', POST => {},
     'stuck timeout 504 +0, a 200, success of 2'],

    ['POST is not tried again when the vendor does not answer in time',
     "$two proxy_read_timeout $short;", POST => { a => 'hang' },
     'a timeout 504, unsafe of 2'],

    ['POST is not tried again when the step\'s own timeout ends it after '
     . 'sending',
     "retry_chain a b timeout=$short;", POST => { a => 'hang' },
     'a timeout 504, unsafe of 2'],

    ['POST is not tried again when the connection is lost after sending',
     $two, POST => { a => 'close' }, 'a error 502, unsafe of 2'],

    ['POST is not tried again when the answer can not be read',
     $two, POST => { a => 'big' }, 'a invalid header 502, unsafe of 2'],

    ['PATCH is not either',
     $two, PATCH => { a => 'close' }, 'a error 502, unsafe of 2'],

    (map { ["POST is not tried again after $_", "$two retry_chain_success 200;",
            POST => { a => $_ }, "a $_, unsafe of 2"] }
         qw(500 404 409 302)),

    ['POST goes as far as it may',
     'retry_chain a refused b c d;', POST => { a => 429, b => 429, c => 500 },
     'a 429 +0, refused error 502 +0, b 429 +0, c 500, unsafe of 5'],

    ['with no step left the result is exhausted, not unsafe',
     $two, POST => { a => 429, b => 500 }, 'a 429 +0, b 500, exhausted of 2'],

    ['with a final code the result is stopped, not unsafe',
     "$two retry_chain_stop 500;", POST => { a => 500 },
     'a 500, stopped of 2'],

    ['a success of POST is one', $two, POST => { a => 201 }, 'a 201, success'],

    ['POST is not tried again on the same step, whatever the rules',
     "$two retry_chain_retry http_503 interval=10ms;", POST => { a => 503 },
     'a 503, unsafe of 6'],

    ['POST is tried again on the same step after 429',
     "$two retry_chain_retry http_429 interval=10ms;", POST => { a => 429 },
     'a 429 +10, a 200, success of 6'],

    ['a refused connection does not count when nginx itself has sent the POST '
     . 'to another server before',
     'retry_chain mixed b;'
     . 'proxy_next_upstream error timeout http_503 non_idempotent;',
     POST => { a => 503 }, 'mixed error 502, unsafe of 2'],

    # a key says that the vendor knows a repetition

    ['with an Idempotency-Key POST is tried again after any failure',
     $any, POST => $fails, $all, head => $key],

    ['the name of the header is compared without case',
     $two, POST => { a => 503 }, $again, head => "idempotency-KEY: 1\r\n"],

    ['an empty Idempotency-Key is none',
     $two, POST => { a => 503 }, $unsafe, head => "Idempotency-Key:\r\n"],

    ['a header whose name only begins so is none',
     $two, POST => { a => 503 }, $unsafe,
     head => "Idempotency-Key2: 1\r\nX-Idempotency-Key: 1\r\n"],

    ['a key behind many other headers is found',
     $two, POST => { a => 503 }, $again,
     head => join('', map { "X-H$_: $_\r\n" } 0 .. 29)
             . "Idempotency-Key: 1\r\n"],

    # on, off, and safe said

    ['on: POST is tried again after any failure',
     "$any retry_chain_non_idempotent on;", POST => $fails, $all],

    ['on: so is an unknown method', $on, FOO => { a => 503 }, $again],

    ['on: and on the same step',
     "$on retry_chain_retry http_503 interval=10ms;", POST => { a => 503 },
     'a 503 +10, a 200, success of 6'],

    ['off: POST is not tried again after 429',
     $off, POST => { a => 429 }, 'a 429, unsafe of 2'],

    ['off: not with an Idempotency-Key',
     $off, POST => { a => 503 }, $unsafe, head => $key],

    ['off: not when the connection is refused',
     'retry_chain refused a; retry_chain_non_idempotent off;', POST => {},
     $refused],

    ['off: GET is tried again all the same',
     $off, GET => { a => 503 }, $again],

    ['safe is the default and can be said',
     $safe, POST => { a => 429 }, $slower],

    ['safe: nor is 500 when it is said',
     $safe, POST => { a => 500 }, 'a 500, unsafe of 2'],
], http => 'upstream mixed { server unix:' . ways_dir() . '/a;'
           . 'server 127.0.0.1:1; }');
