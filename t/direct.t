#!/usr/bin/perl

# A plan that leaves nothing to decide: the location's own handler answers, as
# without a chain.  What variables and log say of it must be what they say of
# the same plan with a time limit, which takes an attempt.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Ways;
use Ways::Nginx qw(request);

my $some = "some body\n" x 10;

ways(
    (map { my $s = $_; ("s$s" => sub { reply($s, $s == 204 ? undef : "$s\n") }) }
         200, 204, 302, 404, 412, 429, 503),
    hang => sub { [eof => 1] },
    close => sub { [close => 1] },
    garbage => sub { ("what?\r\n\r\n", [close => 1]) },
    large => sub { reply(200, 'x', map { "X-$_: " . 'x' x 1500 } 1 .. 9) },
    short => sub { (reply(200, undef, 'Content-Length: 100'), 'x',
                    [sleep => 0.05], [close => 1]) },
    accel => sub { reply(200, 'no', 'X-Accel-Redirect: /page') },
    accel_proxied => sub { reply(503, 'no', 'X-Accel-Redirect: /other') },
    named => sub { reply(404, 'no', 'X-Accel-Redirect: @other') },
    cached => sub { reply(200, 'cached', 'Cache-Control: max-age=60') },
);

my %places = (
    (map { ("s$_" => "proxy_pass http://s$_;") }
         200, 204, 302, 404, 412, 429, 503),
    (map { ($_ => "proxy_pass http://$_;") }
         qw(ok close garbage large short accel accel_proxied named)),
    refused => 'proxy_pass http://refused;',
    hang => 'proxy_pass http://hang; proxy_read_timeout 100ms;',
    group => 'proxy_pass http://group;',
    intercept => 'proxy_pass http://s503; proxy_intercept_errors on;'
                 . ' error_page 503 /page;',
    intercept_proxied => 'proxy_pass http://s503; proxy_intercept_errors on;'
                         . ' error_page 503 /other;',
    intercept_cached => 'proxy_pass http://s503; proxy_intercept_errors on;'
                        . ' error_page 503 =200 /kept;',
    success => 'proxy_pass http://s200; retry_chain_success 201;',
    stop => 'proxy_pass http://s404; retry_chain_stop 404;',
    cached => 'proxy_pass http://cached; proxy_cache c;',
    large_body => 'proxy_pass http://ok; client_max_body_size 10;',
    static => 'return 403;',
    variable => 'proxy_pass http://$retry_chain_upstream;',
);

my $conf = join '', map { <<"EOC" } sort keys %places;
location = /direct/$_ { retry_chain ok; $places{$_} }
location = /attempt/$_ { retry_chain ok; retry_chain_timeout 1h; $places{$_} }
EOC

my $n = Ways::Nginx->start(level => 'notice', http => <<"EOC");
log_format run escape=none '\$request_method \$request_uri \$status '
    '\$retry_chain_result \$retry_chain_upstream \$retry_chain_attempts '
    '[\$retry_chain_steps] [\$retry_chain_statuses] [\$retry_chain_waits] '
    '[\$upstream_addr] [\$upstream_status] \$retry_chain_trail';
access_log %%DIR%%/logs/access.log run;
proxy_cache_path %%DIR%%/cache keys_zone=c:1m;
proxy_cache_key \$retry_chain_upstream;
upstream refused { server 127.0.0.1:1; }
upstream group { server 127.0.0.1:1 max_fails=0;
                 server 127.0.0.1:2 max_fails=0 backup; }
server {
    listen %%PORT%%;
    add_header X-Run "\$retry_chain_result \$retry_chain_statuses" always;
    $conf
    location = /page { return 200 "page\\n"; }
    location = /other { proxy_pass http://ok; }
    location = /kept {
        proxy_cache c;
        proxy_cache_key kept;
        proxy_pass http://cached;
    }
    location \@other { proxy_pass http://ok; }
}
EOC


sub line {
    my ($method, $uri) = @_;

    my $log = length $n->log();
    my $a;

    $n->until_logged(sub {
        $a = $n->ask(request($method, $uri, $method eq 'POST' ? $some : ''));
    });

    my ($run) = ($a->{head} // '') =~ /^X-Run: (.*?)\r?$/m;
    my ($line) = $n->access() =~ m{^(.*)\n\z}m;
    my @said = substr($n->log(), $log) =~ /(retry chain \w+.*?)(?: while|, client)/g;
    my $all = join "\n", $line // 'no line', 'X-Run: ' . ($run // '-'), @said;

    $all =~ s{/(?:direct|attempt)/}{/}g;
    $all =~ s/"time":[\d.e-]+/"time":T/g;
    $all =~ s/"bytes":\d+/"bytes":N/g;
    $all =~ s/ in \d+ ms/ in T ms/g;

    return "$a->{status}\n$all\n";
}


for my $place (sort keys %places) {
    for my $method (qw(GET HEAD POST)) {
        next if $place eq 'large_body' && $method ne 'POST';
        # HEAD leaves a connection that is closed when it is used again
        next if $place eq 'short' && $method ne 'GET';

        line($method, "/direct/$place") if $place =~ /cached/;

        my $attempt = line($method, "/attempt/$place");

        is(line($method, "/direct/$place"), $attempt, "$method $place");
    }
}

unlike($n->log(), qr/\[(?:alert|crit|emerg)\]/, 'no alerts');

done_testing();
