# SPDX-License-Identifier: Apache-2.0
# needs: timeout nice nohup setsid stdbuf pgrep pstree ps watch script lsof strace gdb top
# timeout, nice, nohup, setsid, stdbuf, tail -f, ps, top, pgrep, pstree; tracers fail cleanly.
timeout 0.2 sleep 5; echo $?; timeout -s KILL 0.2 sleep 5 2>/dev/null; echo $?; timeout 5 false; echo $?; timeout --preserve-status 0.2 sleep 5; echo $?; timeout 1 nosuch 2>/dev/null; echo $?
echo $(($(nice -n 5 nice) - $(nice))); nohup sh -c 'echo no; trap' 2>/dev/null; setsid -w sh -c 'exit 4'; echo $?; setsid -w sh -c '[ $(ps -o sid= -p $$) = $$ ] && echo leader'
stdbuf -oL sh -c 'echo line' | cat; (echo a; sleep 0.1; echo b) | stdbuf -i0 cat; stdbuf -o0 awk 'BEGIN {print 1}'
echo 1 > log; timeout 3 tail -n +1 -f log > out & p=$!; sleep 0.5; echo 2 >> log; sleep 1.2; echo 3 >> log; sleep 1.5; kill $p; wait $p 2>/dev/null; cat out
timeout 3 tail -s 0.2 --max-unchanged-stats=1 -n +1 --follow=name log > out & p=$!; sleep 0.3; mv log log2; echo new > log; sleep 1.5; kill $p; wait $p 2>/dev/null; cat out
sleep 3 & s=$!; tail --pid=$s -f /dev/null & t=$!; kill $s; wait $s 2>/dev/null; wait $t; echo "tail --pid $?"
sleep 77.5 & s=$!; pgrep -f 'sleep 77[.]5' | grep -cx $s; ps -o pid=,ppid=,comm=,args= -p $s | sed "s/$s/P/; s/$$/Q/" | xargs; pstree -p $$ | grep -c "sleep($s)"; ps -o comm= --ppid $$ | grep -c sleep; pkill -f 'sleep 77[.]5'; wait $s; echo $?
ps aux | head -1; ps -ef | awk 'NR > 1' | grep -c bash | awk '{print $1 > 0}'; ps -L -p $$ -o lwp= | grep -cx " *$$"; ps -o stat= -p $$ | cut -c1; ps -o tty= -p $$; ps axo pid,user,vsz,rss,etime,time,nlwp >/dev/null; echo $?
top -b -n 1 | head -1 | cut -c1-5; top -b -n1 -p $$ | grep -c bash; uptime >/dev/null; echo $?; free | head -1; w -h >/dev/null; pwdx $$ | sed "s/$$//"; pmap $$ | tail -1 | awk '{print $1}'
watch -n 0.1 echo hi </dev/null >/dev/null 2>&1 & w=$!; sleep 0.3; kill $w 2>/dev/null; wait $w; [ $? = 143 ] || echo watch ended
kill -l TERM; kill -0 $$ && echo alive; kill -0 999999 2>/dev/null; echo $?; env -i /usr/bin/env; env -u HOME printenv HOME; echo $?; id -u | wc -l; whoami >/dev/null; groups >/dev/null; nproc >/dev/null; hostname >/dev/null; tty; echo $?; date +%Z; locale 2>/dev/null | head -1; getconf PAGE_SIZE ARG_MAX; logname >/dev/null 2>&1; arch; uname -sm; cat /proc/self/comm; sleep 0 && sleep infinity & kill $!; wait $!; echo $?; (exec -a renamed sh -c 'echo $0'); flock -n lk echo locked; flock lk sh -c 'flock -n lk echo no || echo held'; prlimit --nofile --noheadings -o SOFT >/dev/null; echo $?; taskset -p $$ >/dev/null; echo $?; chrt -p $$ >/dev/null; ionice >/dev/null; echo $?; lsof -p $$ >/dev/null 2>&1; echo $?; fuser -s log; echo $?; getent passwd root; mountpoint -q /proc; echo $?; findmnt -n -o TARGET /proc; df / >/dev/null; echo $?
