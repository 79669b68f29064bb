#!/usr/bin/perl

# The status page in headless Chromium: t/browser/status.mjs drives it, and real
# requests, against what is started here.  SHOTS=DIR keeps pictures of it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Slack qw(stretch);
use Ways;
use Ways::Limits;
use Ways::Nginx;

my $browser = (grep { -x } map { "$_/chromium" } split /:/, $ENV{PATH})[0];
my $node = (grep { -x } map { "$_/node" } split /:/, $ENV{PATH})[0];
my $missing = !$browser ? 'chromium' : !$node ? 'node'
              : !-d "$FindBin::Bin/browser/node_modules/playwright-core"
              ? 'playwright-core' : '';

if ($ENV{TEST_NGINX_USE_VALGRIND}) {
    print "1..0 # SKIP valgrind: t/status.t has the same requests\n";
    exit;
}

if ($missing) {
    print "1..0 # SKIP no $missing: t/util/setup.sh test, npm\n";
    exit;
}

place('v', 'retry_chain a b; retry_chain c wait=300ms;'
           . 'retry_chain_retry http_503 attempts=2 interval=50ms;'
           . 'retry_chain_timeout 30s;', size => '2m', left => 0);
place('v/other', 'retry_chain b; retry_chain_start rotate;', left => 0);
# the page is to show it, and asks once a second

my $wait = 6 * stretch();

place('wait', "retry_chain a; retry_chain b wait=${wait}s;", left => 0);
place('limited', 'retry_chain a rate=auto; retry_chain @last;', left => 0);
place('fixed', 'retry_chain a rate=30r/m burst=2;', left => 0);
place('fail', 'retry_chain a; retry_chain_limited fail;', left => 0);
place('dry', 'retry_chain a b; retry_chain_dry_run on;', left => 0);
place('none', 'retry_chain a;', left => 0,
      zone => 'retry_chain_zone none 128k history=0;');
place('alone', 'retry_chain a b;', zone => '');

my $long = 'l' x 120;

# for the picture in README

my $http = '';

if ($ENV{SHOTS}) {
    ways_upstreams();

    for my $i (1 .. 3) {
        my $way = ways_dir() . '/' . chr(96 + $i);

        $http .= "server { listen 127.0.1.$i:3128; access_log off;"
                 . " location / { proxy_pass http://unix:$way; } }\n"
                 . "upstream proxy$i { server 127.0.1.$i:3128 max_fails=0; }\n";
    }

    place('api', 'retry_chain proxy1; retry_chain proxy2 rate=20r/s burst=9;'
                 . 'retry_chain proxy3 wait=1500ms; retry_chain_success 200;'
                 . 'retry_chain_retry http_503 attempts=2 interval=100ms;'
                 . 'retry_chain_timeout 20s;', left => 0,
          zone => 'retry_chain_zone vendor 1m;');
}

my $n = limits(http => $http, server => <<"EOC");
    location = /status { access_log off; retry_chain_status; }
    location = /denied { deny all; }
    location \@last { return 503; }
    location "/<b id=x>\\u202e/$long/" {
        retry_chain_zone "<i>" 128k;
        retry_chain a;
        retry_chain unix:%%DIR%%/@{[substr $long, 0, 60]};
        proxy_pass http://\$retry_chain_upstream;
    }
EOC

my $nothing = Ways::Nginx->start(http => <<'EOC');
server {
    listen %%PORT%%;
    location / { retry_chain_status; }
}
EOC

$ENV{BROWSER} = $browser;
$ENV{SLOW} = Ways::Nginx::slow() * stretch();

system($node, "$FindBin::Bin/browser/status.mjs",
       "http://127.0.0.1:$n->{port}", "http://127.0.0.1:$nothing->{port}");

my $status = $?;
my $bad = $n->bad() . $nothing->bad();

print STDERR $bad;
exit($status || length $bad ? 1 : 0);
