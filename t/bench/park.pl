#!/usr/bin/perl

# Waiting connections for the benchmark.
#
#   park.pl slow PORT
#       accepts connections for ever and never answers
#
#   park.pl clients PORT PATH COUNT [STATUS-PORT ATTEMPTS]
#       opens COUNT connections, one request each. With STATUS-PORT, in bursts:
#       the next burst starts when the backend has counted ATTEMPTS requests
#       for every client of the last, so that few attempts run at any time.
#       Prints "parked COUNT", waits for a line of input, then prints how many
#       of the connections are still open and without an answer.

use strict;
use warnings;

use IO::Socket::INET;

use constant BURST    => 50;
use constant PATIENCE => 10;        # seconds for a burst

$| = 1;

my $mode = shift // '';

if ($mode eq 'slow') {
    slow(@ARGV);

} elsif ($mode eq 'clients') {
    clients(@ARGV);

} else {
    die "park.pl slow|clients ...\n";
}


sub slow {
    my ($port) = @_;
    my @held;

    my $server = IO::Socket::INET->new(LocalAddr => '127.0.0.1',
        LocalPort => $port, Listen => 4096, ReuseAddr => 1)
        or die "park: listen on $port: $@\n";

    while (my $client = $server->accept) {
        push @held, $client;

        # those whose peer has gone

        @held = grep { !gone($_) } @held if @held % 1000 == 0;
    }
}


sub gone {
    my ($socket) = @_;

    my $vec = '';
    vec($vec, fileno($socket), 1) = 1;

    while (select(my $ready = $vec, undef, undef, 0)) {
        sysread($socket, my $buffer, 4096) or return 1;
    }

    return 0;
}


sub clients {
    my ($port, $path, $count, $status, $attempts) = @_;
    my ($start, @clients);

    $start = requests($status) if $status;

    while (@clients < $count) {
        my $client = dial($port);

        print $client "GET $path HTTP/1.1\r\nHost: localhost\r\n\r\n";
        push @clients, $client;

        next if @clients % BURST && @clients < $count;

        if (!$status) {
            select undef, undef, undef, 0.02;
            next;
        }

        # a look at the counter is a request as well

        my $end = time + PATIENCE;

        while (requests($status) - ++$start < @clients * $attempts) {
            die "park: the attempts do not come\n" if time > $end;
            select undef, undef, undef, 0.005;
        }
    }

    print "parked $count\n";
    <STDIN>;

    my $quiet = 0;

    for my $client (@clients) {
        my $vec = '';
        vec($vec, fileno($client), 1) = 1;
        $quiet++ if !select($vec, undef, undef, 0);
    }

    print "$quiet\n";
}


sub dial {
    my ($port) = @_;

    my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
        PeerPort => $port) or die "park: connect to $port: $@\n";
    $socket->autoflush(1);

    return $socket;
}


# what the stub_status page of the backend says

sub requests {
    my ($port) = @_;

    my $socket = dial($port);
    print $socket "GET / HTTP/1.0\r\n\r\n";
    local $/;
    my $page = <$socket>;

    $page =~ /^ \d+ \d+ (\d+)/m or die "park: no status page on $port\n";

    return $1;
}
