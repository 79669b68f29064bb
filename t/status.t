#!/usr/bin/perl

# retry_chain_status: what each format says, who gets which one, and that
# nothing that a client or a vendor says gets out of its place.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::SHA qw(sha256_base64);
use JSON::PP;
use Test::More;
use Time::HiRes qw(sleep);

use Ways;
use Ways::Limits;
use Ways::Nginx;


my $promtool = grep { -x "$_/promtool" } split /:/, $ENV{PATH};

place('v', 'retry_chain a b; retry_chain b wait=10ms;'
           . 'retry_chain_retry http_503 attempts=2 interval=5ms;',
      size => '2m', left => 0);
place('v/other', 'retry_chain b;', left => 0);
place('dry', 'retry_chain a b; retry_chain_dry_run on;', left => 0);
place('query', 'retry_chain a;', left => 0,
      zone => 'retry_chain_zone query 128k history=20 query=on;');
place('few', 'retry_chain a;', left => 0,
      zone => 'retry_chain_zone few 128k history=3;');
place('none', 'retry_chain a;', left => 0,
      zone => 'retry_chain_zone none 128k history=0;');
place('alone', 'retry_chain a b;', zone => '');
place('unused', 'retry_chain c rate=auto;', left => 0);
place('fixed', 'retry_chain a rate=30r/m burst=2;', left => 0);

my $n = limits(server => <<'EOC');
    location = /status { retry_chain_status; }
    location = /forbidden { deny all; retry_chain_status; }
    location "/q\"uo\\te/" {
        retry_chain_zone "z\"\\" 128k;
        retry_chain a;
        proxy_pass http://$retry_chain_upstream;
    }
EOC

my $json = JSON::PP->new->allow_bignum;


# ---- before there is any traffic --------------------------------------------

{
    my $s = status();

    is($s->{version}, 1, 'no traffic: the version of the schema');
    is(join(' ', sort map { $_->{name} } @{ $s->{zones} }),
       'dry few fixed none query unused v z"\\', 'all zones');
    is(join(', ', sort map { $_->{name} } @{ $s->{chains} }),
       join(', ', sort map { "server $_" } qw(/alone/ /dry/ /few/ /fixed/
            /none/ /query/ /unused/ /v/ /v/other/), '/q"uo\\te/'),
       'all chains');
    is(chain($s, '/alone/')->{zone}, undef, 'one without a zone');
    is(chain($s, '/alone/')->{runs}, undef, 'has no counters');
    is(total(chain($s, '/v/')->{runs}), 0, 'the counters of another one are 0');
    is_deeply(zone($s, 'v')->{runs},
              { recent => [], failed => [], slow => [] }, 'no runs');
}


# ---- JSON -------------------------------------------------------------------

ran('/v/1');
ran('/v/2', a => '503 | 200');
ran('/v/3', a => '500', b => 'close | 200');
ran('/v/4', a => '500', b => '500 | 404');
ran('/v/other/5', b => '429 / Retry-After: 90');

my $s = status();
my $v = zone($s, 'v');

is_deeply([map { "$_->{chain} $_->{uri} $_->{result} $_->{status} $_->{made}" }
           @{ $v->{runs}{recent} }],
          ['server /v/other/ /v/other/5 exhausted 429 1',
           'server /v/ /v/4 exhausted 404 3', 'server /v/ /v/3 success 200 3',
           'server /v/ /v/2 success 200 2', 'server /v/ /v/1 success 200 1'],
          'recent runs, latest first');
is_deeply([map { $_->{uri} } @{ $v->{runs}{failed} }],
          ['/v/other/5', '/v/4'], 'failed runs');
is(scalar @{ $v->{runs}{slow} }, 5, 'slow runs');

is(attempts($v->{runs}{recent}[2]),
   'a status 500 first next, b error 502 step next, b status 200 step success',
   'attempts of a run');
is(attempts($v->{runs}{recent}[3]),
   'a status 503 first again, a status 200 backoff success', 'of another one');
is($v->{runs}{recent}[2]{attempts}[2]{wait}, 0.01, 'the wait before one');
is($v->{runs}{recent}[2]{attempts}[0]{bytes}, 97, 'its bytes');
like($v->{runs}{recent}[2]{attempts}[0]{address}, qr{^unix:/.*/a$},
     'its address');

{
    my $x = $v->{runs}{recent}[0];

    is("$x->{method} $x->{host} $x->{cut} $x->{id}", 'GET a 0 5', 'a run');
    cmp_ok(abs($x->{end} - $s->{time}), '<', 60, 'when it ended');
}

{
    my $x = chain($s, '/v/');

    is_deeply([@$x{qw(attempts retries retry_success skips waiting)}],
              [9, 5, 2, 0, 0], 'counters of a chain');
    is("$x->{runs}{success} $x->{runs}{exhausted} " . total($x->{runs}), '3 1 4',
       'runs');
    is_deeply($x->{reasons}, { first => 4, step => 4, backoff => 1,
                               retry_after => 0, rate => 0 }, 'reasons');
    is($x->{delay}{count}, 5, 'delays');
    is($x->{duration}{count}, 4, 'durations');
    is(total($x->{dry_run}{runs}), 0, 'no dry run');

    my $a = step($v, 'a');
    my $b = step($v, 'b');

    is_deeply($a->{replies}, { '1xx' => 0, '2xx' => 2, '3xx' => 0, '4xx' => 0,
                               '5xx' => 3, 429 => 0, cached => 0 },
              'replies of a step');
    is_deeply($b->{failures}, { error => 1, timeout => 0, invalid_header => 0,
                                aborted => 0 }, 'failures of another one');
    is("$a->{attempts} $b->{attempts} $b->{limit_replies} $b->{replies}{429}",
       '5 5 1 1', 'attempts and hints');
    is($a->{time}{count}, 5, 'times');
    is($a->{limited_until}, undef, 'a free step');
    is("$a->{limited} $a->{wait}", '0 0', 'nobody waits for it');
    cmp_ok($b->{limited}, '>', 80, 'a limited one');
    cmp_ok(abs($b->{limited_until} - $s->{time} - $b->{limited}), '<', 0.01,
           'until when');
}

is(step(zone($s, 'fixed'), 'a')->{rate}, 0.5, 'a rate');
is(step(zone($s, 'fixed'), 'a')->{pace}, 'fixed', 'is configured');
is(step(zone($s, 'unused'), 'c')->{pace}, 'auto', 'or learned');
is_deeply(chain($s, '/v/')->{plan}{steps},
          [{ name => 'a', wait => 0, timeout => undef },
           { name => 'b', wait => 0, timeout => undef },
           { name => 'b', wait => 0.01, timeout => undef }], 'a plan');
is(join(' ', map { chain($s, $_)->{plan}{max_waiting} } '/v/', '/alone/'),
   '512 512', 'half of the connections may wait, with and without a zone');

# a learned rate

{
    for (1 .. 5) {
        ran("/unused/$_");
        sleep 0.02;
    }

    my $x = ran('/unused/6', c => '429 / Retry-After: 90');

    is(step(zone(status(), 'unused'), 'c')->{rate} + 0, $x->{rate} + 0,
       'a learned rate');
}


# ---- what is kept of runs ---------------------------------------------------

{
    ran("/query/a?secret=1");
    ran("/v/a?secret=1");
    ran("/few/$_", a => $_ == 1 ? '500' : '200') for 1 .. 6;
    ran('/none/1');

    my $s = status();

    is(zone($s, 'query')->{runs}{recent}[0]{uri}, '/query/a?secret=1',
       'a query string is kept where that is asked for');
    is(zone($s, 'v')->{runs}{recent}[0]{uri}, '/v/a', 'and cut elsewhere');
    unlike($n->get('/status') =~ s/query.a.secret=1//gr, qr/secret/,
           'it is nowhere');
    is(join(' ', map { $_->{uri} } @{ zone($s, 'few')->{runs}{recent} }),
       '/few/6 /few/5 /few/4', 'the size of the history');
    is(join(' ', map { $_->{uri} } @{ zone($s, 'few')->{runs}{failed} }),
       '/few/1', 'a failed run is kept longer');
    is_deeply(zone($s, 'none')->{runs},
              { recent => [], failed => [], slow => [] }, 'no history');
    is(zone($s, 'none')->{history}, 0, 'as configured');
    is(chain($s, '/none/')->{runs}{success}, 1, 'but counters');

    is(scalar @{ zone(status('?runs=2'), 'v')->{runs}{recent} }, 2,
       'the number of runs');
    is(scalar @{ zone(status('?runs=0'), 'v')->{runs}{recent} }, 0, 'none');

    ran("/v/more/$_") for 1 .. 60;

    is(scalar @{ zone(status('?runs=x'), 'v')->{runs}{recent} }, 50,
       'not more than 50');
    is(scalar @{ zone(status('?runs=99999'), 'v')->{runs}{recent} }, 66,
       'unless that is asked for');
}

# hostile

for my $case (
    ['/v/"\\<script>alert(1)</script>', '/v/"\\<script>alert(1)</script>'],
    ["/v/\xc3\xa4", "/v/\x{e4}"],
    ["/v/\xff\xc0\xaf\xed\xa0\x80x", "/v/" . "\x{fffd}" x 6 . 'x'],
    ["/v/\xf0\x9f\x98\x80", "/v/\x{1f600}"],
    ["/v/\x01\x7f"],
    ['/v/%00%0d%0a'],
    ['/v/' . 'x' x 500, '/v/' . 'x' x 253],
    ['/v/' . "\xc3\xa4" x 200, '/v/' . "\x{e4}" x 126 . "\x{fffd}"],
) {
    my ($uri, $expected) = @$case;
    my $before = zone(status(), 'v')->{runs}{recent}[0]{id};

    $n->get("GET $uri HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");

    my $x = zone(status(), 'v')->{runs}{recent}[0];
    my $name = substr +($expected // $uri) =~ s/[^ -~]/?/gr, 0, 40;

    if (!defined $expected) {
        is($x->{id}, $before, "$name: refused by nginx");
        next;
    }

    is($x->{uri}, $expected, "a hostile URI: $name");
    is(!!$x->{cut}, length $uri > 256, 'it is cut');
}

{
    $n->get("GET http://user:pw\@other.example/v/abs HTTP/1.1\r\nHost: b\r\n"
            . "Connection: close\r\n\r\n");
    $n->get("LOOOOOOOOOOOOOOOOOOOOONG /v/method HTTP/1.1\r\nHost: "
            . 'h' x 200 . "\r\nConnection: close\r\n\r\n");

    my $x = zone(status(), 'v')->{runs}{recent}[0];

    is($x->{method}, 'LOOOOOOOOOOOOOOO', 'a long method');
    is($x->{host}, 'h' x 64, 'a long host');
    unlike($n->get('/status'), qr/user:pw/, 'no password');
}


# ---- dry run ----------------------------------------------------------------

{
    ran('/dry/1');
    ran('/dry/2', a => '500');
    ran('/dry/3', a => '404');

    my $s = status();
    my $x = chain($s, '/dry/');
    my $z = zone($s, 'dry');

    is(total($x->{runs}) + $x->{attempts} + step($z, 'a')->{attempts}, 0,
       'a dry run is no run');
    is("$x->{dry_run}{runs}{success} $x->{dry_run}{runs}{unknown} "
       . "$x->{dry_run}{attempts} $x->{dry_run}{retries}", '1 2 5 2',
       'what it would have done');
    is(step($z, 'a')->{dry_run}{attempts} . step($z, 'b')->{dry_run}{attempts},
       '32', 'at which step');
    is($x->{plan}{dry_run}, 1, 'the plan says so');
    is($z->{runs}{recent}[0]{result}, 'dry_run', 'the run');
}


# ---- methods ----------------------------------------------------------------

for my $method (qw(POST PUT DELETE OPTIONS PATCH TRACE)) {
    my $x = $n->ask("$method /status HTTP/1.1\r\nHost: a\r\n"
                    . "Content-Length: 0\r\nConnection: close\r\n\r\n");

    is("$x->{status} " . ($x->{h}{allow}[0] // ''),
       $method eq 'TRACE' ? '405 ' : '405 GET, HEAD', "$method");
}

{
    my $x = $n->ask("HEAD /status HTTP/1.1\r\nHost: a\r\n"
                    . "Connection: close\r\n\r\n");
    my $y = $n->ask(get());

    is("$x->{status} $x->{body}", '200 ', 'HEAD');
    cmp_ok(abs($x->{h}{'content-length'}[0] - length $y->{body}), '<', 20,
           'the length');
    is($y->{h}{'content-length'}[0], length $y->{body}, 'GET');
    is($y->{h}{'cache-control'}[0], 'no-store', 'Cache-Control');
    is($y->{h}{'x-content-type-options'}[0], 'nosniff',
       'X-Content-Type-Options');
    is($y->{h}{vary}[0], 'Accept', 'Vary');
    is($n->ask(get('/forbidden'))->{status}, 403, 'access rules hold');

    $x = $n->ask("GET /status HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n"
                 . "Connection: close\r\n\r\nbody");
    is($x->{status}, 200, 'a body is not read');
}


# ---- who gets which format --------------------------------------------------

my $j = 'application/json';
my $p = 'text/plain; version=0.0.4; charset=utf-8';
my $o = 'application/openmetrics-text; version=1.0.0; charset=utf-8';
my $h = 'text/html; charset=utf-8';

for my $case (
    ['', $j],
    ['*/*', $j],
    ['application/json', $j],
    ['text/plain', $p],
    ['TEXT/Plain', $p],
    ['text/*', $p],
    ['text/*;q=0.5, application/json;q=0.4', $p],
    ['text/plain;q=0', $j],
    ['application/json;q=0.1, text/plain;version=0.0.4;q=0.2', $p],
    ['application/*', $j],
    ['application/*, application/json;q=0.5', $o],
    ['*/*, application/json;q=0', $o],
    ['application/json;q=0, application/openmetrics-text;q=0, */*;q=0.1', $p],
    ['application/openmetrics-text;version=1.0.0;q=0.5,'
     . 'application/openmetrics-text;version=0.0.1;q=0.4,'
     . 'text/plain;version=0.0.4;q=0.3,*/*;q=0.2', $o],
    ['image/png', $j],
    ['text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8', $h],
    ['text/html;q=0.5, text/plain;q=0.6', $p],
    [',;q=,/;;q=1,text/plain;q=2', $p],
    ["image/png\r\nAccept: text/plain", $p],
) {
    my ($accept, $type) = @$case;
    my $line = length $accept ? "Accept: $accept\r\n" : '';

    is($n->ask(get('/status', $line))->{h}{'content-type'}[0], $type,
       'Accept: ' . $accept =~ s/\r\n/ | /r);
}

for my $case (['json', $j], ['prometheus', $p], ['openmetrics', $o],
              ['html', $h])
{
    is($n->ask(get("/status?format=$case->[0]", "Accept: text/plain\r\n"))
       ->{h}{'content-type'}[0], $case->[1], "format=$case->[0]");
}

is($n->ask(get('/status?format=xml'))->{status}, 400, 'an unknown format');
is($n->ask(get('/status?format='))->{status}, 400, 'an empty one');


# ---- the page ---------------------------------------------------------------

{
    my $x = $n->ask(get('/status?format=html'));
    my $y = $n->ask("HEAD /status?format=html HTTP/1.1\r\nHost: a\r\n"
                    . "Connection: close\r\n\r\n");
    my ($script) = $x->{body} =~ m{<script>(.*)</script>}s;
    my ($style) = $x->{body} =~ m{<style>(.*)</style>}s;
    my $policy = $x->{h}{'content-security-policy'}[0];

    like($policy, qr/^default-src 'none'; /, 'the page: its policy');
    unlike($policy, qr/unsafe/, 'it is strict');
    like($policy, qr/ script-src 'sha256-\Q@{[ sha256_base64($script) ]}\E=';/,
         'the digest of its script');
    like($policy, qr/ style-src 'sha256-\Q@{[ sha256_base64($style) ]}\E=';/,
         'and of its style');
    is(join(', ', map { $x->{h}{$_}[0] // '' }
            qw(cache-control x-content-type-options referrer-policy
               x-frame-options)),
       'no-store, nosniff, no-referrer, DENY', 'its other headers');
    is($y->{h}{'content-length'}[0], length $x->{body}, 'HEAD');
    is($y->{body}, '', 'without the page');

    open my $in, '<', "$FindBin::Bin/../src/status/ngx_http_retry_chain_status.html"
        or die;
    is($x->{body}, join('', map { s/^ *//r } <$in>),
       'it is what its source says');
    unlike($x->{body}, qr{\b(?:src|href)\s*=\s*["']?(?!data:|")|https?://(?!www\.w3\.org/)|innerHTML|insertAdjacent|\beval\b},
           'nothing is loaded from elsewhere');
}


# ---- Prometheus -------------------------------------------------------------

{
    my $text = $n->ask(get('/status?format=prometheus'))->{body};
    my $open = $n->ask(get('/status?format=openmetrics'))->{body};
    my $s = status();

    is(metric($text, 'attempts_total{zone="v",step="a"}'),
       step(zone($s, 'v'), 'a')->{attempts}, 'a counter');
    is(metric($text, 'runs_total{zone="v",chain="server /v/",'
                     . 'result="success"}'),
       chain($s, '/v/')->{runs}{success}, 'one with several values');
    is(metric($text, 'rate_calls_per_second{zone="fixed",step="a"}'), '0.500',
       'a gauge');
    is(metric($text, 'rate_calls_per_second{zone="v",step="a"}'), undef,
       'one that is not known');
    is(metric($text, 'steps{zone="",chain="server /alone/"}'), 2,
       'a chain without a zone');
    is(metric($text, 'steps{zone="z\\"\\\\",chain="server /q\\"uo\\\\te/"}'),
       1, 'labels are escaped');
    cmp_ok(metric($text, 'limited_seconds{zone="v",step="b"}'), '>=',
           step(zone($s, 'v'), 'b')->{limited}, 'a limit');

    for my $name ('header_seconds', 'delay_seconds', 'run_duration_seconds') {
        my @n = $text =~ /^nginx_retry_chain_${name}_bucket\{zone="v",(?:step="a"|chain="server \/v\/"),le="[^"]+"\} (\d+)$/gm;
        my @sorted = sort { $a <=> $b } @n;

        is(scalar @n, 16, "$name: buckets");
        is("@n", "@sorted", 'they include each other');
        like($text, qr/^nginx_retry_chain_${name}_bucket\{zone="v",[^}]*,le="\+Inf"\} \Q$n[-1]\E\nnginx_retry_chain_${name}_sum\{zone="v",[^}]*\} [\d.]+\nnginx_retry_chain_${name}_count\{zone="v",[^}]*\} $n[-1]$/m,
             'the last one has all');
    }

    check_text($text, 'Prometheus', '_total');
    check_text($open, 'OpenMetrics', '');

    # README lists them all, with their labels

    my $file = 'src/status/README.md';
    open my $in, '<', $file or die "$file: $!";
    my $readme = join '', <$in>;
    my ($table) = $readme =~ /^\| metric \|.*?\n(.*?)\n\n/ms;
    my %said = map { /^\| `(\w+)` \| (\w+) \| ([\w, ]+) \|/ ? ($1 => "$2 $3")
                                                            : () }
                   split /\n/, $table // '';
    my (%is, %labels);

    $labels{$1} //= $2 =~ s/="(?:[^"\\]|\\.)*"//gr =~ s/,le$//r =~ s/,/, /gr
        while $text =~ /^nginx_retry_chain_(\w+?)(?:_bucket)?\{(.*)\} /gm;
    $is{$1} = "$2 $labels{$1}"
        while $text =~ /^# TYPE nginx_retry_chain_(\w+) (\w+)$/gm;

    is_deeply(\%said, \%is, 'README has the metrics that there are');

    like($open, qr/\n# EOF\n\z/, 'OpenMetrics: the end');
    unlike($text, qr/# EOF/, 'Prometheus: no end');

  SKIP: {
        skip 'no promtool', 1 if !$promtool;

        open my $out, '>', "$n->{dir}/metrics" or die;
        print $out $text;
        close $out;

        is(`promtool check metrics <$n->{dir}/metrics 2>&1`, '', 'promtool');
    }
}

is($n->bad(), '', 'a clean log');
$n->stop();


# ---- nothing to show --------------------------------------------------------

{
    my $n = Ways::Nginx->start(http => <<'EOC');
server {
    listen %%PORT%%;
    location / { retry_chain_status; }
}
EOC
    my $s = decode_json($n->ask(get('/'))->{body});

    is_deeply([@$s{qw(zones chains)}], [[], []], 'no chain');
    is($n->ask(get('/?format=openmetrics'))->{body} =~ s/^# (?:TYPE|HELP) .*\n//gmr,
       "# EOF\n", 'no metric');
    is($n->bad(), '', 'a clean log');
}

# places of chains

{
    my $n = Ways::Nginx->start(http => <<'EOC');
retry_chain a b;
retry_chain_zone all 256k;
server {
    listen %%PORT%%;
    server_name one.example other.example;
    location / { proxy_pass http://$retry_chain_upstream; }
    location = /x { retry_chain_success 200; proxy_pass http://a; }
    location ~ ^/re { retry_chain b; proxy_pass http://a;
                      if ($arg_a) { retry_chain a; proxy_pass http://a; }
                      if ($arg_b) { retry_chain a; proxy_pass http://a; } }
    location ^~ /pre/ { retry_chain a; proxy_pass http://a;
                        limit_except GET { allow all; } }
    location @named { retry_chain a; proxy_pass http://a; }
    location /status { retry_chain_status; }
}
server {
    listen unix:%%DIR%%/two;
    server_name two.example;
    retry_chain_timeout 5s;
    location / { proxy_pass http://$retry_chain_upstream; }
    location /deep/ { proxy_pass http://$retry_chain_upstream;
                      location /deep/er { retry_chain off; proxy_pass http://a; } }
}
server {
    listen unix:%%DIR%%/three;
    server_name one.example;
    location / { proxy_pass http://$retry_chain_upstream; }
    location = /x { retry_chain_success 200; proxy_pass http://a; }
}
EOC
    $n->get('/') for 1 .. 3;

    my $s = decode_json($n->ask(get('/status'))->{body});

    is(join(', ', sort map { $_->{name} } @{ $s->{chains} }),
       join(', ', sort 'http', 'one.example = /x', 'one.example ~ ^/re',
            'one.example ^/re if', 'one.example ^/re if 2',
            'one.example ^~ /pre/', 'one.example @named', 'two.example',
            'one.example = /x 2'), 'a chain is where its plan is');
    is((grep { $_->{name} eq 'http' } @{ $s->{chains} })[0]{runs}{success}, 3,
       'what is inherited counts there');
    is($n->bad(), '', 'a clean log');
}

done_testing();


# a request whose end has been recorded

sub ran {
    my ($uri, @say) = @_;

    my $x;

    $n->until_logged(sub { $x = ask($uri, @say) });

    return $x;
}


sub get {
    my ($uri, $headers) = @_;

    return 'GET ' . ($uri // '/status') . " HTTP/1.1\r\nHost: a\r\n"
           . ($headers // '') . "Connection: close\r\n\r\n";
}


sub status {
    my ($args) = @_;

    my $x = $n->ask(get('/status' . ($args // '')));

    return $json->utf8->decode($x->{body});
}


sub zone {
    my ($s, $name) = @_;
    return (grep { $_->{name} eq $name } @{ $s->{zones} })[0];
}


sub step {
    my ($zone, $name) = @_;
    return (grep { $_->{name} eq $name } @{ $zone->{steps} })[0];
}


sub chain {
    my ($s, $place) = @_;
    return (grep { $_->{name} eq "server $place" } @{ $s->{chains} })[0];
}


sub total {
    my ($values) = @_;

    my $sum = 0;

    $sum += $_ for values %$values;

    return $sum;
}


sub attempts {
    my ($run) = @_;

    return join ', ', map { join ' ', @$_{qw(step outcome status reason
                                             verdict)} } @{ $run->{attempts} };
}


sub metric {
    my ($text, $name) = @_;
    return $text =~ /^\Qnginx_retry_chain_$name\E (\S+)$/m ? $1 : undef;
}


# each metric once, with its help and its type, and nothing else

sub check_text {
    my ($text, $format, $total) = @_;

    my (%seen, $family, $type, @wrong);

    for my $line (split /\n/, $text) {
        if ($line =~ /^# HELP (\w+) \S/) {
            $family = $1;
            push @wrong, $line if $seen{$family}++;

        } elsif ($line =~ /^# TYPE (\w+) (counter|gauge|histogram)$/) {
            $type = $2;
            push @wrong, $line if $1 ne $family
                || ($type eq 'counter') != ($family =~ /_total$/ || !$total
                                            && $type eq 'counter');

        } elsif ($line =~ /^(\w+)\{(?:\w+="(?:[^"\\]|\\["\\n])*",?)*\} [\d.]+$/) {
            my $suffix = $type eq 'counter' ? ($total ? '' : '_total')
                         : $type eq 'gauge' ? '' : '(?:_bucket|_sum|_count)';

            push @wrong, $line if $1 !~ /^\Q$family\E$suffix$/;

        } else {
            push @wrong, $line if $line ne '# EOF';
        }
    }

    is(join("\n", @wrong), '', "$format: the form");
    cmp_ok(scalar keys %seen, '>', 20, 'there are some');
}
