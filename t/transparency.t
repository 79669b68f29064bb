#!/usr/bin/perl

# A chain at http level must not change how a proxied location answers: the
# proxy itself, request bodies, replies of every kind, redirects, error pages,
# access rules, and clients that go away.  See t/lib/Differ.pm.

use strict;
use warnings;

use Digest::MD5 qw(md5_base64);
use File::Basename qw(dirname);
use lib dirname(__FILE__) . '/lib';

use Differ;

my $pass = 'proxy_pass http://127.0.0.1:%%BACKEND%%;';
my $pass11 = "$pass proxy_http_version 1.1;";
my @cases;

sub loc { return "location / { $pass @_ }" }
sub loc11 { return "location / { $pass11 @_ }" }
sub add { push @cases, {@_} }

# a backend that always says the same
sub always { my @a = @_; return sub { return @a } }


# ---- plain replies ---------------------------------------------------------

my $body = "The quick brown fox.\n";
my @h = ('Content-Type: text/plain', 'X-Foo: bar');

add(name => 'length', conf => loc(), want => qr/fox/,
    backend => always(reply(200, \@h, $body)));

add(name => 'chunked', conf => loc11(), want => qr/chunked: The quick/,
    backend => always(reply(200, [@h, 'Transfer-Encoding: chunked'])
                      . chunked('The quick ', "brown fox.\n")));

add(name => 'until-close', conf => loc(), want => qr/chunked: The quick/,
    backend => always(reply(200, \@h), $body));

add(name => 'parts', conf => loc11('proxy_buffering off;'),
    backend => always(reply(200, [@h, 'Content-Length: 6']), 'ab',
                      [sleep => 0.02], 'cd', [sleep => 0.02], 'ef'));

add(name => 'empty-length', conf => loc(), want => qr/length 0: \n/,
    backend => always(reply(200, \@h, '')),
    req => rq('/', keep => 1) . probe());

add(name => 'empty-chunked', conf => loc11(),
    backend => always(reply(200, [@h, 'Transfer-Encoding: chunked'])
                      . chunked()),
    req => rq('/', keep => 1) . probe());

add(name => 'empty-close', conf => loc(), backend => always(reply(200, \@h)));

add(name => 'no-header-at-all', conf => loc(),
    backend => always("HTTP/1.0 200 OK\r\n\r\n"));

for my $form ('length', 'chunked', 'close') {
    my $r = $form eq 'length' ? reply(200, \@h, $body)
          : $form eq 'chunked' ? reply(200, [@h, 'Transfer-Encoding: chunked'])
                                 . chunked($body)
          : reply(200, \@h) . $body;

    add(name => "http10-$form", conf => loc11(),
        req => rq('/', v => '1.0'), backend => always($r, [close => 1]));

    add(name => "http10-keepalive-$form", conf => loc11(),
        req => rq('/', v => '1.0', keep => 1) . probe(),
        backend => always($r, [close => 1]));

    my $h = $r;
    $h =~ s/\r\n\r\n\K.*//s;

    add(name => "head-$form", conf => loc11(), want => qr/no body/,
        req => rq('HEAD /', keep => 1) . probe(),
        backend => always($h, [close => 1]));

    add(name => "head-with-body-$form", conf => loc11(),
        req => rq('HEAD /', keep => 1) . probe(),
        backend => always($r, [close => 1]));

    add(name => "head-unbuffered-$form", conf => loc('proxy_buffering off;'),
        req => rq('HEAD /', keep => 1) . probe(),
        backend => always($r, [close => 1]));
}

add(name => 'keepalive-three', conf => loc(),
    client => sub {
        my ($io) = @_;
        my $c = $io->conn();
        for (1 .. 3) {
            $c->send(rq("/$_", keep => 1));
            $c->replies($_);
        }
        $c->send(probe());
        $c->eof();
    });

add(name => 'pipelined', conf => loc(),
    backend => sub { reply(200, \@h, "$_[0]{uri} $_[0]{body}\n") },
    req => rq('/1', keep => 1) . rq('POST /2', keep => 1, body => 'two')
           . rq('HEAD /3', keep => 1) . rq('PUT /4', keep => 1, body => 'four')
           . rq('/5', keep => 1) . probe());

add(name => 'pipelined-body-unread', want => qr/405.*probe answered/s,
    conf => loc('limit_except GET { deny all; }')
            . 'location /s { return 405; }',
    req => rq('POST /a', keep => 1, body => 'x' x 3000)
           . rq('POST /s', keep => 1, body => 'y' x 3000)
           . rq('/g', keep => 1) . probe());

add(name => 'keepalive-off', conf => loc('keepalive_timeout 0;'),
    req => rq('/', keep => 1) . probe());

add(name => 'keepalive-requests', conf => loc('keepalive_requests 2;'),
    req => rq('/1', keep => 1) . rq('/2', keep => 1) . probe());

add(name => 'absolute-uri', conf => loc(),
    req => "GET http://%%NAME%%/a?b=c HTTP/1.1\r\nHost: other\r\n"
           . "Connection: close\r\n\r\n");

add(name => 'odd-uri', conf => loc(),
    req => rq('/a/../b//c%20d%2fe?x=%20&y#z'));

add(name => 'odd-uri-changed', conf => 'location / { proxy_pass '
    . 'http://127.0.0.1:%%BACKEND%%/base/; }',
    req => rq('/a/../b//c%20d%2fe?x=%20&y'));

add(name => 'bad-request', conf => loc(), norun => 1,
    req => "GET / HTTP/1.1\r\nHost: %%NAME%%\r\nHost: %%NAME%%\r\n\r\n");

add(name => 'many-headers', conf => loc(),
    req => rq('/', h => [map { "X-H$_: " . 'v' x 60 } 1 .. 40]));

add(name => 'big-header-in', conf => loc(),
    req => rq('/', h => ['Cookie: ' . 'c' x 5000, 'X-Big: ' . 'b' x 3000]));


# ---- every status ----------------------------------------------------------

for my $s (200 .. 208, 226, 299, 300 .. 305, 307, 308, 400 .. 418, 421, 422,
           423, 425, 426, 428, 429, 431, 444, 451, 494 .. 511, 520, 599)
{
    add(name => "status-$s", conf => loc11(), want => qr/\b$s\b/,
        req => rq('/', keep => 1) . probe(),
        backend => always(reply($s, [@h, $s >= 300 && $s < 400
                          ? 'Location: http://127.0.0.1/there' : 'X-A: b'],
                          $s == 204 || $s == 304 ? undef : $body),
                          [keep => 1]));
}

for my $s (600, 777, 999) {
    add(name => "status-$s", conf => loc(), two => 0,
        backend => always(reply($s, \@h, $body)));
}

add(name => 'status-no-text', conf => loc(),
    backend => always("HTTP/1.1 404\r\nContent-Length: 2\r\n\r\nno"));

add(name => 'status-odd-text', conf => loc(),
    backend => always("HTTP/1.1 200 Very  Well!\r\nContent-Length: 2\r\n\r\nok"));

add(name => 'auth-401', conf => loc(),
    backend => always(reply(401, ['WWW-Authenticate: Basic realm="a"',
        'WWW-Authenticate: Digest realm="b", nonce="n"'], "who?\n")));

add(name => 'body-with-204', conf => loc11(),
    req => rq('/', keep => 1) . probe(),
    backend => always("HTTP/1.1 204 No\r\n\r\nbody"));

add(name => 'length-with-204', conf => loc11(),
    req => rq('/', keep => 1) . probe(),
    backend => always("HTTP/1.1 204 No\r\nContent-Length: 4\r\n\r\nbody"));

add(name => 'body-with-304', conf => loc11(),
    req => rq('/', keep => 1) . probe(),
    backend => always(reply(304, ['ETag: "x"'], 'body')));

add(name => 'head-304', conf => loc11(),
    req => rq('HEAD /', keep => 1) . probe(),
    backend => always(reply(304, ['ETag: "x"'])));

add(name => 'delete-204', conf => loc11(),
    req => rq('DELETE /', keep => 1) . probe(),
    backend => always(reply(204, ['X-Foo: gone'])));


# ---- headers of replies ----------------------------------------------------

my @multi = (
    'Set-Cookie: a=1; Path=/', 'Set-Cookie: b=2; HttpOnly',
    'Set-Cookie: c=cookie', 'Cache-Control: no-cache',
    'Cache-Control: max-age=5', 'Link: </a>; rel=preload',
    'Link: </b>; rel=next', 'Vary: Accept', 'Vary: Origin', 'X-Foo: one',
    'X-Foo: two', 'Via: 1.1 x', 'Via: 1.1 y', 'ETag: "abc"',
    'Last-Modified: Thu, 01 Jan 2009 00:00:00 GMT', 'Accept-Ranges: bytes',
    'Content-Language: de', 'Content-Language: en', 'Allow: GET',
    'Expires: Thu, 01 Jan 2009 00:00:00 GMT', 'Pragma: no-cache',
    'Refresh: 5', 'Retry-After: 10', 'Content-Encoding: identity',
    'X-Powered-By: us', 'Server: vendor', 'Date: Thu, 01 Jan 2009 00:00:00 GMT',
    'Age: 3', 'Warning: 110 - "x"', 'Strict-Transport-Security: max-age=1',
    'Content-Disposition: inline', 'Keep-Alive: timeout=3', 'X-Empty:',
    'Status: 200 fine', 'Content-MD5: x', 'Trailer: X-T', 'P3P: x',
);

add(name => 'many-reply-headers', conf => loc(), want => qr/c=cookie/,
    backend => always(reply(200, ['Content-Type: text/html; charset=utf-8',
                                  @multi], $body)));

add(name => 'many-reply-headers-404', conf => loc11(),
    backend => always(reply(404, ['Content-Type: text/html', @multi], $body)));

add(name => 'headers-passed', conf => loc('proxy_pass_header Server;
    proxy_pass_header Date; proxy_pass_header X-Accel-Expires;
    proxy_hide_header X-Foo; proxy_hide_header Set-Cookie;'),
    backend => always(reply(200, [@multi, 'X-Accel-Expires: 5'], $body)));

add(name => 'duplicate-type', conf => loc(),
    backend => always(reply(200, ['Content-Type: text/plain',
        'Content-Type: text/html'], $body)));

for my $n ('Content-Length: 21', 'Location: /a', 'ETag: "1"', 'Date: x',
           'Last-Modified: Thu, 01 Jan 2009 00:00:00 GMT', 'Server: x',
           'Transfer-Encoding: chunked', 'Connection: close', 'Expires: 1',
           'Accept-Ranges: none', 'Content-Encoding: gzip',
           'X-Accel-Expires: 1', 'X-Accel-Buffering: no',
           'WWW-Authenticate: Basic', 'Content-Range: bytes 0-1/2')
{
    my ($k) = $n =~ /^([^:]+)/;
    my $two = $n;
    $two =~ s/.\z/2/ if $n !~ /Content-Length|Transfer-Encoding/;

    add(name => 'duplicate-' . lc $k, conf => loc(), two => 0,
        backend => always("HTTP/1.1 200 OK\r\n$n\r\nX: y\r\n$two\r\n\r\n",
            $n =~ /Transfer/ ? chunked($body) : $body, [close => 1]));
}

add(name => 'content-range-without-206', conf => loc(),
    backend => always(reply(200, [@h, 'Content-Range: bytes 0-20/100'],
                            $body)));

add(name => 'invalid-lines', conf => loc(), two => 0,
    backend => always("HTTP/1.1 200 OK\r\nGood: 1\r\nno colon here\r\n"
        . "Bad Name: x\r\n: empty\r\nX_Under: u\r\nX-Foo: y\r\n"
        . "Content-Length: 2\r\n\r\nok"));

add(name => 'bare-newlines', conf => loc(),
    backend => always("HTTP/1.1 200 OK\nX-Foo: y\nContent-Length: 2\n\nok"));

add(name => 'folded-line', conf => loc(), two => 0,
    backend => always("HTTP/1.1 200 OK\r\nX-Foo: y\r\n more\r\n"
        . "Content-Length: 2\r\n\r\nok"));

add(name => 'null-in-header', conf => loc(), two => 0,
    backend => always("HTTP/1.1 200 OK\r\nX-Foo: a\0b\r\n"
        . "Content-Length: 2\r\n\r\nok"));

add(name => 'http09-reply', conf => loc(), two => 0,
    backend => always("just some text\n", [close => 1]));

add(name => 'content-types', conf => loc('types { } default_type a/b;'),
    req => [rq('/1'), rq('/2'), rq('/3'), rq('/4')],
    backend => sub {
        my ($n) = $_[0]{uri} =~ /(\d)/;
        my @t = ('', 'text/html;charset=UTF-8', 'text/html; charset="utf-8"',
                 'application/json', '');
        return reply(200, $t[$n] ne '' ? ["Content-Type: $t[$n]"] : [], $body);
    });

add(name => 'trailers', conf => loc11(),
    backend => always(reply(200, [@h, 'Transfer-Encoding: chunked',
        'Trailer: X-T']), "2\r\nok\r\n0\r\nX-T: yes\r\nX-U: no\r\n\r\n"));

add(name => 'trailers-passed', at => '1.27.2',
    conf => loc11('proxy_pass_trailers on;'),
    req => rq('/', h => ['TE: trailers']),
    backend => always(reply(200, [@h, 'Transfer-Encoding: chunked',
        'Trailer: X-T']), "2\r\nok\r\n0\r\nX-T: yes\r\nX-U: no\r\n\r\n"));

# since 1.29 nginx itself waits for more after an interim reply that it ignores

for my $s (100, 102, 103, 199) {
    add(name => "interim-$s", conf => loc11(), two => 0,
        late => $s != 103 && nginx_at('1.29.0'),
        backend => always("HTTP/1.1 $s Wait\r\nLink: </a>; rel=preload\r\n\r\n",
                          reply(200, \@h, $body)));
}

add(name => 'early-hints', at => '1.29.0',
    conf => loc11('early_hints 1;'),
    backend => always("HTTP/1.1 103 Early\r\nLink: </a>; rel=preload\r\n\r\n",
                      [sleep => 0.05], reply(200, \@h, $body)));

my $hint = "HTTP/1.1 103 Early\r\nLink: </a>; rel=preload\r\n\r\n";

add(name => 'early-hints-twice', at => '1.29.0', want => qr/103.*103/s,
    conf => loc11('early_hints 1; add_header Link "</c>";'),
    req => rq('/', keep => 1) . probe(),
    backend => always($hint, [sleep => 0.02], $hint =~ s/a>/b>/r,
                      [sleep => 0.02], reply(200, [@h, 'Link: </d>'], $body)));

add(name => 'early-hints-off', at => '1.29.0', conf => loc11(),
    backend => always($hint, [sleep => 0.02], reply(200, \@h, $body)));

add(name => 'early-hints-head', at => '1.29.0', conf => loc11('early_hints 1;'),
    req => rq('HEAD /', keep => 1) . probe(),
    backend => always($hint, [sleep => 0.02], reply(200, [@h,
                      'Content-Length: 21'])));

add(name => 'early-hints-only', at => '1.29.0', two => 0, want => qr/502/,
    conf => loc11('early_hints 1;'),
    backend => always($hint, [sleep => 0.02], [close => 1]));

add(name => 'early-hints-cached', at => '1.29.0',
    http => 'proxy_cache_path %%DIR%%/hints keys_zone=hints:1m;',
    conf => loc11('early_hints 1; proxy_cache hints; proxy_cache_valid 1m;'),
    req => [rq('/', keep => 1) . probe(), rq('/', keep => 1) . probe()],
    backend => always($hint, [sleep => 0.02], reply(200, \@h, $body)));

add(name => 'early-hints-http10', at => '1.29.0', conf => loc11('early_hints 1;'),
    req => rq('/', v => '1.0'),
    backend => always($hint, [sleep => 0.02], reply(200, \@h, $body)));


# ---- bytes that are too many or too few ------------------------------------

for my $b (['buffered', ''], ['unbuffered', 'proxy_buffering off;'],
           ['no-temp-file', 'proxy_max_temp_file_size 0;'])
{
    my ($k, $conf) = @$b;

    add(name => "extra-$k", conf => loc11($conf),
        req => rq('/', keep => 1) . probe(),
        backend => always(reply(200, \@h, $body) . 'extra data'));

    add(name => "extra-later-$k", conf => loc11($conf),
        req => rq('/', keep => 1) . probe(), ignore => ['backend'],
        backend => always(reply(200, \@h, $body), [sleep => 0.02], 'extra'));

    add(name => "extra-chunked-$k", conf => loc11($conf),
        req => rq('/', keep => 1) . probe(),
        backend => always(reply(200, [@h, 'Transfer-Encoding: chunked'])
                          . chunked($body) . 'extra data'));

    add(name => "extra-head-$k", conf => loc11($conf),
        req => rq('HEAD /', keep => 1) . probe(),
        backend => always(reply(200, \@h, $body)));

    add(name => "extra-empty-$k", conf => loc11($conf),
        req => rq('/', keep => 1) . probe(),
        backend => always(reply(200, \@h, '') . 'extra'));

    for my $end ('close', 'reset') {
        add(name => "short-$k-$end", conf => loc11($conf),
            want => qr/NOT COMPLETE/, req => rq('/', keep => 1) . probe(),
            backend => always(reply(200, [@h, 'Content-Length: 100']), $body,
                              [sleep => 0.02], [$end => 1]));

        add(name => "short-chunked-$k-$end", conf => loc11($conf),
            want => qr/NOT COMPLETE/, req => rq('/', keep => 1) . probe(),
            backend => always(reply(200, [@h, 'Transfer-Encoding: chunked']),
                              "30\r\n$body", [sleep => 0.02], [$end => 1]));

        add(name => "no-last-chunk-$k-$end", conf => loc11($conf),
            want => qr/NOT COMPLETE/, req => rq('/', keep => 1) . probe(),
            backend => always(reply(200, [@h, 'Transfer-Encoding: chunked']),
                sprintf("%x\r\n", length $body) . "$body\r\n",
                [sleep => 0.02], [$end => 1]));
    }

    add(name => "only-header-$k", conf => loc11($conf),
        req => rq('/', keep => 1) . probe(),
        backend => always(reply(200, [@h, 'Content-Length: 100']),
                          [sleep => 0.02], [close => 1]));

    add(name => "bad-chunk-$k", conf => loc11($conf),
        req => rq('/', keep => 1) . probe(),
        backend => always(reply(200, [@h, 'Transfer-Encoding: chunked']),
            "4\r\ngood\r\nzzz\r\n", [sleep => 0.02], [close => 1]));

    add(name => "short-http10-$k", conf => loc11($conf),
        req => rq('/', v => '1.0'),
        backend => always(reply(200, [@h, 'Transfer-Encoding: chunked']),
            "4\r\ngood\r\n", [sleep => 0.02], [close => 1]));

    add(name => "body-timeout-$k",
        conf => loc11("$conf proxy_read_timeout 150ms;"),
        req => rq('/', keep => 1) . probe(), want => qr/NOT COMPLETE/,
        backend => always(reply(200, [@h, 'Content-Length: 100']), $body,
                          [eof => 1]));

    add(name => "short-big-$k", conf => loc11($conf),
        req => rq('/', keep => 1) . probe(), want => qr/NOT COMPLETE/,
        ignore => ['backend'],
        loose => [qw(bytes_sent body_bytes_sent upstream_response_length
                     upstream_bytes_received)],
        backend => always(reply(200, [@h, 'Content-Length: 400000']),
            big(300_000), [sleep => 0.05], [close => 1]));

    add(name => "big-chunked-$k", conf => loc11($conf),
        loose => [qw(bytes_sent body_bytes_sent upstream_response_length)],
        req => rq('/', keep => 1) . probe(),
        backend => always(reply(200, [@h, 'Transfer-Encoding: chunked'])
            . chunked(map { big($_ * 20_000) } 1 .. 6)));

    add(name => "big-close-$k", conf => loc($conf),
        loose => [qw(bytes_sent body_bytes_sent)],
        backend => always(reply(200, \@h), big(500_000), [close => 1]));
}


# ---- failures of the connection --------------------------------------------

add(name => 'refused', two => 0, want => qr/502/,
    conf => 'location / { proxy_pass http://127.0.0.1:%%REFUSED%%; }',
    req => rq('/', keep => 1) . probe());

add(name => 'refused-post', two => 0, want => qr/502/,
    conf => 'location / { proxy_pass http://127.0.0.1:%%REFUSED%%; }',
    req => rq('POST /', keep => 1, body => 'x' x 50_000) . probe());

add(name => 'refused-head', two => 0, want => qr/502/,
    conf => 'location / { proxy_pass http://127.0.0.1:%%REFUSED%%; }',
    req => rq('HEAD /', keep => 1) . probe());

add(name => 'closed-at-once', two => 0, want => qr/502/, conf => loc(),
    req => rq('/', keep => 1) . probe(), backend => always([close => 1]));

add(name => 'reset-at-once', two => 0, want => qr/502/, conf => loc(),
    req => rq('/', keep => 1) . probe(), backend => always([reset => 1]));

add(name => 'half-header', two => 0, want => qr/502/, conf => loc(),
    backend => always("HTTP/1.1 200 OK\r\nX-Foo: b", [close => 1]));

add(name => 'half-status-line', two => 0, conf => loc(),
    backend => always("HTTP/1.", [close => 1]));

add(name => 'big-header', two => 0, want => qr/502/,
    conf => loc('proxy_buffer_size 1k;'),
    backend => always(reply(200, ['X-Big: ' . 'b' x 4000], $body)));

add(name => 'header-timeout', two => 0, want => qr/504/,
    conf => loc('proxy_read_timeout 150ms;'),
    req => rq('/', keep => 1) . probe(), backend => always([eof => 1]));

add(name => 'header-timeout-post', two => 0, want => qr/504/,
    conf => loc('proxy_read_timeout 150ms;'),
    req => rq('POST /', keep => 1, body => 'x' x 50_000) . probe(),
    backend => always([eof => 1]));

add(name => 'no-live', two => 0, want => qr/502/,
    http => 'upstream no-live { server 127.0.0.1:%%REFUSED%% fail_timeout=9s;
             server 127.0.0.2:%%REFUSED%% down; }',
    conf => 'location / { proxy_pass http://no-live; }',
    req => [rq('/1'), rq('/2'), rq('/3')]);

add(name => 'unknown-name', two => 0, want => qr/502/,
    conf => 'location / { set $u no-such-name.invalid;
             proxy_pass http://$u; }');

add(name => 'empty-target', two => 0, want => qr/500/,
    conf => 'location / { proxy_pass $nothing; } set $nothing "";');

add(name => 'next-upstream', want => qr/upstream_addr: \S+, /,
    http => 'upstream next-upstream { server 127.0.0.1:%%REFUSED%%
             max_fails=0; server 127.0.0.1:%%BACKEND%% backup; }',
    conf => 'location / { proxy_pass http://next-upstream; }',
    req => [rq('/1'), rq('POST /2', body => 'abc'),
            rq('POST /3', body => 'x' x 60_000)]);

add(name => 'next-upstream-503', want => qr/upstream_status: 503, 200/,
    http => 'upstream next-upstream-503 { server 127.0.0.1:%%BACKEND%%
             max_fails=0; server 127.0.0.2:%%BACKEND%% backup; }',
    conf => 'location / { proxy_pass http://next-upstream-503;
             proxy_next_upstream error timeout http_503; }',
    backend => sub { reply($_[0]{n} % 2 ? 503 : 200, \@h, "n $_[0]{n}\n") },
    req => rq('/', keep => 1) . rq('/', keep => 1) . probe());

add(name => 'next-upstream-tries', want => qr/503, 503/,
    http => 'upstream next-upstream-tries { server 127.0.0.1:%%BACKEND%%
             max_fails=0; server 127.0.0.2:%%BACKEND%% max_fails=0;
             server 127.0.0.3:%%BACKEND%% max_fails=0; }',
    conf => 'location / { proxy_pass http://next-upstream-tries;
             proxy_next_upstream http_503; proxy_next_upstream_tries 2; }',
    backend => always(reply(503, \@h, $body)));

add(name => 'next-upstream-post', want => qr/upstream_status: 503\n/,
    http => 'upstream next-upstream-post { server 127.0.0.1:%%BACKEND%%
             max_fails=0; server 127.0.0.2:%%BACKEND%% backup; }',
    conf => 'location / { proxy_pass http://next-upstream-post;
             proxy_next_upstream error timeout http_503; }',
    backend => always(reply(503, \@h, $body)),
    req => rq('POST /', body => 'abc'));

add(name => 'max-fails', two => 0,
    http => 'upstream max-fails { server 127.0.0.1:%%BACKEND%%
             max_fails=2 fail_timeout=10s; server 127.0.0.1:%%REFUSED%% down; }',
    conf => 'location / { proxy_pass http://max-fails;
             proxy_next_upstream error http_500; }',
    backend => always(reply(500, \@h, $body)),
    req => [map { rq("/$_") } 1 .. 5]);


# ---- upstream keepalive ----------------------------------------------------

for my $b (['buffered', ''], ['unbuffered', 'proxy_buffering off;']) {
    my ($k, $conf) = @$b;

    add(name => "reuse-$k",
        http => 'upstream %%NAME%% { server 127.0.0.1:%%BACKEND%%;
                 keepalive 4; }',
        conf => "location / { proxy_pass http://%%NAME%%; $conf
            proxy_http_version 1.1; proxy_set_header Connection ''; }",
        req => [rq('/1'), rq('HEAD /2'), rq('POST /3', body => 'abc'),
                rq('/4', keep => 1) . rq('/5', keep => 1) . probe()],
        backend => sub {
            return reply(304, ['ETag: "a"']) if $_[0]{uri} eq '/4';
            return reply(200, \@h, $_[0]{method} eq 'HEAD' ? undef : $body)
                if $_[0]{uri} ne '/5';
            return reply(500, [@h, 'Transfer-Encoding: chunked'])
                   . chunked($body);
        });
}

add(name => 'reuse-gone', want => qr/upstream_addr: \S+, \S+\n/,
    http => 'upstream %%NAME%% { server 127.0.0.1:%%BACKEND%% max_fails=0;
             keepalive 4; }',
    conf => "location / { proxy_pass http://%%NAME%%;
        proxy_http_version 1.1; proxy_set_header Connection ''; }",
    req => [rq('/1'), rq('/2')],
    backend => sub {
        my ($r) = @_;
        return reply(200, \@h, $body) if $r->{n} != 2;
        return [reset => 1];
    });

add(name => 'reuse-not-after-extra',
    http => 'upstream %%NAME%% { server 127.0.0.1:%%BACKEND%%; keepalive 4; }',
    conf => "location / { proxy_pass http://%%NAME%%;
        proxy_http_version 1.1; proxy_set_header Connection ''; }",
    req => [rq('/1'), rq('/2')],
    backend => always(reply(200, \@h, $body) . 'extra'));


# ---- request bodies --------------------------------------------------------

my $tell = sub {
    my ($r) = @_;
    return reply(200, \@h, "$r->{method} " . length($r->{body}) . "\n");
};

add(name => 'post-small', conf => loc(), backend => $tell,
    req => rq('POST /', body => 'a=b&c=d', keep => 1) . probe());

add(name => 'post-empty', conf => loc(), backend => $tell,
    req => rq('POST /', body => '', keep => 1) . probe());

add(name => 'post-no-length', conf => loc(), backend => $tell,
    req => rq('POST /', keep => 1) . probe());

for my $m (qw(PUT PATCH DELETE GET OPTIONS PROPFIND FOO HEAD)) {
    add(name => 'body-' . lc $m, conf => loc(), backend => $tell,
        req => rq("$m /", body => 'some body', keep => 1) . probe());
}

add(name => 'trace', conf => loc(), backend => $tell, norun => 1,
    req => rq('TRACE /'));

add(name => 'post-in-parts', conf => loc('client_body_buffer_size 1k;'),
    backend => $tell, late => 0,
    client => sub {
        my ($io) = @_;
        my $c = $io->conn();
        my $r = rq('POST /', body => big(900));
        for my $part (unpack '(a200)*', $r) {
            $c->send($part);
            $io->pause(0.004);
        }
        $c->eof();
    });

add(name => 'post-buffers', backend => $tell,
    conf => loc('client_body_buffer_size 64k;'),
    req => rq('POST /', body => big(40_000)));

add(name => 'post-file', backend => $tell, want => qr/POST 1048576/,
    conf => loc('client_max_body_size 2m;'),
    req => rq('POST /', body => big(1 << 20), keep => 1) . probe());

add(name => 'post-file-only', backend => $tell,
    conf => loc('client_body_in_file_only clean;'),
    req => rq('POST /', body => 'small', keep => 1) . probe());

add(name => 'post-file-kept', backend => $tell,
    conf => loc('client_body_in_file_only on;
                 proxy_set_header X-File $request_body_file;
                 proxy_pass_request_body off;
                 proxy_set_header Content-Length "";'),
    req => rq('POST /', body => 'small', keep => 1) . probe(),
    norm => sub { my $t = shift; $t =~ s{(/body/)\d+}{$1N}g; $t });

add(name => 'post-single-buffer', backend => $tell,
    conf => loc('client_body_in_single_buffer on;
                 client_body_buffer_size 32k;'),
    req => rq('POST /', body => big(20_000)));

add(name => 'post-chunked', backend => $tell,
    conf => loc('proxy_set_header X-Len $content_length;'),
    req => rq('POST /', keep => 1, h => ['Transfer-Encoding: chunked'])
           . chunked('abc', 'defgh', 'x' x 300) . probe());

add(name => 'post-chunked-11', backend => $tell, conf => loc11(),
    req => rq('POST /', keep => 1, h => ['Transfer-Encoding: chunked'])
           . chunked('abc', 'defgh', 'x' x 300) . probe());

add(name => 'post-chunked-empty', backend => $tell, conf => loc11(),
    req => rq('POST /', keep => 1, h => ['Transfer-Encoding: chunked'])
           . chunked() . probe());

add(name => 'post-chunked-big', backend => $tell,
    conf => loc('client_max_body_size 2m; client_body_buffer_size 8k;'),
    req => rq('POST /', keep => 1, h => ['Transfer-Encoding: chunked'])
           . chunked(map { big(30_000 + $_) } 1 .. 8) . probe());

# no attempt, hence no $proxy_host: README, Caveats

my $no_attempt = qr/^  plain: proxy_(?:host|port): /;

add(name => 'post-chunked-bad',
    known => $no_attempt,
    backend => $tell, conf => loc(), norun => 1,
    two => 0, want => qr/400/,
    req => rq('POST /', keep => 1, h => ['Transfer-Encoding: chunked'])
           . "3\r\nabc\r\nzz\r\n\r\n" . probe());

add(name => 'post-too-large', conf => loc('client_max_body_size 100;'),
    norun => 1, want => qr/413/,
    req => rq('POST /', keep => 1, body => 'x' x 101) . probe());

add(name => 'post-too-large-chunked',
    known => $no_attempt,
    norun => 1, want => qr/413/,
    conf => loc('client_max_body_size 100;'),
    req => rq('POST /', keep => 1, h => ['Transfer-Encoding: chunked'])
           . chunked('x' x 60, 'y' x 60) . probe());

add(name => 'post-too-large-page', norun => 1, want => qr/error page/,
    conf => loc('client_max_body_size 100; error_page 413 /err.html;')
            . 'location = /err.html { }',
    req => rq('POST /', keep => 1, h => ['Transfer-Encoding: chunked'])
           . chunked('x' x 60, 'y' x 60) . probe());

add(name => 'post-timeout',
    known => $no_attempt,
    norun => 1, want => qr/408/,
    conf => loc('client_body_timeout 100ms;'),
    req => "POST / HTTP/1.1\r\nHost: %%NAME%%\r\nContent-Length: 10\r\n\r\nabc");

add(name => 'post-timeout-chunked',
    known => $no_attempt,
    norun => 1, want => qr/408/,
    conf => loc('client_body_timeout 100ms;'),
    req => rq('POST /', h => ['Transfer-Encoding: chunked']) . "5\r\nab");

add(name => 'post-cut',
    known => $no_attempt,
    norun => 1, want => qr/status: 400/, conf => loc(),
    client => sub {
        my ($io) = @_;
        my $c = $io->conn();
        $c->send("POST / HTTP/1.1\r\nHost: %%NAME%%\r\n"
                 . "Content-Length: 10\r\n\r\nabc");
        $io->pause(0.03);
        $c->close();
    });

for my $keep (0, 1) {
    add(name => "expect-$keep", conf => loc(), backend => $tell,
        want => qr/100 Continue/,
        client => sub {
            my ($io) = @_;
            my $c = $io->conn();
            $c->send("POST / HTTP/1.1\r\nHost: %%NAME%%\r\n"
                     . "Expect: 100-continue\r\nContent-Length: 5\r\n"
                     . ($keep ? '' : "Connection: close\r\n") . "\r\n");
            $c->seen(qr/100 Continue\r\n\r\n/);
            $c->send('hello');
            $c->replies(1);
            $c->send(probe()) if $keep;
            $c->eof();
        });
}

add(name => 'expect-denied', norun => 1, want => qr/403/,
    conf => loc('deny all; lingering_timeout 100ms;'),
    req => "POST / HTTP/1.1\r\nHost: %%NAME%%\r\nExpect: 100-continue\r\n"
           . "Content-Length: 5\r\nConnection: close\r\n\r\n");

add(name => 'expect-not-sent', conf => loc(), backend => $tell,
    req => "POST / HTTP/1.1\r\nHost: %%NAME%%\r\nExpect: 100-continue\r\n"
           . "Content-Length: 5\r\nConnection: close\r\n\r\nhello");

add(name => 'set-body', backend => $tell,
    conf => loc('proxy_set_body "<$request_body|$args|$request_id>";'),
    req => [rq('POST /?a=b', body => 'abc'), rq('/?c=d')]);

add(name => 'set-body-file', backend => $tell,
    conf => loc('proxy_set_body "<$http_x_req|$content_length>";
                 client_body_buffer_size 1k;'),
    req => rq('POST /', body => big(20_000), h => ['X-Req: r']));

add(name => 'no-body-passed', backend => $tell,
    conf => loc('proxy_pass_request_body off;
                 proxy_set_header Content-Length "";'),
    req => rq('POST /', body => 'abc', keep => 1) . probe());

add(name => 'no-headers-passed', backend => $tell,
    conf => loc('proxy_pass_request_headers off;'),
    req => rq('POST /', body => 'abc', h => ['X-A: b']));

add(name => 'method-changed', backend => $tell,
    conf => loc('proxy_method POST;'), req => rq('/'));

add(name => 'method-variable', backend => $tell,
    conf => loc('proxy_method $arg_m;'), req => [rq('/?m=PUT'), rq('/?m=HEAD')]);

# replies that come before the body was read
add(name => 'early-reply', early => 1, conf => loc(), ignore => ['backend'],
    req => rq('POST /', body => big(200_000), keep => 1) . probe(),
    loose => ['upstream_bytes_sent'],
    backend => always(reply(413, \@h, $body), [sleep => 0.1], [close => 1]));

for my $b (['length', rq('POST /', body => big(200_000), keep => 1)],
           ['chunked', rq('POST /', keep => 1,
                          h => ['Transfer-Encoding: chunked'])
                       . chunked(big(100_000), big(50_000))],
           ['small', rq('POST /', body => 'abc', keep => 1)],
           ['none', rq('/', keep => 1)])
{
    add(name => "unbuffered-request-$b->[0]", backend => $tell,
        conf => loc11('proxy_request_buffering off;'), norun => 1,
        loose => ['upstream_bytes_sent'],
        req => $b->[1] . probe());
}

add(name => 'unbuffered-request-streams', norun => 1,
    conf => loc11('proxy_request_buffering off; proxy_buffering off;'),
    early => 1,
    want => qr/raw: .*second/s,
    backend => always([read => 6], reply(200, [@h, 'Content-Length: 4']), 'ok',
                      [read => 6], "!\n"),
    client => sub {
        my ($io) = @_;
        my $c = $io->conn();
        $c->send("POST / HTTP/1.1\r\nHost: %%NAME%%\r\n"
                 . "Content-Length: 12\r\nConnection: close\r\n\r\n");
        $io->requests(1);
        $c->send('first ');
        $c->seen(qr/\r\n\r\nok/, 2);
        $c->send('second');
        $c->eof();
    });


# ---- buffers, big bodies, speed --------------------------------------------

my $mib8 = big(8 << 20);
my $big8 = sub { return reply(200, \@h, $mib8) };
my $kib600 = big(600_000);

for my $b (['sendfile', 'sendfile on;'], ['no-sendfile', 'sendfile off;'],
           ['no-temp', 'proxy_max_temp_file_size 0;'],
           ['unbuffered', 'proxy_buffering off;'],
           ['small-buffers', 'proxy_buffers 3 1k; proxy_buffer_size 1k;
             proxy_busy_buffers_size 2k;'],
           ['aio-threads', 'aio threads; aio_write on; sendfile off;'])
{
    my ($k, $conf) = @$b;

    add(name => "big-$k", conf => loc($conf), backend => $big8,
        want => qr/8388608/,
        need => $k eq 'aio-threads' ? ['threads'] : [],
        req => rq('/', keep => 1) . probe());
}

for my $b (['file', 'proxy_buffers 4 8k;'],
           ['file-no-sendfile', 'proxy_buffers 4 8k; sendfile off;'],
           ['file-aio', 'proxy_buffers 4 8k; aio threads; aio_write on;
             sendfile on;'],
           ['no-file', 'proxy_buffers 4 8k; proxy_max_temp_file_size 0;'],
           ['unbuffered', 'proxy_buffering off; proxy_buffer_size 8k;'])
{
    my ($k, $conf) = @$b;

    add(name => "slow-client-$k", conf => loc($conf), buffered => 1,
        backend => sub { return reply(200, \@h, $kib600) },
        need => $k eq 'file-aio' ? ['threads'] : [],
        client => sub {
            my ($io) = @_;
            my $c = $io->conn(rcvbuf => 8192);
            $c->send(rq('/'));
            $io->pause(0.1);
            $c->slowly(32768, 0.005);
        });
}

add(name => 'postpone', conf => loc('postpone_output 0; output_buffers 1 1k;
    tcp_nopush on; sendfile on;'),
    backend => sub { return reply(200, \@h, $kib600) });

add(name => 'limit-rate', timing => 1.3, conf => loc('limit_rate 40k;'),
    backend => always(reply(200, \@h, big(60_000))));

add(name => 'limit-rate-after', timing => 1.3, want => qr/limit_rate: 20480/,
    conf => loc('limit_rate 20k; limit_rate_after 30k;'),
    backend => always(reply(200, \@h, big(50_000))));

add(name => 'limit-rate-set', timing => 1.3,
    conf => 'location / { set $limit_rate 40k; ' . "$pass }",
    backend => always(reply(200, \@h, big(60_000))));

add(name => 'accel-limit-rate', timing => 1.3, want => qr/limit_rate: 40960/,
    conf => loc('limit_rate 10k;'),
    backend => always(reply(200, [@h, 'X-Accel-Limit-Rate: 40960'],
                            big(60_000))));

add(name => 'accel-limit-rate-off', timing => 1.3,
    conf => loc('limit_rate 10k;'),
    backend => always(reply(200, [@h, 'X-Accel-Limit-Rate: 0'],
                            big(60_000))));

add(name => 'limit-rate-unbuffered', timing => 1.3,
    conf => loc('limit_rate 40k; proxy_buffering off;'),
    backend => always(reply(200, \@h, big(60_000))));

add(name => 'proxy-limit-rate', timing => 1.3,
    conf => loc('proxy_limit_rate 40k;'),
    backend => always(reply(200, \@h, big(60_000))));

add(name => 'accel-buffering-no', conf => loc(),
    client => sub {
        my ($io) = @_;
        my $c = $io->conn();
        $c->send(rq('/'));
        $c->seen(qr/one/, 2);
        $io->gate('go');
        $c->eof();
    }, want => qr/onetwo/,
    backend => always(reply(200, [@h, 'X-Accel-Buffering: no',
        'Content-Length: 6']), 'one', [gate => 'go'], 'two'));

add(name => 'accel-buffering-yes', conf => loc('proxy_buffering off;'),
    backend => always(reply(200, [@h, 'X-Accel-Buffering: yes'], $body)));

add(name => 'accel-charset', conf => loc(),
    backend => always(reply(200, ['Content-Type: text/html',
                                  'X-Accel-Charset: koi8-r'], $body)));

add(name => 'accel-ignored', conf => loc('proxy_ignore_headers
    X-Accel-Redirect X-Accel-Charset X-Accel-Limit-Rate X-Accel-Buffering;'),
    backend => always(reply(200, ['X-Accel-Redirect: /x',
        'X-Accel-Charset: koi8-r', 'X-Accel-Limit-Rate: 1'], $body)));

add(name => 'streaming', want => qr/one.*two.*three/s,
    conf => loc11('proxy_buffering off;'),
    client => sub {
        my ($io) = @_;
        my $c = $io->conn();
        $c->send(rq('/'));
        $c->seen(qr/one/, 2);
        $io->gate('a');
        $c->seen(qr/two/, 2);
        $io->gate('b');
        $c->eof();
    },
    backend => always(reply(200, [@h, 'Transfer-Encoding: chunked']),
        "3\r\none\r\n", [gate => 'a'], "3\r\ntwo\r\n", [gate => 'b'],
        "5\r\nthree\r\n0\r\n\r\n"));

add(name => 'streaming-header-first', conf => loc11('proxy_buffering off;'),
    client => sub {
        my ($io) = @_;
        my $c = $io->conn();
        $c->send(rq('/'));
        $c->seen(qr/\r\n\r\n/, 2);
        $io->gate('a');
        $c->eof();
    },
    backend => always(reply(200, [@h, 'Transfer-Encoding: chunked']),
        [gate => 'a'], "5\r\nthree\r\n0\r\n\r\n"));


# ---- X-Accel-Redirect ------------------------------------------------------

my $there = <<'END';
location /static/ { alias %%HTML%%/; internal; }
location /denied/ { alias %%HTML%%/; deny all; }
location /locked/ { alias %%HTML%%/; auth_basic a; auth_basic_user_file
    %%HTML%%/users; }
location /proxied/ { internal; proxy_pass http://127.0.0.1:%%BACKEND%%;
    proxy_set_header X-Was $uri; }
location /status/ { return 204; }
location /text/ { return 200 "text $uri $args $request_method"; }
location /moved/ { return 301 /elsewhere; }
location /headers/ { add_header X-Kept $upstream_http_x_foo;
    add_header X-Got $sent_http_x_foo; alias %%HTML%%/; }
location @named { add_header X-Named $uri; return 200 "named $uri"; }
location @namedproxy { proxy_pass http://127.0.0.1:%%BACKEND%%;
    proxy_set_header X-Named yes; }
location @nameddenied { deny all; }
END

my @kept = ('Content-Type: image/x-test', 'Set-Cookie: k=1',
    'Set-Cookie: l=2', 'Cache-Control: private', 'Expires: 0',
    'Last-Modified: Thu, 01 Jan 2009 00:00:00 GMT', 'Accept-Ranges: none',
    'Content-Disposition: attachment', 'X-Foo: bar', 'ETag: "up"',
    'Content-Language: xx', 'Content-Range: bytes 0-5/6');

for my $t (['static', '/static/page.txt', qr/line of the body/],
           ['static-missing', '/static/nothing', qr/404/],
           ['static-dir', '/static/', qr/./],
           ['denied', '/denied/page.txt', qr/403/],
           ['locked', '/locked/page.txt', qr/401/],
           ['proxied', '/proxied/p?q=r', qr/X-Was: \/proxied\/p/],
           ['status', '/status/', qr/204/],
           ['text', '/text/x?a=b', qr/text \/text\/x a=b/],
           ['moved', '/moved/', qr/301/],
           ['headers', '/headers/page.txt', qr/X-Kept: bar|Content-Type/],
           ['named', '@named', qr/named \/start/],
           ['named-proxied', '@namedproxy', qr/X-Named: yes/],
           ['named-denied', '@nameddenied', qr/./],
           ['named-missing', '@nosuch', qr/500/],
           ['unsafe', '/static/../../x', qr/./],
           ['escaped', '/static/page%2Etxt', qr/./],
           ['nowhere', '/nowhere/at/all', qr/./])
{
    my ($k, $to, $want) = @$t;

    for my $m (qw(GET POST HEAD)) {
        my $first = sub {
            my ($r) = @_;
            return reply(200, \@h, "second $r->{uri} $r->{method} $r->{body}\n")
                if $r->{n} > 1;
            return reply(200, [@kept, "X-Accel-Redirect: $to"], 'not this');
        };

        add(name => lc "redirect-$k-$m", need => [],
            conf => "location /start { $pass } $there
                location / { root %%HTML%%/nothing; }",
            want => $m eq 'GET' ? $want : qr/./, backend => $first,
            req => rq("$m /start?s", $m eq 'POST' ? (body => 'abc') : (),
                      keep => 1) . probe());
    }
}

add(name => 'redirect-404', conf => "location /start { $pass } $there",
    backend => always(reply(404, ['X-Accel-Redirect: /static/page.txt'],
                            'no')),
    req => rq('/start'));

add(name => 'redirect-500-intercept',
    conf => "location /start { $pass proxy_intercept_errors on;
             error_page 500 /static/err.html; } $there",
    backend => always(reply(500, ['X-Accel-Redirect: /static/page.txt'],
                            'no')),
    req => rq('/start'));

add(name => 'redirect-loop', want => qr/500/,
    conf => "location / { $pass }",
    backend => always(reply(200, ['X-Accel-Redirect: /again'], 'no')),
    req => rq('/start', keep => 1) . probe());

add(name => 'redirect-twice', want => qr/third/,
    conf => "location / { $pass }",
    backend => sub {
        my ($r) = @_;
        return reply(200, \@h, "third\n") if $r->{n} == 3;
        return reply(200, ["X-Accel-Redirect: /n$r->{n}",
                           "Set-Cookie: c$r->{n}=x"], 'no');
    },
    req => rq('/start', keep => 1) . probe());

add(name => 'redirect-range', want => qr/206/,
    conf => "location /start { $pass } $there",
    backend => always(reply(200, ['X-Accel-Redirect: /static/page.txt'], 'no')),
    req => [rq('/start', h => ['Range: bytes=5-9']),
            rq('/start', h => ['Range: bytes=5-9,20-24']),
            rq('/start', h => ['Range: bytes=999999-'])]);

add(name => 'redirect-not-modified', want => qr/304/,
    conf => "location /start { $pass } $there",
    backend => always(reply(200, ['X-Accel-Redirect: /static/page.txt'], 'no')),
    req => [rq('/start', h => ['If-Modified-Since: '
                               . 'Sun, 13 Sep 2020 12:26:40 GMT']),
            rq('/start', h => ['If-Unmodified-Since: '
                               . 'Sun, 13 Sep 2010 12:26:40 GMT'])]);

add(name => 'redirect-missing-page', want => qr/error page/,
    conf => "location /start { $pass } $there
             location /gone/ { root %%HTML%%; error_page 404 /err.html; }
             location = /err.html { }",
    backend => always(reply(200, ['X-Accel-Redirect: /gone/x'], 'no')),
    req => rq('/start'));

add(name => 'redirect-rewrite', want => qr/text \/text\/new/,
    conf => "location /start { $pass } $there
             location /old/ { rewrite ^/old/(.*) /text/new last; }",
    backend => always(reply(200, ['X-Accel-Redirect: /old/x'], 'no')),
    req => rq('/start'));

add(name => 'redirect-server-rewrite',
    conf => "location /start { $pass } $there
             if (\$uri ~ ^/old/) { set \$seen yes; }
             location /old/ { return 200 \"seen \$seen\"; }",
    backend => always(reply(200, ['X-Accel-Redirect: /old/x'], 'no')),
    req => rq('/start'));

add(name => 'redirect-limit-rate',  timing => 1.3,
    conf => "location /start { $pass } $there",
    backend => always(reply(200, ['X-Accel-Redirect: /static/big.txt',
                                  'X-Accel-Limit-Rate: 250000'], 'no')),
    req => rq('/start'));

add(name => 'redirect-try-files', want => qr/index/,
    conf => "location /start { $pass }
             location /try/ { try_files \$uri /index.html =404; }",
    backend => always(reply(200, ['X-Accel-Redirect: /try/x'], 'no')),
    req => rq('/start'));

add(name => 'redirect-body-length',
    conf => "location /start { $pass } $there",
    backend => always(reply(200, ['X-Accel-Redirect: /text/x']), 'x' x 100_000),
    req => rq('/start', keep => 1) . probe(), loose => ['upstream_bytes_received']);


# ---- error pages -----------------------------------------------------------

my $pages = <<'END';
location = /err.html { }
location /page/ { proxy_pass http://127.0.0.1:%%BACKEND%%;
    proxy_set_header X-Page $status; }
location /nopage/ { deny all; }
location @page { return 200 "named $uri $status"; }
location @proxied { proxy_pass http://127.0.0.1:%%BACKEND%%;
    proxy_set_header X-Page named; }
location @again { proxy_pass http://127.0.0.1:%%BACKEND%%;
    proxy_intercept_errors on; error_page 404 503 = @page; }
location @static { root %%HTML%%; try_files /err.html =404; }
END

for my $s (301, 302, 304, 400, 401, 403, 404, 416, 429, 500, 502, 503, 504) {
    for my $t (['static', 'error_page %s /err.html;'],
               ['static-200', 'error_page %s =200 /err.html;'],
               ['named', 'error_page %s = @page;'],
               ['proxied', 'error_page %s /page/x?y;'])
    {
        my ($k, $page) = @$t;
        next if $k ne 'named' && $s =~ /^(?:304|400|403|416|503)$/;

        add(name => "intercept-$s-$k", two => $s == 304 ? 0 : 1,
            conf => "location / { $pass11 proxy_intercept_errors on;
                     proxy_set_header Connection '';"
                    . sprintf($page, $s) . " } $pages",
            req => rq('/x?a', keep => 1) . probe(),
            backend => sub {
                my ($r) = @_;
                return reply(200, \@h, "page $r->{uri}\n")
                    if $r->{uri} =~ /page/;
                return reply($s, [@h, 'WWW-Authenticate: Basic realm="r"',
                    'WWW-Authenticate: Other', 'Location: http://127.0.0.1/l',
                    'Set-Cookie: a=b', 'Retry-After: 7'],
                    $s == 304 ? undef : "original $s\n");
            });
    }
}

add(name => 'intercept-denied-page', want => qr/403/,
    conf => "location / { $pass proxy_intercept_errors on;
             error_page 500 /nopage/x; } $pages",
    backend => always(reply(500, \@h, $body)),
    req => rq('/', keep => 1) . probe());

add(name => 'intercept-no-page', want => qr/fox/,
    conf => "location / { $pass proxy_intercept_errors on;
             error_page 404 /err.html; } $pages",
    backend => always(reply(500, \@h, $body)),
    req => rq('/', keep => 1) . probe());

add(name => 'intercept-off', want => qr/fox/,
    conf => "location / { $pass error_page 404 500 /err.html; } $pages",
    backend => always(reply(500, \@h, $body)),
    req => rq('/', keep => 1) . probe());

add(name => 'intercept-post', want => qr/page/,
    conf => "location / { $pass proxy_intercept_errors on;
             error_page 500 /page/p; error_page 404 = \@proxied; } $pages",
    backend => sub {
        my ($r) = @_;
        return reply(200, \@h, "page $r->{method} $r->{body}\n")
            if $r->{uri} =~ /page/ || $r->{h}{'x-page'};
        return reply($r->{uri} =~ /(\d+)/ ? $1 : 200, \@h, $body);
    },
    req => [rq('POST /500', body => 'abc'), rq('POST /404', body => 'def'),
            rq('POST /404', body => big(50_000)), rq('HEAD /500'),
            rq('HEAD /404')]);

add(name => 'intercept-recursive', want => qr/named/,
    conf => "location / { $pass proxy_intercept_errors on;
             recursive_error_pages on; error_page 500 = \@again; } $pages",
    backend => sub {
        my ($r) = @_;
        return reply($r->{n} == 1 ? 500 : 404, \@h, "n $r->{n}\n");
    },
    req => rq('/x', keep => 1) . probe());

add(name => 'intercept-not-recursive',
    conf => "location / { $pass proxy_intercept_errors on;
             error_page 500 = \@again; } $pages",
    backend => sub {
        my ($r) = @_;
        return reply($r->{n} == 1 ? 500 : 404, \@h, "n $r->{n}\n");
    },
    req => rq('/x', keep => 1) . probe());

add(name => 'intercept-redirect', want => qr/302/,
    conf => "location / { $pass proxy_intercept_errors on;
             error_page 500 http://127.0.0.1/else; error_page 404 =307
             http://127.0.0.1/else2; } $pages",
    backend => sub { reply($_[0]{n} == 1 ? 500 : 404, \@h, $body) },
    req => rq('/1', keep => 1) . rq('/2', keep => 1) . probe());

add(name => 'intercept-named-static',
    conf => "location / { $pass proxy_intercept_errors on;
             error_page 500 \@static; } $pages",
    backend => always(reply(500, \@h, $body)),
    req => rq('/', keep => 1) . probe());

add(name => 'intercept-vars', want => qr/X-U: 503/,
    conf => "location / { $pass proxy_intercept_errors on;
             error_page 503 \@u; }
             location \@u { add_header X-U \$upstream_status always;
             add_header X-F \$upstream_http_x_foo always;
             add_header X-A \$upstream_addr always;
             return 503 'sorry'; }",
    backend => always(reply(503, \@h, $body)));

add(name => 'intercept-fallback-chain', want => qr/second/,
    conf => "location / { $pass proxy_intercept_errors on;
             error_page 429 503 = \@second; }
             location \@second { $pass proxy_set_header X-Second yes; }",
    backend => sub {
        my ($r) = @_;
        return reply(200, \@h, "second\n") if $r->{h}{'x-second'};
        return reply(429, \@h, "limited\n");
    },
    req => rq('POST /', body => 'abc', keep => 1) . probe());

for my $t (['static', 'error_page 502 504 /err.html;'],
           ['static-200', 'error_page 502 504 =200 /err.html;'],
           ['named', 'error_page 502 504 = @page;'],
           ['proxied', 'error_page 502 504 /page/x?y;'],
           ['named-proxied', 'error_page 502 504 = @proxied;'],
           ['denied', 'error_page 502 504 /nopage/;'],
           ['redirect', 'error_page 502 504 http://127.0.0.1/else;'],
           ['missing', 'error_page 502 504 /missing;
             location = /missing { root %%HTML%%; }'],
           ['none', ''])
{
    my ($k, $page) = @$t;
    my $inner = $page =~ s/(location.*)//s ? $1 : '';

    add(name => "made-502-$k", two => 0,
        conf => "location / { proxy_pass http://127.0.0.1:%%REFUSED%%;
                 $page } $inner $pages",
        backend => always(reply(200, \@h, "page\n")),
        req => [rq('/a', keep => 1) . probe(),
                rq('POST /a', body => 'abc', keep => 1) . probe(),
                rq('HEAD /a', keep => 1) . probe()]);

    add(name => "made-504-$k", two => 0,
        conf => "location / { $pass proxy_read_timeout 200ms; $page }
                 $inner $pages",
        backend => sub {
            my ($r) = @_;
            return reply(200, \@h, "page\n")
                if $r->{uri} =~ /page/ || $r->{h}{'x-page'};
            return [eof => 1];
        },
        req => rq('/a', keep => 1) . probe());
}

add(name => 'static-error-proxied', want => qr/vendor page/,
    conf => "location / { root %%HTML%%; error_page 404 403 = \@up; }
             location /secret/ { deny all; error_page 403 = \@up; }
             location \@up { $pass }",
    backend => always(reply(404, \@h, "vendor page\n")),
    req => rq('/nothing', keep => 1) . rq('/secret/s.txt', keep => 1)
           . probe());


# ---- ranges and conditions -------------------------------------------------

my @cond = ('ETag: "tag"', 'Last-Modified: Thu, 01 Jan 2009 00:00:00 GMT');

for my $b (['force', 'proxy_force_ranges on;'], ['plain', ''],
           ['unbuffered', 'proxy_force_ranges on; proxy_buffering off;'])
{
    my ($k, $conf) = @$b;

    add(name => "range-$k", conf => loc($conf),
        want => $k eq 'plain' ? [] : [qr/ 206 /, qr/ 416 /],
        backend => sub { reply(200, [@h, @cond], big(1000)) },
        req => [
            (map { rq('/', keep => 1, h => ["Range: bytes=$_"]) . probe() }
             '0-9', '10-', '-5', '0-0', '0-9,20-29', '-5,0-1', '5000-',
             '9-5', 'x', '0-999', '0-5000', '0-1,5000-'),
            rq('HEAD /', keep => 1, h => ['Range: bytes=1-2']) . probe(),
            rq('/', keep => 1, h => ['Range: bytes=1-2', 'If-Range: "tag"'])
                . probe(),
            rq('/', h => ['Range: bytes=1-2', 'If-Range: "other"']),
            rq('/', h => ['Range: bytes=1-2', 'If-Range: '
                          . 'Thu, 01 Jan 2009 00:00:00 GMT']),
            rq('/', h => ['Range: bytes=1-2', 'If-Range: '
                          . 'Thu, 01 Jan 2008 00:00:00 GMT']),
        ]);
}

add(name => 'range-big', conf => loc('proxy_force_ranges on;
    proxy_buffers 4 4k; sendfile on;'),
    backend => sub { reply(200, [@h, @cond], $kib600) },
    req => [rq('/', h => ['Range: bytes=500000-500099']),
            rq('/', h => ['Range: bytes=10-19,300000-300009,599990-']),
            rq('/', h => ['Range: bytes=600000-'])]);

add(name => 'range-max', conf => loc('proxy_force_ranges on; max_ranges 1;'),
    backend => sub { reply(200, [@h, @cond], big(1000)) },
    req => [rq('/', h => ['Range: bytes=0-1']),
            rq('/', h => ['Range: bytes=0-1,4-5'])]);

add(name => 'range-off', conf => loc('proxy_force_ranges on; max_ranges 0;'),
    backend => sub { reply(200, [@h, @cond], big(1000)) },
    req => rq('/', h => ['Range: bytes=0-1']));

add(name => 'range-page', want => qr/error page/,
    conf => loc('proxy_force_ranges on; error_page 416 /err.html;')
            . 'location = /err.html { }',
    backend => sub { reply(200, [@h, @cond], big(1000)) },
    req => rq('/', keep => 1, h => ['Range: bytes=5000-']) . probe());

add(name => 'range-named-page', want => qr/named/,
    conf => loc('proxy_force_ranges on; error_page 416 = @r;')
            . 'location @r { return 200 "named"; }',
    backend => sub { reply(200, [@h, @cond], big(1000)) },
    req => rq('/', keep => 1, h => ['Range: bytes=5000-']) . probe());

add(name => 'range-206-by-vendor', conf => loc(),
    backend => always(reply(206, [@h, @cond, 'Content-Range: bytes 0-3/9',
                                  'Accept-Ranges: bytes'], 'part')),
    req => rq('/', h => ['Range: bytes=0-3']));

add(name => 'range-416-by-vendor', conf => loc('proxy_force_ranges on;'),
    backend => always(reply(416, [@h, 'Content-Range: bytes */9'], '')),
    req => rq('/', h => ['Range: bytes=90-93'], keep => 1) . probe());

add(name => 'conditions-not-ours', conf => loc(), want => qr/ 200 /,
    backend => always(reply(200, [@h, @cond], $body)),
    req => [rq('/', h => ['If-None-Match: "tag"']),
            rq('/', h => ['If-Modified-Since: Thu, 01 Jan 2009 00:00:00 GMT']),
            rq('/', h => ['If-Match: "other"']),
            rq('/', h => ['If-Unmodified-Since: '
                          . 'Thu, 01 Jan 2008 00:00:00 GMT'])]);

add(name => 'conditions-by-vendor', conf => loc(),
    backend => sub { reply($_[0]{n} == 1 ? 304 : 412, \@cond,
                           $_[0]{n} == 1 ? undef : 'no') },
    req => [rq('/', h => ['If-None-Match: "tag"']),
            rq('/', h => ['If-Match: "other"'])]);


# ---- stored files ----------------------------------------------------------

my $stored = sub {
    my ($home) = @_;
    my $text = '';
    for my $f (sort glob("$home/store/*"), glob("$home/store/*/*")) {
        next if -d $f;
        open my $fh, '<', $f or next;
        local $/;
        my $t = <$fh>;
        my $m = (stat $f)[9];
        $m = 'now' if abs(time - $m) < 60;
        $text .= "$f $m " . sprintf('%o', (stat _)[2]) . " " . length($t)
            . " " . substr($t, 0, 30) . "\n";
        unlink $f;
    }
    return $text;
};

add(name => 'store', files => $stored, want => qr/store.*1230768000.*fox/,
    conf => loc('proxy_store %%DIR%%/store$uri;
                 proxy_store_access user:rw group:rw all:r;'),
    backend => always(reply(200, [@h, @cond], $body)), req => rq('/f'));

add(name => 'store-on', files => $stored, want => qr/store.*fox/,
    conf => 'location / { root %%DIR%%/store; proxy_store on; ' . "$pass }",
    backend => always(reply(200, \@h, $body)), req => rq('/g'));

add(name => 'store-alias-try', files => $stored, want => qr/store.*fox/,
    conf => "location /al/ { alias %%DIR%%/store/;
             try_files \$uri \@get; }
             location \@get { root %%DIR%%/store; proxy_store on; $pass }",
    backend => always(reply(200, \@h, $body)), req => rq('/al/i'),
    client => sub {
        my ($io) = @_;
        mkdir "$io->{home}/store/al";
        $io->talk(rq('/al/i'));
    });

# a file that is there is fetched anew, under the name that try_files found

for my $t (['prefix', 'location /al/ { alias %%DIR%%/store/;
                       try_files $uri =404;'],
           ['regex', 'location ~ ^/al/(.*)$ { alias %%DIR%%/store;
                      try_files /$1 =404;'])
{
    add(name => "store-alias-found-$t->[0]", files => $stored,
        want => qr/store.*fox/, conf => "$t->[1] $pass proxy_store on; }",
        backend => always(reply(200, \@h, $body)),
        client => sub {
            my ($io) = @_;
            open my $fh, '>', "$io->{home}/store/i" or die $!;
            print $fh "old\n";
            close $fh;
            $io->talk(rq('/al/i'));
        });
}

add(name => 'store-truncated', files => $stored,
    conf => loc('proxy_store %%DIR%%/store$uri;'),
    backend => always(reply(200, [@h, 'Content-Length: 100']), $body,
                      [close => 1]), req => rq('/h'));

add(name => 'store-404', files => $stored,
    conf => loc('proxy_store %%DIR%%/store$uri;'),
    backend => always(reply(404, \@h, $body)), req => rq('/k'));

add(name => 'store-big', files => $stored,
    conf => loc('proxy_store %%DIR%%/store$uri;'),
    backend => sub { reply(200, \@h, $kib600) }, req => rq('/l'));

add(name => 'store-fetch', files => $stored, want => qr/fox.*fox/s,
    conf => "location / { root %%DIR%%/store; error_page 404 = \@get; }
             location \@get { $pass proxy_store %%DIR%%/store\$uri; }",
    backend => always(reply(200, [@h, @cond], $body)), req => [rq('/m'), rq('/m')]);


# ---- headers, variables, rewriting -----------------------------------------

my $map = 'map $uri $mapped { ~^/a first; ~^/b second; default "d$args"; }';

add(name => 'add-header', http => $map, want => qr/X-A: bar/,
    conf => loc('add_header X-A $upstream_http_x_foo;
        add_header X-B $upstream_status always;
        add_header X-C $upstream_addr always;
        add_header X-D $upstream_response_length always;
        add_header X-E $upstream_cookie_c always;
        add_header X-F "$status $content_type $sent_http_x_foo" always;
        add_header X-G "$proxy_host:$proxy_port" always;
        add_header X-H $mapped always;
        add_header X-I $request_id always;
        add_header X-J "$upstream_cache_status|$request_completion" always;
        add_header X-K $proxy_add_x_forwarded_for always;
        add_header Cache-Control mine;
        add_header Last-Modified "";
        add_header ETag "";
        proxy_set_header X-Request-Id $request_id;
        proxy_set_header X-Mapped $mapped;
        proxy_set_header X-Time "$request_time|$request_length|$msec";
        proxy_set_header X-Fwd $proxy_add_x_forwarded_for;'),
    backend => sub { reply($_[0]{uri} =~ /b/ ? 404 : 200,
        [@h, @cond, 'Set-Cookie: c=1', 'Cache-Control: no-store'], $body) },
    norm => sub { my $t = shift;
        $t =~ s/X-Time: \d\.\d+\|(\d+)\|[\d.]+/X-Time: t|$1|t/g; $t },
    req => [rq('/a?x=1', h => ['X-Forwarded-For: 1.2.3.4']), rq('/b'),
            rq('/c?z')]);

add(name => 'request-id', want => qr/X-Id: ID1/,
    conf => loc('proxy_set_header X-Id $request_id;'),
    req => rq('/', keep => 1) . rq('/', keep => 1) . probe());

add(name => 'request-time', anytime => 0,
    conf => loc('client_body_timeout 5s; proxy_set_header X-T $request_time;
                 proxy_set_header X-L $request_length;'),
    backend => sub { my ($r) = @_; my $t = $r->{h}{'x-t'}[0];
        return reply(200, \@h, $t > 0.15 && $t < 20 ? "good\n" : "bad $t\n") },
    norm => sub { my $t = shift; $t =~ s/X-T: [\d.]+/X-T: t/; $t },
    want => qr/good/,
    client => sub {
        my ($io) = @_;
        my $c = $io->conn();
        $c->send("POST / HTTP/1.1\r\nHost: %%NAME%%\r\n"
                 . "Content-Length: 6\r\nConnection: close\r\n\r\nabc");
        $io->pause(0.2);
        $c->send('def');
        $c->eof();
    });

add(name => 'map-shared', want => qr/X-M: ~first~/,
    http => 'map $http_x_req $ms { default "~$request_uri~"; one ~first~; }
             map $upstream_status $us { default none; 200 good; 404 bad; }
             map $sent_http_x_foo $sf { default none; bar foobar; }',
    conf => loc('if ($ms = never) { return 403; }
        proxy_set_header X-M $ms; add_header X-M $ms always;
        add_header X-Us $us always; add_header X-Sf $sf always;
        proxy_set_header X-Us "$us";'),
    backend => sub { reply($_[0]{n} == 1 ? 200 : 404, \@h, $body) },
    req => [rq('/1', h => ['X-Req: one']), rq('/2')]);

add(name => 'captures', want => qr/GET \/up\/abc-99/,
    conf => 'location ~ ^/c/(?<word>[a-z]+)/(\d+) {
        set $copy $2;
        proxy_pass http://127.0.0.1:%%BACKEND%%/up/$word-$2?c=$copy;
        proxy_set_header X-Cap "$1 $2 $word"; add_header X-Cap "$1 $2 $word"; }',
    req => rq('/c/abc/99?x'));

add(name => 'variable-target', want => qr/GET \/vt\?a=b/,
    conf => 'location / { set $t 127.0.0.1:%%BACKEND%%;
             proxy_pass http://$t; }', req => rq('/vt?a=b'));

add(name => 'uri-prefix', conf =>
    'location /a/ { proxy_pass http://127.0.0.1:%%BACKEND%%/b/; }',
    backend => sub {
        my ($r) = @_;
        return reply(302, ["Location: http://$r->{h}{host}[0]/b/z"], 'x');
    },
    req => rq('/a/x%20y?z'));

add(name => 'redirects-rewritten', want => qr/Location: http:\/\/redirects/,
    conf => loc('proxy_redirect http://vendor.example/ /;
        proxy_redirect ~^http://(\w+)\.two/(.*)$ /$1/$2;
        proxy_cookie_path / /sub/;
        proxy_cookie_domain vendor.example $host;
        proxy_cookie_flags a httponly samesite=lax;'),
    backend => sub {
        my ($n) = $_[0]{uri} =~ /(\d)/;
        my @l = ('', 'http://vendor.example/x', 'http://abc.two/y',
                 'http://third/', '/relative', 'relative');
        return reply($n == 5 ? 201 : 302, ["Location: $l[$n]",
            'Refresh: 3; url=http://vendor.example/r',
            'Set-Cookie: a=1; Path=/; Domain=vendor.example',
            'Set-Cookie: b=2; Path=/q'], 'x');
    },
    req => [map { rq("/$_") } 1 .. 5]);

add(name => 'absolute-redirect-off', conf => loc('absolute_redirect off;'),
    backend => always(reply(302, ['Location: /x'], 'x')));

add(name => 'server-name-in-redirect',
    conf => 'server_name_in_redirect on; port_in_redirect off;' . loc(),
    backend => always(reply(302, ['Location: /x'], 'x')));

add(name => 'set-headers', conf => loc('proxy_set_header Host $http_host;
    proxy_set_header X-Real-IP $remote_addr; proxy_set_header Accept "";
    proxy_set_header Connection close; proxy_set_header X-Empty $nothing;
    set $nothing ""; proxy_set_header X-Sch $scheme;
    proxy_set_header X-Multi "a, $http_x_req";'),
    req => rq('/', h => ['Accept: x', 'X-Req: 1', 'X-Req: 2', 'TE: x',
                         'Upgrade-Insecure-Requests: 1', 'Cookie: a=b',
                         'Cookie: c=d', 'X_under: z']));

add(name => 'expires', want => qr/Expires: now/,
    conf => loc('expires 1h; add_header X-E $sent_http_expires;'),
    norm => sub { my $t = shift; $t =~ s/X-E: .*/X-E: t/; $t },
    backend => sub { reply($_[0]{n} == 1 ? 200 : 404, \@h, $body) },
    req => [rq('/1'), rq('/2')]);

add(name => 'expires-epoch', conf => loc('expires epoch;'),
    backend => always(reply(200, [@h, 'Cache-Control: public',
        'Expires: Thu, 01 Jan 2009 00:00:00 GMT'], $body)));

add(name => 'expires-map', http => 'map $sent_http_content_type $exp {
    default off; text/plain max; }', conf => loc('expires $exp;'),
    backend => always(reply(200, \@h, $body)));

add(name => 'add-trailer', want => qr/trailers: X-T: 200/,
    conf => loc11('add_trailer X-T $upstream_status;
                   add_trailer X-L $upstream_response_length;
                   add_trailer X-F $upstream_http_x_foo always;'),
    backend => always(reply(200, [@h, 'Transfer-Encoding: chunked'])
                      . chunked($body)),
    req => rq('/', keep => 1) . probe());

add(name => 'add-trailer-length', conf => loc11('add_trailer X-T end;'),
    backend => always(reply(200, \@h, $body)),
    req => rq('/', keep => 1) . probe());

add(name => 'userid', conf => loc('userid on; userid_name uid;'),
    norm => sub { my $t = shift; $t =~ s/uid=[^;,"\n]*/uid=U/g; $t },
    req => rq('/', keep => 1) . probe());

add(name => 'in-if', want => qr/X-If: yes/,
    conf => 'location / { set $x 1; root %%HTML%%;
        if ($request_method = POST) { proxy_pass http://127.0.0.1:%%BACKEND%%;
            add_header X-If yes; }
        if ($arg_p) { proxy_pass http://127.0.0.1:%%BACKEND%%; }
        proxy_set_header X-Arg $arg_p; }',
    req => [rq('POST /index.html', body => 'abc'), rq('/index.html'),
            rq('/index.html?p=1')]);

add(name => 'limit-except', conf => 'location / { root %%HTML%%;
    limit_except GET { proxy_pass http://127.0.0.1:%%BACKEND%%; } }',
    req => [rq('POST /', body => 'abc'), rq('/index.html')]);

add(name => 'rewrite-break', want => qr/GET \/new\/x\?q=1&a=b/,
    conf => 'location / { rewrite ^/old/(.*) /new/$1?q=1 break;
             proxy_pass http://127.0.0.1:%%BACKEND%%; }',
    req => rq('/old/x?a=b'));

add(name => 'rewrite-last', want => qr/GET \/new\/x/,
    conf => "location /old/ { rewrite ^/old/(.*) /new/\$1 last; }
             location /new/ { $pass proxy_set_header X-Uri \$uri; }",
    req => rq('/old/x?a=b'));

add(name => 'server-rewrite', want => qr/GET \/inner\/x/,
    conf => "rewrite ^/outer/(.*) /inner/\$1;
             location /inner/ { $pass proxy_set_header X-Cnt \$counted; }
             set \$counted \"\${counted}1\";",
    req => rq('/outer/x'));

add(name => 'index-proxied', want => qr/GET \/index\.php/,
    conf => 'location / { root %%HTML%%; index nothing.txt /index.php; }
             location = /index.php { proxy_pass http://127.0.0.1:%%BACKEND%%; }',
    req => rq('/'));

add(name => 'set-once', want => qr/X-N: 1;/,
    conf => 'location / { set $n "${n}1;"; proxy_set_header X-N $n;
             add_header X-N $n; proxy_pass http://127.0.0.1:%%BACKEND%%; }');

add(name => 'realip', need => ['realip'], want => qr/9\.8\.7\.6/,
    conf => loc('set_real_ip_from 127.0.0.1; real_ip_header X-Real;
        proxy_set_header X-Fwd $proxy_add_x_forwarded_for;
        proxy_set_header X-R "$remote_addr $realip_remote_addr";'),
    req => rq('/', h => ['X-Real: 9.8.7.6', 'X-Forwarded-For: 5.5.5.5']));

add(name => 'http-headers-hidden', conf => loc('server_tokens off;
    chunked_transfer_encoding off; etag off;'),
    backend => always(reply(200, [@h, @cond]), $body));

add(name => 'post-action', conf => loc('post_action /after;')
    . 'location = /after { internal; proxy_set_header X-After $status;
       proxy_set_header X-C $request_completion;
       proxy_pass http://127.0.0.1:%%BACKEND%%; }',
    want => qr/X-After: 200/, two => 1,
    req => rq('/', keep => 1) . probe());

add(name => 'stub-status', need => ['stub_status'], norun => 1,
    conf => 'location / { stub_status; }',
    norm => sub {
        my ($t, $part) = @_;
        $t =~ s/\d+/N/g if $part eq 'client';
        return $t;
    },
    loose => [qw(bytes_sent body_bytes_sent sent_http_content_length)],
    req => rq('/', keep => 1) . probe());

add(name => 'empty-gif', norun => 1, conf => 'location / { empty_gif; }',
    req => rq('/', keep => 1) . probe());

add(name => 'static-files', norun => 1, conf => 'location / { }
    location /l/ { alias %%HTML%%/; autoindex off; }',
    req => rq('/page.txt', keep => 1) . rq('/nothing', keep => 1)
           . rq('/l/secret/', keep => 1) . rq('/secret', keep => 1)
           . rq('/empty.txt', keep => 1) . rq('HEAD /page.txt', keep => 1)
           . rq('POST /page.txt', keep => 1, body => 'abc') . probe());

add(name => 'dav-put', norun => 1, need => ['dav'], files => $stored,
    conf => 'location / { root %%DIR%%/store; dav_methods PUT DELETE; }',
    req => rq('PUT /put', keep => 1, body => 'dav') . probe());


# ---- access, limits, other phases ------------------------------------------

add(name => 'deny', norun => 1, want => qr/403/, conf => loc('deny all;'),
    req => rq('POST /', body => 'abc', keep => 1) . probe());

add(name => 'satisfy-any', norun => 1, want => qr/401/,
    conf => loc('satisfy any; deny all; auth_basic x;
                 auth_basic_user_file %%HTML%%/users;'),
    req => [rq('/'), rq('/', h => ['Authorization: Basic dTpw'])]);

add(name => 'internal', norun => 1, want => qr/404/, conf => loc('internal;'));

add(name => 'limit-req', want => qr/ 503 /,
    http => 'limit_req_zone $host zone=lr:64k rate=1r/m;',
    conf => loc('limit_req zone=lr burst=1 nodelay;'),
    req => [rq('/1'), rq('/2'), rq('/3')]);

add(name => 'limit-req-delay', timing => 1.3,
    http => 'limit_req_zone $host zone=lrd:64k rate=1r/s;',
    conf => loc('limit_req zone=lrd burst=5;'), req => [rq('/1'), rq('/2')]);

add(name => 'limit-conn', want => qr/ 503 /,
    http => 'limit_conn_zone $host zone=lc:64k;',
    conf => loc('limit_conn lc 1;'),
    backend => always([gate => 'go'], reply(200, \@h, $body)),
    client => sub {
        my ($io) = @_;
        my $a = $io->conn();
        $a->send(rq('/a'));
        $io->requests(1);
        $io->talk(rq('/b'));
        $io->gate('go');
        $a->eof();
        $io->pause(0.02);
        $io->talk(rq('/c'));
    });

add(name => 'try-files-file', norun => 1, want => qr/line of the body/,
    conf => "location / { try_files \$uri \@up; }
             location \@up { $pass }",
    req => rq('/page.txt', keep => 1) . probe());

add(name => 'try-files-named', want => qr/X-N: yes/,
    conf => "location / { try_files \$uri \@up; }
             location \@up { $pass proxy_set_header X-N yes; }",
    req => rq('POST /none?a', body => 'abc', keep => 1) . probe());

add(name => 'try-files-loop', norun => 1, want => qr/ 500 /,
    conf => "location / { try_files /never\$uri /fallback;
             $pass }",
    req => rq('/x', keep => 1) . probe());

add(name => 'try-files-same-found', want => qr/GET \/page\.txt/,
    conf => "location /p/ { rewrite ^/p(.*) \$1 break;
             try_files \$uri /x; $pass }",
    req => rq('/p/page.txt', keep => 1) . probe());

add(name => 'try-files-denied', norun => 1, want => qr/403/,
    conf => "location / { try_files /never /denied; $pass }
             location /denied { deny all; $pass }",
    req => rq('/x', keep => 1) . probe());

add(name => 'try-files-code', norun => 1, want => qr/418/,
    conf => "location / { try_files /never =418; $pass }",
    req => rq('/x', keep => 1) . probe());

add(name => 'try-files-alias', want => qr/GET \/al\/x/,
    conf => "location /al/ { alias %%HTML%%/; try_files \$uri \$uri/ /al/f;
             $pass proxy_set_header X-F \$request_filename; }",
    req => [rq('/al/x'), rq('/al/page.txt'), rq('/al/secret')]);

add(name => 'mirror', unordered => 1, want => qr/X-Mirror: yes.*POST \/a/s,
    conf => "location / { mirror /mir; $pass }
             location = /mir { internal; proxy_set_header X-Mirror yes;
             proxy_pass http://127.0.0.1:%%BACKEND%%\$request_uri; }",
    req => [rq('/a'), rq('POST /a', body => 'abc', keep => 1) . probe(),
            rq('POST /a', body => big(50_000))]);

add(name => 'mirror-no-body', unordered => 1,
    conf => "location / { mirror /mir; mirror_request_body off; $pass }
             location = /mir { internal; proxy_set_header X-Mirror yes;
             proxy_set_header Content-Length '';
             proxy_pass_request_body off;
             proxy_pass http://127.0.0.1:%%BACKEND%%\$request_uri; }",
    req => [rq('/a'), rq('POST /a', body => 'abc', keep => 1) . probe()]);

add(name => 'mirror-slow', unordered => 1,
    conf => "location / { mirror /mir; $pass }
             location = /mir { internal;
             proxy_pass http://127.0.0.1:%%BACKEND%%/slow; }",
    backend => sub {
        return ($_[0]{uri} eq '/slow' ? [sleep => 0.15] : (),
                reply(200, \@h, $body));
    },
    req => rq('/a', keep => 1) . rq('/b', keep => 1) . probe());

add(name => 'mirror-refused', unordered => 1,
    conf => "location / { mirror /mir; mirror /mir2; $pass }
             location = /mir { internal;
             proxy_pass http://127.0.0.1:%%REFUSED%%; }
             location = /mir2 { internal; return 404; }",
    req => rq('/a', keep => 1) . probe());

my $auth = 'location = /auth { internal; proxy_pass_request_body off;
    proxy_set_header Content-Length ""; proxy_set_header X-Orig $request_uri;
    proxy_pass http://127.0.0.1:%%BACKEND%%/auth; }';

for my $s (200, 204, 401, 403, 404, 500) {
    add(name => "auth-request-$s", need => ['auth_request'],
        norun => $s >= 300,
        conf => loc('auth_request /auth; auth_request_set $who
            $upstream_http_x_user; auth_request_set $st $upstream_status;
            proxy_set_header X-User $who; add_header X-St $st always;')
            . $auth,
        backend => sub {
            return reply($s, ['X-User: me', 'WWW-Authenticate: Basic',
                'Set-Cookie: s=1'], $s == 204 ? undef : 'auth')
                if $_[0]{uri} eq '/auth';
            return reply(200, \@h, $body);
        },
        req => [rq('/a', keep => 1) . probe(),
                rq('POST /a', body => 'abc', keep => 1) . probe()]);
}

add(name => 'auth-request-refused', need => ['auth_request'], norun => 1,
    conf => loc('auth_request /auth;') . 'location = /auth { internal;
    proxy_pass http://127.0.0.1:%%REFUSED%%; }', two => 0);

add(name => 'auth-request-page', need => ['auth_request'],
    want => qr/login page/,
    conf => loc('auth_request /auth; error_page 401 = @login;')
            . $auth . "location \@login { $pass proxy_set_header X-Login 1; }",
    backend => sub {
        return reply(401, [], 'no') if $_[0]{uri} eq '/auth';
        return reply(200, \@h, $_[0]{h}{'x-login'} ? 'login page' : $body);
    },
    req => rq('/a', keep => 1) . probe());

add(name => 'log-subrequest', need => ['auth_request'], unordered => 1,
    conf => loc('auth_request /auth; log_subrequest on;')
            . 'location = /auth { internal; log_subrequest on;
               proxy_pass http://127.0.0.1:%%BACKEND%%/auth; }',
    req => rq('/a', keep => 1) . probe());

add(name => 'log-subrequest-plain', conf => loc('log_subrequest on;'),
    req => rq('/a', keep => 1) . probe());

add(name => 'log-own', norun => 1, files => sub {
        my ($home) = @_;
        open my $fh, '<', "$home/own.log" or return '';
        local $/;
        return <$fh>;
    },
    want => qr/200 bar 127/,
    conf => loc('access_log %%DIR%%/own.log own if=$upstream_status;'),
    http => 'log_format own "$status $upstream_http_x_foo $upstream_addr '
            . '$sent_http_x_foo $uri $upstream_status $proxy_host";',
    req => rq('/a'));


# ---- what a clone does not have of its own ---------------------------------

for my $q (['file', 'file="page.txt"'], ['static', 'virtual="/page.txt" wait="yes"'],
           ['return', 'virtual="/ret" wait="yes"'], ['none', 'file="none"'])
{
    my ($k, $what) = @$q;

    add(name => "ssi-wait-$k", unordered => 1,
        conf => "location / { ssi on; ssi_types text/plain; $pass }
                 location = /page.txt { } location /none { return 404; }
                 location /ret { return 200 hello; }",
        backend => always(reply(200, \@h, "a<!--# include $what -->b")),
        req => rq('/m', keep => 1) . probe());
}

add(name => 'captures-page',
    conf => "location ~ ^/p(.*)\$ { $pass proxy_intercept_errors on;
             error_page 404 /err; }
             location ~ ^/q(.)(.)\$ { return 403; }
             location /err { return 200 \"[\$1]\"; }",
    want => qr/\[abcdef\]/,
    backend => always(reply(404, \@h, $body)), req => [rq('/pabcdef')]);

add(name => 'captures-map',
    http => 'map $uri $cm { ~^/(?<nm>.)(.)(.) "$3$2$1"; }',
    conf => 'location ~ ^/(.*)$ { proxy_set_header X-M $cm;
             add_header X-1 "$1 $cm $nm";
             proxy_pass http://127.0.0.1:%%BACKEND%%; }', req => rq('/abc'),
    backend => always(reply(200, \@h, $body)));

add(name => 'raw-uri-prefix',
    conf => 'location / { proxy_pass http://127.0.0.1:%%BACKEND%%/base/; }',
    backend => always(reply(200, \@h, $body)),
    req => [rq("/a{b}|c^`"), rq("/\xc3\xa9\xff"), rq('/a"<>\\b'),
            rq('/a%20b')]);

add(name => 'status-in-error-page', want => qr/X-S: 404/,
    conf => "location / { return 404; error_page 404 /page; }
             location = /page { $pass proxy_set_header X-S \$status; }",
    backend => always(reply(200, \@h, $body)),
    req => rq('/x', keep => 1) . probe());

add(name => 'pipe-variable',
    conf => loc('proxy_set_header X-P $pipe; add_header X-P $pipe;'),
    backend => always(reply(200, \@h, $body)),
    req => rq('/1', keep => 1) . rq('/2', keep => 1) . probe());

add(name => 'realip-named', need => ['realip'], want => qr/9\.8\.7\.6\|127/,
    conf => "set_real_ip_from 127.0.0.1; real_ip_header X-Real;
             location / { try_files /none \@up; }
             location \@up { $pass
             proxy_set_header X-R \"\$remote_addr|\$realip_remote_addr\"; }",
    backend => always(reply(200, \@h, $body)),
    req => rq('/', h => ['X-Real: 9.8.7.6']));

{
    my $sum = md5_base64('/x s') =~ tr{+/}{-_}r;

    add(name => 'secure-link-expires', need => ['secure_link'],
        want => qr/X-E: \[2147483647\]/,
        conf => loc('secure_link $arg_h,$arg_e; secure_link_md5 "$uri s";
                     proxy_set_header X-S "[$secure_link]";
                     add_header X-E "[$secure_link_expires]";'),
        backend => always(reply(200, \@h, $body)),
        req => rq("/x?h=$sum&e=2147483647"));
}


# ---- clients that go away --------------------------------------------------

my $gone = sub {
    my (%arg) = @_;
    return sub {
        my ($io) = @_;
        my $c = $io->conn();
        $c->send($arg{req} // rq('/'));
        $io->requests(1) if !$arg{nowait};
        $c->seen($arg{seen}, 2) if $arg{seen};
        $io->pause(0.02);
        $arg{reset} ? $c->reset() : $arg{half} ? $c->half_close() : $c->close();
        $arg{after}->($io, $c) if $arg{after};
    };
};

add(name => 'abort', want => [qr/status: 499/, qr/closed by nginx at gate/],
    conf => loc(), client => $gone->(),
    backend => always([gate => 'never'], reply(200, \@h, $body)));

add(name => 'abort-reset', want => qr/status: 499/, conf => loc(),
    client => $gone->(reset => 1),
    backend => always([gate => 'never'], reply(200, \@h, $body)));

add(name => 'abort-half-close', want => qr/status: 499/, conf => loc(),
    client => $gone->(half => 1, after => sub { $_[1]->eof() }),
    backend => always([gate => 'never'], reply(200, \@h, $body)));

add(name => 'abort-post', want => qr/status: 499/, conf => loc(),
    client => $gone->(req => rq('POST /', body => big(50_000))),
    backend => always([gate => 'never'], reply(200, \@h, $body)));

add(name => 'abort-keepalive-second', want => qr/status: 499/, conf => loc(),
    client => sub {
        my ($io) = @_;
        my $c = $io->conn();
        $c->send(rq('/1', keep => 1));
        $c->replies(1);
        $c->send(rq('/2', keep => 1));
        $io->requests(2);
        $c->close();
    },
    backend => sub {
        return ($_[0]{n} == 2 ? [gate => 'never'] : (),
                reply(200, \@h, $body));
    });

add(name => 'abort-ignored', want => qr/status: 200/,
    conf => loc('proxy_ignore_client_abort on;'),
    client => $gone->(after => sub {
        my ($io) = @_;
        $io->pause(0.05);
        $io->gate('go');
    }), backend => always([gate => 'go'], reply(200, \@h, $body)));

add(name => 'abort-in-body', conf => loc('proxy_buffering off;'),
    client => $gone->(seen => qr/one/, reset => 1), want => qr/"?status: 200/,
    loose => ['bytes_sent', 'body_bytes_sent'], ignore => ['errors'],
    backend => always(reply(200, [@h, 'Content-Length: 100']), 'one',
                      [eof => 1]));

add(name => 'abort-in-body-buffered', conf => loc(),
    client => $gone->(seen => qr/line/, reset => 1),
    ignore => ['client', 'errors'],
    loose => ['bytes_sent', 'body_bytes_sent', 'upstream_response_length',
              'upstream_bytes_received'],
    backend => always(reply(200, [@h, 'Content-Length: 200000']),
                      big(100_000), [eof => 1]));

add(name => 'abort-big', conf => loc('proxy_buffers 4 8k;
        proxy_max_temp_file_size 0;'),
    client => $gone->(seen => qr/line/, reset => 1),
    ignore => ['client', 'errors'],
    loose => ['bytes_sent', 'body_bytes_sent', 'upstream_response_length',
              'upstream_bytes_received'],
    backend => sub { reply(200, \@h, $mib8) });

add(name => 'abort-post-action', want => qr/X-After: yes/,
    conf => loc('post_action /after;')
    . 'location = /after { internal; proxy_set_header X-After yes;
       proxy_pass http://127.0.0.1:%%BACKEND%%; }',
    client => $gone->(),
    backend => sub {
        return ($_[0]{h}{'x-after'} ? () : [gate => 'never'],
                reply(200, \@h, $body));
    });

add(name => 'abort-mirror', unordered => 1, want => qr/status: 499/,
    conf => "location / { mirror /mir; $pass }
             location = /mir { internal;
             proxy_pass http://127.0.0.1:%%BACKEND%%/slow; }",
    client => sub {
        my ($io) = @_;
        my $c = $io->conn();
        $c->send(rq('/'));
        $io->requests(2);
        $c->close();
        $io->pause(0.05);
        $io->gate('slow');
    },
    backend => sub {
        return ([gate => $_[0]{uri} eq '/slow' ? 'slow' : 'never'],
                reply(200, \@h, $body));
    });

add(name => 'send-timeout', conf => loc('send_timeout 300ms;
        proxy_buffers 4 8k; proxy_max_temp_file_size 0;'),
    loose => ['bytes_sent', 'body_bytes_sent', 'upstream_response_length',
              'upstream_bytes_received'],
    ignore => ['client', 'backend'], want => qr/status: 200/,
    client => sub {
        my ($io) = @_;
        my $c = $io->conn(rcvbuf => 4096);
        $c->send(rq('/'));
        $io->pause(0.6);
        $c->bytes(10_000_000, 2);
    },
    backend => sub { reply(200, \@h, $mib8) });

add(name => 'two-clients', unordered => 1, conf => loc(),
    backend => sub {
        return ([gate => $_[0]{uri} eq '/a' ? 'a' : 'b'],
                reply(200, \@h, "$_[0]{uri}\n"));
    },
    client => sub {
        my ($io) = @_;
        my @c = map { $io->conn() } 1, 2;
        $c[0]->send(rq('/a', keep => 1));
        $c[1]->send(rq('/b', keep => 1));
        $io->requests(2);
        $io->gate('b');
        $c[1]->replies(1);
        $io->gate('a');
        $c[0]->replies(1);
        for (@c) {
            $_->send(probe());
            $_->eof();
        }
    });

add(name => 'many-clients', unordered => 1, conf => loc(), anytime => 1,
    backend => sub { reply(200, \@h, "$_[0]{uri}\n") },
    client => sub {
        my ($io) = @_;
        my @c = map { $io->conn(label => "conn $_") } 1 .. 30;
        $c[$_]->send(rq("/$_", keep => 1)) for 0 .. $#c;
        $_->replies(1) for @c;
        $c[$_]->send(rq("/second/$_")) for 0 .. $#c;
        $_->eof() for @c;
    });


differ(cases => \@cases, files => { users => "u:{PLAIN}p\n" });
