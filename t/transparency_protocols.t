#!/usr/bin/perl

# A chain at http level must not change what the other passes do (FastCGI,
# SCGI, uwsgi, memcached, gRPC), nor what HTTP/2 and TLS clients, tunnels and
# a reload meet.  See t/lib/Differ.pm.

use strict;
use warnings;

use File::Basename qw(dirname);
use POSIX ();
use Time::HiRes qw(time);
use lib dirname(__FILE__) . '/lib';

use Differ;
use Slack qw(over);

my $pass = 'proxy_pass http://127.0.0.1:%%BACKEND%%;';
my @cases;

my @h = ('Content-Type: text/plain', 'X-Foo: bar');
my @cond = ('ETag: "tag"', 'Last-Modified: Thu, 01 Jan 2009 00:00:00 GMT',
            'Accept-Ranges: bytes');
my $body = "The quick brown fox.\n";

sub add { push @cases, {@_} }
sub loc { return "location / { $pass @_ }" }
sub always { my @a = @_; return sub { return @a } }
sub keep2 { return rq($_[0], keep => 1, @_[1 .. $#_]) . probe() }


# ---- FastCGI, SCGI, uwsgi --------------------------------------------------

# the same replies in three wrappings

my %pass = (
    fcgi => 'fastcgi_pass 127.0.0.1:%%FCGI%%;
        fastcgi_param REQUEST_METHOD $request_method;
        fastcgi_param CONTENT_LENGTH $content_length;
        fastcgi_param QUERY_STRING $query_string;
        fastcgi_param SCRIPT_NAME $fastcgi_script_name;
        fastcgi_param PATH_INFO $fastcgi_path_info;
        fastcgi_param REQUEST_ID $request_id;
        fastcgi_split_path_info ^(/[a-z]+)(/.*)$;',
    scgi => 'scgi_pass 127.0.0.1:%%SCGI%%;
        scgi_param SCGI 1; scgi_param CONTENT_LENGTH $content_length;
        scgi_param REQUEST_METHOD $request_method;
        scgi_param REQUEST_URI $request_uri;',
    uwsgi => 'uwsgi_pass 127.0.0.1:%%UWSGI%%;
        uwsgi_param CONTENT_LENGTH $content_length;
        uwsgi_param REQUEST_METHOD $request_method;
        uwsgi_param REQUEST_URI $request_uri; uwsgi_modifier1 5;',
);

my %word = (fcgi => 'fastcgi', scgi => 'scgi', uwsgi => 'uwsgi');

# cgi(400, [headers], body): FastCGI and the others as the request came

sub cgi {
    my ($r, $status, $h, $b, $err) = @_;

    my $text = "Status: $status Text\r\n"
               . join('', map { "$_\r\n" } @$h) . "\r\n$b";

    return fcgi($r, $text, $err) if $r->{kind} eq 'fcgi';
    return ($r->{kind} eq 'uwsgi'
            ? $text =~ s/^Status:/HTTP\/1.1/r : $text, [close => 1]);
}

for my $k (sort keys %pass) {
    my $w = $word{$k};

    for my $s (200, 201, 204, 301, 304, 400, 401, 404, 429, 500, 503) {
        add(name => "$k-status-$s", conf => "location / { $pass{$k} }",
            want => qr/\b$s\b/,
            backend => sub { cgi($_[0], $s, [@h, 'Location: http://x/y',
                'Set-Cookie: a=1', 'Set-Cookie: b=2',
                'WWW-Authenticate: Basic'], $s =~ /304|204/ ? '' : $body) },
            req => [keep2('/a/b?c=d'), keep2('HEAD /a/b')]);
    }

    add(name => "$k-post", conf => "location / { $pass{$k} }",
        backend => sub { cgi($_[0], 200, \@h, length $_[0]{body}) },
        req => [keep2('POST /p', body => 'a=b'),
                keep2('POST /p', body => big(300_000)),
                keep2('PUT /p', h => ['Transfer-Encoding: chunked'])
                =~ s/(?=GET .probe)/chunked('abc', 'd' x 300)/er]);

    add(name => "$k-big", conf => "location / { $pass{$k} }",
        backend => sub { cgi($_[0], 200, \@h, big(500_000)) },
        loose => ['bytes_sent', 'body_bytes_sent'], req => keep2('/'));

    add(name => "$k-unbuffered",
        conf => "location / { $pass{$k} ${w}_buffering off; }",
        backend => sub { cgi($_[0], 200, \@h, big(100_000)) },
        loose => ['bytes_sent', 'body_bytes_sent'], req => keep2('/'));

    add(name => "$k-length", conf => "location / { $pass{$k} }",
        backend => sub { cgi($_[0], 200, [@h, 'Content-Length: 21'], $body) },
        req => [keep2('/'), rq('/', v => '1.0'), keep2('HEAD /')]);

    add(name => "$k-short", conf => "location / { $pass{$k} }",
        backend => sub { cgi($_[0], 200, [@h, 'Content-Length: 99'], $body) },
        req => keep2('/'));

    add(name => "$k-extra", conf => "location / { $pass{$k} }",
        backend => sub { cgi($_[0], 200, [@h, 'Content-Length: 9'], $body) },
        req => keep2('/'));

    add(name => "$k-closed", two => 0, want => qr/502/,
        conf => "location / { $pass{$k} }",
        backend => always([close => 1]), req => keep2('/'));

    add(name => "$k-timeout", two => 0, want => qr/504/,
        conf => "location / { $pass{$k} ${w}_read_timeout 80ms; }",
        backend => always([eof => 1]), req => keep2('/'));

    add(name => "$k-bad-header", two => 0,
        conf => "location / { $pass{$k} }",
        backend => sub {
            my ($r) = @_;
            return $k eq 'fcgi' ? fcgi($r, "X: a\0b\r\n\r\n")
                                : ("X: a\0b\r\n\r\n", [close => 1]);
        }, req => keep2('/'));

    add(name => "$k-intercept", want => qr/named/,
        conf => "location / { $pass{$k} ${w}_intercept_errors on;
                 error_page 500 = \@n; } location \@n { return 200 named; }",
        backend => sub { cgi($_[0], 500, \@h, $body) }, req => keep2('/'));

    add(name => "$k-redirect", want => [qr/403/, qr/inner/],
        conf => "location / { $pass{$k} }
                 location /in { internal; return 200 inner; }
                 location /no { deny all; }",
        backend => sub {
            my $to = ($_[0]{h}{REQUEST_URI} // $_[0]{h}{SCRIPT_NAME})
                     =~ /deny/ ? '/no' : '/in';
            return cgi($_[0], 200, ["X-Accel-Redirect: $to"], '');
        }, req => [keep2('/x/y'), keep2('/deny/y')]);

    add(name => "$k-cache", want => qr/HIT/,
        http => "${w}_cache_path %%DIR%%/cache-$k keys_zone=$k:1m;",
        conf => "location / { $pass{$k} ${w}_cache $k;
                 ${w}_cache_key \$host\$uri; ${w}_cache_valid 200 5m;
                 add_header X-Cache \$upstream_cache_status; }",
        backend => sub { cgi($_[0], 200, [@h, @cond], $body) },
        req => [keep2('/a'), keep2('/a'), keep2('HEAD /a'),
                keep2('/a', h => ['If-None-Match: "tag"']),
                keep2('/a', h => ['Range: bytes=0-3'])]);

    add(name => "$k-local-redirect",
        conf => "location / { $pass{$k} }",
        backend => sub { cgi($_[0], 302, ['Location: /there'], '') },
        req => keep2('/a'));

    add(name => "$k-unbuffered-request", norun => 1,
        conf => "location / { $pass{$k} ${w}_request_buffering off; }",
        backend => sub { cgi($_[0], 200, \@h, length $_[0]{body}) },
        loose => ['upstream_bytes_sent'],
        req => [keep2('POST /p', body => 'a=b'),
                keep2('POST /p', body => big(100_000))]);

    add(name => "$k-abort", want => qr/status: 499/,
        conf => "location / { $pass{$k} }",
        backend => sub { ([gate => 'never'], cgi($_[0], 200, \@h, $body)) },
        client => sub {
            my ($io) = @_;
            my $c = $io->conn();
            $c->send(rq('/'));
            $io->requests(1);
            $c->close();
        });
}

add(name => 'fcgi-variables', want => qr{X-V: /abc\|/def/g},
    conf => "location / { $pass{fcgi}
        add_header X-V \"\$fastcgi_script_name|\$fastcgi_path_info\"; }",
    backend => sub { cgi($_[0], 200, \@h, $body) }, req => keep2('/abc/def/g'));

add(name => 'fcgi-log', norun => 1,
    http => 'log_format fc "$fastcgi_script_name|$fastcgi_path_info|$status";',
    want => qr{/abc\|/def\|200},
    conf => "location / { $pass{fcgi} access_log %%DIR%%/fc.log fc; }",
    files => sub {
        open my $fh, '<', "$_[0]/fc.log" or return 'no file';
        local $/;
        return <$fh>;
    },
    backend => sub { cgi($_[0], 200, \@h, $body) }, req => keep2('/abc/def'));

add(name => 'fcgi-stderr', conf => "location / { $pass{fcgi} }",
    want => qr/FastCGI sent in stderr/,
    backend => sub { cgi($_[0], 200, \@h, $body, "a warning\n") },
    req => keep2('/'));

add(name => 'fcgi-catch-stderr', two => 0, want => qr/502/,
    conf => "location / { $pass{fcgi} fastcgi_catch_stderr warning; }",
    backend => sub { cgi($_[0], 200, \@h, $body, "a warning\n") },
    req => keep2('/'));

add(name => 'fcgi-no-end', conf => "location / { $pass{fcgi} }",
    backend => sub { my ($r) = @_;
        (fcgi($r, "Content-Type: text/plain\r\n\r\n$body", undef, 1),
         [close => 1]) }, req => keep2('/'));

add(name => 'fcgi-keep',
    http => 'upstream fcgi-keep { server 127.0.0.1:%%FCGI%%; keepalive 2; }',
    conf => "location / { $pass{fcgi} fastcgi_keep_conn on; }"
        =~ s/fastcgi_pass [^;]+;/fastcgi_pass fcgi-keep;/r,
    backend => sub { cgi($_[0], $_[0]{n} == 2 ? 404 : 200, \@h, $body) },
    req => [keep2('/1'), keep2('/2'), keep2('HEAD /3'), keep2('/4')]);

add(name => 'fcgi-index', want => qr{SCRIPT_NAME=/index\.php},
    conf => "location / { $pass{fcgi} fastcgi_index index.php; }",
    backend => sub { cgi($_[0], 200, \@h, $body) }, req => keep2('/'));


# ---- memcached -------------------------------------------------------------

my $mem = 'set $memcached_key "$uri?$args"; memcached_pass
    127.0.0.1:%%MEMCACHED%%;';

sub value {
    my ($r, $text, $flags) = @_;
    my ($key) = $r->{line} =~ /^get (\S+)/;
    return sprintf("VALUE %s %d %d\r\n%s\r\nEND\r\n", $key, $flags || 0,
                   length $text, $text);
}

# the body is read, not discarded: README, Caveats

my $body_read = { two => qr/: request_length: \d+$|^  chain: request_body: / };

add(name => 'memcached',
    known => $body_read,
    conf => "location / { $mem }", want => qr/fox/,
    backend => sub { value($_[0], $body) },
    req => [keep2('/a?b'), keep2('HEAD /a'), rq('/a', v => '1.0'),
            keep2('POST /a', body => 'abc')]);

# what a client sends is dropped, and not waited for

add(name => 'memcached-partial', norun => 1, two => 0,
    conf => 'location / { set $memcached_key x; lingering_timeout 100ms;
             memcached_pass 127.0.0.1:%%MEMCACHED%%; }',
    backend => always("END\r\n"),
    req => "GET /x HTTP/1.1\r\nHost: %%NAME%%\r\nConnection: close\r\n"
           . "Content-Length: 100\r\n\r\n0123456789");

add(name => 'memcached-big', conf => "location / { $mem }",
    backend => sub { value($_[0], big(200_000)) },
    req => keep2('/a'));

add(name => 'memcached-empty', conf => "location / { $mem }",
    backend => sub { value($_[0], '') }, req => keep2('/a'));

add(name => 'memcached-not-found', conf => "location / { $mem }",
    want => qr/404/, backend => always("END\r\n"), req => keep2('/a'));

add(name => 'memcached-fallback',
    known => $body_read,
    want => qr/POST \/a|fox/,
    conf => "location / { $mem error_page 404 502 504 = \@up; }
             location \@up { $pass }",
    backend => sub { $_[0]{kind} eq 'http' ? reply(200, \@h, $body)
                                           : "END\r\n" },
    req => [keep2('/a'), keep2('POST /a', body => 'abc')]);

add(name => 'memcached-refused', two => 0, want => qr/502/,
    conf => 'location / { set $memcached_key x;
             memcached_pass 127.0.0.1:%%REFUSED%%; }', req => keep2('/a'));

add(name => 'memcached-invalid', two => 0, want => qr/502/,
    conf => "location / { $mem }", backend => always("what?\r\n"),
    req => keep2('/a'));

add(name => 'memcached-trailer-bad', conf => "location / { $mem }",
    backend => sub { value($_[0], $body) =~ s/END/XXX/r },
    req => keep2('/a'));

add(name => 'memcached-gzip-flag', need => ['gunzip'],
    conf => "location / { $mem memcached_gzip_flag 2; gunzip on; }",
    backend => sub { value($_[0], 'zzz', 2) },
    req => [keep2('/a', h => ['Accept-Encoding: gzip'])]);

add(name => 'memcached-keep',
    http => 'upstream memcached-keep { server 127.0.0.1:%%MEMCACHED%%;
             keepalive 2; }',
    conf => 'location / { set $memcached_key $uri;
             memcached_pass memcached-keep; }',
    backend => sub { $_[0]{n} == 2 ? "END\r\n" : value($_[0], $body) },
    req => [keep2('/1'), keep2('/2'), keep2('/3')]);

add(name => 'memcached-ranges', conf => "location / { $mem }",
    backend => sub { value($_[0], $body) },
    req => [keep2('/a', h => ['Range: bytes=0-3']),
            keep2('/a', h => ['Range: bytes=900-'])]);

add(name => 'memcached-ssi', unordered => 1,
    conf => "location / { $mem ssi on; default_type text/html; }",
    backend => sub { value($_[0], $_[0]{line} =~ m{/main}
        ? 'a <!--#include virtual="/one" --> b' : '[part]') },
    req => keep2('/main'));


# ---- gRPC ------------------------------------------------------------------

# A request that streams is left alone by a chain of one attempt and read in
# full by a longer one.

# an HTTP/2 server in front of the vendor; it is told which of the three

my $origin_h2 = nginx_at('1.25.1')
    ? 'listen 127.0.0.1:%%ORIGINH2%%; http2 on;'
    : 'listen 127.0.0.1:%%ORIGINH2%% http2;';

my $origin = <<"END";
    server {
        $origin_h2
        location / {
            proxy_pass http://127.0.0.1:\$http_x_port;
            proxy_http_version 1.1;
            proxy_buffering off;
            proxy_set_header X-Port "";
            proxy_set_header Te \$http_te;
            proxy_ignore_headers X-Accel-Redirect;
            proxy_pass_header X-Accel-Redirect;
            add_trailer grpc-status \$upstream_http_x_grpc always;
        }
    }
    server {
        listen 127.0.0.1:%%ORIGIN%%;
        location / { return 200 "origin \$uri\n"; }
    }
END

my $grpc = 'grpc_pass grpc://127.0.0.1:%%ORIGINH2%%;
    grpc_set_header X-Port %%BACKEND%%;
    grpc_set_header Content-Length $content_length;';

# frames of HTTP/2 come as they like
my @loose = qw(upstream_bytes_sent upstream_bytes_received
               upstream_response_length);
my @g = ('Content-Type: application/grpc', 'X-Grpc: 0', 'X-Foo: bar');

for my $s (200, 204, 404, 429, 503) {
    add(name => "grpc-status-$s", need => ['v2'], loose => \@loose, norun => 1,
        conf => "location / { $grpc }", want => qr/\b$s\b/,
        backend => sub { reply($s, [@g, 'Set-Cookie: a=1', 'Set-Cookie: b=2'],
                               $s == 204 ? undef : $body) },
        req => [keep2('/a?b=c'), keep2('HEAD /a'), rq('/a', v => '1.0')]);
}

# the longer chain has the body in memory and so in $request_body, too
add(name => 'grpc-post', need => ['v2'], norun => 1,
    loose => [@loose, 'request_body'],
    conf => "location / { $grpc client_body_buffer_size 256k; }",
    backend => sub { reply(200, \@g, 'got ' . length $_[0]{body}) },
    want => qr/got 200000/,
    req => [keep2('POST /a', body => 'abc', h => ['TE: trailers']),
            keep2('POST /a', body => big(200_000)),
            rq('POST /a', h => ['Transfer-Encoding: chunked'])
            . chunked('abc', 'defg')]);

add(name => 'grpc-big', need => ['v2'], conf => "location / { $grpc }",
    backend => sub { reply(200, \@g, big(300_000)) },
    norun => 1, loose => [@loose, 'bytes_sent', 'body_bytes_sent'],
    req => keep2('/a'));

add(name => 'grpc-chunked', need => ['v2'], loose => \@loose, norun => 1,
    conf => "location / { $grpc }",
    backend => sub { (reply(200, [@g, 'Transfer-Encoding: chunked']),
                      chunked('abc', 'def')) },
    req => keep2('/a', h => ['TE: trailers']));

add(name => 'grpc-short', need => ['v2'], loose => \@loose, norun => 1,
    conf => "location / { $grpc }",
    backend => sub { (reply(200, [@g, 'Content-Length: 99']), 'abc',
                      [sleep => 0.03], [close => 1]) },
    req => keep2('/a'));

add(name => 'grpc-refused', need => ['v2'], loose => \@loose, norun => 1,
    two => 0, want => qr/502/,
    conf => 'location / { grpc_pass 127.0.0.1:%%REFUSED%%; }',
    req => keep2('/a'));

add(name => 'grpc-error-page', need => ['v2'], loose => \@loose, norun => 1,
    want => qr/grpc-status: 14/,
    conf => "location / { $grpc grpc_intercept_errors on;
             error_page 503 = \@e; }
             location \@e { default_type application/grpc;
             add_header grpc-status 14; return 204; }",
    backend => sub { reply(503, \@g, $body) }, req => keep2('/a'));

add(name => 'grpc-keep', need => ['v2'], loose => \@loose, norun => 1,
    http => 'upstream grpc-keep { server 127.0.0.1:%%ORIGINH2%%;
             keepalive 2; }',
    conf => "location / { $grpc }" =~ s/grpc_pass [^;]+;/grpc_pass
        grpc:\/\/grpc-keep;/r,
    backend => sub { reply($_[0]{n} == 2 ? 500 : 200, \@g, $body) },
    req => [keep2('/1'), keep2('/2'), keep2('/3')]);

add(name => 'grpc-to-h2-client', need => ['v2'], listen => 'H2',
    program => ['nghttp'], conf => "location / { $grpc }",
    backend => sub { reply(200, \@g, 'got ' . length $_[0]{body}) },
    norun => 1, loose => [@loose, 'bytes_sent'], want => qr/grpc-status: 0/,
    client => sub { nghttp($_[0], '-H', 'te: trailers', '/a') });


# ---- HTTP/2 to the upstream -------------------------------------------------

my $up2 = 'proxy_pass http://127.0.0.1:%%ORIGINH2%%; proxy_http_version 2;
    proxy_set_header X-Port %%BACKEND%%;';

sub up2 {
    my (%arg) = @_;

    # it is the other nginx that closes the connection to the vendor
    add(at => '1.29.4', need => ['v2'], loose => \@loose,
        norm => sub { my ($t, $part) = @_;
                      $t =~ s/^-- (?:open|done|closed.*)\n//mg
                          if $part eq 'backend';
                      $t },
        backend => sub { reply(200, \@h, $body) }, req => keep2('/a'), %arg);
}

for my $b (['', ''], ['-unbuffered', 'proxy_buffering off;']) {
    my ($k, $conf) = @$b;

    for my $s (200, 204, 304, 404, 429, 503) {
        up2(name => "up2-status-$s$k", conf => "location / { $up2 $conf }",
            want => qr/\b$s\b/,
            backend => sub { reply($s, [@h, 'Set-Cookie: a=1',
                                        'Set-Cookie: b=2'],
                                   $s =~ /04$/ && $s != 404 ? undef : $body) },
            req => [keep2('/a?b=c'), keep2('HEAD /a'), rq('/a', v => '1.0')]);
    }

    up2(name => "up2-big$k", conf => "location / { $up2 $conf }",
        backend => sub { reply(200, \@h, big(300_000)) },
        loose => [@loose, 'bytes_sent', 'body_bytes_sent']);

    up2(name => "up2-short$k", conf => "location / { $up2 $conf }",
        loose => [@loose, 'bytes_sent', 'body_bytes_sent'],
        backend => sub { (reply(200, [@h, 'Content-Length: 99']), 'abc',
                          [sleep => 0.03], [close => 1]) });

    up2(name => "up2-chunked$k", conf => "location / { $up2 $conf }",
        backend => sub { (reply(200, [@h, 'Transfer-Encoding: chunked']),
                          chunked('abc', 'def')) });
}

up2(name => 'up2-post', want => qr/got 200000/,
    conf => "location / { $up2 client_body_buffer_size 16k; }",
    backend => sub { reply(200, \@h, 'got ' . length $_[0]{body}) },
    req => [keep2('POST /a', body => 'abc'), keep2('POST /a', body => ''),
            keep2('PUT /a', body => big(200_000)),
            rq('POST /a', h => ['Transfer-Encoding: chunked'])
            . chunked('abc', 'defg')]);

up2(name => 'up2-post-unbuffered', want => qr/got 3/, norun => 1,
    conf => "location / { $up2 proxy_request_buffering off; }",
    backend => sub { reply(200, \@h, 'got ' . length $_[0]{body}) },
    req => keep2('POST /a', body => 'abc'));

# an answer that comes before the body has been sent

up2(name => 'up2-early', want => qr/413/, ignore => ['backend'],
    conf => "location / { $up2 client_max_body_size 1m; }",
    backend => sub { (reply(413, [@h, 'Connection: close'], $body),
                      [close => 1]) },
    req => keep2('POST /a', body => big(300_000)));

up2(name => 'up2-trailers', want => qr/grpc-status: 0/i,
    conf => "location / { $up2 proxy_pass_trailers on;
             proxy_set_header TE trailers; }",
    backend => sub { (reply(200, [@h, 'X-Grpc: 0',
                                  'Transfer-Encoding: chunked']),
                      chunked('abc')) },
    req => keep2('/a', h => ['TE: trailers', 'Connection: TE']));

up2(name => 'up2-refused', two => 0, want => qr/502/,
    conf => 'location / { proxy_pass http://127.0.0.1:%%REFUSED%%;
             proxy_http_version 2; }');

up2(name => 'up2-not-http2', two => 0, want => qr/502/,
    conf => "location / { $pass proxy_http_version 2; }",
    backend => sub { "what?\r\n\r\n" });

up2(name => 'up2-error-page', want => qr/named/,
    conf => "location / { $up2 proxy_intercept_errors on; error_page 503 = \@e; }
             location \@e { return 200 named; }",
    backend => sub { reply(503, \@h, $body) });

up2(name => 'up2-cache', want => qr/HIT/,
    http => 'proxy_cache_path %%DIR%%/up2cache keys_zone=up2:1m;',
    conf => "location / { $up2 proxy_cache up2; proxy_cache_key \$host\$uri;
        proxy_cache_valid 200 5m; add_header X-Cache \$upstream_cache_status; }",
    req => [keep2('/a'), keep2('/a'), keep2('HEAD /a'),
            keep2('/a', h => ['Range: bytes=1-3'])]);

up2(name => 'up2-keep',
    http => 'upstream up2-keep { server 127.0.0.1:%%ORIGINH2%%; keepalive 2; }',
    conf => "location / { $up2 }" =~ s/proxy_pass [^;]+;/proxy_pass
        http:\/\/up2-keep;/r,
    backend => sub { reply($_[0]{n} == 2 ? 500 : 200, \@h, $body) },
    req => [keep2('/1'), keep2('/2'), keep2('/3')]);

up2(name => 'up2-ssi', unordered => 1, want => qr/a \[b\] c/,
    conf => "location / { $up2 ssi on; }",
    backend => sub { reply(200, ['Content-Type: text/html'],
        $_[0]{uri} eq '/a' ? 'a <!--#include virtual="/b" --> c' : '[b]') });

up2(name => 'up2-redirect', want => qr/403/,
    conf => "location / { $up2 } location /no { deny all; }",
    backend => sub { reply(200, ['X-Accel-Redirect: /no'], 'x') });

up2(name => 'up2-variables', want => qr/x-v: 127/i,
    conf => "location / { $up2 proxy_set_header X-V
             '\$proxy_host \$proxy_port \$proxy_add_x_forwarded_for'; }");


# ---- HTTP/2 clients --------------------------------------------------------

# what nghttp says, without times and without the sizes of frames

sub nghttp {
    my ($io, @arg) = @_;

    my @uri = map { "http://127.0.0.1:%%H2%%$_" } grep { m{^/} } @arg;
    my @opt = grep { !m{^/} } @arg;

    my $out = $io->program('nghttp', 'nghttp', '-nv', '--no-dep',
                           '-H', ':authority: %%NAME%%', @opt, @uri) // '';
    my (%stream, @conn);

    for my $l (split /\n/, $out) {
        $l =~ s/\e\[[\d;]*m//g;

        if ($l =~ /recv \(stream_id=(\d+)\) (.*)$/) {
            my ($id, $t) = ($1, $2);
            $t =~ s/^(date: ).*/$1now/;
            push @{ $stream{$id} }, $t;

        } elsif ($l =~ /recv DATA frame <length=(\d+), flags=0x(\w+), stream_id=(\d+)>/) {
            $stream{"data $3"} += $1;
            push @{ $stream{$3} }, "end of data" if hex($2) & 1;

        } elsif ($l =~ /recv RST_STREAM frame <.*stream_id=(\d+)>/) {
            push @{ $stream{$1} }, 'RST_STREAM';

        } elsif ($l =~ /recv GOAWAY/) {
            push @conn, 'GOAWAY';

        } elsif ($l =~ /recv HEADERS frame <.*flags=0x(\w+), stream_id=(\d+)>/) {
            push @{ $stream{$2} }, 'HEADERS'
                . (hex($1) & 1 ? ' and end' : '');

        } elsif ($l =~ /error_code=(\w+)/ && $l !~ /NO_ERROR/) {
            push @conn, "error $1";
        }
    }

    my ($rc) = $io->{notes}[-1] =~ /(exit code \d+)/;
    $io->{notes}[-1] = join "\n", "nghttp: $rc", @conn,
        map { my $id = $_; ("stream $id: "
              . ($stream{"data $id"} // 0) . ' bytes',
              @{ $stream{$id} }) }
        sort { $a <=> $b } grep { /^\d+$/ } keys %stream;
}

sub h2 {
    my (%arg) = @_;
    add(listen => 'H2', need => ['v2', @{ $arg{need} || [] }],
        program => ['nghttp'],
        # frames count, too
        unordered => 1, loose => ['bytes_sent', 'body_bytes_sent', 'request_length'],
        backend => sub { reply(200, \@h, $body) },
        client => sub { nghttp($_[0], @{ $arg{args} || ['/a'] }) },
        %arg, need => ['v2', @{ $arg{need} || [] }]);
}

for my $b (['', ''], ['-unbuffered', 'proxy_buffering off;']) {
    my ($k, $conf) = @$b;

    h2(name => "h2$k", conf => loc($conf), want => qr/21 bytes/,
       args => ['/a', '/b', '/c']);

    h2(name => "h2-head$k", conf => loc($conf),
       args => ['-H', ':method: HEAD', '/a']);

    h2(name => "h2-big$k", conf => loc($conf), want => qr/700000 bytes/,
       backend => sub { reply(200, \@h, big(700_000)) },
       args => ['-w', '16', '/a', '/b']);

    h2(name => "h2-short$k", conf => loc($conf), want => qr/RST_STREAM/,
       backend => sub { (reply(200, [@h, 'Content-Length: 100']), $body,
                         [sleep => 0.02], [close => 1]) });

    h2(name => "h2-short-chunked$k",
       conf => loc("$conf proxy_http_version 1.1;"), want => qr/RST_STREAM/,
       backend => sub { (reply(200, [@h, 'Transfer-Encoding: chunked']),
                         "3\r\nabc\r\n", [sleep => 0.02], [close => 1]) });

    h2(name => "h2-chunked$k", conf => loc("$conf proxy_http_version 1.1;"),
       backend => sub { (reply(200, [@h, 'Transfer-Encoding: chunked']),
                         chunked('abc', 'def')) });

    h2(name => "h2-extra$k", conf => loc("$conf proxy_http_version 1.1;"),
       backend => sub { reply(200, \@h, $body) . 'extra' });

    h2(name => "h2-empty$k", conf => loc($conf),
       backend => sub { reply(200, \@h, '') });
}

for my $s (204, 304, 404, 429, 500, 503) {
    h2(name => "h2-status-$s", conf => loc(),
       backend => sub { reply($s, [@h, @cond],
                              $s =~ /204|304/ ? undef : $body) });
}

h2(name => 'h2-refused', two => 0, want => qr/502/,
   conf => 'location / { proxy_pass http://127.0.0.1:%%REFUSED%%; }');

h2(name => 'h2-trailers', want => qr/x-t: 200/i,
   conf => loc('add_trailer X-T $upstream_status;'));

h2(name => 'h2-post', conf => loc(), want => qr/got 60000/,
   files => sub { '' },
   backend => sub { reply(200, ['X-Got: got ' . length $_[0]{body}], '') },
   client => sub {
       my ($io) = @_;
       my $f = "$io->{home}/post";
       open my $fh, '>', $f or die $!;
       print $fh big(60_000);
       close $fh;
       nghttp($io, "-d$f", '/a');
   });

h2(name => 'h2-error-page', want => qr/named/,
   conf => loc('proxy_intercept_errors on; error_page 500 = @n;')
       . 'location @n { add_header X-N named; return 200 named; }',
   backend => sub { reply(500, \@h, $body) });

h2(name => 'h2-redirect', want => qr/403/,
   conf => "location / { $pass }
            location /no { deny all; }",
   backend => sub { reply(200, ['X-Accel-Redirect: /no'], 'x') });

h2(name => 'h2-range', want => [qr/206/, qr/416/],
   conf => loc('proxy_force_ranges on;'),
   backend => sub { reply(200, [@h, @cond], $body) },
   client => sub {
       my ($io) = @_;
       nghttp($io, '-H', 'range: bytes=0-3', '/a');
       nghttp($io, '-H', 'range: bytes=900-', '/a');
   });

h2(name => 'h2-cache', want => qr/HIT/,
   http => 'proxy_cache_path %%DIR%%/h2cache keys_zone=h2:1m;',
   conf => loc('proxy_cache h2; proxy_cache_key $host$uri;
       proxy_cache_valid 200 5m;
       add_header X-Cache $upstream_cache_status;'),
   backend => sub { reply(200, [@h, @cond], $body) },
   client => sub { nghttp($_[0], '/a') for 1 .. 2 });

h2(name => 'h2-early-hints', at => '1.29.0', want => qr/:status: 103/,
   conf => loc('early_hints 1; proxy_http_version 1.1;'),
   backend => sub { ("HTTP/1.1 103 Early\r\nLink: </a>; rel=preload\r\n\r\n",
                     [sleep => 0.02], reply(200, \@h, $body)) });

h2(name => 'h2-ssi', unordered => 1, conf => loc('ssi on;'),
   backend => sub { reply(200, ['Content-Type: text/html'],
       $_[0]{uri} eq '/a' ? 'a <!--#include virtual="/b" --> c' : '[b]') });

h2(name => 'h2-limit-rate', timing => 1.3, conf => loc('limit_rate 40k;'),
   backend => sub { reply(200, \@h, big(60_000)) });

h2(name => 'h2-auth-mirror', need => ['auth_request'], unordered => 1,
   conf => loc('auth_request /b; mirror /c;')
       . "location /b { internal; $pass } location /c { internal; $pass }");

# Raw frames, for what a client program cannot do.  Header blocks are written
# as literals without compression.

sub frame {
    my ($type, $flags, $id, $data) = @_;
    return substr(pack('N', length $data), 1) . pack('CCN', $type, $flags, $id)
           . $data;
}

sub literal {
    my (%f) = @_;
    return join '', map { "\0" . chr(length $_) . $_ . chr(length $f{$_})
                          . $f{$_} } sort keys %f;
}

sub h2_open {
    my ($io, @ids) = @_;
    my $c = $io->conn(port => 'H2');
    $c->send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" . frame(4, 0, 0, '')
        . join '', map { frame(1, 5, $_, literal(':method' => 'GET',
            ':path' => "/$_", ':scheme' => 'http',
            ':authority' => $io->fill('%%NAME%%'))) } @ids);
    return $c;
}

for my $t (['rst', sub { $_[1]->send(frame(3, 0, 1, pack 'N', 8)) }],
           ['close', sub { $_[1]->close() }])
{
    my ($k, $how) = @$t;

    h2(name => "h2-abort-$k", conf => loc(), want => qr/status: 499/,
       program => [], norun => 0, ignore => ['client'],
       backend => sub { ([gate => 'never'], reply(200, \@h, $body)) },
       client => sub {
           my ($io) = @_;
           my $c = h2_open($io, 1);
           $io->requests(1);
           $how->($io, $c);
           $io->pause(0.05);
           $c->close();
       });

    h2(name => "h2-abort-body-$k", conf => loc('proxy_buffering off;'),
       program => [], ignore => ['client', 'errors'],
       backend => sub { (reply(200, [@h, 'Content-Length: 100']), 'one',
                         [eof => 1]) },
       client => sub {
           my ($io) = @_;
           my $c = h2_open($io, 1);
           $io->requests(1);
           $c->seen(qr/one/, 2);
           $how->($io, $c);
           $io->pause(0.05);
           $c->close();
       });
}

h2(name => 'h2-abort-one-of-two', conf => loc(), program => [],
   want => qr/status: 499/, ignore => ['client'], unordered => 1,
   backend => sub { ($_[0]{uri} eq '/1' ? [gate => 'never']
                     : [gate => 'go'], reply(200, \@h, "body $_[0]{uri}")) },
   client => sub {
       my ($io) = @_;
       my $c = h2_open($io, 1, 3);
       $io->requests(2);
       $c->send(frame(3, 0, 1, pack 'N', 8));
       $io->pause(0.03);
       $io->gate('go');
       $c->seen(qr{body /3}, 2);
       $c->close();
   });

# the window of a stream holds the vendor back
h2(name => 'h2-window', conf => loc('proxy_buffers 4 8k;
       proxy_max_temp_file_size 0;'), program => [],
   ignore => ['client'], backend => sub { reply(200, \@h, big(150_000)) },
   client => sub {
       my ($io) = @_;
       my $c = h2_open($io, 1);
       $c->bytes(60_000, 2);
       $io->pause(0.05);
       my $got = length $c->{in};
       $io->note($got < 66_000 ? 'held back' : "too much: $got");
       $c->send(frame(8, 0, 0, pack 'N', 1 << 20)
                . frame(8, 0, 1, pack 'N', 1 << 20));
       $c->bytes(150_000, 2);
       $c->close();
   });

add(name => 'h2-load', listen => 'H2', need => ['v2'], program => ['h2load'],
    conf => loc(), unordered => 1, anytime => 1,
    loose => ['bytes_sent', 'body_bytes_sent', 'request_length',
              'connection_requests'],
    backend => sub { reply($_[0]{n} % 3 ? 200 : 404, \@h, $body) },
    ignore => ['backend', 'log'],
    client => sub {
        my ($io) = @_;
        my $out = $io->program('h2load', 'h2load', '-n', '60', '-c', '3',
            '-m', '10', '-H', ':authority: %%NAME%%',
            'http://127.0.0.1:%%H2%%/a') // '';
        $io->{notes}[-1] = join "\n", $out =~ /^((?:requests|status).*)$/mg;
    });


# ---- TLS -------------------------------------------------------------------

my $tls = 'ssl_certificate %%HTML%%/cert.pem; ssl_certificate_key %%HTML%%/key.pem;';

sub tls {
    my (%arg) = @_;
    add(listen => 'SSL', program => ['openssl', 'curl'],
        client => sub {
            my ($io) = @_;
            $io->program('curl', 'curl', '-sSik', '-m', '20', '--http1.1',
                '--resolve', '%%NAME%%:%%SSL%%:127.0.0.1',
                @{ $arg{args} || [] },
                map { "https://%%NAME%%:%%SSL%%$_" } '/a', '/b');
            $io->{notes}[-1] = Differ::Client::clean($io->{notes}[-1]);
            $io->{notes}[-1] =~ s/(remaining) to read/$1/g;
        },
        backend => sub { reply(200, \@h, $body) }, %arg,
        conf => "$tls $arg{conf}", need => ['ssl', @{ $arg{need} || [] }]);
}

tls(name => 'tls', conf => loc('proxy_set_header X-S "$scheme $https";'),
    want => qr/X-S: https on/);
tls(name => 'tls-big', conf => loc(), args => ['-o', '/dev/null'],
    backend => sub { reply(200, \@h, big(400_000)) });
tls(name => 'tls-post', conf => loc(), args => ['-d', 'a=b'],
    want => qr/POST/);
tls(name => 'tls-short', conf => loc(), want => qr/exit code (?!0)/,
    backend => sub { (reply(200, [@h, 'Content-Length: 100']), $body,
                      [sleep => 0.02], [close => 1]) });
tls(name => 'tls-error', conf => loc('proxy_intercept_errors on;
    error_page 500 = @n;') . 'location @n { return 200 named; }',
    backend => sub { reply(500, \@h, $body) }, want => qr/named/);
tls(name => 'tls-abort', conf => loc(), want => qr/status: 499/,
    backend => sub { ([gate => 'never'], reply(200, \@h, $body)) },
    client => sub {
        my ($io) = @_;
        my $pid = fork // die "fork: $!";
        if (!$pid) {
            exec 'curl', '-sko', '/dev/null', '-m', '9', '--http1.1',
                 '--resolve', map { $io->fill($_) }
                 '%%NAME%%:%%SSL%%:127.0.0.1', 'https://%%NAME%%:%%SSL%%/a'
                or POSIX::_exit(1);
        }
        $io->requests(1);
        kill 'KILL', $pid;
        waitpid $pid, 0;
    });

add(name => 'to-tls-vendor', need => ['ssl'], program => ['openssl'],
    conf => 'location / { proxy_pass https://127.0.0.1:%%ORIGINSSL%%;
        proxy_ssl_server_name on; }', want => qr/origin tls/,
    req => [keep2('/tls'), keep2('/tls')],
    loose => ['upstream_bytes_sent', 'upstream_bytes_received']);


# ---- tunnels ---------------------------------------------------------------

my $upgrade = 'proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection "upgrade";';

add(name => 'upgrade', norun => 1, conf => loc($upgrade),
    want => [qr/tunnel: hello.*bye/s, qr/raw: ping/],
    backend => always("HTTP/1.1 101 Switching\r\nUpgrade: x\r\n"
        . "Connection: Upgrade\r\n\r\n", 'hello ', [read => 4], 'bye',
        [read => 4], [close => 1]),
    client => sub {
        my ($io) = @_;
        my $c = $io->conn();
        $c->send("GET / HTTP/1.1\r\nHost: %%NAME%%\r\nUpgrade: x\r\n"
                 . "Connection: Upgrade\r\n\r\n");
        $c->seen(qr/hello /);
        $c->send('ping');
        $c->seen(qr/bye/);
        $c->send('pong');
        $c->eof();
    });

add(name => 'upgrade-refused', norun => 1, conf => loc($upgrade),
    backend => always(reply(426, \@h, $body)),
    req => "GET / HTTP/1.1\r\nHost: %%NAME%%\r\nUpgrade: x\r\n"
           . "Connection: Upgrade\r\n\r\n" . probe());

add(name => 'upgrade-not-asked', two => 0, conf => loc($upgrade), norun => 1,
    backend => always("HTTP/1.1 101 Switching\r\nUpgrade: x\r\n"
        . "Connection: Upgrade\r\n\r\n", [sleep => 0.02], [close => 1]),
    req => keep2('/'));

add(name => 'upgrade-h2c-header', conf => loc('proxy_http_version 1.1;'),
    req => "GET / HTTP/1.1\r\nHost: %%NAME%%\r\nUpgrade: h2c\r\n"
           . "HTTP2-Settings: AAA\r\nConnection: Upgrade, HTTP2-Settings\r\n"
           . "\r\n" . probe());

add(name => 'upgrade-client-closes', norun => 1, conf => loc($upgrade),
    backend => always("HTTP/1.1 101 Switching\r\nUpgrade: x\r\n"
        . "Connection: Upgrade\r\n\r\n", 'hello', [eof => 1]),
    client => sub {
        my ($io) = @_;
        my $c = $io->conn();
        $c->send("GET / HTTP/1.1\r\nHost: %%NAME%%\r\nUpgrade: x\r\n"
                 . "Connection: Upgrade\r\n\r\n");
        $c->seen(qr/hello/);
        $c->close();
    });

add(name => 'connect', norun => 1, want => qr/40[05]/, conf => loc(),
    req => "CONNECT %%NAME%%:443 HTTP/1.1\r\nHost: %%NAME%%\r\n\r\n");


# ---- a reload with requests under way --------------------------------------

sub reload {
    my ($io) = @_;

    my $master = $io->{side}{master};
    my $old = workers($master);
    kill 'HUP', $master;

    my $start = time();

    until (over($start, 10)) {
        my $now = workers($master);
        return 1 if grep { !$old->{$_} } keys %$now;
        $io->pause(0.02);
    }

    $io->note('no new worker');
    $io->{late}++;
}

sub workers {
    my ($master) = @_;

    open my $fh, '<', "/proc/$master/task/$master/children" or return {};
    my $line = <$fh> // '';
    return { map { $_ => 1 } split ' ', $line };
}

add(name => 'zz-reload-waiting', conf => loc(), want => qr/fox/, anytime => 1,
    backend => sub { ([gate => 'go'], reply(200, \@h, $body)) },
    client => sub {
        my ($io) = @_;
        my $c = $io->conn();
        $c->send(rq('/', keep => 1));
        $io->requests(1);
        reload($io);
        $io->gate('go');
        $c->eof();
        $io->talk(rq('/'));
    });

add(name => 'zz-reload-in-body', conf => loc('proxy_buffering off;'),
    want => qr/onetwo/, anytime => 1,
    backend => sub { (reply(200, [@h, 'Content-Length: 6']), 'one',
                      [gate => 'go'], 'two') },
    client => sub {
        my ($io) = @_;
        my $c = $io->conn();
        $c->send(rq('/', keep => 1));
        $c->seen(qr/one/);
        reload($io);
        $io->gate('go');
        $c->eof();
    });


my %files = differ_certificate();

if (%files) {
    $origin .= <<'END';
    server {
        listen 127.0.0.1:%%ORIGINSSL%% ssl;
        ssl_certificate %%HTML%%/cert.pem;
        ssl_certificate_key %%HTML%%/key.pem;
        location / { return 200 "origin tls $uri"; }
    }
END
}

differ(cases => \@cases, origin => $origin, files => \%files);
