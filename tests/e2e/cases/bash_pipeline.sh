# SPDX-License-Identifier: Apache-2.0
trap 'echo got USR1' USR1
kill -USR1 $$
(sleep 0.1; echo from child) &
wait $!
echo "status $?"
for i in 1 2 3 4 5; do echo "line $i"; done | while read -r a b; do echo "$b-$a"; done | sort -r
cat <(echo substituted) <(seq 3)
x=$(echo captured | tr a-z A-Z); echo "$x"
set -o pipefail; false | true; echo "pipefail $?"
f() { local v=$1; echo "f $v"; return 3; }; f 9; echo $?
printf '%s\n' {a..e}{1..3} | wc -l
exec 3>file; echo to file >&3; exec 3>&-; cat file
[[ "abc123" =~ ([a-z]+)([0-9]+) ]] && echo "${BASH_REMATCH[1]} ${BASH_REMATCH[2]}"
trap 'echo bye' EXIT
exit 5
