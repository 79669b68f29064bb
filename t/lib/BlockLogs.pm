package BlockLogs;

# Test::Nginx looks into the logs 45 ms after an answer.  nginx writes them when
# it has given it, and may not have come to it: what a block expects there is
# waited for first.  What it does not expect has the 45 ms after that.
#
# A client that leaves (--- abort) does so when the error log or the answer has
# what --- leave says, by default that an attempt has failed and another one
# will follow.

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use Test::Nginx::Socket ();
use Test::Nginx::Util ();
use Time::HiRes qw(sleep time);

use Slack qw(over);

my %original;

{
    no strict 'refs';
    no warnings qw(redefine prototype);

    for my $name (qw(check_error_log check_access_log send_request)) {
        $original{$name} = \&{"Test::Nginx::Socket::$name"};
        *{"Test::Nginx::Socket::$name"} = \&{$name};
    }
}


sub check_error_log {
    my ($block, $res, $dry_run, $repeated) = @_;

    my $pattern = nth(scalar $block->grep_error_log, $repeated);
    my $lines = nth(scalar $block->grep_error_log_out, $repeated);

    if (defined $pattern && defined $lines) {
        my $n = () = $lines =~ /\n/g;

        $pattern = qr/\Q$pattern\E/ if !ref $pattern;
        wait_for(sub {
            my @got = map { /$pattern/ ? "$&\n" : () } split /\n/, error_log();

            return ref $lines ? join('', @got) =~ $lines : @got >= $n;
        });
    }

    await(scalar $block->error_log, \&error_log);

    goto &{ $original{check_error_log} };
}


sub check_access_log {
    await(scalar $_[0]->access_log, sub {
        slurp($Test::Nginx::Util::AccLogFile, 0)
    });

    goto &{ $original{check_access_log} };
}


sub send_request {
    my ($request, undef, undef, $block) = @_;

    goto &{ $original{send_request} } if !defined $block->abort;

    my $leave = $block->leave // qr/retrying in \d+ ms/;
    my $text = join '', map { $_->{value} } ref $request ? @$request : $request;
    my $answer = '';
    my $s;

    $leave = qr/\Q$leave\E/ if !ref $leave;

    # nginx may not have started yet

    wait_for(sub {
        $s = IO::Socket::INET->new(
            PeerAddr => $Test::Nginx::Util::ServerAddr,
            PeerPort => $Test::Nginx::Util::ServerPortForClient)
    }) or return;

    syswrite $s, $text;

    wait_for(sub {
        if (IO::Select->new($s)->can_read(0)) {
            sysread $s, $answer, 65536, length $answer
                or return 1;
        }

        return $answer =~ $leave || error_log() =~ $leave;
    });

    close $s;

    return ($answer, $text =~ /^HEAD /);
}


sub await {
    my ($patterns, $log) = @_;

    return if !defined $patterns;

    my @patterns = ref $patterns eq 'ARRAY' ? grep { defined } @$patterns
                   : ref $patterns ? $patterns : split /\n+/, $patterns;

    wait_for(sub {
        my $text = $log->();

        return !grep { $text !~ (ref $_ ? $_ : qr/\Q$_\E/) } @patterns;
    });
}


sub nth {
    my ($section, $i) = @_;
    return ref $section eq 'ARRAY' ? $section->[$i] : $section;
}


# what the block has not looked at yet

sub error_log {
    return slurp($Test::Nginx::Util::ErrLogFile,
                 $Test::Nginx::Util::ErrLogFilePos // 0);
}


sub slurp {
    my ($file, $from) = @_;

    open my $in, '<', $file or return '';
    seek $in, $from, 0;
    local $/;

    return <$in> // '';
}


sub wait_for {
    my ($what) = @_;

    my $start = time();

    while (!over($start, 5)) {
        return 1 if $what->();
        sleep 0.005;
    }

    return 0;
}


1;
