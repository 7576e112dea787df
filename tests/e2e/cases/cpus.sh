# SPDX-License-Identifier: Apache-2.0
# needs: lscpu vmstat taskset nproc
# Which CPUs there are, which are one core or package, what they share: from /sys, as programs that size their pools by it read it.
d=/sys/devices/system; for i in $(seq 0 $(($(nproc --all) - 1))); do c=$d/cpu/cpu$i; for f in core_id physical_package_id core_cpus core_cpus_list thread_siblings thread_siblings_list package_cpus package_cpus_list core_siblings core_siblings_list; do echo "$i $f $(cat $c/topology/$f)"; done; for x in $c/cache/index*; do echo "$x $(cat $x/{level,type,size,coherency_line_size,number_of_sets,ways_of_associativity,shared_cpu_list,shared_cpu_map} | xargs)"; done; done
ls -d $d/cpu/cpu[0-9]* | wc -l; ls $d/cpu/cpu0/cache | grep -c index; cat $d/cpu/{online,possible,present,offline} $d/cpu/cpu99999/online 2>&1; cat $d/cpu/cpu00/online $d/cpu/cpu/online $d/cpu/cpu-1/online 2>&1; cat $d/cpu/cpu0/cache/index77/size 2>&1; ls $d/cpu/cpu0/node0/cpulist $d/cpu/cpu0/cache/index0/../../topology/core_id
lscpu | grep -E '^(Architecture|CPU\(s\)|Model name|Thread|Core|Socket|L[123])' | sed 's/: */: /'; lscpu -p | grep -v '^#'; vmstat | head -1; vmstat -s >/dev/null; echo $?
taskset -c 0 grep Cpus_allowed /proc/self/status; last=$(($(nproc --all) - 1)); taskset -c $last grep Cpus_allowed /proc/self/status; grep Cpus_allowed /proc/self/status
