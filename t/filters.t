# Output filters, and handlers of the phases before the content, with attempts
# that fail: each acts exactly once, on the client's request and the reply that
# is relayed, never on a discarded one.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Compress::Zlib qw(memGunzip memGzip);
use Test::Nginx::Socket 'no_plan';
use Ways;
use Ways::Nginx;

my $html = 'Content-Type: text/html';
my @cond = ('ETag: "v1"', 'Last-Modified: Mon, 28 Sep 1970 06:00:00 GMT',
            'Accept-Ranges: bytes');

# discarded replies have all that would set off a filter

my @noise = ($html, @cond, 'X-Failed: 1', 'Set-Cookie: failed=1; path=/',
             'Cache-Control: failed', 'Expires: Thu, 01 Jan 1970 00:00:00 GMT',
             'X-Accel-Limit-Rate: 1', 'X-Accel-Charset: koi8-r');
my $noise = "quick \xf2 <!--#include virtual=\"/part/failed\" -->"
            . "<!--#set var=\"failed\" value=\"1\" -->\n";

our $page = "<p>quick brown fox, quick dog</p>\n";
our $long = join '', map { "<p>line $_ is quick</p>\n" } 1 .. 8000;

my $ssi = 'a <!--#include virtual="/part/1" -->b '
          . '<!--#echo var="failed" default="none" --> '
          . "<!--#include virtual=\"/part/2\" -->c\n";

# a reply that does not depend on the request, but for HEAD

sub always {
    my @reply = @_;

    return sub {
        return @reply if $_[0]{method} ne 'HEAD' || ref $reply[0];
        return $reply[0] =~ s/\r\n\r\n\K.*//sr;
    };
}

ways(
    noisy => always(reply(429, $noise, @noise)),
    gzipped => always(reply(429, memGzip($noise), @noise,
                            'Content-Encoding: gzip')),
    trailer => always(reply(503, undef, 'Transfer-Encoding: chunked',
                            'Trailer: X-End')
                      . "3\r\nabc\r\n0\r\nX-End: failed\r\n\r\n"),
    gone => always([reset => 1]),
    page => always(reply(200, $page, $html, @cond)),
    chunked => always(reply(200, undef, $html, 'Transfer-Encoding: chunked')
                      . chunks(unpack '(a10)*', $page)),
    closing => always(reply(200, undef, $html, 'Connection: close'), $page,
                      [close => 1]),
    zipped => always(reply(200, memGzip($page), $html, @cond,
                           'Content-Encoding: gzip')),
    long => always(reply(200, $long, $html, @cond)),
    lines => always(reply(200, lines(2100))),
    koi8 => always(reply(200, "\xf2\xd5", $html)),
    cookie => always(reply(200, $page, 'Set-Cookie: a=1; path=/',
                           'Set-Cookie: b=2; path=/')),
    lost => always(reply(404, $page, $html, @cond)),
    broken => always(reply(503, $page, $html, @cond)),
    ssi => always(reply(200, $ssi, $html, @cond)),
    broken_ssi => always(reply(503, $ssi, $html)),
    ssi_parts => always(reply(200, undef, $html, 'Content-Length: '
                                                 . length $ssi),
                        map { ([sleep => 0.01], $_) } unpack '(a25)*', $ssi),
    part => sub { reply(200, "[$_[0]{uri}]") },
    slow_part => sub { ([sleep => 0.1], reply(200, "[slow $_[0]{uri}]")) },
    slow => always([sleep => 0.4], reply(200, "slow\n")),
    shadow => always(reply(500, "not seen\n")),
    auth => always(reply(204, undef, 'X-User: me')),
    denied => always(reply(403, "no\n")),
    heard => sub {
        my $h = $_[0]{h};
        reply(200, join('', map { "$_: $h->{$_}[0]\n" } grep { /^x-/ }
                                                        sort keys %$h))
    },
);

ways_blocks(http => <<'_EOC_');
charset_map koi8-r utf-8 { f2 d182; d5 d183; }
proxy_cache_path $TEST_NGINX_SERVER_ROOT/cache keys_zone=c:1m;
proxy_temp_path $TEST_NGINX_SERVER_ROOT/proxy_temp;
_EOC_


# Every block with a single request is also sent to a server "plain", whose
# locations pass to the last step of their chains directly: the answers have to
# be the same but for the sizes of their chunks and what --- differs says.  The
# patterns of --- raw_like, one in a line, are for the answer of the chain.  With
# --- ask it is that request, if Test::Nginx cannot read what comes.

add_block_preprocessor(sub {
    my ($block) = @_;

    my $config = $block->config;

    $config =~ s/retry_chain\ [^;]*\b(\w+);\s*
                 (?=proxy_pass\ http:..\$retry_)/set \$plain $1;/gx;
    $config =~ s/\$retry_chain_upstream/\$plain/g;

    $block->set_value('http_config', ($block->http_config // '') . <<"_EOC_");
server {
    listen \$TEST_NGINX_SERVER_PORT;
    server_name plain;
    $config
}
_EOC_
});

add_response_body_check(sub {
    my ($block) = @_;

    my $name = $block->name;
    my $differs = $block->differs // '';

    chomp $differs;

    return if $block->pipelined_requests || $differs =~ /^in all/;

    my ($chain, $plain) = map { ask($block, $_) } qw(localhost plain);

    like($chain, qr/$_/s, "$name - raw")
        for split /\n/, $block->raw_like // '';

    if ($differs) {
        s/^$differs: [^\r]*\r\n//gm for $chain, $plain;
    }

    is(parts($block, $chain), parts($block, $plain), "$name - as plain nginx");
});


sub ask {
    my ($block, $host) = @_;

    my ($line, $body) = split /\n/, $block->ask // $block->request, 2;

    $line .= ' HTTP/1.1' if $line !~ /HTTP/;
    $body //= '';

    my @headers = split /\n/, $block->more_headers // '';

    push @headers, 'Content-Length: ' . length $body if length $body;

    my $to = bless { port => $ENV{TEST_NGINX_SERVER_PORT} }, 'Ways::Nginx';

    my $answer = $to->get(join("\r\n", $line, "Host: $host",
                               'Connection: close', @headers, '', $body));

    return $answer =~ s/^Date: [^\r]*/Date: now/mr;
}


sub parts {
    my ($block, $answer) = @_;

    my $a = Ways::Nginx::answer($answer, head => $block->request =~ /^HEAD/);

    return join "\n", map { $_ // 'none' } @$a{qw(head body trailer rest end)};
}


run_tests();

__DATA__

=== TEST 1: gzip packs the relayed reply once
--- config
location / {
    gzip on;
    gzip_min_length 0;
    gzip_vary on;
    retry_chain noisy gone page;
    proxy_pass http://$retry_chain_upstream;
}
--- more_headers
Accept-Encoding: gzip
--- response_headers
Content-Encoding: gzip
Vary: Accept-Encoding
ETag: W/"v1"
!X-Failed
--- response_body_filters eval
\&Compress::Zlib::memGunzip
--- response_body eval: $::page
--- calls
noisy 1.1 GET /
gone 1.1 GET /
page 1.1 GET /
--- access_log
way: "GET / HTTP/1.1" 200 success [noisy, gone, page] [429, 502, 200]



=== TEST 2: gzip packs the last failure if it would without a chain
--- config
location / {
    gzip on;
    gzip_min_length 0;
    retry_chain noisy gone lost;
    proxy_pass http://$retry_chain_upstream;
}
--- more_headers
Accept-Encoding: gzip
--- error_code: 404
--- response_headers
Content-Encoding: gzip
--- response_body_filters eval
\&Compress::Zlib::memGunzip
--- response_body eval: $::page
--- access_log
way: "GET / HTTP/1.1" 404 exhausted [noisy, gone, lost] [429, 502, 404]



=== TEST 3: a last failure of 503 is not packed
--- config
location / {
    gzip on;
    gzip_min_length 0;
    retry_chain gzipped broken;
    proxy_pass http://$retry_chain_upstream;
}
--- more_headers
Accept-Encoding: gzip
--- error_code: 503
--- response_headers
!Content-Encoding
ETag: "v1"
--- response_body eval: $::page



=== TEST 4: gunzip unpacks the relayed reply, not the discarded one
--- config
location / {
    gunzip on;
    retry_chain gzipped gone zipped;
    proxy_pass http://$retry_chain_upstream;
}
--- response_headers
!Content-Encoding
!Content-Length
ETag: W/"v1"
--- response_body eval: $::page



=== TEST 5: gunzip leaves a plain reply alone after a packed failure
--- config
location / {
    gunzip on;
    retry_chain gzipped gone page;
    proxy_pass http://$retry_chain_upstream;
}
--- response_headers
!Content-Encoding
ETag: "v1"
--- response_body eval: $::page



=== TEST 6: sub_filter replaces each match once
--- config
location / {
    sub_filter quick quickquick;
    sub_filter_once off;
    retry_chain noisy gone page;
    proxy_pass http://$retry_chain_upstream;
}
--- response_headers
!Content-Length
!ETag
--- response_body
<p>quickquick brown fox, quickquick dog</p>



=== TEST 7: "once" is not used up by discarded replies
--- config
location / {
    sub_filter quick slow;
    retry_chain noisy broken noisy page;
    proxy_pass http://$retry_chain_upstream;
}
--- response_body
<p>slow brown fox, quick dog</p>



=== TEST 8: sub_filter in the last failure
--- config
location / {
    sub_filter quick slow;
    retry_chain noisy gone broken;
    proxy_pass http://$retry_chain_upstream;
}
--- error_code: 503
--- response_body
<p>slow brown fox, quick dog</p>



=== TEST 9: sub_filter in nginx's own page at the end
--- config
location / {
    sub_filter "Bad Gateway" "Bad Bad Gateway";
    sub_filter_once off;
    add_header X-Mine 1 always;
    retry_chain noisy broken gone;
    proxy_pass http://$retry_chain_upstream;
}
--- error_code: 502
--- response_headers
X-Mine: 1
!X-Failed
--- response_body_like: <title>502 Bad Bad Gateway</title>.*<h1>502 Bad Bad Gateway</h1>
--- access_log
way: "GET / HTTP/1.1" 502 exhausted [noisy, broken, gone] [429, 503, 502]



=== TEST 10: sub_filter in a long reply from a file
--- config
location / {
    proxy_buffers 4 4k;
    proxy_buffer_size 4k;
    sub_filter "is quick" "was slow";
    sub_filter_once off;
    retry_chain noisy gone long;
    proxy_pass http://$retry_chain_upstream;
}
--- response_body eval: $::long =~ s/is quick/was slow/gr



=== TEST 11: gunzip, sub_filter and gzip on top of each other
--- config
location / {
    gunzip on;
    gzip on;
    gzip_min_length 0;
    sub_filter quick quickquick;
    retry_chain gzipped gone page;
    proxy_pass http://$retry_chain_upstream;
}
--- more_headers
Accept-Encoding: gzip
--- response_headers
Content-Encoding: gzip
!ETag
--- response_body_filters eval
\&Compress::Zlib::memGunzip
--- response_body
<p>quickquick brown fox, quick dog</p>



=== TEST 12: add_before_body and add_after_body ask once
--- config
location / {
    add_before_body /before;
    add_after_body /after;
    retry_chain noisy gone page;
    proxy_pass http://$retry_chain_upstream;
}
location = /before { proxy_pass http://part; }
location = /after { proxy_pass http://part; }
--- response_headers
!Content-Length
--- response_body eval: "[/before]$::page\[/after]"
--- sums
gone 1
noisy 1
page 1
part 2



=== TEST 13: addition to the last failure and to nginx's own page
--- config
location /reply {
    add_after_body /after;
    retry_chain noisy broken;
    proxy_pass http://$retry_chain_upstream;
}
location /own {
    add_after_body /after;
    retry_chain noisy gone;
    proxy_pass http://$retry_chain_upstream;
}
location = /after { proxy_pass http://part; }
--- pipelined_requests eval
["GET /reply", "GET /own"]
--- error_code eval
[503, 502]
--- response_body_like eval
["^\Q$::page\E\$", "502 Bad Gateway.*</html>"]
--- sums
broken 1
gone 1
noisy 2



=== TEST 14: charset recodes the relayed reply once
--- config
location / {
    charset utf-8;
    source_charset koi8-r;
    retry_chain noisy gone koi8;
    proxy_pass http://$retry_chain_upstream;
}
--- response_headers
Content-Type: text/html; charset=utf-8
--- response_body eval: "\xd1\x82\xd1\x83"



=== TEST 15: includes are made for the relayed reply only, in their order
--- config
location / {
    ssi on;
    retry_chain noisy gone ssi;
    proxy_pass http://$retry_chain_upstream;
}
location = /part/1 { proxy_pass http://slow_part; }
location = /part/2 { proxy_pass http://part; }
location = /part/failed { proxy_pass http://part; }
--- response_body
a [slow /part/1]b none [/part/2]c
--- response_headers
!Content-Length
!Last-Modified
!X-Failed
--- sums
gone 1
noisy 1
part 1
slow_part 1
ssi 1



=== TEST 16: a page with includes that comes in pieces, larger than its buffers
--- config
location / {
    ssi on;
    proxy_buffering off;
    retry_chain noisy gone ssi_parts;
    proxy_pass http://$retry_chain_upstream;
}
location = /part/1 { proxy_pass http://slow_part; }
location = /part/2 { proxy_pass http://long; }
--- response_body eval: "a [slow /part/1]b none $::long" . "c\n"



=== TEST 17: includes in the last failure
--- config
location / {
    ssi on;
    retry_chain noisy gone broken_ssi;
    proxy_pass http://$retry_chain_upstream;
}
location /part/ { proxy_pass http://part; }
--- error_code: 503
--- response_body
a [/part/1]b none [/part/2]c



=== TEST 18: an included location with a chain runs plainly on its first step
--- config
location / {
    ssi on;
    retry_chain noisy gone ssi;
    proxy_pass http://$retry_chain_upstream;
}
location = /part/1 {
    retry_chain part page;
    proxy_pass http://$retry_chain_upstream;
}
location = /part/2 {
    retry_chain s503 part;
    proxy_pass http://$retry_chain_upstream;
}
--- response_body
a [/part/1]b none s503
c
--- sums
gone 1
noisy 1
part 1
s503 1
ssi 1
--- differs: in all, an include has no chain
--- access_log
way: "GET / HTTP/1.1" 200 success [noisy, gone, ssi] [429, 502, 200]



=== TEST 19: an included location of the same chain goes where the page came from
--- config
location / {
    ssi on;
    retry_chain noisy gone ssi;
    proxy_pass http://$retry_chain_upstream;

    location /part/ {
        proxy_pass http://$retry_chain_upstream;
        ssi off;
    }
}
--- response_body_like: ^a a <!--#include virtual="/part/1" -->.*b none a .*c\n$
--- sums
gone 1
noisy 1
ssi 3
--- differs: in all, an include has no chain



=== TEST 20: a page without a chain that includes locations with one
--- config
location / {
    ssi on;
    proxy_pass http://ssi;
}
location /part/ {
    retry_chain s503 part;
    proxy_pass http://$retry_chain_upstream;
}
--- response_body
a s503
b none s503
c
--- sums
s503 2
ssi 1
--- differs: in all, an include has no chain



=== TEST 21: HEAD through gzip
--- config
location / {
    gzip on;
    gzip_min_length 0;
    retry_chain noisy gone page;
    proxy_pass http://$retry_chain_upstream;
}
--- request
HEAD /
--- more_headers
Accept-Encoding: gzip
--- response_headers
Content-Encoding: gzip
ETag: W/"v1"
!Content-Length
!X-Failed
--- calls
noisy 1.1 HEAD /
gone 1.1 HEAD /
page 1.1 HEAD /



=== TEST 56: HEAD through ssi, sub_filter and addition
--- config
location / {
    ssi on;
    sub_filter quick slow;
    add_after_body /part/after;
    retry_chain noisy gone page;
    proxy_pass http://$retry_chain_upstream;
}
location /part/ { proxy_pass http://part; }
--- request
HEAD /
--- response_headers
!ETag
!Content-Length
!X-Failed
--- calls
noisy 1.1 HEAD /
gone 1.1 HEAD /
page 1.1 HEAD /



=== TEST 22: a range of the relayed reply
--- config
location / {
    proxy_force_ranges on;
    retry_chain noisy gone page;
    proxy_pass http://$retry_chain_upstream;
}
--- more_headers
Range: bytes=3-7
--- error_code: 206
--- response_headers
Content-Range: bytes 3-7/34
Content-Length: 5
!Accept-Ranges
--- response_body chomp
quick



=== TEST 23: several ranges are not cut out of a reply on its way
--- config
location / {
    proxy_force_ranges on;
    retry_chain noisy gone page;
    proxy_pass http://$retry_chain_upstream;
}
--- more_headers
Range: bytes=3-7,9-13
--- response_headers
!Content-Range
Content-Length: 34
--- response_body eval: $::page



=== TEST 24: If-Range of a discarded reply's validator, and of the relayed one's
--- config
location / {
    proxy_force_ranges on;
    retry_chain noisy gone page;
    proxy_pass http://$retry_chain_upstream;
}
--- pipelined_requests eval
["GET /1", "GET /2"]
--- more_headers eval
["Range: bytes=3-7\nIf-Range: \"v2\"", "Range: bytes=3-7\nIf-Range: \"v1\""]
--- error_code eval
[200, 206]
--- response_body eval
[$::page, "quick"]



=== TEST 25: a range behind the end of the relayed reply
--- config
location / {
    proxy_force_ranges on;
    retry_chain noisy gone page;
    proxy_pass http://$retry_chain_upstream;
}
--- more_headers
Range: bytes=100-
--- error_code: 416
--- response_headers
Content-Range: bytes */34
!X-Failed
--- response_body_like: <title>416 Requested Range Not Satisfiable</title>
--- access_log
way: "GET / HTTP/1.1" 416 success [noisy, gone, page] [429, 502, 200]



=== TEST 26: no range of a failure
--- config
location / {
    proxy_force_ranges on;
    retry_chain noisy broken;
    proxy_pass http://$retry_chain_upstream;
}
--- more_headers
Range: bytes=3-7
--- error_code: 503
--- response_headers
!Content-Range
--- response_body eval: $::page



=== TEST 27: 304 by the validator of the relayed reply
--- config
location / {
    proxy_cache c;
    proxy_no_cache 1;
    retry_chain noisy gone page;
    proxy_pass http://$retry_chain_upstream;
}
--- more_headers
If-None-Match: "v1"
--- error_code: 304
--- response_headers
ETag: "v1"
!Content-Length
!Content-Type
!X-Failed
--- response_body
--- access_log
way: "GET / HTTP/1.1" 304 success [noisy, gone, page] [429, 502, 200]



=== TEST 28: 304 by its date
--- config
location / {
    proxy_cache c;
    proxy_no_cache 1;
    retry_chain noisy gone page;
    proxy_pass http://$retry_chain_upstream;
}
--- more_headers
If-Modified-Since: Mon, 28 Sep 1970 06:00:00 GMT
--- error_code: 304
--- response_body



=== TEST 29: 412 because the client wants another version
--- config
location / {
    proxy_cache c;
    proxy_no_cache 1;
    retry_chain noisy gone page;
    proxy_pass http://$retry_chain_upstream;
}
--- more_headers
If-Match: "v2"
--- error_code: 412
--- response_headers
!X-Failed
--- response_body_like: <title>412 Precondition Failed</title>
--- access_log
way: "GET / HTTP/1.1" 412 success [noisy, gone, page] [429, 502, 200]



=== TEST 30: conditions do not turn a failure into 304 or 412
--- config
location / {
    proxy_cache c;
    proxy_no_cache 1;
    retry_chain noisy broken;
    proxy_pass http://$retry_chain_upstream;
}
--- pipelined_requests eval
["GET /1", "GET /2"]
--- more_headers eval
["If-None-Match: \"v1\"", "If-Match: \"v2\""]
--- error_code eval
[503, 503]
--- response_body eval
[$::page, $::page]



=== TEST 31: chunks of the client's own
--- config
location / {
    retry_chain noisy trailer gone chunked;
    proxy_pass http://$retry_chain_upstream;
}
--- response_headers
Transfer-Encoding: chunked
!Content-Length
!X-End
--- response_body eval: $::page



=== TEST 32: no chunks for HTTP/1.0, and none without a length for nothing
--- config
location /chunked {
    retry_chain noisy gone chunked;
    proxy_pass http://$retry_chain_upstream;
}
location /closing {
    retry_chain noisy gone closing;
    proxy_pass http://$retry_chain_upstream;
}
--- request
GET /chunked HTTP/1.0
--- response_headers
!Transfer-Encoding
!Content-Length
--- response_body eval: $::page



=== TEST 33: a reply that ends with its connection is sent in chunks
--- config
location / {
    retry_chain noisy gone closing;
    proxy_pass http://$retry_chain_upstream;
}
--- response_headers
Transfer-Encoding: chunked
--- response_body eval: $::page



=== TEST 34: add_header, expires and add_trailer act once
--- config
location /chain {
    add_header X-Mine "mine";
    add_header X-Always "always" always;
    add_header ETag "\"mine\"";
    add_trailer X-End "end";
    expires epoch;
    retry_chain noisy trailer gone chunked;
    proxy_pass http://$retry_chain_upstream;
}
location = / { return 204; }
--- error_code: 204
--- ask: GET /chain
--- raw_like
^HTTP/1.1 200 Text\r\n(?!.*(?:failed|X-Failed))
X-Mine: mine\r\n(?!.*X-Mine: )
X-Always: always\r\n(?!.*X-Always: )
ETag: "mine"\r\n(?!.*ETag: )
Cache-Control: no-cache\r\n(?!.*Cache-Control: )
fox, quick dog.*\r\n0\r\nX-End: end\r\n\r\n$



=== TEST 35: add_header, expires and add_trailer on the last failure
--- config
location / {
    add_header X-Mine "mine";
    add_header X-Always "always" always;
    add_trailer X-End "end";
    expires epoch;
    retry_chain noisy gone broken;
    proxy_pass http://$retry_chain_upstream;
}
--- error_code: 503
--- response_headers
!X-Mine
X-Always: always
!Expires
!Cache-Control
--- response_body eval: $::page



=== TEST 36: the variables of a trailer are those of the end
--- config
location /chain {
    add_trailer X-End "$upstream_http_etag $upstream_status";
    retry_chain noisy trailer gone page;
    proxy_pass http://$retry_chain_upstream;
}
location = / { return 204; }
--- error_code: 204
--- ask: GET /chain
--- raw_like
^HTTP/1.1 200 Text\r\n.*Transfer-Encoding: chunked\r\n
\r\n0\r\nX-End: "v1" (?:429 : 503 : 502 : )?200\r\n\r\n$
--- differs: X-End



=== TEST 37: limit_rate holds, whatever was discarded
--- http_config
log_format rate 'rate: $limit_rate $request_time';
--- config
location / {
    access_log logs/access.log rate;
    limit_rate 1k;
    retry_chain noisy gone lines;
    proxy_pass http://$retry_chain_upstream;
}
--- response_body eval: Ways::lines(2100)
--- access_log eval
qr/rate: 1024 (?:[1-9]|\d\d+)\.\d/
--- differs: in all, it takes too long



=== TEST 38: limit_req counts a run once
--- http_config
limit_req_zone $server_name zone=req:1m rate=1r/m;
limit_req_status 429;
--- config
location / {
    limit_req zone=req burst=1 nodelay;
    retry_chain noisy trailer gone page;
    proxy_pass http://$retry_chain_upstream;
}
--- pipelined_requests eval
["GET /1", "GET /2", "GET /3"]
--- error_code eval
[200, 200, 429]
--- sums
gone 2
noisy 2
page 2
trailer 2



=== TEST 39: limit_conn counts a run once, and to its end
--- http_config
limit_conn_zone $server_name zone=conn:1m;
--- config
location / {
    limit_conn conn 1;
    retry_chain noisy trailer gone page;
    proxy_pass http://$retry_chain_upstream;
}
--- pipelined_requests eval
["GET /1", "GET /2"]
--- response_body eval
[$::page, $::page]



=== TEST 40: limit_conn holds while a later attempt is being made
--- http_config
limit_conn_zone $server_port zone=conn:1m;
limit_conn_status 429;
--- config
location = / {
    ssi on;
    proxy_pass http://ssi;
}
location /part/ {
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/run/;
    proxy_set_header Host localhost;
    proxy_intercept_errors on;
    error_page 429 /limited;
}
location /run/ {
    limit_conn conn 1;
    retry_chain noisy gone slow;
    proxy_pass http://$retry_chain_upstream;
}
location = /limited {
    return 200 "limited\n";
}
--- response_body
a slow
b none limited
c
--- sums
gone 1
noisy 1
slow 1
ssi 1
--- differs: in all, the server name



=== TEST 41: mirror copies the request once
--- config
location / {
    mirror /mirror;
    retry_chain noisy trailer gone page;
    proxy_pass http://$retry_chain_upstream;
}
location = /mirror {
    internal;
    proxy_pass http://shadow$request_uri;
}
--- request
POST /a?b=c
a body of the client
--- more_headers
Idempotency-Key: 1
--- response_body eval: $::page
--- sums
gone 1
noisy 1
page 1
shadow 1
trailer 1
--- calls_like
(?m)^shadow 1\.1 POST /a\?b=c 20:



=== TEST 42: a mirror with a chain runs plainly
--- config
location / {
    mirror /mirror;
    retry_chain noisy gone page;
    proxy_pass http://$retry_chain_upstream;
}
location = /mirror {
    internal;
    retry_chain shadow part;
    proxy_pass http://$retry_chain_upstream;
}
--- response_body eval: $::page
--- sums
gone 1
noisy 1
page 1
shadow 1
--- differs: in all, a mirror has no chain



=== TEST 43: auth_request asks once, and its variables are there in each attempt
--- config
location / {
    auth_request /auth;
    auth_request_set $user $upstream_http_x_user;
    proxy_set_header X-User $user;
    add_header X-User $user;
    retry_chain noisy trailer gone heard;
    proxy_pass http://$retry_chain_upstream;
}
location = /auth {
    internal;
    proxy_pass http://auth;
}
--- response_headers
X-User: me
--- response_body
x-user: me
--- sums
auth 1
gone 1
heard 1
noisy 1
trailer 1



=== TEST 44: no attempt is made for who is denied
--- config
location / {
    auth_request /auth;
    retry_chain noisy gone page;
    proxy_pass http://$retry_chain_upstream;
}
location = /auth {
    internal;
    proxy_pass http://denied;
}
--- error_code: 403
--- response_body_like: 403 Forbidden
--- calls
denied 1.1 GET /auth
--- access_log
way: "GET / HTTP/1.1" 403 - [-] [-]



=== TEST 45: a location of auth_request with a chain runs plainly
--- config
location / {
    auth_request /auth;
    retry_chain noisy gone page;
    proxy_pass http://$retry_chain_upstream;
}
location = /auth {
    internal;
    retry_chain s401 auth;
    proxy_pass http://$retry_chain_upstream;
}
--- error_code: 401
--- calls
s401 1.1 GET /auth
--- differs: in all, auth_request has no chain



=== TEST 46: auth_basic, allow and satisfy before the first attempt
--- config
location / {
    satisfy any;
    deny all;
    auth_basic "here";
    auth_basic_user_file ../html/users;
    retry_chain noisy gone page;
    proxy_pass http://$retry_chain_upstream;
}
--- user_files
>>> users
me:{PLAIN}pass
--- pipelined_requests eval
["GET /1", "GET /2"]
--- more_headers eval
["Authorization: Basic bWU6cGFzcw==", ""]
--- error_code eval
[200, 401]
--- sums
gone 1
noisy 1
page 1



=== TEST 47: realip is what each attempt is told
--- config
location / {
    set_real_ip_from 127.0.0.1;
    real_ip_header X-Forwarded-For;
    proxy_set_header X-Real-IP $remote_addr;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    retry_chain noisy trailer gone heard;
    proxy_pass http://$retry_chain_upstream;
}
--- more_headers
X-Forwarded-For: 192.0.2.7
--- response_body
x-forwarded-for: 192.0.2.7, 192.0.2.7
x-real-ip: 192.0.2.7



=== TEST 48: userid sends one cookie, and each attempt knows it
--- config
location / {
    userid on;
    proxy_set_header X-Set $uid_set;
    retry_chain noisy trailer gone cookie;
    proxy_pass http://$retry_chain_upstream;
}
--- raw_like
^(?!(?:.*Set-Cookie: uid=){2}).*Set-Cookie: uid=
^(?!(?:.*Set-Cookie: ){4})(?!.*failed).*a=1.*b=2
--- response_body eval: $::page
--- differs: Set-Cookie



=== TEST 49: secure_link lets pass, or not, before the first attempt
--- skip_eval
3: `@{[ $ENV{TEST_NGINX_BINARY} || 'nginx' ]} -V 2>&1` !~ /secure_link/
--- config
location / {
    secure_link $arg_md5;
    secure_link_md5 "$uri secret";
    if ($secure_link = "") { return 403; }
    proxy_set_header X-Link $secure_link;
    retry_chain noisy gone heard;
    proxy_pass http://$retry_chain_upstream;
}
--- pipelined_requests eval
use Digest::MD5;
["GET /a?md5=" . Digest::MD5::md5_base64("/a secret") =~ tr{+/}{-_}r,
 "GET /b?md5=" . Digest::MD5::md5_base64("/a secret") =~ tr{+/}{-_}r]
--- error_code eval
[200, 403]
--- response_body_like eval
["^x-link: 1\n\$", "403 Forbidden"]
--- sums
gone 1
heard 1
noisy 1



=== TEST 50: valid_referers before the first attempt
--- config
location / {
    valid_referers none *.example.com;
    if ($invalid_referer) { return 403; }
    retry_chain noisy gone page;
    proxy_pass http://$retry_chain_upstream;
}
--- pipelined_requests eval
["GET /1", "GET /2"]
--- more_headers eval
["Referer: http://a.example.com/", "Referer: http://example.org/"]
--- error_code eval
[200, 403]
--- sums
gone 1
noisy 1
page 1



=== TEST 51: cookies are rewritten once
--- config
location / {
    proxy_cookie_path / /x/;
    proxy_cookie_flags a secure;
    retry_chain noisy gone cookie;
    proxy_pass http://$retry_chain_upstream;
}
--- raw_like
Set-Cookie: a=1; path=/x/; Secure\r\n.*Set-Cookie: b=2; path=/x/\r\n
--- response_body eval: $::page



=== TEST 52: a last step that stores the body with dav
--- config
location /up/ {
    client_body_in_file_only clean;
    retry_chain noisy gone @store;
    proxy_pass http://$retry_chain_upstream;
}
location @store {
    root html;
    create_full_put_path on;
    dav_methods PUT DELETE;
}
location /down/ {
    rewrite ^/down(.*) /up$1 break;
    root html;
}
--- pipelined_requests eval
["PUT /up/file\nwhat is stored", "GET /down/file", "DELETE /up/file"]
--- error_code eval
[201, 200, 204]
--- response_body eval
["", "what is stored", ""]
--- sums
gone 2
noisy 2



=== TEST 53: a location with dav has no use for an inherited chain
--- http_config
retry_chain noisy page;
--- config
location / {
    root html;
    dav_methods PUT;
}
--- pipelined_requests eval
["PUT /file\nstored", "GET /file"]
--- error_code eval
[201, 200]
--- response_body eval
["", "stored"]
--- calls
--- access_log
way: "GET /file HTTP/1.1" 200 - [-] [-]



=== TEST 54: the filters of an error page act on that
--- config
location / {
    sub_filter quick slow;
    sub_filter_once off;
    add_header X-Here "chain" always;
    proxy_intercept_errors on;
    error_page 503 /sorry;
    retry_chain noisy gone broken;
    proxy_pass http://$retry_chain_upstream;
}
location = /sorry {
    ssi on;
    sub_filter sorry "so sorry";
    add_header X-Here "page" always;
    proxy_pass http://ssi;
}
location /part/ { proxy_pass http://part; }
--- error_code: 503
--- response_headers
X-Here: page
!X-Failed
--- response_body
a [/part/1]b none [/part/2]c
--- sums
broken 1
gone 1
noisy 1
part 2
ssi 1



=== TEST 55: all at once
--- config
location / {
    ssi on;
    sub_filter none nothing;
    add_before_body /part/before;
    add_after_body /part/after;
    add_header X-Mine mine always;
    userid log;
    charset utf-8;
    gzip on;
    gzip_min_length 0;
    retry_chain gzipped gone trailer ssi;
    proxy_pass http://$retry_chain_upstream;
}
location = /part/1 { proxy_pass http://slow_part; }
location /part/ { proxy_pass http://part; }
--- more_headers
Accept-Encoding: gzip
--- response_body_filters eval
\&Compress::Zlib::memGunzip
--- response_body chomp
[/part/before]a [slow /part/1]b nothing [/part/2]c
[/part/after]
--- sums
gone 1
gzipped 1
part 3
slow_part 1
ssi 1
trailer 1
--- differs: in all, zlib packs what comes as it comes
--- access_log
way: "GET / HTTP/1.1" 200 success [gzipped, gone, trailer, ssi] [429, 502, 503, 200]
