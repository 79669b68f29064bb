#!/usr/bin/perl

# Clients of all kinds, and those that leave: HTTP/1.0, pipelines, TLS, HTTP/2.
# An answer after retries is what a client gets without a chain; a client that
# goes away ends its run at once, wherever it is.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use File::Temp qw(tempdir);
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use POSIX ();
use Socket qw(SOL_SOCKET SO_LINGER SOCK_STREAM SHUT_WR);
use Test::More;
use Time::HiRes qw(time sleep);

use Ways;
use Ways::H2;
use Ways::Nginx;

my $nginx = $ENV{TEST_NGINX_BINARY} || 'nginx';
my $has = `$nginx -V 2>&1`;
my $ssl = $has =~ /http_ssl_module/ && `openssl version` =~ /OpenSSL/;
my $v2 = $has =~ /http_v2_module/;
my $curl = `curl --version 2>/dev/null` // '';

my $some = lines(9_000);
my $big = lines(600_000);
my $page = "page\n" x 100;

ways(
    limited => sub { reply(429, "slow down\n", 'Retry-After: 1') },
    mute => sub { [close => 1] },
    good => sub { reply(200, "$_[0]{method} " . sum($_[0]{body}) . "\n") },

    # replies in many forms

    http10 => sub { (bare($_[0], "HTTP/1.0 200 OK\r\n\r\nan old one\n"),
                     [close => 1]) },
    http10_length => sub { (bare($_[0], "HTTP/1.0 200 OK\r\n"
                                 . "Content-Length: 4\r\n\r\nold\n"),
                            [close => 1]) },
    http10_kept => sub { bare($_[0], "HTTP/1.0 200 OK\r\n"
                              . "Connection: keep-alive\r\n"
                              . "Content-Length: 4\r\n\r\nold\n") },
    length => sub { bare($_[0], reply(200, $some)) },
    chunked => sub { bare($_[0], reply(200, undef, 'Transfer-Encoding: chunked')
                                 . chunks(unpack '(a1000)*', $some)) },
    until_close => sub { (bare($_[0], reply(200) . $some), [close => 1]) },
    empty => sub { bare($_[0], reply(200, '')) },
    no_content => sub { reply(204) },
    not_modified => sub { reply(304, undef, 'ETag: "a"') },
    large => sub { bare($_[0], reply(200, $big)) },
    failure => sub { (bare($_[0], reply(503, undef,
                                        'Transfer-Encoding: chunked')
                                  . chunks('bro', "ken\n"))) },
    short => sub { (bare($_[0], reply(200, undef, 'Content-Length: 100')
                                . 'short'), [close => 1]) },

    # those that a client leaves

    hang => sub { [eof => 1] },
    late => sub { ([sleep => 0.4], reply(200, $page)) },
    late_limited => sub { ([sleep => 0.4], reply(429, "slow down\n")) },
    endless => sub { (reply(200), [endless => 'x' x 8192]) },
    trickle => sub { (reply(200), [endless => 'x', 0.01]) },
    drip => sub { (reply(429, undef, 'Content-Length: 100'), 'x',
                   [eof => 1]) },
    fcgi_limited => sub { fcgi($_[0], "Status: 429 No\r\n\r\nslow down\n") },
    fcgi_hang => sub { [eof => 1] },
);


# ---- the locations ----------------------------------------------------------

my $locations = '';

my @forms = qw(http10 http10_length http10_kept length chunked until_close
               empty no_content not_modified large failure short);

for my $form (@forms) {
    for my $version ('1.0', '1.1') {
        for my $buffering ('on', 'off') {
            my $conf = "proxy_http_version $version;"
                       . "proxy_buffering $buffering;";

            $locations .= <<"EOC";
location = /form/$form/$version/$buffering {
    retry_chain limited mute $form;
    $conf
    proxy_pass http://\$retry_chain_upstream;
}
location = /plain/form/$form/$version/$buffering {
    $conf
    proxy_pass http://$form;
}
EOC
        }
    }
}


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

my $cert = tempdir('retry_chain_cert.XXXXXX', TMPDIR => 1, CLEANUP => 1);
my $listen = $v2 ? 'listen unix:%%DIR%%/h2 http2;' : '';

if ($ssl) {
    `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=a -keyout $cert/key -out $cert/cert 2>&1`;
    $listen .= 'listen unix:%%DIR%%/tls ssl' . ($v2 ? ' http2;' : ';')
               . "ssl_certificate $cert/cert; ssl_certificate_key $cert/key;";
}

my $n = Ways::Nginx->start(level => 'info', http => <<"EOC");
lingering_close off;
client_max_body_size 4m;
http2_max_concurrent_streams 128;
keepalive_timeout 60s;

server {
    listen %%PORT%%;
    $listen
    client_body_buffer_size 1k;
    $locations

    location = /probe { return 200 "probe\\n"; }
    location = /status { access_log off; stub_status; }
    location = /memory {
        client_body_buffer_size 2m;
        retry_chain limited mute good;
        proxy_pass http://\$retry_chain_upstream;
    }
    location = /file {
        retry_chain limited mute good;
        proxy_pass http://\$retry_chain_upstream;
    }
    location = /narrow {
        retry_chain limited mute large;
        proxy_buffers 4 8k;
        proxy_max_temp_file_size 0;
        proxy_pass http://\$retry_chain_upstream;
    }
}
EOC


# ---- replies in many forms, to HTTP/1 clients -------------------------------

for my $form (@forms) {
    for my $version ('1.0', '1.1') {
        for my $buffering ('on', 'off') {
            my $uri = "/form/$form/$version/$buffering";
            my %got;

            for my $client ('GET 1.1', 'HEAD 1.1', 'GET 1.0', 'GET 1.0 kept') {
                my ($chain, $plain) = map { exchange($client, $_) }
                                          $uri, "/plain$uri";

                is($chain, $plain, "$uri, $client");
            }
        }
    }
}

# one connection, one request after the other, at once or in turn

for my $at_once (1, 0) {
    my @uris = map { "/form/$_" } qw(length/1.1/on chunked/1.1/on large/1.1/on
                                     failure/1.1/off http10/1.0/on
                                     empty/1.1/on not_modified/1.1/on
                                     large/1.1/off length/1.0/off);
    my @got = map { my $from = $_;
                    talk($at_once, map { ("$from$_", '/memory', '/file') }
                                       @uris) } '', '/plain';

    is($got[0], $got[1], 'one connection, ' . ($at_once ? 'pipelined'
                                                        : 'in turn'));
    is(() = $got[0] =~ /^HTTP/mg, 3 * @uris, 'all of them');
}


# ---- clients over TLS -------------------------------------------------------

for my $http ('--http1.1', '--http2') {
    SKIP: {
        skip 'no TLS', 1 if !$ssl || !$curl;
        skip 'no HTTP/2', 1 if $http eq '--http2' && ($curl !~ /HTTP2/ || !$v2);

        for my $form (@forms) {
            for my $more ('', '-I') {
                my $uri = "/form/$form/1.1/on";
                my ($chain, $plain) = map { curl('tls', "$http $more", $_) }
                                          $uri, "/plain$uri";

                is($chain, $plain, "$uri, curl $http $more over TLS");
            }
        }

        for my $uri ('/memory', '/file') {
            like(curl('tls', "$http --data-binary \@- -X PUT", $uri, $big),
                 qr/^PUT @{[ sum($big) ]}$/m, "PUT $uri, curl $http over TLS");
            is(calls(), join('', map { "$_ " . sum($big) . "\n" }
                                     qw(limited mute good)),
               "PUT $uri, curl $http over TLS: every attempt");
        }
    }
}

SKIP: {
    skip 'no h2c client', 1 if $curl !~ /HTTP2/ || !$v2;

    # asked for in HTTP/1.1, which nginx does not do, and taken for granted

    for my $how ('--http2', '--http2-prior-knowledge') {
        my $socket = $how eq '--http2' ? $n->{port} : 'h2';

        for my $form (@forms) {
            my $uri = "/form/$form/1.1/on";
            my ($chain, $plain) = map { curl($socket, $how, $_) }
                                      $uri, "/plain$uri";

            is($chain, $plain, "$uri, curl $how");
        }
    }
}


# ---- HTTP/2 -----------------------------------------------------------------

SKIP: {
    skip 'no HTTP/2', 1 if !$v2;

    # many at a time, each with two failures before its answer

    my $c = h2();
    my %sum;

    ways_reset();

    for my $i (1 .. 60) {
        my $body = substr $big, 100 * $i, 800 * $i;
        my $id = $c->ask(PUT => $i % 2 ? '/memory' : '/file', body => $body,
                         length => $i % 3);

        $sum{$id} = sum($body);
    }

    ok($c->wait_all(keys %sum), '60 streams end');
    is(join(' ', map { outline($c, $_) } sort { $a <=> $b } keys %sum),
       join(' ', map { "200 PUT $sum{$_} complete" } sort { $a <=> $b }
                                                     keys %sum),
       'each with its own body');

    for my $way (qw(limited mute good)) {
        is(join(' ', sort map { /^$way \S+ PUT \S+ (\S+)$/ ? $1 : () }
                              split /\n/, ways_calls()),
           join(' ', sort values %sum), "$way gets each body, whole");
    }

    # bodies of all sizes, with a length and without

    for my $uri ('/memory', '/file') {
        for my $body ('', 'x', $some, $big) {
            for my $length (0, 1) {
                ways_reset();

                my $id = $c->ask(PUT => $uri, body => $body,
                                 length => $length);
                my $name = "HTTP/2, PUT $uri, " . sum($body)
                           . ($length ? ' announced' : '');

                ok($c->wait_all($id), "$name: ends");
                is(outline($c, $id), '200 PUT ' . sum($body) . ' complete',
                   $name);

                my %seen = map { $_ => 1 } calls() =~ /^\w+(.*)$/mg;
                is(join(' ', sort keys %seen), length $body ? ' ' . sum($body)
                                                            : '',
                   "$name: in each attempt");
            }
        }
    }

    # the body comes bit by bit; nothing is sent before its end

    ways_reset();

    my $id = $c->ask(PUT => '/file', open => 1);

    for my $part (unpack '(a3000)*', $some) {
        my $other = $c->ask(GET => '/probe');

        ok($c->wait_all($other), 'another stream');
        is(ways_calls(), '', 'no attempt yet');
        $c->more($id, $part);
    }

    $c->more($id, '', 1);
    ok($c->wait_all($id), 'a body in parts');
    is(outline($c, $id), '200 PUT ' . sum($some) . ' complete', 'is whole');

    # HEAD

    for my $form (@forms) {
        my @got;

        for my $uri ("/form/$form/1.1/on", "/plain/form/$form/1.1/on") {
            my $id = $c->ask(HEAD => $uri);

            ok($c->wait_all($id), "HTTP/2, HEAD $uri ends");
            push @got, outline($c, $id);
        }

        is($got[0], $got[1], "HTTP/2, HEAD of $form");
        like($got[0], qr/^\d+  complete$/, 'has no body');
    }

    # the end of each form

    for my $form (@forms) {
        for my $buffering ('on', 'off') {
            my @got;

            for my $uri ("/form/$form/1.1/$buffering",
                         "/plain/form/$form/1.1/$buffering")
            {
                my $id = $c->ask(GET => $uri);

                ok($c->wait_all($id), "HTTP/2, GET $uri ends");
                push @got, $c->stream($id)->{status} . ' '
                           . sum($c->stream($id)->{body}) . ' '
                           . $c->stream($id)->{end};
            }

            is($got[0], $got[1], "HTTP/2, $form, buffering $buffering");
        }
    }

    # a slow reader: windows of 3000 bytes, opened when they are used up

    for my $uri ('/narrow', '/form/large/1.1/on', '/form/large/1.1/off') {
        my $slow = h2(window => 3000);
        my $id = $slow->ask(GET => $uri);
        my $stream = $slow->stream($id);
        my $opened = 3000;

        while (!length $stream->{end}) {
            last if !$slow->until(sub { length $stream->{body} >= $opened
                                        || length $stream->{end} });
            my $next = $opened < 30_000 ? 3000 : 200_000;

            $opened += $next;
            $slow->open_window($_, $next) for 0, $id;
        }

        is(sum($stream->{body}) . " $stream->{end}", sum($big) . ' complete',
           "HTTP/2, a slow reader of $uri");
    }

    $c->close();
}


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

        cmp_ok(time() - $start, '<', 4 * Ways::Nginx::slow(),
               "$name: at once");

        my $status = $statuses =~ /200$/ ? 200 : 499;

        like(line($uri), qr/^\S+ $status aborted \[.*\] \[$statuses\]$/,
             "$name: the log");
        unlike(ways_calls(), qr/^good /m, "$name: no further attempt");

        ok($n->wait_for(sub { ways_calls() =~ /^$way \S+ cut$/m }),
           "$name: the way out notices") if defined $way;
        undef $kept;
    }
}

# as plain nginx: what is in the log, and what the way out sees of it

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

    my $c = h2();
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
    is(join(' ', map { outline($c, $_) } @late),
       join(' ', ("200 " . $page =~ s/\n\z//r . ' complete') x 5),
       'as they should be');

    my $probe = $c->ask(GET => '/probe');

    ok($c->wait_all($probe), 'a new stream');
    is(outline($c, $probe), '200 probe complete', 'on the same connection');

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
    is("$seen{hang} $seen{drip}", '20 10', 'each way out notices');

    # a reader that stops reading holds the way out back, then leaves

    for my $place (qw(body unbuffered)) {
        my $slow = h2(window => 3000);
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


sub fcgi {
    my ($req, $out) = @_;

    return pack('CCnnCC', 1, 6, $req->{id}, length $out, 0, 0) . $out
           . pack('CCnnCC', 1, 3, $req->{id}, 8, 0, 0) . "\0" x 8;
}


sub stuck {
    my $full = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1)
        or die "listen: $!";

    listen $full, 0;

    return ($full, map { IO::Socket::INET->new(PeerAddr => '127.0.0.1',
                                               PeerPort => $full->sockport(),
                                               Blocking => 0) } 1 .. 3);
}


sub request {
    my ($method, $uri, $body, $keep) = @_;

    my $length = length $body ? 'Content-Length: ' . length($body) . "\r\n"
                              : '';

    return "$method $uri HTTP/1.1\r\nHost: a\r\n"
           . ($keep ? '' : "Connection: close\r\n") . "$length\r\n$body";
}


# all that the client gets, but for the time

sub shape {
    my ($x) = @_;

    return "$x->{end} " . sum($x->{body}) . ' ' . ($x->{trailer} // '') . "\n"
           . $x->{head} =~ s/^Date: .*\r\n//mr;
}


# the ways and what bodies they got

sub calls {
    return join '', map { /^(\w+) \S+ \w+ \S+( \S+)?$/ ? $1 . ($2 // '') . "\n"
                                                          : () }
                        split /\n/, ways_calls();
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

    my $c = h2();
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


# a client that closes: what nginx logs, whether the way out was cut

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


# without the body, if it is HEAD

sub bare {
    my ($req, $reply) = @_;

    $reply =~ s/\r\n\r\n\K.*//s if $req->{method} eq 'HEAD';

    return $reply;
}


# a request and, if the connection may be kept, the next one

sub exchange {
    my ($client, $uri) = @_;

    my ($method, $version, $kept) = split ' ', $client;
    my $host = "HTTP/$version\r\nHost: a\r\n"
               . ($kept ? "Connection: keep-alive\r\n" : '');
    my $raw = $n->get("$method $uri $host\r\n"
                      . ($version eq '1.1' || $kept
                         ? "GET /probe HTTP/$version\r\nHost: a\r\n"
                           . "Connection: close\r\n\r\n" : ''));
    my $first = Ways::Nginx::answer($raw, head => $method eq 'HEAD');

    return shape($first) . shape(Ways::Nginx::answer($first->{rest}));
}


# several requests on one connection

sub talk {
    my ($at_once, @uris) = @_;

    my $s = $n->connect();
    my ($raw, $shapes) = ('', '');
    my @bytes = map { request($uris[$_] =~ /form/ ? 'GET' : 'PUT', $uris[$_],
                              $uris[$_] =~ /form/ ? '' : $some, $_ < $#uris) }
                    0 .. $#uris;

    if ($at_once) {

        # what is answered has to be read for the rest to be taken

        my $pid = fork() // die "fork: $!";

        if (!$pid) {
            Ways::Nginx::send_all($s, join '', @bytes);
            POSIX::_exit(0);
        }

        $raw = Ways::Nginx::read_all($s, timeout => 20);
        waitpid $pid, 0;
    }

    for my $i (0 .. $#bytes) {

        if (!$at_once) {
            Ways::Nginx::send_all($s, $bytes[$i]);

            for ( ;; ) {
                last if Ways::Nginx::answer($raw)->{end} eq 'complete';

                IO::Select->new($s)->can_read(20) or last;
                sysread($s, $raw, 65536, length $raw) or last;
            }
        }

        my $a = Ways::Nginx::answer($raw);

        $shapes .= shape($a);
        $raw = $a->{rest};
    }

    return $shapes . $raw;
}


sub h2 {
    my (%arg) = @_;

    my $s = IO::Socket::UNIX->new(Peer => "$n->{dir}/h2") or die "h2: $!";

    return Ways::H2->new($s, %arg);
}


sub outline {
    my ($c, $id) = @_;

    my $stream = $c->stream($id);

    return "$stream->{status} " . $stream->{body} =~ s/\n\z//r
           . " $stream->{end}";
}


sub curl {
    my ($socket, $options, $uri, $body) = @_;

    my $where = $socket =~ /^\d/ ? "http://127.0.0.1:$socket"
                : "--unix-socket $n->{dir}/$socket "
                  . ($socket eq 'tls' ? 'https' : 'http') . '://a';

    if (defined $body) {
        open my $out, '>', "$n->{dir}/body" or die "$n->{dir}: $!";
        print $out $body;
        close $out;
        $options =~ s/\@-/\@$n->{dir}\/body/;
    }

    ways_reset();

    my $got = $n->until_logged(sub {
        scalar `curl -skig --max-time 20 $options $where$uri 2>&1`;
    });

    my $code = $? >> 8;

    # what it shows of a reply that is cut depends on when it looks

    return $code if $code =~ /^(?:18|56|92)$/;
    die "curl: $code\n" if $code;

    $got =~ s/^date: .*\n//mi;

    return length $got > 2000 ? sum($got) : $got;
}
