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

    my $old;

    $n->wait_for(sub { ($old) = workers() });

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


# ---- a zone that is full of what is in use ----------------------------------

# what is new has no room beside what is there, but alone it would have

sub pairs {
    my ($set, @steps) = @_;

    forget();
    place("pairs/$set$_", "retry_chain $steps[$_]; retry_chain_limited fail;",
          size => '64k', left => 0) for 0 .. $#steps;
}

{
    my @spare = map { "new$_" } 1 .. 9;
    my $http = join '', map { "upstream $_ { server 127.0.0.1:1; }\n" } @spare;
    my %two = (%status, http => $http, listen => 'reuseport',
               main => 'worker_processes 2;');
    my $other = qr/\[notice\] .*zone "pairs" is full of what is in use, \d+ steps and chains have other memory/;

    pairs('x', @spare[0 .. 4]);
    $n = limits(%two);
    pairs('y', 'a', 'b', @spare[5 .. 7]);

    ok(reload(%two), 'a reload that has other steps and chains only');
    is(scalar(() = $n->log() =~ /$other/g), 1, 'where they are');

    is(ask('/pairs/y0/1', a => '429 / Retry-After: 600')->{said},
       '429 exhausted [a] [429] [first]', 'one of them');
    is(join(' ', map { ask("/pairs/y0/$_")->{status} } 2 .. 11),
       join(' ', (429) x 10), 'is limited for all workers');
    is(scalar(() = join(' ', ways_calls()) =~ m{/pairs/y0/}g), 1,
       'it has had one call');
    ok($n->wait_for(sub { my @all = $n->workers(); @all == 2 }, 10),
       'the old workers have gone');

    # which is known also where it has room later

    pairs('y', 'a', 'b', @spare[5 .. 7]);
    ok(!reload(%two, server => 'limit_req zone=nowhere;'),
       'a reload that is refused');
    ask('/pairs/y1/1', b => '429 / Retry-After: 600');

    pairs('y', 'a', 'b', @spare[5 .. 7]);
    ok(reload(%two), 'one that is not');
    is(scalar(() = $n->log() =~ /$other/g), 1, 'there is room now');
    is(ask('/pairs/y0/12')->{said}, '429 limited [] [] []',
       'what was limited is limited');
    is(ask('/pairs/y1/2')->{said}, '429 limited [] [] []',
       'since the refused reload, too');

    my ($run) = grep { $_->{uri} eq '/pairs/y0/1' }
                     @{ zone('pairs')->{runs}{recent} };

    is("$run->{chain} $run->{attempts}[0]{step}", 'server /pairs/y0/ a',
       'recent runs have names');
    is(join(' ', map { "$_->{name} $_->{replies}{429}" }
                     @{ zone('pairs')->{steps} }[0 .. 1]), 'a 1 b 1',
       'counters are kept');

    is($n->bad() =~ s/.*zero size.*\n//r, '', 'a clean log');
    $n->stop();
}


# many configurations, of which each has a worker that does not end

{
    forget();
    place('many', 'retry_chain a;', size => $small, left => 0);
    $n = limits(%status);

    my @held;

    for (1 .. 20) {
        push @held, parked(["/many/$_", a => 'hang']);

        my @step = 'step' . ++$names;

        forget();
        place('many', 'retry_chain a;', size => $small, left => 0);
        place("many/more$names", "retry_chain @step;", left => 0);
        last if !reload(%status,
                        http => "upstream @step { server 127.0.0.1:1; }\n");
    }

    is(scalar @held, 20, 'many reloads');
    is(scalar(my @all = $n->workers()), 21, 'many old workers');
    like($n->log(), qr/zone "many" is full of what is in use/,
         'there is no room for all that they use');
    is(forgotten(qr/./), 0, 'nothing is forgotten');

    my $in_flight = zone('many')->{steps}[0]{in_flight};

    if ($n->log() =~ /\[error\] .*zone "many" is full, what this worker has under way is not known to others/) {
        cmp_ok($in_flight, '<', 20, 'some are not known to others');

    } else {
        is($in_flight, 20, 'all of them are known');
    }

    close $_->{s} for @held;
    ok($n->wait_for(sub { my @now = $n->workers(); @now == 1 }, 10), 'they end');
    is(zone('many')->{steps}[0]{in_flight}, 0, 'nothing is under way');
    is($n->bad(), '', 'a clean log');
    $n->stop();
}


# ---- another size -----------------------------------------------------------

{
    my $size = sub {
        forget();
        place('size', 'retry_chain a; retry_chain_limited fail;',
              zone => 'retry_chain_zone size;', left => 0);
        place('size/auto', 'retry_chain b rate=5r/s;', left => 0,
              zone => "retry_chain_zone size $_[0];");
        return reload(%status);
    };

    forget();
    place('size', 'retry_chain a; retry_chain_limited fail;', left => 0);
    $n = limits(%status);

    ask('/size/1', a => '429 / Retry-After: 600');

    my $asked = 1;

    for my $to ('256k', '256k', '64k', '128k history=9') {
        ok($size->($to), "reload with $to");
        is(ask('/size/' . ++$asked)->{said}, '429 limited [] [] []',
           'what was limited is limited');
        is(zone('size')->{steps}[0]{replies}{429}, 1, 'counters are kept');
    }

    is(zone('size')->{history}, 9, 'a history that changes with the size');
    is(chain('/size/')->{runs}{limited}, 4, 'all runs');
    is($n->bad(), '', 'a clean log');
}

# too small: what is said is enough

for my $case ([30, '64k history=0'], [30, '64k'], [30, '64k history=50'],
              [90, '100k'], [300, '64k history=0'], [300, '200k history=1000'])
{
    my ($steps, $size) = @$case;
    my $zone = 'small' . ++$names;
    my $http = some($zone, $steps, $size);

    ok(!reload(http => $http), "$steps steps with $size");

    my ($need) = $n->log() =~ /zone "$zone" is too small for $steps steps, \d+ chains and a history of \d+: it has \d+k and needs (\d+)k in \S+nginx.conf:\d+$/m;

    $size =~ s/\d+k/($need \/\/ 0) . 'k'/e;
    ok(reload(http => some($zone, $steps, $size)), "with $size");
}

$n->stop();


# ---- without a master -------------------------------------------------------

{
    forget();
    place('single', 'retry_chain a rate=3r/m; retry_chain_limited fail;');
    $n = limits(main => 'master_process off;');

    is(ask('/single/1')->{rate}, '0.050', 'a single process: the rate');
    is(ask('/single/2')->{said}, '429 limited [] [] []', 'its rate');
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


# places with so many steps that have not been there yet

sub some {
    my ($zone, $n, $size) = @_;

    my @steps = map { 'some' . ++$names } 1 .. $n;
    my $http = join '', map { "upstream $_ { server 127.0.0.1:1; }\n" } @steps;

    forget();

    while (my @some = splice @steps, 0, 10) {
        place("$zone/$some[0]", "retry_chain @some;", left => 0,
              size => $size);
    }

    return $http;
}


sub status {
    return decode_json($n->ask(Ways::Nginx::request('GET', '/status', ''))
                         ->{body});
}


sub zone {
    my ($name) = @_;
    return (grep { $_->{name} eq $name } @{ status()->{zones} })[0];
}


sub chain {
    my ($place) = @_;
    return (grep { $_->{name} eq "server $place" } @{ status()->{chains} })[0];
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
