package Differ::Backend;

# The vendor of the transparency tests: one process, one event loop, one
# instance of nginx in front.  A case is a Perl function that gets the parsed
# request and returns a list of steps:
#
#     "bytes"               send them
#     [ sleep => seconds ]  wait, and until nginx has done what there was to do
#     [ gate => name ]      wait until the client side opens that gate
#     [ read => n ]         wait for n more raw bytes and note them
#     [ eof => 1 ]          wait until nginx closes the connection
#     [ shut => 1 ]         half-close
#     [ close => 1 ]        close
#     [ reset => 1 ]        close with a reset
#     [ keep => 1 ]         do not close even if the request asks for it
#
# Everything that nginx did to us is noted and handed over on demand.

use strict;
use warnings;

use Digest::MD5 qw(md5_base64);
use IO::Handle;
use IO::Select;
use JSON::PP ();
use Socket qw(SOL_SOCKET SO_LINGER SHUT_WR);
use Time::HiRes qw(time);

use Slack qw(asleep children);

my %parser = (
    http      => \&parse_http,
    fcgi      => \&parse_fcgi,
    scgi      => \&parse_scgi,
    uwsgi     => \&parse_uwsgi,
    memcached => \&parse_memcached,
);


sub new {
    my ($class, %arg) = @_;

    return bless {
        listen => $arg{listen},         # kind => listening socket
        ctl    => $arg{ctl},
        cases  => $arg{cases},          # name => case
        conns  => {},
        gates  => {},
        log    => [],
        count  => 0,
        serial => 0,
        case   => undef,
        ctlbuf => '',
        quit   => 0,
    }, $class;
}


sub run {
    my ($self) = @_;

    local $SIG{PIPE} = 'IGNORE';
    my $stop = time() + 600;

    $_->blocking(0) for values %{ $self->{listen} }, $self->{ctl};

    while (!$self->{quit} && time() < $stop) {
        $self->turn(0.5);
    }
}


# one round of the loop; returns the number of sockets that had something

sub turn {
    my ($self, $timeout) = @_;

    my ($rin, $win) = ('', '');
    my %by;

    for my $fh (values %{ $self->{listen} }, $self->{ctl}) {
        vec($rin, fileno($fh), 1) = 1;
    }

    my $now = time();

    for my $c (values %{ $self->{conns} }) {
        my $fd = fileno($c->{fh});
        $by{$fd} = $c;
        vec($rin, $fd, 1) = 1 if !$c->{eof};
        vec($win, $fd, 1) = 1 if length $c->{out};

        if (defined $c->{wake} && $c->{wake} - $now < $timeout) {
            $timeout = $c->{wake} > $now ? $c->{wake} - $now : 0;
        }
    }

    my $n = select(my $r = $rin, my $w = $win, undef, $timeout);
    $n = 0 if $n < 0;

    for my $kind (sort keys %{ $self->{listen} }) {
        my $l = $self->{listen}{$kind};
        next if !vec($r, fileno($l), 1);

        while (my $fh = $l->accept()) {
            $fh->blocking(0);
            my $c = {
                fh    => $fh, kind => $kind, in => '', out => '',
                steps => [], id => ++$self->{serial}, eof => 0,
                note  => { kind => $kind, events => [], state => 'open' },
            };
            push @{ $self->{log} }, $c->{note};
            $c->{noted} = $self->{case};
            $self->{conns}{ $c->{id} } = $c;
        }
    }

    for my $fd (keys %by) {
        my $c = $by{$fd};
        next if !vec($r, $fd, 1);

        my $got = sysread($c->{fh}, my $buf, 262144);

        if (defined $got && $got > 0) {
            $c->{in} .= $buf;

        } elsif (defined $got || !$!{EAGAIN}) {
            $c->{eof} = 1;
        }
    }

    for my $c (values %{ $self->{conns} }) {
        $self->work($c);
    }

    $self->control() if vec($r, fileno($self->{ctl}), 1);

    return $n;
}


sub work {
    my ($self, $c) = @_;

    for ( ;; ) {
        return if !$self->{conns}{ $c->{id} };

        if (length $c->{out}) {
            my $n = syswrite($c->{fh}, $c->{out}, 262144);

            if (!defined $n) {
                return if $!{EAGAIN};
                return $self->drop($c, 'closed by nginx while sending');
            }

            substr($c->{out}, 0, $n, '');
            return if length $c->{out};
            next;
        }

        if (@{ $c->{steps} }) {
            $self->step($c) or return;
            next;
        }

        if ($c->{last}) {
            return $self->drop($c, 'done');
        }

        if ($c->{busy}) {
            $c->{busy} = 0;
        }

        my $req = length $c->{in} ? $parser{ $c->{kind} }->($self, $c) : undef;

        if ($req) {
            $self->request($c, $req);
            next;
        }

        if ($c->{eof}) {
            return $self->drop($c, length $c->{in}
                                   ? "closed by nginx in the request"
                                   : 'closed by nginx');
        }

        return;
    }
}


sub request {
    my ($self, $c, $req) = @_;

    my $case = defined $self->{case} ? $self->{cases}{ $self->{case} } : undef;

    if (!defined $c->{noted} || $c->{noted} ne ($self->{case} // '')) {
        # an old connection that is used again by another case
        $c->{note} = { kind => $c->{kind}, events => [], state => 'open',
                       old => 1 };
        push @{ $self->{log} }, $c->{note};
        $c->{noted} = $self->{case};
    }

    $self->{count}++;
    push @{ $c->{note}{events} }, $req->{seen};
    $req->{n} = $self->{count};             # in this case
    $req->{conn} = $c->{id};
    $req->{kind} = $c->{kind};
    $c->{busy} = 1;
    $c->{last} = $req->{close};

    my $h = $case ? $case->{backend} : undef;
    my @steps = $h ? $h->($req) : default_reply($req);

    $c->{steps} = [@steps];
}


sub default_reply {
    my ($req) = @_;

    my $body = "ok\n";

    return "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
           . "X-Foo: bar\r\nContent-Length: " . length($body) . "\r\n\r\n"
           . $body;
}


# returns true if the step is done

sub step {
    my ($self, $c) = @_;

    my $s = $c->{steps}[0];

    if (!ref $s) {
        # one write, so that nginx reads them together
        while (@{ $c->{steps} } && !ref $c->{steps}[0]) {
            $c->{out} .= shift @{ $c->{steps} };
        }

        return 1;
    }

    my ($what, $arg) = @$s;

    if ($what eq 'sleep' || $what eq 'gate') {

        if ($c->{eof}) {
            $self->drop($c, "closed by nginx at $what");
            return 0;
        }

        if ($what eq 'sleep') {
            $c->{wake} //= time() + $arg;
            return 0 if $c->{wake} > time();

            if (!asleep(children($self->{nginx} // 0))
                && ++$c->{looks} < 300)
            {
                $c->{wake} = time() + 0.003;
                return 0;
            }

            $c->{wake} = undef;
            $c->{looks} = 0;

        } else {
            return 0 if !$self->{gates}{$arg};
        }

    } elsif ($what eq 'read') {

        if (length $c->{in} < $arg) {
            $self->drop($c, 'closed by nginx at read') if $c->{eof};
            return 0;
        }

        my $got = substr($c->{in}, 0, $arg, '');
        push @{ $c->{note}{events} }, "raw: $got";

    } elsif ($what eq 'eof') {

        if ($c->{eof}) {
            $self->drop($c, 'closed by nginx, as expected');
        } else {
            $c->{in} = '';
        }

        return 0;

    } elsif ($what eq 'shut') {
        shutdown($c->{fh}, SHUT_WR);

    } elsif ($what eq 'close') {
        $self->drop($c, 'done');
        return 0;

    } elsif ($what eq 'reset') {
        setsockopt($c->{fh}, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0));
        $self->drop($c, 'done');
        return 0;

    } elsif ($what eq 'keep') {
        $c->{last} = 0;

    } else {
        die "unknown step $what";
    }

    shift @{ $c->{steps} };
    return 1;
}


sub drop {
    my ($self, $c, $why) = @_;

    # who of the two closes first after the last byte is a race
    $why = 'done' if !@{ $c->{steps} } && $c->{last} && $why =~ /^closed by/;

    $c->{note}{state} = $why;
    delete $self->{conns}{ $c->{id} };
    close $c->{fh};
}


# requests come as one JSON object in a line, replies too

sub control {
    my ($self) = @_;

    my $n = sysread($self->{ctl}, my $buf, 65536);

    if (!$n) {
        $self->{quit} = 1 if defined $n || !$!{EAGAIN};
        return;
    }

    $self->{ctlbuf} .= $buf;

    while ($self->{ctlbuf} =~ s/^(.*)\n//) {
        my $msg = JSON::PP::decode_json($1);
        my $out = { ok => 1 };

        if (defined $msg->{case}) {
            $self->{case} = $msg->{case};
            $self->{nginx} = $msg->{nginx};
            $self->{gates} = {};
            $self->{log} = [];
            $self->{count} = 0;

            my $c = $self->{cases}{ $msg->{case} };
            $c->{reset}->() if $c && $c->{reset};

        } elsif (defined $msg->{gate}) {
            $self->{gates}{ $msg->{gate} } = 1;
            $self->work($_) for values %{ $self->{conns} };

        } elsif ($msg->{count}) {
            $out->{count} = $self->{count};

        } elsif ($msg->{report}) {
            # take in what nginx did before it said that all is quiet
            for (1 .. 50) {
                last if !$self->turn(0);
            }

            $out->{log} = [ map { {
                kind => $_->{kind}, events => [ @{ $_->{events} } ],
                state => $_->{state}, old => $_->{old} ? 1 : 0,
            } } @{ $self->{log} } ];

        } elsif ($msg->{quit}) {
            $self->{quit} = 1;
        }

        $self->{ctl}->blocking(1);
        my $line = JSON::PP->new->latin1->canonical->encode($out) . "\n";
        print { $self->{ctl} } $line;
        $self->{ctl}->flush();
        $self->{ctl}->blocking(0);
    }
}


sub brief {
    my ($body) = @_;

    return '' if !defined $body;
    return $body if length $body < 600;
    return sprintf('<%d bytes, %s>', length $body, md5_base64($body));
}


sub parse_http {
    my ($self, $c) = @_;

    $c->{in} =~ /\r\n\r\n/g or return;
    my $hl = $+[0];
    my $head = substr($c->{in}, 0, $hl);
    my ($line, @h) = split /\r\n/, $head;
    my ($method, $uri, $proto) = split / /, $line;
    my %h;

    for (@h) {
        my ($k, $v) = /^([^:]*):\s*(.*)$/ or next;
        push @{ $h{ lc $k } }, $v;
    }

    my ($body, $used, $form) = ('', $hl, 'none');
    my $case = $self->{cases}{ $self->{case} // '' };

    if ($case && $case->{early}) {
        $used = length $c->{in};
        $form = 'not awaited';

    } elsif (lc($h{'transfer-encoding'}[0] // '') eq 'chunked') {
        my $pos = $hl;
        $form = 'chunked';

        for ( ;; ) {
            pos($c->{in}) = $pos;
            $c->{in} =~ /\G([0-9a-fA-F]+)\r\n/g or return;
            my ($n, $at) = (hex $1, $+[0]);
            return if length $c->{in} < $at + $n + 2;
            $body .= substr($c->{in}, $at, $n);
            $pos = $at + $n + 2;
            last if $n == 0;
        }

        $used = $pos;

    } elsif (my $cl = $h{'content-length'}) {
        return if length $c->{in} < $hl + $cl->[0];
        $body = substr($c->{in}, $hl, $cl->[0]);
        $used = $hl + $cl->[0];
        $form = 'length';
    }

    substr($c->{in}, 0, $used, '');

    my $conn = lc($h{connection}[0] // '');
    my $close = $proto eq 'HTTP/1.0' ? $conn !~ /keep-alive/
                                     : $conn =~ /close/;

    return {
        method => $method, uri => $uri, proto => $proto, h => \%h,
        body => $body, head => $head, close => $close ? 1 : 0,
        seen => $head . "(body: $form) " . brief($body),
    };
}


sub parse_fcgi {
    my ($self, $c) = @_;

    my ($pos, $params, $stdin, $flags, $id) = (0, '', '', 0, 1);

    for ( ;; ) {
        return if length $c->{in} < $pos + 8;
        my ($v, $type, $rid, $len, $pad)
            = unpack 'CCnnC', substr($c->{in}, $pos, 8);
        return if length $c->{in} < $pos + 8 + $len + $pad;
        my $data = substr($c->{in}, $pos + 8, $len);
        $pos += 8 + $len + $pad;
        $id = $rid;

        if ($type == 1) {
            $flags = unpack 'x2C', $data;

        } elsif ($type == 4) {
            $params .= $data;

        } elsif ($type == 5) {
            last if $len == 0;
            $stdin .= $data;
        }
    }

    substr($c->{in}, 0, $pos, '');

    my (%p, @p);

    while (length $params) {
        my @n;

        for (1, 2) {
            if (ord($params) & 0x80) {
                push @n, unpack('N', substr($params, 0, 4, '')) & 0x7fffffff;
            } else {
                push @n, ord(substr($params, 0, 1, ''));
            }
        }

        my $k = substr($params, 0, $n[0], '');
        my $v = substr($params, 0, $n[1], '');
        $p{$k} = $v;
        push @p, "$k=$v";
    }

    return {
        h => \%p, body => $stdin, id => $id, close => $flags & 1 ? 0 : 1,
        seen => join("\n", 'fcgi', @p, brief($stdin)),
    };
}


sub parse_scgi {
    my ($self, $c) = @_;

    $c->{in} =~ /^(\d+):/ or return;
    my ($n, $at) = ($1, $+[0]);
    return if length $c->{in} < $at + $n + 1;

    my @kv = split /\0/, substr($c->{in}, $at, $n), -1;
    pop @kv;
    my %h = @kv;
    my $cl = $h{CONTENT_LENGTH} || 0;
    return if length $c->{in} < $at + $n + 1 + $cl;

    my $body = substr($c->{in}, $at + $n + 1, $cl);
    substr($c->{in}, 0, $at + $n + 1 + $cl, '');

    my @p;
    while (my ($k, $v) = splice @kv, 0, 2) {
        push @p, "$k=$v";
    }

    return { h => \%h, body => $body, close => 1,
             seen => join("\n", 'scgi', @p, brief($body)) };
}


sub parse_uwsgi {
    my ($self, $c) = @_;

    return if length $c->{in} < 4;
    my ($m1, $n, $m2) = unpack 'CvC', $c->{in};
    return if length $c->{in} < 4 + $n;

    my $vars = substr($c->{in}, 4, $n);
    my (%h, @p);

    while (length $vars) {
        my $k = substr($vars, 0, unpack('v', substr($vars, 0, 2, '')), '');
        my $v = substr($vars, 0, unpack('v', substr($vars, 0, 2, '')), '');
        $h{$k} = $v;
        push @p, "$k=$v";
    }

    my $cl = $h{CONTENT_LENGTH} || 0;
    return if length $c->{in} < 4 + $n + $cl;
    my $body = substr($c->{in}, 4 + $n, $cl);
    substr($c->{in}, 0, 4 + $n + $cl, '');

    return { h => \%h, body => $body, close => 1,
             seen => join("\n", "uwsgi $m1 $m2", @p, brief($body)) };
}


sub parse_memcached {
    my ($self, $c) = @_;

    $c->{in} =~ s/^([^\r\n]*)\r\n// or return;
    my $line = $1;

    return { h => {}, body => '', close => 0, line => $line,
             seen => "memcached $line" };
}


1;
