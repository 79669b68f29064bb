#!/usr/bin/perl

# retry_chain_timeout and timeout= of a step.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Socket::INET;

use Ways;
use Ways::Nginx;
use Ways::Table;

# a time that ends something leaves enough for what comes before; what it must
# not end comes later

my $slow = Ways::Nginx::slow();
my $short = 500 * $slow . 'ms';
my $long = 1000 * $slow . 'ms';
my $late = 'slow=' . 1.5 * $slow . ' 200';

ways_upstreams();

# a name server that does not answer

my $mute = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Proto => 'udp')
           or die "socket: $!";
my $resolve = "resolver 127.0.0.1:@{[ $mute->sockport ]};"
              . 'proxy_pass http://$retry_chain_upstream.example.com;';

my $two = 'retry_chain a b;';
my $waits = 'retry_chain a; retry_chain b wait=9s; retry_chain_timeout 9s;';
my $cut = "retry_chain_timeout $short;";
my $put = 'x' x 1_000_000;

my $hang = { a => 'hang' };
my $next = 'a timeout 504 +0, b 200, success of 2';

table([
    # a wait that can not end in time is not started

    ['a wait of a minute is not started by default, the reply at hand is the '
     . 'answer',
     'retry_chain a; retry_chain b wait=60s;', GET => { a => 429 },
     'a 429, deadline of 2'],

    ['a shorter wait is',
     'retry_chain a; retry_chain b wait=59s;', GET => { a => 503 },
     'a 503 +59000, aborted of 2', leave => 1],

    ['waits before and after count together',
     'retry_chain a; retry_chain b wait=50ms; retry_chain c wait=59960ms;',
     GET => { a => 429, b => 503 }, 'a 429 +50, b 503, deadline of 3'],

    ['no wait is too long with retry_chain_timeout off',
     'retry_chain a; retry_chain b wait=1h; retry_chain_timeout off;',
     GET => { a => 503 }, 'a 503 +3600000, aborted of 2', leave => 1],

    ['nor is a backoff',
     'retry_chain a; retry_chain_retry http_503 interval=1h max=1h;'
     . 'retry_chain_timeout off;',
     GET => { a => 503 }, 'a 503 +3600000, aborted of 3', leave => 1],

    ['an attempt that runs is not aborted with retry_chain_timeout off',
     "$two retry_chain_timeout off; proxy_read_timeout $short;",
     GET => $hang, $next],

    ['a wait that can not end before the configured deadline is not started',
     $waits, GET => { a => 429 }, 'a 429, deadline of 2'],

    ['a wait that can is',
     'retry_chain a; retry_chain b wait=50ms; retry_chain_timeout 9s;',
     GET => { a => 429 }, 'a 429 +50, b 200, success of 2'],

    ['a backoff that can not end in time is not started, the next step is '
     . 'tried at once',
     "$two retry_chain_timeout 9s; retry_chain_retry http_503 interval=9s;",
     GET => { a => 503 }, 'a 503 +0, b 200, success of 6'],

    ['later backoffs of a rule can be too long',
     "$two retry_chain_timeout 9s;"
     . 'retry_chain_retry http_503 interval=10ms rate=1000;',
     GET => { a => '503 | 503' }, 'a 503 +10, a 503 +0, b 200, success of 6'],

    ['neither the backoff nor the wait of the next step fits',
     'retry_chain a b wait=9s; retry_chain_timeout 9s;'
     . 'retry_chain_retry http_503 interval=9s;',
     GET => { a => 503 }, 'a 503, deadline of 6'],

    ['there is no next step, and the backoff does not fit',
     'retry_chain a; retry_chain_timeout 9s;'
     . 'retry_chain_retry http_503 interval=9s;',
     GET => { a => 503 }, 'a 503, deadline of 3'],

    ['a failed connect whose next wait does not fit is answered by 502',
     'retry_chain refused; retry_chain b wait=9s; retry_chain_timeout 9s;',
     GET => {}, 'refused error 502, deadline of 2'],

    ['steps further on are not tried when the wait of the next one does not '
     . 'fit',
     "$waits retry_chain c;", GET => { a => 429 }, 'a 429, deadline of 3'],

    # the deadline aborts an attempt

    ['the configured deadline aborts an attempt that waits for the header',
     "$two $cut", GET => $hang, 'a timeout 504, deadline of 2'],

    ['the configured deadline aborts the attempt of a chain with one step',
     "retry_chain a; $cut", GET => $hang, 'a timeout 504, deadline of 1'],

    ['the configured deadline aborts an attempt that waits for the connection',
     "retry_chain stuck a; $cut", GET => {},
     'stuck timeout 504, deadline of 2'],

    ['the configured deadline aborts an attempt that is still sending the body',
     "retry_chain silent a; $cut", PUT => {},
     'silent timeout 504, deadline of 2', body => $put],

    ['the configured deadline aborts an attempt in the middle of the header',
     "$two $cut", GET => { a => 'half' }, 'a timeout 504, deadline of 2'],

    ['the configured deadline aborts an attempt that resolves a name',
     "retry_chain silent a; $cut", GET => {},
     'silent timeout 504, deadline of 2', pass => $resolve],

    ['the deadline is of the run: a later attempt has what is left',
     'retry_chain a; retry_chain b wait=50ms; retry_chain c;'
     . "retry_chain_timeout $long;",
     GET => { a => 429, b => 'hang' },
     'a 429 +50, b timeout 504, deadline of 3'],

    ['the deadline does not give the step rules another try',
     "$two $cut retry_chain_retry timeout interval=0;", GET => $hang,
     'a timeout 504, deadline of 6'],

    ['the error page for 504 is used',
     "$two $cut error_page 504 /sorry;", GET => $hang,
     'a timeout 504, deadline of 2', answer => '504 sorry'],

    # but no reply whose header was relayed

    ['the deadline does not cut a reply whose header was relayed',
     "retry_chain a; retry_chain_timeout $long;", GET => { a => $late },
     'a 200, success'],

    ['nor the reply of a later attempt',
     "$two retry_chain_timeout $long; proxy_buffering off;",
     GET => { a => 500, b => $late },
     'a 500 +0, b 200, success of 2'],

    ['nor the reply of a last failure',
     "retry_chain a; retry_chain_success 201; retry_chain_timeout $long;",
     GET => { a => $late }, 'a 200, exhausted of 1'],

    ['a run that is fast enough does not notice its deadline',
     "$two retry_chain_timeout 9s;", GET => { a => 500 },
     'a 500 +0, b 200, success of 2'],

    # timeout= of a step

    ['timeout= of a step ends its attempt, the next step is tried',
     "retry_chain a timeout=$short; retry_chain b;", GET => $hang, $next],

    ['timeout= of a step covers the connection',
     "retry_chain stuck timeout=$short; retry_chain b;", GET => {},
     'stuck timeout 504 +0, b 200, success of 2'],

    ['timeout= of a step covers sending the body',
     "retry_chain silent timeout=$short; retry_chain \@c;", PUT => {},
     'silent timeout 504 +0, @c 200, success of 2', body => $put],

    ['timeout= of a step covers resolving its name',
     "retry_chain silent stuck timeout=$short;", GET => {},
     'silent timeout 504 +0, stuck timeout 504, exhausted of 2',
     pass => $resolve],

    ['timeout= is a limit of each attempt, and shared by the steps of its '
     . 'directive',
     "retry_chain a b timeout=$short attempts=2;",
     GET => { a => 'hang | hang', b => 'hang' },
     'a timeout 504 +0, a timeout 504 +0, b timeout 504 +0, b 200, '
     . 'success of 4'],

    ['timeout= of the last step ends the run with 504',
     "retry_chain a; retry_chain b timeout=$short;",
     GET => { a => 429, b => 'hang' },
     'a 429 +0, b timeout 504, exhausted of 2'],

    ['timeout=off is the default of a step',
     "retry_chain a timeout=off; retry_chain b; proxy_read_timeout $short;",
     GET => $hang, $next],

    ['timeout= does not cut a reply whose header was relayed',
     "retry_chain a b timeout=$long;", GET => { a => $late },
     'a 200, success'],

    ['the shorter of timeout= and the deadline counts, here timeout=',
     "retry_chain a b timeout=$short; retry_chain_timeout 10s;",
     GET => $hang, $next],

    ['the shorter of timeout= and the deadline counts, here the deadline',
     "retry_chain a b timeout=10s; $cut", GET => $hang,
     'a timeout 504, deadline of 2'],

    ['the wait of the next step follows a timeout',
     "retry_chain a timeout=$short; retry_chain b wait=20ms;", GET => $hang,
     'a timeout 504 +20, b 200, success of 2'],

    ['timeout= does not let nginx itself try another server of the group',
     "retry_chain two timeout=$short; retry_chain c;", GET => $hang,
     'two timeout 504 +0, c 200, success of 2'],

    ['timeout= of an @location step',
     "retry_chain \@c timeout=$short; retry_chain b;", GET => { c => 'hang' },
     '@c timeout 504 +0, b 200, success of 2'],
], http => 'upstream two { server unix:' . ways_dir() . '/a;'
           . 'server unix:' . ways_dir() . '/b; }',
   server => <<'EOC');
    location = /sorry { return 200 "sorry\n"; }
    location @c { proxy_pass http://c; }
EOC
