#!/usr/bin/perl

# Retries with every protocol of upstreams: each *_pass with each kind of failure,
# with request bodies, and TLS.  What the client gets is what nginx makes of the
# last way's reply without a chain.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use File::Temp qw(tempdir);
use IO::Socket::INET;
use POSIX ();
use Socket qw(SOL_SOCKET SO_LINGER);
use Test::More;

use Ways;
use Ways::Nginx qw(request shape);

my $owner = $$;
my @children;

my $ssl = Ways::Nginx::has_tls();
my $v2 = Ways::Nginx::has('http_v2_module');

my $some = lines(9_000);

# what a way says to a request: how it fails, or its answer

my $invalid = "X-Bad: a\0b\r\n\r\n";

ways(
    http_status => sub { reply(429, "slow down\n", 'Retry-After: 1') },
    http_good => sub { reply(200, said($_[0]), 'X-Good: 1') },
    http_closed => sub { [close => 1] },
    http_invalid => sub { "HTTP/1.1 200 OK\r\n$invalid" },
    http_silent => sub { [eof => 1] },

    fcgi_status => sub { fcgi($_[0], "Status: 429 No\r\n\r\nslow down\n") },
    fcgi_good => sub { fcgi($_[0], "X-Good: 1\r\n\r\n" . said($_[0])) },
    fcgi_closed => sub { [close => 1] },
    fcgi_invalid => sub { fcgi($_[0], $invalid) },
    fcgi_silent => sub { [eof => 1] },

    scgi_status => sub { "Status: 429 No\r\n\r\nslow down\n" },
    scgi_good => sub { "Status: 200 OK\r\nX-Good: 1\r\n\r\n" . said($_[0]) },
    scgi_closed => sub { [close => 1] },
    scgi_invalid => sub { $invalid },
    scgi_silent => sub { [eof => 1] },

    uwsgi_status => sub { "HTTP/1.1 429 No\r\n\r\nslow down\n" },
    uwsgi_good => sub { "HTTP/1.1 200 OK\r\nX-Good: 1\r\n\r\n" . said($_[0]) },
    uwsgi_closed => sub { [close => 1] },
    uwsgi_invalid => sub { "HTTP/1.1 200 OK\r\n$invalid" },
    uwsgi_silent => sub { [eof => 1] },

    memcached_status => sub { "END\r\n" },
    memcached_good => sub { my ($key) = $_[0]{line} =~ /^get (\S+)/;
                            "VALUE $key 0 5\r\nvalue\r\nEND\r\n" },
    memcached_closed => sub { [close => 1] },
    memcached_invalid => sub { "what?\r\n" },
    memcached_silent => sub { [eof => 1] },

    # behind the servers that speak HTTP/2

    inner_status => sub { reply(429, "slow down\n", 'X-Grpc: 8',
                                'Content-Type: application/grpc') },
    inner_good => sub { reply(200, said($_[0]), 'X-Grpc: 0',
                              'Content-Type: application/grpc') },
    grpc_closed => sub { [close => 1] },
    grpc_invalid => sub { ("HTTP/1.1 400 What\r\n\r\n", [eof => 1]) },
    grpc_silent => sub { [eof => 1] },
);

my @kinds = qw(http fcgi scgi uwsgi memcached);
push @kinds, 'grpc' if $v2;

my %pass = (
    http => 'proxy_pass http://$way;',
    fcgi => 'fastcgi_pass $way; fastcgi_param REQUEST_URI $request_uri;'
            . 'fastcgi_param REQUEST_METHOD $request_method;'
            . 'fastcgi_param CONTENT_LENGTH $content_length;',
    scgi => 'scgi_pass $way; scgi_param REQUEST_URI $request_uri;'
            . 'scgi_param REQUEST_METHOD $request_method;'
            . 'scgi_param CONTENT_LENGTH $content_length;',
    uwsgi => 'uwsgi_pass $way; uwsgi_param REQUEST_URI $request_uri;'
             . 'uwsgi_param REQUEST_METHOD $request_method;'
             . 'uwsgi_param CONTENT_LENGTH $content_length;',
    memcached => 'set $memcached_key $request_uri; memcached_pass $way;',
    grpc => 'grpc_pass grpc://$way;',
);

my %timeout = map { $_ => ($_ eq 'http' ? 'proxy' : $_ eq 'fcgi' ? 'fastcgi'
                                                  : $_) . '_read_timeout' }
              @kinds;

# the way that fails like this, its outcome and its status

my %fail = (
    status => ['KIND_status', 'status', 429],
    reset => ['reset', 'error', 502],
    refused => ['refused', 'error', 502],
    closed => ['KIND_closed', 'error', 502],
    invalid => ['KIND_invalid', 'invalid header', 502],
    silent => ['KIND_silent', 'timeout', 504],
);

sub failing {
    my ($kind, $fail) = @_;

    my ($way, $outcome, $status) = @{ $fail{$fail} };

    $status = 404 if $kind eq 'memcached' && $fail eq 'status';

    return ($way =~ s/KIND/$kind/r, $outcome, $status);
}


# the same handler with the chain and without; memcached_pass knows no variables,
# so its steps are locations

sub place {
    my ($name, $kind, $way, $more) = @_;

    $way = 'memcached_good' if $kind eq 'memcached' && $way =~ /\$/;

    my $pass = $pass{$kind} =~ s/\$way/$way/r;
    my $is = $name =~ /^@/ ? '' : '= /';

    return "location $is$name { $more $pass }\n";
}

sub step {
    my ($kind, $way) = @_;
    return $kind eq 'memcached' ? "\@$way" : $way;
}

my $locations = '';

for my $kind (@kinds) {
    my $good = step($kind, "${kind}_good");
    my @ways;

    $locations .= place("plain/$kind", $kind, "${kind}_good", '');

    for my $fail (sort keys %fail) {
        my ($way) = failing($kind, $fail);
        my $limit = $fail eq 'silent' ? 'timeout=100ms' : '';
        my $step = step($kind, $way);

        push @ways, $step;
        $locations .= place("$kind/$fail", $kind, '$retry_chain_upstream',
                            "retry_chain $step $limit; retry_chain $good;")
                      . place("$kind/last/$fail", $kind,
                              '$retry_chain_upstream',
                              'retry_chain ' . step($kind, "${kind}_status")
                              . " $step; $timeout{$kind} 400ms;")
                      . place("plain/$kind/last/$fail", $kind, $way,
                              "$timeout{$kind} 400ms;");

        $locations .= place("\@$way", $kind, $way, "$timeout{$kind} 1s;")
            if $kind eq 'memcached';
    }

    $locations .= place("\@${kind}_good", $kind, "${kind}_good", '')
        if $kind eq 'memcached';

    # all of them in one run; a time limit of the handler's own

    $locations .= place("$kind/all", $kind, '$retry_chain_upstream',
                        "retry_chain @ways $good; $timeout{$kind} 1s;");
}


# ---- TLS --------------------------------------------------------------------

# a way has a certificate for its own name and for vendor.test, or should have

my $certs = tempdir('retry_chain_certs.XXXXXX', TMPDIR => 1, CLEANUP => 1);
my @tls = qw(tlsa tlsb tlsc plaina);

certificates() if $ssl;

my $h2 = $v2 ? 'http2' : '';
my ($tls_servers, $tls_locations) = ('', '');

# name => steps, what proxy_pass needs to know, the statuses and outcomes

my $verify = "proxy_ssl_verify on;"
             . "proxy_ssl_trusted_certificate $certs/ca.pem;"
             . 'proxy_ssl_name vendor.test;';

my %tls = (
    self_signed => ['tlsself tlsb', $verify, '502, 200', 'error, status'],
    other_name => ['tlsother tlsb', $verify, '502, 200', 'error, status'],
    own_name => ['tlsa tlsb', $verify =~ s/vendor.test/tlsb/r, '502, 200',
                 'error, status'],
    plain_text => ['plain_text tlsb', $verify, '502, 200', 'error, status'],
    protocol => ['tls12 tlsb', 'proxy_ssl_protocols TLSv1.3;', '502, 200',
                 'error, status'],
    reset => ['reset tlsb', $verify, '502, 200', 'error, status'],
    refused => ['refused tlsb', $verify, '502, 200', 'error, status'],
    silent => ['http_silent timeout=100ms; retry_chain tlsb', $verify,
               '504, 200', 'timeout, status'],
    many => ['tlsself plain_text tlsother refused tlsb', $verify,
             '502, 502, 502, 502, 200', 'error, error, error, error, status'],
);

if ($ssl) {
    for my $name (sort keys %tls) {
        my ($steps, $conf) = @{ $tls{$name} };

        $tls_locations .= <<"EOC";
location = /tls/$name {
    retry_chain $steps;
    $conf
    proxy_pass https://\$retry_chain_upstream;
}
EOC
    }

    my %answer = (tlsa => 'return 429 "slow down\n";',
                  tlsc => 'return 429 "slow down\n";');

    for my $name (@tls, qw(tlsself tlsother tls12)) {
        my $answer = $answer{$name} // 'return 200 "$ssl_server_name '
                                       . '$ssl_client_s_dn\n";';
        my $cert = $name eq 'tls12' ? 'tlsa' : $name;
        my $protocols = $name eq 'tls12' ? 'TLSv1.2' : 'TLSv1.2 TLSv1.3';
        my $keepalive = $name eq 'tlsc' ? 'keepalive 2;' : '';

        $tls_servers .= <<"EOC";
upstream $name { server unix:%%DIR%%/$name; $keepalive }
server {
    listen unix:%%DIR%%/$name ssl $h2;
    access_log %%DIR%%/logs/vendor.log vendor;
    set \$way $name;
    ssl_certificate $certs/$cert.pem;
    ssl_certificate_key $certs/$cert.key;
    ssl_client_certificate $certs/ca.pem;
    ssl_verify_client optional;
    ssl_protocols $protocols;
    ssl_session_cache shared:$name:1m;
    location / { $answer }
    location /tls/ { proxy_pass http://http_good; }
    location /grpc/ { proxy_pass http://inner_good; }
}
EOC
    }

    # a session of another location would have its name and certificate

    $tls_locations .= <<"EOC";
location = /name {
    retry_chain tlsa tlsb;
    proxy_ssl_verify on;
    proxy_ssl_trusted_certificate $certs/ca.pem;
    proxy_ssl_name \$retry_chain_upstream;
    proxy_ssl_server_name on;
    proxy_ssl_session_reuse off;
    proxy_pass https://\$retry_chain_upstream;
}
location = /certificate {
    retry_chain tlsa tlsb;
    proxy_ssl_certificate $certs/\$retry_chain_upstream.pem;
    proxy_ssl_certificate_key $certs/\$retry_chain_upstream.key;
    proxy_ssl_session_reuse off;
    proxy_pass https://\$retry_chain_upstream;
}
location = /kept {
    retry_chain tlsc tlsb;
    proxy_pass https://\$retry_chain_upstream;
}
location = /suwsgi {
    retry_chain tlsself tlsb;
    uwsgi_ssl_verify on;
    uwsgi_ssl_trusted_certificate $certs/ca.pem;
    uwsgi_ssl_name vendor.test;
    uwsgi_pass suwsgi://\$retry_chain_upstream;
}
EOC

    for my $protocol ('TLSv1.2', 'TLSv1.3') {
        for my $reuse ('on', 'off') {
            my $ssl = "proxy_ssl_protocols $protocol;"
                      . "proxy_ssl_session_reuse $reuse;"
                      . 'proxy_http_version 1.0;';

            $tls_locations .= <<"EOC";
location = /reuse/$protocol/$reuse {
    retry_chain a_$protocol$reuse b_$protocol$reuse;
    $ssl
    proxy_pass https://\$retry_chain_upstream;
}
location = /plain/reuse/$protocol/$reuse {
    $ssl
    proxy_pass https://p_$protocol$reuse;
}
EOC
            $tls_servers .= <<"EOC";
upstream a_$protocol$reuse { server unix:%%DIR%%/tlsa; }
upstream b_$protocol$reuse { server unix:%%DIR%%/tlsb; }
upstream p_$protocol$reuse { server unix:%%DIR%%/plaina; }
EOC
        }
    }

    $tls_locations .= <<"EOC" if $v2;
location = /grpc/s {
    retry_chain tlsself plain_text tlsb;
    grpc_ssl_verify on;
    grpc_ssl_trusted_certificate $certs/ca.pem;
    grpc_ssl_name vendor.test;
    grpc_pass grpcs://\$retry_chain_upstream;
}
EOC
}


my $front = <<"EOC";
    access_log %%DIR%%/logs/access.log trail;
    client_body_buffer_size 1k;
    $locations
    $tls_locations
EOC

my $grpc = $v2 ? join '', map { <<"EOC" } qw(status good) : '';
upstream grpc_$_ { server unix:%%DIR%%/grpc_$_; keepalive 2; }
server {
    listen unix:%%DIR%%/grpc_$_ http2;
    access_log off;
    client_body_buffer_size 16k;
    location / {
        proxy_pass http://inner_$_;
        proxy_hide_header X-Grpc;
        add_trailer grpc-status \$upstream_http_x_grpc always;
    }
}
EOC

my $reset = resetter();

my $n = Ways::Nginx->start(level => 'notice', http => <<"EOC");
log_format trail escape=none '\$request_method \$request_uri \$status '
                             '\$retry_chain_result [\$retry_chain_statuses] '
                             '\$retry_chain_trail';
log_format vendor '\$way \$request_uri \$connection_requests '
                  '\$ssl_session_reused';
fastcgi_keep_conn on;
lingering_close off;
upstream reset { server 127.0.0.1:$reset; }
upstream refused { server 127.0.0.1:1; }
upstream plain_text { server %%PORT%%; }
$grpc
$tls_servers
server {
    listen %%PORT%%;
    $front
}
EOC


# ---- each *_pass, each failure ----------------------------------------------

for my $kind (@kinds) {
    my $put = put($kind);
    my $plain = shape(ask('GET', "/plain/$kind"));
    my $plain_body = shape(ask($put, "/plain/$kind", $some));

    for my $fail (sort keys %fail) {
        my ($way, $outcome, $status) = failing($kind, $fail);
        my $uri = "/$kind/$fail";

        is(shape(ask('GET', $uri)), $plain, "GET $uri");
        is(logged(), "GET $uri 200 success [$status, 200] $outcome, status",
           "GET $uri: the log");

        is(shape(ask($put, $uri, $some)), $plain_body, "$put $uri");
        is(logged(), "$put $uri 200 success [$status, 200] $outcome, status",
           "$put $uri: the log");

        my $sum = $kind eq 'memcached' ? '' : ' ' . sum($some);

        # what is HTTP/2 for a way, is seen behind it only

        my @want = (["${kind}_good", $sum]);
        unshift @want, [$way, $sum] if $fail !~ /reset|refused/;

        if ($kind eq 'grpc') {
            @want = map { [$_->[0] =~ s/^grpc_(status|good)/inner_$1/r,
                           $_->[0] =~ /status|good/ ? $sum : ''] } @want;
        }

        is(calls($uri), join('', map { "$_->[0]$_->[1]\n" } @want),
           "$put $uri: the whole body for each");

        if ($fail eq 'silent') {
            ok($n->wait_for(sub { ways_calls() =~ /^$way \S+ cut$/m }),
               "$put $uri: the connection is closed");
        }

        is(shape(ask($put, "/$kind/last/$fail", $some)),
           shape(ask($put, "/plain/$kind/last/$fail", $some)),
           "$kind, a last step that fails: $fail");
    }
}

# all at a time: what is waited for is a second

{
    my @asked = map { my $s = $n->connect();
                      Ways::Nginx::send_all($s, request(put($_), "/$_/all",
                                                        $some));
                      [$_, $s] } @kinds;

    for my $case (@asked) {
        my ($kind, $s) = @$case;

        is(shape(Ways::Nginx::answer(Ways::Nginx::read_all($s))),
           shape(ask(put($kind), "/plain/$kind", $some)), "$kind, all failures");
    }

    for my $kind (@kinds) {
        my $status = $kind eq 'memcached' ? 404 : 429;
        my ($line) = grep { m{^\w+ /$kind/all } } split /\n/, $n->access();

        like($line // '',
             qr/ 200 success \[502, 502, 502, 502, 504, $status, 200\] /,
             "$kind, all failures: the log");
    }
}


# ---- TLS to the upstreams ----------------------------------------------------

SKIP: {
    skip 'no TLS', 1 if !$ssl;

    for my $name (sort keys %tls) {
        my (undef, undef, $statuses, $outcomes) = @{ $tls{$name} };

        # nothing has been sent: a POST is repeated, too

        for my $method (qw(GET PUT POST)) {
            my $uri = "/tls/$name";
            my $body = $method eq 'GET' ? '' : $some;
            my $a = ask($method, $uri, $body);

            is("$a->{status} $a->{body}", "200 $method " . sum($body) . "\n",
               "$method $uri");
            is(logged(), "$method $uri 200 success [$statuses] $outcomes",
               "$method $uri: the log");
            is(calls($uri), 'http_good'
                            . ($method eq 'GET' ? '' : ' ' . sum($some))
                            . "\n", "$method $uri: the requests")
                if $name ne 'silent';
        }
    }

    is(ask('GET', '/name')->{body}, "tlsb \n",
       'SNI and the verified name are those of the step');
    is(logged(), 'GET /name 200 success [429, 200] status, status',
       'of each step');

    is(ask('GET', '/certificate')->{body}, " CN=tlsb\n",
       'the certificate for the upstream is that of the step');
    is(logged(), 'GET /certificate 200 success [429, 200] status, status',
       'of each step');

    ask('GET', '/kept') for 1 .. 3;
    is(vendor('tlsc', 3), '1:. 2:. 3:.',
       'the connection of a discarded reply is used again');

    # sessions: as without a chain, and each way's own

    for my $protocol ('TLSv1.2', 'TLSv1.3') {
        for my $reuse ('on', 'off') {
            my $uri = "/reuse/$protocol/$reuse";

            for my $time (1 .. 3) {
                is(ask('GET', $uri)->{status}, 200, "GET $uri");
                is(ask('GET', "/plain$uri")->{status}, 200, "GET /plain$uri");
            }

            my $plain = vendor('plaina', 3, "/plain$uri");

            is($plain, $reuse eq 'on' ? '1:. 1:r 1:r' : '1:. 1:. 1:.',
               "$protocol, sessions $reuse: plain");
            is(vendor($_, 3, $uri), $plain, "$protocol, sessions $reuse: $_")
                for qw(tlsa tlsb);
        }
    }

    # what speaks HTTP calls it a bad request, but it was asked

    is(ask('GET', '/suwsgi')->{status}, 400, 'suwsgi');
    is(logged(), 'GET /suwsgi 400 exhausted [502, 400] error, status',
       'suwsgi: the log');

    if ($v2) {
        my $a = ask('POST', '/grpc/s', $some);

        is("$a->{status} $a->{body}", '200 POST ' . sum($some) . "\n", 'grpcs');
        is(logged(), 'POST /grpc/s 200 success [502, 502, 200] '
                     . 'error, error, status', 'grpcs: the log');
        is(calls('/grpc/s'), 'inner_good ' . sum($some) . "\n",
           'grpcs: the requests');
    }
}


# ---- afterwards -------------------------------------------------------------

is($n->bad(), '', 'a clean log');
$n->signal('QUIT');
ok($n->ended(5), 'the end');
is($n->bad(), '', 'a clean log at the end');

done_testing();


sub said {
    my ($req) = @_;

    my $method = $req->{method} // $req->{h}{REQUEST_METHOD};

    return "$method " . sum($req->{body}) . "\n";
}


# memcached_pass allows nothing else, with or without a body

sub put {
    my ($kind) = @_;
    return $kind eq 'memcached' ? 'GET' : 'PUT';
}


# reads something of what comes, resets the connection

sub resetter {
    my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 100)
        or die "listen: $!";
    my $pid = fork() // die "fork: $!";

    if ($pid) {
        push @children, $pid;
        return $listen->sockport();
    }

    $SIG{TERM} = 'DEFAULT';

    while (my $s = $listen->accept()) {
        sysread $s, my $buf, 1000;
        setsockopt($s, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0));
        close $s;
    }

    POSIX::_exit(0);
}


sub certificates {
    my $new = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";

    openssl("req -x509 $new -days 30 -subj /CN=ca -keyout ca.key -out ca.pem");

    for my $name (@tls, 'tlsother') {
        my $names = $name eq 'tlsother' ? 'DNS:tlsother'
                                        : "DNS:$name,DNS:vendor.test";

        openssl("req $new -subj /CN=$name -addext subjectAltName=$names"
                . " -keyout $name.key -out $name.req");
        openssl("x509 -req -in $name.req -days 30 -CA ca.pem -CAkey ca.key"
                . " -CAcreateserial -copy_extensions copy -out $name.pem");
    }

    openssl("req -x509 $new -days 30 -subj /CN=vendor.test"
            . " -addext subjectAltName=DNS:vendor.test"
            . " -keyout tlsself.key -out tlsself.pem");
}


sub openssl {
    my ($command) = @_;

    my $out = `cd $certs && openssl $command 2>&1`;

    die "openssl $command: $out" if $?;
}


sub ask {
    my ($method, $uri, $body) = @_;

    ways_reset();

    return $n->until_logged(sub {
        $n->ask(request($method, $uri, $body // ''), timeout => 15);
    });
}


# without the numbers of connections and requests, and without the URI

sub calls {
    my ($uri) = @_;

    return join '', map { /^(\w+) \S+(.*)$/ && $2 !~ /^ cut$/
                          ? "$1" . ($2 =~ /( \d+:\w+)$/ ? $1 : '') . "\n" : () }
                        split /\n/, ways_calls();
}


# the last line of the access log, with the outcomes out of the trail

sub logged {
    my $line = (split /\n/, $n->access())[-1] // '';
    my ($start, $trail) = $line =~ /^(.*?\]) (\{.*\})$/ or return $line;

    return "$start " . join ', ', $trail =~ /"outcome":"([^"]+)"/g;
}


# what a vendor with TLS has got: the number of the request on its connection,
# and whether it was an old session

sub vendor {
    my ($way, $count, $uri) = @_;

    my @got;

    $n->wait_for(sub {
        @got = $n->slurp('logs/vendor.log')
               =~ m{^$way @{[ $uri // '\S+' ]} (\d+ \S)$}mg;
        return @got >= $count;
    });

    return join ' ', map { s/ /:/r } @got;
}


END {
    if ($$ == $owner && @children) {
        my $status = $?;

        kill 'TERM', @children;
        waitpid $_, 0 for @children;
        $? = $status;
    }
}
