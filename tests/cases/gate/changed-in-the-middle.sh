# GOLDEN
# STDERR: Permission denied
cp /bin/busybox /tmp/busybox2
size=$(stat -c %s /tmp/busybox2)
for at in 0 64 5000 $((size / 2)) $((size - 1)); do
    cp /bin/busybox /tmp/busybox2
    byte=$(dd if=/tmp/busybox2 bs=1 skip=$at count=1 2>/dev/null | od -An -tu1)
    printf "\\$(printf %o $(((byte + 1) % 256)))" | dd of=/tmp/busybox2 bs=1 seek=$at conv=notrunc 2>/dev/null
    /tmp/busybox2 echo never
    echo "byte $at: $?"
done | sed "s/$((size / 2))/middle/;s/$((size - 1))/last/"
