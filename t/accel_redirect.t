#!/usr/bin/perl

# X-Accel-Redirect of an attempt that is the answer: the client's request goes
# where plain nginx would send it, with its access rules, its headers and its
# line in the log.  One of an attempt that failed leads nowhere.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Socket::UNIX;
use Test::More;

use Ways;
use Ways::Nginx qw(request shape);
use Ways::Same qw(use_nginx chains exchange h2);


my $curl = `curl --version 2>/dev/null` // '';
my $h2 = $curl =~ /HTTP2/ && Ways::Nginx::has('http_v2_module');

my @kept = ('X-Is: to', 'Content-Type: image/x-test', 'Set-Cookie: k=1',
            'Set-Cookie: l=2', 'Cache-Control: private', 'Expires: 0',
            'Last-Modified: Thu, 01 Jan 2009 00:00:00 GMT', 'ETag: "to"',
            'Accept-Ranges: none', 'Content-Disposition: attachment',
            'Content-Range: bytes 0-5/6', 'Content-Language: xx',
            'Location: /to', 'Refresh: 1; url=/to', 'Link: </to>',
            'Retry-After: 3', 'WWW-Authenticate: Basic realm="to"');

my @accel = ('X-Accel-Charset: koi8-r', 'X-Accel-Limit-Rate: 1000000',
             'X-Accel-Buffering: no', 'X-Accel-Expires: 60');

# a reply that leads to where the client says, or as it is said here

sub away {
    my ($status, @headers) = @_;

    return sub {
        my ($r) = @_;
        my $to = $r->{h}{'x-to'}[0] // '/static';

        return answer($r, $status, @headers,
                      (grep { /^X-Accel-Redirect:/ } @headers)
                      ? () : "X-Accel-Redirect: $to");
    };
}

sub answer {
    my ($r, $status, @headers) = @_;

    return reply($status, undef, 'Content-Length: 9', @headers)
           . ($r->{method} eq 'HEAD' ? '' : 'not this' . "\n");
}

sub page {
    my ($r) = @_;

    my $body = "page $r->{method} $r->{uri} " . sum($r->{body})
               . ' ' . ($r->{h}{'x-page'}[0] // '-')
               . ' ' . ($r->{h}{'content-length'}[0] // '-') . "\n";

    return reply(200, $r->{method} eq 'HEAD' ? undef : $body, 'X-Is: page');
}

ways(
    to => away(200, @kept),
    to_302 => away(302, @kept),
    to_404 => away(404, @kept),
    to_429 => away(429, @kept),
    to_503 => away(503, @kept),
    to_accel => away(200, @kept, @accel),
    to_again => away(200, 'X-Accel-Redirect: /static', 'X-Is: again',
                     'Set-Cookie: again=1', 'Content-Type: text/again'),
    to_itself => away(200, 'X-Accel-Redirect: /itself', 'Set-Cookie: i=1'),
    to_cache => away(200, 'X-Accel-Expires: 60'),
    to_ranges => away(200, 'X-Accel-Expires: 60', 'Accept-Ranges: bytes'),
    to_charset => away(200, 'Content-Type: text/plain; charset=utf-8'),
    limited => sub { answer($_[0], 429, map { s/\bto\b/failed/r } @kept) },
    lost => away(429, @kept, 'X-Accel-Redirect: /denied',
                 'X-Accel-Charset: utf-8', 'X-Accel-Limit-Rate: 7'),
    lost_at => away(503, @kept, 'X-Accel-Redirect: @named'),
    lost_nowhere => away(503, @kept, 'X-Accel-Redirect: @nowhere'),
    lost_unsafe => away(503, @kept, 'X-Accel-Redirect: /../x'),
    gone => sub { [close => 1] },
    s503 => sub { answer($_[0], 503) },
    page => \&page,
    fresh => sub { reply(200, 'fresh', 'X-Is: fresh', 'X-Accel-Expires: 60') },
    never => sub { reply(200, 'never', 'X-Is: never', 'X-Accel-Expires: 0') },
    fcgi_lost => sub {
        fcgi($_[0], "Status: 503 No\r\nX-Accel-Redirect: /denied\r\n\r\nno\n")
    },
    fcgi_gone => sub { [close => 1] },
    fcgi_to => sub {
        my $to = $_[0]{h}{HTTP_X_TO} // '/static';
        fcgi($_[0], "X-Accel-Redirect: $to\r\nSet-Cookie: f=1\r\n"
                    . "Content-Type: text/fcgi\r\n\r\nno\n")
    },
);

my @targets = qw(
    /static /static?x=y /st%61tic static /big
    /denied /allowed /locked /asked /let_in /only_get /inner
    /page/x?y=z /text/x?y=z /missing /nowhere /../x /moved /nothing
    @named @proxied @denied @locked @nowhere
    /again @again /chain @chain /cached @cached
    /tried /rewritten /own_page /broken /broken_at /rate /charset /mirrored
    /small
);

# "way a b c;" is a chain, or plain nginx with the step that decides: the last
# one or the one with an asterisk

my $locations = <<'EOC';
location = /first { way to* limited gone; }
location = /second { way limited to* gone; }
location = /last { way limited gone to; }
location = /accel { way limited gone to_accel; }
location = /charset_of { way limited gone to_charset; }

location = /lost { way lost lost_at lost_nowhere lost_unsafe to; }
location = /lost_page { way lost lost_at lost_nowhere lost_unsafe page; }
location = /failed { way limited gone to_503; }
location = /failed_all { way lost lost_at to_503; }
location = /failed_302 { way limited to_429 to_302; }
location = /success {
    way to gone to_404;
    retry_chain_success 404;
}
location = /stop {
    way limited to_404* gone;
    retry_chain_stop 404;
}
location = /unsafe {
    way limited to_503* page;
    retry_chain_non_idempotent safe;
}
location = /rule {
    way limited to_503;
    retry_chain_retry http_503 attempts=3 interval=1ms;
    retry_chain_retry_after off;
}
location = /wait {
    way limited to_503;
    retry_chain page wait=50s;
    retry_chain_timeout 20s;
}

location = /intercepted {
    way limited gone to_503;
    proxy_intercept_errors on;
    error_page 503 /page/x;
}
location = /not_intercepted {
    way lost to_503 to;
    proxy_intercept_errors on;
    error_page 503 429 /page/x;
}
location = /own {
    way limited gone to;
    error_page 401 403 404 500 /page/own;
    add_header X-Own 1 always;
}
location = /ignored {
    way limited to_503 to;
    proxy_ignore_headers X-Accel-Redirect;
    proxy_pass_header X-Accel-Redirect;
}
location = /unbuffered {
    way limited gone to_accel;
    proxy_ignore_headers X-Accel-Redirect;
}
location = /fcgi { fway fcgi_lost fcgi_gone fcgi_to; }
location = /step { way limited gone @step; }
location @step { proxy_pass http://to; add_header X-Step 1; }
location = /step_set { way limited gone @step_set; }
location @step_set { set $foo bar; proxy_pass http://to; }
location = /step_rewrite { way limited gone @step_rewrite; }
location @step_rewrite { rewrite ^ /other?arg break; proxy_pass http://to; }
location = /itself { way limited gone to_itself; }
location = /mapped {
    way limited gone to;
    proxy_set_header X-Mapped $mapped;
    proxy_set_header Connection "";
}
location = /mapped_static { return 200 "$mapped\n"; }
location = /file {
    way limited gone to;
    client_body_in_file_only clean;
}
location = /next_server {
    way limited two_servers;
    proxy_next_upstream http_503;
}

location /kept/ {
    proxy_cache cache;
    proxy_cache_key $server_name$uri$proxy_host;
    proxy_cache_valid 200 1m;

    location = /kept/fresh { way limited gone fresh; }
    location = /kept/never { way limited gone never; }
    location = /kept/away { way limited gone to_cache; }
    location = /kept/ranges { way limited gone to_ranges; }
}

location = /next { return 200 "next\n"; }
location = /static {
    internal;
    add_header X-Static $upstream_http_x_is always;
    add_header X-Method $request_method;
    default_type text/static;
    root %%DIR%%/html;
}
location = /big { root %%DIR%%/html; }
location = /denied { deny all; root %%DIR%%/html; }
location = /allowed { allow unix:; deny all; return 200 "allowed\n"; }
location = /locked {
    auth_basic here;
    auth_basic_user_file %%DIR%%/html/users;
    root %%DIR%%/html;
}
location = /asked { auth_request /no; root %%DIR%%/html; }
location = /no { internal; return 403; }
location = /let_in {
    auth_request /yes;
    auth_request_set $seen $upstream_http_x_is;
    add_header X-Seen $seen;
    alias %%DIR%%/html/static;
}
location = /yes {
    internal;
    proxy_pass http://page;
    proxy_pass_request_body off;
    proxy_set_header Content-Length "";
    proxy_set_header Connection "";
}
location = /only_get { limit_except GET { deny all; } proxy_pass http://page; }
location = /inner { internal; return 200 "inner $foo\n"; }
location /page/ {
    proxy_pass http://page;
    proxy_set_header X-Page "$uri $request_method";
    proxy_set_header Connection "";
}
location /text/ { return 200 "text $uri $args $request_method\n"; }
location = /missing { root %%DIR%%/html; }
location = /moved { return 301 http://127.0.0.1/else; }
location = /nothing { return 204; }
location @named {
    add_header X-Named $upstream_http_x_is;
    return 200 "named $uri $args $foo $request_method\n";
}
location @proxied {
    proxy_pass http://page;
    proxy_set_header X-Page "$uri $request_method";
    proxy_set_header Connection "";
}
location @denied { deny all; root %%DIR%%/html; }
location @locked {
    auth_basic here;
    auth_basic_user_file %%DIR%%/html/users;
    root %%DIR%%/html;
}
location = /again { proxy_pass http://to_again; }
location @again { proxy_pass http://to_again; }
location = /chain { way page* limited; }
location @chain { way page* limited; }
location = /cached { proxy_pass http://fresh; include %%DIR%%/html/cache; }
location @cached { proxy_pass http://fresh; include %%DIR%%/html/cache; }
location = /tried { root %%DIR%%/html; try_files /none /static =404; }
location = /rewritten { rewrite ^ /text/new?x=y last; }
location = /own_page { root %%DIR%%/html; error_page 404 = /page/x; }
location = /broken { proxy_pass http://gone; }
location = /broken_at { proxy_pass http://gone; error_page 502 = @named; }
location = /rate { limit_rate 3m; proxy_pass http://page; }
location = /charset {
    charset utf-8;
    source_charset koi8-r;
    override_charset on;
    default_type text/html;
    alias %%DIR%%/html/static;
}
location = /mirrored { mirror /mirror; proxy_pass http://page; }
location = /mirror { internal; proxy_pass http://s503; }
location = /small { client_max_body_size 1; return 200 "small\n"; }

location = /plainly { proxy_pass http://to; }
location = /run { way limited gone page; }

location = /logged { way lost lost_at to; }
location @logged { log_subrequest on; return 200 "logged\n"; }
location = /logged_step { way limited gone @logged_step; }
location @logged_step { log_subrequest on; proxy_pass http://page; }
EOC

$locations =~ s{include %%DIR%%/html/cache;}{
    proxy_cache cache;
    proxy_cache_key \$server_name\$uri\$proxy_host;
}g;

my %listen = map { ($_ => "listen unix:%%DIR%%/$_; server_name $_;"
                          . ($h2 ? "listen unix:%%DIR%%/$_.h2 http2;" : '')) }
                 qw(chain plain);
my $format = '$request_uri $uri $args $request_method $status'
             . ' [$upstream_status] [$upstream_addr] $upstream_http_x_is'
             . ' $upstream_cache_status $bytes_sent $body_bytes_sent'
             . ' $request_completion $limit_rate $sent_http_content_type';

my $ways = ways_upstreams() && ways_dir();
my $n = Ways::Nginx->start(http => <<"EOC");
proxy_cache_path %%DIR%%/cache keys_zone=cache:1m;
map \$uri \$mapped { default "\$uri was mapped"; }
upstream two_servers {
    server unix:$ways/lost_at max_fails=0;
    server unix:%%DIR%%/deaf max_fails=0 backup;
}
charset_map koi8-r utf-8 { f2 d182; d5 d183; }
retry_chain_non_idempotent on;
lingering_close off;
log_format chain '$format | \$retry_chain_result [\$retry_chain_steps]'
                 ' [\$retry_chain_statuses]';
log_format plain '$format';

server { listen %%PORT%%; }
server {
    $listen{chain}
    access_log %%DIR%%/logs/chain.log chain;
    set \$foo server;
    @{[ chains($locations) ]}
}
server {
    $listen{plain}
    access_log %%DIR%%/logs/plain.log plain;
    set \$foo server;
    @{[ chains($locations, 1) ]}
}
EOC

my %file = (static => "a static page\n", big => lines(300_000),
            users => "me:{PLAIN}pass\n");

$file{$_} = "$_\n" for qw(denied locked asked);
mkdir "$n->{dir}/html";

for (sort keys %file) {
    open my $out, '>', "$n->{dir}/html/$_" or die;
    print $out $file{$_};
    close $out;
}

use_nginx($n);
my $away = 'success, to:200';


# ---- every target, from the first, the second and the last attempt ----------

for my $to (@targets, '') {
    same('/first', to => $to, before => '', run => $away);
    same('/second', to => $to, before => 'limited:429', run => $away);
    same('/last', to => $to, method => $_, run => $away) for qw(GET HEAD POST);
}

my $a = same('/last', run => $away);

is("$a->{status} $a->{body}", "200 a static page\n", 'where to');
is("@{ $a->{h}{'set-cookie'} }", 'k=1 l=2', 'with its cookies');
unlike($a->{head}, qr/failed/, 'and not those of the failures');

$a = same('/last', to => '/page/x?y=z', method => 'POST', run => $away);
like($a->{body}, qr{^page GET /page/x\?y=z 14:\S+ /page/x GET 14$},
     'POST becomes GET, with the body as in plain nginx');

$a = same('/last', to => '@proxied', method => 'POST', run => $away);
like($a->{body}, qr{^page POST /last 14:\S+ /last POST 14$},
     'but not on the way to a named location');


# ---- access rules -----------------------------------------------------------

my %rule = ('/denied' => 403, '@denied' => 403, '/locked' => 401,
            '@locked' => 401, '/asked' => 403, '/allowed' => 200,
            '/let_in' => 200, '/inner' => 200);

for my $to (sort keys %rule) {
    for my $uri (qw(/first /second /last /failed /step)) {
        my $a = chain($uri, "X-To: $to");
        is($a->{status}, $rule{$to}, "$uri: $to");
        unlike($a->{body}, qr/^(?:denied|locked|asked)$/, "$uri: $to is kept");
    }
}

for my $to (qw(/locked @locked)) {
    for my $word ('bWU6cGFzcw==', 'bWU6cGFzdA==') {
        same('/last', to => $to, h => "Authorization: Basic $word",
             run => $away, name => "$to, $word");
    }
}

like(chain('/last', 'X-To: /locked', 'Authorization: Basic bWU6cGFzcw==')
     ->{body}, qr/^locked$/, 'who knows the word gets in');

is(chain('/static')->{status}, 404, 'internal is internal');


# ---- of a failure -----------------------------------------------------------

my $lost = 'lost:429, lost_at:503, lost_nowhere:503, lost_unsafe:503';

for my $method (qw(GET HEAD POST)) {
    for my $to (qw(/static /page/x @named /denied)) {
        my @arg = (method => $method, to => $to);

        same('/lost', @arg, before => $lost, run => $away);
        same('/failed', @arg, run => 'exhausted, to_503:503');
        same('/failed_all', @arg, before => 'lost:429, lost_at:503',
             run => 'exhausted, to_503:503');
        same('/failed_302', @arg, before => 'limited:429, to_429:429',
             run => 'success, to_302:302');
        same('/success', @arg, before => 'to:200, gone:502',
             run => 'success, to_404:404');
        same('/stop', @arg, before => 'limited:429',
             run => 'stopped, to_404:404');
        same('/rule', @arg, before => 'limited:429, to_503:503, to_503:503',
             run => 'exhausted, to_503:503');
        same('/wait', @arg, before => 'limited:429',
             run => 'deadline, to_503:503');
    }

    same('/lost_page', method => $method, before => $lost,
         run => 'success, page:200');
}

same('/unsafe', method => 'POST', to => $_, before => 'limited:429',
     run => 'unsafe, to_503:503') for qw(/static /page/x @named /denied);

$a = chain('/unsafe', 'X-To: /denied');
like("$a->{status} $a->{log}", qr/^200 .*\| success \[limited, to_503, page\]/,
     'what may be repeated is');


# ---- the other X-Accel headers ----------------------------------------------

for my $method (qw(GET HEAD POST)) {
    same('/accel', method => $method, to => $_, run => 'success, to_accel:200')
        for qw(/static /big /page/x @named @proxied /charset /rate /text/x
               /denied /missing /moved /again /cached);
}

$a = chain('/accel', 'X-To: /page/x');
like($a->{log}, qr/ 1000000 image\/x-test; charset=koi8-r \|/,
     'X-Accel-Limit-Rate and X-Accel-Charset hold');

for my $time (1, 2, 3) {
    my $hit = $time > 1;

    for (['fresh', $hit ? 'HIT' : 'MISS'], ['never', 'MISS'], ['away', '-']) {
        my ($uri, $cache) = @$_;
        my $way = $uri eq 'away' ? 'to_cache' : $uri;

        my $a = same("/kept/$uri", run => "success, $way:200",
                     name => "/kept/$uri, $time");
        like($a->{log}, qr/ $cache \d+ \d+ OK /, "/kept/$uri, $time: $cache")
            if $uri ne 'away';
    }

    for my $to (qw(/cached @cached)) {
        my $a = same('/kept/away', to => $to, run => 'success, to_cache:200',
                     name => "/kept/away to $to, $time");
        like($a->{log}, $hit ? qr/ HIT / : qr/ (?:MISS|HIT) /,
             "/kept/away to $to, $time: kept");
    }
}

is(chain('/kept/away', "X-To: $_")->{status}, 403, "$_ from a cached location")
    for qw(/denied @denied);


# ---- error pages ------------------------------------------------------------

for my $method (qw(GET HEAD POST)) {
    for my $to (qw(/static /denied @named)) {
        same('/intercepted', method => $method, to => $to,
             run => 'exhausted, to_503:503');
        same('/not_intercepted', method => $method, to => $to,
             before => 'lost:429, to_503:503', run => $away);
    }

    same('/own', method => $method, to => $_, run => $away)
        for qw(/static /denied /locked /missing @nowhere /../x);
}


# ---- not followed, or from elsewhere ----------------------------------------

for my $method (qw(GET HEAD POST)) {
    same('/ignored', method => $method, to => $_, run => $away,
         before => 'limited:429, to_503:503') for qw(/static /denied @nowhere);

    for my $to (qw(/static /page/x?y=z @named @proxied /denied @nowhere
                   /again))
    {
        same('/fcgi', method => $method, to => $to,
             before => 'fcgi_lost:503, fcgi_gone:502',
             run => 'success, fcgi_to:200');
        same('/step', method => $method, to => $to,
             run => 'success, @step(to):200');
    }

    same($_, method => $method, run => 'success, page:200') for '/run';
}

same('/unbuffered', method => $_, run => 'success, to_accel:200')
    for qw(GET POST);
same('/step_set', to => $_, run => 'success, @step_set(to):200')
    for qw(/inner @named);
same('/step_rewrite', to => $_, run => 'success, @step_rewrite(to):200')
    for qw(/static /text/x?y=z /page/x);


same('/mapped', to => '/mapped_static', run => $away);

for my $to (qw(/page/x @proxied /static)) {
    same('/file', method => 'POST', to => $to, body => lines(70_000),
         run => $away);
}


# ---- more than one ----------------------------------------------------------

for my $method (qw(GET HEAD POST)) {
    $a = same('/itself', method => $method, run => 'success, to_itself:200');
    is($a->{status}, 500, "$method /itself: it comes to an end");
}

$a = same('/last', to => '/again', run => $away);
is("@{ $a->{h}{'set-cookie'} }", 'k=1 l=2 again=1', 'the cookies of both');

same('/plainly', to => '/static', before => '', run => '');


# ---- what the client asks for ----------------------------------------------

for my $h ('Range: bytes=2-5', 'Range: bytes=-5', 'Range: bytes=900000-',
           'If-Modified-Since: Thu, 01 Jan 2099 00:00:00 GMT',
           'If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT',
           'If-None-Match: *', 'If-None-Match: "to"')
{
    same('/last', to => $_, h => $h, run => $away, name => "$_, $h")
        for qw(/static /big /page/x);
}

my ($one, $two) = map {
    my $a = exchange($_, join '', (map { to(request('GET', '/last', '', 1), $_)
                                       } (qw(/static /page/x @named /denied
                                             /big)) x 4),
                                  request('GET', '/next', ''));
    shape($a) . $a->{rest} =~ s/^Date: .*\r\n//mgr =~ s/ETag: .*//gr;
} 0, 1;

is($one =~ s/ETag: .*//r, $two =~ s/ETag: .*//r, 'twenty on one connection');
is(() = $one =~ m{^HTTP/1.1 }mg, 21, 'and another one');

like(exchange(0, "GET /last HTTP/1.0\r\nX-To: /page/x\r\n\r\n")->{raw},
     qr{^HTTP/1.1 200 .*\r\nConnection: close\r\n.*\r\n\r\npage GET }s,
     'HTTP/1.0');

SKIP: {
    skip 'no HTTP/2', 1 if !$h2;

    for my $to (qw(/static /big /page/x?y=z @named @proxied /denied /locked
                   @nowhere))
    {
        for my $how ('', '-I', '-d abc') {
            my $a = h2('chain', "$how -H 'X-To: $to'", '/last');

            like($a, qr{^HTTP/2 \d}, "HTTP/2: $how $to, an answer");
            is($a, h2('plain', "$how -H 'X-To: $to'", '/last'),
               "HTTP/2: $how $to");
        }
    }
}


# ---- what has been wrong ----------------------------------------------------

same('/plainly', to => '/run', kept => 1, run => 'success, page:200');

for my $to (qw(@nowhere /../x)) {
    same('/accel', to => $to, run => 'success, to_accel:200');
    same('/charset_of', to => $to, run => 'success, to_charset:200');
}

for my $to (qw(/text/x @named /page/x)) {
    same('/kept/ranges', to => $to, run => 'success, to_ranges:200',
         h => 'Range: bytes=2-5');
}

for my $to (qw(@named @proxied)) {
    same('/step_rewrite', to => $to, run => 'success, @step_rewrite(to):200');
}

same('/unbuffered', method => 'HEAD', run => 'success, to_accel:200');

my $deaf = IO::Socket::UNIX->new(Local => "$n->{dir}/deaf") or die;

same('/next_server', before => 'limited:429',
     run => 'exhausted, two_servers:502');

is(exchange(0, to(request('GET', '/logged', ''), '@logged'))->{lines}, 1,
   'a redirected attempt is not logged');
is(exchange(0, request('GET', '/logged_step', ''))->{lines}, 1,
   'an attempt in an @location is not logged');


# ---- afterwards -------------------------------------------------------------

is($n->bad(), '', 'a clean log');
$n->signal('QUIT');
ok($n->ended(5), 'the end');
is($n->bad(), '', 'a clean log at the end');

done_testing();

sub to {
    my ($request, $to, @more) = @_;

    return $request =~ s/\r\nHost: a\r\n\K/join '', map { "$_\r\n" }
                                           "X-To: $to", @more/er;
}

sub chain {
    my ($uri, @headers) = @_;

    return exchange(0, join("\r\n", "GET $uri HTTP/1.1", 'Host: a', @headers,
                            'Connection: close', '', ''));
}


# a request to an X-Accel-Redirect that leads to "to"

sub same {
    my ($uri, %arg) = @_;

    my $method = $arg{method} // 'GET';
    my $to = $arg{to} // '/static';
    my $body = $arg{body} // ($method eq 'POST' ? "what is sent\n\n" : '');

    return Ways::Same::same($uri, name => "$method $uri to $to",
                            request => to(request($method, $uri, $body, 1),
                                          $to, $arg{h} // ()),
                            %arg);
}
