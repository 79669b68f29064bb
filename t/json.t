#!/usr/bin/perl

# retry_chain_json: a success whose body says otherwise.  What is held back and
# what passes as it comes, in every way in which a body comes; and
# retry_chain_error_json: errors that nobody has sent.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Compress::Zlib qw(memGzip);
use JSON::PP qw(decode_json);
use Test::More;
use Time::HiRes qw(sleep time);

use Ways;
use Ways::Nginx qw(request);

my $json = 'Content-Type: application/json';
my $bad = '{"error":{"code":429,"message":"slow down"},"ok":false}';
my $good = '{"data":[1,2,{"x":"' . 'y' x 1000 . '"}],"ok":true}';
my $pad = ' ' x 20000;

sub closed { (reply(200, undef, $json, 'Connection: close'), @_, [close => 1]) }
sub chunked { (reply(200, undef, $json, 'Transfer-Encoding: chunked'),
               chunks(@_)) }
sub slowly { (reply(200, undef, $json, 'Content-Length: '
                                       . length(join '', @_)),
              map { ($_, [sleep => 0.02]) } @_) }

ways(
    bad => sub { reply(200, $bad, $json) },
    good => sub { reply(200, $good, $json, 'X-From: good', 'ETag: "g"') },
    bad_chunked => sub { chunked($bad =~ /(.{1,7})/g) },
    good_chunked => sub { chunked($good =~ /(.{1,300})/g) },
    bad_close => sub { closed($bad) },
    good_close => sub { closed($good) },
    bad_slow => sub { slowly($bad =~ /(.{1,10})/g) },
    good_slow => sub { slowly($good =~ /(.{1,300})/g) },
    bad_201 => sub { reply(201, $bad, $json) },
    bad_503 => sub { reply(503, $bad, $json) },
    utf8 => sub { reply(200, $bad, 'Content-Type: Application/JSON ; charset=x') },
    problem => sub { reply(200, $bad, 'Content-Type: application/problem+json') },
    text => sub { reply(200, $bad, 'Content-Type: text/plain') },
    untyped => sub { reply(200, $bad) },
    jsonp => sub { reply(200, $bad, 'Content-Type: application/jsonp') },
    broken => sub { reply(200, $bad . '}', $json) },
    nothing => sub { reply(200, '', $json) },
    nothing_chunked => sub { chunked() },
    tagged => sub { (reply(200, undef, $json, 'ETag: "g"',
                           'Transfer-Encoding: chunked'), chunks(($good) x 9)) },
    tagged_endless => sub { (reply(200, undef, $json, 'ETag: "g"',
                                   'Transfer-Encoding: chunked'),
                             [endless => chunks($good) =~ s/0\r\n\r\n$//r,
                              0.02]) },
    ranged => sub { reply(200, $good, $json, 'Accept-Ranges: bytes') },
    blanks => sub { reply(200, "  \n", $json) },
    deep => sub { reply(200, '[' x 5000 . ']' x 5000, $json) },
    large => sub { reply(200, $pad x 4 . $bad, $json) },
    large_chunked => sub { chunked(($pad) x 4, $bad) },
    large_slow => sub { chunked($pad, $pad, $pad), },
    just => sub { reply(200, substr($pad x 4, 0, 65536 - length $bad) . $bad,
                        $json) },
    gzip => sub { reply(200, memGzip($bad), $json, 'Content-Encoding: gzip') },
    short => sub { (reply(200, undef, $json, 'Content-Length: 500'), $bad,
                    [close => 1]) },
    short_chunked => sub { (reply(200, undef, $json,
                                  'Transfer-Encoding: chunked'),
                            chunks($good) =~ s/0\r\n\r\n$//r, [close => 1]) },
    hang => sub { (reply(200, undef, $json, 'Content-Length: 500'), $bad,
                   [eof => 1]) },
    string => sub { reply(200, '{"error":"429","list":[{"a":null},"b"]}', $json) },
    null => sub { reply(200, '{"error":null}', $json) },
    trail => sub { (reply(200, undef, $json, 'Transfer-Encoding: chunked',
                          'Trailer: X-T'),
                    chunks($good) =~ s/\r\n$/X-T: v\r\n\r\n/r) },
    limited => sub { reply(429, 'slow down') },
);

my %chains = (
    any => 'retry_chain_json $.error;',
    code => 'retry_chain_json $.error.code 429 503;',
    ok => 'retry_chain_json $.ok false;',
    two => 'retry_chain_json $.none; retry_chain_json "$[\'error\'].message" "slow down";',
    null => 'retry_chain_json $.error null;',
    list => 'retry_chain_json $.list[1] b;',
    small => 'retry_chain_json $.error; retry_chain_json_buffer 100;',
    unbuffered => 'retry_chain_json $.error; proxy_buffering off;',
    files => 'retry_chain_json $.error; proxy_buffers 2 4k;'
             . 'proxy_busy_buffers_size 4k; proxy_temp_file_write_size 4k;',
    off => 'retry_chain_json off;',
    cached => 'retry_chain_json $.error; proxy_cache cache;'
              . 'proxy_cache_valid any 1m;'
              . 'proxy_cache_key $request_uri$retry_chain_upstream;',
    small_cached => 'retry_chain_json $.error; retry_chain_json_buffer 2k;'
                    . 'proxy_cache cache; proxy_cache_valid any 1m;'
                    . 'proxy_cache_key small$request_uri;',
    small_unbuffered => 'retry_chain_json $.error; retry_chain_json_buffer 2k;'
                        . 'proxy_cache cache; proxy_cache_valid any 1m;'
                        . 'proxy_cache_key unbuffered$request_uri;'
                        . 'proxy_buffering off;',
    timeout => 'retry_chain_json $.error; retry_chain_timeout 300ms;',
    read => 'retry_chain_json $.error; proxy_read_timeout 500ms;',
    filters => 'retry_chain_json $.error; sub_filter y z; sub_filter_once off;'
               . 'sub_filter_types *; gzip on; gzip_types *;'
               . 'gzip_min_length 1; gzip_proxied any;',
);

my %names = Ways::names();
my $locations = '';

for my $chain (sort keys %chains) {
    for my $way (grep { $_ ne 'limited' } sort keys %names) {
        for my $next ('', 'good') {
            $locations .= "location /$chain/$way/$next { retry_chain $way $next; "
                          . "$chains{$chain}"
                          . 'proxy_pass http://$retry_chain_upstream; }' . "\n";
        }
    }
}

my $n = Ways::Nginx->start(http => <<"EOC");
proxy_cache_path %%DIR%%/temp/cache keys_zone=cache:1m;
retry_chain_json \$.error;
upstream refused { server 127.0.0.1:1; }

server {
    listen %%PORT%%;
    $locations
    location /trail { retry_chain bad good;
                      add_header X-Trail \$retry_chain_trail;
                      proxy_pass http://\$retry_chain_upstream; }

    # replies that come from here

    location /named { retry_chain \@said good; proxy_pass http://\$retry_chain_upstream; }
    location \@said { default_type application/json; return 200 '$bad'; }
    location /file { retry_chain \@file good; proxy_pass http://\$retry_chain_upstream; }
    location \@file { default_type application/json; sendfile on; root %%DIR%%/temp;
                      try_files /bad =404; }
    location /direct { retry_chain \@direct good; proxy_pass http://\$retry_chain_upstream; }
    location \@direct { default_type application/json; directio 1; root %%DIR%%/temp;
                        try_files /bad =404; }

    location /error {
        retry_chain_error_json on;
        location /error/one { retry_chain refused; proxy_pass http://\$retry_chain_upstream; }
        location /error/all { retry_chain refused bad hang timeout=500ms;
                              retry_chain_retry error attempts=2 interval=10ms;
                              proxy_pass http://\$retry_chain_upstream; }
        location /error/page { retry_chain refused bad hang timeout=500ms;
                               error_page 502 504 =418 /418;
                               proxy_pass http://\$retry_chain_upstream; }
        location /error/other { retry_chain refused;
                                error_page 500 /418;
                                proxy_pass http://\$retry_chain_upstream; }
        location /error/reply { retry_chain limited;
                                proxy_pass http://\$retry_chain_upstream; }
        location /error/limited { retry_chain limited;
                                  retry_chain_zone limited 256k;
                                  retry_chain_limited fail;
                                  proxy_pass http://\$retry_chain_upstream; }
        location /error/off { retry_chain refused; retry_chain_error_json off;
                              proxy_pass http://\$retry_chain_upstream; }
        location /error/name { retry_chain 127.0.0.1:1;
                               proxy_pass http://\$retry_chain_upstream; }
    }

    location = /418 { return 418 "teapot"; }
}
EOC

# what is a failure

for my $case (split /\n/, <<'EOT') {
any bad
any bad_chunked
any bad_close
any bad_slow
any bad_201
any utf8
any problem
any just
any string
any null
code bad
code bad_chunked
ok bad
two bad
null null
list string
unbuffered bad
unbuffered bad_chunked
unbuffered bad_close
unbuffered bad_slow
files just
files bad_chunked
cached bad
filters bad
EOT

    my ($chain, $way) = split ' ', $case;
    my $x = get("/$chain/$way/good");
    my $status = $way eq 'bad_201' ? 201 : 200;

    is("$x->{status} $x->{body} $x->{end}", ($chain eq 'filters' ? "200 @{[ $good =~ s/y/z/gr ]} complete" : "200 $good complete"),
       "$chain, $way: the next one is asked");
    is(access("/$chain/$way/good"),
       "200 success [$way, good] [$status, 200]", 'as the log says');

    # the last one is the answer, whatever it says

    next if $chain eq 'filters';

    $x = get("/$chain/$way/");
    is("$x->{status} $x->{end}", "$status "
       . ($way =~ /close/ ? $x->{end} : 'complete'), 'the last is relayed');
    like($x->{body}, qr/"error"/, 'with its body');
    is(access("/$chain/$way/"), "$status exhausted [$way] [$status]",
       'but it is a failure');
}

# what is none, and passes as it is

for my $case (split /\n/, <<'EOT') {
any good
any good_chunked
any good_close
any good_slow
any text
any untyped
any jsonp
any broken
any nothing
any nothing_chunked
any blanks
any deep
any large
any large_chunked
any gzip
any trail
code good
code string
ok good
two good
null bad
list bad
small bad_slow
small good
small good_chunked
unbuffered good
unbuffered good_chunked
unbuffered good_close
unbuffered good_slow
unbuffered large_chunked
files good_chunked
files large
files large_chunked
off bad
off good
cached good
EOT

    my ($chain, $way) = split ' ', $case;

    next if $case eq 'small bad_slow' || $case eq 'code string';

    my $plain = raw($way);
    my $x = get("/$chain/$way/good");

    is(Ways::sum($x->{body}), Ways::sum($plain),
       "$chain, $way: is relayed as it is");
    is($x->{end}, $way =~ /close/ && $x->{end} eq 'close' ? 'close'
                                                         : 'complete',
       'to its end');
    is(access("/$chain/$way/good"), "200 success [$way] [200]", 'a success');
}

is(get('/code/string/good')->{body}, $good =~ s/^/{"error":"429","list":[{"a":null},"b"]}/r =~ s/\Q$good\E$//r,
   'a string is no number in another place');

{
    my $x = get('/any/good/good');
    is(join(' ', @{ $x->{h}{'x-from'} }, @{ $x->{h}{etag} },
            @{ $x->{h}{'content-length'} }), 'good "g" ' . length $good,
       'headers of a reply that was held back');
    is(get('/any/trail/good', 'TE: trailers')->{end}, 'complete', 'trailers');

    $x = get_of('HEAD', '/any/bad/good');
    is("$x->{status} $x->{h}{'content-length'}[0]", '200 ' . length $bad,
       'HEAD has no body to look at');
    is(access('/any/bad/good'), '200 success [bad] [200]', 'it is a success');

    is(get('/cached/good/', 'If-None-Match: "g"')->{status}, 304,
       'a condition of the client');
    is(get('/any/bad_503/good')->{body}, $good, 'a failure needs no body');
    is(access('/any/bad_503/good'), '200 success [bad_503, good] [503, 200]',
       'to be one');
    is(get_of('POST', '/any/bad/good', 'x')->{body}, $bad,
       'a method that is not safe is not repeated');
    is(access('/any/bad/good'), '200 unsafe [bad] [200]', 'since the vendor has acted');
}

# replies of nginx itself

{
    open my $out, '>', "$n->{dir}/temp/bad" or die;
    print $out $bad;
    close $out;

    for my $uri (qw(/named /file /direct)) {
        is(get($uri)->{body}, $good, "$uri: the next one is asked");
        like(access($uri), qr/^200 success \[\@\w+, good\] \[200, 200\]$/,
             'as the log says');
    }
}

# a client that leaves while a reply is held back

{
    my $s = $n->connect();

    ways_reset();
    print $s request('GET', '/any/hang/good?left', '');
    ok($n->wait_for(sub { ways_calls() =~ /hang/ }), 'a client');
    sleep 0.1;
    close $s;
    ok($n->wait_for(sub { $n->access() =~ m{^/any/hang/good\?left }m }),
       'that leaves ends the run');
    is(access('/any/hang/good?left'), '499 aborted [hang] [499]', 'at once');
    unlike(ways_calls(), qr/^good/m, 'no other one is asked');
}

is(decode_json(get('/trail')->{h}{'x-trail'}[0])->{attempts}[0]{json},
   '$.error', 'the trail has the rule');

# a large reply is not held back until its end

{
    my $s = $n->connect();
    print $s request('GET', '/any/large_slow/', '');
    my $x = Ways::Nginx::answer(Ways::Nginx::read_all($s));
    is(length $x->{body}, 60000, 'one of 60000 bytes is held back');
}

# a reply that is cut short has not been relayed

for my $chain (qw(any unbuffered files)) {
    for my $way (qw(short short_chunked)) {
        is(get("/$chain/$way/good")->{body}, $good,
           "$chain, $way: the next one is asked");
        is(access("/$chain/$way/good"), "200 success [$way, good] [502, 200]",
           'after an error');
        is(get("/$chain/$way/")->{status}, 502, 'or the answer is honest');
        is(access("/$chain/$way/"), "502 exhausted [$way] [502]",
           'and not half a success');
    }
}

{
    my $start = time();
    is(get('/read/hang/good')->{body}, $good, 'a body that does not come');
    is(access('/read/hang/good'), '200 success [hang, good] [502, 200]', 'is an error')
        if access('/read/hang/good') !~ /504/;
    is(get('/timeout/hang/')->{status}, 504, 'a deadline while a body is awaited');
    is(access('/timeout/hang/'), '504 deadline [hang] [504]', 'aborts it');
    cmp_ok(time() - $start, '<', 30, 'in time');
}

# caches: a failure is not kept, a success is

{
    ways_reset();
    is(get('/cached/bad/good?2')->{body}, $good, 'the next one is asked')
        for 1 .. 2;
    is(ways_calls(), "bad 1.1 GET /cached/bad/good?2\n" . "good 1.1 GET /cached/bad/good?2\n"
       . "bad 1.2 GET /cached/bad/good?2\n", 'a failure is not cached, a success is');
}

# an answer without the body that was held back

for my $case (split /\n/, <<'EOT') {
small_cached tagged
small_cached tagged
small_unbuffered tagged_endless
EOT

    my ($chain, $way) = split ' ', $case;
    my $uri = "/$chain/$way/good";
    my $x = $n->until_logged(sub { $n->ask(
                request('GET', $uri, '', 1) =~ s/\r\n\r\n/\r\nIf-None-Match: "g"\r\n\r\n/r
                . request('GET', '/any/text/', '')) });

    is($x->{status}, 304, "$chain, $way: 304");
    is(Ways::Nginx::answer($x->{rest})->{body}, $bad, 'nothing but the next answer');
    is(access($uri), "304 success [$way] [200]", 'a success');
}

# 412 of nginx itself is no failure of the run

for my $uri (qw(/cached/tagged/ /cached/good/ /small_cached/tagged/
                /small_unbuffered/tagged_endless/)) {
    is(get($uri, 'If-Match: "x"')->{status}, 412, "$uri: 412");
    like(access($uri), qr/^412 success \[(?:good|tagged\w*)\] \[200\]$/,
         'a success');
}

for (1 .. 2) {
    is(get('/cached/ranged/', 'Range: bytes=99999-')->{status}, 416,
       'a range that is not there');
    is(get('/cached/nothing_chunked/good?3')->{body}, '',
       'an empty reply, from a cache, too');
    is(access('/cached/nothing_chunked/good?3'),
       '200 success [nothing_chunked] [200]', 'a success');
}

like($n->log(), qr/to "bad" failed: status 200 with \$\.error, retrying in 0 ms/,
     'the log has the rule');

# errors that nobody has sent

{
    my $x = get('/error/one');

    is("$x->{status} $x->{h}{'content-type'}[0]", '502 application/json',
       'an error in JSON');
    is_deeply(timeless($x->{body}),
              { statusCode => 502, error => 'every upstream has failed',
                attempts => [ { step => 'refused', statusCode => 502,
                                error => 'error', wait => 0 } ] },
              'with its attempts');
    is($x->{h}{'content-length'}[0], length $x->{body}, 'Content-Length');
    is(access('/error/one'), '502 exhausted [refused] [502]', 'logged');

    $x = get('/error/all');
    is_deeply(timeless($x->{body}),
              { statusCode => 504, error => 'every upstream has failed',
                attempts => [
                    { step => 'refused', statusCode => 502, error => 'error',
                      wait => 0 },
                    { step => 'refused', statusCode => 502, error => 'error',
                      wait => 0.01 },
                    { step => 'bad', statusCode => 200, json => '$.error',
                      wait => 0 },
                    { step => 'hang', statusCode => 504, error => 'timeout',
                      wait => 0 } ] },
              'four attempts');

    is(get('/error/page')->{body}, 'teapot', 'an error_page goes first');
    is(decode_json(get('/error/other')->{body})->{statusCode}, 502,
       'not one of another code');
    is(get('/error/reply')->{body}, 'slow down', 'a reply is a reply');

    get('/error/limited');
    $x = get('/error/limited');
    is_deeply(decode_json($x->{body}),
              { statusCode => 429, error => 'every upstream is limited',
                attempts => [] }, 'no attempt at all');
    ok($x->{h}{'retry-after'}, 'Retry-After');
    like(get('/error/off')->{body}, qr/<html>/, 'off');

    $x = get_of('HEAD', '/error/one');
    is("$x->{status} $x->{h}{'content-type'}[0] $x->{end} $x->{rest}",
       '502 application/json complete ', 'HEAD');
    is(decode_json(get('/error/name')->{body})->{attempts}[0]{step},
       '127.0.0.1:1', 'an address');
}

unlike($n->log(), qr/\[(?:alert|crit|emerg)\]/, 'nothing else in the log');

done_testing();


sub get {
    my ($uri, @headers) = @_;

    my $request = request('GET', $uri, '');
    $request =~ s/\r\n\r\n/join "\r\n", '', @headers, '', ''/e;

    return $n->until_logged(sub { $n->ask($request) });
}


sub get_of {
    my ($method, $uri, $body) = @_;

    return $n->until_logged(sub {
        $n->ask(request($method, $uri, $body // ''), head => $method eq 'HEAD');
    });
}


# the body of a way as it is

sub raw {
    my ($way) = @_;

    my $text = join '', grep { !ref } $names{$way}->({ method => 'GET', h => {} });

    return Ways::Nginx::answer($text)->{body};
}


sub access {
    my ($uri) = @_;

    my @lines = grep { index($_, "$uri ") == 0 }
                split /\n/, $n->access();

    return $lines[-1] =~ s/^\S+ //r;
}


sub timeless {
    my ($text) = @_;

    my $all = decode_json($text);
    delete $_->{time} for @{ $all->{attempts} };

    return $all;
}
