#!/usr/bin/perl

# The table and the goals of the simulation, from the files that limits.sh
# leaves: index, and a directory per cell with requests and stats.
#
#   limits.pl DIR MODE SECONDS VERSION

use strict;
use warnings;

my ($dir, $mode, $seconds, $version) = @ARGV;

my @forms = ('ends', 'renews');
my %form = (ends => 'the block ends', renews => 'each call renews the block');

my (@rows, %seen, @unbuilt, %cell, %loads);
my ($lost, $missed, $late, $slow) = (0, 0, 0, 0);

open my $in, '<', "$dir/index" or die "$dir/index: $!\n";

while (<$in>) {
    my ($what, $row, $form, $part, $load, $time, $skip, $kill) = split;

    if ($what eq 'unbuilt') {
        push @unbuilt, $row;
        next;
    }

    push @rows, $row if !$seen{$row}++;
    $loads{$part}{$load} = 1;
    $cell{$part}{$row}{$form}{$load}
        = measure("$dir/$row.$form.$part.$load", $time, $skip, $kill ne '-');
}

close $in;

print "\nnginx $version, $mode run of $seconds s, load average ", load(), "\n";

table_load();
table_deadline();
table_learn();

print <<END;

success: % of the requests answered with 200; refused: calls that the vendor
answered with 429; p50 and p99: ms from the time of arrival to the end of a
successful reply; cut: requests lost with a killed worker, not counted else.
? could not be measured.

END

goals();

printf "\n%d requests of %d were sent more than 5 ms late, at most %.0f ms%s\n",
    $late, requests(), $slow,
    $late > requests() / 100 ? ': the machine is too busy for these figures'
                             : '';

print "not built, no figures: @unbuilt\n" if @unbuilt;
print "cells that could not be measured: $lost\n" if $lost;
print "goals missed: $missed\n" if $missed;

exit($lost || $missed ? 1 : 0);


sub measure {
    my ($path, $time, $skip, $kill) = @_;

    my %c = (time => $time, kill => $kill, n => 0, ok => 0, cut => 0,
        honest => 0, other => 0, all => 0, first => 0, first_ok => 0);
    my @took;

    return lost() if -e "$path/lost";

    open my $in, '<', "$path/requests" or return lost();

    while (<$in>) {
        my ($at, $status, $took, $retry_after, $delay) = split;

        $c{all}++;
        $late++ if $delay > 5000;
        $slow = $delay / 1000 if $delay / 1000 > $slow;

        if ($at < $skip * 1e6) {
            $c{first}++;
            $c{first_ok}++ if $status == 200;
            next;
        }

        # 1: the connection broke

        if ($status == 1 && $kill) {
            $c{cut}++;
            next;
        }

        $c{n}++;

        if ($status == 200) {
            $c{ok}++;
            push @took, $took / 1000;

        } elsif ($status == 429 && $retry_after > 0) {
            $c{honest}++;

        } else {
            $c{other}++;
        }
    }

    return lost() if !$c{n};

    @took = sort { $a <=> $b } @took;

    $c{success} = 100 * $c{ok} / $c{n};
    $c{p50} = quantile(0.5, @took);
    $c{p99} = quantile(0.99, @took);

    stats(\%c, "$path/stats", '') or return lost();
    stats(\%c, "$path/stats.first", 'first_') or return lost() if $skip;

    return \%c;
}


# the sums over the addresses

sub stats {
    my ($c, $path, $prefix) = @_;

    my @names = ('accepted', 'refused', 'starts', 'under_way', 'later');
    my $lines = 0;

    open my $in, '<', $path or return 0;

    while (<$in>) {
        my ($addr, @values) = split;

        $lines++;
        $c->{"$prefix$names[$_]"} += $values[$_] for 0 .. $#names;
    }

    return 0 if !$lines;

    $c->{$prefix . 'refused_part'} = 100 * $c->{$prefix . 'refused'}
        / ($c->{$prefix . 'accepted'} + $c->{$prefix . 'refused'});

    return 1;
}


sub lost {
    $lost++;
    return undef;
}


sub quantile {
    my ($part, @values) = @_;

    return undef if !@values;

    my $at = int($part * @values);
    $at = $#values if $at > $#values;

    return $values[$at];
}


sub requests {
    my $sum = 0;

    for my $part (values %cell) {
        for my $row (values %$part) {
            for my $form (values %$row) {
                $sum += $_->{all} for grep { $_ } values %$form;
            }
        }
    }

    return $sum || 1;
}


# a value, "?" if the cell is lost, "-" if there is none

sub value {
    my ($width, $format, $c, $name) = @_;

    return sprintf "%${width}s", !$c ? '?' : !defined $c->{$name} ? '-'
        : sprintf $format, $c->{$name};
}


sub line {
    my $text = join '', @_;

    $text =~ s{ +$}{};
    print "$text\n";
}


sub loads_of {
    return sort { $a <=> $b } keys %{$loads{$_[0]} // {}};
}


sub table_load {
    my @loads = loads_of('load') or return;

    for my $form (@forms) {
        print "\n$form{$form}\n";
        line(' ' x 16, map { sprintf '%29s', "$_/s" } @loads);
        line(' ' x 16, map { sprintf '%9s%8s%6s%6s', 'success', 'refused',
                                 'p50', 'p99' } @loads);

        for my $row (grep { $cell{load}{$_} } @rows) {
            my ($cut, @values);

            for my $load (@loads) {
                my $c = $cell{load}{$row}{$form}{$load};

                push @values, value(9, '%.1f', $c, 'success'),
                    value(8, '%d', $c, 'refused'),
                    value(6, '%.0f', $c, 'p50'),
                    value(6, '%.0f', $c, 'p99');

                $cut += $c->{cut} if $c && $c->{kill};
            }

            push @values, "  $cut cut" if defined $cut;
            line(sprintf('%-16s', $row), @values);
        }
    }
}


sub table_deadline {
    for my $load (loads_of('deadline')) {
        print "\n$load/s, deadline of 2 s\n";
        line(' ' x 16, map { sprintf '%40s', $form{$_} } @forms);
        line(' ' x 16, map { sprintf '%12s%7s%7s%8s%6s', 'success/s', 'honest',
                                 'other', 'refused', 'p99' } @forms);

        for my $row (grep { $cell{deadline}{$_} } @rows) {
            my @values;

            for my $form (@forms) {
                my $c = $cell{deadline}{$row}{$form}{$load};

                $c->{speed} = $c->{ok} / $c->{time} if $c;

                push @values, value(12, '%.1f', $c, 'speed'),
                    value(7, '%d', $c, 'honest'),
                    value(7, '%d', $c, 'other'),
                    value(8, '%d', $c, 'refused'),
                    value(6, '%.0f', $c, 'p99');
            }

            line(sprintf('%-16s', $row), @values);
        }

        print "honest: 429 with Retry-After; other: all other failures\n";
    }
}


sub table_learn {
    my @loads = loads_of('learn') or return;

    for my $form (@forms) {
        print "\n$form{$form}, cold start\n";
        line(' ' x 16, map { sprintf '%46s', "$_/s" } @loads);
        line(' ' x 16, map { sprintf '%11s%8s%6s%6s%15s', 'success',
                                 '% ref.', 'p50', 'p99', 'first 10 s' } @loads);

        for my $row (grep { $cell{learn}{$_} } @rows) {
            my @values;

            for my $load (@loads) {
                my $c = $cell{learn}{$row}{$form}{$load};

                $c->{first_part} = 100 * $c->{first_ok} / $c->{first} if $c;

                push @values, value(11, '%.1f', $c, 'success'),
                    value(8, '%.2f', $c, 'refused_part'),
                    value(6, '%.0f', $c, 'p50'),
                    value(6, '%.0f', $c, 'p99'),
                    value(9, '%.1f', $c, 'first_part'),
                    value(6, '%d', $c, 'first_refused');
            }

            line(sprintf('%-16s', $row), @values);
        }
    }

    print "% ref.: of the calls; first 10 s: success, and refused calls\n";
}


# goal TEXT PART ROW TEST: the test says what is wrong with a cell

sub goal {
    my ($text, $part, $row, $test) = @_;
    my (@wrong, $count);

    my $cells = $cell{$part}{$row} or return;

    for my $form (@forms) {
        for my $load (sort { $a <=> $b } keys %{$cells->{$form}}) {
            my $c = $cells->{$form}{$load};
            my $wrong = $c ? $test->($c, $load, $form) : 'not measured';

            next if !defined $wrong;

            $count++;
            push @wrong, "$load/$form: $wrong" if $wrong ne '';
        }
    }

    return if !$count;

    $missed++ if @wrong;

    printf "%s  %-14s %s%s\n", @wrong ? 'FAIL' : 'PASS', $row, $text,
        @wrong ? ' (' . join(', ', @wrong) . ')' : '';
}


# a test: TRUE or the value in question

sub must {
    my ($true, $format, @values) = @_;

    return $true ? '' : sprintf $format, @values;
}


sub goals {
    for my $row ('rate', 'rate_rotate', 'rate_4', 'rate_4_kill') {
        my $most = $row =~ /_4/ ? 1 : 0;
        my $few = $most ? 'at most 1 % refused calls' : 'no refused call';

        goal('100 % success', 'load', $row, sub {
            must($_[0]{ok} == $_[0]{n}, '%.1f', $_[0]{success});
        });

        goal($few, 'load', $row, sub {
            must($_[0]{refused_part} <= $most, '%d', $_[0]{refused});
        });

        goal('p50 under 10 ms up to 45/s', 'load', $row, sub {
            my ($c, $load) = @_;

            return undef if $load > 45;
            must(($c->{p50} // 1e9) < 10, '%.1f', $c->{p50} // 0);
        });

        # a killed worker takes the slots of its parked runs with it

        goal('p99 at most 2.5 s at 70/s', 'load', $row, sub {
            my ($c, $load) = @_;

            return undef if $load != 70 || $c->{kill};
            must(($c->{p99} // 1e9) <= 2500, '%.0f', $c->{p99} // 0);
        });

        goal('90/s: at least 57 successes a second', 'deadline', $row, sub {
            must($_[0]{ok} >= 57 * $_[0]{time}, '%.1f',
                $_[0]{ok} / $_[0]{time});
        });

        goal('90/s: all others get 429 with Retry-After', 'deadline', $row,
            sub {
                must(!$_[0]{other}, '%d not', $_[0]{other});
            });

        goal("90/s: $few", 'deadline', $row, sub {
            must($_[0]{refused_part} <= $most, '%d', $_[0]{refused});
        });
    }

    for my $row ('auto', 'auto_silent', 'auto_fields', 'auto_4', 'auto_4_kill')
    {
        goal('98 % success after 10 s', 'learn', $row, sub {
            must($_[0]{success} >= 98, '%.1f', $_[0]{success});
        });

        goal('at most 1 % refused calls after 10 s', 'learn', $row, sub {
            must($_[0]{refused_part} <= 1, '%.2f', $_[0]{refused_part});
        });
    }

    for my $row (map { ("hints$_", "rotate$_") } '', '_4', '_4_kill') {
        my $most = $row =~ /_4/ ? 1 : 0;

        goal('one refused call per upstream and limit period'
             . ($most ? ', within 1 % of the calls' : ''),
             'load', $row,
             sub {
                 my $c = shift;

                 must($c->{later} <= $most / 100
                                     * ($c->{accepted} + $c->{refused}),
                     '%d more in %d', $c->{later}, $c->{starts});
             });
    }

    for my $row ('rotate', 'rotate_4', 'rotate_4_kill') {
        goal('as much success as round_robin', 'load', $row, sub {
            my ($c, $load, $form) = @_;

            my $other = $cell{load}{round_robin}{$form}{$load};

            return undef if !$other;
            must($c->{success} >= $other->{success}, '%.1f, not %.1f',
                $c->{success}, $other->{success});
        });
    }
}


sub load {
    open my $in, '<', '/proc/loadavg' or return '?';

    return (split ' ', <$in>)[0];
}
