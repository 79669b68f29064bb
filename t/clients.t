#!/usr/bin/perl

# Clients of all kinds: HTTP/1.0, pipelines, TLS, HTTP/2.  An answer after
# retries is what a client gets without a chain.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Select;
use POSIX ();
use Test::More;

use Ways;
use Ways::H2;
use Ways::Nginx qw(request shape);

my $ssl = Ways::Nginx::has_tls();
my $v2 = Ways::Nginx::has('http_v2_module');
my $curl = `curl --version 2>/dev/null` // '';

my $some = lines(9_000);
my $big = lines(600_000);

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

my $listen = Ways::Nginx::other_listens();

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

    my $c = Ways::H2->connect($n);
    my %sum;

    ways_reset();

    for my $i (1 .. 60) {
        my $body = substr $big, 100 * $i, 800 * $i;
        my $id = $c->ask(PUT => $i % 2 ? '/memory' : '/file', body => $body,
                         length => $i % 3);

        $sum{$id} = sum($body);
    }

    ok($c->wait_all(keys %sum), '60 streams end');
    is(join(' ', map { $c->outline($_) } sort { $a <=> $b } keys %sum),
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
                is($c->outline($id), '200 PUT ' . sum($body) . ' complete',
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
    is($c->outline($id), '200 PUT ' . sum($some) . ' complete', 'is whole');

    # HEAD

    for my $form (@forms) {
        my @got;

        for my $uri ("/form/$form/1.1/on", "/plain/form/$form/1.1/on") {
            my $id = $c->ask(HEAD => $uri);

            ok($c->wait_all($id), "HTTP/2, HEAD $uri ends");
            push @got, $c->outline($id);
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
        my $slow = Ways::H2->connect($n, window => 3000);
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


# the ways and what bodies they got

sub calls {
    return join '', map { /^(\w+) \S+ \w+ \S+( \S+)?$/ ? $1 . ($2 // '') . "\n"
                                                          : () }
                        split /\n/, ways_calls();
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
