#!/usr/bin/perl

# Failed replies: a small body is read to its end, and the connection is used
# again; a large, endless or slow one is cut; the client gets nothing of it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(time);

use Slack qw(stretch);
use Ways;
use Ways::Nginx;

my $k = stretch();
my $answer = lines(3000);
my $limit = 65536;
my @chunked = ('Transfer-Encoding: chunked');
my $huge = 'x' x 30_000_000;

my @noise = ('X-Failed: 1', 'Set-Cookie: failed=1', 'Set-Cookie: failed2=1',
             'X-Accel-Limit-Rate: 1', 'X-Accel-Buffering: no',
             'X-Accel-Expires: 0', 'X-Accel-Charset: koi8-r',
             'Content-Encoding: gzip', 'Content-Type: failed/failed',
             'Location: /failed', 'Refresh: 1; url=/failed', 'Retry-After: 7',
             'WWW-Authenticate: Basic realm="failed"', 'ETag: "failed"',
             'Last-Modified: Mon, 28 Sep 1970 06:00:00 GMT',
             'Expires: Mon, 28 Sep 1970 06:00:00 GMT',
             'Cache-Control: failed', 'Link: </failed>', 'Vary: *',
             'Accept-Ranges: bytes', 'Content-Language: failed',
             'Content-Disposition: failed', 'Server: failed',
             'Date: Thu, 01 Jan 1970 00:00:00 GMT', 'P3P: failed',
             'Alt-Svc: failed', 'Strict-Transport-Security: failed');

# name => what is to become of the connection, the reply

my @cases = (
    length => 'kept', sub { reply(429, "slow down\n", @noise) },
    empty => 'kept', sub { reply(429, '', @noise) },
    chunked => 'kept', sub { reply(429, undef, @chunked, @noise)
                             . chunks('slow ', "down\n") },
    chunked_empty => 'kept', sub { reply(429, undef, @chunked) . chunks() },
    trailer => 'kept', sub {
        reply(429, undef, @chunked, 'Trailer: X-Failed')
        . chunks("slow\n") =~ s/\r\n$/X-Failed: trailer\r\n\r\n/r
    },
    pieces => 'kept', sub {
        (reply(429, undef, 'Content-Length: 6'), map { ([sleep => 0.01], $_) }
                                                     qw(ab cd ef))
    },
    chunk_pieces => 'kept', sub {
        (reply(429, undef, @chunked), map { ([sleep => 0.005], $_) }
                                          split //, chunks('abc'))
    },
    no_content => 'kept', sub { reply(204, undef, @noise) },
    not_modified => 'kept', sub { reply(304, undef, @noise) },
    not_found => 'kept', sub { reply(404, "not here\n", @noise) },
    other_success => 'kept', sub { reply(201, "not that one\n", @noise) },
    redirect => 'kept', sub { reply(302, "there\n", @noise) },
    largest => 'kept', sub { reply(503, lines($limit)) },
    largest_chunked => 'kept', sub {
        reply(503, undef, @chunked) . chunks(unpack '(a8192)*', lines($limit))
    },

    too_large => 'cut', sub { reply(503, lines($limit + 1)) },
    large => 'cut', sub { reply(503, lines(3_000_000), @noise) },
    large_chunked => 'cut', sub {
        (reply(503, undef, @chunked, @noise),
         chunks(unpack '(a50000)*', lines(3_000_000)))
    },
    one_chunk => 'cut', sub {
        (reply(503, undef, @chunked), '1c9c380' . "\r\n", $huge)
    },
    endless_chunked => 'cut', sub {
        (reply(503, undef, @chunked), [endless => "400\r\n" . 'x' x 1024
                                                  . "\r\n"])
    },
    endless => 'cut', sub { (reply(503), [endless => 'x' x 1024]) },
    slow => 'cut', sub { (reply(503, undef, 'Content-Length: 100'), 'x',
                          [sleep => 60], 'x' x 99) },
    slow_chunked => 'cut', sub { (reply(503, undef, @chunked),
                                  "1\r\nx\r\n", [sleep => 60], chunks()) },
    trickle => 'cut', sub { (reply(503, undef, 'Content-Length: 10000'),
                             [endless => 'x', 0.01]) },
    nothing_comes => 'cut', sub { (reply(503, undef, 'Content-Length: 10'),
                                   [sleep => 60]) },

    close => 'closed', sub { reply(429, "slow down\n", 'Connection: close') },
    close_slow => 'cut', sub { (reply(429, undef, 'Connection: close'), 'x',
                                [sleep => 60]) },
    http10 => 'closed', sub { "HTTP/1.0 429 No\r\nContent-Length: 1\r\n\r\nx" },
    until_close => 'closed', sub { (reply(429), 'until the end',
                                    [close => 1]) },
    short => 'closed', sub { (reply(429, undef, 'Content-Length: 100'),
                              'x' x 10, [close => 1]) },
    short_chunk => 'closed', sub { (reply(429, undef, @chunked),
                                    "10\r\nabc", [close => 1]) },
    reset => 'closed', sub { (reply(429, undef, 'Content-Length: 100'),
                              'x' x 10, [reset => 1]) },
    bad_chunk => 'closed', sub { reply(429, undef, @chunked) . "zz\r\n" },
    extra => 'closed', sub { reply(429, 'abc') . 'more than was announced' },
);

my (@names, %fate, %reply);

while (my ($name, $fate, $reply) = splice @cases, 0, 3) {
    push @names, $name;
    $fate{$name} = $fate;
    $reply{$name} = $reply;
}

# one that would be slower than its body is read for, but for the wait

my $lazy = sub { (reply(503, undef, 'Content-Length: 20'), 'x' x 10,
                  [sleep => 0.25 * $k], 'x' x 10) };

ways(
    %reply,
    good => sub { reply(200, $_[0]{method} eq 'HEAD' ? undef : $answer,
                        'X-Good: 1', 'Content-Type: text/plain') },
    head => sub { reply(429, undef, 'Content-Length: 10000000', @noise) },
    head_chunked => sub { reply(429, undef, @chunked, @noise) },
    head_close => sub { reply(429, undef, 'Connection: close') },
    lazy => $lazy,
    away => sub { reply(429, 'x', @noise, 'X-Accel-Redirect: /inner') },
    away_at => sub { reply(429, 'x', @noise, 'X-Accel-Redirect: @inner') },
    gzipped => sub { reply(429, "not gzip\n", 'Content-Encoding: gzip') },
    cached => sub { reply(503, 'a failure', 'Cache-Control: max-age=60') },
    fcgi_failed => sub {
        fcgi($_[0], "Status: 503 No\r\nX-Failed: 1\r\nSet-Cookie: a=b\r\n\r\n"
                    . "a failure\n")
    },
    fcgi_good => sub { fcgi($_[0], "Content-Type: text/plain\r\nX-Good: 1\r\n"
                                   . "\r\n$answer") },
);

my %modes = (
    buffered => '',
    unbuffered => 'proxy_buffering off;',
    small => 'proxy_buffers 2 4k; proxy_busy_buffers_size 4k;'
             . 'proxy_temp_file_write_size 4k;',
);

my @heads = qw(head head_chunked head_close);
my $locations = '';

# a busy machine must not be what makes a body come too late

my %wait = map { ($_ => 'wait=' . 400 * $k . 'ms') }
           qw(pieces chunk_pieces largest largest_chunked);

for my $mode (sort keys %modes) {
    $locations .= <<"EOC" for @names, @heads;
location = /$mode/$_ {
    $modes{$mode}
    retry_chain $_;
    retry_chain good @{[$wait{$_} // '']};
    proxy_pass http://\$retry_chain_upstream;
}
EOC
}

my $n = Ways::Nginx->start(http => <<"EOC");
proxy_cache_path %%DIR%%/cache keys_zone=cache:1m;
retry_chain_success 200;
retry_chain_stop off;
lingering_close off;

server {
    listen %%PORT%%;
    $locations

    location = /plain { proxy_pass http://good; }
    location = /plain_fcgi { fastcgi_pass fcgi_good; }

    location = /many {
        retry_chain large slow endless_chunked length large_chunked close good;
        proxy_pass http://\$retry_chain_upstream;
    }
    location = /last {
        retry_chain length not_found;
        proxy_pass http://\$retry_chain_upstream;
    }
    location = /last_page {
        retry_chain length refused;
        proxy_pass http://\$retry_chain_upstream;
    }
    location = /lazy {
        retry_chain lazy;
        retry_chain good wait=@{[ 500 * $k ]}ms;
        proxy_pass http://\$retry_chain_upstream;
    }
    location = /lazy_now {
        retry_chain lazy good;
        proxy_pass http://\$retry_chain_upstream;
    }
    location = /slow_wait {
        retry_chain slow;
        retry_chain good wait=300ms;
        proxy_pass http://\$retry_chain_upstream;
    }
    location = /close_wait {
        retry_chain close_slow;
        retry_chain good wait=${k}s;
        proxy_pass http://\$retry_chain_upstream;
    }
    location = /redirected {
        retry_chain away away_at good;
        proxy_pass http://\$retry_chain_upstream;
    }
    location = /inner { internal; return 200 "inner"; }
    location \@inner { return 200 "inner"; }
    location = /intercepted {
        retry_chain length large slow good;
        proxy_intercept_errors on;
        error_page 429 503 /inner;
        proxy_pass http://\$retry_chain_upstream;
    }
    location = /gunzip {
        gunzip on;
        retry_chain gzipped good;
        proxy_pass http://\$retry_chain_upstream;
    }
    location = /cached {
        proxy_cache cache;
        proxy_cache_key \$uri\$proxy_host;
        proxy_cache_valid 200 1m;
        retry_chain cached good;
        proxy_pass http://\$retry_chain_upstream;
    }
    location = /hidden {
        proxy_hide_header X-Good;
        add_header X-Attempts \$retry_chain_attempts always;
        retry_chain length length good;
        proxy_pass http://\$retry_chain_upstream;
    }
    location = /same {
    retry_chain_retry_after off;
        retry_chain length attempts=4;
        proxy_pass http://\$retry_chain_upstream;
    }
    location = /fcgi {
        retry_chain fcgi_failed fcgi_failed fcgi_good;
        fastcgi_keep_conn on;
        fastcgi_pass \$retry_chain_upstream;
    }
}

upstream refused { server 127.0.0.1:1; }
EOC

my $plain = shape($n->ask('/plain'));


# ---- every failed reply, and what becomes of its connection -----------------

for my $mode (sort keys %modes) {
    for my $name (@names) {
        my $fate = $fate{$name};

        ways_reset();

        for my $time (1, 2) {
            my $start = time();
            my $a = $n->ask("/$mode/$name");

            is(shape($a), $plain, "$mode $name, $time: as from the second");

            # all that is slow here takes a minute

            cmp_ok(time() - $start, '<', 30, "$mode $name, $time: in time");
        }

        like(join("\n", (split /\n/, $n->access())[-2, -1]), qr{\A(?:
             /$mode/$name\ 200\ success\ \[$name,\ good\]\ \[\d+,\ 200\]\n?){2}
             \z}x, "$mode $name: the log");

        if ($fate eq 'kept') {
            is(connections($name), '1.1 1.2', "$mode $name: used again");
            is(cuts($name), 0, "$mode $name: not cut");

        } else {
            is(connections($name), '1.1 2.1', "$mode $name: not used again");
        }

        if ($fate eq 'cut') {
            ok($n->wait_for(sub { cuts($name) == 2 }),
               "$mode $name: the upstream notices")
                or diag(ways_calls());

            # no more than what fits into the buffers on the way

            my ($sent) = sort { $b <=> $a } map { $_->[0] } cut_events($name);
            cmp_ok($sent // 0, '<', 1_500_000, "$mode $name: little was read");
        }

        is(connections('good'), '1.1 1.2', "$mode $name: the good one");
    }
}

# HEAD: whatever the length is

for my $mode (sort keys %modes) {
    for my $name (@heads) {
        ways_reset();

        for my $time (1, 2) {
            my $a = $n->ask("HEAD /$mode/$name HTTP/1.1\r\nHost: a\r\n"
                            . "Connection: close\r\n\r\n");

            is("$a->{status} $a->{body}", '200 ', "HEAD, $mode $name, $time");
            unlike($a->{head}, qr/failed/i, "HEAD, $mode $name: the header");
        }

        is(connections($name), $name eq 'head_close' ? '1.1 2.1' : '1.1 1.2',
           "HEAD, $mode $name: the connection");
    }
}

unlike($n->log(), qr/buffered to a temporary file/,
       'what is dropped was not written to files');

# many of them in one run

ways_reset();
is(shape($n->ask('/many')), $plain, 'many failures of all kinds');
is(scalar(() = ways_calls() =~ / GET /g), 7, 'an attempt each');

ways_reset();
is($n->ask('/same')->{status}, 429, 'one step, four times');
is(connections('length'), '1.1 1.2 1.3 1.4', 'on one connection');


# ---- time -------------------------------------------------------------------

# 100 ms, or for as long as the wait is

ways_reset();
is(shape($n->ask('/lazy')), $plain, 'a slow body, a longer wait');
is(cuts('lazy'), 0, 'is read to its end');
is(shape($n->ask('/lazy')), $plain, 'and once more');
is(connections('lazy'), '1.1 1.2', 'on the same connection');

ways_reset();
is(shape($n->ask('/lazy_now')), $plain, 'a slow body, no wait');
$n->wait_for(sub { cuts('lazy') });
is(cuts('lazy'), 1, 'is cut');
cmp_ok((cut_events('lazy'))[0][1], '>=', 0.09, 'not at once');

ways_reset();
my $start = time();
is(shape($n->ask('/slow_wait')), $plain, 'a very slow body, a wait');
my $took = time() - $start;
$n->wait_for(sub { cuts('slow') });
cmp_ok((cut_events('slow'))[0][1], '>=', 0.28, 'cut after the wait');
cmp_ok($took, '>=', 0.29, 'the wait is no shorter for it');
cmp_ok($took, '<', 30, 'nor longer');

ways_reset();
is(shape($n->ask('/close_wait')), $plain, 'a connection that cannot be kept');
$n->wait_for(sub { cuts('close_slow') });
cmp_ok((cut_events('close_slow'))[0][1], '<', 0.5 * $k,
       'is not read from, to wait');


# ---- nothing is left of it --------------------------------------------------

is(shape($n->ask('/redirected')), $plain, 'X-Accel-Redirect of a failure');
like(last_line(), qr/^\S+ 200 success \[away, away_at, good\] \[429, 429, 200\]/,
     'is not followed');

is(shape($n->ask('/intercepted')), $plain, 'failures that nginx would replace');
like(last_line(), qr/ \[429, 503, 503, 200\]$/, 'all of them');

my $a = $n->ask("GET /gunzip HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
is(shape($a), $plain, 'gunzip does not look at it');

for my $time (1, 2) {
    is(shape($n->ask('/cached')), $plain, "with a cache, $time");
}

$a = $n->ask('/hidden');
is("$a->{status} $a->{h}{'x-attempts'}[0] " . exists $a->{h}{'x-good'},
   '200 3 ', 'filters of the header act on the answer');
unlike($a->{head}, qr/failed/i, 'and on nothing else');

$a = $n->ask('/last');
is("$a->{status} $a->{body}", "404 not here\n", 'the last failure');
is(scalar(() = $a->{head} =~ /^X-Failed:/mg), 1, 'its header is there once');
is(scalar(() = $a->{head} =~ /^Set-Cookie:/mg), 2, 'and no other');
is(scalar(() = $a->{head} =~ /^Retry-After:/mg), 1, 'nor this one twice');

$a = $n->ask('/last_page');
is($a->{status}, 502, 'a page of nginx after a failure');
unlike($a->{head}, qr/failed|retry-after/i, 'without its header');

is(shape($n->ask('/fcgi')), shape($n->ask('/plain_fcgi')), 'FastCGI');


# ---- afterwards -------------------------------------------------------------

is($n->bad(), '', 'a clean log');
$n->signal('QUIT');
ok($n->ended(5), 'the end');
is($n->bad(), '', 'a clean log at the end');

done_testing();


# all that the client gets, but for the time

sub shape {
    my ($x) = @_;

    return "$x->{end} " . sum($x->{body}) . "\n"
           . $x->{head} =~ s/^Date: \w+, \d+ \w+ (?!1970).*\r\n//mr;
}


# "1.1 2.1": a request on the first connection, one on the second

sub connections {
    my ($name) = @_;
    return join ' ', ways_calls() =~ /^\Q$name\E ([\d.]+) [A-Z]/mg;
}


sub cuts {
    my ($name) = @_;
    return scalar(() = ways_calls() =~ /^\Q$name\E [\d.]+ cut$/mg);
}


# bytes that the upstream had sent, and seconds since the request

sub cut_events {
    my ($name) = @_;

    return map { my @f = split /[\t\n]/;
                 $f[0] =~ /^\Q$name\E [\d.]+ cut$/ ? [@f[2, 3]] : () }
               ways_events();
}


sub last_line {
    return (split /\n/, $n->access())[-1];
}
