#!/usr/bin/perl

# Limits of upstreams: what a vendor says about the time of the next call binds
# the requests that come after it, and they wait, go elsewhere or fail without a
# call.  Cases that wait for a limit to end are begun first and finished
# together.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Select;
use JSON::PP qw(decode_json);
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);

use Slack qw(stretch);
use Ways;
use Ways::H2;
use Ways::Limits;
use Ways::Nginx;


my $curl = (`curl --version 2>/dev/null` // '') =~ /HTTP2/
           && Ways::Nginx::has('http_v2_module');

# a second is a second, also where all is slow: what has to be done within some
# is given more of them

my $k = stretch();


# ---- the places -------------------------------------------------------------

# what a reply says, and for how long its way is limited; 0: not at all

my $for = 90;

my @hints = (
    ['429, Retry-After', "429 / Retry-After: $for", $for],
    ['503, Retry-After', "503 / Retry-After: $for", $for],
    ['an IMF date', sub { '429 / Retry-After: ' . date('imf') }, $for],
    ['an RFC 850 date', sub { '429 / Retry-After: ' . date('rfc850') }, $for],
    ['an asctime date', sub { '429 / Retry-After: ' . date('asctime') }, $for],
    ['a date that is over',
     '503 / Retry-After: Sun, 06 Nov 1994 08:49:37 GMT', 0],
    ['RateLimit, nothing remains', "200 / RateLimit: \"d\";r=0;t=$for", $for],
    ['RateLimit of draft 07',
     "200 / RateLimit: limit=9, remaining=0, reset=$for", $for],
    ['RateLimit in two lines',
     "200 / RateLimit: \"d\";r=3;t=10 / RateLimit: \"e\";r=0;t=$for", $for],
    ['RateLimit, some remain', "200 / RateLimit: \"d\";r=1;t=$for", 0],
    ['429, RateLimit, some remain', "429 / RateLimit: \"d\";r=1;t=$for", $for],
    ['X-RateLimit, seconds',
     "200 / X-RateLimit-Remaining: 0 / X-RateLimit-Reset: $for", $for],
    ['X-RateLimit, epoch seconds',
     sub { '200 / X-RateLimit-Remaining: 0 / X-RateLimit-Reset: '
           . int(time() + $for) }, $for],
    ['X-RateLimit, epoch milliseconds',
     sub { '200 / X-RateLimit-Remaining: 0 / X-RateLimit-Reset: '
           . int(1000 * (time() + $for)) }, $for],
    ['X-RateLimit, some remain',
     "200 / X-RateLimit-Remaining: 1 / X-RateLimit-Reset: $for", 0],
    ['X-RateLimit without a time', '200 / X-RateLimit-Remaining: 0', 0],
    ['RateLimit-Reset',
     "200 / RateLimit-Remaining: 0 / RateLimit-Reset: $for", $for],
    ['429, X-RateLimit-Reset alone', "429 / X-RateLimit-Reset: $for", $for],
    ['Retry-After before RateLimit',
     "429 / RateLimit: \"d\";r=0;t=9 / Retry-After: $for", $for],
    ['a malformed Retry-After before RateLimit',
     "429 / RateLimit: \"d\";r=0;t=$for / Retry-After: 9x", $for],
    ['Retry-After of a success', "200 / Retry-After: $for", 0],
    ['Retry-After of another failure', "500 / Retry-After: $for", 0],
    ['503 alone', '503', 0],
    (map { ["Retry-After: $_", "503 / Retry-After: $_", 0] }
         "${for}s", "-$for", "$for.5", '0', 'soon', '1e3', '0x5',
         'Sun, 31 Feb 2094 08:49:37 GMT', 'Sun, 06 Nov 2094 08:49:37',
         'Sun, 06 Nov 2094 08:49:37 CET', 'Sun, 06 Nov 2094'),
    (map { ["RateLimit: $_", "200 / RateLimit: $_", 0] }
         'r=0;t=', '"d";r=0;t=x', '"d;r=0;t=90', '"d";r=0;t=90,'),
    (map { ["X-RateLimit-Reset: $_",
            "200 / X-RateLimit-Remaining: 0 / X-RateLimit-Reset: $_", 0] }
         'soon', '-90', '9 0', '1000000001'),
);

place("hint$_", 'retry_chain a b; retry_chain_log_level info;')
    for 0 .. $#hints;

place('hidden', 'proxy_hide_header Retry-After; retry_chain a b;');

place('off', 'retry_chain a b; retry_chain_retry_after off;');
place('cap', 'retry_chain a b; retry_chain_retry_after cap=20s;');
place('max', 'retry_chain a; retry_chain_retry_after max=20s;'
             . 'retry_chain_retry http_429 attempts=3 interval=0;');
place('chain', 'retry_chain a b c; retry_chain_retry_after scope=chain;'
               . 'retry_chain_timeout 20s;');
place('double', 'retry_chain a; retry_chain_retry_after default=100ms max=1s;'
                . 'retry_chain_retry http_429 attempts=6 interval=0;');
place('just', 'retry_chain a; retry_chain_retry_after default=200ms max=200ms;'
              . 'retry_chain_retry http_429 attempts=2 interval=0;');
place('crowd', 'retry_chain a; retry_chain_retry_after default=5s;'
               . 'retry_chain_limited fail;');
place('alone', 'retry_chain a; retry_chain_retry http_429 interval=10ms;',
      zone => '');

place('fail', 'retry_chain a b; retry_chain_limited fail;');
place('fail/next', 'retry_chain a b; retry_chain_limited next;');
place('fail/wait', 'retry_chain a b; retry_chain_timeout 20s;');
place('fail/page', 'retry_chain a b; retry_chain_limited fail;'
                   . 'error_page 429 =420 /page;');
place('fail/free', 'retry_chain a c; retry_chain_limited fail;');
place('again', 'retry_chain a; retry_chain_limited next;'
               . 'retry_chain_retry http_429 interval=10ms;');
place('last', 'retry_chain a b; proxy_hide_header X-Way;');

place('fill', 'retry_chain a; proxy_cache c; proxy_cache_key $arg_key;'
              . 'proxy_cache_valid 1h;');
place('store', 'retry_chain a; proxy_cache c; proxy_cache_key $arg_key;'
               . 'proxy_cache_valid 1h;');
place('cache', 'retry_chain a rate=3r/m;'
               . 'proxy_cache c; proxy_cache_key $arg_key;'
               . 'proxy_cache_valid 1h;');
place('fresh', 'retry_chain a rate=3r/m;'
               . 'proxy_cache c; proxy_cache_key $arg_key;'
               . 'proxy_cache_valid 10m; proxy_cache_use_stale updating;'
               . 'proxy_cache_background_update on;');
place('refuse', 'retry_chain refused rate=3r/m; retry_chain b;');
place('broken', 'retry_chain single rate=3r/m; retry_chain b;');
place('group', 'retry_chain group rate=3r/m; proxy_next_upstream http_500;');
place('resent', 'retry_chain a rate=3r/m; retry_chain_limited next;');
place('static', 'retry_chain @last rate=3r/m;');
place('gone', 'retry_chain a rate=3r/m; retry_chain_timeout 1h;');
place('quit', 'retry_chain a; retry_chain b rate=3r/m; retry_chain_timeout 1h;');

place('back', 'retry_chain a b;');
place('line', 'retry_chain b v; retry_chain_retry_after default=10ms;');
place('soon', 'retry_chain a b; retry_chain_retry_after max='
              . 1500 * $k . 'ms;');
place('full', 'retry_chain a; retry_chain_max_waiting 2;');
place('full/wait', 'retry_chain c; retry_chain d wait=10ms;'
                   . 'retry_chain_max_waiting 2;');
place('full/hand', 'retry_chain b a; retry_chain_max_waiting 0;');
place('leave', 'retry_chain a; retry_chain_max_waiting 1;');
place('full/zero', 'retry_chain a; retry_chain_max_waiting 0;');
place($_, 'retry_chain c; retry_chain d wait=' . 700 * $k . 'ms;'
          . 'retry_chain_max_waiting 1;', /alone/ ? (zone => '') : ())
    for qw(waits waits/alone);

{
    my $pace = 'rate=' . int(60 / $k) . 'r/m';
    my $timeout = 'retry_chain_timeout ' . 10 * $k . 's;';

    place('lost', "retry_chain b; retry_chain a $pace; $timeout");
    place('lost/first', "retry_chain a $pace; $timeout");
    place('lost/else', "retry_chain a $pace; retry_chain d; $timeout");
    place('lost/slow', "retry_chain a $pace;");
    place('lost/d', 'retry_chain d;');
}

{
    my $pace = 'rate=' . int(120 / $k) . 'r/m';
    my $timeout = 'retry_chain_timeout ' . 1500 * $k . 'ms;';

    place('drain', "retry_chain b; retry_chain a $pace; $timeout");
    place('drain/a', "retry_chain a $pace; $timeout");
}

place('post', 'retry_chain a b;');
place('h2', 'retry_chain a b; retry_chain_retry_after default=10ms;');
place('stream', 'retry_chain v; retry_chain_retry_after default=10ms;');
place('busy', 'retry_chain a rate=' . int(150 / $k) . 'r/m;'
              . 'retry_chain_retry http_503 interval=' . 600 * $k . 'ms;');
place('behind', 'retry_chain a; retry_chain_retry_after default=5s;');
place('behind/short', 'retry_chain a; retry_chain_retry_after default=5s;'
                      . 'retry_chain_timeout ' . 1500 * $k . 'ms;');
place('hang', "retry_chain a; retry_chain_retry_after default=${k}s;"
              . 'retry_chain_timeout ' . 1500 * $k . 'ms;');
place('hang/first', "retry_chain a; retry_chain_retry_after default=${k}s;"
                    . 'retry_chain_timeout ' . 1900 * $k . 'ms;');

# the steps are those of the server
place('near', "# retry_chain d;\nretry_chain_retry_after default=1s;");
place('far', "# retry_chain d;\nretry_chain_retry_after default=20s;");
place('both', "# retry_chain d;\nretry_chain_retry_after default=1s;");
place('both/far', "# retry_chain d;\nretry_chain_retry_after default=20s;");

place('turns', 'retry_chain a; retry_chain b wait=20ms;'
               . 'retry_chain c wait=40ms; retry_chain_start rotate;');
place('even', 'retry_chain a b c @last; retry_chain_start rotate;');
place('even/alone', 'retry_chain a b c @last; retry_chain_start rotate;',
      zone => '');
place('skips', 'retry_chain a; retry_chain b wait=20ms;'
               . 'retry_chain c wait=40ms;');

ways_upstreams();

my $dir = ways_dir();

my $n = limits(http => <<"EOC", server => <<'EOC');
proxy_cache_path %%DIR%%/cache keys_zone=c:1m;

upstream single { server unix:$dir/a; }
upstream group {
    server unix:$dir/a weight=1000;
    server unix:$dir/b;
}

# one in nginx itself, for the order in which calls are made

upstream v { server unix:%%DIR%%/v; }
log_format vendor '\$request_uri';

server {
    listen unix:%%DIR%%/v;
    access_log %%DIR%%/logs/vendor.log vendor;
    location / {
        if (\$http_say_v) {
            add_header Retry-After \$http_say_v always;
            return 429;
        }
        return 200 "v\n";
    }
}
EOC
retry_chain d;
location = /page { internal; return 420 "page\n"; }
location @last { return 200 "last\n"; }
EOC

# cases that wait: what is to do when limits of a second are over

my @finish;


# ---- what a reply says ------------------------------------------------------

for my $i (0 .. $#hints) {
    my ($name, $said, $limit) = @{ $hints[$i] };

    $said = $said->() if ref $said;

    my $first = ask("/hint$i/1", a => $said);

    is($first->{calls}, $said =~ /^200/ ? 'a' : 'a b', "$name: the first call");

    if ($limit) {
        # what is a date, or epoch seconds, has been made a whole second

        is(lasts("hint$i", 'a', $limit, $said =~ /:\d\d |\d{10}/ ? 1 : 0),
           'yes', "$name: limited");
        is(ask("/hint$i/2")->{calls}, 'b', "$name: the way is not called");
        next;
    }

    is(left("hint$i", 'a'), 0, "$name: not limited");
    is(ask("/hint$i/2")->{calls}, 'a', "$name: the way is called");
}

ask('/hidden/1', a => "429 / Retry-After: $for");
is(ask('/hidden/2')->{calls}, 'b', 'a hint that the client does not see');

is(ask('/off/1', a => "429 / Retry-After: $for")->{calls}, 'a b',
   'retry_chain_retry_after off');
is(ask('/off/2')->{calls}, 'a', 'a hint says nothing then');
is(left('off', 'a'), 0, 'nor does a 429');

is(ask('/cap/1', a => '429 / Retry-After: 3600', b => '429 / Retry-After: 7200')
   ->{said}, '429 exhausted [a, b] [429, 429] [first, step]', 'cap=');
is(join(' ', map { lasts('cap', $_, 20) } qw(a b)), 'yes yes',
   'both ways are limited for so long');
is(join("\n", $n->log() =~ /(retry chain cut .*?) while/g), 'retry chain cut '
   . 'what "a" said about the time of the next call to 20000 ms',
   'and one warning');

{
    my $x = ask('/max/1', a => '429 / Retry-After: 60');

    is("$x->{said} $x->{calls}", '429 limited [a] [429] [first] a',
       'max=: the run does not wait for it');
    is($x->{after}, 60, 'the answer says when');
    is(lasts('max', 'a', 60), 'yes', 'the way is limited all the same');

    $x = ask('/max/2');
    is("$x->{said} $x->{calls}", '429 limited [] [] [] ',
       'the next run does not wait either');
}

{
    my $x = ask('/chain/1', a => "503 / Retry-After: $for / X-A: 1");

    is("$x->{said} $x->{calls}", '503 limited [a] [503] [first] a',
       'scope=chain');
    is(join(' ', map { lasts('chain', $_, $for) } qw(a b c)), 'yes yes yes',
       'all ways are limited');
    is($x->{body}, "a 503 GET 0:d41d8cd9\n", 'the reply at hand is the answer');
    is(ask('/chain/2')->{said}, '429 limited [] [] []', 'the next request');
}


# ---- a 429 that says nothing ------------------------------------------------

{
    my $double = later('/double/1', a => '429 | 429 | 429 | 429 | 200');

    push @finish, sub {
        is(now($double)->{said},
           '200 success [a, a, a, a, a] [429, 429, 429, 429, 200] '
           . '[first, retry_after, retry_after, retry_after, retry_after]',
           '429 without a hint');

        my @delays = delays('/double/1');

        is(join(' ', map { between($delays[$_], 100 * 2 ** $_ - 1,
                                   100 * 2 ** $_ + 110) } 0 .. 3),
           'yes yes yes yes', 'default= doubles') or diag("@delays");

      {
            is(join(' ', map { $_ - $_ % 10 } @delays), '100 200 400 800',
               'exactly');
        }

        is(ask('/double/2', a => '429 | 200')->{calls}, 'a a', 'once more');
        cmp_ok((delays('/double/2'))[0], '<=', 210, 'a success sets it back');
    };
}

{
    is(ask('/just/1', a => '429 | 200')->{said},
       '200 success [a, a] [429, 200] [first, retry_after]',
       'a hint of just max= is waited for');
}

{
    # four calls under way when the vendor begins to refuse

    my @crowd = map { later("/crowd/$_", a => 'hold 429') } 1 .. 4;

    ok($n->wait_for(sub { 4 == grep { calls("/crowd/$_") eq 'a' } 1 .. 4 }),
       'four calls');
    ways_go();
    now($_) for @crowd;
    is(lasts('crowd', 'a', 5), 'yes',
       'calls that were under way do not double it');
}


# ---- all ways are limited ---------------------------------------------------

# what is between calls after a limit, also where another location of the zone
# says otherwise

for my $case (['near', 1], ['far', 20], ['both/far', 20]) {
    my ($place, $spacing) = @$case;
    my ($zone) = split '/', $place;

    ask("/$place/1", d => '429 / Retry-After: 30');

    my $before = free($zone, 'd');
    my ($one) = parked(["/$place/2"]);

    is(sprintf('%.1f', free($zone, 'd') - $before), "$spacing.0",
       "$place: default=");
    close $one->{s};
}

{
    my $x = ask('/fail/1', a => "429 / Retry-After: $for",
                b => '429 / Retry-After: 30');

    is("$x->{said} $x->{calls}",
       '429 exhausted [a, b] [429, 429] [first, step] a b', 'both are limited');
    is(lasts('fail', 'b', 30), 'yes', 'the second one for 30 seconds');

    my $free = free('fail', 'b');

    $x = ask('/fail/2');
    is("$x->{said} $x->{calls}", '429 limited [] [] [] ', 'fail');
    like($x->{after}, qr/^(?:30|2\d)$/, 'Retry-After is that of the soonest');
    like($x->{body}, qr/429 Too Many Requests/, 'the page of nginx');
    cmp_ok(abs($x->{until} - $free), '<', 0.05, '$retry_chain_limited_until');
    like($x->{until}, qr/^\d{10}\.\d{3}$/, 'in seconds with milliseconds');

    $x = ask('/fail/page/1');
    is("$x->{status} $x->{body}", "420 page\n", 'error_page of the location');
    like($x->{after}, qr/^(?:30|2\d)$/, 'with Retry-After');

    $x = ask('/fail/wait/1');
    is("$x->{said} $x->{calls}", '429 limited [] [] [] ',
       'wait: no slot before the deadline, at once');
    like($x->{after}, qr/^(?:30|2\d)$/, 'Retry-After');
    cmp_ok($x->{time}, '<', 15, 'at once');

    $x = ask('/fail/next/1');
    is("$x->{said} $x->{calls}", '200 success [b] [200] [first] b',
       'next: the soonest, at once');
    is(ask('/fail/next/2', b => '500')->{calls}, 'b a', 'then the other one');

    $x = ask('/fail/free/1');
    is("$x->{said} $x->{calls}", '200 success [c] [200] [first] c',
       'a third one is free');
    is($x->{until}, '', 'no $retry_chain_limited_until then');

    my $trail = trail('/fail/2');

    is_deeply([@$trail{qw(result attempts)}], ['limited', []],
              '$retry_chain_trail of no attempt');
}

{
    my $x = ask('/last/1', a => '429 / Retry-After: 30',
                b => "429 / Retry-After: $for / X-B: yes");

    is($x->{said}, '429 exhausted [a, b] [429, 429] [first, step]',
       'the last failure is the answer');
    like($x->{after}, qr/^(?:30|2\d)$/, 'with the soonest Retry-After, once');
    is("@{ $x->{h}{'x-b'} } $x->{body}", "yes b 429 GET 0:d41d8cd9\n",
       'as it came otherwise');

    $x = ask('/fail/3', -method => 'HEAD');
    is("$x->{said} $x->{body}", '429 limited [] [] [] ', 'HEAD');
}

{
    my $x = ask('/again/1', a => '429 / Retry-After: 30 | '
                                 . '429 / Retry-After: 30 | 200');

    is($x->{said}, '200 success [a, a, a] [429, 429, 200] '
       . '[first, backoff, backoff]', 'next: a rule for the same step');
}


# ---- what is not a call -----------------------------------------------------

ask('/fill/1?key=1', a => "200 / X-RateLimit-Remaining: 0 / "
    . "X-RateLimit-Reset: $for");
is(lasts('fill', 'a', $for), 'yes', 'a reply that limits and is cached');

{
    my $x = ask('/cache/1?key=1');

    is("$x->{said} $x->{calls}", '200 success [a] [200] [first] ',
       'a cache hit');
    is(join(' ', @{ $x->{h}{'x-ratelimit-remaining'} }), '0',
       'with the hint in it');
    is(left('cache', 'a'), 0, 'does not count, and gives its ticket back');

    $x = ask('/cache/2?key=2');
    is($x->{calls}, 'a', 'a call');
    is(lasts('cache', 'a', 20), 'yes', 'counts');
}

# an entry of the cache that will be stale after two seconds

ask('/store/1?key=3', a => '200 / Cache-Control: max-age=1');

my $filled = time();

is(ask('/refuse/1')->{said},
   '200 success [refused, b] [502, 200] [first, step]',
   'a way that refuses the connection');
is(left('refuse', 'refused'), 0, 'a failed connect gives the ticket back');

is(ask('/broken/1', a => 'close')->{calls}, 'a b',
   'a way that closes the connection');
is(lasts('broken', 'single', 20), 'yes', 'that was a call');

is(ask('/group/1', a => '500')->{calls}, 'a b', 'two calls inside an attempt');
is(lasts('group', 'group', 40), 'yes', 'are charged both');

is(ask('/resent/1')->{calls}, 'a', 'a kept connection');

my $resent = free('resent', 'a');

is(ask('/resent/2', a => 'close | 200')->{calls}, 'a a',
   'that is closed when it is used again');
is(sprintf('%.1f', free('resent', 'a') - $resent), '40.0',
   'both calls are charged');

is(ask('/static/1')->{said}, '200 success [@last] [200] [first]',
   'an @location that calls nobody');
is(ask('/static/2')->{said}, '200 success [@last] [200] [first]',
   'does not take a ticket');

{
    ask('/gone/1');

    my $free = free('gone', 'a');
    my $tickets = sub {
        return int((free('gone', 'a') - $free) / 20 * 10 + 0.5) / 10;
    };
    my ($gone) = parked(['/gone/2']);

    is($tickets->(), 1, 'a client that waits has a ticket');
    close $gone->{s};
    ok($n->wait_for(sub { line('/gone/2') }), 'it leaves');
    is(line('/gone/2'), '499 aborted [] [] [] []', 'the log');
    is($tickets->(), 0, 'the ticket is given back');

    # one of three: those behind it move up

    my @three = parked(map { ["/gone/$_"] } 3 .. 5);

    is($tickets->(), 3, 'three wait');

    close $three[1]{s};
    ok($n->wait_for(sub { line('/gone/4') }), 'one in the middle leaves');
    is($tickets->(), 2, 'its ticket is given back');
    close $three[2]{s};
    ok($n->wait_for(sub { line('/gone/5') }), 'the last one leaves');
    is($tickets->(), 1, 'its ticket is given back');
    close $three[0]{s};
    is(calls("/gone/$_"), '', "no call for $_") for 2 .. 5;
}

SKIP: {
    skip 'no HTTP/2', 3 if !Ways::Nginx::has('http_v2_module');

    ok($n->wait_for(sub { line('/gone/3') }), 'the first one left, too');

    my $before = free('gone', 'a');
    my $c = Ways::H2->connect($n);
    my $id = $c->ask(GET => '/gone/6');

    ok($c->until(sub { free('gone', 'a') > $before + 10 }),
       'a client of HTTP/2 has a ticket');
    $c->reset($id);
    ok($c->until(sub { free('gone', 'a') < $before + 10 }),
       'a stream that is reset gives it back');
}


# ---- runs that wait ---------------------------------------------------------

# a step that was skipped is not used up

{
    ask('/back/1', a => "429 / Retry-After: $k");

    my ($back) = parked(['/back/2', b => '500']);

    push @finish, sub {
        my $x = now($back);

        is("$x->{said} $x->{calls}",
           '200 success [b, a] [500, 200] [first, retry_after] b a',
           'a run comes back to a step that it has skipped');
        my ($first, $second) = split /, /, $x->{waits};

        is($first, '0.000', 'the log: no wait at first');
        is(between($second, 0, $k + 0.1), 'yes', 'then one');
        is($x->{until}, '', 'nothing is limited any more');

        my $trail = trail('/back/2');
        my $waited = $trail->{attempts}[1]{wait};

        delete @$_{qw(time address bytes)} for @{ $trail->{attempts} };
        is_deeply($trail->{attempts},
                  [{ step => 'b', outcome => 'status', status => 500,
                     wait => 0, reason => 'first', verdict => 'next' },
                   { step => 'a', outcome => 'status', status => 200,
                     wait => $waited, reason => 'retry_after',
                     verdict => 'success' }],
                  '$retry_chain_trail');
        is(sprintf('0.000, %.3f', $waited), $x->{waits}, 'the same wait');
    };
}

# those who wait leave in the order in which they came, one of them first

{
    ask('/line/1', b => '503 / Retry-After: 60', v => $k);

    my @line = parked(map { ["/line/$_"] } 2 .. 8);

    push @finish, sub {
        is(join(' ', map { now($_)->{said} } @line),
           join(' ', ('200 success [v] [200] [retry_after]') x 7),
           'all that wait are answered, by the way that is free first');
        is(join('', $n->slurp('logs/vendor.log') =~ m{^/line/(.*\n)}gm),
           join('', map { "$_\n" } 1 .. 8), 'in order of arrival');
    };
}

# a limit that is too long to wait for, until it is not

{
    ask('/soon/1', a => '429 / Retry-After: ' . 2 * $k,
        b => '429 / Retry-After: 60');
    is(ask('/soon/2')->{said}, '429 limited [] [] []', 'max=: too long');

    my $left = free('soon', 'a') - 1.4 * $k - time();

    sleep $left if $left > 0;
    is(ask('/soon/3')->{said}, '200 success [a] [200] [retry_after]',
       'max=: not too long any more');
}

# no more than so many wait

{
    ask('/full/1', a => "429 / Retry-After: $k");

    my @two = parked(['/full/2'], ['/full/3']);
    my $x = ask('/full/4');

    is("$x->{said} $x->{calls}", '503 overflow [] [] [] ',
       'no more than retry_chain_max_waiting wait');
    is(between($x->{after}, 0, $k + 2), 'yes', 'Retry-After');
    like($x->{body}, qr/503 Service Temporarily Unavailable/,
         'the page of nginx');

    $x = ask('/full/wait/1', c => '500');
    is("$x->{said} $x->{calls}", '500 overflow [c] [500] [first] c',
       'nor for wait=: the reply at hand is the answer');
    is($x->{after}, '', 'without Retry-After, ways are free');

    $x = ask('/full/zero/1');
    is($x->{said}, '503 overflow [] [] []', 'retry_chain_max_waiting 0');

    $x = ask('/full/hand/1', b => '429 / Retry-After: 60');
    is("$x->{said} $x->{calls}", '429 overflow [b] [429] [first] b',
       'with a reply at hand');
    is(between($x->{after}, 0, $k + 2), 'yes', 'and the soonest Retry-After');

    push @finish, sub {
        is(join(' ', map { now($_)->{said} } @two),
           join(' ', ('200 success [a] [200] [retry_after]') x 2),
           'those that wait are served');
        is(ask('/full/wait/2', c => '500')->{calls}, 'c d',
           'others may wait then');
    };
}

{
    ask('/leave/1', a => '429 / Retry-After: 30');

    my ($one) = parked(['/leave/2']);

    is(ask('/leave/3')->{said}, '503 overflow [] [] []', 'one may wait');
    close $one->{s};
    ok($n->wait_for(sub { line('/leave/2') }), 'it leaves');

    ($one) = parked(['/leave/4']);
    is(ask('/leave/5')->{said}, '503 overflow [] [] []', 'another one waits');
    is(line('/leave/4'), undef, 'it does');
    close $one->{s};
}

for my $place (qw(waits waits/alone)) {
    my ($one) = parked(["/$place/1", c => '500']);

    ok($n->wait_for(sub { calls("/$place/1") eq 'c' }), "$place: one waits");

    my $x = ask("/$place/2", c => '503 / X-C: 1');

    is("$x->{said} $x->{calls} $x->{body}",
       "503 overflow [c] [503] [first] c c 503 GET 0:d41d8cd9\n",
       "$place: another one may not");

    push @finish, sub {
        is(now($one)->{said}, '200 success [c, d] [500, 200] [first, step]',
           "$place: the first one goes on");
    };
}

# a ticket that a hint moves beyond the deadline of its run

{
    my @after = map { $_ * $k } 20, 30;

    ask('/lost/d/1', d => '429 / Retry-After: ' . 2 * $k);

    my $slow = later('/lost/slow/1', a => "hold 429 / Retry-After: $after[1]");

    ok($n->wait_for(sub { calls('/lost/slow/1') eq 'a' }), 'a call');

    my @lost = parked(['/lost/else/1'],
                      ['/lost/1', b => "503 / Retry-After: $after[0]"],
                      ['/lost/first/1']);

    ok($n->wait_for(sub { delays('/lost/1') }), 'all of them wait');

    my $start = time();

    ways_go();

    push @finish, sub {
        is(now($slow)->{said}, '429 exhausted [a] [429] [first]',
           'that is refused while others wait');

        my @x = map { now($_) } @lost;

        is("$x[0]{said} $x[0]{calls}", '200 success [d] [200] [retry_after] d',
           'a wait is lost: another upstream is free later');

        is("$x[1]{said} $x[1]{calls}", '503 limited [b] [503] [first] b',
           'or no one is before the deadline: the last status');
        like($x[1]{body}, qr/503 Service Temporarily Unavailable/,
             'with the page of nginx');
        is(between($x[1]{after}, 0, $after[0]), 'yes', 'and Retry-After');
        is($x[1]{h}{'x-way'}, undef, 'nothing of the reply is left');
        cmp_ok(trail('/lost/1')->{time}, '<', 5 * $k, 'before the deadline');

        is("$x[2]{said} $x[2]{calls}", '429 limited [] [] [] ',
           'without an attempt 429');
        cmp_ok($x[2]{after}, '>', $after[0], 'Retry-After');

        cmp_ok(free('lost', 'a'), '<', $start + $after[1] + 2.3 * $k,
               'tickets of lost runs are given back');
    };
}

# the same while the reply that has failed is read to its end

{
    my $slow = later('/drain/a/1',
                     a => 'hold 429 / Retry-After: ' . 30 * $k);

    ok($n->wait_for(sub { calls('/drain/a/1') eq 'a' }), 'a call');

    my ($drain, $other) = parked(['/drain/1', b => 'part=503'], ['/drain/a/2']);

    ok($n->wait_for(sub { delays('/drain/1') }), 'a reply without an end');
    ways_go();

    push @finish, sub {
        now($slow);
        is(now($other)->{said}, '429 limited [] [] []', 'a wait is lost');

        is(now($drain)->{said}, '503 limited [b] [503] [first]',
           'another one, too');
        close $drain->{s};
    };
}

# a client leaves meanwhile: the place that was reserved is given back

{
    ask('/quit/1', a => '503');

    my $free = free('quit', 'b');
    my $x = later('/quit/2', a => 'part=503');
    my $moved = sub { free('quit', 'b') - $free > 10 };

    ok($n->wait_for($moved), 'a place is reserved while a reply has no end');
    close $x->{s};
    ok($n->wait_for(sub { !$moved->() }), 'the client leaves, it is free again');
    is(calls('/quit/2'), 'a', 'and was not used');
}

# bodies

{
    my $body = lines(40000);

    ask('/post/1', a => "429 / Retry-After: $k", b => "429 / Retry-After: $k");

    my ($post) = parked(['/post/2', -method => 'POST', -body => $body,
                         a => '429']);

    push @finish, sub {
        my $x = now($post);

        # the other way is free at once, or a millisecond later

        is("$x->{said} $x->{body}" =~ s/(?:step|retry_after|rate)\] /.../r,
           '200 success [a, b] [429, 200] [retry_after, ...b 200 POST '
           . sum($body) . "\n", 'a POST that waits');
        is(join(' ', ways_calls() =~ m{POST /post/2 (\S+)}g),
           join(' ', (sum($body)) x 2), 'its body is sent again');
    };
}

# HTTP/2

SKIP: {
    skip 'no curl with HTTP/2', 1 if !$curl;

    ask('/h2/1', a => "429 / Retry-After: $k", b => "429 / Retry-After: $k");

    my @curl = map {
        open my $out, '-|', 'curl', '-s', '--http2-prior-knowledge',
             '--max-time', 60, '-w', ' %{http_code} %{http_version}',
             '--unix-socket', "$n->{dir}/h2", "http://a/h2/$_"
            or die "curl: $!";
        $out;
    } 2 .. 4;

    push @finish, sub {
        my $out = join '', map { my $out = $_; <$out> . <$out> . "\n" } @curl;

        like($out, qr/\A(?:[ab] 200 GET 0:d41d8cd9\n 200 2\n){3}\z/,
           'clients of HTTP/2 that wait');
        is(join(' ', map { (line("/h2/$_") // '') =~ /retry_after/ ? 1 : 0 }
                         2 .. 4), '1 1 1', 'they did wait');
    };

    # many on one connection, which come in order

    ask('/stream/1', v => $k);

    my $c = Ways::H2->connect($n);
    my @id = map { $c->ask(GET => "/stream/$_") } 2 .. 40;

    $c->flush();

    push @finish, sub {
        ok($c->wait_all(@id), 'streams that wait');
        is(join(' ', map { $c->outline($_) } @id),
           join(' ', ('200 v complete') x 39), 'are answered');
        is(join('', $n->slurp('logs/vendor.log') =~ m{^/stream/(.*\n)}gm),
           join('', map { "$_\n" } 1 .. 40), 'in order');
    };
}

# a hint without a zone acts within the run

{
    my $alone = later('/alone/1', a => '429 / Retry-After: 1 | 200');

    push @finish, sub {
        is(now($alone)->{said}, '200 success [a, a] [429, 200] '
           . '[first, retry_after]', 'without a zone the run obeys a hint');
    };
}

ok($n->wait_for(sub { calls('/alone/1') eq 'a' }), 'a hint without a zone');
is(ask('/alone/2')->{said}, '200 success [a] [200] [first]',
   'others do not know of it');

# others may take the slot during a backoff: the retry is decided on after 400
# ms, or that times the slack, the slots of 800 and 1200 are taken when it comes
# after 1000

{
    ask('/busy/1');

    my $busy = later('/busy/2', a => '503 | 200');

    ok($n->wait_for(sub { calls('/busy/2') eq 'a' }), 'a call that fails');

    my @others = parked(map { ["/busy/$_"] } 3, 4);

    push @finish, sub {
        is(join(' ', map { now($_)->{said} } @others),
           join(' ', ('200 success [a] [200] [rate]') x 2),
           'the others get its slot');

        like(now($busy)->{said}, qr/^200 success \[a, a\] \[503, 200\]/,
             'a retry whose slot was taken waits for another one');
    };
}


# ---- where a run begins -----------------------------------------------------

is(join(', ', map { ask("/turns/$_", a => '500', b => '500', c => '500')
                    ->{calls} } 1 .. 4), 'a b c, b c a, c a b, a b c',
   'rotate');
is(join(' | ', map { (line("/turns/$_") // '') =~ /\[([^\]]*)\]$/ ? $1 : '' }
                   1 .. 3), join(' | ', ('0.000, 0.020, 0.040') x 3),
   'waits belong to the position');

ask('/skips/1', a => "429 / Retry-After: $for");

{
    my $x = ask('/skips/2', b => '500');

    is("$x->{calls} $x->{waits}", 'b c 0.000, 0.020',
       'a step that is skipped is no position');
}

for my $place (qw(even even/alone)) {
    my @calls = map { ask("/$place/$_")->{calls} } 1 .. 9;

    is("@calls", 'a b c a b c a b c', "$place: the same for all");

    is(join(' | ', map { ask("/$place/$_", a => 500, b => 500, c => 500)
                         ->{run} =~ /\[(.*?)\]/ } 10 .. 12),
       'a, b, c, @last | b, c, a, @last | c, a, b, @last',
       "$place: the last resort stays where it is");
}


# ---- the end of waits -------------------------------------------------------

sleep 0.6;
$_->() for @finish;

# a stale reply, and an update in the background

{
    my $left = $filled + 2.1 - time();

    sleep $left if $left > 0;

    my $x = ask('/fresh/1?key=3');

    is($x->{said}, '200 success [a] [200] [first]', 'a stale reply');
    ok($n->wait_for(sub { calls('/fresh/1?key=3') eq 'a' }),
       'is updated in the background');
    is($x->{at} < $filled, 1, 'it is the one that was stored');

    is(lasts('fresh', 'a', 20), 'yes', 'that was a call');
}

# one that does not answer while it is tried: who waits behind it is told in
# time; a pace has been learned, so that all of them may expect to be served

{
    for (1 .. 4) {
        ask("/hang/0$_");
        ask("/behind/0$_");
        sleep 0.02;
    }

    ask('/hang/1', a => "429 / Retry-After: $k");
    ask('/behind/1', a => "429 / Retry-After: $k");

    my @hang = parked(['/hang/first/2', a => 'hang'], ['/hang/3'], ['/hang/4']);
    my @behind = parked(['/behind/2', a => 'hang'], ['/behind/3'],
                        ['/behind/short/4']);
    my @x = map { now($_) } @hang;

    is($x[0]{status}, 504, 'a call after a limit that is not answered');
    is(join(' ', map { "$x[$_]{status} $x[$_]{calls}" } 1, 2),
       '429  429 ', 'those behind it end at their deadline');

    like(now($behind[2])->{said},
         qr/^429 (?:limited|deadline) \[\] \[\] \[\]$/,
         'also one behind another one that may wait longer');
    close $_->{s} for @behind;
}

is($n->bad(), '', 'a clean log');

done_testing();


sub date {
    my ($form) = @_;
    return http_date($form, time() + $for);
}


sub between {
    my ($x, $from, $to) = @_;
    return $x > $from && $x <= $to ? 'yes' : $x;
}


# delays in the error log

sub delays {
    my ($uri) = @_;

    return $n->log() =~ m{retrying in (\d+) ms.*"GET \Q$uri\E }g;
}


# what $retry_chain_trail says of a request

sub trail {
    my ($uri) = @_;

    my $trail;

    $n->wait_for(sub { ($trail) = $n->access() =~ /^\Q$uri\E .*?(\{.*\})$/m });

    return decode_json($trail // '{}');
}


# what the access log says of a request, without the trail

sub line {
    my ($uri) = @_;

    return $n->access() =~ /^\Q$uri\E (.*?) \{/m ? $1 : undef;
}
