#!/usr/bin/perl

# Clients that leave: over HTTP/1, TLS and HTTP/2.  A client that goes away ends
# its run at once, wherever it is.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Select;
use IO::Socket::INET;
use POSIX ();
use Socket qw(SOL_SOCKET SO_LINGER SHUT_WR);
use Test::More;
use Time::HiRes qw(time);

use Slack qw(stretch);
use Ways;
use Ways::H2;
use Ways::Nginx qw(request);

my $ssl = Ways::Nginx::has_tls();
my $v2 = Ways::Nginx::has('http_v2_module');
my $curl = `curl --version 2>/dev/null` // '';

my $page = "page\n" x 100;
my $k = stretch();

ways(
    limited => sub { reply(429, "slow down\n", 'Retry-After: 1') },
    good => sub { reply(200, "$_[0]{method} " . sum($_[0]{body}) . "\n") },
    hang => sub { [eof => 1] },
    late => sub { ([sleep => 0.4 * $k], reply(200, $page)) },
    late_limited => sub { ([sleep => 0.4 * $k], reply(429, "slow down\n")) },
    endless => sub { (reply(200), [endless => 'x' x 8192]) },
    trickle => sub { (reply(200), [endless => 'x', 0.01]) },
    drip => sub { (reply(429, undef, 'Content-Length: 100'), 'x',
                   [eof => 1]) },
    fcgi_limited => sub { fcgi($_[0], "Status: 429 No\r\n\r\nslow down\n") },
    fcgi_hang => sub { [eof => 1] },
);


# ---- the locations ----------------------------------------------------------

my $locations = '';

# a socket whose queue is full: nobody gets a connection, nobody is refused

my @stuck = stuck();
my $stuck = $stuck[0]->sockport();

my %ignore = ('' => '', '/ignore' => 'proxy_ignore_client_abort on;'
                                     . 'fastcgi_ignore_client_abort on;');

for my $ignore (sort keys %ignore) {
    my $conf = $ignore{$ignore};

    $locations .= <<"EOC";
location = $ignore/wait {
    $conf
    retry_chain limited;
    retry_chain good wait=20s;
    proxy_pass http://\$retry_chain_upstream;
}
location = $ignore/first {
    $conf
    retry_chain hang good;
    proxy_pass http://\$retry_chain_upstream;
}
location = $ignore/second {
    $conf
    retry_chain limited hang good;
    proxy_pass http://\$retry_chain_upstream;
}
location = $ignore/fcgi {
    $conf
    retry_chain fcgi_limited fcgi_hang;
    fastcgi_param REQUEST_URI \$request_uri;
    fastcgi_pass \$retry_chain_upstream;
}
location = $ignore/discard {
    $conf
    retry_chain drip;
    retry_chain good wait=20s;
    proxy_pass http://\$retry_chain_upstream;
}
location = $ignore/connect {
    $conf
    retry_chain limited 127.0.0.1:$stuck good;
    proxy_pass http://\$retry_chain_upstream;
}
location = $ignore/body {
    $conf
    proxy_buffers 4 8k;
    proxy_max_temp_file_size 0;
    retry_chain limited endless good;
    proxy_pass http://\$retry_chain_upstream;
}
location = $ignore/unbuffered {
    $conf
    proxy_buffering off;
    retry_chain limited trickle good;
    proxy_pass http://\$retry_chain_upstream;
}
location = $ignore/late {
    $conf
    retry_chain late good;
    proxy_pass http://\$retry_chain_upstream;
}
location = $ignore/late_second {
    $conf
    retry_chain late_limited late good;
    proxy_pass http://\$retry_chain_upstream;
}
location = $ignore/late_wait {
    $conf
    retry_chain late_limited;
    retry_chain good wait=20s;
    proxy_pass http://\$retry_chain_upstream;
}
location = /plain$ignore/first { $conf proxy_pass http://hang; }
location = /plain$ignore/late { $conf proxy_pass http://late; }
location = /plain$ignore/body {
    $conf
    proxy_buffers 4 8k;
    proxy_max_temp_file_size 0;
    proxy_pass http://endless;
}
location = /plain$ignore/unbuffered {
    $conf
    proxy_buffering off;
    proxy_pass http://trickle;
}
EOC
}

my $listen = Ways::Nginx::other_listens();

my $n = Ways::Nginx->start(level => 'info', http => <<"EOC");
lingering_close off;
http2_max_concurrent_streams 128;
keepalive_timeout 60s;

server {
    listen %%PORT%%;
    $listen
    $locations

    location = /probe { return 200 "probe\\n"; }
    location = /status { access_log off; stub_status; }
}
EOC


# ---- clients that leave -----------------------------------------------------

# where it is: the statuses in the log, and the way that is cut

my %place = (
    wait => ['429', undef],
    first => ['499', 'hang'],
    second => ['429, 499', 'hang'],
    fcgi => ['429, 499', 'fcgi_hang'],
    discard => ['429', 'drip'],
    connect => ['429, 499', undef],
    body => ['429, 200', 'endless'],
    unbuffered => ['429, 200', 'trickle'],
);

my %client = (
    'close' => sub { h1($_[0], sub { close $_[0] }) },
    'reset' => sub { h1($_[0], sub {
        setsockopt($_[0], SOL_SOCKET, SO_LINGER, pack('ii', 1, 0));
        close $_[0];
    }) },
    'half-close' => sub { h1($_[0], sub { shutdown $_[0], SHUT_WR }) },
    'pipeline' => sub { h1($_[0], sub { close $_[0] }, "GET /probe HTTP/1.1\r\n"
                                                       . "Host: a\r\n\r\n") },
);

if ($v2) {
    $client{'HTTP/2 reset'} = sub { h2_leave($_[0], sub { $_[0]->reset(1) }) };
    $client{'HTTP/2 close'} = sub { h2_leave($_[0], sub { $_[0]->close() }) };
}

if ($ssl && $curl) {
    $client{'TLS'} = sub { killed($_[0], '--http1.1') };
    $client{'HTTP/2 over TLS'} = sub { killed($_[0], '--http2') }
        if $v2 && $curl =~ /HTTP2/;
}

my $count = 0;

for my $client (sort keys %client) {
    for my $place (sort keys %place) {
        my ($statuses, $way) = @{ $place{$place} };
        my $name = "$client, $place";
        my $uri = "/$place?" . ++$count;

        ways_reset();

        my ($leave, $see) = $client{$client}->($uri);

        ok($n->wait_for(sub { reached($place, $uri, $see) }),
           "$name: it is there");

        my $start = time();
        my $kept = $leave->();

        ok($n->wait_for(sub { line($uri) }), "$name: the end");

        # what it would wait for otherwise takes 20 seconds and more

        cmp_ok(time() - $start, '<', 15, "$name: at once");

        my $status = $statuses =~ /200$/ ? 200 : 499;

        like(line($uri), qr/^\S+ $status aborted \[.*\] \[$statuses\]$/,
             "$name: the log");
        unlike(ways_calls(), qr/^good /m, "$name: no further attempt");

        ok($n->wait_for(sub { ways_calls() =~ /^$way \S+ cut$/m }),
           "$name: the upstream notices") if defined $way;
        undef $kept;
    }
}

# as plain nginx: what is in the log, and what the upstream sees of it

for my $ignore ('', '/ignore') {
    for my $place (qw(late body unbuffered), $ignore ? () : 'first') {
        my @got = map { left("$_?" . ++$count, $place, $ignore) }
                      "/plain$ignore/$place", "$ignore/$place";

        is($got[1], $got[0], "close, $ignore/$place: as plain nginx");
    }
}

# with proxy_ignore_client_abort an attempt is not cut; there is none after it
# for a client that is known to be gone

is(left('/ignore/late?' . ++$count, 'late', '/ignore'), '200, not cut',
   'an attempt goes on with proxy_ignore_client_abort');

for my $place (qw(wait discard)) {
    my $uri = "/ignore/$place?" . ++$count;

    ways_reset();

    my ($leave) = $client{close}->($uri);

    ok($n->wait_for(sub { reached($place, $uri) }), "$uri: it is there");
    $leave->();
    ok($n->wait_for(sub { line($uri) }), "$uri: a wait is over at once");
    like(line($uri), qr/^\S+ 499 aborted \[.*\] \[429\]$/, "$uri: the log");
    unlike(ways_calls(), qr/^good /m, "$uri: no further attempt");
}

{
    my $uri = '/ignore/late_wait?' . ++$count;

    ways_reset();

    my ($leave) = $client{close}->($uri);

    ok($n->wait_for(sub { reached('late_limited', $uri) }), 'it is there');
    $leave->();
    ok($n->wait_for(sub { line($uri) }), 'gone in an attempt that goes on');
    like(line($uri), qr/^\S+ 499 aborted \[.*\] \[429\]$/,
         'the wait after it is not begun');
    unlike(ways_calls(), qr/^(?:good |\S+ \S+ cut)/m, 'no further attempt');
}


# ---- streams that are left --------------------------------------------------

SKIP: {
    skip 'no HTTP/2', 1 if !$v2;

    my $c = Ways::H2->connect($n);
    my %uri;

    # some of many: the others do not notice

    ways_reset();

    for my $i (1 .. 10) {
        for my $place (qw(wait first second discard)) {
            my $uri = "/$place?" . ++$count;

            $uri{ $c->ask(GET => $uri) } = [$place, $uri];
        }
    }

    my @late = map { $c->ask(GET => '/late_second') } 1 .. 5;

    ok($c->until(sub {
        !grep { !reached(@{ $uri{$_} }) } keys %uri;
    }), '40 streams under way');

    my @gone = grep { $_ % 4 == 1 } sort { $a <=> $b } keys %uri;
    my @kept = grep { $_ % 4 == 3 } sort { $a <=> $b } keys %uri;

    $c->reset($_) for @gone;

    ok($c->until(sub { @gone == grep { line($uri{$_}[1]) } @gone }),
       'half of them are reset');
    is(scalar(grep { line($uri{$_}[1]) } @kept), 0, 'the others go on');
    is(scalar(grep { length $c->stream($_)->{end} } @kept), 0,
       'without an answer');
    ok($c->wait_all(@late), 'new answers');
    is(join(' ', map { $c->outline($_) } @late),
       join(' ', ("200 " . $page =~ s/\n\z//r . ' complete') x 5),
       'as they should be');

    my $probe = $c->ask(GET => '/probe');

    ok($c->wait_all($probe), 'a new stream');
    is($c->outline($probe), '200 probe complete', 'on the same connection');

    # the connection is closed

    $c->close();

    ok($n->wait_for(sub { @kept == grep { line($uri{$_}[1]) } @kept }),
       'the connection is closed: all end');
    is(scalar(grep { line($uri{$_}[1]) !~ / 499 aborted / } keys %uri), 0,
       'as aborted');
    unlike(ways_calls(), qr/^good /m, 'no further attempt');

    my %seen;

    $n->wait_for(sub {
        %seen = ();
        $seen{$_}++ for ways_calls() =~ /^(\w+) \S+ cut$/mg;
        return ($seen{hang} // 0) == 20 && ($seen{drip} // 0) == 10;
    });
    is("$seen{hang} $seen{drip}", '20 10', 'each upstream notices');

    # a reader that stops reading holds the upstream back, then leaves

    for my $place (qw(body unbuffered)) {
        my $slow = Ways::H2->connect($n, window => 3000);
        my $uri = "/$place?" . ++$count;

        ways_reset();

        my $id = $slow->ask(GET => $uri);

        ok($slow->until(sub { length $slow->stream($id)->{body} >= 10 }),
           "HTTP/2, $place: a part of it");
        $slow->reset($id);
        ok($n->wait_for(sub { line($uri) }), "HTTP/2, $place: left");
        like(line($uri), qr/ 200 aborted .* \[429, 200\]$/,
             "HTTP/2, $place: the log");
        $slow->close();

        my ($sent) = cut_events();

        cmp_ok($sent // 1e9, '<', 1_000_000, "HTTP/2, $place: held back");
    }
}


# ---- afterwards -------------------------------------------------------------

# of the clients only the one that asks is left

ok($n->wait_for(sub { $n->ask('/status')->{body}
                      =~ /^Active connections: 1 $/m }),
   'no connection is left');
is($n->bad(), '', 'a clean log');
$n->signal('QUIT');
ok($n->ended(5), 'the end');
is($n->bad(), '', 'a clean log at the end');

done_testing();


sub stuck {
    my $full = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1)
        or die "listen: $!";

    listen $full, 0;

    return ($full, map { IO::Socket::INET->new(PeerAddr => '127.0.0.1',
                                               PeerPort => $full->sockport(),
                                               Blocking => 0) } 1 .. 3);
}


# what ways had sent when they were cut

sub cut_events {
    my @sent;

    $n->wait_for(sub {
        @sent = map { /^\S+ \S+ cut\t\w+\t(\d+)/ ? $1 : () } ways_events();
    });

    return @sent;
}


# clients that leave: a request is sent; returned are how they do it, and
# whether they have seen something of a reply

sub h1 {
    my ($uri, $leave, $more) = @_;

    my $s = $n->connect();

    Ways::Nginx::send_all($s, request('GET', $uri, '', 1) . ($more // ''));

    my $got = '';

    return (sub { $leave->($s); $s },
            sub { IO::Select->new($s)->can_read(0.01)
                      && sysread($s, $got, 4096, length $got);
                  $got =~ /\r\n\r\n.*x/s });
}


sub h2_leave {
    my ($uri, $leave) = @_;

    my $c = Ways::H2->connect($n);
    my $id = $c->ask(GET => $uri);

    $c->flush();

    return (sub { $leave->($c); $c },
            sub { $c->until(sub { length $c->stream($id)->{body} }, 0.2) });
}


sub killed {
    my ($uri, $http) = @_;

    my $out = "$n->{dir}/killed";

    unlink $out;

    my $pid = fork() // die "fork: $!";

    if (!$pid) {
        open STDERR, '>', '/dev/null';
        exec 'curl', '-skgN', $http, '-o', $out, '--max-time', 60,
             '--unix-socket', "$n->{dir}/tls", "https://a$uri"
            or POSIX::_exit(1);
    }

    return (sub { kill 'KILL', $pid; waitpid $pid, 0 }, sub { -s $out });
}


# the run of this URI has come so far

sub reached {
    my ($place, $uri, $see) = @_;

    return $n->log() =~ /retrying in 20000 ms.*"GET \Q$uri\E / if $place
                        =~ /wait|discard/;
    return $n->log() =~ /retrying in 0 ms.*"GET \Q$uri\E / if $place eq
                                                              'connect';

    my $way = $place =~ /^(?:first|second)$/ ? 'hang'
              : $place eq 'fcgi' ? 'fcgi_hang'
              : $place eq 'body' ? 'endless'
              : $place eq 'unbuffered' ? 'trickle' : $place;

    return 0 if ways_calls() !~ /^$way \S+ (?:GET )?\Q$uri\E$/m;
    return $place !~ /^(?:body|unbuffered)$/ || !$see || $see->();
}


sub line {
    my ($uri) = @_;
    return $n->access() =~ /^(\Q$uri\E .*)$/m ? $1 : undef;
}


# a client that closes: what nginx logs, whether the upstream was cut

sub left {
    my ($uri, $place, $ignore) = @_;

    ways_reset();

    my ($leave, $see) = $client{close}->($uri);

    $n->wait_for(sub { reached($place, $uri, $see) });
    $leave->();
    $n->wait_for(sub { line($uri) });

    my ($status) = (line($uri) // '') =~ / (\d+) /;
    my $cut = $ignore eq '' || $place ne 'late'
              ? $n->wait_for(sub { ways_calls() =~ /^\w+ \S+ cut$/m })
              : ways_calls() =~ /^\w+ \S+ cut$/m;

    return ($status // 'nothing') . ($cut ? ', cut' : ', not cut');
}
