package Differ::Client;

# The client side of one case against one instance: raw connections, gates of
# the backend, and a transcript that leaves out only what cannot be equal.

use strict;
use warnings;

use Digest::MD5 qw(md5_base64);
use IO::Handle;
use IO::Socket::INET;
use JSON::PP ();
use Socket qw(SOL_SOCKET SO_RCVBUF SO_LINGER SHUT_WR);
use Time::HiRes qw(time sleep);

use Slack qw(asleep children over slack);


# ports: name => number; ctl: socket to the backend; wait: factor for slow
# machines

sub new {
    my ($class, %arg) = @_;
    return bless { %arg, conns => [], notes => [], late => 0 }, $class;
}


sub fill {
    my ($self, $text) = @_;

    $text =~ s/%%NAME%%/$self->{name}/g;
    $text =~ s/%%([A-Z0-9]+)%%/$self->{ports}{$1} \/\/ die "no port $1"/ge;

    return $text;
}


sub conn {
    my ($self, %arg) = @_;

    my $port = $self->{ports}{ $arg{port} || 'MAIN' };

    socket(my $fh, Socket::PF_INET(), Socket::SOCK_STREAM(), 0) or die $!;

    if ($arg{rcvbuf}) {
        setsockopt($fh, SOL_SOCKET, SO_RCVBUF, $arg{rcvbuf});
    }

    connect($fh, Socket::pack_sockaddr_in($port,
                                          Socket::inet_aton('127.0.0.1')))
        or die "connect to port $port: $!";
    $fh->blocking(0);

    my $c = Differ::Client::Conn->new(
        io => $self, fh => $fh, label => $arg{label}
            || 'conn ' . (1 + @{ $self->{conns} }));

    push @{ $self->{conns} }, $c;
    return $c;
}


# the usual exchange: send all, read until nginx closes

sub talk {
    my ($self, $bytes, %arg) = @_;

    my $c = $self->conn(%arg);
    $c->send($bytes);
    $c->eof();
    # nginx may be lingering, and writes its log after that
    $c->close();
    return $c;
}


sub note {
    my ($self, $text) = @_;
    push @{ $self->{notes} }, $text;
}


sub ask {
    my ($self, $msg) = @_;

    my $ctl = $self->{ctl};
    print $ctl JSON::PP->new->canonical->encode($msg) . "\n";
    $ctl->flush();

    my $line = '';
    my $start = time();

    while ($line !~ /\n\z/) {
        vec(my $r = '', fileno($ctl), 1) = 1;
        die "the backend does not answer\n"
            if over($start, 10 * $self->{wait});
        next if !select($r, undef, undef, 0.5);
        sysread($ctl, $line, 262144, length $line)
            or die "the backend is gone\n";
    }

    return JSON::PP->new->decode($line);
}


# wait until the backend has got n requests

sub requests {
    my ($self, $n, $max) = @_;

    my $start = time();

    until (over($start, ($max || 4) * $self->{wait})) {
        return 1 if $self->ask({ count => 1 })->{count} >= $n;
        sleep 0.003;
    }

    $self->note("the backend did not get request $n");
    $self->{late}++;
    return 0;
}


sub gate {
    my ($self, $name) = @_;
    $self->ask({ gate => $name });
}


# for some time, and until what has been sent has been read: nobody has anything
# to do, twice, as the last one may have woken the first one

sub pause {
    my ($self, $sec) = @_;

    sleep $sec;

    my $start = time();

    my @all = (children($self->{side}{master}), $self->{side}{backend});

    until (asleep(@all, @all) || over($start, 2)) {
        sleep 0.003;
    }
}


# run a client program and note what it printed

sub program {
    my ($self, $label, @cmd) = @_;

    @cmd = map { $self->fill($_) } @cmd;
    my $max = int(6 * $self->{wait} * slack()) || 1;

    open my $fh, '-|', 'timeout', $max, 'sh', '-c', 'exec "$@" 2>&1', 'sh',
        @cmd or die "cannot run $cmd[0]: $!";
    binmode $fh;
    local $/;
    my $out = <$fh>;
    close $fh;
    my $rc = $? >> 8;

    $self->{late}++ if $rc == 124;
    $self->note("$label: exit code $rc\n" . ($out // ''));
    return $out;
}


sub close_all {
    my ($self) = @_;
    $_->close() for @{ $self->{conns} };
}


sub transcript {
    my ($self) = @_;

    return join '', (map { $_->transcript() } @{ $self->{conns} }),
        map { "note: $_\n" } @{ $self->{notes} };
}


package Differ::Client::Conn;

use strict;
use warnings;

use Socket qw(SOL_SOCKET SO_LINGER SHUT_WR);
use Time::HiRes qw(time sleep);

use Slack qw(over);


sub new {
    my ($class, %arg) = @_;
    return bless { %arg, in => '', sent => '', end => 'open',
                   started => time() }, $class;
}


sub send {
    my ($self, $bytes) = @_;

    $bytes = $self->{io}->fill($bytes);
    $self->{sent} .= $bytes;
    my $start = time();

    while (length $bytes && $self->{end} eq 'open') {
        my $fd = fileno $self->{fh};
        vec(my $r = '', $fd, 1) = 1;
        vec(my $w = '', $fd, 1) = 1;
        select($r, $w, undef, 0.5);

        $self->pull() if vec($r, $fd, 1);

        if ($self->{end} eq 'open' && vec($w, $fd, 1)) {
            my $n = syswrite($self->{fh}, $bytes, 131072);

            if (defined $n) {
                substr($bytes, 0, $n, '');

            } elsif (!$!{EAGAIN}) {
                # the reply may still be there to be read
                last;
            }
        }

        if (over($start, 5 * $self->{io}{wait})) {
            $self->{end} = 'TIMEOUT while sending';
            $self->{io}{late}++;
        }
    }
}


sub pull {
    my ($self, $max) = @_;

    my $n = sysread($self->{fh}, $self->{in}, $max || 262144,
                    length $self->{in});

    if (!defined $n) {
        return 0 if $!{EAGAIN};
        $self->{end} = 'closed';
        return 0;
    }

    $self->{end} = 'closed' if $n == 0;
    return $n;
}


sub until {
    my ($self, $done, $max) = @_;

    my $start = time();

    while ($self->{end} eq 'open' && !$done->()) {
        vec(my $r = '', fileno $self->{fh}, 1) = 1;

        if (over($start, ($max || 5) * $self->{io}{wait})) {
            $self->{end} = 'TIMEOUT';
            $self->{io}{late}++;
            last;
        }

        $self->pull() if select($r, undef, undef, 0.2);
    }

    $self->{took} = time() - $self->{started};
    return $self;
}


sub eof {
    my ($self, $max) = @_;
    return $self->until(sub { 0 }, $max);
}


# wait for n complete replies

sub replies {
    my ($self, $n, $max) = @_;

    return $self->until(sub {
        my @r = Differ::Client::replies_of($self->{in}, $self->methods(), 0);
        return $n <= grep { $_->{complete} && !$_->{interim} } @r;
    }, $max);
}


sub bytes {
    my ($self, $n, $max) = @_;
    return $self->until(sub { length $self->{in} >= $n }, $max);
}


sub seen {
    my ($self, $re, $max) = @_;
    return $self->until(sub { $self->{in} =~ $re }, $max);
}


# read slowly until the end

sub slowly {
    my ($self, $portion, $every, $max) = @_;

    my $start = time();

    while ($self->{end} eq 'open') {
        vec(my $r = '', fileno $self->{fh}, 1) = 1;

        if (over($start, ($max || 6) * $self->{io}{wait})) {
            $self->{end} = 'TIMEOUT';
            $self->{io}{late}++;
            last;
        }

        next if !select($r, undef, undef, 0.5);
        $self->pull($portion);
        sleep $every;
    }

    return $self;
}


sub half_close {
    my ($self) = @_;
    shutdown($self->{fh}, SHUT_WR);
}


sub close {
    my ($self) = @_;

    return if !$self->{fh};
    $self->{end} = 'open at the end' if $self->{end} eq 'open';
    CORE::close(delete $self->{fh});
}


sub reset {
    my ($self) = @_;

    setsockopt($self->{fh}, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0));
    $self->close();
}


sub methods {
    my ($self) = @_;
    return [ $self->{sent} =~ m{^([A-Z]+) \S+ HTTP/1\.[01]\r$}mg ];
}


sub transcript {
    my ($self) = @_;

    my $text = "== $self->{label}\n";

    my @r = Differ::Client::replies_of($self->{in}, $self->methods(),
                                       $self->{end} =~ /^closed/);

    for my $r (@r) {
        $text .= Differ::Client::clean($r->{head}) if defined $r->{head};

        # here a later reply may be hidden
        $r->{body} = Differ::Client::clean($r->{body})
            if $r->{form} =~ /^(?:tunnel|bytes)/;

        $text .= "-- $r->{form}"
            . ($r->{complete} ? '' : ', NOT COMPLETE') . ': '
            . Differ::Client::brief($r->{body}) . "\n";
        $text .= "-- trailers: $r->{trailers}\n"
            if defined $r->{trailers} && length $r->{trailers};
    }

    return $text . "-- connection $self->{end}\n";
}


package Differ::Client;

# cut what came into replies

sub replies_of {
    my ($in, $methods, $ended) = @_;

    my @methods = @$methods;
    my @r;
    my $pos = 0;

    while ($pos < length $in) {

        if (substr($in, $pos, 5) ne 'HTTP/') {
            push @r, { form => 'bytes outside of a reply', complete => 0,
                       body => substr($in, $pos) };
            last;
        }

        my $end = index($in, "\r\n\r\n", $pos);

        if ($end < 0) {
            push @r, { form => 'header', complete => 0,
                       body => substr($in, $pos) };
            last;
        }

        my $head = substr($in, $pos, $end + 4 - $pos);
        $pos = $end + 4;

        my ($status) = $head =~ m{^HTTP/\S+ (\d+)};
        $status ||= 0;

        my $r = { head => $head, body => '', complete => 1 };
        push @r, $r;

        if ($status >= 100 && $status < 200 && $status != 101) {
            $r->{form} = 'interim';
            $r->{interim} = 1;
            next;
        }

        my $method = shift @methods || 'GET';

        if ($status == 101) {
            $r->{form} = 'tunnel';
            $r->{body} = substr($in, $pos);
            last;
        }

        if ($method eq 'HEAD' || $status == 204 || $status == 304) {
            $r->{form} = 'no body';
            next;
        }

        if ($head =~ /^Transfer-Encoding: chunked\r$/mi) {
            $r->{form} = 'chunked';
            $r->{complete} = 0;

            for ( ;; ) {
                pos($in) = $pos;
                $in =~ /\G([0-9a-fA-F]+)\r\n/g or last;
                my ($n, $at) = (hex $1, $+[0]);

                if ($n == 0) {
                    my $e = substr($in, $at, 2) eq "\r\n" ? $at + 2
                            : index($in, "\r\n\r\n", $at) + 4;
                    last if $e < $at + 2;
                    $r->{trailers} = substr($in, $at, $e - $at - 2);
                    $r->{complete} = 1;
                    $pos = $e;
                    last;
                }

                $r->{body} .= substr($in, $at, $n);
                last if length $in < $at + $n + 2;
                $pos = $at + $n + 2;
            }

            last if !$r->{complete};
            next;
        }

        if ($head =~ /^Content-Length: (\d+)\r$/mi) {
            my $n = $1;
            $r->{form} = "length $n";
            $r->{body} = substr($in, $pos, $n);
            $r->{complete} = length $r->{body} == $n;
            last if !$r->{complete};
            $pos += $n;
            next;
        }

        $r->{form} = 'until close';
        $r->{body} = substr($in, $pos);
        $r->{complete} = $ended ? 1 : 0;
        last;
    }

    return @r;
}


# dates of now have no place in a comparison

sub clean {
    my ($head) = @_;

    $head =~ s/^(Date: )\w{3}, \d\d \w{3} 20[2-9]\d [\d:]{8} GMT\r$/$1now\r/mg;
    $head =~ s/^(Expires: )(\w{3}, \d\d \w{3} 20[2-9]\d [\d:]{8} GMT)\r$/
               $1 . from_now($2) . "\r"/mge;
    $head =~ s/\r\n/\n/g;

    return $head;
}


sub from_now {
    my ($date) = @_;

    require Time::Local;
    my %m;
    @m{qw(Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec)} = (0 .. 11);
    my ($d, $m, $y, $h, $i, $s)
        = $date =~ /, (\d\d) (\w+) (\d+) (\d\d):(\d\d):(\d\d)/ or return $date;
    my $t = Time::Local::timegm($s, $i, $h, $d, $m{$m}, $y) - time();

    # what is far away is a date of its own
    return $date if abs $t > 864_000;
    return 'now + ' . int($t / 10 + 0.7) * 10 . ' s';
}


sub brief {
    my ($body) = @_;

    return '' if !defined $body || $body eq '';

    if (length $body > 1500) {
        return sprintf "<%d bytes, %s, %s...>", length $body,
            md5_base64($body), printable(substr($body, 0, 40));
    }

    return printable($body);
}


sub printable {
    my ($s) = @_;

    $s =~ s/([^\n\r\t -~])/sprintf '\\x%02x', ord $1/ge;
    $s =~ s/\r/\\r/g;

    return $s;
}


1;
