#!/usr/bin/perl

# Nothing is left behind: after rounds of runs with retries, failures of all
# kinds, clients that leave, cut replies and temporary files a worker has as
# many open files and connections as before, and no more memory.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Socket::UNIX;
use Test::More;
use Time::HiRes qw(sleep);

use Ways;
use Ways::Nginx;

my $rounds = 6;
my $settled = 2;        # what is measured later is compared with this round

my $body = lines(100_000);
my $big = lines(2_000_000);
my $size = length $big;
my @chunked = ('Transfer-Encoding: chunked');

ways(
    limited => sub { reply(429, "slow down\n") },
    broken => sub { reply(503, lines(5000)) },
    mute => sub { [close => 1] },
    hang => sub { [sleep => 30] },
    good => sub { reply(200, 'good ' . sum($_[0]{body}), 'ETag: "v1"') },
    big => sub { reply(200, $big) },
    large => sub { reply(503, $big) },
    endless => sub { (reply(503, undef, @chunked),
                      [endless => "400\r\n" . 'x' x 1024 . "\r\n"]) },
    slow => sub { (reply(503, undef, 'Content-Length: 100'), 'x',
                   [sleep => 30]) },
    short => sub { (reply(200, undef, 'Content-Length: 5000'), 'x' x 1000,
                    [close => 1]) },
    away => sub { reply(200, 'x', 'X-Accel-Redirect: /inner') },
);

# connections to them are closed by and by

my $dir = ways_upstreams() && ways_dir();
my @ways = keys %{{ Ways::names() }};
my $groups = join '', map { <<"EOC" } sort @ways;
upstream to_$_ {
    server unix:$dir/$_;
    keepalive 8;
    keepalive_timeout 100ms;
}
EOC

# location => the chain and what is said beside it

my %locations = (
    first => 'retry_chain to_good to_limited;',
    third => 'retry_chain to_limited to_broken to_good;',
    file => 'retry_chain to_limited to_broken to_good;'
            . 'client_body_buffer_size 1k;',
    file_only => 'retry_chain to_limited to_mute to_good;'
                 . 'client_body_in_file_only clean;',
    mute => 'retry_chain to_mute refused to_good;',
    none => 'retry_chain to_mute refused to_broken;',
    rules => 'retry_chain to_broken; retry_chain_retry status attempts=20'
             . ' interval=0;',
    long => 'retry_chain to_limited wait=30s to_limited to_limited;',
    hang => 'retry_chain to_limited to_hang;',
    timeout => 'retry_chain to_hang to_hang timeout=20ms; retry_chain to_good;',
    deadline => 'retry_chain to_limited to_hang; retry_chain_timeout 500ms;',
    cuts => 'retry_chain to_large to_endless to_good;',
    slow => 'retry_chain to_slow to_good;',
    big => 'retry_chain to_limited to_big; proxy_buffers 2 4k;'
           . 'proxy_busy_buffers_size 4k; proxy_temp_file_write_size 8k;',
    unbuffered => 'retry_chain to_limited to_big; proxy_buffering off;',
    short => 'retry_chain to_limited to_short;',
    away => 'retry_chain to_limited to_away;',
    page => 'retry_chain to_limited to_broken; proxy_intercept_errors on;'
            . 'error_page 503 /inner;',
    at => 'retry_chain to_limited @at;',
    cache => 'retry_chain to_limited to_good; proxy_cache cache;'
             . 'proxy_cache_valid 200 1m;',
    mirror => 'retry_chain to_limited to_good; mirror /mirrored;',
);

my $locations = join '', map { <<"EOC" } sort keys %locations;
location = /$_ {
    $locations{$_}
    retry_chain_non_idempotent on;
    proxy_pass http://\$retry_chain_upstream;
}
EOC

my $version = `@{[ $ENV{TEST_NGINX_BINARY} || 'nginx' ]} -V 2>&1`;
my $stub = $version =~ /--with-http_stub_status_module/;
my $h2 = $version =~ /--with-http_v2_module/
         && (`curl --version 2>/dev/null` // '') =~ /HTTP2/;
my $active = $stub ? 'location = /active { return 200 $connections_active; }'
                   : '';
my $listen = $h2 ? 'listen unix:%%DIR%%/h2 http2;' : '';

my $n = Ways::Nginx->start(main => 'worker_processes 1;', level => 'warn',
                           http => <<"EOC");
$groups
upstream refused { server 127.0.0.1:1; }
proxy_cache_path %%DIR%%/cache keys_zone=cache:1m inactive=1m;
retry_chain_log_level info;
lingering_close off;
keepalive_requests 100000;
proxy_next_upstream off;

server {
    listen %%PORT%%;
    $listen
    $locations
    $active

    location = /inner { return 200 "inner"; }
    location = /mirrored { internal; proxy_pass http://to_good; }
    location \@at { proxy_pass http://to_good; }

    location = /quit_wait {
        retry_chain to_limited;
        retry_chain to_good wait=300ms;
        proxy_pass http://\$retry_chain_upstream;
    }
    location = /quit_slow {
        retry_chain to_slow;
        retry_chain to_good wait=300ms;
        proxy_pass http://\$retry_chain_upstream;
    }
    location = /quit_hang {
        retry_chain to_hang timeout=300ms;
        retry_chain to_good;
        proxy_pass http://\$retry_chain_upstream;
    }
}
EOC

my ($worker) = $n->workers();

ok($worker, 'a worker') or BAIL_OUT('no worker');

# an open log, a pid, but no request yet; the worker gets a socket for each
# process that is started after it, and one less when the loader of the cache
# ends, a minute later

my $start = '';
my %start;

$n->wait_for(sub {
    my $before = $start;

    %start = fds();
    $start = join ' ', map { "$_:$start{$_}" } sort keys %start;
    $start eq $before || !sleep 0.5;
});

my (@rss, @wrong);

for my $round (1 .. $rounds) {
    @wrong = ();

    ordinary();
    files();
    failures();
    leaving();

    is(join(' ', @wrong[0 .. ($#wrong > 9 ? 9 : $#wrong)]), '',
       "round $round: the answers");

    my @more;

    $n->wait_for(sub { !(@more = more()) });
    is("@more", '', "round $round: no file is left open")
        or diag("before: $start");

    is(join(' ', temp_files()), '', "round $round: no temporary file is left");

    SKIP: {
        skip 'no stub_status', 1 if !$stub;
        my $count;

        $n->wait_for(sub {
            ($count = $n->ask('/active')->{body}) eq '1'
        }, 5);
        is($count, 1, "round $round: no connection is left");
    }

    push @rss, rss();
}

SKIP: {
    skip 'memory is not what it was', 1 if Ways::Nginx->slow() > 1;

    # a lost attempt would be 8 kB

    cmp_ok($rss[-1] - $rss[$settled - 1], '<=', 512,
           "no growth after round $settled, kB: @rss");
}

is(join(' ', $n->workers()), $worker, 'the worker is still the same');

# a quit while runs wait, drop a slow reply, and have an attempt that hangs

ways_reset();
my @clients = map { ask("/quit_$_") } (qw(wait slow hang)) x 5;
my $idle = $n->connect();

Ways::Nginx::send_all($idle, "GET /third HTTP/1.1\r\nHost: a\r\n\r\n");
Ways::Nginx::read_all($idle, until => qr/good /);

$n->wait_for(sub { 15 == (() = ways_calls() =~ / GET /g) });
$n->signal('QUIT');

is(join(' ', map { Ways::Nginx::answer(Ways::Nginx::read_all($_))->{status} }
                 @clients), join(' ', (200) x 15), 'a quit waits for all runs');
ok($n->ended(5), 'and ends');
is($n->bad(), '', 'a clean log');
unlike($n->log(), qr/open socket/, 'no socket was left');

done_testing();


# many answers on a few connections

sub ordinary {
    my @uris = qw(first third mute none rules page away at cache mirror
                  timeout);
    my %status = (none => 503, rules => 503, page => 503);

    my @clients = map { $n->connect() } 1 .. 8;

    for my $client (@clients) {
        Ways::Nginx::send_all($client, join '', map { <<"EOC" } (@uris) x 2);
GET /$_ HTTP/1.1\r
Host: a\r
\r
EOC
        Ways::Nginx::send_all($client, "GET /first HTTP/1.1\r\nHost: a\r\n"
                                       . "Connection: close\r\n\r\n");
    }

    for my $client (@clients) {
        my $raw = Ways::Nginx::read_all($client);

        for my $uri ((@uris) x 2, 'first') {
            my $a = Ways::Nginx::answer($raw);

            expect($uri, $a, $status{$uri} // 200);
            $raw = $a->{rest};
        }
    }
}


# bodies and replies that do not fit

sub files {
    my @clients;

    for my $uri ((qw(file file_only third mirror)) x 5) {
        push @clients, [$uri, ask("/$uri", 'POST', $body)];
    }

    push @clients, map { [$_, ask("/$_")] } (qw(big unbuffered)) x 3;

    for (@clients) {
        my ($uri, $client) = @$_;
        my $a = Ways::Nginx::answer(Ways::Nginx::read_all($client));

        expect($uri, $a, 200);
        push @wrong, "$uri body" if $a->{body} ne ($uri =~ /big|unbuf/ ? $big
                                                   : 'good ' . sum($body));
    }
}


sub failures {
    my %status = (deadline => 504);
    my @clients = map { [$_, ask("/$_")] }
                      (qw(cuts slow timeout deadline short)) x 6;

    for (@clients) {
        my ($uri, $client) = @$_;
        my $a = Ways::Nginx::answer(Ways::Nginx::read_all($client));

        expect($uri, $a, $status{$uri} // 200,
               $uri eq 'short' ? 'cut' : 'complete');
    }
}


# clients that go away: in a wait, an attempt, a body, an answer

sub leaving {
    my @clients;

    ways_reset();

    for (1 .. 10) {
        push @clients, ask('/long'), ask('/hang'), ask('/timeout'),
                       ask('/quit_slow');
    }

    for (1 .. 5) {
        my $client = ask('/big');
        sysread $client, my $in, 20_000;
        push @clients, $client;

        $client = ask('/unbuffered');
        sysread $client, $in, 20_000;
        push @clients, $client;

        $client = $n->connect();
        Ways::Nginx::send_all($client, "PUT /file HTTP/1.1\r\nHost: a\r\n"
                                       . "Content-Length: 200000\r\n\r\n$body");
        push @clients, $client;

        # two requests, and it is gone during the first

        $client = $n->connect();
        Ways::Nginx::send_all($client, join '', map { <<"EOC" } qw(long first));
GET /$_ HTTP/1.1\r
Host: a\r
\r
EOC
        push @clients, $client;
    }

    $n->wait_for(sub { ways_calls() =~ /^hang 10\.1 /m });

    close $_ for splice @clients;

    return if !$h2;

    for my $uri (qw(long hang big)) {
        system("curl -s -o $n->{dir}/out --http2-prior-knowledge --max-time 0.1"
               . ($uri eq 'big' ? ' --limit-rate 10k' : '')
               . " --unix-socket $n->{dir}/h2 http://a/$uri");
    }
}


sub expect {
    my ($uri, $a, $status, $end) = @_;

    $end //= 'complete';

    push @wrong, "$uri $a->{status} $a->{end}"
        if $a->{status} != $status || $a->{end} ne $end;
}


# sent, but not waited for

sub ask {
    my ($uri, $method, $content) = @_;

    my $client = $n->connect();
    my $length = defined $content
                 ? 'Content-Length: ' . length($content) . "\r\n" : '';

    Ways::Nginx::send_all($client, ($method // 'GET') . " $uri HTTP/1.1\r\n"
                                   . "Host: a\r\nConnection: close\r\n$length"
                                   . "\r\n" . ($content // ''));

    return $client;
}


# kinds of open files of which there are more than at the start

sub more {
    my %now = fds();

    return map { $now{$_} > ($start{$_} // 0) ? "$_:$now{$_}" : () }
               sort keys %now;
}


# kinds of the open files of the worker and how many there are

sub fds {
    my %count;

    for my $fd (glob "/proc/$worker/fd/*") {
        my $to = readlink $fd // next;

        $to =~ s/:\[.*//;
        $to =~ s/^\Q$n->{dir}\E//;
        $count{$to}++;
    }

    return %count;
}


sub rss {
    open my $in, '<', "/proc/$worker/status" or return 0;
    my ($kb) = map { /^VmRSS:\s+(\d+)/ ? $1 : () } <$in>;
    return $kb;
}


sub temp_files {
    my @found = grep { -f } glob("$n->{dir}/temp/*/*"),
                glob("$n->{dir}/temp/*/*/*"), glob("$n->{dir}/temp/*/*/*/*");

    return map { s{^\Q$n->{dir}\E/}{}r } @found;
}
