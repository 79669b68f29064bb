package Ways::Table;

# Tests that are rows of a table: one nginx, a location for each row, a request
# to each of them, several at a time.
#
#   table([
#       ['POST is not tried again after 500', 'retry_chain a b;',
#        POST => { a => 500 }, 'a 500, unsafe of 2'],
#   ], server => '...', http => '...');
#
# A row is a name, the directives of its location, the method, what the ways
# say, in the words of Ways::Limits, the run, and if need be
#
#   head => "Name: value\r\n"   of the request
#   body => '...'               other than "hello" for POST, PUT and PATCH
#   answer => '404 sorry'       status and body, not of the last attempt
#   leave => 1                  the client leaves when there is a wait
#   pass => 'proxy_pass ...;'   instead of that of Ways::Limits
#
# The run is written as
#
#   a 503 +10, b error 502 +0, c 200, success of 4
#
# These are the attempts, each with its step and its status, that of the reply
# or of a failure without one (error, timeout, invalid header), and after how
# many ms another one follows; then the result, and how many attempts the plan
# has.  All that can be seen of a run is derived from it and compared: what the
# client gets, from whom, and in their order the calls that ways get and the
# lines of the error log; at last the variables in the access log.  "@c" is a
# location that passes to "c".
#
# There are three steps more that no call gets out of: "refused", "stuck", which
# accepts no connection, and "silent", which reads nothing.

use strict;
use warnings;

use Exporter 'import';
use File::Temp qw(tempdir);
use IO::Socket::INET;
use IO::Socket::UNIX;
use Test::More;

use Ways;
use Ways::Limits;

our @EXPORT = qw(table);

my %deaf = map { $_ => 1 } qw(refused stuck silent);

my ($n, @held);

ways(map { my $way = $_; ($way => sub { vendor($way, @_) }) } qw(a b c d));


# the call is a line of the error log, and each reply has a header of its own;
# no connection is kept, as nginx would call again when it is closed

sub vendor {
    my ($way, $req) = @_;

    open my $log, '>>', $req->{h}{'x-log'}[0] or die "error log: $!";
    syswrite $log, "call $req->{h}{host}[0] $req->{uri}\n";
    close $log;

    return map { ref ? $_ : s/^(HTTP\S+\ (\d+).*\r\n)
                             /$1X-Said-$2: $way\r\nConnection: close\r\n/xr }
               Ways::Limits::vendor($way, $req);
}


sub table {
    my ($rows, %arg) = @_;

    for my $i (0 .. $#$rows) {
        my ($chain, %more) = @{ $rows->[$i] }[1, 5 .. $#{ $rows->[$i] }];

        place($i, $chain, zone => '', left => 0, %more);
    }

    $n = limits(http => upstreams() . ($arg{http} // ''),
                server => $arg{server});

    my @asked;

    for my $i (0 .. $#$rows) {
        push @asked, map { asked($_, @{ $rows->[$_] }) }
                     grep { $_ < $i + 8 } @asked .. $#$rows;

        my ($name, undef, $method, undef, $run, %more) = @{ $rows->[$i] };

        is(seen($i, $asked[$i], %more), foreseen($asked[$i], $run, %more),
           $name);
    }

    is($n->bad(), '', 'no alerts');
    done_testing();
}


sub upstreams {
    my $dir = tempdir('retry_chain_table.XXXXXX', TMPDIR => 1, CLEANUP => 1);
    my $silent = IO::Socket::UNIX->new(Local => "$dir/silent", Listen => 100)
                 || die "$dir/silent: $!";
    my $stuck = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1)
                || die "socket: $!";

    chmod 0755, $dir;
    chmod 0777, "$dir/silent";

    # connections that fill the queue of those to accept

    listen $stuck, 0;

    push @held, $silent, $stuck,
         map { IO::Socket::INET->new(PeerAddr => '127.0.0.1', Blocking => 0,
                                     PeerPort => $stuck->sockport) } 1 .. 3;
    select undef, undef, undef, 0.05;

    return "upstream silent { server unix:$dir/silent; }"
           . "upstream stuck { server 127.0.0.1:@{[ $stuck->sockport ]}; }";
}


sub asked {
    my ($i, undef, undef, $method, $say, undef, %more) = @_;

    my $body = $more{body} // ($method =~ /^P(?:OST|UT|ATCH)$/ ? 'hello' : '');
    my $log = "X-Log: $n->{dir}/logs/error.log\r\n";
    my $asked = later("/$i/", -method => $method, -body => $body,
                      -head => $log . ($more{head} // ''), %$say);

    return { %$asked, method => $method, body => $body };
}


# ---- what comes of it -------------------------------------------------------

sub seen {
    my ($i, $asked, %more) = @_;

    my $answer = '';

    if ($more{leave}) {
        $n->wait_for(sub { grep { /retrying/ } events($i) });
        close $asked->{s};

    } else {
        $answer = answer(now($asked));
    }

    $n->wait_for(sub { $n->access() =~ m{^/$i/ }m });
    sync();

    my ($run) = $n->access() =~ m{^/$i/ (\d+ \w+ \[.*?\] \[.*?\])}m;

    return join "\n", $answer, events($i), $run // 'no run';
}


# status, whose reply it is, as its headers say, and body; the title of a page
# that nginx has made

sub answer {
    my ($x) = @_;

    my $h = $x->{h};
    my @from = map { /^x-said-(.*)/ ? "$h->{$_}[0] $1" : () } sort keys %$h;
    my $body = $x->{body} =~ m{<h1>(.*)</h1>} ? $1 : $x->{body};

    $body .= 'a length' if $x->{status} == 204 && $h->{'content-length'};
    $body .= ' (cut)' if $x->{end} ne 'complete';

    return join ': ', join(' from ', $x->{status}, @from), $body =~ s/\n//r;
}


sub events {
    my ($i) = @_;

    return map { m{^(call \S+) /$i/$}
                 || m{retry\ chain\ (attempt\ .*?(?:\d\ ms|attempt:\ \w+)
                                    |ended:\ \w+,\ \d+\ attempts?)\b
                      .*\ "\w+\ /$i/\ HTTP}x ? $1 : () }
               split /\n/, $n->log();
}


# ---- what is foreseen -------------------------------------------------------

sub foreseen {
    my ($asked, $run, %more) = @_;

    my ($attempts, $result, $of) = $run =~ /^(.*), (\w+)(?: of (\d+))?$/
        or die "run: $run";
    my ($way, $host, $failure, $status, $delay);
    my (@steps, @statuses, @lines);

    for (split /, /, $attempts) {
        ($way, $failure, $status, $delay)
            = /^(\S+) (?:([a-z ]+) )?(\d+)(?: \+(\d+))?$/ or die "run: $run";

        $host = $way =~ s/^@//r;

        push @steps, $way;
        push @statuses, $status;
        push @lines, "call $host" if !$deaf{$way};

        next if !defined $delay && $result eq 'success';

        push @lines, 'attempt ' . @steps . "/$of to \"$way\" failed: "
                     . ($failure // 'status') . " $status, "
                     . (defined $delay ? "retrying in $delay ms"
                                       : "no other attempt: $result");
    }

    push @lines, "ended: $result, " . @steps . ' attempt' . 's' x (@steps > 1)
        if @steps > 1 || $result ne 'success';

    my ($answer, $last) = ('', $status);

    if ($more{leave}) {
        $last = 499;

    } elsif (defined $more{answer}) {
        ($last, $answer) = split / /, $more{answer}, 2;
        $answer = "$last: $answer";

    } elsif ($failure) {
        $answer = "$status: $status "
                  . ($status == 504 ? 'Gateway Time-out' : 'Bad Gateway');

    } else {
        my $body = "$host $status $asked->{method} " . sum($asked->{body});

        $body = '' if $asked->{method} eq 'HEAD' || $status =~ /^[23]04$/;
        $answer = "$status from $host $status: $body";
    }

    local $" = ', ';

    return join "\n", $answer, @lines, "$last $result [@steps] [@statuses]";
}


1;
