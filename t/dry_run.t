#!/usr/bin/perl

# retry_chain_dry_run: the location works as without a chain, the log says what
# the chain would have done, and limiters are left alone.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP qw(decode_json);
use Test::More;

use Ways;
use Ways::Limits;
use Ways::Nginx qw(shape);


my $dry = 'retry_chain_dry_run on;';

# a place, what its ways say, what the client gets, what the log says of it, and
# what is wrong with that

my @cases = (
    ['two', 'retry_chain a b;', ['500'], 500,
     'status 500, would retry at "b" in 0 ms'],
    ['two', '', ['200'], 200],
    ['two', '', ['close | close'], 502,
     'error 502, would retry at "b" in 0 ms'],
    ['one', 'retry_chain a;', ['429 / Retry-After: 30'], 429,
     'status 429, would end: exhausted'],
    ['stop', 'retry_chain a b; retry_chain_stop 404;', ['404'], 404,
     'status 404, would end: stopped'],
    ['wait', 'retry_chain a; retry_chain b wait=7s;', ['503'], 503,
     'status 503, would retry at "b" in 7000 ms'],
    ['deadline', 'retry_chain a; retry_chain b wait=7s;'
     . 'retry_chain_timeout 5s;', ['503'], 503,
     'status 503, would end: deadline'],
    ['rule', 'retry_chain a b; retry_chain_retry http_503 interval=3s;',
     ['503'], 503, 'status 503, would retry at "a" in 3000 ms'],
    ['post', 'retry_chain a b;', ['500', -method => 'POST', -body => 'x'], 500,
     'status 500, would end: unsafe'],
    ['post', '', ['429', -method => 'POST', -body => 'x'], 429,
     'status 429, would retry at "b" in 0 ms'],
    ['success', 'retry_chain a b; retry_chain_success 201;', ['200'], 200,
     'status 200, would retry at "b" in 0 ms'],
    ['refused', 'retry_chain refused b;', [], 502,
     'error 502, would retry at "b" in 0 ms'],
    ['hang', 'retry_chain a b; proxy_read_timeout 50ms;', ['hang'], 504,
     'timeout 504, would retry at "b" in 0 ms'],
    ['last', 'retry_chain a @last;', ['500'], 500,
     'status 500, would retry at "@last" in 0 ms'],
    ['hint', 'retry_chain a b; retry_chain_limited fail;'
     . 'retry_chain_retry http_429 interval=1s;', ['429 / Retry-After: 5'], 429,
     'status 429, would retry at "b" in 0 ms'],
    ['again', 'retry_chain a; retry_chain_retry http_429 interval=1s;',
     ['429 / Retry-After: 5'], 429, 'status 429, would retry at "a" in 5001 ms'],
    ['default', 'retry_chain a; retry_chain_retry http_429 interval=1s;'
     . 'retry_chain_retry_after default=3s;', ['429'], 429,
     'status 429, would retry at "a" in 3001 ms'],
    ['default', '', ['429'], 429, 'status 429, would retry at "a" in 3001 ms'],
    ['ignored', 'retry_chain a; retry_chain_retry http_429 interval=1s;'
     . 'retry_chain_retry_after off;', ['429'], 429,
     'status 429, would retry at "a" in 1000 ms'],
    ['room', 'retry_chain a; retry_chain b wait=7s; retry_chain_max_waiting 0;',
     ['500'], 500, 'status 500, would end: overflow'],
    ['budget0', 'retry_chain a b; retry_chain_budget 0% min=0;', ['500'], 500,
     'status 500, would end: budget'],
);

for my $case (@cases) {
    place($case->[0], "$dry $case->[1]") if $case->[1];
}

# as those, but without a chain

place('plain', 'retry_chain off;', zone => '',
      pass => 'set $way a; proxy_pass http://$way;');
place('chain', "$dry retry_chain a b;");

place('rate', "$dry retry_chain a rate=3r/m; retry_chain_limited fail;");
place('others', "$dry retry_chain a b; retry_chain_limited fail;");
place('others/real', 'retry_chain b a; retry_chain_limited fail;');
place('begin', "$dry retry_chain a b;");
place('begin/full', "$dry retry_chain a b; retry_chain_max_waiting 0;");
place('begin/real', 'retry_chain a b; retry_chain_limited fail;');
place('rotate', "$dry retry_chain a b; retry_chain_start rotate;");
place('budget', "$dry retry_chain a b; retry_chain_budget 0% min=6r/m;"
                . 'retry_chain_log_level info;');
place('budget/real', 'retry_chain a b; retry_chain_budget 0% min=6r/m;');
place('alone', "$dry retry_chain a b;", zone => '');
place('inherited', 'retry_chain a b; retry_chain_dry_run off;');

# what is in the cache, what the upstream says now, and what the log says

my $stale = 'X-Accel-Expires: @1';
my @post = (-method => 'POST', -body => 'x');

my @cached = (
    ['a stored failure says nothing of now', '429 / Retry-After: 5', [],
     'status 429, would retry at "a" in 1000 ms'],
    ['nor does a stale one', "404 / RateLimit: \"d\";r=0;t=7 / $stale",
     [a => '500'], 'status 404, would retry at "a" in 1000 ms'],
    ['a limit behind a stale failure', "404 / $stale",
     [a => '429 / Retry-After: 5'], 'status 404, would retry at "a" in 5001 ms'],
    ['a 304 that makes a failure fresh', "404 / ETag: \"v1\" / $stale",
     [a => '304 / RateLimit: "d";r=0;t=6'],
     'status 404, would retry at "a" in 6001 ms'],
    ['a limit behind a stale success', "200 / $stale",
     [a => '429 / Retry-After: 5']],
    ['a stored success that is a 304 for the client', '200 / ETag: "v1"',
     [-head => "If-None-Match: \"v1\"\r\n"]],
    ['a stale 429 behind a call that was made', "429 / $stale",
     [a => 'close | close', @post], 'status 429, would end: unsafe'],
    ['a stored 500 without a call', '500', [@post],
     'status 500, would retry at "a" in 1000 ms'],
);

my $cache = 'proxy_cache c; proxy_cache_key $arg_key; proxy_cache_revalidate on;'
            . 'proxy_cache_methods GET POST; proxy_cache_valid any 1h;'
            . 'proxy_cache_use_stale error http_429 http_500;';
my $rule = "$dry retry_chain a; retry_chain_success 200;"
           . 'retry_chain_retry http_404 http_429 http_500 interval=1s;';

place('cached', "$rule $cache");
place('cached/store', "retry_chain off; $cache",
      pass => 'set $way a; proxy_pass http://$way;');
place('cached/page', "$rule proxy_intercept_errors on; error_page 429 /stored;");
place('cached/else', "$rule proxy_intercept_errors on;"
                     . 'error_page 429 /proxied;');

my $n = limits(http => 'proxy_cache_path %%DIR%%/cache keys_zone=c:1m;',
               server => <<'EOC');
location @last { return 200; }
location = /stored {
    proxy_cache c;
    proxy_cache_key page;
    proxy_cache_valid any 1h;
    proxy_pass http://c;
}
location = /proxied { proxy_pass http://c; }
EOC


# ---- what the log says ------------------------------------------------------

my $i = 0;

for my $case (@cases) {
    my ($place, undef, $say, $status, $log) = @$case;
    my ($first, @rest) = @$say;
    my $uri = "/$place/" . ++$i;
    my %say = ((defined $first ? (a => $first) : ()), @rest);
    my $x = logged($uri, %say);
    my $name = "$place, " . ($first // 'refused');

    is("$x->{status} $x->{run}", "$status dry_run ["
       . ($place eq 'refused' ? 'refused' : 'a') . "] [$status] [first]",
       "$name: the answer");
    unlike($x->{calls}, qr/b/, "$name: no other way is called");

    is(join("\n", said($uri)), $log // '', "$name: the log");
}

is(() = $n->log() =~ /retry chain (?:attempt|ended)/g, 0, 'nothing else');


# ---- as without a chain -----------------------------------------------------

for my $say ('200', '429 / Retry-After: 7', '503', '404', '204', '302 / '
             . 'Location: http://a/b') {
    for my $method (qw(GET HEAD POST)) {
        my @x = map {
            ask("/$_/" . ++$i, a => $say, -method => $method,
                -body => $method eq 'POST' ? 'body' : '');
        } qw(plain chain);

        $_->{head} =~ s/^X-(?:Run|Waits|At|Until|Rate): .*\r\n//mg for @x;

        is("$x[1]{calls} " . shape($x[1]), "$x[0]{calls} " . shape($x[0]),
           "$method, $say: as without a chain");
    }
}


# ---- what it leaves alone ---------------------------------------------------

is(join(' ', map { ask("/rate/$_")->{run} } 1 .. 3),
   join(' ', ('dry_run [a] [200] [first]') x 3), 'a rate is not obeyed');
is(left('rate', 'a'), 0, 'its place is not taken');

is(ask('/others/1', a => '429 / Retry-After: 90')->{run},
   'dry_run [a] [429] [first]', 'a hint');
is(left('others', 'a'), 0, 'limits nothing');

# where others have limited it

ask('/others/real/1', b => '429 / Retry-After: 90',
    a => '429 / Retry-After: 90');

{
    my $x = logged('/others/2');

    is("$x->{run} $x->{calls}", 'dry_run [a] [200] [first] a',
       'a way that others have limited is called');
    like($x->{until}, qr/^\d{10}\.\d{3}$/, '$retry_chain_limited_until');
    is(join("\n", said('/others/2')),
       '"a" would not be called, would end: limited', 'the log');
    is(join("\n", said_after('/others/3', a => '500')),
       '"a" would not be called, would end: limited',
       'what it answers tells nothing');
}

# where others have limited the first one, or all

ask('/begin/real/1', a => '429 / Retry-After: 30', b => '500');

is(join("\n", said_after('/begin/2', a => '500')),
   '"a" would not be called, would begin at "b"', 'another step is free');

ask('/begin/real/3', b => '429 / Retry-After: 40');

like(join("\n", said_after('/begin/4')),
     qr/^"a" would not be called, would wait (?:30|2\d)\d\d\d ms for "a"$/,
     'none is');
like(join("\n", said_after('/begin/full/5')),
     qr/^"a" would not be called, would end: overflow$/, 'and too many wait');

is(join(' ', map { ask("/rotate/$_")->{calls} } 1 .. 4), 'a a a a',
   'all start at the first step');

is(join(' ', map { ask("/budget/$_", a => '500')->{status} } 1 .. 3),
   '500 500 500', 'a budget');
is(join("\n", map { said_after("/budget/x$_", a => '500') } 1 .. 2),
   "status 500, would end: budget\nstatus 500, would end: budget",
   'that dry runs have, too');
like($n->log(), qr{retry chain dry run: status 500, would retry at "b" in 0 ms while .*"GET /budget/1 }, 'for the first of them');
like($n->log(), qr{\[info\] .*retry chain dry run: .*"GET /budget/},
     'the level of its lines');
is(ask('/budget/real/1', a => '500')->{said},
   '200 success [a, b] [500, 200] [first, step]', 'is not used up');

is(ask('/alone/1', a => '500')->{run}, 'dry_run [a] [500] [first]',
   'without a zone');
# what the cache says and what the upstream says

for my $case (@cached) {
    my ($name, $stored, $say, $log) = @$case;
    my $key = ++$i;

    logged("/cached/store/$key?key=$key", a => $stored);
    is(join("\n", said_after("/cached/$key?key=$key", @$say)), $log // '',
       $name);
}

is(left('cached', 'a'), 0, 'nothing of it limits');

ask('/stored', c => '200 / RateLimit: "d";r=0;t=90');

for my $page (qw(page else)) {
    is(join("\n", said_after("/cached/$page/1", a => '429 / Retry-After: 5',
                             c => '200 / RateLimit: "d";r=0;t=90')),
       'status 429, would retry at "a" in 5001 ms',
       "$page: an error page from an upstream is none of its replies");
}

is(ask('/inherited/1', a => '500')->{run},
   'success [a, b] [500, 200] [first, step]', 'off');

{
    my ($trail) = map { decode_json(/(\{.*\})/ ? $1 : '{}') }
                      grep { m{^/alone/1 } } split /\n/, $n->access();
    delete @{ $trail->{attempts}[0] }{qw(time address bytes)};

    is_deeply([@$trail{qw(result attempts)}],
              ['dry_run', [{ step => 'a', outcome => 'status', status => 500,
                             wait => 0, reason => 'first',
                             verdict => 'next' }]],
              '$retry_chain_trail');
}

is($n->bad(), '', 'a clean log');

done_testing();


# the lines are written when the request is logged

sub logged {
    my ($uri, %say) = @_;

    my $x;

    $n->until_logged(sub { $x = ask($uri, %say) });

    return $x;
}


sub said {
    my ($uri) = @_;

    return $n->log()
           =~ m{retry chain dry run: (.*?) while .*"[A-Z]+ \Q$uri\E }g;
}


sub said_after {
    my ($uri, %say) = @_;

    logged($uri, %say);

    return said($uri);
}
