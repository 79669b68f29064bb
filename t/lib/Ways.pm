package Ways;

# Upstreams for the tests of real retries: one process plays them all, each on
# a unix socket of its own.
#
#   ways(limited => sub { reply(429, "slow down\n") },
#        broken  => sub { (reply(200, 'abc', 'Content-Length: 9'), [close => 1]) });
#
# A way gets the parsed request and returns what Differ::Backend describes; in
# addition
#
#   [ endless => "bytes", seconds ]   send them again and again
#   [ hold => 1 ]                     wait until the test calls ways_go(), which
#                                     lets go all that are held then
#   [ go => 1 ]                       do the same
#
# Any way "ok" and "sNNN" is there already: 200 with a line about the request,
# and the status NNN.  In a Test::Nginx file every way is an upstream group
# with keepalive, the address of the sockets is in TEST_NGINX_WAYS, and blocks
# may have a section
#
#   --- calls        what the ways got: "limited 1.2 GET /" is the second
#                    request on the first connection to "limited"; a "cut" line
#                    says that nginx closed before the reply was sent
#   --- calls_like   the same as one pattern
#   --- sums         a line is a way and the number of requests it got
#
# With WAYS_PLAIN=1 the chains are replaced by their last steps: what fails then
# does not depend on the module, or should not.
#
# The access log has lines "way: ..." with the variables of the chain.

use strict;
use warnings;

use Digest::MD5 qw(md5_hex);
use Exporter 'import';
use File::Temp qw(tempdir);
use IO::Socket::UNIX;
use Socket qw(SOL_SOCKET SO_SNDBUF SOMAXCONN);
use Time::HiRes qw(time sleep);

use Differ::Backend;
use Slack qw(asleep over);

our @ISA = qw(Exporter Differ::Backend);
our @EXPORT = qw(ways ways_blocks ways_upstreams ways_dir ways_reset ways_go
                 ways_calls ways_events reply chunks fcgi lines sum);

my ($dir, $pid, $owner);
my %ways = (ok => \&ok);


# reply(200, "body", 'X: y', ...); without a body there is no length

sub reply {
    my ($status, $body, @headers) = @_;

    push @headers, 'Content-Length: ' . length $body
        if defined $body && !grep { /^(?:Content-Length|Transfer-Encoding):/i }
                                  @headers;

    return join("\r\n", "HTTP/1.1 $status Text", @headers, '', '')
           . ($body // '');
}


sub chunks {
    return join '', (map { sprintf("%x\r\n%s\r\n", length $_, $_) }
                     grep { length $_ } @_), "0\r\n\r\n";
}


# what a FastCGI program says

sub fcgi {
    my ($req, $out) = @_;

    return pack('CCnnCC', 1, 6, $req->{id}, length $out, 0, 0) . $out
           . pack('CCnnCC', 1, 3, $req->{id}, 8, 0, 0) . "\0" x 8;
}


# so many bytes that differ all along

sub lines {
    my ($n) = @_;

    my $s = join '', map { sprintf "%015d\n", $_ } 0 .. $n / 16;

    return substr $s, 0, $n;
}


sub sum {
    my ($body) = @_;
    return length($body) . ':' . substr(md5_hex($body), 0, 8);
}


sub ok {
    my ($req) = @_;

    return reply(200, "ok $req->{method} $req->{uri} " . sum($req->{body})
                      . "\n",
                 'Content-Type: text/plain');
}


sub ways {
    %ways = (%ways, @_);
}


sub names {
    return %ways;
}


sub ways_dir {
    return $dir;
}


sub ways_upstreams {
    ways_start();

    return join '', map { "upstream $_ { server unix:$dir/$_; keepalive 4; }\n" }
                    sort keys %ways;
}


# for Test::Nginx

sub ways_blocks {
    my (%arg) = @_;

    for my $status (qw(400 401 404 429 500 502 503 504)) {
        $ways{"s$status"} //= sub { reply($status, "s$status\n",
                                          "X-Failed: s$status") };
    }

    require BlockLogs;

    Test::Nginx::Socket::no_root_location();
    Test::Nginx::Socket::no_long_string();
    Test::Nginx::Socket::no_shuffle();

    ways_start();
    $ENV{TEST_NGINX_WAYS} = $dir;

    my $http = $arg{http} // '';
    my $log = '"$request" $status $retry_chain_result'
              . ' [$retry_chain_steps] [$retry_chain_statuses]';

    Test::Nginx::Socket::add_block_preprocessor(sub {
        my ($block) = @_;

        plain($block) if $ENV{WAYS_PLAIN};

        my $own = $block->http_config // '';

        $block->set_value('http_config', <<"_EOC_") if defined $block->config;
log_format ways 'way: $log';
access_log logs/access.log ways;
proxy_http_version 1.1;
proxy_set_header Connection "";
client_body_buffer_size 16k;
@{[ ways_upstreams() ]}
upstream refused { server 127.0.0.1:1; }
$http
$own
_EOC_

        if (!defined $block->no_error_log && !defined $block->must_die) {
            $block->set_value('no_error_log', "[alert]\n[crit]\n[emerg]\n");
        }

        $block->set_value('request', 'GET /')
            if !defined $block->request && !defined $block->raw_request
               && !defined $block->pipelined_requests;

        ways_reset();
    });

    Test::Nginx::Socket::add_response_body_check(sub {
        my ($block, $body, $req) = @_;

        my $many = $block->pipelined_requests || ref $block->request;
        my $n = ref $many ? @$many : 1;

        return if $req != $n - 1 || $ENV{WAYS_PLAIN};

        my $name = $block->name;

        if (defined $block->calls) {
            Test::More::is(ways_calls(), $block->calls, "$name - calls");
        }

        if (defined $block->calls_like) {
            my $like = $block->calls_like =~ s/\n\z//r;
            Test::More::like(ways_calls(), ref $block->calls_like
                             ? $block->calls_like : qr/$like/, "$name - calls");
        }

        if (defined $block->sums) {
            my %sum;
            $sum{ (split ' ')[0] }++ for grep { !/ cut$/ }
                                         split /\n/, ways_calls();
            Test::More::is(join('', map { "$_ $sum{$_}\n" } sort keys %sum),
                           $block->sums, "$name - sums");
        }
    });
}


# what nginx itself makes of the reply of the last step

sub plain {
    my ($block) = @_;

    for my $section (qw(config http_config)) {
        my $text = $block->$section // next;

        $text =~ s/(?:retry_chain [^;]*;\s*)*retry_chain [^;]*\b([a-z]\w*)[^;\w]*;
                  /set \$plain $1;/gx;
        $text =~ s/retry_chain_\w+ [^;]*;//g;
        $text =~ s/\$retry_chain_upstream/\$plain/g if $section eq 'config';

        $block->set_value($section, $text);
    }

    $block->set_value($_, undef) for qw(access_log calls calls_like sums);
}


# since the last reset

sub ways_reset {
    call_ways('USR1');
}


# those that are held and have been asked, see ways_calls()

sub ways_go {
    call_ways('USR2');
}


sub call_ways {
    my ($signal) = @_;

    my $start = time();

    kill $signal, $pid;

    until (-e "$dir/.told" || over($start, 10)) {
        sleep 0.002;
    }

    unlink "$dir/.told";
}


sub ways_calls {
    settle();

    return join '', map { /^([^\t]*)/ ? "$1\n" : () } ways_events();
}


# what has been sent to them has been read, unless there is no end to it

sub settle {
    for (1 .. 30) {
        last if asleep($pid);
        sleep 0.002;
    }
}


# lines "call \t way \t bytes \t seconds"; the two latter for a "cut"

sub ways_events {
    open my $in, '<', "$dir/.calls" or die "$dir: $!";
    return <$in>;
}


# ---- the process ------------------------------------------------------------

sub ways_start {
    return if $pid;

    $dir = tempdir('retry_chain_ways.XXXXXX', TMPDIR => 1, CLEANUP => 0);
    $owner = $$;

    my @listen;

    for my $name (sort keys %ways) {
        my $fh = IO::Socket::UNIX->new(Local => "$dir/$name",
                                       Listen => SOMAXCONN)
            or die "$dir/$name: $!";
        chmod 0777, "$dir/$name";
        $fh->blocking(0);
        push @listen, [$name, $fh];
    }

    chmod 0755, $dir;

    open my $out, '>', "$dir/.calls" or die "$dir: $!";
    close $out;

    $pid = fork() // die "fork: $!";

    return if $pid;

    # the child

    $SIG{$_} = 'DEFAULT' for qw(INT TERM HUP);
    $SIG{PIPE} = 'IGNORE';

    my $self = bless { listen => [@listen], conns => {}, cases => {},
                       log => [], serial => 0, told => '', n => {} }, 'Ways';

    $SIG{$_} = sub { $self->{told} = $_[0] } for qw(USR1 USR2);

    my $parent = getppid();
    my $stop = time() + 600;

    while (getppid() == $parent && time() < $stop) {
        $self->turn(0.5);
    }

    require POSIX;
    POSIX::_exit(0);
}


END {
    if ($pid && $owner == $$) {
        my $status = $?;

        kill 'TERM', $pid;
        waitpid $pid, 0;

        unlink glob("$dir/*"), "$dir/.calls", "$dir/.told";
        rmdir $dir;
        $? = $status;
    }
}


sub turn {
    my ($self, $timeout) = @_;

    my ($rin, $win) = ('', '');
    my %by;
    my $now = time();

    vec($rin, fileno($_->[1]), 1) = 1 for @{ $self->{listen} };

    for my $c (values %{ $self->{conns} }) {
        my $fd = fileno($c->{fh});

        $by{$fd} = $c;
        vec($rin, $fd, 1) = 1 if !$c->{eof};
        vec($win, $fd, 1) = 1 if length $c->{out};

        if (defined $c->{wake} && $c->{wake} - $now < $timeout) {
            $timeout = $c->{wake} > $now ? $c->{wake} - $now : 0;
        }
    }

    my $n = $self->{told} ? 0
            : select(my $r = $rin, my $w = $win, undef, $timeout);

    return $self->listen_to_test() if $self->{told};
    return if $n < 0;

    for my $l (@{ $self->{listen} }) {
        my ($name, $listen) = @$l;

        next if !vec($r, fileno($listen), 1);

        while (my $fh = $listen->accept()) {
            $fh->blocking(0);
            setsockopt($fh, SOL_SOCKET, SO_SNDBUF, 16384);

            my $c = { fh => $fh, kind => $name =~ /^(fcgi|scgi|uwsgi|memcached)/
                                         ? $1 : 'http',
                      name => $name, in => '', out => '', steps => [],
                      id => ++$self->{serial}, serial => 0, eof => 0,
                      requests => 0, note => {} };

            $self->{conns}{ $c->{id} } = $c;
        }
    }

    for my $fd (keys %by) {
        next if !vec($r, $fd, 1);

        my $c = $by{$fd};
        my $got = sysread($c->{fh}, my $buf, 262144);

        if (defined $got && $got > 0) {
            $c->{in} .= $buf;

        } elsif (defined $got || !$!{EAGAIN}) {
            $c->{eof} = 1;
        }
    }

    # nginx has gone while there is something to say

    for my $c (values %{ $self->{conns} }) {

        if ($c->{eof} && (@{ $c->{steps} } || length $c->{out})) {
            $self->drop($c, 'cut');
            next;
        }

        $self->work($c);
    }
}


sub listen_to_test {
    my ($self) = @_;

    my $told = $self->{told};
    my @conns = values %{ $self->{conns} };

    $self->{told} = '';

    if ($told eq 'USR1') {
        $self->{n} = {};
        $_->{old} = 1 for @conns;

        open my $out, '>', "$dir/.calls" or die "$dir: $!";

    } else {
        $self->go($_) for @conns;
    }

    open my $out, '>', "$dir/.told" or die "$dir: $!";
}


sub go {
    my ($self, $c) = @_;

    my $s = $c->{steps}[0];

    if (ref $s && $s->[0] eq 'hold') {
        shift @{ $c->{steps} };
        $self->work($c);
    }
}


sub request {
    my ($self, $c, $req) = @_;

    my $name = $c->{name};

    if ($c->{old} || !$c->{serial}) {
        $c->{old} = 0;
        $c->{serial} = ++$self->{n}{$name};
        $c->{requests} = 0;
    }

    $c->{requests}++;
    $c->{started} = time();
    $c->{sent} = 0;
    $c->{last} = $req->{close};

    my $line = "$name $c->{serial}.$c->{requests}";

    $line .= " $req->{method} $req->{uri}" if defined $req->{method};
    $line .= " $req->{line}" if defined $req->{line};
    $line .= " $req->{h}{REQUEST_URI}" if defined $req->{h}{REQUEST_URI};
    $line .= ' ' . sum($req->{body}) if length $req->{body};

    $self->record($c, $line);

    $req->{conn} = $c->{serial};
    $req->{n} = $c->{requests};

    $c->{steps} = [$ways{$name}->($req)];
}


sub record {
    my ($self, $c, $line, @more) = @_;

    open my $out, '>>', "$dir/.calls" or die "$dir: $!";
    print $out join("\t", $line, $c->{name}, @more), "\n";
}


sub step {
    my ($self, $c) = @_;

    my $s = $c->{steps}[0];

    if (ref $s && $s->[0] eq 'endless') {
        my ($what, $bytes, $pause) = @$s;

        unshift @{ $c->{steps} }, $bytes, $pause ? [sleep => $pause] : ();
        return 1;
    }

    return 0 if ref $s && $s->[0] eq 'hold';

    if (ref $s && $s->[0] eq 'go') {
        shift @{ $c->{steps} };
        $self->go($_) for values %{ $self->{conns} };
        return 1;
    }

    if (!ref $s) {

        # one write, so that nginx reads them together

        while (@{ $c->{steps} } && !ref $c->{steps}[0]) {
            $c->{sent} += length $c->{steps}[0];
            $c->{out} .= shift @{ $c->{steps} };
        }

        return 1;
    }

    return $self->SUPER::step($c);
}


sub drop {
    my ($self, $c, $why) = @_;

    if ($c->{eof} && !$c->{old} && (@{ $c->{steps} } || length $c->{out})
        || $why =~ /while sending/)
    {
        $self->record($c, "$c->{name} $c->{serial}.$c->{requests} cut",
                      $c->{sent} - length $c->{out},
                      sprintf('%.3f', time() - $c->{started}));
    }

    delete $self->{conns}{ $c->{id} };
    close $c->{fh};
}


1;
