# SPDX-License-Identifier: Apache-2.0
# needs: java javac go tclsh
# timeout: 180
# Java with threads, processes and files; go build; tcl.
cat > H.java <<'J'
import java.nio.file.*; import java.util.*; import java.util.concurrent.*; import java.util.stream.*;
public class H { public static void main(String[] a) throws Exception {
  ExecutorService e = Executors.newFixedThreadPool(4); List<Future<Integer>> f = new ArrayList<>(); for (int i = 0; i < 8; i++) { int k = i; f.add(e.submit(() -> k * k)); } int s = 0; for (var x : f) s += x.get(); e.shutdown(); System.out.println(s);
  System.out.println(IntStream.range(0, 100000).parallel().sum()); Path p = Paths.get("f"); Files.writeString(p, "text"); System.out.println(Files.readString(p) + Files.size(p));
  Process q = new ProcessBuilder("sh", "-c", "echo child; exit 3").start(); System.out.print(new String(q.getInputStream().readAllBytes())); System.out.println(q.waitFor());
  byte[][] g = new byte[64][]; for (int r = 0; r < 50; r++) for (int i = 0; i < 64; i++) g[i] = new byte[100000]; System.gc(); try (var c = java.nio.channels.FileChannel.open(p, StandardOpenOption.READ, StandardOpenOption.WRITE)) { var m = c.map(java.nio.channels.FileChannel.MapMode.READ_WRITE, 0, 100); m.put(0, (byte) 'X'); } System.out.println(Files.readAllBytes(p).length);
  Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.println("hook"))); try { Object o = null; o.hashCode(); } catch (NullPointerException x) { System.out.println("npe"); } System.exit(5); } }
J
javac H.java 2>&1 && java -Xmx256m H 2>&1; echo $?; java -XX:+UseSerialGC -Xint H | tail -1
mkdir g && cd g; export HOME=$PWD GOCACHE=$PWD/c GOFLAGS=-mod=mod GOTOOLCHAIN=local GO111MODULE=on; cat > go.mod <<<'module m'; cat > m.go <<'G'
package main
import ("fmt"; "os"; "os/exec"; "os/signal"; "sync"; "syscall"; "time")
func main() { var w sync.WaitGroup; c := make(chan int, 100); for i := 0; i < 100; i++ { w.Add(1); go func(i int) { defer w.Done(); time.Sleep(time.Millisecond); c <- i }(i) }; w.Wait(); close(c); s := 0; for v := range c { s += v }; fmt.Println(s)
 o, e := exec.Command("sh", "-c", "echo out; exit 2").CombinedOutput(); fmt.Printf("%s%v\n", o, e); g := make(chan os.Signal, 1); signal.Notify(g, syscall.SIGUSR1); syscall.Kill(os.Getpid(), syscall.SIGUSR1); fmt.Println(<-g)
 d, _ := os.ReadDir("/usr/include"); fmt.Println(len(d) > 0); defer func() { fmt.Println(recover()); os.Exit(3) }(); var p *int; *p = 1 }
G
go build -o m m.go 2>&1 | head -5; ./m; echo $?; cd ..
tclsh <<<'puts [exec echo tcl]; after 50; puts [expr 6*7]; set f [open |cat r+]; puts $f hi; flush $f; puts [gets $f]'
