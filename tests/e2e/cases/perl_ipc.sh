# SPDX-License-Identifier: Apache-2.0
# needs: perl
# perl: fork, IPC::Open3, socket pairs, pipes, alarms, flock, sockets by name.
cat > p.pl <<'P'
use strict; use IPC::Open3; use IPC::Open2; use Socket; use POSIX ":sys_wait_h"; use Fcntl ":flock"; use IO::Select; use IO::Handle; use File::Find; use File::Temp qw(tempfile); use Time::HiRes qw(usleep alarm);
$| = 1; my $pid = fork; if (!$pid) { exit 7 } waitpid $pid, 0; print $? >> 8, "\n";
my $p = open3(my $in, my $out, undef, "sh", "-c", "tr a-z A-Z; echo err >&2"); print $in "hello\n"; close $in; print while <$out>; waitpid $p, 0; print "$?\n";
$p = open2(my $o, my $i, "sort", "-r"); print $i "$_\n" for 1..5; close $i; print join ",", map { chomp; $_ } <$o>; print "\n"; waitpid $p, 0;
socketpair(my $a, my $b, AF_UNIX, SOCK_STREAM, PF_UNSPEC) or die; $a->autoflush(1); if (!fork) { close $a; while (<$b>) { print $b "echo $_" if 1; $b->flush } exit } close $b;
print $a "line $_\n" and print scalar <$a> for 1..3; close $a; wait;
pipe my $r, my $w; if (!fork) { close $r; print $w "x" x 200000; exit } close $w; my $d = do { local $/; <$r> }; print length $d, "\n"; wait;
print `echo back; exit 3`, $? >> 8, "\n"; open my $f, "|-", "cat" or die; print $f "piped\n"; close $f;
local $SIG{ALRM} = sub { die "alarm\n" }; eval { alarm 0.05; select undef, undef, undef, 5; }; print $@; local $SIG{CHLD} = sub { 1 while waitpid(-1, WNOHANG) > 0; print "chld\n" }; if (!fork) { exit } sleep 2; $SIG{CHLD} = 'DEFAULT';
my ($fh, $name) = tempfile(DIR => "."); flock $fh, LOCK_EX or die; if (!fork) { open my $g, "<", $name; print flock($g, LOCK_SH | LOCK_NB) ? "got\n" : "busy\n"; exit } wait;
my $n = 0; find(sub { $n++ }, "/usr/share/perl"); print "$n\n"; print join(" ", (stat "/etc/passwd")[2, 3, 4, 7]), "\n"; printf "%s\n", join " ", map { sprintf "%o", $_ & 07777 } (lstat "/tmp")[2];
kill 'USR1', $$ if $SIG{USR1} = sub { print "usr1\n" }; my @e = glob "/etc/p*"; print scalar @e, "\n"; print -d "/usr", -x "/bin/sh", -l "/bin" ? "l" : "d", "\n"; system "exit 4"; print $? >> 8, "\n"; exec "echo", "exec'd";
P
perl p.pl 2>&1
