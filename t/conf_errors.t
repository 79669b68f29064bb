#!/usr/bin/perl

# Wrong configurations are refused with the place and the value, right ones
# are not.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use Test::More;

my $top = abs_path(dirname(__FILE__) . '/..');
my $nginx = $ENV{TEST_NGINX_BINARY} || 'nginx';
my $module = $ENV{TEST_NGINX_LOAD_MODULES}
             // "$top/build/ngx_http_retry_chain_module.so";
my $dir = tempdir(CLEANUP => 1);

my $many = join ' ', map { "127.0.0.1:$_" } 1 .. 17;

# the location, and what is said about it; nothing: it is accepted

my @cases = (
    ['retry_chain a;', undef],
    ['retry_chain a 127.0.0.1:81 localhost:82 @last wait=5s timeout=off;',
     undef],
    ['retry_chain unix:/tmp/sock;', undef],
    ['retry_chain off;', undef],
    ['retry_chain a attempts=100;', undef],
    ['retry_chain a; retry_chain_success 200 2xx 300-399;', undef],
    ['retry_chain a; retry_chain_stop off;', undef],
    ['retry_chain a; retry_chain_retry off;', undef],
    ['retry_chain a; retry_chain_retry error timeout invalid_header http_503 '
     . 'http_5xx http_400-404 status attempts=7 interval=2s rate=1.5 max=1m '
     . 'jitter=equal;', undef],
    ['retry_chain a; retry_chain_timeout off;', undef],
    ['if ($arg_a) { retry_chain b; } retry_chain a;', undef],
    ['limit_except GET { deny all; } retry_chain a;', undef],

    ['retry_chain a wait=5s wait=6s;', qr/duplicate parameter "wait=6s"/],
    ['retry_chain a timeout=1s timeout=1s;',
     qr/duplicate parameter "timeout=1s"/],
    ['retry_chain a wait=;', qr/invalid parameter "wait="/],
    ['retry_chain a wait=x;', qr/invalid parameter "wait=x"/],
    ['retry_chain a wait=-1;', qr/invalid parameter "wait=-1"/],
    ['retry_chain a wait=25d;', qr/invalid parameter "wait=25d"/],
    ['retry_chain a timeout=0;', qr/invalid parameter "timeout=0"/],
    ['retry_chain a attempts=0;', qr/invalid parameter "attempts=0"/],
    ['retry_chain a attempts=101;', qr/invalid parameter "attempts=101"/],
    ['retry_chain a attempts=x;', qr/invalid parameter "attempts=x"/],
    ['retry_chain a tries=3;', qr/invalid parameter "tries=3"/],
    ['retry_chain wait=1s;', qr/"retry_chain" directive has no step/],
    ['retry_chain a off;', qr/"off" must stand alone/],
    ['retry_chain off a;', qr/"off" must stand alone/],
    ['retry_chain a; retry_chain off;', qr/"off" must stand alone/],
    ['retry_chain off; retry_chain a;', qr/used together with "off"/],
    ['retry_chain;', qr/invalid number of arguments in "retry_chain"/],
    ["retry_chain $many;", qr/too many steps at "127.0.0.1:17", at most 16/],
    ['retry_chain a b attempts=51;',
     qr/starts with "a" in .*:\d+ could make 102 attempts, at most 100/],
    ['retry_chain a; retry_chain_retry error attempts=100; '
     . 'retry_chain_retry timeout attempts=2;', qr/could make 101 attempts/],

    ['retry_chain http://a;', qr/invalid step "http:\/\/a"/],
    ['retry_chain $host;', qr/invalid step "\$host"/],
    ['retry_chain @;', qr/invalid step "@"/],
    ['retry_chain a/b;', qr/in upstream "a\/b"/],
    ['retry_chain 127.0.0.1:99999;', qr/invalid port in upstream/],
    ['retry_chain nobody;', qr/no port in upstream "nobody" in .*:\d+/],
    ['retry_chain nobody.invalid:80;',
     qr/host not found in upstream "nobody.invalid/],
    ['retry_chain a @nowhere;',
     qr/unknown step "\@nowhere" in .*:\d+, .* in server "front"/],

    ['retry_chain a; retry_chain_success 99;', qr/invalid value "99"/],
    ['retry_chain a; retry_chain_success 600;', qr/invalid value "600"/],
    ['retry_chain a; retry_chain_success 6xx;', qr/invalid value "6xx"/],
    ['retry_chain a; retry_chain_success 300-200;',
     qr/invalid value "300-200"/],
    ['retry_chain a; retry_chain_success off;', qr/invalid value "off"/],
    ['retry_chain a; retry_chain_success 200 200;', qr/duplicate value "200"/],
    ['retry_chain a; retry_chain_success 200; retry_chain_success 201;',
     qr/"retry_chain_success" directive is duplicate/],
    ['retry_chain a; retry_chain_stop 4x4;', qr/invalid value "4x4"/],
    ['retry_chain a; retry_chain_stop 404; retry_chain_stop 403;',
     qr/"retry_chain_stop" directive is duplicate/],

    ['retry_chain a; retry_chain_retry attempts=3;', qr/has no condition/],
    ['retry_chain a; retry_chain_retry erro;', qr/invalid parameter "erro"/],
    ['retry_chain a; retry_chain_retry http_;', qr/invalid parameter "http_"/],
    ['retry_chain a; retry_chain_retry http_600;',
     qr/invalid parameter "http_600"/],
    ['retry_chain a; retry_chain_retry error error;',
     qr/duplicate condition "error"/],
    ['retry_chain a; retry_chain_retry http_503 http_503;',
     qr/duplicate condition "http_503"/],
    ['retry_chain a; retry_chain_retry status status;',
     qr/duplicate condition "status"/],
    ['retry_chain a; retry_chain_retry error rate=0.9;',
     qr/invalid parameter "rate=0.9"/],
    ['retry_chain a; retry_chain_retry error rate=1001;',
     qr/invalid parameter "rate=1001"/],
    ['retry_chain a; retry_chain_retry error rate=2 rate=2;',
     qr/duplicate parameter "rate=2"/],
    ['retry_chain a; retry_chain_retry error interval=1x;',
     qr/invalid parameter "interval=1x"/],
    ['retry_chain a; retry_chain_retry error max=-1s;',
     qr/invalid parameter "max=-1s"/],
    ['retry_chain a; retry_chain_retry error attempts=0;',
     qr/invalid parameter "attempts=0"/],
    ['retry_chain a; retry_chain_retry error jitter=some;',
     qr/invalid parameter "jitter=some"/],
    ['retry_chain a; retry_chain_retry error; retry_chain_retry off;',
     qr/"off" must stand alone/],
    ['retry_chain a; retry_chain_retry off; retry_chain_retry error;',
     qr/used together with "off"/],
    ['retry_chain a; ' . 'retry_chain_retry error attempts=1; ' x 17,
     qr/"retry_chain_retry" directive is repeated too often/],

    ['retry_chain a; retry_chain_timeout 0;', qr/invalid value "0"/],
    ['retry_chain a; retry_chain_timeout 1y1;', qr/invalid value "1y1"/],
    ['retry_chain a; retry_chain_timeout 1s; retry_chain_timeout 1s;',
     qr/"retry_chain_timeout" directive is duplicate/],
    ['retry_chain a; retry_chain_non_idempotent maybe;',
     qr/invalid value "maybe"/],
    ['retry_chain a; retry_chain_non_idempotent on; '
     . 'retry_chain_non_idempotent on;',
     qr/"retry_chain_non_idempotent" directive is duplicate/],
    ['retry_chain a; retry_chain_log_level debug;', qr/invalid value "debug"/],
    ['retry_chain a; retry_chain_log_level warn error;',
     qr/invalid number of arguments in "retry_chain_log_level"/],
);

for my $case (@cases) {
    my ($text, $error) = @$case;
    my $name = length $text > 68 ? substr($text, 0, 65) . '...' : $text;
    my ($status, $said) = check($text);

    if (!$error) {
        is($status, 0, "accepted: $name") or diag($said);
        next;
    }

    ok($status != 0 && $said =~ $error, "refused: $name") or diag($said);

    if ($said =~ /directive|invalid value|parameter|condition|invalid step/) {
        like($said, qr{nginx\.conf:\d+}, 'with file and line');
    }
}

# what stands at the http level has to exist where it is used only

my ($status, $said) = check('', 'retry_chain a @last;');
is($status, 0, 'a server without a proxied location needs no @last')
    or diag($said);

($status, $said) = check('', 'retry_chain a @gone;', 'proxy_pass http://a;');
like($said, qr/unknown step "\@gone"/, 'one that proxies does');

done_testing();


sub check {
    my ($text, $http, $location) = @_;

    $http //= '';
    $location //= $text eq '' ? '' : 'proxy_pass http://a;';

    my $load = $module eq '' || !-e $module ? '' : "load_module $module;";

    open my $f, '>', "$dir/nginx.conf" or die "$dir/nginx.conf: $!";
    print $f <<"CONF";
$load
pid $dir/pid;
error_log stderr;
events {
}
http {
    access_log off;
    client_body_temp_path $dir/b;
    proxy_temp_path $dir/p;
    fastcgi_temp_path $dir/f;
    scgi_temp_path $dir/s;
    uwsgi_temp_path $dir/u;
    upstream a { server 127.0.0.1:1; }
    upstream b { server 127.0.0.1:2; }
    $http
    server {
        server_name front;
        listen unix:$dir/sock;
        location / {
            $text
            $location
        }
        location \@last { return 503; }
    }
}
CONF
    close $f;

    my $said = `$nginx -t -c $dir/nginx.conf 2>&1`;

    return ($?, $said);
}
