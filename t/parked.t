#!/usr/bin/perl

# Requests that wait for their next attempt: a client that leaves ends its run
# at once, a reload and a graceful quit let it finish.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use IO::Select;
use IO::Socket::UNIX;
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);

use lib dirname(__FILE__) . '/lib';
use Slack qw(over stretch);

my $top = abs_path(dirname(__FILE__) . '/..');
my $wait = 700 * stretch();     # ms
my $nginx = $ENV{TEST_NGINX_BINARY} || 'nginx';
my $module = $ENV{TEST_NGINX_LOAD_MODULES}
             // "$top/build/ngx_http_retry_chain_module.so";
my $dir = tempdir(CLEANUP => 1);
my $load = -e $module ? "load_module $module;" : '';
my $user = $> == 0 ? 'user root;' : '';
my $master;

chmod 0755, $dir;

write_file('nginx.conf', <<"CONF");
$load
$user
pid $dir/pid;
error_log $dir/error.log notice;
worker_processes 1;
events {
}
http {
    client_body_temp_path $dir/b;
    proxy_temp_path $dir/p;
    fastcgi_temp_path $dir/f;
    scgi_temp_path $dir/s;
    uwsgi_temp_path $dir/u;

    log_format vendor 'vendor \$uri';
    log_format front 'front \$status \$retry_chain_result '
                     '\$retry_chain_attempts \$retry_chain_statuses';

    upstream limited { server unix:$dir/limited.sock; }
    upstream good { server unix:$dir/good.sock; }
    upstream slow { server unix:$dir/slow.sock; }

    server {
        listen unix:$dir/limited.sock;
        access_log $dir/access.log vendor;
        location / { return 429; }
    }
    server {
        listen unix:$dir/good.sock;
        access_log $dir/access.log vendor;
        location / { return 200 "good"; }
    }
    server {
        listen unix:$dir/front.sock;
        access_log $dir/access.log front;
        location /wait {
            retry_chain limited good wait=${wait}ms;
            proxy_pass http://\$retry_chain_upstream;
        }
        location /attempt {
            retry_chain slow good;
            proxy_pass http://\$retry_chain_upstream;
        }
        location /quit {
            retry_chain limited \@good wait=${wait}ms;
            proxy_pass http://\$retry_chain_upstream;
        }
        location \@good { return 200 "good"; }
        location /now { proxy_pass http://good; }
    }
}
CONF

# an upstream that takes connections and says nothing

my $slow = IO::Socket::UNIX->new(Local => "$dir/slow.sock", Listen => 5)
    or die "slow.sock: $!";
chmod 0777, "$dir/slow.sock";

start();

# the client leaves during the wait

my $s = ask('/wait');
ok(wait_for(sub { logged('vendor /wait') == 1 }), 'the first attempt failed');
close $s;

my $left = time();

ok(wait_for(sub { logged('front 499 aborted 1 429') == 1 }, $wait * 0.0007),
   'a client that leaves ends the wait at once') or diag(slurp('access.log'));
$left += $wait * 0.0013 - time();
sleep $left if $left > 0;
is(logged('vendor /wait'), 1, 'and there is no further attempt');

# the client leaves during an attempt

$s = ask('/attempt');
my $at = $slow->accept();
close $s;

ok(wait_for(sub { logged('front 499 aborted 1 499') == 1 }),
   'and during an attempt') or diag(slurp('access.log'));
is(logged('vendor /attempt'), 0, 'no further attempt');

ok(wait_for(sub {
    IO::Select->new($at)->can_read(0) && !sysread $at, my $in, 4096;
}), 'its connection is closed');

# reload

my $worker = worker();
my $parked = ask('/wait');
ok(wait_for(sub { logged('vendor /wait') == 2 }), 'a parked request');

kill HUP => $master;
ok(wait_for(sub { worker() && worker() != $worker }), 'a new worker');

like(answer(ask('/now')), qr/ 200 .*good$/s, 'new requests are served');
like(answer($parked), qr/ 200 .*good$/s, 'the parked one, too');
ok(wait_for(sub { !kill 0, $worker }), 'the old worker leaves then');

# graceful quit; the sockets of the upstreams are closed with it

$parked = ask('/quit');
ok(wait_for(sub { logged('vendor /quit') == 1 }), 'another one is parked');

kill QUIT => $master;
like(answer($parked), qr/ 200 .*good$/s, 'a graceful quit waits for it');
ok(wait_for(sub { waitpid($master, POSIX::WNOHANG()) == $master }),
   'and ends');
undef $master;

unlike(slurp('error.log'), qr/\[(?:alert|crit|emerg)\]/, 'a clean log');

done_testing();


sub start {
    $master = fork() // die "fork: $!";

    if ($master == 0) {
        open STDERR, '>', "$dir/stderr";
        exec($nginx, '-c', "$dir/nginx.conf", '-g', 'daemon off;')
            or POSIX::_exit(1);
    }

    wait_for(sub { -e "$dir/pid" && -s "$dir/pid" && -S "$dir/front.sock" })
        or BAIL_OUT('nginx did not start: ' . slurp('stderr'));
}


sub ask {
    my ($uri) = @_;

    my $s;
    wait_for(sub {
        $s = IO::Socket::UNIX->new(Peer => "$dir/front.sock") });
    print $s "GET $uri HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    $s->flush();

    return $s;
}


sub answer {
    my ($s) = @_;

    my $in = '';
    local $SIG{ALRM} = sub { die "no end: $in" };
    alarm 60;
    while (sysread $s, $in, 4096, length $in) { }
    alarm 0;

    return $in;
}


sub worker {
    my ($pid) = split ' ', `ps -o pid=,args= --ppid $master | grep 'worker process\$' | tail -n 1`;

    return $pid;
}


sub logged {
    my ($line) = @_;

    return scalar grep { $_ eq $line } split /\n/, slurp('access.log');
}


sub wait_for {
    my ($test, $seconds) = @_;

    my $start = time();

    until ($seconds ? time() - $start > $seconds : over($start, 10)) {
        return 1 if $test->();
        sleep 0.02;
    }

    return 0;
}


sub slurp {
    my ($name) = @_;

    open my $f, '<', "$dir/$name" or return '';
    local $/;

    return scalar <$f>;
}


sub write_file {
    my ($name, $text) = @_;

    open my $f, '>', "$dir/$name" or die "$dir/$name: $!";
    print $f $text;
    close $f or die "$dir/$name: $!";
}


END {
    my $status = $?;

    if ($master) {
        kill TERM => $master;
        waitpid $master, 0;
    }

    $? = $status;
}
