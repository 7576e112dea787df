# SPDX-License-Identifier: Apache-2.0
# needs: gcc make
# timeout: 180
cat > a.c <<'P'
#include <stdio.h>
int b(int);
int main(int argc, char **argv) { printf("%d %s\n", b(20), argc > 1 ? argv[1] : "-"); return 3; }
P
echo 'int b(int x) { return x * 2 + 2; }' > b.c
printf 'prog: a.o b.o\n\tgcc -o $@ $^\n%%.o: %%.c\n\tgcc -O2 -g -Wall -c $<\n' > Makefile
make -s -j2 && ./prog x; echo "exit $?"
gcc -O2 -static a.c b.c -o static && ./static y; echo "exit $?"
sha256sum a.o | cut -c1-16
