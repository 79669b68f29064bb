#!/usr/bin/perl

# The shared memory of a zone: over a reload, when it is full, and when a worker
# is killed at a bad moment.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Select;
use Test::More;
use Time::HiRes qw(sleep time);

use Slack qw(stretch);
use Ways;
use Ways::Limits;
use Ways::Nginx;


# what has to be done within some time is given more of it where all is slow

my $k = stretch();

my $killed = qr/worker process \d+ exited on signal 9/;

# a small zone, all of it for steps and chains

my $small = '64k history=0';

my $names = 0;
my $fit = room();

note("64k has room for $fit steps");


# ---- over a reload ----------------------------------------------------------

sub keep {
    place('keep', 'retry_chain a; retry_chain_limited fail;', @_);
    place('keep/paced', 'retry_chain b rate=3r/m; retry_chain_limited fail;');
    place('keep/learned', 'retry_chain c; retry_chain_limited fail;');
    place('line', 'retry_chain a rate=' . 300 / $k . 'r/m;');
    place('waiting', 'retry_chain a; retry_chain_max_waiting 2;');
}

keep();

our $n = limits();

ask('/keep/1', a => '429 / Retry-After: 90');
ask('/keep/paced/1');

for (1 .. 5) {
    ask("/keep/learned/$_");
    sleep 0.02;
}

my $rate = ask('/keep/learned/6', c => '429 / Retry-After: 90')->{rate};

cmp_ok($rate, '>', 0, 'a rate has been learned');

my $paced = free('keep', 'b');

ok(reload(), 'reload');

{
    my $x = ask('/keep/2');

    is("$x->{said} $x->{calls}", '429 limited [] [] [] ',
       'a way that was limited is limited');
    like($x->{after}, qr/^(?:90|8\d)$/, 'for the same time');

    is(ask('/keep/paced/2')->{said}, '429 limited [] [] []',
       'a slot that was taken is taken');
    cmp_ok(abs(free('keep', 'b') - $paced), '<', 0.1,
       'for the same time');
    is(ask('/keep/learned/7')->{rate}, $rate,
       'a rate that was learned is known');
}


# those that wait in the old worker are served by it, and come first

{
    ask('/line/1');

    my @old = parked(map { ["/line/$_"] } 2 .. 4);

    ok(reload(), 'reload while some wait');

    my @new = parked(map { ["/line/$_"] } 5 .. 7);
    my @x = map { now($_) } @old, @new;

    is(join(' ', map { $_->{said} } @x),
       join(' ', ('200 success [a] [200] [rate]') x 6),
       'all of them are answered');

    my @order = sort { $x[$a]{at} <=> $x[$b]{at} } 0 .. 5;

    is("@order", '0 1 2 3 4 5', 'those that came before it first');
    ok($n->wait_for(sub { my @all = $n->workers(); @all == 1 }),
       'the old worker has gone');
}


# ---- configurations that are refused ----------------------------------------

{
    forget();
    keep();
    place('new', 'retry_chain a;', zone => 'retry_chain_zone new;');
    ok(!reload(), 'no size');
    like($n->log(), qr/\[emerg\] .*zero size shared memory zone "new"/,
         'what is said');
    is(ask('/keep/4')->{said}, '429 limited [] [] []',
       'the old configuration goes on');

    forget();
    keep();
    ok(!reload(http => many('many', $fit + 1, $small)),
       'too many steps for the size');
    like($n->log(), qr/\[emerg\] .*zone "many" is too small/, 'what is said');
    is(ask('/keep/5')->{said}, '429 limited [] [] []',
       'the old configuration goes on');
}


# ---- a full zone ------------------------------------------------------------

forget();
place('full', 'retry_chain a; retry_chain_limited fail;', size => $small);
place('full/b', 'retry_chain b;', left => 0);
place('full/c', 'retry_chain c;', left => 0);

ok(reload(), 'a zone with three steps');

ask('/full/1', a => '429 / Retry-After: 600');
ask('/full/c/1');
ask('/full/b/1');
sleep 0.05;
ask('/full/c/2');

{
    my @forgotten;

    for (1 .. 2 * $fit + 4) {
        forget();
        place('full', 'retry_chain a; retry_chain_limited fail;',
              size => $small);
        reload(http => many('full', 1)) or last;

        @forgotten = $n->log() =~ /\[warn\] .*zone "full" is full, forgot step "(\S+)" that was not used longest$/gm;
        last if @forgotten == 2;
    }

    is("@forgotten", 'b c',
       'when it is full, what was not used longest is forgotten');
    is(ask('/full/2')->{said}, '429 limited [] [] []',
       'what is in use is not');

    # several at once: what the two configurations before have is in use

    my $said = () = $n->log() =~ /zone "full" is full, forgot/g;

    forget();
    place('full', 'retry_chain a; retry_chain_limited fail;', size => $small);
    ok(reload(http => many('full', 3)), 'three new steps');
    is(scalar(() = $n->log() =~ /zone "full" is full, forgot/g), $said + 1,
       'it is said once');
}

# a configuration that does not fit must leave the running one alone

{
    forget();
    ok(!reload(http => many('full', $fit + 1, $small)), 'too many steps');
    like($n->log(), qr/\[emerg\] .*zone "full" is too small/, 'what is said');

    is(ask('/full/3')->{said}, '429 limited [] [] []',
       'the running configuration keeps its slots');
}

is($n->bad() =~ s/.*\[emerg\].*\n//gr, '', 'a clean log');
$n->stop();

# runs that wait in an old worker have their slots, too

{
    forget();
    place('held', 'retry_chain a rate=' . 60 / $k . 'r/m;', size => $small);
    $n = limits();

    my $start = time();

    ask('/held/1');

    my @held = parked(['/held/2']);

    forget();
    reload(http => many('held', $fit, $small));

    my @x = map { now($_) } @held;

    is($x[0]{said}, '200 success [a] [200] [rate]',
       'a run that waits for a slot that is not configured any more');

  {
        cmp_ok($x[0]{at}, '>=', $start + $k * (1 - 0.006), 'waits for it');
    }
}


# ---- a slot whose configuration changes -------------------------------------

{
    forget();
    place('change', "retry_chain a; retry_chain_retry_after default=${k}s;");
    ok(reload(), 'a way without a rate');

    ask('/change/1', a => "429 / Retry-After: $k");

    forget();
    place('change', 'retry_chain a rate=50r/s;'
                    . "retry_chain_retry_after default=${k}s;");
    ok(reload(), 'gets one while it is limited');

    my @x = map { now($_) } parked(map { ["/change/$_"] } 2 .. 4);

    is(join(' ', map { $_->{status} } @x), '200 200 200', 'it is called');

    is($x[2]{rate}, '50.000', 'the rate');
    cmp_ok($x[2]{at}, '<', $x[0]{at} + 1.5 * $k, 'at that rate');
}


# ---- workers that are killed ------------------------------------------------

{
    forget();
    keep();
    ok(reload(), 'one worker');

    ask('/waiting/1', a => '429 / Retry-After: 50');

    my $free = free('waiting', 'a');

    my @two = parked(['/waiting/2'], ['/waiting/3']);

    is(ask('/waiting/4')->{said}, '503 overflow [] [] []', 'two may wait');

    replaced(workers());
    is(join(' ', map { now($_)->{status} } @two), '0 0',
       'it is killed with those that wait');

    @two = parked(['/waiting/5'], ['/waiting/6']);

    ok(!can_read(@two), 'others may wait then');
    is(ask('/waiting/7')->{said}, '503 overflow [] [] []', 'as many');
    is(between(free('waiting', 'a') - $free, -0.1, 6), 'yes',
       'the limit is known');

    # an old worker, after a reload

    my ($old) = workers();

    ok(reload(), 'reload');
    ok(!can_read(@two), 'they wait in the old worker');
    is(ask('/waiting/8')->{said}, '503 overflow [] [] []', 'they count');

    kill 'KILL', $old;
    ok($n->wait_for(sub { !grep { $_ == $old } $n->workers() }),
       'the old worker is killed');

    @two = parked(['/waiting/9'], ['/waiting/10']);
    ok(!can_read(@two), 'they count no more');
    close $_->{s} for @two;
}

$n->stop();

# two workers

{
    forget();
    place('two', 'retry_chain a; retry_chain_max_waiting 12;'
                 . 'retry_chain_retry_after default=100ms;');
    $n = limits(listen => 'reuseport', main => 'worker_processes 2;');

    ok($n->wait_for(sub { my @all = workers(); @all == 2 }), 'two workers');

    ask('/two/1', a => '429 / Retry-After: ' . 2 * $k);

    my $free = free('two', 'a');
    my @asked = map { later("/two/$_") } 2 .. 13;

    ok($n->wait_for(sub { free('two', 'a') > $free + 1.15 }), 'twelve wait');
    is(ask('/two/14')->{status}, 503, 'not more');

    my ($one) = workers();

    replaced($one);

    my %gone = map { $_ => 1 } can_read(@asked);
    my @left = grep { !$gone{ $_->{s} } } @asked;

    cmp_ok(scalar @left, '<', 12, 'some of them are gone');
    cmp_ok(scalar @left, '>', 0, 'others wait in the other worker');

    $free = free('two', 'a');

    my @more = map { later("/two/more$_") } 1 .. keys %gone;

    ok($n->wait_for(sub { free('two', 'a') > $free + @more * 0.1 - 0.05 }),
       'as many others may wait');
    ok(!can_read(@more), 'they do');
    is(ask('/two/15')->{status}, 503, 'not more');

    is(join(' ', map { now($_)->{said} } @left, @more),
       join(' ', ('200 success [a] [200] [retry_after]') x 12),
       'they are answered');
}

# without retry_chain_max_waiting: no more than half of the connections

{
    $n->stop();
    forget();
    place('half', 'retry_chain a;');
    place('none', 'retry_chain a;', zone => '');
    $n = limits(events => 'worker_connections 48;');

    ask('/half/1', a => '429 / Retry-After: ' . 2 * $k);

    my $free = free('half', 'a');
    my @asked = map { later("/half/$_") } 2 .. 25;

    ok($n->wait_for(sub { free('half', 'a') > $free + 23 }), '24 wait');
    is(ask('/half/26')->{said}, '503 overflow [] [] []', 'not more');
    close $_->{s} for @asked;
}

# at any moment

{
    $n->stop();
    forget();
    place('storm', 'retry_chain a b rate=200r/s burst=10;'
                   . 'retry_chain_max_waiting 20; retry_chain_start rotate;'
                   . 'retry_chain_retry_after default=20ms max=100ms;');
    place('storm/end', 'retry_chain a b rate=200r/s burst=10;'
                       . 'retry_chain_max_waiting 20;');
    $n = limits(listen => 'reuseport', main => 'worker_processes 2;');

    my $i = 0;

    for my $round (1 .. 6) {
        my @asked;

        for (1 .. 30) {
            my $s = $n->connect(quiet => 1) or next;

            push @asked, later('/storm/' . ++$i, -on => $s,
                               a => $i % 7 ? '200' : '429',
                               b => $i % 5 ? '200' : 'sleep=0.03 503');
        }

        sleep rand(0.06);
        replaced((workers())[$round % 2]);
        now($_) for @asked;
    }

    # all waits are over: as many may wait as before

    ask('/storm/end/0', a => '429 / Retry-After: 1',
        b => '429 / Retry-After: 1');

    my @x = map { now($_) } map { later("/storm/end/$_") } 1 .. 20;

    is(join(' ', map { $_->{status} } @x), join(' ', (200) x 20),
       'the zone is as good as new');
    is($n->bad() =~ s/.*$killed.*\n//gr, '', 'a clean log');
}


# ---- the end ----------------------------------------------------------------

{
    forget();
    place('end', 'retry_chain a; retry_chain_retry_after default=100ms;');
    ok(reload(listen => 'reuseport', main => 'worker_processes 2;'), 'the end');

    ask('/end/1', a => "429 / Retry-After: $k");

    my $free = free('end', 'a');
    my @asked = map { later("/end/$_") } 2 .. 4;

    ok($n->wait_for(sub { free('end', 'a') > $free + 0.25 }), 'some wait');
    $n->signal('QUIT');
    is(join(' ', map { now($_)->{said} } @asked),
       join(' ', ('200 success [a] [200] [retry_after]') x 3),
       'those that wait are answered');
    ok($n->ended(), 'then nginx ends');
    is($n->bad() =~ s/.*$killed.*\n//gr, '', 'a clean log');
}

done_testing();


sub between {
    my ($x, $from, $to) = @_;
    return $x > $from && $x <= $to ? 'yes' : $x;
}


# places with so many steps that have not been there yet

sub many {
    my ($zone, $n, $size) = @_;

    my @steps = map { 'step' . ++$names } 1 .. $n;
    my $http = join '', map { "upstream $_ { server 127.0.0.1:1; }\n" } @steps;
    my $i = 0;

    while (my @some = splice @steps, 0, 10) {
        place("$zone/more" . ++$i, "retry_chain @some;", left => 0,
              $size ? (size => $size) : ());
    }

    return $http;
}


# how many steps a zone has room for

sub room {
    my ($low, $high) = (1, 200);

    while ($high - $low > 1) {
        my $mid = int(($low + $high) / 2);

        forget();

        my $http = many('room', $mid, $small);

        (fits(http => $http) ? $low : $high) = $mid;
    }

    forget();
    $names = 0;

    return $low;
}


# a worker is killed, and another one there

sub replaced {
    my ($pid) = @_;

    my @before = workers();

    kill 'KILL', $pid;

    $n->wait_for(sub {
        my @now = workers();

        @now == @before && !grep { $_ == $pid } @now;
    }, 10);
}


# those of them that have been answered, or cut

sub can_read {
    my (@asked) = @_;
    return IO::Select->new(map { $_->{s} } @asked)->can_read(0);
}
