#!/usr/bin/perl

# A request body that lies in a temporary file and goes to several servers of
# one step: the first fails while a part of it is unsent, or a kept connection
# breaks.  The next one gets the whole body, as without a chain.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(sleep);

use Ways;
use Ways::Nginx qw(request shape);

my $some = lines(40_000);
my $big = lines(1_048_576);

my $tls = Ways::Nginx::has_tls();
my $v2 = Ways::Nginx::has('http_v2_module');

# before, nginx itself sends what was left of the first request, too

my $v2_proxy = $v2 && Ways::Nginx::at_least('1.30.0');
my $grpc = $v2 && Ways::Nginx::at_least('1.31.0');

ways(
    echo => sub { reply(200, sum($_[0]{body}), 'X-Grpc: 0',
                        'Content-Type: application/grpc') },
    fcgi_echo => sub { fcgi($_[0], "\r\n" . sum($_[0]{body})) },
    scgi_echo => sub { "Status: 200 OK\r\n\r\n" . sum($_[0]{body}) },
    uwsgi_echo => sub { "HTTP/1.1 200 OK\r\n\r\n" . sum($_[0]{body}) },
);

ways_upstreams();
my $dir = ways_dir();


# ---- how the body is sent: its sockets, the last one, and directives --------

my %how = (
    sendfile => ['http', '%%DIR%%/good.http',
                 'sendfile on; proxy_pass http://$way;'],
    copied => ['http', '%%DIR%%/good.http', 'proxy_pass http://$way;'],
    little => ['http', '%%DIR%%/good.http',
               'client_body_buffer_size 1k; proxy_pass http://$way;'],
    only => ['http', '%%DIR%%/good.http',
             'client_body_in_file_only clean; proxy_pass http://$way;'],
);

for my $kind (qw(fcgi scgi uwsgi)) {
    my $pass = $kind eq 'fcgi' ? 'fastcgi' : $kind;

    $how{$kind} = ['http', "$dir/${kind}_echo",
                   "${pass}_param REQUEST_URI \$request_uri;"
                   . "${pass}_param CONTENT_LENGTH \$content_length;"
                   . "${pass}_pass \$way;"];
}

$how{tls} = ['tls', '%%DIR%%/good.tls',
             'sendfile on; proxy_pass https://$way;'] if $tls;
$how{grpc} = ['h2', '%%DIR%%/good.h2', 'grpc_pass grpc://$way;'] if $grpc;
$how{http2} = ['h2', '%%DIR%%/good.h2',
               'proxy_http_version 2; proxy_pass http://$way;'] if $v2_proxy;

my %fail = (503 => 'return 503;', reset => 'return 444;');

my ($locations, $groups) = ('', '');

for my $how (sort keys %how) {
    my ($socket, $good, $pass) = @{ $how{$how} };

    for my $fail (sort keys %fail) {
        my $group = "${how}_$fail";

        $groups .= <<"EOC";
upstream $group {
    server unix:%%DIR%%/$fail.$socket max_fails=0;
    server unix:$good backup max_fails=0;
}
EOC
        $locations .= location($group, $pass);
        $locations .= location("at_$group", $pass, "refused \@$group", $group);
        $locations .= "location \@$group {" . $pass =~ s/\$way/$group/r . "}\n";
    }
}

# the same with one server and a connection that it has kept

for my $kept ('kept', 'far') {
    $locations .= location($kept, 'proxy_pass http://$way;');
    $locations .= location("${kept}_tls", 'proxy_pass https://$way;') if $tls;
}

my $next = join '', map {
    my $names = 'error timeout invalid_header http_503';

    "${_}_next_upstream $names; ${_}_send_timeout 2s; ${_}_read_timeout 2s;\n"
} qw(proxy fastcgi scgi uwsgi), $v2 ? 'grpc' : ();

my $listen = Ways::Nginx::other_listens();
my $good = listen_on('good');
my $servers = join '', map { <<"EOC" } sort keys %fail;
server {
    access_log off;
    @{[ listen_on($_) ]}
    error_page 400 = /;
    location / { $fail{$_} }
}
EOC

# a server of another process closes kept connections soon

my $far = Ways::Nginx->start(http => <<"EOC");
keepalive_timeout 300ms;
server {
    listen %%PORT%%;
    @{[ listen_on('far') ]}
    location / { proxy_pass http://echo; }
}
EOC

my $n = Ways::Nginx->start(http => <<"EOC");
client_max_body_size 4m;
client_body_buffer_size 16k;
sendfile off;
$next
$groups
upstream refused { server 127.0.0.1:1; }
upstream kept { server unix:%%DIR%%/once.http; keepalive 1; }
upstream kept_tls { server unix:%%DIR%%/once.tls; keepalive 1; }
upstream far { server unix:$far->{dir}/far.http; keepalive 1; }
upstream far_tls { server unix:$far->{dir}/far.tls; keepalive 1; }
server {
    listen %%PORT%%;
    $locations
}
server {
    access_log off;
    $good
    location / {
        proxy_pass http://echo;
        proxy_hide_header X-Grpc;
        add_trailer grpc-status \$upstream_http_x_grpc always;
    }
}
server {
    access_log off;
    @{[ listen_on('once') ]}
    location / {
        if (\$connection_requests != 1) { return 444; }
        proxy_pass http://echo;
    }
}
$servers
EOC


# ---- the first server fails -------------------------------------------------

for my $how (sort keys %how) {
    for my $fail (sort keys %fail) {
        same("${how}_$fail", $big, "$how, $fail");
        same("at_${how}_$fail", $big, "$how, $fail, in an \@location",
             'success, 502, 200');
    }
}

SKIP: {
    skip 'no TLS', 1 if !$tls;
    ok($how{tls}, 'with TLS');
}

SKIP: {
    skip 'HTTP/2 to the upstream needs nginx 1.30', 1 if !$v2_proxy;
    ok($how{http2}, 'with HTTP/2 to the upstream');
}


# ---- a kept connection breaks -----------------------------------------------

for my $kept ('kept', $tls ? 'kept_tls' : ()) {
    for my $side ('plain', 'chain') {
        is(put("/$side/$kept", 'abc')->{status}, 200, "$side/$kept: it is kept");
    }

    same($kept, $big, $kept, 'success, 200', 'abc');
}

# before anything of the next request is sent, while nginx cannot notice it

for my $uri (map { ("plain/$_", "chain/$_") } 'far', $tls ? 'far_tls' : ()) {
    my $s = $n->connect();
    my ($worker) = $n->workers();
    my $want = '200 ' . sum($some);

    Ways::Nginx::send_all($s, request('PUT', "/$uri", $some, 1));
    my $first = Ways::Nginx::answer(
                    Ways::Nginx::read_all($s, until => qr/\d+:\w{8}\z/));

    kill 'STOP', $worker;
    Ways::Nginx::send_all($s, request('PUT', "/$uri", $some));
    sleep 0.5;
    kill 'CONT', $worker;

    my $second = Ways::Nginx::answer(Ways::Nginx::read_all($s));

    is("$first->{status} $first->{body}", $want, "$uri: the first");
    is("$second->{status} $second->{body}", $want, "$uri: the next one");
}


# ---- afterwards -------------------------------------------------------------

for my $nginx ($n, $far) {
    is($nginx->bad(), '', 'a clean log');
    $nginx->signal('QUIT');
    ok($nginx->ended(5), 'the end');
    is($nginx->bad(), '', 'a clean log at the end');
}

done_testing();


# the same without a chain, and in one of two steps

sub location {
    my ($name, $pass, $steps, $group) = @_;

    my $plain = $pass =~ s/\$way/$group \/\/ $name/er;
    my $chain = $pass =~ s/\$way/\$retry_chain_upstream/r;

    $steps //= "$name refused";

    return "location = /plain/$name { $plain }\n"
           . "location = /chain/$name { retry_chain $steps; $chain }\n";
}


sub listen_on {
    my ($name) = @_;

    return "listen unix:%%DIR%%/$name.http;"
           . $listen =~ s{%%DIR%%/(h2|tls)}{%%DIR%%/$name.$1}gr;
}


sub put {
    my ($uri, $body) = @_;

    ways_reset();

    return $n->until_logged(sub { $n->ask(request('PUT', $uri, $body)) });
}


# twice, so that what the first leaves behind is seen; "before" each of them,
# for a new connection.  Plain nginx does not repeat what it streams.

sub same {
    my ($uri, $body, $name, $log, $before) = @_;

    my @sides = $uri =~ /grpc/ ? 'chain' : ('plain', 'chain');

    for my $time ('', ', again') {
        my %got;

        for my $side (@sides) {
            put("/$side/$uri", $before) if $before;

            my $a = put("/$side/$uri", $body);
            $got{$side} = shape($a);

            is($a->{body}, sum($body), "$name$time: $side, the whole body");
            is(() = ways_calls() =~ /^\w*echo .* \Q@{[ sum($body) ]}\E$/mg, 1,
               "$name$time: $side, once");
        }

        is($got{chain}, $got{plain}, "$name$time: as plain nginx")
            if $got{plain};
        is(logged(), '200 ' . ($log // 'success, 200'), "$name$time: the log");
    }
}


# the last line of the access log: status, result and statuses

sub logged {
    my $line = (split /\n/, $n->access())[-1] // '';

    return $line =~ /^\S+ (\d+) (\S+) \[.*\] \[(.*)\]$/ ? "$1 $2, $3" : $line;
}
