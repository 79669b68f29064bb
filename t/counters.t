#!/usr/bin/perl

# Counters add up: runs are the sum of their results, attempts those of all
# steps, gauges are 0 in the end; over a reload and when a worker is killed.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP qw(decode_json);
use Test::More;

use Ways;
use Ways::Limits;
use Ways::Nginx qw(request);
use POSIX ();


my $killed = qr/worker process \d+ exited on signal 9/;
my @results = qw(success exhausted stopped unsafe deadline limited budget
                 overflow aborted bypassed);


# ---- one of each result -----------------------------------------------------

sub results {
    place('r', 'retry_chain a b; retry_chain_stop 404;', left => 0);
    place('r/deadline', 'retry_chain a; retry_chain b wait=9s;'
                        . 'retry_chain_timeout 5s;', left => 0);
    place('r/hang', 'retry_chain a timeout=50ms; retry_chain b;', left => 0);
    place('r/wait', 'retry_chain a; retry_chain b wait=60ms;', left => 0);
    place('r/long', 'retry_chain a; retry_chain b wait=30s;', left => 0);
    place('r/budget', 'retry_chain a b; retry_chain_budget 0% min=0;',
          left => 0);
    place('r/overflow', 'retry_chain a; retry_chain b wait=1s;'
                        . 'retry_chain_max_waiting 0;', left => 0);
    place('r/bypassed', 'retry_chain a b; proxy_request_buffering off;',
          left => 0);
    place('l', 'retry_chain a b; retry_chain_limited fail;', left => 0);
    place('l/wait', 'retry_chain b a;', left => 0);
}

results();

our $n = limits(server => 'location = /status { access_log off;'
                          . 'retry_chain_status; }');

ran('/r/1');
ran('/r/2', a => '500');
ran('/r/3', a => '500', b => '500');
ran('/r/4', a => '404');
ran('/r/5', a => '500', -method => 'POST', -body => 'x');
ran('/r/deadline/6', a => '500');
ran('/r/budget/7', a => '500');
ran('/r/overflow/8', a => '500');
ran('/r/bypassed/9', -method => 'POST', -body => 'x');
ran('/r/hang/10', a => 'hang');
ran('/r/11', a => 'close | close', b => 'close | close');

is_deeply(by_result('r'),
          { success => 3, exhausted => 2, stopped => 1, unsafe => 1,
            deadline => 1, budget => 1, overflow => 1, bypassed => 1 },
          'runs by result');
is_deeply(by_result('l'), {}, 'nothing elsewhere');

ran('/l/1', a => '429 / Retry-After: 90', b => '429 / Retry-After: 90');
ran('/l/2');

is_deeply(by_result('l'), { exhausted => 1, limited => 1 }, 'limited');
is(chain('/l/')->{attempts}, 2, 'without an attempt');
is(step('l', 'a')->{limit_replies} . step('l', 'b')->{limit_replies}, '11', 'two replies that name a time');

# aborted: during an attempt, a wait, and before any of them

{
    my $s = later('/r/20', a => 'hold 200');

    ok(until_is(sub { step('r', 'a')->{in_flight} }, 1), 'one is in flight');
    hand_on('/r/20', 'a');
    now($s);
    ok(until_is(sub { step('r', 'a')->{in_flight} }, 0), 'none is');

    $s = later('/r/12', a => 'hang');
    ok(until_is(sub { step('r', 'a')->{in_flight} }, 1), 'one that hangs');
    close $s->{s};
    ok(until_is(sub { by_result('r')->{aborted} }, 1), 'its client goes');
    is(step('r', 'a')->{failures}{aborted}, 1, 'the step');
    is(step('r', 'a')->{in_flight}, 0, 'none is in flight');

    $s = later('/r/long/13', a => '500');
    ok(until_is(sub { zone('r')->{waiting} }, 1), 'one waits');
    is(chain('/r/long/')->{waiting}, 1, 'in its chain');
    is(chain('/r/')->{waiting}, 0, 'not in another one');
    close $s->{s};
    ok(until_is(sub { by_result('r')->{aborted} }, 2), 'its client goes');
    is(zone('r')->{waiting} . chain('/r/long/')->{waiting}, '00', 'none waits');

    $s = $n->connect();
    Ways::Nginx::send_all($s, request('POST', '/r/14', 'x' x 9)
                              =~ s/x+$/x/r);
    sync();
    close $s;
    ok(until_is(sub { by_result('r')->{aborted} }, 3), 'without its body');
}

# waits and retries

ran('/r/wait/21', a => '500');

is_deeply([@{ chain('/r/wait/') }{qw(attempts retries retry_success)}],
          [2, 1, 1], 'a retry');
is(chain('/r/wait/')->{reasons}{step}, 1, 'its reason');
cmp_ok(chain('/r/wait/')->{delay}{sum}, '>=', 0.06, 'its wait');
cmp_ok(chain('/r/wait/')->{duration}{sum}, '>=', 0.06, 'the run');
is(bucket(chain('/r/wait/')->{delay}), 1, 'in its bucket');

{
    ran('/l/wait/40');
    my @x = grep { $_->{name} eq 'server /l/wait/' } @{ status()->{chains} };

    is($x[0]{runs}{limited}, 1, 'one whose deadline is too near');
}

is(skips(), 0, 'nothing was passed over');

{
    # a is limited, b is not

    forget();
    results();
    place('s', 'retry_chain a b;', left => 0);
    ok(reload(server => 'location = /status { access_log off;'
                        . 'retry_chain_status; }'), 'reload');

    ran('/s/1', a => '429 / Retry-After: 90');
    ran('/s/2');
    ran('/s/3', b => '500');

    is(chain('/s/')->{skips}, 2, 'a limited step is passed over');
    is_deeply(by_result('s'), { success => 2, limited => 1 }, 'runs');
}

sums();

# over a reload

{
    my $before = sum_of(by_result('r'));
    my $attempts = step('r', 'a')->{attempts};
    my $runs = zone('r')->{runs}{recent};

    my $s = later('/r/wait/30', a => '500', b => 'hold 200');

    ok(until_is(sub { step('r', 'b')->{in_flight} }, 1), 'one is in flight');
    ok(reload(server => 'location = /status { access_log off;'
                        . 'retry_chain_status; }'), 'reload');
    is(sum_of(by_result('r')), $before, 'counters are kept');
    is(step('r', 'a')->{attempts}, $attempts + 1, 'all of them');
    is_deeply(zone('r')->{runs}{recent}, $runs, 'and recent runs');
    is(step('r', 'b')->{in_flight}, 1, 'what the old worker has counts');
    hand_on('/r/wait/30', 'b');
    is(now($s)->{status}, 200, 'it is answered');
    ok(until_is(sub { step('r', 'b')->{in_flight} }, 0), 'then none is');
    is(sum_of(by_result('r')), $before + 1, 'it counts');
}

is($n->bad(), '', 'a clean log');

# another size of the history

{
    forget();
    place('r', 'retry_chain a;', left => 0,
          zone => 'retry_chain_zone r 128k history=7;');
    ok(!reload(), 'another history');
    like($n->log(), qr/\[emerg\] .*the "history" of zone "r" is 7 while it is \d+ in the running configuration: change the size, too, or use another name in \S+nginx.conf:\d+$/m,
         'what is said');
}

$n->stop();


# ---- killed workers ---------------------------------------------------------

forget();
results();

$n = limits(listen => 'reuseport', main => 'worker_processes 2;',
            server => 'location = /status { access_log off;'
                      . 'retry_chain_status; }');

{
    my @hang = map { later("/r/k$_", a => 'hang') } 1 .. 6;
    my @wait = map { later("/r/long/k$_", a => '500') } 1 .. 6;

    ok(until_is(sub { step('r', 'a')->{in_flight} }, 6), 'six are in flight');
    ok(until_is(sub { zone('r')->{waiting} }, 6), 'six wait');

    for my $pid ($n->workers()) {
        kill 'KILL', $pid;
    }

    ok($n->wait_for(sub { $n->log() =~ /$killed.*$killed/s
                          && (() = $n->workers()) == 2 }), 'both are killed');

    is(step('r', 'a')->{in_flight} . zone('r')->{waiting}
       . chain('/r/long/')->{waiting}, '000', 'nothing is left of them');
    is(ask('/r/k7')->{status}, 200, 'the zone is usable');
    ok(until_is(sub { by_result('r')->{success} }, 1), 'it counts');
    close $_->{s} for @hang, @wait;
}


# ---- a mixed load -----------------------------------------------------------

$n->stop();

# what the vendor says to a key, attempt by attempt; 444 is no answer at all

my %say = (
    ok     => ['success', 200],
    second => ['success', 500, 200],
    third  => ['success', 429, 503, 200],
    again  => ['success', 502, 200],
    none   => ['exhausted', 500, 503, 500],
    stop   => ['stopped', 404],
    late   => ['stopped', 500, 404],
    close  => ['success', 444, 200],
    gone   => ['exhausted', 444, 444, 444],
);
my $clients = 25;
my $requests = Ways::Nginx::slow() > 1 ? 5000 : 50000;

SKIP: {
    skip 'no h2load', 15 if !grep { -x "$_/h2load" } split /:/, $ENV{PATH};

    my @steps = map { "s$_" } 1 .. 3;
    my $map = '';

    for my $key (keys %say) {
        my (undef, @codes) = @{ $say{$key} };

        $map .= qq("$key:$_" $codes[$_ - 1];\n) for 1 .. @codes;
    }

    $n = Ways::Nginx->start(level => 'error',
        main => 'worker_processes 4; worker_rlimit_nofile 4096;',
        http => <<"EOC");
map "\$arg_k:\$http_x_attempt" \$code {
    default 599;
    $map
}
@{[ map { "upstream $_ { server unix:%%DIR%%/vendor; keepalive 32; }\n" } @steps ]}
server {
    listen unix:%%DIR%%/vendor;
    access_log off;
    keepalive_requests 100000;
    location / {
        @{[ map { "if (\$code = $_) { return $_; }\n" } qw(404 429 444 500 502
                                                           503 599) ]}
        return 200;
    }
}
server {
    listen %%PORT%% reuseport;
    access_log off;
    keepalive_requests 100000;
    location /load/ {
        retry_chain_zone load 1m;
        retry_chain @steps;
        retry_chain_stop 404 599;
        retry_chain_retry_after off;
        proxy_set_header X-Attempt \$retry_chain_attempt;
        proxy_next_upstream off;
        proxy_pass http://\$retry_chain_upstream;
    }
    location = /status { retry_chain_status; }
}
EOC

    my @keys = sort keys %say;

    # as many of each: a client takes them in turn

    $requests -= $requests % ($clients * @keys);
    load($requests, @keys);

    ok(until_is(sub { sum_of(by_result('load')) }, $requests),
       "$requests runs on 4 workers");
    ok(until_is(\&busy, 0), 'nothing is under way');

    my (%results, %attempts);

    for my $key (@keys) {
        my ($result, @codes) = @{ $say{$key} };

        $results{$result} += $requests / @keys;
        $attempts{$_} += $requests / @keys for 0 .. $#codes;
    }

    is_deeply(by_result('load'), \%results, 'runs by result');
    is(join(' ', map { step('load', $steps[$_])->{attempts} } 0 .. 2),
       join(' ', map { $attempts{$_} } 0 .. 2), 'attempts by step');
    is(chain('/load/')->{retries}, $attempts{1} + $attempts{2}, 'retries');
    sums();

    # a reload meanwhile

    my $before = sum_of(by_result('load'));

    load($requests / 5, @keys, HUP => $n->master());
    ok(until_is(\&busy, 0), 'nothing is under way after a reload');
    cmp_ok(sum_of(by_result('load')), '>', $before, 'there were runs');
    sums();

    # and a worker that is killed

    ok($n->wait_for(sub { (() = $n->workers()) == 4 }), 'four workers');

    $before = sum_of(by_result('load'));

    load($requests / 5, @keys, KILL => ($n->workers())[1]);
    ok(until_is(\&busy, 0), 'nothing is under way after a kill');
    cmp_ok(sum_of(by_result('load')), '>', $before, 'there were runs');
    sums(loose => 1);

    is($n->bad() =~ s/.*$killed.*\n//gr, '', 'a clean log');
}

done_testing();


sub load {
    my ($requests, @keys) = @_;    # and a signal for a process, meanwhile

    my ($signal, $pid) = $keys[-2] =~ /^[A-Z]+$/ ? splice(@keys, -2) : ();
    my $list = "$n->{dir}/uris";

    open my $out, '>', $list or die "$list: $!";
    print $out map { "http://127.0.0.1:$n->{port}/load/?k=$_\n" } @keys;
    close $out;

    my $child = fork() // die "fork: $!";

    if ($child == 0) {
        open STDOUT, '>', "$n->{dir}/h2load";
        open STDERR, '>&', \*STDOUT;
        exec 'h2load', '--h1', '-n', $requests, '-c', $clients, '-i', $list
            or POSIX::_exit(1);
    }

    if ($pid) {
        my $before = sum_of(by_result('load'));

        ok($n->wait_for(sub { sum_of(by_result('load')) > $before }),
           "$signal meanwhile");
        kill $signal, $pid;
    }

    waitpid $child, 0;
}


# what has to hold of all chains and steps

sub sums {
    my (%arg) = @_;

    my $s = status();
    my (@wrong, %attempts);

    push @wrong, 'nothing is counted' if !grep { $_->{attempts} }
                                              @{ $s->{chains} };

    for my $c (@{ $s->{chains} }) {
        my $runs = sum_of($c->{runs});

        push @wrong, "$c->{name}: attempts"
            if $c->{attempts} != sum_of($c->{reasons});
        push @wrong, "$c->{name}: delays"
            if $c->{delay}{count} != $c->{attempts} - $c->{reasons}{first};
        push @wrong, "$c->{name}: durations" if $c->{duration}{count} > $runs;
        push @wrong, "$c->{name}: retries" if $c->{retries} > $c->{attempts};
        push @wrong, "$c->{name}: waiting" if $c->{waiting};

        $attempts{ $c->{zone} } += $c->{attempts};
    }

    for my $z (@{ $s->{zones} }) {
        my $sum = 0;

        for my $step (@{ $z->{steps} }) {
            my $outcomes = sum_of($step->{replies})
                           + sum_of($step->{failures});

            push @wrong, "$z->{name} $step->{name}: outcomes"
                if $step->{attempts} != $outcomes;
            push @wrong, "$z->{name} $step->{name}: times"
                if $step->{time}{count} != sum_of($step->{replies})
                                           - $step->{replies}{cached};
            push @wrong, "$z->{name} $step->{name}: in flight"
                if $step->{in_flight};

            $sum += $step->{attempts};
        }

        # a worker may be killed between two additions

        push @wrong, "$z->{name}: attempts $attempts{ $z->{name} } $sum"
            if abs($attempts{ $z->{name} } - $sum) > ($arg{loose} // 0);
        push @wrong, "$z->{name}: waiting" if $z->{waiting};
    }

    is(join("\n", @wrong), '', 'all adds up');
}


sub busy {
    my @zones = @{ status()->{zones} } or return -1;

    return join('+', map { $_->{waiting},
                           map { $_->{in_flight} } @{ $_->{steps} } }
                     @zones) =~ tr/1-9//;
}


sub ran {
    my ($uri, @say) = @_;

    my $x;

    $n->until_logged(sub { $x = ask($uri, @say) });

    return $x;
}


sub until_is {
    my ($what, $value) = @_;
    return $n->wait_for(sub { ($what->() // 0) == $value });
}


sub status {
    return decode_json($n->ask(request('GET', '/status', ''))->{body});
}


sub zone {
    my ($name) = @_;
    return (grep { $_->{name} eq $name } @{ status()->{zones} })[0];
}


sub step {
    my ($zone, $name) = @_;
    return (grep { $_->{name} eq $name } @{ zone($zone)->{steps} })[0];
}


sub chain {
    my ($place) = @_;
    return (grep { $_->{name} =~ /^server \Q$place\E$/ }
            @{ status()->{chains} })[0];
}


sub skips {
    my $skips = 0;

    $skips += $_->{skips} for @{ status()->{chains} };

    return $skips;
}


# how many are in the bucket where one that has taken all the time belongs

sub bucket {
    my ($times) = @_;

    my $bounds = status()->{buckets};
    my $i = grep { $_ < $times->{sum} } @$bounds;

    return $times->{counts}[$i];
}


# lets a way answer that has been asked

sub hand_on {
    my ($uri, $way) = @_;

    ok($n->wait_for(sub { calls($uri) =~ /\b$way$/ }), "$uri: $way is asked");
    ways_go();
}


# of all chains of a zone, those that are not 0

sub by_result {
    my ($zone) = @_;

    my %sum;

    for my $c (grep { $_->{zone} eq $zone } @{ status()->{chains} }) {
        for my $result (@results) {
            $sum{$result} += $c->{runs}{$result} if $c->{runs}{$result};
        }
    }

    return \%sum;
}


sub sum_of {
    my ($values) = @_;

    my $sum = 0;

    $sum += $_ for values %$values;

    return $sum;
}
