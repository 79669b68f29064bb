package Ways::Same;

# The same request to two servers of one nginx, one with chains and one without,
# which have to give the same answers.
#
#   location /x { way limited gone ok; }     in both: see chains()
#
#   $n = Ways::Nginx->start(http => ...);    with servers on the unix sockets
#                                            "chain" and "plain" in its directory
#                                            that log to files of these names,
#                                            and "chain.h2", "plain.h2"
#   use_nginx($n);
#   same('/x', run => 'success, ok:200');    after the attempts that plain nginx
#                                            does not make: limited, gone

use strict;
use warnings;

use Exporter 'import';
use IO::Socket::UNIX;
use Test::More;

use Ways;
use Ways::Nginx qw(request shape);

our @EXPORT_OK = qw(use_nginx chains exchange same h2);

my $n;


sub use_nginx {
    ($n) = @_;
}


# "way a b* c;" is a chain of three, or the one with the star, or the last one

sub chains {
    my ($conf, $plain) = @_;

    $conf =~ s{\b(f?)way ([^;]*);}{
        my ($fcgi, @steps) = ($1, split ' ', $2);
        my $pass = $fcgi ? 'fastcgi_pass ' : 'proxy_pass http://';
        my ($last) = ((grep { /\*/ } @steps),
                      reverse grep { !/=/ } @steps);

        tr/*//d for @steps, $last;

        !$plain ? "retry_chain @steps; $pass\$retry_chain_upstream;"
        : $last =~ /^@/ ? "try_files /none $last;"
        : "$pass$last;"
    }gex;

    $conf =~ s/retry_chain [^;]*;//g if $plain;

    return $conf;
}


# one request, its line in the log, and what the ways got for it

sub exchange {
    my ($plain, $request) = @_;

    my $ways = ways_dir();
    my $side = $plain ? 'plain' : 'chain';
    my %file = (log => "$n->{dir}/logs/$side.log",
                calls => "$ways/.calls");
    my %at = map { ($_ => -s $file{$_}) } keys %file;
    my $s = IO::Socket::UNIX->new(Peer => "$n->{dir}/$side") or die $!;

    Ways::Nginx::send_all($s, $request);

    my $a = Ways::Nginx::answer(Ways::Nginx::read_all($s),
                                head => scalar $request =~ /^HEAD /);

    Ways::settle();

    for (keys %file) {
        open my $in, '<', $file{$_} or die "$file{$_}: $!";
        seek $in, $at{$_}, 0;
        $a->{$_} = [<$in>];
    }

    $a->{lines} = @{ $a->{log} };
    $a->{log} = ($a->{log}[0] // '') =~ s/\n//r =~ s/unix:\Q$ways\E\///gr
                =~ s/\b127\.0\.0\.1:1\b/refused/gr;
    $a->{calls} = join '', map { /^(\w+) [\d.]+(.*?)\t/ ? "$1$2\n" : () }
                           grep { !/ cut\t/ } @{ $a->{calls} };

    return $a;
}


# a request and the next one, with a chain and without; "before" are the
# attempts that plain nginx does not make, after one that both make if "kept"

sub same {
    my ($uri, %arg) = @_;

    my $method = $arg{method} // 'GET';
    my $name = $arg{name} // "$method $uri";
    my $body = $arg{body} // ($method eq 'POST' ? "what is sent\n\n" : '');
    my $request = ($arg{request} // request($method, $uri, $body, 1))
                  . request('GET', '/next', '');

    my ($chain, $plain) = map { exchange($_, $request) } 0, 1;

    die "$name: no answer of plain nginx" if $plain->{end} eq 'cut';

    my (@steps, @ways, @statuses);
    my ($result, $last) = split /, /, $arg{run};

    for (split(/, /, $arg{before} // 'limited:429, gone:502'), $last // ()) {
        /^(@?\w+)(?:\((\w+)\))?:(\d+)$/;
        push @steps, $1;
        push @ways, $2 // $1;
        push @statuses, $3;
    }

    my $run = ($result // '-') . ' [' . (join(', ', @steps) || '-') . '] ['
              . (join(', ', @statuses) || '-') . ']';

    pop @ways, pop @statuses if $last;

    my $first = $arg{kept} ? 1 : 0;
    my @calls = $chain->{calls} =~ /^.*\n/mg;
    my $log = $plain->{log};

    for ([1, @statuses], [2, @ways]) {
        my ($nth, @more) = @$_;
        my $i = 0;

        $log =~ s{\[(.*?)\]}{
            my @all = $1 eq '-' ? () : split / : /, $1;

            splice @all, $first, 0, @more if ++$i == $nth;
            '[' . (join(' : ', @all) || '-') . ']'
        }ge;
    }

    is(join('|', shape($chain), $chain->{rest} =~ s/^Date: .*\r\n//mr),
       join('|', shape($plain), $plain->{rest} =~ s/^Date: .*\r\n//mr),
       "$name: as plain nginx");

    @ways = grep { $_ ne 'refused' } @ways;
    is(join(' ', map { /^(\w+)/ } splice @calls, $first, @ways), "@ways",
       "$name: the attempts");

    is(join('', sort @calls), join('', sort $plain->{calls} =~ /^.*\n/mg),
       "$name: as many requests");

    is($chain->{log}, "$log | $run", "$name: the log");

    return $chain;
}


sub h2 {
    my ($side, $how, $uri) = @_;

    my @curl = qw(curl -s -i --http2-prior-knowledge --max-time 60);
    my $socket = "$n->{dir}/$side.h2";

    return `@curl $how --unix-socket $socket http://a$uri`
           =~ s/^date: .*\r\n//mr;
}


1;
