package RetryChain;

# What the Test::Nginx files of this module share: upstreams and a vendor with a
# script, the log lines that prove the order of events, and the checks that
# every block gets.  It adds these sections to a block:
#
#   --- chain       directives of a "location /" with
#                   proxy_pass http://$retry_chain_upstream
#   --- script      what the vendor says to the first attempt, the second ...:
#                   a status code, or a word of %words below; later ones: 200
#
# Without --- request it is "GET /".  Without --- grep_error_log, what
# --- grep_error_log_out shows is one line
#
#   vendor: STEP WORD                      for each call that the vendor got
#   retry chain attempt ... failed: ...
#   retry chain ended: RESULT, N attempts
#   front: STATUS RESULT, STEPS: STATUSES  for each request of the client
#
# in the order of events: vendor and front write their access logs to
# error.log, too.

use strict;
use warnings;

use File::Temp qw(tempdir);
use IO::Socket::INET;
use IO::Socket::UNIX;
use Socket qw(SOCK_STREAM);
use Test::Nginx::Util qw(add_block_preprocessor no_root_location);

use BlockLogs;

our $grep = qr/(?:vendor|front):\ .* | retry\ chain\ (?:
                   attempt\ \S+\ to\ "\S+"\ failed:\ [\w ]+,
                       \ (?: retrying\ in\ \d+\ ms | no\ other\ attempt:\ \w+ )
                   | ended:\ \w+,\ \d+\ attempts? )/x;

my %words = (
    # closes the connection without an answer
    close => 'return 444;',

    # a header that does not fit in the buffer of a proxy
    big   => join(' ', map { "add_header X-Big-$_ " . 'x' x 1500 . ';' } 1 .. 8)
             . ' return 200 "big\n";',

    # never answers
    hang  => 'proxy_pass http://unix:$TEST_NGINX_HANG_SOCKET:/;'
             . ' proxy_read_timeout 60s;',

    # sends a header and a part of the body, no more
    part  => 'postpone_output 0; addition_types *; add_after_body /=hang;'
             . ' return 200 "a part of it\n";',
);

my (@sockets, $dir);

if (my $spare = $ENV{TEST_NGINX_SPARE_PORT}) {
    $ENV{"TEST_NGINX_RAND_PORT_$_"} = $spare + $_ - 1 for 1 .. 3;
}


add_block_preprocessor(sub {
    my ($block) = @_;

    my $http = defined $block->http_config ? $block->http_config : '';
    my $config = defined $block->config ? $block->config : '';

    if (defined $block->chain) {
        my $chain = $block->chain;

        $config .= "location / {\n$chain\n"
                   . "proxy_pass http://\$retry_chain_upstream;\n}\n";
    }

    $block->set_value('config', $config);
    $block->set_value('http_config', vendor($block->script) . $http);

    open_sockets("$http$config" . ($block->script // ''));

    if (!defined $block->request && !defined $block->raw_request
        && !defined $block->must_die)
    {
        $block->set_value('request', "GET /\n");
    }

    if (defined $block->grep_error_log_out && !defined $block->grep_error_log) {
        $block->set_value('grep_error_log', $grep);
    }

    my $none = $block->no_error_log;
    my @none = !defined $none ? () : ref $none eq 'ARRAY' ? @$none
             : ref $none ? $none : split /\n+/, $none;

    push @none, '[alert]', '[crit]';
    push @none, '[emerg]' if !defined $block->must_die;

    $block->set_value('no_error_log', \@none);
});


no_root_location();


sub vendor {
    my ($script) = @_;

    my @words = split ' ', $script // '';
    my %seen = (200 => 1, map { $_ => 1 } @words);

    $seen{hang} = 1 if $seen{part};

    my $n = 0;
    my $map = join "\n", map { $n++; "$n $_;" } @words;
    my $places = join "\n", map { "location = /=$_ { " . place($_) . " }" }
                            sort keys %seen;
    my $ways = join "\n", map { "upstream $_ {"
                                . ' server 127.0.0.1:$TEST_NGINX_RAND_PORT_1;'
                                . ' }' }
                          map { "proxy$_" } 1 .. 5;

    return <<"EOC";
log_format vendor 'vendor: \$host \$vendor_word';
log_format front 'front: \$status \$retry_chain_result, '
                 '\$retry_chain_steps: \$retry_chain_statuses';
access_log logs/error.log front;

proxy_http_version 1.0;
proxy_set_header X-Attempt \$retry_chain_attempt;

$ways
upstream refused { server 127.0.0.1:\$TEST_NGINX_RAND_PORT_2; }

map \$http_x_attempt \$vendor_word {
default 200;
$map
}

server {
    listen 127.0.0.1:\$TEST_NGINX_RAND_PORT_1;
    server_name vendor;
    access_log logs/error.log vendor;
    lingering_close off;
    retry_chain off;
    default_type text/plain;
    location / { rewrite ^ /=\$vendor_word last; }
$places
}
EOC
}


sub place {
    my ($word) = @_;

    my $from = 'add_header X-From $host always;'
               . " add_header X-Said-$word yes always;";

    return $words{$word} // die "unknown word in script: $word"
        if $word !~ /^\d+$/;

    return "$from return $word http://example.com/\$host;"
        if $word =~ /^30[12378]$/;

    return "$from return $word;" if $word == 204 || $word == 304;

    return "$from return $word \"\$host $word\\n\";";
}


# upstreams that accept no connection, or accept it and say nothing; they are
# made when a block needs them first

sub open_sockets {
    my ($text) = @_;

    if ($text =~ /\b(?:hang|part)\b|HANG_SOCKET/
        && !defined $ENV{TEST_NGINX_HANG_SOCKET})
    {
        $dir = tempdir('retry_chain.XXXXXX', TMPDIR => 1, CLEANUP => 1);

        push @sockets, IO::Socket::UNIX->new(Local => "$dir/hang", Listen => 100,
                                             Type => SOCK_STREAM)
                       || die "$dir/hang: $!";
        $ENV{TEST_NGINX_HANG_SOCKET} = "$dir/hang";
    }

    if ($text =~ /STUCK_PORT/ && !defined $ENV{TEST_NGINX_STUCK_PORT}) {
        my $full = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1)
                   || die "socket: $!";

        listen $full, 0;

        $ENV{TEST_NGINX_STUCK_PORT} = $full->sockport;

        push @sockets, $full, map { IO::Socket::INET->new(
                                        PeerAddr => '127.0.0.1',
                                        PeerPort => $full->sockport,
                                        Blocking => 0) } 1 .. 3;
        select undef, undef, undef, 0.05;
    }
}


1;
