# SPDX-License-Identifier: Apache-2.0
# needs: perl find
# Odd file names, long arguments, many arguments, environment, umask, working directories that are gone or closed.
n=$'sp ace\tta\nb \x01\xff\xfe\'"$*?'; echo data > "$n"; ls -b; find . -type f -print0 | xargs -0 cat; find . -type f -printf '%p\n' | od -c | head -3; mv "$n" -- -dash; ls; rm -- -dash
l=$(printf 'x%.0s' $(seq 255)); : > $l && ls | wc -c; : > ${l}y 2>&1 | sed 's/.*: //'; perl -e 'open(F, ">", "x" x 256) or print "$!\n"; open(F, ">", "/" . "y" x 4096) or print "$!\n"; open(F, "<", "") or print "$!\n"; open(F, "<", "a/" x 2046 . "b") or print "$!\n"'
mkdir -p "$(printf 'd/%.0s' $(seq 300))" && find . -type d | wc -l && rm -r d
/bin/echo $(seq 100000) | wc -c; perl -e 'exec "/bin/sh", "-c", "echo \$#", "x", ("a") x 100000'; perl -e 'exec "/bin/echo", "y" x 131000' | wc -c; perl -e 'exec {"/bin/echo"} "echo", "y" x 131072 or print "$!\n"'; perl -e 'exec "/bin/true", ("z" x 100000) x 30 or print "$!\n"'
perl -e '$ENV{BIG} = "e" x 100000; exec "sh", "-c", "echo \${#BIG}"'; env -i A=1 B= "C D=x" /usr/bin/env | sort; env -i sh -c 'echo $PWD | wc -c'; perl -e 'exec {"/bin/sh"} "", "-c", "echo [\$0]"'
umask 077; : > m; mkdir md; stat -c %a m md; umask 022; (umask 0; mkdir -m 1777 t; stat -c %a t)
mkdir gone; (cd gone; rmdir ../gone; pwd -P; /bin/pwd 2>&1; ls; : > f; cd .. && basename "$PWD"; ls /proc/self/cwd -l | grep -c deleted)
(mkdir gone2; cd gone2; rmdir ../gone2; ls -l /proc/self/cwd | sed 's/.*-> //; s/.*work/W/'; readlink /proc/self/cwd | sed 's/.*work/W/'; echo x > f; mkdir d; cat ./f)  2>&1 | sed 's/.*: //'
cat < /dev/null | wc -c; cat 0<&- 2>&1 | sed 's/.*: //'; sh -c 'echo out >&-' 2>&1 | sed 's/.*: //'; (exec >&-; echo x) 2>&1 | sed 's/.*: //'; ls >&- 2>&1; echo $?; perl -e 'print -t STDIN ? "tty" : "no", "\n"'
printf '#!/bin/sh\necho "$0 $1"\n' > s; chmod +x s; ./s a; printf '#!/usr/bin/env -S perl -w\nprint "perl\\n"' > s2; chmod +x s2; ./s2; printf '#!./s\n' > s3; chmod +x s3; ./s3 z; echo 'echo plain $0' > s4; chmod +x s4; ./s4; echo > e; chmod +x e; ./e; echo $?; printf '\177ELFjunk' > bad; chmod +x bad; ./bad 2>/dev/null; echo $?; printf '#!/nonexistent\n' > bi; chmod +x bi; ./bi 2>/dev/null; echo $?; touch nx; ./nx 2>/dev/null; echo $?; ./md 2>/dev/null; echo $?; ln -s loop loop; cat loop 2>&1 | sed 's/.*: //'; cd nx 2>&1 | sed 's/.*: //'; mkdir -p nx/y 2>&1 | sed 's/.*: //'; rmdir . 2>&1 | sed 's/.*: //'; mv md md/x 2>&1 | sed 's/.*to a/to a/'; ln s md 2>&1; ls md; cp /bin/true t1; ./t1 && cp t1 t2 && ./t2; cp t1 t1 2>&1 | sed 's/.*are/are/'
