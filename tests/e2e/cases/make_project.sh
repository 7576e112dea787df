# SPDX-License-Identifier: Apache-2.0
# needs: gcc g++ make ar strip ld
# timeout: 120
# A generated 50-file project with make -j4, a static and a shared library, C++ with -O2.
mkdir src; for i in $(seq 50); do printf '#include <stdio.h>\n#include "all.h"\nint f%d(int x) { return x * %d + %d; }\n' $i $i $((i * 7 % 13)) > src/f$i.c; echo "int f$i(int);"; done > src/all.h
{ echo '#include <stdio.h>'; echo '#include "all.h"'; echo 'int main(void) { long s = 0;'; for i in $(seq 50); do echo "s += f$i($i);"; done; echo 'printf("%ld\n", s); return 0; }'; } > src/main.c
cat > Makefile <<'M'
SRC := $(wildcard src/f*.c)
OBJ := $(SRC:.c=.o)
all: prog prog_so
%.o: %.c src/all.h ; @$(CC) -O2 -fPIC -c -o $@ $<
libf.a: $(OBJ) ; @ar rcs $@ $^
libf.so: $(OBJ) ; @$(CC) -shared -o $@ $^
prog: src/main.o libf.a ; @$(CC) -o $@ src/main.o -L. -l:libf.a
prog_so: src/main.o libf.so ; @$(CC) -o $@ src/main.o -L. -lf -Wl,-rpath,$(CURDIR)
clean: ; rm -f $(OBJ)
M
make -j4 2>&1 && ./prog && ./prog_so && make -j4 -q && echo current
touch src/f7.c; make -n | wc -l; make -s -j4; ar t libf.a | sort | md5sum; strip prog; file prog 2>/dev/null | grep -c stripped; ./prog; nm -D libf.so | grep -c ' T f'; readelf -h prog | grep Type; objdump -d libf.so | grep -c '<f'
cat > a.cc <<'C'
#include <iostream>
#include <map>
#include <thread>
#include <vector>
#include <mutex>
#include <stdexcept>
#include <fstream>
int main() { std::map<std::string, int> m; std::mutex l; std::vector<std::thread> t;
 for (int i = 0; i < 4; i++) t.emplace_back([&, i] { for (int k = 0; k < 1000; k++) { std::lock_guard<std::mutex> g(l); m[std::to_string(k % 10)] += i; } });
 for (auto &x : t) x.join(); for (auto &p : m) std::cout << p.first << ' ' << p.second << '\n';
 try { throw std::runtime_error("thrown"); } catch (std::exception &e) { std::cout << e.what() << std::endl; }
 std::ofstream("o") << "file\n"; std::string s; std::ifstream("o") >> s; std::cout << s << std::endl; }
C
g++ -O2 -pthread -o a a.cc && ./a
gcc -x c - -o /dev/null 2>&1 <<<'int main() { return x; }' | grep -c error
gcc -static -O2 -o st src/main.c -L. -l:libf.a && ./st; gcc -pipe -O2 -g -flto -o lto src/main.c src/f*.c && ./lto; gcc -E src/main.c | md5sum
