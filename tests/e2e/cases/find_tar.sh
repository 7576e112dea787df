# SPDX-License-Identifier: Apache-2.0
# needs: tar gzip xz zstd bzip2 sha256sum
# timeout: 120
# find, sort, xargs -P, archives and checksums over a part of /usr/include.
d=/usr/include/x86_64-linux-gnu
find $d -type f | sort | sha256sum
find /usr/include -name '*.h' -size +20k -printf '%s %p %m %U\n' | sort | sha256sum
find $d -type f -print0 | sort -z | xargs -0 -P4 -n50 sha256sum | sort | sha256sum
tar -C $d --sort=name -cf - bits | sha256sum
for z in gzip xz zstd bzip2; do tar -C $d --sort=name -cf - bits | $z -c | $z -dc | sha256sum; done
tar -C $d -czf a.tgz sys && mkdir x && tar -C x -xzf a.tgz && diff -r $d/sys x/sys && echo same
grep -rl uint32_t $d | sort | sha256sum
find $d -type f | wc -l; du -s --apparent-size x | wc -l
wc -c $d/sys/*.h | tail -1
ls -lR $d/sys | awk '{print $1,$5,$9}' | md5sum
cp -a x y && find y -newer x/sys | wc -l; chmod -R a-w y/sys; find y -perm -u+w | sort | head -3
find x -name '*.h' -exec grep -l struct {} + | sort | md5sum
find x -name 's*.h' -delete; find x -type f | wc -l
