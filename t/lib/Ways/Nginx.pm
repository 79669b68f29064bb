package Ways::Nginx;

# An nginx of our own, for tests that need signals, several workers, or clients
# that Test::Nginx does not have.
#
#   my $n = Ways::Nginx->start(http => '...', main => 'worker_processes 2;');
#
# The http part listens where %%PORT%% says.  The ways of Ways.pm are upstream
# groups.  TEST_NGINX_USE_VALGRIND works as for Test::Nginx.
#
# request() and shape() are functions, exported when asked for.

use strict;
use warnings;

use Exporter 'import';
use File::Path qw(remove_tree);
use File::Temp qw(tempdir);
use IO::Select;
use IO::Socket::INET;
use POSIX qw(WNOHANG);
use Time::HiRes qw(time sleep);

use Slack qw(asleep children over);
use Ways;

our @EXPORT_OK = qw(request shape);

my $next_port = $ENV{TEST_NGINX_SERVER_PORT} || 19840;
my $valgrind = $ENV{TEST_NGINX_USE_VALGRIND};
my $slow = $valgrind ? 10 : $ENV{ASAN_OPTIONS} ? 3 : 1;
my %running;
my $owner = $$;
my $built;

$ENV{PATH} .= ':/usr/sbin:/sbin';


# what the tools cost under which all runs; what the machine does is Slack.pm's

sub slow {
    return $slow;
}


# whether nginx is built --with-...

sub has {
    my ($what) = @_;
    return scalar built() =~ /--with-\Q$what\E/;
}


# whether it is of this version or a newer one

sub at_least {
    my ($want) = @_;

    my @have = built() =~ m{nginx/(\d+)\.(\d+)\.(\d+)};
    my @want = split /\./, $want;

    for (0 .. 2) {
        return $have[$_] > $want[$_] if $have[$_] != $want[$_];
    }

    return 1;
}


sub built {
    return $built //= `@{[ $ENV{TEST_NGINX_BINARY} || 'nginx' ]} -V 2>&1`;
}


# whether it has TLS, and there is a program to make certificates

sub has_tls {
    return has('http_ssl_module') && `openssl version` =~ /OpenSSL/;
}


# for a server: the sockets "h2" and "tls" as far as nginx has them

sub other_listens {
    my $v2 = has('http_v2_module');
    my $listen = $v2 ? 'listen unix:%%DIR%%/h2 http2;' : '';

    return $listen if !has_tls();

    my $cert = tempdir('retry_chain_cert.XXXXXX', TMPDIR => 1, CLEANUP => 1);

    `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=a -keyout $cert/key -out $cert/cert 2>&1`;

    return $listen . 'listen unix:%%DIR%%/tls ssl' . ($v2 ? ' http2;' : ';')
           . "ssl_certificate $cert/cert; ssl_certificate_key $cert/key;";
}


sub start {
    my ($class, %arg) = @_;

    my $self = bless { port => $next_port++ }, $class;
    my $dir = tempdir('retry_chain_test.XXXXXX', TMPDIR => 1);

    $self->{dir} = $dir;
    $self->{nginx} = $ENV{TEST_NGINX_BINARY} || 'nginx';
    mkdir "$dir/$_" for qw(conf logs temp);

    my $modules = $ENV{TEST_NGINX_LOAD_MODULES}
                  // "$ENV{PWD}/build/ngx_http_retry_chain_module.so";

    $self->{load} = join '', map { "load_module $_;\n" } split ' ', $modules;

    $self->configure(%arg);

    my @command = ($self->{nginx}, '-p', "$dir/", '-c', "$dir/conf/nginx.conf",
                   '-e', "$dir/logs/error.log");

    unshift @command, 'valgrind', '-q', split ' ', $valgrind if $valgrind;

    my $pid = fork() // die "fork: $!";

    if ($pid == 0) {
        open STDOUT, '>', "$dir/out";
        open STDERR, '>&', \*STDOUT;
        exec @command or POSIX::_exit(1);
    }

    $self->{pid} = $pid;
    $running{$pid} = $self;

    my $start = time();

    while (!over($start, 10 * $slow)) {
        return $self if -s "$dir/logs/nginx.pid" && $self->connect(quiet => 1);

        if (waitpid($pid, WNOHANG) == $pid) {
            delete $running{$pid};
            last;
        }

        sleep 0.02;
    }

    die "nginx did not start: " . $self->slurp('out')
        . $self->slurp('logs/error.log');
}


sub configure {
    my ($self, %arg) = @_;

    my $dir = $self->{dir};
    my $root = $> == 0 ? 'user root;' : '';
    my $main = $arg{main} // '';
    my $events = $arg{events} // 'worker_connections 1024;';
    my $http = ways_upstreams() . ($arg{http} // '');
    my $level = $arg{level} // 'info';
    my $temp = join '', map { "${_}_temp_path $dir/temp/$_;\n" }
                        qw(client_body proxy fastcgi uwsgi scgi);

    my $conf = <<"_EOC_";
$self->{load}
$root
daemon off;
pid $dir/logs/nginx.pid;
error_log $dir/logs/error.log $level;
env ASAN_OPTIONS;
env UBSAN_OPTIONS;
env LSAN_OPTIONS;
$main

events {
    $events
}

http {
    $temp
    log_format ways '\$request_uri \$status \$retry_chain_result'
                    ' [\$retry_chain_steps] [\$retry_chain_statuses]';
    access_log $dir/logs/access.log ways;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    default_type text/plain;

    $http
}
_EOC_

    $conf =~ s/%%PORT%%/127.0.0.1:$self->{port}/g;
    $conf =~ s/%%DIR%%/$dir/g;

    open my $out, '>', "$dir/conf/nginx.conf" or die "$dir: $!";
    print $out $conf;
    close $out;
}


sub connect {
    my ($self, %arg) = @_;

    my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
                                  PeerPort => $self->{port}, Timeout => 60);

    return $s if $s;
    return if $arg{quiet};
    die "connect: $!";
}


# one request, the whole answer until the connection is closed

sub get {
    my ($self, $request, %arg) = @_;

    if ($request !~ /\r\n/) {
        $request = "GET $request HTTP/1.1\r\nHost: a\r\n"
                   . "Connection: close\r\n\r\n";
    }

    my $s = $self->connect();

    send_all($s, $request);
    return read_all($s, %arg);
}


sub send_all {
    my ($s, $data) = @_;

    local $SIG{PIPE} = 'IGNORE';

    while (length $data) {
        my $n = syswrite($s, $data) // last;
        substr($data, 0, $n, '');
    }
}


# a request that get() takes

sub request {
    my ($method, $uri, $body, $keep) = @_;

    my $length = length $body ? 'Content-Length: ' . length($body) . "\r\n"
                              : '';

    return "$method $uri HTTP/1.1\r\nHost: a\r\n"
           . ($keep ? '' : "Connection: close\r\n") . "$length\r\n$body";
}


# get() taken apart

sub ask {
    my ($self, $request, %arg) = @_;

    return answer($self->get($request, %arg),
                  head => scalar $request =~ /^HEAD /);
}


# one answer: status, head, h, body, the rest behind it, and "end": whether it
# is complete or cut, or ends where the connection does ("close")

sub answer {
    my ($raw, %arg) = @_;

    my %a = (raw => $raw, status => 0, head => '', body => '', rest => '',
             end => 'cut', h => {});

    $raw =~ s{\A(HTTP/1\.1 (\d+) .*?\r\n)\r\n}{}s or return \%a;

    @a{qw(head status)} = ($1, $2);
    push @{ $a{h}{ lc $1 } }, $2 while $a{head} =~ /^([^:\r\n]+): ?([^\r]*)/gm;

    my $length = $a{h}{'content-length'};

    if ($arg{head} || $a{status} =~ /^(?:1..|204|304)$/) {
        @a{qw(end rest)} = ('complete', $raw);

    } elsif (($a{h}{'transfer-encoding'} || [''])->[0] eq 'chunked') {
        my $pos = 0;

        for ( ;; ) {
            pos($raw) = $pos;
            $raw =~ /\G([0-9a-fA-F]+)\r\n/g or last;
            my ($n, $at) = (hex $1, $+[0]);

            if ($n == 0) {

                @a{qw(trailer rest end)} = ($1, $2, 'complete')
                    if $raw =~ /\G((?:[^\r\n]+\r\n)*)\r\n(.*)/gs;
                last;
            }

            $a{body} .= substr($raw, $at, $n);
            last if length $raw < $at + $n + 2;
            $pos = $at + $n + 2;
        }

    } elsif ($length) {
        $a{body} = substr($raw, 0, $length->[0]);

        if (length $raw >= $length->[0]) {
            $a{end} = 'complete';
            $a{rest} = substr($raw, $length->[0]);
        }

    } else {
        @a{qw(body end)} = ($raw, 'close');
    }

    return \%a;
}


# all of an answer that the client gets, but for the time

sub shape {
    my ($x) = @_;

    return "$x->{end} " . sum($x->{body}) . ' ' . ($x->{trailer} // '') . "\n"
           . $x->{head} =~ s/^Date: .*\r\n//mr;
}


# until the other side closes, or "until" has come

sub read_all {
    my ($s, %arg) = @_;

    my $answer = '';
    my $start = time();
    my $select = IO::Select->new($s);

    while (!over($start, ($arg{timeout} // 10) * $slow)) {
        last if defined $arg{until} && $answer =~ $arg{until};
        next if !$select->can_read(0.1);

        my $n = sysread($s, my $buf, 65536);
        last if !$n;
        $answer .= $buf;
    }

    return $answer;
}


sub slurp {
    my ($self, $file) = @_;

    open my $in, '<', "$self->{dir}/$file" or return '';
    local $/;
    return <$in> // '';
}


sub log {
    my ($self) = @_;
    return $self->slurp('logs/error.log');
}


sub access {
    my ($self) = @_;
    return $self->slurp('logs/access.log');
}


# waits until a condition holds

sub wait_for {
    my ($self, $what, $timeout) = @_;

    my $start = time();

    while (!over($start, ($timeout // 10) * $slow)) {
        return 1 if $what->();
        sleep 0.005;
    }

    return 0;
}


# $what, and the line of the access log that it makes: nginx writes it after the
# client has everything

sub until_logged {
    my ($self, $what) = @_;

    my $count = sub { scalar(() = $self->access() =~ /\n/g) };
    my $lines = $count->();
    my $got = $what->();

    $self->wait_for(sub { $count->() > $lines });

    # the module's own lines in the error log come right behind it

    $self->wait_for(sub { asleep($self->workers()) });

    return $got;
}


sub workers {
    my ($self) = @_;

    my $master = $self->master() or return;

    # of one that runs under valgrind the title does not tell

    return sort grep { title($_) !~ /cache (?:manager|loader)/ }
                children($master);
}


sub title {
    my ($pid) = @_;

    open my $in, '<', "/proc/$pid/cmdline" or return '';
    return <$in> // '';
}


sub master {
    my ($self) = @_;
    return $self->slurp('logs/nginx.pid') =~ /(\d+)/ ? $1 : undef;
}


sub signal {
    my ($self, $signal) = @_;
    kill $signal, $self->master();
}


# true if nginx ended by itself within the time

sub ended {
    my ($self, $timeout) = @_;

    return 1 if !$running{ $self->{pid} };

    my $done = $self->wait_for(sub {
        waitpid($self->{pid}, WNOHANG) == $self->{pid}
    }, $timeout);

    delete $running{ $self->{pid} } if $done;

    return $done;
}


# what should never be in the log

sub bad {
    my ($self) = @_;

    my @lines = grep { /\[(?:alert|crit|emerg)\]|Sanitizer|runtime error/ }
                split /^/, $self->log() . $self->slurp('out');

    return join '', @lines > 10 ? (@lines[0 .. 9], "and more\n") : @lines;
}


sub stop {
    my ($self) = @_;

    return if !$running{ $self->{pid} };

    for my $signal (qw(QUIT TERM KILL)) {
        kill $signal, $self->{pid};
        last if $self->ended(5);
    }
}


END {
    if ($$ == $owner) {
        my $status = $?;

        for my $self (values %running) {
            kill 'TERM', $self->{pid};
            $self->stop();
        }

        $? = $status;
    }
}


sub DESTROY {
    my ($self) = @_;

    if ($$ == $owner && $self->{dir} && !$ENV{WAYS_KEEP}) {
        $self->stop();
        remove_tree($self->{dir});
    }
}


1;
