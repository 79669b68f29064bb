#!/usr/bin/perl

# The body that is relayed after a failure: big ones in every way in which
# nginx passes them on, empty ones, HEAD, 204 and 304, ranges, trailers, and
# replies that are cut short after the header was relayed.

use strict;
use warnings;
use feature 'state';

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(sleep time);

use Ways;
use Ways::Nginx;

my $big = lines(3_000_000);
my $text = lines(1000);
my $sum = sum($big);
my @etag = ('ETag: "v1"', 'Last-Modified: Mon, 28 Sep 1970 06:00:00 GMT',
            'Accept-Ranges: bytes');
my @chunked = ('Transfer-Encoding: chunked');
my $threads = `@{[ $ENV{TEST_NGINX_BINARY} || 'nginx' ]} -V 2>&1`
              =~ /--with-threads/;

$ENV{PATH} .= ':/usr/sbin';

ways(
    limited => sub { reply(429, $_[0]{method} eq 'HEAD' ? undef
                                                        : "slow down\n") },
    length => sub { reply(200, $big) },
    chunked => sub { (reply(200, undef, @chunked),
                      chunks(unpack '(a50000)*', $big)) },
    until_close => sub { (reply(200, undef, 'Connection: close'), $big,
                          [close => 1]) },
    pieces => sub { (reply(200, undef, 'Content-Length: 6'),
                     map { ($_, [sleep => 0.03]) } qw(ab cd ef)) },
    held => sub { (reply(200, undef, 'Content-Length: 6'), 'ab', [hold => 1],
                   'cdef') },
    short_length => sub { (reply(200, undef, 'Content-Length: 1100'), $text,
                           [close => 1]) },
    short_chunked => sub { (reply(200, undef, @chunked),
                            chunks($text) =~ s/0\r\n\r\n$//r, [close => 1]) },
    short_chunk => sub { (reply(200, undef, @chunked), "10000\r\n$text",
                          [close => 1]) },
    bad_chunk => sub { (reply(200, undef, @chunked),
                        chunks($text) =~ s/0\r\n\r\n$/zz\r\n/r, [close => 1]) },
    short_big => sub { (reply(200, undef, 'Content-Length: 9000000'), $big,
                        [close => 1]) },
    short_nothing => sub { (reply(200, undef, 'Content-Length: 100'),
                            [close => 1]) },
    short_failure => sub { (reply(503, undef, 'Content-Length: 1100'), $text,
                            [close => 1]) },
    stuck => sub { (reply(200, undef, 'Content-Length: 1100'), $text,
                    [sleep => 5], 'x' x 100) },
    extra => sub { reply(200, $text) . 'extra data' },
    etag => sub { reply(200, $text, @etag) },
    empty => sub { reply(200, '', @etag) },
    empty_chunked => sub { (reply(200, undef, @chunked), chunks()) },
    empty_close => sub { (reply(200, undef, 'Connection: close'),
                          [close => 1]) },
    head_length => sub { reply(200, undef, 'Content-Length: 1000', @etag) },
    head_chunked => sub { reply(200, undef, @chunked) },
    head_body => sub { reply(200, $text) },
    no_content => sub { reply(204, undef, 'X-A: b') },
    not_modified => sub { reply(304, undef, @etag) },
    not_modified_length => sub { reply(304, undef, @etag,
                                       'Content-Length: 1000') },
    range => sub { reply(416, 'no such range', 'Content-Range: bytes */10') },
    conditional => sub {
        my $h = $_[0]{h};
        return reply(412, 'changed') if $h->{'if-match'};
        return reply(304, undef, @etag) if $h->{'if-none-match'};
        return reply(200, $text, @etag);
    },
);


# ---- one location for each way of passing a body on -------------------------

my %modes = (
    buffered => '',
    unbuffered => 'proxy_buffering off;',
    small => 'proxy_buffers 4 4k; proxy_busy_buffers_size 8k;'
             . 'proxy_temp_file_write_size 8k;',
    no_file => 'proxy_max_temp_file_size 0;',
    sendfile => 'sendfile on;',
    sendfile_small => 'sendfile on; sendfile_max_chunk 64k;'
                      . 'proxy_buffers 2 4k; proxy_busy_buffers_size 4k;'
                      . 'proxy_temp_file_write_size 8k;',
    copied => 'sendfile off; output_buffers 2 8k; proxy_buffers 2 4k;'
              . 'proxy_busy_buffers_size 4k; proxy_temp_file_write_size 4k;',
    limited => 'limit_rate 12m; limit_rate_after 100k;',
);

$modes{threads} = 'sendfile off; aio threads; aio_write on; proxy_buffers 2 4k;'
                  . 'proxy_busy_buffers_size 4k;' if $threads;
$modes{threads_sendfile} = 'sendfile on; aio threads; aio_write on;'
                           if $threads;

my %features = (
    ranges => 'proxy_force_ranges on;',
    unbuffered_ranges => 'proxy_force_ranges on; proxy_buffering off;',
    max_ranges => 'proxy_force_ranges on; max_ranges 1;',
    cached => 'proxy_cache cache; proxy_cache_valid 200 1m;'
              . 'proxy_cache_key $server_addr$request_uri$http_x_key'
              . '$proxy_host;',
    cached_first => '',
    passed => '',
    trailer => 'add_trailer X-Trail "$upstream_status $retry_chain_result";',
    timeout => 'proxy_read_timeout 500ms;',
);

$features{cached_first} = $features{cached};

my %steps = %{{ Ways::names() }};
my $locations = '';
my $plain = '';

for my $name (sort keys %modes, keys %features) {
    my $directives = $modes{$name} // $features{$name};

    for (sort keys %steps) {
        my $chain = $name eq 'cached_first' ? "$_ limited" : "limited $_";

        $locations .= <<"EOC";
location = /$name/$_ {
    $directives
    retry_chain $chain;
    proxy_pass http://\$retry_chain_upstream;
}
EOC

        $plain .= "location = /$name/$_ { $directives"
                  . " proxy_pass http://$_; }\n";
    }
}

my $n = Ways::Nginx->start(http => <<"EOC");
proxy_cache_path %%DIR%%/cache keys_zone=cache:1m;
server {
    listen %%PORT%%;
    lingering_close off;
    location / {
        retry_chain limited length;
        proxy_pass http://\$retry_chain_upstream;
    }
    location = /after {
        retry_chain limited short_length etag;
        proxy_pass http://\$retry_chain_upstream;
    }
    location = /last_failure {
        retry_chain limited short_failure;
        proxy_pass http://\$retry_chain_upstream;
    }
    $locations
}

server {
    listen unix:%%DIR%%/plain;
    $plain
}

server {
    listen unix:%%DIR%%/h2 http2;
    location / {
        retry_chain limited length;
        proxy_pass http://\$retry_chain_upstream;
    }
    $locations
}
EOC


# ---- big ones ---------------------------------------------------------------

for my $mode (sort keys %modes) {
    for my $way (qw(length chunked until_close)) {
        my $a = get("/$mode/$way");
        is(outline($a), "200 complete $sum",
           "$mode $way");

        # a slow reader: what does not fit waits in buffers or in a file

        $a = get("/$mode/$way", slow => 1);
        is(outline($a), "200 complete $sum",
           "$mode $way, read slowly");
    }
}

my $a = get('/unbuffered/until_close', v => '1.0');
is(outline($a), "200 close $sum",
   'HTTP/1.0, until the connection is closed');

$a = get('/buffered/length', v => '1.0');
is(outline($a), "200 complete $sum",
   'HTTP/1.0, a length');

# as it comes

my $s = $n->connect();
my $all = '';

Ways::Nginx::send_all($s, "GET /unbuffered/held HTTP/1.1\r\nHost: a\r\n"
                          . "Connection: close\r\n\r\n");

$all .= Ways::Nginx::read_all($s, until => qr/\r\n\r\nab/);
like($all, qr/\r\n\r\nab\z/, 'unbuffered: the first bytes come first');
ways_go();
$all .= Ways::Nginx::read_all($s);
like($all, qr/\r\n\r\nabcdef$/, 'and the rest after them');

# several on one connection

ways_reset();
$s = $n->connect();
Ways::Nginx::send_all($s, join '', map { "GET /$_ HTTP/1.1\r\nHost: a\r\n\r\n" }
                      '/buffered/length', '/sendfile/chunked',
                      '/unbuffered/length', '/copied/until_close');
my @answers = pipelined($s, 4);
is(join(' ', map { "$_->{end} " . sum($_->{body}) } @answers),
   join(' ', ("complete $sum") x 4), 'four big ones, pipelined');


# ---- cut short --------------------------------------------------------------

for my $mode (qw(buffered unbuffered sendfile)) {
    for my $way (qw(short_length short_chunked short_chunk bad_chunk short_big
                    short_nothing))
    {
        $a = same("/$mode/$way", "$mode $way");
        is($a->{end}, 'cut', "$mode $way: the client sees it");
        is(ways_calls() =~ s/ cut$//mgr, "limited 1.1 GET /$mode/$way\n"
                                         . "$way 1.1 GET /$mode/$way\n",
           "$mode $way: no other attempt");
    }

    # the connection is not kept

    $s = $n->connect();
    Ways::Nginx::send_all($s, "GET /$mode/short_chunked HTTP/1.1\r\n"
                              . "Host: a\r\n\r\n");
    $a = Ways::Nginx::answer(Ways::Nginx::read_all($s, timeout => 3));
    is($a->{end}, 'cut', "$mode: cut on a connection that was to be kept");
    ok(eof_of($s), "$mode: it is closed");
}

ways_reset();
$a = get('/after');
is(outline($a), "200 cut " . sum($text),
   'a step that is left is not tried');
unlike(ways_calls(), qr/etag/, 'indeed');
like(last_line(), qr{^/after 200 success \[limited, short_length\]},
     'the run was a success, the reply was cut');

$a = get('/last_failure');
is(outline($a), "503 cut " . sum($text),
   'a last failure, cut short');

$a = same('/timeout/stuck', 'a timeout in the body');
is($a->{end}, 'cut', 'a timeout in the body cuts the reply');
ok($n->wait_for(sub { ways_calls() =~ / cut$/m }), 'and its connection');
is(ways_calls() =~ s/ cut$//mgr, "limited 1.1 GET /timeout/stuck\n"
                                 . "stuck 1.1 GET /timeout/stuck\nstuck 1.1\n",
   'and is no reason to try again');

$a = get('/buffered/extra');
is(outline($a) . "|$a->{rest}", '200 complete ' . sum($text) . '|',
   'more than was announced');


# ---- HTTP/2 -----------------------------------------------------------------

SKIP: {
    my $curl = `curl --version 2>/dev/null` // '';

    skip 'no curl with HTTP/2', 6 if $curl !~ /HTTP2/;

    is(h2('/buffered/length'), "0 200 $sum", 'HTTP/2: big');
    is(h2('/unbuffered/chunked'), "0 200 $sum", 'HTTP/2: unbuffered');
    is(h2('/sendfile_small/until_close'), "0 200 $sum", 'HTTP/2: sendfile');

    for my $way (qw(short_length short_chunked short_big)) {
        like(h2("/buffered/$way"), qr/^(?:92|18|56) (?:200|000) /,
             "HTTP/2: $way is reset");
    }

    is(h2('/buffered/head_length', '-I'), '0 200 0:d41d8cd9', 'HTTP/2: HEAD');
    is(h2('/buffered/no_content'), '0 204 0:d41d8cd9', 'HTTP/2: 204');
    is(h2('/buffered/empty_chunked'), '0 200 0:d41d8cd9', 'HTTP/2: empty');
}


# ---- nothing to pass on -----------------------------------------------------

# each is followed by another request on the same connection

for my $case (['GET', 'empty', 200], ['GET', 'empty_chunked', 200],
              ['GET', 'empty_close', 200], ['GET', 'no_content', 204],
              ['GET', 'not_modified', 304],
              ['GET', 'not_modified_length', 304],
              ['HEAD', 'head_length', 200], ['HEAD', 'head_chunked', 200],
              ['HEAD', 'head_body', 200], ['HEAD', 'no_content', 204],
              ['HEAD', 'empty', 200])
{
    my ($method, $way, $status) = @$case;

    for my $mode (qw(buffered unbuffered)) {
        ways_reset();
        $a = get("/$mode/$way", method => $method, keep => 1);
        is(outline($a), "$status complete " . sum(''),
           "$mode $method $way");

        my $next = Ways::Nginx::answer($a->{rest});
        is(outline($next), '200 complete ' . sum($text),
           "$mode $method $way: and the next");
    }
}

# the failed attempt's connection is used again after HEAD

ways_reset();
get('/buffered/head_length', method => 'HEAD', keep => 1);
like(ways_calls(), qr/^limited (\d+)\.(\d+) HEAD.*^limited \1\./ms,
     'HEAD: a discarded reply leaves the connection usable');


# ---- ranges and conditions --------------------------------------------------

$a = get('/ranges/etag', h => 'Range: bytes=16-31');
is("$a->{status} $a->{end} $a->{body}",
   '206 complete ' . substr($text, 16, 16), 'a range');
is($a->{h}{'content-range'}[0], 'bytes 16-31/1000', 'Content-Range');

$a = get('/ranges/etag', h => 'Range: bytes=-16');
is("$a->{status} $a->{body}", '206 ' . substr($text, -16), 'the last bytes');

same('/ranges/etag', 'two ranges', h => 'Range: bytes=0-15,32-47');
same('/unbuffered_ranges/etag', 'two ranges, unbuffered',
     h => 'Range: bytes=0-15,32-47');

$a = get('/ranges/length', h => 'Range: bytes=2000000-2999999');
is("$a->{status} " . sum($a->{body}),
   '206 ' . sum(substr $big, 2_000_000), 'a range of a big one');

$a = get('/ranges/etag', h => "Range: bytes=16-31\r\nIf-Range: \"v1\"");
is($a->{status}, 206, 'If-Range that holds');

$a = get('/ranges/etag', h => "Range: bytes=16-31\r\nIf-Range: \"v2\"");
is(outline($a), '200 complete ' . sum($text), 'If-Range that does not');

$a = get('/max_ranges/etag', h => 'Range: bytes=0-1,3-4');
is($a->{status}, 200, 'max_ranges');

# made by the filters of the main request, while they are sent the header; nginx
# itself closes the connection after a 412 of its own

for my $case (['ranges', 'Range: bytes=5000-', 416],
              ['cached', 'Range: bytes=5000-', 416],
              ['cached', 'Range: bytes=16-31', 206],
              ['cached', 'If-Match: "v2"', 412],
              ['cached',
               'If-Unmodified-Since: Sun, 27 Sep 1970 06:00:00 GMT', 412],
              ['cached', 'If-None-Match: "v1"', 304],
              ['cached',
               'If-Modified-Since: Mon, 28 Sep 1970 06:00:00 GMT', 304])
{
    my ($mode, $header, $status) = @$case;
    state $key = 0;

    $key++;

    # the cache is empty, is filled, and answers, on either attempt

    for my $uri ($mode eq 'cached' ? qw(/cached/etag /cached_first/etag)
                                   : '/ranges/etag')
    {
        for my $what ($mode eq 'cached' ? qw(empty filling full) : 'none') {
            my $name = "$uri $header, cache: $what";
            my $h = "X-Key: $key";
            my $want = 200;

            if ($what ne 'filling') {
                $h .= "\r\n$header";
                $want = $status;
            }

            my $a = same($uri, $name, keep => 1, h => $h);

            is("$a->{status} $a->{end}", "$want complete", "$name: status");

            # the word for a 412 is looked at below

            my $word = $want == 412 ? '\w+' : 'success';
            my $run = $uri =~ /first/ ? '[etag] [200]'
                                      : '[limited, etag] [429, 200]';

            like(line_of($uri), qr/ $want $word \Q$run\E$/, "$name: the log");
        }
    }
}

# a reply that a filter has replaced was an answer, and the client is there

get('/cached/etag', h => "If-Match: \"v2\"\r\nX-Key: alone");
is(line_of('/cached/etag'),
   '/cached/etag 412 success [limited, etag] [429, 200]',
   'a 412 of the not_modified filter is not an aborted run');

# made by the upstream

$a = get('/passed/conditional', h => 'If-None-Match: "v1"', keep => 1);
is("$a->{status} $a->{end} $a->{body}", '304 complete ',
   '304 of the upstream');
$a = get('/passed/conditional', h => 'If-Match: "v2"', keep => 1);
is("$a->{status} $a->{end} $a->{body}", '412 complete changed',
   '412 of the upstream');
like(last_line(-2), qr/ 412 stopped /, 'stops the run');
$a = get('/passed/range', h => 'Range: bytes=90-', keep => 1);
is("$a->{status} $a->{end} $a->{body}", '416 complete no such range',
   '416 of the upstream');


# ---- trailers ---------------------------------------------------------------

$a = get('/trailer/chunked', h => 'TE: trailers');
is("$a->{end} " . sum($a->{body}), "complete $sum", 'a trailer');
is($a->{trailer}, "X-Trail: 429 : 200 success\r\n", 'knows the run');


# ---- afterwards -------------------------------------------------------------

is($n->bad(), '', 'a clean log');
$n->signal('QUIT');
ok($n->ended(5), 'the end');
is($n->bad(), '', 'a clean log at the end');

done_testing();


sub get {
    my ($uri, %arg) = @_;

    my $v = $arg{v} || '1.1';
    my $method = $arg{method} || 'GET';
    my $request = "$method $uri HTTP/$v\r\nHost: a\r\n"
                  . ($arg{h} ? "$arg{h}\r\n" : '')
                  . ($arg{keep} || $v eq '1.0' ? '' : "Connection: close\r\n")
                  . "\r\n";

    # the next one shows whether all was read

    $request .= "GET /buffered/etag HTTP/1.1\r\nHost: a\r\n"
                . "Connection: close\r\n\r\n" if $arg{keep};

    my $client = $arg{plain} ? IO::Socket::UNIX->new(Peer => "$n->{dir}/plain")
                             : $n->connect();

    Ways::Nginx::send_all($client, $request);
    sleep 0.1 if $arg{slow};

    return Ways::Nginx::answer(Ways::Nginx::read_all($client),
                               head => $method eq 'HEAD');
}


# as without a chain

sub same {
    my ($uri, $name, %arg) = @_;

    ways_reset();

    my $want = get($uri, %arg, plain => 1);
    my $calls = join ' ', ways_of();

    ways_reset();

    my $got = get($uri, %arg);

    is(shape($got), shape($want), "$name: as without a chain");
    is(join(' ', ways_of()), $calls, "$name: as many requests");

    return $got;
}


# the ways that got a request, but for the failing one

sub ways_of {
    return grep { $_ ne 'limited' } map { /^(\w+) [\d.]+ [A-Z]/ } ways_events();
}


# never the body: a failure should not fill the screen

sub outline {
    my ($x) = @_;

    return "$x->{status} $x->{end} " . sum($x->{body});
}


sub shape {
    my ($x) = @_;

    my $body = $x->{body} =~ s/\d{20}/NUMBER/gr;
    my $head = $x->{head} =~ s/^Date:.*\r\n//mr =~ s/(boundary=)\d+/$1/r;

    my $next = $x->{rest} eq '' ? '' : outline(Ways::Nginx::answer($x->{rest}));

    return "$x->{end} " . sum($body) . "\n$head|$next";
}


sub pipelined {
    my ($client, $count) = @_;

    my $raw = '';
    my @got;

    while (@got < $count) {
        my $got = Ways::Nginx::answer($raw);

        if ($got->{end} eq 'complete') {
            push @got, $got;
            $raw = $got->{rest};
            next;
        }

        my $more = sysread($client, $raw, 1_000_000, length $raw);
        last if !$more;
    }

    return @got;
}


sub eof_of {
    my ($client) = @_;

    my $k = sysread($client, my $buf, 10);
    return defined $k && $k == 0;
}


sub h2 {
    my ($uri, @options) = @_;

    my $out = "$n->{dir}/out.h2";
    my $code = `curl -s @options --http2-prior-knowledge --max-time 60 -o $out -w '%{http_code}' --unix-socket $n->{dir}/h2 http://a$uri`;
    my $status = $? >> 8;

    open my $in, '<', $out or return "$status $code " . sum('');
    local $/;
    my $body = <$in> // '';
    unlink $out;

    $body = '' if "@options" eq '-I';

    return "$status $code " . sum($body);
}


sub line_of {
    my ($uri) = @_;

    return (grep { /^\Q$uri\E / } split /\n/, $n->access())[-1];
}


sub last_line {
    my ($which) = @_;

    my @lines;

    $n->wait_for(sub { @lines = split /\n/, $n->access() }, 1);

    return $lines[$which // -1];
}
