# SPDX-License-Identifier: Apache-2.0
# needs: cmake ninja gcc g++
# timeout: 120
# CMake with Ninja: configure, build, test, install of a small project.
mkdir p && cd p; cat > CMakeLists.txt <<'C'
cmake_minimum_required(VERSION 3.20)
project(demo C CXX)
enable_testing()
find_package(Threads REQUIRED)
add_library(l STATIC l.c)
add_executable(app main.cc)
target_link_libraries(app l Threads::Threads)
add_custom_command(OUTPUT gen.h COMMAND ${CMAKE_COMMAND} -E echo "#define GEN 5" > gen.h)
target_sources(app PRIVATE ${CMAKE_CURRENT_BINARY_DIR}/gen.h)
target_include_directories(app PRIVATE ${CMAKE_CURRENT_BINARY_DIR})
add_test(NAME t COMMAND app)
install(TARGETS app)
C
echo 'int l(int x) { return x + 1; }' > l.c; printf '#include <iostream>\n#include <gen.h>\nextern "C" int l(int); int main() { std::cout << l(GEN) << std::endl; }\n' > main.cc
cmake -G Ninja -S . -B b > cfg 2>&1; echo $?; grep -c 'Generating done' cfg; ninja -C b > o 2>&1; echo $?; ninja -C b | tail -1; ./b/app; ctest --test-dir b 2>&1 | grep 'tests passed'; cmake --install b --prefix inst >/dev/null; ls inst/bin; touch l.c; ninja -C b -n | grep -c Building; cmake -G 'Unix Makefiles' -S . -B m >/dev/null 2>&1 && make -C m -j3 -s >/dev/null 2>&1; ./m/app
