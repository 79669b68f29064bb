#!/usr/bin/perl

# Random upstreams, random clients, two workers: whatever happens, no worker
# dies, the log stays clean, and in the end all connections and files are
# given back.
#
#   CHAOS_SEED=n      the same mix of requests once more
#   CHAOS_SECONDS=n   for this long (8), longer where all is slow
#   CHAOS_ONLY=re     upstreams and locations by their names
#   CHAOS_SKIP=re

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Select;
use Test::More;
use Time::HiRes qw(time sleep);

use Slack qw(over);
use Ways;
use Ways::Nginx;

my $seed = $ENV{CHAOS_SEED} || (time() * 1000 ^ $$) & 0x7fffffff;
my $seconds = $ENV{CHAOS_SECONDS} || 8;
my $clients = 60;

srand($seed);
$SIG{PIPE} = 'IGNORE';
$SIG{ALRM} = sub { die "this takes too long" };
alarm($seconds + 600 * Ways::Nginx::slow());


# ---- upstreams ---------------------------------------------------------------

sub pick { return $_[rand @_] }

sub body {
    my ($n) = @_;
    return substr('0123456789abcdef' x (1 + $n / 16), 0, $n);
}

my @headers = ('Content-Type: text/html', 'ETag: "e"',
               'Set-Cookie: a=b', 'Cache-Control: max-age=1',
               'Last-Modified: Mon, 28 Sep 1970 06:00:00 GMT');

my %behaviour = (
    small => sub { reply(200, body(rand 2000), @headers) },
    big => sub { reply(200, body(rand 300_000), @headers) },
    chunked => sub { (reply(200, undef, @headers, 'Transfer-Encoding: chunked'),
           chunks(map { body(rand 30_000) } 1 .. rand 8)) },
    until_close => sub { (reply(200, undef, @headers, 'Connection: close'),
           body(rand 90_000), [close => 1]) },
    limited => sub { reply(429, body(rand 500), 'Retry-After: 1') },
    limited_cookie => sub { reply(429, body(rand 500), 'Set-Cookie: c=d') },
    failed => sub { reply(503, body(rand 40_000)) },
    failed_big => sub { reply(503, body(80_000 + rand 300_000)) },
    failed_slow => sub { (reply(502, undef, 'Transfer-Encoding: chunked'),
           "5\r\nabcde\r\n", [sleep => rand 0.05], chunks('the end')) },
    failed_unfinished => sub { (reply(500, undef, 'Content-Length: 10000'), body(rand 9000),
           [sleep => rand 0.3], [close => 1]) },
    failed_endless => sub { (reply(500, undef, 'Transfer-Encoding: chunked'),
           [endless => "1000\r\n" . body(4096) . "\r\n", rand 0.01]) },
    truncated => sub { (reply(200, undef, 'Content-Length: 100000'), body(rand 90_000),
           [sleep => rand 0.1], [close => 1]) },
    truncated_chunk => sub { (reply(200, undef, 'Transfer-Encoding: chunked'), "1000\r\nabc",
           [close => 1]) },
    bad_chunk => sub { (reply(200, undef, 'Transfer-Encoding: chunked'), 'zzz',
           [close => 1]) },
    close => sub { ([close => 1]) },
    reset => sub { ([reset => 1]) },
    slow_close => sub { ([sleep => rand 0.2], [close => 1]) },
    slow => sub { ([sleep => rand 0.3], reply(200, 'slow')) },
    half_header => sub { ("HTTP/1.1 200 OK\r\nX-A", [sleep => rand 0.2], [close => 1]) },
    http09 => sub { ("nonsense\r\n\r\n", [close => 1]) },
    http09_big => sub { ('x' x 20_000, [close => 1]) },
    not_modified => sub { reply(304, undef, @headers) },
    no_content => sub { reply(204, undef) },
    redirect => sub { reply(302, 'there', 'Location: /there') },
    accel => sub { reply(200, undef, 'X-Accel-Redirect: /files/big') },
    accel_named => sub { reply(200, undef, 'X-Accel-Redirect: @named') },
    accel_denied => sub { reply(503, undef, 'X-Accel-Redirect: /denied') },
    unauthorized => sub { reply(401, 'who', 'WWW-Authenticate: Basic realm="x"') },
    range => sub { reply(416, 'range') },
    ssi => sub { reply(200, "a<!--#include virtual=\"/plain/x\" -->b",
                'Content-Type: text/html') },
    early_hints => sub { ("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
           reply(200, 'hinted')) },
);

my $only = $ENV{CHAOS_ONLY} // '';
my $skip = $ENV{CHAOS_SKIP} // '^$';
my @behaviour = map { $behaviour{$_} } grep { /$only/ && !/$skip/ }
                sort keys %behaviour;

my %ways = map { $_ => sub {
    my ($req) = @_;

    my $steps = [ pick(@behaviour)->($req) ];

    # no body after HEAD
    return $steps->[0] =~ s/\r\n\r\n\K.*//sr
        if $req->{method} eq 'HEAD' && !ref $steps->[0];

    return @$steps;
} } qw(w1 w2 w3 w4 w5);

ways(%ways);


# ---- nginx ------------------------------------------------------------------

my $pass = 'proxy_pass http://$retry_chain_upstream;';
my $policies = <<'EOC';
retry_chain_retry status error attempts=2 interval=5ms jitter=full;
EOC

my $n = Ways::Nginx->start(main => 'worker_processes 2;',
    events => 'worker_connections 2048;', http => <<"EOC");
upstream refused { server 127.0.0.1:1; }

proxy_cache_path %%DIR%%/cache keys_zone=cache:1m inactive=1s;
client_body_buffer_size 4k;
proxy_buffers 4 4k;
proxy_busy_buffers_size 8k;
proxy_temp_file_write_size 8k;
proxy_read_timeout 150ms;
lingering_close off;
reset_timedout_connection on;
send_timeout 2s;
keepalive_timeout 2s;
client_body_timeout 1s;

server {
    listen %%PORT%%;
    retry_chain w1;
    retry_chain w2 wait=10ms timeout=100ms;
    retry_chain refused w3;
    retry_chain w4 wait=5ms;

    location / { $pass }
    location /nobuf { proxy_buffering off; $pass }
    location /any { retry_chain_non_idempotent on; $pass }
    location /rules { $policies $pass }
    location /deadline { retry_chain_timeout 80ms; $pass }
    location /strict { retry_chain_success 204; $pass }
    location /ranges { proxy_force_ranges on; $pass }
    location /ssi { ssi on; $pass }
    location /plain { retry_chain off; proxy_pass http://w5; }
    location /sub { sub_filter 0 zero; sub_filter_once off; $pass }
    location /intercept { proxy_intercept_errors on;
                          error_page 429 500 502 503 504 401 = /error; $pass }
    location /errnamed { error_page 429 500 502 503 504 \@named; $pass }
    location /error { proxy_pass http://w5; }
    location /cache { proxy_cache cache; proxy_cache_valid any 1s;
                      proxy_cache_use_stale error timeout updating http_503;
                      proxy_cache_background_update on; proxy_cache_lock on;
                      proxy_cache_lock_timeout 20ms; $pass }
    location /limit { limit_rate 100k; $pass }
    location /auth { auth_request /plain/auth; $pass }
    location /mirror { mirror /plain/mirror; $pass }
    location /named { retry_chain w1 \@named; $pass }
    location /abort { proxy_ignore_client_abort on; $pass }
    location /replace { proxy_set_body "other \$retry_chain_upstream";
                        retry_chain_non_idempotent on; $pass }
    location /files { internal; retry_chain off; alias %%DIR%%/files; }
    location /denied { deny all; }
    location \@named { proxy_pass http://w5; }
    location /sendfile { sendfile on; proxy_max_temp_file_size 100m; $pass }
    location /threads { aio threads; aio_write on; sendfile on; $pass }
}

server {
    listen unix:%%DIR%%/status;
    location = /status { stub_status; access_log off; }
}
EOC

mkdir "$n->{dir}/files";
open my $out, '>', "$n->{dir}/files/big" or die;
print $out body(200_000);
close $out;

# processes of the cache have no title of their own yet when they begin

my @workers;

$n->wait_for(sub { (@workers = $n->workers()) == 2 });

my @uris = $n->slurp('conf/nginx.conf') =~ m{location (/[a-z]*) }g;
@uris = grep { !m{^/(?:status|files|denied|plain|error)$} && !/$skip/ } @uris;

is(@workers, 2, 'two workers');

my %before = fds();


# ---- clients ----------------------------------------------------------------

my %kinds = (
    plain => sub { request('GET', 'close') },
    head => sub { request('HEAD', 'close') },
    http10 => sub { request('GET', undef, v => '1.0') },
    keep10 => sub { request('GET', 'keep-alive', v => '1.0') },
    post => sub { request('POST', 'close', body => body(rand 100_000)) },
    put => sub { request('PUT', 'close', body => body(rand 20_000)) },
    chunked => sub { request('PUT', 'close', chunked => body(rand 50_000)) },
    range => sub { request('GET', 'close', h => "Range: bytes=0-9,20-29\r\n") },
    ifnone => sub { request('GET', 'close', h => "If-None-Match: \"e\"\r\n") },
    pipelined => sub {
        join '', (map { request(pick(qw(GET GET PUT HEAD)), undef,
                                body => body(rand 5000)) } 1 .. rand 5),
                 request('GET', 'close')
    },
    unfinished => sub { substr request('POST', 'close', body => body(30_000)),
                               0, 200 + rand 20_000 },
);

sub request {
    my ($method, $connection, %arg) = @_;

    my $v = $arg{v} || '1.1';
    my $body = $method =~ /^(?:GET|HEAD)$/ ? undef : $arg{body};
    my $uri = pick(@uris) . '/' . int(rand 20);

    return "$method $uri HTTP/$v\r\nHost: a\r\n"
           . ($connection ? "Connection: $connection\r\n" : '')
           . ($arg{h} // '')
           . (defined $body ? 'Content-Length: ' . length($body) . "\r\n" : '')
           . (defined $arg{chunked} ? "Transfer-Encoding: chunked\r\n" : '')
           . "\r\n" . ($body // '')
           . (defined $arg{chunked} ? chunks($arg{chunked}) : '');
}

my %client;
my ($made, $answered, $aborted, $bytes, $junk) = (0) x 5;
my $start = time();
my $enough = 5 * $seconds;

while (unfinished() || %client) {

    while (unfinished() && keys %client < $clients) {
        my $s = $n->connect();
        my $kind = pick(sort keys %kinds);
        my $c = { s => $s, out => $kinds{$kind}->(), in => '', kind => $kind,
                  start => time() };

        $s->blocking(0);

        $c->{quit} = time() + rand 0.25
            if rand() < 0.35 || $kind =~ /^(?:unfinished|keep10)$/;
        $c->{slow} = 1 if rand() < 0.1;

        $client{ fileno($s) } = $c;
        $made++;
    }

    my $r = IO::Select->new(map { $_->{s} }
                            grep { !$_->{slow} || rand() < 0.05 }
                            values %client);
    my $w = IO::Select->new(map { $_->{s} }
                            grep { length $_->{out} } values %client);

    my ($readable, $writable) = IO::Select->select($r, $w, undef, 0.01);

    for my $s (@{ $writable || [] }) {
        my $c = $client{ fileno($s) };
        my $k = syswrite($s, $c->{out}, 1 + rand 40_000);

        substr($c->{out}, 0, $k, '') if $k;
        $c->{out} = '' if !defined $k && !$!{EAGAIN};
    }

    for my $s (@{ $readable || [] }) {
        my $c = $client{ fileno($s) } or next;
        my $k = sysread($s, my $buf, $c->{slow} ? 5000 : 65536);

        if ($k) {
            $c->{in} = substr($c->{in}, 0, 100) . substr($buf, 0, 100)
                if length $c->{in} < 100;
            $bytes += $k;

        } elsif (defined $k || !$!{EAGAIN}) {

            # a reply without a header is one of HTTP/0.9

            if (length $c->{in}) {
                $answered++;
                $junk++ if $c->{in} !~ m{^(?:HTTP/1.1 \d{3} |nonsense|xxx)};
            }

            delete $client{ fileno($s) };
            close $s;
        }
    }

    for my $c (values %client) {

        if ((defined $c->{quit} && time() > $c->{quit})
            || (!unfinished() && $c->{slow}))
        {
            $aborted++;
            delete $client{ fileno($c->{s}) };

            # one half with a reset

            setsockopt($c->{s}, Socket::SOL_SOCKET(), Socket::SO_LINGER(),
                       pack('ii', 1, 0)) if rand() < 0.5;
            close $c->{s};

        } elsif (over($c->{start}, 8 * Ways::Nginx::slow())) {
            fail("a client of kind $c->{kind} got no end: $c->{in}");
            delete $client{ fileno($c->{s}) };
            close $c->{s};
        }
    }
}

note("$made clients, $answered answered, $aborted aborted, $bytes bytes");


# ---- afterwards -------------------------------------------------------------

cmp_ok($answered, '>', $enough, 'clients were answered');
is($junk, 0, 'by HTTP/1.1');
is_deeply([sort $n->workers()], [sort @workers], 'no worker died');

my $results = $n->access();

like($results, qr/ $_ \[/, "result $_") for qw(success exhausted aborted);

ok($n->wait_for(sub { active() == 1 }, 10), 'all connections were given back')
    or diag('active: ' . active());

my %after;

ok($n->wait_for(sub { %after = fds(); !grep { $after{$_} > $before{$_} + 40 }
                                           @workers }, 3),
   'no growing number of files') or diag(explain(\%before, \%after));

# kept connections to the upstreams, logs, listening and channel sockets

is(join("\n", map { deleted($_) } @workers), '', 'no temporary file is left');

is($n->bad(), '', 'a clean log');

$n->signal('QUIT');
ok($n->ended(10), 'a graceful end');
is($n->bad(), '', 'a clean log at the end');
is(join('', $n->log() =~ /^(.*open socket #\d+ left in connection.*)$/m), '',
   'no socket is left');

diag("CHAOS_SEED=$seed") if !Test::More->builder->is_passing;

done_testing();


# as long as it was to be, and until there was something to see

sub unfinished {
    return time() - $start < $seconds
           || $answered <= $enough && !over($start, 4 * $seconds);
}


sub active {
    my $s = IO::Socket::UNIX->new(Peer => "$n->{dir}/status") or return -1;

    Ways::Nginx::send_all($s, "GET /status HTTP/1.0\r\n\r\n");
    return Ways::Nginx::read_all($s) =~ /Active connections: (\d+)/ ? $1 : -1;
}


sub fds {
    return map { my @f = glob("/proc/$_/fd/*"); $_ => scalar @f } @workers;
}


sub deleted {
    my ($pid) = @_;

    return grep { m{/temp/} } map { readlink($_) // '' }
           glob("/proc/$pid/fd/*");
}
