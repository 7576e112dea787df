# SPDX-License-Identifier: Apache-2.0
# timeout: 120
seq 1 100000 | sort -n | sha256sum
seq 1 20000 | sort -R --random-source=<(yes) | sort -n | md5sum
mkdir -p a/b/c && echo hello > a/b/c/f && cp -a a d && diff -r a d && echo same
ln -s a/b link && readlink link && ls -l link/c | awk '{print $1, $5, $NF}'
mv d e && rm -r a && ls
touch -d '2020-01-02 03:04:05 UTC' old && stat -c '%Y %s %a %F' old
head -c 100000 /dev/zero | tr '\0' x | wc -c
ls -la /usr/bin | wc -l
df . >/dev/null && echo df
date -u -d @86400 +%F
