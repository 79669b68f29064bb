#!/usr/bin/perl

# What lies in a zone when the configuration changes: a reload that is refused
# changes nothing, and what workers of older configurations use is theirs.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Socket::INET;
use JSON::PP;
use Test::More;
use Time::HiRes qw(sleep time);

use Ways;
use Ways::Limits;
use Ways::Nginx;


# a small zone, all of it for steps and chains

my $small = '64k history=0';

my %status = (server => 'location = /status { retry_chain_status; }');

my $names = 0;


# ---- reloads that are refused -----------------------------------------------

# nginx asks for these things after it has read the configuration, and in this
# order

my $taken = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1)
    or die "listen: $!";
my $port = $taken->sockport();

my $n;

sub rates {
    my ($first, $second, $history) = @_;

    forget();
    place('first', "retry_chain a $first; retry_chain_limited fail;");
    place('second', "retry_chain a $second;");
    place('zone', 'retry_chain a;',
          zone => "retry_chain_zone zone 128k history=$history;");
}

rates('rate=3r/m', 'rate=5r/s', 20);
$n = limits();

is(ask('/first/1')->{rate}, '0.050', 'the first rate');
is(ask('/second/1')->{rate}, '5.000', 'the second rate');

my $refused = 0;

for my $case (['the module', 'rate=500r/s', 'rate=50r/s', 21, '',
               qr/the "history" of zone "zone" is 21 while it is 20/],
              ['another module', 'rate=500r/s', '', 20,
               'limit_req zone=nowhere;',
               qr/zero size shared memory zone "nowhere"/],
              ['the system', 'rate=500r/s', 'rate=auto', 20,
               "listen 127.0.0.1:$port;", qr/still could not bind/])
{
    my ($who, $first, $second, $history, $server, $said) = @$case;

    rates($first, $second, $history);
    ok(!reload(server => $server), "a reload that $who refuses");
    ok($n->wait_for(sub { $n->log() =~ $said }), 'what is said');

    $refused++;
    is(ask("/first/refused$refused")->{said}, '429 limited [] [] []',
       'a slot that was taken is taken');
    is(ask("/second/refused$refused")->{rate}, '5.000', 'a rate is what it was');
}

rates('rate=500r/s', '', 20);
ok(reload(), 'one that is not refused');

is(ask('/first/2')->{said}, '200 success [a] [200] [first]',
   'the slot is free');
is(ask('/first/3')->{rate}, '500.000', 'the rate is the new one');


# ---- workers of two configurations ------------------------------------------

{
    my $retry = 'retry_chain_retry http_503 attempts=2 interval=700ms;';

    forget();
    place('side', "retry_chain a; $retry");
    ok(reload(), 'a way without a rate');

    my ($old) = parked(['/side/1', a => '503 | 200']);

    forget();
    place('side', "retry_chain a rate=10r/s; $retry");
    ok(reload(), 'gets one while an old worker has a run there');

    is(ask('/side/2')->{rate}, '10.000', 'the rate');
    is(now($old)->{said}, '200 success [a, a] [503, 200] [first, backoff]',
       'the old run');
    is(ask('/side/3')->{rate}, '10.000', 'the rate is the same afterwards');
}

$n->stop();


# ---- what workers of older configurations use -------------------------------

{
    forget();
    place('held', 'retry_chain a;', size => $small, left => 0);
    place('held/wait', 'retry_chain a; retry_chain b wait=40s;', left => 0);
    $n = limits(%status);

    my ($old) = workers();
    my ($run) = parked(['/held/1', a => 'hang']);
    my @waiting = parked(map { ["/held/wait/$_", a => '500'] } 1 .. 3);

    ok($n->wait_for(sub { zone('held')->{waiting} == 3 }), 'runs that wait');

    my @reloads = map { renewed('held', 3) } 1 .. 20;

    is("@reloads", join(' ', (1) x 20), 'many reloads, each with other names');
    my $of_old = qr/step "[ab]"|chain "server \/held\/(?!new)/;

    cmp_ok(forgotten(qr/./), '>', 0, 'what nobody uses is forgotten');
    is(forgotten($of_old), 0, 'what an old worker uses is not');

    is(zone('held')->{waiting}, 3, 'its runs wait');
    is(join(' ', map { $_->{waiting} } @{ status()->{chains} }), '0 0 0',
       'not in new chains');
    is(rates_of('held'), '2 2 2', 'new steps have their rate');

    close $_->{s} for $run, @waiting;
    ok($n->wait_for(sub { !grep { $_ == $old } $n->workers() }),
       'the old worker has gone');

    is(rates_of('held'), '2 2 2', 'and have it when the old runs have ended');
    is(join(' ', map { total($_->{replies}, $_->{failures}) }
                     @{ zone('held')->{steps} }), '0 0 0',
       'they have had no call');

    for (1 .. 20) {
        renewed('held', 3) or last;
        last if forgotten($of_old);
    }

    is(forgotten($of_old), 1, 'what it has used may be forgotten then');

    is($n->bad(), '', 'a clean log');
    $n->stop();
}


# ---- without a master -------------------------------------------------------

{
    forget();
    place('single', 'retry_chain a rate=3r/m; retry_chain_limited fail;');
    $n = limits(main => 'master_process off;');

    is(ask('/single/1')->{rate}, '0.050', 'a single process: the rate');
    is(ask('/single/2')->{said}, '429 limited [] [] []', 'its slot');
}

done_testing();


# another configuration: so many steps and chains that have not been there yet

sub renewed {
    my ($zone, $n, %arg) = @_;

    my @steps = map { 'new' . ++$names } 1 .. $n;

    forget();
    place("$zone/$_", "retry_chain $_ rate=2r/s;", left => 0, size => $small,
          %arg) for @steps;

    return reload(%status, http => join '', map {
        "upstream $_ { server 127.0.0.1:1; }\n"
    } @steps);
}


# how many times

sub forgotten {
    my ($what) = @_;
    return scalar(() = $n->log() =~ /\[warn\] .*is full, forgot (?:$what)/g);
}


sub status {
    return decode_json($n->ask(Ways::Nginx::request('GET', '/status', ''))
                         ->{body});
}


sub zone {
    my ($name) = @_;
    return (grep { $_->{name} eq $name } @{ status()->{zones} })[0];
}


sub rates_of {
    my ($name) = @_;
    return join ' ', map { $_->{rate} } @{ zone($name)->{steps} };
}


sub total {
    my $sum = 0;

    $sum += $_ for map { values %$_ } @_;

    return $sum;
}
