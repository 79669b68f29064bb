package Ways::H2;

# A client that speaks HTTP/2 frame by frame, for what programs do not do: many
# streams at once, windows that open when we say so, resets in the middle.
#
#   my $c = Ways::H2->connect($n, window => 1000);
#   my $id = $c->ask(PUT => '/uri', body => $bytes, length => 1);
#   $c->until(sub { $c->ended($id) });
#   $c->stream($id)                     status, length, body, end
#   $c->outline($id)                    "200 body complete"
#
# A stream's "end" is "complete", "reset N" or empty.  Without "window" the
# windows are opened again as data come.

use strict;
use warnings;

use IO::Select;
use IO::Socket::UNIX;
use Time::HiRes qw(time);

use Slack qw(over);
use Ways::Nginx;

my %index = (GET => 2, POST => 3);
my %status = (8 => 200, 9 => 204, 10 => 206, 11 => 304, 12 => 400, 13 => 404,
              14 => 500);


# to the socket "h2" of a Ways::Nginx

sub connect {
    my ($class, $n, %arg) = @_;

    my $s = IO::Socket::UNIX->new(Peer => "$n->{dir}/h2") or die "h2: $!";

    return $class->new($s, %arg);
}


sub new {
    my ($class, $socket, %arg) = @_;

    my $self = bless { fh => $socket, in => '', out => '', next => 1,
                       streams => {}, window => 65535, initial => 65535,
                       auto => !defined $arg{window}, goaway => 0,
                       closed => 0 }, $class;

    $socket->blocking(0);

    my $settings = defined $arg{window} ? pack('nN', 4, $arg{window}) : '';

    $self->{out} = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
                   . frame(4, 0, 0, $settings);

    return $self;
}


sub frame {
    my ($type, $flags, $id, $data) = @_;

    return substr(pack('N', length $data), 1) . pack('CCN', $type, $flags, $id)
           . $data;
}


# a request, with "headers" as a list; "length" announces the body, "open" does
# not finish it

sub ask {
    my ($self, $method, $uri, %arg) = @_;

    my $id = $self->{next};
    my $body = $arg{body};
    my @headers = ([':path', $uri], [':authority', 'a'],
                   @{ $arg{headers} // [] });

    push @headers, ['content-length', length $body]
        if defined $body && $arg{length};

    my $block = chr(0x86) . ($index{$method} ? chr(0x80 | $index{$method})
                                             : literal(':method', $method))
                . join '', map { literal(@$_) } @headers;

    my $end = !$arg{open} && !defined $body;

    $self->{next} += 2;
    $self->{streams}{$id} = { status => 0, length => undef, body => '', end => '',
                              window => $self->{initial},
                              send => $body // '', last => !$arg{open},
                              sent => $end };

    $self->{out} .= frame(1, 4 | ($end ? 1 : 0), $id, $block);
    $self->send_bodies();

    return $id;
}


# no compression; nothing here is longer than 126 bytes

sub literal {
    my ($name, $value) = @_;

    return "\0" . chr(length $name) . $name . chr(length $value) . $value;
}


sub reset {
    my ($self, $id, $code) = @_;

    $self->{out} .= frame(3, 0, $id, pack 'N', $code // 8);
    $self->flush();
}


# more of a body that is open

sub more {
    my ($self, $id, $bytes, $last) = @_;

    my $stream = $self->{streams}{$id};

    $stream->{send} .= $bytes;
    $stream->{last} = $last;

    $self->send_bodies();
    $self->flush();
}


sub open_window {
    my ($self, $id, $bytes) = @_;

    $self->{out} .= frame(8, 0, $id, pack 'N', $bytes);
    $self->flush();
}


sub stream {
    my ($self, $id) = @_;
    return $self->{streams}{$id};
}


sub outline {
    my ($self, $id) = @_;

    my $stream = $self->{streams}{$id};

    return "$stream->{status} " . $stream->{body} =~ s/\n\z//r
           . " $stream->{end}";
}


sub ended {
    my ($self, @ids) = @_;
    return !grep { !length $self->{streams}{$_}{end} } @ids;
}


# reads and writes until $what holds, or the time is over

sub until {
    my ($self, $what, $timeout) = @_;

    my $start = time();
    my $limit = ($timeout // 10) * Ways::Nginx::slow();

    for ( ;; ) {
        $self->flush();

        return 1 if $what->();
        return 0 if $self->{closed} || over($start, $limit);

        vec(my $r = '', fileno $self->{fh}, 1) = 1;
        my $w = length $self->{out} ? $r : undef;

        select($r, $w, undef, 0.05);

        $self->pull();
    }
}


sub wait_all {
    my ($self, @ids) = @_;

    return $self->until(sub { $self->ended(@ids) });
}


sub close {
    my ($self) = @_;
    CORE::close($self->{fh});
}


sub flush {
    my ($self) = @_;

    local $SIG{PIPE} = 'IGNORE';

    while (length $self->{out}) {
        my $n = syswrite($self->{fh}, $self->{out}, 65536) // return;

        substr($self->{out}, 0, $n, '');
    }
}


sub pull {
    my ($self) = @_;

    my $n = sysread($self->{fh}, $self->{in}, 65536, length $self->{in});

    if (defined $n ? $n == 0 : !$!{EAGAIN}) {
        $self->{closed} = 1;
    }

    while (length $self->{in} >= 9) {
        my ($high, $low, $type, $flags, $id) = unpack 'CnCCN', $self->{in};
        my $size = $high << 16 | $low;

        last if length $self->{in} < 9 + $size;

        my $data = substr($self->{in}, 0, 9 + $size, '');

        $self->take($type, $flags, $id, substr($data, 9));
    }

    $self->send_bodies();
}


sub take {
    my ($self, $type, $flags, $id, $data) = @_;

    my $stream = $self->{streams}{$id};

    if ($type == 0) {
        $stream->{body} .= $data;

        if ($self->{auto} && length $data) {
            $self->{out} .= frame(8, 0, $_, pack 'N', length $data)
                for 0, $flags & 1 ? () : $id;
        }

    } elsif ($type == 1) {
        header($stream, $data);

    } elsif ($type == 3) {
        $stream->{end} ||= 'reset ' . unpack 'N', $data;

    } elsif ($type == 4 && !($flags & 1)) {
        my %settings = unpack '(nN)*', $data;

        if (defined $settings{4}) {
            $_->{window} += $settings{4} - $self->{initial}
                for values %{ $self->{streams} };
            $self->{initial} = $settings{4};
        }

        $self->{out} .= frame(4, 1, 0, '');

    } elsif ($type == 6 && !($flags & 1)) {
        $self->{out} .= frame(6, 1, 0, $data);

    } elsif ($type == 7) {
        $self->{goaway} = 1;

    } elsif ($type == 8) {
        my $n = unpack 'N', $data;

        if ($stream) {
            $stream->{window} += $n;

        } elsif ($id == 0) {
            $self->{window} += $n;
        }
    }

    if (($type == 0 || $type == 1) && $flags & 1) {
        $stream->{end} ||= 'complete';
    }
}


# nginx writes the status first, without compression

sub header {
    my ($stream, $block) = @_;

    $block =~ s/^[\x20-\x3f]//;

    if ($stream->{status}) {
        $stream->{trailer} = $block;
        return;
    }

    my $first = ord $block;

    $stream->{status} = $first & 0x80 ? $status{ $first & 0x7f } // 0
                                      : substr $block, 2, 3;
    $stream->{head} = $block;
}


# as much as the windows allow

sub send_bodies {
    my ($self) = @_;

    for my $id (sort { $a <=> $b } keys %{ $self->{streams} }) {
        my $stream = $self->{streams}{$id};

        while (!$stream->{sent}) {
            my $left = length $stream->{send};
            my ($n) = sort { $a <=> $b } 16384, $left, $stream->{window},
                                         $self->{window};

            last if $n < $left && $n <= 0 || !$left && !$stream->{last};

            my $end = $n == $left && $stream->{last};

            $self->{out} .= frame(0, $end ? 1 : 0, $id,
                                  substr($stream->{send}, 0, $n, ''));
            $stream->{sent} = $end;
            $stream->{$_} -= $n for 'window';
            $self->{window} -= $n;
        }
    }
}


1;
