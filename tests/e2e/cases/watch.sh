# SPDX-License-Identifier: Apache-2.0
# needs: /usr/bin/python3
# inotify and signalfd: events of every kind, waiting, epoll.
cat > p.py <<'P'
import os,ctypes,struct,select,time
l=ctypes.CDLL(None,use_errno=True)
fd=l.inotify_init1(os.O_NONBLOCK)
os.mkdir("d"); 
wd=l.inotify_add_watch(fd,b"d",0xfff)
open("d/f","w").write("x"); wf=l.inotify_add_watch(fd,b"d/f",0xfff)
open("d/f").read(); os.chmod("d/f",0o600); os.rename("d/f","d/g"); os.mkdir("d/s"); os.rmdir("d/s"); os.link("d/g","d/h"); os.unlink("d/h"); os.symlink("g","d/l"); os.truncate("d/g",0); os.utime("d/g"); os.listdir("d"); os.rename("d/l","l"); os.unlink("d/g"); os.rmdir("d")
b=os.read(fd,65536); o=0
while o<len(b):
    w,m,c,n=struct.unpack_from("iIII",b,o); print(w,hex(m),bool(c),b[o+16:o+16+n].rstrip(b"\0").decode(),n); o+=16+n
try: os.read(fd,100)
except BlockingIOError: print("empty")
print(l.inotify_rm_watch(fd,wd),ctypes.get_errno(), l.inotify_add_watch(fd,b".",0), ctypes.get_errno(),l.inotify_add_watch(fd,b"nx",2), ctypes.get_errno(),l.inotify_add_watch(fd,b"l",2|0x1000000), ctypes.get_errno())
w=l.inotify_add_watch(fd,b".",0x100|0x80000000); 
if os.fork()==0:
    time.sleep(.1); open("late","w"); open("late2","w"); os._exit(0)
print(select.select([fd],[],[],5)[0]==[fd]); os.wait(); print(os.read(fd,1000)); print(os.readlink("/proc/self/fd/%d"%fd))
import signal
signal.pthread_sigmask(signal.SIG_BLOCK,[10,12,17])
m=(ctypes.c_ulong*16)((1<<9)|(1<<11)|(1<<16))
s=l.signalfd(-1,m,os.O_NONBLOCK); 
try: os.read(s,128)
except BlockingIOError: print("none")
os.kill(os.getpid(),10); print(select.select([s],[],[],0)[0]==[s]); d=os.read(s,128*3); print(len(d),struct.unpack_from("Iii",d), struct.unpack_from("I",d,12)[0]==os.getpid())
ep=select.epoll(); ep.register(s,1); p=os.fork()
if p==0: time.sleep(.05); os._exit(7)
print(len(ep.poll(5))); d=os.read(s,128); print(struct.unpack_from("Iii",d),struct.unpack_from("I",d,12)[0]==p,struct.unpack_from("i",d,40)); os.wait()
os.set_blocking(s,True)
if os.fork()==0: time.sleep(.05); os.kill(os.getppid(),12); os._exit(0)
print(struct.unpack_from("I",os.read(s,128)), os.readlink("/proc/self/fd/%d"%s))
P
/usr/bin/python3 p.py 2>&1
