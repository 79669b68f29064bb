#!/usr/bin/perl

# retry_chain_budget: retries are a share of the requests of a time and a rate
# on top of it.  What is over it is not queued, the reply at hand is the answer.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(sleep time);

use Slack qw(stretch taken);
use Ways;
use Ways::Limits;
use Ways::Nginx;

# what has to be done within some time is given more of it where all is slow,
# and begun again, in other places, where it was too slow all the same

my $k = stretch();

place('half', 'retry_chain a b; retry_chain_budget 50% min=0;');
place('half/same', 'retry_chain c attempts=2; retry_chain_budget 50 min=0;');
place('half/off', 'retry_chain a b; retry_chain_budget off;');
place('twice', 'retry_chain a b c; retry_chain_budget 200% min=0;');
place('none', 'retry_chain a b; retry_chain_budget 0% min=0;');
place('min', 'retry_chain a b; retry_chain_budget 0% min=6r/m window=20s;');
place("default$_", 'retry_chain a b; retry_chain_budget 0%;') for 1 .. 3;

# two in a window, and one

place("slide$_", 'retry_chain a b; retry_chain_budget 0% min=' . int(66 / $k)
                 . 'r/m window=' . 2 * $k . 's;') for 1 .. 3;
place("wait$_", 'retry_chain a; retry_chain b wait=' . 700 * $k . 'ms;'
                . 'retry_chain_budget 0% min=' . int(330 / $k) . 'r/m window='
                . 200 * $k . 'ms;') for 1 .. 3;

place('parked', 'retry_chain a b; retry_chain_budget 0% min=6r/m window=10s;');
place('ticket', 'retry_chain a; retry_chain b rate=3r/m;'
                . 'retry_chain_budget 0% min=0;');
place('limited', 'retry_chain a b; retry_chain_budget 0% min=0;');
place('limited/b', 'retry_chain b;');
place('unsafe', 'retry_chain a b; retry_chain_budget 0% min=6r/m window=10s;');
place('overflow', 'retry_chain a; retry_chain b wait=10ms;'
                  . 'retry_chain_max_waiting 0;'
                  . 'retry_chain_budget 0% min=6r/m window=10s;');
place('overflow/other', 'retry_chain a b;'
                        . 'retry_chain_budget 0% min=6r/m window=10s;');

my $n = limits();
my $i = 0;


# ---- a share ----------------------------------------------------------------

is(results('half', 6), 'budget success budget success budget success',
   'every second request may have a retry');
is(results('half/same', 2), 'budget success', 'the zone has one budget');
is(results('half/off', 3), 'success success success', 'off');
is(results('half/same', 2), 'budget success', 'does not count');

{
    my $x = ask('/half/a', a => '503 / X-A: yes');

    is("$x->{said} $x->{calls}", '503 budget [a] [503] [first] a', 'over it');
    is("@{ $x->{h}{'x-a'} } $x->{body}", 'yes a 503 GET ' . sum('') . "\n",
       'the reply at hand is the answer, as it came');
    is($x->{after}, '', 'ways are free');
}

# requests without a failure are requests

is(ask("/half/ok$_")->{said}, '200 success [a] [200] [first]', 'a success')
    for 1 .. 4;
is(results('half', 4), 'success success success success',
   'leave something for others') or diag($n->access());

# two of each three attempts may be retries

is(ask('/twice/1', a => '500', b => '500')->{said},
   '200 success [a, b, c] [500, 500, 200] [first, step, step]', '200%');

is(results('none', 3), 'budget budget budget', '0% min=0');

like($n->log(), qr{retry chain attempt 1/2 to "a" failed: status 503, no other attempt: budget.*"GET /half/a },
     'the log');


# ---- a rate -----------------------------------------------------------------

is(results('min', 4), 'success success budget budget', 'min= and window=');

taken('the default', sub {
    my ($i) = @_;

    my $start = time();
    my $results = results("default$i", 101);

    return 1 if time() > $start + 9;
    is($results =~ s/success //gr, 'budget', 'min=10r/s window=10s by default');
    return 0;
});


# ---- what counts ------------------------------------------------------------

# a retry that waits counts when it is decided on, for the window, not for as
# long as it waits

taken('a retry that waits', sub {
    my ($i) = @_;

    my $start = time();
    my $first = later("/wait$i/1", a => '500');

    ok($n->wait_for(sub { calls("/wait$i/1") eq 'a' }), 'a retry waits');

    my $over = ask("/wait$i/2", a => '500');
    my $took = time() - $start;

    # the next one has to come before the first one goes on

    sleep 0.25 * $k;

    my $second = later("/wait$i/3", a => '500');

    ok($n->wait_for(sub { calls("/wait$i/3") eq 'a' }), 'another one');

    return 1 if $took > 0.19 * $k || calls("/wait$i/1") ne 'a';

    is($over->{said}, '500 budget [a] [500] [first]', 'over the budget');
    is(now($second)->{said}, '200 success [a, b] [500, 200] [first, step]',
       'not a window later, though the first one still waits');
    is(now($first)->{said}, '200 success [a, b] [500, 200] [first, step]',
       'it needs no budget again');
    return 0;
});

# first attempts that wait for an upstream are no retries

{
    ask('/parked/1', a => "429 / Retry-After: $k",
        b => "429 / Retry-After: $k");

    # that was one

    my $x = ask('/parked/2');

    is($x->{said}, '200 success [a] [200] [retry_after]', 'a run that waits');
    is(results('parked', 1), 'budget', 'of the one retry nothing is left');
}

is(ask('/ticket/1', a => '500')->{said}, '500 budget [a] [500] [first]',
   'over the budget');
is(left('ticket', 'b'), 0, 'the ticket is given back');

ask('/limited/b/1', b => '429 / Retry-After: 30');

{
    my $x = ask('/limited/1', a => '429 / Retry-After: 60');

    is("$x->{said} $x->{calls}", '429 budget [a] [429] [first] a',
       'a wait would be over it');
    like($x->{after}, qr/^(?:30|2\d)$/, 'Retry-After is that of the soonest');
}

is(ask('/unsafe/1', -method => 'POST', -body => 'x', a => '500')->{said},
   '500 unsafe [a] [500] [first]', 'a retry that is not allowed');
is(results('unsafe', 2), 'success budget', 'does not count');

is(ask('/overflow/1', a => '500')->{said}, '500 overflow [a] [500] [first]',
   'a retry that may not wait');
is(results('overflow/other', 2), 'success budget', 'does not count');


# ---- the window slides ------------------------------------------------------

taken('a window', sub {
    my ($i) = @_;

    my $start = time();
    my @got = (results("slide$i", 1));

    sleep_until($start + $k);
    push @got, map { results("slide$i", 1) } 1, 2;

    return 1 if time() > $start + 1.7 * $k;

    # the first one is not in the window any more, the second one is

    sleep_until($start + 2.2 * $k);
    push @got, results("slide$i", 2);

    return 1 if time() > $start + 2.7 * $k;

    is("@got", 'success success budget success budget', 'the window slides');
    return 0;
});

is($n->bad(), '', 'a clean log');

done_testing();


# so many requests to ways that fail at first

sub results {
    my ($place, $n) = @_;

    return join ' ', map {
        $i++;
        ask("/$place/r$i", a => '500', c => '500 | 200')->{run} =~ /^(\w+)/
            ? $1 : '-';
    } 1 .. $n;
}


sub sleep_until {
    my ($time) = @_;

    my $left = $time - time();

    sleep $left if $left > 0;
}
