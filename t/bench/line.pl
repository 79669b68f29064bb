#!/usr/bin/perl

# Parked runs: what many of them cost while they wait, and whether they leave in
# the order in which they came.
#
#   line.pl [COUNT]           20000 by default
#
# The only upstream is limited for ten seconds when the requests come, as streams
# of HTTP/2, so that they need no open file each.  They wait, and then leave at
# 2000 a second.  The CPU time is that of the worker for three seconds in which
# all of them wait, beside that of the same worker without a request.
# TEST_NGINX_BINARY and TEST_NGINX_LOAD_MODULES are as elsewhere.  Only loopback
# is used, and all ends with the script.

use strict;
use warnings;

use Cwd ();
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use IO::Socket::INET;
use POSIX qw(sysconf _SC_CLK_TCK);
use Time::HiRes qw(sleep);

use constant CLIENTS => 40;

my $count = shift // 20000;
my $nginx = $ENV{TEST_NGINX_BINARY} || 'nginx';
my $top = dirname(dirname(dirname(Cwd::abs_path($0))));
my $module = $ENV{TEST_NGINX_LOAD_MODULES}
             // "$top/build/ngx_http_retry_chain_module.so";
my $load = $module ? 'load_module ' . Cwd::abs_path($module) . ';' : '';

$ENV{PATH} .= ':/usr/sbin';

my $dir = tempdir('retry_chain_line.XXXXXX', TMPDIR => 1, CLEANUP => 1);
my $port = free_port();
my $streams = int($count / CLIENTS);
my $listen = `$nginx -v 2>&1` =~ m{/1\.(\d+)} && $1 >= 26
             ? "listen 127.0.0.1:$port; http2 on;"
             : "listen 127.0.0.1:$port http2;";

chmod 0755, $dir;

open my $conf, '>', "$dir/nginx.conf" or die "$dir: $!\n";
print $conf <<"EOC";
$load
user root;
daemon off;
worker_processes 1;
pid $dir/pid;
error_log $dir/error.log error;
events { worker_connections 4096; }
http {
    client_body_temp_path $dir/body; proxy_temp_path $dir/proxy;
    fastcgi_temp_path $dir/fastcgi; uwsgi_temp_path $dir/uwsgi;
    scgi_temp_path $dir/scgi;
    access_log off;
    log_format order '\$http_x_now \$http_x_time';
    upstream vendor { server unix:$dir/vendor; keepalive 64; }
    server {
        listen unix:$dir/vendor backlog=4096;
        keepalive_requests 1000000;
        location / { access_log $dir/order order; return 200 ok; }
        location /limit { add_header Retry-After 10 always; return 429; }
    }
    server {
        $listen
        http2_max_concurrent_streams $streams;
        location / {
            retry_chain_zone line 64k;
            retry_chain vendor rate=2000r/s;
            retry_chain_max_waiting 1000000;
            proxy_pass http://\$retry_chain_upstream;
            proxy_set_header X-Now \$msec;
            proxy_set_header X-Time \$retry_chain_time;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }
    }
}
EOC
close $conf;

my $pid = fork() // die "fork: $!\n";

if ($pid == 0) {
    exec $nginx, '-p', "$dir/", '-c', "$dir/nginx.conf", '-e',
         "$dir/error.log" or POSIX::_exit(1);
}

END {
    if ($pid) {
        my $status = $?;
        kill 'TERM', $pid;
        waitpid $pid, 0;
        $? = $status;
    }
}

my $worker;

for (1 .. 100) {
    last if $worker = worker();
    sleep 0.05;
}

die "line: nginx did not start\n" . `cat $dir/error.log` if !$worker;

my $idle = cpu_of(3);
my $url = "http://127.0.0.1:$port";

system("nghttp -n $url/limit >/dev/null 2>&1") == 0 or die "line: nghttp\n";

open my $loaded, '-|', "h2load -n $count -c " . CLIENTS
                       . " -m $streams $url/ 2>&1" or die "line: h2load: $!\n";
sleep 4;

my $waiting = cpu_of(3);
my $said = join '', <$loaded>;
my ($got) = $said =~ /(\d+) 2xx/;

open my $order, '<', "$dir/order" or die "$dir/order: $!\n";

# when each came, in the order in which they went; times are cut to milliseconds

my @came = map { my ($now, $time) = split; sprintf '%.0f', ($now - $time) * 1000 }
           <$order>;
my $latest = 0;
my $wrong = 0;

for (@came) {
    $wrong++ if $_ < $latest - 2;
    $latest = $_ if $_ > $latest;
}

printf "%d runs parked: %d answered, %d left before one that had come 2 ms "
       . "earlier\n", $count, $got // 0, $wrong;
printf "CPU of the worker in 3 s: %.2f s with all of them, %.2f s without\n",
    $waiting, $idle;

exit(($got // 0) == $count && $wrong == 0 ? 0 : 1);


sub free_port {
    my $s = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1)
            or die "line: $@\n";
    return $s->sockport;
}


sub worker {
    open my $in, '<', "/proc/$pid/task/$pid/children" or return;
    return (split ' ', <$in> // '')[0];
}


sub cpu_of {
    my ($seconds) = @_;

    my $before = cpu();

    sleep $seconds;

    return cpu() - $before;
}


sub cpu {
    open my $in, '<', "/proc/$worker/stat" or die "line: no worker\n";

    my @field = split ' ', <$in> =~ s/^.*\) //r;

    return ($field[11] + $field[12]) / sysconf(_SC_CLK_TCK);
}
