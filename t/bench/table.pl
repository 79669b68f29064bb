#!/usr/bin/perl

# The table of the benchmark, from lines "row column turn value".
#
#   table.pl FILE MODE PARKED BULK SECONDS VERSION COLUMN...

use strict;
use warnings;

my ($file, $mode, $parked, $bulk, $seconds, $version, @columns) = @ARGV;

my %title = (plain => 'plain', variable => 'variable',
    next => 'next_upstream', lua => 'Lua loop', chain => 'this module');

# row, label, base (the row of plain that makes the ratio; or none), unit,
# decimals, goal, the better direction

my @rows = (
    ['no failure, against plain'],
    ['ok.instructions', 'instructions',  'ok.instructions', 1, 2, 1.20, -1],
    ['ok.cpu',          'CPU time',      'ok.cpu',          1, 2, 1.04, -1],
    ['ok.rate',         'requests a second', 'ok.rate',     1, 2, 0.97, 1],
    ['429 then 200, against plain without failure'],
    ['fail.instructions', 'instructions', 'ok.instructions', 1, 2, '', 0],
    ['fail.cpu',        'CPU time',      'ok.cpu',          1, 2, 1.6, -1],
    ['fail.rate',       'requests a second', 'ok.rate',     1, 2, 0.65, 1],
    ['fail.opened',     'new connections a request', '',    1, 2, 0, -1],
    ['client parked, memory each'],
    ['park1',  'one failed attempt, KB',  '',  1024, 1, 9.7, -1],
    ['park15', 'fifteen failed attempts, KB', '', 1024, 1, 9.7, -1],
    ["$bulk MiB reply"],
    ['big.time',        'time, against plain', 'big.time',  1, 2, 1, -1],
    ['big.cpu',         'CPU time, against plain', 'big.cpu', 1, 2, '', 0],
    ['big.memory',      'memory of the worker, MB', '',     1024, 2, 'plain+1', -1],
);

my (%value, %lost);

open my $in, '<', $file or die "$file: $!\n";

while (<$in>) {
    my ($row, $column, $turn, $value) = split;

    if ($value eq 'lost') {
        $lost{$row}{$column} = 1;

    } else {
        $value{$row}{$column}{$turn} = $value;
    }
}

close $in;

my $lost = 0;

print "\nnginx $version, $mode run of $seconds s, ", cpus(),
    ", load average ", load(), "\n\n";

printf "%-30s", '';
printf "%14s", $title{$_} for @columns;
printf "%8s  %-8s%s\n", 'goal', '', 'uncertainty';

for my $row (@rows) {
    my ($name, $label, $base, $unit, $decimals, $goal, $better) = @$row;

    if (!defined $label) {
        print "$name\n";
        next;
    }

    printf "%-30s", "  $label";

    for my $column (@columns) {
        my @values = values_of($name, $column, $base, $unit);

        if (@values) {
            printf "%14.*f", $decimals, quantile(0.5, @values);

        } elsif (lost($name, $column)) {
            printf "%14s", '?';
            $lost++;

        } else {
            printf "%14s", '-';
        }
    }

    verdict($decimals, $goal, $better,
        values_of($name, 'chain', $base, $unit));
}

print "\n";
absolute();

print <<END;

- cannot be done or has no meaning, ? could not be measured. Medians; ratios
within one turn. Uncertainty and verdict are those of this module: other work
on the machine moves CPU time and requests a second, hardly instructions.
Parked: $parked clients; in the first two columns they wait for a slow upstream.
The goal for the memory of the worker is that of plain and 1 MB.
END

print "\ncould not be measured: $lost\n" if $lost;

exit($lost ? 1 : 0);


sub values_of {
    my ($name, $column, $base, $unit) = @_;

    my $turns = $value{$name}{$column} // {};

    return map { $_ / $unit } values %$turns if !$base;

    my $plain = $value{$base}{plain} // {};

    return map { $turns->{$_} / $plain->{$_} }
        grep { $plain->{$_} } keys %$turns;
}


# a row that nobody measured is lost for the module and for plain

sub lost {
    my ($name, $column) = @_;

    my ($group) = $name =~ /^(\w+)/;

    return 1 if $lost{$name}{$column} || $lost{$group}{$column};
    return $column eq 'chain';
}


sub quantile {
    my ($part, @values) = @_;

    @values = sort { $a <=> $b } @values;
    my $at = $part * $#values;
    my $low = int $at;
    my $high = $low < $#values ? $low + 1 : $low;

    return $values[$low] + ($at - $low) * ($values[$high] - $values[$low]);
}


# goals are compared as they are printed; a median that misses one by less than
# its own uncertainty says nothing

sub verdict {
    my ($decimals, $goal, $better, @values) = @_;
    my ($text, $got, $margin, $over, $word);

    if ($goal eq 'plain+1') {
        my @plain = values_of('big.memory', 'plain', '', 1024);
        $goal = @plain ? 1 + quantile(0.5, @plain) : '';
    }

    $text = '';
    $text = sprintf '%.*f', $decimals, $goal if $goal ne '';
    $text = sprintf '%8s', $text;

    if (@values) {
        $got = sprintf '%.*f', $decimals, quantile(0.5, @values);
        $margin = uncertainty(@values);

        if ($goal ne '') {
            $over = ($goal - $got) * $better;
            $word = $over < 0.5 / 10 ** $decimals ? 'met'
                  : $over < $margin               ? 'unclear'
                  :                                 'missed';
        }

        $text .= sprintf '  %-8s', $word // '';
        $text .= sprintf '+-%.*f', $decimals, $margin if @values > 1;
    }

    $text =~ s/ +$//;
    print "$text\n";
}


# how far a median may be off in 19 of 20 cases, from the middle half

sub uncertainty {
    my @values = @_;

    return 1.57 * (quantile(0.75, @values) - quantile(0.25, @values))
        / sqrt(@values);
}


# what the ratios are taken from

sub absolute {
    my @parts;

    for (['ok.instructions', 1, '%.0f instructions'],
         ['ok.cpu', 1000, '%.1f us of CPU time'],
         ['ok.rate', 1, '%.0f requests a second'],
         ['big.time', 1, "%.2f s for $bulk MiB"])
    {
        my ($name, $unit, $format) = @$_;
        my @values = values_of($name, 'plain', '', $unit);
        push @parts, sprintf $format, quantile(0.5, @values) if @values;
    }

    my @cpu = values_of('ok.cpu', 'plain', '', 1e9);
    my @rate = values_of('ok.rate', 'plain', '', 1);

    push @parts, sprintf 'worker %.0f %% busy',
        100 * quantile(0.5, @cpu) * quantile(0.5, @rate) if @cpu;

    print "plain: ", join(', ', @parts), "\n";
}


sub cpus {
    open my $in, '<', '/proc/cpuinfo' or return '? processors';
    my $count = grep { /^processor/ } <$in>;

    return "$count processors";
}


sub load {
    open my $in, '<', '/proc/loadavg' or return '?';

    return (split ' ', <$in>)[0];
}
