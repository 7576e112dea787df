# SPDX-License-Identifier: Apache-2.0
# needs: perl sha256sum
# timeout: 120
# Data through pipes both ways, closed readers, binary data, /dev files.
head -c 268435456 /dev/zero | wc -c; head -c 50000000 /dev/zero | tr '\0' 'a' | cat | cat | sha256sum; perl -e 'binmode STDOUT; print pack "C*", map { $_ % 256 } 0 .. 99999' | tee b | sha256sum; cat b | dd bs=7 status=none | sha256sum
yes | head -2; echo "${PIPESTATUS[@]}"; yes | true; echo "${PIPESTATUS[@]}"; (trap '' PIPE; yes 2>/dev/null; echo $? >&2) 2>&1 >/dev/full | tail -1; perl -e '$SIG{PIPE} = "IGNORE"; open P, "|true"; sleep 1; print P "x" x 70000 or print "$!\n"; close P'
perl -e 'pipe R, W; fork // die; if ($$ == $ARGV[0]) {} ' 0; mkfifo in out; (tr a-z A-Z < in > out &) ; perl -e 'open O, ">in"; print O "abc" x 100000; close O' & cat out | sha256sum; wait
head -c 100 /dev/urandom | wc -c; head -c 10 /dev/zero | od -An -tx1; cat /dev/null | wc -c; echo x > /dev/null; : > /dev/full; dd if=/dev/zero of=/dev/full bs=1 count=1 2>&1 | grep -c 'No space'; ls -l /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty | awk '{print $1, $5, $6}'; ls -l /dev/fd /dev/stdin /dev/stdout /dev/stderr | awk '{print $NF}'; echo stderr > /dev/stderr 2>&1; echo out >> /dev/stdout; echo fd | cat /dev/fd/0; cat /dev/fd/3 3<<<three; cat /proc/self/fd/0 <<<four; stat -Lc '%F' /dev/stdin; echo hi | stat -Lc %F - /dev/stdin
seq 100000 | sort -R | sort -n | tail -1; seq 1 3000000 | awk '{s += $1} END {print s}'; cat /usr/bin/perl | sha256sum; cat < /usr/bin/perl > copy; cmp copy /usr/bin/perl && echo same; (cat; echo end) < /usr/share/common-licenses/GPL-3 | md5sum; sh -c 'read a; cat' < /etc/passwd | md5sum; (head -n1; head -n1) < /etc/passwd | md5sum
perl -e 'use Fcntl; pipe R, W; fcntl W, F_SETFL, O_NONBLOCK | fcntl W, F_GETFL, 0; my $n = 0; while (my $k = syswrite W, "x" x 4096) { $n += $k } print "$n $!\n"; print fcntl(W, 1032, 0), "\n"; fcntl(W, 1031, 1 << 18); print fcntl(W, 1032, 0), "\n"'
