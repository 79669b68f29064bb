#!/usr/bin/perl

# What an upstream itself says, while the client gets something else: a stale
# reply, one that a 304 has made fresh, or one that is updated in the background.
# The word of the upstream moves limits and counters, the reply that is relayed
# makes the verdict.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(sleep);

use Ways;
use Ways::Limits;
use Ways::Nginx qw(request);


my $slow = Ways::Nginx::slow();
my $threads = Ways::Nginx::has('threads');

# how long a vendor limits, and what the time since then may be

my $for = 90;
my $late = 4 * $slow;

my $any = 'proxy_cache_use_stale error timeout invalid_header http_403 '
          . 'http_404 http_429 http_500 http_503;';
my $updating = 'proxy_cache_background_update on;';
my $methods = 'proxy_cache_methods GET HEAD POST; proxy_cache_valid any 1h;';


# ---- the places -------------------------------------------------------------

# what the upstream says behind a stale reply, its class or kind, for how long
# its way is limited, and whether that is counted as a hint

my @behind = (
    ['429, Retry-After', "429 / Retry-After: $for", 429, $for, 1],
    ['503, Retry-After', "503 / Retry-After: $for", '5xx', $for, 1],
    ['429, RateLimit', "429 / RateLimit: \"d\";r=1;t=$for", 429, $for, 1],
    ['404, RateLimit, nothing remains',
     "404 / X-RateLimit-Remaining: 0 / X-RateLimit-Reset: $for", '4xx', $for, 1],
    ['429 alone', '429', 429, 60, 0],
    ['503 alone', '503', '5xx', 0, 0],
    ['500, Retry-After', "500 / Retry-After: $for", '5xx', 0, 0],
    ['a closed connection', 'close | close', 'error', 0, 0],
    ['no answer', 'hang', 'timeout', 0, 0],
    ['a header that is too large',
     "429 / Retry-After: $for / X-Large: " . 'x' x 6000, 'invalid_header', 0, 0],
);

place("behind$_", "retry_chain a b; $any retry_chain_retry_after default=60s;"
                  . ($behind[$_][1] eq 'hang' ? 'proxy_read_timeout 1s;' : ''))
    for 0 .. $#behind;

place('off', "retry_chain a b; $any retry_chain_retry_after off;");
place('refused', "retry_chain a b; $any");
place('refused/a', "retry_chain refused rate=3r/m; $any");
place('revalidate', 'retry_chain a b; proxy_cache_revalidate on;');
place('probe', 'retry_chain a; proxy_cache_revalidate on;'
               . 'retry_chain_retry_after default=10ms;');
place('at', 'retry_chain @own b;');
place('try', 'retry_chain @try b;');
place('fastcgi', "retry_chain fcgi; fastcgi_cache f; fastcgi_cache_key \$arg_key;"
                 . 'fastcgi_cache_use_stale http_429;',
      pass => 'fastcgi_pass $retry_chain_upstream;');

# a stale failure

place('failure', "retry_chain a; $any retry_chain_timeout 1h;"
                 . 'retry_chain_retry http_404 interval=10ms;');
place('failure/last', 'retry_chain a b; proxy_cache_use_stale http_429;');
place('alone', "retry_chain a; $any retry_chain_retry http_404 interval=10ms;",
      zone => '');

# updates

my @updates = (
    ['alone', "$updating proxy_cache_use_stale updating;"],
    ['stale behind it', "$updating proxy_cache_use_stale updating http_429;"],
    ['an error page', "$updating proxy_cache_use_stale updating;"
                      . 'proxy_intercept_errors on; error_page 429 /page;'],
    ['an error page from elsewhere',
     "$updating proxy_cache_use_stale updating;"
     . 'proxy_intercept_errors on; error_page 429 /proxied;'],
);

push @updates, ['threads', "$updating aio threads;"
                           . 'proxy_cache_use_stale updating http_429;']
    if $threads;

place("update$_", "retry_chain a b; $updates[$_][1]") for 0 .. $#updates;

place('update/at', 'retry_chain @update b;');
place('update/next', "retry_chain a b; $updating"
                     . 'proxy_cache_use_stale updating;'
                     . 'proxy_cache_key "$arg_key $retry_chain_upstream";');
place('leaves', "retry_chain a b; $updating proxy_cache_use_stale updating;");
place('update/lone', "retry_chain a; $updating"
                     . 'proxy_cache_use_stale updating http_429;', zone => '');
place('update/probe', "retry_chain a; $updating"
                      . 'proxy_cache_use_stale updating;'
                      . 'retry_chain_retry_after default=10ms;',
      zone => 'retry_chain_zone probes 128k;');

# no call

place('store', "retry_chain a; $methods retry_chain_retry_after off;");
place('hit', "retry_chain a b; $methods");
place('hit/page', "retry_chain a; $methods proxy_intercept_errors on;"
                  . 'error_page 429 /page; retry_chain_retry_after off;',
      zone => 'retry_chain_zone pages 128k;');

# methods that must not be repeated

place('post', "retry_chain a b; $any $methods retry_chain_retry_after off;");

ways(fcgi => sub {
    my $again = $_[0]{h}{HTTP_AGAIN};

    return fcgi($_[0], $again ? "Status: 429 No\r\nRetry-After: $for\r\n\r\nno\n"
                              : "X-Accel-Expires: \@1\r\n\r\nyes\n");
});

my $own = 'proxy_cache c; proxy_cache_key $arg_key;';

my $n = limits(http => <<"EOC", server => <<"EOS");
proxy_cache_path %%DIR%%/cache keys_zone=c:1m;
fastcgi_cache_path %%DIR%%/fastcgi keys_zone=f:1m;
proxy_cache c;
proxy_cache_key \$arg_key;
EOC
add_header X-Cache \$upstream_cache_status always;
location = /status { access_log off; retry_chain_status; }
location = /page { return 429 "page\n"; }
location = /proxied { proxy_pass http://b; }
location \@own { $own $any proxy_pass http://a; }
location \@try { try_files /none \@own; proxy_pass http://d; }
location \@update {
    $own $updating proxy_cache_use_stale updating http_429;
    proxy_pass http://a;
}
EOS


# ---- a stale reply ----------------------------------------------------------

for my $i (0 .. $#behind) {
    my ($name, $said, $class, $limit, $hints) = @{ $behind[$i] };
    my $place = "behind$i";

    fill($place);

    my $x = get($place, a => $said);

    is("$x->{said} $x->{calls} $x->{cache}",
       '200 success [a] [200] [first] ' . ($said =~ /^close/ ? 'a a' : 'a')
       . ' STALE', "$name: a stale reply");
    is(outcomes($place, 'a'), join(', ', sort '2xx 1', "$class 1"),
       "$name: what has been said counts");
    is(metric('limit_replies_total', $place, 'a'), $hints, "$name: hints");
    is(near(left($place, 'a'), $limit), 'yes', "$name: limited");
    is(get($place, b => '200')->{calls}, $limit ? 'b' : 'a', "$name: the next");
}

fill('off');
get('off', a => "429 / Retry-After: $for");
is(left('off', 'a'), 0, 'retry_chain_retry_after off');
is(outcomes('off', 'a'), '2xx 1, 429 1', 'counts all the same');

fill('refused');

{
    my $x = get('refused/a', -key => 'refused');

    is("$x->{said} $x->{cache}", '200 success [refused] [200] [first] STALE',
       'behind a refused connection');
    is(outcomes('refused', 'refused'), 'error 1', 'is an error');
    is(left('refused', 'refused'), 0, 'nobody was called');
}

for my $place (qw(at try)) {
    fill($place);

    my $x = get($place, a => "429 / Retry-After: $for");
    my $step = $place eq 'at' ? '@own' : '@try';

    is("$x->{said} $x->{cache}", "200 success [$step] [200] [first] STALE",
       "$step: a stale reply");
    is(near(metric('limited_seconds', $place, $step), $for), 'yes', 'limits its way');
    is(outcomes($place, $step), '2xx 1, 429 1', 'counts');
}

{
    get('fastcgi');

    my $x = get('fastcgi', -head => "Again: yes\r\n");

    is("$x->{said} $x->{cache}", '200 success [fcgi] [200] [first] STALE',
       'FastCGI');
    is(near(left('fastcgi', 'fcgi'), $for), 'yes', 'FastCGI: limited');
}


# ---- a reply that is fresh again --------------------------------------------

fill('revalidate', a => '200 / ETag: "v1" / X-Accel-Expires: @1');

{
    my $x = get('revalidate', a => '304 / X-RateLimit-Remaining: 0 / '
                                   . "X-RateLimit-Reset: $for");

    is("$x->{said} $x->{calls} $x->{cache}",
       '200 success [a] [200] [first] a REVALIDATED', 'revalidated');
    is(near(left('revalidate', 'a'), $for), 'yes', 'what a 304 says limits');
    is(outcomes('revalidate', 'a'), '2xx 1, 3xx 1', 'it is a 304');
}

# after a limit the others wait until one call has been accepted

fill('probe', a => '200 / ETag: "v1" / X-Accel-Expires: @1');
get('probe', -key => 'none', a => '429 / Retry-After: 1');

{
    my @x = parked(map { [uri('probe', $_),
                          a => '304 / X-Accel-Expires: @1'] } ('probe') x 3);

    is(join(' ', map { now($_)->{said} } @x),
       join(' ', ('200 success [a] [200] [retry_after]') x 3),
       'those that wait go when a 304 has come');
    is(metric('half_open', 'probe', 'a'), 0, 'it is an accepted call');
}


# ---- a stale failure --------------------------------------------------------

for my $place (qw(failure alone)) {
    fill($place, a => '404 / X-Accel-Expires: @1');

    my $x = get($place, a => '429 / Retry-After: 1 | 200');

    is("$x->{said} $x->{cache}",
       '200 success [a, a] [404, 200] [first, retry_after] EXPIRED',
       "$place: the same step is limited");
}

fill('failure/last', a => '404 / X-Accel-Expires: @1');

{
    my $x = get('failure/last', a => "429 / Retry-After: $for", b => '500');

    is("$x->{said} $x->{calls}", '500 exhausted [a, b] [404, 500] [first, step]'
       . ' a b', 'a stale failure');
    is(near(left('failure', 'a'), $for), 'yes', 'limits, too');
}


# ---- updates in the background ----------------------------------------------

for my $i (0 .. $#updates) {
    my ($name) = @{ $updates[$i] };
    my $place = "update$i";

    fill($place);

    my $x = get($place, a => "429 / Retry-After: $for");

    is("$x->{said} $x->{cache}", '200 success [a] [200] [first] STALE',
       "update, $name: a stale reply");
    ok($n->wait_for(sub { left($place, 'a') }), "update, $name: limited");
    is(near(left($place, 'a'), $for), 'yes', "update, $name: for so long");
    is(metric('limit_replies_total', $place, 'a'), 1, "update, $name: one hint");
    is(get($place, -key => 'none', a => '200')->{calls}, 'b',
       "update, $name: the next one goes elsewhere");
}

fill('update/at');

{
    my $x = get('update/at', a => "429 / Retry-After: $for");

    is("$x->{said} $x->{cache}", '200 success [@update] [200] [first] STALE',
       'update, @location: a stale reply');
    ok($n->wait_for(sub { metric('limit_replies_total', 'update', '@update') }),
       'update, @location: one hint');
    is(near(metric('limited_seconds', 'update', '@update'), $for), 'yes',
       'update, @location: limited');
}

# the attempt is over, the run is elsewhere

fill('update/next', a => '404 / X-Accel-Expires: @1');

{
    my $x = get('update/next', a => "sleep=0.1 429 / Retry-After: $for",
                b => '500');

    is($x->{said}, '500 exhausted [a, b] [404, 500] [first, step]',
       'update, a stale failure');
    ok($n->wait_for(sub { left('update', 'a') }), 'limits');
    is(left('update', 'b'), 0, 'its own way');
}

fill('update/lone');
is(get('update/lone', a => "429 / Retry-After: $for")->{said},
   '200 success [a] [200] [first]', 'update, without a zone');
is(get('update/lone', -key => 'none')->{calls}, 'a', 'limits nobody');

# one that is accepted ends a limit

fill('update/probe');
get('update/probe', -key => 'none', a => '429 / Retry-After: 1');

{
    my $x = get('update/probe', a => '200');

    is("$x->{said} $x->{cache}", '200 success [a] [200] [retry_after] STALE',
       'an update after a limit');
    ok($n->wait_for(sub { metric('half_open', 'probes', 'a') eq '0' }),
       'is accepted');
}

# a client that leaves

{
    fill('leaves');

    my $s = later(uri('leaves', 'leaves'),
                  a => 'sleep=0.2 200 / X-RateLimit-Remaining: 0 / '
                       . "X-RateLimit-Reset: $for");

    now($s);
    close $s->{s};
    is(metric('limit_replies_total', 'leaves', 'a'), 0, 'an update that goes on');
    ok($n->wait_for(sub { metric('limit_replies_total', 'leaves', 'a') }),
       'counts when the client has gone');
}


# ---- no call ----------------------------------------------------------------

for my $status (200, 404, 429) {
    get('store', -key => $status,
        a => "$status / X-RateLimit-Remaining: 0 / X-RateLimit-Reset: $for");

    my $x = get('hit', -key => $status);

    is("$x->{said} $x->{calls} $x->{cache}",
       $status == 200 ? '200 success [a] [200] [first]  HIT'
       : "$status exhausted [a, b] [$status, $status] [first, step]  HIT",
       "a stored $status");
}

is(join(' ', left('hit', 'a'), left('hit', 'b')), '0 0', 'limits nobody');
is(join(' ', map { metric('limit_replies_total', 'hit', $_) } qw(a b)), '0 0', 'it is no hint');
is(join(', ', map { outcomes('hit', $_) } qw(a b)), 'cached 3, cached 2',
   'and no word of the upstream');
is(metric('header_seconds_count', 'hit', 'a'), 0, 'nor is its time');

# an intercepted error is stored as its code alone

{
    my @x = map { get('hit/page', a => '429') } 1, 2;

    is(join(', ', map { "$_->{said} $_->{calls} $_->{cache}" } @x),
       '429 exhausted [a] [429] [first] a MISS, '
       . '429 exhausted [a] [429] [first]  HIT', 'a stored error');
    is(outcomes('pages', 'a'), '429 1, cached 1', 'is no word of the upstream');
}


# ---- methods that must not be repeated --------------------------------------

for my $case (['a stale 429 tells nothing of a call that was made',
               '429', 'close', '429 unsafe [a] [429] [first]'],
              ['a stale 500 behind a refused call', '500', '429',
               '200 success [a, b] [500, 200] [first, step]'],
              ['a stale 500 behind a failed call', '500', '503',
               '500 unsafe [a] [500] [first]'])
{
    my ($name, $stale, $said, $want) = @$case;
    my @post = (-method => 'POST', -body => 'x');

    fill('post', -key => $name, @post, a => "$stale / X-Accel-Expires: \@1",
         b => '200 / X-Accel-Expires: 0');
    is(get('post', -key => $name, @post, a => $said)->{said}, $want, $name);
}

is($n->bad(), '', 'a clean log');

done_testing();


# a request that is stored, but not valid for a moment

sub fill {
    my ($place, %say) = @_;

    return get($place, a => '200 / X-Accel-Expires: @1', %say);
}


sub get {
    my ($place, %say) = @_;

    my $key = delete $say{-key} // $place;
    my $x = ask(uri($place, $key), %say);

    $x->{cache} = join '|', @{ $x->{h}{'x-cache'} // [] };

    return $x;
}


{
    my $i;

    sub uri {
        my ($place, $key) = @_;

        return sprintf '/%s/%d?key=%s', $place, ++$i, $key =~ tr/ /_/r;
    }
}


sub near {
    my ($left, $limit) = @_;

    return 'yes' if $limit ? $left > $limit - $late && $left <= $limit + 1.1
                           : $left == 0;
    return "$left, not $limit";
}


sub metric {
    my ($name, $zone, $step) = @_;

    my $text = $n->ask(request('GET', '/status?format=prometheus', ''))->{body};

    return $text =~ m{^nginx_retry_chain_$name\{zone="$zone",step="$step"\} (.*)$}m ? $1 : undef;
}


# what the upstream has said, by class of a reply or kind of a failure

sub outcomes {
    my ($zone, $step) = @_;

    my $text = $n->ask(request('GET', '/status?format=prometheus', ''))->{body};
    my %n = $text =~ m{^nginx_retry_chain_(?:replies|failures)_total\{zone="$zone",step="$step",\w+="(\w+)"\} ([1-9]\d*)$}mg;

    return join ', ', map { "$_ $n{$_}" } sort keys %n;
}
