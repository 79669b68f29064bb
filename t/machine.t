#!/usr/bin/perl

# retry_chain_machine: state machines of the Amazon States Language as they are,
# the seed's one byte for byte; and what is refused when nginx starts.

use strict;
use warnings;

use File::Temp qw(tempdir);
use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP qw(decode_json encode_json);
use POSIX qw(mkfifo);
use Test::More;
use Time::HiRes qw(sleep time);

use Ways;
use Ways::Nginx qw(request);

my $dir = tempdir('retry_chain_machine.XXXXXX', TMPDIR => 1, CLEANUP => 1);
chmod 0755, $dir;

my $seed = do {
    local (@ARGV, $/) = "$FindBin::Bin/../conf/state-machine.json";
    <>;
};

# a way answers what the request says: "say-a: 429 | 200"

my %turn;

sub vendor {
    my ($way, $req) = @_;

    my @say = split / \| /, $req->{h}{ lc "say-$way" }[0] // '';
    my $say = $say[ $turn{"$way $req->{uri}"}++ ] // $say[-1] // '200';
    my $body = $say =~ s/ (\{.*|".*)//s ? $1 : "$way $say\n";

    return [close => 1] if $say eq 'close';
    return ("HTTP/1.1 200 OK\r\n: x\r\n", [close => 1]) if $say eq 'junk';
    return ([sleep => 3], [close => 1]) if $say eq 'hang';

    return reply($say, $body, "X-From: $way",
                 $body =~ /^[{"]/ ? 'Content-Type: application/json' : (),
                 $say == 429 ? 'Retry-After: 7' : ());
}

ways(map { my $way = $_; ($way => sub { vendor($way, @_) }) }
     qw(a b c apiProxy1 apiProxy2 apiProxy3));

my $arn = 'arn:aws:lambda:eu-west-1:123456789012:function';


# a Task that calls a function; what follows it and other fields

sub task {
    my ($name, %more) = @_;

    return { Type => 'Task', Resource => 'arn:aws:states:::lambda:invoke',
             OutputPath => '$.Payload',
             Parameters => { 'Payload.$' => '$',
                             FunctionName => "$arn:$name:\$LATEST" },
             %more };
}

sub on {
    my ($status, $next, $default) = @_;

    return { Type => 'Choice', Default => $default,
             Choices => [ { Variable => '$.statusCode',
                            NumericEquals => $status, Next => $next } ] };
}

my $ok = { Type => 'Succeed' };

my %machines = (

    quick => { StartAt => 'A', States => {
        A => task('a', Next => 'A?'), 'A?' => on(200, 'ok', 'B'),
        B => task('b', Next => 'B?'), 'B?' => on(200, 'ok', 'C'),
        C => task('c', End => JSON::PP::true), ok => $ok } },

    rules => { StartAt => 'A', States => {
        A => task('a', Next => 'A?', TimeoutSeconds => 1, Retry => [
                  { ErrorEquals => ['Lambda.SdkClientException'],
                    IntervalSeconds => 1, MaxAttempts => 1 } ]),
        'A?' => on(200, 'ok', 'B'),
        B => task('b', End => JSON::PP::true), ok => $ok } },

    catch => { StartAt => 'A', States => {
        A => task('a', Next => 'A?', TimeoutSeconds => 1, Catch => [
                  { ErrorEquals => ['States.Timeout'], Next => 'Late' },
                  { ErrorEquals => ['States.ALL'], Next => 'B' } ]),
        'A?' => on(200, 'ok', 'Refused'),
        B => task('b', End => JSON::PP::true),
        Late => { Type => 'Fail', Error => 'Late', Cause => 'it "took" too long' },
        Refused => { Type => 'Fail', Error => 'Refused' },
        ok => $ok } },

    body => { StartAt => 'A', States => {
        A => task('a', Next => 'A?'),
        'A?' => { Type => 'Choice', Default => 'B', Choices => [
            { And => [ { Variable => '$.statusCode', NumericEquals => 200 },
                       { Not => { Variable => '$.body.error',
                                  IsPresent => JSON::PP::true } } ],
              Next => 'ok' },
            { Variable => '$.headers.X-From', StringEquals => 'nobody',
              Next => 'ok' },
            { Variable => '$.body.error.final', BooleanEquals => JSON::PP::true,
              Next => 'ok' } ] },
        B => task('b', End => JSON::PP::true), ok => $ok } },

    wait => { StartAt => 'Wait', States => {
        Wait => { Type => 'Wait', Seconds => 1, Next => 'A' },
        A => task('a', End => JSON::PP::true) } },

    long => { StartAt => 'Wait', States => {
        Wait => { Type => 'Wait', Seconds => 40, Next => 'A' },
        A => task('a', End => JSON::PP::true) } },
);

my $n;
my $locations = '';

for my $name (sort keys %machines) {
    put("$name.json", encode_json($machines{$name}));
    $locations .= "location /$name/ { retry_chain_machine $dir/$name.json"
                  . ($name eq 'catch' ? ' fail=503' : '') . ';'
                  . 'proxy_pass http://$retry_chain_upstream; }' . "\n";
}

put('seed.json', $seed);

$n = Ways::Nginx->start(http => <<"EOC");
log_format machine '\$request_uri \$status \$retry_chain_result '
                   '[\$retry_chain_steps] [\$retry_chain_statuses] '
                   '[\$retry_chain_waits]';

server {
    listen %%PORT%%;
    access_log logs/access.log machine;
    $locations

    location /seed/ {
        retry_chain_machine $dir/seed.json;
        proxy_pass http://\$retry_chain_upstream;
    }

    location /limited/ {
        retry_chain_machine $dir/quick.json;
        retry_chain_zone limited 256k;
        proxy_pass http://\$retry_chain_upstream;
    }

    # another chain with the same zone and step

    location /shared/ {
        retry_chain a b;
        retry_chain_zone limited;
        proxy_pass http://\$retry_chain_upstream;
    }

    location /deadline/ {
        retry_chain_machine $dir/long.json;
        retry_chain_timeout 30s;
        proxy_pass http://\$retry_chain_upstream;
    }
}
EOC

# the seed's machine with its wait of five seconds: begun now, looked at last

my $seed_socket = $n->connect();
my $seed_start = time();
print $seed_socket request('GET', '/seed/1', '')
    =~ s/\r\n\r\n/\r\nsay-apiProxy1: 429\r\nsay-apiProxy2: 503\r\n\r\n/r;

is(said('/seed/2'), '200 success [apiProxy1] [200] [0.000] apiProxy1 200',
   'the seed\'s machine: a success');

is(said('/shared/1', a => 500), '200 success [a, b] [500, 200] [0.000, 0.000] b 200',
   'a chain that shares its zone and steps with a machine');
is(said('/quick/1'), '200 success [a] [200] [0.000] a 200', 'the first state');
is(said('/quick/2', a => 429, b => 404, c => 200),
   '200 success [a, b, c] [429, 404, 200] [0.000, 0.000, 0.000] c 200',
   'every status is data');
is(said('/quick/3', a => 429, b => 500, c => 429),
   '429 exhausted [a, b, c] [429, 500, 429] [0.000, 0.000, 0.000] c 429',
   'the last failure with its own status');
is(ask('/quick/4', a => 500, b => 500, c => 429)->{h}{'retry-after'}[0], 7,
   'and its headers');
is(said('/quick/5', a => 201, b => 302, c => 200),
   '200 success [a, b, c] [201, 302, 200] [0.000, 0.000, 0.000] c 200',
   'a success is what the machine takes for one');
is(said('/quick/6', a => 'close', b => 'junk', c => 200),
   '200 success [a, b, c] [502, 502, 200] [0.000, 0.000, 0.000] c 200',
   'a failure of the upstream goes on as a reply does');
is(said('/quick/7', a => 'close', b => 'close', c => 'close') =~ s/ <.*//sr,
   '502 exhausted [a, b, c] [502, 502, 502] [0.000, 0.000, 0.000]',
   'to the end');

is(said('/rules/1', a => 'close | 200'),
   '200 success [a, a] [502, 200] [0.000, 1.000] a 200',
   'Retry: for a failure of the upstream');
is(said('/rules/2', a => '429', b => 200),
   '200 success [a, b] [429, 200] [0.000, 0.000] b 200', 'not for a reply');
is(said('/rules/3', a => 'close', b => 200),
   '200 success [a, a, b] [502, 502, 200] [0.000, 1.000, 0.000] b 200',
   'MaxAttempts counts retries');

is(said('/catch/1', a => 'close'),
   '200 success [a, b] [502, 200] [0.000, 0.000] b 200', 'Catch');

{
    my $x = ask('/catch/2', a => 'hang');

    is("$x->{status} $x->{h}{'content-type'}[0]", '503 application/json',
       'Fail with a status that is configured');
    is_deeply(decode_json($x->{body}),
              { Error => 'Late', Cause => 'it "took" too long' },
              'its Error and Cause');
    is(logged('/catch/2'), '503 exhausted [a] [504] [0.000]', 'in the log');

    $x = ask('/catch/3', a => 404);
    is("$x->{status} $x->{body}", qq(503 {"Error":"Refused","Cause":""}\n),
       'Fail instead of a reply');
    is($x->{h}{'x-from'}, undef, 'of which nothing is seen');
    is(logged('/catch/3'), '503 exhausted [a] [404] [0.000]', 'in the log');
}

is(said('/body/1', a => '200 {"x":1}'),
   '200 success [a] [200] [0.000] {"x":1}', 'a condition on the body holds');
is(said('/body/2', a => '200 {"error":{}}'),
   '200 success [a, b] [200, 200] [0.000, 0.000] b 200', 'or does not');
is(said('/body/3', a => '500 {"error":{"final":true}}'),
   '500 exhausted [a] [500] [0.000] {"error":{"final":true}}',
   'another branch');
is(said('/body/4', a => '500'),
   '200 success [a, b] [500, 200] [0.000, 0.000] b 200', 'no JSON');

{
    my $start = time();
    is(said('/wait/1'), '200 success [a] [200] [1.000] a 200',
       'a Wait before the first Task');
    cmp_ok(time() - $start, '>=', 0.99, 'is made');

    $start = time();
    is(said('/deadline/1') =~ s/ <.*//sr, '504 deadline [-] [-] [-]',
       'but not beyond the deadline');
    cmp_ok(time() - $start, '<', 15, 'for which nobody waits');
}

# a limit is one of the upstream, whatever the machine

is(said('/limited/1', a => 429),
   '200 success [a, b] [429, 200] [0.000, 0.000] b 200', 'a hint');
is(said('/limited/2'), '200 success [b] [200] [0.000] b 200',
   'the machine goes on as if it had answered 429');
is(ways_calls_of('/limited/2'), 'b', 'without a call');

# methods

is(said_of('POST', '/quick/8', a => 500),
   '500 unsafe [a] [500] [0.000] a 500', 'what is not safe is not repeated');
is(said_of('POST', '/quick/9', a => 429),
   '200 success [a, b] [429, 200] [0.000, 0.000] b 200', 'what was refused is');

# at start

for my $case (
    ['retry_chain_machine none.json;',
     qr{open\(\) "\S+/conf/none.json" failed .* in \S+:\d+}],
    ['retry_chain_machine /;', qr{"/" is not a file in }],
    ["retry_chain_machine $dir/pipe;", qr{"$dir/pipe" is not a file in }],
    ["retry_chain_machine $dir/quick.json; retry_chain a;",
     qr/"retry_chain" directive is used together with "retry_chain_machine" in/],
    ["retry_chain a; retry_chain_machine $dir/quick.json;",
     qr/"retry_chain_machine" directive is used together with "retry_chain" in/],
    ["retry_chain_machine $dir/quick.json; retry_chain_machine $dir/quick.json;",
     qr/"retry_chain_machine" directive is duplicate/],
    ["retry_chain_machine $dir/quick.json; retry_chain_success 200;",
     qr/"retry_chain_success" has no effect together with "retry_chain_machine" in \S+:\d+/],
    ["retry_chain_machine $dir/quick.json; retry_chain_stop 404;",
     qr/"retry_chain_stop" has no effect together/],
    ["retry_chain_machine $dir/quick.json; retry_chain_retry error;",
     qr/"retry_chain_retry" has no effect together/],
    ["retry_chain_machine $dir/quick.json; retry_chain_json \$.error;",
     qr/"retry_chain_json" has no effect together/],
    ["retry_chain_machine $dir/quick.json fail=99;",
     qr/invalid parameter "fail=99"/],
    ["retry_chain_machine $dir/quick.json fail=600;",
     qr/invalid parameter "fail=600"/],
    ["retry_chain_machine $dir/quick.json status=500;",
     qr/invalid parameter "status=500"/],
    ["retry_chain_machine $dir/quick.json fail=500 fail=500;",
     qr/invalid number of arguments/],
    ["retry_chain_machine $dir/empty.json;", qr/machine "\S+empty.json": /],
    ["retry_chain_machine $dir/large.json;",
     qr/machine "\S+large.json" is larger than 262144 bytes/],
    ["retry_chain_machine $dir/cycle.json;",
     qr/machine "\S+cycle.json": .* in \S+nginx.conf:\d+/],
    ["retry_chain_machine $dir/unknown.json;",
     qr/no port in upstream "nobody"|host not found in upstream "nobody"/],
) {
    my ($config, $error) = @$case;

    mkfifo("$dir/pipe", 0600);
    put('empty.json', '');
    put('large.json', '"' . ' ' x 262144 . '"');
    put('cycle.json', encode_json({ StartAt => 'A', States => {
        A => task('a', Next => 'B'), B => task('b', Next => 'A') } }));
    put('unknown.json', encode_json({ StartAt => 'A', States => {
        A => task('nobody', End => JSON::PP::true) } }));

    my ($status, $said) = check($config);

    isnt($status, 0, "refused: " . $config =~ s{\Q$dir\E/}{}gr);
    like($said, $error, 'with its reason');
    unlike($said, qr/core dumped|Sanitizer/, 'and no more');
}

for my $case (
    ["retry_chain_machine $dir/seed.json;",
     qr/\[warn\] .*the machine in \S+nginx.conf:\d+ can wait for 383000 ms in all, but its runs end after 60000 ms/],
    ["retry_chain_machine $dir/quick.json;", undef],
    ["retry_chain_machine $dir/seed.json; retry_chain_timeout off;", undef],
) {
    my ($config, $warning) = @$case;
    my ($status, $said) = check($config);

    is($status, 0, 'accepted: ' . $config =~ s{\Q$dir\E/}{}gr);
    $warning ? like($said, $warning, 'with a warning')
             : unlike($said, qr/\[warn\]/, 'without a warning');
}

# the seed's machine

{
    my $x = Ways::Nginx::answer(Ways::Nginx::read_all($seed_socket));

    is("$x->{status} $x->{body}", "200 apiProxy3 200\n",
       'the seed\'s machine: two failures');
    is(logged('/seed/1'),
       '200 success [apiProxy1, apiProxy2, apiProxy3] [429, 503, 200]'
       . ' [0.000, 5.000, 0.000]', 'five seconds before the second, none'
       . ' before the third');
    cmp_ok(time() - $seed_start, '>=', 5, 'they have passed');
}

unlike($n->log(), qr/\[(?:alert|crit|emerg)\]/, 'nothing else in the log');

done_testing();


sub put {
    my ($file, $text) = @_;

    open my $out, '>', "$dir/$file" or die "$dir/$file: $!";
    print $out $text;
    close $out;
}


sub ask {
    my ($uri, %say) = @_;

    return ask_of('GET', $uri, %say);
}


sub ask_of {
    my ($method, $uri, %say) = @_;

    my $headers = join '', map { "\r\nsay-$_: $say{$_}" } sort keys %say;
    my $request = request($method, $uri, $method eq 'POST' ? 'x' : '')
                  =~ s/\r\n\r\n/$headers\r\n\r\n/r;

    return $n->until_logged(sub { $n->ask($request) });
}


sub logged {
    my ($uri) = @_;

    my ($line) = $n->access() =~ /^\Q$uri\E (.*)/m;

    return $line;
}


sub said {
    return said_of('GET', @_);
}


sub said_of {
    my ($method, $uri, @say) = @_;

    my $x = ask_of($method, $uri, @say);

    return logged($uri) . ' ' . $x->{body} =~ s/\n\z//r;
}


sub ways_calls_of {
    my ($uri) = @_;

    return join ' ', ways_calls() =~ /^(\w+) \S+ \S+ \Q$uri\E$/mg;
}


# whether nginx starts with a location like that, and what it says

sub check {
    my ($location) = @_;

    my $test = "$dir/check";
    mkdir $test;
    mkdir "$test/$_" for qw(conf logs);

    my $ways = ways_upstreams();

    open my $out, '>', "$test/conf/nginx.conf" or die "$test: $!";
    print $out <<"EOT";
$n->{load}
error_log $test/logs/error.log;
pid $test/logs/pid;

events { }

http {
    $ways

    server {
        listen unix:$test/s;

        location / {
            $location
            proxy_pass http://\$retry_chain_upstream;
        }
    }
}
EOT
    close $out;

    my $said = `$n->{nginx} -t -p $test/ -c $test/conf/nginx.conf -e $test/error.log 2>&1`;

    return ($?, $said);
}
