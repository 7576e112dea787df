# SPDX-License-Identifier: Apache-2.0
bash -c 'kill -TERM $$'; echo $?
bash -c 'kill -SEGV $$' 2>/dev/null; echo $?
bash -c 'exit 300'; echo $?
sleep 10 & kill -9 $!; wait $! 2>/dev/null; echo $?
timeout 0.2 sleep 5; echo $?
(trap '' TERM; kill -TERM $BASHPID; echo survived)
yes | head -1000 | md5sum
nonexistent_command_xyz 2>/dev/null; echo $?
kill -KILL $$
