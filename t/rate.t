#!/usr/bin/perl

# rate= and burst= of steps: calls leave at the pace of their upstream, in the
# order in which their requests came, whatever location or worker they come
# from.  rate=auto learns the pace; without a rate one call tries after a limit.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(sleep time);

use Slack qw(slack stretch);
use Ways;
use Ways::Limits;
use Ways::Nginx qw(request);


my $slow = Ways::Nginx::slow();

# what has to be done within some time is given more of it where all is slow

my $k = stretch();

# nginx reads a coarse clock, of 4 ms as a rule, and cuts it to milliseconds; it
# is behind when the processor has other things to do

my $early = 0.006 * $k;

# a vendor that refuses above 40 calls a second, and 8 at once

my ($tokens, $filled) = (8, 0);

ways(bucket => sub {
    my $now = time();

    $tokens += ($now - $filled) * 40 / $k;
    $tokens = 8 if $tokens > 8;
    $filled = $now;

    return reply(429, "slow down\n", "Retry-After: $k") if $tokens < 1;

    $tokens--;
    return reply(200, "ok\n");
});


# ---- the places -------------------------------------------------------------

place('burst', 'retry_chain v rate=' . 1200 / $k . 'r/m burst=5;');
place('minute', 'retry_chain v rate=600r/m;');
place('odd', 'retry_chain v rate=7r/s;');
place('many', 'retry_chain v rate=200r/s;');
place('share', 'retry_chain v rate=3r/m; retry_chain_limited fail;');
place('share/too', 'retry_chain a v rate=3r/m; retry_chain_limited fail;');
place('other', 'retry_chain v rate=3r/m; retry_chain_limited fail;');
place('skip', 'retry_chain a b rate=3r/m; retry_chain_limited fail;');
place('more', 'retry_chain a b rate=3r/m burst=10;');
place('free', 'retry_chain a; retry_chain b rate=3r/m burst=10;');
place('off', 'retry_chain a rate=off; retry_chain_limited fail;');
place('limit', 'retry_chain a rate=20r/s burst=5;');
place('wait', 'retry_chain a; retry_chain b rate=1r/m wait='
              . 500 * $k . 'ms; retry_chain_timeout ' . 5 * $k . 's;');
place('wait/b', 'retry_chain b rate=1r/m;');
place('told', 'retry_chain a rate=auto;');
place('told/not', 'retry_chain b;');
place('auto', 'retry_chain bucket rate=auto;'
              . 'retry_chain_retry http_429 attempts=20 interval=0;');
place('probe', 'retry_chain a; retry_chain_retry_after default='
               . 3 * $k . 's;');
place('again', 'retry_chain a; retry_chain_retry_after default='
               . 1500 * $k . 'ms;');

my $vendor = <<'EOC';
upstream v { server unix:%%DIR%%/v; }
log_format vendor '$msec $request_uri';

server {
    listen unix:%%DIR%%/v;
    access_log %%DIR%%/logs/vendor.log vendor;
    location / { return 200 "v\n"; }
}
EOC

my $n = limits(http => $vendor);


# ---- bursts and pace --------------------------------------------------------

{
    my $start = time();
    my @x = map { now($_) } parked(map { ["/burst/$_"] } 1 .. 15);

    is(join(' ', map { $_->{status} } @x), join(' ', (200) x 15),
       'all are answered');
    is(join(' ', map { $_->{run} } @x[0 .. 4]),
       join(' ', ('success [v] [200] [first]') x 5), 'five at once');

    like($x[14]{run}, qr/\[rate\]$/, 'others wait for the rate');
    like($x[14]{rate}, qr/^\d+\.\d{3}$/, '$retry_chain_rate');
    cmp_ok(abs($x[14]{rate} - 20 / $k), '<', 0.002, 'is that of the step');
    paced($n, 'burst', $start, 5, 0.05 * $k);

    # for as long as it takes to fill the bucket

    sleep 0.35 * $k;
    @x = map { now($_) } parked(map { ["/burst/$_"] } 16 .. 20);
    is(join(' ', map { $_->{run} } @x),
       join(' ', ('success [v] [200] [first]') x 5),
       'five again after a while');
}

{
    my $start = time();
    my @x = map { now($_) } parked(map { ["/minute/$_"] } 1 .. 4);

    is($x[0]{rate}, '10.000', 'r/m');
    paced($n, 'minute', $start, 1, 0.1);
}

ask('/odd/1');
ok(abs(ask('/odd/2')->{rate} - 7) < 0.002, 'a rate that is no divisor');


# ---- who shares a limiter ------------------------------------------------------

is(ask('/share/1')->{said}, '200 success [v] [200] [first]', 'a call');
is(ask('/share/too/1')->{said}, '200 success [a] [200] [first]',
   'another location, another way');

{
    my $x = ask('/share/too/2');

    is("$x->{said}", '429 limited [] [] []', 'the same zone and step');
    like($x->{after}, qr/^(?:20|1\d)$/, 'and Retry-After');
}

is(ask('/other/1')->{said}, '200 success [v] [200] [first]', 'another zone');

is(join(', ', map { ask("/skip/$_")->{said} } 1 .. 3),
   '200 success [a] [200] [first], 200 success [b] [200] [first], '
   . '429 limited [] [] []', 'a way that is not free is skipped');
is(join(' ', map { ask("/more/$_")->{calls} } 1 .. 6), 'a a a b a b',
   'one that has three calls more left goes first');

{
    is(join(' ', map { ask("/free/$_")->{calls} } 1 .. 3), 'a a a',
       'a step without a rate has enough');
}

is(join(' ', map { ask("/off/$_")->{status} } 1 .. 5), '200 200 200 200 200',
   'rate=off');
is(ask('/off/6')->{rate}, '', 'has no $retry_chain_rate');


# ---- many that wait ---------------------------------------------------------

{
    # nginx knows the connections already, it will see them in order

    my @s = map { $n->connect() } 1 .. 300;

    for my $s (@s) {
        Ways::Nginx::send_all($s, request('GET', '/sync', '', 1));
        Ways::Nginx::read_all($s, until => qr/\r\n\r\n/);
    }

    my $start = time();
    my @asked = map { later("/many/$_", -on => $s[$_ - 1]) } 1 .. 300;
    my @x = map { now($_) } @asked;

    is(scalar(grep { $_->{status} == 200 } @x), 300, '300 requests');
    is(join(' ', times_of($n, 'many', 1)), join(' ', 1 .. 300),
       'leave in order of arrival');
    paced($n, 'many', $start, 1, 0.005);
}


# ---- limits -----------------------------------------------------------------

# those that wait for a limit to end are looked at together

my @finish;

{
    my $hint = ask('/limit/1', a => "429 / Retry-After: $k");
    my @asked = parked(map { ["/limit/$_"] } 2 .. 7);

    push @finish, sub {
        my @x = map { now($_) } @asked;

        is(join(' ', map { $_->{said} } @x),
           join(' ', ('200 success [a] [200] [retry_after]') x 6),
           'a limit with a rate');

        my @at = sort { $a <=> $b } map { $_->{at} } @x;
        my @early = grep { $at[$_] < $hint->{at} + $k + $_ * 0.05 - $early }
                         0 .. 5;

        is("@early", '', 'nothing is left of a burst after it');
    };
}

# one call tries, the others go when it has been accepted: a pace has been
# learned, at which they do

{
    learn('probe');

    my $hint = ask('/probe/1', a => "429 / Retry-After: $k");
    my @asked = parked(['/probe/2', a => 'sleep=0.5 200'],
                       map { ["/probe/$_"] } 3 .. 8);

    push @finish, sub {
        my @x = map { now($_) } @asked;

        is(join(' ', map { $_->{said} } @x),
           join(' ', ('200 success [a] [200] [retry_after]') x 7),
           'seven that wait for a limit to end');
        cmp_ok($x[0]{at}, '>=', $hint->{at} + $k - $early,
               'one call goes after it');

        my @early = grep { $x[$_]{at} < $x[0]{at} + 0.5 } 1 .. 6;

        is("@early", '', 'the others when it has been accepted');
        cmp_ok($x[6]{at}, '<', $x[0]{at} + 0.5 + 2 * $slow * $k,
               'at the pace that is known');
    };
}

# replies say how many calls are left: half of them may go as they come

{
    my $i = 0;
    my $t = 2 * $k;
    my @said = map { ask('/told/' . ++$i,
                         a => "200 / RateLimit: \"d\";r=$_;t=$t") } 8, 4, 4;
    my $x = ask('/told/' . ++$i);

    is(join(' ', map { $_->{said} } @said, $x),
       '200 success [a] [200] [first] ' x 3 . '200 success [a] [200] [rate]',
       'rate=auto: the rest is spread over the time that is left');
    cmp_ok($x->{at} - $said[2]{at}, '>=', 0.25, 'with some time between them');

    @said = map { ask("/told/not/$_", b => '200 / RateLimit: "d";r=1;t=60') }
                1 .. 3;
    is(join(' ', map { $_->{said} } @said),
       join(' ', ('200 success [b] [200] [first]') x 3),
       'nothing is learned without rate=auto');
}

# it is refused again

{
    learn('again');

    ask('/again/1', a => "429 / Retry-After: $k");

    my @asked = parked(['/again/2', a => "429 / Retry-After: $k"],
                       map { ["/again/$_"] } 3 .. 6);

    push @finish, sub {
        my @x = map { now($_) } @asked;

        is($x[0]{said}, '429 exhausted [a] [429] [retry_after]',
           'a call that is refused again');
        is(join(' ', map { $_->{said} } @x[1 .. 4]),
           join(' ', ('200 success [a] [200] [retry_after]') x 4),
           'the others are not refused');

        my @early = grep { $x[$_]{at} < $x[0]{at} + $k - $early } 1 .. 4;

        is("@early", '', 'they have waited for the second limit');

        cmp_ok($x[1]{at}, '<', $x[0]{at} + 2 * $k, 'and no longer');
    };
}

# wait= of a step that has a rate

{
    my $wait = later('/wait/1', a => '500');

    ok($n->wait_for(sub { calls('/wait/1') eq 'a' }), 'a wait before a step');
    sync();
    is(left('wait', 'b'), 0, 'does not reserve its slot');
    is(ask('/wait/b/1')->{said}, '200 success [b] [200] [first]',
       'another request takes it');

    push @finish, sub {
        my $x = now($wait);

        is("$x->{said} $x->{calls}", '500 limited [a] [500] [first] a',
           'the first one cannot wait until the deadline');
    };
}


# ---- learning ---------------------------------------------------------------

# more than it takes: 60 where it takes 40, refused ones try again

my @refused;

for my $round (1, 2) {
    my $start = time();
    my @asked;

    for my $i (1 .. 60) {
        my $pause = $start + $i / 60 * $k - time();

        sleep $pause if $pause > 0;
        push @asked, later("/auto/$round.$i");
    }

    my @x = map { now($_, timeout => 20 * $k) } @asked;

    is(scalar(grep { $_->{status} == 200 } @x), 60,
       "rate=auto, round $round: all are answered");

    push @refused, scalar(() = map { $_->{run} =~ /429/g } @x);
    cmp_ok($x[-1]{rate}, '>', 10 / $k, 'the rate is learned');
    cmp_ok($x[-1]{rate}, '<', 60 / $k, 'about');
}

cmp_ok($refused[0], '>', 0, 'some calls are refused first');
cmp_ok($refused[0], '<=', 12, 'not many');
cmp_ok($refused[1], '<=', 4, 'few later');
note("refused: @refused");

$_->() for @finish;

is($n->bad(), '', 'a clean log');
$n->stop();


# ---- two workers ------------------------------------------------------------

{
    place('two', 'retry_chain v rate=100r/s burst=10;');
    place('tell', 'retry_chain a b;');

    my $n = limits(listen => 'reuseport', main => 'worker_processes 2;',
                   server => 'access_log %%DIR%%/logs/pid.log pid;',
                   http => "$vendor log_format pid '\$pid \$request_uri';");

    ok($n->wait_for(sub { my @w = $n->workers(); @w == 2 }), 'two workers');

    my $start = time();
    my @x = map { now($_) } map { later("/two/$_") } 1 .. 60;

    is(scalar(grep { $_->{status} == 200 } @x), 60, 'all are answered');

    my %pids = map { $_ => 1 } $n->slurp('logs/pid.log') =~ m{^(\d+) /two/}gm;

    is(scalar(keys %pids), 2, 'by both of them');
    paced($n, 'two', $start, 10, 0.01);

    # what one of them is told

    ask('/tell/1', a => '429 / Retry-After: 60');
    is(join(' ', map { ask("/tell/$_")->{calls} } 2 .. 21),
       join(' ', ('b') x 20), 'a limit binds both');
    is($n->bad(), '', 'a clean log');
}

done_testing();


# the calls of a place: none was made earlier than its pace allows

sub paced {
    my ($n, $place, $start, $burst, $interval) = @_;

    my @times = sort { $a <=> $b } times_of($n, $place);
    my @early = grep {
        $times[$_] < $start + ($_ - $burst + 1) * $interval - $early;
    } $burst .. $#times;

    is(join(' ', map { sprintf '%d:%.3f', $_, $times[$_] - $start } @early), '',
       "$place: no call is too early");

    my ($room) = sort { $b <=> $a } $k, slack();

    cmp_ok($times[-1] - $start, '<',
           (@times - $burst) * $interval + 2 * $slow * $room,
           "$place: nor much too late");
}


# times, or numbers of requests, in the order of calls

sub times_of {
    my ($n, $place, $number) = @_;

    $n->wait_for(sub { $n->slurp('logs/vendor.log') =~ /\n\z/ });

    my @calls = $n->slurp('logs/vendor.log') =~ m{^(\S+ /$place/\d+)$}gm;

    return map { m{^(\S+) /$place/(\d+)} ? $number ? $2 : $1 : () } @calls;
}


# some calls that are accepted

sub learn {
    my ($place) = @_;

    for (1 .. 5) {
        ask("/$place/0$_");
        sleep 0.02;
    }
}
