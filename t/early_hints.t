#!/usr/bin/perl

# Early hints with real retries: those of every attempt reach the client, those
# of a discarded attempt, too, as they come before its verdict and bind nobody.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Ways;
use Ways::Nginx;

my ($major, $minor) = `@{[ $ENV{TEST_NGINX_BINARY} || 'nginx' ]} -V 2>&1`
                      =~ m{nginx/(\d+)\.(\d+)};

if (!defined $major || $major == 1 && $minor < 29) {
    plan(skip_all => 'needs nginx 1.29');
}

sub hint {
    my ($name) = @_;
    return ("HTTP/1.1 103 Early Hints\r\nLink: <$name>; rel=preload\r\n\r\n",
            [sleep => 0.02]);
}

ways(
    limited => sub { (hint('/limited'), reply(429, "slow down\n")) },
    good => sub { (hint('/good'), reply(200, "good\n", 'Link: </last>')) },
    twice => sub { (hint('/one'), hint('/two'), reply(200, "twice\n")) },
    broken => sub { (hint('/broken'), [close => 1]) },
    hang => sub { (hint('/hang'), [eof => 1]) },
    large => sub { (hint('/' . 'x' x 30000), reply(429, "slow down\n")) },
);

my $n = Ways::Nginx->start(level => 'notice', http => <<'EOC');
large_client_header_buffers 4 64k;
proxy_buffer_size 64k;
proxy_busy_buffers_size 128k;
proxy_buffers 8 64k;
early_hints 1;
server {
    listen %%PORT%%;
    location = /one     { retry_chain limited good;
                          proxy_pass http://$retry_chain_upstream; }
    location = /wait    { retry_chain limited; retry_chain good wait=50ms;
                          proxy_pass http://$retry_chain_upstream; }
    location = /broken  { retry_chain broken twice;
                          proxy_pass http://$retry_chain_upstream; }
    location = /hang    { retry_chain hang timeout=200ms; retry_chain good;
                          proxy_pass http://$retry_chain_upstream; }
    location = /last    { retry_chain limited broken;
                          proxy_pass http://$retry_chain_upstream; }
    location = /large   { retry_chain large good;
                          proxy_pass http://$retry_chain_upstream; }
    location = /off     { retry_chain limited good; early_hints 0;
                          proxy_pass http://$retry_chain_upstream; }
    location = /none    { return 204; }
}
EOC

# all that came for one request: statuses and links, then the body

sub told {
    my ($uri) = @_;

    my $raw = $n->get("GET $uri HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                      . "\r\n");
    my @told;

    while ($raw =~ s/\AHTTP\/1\.1 (\d+)[^\r]*\r\n(.*?)\r\n\r\n//s) {
        my ($status, $head) = ($1, $2);
        push @told, join ' ', $status, $head =~ /^Link: (<[^>]{1,20})/mg;
        last if $status != 103;
    }

    return join(', ', @told) . ": $raw";
}

is(told('/one'), "103 </limited, 103 </good, 200 </last: good\n",
   'hints of both attempts');
is(told('/wait'), "103 </limited, 103 </good, 200 </last: good\n",
   'with a wait between them');
is(told('/broken'), "103 </broken, 103 </one, 103 </two, 200: twice\n",
   'an attempt that breaks after its hint');
is(told('/hang'), "103 </hang, 103 </good, 200 </last: good\n",
   'an attempt that is aborted after its hint');
like(told('/last'), qr/\A103 <\/limited, 103 <\/broken, 502: /,
     'an error page after hints has none of their links');
like(told('/large'), qr/\A103 <\/x{19}, 103 <\/good, 200 <\/last: good/,
     'a large hint');
is(told('/off'), "200 </last: good\n", 'hints that are not wanted');

# a client that does not read: a hint that could not be written goes out with
# what comes next

{
    my $s = $n->connect(rcvbuf => 4096);
    Ways::Nginx::send_all($s, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n" x 3);
    select undef, undef, undef, 0.3;
    my $all = '';

    my $stop = time() + 5;

    while (time() < $stop && (() = $all =~ /good\n/g) < 3) {
        sysread($s, $all, 65536, length $all) or last;
    }

    is(scalar(() = $all =~ /^HTTP\/1\.1 103 /mg), 6, 'all hints of three runs');
    is(scalar(() = $all =~ /^good\n/mg), 3, 'and three replies');
}

unlike($n->log(), qr/\[(?:alert|crit|emerg)\]/, 'no alerts');

done_testing();
