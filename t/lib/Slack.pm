package Slack;

# How much slower this machine is now than one that has nothing else to do.
#
#   slack()                  a factor, 1 or more, not older than a second
#   stretch()                the same as a whole number up to 6, by which a test
#                            multiplies all the times in one of its cases
#   over($start, 5)          whether the five seconds that began at $start have
#                            passed, with as much more as the machine is slow
#   taken('name', sub {...}) a case that may be too slow to mean something: it
#                            returns true then, instead of its checks, and is
#                            begun again, with another number, up to twice
#   asleep(@pids)            whether none of these processes has anything to do:
#                            what has been sent to them has been read
#   children($pid)           those of a process
#
# For limits of waits that end with an event, and for times that must not be too
# long.  What must not be too short needs none of it.

use strict;
use warnings;

use Exporter 'import';
use Time::HiRes qw(clock sleep time);

our @EXPORT_OK = qw(slack stretch over taken asleep children);

my ($slack, $measured) = (1, 0);


# a timer of 2 ms and 4 ms of computing: the one tells of turns, the other one
# of the share of a processor.  One that was unlucky does not count.

sub slack {
    return $slack if time() - $measured < 1;

    my @factors = sort { $a <=> $b } map { sample() } 1 .. 5;

    $measured = time();
    $slack = $factors[2] < 1 ? 1 : $factors[2];

    return $slack;
}


sub sample {
    my $start = time();

    sleep 0.002;

    my $cpu = clock();

    1 while clock() - $cpu < 0.004;

    return (time() - $start) / 0.006;
}


sub stretch {
    my $factor = int(slack() + 0.5);

    return $factor < 6 ? $factor : 6;
}


sub over {
    my ($start, $seconds) = @_;

    return time() - $start > $seconds && time() - $start > $seconds * slack();
}


sub taken {
    my ($name, $case) = @_;

    for my $number (1 .. 3) {
        return if !$case->($number);
    }

    require Test::More;
    Test::More::fail("$name: too slow three times");
}


sub asleep {
    for my $pid (@_) {
        open my $in, '<', "/proc/$pid/stat" or next;
        return 0 if <$in> !~ /\) [SDTZ] /;
    }

    return 1;
}


sub children {
    my ($pid) = @_;

    open my $in, '<', "/proc/$pid/task/$pid/children" or return;

    return split ' ', <$in> // '';
}


1;
