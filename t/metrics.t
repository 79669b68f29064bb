#!/usr/bin/perl

# conf/grafana-dashboard.json and conf/prometheus-alerts.yml: every metric, label
# and value that they name is in the output of the module; the expressions are
# valid, and the alerts fire when they should.

use strict;
use warnings;

use File::Temp qw(tempdir);
use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP;
use Test::More;

use Ways;
use Ways::Limits;
use Ways::Nginx;

my $conf = "$FindBin::Bin/../conf";
my $promtool = grep { -x "$_/promtool" } split /:/, $ENV{PATH};

place('v', 'retry_chain a rate=50r/s burst=9; retry_chain b wait=1ms;', left => 0);

my $n = limits(server => <<'EOC');
    location = /status { access_log off; retry_chain_status; }
EOC

ask('/v/1');
ask('/v/2', a => '500', b => '429 / Retry-After: 5');

my $text = $n->get('/status?format=prometheus');
my (%labels, %values, %used);

while ($text =~ /^(nginx_retry_chain_\w+)\{(.*)\} \S+$/mg) {
    my ($name, $pairs) = ($1, $2);

    $labels{$name}{instance} = $labels{$name}{job} = 1;

    while ($pairs =~ /(\w+)="([^"]*)"/g) {
        $labels{$name}{$1} = 1;
        $values{$name}{$1}{$2} = 1;
    }
}

cmp_ok(scalar keys %labels, '>', 30, 'the module has metrics');


# ---- the dashboard ----------------------------------------------------------

my $board = decode_json(slurp("$conf/grafana-dashboard.json"));
my @panels = grep { $_->{type} ne 'row' } @{ $board->{panels} };
my @exprs = map { my $p = $_; map { [$p->{title}, $_->{expr},
                                     $_->{legendFormat}] } @{ $_->{targets} } }
            @panels;
my %variables = map { $_->{name} => 1 } @{ $board->{templating}{list} };

cmp_ok(scalar @exprs, '>', 30, 'the dashboard has queries');

for my $x (@exprs) {
    my ($title, $expr, $legend) = @$x;

    is(wrong($expr), '', "panel \"$title\"");
    is(join(' ', grep { !$variables{$_} && $_ ne '__rate_interval' }
                 $expr =~ /\$(\w+)/g), '', 'its variables');

    my ($by) = $expr =~ /\bby \(([^)]+)\)/;
    my %by = map { $_ => 1 } split /, /, $by // 'instance, zone, chain';

    is(join(' ', grep { !$by{$_} } $legend =~ /\{\{(\w+)\}\}/g), '',
       'its legend');
}

for my $x (grep { $_->{type} eq 'query' } @{ $board->{templating}{list} }) {
    my ($query, $label) = $x->{query}{query}
                          =~ /^label_values\((.*), (\w+)\)$/;

    is(wrong($query), '', "variable $x->{name}");
    ok($labels{ $query =~ s/\{.*//r }{$label}, 'its label');
    is($x->{definition}, $x->{query}{query}, 'it is said twice');
}

is(scalar(keys %{ { map { $_->{id} => 1 } @{ $board->{panels} } } }),
   scalar @{ $board->{panels} }, 'panels are told apart');

{
    my @at = sort { $a->[0] <=> $b->[0] || $a->[1] <=> $b->[1] }
             map { [@{ $_->{gridPos} }{qw(y x w h)}] } @{ $board->{panels} };
    my @clash;

    for my $i (0 .. $#at) {
        for my $j ($i + 1 .. $#at) {
            my ($p, $q) = @at[$i, $j];

            push @clash, "@$p, @$q"
                if $q->[0] < $p->[0] + $p->[3] && $p->[0] < $q->[0] + $q->[3]
                   && $q->[1] < $p->[1] + $p->[2]
                   && $p->[1] < $q->[1] + $q->[2];
        }
    }

    is(join('; ', @clash), '', 'no panel lies on another one');
}

# a metric that is new has to get its place

{
    my %shown = map { s/_(?:bucket|sum|count)$//r => 1 } keys %used;
    my %all = map { s/_(?:bucket|sum|count)$//r => 1 } keys %labels;

    is(join(' ', grep { !$shown{$_} } sort keys %all), '',
       'the dashboard has all metrics');
}


# ---- the alerts -------------------------------------------------------------

my $alerts = slurp("$conf/prometheus-alerts.yml");
my @alerts = $alerts =~ /^ +- alert: (\w+)$/mg;

cmp_ok(scalar @alerts, '>', 5, 'there are alerts');

my @checked;

for my $part (split /^ +- alert: /m, $alerts =~ s/\A.*?(?=^ +- alert: )//smr) {
    my ($name, $expr) = $part =~ /^(\w+)\n +expr: \|?\s*(.*?)\n +(?:for|labels):/s
        or next;

    push @checked, $name;
    is(wrong($expr), '', "alert $name");

    my ($by) = $expr =~ /\bby \(([^)]+)\)/;
    my %by = map { $_ => 1 } split /, /, $by // 'instance, zone, chain';

    is(join(' ', grep { !$by{$_} } $part =~ /\$labels\.(\w+)/g), '',
       'labels of its texts');
}

is("@checked", "@alerts", 'none is left out');


# ---- promtool ---------------------------------------------------------------

SKIP: {
    skip 'no promtool', 3 if !$promtool;

    my $dir = tempdir('retry_chain_rules.XXXXXX', TMPDIR => 1, CLEANUP => 1);

    is(promtool('check rules', "$conf/prometheus-alerts.yml"), '',
       'promtool accepts the alerts');

    my $i = 0;

    spew("$dir/board.yml", join '', "groups:\n- name: board\n  rules:\n",
         map { my $e = $_->[1] =~ s/\$__rate_interval/5m/gr;
               $e =~ s/'/''/g;
               "  - record: x:" . $i++ . "\n    expr: '$e'\n" } @exprs);
    is(promtool('check rules', "$dir/board.yml"), '',
       'and the queries of the dashboard');

    my @cases = cases();

    spew("$dir/test.yml", "rule_files: ['$conf/prometheus-alerts.yml']\n"
         . "evaluation_interval: 1m\ntests:\n"
         . join '', map { $_->{text} } @cases);
    is(promtool('test rules', "$dir/test.yml"), '', 'alerts fire in time');

    my %tested = map { $_->{alert} => 1 } @cases;

    is(join(' ', grep { !$tested{$_} } @alerts), '', 'each one is tested');
}

is($n->bad(), '', 'a clean log');

done_testing();


# what an expression names and the module does not have

sub wrong {
    my ($expr) = @_;

    my (@wrong, %known);

    while ($expr =~ /\b(nginx_retry_chain_\w+)(?:\{([^}]*)\})?/g) {
        my ($name, $matchers) = ($1, $2 // '');

        $used{$name} = 1;

        if (!$labels{$name}) {
            push @wrong, $name;
            next;
        }

        %known = (%known, %{ $labels{$name} });

        while ($matchers =~ /(\w+)(=~|!~|!=|=)"([^"]*)"/g) {
            my ($label, $values) = ($1, $3);

            push @wrong, "$name\{$label}" if !$labels{$name}{$label};

            push @wrong, map { "$name\{$label=$_}" }
                         grep { !/^\$/ && !$values{$name}{$label}{$_} }
                         split /\|/, $values;
        }
    }

    push @wrong, 'no metric' if !%known;

    for my $by ($expr =~ /\bby \(([^)]*)\)/g) {
        push @wrong, map { "by $_" } grep { !$known{$_} } split /, /, $by;
    }

    return join ' ', @wrong;
}


# an alert, what is measured each minute, and when it is to fire; before that,
# and without what it is about, it must not

sub cases {
    my $c = 'instance="i",zone="z",chain="c"';
    my $s = 'instance="i",zone="z",step="s"';
    my @cases;

    for my $case (
        ['RunsFail', 12, 4, "runs_total{$c,result=\"success\"}" => '0+80x30',
         "runs_total{$c,result=\"exhausted\"}" => '0+20x30'],
        ['RunsFail', undef, 20, "runs_total{$c,result=\"success\"}" => '0+80x30',
         "runs_total{$c,result=\"aborted\"}" => '0+20x30'],
        ['AllStepsLimited', 3, 0, "limited_seconds{$s}" => '9x9',
         "limited_seconds{instance=\"i\",zone=\"z\",step=\"t\"}" => '5x9'],
        ['AllStepsLimited', undef, 5, "limited_seconds{$s}" => '9x9',
         "limited_seconds{instance=\"i\",zone=\"z\",step=\"t\"}" => '0x9'],
        ['StepFails', 12, 4, "attempts_total{$s}" => '0+10x30',
         "failures_total{$s,kind=\"timeout\"}" => '0+4x30',
         "replies_total{$s,class=\"5xx\"}" => '0+4x30'],
        ['StepFails', undef, 20, "attempts_total{$s}" => '0+10x30',
         "failures_total{$s,kind=\"timeout\"}" => '0+1x30',
         "replies_total{$s,class=\"5xx\"}" => '0+2x30'],
        ['StepLimited', 40, 10, "attempts_total{$s}" => '0+10x60',
         "replies_total{$s,class=\"429\"}" => '0+5x60'],
        ['BudgetSpent', 6, 2, "runs_total{$c,result=\"budget\"}" => '0x3 1x20'],
        ['TooManyWait', 6, 2,
         "runs_total{$c,result=\"overflow\"}" => '0x3 7x20'],
        ['Retries', 25, 5, "runs_total{$c,result=\"success\"}" => '0+5x40',
         "retries_total{$c}" => '0+12x40'],
        ['Slow', 25, 5,
         "run_duration_seconds_bucket{$c,le=\"10\"}" => '0+5x40',
         "run_duration_seconds_bucket{$c,le=\"30\"}" => '0+10x40',
         "run_duration_seconds_bucket{$c,le=\"+Inf\"}" => '0+10x40'],
        ['NoMetrics', 6, 4],
        ['NoMetrics', undef, 20, "steps{$c}" => '3x40'],
    ) {
        my ($name, $fires, $not, @series) = @$case;
        my $text = "- interval: 1m\n  input_series:\n";

        while (my ($series, $v) = splice @series, 0, 2) {
            $text .= "  - series: 'nginx_retry_chain_$series'\n"
                     . "    values: '$v'\n";
        }

        $text =~ s/input_series:\n\z/input_series: []\n/;
        $text .= "  promql_expr_test:\n";

        for my $at ([$not, 0], defined $fires ? [$fires, 1] : ()) {
            $text .= "  - eval_time: $at->[0]m\n"
                     . "    expr: 'count(ALERTS{alertname=\"RetryChain$name\","
                     . "alertstate=\"firing\"})'\n"
                     . ($at->[1] ? "    exp_samples: [{ labels: '{}', value: 1 }]\n"
                                 : "    exp_samples: []\n");
        }

        push @cases, { alert => "RetryChain$name", text => $text };
    }

    return @cases;
}


# what it says if it is not content

sub promtool {
    my ($command, $file) = @_;

    my $out = `promtool $command $file 2>&1`;

    return $? == 0 ? '' : $out;
}


sub slurp {
    my ($file) = @_;

    open my $in, '<', $file or die "$file: $!";
    local $/;
    return scalar <$in>;
}


sub spew {
    my ($file, $text) = @_;

    open my $out, '>', $file or die "$file: $!";
    print $out $text;
    close $out;
}
