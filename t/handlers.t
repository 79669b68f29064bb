#!/usr/bin/perl

# Content handlers that are none of nginx's own, in a chain: they set timers,
# leave cleanups and make subrequests of their own.  The echo module plays them.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Ways;
use Ways::Nginx qw(request);

my $echo = '/usr/lib/nginx/modules/ngx_http_echo_module.so';
my $nginx = `@{[ $ENV{TEST_NGINX_BINARY} || 'nginx' ]} -V 2>&1`;

if (!-e $echo || $nginx !~ m{--modules-path=/usr/lib/nginx/modules}) {
    plan(skip_all => 'needs the echo module and the nginx that it is for');
}

ways(late => sub { ([sleep => 0.2], reply(200, "late\n")) });

my $n = Ways::Nginx->start(level => 'notice',
    main => "load_module $echo;", http => <<'EOC');
log_format chain '$request_uri $status $retry_chain_result '
                 '[$retry_chain_statuses]';
access_log %%DIR%%/logs/access.log chain;

server {
    listen %%PORT%%;

    location = /timer     { retry_chain @timer ok;
                            proxy_pass http://$retry_chain_upstream; }
    location @timer       { echo_status 429; echo x; echo_flush;
                            echo_sleep 0.4; echo y; }

    location = /own       { retry_chain 127.0.0.1:1; retry_chain @l wait=50ms;
                            echo_status 429; echo x; echo_flush;
                            echo_sleep 0.3; echo y; }
    location @l           { return 200 "last\n"; }

    location = /cleanup   { retry_chain @cleanup ok;
                            proxy_pass http://$retry_chain_upstream; }
    location @cleanup     { echo_status 429; echo_sleep 0.01; echo y; }

    location = /child     { retry_chain @child ok;
                            proxy_pass http://$retry_chain_upstream; }
    location @child       { echo_status 429; echo x; echo_flush;
                            echo_location /late; echo y; }

    location = /async     { retry_chain @async ok;
                            proxy_pass http://$retry_chain_upstream; }
    location @async       { echo_status 429; echo x; echo_flush;
                            echo_location_async /late; echo y; }

    location = /success   { retry_chain @success ok;
                            proxy_pass http://$retry_chain_upstream; }
    location @success     { echo x; echo y; }

    location = /late      { proxy_pass http://late; }
    location = /after     { return 200 "after\n"; }
}
EOC

my %body = (timer => "ok GET /timer 0:d41d8cd9\n", own => "last\n",
            cleanup => "ok GET /cleanup 0:d41d8cd9\n",
            child => "ok GET /child 0:d41d8cd9\n",
            async => "ok GET /async 0:d41d8cd9\n", success => "x\ny\n");

for my $name (sort keys %body) {
    for (1 .. 3) {
        my $a = $n->ask(request('GET', "/$name", ''));

        is("$a->{status} $a->{body}", "200 $body{$name}", $name);
    }
}

is($n->ask(request('GET', '/after', ''))->{body}, "after\n", 'the worker is there');
unlike($n->log(), qr/\[(?:alert|crit|emerg)\]|exited on signal/, 'no alerts');

done_testing();
