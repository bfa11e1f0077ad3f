# GOLDEN
cp /opt/t/pie /tmp/pie
/tmp/pie > /dev/null && echo runs
byte=$(dd if=/tmp/pie bs=1 skip=5000 count=1 2>/dev/null | od -An -tu1)
printf "\\$(printf %o $(((byte + 1) % 256)))" | dd of=/tmp/pie bs=1 seek=5000 conv=notrunc 2>/dev/null
/tmp/pie 2> /dev/null || echo refused $?
printf "\\$(printf %o $byte)" | dd of=/tmp/pie bs=1 seek=5000 conv=notrunc 2>/dev/null
/tmp/pie > /dev/null && echo runs again
