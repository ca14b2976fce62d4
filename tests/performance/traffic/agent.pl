# Sends and answers test traffic, with large buffers so that the network is what is measured. Perl is in every Debian.
#   agent.pl serve PORT                     serves: S sink, E echo, C measures by itself: "C HOST PORT SECONDS ROUNDS\n"
#   agent.pl measure HOST PORT SECONDS ROUNDS
# A measurement prints JSON: { "megabits": per second, taken by the sink; "microseconds": median of one byte there and back }.
use strict;
use warnings;
use IO::Socket::INET;
use Socket qw(IPPROTO_TCP TCP_NODELAY);

use constant CLOCK_GETTIME => 228;    # x86-64; Time::HiRes is not in every Debian

use constant BLOCK => 256 * 1024;

# Seconds of the monotonic clock.
sub now {
    my $time = "\0" x 16;
    syscall(CLOCK_GETTIME, 1, $time) == 0 or die "clock: $!\n";
    my ($seconds, $nanoseconds) = unpack 'q q', $time;
    return $seconds + $nanoseconds / 1e9;
}

sub dial {
    my ($host, $port, $kind) = @_;
    my $socket = IO::Socket::INET->new(PeerAddr => $host, PeerPort => $port, Timeout => 60) or die "$host:$port: $!\n";
    setsockopt($socket, IPPROTO_TCP, TCP_NODELAY, 1);
    syswrite($socket, $kind) == 1 or die "write: $!\n";
    return $socket;
}

sub throughput {
    my ($host, $port, $seconds) = @_;
    my $socket = dial($host, $port, 'S');
    my $block = "\0" x BLOCK;
    my $begun = now();
    while (now() - $begun < $seconds) { defined syswrite($socket, $block) or die "write: $!\n" }
    shutdown($socket, 1);
    my $answer = '';
    while (sysread($socket, my $part, 64)) { $answer .= $part }
    return $answer * 8 / (now() - $begun) / 1e6;
}

sub latency {
    my ($host, $port, $rounds) = @_;
    my $socket = dial($host, $port, 'E');
    my @times;
    for (1 .. $rounds) {
        my $begun = now();
        syswrite($socket, 'x');
        sysread($socket, my $byte, 1) == 1 or die "no echo\n";
        push @times, now() - $begun;
    }
    return (sort { $a <=> $b } @times)[$rounds / 2] * 1e6;
}

sub measure {
    my ($host, $port, $seconds, $rounds) = @_;
    latency($host, $port, 10);
    my $microseconds = latency($host, $port, $rounds);
    my $megabits = throughput($host, $port, $seconds);
    return sprintf("{\"megabits\":%.3f,\"microseconds\":%.1f}\n", $megabits, $microseconds);
}

sub serve_one {
    my ($socket) = @_;
    setsockopt($socket, IPPROTO_TCP, TCP_NODELAY, 1);
    sysread($socket, my $kind, 1) == 1 or return;
    if ($kind eq 'S') {
        my ($total, $got) = (0, 0);
        $total += $got while ($got = sysread($socket, my $block, BLOCK));
        syswrite($socket, "$total");
    } elsif ($kind eq 'E') {
        while (sysread($socket, my $byte, 1)) { syswrite($socket, $byte) }
    } elsif ($kind eq 'C') {
        my $line = <$socket>;
        my $result = eval { measure(split ' ', $line) };
        syswrite($socket, $result // "{\"error\":\"failed\"}\n");
        warn $@ if $@;
    }
}

my ($command, @rest) = @ARGV;
if ($command eq 'measure') {
    print measure(@rest);
} else {
    local $SIG{CHLD} = 'IGNORE';
    my $listener = IO::Socket::INET->new(LocalPort => $rest[0], Listen => 16, ReuseAddr => 1) or die "listen: $!\n";
    while (my $socket = $listener->accept) {
        my $child = fork;
        die "fork: $!\n" unless defined $child;
        if ($child == 0) { close $listener; serve_one($socket); exit 0 }
        close $socket;
    }
}
