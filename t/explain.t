#!/usr/bin/perl

# make explain: what it says of the machine of the article, and of one that has
# everything else.

use strict;
use warnings;

use File::Temp;
use Test::More;

my $explain = 'build/unit/explain';
my $seed = 'conf/state-machine.json';

plan(skip_all => "no $explain, make unit-build") if !-x $explain;


my ($out, $err, $status) = run($seed);

is($status, 0, 'the seed compiles');
is($err, qq{[warn] $seed: a run could wait for 383 s in all, but ends after}
    . qq{ 60000 ms at "\$"\n}, 'with one warning');
is($out, <<'OUT', 'in words');
at most 21 attempts and 383 s of waits, default deadline 60 s

Proxy 1
    step 1, upstream "apiProxy1"
    retry on connection failed, timeout, invalid reply: 6 times, after 2 s, 4 s, 8 s, 16 s, 32 s, 64 s
    then -> Choice

Choice
    if status = 200 -> Success - 1
    else -> Wait

Success - 1
    the end, the answer is the last reply

Wait
    waits 5 s -> Proxy 2

Proxy 2
    step 2, upstream "apiProxy2"
    retry on connection failed, timeout, invalid reply: 6 times, after 2 s, 4 s, 8 s, 16 s, 32 s, 64 s
    then -> Choice (1)

Choice (1)
    if status = 200 -> Success -2
    else -> Proxy 3

Success -2
    the end, the answer is the last reply

Proxy 3
    step 3, upstream "apiProxy3"
    retry on connection failed, timeout, invalid reply: 6 times, after 2 s, 4 s, 8 s, 16 s, 32 s, 64 s
    then -> Choice (2)

Choice (2)
    if status = 200 -> Success - 3
    else -> Failure

Success - 3
    the end, the answer is the last reply

Failure
    the end, the answer is the last reply
OUT

($out, $err, $status) = run('-d', $seed);

is($out, <<'OUT', 'and as a graph');
digraph machine {
    start [shape=point];
    end [shape=doublecircle, label=""];
    s0 [shape=box, label="Proxy 1\napiProxy1"];
    s1 [shape=diamond, label="Choice"];
    s2 [shape=doublecircle, label="Success - 1"];
    s3 [shape=ellipse, label="Wait\n5 s"];
    s4 [shape=box, label="Proxy 2\napiProxy2"];
    s5 [shape=diamond, label="Choice (1)"];
    s6 [shape=doublecircle, label="Success -2"];
    s7 [shape=box, label="Proxy 3\napiProxy3"];
    s8 [shape=diamond, label="Choice (2)"];
    s9 [shape=doublecircle, label="Success - 3"];
    s10 [shape=doublecircle, label="Failure"];
    start -> s0;
    s0 -> s0 [style=dotted, label="6 x connection failed, timeout, invalid reply"];
    s0 -> s1;
    s1 -> s2 [label="status = 200"];
    s1 -> s3 [label="else"];
    s3 -> s4;
    s4 -> s4 [style=dotted, label="6 x connection failed, timeout, invalid reply"];
    s4 -> s5;
    s5 -> s6 [label="status = 200"];
    s5 -> s7 [label="else"];
    s7 -> s7 [style=dotted, label="6 x connection failed, timeout, invalid reply"];
    s7 -> s8;
    s8 -> s9 [label="status = 200"];
    s8 -> s10 [label="else"];
}
OUT

($out, $err, $status) = run('-r', '429 e 503 200', $seed);

is($out, "apiProxy1 +5000 apiProxy2 ~2000 apiProxy2 apiProxy3 -> success\n",
    'and as a run');


my $file = File::Temp->new(SUFFIX => '.json');

print $file <<'JSON';
{
  "TimeoutSeconds": 20,
  "StartAt": "First",
  "States": {
    "First": {"Type": "Wait", "Seconds": 1, "Next": "Call"},
    "Call": {
      "Type": "Task", "Resource": "arn:aws:states:::http:invoke",
      "Parameters": {"ApiEndpoint": "https://api.example.com"},
      "TimeoutSeconds": 3,
      "Retry": [
        {"ErrorEquals": ["States.Http.StatusCode.429", "States.Http.Socket"],
         "MaxAttempts": 2, "BackoffRate": 1.5, "JitterStrategy": "FULL"},
        {"ErrorEquals": ["States.Timeout"], "MaxAttempts": 0}],
      "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Give up"}],
      "Next": "Check"},
    "Check": {
      "Type": "Choice",
      "Choices": [
        {"And": [
          {"Variable": "$.StatusCode", "NumericLessThan": 300},
          {"Or": [
            {"Variable": "$.ResponseBody.ok[0]", "BooleanEquals": true},
            {"Not": {"Variable": "$.Headers.x", "StringMatches": "a*\"b"}}]},
          {"Variable": "$.ResponseBody.x", "IsPresent": false}],
         "Next": "Done"}]},
    "Done": {"Type": "Succeed"},
    "Give up": {"Type": "Fail", "Error": "Busy", "Cause": "all of them"}
  }
}
JSON

close $file;

($out, $err, $status) = run($file);

is($status, 0, 'another machine compiles');
is($err, qq{[warn] $file: no Default, the reply at hand is the answer when}
    . qq{ nothing matches at "\$.States.Check"\n}, 'its warning');
is($out, <<'OUT', 'in words');
at most 3 attempts and 4 s of waits, ends after 20 s
needs bodies of replies
first waits 1 s

Call
    step 1, upstream "api.example.com", timeout 3 s
    retry on connection failed, timeout, invalid reply, status 429: 2 times, after up to 1 s, 1500 ms
    no retry on timeout
    catch connection failed, timeout, invalid reply, status of 400 or more -> Give up
    then -> Check

Check
    if status < 300 and (body.ok[0] = true or not header x matches "a*"b") and body.x is not present -> Done
    else -> the end

Done
    the end, the answer is the last reply

Give up
    the end, the answer is status 502, error "Busy", cause "all of them"
OUT

($out, $err, $status) = run('-d', $file);

like($out, qr/^    start -> s0 \[label="1 s"\];$/m, 'a graph with a first wait');
like($out, qr/header x matches \\"a\*\\"b\\"/, 'quotes in a label');
like($out, qr/^    s0 -> s3 \[style=dashed, label="[^"]+"\];$/m, 'a catch');
like($out, qr/^    s1 -> end \[label="else"\];$/m, 'the end');

if (grep { -x "$_/dot" } split /:/, $ENV{PATH}) {
    open my $dot, '|-', 'dot -Tplain >/dev/null' or die "dot: $!\n";
    print $dot $out;
    ok(close $dot, 'Graphviz reads it');
}


$file = File::Temp->new(SUFFIX => '.json');

print $file '{"StartAt": "A", "States": {"A": {"Type": "Map"}}}';
close $file;

($out, $err, $status) = run($file);

is($status, 1, 'one that does not');
is($out, '', 'no words');
is($err, qq{[emerg] $file: Parallel and Map are not supported, a request has}
    . qq{ one reply at "\$.States.A.Type"\n}, 'but its error');

($out, $err, $status) = run('/does/not/exist');
is($status, 2, 'no file');

done_testing();


sub run {
    my @args = map { "$_" } @_;

    my $errors = File::Temp->new;

    my $pid = open(my $in, '-|') // die "fork: $!\n";

    if ($pid == 0) {
        open STDERR, '>', "$errors" or die "$errors: $!\n";
        exec($explain, @args) or die "$explain: $!\n";
    }

    my $words = join '', <$in>;
    close $in;

    my $status = $? >> 8;

    open my $read, '<', "$errors" or die "$errors: $!\n";

    return ($words, join('', <$read>), $status);
}
