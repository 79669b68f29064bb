# What the client gets of the header of the reply that is relayed after a
# failure, line by line of the table in ngx_http_retry_chain_relay_headers.c, and that
# nothing of a discarded reply is left.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::Nginx::Socket 'no_plan';
use Ways;

my $ok = "ok\n";

ways(
    limited => sub {
        reply(429, "slow down\n", 'X-Failed: 1', 'Server: failed',
              'Date: Thu, 01 Jan 1970 00:00:00 GMT', 'Location: /failed',
              'Refresh: 9; url=/failed', 'ETag: "failed"',
              'Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT',
              'Expires: Thu, 01 Jan 1970 00:00:00 GMT',
              'Cache-Control: failed', 'Cache-Control: no-store',
              'Link: </failed>', 'Link: </failed2>', 'Set-Cookie: failed=1',
              'Set-Cookie: failed2=1', 'WWW-Authenticate: failed',
              'WWW-Authenticate: failed2', 'Content-Language: failed',
              'Content-Encoding: failed', 'Accept-Ranges: failed',
              'Content-Range: bytes 1-2/3', 'Content-Type: failed/failed',
              'Vary: failed', 'Retry-After: 7', 'X-Accel-Charset: failed',
              'X-Accel-Limit-Rate: 1', 'X-Accel-Buffering: no',
              'X-Accel-Expires: 0', 'P3P: failed')
    },
    limited_close => sub { reply(429, undef, 'Connection: close',
                                 'X-Failed: 1') . 'until the end' },
    cached => sub {
        reply(200, $ok, 'ETag: "v1"', 'Cache-Control: max-age=60',
              'Cache-Control: public',
              'Last-Modified: Mon, 28 Sep 1970 06:00:00 GMT',
              'Expires: Mon, 28 Sep 2037 06:00:00 GMT',
              'Accept-Ranges: bytes', 'Content-Type: text/html',
              'Date: Mon, 28 Sep 1970 06:00:01 GMT', 'Server: origin')
    },
    redirect => sub { reply(302, 'there', 'Location: /there?a=b',
                            'Refresh: 5; url=/there') },
    encoded => sub { reply(200, 'not really gzip', 'Content-Encoding: gzip',
                           'Content-Type: text/html') },
    partial => sub { reply(206, 'abc', 'Content-Range: bytes 0-2/10',
                           'Accept-Ranges: bytes') },
    multi => sub {
        reply(200, $ok, 'Set-Cookie: a=1', 'Set-Cookie: b=2', 'Set-Cookie: a=3',
              'Link: </a>; rel=preload', 'Link: </b>', 'Link: </c>',
              'Cache-Control: private', 'Cache-Control: max-age=1',
              'WWW-Authenticate: Basic realm="a"',
              'WWW-Authenticate: Bearer', 'Vary: Cookie', 'Vary: Accept',
              'X-Same: 1', 'X-Same: 2')
    },
    unauthorized => sub { reply(401, 'who', 'WWW-Authenticate: Basic realm="a"',
                                'WWW-Authenticate: Bearer') },
    charset => sub { reply(200, "\xf2", 'Content-Type: text/html; charset=koi8-r')
                   },
    accel_charset => sub { reply(200, "\xd1\x82", 'Content-Type: text/html',
                                 'X-Accel-Charset: koi8-r') },
    accel_rate => sub { reply(200, $ok, 'X-Accel-Limit-Rate: 123456') },
    typeless => sub { reply(200, $ok) },
    big => sub { reply(200, 'x' x 200_000) },
    reason => sub { "HTTP/1.1 299 My Own Words\r\nContent-Length: 0\r\n\r\n" },
    variables => sub { reply(200, $ok, 'X-A: of the answer',
                             'Set-Cookie: c=answer', 'Content-Length: 3') },
    odd => sub { "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX_Under: 1\r\n"
                 . "X-Empty:\r\n\r\nok\n" },
    map { my $n = $_; "many$n" => sub { reply(200, $ok, map { "X-H$_: $_" }
                                                        1 .. $n) } }
        (18 .. 22, 59 .. 61),
);

ways_blocks();

our $chain = 'proxy_pass http://$retry_chain_upstream;';

run_tests();

__DATA__

=== TEST 1: nothing of a discarded reply reaches the client
--- config
location / {
    retry_chain limited typeless;
    proxy_pass http://$retry_chain_upstream;
    proxy_pass_header Server;
    proxy_pass_header Date;
    proxy_pass_header X-Accel-Charset;
    proxy_pass_header X-Accel-Limit-Rate;
}
--- response_body
ok
--- raw_response_headers_like chomp
^HTTP/1\.1 200 Text\r\nContent-Length: 3\r\nConnection: close\r\n$
--- access_log
way: "GET / HTTP/1.1" 200 success [limited, typeless] [429, 200]



=== TEST 2: three discarded replies leave nothing either
--- config
location / {
    retry_chain limited limited_close limited typeless;
    proxy_pass http://$retry_chain_upstream;
}
--- response_body
ok
--- raw_response_headers_like chomp
^HTTP/1\.1 200 Text\r\nServer: nginx[^\r]*\r\nDate: [^\r]*\r\nContent-Length: 3\r\nConnection: close\r\n$
--- calls
limited 1.1 GET /
limited_close 1.1 GET /
limited 1.2 GET /
typeless 1.1 GET /



=== TEST 3: the last failure is relayed with all its headers
--- config
location / {
    retry_chain s503 limited;
    proxy_pass http://$retry_chain_upstream;
    proxy_pass_header Server;
    proxy_pass_header Date;
}
--- error_code: 429
--- response_body
slow down
--- raw_response_headers_like eval
my $all = CORE::join '', map { "(?=.*\\r\\n\Q$_\E\\r\\n)" }
    'Server: failed', 'Date: Thu, 01 Jan 1970 00:00:00 GMT', 'X-Failed: 1',
    'Location: /failed', 'Refresh: 9; url=/failed', 'ETag: "failed"',
    'Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT',
    'Expires: Thu, 01 Jan 1970 00:00:00 GMT', 'Cache-Control: failed',
    'Cache-Control: no-store', 'Link: </failed>', 'Link: </failed2>',
    'Set-Cookie: failed=1', 'Set-Cookie: failed2=1',
    'WWW-Authenticate: failed', 'WWW-Authenticate: failed2',
    'Content-Language: failed', 'Content-Encoding: failed',
    'Content-Range: bytes 1-2/3', 'Content-Type: failed/failed',
    'Vary: failed', 'Retry-After: 7', 'P3P: failed', 'Content-Length: 10';
qr/^HTTP\/1\.1 429 Text$all/s
--- raw_response_headers_unlike: X-Failed: s503
--- access_log
way: "GET / HTTP/1.1" 429 exhausted [s503, limited] [503, 429]



=== TEST 4: server and date of the upstream, once
--- config
location / {
    retry_chain limited cached;
    proxy_pass http://$retry_chain_upstream;
    proxy_pass_header Server;
    proxy_pass_header Date;
}
--- raw_response_headers_like: (?s)^(?=.*\r\nServer: origin\r\n)(?=.*\r\nDate: Mon, 28 Sep 1970 06:00:01 GMT\r\n)
--- raw_response_headers_unlike: (?s)(?:Server: .*Server: |Date: .*Date: )



=== TEST 5: location of an upstream stays relative
--- config
location / {
    retry_chain limited redirect;
    proxy_pass http://$retry_chain_upstream;
}
--- error_code: 302
--- response_headers
Location: /there?a=b
--- raw_response_headers_unlike: (?s)Location: .*Location: 



=== TEST 6: location of another handler is made absolute
--- config
location = /dir {
    root html;
    retry_chain limited @here;
    proxy_pass http://$retry_chain_upstream;
}
location @here {
    root html;
}
--- user_files
>>> dir/index.html
x
--- request
GET /dir
--- error_code: 301
--- response_headers_like
Location: http://localhost(?::\d+)?/dir/
--- raw_response_headers_unlike: (?s)Location: .*Location: 



=== TEST 7: location and refresh are rewritten by proxy_redirect
--- config
location / {
    absolute_redirect off;
    retry_chain limited redirect;
    proxy_pass http://$retry_chain_upstream;
    proxy_redirect /there /elsewhere;
}
--- error_code: 302
--- response_headers
Location: /elsewhere?a=b
Refresh: 5; url=/elsewhere



=== TEST 8: content-encoding keeps gzip from packing once more
--- config
location / {
    gzip on;
    gzip_min_length 0;
    gzip_proxied any;
    retry_chain limited encoded;
    proxy_pass http://$retry_chain_upstream;
}
--- more_headers
Accept-Encoding: gzip
--- response_headers
Content-Encoding: gzip
Content-Length: 15
--- response_body chomp
not really gzip



=== TEST 9: last-modified is sent once
--- config
location / {
    retry_chain limited cached;
    proxy_pass http://$retry_chain_upstream;
}
--- response_headers
Last-Modified: Mon, 28 Sep 1970 06:00:00 GMT
--- raw_response_headers_unlike: (?s)Last-Modified: .*Last-Modified: 



=== TEST 10: last-modified and etag are cleared by a filter, or weakened
--- config
location /clear {
    sub_filter ok ko;
    retry_chain limited cached;
    proxy_pass http://$retry_chain_upstream;
}
location /weak {
    sub_filter ok ko;
    sub_filter_last_modified on;
    retry_chain limited cached;
    proxy_pass http://$retry_chain_upstream;
}
--- pipelined_requests eval
["GET /clear", "GET /weak"]
--- response_body eval
["ko\n", "ko\n"]
--- response_headers eval
["!Last-Modified
!Content-Length
!ETag",
"Last-Modified: Mon, 28 Sep 1970 06:00:00 GMT
!Content-Length
ETag: W/\"v1\""]



=== TEST 36: accept-ranges is cleared by a filter
--- config
location / {
    gzip on;
    gzip_min_length 0;
    gzip_proxied any;
    retry_chain limited cached;
    proxy_pass http://$retry_chain_upstream;
}
--- more_headers
Accept-Encoding: gzip
--- response_headers
!Accept-Ranges
!Content-Length
Content-Encoding: gzip
ETag: W/"v1"



=== TEST 11: last-modified and etag are replaced by add_header
--- config
location / {
    add_header Last-Modified "Tue, 29 Sep 1970 06:00:00 GMT";
    retry_chain limited cached;
    proxy_pass http://$retry_chain_upstream;
}
--- response_headers
Last-Modified: Tue, 29 Sep 1970 06:00:00 GMT
--- raw_response_headers_unlike: (?s)Last-Modified: .*Last-Modified: 



=== TEST 12: if-none-match is answered by main's own filter
--- config
location / {
    retry_chain limited cached;
    proxy_pass http://$retry_chain_upstream;
    proxy_set_header If-None-Match "";
    proxy_cache off;
}
--- more_headers
If-None-Match: "v1"
--- response_headers
ETag: "v1"
--- response_body
ok



=== TEST 13: content-range and accept-ranges of a partial reply
--- config
location / {
    retry_chain limited partial;
    proxy_pass http://$retry_chain_upstream;
}
--- more_headers
Range: bytes=0-2
--- error_code: 206
--- response_headers
Content-Range: bytes 0-2/10
Accept-Ranges: bytes
--- raw_response_headers_unlike: (?s)(?:Content-Range: .*Content-Range: |Accept-Ranges: .*Accept-Ranges: )
--- response_body chomp
abc



=== TEST 14: expires and all of cache-control are replaced by expires
--- config
location / {
    expires epoch;
    retry_chain limited cached;
    proxy_pass http://$retry_chain_upstream;
}
--- response_headers
Expires: Thu, 01 Jan 1970 00:00:01 GMT
Cache-Control: no-cache
--- raw_response_headers_unlike: (?s)(?:Expires: .*Expires: |Cache-Control: .*Cache-Control: |max-age|public)



=== TEST 15: expires as they came
--- config
location / {
    retry_chain limited cached;
    proxy_pass http://$retry_chain_upstream;
}
--- raw_response_headers_like: (?s)^(?=.*\r\nExpires: Mon, 28 Sep 2037 06:00:00 GMT\r\n)(?=.*\r\nCache-Control: max-age=60\r\n.*Cache-Control: public\r\n)
--- raw_response_headers_unlike: (?s)Expires: .*Expires: 



=== TEST 16: repeated lines keep their number and order
--- config
location / {
    retry_chain limited multi;
    proxy_pass http://$retry_chain_upstream;
}
--- raw_response_headers_like: (?s)Set-Cookie: a=1\r\n.*Set-Cookie: b=2\r\n.*Set-Cookie: a=3\r\n.*Link: </a>; rel=preload\r\n.*Link: </b>\r\n.*Link: </c>\r\n.*Cache-Control: private\r\n.*Cache-Control: max-age=1\r\n.*WWW-Authenticate: Basic realm="a"\r\n.*WWW-Authenticate: Bearer\r\n.*Vary: Cookie\r\n.*Vary: Accept\r\n.*X-Same: 1\r\n.*X-Same: 2\r\n
--- raw_response_headers_unlike: (?s)(?:failed|(?:Set-Cookie.*){4}|(?:Link.*){4}|(?:Cache-Control.*){3}|(?:WWW-A.*){3}|(?:Vary.*){3}|(?:X-Same.*){3})



=== TEST 17: add_header adds to repeated lines
--- config
location / {
    add_header Link "</mine>";
    add_header Cache-Control "mine";
    add_header Set-Cookie "mine=1";
    add_header Vary "Mine";
    retry_chain limited multi;
    proxy_pass http://$retry_chain_upstream;
}
--- raw_response_headers_like: (?s)Set-Cookie: a=3\r\n.*Link: </c>\r\n.*Cache-Control: max-age=1\r\n.*Link: </mine>\r\n.*Cache-Control: mine\r\n.*Set-Cookie: mine=1\r\n.*Vary: Mine\r\n
--- raw_response_headers_unlike: (?s)(?:failed|(?:Link.*){5}|(?:Cache-Control.*){4})



=== TEST 18: all of repeated lines are in the log and in variables
--- config
location / {
    add_header X-Cc $sent_http_cache_control;
    add_header X-Link $sent_http_link;
    retry_chain limited multi;
    proxy_pass http://$retry_chain_upstream;
}
--- response_headers_like
X-Cc: private[,;] max-age=1
X-Link: </a>; rel=preload, </b>, </c>



=== TEST 19: 401 with two challenges
--- config
location / {
    retry_chain limited unauthorized;
    proxy_pass http://$retry_chain_upstream;
}
--- error_code: 401
--- raw_response_headers_like: (?s)WWW-Authenticate: Basic realm="a"\r\n.*WWW-Authenticate: Bearer\r\n
--- raw_response_headers_unlike: (?s)(?:WWW-A.*){3}



=== TEST 20: charset of the upstream
--- config
location / {
    charset utf-8;
    retry_chain limited charset;
    proxy_pass http://$retry_chain_upstream;
}
--- response_headers
Content-Type: text/html; charset=koi8-r



=== TEST 21: charset by X-Accel-Charset
--- http_config
charset_map koi8-r utf-8 { f2 d182; }
--- config
location / {
    charset utf-8;
    retry_chain limited accel_charset;
    proxy_pass http://$retry_chain_upstream;
}
--- response_headers
Content-Type: text/html; charset=koi8-r



=== TEST 22: a body recoded to it
--- http_config
charset_map koi8-r utf-8 { f2 d182; }
--- config
location / {
    charset koi8-r;
    source_charset utf-8;
    retry_chain limited accel_charset;
    proxy_pass http://$retry_chain_upstream;
}
--- response_headers
Content-Type: text/html; charset=koi8-r
--- response_body eval
"\xf2"



=== TEST 23: X-Accel-Limit-Rate of the relayed reply holds
--- http_config
log_format rate 'rate: $limit_rate';
--- config
location / {
    access_log logs/access.log rate;
    retry_chain limited accel_rate;
    proxy_pass http://$retry_chain_upstream;
}
--- response_body
ok
--- access_log
rate: 123456



=== TEST 24: X-Accel-Limit-Rate of a discarded reply does not
--- http_config
log_format rate 'rate: $limit_rate';
--- config
location / {
    access_log logs/access.log rate;
    retry_chain limited big;
    proxy_pass http://$retry_chain_upstream;
}
--- response_body eval
'x' x 200_000
--- access_log
rate: 0



=== TEST 25: a reason of one's own
--- config
location / {
    retry_chain limited reason;
    proxy_pass http://$retry_chain_upstream;
}
--- error_code: 299
--- raw_response_headers_like: ^HTTP/1\.1 299 My Own Words\r\n



=== TEST 26: variables of the reply are those of the relayed one
--- http_config
log_format vars '$upstream_http_x_a|$upstream_http_x_failed|$upstream_cookie_c'
                '|$upstream_cookie_failed|$upstream_status|$upstream_addr'
                '|$upstream_http_retry_after|$sent_http_x_a|$sent_http_x_failed'
                '|$upstream_response_length|';
--- config
location / {
    access_log logs/access.log vars;
    add_header X-Vars "$upstream_http_x_a|$upstream_http_x_failed|$upstream_cookie_c|$upstream_cookie_failed|$upstream_status";
    retry_chain limited variables;
    proxy_pass http://$retry_chain_upstream;
}
--- response_headers
X-Vars: of the answer||answer||429 : 200
--- access_log eval
qr/^of the answer\|-\|answer\|-\|429 : 200\|unix:\S+limited : unix:\S+variables\|-\|of the answer\|-\|\d+ : 3\|$/m



=== TEST 27: a value that the main request took before the run is kept
--- http_config
map $retry_chain_upstream $key { default none; limited one; variables two; }
map $retry_chain_upstream $live { volatile; default none; limited one; variables two; }
--- config
location / {
    if ($key = other) { return 500; }
    if ($live = other) { return 500; }
    add_header X-Keys "$key $live";
    proxy_set_header X-Key $live;
    retry_chain limited variables;
    proxy_pass http://$retry_chain_upstream;
}
--- response_headers
X-Keys: one two



=== TEST 28: values taken by an attempt do not reach the next one
--- http_config
map $retry_chain_upstream $key { default none; limited one; s503 two; ok three; }
log_format keys 'key: $key';
--- config
location /late {
    access_log logs/access.log keys;
    retry_chain limited s503 ok;
    proxy_pass http://$retry_chain_upstream/$key;
    add_header X-Key $key;
}
--- request
GET /late
--- response_headers
X-Key: three
--- calls
limited 1.1 GET /one
s503 1.1 GET /two
ok 1.1 GET /three
--- access_log
key: three



=== TEST 29: one request id for all attempts and the log
--- http_config
log_format id 'id: $request_id $upstream_http_x_none';
--- config
location / {
    access_log logs/access.log id;
    retry_chain s429 s503 ok;
    proxy_pass http://$retry_chain_upstream/$request_id;
    add_header X-Id $request_id;
}
--- calls_like: \As429 1\.1 GET /([0-9a-f]{32})\ns503 1\.1 GET /\1\nok 1\.1 GET /\1\n\z
--- response_headers_like
X-Id: [0-9a-f]{32}



=== TEST 30: header lists of any length, with lines added at their end
--- config
location /18 { retry_chain limited many18; proxy_pass http://$retry_chain_upstream; add_header X-Added 1; add_header X-Added2 2; }
location /19 { retry_chain limited many19; proxy_pass http://$retry_chain_upstream; add_header X-Added 1; add_header X-Added2 2; }
location /20 { retry_chain limited many20; proxy_pass http://$retry_chain_upstream; add_header X-Added 1; add_header X-Added2 2; }
location /21 { retry_chain limited many21; proxy_pass http://$retry_chain_upstream; add_header X-Added 1; add_header X-Added2 2; }
location /22 { retry_chain limited many22; proxy_pass http://$retry_chain_upstream; add_header X-Added 1; add_header X-Added2 2; }
location /59 { retry_chain limited many59; proxy_pass http://$retry_chain_upstream; add_header X-Added 1; add_header X-Added2 2; }
location /60 { retry_chain limited many60; proxy_pass http://$retry_chain_upstream; add_header X-Added 1; add_header X-Added2 2; }
location /61 { retry_chain limited many61; proxy_pass http://$retry_chain_upstream; add_header X-Added 1; add_header X-Added2 2; }
--- pipelined_requests eval
[map { "GET /$_" } 18 .. 22, 59 .. 61]
--- raw_response_headers_like eval
[map { my $n = $_; CORE::join('', map { "\\r\\nX-H$_: $_" } 1 .. $n)
                   . "\\r\\nX-Added: 1\\r\\nX-Added2: 2\\r\\n\$" }
     18 .. 22, 59 .. 61]
--- response_body eval
["ok\n", "ok\n", "ok\n", "ok\n", "ok\n", "ok\n", "ok\n", "ok\n"]



=== TEST 31: add_header acts once, on the relayed reply
--- config
location / {
    add_header X-Mine "$retry_chain_attempts $upstream_status" always;
    retry_chain s503 s503 s503;
    proxy_pass http://$retry_chain_upstream;
}
--- error_code: 503
--- raw_response_headers_like: X-Mine: 3 503 : 503 : 503\r\n
--- raw_response_headers_unlike: (?s)X-Mine: .*X-Mine: 



=== TEST 32: hidden and passed headers
--- config
location / {
    proxy_hide_header Cache-Control;
    proxy_hide_header ETag;
    retry_chain limited cached;
    proxy_pass http://$retry_chain_upstream;
}
--- response_headers
!ETag
!Cache-Control
Expires: Mon, 28 Sep 2037 06:00:00 GMT



=== TEST 33: empty values and underscores pass as they came
--- config
location / {
    retry_chain limited odd;
    proxy_pass http://$retry_chain_upstream;
}
--- raw_response_headers_like: (?s)X_Under: 1\r\n.*X-Empty: ?\r\n



=== TEST 34: the client's connection stays open whatever a discarded reply says
--- config
location / {
    retry_chain limited_close typeless;
    proxy_pass http://$retry_chain_upstream;
}
--- pipelined_requests eval
["GET /1", "GET /2"]
--- response_body eval
["ok\n", "ok\n"]
--- response_headers_like eval
["Connection: keep-alive", "Connection: close"]
--- calls
limited_close 1.1 GET /1
typeless 1.1 GET /1
limited_close 2.1 GET /2
typeless 1.2 GET /2



=== TEST 35: userid, expires and add_header on top of each other
--- config
location / {
    userid on;
    expires 1h;
    add_header X-A 1;
    retry_chain limited multi;
    proxy_pass http://$retry_chain_upstream;
}
--- raw_response_headers_like: (?s)Set-Cookie: a=3\r\n.*Set-Cookie: uid=
--- raw_response_headers_unlike: (?s)(?:failed|(?:Set-Cookie: uid.*){2}|(?:Cache-Control.*){2})



=== TEST 37: X-Accel-Charset of a discarded reply does not count
--- config
location / {
    charset utf-8;
    retry_chain limited cached;
    proxy_pass http://$retry_chain_upstream;
}
--- response_headers
Content-Type: text/html; charset=utf-8
