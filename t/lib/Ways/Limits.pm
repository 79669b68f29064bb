package Ways::Limits;

# Upstreams with limits, for the tests of slots: an nginx with a place for each
# case, and ways "a" to "d" that answer what the client tells them to.
#
#   place('hint', 'retry_chain a b;');      location /hint/, in a zone "hint"
#   place('hint/fail', '...');              another location in the same zone
#   my $n = limits();                       starts nginx, arguments as start()
#   forget(); place(...); reload();         with other places, true if accepted
#
#   $x = ask('/hint/1', a => '429 / Retry-After: 3', b => '500 | 200')
#
# is one request: "a" refuses it, "b" fails at the first call and accepts the
# second one.  Without a word a way accepts.  Besides statuses there are "close"
# (the connection, without an answer), "hang", "half" (of a header), "big" (one
# that fits in no buffer), "hold 200" (until ways_go() is called, or a way says
# "go 200"), "sleep=0.3 200", "slow=0.3 200", whose end comes so late, and
# "part=503", whose body does not end.  What comes back is the answer of
# Ways::Nginx and
#
#   $x->{run}       "result [steps] [statuses] [reasons]"
#   $x->{calls}     the ways that were called, in order: "a b b"
#   $x->{said}      status and run, that is what most cases compare
#   $x->{after}     values of Retry-After, joined
#   $x->{waits}     $retry_chain_waits, also "until" and "rate"
#   $x->{at}        when the way got the call
#
# Every request needs a URI of its own.  later() sends one and returns a thing
# for now(), which reads the answer.  left('hint', 'a') is for how many seconds
# the way is limited yet, 0 if it is not, and free('hint', 'a') the time when it
# is not any more, or now; nothing is changed by looking.  lasts('hint', 'a', 90)
# is "yes" if it is limited for 90 seconds that began since the last ask().

use strict;
use warnings;

use Exporter 'import';
use File::Temp qw(tempdir);
use IO::Select;
use Time::HiRes qw(time);

use Slack qw(over);
use Ways;
use Ways::Nginx qw(request);

our @EXPORT = qw(place forget limits reload fits workers ask later now sync
                 parked left free lasts calls http_date);

my (%places, @order, %paces, %sized, $n, %count, $asked);

ways(map { my $way = $_; ($way => sub { vendor($way, @_) }) } qw(a b c d));


sub vendor {
    my ($way, $req) = @_;

    my $at = time();
    my $i = $count{$way}{ $req->{uri} }++;
    my @said = split / \| /, $req->{h}{"say-$way"}[0] // '';
    my ($status, @headers) = split m{ / }, $said[$i] // '200';
    my @before = $status =~ s/^sleep=(\S+) // ? [sleep => $1]
                 : $status =~ s/^(hold|go) // ? [$1 => 1] : ();

    return (reply($1, undef, 'Content-Length: 9'), 'x', [eof => 1])
        if $status =~ /^part=(\d+)/;
    return [close => 1] if $status eq 'close';
    return [eof => 1] if $status eq 'hang';
    return ("HTTP/1.1 200 OK\r\nX-W", [eof => 1]) if $status eq 'half';

    if ($status eq 'big') {
        $status = 200;
        push @headers, map { "X-Big-$_: " . 'x' x 1500 } 1 .. 8;
    }

    my $held = $status =~ s/^slow=(\S+) // && $1;
    my $none = $req->{method} eq 'HEAD' || $status =~ /^[23]04$/;
    my $reply = reply($status, $none ? undef
                               : "$way $status $req->{method} "
                                 . sum($req->{body}) . "\n",
                      "X-Way: $way", sprintf('X-At: %.6f', $at), @headers);
    my $end = $held ? substr($reply, -3, 3, '') : '';

    return (@before, $reply, $held ? ([sleep => $held], $end) : ());
}


# the zone is what stands before a slash, "zone" or "size" say it otherwise;
# what the chain says about the pace of a way is noted for left(), unless "left"
# is 0

sub place {
    my ($name, $chain, %arg) = @_;

    my ($zone) = $name =~ /^([^\/]+)/;
    my $size = $sized{$zone}++ ? '' : ' ' . ($arg{size} // '128k');

    $arg{zone} //= "retry_chain_zone $zone$size;\n";

    while (($arg{left} // 1) && length $arg{zone} && $chain =~ /\bretry_chain\s+([^;]+);/g) {
        my @words = split ' ', $1;

        for my $way (grep { !/=/ } @words) {
            $paces{$zone}{$way} //= join ' ', grep { /^(?:rate|burst)=/ }
                                                   @words;
        }
    }

    push @order, $name;
    $places{$name} = "location /$name/ {\n"
                     . "$arg{zone}$chain\n"
                     . ($arg{pass}
                        // 'proxy_pass http://$retry_chain_upstream;')
                     . "\n}\n";
}


# the locations; a dry run looks at slots and leaves them alone

sub places {
    my $conf = join '', map { $places{$_} } @order;

    for my $zone (sort keys %paces) {
        for my $way (sort grep { !/^@/ } keys %{ $paces{$zone} }) {
            $conf .= <<"EOC";
location /left/$zone/$way/ {
    retry_chain_zone $zone;
    retry_chain $way $paces{$zone}{$way};
    retry_chain_dry_run on;
    retry_chain_log_level info;
    proxy_pass http://left;
}
EOC
        }
    }

    return $conf;
}


sub limits {
    my (%arg) = @_;

    $n = Ways::Nginx->start(settings(%arg));

    return $n;
}


# another configuration with the places that there are now; true if nginx runs
# with it, false if it has refused it

sub reload {
    my (%arg) = @_;

    my %old = map { $_ => 1 } $n->workers();
    my $refused = () = $n->log() =~ /\[emerg\]/g;
    my $done = 0;

    $n->configure(settings(%arg));
    $n->signal('HUP');

    # the old workers do not take new requests any more

    $n->wait_for(sub {
        my @now = workers();

        $done = @now && !grep { $old{$_} } @now;
        $done || (() = $n->log() =~ /\[emerg\]/g) > $refused;
    }, 10);

    return $done;
}


# whether nginx would start with the places that there are now

sub fits {
    my (%arg) = @_;

    my $dir = tempdir('retry_chain_test.XXXXXX', TMPDIR => 1);
    my $modules = $ENV{TEST_NGINX_LOAD_MODULES}
                  // "$ENV{PWD}/build/ngx_http_retry_chain_module.so";
    my $load = join '', map { "load_module $_;\n" } split ' ', $modules;
    my $other = bless { dir => $dir, load => $load, pid => 0,
                        port => $ENV{TEST_NGINX_SERVER_PORT} || 19840 },
                      'Ways::Nginx';
    my $nginx = $ENV{TEST_NGINX_BINARY} || 'nginx';

    mkdir "$dir/$_" for qw(conf logs temp);
    $other->configure(settings(%arg));

    `$nginx -t -p $dir/ -c $dir/conf/nginx.conf -e $dir/logs/error.log 2>&1`;

    return $? == 0;
}


# those that take requests; one that has just been made has the title of the
# master yet

sub workers {
    return grep { Ways::Nginx::title($_) !~ /master process|shutting down/ }
                $n->workers();
}


sub forget {
    %places = ();
    %paces = ();
    %sized = ();
    @order = ();
}


sub settings {
    my (%arg) = @_;

    my $http = delete $arg{http} // '';
    my $server = delete $arg{server} // '';
    my $listen = delete $arg{listen} // '';
    my $v2 = Ways::Nginx::has('http_v2_module')
             ? 'listen unix:%%DIR%%/h2 http2;' : '';
    my $conf = places();

    return (level => 'info', %arg, http => <<"EOC");
log_format run escape=none '\$request_uri \$status \$retry_chain_result '
    '[\$retry_chain_steps] [\$retry_chain_statuses] [\$retry_chain_reason] '
    '[\$retry_chain_waits] \$retry_chain_trail';

upstream left { server unix:%%DIR%%/left; }
upstream refused { server 127.0.0.1:1 max_fails=0; }
$http

server {
    listen unix:%%DIR%%/left;
    access_log off;
    location / { return 204; }
}

server {
    listen %%PORT%% $listen;
    $v2
    access_log %%DIR%%/logs/access.log run;
    add_header X-Run "\$retry_chain_result [\$retry_chain_steps] [\$retry_chain_statuses] [\$retry_chain_reason]" always;
    add_header X-Waits "\$retry_chain_waits" always;
    add_header X-Until "\$retry_chain_limited_until" always;
    add_header X-Rate "\$retry_chain_rate" always;

    $server
    $conf
    location = /sync { access_log off; return 204; }
}
EOC
}


sub ask {
    return now(later(@_));
}


# names that begin with a dash are no ways: -method, -body, -head, -keep

sub later {
    my ($uri, %say) = @_;

    my $method = delete $say{-method} // 'GET';
    my $body = delete $say{-body} // '';
    my $head = delete $say{-head} // '';
    my $s = delete $say{-on} // $n->connect();
    my $request = request($method, $uri, $body, 1);

    $head .= join '', map { "Say-$_: $say{$_}\r\n" } sort keys %say;
    $request =~ s/(?<=\r\n)(?=\r\n)/$head/;

    $asked = time();
    Ways::Nginx::send_all($s, $request);

    return { s => $s, uri => $uri, head => $method eq 'HEAD', start => time() };
}


sub now {
    my ($asked, %arg) = @_;

    my $x;
    my $raw = '';
    my $start = time();
    my $limit = ($arg{timeout} // 15) * Ways::Nginx::slow();

    # the connection is kept, so that the end of an answer is seen in it

    while (!over($start, $limit)) {
        my $got = Ways::Nginx::read_all($asked->{s}, timeout => 1,
                                        until => qr/\n/);
        last if !length $got && IO::Select->new($asked->{s})->can_read(0);

        $raw .= $got;
        $x = Ways::Nginx::answer($raw, head => $asked->{head});
        last if $x->{end} eq 'complete';
    }

    $x //= Ways::Nginx::answer($raw);
    $x->{time} = time() - $asked->{start};

    my $h = $x->{h} // {};

    $x->{$_} = join '|', @{ $h->{"x-$_"} // [] }
        for qw(run waits until rate at);
    $x->{after} = join '|', @{ $h->{'retry-after'} // [] };
    $x->{said} = "$x->{status} $x->{run}";
    $x->{calls} = calls($asked->{uri});

    return $x;
}


# nginx has seen all that has been sent so far: it has one worker and reads
# connections in the order in which they become ready

sub sync {
    $n->get('/sync');
}


# many requests that wait, in this order

sub parked {
    my (@asked) = map { later(@$_) } @_;

    sync();

    return @asked;
}


sub calls {
    my ($uri) = @_;

    return join ' ', map { /^(\w+) \S+ \S+ \Q$uri\E(?: |$)/ ? $1 : () }
                         split /\n/, ways_calls();
}


sub left {
    my ($zone, $way) = @_;

    my $until = until_free($zone, $way) or return 0;
    my $left = $until - time();

    return $left > 0 ? $left : 0;
}


sub free {
    my ($zone, $way) = @_;
    return until_free($zone, $way) || time();
}


sub until_free {
    my ($zone, $way) = @_;

    return $n->get("/left/$zone/$way/") =~ /^X-Until: ([\d.]+)/m ? $1 : 0;
}


# the time that nginx has may be some milliseconds old

sub lasts {
    my ($zone, $way, $seconds, $more) = @_;

    my $free = free($zone, $way);
    my $began = $free - $seconds;

    return 'yes' if $began > $asked - 0.05
                    && $began < time() + 0.05 + ($more // 0);
    return sprintf '%.3f', $free - $asked;
}


sub http_date {
    my ($form, $time) = @_;

    my @d = qw(Sunday Monday Tuesday Wednesday Thursday Friday Saturday);
    my @m = qw(Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec);
    my ($s, $m, $h, $day, $month, $year, $weekday) = gmtime $time;
    my $clock = sprintf '%02d:%02d:%02d', $h, $m, $s;

    $year += 1900;

    return sprintf('%.3s, %02d %s %d %s GMT', $d[$weekday], $day, $m[$month],
                   $year, $clock) if $form eq 'imf';
    return sprintf('%s, %02d-%s-%02d %s GMT', $d[$weekday], $day, $m[$month],
                   $year % 100, $clock) if $form eq 'rfc850';
    return sprintf('%.3s %s %2d %s %d', $d[$weekday], $m[$month], $day,
                   $clock, $year);
}


1;
