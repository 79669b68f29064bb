#!/usr/bin/perl

# proxy_cache in a chained location: replies that are stored or served after
# attempts that failed, failures that are stored themselves, stale replies,
# updates in the background and locks.  A second server has the same locations
# without chains, passing to the last step: the client has to get the same from
# both.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::MD5 qw(md5_hex);
use IO::Select;
use IO::Socket::UNIX;
use Test::More;
use Time::HiRes qw(sleep time);

use Slack qw(over stretch);
use Ways;
use Ways::Nginx;

my $text = lines(400);
my $big = lines(400_000);
my $threads = Ways::Nginx::has('threads');
my $slow = Ways::Nginx->slow();
my $k = $slow * stretch();
my $lm = 'Mon, 28 Sep 1970 06:00:00 GMT';

my @etag = ('ETag: "v1"', "Last-Modified: $lm", 'Accept-Ranges: bytes');
my @chunked = ('Transfer-Encoding: chunked');
my $hour = 'Cache-Control: max-age=3600';
my $keep = 'X-Accel-Expires: 3600';

# stored, but not valid for a moment

my $old = 'X-Accel-Expires: @1';

# what a failure says must not be taken for the word of the answer

my @noise = ('X-Failed: 1', 'Set-Cookie: failed=1', 'ETag: "failed"',
             'Last-Modified: Tue, 29 Sep 1970 06:00:00 GMT', 'Vary: *',
             'Content-Type: failed/failed', 'X-Accel-Expires: 0',
             'Cache-Control: no-store, no-cache, private, max-age=0');


# ---- the ways ---------------------------------------------------------------

# what "X-One: word" makes the way "one" say; $_[0] is "one 3" for the third
# request for that URI from one of the servers, $_[1] the request

my %say = (
    busy => sub { reply(429, "$_[0]\nslow down\n", @noise) },
    busy_rate => sub { reply(429, "$_[0]\n", 'X-Accel-Limit-Rate: 1') },
    busy_any => sub { reply(429, "$_[0]\nslow down\n", 'X-Failed: 1',
                            'ETag: "failed"') },
    busy_kept => sub { reply(429, "$_[0]\nslow down\n", $keep, 'X-Failed: 1') },
    busy_empty => sub { reply(429, '', $keep) },
    busy_chunked => sub { reply(429, undef, @chunked, $keep)
                         . chunks("$_[0]\n", "slow\n") },
    busy_until_close => sub { (reply(429, undef, 'Connection: close', $keep),
                              "$_[0]\n", [close => 1]) },
    busy_close => sub { reply(429, "$_[0]\n", 'Connection: close', $keep) },
    busy_short => sub { (reply(429, undef, 'Content-Length: 100', $keep),
                        "$_[0]\n", [close => 1]) },
    busy_short_chunk => sub { (reply(429, undef, @chunked, $keep),
                              "40\r\n$_[0]\n", [close => 1]) },
    busy_large => sub { reply(429, "$_[0]\n" . lines(100_000), $keep) },
    busy_large_chunked => sub {
        (reply(429, undef, @chunked, $keep),
         map { sprintf("%x\r\n%s\r\n", length $_, $_), [sleep => 0.005] }
             "$_[0]\n", unpack('(a25000)*', lines(200_000)))
    },
    busy_endless => sub { (reply(429, undef, @chunked, $keep),
                          [endless => "400\r\n" . 'x' x 1024 . "\r\n"]) },
    busy_slow => sub { (reply(429, undef, 'Content-Length: 30', $keep),
                       "$_[0]\n", [sleep => 8], 'x' x 30) },
    busy_big => sub { reply(429, "$_[0]\n" . lines(300_000), $keep) },
    busy_big_chunked => sub {
        (reply(429, undef, @chunked, $keep),
         chunks("$_[0]\n", unpack '(a50000)*', lines(300_000)))
    },
    busy_late => sub { ([sleep => 0.05], reply(429, "$_[0]\n")) },

    broken => sub { reply(500, "$_[0]\nbroken\n") },
    down => sub { reply(503, "$_[0]\nbroken\n", 'X-Last: 1') },
    gone => sub { [reset => 1] },
    junk => sub { ("HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n", [close => 1]) },
    hang => sub { [sleep => 30] },
    other => sub { reply(203, "$_[0]\n", $hour) },
    raw => sub { ("$_[0]\nno header\n", [close => 1]) },

    good => sub { reply(200, "$_[0]\n$text", @etag, $hour) },
    any => sub { reply(200, "$_[0]\n$text", @etag) },
    late => sub { ([sleep => 0.35 * $k],
                   reply(200, "$_[0]\n$text", $hour)) },
    very_late => sub { ([sleep => 0.7 * $k],
                        reply(200, "$_[0]\n$text", $hour)) },
    later => sub { ([sleep => 1.5 * $k],
                    reply(200, "$_[0]\n$text", $hour)) },
    bare => sub { reply(200, "$_[0]\n$text", @etag[0, 1], $hour) },
    chunked => sub { reply(200, undef, @etag, $hour, @chunked)
                     . chunks("$_[0]\n", $text) },
    until_close => sub { (reply(200, undef, $hour, 'Connection: close'),
                          "$_[0]\n$text", [close => 1]) },
    empty => sub { reply(200, '', @etag, $hour) },
    empty_chunked => sub { reply(200, undef, @chunked, $hour) . chunks() },
    moved => sub { reply(301, "$_[0]\nthere\n", 'Location: /there', $keep) },
    lost => sub { reply(404, "$_[0]\nnot here\n", $keep) },
    big => sub { reply(200, "$_[0]\n$big", @etag, $hour) },
    vary => sub { reply(200, "$_[0]\n$_[1]{h}{'accept-language'}[0]\n",
                        'Vary: Accept-Language', $hour) },
    vary_any => sub { reply(200, "$_[0]\n", 'Vary: *', $hour) },
    zero => sub { reply(200, "$_[0]\n", 'X-Accel-Expires: 0', $hour) },
    accel => sub { reply(200, "$_[0]\n", $keep, 'Cache-Control: no-store') },
    cookie => sub { reply(200, "$_[0]\n", 'Set-Cookie: a=b', $hour) },
    partial => sub {
        return reply(206, "$_[0]\n", 'Content-Range: bytes 15-21/407')
            if $_[1]{h}{range};
        return reply(200, "$_[0]\n$text", @etag, $hour);
    },
    short => sub { (reply(200, undef, 'Content-Length: 1000', $hour),
                    "$_[0]\n$text", [close => 1]) },
    short_chunked => sub { (reply(200, undef, @chunked, $hour),
                            chunks("$_[0]\n", $text) =~ s/0\r\n\r\n\z//r,
                            [close => 1]) },
    short_big => sub { (reply(200, undef, 'Content-Length: 2000000', $hour),
                        "$_[0]\n$big", [close => 1]) },
    pieces => sub { (reply(200, undef, 'Content-Length: 400006', $hour),
                     "$_[0]\n" . substr($big, 0, 100), [sleep => 0.1],
                     substr($big, 100)) },

    old => sub { reply(200, "$_[0]\n$text", @etag, $old) },
    old_404 => sub { reply(404, "$_[0]\nold\n", $old) },
    old_empty => sub { reply(200, '', @etag, $old) },
    old_big => sub { reply(200, "$_[0]\n$big", @etag, $old) },
    second => sub {
        reply(200, "$_[0]\n", 'Cache-Control: max-age=1,'
                              . ' stale-while-revalidate=3600,'
                              . ' stale-if-error=3600')
    },
    same => sub {
        return reply(304, undef, @etag, $hour)
            if ($_[1]{h}{'if-none-match'}[0] // '') eq '"v1"';
        return reply(200, "$_[0]\nnot asked\n", @etag, $hour);
    },
);


sub way {
    my ($name, $default) = @_;

    my %count;

    return sub {
        my ($req) = @_;

        my $h = $req->{h};
        my $n = ++$count{ $h->{'x-side'}[0] . " $req->{uri}" };
        my @reply = $say{ $h->{"x-$name"}[0] // $default }->("$name $n", $req);

        if ($req->{method} eq 'HEAD' && !ref $reply[0]) {
            @reply = ($reply[0] =~ /\A(.*?\r\n\r\n)/s);
        }

        return @reply;
    };
}


my %fcgi;

ways(
    one => way('one', 'busy'),
    two => way('two', 'good'),
    three => way('three', 'good'),
    four => way('four', 'busy'),
    five => way('five', 'good'),
    fcgi_one => sub {
        fcgi($_[0], "Status: 503 No\r\nX-Failed: 1\r\n$hour\r\n\r\nfailed\n")
    },
    fcgi_two => sub {
        my $h = $_[0]{h};
        my $n = ++$fcgi{"$h->{SIDE} $h->{REQUEST_URI}"};
        fcgi($_[0], "Content-Type: text/plain\r\n$hour\r\n\r\ntwo $n\n")
    },
);


# ---- locations: the chain, and what is said beside it -----------------------

my $step = 'proxy_cache_key $retry_chain_upstream$uri;';
my $named = 'proxy_cache_key $retry_chain_upstream$arg_k;';
my $any = 'proxy_cache_valid any 1m;';
my $updating = 'proxy_cache_use_stale updating;'
               . 'proxy_cache_background_update on;';

# the key is the URI, unless it is said

my %at = (
    shared => ['one two', ''],
    uncached => ['one two', 'proxy_cache off;'],
    step => ['one two', $step],
    default_key => ['one two',
                    'proxy_cache_key $scheme$proxy_host$request_uri;'],
    refused => ['one refused two', ''],
    alone => ['one', $named],
    named => ['one two', $named],
    many => ['one one one one two', $named],
    ninety => ['one attempts=90; retry_chain two', $step],

    any => ['one two', "$step $any"],
    any_shared => ['one two', $any],
    any_refused => ['refused two', "$step $any"],
    any_refused_shared => ['refused two', $any],
    any_page => ['one two', "$step $any proxy_intercept_errors on;"
                            . 'error_page 429 503 /page;'],

    bypass => ['one two', 'proxy_cache_bypass $arg_b;'],
    no_cache => ['one two', 'proxy_no_cache $arg_b $upstream_http_x_no;'],
    min_uses => ['one two', "$step proxy_cache_min_uses 2;"],
    min_uses_shared => ['one two', 'proxy_cache_min_uses 2;'],
    ignore => ['one two', 'proxy_ignore_headers Vary Set-Cookie Cache-Control'
                          . " X-Accel-Expires; $any $step"],
    no_convert => ['one two', 'proxy_cache_convert_head off;'
                              . 'proxy_cache_key $request_method$uri;'],
    force => ['one two', 'proxy_force_ranges on;'],
    max_offset => ['one two', 'proxy_cache_max_range_offset 10;'],
    unbuffered => ['one two', 'proxy_buffering off;'],
    buffers => ['one two', 'sendfile off; output_buffers 2 4k;'
                           . 'proxy_buffers 2 4k; proxy_busy_buffers_size 4k;'
                           . 'proxy_temp_file_write_size 4k;'],
    sendfile => ['one two', 'sendfile on; tcp_nopush on;'],

    stale => ['one two',
              'proxy_cache_use_stale error http_429 http_500 updating;'],
    stale_time => ['one two', 'proxy_cache_use_stale timeout;'
                              . "proxy_read_timeout @{[ 200 * $k ]}ms;"],
    stale_hard => ['one timeout=150ms; retry_chain two',
                   'proxy_cache_use_stale timeout;'],
    stale_error => ['one two', 'proxy_cache_use_stale error;'],
    stale_junk => ['one two', 'proxy_cache_use_stale invalid_header;'],
    stale_three => ['one two three', 'proxy_cache_use_stale error;'],
    stale_step => ['one two', "$step proxy_cache_use_stale error;"],
    updating => ['one two', 'proxy_cache_use_stale updating;'],
    background => ['one two', "$step $updating"],
    background_shared => ['one two', $updating],
    background_wait => ['one two; retry_chain three wait=100ms',
                        "$step $updating"],
    background_long => ['one; retry_chain two wait=30s', "$step $updating"],
    background_at => ['one @two', "$step $updating"],
    while => ['one two', "$step proxy_cache_background_update on;"],
    revalidate => ['one two', 'proxy_cache_revalidate on;'],
    revalidate_stale => ['one two', 'proxy_cache_revalidate on;'
                                    . 'proxy_cache_use_stale http_429;'],

    lock => ['one two', 'proxy_cache_lock on;'],
    lock_step => ['one two', "$step proxy_cache_lock on;"],
    lock_holds => ['four five', "$named proxy_cache_lock on;"],
    lock_short => ['four five', 'proxy_cache_key $arg_k; proxy_cache_lock on;'
                                . 'proxy_cache_lock_timeout 100ms;'],
    lock_timeout => ['four timeout=150ms; retry_chain five',
                     "$named proxy_cache_lock on;"],
    lock_deadline => ['four five', "$named proxy_cache_lock on;"
                                   . 'retry_chain_timeout 150ms;'],

    variables => ['one two',
                  'proxy_cache_revalidate on;'
                  . 'add_header X-Cache $upstream_cache_status always;'
                  . 'add_header X-Map $cached always;'
                  . 'add_header X-Validators "$upstream_cache_etag,'
                  . ' $upstream_cache_last_modified";'],
    rate => ['one two', "$named limit_rate 300k;"],
    rate_unbuffered => ['one two', "$named limit_rate 300k;"
                                   . 'proxy_buffering off;'],
    store => ['one two', 'proxy_cache off;'
                         . 'proxy_store %%DIR%%/store/$side$uri;'],
    store_other => ['one two', 'proxy_cache off; retry_chain_success 203;'
                               . 'proxy_store %%DIR%%/store/$side$uri;'],
);

if ($threads) {
    $at{threads} = ['one two', 'aio threads; aio_write on; sendfile off;'
                               . 'proxy_buffers 2 4k;'
                               . 'proxy_busy_buffers_size 4k;'];
    $at{threads_named} = ['one two', "$named aio threads; aio_write on;"];
    $at{threads_step} = ['one two', "$step aio threads; aio_write on;"];
    $at{threads_sendfile} = ['one two', 'aio threads; sendfile on;'];
}

my ($chains, $plain) = ('', '');

for my $name (sort keys %at) {
    my ($chain, $said) = @{ $at{$name} };
    my ($last) = $chain =~ /(\w+)(?: \w+=\w+)?\z/;

    $chains .= <<"EOC";
    location /$name/ {
        $said
        retry_chain $chain;
        proxy_pass http://\$retry_chain_upstream;
    }
EOC

    $said =~ s/\$retry_chain_upstream/$last/g;
    $plain .= "    location /$name/ { $said proxy_pass http://$last; }\n";
}

my $server = <<'EOC';
    set $side %%SIDE%%;
    proxy_cache %%SIDE%%;
    proxy_cache_key $uri;
    proxy_set_header Connection "";
    proxy_set_header X-Side $side;
    proxy_next_upstream off;
    fastcgi_param SIDE $side;
    fastcgi_param REQUEST_URI $request_uri;
    add_header X-Cache $upstream_cache_status always;
    access_log %%DIR%%/logs/%%SIDE%%.log cache;
    location = /page { internal; return 200 "page\n"; }
    location = /pid { return 200 $pid; }
    location @two { proxy_pass http://two; PROXY }
EOC

$server =~ s/PROXY/$updating/;

my $h2 = Ways::Nginx::has('http_v2_module') ? 'listen unix:%%DIR%%/h2 http2;'
                                            : '';

my $n = Ways::Nginx->start(http => <<"EOC");
proxy_cache_path %%DIR%%/cache_chain keys_zone=chain:2m;
proxy_cache_path %%DIR%%/cache_plain keys_zone=plain:2m;
fastcgi_cache_path %%DIR%%/cache_fcgi_chain keys_zone=fcgi_chain:1m;
fastcgi_cache_path %%DIR%%/cache_fcgi_plain keys_zone=fcgi_plain:1m;
upstream refused { server 127.0.0.1:1; }
map \$upstream_cache_status \$cached { default no; HIT yes; }
log_format cache '\$request_uri \$status \$retry_chain_result'
                 ' [\$retry_chain_steps] [\$retry_chain_statuses]'
                 ' \$upstream_cache_status \$limit_rate';
lingering_close off;
keepalive_requests 100000;

server {
    listen %%PORT%%;
    $h2
    @{[ $server =~ s/%%SIDE%%/chain/gr ]}
$chains
    location /fcgi/ {
        fastcgi_cache fcgi_chain;
        fastcgi_cache_key \$retry_chain_upstream\$request_uri;
        retry_chain fcgi_one fcgi_two;
        fastcgi_pass \$retry_chain_upstream;
    }
}

server {
    listen unix:%%DIR%%/plain;
    @{[ $server =~ s/%%SIDE%%/plain/gr ]}
$plain
    location /fcgi/ {
        fastcgi_cache fcgi_plain;
        fastcgi_cache_key fcgi_two\$request_uri;
        fastcgi_pass fcgi_two;
    }
}
EOC

my @sides = qw(plain chain);


# valid for a second, and looked at again at the end

for my $side (@sides) {
    talk($side, map { [$_, 'X-Two: second'] } '/while/1', '/step/while');
}

my $filled = time();

my $worker = $n->ask('/pid')->{body};
my @fds;

$n->wait_for(sub {
    @fds = fds();
    !grep { m{/temp/|/cache_} } @fds
});

# one client has a lock, others wait for it; the end of it, too, is below; these
# ways are asked by nobody else

my @has = map { client('chain') } 1, 2;
my @waits = map { client('chain') } 1 .. 3;

Ways::Nginx::send_all($has[0], rq('/lock_holds/?k=lock', 'X-Four: later'));
until_asked('four');
Ways::Nginx::send_all($waits[0], rq('/lock_timeout/?k=lock'));
Ways::Nginx::send_all($waits[1], rq('/lock_deadline/?k=lock'));
ways_reset();
Ways::Nginx::send_all($has[1], rq('/lock_short/1?k=short', 'X-Four: later'));
until_asked('four');
Ways::Nginx::send_all($waits[2], rq('/lock_short/2?k=short'));


# ---- stored after a failover ------------------------------------------------

for my $kind (qw(good chunked until_close empty empty_chunked moved lost big)) {
    for my $where (qw(shared sendfile buffers), $threads ? 'threads' : ()) {
        my $uri = "/$where/$kind";
        my @a = same("$where, $kind", map { [$_, "X-Two: $kind"] }
                     $uri, $uri, "HEAD $uri", $uri);

        is(caches(@a), 'MISS HIT HIT HIT', "$where, $kind: stored");
    }
}

is(runs('/shared/good', 1 .. 4), <<'EOC', 'a hit is an attempt of one step');
200 success [one, two] [429, 200] MISS
200 success [one] [200] HIT
200 success [one] [200] HIT
200 success [one] [200] HIT
EOC

is(runs('/shared/lost', 1, 2), <<'EOC', 'a stored failure');
404 exhausted [one, two] [429, 404] MISS
404 exhausted [one, two] [404, 404] HIT
EOC

for my $failure (qw(broken gone junk busy_rate busy_large
                   busy_until_close)) {
    my $uri = "/shared/after_$failure";
    my @a = same("after $failure", map { [$_, "X-One: $failure"] } $uri, $uri);

    is(seen(@a), '200 MISS two 1, 200 HIT two 1', "after $failure");
    is(sums(), 'one 1, two 1', "after $failure: requests");
}

my @a = same('after a timeout', map { ['/stale_time/1', 'X-One: hang'] } 1, 2);
is(seen(@a), '200 MISS two 1, 200 HIT two 1', 'after a timeout');

@a = same('after two failures', map { ["/refused/1"] } 1, 2);
is(runs('/refused/1', 1, 2), <<'EOC', 'after two failures');
200 success [one, refused, two] [429, 502, 200] MISS
200 success [one] [200] HIT
EOC

# what comes without a header is a 200, as it is without a cache

$n->get(rq("/$_/raw", 'X-One: raw', 'Connection: close'))
    for qw(shared uncached);
is(runs('/uncached/raw', 1), "009 success [one] [200] -\n", 'HTTP/0.9');

{
    is(runs('/shared/raw', 1), "009 success [one] [200] MISS\n",
       'HTTP/0.9 with a cache');
}

# with the step in the key each way has its own

for my $where (qw(step default_key)) {
    @a = same($where, map { ["/$where/1"] } 1 .. 3);
    is(seen(@a), '200 MISS two 1, 200 HIT two 1, 200 HIT two 1', $where);
    is(sums(), 'one 3, two 1', "$where: what fails is asked again");
    is(runs("/$where/1", 1, 2), <<'EOC', "$where: runs");
200 success [one, two] [429, 200] MISS
200 success [one, two] [429, 200] HIT
EOC
}

# by one way after the other

@a = talk('chain', ['/step/both'], map { ['/step/both', 'X-One: good'] } 1, 2);
is(seen(@a), '200 MISS two 1, 200 MISS one 2, 200 HIT one 2',
   'a way that is well again');

# pipelined

is(pipelined('chain', 6, '/shared/pipelined'),
   pipelined('plain', 6, '/shared/pipelined'), 'six requests at once');


# ---- conditions and ranges, of a fresh reply and of a stored one ------------

my @conditions = ('If-None-Match: "v1"', 'If-None-Match: "v2"',
                  'If-None-Match: "failed"', "If-Modified-Since: $lm",
                  'If-Match: "v2"', 'Range: bytes=6-20', 'Range: bytes=15-21',
                  'Range: bytes=-9', 'Range: bytes=0-3,15-21',
                  'Range: bytes=5000-', "Range: bytes=6-20\r\nIf-Range: \"v1\"",
                  "Range: bytes=6-20\r\nIf-Range: \"failed\"");

my %want = (
    'If-None-Match: "v1"' => '304 MISS, 304 HIT, 304 HIT, 200 HIT two 1',
    'If-None-Match: "failed"'
        => '200 MISS two 1, 200 HIT two 1, 200 HIT, 200 HIT two 1',
    'Range: bytes=6-20' => '206 MISS, 206 HIT, 206 HIT, 200 HIT two 1',
    'Range: bytes=0-3,15-21'
        => '200 MISS two 1, 206 HIT, 206 HIT, 200 HIT two 1',
);

for my $where (qw(shared force max_offset sendfile buffers unbuffered bypass)) {
    for my $i (0 .. $#conditions) {
        my $condition = $conditions[$i];
        my $uri = "/$where/if$i" . ($where eq 'bypass' ? '?b=1' : '');
        my $kind = $where eq 'force' ? 'bare' : 'partial';
        my @h = ($condition, "X-Two: $kind");

        @a = same("$where, $condition", [$uri, @h], [$uri, @h],
                  ["HEAD $uri", @h], [$uri, "X-Two: $kind"]);

        is(seen(@a), $want{$condition}, "$where, $condition: seen")
            if $where eq 'shared' && $want{$condition};
    }
}

@a = same('a range behind the offset', map { ['/max_offset/far', $_,
          'X-Two: partial'] } ('Range: bytes=15-21') x 2);
is(seen(@a), '206 MISS two 1, 206 MISS two 2',
   'a range behind the offset is asked for and not stored');

@a = same('a range of a big one', map { ['/sendfile/ranges', 'X-Two: big', $_] }
          'Range: bytes=200000-299999', 'Range: bytes=200000-299999',
          'Range: bytes=0-9,200000-299999,-7');
is(seen(@a), '206 MISS, 206 HIT, 206 HIT', 'a range of a big one');


# ---- HEAD -------------------------------------------------------------------

for my $kind (qw(good chunked empty big)) {
    @a = same("HEAD of $kind", map { [$_, "X-Two: $kind"] }
              "HEAD /shared/head_$kind", "HEAD /shared/head_$kind",
              "/shared/head_$kind", "HEAD /shared/head_$kind");
    is(caches(@a), 'MISS HIT HIT HIT', "HEAD of $kind fills the cache");
    is(calls(), "one GET /shared/head_$kind\ntwo GET /shared/head_$kind\n",
       "HEAD of $kind: GET for all attempts");
}

@a = same('HEAD as it is', map { [$_] } ('HEAD /no_convert/1') x 2,
          ('/no_convert/1') x 2);
like(calls(), qr/\Aone HEAD .*\ntwo HEAD .*\none GET/,
     'HEAD as it is: requests');


# ---- what is not stored, or not served --------------------------------------

@a = same('bypass', map { ["/bypass/1$_"] } '', '', '?b=1', '', '?b=1');
is(seen(@a), '200 MISS two 1, 200 HIT two 1, 200 BYPASS two 1, 200 HIT two 1,'
             . ' 200 BYPASS two 2', 'a bypass fills the cache');

@a = same('no_cache', map { ["/no_cache/1$_"] } '?b=1', '?b=1', '', '?b=1');
is(caches(@a), 'MISS MISS MISS HIT', 'no_cache');

@a = same('Vary', map { ['/shared/vary', 'X-Two: vary', "Accept-Language: $_"] }
          qw(en de en de fr));
is(caches(@a), 'MISS MISS HIT HIT MISS', 'Vary');

for my $kind (qw(vary_any zero cookie accel)) {
    @a = same($kind, map { ["/step/$kind", "X-Two: $kind"] } 1, 2);
    is(caches(@a), $kind eq 'accel' ? 'MISS HIT' : 'MISS MISS', $kind);

    @a = same("$kind, ignored", map { ["/ignore/$kind", "X-Two: $kind"] } 1, 2);
    is(caches(@a), 'MISS HIT', "$kind, ignored");
}

@a = same('min_uses', map { ['/min_uses/1'] } 1 .. 4);
is(caches(@a), 'MISS MISS HIT HIT', 'min_uses');

@a = talk('chain', map { ['/min_uses_shared/1'] } 1 .. 3);
is(caches(@a), 'MISS HIT HIT', 'min_uses counts attempts');

for my $kind (qw(short short_chunked short_big)) {
    for my $where (qw(shared buffers sendfile), $threads ? 'threads' : ()) {
        my $uri = "/$where/cut_$kind";

        @a = same("$where, $kind", [$uri, "X-Two: $kind"],
                  ["HEAD $uri", "X-Two: $kind"], [$uri], [$uri]);
        is(seen(@a), '200 MISS two 1 cut, 200 MISS, 200 MISS two 3,'
                     . ' 200 HIT two 3', "$where, $kind: not stored");
    }
}

# a client that leaves does not keep the reply from being stored

for my $side (@sides) {
    my $s = client($side);

    Ways::Nginx::send_all($s, rq('/shared/left', 'X-Two: pieces'));
    Ways::Nginx::read_all($s, until => qr/\n0{15}\n/);
    close $s;

    ok($n->wait_for(sub { stored($side, '/shared/left') }),
       "$side: stored for nobody");
}

@a = same('after a client that left', ['/shared/left']);
is(seen(@a), '200 HIT two 1', 'what was stored for nobody');


# ---- failures that are stored -----------------------------------------------

my %fate = (
    busy_kept => 1, busy_empty => 1, busy_chunked => 1,
    busy_until_close => 0, busy_close => 0, busy_short => 0,
    busy_short_chunk => 0, busy_large => 0, busy_large_chunked => 0,
    busy_endless => 0, busy_slow => 0,
);

for my $where ('step', $threads ? 'threads_step' : ()) {
    for my $kind (sort keys %fate) {
        my $uri = "/$where/$kind";
        my $name = "$where, $kind";

        @a = same("$name, discarded", map { [$_, "X-One: $kind"] } $uri, $uri);

        is(seen(@a), '200 MISS two 1, 200 HIT two 1', "$name: another way");
        is(sums(), 'one ' . ($fate{$kind} ? 1 : 2) . ', two 1',
           "$name: asked " . ($fate{$kind} ? 'once' : 'again'));
        is(!!stored('chain', "one$uri"), !!$fate{$kind},
           "$name: in the cache");
    }
}

is(runs('/step/busy_kept', 1, 2), <<'EOC', 'a stored failure is an attempt');
200 success [one, two] [429, 200] MISS
200 success [one, two] [429, 200] HIT
EOC

@a = same('any', map { ['/any/1', 'X-One: busy_any', 'X-Two: any'] } 1, 2);
is(seen(@a), '200 MISS two 1, 200 HIT two 1', 'any: another way');
is(sums(), 'one 1, two 1', 'any: nobody is asked twice');

@a = same('any, all fail', map { ['/any/2', 'X-One: busy_any', 'X-Two: down'] }
          1, 2);
is(seen(@a), '503 MISS two 1, 503 HIT two 1', 'any: the last failure');
unlike($a[1]{head}, qr/failed/i, 'any: and nothing of the first');
is(runs('/any/2', 1, 2), <<'EOC', 'any: the last failure, from the cache');
503 exhausted [one, two] [429, 503] MISS
503 exhausted [one, two] [429, 503] HIT
EOC

# the caveat: a key without the step

@a = talk('chain', ['/any_shared/1', 'X-One: busy_any']);
is(seen(@a), '429 HIT one 1', 'any, one key: the first failure for all steps');
is(runs('/any_shared/1', 1), "429 exhausted [one, two] [429, 429] HIT\n",
   'any, one key: the run');

# a failure without a reply

@a = same('any, refused', map { ['/any_refused/1', 'X-Two: any'] } 1, 2);
is(seen(@a), '200 MISS two 1, 200 HIT two 1', 'any, refused');
is(runs('/any_refused/1', 1, 2), <<'EOC', 'any, refused: the runs');
200 success [refused, two] [502, 200] MISS
200 success [refused, two] [502, 200] HIT
EOC
is(scalar(() = $n->log() =~ m{refused\).*"GET /any_refused/}g), 1,
   'any, refused: one connect');

@a = talk('chain', ['/any_refused_shared/1']);
is(seen(@a), '502 HIT', 'any, refused, one key');

# one that nginx would replace

@a = same('any, a page', map { ['/any_page/1', 'X-One: busy_any',
                                'X-Two: any'] } 1, 2);
is(seen(@a), '200 MISS two 1, 200 HIT two 1', 'any, a page that is not needed');
is(sums(), 'one 1, two 1', 'any, a page: requests');

@a = same('any, a page', map { ['/any_page/2', 'X-One: busy_any',
                                'X-Two: down'] } 1, 2);
is(join(' ', map { "$_->{status} $_->{body}" } @a), "503 page\n 503 page\n",
   'any, a page that is needed');
is(runs('/any_page/2', 1, 2) =~ s/ \S+$//mgr, <<'EOC', 'any, a page: the runs');
503 exhausted [one, two] [429, 503]
503 exhausted [one, two] [429, 503]
EOC

# large ones that were stored as somebody's answer, discarded from the cache

for my $kind (qw(busy_big busy_big_chunked busy_empty)) {
    my ($first) = talk('chain', ["/alone/?k=$kind", "X-One: $kind"]);

    is("$first->{status} $first->{end} " . caches($first),
       '429 complete MISS', "$kind: an answer");

    for my $where ('named', $threads ? 'threads_named' : ()) {
        ways_reset();
        @a = talk('chain', map { [$_] } ("/$where/?k=$kind") x 2,
                                        "HEAD /$where/?k=$kind");
        is(seen(@a) =~ s/ two \d//gr, ($where eq 'named' ? '200 MISS'
                                                         : '200 HIT')
                                      . ', 200 HIT, 200 HIT',
           "$kind: discarded, $where");
        unlike(calls(), qr/^one/m, "$kind: from the cache, $where");
    }
}


# ---- stale ------------------------------------------------------------------

# an attempt that fails but may be answered by a stale reply is a success

for my $case (['stale', 'busy_any'], ['stale', 'broken'], ['stale', 'gone'],
              ['stale_junk', 'junk'])
{
    my ($where, $failure) = @$case;
    my $uri = "/$where/$failure";
    my @fails = ("X-One: $failure", "X-Two: $failure");

    @a = same("$where, $failure", [$uri, 'X-Two: old'], [$uri, @fails],
              ["HEAD $uri", @fails], [$uri, @fails, 'If-None-Match: "v1"'],
              [$uri, @fails, 'Range: bytes=0-3,15-21'],
              [$uri, @fails, 'If-Match: "v2"']);
    is(seen(@a), '200 MISS two 1, 200 STALE two 1, 200 STALE, 304 STALE,'
                 . ' 206 STALE, 412 STALE', "$where, $failure");
    is(runs($uri, 2),
       "200 success [one] [200] STALE\n", "$where, $failure: no other step");
}

@a = same('stale, timeout', ['/stale_time/2', 'X-Two: old'],
          ['/stale_time/2', 'X-One: hang', 'X-Two: hang']);
is(seen(@a), '200 MISS two 1, 200 STALE two 1', 'stale, timeout');

for my $kind (qw(old_empty old_big)) {
    @a = same("stale, $kind", ["/stale/$kind", "X-Two: $kind"],
              map { ["/stale/$kind", 'X-One: gone', 'X-Two: gone'] } 1, 2);
    is(caches(@a), 'MISS STALE STALE', "stale, $kind");
}

@a = talk('chain', ['/stale_hard/1', 'X-Two: old'],
          ['/stale_hard/1', 'X-One: hang']);
is(seen(@a), '200 MISS two 1, 200 STALE two 1', 'stale, a timeout of the step');

# a failure that is not among the words, then one that is

@a = same('stale at the second', ['/stale_error/1', 'X-Two: old'],
          ['/stale_error/1', 'X-Two: gone']);
is(seen(@a), '200 MISS two 1, 200 STALE two 1', 'stale at the second');
is(runs('/stale_error/1', 2),
   "200 success [one, two] [429, 200] STALE\n", 'stale at the second: the run');

@a = same('fresh from the second', ['/stale_error/2', 'X-Two: old'],
          ['/stale_error/2'], ['/stale_error/2']);
is(seen(@a), '200 MISS two 1, 200 EXPIRED two 2, 200 HIT two 2',
   'fresh from the second');

@a = talk('chain', ['/stale_three/1', 'X-Two: old'],
          ['/stale_three/1', 'X-Two: gone']);
is(seen(@a), '200 MISS two 1, 200 STALE two 1', 'a step that is left');

@a = same('expired, all fail', ['/shared/expired', 'X-Two: old'],
          ['/shared/expired', 'X-Two: down'], ['/shared/expired'],
          ['/shared/expired']);
is(seen(@a), '200 MISS two 1, 503 EXPIRED two 2, 200 EXPIRED two 3,'
             . ' 200 HIT two 3', 'expired, all fail');

# a stale failure is a failure

@a = same('a stale failure', ['/stale_step/1', 'X-One: old_404'],
          ['/stale_step/1', 'X-One: gone']);
is(seen(@a), '200 MISS two 1, 200 HIT two 1', 'a stale failure');
is(runs('/stale_step/1', 2),
   "200 success [one, two] [404, 200] HIT\n", 'a stale failure: the run');

# stale for others while one fails over

for my $side (@sides) {
    talk($side, ['/updating/1', 'X-Two: old']);
}

ways_reset();

my %clients = map { $_ => client($_) } @sides;

Ways::Nginx::send_all($clients{$_}, rq('/updating/1', 'X-Two: very_late'))
    for @sides;
until_asked('two', 2);

my %got = map { $_ => [talk($_, ['/updating/1', 'X-Two: gone'])] } @sides;

for my $side (@sides) {
    is(seen(@{ $got{$side} }, answers($clients{$side}, 1)),
       '200 UPDATING two 1, 200 EXPIRED two 2', "$side: updating");
}


# ---- updates in the background ----------------------------------------------

# stale at once, while the step that had it is asked

my $uri = '/background/1';

for my $side (@sides) {
    talk($side, [$uri, 'X-Two: old']);
}

ways_reset();
%clients = map { $_ => client($_) } @sides;
Ways::Nginx::send_all($clients{$_}, rq($uri, 'X-Two: very_late') . rq($uri))
    for @sides;

%got = map { $_ => [answers($clients{$_}, 1), talk($_, [$uri])] } @sides;

for my $side (@sides) {
    is(seen(@{ $got{$side} }, answers($clients{$side}, 1)),
       '200 STALE two 1, 200 UPDATING two 1, 200 HIT two 2',
       "$side: an update in the background");
}

is(sums(), 'one 3, two 2', 'an update in the background: requests');

# with one key it is the first one; an update is not retried

@a = talk('chain', ['/background_shared/1', 'X-Two: old']);
ways_reset();
@a = talk('chain', map { ['/background_shared/1', @$_] } [], ['X-One: good'],
                                                         []);
is(seen(@a), '200 STALE two 1, 200 STALE two 1, 200 HIT one 3',
   'one key: the first step is asked');
is(sums(), 'one 2', 'one key: nobody else');

@a = same('an update that fails', ['/background/2', 'X-Two: old'],
          map { ['/background/2', "X-Two: $_"] } qw(gone broken good gone));
is(seen(@a), '200 MISS two 1, 200 STALE two 1, 200 STALE two 1,'
             . ' 200 STALE two 1, 200 HIT two 4', 'an update that fails');

# the update of a reply that is discarded outlives its attempt

$uri = '/background/3';

@a = talk('chain', [$uri, 'X-One: old_404']);
ways_reset();

my $s = client('chain');

Ways::Nginx::send_all($s, rq($uri, 'X-One: late') . rq($uri));
push @a, answers($s, 1);
until_asked('one');
is(calls(), "one GET $uri\n",
   'the update of a discarded reply: its step is asked');
push @a, answers($s, 1);
is(seen(@a), '200 MISS two 1, 200 HIT two 1, 200 HIT one 2',
   'the update of a discarded reply');
is(runs($uri, 1 .. 3), <<'EOC', 'the update of a discarded reply: the runs');
200 success [one, two] [404, 200] MISS
200 success [one, two] [404, 200] HIT
200 success [one] [200] HIT
EOC

# several, with a wait, which end before, during and after the run

for my $says (['good', 'good', 'good'], ['late', 'gone', 'good'],
              ['broken', 'late', 'broken'])
{
    my $uri = "/background_wait/" . join '_', @$says;
    my ($one, $two, $three) = @$says;

    talk('chain', [$uri, 'X-One: old_404', 'X-Two: old_404']);
    ways_reset();
    @a = talk('chain', [$uri, "X-One: $one", "X-Two: $two", "X-Three: $three"],
              ['/shared/good']);
    is(seen(@a), '200 HIT three 1, 200 HIT two 1', "@$says: several updates");
    is(sums(), 'one 1, two 1', "@$says: a request each");
}

# the client leaves while its run waits and an update is on its way

$uri = '/background_long/1';
$s = client('chain');
Ways::Nginx::send_all($s, rq($uri, 'X-One: old_404'));
$n->wait_for(sub { stored('chain', "one$uri") });
close $s;
ways_reset();
$s = client('chain');
Ways::Nginx::send_all($s, rq($uri, 'X-One: late'));
until_asked('one');
close $s;
is(runs($uri, 1, 2), <<'EOC' x 2, 'a client that leaves during an update');
499 aborted [one] [404] -
EOC

# or after it

for my $side (@sides) {
    talk($side, ['/background/left', 'X-Two: old']);
    ways_reset();

    my $s = client($side);

    Ways::Nginx::send_all($s, rq('/background/left', 'X-Two: late'));
    is(seen(answers($s, 1)), '200 STALE two 1', "$side: stale");
    until_asked('two');
    close $s;
    ok($n->wait_for(sub {
        seen(talk($side, ['/background/left', 'X-Two: gone'])) =~ /HIT two 2/
    }), "$side: and updated without the client");
}

# in another location

@a = talk('chain', ['/background_at/1', 'X-Two: old'], ['/background_at/1'],
          ['/background_at/1']);
is(seen(@a), '200 MISS two 1, 200 STALE two 1, 200 HIT two 2',
   'in an @location');


# ---- asked whether it has changed -------------------------------------------

for my $case (['', '200 REVALIDATED two 1'],
              ['If-None-Match: "v1"', '304 REVALIDATED'],
              ['Range: bytes=0-3,15-21', '206 REVALIDATED'],
              ['If-Match: "v2"', '412 REVALIDATED'])
{
    my ($h, $want) = @$case;
    my $uri = '/revalidate/' . $want =~ s/ .*//r;

    @a = same("revalidated, $h", [$uri, 'X-Two: old'],
              [$uri, 'X-Two: same', $h ? $h : ()], [$uri]);
    is(seen(@a), "200 MISS two 1, $want, 200 HIT two 1", "revalidated, $h");
    is(runs($uri, 2, 3), <<"EOC", "revalidated, $h: the runs");
@{[ substr $want, 0, 3 ]} success [one, two] [429, 200] REVALIDATED
200 success [one] [200] HIT
EOC
}

@a = same('revalidated, HEAD', ['/revalidate/head', 'X-Two: old'],
          ['HEAD /revalidate/head', 'X-Two: same'], ['/revalidate/head']);
is(seen(@a), '200 MISS two 1, 200 REVALIDATED, 200 HIT two 1',
   'revalidated, HEAD');

@a = talk('chain', ['/revalidate/one', 'X-Two: old'],
          ['/revalidate/one', 'X-One: same'], ['/revalidate/one']);
is(seen(@a), '200 MISS two 1, 200 REVALIDATED two 1, 200 HIT two 1',
   'revalidated by the first, which has not made it');

@a = same('changed', ['/revalidate/changed', 'X-Two: old'],
          ['/revalidate/changed'], ['/revalidate/changed']);
is(seen(@a), '200 MISS two 1, 200 EXPIRED two 2, 200 HIT two 2', 'changed');

@a = same('stale instead', ['/revalidate_stale/1', 'X-Two: old'],
          ['/revalidate_stale/1', 'X-Two: busy']);
is(seen(@a), '200 MISS two 1, 200 STALE two 1', 'stale instead');


# ---- locks ------------------------------------------------------------------

# one client fails over, the other one waits for what it gets

%clients = map { $_ => [client($_), client($_)] } @sides;

ways_reset();
Ways::Nginx::send_all($clients{$_}[0], rq('/lock/1', 'X-One: busy_late',
                                          'X-Two: late')) for @sides;
until_asked('one');
until_asked('two');
Ways::Nginx::send_all($clients{$_}[1], rq('/lock/1')) for @sides;

for my $side (@sides) {
    is(seen(map { answers($_, 1) } @{ $clients{$side} }),
       '200 MISS two 1, 200 HIT two 1', "$side: a lock");
}

is(sums(), 'one 1, two 2', 'a lock: requests');

is(runs('/lock/1', 1, 2), <<'EOC', 'a lock: the runs');
200 success [one, two] [429, 200] MISS
200 success [one] [200] HIT
EOC

# the second one fails over, too, and waits then

ways_reset();

my @s = map { client('chain') } 1, 2;

Ways::Nginx::send_all($s[0], rq('/lock_step/1', 'X-Two: late'));
until_asked('two');
Ways::Nginx::send_all($s[1], rq('/lock_step/1'));
@a = map { answers($_, 1) } @s;
is(seen(@a), '200 MISS two 1, 200 HIT two 1', 'a lock of the second step');
is(sums(), 'one 2, two 1', 'a lock of the second step: requests');

# all fail: the lock is given back each time

@a = same('a lock, all fail', map { ['/lock/2', "X-Two: $_"] }
          qw(down broken gone good good));
is(seen(@a), '503 MISS two 1, 500 MISS two 2, 502 MISS, 200 MISS two 4,'
             . ' 200 HIT two 4', 'a lock, all fail');


# ---- variables --------------------------------------------------------------

@a = same('variables', ['/variables/1', 'X-Two: old'], ['/variables/1'],
          ['/variables/1'], ['/variables/1', 'If-None-Match: "v1"']);
is(join(', ', map { "$_->{h}{'x-map'}[0] $_->{h}{'x-cache'}[0]" } @a),
   'no MISS, no EXPIRED, yes HIT, yes HIT', 'maps of the cache status');
is($a[1]{h}{'x-validators'}[0], "\"v1\", $lm", 'stored validators');

# what was fetched without a buffer has no limit, but what is stored does

same('a rate', map { ["/$_/?k=rate"] }
     qw(rate_unbuffered rate rate_unbuffered));
is(join(' ', map { /(\d+)$/ } logged('chain', '/rate/?k=rate', 1),
             logged('chain', '/rate_unbuffered/?k=rate', 1)), '307200 0',
   'a rate');

{
    is((logged('chain', '/rate_unbuffered/?k=rate', 2))[0] =~ s/.*\]//r,
       (logged('plain', '/rate_unbuffered/?k=rate', 2))[0] =~ s/.*\]//r,
       'the rate of a hit');
}


# ---- proxy_store, fastcgi_cache ---------------------------------------------

for my $kind (qw(good chunked until_close empty big short short_chunked moved
                 broken))
{
    my $uri = "/store/$kind";

    same("store, $kind", [$uri, "X-Two: $kind"]);

    my @files;

    # nginx stores what it has sent

    $n->wait_for(sub {
        @files = map { -f "$n->{dir}/store/$_$uri"
                       ? sum($n->slurp("store/$_$uri")) : 'none' }
                     qw(chain plain);
        $files[0] eq $files[1];
    });

    is($files[0], $files[1], "store, $kind: the file");
}

is($n->slurp('store/chain/store/good'), "two 1\n$text", 'store: the reply');

@a = talk('chain', ['/store_other/1', 'X-One: good', 'X-Two: other']);
is(seen(@a), '203 two 1', 'store, a 200 that is no success');

{
    ok(!-f "$n->{dir}/store/chain/store_other/1",
       'store, a 200 that is no success: no file');
}

@a = same('FastCGI', map { [$_] } '/fcgi/1', '/fcgi/1', 'HEAD /fcgi/1');
is(caches(@a), 'MISS HIT HIT', 'FastCGI');
is(runs('/fcgi/1', 1, 2), <<'EOC', 'FastCGI: runs');
200 success [fcgi_one, fcgi_two] [503, 200] MISS
200 success [fcgi_one, fcgi_two] [503, 200] HIT
EOC


# ---- large ones, read slowly ------------------------------------------------

for my $where (qw(shared sendfile buffers),
               $threads ? qw(threads threads_sendfile) : ())
{
    my $uri = "/$where/slow";

    for my $cache (qw(MISS HIT)) {
        my $s = client('chain');

        Ways::Nginx::send_all($s, rq($uri, 'X-Two: big'));
        sleep 0.05;
        @a = answers($s, 1);
        is(caches(@a) . " $a[0]{end} " . sum($a[0]{body}),
           "$cache complete " . sum("two 1\n$big"), "$where: slowly, $cache");
    }

    # one that is not read to its end

    my $s = client('chain');

    Ways::Nginx::send_all($s, rq($uri));
    sysread $s, my $start, 1000;
    like($start, qr/^X-Cache: HIT\r/m, "$where: only the beginning");
}


# ---- HTTP/2 -----------------------------------------------------------------

SKIP: {
    my $curl = `curl --version 2>/dev/null` // '';

    skip 'no curl with HTTP/2', 4 if $curl !~ /HTTP2/ || !$h2;

    is(h2('/background/h2', 'X-Two: old'), '200 MISS two 1', 'HTTP/2: MISS');
    is(h2('/background/h2'), '200 STALE two 1', 'HTTP/2: stale');
    ok($n->wait_for(sub { h2('/background/h2') eq '200 HIT two 2' }),
       'HTTP/2: updated');
    is(h2('/background/h2', 'X-One: busy_kept'), '200 HIT two 2',
       'HTTP/2: HIT');
}


# ---- nothing is left behind -------------------------------------------------

talk('chain', ['/many/?k=many', 'X-One: busy_kept']);
ways_reset();
is(sums(), '', 'no requests yet');

my (@rss, @wrong);

for my $round (1 .. 6) {
    my $s = client('chain');

    for (1 .. 10) {
        Ways::Nginx::send_all($s, rq('/many/?k=many') x 20);
        push @wrong, grep { seen($_) ne '200 HIT two 1' } answers($s, 20);
    }

    push @rss, rss();
}

is(scalar @wrong, 0, 'many runs with stored failures');
is(sums(), '', 'many runs: no requests');

SKIP: {
    skip 'memory is not what it was', 1 if Ways::Nginx->slow() > 1;

    cmp_ok($rss[-1] - $rss[1], '<=', 512, "many runs: memory, kB: @rss");
}

# in a run of ninety

@a = talk('chain', ['/ninety/1', 'X-One: busy_kept'], ['/ninety/1']);
is(seen(@a), '200 MISS two 1, 200 HIT two 1', 'ninety stored failures');

# files of discarded ones are closed while the run goes on

$s = client('chain');
ways_reset();
Ways::Nginx::send_all($s, rq('/many/?k=many') x 2 . rq('/background/late',
                      'X-One: busy_kept', 'X-Two: late'));
until_asked('two');
is(scalar(grep { m{/cache_} } fds()), 0, 'discarded ones are closed');
is(seen(answers($s, 3)), '200 HIT two 1, 200 HIT two 1, 200 MISS two 1',
   'and the answers');


# ---- time -------------------------------------------------------------------

my $left = $filled + 2.2 - time();

sleep $left if $left > 0;

for my $side (@sides) {
    @a = talk($side, ['/while/1', 'X-Two: good']);
    is(seen(@a), '200 STALE two 1', "$side: stale while revalidated");
    ok($n->wait_for(sub { seen(talk($side, ['/while/1'])) eq '200 HIT two 2' }),
       "$side: revalidated");
}

@a = same('stale if error', ['/step/while', 'X-Two: gone']);
is(seen(@a), '200 STALE two 1', 'stale if error');

# waiting for a lock

is(seen(map { answers($_, 1) } @has), '200 MISS four 1, 200 MISS four 1',
   'who has a lock');
is(seen(answers($waits[2], 1)), '200 MISS five 1', 'who does not wait for it');
is(runs('/lock_short/2?k=short', 1),
   "200 success [four, five] [429, 200] MISS\n",
   'who does not wait for it: the run');

{
    is(seen(answers($waits[0], 1)), '200 MISS five 1', 'the timeout of a step');
    is((answers($waits[1], 1))[0]{status}, 504, 'the deadline of a run');
}


# ---- afterwards -------------------------------------------------------------

undef $_ for @has, @waits;
ok($n->wait_for(sub { "@{[ fds() ]}" eq "@fds" }), 'no file is open')
    or diag("before: @fds\nnow: @{[ fds() ]}");
is($n->bad(), '', 'a clean log');
unlike($n->log(), qr/stalled cache/, 'no stalled update');
is($n->ask('/pid')->{body}, $worker, 'the worker is still the same');

# during an update of a discarded reply

talk('chain', ['/background_wait/quit', 'X-One: old_404']);
ways_reset();
$s = client('chain');
Ways::Nginx::send_all($s, rq('/background_wait/quit', 'X-One: late'));
until_asked('one');
$n->signal('QUIT');
is(seen(answers($s, 1)), '200 HIT two 1', 'an answer at the end');
ok($n->ended(5), 'the end');
is($n->bad(), '', 'a clean log at the end');

done_testing();


# ---- clients ----------------------------------------------------------------

sub client {
    my ($side) = @_;

    return $n->connect() if $side eq 'chain';
    return IO::Socket::UNIX->new(Peer => "$n->{dir}/plain") || die "plain: $!";
}


# "HEAD /uri" or "/uri", and header lines

sub rq {
    my ($line, @headers) = @_;

    $line = "GET $line" if $line !~ / /;

    return join "\r\n", "$line HTTP/1.1", 'Host: a', @headers, '', '';
}


# the next answers on a connection

sub answers {
    my ($s, $count, $head) = @_;

    my $raw = delete ${*$s}{rest} // '';
    my $start = time();
    my @got;

    while (@got < $count) {
        my $a = Ways::Nginx::answer($raw, head => $head);

        if ($a->{end} eq 'complete') {
            push @got, $a;
            $raw = $a->{rest};
            next;
        }

        my $select = IO::Select->new($s);
        my $ready;

        1 until ($ready = $select->can_read(0.5))
                || over($start, (10 + 2 * $k) * $slow);

        if (!$ready || !sysread $s, $raw, 1_000_000, length $raw) {
            push @got, $a;
            last;
        }
    }

    ${*$s}{rest} = $raw;

    return @got;
}


# one request after the other, on one connection as long as it is kept

sub talk {
    my ($side, @requests) = @_;

    my ($s, @got);

    for my $request (@requests) {
        my $head = $request->[0] =~ /^HEAD/;
        my $a;

        if ($s) {
            Ways::Nginx::send_all($s, rq(@$request));
            ($a) = answers($s, 1, $head);
        }

        if (!$a || $a->{raw} eq '') {
            $got[-1]{closed} = 1 if $a;

            $s = client($side);
            Ways::Nginx::send_all($s, rq(@$request));
            ($a) = answers($s, 1, $head);
        }

        if ($a->{end} ne 'complete'
            || ($a->{h}{connection}[0] // '') eq 'close')
        {
            $s = undef;
        }

        push @got, $a;
    }

    return @got;
}


# what the chain answers, which is what the client gets without one

sub same {
    my ($name, @requests) = @_;

    my @plain = talk('plain', @requests);

    ways_reset();

    my @chain = talk('chain', @requests);

    is(join("\n", map { look($_) } @chain),
       join("\n", map { look($_) } @plain), "$name: as without a chain");

    return @chain;
}


sub look {
    my ($a) = @_;

    my $body = $a->{body} =~ s/\d{20}/NUMBER/gr;
    my $head = $a->{head} =~ s/^Date:.*\r\n//mr =~ s/(boundary=)\d+/$1/r;

    return "$a->{end} " . sum($body) . ($a->{closed} ? " closed\n" : "\n")
           . $head;
}


sub pipelined {
    my ($side, $count, $uri) = @_;

    my $s = client($side);

    Ways::Nginx::send_all($s, rq($uri) x $count);

    return join "\n", map { look($_) } answers($s, $count);
}


sub caches {
    return join ' ', map { $_->{h}{'x-cache'}[0] // '-' } @_;
}


# "200 HIT two 1": the status, the cache's word, who has made the reply

sub seen {
    return join ', ', map {
        my $cache = $_->{h}{'x-cache'}[0];
        my ($who) = $_->{body} =~ /\A(\w+ \d+)\n/;

        join ' ', $_->{status}, $cache // (), $who // (),
                  $_->{end} eq 'complete' ? () : 'cut'
    } @_;
}


sub h2 {
    my ($uri, @headers) = @_;

    my $h = join ' ', map { "-H '$_'" } @headers;
    my $to = "--unix-socket $n->{dir}/h2 http://a$uri";
    my $raw = `curl -s -i --http2-prior-knowledge --max-time 60 $h $to`;
    my ($status) = $raw =~ /\AHTTP\/2 (\d+)/;
    my ($cache) = $raw =~ /^x-cache: (\S+)\r$/m;
    my ($who) = $raw =~ /\r\n\r\n(\w+ \d+)\n/;

    return join ' ', map { $_ // '-' } $status, $cache, $who;
}


# ---- the others -------------------------------------------------------------

# "one GET /": a line for each request since the reset

sub calls {
    return join '', map { /^(one|two|three) [\d.]+( [A-Z].*)/ ? "$1$2\n" : () }
                    split /\n/, ways_calls();
}


# "one 2, two 1"

sub sums {
    my %sum;

    $sum{$_}++ for calls() =~ /^(\w+)/mg;

    return join ', ', map { "$_ $sum{$_}" } sort keys %sum;
}


sub until_asked {
    my ($way, $count) = @_;

    $n->wait_for(sub {
        (() = ways_calls() =~ /^\Q$way\E [\d.]+ [A-Z]/mg) >= ($count // 1)
    }) or diag("$way was not asked");
}


# lines of the log, by their numbers among those for a URI

sub runs {
    my ($uri, @which) = @_;

    return join '', map { s/ \d+$//r . "\n" } logged('chain', $uri, @which);
}


sub logged {
    my ($side, $uri, @which) = @_;

    my @lines;

    $n->wait_for(sub {
        @lines = $n->slurp("logs/$side.log") =~ /^\Q$uri\E (.*)\n/mg;
        @lines >= $which[-1]
    });

    return map { $_ // 'none' } @lines[map { $_ - 1 } @which];
}


sub stored {
    my ($side, $key) = @_;
    return -s "$n->{dir}/cache_$side/" . md5_hex($key);
}


# what the worker has open

sub fds {
    my %count;

    for my $fd (glob("/proc/$worker/fd/*")) {
        my $to = readlink $fd // next;

        $count{ $to =~ s/:\[\d+\]//r =~ s/^\Q$n->{dir}\E//r }++
            if $to =~ m{^/};
    }

    return map { "$_:$count{$_}" } sort keys %count;
}


sub rss {
    open my $in, '<', "/proc/$worker/status" or return 0;
    my ($kb) = map { /^VmRSS:\s+(\d+)/ ? $1 : () } <$in>;
    return $kb;
}
