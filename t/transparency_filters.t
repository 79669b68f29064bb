#!/usr/bin/perl

# A chain at http level must not change what the output filters make of a
# proxied reply, nor pages that are put together from subrequests.  See
# t/lib/Differ.pm.

use strict;
use warnings;

use File::Basename qw(dirname);
use lib dirname(__FILE__) . '/lib';

use Differ;

my $pass = 'proxy_pass http://127.0.0.1:%%BACKEND%%;';
my @cases;

my @html = ('Content-Type: text/html', 'X-Foo: bar');
my @text = ('Content-Type: text/plain', 'X-Foo: bar');
my @cond = ('ETag: "tag"', 'Last-Modified: Thu, 01 Jan 2009 00:00:00 GMT');
my @gzip = ('Accept-Encoding: gzip');

sub add { push @cases, {@_} }
sub loc { return "location / { $pass @_ }" }
sub always { my @a = @_; return sub { return @a } }
sub keep2 { return rq($_[0], keep => 1, @_[1 .. $#_]) . probe() }

# the three forms in which a vendor may send a body

sub forms {
    my ($h, @parts) = @_;

    return (
        ['length', sub { reply(200, $h, join '', @parts) }],
        ['chunked', sub { (reply(200, [@$h, 'Transfer-Encoding: chunked']),
                           chunked(@parts)) }],
        ['close', sub { (reply(200, $h), @parts, [close => 1]) }],
    );
}

my $page = "<html><head><title>quick</title></head>\n"
         . "<body>The quick brown fox and the quick dog.</body></html>\n";
my $long = join '', map { "<p>line $_ is quick</p>\n" } 1 .. 5000;


# ---- gzip ------------------------------------------------------------------

my $gz = 'gzip on; gzip_min_length 10; gzip_types text/plain;
    gzip_proxied any;';

for my $f (forms([@html, @cond], $page)) {
    add(name => "gzip-$f->[0]", want => qr/Content-Encoding: gzip/,
        conf => loc("$gz proxy_http_version 1.1;"), backend => $f->[1],
        req => [keep2('/', h => \@gzip), keep2('/'),
                keep2('HEAD /', h => \@gzip),
                rq('/', v => '1.0', h => \@gzip),
                keep2('/', h => [@gzip, 'Range: bytes=0-3']),
                keep2('/', h => [@gzip, 'Via: 1.1 x']),
                keep2('/', h => ['Accept-Encoding: gzip;q=0'])]);
}

for my $f (forms(\@html, $long)) {
    add(name => "gzip-long-$f->[0]", want => qr/Content-Encoding: gzip/,
        loose => ['bytes_sent', 'body_bytes_sent', 'gzip_ratio'],
        norm => \&unzip_sizes,
        conf => loc("$gz proxy_http_version 1.1; gzip_vary on;"),
        backend => $f->[1], req => [keep2('/', h => \@gzip), keep2('/')]);
}

# how zlib is fed decides about its bytes, so only that they are there counts

sub unzip_sizes {
    my ($t) = @_;
    $t =~ s/<\d+ bytes, [^>]*>/<zipped>/g if $t =~ /Encoding: gzip/;
    return $t;
}

add(name => 'gzip-unbuffered', loose => ['bytes_sent', 'body_bytes_sent',
        'gzip_ratio'], want => qr/Content-Encoding: gzip/,
    conf => loc("$gz proxy_buffering off; proxy_http_version 1.1;"),
    norm => sub { my $t = shift; $t =~ s/^(-- chunked: ).*/$1zipped/m; $t },
    backend => sub { (reply(200, [@html, 'Transfer-Encoding: chunked']),
        "3\r\none\r\n", [gate => 'go'], "3\r\ntwo\r\n0\r\n\r\n") },
    client => sub {
        my ($io) = @_;
        my $c = $io->conn();
        $c->send(rq('/', h => \@gzip));
        # flushed, or it would wait for more
        $c->seen(qr/\r\n\r\n[0-9a-f]+\r\n.+\r\n/s, 2);
        $io->gate('go');
        $c->eof();
    });

for my $end ('close', 'reset') {
    add(name => "gzip-short-$end", want => qr/NOT COMPLETE/,
        conf => loc("$gz proxy_http_version 1.1;"),
        loose => ['bytes_sent', 'body_bytes_sent', 'gzip_ratio'],
        norm => sub { my $t = shift;
                      $t =~ s/^(-- chunked, NOT.*?: ).*/$1zipped/ms; $t },
        req => keep2('/', h => \@gzip),
        backend => sub { (reply(200, [@html, 'Content-Length: 500']), $page,
                          [sleep => 0.02], [$end => 1]) });
}

add(name => 'gzip-empty', conf => loc($gz),
    backend => always(reply(200, \@html, '')),
    req => keep2('/', h => \@gzip));

add(name => 'gzip-empty-chunked', conf => loc("$gz proxy_http_version 1.1;"),
    backend => sub { (reply(200, [@html, 'Transfer-Encoding: chunked']),
                      chunked()) },
    req => keep2('/', h => \@gzip));

for my $s (204, 304, 403, 404, 500) {
    add(name => "gzip-status-$s", conf => loc("$gz gzip_vary on;"),
        backend => sub { reply($s, [@html, @cond],
                               $s == 204 || $s == 304 ? undef : $page) },
        req => keep2('/', h => \@gzip));
}

for my $p ('off', 'expired', 'no-cache', 'no-store', 'private',
           'no_last_modified', 'no_etag', 'auth', 'any')
{
    add(name => 'gzip-proxied-' . $p =~ s/_/-/gr,
        conf => loc("gzip on; gzip_min_length 1; gzip_proxied $p;"),
        backend => sub { reply(200, [@html, $_[0]{uri} eq '/x'
            ? 'Expires: Thu, 01 Jan 2009 00:00:00 GMT'
            : 'Cache-Control: no-cache, private'], $page) },
        req => [keep2('/', h => [@gzip, 'Via: 1.1 x']),
                keep2('/x', h => [@gzip, 'Via: 1.1 x']),
                keep2('/', h => [@gzip, 'Via: 1.1 x',
                                 'Authorization: Basic eA=='])]);
}

add(name => 'gzip-already', conf => loc($gz),
    backend => sub { reply(200, [@html, 'Content-Encoding: br'], $page) },
    req => keep2('/', h => \@gzip));

add(name => 'gzip-accept-encoding-map', want => qr/X-Ae: gzip/,
    http => 'map $http_accept_encoding $ae { ~gzip gzip; default ""; }',
    conf => loc("$gz proxy_set_header Accept-Encoding \$ae;
                 add_header X-Ae \$ae;"),
    backend => sub { reply(200, \@html, $page) },
    req => [keep2('/', h => ['Accept-Encoding: deflate, gzip']), keep2('/')]);


# ---- gunzip ----------------------------------------------------------------

my $zipped = eval {
    require Compress::Zlib;
    Compress::Zlib::memGzip($page);
};
my $zipped_long = $zipped ? Compress::Zlib::memGzip($long) : '';

if ($zipped) {
    for my $f (forms([@html, @cond, 'Content-Encoding: gzip'], $zipped)) {
        add(name => "gunzip-$f->[0]", need => ['gunzip'],
            want => qr/quick brown/,
            conf => loc('gunzip on; proxy_http_version 1.1;'),
            backend => $f->[1],
            req => [keep2('/'), keep2('/', h => \@gzip), keep2('HEAD /'),
                    rq('/', v => '1.0')]);
    }

    for my $f (forms([@html, 'Content-Encoding: gzip'], $zipped_long)) {
        add(name => "gunzip-long-$f->[0]", need => ['gunzip'],
            loose => ['bytes_sent', 'body_bytes_sent'],
            conf => loc('gunzip on; gunzip_buffers 2 4k; gzip_vary on;
                         gzip_proxied any; proxy_http_version 1.1;'),
            backend => $f->[1],
            req => [keep2('/'), keep2('/', h => \@gzip)]);
    }

    add(name => 'gunzip-short', need => ['gunzip'], want => qr/NOT COMPLETE/,
        loose => ['bytes_sent', 'body_bytes_sent'],
        conf => loc('gunzip on;'),
        backend => sub { (reply(200, [@html, 'Content-Encoding: gzip',
            'Content-Length: ' . length $zipped]), substr($zipped, 0, 40),
            [sleep => 0.02], [close => 1]) },
        req => keep2('/'));

    add(name => 'gunzip-bad-data', need => ['gunzip'],
        conf => loc('gunzip on;'),
        backend => sub { reply(200, [@html, 'Content-Encoding: gzip'],
                               'this is not gzip at all') },
        req => keep2('/'));

    add(name => 'gunzip-sub', need => ['gunzip', 'sub'], want => qr/slow brown/,
        conf => loc('gunzip on; sub_filter quick slow;
                     sub_filter_once off;'),
        backend => sub { reply(200, [@html, 'Content-Encoding: gzip'],
                               $zipped) },
        req => [keep2('/'), keep2('/', h => \@gzip)]);
}


# ---- sub_filter ------------------------------------------------------------

for my $f (forms([@html, @cond], 'The qui', 'ck brown fox, the quick',
                 ' dog, qui'))
{
    for my $once ('on', 'off') {
        add(name => "sub-$f->[0]-$once", need => ['sub'], want => qr/slow/,
            conf => loc("sub_filter quick slow; sub_filter ' dog' ' cat';
                sub_filter_once $once; proxy_http_version 1.1;"),
            backend => $f->[1],
            req => [keep2('/'), keep2('HEAD /'), rq('/', v => '1.0'),
                    keep2('/', h => ['Range: bytes=2-5'])]);
    }
}

# substitution that would show a second pass
add(name => 'sub-grows', need => ['sub'], want => qr/quickquick brown/,
    conf => loc('sub_filter quick quickquick; sub_filter_once off;'),
    backend => sub { reply(200, \@html, $page) }, req => keep2('/'));

add(name => 'sub-long', need => ['sub'],
    loose => ['bytes_sent', 'body_bytes_sent'],
    conf => loc('sub_filter "is quick" "was slow"; sub_filter_once off;
                 proxy_buffers 4 4k; proxy_buffer_size 4k;'),
    backend => sub { reply(200, \@html, $long) }, req => keep2('/'));

add(name => 'sub-long-file', need => ['sub'],
    loose => ['bytes_sent', 'body_bytes_sent'],
    conf => loc('sub_filter "is quick" "was slow"; sub_filter_once off;
                 proxy_buffers 4 4k; proxy_buffer_size 4k; sendfile on;'),
    backend => sub { reply(200, \@html, $long) },
    client => sub {
        my ($io) = @_;
        my $c = $io->conn(rcvbuf => 8192);
        $c->send(rq('/'));
        $io->pause(0.05);
        $c->slowly(32768, 0.005);
    });

add(name => 'sub-cached-file', need => ['sub'], want => qr/slow brown/,
    http => 'proxy_cache_path %%DIR%%/cache keys_zone=f:1m;',
    conf => loc('sub_filter quick slow; sub_filter_once off; sendfile on;
                 proxy_cache f; proxy_cache_valid 200 5m;
                 proxy_cache_key $host$uri;'),
    backend => sub { reply(200, [@html, @cond], $page) },
    req => [keep2('/'), keep2('/'), keep2('HEAD /'),
            keep2('/', h => ['If-None-Match: "tag"']),
            keep2('/', h => ['Range: bytes=0-9'])]);

add(name => 'sub-types', need => ['sub'],
    conf => loc('sub_filter quick slow; sub_filter_types text/plain;
                 sub_filter_last_modified on;'),
    backend => sub { reply(200, [@cond, 'Content-Type: '
        . ($_[0]{uri} eq '/a' ? 'text/plain' : 'application/json')],
        $page) }, req => [keep2('/a'), keep2('/b')]);

add(name => 'sub-variables', need => ['sub'], want => qr/bar 200/,
    conf => loc('sub_filter quick "$upstream_http_x_foo $upstream_status";
                 sub_filter $arg_x y;'),
    backend => sub { reply(200, \@html, $page) }, req => keep2('/?x=fox'));

add(name => 'sub-short', need => ['sub'], want => qr/NOT COMPLETE/,
    conf => loc('sub_filter quick slow; sub_filter_once off;'),
    backend => sub { (reply(200, [@html, 'Content-Length: 500']), $page,
                      [sleep => 0.02], [close => 1]) },
    req => keep2('/'));

add(name => 'sub-404', need => ['sub'], want => qr/slow/,
    conf => loc('sub_filter quick slow;'),
    backend => sub { reply(404, \@html, $page) }, req => keep2('/'));

add(name => 'sub-unbuffered', need => ['sub'], want => qr/slow/,
    conf => loc('sub_filter quick slow; proxy_buffering off;
                 proxy_http_version 1.1;'),
    backend => sub { (reply(200, [@html, 'Content-Length: 7']), 'a q',
                      [sleep => 0.03], 'uick') },
    req => keep2('/'));


# ---- addition --------------------------------------------------------------

my $parts = 'location /before { proxy_pass http://127.0.0.1:%%BACKEND%%;
    proxy_set_header X-Part before; }
    location /after { proxy_pass http://127.0.0.1:%%BACKEND%%;
    proxy_set_header X-Part after; }
    location /static/ { alias %%HTML%%/; }
    location /long { proxy_pass http://127.0.0.1:%%BACKEND%%; }
    location /slow { proxy_pass http://127.0.0.1:%%BACKEND%%; }
    location /fails { proxy_pass http://127.0.0.1:%%REFUSED%%; }';

my $by_uri = sub {
    my ($r) = @_;
    my $u = $r->{uri};

    return ([sleep => 0.1], reply(200, \@html, "[slow $u]")) if $u =~ /^.slow/;
    return reply(200, \@html, $long) if $u =~ /^.long/;
    return reply(404, \@html, "[missing $u]") if $u =~ /^.missing/;
    return reply(200, \@html, "[$u " . ($r->{h}{'x-part'}[0] // '') . ']')
        if $u ne '/';
    return reply(200, [@html, @cond], $page);
};

for my $t (['both', 'add_before_body /before; add_after_body /after;'],
           ['static', 'add_before_body /static/err.html;
             add_after_body /static/page.txt;'],
           ['slow', 'add_before_body /slow/1; add_after_body /slow/2;'],
           ['long', 'add_before_body /long; add_after_body /long;'],
           ['fails', 'add_before_body /fails; add_after_body /after;'])
{
    my ($k, $conf) = @$t;

    add(name => "addition-$k", need => ['addition'], unordered => 1,
        loose => $k eq 'long' ? ['bytes_sent', 'body_bytes_sent'] : [],
        conf => loc($conf) . $parts, backend => $by_uri,
        two => $k eq 'fails' ? 0 : 1,
        req => [keep2('/'), keep2('HEAD /'), rq('/', v => '1.0'),
                keep2('/', h => ['Range: bytes=0-5'])]);
}

add(name => 'addition-long-page', need => ['addition'], unordered => 1,
    loose => ['bytes_sent', 'body_bytes_sent'], want => qr/chunked: </,
    conf => loc('add_before_body /before; add_after_body /slow;') . $parts,
    backend => sub {
        my ($r) = @_;
        return reply(200, \@html, $long) if $r->{uri} eq '/';
        return $by_uri->($r);
    }, req => keep2('/'));

add(name => 'addition-slow-client', need => ['addition'], unordered => 1,
    loose => ['bytes_sent', 'body_bytes_sent'],
    conf => loc('add_before_body /long; add_after_body /after;
                 proxy_buffers 4 4k; proxy_max_temp_file_size 0;') . $parts,
    backend => sub {
        my ($r) = @_;
        return reply(200, \@html, $long) if $r->{uri} eq '/';
        return $by_uri->($r);
    },
    client => sub {
        my ($io) = @_;
        my $c = $io->conn(rcvbuf => 8192);
        $c->send(rq('/'));
        $io->pause(0.05);
        $c->slowly(32768, 0.005);
    });

add(name => 'addition-short', need => ['addition'], unordered => 1,
    conf => loc('add_before_body /before; add_after_body /after;') . $parts,
    backend => sub {
        my ($r) = @_;
        return (reply(200, [@html, 'Content-Length: 500']), $page,
                [sleep => 0.02], [close => 1]) if $r->{uri} eq '/';
        return $by_uri->($r);
    }, req => keep2('/'));

add(name => 'addition-types', need => ['addition'],
    conf => loc('add_after_body /after; addition_types text/plain;') . $parts,
    backend => sub {
        my ($r) = @_;
        return reply(200, ['Content-Type: text/plain'], "plain\n")
            if $r->{uri} eq '/';
        return $by_uri->($r);
    }, req => keep2('/'));

add(name => 'addition-post', need => ['addition'], unordered => 1,
    conf => loc('add_after_body /after;') . $parts, backend => $by_uri,
    req => keep2('POST /', body => 'the body'));

add(name => 'addition-404', need => ['addition'], unordered => 1,
    conf => loc('add_after_body /after;') . $parts,
    backend => sub {
        my ($r) = @_;
        return reply(404, \@html, "none\n") if $r->{uri} eq '/';
        return $by_uri->($r);
    }, req => keep2('/'));


# ---- ssi -------------------------------------------------------------------

my %ssi = (
    plain => 'before <!--#echo var="uri" --> after',
    include => 'a <!--#include virtual="/before" --> b',
    two => 'a <!--#include virtual="/before" --> b '
           . '<!--#include virtual="/after?x=y" --> c',
    same => 'a <!--#include virtual="/before" --> b '
            . '<!--#include virtual="/before" --> c',
    wait => 'a <!--#include virtual="/slow/1" wait="yes" --> b '
            . '<!--#include virtual="/after" --> c',
    slow => '<!--#include virtual="/slow/1" -->-'
            . '<!--#include virtual="/slow/2" -->-'
            . '<!--#include virtual="/before" -->',
    static => 'a <!--#include virtual="/static/err.html" --> b '
              . '<!--#include file="static/page.txt" --> c',
    missing => 'a <!--#include virtual="/missing" --> b '
               . '<!--#include virtual="/static/none" --> c',
    fails => 'a <!--#include virtual="/fails" --> b '
             . '<!--#include virtual="/after" --> c',
    stub => '<!--# block name="one" -->stub<!--# endblock -->'
            . '<!--#include virtual="/missing" stub="one" -->'
            . '<!--#include virtual="/static/empty.txt" stub="one" --> c',
    set => '<!--#include virtual="/before" set="x" -->'
           . '(<!--#echo var="x" encoding="none" -->)',
    cond => '<!--#if expr="$arg_a = b" -->yes<!--#else -->no<!--#endif -->'
            . '<!--#set var="q" value="w$arg_a" --><!--#echo var="q" -->',
    vars => '<!--#echo var="upstream_http_x_foo" -->|'
            . '<!--#echo var="upstream_status" -->|'
            . '<!--#echo var="request_method" -->|'
            . '<!--#echo var="sent_http_x_foo" -->|'
            . '<!--#echo var="date_gmt" --><!--#config timefmt="x" -->',
    long => $long . '<!--#include virtual="/slow/m" -->' . $long
            . '<!--#include virtual="/long" -->' . $long . 'end',
    unknown => 'a <!--#nonsense x="y" --> b <!--#include none --> c',
    open => 'a <!--#include virtual="/before" ',
    nested => 'a <!--#include virtual="/ssi/include" --> b '
              . '<!--#include virtual="/ssi/wait" --> c',
    many => join(' ', map { "<!--#include virtual=\"/before/$_\" -->" }
                      1 .. 20),
    alone => '<!--#include virtual="/before" -->',
    nothing => '',
);

for my $k (sort keys %ssi) {
    next if $k eq 'vars';

    for my $b (['', ''], ['-unbuffered', 'proxy_buffering off;'],
               ['-proxied-http11', 'proxy_http_version 1.1;'])
    {
        my ($suffix, $conf) = @$b;
        next if $suffix ne '' && $k !~ /^(?:two|slow|long|nested|wait)$/;

        add(name => "ssi-$k$suffix", unordered => 1, need => [],
            two => $k eq 'fails' ? 0 : 1,
            loose => $k eq 'long' ? ['bytes_sent', 'body_bytes_sent'] : [],
            conf => loc("ssi on; $conf")
                    . "location /ssi/ { $pass ssi on; }" . $parts,
            backend => sub {
                my ($r) = @_;
                my ($p) = $r->{uri} =~ m{^/ssi/(\w+)};
                return reply(200, [@html, @cond], $ssi{$p}) if $p;
                return reply(200, [@html, @cond], $ssi{$k})
                    if $r->{uri} =~ m{^/(?:\?|$)};
                return $by_uri->($r);
            },
            req => $suffix ne '' ? keep2('/')
                : [keep2('/?a=b'), keep2('HEAD /'), rq('/', v => '1.0'),
                   keep2('POST /', body => 'posted body')]);
    }
}

add(name => 'ssi-vars', unordered => 1, want => qr/bar\|200/,
    conf => loc('ssi on;'),
    norm => sub { my $t = shift; $t =~ s/\w+day, [^<\n"]*GMT/DATE/g; $t },
    backend => always(reply(200, \@html, $ssi{vars})), req => keep2('/'));

add(name => 'ssi-main-static', want => qr/\[\/before/, unordered => 1,
    conf => 'location / { ssi on; ssi_types text/plain; }' . $parts,
    backend => $by_uri, norun => 1,
    req => [keep2('/ssi.txt'), keep2('HEAD /ssi.txt')]);

add(name => 'ssi-slow-client', unordered => 1,
    loose => ['bytes_sent', 'body_bytes_sent'],
    conf => loc('ssi on; proxy_buffers 4 4k; proxy_max_temp_file_size 0;')
            . $parts,
    backend => sub {
        my ($r) = @_;
        return reply(200, \@html, $ssi{long}) if $r->{uri} eq '/';
        return $by_uri->($r);
    },
    client => sub {
        my ($io) = @_;
        my $c = $io->conn(rcvbuf => 8192);
        $c->send(rq('/'));
        $io->pause(0.15);
        $c->slowly(65536, 0.004);
    });

add(name => 'ssi-abort', unordered => 1, want => qr/status: 200/,
    loose => ['bytes_sent', 'body_bytes_sent'], anytime => 1,
    conf => loc('ssi on;') . $parts,
    backend => sub {
        my ($r) = @_;
        return reply(200, \@html, $ssi{two}) if $r->{uri} eq '/';
        return ([gate => 'never'], $by_uri->($r));
    },
    client => sub {
        my ($io) = @_;
        my $c = $io->conn();
        $c->send(rq('/'));
        $io->requests(3);
        $c->close();
    });

add(name => 'ssi-short', unordered => 1,
    conf => loc('ssi on;') . $parts,
    backend => sub {
        my ($r) = @_;
        return (reply(200, [@html, 'Content-Length: 500']), $ssi{two},
                [sleep => 0.02], [close => 1]) if $r->{uri} eq '/';
        return $by_uri->($r);
    }, req => keep2('/'));

add(name => 'ssi-short-part', unordered => 1,
    conf => loc('ssi on;') . $parts,
    backend => sub {
        my ($r) = @_;
        return reply(200, \@html, $ssi{two}) if $r->{uri} eq '/';
        return (reply(200, [@html, 'Content-Length: 500']), 'part',
                [sleep => 0.02], [close => 1]);
    }, req => keep2('/'));

add(name => 'ssi-redirected-part', unordered => 1, want => qr/\[\/after/,
    conf => loc('ssi on;') . $parts,
    backend => sub {
        my ($r) = @_;
        return reply(200, \@html, $ssi{include}) if $r->{uri} eq '/';
        return reply(200, ['X-Accel-Redirect: /after/x'], 'no')
            if $r->{uri} =~ /before/;
        return $by_uri->($r);
    }, req => keep2('/'));

add(name => 'ssi-error-page-part', unordered => 1, want => qr/named part/,
    conf => loc('ssi on;') . "location /before { $pass
        proxy_intercept_errors on; error_page 500 = \@n; }
        location \@n { return 200 'named part'; }",
    backend => sub {
        my ($r) = @_;
        return reply(200, \@html, $ssi{include}) if $r->{uri} eq '/';
        return reply(500, \@html, 'no');
    }, req => keep2('/'));

add(name => 'ssi-in-error-page', unordered => 1, want => qr/\[\/before/,
    conf => loc('proxy_intercept_errors on; error_page 500 /e;')
        . "location = /e { $pass ssi on; }" . $parts,
    backend => sub {
        my ($r) = @_;
        return reply(500, \@html, 'no') if $r->{uri} eq '/';
        return reply(200, \@html, $ssi{include}) if $r->{uri} eq '/e';
        return $by_uri->($r);
    }, req => keep2('/'));

add(name => 'ssi-cached', unordered => 1, want => qr/\[\/before/,
    http => 'proxy_cache_path %%DIR%%/cache2 keys_zone=g:1m;',
    conf => loc('ssi on; proxy_cache g; proxy_cache_valid 200 5m;
                 proxy_cache_key $host$uri; sendfile on;')
        . "location /before { $pass proxy_cache g; sendfile on;
           proxy_cache_valid 200 5m; proxy_cache_key \$host\$uri; }",
    backend => sub {
        my ($r) = @_;
        return reply(200, [@html, @cond], $ssi{include}) if $r->{uri} eq '/';
        return reply(200, [@html, @cond], '') if $r->{uri} =~ /empty/;
        return $by_uri->($r);
    }, req => [keep2('/'), keep2('/'), keep2('HEAD /')]);

add(name => 'ssi-last-modified', unordered => 1,
    conf => loc('ssi on; ssi_last_modified on;') . $parts,
    backend => sub {
        my ($r) = @_;
        return reply(200, [@html, @cond], $ssi{include}) if $r->{uri} eq '/';
        return $by_uri->($r);
    }, req => [keep2('/'), keep2('/', h => ['Range: bytes=0-2'])]);

add(name => 'ssi-auth-mirror', unordered => 1, need => ['auth_request'],
    conf => loc('ssi on; auth_request /before; mirror /mir;')
        . "location = /mir { internal; $pass }" . $parts,
    backend => sub {
        my ($r) = @_;
        return reply(200, [@html, @cond], $ssi{include}) if $r->{uri} eq '/';
        return $by_uri->($r);
    }, req => [keep2('/')]);


# ---- charset ---------------------------------------------------------------

my $umlauts = "gr\xfc\xdfe aus k\xf6ln\n";

add(name => 'charset', want => qr/charset=koi8-r/,
    conf => loc('charset koi8-r;'),
    backend => sub { reply(200, \@html, $page) }, req => keep2('/'));

add(name => 'charset-recode', want => qr/charset=utf-8/,
    http => 'charset_map iso-8859-1 utf-8 { fc c3bc; df c39f; f6 c3b6; }',
    conf => loc('charset utf-8; source_charset iso-8859-1;
                 charset_types text/plain;'),
    backend => sub { reply(200, \@text, $umlauts) },
    req => [keep2('/'), keep2('HEAD /'), rq('/', v => '1.0'),
            keep2('/', h => ['Range: bytes=0-3'])]);

add(name => 'charset-override', want => qr/charset=utf-8/,
    conf => loc('charset utf-8; override_charset on;'),
    backend => sub { reply(200, ['Content-Type: text/html; charset='
        . ($_[0]{uri} eq '/a' ? 'iso-8859-1' : 'unknown')], $umlauts) },
    req => [keep2('/a'), keep2('/b')]);

add(name => 'charset-accel', want => qr/charset=iso-8859-1/,
    conf => loc('charset utf-8; override_charset on;'),
    backend => sub { reply(200, [@html, 'X-Accel-Charset: iso-8859-1'],
                           $umlauts) }, req => keep2('/'));

add(name => 'charset-long',
    loose => ['bytes_sent', 'body_bytes_sent'],
    conf => loc('charset utf-8; source_charset iso-8859-1;'),
    backend => sub { reply(200, \@html, $umlauts x 20_000) },
    req => keep2('/'));

add(name => 'charset-ssi', unordered => 1,
    conf => loc('charset utf-8; source_charset iso-8859-1; ssi on;')
        . "location /in { $pass charset iso-8859-1; }
           location /in2 { $pass charset utf-8; override_charset on; }",
    backend => sub {
        my ($r) = @_;
        return reply(200, \@html, "\xfc<!--#include virtual=\"/in\" -->\xf6"
                                  . '<!--#include virtual="/in2" -->')
            if $r->{uri} eq '/';
        return reply(200, ['Content-Type: text/html; charset=iso-8859-1'],
                     $umlauts);
    }, req => keep2('/'));


# ---- all together ----------------------------------------------------------

add(name => 'together', need => ['sub', 'addition'], unordered => 1,
    loose => ['bytes_sent', 'body_bytes_sent'], want => qr/slow brown/,
    conf => loc('ssi on; sub_filter quick slow; sub_filter_once off;
        add_before_body /before; add_after_body /after; charset utf-8;
        add_trailer X-T $upstream_status; expires 1h;
        add_header X-A $upstream_http_x_foo; proxy_force_ranges on;')
        . $parts,
    backend => sub {
        my ($r) = @_;
        return reply(200, [@html, @cond], "$ssi{two} $page")
            if $r->{uri} eq '/';
        return $by_uri->($r);
    },
    req => [keep2('/'), keep2('HEAD /'), rq('/', v => '1.0'),
            keep2('/', h => ['Range: bytes=0-5', 'If-None-Match: "tag"'])]);

add(name => 'together-zipped', need => ['sub', 'addition'], unordered => 1,
    loose => ['bytes_sent', 'body_bytes_sent', 'gzip_ratio'],
    want => qr/Content-Encoding: gzip/,
    norm => sub { my $t = shift; $t =~ s/^(-- chunked: ).*?(?=\n-- conn)/$1z/ms;
                  $t },
    conf => loc("ssi on; sub_filter quick slow; add_after_body /after; $gz")
        . $parts,
    backend => sub {
        my ($r) = @_;
        return reply(200, [@html, @cond], "$ssi{two} $page")
            if $r->{uri} eq '/';
        return $by_uri->($r);
    }, req => rq('/', h => \@gzip));

add(name => 'range-filters', need => ['sub'], want => qr/ 206 /,
    conf => loc('proxy_force_ranges on; sub_filter zzz yyy;
                 sub_filter_types text/css; gzip on; gzip_min_length 1;'),
    backend => sub { reply(200, [@text, @cond], $page) },
    req => [keep2('/', h => ['Range: bytes=0-5']),
            keep2('/', h => ['Range: bytes=0-5', @gzip])]);

add(name => 'secure-link', need => ['secure_link'],
    conf => loc('secure_link $arg_h; secure_link_md5 "$uri s";
        add_header X-S "[$secure_link]" always;
        proxy_set_header X-S "[$secure_link]";'),
    backend => sub { reply(200, \@text, $page) },
    req => keep2('/?h=x'));

add(name => 'browser-geo-split', http => 'geo $geo { default g; }
        split_clients $uri $sc { 50% a; * b; }
        map $geo$sc $both { volatile; default $geo-$sc; }',
    conf => loc('proxy_set_header X-G "$geo $both $modern_browser";
        add_header X-G "$geo $both $ancient_browser";'),
    backend => sub { reply(200, \@text, $page) },
    req => [keep2('/1'), keep2('/2')]);


differ(cases => \@cases, files => {
    'ssi.txt' => 'a <!--#include virtual="/before" --> b '
                 . '<!--#include virtual="/slow/x" --> c',
});
