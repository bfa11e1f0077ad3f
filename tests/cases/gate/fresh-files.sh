# GOLDEN
# Freshly written programs and scripts, by exec, through a link, by a path on PATH.
printf '#!/bin/sh\necho never\n' > /tmp/s; chmod +x /tmp/s; /tmp/s 2> /dev/null; echo script $?
printf 'echo never\n' > /tmp/plain; chmod +x /tmp/plain; /opt/t/probe exec execve /tmp/plain; echo no interpreter line $?
printf '\177ELF\2\1\1' > /tmp/elf; chmod +x /tmp/elf; /tmp/elf 2> /dev/null; echo elf $?
ln -s /tmp/s /tmp/link; /tmp/link 2> /dev/null; echo link $?
ln /tmp/s /tmp/hard; /tmp/hard 2> /dev/null; echo hard link $?
printf '#!/opt/t/pie\n' > /tmp/pie-script; chmod +x /tmp/pie-script; /tmp/pie-script 2> /dev/null; echo known interpreter $?
PATH=/tmp:$PATH; s 2> /dev/null; echo by PATH $?
: > /tmp/empty; chmod +x /tmp/empty; /opt/t/probe exec execve /tmp/empty; echo empty $?
head -c 2000000 /data/binary > /tmp/noise; chmod +x /tmp/noise; /opt/t/probe exec execve /tmp/noise; echo noise $?
printf '#!/bin/sh\necho never\n' > /work/v; chmod +x /work/v; /work/v 2> /dev/null; echo on a volume $?
sh /tmp/s
