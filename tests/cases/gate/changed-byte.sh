# GOLDEN
# STDERR: Permission denied
cp /bin/busybox /tmp/busybox2; /tmp/busybox2 echo same bytes run; printf x >> /tmp/busybox2; /tmp/busybox2 echo never
