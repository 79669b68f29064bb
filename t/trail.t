#!/usr/bin/perl

# $retry_chain_trail in logs, retry_chain_header for clients, and the lines of
# the error log.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP;
use Test::More;

use Ways;
use Ways::Limits;
use Ways::Nginx;


my $json = JSON::PP->new->utf8;
my $odd = "w\xc3\xa4\"y\\\xff";

ways(page => sub { reply(200, "page\n") },
     tagged => sub { reply(200, "tagged\n", 'ETag: "x"') });

place('t', 'retry_chain a; retry_chain b c wait=20ms;'
           . 'retry_chain_retry http_503 attempts=2 interval=10ms;'
           . 'retry_chain_stop 404;');
place('hang', 'retry_chain a timeout=50ms; retry_chain b;');
place('long', 'retry_chain a b wait=30s;');
place('servers', 'retry_chain group b; proxy_next_upstream error http_500;');
place('last', 'retry_chain a @last;');
place('first', 'retry_chain @last b;');
place('middle', 'retry_chain a @last b;');
place('later', 'retry_chain @empty; error_page 503 = @proxied;', zone => '');
place('once', 'retry_chain a;', zone => '');
place('dry', 'retry_chain a b; retry_chain_dry_run on;');
place('fail', 'retry_chain a; retry_chain_limited fail;');
place('odd', "retry_chain \"" . $odd =~ s/(["\\])/\\$1/gr . "\" b;",
      zone => '', pass => 'proxy_pass http://a;');

my $header = 'retry_chain_header X-Trail;';

place('h', "$header retry_chain a; retry_chain b wait=20ms;");
place('h/page', "$header retry_chain refused refused; error_page 502 = /page;");
place('h/own', "$header retry_chain refused refused;");
place('h/plain', 'retry_chain a b;');
place('h/dry', "$header retry_chain a b; retry_chain_dry_run on;");
place('h/once', "$header retry_chain a;", zone => '');
place('h/odd', $header . 'retry_chain "' . $odd =~ s/(["\\])/\\$1/gr . '" b;',
      zone => '', pass => 'proxy_pass http://a;');
place('h/fail', "$header retry_chain c; retry_chain_limited fail;");
place('h/hang', "$header retry_chain a timeout=50ms; retry_chain b;");
place('h/upgrade', "$header retry_chain a b;");
place('h/static', "$header retry_chain a b; deny all;");
place('h/inner', "$header retry_chain a b;", zone => '', pass =>
      'location /h/inner/off/ { retry_chain_header off; proxy_pass '
      . 'http://$retry_chain_upstream; } proxy_pass '
      . 'http://$retry_chain_upstream;');
place('h/tagged', "$header retry_chain a tagged;");

ways_upstreams();

our $n = limits(server => 'location @last { return 503 last; }'
                         . 'location @empty { return 503; }'
                         . 'location @proxied { proxy_pass http://b; }'
                         . 'location = /page { return 200 page; }'
                         . 'access_log %%DIR%%/logs/json.log json;',
               http => <<"EOC");
log_format json escape=json '{"uri":"\$request_uri","trail":"\$retry_chain_trail"}';
upstream group { server 127.0.0.1:1 max_fails=0;
                 server unix:@{[ ways_dir() ]}/a; }
upstream "@{[ $odd =~ s/(["\\])/\\$1/gr ]}" { server 127.0.0.1:1; }
EOC


# ---- the trail --------------------------------------------------------------

# what the ways say, the trail in words

my @cases = (
    ['t', [], 'success: a unix:/a status 200 97 first success'],
    ['t', [a => '500'],
     'success: a unix:/a status 500 97 first next,'
     . ' b unix:/b status 200 97 step success'],
    ['t', [a => '503 | 503', b => '500', c => '404'],
     'stopped: a unix:/a status 503 97 first again,'
     . ' a unix:/a status 503 97 backoff next,'
     . ' b unix:/b status 500 97 step next,'
     . ' c unix:/c status 404 97 step stopped'],
    ['t', [a => '500', -method => 'POST', -body => 'x'],
     'unsafe: a unix:/a status 500 98 first unsafe'],
    ['hang', [a => 'hang'],
     'success: a unix:/a timeout 504 0 first next,'
     . ' b unix:/b status 200 97 step success'],
    ['last', [a => '500'],
     'exhausted: a unix:/a status 500 97 first next,'
     . ' @last  status 503 0 step exhausted'],
    ['first', [],
     'success: @last  status 503 0 first next,'
     . ' b unix:/b status 200 97 step success'],
    ['middle', [a => '500'],
     'success: a unix:/a status 500 97 first next,'
     . ' @last  status 503 0 step next,'
     . ' b unix:/b status 200 97 step success'],
    ['later', [], 'exhausted: @empty  status 503 0 first exhausted'],
    ['once', [a => '500'],
     'exhausted: a unix:/a status 500 97 first exhausted'],
    ['dry', [a => '500'], 'dry_run: a unix:/a status 500 97 first next'],
    ['dry', [a => '404'], 'dry_run: a unix:/a status 404 97 first next'],
    ['fail', [a => '429 / Retry-After: 90'],
     'exhausted: a unix:/a status 429 114 first exhausted'],
    ['fail', [], 'limited: '],
    ['servers', [], 'success: group 127.0.0.1:1, unix:/a status 200 97 first'
     . ' success'],
);

my $i = 0;

for my $case (@cases) {
    my ($place, $say, $expected) = @$case;
    my $uri = "/$place/" . ++$i;

    ran($uri, @$say);
    is(words(trail($uri)), $expected, "$place: $expected");
}

{
    my $x = trail('/t/3');

    is(join(' ', map { $_->{wait} } @{ $x->{attempts} }), '0 0.01 0.02 0.02',
       'waits');
    cmp_ok($x->{time}, '>=', 0.05, 'the time of the run');
    is((grep { !exists $_->{time} } @{ $x->{attempts} }), 0,
       'the times of attempts');
    is(join(' ', sort keys %{ $x->{attempts}[0] }),
       'address bytes outcome reason status step time verdict wait',
       'the keys');

    cmp_ok(trail('/hang/5')->{attempts}[0]{time}, '>=', 0.05,
           'the time of one that timed out');
}

# a client that goes

{
    my $s = later('/long/30', a => '500');

    ok($n->wait_for(sub { $n->log() =~ m{retrying in \d+ ms.*"GET /long/30 } }),
       'a run that waits');
    close $s->{s};
    $n->wait_for(sub { trail('/long/30') });
    is(words(trail('/long/30')),
       'aborted: a unix:/a status 500 97 first next', 'during a wait');

    $s = later('/t/31', a => 'hang');
    ok($n->wait_for(sub { calls('/t/31') eq 'a' }), 'one that asks');
    close $s->{s};
    $n->wait_for(sub { trail('/t/31') });
    is(words(trail('/t/31')), 'aborted: a unix:/a aborted 499 0 first aborted',
       'during an attempt');
}

# names of any bytes

{
    ran('/odd/40', a => '500 | 200');

    my $x = trail('/odd/40');

    is($x->{attempts}[0]{step}, "w\x{e4}\"y\\\x{fffd}",
       'a name that is not UTF-8');
    is($x->{attempts}[1]{step}, 'b', 'what comes behind it');
}

# the same with escape=json: a string in which there is JSON

{
    my %seen;
    my $wrong = 0;

    for my $line (split /\n/, $n->slurp('logs/json.log')) {
        my $x = eval { $json->decode($line) };
        my $trail = $x && eval {
            JSON::PP->new->decode($x->{trail});
        };

        $wrong++ if !$trail || !$trail->{attempts};
        $seen{ $x->{uri} } = $trail;
    }

    is($wrong, 0, 'escape=json: each line');
    is(words($seen{'/t/2'}), $cases[1][2], 'has the trail');
    is($seen{'/odd/40'}{attempts}[0]{step}, "w\x{e4}\"y\\\x{fffd}",
       'and its names');
}


# ---- for clients ------------------------------------------------------------

for my $case (
    ['h', [], 'a 200; success'],
    ['h', [a => '500'], 'a 500, b 200 after 0.020; success'],
    ['h', [a => '500', b => '404'],
     'a 500, b 404 after 0.020; exhausted'],
    ['h', [a => '500', -method => 'HEAD'], 'a 500, b 200 after 0.020; success'],
    ['h', [-method => 'POST', -body => 'x', a => '500'], 'a 500; unsafe'],
    ['h/page', [], 'refused 502 error, refused 502 error; exhausted'],
    ['h/own', [], 'refused 502 error, refused 502 error; exhausted'],
    ['h/plain', [a => '500'], undef],
    ['h/dry', [a => '500'], 'a 500; dry_run'],
    ['h/once', [a => '500'], 'a 500; exhausted'],
    ['h/odd', [a => '500 | 200'], 'w??"y\\? 500, b 200; success'],
    ['h/hang', [a => 'hang'], 'a 504 timeout, b 200; success'],
    ['h/upgrade', [-head => "Upgrade: websocket\r\nConnection: upgrade\r\n"],
     'bypassed'],
    ['h/static', [], undef],
    ['h/inner', [a => '500'], 'a 500, b 200; success'],
    ['h/inner/off', [a => '500'], undef],
    ['h/tagged', [a => '500', -head => "If-None-Match: \"x\"\r\n"],
     'a 500, tagged 200; success'],
) {
    my ($place, $say, $expected) = @$case;
    my $x = ask("/$place/h" . ++$i, @$say);

    is($x->{h}{'x-trail'}[0], $expected,
       "$place: $x->{status} " . ($expected // 'nothing'));
    is(scalar @{ $x->{h}{'x-trail'} // [] }, defined $expected ? 1 : 0, 'once');
}

ask('/h/fail/1', c => '429 / Retry-After: 90');
is(ask('/h/fail/2')->{h}{'x-trail'}[0], 'limited', 'without an attempt');


# ---- the error log ----------------------------------------------------------

{
    my @lines = map { / (retry chain (?:attempt|ended).*?), client:/ ? $1 : () }
                grep { m{"GET /t/3 } } split /\n/, $n->log();

    s/(?:,? while .*)//, s/\b(\d+) ms$/N ms/ for @lines;

    is(join("\n", @lines), <<'EOC' =~ s/\n\z//r, 'a line for each failure');
retry chain attempt 1/6 to "a" failed: status 503, retrying in N ms
retry chain attempt 2/6 to "a" failed: status 503, retrying in N ms
retry chain attempt 3/6 to "b" failed: status 500, retrying in N ms
retry chain attempt 4/6 to "c" failed: status 404, no other attempt: stopped
retry chain ended: stopped, 4 attempts in N ms
EOC
}

is($n->bad(), '', 'a clean log');

done_testing();


sub ran {
    my ($uri, @say) = @_;

    $n->until_logged(sub { ask($uri, @say) });
    $n->wait_for(sub { trail($uri) });
}


# of the access log with escape=none

sub trail {
    my ($uri) = @_;

    my ($line) = grep { m{^\Q$uri\E } } split /\n/, $n->access() or return;

    return $json->decode($line =~ /(\{.*\})$/);
}


sub words {
    my ($trail) = @_;

    return "$trail->{result}: " . join ', ', map {
        my $at = $_;
        join(' ', map { $at->{$_} } qw(step address outcome status bytes reason
                                       verdict))
            =~ s{unix:/[^ ,]*/}{unix:/}gr
    } @{ $trail->{attempts} };
}
