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

my $zone = 'retry_chain_zone z 128k;';

# another location

my $next_of = 0;
my $next = 'proxy_pass http://a; } location /next/ {';

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

    ['retry_chain a; retry_chain_json error;',
     qr/invalid path "error": .* at character 1 in \S+nginx.conf:\d+$/m],
    ['retry_chain a; retry_chain_json $.a..b;',
     qr/invalid path "\$\.a\.\.b": .* at character 5 in /],
    ['retry_chain a; retry_chain_json $.a[x];', qr/invalid path "\$\.a\[x\]": /],
    ['retry_chain a; retry_chain_json $.a[1;', qr/invalid path "\$\.a\[1": /],
    ['retry_chain a; retry_chain_json "";', qr/invalid path "": /],
    ['retry_chain a; retry_chain_json;',
     qr/invalid number of arguments in "retry_chain_json"/],
    ['retry_chain a; retry_chain_json $.a; retry_chain_json off;',
     qr/"off" must stand alone/],
    ['retry_chain a; retry_chain_json off; retry_chain_json $.a;',
     qr/"retry_chain_json" directive is used together with "off"/],
    ['retry_chain a; ' . 'retry_chain_json $.a; ' x 256,
     qr/"retry_chain_json" directive is repeated too often/],
    ['retry_chain a; retry_chain_json_buffer 0;', qr/must be from 1 to 1m/],
    ['retry_chain a; retry_chain_json_buffer 1025k;', qr/must be from 1 to 1m/],
    ['retry_chain a; retry_chain_json_buffer x;', qr/invalid value/],
    ['retry_chain a; retry_chain_json_buffer 1k; retry_chain_json_buffer 1k;',
     qr/"retry_chain_json_buffer" directive is duplicate/],
    ['retry_chain a; retry_chain_error_json maybe;',
     qr/invalid value "maybe" in "retry_chain_error_json" directive/],

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

    # limits of upstreams

    ["$zone retry_chain a rate=20r/s burst=20; retry_chain b rate=30r/m;",
     undef],
    ["$zone retry_chain a rate=auto burst=5 wait=1s;", undef],
    ["$zone retry_chain a rate=0.001r/s; retry_chain b rate=100000r/s "
     . 'burst=1000000;', undef],
    ["$zone retry_chain a rate=1r/m burst=1;", undef],
    ["$zone retry_chain a rate=off; retry_chain \@last;", undef],
    ['retry_chain a rate=off;', undef],
    ["$zone retry_chain a rate=5r/s b; retry_chain a rate=5r/s;", undef],
    ["$zone retry_chain a rate=5r/s; $next retry_chain_zone z; "
     . 'retry_chain a rate=5r/s; retry_chain b;', undef],
    ["$zone retry_chain a rate=5r/s; $next retry_chain_zone y 64k; "
     . 'retry_chain a rate=6r/s;', undef],
    ["retry_chain_zone z; retry_chain a; $next $zone retry_chain a;", undef],
    ["$zone retry_chain a; $next $zone retry_chain b;", undef],
    ['retry_chain_zone z 1m; retry_chain off;', undef],
    ["$zone retry_chain a; if (\$arg_a) { retry_chain_zone y 64k; "
     . 'retry_chain_retry_after off; retry_chain_limited fail; '
     . 'retry_chain_max_waiting 9; retry_chain_budget 5%; '
     . 'retry_chain_dry_run on; retry_chain_start rotate; }', undef],

    (map { ["retry_chain a; retry_chain_retry_after $_;", undef] }
         'on', 'off', 'on max=10s default=100ms cap=1h scope=chain', 'max=0',
         'scope=step', 'default=1ms cap=1ms', 'max=24d cap=24d default=24d'),
    (map { ["$zone retry_chain a; retry_chain_limited $_;", undef] }
         qw(wait next fail)),
    (map { ["retry_chain a; retry_chain_max_waiting $_;", undef] } 0, 10),
    (map { ["$zone retry_chain a; retry_chain_budget $_;", undef] }
         '20%', '20', '0 min=0', '1000% min=1r/m window=100ms',
         '5% window=24d min=100000r/s', 'off'),
    ['retry_chain a; retry_chain_budget off;', undef],
    ["$zone retry_chain a; retry_chain_budget 20%; $next retry_chain_zone z; "
     . 'retry_chain b; retry_chain_budget 5% min=0;', undef],
    (map { ["retry_chain a; retry_chain_dry_run $_;", undef] } qw(on off)),
    (map { ["retry_chain a b; retry_chain_start $_;", undef] }
         qw(first rotate)),

    (map { ["$zone retry_chain a rate=$_;",
            qr/\[emerg\] .*invalid parameter "rate=\Q$_\E" in /] }
         '0r/s', '0.0009r/s', '0.0001r/s', '100001r/s', '0.05r/m', '0r/m',
         '20', '20r', '20r/h', '20/s', 'r/s', '-1r/s', '1e3r/s',
         'on', 'Auto', ''),
    (map { ["$zone retry_chain a rate=1r/s burst=$_;",
            qr/\[emerg\] .*invalid parameter "burst=\Q$_\E" in /] }
         '0', '-1', 'x', '', '1.5', '1000001'),
    ["$zone retry_chain a burst=2;",
     qr/\[emerg\] .*"retry_chain" directive "burst" needs "rate" in /],
    ["$zone retry_chain a burst=2 rate=off;",
     qr/"retry_chain" directive "burst" needs "rate" in /],
    ["$zone retry_chain a rate=1r/s rate=1r/s;",
     qr/duplicate parameter "rate=1r\/s" in /],
    ["$zone retry_chain a rate=1r/s burst=1 burst=2;",
     qr/duplicate parameter "burst=2" in /],
    ['retry_chain b; retry_chain a rate=1r/s;',
     qr/\[emerg\] .*"rate" of step "a" in \S+nginx.conf:\d+ needs "retry_chain_zone"$/m],
    ['retry_chain a rate=auto;',
     qr/"rate" of step "a" in \S+nginx.conf:\d+ needs "retry_chain_zone"$/m],
    (map { ["$zone retry_chain a rate=5r/s; $next retry_chain_zone z; "
            . "retry_chain a $_;",
            qr/\[emerg\] .*step "a" in \S+nginx.conf:\d+ has another "rate" or "burst" than in \S+nginx.conf:\d+, with the same zone "z"$/m] }
         'rate=6r/s', 'rate=5r/s burst=2', 'rate=auto', 'rate=off', ''),
    ["$zone retry_chain a rate=5r/s; retry_chain a rate=300r/m burst=2;",
     qr/step "a" in \S+ has another "rate" or "burst" than in \S+, with the same zone "z"$/m],

    ['retry_chain_zone z; retry_chain a;',
     qr/\[emerg\] .*zero size shared memory zone "z"$/m],
    ['retry_chain_zone "" 64k; retry_chain a;',
     qr/\[emerg\] .*invalid zone name "" in /],
    (map { ["retry_chain_zone z $_; retry_chain a;",
            qr/\[emerg\] .*invalid zone size "\Q$_\E" in /] }
         '1x', '-1', 'k'),
    (map { ["retry_chain_zone z $_; retry_chain a;",
            qr/\[emerg\] .*zone "z" is too small in /] } '0', '1k', '60k'),
    [join($next, map {
         my $i = $_;
         'retry_chain_zone z 64k; retry_chain '
             . join(' ', map { "127.0.0.$i:$_" } 1 .. 16) . ';' } 1 .. 3)
     =~ s{/next/}{'/next' . ++$next_of . '/'}ger,
     qr/\[emerg\] .*zone "z" is too small for 48 steps, 3 chains and a history of \d+: it has 64k and needs \d+k in \S+nginx.conf:\d+$/m],
    ["$zone $zone retry_chain a;",
     qr/"retry_chain_zone" directive is duplicate in /],
    ["$zone retry_chain a; $next retry_chain_zone z 64k; retry_chain a;",
     qr/\[emerg\] .*the size 65536 of shared memory zone "z" conflicts with already declared size 131072 in /],
    (map { ["retry_chain a; retry_chain_header $_;", undef] }
         'off', 'X-Trail', "x!#\$%&'*+-.^_`|~9"),
    (map { ["retry_chain a; retry_chain_header \"$_\";",
            qr/\[emerg\] .*invalid header name "\Q$_\E" in /] }
         '', 'a b', 'a:', "a\xc3\xa4", "a\tb", 'Content-Length',
         'transfer-encoding', 'Connection', 'Trailer'),
    ['retry_chain a; retry_chain_header a; retry_chain_header off;',
     qr/"retry_chain_header" directive is duplicate/],
    ['retry_chain a; retry_chain_header;',
     qr/invalid number of arguments in "retry_chain_header"/],
    ['retry_chain_status on;',
     qr/invalid number of arguments in "retry_chain_status"/],
    ['retry_chain_status; retry_chain_status;',
     qr/"retry_chain_status" directive is duplicate/],
    ["retry_chain_zone z 64k 128k; retry_chain a;",
     qr/invalid parameter "128k" in /],
    ['retry_chain_zone z 64k history=0; retry_chain a;', undef],
    ['retry_chain_zone z 8m history=4096 query=on; retry_chain a;', undef],
    ["retry_chain_zone z history=20 query=off; retry_chain a; $next "
     . 'retry_chain_zone z 128k history=20; retry_chain a;', undef],
    (map { ["retry_chain_zone z 1m $_; retry_chain a;",
            qr/\[emerg\] .*invalid parameter "\Q$_\E" in /] }
         'history=', 'history=-1', 'history=x', 'history=4097', 'query=',
         'query=1', 'query=onn', 'size=1m'),
    ['retry_chain_zone z 1m history=9 history=9; retry_chain a;',
     qr/\[emerg\] .*duplicate parameter "history=9" in /],
    ["retry_chain_zone z 1m history=9; retry_chain a; $next "
     . 'retry_chain_zone z history=8; retry_chain a;',
     qr/\[emerg\] .*parameter "history=8" conflicts with another one of zone "z" in /],
    ['retry_chain_zone z 64k history=100; retry_chain a;',
     qr/\[emerg\] .*zone "z" is too small for 1 steps, 1 chains and a history of 100: it has 64k and needs \d+k in \S+nginx.conf:\d+$/m],

    (map { ["retry_chain a; retry_chain_retry_after $_;",
            qr/\[emerg\] .*invalid parameter "\Q@{[ (split ' ')[-1] ]}\E" in /] }
         'maybe', 'on off', 'on max=', 'max=x', 'max=-1s', 'max=25d',
         'default=0', 'default=x', 'default=', 'on cap=0', 'cap=x', 'cap=25d',
         'scope=', 'scope=all', 'scope=steps', 'on min=1s'),
    ['retry_chain a; retry_chain_retry_after off max=1s;',
     qr/"retry_chain_retry_after" directive "off" must stand alone in /],
    ['retry_chain a; retry_chain_retry_after on max=1s max=2s;',
     qr/duplicate parameter "max=2s" in /],
    ['retry_chain a; retry_chain_retry_after on scope=step scope=chain;',
     qr/duplicate parameter "scope=chain" in /],
    ['retry_chain a; retry_chain_retry_after on; retry_chain_retry_after off;',
     qr/"retry_chain_retry_after" directive is duplicate in /],
    ['retry_chain a; retry_chain_retry_after;',
     qr/invalid number of arguments in "retry_chain_retry_after"/],

    ["$zone retry_chain a; retry_chain_limited maybe;",
     qr/\[emerg\] .*invalid value "maybe" in /],
    ["$zone retry_chain a; retry_chain_limited wait; retry_chain_limited wait;",
     qr/"retry_chain_limited" directive is duplicate in /],
    ["$zone retry_chain a; retry_chain_limited wait next;",
     qr/invalid number of arguments in "retry_chain_limited"/],
    ['retry_chain a; retry_chain_limited fail;',
     qr/\[emerg\] .*"retry_chain_limited" for the chain that starts with "a" in \S+nginx.conf:\d+ needs "retry_chain_zone"$/m],

    (map { ["retry_chain a; retry_chain_max_waiting $_;",
            qr/\[emerg\] .*invalid number "\Q$_\E" in /] } 'x', '-1', '1.5'),
    ['retry_chain a; retry_chain_max_waiting 1; retry_chain_max_waiting 1;',
     qr/"retry_chain_max_waiting" directive is duplicate in /],
    ['retry_chain a; retry_chain_max_waiting 1 2;',
     qr/invalid number of arguments in "retry_chain_max_waiting"/],

    (map { ["$zone retry_chain a; retry_chain_budget $_;",
            qr/\[emerg\] .*invalid value "\Q$_\E", a percentage from 0 to 1000 is expected in /] }
         'x%', '-1', '1001%', '1001', '%', '20%%', '2.5%'),
    (map { ["$zone retry_chain a; retry_chain_budget 20% $_;",
            qr/\[emerg\] .*invalid parameter "\Q$_\E" in /] }
         'min=', 'min=x', 'min=20', 'min=0r/s', 'min=100001r/s', 'window=',
         'window=0', 'window=99ms', 'window=x', 'window=25d', 'max=1r/s'),
    ["$zone retry_chain a; retry_chain_budget off min=1r/s;",
     qr/"retry_chain_budget" directive "off" must stand alone in /],
    ["$zone retry_chain a; retry_chain_budget 20% min=1r/s min=0;",
     qr/duplicate parameter "min=0" in /],
    ["$zone retry_chain a; retry_chain_budget 20%; retry_chain_budget off;",
     qr/"retry_chain_budget" directive is duplicate in /],
    ["$zone retry_chain a; retry_chain_budget;",
     qr/invalid number of arguments in "retry_chain_budget"/],
    ['retry_chain a; retry_chain_budget 20%;',
     qr/\[emerg\] .*"retry_chain_budget" for the chain that starts with "a" in \S+nginx.conf:\d+ needs "retry_chain_zone"$/m],
    ["$zone retry_chain b; retry_chain_budget 20%; $next retry_chain_zone z; "
     . 'retry_chain a; retry_chain_budget 20% window=9s;',
     qr/\[emerg\] .*the budget of the chain that starts with "a" in \S+nginx.conf:\d+ has another "window" than others with zone "z"$/m],

    ['retry_chain a; retry_chain_dry_run maybe;',
     qr/invalid value "maybe" in "retry_chain_dry_run" directive, it must be "on" or "off" in /],
    ['retry_chain a; retry_chain_dry_run on; retry_chain_dry_run on;',
     qr/"retry_chain_dry_run" directive is duplicate in /],
    ['retry_chain a; retry_chain_start second;',
     qr/\[emerg\] .*invalid value "second" in /],
    ['retry_chain a; retry_chain_start first; retry_chain_start rotate;',
     qr/"retry_chain_start" directive is duplicate in /],
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

# a zone of another module, one that is named at two levels

($status, $said) = check('retry_chain_zone z 64k; retry_chain a;',
                         'limit_req_zone $uri zone=z:64k rate=1r/s;');
like($said, qr/\[emerg\] .*the shared memory zone "z" is already declared for a different use in /,
     'a zone of another module');

($status, $said) = check('retry_chain_limited fail; retry_chain_budget 20%;',
                         'retry_chain a rate=5r/s; retry_chain_zone z 64k;');
is($status, 0, 'a zone of the level above') or diag($said);

($status, $said) = check('retry_chain b rate=5r/s; retry_chain_zone y 64k;',
                         'retry_chain a; retry_chain_zone z 64k;');
is($status, 0, 'another one instead') or diag($said);

# what needs a zone, at a level that only hands it down

($status, $said) = check($zone, 'retry_chain a rate=5r/s; '
                         . 'retry_chain_limited fail; retry_chain_budget 5%;',
                         'proxy_pass http://a;');
is($status, 0, 'the zone comes at the level below') or diag($said);

($status, $said) = check('', 'retry_chain a rate=5r/s;', 'proxy_pass http://a;');
like($said, qr/"rate" of step "a" in \S+nginx.conf:\d+ needs "retry_chain_zone"$/m,
     'it does not');

# many that wait

($status, $said) = check('retry_chain a; retry_chain_max_waiting 512;');
is($status, 0, 'as many may wait as there are connections');
like($said, qr/\[warn\] .*"retry_chain_max_waiting" is 512, but the workers have 512 connections: increase "worker_connections"$/m,
     'with a warning');

($status, $said) = check('retry_chain a; retry_chain_max_waiting 511;');
is($status, 0, 'one less may, too');
unlike($said, qr/retry_chain_max_waiting/, 'without one');

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
error_log stderr warn;
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
