#!/usr/bin/perl

# A chain at http level must not change what HTTP/3 clients meet.  See
# t/lib/Differ.pm.

use strict;
use warnings;

use File::Basename qw(dirname);
use Test::More;
use lib dirname(__FILE__) . '/lib';

use Differ;
use Slack qw(stretch);

my $pass = 'proxy_pass http://127.0.0.1:%%BACKEND%%;';
my @cases;

my @h = ('Content-Type: text/plain', 'X-Foo: bar');
my @cond = ('ETag: "tag"', 'Last-Modified: Thu, 01 Jan 2009 00:00:00 GMT',
            'Accept-Ranges: bytes');
my $body = "The quick brown fox.\n";

if (!nginx_has('v3') || !nginx_at('1.25.0')) {
    plan(skip_all => 'nginx is built without HTTP/3');
}

if (`curl -V 2>&1` !~ /HTTP3/) {
    plan(skip_all => 'no curl with HTTP/3');
}

my %files = differ_certificate();

if (!%files) {
    plan(skip_all => 'no openssl');
}

sub loc { return "location / { $pass @_ }" }


# what curl says, without times

sub curl {
    my ($io, @arg) = @_;

    my @uri = map { "https://%%NAME%%:%%H3%%$_" } grep { m{^/} } @arg;
    my @opt = grep { !m{^/} } @arg;

    $io->program('curl', 'curl', '-sSik', '-m', '20', '--http3-only',
                 '--resolve', '%%NAME%%:%%H3%%:127.0.0.1', @opt, @uri);

    my $note = Differ::Client::clean($io->{notes}[-1]);

    $note =~ s/^(curl: \(\d+\)).*/$1/mg;
    $note =~ s/^date: .*/date: now/mg;
    $io->{notes}[-1] = $note;
}


# how much has come

sub size {
    my ($io) = @_;

    curl($io, '-w', '%{http_code}, %{size_download} bytes',
         "-o$io->{home}/body", '/a');
}


sub h3 {
    my (%arg) = @_;

    push @cases, {
        listen => 'H3', unordered => 1, anytime => 1,
        loose => ['bytes_sent', 'body_bytes_sent', 'request_length',
                  'connection_requests'],
        backend => sub { reply(200, \@h, $body) },
        client => sub { curl($_[0], @{ $arg{args} || ['/a'] }) },
        %arg,
        conf => "ssl_certificate %%HTML%%/cert.pem;
            ssl_certificate_key %%HTML%%/key.pem; $arg{conf}",
        need => ['v3', 'ssl', @{ $arg{need} || [] }],
    };
}


for my $b (['', ''], ['-unbuffered', 'proxy_buffering off;'],
           ['-http11', 'proxy_http_version 1.1;'])
{
    my ($k, $conf) = @$b;

    h3(name => "h3$k", conf => loc($conf), want => [qr/HTTP\/3 200/, qr/fox/],
       args => ['/a', '/b', '/c']);

    h3(name => "h3-head$k", conf => loc($conf), args => ['-I', '/a']);

    h3(name => "h3-big$k", conf => loc($conf), want => qr/ 700\d{3} bytes/,
       client => \&size, backend => sub { reply(200, \@h, big(700_000)) });

    h3(name => "h3-short$k", conf => loc($conf), want => qr/exit code (?!0)/,
       client => \&size,
       backend => sub { (reply(200, [@h, 'Content-Length: 100']), $body,
                         [sleep => 0.02], [close => 1]) });

    h3(name => "h3-empty$k", conf => loc($conf),
       backend => sub { reply(200, \@h, '') });

    h3(name => "h3-204-304$k", conf => loc($conf), args => ['/204', '/304'],
       backend => sub { reply($_[0]{uri} =~ /(\d+)/, \@h) });
}

h3(name => 'h3-short-chunked', conf => loc('proxy_http_version 1.1;'),
   want => qr/exit code (?!0)/, client => \&size,
   backend => sub { (reply(200, [@h, 'Transfer-Encoding: chunked']),
                     "5\r\nabcde\r\n", [sleep => 0.02], [close => 1]) });

h3(name => 'h3-extra', conf => loc('proxy_http_version 1.1;'),
   backend => sub { reply(200, \@h, $body) . 'more' });

h3(name => 'h3-trailers', at => '1.27.2', want => qr/x-t: yes/,
   conf => loc('proxy_http_version 1.1; proxy_pass_trailers on;
                proxy_set_header TE trailers;
                proxy_set_header Connection TE;'),
   args => ['-H', 'TE: trailers', '/a'],
   backend => sub { (reply(200, [@h, 'Transfer-Encoding: chunked',
                     'Trailer: X-T']), "2\r\nok\r\n0\r\nX-T: yes\r\n\r\n") });

h3(name => 'h3-post', conf => loc('client_body_buffer_size 1k;'),
   want => qr/got 5/, args => ['-d', 'a=b&c', '/a'],
   backend => sub { reply(200, [], 'got ' . length $_[0]{body}) });

h3(name => 'h3-post-big', conf => loc('client_body_buffer_size 1k;'),
   want => qr/got 60000/, loose => ['request_body', 'bytes_sent',
   'body_bytes_sent', 'request_length', 'connection_requests'],
   files => sub { '' },
   client => sub {
       my ($io) = @_;
       my $f = "$io->{home}/post";
       open my $fh, '>', $f or die $!;
       print $fh big(60_000);
       close $fh;
       curl($io, '--data-binary', "\@$f", '/a');

       # without a length
       curl($io, '-T', $f, '-H', 'Content-Length:', '/a');
   },
   backend => sub { reply(200, [], 'got ' . length $_[0]{body}) });

# whether the body has come when it is asked for, is chance

h3(name => 'h3-post-unbuffered', norun => 1, want => qr/got 5/,
   loose => ['request_body', 'bytes_sent', 'body_bytes_sent',
             'request_length', 'connection_requests'],
   conf => loc('proxy_request_buffering off; proxy_http_version 1.1;'),
   args => ['-d', 'a=b&c', '/a'],
   backend => sub { reply(200, [], 'got ' . length $_[0]{body}) });

h3(name => 'h3-error-page', want => qr/named/,
   conf => loc('proxy_intercept_errors on; error_page 500 = @n;')
       . 'location @n { add_header X-N named; return 200 named; }',
   backend => sub { reply(500, \@h, $body) });

h3(name => 'h3-redirect', want => qr/403/,
   conf => "location / { $pass } location /no { deny all; }",
   backend => sub { reply(200, ['X-Accel-Redirect: /no'], 'x') });

h3(name => 'h3-range', want => [qr/206/, qr/416/],
   conf => loc('proxy_force_ranges on;'),
   backend => sub { reply(200, [@h, @cond], $body) },
   client => sub {
       my ($io) = @_;
       curl($io, '-r', '0-3', '/a');
       curl($io, '-r', '900-', '/a');
       curl($io, '-H', 'If-None-Match: "tag"', '/a');
   });

h3(name => 'h3-cache', want => qr/HIT/,
   http => 'proxy_cache_path %%DIR%%/h3cache keys_zone=h3:1m;',
   conf => loc('proxy_cache h3; proxy_cache_key $host$uri;
       proxy_cache_valid 200 5m;
       add_header X-Cache $upstream_cache_status;'),
   backend => sub { reply(200, [@h, @cond], $body) },
   client => sub { curl($_[0], '/a') for 1 .. 2 });

h3(name => 'h3-ssi', conf => loc('ssi on;'), want => qr/a \[b\] c/,
   backend => sub { reply(200, ['Content-Type: text/html'],
       $_[0]{uri} eq '/a' ? 'a <!--#include virtual="/b" --> c' : '[b]') });

h3(name => 'h3-gzip', args => ['--compressed', '/a'], want => qr/encoding: gzip/,
   conf => loc('gzip on; gzip_types *; gzip_min_length 1;'),
   backend => sub { reply(200, \@h, $body x 20) });

h3(name => 'h3-auth-mirror', need => ['auth_request'],
   conf => loc('auth_request /b; mirror /c;')
       . "location /b { internal; $pass } location /c { internal; $pass }");

h3(name => 'h3-refused', two => 0, want => qr/502/,
   conf => 'location / { proxy_pass http://127.0.0.1:%%REFUSED%%; }');

h3(name => 'h3-hints', at => '1.29.0', want => [qr/103/, qr/fox/],
   conf => loc('proxy_http_version 1.1; early_hints 1;'),
   backend => sub { ("HTTP/1.1 103 Early\r\nLink: </a>; rel=preload\r\n\r\n",
                     [sleep => 0.05], reply(200, \@h, $body)) });

# a client that leaves

h3(name => 'h3-abort', conf => loc(), want => qr/status: 499/, norun => 0,
   backend => sub { ([gate => 'never'], reply(200, \@h, $body)) },
   args => ['-m', 0.3 * stretch(), '/a']);

h3(name => 'h3-abort-body', conf => loc('proxy_buffering off;'),
   backend => sub { (reply(200, [@h, 'Content-Length: 100']), 'one',
                     [eof => 1]) },
   args => ['-m', 0.3 * stretch(), '/a']);

differ(cases => \@cases, files => \%files);
