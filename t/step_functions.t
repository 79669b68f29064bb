#!/usr/bin/perl

# The same state machines and the same vendors in nginx and in another
# implementation of the Amazon States Language: the calls, the waits before
# them, and the end are to be the same.
#
# STEP_FUNCTIONS_SEED and STEP_FUNCTIONS_CASES choose other machines, or more.
# t/lib/Machines.pm makes them.  t/step-functions/reference.js runs them in the
# other implementation, and knows where README says that the two differ.

use strict;
use warnings;

use File::Temp qw(tempdir);
use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Select;
use IPC::Open2;
use JSON::PP;
use Test::More;
use Time::HiRes qw(sleep time);

use Machines;
use Slack qw(over);
use Ways;
use Ways::Nginx qw(request);

# a machine that would take longer is not run

use constant MAX_TIME => 14;

my $slow = Ways::Nginx::slow();
my $seed = $ENV{STEP_FUNCTIONS_SEED} // 20;
my $cases = $ENV{STEP_FUNCTIONS_CASES} // ($slow > 3 ? 60 : 250);

my $reference = "$FindBin::Bin/step-functions";

plan skip_all => 'node is not installed: t/util/setup.sh test'
    if !`node --version 2>/dev/null`;
plan skip_all => 'aws-local-stepfunctions is not installed: t/util/setup.sh npm'
    if !-e "$reference/node_modules/.package-lock.json";

my $json = JSON::PP->new->utf8->canonical->allow_nonref;
my @cases = cases();

if (@cases < $cases) {
    fail("$cases machines that take less than @{[ MAX_TIME ]} s");
    diag("seed $seed");
    done_testing();
    exit;
}

# ---- nginx ------------------------------------------------------------------

my $dir = tempdir('retry_chain_machine.XXXXXX', TMPDIR => 1, CLEANUP => 1);
chmod 0755, $dir;

my $locations = '';

for my $i (0 .. $#cases) {
    open my $out, '>', "$dir/$i.json" or die "$dir/$i.json: $!";
    print $out $json->encode($cases[$i]{machine});
    close $out;

    $locations .= "location = /$i { retry_chain_machine $dir/$i.json;"
                  . ' proxy_pass http://$retry_chain_upstream; }' . "\n";
}

ways(map { my $way = $_; ($way => sub { vendor($way, @_) }) } Machines::WAYS);

# a connection is not used again: what nginx would do if such a one is closed is
# no business of ours

my $n = eval {
    Ways::Nginx->start(events => 'worker_connections 2048;', http => <<"EOC") };
log_format machine '\$uri \$status [\$retry_chain_steps] [\$retry_chain_waits]';

server {
    listen %%PORT%% backlog=1024;
    access_log logs/access.log machine;
    retry_chain_timeout off;
    proxy_set_header Connection close;

    $locations
}
EOC

if (!$n) {
    fail('nginx starts with all machines');
    diag("seed $seed\n$@");
    done_testing();
    exit;
}

ask_all();

$n->wait_for(sub { scalar(() = $n->access() =~ /\n/g) >= @cases });

my %logged = $n->access() =~ m{^/(\d+) (.*)$}mg;
my $calls = ways_calls();
my %called;

push @{ $called{$2} }, $1 while $calls =~ m{^(\w) \S+ GET /(\d+)$}mg;

my %sum = (calls => 0, waits => 0);
my $failed = 0;

for my $i (0 .. $#cases) {
    my $case = $cases[$i];

    is(join("\n", got($i)), join("\n", wanted($case)), "machine $i")
        or $failed++ > 4 or explain_case($i);

    my $planned = 0;
    $planned += $_ / 1000 for @{ $case->{result}{least} };

    cmp_ok($case->{took}, '>=', $planned - 0.1, "machine $i has waited")
        if $planned;
}

is($n->bad(), '', 'nothing bad in the log');

note("seed $seed: " . @cases . ' machines, ',
     join ', ', map { "$sum{$_} $_" } sort keys %sum);

done_testing();


# ---- the machines -----------------------------------------------------------

# as many as are to be compared, with what the other implementation did

sub cases {
    my $machines = Machines->new($seed);
    my (@all, @taken);

    push @all, [$machines->next()] for 1 .. $cases * 1.5;

    my $pid = open2(my $out, my $in, 'node', "$reference/reference.js");

    print $in map { $json->encode({ machine => $_->[0], script => $_->[1] })
                    . "\n" } @all;
    close $in;

    while (defined(my $line = <$out>)) {
        my $result = $json->decode($line);
        my ($machine, $script) = @{ shift @all };

        die "seed $seed: $result->{invalid}\n" . $json->encode($machine)
            if defined $result->{invalid};

        push @taken, { machine => $machine, script => $script,
                       result => $result }
            if @taken < $cases && real_time($result, $script) <= MAX_TIME;
    }

    waitpid $pid, 0;
    die "node failed" if $? || @all;

    return @taken;
}


# in seconds

sub real_time {
    my ($result, $script) = @_;

    my $time = 0;

    $time += $_ / 1000 for @{ $result->{waits} };
    $time += Machines::TIMEOUT for grep { $_->[1] eq 'silent' }
                                   played($result, $script);

    return $time;
}


# [way.number, outcome] of each call

sub played {
    my ($result, $script) = @_;

    my %turn;

    return map {
        my $outcome = outcome($script, $_, ++$turn{$_});
        ["$_.$turn{$_}", $outcome];
    } @{ $result->{calls} };
}


sub body {
    my ($reply) = @_;

    my $body = $reply->{json} // $reply->{text};

    utf8::encode($body) if defined $body;

    return $body;
}


sub outcome {
    my ($script, $way, $turn) = @_;

    return $script->{$way}[$turn - 1] // $script->{$way}[-1];
}


# ---- the upstreams -----------------------------------------------------------

my %turn;

sub vendor {
    my ($way, $req) = @_;

    my ($i) = $req->{uri} =~ m{^/(\d+)} or return reply(404, '');
    my $turn = ++$turn{"$way $i"};
    my $does = outcome($cases[$i]{script}, $way, $turn);

    return [close => 1] if $does eq 'refused';
    return ("HTTP/1.1 200 OK\r\n: x\r\n", [close => 1]) if $does eq 'garbage';
    return ([sleep => 10 * Machines::TIMEOUT], [close => 1])
        if $does eq 'silent';

    return reply($does->{status}, body($does),
                 map({ "$_: $does->{headers}{$_}" } sort keys
                     %{ $does->{headers} }), "X-Reply: $way.$turn");
}


# ---- the requests -----------------------------------------------------------

# one every few milliseconds, so that nobody is late for want of time

sub ask_all {
    my $select = IO::Select->new();
    my $next = 0;
    my $start = time();
    my $limit = (2 * MAX_TIME + @cases / 100) * $slow;
    my %by;

    while (!over($start, $limit) && ($next < @cases || $select->count())) {

        if ($next < @cases) {
            my $case = $cases[$next];
            my $s = $n->connect();

            Ways::Nginx::send_all($s, request('GET', "/$next", ''));

            @$case{qw(answer started took)} = ('', time(), 0);
            $by{$s} = $case;
            $select->add($s);
            $next++;
        }

        for my $s ($select->can_read($next < @cases ? 0.005 * $slow : 0.5)) {
            my $case = $by{$s};

            next if sysread($s, $case->{answer}, 65536,
                            length $case->{answer});

            $case->{took} = time() - $case->{started};
            $select->remove($s);
            close $s;
        }
    }
}


# ---- what is compared -------------------------------------------------------

sub wanted {
    my ($case) = @_;

    my $result = $case->{result};
    my @played = played($result, $case->{script});
    my ($name, $last) = @{ $played[-1] };
    my $end;

    if (defined $result->{error}) {
        $end = said(502, { Error => $result->{error},
                           Cause => $result->{cause} });

    } elsif (ref $last) {
        $end = "$last->{status}, reply $name " . (body($last) // '');

    } else {
        $end = ($last eq 'silent' ? 504 : 502) . ', no reply';
    }

    $sum{calls} += @played;
    $sum{waits} += grep { $_ } @{ $result->{waits} };
    $sum{"ends with " . (defined $result->{error} ? 'Fail' : ref $last
                         ? 'a reply' : 'a failure')}++;
    $sum{"$_->[1] calls"}++ for grep { !ref $_->[1] } @played;

    return ("calls: @{ $result->{calls} }", "steps: @{ $result->{calls} }",
            'waits: ' . join(' ', map { seconds($_) } @{ $result->{waits} }),
            "end: $end");
}


sub got {
    my ($i) = @_;

    my $x = Ways::Nginx::answer($cases[$i]{answer} // '');
    my ($steps, $waits) = ($logged{$i} // '') =~ /\[(.*)\] \[(.*)\]/;
    my $end;

    if ($x->{h}{'x-reply'}) {
        $end = "$x->{status}, reply $x->{h}{'x-reply'}[0] $x->{body}";

    } elsif (($x->{h}{'content-type'}[0] // '') eq 'application/json') {
        $end = said($x->{status}, eval { $json->decode($x->{body}) } // {});

    } else {
        $end = "$x->{status}, no reply";
    }

    $end .= ", cut" if $x->{end} eq 'cut';

    return ('calls: ' . join(' ', @{ $called{$i} // [] }),
            'steps: ' . ($steps // '') =~ s/,//gr,
            'waits: ' . join(' ', without_jitter($cases[$i]{result},
                                                 split /, /, $waits // '')),
            "end: $end");
}


# a wait that jitter can make stands for the longest one

sub without_jitter {
    my ($result, @waits) = @_;

    for my $i (0 .. $#waits) {
        my ($least, $most) = map { $_ ? $_->[$i] // 0 : 0 }
                                 @$result{qw(least waits)};

        next if $least == $most;

        if ($waits[$i] * 1000 >= $least && $waits[$i] * 1000 <= $most) {
            $waits[$i] = seconds($most);
            $sum{'waits with jitter'}++;
        }
    }

    return @waits;
}


sub seconds {
    return sprintf '%.3f', int($_[0]) / 1000;
}


sub said {
    my ($status, $it) = @_;
    return "$status, " . $json->encode($it);
}


sub explain_case {
    my ($i) = @_;

    diag("STEP_FUNCTIONS_SEED=$seed STEP_FUNCTIONS_CASES=$cases, machine $i:\n"
         . $json->encode($cases[$i]{machine}) . "\nand the upstreams:\n"
         . $json->encode($cases[$i]{script}));
}
