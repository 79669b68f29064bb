#!/usr/bin/perl

# conf/*.conf: each is loaded, and each is exercised with real requests.
# the upstreams are scripted: a request says in X-Script what each of them
# answers, and its X-Id finds the calls that they got for it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::MD5 qw(md5_hex);
use Errno qw(EAGAIN EINTR);
use File::Temp qw(tempdir);
use IO::Select;
use IO::Socket::INET;
use POSIX qw(_exit WNOHANG);
use Test::More;
use Time::HiRes qw(sleep time);

use Slack qw(over slack stretch);

$ENV{PATH} .= ':/usr/sbin:/sbin';
delete $ENV{KEEP};

my $root = "$FindBin::Bin/..";
my $nginx = $ENV{TEST_NGINX_BINARY} || 'nginx';
my @modules = defined $ENV{TEST_NGINX_LOAD_MODULES}
              ? split(' ', $ENV{TEST_NGINX_LOAD_MODULES})
              : glob("$root/build/*.so");

my $dir = tempdir('retry_chain_conf.XXXXXX', TMPDIR => 1, CLEANUP => 1);
my $me = $$;
my $k = stretch();
my (%started, %port, $last_port, $serial, @open, $r);

END {
    if (defined $me && $$ == $me) {
        my $status = $?;
        stop($_) for keys %started;
        $? = $status;
    }
}

$SIG{PIPE} = 'IGNORE';
$SIG{$_} = sub { exit 1 } for qw(INT TERM HUP);
alarm 600;
$SIG{ALRM} = sub { die "this takes too long" };


## every file loads

my @files = sort glob("$root/conf/*.conf");

is(join(' ', map { s{.*/}{}r } @files),
   'api-keys.conf demo-proxies.conf demo-vendor.conf demo.conf'
   . ' last-resort.conf limits.conf rest.conf seed.conf'
   . ' state-machine.conf status.conf',
   'no sample without a test');

for my $file (@files) {
    my ($name) = $file =~ m{([^/]+)\.conf$};
    loads($name, read_file($file));
}

my $seed = read_file("$root/conf/seed.conf");
ok($seed =~ s/# (retry_chain_retry .*\n.*)# (.*;)/$1$2/,
   'seed.conf has rules for a broken proxy, off');
loads('seed-rules', $seed);


## all run at the same time, since most of the time is waiting

my @ways = backends();
my %server = map { $_ => run($_, read_file("$root/conf/$_.conf")) }
             qw(seed rest api-keys last-resort limits state-machine status);

# the value of a map that "if" has used before is kept, unless it is volatile

my $text = read_file("$root/conf/api-keys.conf");
$text =~ s/(map \$retry_chain_upstream \$vendor_key \{\n)/$1volatile;\n/;
$text =~ s/(location \/ \{\n)/$1if (\$vendor_key = none) { return 500; }\n/;
$server{volatile} = run('volatile', $text);

$text = read_file("$root/conf/status.conf");
$text =~ s/allow +127\.0\.0\.1;\n//;
$server{elsewhere} = run('elsewhere', $text);

my $demo = spawn("$dir/demo.out", "$root/t/util/demo.sh");

my (%seed, %last, %machine);

$seed{first} = ask('seed', 'GET', '1=200');
$seed{third} = ask('seed', 'GET', '1=429 2=500 3=200');
$seed{only200} = ask('seed', 'GET', '1=204 2=201 3=302');
$seed{limited} = ask('seed', 'GET', '1=429 2=429 3=429');
$seed{post} = ask('seed', 'POST', '1=429 2=200', body => 'x' x 100_000);
$seed{post503} = ask('seed', 'POST', '1=503 2=200', body => 'x');

$machine{third} = ask('state-machine', 'GET', '1=429 2=500 3=200');
$machine{limited} = ask('state-machine', 'GET', '1=429 2=429 3=429');

$last{hang} = ask('last-resort', 'GET', '1=hang 2=200');
$last{hang_post} = ask('last-resort', 'POST', '1=hang 2=200', body => 'x');


## limits.conf: each upstream says Retry-After with as many seconds as its
## number, or times that, as far as this machine is slow

is(calls(ask('limits', 'GET', '1=429 2=200')), '200: 1:429 2:200',
   'limits: an upstream is limited');
is(calls(ask('limits', 'GET', '1=200 2=200')), '200: 2:200',
   'limits: it gets no call then');
is(calls(ask('limits', 'GET', '1=200 2=429 3=429')),
   '200: 2:429 3:429 1:200', 'limits: the first to be free is waited for');

{
    my $r = ask('limits', 'GET', '', uri => '/retry_chain?format=prometheus');

    complete($r);
    like($r->{body}, qr/^nginx_retry_chain_runs_total\{zone="vendor",chain="server \/",result="success"\} 3$/m,
         'limits: the status');
}


## status.conf

is(calls(ask('status', 'GET', '1=500 2=200', uri => '/a?key=secret')),
   '200: 1:500 2:200', 'status: a run');

for my $case (['text/html,*/*;q=0.8', 'text/html', qr/<!DOCTYPE html>/],
              ['application/openmetrics-text,text/plain;q=0.5',
               'application/openmetrics-text',
               qr/_runs_total\{zone="vendor",chain="server \/",result="success"\} 1\n/],
              ['application/json', 'application/json', qr/"uri":"\/a",/])
{
    my ($accept, $type, $like) = @$case;

    $r = ask('status', 'GET', '', uri => '/retry_chain',
             headers => "Accept: $accept\r\n");
    complete($r);
    like($r->{headers}, qr/^Content-Type: \Q$type\E/m, "status: $type");
    like($r->{body}, $like, 'status: it tells of the run');
    unlike($r->{body}, qr/key=secret/, 'status: not of its query string');
}

$r = ask('elsewhere', 'GET', '', uri => '/retry_chain');
complete($r);
like($r->{headers}, qr/^HTTP\/1\.1 403 /, 'status: not for everybody');
unlike($r->{body}, qr/vendor|proxy/, 'status: who get nothing');


## rest.conf

for my $code (400, 401, 403, 404, 412, 416, 422) {
    is(calls(ask('rest', 'GET', "1=$code 2=200")), "$code: 1:$code",
       "rest: $code is final");
}

for my $code (429, 500, 502, 504, 408) {
    is(calls(ask('rest', 'GET', "1=$code 2=200")), "200: 1:$code 2:200",
       "rest: $code goes to the next upstream");
}

is(calls(ask('rest', 'GET', '1=429 2=404 3=200')), '404: 1:429 2:404',
   'rest: 404 is final on the second upstream, too');

is(calls(ask('rest', 'GET', '1=304')), '304: 1:304', 'rest: 304 is a success');

$r = ask('rest', 'GET', '1=503/200');
is(calls($r), '200: 1:503 1:200', 'rest: 503 gets a second try');
between($r, 0.1, 1, 'rest: after half the interval at least');

is(calls(ask('rest', 'GET', '1=503/503/200 2=200')),
   '200: 1:503 1:503 2:200', 'rest: and only one');

# a call on a connection that was open is repeated by nginx itself

like(calls(ask('rest', 'GET', '1=drop/drop/drop/drop 2=200')),
     qr/^200: 1:drop (?:1:drop ){1,3}2:200$/, 'rest: no answer at all');

is(calls(ask('rest', 'POST', '1=503/200 2=200', body => 'x')),
   '503: 1:503', 'rest: POST and 503');

my $body = join '', map { chr(32 + $_ % 90) } 1 .. 300_000;

$r = ask('rest', 'POST', '1=429 2=429 3=200', body => $body);
is(calls($r), '200: 1:429 2:429 3:200', 'rest: POST and 429');
like($r->{body}, qr/^POST 300000 @{[md5_hex($body)]} /,
     'rest: with its body');

$r = ask('rest', 'POST', '1=503/503 2=500 3=200', body => $body,
         headers => "Idempotency-Key: 17\r\n");
is(calls($r), '200: 1:503 1:503 2:500 3:200', 'rest: Idempotency-Key');
like($r->{body}, qr/^POST 300000 @{[md5_hex($body)]} /,
     'rest: with its body on every attempt');

is(calls(ask('rest', 'HEAD', '1=429 2=200')), '200: 1:429 2:200',
   'rest: HEAD');

$r = ask('rest', 'GET', '1=429 2=429 3=429', uri => '/a%2fb?c=%20');
is(calls($r), '429: 1:429 2:429 3:429', 'rest: all limited');
like($r->{headers}, qr/^Retry-After: @{[3 * $k]}\r$/mi,
     'rest: the last answer has its headers');
like($r->{body}, qr!/a%2fb\?c=%20 api\.example\.com$!,
     'rest: uri and host as asked for');


## api-keys.conf

for my $server ('api-keys', 'volatile') {
    $r = ask($server, 'GET', '1=401 2=429 3=200',
             headers => "Authorization: Bearer of-the-client\r\n");
    is(calls($r), '200: 1:401 2:429 3:200', "$server: 401 is of the key");
    is($r->{keys}, join(' ', map { "Bearer,key-of-proxy$_" } 1 .. 3),
       "$server: each upstream with its key");
}

is(calls(ask('api-keys', 'GET', '1=404 2=200')), '404: 1:404',
   'api-keys: 404 is final');


## last-resort.conf

$r = ask('last-resort', 'GET', '1=500 2=429 3=502');
is(calls($r), '503: 1:500 2:429 3:502', 'last-resort: all have failed');
is($r->{body}, qq({"error":"vendor_unavailable","retry":true}\n),
   'last-resort: answer of the location');
like($r->{headers}, qr!^Content-Type: application/json\r$!mi,
     'last-resort: its type');
unlike($r->{headers}, qr/^(?:Retry-After|X-Way):/mi,
       'last-resort: nothing of the failed answers');

$r = ask('last-resort', 'HEAD', '1=500 2=429 3=502');
is(calls($r), '503: 1:500 2:429 3:502', 'last-resort: HEAD');
is($r->{body}, '', 'last-resort: HEAD has no body');

is(calls(ask('last-resort', 'GET', '1=429 2=200')), '200: 1:429 2:200',
   'last-resort: not needed');
is(calls(ask('last-resort', 'GET', '1=429 2=404')), '404: 1:429 2:404',
   'last-resort: not for 404');
is(calls(ask('last-resort', 'POST', '1=500', body => 'x')), '500: 1:500',
   'last-resort: not for a POST that may have been acted on');
is(calls(ask('last-resort', 'POST', '1=429 2=429 3=429', body => 'x')),
   '503: 1:429 2:429 3:429', 'last-resort: for one that was limited');

is(calls($last{hang}), '200: 1:hang 2:200', 'last-resort: an upstream hangs');
between($last{hang}, 3, 4.5, 'last-resort: for 3 s');
is(calls($last{hang_post}), '504: 1:hang', 'last-resort: POST that hangs');


## seed.conf

is(calls($seed{first}), '200: 1:200', 'seed: first upstream');
between($seed{first}, 0, 2, 'seed: at once');

is(calls($seed{third}), '200: 1:429 2:500 3:200', 'seed: third upstream');
between($seed{third}, 5, 6.5, 'seed: 5 s, then none');
like($seed{third}{headers}, qr/^X-Way: 3\r$/m, 'seed: answer of the third');

is(calls($seed{only200}), '302: 1:204 2:201 3:302', 'seed: only 200');
like($seed{only200}{headers}, qr!^Location: http://api\.example\.com/3\r$!m,
     'seed: the last failure, as it came');

is(calls($seed{limited}), '429: 1:429 2:429 3:429', 'seed: all limited');
like($seed{limited}{headers}, qr/^Retry-After: @{[3 * $k]}\r$/m,
     'seed: the last limit is passed on');

is(calls($seed{post}), '200: 1:429 2:200', 'seed: POST and 429');
like($seed{post}{body}, qr/^POST 100000 @{[md5_hex('x' x 100_000)]} /,
     'seed: with its body');
between($seed{post}, 5, 6.5, 'seed: after 5 s');
is(calls($seed{post503}), '503: 1:503', 'seed: POST and 503');

my $log = join "\n", grep { m!"GET /seed-2 ! }
                     split /\n/, read_file("$dir/seed/retry_chain.log");

like($log, qr/" 200 success steps="proxy1\W+proxy2\W+proxy3"/,
     'seed: log, steps');
like($log, qr/statuses="429\W+500\W+200"/, 'seed: log, statuses');
like($log, qr/waits="[^"]*\b5\.\d{3}\b[^"]*" time=(?:[5-9]|\d\d)\.\d{3}$/,
     'seed: log, waits and time');


## state-machine.conf

is(calls(ask('state-machine', 'GET', '1=200')), '200: 1:200',
   'state-machine: the first proxy');
is(calls($machine{third}), '200: 1:429 2:500 3:200',
   'state-machine: the third proxy');
between($machine{third}, 5, 6.5, 'state-machine: 5 s, then none');
is(calls($machine{limited}), '429: 1:429 2:429 3:429',
   'state-machine: all limited');
like($machine{limited}{headers}, qr/^Retry-After: @{[3 * $k]}\r$/m,
     'state-machine: the last limit is passed on');


## the demo

is(reap($demo, 60), 0, 'demo: as expected')
    or diag(read_file("$dir/demo.out"));
unlike(read_file("$dir/demo.out"), qr/FAILED/, 'demo: all rows');


## nothing broke on the way

for my $server (sort keys %server) {
    stop($server{$server}{pid});

    my $bad = join '', grep { /\[(?:alert|crit|emerg)\]/ }
                       split /^/, read_file("$dir/$server/error.log");
    is($bad, '', "$server: nothing bad in the error log");

    unlike(read_file("$dir/$server/out"), qr/Sanitizer|runtime error/,
           "$server: no report of a sanitizer");
}

done_testing();


## a sample for this place: own ports, own folder, the module that was built

sub prepare {
    my ($name, $text) = @_;

    my $prefix = "$dir/$name";
    my $load = join '', map { qq(load_module "$_";\n) } @modules;
    my $temp = join '', map { "${_}_temp_path $prefix/temp/$_;\n" }
                        qw(client_body proxy fastcgi uwsgi scgi);
    $temp .= "access_log $prefix/access.log;\n";
    my $user = $> == 0 ? 'user root;' : '';

    mkdir $_ for $prefix, "$prefix/conf", "$prefix/temp";

    write_file("$prefix/conf/state-machine.json",
               read_file("$root/conf/state-machine.json"));

    for my $file ('', grep { m{/demo-[^/]*$} && !m{/$name\.conf$} } @files) {
        my $out = $file eq '' ? "$name.conf" : $file =~ s{.*/}{}r;
        my $in = $file eq '' ? $text : read_file($file);

        $in = "events {\n}\nhttp {\n$in}\n"
            if $file eq '' && $in !~ /^events \{/m;

        $in =~ s/^load_module .*\n//m;
        $in = "$load$user\n$in" if $file eq '';
        $in =~ s/^user www-data;\n//m;
        $in =~ s/^http \{\n/$&$temp/m;
        $in =~ s{/var/log/nginx/}{$prefix/}g;
        $in =~ s/127\.0\.0\.1:(\d+)/'127.0.0.1:' . port($name, $1)/ge;

        write_file("$prefix/conf/$out", $in);
    }

    write_file("$prefix/error.log", '');

    return ($nginx, '-p', "$prefix/", '-c', "$prefix/conf/$name.conf",
            '-e', "$prefix/error.log");
}


sub loads {
    my ($name, $text) = @_;

    my @command = prepare($name, $text);
    my $pid = spawn("$dir/$name/out", @command, '-t', '-g', 'pid nginx.pid;');
    my $status = reap($pid, 10);
    my $out = read_file("$dir/$name/out");

    ok($status == 0 && $out !~ /\[(?:warn|error|crit|alert|emerg)\]/,
       "$name: loads") or diag($out);
}


sub run {
    my ($name, $text) = @_;

    my @command = prepare($name, $text);
    my $pid = spawn("$dir/$name/out", @command, '-g',
                    'daemon off; pid nginx.pid;');
    my $port = port($name, 8080);
    my $start = time();

    until (over($start, 10)) {
        last if !defined $started{$pid} || -s "$dir/$name/nginx.pid"
                && IO::Socket::INET->new(PeerAddr => '127.0.0.1',
                                         PeerPort => $port);
        sleep 0.05;
    }

    return { pid => $pid, port => $port };
}


# the upstreams of all samples are the same three; what nginx listens on is
# taken below the range from which the system gives ports to clients

sub port {
    my ($name, $port) = @_;

    return $ways[$port - 9001]{port} if @ways && $port =~ /^900[123]$/;

    my $number = $port{"$name:$port"};

    $last_port //= 10000 + $$ % 1500 * 10;

    for (1 .. 100) {
        last if $number;

        $number = ++$last_port;
        $number = 0
            unless IO::Socket::INET->new(LocalAddr => '127.0.0.1',
                                         LocalPort => $number, Listen => 1,
                                         ReuseAddr => 1);
    }

    return $port{"$name:$port"} = $number;
}


sub spawn {
    my ($out, @command) = @_;

    my $pid = fork() // die "fork() failed: $!";

    if ($pid == 0) {
        open STDIN, '<', '/dev/null' or _exit(1);
        open STDOUT, '>', $out or _exit(1);
        open STDERR, '>&', \*STDOUT or _exit(1);
        exec { $command[0] } @command or _exit(1);
    }

    $started{$pid} = 1;

    return $pid;
}


sub reap {
    my ($pid, $seconds) = @_;
    my $start = time();

    until (over($start, $seconds)) {
        if (waitpid($pid, WNOHANG) == $pid) {
            my $status = $?;
            delete $started{$pid};
            return $status;
        }

        sleep 0.01;
    }

    return 'still running';
}


sub stop {
    my ($pid) = @_;

    return if !$started{$pid};

    kill 'TERM', $pid;

    if (reap($pid, 5) eq 'still running') {
        kill 'KILL', $pid;
        waitpid $pid, 0;
        delete $started{$pid};
    }
}


## client

sub ask {
    my ($server, $method, $script, %option) = @_;

    my $id = "$server-" . ++$serial->{$server};
    my $body = $option{body} // '';
    my $uri = $option{uri} // "/$id";

    my $r = connection($server{$server}{port},
        "$method $uri HTTP/1.1\r\nHost: front\r\nConnection: close\r\n"
        . "X-Id: $id\r\nX-Script: $script\r\n" . ($option{headers} // '')
        . (length $body ? "Content-Length: " . length($body) . "\r\n" : '')
        . "\r\n$body");

    $r->{id} = $id;

    return $r;
}


sub connection {
    my ($port, $text) = @_;

    my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port)
        or return { reply => '', headers => '', body => '', took => 0 };

    my $r = { socket => $s, start => time(), reply => '' };

    # nginx reads the body at once, or has answered already
    print $s $text;
    $s->flush();
    push @open, $r;

    return $r;
}


# reads from all that are open, so that each gets its own time of completion

sub complete {
    my ($r) = @_;

    my $start = time();

    while ($r->{socket} && !over($start, 15)) {
        for my $s (IO::Select->new(map { $_->{socket} } @open)->can_read(0.1)) {
            my ($c) = grep { $_->{socket} == $s } @open;

            next if sysread($s, $c->{reply}, 65536, length $c->{reply});

            $c->{took} = time() - $c->{start};
            delete $c->{socket};
            @open = grep { $_ != $c } @open;
        }
    }

    return if defined $r->{headers};

    $r->{took} //= 99;
    ($r->{headers}, $r->{body}) = split /(?<=\r\n)\r\n/, $r->{reply}, 2;
    $r->{headers} //= '';
    $r->{body} //= '';

    if ($r->{headers} =~ /^Transfer-Encoding: chunked\r$/mi) {
        my ($in, $out) = ($r->{body}, '');

        while ($in =~ s/^([0-9a-f]+)\r\n//i && hex $1) {
            my $size = hex $1;
            $out .= substr($in, 0, $size, '');
            $in =~ s/^\r\n// or last;
        }

        $r->{body} = $out;
    }
}


# what the client got and what the upstreams were asked: "200: 1:429 2:200"

sub calls {
    my ($r) = @_;

    complete($r);

    my ($code) = $r->{headers} =~ m!^HTTP/1\.1 (\d+)!;
    my $log = connection($ways[0]{port},
                         "GET / HTTP/1.1\r\nX-Log: $r->{id}\r\n"
                         . "Connection: close\r\n\r\n");
    complete($log);

    ($log, $r->{keys}) = split /\n/, $log->{body};

    return ($code // 'no answer') . ": $log";
}


sub between {
    my ($r, $from, $to, $name) = @_;

    complete($r);

    my ($room) = sort { $b <=> $a } $k, slack();

    $to = $from + ($to - $from) * $room;
    ok($r->{took} > $from - 0.01 && $r->{took} < $to, $name)
        or diag("took $r->{took} s, not $from to $to");
}


## the three upstreams: one process, one connection after the other is served
## as it becomes readable

sub backends {
    my @list;

    for (1 .. 3) {
        my $s = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 64)
            or die "socket: $!";
        push @list, { socket => $s, port => $s->sockport() };
    }

    my $pid = fork() // die "fork() failed: $!";

    if ($pid == 0) {
        $SIG{$_} = 'DEFAULT' for qw(INT TERM HUP ALRM);
        alarm 600;
        eval { serve(map { $_->{socket} } @list) };
        print STDERR $@;
        _exit(1);
    }

    $started{$pid} = 1;
    close $_->{socket} for @list;

    return @list;
}


sub serve {
    my @sockets = @_;
    my (%number, %in, %log, %keys);

    $number{$sockets[$_]} = $_ + 1 for 0 .. $#sockets;

    my $select = IO::Select->new(@sockets);

    while (1) {
        for my $s ($select->can_read()) {

            if (!exists $in{$s}) {
                my $c = $s->accept() or next;
                $number{$c} = $number{$s};
                $in{$c} = '';
                $select->add($c);
                next;
            }

            my $n = sysread($s, $in{$s}, 65536, length $in{$s});

            my $keep = $n ? reply($s, $number{$s}, \$in{$s}, \%log, \%keys)
                          : defined $n || $! != EAGAIN && $! != EINTR ? 0 : 1;

            if (!$keep) {
                $select->remove($s);
                delete $in{$s};
                delete $number{$s};
                close $s;
            }
        }
    }
}


sub reply {
    my ($s, $number, $in, $log, $keys) = @_;

    $$in =~ /^(.*?\r\n)\r\n/s or return 1;

    my ($head, $length) = ($1, 0);
    my ($method, $uri) = split ' ', $head;
    my %h = map { /^([^:]+): *(.*)$/ ? (lc $1, $2) : () } split /\r\n/, $head;

    $length = $h{'content-length'} if $h{'content-length'};
    return 1 if length($$in) < length($head) + 2 + $length;

    my $body = substr $$in, length($head) + 2, $length;
    $$in = '';

    if (defined $h{'x-log'}) {
        my $text = join(' ', @{$log->{$h{'x-log'}} // []}) . "\n"
                   . join(' ', @{$keys->{$h{'x-log'}} // []}) . "\n";
        print $s "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: "
                 . length($text) . "\r\n\r\n$text";
        $s->flush();
        return 0;
    }

    # the n-th word between slashes for the n-th call

    my ($words) = "$h{'x-script'} " =~ /\b$number=(\S+) /;
    my @words = split m!/!, $words // '599';
    my $calls = grep { /^$number:/ } @{$log->{$h{'x-id'}}};
    my $what = $words[$calls] // '598';

    push @{$log->{$h{'x-id'}}}, "$number:$what";
    push @{$keys->{$h{'x-id'}}}, ($h{authorization} // '-') =~ s/ /,/r;

    return 0 if $what eq 'drop';
    return 1 if $what eq 'hang';

    my $text = "$method $length " . md5_hex($body) . " $uri $h{host}";
    my $size = length $text;

    $text = '' if $method eq 'HEAD' || $what eq '304' || $what eq '204';

    print $s "HTTP/1.1 $what Scripted\r\nX-Way: $number\r\n"
             . ($what eq '429' ? 'Retry-After: ' . $number * $k . "\r\n" : '')
             . ($what eq '302'
                ? "Location: http://api.example.com/$number\r\n" : '')
             . ($what eq '204' ? '' : "Content-Length: $size\r\n")
             . "Content-Type: text/plain\r\n\r\n$text";
    $s->flush();

    return 1;
}


sub read_file {
    my ($file) = @_;

    open my $fh, '<', $file or return '';
    local $/;

    return <$fh> // '';
}


sub write_file {
    my ($file, $text) = @_;

    open my $fh, '>', $file or die "cannot write $file: $!";
    print $fh $text;
    close $fh;
}
