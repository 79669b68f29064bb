package Differ;

# Differential tests of transparency.
#
# The same table of cases goes through instances of nginx: one without the
# module, others with a chain of one step, with a chain of one step that has
# something to decide, and with a chain of two steps at http level.  What the client got, what the backend saw, the access log,
# the error log and the files left behind must be equal.
#
# DIFFER_SELF=1   the chained instances run without the module, too: whatever
#                 differs then is the harness itself
# DIFFER_CASE=re  only these cases
# DIFFER_DUMP=1   show what the plain instance did
# DIFFER_KEEP=1   keep the directory
# DIFFER_DEBUG=1  error logs of the instances at debug level
# DIFFER_WAIT=n   multiply all limits of time (valgrind, ASan)
#
# Limits of time are extended as far as the machine is slow.  A case in which
# only times are not equal, or something has not come in time, is taken again,
# twice at most.

use strict;
use warnings;

use Cwd ();
use Exporter 'import';
use File::Basename ();
use File::Path ();
use File::Temp ();
use IO::Handle;
use IO::Socket::INET;
use JSON::PP ();
use POSIX ();
use Socket qw(AF_UNIX SOCK_STREAM PF_UNSPEC SOMAXCONN);
use Test::More;
use Time::HiRes qw(time sleep);

use Differ::Backend;
use Differ::Client;
use Slack qw(over slack);

our @EXPORT = qw(differ differ_certificate rq probe reply chunked fcgi big
                 nginx_has nginx_at have_program);

my $root = Cwd::abs_path(File::Basename::dirname(__FILE__) . '/../..');
my $nginx = $ENV{TEST_NGINX_BINARY} || 'nginx';
my $wait = $ENV{DIFFER_WAIT} || ($ENV{TEST_NGINX_USE_VALGRIND} ? 10 : 1);
my $self_test = $ENV{DIFFER_SELF};

my ($built, @pids, %names, $owner, $dir);

my @kinds = qw(plain direct one two);

# of one length, as they are part of replies
my %home = (plain => 'plain', direct => 'alone', one => 'chain',
            two => 'twice');

# with a time limit there is something to decide, which takes an attempt

my %chain = (
    direct => 'retry_chain 127.0.0.1:%%BACKEND%%;',
    one => "retry_chain 127.0.0.1:%%BACKEND%%;\n    retry_chain_timeout 1h;",
    two => "retry_chain 127.0.0.1:%%BACKEND%% 127.0.0.2:%%BACKEND%%;\n"
           . '    retry_chain_success 100-599;',
);

my @fields = qw(
    status body_bytes_sent bytes_sent request_length request request_method
    request_uri uri document_uri args is_args server_protocol scheme
    request_completion connection_requests limit_rate remote_addr remote_user
    upstream_addr upstream_status upstream_response_length
    upstream_bytes_received upstream_bytes_sent upstream_cache_status
    upstream_http_x_foo upstream_http_content_type upstream_http_set_cookie
    upstream_http_etag upstream_cookie_c upstream_trailer_x_t
    sent_http_content_type sent_http_content_length sent_http_location
    sent_http_last_modified sent_http_etag sent_http_x_foo
    sent_http_transfer_encoding sent_http_connection sent_http_cache_control
    sent_http_link sent_http_set_cookie sent_http_content_range
    sent_http_vary proxy_host proxy_port proxy_add_x_forwarded_for
    request_body request_filename document_root gzip_ratio content_length
    content_type request_id http_x_req
);

my @times = qw(request_time upstream_response_time upstream_header_time
               upstream_connect_time);


# ---- words for the tables of cases -----------------------------------------

# rq('POST /x', h => [ 'A: b' ], body => '...', v => '1.0', keep => 1)

sub rq {
    my ($what, %arg) = @_;

    my ($method, $uri) = $what =~ /^(\S+) (\S+)$/ ? ($1, $2) : ('GET', $what);
    my $v = $arg{v} || '1.1';
    my @h = ('Host: %%NAME%%', @{ $arg{h} || [] });

    push @h, 'Connection: close' if !$arg{keep} && $v eq '1.1';
    push @h, 'Connection: keep-alive' if $arg{keep} && $v eq '1.0';
    push @h, 'Content-Length: ' . length $arg{body} if defined $arg{body};

    return "$method $uri HTTP/$v\r\n" . join('', map { "$_\r\n" } @h) . "\r\n"
           . ($arg{body} // '');
}


# what shows whether the connection was kept

sub probe {
    return "GET /probe HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n";
}


# reply(200, [ 'A: b' ], 'body'); with no body given there is no length either

sub reply {
    my ($status, $h, $body, $v) = @_;

    my @h = @{ $h || [] };
    push @h, 'Content-Length: ' . length $body if defined $body;

    return sprintf("HTTP/%s %s Text\r\n", $v || '1.1', $status)
           . join('', map { "$_\r\n" } @h) . "\r\n" . ($body // '');
}


sub chunked {
    my (@parts) = @_;
    return join '', (map { sprintf("%x\r\n", length $_) . "$_\r\n" } @parts),
                    "0\r\n\r\n";
}


# records of FastCGI around a CGI reply

sub fcgi {
    my ($req, $out, $err, $noend) = @_;

    my $rec = sub {
        my ($type, $data) = @_;
        my $pad = -length($data) % 8;
        return pack('CCnnCC', 1, $type, $req->{id}, length $data, $pad, 0)
               . $data . "\0" x $pad;
    };

    my $s = defined $err ? $rec->(7, $err) : '';

    while (length $out) {
        $s .= $rec->(6, substr($out, 0, 32000, ''));
    }

    return $s if $noend;
    return $s . $rec->(6, '') . $rec->(3, pack('NCx3', 0, 0));
}


# so many bytes that differ all along

sub big {
    my ($n) = @_;

    my $s = '';
    my $i = 0;

    while (length $s < $n) {
        $s .= sprintf "%09d line of the body\n", $i++;
    }

    return substr($s, 0, $n);
}


sub built {
    $built //= `$nginx -V 2>&1`;
    return $built;
}


sub nginx_has {
    my ($module) = @_;
    return built() =~ /--with-(?:http_)?\Q$module\E(?:_module)?(?:\s|$)/;
}


sub nginx_at {
    my ($want) = @_;

    my @have = built() =~ m{nginx/(\d+)\.(\d+)\.(\d+)};
    my @want = split /\./, $want;

    for (0 .. 2) {
        return $have[$_] > $want[$_] if $have[$_] != $want[$_];
    }

    return 1;
}


sub have_program {
    my ($name) = @_;
    return grep { -x "$_/$name" } split /:/, $ENV{PATH};
}


# cert.pem and key.pem among the files; nothing without openssl or TLS

sub differ_certificate {
    return if !have_program('openssl') || !nginx_has('ssl');

    my $t = File::Temp::tempdir('differ-cert-XXXXXX', TMPDIR => 1,
                                CLEANUP => 1);
    system("openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=x "
           . "-keyout $t/key -out $t/cert >/dev/null 2>&1") == 0 or return;

    return map { ("$_.pem" => read_from("$t/$_", 0)) } qw(key cert);
}


# ---- the run ---------------------------------------------------------------

# differ(cases => [...], http => text, origin => text, files => { name => text })

sub differ {
    my (%arg) = @_;

    my $so = load_module();

    if (!$self_test && !defined $so) {
        plan(skip_all => 'build/ngx_http_retry_chain_module.so is not there');
    }

    if (built() !~ /nginx version/) {
        plan(skip_all => "no nginx ($nginx)");
    }

    my @cases = pick($arg{cases});

    local $SIG{PIPE} = 'IGNORE';
    $owner = $$;
    $dir = File::Temp::tempdir('differ-XXXXXXXX', TMPDIR => 1);
    chmod 0755, $dir;
    files($arg{files});

    my $origin = origin($arg{origin});
    my %side = map { $_ => instance($_, \%arg, \@cases, $origin, $so) } @kinds;

    my %seen = gather(\%side, \@cases);
    take_again(\%side, \%seen, \@cases) for 2, 3;
    judge(\%side, \%seen, \@cases);

    finish(\%side, $origin);

    my @slow = sort { $b->[0] <=> $a->[0] }
               map { [ $_->{spent} // 0, $_->{name} ] }
               values %{ $seen{plain} };
    note('slowest: ', join ', ', map { sprintf '%s %.2f s', $_->[1], $_->[0] }
                                 @slow[0 .. ($#slow < 9 ? $#slow : 9)]);
    done_testing();
}


sub pick {
    my ($all) = @_;

    my $only = $ENV{DIFFER_CASE};
    my @cases;

    for my $c (@$all) {
        die "case without a good name\n" if $c->{name} !~ /^[a-z0-9-]+$/;
        die "case $c->{name} is there twice\n" if $names{ $c->{name} }++;
        next if defined $only && $c->{name} !~ /$only/;

        my @miss = grep { !nginx_has($_) } @{ $c->{need} || [] };

        if (@miss) {
            note("$c->{name}: nginx is built without @miss");
            next;
        }

        if (defined $c->{at} && !nginx_at($c->{at})) {
            note("$c->{name}: needs nginx $c->{at}");
            next;
        }

        my @lack = grep { !have_program($_) } @{ $c->{program} || [] };

        if (@lack) {
            note("$c->{name}: needs the program @lack");
            next;
        }

        push @cases, $c;
    }

    return @cases;
}


sub load_module {
    my $list = $ENV{TEST_NGINX_LOAD_MODULES};

    return '' if built() =~ /--add-module=(?:\S*retry.chain|\Q$root\E)/;

    if (!defined $list || $list eq '') {
        $list = "$root/build/ngx_http_retry_chain_module.so";
        return undef if !-e $list;
    }

    return join '', map { 'load_module ' . Cwd::abs_path($_) . ";\n" }
                    split ' ', $list;
}


sub files {
    my ($files) = @_;

    my %f = ('index.html' => "index\n", 'page.txt' => big(3000),
             'big.txt' => big(300_000), 'empty.txt' => '',
             'secret/s.txt' => "secret\n", 'err.html' => "error page\n",
             %{ $files || {} });

    for my $name (keys %f) {
        my $path = "$dir/html/$name";
        File::Path::make_path(File::Basename::dirname($path));
        write_file($path, $f{$name});
        utime 1_600_000_000, 1_600_000_000, $path;
    }
}


sub write_file {
    my ($path, $text) = @_;

    open my $fh, '>', $path or die "$path: $!";
    binmode $fh;
    print $fh $text;
    close $fh or die "$path: $!";
}


sub read_from {
    my ($path, $from) = @_;

    open my $fh, '<', $path or return '';
    binmode $fh;
    seek $fh, $from, 0;
    local $/;

    return scalar(<$fh>) // '';
}


# five digits each, so that all replies keep their length

my %taken;

sub free_port {
    for (1 .. 200) {
        my $p = 10_000 + int rand 20_000;
        next if $taken{$p}++;
        my $s = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Proto => 'tcp',
                                      LocalPort => $p, Listen => 1) or next;
        close $s;
        return $p;
    }

    die "no free port\n";
}


sub listener {
    for (1 .. 200) {
        my $p = 10_000 + int rand 20_000;
        next if $taken{$p}++;
        # 127.0.0.2 is where the second step would go
        my $s = IO::Socket::INET->new(LocalAddr => '0.0.0.0', Proto => 'tcp',
                                      LocalPort => $p, Listen => SOMAXCONN)
            or next;
        return $s;
    }

    die "no free port\n";
}


# ---- instances -------------------------------------------------------------

sub instance {
    my ($kind, $arg, $cases, $origin, $so) = @_;

    my %listen = map { $_ => listener() }
                 qw(http fcgi scgi uwsgi memcached);
    my $refused = IO::Socket::INET->new(LocalAddr => '127.0.0.1',
                                        Proto => 'tcp') or die $!;

    # bound, but nobody listens: connecting is refused
    my $side = {
        kind => $kind, home => "$dir/$home{$kind}", refused => $refused,
        chain => $self_test || $kind eq 'plain' ? '' : $chain{$kind},
        load => $self_test || $kind eq 'plain' ? '' : $so,
    };

    $side->{ports} = {
        BACKEND => $listen{http}->sockport,
        FCGI => $listen{fcgi}->sockport, SCGI => $listen{scgi}->sockport,
        UWSGI => $listen{uwsgi}->sockport,
        MEMCACHED => $listen{memcached}->sockport,
        REFUSED => $refused->sockport, %{ $origin->{ports} },
    };

    socketpair(my $near, my $far, AF_UNIX, SOCK_STREAM, PF_UNSPEC) or die $!;
    $_->autoflush(1) for $near, $far;

    my $pid = fork // die "fork: $!";

    if (!$pid) {
        close $near;
        eval {
            Differ::Backend->new(
                listen => \%listen, ctl => $far,
                cases => { map { $_->{name} => $_ } @$cases })->run();
        };
        warn "backend of $kind: $@" if $@;
        POSIX::_exit($@ ? 1 : 0);
    }

    close $far;
    close $_ for values %listen;
    $side->{ctl} = $near;
    $side->{backend} = $pid;
    push @pids, $pid;

    start_nginx($side, sub { conf($side, $arg, $cases) },
                qw(MAIN STATUS H2 SSL H3));

    return $side;
}


sub origin {
    my ($text) = @_;

    my $side = { kind => 'origin', home => "$dir/origin", ports => {} };

    return $side if !defined $text;

    start_nginx($side, sub {
        return fill($side, <<"END" . $text . "}\n");
user root;
worker_processes 1;
daemon off;
pid $side->{home}/nginx.pid;
events { worker_connections 512; }
http {
    default_type text/plain;
    access_log off;
    keepalive_timeout 65s;
    root $dir/html;
    client_body_temp_path $side->{home}/tmp/body;
    proxy_temp_path $side->{home}/tmp/proxy;
    fastcgi_temp_path $side->{home}/tmp/fastcgi;
    uwsgi_temp_path $side->{home}/tmp/uwsgi;
    scgi_temp_path $side->{home}/tmp/scgi;
    server {
        listen 127.0.0.1:%%ORIGINSTATUS%%;
        return 204;
    }
END
    }, qw(ORIGIN ORIGINH2 ORIGINSSL ORIGINSTATUS));

    return $side;
}


sub fill {
    my ($side, $text) = @_;

    my %p = (%{ $side->{ports} }, DIR => $side->{home}, HTML => "$dir/html");

    $text =~ s/%%([A-Z0-9]+)%%/$p{$1} \/\/ die "nothing for $1\n"/ge;

    return $text;
}


sub conf {
    my ($side, $arg, $cases) = @_;

    my $chain = $side->{chain};
    my $level = $ENV{DIFFER_DEBUG} ? 'debug' : 'info';
    my $log = join ',', map { qq{"$_":"\$$_"} } 'host', @fields, @times;

    my $http = <<"END";
$side->{load}
user root;
worker_processes 1;
daemon off;
pid $side->{home}/nginx.pid;
error_log $side->{home}/error.log $level;
events { worker_connections 512; }
http {
    default_type text/plain;
    root %%HTML%%;
    log_format differ escape=json '{$log}';
    access_log $side->{home}/access.log differ;
    client_body_temp_path $side->{home}/tmp/body;
    proxy_temp_path $side->{home}/tmp/proxy;
    fastcgi_temp_path $side->{home}/tmp/fastcgi;
    uwsgi_temp_path $side->{home}/tmp/uwsgi;
    scgi_temp_path $side->{home}/tmp/scgi;
    server_names_hash_max_size 4096;
    server_names_hash_bucket_size 128;
    proxy_headers_hash_max_size 2048;
    variables_hash_max_size 4096;
    lingering_timeout 1s;
    proxy_http_version 1.0;
    $chain
END

    if ($chain ne '') {
        $http .= <<"END";
    log_format differ_chain '\$host \$retry_chain_attempts';
    access_log $side->{home}/chain.log differ_chain;
END
    }

    $http .= $arg->{http} // '';

    my $stat = nginx_has('stub_status') ? 'stub_status;' : 'return 204;';
    my $off = $chain ne '' ? 'retry_chain off;' : '';

    $http .= <<"END";
    server {
        listen 127.0.0.1:%%STATUS%%;
        keepalive_requests 1000000;
        keepalive_timeout 300s;
        access_log off;
        location / { $off $stat }
    }
    server {
        listen 127.0.0.1:%%MAIN%%;
        server_name probe;
        return 200 "probe answered";
    }
END

    for my $c (@$cases) {
        my $listen = $c->{listen} // 'MAIN';
        my $text = $c->{conf};
        my $extra = $c->{http} // '';
        my $l;

        if ($listen eq 'MAIN') {
            $l = 'listen 127.0.0.1:%%MAIN%%;';

        } elsif ($listen eq 'H2') {
            $l = nginx_at('1.25.1') ? 'listen 127.0.0.1:%%H2%%; http2 on;'
                                    : 'listen 127.0.0.1:%%H2%% http2;';

        } elsif ($listen eq 'H3') {
            $l = 'listen 127.0.0.1:%%H3%% quic;';

        } else {
            $l = 'listen 127.0.0.1:%%SSL%% ssl;';
        }

        for ($text, $extra) {
            s/%%NAME%%/$c->{name}/g;
        }

        $http .= "    $extra\n" if $extra ne '';
        $http .= "    server {\n        $l\n"
            . "        server_name $c->{name};\n$text\n    }\n";
    }

    return fill($side, $http . "}\n");
}


sub start_nginx {
    my ($side, $conf, @ports) = @_;

    my $home = $side->{home};
    File::Path::make_path("$home/tmp", "$home/store");
    chmod 0755, $home;

    for my $try (1 .. 5) {
        $side->{ports}{$_} = free_port() for @ports;
        write_file("$home/nginx.conf", $conf->());

        my $pid = fork // die "fork: $!";

        if (!$pid) {
            open STDOUT, '>', "$home/stderr" or POSIX::_exit(1);
            open STDERR, '>&', \*STDOUT or POSIX::_exit(1);
            POSIX::close($_) for 3 .. 63;
            exec memory_checker($side), $nginx, '-p', "$home/", '-c', "$home/nginx.conf",
                 '-e', "$home/error.log"
                or POSIX::_exit(1);
        }

        push @pids, $pid;
        $side->{master} = $pid;

        my $start = time();
        my $up = 0;

        until (over($start, 8 * $wait)) {
            last if waitpid($pid, POSIX::WNOHANG()) == $pid;

            my $port = $side->{ports}{STATUS} || $side->{ports}{ORIGINSTATUS};
            my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
                                          PeerPort => $port);

            if ($s) {
                $up = 1;
                last;
            }

            sleep 0.02;
        }

        return if $up;

        my $why = read_from("$home/stderr", 0)
                  . read_from("$home/error.log", 0);

        if ($why =~ /Address already in use/ && $try < 5) {
            @pids = grep { $_ != $pid } @pids;
            next;
        }

        diag("$side->{kind}: nginx did not start:\n$why");
        BAIL_OUT("$side->{kind}: nginx did not start");
    }
}


# valgrind for the instances that have the module

sub memory_checker {
    my ($side) = @_;

    my $opt = $ENV{TEST_NGINX_USE_VALGRIND};

    return if !$opt || !$side->{load};
    return ('valgrind', $opt =~ /^-/ ? split ' ', $opt : '-q');
}


# ---- one process per instance goes through the table -----------------------

sub gather {
    my ($side, $cases) = @_;

    my %run;

    for my $kind (@kinds) {
        my $pid = fork // die "fork: $!";

        if (!$pid) {
            eval { runner($side->{$kind}, $cases) };
            warn "runner of $kind: $@" if $@;
            POSIX::_exit($@ ? 1 : 0);
        }

        $run{$kind} = $pid;
        push @pids, $pid;
    }

    my $start = time();
    my %left = reverse %run;

    while (%left && !over($start, 150 * $wait)) {
        my $pid = waitpid(-1, POSIX::WNOHANG());

        if ($pid > 0) {
            my $kind = delete $left{$pid};
            @pids = grep { $_ != $pid } @pids;
            diag("the runner of $kind ended with $?") if $kind && $?;
            next;
        }

        sleep 0.02;
    }

    for my $pid (keys %left) {
        diag("the runner of $left{$pid} took too long");
        kill 'KILL', $pid;
    }

    my %seen;

    for my $kind (@kinds) {
        my $text = read_from("$side->{$kind}{home}/seen.json", 0);
        $seen{$kind} = {};

        for (split /\n/, $text) {
            my $r = JSON::PP->new->decode($_);
            $seen{$kind}{ $r->{name} } = $r;
        }
    }

    return %seen;
}


sub runner {
    my ($side, $cases) = @_;

    my $home = $side->{home};
    my $late = 0;

    open my $out, '>', "$home/seen.json" or die $!;
    $out->autoflush(1);

    quiet($side);

    for my $case (@$cases) {
        my $r;

        if ($late > 25) {
            $r = { skipped => 'too many time-outs before' };

        } else {
            $r = eval { one_case($side, $case) }
                 || { died => "$@", late => 1 };
            $late += $r->{late} || 0;
        }

        $r->{name} = $case->{name};
        print $out JSON::PP->new->latin1->canonical->encode($r), "\n";
    }
}


sub one_case {
    my ($side, $case) = @_;

    my $home = $side->{home};
    my @from = map { -s "$home/$_" // 0 } qw(access.log error.log chain.log);
    my $begin = time();

    my $io = Differ::Client->new(
        name => $case->{name}, ports => $side->{ports}, ctl => $side->{ctl},
        wait => $wait, home => $home, side => $side, html => "$dir/html");

    $io->ask({ case => $case->{name}, nginx => $side->{master} });

    if ($case->{client}) {
        $case->{client}->($io);

    } else {
        my $req = $case->{req} // rq('/');

        for my $bytes (ref $req ? @$req : $req) {
            $io->talk($bytes, port => $case->{listen});
        }
    }

    $io->close_all();

    my $still = quiet($side);
    my $report = $io->ask({ report => 1 });

    my $r = {
        client => $io->transcript(),
        backend => backend_text($case, $report->{log}),
        files => $case->{files} ? $case->{files}->($home) : '',
        late => $io->{late} + ($still ? 1 : 0),
        spent => time() - $begin,
    };

    $r->{client} .= "$still\n" if $still;

    if ($case->{timing}) {
        $r->{took} = [ map { $_->{took} // 0 } @{ $io->{conns} } ];
    }

    log_text($r, $case, read_from("$home/access.log", $from[0]));
    $r->{errors} = errors_text($r, $case,
                               read_from("$home/error.log", $from[1]));

    if ($side->{chain} ne '') {
        my @l = split /\n/, read_from("$home/chain.log", $from[2]);
        $r->{ran} = grep { / [1-9]/ } @l;
    }

    # random identifiers: which are equal matters, not what they are
    my (%id, $n);

    for my $part (qw(client backend log files)) {
        $r->{$part} =~ s/(?<![0-9a-f])([0-9a-f]{32})(?![0-9a-f])/
                         $id{$1} \/\/= 'ID' . ++$n/ge;
    }

    for my $part (qw(client backend log errors files)) {
        $r->{$part} = even($side, $r->{$part});
        $r->{$part} = $case->{norm}->($r->{$part}, $part) if $case->{norm};
    }

    return $r;
}


sub even {
    my ($side, $text) = @_;

    my %by = reverse %{ $side->{ports} };
    my $any = join '|', sort keys %by;

    $text =~ s/((?<=\d|[a-z]):|proxy_port: )($any)(?!\d)/$1<$by{$2}>/g;
    $text =~ s/\Q$side->{home}\E/<DIR>/g;
    $text =~ s/\Q$dir\E/<TOP>/g;
    $text =~ s/(boundary=|--)\d{20}/$1<BOUNDARY>/g;
    $text =~ s{(<DIR>/tmp/\w+/)[\d/]+}{$1<N>}g;

    return $text;
}


sub backend_text {
    my ($case, $log) = @_;

    my @text;

    for my $c (@$log) {
        my $t = "== connection ($c->{kind})" . ($c->{old} ? ', old' : '')
            . "\n" . join '', map { "$_\n" } @{ $c->{events} };
        $t =~ s/\r\n/\n/g;
        $t .= "-- $c->{state}\n";

        # how much fits into sockets before that is chance
        $t =~ s/^-- closed by nginx\K while sending$//m;
        push @text, $t;
    }

    @text = sort @text if $case->{unordered};

    return join '', @text;
}


sub log_text {
    my ($r, $case, $log) = @_;

    my (@text, @took);
    my %loose = map { $_ => 1 } @{ $case->{loose} || [] };

    for my $line (split /\n/, $log) {
        my $j = eval { JSON::PP->new->decode($line) };

        if (!$j) {
            push @text, "bad line: $line\n";
            next;
        }

        next if $j->{host} eq 'probe';

        my $t = "== $j->{host}\n";

        for (@fields) {
            $j->{$_} =~ s/\r/\\r/g;
            next if $j->{$_} eq '' && !$loose{$_};
            my $v = $loose{$_} ? '(not compared)' : $j->{$_};
            $v = Differ::Client::brief($v)
                if $_ eq 'request_body' && !$loose{$_};
            $t .= "$_: $v\n";
        }

        # the number of entries counts, their values within limits
        for (@times) {
            my $v = $j->{$_};
            my @v = $v =~ /(\d+\.\d+)/g;
            $v =~ s/\d+\.\d+/T/g;
            $t .= "$_: $v\n";
            push @took, "$_=" . join '+', @v;
        }

        push @text, $t;
    }

    if ($case->{unordered}) {
        my @i = sort { $text[$a] cmp $text[$b] } 0 .. $#text;
        @text = @text[@i];
        @took = ();
    }

    $r->{log} = join '', @text;
    $r->{logtook} = \@took;
}


sub errors_text {
    my ($r, $case, $log) = @_;

    my %line;

    for (split /\n/, $log) {
        my ($level, $msg) = m{^\S+ \S+ \[(\w+)\] [\d#]+: (.*)$} or next;

        if ($level =~ /^(?:alert|crit|emerg)$/) {
            push @{ $r->{bad} }, $_;

        } elsif ($msg =~ /worker process .*exited on signal/) {
            push @{ $r->{bad} }, $_;
        }

        next if $level =~ /^(?:info|notice|debug)$/;
        next if $level eq 'warn' && $msg =~ /^(?:\*\d+ )?retry chain /;

        # who is faster, vendor or client, is mostly chance
        next if $msg =~ /response is buffered to a temporary file/
                && !$case->{buffered};

        $msg =~ s/^\*\d+ //;
        $msg =~ s/, subrequest: "[^"]*"//;
        $msg =~ s/excess: [\d.]+/excess: N/;
        $line{"[$level] $msg"}++;
    }

    return join '', map { "$_\n" } sort keys %line;
}


# All client connections but our own are gone: everything is logged.  Returns
# a text if that does not come.

sub quiet {
    my ($side) = @_;

    my $start = time();
    my $active = -1;

    if (!nginx_has('stub_status')) {
        my $size = -1;

        until (over($start, 4 * $wait)) {
            my $now = -s "$side->{home}/access.log" // 0;
            last if $now == $size;
            $size = $now;
            sleep 0.1;
        }

        return '';
    }

    $side->{base} //= 0;

    until (over($start, 4 * $wait)) {
        $active = active($side) - 1 - $side->{base};
        return '' if $active == 0;
        sleep 0.003;
    }

    $side->{base} += $active;
    return "NOT QUIET: $active connections are left";
}


sub active {
    my ($side) = @_;

    for (1 .. 20) {
        $side->{status} //= IO::Socket::INET->new(
            PeerAddr => '127.0.0.1', PeerPort => $side->{ports}{STATUS},
            Timeout => 60);

        if (!$side->{status}) {
            sleep 0.1;
            next;
        }

        my $s = $side->{status};
        print $s "GET / HTTP/1.1\r\nHost: status\r\n\r\n";
        $s->flush();

        my $buf = '';
        my $start = time();

        while ($buf !~ /Waiting: \d+ \n/ && !over($start, 3 * $wait)) {
            vec(my $r = '', fileno($s), 1) = 1;
            next if !select($r, undef, undef, 0.5);
            sysread($s, $buf, 4096, length $buf) or last;
        }

        return $1 if $buf =~ /Active connections: (\d+)/;

        close $s;
        $side->{status} = undef;
    }

    die "nginx does not tell its state\n";
}


# ---- the verdict -----------------------------------------------------------

# what may be different because the machine had other things to do; with a cache
# a second take is not the first one, so that only its times are taken, and only
# where all else is as it was

sub take_again {
    my ($side, $seen, $cases) = @_;

    my (@again, %times);

    for my $case (@$cases) {
        $times{ $case->{name} } = only_times($case, $seen);
        push @again, $case if $times{ $case->{name} } || late($case, $seen);
    }

    return if !@again;

    note('taken again: ', join ' ', map { $_->{name} } @again);

    my %new = gather($side, \@again);

    for my $case (@again) {
        my $name = $case->{name};

        next if $times{$name} && grep {
            content($seen->{$_}{$name}) ne content($new{$_}{$name} // {})
        } @kinds;

        $seen->{$_}{$name} = $new{$_}{$name} for @kinds;
    }
}


sub late {
    my ($case, $seen) = @_;

    return !$case->{late} && grep { $seen->{$_}{ $case->{name} }{late} } @kinds;
}


sub only_times {
    my ($case, $seen) = @_;

    my ($p, @chained) = map { $seen->{$_}{ $case->{name} } } @kinds;
    my $times = 0;

    for my $c (@chained) {
        my ($what, $when) = difference($case, $p, $c);

        return 0 if @$what;
        $times += @$when;
    }

    return $times;
}


sub content {
    my ($r) = @_;
    return join '', map { $r->{$_} // '' } qw(client backend log errors files);
}


sub judge {
    my ($side, $seen, $cases) = @_;

    for my $case (@$cases) {
        my $name = $case->{name};
        my $p = $seen->{plain}{$name};

        if (!$p || $p->{died} || $p->{skipped}) {
            fail("$name: plain nginx");
            diag($p ? $p->{died} // $p->{skipped} : 'no result');
            next;
        }

        note(dump_of($p)) if $ENV{DIFFER_DUMP};

        my $want = $case->{want} || [];
        my $all = join '', @$p{qw(client backend log errors files)};
        my @miss = grep { $all !~ $_ } ref $want eq 'ARRAY' ? @$want : $want;

        push @miss, 'a time-out' if $p->{late} && !$case->{late};

        ok(!@miss, "$name: plain nginx does what the case is about")
            or diag("not found: @miss\n" . dump_of($p));

        for my $kind (qw(direct one two)) {
            next if $kind eq 'two' && defined $case->{two} && !$case->{two};

            my $c = $seen->{$kind}{$name};
            my @diff = map { @$_ } difference($case, $p, $c);

            if ($side->{$kind}{chain} ne '' && $c && defined $c->{ran}) {
                push @diff, 'no request of this case went through a chain'
                    if !$c->{ran} && !$case->{norun};
            }

            my $known = $self_test ? undef : $case->{known};
            my $but = '';

            # lines that may differ, by kind, or where there is an attempt
            $known = ref $known eq 'HASH' ? $known->{$kind}
                     : $kind eq 'direct' ? undef : $known;

            if ($known) {
                @diff = grep { !/^\w+ differs:$|$known/ } @diff;
                $but = ' but for what is known';
            }

            ok(!@diff, "$name: a chain of $kind answers as plain nginx$but")
                or diag(join "\n", @diff);
        }
    }
}


sub dump_of {
    my ($r) = @_;

    return join '', map { "#### $_\n$r->{$_}" }
           qw(client backend log errors files);
}


# what is different, and then which times are

sub difference {
    my ($case, $p, $c) = @_;

    return (['no result'], []) if !$p || !$c;
    return ([$c->{died} // $c->{skipped}], []) if $c->{died} || $c->{skipped};

    my $tol = 0.5 * $wait * slack();
    my (@diff, @when);
    my %skip = map { $_ => 1 } @{ $case->{ignore} || [] };

    for my $part (qw(client backend log errors files)) {
        next if $skip{$part} || $p->{$part} eq $c->{$part};
        push @diff, "$part differs:", lines($p->{$part}, $c->{$part});
    }

    push @diff, map { "log: $_" } @{ $c->{bad} || [] };

    my @a = @{ $p->{took} || [] };
    my @b = @{ $c->{took} || [] };

    # rates count in whole seconds, so that the start within one matters
    my $most = $case->{timing} // $tol;

    for (0 .. $#a) {
        push @when, "the client took $a[$_] s without, $b[$_] s with a chain"
            if abs($a[$_] - $b[$_]) > $most
               || $case->{timing} && ($a[$_] < 0.4) != ($b[$_] < 0.4);
    }

    if (!@diff && !@when && !$case->{anytime} && !$case->{timing}) {
        my @x = @{ $p->{logtook} };
        my @y = @{ $c->{logtook} };

        for (0 .. $#x) {
            my @v = $x[$_] =~ /(\d+\.\d+)/g;
            my @w = $y[$_] =~ /(\d+\.\d+)/g;

            for my $i (0 .. $#v) {
                push @when, "log: $x[$_] against $y[$_]"
                    if abs($v[$i] - ($w[$i] // 0)) > $tol;
            }
        }
    }

    return (\@diff, \@when);
}


# the lines that only one side has, at most 30 of each

sub lines {
    my ($x, $y) = @_;

    my @x = split /\n/, $x;
    my @y = split /\n/, $y;
    my (%x, %y, @out);

    $x{$_}++ for @x;
    $y{$_}++ for @y;

    my @only_x = grep { --$y{$_} < 0 } @x;
    my @only_y = grep { --$x{$_} < 0 } @y;

    if (!@only_x && !@only_y) {
        @out = ('  (the same lines in another order)');
        @only_x = @x;
        @only_y = @y;
    }

    for (['plain', @only_x], ['chain', @only_y]) {
        my ($who, @l) = @$_;
        splice @l, 30, @l - 30, '...' if @l > 31;
        push @out, map { "  $who: $_" } @l;
    }

    return @out;
}


# ---- the end ---------------------------------------------------------------

sub finish {
    my ($side, $origin) = @_;

    for my $kind (@kinds) {
        my $s = $side->{$kind};
        close $s->{ctl};
        stop($s);

        my $log = read_from("$s->{home}/error.log", 0);
        my @bad = $log =~ /^.*\[(?:alert|crit|emerg)\].*$/mg;
        push @bad, $log =~ /^.*exited on signal.*$/mg;

        # at its end plain nginx leaves memory of threads and reloads, too
        push @bad, grep { !/LeakSanitizer| leaked in / }
                   $log =~ /^.*(?:Sanitizer|runtime error: ).*$/mg;

        my $err = read_from("$s->{home}/stderr", 0);
        push @bad, $err if $err =~ /Sanitizer|runtime error|Invalid (?:read|write)/;

        ok(!@bad, "$kind: no [alert], [crit], [emerg], crash or report")
            or diag(join "\n", @bad > 20 ? @bad[0 .. 19] : @bad);
    }

    stop($origin);
}


sub stop {
    my ($s) = @_;

    return if !$s->{master};

    for my $sig (qw(QUIT TERM KILL)) {
        kill $sig, $s->{master};
        my $start = time();

        until (over($start, 3 * $wait)) {
            if (waitpid($s->{master}, POSIX::WNOHANG()) != 0) {
                @pids = grep { $_ != $s->{master} } @pids;
                note("$s->{kind}: nginx had to be ended by $sig")
                    if $sig ne 'QUIT';
                return;
            }

            sleep 0.01;
        }
    }
}


sub sweep {
    return if !defined $owner || $owner != $$;
    $owner = undef;

    my $status = $?;

    for my $sig ('TERM', 'KILL') {
        my $until = time() + 2;
        kill $sig, $_ for @pids;

        while (@pids && time() < $until) {
            @pids = grep { waitpid($_, POSIX::WNOHANG()) == 0 } @pids;
            sleep 0.01 if @pids;
        }
    }

    if ($ENV{DIFFER_KEEP}) {
        diag("kept: $dir");

    } elsif (defined $dir) {
        chdir '/';
        File::Path::remove_tree($dir);
    }

    $? = $status;
}


$SIG{$_} = sub { exit 1 } for qw(INT TERM HUP);

END { sweep() }


1;
