# Asks over the network who is there, or answers. Needs nothing but Perl's own modules; it runs in a container, in a
# network namespace and on the machine itself.
#   probe.pl serve NAME PORT            answers TCP, UDP and (where the kernel has it) SCTP of both families with "NAME saw ADDRESS"
#   probe.pl ask "ID KIND HOST PORT SECONDS" ...    all at once; prints "ID answer" for each that got one.
#                                       KIND is tcp, udp or sctp with 4 or 6; HOST an address or a name
use strict;
use warnings;
use Socket qw(:all);
$| = 1;

use constant SCTP => 132;

my $task = shift @ARGV;
if ($task eq "serve") { serve(@ARGV) }
else { ask(@ARGV) }

sub text {
  my ($peer) = @_;
  my ($error, $address) = getnameinfo($peer, NI_NUMERICHOST | NI_NUMERICSERV);
  $address =~ s/^::ffff:(?=[\d.]+$)//;
  return $address;
}

sub bound {
  my ($type, $port, $protocol) = @_;
  socket(my $socket, AF_INET6, $type, $protocol // 0) or return undef;
  setsockopt($socket, SOL_SOCKET, SO_REUSEADDR, 1);
  setsockopt($socket, IPPROTO_IPV6, IPV6_V6ONLY, 0) or die "both families: $!";
  bind($socket, pack_sockaddr_in6($port, IN6ADDR_ANY)) or die "bind: $!";
  return $socket;
}

sub serve {
  my ($name, $port) = @_;
  my $datagrams = bound(SOCK_DGRAM, $port) or die "socket: $!";
  my @children = child(sub {
    while (1) {
      my $peer = recv($datagrams, my $question, 200, 0);
      send($datagrams, "$name saw " . text($peer), 0, $peer) if $peer;
    }
  });
  my $associations = bound(SOCK_STREAM, $port, SCTP);
  if ($associations) {
    listen($associations, 64) or die "listen: $!";
    push @children, child(sub { answer($associations, $name) });
  }
  my $connections = bound(SOCK_STREAM, $port) or die "socket: $!";
  listen($connections, 64) or die "listen: $!";
  # The first process of a container hears only the signals that it asks for.
  $SIG{TERM} = sub { kill KILL => @children; exit 0 };
  print "ready\n";
  answer($connections, $name);
}

sub child {
  my ($work) = @_;
  my $child = fork;
  $work->() if $child == 0;
  return $child;
}

sub answer {
  my ($listener, $name) = @_;
  $SIG{PIPE} = "IGNORE";
  while (1) {
    my $peer = accept(my $client, $listener) or next;
    syswrite $client, "$name saw " . text($peer);
    close $client;
  }
}

sub ask {
  for my $probe (@_) {
    next if fork;
    my ($id, $kind, $host, $port, $seconds) = split / /, $probe;
    alarm $seconds;
    my $family = $kind =~ /6$/ ? AF_INET6 : AF_INET;
    my $type = $kind =~ /^udp/ ? SOCK_DGRAM : SOCK_STREAM;
    my $protocol = $kind =~ /^sctp/ ? SCTP : 0;
    # Until the alarm: who answers may not have come up yet, and a datagram may be lost.
    until (answered($id, $host, $port, $family, $type, $protocol)) { select undef, undef, undef, 1 }
    exit 0;
  }
  1 while wait != -1;
}

sub answered {
  my ($id, $host, $port, $family, $type, $protocol) = @_;
  my ($error, @found) = getaddrinfo($host, $port, { family => $family, socktype => $type });
  for my $place (@found) {
    socket(my $socket, $place->{family}, $type, $protocol) or next;
    connect($socket, $place->{addr}) or next;
    if ($type == SOCK_DGRAM) {
      send($socket, "?", 0);
      my $waiting = "";
      vec($waiting, fileno $socket, 1) = 1;
      select($waiting, undef, undef, 1) or next;
    }
    my $answer = "";
    next unless defined recv($socket, $answer, 200, 0) and length $answer;
    syswrite STDOUT, "$id $answer\n";
    return 1;
  }
  return 0;
}
