package Machines;

# State machines and what the upstreams do, at random.
#
#   my $machines = Machines->new($seed);
#   my ($machine, $script) = $machines->next();
#
# A machine has one to six Tasks.  What follows a Task, up to another one or the
# end, is a tree of its own: so each path in a Choice has one meaning.  A script
# has a list of outcomes for each upstream, of which the last one goes on for
# ever:
#
#   { status => 200, headers => { ... }, json => '{"a":1}' }      or text; these
#                                               are characters
#   'refused'                                   no reply
#   'garbage'                                   a header that is broken
#   'silent'                                    nothing, for TIMEOUT seconds

use strict;
use warnings;

use JSON::PP;

use constant WAYS => qw(a b c d e f);
use constant TIMEOUT => 2;

my ($true, $false) = (JSON::PP::true, JSON::PP::false);
my $json = JSON::PP->new->canonical->allow_nonref;

my $arn = 'arn:aws:lambda:eu-west-1:123456789012:function';
my $connection = 'arn:aws:events:eu-west-1:123456789012:connection';

# names of errors: those of a transport failure, and one that no failure has

my @errors = qw(Lambda.SdkClientException Lambda.SdkClientException
                Lambda.ServiceException Lambda.ServiceException
                Lambda.AWSLambdaException Lambda.TooManyRequestsException
                Lambda.ClientExecutionTimeoutException Lambda.Unknown
                States.Timeout States.TaskFailed Vendor.Error);
my @http_errors = qw(States.Http.Socket States.Http.Socket States.Timeout
                     States.TaskFailed Vendor.Error
                     States.Http.StatusCode.404 States.Http.StatusCode.429
                     States.Http.StatusCode.429 States.Http.StatusCode.500
                     States.Http.StatusCode.503);

# what bodies consist of, and where

my @numbers = (0, 1, -1, 2, 2.5, 200, 1000, 1e20);
my @strings = ('', 'a', 'ab', 'b', 'limit', 'rate-limit', '5', "\x{e9}", 'a*b',
               'true');
my @times = qw(2024-01-31T12:00:00Z 2024-01-31T13:00:00+01:00
               2024-01-31T12:00:00.5Z 2024-02-29T23:59:59-05:30);

my @paths = (qw(code code ok ok name name time error error.type error.final
                list list[0] list[1].id missing missing.too),
             "['odd.key']");

my @kinds = (qw(a b ab), '');
my @types = ('application/json', 'application/json; charset=utf-8',
             'application/problem+json');
my @statuses = (200, 200, 200, 201, 204, 302, 400, 404, 409, 429, 500, 502,
                503);


sub new {
    my ($class, $seed) = @_;

    srand($seed);

    return bless {}, $class;
}


sub chance {
    my ($percent) = @_;
    return rand(100) < $percent;
}


sub one {
    return $_[rand @_];
}


sub next {
    my ($self) = @_;

    my @ways = (WAYS)[0 .. rand(WAYS)];

    $self->{states} = {};
    $self->{count} = {};
    $self->{entries} = {};
    $self->{tasks} = @ways;

    # an upstream may be that of several Tasks

    $self->{way} = [map { chance(10) ? one(@ways) : $_ } @ways];

    # few are silent: that takes its time

    $self->{silent} = { map { $_ => 1 } grep { chance(7) } @ways };

    # whether a body itself is asked for

    $self->{whole} = chance(15);

    $self->task($_) for reverse 1 .. @ways;

    my $machine = { StartAt => $self->entry(1), States => $self->{states} };

    $machine->{Comment} = 'a comment' if chance(10);
    prune($machine);

    return ($machine, { map { $_ => [$self->outcomes($_)] } @ways });
}


# states that nothing leads to are refused

sub prune {
    my ($machine) = @_;

    my %reached;
    my @next = $machine->{StartAt};

    while (defined(my $name = shift @next)) {
        next if $reached{$name}++;

        my $state = $machine->{States}{$name};

        push @next, grep({ defined } map { $state->{$_} } qw(Next Default)),
                    map { $_->{Next} } @{ $state->{Choices} // [] },
                                       @{ $state->{Catch} // [] };
    }

    delete @{ $machine->{States} }{ grep { !$reached{$_} }
                                    keys %{ $machine->{States} } };
}


sub add {
    my ($self, $type, %state) = @_;

    my $name = $type . ' ' . ++$self->{count}{$type};

    $self->{states}{$name} = { Type => $type, %state };

    return $name;
}


# ---- states -----------------------------------------------------------------

sub task {
    my ($self, $i) = @_;

    my $way = $self->{way}[$i - 1];
    my %state = (Type => 'Task');

    # what it calls; where the reply is in the result, and then behind it

    my $what = 'reply';
    my $at = '$';

    if (chance(20)) {
        $what = 'http';
        $state{Resource} = 'arn:aws:states:::http:invoke';
        $state{Parameters} = {
            ApiEndpoint => chance(50) ? "https://$way/" : 'https://vendor/',
            Method => 'GET',
            Authentication => { ConnectionArn => "$connection/$way/0123" },
        };

        delete $state{Parameters}{Authentication}
            if $state{Parameters}{ApiEndpoint} =~ m{//$way/} && chance(50);

    } elsif (chance(20)) {
        $state{Resource} = "$arn:$way";

    } else {
        $at = '$.Payload';
        $state{Resource} = 'arn:aws:states:::lambda:invoke';
        $state{Parameters} = {
            'Payload.$' => '$',
            FunctionName => one("$arn:$way:\$LATEST", "$arn:$way", $way),
        };
    }

    if (chance(25)) {
        $state{ResultSelector} = { 'reply.$' => $at, n => $i };
        $at = '$.reply';
    }

    if (chance(25)) {
        my $path = one('$.last', '$.all.of');

        $state{ResultPath} = $path;
        $at =~ s/^\$/$path/;
    }

    if (chance(60)) {
        $state{OutputPath} = $at;
        $at = '$';
    }

    if ($self->{silent}{$way}) {
        $state{TimeoutSeconds} = TIMEOUT;

    } elsif (chance(5)) {
        $state{TimeoutSeconds} = 600;
    }

    my @retry = $self->lists(\&retrier, 3, 70, $what);
    my @catch = $self->lists(\&catcher, 2, 40, $what, $i);

    $state{Retry} = \@retry if @retry;
    $state{Catch} = \@catch if @catch;

    if (chance(10)) {
        $state{End} = $true;

    } else {
        $state{Next} = $self->tail($i, $at, $what, 0);
    }

    $self->{states}{"Task $i"} = \%state;
}


# retriers or catchers, of which only the last one may be for all errors

sub lists {
    my ($self, $make, $max, $percent, $what, @more) = @_;

    return if !chance($percent);

    my $n = 1 + int rand $max;
    my @names = $what eq 'http' ? @http_errors : @errors;
    my @list = map { $make->($self, [one(@names, 'Lambda.Unknown'),
                                     grep { chance(25) } @names],
                             @more) } 1 .. $n;

    # no name twice in one

    for my $item (@list) {
        my %seen;
        $item->{ErrorEquals} = [grep { !$seen{$_}++ }
                                @{ $item->{ErrorEquals} }];
    }

    $list[-1]{ErrorEquals} = ['States.ALL'] if chance(40);

    return @list;
}


sub retrier {
    my ($self, $errors) = @_;

    my %retrier = (ErrorEquals => $errors);

    $retrier{IntervalSeconds} = 1 + int rand 3 if chance(75);
    $retrier{MaxAttempts} = int rand 4 if chance(75);
    $retrier{BackoffRate} = one(1, 1.25, 1.5, 2, 2.5) if chance(75);
    $retrier{MaxDelaySeconds} = ($retrier{IntervalSeconds} // 1)
                                + 1 + int rand 3 if chance(35);
    $retrier{JitterStrategy} = one(qw(FULL NONE)) if chance(20);

    return \%retrier;
}


sub catcher {
    my ($self, $errors, $i) = @_;

    my %catcher = (ErrorEquals => $errors);
    my $at = '$';

    if (chance(40)) {
        $catcher{ResultPath} = '$.error';
        $at = '$.error';
    }

    $catcher{Next} = $self->tail($i, $at, 'error', 0);

    return \%catcher;
}


# to a Task, with what may stand before it

sub entry {
    my ($self, $i) = @_;

    return $self->{entries}{$i} //= do {
        my $name = "Task $i";

        $name = $self->add('Wait', Seconds => int rand 3, Next => $name)
            if chance(20);
        $name = $self->add('Pass', Next => $name) if chance(20);
        $name = $self->add('Wait', Seconds => 1, Next => $name) if chance(5);
        $name;
    };
}


# to a later Task, or to the end

sub onward {
    my ($self, $i) = @_;

    my $later = $self->{tasks} - $i;

    if ($later && chance(85)) {
        my $to = $i + 1 + int(rand() ** 2 * $later);
        return chance(80) ? $self->entry($to) : "Task $to";
    }

    if (chance(60)) {
        $self->{states}{Done} //= { Type => 'Succeed' };
        return 'Done';
    }

    my %fail;

    $fail{Error} = one('Vendor.Failed', 'Late', "\x{e9} \"quoted\"")
        if chance(90);
    $fail{Cause} = one('no upstream is left', "it\nwas \\ too much", '')
        if chance(80);

    return $self->add('Fail', %fail);
}


# what follows a Task; the reply, or an error that was caught, is at that path

sub tail {
    my ($self, $i, $at, $what, $depth) = @_;

    if ($depth < 3 && chance($depth ? 30 : 80)) {
        my @paths;

        if (chance(10)) {
            @paths = (InputPath => $at);
            $at = '$';
        }

        my @choices = map { {
            %{ $self->condition($at, $what, 0) },
            Next => $self->tail($i, $at, $what, $depth + 1)
        } } 0 .. rand 3;

        return $self->add('Choice', Choices => \@choices, @paths,
                          chance(90) ? (Default => $self->tail($i, $at, $what,
                                                               $depth + 1))
                                     : ());
    }

    return $self->onward($i) if $depth > 3 || chance(70);

    my $goes = sub {
        return chance(20) ? (End => $true)
                          : (Next => $self->tail($i, $_[0], $what, $depth + 1))
    };

    return $self->add('Wait', Seconds => int rand 3, $goes->($at))
        if chance(40);

    if (chance(20)) {
        return $self->add('Pass', one(qw(InputPath OutputPath)) => $at,
                          $goes->('$'));
    }

    if (chance(30)) {
        return $self->add('Pass', Parameters => { 'inner.$' => $at },
                          $goes->('$.inner'));
    }

    my %made = (Result => { fixed => one(@numbers) }, ResultPath => '$.note');

    return $self->add('Pass', chance(50) ? %made : (), $goes->($at));
}


# ---- conditions -------------------------------------------------------------

sub condition {
    my ($self, $at, $what, $depth) = @_;

    if ($depth < 2 && chance(35)) {
        my $op = one(qw(And Or Not));

        return { Not => $self->condition($at, $what, $depth + 1) }
            if $op eq 'Not';

        return { $op => [map { $self->condition($at, $what, $depth + 1) }
                         0 .. rand 3] };
    }

    if ($what eq 'error') {
        return { Variable => "$at.Cause", one(qw(IsString IsNumeric))
                                          => one($true, $false) }
            if chance(10);

        return { Variable => "$at.Error", text(@errors, @http_errors,
                                               'Lambda.*', '*StatusCode*') };
    }

    my ($status, $headers, $first, $body)
        = $what eq 'http' ? qw(StatusCode Headers [0] ResponseBody)
                          : ('statusCode', 'headers', '', 'body');

    if (chance(45)) {
        return { Variable => "$at.$status", number(@statuses) };
    }

    if (chance(25)) {
        my $name = one(qw(X-Kind X-Kind Content-Type));

        return { Variable => "$at.$headers.$name$first",
                 chance(30) ? (one(qw(IsPresent IsString))
                               => one($true, $false))
                            : text(@kinds, @types, 'a*', '*json') };
    }

    # the body itself is a string, too, if it is an object or broken

    if ($self->{whole} && chance(30)) {
        return { Variable => "$at.$body",
                 chance(50) ? number(@numbers)
                            : (one(qw(IsPresent IsNumeric IsBoolean IsNull))
                               => one($true, $false)) };
    }

    return { Variable => join_path("$at.$body", one(@paths)),
             $self->comparison("$at.$body") };
}


sub join_path {
    my ($base, $path) = @_;
    return $base . ($path =~ /^\[/ ? '' : '.') . $path;
}


sub comparison {
    my ($self, $body) = @_;

    my $way = rand 100;

    return (one(qw(IsPresent IsPresent IsNull IsNumeric IsString IsBoolean
                   IsTimestamp)) => one($true, $true, $false)) if $way < 25;
    return number(@numbers) if $way < 45;
    return text(@strings, 'a*', '*limit', '*', 'a\\*b', 'l*m*t') if $way < 65;
    return (BooleanEquals => one($true, $false)) if $way < 78;
    return (order('Timestamp') => one(@times)) if $way < 83;

    my $kind = one(qw(Numeric String Boolean Timestamp));

    return (($kind eq 'Boolean' ? 'BooleanEquals' : order($kind)) . 'Path'
            => join_path($body, one(@paths)));
}


sub order {
    my ($kind) = @_;

    return $kind . one(qw(Equals Equals LessThan LessThanEquals GreaterThan
                          GreaterThanEquals));
}


sub number {
    return (order('Numeric') => 0 + one(@_));
}


# values with a star are patterns

sub text {
    my ($value) = one(@_);

    return (($value =~ /\*/ ? 'StringMatches' : order('String')) => $value);
}


# ---- outcomes ---------------------------------------------------------------

sub outcomes {
    my ($self, $way) = @_;

    return map { $self->outcome($way) } 0 .. rand 4;
}


sub outcome {
    my ($self, $way) = @_;

    return 'silent' if $self->{silent}{$way} && chance(50);
    return 'refused' if chance(30);
    return 'garbage' if chance(25);

    my %reply = (status => one(@statuses), headers => {});

    $reply{headers}{'X-Kind'} = one(@kinds) if chance(50);

    return \%reply if $reply{status} == 204;

    if (chance(80)) {
        $reply{json} = !$self->{whole} && chance(5) ? '{"code":1,"ok":tr'
                       : $json->encode(body());
        $reply{headers}{'Content-Type'} = one(@types);

    } else {
        $reply{text} = 'it is broken';
        $reply{headers}{'Content-Type'} = 'text/plain';
    }

    return \%reply;
}


sub body {
    return one([], {}, 5, 200, 'a', $true, undef) if chance(8);

    my %body;

    $body{code} = value() if chance(60);
    $body{ok} = one($true, $true, $false, $false, value()) if chance(60);
    $body{name} = one(@strings) if chance(60);
    $body{time} = one(@times) if chance(40);
    $body{'odd.key'} = value() if chance(40);
    $body{list} = [value(), { id => value() }] if chance(40);
    $body{error} = { type => one(@strings), final => one($true, $false) }
        if chance(40);

    return \%body;
}


sub value {
    return one(one(@numbers), one(@numbers), one(@strings), one(@times), $true,
               $false, undef);
}


1;
