#!/usr/bin/perl

# What the last attempt failed with is replaced by the error_page of the
# location as plain nginx would do it, after attempts of which nothing is seen:
# the same page, the same requests to a page that is proxied, the same line in
# the access log but for the earlier attempts.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Ways;
use Ways::Nginx qw(request shape);
use Ways::Same qw(use_nginx chains exchange same h2);


my $curl = `curl --version 2>/dev/null` // '';
my $h2 = $curl =~ /HTTP2/ && Ways::Nginx::has('http_v2_module');

# failures say all that must not get through, or only as plain nginx has it

sub failure {
    my ($status, $is) = @_;

    return reply($status, $status == 304 ? undef : "original $status\n",
                 "X-Is: $is", "WWW-Authenticate: Basic realm=\"$is\"",
                 "Location: /$is", "Refresh: 1; url=/$is", 'Retry-After: 7',
                 "Set-Cookie: is=$is", "Allow: $is", "Cache-Control: $is",
                 "Content-Type: text/$is", 'Content-Range: bytes */7');
}

sub page {
    my ($r) = @_;

    my $h = $r->{h};

    return reply(200, "page $r->{method} $r->{uri} " . sum($r->{body})
                      . ' ' . ($h->{'x-page'}[0] // '-')
                      . ' ' . ($h->{'content-length'}[0] // '-') . "\n",
                 'X-Is: page', 'Content-Type: text/page');
}

my @codes = (301, 302, 303, 304, 307, 400, 401, 403, 404, 405, 410, 413, 416,
             429, 500, 501, 503, 504);

ways(
    (map { my $status = $_; ("s$_" => sub { failure($status, "s$status") }) }
         @codes, 408),
    limited => sub { failure(429, 'limited') },
    gone => sub { [close => 1] },
    mute => sub { [eof => 1] },
    garbage => sub { "HTTP/1.1 200 OK\r\nX: \0\r\n\r\n" },
    huge => sub { reply(200, 'x', 'X-Is: ' . 'x' x 9000) },
    kept => sub { reply(503, 'sorry', 'X-Is: kept', 'X-Accel-Expires: 60') },
    rated => sub { reply(503, 'sorry', 'X-Accel-Limit-Rate: 123456') },
    page => \&page,
    fcgi_limited => sub {
        fcgi($_[0], "Status: 429 No\r\nX-Is: limited\r\n\r\nslow down\n")
    },
    fcgi_gone => sub { [close => 1] },
    fcgi_401 => sub {
        fcgi($_[0], "Status: 401 No\r\nX-Is: fcgi\r\n"
                    . "WWW-Authenticate: Basic realm=\"fcgi\"\r\n\r\nwho?\n")
    },
    fcgi_503 => sub {
        fcgi($_[0], "Status: 503 No\r\nX-Is: fcgi\r\n\r\nsorry\n")
    },
    fcgi_garbage => sub { fcgi($_[0], "Status: 200\r\nX\0: y\r\n\r\n") },
    memcached_gone => sub { [close => 1] },
    memcached_miss => sub { "END\r\n" },
);


# ---- every end of a chain, and every page -----------------------------------

# "way a b c;" is a chain, or plain nginx with the step that decides: the last
# one or the one with an asterisk

my %made = (refused => 502, none => 502, gone => 502, garbage => 502,
            huge => 502, mute => 504);

my @kinds = (sort(keys %made), map { "s$_" } @codes);

my %page = (
    static => '%s /static',
    static_200 => '%s =200 /static',
    static_503 => '%s =503 /static',
    static_any => '%s = /static',
    named => '%s @page',
    named_any => '%s = @page',
    nothing => '%s = @nothing',
    proxied => '%s /page/x?y=z',
    proxied_any => '%s = /page/x?y=z',
    at_proxied => '%s @proxied',
    at_proxied_any => '%s = @proxied',
    variable => '%s /page/$status$is_args$args',
    missing => '%s /missing',
    denied => '%s /denied',
    locked => '%s /locked',
    url => '%s http://127.0.0.1/else',
    url_307 => '%s =307 http://127.0.0.1/else',
    other => '418 /static',
    chain => '%s /chain',
);

my $locations = '';

for my $kind (@kinds) {
    my $code = $kind =~ /^s(\d+)/ ? $1 : $made{$kind};
    my $more = $kind eq 'mute' ? 'proxy_read_timeout 60ms;' : '';
    my $failed = $kind eq 'mute' ? 'refused' : 'limited gone';

    for (sort keys %page) {
        my $page = sprintf $page{$_} =~ s/^418/418%.0s/r, $code;

        $locations .= <<"EOC";
location = /$kind/$_ {
    way $failed $kind;
    $more
    proxy_intercept_errors on;
    error_page $page;
}
EOC
    }
}


# ---- all the rest -----------------------------------------------------------

$locations .= <<'EOC';
location = /next { return 200 "next\n"; }
location = /static {
    add_header X-Static $upstream_http_x_is always;
    default_type text/static;
    root %%DIR%%/html;
}
location = /missing { root %%DIR%%/html; }
location = /denied { deny all; root %%DIR%%/html; }
location = /locked { auth_basic here; auth_basic_user_file %%DIR%%/none; }
location @page { return 200 "named $uri $status $request_method\n"; }
location @nothing { return 204; }
location /page/ {
    proxy_pass http://page;
    proxy_set_header X-Page "$status $request_uri";
    proxy_set_header Connection "";
}
location @proxied {
    proxy_pass http://page;
    proxy_set_header X-Page "$status $request_uri";
    proxy_set_header Connection "";
}
location = /chain { way page* limited; }

location = /recursive {
    way limited gone s503;
    proxy_intercept_errors on;
    recursive_error_pages on;
    error_page 503 = @again;
}
location = /flat {
    way limited gone s503;
    proxy_intercept_errors on;
    error_page 503 = @again;
}
location @again {
    proxy_pass http://s404;
    proxy_intercept_errors on;
    error_page 404 = @page;
}
location = /itself {
    way limited gone s503;
    proxy_intercept_errors on;
    recursive_error_pages on;
    error_page 503 /itself;
}

location /body/ {
    client_max_body_size 10;

    location /body/none { way limited gone page; }
    location /body/static {
        way limited gone page;
        error_page 400 413 /static;
    }
    location /body/any {
        way limited gone page;
        error_page 400 413 =200 /static;
    }
    location /body/named {
        way limited gone page;
        error_page 400 413 @page;
    }
    location /body/proxied {
        way limited gone page;
        error_page 400 413 /page/x;
    }
    location /body/at_proxied {
        way limited gone page;
        error_page 400 413 = @proxied;
    }
    location /body/chain {
        way limited gone page;
        error_page 400 413 = /chain;
    }
}

location = /fcgi_401 {
    fway fcgi_limited fcgi_gone fcgi_401;
    fastcgi_intercept_errors on;
    error_page 401 503 /static;
}
location = /fcgi_503 {
    fway fcgi_limited fcgi_gone fcgi_503;
    fastcgi_intercept_errors on;
    error_page 401 503 /page/x;
}
location = /fcgi_garbage {
    fway fcgi_limited fcgi_gone fcgi_garbage;
    error_page 502 = @proxied;
}
location = /fcgi_off {
    fway fcgi_limited fcgi_gone fcgi_503;
    error_page 401 503 /static;
}
location = /fcgi_page {
    way limited gone s503;
    proxy_intercept_errors on;
    error_page 503 = @fcgi_page;
}
location @fcgi_page { fastcgi_pass fcgi_401; }

location = /middle {
    way s401 s503 s302 page;
    retry_chain_success 200;
    proxy_intercept_errors on;
    error_page 302 401 503 /static;
}
location = /middle_last {
    way s401 s302 s503;
    retry_chain_success 200;
    proxy_intercept_errors on;
    error_page 302 401 503 /static;
}
location = /success {
    way limited gone s404;
    retry_chain_success 200 404;
    proxy_intercept_errors on;
    error_page 404 = @proxied;
}
location = /stop {
    way limited gone s404* page;
    retry_chain_stop 404;
    proxy_intercept_errors on;
    error_page 404 = @proxied;
}
location = /unsafe {
    way limited gone page;
    retry_chain_non_idempotent safe;
    error_page 502 = @proxied;
}
location = /wait {
    way limited gone s503;
    retry_chain page wait=50s;
    retry_chain_timeout 20s;
    proxy_intercept_errors on;
    error_page 503 = @proxied;
}
location = /hard {
    way refused refused mute;
    retry_chain_timeout 400ms;
    error_page 504 = @proxied;
}
location = /timeout {
    way refused refused mute timeout=100ms;
    error_page 504 /static;
}

location = /kept {
    way limited gone kept;
    proxy_cache cache;
    proxy_cache_key $server_name$proxy_host;
    proxy_intercept_errors on;
    error_page 503 = @proxied;
}
location = /big {
    way limited gone s503;
    client_body_buffer_size 1k;
    client_max_body_size 1m;
    proxy_intercept_errors on;
    error_page 503 = @proxied;
}
location = /file {
    way limited gone s503;
    client_body_in_file_only clean;
    proxy_intercept_errors on;
    error_page 503 /page/x;
}
location = /if {
    way limited gone s503;
    proxy_intercept_errors on;
    error_page 503 = @proxied;
    if ($arg_a) { error_page 503 /static; }
}
location = /mapped {
    way limited gone s503;
    proxy_set_header X-Mapped $mapped;
    proxy_set_header Connection "";
    proxy_intercept_errors on;
    error_page 503 = /mapped_page;
}
location = /mapped_page { return 200 "$mapped\n"; }
location = /rated {
    way limited gone rated;
    proxy_intercept_errors on;
    error_page 503 /static;
}

location = /reached { root %%DIR%%/none; error_page 404 /reached_chain; }
location = /reached_200 {
    root %%DIR%%/none;
    error_page 404 =200 /reached_chain;
}
location = /reached_at { root %%DIR%%/none; error_page 404 = @reached; }
location = /reached_chain { way limited gone page; }
location @reached { way limited gone page; }
location = /reached_401 {
    proxy_pass http://s401;
    proxy_intercept_errors on;
    error_page 401 @reached;
}

location = /client_timeout {
    way s408 limited s503;
    proxy_intercept_errors on;
    error_page 408 503 /static;
}

location = /memcached {
    way limited @memcached_gone @memcached_miss;
    error_page 404 = @proxied;
}
location @memcached_miss {
    set $memcached_key a;
    memcached_pass memcached_miss;
    error_page 404 = @proxied;
}
location @memcached_gone {
    set $memcached_key a;
    memcached_pass memcached_gone;
}
location = /step {
    way limited gone @step;
    error_page 503 /static;
}
location @step { proxy_pass http://s503; }
location = /step_return {
    way limited gone @step_return;
    error_page 503 /static;
}
location @step_return { return 503; error_page 503 /static; }
location = /step_intercept {
    way limited gone @step_intercept;
    error_page 401 /static;
}
location @step_intercept {
    proxy_pass http://s401;
    proxy_intercept_errors on;
    error_page 401 /static;
}
location = /step_own { way limited gone @step_own; }
location @step_own {
    proxy_pass http://s503;
    proxy_intercept_errors on;
    error_page 503 /static;
}
location = /step_file { way limited gone @step_file; }
location @step_file { root %%DIR%%/none; error_page 404 = /page/x; }
EOC

my %listen = map { ($_ => "listen unix:%%DIR%%/$_; server_name $_;"
                          . ($h2 ? "listen unix:%%DIR%%/$_.h2 http2;" : '')) }
                 qw(chain plain);
my $format = '$request_uri $uri $status [$upstream_status] [$upstream_addr]'
             . ' $upstream_http_x_is $bytes_sent $body_bytes_sent'
             . ' $request_completion $limit_rate';

my $ways = ways_upstreams() && ways_dir();
my $n = Ways::Nginx->start(http => <<"EOC");
map \$uri \$mapped { default "\$uri was mapped"; }
proxy_cache_path %%DIR%%/cache keys_zone=cache:1m;
retry_chain_non_idempotent on;
retry_chain_stop off;
lingering_close off;
upstream refused { server 127.0.0.1:1; }
upstream none { server 127.0.0.1:1 down; }
log_format chain '$format | \$retry_chain_result [\$retry_chain_steps]'
                 ' [\$retry_chain_statuses]';
log_format plain '$format';

server { listen %%PORT%%; }
server {
    $listen{chain}
    access_log %%DIR%%/logs/chain.log chain;
    @{[ chains($locations) ]}
}
server {
    $listen{plain}
    access_log %%DIR%%/logs/plain.log plain;
    @{[ chains($locations, 1) ]}
}
EOC

mkdir "$n->{dir}/html";
open my $out, '>', "$n->{dir}/html/static" or die;
print $out "a static page\n";
close $out;

use_nginx($n);

for my $kind (@kinds) {
    my $code = $kind =~ /^s(\d+)/ ? $1 : $made{$kind};
    my $before = $kind eq 'mute' ? 'refused:502'
                                 : 'limited:429, gone:502';
    my $result = $code < 400 ? 'success' : 'exhausted';

    for my $page (sort keys %page) {
        next if $kind eq 'mute'
                && $page !~ /^(?:static|named_any|proxied|at_proxied)$/;

        for my $method (qw(GET HEAD POST)) {
            next if $method ne 'GET' && $kind !~ /^(?:refused|s302|s401|s503)$/;

            same("/$kind/$page?a", method => $method, before => $before,
                 run => "$result, $kind:$code");
        }
    }
}

my $a = same('/s401/proxied', run => 'exhausted, s401:401');
is($a->{h}{'www-authenticate'}[0], 'Basic realm="s401"',
   'an intercepted 401 says whom to ask');


# ---- pages that fail, too ---------------------------------------------------

for my $method (qw(GET HEAD POST)) {
    same($_, method => $method, run => 'exhausted, s503:503')
        for qw(/recursive /flat /itself);
}


# ---- a body that cannot be read: no attempts --------------------------------

for my $page (qw(none static any named proxied at_proxied)) {
    my $uri = "/body/$page";
    my $post = "POST $uri HTTP/1.1\r\nHost: a\r\n";
    my %bad = (
        'length' => ['', "Content-Length: 20\r\n\r\n" . 'x' x 20],
        chunked => ['aborted', "Transfer-Encoding: chunked\r\n\r\n"
                               . chunks('x' x 20)],
        garbage => ['aborted', "Transfer-Encoding: chunked\r\n\r\nzz\r\n"],
    );

    for my $bad (sort keys %bad) {
        my ($run, $rest) = @{ $bad{$bad} };

        same($uri, request => $post . $rest, name => "$uri $bad",
             before => '', run => $run);
    }
}

# the run is over when a page with a chain is reached

$a = chain("POST /body/chain HTTP/1.1\r\nHost: a\r\n"
           . "Transfer-Encoding: chunked\r\n\r\nzz\r\n");
like($a->{body}, qr{^page GET /chain }, 'a page with a chain runs plainly');
like($a->{log}, qr/ 200 \[200\] \[\S*page\] .*\| aborted \[-\] \[-\]$/,
     'and its log');


# ---- FastCGI ----------------------------------------------------------------

my $fcgi = 'fcgi_limited:429, fcgi_gone:502';

for my $method (qw(GET HEAD POST)) {
    same('/fcgi_401', method => $method, before => $fcgi,
         run => 'exhausted, fcgi_401:401');
    same('/fcgi_503', method => $method, before => $fcgi,
         run => 'exhausted, fcgi_503:503');
    same('/fcgi_off', method => $method, before => $fcgi,
         run => 'exhausted, fcgi_503:503');
    same('/fcgi_garbage', method => $method, before => $fcgi,
         run => 'exhausted, fcgi_garbage:502');
    same('/fcgi_page', method => $method, run => 'exhausted, s503:503');
}


# ---- verdicts ---------------------------------------------------------------

same('/middle', before => 's401:401, s503:503, s302:302',
     run => 'success, page:200');
same('/middle_last', before => 's401:401, s302:302',
     run => 'exhausted, s503:503');
same('/success', run => 'success, s404:404');
like(chain(request('POST', '/success', 'abc'))->{body},
     qr{^page POST /success 3:\S+ 000 /success 3$}, 'of a success, POST');

same('/stop', run => 'stopped, s404:404');
same('/wait', run => 'deadline, s503:503');

my %verdict = (
    'POST /unsafe' => 'unsafe [limited, gone] [429, 502]',
    'GET /hard' => 'deadline [refused, refused, mute] [502, 502, 504]',
    'GET /timeout' => 'exhausted [refused, refused, mute] [502, 502, 504]',
);

for my $what (sort keys %verdict) {
    my ($method, $uri) = split / /, $what;
    my $a = chain(request($method, $uri, $method eq 'POST' ? 'abc' : '', 1)
                  . request('GET', '/next', ''));

    like($a->{body}, $uri eq '/timeout' ? qr/^a static page$/
                                        : qr/^page $method $uri /,
         "$what: the page");
    like($a->{rest}, qr/\r\n\r\nnext\n$/, "$what: and the next");
    is($a->{log} =~ s/.*\| //r, $verdict{$what}, "$what: the log");
}


# ---- other ways to come and go ----------------------------------------------

for my $time (1, 2) {
    same('/kept', run => 'exhausted, kept:503', name => "/kept, $time");
}

same($_, method => 'POST', run => 'exhausted, s503:503', body => lines(70_000))
    for qw(/big /file);
same('/mapped', run => 'exhausted, s503:503');
same("/if$_", run => 'exhausted, s503:503') for '', '?a=b';
same($_, run => 'success, page:200') for qw(/reached /reached_200 /reached_at);
same('/reached', method => 'POST', run => 'success, page:200');

# several on one connection

my ($one, $two) = map {
    my $plain = $_;
    my @uris = qw(/s401/proxied /s503/static /refused/at_proxied
                  /s302/named /s404/missing);

    my $a = exchange($plain, join('', (map { request('GET', $_, '', 1) }
                                           (@uris) x 4),
                                  request('GET', '/next', '')));
    shape($a) . $a->{rest} =~ s/^Date: .*\r\n//mgr;
} 0, 1;

is($one, $two, 'twenty on one connection');
is(() = $one =~ m{^HTTP/1.1 }mg, 21, 'and another one');

$a = chain("GET /s503/proxied HTTP/1.0\r\n\r\n");
like($a->{raw}, qr{^HTTP/1.1 503 .*\r\nConnection: close\r\n.*\r\n\r\npage }s,
     'HTTP/1.0');

SKIP: {
    skip 'no HTTP/2', 1 if !$h2;

    for my $uri (qw(/s401/static /s302/named /s503/proxied /refused/at_proxied
                    /mute/static /garbage/url /s429/nothing))
    {
        for my $how ('', '-I', '-d abc') {
            my $a = h2('chain', $how, $uri);

            like($a, qr{^HTTP/2 \d}, "HTTP/2: $how $uri, an answer");
            is($a, h2('plain', $how, $uri), "HTTP/2: $how $uri");
        }
    }
}


# ---- @location steps --------------------------------------------------------

for my $method (qw(GET HEAD)) {
    same('/memcached', method => $method,
         before => 'limited:429, @memcached_gone(memcached_gone):502',
         run => 'exhausted, @memcached_miss:404');
    same('/step', method => $method, run => 'exhausted, @step:503');
    same('/step_return', method => $method,
         run => 'exhausted, @step_return:503');
    same('/step_intercept', method => $method,
         run => 'exhausted, @step_intercept:401');
}


# ---- what has been wrong ----------------------------------------------------

same('/reached_401', run => 'success, page:200', kept => 1);

same('/client_timeout', before => 's408:408, limited:429',
     run => 'exhausted, s503:503');

same('/rated', run => 'exhausted, rated:503');

same('/step_own', run => 'exhausted, @step_own(s503):503');
same('/step_file', run => 'exhausted, @step_file:404');


# ---- afterwards -------------------------------------------------------------

is($n->bad(), '', 'a clean log');
$n->signal('QUIT');
ok($n->ended(5), 'the end');
is($n->bad(), '', 'a clean log at the end');

done_testing();

sub chain {
    my ($request) = @_;

    $request =~ s/\r\nHost: a\r\n\K/Connection: close\r\n/
        if $request !~ /^Connection:/m;

    return exchange(0, $request);
}
