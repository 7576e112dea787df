# SPDX-License-Identifier: Apache-2.0
# Traps, wait -n, job control without a terminal, coproc, substitutions, limits, read -t.
trap 'echo usr1' USR1; kill -USR1 $$
trap 'echo exiting $?' EXIT
trap 'echo err' ERR; false; trap - ERR
trap 'echo chld' CHLD; (exit 3); trap - CHLD
for i in 3 1 2; do (sleep 0.$i; exit $i) & done
for i in 1 2 3; do wait -n; echo "wait -n $?"; done
set -m
sleep 30 & p=$!
jobs | sed 's/ *$//'
kill -STOP $p; sleep 0.1; jobs -l | awk '{print $3, $4}'
kill -CONT $p; sleep 0.1; jobs | awk '{print $2}'
kill %1; wait %1; echo "killed $?"
[ "$(ps -o pgid= -p $$ | tr -d ' ')" = "$(sh -c 'ps -o pgid= -p $$' | tr -d ' ')" ] && echo same || echo other
set +m
coproc C { while read -r l; do echo "got $l"; done; }
echo one >&"${C[1]}"; read -r x <&"${C[0]}"; echo "$x"
eval "exec ${C[1]}>&-"; wait "$C_PID"; echo "coproc $?"
diff <(seq 5) <(seq 2 6); paste <(seq 3) <(seq 4 6)
seq 10 | tee >(wc -l > n) >/dev/null; sleep 0.2; cat n
cat <<EOF1
here $((6*7)) $(echo sub)
EOF1
read -r a b <<<"here string"; echo "$b $a"
ulimit -n 64; ulimit -n; ulimit -c 0; ulimit -Sf 16; (trap '' XFSZ; head -c 100000 /dev/zero > big) 2>&1 | sed 's/.*: //'; stat -c %s big
(ulimit -Sf 16; head -c 1000000 /dev/zero > big2); echo $?
ulimit -Sf unlimited
read -t 0.1 x < <(sleep 1); echo "read -t $?"
read -t 0 < /dev/null; echo "read -t 0: $?"
exec 5<>file; echo data >&5; exec 5<&-; cat file
mapfile -t arr < <(seq 4); echo "${#arr[@]} ${arr[3]}"
(exec 3<&0; cat <&3) <<<"dup"
echo "${PIPESTATUS[@]}"; false | true | (exit 7); echo "${PIPESTATUS[@]}"
time_out=$({ time true; } 2>&1 | grep -c real); echo "$time_out"
(kill -INT $BASHPID); echo "int $?"
bash -c 'trap "echo term; exit 5" TERM; kill -TERM $$; sleep 1'; echo $?
bash -c 'sleep 5 & wait $!' & p=$!; sleep 0.1; kill $p; wait $p; echo $?
umask 027; touch u; mkdir ud; stat -c %a u ud
set -o pipefail; yes | head -1 ; echo "pipefail $?"
compgen -b | wc -l
printf '%s\n' {a..e}{1..3} | xargs -n4 -P3 echo | sort
exit 9
