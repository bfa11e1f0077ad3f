# /proc/self/exe starts what runs, and reads as the file that was started.
readlink /proc/self/exe
cmp /proc/self/exe /bin/busybox && echo the same bytes
/proc/self/exe echo again
cp /proc/self/exe /tmp/busybox-copy && /tmp/busybox-copy echo copied from proc
/opt/t/probe exec self /opt/t/probe exec execve /opt/t/pie
