#!/usr/bin/perl

# The body of the client's request is sent again in every attempt: from memory,
# from several buffers, from a temporary file, however it came.  Bodies that are
# refused, unfinished or streamed, and what follows them on the connection.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Socket::UNIX;
use Test::More;
use Time::HiRes qw(sleep);

use Ways;
use Ways::H2;
use Ways::Nginx;

my $small = lines(70);
my $some = lines(9_000);
my $big = lines(1_048_576);
my $nothing = sum('');

ways(
    limited => sub { reply(429, "slow down\n") },
    limited2 => sub { reply(429, "slow down\n", 'Connection: close') },
    broken => sub { reply(503, "broken\n") },
    mute => sub { [close => 1] },
    echo => \&echo,
    mirrored => \&echo,
    fcgi_limited => sub { fcgi($_[0], "Status: 429 No\r\n\r\nslow down\n") },
    fcgi_echo => sub { fcgi($_[0], "\r\n" . sum($_[0]{body})) },
    scgi_limited => sub { "Status: 429 No\r\n\r\nslow down\n" },
    scgi_echo => sub { "Status: 200 OK\r\n\r\n" . sum($_[0]{body}) },
    uwsgi_limited => sub { "HTTP/1.1 429 No\r\n\r\nslow down\n" },
    memcached_good => sub { "VALUE k 0 5\r\nvalue\r\nEND\r\n" },
    uwsgi_echo => sub { "HTTP/1.1 200 OK\r\n\r\n" . sum($_[0]{body}) },
);


# ---- one location for each way of keeping a body ----------------------------

my %keep = (
    memory => 'client_body_buffer_size 2m;',
    one_buffer => 'client_body_buffer_size 2m; client_body_in_single_buffer on;',
    file => 'client_body_buffer_size 1k;',
    half => 'client_body_buffer_size 8k;',
    file_only => 'client_body_in_file_only clean;',
    file_kept => 'client_body_in_file_only on; client_body_buffer_size 1k;',
    copied => 'client_body_buffer_size 1k; sendfile off; output_buffers 1 4k;',
    sendfile => 'client_body_buffer_size 1k; sendfile on;'
                . 'sendfile_max_chunk 32k;',
    http10 => 'client_body_buffer_size 1k; proxy_http_version 1.0;',
    mirror => 'client_body_buffer_size 1k; mirror /mirrored;',
);

my $threads = `@{[ $ENV{TEST_NGINX_BINARY} || 'nginx' ]} -V 2>&1`
              =~ /--with-threads/;

$keep{threads} = 'client_body_buffer_size 1k; sendfile off; aio threads;'
                 if $threads;

my $locations = join '', map { <<"EOC" } sort keys %keep;
location = /$_ {
    $keep{$_}
    retry_chain limited limited2 echo;
    proxy_pass http://\$retry_chain_upstream;
}
EOC

my $front = <<"EOC";
    $locations

    location = /mirrored {
        internal;
        proxy_pass http://mirrored\$request_uri;
    }

    # what is sent instead of it

    location = /set_body {
        retry_chain limited limited2 echo;
        proxy_pass http://\$retry_chain_upstream;
        proxy_set_body "\$retry_chain_attempt:\$request_body";
    }
    location = /file_name {
        client_body_in_file_only clean;
        retry_chain limited limited2 echo;
        proxy_pass http://\$retry_chain_upstream;
        proxy_set_body \$request_body_file;
    }
    location = /no_body {
        retry_chain limited limited2 echo;
        proxy_pass http://\$retry_chain_upstream;
        proxy_pass_request_body off;
        proxy_set_header Content-Length "";
    }

    # the first attempts do not wait for it

    location = /early {
        client_body_buffer_size 1k;
        retry_chain unix:%%DIR%%/early unix:%%DIR%%/early echo;
        proxy_pass http://\$retry_chain_upstream;
    }
    location = /refused {
        retry_chain 127.0.0.1:1 limited echo;
        proxy_pass http://\$retry_chain_upstream;
    }

    # other errors, and the methods

    location = /broken {
        retry_chain broken mute echo;
        proxy_pass http://\$retry_chain_upstream;
    }
    location = /mute {
        retry_chain mute echo;
        proxy_pass http://\$retry_chain_upstream;
    }
    location = /always {
        retry_chain broken mute echo;
        retry_chain_non_idempotent on;
        proxy_pass http://\$retry_chain_upstream;
    }
    location = /same {
        retry_chain limited attempts=3;
        proxy_pass http://\$retry_chain_upstream;
    }
    location = /wait {
        retry_chain limited;
        retry_chain echo wait=60ms;
        client_body_buffer_size 1k;
        proxy_pass http://\$retry_chain_upstream;
    }
    location = /page {
        retry_chain limited broken;
        proxy_intercept_errors on;
        error_page 503 = \@page;
        proxy_pass http://\$retry_chain_upstream;
    }
    location \@page { proxy_pass http://echo; }
    location = /at {
        client_body_buffer_size 1k;
        retry_chain limited \@page;
        proxy_pass http://\$retry_chain_upstream;
    }

    # limits

    location = /tight {
        client_max_body_size 1k;
        retry_chain limited echo;
        proxy_pass http://\$retry_chain_upstream;
    }
    location = /slow {
        client_body_timeout 100ms;
        retry_chain limited echo;
        proxy_pass http://\$retry_chain_upstream;
    }

    # streamed

    location = /stream {
        proxy_request_buffering off;
        retry_chain limited echo;
        proxy_pass http://\$retry_chain_upstream;
    }
    location = /stream_ok {
        proxy_request_buffering off;
        retry_chain echo limited;
        proxy_pass http://\$retry_chain_upstream;
    }
    location = /stream_plain {
        proxy_request_buffering off;
        proxy_pass http://echo;
    }
    location = /stream_wait {
        proxy_request_buffering off;
        retry_chain limited;
        retry_chain echo wait=60s;
        retry_chain_timeout 90s;
        proxy_pass http://\$retry_chain_upstream;
    }
    location = /stream_fcgi {
        fastcgi_request_buffering off;
        retry_chain fcgi_limited fcgi_echo;
        fastcgi_pass \$retry_chain_upstream;
    }

    location = /stream_memcached {
        set \$memcached_key k;
        retry_chain 127.0.0.1:1 \@memcached;
        memcached_pass 127.0.0.1:1;
    }
    location \@memcached { memcached_pass memcached_good; }

    # other protocols

    location = /fcgi {
        client_body_buffer_size 1k;
        retry_chain fcgi_limited fcgi_limited fcgi_echo;
        fastcgi_pass \$retry_chain_upstream;
        fastcgi_param REQUEST_URI \$request_uri;
    }
    location = /scgi {
        client_body_buffer_size 1k;
        retry_chain scgi_limited scgi_limited scgi_echo;
        scgi_pass \$retry_chain_upstream;
        scgi_param REQUEST_URI \$request_uri;
        scgi_param CONTENT_LENGTH \$content_length;
    }
    location = /uwsgi {
        client_body_buffer_size 1k;
        retry_chain uwsgi_limited uwsgi_limited uwsgi_echo;
        uwsgi_pass \$retry_chain_upstream;
        uwsgi_param REQUEST_URI \$request_uri;
        uwsgi_param CONTENT_LENGTH \$content_length;
    }
    location = /fcgi_chunked {
        client_body_buffer_size 1k;
        retry_chain fcgi_limited fcgi_limited fcgi_echo;
        fastcgi_pass \$retry_chain_upstream;
        fastcgi_param REQUEST_URI \$request_uri;
        fastcgi_param CONTENT_LENGTH \$content_length;
    }
EOC

my $n = Ways::Nginx->start(http => <<"EOC");
lingering_close off;
client_max_body_size 4m;
server {
    listen %%PORT%%;
    $front
}
server {
    listen unix:%%DIR%%/h2 http2;
    $front
}
server {
    listen unix:%%DIR%%/early;
    access_log off;
    lingering_close always;
    return 429;
}
EOC


# ---- sent again -------------------------------------------------------------

my %bodies = (small => $small, some => $some, big => $big);
my %send = (
    whole => \&whole,
    split => sub { my ($head, $body) = @_; ("$head$body" =~ /(.{300})/s)
                   ? ($1, substr("$head$body", 300)) : "$head$body" },
    apart => sub { @_ },
);

my @kept;

for my $keep (sort keys %keep) {
    for my $size (qw(small some big)) {
        for my $how ($size eq 'big' ? qw(whole apart)
                                    : qw(whole split apart))
        {
            my $body = $bodies{$size};
            my $sum = sum($body);
            my @parts = $send{$how}->(head('PUT', "/$keep",
                                           'Content-Length: ' . length $body),
                                      $body);
            my $name = "$keep, $size, $how";

            is(outline(ask(@parts)), '200 length:' . length($body) . " $sum",
               $name);
            is(calls(), "limited PUT /$keep $sum\nlimited2 PUT /$keep $sum\n"
                        . "echo PUT /$keep $sum\n", "$name: every attempt");
            push @kept, $body if $keep eq 'file_kept';
        }
    }

    for my $case (['one chunk', $small], ['some', unpack '(a1000)*', $some],
                  ['big', unpack '(a65000)*', $big], ['tiny',
                   unpack '(a1)*', $small], ['none'])
    {
        my ($what, @chunks) = @$case;
        my $sum = sum(join '', @chunks);
        my $seen = @chunks ? " $sum" : '';
        my $name = "$keep, chunked, $what";
        my $a = ask(head('PUT', "/$keep", 'Transfer-Encoding: chunked'),
                    chunks(@chunks));

        is(outline($a), '200 length:' . length(join '', @chunks) . " $sum",
           $name);
        is(calls(), "limited PUT /$keep$seen\nlimited2 PUT /$keep$seen\n"
                    . "echo PUT /$keep$seen\n", "$name: every attempt");
        push @kept, join '', @chunks if $keep eq 'file_kept';
    }
}

ways_reset();
whole_post('/mirror', $some);
$n->wait_for(sub { ways_calls() =~ /^mirrored/m });
like(ways_calls(), qr/^mirrored 1\.1 POST \/mirror \Q@{[ sum($some) ]}\E$/m,
     'the mirror gets it, too');
is(() = ways_calls() =~ /^mirrored/mg, 1, 'once');

# a body that comes bit by bit: no attempt before its end

ways_reset();
my $s = $n->connect();
Ways::Nginx::send_all($s, head('PUT', '/file', 'Content-Length: 9000'));

for my $part (unpack '(a3000)*', $some) {
    sleep 0.03;
    is(ways_calls(), '', 'no attempt yet');
    Ways::Nginx::send_all($s, $part);
}

is(outline(Ways::Nginx::answer(Ways::Nginx::read_all($s))),
   '200 length:9000 ' . sum($some), 'a body in three parts');
is(calls(), join('', map { "$_ PUT /file " . sum($some) . "\n" }
                     qw(limited limited2 echo)), 'then all of them');


# ---- sent instead of it -----------------------------------------------------

my $a = whole_post('/set_body', $small);
is(outline($a), '200 length:72 ' . sum("3:$small"), 'proxy_set_body');
is(calls(), 'limited POST /set_body ' . sum("1:$small") . "\n"
            . 'limited2 POST /set_body ' . sum("2:$small") . "\n"
            . 'echo POST /set_body ' . sum("3:$small") . "\n",
   'proxy_set_body is made anew in every attempt');

$a = whole_post('/file_name', $some);
my @sums = calls() =~ / (\d+:\w+)$/mg;
is($a->{status}, 200, 'the name of the file as a body');
is("@sums", join(' ', ($a->{body} =~ /(\S+)$/) x 3), 'the same in each attempt');
like($sums[0] // '', qr/^[1-9]/, 'and there is one');

$a = whole_post('/no_body', $some);
is(outline($a), "200 none $nothing", 'proxy_pass_request_body off');
is(calls(), join('', map { "$_ POST /no_body\n" } qw(limited limited2 echo)),
   'no attempt has one');


# ---- failures ---------------------------------------------------------------

for my $body ($small, $some, $big) {
    my $sum = sum($body);

    $a = whole_post('/early', $body);
    is(outline($a), '200 length:' . length($body) . " $sum",
       "an upstream that answers before the end of $sum");
    is(calls(), "echo POST /early $sum\n", 'it is not missing a part of it');
    is(logged(), '200 success, 429, 429, 200', 'twice');
}

$a = whole_post('/refused', $some);
is(outline($a), '200 length:9000 ' . sum($some), 'a refused connection');
is(logged(), '200 success, 502, 429, 200', 'is no reason not to repeat');

for my $case (['PUT', '', 200, 'broken mute echo', 'success, 503, 502, 200'],
              ['POST', '', 503, 'broken', 'unsafe, 503'],
              ['POST', "Idempotency-Key: 1\r\n", 200, 'broken mute echo',
               'success, 503, 502, 200'],
              ['PATCH', '', 503, 'broken', 'unsafe, 503'],
              ['DELETE', '', 200, 'broken mute echo',
               'success, 503, 502, 200'])
{
    my ($method, $header, $status, $ways, $log) = @$case;
    my $sum = sum($some);

    $a = ask(head($method, '/broken', "${header}Content-Length: 9000"), $some);
    is($a->{status}, $status, "$method ${header}and 503");
    is(calls(), join('', map { "$_ $method /broken $sum\n" } split ' ', $ways),
       "$method ${header}and 503: the attempts");
    is(logged(), "$status $log", "$method ${header}and 503: the log");
}

$a = whole_post('/mute', $some);
is($a->{status}, 502, 'POST without a reply is not sent again');
is(calls(), 'mute POST /mute ' . sum($some) . "\n", 'indeed');

$a = whole_post('/always', $some);
is(outline($a), '200 length:9000 ' . sum($some), 'non_idempotent on');
is(calls(), join('', map { "$_ POST /always " . sum($some) . "\n" }
                     qw(broken mute echo)), 'all of them');

$a = whole_post('/same', $some);
is($a->{status}, 429, 'the same step');
is(calls(), ('limited POST /same ' . sum($some) . "\n") x 3, 'three times');

$a = whole_post('/wait', $some);
is(outline($a), '200 length:9000 ' . sum($some), 'after a wait');

for my $uri ('/page', '/at') {
    $a = ask(head('PUT', $uri, 'Content-Length: 9000'), $some);
    is(outline($a), '200 length:9000 ' . sum($some), "$uri has it as well");
}


# ---- Expect -----------------------------------------------------------------

ways_reset();
$s = $n->connect();
Ways::Nginx::send_all($s, head('PUT', '/file', "Expect: 100-continue\r\n"
                                               . 'Content-Length: 9000'));
my $all = Ways::Nginx::read_all($s, until => qr/\r\n\r\n/);
is($all, "HTTP/1.1 100 Continue\r\n\r\n", 'the client is asked for its body');
is(ways_calls(), '', 'no attempt yet');
Ways::Nginx::send_all($s, $some);
$a = Ways::Nginx::answer(Ways::Nginx::read_all($s));
is(outline($a), '200 length:9000 ' . sum($some), 'once, it is the answer now');
is($a->{body} =~ /expect/ ? 1 : 0, 0, 'Expect is not passed on');


# ---- refused and unfinished -------------------------------------------------

for my $case (['Content-Length: 9000', $some],
              ['Transfer-Encoding: chunked', chunks(unpack '(a100)*', $some)])
{
    my ($header, $body) = @$case;

    $a = ask(head('PUT', '/tight', $header), $body);
    is($a->{status}, 413, "too large, $header");
    is(calls(), '', "too large, $header: no attempt");
}

for my $how ('at once', 'later') {
    my $head = head('PUT', '/memory', 'Transfer-Encoding: chunked');

    $a = ask($how eq 'later' ? ($head, "zz\r\n") : "${head}zz\r\n");
    is($a->{status}, 400, "no chunk, $how");
    is(calls(), '', "no chunk, $how: no attempt");
    like(logged(), qr/^400 /, "no chunk, $how: the log");
}

# the client leaves in the middle

for my $uri ('/memory', '/file') {
    for my $case (['length', 'Content-Length: 9000', substr($some, 0, 4000)],
                  ['chunked', 'Transfer-Encoding: chunked',
                   "1000\r\n" . substr($some, 0, 4000)])
    {
        my ($how, $header, $part) = @$case;

        leave(head('PUT', $uri, $header), $part);
        is(ways_calls(), '', "$uri $how: the client leaves, no attempt");
        like(logged(), qr/^400 /, "$uri $how: the log");
    }
}

$a = ask(head('PUT', '/slow', 'Content-Length: 9000') . 'abc');
is($a->{raw}, '', 'a client that is too slow');
is(calls(), '', 'a client that is too slow: no attempt');
like(logged(), qr/^408 /, 'a client that is too slow: the log');

# the word for it does not depend on when it is found out

my $head = head('PUT', '/memory', 'Transfer-Encoding: chunked');

ask("${head}zz\r\n");
is(logged(), '400 aborted', 'a body that is none, at once');
ask($head, "zz\r\n");
is(logged(), '400 aborted', 'a body that is none, later');
leave(head('PUT', '/memory', 'Content-Length: 9000'), 'abc');
is(logged(), '400 aborted', 'a client that leaves');


# ---- streamed ---------------------------------------------------------------

for my $case (['length', 'Content-Length: 9000', $some],
              ['chunked', 'Transfer-Encoding: chunked', chunks($some)])
{
    my ($how, $header, $body) = @$case;
    my $sum = sum($some);

    $a = ask(head('PUT', '/stream', $header), $body);
    is($a->{status}, 429, "streamed, $how: the first reply is the answer");
    is(calls(), "limited PUT /stream $sum\n", "streamed, $how: one attempt");
    is(logged(), '429 bypassed', "streamed, $how: the log");

    $a = ask(head('PUT', '/stream_ok', $header), $body);
    is(outline($a), ($how eq 'length' ? '200 length:9000' : '200 chunked')
                    . " $sum", "streamed, $how: as it came");
    is(logged(), '200 bypassed', "streamed, $how: the log");
}

for my $case (['GET', ''], ['DELETE', ''], ['PUT', "Content-Length: 0\r\n"]) {
    my ($method, $header) = @$case;

    $a = ask("$method /stream HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
             . "$header\r\n");
    is($a->{status}, 200, "nothing to stream, $method");
    is(logged(), '200 success, 429, 200', "nothing to stream, $method: a run");
}

$a = whole_post('/stream_fcgi', $some);
is($a->{status} . ' ' . logged(), '429 429 bypassed', 'streamed, FastCGI');


# ---- other protocols --------------------------------------------------------

for my $kind (qw(fcgi scgi uwsgi)) {
    for my $body ('', $small, $some, $big) {
        my $sum = sum($body);
        my $seen = $body eq '' ? '' : " $sum";

        $a = whole_post("/$kind", $body);
        is("$a->{status} $a->{body}", "200 $sum", "$kind, $sum");
        is(calls(), "${kind}_limited /$kind$seen\n" x 2
                    . "${kind}_echo /$kind$seen\n", "$kind, $sum, every time");
    }
}

$a = ask(head('POST', '/fcgi_chunked', 'Transfer-Encoding: chunked'),
         chunks(unpack '(a1000)*', $some));
is("$a->{status} $a->{body}", '200 ' . sum($some), 'FastCGI, chunked');


# ---- one after the other ----------------------------------------------------

# a run that fails, whose body has been read in one way or another

for my $keep (qw(memory one_buffer file file_only)) {
    for my $case (['/broken', 'POST', 503], ['/same', 'PUT', 429],
                  ['/mute', 'POST', 502], ['/early', 'POST', 200],
                  ["/$keep", 'POST', 200])
    {
        my ($uri, $method, $status) = @$case;
        my $length = 'Content-Length: 9000';

        my @got = pipelined(
            head($method, $uri, $length, 1) . $some,
            head($method, $uri, 'Transfer-Encoding: chunked', 1)
                . chunks(unpack '(a4000)*', $some),
            head('PUT', "/$keep", $length, 1) . $some,
            head('GET', "/$keep", 'X-Last: 1'));

        is(join(' ', map { $_->{status} } @got), "$status $status 200 200",
           "$uri, then $keep");
        is(join(' ', map { $_->{body} =~ /(\d+:\w+)$/ } @got[2, 3]),
           sum($some) . " $nothing", "$uri, then $keep: the right bodies");
    }
}


# ---- HTTP/2 -----------------------------------------------------------------

SKIP: {
    my $curl = `curl --version 2>/dev/null` // '';

    skip 'no curl with HTTP/2', 10 if $curl !~ /HTTP2/;

    for my $keep (qw(memory file file_only)) {
        for my $body ($some, $big) {
            my $sum = sum($body);

            ways_reset();
            like(h2("/$keep", $body), qr/^0 200 .* \Q$sum\E$/,
                 "HTTP/2, $keep, $sum");
            is(calls(), join('', map { "$_ POST /$keep $sum\n" }
                                 qw(limited limited2 echo)),
               "HTTP/2, $keep, $sum: every attempt");
        }
    }

    like(h2('/stream', $some), qr/^0 429 /, 'HTTP/2, streamed');
    is(logged(), '429 bypassed', 'HTTP/2, streamed: the log');
}

# without a body, but it has not been said yet that the stream ends

my @empty = (open => 1, headers => [['content-length', 0]]);

for my $case (['/stream_plain', '-', 'echo'],
              ['/stream', 'success, 429, 200', 'limited echo'],
              ['/stream_fcgi', 'success, 429, 200', 'fcgi_limited fcgi_echo'],
              ['/stream_memcached', 'success, 502, 200', 'memcached_good'])
{
    my ($uri, $log, $ways) = @$case;
    my $body = $uri =~ /memcached/ ? 'value' : $nothing;

    for my $method ('GET', $uri =~ /memcached/ ? () : ('POST', 'DELETE')) {
        for my $end ('never', 'later') {
            my $name = "HTTP/2, $method $uri, the end comes $end";
            my $c = Ways::H2->connect($n);

            ways_reset();

            my $id = $n->until_logged(sub {
                my $id = $c->ask($method => $uri, @empty);

                if ($end eq 'later') {
                    ok($c->until(sub { ways_calls() }), "$name: no wait");
                    $c->more($id, '', 1);
                }

                $c->wait_all($id);
                return $id;
            });

            like($c->outline($id), qr/^200 .*\Q$body\E complete$/, $name);
            is(logged(), "200 $log", "$name: the log");
            is(join(' ', calls() =~ /^(\w+)/mg), $ways,
               "$name: the attempts");

            $id = $c->ask(GET => '/stream_plain');
            ok($c->wait_all($id), "$name: the connection goes on");
        }
    }
}

{
    my $c = Ways::H2->connect($n);
    my $id = $c->ask(POST => '/memory', @empty);

    ways_reset();
    $c->until(sub { 0 }, 0.1);
    is(ways_calls(), '', 'with buffering the end is waited for');
    $n->until_logged(sub { $c->more($id, '', 1); $c->wait_all($id) });
    is(logged(), '200 success, 429, 429, 200', 'when it comes, the run begins');

    ways_reset();
    $id = $c->ask(POST => '/stream_wait', @empty);
    ok($c->until(sub { ways_calls() =~ /^limited/ }), 'without, it is not');
    $n->until_logged(sub { $c->reset($id) });
    is(logged(), '499 aborted, 429', 'a client that leaves ends the run');
}


# ---- afterwards -------------------------------------------------------------

is(join(' ', temp_files()), join(' ', sort map { sum($_) } @kept),
   'no file is left but the kept ones, and those are whole');
is($n->bad(), '', 'a clean log');
$n->signal('QUIT');
ok($n->ended(5), 'the end');
is($n->bad(), '', 'a clean log at the end');

done_testing();


# the upstream says what it has got

sub echo {
    my ($req) = @_;

    my $h = $req->{h};
    my $length = $h->{'content-length'};
    my $form = $h->{'transfer-encoding'}[0]
               // ($length ? "length:$length->[0]" : 'none');

    $form .= ' expect' if $h->{expect};

    return reply(200, "$form " . sum($req->{body}));
}


sub head {
    my ($method, $uri, $headers, $keep) = @_;

    return "$method $uri HTTP/1.1\r\nHost: a\r\n"
           . ($keep ? '' : "Connection: close\r\n") . "$headers\r\n\r\n";
}


sub whole {
    my ($head, $body) = @_;
    return "$head$body";
}


# parts of one request, with pauses between them

sub ask {
    my (@parts) = @_;

    ways_reset();

    return $n->until_logged(sub {
        my $client = $n->connect();

        for my $i (0 .. $#parts) {
            sleep 0.005 if $i;
            Ways::Nginx::send_all($client, $parts[$i]);
        }

        return Ways::Nginx::answer(Ways::Nginx::read_all($client));
    });
}


# a request that is not finished

sub leave {
    my (@parts) = @_;

    ways_reset();

    $n->until_logged(sub {
        my $client = $n->connect();

        for my $part (@parts) {
            Ways::Nginx::send_all($client, $part);
            sleep 0.01;
        }
    });
}


sub whole_post {
    my ($uri, $body) = @_;

    return ask(whole(head('POST', $uri, 'Content-Length: ' . length $body),
                     $body));
}


sub pipelined {
    my (@requests) = @_;

    ways_reset();

    my $client = $n->connect();
    Ways::Nginx::send_all($client, join '', @requests);

    my $raw = Ways::Nginx::read_all($client);
    my @got;

    for (@requests) {
        push @got, Ways::Nginx::answer($raw);
        $raw = $got[-1]{rest};
    }

    return @got;
}


sub outline {
    my ($x) = @_;
    return "$x->{status} " . substr $x->{body}, 0, 100;
}


# without the numbers of connections and requests

sub calls {
    return ways_calls() =~ s/^(\w+) [\d.]+/$1/gmr =~ s/^mirrored .*\n//gmr;
}


# the last line of the access log: status, result and statuses

sub logged {
    my $line = (split /\n/, $n->access())[-1] // '';

    return $line =~ /^\S+ (\d+) (\S+) \[.*\] \[(.*)\]$/
           ? "$1 $2" . ($3 eq '-' || $3 eq '' ? '' : ", $3") : $line;
}


# as sums of what is in them

sub temp_files {
    return sort map { sum($n->slurp($_ =~ s{^\Q$n->{dir}\E/}{}r)) }
                grep { -f } glob("$n->{dir}/temp/client_body/*");
}


sub h2 {
    my ($uri, $body) = @_;

    my $dir = $n->{dir};

    open my $out, '>', "$dir/body" or die "$dir: $!";
    print $out $body;
    close $out;

    return $n->until_logged(sub {
        my $got = `curl -s -g --http2-prior-knowledge --max-time 60 --data-binary \@$dir/body -w ' %{http_code}' --unix-socket $dir/h2 http://a$uri`;
        my $code = $? >> 8;

        return $got =~ s/^(.*) (\d+)$/$code $2 $1/sr;
    });
}
