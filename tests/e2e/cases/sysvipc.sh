# SPDX-License-Identifier: Apache-2.0
# System V objects with util-linux and perl.
set -e
command -v ipcmk >/dev/null || { echo "no ipcmk"; exit 0; }
m=$(ipcmk -M 5000 -p 0640 | sed 's/.*: //')
s=$(ipcmk -S 3 -p 0600 | sed 's/.*: //')
q=$(ipcmk -Q | sed 's/.*: //')
ipcs -m -i "$m" | grep -E "mode=|bytes=" | sed "s/cpid=[0-9]*/cpid/"
ipcs -s -i "$s" | grep -E 'mode=|nsems'
ipcs -s -i "$s" | sed -n '/^semnum/,$p'
ipcs -q -i "$q" | grep -E 'mode=|qnum='
ipcs -m | awk -v id="$m" '$2 == id { print $4, $5, $6 }'
ipcrm -m "$m" -s "$s" -q "$q"
ipcs -m | awk -v id="$m" '$2 == id { print "still there" }'
ipcrm -m "$m" 2>/dev/null || echo "gone"
perl -MIPC::SysV=IPC_PRIVATE,IPC_CREAT,IPC_RMID,S_IRUSR,S_IWUSR -e '
    my $id = shmget(IPC_PRIVATE, 4096, S_IRUSR | S_IWUSR) // die $!;
    shmwrite($id, "from perl", 0, 9) or die $!;
    if (!fork) { shmread($id, my $b, 0, 9); print "child: $b\n"; exit }
    wait; shmctl($id, IPC_RMID, 0);
    my $sem = semget(IPC_PRIVATE, 1, IPC_CREAT | 0600) // die $!;
    if (!fork) { semop($sem, pack("s3", 0, 1, 0)); exit }
    semop($sem, pack("s3", 0, -1, 0)) or die $!; wait; print "woken\n"; semctl($sem, 0, IPC_RMID, 0);'
