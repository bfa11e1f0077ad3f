# GOLDEN
# A program whose file changes while it runs goes on as sealed; its next start is refused.
cp /bin/busybox /tmp/busybox2
/tmp/busybox2 sh -c 'sleep 0.5; echo still itself; echo x | sha256sum' &
sleep 0.2
cp /data/small /tmp/other; cat /tmp/other > /tmp/busybox2 2> /dev/null; echo written $?
wait
/tmp/busybox2 echo never 2> /dev/null; echo $?
